#include "tests/lib/lying.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "tests/lib/test.h"

#define SEEDS 300

static struct lying *disk;
static struct io *io;
static char root[160], paths[8][320], image[160];
static unsigned images;

static void disk_new(void)
{
    snprintf(root, sizeof(root), "%s/disk", test_dir());
    CHECK_OK(io_mkdir(io_real(), root, 0700));
    CHECK_OK(lying_new(root, &disk));
    io = lying_io(disk);
    images = 0;
}

static void disk_end(void)
{
    lying_free(disk);
    disk = NULL;
}

static const char *at(int slot, const char *name)
{
    snprintf(paths[slot], sizeof(paths[slot]), "%s/%s", root, name);
    return paths[slot];
}

static int make(const char *name)
{
    int fd = io_open(io, at(7, name), O_RDWR | O_CREAT, 0600);

    CHECK_OK(fd);
    return fd;
}

static void fill(int fd, char c, uint64_t off, size_t len)
{
    char *p = malloc(len);

    CHECK(p);
    memset(p, c, len);
    CHECK_OK(io_pwrite(io, fd, p, len, off));
    free(p);
}

static void crash(uint64_t seed, enum lying_mode mode)
{
    snprintf(image, sizeof(image), "%s/image%u", test_dir(), images++);
    CHECK_OK(lying_crash(disk, seed, mode, image));
}

/* read_image(name, b): contents of a file of the last image; false when it is not there. */
static bool read_image(const char *name, struct buf *b)
{
    char p[320];
    int r;

    snprintf(p, sizeof(p), "%s/%s", image, name);
    r = io_read_file(io_real(), p, 1 << 26, b);
    if (r == -E_NOENT)
        return false;
    CHECK_OK(r);
    return true;
}

static int remove_name(void *arg, const char *name);

static void remove_tree(const char *path)
{
    CHECK_OK(io_list(path, remove_name, (void *)path));
    CHECK_OK(io_rmdir(io_real(), path));
}

static int remove_name(void *arg, const char *name)
{
    char p[512];
    struct stat st;

    snprintf(p, sizeof(p), "%s/%s", (const char *)arg, name);
    CHECK_OK(io_stat(io_real(), p, &st));
    if (S_ISDIR(st.st_mode))
        remove_tree(p);
    else
        CHECK_OK(io_unlink(io_real(), p));
    return 0;
}

/* all_are(b, c, from, len): that many bytes c. */
static bool all_are(const struct buf *b, char c, size_t from, size_t len)
{
    for (size_t i = from; i < from + len; i++) {
        if (i >= b->len || b->data[i] != (uint8_t)c)
            return false;
    }
    return true;
}

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

TEST(test_lying__syncing_a_new_file_makes_its_name_durable)
{
    cleanup(buf_free) struct buf b = {0};
    bool empty = false;
    int fd;

    disk_new();
    fd = make("f");
    CHECK_OK(io_pwrite(io, fd, "data", 4, 0));
    crash(1, LYING_NONE);
    CHECK(!read_image("f", &b));
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        crash(seed, LYING_WRITES);
        empty |= read_image("f", &b) && b.len == 0;
    }
    CHECK(empty);
    CHECK_EQ(lying_unsynced_names(disk), 1);
    CHECK_OK(io_fdatasync(io, fd));
    CHECK_EQ(lying_unsynced_names(disk), 0);
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b));
    CHECK_EQ(b.len, 4);
    disk_end();
}

TEST(test_lying__syncing_a_directory_makes_names_durable_but_no_bytes)
{
    cleanup(buf_free) struct buf b = {0};
    int fd;

    disk_new();
    fd = make("f");
    CHECK_OK(io_pwrite(io, fd, "data", 4, 0));
    CHECK_OK(io_sync_dir(io, root));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b));
    CHECK_EQ(b.len, 0);
    disk_end();
}

/* replaces("old", "new"): two files f and g, synced; g renamed over f. */
static void replaced(void)
{
    int f = make("f"), g = make("g");

    CHECK_OK(io_pwrite(io, f, "old", 3, 0));
    CHECK_OK(io_pwrite(io, g, "new", 3, 0));
    CHECK_OK(io_fsync(io, f));
    CHECK_OK(io_fsync(io, g));
    CHECK_OK(io_rename(io, at(0, "g"), at(1, "f")));
}

