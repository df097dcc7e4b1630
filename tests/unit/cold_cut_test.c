/* Bytes that lie elsewhere and the loss of power: a range goes only when its bytes are on the disk. And many threads at once. */
#include "base/clock.h"
#include "snap/store/cold_i.h"
#include "tests/lib/rig.h"
#include "tests/unit/cold_case.h"

#define SIZE (700u * BLOCK_SIZE)

static struct cold_run all_of_it(uint64_t id)
{
    return far_run(id, 0, SIZE / BLOCK_SIZE);
}

/* A file of this store whose bytes are elsewhere, too: its object is frozen by a snapshot. */
#define KEPT 9

static void make_kept(struct rig *g, uint64_t *ret_object)
{
    struct cold_run run = far_run(KEPT, 0, 64);
    uint8_t *p = malloc(64 * BLOCK_SIZE);
    struct inode in;
    struct txn t;

    far_bytes(p, 64 * BLOCK_SIZE, &run, 1);
    box_write(&g->b, g->b.v, "kept", p, 64 * BLOCK_SIZE, 0);
    CHECK_OK(snap_create(g->b.v, &g->b.c, "s", NULL));
    CHECK_OK(store_sync(g->b.s));
    CHECK_OK(txn_begin(g->b.s, TXN_READ, OP_NONE, NULL, &t));
    CHECK_OK(inode_get(&t, vol_now(g->b.v), vfs_node_ino(rig_node(g, "kept")), &in));
    txn_abort(&t);
    *ret_object = in.base_obj;
    free(p);
}

/* Its space goes, and some of it comes back before or after. */
static void release_kept(struct rig *g, uint64_t object, uint64_t seed)
{
    struct cold_range range = {.object = object, .first = 3, .blocks = 50, .source = 1};
    uint8_t p[2 * BLOCK_SIZE];
    struct vfs_attr a;
    struct txn t;
    size_t got;

    range.ref = far_run(KEPT, 0, 1).ref;
    range.ref.skip = 3;
    if (txn_begin(g->b.s, TXN_WRITE, OP_COLD, g->b.v, &t) < 0)
        return;
    if (cold_release(&t, &range) < 0)
        txn_abort(&t);
    else
        (void)txn_commit(&t);
    if (vfs_lookup(g->b.v, box_root(g->b.v), "kept", &a) == 0 && seed % 2)
        (void)vfs_read(g->b.v, a.node, p, sizeof(p), 20 * BLOCK_SIZE, &got);
    (void)store_checkpoint(g->b.s);
    if (seed % 3 == 0)
        (void)vfs_read(g->b.v, a.node, p, sizeof(p), 2 * BLOCK_SIZE, &got);
}

static void expect_kept(struct rig *g)
{
    struct cold_run run = far_run(KEPT, 0, 64);
    uint8_t *want = malloc(64 * BLOCK_SIZE);

    far_bytes(want, 64 * BLOCK_SIZE, &run, 1);
    far_expect(&g->b, "kept", want, 64 * BLOCK_SIZE, 0);
    free(want);
}

static void release_all(struct store *s, uint64_t object)
{
    struct cold_range range = {.object = object, .blocks = 64, .source = 1, .ref = far_run(KEPT, 0, 64).ref};
    struct txn t;

    CHECK_OK(txn_begin(s, TXN_WRITE, OP_COLD, NULL, &t));
    CHECK_OK(cold_release(&t, &range));
    CHECK_OK(txn_commit(&t));
}

struct again {
    struct store *s;
    uint64_t object;
    bool began; /* atomic */
    pthread_t reader;
};

