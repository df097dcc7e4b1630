#include "snap/store/kv.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mapped.h"
#include "base/mark.h"
#include "snap/store/kv_i.h"
#include "snap/store/kv_trap.h"
#include "snap/store/tabpages.h"

#define MAP_BYTES_FIRST (1ull << 30)
#define MAP_BYTES_MIN (64ull << 10)
#define READERS_MAX 512u
#define REST_ENTRIES 4096u /* in one checkpoint: fewer leave little behind */
#define SPARES 8           /* the environment takes two */
#define MANY 16384u        /* entries of one checkpoint, as somebody makes who writes without a rest */
#define AGAIN_TRIES 500
#define AGAIN_US 10000u

int kv__error(int mdb)
{
    switch (mdb) {
    case MDB_SUCCESS: return 0;
    case MDB_NOTFOUND: return -E_NOENT;
    case MDB_MAP_FULL: return -E_MAPFULL;
    case MDB_PANIC: return -E_FAILED;
    case ENOMEM: return -E_NOMEM;
    case ENOSPC: return -E_NOSPC;
    case EACCES:
    case EROFS: return -E_ROFS;
    default: return mdb > 0 ? -E_IO : -E_CORRUPT;
    }
}

static int failed(const char *what, int mdb)
{
    return log_err(kv__error(mdb), "tables", "what=%s lmdb=\"%s\"", what, mdb_strerror(mdb));
}

static uint64_t map_bytes_of(uint64_t asked)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), n = asked ? asked : MAP_BYTES_FIRST;

    n = MAX_OF(n, MAP_BYTES_MIN);
    return (n + page - 1) / page * page;
}

static int env_open_dbi(struct kv *kv)
{
    MDB_txn *txn;
    int m = mdb_txn_begin(kv->env, NULL, kv->readonly ? MDB_RDONLY : 0, &txn);

    if (m)
        return m;
    m = mdb_dbi_open(txn, NULL, 0, &kv->dbi);
    if (m) {
        mdb_txn_abort(txn);
        return m;
    }
    return mdb_txn_commit(txn);
}

static int env_open(struct kv *kv, uint64_t map_bytes, bool sync)
{
    int m = mdb_env_create(&kv->env);

    if (m)
        return failed("create", m);
    kv_trap_install(kv->env);
    m = mdb_env_set_maxreaders(kv->env, READERS_MAX);
    if (!m)
        m = mdb_env_set_mapsize(kv->env, map_bytes_of(map_bytes));
    if (!m)
        m = mdb_env_open(kv->env, kv->dir, MDB_NOTLS | (kv->readonly ? MDB_RDONLY : 0), 0600);
    if (!m)
        m = env_open_dbi(kv);
    /* A process that died in a commit may have left a state that is in the page cache only; what is built on it (journal
     * segments given away) must not be durable before it is. */
    if (!m && sync && !kv->readonly && !BROKEN(VARVE_BREAK_tables_sync))
        m = mdb_env_sync(kv->env, 1);
    if (!m)
        return 0;
    mdb_env_close(kv->env);
    kv->env = NULL;
    return m == ENOENT || m == EINVAL ? log_err(-E_CORRUPT, "tables", "no usable environment in %s", kv->dir)
                                      : failed("open", m);
}

/* LMDB writes where its pages say: those that it will follow are proved before (F21). */
static int way_check(struct kv *kv, const struct kv_item *extra)
{
    const struct delta_node *n;
    struct tabway *w = NULL;
    char why[256];
    int r;

    if (BROKEN(VARVE_BREAK_way))
        return 0;
    r = tabway_begin(io_real(), kv->dir, &w, why);
    if (r == 0 && kv->free_known && tabway_free_sum(w) != kv->free_sum) {
        snprintf(why, sizeof(why), "the list of free pages is not as the last checkpoint left it");
        r = -E_CORRUPT;
    }
    for (n = r == 0 && kv->sealed ? delta_first(kv->sealed) : NULL; n && r == 0; n = delta_next(n))
        r = tabway_key(w, delta_key(n), n->klen);
    if (r == 0 && extra->key)
        r = tabway_key(w, extra->key, extra->klen);
    tabway_end(w);
    return r < 0 ? log_err(r, "tables", "what=checkpoint why=\"%s\"", why) : 0;
}

static void free_note(struct kv *kv)
{
    struct tabway *w;
    char why[256];

    kv->free_known = tabway_begin(io_real(), kv->dir, &w, why) == 0;
    if (!kv->free_known)
        return;
    kv->free_sum = tabway_free_sum(w);
    tabway_end(w);
}

