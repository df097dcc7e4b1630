#include "conf/retain.h"

#include "base/clock.h"

#define DAY 86400

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* --- hours, days, weeks, months, years ------------------------------------------------------------------------------ */

enum bucket { BY_HOUR, BY_DAY, BY_WEEK, BY_MONTH, BY_YEAR };

static int64_t bucket_of(const struct zone *z, enum bucket b, int64_t utc_s)
{
    int64_t day = floor_div(zone_local(z, utc_s), DAY), year;
    int month, dom;

    if (b == BY_HOUR)
        return floor_div(utc_s, 3600);
    if (b == BY_DAY)
        return day;
    if (b == BY_WEEK)
        return floor_div(day + 3, 7); /* 1970-01-01 was a Thursday */
    clock_date(day, &year, &month, &dom);
    return b == BY_MONTH ? year * 12 + month : year;
}

/* The newest one of each of the newest `most` periods that have one. */
static void keep_buckets(const struct zone *z, enum bucket b, uint32_t most, struct retain_snap *v, size_t n)
{
    int64_t last = INT64_MAX;

    for (size_t i = n; i-- > 0 && most > 0;) {
        int64_t k = bucket_of(z, b, v[i].due_s);

        if (k == last)
            continue;
        v[i].drop = false;
        last = k;
        most--;
    }
}

static void keep_all(const struct retain_all *a, const struct zone *z, struct retain_snap *v, size_t n)
{
    const uint32_t most[] = {[BY_HOUR] = a->hourly,
                             [BY_DAY] = a->daily,
                             [BY_WEEK] = a->weekly,
                             [BY_MONTH] = a->monthly,
                             [BY_YEAR] = a->yearly};

    for (size_t i = n; i-- > 0 && n - i <= a->newest;)
        v[i].drop = false;
    for (enum bucket b = BY_HOUR; b <= BY_YEAR; b++)
        keep_buckets(z, b, most[b], v, n);
}

/* --- of one schedule ------------------------------------------------------------------------------------------------ */

static void keep_own(const struct schedule *s, const struct retain_own *own, int at, struct retain_snap *v,
                     size_t n)
{
    int64_t period = schedule_period(s), newest = 0;
    int64_t count = own->for_s > 0 ? (own->for_s + period - 1) / period : 0;
    int64_t keep = MAX_OF((int64_t)own->keep, count), seen = 0;

    for (size_t i = n; i-- > 0;) {
        if (v[i].schedule != at)
            continue;
        newest = seen++ ? newest : v[i].due_s;
        if (seen <= keep) /* one of a clock that was ahead has no age */
            v[i].drop = false;
        else if (own->for_s > 0 && v[i].due_s <= newest && newest - v[i].due_s < own->for_s)
            v[i].drop = false;
    }
}

/* Is it anybody's to drop? */
static bool governed(const struct retain_own *own, const struct retain_all *all, const struct retain_snap *v)
{
    if (retain_all_set(all))
        return true;
    return v->schedule >= 0 && (own[v->schedule].keep || own[v->schedule].for_s);
}

size_t retain_decide(const struct schedule *s, const struct retain_own *own, size_t ns,
                     const struct retain_all *all, const struct zone *z, struct retain_snap *v, size_t n)
{
    size_t dropped = 0;

    for (size_t i = 0; i < n; i++) {
        assert(v[i].schedule < (int)ns);
        v[i].drop = governed(own, all, &v[i]);
    }
    for (size_t k = 0; k < ns; k++)
        keep_own(&s[k], &own[k], (int)k, v, n);
    keep_all(all, z, v, n);
    for (size_t i = 0; i < n; i++) {
        if ((v[i].bound && !BROKEN(VARVE_BREAK_retain_bound)) || i + 1 == n)
            v[i].drop = false;
        dropped += v[i].drop;
    }
    return dropped;
}
