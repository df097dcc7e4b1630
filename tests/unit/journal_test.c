#include "snap/store/journal.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "tests/lib/lying.h"
#include "tests/lib/test.h"

#define SEG (16u << 10)
#define HDR 4096u

static const struct uuid store = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const uint8_t boot_a[16] = "boot-aaaaaaaaaa", boot_b[16] = "boot-bbbbbbbbbb";
static char why[256];

/* --- a door that counts and fails ------------------------------------------------------------------------------------- */

static struct io_ops door_ops;
static struct io door = {&door_ops};
static int door_syncs, door_fail_write, door_fail_sync; /* fail the n-th from here; 0 never */
static int door_sync_us;

static int door_pwrite(struct io *io, int fd, const void *p, size_t len, uint64_t off)
{
    (void)io;
    if (door_fail_write && --door_fail_write == 0) {
        (void)io_pwrite(io_real(), fd, p, len - len / 3, off); /* a part has landed */
        return -E_IO;
    }
    return io_pwrite(io_real(), fd, p, len, off);
}

static int door_fdatasync(struct io *io, int fd)
{
    (void)io;
    __atomic_add_fetch(&door_syncs, 1, __ATOMIC_RELAXED);
    if (door_sync_us)
        usleep((useconds_t)door_sync_us);
    if (door_fail_sync && --door_fail_sync == 0)
        return -E_IO;
    return io_fdatasync(io_real(), fd);
}

static struct io *door_open(void)
{
    door_ops = *io_real()->ops;
    door_ops.pwrite = door_pwrite;
    door_ops.fdatasync = door_fdatasync;
    door_syncs = door_fail_write = door_fail_sync = door_sync_us = 0;
    return &door;
}

/* --- helpers ---------------------------------------------------------------------------------------------------------- */

static const char *dir(void)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/journal", test_dir());
    return path;
}

static const char *segment(uint32_t n)
{
    static char path[600];

    snprintf(path, sizeof(path), "%s/%04u", dir(), n);
    return path;
}

static int append_len(struct journal *j, uint64_t tag, size_t vlen, uint64_t *lsn)
{
    static uint8_t val[1 << 20];
    uint8_t key[8];
    struct jput put = {.key = key, .klen = 8, .val = val, .vlen = (uint32_t)vlen};
    struct jrec r = {.hdr = {.kind = 16, .flags = JREC_FIRM, .nputs = 1}, .puts = &put};

    put_be64(key, tag);
    memset(val, (int)(tag & 0xff), vlen);
    return journal_append(j, &r, lsn);
}

static uint64_t append(struct journal *j, uint64_t tag)
{
    uint64_t lsn = 0;

    CHECK_OK(append_len(j, tag, 64, &lsn));
    return lsn;
}

struct seen {
    uint64_t tags[4096], lsns[4096];
    bool same[4096];
    size_t n;
    int stop; /* given back by the callback */
};

static int see(void *arg, struct jrec_view *v, bool same_boot)
{
    struct seen *s = arg;
    struct jput p;

    CHECK_EQ(jrec_next_put(v, &p), 1);
    CHECK_EQ(p.klen, 8);
    CHECK(s->n < 4096);
    s->tags[s->n] = get_be64(p.key);
    s->lsns[s->n] = v->hdr.lsn;
    s->same[s->n++] = same_boot;
    return s->stop;
}

static struct journal *open_replay(struct io *io, uint64_t after, struct seen *s, int want)
{
    struct journal *j = NULL;

    s->n = 0;
    CHECK_OK(journal_open(io, dir(), &store, &j, why));
    CHECK_ERR(journal_replay(j, after, see, s, why), want);
    return j;
}

static struct journal *fresh(struct io *io, uint32_t segments)
{
    static struct seen s;
    struct journal *j;

    CHECK_OK(journal_create(io, dir(), &store, SEG, segments));
    j = open_replay(io, 0, &s, 0);
    CHECK_EQ(s.n, 0);
    CHECK_OK(journal_start(j));
    return j;
}

static struct journal *reopen(struct io *io, uint64_t after, struct seen *s)
{
    struct journal *j = open_replay(io, after, s, 0);

    CHECK_OK(journal_start(j));
    return j;
}

static void patch(uint32_t seg, uint64_t off, const void *p, size_t len)
{
    int fd = open(segment(seg), O_WRONLY | O_CLOEXEC);

    CHECK(fd >= 0);
    CHECK_EQ(pwrite(fd, p, len, (off_t)off), len);
    close(fd);
}

