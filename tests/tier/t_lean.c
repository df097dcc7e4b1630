/* What grows with a file's increments, or with the repository, does not lie in memory. */
#include <stdio.h>

#include "tests/lib/test.h"
#include "tests/tier/world.h"
#include "tier/map_cursor.h"

#define BLOBS 3000u
#define LONG 9000u

static size_t blob_of(unsigned i, char out[64])
{
    return (size_t)snprintf(out, 64, "blob %u of this session", i);
}

TEST(test_lean__a_large_pack_is_taken_in_by_parts)
{
    struct packer *p;
    struct slice s;
    struct world w;
    char b[64];

    world_open(&w);
    CHECK_OK(packer_new(w.r, NULL, &p));
    for (unsigned i = 0; i < BLOBS; i++) {
        size_t len = blob_of(i, b);

        CHECK_OK(packer_blob(p, CHUNK_DATA, b, len, &s));
    }
    CHECK_OK(packer_index(p));
    packer_free(p);
    expect_mark("have: a pack taken in by parts");
    CHECK_OK(packer_new(w.r, NULL, &p));
    for (unsigned i = 0; i < BLOBS; i++) {
        size_t len = blob_of(i, b);

        CHECK_EQ(packer_known(p, b, len, &s), 1);
    }
    packer_free(p);
    expect_mark("have: pages that were read are let go");
    expect_mark("have: the file is read ahead");
    world_close(&w);
}

struct filling {
    struct packer *p;
    struct repo *r;
    struct tree t;
    struct edits *e;
    unsigned applied;
};

static int apply(void *arg)
{
    struct filling *f = arg;

    f->applied += edits_bytes(f->e) > 100000;
    return edits_bytes(f->e) > 100000 ? tree_apply(f->p, f->r, &f->t, f->e) : 0;
}

/* Every third block from `from` on, as if of chunk `tag`. */
static void every_third(struct extents *l, unsigned from, unsigned n, uint8_t tag)
{
    for (unsigned i = 0; i < n; i++) {
        struct extent e = {.block = from + 3 * i, .blocks = 1, .kind = EXTENT_SLICE};

        e.s.chunk.b[0] = tag;
        e.s.len = TIER_BLOCK;
        e.s.off = (from + 3 * i) * 16;
        CHECK_OK(extents_add(l, &e));
    }
}

static void push(struct filling *f, unsigned from, unsigned n, uint8_t tag)
{
    struct tree was = f->t;
    struct extents l = {0};

    every_third(&l, from, n, tag);
    CHECK_OK(map_push(&(struct map_pushing){f->e, f->r, &was, 7, 0, apply, f}, &l));
    CHECK_OK(tree_apply(f->p, f->r, &f->t, f->e));
    CHECK_OK(packer_flush(f->p));
    extents_free(&l);
}

TEST(test_lean__a_long_run_is_put_by_parts)
{
    struct filling f = {.t = {.depth = 0}};
    struct extents got = {0};
    const uint64_t roll_from = map_roll_from;
    struct map_state s;
    struct world w;

    world_open(&w);
    map_roll_from = UINT64_MAX;
    f.r = w.r;
    CHECK_OK(packer_new(w.r, NULL, &f.p));
    CHECK_OK(edits_new(&f.e));
    push(&f, 0, LONG, 1);
    push(&f, 1, LONG / 3, 2); /* shorter than a half: a run of its own */
    CHECK_OK(map_state_get(w.r, &f.t, 7, &s));
    CHECK_EQ(s.total, LONG + LONG / 3);
    f.applied = 0;
    push(&f, 0, LONG / 2, 3);
    CHECK(f.applied >= 3);
    CHECK_OK(map_state_get(w.r, &f.t, 7, &s));
    CHECK_EQ(s.total, LONG + LONG / 3); /* all of them are one */
    CHECK_OK(map_load(w.r, &f.t, 7, &got));
    CHECK_EQ(got.n, LONG + LONG / 3);
    for (size_t i = 0; i < got.n; i++) {
        const struct extent *e = &got.v[i];

        CHECK_EQ(e->s.off, e->block * 16);
        CHECK_EQ(e->s.chunk.b[0], e->block % 3 == 1 ? 2 : e->block < 3 * (LONG / 2) ? 3 : 1);
    }
    extents_free(&got);
    edits_free(f.e);
    packer_free(f.p);
    map_roll_from = roll_from;
    world_close(&w);
}
