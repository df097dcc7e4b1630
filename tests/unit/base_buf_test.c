#include "base/buf.h"

#include "tests/lib/test.h"

TEST(test_buf__zero_state_is_an_empty_buffer)
{
    struct buf b = {0};

    CHECK(strcmp(buf_cstr(&b), "") == 0);
    CHECK_EQ(b.len, 0);
    buf_free(&b);
    buf_free(&b);
    CHECK(b.data == NULL);
    CHECK_EQ(b.cap, 0);
}

TEST(test_buf__appends_in_order)
{
    cleanup(buf_free) struct buf b = {0};

    CHECK_OK(buf_add(&b, "ab", 2));
    CHECK_OK(buf_puts(&b, "cd"));
    CHECK_OK(buf_add_zero(&b, 3));
    CHECK_OK(buf_printf(&b, "%d-%s", 17, "x"));
    CHECK_EQ(b.len, 11);
    CHECK(memcmp(b.data,
                 "abcd\0\0\0"
                 "17-x",
                 12) == 0);
}

TEST(test_buf__appending_nothing_is_allowed)
{
    cleanup(buf_free) struct buf b = {0};

    CHECK_OK(buf_add(&b, NULL, 0));
    CHECK_OK(buf_add_zero(&b, 0));
    CHECK(b.data == NULL);
    CHECK_OK(buf_printf(&b, "%s", ""));
    CHECK_EQ(b.len, 0);
    CHECK_EQ(b.data[0], 0);
}

TEST(test_buf__many_small_appends_keep_every_byte)
{
    cleanup(buf_free) struct buf b = {0};

    for (unsigned i = 0; i < 100000; i++) {
        uint8_t c = (uint8_t)(i * 7);

        CHECK_OK(buf_add(&b, &c, 1));
    }
    for (unsigned i = 0; i < 100000; i++)
        CHECK_EQ(b.data[i], (uint8_t)(i * 7));
    CHECK(b.cap < 200000);
}

TEST(test_buf__too_much_is_nomem_and_changes_nothing)
{
    cleanup(buf_free) struct buf b = {0};

    CHECK_OK(buf_puts(&b, "keep"));
    CHECK_ERR(buf_reserve(&b, SIZE_MAX), -E_NOMEM);
    CHECK_ERR(buf_reserve(&b, SIZE_MAX - 4), -E_NOMEM);
    CHECK_ERR(buf_add_zero(&b, SIZE_MAX / 2 + 1), -E_NOMEM);
    CHECK_EQ(b.len, 4);
    CHECK(strcmp(buf_cstr(&b), "keep") == 0);
}

TEST(test_buf__reset_keeps_the_memory)
{
    cleanup(buf_free) struct buf b = {0};
    const uint8_t *p;

    CHECK_OK(buf_puts(&b, "something"));
    p = b.data;
    buf_reset(&b);
    CHECK_EQ(b.len, 0);
    CHECK_OK(buf_puts(&b, "other"));
    CHECK(b.data == p);
}

TEST(test_base__take_nulls_its_source)
{
    int v = 3, *p = &v, *q = TAKE(p);

    CHECK(p == NULL);
    CHECK(q == &v);
}

TEST(test_base__byte_order_is_fixed)
{
    uint8_t b[9] = {0};

    put_le32(b + 1, 0x01020304);
    CHECK(memcmp(b, "\0\4\3\2\1\0", 6) == 0);
    put_be64(b + 1, 0x0102030405060708);
    CHECK(memcmp(b, "\0\1\2\3\4\5\6\7\10", 9) == 0);
    CHECK_EQ(get_be64(b + 1), 0x0102030405060708);
    CHECK_EQ(get_le16(b + 1), 0x0201);
}

TEST(test_base__broken_is_true_for_one_only)
{
#define VARVE_BREAK_for_this_test 1
    CHECK(BROKEN(VARVE_BREAK_for_this_test));
    CHECK(!BROKEN(VARVE_BREAK_never_defined));
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
