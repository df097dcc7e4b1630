/* tier/condemned: lists of packs that will be deleted (docs/repository-format.md, Deleting). A list says, too, from which recovery
 * points it was made: nothing that these need is in it. Threads: as struct repo. */
#ifndef VARVE_TIER_CONDEMNED_H
#define VARVE_TIER_CONDEMNED_H

#include "tier/idset.h"
#include "tier/point.h"

/* The shortest time between a list and the deletion of what is in it, by the backend's clock. A writer that has read the lists has
 * half of it to put what it makes. */
#define CONDEMNED_GRACE_NS (3600 * (int64_t)1000000000)

struct condemned {
    struct idset packs; /* halves of their names, of all lists */
    struct buf lists;   /* struct sha each, as listed */
    bool base_kept;     /* no list has a pack that base needs; true where there is no base */
};
void condemned_release(struct condemned *c);

/* condemned_read: all lists. base may be NULL. -E_CORRUPT: a list is damaged: nothing may be written until it is gone. */
int condemned_read(struct repo *r, const struct point *base, struct condemned *ret);

/* condemned_check: can the list of this name be read? -E_CORRUPT, -E_KEY: it is damaged; -E_NOENT: it is gone; -E_REPO_NEWER. */
int condemned_check(struct repo *r, const char *name);

/* condemned_mend: removes damaged lists, with the lease of a prune, so that nobody is carrying one out: what they condemned is as it was
 * before. *ret_gone: how many. -E_BUSY with a sentence: a prune is at work. */
int condemned_mend(struct repo *r, uint64_t *ret_gone, struct buf *err);

/* condemned_lasts: 1: the list of this name was made with no recovery point in sight: what is in it is damaged; 0; -E_NOENT. */
int condemned_lasts(struct repo *r, const char *name);

/* condemned_put: packs and points: struct sha each. In as many lists as it takes. */
int condemned_put(struct repo *r, const struct buf *packs, const struct buf *points);

/* condemned_each: cb gets the list's name in the backend, what the backend says of it, and its packs (struct sha each); non-zero
 * ends it with that value. */
int condemned_each(struct repo *r,
                   int (*cb)(void *arg, const char *name, const struct backend_stat *st,
                             const struct buf *packs),
                   void *arg);

#endif
