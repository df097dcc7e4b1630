/* conf/lifecycle: what a profile says of recovery points that are there already, as schedules: when they are looked at, in which
 * repositories. Pure. */
#ifndef VARVE_CONF_LIFECYCLE_H
#define VARVE_CONF_LIFECYCLE_H

#include "conf/profile.h"

enum lifecycle_what { LIFECYCLE_EXPIRE, LIFECYCLE_MOVE, LIFECYCLE__N };

/* A repository that a volume's recovery points are in: where a schedule's backups go, or what tiering is released to. */
#define LIFECYCLE_PLACES_MAX (PROFILE_PLANS_MAX + 1)
#define LIFECYCLE_TIERING "(tiering)" /* no schedule is called so */
struct lifecycle_place {
    const char *name, *to; /* the first schedule that goes there; both of the profile */
};
size_t lifecycle_places(const struct profile *p, struct lifecycle_place ret[LIFECYCLE_PLACES_MAX]);

/* lifecycle_schedule: every 16th of the age that is asked for, at least a minute, at most a day apart. false: the profile does not ask
 * for it. lifecycle_after: that age, in seconds. */
bool lifecycle_schedule(const struct profile *p, enum lifecycle_what what, struct schedule *ret);
int64_t lifecycle_after(const struct profile *p, enum lifecycle_what what);

/* lifecycle_before: recovery points taken before, and objects put before, are old enough. Of two clocks that do not agree the earlier one is
 * believed, so that one that is ahead ends nothing before its time. In nanoseconds since 1970 UTC. */
int64_t lifecycle_before(int64_t after_s, int64_t here_ns, int64_t there_ns);

#endif
