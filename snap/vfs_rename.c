#include <sys/stat.h>

#include "base/log.h"
#include "snap/ns.h"
#include "snap/store/ilock.h"

#define DEPTH_MAX 10000000u /* of directories: more means damage */

struct end {
    vfs_node node;
    uint64_t dir;
    struct ns_name name;
    bool there;
    struct ns_dirent e;
    struct inode in;
};

struct move {
    struct end from, to;
    unsigned flags;
    uint64_t locked[2]; /* inodes whose locks are held: what from and to name (0: nothing) */
    uint64_t state;     /* of the store when from and to were resolved */
};

static int end_resolve(struct ns *o, struct end *x)
{
    int r = ns_dirent_find(o, x->dir, &x->name, &x->e);

    x->there = r == 0;
    return r < 0 ? r : ns_inode(o, x->e.ino, &x->in);
}

/* Both names as they are. -E_NOENT, -E_EXIST, -E_NOTDIR. */
static int resolve(struct ns *o, struct move *m)
{
    struct inode up;
    int r = ns_dir_inode(o, m->from.dir, true, &up);

    if (r == 0)
        r = end_resolve(o, &m->from);
    if (r == 0 && m->to.dir != m->from.dir)
        r = ns_dir_inode(o, m->to.dir, true, &up);
    if (r < 0)
        return r;
    r = end_resolve(o, &m->to);
    if (r == -E_NOENT)
        return m->flags & VFS_EXCHANGE ? r : 0;
    if (r == 0 && (m->flags & VFS_NOREPLACE))
        return -E_EXIST;
    return r;
}

/* -E_INVAL when dir lies in or below ino: moving ino there would cut a loop off the tree. */
static int below(struct ns *o, uint64_t dir, uint64_t ino)
{
    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        struct inode in;
        int r;

        if (dir == ino)
            return -E_INVAL;
        if (dir == INO_ROOT)
            return 0;
        r = ns_dir_inode(o, dir, true, &in);
        if (r < 0)
            return r;
        dir = in.parent;
    }
    return log_err(-E_CORRUPT, "snap", "dir=%llu has no way up to the root", (unsigned long long)dir);
}

static int check_loops(struct ns *o, const struct move *m)
{
    int r = 0;

    if (m->from.dir == m->to.dir || BROKEN(VARVE_BREAK_rename_loop))
        return 0;
    if (S_ISDIR(m->from.in.mode))
        r = below(o, m->to.dir, m->from.e.ino);
    if (r == 0 && (m->flags & VFS_EXCHANGE) && S_ISDIR(m->to.in.mode))
        r = below(o, m->from.dir, m->to.e.ino);
    return r;
}

static int check_replace(struct ns *o, const struct move *m)
{
    bool from_dir = S_ISDIR(m->from.in.mode), to_dir;

    if (!m->to.there || (m->flags & VFS_EXCHANGE))
        return 0;
    to_dir = S_ISDIR(m->to.in.mode);
    if (from_dir && !to_dir)
        return -E_NOTDIR;
    if (!from_dir && to_dir)
        return -E_ISDIR;
    return to_dir ? ns_dir_empty(o, m->to.e.ino) : 0;
}

/* How many subdirectories each of the two directories gains or loses. */
static void count_links(const struct move *m, int32_t *ret_from, int32_t *ret_to)
{
    int32_t from = S_ISDIR(m->from.in.mode), to = m->to.there && S_ISDIR(m->to.in.mode);

    if (m->flags & VFS_EXCHANGE) {
        *ret_from = to - from;
        *ret_to = from - to;
    } else {
        *ret_from = -from;
        *ret_to = from - to;
    }
}

static int edit_dirs(struct ns *o, const struct move *m)
{
    int32_t from, to;
    int r;

    count_links(m, &from, &to);
    if (m->from.dir == m->to.dir)
        return ns_edit_dir(o, m->from.dir, from + to);
    if (to > 0) {
        struct inode in;

        r = ns_dir_inode(o, m->to.dir, true, &in);
        if (r == 0 && in.nlink >= NS_LINK_MAX)
            r = -E_MLINK;
        if (r < 0)
            return r;
    }
    r = ns_edit_dir(o, m->from.dir, from);
    return r < 0 ? r : ns_edit_dir(o, m->to.dir, to);
}

/* Puts the inode of one name under the other name. */
static int put_under(struct ns *o, const struct end *what, const struct end *where, uint64_t hash)
{
    int r = ns_dirent_put(o, where->dir, hash, what->e.ino, what->in.mode, &where->name);

    return r < 0 ? r : ns_link_move(o, &what->in, what->dir, what->e.hash, where->dir, hash);
}

