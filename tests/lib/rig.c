#include "tests/lib/rig.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "snap/check.h"
#include "snap/store/journal.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"

static uint8_t boot[16];

static void make(struct box *b)
{
    char why[256] = "";

    CHECK_OK(store_create(b->io, b->path, &b->set));
    CHECK_OK(store_open(b->io, b->path, &b->set, 0, &b->s, why));
    CHECK_OK(snap_attach(b->s));
    CHECK_OK(volume_create(b->s, "main", NULL, &b->v));
}

void rig_open(struct rig *g)
{
    *g = (struct rig){0};
    memset(boot, 1, sizeof(boot));
    journal_test_boot_id(boot);
    snprintf(g->root, sizeof(g->root), "%s/disk0", test_dir());
    CHECK_EQ(mkdir(g->root, 0755), 0);
    CHECK_OK(lying_new(g->root, &g->d));
    g->b.io = lying_io(g->d);
    g->b.set = (struct store_settings){.no_threads = true, .segment_bytes = 512 << 10, .map_bytes = 16 << 20};
    snprintf(g->b.path, sizeof(g->b.path), "%.400s/store", g->root);
    make(&g->b);
    CHECK_OK(store_flush(g->b.s));
}

void rig_land(struct rig *g, uint64_t seed, enum lying_mode mode)
{
    snprintf(g->root, sizeof(g->root), "%s/disk%u", test_dir(), ++g->cuts);
    CHECK_OK(lying_crash(g->d, seed, mode, g->root));
    box_drop(&g->b);
    lying_free(TAKE(g->d));
    boot[0]++;
    journal_test_boot_id(boot);
    CHECK_OK(lying_new(g->root, &g->d));
    g->b.io = lying_io(g->d);
    snprintf(g->b.path, sizeof(g->b.path), "%.400s/store", g->root);
}

void rig_cut(struct rig *g, uint64_t seed, enum lying_mode mode)
{
    rig_land(g, seed, mode);
    box_attach(&g->b);
}

void rig_die(struct rig *g)
{
    box_die(&g->b);
}

static void say(void *arg, const char *line)
{
    (void)arg;
    printf("  check: %s\n", line);
}

void rig_check(struct rig *g)
{
    struct check_opts o = {.quiet = true, .say = say};
    struct check_result r;

    CHECK_OK(check_store(g->b.s, &o, &r));
    CHECK_EQ(r.problems, 0);
}

void rig_close(struct rig *g)
{
    rig_check(g);
    box_sound(&g->b);
    box_close(&g->b);
    lying_free(TAKE(g->d));
    journal_test_boot_id(NULL);
    for (unsigned i = 0; i <= g->cuts; i++) {
        snprintf(g->root, sizeof(g->root), "%s/disk%u", test_dir(), i);
        CHECK_OK(tree_remove(g->root));
    }
}

uint8_t rig_a(uint64_t off)
{
    return (uint8_t)(1 + off % 113);
}

uint8_t rig_b(uint64_t off)
{
    return (uint8_t)(128 + off % 101);
}

uint8_t rig_zero(uint64_t off)
{
    (void)off;
    return 0;
}

void rig_write(struct rig *g, const char *path, uint64_t off, size_t len, rig_bytes at)
{
    uint8_t *p = malloc(len);

    CHECK(p != NULL);
    for (size_t i = 0; i < len; i++)
        p[i] = at(off + i);
    box_write(&g->b, g->b.v, path, p, len, off);
    free(p);
}

vfs_node rig_node(struct rig *g, const char *path)
{
    return box_node(g->b.v, box_root(g->b.v), path);
}

static bool compare(struct rig *g, vfs_node n, uint64_t off, size_t len, rig_bytes at, bool must)
{
    uint8_t *p = malloc(len);
    size_t got = 0, i = 0;

    CHECK(p != NULL);
    int r = vfs_read(g->b.v, n, p, len, off, &got);
    while (r == 0 && i < got && p[i] == at(off + i))
        i++;
    uint8_t is = i < got ? p[i] : 0;
    free(p);
    if (must && (r < 0 || i < len))
        test_fail(__FILE__, __LINE__, "at %llu: %s, %zu of %zu bytes, byte %u, not %u",
                  (unsigned long long)(off + i), r < 0 ? err_name(r) : "read", got, len, is, at(off + i));
    return r == 0 && i == len;
}

bool rig_holds(struct rig *g, vfs_node n, uint64_t off, size_t len, rig_bytes at)
{
    return compare(g, n, off, len, at, false);
}

void rig_expect(struct rig *g, const char *path, uint64_t off, size_t len, rig_bytes at)
{
    (void)compare(g, rig_node(g, path), off, len, at, true);
}

uint64_t rig_size(struct rig *g, const char *path)
{
    struct vfs_attr a;

    CHECK_OK(vfs_getattr(g->b.v, rig_node(g, path), &a));
    return a.size;
}

void rig_fsync(struct rig *g, const char *path)
{
    CHECK_OK(vfs_fsync(g->b.v, rig_node(g, path)));
}

void rig_punch(struct rig *g, const char *path, uint64_t off, uint64_t len)
{
    CHECK_OK(vfs_fallocate(g->b.v, &g->b.c, rig_node(g, path), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           off, len));
}

void rig_copy(struct rig *g, const char *from, const char *to, uint64_t len)
{
    uint64_t done = 0;

    box_write(&g->b, g->b.v, to, "", 0, 0);
    CHECK_OK(vfs_copy(g->b.v, &g->b.c, rig_node(g, from), 0, rig_node(g, to), 0, len, &done));
    CHECK_EQ(done, len);
}

void rig_quiet(struct rig *g)
{
    CHECK_OK(store_reclaim_idle(g->b.s));
}
