/* Random operations on the volumes of a store, with snapshots, clones, rollbacks, deaths and power cuts between: check finds
 * nothing at any time. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "snap/check.h"
#include "snap/store/journal.h"
#include "tests/lib/test.h"

static struct store *s;
static struct buf said;
static uint64_t seed;
static uint8_t boot[16] = "boot-0";
static const struct vfs_ctx ctx = {.umask = 022};
static const struct store_settings set = {
    .no_threads = true, .segment_bytes = 1 << 20, .delta_bytes = 1 << 20};

/* TRACE=1 tells what is done; EACH=1 checks after each operation. */
#define TRACE(...)                                                                                           \
    do {                                                                                                     \
        if (getenv("TRACE"))                                                                                 \
            fprintf(stderr, __VA_ARGS__);                                                                    \
    } while (0)

static uint64_t dice(uint64_t n)
{
    return test_rand(&seed) % n;
}

static void open_store(void)
{
    char why[256];
    int r = store_open(io_real(), test_dir(), &set, 0, &s, why);

    if (r < 0)
        test_fail(__FILE__, __LINE__, "open: %s: %s", err_name(r), why);
    CHECK_OK(snap_attach(s));
}

/* What an operation may answer to nonsense. */
static void allowed(int r, const char *what)
{
    static const int fine[] = {-E_NOENT, -E_EXIST, -E_NOTDIR, -E_ISDIR,  -E_NOTEMPTY,
                               -E_INVAL, -E_STALE, -E_XDEV,   -E_CLONES, -E_NODATA,
                               -E_BUSY,  -E_DEPTH, -E_PERM,   -E_NOTSUP, -E_TOOBIG,
                               -E_MLINK, -E_HELD,  -E_AGAIN,  -E_NXIO,   -E_SNAP_LIMIT};
    size_t i;

    TRACE("  %s %s\n", what, err_name(r));
    for (i = 0; r < 0 && i < ARRAY_LEN(fine); i++)
        if (r == fine[i])
            return;
    if (r < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", what, err_name(r));
}

static const char *name_of(uint64_t n)
{
    static char text[4][32];
    static unsigned slot;
    char *t = text[slot++ % 4];

    snprintf(t, sizeof(text[0]), "n%llu", (unsigned long long)n);
    return t;
}

static struct vol *any_vol(void)
{
    struct vol *v;
    uint64_t tries;

    for (tries = 0; tries < 20; tries++) {
        char name[8];

        snprintf(name, sizeof(name), "v%llu", (unsigned long long)dice(4));
        if (volume_find(s, name, &v) == 0)
            return v;
    }
    CHECK_OK(volume_find(s, "v0", &v));
    return v;
}

/* A random walk down from the root. */
static vfs_node any_dir(struct vol *v)
{
    vfs_node at = {1};
    struct vfs_attr a;

    while (dice(3) && vfs_lookup(v, at, name_of(dice(12)), &a) == 0 && S_ISDIR(a.mode))
        at = a.node;
    return at;
}

static int any_node(struct vol *v, vfs_node *ret, bool *is_dir)
{
    struct vfs_attr a;
    int tries;

    for (tries = 0; tries < 10; tries++)
        if (vfs_lookup(v, any_dir(v), name_of(dice(12)), &a) == 0) {
            *ret = a.node;
            *is_dir = S_ISDIR(a.mode);
            return 0;
        }
    return -E_NOENT;
}

static uint64_t any_off(void)
{
    return dice(2) ? dice(8192) : dice(2) ? dice(4 << 20) : dice(1024) * 4096;
}

static void write_some(struct vol *v, vfs_node n)
{
    static uint8_t bytes[2 << 20];
    size_t len = 1 + (dice(3) ? dice(6000) : dice(3) ? dice(200000) : dice(sizeof(bytes) - 1));

    memset(bytes, (int)dice(256), len);
    allowed(vfs_write(v, &ctx, n, bytes, len, any_off(), dice(2)), "write");
}

static void allocate_some(struct vol *v, vfs_node n)
{
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};

    allowed(vfs_fallocate(v, &ctx, n, modes[dice(5)], any_off(), 1 + any_off()), "fallocate");
}

static void change_file(struct vol *v)
{
    struct vfs_setattr at = {.set = VFS_SIZE};
    vfs_node n, m;
    bool dir;
    size_t got;

    if (any_node(v, &n, &dir) < 0 || dir)
        return;
    switch (dice(8)) {
    case 0:
        at.size = any_off();
        allowed(vfs_setattr(v, &ctx, n, &at, NULL), "truncate");
        break;
    case 1: allocate_some(v, n); break;
    case 2:
        if (any_node(v, &m, &dir) == 0 && !dir)
            allowed(vfs_copy(v, &ctx, n, any_off(), m, any_off(), 1 + any_off(), &got), "copy");
        break;
    case 3: allowed(vfs_fsync(v, n), "fsync"); break;
    default: write_some(v, n);
    }
}

