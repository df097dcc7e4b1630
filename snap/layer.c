#include "snap/layer.h"

#include "base/clock.h"
#include "snap/state.h"
#include "snap/store/record.h"

/* What a record says it is, it must be by its key, too: steps go on from there. */
static int layer_decode(const struct txn_val *val, uint32_t vol, uint32_t layer, struct layer *ret)
{
    int r = layer_rec_decode(val->data, val->len, &ret->rec, &ret->text, &ret->text_len);

    return r == 0 && (ret->rec.vol != vol || ret->rec.layer != layer) ? -E_CORRUPT : r;
}

int layer_get(struct txn *t, uint32_t vol, uint32_t layer, struct layer *ret)
{
    uint8_t key[KEY_SIZE_MAX];
    struct txn_val val;
    struct layer l;
    int r;

    r = txn_get(t, KEEP_FIRM, key, key_u32_u32(key, TAB_LAYER, vol, layer), &val);
    if (r == 0)
        r = layer_decode(&val, vol, layer, &l);
    if (r == 0)
        *ret = l;
    return r;
}

int layer_put(struct txn *t, const struct layer_rec *rec, const char *text, size_t text_len)
{
    uint8_t key[KEY_SIZE_MAX];
    uint8_t *val;
    size_t n;

    if (text_len > LAYER_TEXT_MAX)
        return -E_TOOBIG;
    val = txn_alloc(t, RECORD_SIZE_MAX + text_len);
    if (!val)
        return -E_NOMEM;
    n = layer_rec_encode(rec, val);
    if (text_len)
        memcpy(val + n, text, text_len);
    return txn_put_plain(t, key, key_u32_u32(key, TAB_LAYER, rec->vol, rec->layer), val, n + text_len);
}

int layer_del(struct txn *t, uint32_t vol, uint32_t layer)
{
    uint8_t key[KEY_SIZE_MAX];

    return txn_del(t, KEEP_FIRM, (struct txn_owner){0}, key, key_u32_u32(key, TAB_LAYER, vol, layer));
}

