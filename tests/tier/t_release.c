/* What a recovery point has need not lie here as well: released bytes read as before, and their room is free. */
#include <stdio.h>
#include <sys/stat.h>

#include "snap/snapshot.h"
#include "snap/store/cold.h"
#include "tests/lib/test.h"
#include "tests/tier/tiering_rig.h"

TEST(test_release__random_trees_read_as_before)
{
    uint64_t rng = test_seed();

    for (int round = 0; round < 6; round++) {
        cleanup(buf_free) struct buf want = {0}, is = {0};
        struct release_result res;
        struct backup_result up;
        struct repo_rig g;

        rig_begin(&g);
        tiering_connect(&g);
        box_mess(&g.b, g.b.v, &rng, 60);
        rig_fill_file(&g, "large", 3000000);
        up = rig_back_up(&g, "s");
        box_mess(&g.b, g.b.v, &rng, 20); /* goes on; what it wrote anew stays */
        rig_picture(&g, &want);
        res = tiering_released(&g, up.id, "s");
        CHECK(res.bytes >= 2900000);
        CHECK_EQ(res.unproved, 0);
        CHECK_EQ(tiering_remote(&g), res.bytes);
        box_sound(&g.b);
        box_reopen(&g.b);
        tiering_connect(&g);
        tiering_fetches = 0;
        rig_picture(&g, &is);
        CHECK(box_same(&is, &want));
        CHECK(tiering_fetches > 0);
        box_mess(&g.b, g.b.v, &rng, 40);
        box_sound(&g.b);
        rig_sound(&g);
        rig_end(&g);
    }
}

TEST(test_release__again_releases_nothing)
{
    struct release_result a, b;
    struct backup_result up;
    struct repo_rig g;

    rig_begin(&g);
    tiering_connect(&g);
    rig_fill_file(&g, "f", 2500000);
    up = rig_back_up(&g, "s");
    a = tiering_released(&g, up.id, "s");
    b = tiering_released(&g, up.id, "s");
    CHECK(a.bytes > 0);
    CHECK_EQ(b.bytes, 0);
    CHECK_EQ(b.had, a.bytes);
    rig_end(&g);
}

/* What a record can hold is no bound for a file: every second of its blocks was written anew, so each block is a range. */
TEST(test_release__a_file_of_many_ranges)
{
    cleanup(buf_free) struct buf want = {0}, is = {0};
    struct release_result res;
    struct backup_result up;
    struct repo_rig g;

    box_segment_bytes = 128 << 10;
    rig_begin(&g);
    box_segment_bytes = 4 << 20;
    tiering_connect(&g);
    rig_fill_file(&g, "f", 2000 * BLOCK_SIZE);
    rig_back_up(&g, "a");
    for (uint64_t i = 0; i < 2000; i += 2)
        box_fill(&g.b, g.b.v, "f", i * BLOCK_SIZE, BLOCK_SIZE, i);
    up = rig_back_up(&g, "b");
    rig_picture(&g, &want);
    res = tiering_released(&g, up.id, "b");
    CHECK_EQ(res.bytes, 2000 * BLOCK_SIZE);
    CHECK_EQ(res.files, 1);
    rig_picture(&g, &is);
    CHECK(box_same(&is, &want));
    box_sound(&g.b);
    rig_end(&g);
}

/* A pack was taken away behind the repository's back: what it held is here alone, and stays. */
TEST(test_release__what_is_not_there_stays)
{
    cleanup(buf_free) struct buf want = {0}, is = {0};
    struct release_result res;
    struct backup_result up;
    struct repo_rig g;

    rig_begin(&g);
    tiering_connect(&g);
    rig_fill_file(&g, "f", PACK_SIZE + PACK_SIZE / 4); /* a pack of nothing else, and another */
    up = rig_back_up(&g, "s");
    rig_picture(&g, &want);
    for (size_t i = 0; i < mem_count(g.w.m, "packs/"); i++)
        if (mem_bytes(g.w.m, mem_name(g.w.m, "packs/", i)) > mem_bytes(g.w.m, "packs/") / 2)
            mem_drop(g.w.m, mem_name(g.w.m, "packs/", i));
    CHECK_OK(tiering_try(&g, up.id, "s", (struct release_opts){0}, &res));
    CHECK(res.unproved > PACK_SIZE - (1u << 20));
    CHECK(res.bytes > 0 && res.bytes < PACK_SIZE / 2);
    CHECK_EQ(tiering_remote(&g), res.bytes);
    rig_picture(&g, &is);
    CHECK(box_same(&is, &want));
    rig_end(&g);
}

TEST(test_release__only_what_was_asked_for)
{
    struct release_result res;
    struct backup_result up;
    struct repo_rig g;
    char a[] = "a", missing[] = "none";
    char *paths[] = {a, missing};

    rig_begin(&g);
    tiering_connect(&g);
    rig_fill_file(&g, "a", 300000);
    rig_fill_file(&g, "b", 2000000);
    up = rig_back_up(&g, "s");
    CHECK_OK(tiering_try(&g, up.id, "s", (struct release_opts){.least_bytes = 4000000}, &res));
    CHECK_EQ(res.bytes, 0);
    CHECK_OK(tiering_try(&g, up.id, "s", (struct release_opts){.before_ns = 1}, &res));
    CHECK_EQ(res.bytes, 0);
    CHECK_OK(tiering_try(&g, up.id, "s", (struct release_opts){.paths = paths, .npaths = 1}, &res));
    CHECK(res.bytes >= 290000 && res.bytes < 400000);
    CHECK_ERR(tiering_try(&g, up.id, "s", (struct release_opts){.paths = paths, .npaths = 2}, &res),
              -E_NOENT);
    CHECK_OK(tiering_try(&g, up.id, "s", (struct release_opts){.least_bytes = 1000000}, &res));
    CHECK(res.bytes >= 1900000 && res.bytes < 2100000);
    rig_back_up(&g, "other");
    CHECK_ERR(tiering_try(&g, up.id, "other", (struct release_opts){0}, &res), -E_INVAL);
    rig_end(&g);
}
