/* tier/point_diff: what changed between two recovery points of one repository, told as snap/diff tells it of snapshots. Pages of the
 * trees that both have are not read, and no bytes of files: it costs what changed, and the maps of the files that did. One thread. */
#ifndef VARVE_TIER_POINT_DIFF_H
#define VARVE_TIER_POINT_DIFF_H

#include "snap/diff.h"
#include "tier/point.h"

/* point_diff: from a to b, entries sorted by path; cb non-zero ends it with that value. below: only what is at this path or below it, in
 * a or in b; "" all. Ranges are those of the blobs that differ, to the block; of a changed file with several names one is told, and
 * those that came. -E_UNRELATED: of volumes that have nothing in common; -E_NOENT: below is in neither; -E_CORRUPT. */
int point_diff(struct repo *r, const struct point *a, const struct point *b, const char *below,
               int (*cb)(void *arg, const struct diff_entry *e), void *arg);

#endif
