#include "base/task.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/lock.h"

struct task {
    struct task *next;
    task_fn *fn;
    void *arg;
    atomic_bool canceled;
    atomic_uint refs;
    struct lock lock; /* guards done */
    struct cond ended;
    bool done;
};

struct task_pool {
    struct lock lock;             /* guards all below */
    struct cond work, room, idle; /* something is queued, the queue has room, nothing is left */
    struct task *first, **last;   /* the queue */
    struct task **running;        /* a slot a thread */
    size_t queued, queue_max, nrunning;
    bool stopping;
    unsigned nthreads;
    pthread_t threads[];
};

static struct task *task_new(task_fn *fn, void *arg, unsigned refs)
{
    struct task *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->fn = fn;
    t->arg = arg;
    atomic_init(&t->refs, refs);
    lock_init(&t->lock, RANK_TASK, 1);
    cond_init(&t->ended);
    return t;
}

void task_unref(struct task *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
        return;
    cond_release(&t->ended);
    lock_release(&t->lock);
    free(t);
}

void task_cancel(struct task *t)
{
    atomic_store(&t->canceled, true);
}

bool task_canceled(const struct task *t)
{
    return atomic_load(&t->canceled);
}

int task_wait(struct task *t, int timeout_ms)
{
    bool done;

    lock_take(&t->lock);
    while (!t->done) {
        if (timeout_ms < 0)
            cond_wait(&t->ended, &t->lock);
        else if (!cond_wait_ms(&t->ended, &t->lock, timeout_ms))
            break;
    }
    done = t->done;
    lock_drop(&t->lock);
    return done ? 0 : -E_AGAIN;
}

static void task_run(struct task *t)
{
    t->fn(t, t->arg);
    lock_take(&t->lock);
    t->done = true;
    cond_wake_all(&t->ended);
    lock_drop(&t->lock);
}

/* The oldest task; NULL when the pool stops and none is left. */
static struct task *next_locked(struct task_pool *pool, unsigned slot) REQUIRES(pool->lock)
{
    struct task *t;

    while (!pool->first && !pool->stopping)
        cond_wait(&pool->work, &pool->lock);
    t = pool->first;
    if (!t)
        return NULL;
    pool->first = t->next;
    if (!pool->first)
        pool->last = &pool->first;
    pool->queued--;
    pool->running[slot] = t;
    pool->nrunning++;
    cond_wake(&pool->room);
    return t;
}

struct worker {
    struct task_pool *pool;
    unsigned slot;
};

static void *worker_main(void *arg)
{
    struct worker w = *(struct worker *)arg;
    struct task_pool *pool = w.pool;
    struct task *t;

    free(arg);
    lock_take(&pool->lock);
    while ((t = next_locked(pool, w.slot))) {
        lock_drop(&pool->lock);
        task_run(t);
        lock_take(&pool->lock);
        pool->running[w.slot] = NULL;
        pool->nrunning--;
        if (!pool->first && pool->nrunning == 0)
            cond_wake_all(&pool->idle);
        task_unref(t);
    }
    lock_drop(&pool->lock);
    return NULL;
}

/* Signals belong to the threads that asked for them. */
static int thread_start(struct task_pool *pool, const char *name)
{
    struct worker *w = malloc(sizeof(*w));
    sigset_t all, old;
    int r;

    if (!w)
        return -E_NOMEM;
    *w = (struct worker){pool, pool->nthreads};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&pool->threads[pool->nthreads], NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0) {
        free(w);
        return -E_AGAIN;
    }
    (void)pthread_setname_np(pool->threads[pool->nthreads], name);
    pool->nthreads++;
    return 0;
}

int task_pool_new(const char *name, unsigned threads, size_t queue_max, struct task_pool **ret)
{
    struct task_pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(pool->threads[0]));
    int r = 0;

    assert(threads > 0);
    assert(queue_max > 0);
    if (!pool)
        return -E_NOMEM;
    pool->running = calloc(threads, sizeof(pool->running[0]));
    if (!pool->running) {
        free(pool);
        return -E_NOMEM;
    }
    pool->last = &pool->first;
    pool->queue_max = queue_max;
    lock_init(&pool->lock, RANK_TASK, 0);
    cond_init(&pool->work);
    cond_init(&pool->room);
    cond_init(&pool->idle);
    while (r == 0 && pool->nthreads < threads)
        r = thread_start(pool, name);
    if (r < 0) {
        task_pool_stop(pool);
        return r;
    }
    *ret = pool;
    return 0;
}

void task_pool_stop(struct task_pool *pool)
{
    if (!pool)
        return;
    lock_take(&pool->lock);
    pool->stopping = true;
    for (struct task *t = pool->first; t; t = t->next)
        task_cancel(t);
    for (unsigned i = 0; i < pool->nthreads; i++) {
        if (pool->running[i])
            task_cancel(pool->running[i]);
    }
    cond_wake_all(&pool->work);
    cond_wake_all(&pool->room);
    lock_drop(&pool->lock);
    for (unsigned i = 0; i < pool->nthreads; i++)
        pthread_join(pool->threads[i], NULL);
    assert(!pool->first);
    cond_release(&pool->work);
    cond_release(&pool->room);
    cond_release(&pool->idle);
    lock_release(&pool->lock);
    free(pool->running);
    free(pool);
}

static int submit_locked(struct task_pool *pool, struct task *t, bool wait) REQUIRES(pool->lock)
{
    while (wait && pool->queued >= pool->queue_max && !pool->stopping)
        cond_wait(&pool->room, &pool->lock);
    if (pool->stopping)
        return -E_CANCELED;
    if (pool->queued >= pool->queue_max)
        return -E_AGAIN;
    *pool->last = t;
    pool->last = &t->next;
    pool->queued++;
    cond_wake(&pool->work);
    return 0;
}

static int submit(struct task_pool *pool, task_fn *fn, void *arg, struct task **ret, bool wait)
{
    struct task *t = task_new(fn, arg, 2); /* the pool's reference and ours */
    int r;

    if (!t)
        return -E_NOMEM;
    lock_take(&pool->lock);
    r = submit_locked(pool, t, wait);
    lock_drop(&pool->lock);
    if (r < 0)
        task_unref(t); /* the one that the pool did not take */
    if (r == 0 && ret)
        *ret = t;
    else
        task_unref(t);
    return r;
}

int task_submit(struct task_pool *pool, task_fn *fn, void *arg, struct task **ret)
{
    return submit(pool, fn, arg, ret, false);
}

int task_submit_wait(struct task_pool *pool, task_fn *fn, void *arg, struct task **ret)
{
    return submit(pool, fn, arg, ret, true);
}

void task_pool_idle(struct task_pool *pool)
{
    lock_take(&pool->lock);
    while (pool->first || pool->nrunning > 0)
        cond_wait(&pool->idle, &pool->lock);
    lock_drop(&pool->lock);
}
