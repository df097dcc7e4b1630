#include "tests/unit/base_lying_case.h"

TEST(test_lying__a_write_lands_when_synced_and_else_as_the_mode_says)
{
    cleanup(buf_free) struct buf b = {0};
    int fd;

    disk_new();
    fd = make("f");
    CHECK_OK(io_fsync(io, fd));
    CHECK_OK(io_pwrite(io, fd, "hello", 5, 0));
    CHECK_EQ(lying_unsynced(disk, at(0, "f")), 5);
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b));
    CHECK_EQ(b.len, 0);
    crash(1, LYING_ALL);
    CHECK(read_image("f", &b));
    CHECK(b.len == 5 && memcmp(b.data, "hello", 5) == 0);
    CHECK_OK(io_fdatasync(io, fd));
    CHECK_EQ(lying_unsynced(disk, NULL), 0);
    CHECK_OK(io_pwrite(io, fd, "HE", 2, 0));
    CHECK_OK(io_sync_range(io, fd, 0, 4096));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b));
    CHECK(b.len == 5 && memcmp(b.data, "hello", 5) == 0);
    CHECK_OK(io_syncfs(io, fd));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b));
    CHECK(memcmp(b.data, "HEllo", 5) == 0);
    disk_end();
}

TEST(test_lying__a_dsync_descriptor_syncs_its_own_pages_only)
{
    cleanup(buf_free) struct buf b = {0};
    int fd, dsync;

    disk_new();
    fd = make("f");
    fill(fd, 'o', 0, 12288);
    CHECK_OK(io_fsync(io, fd));
    dsync = io_open(io, at(0, "f"), O_WRONLY | O_DSYNC, 0);
    CHECK_OK(dsync);
    fill(fd, 'a', 0, 4096);
    fill(fd, 'b', 4096, 100);
    fill(dsync, 'c', 4196, 100);
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b));
    CHECK(all_are(&b, 'o', 0, 4096));
    CHECK(all_are(&b, 'b', 4096, 100));
    CHECK(all_are(&b, 'c', 4196, 100));
    CHECK(all_are(&b, 'o', 4296, 12288 - 4296));
    disk_end();
}

TEST(test_lying__in_a_page_a_later_write_never_lands_without_the_earlier)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned seen[3] = {0};
    int fd;

    disk_new();
    fd = make("f");
    fill(fd, '-', 0, 4096);
    CHECK_OK(io_fsync(io, fd));
    fill(fd, '1', 100, 10);
    fill(fd, '2', 200, 10);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        crash(seed, LYING_MIXED);
        CHECK(read_image("f", &b));
        CHECK(b.data[100] == '1' || b.data[200] == '-');
        seen[(b.data[100] == '1') + (b.data[200] == '2')]++;
    }
    CHECK(seen[0] > 20 && seen[1] > 20 && seen[2] > 20);
    disk_end();
}

TEST(test_lying__pages_land_in_any_order)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned seen[LYING_MODES][2][2] = {0};
    int fd;

    disk_new();
    fd = make("f");
    fill(fd, '-', 0, 8192);
    CHECK_OK(io_fsync(io, fd));
    fill(fd, '1', 0, 4096);
    fill(fd, '2', 4096, 4096);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        for (enum lying_mode m = 0; m < LYING_MODES; m++) {
            crash(seed, m);
            CHECK(read_image("f", &b));
            CHECK_EQ(b.len, 8192);
            seen[m][b.data[0] == '1'][b.data[4096] == '2']++;
        }
    }
    CHECK_EQ(seen[LYING_NONE][0][0], SEEDS);
    CHECK_EQ(seen[LYING_ALL][1][1], SEEDS);
    CHECK_EQ(seen[LYING_PREFIX][0][1], 0);
    CHECK(seen[LYING_PREFIX][1][0] > 20 && seen[LYING_PREFIX][0][0] > 20 && seen[LYING_PREFIX][1][1] > 20);
    for (int i = 0; i < 4; i++)
        CHECK(seen[LYING_PAGES][i / 2][i % 2] > 20 && seen[LYING_WRITES][i / 2][i % 2] > 20);
    disk_end();
}

/* tears(b, size): whether some page holds old and new sectors; fails on a sector that is neither. */
static bool tears(const struct buf *b, size_t size)
{
    bool torn = false;

    CHECK_EQ(b->len, size);
    for (size_t s = 0; s < size; s += 512) {
        CHECK(all_are(b, '-', s, 512) || all_are(b, 'n', s, 512));
        torn |= b->data[s] != b->data[s / 4096 * 4096];
    }
    return torn;
}

