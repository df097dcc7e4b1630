/* F11 with threads: after a death the store serves at once; who promises that something is on disk waits for the one sync. */
#include <pthread.h>
#include <time.h>

#include "snap/store/journal.h"
#include "snap/store/store_int.h"
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
    int r, made; /* made: atomic */
    bool done;   /* atomic */
};

static void *sync_main(void *arg)
{
    struct syncer *s = arg;

    s->r = vfs_fsync(s->v, s->n);
    __atomic_store_n(&s->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

/* A store whose daemon died with bytes in the page cache, or by a power cut, opened again by one whose sync does not come back. */
static void end_and_hold(struct box *b, struct io *io, bool cut)
{
    static uint8_t boot[16] = {1};

    static struct io_ops ops;

    ops = *io_real()->ops;
    ops.syncfs = held_syncfs;
    io->ops = &ops;
    journal_test_boot_id(boot);
    box_open(b, io, NULL);
    box_fill(b, b->v, "f", 0, 300000, 1);
    box_text(b, b->v, "clean", "clean");
    set_held(true, 0);
    reached = false;
    CHECK_OK(store_flush(b->s));
    box_drop(b);
    boot[0] += cut;
    journal_test_boot_id(boot);
    b->set.no_threads = false;
    box_attach(b);
}

static void die_and_hold(struct box *b, struct io *io)
{
    end_and_hold(b, io, false);
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

static void cut_stays(struct box *b, bool yes)
{
    struct store_state st;

    store_get_state(b->s, &st);
    CHECK(st.mode == STORE_RW);
    CHECK(st.unclean);
    CHECK(st.powercut == yes);
}

/* The tables do not hold yet what was recovered when the next one dies: what it had made since is none of the cut's. */
TEST(test_catchup__a_death_soon_after_a_cut_is_a_death_only)
{
    struct layer_rec rec;
    struct io io;
    struct box b;

    end_and_hold(&b, &io, true);
    cut_stays(&b, true);
    CHECK(box_is(b.v, box_root(b.v), "clean", "clean"));
    box_fill(&b, b.v, "since", 0, 300000, 3);
    CHECK_OK(snap_create(b.v, &b.c, "settling", &rec));
    set_held(false, -E_IO); /* nothing is written any more */
    box_drop(&b);
    set_held(false, 0);
    box_attach(&b);
    cut_stays(&b, false);
    CHECK_OK(snap_find(b.v, "settling", &rec));
    box_sound(&b);
    box_close(&b);
    journal_test_boot_id(NULL);
}

/* Nobody has to recover from the same cut twice. */
TEST(test_catchup__a_cut_is_over_when_it_has_caught_up)
{
    struct store_state st;
    struct io io;
    struct box b;

    end_and_hold(&b, &io, true);
    set_held(false, 0);
    for (int i = 0; i < 2000; i++) {
        store_get_state(b.s, &st);
        if (st.applied_lsn > 0 && st.delta_bytes == 0)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    box_drop(&b);
    box_attach(&b);
    store_get_state(b.s, &st);
    CHECK(!st.powercut);
    CHECK(box_is(b.v, box_root(b.v), "clean", "clean"));
    box_close(&b);
    journal_test_boot_id(NULL);
}

#define FILL_WAIT_MS 20

static void *fill_main(void *arg)
{
    struct syncer *s = arg;
    struct vfs_ctx c = {0};
    struct vfs_attr a;
    char name[32];

    for (int i = 0; i < 60000 && s->r == 0; i++) {
        snprintf(name, sizeof(name), "fill%d", i);
        s->r = vfs_mknod(s->v, &c, s->n, name, S_IFREG | 0644, 0, &a);
        __atomic_fetch_add(&s->made, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* Who finds no room while the first checkpoint after a cut is being made waits for it, however long it takes. */
TEST(test_catchup__a_slow_checkpoint_is_awaited)
{
    unsigned was = store_room_wait_ms;
    struct syncer s = {0};
    struct io io;
    struct box b;
    int made = -1;

    store_room_wait_ms = FILL_WAIT_MS;
    end_and_hold(&b, &io, true);
    s.v = b.v;
    s.n = box_root(b.v);
    CHECK(pthread_create(&s.thread, NULL, fill_main, &s) == 0);
    while (made !=
           __atomic_load_n(
               &s.made, __ATOMIC_SEQ_CST)) { /* until it stands still for longer than any number of tries */
        made = __atomic_load_n(&s.made, __ATOMIC_SEQ_CST);
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    }
    CHECK(made < 60000);
    set_held(false, 0);
    pthread_join(s.thread, NULL);
    CHECK_OK(s.r);
    CHECK(s.made == 60000);
    store_room_wait_ms = was;
    box_close(&b);
    journal_test_boot_id(NULL);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
