#include "base/lock.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/test.h"

/* dies(fn): whether fn ends in a failed assertion. */
static bool dies(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        fn();
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static struct lock inode_3, inode_7, store, leaf = LOCK_STATIC(RANK_LEAF);
static struct rwlock rw;
static struct cond cond;

static void begin(void)
{
    lock_init(&inode_3, RANK_INODE, 3);
    lock_init(&inode_7, RANK_INODE, 7);
    lock_init(&store, RANK_STORE, 0);
    rwlock_init(&rw, RANK_KV, 0);
    cond_init(&cond);
}

static void end(void)
{
    lock_release(&inode_3);
    lock_release(&inode_7);
    lock_release(&store);
    rwlock_release(&rw);
    cond_release(&cond);
}

static void ascending(void)
{
    lock_take(&inode_3);
    lock_take(&inode_7);
    lock_take(&store);
    rwlock_take_shared(&rw);
    lock_take(&leaf);
    lock_drop(&store); /* dropping may go in any order */
    lock_drop(&leaf);
    rwlock_drop(&rw);
    lock_take(&store);
    lock_drop(&inode_3);
    lock_drop(&inode_7);
    lock_drop(&store);
}

static void rank_descending(void)
{
    lock_take(&store);
    lock_take(&inode_3);
    lock_drop(&inode_3);
    lock_drop(&store);
}

static void sub_descending(void)
{
    lock_take(&inode_7);
    lock_take(&inode_3);
    lock_drop(&inode_3);
    lock_drop(&inode_7);
}

static void below_a_try(void)
{
    if (lock_try(&store)) {
        lock_take(&inode_3);
        lock_drop(&inode_3);
        lock_drop(&store);
    }
}

static void shared_then_outer(void)
{
    rwlock_take_shared(&rw);
    lock_take(&store);
    lock_drop(&store);
    rwlock_drop(&rw);
}

static void shared_twice(void) NO_LOCK_ANALYSIS
{
    rwlock_take_shared(&rw);
    rwlock_take_shared(&rw);
    rwlock_drop(&rw);
    rwlock_drop(&rw);
}

static void drop_of_another(void) NO_LOCK_ANALYSIS
{
    lock_drop(&store);
}

static void wait_with_two(void)
{
    lock_take(&inode_3);
    lock_take(&store);
    cond_wait_ms(&cond, &inode_3, 0);
    lock_drop(&store);
    lock_drop(&inode_3);
}

static void assert_of_another(void) NO_LOCK_ANALYSIS
{
    lock_assert_held(&store);
}

TEST(test_lock__ascending_order_is_allowed_and_any_other_asserts)
{
    static void (*const wrong[])(void) = {rank_descending, sub_descending,  below_a_try,   shared_then_outer,
                                          shared_twice,    drop_of_another, wait_with_two, assert_of_another};

    begin();
    CHECK(!dies(ascending));
    ascending();
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        if (!dies(wrong[i]))
            test_fail(__FILE__, __LINE__, "case %zu is let through", i);
    }
    end();
}

TEST(test_lock__holds_tells_rank_and_further_in)
{
    begin();
    CHECK(!lock_holds(RANK_FACE));
    lock_take(&store);
    lock_assert_held(&store);
    CHECK(lock_holds(RANK_FACE));
    CHECK(lock_holds(RANK_STORE));
    CHECK(!lock_holds(RANK_KV));
    lock_drop(&store);
    CHECK(!lock_holds(RANK_FACE));
    end();
}

static bool try_twice(void) NO_LOCK_ANALYSIS
{
    bool again;

    if (!lock_try(&store))
        return true;
    again = lock_try(&store);
    lock_drop(&store);
    return again;
}

TEST(test_lock__try_of_a_taken_lock_fails)
{
    begin();
    CHECK(!try_twice());
    end();
}

static uint64_t counter;

static void *count(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        lock_take(arg);
        counter++;
        lock_drop(arg);
    }
    return NULL;
}

TEST(test_lock__excludes)
{
    pthread_t th[4];

    begin();
    counter = 0;
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&th[i], NULL, count, &store) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(th[i], NULL);
    CHECK_EQ(counter, 80000);
    end();
}

static bool said;

static void *say(void *arg)
{
    (void)arg;
    lock_take(&store);
    said = true;
    cond_wake(&cond);
    lock_drop(&store);
    return NULL;
}

TEST(test_lock__a_condition_wakes_or_its_time_passes)
{
    struct timespec a, b;
    pthread_t th;

    begin();
    said = false;
    lock_take(&store);
    clock_gettime(CLOCK_MONOTONIC, &a);
    while (cond_wait_ms(&cond, &store, 20))
        ;
    clock_gettime(CLOCK_MONOTONIC, &b);
    CHECK((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec >= 20000000);
    CHECK(!cond_wait_ms(&cond, &store, -5));
    CHECK(pthread_create(&th, NULL, say, NULL) == 0);
    while (!said)
        cond_wait(&cond, &store);
    lock_drop(&store);
    pthread_join(th, NULL);
    end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
