#include "base/lock.h"

#include <errno.h>
#include <time.h>

#define HELD_MAX 32

struct held {
    const void *lock;
    uint32_t sub;
    uint16_t rank;
};

/* What this thread holds, in the order of ranks (tries may stand out of it). */
static _Thread_local struct held held[HELD_MAX];
static _Thread_local unsigned nheld;

static void order_check(uint16_t rank, uint32_t sub)
{
    for (unsigned i = 0; i < nheld; i++) {
        bool above = held[i].rank < rank || (held[i].rank == rank && held[i].sub < sub);

        assert(above || BROKEN(VARVE_BREAK_lock_order)); /* out of order: see docs/locking.md */
    }
}

static void held_add(const void *l, uint16_t rank, uint32_t sub)
{
    assert(nheld < HELD_MAX);
    held[nheld++] = (struct held){l, sub, rank};
}

static unsigned held_index(const void *l)
{
    unsigned i = 0;

    while (i < nheld && held[i].lock != l)
        i++;
    return i;
}

static void held_remove(const void *l)
{
    unsigned i = held_index(l);

    assert(i < nheld); /* dropped by a thread that does not hold it */
    memmove(&held[i], &held[i + 1], (nheld - i - 1) * sizeof(held[0]));
    nheld--;
}

static void must(int r)
{
    assert(r == 0);
}

void lock_init(struct lock *l, enum lock_rank rank, uint32_t sub)
{
    must(pthread_mutex_init(&l->m, NULL));
    l->rank = (uint16_t)rank;
    l->sub = sub;
}

void lock_release(struct lock *l)
{
    must(pthread_mutex_destroy(&l->m));
}

void lock_take(struct lock *l) NO_LOCK_ANALYSIS
{
    order_check(l->rank, l->sub);
    must(pthread_mutex_lock(&l->m));
    held_add(l, l->rank, l->sub);
}

bool lock_try(struct lock *l) NO_LOCK_ANALYSIS
{
    int r = pthread_mutex_trylock(&l->m);

    assert(r == 0 || r == EBUSY);
    if (r == 0)
        held_add(l, l->rank, l->sub);
    return r == 0;
}

void lock_drop(struct lock *l) NO_LOCK_ANALYSIS
{
    held_remove(l);
    must(pthread_mutex_unlock(&l->m));
}

void lock_assert_held(const struct lock *l)
{
    assert(held_index(l) < nheld);
}

void rwlock_init(struct rwlock *l, enum lock_rank rank, uint32_t sub)
{
    pthread_rwlockattr_t a;

    must(pthread_rwlockattr_init(&a));
    must(pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
    must(pthread_rwlock_init(&l->rw, &a));
    must(pthread_rwlockattr_destroy(&a));
    l->rank = (uint16_t)rank;
    l->sub = sub;
}

void rwlock_release(struct rwlock *l)
{
    must(pthread_rwlock_destroy(&l->rw));
}

void rwlock_take(struct rwlock *l) NO_LOCK_ANALYSIS
{
    order_check(l->rank, l->sub);
    must(pthread_rwlock_wrlock(&l->rw));
    held_add(l, l->rank, l->sub);
}

void rwlock_take_shared(struct rwlock *l) NO_LOCK_ANALYSIS
{
    order_check(l->rank, l->sub);
    must(pthread_rwlock_rdlock(&l->rw));
    held_add(l, l->rank, l->sub);
}

void rwlock_drop(struct rwlock *l) NO_LOCK_ANALYSIS
{
    held_remove(l);
    must(pthread_rwlock_unlock(&l->rw));
}

void cond_init(struct cond *c)
{
    pthread_condattr_t a;

    must(pthread_condattr_init(&a));
    must(pthread_condattr_setclock(&a, CLOCK_MONOTONIC));
    must(pthread_cond_init(&c->c, &a));
    must(pthread_condattr_destroy(&a));
}

void cond_release(struct cond *c)
{
    must(pthread_cond_destroy(&c->c));
}

/* Sleeping with a lock further down in hand would stop whoever waits for that one. */
static void last_check(const struct lock *l)
{
    assert(nheld > 0);
    assert(held[nheld - 1].lock == l);
}

void cond_wait(struct cond *c, struct lock *l)
{
    last_check(l);
    must(pthread_cond_wait(&c->c, &l->m));
}

bool cond_wait_ms(struct cond *c, struct lock *l, int64_t ms)
{
    struct timespec ts;
    int r;

    last_check(l);
    must(clock_gettime(CLOCK_MONOTONIC, &ts));
    ms = MAX_OF(ms, (int64_t)0);
    ts.tv_sec += (time_t)(ms / 1000);
    ts.tv_nsec += (long)(ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    r = pthread_cond_timedwait(&c->c, &l->m, &ts);
    assert(r == 0 || r == ETIMEDOUT);
    return r == 0;
}

void cond_wake(struct cond *c)
{
    must(pthread_cond_signal(&c->c));
}

void cond_wake_all(struct cond *c)
{
    must(pthread_cond_broadcast(&c->c));
}

bool lock_holds(enum lock_rank rank)
{
    for (unsigned i = 0; i < nheld; i++) {
        if (held[i].rank >= (uint16_t)rank)
            return true;
    }
    return false;
}
