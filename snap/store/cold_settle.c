/* What was brought becomes local for good: its bytes are put on disk first, then the ranges go. What died is forgotten. And what is
 * still elsewhere, in the order in which it is best brought. */
#include <stdlib.h>

#include "base/log.h"
#include "snap/store/cold_i.h"

#define CUTS 64u         /* ranges that one transaction takes away */
#define WALK_RANGES 256u /* looked at in one transaction */
#define MANY 32u         /* objects: one wait for all of them */

/* --- settling ------------------------------------------------------------------------------------------------------------------ */

struct brought {
    uint64_t object;
    struct cold_part part;
};

static int list_brought(struct cold *c, struct buf *ret)
{
    int r = 0;

    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < COLD_BUCKETS && c->nobjs; i++)
        for (const struct cold_obj *o = c->hash[i]; o; o = o->hnext)
            for (uint32_t k = 0; k < o->n && r == 0; k++)
                r = buf_add(ret, &(struct brought){o->object, o->parts[k]}, sizeof(struct brought));
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* The object's bytes cannot be brought to the disk: they are fetched again by whoever wants them. */
static void give_up(struct store *s, uint64_t object, int r)
{
    log_warn("store", "recall_unsynced", "object=%llx error=%s", (unsigned long long)object, err_name(r));
    pthread_mutex_lock(&s->cold->lock);
    cold_part_drop(s->cold, object, 0, UINT64_MAX);
    pthread_mutex_unlock(&s->cold->lock);
}

/* Takes the ranges of one part away. In steps: a part may lie over many. */
static int settle_part(struct store *s, const struct brought *b)
{
    struct txn t;
    int r, more;

    do {
        r = txn_begin_freeing(s, OP_COLD, NULL, &t);
        if (r < 0)
            return r;
        more = cold_cut(&t, b->object, b->part.first, b->part.end, CUTS);
        if (more < 0) {
            txn_abort(&t);
            return more;
        }
        r = txn_commit(&t);
    } while (r == 0 && more);
    if (r < 0)
        return r;
    pthread_mutex_lock(&s->cold->lock);
    cold_part_drop(s->cold, b->object, b->part.first, b->part.end);
    pthread_mutex_unlock(&s->cold->lock);
    return 0;
}

