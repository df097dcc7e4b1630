/* Checkpoints, back-pressure and the background thread (F3, F20). */
#include <malloc.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/store/cold_i.h"
#include "snap/store/writeout.h"

#define PUT_TAKES 256u /* of the delta's memory, beside key and value */

#define REST_NS 3000000000  /* without any change */
#define TRIM_NS 30000000000 /* between two looks for free pages among those that malloc keeps */

unsigned store_room_wait_ms = 1000;
#define ROOM_WAITS 30

/* Kicks at half, waits at three quarters; the last quarter is for operations that free. */
static bool wants_checkpoint(struct store *s)
{
    return kv_delta_bytes(s->kv) >= s->set.delta_bytes / 2 ||
           journal_room(s->journal) < journal_capacity(s->journal) / 2;
}

static bool must_wait(struct store *s, bool reserve)
{
    uint64_t cap = journal_capacity(s->journal), room = journal_room(s->journal);

    return kv_delta_bytes(s->kv) >= s->set.delta_bytes || room < (reserve ? cap / 8 : cap / 4);
}

/* To half of the one or the other; a checkpoint is not wanted before. */
static void know_room(struct store *s)
{
    uint64_t delta = s->set.delta_bytes / 2 - kv_delta_bytes(s->kv),
             journal = journal_room(s->journal) - journal_capacity(s->journal) / 2;

    __atomic_store_n(&s->room_known, (int64_t)MIN_OF(delta, journal), __ATOMIC_RELAXED);
}

void store_room_taken(struct store *s, size_t record, size_t nputs, size_t bytes)
{
    size_t delta = nputs * PUT_TAKES + 2 * bytes; /* at most, and so is the sum of both */

    __atomic_fetch_sub(&s->room_known, (int64_t)(record + delta), __ATOMIC_RELAXED);
}

static void look(struct store *s, bool reserve, bool *ret_want, bool *ret_wait)
{
    pthread_rwlock_rdlock(&s->lock);
    *ret_want = wants_checkpoint(s);
    *ret_wait = must_wait(s, reserve);
    if (!*ret_want)
        know_room(s);
    pthread_rwlock_unlock(&s->lock);
}

void store_kick(struct store *s)
{
    pthread_mutex_lock(&s->bg_lock);
    s->bg_want_ckpt = true;
    pthread_cond_signal(&s->bg_wake);
    pthread_mutex_unlock(&s->bg_lock);
}

static uint64_t checkpoints_done(struct store *s)
{
    pthread_mutex_lock(&s->bg_lock);
    uint64_t n = s->ckpts;
    pthread_mutex_unlock(&s->bg_lock);
    return n;
}

/* Until one more has ended than were seen before the caller looked for room, for a second. False: one is being made still, or waits for
 * what the daemon before has written. */
static bool wait_for_checkpoint(struct store *s, uint64_t seen)
{
    struct timespec until = clock_until(store_room_wait_ms);
    bool vain;

    pthread_mutex_lock(&s->bg_lock);
    if (!s->bg_stop && s->ckpts == seen)
        pthread_cond_timedwait(&s->bg_done, &s->bg_lock, &until);
    vain = s->ckpts != seen || (s->ckpts_making == 0 && !__atomic_load_n(&s->catching_up, __ATOMIC_SEQ_CST));
    pthread_mutex_unlock(&s->bg_lock);
    return vain || BROKEN(VARVE_BREAK_slow_checkpoint);
}

/* by: 1 it begins, -1 it has ended. */
static void note_making(struct store *s, int by)
{
    pthread_mutex_lock(&s->bg_lock);
    s->ckpts_making += by;
    if (by < 0) {
        s->ckpts++;
        pthread_cond_broadcast(&s->bg_done);
    }
    pthread_mutex_unlock(&s->bg_lock);
}

static int not_writable(struct store *s)
{
    return s->mode == STORE_RO_FAILED ? -E_FAILED : -E_ROFS;
}

