/* Cold ranges and their sources in the tables. A range has its end in its key: the one that holds a block is the first that ends
 * behind it, if it begins at it or before. Its value: blocks u32, source u32, skip u32, len u8, reference. */
#include "base/enc.h"
#include "snap/store/cold_i.h"
#include "snap/store/feature.h"
#include "snap/store/version.h"

size_t key_cold(uint8_t *out, uint64_t object, uint64_t end)
{
    out[0] = TAB_COLD;
    put_be64(out + 1, object);
    put_be64(out + 9, end);
    return 17;
}

size_t cold_encode(const struct cold_range *range, uint8_t *out)
{
    struct enc e = {out};

    assert(range->ref.len <= COLD_REF_MAX);
    enc_u32(&e, range->blocks);
    enc_u32(&e, range->source);
    enc_u32(&e, range->ref.skip);
    enc_u8(&e, range->ref.len);
    enc_bytes(&e, range->ref.p, range->ref.len);
    return (size_t)(e.p - out);
}

int cold_decode(const void *key, size_t klen, const void *p, size_t len, struct cold_range *ret)
{
    struct dec d = dec_of(p, len);
    struct cold_range range = {0};
    uint64_t end;

    if (klen != 17)
        return -E_CORRUPT;
    range.object = get_be64((const uint8_t *)key + 1);
    end = get_be64((const uint8_t *)key + 9);
    range.blocks = dec_u32(&d);
    range.source = dec_u32(&d);
    range.ref.skip = dec_u32(&d);
    range.ref.len = dec_u8(&d);
    if (d.bad || range.ref.len > COLD_REF_MAX || range.ref.len > d.left || range.blocks == 0 ||
        range.blocks > end)
        return -E_CORRUPT;
    dec_copy(&d, range.ref.p, range.ref.len);
    range.first = end - range.blocks;
    *ret = range;
    return 0;
}

int cold_put_new(struct txn *t, const struct cold_range *range)
{
    uint8_t k[KEY_SIZE_MAX], out[COLD_VALUE_MAX];
    struct cold *c = t->store->cold;

    if (range->source == __atomic_load_n(&c->leaving, __ATOMIC_SEQ_CST))
        __atomic_store_n(&c->leaving_named, true, __ATOMIC_SEQ_CST);
    __atomic_store_n(&t->store->cold_any, true, __ATOMIC_RELAXED);
    return txn_put_plain(t, k, key_cold(k, range->object, range->first + range->blocks), out,
                         cold_encode(range, out));
}

int cold_range_ge(struct txn *t, uint64_t object, uint64_t block, struct cold_range *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    size_t flen;
    struct txn_val v;
    int r = txn_ge(t, KEEP_FIRM, k, key_cold(k, object, block + 1), 9, &found, &flen, &v);

    return r < 0 ? r : cold_decode(found, flen, v.data, v.len, ret);
}

int cold_ranges_each(struct txn *t, uint64_t object, uint64_t from,
                     int (*cb)(void *arg, const struct cold_range *range), void *arg)
{
    struct cold_range range;
    int r = 0;

    while (r == 0 && (r = cold_range_ge(t, object, from, &range)) == 0) {
        from = range.first + range.blocks;
        r = cb(arg, &range);
    }
    return r == -E_NOENT ? 0 : r;
}

/* What is left of a range when [first, end) is taken out of it. */
static int cut_range(struct txn *t, const struct cold_range *was, uint64_t first, uint64_t end)
{
    uint64_t last = was->first + was->blocks;
    struct cold_range part = *was;
    uint8_t k[KEY_SIZE_MAX];
    int r = 0;

    if (last <= end) { /* else its key stays, with what is behind */
        r = txn_del(t, KEEP_FIRM, (struct txn_owner){0}, k, key_cold(k, was->object, last));
    } else {
        part.first = end;
        part.blocks = (uint32_t)(last - end);
        part.ref.skip += (uint32_t)(end - was->first);
        r = cold_put_new(t, &part);
    }
    if (r < 0 || was->first >= first)
        return r;
    part = *was;
    part.blocks = (uint32_t)(first - was->first);
    return cold_put_new(t, &part);
}

int cold_cut(struct txn *t, uint64_t object, uint64_t first, uint64_t end, unsigned most)
{
    struct cold_range range;
    int r;

    for (unsigned n = 0; first < end; n++) {
        if (n == most)
            return 1;
        r = cold_range_ge(t, object, first, &range);
        if (r == -E_NOENT || (r == 0 && range.first >= end))
            return 0;
        if (r == 0)
            r = cut_range(t, &range, MAX_OF(first, range.first), MIN_OF(end, range.first + range.blocks));
        if (r < 0)
            return r;
        first = range.first + range.blocks;
    }
    return 0;
}

