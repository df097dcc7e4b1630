/* Random operations against a model in memory: names, types, links, modes, attributes, and every snapshot taken. */
#include <stdlib.h>
#include <sys/xattr.h>

#include "snap/ns.h"
#include "snap/snapshot.h"
#include "tests/lib/nsfix.h"

#define NODES 160
#define NAMES 8
#define XATTRS 4
#define SNAPS 6
#define ROUNDS 1200

struct mnode {
    uint64_t ino; /* 0: free */
    uint32_t mode;
    uint32_t nlink;    /* names; a directory's as the filesystem counts them */
    int parent;        /* of a directory */
    int names[NAMES];  /* of a directory: node number under each name, -1 none */
    int xattr[XATTRS]; /* value, 0 none */
};

struct model {
    struct mnode n[NODES];
};

struct run {
    struct nsfix *f;
    struct model m;
    struct model *snaps;
    char snap_names[SNAPS][32];
    unsigned nsnaps;
    uint64_t state;
    unsigned kinds[16], done[16]; /* operations tried and those that succeeded */
};

static unsigned pick(struct run *x, unsigned n)
{
    return (unsigned)(test_rand(&x->state) % n);
}

static const char *name_of(unsigned i)
{
    static const char *const names[NAMES] = {"a", "b",        "longer-name",      "d",
                                             "e", "\xc3\xa9", "name with spaces", "h"};

    return names[i];
}

static bool is_dir(const struct model *m, int i)
{
    return S_ISDIR(m->n[i].mode);
}

static vfs_node node(const struct run *x, int i)
{
    return i == 0 ? NSFIX_ROOT : vfs_node_make(x->f->v->rec.live_view, x->m.n[i].ino);
}

static int free_node(const struct model *m)
{
    for (int i = 0; i < NODES; i++)
        if (m->n[i].ino == 0)
            return i;
    return -1;
}

static int pick_dir(struct run *x)
{
    for (;;) {
        int i = (int)pick(x, NODES);

        if (x->m.n[i].ino != 0 && is_dir(&x->m, i))
            return i;
    }
}

/* A node that has a name; the root if luck wants it. */
static int pick_any(struct run *x)
{
    for (;;) {
        int i = (int)pick(x, NODES);

        if (x->m.n[i].ino != 0)
            return i;
    }
}

static bool empty(const struct mnode *d)
{
    for (int i = 0; i < NAMES; i++)
        if (d->names[i] >= 0)
            return false;
    return true;
}

/* A name in a directory; more often one that is taken. */
static unsigned pick_name(struct run *x, int dir)
{
    unsigned name = pick(x, NAMES);

    for (unsigned i = 0; i < NAMES && x->m.n[dir].names[name] < 0 && pick(x, 4) != 0; i++)
        name = (name + 1) % NAMES;
    return name;
}

static void model_add(struct model *m, int dir, unsigned name, int i, uint64_t ino, uint32_t mode)
{
    m->n[i] = (struct mnode){.ino = ino, .mode = mode, .nlink = S_ISDIR(mode) ? 2 : 1, .parent = dir};
    for (int k = 0; k < NAMES; k++)
        m->n[i].names[k] = -1;
    m->n[dir].names[name] = i;
    m->n[dir].nlink += S_ISDIR(mode) != 0;
}

/* A name goes; with the last one the node does. */
static void model_drop(struct model *m, int dir, int i)
{
    if (is_dir(m, i)) {
        m->n[dir].nlink--;
        m->n[i].ino = 0;
    } else if (--m->n[i].nlink == 0) {
        m->n[i].ino = 0;
    }
}

static int op_make(struct run *x)
{
    static const uint32_t kinds[] = {S_IFREG | 0644, S_IFDIR | 0755, S_IFDIR | 0700, S_IFIFO | 0600,
                                     S_IFLNK | 0777};
    int dir = pick_dir(x), i = free_node(&x->m);
    unsigned name = pick(x, NAMES);
    uint32_t mode = kinds[pick(x, ARRAY_LEN(kinds))];
    struct vfs_attr a;
    int r;

    if (i < 0)
        return 0;
    if (S_ISLNK(mode))
        r = vfs_symlink(x->f->v, &x->f->c, node(x, dir), name_of(name), "some target", &a);
    else
        r = vfs_mknod(x->f->v, &x->f->c, node(x, dir), name_of(name), mode, 0, &a);
    CHECK_ERR(r, x->m.n[dir].names[name] >= 0 ? -E_EXIST : 0);
    if (r == 0)
        model_add(&x->m, dir, name, i, vfs_node_ino(a.node), mode);
    return r == 0;
}

