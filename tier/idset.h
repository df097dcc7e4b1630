/* tier/idset: a set of identifiers in memory, with a number for each. One owner; the zero state is empty. */
#ifndef VARVE_TIER_IDSET_H
#define VARVE_TIER_IDSET_H

#include "tier/format.h"

struct idset {
    struct idslot {
        struct id16 id;
        uint64_t num;
        bool set;
    } * v;
    size_t n, cap;
};
void idset_free(struct idset *s);
uint64_t *idset_get(const struct idset *s, const struct id16 *id); /* NULL: it is not in it */
int idset_put(struct idset *s, const struct id16 *id,
              uint64_t **ret_num); /* a new one has 0; ret_num may be NULL */

#endif
