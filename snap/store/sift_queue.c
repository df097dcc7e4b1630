/* Which shared objects are to be looked at, and when. */
#include "base/clock.h"
#include "base/log.h"
#include "snap/store/store_int.h"

#define ROUND_NS 200000000ll /* of the thread that works the queue, at a time */

static uint64_t *known_slot(struct store *s, uint64_t object)
{
    return &s->sift.known[object % SIFT_KNOWN];
}

static int queue(struct txn *t, const struct object_rec *o)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    const struct reclaim_rec rec = {.kind = RECLAIM_SIFT,
                                    .branch = o->branch,
                                    .object = o->object,
                                    .ino = o->ino,
                                    .first = txn_next_reclaim(t)};

    t->suspects = true;
    __atomic_fetch_add(&t->store->reclaim_count, 1, __ATOMIC_RELAXED);
    return txn_put_plain(t, k, key_u64(k, TAB_RECLAIM, RECLAIM_SIFTS | o->object), out,
                         reclaim_rec_encode(&rec, out));
}

int sift_suspect(struct txn *t, uint64_t object)
{
    struct object_rec rec;

    if (*known_slot(t->store, object) == object || BROKEN(VARVE_BREAK_sift_asleep))
        return 0;
    int r = object_get(t, object, &rec);
    if (r == -E_NOENT)
        return 0;
    if (r == 0 && (rec.flags & OBJECT_SHARED))
        r = queue(t, &rec);
    if (r == 0)
        sift_known(t->store, object);
    return r;
}

void sift_undone(struct txn *t)
{
    if (t->suspects)
        memset(t->store->sift.known, 0, sizeof(t->store->sift.known));
}

void sift_now_shared(struct store *s, uint64_t object)
{
    uint64_t *slot = known_slot(s, object);

    if (*slot == object)
        *slot = 0;
}

void sift_known(struct store *s, uint64_t object)
{
    *known_slot(s, object) = object;
}

/* --- working them --------------------------------------------------------------------------------------------------------- */

/* The next one from an object on. -E_NOENT. */
static int next(struct txn *t, uint64_t object, struct reclaim_rec *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val v;
    size_t flen;
    int r = txn_ge(t, KEEP_FIRM, k, key_u64(k, TAB_RECLAIM, RECLAIM_SIFTS | object), 1, &found, &flen, &v);

    return r < 0 ? r : reclaim_rec_decode(v.data, v.len, ret);
}

bool sift_waiting(struct txn *t)
{
    struct reclaim_rec rec;

    return next(t, 0, &rec) == 0;
}

static int find(struct store *s, struct reclaim_rec *ret)
{
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = next(&t, s->sift.at, ret);
    txn_abort(&t);
    return r;
}

/* Unless it was put anew: then something went after the look had begun. */
static int forget(struct store *s, const struct reclaim_rec *rec)
{
    uint8_t k[KEY_SIZE_MAX];
    struct reclaim_rec now;
    struct txn t;
    int r = txn_begin_freeing(s, OP_RECLAIM, NULL, &t);

    if (r < 0)
        return r;
    r = next(&t, rec->object, &now);
    if (r == 0 && now.object == rec->object && (now.first == rec->first || BROKEN(VARVE_BREAK_sift_forgets)))
        r = txn_del(&t, KEEP_FIRM, (struct txn_owner){0}, k,
                    key_u64(k, TAB_RECLAIM, RECLAIM_SIFTS | rec->object));
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r == -E_NOENT ? 0 : r;
}

/* 1: done; 0: it stays. */
static int work(struct store *s, struct reclaim_rec *rec, int64_t until_ns)
{
    int r = sift_run(s, rec, until_ns);

    if (r == 0)
        r = forget(s, rec);
    else if (r > 0)
        return 0;
    if (r < 0)
        log_warn("store", "sift", "object=%llx error=%s", (unsigned long long)rec->object, err_name(r));
    return r < 0 ? 0 : 1;
}

static bool may_begin(struct store *s, int64_t now)
{
    if (__atomic_load_n(&s->bg_stop, __ATOMIC_RELAXED))
        return false;
    return (now >= s->sift.next_ns && !s->set.no_threads) || /* a tool has other things to do */
           __atomic_load_n(&s->sift.hurry, __ATOMIC_RELAXED);
}

/* One pass from the turn on to the last of them; those before come with the next round. */
int sift_round(struct store *s, bool *ret_left)
{
    int64_t start = clock_mono_ns(), until_ns = start + ROUND_NS;
    uint64_t first = s->sift.at;
    struct reclaim_rec rec;
    int r, done = 0;

    if (!may_begin(s, start)) {
        *ret_left = !s->set.no_threads && find(s, &rec) == 0;
        return 0;
    }
    while ((r = find(s, &rec)) == 0 && clock_mono_ns() < until_ns && store_writable(s)) {
        done += work(s, &rec, until_ns);
        s->sift.at = s->sift.work ? rec.object : rec.object + 1;
    }
    *ret_left = r == 0 || first != 0;
    if (r == -E_NOENT)
        s->sift.at = 0;
    s->sift.next_ns = clock_mono_ns() + MAX_OF(SIFT_REST_NS, 9 * (clock_mono_ns() - start));
    return r < 0 && r != -E_NOENT ? r : done;
}

void sift_rest(struct store *s)
{
    s->sift.next_ns = clock_mono_ns() + SIFT_REST_NS;
}
