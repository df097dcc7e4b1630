/* tests/fuzz/world: a small store with one of everything, on a disk in memory (tests/lib/lying.h), made once; each input gets a disk
 * that shares with it what it does not change. */
#ifndef VARVE_TESTS_FUZZ_WORLD_H
#define VARVE_TESTS_FUZZ_WORLD_H

#include "fs/verb.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/lying.h"

/* Volumes `main` (a small file, a large one with a hole, a directory, a symlink, attributes, links; snapshots s1 and s2 with
 * changes between) and `copy`, a clone of main@s1. */
struct world {
    struct lying *disk;
    struct io *io;
    char path[400];
    struct verb_env env;
    struct vol *v; /* main */
};

/* world_copy: the untouched store, closed; gone with world_end. */
void world_copy(struct world *w);
/* world_open: opens what is there, without background threads, with rooms attached. The error of store_open. */
int world_open(struct world *w);
void world_begin(struct world *w); /* both; must go well */
void world_end(struct world *w);   /* closes what is open */

/* world_look: reads all that can be seen of the store, in views too; errors of single files are no matter. */
void world_look(struct world *w);
/* world_use: one of each kind of change in main; errors are no matter. */
void world_use(struct world *w);

#endif