static void fetch(uint32_t seg, uint64_t off, void *p, size_t len)
{
    int fd = open(segment(seg), O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0);
    CHECK_EQ(pread(fd, p, len, (off_t)off), len);
    close(fd);
}

static void flip(uint32_t seg, uint64_t off)
{
    uint8_t b;

    fetch(seg, off, &b, 1);
    b ^= 0x10;
    patch(seg, off, &b, 1);
}

/* The segment that the last daemon began with: the one of the highest incarnation. */
static uint32_t current_segment(uint32_t segments)
{
    uint32_t i, best = 0;
    uint64_t most = 0, inc;

    for (i = 0; i < segments; i++) {
        fetch(i, 32, &inc, 8);
        if (inc > most) {
            most = inc;
            best = i;
        }
    }
    return best;
}

#define REC 208u /* of append(): 112 + 20 + 8 + 64, aligned */

/* --- what was appended comes back ------------------------------------------------------------------------------------- */

TEST(test_journal__records_come_back_in_order_over_many_segments)
{
    struct seen s = {0};
    struct journal *j = fresh(io_real(), 6);
    uint64_t i, first = 0, lsn;

    for (i = 0; i < 200; i++) {
        lsn = append(j, i);
        first = first ? first : lsn;
        CHECK_EQ(lsn, first + i);
    }
    CHECK_EQ(journal_appended(j), lsn);
    CHECK(journal_flushed(j) < lsn);
    CHECK_OK(journal_flush(j, lsn));
    CHECK_EQ(journal_flushed(j), lsn);
    journal_close(j);
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, 200);
    for (i = 0; i < 200; i++) {
        CHECK_EQ(s.tags[i], i);
        CHECK_EQ(s.lsns[i], first + i);
    }
    CHECK(append(j, 200) > lsn); /* a number is never given twice */
    journal_close(j);
    j = reopen(io_real(), first + 149, &s);
    CHECK_EQ(s.n, 51);
    CHECK_EQ(s.tags[0], 150);
    CHECK_EQ(s.tags[50], 200);
    journal_close(j);
}

TEST(test_journal__a_record_without_flush_survives_the_death_of_the_daemon)
{
    struct seen s = {0};
    struct journal *j;

    journal_test_boot_id(boot_a);
    j = fresh(io_real(), 4);
    append(j, 1);
    journal_close(j);
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, 1);
    CHECK(s.same[0]);
    CHECK(journal_same_boot(j));
    append(j, 2);
    journal_close(j);
    journal_test_boot_id(boot_b);
    j = open_replay(io_real(), 0, &s, 0);
    CHECK_EQ(s.n, 2);
    CHECK(!s.same[0] && !s.same[1]);
    CHECK(!journal_same_boot(j));
    CHECK_OK(journal_start(j));
    append(j, 3);
    journal_close(j);
    j = open_replay(io_real(), 0, &s, 0);
    CHECK_EQ(s.n, 3);
    CHECK(!s.same[1] && s.same[2]); /* each record by the boot that wrote it */
    journal_close(j);
    journal_test_boot_id(NULL);
}

TEST(test_journal__the_callback_ends_the_replay)
{
    struct seen s = {.stop = -E_NOMEM};
    struct journal *j = fresh(io_real(), 4);

    append(j, 1);
    append(j, 2);
    journal_close(j);
    j = open_replay(io_real(), 0, &s, -E_NOMEM);
    CHECK_EQ(s.n, 1);
    journal_close(j);
}

/* --- the end: torn or damaged ----------------------------------------------------------------------------------------- */

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

/* --- laps, room ------------------------------------------------------------------------------------------------------- */

