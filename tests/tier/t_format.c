/* The format: golden bytes, damage, the tree and the map against models. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "tests/lib/test.h"
#include "tests/tier/mem.h"
#include "tests/tier/world.h"
#include "tier/kek.h"
#include "tier/map.h"
#include "tier/tree_diff.h"
#include "tier/point.h"

static const struct id16 dom_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const struct id16 chunk_id = {{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7}};

static struct domain domain(void)
{
    struct domain d;
    struct key k;

    for (size_t i = 0; i < KEY_SIZE; i++)
        k.b[i] = (uint8_t)(i * 7 + 1);
    CHECK_OK(domain_derive(&dom_id, &k, &d));
    d.codec = CODEC_LZ4;
    return d;
}

static void is_hex(const void *p, size_t len, const char *want)
{
    char *got = malloc(2 * len + 1);

    CHECK(got != NULL);
    hex_format(p, len, got);
    if (strcmp(got, want) != 0)
        test_fail(__FILE__, __LINE__, "%s, not %s", got, want);
    free(got);
}

/* --- golden bytes --------------------------------------------------------------------------------------------------- */

static const char golden_chunk[] =
#include "tests/tier/golden_chunk.inc"
    ;
static const char golden_root[] =
#include "tests/tier/golden_root.inc"
    ;
static const char golden_key[] =
#include "tests/tier/golden_key.inc"
    ;

static size_t unhex(const char *hex, uint8_t *out, size_t max)
{
    size_t n = strlen(hex) / 2;

    CHECK(n <= max);
    CHECK_OK(hex_parse(hex, out, n));
    return n;
}

/* By either compressor, with frames of all kinds. */
TEST(test_format__what_is_sealed_comes_back)
{
    static uint8_t p[700000];
    uint64_t rng = test_seed();

    for (size_t i = 0; i < sizeof(p); i++) /* some frames compress, one does not */
        p[i] = i / FRAME_SIZE == 2 ? (uint8_t)test_rand(&rng) : (uint8_t)(i / 1000);
    for (enum codec_id codec = CODEC_LZ4; codec <= CODEC_ZSTD; codec++) {
        for (size_t len = 0; len <= sizeof(p); len += 1 + test_rand(&rng) % 40000) {
            cleanup(buf_free) struct buf b = {0}, plain = {0};
            struct domain d = domain();
            struct chunk_head h;

            d.codec = codec;
            CHECK_OK(seal(&d, CHUNK_DATA, &chunk_id, p, len, &b));
            CHECK_OK(unseal(&d, CHUNK_DATA, b.data, b.len, &h, &plain));
            CHECK_EQ(h.codec, codec);
            CHECK_EQ(h.frame_size, codec == CODEC_ZSTD && len > FRAME_SIZE ? 4 * FRAME_SIZE : FRAME_SIZE);
            CHECK(plain.len == len && (!len || memcmp(plain.data, p, len) == 0));
            CHECK(len < 100 || len > 2 * FRAME_SIZE || b.len < len);
            CHECK(len < sizeof(p) - 50000 || b.len < len / 2);
        }
    }
}

/* Deriving a key costs 0.3 s by intent: a daemon does it once for the same words. */
TEST(test_format__a_passphrase_is_derived_once)
{
    uint8_t salt[32] = {1}, cost[3] = {10, 8, 1};
    uint64_t before = kek_derived();
    struct key a, b, want;

    CHECK_OK(kek_scrypt("words", 5, salt, cost, &a));
    CHECK_OK(kek_scrypt("words", 5, salt, cost, &b));
    CHECK_OK(crypt_scrypt("words", 5, salt, 10, 8, 1, &want));
    CHECK(memcmp(&a, &want, sizeof(a)) == 0 && memcmp(&b, &want, sizeof(b)) == 0);
    CHECK_EQ(kek_derived(), before + 1);
    CHECK_OK(kek_scrypt("word", 4, salt, cost, &b));
    CHECK(memcmp(&a, &b, sizeof(a)) != 0);
    salt[0] = 2;
    CHECK_OK(kek_scrypt("words", 5, salt, cost, &b));
    CHECK(memcmp(&a, &b, sizeof(a)) != 0);
    cost[0] = 11;
    CHECK_OK(kek_scrypt("words", 5, salt, cost, &b));
    CHECK_EQ(kek_derived(), before + 4);
    for (uint8_t i = 0; i < 20; i++) { /* more than are kept */
        salt[1] = i;
        CHECK_OK(kek_scrypt("words", 5, salt, cost, &b));
        CHECK_OK(crypt_scrypt("words", 5, salt, 11, 8, 1, &want));
        CHECK(memcmp(&b, &want, sizeof(b)) == 0);
    }
}