int cold_load(struct store *s)
{
    uint8_t first[17] = {TAB_COLD};
    const uint8_t *found;
    struct txn_val v;
    struct txn t;
    size_t flen;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = txn_ge(&t, KEEP_FIRM, first, sizeof(first), 1, &found, &flen, &v);
    if (r != -E_NOENT || BROKEN(VARVE_BREAK_cold_unseen))
        __atomic_store_n(&s->cold_any, !BROKEN(VARVE_BREAK_cold_unseen), __ATOMIC_RELAXED);
    else /* with the lock held shared: nobody puts one meanwhile */
        __atomic_store_n(&s->cold_any, false, __ATOMIC_RELAXED);
    txn_abort(&t);
    return r == -E_NOENT || r == -E_CORRUPT ? 0 : r;
}

int cold_begin(struct store *s)
{
    int r;

    if (__atomic_load_n(&s->cold->begun, __ATOMIC_RELAXED))
        return 0;
    if (!store_writable(s))
        return -E_ROFS;
    r = feature_require(s, STORE_HAS_COLD);
    if (r == 0)
        __atomic_store_n(&s->cold->begun, true, __ATOMIC_RELAXED);
    return r;
}

/* --- one by one ------------------------------------------------------------------------------------------------------------- */

int cold_object_new(struct txn *t, struct vol *v, uint64_t ino, uint64_t *ret)
{
    struct object_rec rec = {
        .ino = ino, .vol = v->rec.id, .branch = v->rec.head, .layer = v->rec.layer, .flags = OBJECT_COLD};
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];

    if (!__atomic_load_n(&t->store->cold->begun, __ATOMIC_RELAXED))
        return -E_NOTSUP;
    *ret = rec.object = txn_next_object(t);
    return txn_put_plain(t, k, key_u64(k, TAB_OBJECT, rec.object), out, object_rec_encode(&rec, out));
}

static void is_cold_now(struct store *s, void *arg)
{
    objfd_not_hot(s, *(const uint64_t *)arg);
    __atomic_store_n(&s->cold->put_lsn, journal_appended(s->journal), __ATOMIC_SEQ_CST);
}

static int mark_cold(struct txn *t, uint64_t object)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    uint64_t *arg = txn_alloc(t, sizeof(*arg));
    struct object_rec rec;
    int r = arg ? object_get(t, object, &rec) : -E_NOMEM;

    if (r < 0)
        return r;
    *arg = object;
    r = txn_on_commit(t, is_cold_now, arg);
    if (r < 0 || (rec.flags & OBJECT_COLD))
        return r;
    rec.flags |= OBJECT_COLD;
    return txn_put_plain(t, k, key_u64(k, TAB_OBJECT, object), out, object_rec_encode(&rec, out));
}

/* In the transaction that names it: whoever takes sources away looks for such names afterwards. */
int cold_source_there(struct txn *t, uint32_t source)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    int r = txn_get(t, KEEP_FIRM, k, key_u32(k, TAB_SOURCE, source), &v);

    return r == -E_NOENT ? -E_STALE : r;
}

int cold_range_put(struct txn *t, const struct cold_range *range)
{
    struct cold_range other;
    int r;

    if (!__atomic_load_n(&t->store->cold->begun, __ATOMIC_RELAXED))
        return -E_NOTSUP;
    if (!range->object || !range->blocks || range->ref.len > COLD_REF_MAX)
        return -E_INVAL;
    r = cold_range_ge(t, range->object, range->first, &other);
    if (r == 0 && other.first < range->first + range->blocks)
        return -E_EXIST;
    if (r == 0 || r == -E_NOENT)
        r = cold_source_there(t, range->source);
    if (r == 0)
        r = mark_cold(t, range->object);
    return r < 0 ? r : cold_put_new(t, range);
}

int cold_release(struct txn *t, const struct cold_range *range)
{
    int r = cold_range_put(t, range);

    return r < 0 ? r
                 : txn_reclaim(t, &(struct reclaim_rec){.kind = RECLAIM_RELEASE,
                                                        .object = range->object,
                                                        .first = range->first,
                                                        .count = range->blocks});
}

/* --- sources ------------------------------------------------------------------------------------------------------------------ */

