/* What sequential readers will want next is brought before they ask. */
#include "tests/unit/cold_case.h"

struct ahead {
    struct far far;
    unsigned asked;
};

static int ahead_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    return far_fetch(&((struct ahead *)arg)->far, source, ref, blocks, out);
}

static void ahead_asked(void *arg)
{
    ((struct ahead *)arg)->asked++;
}

static void ahead_begin(struct box *b, struct ahead *a, uint64_t mib, uint8_t *want)
{
    struct cold_run run = far_run(1, 0, mib * 256);

    box_open(b, NULL, NULL);
    far_begin(b, &a->far);
    far_file(b, "a", mib * MIB, &run, 1);
    far_bytes(want, mib * MIB, &run, 1);
    store_set_cold(b->s, &(struct cold_hooks){.arg = a, .fetch = ahead_fetch, .ahead = ahead_asked});
}

static void read_part(struct box *b, const uint8_t *want, uint64_t off, size_t len)
{
    far_expect(b, "a", want + off, len, off);
}

TEST(test_cold__a_sequential_reader_finds_what_comes_next)
{
    uint8_t *want = malloc(16 * MIB);
    struct cold_counts counts;
    struct ahead a = {.asked = 0};
    struct box b;

    ahead_begin(&b, &a, 16, want);
    for (unsigned i = 0; i < 4; i++)
        read_part(&b, want, i * MIB / 4, MIB / 4);
    CHECK_EQ(a.asked, 1);
    CHECK_EQ(a.far.calls, 1);
    while (cold_ahead_one(b.s))
        continue;
    CHECK_EQ(a.far.calls,
             3); /* one that was asked for, and as far as the window reached when it was about to begin */
    for (unsigned i = 4; i < 64; i++) {
        read_part(&b, want, i * MIB / 4, MIB / 4);
        while (cold_ahead_one(b.s))
            continue;
    }
    cold_get_counts(b.s, &counts);
    CHECK_EQ(counts.fetches, 16); /* nothing twice, nothing behind the end */
    CHECK(counts.ahead >= 15);
    far_sound(&b);
    box_close(&b);
    free(want);
}

TEST(test_cold__requests_of_one_reader_may_come_in_another_order)
{
    static const unsigned order[] = {1, 0, 3, 2, 5, 7, 4, 6};
    uint8_t *want = malloc(16 * MIB);
    struct ahead a = {.asked = 0};
    struct box b;

    ahead_begin(&b, &a, 16, want);
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        read_part(&b, want, order[i] * (MIB / 8), MIB / 8);
    CHECK(a.asked > 0);
    box_close(&b);
    free(want);
}

TEST(test_cold__who_reads_here_and_there_gets_nothing_else)
{
    uint8_t *want = malloc(16 * MIB);
    struct ahead a = {.asked = 0};
    struct box b;

    ahead_begin(&b, &a, 16, want);
    for (unsigned i = 0; i < 200; i++)
        read_part(&b, want, (i * 7919ull * BLOCK_SIZE * 5) % (15 * MIB), BLOCK_SIZE);
    read_part(&b, want, 0, MIB / 4); /* a large one is no sequence either */
    CHECK_EQ(a.asked, 0);
    CHECK_EQ(cold_ahead_one(b.s), 0);
    box_close(&b);
    free(want);
}

/* A failure is the reader's own, who is told; nobody tries on and on meanwhile. */
TEST(test_cold__what_cannot_be_brought_ahead_is_left_to_the_reader)
{
    uint8_t *want = malloc(16 * MIB), p[10];
    struct ahead a = {.asked = 0};
    struct box b;

    ahead_begin(&b, &a, 16, want);
    read_part(&b, want, 0, MIB / 4);
    read_part(&b, want, MIB / 4, MIB / 4);
    CHECK_EQ(a.asked, 1);
    a.far.fail = -E_CLOSED;
    while (cold_ahead_one(b.s))
        continue;
    CHECK_EQ(a.far.calls, 2);
    CHECK_ERR(far_read(&b, "a", p, 10, MIB), -E_IO);
    a.far.fail = 0;
    for (unsigned i = 2; i < 64; i++)
        read_part(&b, want, i * MIB / 4, MIB / 4);
    CHECK_EQ(a.asked, 1);
    far_sound(&b);
    box_close(&b);
    free(want);
}

struct helper {
    struct box *b;
    bool over; /* atomic */
};

static void *helper_main(void *arg)
{
    struct helper *h = arg;

    while (!__atomic_load_n(&h->over, __ATOMIC_SEQ_CST))
        if (!cold_ahead_one(h->b->s))
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    return NULL;
}

TEST(test_cold__helpers_and_readers_bring_each_piece_once)
{
    uint8_t *want = malloc(32 * MIB);
    struct ahead a = {.asked = 0};
    struct cold_counts counts;
    pthread_t t[3];
    struct box b;

    a.far.delay_us = 500;
    ahead_begin(&b, &a, 32, want);
    struct helper h = {.b = &b};
    for (unsigned i = 0; i < ARRAY_LEN(t); i++)
        CHECK_EQ(pthread_create(&t[i], NULL, helper_main, &h), 0);
    for (unsigned i = 0; i < 256; i++)
        read_part(&b, want, i * (MIB / 8), MIB / 8);
    __atomic_store_n(&h.over, true, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    cold_get_counts(b.s, &counts);
    CHECK_EQ(counts.fetches, 32);
    CHECK_EQ(counts.failed, 0);
    far_sound(&b);
    box_close(&b);
    free(want);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
