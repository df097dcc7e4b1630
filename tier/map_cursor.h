/* tier/map_cursor: what a file is made of, extent by extent, its runs laid over each other on the way: however many there are, a few pages
 * of each run are in memory. Threads: as of the repo. */
#ifndef VARVE_TIER_MAP_CURSOR_H
#define VARVE_TIER_MAP_CURSOR_H

#include "tier/map.h"

struct map_source;
struct map_cursor {
    struct map_source *v; /* by age, the newest last */
    size_t n;
    uint64_t at; /* all blocks before are done */
};

/* map_cursor_open: the file's runs from number first_run on, and top (may be NULL; ascending; stays the caller's) over them. m need not be
 * closed after an error. map_cursor_next: 1: *ret, ascending by block; 0: there is no more. -E_CORRUPT: a run is not ascending, or as tree_scan(). */
int map_cursor_open(struct map_cursor *m, struct repo *r, const struct tree *t, uint64_t ino,
                    uint32_t first_run, const struct extents *top);
/* map_cursor_part: the same of these n runs, ascending by number, from the first block of an extent's part that is not before from on. */
int map_cursor_part(struct map_cursor *m, struct repo *r, const struct tree *t, uint64_t ino,
                    const struct map_run *runs, size_t n, uint64_t from, const struct extents *top);
int map_cursor_next(struct map_cursor *m, struct extent *ret);
void map_cursor_close(struct map_cursor *m);

#endif