/* It has found all blocks here, and is about to read them. */
static void *slow_reader(void *arg)
{
    uint8_t *want = malloc(64 * BLOCK_SIZE), *p = malloc(64 * BLOCK_SIZE);
    struct cold_run run = far_run(KEPT, 0, 64);
    struct again *a = arg;
    uint32_t gen = grace_enter(a->s);
    struct objfd *fd;

    CHECK_OK(objfd_get(a->s, a->object, false, &fd));
    __atomic_store_n(&a->began, true, __ATOMIC_SEQ_CST);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    CHECK_OK(objfd_read(a->s, fd, p, 64 * BLOCK_SIZE, 0));
    objfd_put(a->s, fd);
    grace_leave(a->s, gen);
    far_bytes(want, 64 * BLOCK_SIZE, &run, 1);
    CHECK(memcmp(p, want, 64 * BLOCK_SIZE) == 0);
    free(want);
    free(p);
    return NULL;
}

/* Another thread, while the queue is run: nothing has flushed that yet, and somebody reads. */
static int on_reclaim(void *arg, struct store *s, const struct reclaim_rec *rec)
{
    struct again *a = arg;

    CHECK_EQ(rec->kind, RECLAIM_LAYER);
    CHECK_EQ(pthread_create(&a->reader, NULL, slow_reader, a), 0);
    while (!__atomic_load_n(&a->began, __ATOMIC_SEQ_CST))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    release_all(s, a->object);
    return 0;
}

/* What was released, came back and is released anew is not punched for the first time's sake: that it went twice is not on the disk. */
TEST(test_cold__what_is_released_again_stays_until_that_is_durable)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint8_t p[64 * BLOCK_SIZE];
        struct again a = {.began = false};
        struct far f = {0};
        struct rig g;
        struct txn t;
        size_t got;

        rig_open(&g);
        far_begin(&g.b, &f);
        make_kept(&g, &a.object);
        a.s = g.b.s;
        CHECK_OK(store_reclaim_idle(g.b.s));
        store_set_hooks(g.b.s, &(struct store_hooks){.arg = &a, .reclaim = on_reclaim});
        CHECK_OK(txn_begin(g.b.s, TXN_WRITE, OP_COLD, NULL, &t));
        CHECK_OK(txn_reclaim(&t, &(struct reclaim_rec){.kind = RECLAIM_LAYER}));
        CHECK_OK(txn_commit(&t));
        release_all(g.b.s, a.object);
        CHECK_OK(store_sync(g.b.s));
        CHECK_OK(vfs_read(g.b.v, rig_node(&g, "kept"), p, sizeof(p), 0, &got));
        CHECK_EQ(f.calls, 1);
        CHECK_OK(cold_settle(g.b.s));
        CHECK_EQ(far_records(&g.b), 0);
        CHECK_OK(store_checkpoint(g.b.s));
        CHECK_EQ(far_records(&g.b), 1);
        CHECK_EQ(pthread_join(a.reader, NULL), 0);
        rig_cut(&g, seed, LYING_MIXED);
        far_connect(&g.b, &f);
        expect_kept(&g);
        rig_close(&g);
    }
}

/* What is done until the power goes; errors are those of a disk that is not there any more. */
static void live(struct rig *g, uint64_t kept, uint64_t seed)
{
    struct vol *v = g->b.v;
    uint8_t *p = malloc(SIZE);
    size_t got;

    for (unsigned i = 0; i < 3; i++) {
        vfs_node n = {0};
        struct vfs_attr a;
        char name[4] = {'a', (char)('0' + i), 0};
        if (vfs_lookup(v, box_root(v), name, &a) == 0)
            n = a.node;
        (void)vfs_read(v, n, p, 10, (seed + i) % 700 * BLOCK_SIZE, &got);
        (void)cold_settle(g->b.s);
        if (i == 1)
            (void)store_flush(g->b.s);
        release_kept(g, kept, seed + i);
        (void)vfs_write(v, &g->b.c, n, "new", 3, 400 * BLOCK_SIZE + 7, false);
        if (i == 0)
            (void)vfs_unlink(v, &g->b.c, box_root(v), name);
        (void)vfs_read(v, n, p, SIZE, 0, &got);
        (void)store_sync(g->b.s);
        (void)cold_settle(g->b.s);
        (void)vfs_orphans_drop_all(v);
        (void)store_checkpoint(g->b.s);
    }
    (void)store_reclaim_idle(g->b.s);
    free(p);
}