TEST(test_journal__full_is_said_and_trimming_makes_room)
{
    struct seen s = {0};
    struct journal *j = fresh(io_real(), 4);
    uint64_t lsn = 0, room = journal_room(j), n = 0;
    int r;

    CHECK_EQ(journal_capacity(j), 3 * (SEG - HDR));
    CHECK_EQ(room, journal_capacity(j));
    while ((r = append_len(j, n, 64, &lsn)) == 0) {
        n++;
        CHECK(journal_room(j) < room);
        room = journal_room(j);
    }
    CHECK_ERR(r, -E_NOSPC);
    CHECK_EQ(n, 3 * ((SEG - HDR) / REC));
    CHECK_ERR(journal_switch(j), -E_NOSPC);
    journal_close(j);
    j = reopen(io_real(), 0, &s); /* in the spare segment */
    CHECK_EQ(s.n, n);
    CHECK(append(j, n) > lsn);
    lsn = journal_appended(j);
    journal_close(j);
    j = reopen(io_real(), 0, &s); /* in one more */
    CHECK_EQ(s.n, n + 1);
    CHECK_EQ(journal_capacity(j), 4 * (SEG - HDR));
    journal_trim(j, lsn);
    CHECK_EQ(journal_room(j), 4 * (SEG - HDR));
    append(j, n + 1);
    journal_close(j);
    j = reopen(io_real(), lsn, &s);
    CHECK_EQ(s.n, 1);
    CHECK_EQ(s.tags[0], n + 1);
    journal_close(j);
}

TEST(test_journal__an_added_segment_whose_making_was_cut_short_serves_as_a_free_one)
{
    struct seen s = {0};
    struct journal *j = fresh(io_real(), 3);
    uint64_t n = 0, lsn;
    int fd;

    append(j, n++);
    journal_close(j);
    fd = open(segment(3), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, "VRVJ", 4), 4);
    close(fd);
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, 1);
    while (append_len(j, n, 64, &lsn) == 0)
        n++;
    CHECK_EQ(n, 1 + 2 * ((SEG - HDR) / REC));
    journal_close(j);
    j = reopen(io_real(), 0, &s);
    CHECK_EQ(s.n, n);
    journal_close(j);
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

TEST(test_journal__start_takes_an_empty_segment_again)
{
    struct seen s = {0};
    struct journal *j = fresh(io_real(), 3);
    uint64_t lsn;
    int i;

    while (append_len(j, 7, 64, &lsn) == 0)
        continue;
    journal_close(j);
    for (i = 0; i < 5; i++) { /* dies at once, again and again */
        j = reopen(io_real(), 0, &s);
        CHECK_EQ(s.n, 2 * ((SEG - HDR) / REC));
        journal_close(j);
    }
}

TEST(test_journal__stale_laps_stay_unseen)
{
    uint64_t seed = test_seed(), tag = 0, applied = 0, trimmed_tag = 0, lsn = 0, i;
    struct journal *j = fresh(io_real(), 4);
    struct seen s = {0};
    int round;

    for (round = 0; round < 300; round++) {
        uint64_t n = test_rand(&seed) % 40;

        for (i = 0; i < n; i++)
            CHECK_OK(append_len(j, tag++, test_rand(&seed) % 3 ? 64 : test_rand(&seed) % 200, &lsn));
        switch (test_rand(&seed) % 4) {
        case 0: CHECK_OK(journal_flush(j, lsn)); break;
        case 1:
            journal_close(j);
            j = reopen(io_real(), applied, &s);
            CHECK_EQ(s.n, tag - trimmed_tag);
            for (i = 0; i < s.n; i++)
                CHECK_EQ(s.tags[i], trimmed_tag + i);
            break;
        default: (void)journal_switch(j);
        }
        if (journal_room(j) < SEG || test_rand(&seed) % 3 == 0) {
            applied = journal_appended(j);
            trimmed_tag = tag;
            (void)journal_switch(j);
            journal_trim(j, applied);
        }
    }
    journal_close(j);
}

TEST(test_journal__tables_older_than_the_journal_are_noticed)
{
    struct seen s = {0};
    struct journal *j = fresh(io_real(), 4);
    uint64_t old = append(j, 1), lsn = append(j, 2);

    CHECK_OK(journal_switch(j));
    journal_trim(j, lsn);
    append(j, 3);
    CHECK_OK(journal_switch(j)); /* its header says what was trimmed */
    append(j, 4);
    journal_close(j);
    j = open_replay(io_real(), old, &s, -E_JOURNAL);
    CHECK(strstr(why, "older than the journal"));
    journal_close(j);
    j = open_replay(io_real(), lsn, &s, 0);
    CHECK_EQ(s.n, 2);
    journal_close(j);
}

TEST(test_journal__a_record_larger_than_a_segment_is_refused)
{
    struct journal *j = fresh(io_real(), 3);
    uint64_t lsn;

    CHECK_ERR(append_len(j, 1, SEG, &lsn), -E_TOOBIG);
    CHECK_OK(append_len(j, 1, SEG - HDR - 144, &lsn));
    journal_close(j);
}

