/* Tables of every decision about times: daylight saving both ways, leap days, ends of months, clocks that jump, runs that were missed. */
#include "conf/schedule.h"

#include "base/clock.h"
#include "tests/lib/test.h"

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define HOUR 3600
#define DAY 86400

static int64_t utc(const char *s)
{
    int64_t ns;

    if (!*s)
        return 0;
    CHECK_OK(clock_parse(s, &ns));
    return ns / 1000000000;
}

static const char *text(int64_t t, char out[CLOCK_TEXT_SIZE])
{
    if (t == SCHEDULE_NEVER || t == -SCHEDULE_NEVER)
        snprintf(out, CLOCK_TEXT_SIZE, "never");
    else
        clock_format(t * 1000000000, out);
    return out;
}

static void same(int line, const char *what, int64_t got, const char *want)
{
    char t[CLOCK_TEXT_SIZE];

    if (strcmp(text(got, t), want) != 0)
        test_fail(__FILE__, line, "%s: %s, want %s", what, t, want);
}

static const struct schedule daily = {.name = "daily", .occurrence = OCCUR_DAILY, .at_s = 2 * HOUR + 1800};
static const struct schedule midnight = {.name = "midnight", .occurrence = OCCUR_DAILY};
static const struct schedule sundays = {
    .name = "weekly", .occurrence = OCCUR_WEEKLY, .weekdays = 1, .at_s = 2 * HOUR + 1800};
static const struct schedule workdays = {
    .name = "work", .occurrence = OCCUR_WEEKLY, .weekdays = 0x3e, .at_s = 9 * HOUR};
static const struct schedule on_31 = {
    .name = "monthly", .occurrence = OCCUR_MONTHLY, .day = 31, .at_s = HOUR};
static const struct schedule last_day = {
    .name = "last", .occurrence = OCCUR_MONTHLY, .day = SCHEDULE_LAST_DAY, .at_s = 2 * HOUR + 1800};
static const struct schedule on_29 = {.name = "leap", .occurrence = OCCUR_MONTHLY, .day = 29, .at_s = HOUR};
static const struct schedule hourly = {.name = "hourly", .occurrence = OCCUR_HOURLY};
static const struct schedule quarter = {.name = "every-15m", .occurrence = OCCUR_EVERY, .every_s = 900};
static const struct schedule anchored = {.name = "every-36h",
                                         .occurrence = OCCUR_EVERY,
                                         .every_s = 36 * HOUR,
                                         .start_s = 1798675200}; /* 2026-12-31 */
static const struct schedule later = {
    .name = "later", .occurrence = OCCUR_DAILY, .start_s = 1798761600}; /* 2027-01-01 */

