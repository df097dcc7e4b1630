/* F10: the journal's end: torn, or damaged; what power cuts and dead daemons leave. */
#include "tests/unit/journal_case.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "tests/lib/lying.h"

TEST(test_journal__F10_a_torn_end_is_cut_at_any_byte)
{
    struct seen s = {0};
    uint8_t whole[3 * REC], zeros[3 * REC] = {0};
    struct journal *j;
    uint32_t cut, seg;

    journal_test_boot_id(boot_a);
    j = fresh(io_real(), 4);
    append(j, 1);
    append(j, 2);
    append(j, 3);
    journal_close(j);
    journal_test_boot_id(boot_b);
    seg = current_segment(4);
    fetch(seg, HDR, whole, sizeof(whole));
    for (cut = 0; cut <= 3 * REC; cut++) {
        patch(seg, HDR, whole, cut);
        patch(seg, HDR + cut, zeros, sizeof(zeros) - cut);
        j = open_replay(io_real(), 0, &s, 0);
        /* the last bytes of a record are alignment and equal values: zeros there are no loss */
        CHECK(s.n == cut / REC || (s.n == cut / REC + 1 && cut % REC >= REC - 4));
        journal_close(j);
    }
    journal_test_boot_id(NULL);
}

TEST(test_journal__F10_a_flip_below_what_was_flushed_is_damage)
{
    struct seen s = {0};
    struct journal *j;
    uint64_t lsn;
    uint32_t seg, i;

    journal_test_boot_id(boot_a);
    j = fresh(io_real(), 4);
    for (i = 0; i < 5; i++)
        lsn = append(j, i);
    CHECK_OK(journal_flush(j, lsn));
    for (i = 5; i < 10; i++)
        append(j, i);
    journal_close(j);
    journal_test_boot_id(boot_b);
    seg = current_segment(4);
    flip(seg, HDR + 3 * REC + 150); /* record 3: flushed, and record 5 says so */
    j = open_replay(io_real(), 0, &s, -E_JOURNAL);
    CHECK_EQ(s.n, 3);
    CHECK(strstr(why, "damaged at byte 4720"));
    CHECK_ERR(journal_start(j), -E_JOURNAL);
    journal_close(j);
    flip(seg, HDR + 3 * REC + 150);
    flip(seg, HDR + 6 * REC + 150); /* record 6: never flushed, so 7 to 9 prove nothing after a power cut */
    j = open_replay(io_real(), 0, &s, 0);
    CHECK_EQ(s.n, 6);
    journal_close(j);
    journal_test_boot_id(boot_a); /* but on the same boot nothing tears */
    j = open_replay(io_real(), 0, &s, -E_JOURNAL);
    CHECK_EQ(s.n, 6);
    journal_close(j);
    journal_test_boot_id(NULL);
}

TEST(test_journal__F10_damage_is_seen_from_a_later_segment)
{
    struct seen s = {0};
    struct journal *j;
    uint32_t first, i;

    journal_test_boot_id(boot_a);
    j = fresh(io_real(), 5);
    first = current_segment(5);
    for (i = 0; i < 100; i++)
        append(j, i);
    CHECK_OK(journal_flush(j, journal_appended(j)));
    CHECK_OK(journal_switch(j));
    append(j, 100);
    journal_close(j);
    journal_test_boot_id(boot_b);
    flip(first, HDR + 55 * REC); /* of 59 that the first one holds */
    j = open_replay(io_real(), 0, &s, -E_JOURNAL);
    CHECK_EQ(s.n, 55);
    journal_close(j);
    flip(first, HDR + 55 * REC);
    flip(first + 1, 60); /* the header of the second segment */
    j = open_replay(io_real(), 0, &s, -E_JOURNAL);
    CHECK_EQ(s.n, 59);
    journal_close(j);
    journal_test_boot_id(NULL);
}

TEST(test_journal__a_switch_that_a_power_cut_undid_is_a_torn_end)
{
    struct seen s = {0};
    struct journal *j;
    uint8_t zeros[REC] = {0};
    uint32_t first;

    journal_test_boot_id(boot_a);
    j = fresh(io_real(), 5);
    first = current_segment(5);
    append(j, 1);
    append(j, 2);
    CHECK_OK(journal_switch(j));
    append(j, 3);
    append(j, 4);
    journal_close(j);
    journal_test_boot_id(boot_b);
    patch(first, HDR + REC, zeros, REC); /* record 2 was lost, the segment after it landed */
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, 1);
    append(j, 5);
    journal_close(j);
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, 2);
    CHECK_EQ(s.tags[1], 5);
    append(j, 6);
    journal_close(j);
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, 3);
    CHECK_EQ(s.tags[2], 6);
    journal_close(j);
    journal_test_boot_id(NULL);
}

