/* What a profile means, and where it contradicts itself. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conf/profile_terms.h"
#include "conf/repo.h"

#define DAY 86400

int profile_name_check(const char *name)
{
    return conf_repo_name_check(name);
}

static int refuse(struct buf *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int refuse(struct buf *err, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    buf_puts(err, text);
    return -E_INVAL;
}

/* --- plans ---------------------------------------------------------------------------------------------------------- */

static bool two_digits(const char **s, int32_t max, int32_t *ret)
{
    if ((*s)[0] < '0' || (*s)[0] > '9' || (*s)[1] < '0' || (*s)[1] > '9')
        return false;
    *ret = ((*s)[0] - '0') * 10 + ((*s)[1] - '0');
    *s += 2;
    return *ret <= max;
}

/* "02:30", "02:30:15" */
static bool clock_time(const char *s, int32_t *ret_s)
{
    int32_t h, m, sec = 0;

    if (!two_digits(&s, 23, &h) || *s++ != ':' || !two_digits(&s, 59, &m))
        return false;
    if (*s == ':') {
        s++;
        if (!two_digits(&s, 59, &sec))
            return false;
    }
    *ret_s = h * 3600 + m * 60 + sec;
    return *s == 0;
}

static bool weekdays(const char *s, uint32_t *ret)
{
    static const char *const names[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

    *ret = 0;
    while (*s) {
        size_t n = strcspn(s, ", "), i = 0;

        while (i < 7 && (n < 3 || n > 9 || strncasecmp(names[i], s, 3) != 0))
            i++;
        if (i == 7)
            return false;
        *ret |= 1u << i;
        s += n;
        s += strspn(s, ", ");
    }
    return *ret != 0;
}

static bool month_day(const char *s, uint32_t *ret)
{
    char *end;
    unsigned long n = strtoul(s, &end, 10);

    *ret = strcmp(s, "last") == 0 ? SCHEDULE_LAST_DAY : (uint32_t)n;
    return *ret == SCHEDULE_LAST_DAY ? strcmp(s, "last") == 0 : *s >= '1' && *s <= '9' && !*end && n <= 31;
}

/* A local time is taken as UTC: `start` only says which runs are left out. */
static int start_of(const struct profile_plan *p, int64_t *ret_s, struct buf *err)
{
    char text[CLOCK_TEXT_SIZE + 8];
    int64_t ns = 0;

    snprintf(text, sizeof(text), "%s", p->start);
    if (p->start[0] && clock_parse(text, &ns) < 0) {
        snprintf(text, sizeof(text), "%sZ", p->start);
        if (clock_parse(text, &ns) < 0)
            return refuse(err, "%s: start \"%s\" is not understood; write 2026-11-20T22:00:00Z", p->name,
                          p->start);
    }
    *ret_s = ns / 1000000000;
    return 0;
}

static void name_default(struct profile_plan *p)
{
    char span[24];

    if (p->name[0])
        return;
    conf_span_print(p->every_s, span);
    if (p->occurrence)
        snprintf(p->name, sizeof(p->name), "%s", occurrence_words[p->occurrence - 1]);
    else
        snprintf(p->name, sizeof(p->name), "every-%s", span);
}

static int calendar_of(const struct profile_plan *p, struct schedule *w, struct buf *err)
{
    w->occurrence = p->occurrence - 1 + OCCUR_HOURLY;
    if (p->at[0] && !clock_time(p->at, &w->at_s))
        return refuse(err, "%s: at \"%s\" is no time of day; write \"02:30\"", p->name, p->at);
    if (w->occurrence == OCCUR_HOURLY && w->at_s >= 3600)
        return refuse(err,
                      "%s: at \"%s\" and occurrence \"hourly\" contradict each other; at is the minute "
                      "there, \"00:15\"",
                      p->name, p->at);
    if (p->on[0] && (w->occurrence == OCCUR_HOURLY || w->occurrence == OCCUR_DAILY))
        return refuse(err, "%s: on \"%s\" and occurrence \"%s\" contradict each other; leave on out", p->name,
                      p->on, occurrence_words[p->occurrence - 1]);
    if (w->occurrence == OCCUR_WEEKLY && !weekdays(p->on[0] ? p->on : "sun", &w->weekdays))
        return refuse(err, "%s: on \"%s\" is no day of the week; write \"mon,thu\"", p->name, p->on);
    if (w->occurrence == OCCUR_MONTHLY && !month_day(p->on[0] ? p->on : "1", &w->day))
        return refuse(err, "%s: on \"%s\" is no day of a month; write 1 to 31, or last", p->name, p->on);
    return 0;
}

static int plan_check(struct profile_plan *p, const char *what, struct buf *err)
{
    struct schedule w = {.every_s = p->every_s};
    int r;

    if (!p->every_s && !p->occurrence)
        return refuse(err, "%s%s%s: neither every nor occurrence is said; write every = \"1h\"", what,
                      p->name[0] ? " " : "", p->name);
    name_default(p);
    if (p->every_s && p->occurrence)
        return refuse(err, "%s: every and occurrence contradict each other; leave one of them out", p->name);
    if (p->every_s && (p->at[0] || p->on[0]))
        return refuse(err,
                      "%s: every and %s contradict each other; leave one of them out, or say an occurrence",
                      p->name, p->at[0] ? "at" : "on");
    if (profile_name_check(p->name) < 0)
        return refuse(err, "%s: name \"%s\" is not allowed; letters, digits, . _ -, a letter or digit first",
                      what, p->name);
    snprintf(w.name, sizeof(w.name), "%s", p->name);
    w.occurrence = OCCUR_EVERY;
    r = p->every_s ? 0 : calendar_of(p, &w, err);
    if (r == 0)
        r = start_of(p, &w.start_s, err);
    if (r == 0)
        p->when = w;
    return r;
}

static int plans_check(struct profile_plan *v, size_t n, const char *what, struct buf *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++) {
        r = plan_check(&v[i], what, err);
        for (size_t k = 0; r == 0 && k < i; k++)
            if (strcmp(v[i].name, v[k].name) == 0)
                r = refuse(err, "%s: two are called \"%s\"; give one of them another name", what, v[i].name);
    }
    return r;
}

