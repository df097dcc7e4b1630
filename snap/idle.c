#include "snap/idle.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "snap/store/inode.h"
#include "snap/store/record.h"

#define SLOTS 4096u
#define PENDING_MAX (1u << 20) /* files read between two flushes; more are not noted */
#define TXN_FILES 256u
#define STAMP_MAX ((int64_t)1 << 40)

static const struct txn_owner nobody;

struct idle {
    int64_t grain_s;       /* atomic; 0: off */
    bool reads;            /* atomic */
    uint64_t period;       /* atomic: of the slots */
    uint64_t slots[SLOTS]; /* atomic: inodes that were noted in this period */
    pthread_mutex_t lock;  /* guards what follows; nothing is taken within it */
    struct buf pending;    /* u64 each */
    uint64_t lost;
};

/* --- keys ----------------------------------------------------------------------------------------------------------------- */

static size_t key_idle(uint8_t *k, uint32_t vol, int64_t stamp_s, uint64_t ino)
{
    size_t n = key_u32_u64(k, TAB_IDLE, vol, (uint64_t)stamp_s);

    put_be64(k + n, ino);
    return n + 8;
}

static int read_put(struct txn *t, uint32_t vol, uint64_t ino, int64_t stamp_s)
{
    uint8_t k[KEY_SIZE_MAX], v[8];

    put_le64(v, (uint64_t)stamp_s);
    return txn_put_plain(t, k, key_u32_u64(k, TAB_READ, vol, ino), v, sizeof(v));
}

static int idle_put(struct txn *t, uint32_t vol, uint64_t ino, int64_t stamp_s)
{
    uint8_t k[KEY_SIZE_MAX];

    return txn_put_plain(t, k, key_idle(k, vol, stamp_s, ino), NULL, 0);
}

static int idle_del(struct txn *t, uint32_t vol, const struct idle_entry *e)
{
    uint8_t k[KEY_SIZE_MAX];

    return txn_del(t, KEEP_FIRM, nobody, k, key_idle(k, vol, e->stamp_s, e->ino));
}

int idle_stamp(struct txn *t, uint32_t vol, uint64_t ino, int64_t *ret_s)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    int r = txn_get(t, KEEP_FIRM, k, key_u32_u64(k, TAB_READ, vol, ino), &v);

    if (r < 0 && r != -E_NOENT)
        return r;
    if (r == 0 && v.len != 8)
        return -E_CORRUPT;
    *ret_s = r == 0 ? (int64_t)get_le64(v.data) : 0;
    return 0;
}

/* The record, and a place in the queue where it has none. */
static int stamp(struct txn *t, uint32_t vol, uint64_t ino, int64_t stamp_s)
{
    int64_t had = 0;
    int r = idle_stamp(t, vol, ino, &had);

    if (r < 0 || had >= stamp_s)
        return r;
    r = read_put(t, vol, ino, stamp_s);
    return r < 0 || had ? r : idle_put(t, vol, ino, stamp_s);
}

/* --- noting ---------------------------------------------------------------------------------------------------------------- */

static int64_t now_s(void)
{
    return MIN_OF(MAX_OF(clock_wall_ns() / 1000000000, (int64_t)1), STAMP_MAX / 2);
}

/* The first instant after now that stamps can say. */
static int64_t rounded(int64_t now, int64_t grain_s)
{
    return (now / grain_s + 1) * grain_s;
}