static void expect_after(struct rig *g, struct far *f, const uint8_t *want[3], bool all_done)
{
    uint8_t *p = malloc(SIZE);
    size_t got;

    far_connect(&g->b, f);
    expect_kept(g);
    for (unsigned i = 0; i < 3; i++) {
        char name[4] = {'a', (char)('0' + i), 0};
        if (!box_there(g->b.v, box_root(g->b.v), name)) {
            CHECK_EQ(i, 0);
            continue;
        }
        CHECK_OK(vfs_read(g->b.v, rig_node(g, name), p, SIZE, 0, &got));
        CHECK_EQ(got, SIZE);
        if (all_done)
            CHECK(memcmp(p + 400 * BLOCK_SIZE + 7, "new", 3) == 0);
        memcpy(p + 400 * BLOCK_SIZE + 7, want[i] + 400 * BLOCK_SIZE + 7, 3);
        for (size_t k = 0; k < SIZE; k++)
            if (p[k] != want[i][k])
                test_fail(__FILE__, __LINE__, "%s: byte %zu of block %zu is %02x, not %02x", name,
                          k % BLOCK_SIZE, k / BLOCK_SIZE, p[k], want[i][k]);
    }
    CHECK_OK(cold_settle(g->b.s));
    rig_check(g);
    free(p);
}

static unsigned every(unsigned otherwise)
{
    const char *e = getenv("EVERY");

    return e ? (unsigned)strtoul(e, NULL, 10) : otherwise;
}

static void wants(uint8_t *want[3])
{
    for (unsigned i = 0; i < 3; i++) {
        struct cold_run run = all_of_it(i + 1);
        want[i] = malloc(SIZE);
        far_bytes(want[i], SIZE, &run, 1);
    }
}

static void begin(struct rig *g, struct far *f, uint64_t *ret_kept)
{
    rig_open(g);
    far_begin(&g->b, f);
    make_kept(g, ret_kept);
    for (unsigned i = 0; i < 3; i++) {
        struct cold_run run = all_of_it(i + 1);
        char name[4] = {'a', (char)('0' + i), 0};
        far_file(&g->b, name, SIZE, &run, 1);
    }
    CHECK_OK(store_sync(g->b.s));
}

TEST(test_cold__a_power_cut_anywhere_loses_nothing)
{
    uint8_t *want[3];
    bool over = false;

    wants(want);
    for (uint64_t n = 1; !over; n += every(11)) {
        struct far f = {0};
        uint64_t kept;
        struct rig g;

        begin(&g, &f, &kept);
        lying_crash_at(g.d, n);
        live(&g, kept, n * 131);
        over = !lying_crashed(g.d);
        rig_cut(&g, n, n % 3 ? LYING_MIXED : LYING_NONE);
        expect_after(&g, &f, (const uint8_t **)want, over);
        rig_close(&g);
    }
    for (unsigned i = 0; i < 3; i++)
        free(want[i]);
}

/* Any one call of the disk fails, and the power is cut later. */
TEST(test_cold__a_failing_call_of_the_disk_loses_nothing)
{
    static const int codes[] = {-E_IO, -E_NOSPC, -E_FILES};
    uint8_t *want[3];
    bool over = false;

    wants(want);
    for (uint64_t n = 1; !over; n += every(11)) {
        struct far f = {0};
        uint64_t kept;
        struct rig g;

        begin(&g, &f, &kept);
        lying_fail_at(g.d, LYING_ANY & ~(unsigned)LYING_CLOSE, n, codes[n % 3]);
        live(&g, kept, n * 137);
        over = !lying_faults(g.d);
        lying_fail_off(g.d);
        rig_cut(&g, n, n % 3 ? LYING_MIXED : LYING_NONE);
        expect_after(&g, &f, (const uint8_t **)want, false);
        rig_close(&g);
    }
    for (unsigned i = 0; i < 3; i++)
        free(want[i]);
}

