/* What a volume is said to have here is what a walk over its live tree finds, whatever else names what is elsewhere. */
#include "tests/unit/cold_case.h"

#define BLOCKS(n) ((uint64_t)(n)*BLOCK_SIZE)

static struct cold_stat stat_of(struct vol *v)
{
    struct cold_stat st;

    CHECK_OK(cold_stat(v, &st));
    return st;
}

/* Files of 1 MiB whose bytes elsewhere has, too, here and in a snapshot. */
static void begin(struct box *b, struct far *f, unsigned files)
{
    uint8_t *bytes = malloc(MIB);
    char name[20];

    box_open(b, NULL, NULL);
    far_begin(b, f);
    for (unsigned i = 0; i < files; i++) {
        struct cold_run run = far_run(i, 0, 256);
        snprintf(name, sizeof(name), "f%u", i);
        far_bytes(bytes, MIB, &run, 1);
        box_write(b, b->v, name, bytes, MIB, 0);
    }
    CHECK_OK(snap_create(b->v, &b->c, "s", NULL));
    CHECK_OK(store_sync(b->s));
    free(bytes);
}

static uint64_t object_of(struct box *b, unsigned file)
{
    struct layer_rec rec;
    struct inode in;
    struct txn t;
    char name[20];

    snprintf(name, sizeof(name), "f%u", file);
    vfs_node n = box_node(b->v, box_view(b->v, "s"), name);
    CHECK_OK(snap_find(b->v, "s", &rec));
    CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, NULL, &t));
    CHECK_OK(inode_get(&t, (struct vt_at){rec.branch, rec.layer}, vfs_node_ino(n), &in));
    txn_abort(&t);
    CHECK(in.base_obj != 0);
    return in.base_obj;
}

static void release(struct box *b, unsigned file, uint64_t first, uint32_t blocks)
{
    struct cold_run run = far_run(file, 0, 256);
    struct cold_range range = {
        .object = object_of(b, file), .first = first, .blocks = blocks, .source = 1, .ref = run.ref};
    struct txn t;

    range.ref.skip = (uint32_t)first;
    CHECK_OK(txn_begin(b->s, TXN_WRITE, OP_COLD, b->v, &t));
    CHECK_OK(cold_release(&t, &range));
    CHECK_OK(txn_commit(&t));
}

static void copy(struct box *b, const char *from, uint64_t off, const char *to, uint64_t at, uint64_t len)
{
    size_t done = 0;

    CHECK_OK(vfs_copy(b->v, &b->c, box_node(b->v, box_root(b->v), from), off,
                      box_node(b->v, box_root(b->v), to), at, len, &done));
    CHECK_EQ(done, len);
}

TEST(test_cold_stat__what_only_snapshots_need_is_not_taken_off_what_is_here)
{
    struct far f = {0};
    struct box b;

    begin(&b, &f, 4);
    box_fill(&b, b.v, "f0", 0, MIB, 7);
    box_fill(&b, b.v, "f1", 0, BLOCKS(100), 8);
    box_remove(&b, b.v, "f2");
    CHECK_OK(vfs_orphans_drop_all(b.v));
    for (unsigned i = 0; i < 3; i++)
        release(&b, i, 0, 200);
    CHECK_EQ(stat_of(b.v).remote_bytes, BLOCKS(600));
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(3 * 256 - 100));
    far_figures(&b);
    box_sound(&b);
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(3 * 256 - 100));
    box_die(&b);
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(3 * 256 - 100));
    box_truncate(&b, b.v, "f1", BLOCKS(150));
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(2 * 256 + 100));
    far_figures(&b);
    box_close(&b);
}

