/* tier/map_i: how the records of a map change. Private to map*.c. */
#ifndef VARVE_TIER_MAP_I_H
#define VARVE_TIER_MAP_I_H

#include "tier/map.h"

#define MAP_RUN_VALUE 8u           /* of a run: its extents */
#define MAP_RUN_ROLLING (8u + 12u) /* then its front */

/* map.c: prefix of a run's extents; one of them. */
struct tree_key run_key(uint64_t ino, uint32_t run);
struct tree_key extent_key(uint64_t ino, uint32_t run, uint64_t block);
int extent_put(struct edits *e, uint64_t ino, uint32_t run, const struct extent *x);

/* map_push.c: one more extent was put: full is asked now and then. */
int map_put_some(const struct map_pushing *p, uint64_t n);
int map_run_put(const struct map_pushing *p, const struct map_run *run, bool rolling);
int map_run_remove(struct edits *e, uint64_t ino, uint32_t run);
/* The runs from this number on become one of it, top over them, as they are read: *ret_n extents. */
int map_runs_put(const struct map_pushing *p, uint32_t run, const struct extents *top, uint64_t *ret_n);

/* map_roll.c: top, sorted, over all that s has; s->rolling. begins: it did not before; nothing was laid over the base yet. */
int map_roll(const struct map_pushing *p, struct map_state *s, const struct extents *top, bool begins);

#endif
