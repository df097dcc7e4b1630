/* Getting bytes that lie elsewhere, and putting them in their place. One fetch of a range at a time, whoever asks for it. */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mark.h"
#include "snap/store/cold_i.h"

int cold_range_at(struct store *s, uint64_t object, uint64_t block, struct cold_range *ret)
{
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = cold_range_ge(&t, object, block, ret);
    txn_abort(&t);
    return r;
}

/* Is the range as it was, at least where it is wanted? */
static bool still_cold(struct store *s, const struct cold_range *was, const struct cold_fetch *f)
{
    struct cold_range now;

    return cold_range_at(s, f->object, f->first, &now) == 0 && now.first <= f->first &&
           now.first + now.blocks >= f->end && now.source == was->source && now.ref.len == was->ref.len &&
           memcmp(now.ref.p, was->ref.p, was->ref.len) == 0;
}

/* Are its blocks still elsewhere, by whatever name? They are of a frozen object, so what was fetched is what they hold. */
static bool still_wanted(struct store *s, const struct cold_fetch *f)
{
    struct cold_range now;

    return cold_range_at(s, f->object, f->first, &now) == 0 && now.first <= f->first &&
           now.first + now.blocks >= f->end;
}

/* The blocks of a range that are fetched together with one of them. */
static void window_of(const struct cold_range *range, uint64_t block, uint64_t *ret_first, uint64_t *ret_end)
{
    uint64_t at = MAX_OF(block, range->first) - range->first;

    at -= at % COLD_FETCH_BLOCKS;
    *ret_first = range->first + at;
    *ret_end = range->first + MIN_OF(at + COLD_FETCH_BLOCKS, (uint64_t)range->blocks);
}

/* --- under way --------------------------------------------------------------------------------------------------------------- */

static struct cold_fetch *under_way(struct cold *c, uint64_t object, uint64_t first, uint64_t end)
{
    struct cold_fetch *f = c->fetches;

    while (f && (f->object != object || f->first >= end || first >= f->end))
        f = f->next;
    return BROKEN(VARVE_BREAK_cold_twice) ? NULL : f;
}

/* Memory that was never used costs as much as what is put into it: some is kept from one fetch to the next. */
static uint8_t *room_take(struct cold *c, uint64_t blocks)
{
    uint8_t *p = NULL;

    if (blocks != COLD_FETCH_BLOCKS)
        return malloc(blocks * BLOCK_SIZE);
    pthread_mutex_lock(&c->lock);
    if (c->nrooms > 0)
        p = c->room[--c->nrooms];
    pthread_mutex_unlock(&c->lock);
    return p ? p : malloc((size_t)COLD_FETCH_BLOCKS * BLOCK_SIZE);
}

static void room_give(struct cold *c, uint8_t *p, uint64_t blocks)
{
    pthread_mutex_lock(&c->lock);
    if (p && blocks == COLD_FETCH_BLOCKS && c->nrooms < COLD_ROOMS)
        c->room[c->nrooms++] = TAKE(p);
    pthread_mutex_unlock(&c->lock);
    free(p);
}

void cold_rooms_free(struct cold *c)
{
    uint8_t *p;

    do {
        pthread_mutex_lock(&c->lock);
        p = c->nrooms > 0 ? c->room[--c->nrooms] : NULL;
        pthread_mutex_unlock(&c->lock);
        free(p);
    } while (p);
}

void cold_fetch_unref(struct cold *c, struct cold_fetch *f)
{
    pthread_mutex_lock(&c->lock);
    bool last = --f->refs == 0;
    pthread_mutex_unlock(&c->lock);
    if (!last)
        return;
    room_give(c, f->bytes, f->end - f->first);
    free(f);
}

/* Who watches over requests sees that this one is not stuck. */
static void wait_a_step(struct cold *c)
{
    struct timespec until = clock_until(1000);

    io_move();
    pthread_cond_timedwait(&c->over, &c->lock, &until);
}

/* Takes the work on these blocks, or waits for who has it (wait; else NULL then, too). *ret_mine: it is the caller's now, to be ended by
 * fetch_over; else the result of the other is in it. NULL: they were brought meanwhile, or (*ret_r) memory is out. Either is given
 * back by unref. */
