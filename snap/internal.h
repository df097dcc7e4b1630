/* snap/internal: what the files of this room share with each other and with nobody else. */
#ifndef VARVE_SNAP_INTERNAL_H
#define VARVE_SNAP_INTERNAL_H

#include "snap/layer.h"
#include "snap/state.h"

/* snapshot.c */
int snap_name_by_time(struct txn *t, uint32_t vol, const char *prefix, char out[NAME_LEN_MAX + 1]);
void snap_sealed(struct vol *v, const struct layer_rec *rec);
int snap_take(struct vol *v, const struct vfs_ctx *c, const char *name, struct layer_rec *ret); /* any name */
int snap_drop_internal(struct vol *v, uint32_t layer); /* one that was taken for a clone */

/* settle.c. snap_settled: everything pending in layers of vol up to this one is firm: its snapshots are durable, those of a group
 * together with the other volumes'. */
int snap_settled(struct store *s, uint32_t vol, uint32_t layer);

/* volume.c. volume_fill: what a new volume's record says; volume_bare: its records, without name and tree; fills id and head. */
void volume_fill(struct volume_rec *vr, const char *name, const struct volume_opts *o);
int volume_bare(struct txn *t, struct volume_rec *vr, uint64_t inodes, struct vol **ret);
int volume_name_put(struct txn *t, const char *name, uint32_t vol);
int volume_purge_due(struct store *s);

/* clone.c. branch_from: where a branch for snapshot rec begins: in the nearest branch that has records of its own up to there;
 * and its depth. -E_DEPTH: then branch_flatten(ret->parent) helps. */
#define BRANCH_DEPTH_MAX 16u
#define BRANCH_DEPTH_FLAT 4u
int branch_from(struct txn *t, const struct layer_rec *rec, struct branch_rec *ret);
int branch_flatten(struct store *s, uint32_t branch);

/* view.c */
int view_number(struct volume_rec *vr, uint32_t *ret); /* a fresh one, counted in vr. -E_VIEWS */
int view_keep_live(struct txn *t, struct vol *v, const struct layer_rec *rec);
/* views_thin: forgets views of a layer, or of a volume (branch 0), some at a time: who looks into `.snapshots` of every directory makes
 * more than one record holds. What came meanwhile has numbers from *ret_from on, and goes with the caller's record. */
int views_thin(struct vol *v, uint32_t branch, uint32_t layer, uint32_t *ret_from);
int views_forget_layer(struct txn *t, uint32_t vol, uint32_t branch, uint32_t layer, uint32_t from);
int views_forget_volume(struct txn *t, uint32_t vol);
int views_load(struct store *s);

/* What the queue does: 0 done, 1 more to do, negative: kept. */
int reclaim_layer(struct store *s, const struct reclaim_rec *rec);
int reclaim_branch(struct store *s, const struct reclaim_rec *rec);
int reclaim_flatten(struct store *s, const struct reclaim_rec *rec);
int volume_reclaim_begin(struct vol *v);

#endif
