/* snap/store/object: objects in data/, their references, and the freeing of records that hold them.
 *
 * References are kept by vt_put, vt_del and vt_free_history themselves: a record that enters counts each object it names,
 * one that leaves uncounts it; moving from live to history changes nothing. When nothing names an object any more its
 * unlinking is queued. So no caller counts. Blocks that died inside a living object are queued for punching by the functions
 * below and by file.c, unless the object is SHARED: then the object is queued to be sifted (sift.h). */
#ifndef VARVE_SNAP_STORE_OBJECT_H
#define VARVE_SNAP_STORE_OBJECT_H

#include "snap/store/inode.h"
#include "snap/store/span.h"
#include "snap/store/vol.h"

int object_get(struct txn *t, uint64_t object, struct object_rec *ret); /* -E_NOENT */
int object_mark_shared(struct txn *t, uint64_t object); /* firm; no record when it is marked already */
int object_ref_count(struct txn *t, enum keep keep, uint64_t object,
                     uint64_t *ret); /* the sum over all (branch, ino) */

#define OBJECT_DIR_SHIFT 12 /* so many bits of a number tell files of one directory apart */
/* object_path(s, object, out): STORE/data/<hex of object >> 12>/<hex of object>. out: 4096 bytes. */
void object_path(const struct store *s, uint64_t object, char *out);

/* Is there a snapshot (retained layer: settling, durable, hidden, remote) in [from, before) of this branch? */
bool layer_retained(struct store *s, uint32_t branch, uint32_t from, uint32_t before);
/* layers_before: how many of n ascending layers are below `layer`. */
uint32_t layers_before(const uint32_t *layers, uint32_t n, uint32_t layer);
/* The nearest retained layer below / above one; 0 / LAYER_NOW when there is none. */
uint32_t layer_retained_below(struct store *s, uint32_t branch, uint32_t layer);
uint32_t layer_retained_above(struct store *s, uint32_t branch, uint32_t layer);

/* vt_free_history: removes the history record of key that died in `died`, with its references; blocks of it that the next
 * version does not hold and no retained layer in [data_born, died) sees are queued for punching. -E_NOENT: not there.
 * The caller holds the inode's lock and has made the inode firm (file_make_firm_ino), and made sure (retained layers) that
 * nobody sees it. Firm. */
int vt_free_history(struct txn *t, uint32_t branch, uint8_t tab, const void *key, uint32_t died);

/* vt_put_history: a record of history as it would be if it had been written in layer born and changed in died; for copies of
 * inherited records (flattening). Firm. */
int vt_put_history(struct txn *t, uint32_t branch, uint8_t tab, const void *key, uint32_t born, uint32_t died,
                   const void *payload, size_t len);

/* span_uncovered: a span that had no record in layer s_layer (dense) and got one, or was cut, in `layer`: queues the dense
 * base's blocks that only s_layer saw. To be called by the reclaim of a snapshot for TAB_SPAN keys touched in `layer` whose
 * history (died = layer) is absent. Harmless otherwise. */
int span_uncovered(struct txn *t, uint32_t branch, const void *key, uint32_t s_layer, uint32_t layer);

/* Has the inode pending images now? While it has, no firm record of it that names objects may be freed. */
bool file_is_pending(struct txn *t, uint32_t branch, uint64_t ino);

/* file_make_firm_ino: with the inode's lock held exclusive, before a transaction: its pending images become firm (synced). */
int file_make_firm_ino(struct vol *v, uint32_t branch, uint64_t ino);

/* span_get: the map of a span of an inode record as visible at a place: its record, or what the dense base says. */
int span_get(struct txn *t, struct vt_at at, const struct inode *in, uint64_t span, struct span *ret);

/* vt_drop_own: removes a branch's own live record without tombstone or history (branches that die, dropped inodes). */
int vt_drop_own(struct txn *t, uint32_t branch, uint8_t tab, const void *key);

#endif
