/* conf/retain: which of the snapshots that schedules took are not needed any more. A pure function. All rules count snapshots, none
 * compares with the clock: a clock that jumps, or a month switched off, takes none away. */
#ifndef VARVE_CONF_RETAIN_H
#define VARVE_CONF_RETAIN_H

#include "conf/schedule.h"

/* Of one schedule. A snapshot stays while any rule wants it. for_s: as many as the schedule makes in this time, and all that are
 * younger than the newest one by less. Both 0: only what retain_all says keeps its snapshots. */
struct retain_own {
    uint32_t keep;
    int64_t for_s;
};

/* Of all of a volume: the newest snapshot of each of so many hours, days, weeks (from Monday), months, years that have one, by local
 * time; hours by UTC. newest: of all. */
struct retain_all {
    uint32_t newest, hourly, daily, weekly, monthly, yearly;
};
static inline bool retain_all_set(const struct retain_all *a)
{
    return a->newest || a->hourly || a->daily || a->weekly || a->monthly || a->yearly;
}

/* One that a schedule took. schedule: index into the schedules; -1: of one that is not there any more. bound: held, cloned, the base of
 * a next backup: it stays, and counts. */
struct retain_snap {
    int64_t due_s;
    int64_t order_s; /* the caller's: what they are sorted by */
    int schedule;
    bool bound;
    bool drop;  /* ret */
    size_t tag; /* the caller's */
};

/* retain_decide: v in the order that they were taken: by ascending due_s, but for those of a clock that was ahead. Sets drop of those
 * that may go; the count of them. Those of schedules that are gone stay unless `all` is set. The newest one of all never goes. */
size_t retain_decide(const struct schedule *s, const struct retain_own *own, size_t ns,
                     const struct retain_all *all, const struct zone *z, struct retain_snap *v, size_t n);

#endif
