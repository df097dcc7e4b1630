/* Which snapshots of schedules stay: by count, by time, by hours to years; what is bound; clocks that jump. */
#include "conf/retain.h"

#include "base/clock.h"
#include "tests/lib/test.h"

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define HOUR 3600
#define DAY 86400
#define MOST 400

static const struct schedule hourly = {.name = "hourly", .occurrence = OCCUR_HOURLY};
static const struct schedule daily = {.name = "daily", .occurrence = OCCUR_DAILY, .at_s = 2 * HOUR + 1800};

static int64_t utc(const char *s)
{
    int64_t ns;

    CHECK_OK(clock_parse(s, &ns));
    return ns / 1000000000;
}

/* n snapshots, the last one at `last`, each step seconds apart. */
static void row(struct retain_snap *v, size_t n, int64_t last, int64_t step, int schedule)
{
    for (size_t i = 0; i < n; i++)
        v[i] = (struct retain_snap){.due_s = last - (int64_t)(n - 1 - i) * step, .schedule = schedule};
}

/* The indexes that stay, as a line. */
static void stays(int line, const struct retain_snap *v, size_t n, const char *want)
{
    char got[2048] = "";
    size_t at = 0;

    for (size_t i = 0; i < n; i++)
        if (!v[i].drop)
            at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%zu", at ? " " : "", i);
    if (strcmp(got, want) != 0)
        test_fail(__FILE__, line, "stay \"%s\", want \"%s\"", got, want);
}

TEST(test_conf_retain__the_newest_of_a_schedule_stay)
{
    struct retain_own own = {.keep = 3};
    struct retain_all none = {0};
    struct retain_snap v[MOST];
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    row(v, 6, utc("2026-11-20"), HOUR, 0);
    CHECK_EQ(retain_decide(&hourly, &own, 1, &none, &z, v, 6), 3);
    stays(__LINE__, v, 6, "3 4 5");
    CHECK_EQ(retain_decide(&hourly, &own, 1, &none, &z, v, 3), 0);
    CHECK_EQ(retain_decide(&hourly, &own, 1, &none, &z, v, 0), 0);
    CHECK_EQ(retain_decide(&hourly, &own, 1, &none, &z, v, 1), 0);
}

TEST(test_conf_retain__time_is_counted_in_snapshots)
{
    struct retain_own own = {.for_s = 7 * DAY};
    struct retain_all none = {0};
    struct retain_snap v[MOST];
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    row(v, 10, utc("2026-11-20T01:30:00Z"), DAY, 0);
    CHECK_EQ(retain_decide(&daily, &own, 1, &none, &z, v, 10), 3);
    stays(__LINE__, v, 10, "3 4 5 6 7 8 9");
    /* the clock jumped ahead for one run, or the machine was off for a year: as many stay */
    v[9].due_s = utc("2099-11-20");
    CHECK_EQ(retain_decide(&daily, &own, 1, &none, &z, v, 10), 3);
    stays(__LINE__, v, 10, "3 4 5 6 7 8 9");
    /* more than expected within the time: all of them stay */
    row(v, 20, utc("2026-11-20T01:30:00Z"), DAY / 2, 0);
    CHECK_EQ(retain_decide(&daily, &own, 1, &none, &z, v, 20), 6);
    stays(__LINE__, v, 20, "6 7 8 9 10 11 12 13 14 15 16 17 18 19");
}

TEST(test_conf_retain__both_rules_keep)
{
    struct retain_own own = {.keep = 2, .for_s = 4 * DAY};
    struct retain_all none = {0};
    struct retain_snap v[MOST];
    struct zone z;

    CHECK_OK(zone_load("UTC", &z));
    row(v, 6, utc("2026-11-20"), DAY, 0);
    retain_decide(&daily, &own, 1, &none, &z, v, 6);
    stays(__LINE__, v, 6, "2 3 4 5");
}

TEST(test_conf_retain__hours_days_weeks_months_years)
{
    static const struct {
        struct retain_all all;
        const char *stay;
    } cases[] = {
        /* 2026-02-26 .. 2026-03-07, each noon and midnight (UTC): index 2k is midnight of day k */
        {{.newest = 1}, "19"},    {{.newest = 3}, "17 18 19"},
        {{.hourly = 2}, "18 19"}, {{.daily = 3}, "15 17 19"},
        {{.weekly = 2}, "7 19"}, /* 2026-03-01 is a Sunday: weeks begin on Monday */
        {{.weekly = 9}, "7 19"},  {{.monthly = 2}, "5 19"},
        {{.yearly = 3}, "19"},    {{.daily = 2, .weekly = 2, .monthly = 2}, "5 7 17 19"},
    };
    struct retain_own own = {0};
    struct retain_snap v[MOST];
    struct zone z;

    CHECK_OK(zone_load("UTC", &z));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        row(v, 20, utc("2026-03-07T12:00:00Z"), DAY / 2, 0);
        retain_decide(&daily, &own, 1, &cases[i].all, &z, v, 20);
        stays(__LINE__, v, 20, cases[i].stay);
    }
}

