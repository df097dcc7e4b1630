/* The map of a file with many extents, against an array that says of each block what it holds. */
#include <stdlib.h>

#include "tests/lib/test.h"
#include "tests/tier/world.h"
#include "tier/map_cursor.h"
#include "tier/map_use.h"

#define BLOCKS_MAX 24000u
#define INO 9u
#define EDITS_FULL 200000u
#define ALIGNED 256u /* blocks that a slice does not reach beyond */

struct rolling {
    struct world w;
    struct packer *p;
    struct edits *e;
    struct tree t;
    uint64_t rng;
    uint64_t blocks;           /* of the file */
    uint64_t want[BLOCKS_MAX]; /* chunk's tag and the byte in it; 0: zeros */
    uint32_t tag;
};

static struct rolling *rolling_new(uint64_t seed)
{
    struct rolling *f = calloc(1, sizeof(*f));

    CHECK(f);
    f->rng = seed;
    world_open(&f->w);
    CHECK_OK(packer_new(f->w.r, NULL, &f->p));
    CHECK_OK(edits_new(&f->e));
    return f;
}

static void rolling_free(struct rolling *f)
{
    edits_free(f->e);
    packer_free(f->p);
    world_close(&f->w);
    free(f);
}

static struct id16 chunk_of(uint32_t tag)
{
    struct id16 id = {{0}};

    put_le32(id.b, tag);
    return id;
}

/* Blocks [at, at + n) hold what the file has of this chunk from byte off on. */
static void now_holds(struct rolling *f, struct extents *l, uint64_t at, uint32_t n, uint32_t off, bool zero)
{
    struct extent e = {.block = at, .blocks = n, .kind = zero ? EXTENT_ZERO : EXTENT_SLICE};

    if (!zero)
        e.s = (struct slice){.chunk = chunk_of(f->tag), .off = off, .len = n * TIER_BLOCK};
    for (uint32_t i = 0; i < n; i++)
        f->want[at + i] = zero ? 0 : (uint64_t)f->tag << 32 | (off + i * TIER_BLOCK);
    CHECK_OK(extents_add(l, &e));
}

/* About n extents of a few blocks, from all over blocks [from, to). */
static void change(struct rolling *f, struct extents *l, uint64_t from, uint64_t to, uint64_t n)
{
    uint64_t gap = MAX_OF((to - from) / n, (uint64_t)1);
    uint32_t off = 0;

    f->tag++;
    for (uint64_t at = from + test_rand(&f->rng) % gap; at < to; at += 1 + test_rand(&f->rng) % (2 * gap)) {
        uint64_t many = test_rand(&f->rng) % 8 ? 1 : 1 + test_rand(&f->rng) % 40;
        bool zero = test_rand(&f->rng) % 16 == 0;

        many = MIN_OF(many, to - at);
        if (!zero)
            many = MIN_OF(many, ALIGNED - at % ALIGNED);
        now_holds(f, l, at, (uint32_t)many, off, zero);
        off += (uint32_t)many * TIER_BLOCK;
        at += many - 1;
    }
}

/* The file ends elsewhere now; what it loses are zeros from then on. */
static uint64_t resize(struct rolling *f, struct extents *l)
{
    uint64_t was = f->blocks, is = was, more = test_rand(&f->rng) % (was + 1);

    if (test_rand(&f->rng) % 8 == 0)
        is = MIN_OF(was + more, (uint64_t)BLOCKS_MAX);
    else if (test_rand(&f->rng) % 16 == 0)
        is = was - test_rand(&f->rng) % (was / 4);
    if (is < was)
        now_holds(f, l, is, (uint32_t)(was - is), 0, true);
    f->blocks = is;
    return MAX_OF(is, was);
}

static size_t most_edits;

static int full(void *arg)
{
    struct rolling *f = arg;

    most_edits = MAX_OF(most_edits, edits_bytes(f->e));
    return edits_bytes(f->e) > EDITS_FULL ? tree_apply(f->p, f->w.r, &f->t, f->e) : 0;
}