static int op_link(struct run *x)
{
    int dir = pick_dir(x), i = pick_any(x), want = 0, r;
    unsigned name = pick(x, NAMES);
    struct vfs_attr a;

    if (is_dir(&x->m, i))
        want = -E_PERM;
    else if (x->m.n[dir].names[name] >= 0)
        want = -E_EXIST;
    r = vfs_link(x->f->v, &x->f->c, node(x, i), node(x, dir), name_of(name), &a);
    CHECK_ERR(r, want);
    if (r == 0) {
        x->m.n[dir].names[name] = i;
        x->m.n[i].nlink++;
    }
    return r == 0;
}

static int op_unlink(struct run *x)
{
    int dir = pick_dir(x), want = 0, i, r;
    unsigned name = pick_name(x, dir);

    i = x->m.n[dir].names[name];
    if (i < 0)
        want = -E_NOENT;
    else if (is_dir(&x->m, i))
        want = -E_ISDIR;
    r = vfs_unlink(x->f->v, &x->f->c, node(x, dir), name_of(name));
    CHECK_ERR(r, want);
    if (r == 0) {
        x->m.n[dir].names[name] = -1;
        model_drop(&x->m, dir, i);
    }
    return r == 0;
}

static int op_rmdir(struct run *x)
{
    int dir = pick_dir(x), want = 0, i, r;
    unsigned name = pick_name(x, dir);

    i = x->m.n[dir].names[name];
    if (i < 0)
        want = -E_NOENT;
    else if (!is_dir(&x->m, i))
        want = -E_NOTDIR;
    else if (!empty(&x->m.n[i]))
        want = -E_NOTEMPTY;
    r = vfs_rmdir(x->f->v, &x->f->c, node(x, dir), name_of(name));
    CHECK_ERR(r, want);
    if (r == 0) {
        x->m.n[dir].names[name] = -1;
        model_drop(&x->m, dir, i);
    }
    return r == 0;
}

/* Is dir i or below it? */
static bool inside(const struct model *m, int dir, int i)
{
    while (dir != i && dir != 0)
        dir = m->n[dir].parent;
    return dir == i;
}

static int rename_wants(const struct model *m, int fd, int from, int td, int to, unsigned flags)
{
    if (from < 0 || (to < 0 && (flags & VFS_EXCHANGE)))
        return -E_NOENT;
    if (to >= 0 && (flags & VFS_NOREPLACE))
        return -E_EXIST;
    if (from == to)
        return 0;
    if (is_dir(m, from) && inside(m, td, from))
        return -E_INVAL;
    if (flags & VFS_EXCHANGE)
        return is_dir(m, to) && inside(m, fd, to) ? -E_INVAL : 0;
    if (to < 0)
        return 0;
    if (is_dir(m, from) && !is_dir(m, to))
        return -E_NOTDIR;
    if (!is_dir(m, from) && is_dir(m, to))
        return -E_ISDIR;
    return is_dir(m, to) && !empty(&m->n[to]) ? -E_NOTEMPTY : 0;
}

static void model_put(struct model *m, int from_dir, int to_dir, unsigned to_name, int i)
{
    m->n[to_dir].names[to_name] = i;
    if (!is_dir(m, i))
        return;
    m->n[from_dir].nlink--;
    m->n[to_dir].nlink++;
    m->n[i].parent = to_dir;
}

static void model_rename(struct run *x, int fd, unsigned fn, int td, unsigned tn, unsigned flags)
{
    struct model *m = &x->m;
    int from = m->n[fd].names[fn], to = m->n[td].names[tn], w;

    if (from == to)
        return;
    if (flags & VFS_EXCHANGE) {
        model_put(m, fd, td, tn, from);
        model_put(m, td, fd, fn, to);
        return;
    }
    if (to >= 0)
        model_drop(m, td, to);
    m->n[fd].names[fn] = -1;
    model_put(m, fd, td, tn, from);
    if (!(flags & VFS_WHITEOUT))
        return;
    w = free_node(m);
    CHECK(w >= 0);
    model_add(m, fd, fn, w, vfs_node_ino(nsfix_look(x->f, node(x, fd), name_of(fn)).node), S_IFCHR);
}

