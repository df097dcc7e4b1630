/* The local cache of names, in its two tables, against an array. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/test.h"
#include "tier/have_i.h"

#define BLOBS 12000u
#define PACKS 400u
#define PACK_BLOBS_MAX 120u

struct model {
    struct have *h;
    const char *dir;
    uint64_t rng;
    uint32_t now[BLOBS];        /* the pack that has it; 0: none that came last */
    bool has[PACKS + 1][BLOBS]; /* which pack has which, and is not forgotten */
    uint32_t pending[PACKS];
    size_t npending;
    uint32_t packs;
    bool named; /* packs come by an index, and are not pending */
};

static struct id16 name_of(uint64_t i)
{
    struct id16 id;
    uint64_t x = i * 2654435761u + 1;

    for (size_t at = 0; at < sizeof(id.b); at += 8)
        put_le64(id.b + at, test_rand(&x));
    return id;
}

static struct sha pack_of(uint32_t n)
{
    struct sha s = {{0}};

    put_le32(s.b, n);
    return s;
}

/* A pack of one chunk, which is named as it is; where blob i lies in it follows from i. */
static size_t trailer_of(uint32_t pack, const uint32_t *v, uint32_t n, uint8_t *out)
{
    struct enc e = {out};
    struct id16 chunk = {{0}};

    put_le32(chunk.b, pack);
    enc_u16(&e, 1);
    enc_u16(&e, 0);
    enc_u32(&e, 1);
    enc_bytes(&e, chunk.b, 16);
    enc_u32(&e, 0);
    enc_u32(&e, 4096 * n);
    enc_u32(&e, 4096 * n);
    enc_u8(&e, CHUNK_DATA);
    enc_u8(&e, 0);
    enc_u16(&e, 0);
    enc_u32(&e, n);
    for (uint32_t i = 0; i < n; i++) {
        struct id16 id = name_of(v[i]);

        enc_bytes(&e, id.b, 16);
        enc_u32(&e, 4096);
    }
    return (size_t)(e.p - out);
}

static void a_pack_comes(struct model *m)
{
    uint8_t *room = malloc(TRAILER_HEAD + TRAILER_CHUNK + PACK_BLOBS_MAX * TRAILER_BLOB);
    uint32_t v[PACK_BLOBS_MAX], n = 1 + (uint32_t)(test_rand(&m->rng) % PACK_BLOBS_MAX), pack = ++m->packs;
    struct sha name = pack_of(pack);
    size_t len;

    CHECK(room);
    for (uint32_t i = 0; i < n; i++) {
        v[i] = (uint32_t)(test_rand(&m->rng) % (BLOBS / 2));
        m->now[v[i]] = pack;
        m->has[pack][v[i]] = true;
    }
    len = trailer_of(pack, v, n, room);
    CHECK_OK(have_pack(m->h, &name, 4096, room, len, !m->named));
    if (!m->named)
        m->pending[m->npending++] = pack;
    free(room);
}

/* What another pack had before may be found again, or not: both are right. */
static void a_pack_is_forgotten(struct model *m)
{
    size_t i = test_rand(&m->rng) % m->npending;
    uint32_t pack = m->pending[i];
    struct sha name = pack_of(pack);

    CHECK_OK(have_forget_pack(m->h, &name));
    m->pending[i] = m->pending[--m->npending];
    for (uint32_t b = 0; b < BLOBS; b++) {
        m->has[pack][b] = false;
        if (m->now[b] == pack)
            m->now[b] = 0;
    }
}

static void looks_right(struct model *m)
{
    for (uint32_t i = 0; i < BLOBS; i++) {
        struct id16 id = name_of(i);
        struct have_blob got;
        int r = have_get_blob(m->h, &id, &got);

        if (m->now[i] == 0 && r == 0 && m->has[get_le32(got.chunk.b)][i])
            continue;
        CHECK_EQ(r, m->now[i] ? 0 : -E_NOENT);
        if (r == 0)
            CHECK(get_le32(got.chunk.b) == m->now[i] && got.len == 4096);
    }
}

static void opened_again(struct model *m)
{
    have_close(m->h);
    CHECK_OK(have_open(m->dir, &m->h));
}

