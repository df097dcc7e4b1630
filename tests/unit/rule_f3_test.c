/* F3: a checkpoint seals, makes firm what is older, commits the tables, and only then reuses the journal. */
#include <sys/stat.h>

#include "snap/store/txn.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

TEST(test_f3__pending_bytes_outlive_the_segments_that_held_them)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, MIB, rig_a);
    CHECK_OK(store_checkpoint(g.b.s));
    rig_die(&g);
    rig_expect(&g, "a", 0, MIB, rig_a);
    rig_cut(&g, 1, LYING_NONE); /* and a checkpoint has put them on disk */
    rig_expect(&g, "a", 0, MIB, rig_a);
    rig_close(&g);
}

/* A checkpoint that cannot come to its end gives nothing of the journal away: writers are refused in the end. */
TEST(test_f3__a_checkpoint_that_failed_keeps_its_records)
{
    struct vfs_attr a;
    struct rig g;
    char name[32];
    int r = 0, n = 0;

    rig_open(&g);
    g.b.set.fd_cache = 1;
    box_reopen(&g.b);
    rig_write(&g, "a", 0, MIB, rig_a);
    rig_write(&g, "b", 0, MIB, rig_b);             /* a's descriptor is closed */
    lying_fail_from(g.d, LYING_OPEN, 1, -E_NOMEM); /* so a cannot be made firm */
    for (; r == 0 && n < 30000; n++) {
        snprintf(name, sizeof(name), "f%d", n);
        r = vfs_mknod(g.b.v, &g.b.c, box_root(g.b.v), name, S_IFREG | 0644, 0, &a);
    }
    CHECK(r < 0);
    CHECK(n > 100);
    lying_fail_off(g.d);
    rig_die(&g);
    for (int i = 0; i < n - 1; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        CHECK(box_there(g.b.v, box_root(g.b.v), name));
    }
    rig_expect(&g, "a", 0, MIB, rig_a);
    rig_expect(&g, "b", 0, MIB, rig_b);
    rig_close(&g);
}

/* The power fails at any call of a checkpoint: what was durable before it is there, once. */
TEST(test_f3__a_checkpoint_may_be_cut_anywhere)
{
    uint64_t cut = 1, seed = test_seed();
    bool ended = false;

    for (; !ended; cut++) {
        struct rig g;

        rig_open(&g);
        rig_write(&g, "a", 0, MIB, rig_a);
        rig_write(&g, "b", 0, 2000, rig_a);
        rig_fsync(&g, "a");
        CHECK_OK(store_checkpoint(g.b.s));
        rig_write(&g, "a", 4096, 8192, rig_b);
        rig_write(&g, "b", 0, 2000, rig_b);
        rig_fsync(&g, "a");
        box_remove(&g.b, g.b.v, "b");
        rig_write(&g, "c", 0, 300000, rig_b);
        CHECK_OK(store_flush(g.b.s));
        lying_crash_at(g.d, cut);
        (void)store_checkpoint(g.b.s);
        ended = !lying_crashed(g.d);
        for (int i = 0; i < 2; i++) {
            rig_cut(&g, seed++, LYING_MIXED);
            rig_expect(&g, "a", 0, 4096, rig_a);
            rig_expect(&g, "a", 4096, 8192, rig_b);
            rig_expect(&g, "a", 12288, MIB - 12288, rig_a);
            CHECK(!box_there(g.b.v, box_root(g.b.v), "b"));
            CHECK(rig_size(&g, "c") == 0 || rig_holds(&g, rig_node(&g, "c"), 0, 300000, rig_b));
            rig_check(&g);
        }
        rig_close(&g);
    }
    CHECK(cut > 5);
}

/* The daemon dies in any call of a checkpoint; what the next one finds may be in the page cache only, the commit of the tables
 * as well. It goes on, and then the power fails. */
TEST(test_f3__a_death_in_a_checkpoint_and_then_a_power_cut)
{
    bool ended = false;

    for (uint64_t at = 1, round = 0; !ended; at += round++ % 4 == 3) {
        struct store_state st;
        struct rig g;
        char name[16];

        rig_open(&g);
        for (uint64_t i = 0; i < round % 4; i++)
            rig_write(&g, "x", 0, 10, rig_a); /* the disk's dice say how much of the last write is there */
        CHECK_OK(store_checkpoint(g.b.s));
        for (int i = 0; i < 5; i++) {
            snprintf(name, sizeof(name), "n%d", i);
            rig_write(&g, name, 0, 2000, rig_a);
        }
        CHECK_OK(store_flush(g.b.s));
        lying_kill_at(g.d, at);
        ended = store_checkpoint(g.b.s) == 0;
        box_drop(&g.b);
        lying_revive(g.d);
        box_attach(&g.b);
        rig_write(&g, "later", 0, 2000, rig_a);
        rig_fsync(&g, "later");
        rig_cut(&g, at, LYING_NONE);
        store_get_state(g.b.s, &st);
        CHECK_EQ(st.mode, STORE_RW);
        for (int i = 0; i < 5; i++) {
            snprintf(name, sizeof(name), "n%d", i);
            rig_expect(&g, name, 0, 2000, rig_a);
        }
        rig_expect(&g, "later", 0, 2000, rig_a);
        rig_close(&g);
    }
}

/* Any write or sync of a checkpoint fails, the one of the tables' own page as well: nothing more is written, all can be read,
 * and the next daemon finds what was durable. */
TEST(test_f3__what_cannot_be_written_can_be_read)
{
    static const unsigned kinds = LYING_WRITE | LYING_SYNC;
    uint64_t faults = 1;

    for (uint64_t at = 1; faults; at++) {
        struct vfs_attr a;
        struct rig g;

        rig_open(&g);
        rig_write(&g, "a", 0, MIB, rig_a);
        rig_fsync(&g, "a");
        CHECK_OK(store_checkpoint(g.b.s));
        rig_write(&g, "b", 0, 2000, rig_b);
        rig_write(&g, "a", 4096, 8192, rig_b);
        rig_fsync(&g, "b");
        lying_fail_at(g.d, kinds, at, -E_IO);
        (void)store_checkpoint(g.b.s);
        faults = lying_faults(g.d);
        lying_fail_off(g.d);
        for (int i = 0; i < 2; i++) {
            rig_expect(&g, "a", 0, 4096, rig_a);
            rig_expect(&g, "a", 4096, 8192, rig_b);
            rig_expect(&g, "b", 0, 2000, rig_b);
            (void)vfs_mknod(g.b.v, &g.b.c, box_root(g.b.v), "late", S_IFREG | 0644, 0, &a);
            (void)store_checkpoint(g.b.s); /* once more: nothing gets worse */
        }
        if (faults) {
            rig_cut(&g, at, LYING_NONE);
            rig_expect(&g, "a", 0, 4096, rig_a);
            rig_expect(&g, "b", 0, 2000, rig_b);
        }
        rig_close(&g);
    }
    expect_mark("kv: opened anew to read");
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
