#include <stdlib.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/io.h"
#include "snap/store/kv_i.h"
#include "snap/store/kv_trap.h"

enum { PENDING, ACTIVE, SEALED };
#define STEPS_MAX 6 /* along a map before it is searched from the top */

static void lmdb_leave(struct kv_read *r)
{
    int i;

    for (i = 0; i < 2; i++)
        if (r->seek[i].cursor)
            mdb_cursor_close(TAKE(r->seek[i].cursor));
    if (r->probe)
        mdb_cursor_close(TAKE(r->probe));
    if (r->txn)
        mdb_txn_abort(TAKE(r->txn));
    r->live = false;
}

void kv__read_free(struct kv_read *r)
{
    lmdb_leave(r);
    free(r->keep);
    free(r);
}

void **kv_read_keep(struct kv_read *r)
{
    return &r->keep;
}

static int read_renew(struct kv *kv, struct kv_read *r)
{
    int m = MDB_PANIC, i;

    if (r->txn)
        m = TRAPPED(mdb_txn_renew(r->txn));
    else if (kv->env)
        m = TRAPPED(mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &r->txn));
    for (i = 0; i < 2 && !m; i++) {
        r->seek[i].valid = r->seek[i].db_valid = false;
        if (r->seek[i].cursor)
            m = mdb_cursor_renew(r->txn, r->seek[i].cursor);
    }
    if (!m && r->probe)
        m = mdb_cursor_renew(r->txn, r->probe);
    r->live = m == 0;
    r->epoch = kv->epoch;
    return m;
}

/* Comes in. With r, which has no transaction: with that of an idle reader, if there is one. */
static void reader_enter(struct kv *kv, struct kv_read *r)
{
    struct kv_read **at, *from;

    pthread_mutex_lock(&kv->lock);
    while (kv->growing)
        pthread_cond_wait(&kv->change, &kv->lock);
    kv->inside++;
    for (at = &kv->idle; *at && !(*at)->txn; at = &(*at)->next)
        continue;
    from = *at;
    if (from) {
        *at = from->next;
        r->txn = TAKE(from->txn);
        r->probe = TAKE(from->probe);
        for (int i = 0; i < 2; i++)
            r->seek[i].cursor = TAKE(from->seek[i].cursor);
    }
    pthread_mutex_unlock(&kv->lock);
    if (from)
        kv__read_free(from);
}

static void reader_leave(struct kv *kv, struct kv_read *r)
{
    pthread_mutex_lock(&kv->lock);
    if (r) {
        r->next = kv->idle;
        kv->idle = r;
    }
    kv->inside--;
    pthread_cond_broadcast(&kv->change);
    pthread_mutex_unlock(&kv->lock);
}

static bool any_idle(const struct kv *kv)
{
    const struct kv_read *r = kv->idle;

    while (r && !r->txn)
        r = r->next;
    return r;
}

static void reader_wait(struct kv *kv)
{
    pthread_mutex_lock(&kv->lock);
    while (!any_idle(kv) && kv->inside > 0)
        pthread_cond_wait(&kv->change, &kv->lock);
    pthread_mutex_unlock(&kv->lock);
}

/* The commit that failed opens the tables anew in a moment. */
static void reader_wait_reopened(struct kv *kv)
{
    pthread_mutex_lock(&kv->lock);
    while (!kv->readonly)
        pthread_cond_wait(&kv->change, &kv->lock);
    pthread_mutex_unlock(&kv->lock);
}

int kv_read_begin(struct kv *kv, struct kv_read **ret)
{
    struct kv_read *r;
    int i;

    pthread_mutex_lock(&kv->lock);
    while (kv->growing)
        pthread_cond_wait(&kv->change, &kv->lock);
    r = kv->idle;
    if (r)
        kv->idle = r->next;
    kv->inside++;
    pthread_mutex_unlock(&kv->lock);
    if (!r)
        r = calloc(1, sizeof(*r));
    if (!r) {
        reader_leave(kv, NULL);
        return -E_NOMEM;
    }
    for (i = 0; i < 2; i++) {
        r->seek[i].valid = r->seek[i].db_valid = false;
        r->seek[i].gave_len = 0;
    }
    *ret = r;
    return 0;
}

