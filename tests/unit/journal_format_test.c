/* The journal's format: headers, golden bytes, the parser. */
#include "tests/unit/journal_case.h"

#include <stdlib.h>

#include "base/hash.h"

TEST(test_journal__foreign_missing_and_short_segments_are_refused)
{
    struct uuid other = {{42}};
    struct journal *j = fresh(io_real(), 4);
    uint32_t newer = 99;
    uint8_t hdr[96];
    uint64_t sum;

    journal_close(j);
    CHECK_ERR(journal_open(io_real(), dir(), &other, &j, why), -E_JOURNAL);
    CHECK(strstr(why, "another store"));
    CHECK_EQ(rename(segment(1), "/tmp/never") == 0 ? 1 : 0, 0);
    CHECK_EQ(truncate(segment(2), 8192), 0);
    CHECK_ERR(journal_open(io_real(), dir(), &store, &j, why), -E_JOURNAL);
    CHECK(strstr(why, "cut short"));
    CHECK_EQ(unlink(segment(2)), 0);
    CHECK_ERR(journal_open(io_real(), dir(), &store, &j, why), -E_JOURNAL);
    CHECK(strstr(why, "missing"));
    CHECK_EQ(unlink(segment(3)), 0);
    CHECK_ERR(journal_open(io_real(), dir(), &store, &j, why), -E_JOURNAL);
    CHECK(strstr(why, "2 journal segments are there, 4 were made"));
    patch(0, 8, &newer, 4);
    fetch(0, 0, hdr, sizeof(hdr));
    sum = hash_sum(0, hdr, sizeof(hdr));
    patch(0, 96, &sum, 8);
    CHECK_ERR(journal_open(io_real(), dir(), &store, &j, why), -E_STORE_NEWER);
}

TEST(test_journal__create_refuses_what_cannot_work)
{
    CHECK_ERR(journal_create(io_real(), dir(), &store, SEG, 2), -E_INVAL);
    CHECK_ERR(journal_create(io_real(), dir(), &store, SEG + 1, 4), -E_INVAL);
    CHECK_ERR(journal_create(io_real(), dir(), &store, 4096, 4), -E_INVAL);
    CHECK_OK(journal_create(io_real(), dir(), &store, SEG, 3));
    CHECK_ERR(journal_create(io_real(), dir(), &store, SEG, 3), -E_EXIST);
}

