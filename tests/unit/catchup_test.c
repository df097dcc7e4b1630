/* F11 with threads: after a death the store serves at once; who promises that something is on disk waits for the one sync. */
#include <pthread.h>
#include <time.h>

#include "tests/lib/box.h"
#include "tests/lib/test.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;
static bool held, reached;
static int result;

static int held_syncfs(struct io *io, int fd)
{
    int r;

    (void)io;
    pthread_mutex_lock(&lock);
    reached = true;
    pthread_cond_broadcast(&change);
    while (held)
        pthread_cond_wait(&change, &lock);
    r = result;
    pthread_mutex_unlock(&lock);
    return r < 0 ? r : io_syncfs(io_real(), fd);
}

static void set_held(bool on, int r)
{
    pthread_mutex_lock(&lock);
    held = on;
    result = r;
    pthread_cond_broadcast(&change);
    pthread_mutex_unlock(&lock);
}

struct syncer {
    pthread_t thread;
    struct vol *v;
    vfs_node n;
    int r;
    bool done; /* atomic */
};

static void *sync_main(void *arg)
{
    struct syncer *s = arg;

    s->r = vfs_fsync(s->v, s->n);
    __atomic_store_n(&s->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

/* A store whose daemon died with bytes in the page cache, opened again by one whose sync does not come back. */
static void die_and_hold(struct box *b, struct io *io)
{
    static struct io_ops ops;

    ops = *io_real()->ops;
    ops.syncfs = held_syncfs;
    io->ops = &ops;
    box_open(b, io, NULL);
    box_fill(b, b->v, "f", 0, 300000, 1);
    box_text(b, b->v, "clean", "clean");
    set_held(true, 0);
    reached = false;
    box_drop(b);
    b->set.no_threads = false;
    box_attach(b);
}

static bool ends_within(struct syncer *s, int ms)
{
    for (int i = 0; i < ms && !__atomic_load_n(&s->done, __ATOMIC_SEQ_CST); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return __atomic_load_n(&s->done, __ATOMIC_SEQ_CST);
}

TEST(test_catchup__fsync_waits_and_others_do_not)
{
    struct syncer s[2] = {{0}, {0}};
    struct io io;
    struct box b;

    die_and_hold(&b, &io);
    CHECK(box_is(b.v, box_root(b.v), "clean", "clean")); /* reading, making and writing go on */
    box_text(&b, b.v, "new", "new");
    box_fill(&b, b.v, "f", 4096, 10000, 2);
    s[0].n = box_node(b.v, box_root(b.v), "f");
    s[1].n = box_node(b.v, box_root(b.v), "clean");
    for (int i = 0; i < 2; i++) {
        s[i].v = b.v;
        CHECK(pthread_create(&s[i].thread, NULL, sync_main, &s[i]) == 0);
    }
    CHECK(!ends_within(&s[0], 100));
    CHECK(!ends_within(&s[1], 1));
    set_held(false, 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(s[i].thread, NULL);
        CHECK_OK(s[i].r);
    }
    CHECK(reached);
    box_close(&b);
}

TEST(test_catchup__when_it_fails_no_fsync_succeeds)
{
    struct syncer s = {0};
    struct io io;
    struct box b;

    die_and_hold(&b, &io);
    s.v = b.v;
    s.n = box_node(b.v, box_root(b.v), "f");
    CHECK(pthread_create(&s.thread, NULL, sync_main, &s) == 0);
    set_held(false, -E_IO);
    pthread_join(s.thread, NULL);
    CHECK(s.r < 0);
    CHECK(vfs_fsync(b.v, box_node(b.v, box_root(b.v), "clean")) < 0);
    set_held(false, 0);
    box_drop(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