TEST(test_have__names_are_found_wherever_they_are)
{
    const uint64_t young_max = have_young_max, part_max = have_part_max;
    struct model *m = calloc(1, sizeof(*m));

    CHECK(m);
    m->dir = test_dir();
    m->rng = test_seed();
    have_young_max = 200;
    have_part_max = 100;
    CHECK_OK(have_open(m->dir, &m->h));
    for (int i = 0; i < 300; i++) {
        a_pack_comes(m);
        if (test_rand(&m->rng) % 6 == 0)
            a_pack_is_forgotten(m);
        if (i % 25 == 0)
            looks_right(m);
        if (test_rand(&m->rng) % 60 == 0)
            opened_again(m);
    }
    looks_right(m);
    expect_mark("have: a part was settled");
    expect_mark("have: parts were halved");
    CHECK_OK(have_clear(m->h));
    for (uint32_t i = 0; i < BLOBS; i++) { /* what is pending stays, whichever has it last */
        struct id16 id = name_of(i);
        struct have_blob got;

        if (m->now[i])
            CHECK_OK(have_get_blob(m->h, &id, &got));
    }
    have_close(m->h);
    have_young_max = young_max;
    have_part_max = part_max;
    free(m);
}

/* Of names that are nowhere hardly any is looked for in the large table, once each part was settled. */
TEST(test_have__what_is_not_there_is_not_looked_for)
{
    const uint64_t young_max = have_young_max;
    struct model *m = calloc(1, sizeof(*m));
    unsigned looks, let_through;

    CHECK(m);
    m->dir = test_dir();
    m->rng = test_seed();
    have_young_max = 100;
    CHECK_OK(have_open(m->dir, &m->h));
    for (int i = 0; i < 200; i++)
        a_pack_comes(m);
    looks_right(m);
    looks = atomic_load(&m->h->looks);
    for (uint32_t i = 0; i < 20000; i++) {
        struct id16 id = name_of(BLOBS + i);
        struct have_blob got;

        CHECK_EQ(have_get_blob(m->h, &id, &got), -E_NOENT);
    }
    let_through = atomic_load(&m->h->looks) - looks;
    printf("    %u of 20000 names that are nowhere were looked for in the old table\n", let_through);
    CHECK(let_through < 400);
    have_close(m->h);
    have_young_max = young_max;
    free(m);
}

/* Tables of two different caches are not taken for one; what is put and not named yet stays, as somebody counts on it. */
TEST(test_have__tables_that_do_not_belong_together_are_made_anew)
{
    struct model *m = calloc(1, sizeof(*m));
    char dir[2][PATH_MAX], young[2][PATH_MAX + 16];

    CHECK(m);
    m->rng = test_seed();
    for (int i = 0; i < 2; i++) {
        snprintf(dir[i], sizeof(dir[i]), "%s/%d", test_dir(), i);
        snprintf(young[i], sizeof(young[i]), "%s/young.mdb", dir[i]);
        CHECK_OK(have_open(dir[i], &m->h));
        m->named = true;
        a_pack_comes(m);
        m->named = false;
        a_pack_comes(m);
        have_close(m->h);
    }
    CHECK_EQ(rename(young[0], young[1]), 0);
    CHECK_OK(have_open(dir[1], &m->h));
    for (uint32_t i = 0; i < BLOBS; i++) {
        struct id16 id = name_of(i);
        struct have_blob got;

        CHECK_EQ(have_get_blob(m->h, &id, &got), m->has[m->packs][i] ? 0 : -E_NOENT);
    }
    have_close(m->h);
    free(m);
}

/* An index object of one pack that has the first n blobs. */
static void long_index(uint32_t pack, uint32_t n, struct buf *ret)
{
    uint8_t *trailer = malloc(TRAILER_HEAD + TRAILER_CHUNK + n * TRAILER_BLOB);
    uint32_t *v = malloc(n * sizeof(*v));
    uint8_t head[INDEX_HEAD + INDEX_PACK];
    struct sha name = pack_of(pack);
    struct enc e = {head};
    size_t len;

    CHECK(trailer && v);
    for (uint32_t i = 0; i < n; i++)
        v[i] = i;
    len = trailer_of(pack, v, n, trailer);
    enc_u16(&e, 1);
    enc_u16(&e, 0);
    enc_u32(&e, 1);
    enc_bytes(&e, name.b, 32);
    enc_u64(&e, 4096);
    enc_u32(&e, (uint32_t)len);
    CHECK_OK(buf_add(ret, head, sizeof(head)));
    CHECK_OK(buf_add(ret, trailer, len));
    free(trailer);
    free(v);
}

#define INDEX_NAME "0123456789012345678901234567890123456789012345678901234567890123"

