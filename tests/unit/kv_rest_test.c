/* Memory of large checkpoints is given back by opening the tables anew: what must not be lost by that. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/kv_case.h"

static void put_many(struct kv *kv)
{
    CHECK_OK(kv_reserve(kv, 5000, 5000 * 16));
    for (uint32_t n = 0; n < 5000; n++) {
        uint8_t key[16];

        kv_put(kv, key, key_of(n, key), "v", 1);
    }
    checkpoint(kv);
}

/* A state that is held stays as it was: its reader would go with LMDB's environment. */
TEST(test_kv_rest__nothing_is_given_back_while_a_state_is_held)
{
    struct kv *kv = kv_new(1 << 20);
    struct kv_hold *h;
    uint64_t txn, now;

    put_many(kv);
    CHECK_OK(kv_hold(kv, &h, &txn));
    CHECK_OK(kv_rest(kv));
    put(kv, "one", "1");
    checkpoint(kv);
    put(kv, "two", "2");
    checkpoint(kv);
    kv_unhold(kv, h);
    CHECK_OK(kv_rest(kv));
    expect_mark("kv: memory of a large checkpoint given back");
    CHECK_TEXT(get(kv, true, "two"), "2");
    CHECK_OK(kv_hold(kv, &h, &now));
    CHECK_EQ(now, txn + 2);
    kv_unhold(kv, h);
    put(kv, "three", "3");
    checkpoint(kv);
    CHECK_TEXT(get(kv, true, "three"), "3");
    kv_close(kv);
}

/* Takes every descriptor that there is, and each that comes free. */
struct greed {
    bool stop; /* atomic */
    pthread_t thread;
    int fd[4096];
    size_t n;
};

static void *greed_main(void *arg)
{
    struct greed *g = arg;

    while (!__atomic_load_n(&g->stop, __ATOMIC_RELAXED))
        if (g->n < ARRAY_LEN(g->fd) && (g->fd[g->n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
            g->n++;
    return NULL;
}

TEST(test_kv_rest__no_descriptor_is_let_go_where_none_is_to_be_had)
{
    static struct greed g;
    struct kv *kv = kv_new(1 << 20);
    struct rlimit was, few;

    put_many(kv);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = (struct rlimit){.rlim_cur = 64, .rlim_max = was.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    while ((g.fd[g.n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        g.n++;
    CHECK_EQ(pthread_create(&g.thread, NULL, greed_main, &g), 0);
    CHECK_OK(kv_rest(kv));
    expect_mark("kv: too few descriptors to give memory back");
    __atomic_store_n(&g.stop, true, __ATOMIC_RELAXED);
    pthread_join(g.thread, NULL);
    while (g.n > 0)
        close(g.fd[--g.n]);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
    put(kv, "one", "1");
    checkpoint(kv);
    CHECK_TEXT(get(kv, true, "one"), "1");
    CHECK_OK(kv_rest(kv));
    expect_mark("kv: memory of a large checkpoint given back");
    CHECK_TEXT(get(kv, true, "one"), "1");
    kv_close(kv);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
