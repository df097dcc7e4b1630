/* tier/trash: recovery points that were deleted for a set time only. A pin that belongs to no store (tier/pin.h) holds what one needs,
 * so that any program's prune leaves it; its bytes lie under trash/. It is had back as it was, by the same id, until a prune finds the
 * time over, by the backend's clock. Threads: as struct repo. */
#ifndef VARVE_TIER_TRASH_H
#define VARVE_TIER_TRASH_H

#include "tier/pin.h"

/* Is it a pin of a deleted recovery point? p->generation is the set time in nanoseconds then. */
bool trash_is(const struct pin *p);

/* trash_put: the recovery point goes; keep_ns 0: for good. -E_NOENT. trash_back: by its whole id; -E_NOENT: it is not there, or its time
 * was over in this moment. */
int trash_put(struct repo *r, const char *id, int64_t keep_ns);
int trash_back(struct repo *r, const char *id);

/* trash_each: those that can be had back, and until when at least. cb non-zero ends it with that value. */
int trash_each(struct repo *r, int (*cb)(void *arg, const struct point *p, int64_t until_ns), void *arg);
/* trash_empty: those whose time is over are held no more. now_ns: by the backend's clock. del: 0 it is gone; 1 it may not be deleted: its
 * pin, or its bytes, are for the next call. *ret_gone grows. */
int trash_empty(struct repo *r, int64_t now_ns, int (*del)(void *arg, const char *name), void *arg,
                uint64_t *ret_gone);

#endif
