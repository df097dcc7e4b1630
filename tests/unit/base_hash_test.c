#include "base/hash.h"

#include "base/uuid.h"
#include "tests/lib/test.h"

TEST(test_hash__sum_is_xxh3_and_depends_on_seed_and_bytes)
{
    CHECK_EQ(hash_sum(0, "", 0), 0x2d06800538d394c2); /* the published value of XXH3_64bits("") */
    CHECK(hash_sum(0, "a", 1) != hash_sum(1, "a", 1));
    CHECK(hash_sum(0, "a", 1) != hash_sum(0, "b", 1));
    CHECK_EQ(hash_sum32(5, "abc", 3), (uint32_t)(hash_sum(5, "abc", 3) ^ hash_sum(5, "abc", 3) >> 32));
}

TEST(test_hash__name_is_siphash_2_4)
{
    /* first vectors of the SipHash paper: key 00..0f, messages "", 00, 00 01 ... */
    static const uint64_t want[] = {0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a,
                                    0x85676696d7fb7e2d};
    uint8_t key[16], msg[4];

    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    for (uint8_t i = 0; i < 4; i++)
        msg[i] = i;
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        CHECK_EQ(hash_name(key, msg, i), want[i]);
}

TEST(test_hash__random_fills_all_and_differs)
{
    uint8_t a[4096] = {0}, b[4096] = {0};
    unsigned zeros = 0;

    hash_random(a, sizeof(a));
    hash_random(b, sizeof(b));
    CHECK(memcmp(a, b, sizeof(a)) != 0);
    for (size_t i = 0; i < sizeof(a); i++)
        zeros += a[i] == 0;
    CHECK(zeros < 100);
    hash_random(NULL, 0);
}

TEST(test_uuid__new_is_version_4_and_comes_back_from_text)
{
    char text[UUID_TEXT_SIZE];
    struct uuid u, v;

    for (int i = 0; i < 100; i++) {
        u = uuid_new();
        CHECK_EQ(u.b[6] >> 4, 4);
        CHECK_EQ(u.b[8] >> 6, 2);
        uuid_format(&u, text);
        CHECK_EQ(strlen(text), 36);
        CHECK_OK(uuid_parse(text, &v));
        CHECK(uuid_equal(&u, &v));
        CHECK(!uuid_is_null(&u));
        v = uuid_new();
        CHECK(!uuid_equal(&u, &v));
    }
}

TEST(test_uuid__text_form_is_the_usual_one)
{
    static const struct uuid want = {
        {0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00}};
    char text[UUID_TEXT_SIZE];
    struct uuid u;

    CHECK_OK(uuid_parse("123E4567-e89b-12d3-A456-426614174000", &u));
    CHECK(uuid_equal(&u, &want));
    uuid_format(&u, text);
    CHECK(strcmp(text, "123e4567-e89b-12d3-a456-426614174000") == 0);
}

TEST(test_uuid__parse_refuses_other_text)
{
    static const char *const bad[] = {
        "",
        "123e4567",
        "123e4567-e89b-12d3-a456-42661417400",
        "123e4567-e89b-12d3-a456-4266141740000",
        "123e4567e89b12d3a456426614174000",
        "123e4567-e89b-12d3-a456-42661417400g",
        "{123e4567-e89b-12d3-a456-426614174000}",
        "123e4567-e89b-12d3-a456-426614174000 ",
    };
    struct uuid u = {{0}};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK_ERR(uuid_parse(bad[i], &u), -E_INVAL);
    CHECK(uuid_is_null(&u));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