static void push(struct rolling *f, struct extents *l, uint64_t blocks)
{
    struct tree was = f->t;

    CHECK_OK(map_push(&(struct map_pushing){f->e, f->w.r, &was, INO, blocks, full, f}, l));
    CHECK_OK(tree_apply(f->p, f->w.r, &f->t, f->e));
    CHECK_OK(packer_flush(f->p));
    extents_free(l);
}

static void one_push(struct rolling *f)
{
    static const uint64_t sizes[] = {1, 3, 20, 200, 200, 900, 2500};
    struct extents l = {0};
    uint64_t n = sizes[test_rand(&f->rng) % (sizeof(sizes) / sizeof(*sizes))], blocks, from = 0, to;

    blocks = resize(f, &l);
    to = f->blocks;
    if (test_rand(&f->rng) % 4 == 0)
        from = test_rand(&f->rng) % to;
    if (test_rand(&f->rng) % 4 == 0)
        to = from + 1 + test_rand(&f->rng) % (to - from);
    change(f, &l, from, to, n);
    push(f, &l, blocks);
}

static void says_the_same(struct rolling *f)
{
    struct extents got = {0};
    uint64_t end = 0;

    CHECK_OK(map_load(f->w.r, &f->t, INO, &got));
    for (size_t i = 0; i < got.n; i++) {
        const struct extent *e = &got.v[i];

        CHECK(e->block >= end);
        for (; end < e->block; end++)
            CHECK_EQ(f->want[end], 0);
        for (uint32_t k = 0; k < e->blocks; k++, end++)
            CHECK_EQ(f->want[end], e->kind == EXTENT_SLICE
                                       ? (uint64_t)get_le32(e->s.chunk.b) << 32 | (e->s.off + k * TIER_BLOCK)
                                       : 0);
    }
    for (; end < BLOCKS_MAX; end++)
        CHECK_EQ(f->want[end], 0);
    extents_free(&got);
}

/* --- what is told of the runs is so ----------------------------------------------------------------------------------- */

struct telling {
    uint32_t run;
    uint64_t n;
    uint64_t used[BLOCKS_MAX / USE_BLOCKS + 1]; /* bytes of slices, by parts */
};

static int count_extent(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct telling *t = arg;
    struct extent e;

    CHECK_OK(extent_decode(key, klen, val, vlen, &e, &t->run));
    t->n++;
    if (e.kind == EXTENT_SLICE)
        t->used[e.block / USE_BLOCKS] += e.s.len;
    return 0;
}

static int sum_use(void *arg, const struct map_use *u)
{
    uint64_t *sum = arg;

    CHECK(u->live <= u->to - u->from);
    *sum += u->live;
    return 0;
}

static void told_truly(struct rolling *f, struct map_state *ret)
{
    CHECK_OK(map_state_get(f->w.r, &f->t, INO, ret));
    CHECK(ret->n <= MAP_RUNS_MAX);
    for (size_t i = 0; i < ret->n; i++) {
        struct tree_key k = tree_key(INO, REC_EXTENT);
        struct telling t = {.n = 0};

        tree_key_u32(&k, ret->v[i].number);
        CHECK_OK(tree_scan(f->w.r, &f->t, &k, NULL, count_extent, &t));
        CHECK_EQ(t.n, ret->v[i].n);
        for (uint64_t part = 0; i == 0 && ret->rolling && part <= BLOCKS_MAX / USE_BLOCKS; part++) {
            uint64_t sum = 0;

            CHECK_OK(
                map_use_each(f->w.r, &f->t, INO, part * USE_BLOCKS, (part + 1) * USE_BLOCKS, sum_use, &sum));
            CHECK(sum == 0 || sum == t.used[part]);
        }
    }
}

