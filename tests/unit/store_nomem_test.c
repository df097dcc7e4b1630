/* Memory runs out at the n-th allocation of each operation, for n = 1, 2, 3... until it runs through: the error is said, nothing
 * is half done, and the same operation goes well afterwards. */
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAVE_DOUBLE 0
static int64_t left;
#else
#define HAVE_DOUBLE 1
/* libc's own, under other names */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
static _Thread_local int64_t left; /* 0: none fails */

static bool refuse(void)
{
    if (left > 0 && --left == 0) {
        left = -1; /* it was */
        errno = ENOMEM;
        return true;
    }
    return false;
}

void *malloc(size_t n)
{
    return refuse() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return refuse() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return refuse() ? NULL : __libc_realloc(p, n);
}
#endif

struct work {
    const char *name;
    void (*before)(struct rig *g);
    int (*run)(struct rig *g);
};

static struct vfs_ctx *who(struct rig *g)
{
    return &g->b.c;
}

static vfs_node root(struct rig *g)
{
    return box_root(g->b.v);
}

static void fresh(struct rig *g)
{
    static const char *const names[] = {"f", "g", "small", "d"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (box_there(g->b.v, root(g), names[i]))
            box_remove(&g->b, g->b.v, names[i]);
    CHECK_OK(vfs_orphans_drop_all(g->b.v));
    rig_write(g, "f", 0, 300000, rig_a);
    rig_write(g, "small", 0, 1000, rig_a);
}

static void fresh_sealed(struct rig *g)
{
    struct layer_rec rec;

    if (snap_find(g->b.v, "s", &rec) == 0)
        CHECK_OK(snap_delete(g->b.v, who(g), "s"));
    fresh(g);
    rig_fsync(g, "f");
    CHECK_OK(snap_create(g->b.v, who(g), "s", NULL));
}

static void fresh_without(struct rig *g)
{
    struct layer_rec rec;

    if (snap_find(g->b.v, "s", &rec) == 0)
        CHECK_OK(snap_delete(g->b.v, who(g), "s"));
    fresh(g);
}

static uint8_t bytes[100000];

static int do_write(struct rig *g)
{
    return vfs_write(g->b.v, who(g), rig_node(g, "f"), bytes, sizeof(bytes), 5000, false);
}
static int do_write_small(struct rig *g)
{
    return vfs_write(g->b.v, who(g), rig_node(g, "small"), bytes, 2500, 100, false);
}
static int do_promote(struct rig *g)
{
    return vfs_write(g->b.v, who(g), rig_node(g, "small"), bytes, 9000, 100, true);
}
static int do_cut(struct rig *g)
{
    struct vfs_setattr set = {.set = VFS_SIZE, .size = 12345};
    struct vfs_attr a;

    return vfs_setattr(g->b.v, who(g), rig_node(g, "f"), &set, &a);
}
static int do_punch(struct rig *g)
{
    return vfs_fallocate(g->b.v, who(g), rig_node(g, "f"), 3, 5000, 100000);
}
static int do_reserve(struct rig *g)
{
    return vfs_fallocate(g->b.v, who(g), rig_node(g, "f"), 0, 250000, 300000);
}
static int do_create(struct rig *g)
{
    struct vfs_attr a;

    return vfs_mknod(g->b.v, who(g), root(g), "g", S_IFREG | 0644, 0, &a);
}
static int do_mkdir(struct rig *g)
{
    struct vfs_attr a;

    return vfs_mknod(g->b.v, who(g), root(g), "d", S_IFDIR | 0755, 0, &a);
}
static int do_rename(struct rig *g)
{
    return vfs_rename(g->b.v, who(g), root(g), "f", root(g), "g", 0);
}
static int do_unlink(struct rig *g)
{
    return vfs_unlink(g->b.v, who(g), root(g), "f");
}
static int do_drop(struct rig *g)
{
    return vfs_orphans_drop_all(g->b.v);
}
static void fresh_orphan(struct rig *g)
{
    fresh_sealed(g);
    box_remove(&g->b, g->b.v, "f");
}
static int do_xattr(struct rig *g)
{
    return vfs_setxattr(g->b.v, who(g), rig_node(g, "f"), "user.x", bytes, 3000, 0, false);
}
static int do_fsync(struct rig *g)
{
    return vfs_fsync(g->b.v, rig_node(g, "f"));
}
static int do_fsync_small(struct rig *g)
{
    return vfs_fsync(g->b.v, rig_node(g, "f"));
}
static void few_bytes(struct rig *g)
{
    fresh_sealed(g);
    rig_write(g, "f", 7000, 3000, rig_b);
}
static void fresh_target(struct rig *g)
{
    fresh_sealed(g);
    box_write(&g->b, g->b.v, "g", "x", 1, 0);
}
static int do_copy(struct rig *g)
{
    uint64_t done;

    return vfs_copy(g->b.v, who(g), rig_node(g, "f"), 0, rig_node(g, "g"), 0, 200000, &done);
}
static int do_checkpoint(struct rig *g)
{
    return store_checkpoint(g->b.s);
}
static int do_snapshot(struct rig *g)
{
    return snap_create(g->b.v, who(g), "s", NULL);
}
static int do_delete(struct rig *g)
{
    return snap_delete(g->b.v, who(g), "s");
}
static int do_settle(struct rig *g)
{
    return store_sync(g->b.s);
}

static const struct work works[] = {
    {"write", fresh, do_write},
    {"write over a snapshot", fresh_sealed, do_write},
    {"write small", fresh, do_write_small},
    {"grow out of the tables", fresh_sealed, do_promote},
    {"cut", fresh, do_cut},
    {"cut over a snapshot", fresh_sealed, do_cut},
    {"punch", fresh_sealed, do_punch},
    {"reserve", fresh_sealed, do_reserve},
    {"create", fresh, do_create},
    {"mkdir", fresh, do_mkdir},
    {"rename", fresh, do_rename},
    {"unlink", fresh_sealed, do_unlink},
    {"free", fresh_orphan, do_drop},
    {"attribute", fresh_sealed, do_xattr},
    {"sync", fresh, do_fsync},
    {"sync of few bytes", few_bytes, do_fsync_small},
    {"copy", fresh_target, do_copy},
    {"checkpoint", fresh_sealed, do_checkpoint},
    {"snapshot", fresh_without, do_snapshot},
    {"delete of a snapshot", fresh_sealed, do_delete},
    {"make firm", few_bytes, do_settle},
};

/* How often it was refused: some work takes no memory, or does without. */
static unsigned sweep(struct rig *g, const struct work *w)
{
    bool fired = true;
    unsigned refused = 0;

    for (int64_t n = 1; fired; n++) {
        w->before(g);
        left = n;
        int r = w->run(g);
        fired = left < 0;
        left = 0;
        if (r < 0 && (r != -E_NOMEM || !fired))
            test_fail(__FILE__, __LINE__, "%s, allocation %lld: %s", w->name, (long long)n, err_name(r));
        refused += r < 0;
        if (getenv("TRACE"))
            printf("%s %lld %s\n", w->name, (long long)n, err_name(r));
        rig_check(g);
        if (r < 0) {
            r = w->run(g);
            if (r < 0)
                test_fail(__FILE__, __LINE__, "%s again after allocation %lld: %s", w->name, (long long)n,
                          err_name(r));
        }
        if (n > 3000)
            test_fail(__FILE__, __LINE__, "%s does not end", w->name);
    }
    return refused;
}

TEST(test_nomem__every_allocation_of_every_operation)
{
    struct rig g = {0}; /* on the real disk: the one that lies needs memory itself */
    unsigned refused = 0;

    if (!HAVE_DOUBLE)
        test_skip("the sanitizer has the allocator");
    log_set_level(LOG_ERROR);
    box_open(&g.b, NULL, NULL);
    for (size_t i = 0; i < ARRAY_LEN(works); i++) {
        refused += sweep(&g, &works[i]);
        rig_quiet(&g);
        rig_check(&g);
        if (i % 4 == 3)
            rig_die(&g);
    }
    CHECK(refused > ARRAY_LEN(works));
    box_sound(&g.b);
    box_close(&g.b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
