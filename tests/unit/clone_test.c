#include "snap/snapshot.h"
#include "snap/store/object.h"
#include "snap/store/store_int.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

TEST(test_clone__F14_both_go_their_own_way)
{
    cleanup(buf_free) struct buf s = {0}, have = {0}, a = {0}, c = {0};
    uint64_t rng = test_seed();
    struct vol *w;
    struct box b;

    box_open(&b, NULL, NULL);
    box_mess(&b, b.v, &rng, 120);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_picture(b.v, box_root(b.v), &s);
    box_mess(&b, b.v, &rng, 40);
    box_picture(b.v, box_root(b.v), &a);
    CHECK_OK(volume_clone(b.v, "s", "copy", &w));
    box_picture(w, box_root(w), &have);
    CHECK(box_same(&s, &have));
    box_mess(&b, w, &rng, 120);
    box_picture(w, box_root(w), &c);
    box_picture(b.v, box_root(b.v), &have);
    CHECK(box_same(&a, &have));
    box_mess(&b, b.v, &rng, 60);
    box_picture(w, box_root(w), &have);
    CHECK(box_same(&c, &have));
    box_sound(&b);
    box_reopen(&b);
    CHECK_OK(volume_find(b.s, "copy", &w));
    box_picture(w, box_root(w), &have);
    CHECK(box_same(&c, &have));
    box_close(&b);
}

TEST(test_clone__F14_what_a_clone_deleted_does_not_come_back)
{
    struct vol *w, *x;
    struct box b;

    box_open(&b, NULL, NULL);
    box_mkdir(&b, b.v, "d");
    box_text(&b, b.v, "d/f", "1");
    box_text(&b, b.v, "g", "2");
    CHECK_OK(volume_clone(b.v, NULL, "copy", &w));
    box_remove(&b, w, "d/f");
    box_remove(&b, w, "d");
    CHECK(!box_there(w, box_root(w), "d"));
    CHECK(box_there(w, box_root(w), "g"));
    CHECK_OK(snap_create(w, &b.c, "s", NULL));
    box_mkdir(&b, w, "d");
    CHECK(!box_there(w, box_root(w), "d/f"));
    CHECK_OK(volume_clone(w, "s", "copy2", &x));
    CHECK(!box_there(x, box_root(x), "d"));
    CHECK(box_is(x, box_root(x), "g", "2"));
    CHECK(box_is(b.v, box_root(b.v), "d/f", "1"));
    box_sound(&b);
    box_close(&b);
}

TEST(test_clone__a_pinned_snapshot_is_hidden_only_and_goes_with_the_clone)
{
    struct layer_rec rec;
    struct vol *w;
    uint64_t blocks;
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 1 << 20, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_OK(volume_clone(b.v, "s", "copy", &w));
    box_fill(&b, b.v, "f", 0, 1 << 20, 2);
    CHECK_OK(snap_delete(b.v, &b.c, "s"));
    CHECK_ERR(snap_find(b.v, "s", &rec), -E_NOENT);
    box_sound(&b);
    CHECK_EQ(box_records(&b, TAB_LAYER, 0), 1);
    blocks = box_disk_blocks(&b);
    CHECK(blocks >= 512);
    CHECK_OK(volume_delete(w, NULL));
    CHECK_OK(volume_purge(w));
    box_sound(&b);
    CHECK_EQ(box_records(&b, TAB_LAYER, 0), 0);
    CHECK(box_disk_blocks(&b) <= blocks - 256);
    box_close(&b);
}

TEST(test_clone__clones_of_clones_until_the_chain_is_too_long)
{
    cleanup(buf_free) struct buf want = {0}, have = {0};
    uint64_t rng = test_seed();
    struct vol *v, *next;
    char name[32];
    struct box b;
    int r = 0, n;

    box_open(&b, NULL, NULL);
    v = b.v;
    box_mess(&b, v, &rng, 60);
    for (n = 0; n < 40 && r == 0; n++) {
        snprintf(name, sizeof(name), "n%d", n);
        box_text(&b, v, "mark", name);
        box_picture(v, box_root(v), &want);
        snprintf(name, sizeof(name), "c%d", n);
        r = volume_clone(v, NULL, name, &next);
        if (r < 0)
            break;
        box_picture(next, box_root(next), &have);
        CHECK(box_same(&want, &have));
        v = next;
    }
    CHECK_ERR(r, -E_DEPTH);
    CHECK_EQ(n, 16);
    box_sound(&b); /* flattens in the background */
    box_picture(v, box_root(v), &have);
    CHECK(box_same(&want, &have));
    CHECK_OK(volume_clone(v, NULL, "after", &next));
    box_picture(next, box_root(next), &have);
    CHECK(box_same(&want, &have));
    box_close(&b);
}