void kv_read_end(struct kv *kv, struct kv_read *r)
{
    if (r->live)
        mdb_txn_reset(r->txn);
    r->live = false;
    reader_leave(kv, r);
}

/* The first look into LMDB in a bracket. */
static int read_start(struct kv *kv, struct kv_read *r)
{
    bool again = false;
    int m;

    while ((m = read_renew(kv, r)) != 0) {
        lmdb_leave(r);
        if (m == MDB_PANIC ? again : m != MDB_READERS_FULL)
            return log_err(kv__error(m), "tables", "what=reader lmdb=\"%s\"", mdb_strerror(m));
        reader_leave(kv, NULL);
        if (m == MDB_PANIC) {
            again = true;
            reader_wait_reopened(kv);
        } else {
            MARK("kv: all readers are taken");
            reader_wait(kv);
        }
        reader_enter(kv, r);
    }
    return 0;
}

/* The sealed delta went to LMDB and away since the bracket began: look at LMDB as it is now. */
int kv__read_fresh(struct kv *kv, struct kv_read *r)
{
    int m;

    if (!r->live)
        return read_start(kv, r);
    if (r->epoch == kv->epoch)
        return 0;
    MARK("kv: a reader outlives a checkpoint");
    mdb_txn_reset(r->txn);
    m = read_renew(kv, r);
    return m ? log_err(kv__error(m), "tables", "what=renew lmdb=\"%s\"", mdb_strerror(m)) : 0;
}

struct kv_hold {
    MDB_txn *txn; /* NULL: the environment was closed meanwhile, and nothing writes any more */
    struct kv_hold *next;
};

/* The transaction never looks into the map after it began, so the map may move. */
int kv_hold(struct kv *kv, struct kv_hold **ret, uint64_t *ret_txn)
{
    struct kv_hold *h = calloc(1, sizeof(*h));
    int m = MDB_PANIC;

    if (!h)
        return -E_NOMEM;
    pthread_mutex_lock(&kv->lock);
    while (kv->growing) /* or is opened anew */
        pthread_cond_wait(&kv->change, &kv->lock);
    if (kv->env)
        m = TRAPPED(mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &h->txn));
    if (m == 0) {
        *ret_txn = mdb_txn_id(h->txn);
        h->next = kv->holds;
        kv->holds = h;
    }
    pthread_mutex_unlock(&kv->lock);
    if (m == 0) {
        *ret = h;
        return 0;
    }
    free(h);
    return log_err(m == MDB_READERS_FULL ? -E_BUSY : kv__error(m), "tables", "what=hold lmdb=\"%s\"",
                   mdb_strerror(m));
}

void kv_unhold(struct kv *kv, struct kv_hold *h)
{
    struct kv_hold **at;

    pthread_mutex_lock(&kv->lock);
    for (at = &kv->holds; *at != h; at = &(*at)->next)
        continue;
    *at = h->next;
    if (h->txn)
        mdb_txn_abort(h->txn);
    pthread_mutex_unlock(&kv->lock);
    free(h);
}

void kv__holds_end(struct kv *kv)
{
    for (struct kv_hold *h = kv->holds; h; h = h->next)
        if (h->txn)
            mdb_txn_abort(TAKE(h->txn));
}

static const struct delta *map_of(const struct kv *kv, int layer, bool firm_only)
{
    switch (layer) {
    case PENDING: return firm_only ? NULL : pending_map(kv->pending);
    case ACTIVE: return kv->active;
    default: return kv->sealed;
    }
}

static void item_of_node(const struct delta_node *n, struct kv_item *ret)
{
    *ret = (struct kv_item){delta_key(n), n->klen, n->val, n->vlen, false};
}

