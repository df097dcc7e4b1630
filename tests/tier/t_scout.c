/* What an increment looks at: of the volume's tables ahead, of a chunk of metadata what it asks for, of a tree what goes. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/repo_kept.h"
#include "tier/tree.h"

#define FILES 9000u
#define CHANGED 17u

static void name_of(unsigned i, char name[24])
{
    snprintf(name, 24, "d%u/f%05u", i % 7, i);
}

static void many_files(struct repo_rig *g)
{
    char name[24];

    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "d%u", i);
        box_mkdir(&g->b, g->b.v, name);
    }
    for (unsigned i = 0; i < FILES; i++) {
        name_of(i, name);
        if (i % 100 == 0)
            box_fill(&g->b, g->b.v, name, 0, 100000, i);
        else
            box_text(&g->b, g->b.v, name, name);
    }
}

/* Sums of a recovery point that goes on from another are those of one of everything. */
static void sums_are_right(struct repo_rig *g, const char *snap, const struct backup_result *res)
{
    struct backup_result all;
    struct point inc = rig_point(g, res->id), full;

    CHECK_OK(rig_try_backup(g, snap, true, &all));
    full = rig_point(g, all.id);
    CHECK(inc.files == full.files && inc.dirs == full.dirs && inc.others == full.others);
    CHECK_EQ(inc.bytes, full.bytes);
    point_release(&inc);
    point_release(&full);
}

TEST(test_scout__few_changes_in_many_files)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result res;
    struct repo_rig g;
    char name[24];

    rig_begin(&g);
    many_files(&g);
    rig_back_up(&g, "s0");
    for (unsigned i = 0; i < CHANGED; i++) {
        name_of(i * 300, name);
        box_fill(&g.b, g.b.v, name, i * 5000, 3000, i + 1);
    }
    name_of(1, name);
    box_remove(&g.b, g.b.v, name);
    name_of(2, name);
    box_rename(&g.b, g.b.v, name, "elsewhere");
    name_of(200, name);
    box_truncate(&g.b, g.b.v, name, 10);
    box_link(&g.b, g.b.v, name, "another");
    rig_picture(&g, &want);
    res = rig_back_up(&g, "s1");
    CHECK(res.base[0]);
    expect_mark("backup: inodes are looked at ahead");
    expect_mark("kv: reads go all over the tables");
    rig_restores_to(&g, res.id, &want);
    sums_are_right(&g, "s1", &res);
    rig_end(&g);
}

/* --- chunks --------------------------------------------------------------------------------------------------------- */

#define BLOBS 80u
#define BLOB 10000u /* no two frames begin with one */

struct blobs {
    struct world w;
    struct slice at[BLOBS];
    uint8_t bytes[BLOBS][BLOB];
};

/* In one chunk, of 13 frames. */
static struct blobs *blobs_put(void)
{
    struct blobs *b = calloc(1, sizeof(*b));
    uint64_t rng = test_seed();
    struct packer *p;

    CHECK(b);
    world_open(&b->w);
    CHECK_OK(packer_new(b->w.r, NULL, &p));
    for (unsigned i = 0; i < BLOBS; i++) {
        for (unsigned x = 0; x < BLOB; x++)
            b->bytes[i][x] = (uint8_t)test_rand(&rng);
        CHECK_OK(packer_blob(p, CHUNK_META, b->bytes[i], BLOB, &b->at[i]));
    }
    CHECK_OK(packer_flush(p));
    packer_free(p);
    CHECK(memcmp(&b->at[0].chunk, &b->at[BLOBS - 1].chunk, sizeof(b->at[0].chunk)) == 0);
    return b;
}

static void blobs_end(struct blobs *b)
{
    world_close(&b->w);
    free(b);
}

static int blob_read(struct blobs *b, unsigned i)
{
    cleanup(buf_free) struct buf got = {0};
    int r = repo_slice(b->w.r, &b->at[i], true, &got);

    if (r == 0)
        CHECK(got.len == BLOB && memcmp(got.data, b->bytes[i], BLOB) == 0);
    return r;
}

TEST(test_kept__of_a_chunk_what_is_asked_for_is_unpacked)
{
    struct blobs *b = blobs_put();
    uint64_t rng = test_seed();
    const uint8_t *p;
    size_t len;

    for (int round = 0; round < 20; round++) {
        repo_chunks_drop(b->w.r);
        CHECK(!repo_chunk_kept(b->w.r, &b->at[0].chunk));
        for (unsigned i = 0; i < 4; i++)
            CHECK_OK(blob_read(b, (unsigned)(test_rand(&rng) % BLOBS)));
        CHECK(repo_chunk_kept(b->w.r, &b->at[0].chunk));
        if (round % 2)
            continue;
        CHECK_OK(repo_chunk(b->w.r, &b->at[0].chunk, &p, &len)); /* and the rest */
        CHECK_EQ(len, BLOBS * BLOB);
        for (unsigned i = 0; i < BLOBS; i++)
            CHECK(memcmp(p + b->at[i].off, b->bytes[i], BLOB) == 0);
    }
    expect_mark("repo: of a chunk only what is asked for was unpacked");
    b->at[1].len = UINT32_MAX;
    CHECK_ERR(blob_read(b, 1), -E_CORRUPT);
    b->at[1].off = UINT32_MAX;
    CHECK_ERR(blob_read(b, 1), -E_CORRUPT);
    blobs_end(b);
}

