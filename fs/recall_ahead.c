/* Threads that bring what sequential readers will want next. */
#include <sys/prctl.h>
#include <time.h>

#include "base/clock.h"
#include "fs/recall_i.h"
#include "snap/store/cold.h"

#define THREADS 3u /* fewer than a repository is open times: who reads something else finds one free */
#define STACK_BYTES (1u << 20)
#define REST_NS 10000000000ll

static bool is_closing(const struct recall *rc)
{
    return __atomic_load_n(&rc->closing, __ATOMIC_RELAXED);
}

/* Until there is more than `seen` was. False: nothing came for long, or all ends. */
static bool wait_asked(struct recall *rc, uint64_t *seen)
{
    int64_t until = clock_mono_ns() + REST_NS;
    struct timespec at = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    bool more;

    pthread_mutex_lock(&rc->ahead_lock);
    rc->ahead_idle++;
    while (rc->ahead_asked == *seen && !is_closing(rc) && clock_mono_ns() < until)
        pthread_cond_timedwait(&rc->ahead_change, &rc->ahead_lock, &at);
    rc->ahead_idle--;
    more = rc->ahead_asked != *seen && !is_closing(rc);
    *seen = rc->ahead_asked;
    if (!more) {
        rc->aheads--;
        pthread_cond_broadcast(&rc->ahead_change);
    }
    pthread_mutex_unlock(&rc->ahead_lock);
    return more;
}

static void *ahead_main(void *arg)
{
    struct recall *rc = arg;
    uint64_t seen = 0;

    prctl(PR_SET_NAME, "varve-ahead");
    do
        while (!is_closing(rc) && cold_ahead_one(rc->s) > 0)
            continue;
    while (wait_asked(rc, &seen));
    return NULL;
}

static bool thread_begin(struct recall *rc)
{
    pthread_attr_t attr;
    pthread_t t;
    int e;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    e = pthread_create(&t, &attr, ahead_main, rc);
    pthread_attr_destroy(&attr);
    return e == 0;
}

void recall_on_ahead(void *arg)
{
    struct recall *rc = arg;

    pthread_mutex_lock(&rc->ahead_lock);
    rc->ahead_asked++;
    if (rc->ahead_idle > 0)
        pthread_cond_broadcast(&rc->ahead_change);
    while (rc->aheads < THREADS && !is_closing(rc) && thread_begin(rc))
        rc->aheads++;
    pthread_mutex_unlock(&rc->ahead_lock);
}

void recall_ahead_end(struct recall *rc)
{
    pthread_mutex_lock(&rc->ahead_lock);
    pthread_cond_broadcast(&rc->ahead_change);
    while (rc->aheads > 0)
        pthread_cond_wait(&rc->ahead_change, &rc->ahead_lock);
    pthread_mutex_unlock(&rc->ahead_lock);
}
