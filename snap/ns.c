#include "snap/ns.h"

#include <sys/stat.h>

#include "base/log.h"
#include "snap/snapshot.h"

static bool node_live(const struct vol *v, vfs_node n)
{
    return n.v == INO_ROOT || vfs_node_view(n) == v->rec.live_view;
}

static void place_live(struct ns *o)
{
    o->at = vol_now(o->v);
    o->to = vol_write(o->v);
    o->view = o->v->rec.live_view;
    o->live = true;
}

static void place_view(struct ns *o, vfs_node n, const struct view_rec *rec)
{
    o->at = (struct vt_at){rec->branch, rec->layer};
    o->to = (struct vt_at){0, 0};
    o->view = vfs_node_view(n);
    o->view_dir = rec->dir;
    o->live = false;
}

int ns_read(struct vol *v, vfs_node n, struct ns *o, uint64_t *ret_ino)
{
    struct view_rec rec;
    int r;

    if (vfs_node_ino(n) == 0)
        return -E_STALE;
    *o = (struct ns){.v = v};
    r = txn_begin(v->store, TXN_READ, OP_NONE, v, &o->t);
    if (r < 0)
        return r;
    if (node_live(v, n)) {
        place_live(o);
    } else {
        /* a view's place never changes: it is looked up with no lock held */
        txn_abort(&o->t);
        r = view_get(v, vfs_node_view(n), &rec);
        if (r < 0)
            return r == -E_NOENT ? -E_STALE : r;
        r = txn_begin(v->store, TXN_READ, OP_NONE, v, &o->t);
        if (r < 0)
            return r;
        place_view(o, n, &rec);
    }
    *ret_ino = vfs_node_ino(n);
    return 0;
}

/* What changing a node gives that is not in the live tree. */
static int why_not_live(struct vol *v, vfs_node n)
{
    struct view_rec rec;
    int r = view_get(v, vfs_node_view(n), &rec);

    if (r < 0)
        return r == -E_NOENT ? -E_STALE : r;
    return rec.kind == 2 ? -E_STALE : -E_ROFS;
}

int ns_changeable(struct vol *v, vfs_node n)
{
    struct txn t;
    bool live, readonly;
    int r;

    if (vfs_node_ino(n) == 0)
        return -E_STALE;
    r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);
    if (r < 0)
        return r;
    live = node_live(v, n);
    readonly = v->readonly;
    txn_abort(&t);
    if (!live)
        return why_not_live(v, n);
    return readonly ? -E_ROFS : 0;
}

int ns_both_live(struct vol *v, vfs_node a, vfs_node b)
{
    struct txn t;
    bool live_a, live_b, readonly;
    int r;

    if (vfs_node_ino(a) == 0 || vfs_node_ino(b) == 0)
        return -E_STALE;
    r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);
    if (r < 0)
        return r;
    live_a = node_live(v, a);
    live_b = node_live(v, b);
    readonly = v->readonly;
    txn_abort(&t);
    if (live_a && live_b)
        return readonly ? -E_ROFS : 0;
    r = why_not_live(v, live_a ? b : a);
    return r == -E_ROFS && live_a != live_b ? -E_XDEV : r;
}

static bool op_frees(enum op_kind op)
{
    return op == OP_UNLINK || op == OP_RMDIR || op == OP_RECLAIM;
}

int ns_change(struct vol *v, const struct vfs_ctx *c, enum op_kind op, vfs_node n, struct ns *o,
              uint64_t *ret_ino)
{
    int r;

    if (vfs_node_ino(n) == 0)
        return -E_STALE;
    *o = (struct ns){.v = v, .c = c};
    r = op_frees(op) ? txn_begin_freeing(v->store, op, v, &o->t)
                     : txn_begin(v->store, TXN_WRITE, op, v, &o->t);
    if (r < 0)
        return r;
    if (!node_live(v, n)) {
        txn_abort(&o->t);
        return why_not_live(v, n);
    }
    if (v->readonly) {
        txn_abort(&o->t);
        return -E_ROFS;
    }
    if (c != NULL) {
        o->t.conn = c->conn;
        o->t.unique = c->unique;
    }
    place_live(o);
    *ret_ino = vfs_node_ino(n);
    return 0;
}

