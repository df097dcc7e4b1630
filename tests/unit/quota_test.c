/* Operations of several steps that meet the quota half-way: a copy answers with what it did, a reservation does nothing. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/volume.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1ull << 20)
#define ZERO_KEEP (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)

static void open_with(struct rig *g, uint64_t limit)
{
    rig_open(g);
    CHECK_OK(volume_resize(g->b.v, limit));
}

/* So many blocks are left. */
static void leave(struct rig *g, uint64_t blocks)
{
    struct volume_info i;

    CHECK_OK(volume_get_info(g->b.v, &i));
    CHECK_OK(volume_resize(g->b.v, i.used_bytes + blocks * BLOCK_SIZE));
}

static uint64_t used(struct rig *g)
{
    struct volume_info i;

    CHECK_OK(volume_get_info(g->b.v, &i));
    return i.used_bytes / BLOCK_SIZE;
}

static struct vfs_attr attr(struct rig *g, const char *path)
{
    struct vfs_attr a;

    CHECK_OK(vfs_getattr(g->b.v, rig_node(g, path), &a));
    return a;
}

static bool same(const struct vfs_attr *a, const struct vfs_attr *b)
{
    return a->size == b->size && a->blocks512 == b->blocks512 && a->mode == b->mode &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec &&
           a->ctime.tv_sec == b->ctime.tv_sec && a->ctime.tv_nsec == b->ctime.tv_nsec;
}

static int copy(struct rig *g, const char *from, uint64_t off, const char *to, uint64_t to_off, uint64_t len,
                uint64_t *done)
{
    return vfs_copy(g->b.v, &g->b.c, rig_node(g, from), off, rig_node(g, to), to_off, len, done);
}

static int allocate(struct rig *g, const char *path, int mode, uint64_t off, uint64_t len)
{
    return vfs_fallocate(g->b.v, &g->b.c, rig_node(g, path), mode, off, len);
}

/* The space held for an operation is given back, whatever its end. */
static void nothing_held(struct rig *g)
{
    CHECK_EQ(g->b.v->reserved_blocks, 0);
}

static uint8_t shifted(uint64_t off)
{
    return rig_a(off - 100);
}

TEST(test_quota__a_copy_of_bytes_tells_what_it_did)
{
    uint64_t done = 0;
    struct rig g;

    open_with(&g, 16 * MIB);
    rig_write(&g, "a", 0, 3 * MIB, rig_a);
    rig_write(&g, "b", 0, 100, rig_zero);
    leave(&g, 600);
    CHECK_OK(
        copy(&g, "a", 0, "b", 100, 3 * MIB, &done)); /* other places in their blocks: nothing is shared */
    CHECK_EQ(done, 2 * MIB);
    CHECK_EQ(rig_size(&g, "b"), 2 * MIB + 100);
    rig_expect(&g, "b", 100, 2 * MIB, shifted);
    struct vfs_attr before = attr(&g, "b"), after;
    CHECK_ERR(copy(&g, "a", done, "b", 100 + done, MIB, &done), -E_QUOTA);
    after = attr(&g, "b");
    CHECK(same(&before, &after));
    nothing_held(&g);
    rig_close(&g);
}

TEST(test_quota__a_copy_that_shares_tells_what_it_did)
{
    uint64_t done = 0;
    struct rig g;

    open_with(&g, 16 * MIB);
    rig_write(&g, "a", 0, MIB, rig_a);
    rig_write(&g, "b", 0, 8192, rig_zero);
    leave(&g, 100);
    CHECK_OK(copy(&g, "a", 100, "b", 100, MIB - 200, &done)); /* the head needs nothing, the blocks 253 */
    CHECK_EQ(done, 3996);
    rig_expect(&g, "b", 100, 3996, rig_a);
    CHECK_EQ(rig_size(&g, "b"), 8192);
    leave(&g, 253);
    CHECK_OK(copy(&g, "a", 4096, "b", 4096, MIB - 100 - 4096, &done)); /* the last bytes need one more */
    CHECK_EQ(done, MIB - 8192);
    CHECK_EQ(rig_size(&g, "b"), MIB - 4096);
    rig_expect(&g, "b", 100, MIB - 4096 - 100, rig_a);
    nothing_held(&g);
    rig_close(&g);
}

TEST(test_quota__a_copy_without_room_changes_nothing)
{
    static const uint64_t sizes[] = {0, 10, 50000}; /* empty, in the tables, in an object */

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct vfs_attr before, after;
        uint64_t done = 77;
        struct rig g;

        open_with(&g, 16 * MIB);
        rig_write(&g, "a", 0, MIB, rig_a);
        rig_write(&g, "b", 0, 50000, rig_b);
        box_truncate(&g.b, g.b.v, "b", sizes[i]);
        CHECK_OK(allocate(&g, "b", FALLOC_FL_KEEP_SIZE, 2 * MIB, MIB));
        leave(&g, 20);
        before = attr(&g, "b");
        CHECK_ERR(copy(&g, "a", 0, "b", 4 * MIB, MIB, &done), -E_QUOTA); /* far beyond the end */
        CHECK_ERR(copy(&g, "a", 0, "b", 65536, MIB, &done), -E_QUOTA);
        after = attr(&g, "b");
        CHECK_EQ(done, 77);
        CHECK(same(&before, &after));
        rig_expect(&g, "b", 0, sizes[i], rig_b);
        nothing_held(&g);
        rig_close(&g);
    }
}

