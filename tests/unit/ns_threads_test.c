/* Several threads on the same few names: no result but an expected one, and the tree's counts agree afterwards. */
#include <pthread.h>

#include "snap/ns.h"
#include "snap/snapshot.h"
#include "tests/lib/nsfix.h"

#define THREADS 4
#define STEPS 1500
#define DIRS 4
#define NAMES 5

struct worker {
    pthread_t id;
    struct nsfix *f;
    vfs_node *dirs;
    uint64_t state;
    unsigned ok;
    int bad; /* an error that no race explains */
};

static unsigned pick(struct worker *w, unsigned n)
{
    return (unsigned)(test_rand(&w->state) % n);
}

static const char *const names[NAMES] = {"a", "b", "c", "d", "e"};

static int names_change(struct worker *w, vfs_node d, const char *n)
{
    static const unsigned flags[] = {0, 0, VFS_EXCHANGE, VFS_NOREPLACE, VFS_WHITEOUT};
    struct vol *v = w->f->v;
    const struct vfs_ctx *c = &w->f->c;
    vfs_node e = w->dirs[pick(w, DIRS)];
    const char *m = names[pick(w, NAMES)];
    struct vfs_attr a;
    int r;

    switch (pick(w, 6)) {
    case 0: return vfs_mknod(v, c, d, n, S_IFREG | 0644, 0, &a);
    case 1: return vfs_mknod(v, c, d, n, S_IFDIR | 0755, 0, &a);
    case 2: return vfs_unlink(v, c, d, n);
    case 3: return vfs_rmdir(v, c, d, n);
    case 4: r = vfs_lookup(v, d, n, &a); return r < 0 ? r : vfs_link(v, c, a.node, e, m, &a);
    default: return vfs_rename(v, c, d, n, e, m, flags[pick(w, ARRAY_LEN(flags))]);
    }
}

static int all_cb(void *arg, const struct vfs_dirent *e)
{
    (void)arg;
    return e->name_len == 0;
}

static int file_change(struct worker *w, vfs_node d, const char *n)
{
    static const char bytes[90000] = "x";
    struct vol *v = w->f->v;
    const struct vfs_ctx *c = &w->f->c;
    struct vfs_setattr sa = {.set = VFS_MODE, .mode = pick(w, 01000)};
    struct vfs_setattr cut = {.set = VFS_SIZE, .size = pick(w, 200000)};
    struct vfs_attr a;
    int r = vfs_lookup(v, d, n, &a);

    if (r < 0)
        return r;
    switch (pick(w, 6)) {
    case 0: return vfs_setattr(v, c, a.node, &sa, &a);
    case 1: return vfs_setxattr(v, c, a.node, "user.x", n, 1, 0, false);
    case 2: return vfs_setattr(v, c, a.node, &cut, &a);
    case 3: return pick(w, 4) ? 0 : vfs_fsync(v, a.node);
    case 4: return vfs_readdir(v, d, 0, true, all_cb, NULL);
    default: return vfs_write(v, c, a.node, bytes, 1 + pick(w, sizeof(bytes) - 1), pick(w, 100000), false);
    }
}

static int one(struct worker *w)
{
    vfs_node d = w->dirs[pick(w, DIRS)];
    const char *n = names[pick(w, NAMES)];

    return pick(w, 3) ? names_change(w, d, n) : file_change(w, d, n);
}

static bool fair(int r)
{
    static const int known[] = {-E_NOENT,    -E_EXIST, -E_ISDIR, -E_NOTDIR,
                                -E_NOTEMPTY, -E_PERM,  -E_INVAL, -E_STALE};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (r == known[i])
            return true;
    return r == 0;
}

static void *work(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < STEPS && w->bad == 0; i++) {
        int r = one(w);

        w->ok += r == 0;
        if (!fair(r))
            w->bad = r;
    }
    return NULL;
}

/* Beside the others: orphans are freed, snapshots come and go. */
static void *sweep(void *arg)
{
    struct worker *w = arg;
    char name[32];

    for (int i = 0; i < 40 && w->bad == 0; i++) {
        w->bad = vfs_orphans_drop_all(w->f->v);
        snprintf(name, sizeof(name), "sweep-%d", i);
        if (w->bad == 0)
            w->bad = snap_create(w->f->v, &w->f->c, name, NULL);
        snprintf(name, sizeof(name), "sweep-%d", i - 3);
        if (w->bad == 0 && i >= 3)
            w->bad = snap_delete(w->f->v, &w->f->c, name);
    }
    return NULL;
}

NS_TEST(test_ns_threads__races_keep_the_tree_exact)
{
    vfs_node dirs[DIRS] = {NSFIX_ROOT};
    struct worker w[THREADS + 1];

    for (int i = 1; i < DIRS; i++)
        dirs[i] = nsfix_mk(f, i == 1 ? NSFIX_ROOT : dirs[i - 1], "stays", S_IFDIR | 0755);
    nsfix_turn(f);
    f->background = true;
    nsfix_reopen(f);
    for (unsigned i = 0; i <= THREADS; i++) {
        w[i] = (struct worker){.f = f, .dirs = dirs, .state = test_seed() + i};
        CHECK(pthread_create(&w[i].id, NULL, i < THREADS ? work : sweep, &w[i]) == 0);
    }
    for (unsigned i = 0; i <= THREADS; i++)
        pthread_join(w[i].id, NULL);
    for (unsigned i = 0; i <= THREADS; i++) {
        CHECK_OK(w[i].bad);
        CHECK(i == THREADS || w[i].ok > STEPS / 50);
    }
    CHECK_OK(vfs_orphans_drop_all(f->v));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
