/* Settling snapshots become durable (F2). Those of a group do so in one record over all its volumes, or a power cut between two
 * would leave half of a group. */
#include "snap/internal.h"
#include "snap/store/record.h"

/* How far each volume has to be firm. */
struct reach {
    uint32_t vol, upto;
};

struct spread {
    struct txn *t;
    struct store *s;
    struct buf *reach;
    struct reach at;
    const struct uuid *group; /* looked for; NULL: any */
    bool more;
};

static int reach_raise(struct spread *sp, uint32_t vol, uint32_t layer)
{
    struct reach *r = (struct reach *)(void *)sp->reach->data;
    size_t n = sp->reach->len / sizeof(*r);

    for (size_t i = 0; i < n; i++) {
        if (r[i].vol != vol)
            continue;
        sp->more |= r[i].upto < layer;
        r[i].upto = MAX_OF(r[i].upto, layer);
        return 0;
    }
    sp->more = true;
    return buf_add(sp->reach, &(struct reach){vol, layer}, sizeof(*r));
}

static int spread_member(void *arg, const struct layer *l)
{
    struct spread *sp = arg;

    if (l->rec.state != LAYER_SETTLING || !uuid_equal(&l->rec.group, sp->group))
        return 0;
    return reach_raise(sp, l->rec.vol, l->rec.layer);
}

/* A settling layer within reach: if it belongs to a group, the group's other layers are within reach, too. */
static int spread_layer(void *arg, const struct layer *l)
{
    static const struct uuid none;
    struct spread *sp = arg;
    struct spread in = *sp;
    struct uuid group = l->rec.group;
    int r = 0;

    if (l->rec.state != LAYER_SETTLING || l->rec.layer > sp->at.upto || uuid_equal(&group, &none))
        return 0;
    in.group = &group;
    for (struct vol *v = vol_first(sp->s); v && r == 0; v = v->next)
        if (v->rec.id != sp->at.vol)
            r = layer_each(sp->t, v->rec.id, spread_member, &in);
    sp->more |= in.more;
    return r;
}

/* Empty when a later layer has settled this one and those before it. */
static int reach_find(struct store *s, uint32_t vol, uint32_t layer, struct buf *reach)
{
    struct txn t;
    struct spread sp = {.t = &t, .s = s, .reach = reach, .more = true};
    struct layer l;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = layer_get(&t, vol, layer, &l);
    if (r == 0 && l.rec.state != LAYER_SETTLING) {
        txn_abort(&t);
        return 0;
    }
    if (r == 0 || r == -E_NOENT)
        r = buf_add(reach, &(struct reach){vol, layer}, sizeof(struct reach));
    while (sp.more && r == 0) {
        sp.more = false;
        for (size_t i = 0; i < reach->len / sizeof(struct reach) && r == 0; i++) {
            memcpy(&sp.at, reach->data + i * sizeof(struct reach), sizeof(struct reach));
            r = layer_each(&t, sp.at.vol, spread_layer, &sp);
        }
    }
    txn_abort(&t);
    return r;
}

/* The first one was made firm by the caller. */
static int reach_firm(struct store *s, const struct buf *reach)
{
    int r = 0;

    for (size_t off = sizeof(struct reach); off < reach->len && r == 0; off += sizeof(struct reach)) {
        struct reach at;
        struct vol *v = NULL;
        struct txn t;

        memcpy(&at, reach->data + off, sizeof(at));
        if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) == 0) {
            v = vol_by_id(s, at.vol);
            txn_abort(&t);
        }
        if (v)
            layer_wait(v, at.upto);
        if (r == 0)
            r = file_make_firm(s, at.vol, at.upto);
    }
    return r;
}

struct settle {
    struct txn *t;
    uint32_t upto;
    bool any;
};

static int settle_one(void *arg, const struct layer *l)
{
    struct settle *st = arg;
    struct layer_rec rec = l->rec;

    if (rec.state != LAYER_SETTLING || rec.layer > st->upto)
        return 0;
    rec.state = LAYER_DURABLE;
    st->any = true;
    return layer_put(st->t, &rec, l->text, l->text_len);
}

int snap_settled(struct store *s, uint32_t vol, uint32_t layer)
{
    cleanup(buf_free) struct buf reach = {0};
    struct txn t;
    struct settle st = {.t = &t};
    int r = reach_find(s, vol, layer, &reach);

    if (r == 0)
        r = reach_firm(s, &reach);
    if (r < 0 || reach.len == 0 || (r = txn_begin_freeing(s, OP_SNAPSHOT, NULL, &t)) < 0)
        return r;
    t.vol = vol;
    t.part =
        !BROKEN(VARVE_BREAK_settle_answers); /* whatever command waits for this: it is not what was asked */
    for (size_t off = 0; off < reach.len && r == 0; off += sizeof(struct reach)) {
        struct reach at;

        memcpy(&at, reach.data + off, sizeof(at));
        st.upto = at.upto;
        r = layer_each(&t, at.vol, settle_one, &st);
    }
    if (r < 0 || !st.any) {
        txn_abort(&t);
        return r;
    }
    return txn_commit(&t);
}