/* --- where LMDB has nothing --- */

static struct kv_gap *gap_of(struct kv_read *r, const uint8_t *key, size_t klen)
{
    return &r->gap[(key[0] * 7u + klen) % KV_GAPS];
}

static bool gap_holds(const struct kv *kv, const struct kv_gap *g, const void *key, size_t klen)
{
    return g->known && (g->epoch == kv->epoch || BROKEN(VARVE_BREAK_gap_old)) &&
           delta_cmp(g->lo, g->lo_len, key, klen) < 0 &&
           (g->last || delta_cmp(key, klen, g->hi, g->hi_len) < 0);
}

/* Has LMDB no key from this one on that begins with its first plen bytes? */
static bool gap_ends(const struct kv *kv, struct kv_read *r, const uint8_t *key, size_t klen, size_t plen)
{
    const struct kv_gap *g = gap_of(r, key, klen);

    return plen > 0 && plen <= KV_GAP_KEY && gap_holds(kv, g, key, klen) &&
           (g->last || g->hi_len < plen || memcmp(g->hi, key, plen) != 0);
}

/* The probe stands at the first key beyond a missing one, or at the end. */
static void gap_learn(struct kv_read *r, struct kv_gap *g, const MDB_val *hi)
{
    MDB_val k, v;
    int m;

    g->known = false;
    g->last = !hi;
    if (hi) {
        g->hi_len = (uint8_t)MIN_OF(hi->mv_size, (size_t)KV_GAP_KEY);
        memcpy(g->hi, hi->mv_data, g->hi_len);
    }
    m = TRAPPED(kv_touch(mdb_cursor_get(r->probe, &k, &v, hi ? MDB_PREV : MDB_LAST), &k, &v));
    if (m == MDB_NOTFOUND)
        k = (MDB_val){.mv_data = g->lo}; /* before all keys */
    else if (m || k.mv_size > KV_GAP_KEY)
        return; /* whoever reads there hears of it */
    g->lo_len = (uint8_t)k.mv_size;
    memcpy(g->lo, k.mv_data, g->lo_len);
    g->epoch = r->epoch;
    g->known = true;
}

static int get_db(struct kv *kv, struct kv_read *r, const void *key, size_t klen, struct kv_item *ret)
{
    struct kv_gap *g = gap_of(r, key, klen);
    MDB_val k = {klen, (void *)(uintptr_t)key}, v;
    int m, e;

    if (gap_holds(kv, g, key, klen))
        return -E_NOENT;
    e = kv__read_fresh(kv, r);
    if (e < 0)
        return e;
    m = r->probe ? 0 : mdb_cursor_open(r->txn, kv->dbi, &r->probe);
    if (!m)
        m = TRAPPED(kv_touch(mdb_cursor_get(r->probe, &k, &v, MDB_SET_RANGE), &k, &v));
    if (m == MDB_CORRUPTED && r->probe)
        mdb_cursor_close(TAKE(r->probe));
    if (m && m != MDB_NOTFOUND)
        return log_err(kv__error(m), "tables", "what=get lmdb=\"%s\"", mdb_strerror(m));
    if (m == 0 && k.mv_size == klen && memcmp(k.mv_data, key, klen) == 0) {
        *ret = (struct kv_item){key, klen, v.mv_data, v.mv_size, true};
        return 0;
    }
    gap_learn(r, g, m == 0 ? &k : NULL);
    return -E_NOENT;
}

int kv_get(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen,
           struct kv_item *ret)
{
    const struct delta *map;
    const struct delta_node *n;
    int layer;

    io_move();
    assert(klen > 0);
    assert(klen <= DELTA_KEY_MAX);
    for (layer = PENDING; layer <= SEALED; layer++) {
        map = map_of(kv, layer, firm_only);
        if (!map || delta_count(map) == 0)
            continue;
        n = delta_get(map, key, klen);
        if (n && n->tomb)
            return -E_NOENT;
        if (n) {
            item_of_node(n, ret);
            return 0;
        }
    }
    return get_db(kv, r, key, klen, ret);
}

