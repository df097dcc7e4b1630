/* The bytes of the store's records: what was written once is read for ever. Golden bytes of each kind, round trips with
 * random values, and parsers that stand anything. */
#include <stdlib.h>

#include "base/io.h"
#include "snap/store/inode.h"
#include "snap/store/record.h"
#include "snap/store/span.h"
#include "snap/store/store_int.h"
#include "snap/store/version.h"
#include "tests/lib/test.h"

#define BASE_BLOCKS_AT 72 /* in a record of an inode */

/* "PRINT=1 record_test" shows what is written now. A change here is a new version of the format. */
static void golden(const char *what, const uint8_t *p, size_t len, const char *hex)
{
    char *have = malloc(2 * len + 1);

    CHECK(have != NULL);
    for (size_t i = 0; i < len; i++)
        snprintf(have + 2 * i, 3, "%02x", p[i]);
    bool same = strlen(hex) == 2 * len && memcmp(have, hex, 2 * len) == 0;
    if (getenv("PRINT"))
        printf("%s %s\n", what, have);
    free(have);
    if (!same)
        test_fail(__FILE__, __LINE__, "%s: the bytes are others", what);
}

static void fill(void *p, size_t len, uint8_t from)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)p)[i] = (uint8_t)(from + i);
}

static struct volume_rec a_volume(void)
{
    struct volume_rec r;

    memset(&r, 0, sizeof(r));
    fill(r.uuid.b, 16, 0x10);
    fill(r.family.b, 16, 0x20);
    fill(r.hash_key, 16, 0x30);
    r.id = 0x01020304;
    r.head = 5;
    r.layer = 6;
    r.live_view = 7;
    r.next_view = 8;
    r.flags = VOLUME_DELETED | VOLUME_SCHEDULED;
    r.size_limit = 0x1122334455667788;
    r.inode_limit = 9;
    r.snap_limit = 10;
    r.created_ns = 11;
    r.deleted_ns = -2;
    r.epoch = 12;
    r.role = 1;
    r.profile = 2;
    r.key = 3;
    r.origin_vol = 4;
    r.snap_seq = 13;
    r.op_seq = 14;
    snprintf(r.name, sizeof(r.name), "data");
    return r;
}

static struct layer_rec a_layer(void)
{
    struct layer_rec r;

    memset(&r, 0, sizeof(r));
    fill(r.uuid.b, 16, 0x40);
    fill(r.group.b, 16, 0x50);
    r.vol = 1;
    r.layer = 2;
    r.branch = 3;
    r.state = LAYER_DURABLE;
    r.number = 4;
    r.taken_ns = 5;
    r.expires_ns = 6;
    r.blocks = 7;
    r.inodes = 8;
    r.next_ino = 9;
    r.epoch = 10;
    r.holds = 11;
    r.children = 12;
    r.grade = 1;
    snprintf(r.name, sizeof(r.name), "before");
    return r;
}

TEST(test_record__golden_bytes_of_the_plain_tables)
{
    const struct next_rec next = {
        .object = 0x0102030405060708, .reclaim = 2, .job = 3, .volume = 4, .branch = 5};
    const struct vstat_rec stat = {.blocks = 1, .inodes = 2, .next_ino = 3};
    const struct branch_rec br = {1, 2, 3, 4, 5, 6, BRANCH_FLATTENED};
    const struct view_rec view = {.branch = 1, .layer = 2, .dir = 3, .kind = 1};
    const struct object_rec obj = {
        .object = 1, .ino = 2, .vol = 3, .branch = 4, .layer = 5, .flags = OBJECT_SHARED, .key = 6};
    const struct reclaim_rec rc = {RECLAIM_PUNCH, 1, 2, 3, 4, 5, 6, 7};
    struct volume_rec vol = a_volume();
    struct layer_rec layer = a_layer();
    uint8_t out[RECORD_SIZE_MAX];

    golden("next", out, next_rec_encode(&next, out),
           "0807060504030201020000000000000003000000000000000400000005000000");
    golden("vstat", out, vstat_rec_encode(&stat, out), "010000000000000002000000000000000300000000000000");
    golden("branch", out, branch_rec_encode(&br, out),
           "01000000020000000300000004000000050000000600000002000000");
    golden("view", out, view_rec_encode(&view, out), "010000000200000003000000000000000100000000000000");
    golden("object", out, object_rec_encode(&obj, out),
           "01000000000000000200000000000000030000000400000005000000010000000600000000000000");
    golden("reclaim", out, reclaim_rec_encode(&rc, out),
           "0200000001000000020000000300000004000000000000000500000000000000060000000000000007000000"
           "00000000");
    golden("volume", out, volume_rec_encode(&vol, out),
           "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b"
           "3c3d3e3f04030201050000000600000007000000080000000500000088776655443322110900000000000000"
           "0a000000000000000b00000000000000feffffffffffffff0c00000000000000010000000200000003000000"
           "040000000d000000000000000e000000000000000464617461");
    golden("layer", out, layer_rec_encode(&layer, out),
           "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f010000000200000003000000"
           "0200000004000000000000000500000000000000060000000000000007000000000000000800000000000000"
           "09000000000000000a000000000000000b0000000c0000000100000000000000066265666f7265");
}

