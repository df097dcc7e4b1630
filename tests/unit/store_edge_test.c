/* Edges of the engine that were wrong once. */
#include <fcntl.h>
#include <stdlib.h>

#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

/* Bytes that a power cut took back must not come out again when the file grows over them. */
TEST(test_edge__lost_bytes_beyond_the_end_stay_lost)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 9000, rig_a);
    rig_fsync(&g, "f");
    CHECK_OK(store_checkpoint(g.b.s)); /* else the bytes lie in the record, and are written again */
    rig_write(&g, "f", 9000, 20000, rig_b);
    rig_cut(&g, 1, LYING_ALL); /* all bytes landed, their record does not count */
    CHECK_EQ(rig_size(&g, "f"), 9000);
    box_truncate(&g.b, g.b.v, "f", 60000);
    rig_expect(&g, "f", 0, 9000, rig_a);
    rig_expect(&g, "f", 9000, 51000, rig_zero);
    rig_close(&g);
}

TEST(test_edge__lost_bytes_in_a_hole_stay_lost)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 9000, rig_a);
    rig_fsync(&g, "f");
    CHECK_OK(store_checkpoint(g.b.s));
    rig_write(&g, "f", 40000, 20000, rig_b);
    rig_cut(&g, 1, LYING_ALL);
    rig_write(&g, "f", 45000, 10, rig_a);
    rig_expect(&g, "f", 9000, 36000, rig_zero);
    rig_write(&g, "f", 50000, 10, rig_a);
    rig_expect(&g, "f", 45010, 4990, rig_zero);
    rig_close(&g);
}

/* A write that failed leaves nothing where the file has nothing. */
TEST(test_edge__bytes_of_a_refused_write_do_not_show)
{
    struct rig g;
    uint8_t p[6000];

    rig_open(&g);
    memset(p, 0x55, sizeof(p));
    rig_write(&g, "f", 0, 9000, rig_a);
    rig_fsync(&g, "f");
    lying_fail_at(g.d, LYING_WRITE, 2, -E_NOSPC); /* the first is the object, the second the journal */
    CHECK(vfs_write(g.b.v, &g.b.c, rig_node(&g, "f"), p, sizeof(p), 20000, false) < 0);
    lying_fail_off(g.d);
    rig_die(&g);
    rig_write(&g, "f", 24000, 1, rig_a);
    rig_expect(&g, "f", 9000, 15000, rig_zero);
    rig_close(&g);
}

/* Spans that were cut away with all of the file must not be remembered as holes of the next one. */
TEST(test_edge__a_file_begun_anew_has_no_old_holes)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 3 * MIB, rig_a);
    rig_punch(&g, "f", 8192, 4096); /* span 0 gets a record */
    rig_punch(&g, "f", MIB, MIB);   /* span 1 is a hole as a whole */
    box_truncate(&g.b, g.b.v, "f", 0);
    rig_write(&g, "f", 0, 3 * MIB, rig_b);
    rig_punch(&g, "f", 2 * MIB + 8192, 4096); /* from here on span records are asked for again */
    rig_expect(&g, "f", 0, 2 * MIB, rig_b);
    rig_quiet(&g);
    rig_expect(&g, "f", 0, 2 * MIB, rig_b);
    rig_close(&g);
}

/* A clone that gives up blocks of its parent's object does not free them. */
TEST(test_edge__a_clone_never_punches_its_parent)
{
    struct rig g;
    struct vol *c;

    rig_open(&g);
    rig_write(&g, "f", 0, 4 * MIB, rig_a);
    rig_write(&g, "h", 0, 4 * MIB, rig_a);
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    CHECK_OK(volume_clone(g.b.v, "s", "c", &c));
    rig_quiet(&g);
    box_fill(&g.b, c, "f", MIB, MIB, 7); /* a whole span */
    CHECK_OK(vfs_fallocate(c, &g.b.c, box_node(c, box_root(c), "h"), 3, 2 * MIB, MIB));
    box_truncate(&g.b, c, "h", 3 * MIB);
    rig_quiet(&g);
    rig_expect(&g, "f", 0, 4 * MIB, rig_a);
    rig_expect(&g, "h", 0, 4 * MIB, rig_a);
    box_remove(&g.b, c, "f");
    CHECK_OK(vfs_orphans_drop_all(c));
    rig_quiet(&g);
    rig_expect(&g, "f", 0, 4 * MIB, rig_a);
    rig_close(&g);
}

