/* Time zones: rules, files, and each local time's one instant. */
#include "conf/zone.h"

#include "base/buf.h"
#include "base/clock.h"
#include "tests/lib/test.h"

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define SYDNEY "AEST-10AEDT,M10.1.0,M4.1.0/3"

static int64_t utc(const char *s)
{
    int64_t ns;

    CHECK_OK(clock_parse(s, &ns));
    return ns / 1000000000;
}

/* A local time is written as if it were UTC. */
static void instant(const struct zone *z, const char *local, const char *want)
{
    char got[CLOCK_TEXT_SIZE];

    clock_format(zone_utc(z, utc(local)) * 1000000000, got);
    if (strcmp(got, want) != 0)
        test_fail(__FILE__, __LINE__, "%s in %s: %s, want %s", local, z->name, got, want);
}

TEST(test_conf_zone__a_local_time_has_one_instant)
{
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    instant(&z, "2026-01-15T02:30:00Z", "2026-01-15T01:30:00Z");
    instant(&z, "2026-07-15T02:30:00Z", "2026-07-15T00:30:00Z");
    instant(&z, "2026-03-29T01:59:59Z", "2026-03-29T00:59:59Z");
    instant(&z, "2026-03-29T02:30:00Z", "2026-03-29T01:00:00Z"); /* left out */
    instant(&z, "2026-03-29T03:00:00Z", "2026-03-29T01:00:00Z");
    instant(&z, "2026-10-25T01:59:59Z", "2026-10-24T23:59:59Z");
    instant(&z, "2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z"); /* comes twice: the first */
    instant(&z, "2026-10-25T03:00:00Z", "2026-10-25T02:00:00Z");
    CHECK_OK(zone_load(SYDNEY, &z));
    instant(&z, "2026-01-15T12:00:00Z", "2026-01-15T01:00:00Z");
    instant(&z, "2026-10-04T02:30:00Z", "2026-10-03T16:00:00Z");
    instant(&z, "2026-04-05T02:30:00Z", "2026-04-04T15:30:00Z");
    CHECK_OK(zone_load("UTC", &z));
    instant(&z, "2026-03-29T02:30:00Z", "2026-03-29T02:30:00Z");
}

TEST(test_conf_zone__a_later_local_time_is_never_an_earlier_instant)
{
    static const char *const zones[] = {BERLIN, SYDNEY, "<+0330>-3:30<+0430>,J79/24,J263/24",
                                        "LHST-10:30LHDT-11,M10.1.0,M4.1.0"};

    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        struct zone z;
        int64_t last = INT64_MIN;

        CHECK_OK(zone_load(zones[i], &z));
        for (int64_t local = utc("2024-01-01"); local < utc("2025-01-02"); local += 900) {
            int64_t t = zone_utc(&z, local);

            if (t < last)
                test_fail(__FILE__, __LINE__, "%s: local %lld goes back", zones[i], (long long)local);
            last = t;
        }
    }
}

TEST(test_conf_zone__rules_are_read_or_refused)
{
    static const char *const bad[] = {"",
                                      "C-1",
                                      "CET",
                                      "CET-1CEST",
                                      "CET-1CEST,M3.5.0",
                                      "CET-1CEST,M13.5.0,M10.5.0",
                                      "CET-25",
                                      "<CE-1",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-1CEST,J0,J3",
                                      "CET-1CEST,366,3",
                                      "CET-1CEST,M3.5.0,M10.5.0x",
                                      "CET-1:60",
                                      "CET-1CEST,M3.5.0/168,M10.5.0"};
    struct zone_rule r;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (zone_rule_parse(bad[i], &r) != -E_INVAL)
            test_fail(__FILE__, __LINE__, "\"%s\" was understood", bad[i]);
    CHECK_OK(zone_rule_parse("<-03>3", &r));
    CHECK(r.std_s == -3 * 3600 && !r.has_dst);
    CHECK_OK(zone_rule_parse("IST-1GMT0,M10.5.0,M3.5.0/1", &r)); /* winter time as daylight saving */
    CHECK(r.std_s == 3600 && r.dst_s == 0);
    CHECK_OK(zone_rule_parse("WGT3WGST,M3.5.0/-2,M10.5.0/-1", &r));
    CHECK(r.from.at_s == -7200 && r.dst_s == -2 * 3600);
}

static void put32(struct buf *b, uint32_t v)
{
    uint8_t p[4];

    put_be32(p, v);
    CHECK_OK(buf_add(b, p, 4));
}

static void head(struct buf *b, uint32_t times, uint32_t types, uint32_t chars)
{
    CHECK_OK(buf_add(b, "TZif2", 5));
    CHECK_OK(buf_add_zero(b, 15));
    put32(b, 0);
    put32(b, 0);
    put32(b, 0);
    put32(b, times);
    put32(b, types);
    put32(b, chars);
}

/* Two changes, then a rule. */
static void file(struct buf *b)
{
    head(b, 0, 1, 1);
    CHECK_OK(buf_add(b, "\0\0\0\0\0\0\0", 7));
    head(b, 2, 2, 8);
    put32(b, 0);
    put32(b, 1000000);
    put32(b, 0);
    put32(b, 2000000);
    CHECK_OK(buf_add(b, "\1\0", 2));
    put32(b, 3600);
    CHECK_OK(buf_add(b, "\0\0", 2));
    put32(b, 7200);
    CHECK_OK(buf_add(b, "\1\4", 2));
    CHECK_OK(buf_add(b, "CET\0CES\0", 8));
    CHECK_OK(buf_puts(b, "\nUTC0\n"));
}

TEST(test_conf_zone__files_of_the_database_are_read)
{
    cleanup(buf_free) struct buf b = {0};
    cleanup(zone_release) struct zone z = {.n = 0};

    file(&b);
    CHECK_OK(zone_tzif_parse(b.data, b.len, &z));
    CHECK_EQ(z.n, 2);
    CHECK_EQ(zone_offset(&z, 999999), 3600);
    CHECK_EQ(zone_offset(&z, 1000000), 7200);
    CHECK_EQ(zone_offset(&z, 1999999), 7200);
    CHECK_EQ(zone_offset(&z, 2000000), 0); /* the rule goes on */
    for (size_t n = 0; n < b.len - 6; n++) {
        struct zone cut = {.n = 0};

        if (zone_tzif_parse(b.data, n, &cut) != -E_INVAL)
            test_fail(__FILE__, __LINE__, "%zu of %zu bytes were understood", n, b.len);
    }
}

TEST(test_conf_zone__names_are_looked_up_or_refused)
{
    static const char *const none[] = {"Europe/Nowhere", "../../etc/passwd", "/etc/localtime", "Europe",
                                       "a b"};
    struct zone z = {.n = 0};

    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        CHECK_ERR(zone_load(none[i], &z), -E_NOENT);
    CHECK_OK(zone_load("", &z));
    CHECK(strcmp(z.name, "local") == 0);
    zone_release(&z);
    if (zone_load("Europe/Berlin", &z) < 0)
        test_skip("no tz database on this machine");
    instant(&z, "2026-03-29T02:30:00Z", "2026-03-29T01:00:00Z");
    instant(&z, "2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z");
    instant(&z, "2045-07-15T12:00:00Z", "2045-07-15T10:00:00Z");
    instant(&z, "1970-07-15T12:00:00Z", "1970-07-15T11:00:00Z"); /* no summer time then */
    zone_release(&z);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
