/* Looking at snapshots. */
#include <stdlib.h>

#include "snap/internal.h"
#include "snap/space.h"

/* Calls use with the layer that is so called, while it cannot change. */
static int with_snapshot(struct vol *v, const char *name,
                         int (*use)(struct txn *t, const struct layer *l, void *ret), void *ret)
{
    struct layer l;
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = layer_find(&t, v->rec.id, name, &l);
    if (r == 0)
        r = use(&t, &l, ret);
    txn_abort(&t);
    return r;
}

static int use_record(struct txn *t, const struct layer *l, void *ret)
{
    (void)t;
    *(struct layer_rec *)ret = l->rec;
    return 0;
}

int snap_find(struct vol *v, const char *name, struct layer_rec *ret)
{
    return with_snapshot(v, name, use_record, ret);
}

int snap_by_layer(struct vol *v, uint32_t layer, struct layer_rec *ret)
{
    struct layer l;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    r = layer_get(&t, v->rec.id, layer, &l);
    if (r == 0 && !layer_shown(&l.rec))
        r = -E_NOENT;
    if (r == 0)
        *ret = l.rec;
    txn_abort(&t);
    return r;
}

/* Copies of the records, so that the callback runs without the store's lock. */
struct gather {
    struct buf recs, texts;
};
struct gathered {
    struct layer_rec rec;
    size_t text, text_len;
};

static void gather_free(struct gather *g)
{
    buf_free(&g->recs);
    buf_free(&g->texts);
}

static int gather_one(void *arg, const struct layer *l)
{
    struct gather *g = arg;
    struct gathered e = {l->rec, g->texts.len, l->text_len};
    int r;

    if (!layer_shown(&l->rec))
        return 0;
    if ((r = buf_add(&g->recs, &e, sizeof(e))) < 0)
        return r;
    return e.text_len ? buf_add(&g->texts, l->text, e.text_len) : 0;
}

int snap_each(struct vol *v,
              int (*cb)(void *arg, const struct layer_rec *rec, const char *text, size_t text_len), void *arg)
{
    cleanup(gather_free) struct gather g = {0};
    struct gathered e;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    r = layer_each(&t, v->rec.id, gather_one, &g);
    txn_abort(&t);
    for (size_t off = 0; r == 0 && off < g.recs.len; off += sizeof(e)) {
        memcpy(&e, g.recs.data + off, sizeof(e));
        r = cb(arg, &e.rec, e.text_len ? (const char *)g.texts.data + e.text : "", e.text_len);
    }
    return r;
}

static int use_text(struct txn *t, const struct layer *l, void *ret)
{
    (void)t;
    return l->text_len ? buf_add(ret, l->text, l->text_len) : 0;
}

int snap_text(struct vol *v, const char *name, struct buf *ret)
{
    return with_snapshot(v, name, use_text, ret);
}

static int use_info(struct txn *t, const struct layer *l, void *ret)
{
    struct snap_info *info = ret;
    struct space_unique u;
    int r = space_unique(t, &l->rec, &u);

    if (r == 0)
        *info = (struct snap_info){.rec = l->rec,
                                   .unique_bytes = u.blocks * BLOCK_SIZE,
                                   .freed_bytes = l->rec.children ? 0 : u.freed * BLOCK_SIZE};
    return r;
}

int snap_get_info(struct vol *v, const char *name, struct snap_info *ret)
{
    return with_snapshot(v, name, use_info, ret);
}

uint64_t snap_list_change(struct vol *v)
{
    return state_list_change(v->store, v->rec.id);
}

int64_t snap_list_mtime_ns(struct vol *v)
{
    return state_list_mtime_ns(v->store, v->rec.id);
}
