#include "snap/snapshot.h"
#include "snap/store/object.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

#define N 8

/* What is left when all snapshots are gone is what the live tree needs, and nothing else. */
static void check_clean(struct box *b, struct vol *v)
{
    uint32_t head = v->rec.head;

    box_sound(b);
    CHECK_EQ(box_records(b, TAB_LAYER, 0), 0);
    CHECK_EQ(box_records(b, TAB_BRANCH, 0), 1);
    for (uint8_t tab = TAB_INODE; tab < TAB__LIFE_END; tab++) {
        CHECK_EQ(box_records(b, tab | TAB_HISTORY, 0), 0);
        CHECK_EQ(box_records(b, tab, 0), box_records(b, tab, head));
    }
    CHECK_EQ(box_records(b, TAB_RECLAIM, 0), 0);
}

/* The blocks on disk when the same tree lies in a store without snapshots are a bound (shared objects are kept whole). */
static void delete_in_order(struct box *b, const int *order, struct buf *had, const struct buf *live)
{
    cleanup(buf_free) struct buf have = {0};
    bool gone[N] = {0};
    char name[16];

    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "s%d", order[i]);
        CHECK_OK(snap_delete(b->v, &b->c, name));
        gone[order[i]] = true;
        box_sound(b);
        box_picture(b->v, box_root(b->v), &have);
        CHECK(box_same(live, &have));
        for (int k = 0; k < N; k++) {
            if (gone[k])
                continue;
            snprintf(name, sizeof(name), "s%d", k);
            box_picture(b->v, box_view(b->v, name), &have);
            CHECK(box_same(&had[k], &have));
        }
    }
}

static void any_order(const char *dir, uint64_t seed, const int *order, bool ops_between)
{
    cleanup(buf_free) struct buf live = {0}, have = {0};
    struct buf had[N] = {{0}};
    uint64_t rng = seed;
    char name[16];
    struct box b;

    box_open(&b, NULL, dir);
    for (int i = 0; i < N; i++) {
        box_mess(&b, b.v, &rng, 30);
        snprintf(name, sizeof(name), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
        box_picture(b.v, box_root(b.v), &had[i]);
    }
    if (ops_between)
        box_mess(&b, b.v, &rng, 40);
    box_picture(b.v, box_root(b.v), &live);
    delete_in_order(&b, order, had, &live);
    CHECK_OK(vfs_orphans_drop_all(b.v));
    check_clean(&b, b.v);
    box_picture(b.v, box_root(b.v), &have);
    CHECK(box_same(&live, &have));
    box_mess(&b, b.v, &rng, 40);
    CHECK_OK(vfs_orphans_drop_all(b.v));
    check_clean(&b, b.v);
    for (int i = 0; i < N; i++)
        buf_free(&had[i]);
    box_close(&b);
}

TEST(test_reclaim__F15_oldest_first)
{
    any_order(NULL, test_seed(), (const int[]){0, 1, 2, 3, 4, 5, 6, 7}, true);
}

TEST(test_reclaim__F15_newest_first)
{
    any_order(NULL, test_seed(), (const int[]){7, 6, 5, 4, 3, 2, 1, 0}, true);
}

TEST(test_reclaim__F15_middle_first)
{
    any_order(NULL, test_seed(), (const int[]){3, 4, 2, 5, 1, 6, 0, 7}, false);
}

TEST(test_reclaim__F15_in_random_orders)
{
    uint64_t rng = test_seed();
    char dir[300];

    for (int round = 0; round < 4; round++) {
        int order[N];
        for (int i = 0; i < N; i++)
            order[i] = i;
        for (int i = N - 1; i > 0; i--) {
            int k = (int)(test_rand(&rng) % (uint64_t)(i + 1)), x = order[i];
            order[i] = order[k];
            order[k] = x;
        }
        snprintf(dir, sizeof(dir), "%s/r%d", test_dir(), round);
        any_order(dir, test_rand(&rng), order, round & 1);
    }
}

/* Without sharing, the disk holds exactly the live blocks in the end (holes of files are holes below). */
TEST(test_reclaim__F15_frees_the_blocks_on_disk)
{
    char name[16];
    uint64_t used;
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "big", 0, 8 << 20, 1);
    box_fill(&b, b.v, "log", 0, 64 << 10, 1);
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
        box_fill(&b, b.v, "big", (uint64_t)i << 20, 1 << 20, (uint64_t)i + 7);
        box_fill(&b, b.v, "big", (6 << 20) + (uint64_t)i * 8192, 4096, (uint64_t)i + 9);
        box_fill(&b, b.v, "log", (64 << 10) + (uint64_t)i * 10000, 10000, 3);
    }
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof(name), "s%d", (i * 5 + 2) % 6);
        CHECK_OK(snap_delete(b.v, &b.c, name));
        box_sound(&b);
    }
    CHECK_OK(store_checkpoint(b.s));
    used = vol_used_blocks(b.v);
    CHECK(box_disk_blocks(&b) <= used);
    box_close(&b);
}

TEST(test_reclaim__what_no_snapshot_shows_leaves_at_once)
{
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "big", 0, 4 << 20, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_OK(snap_delete(b.v, &b.c, "s"));
    box_sound(&b);
    box_fill(&b, b.v, "big", 0, 4 << 20, 2); /* a new layer: the old bytes are nobody's */
    box_sound(&b);
    CHECK_EQ(box_records(&b, TAB_INODE | TAB_HISTORY, 0), 0);
    CHECK(box_disk_blocks(&b) <= vol_used_blocks(b.v));
    box_close(&b);
}

