/* tier/thaw: what a restore needs of archives is asked for, all of it at once, and waited for. One thread. */
#ifndef VARVE_TIER_THAW_H
#define VARVE_TIER_THAW_H

#include "tier/point.h"

struct thaw_opts {
    char *const *paths; /* as of a restore; none: everything */
    size_t npaths;
    void *arg;
    /* asked now and then, also while nothing comes; negative ends it with that value: what was asked for comes all the same */
    int (*progress)(void *arg, uint64_t ready, uint64_t of);
};
struct thaw_result {
    uint64_t packs, asked; /* that are needed; of these, in an archive when it began */
};

/* thaw_run: 0 when all can be read. err: the sentence. */
int thaw_run(struct repo *r, const struct point *p, const struct thaw_opts *o, struct thaw_result *ret,
             struct buf *err);

#endif