/* What does not compress is sealed the same way every time; what does is read. */
TEST(test_format__chunks_are_as_they_were)
{
    cleanup(buf_free) struct buf b = {0}, plain = {0};
    struct domain d = domain();
    struct chunk_head h;
    uint8_t old[512];
    size_t n;

    CHECK_OK(seal(&d, CHUNK_DATA, &chunk_id, "varve", 5, &b));
    is_hex(b.data, b.len,
           "7643484b01010101100000000500000059000000010000000102030405060708090a0b0c0d0e0f10a0a1a2a3a4"
           "a5a6a7000000000000000015000080f7a1d5cb51b00c761fed906b505738e214c66c853bdee93020245fa6b9");
    n = unhex(golden_chunk, old, sizeof(old));
    CHECK_OK(unseal(&d, CHUNK_META, old, n, &h, &plain));
    CHECK_EQ(plain.len, 300);
    for (size_t i = 0; i < plain.len; i++)
        CHECK(plain.data[i] == 'a' + (i / 100));
}

TEST(test_format__keys_and_roots_are_as_they_were)
{
    struct secret s = {.kdf = KDF_FILE};
    struct key master, want;
    struct master_keys keys;
    struct repo_root root;
    uint8_t old[512];
    size_t n;

    memset(s.file.b, 0x5a, sizeof(s.file.b));
    memset(want.b, 0x33, sizeof(want.b));
    n = unhex(golden_root, old, sizeof(old));
    CHECK_OK(root_decode(old, n, &root));
    CHECK_OK(master_keys(&want, &keys));
    CHECK_OK(root_prove(old, n, &keys));
    CHECK_EQ(root.generation, 7);
    CHECK_EQ(root.created_ns, 1700000000000000000);
    CHECK(memcmp(root.domain.b, dom_id.b, 16) == 0);
    n = unhex(golden_key, old, sizeof(old));
    CHECK_OK(key_decode(old, n, &root.uuid, &s, &master));
    CHECK(memcmp(master.b, want.b, KEY_SIZE) == 0);
    s.file.b[0] ^= 1;
    CHECK_ERR(key_decode(old, n, &root.uuid, &s, &master), -E_KEY);
    s.kdf = KDF_SCRYPT;
    CHECK_ERR(key_decode(old, n, &root.uuid, &s, &master), -E_KEY);
}

TEST(test_format__records_are_as_they_were)
{
    struct point_inode in = {.mode = 0100644,
                             .uid = 1,
                             .gid = 2,
                             .nlink = 3,
                             .rdev = 4,
                             .size = 5,
                             .flags = 6,
                             .project = 7,
                             .parent = 8,
                             .parent_hash = 9,
                             .mtime = {10, 11},
                             .ctime = {12, 13},
                             .btime = {14, 15},
                             .atime = {16, 17},
                             .gen = 18},
                       back;
    uint8_t v[POINT_INODE_SIZE];

    point_inode_encode(&in, v);
    is_hex(v, sizeof(v),
           "a481000001000000020000000300000004000000000000000500000000000000060000000700000008000000000000000"
           "9000000000000"
           "000a000000000000000b0000000c000000000000000d0000000e000000000000000f00000010000000000000001100000"
           "01200000000"
           "000000");
    CHECK_OK(point_inode_decode(v, sizeof(v), &back));
    CHECK(memcmp(&in.mtime, &back.mtime, sizeof(in.mtime)) == 0);
    CHECK_EQ(back.gen, 18);
    CHECK_ERR(point_inode_decode(v, sizeof(v) - 1, &back), -E_CORRUPT);
}

