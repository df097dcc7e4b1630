/* snap/schedule: does what the profiles of a store's volumes have due: takes snapshots, lets go of those that are not needed any more, has
 * backups begun. What is done is in the tables, and a snapshot's name says which due time it is of, so that neither a death nor a takeover
 * loses or doubles a run: a snapshot is durable before its run is, and one that is there is not taken again. Threads: one at a time
 * for a store. */
#ifndef VARVE_SNAP_SCHEDULE_H
#define VARVE_SNAP_SCHEDULE_H

#include "snap/policy.h"

#define SCHEDULE_PREFIX "auto-"   /* of snapshots: auto-daily-2026-11-20T02-30-00Z */
#define SCHEDULE_LABEL "schedule" /* the schedule's name; the due time is the label "due" */
#define SCHEDULE_BASE "base."     /* labels that begin so: a next backup goes on from there */

struct schedule_hooks {
    void *arg;
    int (*flush)(void *arg, struct vol *v); /* before a snapshot is taken; may be NULL */
    /* the list of snapshots changed: taken, or gone; may be NULL */
    void (*changed)(void *arg, struct vol *v, const char *name, bool taken);
    /* a run failed, or the clock was wrong: a kind of event and a sentence; may be NULL */
    void (*trouble)(void *arg, struct vol *v, const char *kind, const char *text);
    /* begins the backup of this due time, or finds it under way: its job. NULL: no backups here. err: a sentence */
    int (*backup)(void *arg, struct vol *v, const struct profile_plan *p, int64_t due_s, uint64_t *ret_job,
                  struct buf *err);
    /* tier_period: how often what may be released is to be looked for, in seconds; 0: the profile says nothing of it. tier begins that, if
     * it is due, or there is more in use than the profile allows: its job; 0: nothing is to be done now. NULL: no tiering here. */
    int64_t (*tier_period)(void *arg, const struct profile *p);
    int (*tier)(void *arg, struct vol *v, bool due, uint64_t *ret_job, struct buf *err);
    /* begins what the profile says of what is in a repository already, or finds it under way: its job. NULL: nothing of that here. */
    int (*life)(void *arg, struct vol *v, const struct profile *p, enum lifecycle_what what, const char *to,
                uint64_t *ret_job, struct buf *err);
};
#define SCHEDULE_FULL_S                                                                                      \
    300 /* what is full is worked on again after so long, where the last time was in vain */

/* schedules_tick: seconds until something is due next, at most an hour. Volumes that cannot be written are left out. */
int64_t schedules_tick(struct store *s, const struct zone *z, const struct schedule_hooks *h);

/* schedule_snap_name: PREFIX, the plan's name, the due time. */
void schedule_snap_name(const char *prefix, const char *plan, int64_t due_s, char out[NAME_LEN_MAX + 1]);

#endif