static int settle_all(struct store *s, const struct brought *b, size_t n)
{
    uint64_t synced = 0, failed = 0;
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        if (b[i].object == failed)
            continue;
        if (b[i].object != synced) {
            r = BROKEN(VARVE_BREAK_cold_early) ? 0 : objfd_sync(s, b[i].object);
            if (r < 0) { /* also when it was unlinked meanwhile */
                give_up(s, failed = b[i].object, r);
                continue;
            }
            synced = b[i].object;
        }
        r = settle_part(s, &b[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* One wait for many objects; and for what closed descriptors had, the names of new files among it. */
static int sync_many(struct store *s, size_t n)
{
    bool closed = __atomic_exchange_n(&s->cold_closed, false, __ATOMIC_SEQ_CST);
    int r = closed || n > MANY ? objfd_sync_all(s) : 0;

    if (r < 0 && closed)
        __atomic_store_n(&s->cold_closed, true, __ATOMIC_SEQ_CST);
    return r;
}

int cold_settle(struct store *s)
{
    cleanup(buf_free) struct buf list = {0};
    int r;

    if (!cold_any(s) || !store_writable(s))
        return 0;
    pthread_mutex_lock(&s->cold->settle_lock);
    r = list_brought(s->cold, &list);
    size_t n = list.len / sizeof(struct brought);
    if (r == 0 && n)
        r = catchup_await(s); /* files that a dead daemon made have their names on disk */
    if (r == 0 && n && !BROKEN(VARVE_BREAK_cold_early))
        r = sync_many(s, n);
    if (r == 0)
        r = settle_all(s, (const void *)list.data, n);
    if (r == 0 && n)
        r = cold_load(s); /* was that all? */
    pthread_mutex_unlock(&s->cold->settle_lock);
    cold_rooms_free(s->cold);
    return r;
}

bool cold_settle_due(struct store *s, bool while_over)
{
    bool due;

    if (!cold_any(s))
        return false;
    pthread_mutex_lock(&s->cold->lock);
    due = s->cold->nobjs > 0 && (while_over || s->cold->parts_bytes > COLD_SETTLE_BYTES);
    pthread_mutex_unlock(&s->cold->lock);
    return due;
}

/* --- what dies ------------------------------------------------------------------------------------------------------------------ */

/* What is being put there now is through with it. From then on nothing is: its range is gone. */
static void wait_placed(struct cold *c, uint64_t object, uint64_t first, uint64_t end)
{
    struct cold_fetch *f;

    pthread_mutex_lock(&c->lock);
    do {
        for (f = c->fetches; f; f = f->next)
            if (f->object == object && f->placing && f->first < end && first < f->end)
                break;
        if (f)
            pthread_cond_wait(&c->over, &c->lock);
    } while (f);
    cold_part_drop(c, object, first, end);
    pthread_mutex_unlock(&c->lock);
}

static bool any_range(struct store *s, uint64_t object, uint64_t first, uint64_t end)
{
    struct cold_range range;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return true;
    r = cold_range_ge(&t, object, first, &range);
    txn_abort(&t);
    return r == 0 ? range.first < end : r != -E_NOENT;
}

int cold_forget(struct store *s, uint64_t object, uint64_t first, uint64_t end)
{
    struct txn t;
    int r = 0, more = cold_any(s) && any_range(s, object, first, end);

    if (!cold_any(s) || BROKEN(VARVE_BREAK_cold_kept))
        return 0;
    while (more && r == 0) {
        r = txn_begin_freeing(s, OP_RECLAIM, NULL, &t);
        if (r < 0)
            return r;
        more = cold_cut(&t, object, first, end, CUTS);
        if (more < 0) {
            txn_abort(&t);
            return more;
        }
        r = txn_commit(&t);
    }
    if (r == 0)
        wait_placed(s->cold, object, first, end);
    return r;
}

/* --- what was released ---------------------------------------------------------------------------------------------------------- */

static int punch_gaps(struct store *s, const struct objfd *fd, uint64_t object, uint64_t first, uint64_t end)
{
    int r = 0;

    while (r == 0) {
        uint64_t from = first, to = end;
        pthread_mutex_lock(&s->cold->lock);
        bool gap = BROKEN(VARVE_BREAK_cold_punched) ? from < to : cold_part_gap(s->cold, object, &from, &to);
        pthread_mutex_unlock(&s->cold->lock);
        if (!gap)
            break;
        r = io_punch(s->io, fd->fd, from * BLOCK_SIZE, (to - from) * BLOCK_SIZE);
        first = to;
    }
    return r;
}

/* A range that is found may be newer than the entry of the queue: its blocks came back, and were released anew. All that were put so far
 * are durable when it returns, and whoever began to read before is through. */
static int puts_settle(struct store *s)
{
    struct cold *c = s->cold;
    uint64_t lsn = __atomic_load_n(&c->put_lsn, __ATOMIC_SEQ_CST);
    int r = 0;

    if (lsn <= c->put_settled)
        return 0;
    if (journal_flushed(s->journal) < lsn)
        r = store_flush(s);
    if (r < 0)
        return r;
    grace_wait(s);
    c->put_settled = lsn;
    return 0;
}

static bool puts_settled(const struct cold *c)
{
    return __atomic_load_n(&c->put_lsn, __ATOMIC_SEQ_CST) <= c->put_settled;
}

/* Nobody brings anything there meanwhile, and no range goes for having been brought. */
static int punch_ranges(struct store *s, const struct objfd *fd, const struct reclaim_rec *rec)
{
    uint64_t at = rec->first, end = rec->first + rec->count;
    struct cold_range range;
    struct txn t;
    int r = 0;

    while (at < end && r == 0) {
        r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);
        if (r < 0)
            return r;
        r = cold_range_ge(&t, rec->object, at, &range);
        txn_abort(&t);
        if (r < 0 || range.first >= end)
            return r == -E_NOENT ? 0 : MIN_OF(r, 0);
        if (!puts_settled(s->cold))
            return -E_AGAIN;
        r = punch_gaps(s, fd, rec->object, MAX_OF(at, range.first), MIN_OF(end, range.first + range.blocks));
        at = range.first + range.blocks;
    }
    return r;
}

/* -E_AGAIN: something was put meanwhile, or somebody is reading it back. */
static int punch_fenced(struct store *s, const struct objfd *fd, const struct reclaim_rec *rec)
{
    struct cold_fetch *fence = cold_fence(s, rec->object, rec->first, rec->first + rec->count);
    int r;

    if (!fence)
        return -E_AGAIN;
    pthread_mutex_lock(&s->cold->settle_lock);
    r = punch_ranges(s, fd, rec);
    pthread_mutex_unlock(&s->cold->settle_lock);
    cold_unfence(s, fence);
    return r;
}

int cold_punch_released(struct store *s, const struct reclaim_rec *rec)
{
    struct objfd *fd;
    int r = objfd_get(s, rec->object, false, &fd);

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    r = puts_settle(s);
    if (r == 0)
        r = punch_fenced(s, fd, rec);
    objfd_put(s, fd);
    return r == -E_AGAIN ? 1 : r; /* later */
}

/* --- what is left -------------------------------------------------------------------------------------------------------------- */

static int is_wanted(struct txn *t, struct cold_walk *w, uint64_t object)
{
    struct object_rec rec;
    int r = 0;

    if (w->known == object)
        return w->wanted;
    w->wanted = !w->vol;
    if (w->vol && (r = object_get(t, object, &rec)) == 0)
        w->wanted = rec.vol == w->vol;
    w->known = object;
    return r < 0 && r != -E_NOENT ? r : w->wanted;
}

int cold_walk_step(struct txn *t, struct cold_walk *w, struct cold_range *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val v;
    size_t flen;
    int r = txn_ge(t, KEEP_FIRM, k, key_cold(k, w->object, w->block + 1), w->one ? 9 : 1, &found, &flen, &v);

    if (r == 0)
        r = cold_decode(found, flen, v.data, v.len, ret);
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    uint64_t from = ret->object == w->object ? MAX_OF(ret->first, w->block) : ret->first,
             end = ret->first + ret->blocks;
    w->object = ret->object;
    w->block = end;
    r = is_wanted(t, w, ret->object);
    if (r <= 0)
        return r < 0 ? r : 2;
    pthread_mutex_lock(&w->s->cold->lock);
    bool gap = cold_part_gap(w->s->cold, ret->object, &from, &end);
    pthread_mutex_unlock(&w->s->cold->lock);
    if (!gap)
        return 2;
    w->block = end;
    ret->ref.skip += (uint32_t)(from - ret->first);
    ret->blocks = (uint32_t)(end - from);
    ret->first = from;
    return 1;
}

static int walk_next(struct cold_walk *w, struct cold_range *ret)
{
    struct txn t;
    int r;

    do {
        r = txn_begin(w->s, TXN_READ, OP_NONE, NULL, &t);
        if (r < 0)
            return r;
        for (unsigned i = 0; i < WALK_RANGES && (r = cold_walk_step(&t, w, ret)) == 2; i++)
            continue;
        txn_abort(&t);
    } while (r == 2);
    return r;
}

void cold_asked(struct cold *c, uint64_t object)
{
    pthread_mutex_lock(&c->lock);
    if (c->recent[(c->nrecent - 1) % COLD_RECENT] != object)
        c->recent[c->nrecent++ % COLD_RECENT] = object;
    pthread_mutex_unlock(&c->lock);
}

/* The i-th newest of what was asked for lately; 0: it is all here. */
static uint64_t recent_at(struct cold *c, unsigned i, bool done)
{
    pthread_mutex_lock(&c->lock);
    uint64_t *at = &c->recent[(c->nrecent - 1 - i) % COLD_RECENT], object = *at;
    if (done)
        *at = 0;
    pthread_mutex_unlock(&c->lock);
    return object;
}

static int of_volume(struct store *s, uint32_t vol, uint64_t object)
{
    struct cold_walk w = {.s = s, .vol = vol};
    struct txn t;
    int r = vol ? txn_begin(s, TXN_READ, OP_NONE, NULL, &t) : 1;

    if (r < 0 || !vol)
        return r;
    r = is_wanted(&t, &w, object);
    txn_abort(&t);
    return r;
}

static int next_recent(struct store *s, uint32_t vol, struct cold_cursor *cur, struct cold_range *ret)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < COLD_RECENT; i++) {
        struct cold_walk w = {.s = s, .object = recent_at(s->cold, i, false), .one = true};
        if (!w.object || w.object == cur->failed)
            continue;
        if (w.object == cur->recent)
            w.block = cur->recent_block;
        r = walk_next(&w, ret);
        if (r == 0)
            (void)recent_at(s->cold, i, true);
        else if (r == 1)
            r = of_volume(s, vol, ret->object);
    }
    if (r == 1) {
        cur->recent = ret->object;
        cur->recent_block = ret->first + MIN_OF(ret->blocks, COLD_FETCH_BLOCKS);
    }
    return r;
}

int cold_next(struct store *s, uint32_t vol, struct cold_cursor *cur, struct cold_range *ret)
{
    struct cold_walk w;
    int r;

    if (!cold_any(s))
        return 0;
    r = next_recent(s, vol, cur, ret);
    if (r == 0) {
        w = (struct cold_walk){.s = s, .vol = vol, .object = cur->object, .block = cur->block};
        while ((r = walk_next(&w, ret)) == 1 && ret->object == cur->failed)
            w.block = UINT64_MAX - 1;
        cur->object = w.object;
        cur->block = w.block;
    }
    if (r == 1 && ret->blocks > COLD_FETCH_BLOCKS) {
        ret->blocks = COLD_FETCH_BLOCKS;
        if (cur->object == ret->object)
            cur->block = ret->first + COLD_FETCH_BLOCKS;
    }
    return r;
}

int cold_each(struct store *s, uint32_t vol, int (*cb)(void *arg, const struct cold_range *range), void *arg)
{
    struct cold_walk w = {.s = s, .vol = vol};
    struct cold_range range;
    int r = 0;

    while (r == 0 && cold_any(s) && (r = walk_next(&w, &range)) == 1)
        r = cb(arg, &range);
    return r;
}