/* The name of an object's file is durable before a firm record names it, also when its descriptor was closed in between. */
TEST(test_edge__a_closed_descriptor_does_not_lose_the_name)
{
    struct rig g;

    rig_open(&g);
    g.b.set.fd_cache = 2;
    box_reopen(&g.b);
    rig_write(&g, "f", 0, MIB, rig_a);
    rig_write(&g, "x", 0, MIB, rig_b);
    rig_write(&g, "y", 0, MIB, rig_b);
    rig_fsync(&g, "f");
    for (uint64_t seed = 0; seed < 4; seed++) {
        rig_cut(&g, seed, seed ? LYING_MIXED : LYING_NONE);
        rig_expect(&g, "f", 0, MIB, rig_a);
    }
    rig_close(&g);
}

/* Reserved space whose object did not survive: the file can be written all the same. */
TEST(test_edge__reserved_blocks_are_written_after_a_power_cut)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 1, rig_a);
    CHECK_OK(vfs_fallocate(g.b.v, &g.b.c, rig_node(&g, "f"), 0, 0, MIB));
    rig_fsync(&g, "f");
    rig_cut(&g, 1, LYING_NONE);
    rig_expect(&g, "f", 1, MIB - 1, rig_zero);
    rig_write(&g, "f", 5000, 5000, rig_a);
    rig_expect(&g, "f", 5000, 5000, rig_a);
    rig_close(&g);
}

/* A copy outlives its source also when the power is cut before the copy is firm: nothing is left over. */
TEST(test_edge__nothing_is_left_of_a_copy_that_was_lost)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, MIB, rig_a);
    rig_fsync(&g, "a");
    rig_copy(&g, "a", "b", MIB);
    box_remove(&g.b, g.b.v, "a");
    CHECK_OK(vfs_orphans_drop_all(g.b.v));
    rig_expect(&g, "b", 0, MIB, rig_a);
    CHECK_OK(store_flush(g.b.s));
    rig_cut(&g, 1, LYING_NONE);
    CHECK_EQ(rig_size(&g, "b"), 0);
    rig_quiet(&g);
    CHECK_EQ(box_objects(&g.b), 0);
    rig_close(&g);
}

/* While an inode cannot be made firm its pending records are needed: the tables may not go past them. */
TEST(test_edge__a_checkpoint_waits_for_what_is_not_firm)
{
    struct rig g;

    rig_open(&g);
    g.b.set.fd_cache = 1;
    box_reopen(&g.b);
    rig_write(&g, "f", 0, MIB, rig_a);
    rig_write(&g, "x", 0, MIB, rig_b); /* takes the only descriptor */
    CHECK_OK(store_flush(g.b.s));
    lying_fail_from(g.d, LYING_OPEN, 1, -E_NOMEM);
    CHECK_ERR(store_checkpoint(g.b.s), -E_NOMEM);
    lying_fail_off(g.d);
    rig_die(&g);
    rig_expect(&g, "f", 0, MIB, rig_a);
    rig_expect(&g, "x", 0, MIB, rig_b);
    rig_close(&g);
}

