#include "base/task.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "tests/lib/test.h"

static atomic_int ran, canceled, inside, most_inside;
static atomic_bool gate;

static void begin(void)
{
    atomic_store(&ran, 0);
    atomic_store(&canceled, 0);
    atomic_store(&inside, 0);
    atomic_store(&most_inside, 0);
    atomic_store(&gate, false);
}

static void until(atomic_int *n, int want)
{
    while (atomic_load(n) < want)
        sched_yield();
}

static void add(struct task *t, void *arg)
{
    atomic_fetch_add(&canceled, task_canceled(t));
    atomic_fetch_add(&ran, arg ? *(int *)arg : 1);
}

/* stays until the gate opens or it is cancelled */
static void stay(struct task *t, void *arg)
{
    int n = atomic_fetch_add(&inside, 1) + 1, most = atomic_load(&most_inside);

    (void)arg;
    while (n > most && !atomic_compare_exchange_weak(&most_inside, &most, n))
        ;
    while (!atomic_load(&gate) && !task_canceled(t))
        sched_yield();
    atomic_fetch_add(&canceled, task_canceled(t));
    atomic_fetch_sub(&inside, 1);
    atomic_fetch_add(&ran, 1);
}

TEST(test_task__every_task_runs_once)
{
    struct task_pool *pool;
    int two = 2;

    begin();
    CHECK_OK(task_pool_new("t", 3, 8, &pool));
    for (int i = 0; i < 5000; i++)
        CHECK_OK(task_submit_wait(pool, add, &two, NULL));
    task_pool_idle(pool);
    CHECK_EQ(atomic_load(&ran), 10000);
    CHECK_EQ(atomic_load(&canceled), 0);
    task_pool_stop(pool);
    CHECK_EQ(atomic_load(&ran), 10000);
}

static int order[100];

static void note_order(struct task *t, void *arg)
{
    (void)t;
    order[atomic_fetch_add(&ran, 1)] = *(int *)arg;
}

TEST(test_task__one_thread_keeps_the_order)
{
    static int numbers[100];
    struct task_pool *pool;

    begin();
    CHECK_OK(task_pool_new("t", 1, 101, &pool));
    CHECK_OK(task_submit(pool, stay, NULL, NULL));
    for (int i = 0; i < 100; i++) {
        numbers[i] = i;
        CHECK_OK(task_submit(pool, note_order, &numbers[i], NULL));
    }
    CHECK_EQ(atomic_load(&ran), 0);
    atomic_store(&ran, -1); /* stay counts itself first */
    atomic_store(&gate, true);
    task_pool_idle(pool);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(order[i], i);
    task_pool_stop(pool);
}

TEST(test_task__a_full_queue_refuses_and_runs_as_many_as_threads)
{
    struct task_pool *pool;
    int took = 0;

    begin();
    CHECK_OK(task_pool_new("t", 2, 3, &pool));
    CHECK_OK(task_submit(pool, stay, NULL, NULL));
    CHECK_OK(task_submit(pool, stay, NULL, NULL));
    until(&inside, 2);
    while (task_submit(pool, stay, NULL, NULL) == 0)
        took++;
    CHECK_EQ(took, 3);
    CHECK_ERR(task_submit(pool, stay, NULL, NULL), -E_AGAIN);
    atomic_store(&gate, true);
    task_pool_idle(pool);
    CHECK_EQ(atomic_load(&ran), 5);
    CHECK_EQ(atomic_load(&most_inside), 2);
    task_pool_stop(pool);
}

TEST(test_task__wait_and_cancel_concern_one_task)
{
    struct task_pool *pool;
    struct task *a, *b;

    begin();
    CHECK_OK(task_pool_new("t", 2, 8, &pool));
    CHECK_OK(task_submit(pool, stay, NULL, &a));
    CHECK_OK(task_submit(pool, stay, NULL, &b));
    until(&inside, 2);
    CHECK_ERR(task_wait(a, 0), -E_AGAIN);
    CHECK_ERR(task_wait(a, 5), -E_AGAIN);
    task_cancel(a);
    CHECK_OK(task_wait(a, -1));
    CHECK_EQ(atomic_load(&canceled), 1);
    CHECK_ERR(task_wait(b, 0), -E_AGAIN);
    atomic_store(&gate, true);
    CHECK_OK(task_wait(b, 10000));
    CHECK_EQ(atomic_load(&canceled), 1);
    task_pool_stop(pool);
    CHECK_OK(task_wait(b, 0)); /* the task outlives its pool */
    task_unref(a);
    task_unref(b);
    task_unref(NULL);
    task_pool_stop(NULL);
}

TEST(test_task__stop_cancels_and_still_calls_every_function)
{
    struct task_pool *pool;
    struct task *queued;

    begin();
    CHECK_OK(task_pool_new("t", 2, 8, &pool));
    for (int i = 0; i < 2; i++)
        CHECK_OK(task_submit(pool, stay, NULL, NULL));
    until(&inside, 2);
    for (int i = 0; i < 4; i++)
        CHECK_OK(task_submit(pool, add, NULL, NULL));
    CHECK_OK(task_submit(pool, add, NULL, &queued));
    task_pool_stop(pool);
    CHECK_EQ(atomic_load(&ran), 7);
    CHECK_EQ(atomic_load(&canceled), 7);
    CHECK_OK(task_wait(queued, 0));
    task_unref(queued);
}

static void *stop_pool(void *arg)
{
    task_pool_stop(arg);
    return NULL;
}

static void wait_for_stop(struct task *t, void *arg)
{
    struct task_pool *pool = *(struct task_pool **)arg;

    atomic_fetch_add(&inside, 1);
    while (!task_canceled(t))
        sched_yield();
    atomic_store(&ran, -task_submit(pool, add, NULL, NULL));
}

TEST(test_task__a_stopping_pool_takes_nothing_in)
{
    static struct task_pool *pool;
    pthread_t th;

    begin();
    CHECK_OK(task_pool_new("t", 1, 8, &pool));
    CHECK_OK(task_submit(pool, wait_for_stop, &pool, NULL));
    until(&inside, 1);
    CHECK(pthread_create(&th, NULL, stop_pool, pool) == 0);
    pthread_join(th, NULL);
    CHECK_EQ(atomic_load(&ran), E_CANCELED);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
