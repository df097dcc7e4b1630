/* What ranges are called by changes, their bytes do not: they move from one repository to another while they are read. */
#include "snap/store/cold_i.h"

#define LOOKED 1024u /* ranges looked at in one transaction */

static int next_range(struct txn *t, const struct cold_cursor *c, struct cold_range *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val v;
    size_t flen;
    int r = txn_ge(t, KEEP_FIRM, k, key_cold(k, c->object, c->block + 1), 1, &found, &flen, &v);

    return r < 0 ? r : cold_decode(found, flen, v.data, v.len, ret);
}

int cold_named(struct store *s, uint32_t source, struct cold_cursor *c, size_t most, struct buf *ret)
{
    size_t n = 0;
    int r = 0;

    while (r == 0 && n < most) {
        struct cold_range range;
        struct txn t;

        r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);
        if (r < 0)
            return r;
        for (unsigned i = 0; i < LOOKED && n < most && (r = next_range(&t, c, &range)) == 0; i++) {
            c->object = range.object;
            c->block = range.first + range.blocks;
            if (range.source != source)
                continue;
            n++;
            if ((r = buf_add(ret, &range, sizeof(range))) < 0)
                break;
        }
        txn_abort(&t);
    }
    return r == -E_NOENT ? 0 : r < 0 ? r : 1;
}

static bool same_range(const struct cold_range *a, const struct cold_range *b)
{
    return a->object == b->object && a->first == b->first && a->blocks == b->blocks &&
           a->source == b->source && a->ref.skip == b->ref.skip && a->ref.len == b->ref.len &&
           memcmp(a->ref.p, b->ref.p, a->ref.len) == 0;
}

static int switch_one(struct txn *t, const struct cold_switch *x, size_t *done)
{
    struct cold_range now;
    int r = cold_range_ge(t, x->was.object, x->was.first, &now);

    if (r == -E_NOENT || (r == 0 && !same_range(&now, &x->was) &&
                          !BROKEN(VARVE_BREAK_switch_blind))) /* brought or freed meanwhile, or in parts */
        return 0;
    if (r == 0)
        r = cold_source_there(t, x->source);
    if (r < 0)
        return r;
    now.source = x->source;
    now.ref = x->ref;
    (*done)++;
    return cold_put_new(t, &now);
}

int cold_switch(struct store *s, const struct cold_switch *v, size_t n, size_t *ret_done)
{
    size_t done = 0;
    struct txn t;
    int r;

    if (n > COLD_RUNS_MAX)
        return -E_INVAL;
    r = txn_begin(s, TXN_WRITE, OP_COLD, NULL, &t);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n && r == 0; i++)
        r = v[i].ref.len > COLD_REF_MAX ? -E_INVAL : switch_one(&t, &v[i], &done);
    if (r < 0 || done == 0) {
        txn_abort(&t);
        return r;
    }
    r = txn_commit(&t);
    if (r == 0)
        *ret_done += done;
    return r;
}