TEST(test_lying__a_rename_is_atomic_and_may_vanish_without_fsync_of_the_directory)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned old = 0, fresh = 0;

    disk_new();
    replaced();
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        bool new_f, g;

        crash(seed, LYING_MIXED);
        CHECK(read_image("f", &b));
        CHECK_EQ(b.len, 3);
        new_f = memcmp(b.data, "new", 3) == 0;
        g = read_image("g", &b);
        CHECK(new_f != g);
        old += !new_f;
        fresh += new_f;
    }
    CHECK(old > 20 && fresh > 20);
    CHECK_OK(io_sync_dir(io, root));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b) && memcmp(b.data, "new", 3) == 0 && !read_image("g", &b));
    disk_end();
}

TEST(test_lying__fsync_of_a_file_does_not_make_its_rename_durable)
{
    cleanup(buf_free) struct buf b = {0};
    int fd;

    disk_new();
    replaced();
    fd = make("f");
    CHECK_OK(io_fsync(io, fd));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b) && memcmp(b.data, "old", 3) == 0);
    disk_end();
}

TEST(test_lying__names_land_in_order_within_a_directory_and_apart_between_two)
{
    cleanup(buf_free) struct buf b = {0};
    bool a_only = false, b_only = false;

    disk_new();
    CHECK_OK(io_mkdir(io, at(0, "a"), 0700));
    CHECK_OK(io_mkdir(io, at(1, "b"), 0700));
    CHECK_OK(io_sync_dir(io, root));
    make("a/1");
    make("b/1");
    make("a/2");
    make("b/2");
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        bool a1, a2, b1, b2;

        crash(seed, LYING_MIXED);
        a1 = read_image("a/1", &b);
        a2 = read_image("a/2", &b);
        b1 = read_image("b/1", &b);
        b2 = read_image("b/2", &b);
        CHECK(a1 || !a2);
        CHECK(b1 || !b2);
        a_only |= a2 && !b1;
        b_only |= b2 && !a1;
    }
    CHECK(a_only && b_only);
    CHECK_OK(io_sync_dir(io, at(0, "b")));
    crash(1, LYING_NONE);
    CHECK(read_image("b/2", &b) && !read_image("a/1", &b));
    disk_end();
}

TEST(test_lying__syncing_deep_below_makes_the_way_there_durable)
{
    cleanup(buf_free) struct buf b = {0};
    int fd;

    disk_new();
    CHECK_OK(io_mkdir(io, at(0, "a"), 0700));
    CHECK_OK(io_mkdir(io, at(0, "a/b"), 0700));
    CHECK_OK(io_mkdir(io, at(0, "c"), 0700));
    fd = make("a/b/f");
    CHECK_OK(io_fsync(io, fd));
    crash(1, LYING_NONE);
    CHECK(read_image("a/b/f", &b));
    CHECK_EQ(lying_unsynced_names(disk), 1);
    disk_end();
}

