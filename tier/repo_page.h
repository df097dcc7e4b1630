/* tier/repo_page: pages of metadata, proved by their names once and kept for a while: each look at a record goes through all pages above it.
 * Threads: as of the repo. */
#ifndef VARVE_TIER_REPO_PAGE_H
#define VARVE_TIER_REPO_PAGE_H

#include "tier/repo.h"

struct repo_page {
    struct slice at;
    struct buf plain;
    uint64_t used;
    unsigned refs; /* of those who read it, and one of the repo while it is kept */
};

/* repo_page_get: the page stays as it is until repo_page_put(), whatever is read meanwhile. -E_CORRUPT: it is not what its name says, or
 * too large for a page; as repo_chunk(). */
int repo_page_get(struct repo *r, const struct slice *s, struct repo_page **ret);
void repo_page_put(struct repo_page **p); /* *NULL is allowed; fit for cleanup() */
bool repo_page_kept(const struct repo *r, const struct slice *s);
void repo_pages_drop(struct repo *r); /* those that are kept go */

#endif
