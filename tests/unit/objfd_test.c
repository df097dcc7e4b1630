/* Descriptors of objects: few are kept, and nothing depends on which. */
#include <stdio.h>
#include <sys/resource.h>

#include "snap/store/store_int.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define FILES 24
#define BYTES 100000 /* more than travels in a record */
#define FEW_BYTES 10000

static void open_few(struct rig *g, uint32_t kept)
{
    rig_open(g);
    g->b.set.fd_cache = kept;
    box_reopen(&g->b);
}

static const char *file_name(unsigned i)
{
    static char name[16];

    snprintf(name, sizeof(name), "f%u", i);
    return name;
}

static void lay(struct rig *g)
{
    for (unsigned i = 0; i < FILES; i++)
        rig_write(g, file_name(i), 0, BYTES, rig_a);
}

/* A new object is there after a power cut only when its directory was synced: also when its descriptor went meanwhile. */
TEST(test_objfd__an_object_whose_descriptor_went_is_durable_after_fsync)
{
    struct rig g;

    open_few(&g, 4);
    lay(&g);
    for (unsigned i = 0; i < FILES; i++)
        rig_fsync(&g, file_name(i));
    rig_cut(&g, 1, LYING_NONE);
    for (unsigned i = 0; i < FILES; i++)
        rig_expect(&g, file_name(i), 0, BYTES, rig_a);
    rig_close(&g);
}

TEST(test_objfd__also_when_it_was_opened_again_to_be_read)
{
    struct rig g;

    open_few(&g, 4);
    lay(&g);
    for (unsigned i = 0; i < FILES; i++) {
        rig_expect(&g, file_name(i), 0, BYTES, rig_a);
        rig_fsync(&g, file_name(i));
    }
    rig_cut(&g, 1, LYING_NONE);
    for (unsigned i = 0; i < FILES; i++)
        rig_expect(&g, file_name(i), 0, BYTES, rig_a);
    rig_close(&g);
}

/* Not when a descriptor is closed, and once for all that were. */
TEST(test_objfd__nobody_waits_for_the_disk_before_fsync)
{
    const unsigned syncs = LYING_FDATASYNC | LYING_FSYNC | LYING_SYNCFS;
    struct rig g;

    open_few(&g, 4);
    uint64_t before = lying_count(g.d, syncs);
    lay(&g);
    CHECK_EQ(lying_count(g.d, syncs), before);
    before = lying_count(g.d, LYING_SYNCFS);
    for (unsigned i = 0; i < FILES; i++)
        rig_fsync(&g, file_name(i));
    CHECK_EQ(lying_count(g.d, LYING_SYNCFS), before + 1);
    rig_close(&g);
}

/* Whose bytes they were cannot be known any more. */
TEST(test_objfd__a_failed_sync_of_closed_ones_ends_all_writing)
{
    struct rig g;

    open_few(&g, 4);
    lay(&g);
    lying_fail_at(g.d, LYING_SYNCFS, 1, -E_IO);
    CHECK_ERR(vfs_fsync(g.b.v, rig_node(&g, "f0")), -E_IO);
    CHECK(!store_writable(g.b.s));
    CHECK(vfs_fsync(g.b.v, rig_node(&g, "f1")) < 0);
    box_drop(&g.b);
}

/* A sync of everything tells of an error once; the one whose error it is tells it to whoever syncs it, also after a sync of everything
 * that went well. */
TEST(test_objfd__a_sync_of_all_that_failed_leaves_each_to_be_synced_alone)
{
    struct rig g;

    open_few(&g, 2 * FILES);
    lay(&g);
    lying_fail_at(g.d, LYING_SYNCFS, 1, -E_IO);
    CHECK_ERR(objfd_sync_all(g.b.s), -E_IO);
    CHECK(store_writable(g.b.s));
    CHECK_EQ(objfd_sync_all(g.b.s), 0);
    lying_fail_at(g.d, LYING_FDATASYNC, 1, -E_IO);
    CHECK_ERR(vfs_fsync(g.b.v, rig_node(&g, "f0")), -E_IO);
    CHECK(g.b.v->readonly);
    CHECK(store_writable(g.b.s));
    box_drop(&g.b);
}

TEST(test_objfd__no_more_are_kept_than_was_said)
{
    struct rig g;

    open_few(&g, 4);
    lay(&g);
    for (unsigned i = 0; i < FILES; i++)
        rig_expect(&g, file_name(i), 0, BYTES, rig_a);
    CHECK(g.b.s->nfds <= 4);
    rig_close(&g);
}

/* Half of what the process may have is left to everything else. */
TEST(test_objfd__a_low_limit_of_descriptors_keeps_fewer)
{
    struct rlimit was, low;
    struct rig g;

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
    low = was;
    low.rlim_cur = 64;
    rig_open(&g);
    g.b.set.fd_cache = 1000;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    box_reopen(&g.b);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
    CHECK_EQ(g.b.s->set.fd_cache, 32);
    rig_close(&g);
}

/* To be out of descriptors is no failure of the disk: an error now, and all is well when there are some again. */
TEST(test_objfd__a_want_of_descriptors_passes)
{
    struct rlimit was, none;
    struct rig g;

    open_few(&g, 4);
    rig_write(&g, "few", 0, FEW_BYTES, rig_a);
    lay(&g);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = was;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    int r = vfs_fsync(g.b.v, rig_node(&g, "few"));
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
    CHECK_ERR(r, -E_FILES);
    CHECK(!g.b.v->readonly);
    CHECK(store_writable(g.b.s));
    rig_fsync(&g, "few");
    rig_write(&g, "few", 0, BYTES, rig_b);
    rig_close(&g);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
