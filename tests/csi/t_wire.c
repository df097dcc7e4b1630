/* The bytes of gRPC, without a server. */
#include "plugin/grpc_wire.h"

#include "plugin/arena.h"
#include "plugin/pb.h"
#include "plugin/tcp.h"
#include "tests/lib/test.h"

TEST(test_wire__timeouts)
{
    static const struct {
        const char *text;
        int r;
        int64_t ns;
    } t[] = {{"1n", 0, 1},
             {"20u", 0, 20000},
             {"300m", 0, 300000000},
             {"4S", 0, 4000000000},
             {"1M", 0, 60000000000},
             {"1H", 0, 3600000000000},
             {"99999999H", 0, INT64_MAX / 3600000000000 * 3600000000000},
             {"", -E_INVAL, 0},
             {"S", -E_INVAL, 0},
             {"1", -E_INVAL, 0},
             {"1s", -E_INVAL, 0},
             {"-1S", -E_INVAL, 0},
             {"1.5S", -E_INVAL, 0},
             {"123456789S", -E_INVAL, 0}};

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        int64_t ns = 0;
        int r = grpc_wire_timeout(t[i].text, strlen(t[i].text), &ns);

        if (r != t[i].r || ns != t[i].ns)
            test_fail(__FILE__, __LINE__, "\"%s\": %s, %lld", t[i].text, err_name(r), (long long)ns);
    }
}

/* A message in pieces of every size is the same message. */
TEST(test_wire__a_message_may_come_in_any_pieces)
{
    static const uint8_t bytes[] = "\0\0\0\0\6abcdef";
    const size_t len = 11;

    for (size_t piece = 1; piece <= len; piece++) {
        struct grpc_wire_in w = {.have = 0};

        CHECK_EQ(grpc_wire_state(&w), GRPC_WIRE_NONE);
        for (size_t at = 0; at < len; at += piece) {
            CHECK_EQ(grpc_wire_state(&w), at == 0 ? GRPC_WIRE_NONE : GRPC_WIRE_PART);
            CHECK_OK(grpc_wire_add(&w, bytes + at, MIN_OF(piece, len - at), 6));
        }
        CHECK_EQ(grpc_wire_state(&w), GRPC_WIRE_WHOLE);
        CHECK(w.in.len == 6 && memcmp(w.in.data, "abcdef", 6) == 0);
        CHECK_ERR(grpc_wire_add(&w, bytes, 1, 6), -E_PROTO);
        buf_free(&w.in);
    }
}

TEST(test_wire__content_types)
{
    static const char *const right[] = {"application/grpc", "application/grpc+proto", "Application/GRPC",
                                        "application/grpc;x"};
    static const char *const wrong[] = {"", "application/grp", "application/grpcs", "text/plain",
                                        "application/grpc-web"};

    for (size_t i = 0; i < ARRAY_LEN(right); i++)
        CHECK(grpc_wire_is_grpc(right[i], strlen(right[i])));
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        CHECK(!grpc_wire_is_grpc(wrong[i], strlen(wrong[i])));
}

TEST(test_arena__gives_zeroed_memory_of_any_size)
{
    struct arena a = {.blocks = NULL};
    size_t total = 0;

    for (size_t n = 1; n < 20000; n = n * 3 / 2 + 1) {
        uint8_t *p = arena_alloc(&a, n);

        CHECK(p && (uintptr_t)p % 16 == 0);
        for (size_t i = 0; i < n; i++)
            CHECK(p[i] == 0);
        memset(p, 0xff, n);
        total += n;
    }
    CHECK(total > 0 && arena_alloc(&a, SIZE_MAX) == NULL && arena_alloc(&a, SIZE_MAX - 8) == NULL);
    CHECK(strcmp(arena_printf(&a, "%s-%d", arena_dup(&a, "x"), 7), "x-7") == 0);
    arena_free(&a);
}

TEST(test_wire__fields_of_a_message_as_they_lie_there)
{
    static const uint8_t bytes[] = "\x08\x96\x01\x12\x03"
                                   "abc"
                                   "\x1d\1\2\3\4\x21\1\2\3\4\5\6\7\x08\x2a";
    static const uint8_t *const wrong[] = {(const uint8_t *)"\x08\xff",
                                           (const uint8_t *)"\x12\x05"
                                                            "a",
                                           (const uint8_t *)"\x03\x00", (const uint8_t *)"\x00\x00",
                                           (const uint8_t *)"\x0d\x01"};
    static const struct {
        uint32_t number;
        size_t len, bytes;
    } want[] = {{1, 3, 0}, {2, 5, 3}, {3, 5, 4}, {4, 9, 8}};
    const uint8_t *p = bytes;
    size_t left = 22;
    struct pb_field f;

    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        CHECK_EQ(pb_next(&p, &left, &f), 1);
        CHECK(f.number == want[i].number && f.len == want[i].len && f.bytes_len == want[i].bytes);
    }
    CHECK(left == 0 && pb_next(&p, &left, &f) == 0);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        p = wrong[i];
        left = i == 1 ? 3 : 2;
        CHECK_ERR(pb_next(&p, &left, &f), -E_PROTO);
    }
}

TEST(test_wire__fields_that_are_put)
{
    cleanup(buf_free) struct buf b = {0};

    CHECK_OK(pb_put_number(&b, 1, 150));
    CHECK_OK(pb_put_number(&b, 1, 0));
    CHECK_OK(pb_put_text(&b, 2, "abc"));
    CHECK_OK(pb_put_text(&b, 2, ""));
    CHECK(b.len == 8 && memcmp(b.data,
                               "\x08\x96\x01\x12\x03"
                               "abc",
                               8) == 0);
}

TEST(test_wire__addresses_are_numbers)
{
    static const char *const right[] = {"10.0.0.7:9812", "[fd00::7]:9812", ":9812", "0.0.0.0:0", "[::]:1"};
    static const char *const wrong[] = {"",
                                        "9812",
                                        "10.0.0.7",
                                        "10.0.0.7:",
                                        "host:9812",
                                        "fd00::7:9812",
                                        "10.0.0.7:98120",
                                        "10.0.0.7:http",
                                        "[fd00::7:9812",
                                        "1.2.3.4:-1"};
    struct tcp_addr a;

    for (size_t i = 0; i < ARRAY_LEN(right); i++)
        if (tcp_parse(right[i], &a) < 0)
            test_fail(__FILE__, __LINE__, "\"%s\" is not understood", right[i]);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        if (tcp_parse(wrong[i], &a) == 0)
            test_fail(__FILE__, __LINE__, "\"%s\" is taken", wrong[i]);
}
