#include "tier/have.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mark.h"
#include "tier/have_i.h"

#define PUT_AT_ONCE 1024 /* blobs in a transaction: each is a page of its own, in memory until it ends */

#define CHUNK_VAL 45
#define CHUNK_VAL_OWN 61 /* of a domain that is not the default one */

int have_get_chunk(struct have *h, const struct id16 *chunk, struct have_chunk *ret)
{
    uint8_t v[CHUNK_VAL_OWN];
    struct dec d = dec_of(v, sizeof(v));
    int r = have_get(h, K_CHUNK, chunk->b, 16, v, CHUNK_VAL, CHUNK_VAL_OWN);

    if (r < 0)
        return r;
    dec_copy(&d, ret->pack.b, 32);
    ret->off = dec_u32(&d);
    ret->stored_len = dec_u32(&d);
    ret->plain_len = dec_u32(&d);
    ret->kind = dec_u8(&d);
    dec_copy(&d, ret->domain.b, 16);
    return 0;
}

static int take_chunk(void *arg, const struct id16 *id, const struct have_chunk *c)
{
    uint8_t v[CHUNK_VAL_OWN];
    struct enc e = {v};

    if (((struct have_txn *)arg)->forget)
        return have_names(arg, HAVE_OLD, K_CHUNK, id->b, c->pack.b, 32)
                   ? have_drop(arg, HAVE_OLD, K_CHUNK, id->b, 16)
                   : 0;
    enc_bytes(&e, c->pack.b, 32);
    enc_u32(&e, c->off);
    enc_u32(&e, c->stored_len);
    enc_u32(&e, c->plain_len);
    enc_u8(&e, c->kind);
    if (!id16_none(&c->domain))
        enc_bytes(&e, c->domain.b, 16);
    return have_put(arg, HAVE_OLD, K_CHUNK, id->b, 16, v, (size_t)(e.p - v));
}

static int take_blob(void *arg, const struct id16 *blob, const struct have_blob *b)
{
    struct have_txn *w = arg;

    return w->forget ? have_blob_forget(w, blob, b) : have_blob_put(w, blob, b);
}

static int take_trailer(struct have_txn *w, const struct sha *pack, const void *p, size_t len)
{
    struct trailer_cb cb = {take_chunk, take_blob, w};

    return trailer_walk(pack, p, len, &cb);
}

static int put_pending(struct have_txn *w, const struct sha *pack, uint64_t size, const void *trailer,
                       size_t len)
{
    cleanup(buf_free) struct buf v = {0};
    uint8_t n[8];
    int r;

    put_le64(n, size);
    if ((r = buf_add(&v, n, sizeof(n))) < 0 || (r = buf_add(&v, trailer, len)) < 0)
        return r;
    return have_put(w, HAVE_OLD, K_PENDING, pack->b, 32, v.data, v.len);
}

struct named_blob {
    struct id16 blob;
    struct have_blob at;
};

static int gather_blob(void *arg, const struct id16 *blob, const struct have_blob *b)
{
    struct named_blob n = {*blob, *b};

    return buf_add(arg, &n, sizeof(n));
}

static int by_blob(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct id16));
}

/* Side by side they share pages, and a transaction has few of them in memory. The others come in transactions of their own: where one is
 * missing, what it names is sent another time. */
static int blobs_in(struct have_txn *w, const struct buf *blobs)
{
    struct named_blob *v = (struct named_blob *)(void *)blobs->data;
    size_t n = blobs->len / sizeof(*v);
    int r = 0;

    if (n)
        qsort(v, n, sizeof(*v), by_blob);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (i > 0 && i % HAVE_LET_GO_EACH == 0)
            have_let_go(w->h);
        if (i > 0 && i % PUT_AT_ONCE == 0) {
            MARK("have: a pack taken in by parts");
            r = have_end(w, 0);
            if (r == 0)
                r = have_begin(w->h, w);
        }
        if (r == 0)
            r = take_blob(w, &v[i].blob, &v[i].at);
    }
    return r;
}

/* What came is there, wherever its names are: only damage ends the work. */
static int settled(struct have *h, int r)
{
    if (r < 0 && r != -E_CORRUPT)
        log_warn("tier", "cache-not-settled", "path=%s error=\"%s\"", h->dir, err_text(r));
    return r == -E_CORRUPT ? r : 0;
}

/* Its chunks, and that it is pending, first of all: what is not in a pack's entries is looked for nowhere else. */
int have_pack(struct have *h, const struct sha *pack, uint64_t size, const void *trailer, size_t len,
              bool pending)
{
    cleanup(buf_free) struct buf blobs = {0};
    struct have_txn w = {0};
    struct trailer_cb chunks = {take_chunk, NULL, &w}, names = {NULL, gather_blob, &blobs};
    int r = trailer_walk(pack, trailer, len, &names);

    if (r == 0)
        r = have_begin(h, &w);
    if (r < 0)
        return r;
    r = trailer_walk(pack, trailer, len, &chunks);
    if (r == 0 && pending)
        r = put_pending(&w, pack, size, trailer, len);
    if (r == 0)
        r = blobs_in(&w, &blobs);
    r = have_end(&w, r);
    return r < 0 ? r : settled(h, have_settle(h, blobs.len / sizeof(struct named_blob)));
}

