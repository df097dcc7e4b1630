/* snap/state: what this room keeps in memory beside an open store, from snap_attach() to the store's end: the map of views,
 * when each volume's list of snapshots changed, how far long reclaims have come, figures that cost something to count.
 * Private to the room. Threads: any; a lock of its own, a leaf (taken inside transactions, nothing is taken inside). */
#ifndef VARVE_SNAP_STATE_H
#define VARVE_SNAP_STATE_H

#include "snap/snapshot.h"

int state_attach(struct store *s); /* fresh; drops what an earlier store at the same address left */
void state_drop(struct store *s);

/* The list of snapshots of a volume. */
void state_list_changed(struct store *s, uint32_t vol, int64_t taken_ns /* of a new snapshot, else 0 */);
uint64_t state_list_change(struct store *s, uint32_t vol);
int64_t state_list_mtime_ns(struct store *s, uint32_t vol);
int state_last_taken(struct txn *t, struct vol *v,
                     int64_t *ret_ns); /* of the newest snapshot ever known; 0 none */

/* The map of views: (volume, branch, layer, dir) -> number. */
int state_view_add(struct store *s, uint32_t vol, uint32_t view, const struct view_rec *rec);  /* -E_NOMEM */
int state_view_find(struct store *s, uint32_t vol, const struct view_rec *rec, uint32_t *ret); /* -E_NOENT */
/* Forgets those of a layer, or all of a volume (branch 0). */
void state_views_forget(struct store *s, uint32_t vol, uint32_t branch, uint32_t layer);
/* And when its list changed: of a volume that nothing shows any more. */
void state_volume_forget(struct store *s, uint32_t vol);

/* How far a reclaim has come. state_cursor: the entry's own memory, zeros at first; only its worker uses it. */
struct state_cursor {
    struct reclaim_rec rec;
    uint32_t phase;
    uint32_t klen;
    uint8_t key[KEY_SIZE_MAX];
    void *more; /* of the worker's own, from malloc; freed with it */
    struct state_cursor *next;
};
struct state_cursor *state_cursor(struct store *s, const struct reclaim_rec *rec); /* NULL: no memory */
void state_cursor_end(struct store *s, struct state_cursor *c);

/* Blocks that died between two neighbouring sealed layers of a branch: counted once. -E_NOENT: not known. */
int state_deaths_get(struct store *s, uint32_t branch, uint32_t from, uint32_t to, uint64_t *ret);
void state_deaths_put(struct store *s, uint32_t branch, uint32_t from, uint32_t to, uint64_t blocks);
void state_deaths_forget(struct store *s, uint32_t branch); /* 0: of all */

#endif
