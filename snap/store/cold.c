/* Bytes of objects that lie elsewhere: finding out, and getting them. */
#include "snap/store/cold.h"

#include <stdlib.h>

#include "base/clock.h"
#include "snap/store/change.h"
#include "snap/store/cold_i.h"

#define NOTED_MAX 32u

/* --- what this thread needs, and what it holds ---------------------------------------------------------------------------- */

static _Thread_local struct noted {
    unsigned n;
    struct {
        uint64_t object, first, end;
    } want[NOTED_MAX];
    struct held {
        struct cold_fetch *f;
        struct held *next;
    } * held;
} noted;
_Thread_local bool cold_noted;

static void note_want(uint64_t object, uint64_t first, uint64_t end)
{
    cold_noted = true;
    if (noted.n == NOTED_MAX)
        return; /* next time */
    noted.want[noted.n].object = object;
    noted.want[noted.n].first = first;
    noted.want[noted.n++].end = end;
}

void cold_unnote(void)
{
    noted.n = 0;
    cold_noted = noted.held != NULL;
}

static void unhold(struct cold *c)
{
    while (noted.held) {
        struct held *h = noted.held;
        noted.held = h->next;
        cold_fetch_unref(c, h->f);
        free(h);
    }
    cold_unnote();
}

/* What could not be kept and has the block. */
static bool held_has(uint64_t object, uint64_t block)
{
    for (const struct held *h = noted.held; h; h = h->next)
        if (h->f->object == object && h->f->first <= block && block < h->f->end)
            return true;
    return false;
}

/* --- the memory ------------------------------------------------------------------------------------------------------------ */

int cold_new(struct store *s)
{
    struct cold *c = calloc(1, sizeof(*c));

    if (!c)
        return -E_NOMEM;
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->settle_lock, NULL);
    pthread_mutex_init(&c->leave_lock, NULL);
    clock_cond_init(&c->over);
    pthread_rwlock_init(&c->hooks_lock, NULL);
    s->cold = c;
    return 0;
}

void cold_free(struct store *s)
{
    struct cold *c = s->cold;

    if (!c)
        return;
    for (unsigned i = 0; i < COLD_BUCKETS; i++)
        while (c->hash[i])
            cold_part_drop(c, c->hash[i]->object, 0, UINT64_MAX);
    cold_rooms_free(c);
    pthread_rwlock_destroy(&c->hooks_lock);
    pthread_cond_destroy(&c->over);
    pthread_mutex_destroy(&c->settle_lock);
    pthread_mutex_destroy(&c->leave_lock);
    pthread_mutex_destroy(&c->lock);
    free(c);
    s->cold = NULL;
}

void store_set_cold(struct store *s, const struct cold_hooks *hooks)
{
    pthread_rwlock_wrlock(&s->cold->hooks_lock);
    s->cold->hooks = hooks ? *hooks : (struct cold_hooks){0};
    __atomic_store_n(&s->cold->aheads, hooks && hooks->ahead, __ATOMIC_RELAXED);
    pthread_rwlock_unlock(&s->cold->hooks_lock);
    pthread_mutex_lock(&s->cold->lock);
    while (s->cold->hook_users > 0)
        pthread_cond_wait(&s->cold->over, &s->cold->lock);
    pthread_mutex_unlock(&s->cold->lock);
}

void cold_get_counts(struct store *s, struct cold_counts *ret)
{
    pthread_mutex_lock(&s->cold->lock);
    *ret = s->cold->counts;
    pthread_mutex_unlock(&s->cold->lock);
}

_Thread_local uint64_t cold_brought;

/* --- reading an object ----------------------------------------------------------------------------------------------------- */

/* Is it in the object, although a range is recorded? */
static bool at_hand(struct cold *c, uint64_t object, uint64_t block, uint64_t end)
{
    pthread_mutex_lock(&c->lock);
    bool is = cold_part_has(c, object, block, end);
    pthread_mutex_unlock(&c->lock);
    return is;
}

/* Blocks [first, end) of a range: those that cannot be read now are noted. */
static int note_missing(struct store *s, uint64_t object, uint64_t first, uint64_t end)
{
    int r = 0;

    if (at_hand(s->cold, object, first, end))
        return 0;
    for (uint64_t b = first, from = first; b <= end; b++) {
        bool missing = b < end && !held_has(object, b) && !at_hand(s->cold, object, b, b + 1);
        if (missing)
            r = -E_COLD;
        if (!missing && from < b)
            note_want(object, from, b);
        if (!missing)
            from = b + 1;
    }
    return r;
}

struct missing {
    struct store *s;
    uint64_t object, first, end, n;
};

