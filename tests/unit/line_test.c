/* The line of offsets: places, what a state has, what changed, in pages of any size; against a model that knows each block. */
#include "snap/line.h"

#include "tests/lib/box.h"
#include "tests/lib/test.h"

#define MIB ((uint64_t)1 << 20)
#define BLOCK 4096u

/* --- places ------------------------------------------------------------------------------------------------------------------ */

static uint64_t begins(unsigned part)
{
    return (((uint64_t)1 << part) - 1) * MIB;
}

/* The way back, as one who reads the line goes it. */
static void place_back(uint64_t at, uint64_t *ino, uint64_t *off)
{
    unsigned part = (unsigned)(at >> 58);
    uint64_t rest = at & (((uint64_t)1 << 58) - 1);

    *ino = rest >> (part + 20);
    *off = begins(part) + (rest & (((uint64_t)1 << (part + 20)) - 1));
}

TEST(test_line__a_place_is_that_of_one_byte)
{
    static const struct {
        uint64_t ino, off, at;
    } golden[] = {{1, 0, 1 << 20},
                  {1, MIB - 1, (2 << 20) - 1},
                  {1, MIB, (1ull << 58) + (1 << 21)},
                  {5, 3 * MIB + 7, (2ull << 58) + (5 << 22) + 7},
                  {(1ull << 38) - 1, 4095, (((1ull << 38) - 1) << 20) + 4095},
                  {(1 << 14) - 1, ((1ull << 25) - 1) * MIB - 1, LINE_SIZE - 1}};
    uint64_t rng = test_seed(), at, ino, off;

    for (size_t i = 0; i < ARRAY_LEN(golden); i++) {
        CHECK_OK(line_place(golden[i].ino, golden[i].off, &at));
        CHECK_EQ(at, golden[i].at);
    }
    for (int i = 0; i < 100000; i++) {
        unsigned part = (unsigned)(test_rand(&rng) % LINE_PARTS);
        uint64_t in = test_rand(&rng) >> (26 + part) >> test_rand(&rng) % 14;
        uint64_t o = begins(part) + test_rand(&rng) % (MIB << part);

        CHECK_OK(line_place(in, o, &at));
        place_back(at, &ino, &off);
        CHECK(ino == in && off == o && at < LINE_SIZE);
    }
    CHECK_EQ(line_place(1ull << 38, 0, &at), -E_RANGE);
    CHECK_EQ(line_place(1ull << 37, MIB, &at), -E_RANGE);
    CHECK_EQ(line_place(1, begins(25), &at), -E_RANGE);
}

/* --- states ------------------------------------------------------------------------------------------------------------------ */

enum { FILES = 6, SPOTS = 20, STATES = 7 };
/* blocks that are written: at the edges of parts, too */
static const uint64_t spots[SPOTS] = {0,   1,   2,   3,   7,    15,   254,  255,    256,    257,
                                      766, 767, 768, 769, 1791, 1792, 4096, 261887, 261888, 600000};

struct model {
    uint64_t ino[FILES]; /* 0: it is not there */
    uint64_t stamp[FILES][SPOTS];
};

static void mess(struct box *b, struct model *m, uint64_t *rng, uint64_t *stamp)
{
    char name[16];
    size_t f = test_rand(rng) % FILES, s = test_rand(rng) % SPOTS;

    snprintf(name, sizeof(name), "f%zu", f);
    switch (test_rand(rng) % 12) {
    case 0:
        if (m->ino[f])
            box_remove(b, b->v, name);
        m->ino[f] = 0;
        memset(m->stamp[f], 0, sizeof(m->stamp[f]));
        break;
    case 1:
        if (m->ino[f])
            box_truncate(b, b->v, name, spots[s] * BLOCK);
        memset(&m->stamp[f][s], 0, (SPOTS - s) * sizeof(m->stamp[f][0]));
        break;
    default:
        box_fill(b, b->v, name, spots[s] * BLOCK, BLOCK, ++*stamp);
        m->ino[f] = vfs_node_ino(box_node(b->v, box_root(b->v), name));
        m->stamp[f][s] = *stamp;
    }
}

static uint64_t stamp_of(const struct model *m, uint64_t ino, uint64_t block)
{
    for (size_t f = 0; f < FILES; f++)
        for (size_t s = 0; s < SPOTS && m->ino[f] == ino; s++)
            if (spots[s] == block)
                return m->stamp[f][s];
    return 0;
}

struct told {
    struct buf ranges;
    uint64_t end;
};

static int tell(void *arg, const struct line_range *r)
{
    struct told *t = arg;

    CHECK(r->len_bytes > 0 && r->off_bytes >= t->end);
    t->end = r->off_bytes + r->len_bytes;
    return buf_add(&t->ranges, r, sizeof(*r));
}

/* Page by page, as many at a time. */
static void told_all(struct box *b, const char *from, const char *to, size_t limit, struct told *t)
{
    bool more = true;

    while (more)
        CHECK_OK(line_ranges(b->v, from, to, t->end, limit, tell, t, &more));
}