/* An index of more names than the young table is for: they are in the old one at once; parts get their filters with what comes then. */
TEST(test_have__a_long_index_goes_into_the_old_table)
{
    const uint64_t young_max = have_young_max;
    cleanup(buf_free) struct buf index = {0};
    uint8_t trailer[TRAILER_HEAD + TRAILER_CHUNK + 2 * TRAILER_BLOB];
    struct have_blob got;
    struct have *h;
    unsigned looks;

    long_index(1, BLOBS / 2, &index);
    have_young_max = 100;
    CHECK_OK(have_open(test_dir(), &h));
    CHECK_OK(have_index(h, INDEX_NAME, index.data, index.len));
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t other[2] = {BLOBS + 2 * i, BLOBS + 2 * i + 1};
        struct sha name = pack_of(2 + i);

        CHECK_OK(have_pack(h, &name, 4096, trailer, trailer_of(2 + i, other, 2, trailer), false));
    }
    looks = atomic_load(&h->looks);
    for (uint32_t i = 0; i < BLOBS; i++) {
        struct id16 id = name_of(i);

        CHECK_EQ(have_get_blob(h, &id, &got), i < BLOBS / 2 ? 0 : -E_NOENT);
    }
    looks = atomic_load(&h->looks) - looks;
    CHECK(looks >= BLOBS / 2 && looks < BLOBS / 2 + BLOBS / 50);
    have_close(h);
    have_young_max = young_max;
}

static bool at_once(void *arg)
{
    (void)arg;
    return true;
}

/* Names that wait, where a writer has put much: no later one, who has little, has to put them in their places. */
TEST(test_have__who_brings_much_puts_it_in_its_place)
{
    const uint64_t young_max = have_young_max;
    struct model *m = calloc(1, sizeof(*m));
    MDB_stat st;

    CHECK(m);
    m->dir = test_dir();
    m->rng = test_seed();
    have_young_max = 100;
    CHECK_OK(have_open(m->dir, &m->h));
    while (m->packs < PACKS)
        a_pack_comes(m);
    CHECK_EQ(mdb_env_stat(m->h->t[HAVE_YOUNG].env, &st), 0);
    CHECK(st.ms_entries > 3 * have_young_max);
    have_rest(m->h, have_young_max, NULL, NULL); /* who brought little */
    have_rest(m->h, BLOBS, at_once, NULL);
    CHECK_EQ(mdb_env_stat(m->h->t[HAVE_YOUNG].env, &st), 0);
    CHECK(st.ms_entries > 3 * have_young_max);
    have_rest(m->h, BLOBS, NULL, NULL);
    CHECK_EQ(mdb_env_stat(m->h->t[HAVE_YOUNG].env, &st), 0);
    CHECK(st.ms_entries < 2 * have_young_max);
    expect_mark("have: all parts are settled");
    looks_right(m);
    have_close(m->h);
    have_young_max = young_max;
    free(m);
}

/* Leaves of the old table become zeros, as after a power cut on a disk that lies. */
static void leaves_damaged(const char *dir)
{
    char path[PATH_MAX + 16];
    uint8_t page[4096];
    unsigned leaves = 0;
    FILE *f;

    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    f = fopen(path, "r+b");
    CHECK(f);
    for (long at = 2; fseek(f, at * 4096, SEEK_SET) == 0 && fread(page, sizeof(page), 1, f) == 1; at++) {
        if (get_le16(page + 10) != 2 || leaves++ % 3 == 0)
            continue;
        memset(page, 0, sizeof(page));
        CHECK_EQ(fseek(f, at * 4096, SEEK_SET), 0);
        CHECK_EQ(fwrite(page, sizeof(page), 1, f), 1);
    }
    CHECK_EQ(fclose(f), 0);
    CHECK(leaves > 10);
}

TEST(test_have__damaged_leaves_are_an_error_and_no_end_of_the_process)
{
    const uint64_t young_max = have_young_max;
    struct model *m = calloc(1, sizeof(*m));
    uint8_t room[TRAILER_HEAD + TRAILER_CHUNK + TRAILER_BLOB];
    bool told = false;

    CHECK(m);
    m->rng = test_seed();
    m->dir = test_dir();
    have_young_max = 100;
    CHECK_OK(have_open(m->dir, &m->h));
    for (int i = 0; i < 150; i++)
        a_pack_comes(m);
    have_close(m->h);
    leaves_damaged(m->dir);
    CHECK_OK(have_open(m->dir, &m->h));
    for (uint32_t i = 0; i < 300 && !told; i++) {
        uint32_t blob = BLOBS + i, pack = 1000 + i;
        struct sha name = pack_of(pack);
        int r = have_pack(m->h, &name, 4096, room, trailer_of(pack, &blob, 1, room), false);

        CHECK(r == 0 || r == -E_CORRUPT);
        told = r == -E_CORRUPT;
    }
    opened_again(m);
    expect_mark("have: made anew");
    m->named = true;
    a_pack_comes(m);
    have_close(m->h);
    have_young_max = young_max;
    free(m);
}