/* --- many threads ------------------------------------------------------------------------------------------------------------- */

#define BUSY_FILES 4
#define BUSY_BLOCKS 600u

struct busy {
    struct box *b;
    uint8_t *want[BUSY_FILES];
    uint64_t seed;
    bool stop;            /* atomic */
    uint64_t wrong, done; /* atomic */
};

static uint8_t mark_of(uint64_t block)
{
    return (uint8_t)(block * 7 + 3);
}

/* A block is what it was elsewhere, or what any writer puts there. */
static bool block_ok(const struct busy *y, unsigned i, uint64_t block, const uint8_t *p)
{
    bool old = memcmp(p, y->want[i] + block * BLOCK_SIZE, BLOCK_SIZE) == 0;

    for (unsigned k = 0; k < BLOCK_SIZE && !old; k++)
        if (p[k] != mark_of(block) && p[k] != y->want[i][block * BLOCK_SIZE + k])
            return false;
    return true;
}

static void *busy_reader(void *arg)
{
    struct busy *y = arg;
    uint64_t rng = __atomic_add_fetch(&y->seed, 1, __ATOMIC_SEQ_CST);
    uint8_t *p = malloc(64 * BLOCK_SIZE);
    char name[8];
    size_t got;

    while (!__atomic_load_n(&y->stop, __ATOMIC_SEQ_CST)) {
        unsigned i = (unsigned)(test_rand(&rng) % BUSY_FILES);
        uint64_t block = test_rand(&rng) % (BUSY_BLOCKS - 64), n = 1 + test_rand(&rng) % 64;
        snprintf(name, sizeof(name), "f%u", i);
        int r = vfs_read(y->b->v, box_node(y->b->v, box_root(y->b->v), name), p, n * BLOCK_SIZE,
                         block * BLOCK_SIZE, &got);
        for (uint64_t k = 0; r == 0 && k < n; k++)
            if (!block_ok(y, i, block + k, p + k * BLOCK_SIZE))
                __atomic_fetch_add(&y->wrong, 1, __ATOMIC_SEQ_CST);
        if (r < 0)
            __atomic_fetch_add(&y->wrong, 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&y->done, 1, __ATOMIC_SEQ_CST);
    }
    free(p);
    return NULL;
}