static int put_whiteout(struct ns *o, const struct end *x)
{
    struct inode dir, in;
    int r = ns_dir_inode(o, x->dir, true, &dir);

    if (r == 0)
        r = ns_new(o, &dir, S_IFCHR, 0, 0, &in);
    if (r < 0)
        return r;
    in.parent = x->dir;
    in.parent_hash = x->e.hash;
    r = ns_dirent_put(o, x->dir, x->e.hash, in.ino, in.mode, &x->name);
    return r < 0 ? r : ns_new_put(o, &in);
}

static int move_over(struct ns *o, struct move *m)
{
    uint64_t hash = m->to.e.hash;
    int r = 0;

    /* a name taken over keeps its number */
    if (!(m->flags & VFS_WHITEOUT))
        r = ns_dirent_del(o, m->from.dir, m->from.e.hash);
    if (r == 0 && m->to.there)
        r = ns_link_drop(o, &m->to.in, m->to.dir, hash);
    else if (r == 0 && hash == 0) /* the old name's may be free now */
        r = ns_dirent_slot(o, m->to.dir, &m->to.name, &hash);
    if (r == 0)
        r = put_under(o, &m->from, &m->to, hash);
    if (r == 0 && (m->flags & VFS_WHITEOUT))
        r = put_whiteout(o, &m->from);
    return r;
}

static int exchange(struct ns *o, struct move *m)
{
    int r = put_under(o, &m->from, &m->to, m->to.e.hash);

    return r < 0 ? r : put_under(o, &m->to, &m->from, m->from.e.hash);
}

static int move_in(struct ns *o, struct move *m)
{
    int r = txn_state(&o->t) == m->state ? 0 : resolve(o, m);

    if (r < 0)
        return r;
    if (m->from.e.ino != m->locked[0] || (m->to.there ? m->to.e.ino : 0) != m->locked[1])
        return -E_AGAIN;
    if (m->to.there && m->to.e.ino == m->from.e.ino)
        return 0; /* two names of one file: both stay */
    r = check_loops(o, m);
    if (r == 0)
        r = check_replace(o, m);
    if (r == 0)
        r = m->flags & VFS_EXCHANGE ? exchange(o, m) : move_over(o, m);
    return r < 0 ? r : edit_dirs(o, m);
}

static int look(struct vol *v, struct move *m)
{
    struct ns o;
    int r = ns_read(v, m->from.node, &o, &m->from.dir);

    if (r < 0)
        return r;
    if (!o.live || !ns_holds(&o, m->to.node)) {
        ns_end(&o, 0);
        r = ns_both_live(v, m->from.node, m->to.node);
        return r < 0 ? r : -E_AGAIN;
    }
    if (v->readonly)
        return ns_end(&o, -E_ROFS);
    m->to.dir = vfs_node_ino(m->to.node);
    m->state = txn_state(&o.t);
    return ns_end(&o, resolve(&o, m));
}

/* F1: the new name must not be firm before the file's bytes are. */
static int settle(struct vol *v, const struct move *m)
{
    int r = 0;

    if (S_ISREG(m->from.in.mode))
        r = file_settle_locked(v, m->from.e.ino);
    if (r == 0 && (m->flags & VFS_EXCHANGE) && S_ISREG(m->to.in.mode))
        r = file_settle_locked(v, m->to.e.ino);
    return r == -E_NOENT ? -E_AGAIN : r;
}

static int rename_once(struct vol *v, const struct vfs_ctx *c, struct move *m)
{
    cleanup(ilock_drop) struct ilock lock = {0};
    struct ns o;
    int r = look(v, m);

    if (r < 0)
        return r;
    m->locked[0] = m->from.e.ino;
    m->locked[1] = m->to.there ? m->to.e.ino : 0;
    ilock_take(v->store, &lock, v->rec.id, m->locked, 2, true);
    r = settle(v, m);
    if (r < 0)
        return r;
    r = ns_change(v, c, OP_RENAME, m->from.node, &o, &m->from.dir);
    if (r < 0)
        return r;
    return ns_end(&o, ns_holds(&o, m->to.node) ? move_in(&o, m) : -E_STALE);
}

int vfs_rename(struct vol *v, const struct vfs_ctx *c, vfs_node from_dir, const char *from, vfs_node to_dir,
               const char *to, unsigned flags)
{
    struct move m = {.from.node = from_dir, .to.node = to_dir, .flags = flags};
    int r = ns_name_init(from, &m.from.name);

    if (r == 0)
        r = ns_name_init(to, &m.to.name);
    if (r < 0)
        return r;
    if ((flags & ~(VFS_NOREPLACE | VFS_EXCHANGE | VFS_WHITEOUT)) != 0 ||
        ((flags & VFS_EXCHANGE) && (flags & (VFS_NOREPLACE | VFS_WHITEOUT))))
        return -E_INVAL;
    r = -E_AGAIN;
    for (int i = 0; r == -E_AGAIN && i < NS_TRIES; i++)
        r = rename_once(v, c, &m);
    return r;
}
