/* Clones: a new volume whose branch begins at a snapshot (F14). */
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "snap/internal.h"

static int one_touched(void *arg, uint32_t layer, uint8_t tab, const uint8_t *key, size_t klen)
{
    (void)arg;
    (void)layer;
    (void)tab;
    (void)key;
    (void)klen;
    return 1;
}

int branch_from(struct txn *t, const struct layer_rec *rec, struct branch_rec *ret)
{
    struct branch_rec up, out = {.parent = rec->branch, .parent_layer = rec->layer};
    int r;

    for (;;) {
        if ((r = branch_get(t->store, out.parent, &up)) < 0)
            return r;
        if (!up.parent || (up.flags & BRANCH_FLATTENED))
            break;
        r = vt_touched(t, up.id, up.first_layer - 1, out.parent_layer, one_touched, NULL);
        if (r != 0)
            break;
        out.parent = up.parent; /* nothing of its own up to there: what it shows is its parent's */
        out.parent_layer = up.parent_layer;
    }
    if (r < 0)
        return r;
    out.depth = up.depth + 1;
    *ret = out;
    return out.depth > BRANCH_DEPTH_MAX ? -E_DEPTH : 0;
}

struct cloning {
    struct txn t;
    struct vol *from, *v;
    struct layer base;
    struct volume_rec vr;
    struct branch_rec b;
};

static void fill(struct cloning *c, const char *name)
{
    const struct volume_rec *of = &c->from->rec;

    c->vr = c->v->rec;
    c->vr.uuid = uuid_new();
    c->vr.family = of->family;
    memcpy(c->vr.hash_key, of->hash_key, sizeof(c->vr.hash_key));
    c->vr.layer = 1;
    c->vr.next_view = 1;
    c->vr.size_limit = of->size_limit;
    c->vr.inode_limit = of->inode_limit;
    c->vr.snap_limit = of->snap_limit;
    c->vr.key = of->key;
    c->vr.profile = of->profile;
    c->vr.origin_vol = of->id;
    c->vr.created_ns = clock_wall_ns();
    snprintf(c->vr.name, sizeof(c->vr.name), "%s", name);
}

static int put_all(struct cloning *c, const char *name)
{
    struct vt_at base = {c->base.rec.branch, c->base.rec.layer};
    struct vstat_rec st = {.next_ino = c->base.rec.next_ino};
    struct layer_orphans o;
    int r;

    if ((r = vol_new(&c->t, &c->v)) < 0)
        return r;
    fill(c, name);
    c->b.vol = c->vr.id;
    c->b.first_layer = 1;
    c->b.id = c->vr.head = txn_next_branch(&c->t);
    if ((r = layer_orphans(&c->t, base, &o)) < 0)
        return r;
    st.blocks = c->base.rec.blocks + o.blocks;
    st.inodes = c->base.rec.inodes + o.inodes;
    if ((r = branch_put(&c->t, &c->b)) < 0 || (r = vol_put(&c->t, c->v, &c->vr)) < 0)
        return r;
    if ((r = vol_put_stat(&c->t, c->v, &st)) < 0 || (r = volume_name_put(&c->t, name, c->vr.id)) < 0)
        return r;
    if ((r = layer_children(&c->t, c->b.parent, c->b.parent_layer, 1)) < 0)
        return r;
    if (c->b.depth > BRANCH_DEPTH_FLAT &&
        (r = txn_reclaim(
             &c->t, &(struct reclaim_rec){.kind = RECLAIM_FLATTEN, .vol = c->vr.id, .branch = c->b.id})) < 0)
        return r;
    return layer_orphans_queue(&c->t, base, c->vr.id, c->b.id);
}

/* A snapshot taken for the clone alone has no name in the list; when the branch begins elsewhere nothing keeps it. */
static int hide_own(struct cloning *c)
{
    int r = layer_name_del(&c->t, c->from->rec.id, c->base.rec.name);

    if (r == 0)
        r = layer_get(&c->t, c->from->rec.id, c->base.rec.layer, &c->base);
    return r < 0 ? r : layer_doom(&c->t, &c->base);
}

static int clone_once(struct vol *v, uint32_t layer, bool own, const char *name, struct vol **ret)
{
    struct cloning c = {.from = v};
    int r;

    if ((r = txn_begin(v->store, TXN_WRITE, OP_CLONE, NULL, &c.t)) < 0)
        return r;
    r = layer_get(&c.t, v->rec.id, layer, &c.base);
    if (r == 0 && !own && !layer_shown(&c.base.rec))
        r = -E_NOENT;
    if (r == 0 && vol_by_name(v->store, name))
        r = -E_EXIST;
    if (r == 0)
        r = branch_from(&c.t, &c.base.rec, &c.b);
    if (r == 0)
        r = put_all(&c, name);
    if (r == 0 && own)
        r = hide_own(&c);
    if (r < 0) {
        txn_abort(&c.t);
        return r;
    }
    if ((r = txn_commit(&c.t)) == 0 && ret)
        *ret = c.v;
    return r;
}

/* The snapshot that the clone stands on, durable (F2): one that is there, or one taken now and shown to nobody. */
static int base_of(struct vol *v, const char *snap, struct layer_rec *ret)
{
    char text[UUID_TEXT_SIZE], own[UUID_TEXT_SIZE + 8];
    struct uuid id = uuid_new();
    int r;

    if (snap && snap[0]) {
        r = snap_find(v, snap, ret);
    } else {
        uuid_format(&id, text);
        snprintf(own, sizeof(own), ".clone-%s", text);
        r = snap_take(v, NULL, own, ret);
    }
    return r < 0 ? r : snap_wait_durable(v, ret->layer);
}

int volume_clone(struct vol *v, const char *snap, const char *name, struct vol **ret)
{
    bool own = !snap || !snap[0];
    struct layer_rec base;
    struct vol *other;
    int r;

    if ((r = volume_name_check(name)) < 0)
        return r;
    if (volume_find(v->store, name, &other) == 0)
        return -E_EXIST;
    if ((r = base_of(v, snap, &base)) < 0)
        return r;
    r = clone_once(v, base.layer, own, name, ret);
    if (r < 0 && own)
        (void)snap_drop_internal(v, base.layer);
    return r;
}
