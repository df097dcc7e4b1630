/* base/lock: mutexes, read-write locks and conditions with ranks. A thread takes locks in ascending order of (rank, sub);
 * every take asserts that, in every build (a few nanoseconds), so an order that could deadlock is found by the first test
 * that goes through it. docs/locking.md says what each rank guards. Locks are not recursive.
 * Functions that need a lock end in _locked and carry REQUIRES(lock); clang -Wthread-safety checks them. */
#ifndef VARVE_BASE_LOCK_H
#define VARVE_BASE_LOCK_H

#include <pthread.h>

#include "base/base.h"

#ifdef __clang__
#define LOCK_ATTR(x) __attribute__((x))
#else
#define LOCK_ATTR(x)
#endif
#define CAPABILITY(name) LOCK_ATTR(capability(name))
#define REQUIRES(...) LOCK_ATTR(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) LOCK_ATTR(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) LOCK_ATTR(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) LOCK_ATTR(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) LOCK_ATTR(acquire_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) LOCK_ATTR(try_acquire_capability(__VA_ARGS__))
#define RELEASE(...) LOCK_ATTR(release_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) LOCK_ATTR(release_generic_capability(__VA_ARGS__))
#define ASSERT_HELD(...) LOCK_ATTR(assert_capability(__VA_ARGS__))
#define NO_LOCK_ANALYSIS LOCK_ATTR(no_thread_safety_analysis)
#define GUARDED_BY(x) /* clang 14 cannot parse a member there in C; it still tells the reader */

/* From the outside in: who holds a lock may take those further down. A new one goes where docs/locking.md says. */
enum lock_rank {
    RANK_FACE = 10,     /* fs: connections, sessions, control files */
    RANK_REGISTRY = 20, /* process-wide lists of open things */
    RANK_JOB = 30,      /* jobs, events */
    RANK_VOLUME = 40,   /* volumes and snapshots: one change of the list at a time */
    RANK_INODE = 50,    /* stripes of inodes; sub: the stripe's number */
    RANK_STORE = 60,    /* the store's tables */
    RANK_KV = 70,       /* delta, checkpoint */
    RANK_JOURNAL = 80,  /* journal */
    RANK_OBJECT = 90,   /* descriptors of objects */
    RANK_CACHE = 100,   /* caches */
    RANK_TASK = 110,    /* queue of a task pool */
    RANK_LEAF = 120,    /* nothing is taken below */
};

struct CAPABILITY("mutex") lock {
    pthread_mutex_t m;
    uint16_t rank;
    uint32_t sub;
};

struct CAPABILITY("rwlock") rwlock {
    pthread_rwlock_t rw;
    uint16_t rank;
    uint32_t sub;
};

struct cond {
    pthread_cond_t c; /* on CLOCK_MONOTONIC */
};

#define LOCK_STATIC(r)                                                                                       \
    {                                                                                                        \
        .m = PTHREAD_MUTEX_INITIALIZER, .rank = (r)                                                          \
    }

void lock_init(struct lock *l, enum lock_rank rank, uint32_t sub);
void lock_release(struct lock *l); /* the contents; not held by anyone */
void lock_take(struct lock *l) ACQUIRE(l);
bool lock_try(struct lock *l) TRY_ACQUIRE(true, l); /* any order: it never waits */
void lock_drop(struct lock *l) RELEASE(l);
void lock_assert_held(const struct lock *l) ASSERT_HELD(l);

/* Writers go before readers that come later; so a thread must not take it shared twice. */
void rwlock_init(struct rwlock *l, enum lock_rank rank, uint32_t sub);
void rwlock_release(struct rwlock *l);
void rwlock_take(struct rwlock *l) ACQUIRE(l);
void rwlock_take_shared(struct rwlock *l) ACQUIRE_SHARED(l);
void rwlock_drop(struct rwlock *l) RELEASE_GENERIC(l);

void cond_init(struct cond *c);
void cond_release(struct cond *c);
/* cond_wait: l is held before and after, and the last one that this thread took. Wakes for no reason too. */
void cond_wait(struct cond *c, struct lock *l) REQUIRES(l);
/* cond_wait_ms(c, l, ms): false when the time has passed without a wake. The kernel's time, not the clock door's. */
bool cond_wait_ms(struct cond *c, struct lock *l, int64_t ms) REQUIRES(l);
void cond_wake(struct cond *c);
void cond_wake_all(struct cond *c);

/* lock_holds(rank): whether this thread holds a lock of this rank or of one further in. Before I/O, a callback or a long
 * wait: assert(!lock_holds(RANK_STORE)). */
bool lock_holds(enum lock_rank rank);

#endif