static void *busy_writer(void *arg)
{
    struct busy *y = arg;
    uint64_t rng = __atomic_add_fetch(&y->seed, 1, __ATOMIC_SEQ_CST);
    uint8_t p[2 * BLOCK_SIZE];
    char name[8];

    while (!__atomic_load_n(&y->stop, __ATOMIC_SEQ_CST)) {
        unsigned i = (unsigned)(test_rand(&rng) % BUSY_FILES);
        uint64_t block = test_rand(&rng) % BUSY_BLOCKS;
        uint64_t from =
            test_rand(&rng) % 2 ? 0 : test_rand(&rng) % BLOCK_SIZE; /* whole: what was there dies */
        snprintf(name, sizeof(name), "f%u", i);
        memset(p, mark_of(block), BLOCK_SIZE);
        if (vfs_write(y->b->v, &y->b->c, box_node(y->b->v, box_root(y->b->v), name), p, BLOCK_SIZE - from,
                      block * BLOCK_SIZE + from, false) < 0)
            __atomic_fetch_add(&y->wrong, 1, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&y->done, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* A file that comes and goes, with the same bytes each time. */
static void *busy_churn(void *arg)
{
    struct cold_run run = far_run(1000, 0, 40);
    struct busy *y = arg;

    while (!__atomic_load_n(&y->stop, __ATOMIC_SEQ_CST)) {
        far_file(y->b, "churn", 40 * BLOCK_SIZE, &run, 1);
        nanosleep(&(struct timespec){.tv_nsec = 700000}, NULL);
        box_remove(y->b, y->b->v, "churn");
        (void)vfs_orphans_drop_all(y->b->v);
    }
    return NULL;
}

static void *busy_follower(void *arg)
{
    struct cold_run run = far_run(1000, 0, 40);
    uint8_t *want = malloc(40 * BLOCK_SIZE), *p = malloc(40 * BLOCK_SIZE);
    struct busy *y = arg;
    struct vfs_attr a;
    size_t got;

    far_bytes(want, 40 * BLOCK_SIZE, &run, 1);
    while (!__atomic_load_n(&y->stop, __ATOMIC_SEQ_CST)) {
        int r = vfs_lookup(y->b->v, box_root(y->b->v), "churn", &a);
        if (r == 0)
            r = vfs_read(y->b->v, a.node, p, 40 * BLOCK_SIZE, 0, &got);
        bool ok = r == 0 ? got == 0 || (got == 40 * BLOCK_SIZE && memcmp(p, want, got) == 0)
                         : r == -E_NOENT || r == -E_STALE;
        if (!ok)
            __atomic_fetch_add(&y->wrong, 1, __ATOMIC_SEQ_CST);
    }
    free(want);
    free(p);
    return NULL;
}

static void *busy_keeper(void *arg)
{
    struct busy *y = arg;
    struct cold_cursor cur = {0};
    struct cold_range range;

    while (!__atomic_load_n(&y->stop, __ATOMIC_SEQ_CST)) {
        if (cold_settle(y->b->s) < 0 || store_checkpoint(y->b->s) < 0)
            __atomic_fetch_add(&y->wrong, 1, __ATOMIC_SEQ_CST);
        if (cold_next(y->b->s, 0, &cur, &range) == 1)
            (void)cold_recall(y->b->s, range.object, range.first, range.blocks);
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    }
    return NULL;
}

static void busy_round(unsigned round, int64_t until_ns)
{
    static void *(*const work[])(void *arg) = {busy_reader, busy_reader, busy_reader, busy_writer,
                                               busy_writer, busy_keeper, busy_churn,  busy_follower};
    pthread_t id[ARRAY_LEN(work)];
    struct far f = {.delay_us = 300};
    struct busy y = {.seed = test_seed() + round * 100};
    char path[600], name[8];
    struct box b;

    snprintf(path, sizeof(path), "%s/store%u", test_dir(), round);
    box_open(&b, NULL, path);
    far_begin(&b, &f);
    for (unsigned i = 0; i < BUSY_FILES; i++) {
        struct cold_run runs[] = {far_run(2 * i, 0, 100), far_run(2 * i + 1, 100, 500)};
        snprintf(name, sizeof(name), "f%u", i);
        far_file(&b, name, BUSY_BLOCKS * BLOCK_SIZE, runs, 2);
        y.want[i] = malloc(BUSY_BLOCKS * BLOCK_SIZE);
        far_bytes(y.want[i], BUSY_BLOCKS * BLOCK_SIZE, runs, 2);
    }
    y.b = &b;
    for (unsigned i = 0; i < ARRAY_LEN(work); i++)
        CHECK_EQ(pthread_create(&id[i], NULL, work[i], &y), 0);
    while (clock_mono_ns() < until_ns && far_ranges(&b))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    __atomic_store_n(&y.stop, true, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < ARRAY_LEN(work); i++)
        pthread_join(id[i], NULL);
    CHECK_EQ(y.wrong, 0);
    CHECK_OK(cold_settle(b.s));
    box_sound(&b);
    far_sound(&b);
    box_close(&b);
    for (unsigned i = 0; i < BUSY_FILES; i++)
        free(y.want[i]);
}

TEST(test_cold__readers_writers_and_the_background_at_once)
{
    const char *ms = getenv("MS");
    int64_t until_ns = clock_mono_ns() + (ms ? strtoll(ms, NULL, 10) : 1500) * 1000000;

    for (unsigned round = 0; round < 200 && clock_mono_ns() < until_ns; round++)
        busy_round(round, until_ns);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