static void hex(const uint8_t *p, size_t len, char *out)
{
    size_t i;

    for (i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", p[i]);
}

/* The format is what these bytes say: a change here is a new version. */
TEST(test_journal__golden_bytes_of_a_segment_header)
{
    uint8_t b[HDR];
    char text[300];
    size_t i;

    journal_test_boot_id(boot_a);
    CHECK_OK(journal_create(io_real(), dir(), &store, SEG, 3));
    journal_test_boot_id(NULL);
    fetch(1, 0, b, HDR);
    hex(b, 104, text);
    if (strcmp(text,
               "5652564a5345473101000000010000000102030405060708090a0b0c0d0e0f100000000000000000"
               "626f6f742d616161616161616161610000000000000000000000000000000000004000000000000000000000"
               "00000000030000000000000003de187759e1fc9e") != 0)
        test_fail(__FILE__, __LINE__, "%s", text);
    for (i = 104; i < HDR; i++)
        CHECK_EQ(b[i], 0);
}

TEST(test_journal__golden_bytes_of_a_record)
{
    const struct jput puts[2] = {
        {.key = (const uint8_t *)"key", .klen = 3, .val = (const uint8_t *)"value", .vlen = 5},
        {.op = 1, .level = 1, .owner_branch = 7, .owner_ino = 8, .key = (const uint8_t *)"k2", .klen = 2}};
    const struct jpayload payload = {0x1122, 0x3344, (const uint8_t *)"bytes", 5};
    struct jrec r = {.hdr = {.kind = 32,
                             .flags = JREC_PENDING,
                             .lsn = 5,
                             .flushed_lsn = 4,
                             .prev_sum = 0xabcdef,
                             .wall_ns = 1,
                             .vol = 2,
                             .tail_len = 6,
                             .vol_seq = 3,
                             .epoch = 4,
                             .group = 5,
                             .conn = 6,
                             .unique = 7,
                             .nputs = 2,
                             .npayloads = 1},
                     .puts = puts,
                     .payloads = &payload,
                     .tail = "\1\0\2\0hi"};
    uint8_t b[256];
    char text[520];

    CHECK_EQ(jrec_size(&r), 200);
    memset(b, 0xee, sizeof(b));
    jrec_encode(&r, 0x1234, b);
    CHECK_EQ(b[200], 0xee);
    hex(b, 200, text);
    if (strcmp(
            text,
            "5652564ac8000000200001000100000005000000000000000400000000000000efcdab0000000000"
            "010000000000000002000000060000000300000000000000040000000000000005000000000000000600000000000000"
            "0700000000000000020000000100000065ecbc293beaf787"
            "00000300050000000000000000000000000000006b657976616c7565"
            "01010200000000000700000008000000000000006b32"
            "22110000000000004433000000000000050000000000000062797465730100020068690000"
            "00") != 0)
        test_fail(__FILE__, __LINE__, "%s", text);
}

TEST(test_journal__what_was_encoded_is_parsed)
{
    const struct jput puts[2] = {
        {.key = (const uint8_t *)"key", .klen = 3, .val = (const uint8_t *)"value", .vlen = 5},
        {.op = 2, .level = 1, .owner_branch = 7, .owner_ino = 8}};
    const struct jpayload payload = {0x1122, 0x3344, (const uint8_t *)"bytes", 5};
    struct jrec r = {.hdr = {.lsn = 5, .prev_sum = 9, .tail_len = 2, .nputs = 2, .npayloads = 1},
                     .puts = puts,
                     .payloads = &payload,
                     .tail = "hi"};
    struct jrec_view v, again;
    struct jput p;
    struct jpayload y;
    uint8_t b[256];
    size_t n;

    jrec_encode(&r, 1, b);
    CHECK_OK(jrec_parse(b, sizeof(b), 9, 1, &v, &n));
    CHECK_EQ(n, jrec_size(&r));
    CHECK_EQ(jrec_next_put(&v, &p), 1);
    CHECK(p.klen == 3 && p.vlen == 5 && memcmp(p.val, "value", 5) == 0);
    again = v;
    CHECK_EQ(jrec_next_payload(&again, &y), 1); /* passes over the puts that are left */
    CHECK_EQ(jrec_next_put(&v, &p), 1);
    CHECK(p.op == 2 && p.owner_branch == 7 && p.owner_ino == 8 && p.klen == 0);
    CHECK_EQ(jrec_next_put(&v, &p), 0);
    CHECK_EQ(jrec_next_payload(&v, &y), 1);
    CHECK(y.object == 0x1122 && y.off == 0x3344 && y.len == 5 && memcmp(y.data, "bytes", 5) == 0);
    CHECK_EQ(jrec_next_payload(&v, &y), 0);
    CHECK(memcmp(v.tail, "hi", 2) == 0);
    CHECK_ERR(jrec_parse(b, sizeof(b), 8, 1, &v, &n), -E_CORRUPT);
    CHECK_ERR(jrec_parse(b, sizeof(b), 9, 2, &v, &n), -E_CORRUPT);
    CHECK_ERR(jrec_parse(b, n - 1, 9, 1, &v, &n), -E_CORRUPT);
}

/* Random bytes, and true records with random counts whose checksum fits: nothing is read beyond the end. */
TEST(test_journal__the_parser_stands_random_bytes)
{
    uint64_t seed = test_seed(), i, k;

    for (i = 0; i < 20000; i++) {
        size_t len = 112 + test_rand(&seed) % 40 * 8, n;
        uint8_t *b = malloc(len);
        struct jrec_hdr h;
        struct jrec_view v;
        struct jput p;
        struct jpayload y;
        int r;

        CHECK(b);
        for (k = 0; k < len; k++)
            b[k] = test_rand(&seed) % 3 ? 0 : (uint8_t)test_rand(&seed);
        memset(&h, 0, sizeof(h));
        h.magic = JREC_MAGIC;
        h.version = JREC_VERSION;
        h.len = (uint32_t)(test_rand(&seed) % 8 ? len : test_rand(&seed));
        h.nputs = (uint32_t)(test_rand(&seed) % (test_rand(&seed) % 2 ? 4 : 1u << 31));
        h.npayloads = (uint32_t)(test_rand(&seed) % 3);
        h.tail_len = (uint32_t)(test_rand(&seed) % (test_rand(&seed) % 4 ? 64 : UINT32_MAX));
        memcpy(b, &h, sizeof(h));
        { /* the sum that makes the parser go on to the body */
            uint8_t link[8] = {0};
            uint64_t sum = hash_sum(hash_sum(hash_sum(1, link, 8), b, 104), b + 112, len - 112);

            memcpy(b + 104, &sum, 8);
        }
        if (jrec_parse(b, len, 0, 1, &v, &n) == 0) {
            while ((r = jrec_next_put(&v, &p)) == 1)
                continue;
            CHECK_EQ(r, 0);
            while ((r = jrec_next_payload(&v, &y)) == 1)
                continue;
            CHECK_EQ(r, 0);
            CHECK(v.tail + v.hdr.tail_len <= b + len);
        }
        free(b);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