TEST(test_lying__unlink_and_rmdir_land_with_their_directory)
{
    cleanup(buf_free) struct buf b = {0};
    char p[320];
    struct stat st;
    int fd;

    disk_new();
    CHECK_OK(io_mkdir(io, at(0, "d"), 0700));
    fd = make("d/f");
    CHECK_OK(io_pwrite(io, fd, "x", 1, 0));
    CHECK_OK(io_syncfs(io, fd));
    CHECK_OK(io_unlink(io, at(1, "d/f")));
    CHECK_OK(io_pwrite(io, fd, "y", 1, 0));
    crash(1, LYING_NONE);
    CHECK(read_image("d/f", &b) && b.data[0] == 'x');
    CHECK_OK(io_close(io, fd));
    CHECK_OK(io_rmdir(io, at(0, "d")));
    CHECK_OK(io_sync_dir(io, root));
    crash(1, LYING_NONE);
    snprintf(p, sizeof(p), "%s/d", image);
    CHECK_ERR(io_stat(io_real(), p, &st), -E_NOENT);
    CHECK_EQ(lying_unsynced_names(disk), 0);
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

TEST(test_lying__crash_at_leaves_that_call_in_flight_and_ends_all_later)
{
    cleanup(buf_free) struct buf b = {0};
    struct stat st;
    char c[4];
    size_t n;
    int fd;

    disk_new();
    fd = make("f");
    CHECK_OK(io_fsync(io, fd));
    lying_crash_at(disk, 2);
    CHECK_OK(io_pwrite(io, fd, "1", 1, 0));
    CHECK(!lying_crashed(disk));
    CHECK_ERR(io_pwrite(io, fd, "2", 1, 4096), -E_CRASH);
    CHECK(lying_crashed(disk));
    CHECK_ERR(io_pwrite(io, fd, "3", 1, 8192), -E_CRASH);
    CHECK_ERR(io_fdatasync(io, fd), -E_CRASH);
    CHECK_ERR(io_pread(io, fd, c, 1, 0, &n), -E_CRASH);
    CHECK_ERR(io_stat(io, at(0, "f"), &st), -E_CRASH);
    CHECK_ERR(io_open(io, at(0, "g"), O_CREAT | O_WRONLY, 0600), -E_CRASH);
    CHECK_ERR(io_rename(io, at(0, "f"), at(1, "h")), -E_CRASH);
    CHECK_OK(io_close(io, fd));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b) && b.len == 0);
    crash(1, LYING_ALL);
    CHECK(read_image("f", &b) && b.len == 4097 && b.data[4096] == '2');
    CHECK(!read_image("g", &b) && !read_image("h", &b));
    disk_end();
}

TEST(test_lying__a_sync_in_flight_has_synced_nothing)
{
    cleanup(buf_free) struct buf b = {0};
    int fd;

    disk_new();
    fd = make("f");
    CHECK_OK(io_pwrite(io, fd, "1", 1, 0));
    lying_crash_at(disk, 1);
    CHECK_ERR(io_fsync(io, fd), -E_CRASH);
    crash(1, LYING_NONE);
    CHECK(!read_image("f", &b));
    disk_end();
}

TEST(test_lying__names_in_flight_land_or_not)
{
    cleanup(buf_free) struct buf b = {0};

    disk_new();
    replaced();
    CHECK_OK(io_sync_dir(io, root));
    lying_crash_at(disk, 1);
    CHECK_ERR(io_unlink(io, at(0, "f")), -E_CRASH);
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b));
    crash(1, LYING_ALL);
    CHECK(!read_image("f", &b));
    disk_end();
}

TEST(test_lying__a_kill_loses_nothing_but_leaves_it_unsynced)
{
    cleanup(buf_free) struct buf b = {0};
    char c[2];
    size_t n;
    int fd;

    disk_new();
    fd = make("f");
    CHECK_OK(io_fsync(io, fd));
    CHECK_OK(io_pwrite(io, fd, "1", 1, 0));
    lying_kill_at(disk, 1);
    CHECK_ERR(io_fdatasync(io, fd), -E_CRASH);
    CHECK_ERR(io_pwrite(io, fd, "2", 1, 0), -E_CRASH);
    lying_revive(disk);
    fd = io_open(io, at(0, "f"), O_RDWR, 0);
    CHECK_OK(fd);
    CHECK_OK(io_pread(io, fd, c, 2, 0, &n));
    CHECK(n == 1 && c[0] == '1');
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b) && b.len == 0);
    CHECK_OK(io_fdatasync(io, fd));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b) && b.len == 1);
    disk_end();
}

TEST(test_lying__a_kill_may_cut_a_write_at_a_page)
{
    bool seen[4] = {0};
    struct stat st;
    int fd;

    disk_new();
    for (int i = 0; i < 40; i++) {
        fd = make("f");
        CHECK_OK(io_truncate(io, fd, 0));
        for (int k = 0; k < i; k++) /* moves the point in the run */
            CHECK_OK(io_fsync(io, fd));
        lying_kill_at(disk, 1);
        {
            char big[3 * 4096] = {1};

            CHECK_ERR(io_pwrite(io, fd, big, sizeof(big), 0), -E_CRASH);
        }
        lying_revive(disk);
        CHECK_OK(io_stat(io, at(0, "f"), &st));
        CHECK(st.st_size % 4096 == 0 && st.st_size <= 12288);
        seen[st.st_size / 4096] = true;
    }
    CHECK(seen[0] && seen[1] && seen[2] && seen[3]);
    disk_end();
}