static int op_rename(struct run *x)
{
    static const unsigned flags[] = {0, 0, 0, VFS_NOREPLACE, VFS_EXCHANGE, VFS_EXCHANGE, VFS_WHITEOUT};
    unsigned fl = flags[pick(x, ARRAY_LEN(flags))], fn, tn = pick(x, NAMES);
    int fd = pick_dir(x), td = pick_dir(x), want, r;

    if ((fl & VFS_WHITEOUT) && free_node(&x->m) < 0)
        return 0;
    fn = pick_name(x, fd);
    want = rename_wants(&x->m, fd, x->m.n[fd].names[fn], td, x->m.n[td].names[tn], fl);
    r = vfs_rename(x->f->v, &x->f->c, node(x, fd), name_of(fn), node(x, td), name_of(tn), fl);
    CHECK_ERR(r, want);
    if (r == 0)
        model_rename(x, fd, fn, td, tn, fl);
    return r == 0;
}

static int op_chmod(struct run *x)
{
    int i = pick_any(x);
    uint32_t mode = pick(x, 01000);
    struct vfs_attr a;

    if (S_ISLNK(x->m.n[i].mode))
        return 0;
    CHECK_OK(
        vfs_setattr(x->f->v, &x->f->c, node(x, i), &(struct vfs_setattr){.set = VFS_MODE, .mode = mode}, &a));
    x->m.n[i].mode = (x->m.n[i].mode & S_IFMT) | mode;
    CHECK_EQ(a.mode, x->m.n[i].mode);
    return 1;
}

static int op_xattr(struct run *x)
{
    int i = pick_any(x), r;
    unsigned k = pick(x, XATTRS);
    int *was = &x->m.n[i].xattr[k];
    char name[16], value[32];

    snprintf(name, sizeof(name), "user.%u", k);
    if (pick(x, 3) == 0) {
        r = vfs_removexattr(x->f->v, &x->f->c, node(x, i), name);
        CHECK_ERR(r, *was ? 0 : -E_NODATA);
        *was = 0;
        return r == 0;
    }
    snprintf(value, sizeof(value), "%u", 1 + pick(x, 100000));
    CHECK_OK(vfs_setxattr(x->f->v, &x->f->c, node(x, i), name, value, strlen(value),
                          *was ? XATTR_REPLACE : XATTR_CREATE, false));
    *was = (int)strtol(value, NULL, 10);
    return 1;
}

/* --- comparing --- */

static void same_xattrs(struct run *x, const struct mnode *mn, vfs_node n)
{
    for (unsigned k = 0; k < XATTRS; k++) {
        cleanup(buf_free) struct buf b = {0};
        char name[16], want[32];
        int r;

        snprintf(name, sizeof(name), "user.%u", k);
        r = vfs_getxattr(x->f->v, n, name, &b);
        CHECK_ERR(r, mn->xattr[k] ? 0 : -E_NODATA);
        snprintf(want, sizeof(want), "%d", mn->xattr[k]);
        if (r == 0)
            CHECK(strcmp(buf_cstr(&b), want) == 0);
    }
}

struct listing {
    const struct model *m;
    const struct mnode *dir;
    unsigned n;
};

static int listing_cb(void *arg, const struct vfs_dirent *e)
{
    struct listing *l = arg;

    if (e->cookie < NS_COOKIE_FIRST)
        return 0;
    l->n++;
    for (unsigned k = 0; k < NAMES; k++)
        if (strcmp(e->name, name_of(k)) == 0) {
            CHECK(l->dir->names[k] >= 0);
            CHECK_EQ(e->type, l->m->n[l->dir->names[k]].mode & S_IFMT);
            CHECK_EQ(e->ino & INO_MAX, l->m->n[l->dir->names[k]].ino);
            CHECK_EQ(e->attr.nlink, l->m->n[l->dir->names[k]].nlink);
            return 0;
        }
    CHECK(false);
    return 0;
}