static void change_names(struct vol *v)
{
    vfs_node d = any_dir(v), to = any_dir(v), n;
    static const char *const xattrs[] = {"user.a", "user.b", "security.capability"};
    const char *name = name_of(dice(12)), *other = name_of(dice(12));
    struct vfs_attr a;
    bool dir;

    switch (dice(9)) {
    case 0:
    case 1: allowed(vfs_mknod(v, &ctx, d, name, S_IFREG | 0644, 0, &a), "create"); break;
    case 2: allowed(vfs_mknod(v, &ctx, d, name, S_IFDIR | 0755, 0, &a), "mkdir"); break;
    case 3: allowed(vfs_symlink(v, &ctx, d, name, "somewhere/else", &a), "symlink"); break;
    case 4: allowed(vfs_unlink(v, &ctx, d, name), "unlink"); break;
    case 5: allowed(vfs_rmdir(v, &ctx, d, name), "rmdir"); break;
    case 6: allowed(vfs_rename(v, &ctx, d, name, to, other, dice(4) ? 0 : VFS_EXCHANGE), "rename"); break;
    case 7:
        if (any_node(v, &n, &dir) == 0 && !dir)
            allowed(vfs_link(v, &ctx, n, d, name, &a), "link");
        break;
    default:
        if (any_node(v, &n, &dir) < 0)
            break;
        if (dice(2))
            allowed(vfs_setxattr(v, &ctx, n, xattrs[dice(3)], "value", dice(5), 0, false), "setxattr");
        else
            allowed(vfs_removexattr(v, &ctx, n, "user.a"), "removexattr");
    }
}

static void change_store(struct vol *v)
{
    char name[8];
    struct vol *w;

    snprintf(name, sizeof(name), "v%llu", (unsigned long long)dice(4));
    switch (dice(10)) {
    case 0:
    case 1:
    case 2: allowed(snap_create(v, &ctx, name_of(dice(8)), NULL), "snapshot"); break;
    case 3:
    case 4: allowed(snap_delete(v, &ctx, name_of(dice(8))), "snapshot delete"); break;
    case 5: allowed(snap_rollback(v, &ctx, name_of(dice(8)), NULL), "rollback"); break;
    case 6: allowed(volume_clone(v, dice(3) ? name_of(dice(8)) : NULL, name, &w), "clone"); break;
    case 7:
        if (v->rec.name[1] != '0' && (w = v) && volume_delete(v, NULL) == 0)
            allowed(volume_purge(w), "purge");
        break;
    case 8: allowed(vfs_orphans_drop_all(v), "orphans"); break;
    default: TRACE("  reclaim\n"); CHECK_OK(store_reclaim_idle(s));
    }
}

static void keep_line(void *arg, const char *line)
{
    (void)arg;
    CHECK_OK(buf_printf(&said, "%s\n", line));
}

/* As it lies there, without a daemon, and nothing is changed by looking. */
static void expect_clean_path(void)
{
    struct check_opts o = {.quiet = true, .say = keep_line};
    struct check_result res = {0};

    buf_reset(&said);
    CHECK_OK(check_path(io_real(), test_dir(), &o, &res));
    if (res.problems)
        test_fail(__FILE__, __LINE__, "after a stop: %s", buf_cstr(&said));
}

static void stop_and_go(void)
{
    switch (dice(8)) {
    case 0: /* the daemon dies */
        TRACE("death\n");
        store_drop(s);
        break;
    case 1: /* the machine does; all bytes have landed */
        TRACE("power cut\n");
        store_drop(s);
        boot[5]++;
        journal_test_boot_id(boot);
        break;
    case 2:
        TRACE("close\n");
        CHECK_OK(store_close(s));
        break;
    case 3:
        TRACE("sync\n");
        CHECK_OK(store_sync(s));
        return;
    default:
        TRACE("checkpoint\n");
        CHECK_OK(store_checkpoint(s));
        return;
    }
    expect_clean_path();
    open_store();
}

static void expect_clean(unsigned at)
{
    struct check_opts o = {.quiet = true, .say = keep_line};
    struct check_result res = {0};

    buf_reset(&said);
    CHECK_OK(check_store(s, &o, &res));
    if (res.problems)
        test_fail(__FILE__, __LINE__, "after %u operations: %s", at, buf_cstr(&said));
}

TEST(test_check__finds_nothing_after_random_operations)
{
    unsigned n = getenv("OPS") ? (unsigned)strtoul(getenv("OPS"), NULL, 10) : 3000, i;
    struct vol *v;

    seed = test_seed();
    log_set_level(LOG_WARN);
    journal_test_boot_id(boot);
    CHECK_OK(store_create(io_real(), test_dir(), &set));
    open_store();
    CHECK_OK(volume_create(s, "v0", &(struct volume_opts){0}, &v));
    for (i = 1; i <= n; i++) {
        v = any_vol();
        TRACE("%u %s layer %u\n", i, v->rec.name, v->rec.layer);
        switch (dice(20)) {
        case 0: change_store(v); break;
        case 1:
            if (dice(3) == 0)
                stop_and_go();
            break;
        case 2:
        case 3:
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
        case 9: change_file(v); break;
        default: change_names(v);
        }
        if (i % 50 == 0 || getenv("EACH"))
            expect_clean(i);
    }
    CHECK_OK(store_reclaim_idle(s));
    expect_clean(i);
    CHECK_OK(store_close(s));
    journal_test_boot_id(NULL);
    buf_free(&said);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