int idle_follow(struct vol *v, int64_t grain_s, bool reads)
{
    struct idle *i = __atomic_load_n(&v->idle, __ATOMIC_ACQUIRE), *other = NULL;

    if (!i && !grain_s)
        return 0;
    if (!i) {
        if (!(i = calloc(1, sizeof(*i))))
            return -E_NOMEM;
        pthread_mutex_init(&i->lock, NULL);
        if (!__atomic_compare_exchange_n(&v->idle, &other, i, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            pthread_mutex_destroy(&i->lock);
            free(i);
            i = other;
        }
    }
    __atomic_store_n(&i->reads, reads, __ATOMIC_RELAXED);
    __atomic_store_n(&i->grain_s, grain_s, __ATOMIC_RELAXED);
    return 0;
}

static void pend(struct idle *i, uint64_t ino)
{
    pthread_mutex_lock(&i->lock);
    if (i->pending.len >= PENDING_MAX * sizeof(ino) || buf_add(&i->pending, &ino, sizeof(ino)) < 0)
        i->lost++;
    pthread_mutex_unlock(&i->lock);
}

void idle_note_in(struct idle *i, uint64_t ino, bool brought)
{
    uint64_t *slot = &i->slots[(ino * 0x9e3779b97f4a7c15ull >> 40) % SLOTS];

    if (__atomic_load_n(slot, __ATOMIC_RELAXED) == ino)
        return;
    if (!__atomic_load_n(&i->grain_s, __ATOMIC_RELAXED) ||
        (!brought && !__atomic_load_n(&i->reads, __ATOMIC_RELAXED)) || BROKEN(VARVE_BREAK_read_unseen))
        return;
    __atomic_store_n(slot, ino, __ATOMIC_RELAXED);
    pend(i, ino);
}

/* --- flushing -------------------------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* Is it a file whose bytes could be released? */
static bool has_blocks(struct txn *t, struct vol *v, uint64_t ino)
{
    struct inode in = {.mode = 0};

    return inode_get(t, vol_now(v), ino, &in) == 0 && S_ISREG(in.mode) && !(in.flags & INODE_INLINE);
}

static int flush_some(struct vol *v, const uint64_t *ino, size_t n, int64_t stamp_s)
{
    struct txn t;
    int r = txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n && r == 0; i++)
        if ((i == 0 || ino[i] != ino[i - 1]) && has_blocks(&t, v, ino[i]))
            r = stamp(&t, v->rec.id, ino[i], stamp_s);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

/* What was noted in a period that is over is to be noted again. */
static void period_begin(struct idle *i, int64_t grain_s)
{
    uint64_t period = (uint64_t)(now_s() / grain_s);

    if (__atomic_exchange_n(&i->period, period, __ATOMIC_RELAXED) == period)
        return;
    for (size_t k = 0; k < SLOTS; k++)
        __atomic_store_n(&i->slots[k], 0, __ATOMIC_RELAXED);
}

int idle_flush_vol(struct vol *v)
{
    struct idle *i = __atomic_load_n(&v->idle, __ATOMIC_ACQUIRE);
    int64_t grain_s = i ? __atomic_load_n(&i->grain_s, __ATOMIC_RELAXED) : 0, stamp_s;
    cleanup(buf_free) struct buf b = {0};
    uint64_t *ino;
    size_t n;
    int r = 0;

    if (!grain_s)
        return 0;
    stamp_s = rounded(now_s(), grain_s);
    period_begin(i, grain_s);
    pthread_mutex_lock(&i->lock);
    b = i->pending;
    i->pending = (struct buf){0};
    pthread_mutex_unlock(&i->lock);
    ino = (uint64_t *)(void *)b.data;
    n = b.len / sizeof(*ino);
    if (n)
        qsort(ino, n, sizeof(*ino), by_number);
    for (size_t at = 0; at < n && r == 0; at += TXN_FILES)
        r = flush_some(v, ino + at, MIN_OF(n - at, (size_t)TXN_FILES), stamp_s);
    return r < 0 && r != -E_ROFS ? log_err(r, "idle", "volume=%s", v->rec.name) : 0;
}

static struct vol *volume_after(struct store *s, const struct vol *v)
{
    struct vol *next = NULL;
    struct txn t;

    if (txn_begin(s, TXN_READ, OP_NONE, NULL, &t) < 0)
        return NULL;
    next = v ? v->next : vol_first(s);
    txn_abort(&t);
    return next;
}

int idle_flush(struct store *s)
{
    int r = 0;

    for (struct vol *v = volume_after(s, NULL); v && r == 0; v = volume_after(s, v))
        r = idle_flush_vol(v);
    return r;
}

void idle_free_vol(struct vol *v)
{
    struct idle *i = __atomic_exchange_n(&v->idle, NULL, __ATOMIC_ACQ_REL);

    if (!i)
        return;
    buf_free(&i->pending);
    pthread_mutex_destroy(&i->lock);
    free(i);
}

void idle_free(struct store *s)
{
    for (struct vol *v = vol_first(s); v; v = v->next)
        idle_free_vol(v);
    for (struct vol *v = vol_gone_first(s); v; v = v->gone)
        idle_free_vol(v);
}

/* --- the queue ------------------------------------------------------------------------------------------------------------ */

static int later(struct txn *t, uint32_t vol, uint64_t ino, int64_t stamp_s)
{
    return stamp(t, vol, ino, MIN_OF(MAX_OF(stamp_s, (int64_t)1), STAMP_MAX));
}

int idle_later(struct vol *v, uint64_t ino, int64_t stamp_s)
{
    struct txn t;
    int r = txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t);

    if (r < 0)
        return r;
    r = later(&t, v->rec.id, ino, stamp_s);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

/* The next entry behind *after; -E_NOENT. */
static int entry_after(struct txn *t, uint32_t vol, struct idle_entry *after)
{
    uint8_t from[KEY_SIZE_MAX];
    const uint8_t *key;
    struct txn_val val;
    size_t klen;
    int r =
        txn_ge(t, KEEP_FIRM, from, key_idle(from, vol, after->stamp_s, after->ino + 1), 5, &key, &klen, &val);

    if (r == 0 && klen != 21)
        r = -E_CORRUPT;
    if (r == 0)
        *after = (struct idle_entry){(int64_t)get_be64(key + 5), get_be64(key + 13)};
    return r;
}

/* In one transaction; none of them may be left after it. 1: there may be more. */
static int queue_some(struct vol *v, struct idle_entry *after, int64_t until_s,
                      struct idle_entry ret[IDLE_BATCH], size_t *ret_n, uint64_t *looked)
{
    uint32_t vol = v->rec.id;
    struct idle_entry e = *after;
    struct txn t;
    size_t n = 0;
    bool more = false;
    int r = txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t);

    if (r < 0)
        return r;
    for (unsigned i = 0; n < IDLE_BATCH && (i < IDLE_BATCH || n == 0); i++) {
        int64_t read_s = 0;

        more = (r = entry_after(&t, vol, &e)) == 0 && e.stamp_s <= until_s;
        if (!more)
            break;
        *after = e;
        if (looked)
            (*looked)++;
        if ((r = idle_stamp(&t, vol, e.ino, &read_s)) < 0)
            break;
        if (read_s > e.stamp_s) {
            if ((r = idle_del(&t, vol, &e)) < 0 || (r = idle_put(&t, vol, e.ino, read_s)) < 0)
                break;
        } else {
            ret[n++] = e;
        }
        if (t.nputs >= 2 * IDLE_BATCH)
            break;
    }
    if (r < 0 && r != -E_NOENT) {
        txn_abort(&t);
        return r;
    }
    r = txn_commit(&t);
    if (r == 0)
        *ret_n = n;
    return r < 0 ? r : more;
}

