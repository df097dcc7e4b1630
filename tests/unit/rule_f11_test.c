/* F9, F11, F12, F13, F20: orphans, the first fsync, truncation, what is freed and when, bounded dirty bytes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

/* F9: a file without a name lives until it is said that nobody holds it, over a death of the daemon, too. */
TEST(test_f9__an_unlinked_file_lives_until_nobody_holds_it)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, MIB, rig_a);
    vfs_node n = rig_node(&g, "f");
    box_remove(&g.b, g.b.v, "f");
    rig_quiet(&g);
    CHECK(rig_holds(&g, n, 0, MIB, rig_a));
    CHECK_OK(vfs_write(g.b.v, &g.b.c, n, "x", 1, 0, false));
    rig_die(&g);
    rig_quiet(&g);
    CHECK(rig_holds(&g, n, 1, MIB - 1, rig_a));
    CHECK_OK(vfs_orphan_drop(g.b.v, vfs_node_ino(n)));
    CHECK(!rig_holds(&g, n, 1, MIB - 1, rig_a));
    rig_quiet(&g);
    CHECK_EQ(box_objects(&g.b), 0);
    rig_close(&g);
}

/* The list of them is kept with the tables: the last unmount frees them also when another daemon made them. */
TEST(test_f9__orphans_of_a_dead_daemon_are_found_again)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, MIB, rig_a);
    box_remove(&g.b, g.b.v, "f");
    CHECK_OK(store_flush(g.b.s));
    rig_cut(&g, 1, LYING_ALL);
    CHECK_OK(vfs_orphans_drop_all(g.b.v));
    rig_quiet(&g);
    CHECK_EQ(box_objects(&g.b), 0);
    rig_close(&g);
}

/* Several go in one transaction; one of them has bytes that a snapshot sees and that are not on disk yet. */
TEST(test_f9__many_are_freed_together)
{
    uint64_t inos[40];
    char name[16];
    struct rig g;

    rig_open(&g);
    for (unsigned i = 0; i < ARRAY_LEN(inos); i++) {
        snprintf(name, sizeof(name), "f%u", i);
        rig_write(&g, name, 0, i % 3 * 40000 + 100, rig_a);
        if (i == 20)
            rig_quiet(&g);
        inos[i] = vfs_node_ino(rig_node(&g, name));
    }
    rig_fsync(&g, "f38");
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    for (unsigned i = 1; i < ARRAY_LEN(inos); i++) {
        snprintf(name, sizeof(name), "f%u", i);
        box_remove(&g.b, g.b.v, name);
    }
    CHECK_OK(vfs_orphans_drop(g.b.v, inos, ARRAY_LEN(inos)));
    rig_expect(&g, "f0", 0, 100, rig_a); /* is no orphan */
    CHECK_EQ(g.b.v->stat.inodes, 2);
    for (unsigned i = 0; i < ARRAY_LEN(inos); i++) {
        snprintf(name, sizeof(name), "f%u", i);
        CHECK(rig_holds(&g, box_node(g.b.v, box_view(g.b.v, "s"), name), 0, i % 3 * 40000 + 100, rig_a));
    }
    rig_close(&g);
}

/* F11: what a dead daemon had answered is in the page cache only; the next daemon's first fsync answers for it. */
TEST(test_f11__the_first_fsync_after_a_death_covers_the_dead_daemons_writes)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, MIB, rig_a);
    rig_write(&g, "b", 0, 30000, rig_b);
    rig_fsync(&g, "b"); /* its bytes are in the journal only */
    rig_die(&g);
    rig_fsync(&g, "a"); /* clean, as far as the new daemon knows */
    rig_cut(&g, 1, LYING_NONE);
    rig_expect(&g, "a", 0, MIB, rig_a);
    rig_expect(&g, "b", 0, 30000, rig_b);
    rig_close(&g);
}

/* F12: the old bytes go only when the truncation is firm and durable. */
TEST(test_f12__an_unsynced_truncation_loses_nothing)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, MIB, rig_a);
    rig_fsync(&g, "f");
    CHECK_OK(store_checkpoint(g.b.s));
    box_truncate(&g.b, g.b.v, "f", 0);
    rig_write(&g, "f", 0, 100000, rig_b);
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct rig h = g;
        (void)h;
        rig_cut(&g, seed, seed ? LYING_MIXED : LYING_ALL);
        rig_expect(&g, "f", 0, MIB, rig_a);
    }
    rig_close(&g);
}

TEST(test_f12__a_cut_block_reads_zeros_when_it_grows_again)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, MIB, rig_a);
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    box_truncate(&g.b, g.b.v, "f", 5000);
    box_truncate(&g.b, g.b.v, "f", 20000);
    rig_expect(&g, "f", 0, 5000, rig_a);
    rig_expect(&g, "f", 5000, 15000, rig_zero);
    CHECK(rig_holds(&g, box_node(g.b.v, box_view(g.b.v, "s"), "f"), 0, MIB, rig_a));
    rig_close(&g);
}

