#include <sys/stat.h>

#include "snap/snapshot.h"
#include "snap/store/object.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

TEST(test_rollback__is_undoable_and_exact)
{
    cleanup(buf_free) struct buf s = {0}, now = {0}, have = {0};
    uint64_t rng = test_seed();
    char kept[NAME_LEN_MAX + 1];
    struct box b;

    box_open(&b, NULL, NULL);
    box_mess(&b, b.v, &rng, 120);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_picture(b.v, box_root(b.v), &s);
    box_mess(&b, b.v, &rng, 120);
    box_picture(b.v, box_root(b.v), &now);
    CHECK_OK(snap_rollback(b.v, &b.c, "s", kept));
    box_picture(b.v, box_root(b.v), &have);
    CHECK(box_same(&s, &have));
    CHECK(strncmp(kept, "before-rollback-", 16) == 0);
    box_picture(b.v, box_view(b.v, kept), &have);
    CHECK(box_same(&now, &have));
    box_sound(&b);
    CHECK_OK(snap_rollback(b.v, &b.c, kept, NULL));
    box_picture(b.v, box_root(b.v), &have);
    CHECK(box_same(&now, &have));
    box_sound(&b);
    box_mess(&b, b.v, &rng, 60);
    box_sound(&b);
    box_close(&b);
}

TEST(test_rollback__F7_the_old_tree_stays_under_its_numbers)
{
    vfs_node old, fresh;
    struct vfs_attr a;
    size_t got;
    char text[8];
    struct box b;

    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "one");
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_text(&b, b.v, "f", "two");
    old = box_node(b.v, box_root(b.v), "f");
    CHECK_OK(snap_rollback(b.v, &b.c, "s", NULL));
    fresh = box_node(b.v, box_root(b.v), "f");
    CHECK(fresh.v != old.v); /* nothing that the kernel cached is met again */
    CHECK_EQ(vfs_node_ino(fresh), vfs_node_ino(old));
    CHECK_OK(vfs_getattr(b.v, fresh, &a));
    CHECK_EQ(a.st_ino, vfs_node_ino(old)); /* and yet programs see the same number */
    CHECK(box_is(b.v, box_root(b.v), "f", "one"));
    CHECK_OK(vfs_read(b.v, old, text, 3, 0, &got));
    CHECK(got == 3 && memcmp(text, "two", 3) == 0);
    CHECK_ERR(vfs_write(b.v, &b.c, old, "x", 1, 0, false), -E_STALE);
    CHECK(box_is(b.v, vfs_node_make(0, INO_ROOT), "f", "one")); /* node 1 is always the live root */
    box_die(&b);
    CHECK_OK(vfs_read(b.v, old, text, 3, 0, &got));
    CHECK(got == 3 && memcmp(text, "two", 3) == 0);
    CHECK_OK(views_free_all(b.v)); /* the last unmount: nobody knows them any more */
    CHECK(box_is(b.v, box_root(b.v), "f", "one"));
    box_close(&b);
}

TEST(test_rollback__a_deleted_before_snapshot_makes_old_nodes_stale)
{
    char kept[NAME_LEN_MAX + 1];
    struct vfs_attr a;
    struct box b;
    vfs_node old;

    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "one");
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_OK(snap_rollback(b.v, &b.c, "s", NULL));
    box_text(&b, b.v, "f", "two");
    old = box_node(b.v, box_root(b.v), "f");
    CHECK_OK(snap_rollback(b.v, &b.c, "s", kept));
    CHECK_OK(vfs_getattr(b.v, old, &a));
    CHECK_OK(snap_delete(b.v, &b.c, kept));
    CHECK_ERR(vfs_getattr(b.v, old, &a), -E_STALE);
    box_sound(&b);
    box_close(&b);
}

TEST(test_rollback__chains_of_fifty_with_writes_between)
{
    enum { N = 50 };
    cleanup(buf_free) struct buf have = {0};
    struct buf keep[4] = {{0}};
    char kept[N][NAME_LEN_MAX + 1];
    uint64_t rng = test_seed();
    struct branch_rec br;
    struct box b;

    box_open(&b, NULL, NULL);
    box_mess(&b, b.v, &rng, 60);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    for (int i = 0; i < N; i++) {
        struct buf *now = &keep[i % 4];
        box_mess(&b, b.v, &rng, 12);
        box_picture(b.v, box_root(b.v), now);
        CHECK_OK(snap_rollback(b.v, &b.c, i % 3 == 2 ? kept[i - 1] : "s", kept[i]));
        if (i % 3 == 2) {
            box_picture(b.v, box_root(b.v), &have);
            CHECK(box_same(&keep[(i - 1) % 4], &have));
        }
        CHECK_OK(branch_get(b.s, b.v->rec.head, &br));
        CHECK(br.depth <= 16);
        if (i % 10 == 9)
            box_sound(&b);
    }
    box_picture(b.v, box_view(b.v, kept[N - 1]), &have);
    CHECK(box_same(&keep[(N - 1) % 4], &have));
    for (int i = 0; i < N; i++)
        CHECK_OK(snap_delete(b.v, &b.c, kept[i]));
    box_sound(&b);
    for (int i = 0; i < 4; i++)
        buf_free(&keep[i]);
    box_close(&b);
}

TEST(test_rollback__a_thousand_undone_and_redone_keep_lookups_short)
{
    char kept[NAME_LEN_MAX + 1], text[32];
    struct branch_rec br;
    struct box b;

    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "0");
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        if (i % 4 == 0)
            box_text(&b, b.v, "f", text);
        CHECK_OK(snap_rollback(b.v, &b.c, i % 2 ? kept : "s", kept));
        CHECK_OK(branch_get(b.s, b.v->rec.head, &br));
        CHECK(br.depth <= 16);
        if (i % 50 == 0)
            CHECK_OK(store_checkpoint(b.s));
    }
    box_sound(&b);
    CHECK_OK(branch_get(b.s, b.v->rec.head, &br));
    CHECK(br.depth <= 4); /* what rollbacks pile up is flattened behind them */
    box_close(&b);
}

TEST(test_rollback__files_without_a_name_are_left_out)
{
    uint64_t used, inodes;
    struct vfs_attr a;
    struct box b;

    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "one");
    CHECK_OK(vfs_tmpfile(b.v, &b.c, box_root(b.v), S_IFREG | 0600, &a));
    box_fill(&b, b.v, "g", 0, 1 << 20, 1);
    vfs_node g = box_node(b.v, box_root(b.v), "g");
    used = vol_used_blocks(b.v);
    inodes = b.v->stat.inodes;
    box_remove(&b, b.v, "g"); /* open still */
    CHECK_EQ(vol_used_blocks(b.v), used);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_OK(vfs_orphan_drop(b.v, vfs_node_ino(g)));
    CHECK_OK(snap_rollback(b.v, &b.c, "s", NULL));
    CHECK_OK(store_reclaim_idle(b.s));
    CHECK_EQ(b.v->stat.inodes, inodes - 2);
    box_sound(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