int store_make_room(struct store *s, bool reserve)
{
    bool want, wait;

    if (!store_writable(s))
        return not_writable(s);
    if (store_no_wait || __atomic_load_n(&s->room_known, __ATOMIC_RELAXED) > 0)
        return 0;
    for (int vain = 0;;) {
        uint64_t seen = checkpoints_done(s);
        look(s, reserve, &want, &wait);
        if (!want)
            return 0;
        if (s->set.no_threads || store_inline_checkpoint) {
            int r = store_checkpoint(s);
            look(s, reserve, &want, &wait);
            return wait ? (r < 0 ? r : -E_NOSPC) : 0;
        }
        store_kick(s);
        if (!wait)
            return 0;
        if (vain == ROOM_WAITS)
            return reserve ? 0 : -E_NOSPC;
        vain += wait_for_checkpoint(s, seen); /* a large one, after a power cut, takes as long as it takes */
        if (!store_writable(s))
            return not_writable(s);
    }
}

/* Seals the delta; what an earlier, failed checkpoint sealed is written first. */
static int seal(struct store *s, uint64_t *ret_lsn, uint64_t *ret_reclaim)
{
    pthread_rwlock_wrlock(&s->lock);
    int r = answers_store_locked(s);
    if (r == 0)
        r = kv_checkpoint_seal(s->kv);
    if (r == 0) {
        __atomic_store_n(&s->sealed_lsn, journal_appended(s->journal), __ATOMIC_RELAXED);
        s->sealed_reclaim = s->next.reclaim;
        __atomic_store_n(&s->room_known, 0, __ATOMIC_RELAXED);
        (void)journal_switch(s->journal); /* without a free segment appending goes on in this one */
    }
    *ret_lsn = s->sealed_lsn;
    *ret_reclaim = s->sealed_reclaim;
    pthread_rwlock_unlock(&s->lock);
    return r == -E_BUSY ? 0 : r;
}

static int write_sealed(struct store *s, uint64_t lsn)
{
    uint8_t key[KEY_SIZE_MAX], val[8], env[VAL_HDR_SIZE + 8];
    size_t klen = key_meta(key, META_APPLIED_LSN);

    put_le64(val, lsn);
    envelope_make(env, key, klen, 0, 0, val, sizeof(val));
    return kv_checkpoint_write(s->kv, key, klen, env, sizeof(env), NULL, NULL);
}

static int checkpoint_locked(struct store *s, uint64_t *ret_reclaim)
{
    uint64_t lsn;
    int r = seal(s, &lsn, ret_reclaim);

    if (r < 0)
        return r;
    if (BROKEN(VARVE_BREAK_trim_early))
        journal_trim(s->journal, lsn);
    r = BROKEN(VARVE_BREAK_checkpoint_firm) ? 0 : dirty_make_firm_older(s, INT64_MIN, lsn);
    if (r < 0 && (!store_writable(s) || dirty_any_older(s, lsn)))
        return r; /* their records are needed yet */
    r = store_flush(s);
    if (r == 0)
        r = write_sealed(s, lsn);
    if (r == -E_NOSPC && ballast_drop(s))
        r = write_sealed(s, lsn);
    if (r == -E_IO || r == -E_CORRUPT)
        store_fail(s, "the tables could not be written");
    if (r < 0)
        return r;
    pthread_rwlock_wrlock(&s->lock);
    kv_checkpoint_done(s->kv);
    journal_trim(s->journal, lsn);
    pthread_rwlock_unlock(&s->lock);
    __atomic_store_n(&s->done_lsn, lsn, __ATOMIC_RELAXED);
    __atomic_store_n(&s->last_ckpt_ns, clock_mono_ns(), __ATOMIC_RELAXED);
    ballast_take(s);
    return 0;
}

