#include "conf/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

/* The number before a unit, in millionths, so that 1.5G is exact. */
static int number(const char **s, uint64_t *ret_whole, uint32_t *ret_millionth)
{
    const char *p = *s;
    uint64_t whole = 0;
    uint32_t frac = 0, weight = 100000;

    if (*p < '0' || *p > '9')
        return -E_INVAL;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
            return -E_RANGE;
    if (*p == '.') {
        if (p[1] < '0' || p[1] > '9')
            return -E_INVAL;
        for (p++; *p >= '0' && *p <= '9'; p++, weight /= 10)
            frac += (uint32_t)(*p - '0') * weight;
    }
    *s = p;
    *ret_whole = whole;
    *ret_millionth = frac;
    return 0;
}

static int scaled(uint64_t whole, uint32_t millionth, uint64_t unit, uint64_t *ret)
{
    uint64_t n, part = (uint64_t)((unsigned __int128)unit * millionth / 1000000);

    if (__builtin_mul_overflow(whole, unit, &n) || __builtin_add_overflow(n, part, &n))
        return -E_RANGE;
    *ret = n;
    return 0;
}

/* K M G T P E as a power of base; 1 and no move when there is none */
static uint64_t letter_unit(const char **s, uint64_t base)
{
    static const char letters[] = "KMGTPE";
    const char *at = **s ? strchr(letters, **s >= 'a' ? **s - 32 : **s) : NULL;
    uint64_t unit = 1;

    if (!at)
        return 1;
    for (const char *p = letters; p <= at; p++)
        unit *= base;
    (*s)++;
    return unit;
}

int conf_size(const char *s, uint64_t *ret_bytes)
{
    uint64_t whole, unit;
    uint32_t millionth;
    int r = number(&s, &whole, &millionth);

    if (r < 0)
        return r;
    while (*s == ' ')
        s++;
    unit = letter_unit(&s, 1024);
    if (unit > 1 && *s == 'i')
        s++;
    if (*s == 'B')
        s++;
    if (*s || (unit == 1 && millionth))
        return -E_INVAL;
    return scaled(whole, millionth, unit, ret_bytes);
}

int conf_count(const char *s, uint64_t *ret)
{
    uint64_t whole, unit;
    uint32_t millionth;
    int r = number(&s, &whole, &millionth);

    if (r < 0)
        return r;
    unit = letter_unit(&s, 1000);
    if (*s || (unit == 1 && millionth))
        return -E_INVAL;
    return scaled(whole, millionth, unit, ret);
}

int conf_duration(const char *s, int64_t *ret_ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"", 1000000000},    {"s", 1000000000},     {"ms", 1000000},       {"us", 1000},
                 {"m", 60000000000u}, {"h", 3600000000000u}, {"d", 86400000000000}, {"w", 604800000000000}};
    uint64_t whole, ns;
    uint32_t millionth;
    int r = number(&s, &whole, &millionth);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strcmp(s, units[i].name) != 0)
            continue;
        r = scaled(whole, millionth, units[i].ns, &ns);
        if (r < 0 || ns > INT64_MAX)
            return -E_RANGE;
        *ret_ns = (int64_t)ns;
        return 0;
    }
    return -E_INVAL;
}

#define WORD_MAX 40

/* Edit distance with neighbours swapped counting one. */
static size_t distance(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b), d[3][WORD_MAX + 1];

    if (na > WORD_MAX || nb > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= nb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *row = d[i % 3], *up = d[(i - 1) % 3], *upup = d[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t cost = a[i - 1] != b[j - 1];

            row[j] = MIN_OF(MIN_OF(up[j] + 1, row[j - 1] + 1), up[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = MIN_OF(row[j], upup[j - 2] + 1);
        }
    }
    return d[na % 3][nb];
}

const char *conf_nearest(const char *s, const char *const *words, size_t n)
{
    size_t len = strlen(s), best = 2 + len / 5;
    const char *ret = NULL;

    for (size_t i = 0; i < n; i++) {
        size_t d = len >= 3 && strncasecmp(s, words[i], len) == 0 ? 1 : distance(s, words[i]);

        if (d < best) {
            best = d;
            ret = words[i];
        }
    }
    return ret;
}

void conf_size_text(uint64_t bytes, char out[CONF_SIZE_TEXT])
{
    static const char letters[] = "KMGTPE";
    uint64_t unit = 1024;
    size_t i = 0;

    if (bytes < 1024) {
        snprintf(out, CONF_SIZE_TEXT, "%" PRIu64 " B", bytes);
        return;
    }
    /* up where rounding would print 1024.0 */
    while (i + 1 < sizeof(letters) - 1 && bytes / unit >= 1023 && bytes >= unit * 1024 - unit / 20) {
        unit *= 1024;
        i++;
    }
    snprintf(out, CONF_SIZE_TEXT, "%.1f %ciB", (double)bytes / (double)unit, letters[i]);
}

void conf_duration_text(int64_t ns, char out[CONF_SIZE_TEXT])
{
    uint64_t s = ns < 0 ? 0 : (uint64_t)ns / 1000000000u;

    if (ns > 0 && ns < 1000000000)
        snprintf(out, CONF_SIZE_TEXT, "%.1fs", (double)ns / 1e9);
    else if (s < 60)
        snprintf(out, CONF_SIZE_TEXT, "%" PRIu64 "s", s);
    else if (s < 3600)
        snprintf(out, CONF_SIZE_TEXT, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, CONF_SIZE_TEXT, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(out, CONF_SIZE_TEXT, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
}