/* F13: nothing is punched or unlinked before the record that gives it up is durable. */
TEST(test_f13__nothing_is_freed_before_its_record_is_durable)
{
    for (int how = 0; how < 3; how++) {
        struct rig g;

        rig_open(&g);
        rig_write(&g, "f", 0, MIB, rig_a);
        rig_fsync(&g, "f");
        rig_quiet(&g);
        if (how == 0)
            rig_punch(&g, "f", 8192, 65536);
        else if (how == 1)
            box_truncate(&g.b, g.b.v, "f", 300000);
        else
            box_remove(&g.b, g.b.v, "f");
        if (how == 2)
            CHECK_OK(vfs_orphans_drop_all(g.b.v));
        for (uint64_t seed = 0; seed < 3; seed++) {
            rig_cut(&g, seed, LYING_ALL - (seed > 0)); /* the journal was not flushed: LYING_NONE, and all */
            if (box_there(g.b.v, box_root(g.b.v), "f") && rig_size(&g, "f") == MIB)
                CHECK(rig_holds(&g, rig_node(&g, "f"), 65536 + 8192, MIB - 65536 - 8192, rig_a));
            rig_check(&g);
        }
        rig_close(&g);
    }
}

/* The same, with the power failing at every call of the checkpoint that frees it. */
TEST(test_f13__a_checkpoint_that_frees_may_be_cut_anywhere)
{
    uint64_t seed = test_seed();
    bool ended = false;

    for (uint64_t cut = 1; !ended; cut++) {
        struct rig g;

        rig_open(&g);
        rig_write(&g, "f", 0, MIB, rig_a);
        rig_write(&g, "h", 0, MIB, rig_a);
        rig_fsync(&g, "f");
        rig_fsync(&g, "h");
        CHECK_OK(store_checkpoint(g.b.s));
        rig_punch(&g, "f", 8192, 65536);
        box_remove(&g.b, g.b.v, "h");
        CHECK_OK(vfs_orphans_drop_all(g.b.v));
        lying_crash_at(g.d, cut);
        (void)store_checkpoint(g.b.s);
        ended = !lying_crashed(g.d);
        for (int i = 0; i < 3; i++) {
            rig_cut(&g, seed++, LYING_MIXED);
            rig_expect(&g, "f", 0, 8192, rig_a);
            CHECK(rig_holds(&g, rig_node(&g, "f"), 8192, 65536, rig_a) ||
                  rig_holds(&g, rig_node(&g, "f"), 8192, 65536, rig_zero));
            if (box_there(g.b.v, box_root(g.b.v), "h"))
                rig_expect(&g, "h", 0, MIB, rig_a);
            rig_check(&g);
        }
        rig_close(&g);
    }
}

/* And not under a reader that had found the place already: its pread is held back while the snapshot is freed. */
struct slow {
    struct io io;
    struct io_ops ops;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool armed, inside, go;
};
static struct slow slow;

/* The first call after it was armed stays here until slow_go. */
static void slow_call(void)
{
    pthread_mutex_lock(&slow.lock);
    if (slow.armed) {
        slow.armed = false;
        slow.inside = true;
        pthread_cond_broadcast(&slow.change);
        while (!slow.go)
            pthread_cond_wait(&slow.change, &slow.lock);
    }
    pthread_mutex_unlock(&slow.lock);
}

static int slow_pread(struct io *io, int fd, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    (void)io;
    if (len == 64 << 10)
        slow_call();
    return io_real()->ops->pread(io_real(), fd, p, len, off, ret_len);
}

static int slow_fdatasync(struct io *io, int fd)
{
    (void)io;
    slow_call();
    return io_real()->ops->fdatasync(io_real(), fd);
}

static void slow_init(void)
{
    slow = (struct slow){.ops = *io_real()->ops, .io = {&slow.ops}};
    slow.ops.pread = slow_pread;
    slow.ops.fdatasync = slow_fdatasync;
    pthread_mutex_init(&slow.lock, NULL);
    pthread_cond_init(&slow.change, NULL);
}

static void slow_await(void)
{
    pthread_mutex_lock(&slow.lock);
    while (!slow.inside)
        pthread_cond_wait(&slow.change, &slow.lock);
    pthread_mutex_unlock(&slow.lock);
}

static void slow_go(void)
{
    pthread_mutex_lock(&slow.lock);
    slow.go = true;
    pthread_cond_broadcast(&slow.change);
    pthread_mutex_unlock(&slow.lock);
}

struct worker {
    struct vol *v;
    vfs_node n;
    struct vfs_place at;
    uint8_t bytes[64 << 10];
    size_t got;
    int r;
    bool done;
};

static void *read_slowly(void *arg)
{
    struct worker *w = arg;

    /* the engine's: the one above says ESTALE as soon as the snapshot is gone, whatever the bytes were */
    w->r = file_read(w->v, w->at.at, w->at.ino, w->bytes, sizeof(w->bytes), 0, &w->got);
    return NULL;
}

