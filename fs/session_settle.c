/* Waiting for what the kernel had asked before. A kernel that holds requests back has at least as many at us as it may (INIT_BACKGROUND),
 * many more than there are workers: so when its queue is empty at one moment, it holds nothing back. What was asked before is then with
 * the workers, and each that waits for a request again has answered the one that it had. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "fs/session_i.h"

#define WORKERS_SEEN 256u

struct seen {
    uint64_t serial, turns;
    bool here; /* still, and at the same turn */
};

struct settle {
    const struct vol *vol;
    int64_t until_ns;
    unsigned long long ticket;
    bool queue; /* some connection's is not empty */
    struct seen at[WORKERS_SEEN];
    size_t n;
    bool all; /* there was room for all of them */
};

static bool concerns(const struct settle *s, const struct session *ss)
{
    return (!s->vol || ss->vol == s->vol) && !atomic_load(&ss->ended);
}

static void look_queue(struct session *ss, void *arg)
{
    struct settle *s = arg;
    struct pollfd p = {.fd = ss->fd, .events = POLLIN};

    if (concerns(s, ss) && atomic_load(&ss->ready) && poll(&p, 1, 0) != 0 &&
        !(p.revents & (POLLERR | POLLHUP)))
        s->queue = true;
}

/* An entry of a ring's queue that nothing comes to proves that the queue is empty. Who waits at one looks again when he is woken. */
static void look_ring(struct session *ss, void *arg)
{
    struct settle *s = arg;

    for (unsigned i = 0; concerns(s, ss) && ss->ring && i < ss->nqueues; i++)
        if (atomic_load(&ss->queues[i].empty_at) < s->ticket)
            s->queue = true;
}

static void wake_ring(struct worker *w, void *arg)
{
    const struct settle *s = arg;

    if (w->entry && concerns(s, w->ss) && __atomic_load_n(&w->since_ns, __ATOMIC_RELAXED) == 0)
        pthread_kill(w->thread, SIGUSR1);
}

static void note_worker(struct worker *w, void *arg)
{
    struct settle *s = arg;

    if (!concerns(s, w->ss) || w == session__worker_mine() || __atomic_load_n(&w->settles, __ATOMIC_SEQ_CST))
        return;
    if (s->n == WORKERS_SEEN)
        s->all = false;
    else
        s->at[s->n++] =
            (struct seen){.serial = w->serial, .turns = __atomic_load_n(&w->turns, __ATOMIC_SEQ_CST)};
}

/* One that seems idle may have been given a request just now: it is woken, and goes back to wait if it has none. */
static void look_worker(struct worker *w, void *arg)
{
    struct settle *s = arg;

    for (size_t i = 0; i < s->n; i++)
        if (s->at[i].serial == w->serial && s->at[i].turns == __atomic_load_n(&w->turns, __ATOMIC_SEQ_CST) &&
            !__atomic_load_n(&w->settles, __ATOMIC_SEQ_CST)) {
            s->at[i].here = true;
            if (__atomic_load_n(&w->since_ns, __ATOMIC_RELAXED) == 0)
                pthread_kill(w->thread, SIGUSR1);
        }
}

/* Those that have not moved since stay on the list. */
static bool all_moved(struct settle *s)
{
    size_t n = 0;

    session__workers_each(look_worker, s);
    for (size_t i = 0; i < s->n; i++)
        if (s->at[i].here) {
            s->at[n] = s->at[i];
            s->at[n++].here = false;
        }
    s->n = n;
    return n == 0;
}

static bool pause_until(int64_t until_ns)
{
    struct timespec step = {.tv_nsec = SESSION_SETTLE_STEP_NS / 4};

    nanosleep(&step, NULL);
    return clock_mono_ns() < until_ns;
}

static int settle(struct settle *s)
{
    for (;;) {
        s->queue = false;
        sessions_each(look_queue, s);
        sessions_each(look_ring, s);
        if (!s->queue)
            break;
        session__workers_each(wake_ring, s);
        if (!pause_until(s->until_ns))
            return -E_BUSY;
    }
    session__workers_each(note_worker, s);
    while (!all_moved(s))
        if (!pause_until(s->until_ns))
            return -E_BUSY;
    return s->all ? 0 : -E_BUSY;
}

int session_settle(const struct vol *v, unsigned ms)
{
    struct settle s = {.vol = v,
                       .ticket = atomic_fetch_add(&session__ticket, 1) + 1,
                       .until_ns = clock_mono_ns() + ms * 1000000ll,
                       .all = true};
    struct worker *mine = session__worker_mine();
    int r;

    if (BROKEN(VARVE_BREAK_settle_requests))
        return 0;
    if (mine)
        __atomic_store_n(&mine->settles, true, __ATOMIC_SEQ_CST);
    r = settle(&s);
    if (mine)
        __atomic_store_n(&mine->settles, false, __ATOMIC_SEQ_CST);
    return r;
}
