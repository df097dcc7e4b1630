#include "tier/policy.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

#define DAY 86400
#define GRAINS 16 /* of the age that is asked for */
#define PATTERN_MAX 256

bool tier_policy_of(const struct profile *p, struct tier_policy *ret)
{
    static const enum tier_what what[] = {TIER_COLD, TIER_NOTHING, TIER_REPLACED, TIER_COLD, TIER_ALL};
    bool said = p->tiering.policy || p->tiering.after_s || p->tiering.high_water;

    *ret = (struct tier_policy){.what = said ? what[p->tiering.policy] : TIER_NOTHING,
                                .by_access = p->tiering.by != 2,
                                .after_s = p->tiering.after_s,
                                .least_bytes = p->tiering.min_size,
                                .most_bytes = p->tiering.max_size,
                                .pattern = p->tiering.pattern,
                                .high_pct = p->tiering.high_water,
                                .low_pct = p->tiering.low_water};
    return ret->what != TIER_NOTHING;
}

const char *tier_policy_to(const struct profile *p)
{
    return p->tiering.to[0] || !p->nbackups ? p->tiering.to : p->backups[0].to;
}

uint64_t tier_policy_id(const struct tier_policy *p, const char *to)
{
    const uint64_t words[] = {p->what, p->by_access, (uint64_t)p->after_s, p->least_bytes, p->most_bytes};
    uint64_t h = hash_sum(0, words, sizeof(words));

    h = hash_sum(h, p->pattern ? p->pattern : "", p->pattern ? strlen(p->pattern) : 0);
    return hash_sum(h, to, strlen(to));
}

/* A time that lies ahead says nothing. */
static int64_t later(int64_t since, int64_t t, int64_t now_s)
{
    return t <= now_s && t > since ? t : since;
}

int64_t tier_idle_since(const struct tier_policy *p, const struct tier_facts *f, int64_t now_s)
{
    int64_t since = later(INT64_MIN, f->mtime_s, now_s);

    if (p->by_access)
        since = later(since, f->atime_s, now_s);
    if (f->read_s) /* rounded up: it may lie a little ahead */
        since = later(since, f->read_s < now_s ? f->read_s : now_s, now_s);
    return since == INT64_MIN ? now_s : since;
}

static bool is_asked(const struct tier_policy *p, const struct tier_facts *f)
{
    return f->size > 0 && f->size >= p->least_bytes && (!p->most_bytes || f->size <= p->most_bytes);
}

enum tier_verdict tier_decide(const struct tier_policy *p, const struct tier_facts *f, bool full,
                              int64_t now_s, int64_t *ret_due_s)
{
    int64_t due_s = tier_idle_since(p, f, now_s) + p->after_s;

    if (f->other || p->what == TIER_NOTHING)
        return TIER_STAYS;
    if (f->gone)
        return TIER_RELEASE;
    if (p->what == TIER_REPLACED || !is_asked(p, f))
        return TIER_STAYS;
    if (full || p->what == TIER_ALL)
        return TIER_RELEASE;
    if (!p->after_s)
        return TIER_STAYS;
    if (due_s <= now_s && !BROKEN(VARVE_BREAK_tier_age))
        return TIER_RELEASE;
    *ret_due_s = due_s;
    return BROKEN(VARVE_BREAK_tier_age) ? TIER_RELEASE : TIER_YOUNG;
}

/* One of the patterns, or what lies below a directory that it names. */
static bool one_matches(const char *pattern, const char *path)
{
    char below[PATTERN_MAX + 3];

    if (fnmatch(pattern, path, 0) == 0)
        return true;
    snprintf(below, sizeof(below), "%s/*", pattern);
    return fnmatch(below, path, 0) == 0;
}

bool tier_matches(const char *pattern, const char *path)
{
    char one[PATTERN_MAX + 1];

    if (!pattern || !*pattern)
        return true;
    for (const char *p = pattern;; p++) {
        size_t n = strcspn(p, "|");

        snprintf(one, sizeof(one), "%.*s", (int)(n < PATTERN_MAX ? n : PATTERN_MAX), p);
        if (n && one_matches(one, path))
            return true;
        p += n;
        if (!*p)
            return false;
    }
}

uint64_t tier_excess(const struct tier_policy *p, uint64_t used_bytes, uint64_t total_bytes)
{
    uint64_t high, low;

    if (!p->high_pct || !total_bytes)
        return 0;
    high = (uint64_t)((unsigned __int128)total_bytes * p->high_pct / 100);
    low = (uint64_t)((unsigned __int128)total_bytes * p->low_pct / 100);
    return used_bytes > high ? used_bytes - low : 0;
}

int64_t tier_grain(const struct tier_policy *p)
{
    int64_t grain = p->after_s / GRAINS;

    return grain < 1 ? (p->after_s ? 1 : 3600) : grain > DAY ? DAY : grain;
}

int64_t tier_period(const struct tier_policy *p)
{
    int64_t period = p->after_s / GRAINS;

    if (!p->after_s)
        return 3600;
    return period < 60 ? 60 : period > 3600 ? 3600 : period;
}