/* What is damaged is an error each time somebody asks for it, and nobody else's. */
TEST(test_kept__a_damaged_frame_is_never_right)
{
    struct blobs *b = blobs_put();
    const char *pack = mem_name(b->w.m, "packs/", 0);
    unsigned bad = 0, again = 0;
    const uint8_t *p;
    size_t len;

    CHECK(pack);
    mem_flip(b->w.m, pack, 400000);
    for (unsigned i = 0; i < BLOBS; i++) {
        int r = blob_read(b, i);

        CHECK(r == 0 || r == -E_CORRUPT);
        bad += r < 0;
    }
    CHECK(bad >= 6 && bad <= 9); /* a frame of 64 KiB */
    CHECK_ERR(repo_chunk(b->w.r, &b->at[0].chunk, &p, &len), -E_CORRUPT);
    for (unsigned i = 0; i < BLOBS; i++)
        again += blob_read(b, i) < 0;
    CHECK_EQ(again, bad);
    blobs_end(b);
}

/* What was wrong is not kept: once it is right again, it is read. */
TEST(test_kept__what_is_mended_is_read_again)
{
    cleanup(buf_free) struct buf whole = {0};
    struct blobs *b = blobs_put();
    char pack[BACKEND_NAME_MAX + 1];
    const uint8_t *p;
    size_t len;

    snprintf(pack, sizeof(pack), "%s", mem_name(b->w.m, "packs/", 0));
    CHECK_OK(backend_get_all(b->w.r->b, &b->w.r->call, pack, 64u << 20, &whole));
    mem_flip(b->w.m, pack, 400000);
    for (unsigned i = 0; i < BLOBS; i++)
        (void)blob_read(b, i);
    mem_flip(b->w.m, pack, 400000);
    for (unsigned i = 0; i < BLOBS; i++)
        CHECK_OK(blob_read(b, i));
    repo_chunks_drop(b->w.r);
    for (size_t cut = 0; cut < 3; cut++) {
        mem_cut(b->w.m, pack, cut * 100); /* before it, in its head, and between its frames */
        CHECK(repo_chunk(b->w.r, &b->at[0].chunk, &p, &len) < 0);
        CHECK(!repo_chunk_kept(b->w.r, &b->at[0].chunk));
    }
    mem_drop(b->w.m, pack);
    CHECK_OK(backend_put(b->w.r->b, &b->w.r->call, pack, whole.data, whole.len));
    for (unsigned i = 0; i < BLOBS; i++)
        CHECK_OK(blob_read(b, i));
    blobs_end(b);
}

/* --- what goes of a tree -------------------------------------------------------------------------------------------- */

#define INODES 300u

struct watched {
    uint64_t val[INODES]; /* 0: there is none */
    uint64_t sum;
};

static int went(void *arg, const uint8_t *val, size_t len)
{
    CHECK_EQ(len, 8);
    ((struct watched *)arg)->sum -= get_le64(val);
    return 0;
}

static void put_inode(struct edits *e, struct watched *w, uint64_t ino, uint64_t val)
{
    struct tree_key k = tree_key(ino, REC_INODE);
    uint8_t v[8];

    put_le64(v, val);
    CHECK_OK(edits_put(e, &k, v, sizeof(v)));
    w->val[ino] = val;
    w->sum += val;
}

/* Of some so many that they fill pages of their own. */
static void put_others(struct edits *e, uint64_t ino, uint64_t n)
{
    static const uint8_t val[1000]; /* so that many a page begins with an inode */

    for (uint64_t i = 0; i < n; i++) {
        struct tree_key k = tree_key(ino, REC_DIRENT);

        tree_key_u64(&k, i);
        CHECK_OK(edits_put(e, &k, val, sizeof(val)));
    }
}

static void edit_at_random(struct edits *e, struct watched *w, uint64_t *rng)
{
    for (uint64_t ino = test_rand(rng) % 9; ino < INODES; ino += 1 + test_rand(rng) % 30) {
        struct tree_key all = tree_key_ino(ino);
        uint64_t what = test_rand(rng) % 4;

        if (what == 0 || what == 1)
            CHECK_OK(edits_remove(e, &all));
        if (what == 0)
            w->val[ino] = 0;
        else
            put_inode(e, w, ino, 1 + test_rand(rng) % 1000000);
        if (what == 1)
            put_others(e, ino, ino % 7 == 0 ? 80 : 2);
    }
}

TEST(test_watch__what_goes_is_told_once)
{
    struct watched w = {.sum = 0};
    uint64_t rng = test_seed();
    struct tree t = {.depth = 0};
    struct packer *p;
    struct edits *e;
    struct world wd;

    world_open(&wd);
    CHECK_OK(packer_new(wd.r, NULL, &p));
    CHECK_OK(edits_new(&e));
    edits_watch(e, went, &w);
    for (uint64_t ino = 0; ino < INODES; ino++) {
        put_inode(e, &w, ino, ino + 1);
        put_others(e, ino, ino % 7 == 0 ? 80 : 2);
    }
    for (int round = 0; round < 60; round++) {
        uint64_t want = 0;

        CHECK_OK(tree_apply(p, wd.r, &t, e));
        CHECK_OK(packer_flush(p));
        for (unsigned i = 0; i < INODES; i++)
            want += w.val[i];
        CHECK_EQ(w.sum, want);
        edit_at_random(e, &w, &rng);
    }
    edits_free(e);
    packer_free(p);
    world_close(&wd);
}
