/* What bulk writers leave behind goes to the disk in pieces, by a thread of its own. */
#include "snap/store/writeout.h"

#include "snap/store/store_int.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

static void open_with_thread(struct rig *g)
{
    rig_open(g);
    g->b.set.dirty_bytes = 64u * MIB;
    box_reopen(&g->b);
    CHECK_OK(writeout_start(g->b.s));
}

static void write_mib(struct rig *g, const char *name, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        rig_write(g, name, (uint64_t)i * MIB, MIB, rig_a);
}

/* So many pieces of a file by their order, each when somebody has just synced another. */
static void write_beside(struct rig *g, unsigned n, unsigned len, bool backwards)
{
    for (unsigned i = 0; i < n; i++) {
        rig_write(g, "small", 0, 100, rig_b);
        rig_fsync(g, "small");
        rig_write(g, "f", (uint64_t)(backwards ? n - 1 - i : i) * len, len, rig_a);
    }
}

/* As the store's own threads do before it is closed. */
static void end(struct rig *g)
{
    writeout_stop(g->b.s);
    rig_close(g);
}

static uint64_t pieces(struct rig *g)
{
    return lying_count(g->d, LYING_SYNC_RANGE);
}

TEST(test_writeout__who_writes_alone_has_large_pieces)
{
    struct rig g;

    open_with_thread(&g);
    write_mib(&g, "f", 17);
    writeout_wait(g.b.s);
    CHECK_EQ(pieces(&g), 2);
    end(&g);
}

/* The time between the two calls is up to the machine: most of them are in time. */
TEST(test_writeout__beside_somebody_who_syncs_they_are_small)
{
    struct rig g;

    open_with_thread(&g);
    write_beside(&g, 16, MIB, false);
    writeout_wait(g.b.s);
    CHECK(pieces(&g) >= 8);
    end(&g);
}

/* They would be looked for all over the file. */
TEST(test_writeout__what_is_written_out_of_order_goes_in_large_ones)
{
    struct rig g;

    open_with_thread(&g);
    write_beside(&g, 32, MIB / 2, true);
    writeout_wait(g.b.s);
    CHECK_EQ(pieces(&g), 2);
    end(&g);
}

TEST(test_writeout__what_was_synced_is_not_written_out_again)
{
    struct rig g;

    open_with_thread(&g);
    write_mib(&g, "f", 7);
    rig_fsync(&g, "f");
    rig_write(&g, "f", 7u * MIB, MIB / 2, rig_a);
    writeout_wait(g.b.s);
    CHECK_EQ(pieces(&g), 0);
    end(&g);
}

/* The kernel tells an error of writing once, and here it tells it to a thread that nobody asked. */
TEST(test_writeout__an_error_is_told_by_the_next_sync)
{
    struct rig g;

    open_with_thread(&g);
    lying_fail_at(g.d, LYING_SYNC_RANGE, 1, -E_IO);
    write_mib(&g, "f", 8);
    writeout_wait(g.b.s);
    CHECK_EQ(lying_faults(g.d), 1);
    CHECK_ERR(vfs_fsync(g.b.v, rig_node(&g, "f")), -E_IO);
    CHECK(g.b.v->readonly);
    writeout_stop(g.b.s);
    box_drop(&g.b);
}

TEST(test_writeout__a_kernel_that_has_no_such_call_is_no_failure)
{
    struct rig g;

    open_with_thread(&g);
    lying_fail_from(g.d, LYING_SYNC_RANGE, 1, -E_NOSYS);
    write_mib(&g, "f", 8);
    writeout_wait(g.b.s);
    CHECK_EQ(lying_faults(g.d), 1);
    rig_fsync(&g, "f");
    lying_fail_off(g.d);
    end(&g);
}

TEST(test_writeout__pieces_without_room_and_of_objects_that_went_are_left_out)
{
    struct rig g;

    open_with_thread(&g);
    for (unsigned i = 0; i < 10000; i++)
        writeout_give(g.b.s, 1u << 30, (uint64_t)i * MIB, MIB);
    writeout_wait(g.b.s);
    CHECK_EQ(pieces(&g), 0);
    end(&g);
}

/* Its room would stay taken until so many others were opened. */
TEST(test_writeout__the_descriptor_of_a_deleted_object_goes_with_its_last_user)
{
    char path[4096];
    struct objfd *f;
    struct rig g;

    open_with_thread(&g);
    uint32_t before = g.b.s->nfds;
    CHECK_OK(objfd_get(g.b.s, 1u << 30, true, &f));
    objfd_forget(g.b.s, 1u << 30);
    CHECK_EQ(g.b.s->nfds, before + 1);
    objfd_put(g.b.s, f);
    CHECK_EQ(g.b.s->nfds, before);
    object_path(g.b.s, 1u << 30, path);
    CHECK_OK(io_unlink(g.b.s->io, path));
    end(&g);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
