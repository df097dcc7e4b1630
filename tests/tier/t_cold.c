/* Backups of what lies in their repository and no more here: it is named, not read. */
#include <stdio.h>

#include "snap/snapshot.h"
#include "snap/store/cold.h"
#include "tests/lib/test.h"
#include "tests/tier/tiering_rig.h"

#define LARGE 5000000u

static struct backup_result whole_backup(struct repo_rig *g, const char *snap)
{
    struct backup_result res;

    rig_snapshot(g, snap);
    tiering_fetches = 0;
    CHECK_OK(rig_try_backup(g, snap, true, &res));
    return res;
}

/* A file of blocks, small files beside it, a recovery point "a", and nothing of the blocks is here any more. */
static struct backup_result released_volume(struct repo_rig *g, struct buf *want)
{
    struct backup_result up;

    rig_begin(g);
    tiering_connect(g);
    box_text(&g->b, g->b.v, "small", "text");
    rig_fill_file(g, "large", LARGE);
    box_fill(&g->b, g->b.v, "holes", 3u << 20, 300000, 7);
    up = rig_back_up(g, "a");
    rig_picture(g, want);
    CHECK(tiering_released(g, up.id, "a").bytes >= LARGE);
    return up;
}

TEST(test_cold__a_backup_reads_nothing_of_what_the_repository_has)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b;
    struct repo_rig g;

    a = released_volume(&g, &want);
    b = whole_backup(&g, "b");
    CHECK_EQ(tiering_fetches, 0);
    CHECK_EQ(b.named_bytes, LARGE + 300000);
    CHECK(b.read_bytes < 65536 && b.new_bytes < 65536);
    CHECK(b.bytes == a.bytes && !b.base[0]);
    CHECK_EQ(tiering_remote(&g), (LARGE + 4095) / 4096 * 4096 + (300000 + 4095) / 4096 * 4096);
    rig_restores_to(&g, b.id, &want);
    rig_sound(&g);
    rig_end(&g);
}

/* Blocks of it were written over, and its end was cut and grew again: the rest is named by parts. */
TEST(test_cold__parts_are_named_by_parts)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result b;
    struct repo_rig g;

    released_volume(&g, &want);
    box_fill(&g.b, g.b.v, "large", 40960, 4096, 1);
    box_fill(&g.b, g.b.v, "large", 1u << 20, 100000, 2);
    box_truncate(&g.b, g.b.v, "large", 3333333);
    box_truncate(&g.b, g.b.v, "large", 4444444);
    b = whole_backup(&g, "b");
    CHECK_EQ(tiering_fetches, 0);
    CHECK(b.named_bytes > 3000000 && b.read_bytes < 1500000);
    rig_picture(&g, &want);
    rig_restores_to(&g, b.id, &want);
    rig_sound(&g);
    rig_end(&g);
}

TEST(test_cold__random_volumes_come_back)
{
    uint64_t rng = test_seed();

    for (int round = 0; round < 4; round++) {
        cleanup(buf_free) struct buf want = {0};
        struct backup_result up;
        struct repo_rig g;

        rig_begin(&g);
        tiering_connect(&g);
        box_mess(&g.b, g.b.v, &rng, 60);
        rig_fill_file(&g, "large", LARGE);
        up = rig_back_up(&g, "s");
        box_mess(&g.b, g.b.v, &rng, 20);
        tiering_released(&g, up.id, "s");
        box_mess(&g.b, g.b.v, &rng, 30);
        up = rig_back_up(&g, "t"); /* by what changed */
        CHECK(up.base[0] != 0);
        rig_picture(&g, &want);
        rig_restores_to(&g, up.id, &want);
        tiering_released(&g, up.id, "t");
        box_mess(&g.b, g.b.v, &rng, 30);
        up = whole_backup(&g, "u");
        rig_picture(&g, &want);
        rig_restores_to(&g, up.id, &want);
        rig_sound(&g);
        rig_end(&g);
    }
}

/* Another repository has none of it. */
TEST(test_cold__another_repository_gets_the_bytes)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_opts o = {.full = true};
    struct world other, own;
    struct backup_result b;
    struct layer_rec rec;
    struct repo_rig g;

    released_volume(&g, &want);
    world_open(&other);
    rec = rig_snapshot(&g, "b");
    tiering_fetches = 0;
    CHECK_OK(backup_run(other.r, g.b.v, &rec, &o, &b));
    CHECK(tiering_fetches > 0 && b.named_bytes == 0 && b.new_bytes > LARGE);
    own = g.w;
    g.w = other;
    rig_restores_to(&g, b.id, &want);
    rig_sound(&g);
    other = g.w;
    g.w = own;
    world_close(&other);
    rig_end(&g);
}

struct meanwhile {
    struct repo_rig *g;
    struct repo *other;
    const char *gone;
    bool done;
};

/* Somebody deletes the recovery point that it lies in, and a prune condemns its packs. */
static void condemn(struct meanwhile *m)
{
    cleanup(buf_free) struct buf err = {0};
    struct prune_opts o = {0};
    struct prune_result res;

    m->done = true;
    rig_point_delete(m->g, m->gone);
    rig_wait_grace(m->g);
    CHECK_OK(prune_run(m->other, &o, &res, &err));
    CHECK(res.condemned > 0);
}