int kv_open(const char *dir, uint64_t map_bytes, bool readonly, struct kv **ret)
{
    struct kv *kv = calloc(1, sizeof(*kv));
    int r;

    if (!kv)
        return -E_NOMEM;
    kv->readonly = readonly;
    kv->dir = strdup(dir);
    if (!kv->dir) {
        free(kv);
        return -E_NOMEM;
    }
    pthread_mutex_init(&kv->lock, NULL);
    pthread_mutex_init(&kv->scattered_lock, NULL);
    pthread_cond_init(&kv->change, NULL);
    r = pending_new(&kv->pending);
    if (r == 0)
        r = delta_new(0, &kv->active);
    if (r == 0)
        r = env_open(kv, map_bytes, true);
    if (r < 0) {
        kv_close(kv);
        return r;
    }
    if (!readonly)
        free_note(kv);
    *ret = kv;
    return 0;
}

void kv_close(struct kv *kv)
{
    struct kv_read *r;

    if (!kv)
        return;
    assert(kv->inside == 0);
    while ((r = kv->idle)) {
        kv->idle = r->next;
        kv__read_free(r);
    }
    if (kv->env)
        mdb_env_close(kv->env);
    pending_free(kv->pending);
    delta_free(kv->active);
    delta_free(kv->sealed);
    pthread_cond_destroy(&kv->change);
    pthread_mutex_destroy(&kv->scattered_lock);
    pthread_mutex_destroy(&kv->lock);
    free(kv->dir);
    free(kv);
}

void kv_drop(struct kv *kv)
{
    pending_clear(kv->pending);
    delta_clear(kv->active);
    delta_free(TAKE(kv->sealed));
    kv->changes++;
    kv->epoch++;
}

int kv_reserve(struct kv *kv, size_t nputs, size_t bytes)
{
    int r = delta_reserve(kv->active, nputs, bytes);

    return r < 0 ? r : pending_reserve(kv->pending, nputs, bytes);
}

void kv_put(struct kv *kv, const void *key, size_t klen, const void *val, size_t vlen)
{
    (void)delta_put(kv->active, key, klen, val, vlen);
    kv->changes++;
}

void kv_expect(struct kv *kv, uint64_t nputs)
{
    delta_expect(kv->active, nputs);
}

void kv_near(struct kv *kv, const void *key, size_t klen, bool node)
{
    delta_near(kv->active, key, klen, node);
}

void kv_put_pending(struct kv *kv, struct kv_owner owner, const void *key, size_t klen, const void *val,
                    size_t vlen)
{
    pending_put(kv->pending, owner, key, klen, val, vlen);
    kv->changes++;
}

int kv_pending_each(struct kv *kv, struct kv_owner owner, int (*cb)(void *arg, const struct kv_item *it),
                    void *arg)
{
    return pending_each(kv->pending, owner, cb, arg);
}

void kv_pending_drop(struct kv *kv, struct kv_owner owner)
{
    pending_drop(kv->pending, owner);
    kv->changes++;
}

int kv_pending_owners(struct kv *kv, int (*cb)(void *arg, struct kv_owner owner), void *arg)
{
    return pending_owners(kv->pending, cb, arg);
}

int kv_is_pending(struct kv *kv, const void *key, size_t klen)
{
    const struct delta *map = pending_map(kv->pending);

    return delta_count(map) > 0 && delta_get(map, key, klen) ? 1 : 0;
}

bool kv_pending_owner_of(struct kv *kv, const void *key, size_t klen, struct kv_owner *ret)
{
    return pending_owner_of(kv->pending, key, klen, ret);
}

uint64_t kv_changes(const struct kv *kv)
{
    return kv->changes;
}

uint64_t kv_delta_bytes(struct kv *kv)
{
    return delta_taken(kv->active);
}

uint64_t kv_pending_bytes(struct kv *kv)
{
    return delta_bytes(pending_map(kv->pending));
}

void kv_ease(struct kv *kv)
{
    delta_ease(kv->active);
}

int kv_checkpoint_seal(struct kv *kv)
{
    struct delta *fresh;
    int r;

    if (kv->sealed)
        return -E_BUSY;
    r = delta_new(0, &fresh);
    if (r < 0)
        return r;
    if (delta_count(kv->active) >= MANY) /* as many may come again */
        delta_expect(fresh, delta_count(kv->active));
    kv->sealed = kv->active;
    kv->active = fresh;
    kv->changes++;
    return 0;
}