static struct cold_fetch *claim(struct cold *c, uint64_t object, uint64_t first, uint64_t end, bool wait,
                                bool *ret_mine, int *ret_r)
{
    struct cold_fetch *f, *fresh = calloc(1, sizeof(*fresh));

    *ret_mine = false;
    *ret_r = fresh ? 0 : -E_NOMEM;
    if (!fresh)
        return NULL;
    pthread_mutex_lock(&c->lock);
    f = under_way(c, object, first, end);
    if (f && wait) {
        MARK("cold: waits for the fetch of another");
        f->refs++;
        c->counts.waited++;
        while (!f->over)
            wait_a_step(c);
    } else if (f) {
        f = NULL;
    } else if (!cold_part_has(c, object, first, end)) {
        *fresh =
            (struct cold_fetch){.object = object, .first = first, .end = end, .next = c->fetches, .refs = 2};
        f = c->fetches = TAKE(fresh);
        *ret_mine = true;
    }
    pthread_mutex_unlock(&c->lock);
    free(fresh);
    return f;
}

static void fetch_over(struct cold *c, struct cold_fetch *f, int result)
{
    struct cold_fetch **at = &c->fetches;

    pthread_mutex_lock(&c->lock);
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    f->result = result;
    f->over = true;
    pthread_cond_broadcast(&c->over);
    pthread_mutex_unlock(&c->lock);
    cold_fetch_unref(c, f);
}

/* --- putting in place --------------------------------------------------------------------------------------------------------- */

static int place_bytes(struct store *s, const struct cold_fetch *f)
{
    struct objfd *fd;
    int r = objfd_get(s, f->object, true, &fd);

    if (r < 0)
        return r;
    __atomic_store_n(&fd->brought, true, __ATOMIC_SEQ_CST);
    r = io_pwrite(s->io, fd->fd, f->bytes, (f->end - f->first) * BLOCK_SIZE, f->first * BLOCK_SIZE);
    objfd_put(s, fd);
    return r;
}

static void set_placing(struct cold *c, struct cold_fetch *f, bool placing)
{
    pthread_mutex_lock(&c->lock);
    f->placing = placing;
    if (!placing)
        pthread_cond_broadcast(&c->over);
    pthread_mutex_unlock(&c->lock);
}

/* Who frees the blocks takes the range away first, and then waits until nothing is being placed: so one that is seen here will not be
 * gone before the bytes are in their place. */
static void keep(struct store *s, struct cold_fetch *f)
{
    struct cold *c = s->cold;
    bool much = false;
    int r = -E_ROFS;

    set_placing(c, f, true);
    if (store_writable(s) && still_wanted(s, f))
        r = place_bytes(s, f);
    pthread_mutex_lock(&c->lock);
    if (r == 0)
        r = cold_part_add(c, f->object, f->first, f->end);
    f->kept = r == 0;
    c->counts.unkept += r < 0;
    much = c->parts_bytes > COLD_SETTLE_BYTES;
    pthread_mutex_unlock(&c->lock);
    set_placing(c, f, false);
    if (r < 0 && r != -E_ROFS)
        log_warn("store", "recall_unkept", "object=%llx block=%llu blocks=%llu error=%s",
                 (unsigned long long)f->object, (unsigned long long)f->first,
                 (unsigned long long)(f->end - f->first), err_name(r));
    if (much && s->bg_running)
        store_kick(s);
}

/* --- fetching ----------------------------------------------------------------------------------------------------------------- */

/* Windows one behind the other that were claimed. */
struct run {
    struct store *s;
    struct cold_hooks h;
    unsigned n;
    struct cold_range range[COLD_RUN_PIECES];
    struct cold_fetch *f[COLD_RUN_PIECES];
    uint8_t *
        bytes; /* of one after the other: memory that was just used is near the processor; NULL: each has its own */
};

static void count(struct cold *c, const struct cold_fetch *f, int r)
{
    pthread_mutex_lock(&c->lock);
    c->counts.fetches++;
    c->counts.failed += r < 0;
    c->counts.fetched_bytes += r < 0 ? 0 : (f->end - f->first) * BLOCK_SIZE;
    pthread_mutex_unlock(&c->lock);
}

static void tell_failed(const struct run *run, unsigned i, int r)
{
    const struct cold_fetch *f = run->f[i];

    log_warn("store", "recall_failed", "object=%llx block=%llu blocks=%llu source=%u error=%s%s",
             (unsigned long long)f->object, (unsigned long long)f->first,
             (unsigned long long)(f->end - f->first), run->range[i].source, err_name(r),
             run->h.fetch ? "" : " why=no_repository_is_connected");
    if (run->h.failed)
        run->h.failed(run->h.arg, run->s, run->range[i].source, f->object, r);
}