TEST(test_cold_stat__clones_and_rollbacks_see_what_is_elsewhere)
{
    struct far f = {0};
    struct vol *w;
    struct box b;
    char kept[NAME_LEN_MAX + 1];

    begin(&b, &f, 3);
    release(&b, 0, 0, 256);
    CHECK_OK(volume_clone(b.v, "s", "copy", &w));
    release(&b, 1, 10, 100);
    CHECK_EQ(stat_of(w).remote_bytes, 0);
    CHECK_EQ(stat_of(w).local_bytes, BLOCKS(3 * 256 - 356));
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(3 * 256 - 356));
    box_fill(&b, w, "f1", BLOCKS(20), BLOCKS(10), 3);
    CHECK_EQ(stat_of(w).local_bytes, BLOCKS(3 * 256 - 346));
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(3 * 256 - 356));
    box_fill(&b, b.v, "f0", 0, MIB, 3);
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(3 * 256 - 100));
    far_figures(&b);
    CHECK_OK(snap_rollback(b.v, &b.c, "s", kept));
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(3 * 256 - 356));
    box_fill(&b, b.v, "f1", BLOCKS(105), BLOCKS(1), 3);
    CHECK_EQ(stat_of(b.v).local_bytes, BLOCKS(3 * 256 - 355));
    far_figures(&b);
    box_sound(&b);
    far_figures(&b);
    box_close(&b);
}

TEST(test_cold_stat__shared_blocks_count_in_each_file_and_each_once)
{
    struct far f = {0};
    struct box b;
    uint64_t here = BLOCKS(4 * 256 - 56);

    begin(&b, &f, 3);
    box_text(&b, b.v, "whole", "");
    copy(&b, "f0", 0, "whole", 0, MIB);
    release(&b, 0, 200, 28);
    far_figures(&b);
    CHECK_EQ(stat_of(b.v).local_bytes, here);
    box_fill(&b, b.v, "mixed", 0, 4 * MIB, 1); /* parts of three objects, and one of them twice */
    copy(&b, "f2", BLOCKS(10), "mixed", BLOCKS(900), BLOCKS(50));
    copy(&b, "f1", BLOCKS(0), "mixed", BLOCKS(300), BLOCKS(100));
    copy(&b, "f0", BLOCKS(190), "mixed", BLOCKS(17), BLOCKS(60));
    copy(&b, "f0", BLOCKS(190), "mixed", BLOCKS(600), BLOCKS(20));
    CHECK_EQ(stat_of(b.v).local_bytes, here += BLOCKS(1024 - 38));
    release(&b, 1, 0, 256);
    CHECK_EQ(stat_of(b.v).local_bytes, here -= BLOCKS(256 + 100));
    release(&b, 2, 0, 20);
    CHECK_EQ(stat_of(b.v).local_bytes, here -= BLOCKS(20 + 10));
    far_figures(&b);
    box_sound(&b);
    far_figures(&b);
    CHECK_OK(cold_recall(b.s, object_of(&b, 1), 0, 256)); /* before its ranges are taken away, and after */
    CHECK_EQ(stat_of(b.v).local_bytes, here += BLOCKS(256 + 100));
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(stat_of(b.v).local_bytes, here);
    box_remove(&b, b.v, "f0");
    box_remove(&b, b.v, "whole");
    far_figures(&b);
    CHECK_OK(vfs_orphans_drop_all(b.v));
    CHECK_EQ(stat_of(b.v).local_bytes, here - BLOCKS(2 * (256 - 28)));
    far_figures(&b);
    box_close(&b);
}

TEST(test_cold_stat__long_ranges_and_long_files)
{
    struct cold_run runs[2] = {far_run(1, 0, 100000), far_run(2, 150000, 9000)};
    struct far f = {0};
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", BLOCKS(160000), runs, 2);
    box_fill(&b, b.v, "here", 0, MIB, 1);
    CHECK_EQ(stat_of(b.v).local_bytes, MIB);
    CHECK_EQ(stat_of(b.v).ranges, 2);
    CHECK_EQ(stat_of(b.v).remote_bytes, BLOCKS(109000));
    box_text(&b, b.v, "b", "");
    copy(&b, "a", 0, "b", 0, BLOCKS(160000));
    CHECK_EQ(stat_of(b.v).local_bytes, MIB);
    box_fill(&b, b.v, "a", BLOCKS(90000), BLOCKS(5), 1);
    box_fill(&b, b.v, "b", BLOCKS(1u << 22), BLOCKS(5), 1);
    CHECK_EQ(stat_of(b.v).local_bytes, MIB + BLOCKS(10));
    far_figures(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
