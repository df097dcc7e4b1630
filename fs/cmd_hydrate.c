/* `varve hydrate`: what a volume has in a repository only comes here. A job; several ranges at a time. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "conf/value.h"
#include "fs/recall.h"
#include "fs/recall_paths.h"
#include "fs/verb_runs.h"
#include "snap/event.h"
#include "snap/idle.h"
#include "snap/store/cold.h"

#define THREADS 3u      /* fewer than a repository is open times: reads of people find one free */
#define FAILS_MAX 3u    /* in one pass */
#define AGAIN_MS 30000u /* between passes in which nothing came: the longest pause */
#define GIVE_UP_NS 600000000000ll
#define LOOK_FIRST_MS 500u /* between looks at what is to come out of an archive, then twice as long, up to */
#define LOOK_MAX_MS 60000u

struct hydrate {
    struct job *j;
    struct store *s;
    struct vol *v;
    struct recall_paths *paths; /* NULL: the whole volume. Guarded by lock */
    pthread_mutex_t lock;       /* guards what follows */
    struct cold_cursor cursor;
    struct cold_range peeked; /* blocks 0: none: it comes next */
    uint64_t ranges, bytes, fails;
    struct cold_range under_way[THREADS]; /* blocks 0: none; the same may be told to two */
    int result;                           /* why the last one failed */
    bool over;                            /* the pass */
    bool failed;                          /* the store itself, or its disk */
};

static struct cold_range *noted(struct hydrate *h, const struct cold_range *r)
{
    for (size_t i = 0; i < THREADS; i++)
        if (h->under_way[i].blocks == r->blocks && h->under_way[i].object == r->object &&
            h->under_way[i].first == r->first)
            return &h->under_way[i];
    return NULL;
}

static struct cold_range *free_note(struct hydrate *h)
{
    for (size_t i = 1; i < THREADS; i++)
        if (h->under_way[i].blocks == 0)
            return &h->under_way[i];
    return &h->under_way[0];
}

static int next_range(struct hydrate *h, struct cold_cursor *c, struct cold_range *ret)
{
    return h->paths ? recall_paths_next(h->paths, c->failed, ret) : cold_next(h->s, h->v->rec.id, c, ret);
}

static int next_peeked(struct hydrate *h, struct cold_range *ret)
{
    if (!h->peeked.blocks)
        return next_range(h, &h->cursor, ret);
    *ret = h->peeked;
    h->peeked.blocks = 0;
    return 1;
}

/* One, and those right behind it, as they may lie together where they are. */
static int next_run(struct hydrate *h, struct cold_range *ret)
{
    int r = next_peeked(h, ret);

    while (r == 1 && ret->blocks <= COLD_RUN_BLOCKS - COLD_FETCH_BLOCKS) {
        if (next_range(h, &h->cursor, &h->peeked) != 1) {
            h->peeked.blocks = 0; /* it is told when it is come to */
            break;
        }
        if (h->peeked.object != ret->object || h->peeked.first != ret->first + ret->blocks)
            break;
        ret->blocks += h->peeked.blocks;
        h->peeked.blocks = 0;
    }
    return r;
}

static bool next(struct hydrate *h, struct cold_range *ret)
{
    bool got = false;
    int r;

    pthread_mutex_lock(&h->lock);
    if (!h->over && !job_canceled(h->j) && h->fails < FAILS_MAX) {
        r = next_run(h, ret);
        got = r == 1;
        if (got && !noted(h, ret))
            *free_note(h) = *ret;
        if (r < 0) {
            h->result = r;
            h->failed = true;
        }
    }
    h->over = !got;
    pthread_mutex_unlock(&h->lock);
    return got;
}

static void came(struct hydrate *h, const struct cold_range *range, int r)
{
    struct cold_range *mine;

    pthread_mutex_lock(&h->lock);
    mine = noted(h, range);
    if (mine)
        mine->blocks = 0;
    if (r == 0 && mine) {
        h->ranges++;
        h->bytes += (uint64_t)range->blocks * BLOCK_SIZE;
        job_progress(h->j, h->ranges, h->bytes);
    } else if (r < 0) {
        h->cursor.failed = range->object;
        h->fails++;
        h->result = r;
        h->failed |= r == -E_NOSPC || r == -E_ROFS;
        h->over |= h->failed;
    }
    pthread_mutex_unlock(&h->lock);
}

