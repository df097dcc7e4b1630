/* tier/mark: what is needed: all chunks that some recovery point or pin refers to. */
#ifndef VARVE_TIER_MARK_H
#define VARVE_TIER_MARK_H

#include "tier/idset.h"
#include "tier/point.h"

struct mark {
    struct idset chunks; /* that are needed; their numbers are the caller's, 0 at first */
    struct buf points;   /* struct sha each: of whom that is true */
    uint64_t pages;
};
void mark_release(struct mark *m);

/* mark_run: after repo_sync(). progress (may be NULL) after each recovery point; negative ends it. A recovery point, a page that cannot
 * be read, or a pin: -E_CORRUPT, -E_REPO_NEWER with a sentence; nothing may be deleted then. */
int mark_run(struct repo *r, int (*progress)(void *arg, uint64_t points, uint64_t chunks), void *arg,
             struct mark *ret, struct buf *err);

#endif
