/* tier/expire: which recovery points of a repository a rule does not want any more. Pure. */
#ifndef VARVE_TIER_EXPIRE_H
#define VARVE_TIER_EXPIRE_H

#include "conf/retain.h"
#include "tier/point.h"

struct expire_rule {
    struct retain_all keep; /* of each volume */
    int64_t before_ns;      /* those taken later stay; 0: age does not matter */
};
struct expire_item {
    struct uuid volume;
    int64_t taken_ns;
    bool drop;  /* ret */
    size_t tag; /* the caller's */
};

/* expire_decide: sets drop of those that may go; sorts v by volume and time; the count of them, or -E_NOMEM. The newest of a volume
 * never goes. With no keep rule age alone counts. */
int expire_decide(const struct expire_rule *rule, const struct zone *z, struct expire_item *v, size_t n);

#endif
