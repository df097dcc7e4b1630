/* The reclaim queue (I-09, F13): what is punched or unlinked, after the checkpoint that made the record durable and after
 * every reader that began before. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/store/cold_i.h"

#define BATCH 256
#define LONG_NS                                                                                              \
    1000000000ll /* of a round of the queue for long work: what else waits for this thread comes in between */

struct entry {
    uint64_t seq;
    struct reclaim_rec rec;
};

/* The next entries at or after *seq and below the bound that are firm. */
static int read_batch(struct store *s, uint64_t *seq, uint64_t below, struct entry *out, int *ret_n)
{
    struct txn t;
    uint8_t k[KEY_SIZE_MAX];
    int n = 0, r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    while (n < BATCH) {
        const uint8_t *found;
        size_t flen;
        struct txn_val v;
        r = txn_ge(&t, KEEP_FIRM, k, key_u64(k, TAB_RECLAIM, *seq), 1, &found, &flen, &v);
        if (r < 0)
            break;
        uint64_t at = get_be64(found + 1);
        if (at >= below)
            break;
        out[n].seq = at;
        r = reclaim_rec_decode(v.data, v.len, &out[n++].rec);
        if (r < 0)
            break;
        *seq = at + 1;
    }
    txn_abort(&t);
    *ret_n = n;
    return r == -E_NOENT ? 0 : r;
}

/* How many records name the object: firm ones, and in the present. */
static int count_names(struct store *s, uint64_t object, uint64_t *ret_firm, uint64_t *ret_present)
{
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = object_ref_count(&t, KEEP_FIRM, object, ret_firm);
    if (r == 0)
        r = object_ref_count(&t, KEEP_PENDING, object, ret_present);
    txn_abort(&t);
    return r;
}

static int do_unlink(struct store *s, const struct reclaim_rec *rec)
{
    char path[4096];
    uint64_t firm = 0, present = 0;
    int r = count_names(s, rec->object, &firm, &present);

    if (r < 0)
        return r;
    if (firm && present)
        return 2; /* named again: whoever takes the last name away queues it anew */
    if (firm || present)
        return 1; /* what is pending decides */
    if (BROKEN(VARVE_BREAK_space_kept))
        return 0;
    r = cold_forget(s, rec->object, 0, UINT64_MAX);
    if (r < 0)
        return r;
    objfd_forget(s, rec->object);
    object_path(s, rec->object, path);
    r = io_unlink(s->io, path);
    return r == -E_NOENT ? 0 : r;
}

static int do_punch(struct store *s, const struct reclaim_rec *rec)
{
    struct objfd *f;
    int r = cold_forget(s, rec->object, rec->first, rec->first + rec->count);

    if (r == 0)
        r = objfd_get(s, rec->object, false, &f);
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    r = io_punch(s->io, f->fd, rec->first * BLOCK_SIZE, rec->count * BLOCK_SIZE);
    objfd_put(s, f);
    return r;
}

static int do_orphan(struct store *s, const struct reclaim_rec *rec)
{
    struct txn t;
    struct ilock l;
    int r;

    pthread_rwlock_rdlock(&s->lock);
    struct vol *v = vol_by_id(s, rec->vol);
    pthread_rwlock_unlock(&s->lock);
    if (!v)
        return 0;
    ilock_take(s, &l, rec->vol, &rec->ino, 1, true);
    r = firm_locked(s, rec->branch, rec->ino, false);
    if (r == 0)
        r = txn_begin_freeing(s, OP_RECLAIM, v, &t);
    if (r == 0) {
        if (v->rec.head == rec->branch) /* else a rollback left it behind: it goes with its branch */
            r = inode_drop(&t, v, (struct vt_at){rec->branch, v->rec.layer}, rec->ino);
        if (r < 0) {
            txn_abort(&t);
        } else {
            int c = txn_commit(&t);
            r = c < 0 ? c : r;
        }
    }
    ilock_drop(&l);
    return r == -E_NOENT ? 0 : r;
}

/* 0: done, the entry goes; 2: likewise, but the object stays; 1: later; negative: later, said. */
static int execute(struct store *s, const struct reclaim_rec *rec)
{
    struct store_hooks h;

    switch (rec->kind) {
    case RECLAIM_UNLINK: return do_unlink(s, rec);
    case RECLAIM_PUNCH: return do_punch(s, rec);
    case RECLAIM_ORPHAN: return do_orphan(s, rec);
    case RECLAIM_RELEASE: return cold_punch_released(s, rec);
    default:
        pthread_mutex_lock(&s->bg_lock);
        h = s->hooks;
        pthread_mutex_unlock(&s->bg_lock);
        return h.reclaim ? h.reclaim(h.arg, s, rec) : 1;
    }
}

static int forget(struct store *s, const struct entry *e, const int *result, int n)
{
    struct txn t;
    uint8_t k[KEY_SIZE_MAX];
    int gone = 0, r = txn_begin_freeing(s, OP_RECLAIM, NULL, &t);

    if (r < 0)
        return r;
    for (int i = 0; i < n && r == 0; i++) {
        if (result[i] != 0 && result[i] != 2)
            continue;
        r = txn_del(&t, KEEP_FIRM, (struct txn_owner){0}, k, key_u64(k, TAB_RECLAIM, e[i].seq));
        if (r == 0 && result[i] == 0 && e[i].rec.kind == RECLAIM_UNLINK)
            r = txn_del(&t, KEEP_FIRM, (struct txn_owner){0}, k, key_u64(k, TAB_OBJECT, e[i].rec.object));
        gone++;
    }
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    r = txn_commit(&t);
    return r < 0 ? r : gone;
}

