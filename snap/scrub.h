/* snap/scrub: reads everything that a store keeps on its disk, while it is in use, at a bounded rate, and proves what has a
 * checksum: pages and records of the tables, records of the journal. Of objects, whose bytes have none, it proves that they can be
 * read to their end. */
#ifndef VARVE_SNAP_SCRUB_H
#define VARVE_SNAP_SCRUB_H

#include "snap/store/store.h"

struct scrub_opts {
    uint64_t bytes_per_s; /* 0: as fast as it goes */
    void *arg;
    int (*progress)(void *arg, uint64_t objects,
                    uint64_t bytes);            /* of all so far; negative ends it with that value */
    void (*found)(void *arg, const char *line); /* one damage, a sentence */
};
struct scrub_result {
    uint64_t bytes, pages, entries, records, objects;
    uint64_t damaged; /* lines that were found */
    bool
        cached; /* the filesystem refuses O_DIRECT: pages were taken out of memory instead, as far as it let go of them */
};

/* scrub_store: Threads: any; takes no lock for long. Damage is no error: it is counted and said. Damaged tables or a damaged
 * journal make the store read-only. */
int scrub_store(struct store *s, const struct scrub_opts *o, struct scrub_result *ret);

#endif