/* --- contradictions ------------------------------------------------------------------------------------------------- */

static int snapshots_check(const struct profile *p, struct buf *err)
{
    for (size_t i = 0; i < p->nsnapshots; i++) {
        const struct profile_plan *s = &p->snapshots[i];

        if (!s->keep && !s->keep_for_s && !retain_all_set(&p->retention))
            return refuse(err,
                          "%s: snapshots are taken, and neither keep, keep_for nor retention says how many "
                          "stay; add keep = 24",
                          s->name);
        if (s->keep_for_s && s->keep_for_s < schedule_period(&s->when))
            return refuse(
                err, "%s: keep_for is less than the time from one snapshot to the next (%s); make it longer",
                s->name, s->every_s ? "every" : "occurrence");
    }
    if (p->nsnapshots == 0 && retain_all_set(&p->retention))
        return refuse(
            err, "retention and snapshots: what may stay is said, but no snapshots are taken; add snapshots");
    return 0;
}

static int backups_check(const struct profile *p, struct buf *err)
{
    for (size_t i = 0; i < p->nbackups; i++)
        if (!p->backups[i].to[0])
            return refuse(err, "%s: backups are made, but to says no repository; add to = \"NAME\"",
                          p->backups[i].name);
    return 0;
}

/* The shortest of the periods; 0: there are none. */
static int64_t shortest(const struct profile_plan *v, size_t n)
{
    int64_t least = 0;

    for (size_t i = 0; i < n; i++)
        if (!least || schedule_period(&v[i].when) < least)
            least = schedule_period(&v[i].when);
    return least;
}

static int protection_check(const struct profile *p, struct buf *err)
{
    bool backed = p->nbackups > 0;
    int64_t least = backed ? shortest(p->backups, p->nbackups) : shortest(p->snapshots, p->nsnapshots);
    char a[24], b[24];

    conf_span_print(p->protection.rpo_s, a);
    conf_span_print(least, b);
    if (p->protection.rpo_s && !least)
        return refuse(err,
                      "protection.rpo and backups: %s is asked for, but neither backups nor snapshots are "
                      "made; add backups",
                      a);
    if (p->protection.rpo_s && least > p->protection.rpo_s)
        return refuse(err,
                      "protection.rpo and %s contradict each other: %s is asked for, but they come every %s",
                      backed ? "backups" : "snapshots", a, b);
    if (p->protection.update_mode == 4 && p->protection.period_s)
        return refuse(err, "protection.update_mode Synchronous and protection.period contradict each other; "
                           "leave one of them out");
    return 0;
}

