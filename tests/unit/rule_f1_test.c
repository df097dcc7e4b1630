/* F1: a firm record never makes bytes visible that are not on disk; what a write changes is pending until they are. */
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

/* Reads either all old or all new; *ret_new says which. */
static bool old_or_new(struct rig *g, const char *path, uint64_t off, size_t len, rig_bytes old,
                       rig_bytes new)
{
    vfs_node n = rig_node(g, path);

    return rig_holds(g, n, off, len, old) || rig_holds(g, n, off, len, new);
}

TEST(test_f1__syncing_another_file_never_takes_durable_bytes_away)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, MIB, rig_a);
    rig_fsync(&g, "a");
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    rig_write(&g, "a", 400000, 4096, rig_b); /* redirected to a new object; nobody syncs it */
    rig_write(&g, "b", 0, 100000, rig_b);
    rig_fsync(&g, "b"); /* the journal is shared */
    for (uint64_t seed = 0; seed < 6; seed++) {
        rig_cut(&g, seed, seed ? LYING_MIXED : LYING_NONE);
        rig_expect(&g, "a", 0, 400000, rig_a);
        CHECK(old_or_new(&g, "a", 400000, 4096, rig_a, rig_b));
        rig_expect(&g, "a", 404096, MIB - 404096, rig_a);
        rig_expect(&g, "b", 0, 100000, rig_b);
        rig_check(&g);
    }
    rig_close(&g);
}

TEST(test_f1__a_size_never_grows_over_bytes_that_are_not_there)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, 50000, rig_a);
    rig_fsync(&g, "a");
    rig_write(&g, "a", 50000, 100000, rig_a);
    CHECK_OK(store_flush(g.b.s)); /* the record of the extension is on disk, its bytes are not */
    rig_cut(&g, 1, LYING_NONE);
    CHECK_EQ(rig_size(&g, "a"), 50000);
    rig_expect(&g, "a", 0, 50000, rig_a);
    rig_close(&g);
}

TEST(test_f1__the_bytes_of_a_large_fsync_are_on_disk_before_its_record)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, 3 * MIB, rig_a);
    rig_fsync(&g, "a");
    rig_cut(&g, 1, LYING_NONE);
    rig_expect(&g, "a", 0, 3 * MIB, rig_a);
    rig_close(&g);
}

/* Small ones travel in the record, once and in order, and a later sync of the object outdates them. */
TEST(test_f1__small_fsyncs_survive_in_the_record)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, 50000, rig_a);
    rig_fsync(&g, "a");
    rig_write(&g, "a", 10000, 6000, rig_b);
    rig_fsync(&g, "a");
    rig_cut(&g, 1, LYING_NONE);
    rig_expect(&g, "a", 0, 10000, rig_a);
    rig_expect(&g, "a", 10000, 6000, rig_b);
    rig_expect(&g, "a", 16000, 34000, rig_a);
    rig_close(&g);
}

TEST(test_f1__bytes_in_a_record_never_overwrite_later_synced_ones)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, 50000, rig_a);
    rig_fsync(&g, "a"); /* these bytes are in a record */
    rig_write(&g, "a", 0, MIB, rig_b);
    rig_fsync(&g, "a"); /* too many: the object is synced */
    rig_cut(&g, 1, LYING_NONE);
    rig_expect(&g, "a", 0, MIB, rig_b);
    rig_close(&g);
}

TEST(test_f1__a_rename_over_shows_the_old_or_the_new_file)
{
    for (int big = 0; big < 2; big++) {
        size_t len = big ? MIB : 30000;
        struct rig g;

        rig_open(&g);
        rig_write(&g, "a", 0, len, rig_a);
        rig_fsync(&g, "a");
        rig_write(&g, "a.new", 0, len, rig_b);
        box_rename(&g.b, g.b.v, "a.new", "a");
        CHECK_OK(store_flush(g.b.s)); /* somebody's fsync */
        for (uint64_t seed = 0; seed < 4; seed++) {
            rig_cut(&g, seed, seed ? LYING_MIXED : LYING_NONE);
            CHECK(old_or_new(&g, "a", 0, len, rig_a, rig_b));
        }
        CHECK(!box_there(g.b.v, box_root(g.b.v), "a.new"));
        rig_close(&g);
    }
}

/* The daemon's death on the same boot loses nothing that was answered, synced or not. */
TEST(test_f1__the_daemons_death_loses_nothing)
{
    struct rig g;

    rig_open(&g);
    box_mkdir(&g.b, g.b.v, "d");
    rig_write(&g, "d/a", 0, MIB, rig_a);
    rig_write(&g, "d/small", 0, 1000, rig_b);
    box_rename(&g.b, g.b.v, "d/small", "other");
    rig_write(&g, "d/a", 5000, 7000, rig_b);
    rig_die(&g);
    rig_expect(&g, "d/a", 0, 5000, rig_a);
    rig_expect(&g, "d/a", 5000, 7000, rig_b);
    rig_expect(&g, "d/a", 12000, MIB - 12000, rig_a);
    rig_expect(&g, "other", 0, 1000, rig_b);
    CHECK(!box_there(g.b.v, box_root(g.b.v), "d/small"));
    rig_close(&g);
}

/* Firm records survive as a prefix: what was done before something that survived has survived. */
TEST(test_f1__names_survive_as_a_prefix)
{
    struct rig g;
    char name[16];

    rig_open(&g);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        rig_write(&g, name, 0, 10, rig_a);
        if (i == 9)
            rig_fsync(&g, name);
    }
    for (uint64_t seed = 1; seed < 8; seed++) {
        struct rig h = g;
        bool gone = false;

        h.cuts = 100 + (unsigned)seed * 10;
        char out[500];
        snprintf(out, sizeof(out), "%s/image%u", test_dir(), (unsigned)seed);
        CHECK_OK(lying_crash(g.d, seed, LYING_MIXED, out));
        h.b = (struct box){.io = io_real(), .set = g.b.set};
        snprintf(h.b.path, sizeof(h.b.path), "%s/store", out);
        box_attach(&h.b);
        for (int i = 0; i < 40; i++) {
            snprintf(name, sizeof(name), "n%d", i);
            bool there = box_there(h.b.v, box_root(h.b.v), name);
            CHECK(i > 9 || there);
            CHECK(!there || !gone);
            gone |= !there;
        }
        box_close(&h.b);
    }
    rig_close(&g);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