static void same_tree(struct run *x, const struct model *m, int i, vfs_node n)
{
    const struct mnode *mn = &m->n[i];
    struct listing l = {.m = m, .dir = mn};
    struct vfs_attr a;
    unsigned want = 0;

    CHECK_OK(vfs_getattr(x->f->v, n, &a));
    CHECK_EQ(a.mode, mn->mode);
    CHECK_EQ(a.nlink, mn->nlink);
    CHECK_EQ(vfs_node_ino(a.node), mn->ino);
    same_xattrs(x, mn, n);
    if (!S_ISDIR(mn->mode))
        return;
    CHECK_OK(vfs_readdir(x->f->v, n, 0, true, listing_cb, &l));
    for (unsigned k = 0; k < NAMES; k++) {
        int r = vfs_lookup(x->f->v, n, name_of(k), &a);

        CHECK_ERR(r, mn->names[k] >= 0 ? 0 : -E_NOENT);
        want += r == 0;
        if (r == 0)
            same_tree(x, m, mn->names[k], a.node);
    }
    CHECK_EQ(l.n, want);
}

static void same_snaps(struct run *x)
{
    for (unsigned i = 0; i < x->nsnaps; i++) {
        struct vfs_attr a;
        vfs_node root;

        CHECK_OK(view_enter(x->f->v, x->snap_names[i], INO_ROOT, &root, &a));
        same_tree(x, &x->snaps[i], 0, root);
    }
}

static void take_snap(struct run *x, unsigned round)
{
    if (x->nsnaps == SNAPS) {
        CHECK_OK(snap_delete(x->f->v, &x->f->c, x->snap_names[pick(x, 1)]));
        memmove(x->snap_names, x->snap_names + 1, sizeof(x->snap_names[0]) * (SNAPS - 1));
        memmove(x->snaps, x->snaps + 1, sizeof(x->snaps[0]) * (SNAPS - 1));
        x->nsnaps--;
    }
    snprintf(x->snap_names[x->nsnaps], sizeof(x->snap_names[0]), "model-%u", round);
    CHECK_OK(snap_create(x->f->v, &x->f->c, x->snap_names[x->nsnaps], NULL));
    x->snaps[x->nsnaps++] = x->m;
}

static int (*const ops[])(struct run *) = {op_make,   op_make,   op_make,   op_make,  op_link,
                                           op_link,   op_unlink, op_unlink, op_rmdir, op_rename,
                                           op_rename, op_rename, op_chmod,  op_xattr};

static void step(struct run *x, unsigned k)
{
    x->kinds[k]++;
    x->done[k] += ops[k](x) > 0;
}

/* Chance may have left a kind out, or refused it each time. */
static void each_kind_once(struct run *x)
{
    for (unsigned k = 0; k < ARRAY_LEN(ops); k++) {
        for (unsigned i = 0; i < 1000 && x->done[k] == 0; i++) {
            step(x, pick(x, 4)); /* op_make: something to do it with */
            step(x, k);
        }
        CHECK(x->done[k] > 0);
    }
}

static void turn(struct run *x)
{
    unsigned before = x->f->turns;

    nsfix_turn(x->f);
    if (x->f->mode == NSFIX_CLONE && before < 4)
        x->nsnaps = 0; /* they belong to the volume it was cloned from */
}

static void model_run(struct nsfix *f, uint64_t seed)
{
    struct run x = {.f = f, .state = seed};

    x.snaps = calloc(SNAPS, sizeof(*x.snaps));
    CHECK(x.snaps != NULL);
    x.m.n[0] = (struct mnode){.ino = INO_ROOT, .mode = S_IFDIR | 0755, .nlink = 2};
    for (int k = 0; k < NAMES; k++)
        x.m.n[0].names[k] = -1;
    for (unsigned i = 1; i <= ROUNDS; i++) {
        step(&x, pick(&x, ARRAY_LEN(ops)));
        if (i % 97 == 0)
            take_snap(&x, i);
        if (i % 150 == 0)
            turn(&x);
        if (i % 40 == 0)
            CHECK_OK(vfs_orphans_drop_all(f->v));
        if (i % 60 == 0)
            same_tree(&x, &x.m, 0, NSFIX_ROOT);
        if (i % 300 == 0) {
            nsfix_verify(f);
            same_snaps(&x);
        }
    }
    each_kind_once(&x);
    same_tree(&x, &x.m, 0, NSFIX_ROOT);
    free(x.snaps);
}

NS_TEST(test_ns_model__random_operations)
{
    model_run(f, test_seed());
}

NS_TEST(test_ns_model__random_operations_in_one_hash_group)
{
    ns_hash_mask = 0;
    model_run(f, test_seed() + 1);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
