/* snap/space: what snapshots hold, in blocks, counted from the index of changes: cost = what changed around them. Private to
 * the room; inside the caller's transaction. Bytes of small files count as the blocks that they would take. */
#ifndef VARVE_SNAP_SPACE_H
#define VARVE_SNAP_SPACE_H

#include "snap/snapshot.h"

struct space_unique {
    uint64_t blocks; /* only this snapshot shows them */
    uint64_t freed;  /* of these, those in objects that nothing else shares */
};
int space_unique(struct txn *t, const struct layer_rec *rec, struct space_unique *ret);

/* space_held: blocks that the volume's snapshots show and its live tree does not. */
int space_held(struct txn *t, struct vol *v, uint64_t *ret_blocks);

/* space_limit_check: -E_SNAP_LIMIT when the volume's snapshots hold as much as they may. */
int space_limit_check(struct txn *t, struct vol *v);

#endif