TEST(test_lying__faults_hit_the_nth_call_of_their_kind)
{
    struct stat st;
    int fd;

    disk_new();
    fd = make("f");
    lying_fail_at(disk, LYING_WRITE, 2, -E_NOSPC);
    CHECK_OK(io_pwrite(io, fd, "1", 1, 0));
    CHECK_OK(io_fdatasync(io, fd));
    CHECK_ERR(io_pwrite(io, fd, "2", 1, 1), -E_NOSPC);
    CHECK_OK(io_pwrite(io, fd, "3", 1, 2));
    CHECK_EQ(lying_faults(disk), 1);
    CHECK_EQ(lying_count(disk, LYING_WRITE), 3);
    lying_fail_from(disk, LYING_SPACE, 2, -E_NOSPC);
    CHECK_OK(io_close(io, make("g")));
    CHECK_ERR(io_open(io, at(0, "h"), O_CREAT | O_WRONLY, 0600), -E_NOSPC);
    CHECK_ERR(io_mkdir(io, at(0, "d"), 0700), -E_NOSPC);
    CHECK_ERR(io_pwrite(io, fd, "1", 1, 0), -E_NOSPC);
    CHECK_OK(io_unlink(io, at(0, "g")));
    lying_fail_off(disk);
    CHECK_OK(io_mkdir(io, at(0, "d"), 0700));
    lying_fail_at(disk, LYING_WRITE | LYING_PARTIAL, 1, -E_IO);
    CHECK_OK(io_truncate(io, fd, 0));
    CHECK_ERR(io_pwrite(io, fd, "12345678", 8, 0), -E_IO);
    CHECK_OK(io_fstat(io, fd, &st));
    CHECK_EQ(st.st_size, 4);
    lying_fail_at(disk, LYING_READ | LYING_OPEN | LYING_STAT, 1, -E_IO);
    CHECK_ERR(io_fstat(io, fd, &st), -E_IO);
    lying_fail_at(disk, LYING_RENAME, 1, -E_IO);
    CHECK_ERR(io_rename(io, at(0, "f"), at(1, "k")), -E_IO);
    CHECK_OK(io_rename(io, at(0, "f"), at(1, "k")));
    disk_end();
}

TEST(test_lying__what_a_failed_sync_lost_no_later_sync_brings_back)
{
    cleanup(buf_free) struct buf b = {0};
    bool lands = false;
    int fd;

    disk_new();
    fd = make("f");
    fill(fd, '-', 0, 8192);
    CHECK_OK(io_fsync(io, fd));
    fill(fd, '1', 0, 10);
    fill(fd, '2', 4096, 10);
    lying_fail_at(disk, LYING_SYNC, 1, -E_IO);
    CHECK_ERR(io_fdatasync(io, fd), -E_IO);
    CHECK_OK(io_fdatasync(io, fd));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b) && b.data[0] == '-' && b.data[4096] == '-');
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        crash(seed, LYING_PAGES);
        CHECK(read_image("f", &b));
        lands |= b.data[0] == '1';
    }
    CHECK(lands);
    fill(fd, '3', 4000, 10); /* dirties the first page anew: it lands whole */
    CHECK_OK(io_fdatasync(io, fd));
    crash(1, LYING_NONE);
    CHECK(read_image("f", &b) && b.data[0] == '1' && b.data[4000] == '3' && b.data[4096] == '-');
    disk_end();
}

TEST(test_lying__replace_is_old_or_new_at_every_call)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned old = 0, fresh = 0;
    int r = -E_CRASH;

    for (uint64_t n = 1; r == -E_CRASH; n++) {
        disk_new();
        CHECK_OK(io_replace(io, at(0, "v"), "old contents", 12));
        lying_crash_at(disk, n);
        r = io_replace(io, at(0, "v"), "new", 3);
        for (uint64_t seed = 0; seed < 60; seed++) {
            crash(seed, LYING_MIXED);
            CHECK(read_image("v", &b));
            CHECK((b.len == 12 && memcmp(b.data, "old contents", 12) == 0 && r < 0) ||
                  (b.len == 3 && memcmp(b.data, "new", 3) == 0));
            old += b.len == 12;
            fresh += b.len == 3;
            remove_tree(image);
        }
        disk_end();
        remove_tree(root);
    }
    CHECK_OK(r);
    CHECK(old > 60 && fresh > 60);
}

