#include <stdlib.h>

#include "base/log.h"
#include "snap/volume.h"
#include "snap/snapshot.h"
#include "snap/check.h"
#include "tests/lib/test.h"

static struct store *s;
static struct vol *v;
static const struct vfs_ctx ctx = {.uid = 0, .gid = 0, .umask = 022};

static void open_store(void)
{
    char why[256];
    int r = store_open(io_real(), test_dir(),
                       &(struct store_settings){.no_threads = true, .segment_bytes = 1 << 20}, 0, &s, why);

    if (r < 0)
        test_fail(__FILE__, __LINE__, "open: %s", why);
    CHECK_OK(snap_attach(s));
}

static void setup(void)
{
    CHECK_OK(store_create(io_real(), test_dir(), &(struct store_settings){.segment_bytes = 1 << 20}));
    open_store();
    CHECK_OK(volume_create(s, "main", &(struct volume_opts){0}, &v));
}

static void reopen(bool crash)
{
    if (crash)
        store_drop(s);
    else
        CHECK_OK(store_close(s));
    open_store();
    CHECK_OK(volume_find(s, "main", &v));
}

static vfs_node make(const char *name)
{
    struct vfs_attr a;

    CHECK_OK(vfs_mknod(v, &ctx, (vfs_node){1}, name, S_IFREG | 0644, 0, &a));
    return a.node;
}

static void expect(vfs_node n, size_t size, uint8_t (*at)(uint64_t))
{
    uint8_t *p = malloc(size + 100);
    size_t got;

    CHECK_OK(vfs_read(v, n, p, size + 100, 0, &got));
    CHECK_EQ(got, size);
    for (size_t i = 0; i < size; i++)
        if (p[i] != at(i))
            test_fail(__FILE__, __LINE__, "byte %zu is %u, want %u", i, p[i], at(i));
    free(p);
}

static uint8_t pattern(uint64_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}
static uint8_t changed(uint64_t i)
{
    return i >= 100000 && i < 105000 ? (uint8_t)~pattern(i) : pattern(i);
}

static void fill(vfs_node n, size_t from, size_t to, uint8_t (*at)(uint64_t))
{
    uint8_t *p = malloc(to - from);

    for (size_t i = from; i < to; i++)
        p[i - from] = at(i);
    CHECK_OK(vfs_write(v, &ctx, n, p, to - from, from, false));
    free(p);
}

TEST(test_file__small_and_large_bytes_come_back)
{
    setup();
    vfs_node a = make("a"), b = make("b");
    fill(a, 0, 3000, pattern);
    fill(b, 0, 3000000, pattern);
    expect(a, 3000, pattern);
    expect(b, 3000000, pattern);
    reopen(true);
    expect(a, 3000, pattern);
    expect(b, 3000000, pattern);
    reopen(false);
    expect(a, 3000, pattern);
    expect(b, 3000000, pattern);
    CHECK_OK(store_close(s));
}

TEST(test_file__snapshot_keeps_old_bytes)
{
    struct vfs_attr at;
    vfs_node root;

    setup();
    vfs_node b = make("b");
    fill(b, 0, 3000000, pattern);
    CHECK_OK(snap_create(v, &ctx, "s1", NULL));
    fill(b, 100000, 105000, changed);
    expect(b, 3000000, changed);
    CHECK_OK(view_enter(v, "s1", 1, &root, &at));
    CHECK_OK(vfs_lookup(v, root, "b", &at));
    expect(at.node, 3000000, pattern);
    reopen(true);
    expect(b, 3000000, changed);
    CHECK_OK(view_enter(v, "s1", 1, &root, &at));
    CHECK_OK(vfs_lookup(v, root, "b", &at));
    expect(at.node, 3000000, pattern);
    CHECK_OK(snap_delete(v, &ctx, "s1"));
    CHECK_OK(store_reclaim_idle(s));
    expect(b, 3000000, changed);
    CHECK_OK(store_close(s));
}