/* The scenario of the rule: record 1 of a fresh segment is torn, 2 and 3 behind it are whole. The next daemon writes records
 * of the same length into the same segment, and dies after the first: its own record must not be continued by the ghosts. */
TEST(test_journal__F10_ghosts_of_a_dead_daemon_do_not_come_back)
{
    struct seen s = {0};
    struct journal *j;
    uint32_t seg;
    int round;

    journal_test_boot_id(boot_a);
    j = fresh(io_real(), 3);
    for (round = 0; round < 3; round++) {
        append(j, 1);
        append(j, 2);
        append(j, 3);
        journal_close(j);
        seg = current_segment(3);
        flip(seg, HDR + 100);
        journal_test_boot_id(round % 2 ? boot_a : boot_b);
        if (round == 2)
            break;
        j = reopen(io_real(), 0, &s);
        CHECK_EQ(s.n, 0);
    }
    for (seg = 0; seg < 3; seg++) /* each of them holds ghosts at the place of the second record */
        CHECK_EQ(({
                     uint32_t m;
                     fetch(seg, HDR + REC, &m, 4);
                     m;
                 }),
                 JREC_MAGIC);
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, 0);
    append(j, 77);
    journal_close(j);
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, 1);
    CHECK_EQ(s.tags[0], 77);
    journal_close(j);
    journal_test_boot_id(NULL);
}

TEST(test_journal__another_stores_records_inside_a_payload_prove_nothing)
{
    static uint8_t alien[4096];
    struct jput alien_put = {.key = (const uint8_t *)"01234567", .klen = 8};
    struct jrec alien_rec = {.hdr = {.lsn = 1ull << 40, .flushed_lsn = 1ull << 40, .nputs = 1},
                             .puts = &alien_put};
    struct uuid other = {{9}};
    struct seen s = {0};
    struct journal *j;
    uint32_t seg;
    uint64_t inc;

    journal_test_boot_id(boot_a);
    j = fresh(io_real(), 3);
    inc = journal_incarnation(j);
    append(j, 1);
    journal_close(j);
    journal_test_boot_id(boot_b);
    seg = current_segment(3);
    jrec_encode(&alien_rec, jrec_chain(&other, inc), alien);
    patch(seg, HDR + REC + 400, alien, jrec_size(&alien_rec));
    j = open_replay(io_real(), 0, &s, 0);
    journal_close(j);
    jrec_encode(&alien_rec, jrec_chain(&store, inc), alien); /* the same of our own would */
    patch(seg, HDR + REC + 400, alien, jrec_size(&alien_rec));
    j = open_replay(io_real(), 0, &s, -E_JOURNAL);
    journal_close(j);
    journal_test_boot_id(NULL);
}

/* One boot of a disk in memory: the journal is opened, has its n records, and is started. */
static int boot(struct lying *d, size_t n)
{
    static struct seen s;
    struct journal *j = NULL;
    int r = journal_open(lying_io(d), lying_root(d), &store, &j, why);

    if (r < 0)
        return r;
    s.n = 0;
    r = journal_replay(j, 0, see, &s, why);
    if (r == 0 && s.n != n)
        r = -E_CORRUPT;
    if (r == 0)
        r = journal_start(j);
    journal_close(j);
    return r;
}

TEST(test_journal__F10_a_cut_while_a_segment_is_added_leaves_the_journal_whole)
{
    struct seen s = {0};
    struct lying *d;
    struct lying_shot *base;
    uint64_t rng = test_seed();
    bool cut = true;

    journal_close(fresh(io_real(), 3));
    for (uint64_t i = 0; i < 3; i++) { /* dies before a checkpoint, again and again: all are in use */
        struct journal *j = reopen(io_real(), 0, &s);
        append(j, i);
        journal_close(j);
    }
    CHECK_OK(lying_new(dir(), &d));
    base = lying_shot(d, 1, LYING_ALL);
    lying_free(d);
    for (uint64_t n = 1; cut; n++) {
        d = lying_ram(lying_shot_copy(base));
        lying_crash_at(d, n);
        CHECK(boot(d, 3) == 0 || lying_crashed(d));
        cut = lying_crashed(d);
        for (unsigned i = 0; i < 6; i++) {
            struct lying *after =
                lying_ram(lying_shot(d, test_rand(&rng), i < 2 ? (enum lying_mode)i : LYING_MIXED));
            CHECK_OK(boot(after, 3));
            CHECK_OK(boot(after, 3));
            lying_free(after);
        }
        lying_free(d);
    }
    lying_shot_free(base);
    expect_mark("journal: grows at the start");
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