static struct inode an_inode(void)
{
    struct inode in;

    memset(&in, 0, sizeof(in));
    in.ino = 0x0102030405060708;
    in.size = 2;
    in.blocks = 3;
    in.rdev = 4;
    in.gen = 5;
    in.change = 6;
    in.parent = 7;
    in.parent_hash = 8;
    in.base_obj = 9;
    in.base_blocks = 10;
    in.open_obj = 11;
    in.open_layer = 12;
    in.base_layer = 13;
    in.mode = 0100644;
    in.uid = 14;
    in.gid = 15;
    in.nlink = 16;
    in.flags = INODE_INLINE | INODE_CAPS;
    in.project = 17;
    in.key = 18;
    in.tier = 19;
    in.nxattr = 20;
    in.atime = (struct timespec){21, 22};
    in.mtime = (struct timespec){23, 24};
    in.ctime = (struct timespec){-1, 26};
    in.btime = (struct timespec){27, 28};
    return in;
}

static void a_span(struct span *sp)
{
    const struct span_src obj = {SPAN_OBJECT, 0, 7, 1, 0x1234, 0},
                          moved = {SPAN_UNWRITTEN, 1, 8, 2, 0x5678, -3};

    span_clear(sp);
    CHECK_OK(span_set(sp, 0, 100, &obj));
    CHECK_OK(span_set(sp, 50, 10, &moved));
    CHECK_OK(span_set(sp, 55, 1, NULL));
    CHECK_OK(span_set(sp, 255, 1, &obj));
}

TEST(test_record__golden_bytes_of_inodes_spans_and_envelopes)
{
    static const char key_name_at[] = "\x02\x00\x00\x00\x07"
                                      "dirdirdihashhash";
    struct inode in = an_inode();
    static uint8_t out[SPAN_SIZE_MAX];
    static struct span sp;
    uint8_t env[VAL_HDR_SIZE + 5], old[26];

    CHECK_EQ(inode_encode(&in, out), INODE_REC_SIZE);
    golden("inode", out, INODE_REC_SIZE,
           "0807060504030201020000000000000003000000000000000400000000000000050000000000000006000000"
           "000000000700000000000000080000000000000009000000000000000a000000000000000b00000000000000"
           "0c0000000d000000a48100000e0000000f000000100000004100000011000000120000001300000014000000"
           "150000000000000016000000170000000000000018000000ffffffffffffffff1a0000001b00000000000000"
           "1c000000");
    in.xattr_names = 0x0102030405060708;
    in.xattr_values = 0x1112131415161718;
    in.more_blocks = 0x21222324;
    CHECK_EQ(inode_encode(&in, out), INODE_REC_MAX);
    golden("more of an inode", out + INODE_REC_SIZE, INODE_REC_MAX - INODE_REC_SIZE,
           "0807060504030201181716151413121124232221");
    a_span(&sp);
    golden("span", out, span_encode(&sp, out),
           "0200050001000000070000000100000034120000000000000000000000000000020100000800000002000000"
           "7856000000000000fdffffffffffffff0031013204023803023c2701ff0001");
    span_clear(&sp);
    golden("span-empty", out, span_encode(&sp, out), "00000000");
    envelope_make(env, key_name_at, 21, 9, VAL_TOMB, "bytes", 5);
    golden("envelope", env, sizeof(env), "01010000090000001dc6f9cb6279746573");
    /* the sum of a record in history is the same as of the live one: moving it needs no new sum */
    memcpy(old, key_name_at, 21);
    old[0] |= TAB_HISTORY;
    put_be32(old + 21, 77);
    uint8_t moved[sizeof(env)];
    envelope_make(moved, old, 25, 9, VAL_TOMB, "bytes", 5);
    CHECK(memcmp(moved, env, sizeof(env)) == 0);
}