int store_checkpoint(struct store *s)
{
    uint64_t below = 0;

    if (!store_writable(s))
        return not_writable(s);
    if (BROKEN(VARVE_BREAK_reclaim_early))
        (void)reclaim_run(s, UINT64_MAX, false);
    note_making(s, 1);
    pthread_mutex_lock(&s->ckpt_lock);
    store_no_wait++;
    int r = checkpoint_locked(s, &below);
    store_no_wait--;
    pthread_mutex_unlock(&s->ckpt_lock);
    note_making(s, -1);
    if (r == 0)
        r = reclaim_run(s, below, false);
    if (r < 0)
        log_warn("store", "checkpoint", "error=%s", err_name(r));
    return r < 0 ? r : 0;
}

void store_settle(struct store *s, uint32_t vol, uint32_t layer)
{
    struct settle *se = calloc(1, sizeof(*se));

    if (!se)
        return; /* the snapshot stays settling until the next open */
    pthread_mutex_lock(&s->bg_lock);
    *se = (struct settle){vol, layer, s->settles};
    s->settles = se;
    pthread_cond_signal(&s->bg_wake);
    pthread_mutex_unlock(&s->bg_lock);
}

static void settle_again(struct store *s, struct settle *se)
{
    pthread_mutex_lock(&s->bg_lock);
    se->next = s->settles;
    s->settles = se;
    s->settle_later = true;
    pthread_mutex_unlock(&s->bg_lock);
}

static bool settle_one(struct store *s)
{
    pthread_mutex_lock(&s->bg_lock);
    struct settle *se = s->settles;
    struct store_hooks h = s->hooks;
    if (se)
        s->settles = se->next;
    pthread_mutex_unlock(&s->bg_lock);
    if (!se)
        return false;
    pthread_rwlock_rdlock(&s->lock);
    struct vol *v = vol_by_id(s, se->vol);
    pthread_rwlock_unlock(&s->lock);
    if (v) {
        layer_wait(v, se->layer);
        int r = file_make_firm(s, se->vol, se->layer);
        if (r == 0 && h.settled)
            r = h.settled(h.arg, s, se->vol, se->layer);
        if (r < 0)
            log_warn("store", "settle", "vol=%u layer=%u error=%s", se->vol, se->layer, err_name(r));
        if (r == -E_NOMEM || r == -E_NOSPC) { /* passes: another time */
            settle_again(s, se);
            return false;
        }
    }
    free(se);
    return true;
}

void store_settle_all(struct store *s)
{
    while (settle_one(s))
        continue;
}

/* What is older than the flush interval becomes firm and durable. */
static bool flush_due(struct store *s)
{
    int64_t now = clock_mono_ns(), interval = (int64_t)s->set.flush_ms * 1000000;
    bool heavy = __atomic_load_n(&s->dirty_bytes, __ATOMIC_RELAXED) > s->set.dirty_bytes / 2;

    if (!heavy && now - s->last_flush_ns < interval / 2)
        return false;
    s->last_flush_ns = now;
    if (__atomic_load_n(&s->ndirty, __ATOMIC_RELAXED) == 0 &&
        journal_flushed(s->journal) >= journal_appended(s->journal))
        return false;
    int r = dirty_make_firm_older(s, heavy ? now : now - interval / 2, 0);
    if (r < 0)
        log_warn("store", "flush", "error=%s", err_name(r));
    (void)store_flush(s);
    return true;
}

/* What was brought from elsewhere is local for good after as long. */
static bool cold_due(struct store *s)
{
    int64_t now = clock_mono_ns();

    if (!cold_settle_due(s, now - s->last_cold_ns >= (int64_t)s->set.flush_ms * 1000000 / 2))
        return false;
    s->last_cold_ns = now;
    int r = cold_settle(s);
    if (r < 0)
        log_warn("store", "recall_settle", "error=%s", err_name(r));
    return true;
}

