/* base/task: a few worker threads that run tasks from one bounded queue, oldest first. For background work: every task
 * looks at task_canceled() often and ends soon when it is true. Threads: any; a task may submit others but must not wait
 * for one of its own pool. */
#ifndef VARVE_BASE_TASK_H
#define VARVE_BASE_TASK_H

#include "base/base.h"

struct task_pool;
struct task;

/* Called exactly once for each task that was taken in, also when it is cancelled before it began (task_canceled() is true
 * then from the start), so that it can free what arg points to. */
typedef void task_fn(struct task *t, void *arg);

/* task_pool_new(name, threads, queue_max, &ret): name (at most 15 bytes) is what the threads are called. -E_NOMEM, -E_AGAIN
 * (no more threads). task_pool_stop: cancels everything, waits until all has ended, frees the pool; NULL is allowed; not
 * from a task. */
int task_pool_new(const char *name, unsigned threads, size_t queue_max, struct task_pool **ret);
void task_pool_stop(struct task_pool *pool);

/* task_submit: -E_AGAIN when the queue is full, -E_CANCELED when the pool is stopping (fn is not called), -E_NOMEM. ret may be
 * NULL; else the caller gives the task back by task_unref. task_submit_wait waits for room in the queue instead. */
int task_submit(struct task_pool *pool, task_fn *fn, void *arg, struct task **ret);
int task_submit_wait(struct task_pool *pool, task_fn *fn, void *arg, struct task **ret);

void task_cancel(struct task *t);         /* asks it to end; does not wait */
bool task_canceled(const struct task *t); /* it was asked to, or its pool stops */

/* task_wait(t, timeout_ms): 0 when its function has returned, -E_AGAIN when it had not by then. Negative: for ever. */
int task_wait(struct task *t, int timeout_ms);
void task_unref(struct task *t); /* NULL is allowed */

/* task_pool_idle(pool): waits until nothing is queued or running. */
void task_pool_idle(struct task_pool *pool);

#endif