/* One of them is there, or failed: whoever waits for it goes on. */
static void got(void *arg, unsigned i, int r)
{
    struct run *run = arg;
    struct store *s = run->s;
    struct cold_fetch *f = run->f[i];

    r = MIN_OF(r, 0);
    if (r < 0)
        tell_failed(run, i, r);
    count(s->cold, f, r);
    if (run->bytes)
        f->bytes = run->bytes;
    if (r == 0)
        keep(s, f);
    if (run->bytes) {
        f->bytes = NULL;
        if (r == 0 && !f->kept)
            r = -E_COLD; /* who waits for it brings it into memory of its own */
    }
    fetch_over(s->cold, f, r);
}

/* Whoever gives the store other hooks waits until these are not used any more: no lock is held meanwhile, as what came is put in its place. */
static void hooks_use(struct cold *c, struct cold_hooks *ret)
{
    pthread_rwlock_rdlock(&c->hooks_lock);
    *ret = c->hooks;
    pthread_mutex_lock(&c->lock);
    c->hook_users++;
    pthread_mutex_unlock(&c->lock);
    pthread_rwlock_unlock(&c->hooks_lock);
}

static void hooks_used(struct cold *c)
{
    pthread_mutex_lock(&c->lock);
    c->hook_users--;
    pthread_cond_broadcast(&c->over);
    pthread_mutex_unlock(&c->lock);
}

static void call_hooks(struct run *run, const struct cold_piece *v)
{
    const struct cold_hooks *h = &run->h;

    hooks_use(run->s->cold, &run->h);
    if (run->n > 1 && h->fetch_run)
        h->fetch_run(h->arg, v, run->n, got, run);
    else
        for (unsigned i = 0; i < run->n; i++)
            got(run, i,
                h->fetch ? h->fetch(h->arg, v[i].source, &v[i].ref, v[i].blocks, v[i].out) : -E_NOTSUP);
    hooks_used(run->s->cold);
}

/* Does the work on windows that were claimed. */
static void work(struct run *run)
{
    struct cold_piece v[COLD_RUN_PIECES];
    unsigned n = 0;

    for (unsigned i = 0; i < run->n; i++) {
        struct cold_fetch *f = run->f[i];
        int r = 0;

        if (!still_cold(run->s, &run->range[i], f)) {
            MARK("cold: somebody brought it between looking and claiming");
            r = -E_COLD; /* look again */
        } else if (!run->bytes && !(f->bytes = room_take(run->s->cold, f->end - f->first))) {
            r = -E_NOMEM;
        }
        if (r < 0) {
            fetch_over(run->s->cold, f, r);
            continue;
        }
        v[n] = (struct cold_piece){run->range[i].source, run->range[i].ref, (uint32_t)(f->end - f->first),
                                   run->bytes ? run->bytes : f->bytes};
        v[n].ref.skip += (uint32_t)(f->first - run->range[i].first);
        run->range[n] = run->range[i];
        run->f[n++] = f;
    }
    run->n = n;
    call_hooks(run, v);
}

static struct cold_hooks hooks_of(struct cold *c)
{
    struct cold_hooks h;

    pthread_rwlock_rdlock(&c->hooks_lock);
    h = c->hooks;
    pthread_rwlock_unlock(&c->hooks_lock);
    return h;
}

/* Brings the window of a range that has a block in it. *ret_end: as far as that is done; `block` itself: it is to be tried anew.
 * *ret_loose: what could not be kept, or NULL; to be given back. */
static int bring_window(struct store *s, const struct cold_range *range, uint64_t block, uint64_t *ret_end,
                        struct cold_fetch **ret_loose)
{
    uint64_t first, at = MAX_OF(block, range->first);
    bool mine;
    int r;

    *ret_loose = NULL;
    window_of(range, block, &first, ret_end);
    struct cold_hooks h = hooks_of(s->cold);
    if (h.waits && h.waits(h.arg, true) < 0)
        return -E_IO;
    struct cold_fetch *f = claim(s->cold, range->object, first, *ret_end, true, &mine, &r);
    if (f && mine)
        work(&(struct run){.s = s, .n = 1, .range = {*range}, .f = {f}});
    if (h.waits)
        h.waits(h.arg, false);
    if (!f)
        return r;
    r = f->result;
    if (at < f->first || at >= f->end || r == -E_COLD || (r == -E_CANCELED && !mine)) {
        *ret_end = block; /* who gave it up did so for himself */
        r = 0;
    } else {
        *ret_end = f->end;
        if (r == 0 && !f->kept)
            *ret_loose = f;
    }
    if (!*ret_loose)
        cold_fetch_unref(s->cold, f);
    return r == -E_NOMEM ? r : r < 0 ? -E_IO : 0;
}