/* --- failing disks ---------------------------------------------------------------------------------------------------- */

TEST(test_journal__a_failed_append_leaves_no_trace)
{
    struct io *io = door_open();
    struct journal *j = fresh(io, 4);
    struct seen s = {0};
    uint64_t lsn, next;

    append(j, 1);
    door_fail_write = 1;
    CHECK_ERR(append_len(j, 99, 64, &lsn), -E_IO);
    journal_close(j);
    j = open_replay(io, 0, &s, 0);
    CHECK_EQ(s.n, 1);
    CHECK_OK(journal_start(j));
    lsn = append(j, 2);
    door_fail_write = 1;
    CHECK_ERR(append_len(j, 99, 64, &next), -E_IO);
    CHECK_OK(append_len(j, 3, 30, &next)); /* at the same place */
    CHECK_EQ(next, lsn + 1);
    journal_close(j);
    j = open_replay(io, 0, &s, 0);
    CHECK_EQ(s.n, 3);
    CHECK_EQ(s.tags[2], 3);
    journal_close(j);
}

TEST(test_journal__a_failed_flush_is_final)
{
    struct io *io = door_open();
    struct journal *j = fresh(io, 4);
    uint64_t lsn = append(j, 1), other;

    log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    door_fail_sync = 1;
    CHECK_ERR(journal_flush(j, lsn), -E_FAILED);
    CHECK_ERR(journal_flush(j, lsn), -E_FAILED);
    CHECK_ERR(append_len(j, 2, 8, &other), -E_FAILED);
    CHECK(journal_flushed(j) < lsn);
    journal_close(j);
    log_set_fd(2);
}

TEST(test_journal__flush_syncs_the_segments_with_new_bytes_only)
{
    struct io *io = door_open();
    struct journal *j = fresh(io, 6);
    uint64_t lsn = append(j, 1);

    door_syncs = 0;
    CHECK_OK(journal_flush(j, lsn));
    CHECK_EQ(door_syncs, 1);
    CHECK_OK(journal_flush(j, lsn));
    CHECK_EQ(door_syncs, 1);
    append(j, 2);
    CHECK_OK(journal_switch(j));
    lsn = append(j, 3);
    CHECK_OK(journal_flush(j, lsn));
    CHECK_EQ(door_syncs, 3);
    journal_close(j);
}

struct crowd {
    struct journal *j;
    pthread_mutex_t order;
    int failed;
};