/* The first source at or after a number. -E_NOENT. */
static int source_ge(struct txn *t, uint32_t from, uint32_t *ret, struct txn_val *ret_val)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    size_t flen;
    int r = txn_ge(t, KEEP_FIRM, k, key_u32(k, TAB_SOURCE, from), 1, &found, &flen, ret_val);

    if (r == 0 && flen != 5)
        r = -E_CORRUPT;
    if (r == 0)
        *ret = get_be32(found + 1);
    return r;
}

static int source_next(struct txn *t, uint32_t *ret)
{
    struct txn_val v;
    uint32_t last = 0;
    int r;

    while ((r = source_ge(t, last + 1, &last, &v)) == 0)
        continue;
    *ret = last + 1;
    return r == -E_NOENT ? 0 : r;
}

static int source_write(struct store *s, bool fresh, uint32_t *source, const void *text, size_t len)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    struct txn t;
    int r;

    if (len > COLD_SOURCE_MAX)
        return -E_TOOBIG;
    if (!__atomic_load_n(&s->cold->begun, __ATOMIC_RELAXED))
        return -E_NOTSUP;
    r = txn_begin(s, TXN_WRITE, OP_COLD, NULL, &t);
    if (r < 0)
        return r;
    r = fresh ? source_next(&t, source) : txn_get(&t, KEEP_FIRM, k, key_u32(k, TAB_SOURCE, *source), &v);
    if (r == 0)
        r = txn_put_plain(&t, k, key_u32(k, TAB_SOURCE, *source), text, len);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    r = txn_commit(&t);
    return r < 0 ? r : store_flush(s);
}

int cold_source_put(struct store *s, const void *text, size_t len, uint32_t *ret)
{
    uint32_t source = 0;
    int r = source_write(s, true, &source, text, len);

    if (r == 0)
        *ret = source;
    return r;
}

int cold_source_set(struct store *s, uint32_t source, const void *text, size_t len)
{
    return source_write(s, false, &source, text, len);
}

int cold_source_get(struct store *s, uint32_t source, struct buf *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = txn_get(&t, KEEP_FIRM, k, key_u32(k, TAB_SOURCE, source), &v);
    if (r == 0)
        r = buf_add(ret, v.data, v.len);
    txn_abort(&t);
    return r;
}

int cold_source_each(struct store *s, int (*cb)(void *arg, uint32_t source, const void *text, size_t len),
                     void *arg)
{
    cleanup(buf_free) struct buf text = {0};
    struct txn_val v;
    struct txn t;
    int r = 0;

    for (uint32_t at = 1; r == 0; at++) {
        r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);
        if (r < 0)
            return r;
        buf_reset(&text);
        r = source_ge(&t, at, &at, &v);
        if (r == 0)
            r = buf_add(&text, v.data, v.len);
        txn_abort(&t);
        if (r == 0)
            r = cb(arg, at, text.data, text.len);
    }
    return r == -E_NOENT ? 0 : r;
}

int cold_source_any(struct store *s)
{
    uint32_t source;
    struct txn_val v;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = source_ge(&t, 1, &source, &v);
    txn_abort(&t);
    return r == 0 ? 1 : r == -E_NOENT ? 0 : r;
}

/* Does a range name it? In short transactions: the tables may be large. */
static int source_named(struct store *s, uint32_t source)
{
    cleanup(buf_free) struct buf found = {0};
    struct cold_cursor c = {0};
    int r = cold_named(s, source, &c, 1, &found);

    return r < 0 ? r : found.len > 0 ? -E_BUSY : 0;
}

static int source_leave(struct store *s, uint32_t source)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn t;
    int r = txn_begin_freeing(s, OP_COLD, NULL, &t);

    if (r < 0)
        return r;
    if (__atomic_load_n(&s->cold->leaving_named, __ATOMIC_SEQ_CST))
        r = -E_BUSY;
    if (r == 0)
        r = txn_del(&t, KEEP_FIRM, (struct txn_owner){0}, k, key_u32(k, TAB_SOURCE, source));
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    return txn_commit(&t);
}

int cold_source_del(struct store *s, uint32_t source)
{
    struct cold *c = s->cold;
    int r;

    pthread_mutex_lock(&c->leave_lock);
    __atomic_store_n(&c->leaving_named, false, __ATOMIC_SEQ_CST);
    __atomic_store_n(&c->leaving, source, __ATOMIC_SEQ_CST);
    r = source_named(s, source);
    if (r == 0)
        r = source_leave(s, source);
    __atomic_store_n(&c->leaving, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&c->leave_lock);
    return r;
}
