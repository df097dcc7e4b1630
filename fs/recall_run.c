/* Several chunks of a file, by one request, where they lie together: each goes to its place at once. */
#include "base/clock.h"
#include "base/mark.h"
#include "fs/recall_i.h"
#include "snap/store/cold.h"

#define SLOW_NS 2000000000ll    /* a run that takes longer holds up whoever waits for the end of it */
#define SINGLY_NS 60000000000ll /* how long chunks come one by one then */

struct run {
    struct recall *rc;
    struct slice s[COLD_RUN_PIECES];
    const struct cold_piece *v;
    unsigned first; /* of the pieces that the caller knows */
    void (*got)(void *of, unsigned i, int result);
    void *of;
    bool failed[COLD_RUN_PIECES]; /* is tried again by itself */
};

/* How many of these are whole chunks of one source. */
static unsigned whole_ones(struct run *run, const struct cold_piece *v, unsigned n)
{
    unsigned k = 0;
    bool whole = true;

    while (k < n && v[k].source == v[0].source && recall_slice(&v[k].ref, v[k].blocks, &run->s[k], &whole) &&
           whole)
        k++;
    return k;
}

static bool is_singly(struct recall *rc, const struct pool *p)
{
    int64_t until;

    pthread_mutex_lock(&rc->lock);
    until = p->singly_ns;
    pthread_mutex_unlock(&rc->lock);
    return clock_mono_ns() < until;
}

static void took(struct recall *rc, struct pool *p, int64_t began, int r)
{
    int64_t now = clock_mono_ns();

    pthread_mutex_lock(&rc->lock);
    if (r < 0 || now - began > SLOW_NS)
        p->singly_ns = now + SINGLY_NS;
    pthread_mutex_unlock(&rc->lock);
}

static void got_one(void *of, unsigned i, int r, size_t len)
{
    struct run *run = of;
    const struct cold_piece *v = &run->v[i];
    size_t room = (size_t)v->blocks * TIER_BLOCK;

    if (r < 0 || len < run->s[i].len) {
        run->failed[i] = true;
        return;
    }
    memset((uint8_t *)v->out + run->s[i].len, 0, room - run->s[i].len);
    run->got(run->of, run->first + i, 0);
}

static int ask(struct run *run, struct pool *p, unsigned n)
{
    int64_t began = clock_mono_ns(), most = (int64_t)run->rc->opts.timeout_ms * 1000000 / 4;
    struct repo_into into[COLD_RUN_PIECES];
    struct repo *repo;
    int r;

    for (unsigned i = 0; i < n; i++)
        into[i] = (struct repo_into){&run->s[i].chunk, run->v[i].out, (size_t)run->v[i].blocks * TIER_BLOCK};
    r = pool_take(run->rc, p, began + most, &repo, NULL);
    if (r < 0)
        return r;
    repo->call.wake = false; /* what is archived is asked for by who reads it alone */
    r = repo_chunks_into(repo, into, n, got_one, run);
    pool_give(run->rc, p, repo);
    took(run->rc, p, began, r);
    return r;
}

/* How many were dealt with; 0: none can be had so. */
static unsigned run_whole(struct run *run, unsigned n)
{
    struct recall *rc = run->rc;
    unsigned k = recall_is_limited(rc) || BROKEN(VARVE_BREAK_recall_run) ? 0 : whole_ones(run, run->v, n);
    struct from *f;
    int r;

    if (k < 2 || recall_from_of(rc, run->v[0].source, &f) < 0 || is_singly(rc, f->pool))
        return 0;
    r = ask(run, f->pool, k);
    if (r <= 0)
        return 0;
    MARK("recall: several chunks by one request");
    recall_moved(rc, f->pool);
    return (unsigned)r;
}

static int alone(struct recall *rc, const struct cold_piece *v)
{
    return recall_on_fetch(rc, v->source, &v->ref, v->blocks, v->out);
}

static bool is_away(int r)
{
    return r < 0 && r != -E_CORRUPT && r != -E_KEY && r != -E_SHREDDED && r != -E_ARCHIVED && r != -E_NOMEM;
}

/* Where a repository cannot be read those behind are not tried: whoever wants them tries anew. */
void recall_on_run(void *arg, const struct cold_piece *v, unsigned n,
                   void (*got)(void *of, unsigned i, int result), void *of)
{
    int away = 0;

    for (unsigned i = 0, k; i < n; i += k) {
        struct run run = {.rc = arg, .v = v + i, .first = i, .got = got, .of = of};

        k = away < 0 ? 0 : run_whole(&run, n - i);
        if (k == 0)
            run.failed[0] = true;
        k = MAX_OF(k, 1u);
        for (unsigned j = 0; j < k; j++)
            if (run.failed[j]) {
                int r = away < 0 ? away : alone(arg, &v[i + j]);

                away = is_away(r) ? r : 0;
                got(of, i + j, r);
            }
    }
}
