/* Indexes that are made anew from packs; keys that are added, changed and removed. */
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/reindex.h"
#include "tier/repo_key.h"

static struct reindex_result reindexed(struct repo_rig *g)
{
    struct reindex_result res;

    world_forget(&g->w);
    CHECK_OK(reindex_run(g->w.r, NULL, NULL, &res));
    return res;
}

TEST(test_reindex__damaged_and_missing_indexes_are_made_anew)
{
    cleanup(buf_free) struct buf want = {0}, lines = {0};
    struct reindex_result res;
    struct backup_result b;
    char pack[BACKEND_NAME_MAX + 1];
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "f", 20u << 20);
    rig_back_up(&g, "a");
    box_fill(&g.b, g.b.v, "g", 0, 1u << 20, 5);
    rig_picture(&g, &want);
    b = rig_back_up(&g, "b");
    CHECK_EQ(reindexed(&g).packs, 0);
    mem_flip(g.w.m, mem_name(g.w.m, "index/", 0), 90);
    CHECK(rig_verified(&g, false, &lines).damages > 0);
    res = reindexed(&g);
    CHECK_EQ(res.damaged, 1);
    CHECK(res.packs >= 1);
    rig_sound(&g);
    rig_restores_to(&g, b.id, &want);
    while (mem_count(g.w.m, "index/"))
        mem_drop(g.w.m, mem_name(g.w.m, "index/", 0));
    CHECK_EQ(reindexed(&g).packs, mem_count(g.w.m, "packs/"));
    rig_sound(&g);
    while (mem_count(g.w.m, "index/"))
        mem_drop(g.w.m, mem_name(g.w.m, "index/", 0));
    snprintf(pack, sizeof(pack), "%s", mem_name(g.w.m, "packs/", 0));
    mem_cut(g.w.m, pack, mem_bytes(g.w.m, pack) / 2);
    CHECK_EQ(reindexed(&g).unreadable, 1);
    rig_end(&g);
}

TEST(test_keys__added_rotated_and_removed)
{
    struct secret second = {.kdf = KDF_FILE}, third = {.kdf = KDF_FILE};
    cleanup(buf_free) struct buf err = {0};
    char id[ID16_TEXT], old[ID16_TEXT];
    struct backend *b;
    struct world w;

    world_open(&w);
    b = mem_backend(w.m);
    memset(second.file.b, 2, sizeof(second.file.b));
    memset(third.file.b, 3, sizeof(third.file.b));
    CHECK_ERR(repo_key_add(b, NULL, &second, &third, id, &err), -E_KEY);
    CHECK_ERR(repo_key_add(b, NULL, &w.s, &w.s, id, &err), -E_EXIST);
    CHECK_OK(repo_key_add(b, NULL, &w.s, &second, id, &err));
    CHECK_ERR(repo_key_remove(b, NULL, &second, id, &err), -E_KEY); /* nobody locks themselves out */
    CHECK_OK(repo_key_rotate(b, NULL, &w.s, &third, id, old, &err));
    CHECK_EQ(mem_count(w.m, "keys/"), 2);
    buf_reset(&err);
    CHECK_ERR(world_try(&w, &err), -E_KEY);
    w.s = second;
    world_repo(&w);
    CHECK_OK(repo_key_remove(b, NULL, &second, id, &err));
    CHECK_ERR(repo_key_remove(b, NULL, &second, old, &err), -E_NOENT);
    w.s = third;
    CHECK_ERR(world_try(&w, &err), -E_KEY);
    w.s = second;
    world_repo(&w);
    backend_close(b);
    world_close(&w);
}