/* --- damage --------------------------------------------------------------------------------------------------------- */

TEST(test_format__a_damaged_chunk_is_never_right)
{
    cleanup(buf_free) struct buf b = {0}, plain = {0};
    struct domain d = domain(), other = domain();
    uint8_t *bytes = malloc(200000), *copy = malloc(200000);
    uint64_t rng = test_seed();
    struct chunk_head h;

    CHECK(bytes && copy);
    for (size_t i = 0; i < 200000; i++) /* a frame that compresses, one that does not, a short one */
        bytes[i] = i < 65536 ? (uint8_t)(i / 1000) : (uint8_t)test_rand(&rng);
    CHECK_OK(seal(&d, CHUNK_DATA, &chunk_id, bytes, 200000, &b));
    CHECK_OK(unseal(&d, CHUNK_DATA, b.data, b.len, NULL, &plain));
    CHECK(plain.len == 200000 && memcmp(plain.data, bytes, plain.len) == 0);
    CHECK_OK(unseal_moving(&d, b.data, b.len, copy, 200000, &h));
    CHECK(h.plain_len == 200000 && memcmp(copy, bytes, 200000) == 0);
    CHECK_ERR(unseal_moving(&d, b.data, b.len, copy, 199999, &h), -E_TOOBIG);
    CHECK_OK(unseal_head(b.data, b.len, &h));
    for (uint32_t first = 0; first < h.frames; first++)
        for (uint32_t end = first; end <= h.frames; end++) {
            size_t from = (size_t)first * h.frame_size,
                   to = MIN_OF((size_t)end * h.frame_size, (size_t)200000);

            memset(copy, 0, 200000);
            CHECK_OK(unseal_frames(&d, b.data, &h, first, end, copy));
            CHECK(memcmp(copy, bytes + from, to > from ? to - from : 0) == 0);
        }
    buf_reset(&plain);
    for (size_t at = 0; at < b.len; at += at < 200 ? 1 : 997) {
        b.data[at] ^= 1;
        CHECK(unseal(&d, 0, b.data, b.len, NULL, &plain) < 0);
        CHECK(unseal_moving(&d, b.data, b.len, copy, 200000, &h) < 0);
        CHECK_EQ(plain.len, 0);
        b.data[at] ^= 1;
    }
    for (size_t len = 0; len < b.len; len += len < 200 ? 1 : 1009)
        CHECK(unseal(&d, 0, b.data, len, NULL, &plain) < 0 &&
              unseal_moving(&d, b.data, len, copy, 200000, &h) < 0);
    CHECK_ERR(unseal(&d, CHUNK_META, b.data, b.len, NULL, &plain), -E_CORRUPT);
    other.chunk_key.b[0] ^= 1;
    CHECK_ERR(unseal(&other, 0, b.data, b.len, NULL, &plain), -E_CORRUPT);
    other = d;
    other.id.b[0] ^= 1;
    CHECK_ERR(unseal(&other, 0, b.data, b.len, NULL, &plain), -E_KEY);
    CHECK_ERR(unseal_moving(&other, b.data, b.len, copy, 200000, &h), -E_KEY);
    CHECK_OK(unseal_head(b.data, b.len, &h));
    CHECK_ERR(unseal_frames(&other, b.data, &h, 0, h.frames, copy), -E_KEY);
    free(copy);
    free(bytes);
}

struct mover {
    volatile uint8_t *p;
    size_t len;
    atomic_bool stop;
};

static void *move(void *arg)
{
    struct mover *m = arg;

    for (size_t at = 0; !atomic_load(&m->stop); at = (at + 4099) % m->len) {
        m->p[at] ^= 1;
        m->p[at] ^= 1;
    }
    return NULL;
}