TEST(test_reclaim__unique_bytes_are_what_deleting_frees)
{
    struct snap_info a, c;
    uint64_t before, after;
    struct volume_info info;
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 4 << 20, 1);
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    CHECK_OK(snap_get_info(b.v, "a", &a));
    CHECK_EQ(a.unique_bytes, 0);
    box_fill(&b, b.v, "f", 0, 1 << 20, 2);
    CHECK_OK(snap_create(b.v, &b.c, "c", NULL));
    box_fill(&b, b.v, "f", 2 << 20, 2 << 20, 3); /* a and c both hold the old bytes */
    CHECK_OK(snap_get_info(b.v, "a", &a));
    CHECK_OK(snap_get_info(b.v, "c", &c));
    CHECK_EQ(a.unique_bytes, 1 << 20);
    CHECK_EQ(a.freed_bytes, 1 << 20);
    CHECK_EQ(c.unique_bytes, 0);
    CHECK_OK(volume_get_info(b.v, &info));
    CHECK_EQ(info.snapshot_bytes, 3 << 20);
    box_sound(&b);
    before = box_disk_blocks(&b);
    CHECK_OK(snap_delete(b.v, &b.c, "a"));
    box_sound(&b);
    after = box_disk_blocks(&b);
    CHECK_EQ((before - after) * BLOCK_SIZE, a.freed_bytes);
    CHECK_OK(snap_get_info(b.v, "c", &c));
    CHECK_EQ(c.unique_bytes, 2 << 20);
    CHECK_OK(snap_delete(b.v, &b.c, "c"));
    box_sound(&b);
    CHECK_EQ((after - box_disk_blocks(&b)) * BLOCK_SIZE, c.unique_bytes);
    box_close(&b);
}

TEST(test_reclaim__F15_goes_on_after_the_daemons_death)
{
    cleanup(buf_free) struct buf s = {0}, live = {0}, have = {0};
    uint64_t rng = test_seed();
    char dir[300];
    struct box b;

    for (int when = 0; when < 5; when++) {
        snprintf(dir, sizeof(dir), "%s/r%d", test_dir(), when);
        box_open(&b, NULL, dir);
        box_mess(&b, b.v, &rng, 60);
        CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
        box_mess(&b, b.v, &rng, 60);
        CHECK_OK(snap_create(b.v, &b.c, "b", NULL));
        box_mess(&b, b.v, &rng, 60);
        CHECK_OK(snap_create(b.v, &b.c, "c", NULL));
        box_mess(&b, b.v, &rng, 60);
        box_picture(b.v, box_view(b.v, "b"), &s);
        box_picture(b.v, box_root(b.v), &live);
        CHECK_OK(snap_delete(b.v, &b.c, "a"));
        CHECK_OK(snap_delete(b.v, &b.c, "c"));
        for (int i = 0; i < when; i++) {
            CHECK_OK(i & 1 ? store_checkpoint(b.s) : store_flush(b.s));
            box_die(&b);
        }
        box_picture(b.v, box_view(b.v, "b"), &have);
        CHECK(box_same(&s, &have));
        box_sound(&b);
        box_picture(b.v, box_view(b.v, "b"), &have);
        CHECK(box_same(&s, &have));
        box_picture(b.v, box_root(b.v), &have);
        CHECK(box_same(&live, &have));
        CHECK_OK(snap_delete(b.v, &b.c, "b"));
        CHECK_OK(vfs_orphans_drop_all(b.v));
        check_clean(&b, b.v);
        box_close(&b);
    }
}

TEST(test_reclaim__abandoned_branches_are_freed_in_every_order)
{
    uint64_t seed = test_seed();

    for (int round = 0; round < 6; round++) {
        cleanup(buf_free) struct buf live = {0}, have = {0};
        char kept[3][NAME_LEN_MAX + 1], dir[300];
        uint64_t rng = seed + (uint64_t)round;
        struct box b;

        snprintf(dir, sizeof(dir), "%s/r%d", test_dir(), round);
        box_open(&b, NULL, dir);
        box_mess(&b, b.v, &rng, 50);
        CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
        for (int i = 0; i < 3; i++) {
            box_mess(&b, b.v, &rng, 40);
            CHECK_OK(snap_rollback(b.v, &b.c, i == 2 ? kept[0] : "s", kept[i]));
        }
        box_mess(&b, b.v, &rng, 30);
        box_picture(b.v, box_root(b.v), &live);
        for (int i = 0; i < 3; i++) {
            int k = (i * (round % 2 ? 2 : 1) + round) % 3;
            CHECK_OK(snap_delete(b.v, &b.c, kept[k]));
            box_sound(&b);
            box_picture(b.v, box_root(b.v), &have);
            CHECK(box_same(&live, &have));
        }
        CHECK_OK(snap_delete(b.v, &b.c, "s"));
        box_sound(&b);
        box_picture(b.v, box_root(b.v), &have);
        CHECK(box_same(&live, &have));
        box_mess(&b, b.v, &rng, 30);
        box_sound(&b);
        box_close(&b);
    }
}

/* Deleting a snapshot costs what changed around it, at any number of files. */
TEST(test_reclaim__F15_cost_does_not_grow_with_the_tree)
{
    struct store_state st;
    uint64_t lsn;
    char name[32];
    struct box b;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        box_text(&b, b.v, name, "x");
    }
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    box_text(&b, b.v, "n7", "y");
    CHECK_OK(snap_create(b.v, &b.c, "b", NULL));
    box_text(&b, b.v, "n7", "z");
    CHECK_OK(store_checkpoint(b.s));
    store_get_state(b.s, &st);
    lsn = st.appended_lsn;
    CHECK_OK(snap_delete(b.v, &b.c, "b"));
    CHECK_OK(store_reclaim_idle(b.s));
    store_get_state(b.s, &st);
    CHECK(st.appended_lsn - lsn < 20); /* a transaction frees at most 64 records */
    box_sound(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