TEST(test_record__golden_bytes_of_keys)
{
    static const uint8_t ino[8] = {0, 0, 0, 0, 0, 0, 1, 2};
    uint8_t k[KEY_SIZE_MAX];

    golden("key-live", k, key_live(k, TAB_INODE, 3, ino, 8), "01000000030000000000000102");
    golden("key-history", k, key_history(k, TAB_INODE, 3, ino, 8, 9), "8100000003000000000000010200000009");
    golden("key-meta", k, key_meta(k, META_NEXT), "4002");
    golden("key-volume", k, key_u32(k, TAB_VOLUME, 258), "4100000102");
    golden("key-layer", k, key_u32_u32(k, TAB_LAYER, 1, 2), "450000000100000002");
    golden("key-object", k, key_u64(k, TAB_OBJECT, 258), "490000000000000102");
    golden("key-volname", k, key_name(k, TAB_VOLNAME, "ab"), "426162");
    golden("key-snapname", k, key_snapname(k, 1, "ab"), "46000000016162");
    golden("key-objref", k, key_objref(k, 1, 2, 3), "4a0000000000000001000000020000000000000003");
    golden("key-touched", k, key_touched(k, 1, 2, TAB_SPAN, ino, 8), "480000000100000002060000000000000102");
}

TEST(test_record__golden_bytes_of_the_version_file)
{
    struct store_version v = {.format = 1,
                              .block_size = 4096,
                              .segments = 8,
                              .span_shift = 20,
                              .created_ns = 5,
                              .segment_bytes = 16 << 20,
                              .dir_dev = 6,
                              .dir_ino = 7},
                         back;
    uint8_t out[STORE_VERSION_SIZE];

    fill(v.uuid.b, 16, 1);
    fill(v.machine, 16, 0x60);
    store_version_encode(&v, out);
    golden("version", out, sizeof(out),
           "564152564553544f010000000010000000000000000000000000000000000000000000000000000001020304"
           "05060708090a0b0c0d0e0f100500000000000000000000010000000008000000140000000600000000000000"
           "0700000000000000606162636465666768696a6b6c6d6e6f0000000000000000000000000000000000000000"
           "0000000000000000000000000000000000000000d053c3c678390eb5");
    CHECK_OK(store_version_decode(out, sizeof(out), &back));
    CHECK_EQ(back.segment_bytes, v.segment_bytes);
    CHECK_EQ(back.dir_ino, 7);
    CHECK_ERR(store_version_decode(out, sizeof(out) - 1, &back), -E_CORRUPT);
    for (unsigned i = 0; i < sizeof(out); i++) {
        out[i] ^= 4;
        CHECK(store_version_decode(out, sizeof(out), &back) < 0);
        out[i] ^= 4;
    }
    v.format = 2;
    store_version_encode(&v, out);
    CHECK_ERR(store_version_decode(out, sizeof(out), &back), -E_STORE_NEWER);
    v.format = 1;
    v.incompat = 1ull << 40;
    store_version_encode(&v, out);
    CHECK_ERR(store_version_decode(out, sizeof(out), &back), -E_STORE_FEATURE);
}

/* --- round trips --- */

static void scramble(uint64_t *rng, void *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)p)[i] = (uint8_t)(test_rand(rng) >> 17);
}

static void some_name(uint64_t *rng, char name[NAME_LEN_MAX + 1])
{
    size_t len = test_rand(rng) % (NAME_LEN_MAX + 1);

    memset(name, 0, NAME_LEN_MAX + 1);
    for (size_t i = 0; i < len; i++)
        name[i] = (char)(1 + test_rand(rng) % 255);
}

