/* tier/sweep: which files a policy lets go now, at a cost that follows from what changed and what became old, not from what there is
 * (docs/decisions/0015-tiering-policy.md). One thread. */
#ifndef VARVE_TIER_SWEEP_H
#define VARVE_TIER_SWEEP_H

#include "snap/idle.h"
#include "tier/policy.h"

struct sweep;

/* sweep_begin: of what snapshot rec shows. full: room is wanted: all, those that nobody asked for longest first. policy: its id (tier_policy_id);
 * 0: nothing is remembered: it looks at everything. p and rec must stay. */
int sweep_begin(struct vol *v, const struct layer_rec *rec, const struct tier_policy *p, uint64_t policy,
                bool full, int64_t now_s, struct sweep **ret);

/* sweep_next: 1: *ret is an inode to be released; 0: there are no more. Fit for struct release_opts; arg: the sweep. */
int sweep_next(void *arg, uint64_t *ret);

struct sweep_counts {
    uint64_t looked; /* keys of the index and of the queue, and files */
    uint64_t given;
};
void sweep_get_counts(const struct sweep *sw, struct sweep_counts *ret);

/* sweep_replaced: what only snapshots up to this layer need was looked at by a run before; sweep_set_replaced: by this one. */
uint32_t sweep_replaced(const struct sweep *sw);
void sweep_set_replaced(struct sweep *sw, uint32_t layer);

/* sweep_end: frees it. done: what it gave was released: remember how far it came. */
int sweep_end(struct sweep *sw, bool done);

#endif