/* A snapshot whose bytes could not be written never becomes durable, and its volume takes no more. */
TEST(test_edge__a_snapshot_without_its_bytes_stays_settling)
{
    struct layer_rec rec;
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, MIB, rig_a);
    lying_fail_at(g.d, LYING_FDATASYNC, 1, -E_IO); /* of the object; the error is told once */
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", &rec));
    CHECK_ERR(snap_wait_durable(g.b.v, rec.layer), -E_IO);
    lying_fail_off(g.d);
    CHECK_ERR(snap_wait_durable(g.b.v, rec.layer), -E_IO);
    CHECK_OK(snap_find(g.b.v, "s", &rec));
    CHECK_EQ(rec.state, LAYER_SETTLING);
    CHECK_ERR(vfs_write(g.b.v, &g.b.c, rig_node(&g, "f"), "x", 1, 0, false), -E_ROFS);
    CHECK_ERR(vfs_fsync(g.b.v, rig_node(&g, "f")), -E_IO);
    box_drop(&g.b);
    lying_free(g.d);
}

/* A failed sync of a copy's source is not forgotten by the next try. */
TEST(test_edge__a_copy_of_bytes_that_never_landed_is_refused)
{
    struct rig g;
    uint64_t done;

    rig_open(&g);
    rig_write(&g, "a", 0, MIB, rig_a);
    box_write(&g.b, g.b.v, "b", "", 0, 0);
    lying_fail_at(g.d, LYING_FDATASYNC, 1, -E_IO);
    for (int i = 0; i < 2; i++) {
        CHECK_ERR(vfs_copy(g.b.v, &g.b.c, rig_node(&g, "a"), 0, rig_node(&g, "b"), 0, MIB, &done), -E_IO);
        lying_fail_off(g.d);
    }
    CHECK_ERR(vfs_fsync(g.b.v, rig_node(&g, "a")), -E_IO);
    box_drop(&g.b);
    lying_free(g.d);
}

/* Deaths one after the other, each before the open has come to its first checkpoint. */
TEST(test_edge__many_deaths_in_a_row_use_up_nothing)
{
    struct rig g;
    char why[256];
    int r = -E_CRASH;

    rig_open(&g);
    rig_write(&g, "f", 0, MIB, rig_a);
    rig_write(&g, "small", 0, 3000, rig_a);
    box_drop(&g.b);
    for (unsigned n = 1; n <= 60; n++) {
        lying_kill_at(g.d, 1 + n % 30);
        r = store_open(g.b.io, g.b.path, &g.b.set, 0, &g.b.s, why);
        if (r == 0)
            box_drop(&g.b);
        lying_revive(g.d);
    }
    box_attach(&g.b);
    rig_expect(&g, "f", 0, MIB, rig_a);
    rig_expect(&g, "small", 0, 3000, rig_a);
    rig_close(&g);
}

/* An inode with more images than a journal segment holds. */
TEST(test_edge__scattered_writes_become_firm_in_time)
{
    struct rig g;

    rig_open(&g);
    for (uint64_t i = 0; i < 3000; i++)
        rig_write(&g, "f", i * MIB, 1, rig_a);
    rig_fsync(&g, "f");
    CHECK_OK(store_checkpoint(g.b.s));
    for (uint64_t i = 0; i < 3000; i += 100)
        rig_expect(&g, "f", i * MIB, 1, rig_a);
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    box_truncate(&g.b, g.b.v, "f", MIB + 1);
    rig_expect(&g, "f", MIB, 1, rig_a);
    CHECK_EQ(rig_size(&g, "f"), MIB + 1);
    CHECK_OK(snap_delete(g.b.v, &g.b.c, "s"));
    rig_close(&g);
}

/* Punching a large part of a large dense file, and reserving it again. */
TEST(test_edge__a_large_hole_is_made_in_parts)
{
    struct rig g;

    rig_open(&g);
    g.b.set.dirty_bytes = 16 * MIB;
    box_reopen(&g.b);
    for (uint64_t i = 0; i < 400; i++)
        rig_write(&g, "f", i * MIB, MIB, rig_a);
    rig_punch(&g, "f", 4096, 399 * MIB);
    rig_expect(&g, "f", 0, 4096, rig_a);
    rig_expect(&g, "f", 4096, 3 * MIB, rig_zero);
    rig_expect(&g, "f", 399 * MIB, 4096, rig_zero);
    rig_expect(&g, "f", 399 * MIB + 4096, MIB - 4096, rig_a);
    rig_punch(&g, "f", 0, 1ull << 43);
    rig_expect(&g, "f", 399 * MIB, MIB, rig_zero);
    rig_quiet(&g);
    CHECK(box_disk_blocks(&g.b) == 0);
    rig_close(&g);
}

