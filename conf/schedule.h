/* conf/schedule: when something is due, and whether it is to be done now. Pure functions of (schedule, zone, state, time); seconds since
 * 1970 UTC. Each due time is an instant of its own: an hour that clocks show twice has none twice, one that they leave out none less. */
#ifndef VARVE_CONF_SCHEDULE_H
#define VARVE_CONF_SCHEDULE_H

#include "conf/zone.h"

#define SCHEDULE_NAME_MAX 32
#define SCHEDULE_NEVER INT64_MAX
#define SCHEDULE_LAST_DAY 32 /* of a month */

enum occurrence { OCCUR_NONE, OCCUR_EVERY, OCCUR_HOURLY, OCCUR_DAILY, OCCUR_WEEKLY, OCCUR_MONTHLY };
extern const char *const occurrence_words[]; /* from OCCUR_HOURLY, as "hourly"; NULL at the end */

struct schedule {
    char name[SCHEDULE_NAME_MAX + 1];
    uint32_t occurrence; /* enum occurrence */
    int64_t every_s;     /* OCCUR_EVERY: instants at whole multiples since start_s */
    int32_t at_s;        /* second of the local day; OCCUR_HOURLY: of the hour */
    uint32_t weekdays;   /* OCCUR_WEEKLY: bit 0 Sunday */
    uint32_t day;        /* OCCUR_MONTHLY: 1..31, the last one where a month has less; SCHEDULE_LAST_DAY */
    int64_t start_s;     /* nothing is due before; 0: no bound */
};

/* schedule_prev: the newest due time <= now; -SCHEDULE_NEVER: none. schedule_next: the first one > after; SCHEDULE_NEVER: none. */
int64_t schedule_prev(const struct schedule *s, const struct zone *z, int64_t now_s);
int64_t schedule_next(const struct schedule *s, const struct zone *z, int64_t after_s);
/* schedule_period: the longest time between two due times in a row, clocks going back left out. */
int64_t schedule_period(const struct schedule *s);

/* What is known of a schedule at a volume, kept over restarts. */
struct schedule_state {
    int64_t since_s;   /* when it was given to the volume: what was due before is not its */
    int64_t done_s;    /* newest due time that is done with; 0: none */
    int64_t tried_s;   /* the last try that failed, by the clock; 0: none since */
    uint32_t failures; /* in a row */
};

struct schedule_todo {
    bool run;
    int64_t due_s; /* what is to be done, when run */
    uint32_t
        missed; /* due times before it that were missed: this one run is for them, too (counted to 1,000) */
    int64_t wake_s; /* look again then; SCHEDULE_NEVER */
    int64_t next_s; /* next due time by the calendar; SCHEDULE_NEVER */
    bool
        went_back; /* the clock had been ahead: state.done_s is to become due_s, and since_s no more than that */
};

/* schedule_decide: late runs are caught up with once, for the newest due time; none is done twice, whatever the clock does: where
 * done_s lies further ahead than the next due time (the clock had been wrong), counting begins anew from now. After a failure: again in
 * 1, 2, 4 ... minutes, an hour at most, until the next due time takes its place. */
struct schedule_todo schedule_decide(const struct schedule *s, const struct zone *z,
                                     const struct schedule_state *st, int64_t now_s);

#endif