static bool checkpoint_due(struct store *s)
{
    bool want, wait, idle_work;

    look(s, true, &want, &wait);
    /* what waits in the queue goes on after a checkpoint, and only when something has happened since the last one */
    idle_work = __atomic_load_n(&s->reclaim_count, __ATOMIC_RELAXED) > 0 &&
                (__atomic_load_n(&s->sift.hurry, __ATOMIC_RELAXED) ||
                 clock_mono_ns() - __atomic_load_n(&s->last_ckpt_ns, __ATOMIC_RELAXED) > 500000000) &&
                (!__atomic_load_n(&s->queue_rests, __ATOMIC_RELAXED) ||
                 journal_appended(s->journal) > __atomic_load_n(&s->done_lsn, __ATOMIC_RELAXED));
    if (!want && !idle_work)
        return false;
    (void)store_checkpoint(s);
    return true;
}

int store_tick(struct store *s)
{
    bool did;

    if (!store_writable(s))
        return 0;
    did = settle_one(s);
    did |= cold_due(s);
    did |= flush_due(s);
    did |= checkpoint_due(s);
    return did;
}

void store_pages_let_go(struct store *s)
{
    kv_let_go(s->kv);
}

void store_pages_scattered(struct store *s, bool on)
{
    kv_scattered(s->kv, on);
}

/* Nothing was asked of it for a while: what lies in memory goes to the tables, and what that took goes back. */
static void rest(struct store *s)
{
    uint64_t appended = journal_appended(s->journal);
    int64_t now = clock_mono_ns();
    bool much;

    if (appended != s->rest_lsn) {
        s->rest_lsn = appended;
        s->rest_ns = now;
        s->rests = false;
    }
    if (s->rests || now - s->rest_ns < REST_NS || !store_writable(s))
        return;
    pthread_rwlock_rdlock(&s->lock);
    much = kv_delta_bytes(s->kv) > s->set.delta_bytes / 8;
    pthread_rwlock_unlock(&s->lock);
    s->rests = true;
    if (much && store_checkpoint(s) < 0)
        return;
    pthread_rwlock_wrlock(&s->lock);
    kv_ease(s->kv);
    pthread_rwlock_unlock(&s->lock);
    pthread_mutex_lock(&s->ckpt_lock);
    int r = kv_rest(s->kv);
    pthread_mutex_unlock(&s->ckpt_lock);
    if (r == 0)
        kv_let_go(s->kv);
    if (r < 0)
        store_fail(s, "the tables could not be opened anew");
}

/* Under work that never rests what was freed stays with malloc, between what is kept, and what look-ups mapped stays mapped. */
static void trim(struct store *s)
{
    int64_t now = clock_mono_ns();

    if (now - s->last_trim_ns < TRIM_NS)
        return;
    s->last_trim_ns = now;
    (void)malloc_trim(0);
    kv_let_go(s->kv);
}

static void *background(void *arg)
{
    struct store *s = arg;
    struct timespec until;

    pthread_mutex_lock(&s->bg_lock);
    while (!s->bg_stop) {
        if (!s->bg_want_ckpt && (!s->settles || s->settle_later)) {
            until = clock_until(200);
            pthread_cond_timedwait(&s->bg_wake, &s->bg_lock, &until);
        }
        s->bg_want_ckpt = s->settle_later = false;
        pthread_mutex_unlock(&s->bg_lock);
        unsigned held = vols_hold(s);
        (void)store_tick(s);
        vols_let_go(s, held);
        rest(s);
        trim(s);
        pthread_mutex_lock(&s->bg_lock);
    }
    pthread_mutex_unlock(&s->bg_lock);
    return NULL;
}

int store_start_background(struct store *s)
{
    int r = writeout_start(s);

    if (r < 0)
        return r;
    if (pthread_create(&s->bg_thread, NULL, background, s) != 0)
        return -E_NOMEM;
    s->bg_running = true;
    return 0;
}

void store_stop_background(struct store *s)
{
    pthread_mutex_lock(&s->bg_lock);
    __atomic_store_n(&s->bg_stop, true,
                     __ATOMIC_RELAXED); /* the checkpoint of catching up frees nothing more */
    pthread_cond_signal(&s->bg_wake);
    pthread_mutex_unlock(&s->bg_lock);
    catchup_end(s);
    if (s->bg_running)
        pthread_join(s->bg_thread, NULL);
    s->bg_running = false;
    writeout_stop(s);
}
