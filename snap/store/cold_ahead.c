/* Reading ahead: who reads an object from front to back gets what comes next brought before it is asked for. */
#include "snap/store/cold_i.h"

#define NEAR 256u        /* requests of one reader come in any order, so far apart */
#define BEGINS_AT 64u    /* so much was read on end, by more than one request: it will go on */
#define WINDOW 512u      /* so much is brought ahead at first: 2 MiB, */
#define WINDOW_MAX 4096u /* and doubled each time, up to 16 */
#define PIECES_AHEAD 2u  /* the window is brought in at least so many pieces, by several threads */

static bool is_near(const struct cold_stream *st, uint64_t object, uint64_t first)
{
    return st->object == object && first + NEAR >= st->next && first <= st->next + NEAR;
}

/* The stream that a read goes on with; else the one that was used longest ago begins anew with it, and false. */
static bool stream_of(struct cold *c, uint64_t object, uint64_t first, struct cold_stream **ret)
{
    struct cold_stream *oldest = &c->stream[0];

    for (unsigned i = 0; i < COLD_STREAMS; i++) {
        if (is_near(&c->stream[i], object, first)) {
            *ret = &c->stream[i];
            return true;
        }
        if (c->stream[i].used < oldest->used)
            oldest = &c->stream[i];
    }
    *ret = oldest;
    return false;
}

/* It read most of what it went over, and enough of it. */
static bool is_sequential(const struct cold_stream *st)
{
    return st->read >= BEGINS_AT && st->read * 2 >= st->next - st->begin;
}

/* True: there is more to be brought. */
static bool stream_goes_on(struct cold_stream *st, uint64_t first, uint64_t end)
{
    st->begin = MIN_OF(st->begin, first);
    st->next = MAX_OF(st->next, end);
    st->read += end - first;
    st->taken = MAX_OF(st->taken, st->next);
    st->asked = MAX_OF(st->asked, st->next);
    if (st->over || st->asked - st->next > st->window / 2 || !is_sequential(st))
        return false;
    st->window = st->window ? MIN_OF(st->window * 2, (uint64_t)WINDOW_MAX) : WINDOW;
    st->asked = st->next + st->window;
    return true;
}

void cold_reads(struct store *s, uint64_t object, uint64_t first, uint64_t end)
{
    struct cold *c = s->cold;
    struct cold_stream *st;
    bool more = false;

    if (!__atomic_load_n(&c->aheads, __ATOMIC_RELAXED) || BROKEN(VARVE_BREAK_cold_ahead))
        return;
    pthread_mutex_lock(&c->lock);
    if (stream_of(c, object, first, &st))
        more = stream_goes_on(st, first, end);
    else
        *st = (struct cold_stream){
            .object = object, .begin = first, .next = end, .read = end - first, .taken = end, .asked = end};
    st->used = ++c->stream_clock;
    pthread_mutex_unlock(&c->lock);
    if (!more)
        return;
    pthread_rwlock_rdlock(&c->hooks_lock);
    if (c->hooks.ahead)
        c->hooks.ahead(c->hooks.arg);
    pthread_rwlock_unlock(&c->hooks_lock);
}

/* Of some fetches where the window is large. */
static uint64_t piece_blocks(const struct cold_stream *st)
{
    uint64_t n = st->window / PIECES_AHEAD;

    return MIN_OF(MAX_OF(n - n % COLD_FETCH_BLOCKS, (uint64_t)COLD_FETCH_BLOCKS), (uint64_t)COLD_RUN_BLOCKS);
}

/* The next piece of the reader that will want it first. */
static bool piece_take(struct cold *c, struct cold_stream *ret)
{
    struct cold_stream *best = NULL;

    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < COLD_STREAMS; i++) {
        struct cold_stream *st = &c->stream[i];
        if (st->taken < st->asked && (!best || st->taken - st->next < best->taken - best->next))
            best = st;
    }
    if (best) {
        *ret = *best;
        best->taken = MIN_OF(best->taken - best->taken % COLD_FETCH_BLOCKS + piece_blocks(best), best->asked);
        ret->asked = best->taken;
    }
    pthread_mutex_unlock(&c->lock);
    return best != NULL;
}

/* Behind the last range nothing is to be brought; and what failed is left to the reader, who is told. */
static void piece_ended(struct cold *c, const struct cold_stream *piece, bool over)
{
    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; over && i < COLD_STREAMS; i++)
        if (is_near(&c->stream[i], piece->object, piece->next)) {
            c->stream[i].over = true;
            c->stream[i].asked = c->stream[i].taken = c->stream[i].next;
        }
    if (!over)
        c->counts.ahead += (piece->asked - piece->taken + COLD_FETCH_BLOCKS - 1) / COLD_FETCH_BLOCKS;
    pthread_mutex_unlock(&c->lock);
}

static int not_kept(void *arg, struct cold_fetch *f)
{
    cold_fetch_unref(arg, f);
    return -E_NOSPC;
}

int cold_ahead_one(struct store *s)
{
    struct cold_stream piece;
    struct cold_range range;
    int r;

    if (!piece_take(s->cold, &piece))
        return 0;
    r = cold_range_at(s, piece.object, piece.taken, &range);
    if (r == 0 && range.first < piece.asked)
        r = cold_bring_run(s, piece.object, piece.taken, piece.asked);
    if (r == 0)
        r = cold_bring(s, piece.object, piece.taken, piece.asked, not_kept, s->cold);
    piece_ended(s->cold, &piece, r < 0);
    return 1;
}
