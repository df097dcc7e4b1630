/* Pieces that lie one behind the other are brought by one call. */
#include <sys/stat.h>

#include "tests/lib/lying.h"
#include "tests/unit/cold_case.h"

struct runs {
    struct far far;
    struct box *b;
    unsigned calls, most;
    uint64_t bad; /* the block behind which a piece is damaged, + 1; 0: none */
    bool reads;   /* a reader wants the first piece while the others are on their way */
    bool waits;   /* another wants the last piece meanwhile, and waits for it */
    pthread_t waiter;
    uint8_t *want;
};

static void *wait_main(void *arg)
{
    struct runs *u = arg;

    far_expect(u->b, "a", u->want + 3 * MIB, 4096, 3 * MIB);
    return NULL;
}

static void wait_begin(struct runs *u)
{
    struct cold_counts counts = {.waited = 0};

    u->waits = false;
    CHECK_EQ(pthread_create(&u->waiter, NULL, wait_main, u), 0);
    while (counts.waited == 0) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        cold_get_counts(u->b->s, &counts);
    }
}

static int one_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    struct runs *u = arg;

    if (u->bad && ref->skip == u->bad - 1)
        return -E_CORRUPT;
    return far_fetch(&u->far, source, ref, blocks, out);
}

static void run_fetch(void *arg, const struct cold_piece *v, unsigned n,
                      void (*got)(void *of, unsigned i, int result), void *of)
{
    struct runs *u = arg;

    CHECK(n > 1 && n <= COLD_RUN_PIECES);
    u->calls++;
    u->most = MAX_OF(u->most, n);
    if (u->waits)
        wait_begin(u);
    for (unsigned i = 0; i < n; i++) {
        if (i)
            CHECK_EQ(v[i].ref.skip, v[i - 1].ref.skip + v[i - 1].blocks);
        got(of, i, one_fetch(u, v[i].source, &v[i].ref, v[i].blocks, v[i].out));
        if (i == 0 && u->reads) /* it is there: nobody waits for the end of the run */
            far_expect(u->b, "a", u->want, 4096, 0);
    }
}

static void runs_file(struct box *b, struct runs *u, uint64_t mib)
{
    struct cold_run run = far_run(1, 0, mib * 256);

    u->b = b;
    u->want = malloc(mib * MIB);
    far_begin(b, &u->far);
    far_file(b, "a", mib * MIB, &run, 1);
    far_bytes(u->want, mib * MIB, &run, 1);
    store_set_cold(b->s, &(struct cold_hooks){.arg = u, .fetch = one_fetch, .fetch_run = run_fetch});
}

static void runs_begin(struct box *b, struct runs *u, uint64_t mib)
{
    box_open(b, NULL, NULL);
    runs_file(b, u, mib);
}

static void runs_end(struct runs *u)
{
    far_sound(u->b);
    box_close(u->b);
    free(u->want);
}

static uint64_t object_of(struct box *b)
{
    struct cold_cursor c = {.object = 0};
    struct cold_range range;

    CHECK_EQ(cold_next(b->s, 0, &c, &range), 1);
    return range.object;
}

TEST(test_cold__what_lies_together_comes_by_one_call)
{
    struct runs u = {.reads = true};
    struct cold_counts counts;
    struct box b;

    runs_begin(&b, &u, 10);
    CHECK_OK(cold_recall(b.s, object_of(&b), 0, 10 * 256));
    CHECK_EQ(u.calls, 3); /* of four, four and two pieces */
    CHECK_EQ(u.most, 4);
    CHECK_EQ(u.far.calls, 10);
    cold_get_counts(b.s, &counts);
    CHECK_EQ(counts.fetches, 10);
    CHECK_EQ(counts.fetched_bytes, 10 * MIB);
    u.far.fail = -E_CLOSED;
    far_expect(&b, "a", u.want, 10 * MIB, 0);
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(far_records(&b), 0);
    runs_end(&u);
}

/* One that cannot be had is told; those beside it are there. */
TEST(test_cold__a_damaged_piece_hurts_none_beside_it)
{
    struct runs u = {.bad = 513};
    uint8_t p[16];
    struct box b;

    runs_begin(&b, &u, 4);
    CHECK_ERR(cold_recall(b.s, object_of(&b), 0, 4 * 256), -E_IO);
    CHECK_EQ(u.far.calls, 3);
    far_expect(&b, "a", u.want, 2 * MIB, 0);
    far_expect(&b, "a", u.want + 3 * MIB, MIB, 3 * MIB);
    CHECK_EQ(u.far.calls, 3);
    CHECK_ERR(far_read(&b, "a", p, 16, 2 * MIB), -E_IO);
    u.bad = 0;
    CHECK_OK(cold_recall(b.s, object_of(&b), 0, 4 * 256));
    far_expect(&b, "a", u.want, 4 * MIB, 0);
    CHECK_EQ(u.far.calls, 4);
    runs_end(&u);
}

/* What has no room on the disk is told to who asked for it to be there; who only reads gets it. */
TEST(test_cold__a_full_disk_keeps_nobody_from_reading_a_run)
{
    struct runs u = {.waits = true};
    char root[600], path[700];
    struct lying *d;
    struct box b;

    snprintf(root, sizeof(root), "%s/disk", test_dir());
    snprintf(path, sizeof(path), "%s/store", root);
    CHECK_EQ(mkdir(root, 0700), 0);
    CHECK_OK(lying_new(root, &d));
    box_open(&b, lying_io(d), path);
    runs_file(&b, &u, 4);
    lying_fail_from(d, LYING_CREATE | LYING_WRITE, 1, -E_NOSPC);
    CHECK_ERR(cold_recall(b.s, object_of(&b), 0, 4 * 256), -E_NOSPC);
    CHECK_EQ(u.calls, 1);
    CHECK_EQ(pthread_join(u.waiter, NULL), 0);
    far_expect(&b, "a", u.want, 4 * MIB, 0);
    lying_fail_off(d);
    CHECK_OK(cold_recall(b.s, object_of(&b), 0, 4 * 256));
    far_expect(&b, "a", u.want, 4 * MIB, 0);
    runs_end(&u);
    lying_free(d);
}

/* Several that go through what was read lately do not all get the same piece. */
TEST(test_cold__of_what_was_read_lately_each_piece_is_told_once)
{
    struct runs u = {.calls = 0};
    struct cold_cursor c = {.object = 0};
    struct cold_range range;
    struct box b;

    runs_begin(&b, &u, 8);
    far_expect(&b, "a", u.want, 16, 0);
    for (uint64_t block = 256; block < 8 * 256; block += 256) {
        CHECK_EQ(cold_next(b.s, 0, &c, &range), 1);
        CHECK_EQ(range.first, block);
        CHECK_EQ(range.blocks, 256);
    }
    runs_end(&u);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
