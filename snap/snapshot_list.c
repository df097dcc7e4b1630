/* Looking at snapshots. */
#include <stdlib.h>

#include "snap/internal.h"
#include "snap/space.h"

int snap_find(struct vol *v, const char *name, struct layer_rec *ret)
{
    struct layer l;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    r = layer_find(&t, v->rec.id, name, &l);
    if (r == 0)
        *ret = l.rec;
    txn_abort(&t);
    return r;
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

int snap_text(struct vol *v, const char *name, struct buf *ret)
{
    struct layer l;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    r = layer_find(&t, v->rec.id, name, &l);
    if (r == 0 && l.text_len)
        r = buf_add(ret, l.text, l.text_len);
    txn_abort(&t);
    return r;
}

int snap_get_info(struct vol *v, const char *name, struct snap_info *ret)
{
    struct space_unique u;
    struct layer l;
    struct txn t;
    int r;

    if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) < 0)
        return r;
    r = layer_find(&t, v->rec.id, name, &l);
    if (r == 0)
        r = space_unique(&t, &l.rec, &u);
    if (r == 0) {
        ret->rec = l.rec;
        ret->unique_bytes = u.blocks * BLOCK_SIZE;
        ret->freed_bytes = l.rec.children ? 0 : u.freed * BLOCK_SIZE;
    }
    txn_abort(&t);
    return r;
}

uint64_t snap_list_change(struct vol *v)
{
    return state_list_change(v->store, v->rec.id);
}

int64_t snap_list_mtime_ns(struct vol *v)
{
    return state_list_mtime_ns(v->store, v->rec.id);
}
