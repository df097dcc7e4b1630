/* Where the bytes of a long file are, by one walk over all of it, and block by block. The second asks for each block by itself, which
 * never goes past a span in one step. */
#include <stdlib.h>
#include <string.h>

#include "snap/store/change.h"
#include "snap/store/file.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB ((uint64_t)1 << 20)
#define MAX_BLOCKS (40 * MIB / BLOCK_SIZE)

struct place {
    uint64_t object, obj_block;
    uint32_t data_born;
    uint8_t kind;
    bool seen;
};
static struct place whole[MAX_BLOCKS], single[MAX_BLOCKS];

struct into {
    struct place *places;
    uint64_t next;
};

static int note(void *arg, const struct file_run *run)
{
    struct into *to = arg;

    CHECK_EQ(run->block, to->next);
    CHECK(run->count > 0 && run->block + run->count <= MAX_BLOCKS);
    to->next += run->count;
    for (uint64_t i = 0; i < run->count; i++)
        to->places[run->block + i] =
            (struct place){.kind = run->kind,
                           .object = run->object,
                           .obj_block = run->kind == SPAN_HOLE ? 0 : run->obj_block + i,
                           .data_born = run->data_born,
                           .seen = true};
    return 0;
}

static void walk(struct rig *g, uint64_t from, uint64_t to, bool singly, struct place *places)
{
    uint64_t step = singly ? 1 : to - from;
    struct inode in;
    struct txn t;

    memset(places, 0, sizeof(whole));
    CHECK_OK(txn_begin(g->b.s, TXN_READ, OP_NONE, g->b.v, &t));
    CHECK_OK(inode_get(&t, vol_now(g->b.v), vfs_node_ino(rig_node(g, "f")), &in));
    for (uint64_t at = from; at < to; at += step) {
        struct into into = {places, at};
        CHECK_OK(file_ranges(&t, vol_now(g->b.v), &in, at, at + step, note, &into));
        CHECK_EQ(into.next, at + step);
    }
    txn_abort(&t);
}

static bool same(const struct place *a, const struct place *b)
{
    return a->seen && b->seen && a->object == b->object && a->obj_block == b->obj_block &&
           a->data_born == b->data_born && a->kind == b->kind;
}

static void compare(struct rig *g, uint64_t from, uint64_t to)
{
    walk(g, from, to, false, whole);
    walk(g, from, to, true, single);
    for (uint64_t b = from; b < to; b++)
        if (!same(&whole[b], &single[b]))
            test_fail(__FILE__, __LINE__, "block %llu of %llu to %llu lies elsewhere in the whole",
                      (unsigned long long)b, (unsigned long long)from, (unsigned long long)to);
}

static void compare_all(struct rig *g)
{
    static const uint64_t edges[] = {0,    1,    255,  256,  257,  511,  1280,
                                     1500, 2047, 2048, 5000, 6144, 7001, MAX_BLOCKS};

    for (unsigned i = 0; i < ARRAY_LEN(edges); i++)
        for (unsigned k = i + 1; k < ARRAY_LEN(edges); k++)
            compare(g, edges[i], edges[k]);
}

TEST(test_ranges__a_dense_file_with_and_without_records)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 27 * MIB + 12345, rig_a);
    rig_quiet(&g);
    compare_all(&g);
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    rig_write(&g, "f", 9 * MIB + 4096, 8192, rig_b);
    rig_write(&g, "f", 17 * MIB - 4096, 8192, rig_b);
    rig_punch(&g, "f", 24 * MIB, MIB);
    rig_write(&g, "f", 33 * MIB, 100, rig_b); /* behind a hole */
    rig_quiet(&g);
    compare_all(&g);
    rig_expect(&g, "f", 9 * MIB + 4096, 8192, rig_b);
    rig_expect(&g, "f", 24 * MIB, MIB, rig_zero);
    rig_expect(&g, "f", 25 * MIB, 2 * MIB, rig_a);
    rig_close(&g);
}

/* As above, with records everywhere, and then with few again: the walk changes its step. */
TEST(test_ranges__records_here_and_there)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, 38 * MIB, rig_a);
    rig_quiet(&g);
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    for (uint64_t i = 0; i < 38; i++)
        if (i % 11 < 3 || i == 20 || i == 29)
            rig_write(&g, "f", i * MIB + i * 4096, 4096, rig_b);
    rig_quiet(&g);
    compare_all(&g);
    rig_close(&g);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