TEST(test_lying__replace_without_its_sync_is_caught)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned wrong = 0;
    int fd;

    disk_new();
    CHECK_OK(io_replace(io, at(0, "v"), "old", 3));
    fd = make("v.new");
    CHECK_OK(io_pwrite(io, fd, "new", 3, 0));
    CHECK_OK(io_rename(io, at(0, "v.new"), at(1, "v")));
    CHECK_OK(io_sync_dir(io, root));
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        crash(seed, LYING_WRITES);
        CHECK(read_image("v", &b));
        wrong += b.len == 0;
    }
    CHECK(wrong > 20);
    disk_end();
}

struct listing {
    char path[400];
    size_t root_len;
    uint64_t sum; /* of all names and contents, in any order */
};

static int list_one(void *arg, const char *name)
{
    struct listing *l = arg;
    cleanup(buf_free) struct buf b = {0};
    size_t len = strlen(l->path);
    struct stat st;

    snprintf(l->path + len, sizeof(l->path) - len, "/%s", name);
    CHECK_OK(io_stat(io_real(), l->path, &st));
    CHECK_OK(buf_puts(&b, "dir"));
    if (S_ISREG(st.st_mode))
        CHECK_OK(io_read_file(io_real(), l->path, 1 << 26, &b));
    else
        CHECK_OK(io_list(l->path, list_one, l));
    l->sum += hash_sum(hash_sum(0, l->path + l->root_len, strlen(l->path + l->root_len)), b.data, b.len);
    l->path[len] = 0;
    return 0;
}

static uint64_t tree_sum(const char *dir)
{
    struct listing l = {.root_len = strlen(dir)};

    snprintf(l.path, sizeof(l.path), "%s", dir);
    CHECK_OK(io_list(dir, list_one, &l));
    return l.sum;
}

static void random_contents(uint64_t *s, const char *name)
{
    int fd = io_open(io, at(0, name),
                     O_RDWR | (test_rand(s) % 2 ? O_CREAT : 0) | (test_rand(s) % 8 ? 0 : O_TRUNC), 0600);
    uint64_t off = test_rand(s) % 20000, len = test_rand(s) % 9000 + 1;

    if (fd < 0)
        return;
    switch (test_rand(s) % 4) {
    case 0: CHECK_OK(io_truncate(io, fd, off)); break;
    case 1: CHECK_OK(io_punch(io, fd, off, len)); break;
    default: fill(fd, (char)('a' + test_rand(s) % 26), off, len);
    }
    CHECK_OK(io_close(io, fd));
}

static void random_step(uint64_t *s)
{
    static const char *const names[] = {"f", "g", "h", "d/f", "d/g", "e/f", "e/d/f"};
    static const char *const dirs[] = {"d", "e", "e/d"};
    const char *a = names[test_rand(s) % ARRAY_LEN(names)], *b = names[test_rand(s) % ARRAY_LEN(names)];
    const char *d = dirs[test_rand(s) % ARRAY_LEN(dirs)], *e = dirs[test_rand(s) % ARRAY_LEN(dirs)];

    switch (test_rand(s) % 10) {
    case 0: (void)io_mkdir(io, at(0, d), 0700); break;
    case 1: (void)io_rmdir(io, at(0, d)); break;
    case 2: (void)io_unlink(io, at(0, a)); break;
    case 3: (void)io_rename(io, at(0, a), at(1, b)); break;
    case 4: (void)io_rename(io, at(0, d), at(1, e)); break;
    default: random_contents(s, a);
    }
}