static int in_the_middle(void *arg, uint64_t items, uint64_t bytes)
{
    struct meanwhile *m = arg;

    (void)items;
    if (!m->done && bytes > 1u << 20)
        condemn(m);
    return 0;
}

/* What is condemned is sent again while it can be read still, also where it was named before. */
static void beside_a_prune(bool before)
{
    cleanup(buf_free) struct buf want = {0};
    struct repo_rig g;
    struct backup_result a = released_volume(&g, &want), b;
    struct meanwhile m = {&g, rig_elsewhere(&g, "other"), a.id, false};
    struct backup_opts o = {.full = true, .arg = &m, .progress = in_the_middle};
    struct layer_rec rec = rig_snapshot(&g, "b");

    if (before)
        condemn(&m);
    tiering_fetches = 0;
    CHECK_OK(backup_run(g.w.r, g.b.v, &rec, &o, &b));
    CHECK(m.done && tiering_fetches > 0);
    rig_outlives_prunes(&g, b.id, &want);
    repo_close(m.other);
    rig_end(&g);
}

TEST(test_cold__what_is_condemned_is_not_named)
{
    beside_a_prune(true);
}

TEST(test_cold__what_is_named_is_condemned_meanwhile)
{
    beside_a_prune(false);
}

static int in_an_archive(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    (void)arg;
    (void)source;
    (void)ref;
    (void)blocks;
    (void)out;
    tiering_fetches++;
    return -E_ARCHIVED;
}

/* What is left of old chunks is not brought here to be sent again: it may lie in an archive. */
TEST(test_cold__what_is_not_here_is_not_gathered)
{
    cleanup(buf_free) struct buf want = {0};
    uint64_t rng = test_seed();
    struct backup_result up;
    struct repo_rig g;
    char name[16];

    rig_begin(&g);
    tiering_connect(&g);
    rig_fill_file(&g, "db", 4u << 20);
    up = rig_back_up(&g, "s0");
    for (int i = 1; i <= 24; i++) {
        for (unsigned k = 0; k < 64; k++)
            box_fill(&g.b, g.b.v, "db", test_rand(&rng) % 1024 * TIER_BLOCK, TIER_BLOCK, test_rand(&rng));
        snprintf(name, sizeof(name), "s%d", i);
        up = rig_back_up(&g, name);
    }
    CHECK(tiering_released(&g, up.id, name).bytes > 3u << 20);
    for (unsigned k = 0; k < 128; k++)
        box_fill(&g.b, g.b.v, "db", test_rand(&rng) % 256 * TIER_BLOCK, TIER_BLOCK, test_rand(&rng));
    CHECK(tiering_remote(&g) > 2u << 20);
    rig_snapshot(&g, "t");
    store_set_cold(g.b.s, &(struct cold_hooks){.arg = &g, .fetch = in_an_archive});
    tiering_fetches = 0;
    CHECK_OK(rig_try_backup(&g, "t", false, &up));
    CHECK(up.base[0]);
    CHECK_EQ(tiering_fetches, 0);
    tiering_connect(&g);
    rig_picture(&g, &want);
    rig_restores_to(&g, up.id, &want);
    rig_sound(&g);
    rig_end(&g);
}

/* A chunk that another file's blocks are gathered out of has bytes of this one: they are named all the same. */
TEST(test_cold__what_shares_a_chunk_with_what_is_gathered_is_named)
{
    cleanup(buf_free) struct buf want = {0};
    uint64_t rng = test_seed();
    struct release_result res;
    struct backup_result up;
    char name[16], cold[] = "cold", *paths[] = {cold};
    struct repo_rig g;

    rig_begin(&g);
    tiering_connect(&g);
    rig_fill_file(&g, "hot", 4u << 20);
    rig_fill_file(&g, "cold", 2u << 20);
    up = rig_back_up(&g, "s0");
    for (int i = 1; i <= 24; i++) {
        for (unsigned k = 0; k < 64; k++)
            box_fill(&g.b, g.b.v, "hot", test_rand(&rng) % 1024 * TIER_BLOCK, TIER_BLOCK, test_rand(&rng));
        for (unsigned k = 0; k < 8; k++)
            box_fill(&g.b, g.b.v, "cold", (256 + test_rand(&rng) % 256) * TIER_BLOCK, TIER_BLOCK,
                     test_rand(&rng));
        snprintf(name, sizeof(name), "s%d", i);
        up = rig_back_up(&g, name);
    }
    CHECK_OK(tiering_try(&g, up.id, name, (struct release_opts){.paths = paths, .npaths = 1}, &res));
    CHECK(res.bytes > 1u << 20);
    for (unsigned k = 0; k < 256; k++)
        box_fill(&g.b, g.b.v, "hot", test_rand(&rng) % 1024 * TIER_BLOCK, TIER_BLOCK, test_rand(&rng));
    box_fill(&g.b, g.b.v, "cold", 0, 1u << 20, test_rand(&rng));
    CHECK(tiering_remote(&g) >= 1u << 20);
    rig_snapshot(&g, "t");
    store_set_cold(g.b.s, &(struct cold_hooks){.arg = &g, .fetch = in_an_archive});
    CHECK_OK(rig_try_backup(&g, "t", false, &up));
    CHECK(up.base[0] && up.gathered_bytes > 0 && up.named_bytes >= 1u << 20);
    tiering_connect(&g);
    rig_picture(&g, &want);
    rig_restores_to(&g, up.id, &want);
    rig_sound(&g);
    rig_end(&g);
}