TEST(test_roll__a_map_says_what_was_pushed_last)
{
    const uint64_t roll_from = map_roll_from;
    struct rolling *f = rolling_new(test_seed());
    struct map_state s = {.n = 0};
    size_t most = 0;

    map_roll_from = 300;
    f->blocks = 15000;
    for (int i = 0; i < 400; i++) {
        one_push(f);
        says_the_same(f);
        told_truly(f, &s);
        most = MAX_OF(most, s.n);
    }
    CHECK(s.rolling);
    printf("    %zu runs at the most, %llu blocks, %llu extents in the base\n", most,
           (unsigned long long)f->blocks, (unsigned long long)s.v[0].n);
    CHECK(most > 8);
    expect_mark("map: it rolls");
    expect_mark("map: what a part uses was counted");
    map_roll_from = roll_from;
    rolling_free(f);
}

struct cost {
    uint64_t least, most;
};

/* A hundred pushes of the same size, after as many others, in the beginning of a file that is so many times as long. */
static struct cost hundred(uint64_t roll_from, unsigned sparse)
{
    const uint64_t was = map_roll_from;
    struct rolling *f = rolling_new(test_seed());
    struct cost c = {UINT64_MAX, 0};
    struct map_state s;

    map_roll_from = roll_from;
    f->blocks = BLOCKS_MAX;
    for (int i = 0; i < 200; i++) {
        struct packer_stat before, after;
        struct extents l = {0};

        packer_get_stat(f->p, &before);
        change(f, &l, 0, f->blocks, 240);
        push(f, &l, f->blocks * sparse);
        packer_get_stat(f->p, &after);
        if (i >= 100) {
            c.least = MIN_OF(c.least, after.new_bytes - before.new_bytes);
            c.most = MAX_OF(c.most, after.new_bytes - before.new_bytes);
        }
    }
    says_the_same(f);
    told_truly(f, &s);
    printf("    a push of 240 extents puts %llu to %llu bytes, %zu runs, %llu extents\n",
           (unsigned long long)c.least, (unsigned long long)c.most, s.n, (unsigned long long)s.total);
    map_roll_from = was;
    rolling_free(f);
    return c;
}

TEST(test_roll__no_push_costs_much_more_than_others)
{
    struct cost rolls = hundred(300, 1), few = hundred(UINT64_MAX, 1);

    CHECK(rolls.most < 3 * rolls.least);
    CHECK(few.most > 10 * few.least && few.most > 4 * rolls.most);
}

TEST(test_roll__a_sparse_file_is_gone_through_by_its_extents)
{
    struct cost c = hundred(300, 100);

    CHECK(c.most < 500000);
    expect_mark("map: a part ends early");
}

/* What is cut off is one extent of zeros over all that was there: it is laid by parts, and what it takes away is not kept in memory. */
TEST(test_roll__what_is_cut_off_goes_by_parts)
{
    const uint64_t roll_from = map_roll_from;
    struct rolling *f = rolling_new(test_seed());
    struct extents l = {0};
    struct map_state s;

    map_roll_from = 300;
    f->blocks = BLOCKS_MAX;
    f->tag++;
    for (uint32_t i = 0; i < BLOCKS_MAX; i++)
        now_holds(f, &l, i, 1, i * 7919 % BLOCKS_MAX * TIER_BLOCK, false);
    push(f, &l, f->blocks);
    now_holds(f, &l, 1000, BLOCKS_MAX - 1000, 0, true);
    most_edits = 0;
    for (uint32_t i = 0; i < 60; i++) {
        push(f, &l, f->blocks);
        says_the_same(f);
        told_truly(f, &s);
        change(f, &l, 0, 1000, 400);
    }
    push(f, &l, f->blocks);
    CHECK(most_edits < 2 * EDITS_FULL);
    told_truly(f, &s);
    CHECK(s.rolling && s.v[0].n < BLOCKS_MAX / 2);
    map_roll_from = roll_from;
    rolling_free(f);
}

/* Pushes a hundred extents onto a map of which one record was made another; what comes of it. */
static int pushed_onto(const struct tree_key *k, const void *val, size_t len, struct rolling *f)
{
    struct extents l = {0};
    struct tree was;
    int r = 0;

    CHECK_OK(edits_put(f->e, k, val, len));
    CHECK_OK(tree_apply(f->p, f->w.r, &f->t, f->e));
    CHECK_OK(packer_flush(f->p));
    for (int i = 0; r == 0 && i < 60; i++) {
        change(f, &l, 0, f->blocks, 240);
        was = f->t;
        r = map_push(&(struct map_pushing){f->e, f->w.r, &was, INO, f->blocks, full, f}, &l);
        extents_free(&l);
        if (r == 0) {
            CHECK_OK(tree_apply(f->p, f->w.r, &f->t, f->e));
            CHECK_OK(packer_flush(f->p));
        }
    }
    return r;
}