static void *crowd_sync(void *arg)
{
    struct crowd *c = arg;
    uint64_t lsn;
    int i, r;

    for (i = 0; i < 25; i++) {
        pthread_mutex_lock(&c->order);
        r = append_len(c->j, 5, 16, &lsn);
        pthread_mutex_unlock(&c->order);
        if (r < 0 || journal_flush(c->j, lsn) < 0 || journal_flushed(c->j) < lsn)
            __atomic_store_n(&c->failed, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

TEST(test_journal__waiting_flushers_share_one_sync)
{
    struct io *io = door_open();
    struct crowd c = {.order = PTHREAD_MUTEX_INITIALIZER};
    pthread_t t[8];
    struct seen s = {0};
    int i;

    c.j = fresh(io, 8);
    door_syncs = 0;
    door_sync_us = 2000;
    for (i = 0; i < 8; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, crowd_sync, &c), 0);
    for (i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(c.failed, 0);
    CHECK(door_syncs >= 25);
    CHECK(door_syncs <= 110); /* of 200 fsyncs */
    journal_close(c.j);
    c.j = open_replay(io, 0, &s, 0);
    CHECK_EQ(s.n, 200);
    journal_close(c.j);
}

/* --- headers ---------------------------------------------------------------------------------------------------------- */

TEST(test_journal__foreign_missing_and_short_segments_are_refused)
{
    struct uuid other = {{42}};
    struct journal *j = fresh(io_real(), 4);
    uint32_t newer = 99;
    uint8_t hdr[96];
    uint64_t sum;

    journal_close(j);
    CHECK_ERR(journal_open(io_real(), dir(), &other, &j, why), -E_JOURNAL);
    CHECK(strstr(why, "another store"));
    CHECK_EQ(rename(segment(1), "/tmp/never") == 0 ? 1 : 0, 0);
    CHECK_EQ(truncate(segment(2), 8192), 0);
    CHECK_ERR(journal_open(io_real(), dir(), &store, &j, why), -E_JOURNAL);
    CHECK(strstr(why, "cut short"));
    CHECK_EQ(unlink(segment(2)), 0);
    CHECK_ERR(journal_open(io_real(), dir(), &store, &j, why), -E_JOURNAL);
    CHECK(strstr(why, "missing"));
    CHECK_EQ(unlink(segment(3)), 0);
    CHECK_ERR(journal_open(io_real(), dir(), &store, &j, why), -E_JOURNAL);
    CHECK(strstr(why, "2 journal segments are there, 4 were made"));
    patch(0, 8, &newer, 4);
    fetch(0, 0, hdr, sizeof(hdr));
    sum = hash_sum(0, hdr, sizeof(hdr));
    patch(0, 96, &sum, 8);
    CHECK_ERR(journal_open(io_real(), dir(), &store, &j, why), -E_STORE_NEWER);
}

TEST(test_journal__create_refuses_what_cannot_work)
{
    CHECK_ERR(journal_create(io_real(), dir(), &store, SEG, 2), -E_INVAL);
    CHECK_ERR(journal_create(io_real(), dir(), &store, SEG + 1, 4), -E_INVAL);
    CHECK_ERR(journal_create(io_real(), dir(), &store, 4096, 4), -E_INVAL);
    CHECK_OK(journal_create(io_real(), dir(), &store, SEG, 3));
    CHECK_ERR(journal_create(io_real(), dir(), &store, SEG, 3), -E_EXIST);
}

static void hex(const uint8_t *p, size_t len, char *out)
{
    size_t i;

    for (i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", p[i]);
}

/* The format is what these bytes say: a change here is a new version. */
TEST(test_journal__golden_bytes_of_a_segment_header)
{
    uint8_t b[HDR];
    char text[300];
    size_t i;

    journal_test_boot_id(boot_a);
    CHECK_OK(journal_create(io_real(), dir(), &store, SEG, 3));
    journal_test_boot_id(NULL);
    fetch(1, 0, b, HDR);
    hex(b, 104, text);
    if (strcmp(text,
               "5652564a5345473101000000010000000102030405060708090a0b0c0d0e0f100000000000000000"
               "626f6f742d616161616161616161610000000000000000000000000000000000004000000000000000000000"
               "00000000030000000000000003de187759e1fc9e") != 0)
        test_fail(__FILE__, __LINE__, "%s", text);
    for (i = 104; i < HDR; i++)
        CHECK_EQ(b[i], 0);
}

TEST(test_journal__golden_bytes_of_a_record)
{
    const struct jput puts[2] = {
        {.key = (const uint8_t *)"key", .klen = 3, .val = (const uint8_t *)"value", .vlen = 5},
        {.op = 1, .level = 1, .owner_branch = 7, .owner_ino = 8, .key = (const uint8_t *)"k2", .klen = 2}};
    const struct jpayload payload = {0x1122, 0x3344, (const uint8_t *)"bytes", 5};
    struct jrec r = {.hdr = {.kind = 32,
                             .flags = JREC_PENDING,
                             .lsn = 5,
                             .flushed_lsn = 4,
                             .prev_sum = 0xabcdef,
                             .wall_ns = 1,
                             .vol = 2,
                             .tail_len = 6,
                             .vol_seq = 3,
                             .epoch = 4,
                             .group = 5,
                             .conn = 6,
                             .unique = 7,
                             .nputs = 2,
                             .npayloads = 1},
                     .puts = puts,
                     .payloads = &payload,
                     .tail = "\1\0\2\0hi"};
    uint8_t b[256];
    char text[520];

    CHECK_EQ(jrec_size(&r), 200);
    memset(b, 0xee, sizeof(b));
    jrec_encode(&r, 0x1234, b);
    CHECK_EQ(b[200], 0xee);
    hex(b, 200, text);
    if (strcmp(
            text,
            "5652564ac8000000200001000100000005000000000000000400000000000000efcdab0000000000"
            "010000000000000002000000060000000300000000000000040000000000000005000000000000000600000000000000"
            "0700000000000000020000000100000065ecbc293beaf787"
            "00000300050000000000000000000000000000006b657976616c7565"
            "01010200000000000700000008000000000000006b32"
            "22110000000000004433000000000000050000000000000062797465730100020068690000"
            "00") != 0)
        test_fail(__FILE__, __LINE__, "%s", text);
}

TEST(test_journal__what_was_encoded_is_parsed)
{
    const struct jput puts[2] = {
        {.key = (const uint8_t *)"key", .klen = 3, .val = (const uint8_t *)"value", .vlen = 5},
        {.op = 2, .level = 1, .owner_branch = 7, .owner_ino = 8}};
    const struct jpayload payload = {0x1122, 0x3344, (const uint8_t *)"bytes", 5};
    struct jrec r = {.hdr = {.lsn = 5, .prev_sum = 9, .tail_len = 2, .nputs = 2, .npayloads = 1},
                     .puts = puts,
                     .payloads = &payload,
                     .tail = "hi"};
    struct jrec_view v, again;
    struct jput p;
    struct jpayload y;
    uint8_t b[256];
    size_t n;

    jrec_encode(&r, 1, b);
    CHECK_OK(jrec_parse(b, sizeof(b), 9, 1, &v, &n));
    CHECK_EQ(n, jrec_size(&r));
    CHECK_EQ(jrec_next_put(&v, &p), 1);
    CHECK(p.klen == 3 && p.vlen == 5 && memcmp(p.val, "value", 5) == 0);
    again = v;
    CHECK_EQ(jrec_next_payload(&again, &y), 1); /* passes over the puts that are left */
    CHECK_EQ(jrec_next_put(&v, &p), 1);
    CHECK(p.op == 2 && p.owner_branch == 7 && p.owner_ino == 8 && p.klen == 0);
    CHECK_EQ(jrec_next_put(&v, &p), 0);
    CHECK_EQ(jrec_next_payload(&v, &y), 1);
    CHECK(y.object == 0x1122 && y.off == 0x3344 && y.len == 5 && memcmp(y.data, "bytes", 5) == 0);
    CHECK_EQ(jrec_next_payload(&v, &y), 0);
    CHECK(memcmp(v.tail, "hi", 2) == 0);
    CHECK_ERR(jrec_parse(b, sizeof(b), 8, 1, &v, &n), -E_CORRUPT);
    CHECK_ERR(jrec_parse(b, sizeof(b), 9, 2, &v, &n), -E_CORRUPT);
    CHECK_ERR(jrec_parse(b, n - 1, 9, 1, &v, &n), -E_CORRUPT);
}

/* Random bytes, and true records with random counts whose checksum fits: nothing is read beyond the end. */
TEST(test_journal__the_parser_stands_random_bytes)
{
    uint64_t seed = test_seed(), i, k;

    for (i = 0; i < 20000; i++) {
        size_t len = 112 + test_rand(&seed) % 40 * 8, n;
        uint8_t *b = malloc(len);
        struct jrec_hdr h;
        struct jrec_view v;
        struct jput p;
        struct jpayload y;
        int r;

        CHECK(b);
        for (k = 0; k < len; k++)
            b[k] = test_rand(&seed) % 3 ? 0 : (uint8_t)test_rand(&seed);
        memset(&h, 0, sizeof(h));
        h.magic = JREC_MAGIC;
        h.version = JREC_VERSION;
        h.len = (uint32_t)(test_rand(&seed) % 8 ? len : test_rand(&seed));
        h.nputs = (uint32_t)(test_rand(&seed) % (test_rand(&seed) % 2 ? 4 : 1u << 31));
        h.npayloads = (uint32_t)(test_rand(&seed) % 3);
        h.tail_len = (uint32_t)(test_rand(&seed) % (test_rand(&seed) % 4 ? 64 : UINT32_MAX));
        memcpy(b, &h, sizeof(h));
        { /* the sum that makes the parser go on to the body */
            uint8_t link[8] = {0};
            uint64_t sum = hash_sum(hash_sum(hash_sum(1, link, 8), b, 104), b + 112, len - 112);

            memcpy(b + 104, &sum, 8);
        }
        if (jrec_parse(b, len, 0, 1, &v, &n) == 0) {
            while ((r = jrec_next_put(&v, &p)) == 1)
                continue;
            CHECK_EQ(r, 0);
            while ((r = jrec_next_payload(&v, &y)) == 1)
                continue;
            CHECK_EQ(r, 0);
            CHECK(v.tail + v.hdr.tail_len <= b + len);
        }
        free(b);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