int cold_bring(struct store *s, uint64_t object, uint64_t first, uint64_t end,
               int (*loose)(void *arg, struct cold_fetch *f), void *arg)
{
    struct cold_range range;
    struct cold_fetch *f;
    int r;

    while (first < end) {
        r = cold_range_at(s, object, first, &range);
        if (r < 0 || range.first >= end)
            return r == -E_NOENT ? 0 : MIN_OF(r, 0);
        r = bring_window(s, &range, first, &first, &f);
        if (r == 0 && f)
            r = loose(arg, f);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Claims what follows, as far as nobody has it, a few pieces at the most. */
static int run_claim(struct store *s, uint64_t object, uint64_t first, uint64_t end, struct run *ret)
{
    int r = 0;

    while (r == 0 && first < end && ret->n < COLD_RUN_PIECES) {
        struct cold_range *range = &ret->range[ret->n];
        uint64_t from, to;
        bool mine;

        r = cold_range_at(s, object, first, range);
        if (r < 0 || range->first >= end)
            break;
        window_of(range, first, &from, &to);
        if ((ret->n && from != first) ||
            !(ret->f[ret->n] = claim(s->cold, object, from, to, false, &mine, &r)))
            break;
        ret->n++;
        first = to;
    }
    return r == -E_NOENT ? 0 : r;
}

int cold_bring_run(struct store *s, uint64_t object, uint64_t first, uint64_t end)
{
    struct cold_hooks h = hooks_of(s->cold);
    struct cold_fetch *f[COLD_RUN_PIECES];
    struct run run = {.s = s};
    unsigned n;
    int r;

    if (!h.fetch_run || end - first <= COLD_FETCH_BLOCKS || BROKEN(VARVE_BREAK_cold_run))
        return 0;
    if (h.waits && h.waits(h.arg, true) < 0)
        return -E_IO;
    run.bytes = room_take(s->cold, COLD_FETCH_BLOCKS);
    r = run.bytes ? run_claim(s, object, first, end, &run) : -E_NOMEM;
    n = run.n;
    memcpy(f, run.f, n * sizeof(f[0]));
    work(&run);
    room_give(s->cold, run.bytes, COLD_FETCH_BLOCKS);
    for (unsigned i = 0; i < n; i++) {
        if (r == 0 && f[i]->result < 0 && f[i]->result != -E_COLD)
            r = f[i]->result == -E_NOMEM ? -E_NOMEM : -E_IO;
        cold_fetch_unref(s->cold, f[i]);
    }
    if (h.waits)
        h.waits(h.arg, false);
    return r;
}

static int unkept(void *arg, struct cold_fetch *f)
{
    struct store *s = arg;

    cold_fetch_unref(s->cold, f);
    return store_writable(s) ? -E_NOSPC : -E_ROFS;
}

int cold_recall(struct store *s, uint64_t object, uint64_t first, uint64_t blocks)
{
    uint64_t end = first + blocks, at = first;
    int r = 0;

    if (!cold_any(s))
        return 0;
    for (; r == 0 && at < end; at += COLD_RUN_BLOCKS)
        r = cold_bring_run(s, object, at, MIN_OF(at + COLD_RUN_BLOCKS, end));
    return r < 0 ? r : cold_bring(s, object, first, end, unkept, s);
}

struct cold_fetch *cold_fence(struct store *s, uint64_t object, uint64_t first, uint64_t end)
{
    struct cold *c = s->cold;
    struct cold_fetch *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    pthread_mutex_lock(&c->lock);
    if (under_way(c, object, first, end)) {
        free(f);
        f = NULL;
    } else {
        *f = (struct cold_fetch){.object = object, .first = first, .end = end, .next = c->fetches, .refs = 1};
        c->fetches = f;
    }
    pthread_mutex_unlock(&c->lock);
    return f;
}

void cold_unfence(struct store *s, struct cold_fetch *f)
{
    fetch_over(s->cold, f, -E_COLD);
}