static struct rolling *rolled(struct map_state *ret)
{
    struct rolling *f = rolling_new(test_seed());
    struct extents l = {0};

    f->blocks = BLOCKS_MAX;
    for (int i = 0; i < 40; i++) {
        change(f, &l, 0, f->blocks, 240);
        push(f, &l, f->blocks);
    }
    CHECK_OK(map_state_get(f->w.r, &f->t, INO, ret));
    CHECK(ret->rolling && ret->n > 3);
    return f;
}

TEST(test_roll__a_damaged_map_is_not_gone_on_from)
{
    const uint64_t roll_from = map_roll_from;
    struct tree_key k;
    struct map_state s;
    struct rolling *f;
    uint8_t v[64] = {0};
    struct enc e;

    map_roll_from = 300;
    f = rolled(&s); /* extents of the base that overlap */
    k = tree_key(INO, REC_EXTENT);
    tree_key_u32(&k, s.v[0].number);
    tree_key_u64(&k, s.v[0].at.block + 10);
    put_le32(v + 4, 20000);
    CHECK_EQ(pushed_onto(&k, v, 8, f), -E_CORRUPT);
    rolling_free(f);
    f = rolled(&s); /* a run that is ahead of the base */
    k = tree_key(INO, REC_RUN);
    tree_key_u32(&k, s.v[2].number);
    e.p = v;
    enc_u64(&e, s.v[2].n);
    enc_u32(&e, s.v[0].at.round + 1);
    enc_u64(&e, 0);
    CHECK_EQ(pushed_onto(&k, v, (size_t)(e.p - v), f), -E_CORRUPT);
    rolling_free(f);
    f = rolled(&s); /* one that is as of a map that does not roll */
    CHECK_EQ(pushed_onto(&k, v, 8, f), -E_CORRUPT);
    rolling_free(f);
    map_roll_from = roll_from;
}

/* A slice longer than any blob: whoever reads it has room for no more. */
TEST(test_roll__a_slice_is_no_longer_than_a_blob)
{
    uint8_t v[8 + SLICE_SIZE];
    struct tree_key k = tree_key(INO, REC_EXTENT);
    struct slice s = {.len = BLOB_MAX + 1};
    struct extent x;
    uint32_t run;

    tree_key_u32(&k, 1);
    tree_key_u64(&k, 0);
    for (unsigned i = 0; i < 2; i++, s.len--) {
        struct enc e = {v};

        enc_u32(&e, EXTENT_SLICE);
        enc_u32(&e, 1024);
        slice_encode(&e, &s);
        CHECK_EQ(extent_decode(k.b, k.len, v, sizeof(v), &x, &run), i == 0 ? -E_CORRUPT : 0);
    }
}

/* The file, sparse, grows faster than it is gone through: the stack of runs stays bounded. */
TEST(test_roll__runs_are_never_too_many)
{
    const uint64_t roll_from = map_roll_from;
    struct rolling *f = rolling_new(test_seed());
    uint64_t blocks = 3000;
    struct map_state s;
    size_t most = 0;

    map_roll_from = 300;
    f->blocks = BLOCKS_MAX / 2;
    for (int i = 0; i < 100; i++) {
        struct extents l = {0};

        blocks += blocks / 3;
        change(f, &l, 0, f->blocks, i == 0 ? 3000 : 40);
        push(f, &l, blocks);
        told_truly(f, &s);
        most = MAX_OF(most, s.n);
    }
    says_the_same(f);
    CHECK_EQ(most, MAP_RUNS_MAX - 4);
    expect_mark("map: all of it is laid over the base");
    map_roll_from = roll_from;
    rolling_free(f);
}