int ns_end(struct ns *o, int r)
{
    int cr;

    if (r < 0 || o->t.mode == TXN_READ) {
        txn_abort(&o->t);
        return r;
    }
    cr = txn_commit(&o->t);
    return cr < 0 ? cr : r;
}

bool ns_holds(const struct ns *o, vfs_node n)
{
    return node_live(o->v, n);
}

const struct timespec *ns_time(struct ns *o)
{
    if (!o->fresh) {
        inode_now(&o->time);
        o->fresh = true;
    }
    return &o->time;
}

int ns_inode(struct ns *o, uint64_t ino, struct inode *ret)
{
    int r = inode_get(&o->t, o->at, ino, ret);

    return r == -E_NOENT ? -E_STALE : r;
}

int ns_dir_inode(struct ns *o, uint64_t ino, bool need_linked, struct inode *ret)
{
    struct inode in;
    int r = ns_inode(o, ino, &in);

    if (r < 0)
        return r;
    if (!S_ISDIR(in.mode))
        return -E_NOTDIR;
    if (need_linked && in.nlink == 0)
        return -E_NOENT;
    *ret = in;
    return 0;
}

uint64_t ns_st_ino(const struct ns *o, uint64_t ino)
{
    return o->live || BROKEN(VARVE_BREAK_view_ino) ? ino : vfs_node_make(o->view, ino).v;
}

void ns_attr(const struct ns *o, const struct inode *in, struct vfs_attr *ret)
{
    bool root = o->live && in->ino == INO_ROOT;

    *ret = (struct vfs_attr){
        .node = root ? (vfs_node){INO_ROOT} : vfs_node_make(o->view, in->ino),
        .st_ino = ns_st_ino(o, in->ino),
        .size = in->size,
        .blocks512 = (in->blocks + in->more_blocks) * (BLOCK_SIZE / 512),
        .rdev = in->rdev,
        .change = in->change,
        .mode = in->mode,
        .nlink = in->nlink,
        .uid = in->uid,
        .gid = in->gid,
        .flags = in->flags,
        .atime = in->atime,
        .mtime = in->mtime,
        .ctime = in->ctime,
        .btime = in->btime,
    };
}

static void edit_apply(struct inode *in, void *arg)
{
    struct ns_edit *e = arg;
    uint32_t had = in->more_blocks;

    if (e->set & NS_MODE)
        in->mode = (in->mode & S_IFMT) | (e->mode & 07777);
    if (e->set & NS_UID)
        in->uid = e->uid;
    if (e->set & NS_GID)
        in->gid = e->gid;
    if (e->set & NS_ATIME)
        in->atime = e->atime;
    if (e->set & NS_MTIME)
        in->mtime = e->mtime;
    if (e->set & NS_CTIME)
        in->ctime = e->ctime;
    if (e->set & NS_PARENT) {
        in->parent = e->parent;
        in->parent_hash = e->parent_hash;
    }
    in->flags = (in->flags & ~e->flags_off) | e->flags_on;
    if (e->had && !inode_counted(in)) {
        in->xattr_names = (uint64_t)e->had->names;
        in->xattr_values = (uint64_t)e->had->values;
    }
    inode_more(in, &e->more);
    e->blocks = (int64_t)in->more_blocks - had;
}

int ns_edit(struct ns *o, uint64_t ino, struct ns_edit *e, struct inode *ret)
{
    int r = inode_update(&o->t, o->to, ino, edit_apply, e, ret);

    if (r == 0 && e->blocks > 0)
        r = vol_room(o->v, (uint64_t)e->blocks, 0);
    if (r == 0 && e->blocks != 0)
        txn_charge(&o->t, o->v, e->blocks, 0);
    return r == -E_NOENT ? -E_STALE : r;
}

int ns_edit_dir(struct ns *o, uint64_t dir, int32_t links)
{
    struct ns_edit e = {.set = NS_MTIME | NS_CTIME,
                        .more.links = BROKEN(VARVE_BREAK_dir_links) ? 0 : links,
                        .mtime = *ns_time(o),
                        .ctime = *ns_time(o)};

    return ns_edit(o, dir, &e, NULL);
}
