#include "base/clock.h"

#include "tests/lib/test.h"

#define SECOND 1000000000

static const struct {
    const char *text;
    int64_t s;
} instants[] = {
    {"1970-01-01T00:00:00Z", 0},          {"1969-12-31T23:59:59Z", -1},
    {"2000-02-29T12:00:00Z", 951825600},  {"2000-03-01T00:00:00Z", 951868800},
    {"2026-11-20T22:00:00Z", 1795212000}, {"1900-03-01T00:00:00Z", -2203891200},
    {"2100-02-28T23:59:59Z", 4107542399}, {"2100-03-01T00:00:00Z", 4107542400},
    {"2262-04-11T23:47:16Z", 9223372036},
};

TEST(test_clock__format_and_parse_agree_with_known_instants)
{
    char out[CLOCK_TEXT_SIZE];
    int64_t ns;

    for (size_t i = 0; i < ARRAY_LEN(instants); i++) {
        clock_format(instants[i].s * SECOND, out);
        if (strcmp(out, instants[i].text) != 0)
            test_fail(__FILE__, __LINE__, "%s is shown as %s", instants[i].text, out);
        CHECK_OK(clock_parse(instants[i].text, &ns));
        CHECK_EQ(ns, instants[i].s * SECOND);
    }
}

TEST(test_clock__every_day_of_three_centuries_comes_back)
{
    char out[CLOCK_TEXT_SIZE];
    int64_t ns;

    for (int64_t day = -36500; day < 73000; day++) {
        int64_t want = (day * 86400 + day % 86400) * SECOND;

        clock_format(want, out);
        CHECK_OK(clock_parse(out, &ns));
        CHECK_EQ(ns, want);
    }
}

TEST(test_clock__format_rounds_down_before_1970)
{
    char out[CLOCK_TEXT_SIZE];

    clock_format(-1, out);
    CHECK(strcmp(out, "1969-12-31T23:59:59Z") == 0);
    clock_format(INT64_MIN, out);
    CHECK(strcmp(out, "1677-09-21T00:12:43Z") == 0);
    clock_format(INT64_MAX, out);
    CHECK(strcmp(out, "2262-04-11T23:47:16Z") == 0);
}

TEST(test_clock__parse_knows_offsets_fractions_and_bare_dates)
{
    int64_t ns;

    CHECK_OK(clock_parse("2026-11-20T23:30:00+01:30", &ns));
    CHECK_EQ(ns, (int64_t)1795212000 * SECOND);
    CHECK_OK(clock_parse("2026-11-20T17:00:00-05:00", &ns));
    CHECK_EQ(ns, (int64_t)1795212000 * SECOND);
    CHECK_OK(clock_parse("2026-11-20t22:00:00.25z", &ns));
    CHECK_EQ(ns, (int64_t)1795212000 * SECOND + SECOND / 4);
    CHECK_OK(clock_parse("1970-01-01T00:00:00.0000000019Z", &ns));
    CHECK_EQ(ns, 1);
    CHECK_OK(clock_parse("1970-01-02", &ns));
    CHECK_EQ(ns, (int64_t)86400 * SECOND);
}

TEST(test_clock__parse_refuses_what_is_no_instant)
{
    static const char *const bad[] = {
        "",
        "now",
        "2026",
        "2026-11",
        "2026-13-01",
        "2026-00-01",
        "2026-02-29",
        "2100-02-29",
        "2026-04-31",
        "2026-01-00",
        "26-01-01",
        "2026-1-1",
        "2026-01-01T",
        "2026-01-01T10:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T10:60:00Z",
        "2026-01-01T10:00:61Z",
        "2026-01-01T10:00:00",
        "2026-01-01T10:00:00.Z",
        "2026-01-01T10:00:00Zx",
        "2026-01-01T10:00:00+1:00",
        "2026-01-01T10:00:00+24:00",
        "2026-01-01 10:00:00Z",
        "9999-01-01T00:00:00Z",
        "0001-01-01",
        " 2026-01-01",
        "2026-01-01 ",
    };
    int64_t ns = 77;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (clock_parse(bad[i], &ns) != -E_INVAL)
            test_fail(__FILE__, __LINE__, "accepted: %s", bad[i]);
    }
    CHECK_EQ(ns, 77);
}

TEST(test_clock__test_door_stands_still_until_advanced)
{
    int64_t real = clock_wall_ns();

    clock_test_set(1000, 50);
    CHECK_EQ(clock_wall_ns(), 1000);
    CHECK_EQ(clock_mono_ns(), 50);
    clock_test_advance(7);
    CHECK_EQ(clock_wall_ns(), 1007);
    CHECK_EQ(clock_mono_ns(), 57);
    clock_test_off();
    CHECK(clock_wall_ns() >= real);
    CHECK(clock_mono_ns() <= clock_mono_ns());
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
