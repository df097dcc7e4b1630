#include "conf/zone.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/io.h"

#define DAY 86400
#define DIR_TZ "/usr/share/zoneinfo"
#define FILE_MAX (256u << 10)

void zone_release(struct zone *z)
{
    free(z->changes);
    *z = (struct zone){.n = 0};
}

/* --- a rule --------------------------------------------------------------------------------------------------------- */

static bool name_skip(const char **s)
{
    const char *from = *s;

    if (**s == '<') {
        *s = strchr(*s, '>');
        if (!*s)
            *s = from + strlen(from);
        else
            (*s)++;
        return *s - from >= 5 && (*s)[-1] == '>';
    }
    while ((**s >= 'a' && **s <= 'z') || (**s >= 'A' && **s <= 'Z'))
        (*s)++;
    return *s - from >= 3;
}

static bool number(const char **s, int32_t min, int32_t max, int32_t *ret)
{
    int32_t v = 0, digits = 0;

    for (; **s >= '0' && **s <= '9' && digits < 4; (*s)++, digits++)
        v = v * 10 + (**s - '0');
    *ret = v;
    return digits > 0 && v >= min && v <= max;
}

/* [+-]hh[:mm[:ss]] */
static bool hours(const char **s, int32_t most, int32_t *ret_s)
{
    int32_t h, m = 0, sec = 0, sign = **s == '-' ? -1 : 1;

    if (**s == '-' || **s == '+')
        (*s)++;
    if (!number(s, 0, most, &h))
        return false;
    if (**s == ':') {
        (*s)++;
        if (!number(s, 0, 59, &m))
            return false;
    }
    if (**s == ':') {
        (*s)++;
        if (!number(s, 0, 59, &sec))
            return false;
    }
    *ret_s = sign * (h * 3600 + m * 60 + sec);
    return true;
}

