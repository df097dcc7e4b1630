/* snap/layer: records of sealed layers (snapshots, or layers pinned by a branch) and their names and texts, inside the
 * caller's transaction. What is given back lies in the transaction's arena. */
#ifndef VARVE_SNAP_LAYER_H
#define VARVE_SNAP_LAYER_H

#include "snap/snapshot.h"

#define LAYER_TEXT_MAX 16384u

struct layer {
    struct layer_rec rec;
    const char *text; /* "hold\0TAG\0label\0KEY\0VALUE\0..." */
    size_t text_len;
};

int layer_get(struct txn *t, uint32_t vol, uint32_t layer, struct layer *ret); /* -E_NOENT, -E_CORRUPT */
int layer_put(struct txn *t, const struct layer_rec *rec, const char *text, size_t text_len); /* -E_TOOBIG */
int layer_del(struct txn *t, uint32_t vol, uint32_t layer);

/* layer_each: all of a volume in any state, by ascending number; cb may put and delete the one it is given. */
int layer_each(struct txn *t, uint32_t vol, int (*cb)(void *arg, const struct layer *l), void *arg);
int layer_each_from(struct txn *t, uint32_t vol, uint32_t from, int (*cb)(void *arg, const struct layer *l),
                    void *arg); /* from this number on */

/* Is it shown in the list: has a name that people gave, and is not on its way out. */
bool layer_shown(const struct layer_rec *rec);

/* Names. layer_named: -E_NOENT. */
int layer_named(struct txn *t, uint32_t vol, const char *name, struct layer *ret);
int layer_name_put(struct txn *t, uint32_t vol, const char *name, uint32_t layer);
int layer_name_del(struct txn *t, uint32_t vol, const char *name);

/* layer_find: as snap_find: also @latest, @GMT-..., @RFC3339. */
int layer_find(struct txn *t, uint32_t vol, const char *name, struct layer *ret);

/* layer_doom: its name is gone already; frees it through the queue, or hides it while branches start there. */
int layer_doom(struct txn *t, struct layer *l);

/* layer_children: a branch begins at (vol of branch, layer): +1, or ended: -1. A hidden one without children is doomed. */
int layer_children(struct txn *t, uint32_t branch, uint32_t layer, int by);

/* layer_seal: the record of the current layer of v as a settling snapshot, and the next layer in vr (which the caller puts by
 * vol_put). group may be NULL. */
int layer_seal(struct txn *t, struct vol *v, const char *name, const struct uuid *group,
               struct volume_rec *vr, struct layer_rec *ret);

/* layer_orphans: what of the tree at a place has no name any more. */
struct layer_orphans {
    uint64_t blocks, inodes;
};
int layer_orphans(struct txn *t, struct vt_at at, struct layer_orphans *ret);

/* layer_orphans_queue: queues the dropping of each of them in another branch that begins there. */
int layer_orphans_queue(struct txn *t, struct vt_at at, uint32_t vol, uint32_t branch);

/* Entries of the text. layer_text_next: 1 an entry, 0 the end. value is "" for kinds with one word. */
struct layer_text {
    const char *kind, *key, *value;
};
int layer_text_next(const char **p, const char *end, struct layer_text *ret);
/* layer_text_edit: out gets the text without (kind, key), then value as a new entry if it is not NULL. 1: it was there. */
int layer_text_edit(const struct layer *l, const struct layer_text *e, bool add, struct buf *out);

#endif
