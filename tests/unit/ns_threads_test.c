/* Several threads on the same few names: no result but an expected one, and the tree's counts agree afterwards. */
#include <pthread.h>

#include "snap/ns.h"
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

static int one(struct worker *w)
{
    static const unsigned flags[] = {0, 0, VFS_EXCHANGE, VFS_NOREPLACE, VFS_WHITEOUT};
    static const char *const names[NAMES] = {"a", "b", "c", "d", "e"};
    struct vol *v = w->f->v;
    const struct vfs_ctx *c = &w->f->c;
    vfs_node d = w->dirs[pick(w, DIRS)], e = w->dirs[pick(w, DIRS)];
    const char *n = names[pick(w, NAMES)], *m = names[pick(w, NAMES)];
    struct vfs_setattr sa = {.set = VFS_MODE, .mode = pick(w, 01000)};
    struct vfs_attr a;
    int r;

    switch (pick(w, 8)) {
    case 0: return vfs_mknod(v, c, d, n, S_IFREG | 0644, 0, &a);
    case 1: return vfs_mknod(v, c, d, n, S_IFDIR | 0755, 0, &a);
    case 2: return vfs_unlink(v, c, d, n);
    case 3: return vfs_rmdir(v, c, d, n);
    case 4: r = vfs_lookup(v, d, n, &a); return r < 0 ? r : vfs_link(v, c, a.node, e, m, &a);
    case 5: r = vfs_lookup(v, d, n, &a); return r < 0 ? r : vfs_setattr(v, c, a.node, &sa, &a);
    case 6:
        r = vfs_lookup(v, d, n, &a);
        return r < 0 ? r : vfs_setxattr(v, c, a.node, "user.x", n, 1, 0, false);
    default: return vfs_rename(v, c, d, n, e, m, flags[pick(w, ARRAY_LEN(flags))]);
    }
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

static void *drop(void *arg)
{
    struct worker *w = arg;

    for (int i = 0; i < 50 && w->bad == 0; i++)
        w->bad = vfs_orphans_drop_all(w->f->v);
    return NULL;
}

NS_TEST(test_ns_threads__races_keep_the_tree_exact)
{
    vfs_node dirs[DIRS] = {NSFIX_ROOT};
    struct worker w[THREADS + 1];

    for (int i = 1; i < DIRS; i++)
        dirs[i] = nsfix_mk(f, i == 1 ? NSFIX_ROOT : dirs[i - 1], "stays", S_IFDIR | 0755);
    nsfix_turn(f);
    for (unsigned i = 0; i <= THREADS; i++) {
        w[i] = (struct worker){.f = f, .dirs = dirs, .state = test_seed() + i};
        CHECK(pthread_create(&w[i].id, NULL, i < THREADS ? work : drop, &w[i]) == 0);
    }
    for (unsigned i = 0; i <= THREADS; i++)
        pthread_join(w[i].id, NULL);
    for (unsigned i = 0; i <= THREADS; i++) {
        CHECK_OK(w[i].bad);
        CHECK(i == THREADS || w[i].ok > STEPS / 20);
    }
    CHECK_OK(vfs_orphans_drop_all(f->v));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
