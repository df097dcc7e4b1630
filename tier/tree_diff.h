/* tier/tree_diff: what differs between two trees of records. Pages that both have are not read, so it costs what changed. One thread. */
#ifndef VARVE_TIER_TREE_DIFF_H
#define VARVE_TIER_TREE_DIFF_H

#include "tier/tree.h"

/* tree_diff: cb is told of each key that only one has, or that has other values, ascending: was and is, one of them NULL where it is
 * not there; non-zero ends it with that value. Both trees lie in r. -E_CORRUPT. */
int tree_diff(struct repo *r, const struct tree *was, const struct tree *is,
              int (*cb)(void *arg, const struct tree_rec *was, const struct tree_rec *is), void *arg);

#endif