/* Somebody writes to the chunk while it is opened: it is refused, or what comes out is right. */
TEST(test_format__a_chunk_that_changes_meanwhile_is_refused_or_right)
{
    enum { LEN = 1 << 20 };
    cleanup(buf_free) struct buf b = {0};
    struct domain d = domain();
    uint8_t *bytes = malloc(LEN), *out = malloc(LEN);
    uint64_t rng = test_seed();
    struct chunk_head h;
    pthread_t thread;

    CHECK(bytes && out);
    for (size_t i = 0; i < LEN; i++)
        bytes[i] = i % 400000 < 100000 ? (uint8_t)(i / 1000) : (uint8_t)test_rand(&rng);
    CHECK_OK(seal(&d, CHUNK_DATA, &chunk_id, bytes, LEN, &b));
    struct mover m = {.p = b.data, .len = b.len};
    CHECK(pthread_create(&thread, NULL, move, &m) == 0);
    for (unsigned i = 0; i < 200; i++)
        if (unseal_moving(&d, b.data, b.len, out, LEN, &h) == 0)
            CHECK(h.plain_len == LEN && memcmp(out, bytes, LEN) == 0);
    atomic_store(&m.stop, true);
    pthread_join(thread, NULL);
    CHECK_OK(unseal_moving(&d, b.data, b.len, out, LEN, &h));
    free(out);
    free(bytes);
}

TEST(test_format__a_damaged_root_is_never_right)
{
    uint8_t old[512];
    size_t n = unhex(golden_root, old, sizeof(old));
    struct repo_root root;

    for (size_t at = 0; at < n; at++) {
        old[at] ^= 4;
        CHECK(root_decode(old, n, &root) < 0);
        old[at] ^= 4;
        CHECK(root_decode(old, at, &root) < 0);
    }
}

/* --- the tree ------------------------------------------------------------------------------------------------------- */

#define MODEL_MAX 4000

struct record {
    uint64_t ino, sub;
    uint8_t val[64];
    size_t len;
};
struct model {
    struct record v[MODEL_MAX]; /* ascending */
    size_t n;
};

static struct tree_key key_of(uint64_t ino, uint64_t sub)
{
    struct tree_key k = tree_key(ino, REC_DIRENT);

    tree_key_u64(&k, sub);
    return k;
}

static size_t model_at(const struct model *m, uint64_t ino, uint64_t sub)
{
    size_t i = 0;

    while (i < m->n && (m->v[i].ino < ino || (m->v[i].ino == ino && m->v[i].sub < sub)))
        i++;
    return i;
}

static void model_put(struct model *m, const struct record *r)
{
    size_t i = model_at(m, r->ino, r->sub);

    if (i == m->n || m->v[i].ino != r->ino || m->v[i].sub != r->sub) {
        CHECK(m->n < MODEL_MAX);
        memmove(&m->v[i + 1], &m->v[i], (m->n - i) * sizeof(*r));
        m->n++;
    }
    m->v[i] = *r;
}

static void model_remove(struct model *m, uint64_t ino, uint64_t sub, bool all)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].ino != ino || (!all && m->v[i].sub != sub))
            m->v[n++] = m->v[i];
    m->n = n;
}

struct compare {
    const struct model *m;
    size_t i;
};

static int compare_one(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct compare *c = arg;
    const struct record *r = &c->m->v[c->i];
    struct tree_key k;

    CHECK(c->i < c->m->n);
    k = key_of(r->ino, r->sub);
    CHECK(klen == k.len && memcmp(key, k.b, klen) == 0);
    CHECK(vlen == r->len && memcmp(val, r->val, vlen) == 0);
    c->i++;
    return 0;
}

static int count_one(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    (void)key;
    (void)klen;
    (void)val;
    (void)vlen;
    (*(size_t *)arg)++;
    return 0;
}