TEST(test_clone__flattening_keeps_every_state_and_lets_the_parent_go)
{
    cleanup(buf_free) struct buf s0 = {0}, s1 = {0}, now = {0}, have = {0};
    uint64_t rng = test_seed();
    struct vol *v, *next;
    char name[32];
    struct box b;

    box_open(&b, NULL, NULL);
    box_mess(&b, b.v, &rng, 100);
    v = b.v;
    for (int i = 0; i < 5; i++) { /* the fifth is queued for flattening */
        snprintf(name, sizeof(name), "c%d", i);
        CHECK_OK(volume_clone(v, NULL, name, &next));
        v = next;
        if (i < 4)
            box_mess(&b, v, &rng, 20);
    }
    CHECK_OK(snap_create(v, &b.c, "s0", NULL));
    box_picture(v, box_root(v), &s0);
    box_mess(&b, v, &rng, 60);
    CHECK_OK(snap_create(v, &b.c, "s1", NULL));
    box_picture(v, box_root(v), &s1);
    box_mess(&b, v, &rng, 60);
    box_picture(v, box_root(v), &now);
    box_sound(&b);
    box_picture(v, box_view(v, "s0"), &have);
    CHECK(box_same(&s0, &have));
    box_picture(v, box_view(v, "s1"), &have);
    CHECK(box_same(&s1, &have));
    box_picture(v, box_root(v), &have);
    CHECK(box_same(&now, &have));
    for (int i = 3; i >= 0; i--) { /* nothing of it lies in its ancestors any more */
        snprintf(name, sizeof(name), "c%d", i);
        CHECK_OK(volume_find(b.s, name, &next));
        CHECK_OK(volume_delete(next, NULL));
        CHECK_OK(volume_purge(next));
        box_sound(&b);
    }
    box_picture(v, box_view(v, "s0"), &have);
    CHECK(box_same(&s0, &have));
    box_picture(v, box_root(v), &have);
    CHECK(box_same(&now, &have));
    CHECK_OK(snap_delete(v, &b.c, "s0"));
    CHECK_OK(snap_delete(v, &b.c, "s1"));
    box_sound(&b);
    box_picture(v, box_root(v), &have);
    CHECK(box_same(&now, &have));
    box_close(&b);
}

TEST(test_clone__quota_starts_from_the_snapshot)
{
    struct volume_opts o = {.size_limit = 4 << 20};
    struct vol *v, *w;
    uint64_t used;
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_OK(volume_create(b.s, "two", &o, &v));
    box_fill(&b, v, "f", 0, 1 << 20, 1);
    CHECK_OK(snap_create(v, &b.c, "s", NULL));
    used = vol_used_blocks(v);
    box_fill(&b, v, "g", 0, 1 << 20, 2);
    CHECK_OK(volume_clone(v, "s", "copy", &w));
    CHECK_EQ(vol_used_blocks(w), used);
    CHECK_EQ(w->rec.size_limit, 4 << 20);
    box_sound(&b);
    box_close(&b);
}

TEST(test_clone__survives_the_daemons_death)
{
    cleanup(buf_free) struct buf want = {0}, have = {0};
    uint64_t rng = test_seed();
    struct vol *w;
    struct box b;

    box_open(&b, NULL, NULL);
    box_mess(&b, b.v, &rng, 80);
    CHECK_OK(volume_clone(b.v, NULL, "copy", &w));
    box_mess(&b, w, &rng, 40);
    box_picture(w, box_root(w), &want);
    box_die(&b);
    CHECK_OK(volume_find(b.s, "copy", &w));
    box_picture(w, box_root(w), &have);
    CHECK(box_same(&want, &have));
    box_sound(&b);
    box_close(&b);
}

/* As of a store that has made and deleted clones for years, and of one whose record of it is damaged. */
TEST(test_clone__numbers_may_lie_far_apart)
{
    struct vol *w;
    struct box b;

    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "1");
    b.s->next.branch = 0xfffffff0;
    CHECK_OK(volume_clone(b.v, NULL, "copy", &w));
    box_text(&b, w, "f", "2");
    box_reopen(&b);
    CHECK_OK(volume_find(b.s, "copy", &w));
    CHECK(box_is(w, box_root(w), "f", "2"));
    CHECK(box_is(b.v, box_root(b.v), "f", "1"));
    box_sound(&b);
    box_reopen(&b);
    b.s->next.branch = UINT32_MAX;
    CHECK_ERR(volume_clone(b.v, NULL, "copy2", &w), -E_CORRUPT);
    CHECK(box_is(b.v, box_root(b.v), "f", "1"));
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
