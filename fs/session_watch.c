/* Leaving a connection to the next daemon, and being watched over. */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/clock.h"
#include "fs/session_i.h"

struct wake {
    const struct session *idle_of; /* NULL: whoever it is */
    bool any;
};

static void wake_one(struct worker *w, void *arg)
{
    struct wake *k = arg;

    if (k->idle_of && (w->ss != k->idle_of || __atomic_load_n(&w->since_ns, __ATOMIC_RELAXED) != 0))
        return;
    k->any = true;
    pthread_kill(w->thread, SIGUSR1);
}

void session_wake_idle(struct session *ss)
{
    struct wake k = {.idle_of = ss};

    session__workers_each(wake_one, &k);
}

static bool wake_workers(void)
{
    struct wake k = {0};

    session__workers_each(wake_one, &k);
    return k.any;
}

bool session_leave_all(unsigned timeout_ms)
{
    int64_t until = clock_mono_ns() + timeout_ms * 1000000ll;
    struct timespec wait = {.tv_nsec = SESSION_SETTLE_STEP_NS};

    atomic_store(&session__leaving, true);
    while (wake_workers()) { /* again and again: the signal may come just before the read */
        if (clock_mono_ns() > until)
            return false;
        nanosleep(&wait, NULL);
    }
    return true;
}

/* Nanoseconds that a worker's request has stood still, and how long it is being carried out. */
static int64_t still_ns(struct worker *w, int64_t now, int64_t *ret_age)
{
    int64_t since = __atomic_load_n(&w->since_ns, __ATOMIC_RELAXED);
    uint64_t moved = __atomic_load_n(&w->moved, __ATOMIC_RELAXED);

    *ret_age = since ? now - since : 0;
    if (!since || moved != w->seen_moved) {
        w->seen_moved = moved;
        w->seen_ns = now;
        return 0;
    }
    return now - MAX_OF(since, w->seen_ns);
}

struct stillness {
    int64_t now, worst, oldest_moving;
};

static void look_at(struct worker *w, void *arg)
{
    struct stillness *s = arg;
    int64_t age, still = still_ns(w, s->now, &age);

    s->worst = MAX_OF(s->worst, still);
    if (still < age / 2)
        s->oldest_moving = MAX_OF(s->oldest_moving, age);
}

unsigned session_still_ms(void)
{
    struct stillness s = {.now = clock_mono_ns()};

    session__workers_each(look_at, &s);
    /* short requests that come and go say nothing of one that waits; a long one that moves may be what it waits for */
    return s.oldest_moving * 2 > s.worst ? 0 : (unsigned)(s.worst / 1000000);
}