/* The same, where the source gives its blocks up at the pending level, and the copy is lost or removed. */
TEST(test_edge__nothing_is_left_of_a_copy_whose_source_was_rewritten)
{
    for (int lost = 0; lost < 2; lost++) {
        struct rig g;

        rig_open(&g);
        rig_write(&g, "a", 0, MIB, rig_a);
        rig_fsync(&g, "a");
        rig_copy(&g, "a", "b", MIB);
        box_truncate(&g.b, g.b.v, "a", 0);
        rig_fsync(&g, "a");
        if (lost) {
            rig_cut(&g, 1, LYING_NONE);
            CHECK_EQ(rig_size(&g, "b"), 0);
        } else {
            box_remove(&g.b, g.b.v, "b");
            CHECK_OK(vfs_orphans_drop_all(g.b.v));
        }
        rig_quiet(&g);
        CHECK_EQ(box_objects(&g.b), 0);
        rig_close(&g);
    }
}

/* An attribute is changed twice, in the firm record and in the pending one; the histories of both may differ. */
TEST(test_edge__histories_of_both_levels_do_not_mix)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, MIB, rig_a);
    rig_fsync(&g, "f");
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s1", NULL));
    rig_write(&g, "f", 0, 100, rig_b);
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s2", NULL));
    CHECK_OK(snap_delete(g.b.v, &g.b.c, "s2"));
    CHECK_OK(vfs_setxattr(g.b.v, &g.b.c, rig_node(&g, "f"), "user.a", "x", 1, 0, false));
    rig_check(&g);
    CHECK_OK(store_sync(g.b.s));
    rig_check(&g);
    rig_expect(&g, "f", 0, 100, rig_b);
    CHECK(rig_holds(&g, box_node(g.b.v, box_view(g.b.v, "s1"), "f"), 0, MIB, rig_a));
    rig_close(&g);
}

/* The source's older bytes travel in a record; what a copy shares was put on disk after them. */
TEST(test_edge__bytes_in_a_record_do_not_come_back_in_a_copy)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, 50000, rig_a);
    rig_fsync(&g, "a"); /* in its record */
    rig_write(&g, "a", 8192, 4096, rig_b);
    rig_copy(&g, "a", "b", 50000);
    rig_fsync(&g, "b");
    for (uint64_t seed = 0; seed < 4; seed++) {
        rig_cut(&g, seed, seed ? LYING_MIXED : LYING_NONE);
        rig_expect(&g, "b", 0, 8192, rig_a);
        rig_expect(&g, "b", 8192, 4096, rig_b);
        rig_expect(&g, "b", 12288, 50000 - 12288, rig_a);
    }
    rig_close(&g);
}

static bool has_caps(struct rig *g, const char *path)
{
    cleanup(buf_free) struct buf val = {0};
    int r = vfs_getxattr(g->b.v, rig_node(g, path), "security.capability", &val);

    CHECK(r == 0 || r == -E_NODATA);
    return r == 0;
}