int idle_queue(struct vol *v, struct idle_entry *after, int64_t until_s, struct idle_entry ret[IDLE_BATCH],
               size_t *ret_n, uint64_t *looked)
{
    int r;

    do
        r = queue_some(v, after, until_s, ret, ret_n, looked);
    while (r == 1 && *ret_n == 0);
    return MIN_OF(r, 0);
}

static int back_some(struct vol *v, int64_t now_s)
{
    struct idle_entry after = {now_s + 2 * 86400, 0};
    struct txn t;
    int r = txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < TXN_FILES && (r = entry_after(&t, v->rec.id, &after)) == 0; i++)
        if ((r = idle_del(&t, v->rec.id, &after)) < 0 ||
            (r = read_put(&t, v->rec.id, after.ino, now_s)) < 0 ||
            (r = idle_put(&t, v->rec.id, after.ino, now_s)) < 0)
            break;
    if (r == 0 || r == -E_NOENT) {
        int e = txn_commit(&t);

        return e < 0 ? e : r == 0;
    }
    txn_abort(&t);
    return r;
}

int idle_went_back(struct vol *v, int64_t now_s)
{
    int r;

    while ((r = back_some(v, now_s)) == 1)
        continue;
    return r;
}

int idle_drop(struct vol *v, const struct idle_entry *e, size_t n)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn t;
    int r = n ? txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t) : 0;

    if (r < 0 || n == 0)
        return r;
    for (size_t i = 0; i < n && r == 0; i++) {
        int64_t read_s = 0;

        r = idle_stamp(&t, v->rec.id, e[i].ino, &read_s);
        if (r < 0 || read_s > e[i].stamp_s)
            continue;
        r = idle_del(&t, v->rec.id, &e[i]);
        if (r == 0)
            r = txn_del(&t, KEEP_FIRM, nobody, k, key_u32_u64(k, TAB_READ, v->rec.id, e[i].ino));
    }
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