static bool take(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

static bool date(const char **s, struct zone_date *ret)
{
    struct zone_date d = {.kind = 'n', .at_s = 2 * 3600};

    if (take(s, 'M')) {
        d.kind = 'M';
        if (!number(s, 1, 12, &d.month) || !take(s, '.') || !number(s, 1, 5, &d.week) || !take(s, '.') ||
            !number(s, 0, 6, &d.day))
            return false;
    } else {
        if (take(s, 'J'))
            d.kind = 'J';
        if (!number(s, d.kind == 'J' ? 1 : 0, d.kind == 'J' ? 365 : 365, &d.day))
            return false;
    }
    if (take(s, '/') && !hours(s, 167, &d.at_s))
        return false;
    *ret = d;
    return true;
}

int zone_rule_parse(const char *text, struct zone_rule *ret)
{
    struct zone_rule r = {.std_s = 0};
    const char *s = text;

    if (!name_skip(&s) || !hours(&s, 24, &r.std_s))
        return -E_INVAL;
    r.std_s = -r.std_s; /* TZ counts west of UTC */
    if (*s) {
        if (!name_skip(&s))
            return -E_INVAL;
        r.has_dst = true;
        r.dst_s = r.std_s + 3600;
        if (*s && *s != ',') {
            if (!hours(&s, 24, &r.dst_s))
                return -E_INVAL;
            r.dst_s = -r.dst_s;
        }
        if (!take(&s, ',') || !date(&s, &r.from) || !take(&s, ',') || !date(&s, &r.to) || *s)
            return -E_INVAL;
    }
    *ret = r;
    return 0;
}

/* The day of a date in a year, in days since 1970. */
static int64_t day_of(const struct zone_date *d, int64_t year)
{
    int64_t first = clock_days(year, 1, 1), day;

    if (d->kind == 'n')
        return first + d->day;
    if (d->kind == 'J') /* February 29 is never counted */
        return first + d->day - 1 + (d->day > 59 && clock_month_days(year, 2) == 29);
    first = clock_days(year, d->month, 1);
    day = first + (d->day - (first + 4) % 7 + 7) % 7 + (d->week - 1) * 7; /* 1970-01-01 was a Thursday, 4 */
    while (day >= first + clock_month_days(year, d->month))
        day -= 7;
    return day;
}

static int32_t rule_offset(const struct zone_rule *r, int64_t utc_s)
{
    int64_t year, on, off;
    int64_t local_day = (utc_s + r->std_s) / DAY - ((utc_s + r->std_s) % DAY < 0);
    int month, day;

    if (!r->has_dst)
        return r->std_s;
    clock_date(local_day, &year, &month, &day);
    on = day_of(&r->from, year) * DAY + r->from.at_s - r->std_s;
    off = day_of(&r->to, year) * DAY + r->to.at_s - r->dst_s;
    if (on < off)
        return utc_s >= on && utc_s < off ? r->dst_s : r->std_s;
    return utc_s >= on || utc_s < off ? r->dst_s : r->std_s;
}

/* --- a file --------------------------------------------------------------------------------------------------------- */

struct tzif {
    const uint8_t *p;
    size_t left;
    uint32_t isut, isstd, leap, times, types, chars;
};

static bool head(struct tzif *f, uint8_t *ret_version)
{
    const uint8_t *p = f->p;

    if (f->left < 44 || memcmp(p, "TZif", 4) != 0)
        return false;
    *ret_version = p[4];
    f->isut = get_be32(p + 20);
    f->isstd = get_be32(p + 24);
    f->leap = get_be32(p + 28);
    f->times = get_be32(p + 32);
    f->types = get_be32(p + 36);
    f->chars = get_be32(p + 40);
    f->p += 44;
    f->left -= 44;
    return f->times <= ZONE_CHANGES_MAX && f->types > 0 && f->types <= 256 && f->chars <= 1024 &&
           f->leap <= 1024 && f->isut <= 256 && f->isstd <= 256;
}

static size_t body_size(const struct tzif *f, size_t time_size)
{
    return f->times * (time_size + 1) + f->types * 6 + f->chars + f->leap * (time_size + 4) + f->isstd +
           f->isut;
}

static int changes_take(const struct tzif *f, size_t time_size, struct zone *z)
{
    const uint8_t *types = f->p + f->times * time_size, *infos = types + f->times;

    z->changes = f->times ? calloc(f->times, sizeof(*z->changes)) : NULL;
    if (f->times && !z->changes)
        return -E_NOMEM;
    z->first_s = (int32_t)get_be32(infos);
    for (uint32_t i = 0; i < f->times; i++) {
        const uint8_t *t = f->p + i * time_size;
        int32_t offset;

        if (types[i] >= f->types)
            return -E_INVAL;
        offset = (int32_t)get_be32(infos + types[i] * 6u);
        if (offset < -26 * 3600 || offset > 26 * 3600)
            return -E_INVAL;
        z->changes[i].utc_s = time_size == 8 ? (int64_t)get_be64(t) : (int32_t)get_be32(t);
        z->changes[i].offset_s = offset;
        if (i > 0 && z->changes[i].utc_s <= z->changes[i - 1].utc_s)
            return -E_INVAL;
    }
    z->n = f->times;
    return z->first_s < -26 * 3600 || z->first_s > 26 * 3600 ? -E_INVAL : 0;
}

/* "\nRULE\n" behind the second body; empty: the last offset goes on. */
static int tail_take(const struct tzif *f, size_t body, struct zone *z)
{
    const uint8_t *p = f->p + body, *end;
    size_t left = f->left - body;
    char text[128];

    z->rule.std_s = z->n ? z->changes[z->n - 1].offset_s : z->first_s;
    if (left < 2 || p[0] != '\n' || !(end = memchr(p + 1, '\n', left - 1)))
        return 0;
    if (end == p + 1)
        return 0;
    if ((size_t)(end - p - 1) >= sizeof(text))
        return -E_INVAL;
    snprintf(text, sizeof(text), "%.*s", (int)(end - p - 1), (const char *)p + 1);
    return zone_rule_parse(text, &z->rule);
}

int zone_tzif_parse(const void *p, size_t len, struct zone *ret)
{
    struct tzif f = {.p = p, .left = len};
    struct zone z = {.n = 0};
    size_t time_size = 4;
    uint8_t version;
    int r;

    if (!head(&f, &version))
        return -E_INVAL;
    if (version >= '2') {
        size_t skip = body_size(&f, 4);

        if (f.left < skip)
            return -E_INVAL;
        f.p += skip;
        f.left -= skip;
        time_size = 8;
        if (!head(&f, &version))
            return -E_INVAL;
    }
    if (f.left < body_size(&f, time_size))
        return -E_INVAL;
    r = changes_take(&f, time_size, &z);
    if (r == 0)
        r = tail_take(&f, body_size(&f, time_size), &z);
    if (r < 0) {
        zone_release(&z);
        return r;
    }
    *ret = z;
    return 0;
}

/* Words of letters, digits, _ + - and /, none of them ".." */
static bool name_ok(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/";
    size_t n = strlen(name);

    return n > 0 && n <= ZONE_NAME_MAX && strspn(name, allowed) == n && name[0] != '/';
}

static int file_load(const char *path, struct zone *ret)
{
    cleanup(buf_free) struct buf b = {0};
    int r = io_read_file(io_real(), path, FILE_MAX, &b);

    return r < 0 ? r : zone_tzif_parse(b.data, b.len, ret);
}

int zone_load(const char *name, struct zone *ret)
{
    struct zone z = {.n = 0};
    char path[128];
    int r;

    if (strlen(name) > ZONE_NAME_MAX)
        return -E_NOENT;
    if (strcmp(name, "UTC") == 0) {
        r = 0;
    } else if (!*name) {
        r = file_load("/etc/localtime", &z);
        r = r == -E_NOENT ? 0 : r;
    } else if (zone_rule_parse(name, &z.rule) == 0) {
        z.first_s = z.rule.std_s;
        r = 0;
    } else if (name_ok(name)) {
        snprintf(path, sizeof(path), DIR_TZ "/%s", name);
        r = file_load(path, &z);
        r = r == -E_ISDIR || r == -E_NOTDIR || r == -E_ACCES ? -E_NOENT : r;
    } else {
        r = -E_NOENT;
    }
    if (r < 0)
        return r;
    snprintf(z.name, sizeof(z.name), "%s", *name ? name : "local");
    *ret = z;
    return 0;
}

/* --- times ---------------------------------------------------------------------------------------------------------- */

int32_t zone_offset(const struct zone *z, int64_t utc_s)
{
    size_t lo = 0, hi = z->n;

    if (z->n == 0 || utc_s >= z->changes[z->n - 1].utc_s)
        return rule_offset(&z->rule, utc_s);
    while (lo < hi) { /* the first change that is later */
        size_t mid = (lo + hi) / 2;

        if (z->changes[mid].utc_s > utc_s)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo == 0 ? z->first_s : z->changes[lo - 1].offset_s;
}

int64_t zone_utc(const struct zone *z, int64_t local_s)
{
    int64_t a = local_s - zone_offset(z, local_s - 2 * DAY), b = local_s - zone_offset(z, local_s + 2 * DAY);
    int64_t lo, hi;

    if (a > b) { /* clocks go forward near here */
        lo = b;
        hi = a;
    } else {
        lo = a;
        hi = b;
    }
    if (zone_local(z, lo) == local_s)
        return lo;
    if (zone_local(z, hi) == local_s)
        return hi;
    while (hi - lo > 1) { /* left out: the first instant that shows a later time */
        int64_t mid = lo + (hi - lo) / 2;

        if (zone_local(z, mid) > local_s)
            hi = mid;
        else
            lo = mid;
    }
    return hi;
}
