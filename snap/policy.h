/* snap/policy: the profile of a volume, and what became of its schedules, in the store's tables: so that a takeover, a restart or another
 * machine goes on where this one was. A store has one text of a profile's name; volumes share it. Threads: any. */
#ifndef VARVE_SNAP_POLICY_H
#define VARVE_SNAP_POLICY_H

#include "conf/lifecycle.h"
#include "snap/volume.h"

#define POLICY_TEXT_MAX 16384u /* bytes of a profile in a store */
#define POLICY_RESULT_MAX 159

/* policy_set: the volume has this profile from now on; the store's text of its name becomes this one, for all volumes that have it.
 * limits: those that the profile says become the volume's. Schedules that it had by the same name go on, others begin now. p NULL: none any more.
 * One record of the journal. ret_others (may be NULL): how many other volumes share it. -E_TOOBIG, -E_NOENT (deleted). */
int policy_set(struct vol *v, const struct profile *p, bool limits, uint32_t *ret_others);

/* policy_get: -E_NODATA: it has none. -E_CORRUPT with a sentence in err (may be NULL). */
int policy_get(struct vol *v, struct profile **ret, struct buf *err);

/* policy_each: profiles of the store by number: how many volumes have each. */
int policy_each(struct store *s, int (*cb)(void *arg, uint32_t id, const char *name, uint32_t volumes),
                void *arg);

enum policy_kind {
    POLICY_SNAPSHOT = 1,
    POLICY_BACKUP = 2,
    POLICY_LAST = 3,
    POLICY_TIER = 4,
    POLICY_EXPIRE = 5,
    POLICY_MOVE = 6
};                                           /* numbers are format */
const char *policy_kind_name(uint32_t kind); /* "snapshot"; "?" */

/* What became of one schedule. POLICY_LAST has the name "": ok_s is when the last good backup's snapshot was taken, whoever asked. POLICY_TIER: one a
 * volume, by the name POLICY_TIER_NAME. POLICY_EXPIRE, POLICY_MOVE: one a repository, by the name of its lifecycle_place. */
#define POLICY_TIER_NAME "tiering"
struct policy_run {
    uint32_t kind;
    char name[SCHEDULE_NAME_MAX + 1];
    struct schedule_state state;
    int64_t ok_s;                       /* when it last went well; 0 never */
    int64_t ended_s;                    /* when it last ended, by the clock */
    uint64_t job;                       /* of a backup that goes on; 0 none */
    int64_t due_s;                      /* which due time that is of */
    char result[POLICY_RESULT_MAX + 1]; /* "" none yet; "ok", or a sentence */
};
#define POLICY_RUNS_MAX (2 * PROFILE_PLANS_MAX + 2 + LIFECYCLE__N * LIFECYCLE_PLACES_MAX)
struct policy_runs {
    struct policy_run v[POLICY_RUNS_MAX];
    size_t n;
};
int policy_runs_get(struct vol *v, struct policy_runs *ret); /* none: 0 of them */
struct policy_run *policy_run_find(struct policy_runs *r, enum policy_kind kind, const char *name); /* NULL */
/* policy_run_put: this one anew, the others as they are. */
int policy_run_put(struct vol *v, const struct policy_run *run);
/* policy_backed_up: a backup of a snapshot taken then went well. Older than what is known: nothing changes. */
int policy_backed_up(struct vol *v, int64_t taken_s);

/* Values of TAB_PROFILE and TAB_SCHEDULE. -E_CORRUPT. text points into p. */
int policy_profile_decode(const void *p, size_t len, char name[PROFILE_NAME_MAX + 1], const char **ret_text,
                          size_t *ret_len);
int policy_runs_encode(const struct policy_runs *r, struct buf *out);
int policy_runs_decode(const void *p, size_t len, struct policy_runs *ret);

/* policy_forget: in the transaction that removes a volume's last records. */
int policy_forget(struct txn *t, uint32_t vol);

#endif