TEST(test_file__truncate_and_grow_reads_zeros)
{
    struct vfs_setattr sa = {.set = VFS_SIZE, .size = 5000};
    struct vfs_attr at;
    uint8_t buf[8192];
    size_t got;

    setup();
    vfs_node b = make("b");
    fill(b, 0, 300000, pattern);
    CHECK_OK(vfs_setattr(v, &ctx, b, &sa, &at));
    CHECK_EQ(at.size, 5000);
    sa.size = 8000;
    CHECK_OK(vfs_setattr(v, &ctx, b, &sa, &at));
    CHECK_OK(vfs_read(v, b, buf, sizeof(buf), 0, &got));
    CHECK_EQ(got, 8000);
    for (size_t i = 0; i < 8000; i++)
        CHECK_EQ(buf[i], i < 5000 ? pattern(i) : 0);
    sa.size = 0;
    CHECK_OK(vfs_setattr(v, &ctx, b, &sa, &at));
    CHECK_EQ(at.blocks512, 0);
    CHECK_OK(vfs_fsync(v, b));
    CHECK_OK(store_reclaim_idle(s));
    CHECK_OK(store_close(s));
}

TEST(test_file__copy_shares_and_stays_apart)
{
    uint64_t done;

    setup();
    vfs_node a = make("a"), b = make("b");
    fill(a, 0, 3000000, pattern);
    CHECK_OK(vfs_copy(v, &ctx, a, 0, b, 0, 3000000, &done));
    CHECK_EQ(done, 3000000);
    expect(b, 3000000, pattern);
    fill(a, 100000, 105000, changed);
    expect(a, 3000000, changed);
    expect(b, 3000000, pattern);
    CHECK_OK(vfs_unlink(v, &ctx, (vfs_node){1}, "a"));
    CHECK_OK(vfs_orphans_drop_all(v));
    CHECK_OK(store_reclaim_idle(s));
    expect(b, 3000000, pattern);
    reopen(false);
    expect(b, 3000000, pattern);
    CHECK_OK(store_close(s));
}

static void check_sound(void)
{
    struct check_opts o = {.quiet = true};
    struct check_result found = {0};

    CHECK_OK(check_store(s, &o, &found));
    CHECK_EQ(found.problems, 0);
}

/* A record does not go over two segments: what does not fit into one is done another way, or refused before anything is done. */
TEST(test_file__a_segment_may_be_shorter_than_the_bytes_of_an_fsync)
{
    const struct store_settings set = {.no_threads = true, .segment_bytes = 64 << 10, .segments = 4};
    uint8_t *big = malloc(65000);

    CHECK(big != NULL);
    memset(big, 'x', 65000);
    CHECK_OK(store_create(io_real(), test_dir(), &set));
    open_store();
    CHECK_OK(volume_create(s, "main", &(struct volume_opts){0}, &v));
    vfs_node a = make("a");
    for (size_t len = 58000; len <= 65000; len += 1000) {
        fill(a, 0, len, pattern);
        CHECK_OK(vfs_fsync(v, a));
        expect(a, len, pattern);
    }
    CHECK(!v->readonly);
    CHECK_OK(vfs_setxattr(v, &ctx, a, "user.b", "before", 6, 0, false));
    CHECK_ERR(vfs_setxattr(v, &ctx, a, "user.b", big, 65000, 0, false), -E_TOOBIG);
    cleanup(buf_free) struct buf val = {0};
    CHECK_OK(vfs_getxattr(v, a, "user.b", &val));
    CHECK(val.len == 6 && memcmp(val.data, "before", 6) == 0);
    check_sound();
    reopen(true);
    CHECK_OK(vfs_fsync(v, a));
    expect(a, 65000, pattern);
    check_sound();
    CHECK_OK(store_close(s));
    free(big);
}

int main(int argc, char **argv)
{
    log_set_level(LOG_WARN);
    return test_main(argc, argv);
}
