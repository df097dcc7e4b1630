/* tests/tier/world: an open repository on a backend in memory, made by a key file's hash, which costs nothing. */
#ifndef VARVE_TESTS_TIER_WORLD_H
#define VARVE_TESTS_TIER_WORLD_H

#include "tests/tier/mem.h"
#include "tier/repo.h"

struct world {
    struct mem *m;
    struct secret s;
    struct repo *r;
    char cache[300];
};

void world_open(struct world *w); /* makes the repository */
void world_other(struct world *o,
                 const char *name); /* another repository, of another key; name: of its cache */
void world_close(struct world *w);
void world_repo(struct world *w);             /* opens it again: the cache stays */
void world_forget(struct world *w);           /* and with an empty cache */
int world_try(struct world *w, struct buf *); /* opens it where that may fail */

#endif
