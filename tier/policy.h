/* tier/policy: what is to be released: decisions from what is known of a file and of the room there is. Pure. */
#ifndef VARVE_TIER_POLICY_H
#define VARVE_TIER_POLICY_H

#include "conf/profile.h"

/* replaced: what only snapshots need. cold: that, and files that nobody asked for. all: whatever a backup has. */
enum tier_what { TIER_NOTHING, TIER_REPLACED, TIER_COLD, TIER_ALL };

struct tier_policy {
    enum tier_what what;
    bool by_access;             /* age counts from the last access, else from the last change */
    int64_t after_s;            /* this old; 0: no age is old enough (TIER_COLD) */
    uint64_t least_bytes;       /* smaller files stay */
    uint64_t most_bytes;        /* larger files stay; 0: none do */
    const char *pattern;        /* of paths, several with | between; NULL, "": all */
    uint32_t high_pct, low_pct; /* when more is in use than high, until it is low; 0: no matter */
};

/* tier_policy_of: what a profile says; the pattern is the profile's. false: nothing. tier_policy_to: where to; "": not said. */
bool tier_policy_of(const struct profile *p, struct tier_policy *ret);
const char *tier_policy_to(const struct profile *p);

/* tier_policy_id: another number for another policy, or another repository: what was decided before is not known to hold. */
uint64_t tier_policy_id(const struct tier_policy *p, const char *to);

struct tier_facts {
    bool gone;  /* only snapshots have it */
    bool other; /* no regular file, or its bytes lie in the tables */
    uint64_t size;
    int64_t mtime_s, atime_s;
    int64_t read_s; /* it was read last; 0: not known */
};

/* release: now. young: when due_s has come, if nothing happens to it. stays: as long as it is as it is. */
enum tier_verdict { TIER_RELEASE, TIER_YOUNG, TIER_STAYS };

/* tier_decide: by age, kind and size; path left out. full: room is wanted, whatever the age. Times that lie ahead (a clock was wrong) say
 * nothing; a file of which nothing is known counts as used now. due_s is set with TIER_YOUNG. */
enum tier_verdict tier_decide(const struct tier_policy *p, const struct tier_facts *f, bool full,
                              int64_t now_s, int64_t *ret_due_s);
int64_t tier_idle_since(const struct tier_policy *p, const struct tier_facts *f, int64_t now_s);

/* tier_matches: * and ? match any bytes, / among them; [a-z] as shells have it. A pattern without * at its end that names a directory means
 * all below it, too. */
bool tier_matches(const char *pattern, const char *path);

/* tier_excess: so many bytes are to go; 0: there is room. */
uint64_t tier_excess(const struct tier_policy *p, uint64_t used_bytes, uint64_t total_bytes);

/* tier_grain: how exactly reads need to be known, in seconds; tier_period: how often it is worth looking. */
int64_t tier_grain(const struct tier_policy *p);
int64_t tier_period(const struct tier_policy *p);

#endif