static int provisioning_check(const struct profile *p, struct buf *err)
{
    if (p->storage_type && p->storage_type != 2)
        return refuse(err, "storage_type and varve: a volume is one of files; write storage_type = \"file\", "
                           "or leave it out");
    if (p->provisioning.policy == 1 && !p->provisioning.size_bytes)
        return refuse(
            err, "provisioning.policy Fixed and provisioning.size: a fixed volume needs a size; add one");
    if (p->provisioning.max_iops && p->provisioning.min_iops > p->provisioning.max_iops)
        return refuse(err, "provisioning.min_iops and provisioning.max_iops contradict each other: the least "
                           "is more than the most");
    if (p->provisioning.max_bws && p->provisioning.min_bws > p->provisioning.max_bws)
        return refuse(err, "provisioning.min_bws and provisioning.max_bws contradict each other: the least "
                           "is more than the most");
    return 0;
}

static int tiering_check(const struct profile *p, struct buf *err)
{
    bool wants = p->tiering.policy > 1 || p->tiering.after_s || p->tiering.high_water;

    if (!p->tiering.high_water != !p->tiering.low_water)
        return refuse(err, "tiering.high_water and tiering.low_water go together; add the other one");
    if (p->tiering.high_water && p->tiering.low_water >= p->tiering.high_water)
        return refuse(err, "tiering.low_water and tiering.high_water contradict each other: the low one is "
                           "not below the high one");
    if (p->tiering.max_size && p->tiering.max_size < p->tiering.min_size)
        return refuse(err, "tiering.min_size and tiering.max_size contradict each other: no file is that "
                           "large and that small");
    if (p->tiering.policy == 3 && !p->tiering.after_s && !p->tiering.high_water)
        return refuse(err, "tiering.policy auto and tiering.after: nothing says when a file is old; add "
                           "after, or high_water and low_water");
    if ((p->tiering.policy == 2 || p->tiering.policy == 4) && p->tiering.by)
        return refuse(err,
                      "tiering.policy %s and tiering.by contradict each other: no file's age counts; "
                      "leave one of them out",
                      p->tiering.policy == 2 ? "snapshot-only" : "all");
    if (p->tiering.policy == 1 && (p->tiering.after_s || p->tiering.high_water))
        return refuse(err, "tiering.policy none and tiering.%s contradict each other; leave one of them out",
                      p->tiering.after_s ? "after" : "high_water");
    if (wants && !p->tiering.to[0] && p->nbackups == 0)
        return refuse(
            err, "tiering and tiering.to: bytes are to leave, but nothing says where to; add to, or backups");
    return 0;
}

static int lifecycle_check(const struct profile *p, struct buf *err)
{
    if (p->lifecycle.transition_after_s && p->lifecycle.expire_after_s &&
        p->lifecycle.expire_after_s <= p->lifecycle.transition_after_s)
        return refuse(err, "lifecycle.transition_after and lifecycle.expire_after contradict each other: it "
                           "is gone before it moves");
    if (p->lifecycle.expire_after_s && p->protection.min_lifetime_s > p->lifecycle.expire_after_s)
        return refuse(err, "protection.min_lifetime and lifecycle.expire_after contradict each other: it is "
                           "gone before it may");
    if (p->lifecycle.transition_after_s && !p->lifecycle.storage_class[0] && !p->lifecycle.tier)
        return refuse(
            err,
            "lifecycle.transition_after and lifecycle.storage_class: nothing says where to; add the class");
    return 0;
}

int profile_check(struct profile *p, struct buf *err)
{
    int r = plans_check(p->snapshots, p->nsnapshots, "snapshots", err);

    if (p->name[0] && profile_name_check(p->name) < 0)
        return refuse(err, "name \"%s\" is not allowed; letters, digits, . _ -, a letter or digit first",
                      p->name);
    if (r == 0)
        r = plans_check(p->backups, p->nbackups, "backups", err);
    if (r == 0)
        r = snapshots_check(p, err);
    if (r == 0)
        r = backups_check(p, err);
    if (r == 0)
        r = provisioning_check(p, err);
    if (r == 0)
        r = protection_check(p, err);
    if (r == 0)
        r = tiering_check(p, err);
    return r < 0 ? r : lifecycle_check(p, err);
}