static void tree_equals(struct repo *r, const struct tree *t, const struct model *m, uint64_t *rng)
{
    struct compare c = {m, 0};

    CHECK_OK(tree_scan(r, t, NULL, NULL, compare_one, &c));
    CHECK_EQ(c.i, m->n);
    for (int i = 0; i < 8; i++) {
        cleanup(buf_free) struct buf val = {0};
        uint64_t ino = test_rand(rng) % 60, sub = test_rand(rng) % 200;
        struct tree_key k = key_of(ino, sub), p = tree_key_ino(ino);
        size_t at = model_at(m, ino, sub), n = 0, want = 0;
        bool there = at < m->n && m->v[at].ino == ino && m->v[at].sub == sub;

        CHECK_ERR(tree_get(r, t, &k, &val), there ? 0 : -E_NOENT);
        CHECK(!there ||
              (val.len == m->v[at].len && (!val.len || memcmp(val.data, m->v[at].val, val.len) == 0)));
        CHECK_OK(tree_scan(r, t, &p, NULL, count_one, &n));
        for (size_t x = 0; x < m->n; x++)
            want += m->v[x].ino == ino;
        CHECK_EQ(n, want);
        n = want = 0;
        CHECK_OK(tree_scan(r, t, &p, &k, count_one, &n));
        for (size_t x = 0; x < m->n; x++)
            want += m->v[x].ino == ino && m->v[x].sub >= sub;
        CHECK_EQ(n, want);
    }
}

static void random_edits(struct edits *e, struct model *m, uint64_t *rng)
{
    size_t n = test_rand(rng) % 4 == 0 ? 400 : 1 + test_rand(rng) % 12;

    for (size_t i = 0; i < n / 6; i++) { /* removals act on what was there: first in the model */
        uint64_t ino = test_rand(rng) % 60, sub = test_rand(rng) % 200;
        bool all = test_rand(rng) % 6 == 0;
        struct tree_key k = all ? tree_key_ino(ino) : key_of(ino, sub);

        CHECK_OK(edits_remove(e, &k));
        model_remove(m, ino, sub, all);
    }
    for (size_t i = 0; i < n && m->n < MODEL_MAX - 1; i++) {
        struct record r = {.ino = test_rand(rng) % 60, .sub = test_rand(rng) % 200};
        struct tree_key k = key_of(r.ino, r.sub);

        r.len = test_rand(rng) % sizeof(r.val);
        for (size_t x = 0; x < r.len; x++)
            r.val[x] = (uint8_t)test_rand(rng);
        CHECK_OK(edits_put(e, &k, r.val, r.len));
        model_put(m, &r);
    }
}

struct differing {
    struct model *was;
    uint8_t last[TREE_KEY_MAX];
    size_t last_len, n;
};

/* Does to the older model what is told. */
static int differs(void *arg, const struct tree_rec *was, const struct tree_rec *is)
{
    const struct tree_rec *any = was ? was : is;
    struct differing *d = arg;
    struct record r = {.ino = get_be64(any->key), .sub = get_be64(any->key + 9)};
    size_t at = model_at(d->was, r.ino, r.sub);
    bool there = at < d->was->n && d->was->v[at].ino == r.ino && d->was->v[at].sub == r.sub;

    CHECK(tree_key_cmp(d->last, d->last_len, any->key, any->klen) < 0);
    memcpy(d->last, any->key, any->klen);
    d->last_len = any->klen;
    d->n++;
    CHECK(there == (was != NULL));
    if (was)
        CHECK(was->vlen == d->was->v[at].len && memcmp(was->val, d->was->v[at].val, was->vlen) == 0);
    if (!is) {
        model_remove(d->was, r.ino, r.sub, false);
        return 0;
    }
    CHECK(!was || was->vlen != is->vlen || memcmp(was->val, is->val, is->vlen) != 0);
    r.len = is->vlen;
    memcpy(r.val, is->val, is->vlen);
    model_put(d->was, &r);
    return 0;
}

static void diff_leads_from(struct repo *r, const struct tree *was, const struct model *then,
                            const struct tree *is, const struct model *now)
{
    static struct model m;
    struct differing d = {.was = &m};

    m = *then;
    CHECK_OK(tree_diff(r, was, is, differs, &d));
    CHECK_EQ(m.n, now->n);
    for (size_t i = 0; i < m.n; i++)
        CHECK(m.v[i].ino == now->v[i].ino && m.v[i].sub == now->v[i].sub && m.v[i].len == now->v[i].len &&
              memcmp(m.v[i].val, now->v[i].val, m.v[i].len) == 0);
}