static int count_missing(void *arg, const struct cold_range *range)
{
    struct missing *m = arg;
    uint64_t last = MIN_OF(m->end, range->first + range->blocks);

    if (range->first >= m->end)
        return 1;
    pthread_mutex_lock(&m->s->cold->lock);
    for (uint64_t at = MAX_OF(m->first, range->first), end = last;
         cold_part_gap(m->s->cold, m->object, &at, &end); at = end, end = last)
        m->n += end - at;
    pthread_mutex_unlock(&m->s->cold->lock);
    return 0;
}

int cold_missing(struct txn *t, uint64_t object, uint64_t first, uint64_t blocks, uint64_t *ret)
{
    struct missing m = {.s = t->store, .object = object, .first = first, .end = first + blocks};
    int r = cold_any(t->store) ? cold_ranges_each(t, object, first, count_missing, &m) : 0;

    *ret = m.n;
    return r < 0 ? r : 0;
}

/* Can blocks [first, end) be read now? -E_COLD: not all of them, noted. fd (may be NULL): of the object; when it has no cold range
 * at all it is marked. */
static int look(struct store *s, uint64_t object, uint64_t first, uint64_t end, struct objfd *fd)
{
    struct cold_range range;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t), miss = 0;

    if (r < 0)
        return r;
    r = cold_range_ge(&t, object, 0, &range);
    if (r == -E_NOENT && fd) /* in the transaction: nobody puts one meanwhile */
        __atomic_store_n(&fd->hot, true, __ATOMIC_RELAXED);
    for (uint64_t at = first; r == 0 && at < end; at = range.first + range.blocks) {
        r = cold_range_ge(&t, object, at, &range);
        if (r < 0 || range.first >= end)
            break;
        int m = note_missing(s, object, MAX_OF(at, range.first), MIN_OF(end, range.first + range.blocks));
        miss = m < 0 ? m : miss;
    }
    txn_abort(&t);
    return r < 0 && r != -E_NOENT ? r : miss;
}

/* What is held for this thread and is not in the object. */
static bool overlay(uint64_t object, uint8_t *p, size_t len, uint64_t off)
{
    bool any = false;

    for (const struct held *h = noted.held; h; h = h->next) {
        const struct cold_fetch *f = h->f;
        uint64_t a = MAX_OF(off, f->first * BLOCK_SIZE), b = MIN_OF(off + len, f->end * BLOCK_SIZE);
        if (f->object != object || a >= b)
            continue;
        memcpy(p + (a - off), f->bytes + (a - f->first * BLOCK_SIZE), b - a);
        any = true;
    }
    return any;
}

int object_read_cold(struct store *s, uint64_t object, struct objfd *fd, void *p, size_t len, uint64_t off)
{
    int r = fd ? 0 : -E_NOENT, c = look(s, object, off / BLOCK_SIZE, blocks_of(off + len), fd);

    cold_reads(s, object, off / BLOCK_SIZE, blocks_of(off + len));
    if (!fd && c == 0) /* it may have come while we looked */
        r = objfd_get(s, object, false, &fd);
    if (r == 0 && c == 0)
        r = objfd_read(s, fd, p, len, off);
    else if (r == -E_NOENT)
        memset(p, 0, len);
    if (c == 0 && cold_noted && (r == 0 || r == -E_NOENT) && overlay(object, p, len, off))
        r = 0;
    objfd_put(s, fd);
    return c < 0 ? c : r == -E_NOENT ? -E_CORRUPT : r;
}

int object_here(struct store *s, uint64_t object, uint64_t off, uint64_t len)
{
    if (!cold_any(s) || !len)
        return 0;
    return look(s, object, off / BLOCK_SIZE, blocks_of(off + len), NULL);
}

/* --- bringing what was noted ------------------------------------------------------------------------------------------------- */

static int hold(void *arg, struct cold_fetch *f)
{
    struct held *h = malloc(sizeof(*h));

    if (!h) {
        cold_fetch_unref(arg, f);
        return -E_NOMEM;
    }
    *h = (struct held){f, noted.held};
    noted.held = h;
    return 0;
}

bool cold_again_noted(struct store *s, int *r)
{
    unsigned n = noted.n;
    int e = 0;

    noted.n = 0;
    cold_brought += *r == -E_COLD;
    for (unsigned i = 0; *r == -E_COLD && i < n && e == 0; i++) {
        cold_asked(s->cold, noted.want[i].object);
        e = cold_bring(s, noted.want[i].object, noted.want[i].first, noted.want[i].end, hold, s->cold);
    }
    if (*r == -E_COLD && e == 0)
        return true;
    if (*r == -E_COLD)
        *r = e;
    unhold(s->cold);
    return false;
}
