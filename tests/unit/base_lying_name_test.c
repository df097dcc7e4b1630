#include "tests/unit/base_lying_case.h"

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

/* x moves out of p/q, then p moves below x: the second without the first would put p below itself. */
TEST(test_lying__moves_of_directories_land_in_order)
{
    cleanup(buf_free) struct buf b = {0};
    unsigned first = 0;
    int fd;

    disk_new();
    CHECK_OK(io_mkdir(io, at(0, "p"), 0700));
    CHECK_OK(io_mkdir(io, at(0, "p/q"), 0700));
    CHECK_OK(io_mkdir(io, at(0, "p/q/x"), 0700));
    CHECK_OK(io_mkdir(io, at(0, "r"), 0700));
    fd = make("p/f");
    CHECK_OK(io_syncfs(io, fd));
    CHECK_OK(io_rename(io, at(0, "p/q/x"), at(1, "r/x")));
    CHECK_OK(io_rename(io, at(0, "p"), at(1, "r/x/p")));
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        bool there, moved;

        crash(seed, LYING_MIXED);
        there = read_image("p/f", &b);
        moved = read_image("r/x/p/f", &b);
        CHECK(there != moved);
        first += there;
    }
    CHECK(first > 20 && first < SEEDS - 20);
    CHECK_OK(io_sync_dir(io, at(0, "r/x")));
    crash(1, LYING_NONE);
    CHECK(read_image("r/x/p/f", &b));
    disk_end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
