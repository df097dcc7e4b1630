/* tier/prune: frees what no recovery point needs, in two phases with a grace between them, so that any number of writers may be at work
 * meanwhile (docs/repository-format.md, Deleting; engine rule F17). One call carries out what is due and condemns what it finds. */
#ifndef VARVE_TIER_PRUNE_H
#define VARVE_TIER_PRUNE_H

#include "tier/condemned.h"

#define PRUNE_GRACE_NS (24 * CONDEMNED_GRACE_NS)
#define PRUNE_KEEP_PERCENT 50 /* packs of which less is needed are written anew */

struct prune_opts {
    int64_t grace_ns; /* at least CONDEMNED_GRACE_NS */
    bool exclusive;   /* nobody else writes: what is condemned is deleted at once, without a grace */
    bool dry;         /* only tell */
    void *arg;
    /* what is done, of how much (0: not known); negative ends it with that value */
    int (*progress)(void *arg, const char *what, uint64_t done, uint64_t of);
};
struct prune_result {
    uint64_t points, packs, bytes; /* there before */
    uint64_t needed; /* bytes of packs that are needed, packs that are kept for them not counted */
    uint64_t condemned, condemned_bytes;
    uint64_t moved, moved_bytes; /* packs written anew among these, what was put for it */
    uint64_t archived;           /* packs that would have been, but lie in an archive: they stay whole */
    uint64_t deleted, deleted_bytes, rescued;
    uint64_t young_bytes; /* packs of which nothing is needed, put so lately that a writer may be about to */
    uint64_t shredded;    /* recovery points of domains that were shredded, which were put meanwhile */
    uint64_t forgotten;   /* deleted recovery points that could be had back until now */
    uint64_t refused;     /* objects that the store refuses to delete, */
    uint64_t stuck,
        stuck_bytes; /* packs that are due and stay for it: themselves, or an index that names them; the next one tries again */
    char refused_why[320]; /* of the first of them, its name and what the store says */
    uint64_t waiting;      /* lists that wait for their grace */
    int64_t wait_ns;       /* how long the first of them still does */
};

/* prune_run: err: a sentence. -E_BUSY: another one is at work; -E_CORRUPT, -E_REPO_NEWER: nothing may be deleted, why stands in err. That
 * the backend refuses to delete something is no error: all else is done. After any error, and after a death at any moment, nothing needed is gone; the next call
 * goes on. */
int prune_run(struct repo *r, const struct prune_opts *o, struct prune_result *ret, struct buf *err);

#endif