TEST(test_tree__edits_are_as_in_a_model_and_old_trees_stay)
{
    static struct model now, then;
    uint64_t rng = test_seed();
    struct tree t = {.depth = 0}, old = t;
    struct packer *p;
    struct edits *e;
    struct world w;

    world_open(&w);
    now.n = 0;
    CHECK_OK(packer_new(w.r, NULL, &p));
    CHECK_OK(edits_new(&e));
    for (int round = 0; round < 120; round++) {
        if (round % 20 == 0) {
            then = now;
            old = t;
        }
        random_edits(e, &now, &rng);
        CHECK_OK(tree_apply(p, w.r, &t, e));
        CHECK_OK(packer_flush(p));
        CHECK_EQ(edits_bytes(e), 0);
        if (round % 5 == 0 || round < 10)
            tree_equals(w.r, &t, &now, &rng);
        if (round % 4 == 0) {
            diff_leads_from(w.r, &old, &then, &t, &now);
            diff_leads_from(w.r, &t, &now, &old, &then);
        }
        if (round % 20 == 19)
            tree_equals(w.r, &old, &then, &rng);
    }
    CHECK(t.depth > 1);
    for (uint64_t ino = 0; ino < 60; ino++) {
        struct tree_key k = tree_key_ino(ino);

        CHECK_OK(edits_remove(e, &k));
    }
    CHECK_OK(tree_apply(p, w.r, &t, e));
    CHECK_EQ(t.depth, 0);
    edits_free(e);
    packer_free(p);
    world_close(&w);
}

static int told(void *arg, const struct tree_rec *was, const struct tree_rec *is)
{
    CHECK(was && is);
    (*(size_t *)arg)++;
    return 0;
}

/* What changes little costs little: pages on the way only. */
TEST(test_tree__one_edit_of_many_records_writes_few_pages)
{
    struct packer_stat before, after;
    struct tree t = {.depth = 0}, old;
    uint64_t got;
    size_t n = 0;
    uint8_t val[100] = {0};
    struct packer *p;
    struct edits *e;
    struct world w;

    world_open(&w);
    CHECK_OK(packer_new(w.r, NULL, &p));
    CHECK_OK(edits_new(&e));
    for (uint64_t ino = 0; ino < 100000; ino++) {
        struct tree_key k = tree_key(ino, REC_INODE);

        put_le64(val, ino);
        CHECK_OK(edits_put(e, &k, val, sizeof(val)));
    }
    CHECK_OK(tree_apply(p, w.r, &t, e));
    CHECK_OK(packer_flush(p));
    packer_get_stat(p, &before);
    for (uint64_t ino = 0; ino < 100000; ino += 33333) {
        struct tree_key k = tree_key(ino, REC_INODE);

        CHECK_OK(edits_put(e, &k, "changed", 7));
    }
    old = t;
    CHECK_OK(tree_apply(p, w.r, &t, e));
    CHECK_OK(packer_flush(p));
    got = w.r->got_bytes;
    CHECK_OK(tree_diff(w.r, &old, &t, told, &n));
    CHECK_EQ(n, 4);
    CHECK(w.r->got_bytes - got < 12u << 20); /* at most eighteen pages, in chunks of a mebibyte */
    packer_get_stat(p, &after);
    CHECK(after.new_bytes - before.new_bytes < (4 * 2 + 1) * 2 * PAGE_TARGET);
    edits_free(e);
    packer_free(p);
    world_close(&w);
}

/* --- the map -------------------------------------------------------------------------------------------------------- */

#define BLOCKS 300