static void random_sync(uint64_t *s)
{
    static const char *const names[] = {"f", "g", "d", "d/f", "e", "e/d", "e/d/f", ""};
    int fd = io_open(io, at(0, names[test_rand(s) % ARRAY_LEN(names)]), O_RDONLY, 0);

    if (fd < 0)
        return;
    CHECK_OK(io_fsync(io, fd));
    CHECK_OK(io_close(io, fd));
}

TEST(test_lying__all_is_what_the_process_saw_and_none_what_syncfs_saw)
{
    uint64_t s = test_seed();

    for (int run = 0; run < 60; run++) {
        uint64_t synced;
        int fd;

        disk_new();
        for (int i = 0; i < 60; i++) {
            random_step(&s);
            if (test_rand(&s) % 4 == 0)
                random_sync(&s);
            if (i % 10 == 9) {
                crash(s, LYING_ALL);
                CHECK_EQ(tree_sum(image), tree_sum(root));
                remove_tree(image);
            }
        }
        fd = io_open(io, root, O_RDONLY | O_DIRECTORY, 0);
        CHECK_OK(io_syncfs(io, fd));
        synced = tree_sum(root);
        for (int i = 0; i < 30; i++)
            random_step(&s);
        crash(s, LYING_NONE);
        CHECK_EQ(tree_sum(image), synced);
        remove_tree(image);
        for (int i = 0; i < 30; i++) {
            crash(test_rand(&s), LYING_MIXED); /* every choice is a tree that can be made */
            remove_tree(image);
        }
        lying_settle(disk);
        crash(s, LYING_NONE);
        CHECK_EQ(tree_sum(image), tree_sum(root));
        remove_tree(image);
        disk_end();
        remove_tree(root);
    }
}

TEST(test_lying__an_image_is_the_same_for_the_same_seed)
{
    uint64_t s = test_seed(), sum, differs = 0;

    disk_new();
    for (int i = 0; i < 60; i++)
        random_step(&s);
    crash(0, LYING_MIXED);
    sum = tree_sum(image);
    for (uint64_t seed = 1; seed < 20; seed++) {
        crash(seed, LYING_MIXED);
        differs += tree_sum(image) != sum;
        sum = tree_sum(image);
        crash(seed, LYING_MIXED);
        CHECK_EQ(tree_sum(image), sum);
    }
    CHECK(differs > 5);
    CHECK_ERR(lying_crash(disk, 0, LYING_ALL, test_dir()), -E_NOTEMPTY);
    disk_end();
}

TEST(test_lying__an_image_is_a_disk_again)
{
    cleanup(buf_free) struct buf b = {0};
    struct lying *second;
    char p[320];
    int fd;

    disk_new();
    CHECK_OK(io_mkdir(io, at(0, "d"), 0700));
    fd = make("d/f");
    fill(fd, 'x', 4000, 200);
    crash(1, LYING_ALL);
    CHECK_OK(lying_new(image, &second));
    snprintf(p, sizeof(p), "%s/d/f", image);
    fd = io_open(lying_io(second), p, O_RDWR, 0);
    CHECK_OK(fd);
    CHECK_OK(io_pwrite(lying_io(second), fd, "y", 1, 4000));
    disk_end();
    disk = second;
    snprintf(root, sizeof(root), "%s", image);
    crash(1, LYING_NONE);
    CHECK(read_image("d/f", &b) && b.len == 4200 && b.data[4000] == 'x' && b.data[3999] == 0);
    disk_end();
}

TEST(test_lying__trace_tells_every_call)
{
    cleanup(buf_free) struct buf b = {0};
    int fd;

    disk_new();
    lying_trace(disk, &b);
    fd = make("f");
    CHECK_OK(io_pwrite(io, fd, "abc", 3, 8));
    CHECK_OK(io_fdatasync(io, fd));
    CHECK_OK(io_rename(io, at(0, "f"), at(1, "g")));
    CHECK_ERR(io_unlink(io, at(0, "none")), -E_NOENT);
    CHECK_OK(io_sync_dir(io, root));
    lying_trace(disk, NULL);
    CHECK_OK(io_close(io, fd));
    if (strcmp(buf_cstr(&b), "create f\nwrite f 8 3\nfdatasync f\nrename f\nrename-to g\nunlink none NOENT\n"
                             "open \nfsync \nclose \n") != 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&b));
    disk_end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
