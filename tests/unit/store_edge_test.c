/* Edges of the engine that were wrong once. */
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

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
