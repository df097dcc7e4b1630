/* What a profile says of recovery points that are there: where, how often, which are old enough; when a look is due, by clocks that jump. */
#include "conf/lifecycle.h"

#include "base/clock.h"
#include "tests/lib/test.h"

#define DAY 86400
#define SECOND 1000000000ll

static struct profile *of(const char *text)
{
    cleanup(buf_free) struct buf err = {0};
    struct profile *p = NULL;

    if (profile_parse(text, "x", &p, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", text, buf_cstr(&err));
    return p;
}

#define DAILY(name, to) "{ name = \"" name "\"; occurrence = \"daily\"; to = \"" to "\"; }"

TEST(test_lifecycle__each_repository_once)
{
    static const struct {
        const char *text, *want; /* name=to each */
    } rows[] = {
        {"name = \"a\";", ""},
        {"backups = ( " DAILY("d", "x") " );", "d=x "},
        {"backups = ( " DAILY("d", "x") ", " DAILY("e", "x") ", " DAILY("f", "y") " );", "d=x f=y "},
        {"backups = ( " DAILY("d", "x") " ); tiering: { after = \"30d\"; };", "d=x "},
        {"backups = ( " DAILY("d", "x") " ); tiering: { after = \"30d\"; to = \"x\"; };", "d=x "},
        {"backups = ( " DAILY("tiering", "x") " ); tiering: { after = \"30d\"; to = \"t\"; };",
         "tiering=x (tiering)=t "},
        {"tiering: { after = \"30d\"; to = \"t\"; };", "(tiering)=t "},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        cleanup(profile_free) struct profile *p = of(rows[i].text);
        cleanup(buf_free) struct buf got = {0};
        struct lifecycle_place v[LIFECYCLE_PLACES_MAX];
        size_t n = lifecycle_places(p, v);

        for (size_t k = 0; k < n; k++)
            buf_printf(&got, "%s=%s ", v[k].name, v[k].to);
        if (strcmp(got.len ? buf_cstr(&got) : "", rows[i].want) != 0)
            test_fail(__FILE__, __LINE__, "%s: %s", rows[i].text, buf_cstr(&got));
    }
}

TEST(test_lifecycle__how_often_it_is_looked_at)
{
    static const struct {
        const char *after;
        int64_t every_s; /* 0: never */
    } rows[] = {{NULL, 0},    {"1m", 60},   {"16m", 60},   {"32m", 120}, {"1d", 5400}, {"15d", 81000},
                {"16d", DAY}, {"17d", DAY}, {"P10Y", DAY}, {"P1Y", DAY}, {"30d", DAY}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[128] = "name = \"x\";";
        struct schedule when;

        if (rows[i].after)
            snprintf(text, sizeof(text), "lifecycle: { expire_after = \"%s\"; };", rows[i].after);
        cleanup(profile_free) struct profile *p = of(text);
        CHECK_EQ(lifecycle_schedule(p, LIFECYCLE_EXPIRE, &when), rows[i].every_s != 0);
        if (rows[i].every_s)
            CHECK_EQ(when.every_s, rows[i].every_s);
        CHECK(!lifecycle_schedule(p, LIFECYCLE_MOVE, &when));
        if (rows[i].after) {
            snprintf(text, sizeof(text),
                     "lifecycle: { transition_after = \"%s\"; storage_class = \"GLACIER\"; };",
                     rows[i].after);
            cleanup(profile_free) struct profile *q = of(text);
            CHECK(lifecycle_schedule(q, LIFECYCLE_MOVE, &when) && when.every_s == rows[i].every_s);
            CHECK(!lifecycle_schedule(q, LIFECYCLE_EXPIRE, &when));
        }
    }
}

/* Nothing goes early because one of two clocks is ahead. */
TEST(test_lifecycle__of_two_clocks_the_earlier_is_believed)
{
    static const struct {
        int64_t after_s, here_s, there_s, before_s;
    } rows[] = {
        {DAY, 10 * DAY, 10 * DAY, 9 * DAY},
        {DAY, 4000 * DAY, 10 * DAY, 9 * DAY}, /* this machine's is years ahead */
        {DAY, 10 * DAY, 4000 * DAY, 9 * DAY}, /* the repository's is */
        {DAY, 9 * DAY, 10 * DAY, 8 * DAY},
        {20 * DAY, 10 * DAY, 10 * DAY, -10 * DAY},
        {36500ll * DAY, 20000ll * DAY, 20000ll * DAY, -16500ll * DAY},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_EQ(lifecycle_before(rows[i].after_s, rows[i].here_s * SECOND, rows[i].there_s * SECOND),
                 rows[i].before_s * SECOND);
}

static int64_t utc(const char *s)
{
    int64_t ns;

    CHECK_OK(clock_parse(s, &ns));
    return ns / SECOND;
}

/* Looks of a day apart, given on March 27: done once each, caught up with once, tried again, over the end of winter time, a leap day, and
 * clocks that are wrong for a while. */
TEST(test_lifecycle__when_a_look_is_due)
{
    static const struct {
        const char *now, *done, *tried; /* NULL: never */
        uint32_t failures;
        bool run;
        const char *due, *wake;
        uint32_t missed;
        bool back;
    } rows[] = {
        {"2027-03-27T12:00:01Z", NULL, NULL, 0, false, NULL, "2027-03-28T00:00:00Z", 0, false},
        {"2027-03-27T23:59:59Z", NULL, NULL, 0, false, NULL, "2027-03-28T00:00:00Z", 0, false},
        {"2027-03-28T00:00:00Z", NULL, NULL, 0, true, "2027-03-28T00:00:00Z", NULL, 0, false},
        {"2027-03-28T23:00:00Z", "2027-03-28T00:00:00Z", NULL, 0, false, NULL, "2027-03-29T00:00:00Z", 0,
         false},
        {"2027-03-29T00:00:00Z", "2027-03-28T00:00:00Z", NULL, 0, true, "2027-03-29T00:00:00Z", NULL, 0,
         false},
        {"2027-04-07T05:00:00Z", "2027-03-28T00:00:00Z", NULL, 0, true, "2027-04-07T00:00:00Z", NULL, 9,
         false},
        {"2028-02-29T00:00:00Z", "2028-02-28T00:00:00Z", NULL, 0, true, "2028-02-29T00:00:00Z", NULL, 0,
         false},
        /* after a failure: in 1, 2, 4 ... minutes, an hour at most, and when the next one is due */
        {"2027-03-28T00:00:30Z", NULL, "2027-03-28T00:00:00Z", 1, false, NULL, "2027-03-28T00:01:00Z", 0,
         false},
        {"2027-03-28T00:01:00Z", NULL, "2027-03-28T00:00:00Z", 1, true, "2027-03-28T00:00:00Z", NULL, 0,
         false},
        {"2027-03-28T00:03:59Z", NULL, "2027-03-28T00:00:00Z", 3, false, NULL, "2027-03-28T00:04:00Z", 0,
         false},
        {"2027-03-28T00:59:59Z", NULL, "2027-03-28T00:00:00Z", 40, false, NULL, "2027-03-28T01:00:00Z", 0,
         false},
        {"2027-03-28T01:00:00Z", NULL, "2027-03-28T00:00:00Z", 40, true, "2027-03-28T00:00:00Z", NULL, 0,
         false},
        /* the clock goes back an hour: nothing again; it had been ahead for years: counting begins anew */
        {"2027-03-27T23:30:00Z", "2027-03-28T00:00:00Z", NULL, 0, false, NULL, NULL, 0, false},
        {"2027-03-28T05:00:00Z", "2031-03-28T00:00:00Z", NULL, 0, false, "2027-03-28T00:00:00Z", NULL, 0,
         true},
    };
    cleanup(profile_free) struct profile *p = of("lifecycle: { expire_after = \"30d\"; };");
    struct zone berlin = {.n = 0};
    struct schedule when;

    CHECK_OK(zone_load("CET-1CEST,M3.5.0,M10.5.0/3", &berlin));
    CHECK(lifecycle_schedule(p, LIFECYCLE_EXPIRE, &when));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct schedule_state st = {.since_s = utc("2027-03-27T12:00:00Z"),
                                    .done_s = rows[i].done ? utc(rows[i].done) : 0,
                                    .tried_s = rows[i].tried ? utc(rows[i].tried) : 0,
                                    .failures = rows[i].failures};
        struct schedule_todo t = schedule_decide(&when, &berlin, &st, utc(rows[i].now));

        if (t.run != rows[i].run || t.missed != rows[i].missed || t.went_back != rows[i].back ||
            (rows[i].due && t.due_s != utc(rows[i].due)) || (rows[i].wake && t.wake_s != utc(rows[i].wake)))
            test_fail(__FILE__, __LINE__, "%s: run %d due %ld wake %ld missed %u back %d", rows[i].now, t.run,
                      (long)t.due_s, (long)t.wake_s, t.missed, t.went_back);
    }
    zone_release(&berlin);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