/* The entries that are there; what aborted transactions counted too much goes. All objects that are to be sifted are one. */
int reclaim_count(struct store *s)
{
    struct txn t;
    uint8_t k[KEY_SIZE_MAX + 1] = {TAB_RECLAIM};
    const uint8_t *found;
    size_t n = 1, flen;
    struct txn_val v;
    uint64_t count = 0;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    while ((r = txn_ge(&t, KEEP_PENDING, k, n, 1, &found, &flen, &v)) == 0) {
        count++;
        if (get_be64(found + 1) >= RECLAIM_SIFTS)
            break;
        memcpy(k, found, flen);
        k[flen] = 0;
        n = flen + 1;
    }
    __atomic_store_n(&s->reclaim_count, count,
                     __ATOMIC_RELAXED); /* under the lock: nobody queues meanwhile */
    txn_abort(&t);
    return r == -E_NOENT ? 0 : r;
}

/* The names that went must be gone for good before their entries are: else a power cut would leave files that nobody knows. */
static void sync_names(struct store *s, const struct entry *e, int *result, int n)
{
    char path[4096];
    uint64_t last = UINT64_MAX;
    int r = 0;

    for (int i = 0; i < n; i++) {
        if (e[i].rec.kind != RECLAIM_UNLINK || result[i] != 0)
            continue;
        if (e[i].rec.object >> OBJECT_DIR_SHIFT != last) {
            last = e[i].rec.object >> OBJECT_DIR_SHIFT;
            object_path(s, e[i].rec.object, path);
            *strrchr(path, '/') = '\0';
            r = io_sync_dir(s->io, path);
        }
        if (r < 0 && r != -E_NOENT)
            result[i] = r;
    }
}

/* A store that is being closed does not wait for long work: it goes on at the next open. */
static bool leave_for_later(struct store *s, const struct reclaim_rec *rec, int64_t until_ns)
{
    if (rec->kind == RECLAIM_UNLINK || rec->kind == RECLAIM_PUNCH || rec->kind == RECLAIM_ORPHAN)
        return rec->kind == RECLAIM_ORPHAN && __atomic_load_n(&s->bg_stop, __ATOMIC_RELAXED);
    return __atomic_load_n(&s->bg_stop, __ATOMIC_RELAXED) || clock_mono_ns() > until_ns;
}

static int run_batch(struct store *s, const struct entry *e, int n, int64_t until_ns)
{
    int result[BATCH], any = 0;

    for (int i = 0; i < n; i++) {
        int r = leave_for_later(s, &e[i].rec, until_ns) ? 1 : execute(s, &e[i].rec);
        if (r < 0)
            log_warn("store", "reclaim", "seq=%llu kind=%u object=%llx error=%s",
                     (unsigned long long)e[i].seq, e[i].rec.kind, (unsigned long long)e[i].rec.object,
                     err_name(r));
        result[i] = r;
    }
    sync_names(s, e, result, n);
    for (int i = 0; i < n; i++)
        any += result[i] == 0 || result[i] == 2;
    return any ? forget(s, e, result, n) : 0;
}

static int run_entries(struct store *s, uint64_t below_seq)
{
    struct entry batch[BATCH];
    int64_t until_ns = clock_mono_ns() + LONG_NS;
    uint64_t seq = 0;
    int n, r, done = 0;

    do {
        r = read_batch(s, &seq, MIN_OF(below_seq, RECLAIM_SIFTS), batch, &n);
        if (r == 0 && n)
            r = run_batch(s, batch, n, until_ns);
        done += r > 0 ? r : 0;
    } while (r >= 0 && n == BATCH && store_writable(s));
    return r < 0 ? r : done;
}

int reclaim_run(struct store *s, uint64_t below_seq, bool all)
{
    bool left = false;
    int r, done;

    if (__atomic_load_n(&s->reclaim_count, __ATOMIC_RELAXED) == 0)
        return 0;
    if (!all && pthread_mutex_trylock(&s->reclaim_lock) != 0)
        return 0;
    if (all)
        pthread_mutex_lock(&s->reclaim_lock);
    grace_wait(s);
    store_inline_checkpoint++;
    done = run_entries(s, below_seq);
    r = done < 0 ? done : sift_round(s, &left);
    store_inline_checkpoint--;
    __atomic_store_n(&s->queue_rests, done == 0 && r == 0 && !left, __ATOMIC_RELAXED);
    (void)reclaim_count(s);
    pthread_mutex_unlock(&s->reclaim_lock);
    return r < 0 ? r : done + r;
}

static int run_until_idle(struct store *s)
{
    for (int round = 0; round < 10000; round++) {
        uint64_t before = __atomic_load_n(&s->reclaim_count, __ATOMIC_RELAXED),
                 lsn = journal_appended(s->journal);
        int r = store_sync(s);
        if (r == 0)
            r = store_checkpoint(s);
        if (r < 0)
            return r;
        pthread_mutex_lock(&s->reclaim_lock); /* a round of the background under way is waited for */
        bool sifts = s->sift.work != NULL;
        pthread_mutex_unlock(&s->reclaim_lock);
        uint64_t left = __atomic_load_n(&s->reclaim_count, __ATOMIC_RELAXED);
        if (left == 0)
            return 0;
        if (left == before && lsn == journal_appended(s->journal) && round > 3 && !s->settles && !sifts)
            return 0;
    }
    return 0;
}

int store_reclaim_idle(struct store *s)
{
    __atomic_fetch_add(&s->sift.hurry, 1, __ATOMIC_RELAXED);
    int r = run_until_idle(s);
    __atomic_fetch_sub(&s->sift.hurry, 1, __ATOMIC_RELAXED);
    return r;
}
