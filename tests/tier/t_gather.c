/* Space over many increments: what is left of old chunks is gathered into new ones. */
#include <stdlib.h>

#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/backup_i.h"
#include "tier/map.h"

#define PAGES 2048u
#define CHANGED 82u
#define RUNS 160

struct kept {
    struct repo_rig *g;
    struct idset seen;
    uint64_t bytes;
};

static int chunk_of(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct kept *k = arg;
    struct have_chunk c;
    struct extent e;
    uint32_t run;

    if (klen < 9 || key[8] != REC_EXTENT)
        return 0;
    CHECK_OK(extent_decode(key, klen, val, vlen, &e, &run));
    if (e.kind != EXTENT_SLICE || idset_get(&k->seen, &e.s.chunk))
        return 0;
    CHECK_OK(idset_put(&k->seen, &e.s.chunk, NULL));
    CHECK_OK(have_get_chunk(k->g->w.r->have, &e.s.chunk, &c));
    k->bytes += c.plain_len;
    return 0;
}

/* Plain bytes of all chunks that keep this recovery point alive. */
static uint64_t kept_by(struct repo_rig *g, const char *id)
{
    struct kept k = {.g = g};
    struct point p;

    CHECK_OK(point_get(g->w.r, id, &p));
    CHECK_OK(tree_scan(g->w.r, &p.tree, NULL, NULL, chunk_of, &k));
    point_release(&p);
    idset_free(&k.seen);
    return k.bytes;
}

/* The store copies the blocks of a mebibyte together when they lie in too many places: nothing of that is sent. */
TEST(test_gather__blocks_that_only_moved_are_not_sent)
{
    cleanup(buf_free) struct buf want = {0};
    uint64_t rng = test_seed(), most = 0;
    struct backup_result res;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "db", 4u << 20);
    rig_back_up(&g, "s0");
    for (int i = 1; i <= 300; i++) {
        char name[16];

        box_fill(&g.b, g.b.v, "db", test_rand(&rng) % 256 * TIER_BLOCK, TIER_BLOCK, test_rand(&rng));
        snprintf(name, sizeof(name), "s%d", i);
        res = rig_back_up(&g, name);
        most = MAX_OF(most, res.new_bytes);
        snprintf(name, sizeof(name), "s%d", i - 1);
        CHECK_OK(snap_delete(g.b.v, NULL, name));
    }
    expect_mark("backup: blocks that are as before");
    CHECK(most < 64u << 10);
    rig_picture(&g, &want);
    rig_restores_to(&g, res.id, &want);
    rig_end(&g);
}

/* The snapshot that was compared with is deleted while the backup runs. */
static int lose_base(void *arg, uint64_t items, uint64_t bytes)
{
    struct repo_rig *g = arg;

    (void)items;
    if (bytes)
        (void)snap_delete(g->b.v, NULL, "s0");
    return 0;
}

TEST(test_gather__a_base_that_goes_meanwhile_counts_for_nothing)
{
    cleanup(buf_free) struct buf want = {0};
    struct repo_rig g;
    struct backup_opts o = {.arg = &g, .progress = lose_base};
    struct backup_result res;
    struct layer_rec rec;

    rig_begin(&g);
    rig_fill_file(&g, "db", 4u << 20);
    box_fill(&g.b, g.b.v, "db", 1u << 20, 256u << 10, 5);
    rig_back_up(&g, "s0");
    box_fill(&g.b, g.b.v, "db", 1u << 20, 256u << 10, 5);
    box_fill(&g.b, g.b.v, "db", 1200000, 10, 6);
    rig_picture(&g, &want);
    rec = rig_snapshot(&g, "s1");
    CHECK_OK(backup_run(g.w.r, g.b.v, &rec, &o, &res));
    expect_mark("backup: blocks that are as before");
    CHECK(!res.base[0]);
    rig_restores_to(&g, res.id, &want);
    rig_end(&g);
}

/* A twenty-fifth of the pages changes each time. With nothing gathered anew, more than five times the file would be kept: a chunk of
 * 82 pages until the last of them has changed. */
static void stays_bounded(uint64_t roll_from)
{
    cleanup(buf_free) struct buf want = {0};
    uint64_t rng = test_seed(), fresh = 0, again = 0, most = 0;
    const uint64_t was = map_roll_from;
    struct backup_result res;
    struct repo_rig g;

    map_roll_from = roll_from;
    rig_begin(&g);
    rig_fill_file(&g, "db", (size_t)PAGES * TIER_BLOCK);
    rig_back_up(&g, "s0");
    for (int i = 1; i <= RUNS; i++) {
        char name[16], before[16];

        for (unsigned k = 0; k < CHANGED; k++)
            box_fill(&g.b, g.b.v, "db", test_rand(&rng) % PAGES * TIER_BLOCK, TIER_BLOCK, test_rand(&rng));
        snprintf(name, sizeof(name), "s%d", i);
        snprintf(before, sizeof(before), "s%d", i - 1);
        res = rig_back_up(&g, name);
        CHECK(res.base[0]);
        CHECK(res.gathered_bytes * 12 <= CHANGED * TIER_BLOCK + res.new_bytes);
        CHECK_OK(snap_delete(g.b.v, NULL, before));
        fresh += res.new_bytes - res.gathered_bytes;
        again += res.gathered_bytes;
        if (i > RUNS / 2 && i % 10 == 0)
            most = MAX_OF(most, kept_by(&g, res.id));
    }
    printf("    %d increments: kept %.2f x the file, sent again %.1f %%\n", RUNS,
           (double)most / (PAGES * TIER_BLOCK), 100.0 * (double)again / (double)fresh);
    CHECK(most < (uint64_t)PAGES * TIER_BLOCK * 9 / 2);
    CHECK(again * 12 <= fresh);
    rig_picture(&g, &want);
    mem_fault(g.w.m, 0, MEM_FAIL, false);
    rig_restores_to(&g, res.id, &want);
    CHECK(mem_calls(g.w.m) < 150); /* each chunk once, of which some hundred blocks are needed each */
    expect_mark("repo: a chunk was read ahead");
    expect_mark("backup: gathered");
    expect_mark("backup: ranges are read ahead");
    rig_sound(&g);
    rig_end(&g);
    map_roll_from = was;
}

TEST(test_gather__space_stays_bounded_over_many_increments)
{
    stays_bounded(UINT64_MAX);
}

TEST(test_gather__space_stays_bounded_where_the_map_rolls)
{
    stays_bounded(300);
    expect_mark("backup: gathered in a part");
}
