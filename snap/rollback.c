/* Rolling back (F7, F14): the volume goes on in a new branch that begins at the snapshot; the tree before stays as a snapshot
 * of its own, and the node ids that the kernel knew go on meaning it. O(1), apart from files without a name at that instant. */
#include "base/log.h"
#include "snap/internal.h"

struct rollback {
    struct txn t;
    struct vol *v;
    struct layer_rec to, before;
    struct branch_rec b;
    struct volume_rec vr;
};

/* The snapshot's durability is what the new tree stands on (F2): it is waited for before. */
static int target(struct vol *v, const char *name, struct layer_rec *ret)
{
    int r;

    if ((r = snap_find(v, name, ret)) < 0)
        return r;
    if (!layer_shown(ret))
        return -E_NOENT;
    return snap_wait_durable(v, ret->layer);
}

static int new_stat(struct rollback *rb)
{
    struct vstat_rec st = rb->v->stat;
    struct layer_orphans o;
    int r = layer_orphans(&rb->t, (struct vt_at){rb->to.branch, rb->to.layer}, &o);

    st.blocks = rb->to.blocks + o.blocks; /* they are uncounted when they are dropped */
    st.inodes = rb->to.inodes + o.inodes;
    return r < 0 ? r : vol_put_stat(&rb->t, rb->v, &st);
}

static int new_branch(struct rollback *rb)
{
    int r;

    if ((r = branch_from(&rb->t, &rb->to, &rb->b)) < 0)
        return r;
    rb->b.id = txn_next_branch(&rb->t);
    rb->b.vol = rb->vr.id;
    rb->b.first_layer = rb->vr.layer;
    rb->vr.head = rb->b.id;
    if ((r = branch_put(&rb->t, &rb->b)) < 0)
        return r;
    return layer_children(&rb->t, rb->b.parent, rb->b.parent_layer, 1);
}

static int change(struct rollback *rb)
{
    struct vt_at to = {rb->to.branch, rb->to.layer};
    char name[NAME_LEN_MAX + 1];
    uint32_t view;
    int r;

    rb->vr = rb->v->rec;
    r = snap_name_by_time(&rb->t, rb->vr.id, "before-rollback-", name);
    if (r == 0)
        r = layer_seal(&rb->t, rb->v, name, NULL, &rb->vr, &rb->before);
    if (r == 0)
        r = new_branch(rb);
    if (r == 0)
        r = view_number(&rb->vr, &view);
    if (r == 0)
        r = view_keep_live(&rb->t, rb->v, &rb->before);
    if (r == 0)
        r = new_stat(rb);
    if (r == 0)
        r = layer_orphans_queue(&rb->t, to, rb->vr.id, rb->b.id);
    if (r < 0)
        return r;
    if (!BROKEN(VARVE_BREAK_view_number))
        rb->vr.live_view = view;
    if (rb->b.depth > BRANCH_DEPTH_FLAT)
        r = txn_reclaim(&rb->t,
                        &(struct reclaim_rec){.kind = RECLAIM_FLATTEN, .vol = rb->vr.id, .branch = rb->b.id});
    return r < 0 ? r : vol_put(&rb->t, rb->v, &rb->vr);
}

static int rollback_once(struct vol *v, const struct vfs_ctx *c, const struct layer_rec *to,
                         struct rollback *rb)
{
    struct layer l;
    int r;

    rb->v = v;
    if ((r = txn_begin(v->store, TXN_WRITE, OP_ROLLBACK, v, &rb->t)) < 0)
        return r;
    if (c) {
        rb->t.conn = c->conn;
        rb->t.unique = c->unique;
    }
    r = layer_get(&rb->t, v->rec.id, to->layer, &l);
    if (r == 0 && !layer_shown(&l.rec))
        r = -E_NOENT;
    if (r == 0) {
        rb->to = l.rec;
        r = change(rb);
    }
    if (r < 0) {
        txn_abort(&rb->t);
        return r;
    }
    return txn_commit(&rb->t);
}

int snap_rollback(struct vol *v, const struct vfs_ctx *c, const char *name, char kept[NAME_LEN_MAX + 1])
{
    struct rollback rb = {0};
    struct layer_rec to;
    int r;

    if ((r = target(v, name, &to)) < 0)
        return r;
    /* most of what is pending, so that little is left to settle of the tree before */
    if ((r = file_make_firm(v->store, v->rec.id, v->rec.layer)) < 0)
        return r;
    r = rollback_once(v, c, &to, &rb);
    if (r == -E_DEPTH && (r = branch_flatten(v->store, rb.b.parent)) == 0)
        r = rollback_once(v, c, &to, &rb);
    if (r < 0)
        return r;
    state_deaths_forget(v->store, 0); /* counted along the way that was */
    snap_sealed(v, &rb.before);
    log_note("snap", "rollback", "vol=%u to=%s kept=%s branch=%u", v->rec.id, to.name, rb.before.name,
             rb.b.id);
    if (kept)
        memcpy(kept, rb.before.name, NAME_LEN_MAX + 1);
    return 0;
}
