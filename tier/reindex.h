/* tier/reindex: indexes made anew from the packs, which say themselves what they hold. */
#ifndef VARVE_TIER_REINDEX_H
#define VARVE_TIER_REINDEX_H

#include "tier/repo.h"

struct reindex_result {
    uint64_t damaged;    /* indexes that could not be read, and are gone now */
    uint64_t packs;      /* that no index named, and one does now */
    uint64_t unreadable; /* packs whose own word is damaged: what they hold stays unknown */
};

/* reindex_run: progress (may be NULL): packs read, of how many; negative ends it. An interrupted one is no harm. */
int reindex_run(struct repo *r, int (*progress)(void *arg, uint64_t done, uint64_t of), void *arg,
                struct reindex_result *ret);

#endif
