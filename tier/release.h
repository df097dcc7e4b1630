/* tier/release: what a recovery point has of a volume need not lie here as well. The objects of the snapshot that it was made from are
 * frozen; ranges of them are noted to be in the repository (snap/store/cold.h), and their blocks on the disk are freed. Names, sizes and
 * times stay; whoever reads gets the bytes fetched. What was written since the snapshot is not touched. One thread. */
#ifndef VARVE_TIER_RELEASE_H
#define VARVE_TIER_RELEASE_H

#include "snap/snapshot.h"
#include "tier/point.h"

struct release_opts {
    char *const *paths; /* in the volume; none: everything */
    size_t npaths;
    uint64_t least_bytes; /* smaller files stay */
    int64_t before_ns;    /* files that were changed later stay; 0: none */
    uint64_t most_bytes;  /* it ends when so much was released; 0: no bound */
    /* In place of paths: which files, by inode, one after the other; 1: *ret is one; 0: there are no more. */
    int (*next)(void *arg, uint64_t *ret);
    /* In place of all: only what another state of the volume does not have in the same place, and which no file shares: what this state has and
     * that one has not is needed by snapshots alone. */
    const struct vt_at *replaced_by;
    uint32_t
        source; /* that ranges name; what it says, and the pin that keeps the recovery point, are there already */
    void *arg;
    int (*progress)(void *arg, uint64_t items, uint64_t bytes); /* so far; negative ends it with that value */
};
struct release_result {
    uint64_t files, bytes; /* of which something was released, and how much */
    uint64_t stay;         /* files that were not asked for, or lie in the tables */
    uint64_t had;          /* bytes that were released before */
    uint64_t unproved;     /* bytes that the repository should have and has not: they stay */
    uint64_t pinned; /* bytes of files that are pinned, or that share them with one that is (snap/tier.h) */
};

/* release_run: rec: the snapshot that p was made from (-E_INVAL: it is not); it is durable and held. Nothing is released whose pack is
 * not there, in its whole length. Durable when it returns; what was released before an error stays so. err: the sentence. */
int release_run(struct repo *r, const struct point *p, struct vol *v, const struct layer_rec *rec,
                const struct release_opts *o, struct release_result *ret, struct buf *err);

#endif
