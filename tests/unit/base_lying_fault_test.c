#include "tests/unit/base_lying_case.h"

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
