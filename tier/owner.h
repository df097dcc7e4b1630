/* tier/owner: whose a thing is that several stores may have, one after the other (docs/repository-format.md, Owners): owners/NAME/EPOCH, put
 * where there is none: an epoch has one owner for ever, the highest epoch's has it now. Threads: as struct repo. */
#ifndef VARVE_TIER_OWNER_H
#define VARVE_TIER_OWNER_H

#include "base/uuid.h"
#include "tier/repo.h"

struct owner {
    uint64_t epoch; /* 0: nobody's yet */
    struct uuid store;
};
int owner_name_check(const char *name); /* -E_NAME */
/* owner_newest: -E_CORRUPT, what backends give. owner_take: -E_EXIST: another store has this epoch; again by the same store: 0. epoch is at
 * least 1. */
int owner_newest(struct repo *r, const char *name, struct owner *ret);
int owner_take(struct repo *r, const char *name, const struct owner *o);

#endif