/* Every decoder refuses each shorter length, and gives back what was put in. */
#define ROUND(kind, type)                                                                                    \
    static void round_##kind(uint64_t *rng)                                                                  \
    {                                                                                                        \
        type a, b;                                                                                           \
        uint8_t out[RECORD_SIZE_MAX];                                                                        \
        memset(&a, 0, sizeof(a));                                                                            \
        memset(&b, 0, sizeof(b));                                                                            \
        scramble(rng, &a, sizeof(a));                                                                        \
        make_##kind(rng, &a);                                                                                \
        size_t n = kind##_encode(&a, out);                                                                   \
        CHECK(n <= sizeof(out));                                                                             \
        CHECK_OK(decode_##kind(out, n, &b));                                                                 \
        CHECK(memcmp(&a, &b, sizeof(a)) == 0);                                                               \
        for (size_t i = 0; i < n; i++)                                                                       \
            CHECK_ERR(decode_##kind(out, i, &b), -E_CORRUPT);                                                \
    }
#define PLAIN(kind, type)                                                                                    \
    static void make_##kind(uint64_t *rng, type *a)                                                          \
    {                                                                                                        \
        (void)rng;                                                                                           \
        (void)a;                                                                                             \
    }                                                                                                        \
    static int decode_##kind(const uint8_t *p, size_t n, type *ret)                                          \
    {                                                                                                        \
        return kind##_decode(p, n, ret);                                                                     \
    }                                                                                                        \
    ROUND(kind, type)

PLAIN(next_rec, struct next_rec)
PLAIN(vstat_rec, struct vstat_rec)
PLAIN(branch_rec, struct branch_rec)
PLAIN(reclaim_rec, struct reclaim_rec)

static void make_view_rec(uint64_t *rng, struct view_rec *a)
{
    (void)rng;
    a->zero = 0;
}
static int decode_view_rec(const uint8_t *p, size_t n, struct view_rec *ret)
{
    return view_rec_decode(p, n, ret);
}
ROUND(view_rec, struct view_rec)

static void make_object_rec(uint64_t *rng, struct object_rec *a)
{
    (void)rng;
    a->zero = 0;
}
static int decode_object_rec(const uint8_t *p, size_t n, struct object_rec *ret)
{
    return object_rec_decode(p, n, ret);
}
ROUND(object_rec, struct object_rec)

static void make_volume_rec(uint64_t *rng, struct volume_rec *a)
{
    some_name(rng, a->name);
}
static int decode_volume_rec(const uint8_t *p, size_t n, struct volume_rec *ret)
{
    return volume_rec_decode(p, n, ret);
}
ROUND(volume_rec, struct volume_rec)

static void make_layer_rec(uint64_t *rng, struct layer_rec *a)
{
    a->zero = 0;
    some_name(rng, a->name);
}
static int decode_layer_rec(const uint8_t *p, size_t n, struct layer_rec *ret)
{
    const char *text;
    size_t len = 1;
    int r = layer_rec_decode(p, n, ret, &text, &len);

    return r == 0 && len != 0 ? -E_RANGE : r;
}
ROUND(layer_rec, struct layer_rec)

TEST(test_record__what_was_encoded_is_decoded)
{
    uint64_t rng = test_seed();

    for (int i = 0; i < 300; i++) {
        round_next_rec(&rng);
        round_vstat_rec(&rng);
        round_branch_rec(&rng);
        round_reclaim_rec(&rng);
        round_view_rec(&rng);
        round_object_rec(&rng);
        round_volume_rec(&rng);
        round_layer_rec(&rng);
    }
}

TEST(test_record__what_follows_a_layer_is_its_text)
{
    struct layer_rec a = a_layer(), b;
    uint8_t out[RECORD_SIZE_MAX + 16];
    size_t n = layer_rec_encode(&a, out), len = 0;
    const char *text = NULL;

    memcpy(out + n, "hold\0me\0", 8);
    CHECK_OK(layer_rec_decode(out, n + 8, &b, &text, &len));
    CHECK_EQ(len, 8);
    CHECK(memcmp(text, "hold\0me\0", 8) == 0);
}

TEST(test_record__inodes_round_trip)
{
    uint64_t rng = test_seed();
    uint8_t out[INODE_REC_MAX], again[INODE_REC_MAX];
    struct inode in;

    for (int i = 0; i < 2000; i++) {
        scramble(&rng, out, sizeof(out));
        put_le64(out + 8, get_le64(out + 8) % (INLINE_BYTES_MAX + 1));
        put_le64(out + BASE_BLOCKS_AT, get_le64(out + BASE_BLOCKS_AT) % (FILE_SIZE_MAX / BLOCK_SIZE + 1));
        CHECK_OK(inode_decode(out, sizeof(out), &in));
        CHECK(!in.inherited);
        CHECK_EQ(inode_encode(&in, again), INODE_REC_MAX);
        CHECK(memcmp(out, again, sizeof(out)) == 0);
        CHECK_OK(inode_decode(out, INODE_REC_SIZE, &in)); /* as a program wrote it that knew of no more */
        CHECK_EQ(in.xattr_names + in.xattr_values + in.more_blocks, 0);
        CHECK_EQ(inode_encode(&in, again), INODE_REC_SIZE);
        CHECK_ERR(inode_decode(out, test_rand(&rng) % INODE_REC_SIZE, &in), -E_CORRUPT);
    }
}

/* A number of the inode may be what it is, and not one more. */
static void is_most(struct inode *in, uint64_t *number)
{
    uint8_t out[INODE_REC_MAX];
    struct inode got;

    inode_encode(in, out);
    CHECK_OK(inode_decode(out, sizeof(out), &got));
    (*number)++;
    inode_encode(in, out);
    CHECK_ERR(inode_decode(out, sizeof(out), &got), -E_CORRUPT);
}

/* Whoever walks over a base relies on that. */
TEST(test_record__a_base_ends_where_files_end)
{
    struct inode in = {.mode = 0100644, .nlink = 1, .base_obj = 1, .base_blocks = FILE_SIZE_MAX / BLOCK_SIZE};

    is_most(&in, &in.base_blocks);
}

/* Whoever reads such a file into memory, or moves it to an object, relies on that. */
TEST(test_record__bytes_in_the_tables_have_a_bound)
{
    struct inode in = {.mode = 0100644, .nlink = 1, .flags = INODE_INLINE, .size = INLINE_BYTES_MAX}, got;
    uint8_t out[INODE_REC_MAX];

    is_most(&in, &in.size);
    in.flags = 0;
    inode_encode(&in, out);
    CHECK_OK(inode_decode(out, sizeof(out), &got));
}

/* --- spans --- */

static bool same_src(const struct span_src *a, const struct span_src *b)
{
    if (!a || !b)
        return a == b;
    return a->kind == b->kind && a->flags == b->flags && a->data_born == b->data_born &&
           a->owner_vol == b->owner_vol && a->object == b->object && a->delta == b->delta;
}

static void random_src(uint64_t *rng, struct span_src *s)
{
    *s = (struct span_src){.kind = (uint8_t)(1 + test_rand(rng) % 4),
                           .flags = (uint8_t)(test_rand(rng) % 2),
                           .data_born = (uint32_t)(test_rand(rng) % 3),
                           .owner_vol = (uint32_t)(test_rand(rng) % 2),
                           .object = test_rand(rng) % 40,
                           .delta = (int64_t)(test_rand(rng) % 5) - 2};
}

/* A map made by random changes says of each block what an array says, before and after its bytes. */
TEST(test_record__spans_round_trip)
{
    static struct span_src want[SPAN_BLOCKS];
    static bool mapped[SPAN_BLOCKS];
    static uint8_t out[SPAN_SIZE_MAX], again[SPAN_SIZE_MAX];
    static struct span sp, back;
    uint64_t rng = test_seed();

    for (int round = 0; round < 200; round++) {
        span_clear(&sp);
        memset(mapped, 0, sizeof(mapped));
        unsigned steps = (unsigned)(test_rand(&rng) % 600);
        for (unsigned i = 0; i < steps; i++) {
            unsigned first = (unsigned)(test_rand(&rng) % SPAN_BLOCKS);
            unsigned count = 1 + (unsigned)(test_rand(&rng) % (round % 2 ? 3 : SPAN_BLOCKS - first));
            count = MIN_OF(count, SPAN_BLOCKS - first);
            struct span_src s;
            bool hole = test_rand(&rng) % 4 == 0;
            random_src(&rng, &s);
            CHECK_OK(span_set(&sp, first, count, hole ? NULL : &s));
            for (unsigned b = first; b < first + count; b++) {
                want[b] = s;
                mapped[b] = !hole;
            }
        }
        size_t n = span_encode(&sp, out);
        CHECK(n <= sizeof(out));
        CHECK_OK(span_decode(out, n, &back));
        unsigned count = 0;
        for (unsigned b = 0; b < SPAN_BLOCKS; b++) {
            CHECK(same_src(span_at(&sp, b), mapped[b] ? &want[b] : NULL));
            CHECK(same_src(span_at(&back, b), mapped[b] ? &want[b] : NULL));
            count += mapped[b];
        }
        CHECK_EQ(span_mapped(&back), count);
        CHECK_EQ(span_empty(&back), count == 0);
        CHECK_EQ(span_encode(&back, again), n); /* one map has one form */
        CHECK(memcmp(out, again, n) == 0);
        for (size_t i = 0; i < n; i++)
            CHECK_ERR(span_decode(out, i, &back), -E_CORRUPT);
    }
}

TEST(test_record__a_span_of_as_many_sources_as_can_be)
{
    static uint8_t out[SPAN_SIZE_MAX];
    static struct span sp, back;
    uint64_t objs[RECORD_OBJECTS_MAX];

    span_clear(&sp);
    for (unsigned b = 0; b < 255; b++)
        CHECK_OK(span_set(&sp, b, 1, &(struct span_src){.kind = SPAN_OBJECT, .object = b + 1}));
    CHECK_ERR(span_set(&sp, 255, 1, &(struct span_src){.kind = SPAN_OBJECT, .object = 999}), -E_RANGE);
    size_t n = span_encode(&sp, out);
    CHECK_OK(span_decode(out, n, &back));
    CHECK_EQ(span_mapped(&back), 255);
    CHECK_EQ(record_objects(TAB_SPAN, out, n, objs, RECORD_OBJECTS_MAX), 255);
    CHECK_OK(span_set(&sp, 3, 1,
                      &(struct span_src){.kind = SPAN_OBJECT, .object = 999})); /* in place of another */
    CHECK_EQ(span_at(&sp, 3)->object, 999);
    CHECK_EQ(span_at(&sp, 4)->object, 5);
}

/* What it takes for good it gives back as it was understood. */
TEST(test_record__the_span_parser_stands_random_bytes)
{
    static uint8_t in[SPAN_SIZE_MAX + 100], out[SPAN_SIZE_MAX];
    static struct span sp, back;
    uint64_t rng = test_seed(), taken = 0;

    for (int i = 0; i < 20000; i++) {
        size_t n;
        a_span(&sp);
        n = span_encode(&sp, in);
        if (i % 4 == 0) {
            n = test_rand(&rng) % 300;
            scramble(&rng, in, n);
        } else {
            for (unsigned k = 0; k <= test_rand(&rng) % 3; k++)
                in[test_rand(&rng) % n] = (uint8_t)test_rand(&rng);
        }
        if (span_decode(in, n, &sp) < 0)
            continue;
        taken++;
        CHECK_OK(span_decode(out, span_encode(&sp, out), &back));
        for (unsigned b = 0; b < SPAN_BLOCKS; b++)
            CHECK(same_src(span_at(&sp, b), span_at(&back, b)));
    }
    CHECK(taken > 100);
}

TEST(test_record__objects_that_a_record_names)
{
    struct inode in = an_inode();
    static uint8_t out[SPAN_SIZE_MAX];
    static struct span sp;
    uint64_t objs[RECORD_OBJECTS_MAX];

    inode_encode(&in, out);
    CHECK_EQ(record_objects(TAB_INODE, out, INODE_REC_SIZE, objs, RECORD_OBJECTS_MAX), 2);
    in.open_obj = in.base_obj;
    inode_encode(&in, out);
    CHECK_EQ(record_objects(TAB_INODE, out, INODE_REC_SIZE, objs, RECORD_OBJECTS_MAX), 1);
    in.open_obj = in.base_obj = 0;
    inode_encode(&in, out);
    CHECK_EQ(record_objects(TAB_INODE, out, INODE_REC_SIZE, objs, RECORD_OBJECTS_MAX), 0);
    CHECK_ERR(record_objects(TAB_INODE, out, 10, objs, RECORD_OBJECTS_MAX), -E_CORRUPT);
    a_span(&sp);
    CHECK_EQ(record_objects(TAB_SPAN, out, span_encode(&sp, out), objs, RECORD_OBJECTS_MAX), 2);
    CHECK_EQ(objs[0], 0x1234);
    CHECK_EQ(objs[1], 0x5678);
    CHECK_EQ(record_objects(TAB_DIRENT, out, 8, objs, RECORD_OBJECTS_MAX), 0);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
