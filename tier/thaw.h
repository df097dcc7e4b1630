/* tier/thaw: what is needed of archives is asked for, all of it at once, and waited for. One thread. */
#ifndef VARVE_TIER_THAW_H
#define VARVE_TIER_THAW_H

#include "tier/idset.h"
#include "tier/point.h"

/* Packs that are needed; the zero state is none. */
struct thaw_packs {
    struct idset seen;  /* halves of their names */
    struct buf names;   /* PACK_NAME bytes each: those that are not known to be readable */
    uint64_t packs;     /* all of them */
    uint64_t ready, of; /* of those that were in an archive when they were asked for */
};
void thaw_packs_free(struct thaw_packs *w);

/* thaw_packs_add: the one that has a chunk, by what r knows; a chunk that nothing names is left to whoever reads it. */
int thaw_packs_add(struct thaw_packs *w, const struct repo *r, const struct id16 *chunk);

/* thaw_packs_look: those that can be read leave the list. ask: the others are asked for, if nobody has yet. on (may be NULL) after each;
 * negative ends it with that value. After an error it may be called again. */
int thaw_packs_look(struct thaw_packs *w, struct repo *r, bool ask,
                    int (*on)(void *arg, uint64_t ready, uint64_t of), void *arg);

/* thaw_packs_wait: all of them are asked for, and waited for: 0 when each can be read. on: as thaw_opts' progress. */
int thaw_packs_wait(struct thaw_packs *w, struct repo *r, int (*on)(void *arg, uint64_t ready, uint64_t of),
                    void *arg);

struct thaw_opts {
    char *const *paths; /* as of a restore; none: everything */
    size_t npaths;
    const struct tree *but; /* what this tree has as well is not needed; NULL none. Not with paths */
    void *arg;
    /* asked now and then, also while nothing comes; negative ends it with that value: what was asked for comes all the same */
    int (*progress)(void *arg, uint64_t ready, uint64_t of);
};
struct thaw_result {
    uint64_t packs, asked; /* that are needed; of these, in an archive when it began */
};

/* thaw_run: what a recovery point needs. 0 when all of it can be read. err: the sentence. */
int thaw_run(struct repo *r, const struct point *p, const struct thaw_opts *o, struct thaw_result *ret,
             struct buf *err);

#endif