static int take_pack(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    (void)size;
    return take_trailer(arg, pack, trailer, len);
}

static int unpend_pack(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    (void)size;
    (void)trailer;
    (void)len;
    return have_drop(arg, HAVE_OLD, K_PENDING, pack->b, 32);
}

/* An index of so many bytes names more than the young table is for. */
static bool is_many(size_t len)
{
    return len / TRAILER_BLOB > 4 * have_young_max;
}

static int index_in(struct have *h, const char *name, const void *p, size_t len, bool take)
{
    struct have_txn w = {0};
    int r = have_begin(h, &w);

    if (r < 0)
        return r;
    if (take && is_many(len))
        r = have_many(&w);
    if (r == 0 && take)
        r = index_walk(p, len, take_pack, &w);
    if (r == 0)
        r = index_walk(p, len, unpend_pack, &w);
    if (r == 0)
        r = have_put(&w, HAVE_OLD, K_INDEX, name, strlen(name), "", 0);
    return have_end(&w, r);
}

/* Who opens a repository waits for it: names of many are where they belong, and filters come with what is put. */
int have_index(struct have *h, const char *name, const void *p, size_t len)
{
    int r = index_in(h, name, p, len, true);

    return r < 0 || is_many(len) ? r : settled(h, have_settle(h, len / TRAILER_BLOB));
}

int have_indexed(struct have *h, const char *name, const void *p, size_t len)
{
    return index_in(h, name, p, len, false);
}

void have_rest(struct have *h, uint64_t came, bool (*stop)(void *arg), void *arg)
{
    if (came > have_young_max && !BROKEN(VARVE_BREAK_have_all))
        (void)settled(h, have_settle_all(h, stop, arg)); /* who opens it next makes anew what is damaged */
}

int have_index_is(struct have *h, const char *name)
{
    int r = have_get(h, K_INDEX, name, strlen(name), NULL, 0, 0);

    return r == 0 ? 1 : r == -E_NOENT ? 0 : r;
}

/* --- all of a kind -------------------------------------------------------------------------------------------------- */

/* cb must not write: a reading transaction is open. */
static int each(struct have *h, uint8_t kind, size_t klen,
                int (*cb)(void *arg, const uint8_t *key, const MDB_val *v), void *arg)
{
    MDB_val k = {1, &kind}, v;
    MDB_cursor *c;
    MDB_txn *t;
    int m = mdb_txn_begin(h->t[HAVE_OLD].env, NULL, MDB_RDONLY, &t), r = 0;

    if (m != 0)
        return have_from_mdb(m);
    if ((m = mdb_cursor_open(t, h->t[HAVE_OLD].dbi, &c)) == 0) {
        for (m = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); m == 0 && r == 0 && *(uint8_t *)k.mv_data == kind;
             m = mdb_cursor_get(c, &k, &v, MDB_NEXT))
            r = k.mv_size == klen + 1 ? cb(arg, (uint8_t *)k.mv_data + 1, &v) : -E_CORRUPT;
        mdb_cursor_close(c);
    }
    mdb_txn_abort(t);
    return have_told(h, r != 0 ? r : m == MDB_NOTFOUND ? 0 : have_from_mdb(m));
}

struct naming {
    int (*cb)(void *arg, const char *name);
    void *arg;
};

static int name_one(void *arg, const uint8_t *key, const MDB_val *v)
{
    struct naming *n = arg;
    char name[SHA_TEXT];

    (void)v;
    memcpy(name, key, SHA_TEXT - 1);
    name[SHA_TEXT - 1] = 0;
    return n->cb(n->arg, name);
}

int have_indexes(struct have *h, int (*cb)(void *arg, const char *name), void *arg)
{
    struct naming n = {cb, arg};

    return each(h, K_INDEX, SHA_TEXT - 1, name_one, &n);
}

struct pending {
    int (*cb)(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len);
    void *arg;
};

static int pending_one(void *arg, const uint8_t *key, const MDB_val *v)
{
    struct pending *p = arg;
    struct sha pack;

    if (v->mv_size < 8)
        return -E_CORRUPT;
    memcpy(pack.b, key, sizeof(pack.b));
    return p->cb(p->arg, &pack, get_le64(v->mv_data), (const uint8_t *)v->mv_data + 8, v->mv_size - 8);
}

int have_pending(struct have *h,
                 int (*cb)(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len),
                 void *arg)
{
    struct pending p = {cb, arg};

    return each(h, K_PENDING, 32, pending_one, &p);
}

/* All indexes are read anew at the next look: they may say where else a chunk is. */
static int indexes_forget(struct have_txn *w)
{
    uint8_t kind = K_INDEX;
    MDB_val key = {1, &kind}, v;
    MDB_cursor *c;
    int m = mdb_cursor_open(w->t[HAVE_OLD], w->h->t[HAVE_OLD].dbi, &c);

    if (m != 0)
        return have_from_mdb(m);
    for (m = mdb_cursor_get(c, &key, &v, MDB_SET_RANGE); m == 0 && *(uint8_t *)key.mv_data == K_INDEX;
         m = mdb_cursor_get(c, &key, &v, MDB_NEXT))
        if ((m = mdb_cursor_del(c, 0)) != 0)
            break;
    mdb_cursor_close(c);
    return m == 0 || m == MDB_NOTFOUND ? 0 : have_from_mdb(m);
}

