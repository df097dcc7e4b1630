/* The journal: what was appended comes back, laps and room, failing disks. */
#include "tests/unit/journal_case.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"

/* --- a door that counts and fails ------------------------------------------------------------------------------------- */

static struct io_ops door_ops;
static struct io door = {&door_ops};
static int door_syncs, door_fail_write, door_fail_sync; /* fail the n-th from here; 0 never */
static int door_sync_us;

/* Pages of segments that were written, by descriptor; how often one was begun with less than all of it. */
static bool door_begun[64][SEG / 4096];
static unsigned door_parts;

static void door_note(int fd, size_t len, uint64_t off)
{
    for (uint64_t at = off / 4096; fd < 64 && at * 4096 < off + len && at < SEG / 4096; at++) {
        bool part = at * 4096 < off || (at + 1) * 4096 > off + len;

        door_parts += part && !door_begun[fd][at];
        door_begun[fd][at] = true;
    }
}

static int door_pwrite(struct io *io, int fd, const void *p, size_t len, uint64_t off)
{
    (void)io;
    door_note(fd, len, off);
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

/* first_lsn in the header that a range begins with. */
static uint64_t range_lsn(const struct io_range *r)
{
    uint8_t b[8];

    CHECK_EQ(r->off, 0);
    CHECK_EQ(r->len, 1u << 20);
    CHECK_EQ(pread(r->fd, b, sizeof(b), 56), sizeof(b));
    return get_le64(b);
}

TEST(test_journal__what_a_replay_will_read_is_told_in_its_order)
{
    struct io_range r[8];
    struct journal *j;
    struct seen s;
    uint64_t lsn = 0;

    CHECK_OK(journal_create(io_real(), dir(), &store, 1 << 20, 6));
    j = reopen(io_real(), 0, &s);
    for (uint64_t i = 0; i < 12; i++)
        CHECK_OK(append_len(j, i, 300000, &lsn)); /* three in a segment */
    journal_close(j);
    CHECK_OK(journal_open(io_real(), dir(), &store, &j, why));
    CHECK_EQ(journal_ranges(j, 0, r, ARRAY_LEN(r)), 4);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(range_lsn(&r[i]), lsn - 11 + 3 * i);
    CHECK_EQ(journal_ranges(j, 0, r, 3), 3);
    CHECK_EQ(range_lsn(&r[2]), lsn - 5);
    CHECK_EQ(journal_ranges(j, lsn - 4, r, ARRAY_LEN(r)), 2);
    CHECK_EQ(range_lsn(&r[0]), lsn - 5);
    CHECK_EQ(range_lsn(&r[1]), lsn - 2);
    CHECK_EQ(journal_ranges(j, lsn, r, ARRAY_LEN(r)), 1);
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

/* Of a page that is not in memory the kernel would first have to read what is kept. */
TEST(test_journal__no_page_is_begun_in_part)
{
    struct journal *j = fresh(door_open(), 6);
    uint64_t lsn;

    memset(door_begun, 0, sizeof(door_begun));
    door_parts = 0;
    for (uint64_t i = 0; i < 120; i++)
        CHECK_OK(append_len(j, i, i % 20 == 0 ? 2000 : 64, &lsn));
    CHECK_OK(append_len(j, 120, 9000, &lsn));
    CHECK_EQ(door_parts, 0);
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

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
