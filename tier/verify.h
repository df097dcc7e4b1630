/* tier/verify: is what the recovery points need there, and is it right? */
#ifndef VARVE_TIER_VERIFY_H
#define VARVE_TIER_VERIFY_H

#include "tier/point.h"

struct verify_opts {
    bool full; /* read every byte of every pack; else structure: every object is there, metadata is read */
    bool
        condemn; /* packs whose bytes are wrong are condemned: no backup relies on them any more (docs/repository-format.md, Deleting) */
    double share; /* above 0: as full, but of this share of the packs only, drawn at random */
    void *arg;
    int (*progress)(void *arg, uint64_t items, uint64_t bytes); /* objects and bytes read; negative ends it */
    void (*found)(void *arg, const char *line);                 /* one damage, a sentence */
};
struct verify_result {
    uint64_t packs, chunks, points, bytes; /* looked at */
    uint64_t sampled;                      /* of the packs, those that were read */
    uint64_t pins;
    uint64_t shredded, /* chunks that were read, of domains that were shredded */
        archived; /* of the packs that were to be read, those that lie in an archive: no damage, but not proved */
    uint64_t unnamed;       /* packs that no index names: left by interrupted writers, no damage */
    uint64_t damages, hurt; /* lines; of these, files of recovery points */
    uint64_t condemned;     /* packs that are now, and were not */
};

/* verify_run: r was opened with an empty cache of its own, so that nothing is believed that the repository does not say. */
int verify_run(struct repo *r, const struct verify_opts *o, struct verify_result *ret);

#endif