TEST(test_lying__only_torn_mode_tears_and_only_at_512_bytes)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned torn[LYING_MODES] = {0}, half = 0;
    int fd;

    disk_new();
    fd = make("f");
    fill(fd, '-', 0, 16384);
    CHECK_OK(io_fsync(io, fd));
    fill(fd, 'n', 0, 16384);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        for (enum lying_mode m = 0; m < LYING_MODES; m++) {
            crash(seed, m);
            CHECK(read_image("f", &b));
            torn[m] += tears(&b, 16384);
            half += m == LYING_WRITES && memchr(b.data, 'n', b.len) && memchr(b.data, '-', b.len);
        }
    }
    CHECK_EQ(half, 0);
    CHECK(torn[LYING_TORN] > SEEDS * 9 / 10);
    CHECK_EQ(torn[LYING_NONE] + torn[LYING_ALL] + torn[LYING_PREFIX] + torn[LYING_WRITES] + torn[LYING_PAGES],
             0);
    disk_end();
}

TEST(test_lying__a_hole_before_a_landed_write_reads_as_zeros)
{
    cleanup(buf_free) struct buf b = {0};
    bool hole = false;
    int fd;

    disk_new();
    fd = make("f");
    CHECK_OK(io_fsync(io, fd));
    fill(fd, '1', 0, 4096);
    fill(fd, '2', 4096, 10);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        crash(seed, LYING_PAGES);
        CHECK(read_image("f", &b));
        hole |= b.len == 4106 && all_are(&b, 0, 0, 4096) && all_are(&b, '2', 4096, 10);
    }
    CHECK(hole);
    disk_end();
}

TEST(test_lying__truncates_land_in_order_and_new_blocks_only_after_them)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned old = 0, cut = 0, fresh = 0;
    int fd;

    disk_new();
    fd = make("f");
    fill(fd, 'o', 0, 8192);
    CHECK_OK(io_fsync(io, fd));
    CHECK_OK(io_truncate(io, fd, 0));
    fill(fd, 'n', 4096, 4096);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        crash(seed, LYING_PAGES);
        CHECK(read_image("f", &b));
        if (b.len == 0) {
            cut++;
        } else if (b.data[0] == 'o') {
            CHECK(all_are(&b, 'o', 0, 8192));
            old++;
        } else {
            CHECK(all_are(&b, 0, 0, 4096) && all_are(&b, 'n', 4096, 4096));
            fresh++;
        }
    }
    CHECK(old > 20 && cut > 20 && fresh > 20);
    CHECK_OK(io_fdatasync(io, fd));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b));
    CHECK(all_are(&b, 0, 0, 4096) && all_are(&b, 'n', 4096, 4096));
    disk_end();
}

TEST(test_lying__a_write_in_place_may_land_before_an_earlier_truncate)
{
    cleanup(buf_free) struct buf b = {0};
    bool early = false, zeroed = false;
    int fd;

    disk_new();
    fd = make("f");
    fill(fd, 'o', 0, 12288);
    CHECK_OK(io_fsync(io, fd));
    CHECK_OK(io_truncate(io, fd, 4096 + 100));
    fill(fd, 'n', 0, 10);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        crash(seed, LYING_PAGES);
        CHECK(read_image("f", &b));
        CHECK(b.len == 12288 || b.len == 4196);
        early |= b.len == 12288 && b.data[0] == 'n';
        zeroed |= b.len == 12288 && b.data[4195] == 'o' && b.data[4196] == 0 && b.data[8191] == 0 &&
                  b.data[8192] == 'o';
    }
    CHECK(early && zeroed);
    disk_end();
}

TEST(test_lying__a_punch_lands_whole_or_not)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned landed = 0, not_landed = 0;
    int fd;

    disk_new();
    fd = make("f");
    fill(fd, 'o', 0, 16384);
    CHECK_OK(io_fsync(io, fd));
    CHECK_OK(io_punch(io, fd, 4096, 8192));
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        crash(seed, LYING_MIXED);
        CHECK(read_image("f", &b));
        CHECK_EQ(b.len, 16384);
        CHECK(all_are(&b, 'o', 0, 4096) && all_are(&b, 'o', 12288, 4096));
        CHECK(all_are(&b, 'o', 4096, 8192) || all_are(&b, 0, 4096, 8192));
        landed += b.data[4096] == 0;
        not_landed += b.data[4096] != 0;
    }
    CHECK(landed > 20 && not_landed > 20);
    disk_end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