/* Nobody is inside any more, and nobody comes in until gate_open. */
static void gate_close(struct kv *kv)
{
    pthread_mutex_lock(&kv->lock);
    kv->growing = true;
    while (kv->inside > 0)
        pthread_cond_wait(&kv->change, &kv->lock);
    pthread_mutex_unlock(&kv->lock);
}

static void gate_open(struct kv *kv)
{
    pthread_mutex_lock(&kv->lock);
    kv->growing = false;
    pthread_cond_broadcast(&kv->change);
    pthread_mutex_unlock(&kv->lock);
}

static bool reads_nothing(struct kv *kv)
{
    MDB_txn *txn;
    int m = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &txn);

    if (m == 0)
        mdb_txn_abort(txn);
    return m == MDB_PANIC;
}

/* The environment goes away; nobody is inside. *ret_map: what it had mapped. */
static void env_leave(struct kv *kv, uint64_t *ret_map)
{
    struct kv_read *r;
    MDB_envinfo info;

    while ((r = kv->idle)) {
        kv->idle = r->next;
        kv__read_free(r);
    }
    *ret_map = mdb_env_info(kv->env, &info) ? 0 : info.me_mapsize;
    mdb_env_close(TAKE(kv->env));
}

/* Once the page that says where the tree begins could not be written, LMDB refuses everything, reading, too. Opened anew it
 * shows the tree before the commit or after it; the sealed delta stays, and is true over both. */
static void open_to_read(struct kv *kv)
{
    uint64_t map;

    gate_close(kv);
    pthread_mutex_lock(&kv->lock);
    kv__holds_end(kv);
    env_leave(kv, &map);
    kv->readonly = true;
    pthread_mutex_unlock(&kv->lock);
    (void)env_open(kv, map, true); /* in vain: it told why, and readers hear -E_FAILED */
    gate_open(kv);
}

/* Where somebody else has taken the last descriptors meanwhile, they are awaited. */
static int env_again(struct kv *kv, uint64_t map)
{
    int r;

    for (int tries = 0; (r = env_open(kv, map, false)) < 0 && tries < AGAIN_TRIES; tries++)
        usleep(AGAIN_US);
    return r;
}

/* Descriptors that are held until the environment's are gone: so that there are some for it to be had again. */
static void spares_close(int spare[SPARES])
{
    for (int i = 0; i < SPARES; i++) {
        if (spare[i] >= 0)
            close(spare[i]);
        spare[i] = -1;
    }
}

static bool spares_take(int spare[SPARES])
{
    bool all = true;

    for (int i = 0; i < SPARES; i++) {
        spare[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        all &= spare[i] >= 0;
    }
    if (!all)
        spares_close(spare);
    return all || BROKEN(VARVE_BREAK_rest_spares);
}

int kv_rest(struct kv *kv)
{
    int spare[SPARES], r = 0;
    uint64_t map = 0;
    bool leave;

    if (kv->readonly || kv->most_written < REST_ENTRIES || BROKEN(VARVE_BREAK_rest))
        return 0;
    if (!spares_take(spare)) { /* it is only a wish: another time */
        MARK("kv: too few descriptors to give memory back");
        return 0;
    }
    gate_close(kv);
    pthread_mutex_lock(&kv->lock);
    leave = !kv->holds; /* who holds a state reads it as it is */
    if (leave)
        env_leave(kv, &map);
    pthread_mutex_unlock(&kv->lock);
    if (leave) {
        MARK("kv: memory of a large checkpoint given back");
        kv->most_written = 0;
    }
    spares_close(spare);
    if (leave)
        r = env_again(kv, map);
    if (r < 0)
        kv->readonly = true;
    gate_open(kv);
    if (leave)
        (void)malloc_trim(0);
    return r;
}

/* Any value lies in LMDB's map, which is not moved while somebody is inside. */
static void map_find(struct kv *kv, void (*found)(struct kv *kv, const void *p))
{
    MDB_cursor *c;
    MDB_val k, v;
    MDB_txn *t;

    if (!kv->env || mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &t) != 0)
        return;
    if (mdb_cursor_open(t, kv->dbi, &c) == 0) {
        if (TRAPPED(mdb_cursor_get(c, &k, &v, MDB_FIRST)) == 0)
            found(kv, k.mv_data);
        mdb_cursor_close(c);
    }
    mdb_txn_abort(t);
}

static void with_map(struct kv *kv, void (*fn)(struct kv *kv, const void *p))
{
    struct kv_read *r;

    if (kv_read_begin(kv, &r) < 0)
        return;
    map_find(kv, fn);
    kv_read_end(kv, r);
}