int layer_each_from(struct txn *t, uint32_t vol, uint32_t from, int (*cb)(void *arg, const struct layer *l),
                    void *arg)
{
    uint8_t key[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val val;
    struct layer l;
    size_t flen;
    int r;

    for (;;) {
        size_t n = key_u32_u32(key, TAB_LAYER, vol, from);
        r = txn_ge(t, KEEP_FIRM, key, n, 5, &found, &flen, &val);
        if (r < 0)
            return r == -E_NOENT ? 0 : r;
        r = flen == 9 ? layer_decode(&val, vol, get_be32(found + 5), &l) : -E_CORRUPT;
        if (r < 0)
            return r;
        if ((r = cb(arg, &l)) != 0)
            return r;
        from = l.rec.layer + 1;
        if (from == 0)
            return 0;
    }
}

int layer_each(struct txn *t, uint32_t vol, int (*cb)(void *arg, const struct layer *l), void *arg)
{
    return layer_each_from(t, vol, 0, cb, arg);
}

bool layer_shown(const struct layer_rec *rec)
{
    return rec->state != LAYER_HIDDEN && rec->state != LAYER_DELETING && rec->name[0] != '.' && rec->name[0];
}

int layer_named(struct txn *t, uint32_t vol, const char *name, struct layer *ret)
{
    uint8_t key[KEY_SIZE_MAX];
    struct txn_val val;
    int r;

    if (strlen(name) > NAME_LEN_MAX)
        return -E_NAMETOOLONG;
    r = txn_get(t, KEEP_FIRM, key, key_snapname(key, vol, name), &val);
    if (r < 0)
        return r;
    return val.len == 4 ? layer_get(t, vol, get_le32(val.data), ret) : -E_CORRUPT;
}

int layer_name_put(struct txn *t, uint32_t vol, const char *name, uint32_t layer)
{
    uint8_t key[KEY_SIZE_MAX], val[4];

    put_le32(val, layer);
    return txn_put_plain(t, key, key_snapname(key, vol, name), val, sizeof(val));
}

int layer_name_del(struct txn *t, uint32_t vol, const char *name)
{
    uint8_t key[KEY_SIZE_MAX];

    return txn_del(t, KEEP_FIRM, (struct txn_owner){0}, key, key_snapname(key, vol, name));
}

int layer_doom(struct txn *t, struct layer *l)
{
    struct reclaim_rec rc = {
        .kind = RECLAIM_LAYER, .vol = l->rec.vol, .branch = l->rec.branch, .layer = l->rec.layer};
    int r;

    l->rec.state = l->rec.children ? LAYER_HIDDEN : LAYER_DELETING;
    r = layer_put(t, &l->rec, l->text, l->text_len);
    if (r == 0 && l->rec.state == LAYER_DELETING)
        r = txn_reclaim(t, &rc);
    return r;
}

int layer_children(struct txn *t, uint32_t branch, uint32_t layer, int by)
{
    struct branch_rec b;
    struct layer l;
    int r;

    r = branch_get(t->store, branch, &b);
    if (r == 0)
        r = layer_get(t, b.vol, layer, &l);
    if (r < 0)
        return r == -E_NOENT && by < 0 ? 0 : r; /* the whole volume goes */
    assert(by > 0 || l.rec.children > 0);
    l.rec.children += (uint32_t)by;
    if (l.rec.children == 0 && l.rec.state == LAYER_HIDDEN)
        return layer_doom(t, &l);
    return layer_put(t, &l.rec, l.text, l.text_len);
}

int layer_seal(struct txn *t, struct vol *v, const char *name, const struct uuid *group,
               struct volume_rec *vr, struct layer_rec *ret)
{
    struct layer_rec *rec = txn_alloc(t, sizeof(*rec));
    struct layer_orphans o;
    int64_t now = clock_wall_ns(), last;
    int r;

    if (!rec)
        return -E_NOMEM;
    if ((r = layer_orphans(t, vol_now(v), &o)) < 0 || (r = state_last_taken(t, v, &last)) < 0)
        return r;
    *rec = (struct layer_rec){.uuid = uuid_new(), .vol = vr->id, .layer = vr->layer, .branch = vr->head};
    if (group)
        rec->group = *group;
    rec->state = BROKEN(VARVE_BREAK_settle) ? LAYER_DURABLE : LAYER_SETTLING;
    rec->number = ++vr->snap_seq;
    /* the newest recovery point is the one taken last, whatever the clock says */
    rec->taken_ns = MAX_OF(last + 1, now);
    rec->blocks = vol_present_blocks(v) - o.blocks; /* writes under way add theirs when they end */
    rec->inodes = v->stat.inodes - o.inodes;
    rec->next_ino = v->stat.next_ino;
    rec->epoch = vr->epoch;
    memcpy(rec->name, name, strlen(name) + 1);
    vr->layer++;
    r = layer_put(t, rec, NULL, 0);
    if (r == 0)
        r = layer_name_put(t, vr->id, name, rec->layer);
    if (r == 0)
        *ret = *rec;
    return r;
}

static int orphans_each(struct txn *t, struct vt_at at, int (*cb)(void *arg, uint64_t ino), void *arg)
{
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    int r;

    vt_scan_init(&sc, t, KEEP_PENDING, at, TAB_ORPHAN, NULL, 0);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1)
        if ((r = cb(arg, get_be64(key))) < 0)
            return r;
    return r;
}

struct orphan_sum {
    struct txn *t;
    struct vt_at at;
    struct layer_orphans *ret;
};

static int add_orphan(void *arg, uint64_t ino)
{
    struct orphan_sum *o = arg;
    struct inode in;
    int r = inode_get(o->t, o->at, ino, &in);

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    o->ret->blocks += in.blocks + in.more_blocks;
    o->ret->inodes++;
    return 0;
}

int layer_orphans(struct txn *t, struct vt_at at, struct layer_orphans *ret)
{
    struct orphan_sum o = {t, at, ret};

    *ret = (struct layer_orphans){0};
    return orphans_each(t, at, add_orphan, &o);
}

struct orphan_queue {
    struct txn *t;
    struct reclaim_rec rec;
};

static int queue_orphan(void *arg, uint64_t ino)
{
    struct orphan_queue *q = arg;

    q->rec.ino = ino;
    return txn_reclaim(q->t, &q->rec);
}

int layer_orphans_queue(struct txn *t, struct vt_at at, uint32_t vol, uint32_t branch)
{
    struct orphan_queue q = {t, {.kind = RECLAIM_ORPHAN, .vol = vol, .branch = branch}};

    return orphans_each(t, at, queue_orphan, &q);
}