TEST(test_quota__a_reservation_is_whole_or_not_at_all)
{
    struct vfs_attr before, after;
    struct rig g;

    open_with(&g, 100 * MIB);
    rig_write(&g, "f", 0, 50000, rig_a);
    before = attr(&g, "f");
    uint64_t was = used(&g);
    CHECK_ERR(allocate(&g, "f", 0, 0, 101 * MIB), -E_QUOTA); /* the first part of it would fit */
    CHECK_ERR(allocate(&g, "f", FALLOC_FL_KEEP_SIZE, 1000, 101 * MIB), -E_QUOTA);
    CHECK_ERR(allocate(&g, "f", FALLOC_FL_ZERO_RANGE, 1000, 101 * MIB), -E_QUOTA);
    CHECK_ERR(allocate(&g, "f", 0, 5000, 1ull << 42), -E_QUOTA);
    after = attr(&g, "f");
    CHECK(same(&before, &after));
    CHECK_EQ(used(&g), was);
    rig_expect(&g, "f", 0, 50000, rig_a);
    nothing_held(&g);
    CHECK_OK(allocate(&g, "f", 0, 0, 100 * MIB));
    CHECK_EQ(used(&g), 100 * MIB / BLOCK_SIZE);
    CHECK_OK(allocate(&g, "f", FALLOC_FL_ZERO_RANGE, 1000, 99 * MIB)); /* takes what it gives up */
    CHECK_EQ(used(&g), 100 * MIB / BLOCK_SIZE);
    rig_expect(&g, "f", 0, 1000, rig_a);
    rig_expect(&g, "f", 1000, 50000, rig_zero);
    CHECK_ERR(allocate(&g, "f", 0, 100 * MIB, 1), -E_QUOTA);
    nothing_held(&g);
    rig_close(&g);
}

/* In the tables a size counts whole blocks; beyond them the file moves to an object, which costs nothing by itself. */
TEST(test_quota__a_reservation_of_a_small_file)
{
    struct vfs_attr before, after;
    struct rig g;

    open_with(&g, 16 * MIB);
    rig_write(&g, "pad", 0, 2 * MIB, rig_b); /* no volume is smaller than 1 MiB */
    rig_write(&g, "f", 0, 1000, rig_a);
    leave(&g, 0);
    CHECK_OK(allocate(&g, "f", FALLOC_FL_ZERO_RANGE, 500, 3000));
    CHECK_EQ(rig_size(&g, "f"), 3500);
    before = attr(&g, "f");
    CHECK_ERR(allocate(&g, "f", FALLOC_FL_ZERO_RANGE, 100, 5000), -E_QUOTA);
    CHECK_ERR(allocate(&g, "f", ZERO_KEEP, 100, 100000), -E_QUOTA);
    CHECK_ERR(allocate(&g, "f", 0, 0, 100000), -E_QUOTA);
    after = attr(&g, "f");
    CHECK(same(&before, &after));
    CHECK_EQ(before.flags, after.flags);
    rig_expect(&g, "f", 0, 500, rig_a);
    rig_expect(&g, "f", 500, 3000, rig_zero);
    leave(&g, 24);
    CHECK_OK(allocate(&g, "f", 0, 0, 25 * BLOCK_SIZE));
    leave(&g, 0);
    CHECK_ERR(allocate(&g, "f", 0, 0, 25 * BLOCK_SIZE + 1), -E_QUOTA);
    CHECK_EQ(rig_size(&g, "f"), 25 * BLOCK_SIZE);
    nothing_held(&g);
    rig_close(&g);
}

/* The disk below is full: what was asked for in several parts is refused as a whole. */
TEST(test_quota__a_full_disk_leaves_no_part_of_a_reservation)
{
    struct vfs_attr before, after;
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 50000, rig_a);
    before = attr(&g, "f");
    lying_fail_from(g.d, LYING_ALLOCATE, 1, -E_NOSPC);
    CHECK_ERR(allocate(&g, "f", 0, 0, 200 * MIB), -E_NOSPC);
    CHECK_EQ(lying_faults(g.d), 1);
    lying_fail_off(g.d);
    after = attr(&g, "f");
    CHECK(same(&before, &after));
    rig_close(&g);
}

/* A copy of a file into itself beyond its end: the block that the end cut in two is a source, and is written anew. */
TEST(test_quota__a_file_takes_its_own_end_along)
{
    uint64_t done = 0;
    struct rig g;

    for (int sealed = 0; sealed < 2; sealed++) {
        rig_open(&g);
        rig_write(&g, "f", 0, 50000, rig_a);
        rig_fsync(&g, "f");
        CHECK_OK(store_checkpoint(g.b.s));
        rig_write(&g, "f", 50000, 9000, rig_b);
        rig_cut(&g, 1, LYING_ALL); /* bytes beyond the end that no record knows */
        if (sealed)
            CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
        CHECK_OK(copy(&g, "f", 0, "f", 40 * BLOCK_SIZE, 60000, &done));
        CHECK_EQ(done, 50000);
        CHECK_EQ(rig_size(&g, "f"), 40 * BLOCK_SIZE + 50000);
        rig_expect(&g, "f", 0, 50000, rig_a);
        rig_expect(&g, "f", 50000, 40 * BLOCK_SIZE - 50000, rig_zero);
        box_truncate(&g.b, g.b.v, "f", 40 * BLOCK_SIZE + 60000);
        rig_expect(&g, "f", 40 * BLOCK_SIZE + 50000, 10000, rig_zero);
        rig_quiet(&g);
        rig_expect(&g, "f", 50000, 40 * BLOCK_SIZE - 50000, rig_zero);
        rig_close(&g);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