/* --- how far --------------------------------------------------------------------------------------------------------------- */

static void place_put(struct enc *e, const struct idle_place *p)
{
    enc_u32(e, p->branch);
    enc_u32(e, p->layer);
    enc_u64(e, p->ino);
}

static struct idle_place place_get(struct dec *d)
{
    struct idle_place p = {.branch = dec_u32(d)};

    p.layer = dec_u32(d);
    p.ino = dec_u64(d);
    return p;
}

#define SWEEP_SIZE (2u * 16 + 4)

int idle_sweep_get(struct vol *v, uint64_t policy, struct idle_sweep *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val val;
    struct dec d;
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    *ret = (struct idle_sweep){.replaced = 0};
    r = txn_get(&t, KEEP_FIRM, k, key_u32_u64(k, TAB_SWEEP, v->rec.id, policy), &val);
    if (r == 0 && val.len < SWEEP_SIZE)
        r = -E_CORRUPT;
    if (r == 0) {
        d = dec_of(val.data, val.len);
        ret->aged = place_get(&d);
        ret->seen = place_get(&d);
        ret->replaced = dec_u32(&d);
    }
    txn_abort(&t);
    return r == -E_NOENT ? 0 : r;
}

/* All of a table's keys of a volume, as far as `most` goes. 1: there are more. */
static int drop_all(struct txn *t, uint8_t tab, uint32_t vol, unsigned *most)
{
    uint8_t k[KEY_SIZE_MAX], own[KEY_SIZE_MAX];
    const uint8_t *key;
    struct txn_val val;
    size_t n = key_u32(k, tab, vol), klen;
    int r = 0;

    while (r == 0 && *most) {
        r = txn_ge(t, KEEP_FIRM, k, n, 5, &key, &klen, &val);
        if (r < 0)
            return r == -E_NOENT ? 0 : r;
        memcpy(own, key, klen);
        r = txn_del(t, KEEP_FIRM, nobody, own, klen);
        (*most)--;
    }
    return r < 0 ? r : 1;
}

static unsigned sweeps(struct txn *t, uint32_t vol)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *key;
    struct txn_val val;
    size_t n = key_u32(k, TAB_SWEEP, vol), klen;
    unsigned count = 0;

    for (; txn_ge(t, KEEP_FIRM, k, n, 5, &key, &klen, &val) == 0; count++) {
        memcpy(k, key, klen);
        k[klen] = 0;
        n = klen + 1;
    }
    return count;
}

int idle_sweep_put(struct vol *v, uint64_t policy, const struct idle_sweep *s)
{
    uint8_t k[KEY_SIZE_MAX], out[SWEEP_SIZE];
    unsigned most = 4 * IDLE_SWEEPS;
    struct enc e = {out};
    struct txn t;
    int r = txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t);

    if (r < 0)
        return r;
    place_put(&e, &s->aged);
    place_put(&e, &s->seen);
    enc_u32(&e, s->replaced);
    if (sweeps(&t, v->rec.id) >= IDLE_SWEEPS)
        r = drop_all(&t, TAB_SWEEP, v->rec.id, &most);
    if (r >= 0)
        r = txn_put_plain(&t, k, key_u32_u64(k, TAB_SWEEP, v->rec.id, policy), out, sizeof(out));
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

int idle_sweep_reset(struct vol *v)
{
    unsigned most = 4 * IDLE_SWEEPS;
    struct txn t;
    int r = txn_begin(v->store, TXN_WRITE, OP_POLICY, v, &t);

    if (r < 0)
        return r;
    r = drop_all(&t, TAB_SWEEP, v->rec.id, &most);
    if (r >= 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

int idle_forget(struct txn *t, uint32_t vol, unsigned most)
{
    static const uint8_t tabs[] = {TAB_IDLE, TAB_READ, TAB_SWEEP};
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(tabs) && r == 0; i++)
        r = drop_all(t, tabs[i], vol, &most);
    return r;
}