static void let_go(struct kv *kv, const void *p)
{
    (void)kv;
    if (!BROKEN(VARVE_BREAK_let_go) && mapped_let_go(p))
        MARK("kv: pages that were read are let go");
}

void kv_let_go(struct kv *kv)
{
    with_map(kv, let_go);
}

static void scattered(struct kv *kv, const void *p)
{
    if (mapped_scattered(p, kv->scattered > 0) && kv->scattered)
        MARK("kv: reads go all over the tables");
}

void kv_scattered(struct kv *kv, bool on)
{
    pthread_mutex_lock(&kv->scattered_lock);
    kv->scattered += on ? 1 : -1;
    if (kv->scattered == on)
        with_map(kv, scattered);
    pthread_mutex_unlock(&kv->scattered_lock);
}

int kv_checkpoint_write(struct kv *kv, const void *extra_key, size_t klen, const void *extra_val, size_t vlen,
                        uint64_t *ret_entries, uint64_t *ret_bytes)
{
    const struct kv_item extra = {.key = extra_key, .klen = klen, .val = extra_val, .vlen = vlen};
    struct kv_written w = {0};
    int m, r;

    if (kv->readonly)
        return -E_ROFS;
    r = way_check(kv, &extra);
    if (r < 0)
        return r;
    (void)mdb_reader_check(kv->env, NULL); /* a check that died while it read would keep old pages for ever */
    while ((m = kv__write_once(kv, &extra, &w)) == MDB_MAP_FULL && !BROKEN(VARVE_BREAK_mapfull)) {
        MARK("kv: the map grows");
        r = kv__grow(kv);
        if (r < 0)
            return r;
    }
    if (m && !BROKEN(VARVE_BREAK_mapfull)) {
        r = failed("checkpoint", m);
        if (reads_nothing(kv)) {
            MARK("kv: opened anew to read");
            open_to_read(kv);
        }
        return r;
    }
    free_note(kv);
    kv->most_written = MAX_OF(kv->most_written, w.entries);
    if (ret_entries)
        *ret_entries = w.entries;
    if (ret_bytes)
        *ret_bytes = w.bytes;
    return 0;
}

void kv_checkpoint_done(struct kv *kv)
{
    delta_free(TAKE(kv->sealed));
    kv->changes++;
    kv->epoch++;
}

int kv__grow(struct kv *kv)
{
    MDB_envinfo info;
    int m;

    gate_close(kv);
    m = mdb_env_info(kv->env, &info);
    if (!m)
        m = mdb_env_set_mapsize(kv->env, info.me_mapsize * 2);
    gate_open(kv);
    if (m)
        return failed("grow", m);
    log_note("tables", "grow", "bytes=%zu", info.me_mapsize * 2);
    return 0;
}

/* LMDB keeps the numbers of free pages in its table 0: each value is a count and then so many page numbers. */
static int count_free(MDB_txn *txn, uint64_t *ret)
{
    MDB_cursor *c;
    MDB_val k, v;
    uint64_t n = 0;
    size_t one;
    int m = mdb_cursor_open(txn, 0, &c);

    if (m)
        return m;
    while ((m = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == 0) {
        if (v.mv_size < sizeof(one))
            continue;
        memcpy(&one, v.mv_data, sizeof(one));
        n += one;
    }
    mdb_cursor_close(c);
    *ret = n;
    return m == MDB_NOTFOUND ? 0 : m;
}

int kv_stat(struct kv *kv, struct kv_stat *ret)
{
    struct kv_read *r;
    struct kv_stat st;
    MDB_envinfo info;
    MDB_stat ms;
    int e = kv_read_begin(kv, &r), m;

    if (e < 0)
        return e;
    e = kv__read_fresh(kv, r);
    if (e < 0) {
        kv_read_end(kv, r);
        return e;
    }
    m = mdb_env_info(kv->env, &info);
    if (!m)
        m = mdb_stat(r->txn, kv->dbi, &ms);
    if (!m)
        m = TRAPPED(count_free(r->txn, &st.free_pages));
    kv_read_end(kv, r);
    if (m)
        return failed("stat", m);
    st.map_bytes = info.me_mapsize;
    st.used_bytes = (info.me_last_pgno + 1) * (uint64_t)ms.ms_psize;
    st.page_bytes = ms.ms_psize;
    st.entries = ms.ms_entries;
    st.depth = ms.ms_depth;
    st.overflow_pages = ms.ms_overflow_pages;
    *ret = st;
    return 0;
}