static bool is_told(const struct told *t, uint64_t at)
{
    const struct line_range *r = (const struct line_range *)t->ranges.data;

    for (size_t i = 0; i < t->ranges.len / sizeof(*r); i++)
        if (at >= r[i].off_bytes && at < r[i].off_bytes + r[i].len_bytes)
            return true;
    return false;
}

static void all_told(const struct told *t, const struct model *a, const struct model *b)
{
    for (size_t i = 0; i < 2 * FILES; i++) {
        uint64_t ino = i < FILES ? a->ino[i] : b->ino[i - FILES], at;

        for (size_t s = 0; s < SPOTS && ino; s++) {
            CHECK_OK(line_place(ino, spots[s] * BLOCK, &at));
            if (stamp_of(a, ino, spots[s]) != stamp_of(b, ino, spots[s]) && !is_told(t, at))
                test_fail(__FILE__, __LINE__, "block %llu of inode %llu changed and is not told",
                          (unsigned long long)spots[s], (unsigned long long)ino);
        }
    }
}

static void no_more_told(const struct told *t, const struct model *a, const struct model *b)
{
    const struct line_range *r = (const struct line_range *)t->ranges.data;

    for (size_t i = 0; i < t->ranges.len / sizeof(*r); i++)
        for (uint64_t at = r[i].off_bytes; at < r[i].off_bytes + r[i].len_bytes; at += BLOCK) {
            uint64_t ino, off;

            place_back(at, &ino, &off);
            if (!stamp_of(a, ino, off / BLOCK) && !stamp_of(b, ino, off / BLOCK))
                test_fail(__FILE__, __LINE__, "block %llu of inode %llu is told, and was never there",
                          (unsigned long long)(off / BLOCK), (unsigned long long)ino);
        }
}

static void compare(struct box *b, const char *from, const char *to, const struct model *x,
                    const struct model *y, uint64_t *rng)
{
    struct told whole = {.end = 0}, paged = {.end = 0};

    told_all(b, from, to, 100000, &whole);
    told_all(b, from, to, 1 + test_rand(rng) % 7, &paged);
    all_told(&whole, x, y);
    no_more_told(&whole, x, y);
    all_told(&paged, x, y);
    no_more_told(&paged, x, y);
    buf_free(&whole.ranges);
    buf_free(&paged.ranges);
}

TEST(test_line__tells_each_block_that_is_there_or_changed)
{
    static struct model m[STATES], none;
    struct model now = {.ino = {0}};
    uint64_t rng = test_seed(), stamp = 0;
    char a[16], c[16];
    struct box b;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < STATES; i++) {
        for (int n = 0; n < (i == 3 ? 0 : 25); n++)
            mess(&b, &now, &rng, &stamp);
        snprintf(a, sizeof(a), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, a, NULL));
        m[i] = now;
    }
    for (int i = 0; i < STATES; i++) {
        snprintf(a, sizeof(a), "s%d", i);
        compare(&b, "", a, &none, &m[i], &rng);
        for (int k = i; k < STATES; k++) {
            snprintf(c, sizeof(c), "s%d", k);
            compare(&b, a, c, &m[i], &m[k], &rng);
        }
    }
    box_close(&b);
}

/* --- what it costs ----------------------------------------------------------------------------------------------------------- */

#define GATHERED "walk: what was touched is gathered"
#define LOOKED "walk: an inode is looked at"

static int count(void *arg, const struct line_range *r)
{
    uint64_t *n = arg;

    CHECK(r->len_bytes > 0);
    ++*n;
    return 0;
}

/* Many small files, and one that lies in five parts: all is gathered once, each file looked at once for each part that it has. */
TEST(test_line__each_change_is_looked_at_once)
{
    enum { SMALL = 3000, BIG = 2000 };
    uint64_t n = 0, looked, gathered;
    char name[16];
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "big", 20 * MIB, BLOCK, 1);
    CHECK_OK(snap_create(b.v, &b.c, "x", NULL));
    for (int i = 0; i < SMALL; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        box_fill(&b, b.v, name, 0, 100, 1);
    }
    for (uint64_t i = 0; i < BIG; i++)
        box_fill(&b, b.v, "big", 2 * i * BLOCK, BLOCK, i);
    CHECK_OK(snap_create(b.v, &b.c, "y", NULL));
    gathered = mark_passed(GATHERED);
    looked = mark_passed(LOOKED);
    CHECK_OK(line_each(b.v, "x", "y", 0, count, &n));
    CHECK_EQ(n, SMALL + BIG);
    CHECK_EQ(mark_passed(GATHERED) - gathered, 1);
    CHECK_EQ(mark_passed(LOOKED) - looked, SMALL + 5);
    box_close(&b);
}

/* A range ends with a part of its file, and nowhere else. */
TEST(test_line__a_large_file_is_told_by_its_parts)
{
    struct told t = {.end = 0};
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 5 * BLOCK, 1);
    CHECK_OK(snap_create(b.v, &b.c, "x", NULL));
    box_fill(&b, b.v, "f", 4 * BLOCK, 40 * MIB, 2);
    CHECK_OK(snap_create(b.v, &b.c, "y", NULL));
    CHECK_OK(line_each(b.v, "x", "y", 0, tell, &t));
    CHECK_EQ(t.ranges.len / sizeof(struct line_range), 6);
    buf_free(&t.ranges);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