/* Extents that say for each block where its first byte lies: the chunk's offset, or 0 for zeros. */
static void random_run(struct extents *l, uint64_t *rng, uint32_t *next, uint64_t want[BLOCKS])
{
    for (uint64_t at = test_rand(rng) % 40; at < BLOCKS; at += test_rand(rng) % 60) {
        uint64_t many = 1 + test_rand(rng) % 40, n = MIN_OF(many, BLOCKS - at);
        struct extent e = {.block = at, .blocks = (uint32_t)n, .kind = EXTENT_SLICE};

        if (test_rand(rng) % 4 == 0) {
            e.kind = EXTENT_ZERO;
        } else { /* its bytes may end before its blocks do */
            e.s.off = *next;
            e.s.len = (uint32_t)(n * TIER_BLOCK - test_rand(rng) % (n * TIER_BLOCK));
            *next += (uint32_t)n * TIER_BLOCK;
        }
        for (uint64_t i = 0; i < n; i++)
            want[at + i] = e.kind == EXTENT_SLICE && i * TIER_BLOCK < e.s.len ? e.s.off + i * TIER_BLOCK : 0;
        CHECK_OK(extents_add(l, &e));
        at += n;
    }
}

static void map_is(const struct extents *l, const uint64_t want[BLOCKS])
{
    uint64_t got[BLOCKS] = {0}, end = 0;

    for (size_t i = 0; i < l->n; i++) {
        const struct extent *e = &l->v[i];

        CHECK(e->block >= end);
        end = e->block + e->blocks;
        for (uint64_t k = 0; k < e->blocks; k++)
            got[e->block + k] =
                e->kind == EXTENT_SLICE && k * TIER_BLOCK < e->s.len ? e->s.off + k * TIER_BLOCK : 0;
    }
    for (size_t i = 0; i < BLOCKS; i++)
        CHECK_EQ(got[i], want[i]);
}

TEST(test_map__newer_extents_cover_older_ones)
{
    uint64_t rng = test_seed();

    for (int round = 0; round < 2000; round++) {
        struct extents a = {0}, b = {0}, both = {0};
        uint64_t want[BLOCKS] = {0};
        uint32_t next = TIER_BLOCK;

        random_run(&a, &rng, &next, want);
        random_run(&b, &rng, &next, want);
        CHECK_OK(map_overlay(&b, &a, &both));
        map_is(&both, want);
        extents_free(&a);
        extents_free(&b);
        extents_free(&both);
    }
}

struct run_count {
    size_t runs;
    uint64_t longest;
};

static int count_runs(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct run_count *c = arg;

    (void)key;
    CHECK(klen == 13 && vlen == 8);
    c->runs++;
    c->longest = MAX_OF(c->longest, get_le64(val));
    return 0;
}

TEST(test_map__runs_are_few_and_say_the_same)
{
    uint64_t rng = test_seed(), want[BLOCKS] = {0};
    struct tree_key runs = tree_key(5, REC_RUN);
    struct tree t = {.depth = 0};
    uint32_t next = TIER_BLOCK;
    struct packer *p;
    struct edits *e;
    struct world w;

    world_open(&w);
    CHECK_OK(packer_new(w.r, NULL, &p));
    CHECK_OK(edits_new(&e));
    for (int round = 0; round < 80; round++) {
        struct extents l = {0}, got = {0};
        struct run_count c = {0};

        if (round == 40) {
            memset(want, 0, sizeof(want));
            random_run(&l, &rng, &next, want);
            CHECK_OK(map_replace(e, 5, &l));
        } else {
            random_run(&l, &rng, &next, want);
            CHECK_OK(map_push(&(struct map_pushing){e, w.r, &t, 5, 0, NULL, NULL}, &l));
        }
        CHECK_OK(tree_apply(p, w.r, &t, e));
        CHECK_OK(packer_flush(p));
        CHECK_OK(map_load(w.r, &t, 5, &got));
        map_is(&got, want);
        CHECK_OK(tree_scan(w.r, &t, &runs, NULL, count_runs, &c));
        CHECK(c.runs <= RUNS_MAX);
        extents_free(&l);
        extents_free(&got);
    }
    edits_free(e);
    packer_free(p);
    world_close(&w);
}