static int db_result(struct kv_seek *s, int m)
{
    s->db_end = m == MDB_NOTFOUND;
    s->db_valid = !m || s->db_end;
    return m && !s->db_end ? log_err(kv__error(m), "tables", "what=seek lmdb=\"%s\"", mdb_strerror(m)) : 0;
}

/* What a cursor that met a damaged page holds is not to be used again. */
static int cursor_get(struct kv_seek *s, MDB_cursor_op op)
{
    int m = TRAPPED(kv_touch(mdb_cursor_get(s->cursor, &s->db_key, &s->db_val, op), &s->db_key, &s->db_val));

    if (m == MDB_CORRUPTED) {
        mdb_cursor_close(s->cursor);
        s->cursor = NULL;
    }
    return db_result(s, m);
}

static int db_next(struct kv_seek *s)
{
    return cursor_get(s, MDB_NEXT);
}

static bool db_before(const struct kv_seek *s, const void *key, size_t klen)
{
    return !s->db_end && delta_cmp(s->db_key.mv_data, s->db_key.mv_size, key, klen) < 0;
}

static int db_seek(struct kv *kv, struct kv_read *r, struct kv_seek *s, bool ascending, const void *key,
                   size_t klen)
{
    int m, e;

    if (s->db_valid && ascending) {
        if (!db_before(s, key, klen))
            return 0;
        e = db_next(s);
        if (e < 0 || !db_before(s, key, klen))
            return e;
    }
    if (!s->cursor) {
        m = mdb_cursor_open(r->txn, kv->dbi, &s->cursor);
        if (m)
            return log_err(kv__error(m), "tables", "what=cursor lmdb=\"%s\"", mdb_strerror(m));
    }
    s->db_passed = false;
    s->db_key = (MDB_val){klen, (void *)(uintptr_t)key};
    return cursor_get(s, MDB_SET_RANGE);
}

static bool node_before(const struct delta_node *n, const void *key, size_t klen)
{
    return n && delta_cmp(delta_key(n), n->klen, key, klen) < 0;
}

static struct delta_node *map_seek(const struct delta *map, struct delta_node *n, bool ascending,
                                   const void *key, size_t klen)
{
    int i;

    if (!map || delta_count(map) == 0)
        return NULL;
    if (!ascending)
        return delta_ge(map, key, klen);
    for (i = 0; i < STEPS_MAX && node_before(n, key, klen); i++)
        n = delta_next(n);
    return node_before(n, key, klen) ? delta_ge(map, key, klen) : n;
}

/* All positions to the first entry >= key. */
static int seek_all(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen,
                    size_t plen)
{
    struct kv_seek *s = &r->seek[firm_only];
    bool ascending = s->valid && delta_cmp(key, klen, s->from, s->from_len) >= 0;
    bool left_out = gap_ends(kv, r, key, klen, plen);
    int layer, e = 0;

    if (s->db_left_out && !left_out)
        ascending = false; /* the maps' positions have passed tombstones, LMDB's has not */
    s->valid = false;
    s->gave_len = 0;
    s->db_left_out = left_out ? plen : 0;
    if (left_out || (s->changes != kv->changes && s->db_passed))
        s->db_valid = false;
    if (left_out)
        s->db_end = true;
    else
        e = kv__read_fresh(kv, r);
    if (e == 0 && !left_out)
        e = db_seek(kv, r, s, ascending, key, klen);
    if (e < 0)
        return e;
    for (layer = PENDING; layer <= SEALED; layer++)
        s->at[layer] = map_seek(map_of(kv, layer, firm_only), s->at[layer],
                                ascending && s->changes == kv->changes, key, klen);
    s->changes = kv->changes;
    s->from_len = klen;
    memcpy(s->from, key, klen);
    s->valid = true;
    return 0;
}

