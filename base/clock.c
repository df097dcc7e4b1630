#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#define NS_PER_S 1000000000
#define S_PER_DAY 86400

static atomic_bool test_on;
static _Atomic int64_t test_wall_ns;
static _Atomic int64_t test_mono_ns;

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    int r = clock_gettime(id, &ts);

    assert(r == 0);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t clock_wall_ns(void)
{
    return atomic_load(&test_on) ? atomic_load(&test_wall_ns) : read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_ns(void)
{
    return atomic_load(&test_on) ? atomic_load(&test_mono_ns) : read_clock(CLOCK_MONOTONIC);
}

void clock_test_set(int64_t wall_ns, int64_t mono_ns)
{
    atomic_store(&test_wall_ns, wall_ns);
    atomic_store(&test_mono_ns, mono_ns);
    atomic_store(&test_on, true);
}

void clock_test_advance(int64_t ns)
{
    atomic_fetch_add(&test_wall_ns, ns);
    atomic_fetch_add(&test_mono_ns, ns);
}

void clock_test_off(void)
{
    atomic_store(&test_on, false);
}

void clock_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;

    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
}

struct timespec clock_until(int64_t ms)
{
    int64_t ns = read_clock(CLOCK_MONOTONIC) + ms * 1000000;

    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

/* Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that the leap day is
 * the last of its year, and in eras of 400 years, which all have 146097 days. */
int64_t clock_days(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

void clock_date(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int mp = (int)((5 * doy + 2) / 153);

    *ret_day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *ret_month = mp < 10 ? mp + 3 : mp - 9;
    *ret_year = yoe + era * 400 + (*ret_month <= 2);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

void clock_format(int64_t wall_ns, char out[CLOCK_TEXT_SIZE])
{
    int64_t s = floor_div(wall_ns, NS_PER_S);
    int64_t days = floor_div(s, S_PER_DAY);
    unsigned in_day = (unsigned)(s - days * S_PER_DAY) % S_PER_DAY;
    int64_t year;
    int month, day;

    clock_date(days, &year, &month, &day);
    snprintf(out, CLOCK_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year % 10000,
             (unsigned)month % 100, (unsigned)day % 100, in_day / 3600, in_day / 60 % 60, in_day % 60);
}

/* take_digits(s, n, max, ret): exactly n digits at *s, value at most max; moves *s behind them. */
static bool take_digits(const char **s, int n, int max, int *ret)
{
    int v = 0;

    for (int i = 0; i < n; i++) {
        if ((*s)[i] < '0' || (*s)[i] > '9')
            return false;
        v = v * 10 + ((*s)[i] - '0');
    }
    if (v > max)
        return false;
    *s += n;
    *ret = v;
    return true;
}

static bool take_char(const char **s, const char *set)
{
    if (**s == 0 || !strchr(set, **s))
        return false;
    (*s)++;
    return true;
}

static bool take_fraction(const char **s, int64_t *ret_ns)
{
    int64_t ns = 0, unit = NS_PER_S / 10;

    if (!take_char(s, "."))
        return true;
    if (**s < '0' || **s > '9')
        return false;
    for (; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
        ns += (**s - '0') * unit;
    *ret_ns = ns;
    return true;
}

static bool take_offset(const char **s, int64_t *ret_s)
{
    bool minus = **s == '-';
    int h, m;

    if (take_char(s, "Zz"))
        return true;
    if (!take_char(s, "+-") || !take_digits(s, 2, 23, &h) || !take_char(s, ":") || !take_digits(s, 2, 59, &m))
        return false;
    *ret_s = (h * 3600 + m * 60) * (minus ? -1 : 1);
    return true;
}

int clock_month_days(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

int clock_parse(const char *s, int64_t *ret_ns)
{
    int year, month, day, h = 0, m = 0, sec = 0;
    int64_t ns = 0, offset_s = 0, t;

    if (!take_digits(&s, 4, 9999, &year) || !take_char(&s, "-") || !take_digits(&s, 2, 12, &month) ||
        !take_char(&s, "-") || !take_digits(&s, 2, 31, &day))
        return -E_INVAL;
    if (month < 1 || day < 1 || day > clock_month_days(year, month))
        return -E_INVAL;
    if (*s) {
        if (!take_char(&s, "Tt") || !take_digits(&s, 2, 23, &h) || !take_char(&s, ":") ||
            !take_digits(&s, 2, 59, &m) || !take_char(&s, ":") || !take_digits(&s, 2, 60, &sec))
            return -E_INVAL;
        if (!take_fraction(&s, &ns) || !take_offset(&s, &offset_s) || *s)
            return -E_INVAL;
    }
    t = clock_days(year, month, day) * S_PER_DAY + h * 3600 + m * 60 + sec - offset_s;
    if (__builtin_mul_overflow(t, (int64_t)NS_PER_S, &t) || __builtin_add_overflow(t, ns, &t))
        return -E_INVAL;
    *ret_ns = t;
    return 0;
}