/* For an instant: the newest due time that is not later, the first that is. */
static const struct around {
    const struct schedule *s;
    const char *now, *prev, *next;
} arounds[] = {
    {&daily, "2026-11-20T12:00:00Z", "2026-11-20T01:30:00Z", "2026-11-21T01:30:00Z"},
    {&daily, "2026-11-20T01:30:00Z", "2026-11-20T01:30:00Z", "2026-11-21T01:30:00Z"},
    {&daily, "2026-11-20T01:29:59Z", "2026-11-19T01:30:00Z", "2026-11-20T01:30:00Z"},
    /* clocks go forward on March 29: 02:30 is left out, it is done when they do */
    {&daily, "2026-03-28T12:00:00Z", "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z"},
    {&daily, "2026-03-29T00:59:59Z", "2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z"},
    {&daily, "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
    {&sundays, "2026-03-28T12:00:00Z", "2026-03-22T01:30:00Z", "2026-03-29T01:00:00Z"},
    /* clocks go back on October 25: 02:30 comes twice, it is done the first time */
    {&daily, "2026-10-24T12:00:00Z", "2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z"},
    {&daily, "2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
    {&daily, "2026-10-25T01:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
    {&sundays, "2026-10-25T01:45:00Z", "2026-10-25T00:30:00Z", "2026-11-01T01:30:00Z"},
    {&midnight, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
    /* hours are those of UTC: 25 and 23 of them on these days */
    {&hourly, "2026-10-25T00:59:59Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"},
    {&hourly, "2026-10-25T01:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"},
    {&quarter, "2026-03-29T00:59:00Z", "2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z"},
    /* weeks */
    {&workdays, "2026-11-20T12:00:00Z", "2026-11-20T08:00:00Z", "2026-11-23T08:00:00Z"}, /* a Friday */
    {&workdays, "2026-11-22T12:00:00Z", "2026-11-20T08:00:00Z", "2026-11-23T08:00:00Z"},
    /* ends of months */
    {&on_31, "2026-11-15T12:00:00Z", "2026-10-31T00:00:00Z", "2026-11-30T00:00:00Z"},
    {&on_31, "2026-02-15T12:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"},
    {&on_31, "2028-02-15T12:00:00Z", "2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z"},
    {&last_day, "2026-03-01T00:00:00Z", "2026-02-28T01:30:00Z", "2026-03-31T00:30:00Z"},
    {&last_day, "2026-12-31T23:00:00Z", "2026-12-31T01:30:00Z", "2027-01-31T01:30:00Z"},
    /* leap days */
    {&on_29, "2027-02-15T00:00:00Z", "2027-01-29T00:00:00Z", "2027-02-28T00:00:00Z"},
    {&on_29, "2028-02-28T12:00:00Z", "2028-01-29T00:00:00Z", "2028-02-29T00:00:00Z"},
    {&on_29, "2100-02-15T00:00:00Z", "2100-01-29T00:00:00Z", "2100-02-28T00:00:00Z"}, /* no leap year */
    {&daily, "2028-02-29T12:00:00Z", "2028-02-29T01:30:00Z", "2028-03-01T01:30:00Z"},
    /* a first day */
    {&anchored, "2026-12-30T00:00:00Z", "never", "2026-12-31T00:00:00Z"},
    {&anchored, "2027-01-01T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-01T12:00:00Z"},
    {&later, "2026-12-30T00:00:00Z", "never", "2027-01-01T23:00:00Z"},
    {&later, "2027-01-02T00:00:00Z", "2027-01-01T23:00:00Z", "2027-01-02T23:00:00Z"},
};

TEST(test_conf_schedule__due_times_follow_the_calendar)
{
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    for (size_t i = 0; i < ARRAY_LEN(arounds); i++) {
        const struct around *a = &arounds[i];
        char what[96];

        snprintf(what, sizeof(what), "%zu: %s before %s", i, a->s->name, a->now);
        same(__LINE__, what, schedule_prev(a->s, &z, utc(a->now)), a->prev);
        snprintf(what, sizeof(what), "%zu: %s after %s", i, a->s->name, a->now);
        same(__LINE__, what, schedule_next(a->s, &z, utc(a->now)), a->next);
    }
}

static const struct schedule *const all[] = {&daily,    &midnight, &sundays, &workdays, &on_31,
                                             &last_day, &on_29,    &hourly,  &quarter};

TEST(test_conf_schedule__before_and_after_agree_in_each_zone)
{
    static const char *const zones[] = {BERLIN, "UTC", "AEST-10AEDT,M10.1.0,M4.1.0/3", "<-03>3",
                                        "NST3:30NDT,M3.2.0,M11.1.0"};

    for (size_t k = 0; k < ARRAY_LEN(zones); k++) {
        struct zone z;

        CHECK_OK(zone_load(zones[k], &z));
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
            int64_t last = schedule_prev(all[i], &z, utc("2027-12-01"));

            for (int64_t now = utc("2027-12-01"); now < utc("2029-01-15"); now += 6 * HOUR + 61) {
                int64_t prev = schedule_prev(all[i], &z, now), next = schedule_next(all[i], &z, now);

                if (prev > now || next <= now || next - prev > schedule_period(all[i]) + HOUR ||
                    prev < last || schedule_prev(all[i], &z, next) != next ||
                    schedule_next(all[i], &z, prev) != next)
                    test_fail(__FILE__, __LINE__, "%s in %s at %lld", all[i]->name, zones[k], (long long)now);
                last = prev;
            }
        }
    }
}

/* since, done, tried: as in struct schedule_state; wants: the due time that is done now; "" none. */
static const struct decision {
    const char *what;
    const struct schedule *s;
    const char *since, *done, *tried;
    uint32_t failures;
    const char *now, *runs, *wakes;
    uint32_t missed;
    bool went_back;
} decisions[] = {
    {"nothing before it was given", &daily, "2026-11-20T12:00:00Z", "", "", 0, "2026-11-20T12:00:30Z", "",
     "2026-11-21T01:30:00Z", 0, false},
    {"the first one", &daily, "2026-11-20T12:00:00Z", "", "", 0, "2026-11-21T01:30:00Z",
     "2026-11-21T01:30:00Z", "2026-11-22T01:30:00Z", 0, false},
    {"never twice", &daily, "2026-11-20T12:00:00Z", "2026-11-21T01:30:00Z", "", 0, "2026-11-21T01:30:30Z", "",
     "2026-11-22T01:30:00Z", 0, false},
    {"late, once", &daily, "2026-11-01", "2026-11-10T01:30:00Z", "", 0, "2026-11-20T12:00:00Z",
     "2026-11-20T01:30:00Z", "2026-11-21T01:30:00Z", 9, false},
    {"missed in a year are counted to the bound", &quarter, "2025-11-01", "2025-11-01T00:00:00Z", "", 0,
     "2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z", "2026-11-20T12:15:00Z", 1000, false},
    {"the hour that is left out", &daily, "2026-03-01", "2026-03-28T01:30:00Z", "", 0, "2026-03-29T01:00:00Z",
     "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", 0, false},
    {"the hour that comes twice", &daily, "2026-10-01", "2026-10-25T00:30:00Z", "", 0, "2026-10-25T01:30:10Z",
     "", "2026-10-26T01:30:00Z", 0, false},
    /* the clock jumps */
    {"forward by a month: once", &daily, "2026-11-01", "2026-11-20T01:30:00Z", "", 0, "2026-12-20T12:00:00Z",
     "2026-12-20T01:30:00Z", "2026-12-21T01:30:00Z", 29, false},
    {"back by an hour: not again", &hourly, "2026-11-01", "2026-11-20T13:00:00Z", "", 0,
     "2026-11-20T12:05:00Z", "", "2026-11-20T14:00:00Z", 0, false},
    {"back by a month: begins anew, nothing now", &daily, "2026-11-01", "2026-12-20T01:30:00Z", "", 0,
     "2026-11-20T12:00:00Z", "", "2026-11-21T01:30:00Z", 0, true},
    {"given while the clock was ahead", &daily, "2099-01-01", "", "", 0, "2026-11-20T12:00:00Z", "",
     "2026-11-21T01:30:00Z", 0, true},
    /* failures */
    {"not at once again", &daily, "2026-11-01", "2026-11-20T01:30:00Z", "2026-11-21T01:30:05Z", 1,
     "2026-11-21T01:31:00Z", "", "2026-11-21T01:31:05Z", 0, false},
    {"again after a minute", &daily, "2026-11-01", "2026-11-20T01:30:00Z", "2026-11-21T01:30:05Z", 1,
     "2026-11-21T01:31:05Z", "2026-11-21T01:30:00Z", "2026-11-22T01:30:00Z", 0, false},
    {"then after four", &daily, "2026-11-01", "2026-11-20T01:30:00Z", "2026-11-21T01:34:00Z", 3,
     "2026-11-21T01:37:59Z", "", "2026-11-21T01:38:00Z", 0, false},
    {"at most an hour", &daily, "2026-11-01", "2026-11-20T01:30:00Z", "2026-11-21T01:34:00Z", 40,
     "2026-11-21T02:34:00Z", "2026-11-21T01:30:00Z", "2026-11-22T01:30:00Z", 0, false},
    {"the next due time does not wait", &hourly, "2026-11-01", "2026-11-20T01:00:00Z", "2026-11-20T02:59:30Z",
     9, "2026-11-20T03:00:00Z", "2026-11-20T03:00:00Z", "2026-11-20T04:00:00Z", 1, false},
    {"a try in the future is none", &daily, "2026-11-01", "2026-11-20T01:30:00Z", "2027-11-21T01:30:00Z", 9,
     "2026-11-21T01:31:00Z", "2026-11-21T01:30:00Z", "2026-11-22T01:30:00Z", 0, false},
    {"not before its first day", &later, "2026-11-01", "", "", 0, "2026-11-20T12:00:00Z", "",
     "2027-01-01T23:00:00Z", 0, false},
};

TEST(test_conf_schedule__decisions)
{
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    for (size_t i = 0; i < ARRAY_LEN(decisions); i++) {
        const struct decision *d = &decisions[i];
        struct schedule_state st = {.since_s = utc(d->since),
                                    .done_s = utc(d->done),
                                    .tried_s = utc(d->tried),
                                    .failures = d->failures};
        struct schedule_todo t = schedule_decide(d->s, &z, &st, utc(d->now));
        char got[CLOCK_TEXT_SIZE] = "";

        if (t.run != (*d->runs != 0) || (t.run && strcmp(text(t.due_s, got), d->runs) != 0))
            test_fail(__FILE__, __LINE__, "%s: runs %d %s", d->what, t.run, got);
        same(__LINE__, d->what, t.wake_s, d->wakes);
        if (t.missed != d->missed || t.went_back != d->went_back)
            test_fail(__FILE__, __LINE__, "%s: missed %u, went back %d", d->what, t.missed, t.went_back);
    }
}

/* Whatever the clock does: never in the future, never at or below what is done. */
TEST(test_conf_schedule__a_wild_clock_runs_nothing_that_is_done)
{
    uint64_t seed = test_seed();
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct schedule_state st = {.since_s = utc("2026-01-01")};
        int64_t now = st.since_s, high = now;

        for (int k = 0; k < 20000; k++) {
            struct schedule_todo t = schedule_decide(all[i], &z, &st, now);

            if (t.wake_s <= now && !t.run)
                test_fail(__FILE__, __LINE__, "%s: wakes at once for nothing", all[i]->name);
            if (t.run) {
                CHECK(t.due_s <= now);
                CHECK(t.due_s > st.done_s);
                st.done_s = t.due_s;
            }
            if (t.went_back) {
                CHECK(t.due_s <= now);
                st.done_s = t.due_s;
                st.since_s = MIN_OF(st.since_s, t.due_s);
            }
            now += test_rand(&seed) % 97 == 0 ? (int64_t)(test_rand(&seed) % (8 * DAY)) - 4 * DAY
                                              : (int64_t)(test_rand(&seed) % 3600);
            high = MAX_OF(high, now);
        }
        CHECK(high > utc("2026-02-01"));
    }
}

TEST(test_conf_schedule__in_order_none_is_left_out)
{
    struct zone z;

    CHECK_OK(zone_load(BERLIN, &z));
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct schedule_state st = {.since_s = utc("2026-01-01")};
        int64_t want = schedule_next(all[i], &z, st.since_s);

        for (int64_t now = st.since_s; now < utc("2027-01-02"); now += 30 * 20) {
            struct schedule_todo t = schedule_decide(all[i], &z, &st, now);

            if (!t.run)
                continue;
            CHECK_EQ(t.due_s, want);
            CHECK_EQ(t.missed, 0);
            st.done_s = t.due_s;
            want = schedule_next(all[i], &z, t.due_s);
        }
        CHECK(want >= utc("2027-01-01T22:00:00Z"));
    }
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
