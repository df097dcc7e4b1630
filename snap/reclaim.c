/* The hooks of this room: what the queue does with layers and branches, and what becomes of snapshots that were settling. */
#include "base/log.h"
#include "snap/idle.h"
#include "snap/internal.h"
#include "snap/store/record.h"

static int reclaim_hook(void *arg, struct store *s, const struct reclaim_rec *rec)
{
    (void)arg;
    switch (rec->kind) {
    case RECLAIM_LAYER: return reclaim_layer(s, rec);
    case RECLAIM_BRANCH: return reclaim_branch(s, rec);
    case RECLAIM_FLATTEN: return reclaim_flatten(s, rec);
    default: return 1; /* of a later version: stays */
    }
}

static int settled_hook(void *arg, struct store *s, uint32_t vol, uint32_t layer)
{
    (void)arg;
    return snap_settled(s, vol, layer);
}

static void closing_hook(void *arg, struct store *s)
{
    (void)arg;
    idle_free(s);
    state_drop(s);
}

struct opened {
    struct txn *t;
    bool vanish;
    uint32_t last; /* settling layer seen last; 0 none */
    bool any;
};

/* After a power cut a settling snapshot has lost bytes: it goes (F2). One taken for a clone that never came goes always. */
static int opened_layer(void *arg, const struct layer *found)
{
    struct opened *o = arg;
    struct layer l = *found;
    bool stray = l.rec.name[0] == '.' && l.rec.children == 0 && l.rec.state != LAYER_DELETING;
    int r;

    if (l.rec.state == LAYER_SETTLING)
        o->last = l.rec.layer;
    if (!stray && !(o->vanish && l.rec.state == LAYER_SETTLING))
        return 0;
    log_note("snap", "snapshot_gone", "vol=%u layer=%u settling=%d", l.rec.vol, l.rec.layer,
             l.rec.state == LAYER_SETTLING);
    o->any = true;
    r = layer_name_del(o->t, l.rec.vol, l.rec.name);
    if (r == 0)
        r = views_forget_layer(o->t, l.rec.vol, l.rec.branch, l.rec.layer, 0);
    return r < 0 ? r : layer_doom(o->t, &l);
}

static int opened_volume(struct store *s, uint32_t vol, bool vanish)
{
    struct txn t;
    struct opened o = {.t = &t, .vanish = vanish && !BROKEN(VARVE_BREAK_settle)};
    int r;

    if ((r = txn_begin_freeing(s, OP_SNAPSHOT, NULL, &t)) < 0)
        return r;
    t.vol = vol;
    r = layer_each(&t, vol, opened_layer, &o);
    if (r == 0 && o.any)
        r = txn_commit(&t);
    else
        txn_abort(&t);
    if (r == 0 && o.last && !vanish)
        store_settle(s, vol, o.last);
    return r;
}

static int opened_all(struct store *s, bool vanish)
{
    cleanup(buf_free) struct buf ids = {0};
    struct txn t;
    uint32_t id;
    int r;

    if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    for (struct vol *v = vol_first(s); v && r == 0; v = v->next)
        r = buf_add(&ids, &v->rec.id, sizeof(v->rec.id));
    txn_abort(&t);
    for (size_t off = 0; off < ids.len && r == 0; off += sizeof(id)) {
        memcpy(&id, ids.data + off, sizeof(id));
        r = opened_volume(s, id, vanish);
    }
    return r;
}

/* From here on a snapshot that settles is one of this boot. */
static int cut_seen_to(struct store *s)
{
    uint8_t key[KEY_SIZE_MAX];
    struct txn t;
    int r;

    if ((r = txn_begin_freeing(s, OP_NONE, NULL, &t)) < 0)
        return r;
    r = txn_del(&t, KEEP_FIRM, (struct txn_owner){0}, key, key_meta(key, META_CUT));
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

int snap_attach(struct store *s)
{
    static const struct store_hooks hooks = {
        .reclaim = reclaim_hook, .settled = settled_hook, .closing = closing_hook};
    struct store_state st;
    int r;

    if ((r = state_attach(s)) < 0)
        return r;
    store_get_state(s, &st);
    if ((r = views_load(s)) == 0 && st.mode == STORE_RW)
        r = opened_all(s, st.powercut);
    if (r == 0 && st.mode == STORE_RW && st.powercut)
        r = cut_seen_to(s);
    if (r < 0) {
        state_drop(s);
        return r;
    }
    store_set_hooks(s, &hooks);
    return st.mode == STORE_RW ? volume_make_leftovers(s) : 0;
}