static void *hydrate_main(void *arg)
{
    struct hydrate *h = arg;
    struct cold_range range;

    recall_unbound(h->j);
    while (next(h, &range))
        came(h, &range, cold_recall(h->s, range.object, range.first, range.blocks));
    recall_unbound(NULL);
    return NULL;
}

static void pass(struct hydrate *h)
{
    pthread_t t[THREADS - 1];
    unsigned n = 0;

    h->cursor = (struct cold_cursor){.object = 0};
    h->peeked.blocks = 0;
    h->fails = 0;
    h->over = false;
    if (h->paths && (h->result = recall_paths_begin(h->paths)) < 0) {
        h->failed = true;
        return;
    }
    while (n < THREADS - 1 && pthread_create(&t[n], NULL, hydrate_main, h) == 0)
        n++;
    hydrate_main(h);
    while (n > 0)
        pthread_join(t[--n], NULL);
}

/* 1: some are left. */
static int left(struct hydrate *h)
{
    struct cold_cursor c = {.object = 0};
    struct cold_range range;
    int r = cold_settle(h->s);

    if (r == 0 && h->paths)
        r = recall_paths_begin(h->paths);
    return r < 0 ? r : next_range(h, &c, &range);
}

static int pause_ms(struct job *j, unsigned ms)
{
    for (unsigned t = 0; t < ms; t += 100) {
        if (job_canceled(j))
            return -E_CANCELED;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return job_canceled(j) ? -E_CANCELED : 0;
}

/* --- archives ------------------------------------------------------------------------------------------------------------ */

struct thawing {
    struct hydrate *h;
    struct recall_thaw *t;
};

static int thaw_add(void *arg, const struct cold_range *range)
{
    struct thawing *g = arg;

    return job_canceled(g->h->j) ? -E_CANCELED : recall_thaw_add(g->t, range);
}

/* All packs that what is left needs. */
static int thaw_gather(struct thawing *g)
{
    struct hydrate *h = g->h;
    struct cold_range range;
    int r;

    if (!h->paths)
        return cold_each(h->s, h->v->rec.id, thaw_add, g);
    r = recall_paths_begin(h->paths);
    while (r == 0 && (r = recall_paths_next(h->paths, 0, &range)) == 1)
        r = thaw_add(g, &range);
    return r;
}

static int on_thaw(void *arg, uint64_t ready, uint64_t of)
{
    struct hydrate *h = arg;

    verb_job_thaws(h->j, ready, of);
    return job_canceled(h->j) ? -E_CANCELED : 0;
}

static void thaw_told(struct hydrate *h, uint64_t packs)
{
    event_emit(h->s, "archive-asked", h->v->rec.name,
               "%" PRIu64 " packs were asked for; what they have comes when they are out of the archive",
               packs);
}

/* Until all of them can be read; a repository that is away is asked again. 1: nothing had to be waited for. */
static int thaw_wait(struct thawing *g)
{
    int64_t heard_ns = clock_mono_ns();
    unsigned ms = LOOK_FIRST_MS;
    bool ask = true;

    for (;;) {
        uint64_t packs = 0;
        int r = recall_thaw_look(g->t, ask && !BROKEN(VARVE_BREAK_hydrate_unasked), on_thaw, g->h, &packs);

        if (job_canceled(g->h->j))
            return -E_CANCELED;
        if (r == 0 && packs == 0)
            return ask;
        if (r == 0 && ask)
            thaw_told(g->h, packs);
        if (r == 0) {
            heard_ns = clock_mono_ns();
            ask = false;
        } else if (clock_mono_ns() - heard_ns > GIVE_UP_NS) {
            return -E_IO;
        }
        if ((r = pause_ms(g->h->j, ms)) < 0)
            return r;
        ms = MIN_OF(2 * ms, LOOK_MAX_MS);
    }
}

/* Something lies in an archive: all that is left is asked for at once, and waited for. 1: go on, it is there; 0: it could not be asked
 * for, or there was nothing to be asked for. */
static int thaw(struct hydrate *h)
{
    struct thawing g = {.h = h};
    int r = recall_thaw_new(h->s, &g.t);

    if (r == 0)
        r = thaw_gather(&g);
    r = r < 0 ? (r == -E_CANCELED ? r : 1) : thaw_wait(&g);
    recall_thaw_free(g.t);
    job_say(h->j, "%s", "");
    return r < 0 ? r : !r;
}

/* Until nothing is left. A repository that is away is waited for, an archive, too. */
static int work(struct hydrate *h)
{
    int64_t moved_ns = clock_mono_ns();
    unsigned wait_ms = 1000;

    for (;;) {
        uint64_t before = h->bytes, archived = recall_archived(h->s);
        int r;

        pass(h);
        if (job_canceled(h->j))
            return -E_CANCELED;
        if (h->failed)
            return h->result;
        if ((r = left(h)) <= 0)
            return r;
        r = recall_archived(h->s) != archived ? thaw(h) : 0;
        if (r < 0)
            return r;
        if (h->bytes > before || r == 1) {
            moved_ns = clock_mono_ns();
            wait_ms = 1000;
        }
        if (r == 1)
            continue;
        if (clock_mono_ns() - moved_ns > GIVE_UP_NS)
            return h->result ? h->result : -E_IO;
        if (h->fails && (r = pause_ms(h->j, wait_ms)) < 0)
            return r;
        wait_ms = MIN_OF(wait_ms * 2, AGAIN_MS);
    }
}

int hydrate_paths(struct job *j, struct store *s, struct vol *v, struct recall_paths *p, uint64_t *ret_bytes)
{
    struct hydrate h = {.j = j, .s = s, .v = v, .paths = p, .lock = PTHREAD_MUTEX_INITIALIZER};
    uint64_t bytes;
    int r = recall_paths_sum(p, &bytes);

    if (r == 0) {
        job_total(j, 0, bytes);
        r = bytes ? work(&h) : 0;
    }
    if (r == 0)
        r = store_flush(s);
    *ret_bytes = h.bytes;
    return r;
}

/* What a clone shows are objects of its origin as well: they are found by its files. */
static int others(struct hydrate *h)
{
    cleanup(buf_free) struct buf err = {0};
    struct cold_cursor c = {.object = 0};
    struct cold_range range;
    char root[] = "", *const paths[] = {root};
    int r = cold_next(h->s, 0, &c, &range);

    if (r <= 0)
        return r;
    r = recall_paths_new(h->v, paths, 1, &h->paths, &err);
    if (r == 0)
        r = work(h);
    recall_paths_free(TAKE(h->paths));
    return r;
}

int hydrate_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct hydrate h = {.j = j, .s = s, .v = verb_vol_of_id(s, info->vol), .lock = PTHREAD_MUTEX_INITIALIZER};
    char size[CONF_SIZE_TEXT];
    struct cold_stat st;
    int r = h.v ? cold_stat(h.v, &st) : -E_NOENT;

    if (r == 0) {
        job_total(j, 0, st.remote_bytes);
        r = work(&h);
    }
    if (r == 0)
        r = others(&h);
    if (r == 0)
        r = store_flush(s);
    conf_size_text(h.bytes, size);
    if (r == -E_IO)
        job_say(j, "the repository cannot be read; %s came, varve hydrate goes on", size);
    if (r < 0)
        return r;
    job_say(j, "volume %.100s lies here as a whole: %s came", h.v->rec.name, size);
    idle_sweep_reset(h.v);
    event_emit(s, "volume-hydrated", h.v->rec.name, "all of it lies here: %s came", size);
    recall_keep(s, true);
    return 0;
}

/* --- the verb ------------------------------------------------------------------------------------------------------------- */

int hydrate_begin(struct store *s, const struct vol *v, uint64_t *ret_id)
{
    return job_join(s, "hydrate", v->rec.id, "", ret_id);
}

RUN(run_hydrate)
{
    static const struct verb_job_words words = {.verb = "hydrate", .doing = "hydrates"};
    uint64_t id;
    int r = hydrate_begin(c->env->store, c->vol, &id);

    if (r < 0)
        return r;
    r = verb_job_await(c, a, id, err);
    return r < 0 ? r : verb_job_answer(c, id, &words, out, err);
}