int have_forget_pack(struct have *h, const struct sha *pack)
{
    struct have_txn w = {.forget = true};
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, K_PENDING, pack->b, 32), v;
    int r = have_begin(h, &w);

    if (r < 0)
        return r;
    r = have_from_mdb(mdb_get(w.t[HAVE_OLD], h->t[HAVE_OLD].dbi, &k, &v));
    if (r == 0) {
        cleanup(buf_free) struct buf b = {0};

        if (v.mv_size < 8)
            r = -E_CORRUPT;
        else if ((r = buf_add(&b, (uint8_t *)v.mv_data + 8, v.mv_size - 8)) == 0)
            r = take_trailer(&w, pack, b.data, b.len);
    }
    if (r == 0)
        r = have_drop(&w, HAVE_OLD, K_PENDING, pack->b, 32);
    if (r == 0)
        r = indexes_forget(&w);
    return have_end(&w, r == -E_NOENT ? 0 : r);
}

int have_point(struct have *h, const char *id, struct buf *ret)
{
    uint8_t room[HAVE_KEY_MAX];
    MDB_val k = have_key(room, K_POINT, id, SHA_TEXT - 1), v;
    MDB_txn *t;
    int r = have_from_mdb(mdb_txn_begin(h->t[HAVE_OLD].env, NULL, MDB_RDONLY, &t));

    if (r < 0)
        return r;
    r = have_told(h, have_from_mdb(mdb_get(t, h->t[HAVE_OLD].dbi, &k, &v)));
    if (r == 0)
        r = buf_add(ret, v.mv_data, v.mv_size);
    mdb_txn_abort(t);
    return r;
}

int have_put_point(struct have *h, const char *id, const void *p, size_t len)
{
    struct have_txn w = {0};
    int r = have_begin(h, &w);

    return r < 0 ? r : have_end(&w, have_put(&w, HAVE_OLD, K_POINT, id, SHA_TEXT - 1, p, len));
}

struct keeping {
    struct buf b; /* pack, size u64, length u64, trailer: one after the other */
};

static int keep_one(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct keeping *k = arg;
    uint8_t head[48];
    struct enc e = {head};

    enc_bytes(&e, pack->b, sizeof(pack->b));
    enc_u64(&e, size);
    enc_u64(&e, len);
    if (buf_add(&k->b, head, sizeof(head)) < 0 || buf_add(&k->b, trailer, len) < 0)
        return -E_NOMEM;
    return 0;
}

/* All pending ones, as this transaction sees them. */
static int pending_collect(struct have_txn *w, struct keeping *k)
{
    uint8_t kind = K_PENDING;
    MDB_val key = {1, &kind}, v;
    struct pending p = {keep_one, k};
    MDB_cursor *c;
    int m = mdb_cursor_open(w->t[HAVE_OLD], w->h->t[HAVE_OLD].dbi, &c), r = 0;

    if (m != 0)
        return have_from_mdb(m);
    for (m = mdb_cursor_get(c, &key, &v, MDB_SET_RANGE);
         m == 0 && r == 0 && *(uint8_t *)key.mv_data == K_PENDING; m = mdb_cursor_get(c, &key, &v, MDB_NEXT))
        r = key.mv_size == 33 ? pending_one(&p, (uint8_t *)key.mv_data + 1, &v) : -E_CORRUPT;
    mdb_cursor_close(c);
    return r < 0 ? r : m == 0 || m == MDB_NOTFOUND ? 0 : have_from_mdb(m);
}

static int pending_put_back(struct have_txn *w, const struct keeping *k)
{
    int r = 0;

    for (size_t at = 0; r == 0 && at < k->b.len;) {
        struct dec d = dec_of(k->b.data + at, 48);
        struct sha pack;
        uint64_t size, len;

        dec_copy(&d, pack.b, sizeof(pack.b));
        size = dec_u64(&d);
        len = dec_u64(&d);
        r = take_trailer(w, &pack, k->b.data + at + 48, (size_t)len);
        if (r == 0)
            r = put_pending(w, &pack, size, k->b.data + at + 48, (size_t)len);
        at += 48 + (size_t)len;
    }
    return r;
}

/* One transaction: others may be writing. */
int have_empty_but_pending(struct have_txn *w)
{
    struct keeping k = {{0}};
    int r = pending_collect(w, &k);

    if (r == 0)
        r = have_empty(w);
    if (r == 0)
        r = pending_put_back(w, &k);
    buf_free(&k.b);
    return r;
}

int have_clear(struct have *h)
{
    struct have_txn w = {0};
    int r = have_begin(h, &w);

    return r < 0 ? r : have_end(&w, have_empty_but_pending(&w));
}