/* The least of the positions; of equal keys the newest. false at the end of all. n NULL: LMDB's. */
static bool least(const struct kv_seek *s, struct kv_item *ret, const struct delta_node **ret_n)
{
    const struct delta_node *best = NULL;
    int layer;

    for (layer = PENDING; layer <= SEALED; layer++)
        if (s->at[layer] && (!best || delta_cmp(delta_key(s->at[layer]), s->at[layer]->klen, delta_key(best),
                                                best->klen) < 0))
            best = s->at[layer];
    if (!s->db_end &&
        (!best || delta_cmp(s->db_key.mv_data, s->db_key.mv_size, delta_key(best), best->klen) < 0)) {
        *ret = (struct kv_item){s->db_key.mv_data, s->db_key.mv_size, s->db_val.mv_data, s->db_val.mv_size,
                                true};
        *ret_n = NULL;
        return true;
    }
    *ret_n = best;
    if (best)
        item_of_node(best, ret);
    return best;
}

/* Every position at this key one further. */
static int pass(struct kv_seek *s, const void *key, size_t klen)
{
    int layer;

    for (layer = PENDING; layer <= SEALED; layer++)
        if (s->at[layer] && delta_cmp(delta_key(s->at[layer]), s->at[layer]->klen, key, klen) == 0)
            s->at[layer] = delta_next(s->at[layer]);
    if (s->db_end || delta_cmp(s->db_key.mv_data, s->db_key.mv_size, key, klen) != 0)
        return 0;
    s->db_passed = true;
    return db_next(s);
}

static bool has_prefix(const struct kv_item *it, const void *key, size_t plen)
{
    return it->klen >= plen && memcmp(it->key, key, plen) == 0;
}

/* What the positions show first, beyond what was deleted. */
static int give(struct kv_seek *s, const void *prefix, size_t plen, struct kv_item *ret)
{
    const struct delta_node *n;
    struct kv_item it;
    int e = 0;

    while (e == 0) {
        if (!least(s, &it, &n) || !has_prefix(&it, prefix, plen))
            return -E_NOENT; /* also: what was deleted beyond the prefix is not walked over */
        if (!n || !n->tomb) {
            s->gave = it.key;
            s->gave_len = it.klen;
            *ret = it;
            return 0;
        }
        e = pass(s, delta_key(n), n->klen);
    }
    s->valid = false;
    return e;
}

int kv_ge_prefix(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen, size_t plen,
                 struct kv_item *ret)
{
    int e;

    io_move();
    assert(klen > 0);
    assert(klen <= DELTA_KEY_MAX);
    assert(plen <= klen);
    e = seek_all(kv, r, firm_only, key, klen, plen);
    return e < 0 ? e : give(&r->seek[firm_only], key, plen, ret);
}

int kv_after(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen, size_t plen,
             struct kv_item *ret)
{
    struct kv_seek *s = &r->seek[firm_only];
    uint8_t next[DELTA_KEY_MAX];
    int e;

    assert(klen < sizeof(next));
    memcpy(next, key, klen);
    next[klen] = 0;
    if ((r->live && r->epoch != kv->epoch) || !s->valid || plen < s->db_left_out ||
        s->changes != kv->changes || s->gave_len != klen || memcmp(s->gave, key, klen) != 0)
        return kv_ge_prefix(kv, r, firm_only, next, klen + 1, plen, ret);
    io_move();
    s->gave_len = 0;
    e = pass(s, next, klen);
    s->db_passed = false; /* all before is asked for no more */
    memcpy(s->from, next, klen + 1);
    s->from_len = klen + 1;
    if (e == 0)
        return give(s, next, plen, ret);
    s->valid = false;
    return e;
}

int kv_ge(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen, struct kv_item *ret)
{
    return kv_ge_prefix(kv, r, firm_only, key, klen, 0, ret);
}