TEST(test_conf_retain__days_are_those_of_the_zone)
{
    struct retain_all all = {.daily = 9};
    struct retain_own own = {0};
    struct retain_snap v[MOST];
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    row(v, 25, utc("2026-10-25T22:00:00Z"), HOUR, 0); /* the whole of a day of 25 hours, 24 h apart in name */
    CHECK_EQ(retain_decide(&hourly, &own, 1, &all, &z, v, 25), 24);
    stays(__LINE__, v, 25, "24");
    row(v, 26, utc("2026-10-25T23:00:00Z"), HOUR, 0); /* and the first hour of the next */
    retain_decide(&hourly, &own, 1, &all, &z, v, 26);
    stays(__LINE__, v, 26, "24 25");
    row(v, 24, utc("2026-03-29T22:00:00Z"), HOUR, 0); /* 23 hours, and the first of the next day */
    retain_decide(&hourly, &own, 1, &all, &z, v, 24);
    stays(__LINE__, v, 24, "22 23");
}

TEST(test_conf_retain__leap_days_are_days)
{
    struct retain_all all = {.daily = 3, .monthly = 2};
    struct retain_own own = {0};
    struct retain_snap v[MOST];
    struct zone z;

    CHECK_OK(zone_load("UTC", &z));
    row(v, 5, utc("2028-03-02T12:00:00Z"), DAY, 0); /* Feb 27, 28, 29, Mar 1, 2 */
    retain_decide(&daily, &own, 1, &all, &z, v, 5);
    stays(__LINE__, v, 5, "2 3 4");
    row(v, 5, utc("2027-03-02T12:00:00Z"), DAY, 0); /* Feb 26, 27, 28, Mar 1, 2 */
    retain_decide(&daily, &own, 1, &all, &z, v, 5);
    stays(__LINE__, v, 5, "2 3 4");
}

TEST(test_conf_retain__what_is_bound_stays_and_so_does_the_newest)
{
    struct retain_own own = {.keep = 1};
    struct retain_all none = {0};
    struct retain_snap v[MOST];
    struct zone z;

    CHECK_OK(zone_load("UTC", &z));
    row(v, 5, utc("2026-11-20"), DAY, 0);
    v[1].bound = true;
    CHECK_EQ(retain_decide(&daily, &own, 1, &none, &z, v, 5), 3);
    stays(__LINE__, v, 5, "1 4");
}

TEST(test_conf_retain__schedules_do_not_count_each_others)
{
    struct schedule two[] = {hourly, daily};
    struct retain_own own[] = {{.keep = 2}, {.keep = 3}};
    struct retain_all none = {0}, all = {.daily = 2};
    struct retain_snap v[MOST];
    struct zone z;

    CHECK_OK(zone_load("UTC", &z));
    row(v, 10, utc("2026-11-20"), DAY, 0);
    for (size_t i = 0; i < 10; i += 2)
        v[i].schedule = 1;
    retain_decide(two, own, 2, &none, &z, v, 10);
    stays(__LINE__, v, 10, "4 6 7 8 9");
    /* of a schedule that is gone: theirs stay, unless there is a rule for all */
    v[0].schedule = v[1].schedule = -1;
    retain_decide(two, own, 2, &none, &z, v, 10);
    stays(__LINE__, v, 10, "0 1 4 6 7 8 9");
    retain_decide(two, own, 2, &all, &z, v, 10);
    stays(__LINE__, v, 10, "4 6 7 8 9");
    /* one without a rule of its own keeps all */
    own[0].keep = 0;
    retain_decide(two, own, 2, &none, &z, v, 10);
    stays(__LINE__, v, 10, "0 1 3 4 5 6 7 8 9");
}

/* A year of hourly runs, expired after each: what is left is what the rule says, and nothing that a later decision would have kept goes. */
TEST(test_conf_retain__a_year_of_hours)
{
    struct retain_all all = {.hourly = 24, .daily = 7, .weekly = 4, .monthly = 12};
    struct retain_own own = {0};
    struct retain_snap v[MOST];
    size_t n = 0;
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    for (int64_t t = utc("2026-01-01"); t < utc("2026-12-31T23:00:00Z"); t += HOUR) {
        size_t kept = 0;

        v[n++] = (struct retain_snap){.due_s = t};
        retain_decide(&hourly, &own, 1, &all, &z, v, n);
        for (size_t i = 0; i < n; i++)
            if (!v[i].drop)
                v[kept++] = v[i];
        n = kept;
        CHECK(n <= 24 + 7 + 4 + 12);
    }
    CHECK(n >= 40);
    for (size_t i = 0; i < 11; i++) { /* the ends of the months before, by local time */
        char text[CLOCK_TEXT_SIZE];

        clock_format(zone_local(&z, v[i].due_s) * 1000000000, text);
        CHECK(strcmp(text + 10, "T23:00:00Z") == 0);
        CHECK_EQ((text[5] - '0') * 10 + (text[6] - '0'), i + 1);
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