/* A write takes the capability and the suid bit away at once, for good, whatever becomes of its bytes. */
TEST(test_edge__what_a_lost_write_took_away_stays_away)
{
    static const uint8_t byte = 1;

    for (int sealed = 0; sealed < 4; sealed++) {
        struct vfs_setattr mode = {.set = VFS_MODE, .mode = 04755};
        struct vfs_attr a;
        struct rig g;

        rig_open(&g);
        rig_write(&g, "f", 0, 50000, rig_a);
        CHECK_OK(vfs_setxattr(g.b.v, &g.b.c, rig_node(&g, "f"), "user.a", "x", 1, 0, false));
        CHECK_OK(vfs_setxattr(g.b.v, &g.b.c, rig_node(&g, "f"), "security.capability", "caps", 4, 0, false));
        CHECK_OK(vfs_setattr(g.b.v, &g.b.c, rig_node(&g, "f"), &mode, NULL));
        rig_fsync(&g, "f");
        if (sealed & 1)
            CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
        if (sealed & 2) /* it has pending bytes already */
            rig_write(&g, "f", 60000, 5000, rig_a);
        CHECK_OK(vfs_write(g.b.v, &g.b.c, rig_node(&g, "f"), &byte, 1, 100000, true));
        CHECK(!has_caps(&g, "f"));
        rig_check(&g);
        CHECK_OK(store_flush(g.b.s));
        rig_cut(&g, 1, LYING_NONE);
        rig_check(&g);
        CHECK_EQ(rig_size(&g, "f"), 50000);
        CHECK(!has_caps(&g, "f"));
        CHECK_OK(vfs_getattr(g.b.v, rig_node(&g, "f"), &a));
        CHECK_EQ(a.mode & 07777, 0755);
        rig_quiet(&g);
        rig_close(&g);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}

/* Each block from somewhere else: more sources than one span's map can name. */
TEST(test_edge__blocks_are_copied_in_any_order)
{
    const uint64_t n = 512;
    uint8_t block[4096], *all = malloc(n * sizeof(block));
    struct rig g;

    rig_open(&g);
    for (uint64_t i = 0; i < n; i++)
        memset(all + i * sizeof(block), (int)(1 + i % 251), sizeof(block));
    box_write(&g.b, g.b.v, "from", all, n * sizeof(block), 0);
    box_write(&g.b, g.b.v, "to", "", 0, 0);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t done = 0;

        CHECK_OK(vfs_copy(g.b.v, &g.b.c, rig_node(&g, "from"), (n - 1 - i) * 4096, rig_node(&g, "to"),
                          i * 4096, 4096, &done));
        CHECK_EQ(done, 4096);
    }
    for (uint64_t i = 0; i < n; i++) {
        size_t got = 0;

        CHECK_OK(vfs_read(g.b.v, rig_node(&g, "to"), block, sizeof(block), i * 4096, &got));
        CHECK_EQ(got, 4096);
        CHECK(memcmp(block, all + (n - 1 - i) * 4096, 4096) == 0);
    }
    rig_quiet(&g);
    rig_close(&g);
    free(all);
}

/* The kernel lets holes be made at any offset; no file reaches beyond the largest size. */
TEST(test_edge__a_hole_beyond_the_largest_size_is_made_of_nothing)
{
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 60000, rig_a);
    CHECK_OK(vfs_fallocate(g.b.v, &g.b.c, rig_node(&g, "f"), punch, FILE_SIZE_MAX, 4096));
    CHECK_OK(vfs_fallocate(g.b.v, &g.b.c, rig_node(&g, "f"), punch, FILE_SIZE_MAX - 1, 1));
    CHECK_OK(vfs_fallocate(g.b.v, &g.b.c, rig_node(&g, "f"), punch, INT64_MAX - 1, 1));
    CHECK_ERR(vfs_fallocate(g.b.v, &g.b.c, rig_node(&g, "f"), 0, FILE_SIZE_MAX, 1), -E_FBIG);
    rig_expect(&g, "f", 0, 60000, rig_a);
    CHECK_OK(vfs_fallocate(g.b.v, &g.b.c, rig_node(&g, "f"), punch, 5000, INT64_MAX - 5000));
    CHECK_EQ(rig_size(&g, "f"), 60000);
    rig_expect(&g, "f", 0, 5000, rig_a);
    rig_expect(&g, "f", 5000, 55000, rig_zero);
    rig_close(&g);
}
