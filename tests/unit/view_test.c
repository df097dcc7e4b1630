#include "snap/snapshot.h"

#include <stdio.h>
#include <sys/stat.h>

#include "tests/lib/box.h"
#include "tests/lib/test.h"

TEST(test_view__F4_every_snapshot_keeps_what_it_showed)
{
    enum { N = 14 };
    struct buf had[N] = {{0}}, have = {0};
    uint64_t rng = test_seed();
    char name[16];
    struct box b;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < N; i++) {
        box_mess(&b, b.v, &rng, 50);
        snprintf(name, sizeof(name), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
        box_picture(b.v, box_view(b.v, name), &had[i]);
    }
    box_mess(&b, b.v, &rng, 80);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        box_picture(b.v, box_view(b.v, name), &have);
        CHECK(box_same(&had[i], &have));
    }
    box_sound(&b);
    box_reopen(&b);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        box_picture(b.v, box_view(b.v, name), &have);
        CHECK(box_same(&had[i], &have));
        buf_free(&had[i]);
    }
    buf_free(&have);
    box_sound(&b);
    box_close(&b);
}

TEST(test_view__F5_shared_bytes_are_not_written_through)
{
    struct box b;
    uint64_t done;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "a", 0, 64 << 10, 1);
    box_fill(&b, b.v, "same", 0, 64 << 10, 1);
    box_write(&b, b.v, "b", "", 0, 0);
    CHECK_OK(vfs_copy(b.v, &b.c, box_node(b.v, box_root(b.v), "a"), 0, box_node(b.v, box_root(b.v), "b"), 0,
                      64 << 10, &done));
    CHECK_EQ(done, 64 << 10);
    box_fill(&b, b.v, "a", 0, 64 << 10, 2);
    cleanup(buf_free) struct buf x = {0}, y = {0};
    CHECK_OK(buf_add_zero(&x, 64 << 10));
    CHECK_OK(buf_add_zero(&y, 64 << 10));
    size_t got;
    CHECK_OK(vfs_read(b.v, box_node(b.v, box_root(b.v), "b"), x.data, x.len, 0, &got));
    CHECK_OK(vfs_read(b.v, box_node(b.v, box_root(b.v), "same"), y.data, y.len, 0, &got));
    CHECK(memcmp(x.data, y.data, x.len) == 0);
    box_sound(&b);
    box_close(&b);
}

TEST(test_view__F8_the_same_directory_entered_twice_has_two_views)
{
    vfs_node root, sub, by_root, again;
    struct vfs_attr a, live;
    struct box b;

    box_open(&b, NULL, NULL);
    box_mkdir(&b, b.v, "a");
    box_mkdir(&b, b.v, "a/b");
    box_text(&b, b.v, "a/b/f", "then");
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_text(&b, b.v, "a/b/f", "now!");
    sub = box_node(b.v, box_root(b.v), "a");
    CHECK_OK(view_enter(b.v, "s", INO_ROOT, &root, &a));
    CHECK_OK(view_enter(b.v, "s", vfs_node_ino(sub), &sub, &a));
    by_root = box_node(b.v, root, "a");
    CHECK(by_root.v != sub.v);
    CHECK(vfs_node_view(by_root) != vfs_node_view(sub));
    CHECK_EQ(vfs_node_ino(by_root), vfs_node_ino(sub));
    CHECK(box_is(b.v, sub, "b/f", "then"));
    CHECK(box_is(b.v, root, "a/b/f", "then"));
    CHECK_OK(view_enter(b.v, "s", INO_ROOT, &again, &a));
    CHECK_EQ(again.v, root.v);
    /* numbers of files in views and in the live tree differ: cp and diff see two files */
    CHECK_OK(vfs_getattr(b.v, box_node(b.v, box_root(b.v), "a/b/f"), &live));
    CHECK_OK(vfs_getattr(b.v, box_node(b.v, root, "a/b/f"), &a));
    CHECK(live.st_ino != a.st_ino);
    box_die(&b);
    CHECK_OK(view_enter(b.v, "s", INO_ROOT, &again, &a));
    CHECK_EQ(again.v, root.v);
    CHECK(box_is(b.v, sub, "b/f", "then"));
    box_close(&b);
}

TEST(test_view__F8_shows_the_inode_wherever_it_was_then)
{
    vfs_node root, dir, later;
    struct vfs_attr a;
    struct box b;

    box_open(&b, NULL, NULL);
    box_mkdir(&b, b.v, "old");
    box_text(&b, b.v, "old/f", "1");
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_rename(&b, b.v, "old", "new");
    box_mkdir(&b, b.v, "later");
    dir = box_node(b.v, box_root(b.v), "new");
    later = box_node(b.v, box_root(b.v), "later");
    CHECK_OK(view_enter(b.v, "s", vfs_node_ino(dir), &root, &a));
    CHECK(box_is(b.v, root, "f", "1"));
    CHECK_ERR(view_enter(b.v, "s", vfs_node_ino(later), &root, &a), -E_NOENT);
    CHECK_ERR(view_enter(b.v, "none", INO_ROOT, &root, &a), -E_NOENT);
    CHECK_ERR(view_enter(b.v, "s", vfs_node_ino(box_node(b.v, box_root(b.v), "new/f")), &root, &a), -E_NOENT);
    box_close(&b);
}

