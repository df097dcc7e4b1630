/* One LMDB transaction with all of the sealed delta, and how full it leaves the pages. LMDB halves a page that something is put into,
 * unless it is put behind all that the page holds. New entries of one table come in ascending order, one checkpoint after the other, but
 * behind the last entry of a table lies the first one of the next: the page in which the one ends and the other begins would be halved
 * again and again, and all that is left behind be half empty. So before many new entries what lies behind them in their page is taken out,
 * and put back after them. */
#include <errno.h>
#include <stdlib.h>

#include "base/mark.h"
#include "snap/store/kv_i.h"

struct writer {
    MDB_cursor *c;
    size_t psize;
    struct buf
        lifted; /* what waits to be put back: sizes of key and value (u16 each), key, value; again and again */
    uint8_t hi[DELTA_KEY_MAX]; /* up to this key LMDB holds only what was put last; hi_len 0: not known */
    size_t hi_len;
    bool hi_end; /* and up to its end */
};

static int write_one(MDB_cursor *c, const void *key, size_t klen, const void *val, size_t vlen)
{
    MDB_val k = {klen, (void *)(uintptr_t)key}, v = {vlen, (void *)(uintptr_t)val};
    int m;

    if (val)
        return mdb_cursor_put(c, &k, &v, 0);
    m = mdb_cursor_get(c, &k, &v, MDB_SET);
    if (m == MDB_NOTFOUND)
        return 0;
    return m ? m : mdb_cursor_del(c, 0);
}

static bool below_hi(const struct writer *w, const struct delta_node *n)
{
    return w->hi_end || (w->hi_len > 0 && delta_cmp(delta_key(n), n->klen, w->hi, w->hi_len) < 0);
}

/* Do the entries from n on fill a page before anything that is there already? */
static bool run_is_long(const struct writer *w, const struct delta_node *n)
{
    size_t bytes = 0;

    for (; n && bytes < w->psize && below_hi(w, n); n = delta_next(n))
        bytes += n->tomb ? 0 : n->klen + n->vlen;
    return bytes >= w->psize;
}

/* An entry of the page; 0: added. */
static int lifted_add(struct writer *w, const MDB_val *k, const MDB_val *v)
{
    uint8_t sizes[4];
    int r;

    put_le16(sizes, (uint16_t)k->mv_size);
    put_le16(sizes + 2, (uint16_t)v->mv_size);
    r = buf_add(&w->lifted, sizes, sizeof(sizes));
    if (r == 0)
        r = buf_add(&w->lifted, k->mv_data, k->mv_size);
    if (r == 0)
        r = buf_add(&w->lifted, v->mv_data, v->mv_size);
    return r < 0 ? ENOMEM : 0;
}

/* Takes out, or puts back. */
static int lifted_each(struct writer *w, bool back)
{
    const uint8_t *p = w->lifted.data, *end = buf_end(&w->lifted);
    int m = 0;

    while (p < end && !m) {
        size_t klen = get_le16(p), vlen = get_le16(p + 2);

        m = write_one(w->c, p + 4, klen, back ? p + 4 + klen : NULL, vlen);
        p += 4 + klen + vlen;
    }
    return m;
}

/* The cursor is at the entry behind the one that was just put, which lies at `at`. Those behind it in its page lie within a page's size
 * of it; one beside it in memory may look like it, and is lifted in vain. */
static int lift(struct writer *w, const uint8_t *at, MDB_val k, MDB_val v)
{
    int m = 0;

    while (m == 0 && (size_t)llabs((const uint8_t *)k.mv_data - at) < w->psize) {
        if (v.mv_size > w->psize / 2) { /* lies elsewhere: it is more to move than there is to gain */
            w->lifted.len = 0;
            return 0;
        }
        m = lifted_add(w, &k, &v);
        if (m == 0)
            m = mdb_cursor_get(w->c, &k, &v, MDB_NEXT);
    }
    if (m && m != MDB_NOTFOUND)
        return m;
    if (w->lifted.len)
        MARK("kv: way made for a run");
    return lifted_each(w, false);
}

/* After n was put: is it the first one of many? */
static int run_begin(struct writer *w, const struct delta_node *n)
{
    const struct delta_node *next = delta_next(n);
    MDB_val at, k, v;
    int m;

    w->hi_len = 0;
    w->hi_end = false;
    if (!next || next->tomb || BROKEN(VARVE_BREAK_runs))
        return 0;
    m = mdb_cursor_get(w->c, &at, &v, MDB_GET_CURRENT);
    if (m == 0)
        m = mdb_cursor_get(w->c, &k, &v, MDB_NEXT);
    w->hi_end = m == MDB_NOTFOUND;
    if (m)
        return w->hi_end ? 0 : m;
    w->hi_len = k.mv_size;
    memcpy(w->hi, k.mv_data, k.mv_size);
    return run_is_long(w, next) ? lift(w, at.mv_data, k, v) : 0;
}

static int run_end(struct writer *w)
{
    int m = lifted_each(w, true);

    w->lifted.len = 0;
    return m;
}

static int write_node(struct writer *w, const struct delta_node *n)
{
    bool inside = below_hi(w, n);
    int m = inside || !w->lifted.len ? 0 : run_end(w);

    if (!m)
        m = write_one(w->c, delta_key(n), n->klen, n->tomb ? NULL : n->val, n->vlen);
    return m || inside || n->tomb ? m : run_begin(w, n);
}

static int write_sealed(struct kv *kv, struct writer *w, const struct kv_item *extra, struct kv_written *ret)
{
    const struct delta_node *n;
    int m = 0;

    *ret = (struct kv_written){0};
    for (n = kv->sealed ? delta_first(kv->sealed) : NULL; n && !m; n = delta_next(n)) {
        m = write_node(w, n);
        ret->entries++;
        ret->bytes += n->klen + n->vlen;
    }
    if (!m)
        m = run_end(w);
    if (!m && extra->key)
        m = write_one(w->c, extra->key, extra->klen, extra->val, extra->vlen);
    return m;
}

int kv__write_once(struct kv *kv, const struct kv_item *extra, struct kv_written *ret)
{
    struct writer w = {0};
    MDB_stat st;
    MDB_txn *txn;
    int m = mdb_txn_begin(kv->env, NULL, 0, &txn);

    if (m)
        return m;
    m = mdb_stat(txn, kv->dbi, &st);
    if (!m)
        m = mdb_cursor_open(txn, kv->dbi, &w.c);
    if (!m) {
        w.psize = st.ms_psize;
        m = write_sealed(kv, &w, extra, ret);
        mdb_cursor_close(w.c);
        buf_free(&w.lifted);
    }
    if (m) {
        mdb_txn_abort(txn);
        return m;
    }
    return mdb_txn_commit(txn);
}
