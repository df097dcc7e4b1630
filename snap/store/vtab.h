/* snap/store/vtab: tables with life spans, keyed by branch (F4, F14, F15). Keys here are what follows [table][branch].
 *
 * Reading in (branch, layer) looks at the branch's own live record, then its history, then at the parent as of the
 * layer where the branch began, and so on; a tombstone ends the search. Writing goes to (branch, current layer): a
 * record born in an earlier layer moves to history with died = the layer, the index `touched` is kept, deleting what
 * is inherited leaves a tombstone. Threads and lifetimes: those of the transaction. */
#ifndef VARVE_SNAP_STORE_VTAB_H
#define VARVE_SNAP_STORE_VTAB_H

#include "snap/store/txn.h"

struct vt_at {
    uint32_t branch;
    uint32_t
        layer; /* LAYER_NOW, or a sealed layer to look at; for writing: the number of the layer written in */
};

struct vt_val {
    const uint8_t *data; /* payload, in the transaction's arena */
    size_t len;
    uint32_t born;
    uint32_t branch; /* that holds the record: another than asked for when it is inherited */
};

/* vt_get: the record visible there. -E_NOENT, -E_CORRUPT, -E_IO. */
int vt_get(struct txn *t, enum keep keep, struct vt_at at, uint8_t tab, const void *key, struct vt_val *ret);

/* vt_put/vt_del: in at.branch, layer at.layer (a number, not LAYER_NOW). owner for KEEP_PENDING only, else {0}.
 * vt_del of what is not visible is allowed and changes nothing. -E_NOMEM, -E_CORRUPT, -E_IO. */
int vt_put(struct txn *t, enum keep keep, struct txn_owner owner, struct vt_at at, uint8_t tab,
           const void *key, const void *payload, size_t len);
/* vt_put_over: the same for whoever has just read what is there: was as vt_get gave it for (at.branch, LAYER_NOW), at that level. */
int vt_put_over(struct txn *t, enum keep keep, struct txn_owner owner, struct vt_at at, uint8_t tab,
                const void *key, const struct vt_val *was, const void *payload, size_t len);
int vt_del(struct txn *t, enum keep keep, struct txn_owner owner, struct vt_at at, uint8_t tab,
           const void *key);

/* A scan in key order over what is visible at a place, of keys that begin with a prefix. Usage:
 *     struct vt_scan sc; vt_scan_init(&sc, t, KEEP_PENDING, at, TAB_DIRENT, prefix, 8);
 *     vt_scan_from(&sc, key, 16);                       optional: begin at this key (inclusive)
 *     while ((r = vt_scan_next(&sc, &key, &val)) == 1) ...
 * vt_scan_next: 1 a record (key points to tab_key_len bytes, valid until the next call), 0 the end, negative an error. */
#define VT_AHEAD 4u /* tables of which the next record is kept: live and history of a branch and its parent */
struct vt_scan {
    struct txn *t;
    enum keep keep;
    struct vt_at at;
    uint8_t tab;
    uint8_t plen;
    bool done;
    uint8_t key[32]; /* next key to look for */
    struct vt_ahead {
        bool known, end; /* what is found at or after key; end: nothing */
        const uint8_t *key;
        struct txn_val val;
    } ahead[VT_AHEAD]; /* in a reading transaction: nothing changes under it */
};
void vt_scan_init(struct vt_scan *sc, struct txn *t, enum keep keep, struct vt_at at, uint8_t tab,
                  const void *prefix, size_t plen);
void vt_scan_from(struct vt_scan *sc, const void *key, size_t klen);
int vt_scan_next(struct vt_scan *sc, const uint8_t **ret_key, struct vt_val *ret);

/* vt_touched: the keys of records first changed in (branch, layers from..to]; calls cb for each, in order of layer,
 * table, key. cb returning non-zero ends it with that value. */
int vt_touched(struct txn *t, uint32_t branch, uint32_t after, uint32_t to,
               int (*cb)(void *arg, uint32_t layer, uint8_t tab, const uint8_t *key, size_t klen), void *arg);

#endif
