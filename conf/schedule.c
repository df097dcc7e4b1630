#include "conf/schedule.h"

#include "base/clock.h"

#define DAY 86400
#define SEARCH_DAYS 64 /* the longest way from one due time to the next: two months */
#define MISSED_MAX 1000
#define RETRY_FIRST_S 60
#define RETRY_MOST_S 3600

const char *const occurrence_words[] = {"hourly", "daily", "weekly", "monthly", NULL};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* --- by the calendar ------------------------------------------------------------------------------------------------ */

static bool on_day(const struct schedule *s, int64_t day)
{
    int64_t year;
    int month, dom, last;

    if (s->occurrence == OCCUR_WEEKLY)
        return s->weekdays & 1u << ((day % 7 + 7 + 4) % 7); /* 1970-01-01 was a Thursday */
    if (s->occurrence != OCCUR_MONTHLY)
        return true;
    clock_date(day, &year, &month, &dom);
    last = clock_month_days(year, month);
    return dom == (s->day > (uint32_t)last ? last : (int)s->day);
}

static int64_t due_of_day(const struct schedule *s, const struct zone *z, int64_t day)
{
    return on_day(s, day) ? zone_utc(z, day * DAY + s->at_s) : SCHEDULE_NEVER;
}

static bool by_interval(const struct schedule *s)
{
    return s->occurrence == OCCUR_EVERY || s->occurrence == OCCUR_HOURLY;
}

/* The multiple at or before now. */
static int64_t interval_prev(const struct schedule *s, int64_t now_s)
{
    int64_t step = s->occurrence == OCCUR_HOURLY ? 3600 : s->every_s;
    int64_t from = s->occurrence == OCCUR_HOURLY ? s->at_s : s->start_s;

    assert(step > 0);
    return from + floor_div(now_s - from, step) * step;
}

int64_t schedule_prev(const struct schedule *s, const struct zone *z, int64_t now_s)
{
    int64_t day = floor_div(zone_local(z, now_s), DAY) + 1, due = -SCHEDULE_NEVER;

    if (by_interval(s)) {
        due = interval_prev(s, now_s);
    } else {
        for (int i = 0; i < SEARCH_DAYS + 2; i++, day--) {
            int64_t t = due_of_day(s, z, day);

            if (t <= now_s) {
                due = t;
                break;
            }
        }
    }
    return due < s->start_s ? -SCHEDULE_NEVER : due;
}

int64_t schedule_next(const struct schedule *s, const struct zone *z, int64_t after_s)
{
    int64_t from = s->start_s > after_s ? s->start_s - 1 : after_s;
    int64_t day = floor_div(zone_local(z, from), DAY) - 1;

    if (by_interval(s))
        return interval_prev(s, from) + (s->occurrence == OCCUR_HOURLY ? 3600 : s->every_s);
    for (int i = 0; i < SEARCH_DAYS + 2; i++, day++) {
        int64_t t = due_of_day(s, z, day);

        if (t > from && t != SCHEDULE_NEVER)
            return t;
    }
    return SCHEDULE_NEVER;
}

int64_t schedule_period(const struct schedule *s)
{
    unsigned gap = 0, longest = 0;

    switch (s->occurrence) {
    case OCCUR_EVERY: return s->every_s;
    case OCCUR_HOURLY: return 3600;
    case OCCUR_MONTHLY: return 31 * (int64_t)DAY;
    case OCCUR_WEEKLY: break;
    default: return DAY;
    }
    for (unsigned i = 0; i < 14; i++) { /* the longest way round to the next of its days */
        gap++;
        if (s->weekdays & 1u << i % 7) {
            longest = i >= 7 ? MAX_OF(longest, MIN_OF(gap, 7u)) : longest;
            gap = 0;
        }
    }
    return (int64_t)MAX_OF(longest, 1u) * DAY;
}

/* --- what to do ----------------------------------------------------------------------------------------------------- */

static uint32_t missed(const struct schedule *s, const struct zone *z, int64_t from_s, int64_t due_s)
{
    uint32_t n = 0;

    for (int64_t t = schedule_next(s, z, from_s); t < due_s && n < MISSED_MAX; t = schedule_next(s, z, t))
        n++;
    return n;
}

static int64_t retry_at(const struct schedule_state *st)
{
    int64_t wait = RETRY_FIRST_S;

    for (uint32_t i = 1; i < st->failures && wait < RETRY_MOST_S; i++)
        wait *= 2;
    return st->tried_s + MIN_OF(wait, (int64_t)RETRY_MOST_S);
}

struct schedule_todo schedule_decide(const struct schedule *s, const struct zone *z,
                                     const struct schedule_state *st, int64_t now_s)
{
    struct schedule_todo t = {.next_s = schedule_next(s, z, now_s)};
    int64_t prev = schedule_prev(s, z, now_s), done = MAX_OF(st->done_s, st->since_s);

    if (done > t.next_s && !BROKEN(VARVE_BREAK_clock_back)) {
        t.went_back = true;
        t.due_s = prev == -SCHEDULE_NEVER ? now_s : prev;
        t.wake_s = t.next_s;
        return t;
    }
    t.wake_s = done >= t.next_s ? schedule_next(s, z, done) : t.next_s;
    if (prev == -SCHEDULE_NEVER || (prev <= done && !BROKEN(VARVE_BREAK_run_twice)))
        return t;
    if (st->tried_s && st->tried_s <= now_s && st->tried_s >= prev && retry_at(st) > now_s) {
        t.wake_s = MIN_OF(t.wake_s, retry_at(st));
        return t;
    }
    t.run = true;
    t.due_s = prev;
    t.missed = missed(s, z, done, prev);
    return t;
}