static void *free_all(void *arg)
{
    struct worker *w = arg;

    w->r = store_reclaim_idle(w->v->store);
    __atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

static bool wait_done(struct worker *w, int ms)
{
    for (int i = 0; i < ms && !__atomic_load_n(&w->done, __ATOMIC_SEQ_CST); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return __atomic_load_n(&w->done, __ATOMIC_SEQ_CST);
}

TEST(test_f13__nothing_is_freed_under_a_reader)
{
    static struct worker rd, fr;
    struct box b;
    pthread_t tr, tf;

    slow_init();
    box_open(&b, &slow.io, NULL);
    box_fill(&b, b.v, "f", 0, MIB, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_fill(&b, b.v, "f", 0, 65536, 2); /* the snapshot alone has the old ones now */
    CHECK_OK(store_reclaim_idle(b.s));
    rd = (struct worker){.v = b.v, .n = box_node(b.v, box_view(b.v, "s"), "f")};
    fr = (struct worker){.v = b.v};
    CHECK_OK(vfs_read(b.v, rd.n, fr.bytes, sizeof(fr.bytes), 0, &fr.got));
    CHECK_OK(vfs_place(b.v, rd.n, &rd.at));
    slow.armed = true;
    CHECK_EQ(pthread_create(&tr, NULL, read_slowly, &rd), 0);
    slow_await();
    CHECK_OK(snap_delete(b.v, &b.c, "s"));
    CHECK_EQ(pthread_create(&tf, NULL, free_all, &fr), 0);
    wait_done(&fr, 300);
    slow_go();
    pthread_join(tr, NULL);
    pthread_join(tf, NULL);
    CHECK_OK(fr.r);
    CHECK_OK(rd.r);
    CHECK_EQ(rd.got, sizeof(rd.bytes));
    CHECK(memcmp(rd.bytes, fr.bytes, sizeof(rd.bytes)) == 0);
    box_close(&b);
}

static void *write_much(void *arg)
{
    struct worker *w = arg;

    for (uint64_t i = 0; i < 32 && w->r == 0; i++)
        w->r = file_write(w->v, NULL, w->at.ino, w->bytes, sizeof(w->bytes), i * sizeof(w->bytes), NULL);
    return NULL;
}

static void *snapshot(void *arg)
{
    static const struct vfs_ctx root;
    struct worker *w = arg;

    w->r = snap_create(w->v, &root, "s", NULL);
    __atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

/* F6: a snapshot waits for writes under way until their records are made; that a writer brings its file to the disk afterwards
 * (F20) may take long, and is nothing to wait for. */
TEST(test_f6__a_snapshot_does_not_wait_for_write_back)
{
    static struct worker wr, sn;
    struct box b;
    pthread_t tw, ts;

    slow_init();
    box_open(&b, &slow.io, NULL);
    b.set.dirty_bytes = MIB;
    box_reopen(&b);
    box_fill(&b, b.v, "f", 0, 65536, 1);
    wr = (struct worker){.v = b.v, .n = box_node(b.v, box_root(b.v), "f")};
    CHECK_OK(vfs_place(b.v, wr.n, &wr.at));
    sn = (struct worker){.v = b.v};
    slow.armed = true;
    CHECK_EQ(pthread_create(&tw, NULL, write_much, &wr), 0);
    slow_await();
    CHECK_EQ(pthread_create(&ts, NULL, snapshot, &sn), 0);
    CHECK(wait_done(&sn, 5000));
    slow_go();
    pthread_join(tw, NULL);
    pthread_join(ts, NULL);
    CHECK_OK(wr.r);
    CHECK_OK(sn.r);
    box_close(&b);
}

/* F20: unsynced bytes have a bound, whoever writes, and nobody calls fsync. */
TEST(test_f20__unsynced_bytes_have_a_bound)
{
    struct store_state st;
    struct rig g;

    rig_open(&g);
    g.b.set.dirty_bytes = 2 * MIB;
    box_reopen(&g.b);
    for (uint64_t i = 0; i < 64; i++) {
        rig_write(&g, i % 2 ? "f" : "h", i * MIB / 4, MIB / 4, rig_a);
        store_get_state(g.b.s, &st);
        CHECK(st.dirty_bytes <= 3 * MIB);
        CHECK(lying_unsynced(g.d, NULL) <= 4 * MIB);
    }
    rig_close(&g);
}

/* Without any fsync, what is older than the interval becomes firm and durable by itself. */
TEST(test_f20__the_timer_bounds_the_loss)
{
    struct rig g;

    rig_open(&g);
    g.b.set.flush_ms = 1;
    box_reopen(&g.b);
    rig_write(&g, "f", 0, MIB, rig_a);
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    while (store_tick(g.b.s) > 0)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    rig_cut(&g, 1, LYING_NONE);
    rig_expect(&g, "f", 0, MIB, rig_a);
    rig_close(&g);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