TEST(test_view__F8_changes_are_refused_and_deleted_ones_are_stale)
{
    struct vfs_attr a;
    vfs_node root;
    struct box b;

    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "1");
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    root = box_view(b.v, "s");
    CHECK_ERR(vfs_write(b.v, &b.c, box_node(b.v, root, "f"), "x", 1, 0, false), -E_ROFS);
    CHECK_ERR(vfs_mknod(b.v, &b.c, root, "g", S_IFREG | 0644, 0, &a), -E_ROFS);
    CHECK_ERR(vfs_unlink(b.v, &b.c, root, "f"), -E_ROFS);
    CHECK_OK(snap_delete(b.v, &b.c, "s"));
    CHECK_ERR(vfs_getattr(b.v, root, &a), -E_STALE);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK(box_view(b.v, "s").v != root.v); /* numbers are not given twice within a mount */
    CHECK_OK(views_free_all(b.v));
    CHECK_ERR(vfs_getattr(b.v, vfs_node_make(2, INO_ROOT), &a), -E_STALE);
    box_sound(&b);
    box_close(&b);
}

/* Whoever looks into `.snapshots` of every directory makes as many views. */
TEST(test_view__more_views_than_a_record_holds_can_be_forgotten)
{
    enum { N = 6000 };
    static uint64_t inos[N];
    vfs_node gone = {0}, stays = {0};
    struct vfs_attr a;
    struct box b;

    box_segment_bytes = 128 << 10;
    box_open(&b, NULL, NULL);
    box_segment_bytes = 4 << 20;
    for (int i = 0; i < N; i++) {
        char name[16];

        snprintf(name, sizeof(name), "d%d", i);
        CHECK_OK(vfs_mknod(b.v, &b.c, box_root(b.v), name, S_IFDIR | 0755, 0, &a));
        inos[i] = vfs_node_ino(a.node);
    }
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_OK(snap_create(b.v, &b.c, "t", NULL));
    for (int i = 0; i < N; i++) {
        CHECK_OK(view_enter(b.v, "s", inos[i], &gone, NULL));
        CHECK_OK(view_enter(b.v, "t", inos[i], &stays, NULL));
    }
    CHECK_OK(snap_delete(b.v, &b.c, "s"));
    CHECK_ERR(vfs_getattr(b.v, gone, &a), -E_STALE);
    CHECK_OK(vfs_getattr(b.v, stays, &a));
    CHECK_OK(views_free_all(b.v));
    CHECK_ERR(vfs_getattr(b.v, stays, &a), -E_STALE);
    box_sound(&b);
    box_close(&b);
}

/* While the last mount's connection ends, the next one has begun: what that knows stays. */
TEST(test_view__those_of_the_next_mount_stay)
{
    struct vfs_attr a;
    vfs_node root;
    struct box b;

    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "1");
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_OK(snap_rollback(b.v, &b.c, "s", NULL));
    b.v->mounts = 2;
    root = box_view(b.v, "s");
    CHECK_OK(vfs_lookup(b.v, box_root(b.v), "f", &a));
    CHECK_OK(views_free_all(b.v));
    CHECK_OK(vfs_getattr(b.v, a.node, &a));
    CHECK_OK(vfs_getattr(b.v, root, &a));
    CHECK_EQ(box_view(b.v, "s").v, root.v);
    b.v->mounts = 1;
    CHECK_OK(views_free_all(b.v));
    CHECK_ERR(vfs_getattr(b.v, root, &a), -E_STALE);
    b.v->mounts = 0;
    box_close(&b);
}

TEST(test_view__restoring_by_copy_out_of_a_view)
{
    struct vfs_attr a;
    struct box b;
    uint64_t done;
    vfs_node from;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 3 << 20, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_fill(&b, b.v, "f", 5000, 2 << 20, 2);
    from = box_node(b.v, box_view(b.v, "s"), "f");
    CHECK_OK(vfs_copy(b.v, &b.c, from, 0, box_node(b.v, box_root(b.v), "f"), 0, 3 << 20, &done));
    CHECK_EQ(done, 3 << 20);
    cleanup(buf_free) struct buf x = {0}, y = {0};
    CHECK_OK(buf_add_zero(&x, 3 << 20));
    CHECK_OK(buf_add_zero(&y, 3 << 20));
    size_t got;
    CHECK_OK(vfs_read(b.v, from, x.data, x.len, 0, &got));
    CHECK_OK(vfs_read(b.v, box_node(b.v, box_root(b.v), "f"), y.data, y.len, 0, &got));
    CHECK(memcmp(x.data, y.data, x.len) == 0);
    CHECK_OK(snap_delete(b.v, &b.c, "s"));
    box_sound(&b);
    CHECK_OK(vfs_read(b.v, box_node(b.v, box_root(b.v), "f"), y.data, y.len, 0, &got));
    CHECK(memcmp(x.data, y.data, x.len) == 0);
    CHECK_OK(vfs_getattr(b.v, box_node(b.v, box_root(b.v), "f"), &a));
    CHECK_EQ(a.size, 3 << 20);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
