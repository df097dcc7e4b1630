/* snap/store/kv: one ordered map of bytes in four layers, newest first: pending images, the active delta, the sealed
 * delta (while a checkpoint writes it), LMDB. Keys and values are opaque here (enveloped by the room's txn).
 *
 * Locks: reading functions are called with the store's lock held shared or exclusive, changing ones with it exclusive;
 * kv_checkpoint_write runs without it, on the sealed delta, which nobody changes. A tombstone hides lower layers.
 * LMDB: no NOSYNC, no NOLOCK, no WRITEMAP; MDB_NOTLS; the map grows by itself (needs a moment without LMDB readers:
 * handled inside); short transactions only. Values over about 2,000 bytes are allowed but rare (overflow pages). */
#ifndef VARVE_SNAP_STORE_KV_H
#define VARVE_SNAP_STORE_KV_H

#include "base/buf.h"

struct kv;
struct kv_owner { /* the inode a pending image belongs to */
    uint32_t branch;
    uint64_t ino;
};

/* kv_open(dir, map_bytes, readonly, ret): dir is STORE/meta, which exists. A damaged or foreign environment:
 * -E_CORRUPT; -E_NOSPC, -E_NOMEM, -E_IO. */
int kv_open(const char *dir, uint64_t map_bytes, bool readonly, struct kv **ret);
void kv_close(struct kv *kv);

/* A found entry. data/len are valid until the next change of kv or the end of the caller's lock; entries from LMDB until
 * kv_read_end(). So copy what must live longer. */
struct kv_item {
    const void *key;
    size_t klen;
    const void *val;
    size_t vlen;
    bool stored; /* comes from LMDB: it has been on a disk */
};

/* Bracket of reads in one thread: holds one (pooled) LMDB reader. Every kv_get/kv_ge/kv_cur_* lies inside. Nesting is
 * not allowed. kv_read_begin cannot fail for want of a reader (it waits); -E_NOMEM, -E_IO. */
struct kv_read;
int kv_read_begin(struct kv *kv, struct kv_read **ret);
void kv_read_end(struct kv *kv, struct kv_read *r);
/* A place in the reader for a block of memory of the caller's, which lives as long as the reader does: whoever has the reader next finds
 * what was left there (NULL at first). Freed by free(). */
void **kv_read_keep(struct kv_read *r);

/* firm_only: leave the pending layer out. -E_NOENT. */
int kv_get(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen,
           struct kv_item *ret);

/* First entry >= key that is present in the merged view. -E_NOENT at the end of the map. Must be quick when called again
 * and again with ascending keys (keeps cursors and positions in r; the maps do not change while the lock is held -
 * compare a change counter, since a writer may change the delta between two calls inside one bracket). */
int kv_ge(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen,
          struct kv_item *ret);
/* kv_ge_prefix: the same among keys that begin with the first plen bytes of key. Costs nothing for what lies beyond them. */
int kv_ge_prefix(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen, size_t plen,
                 struct kv_item *ret);

/* kv_after: the first entry > key among those that begin with the first plen bytes of key. A step instead of a search where key is
 * what this reader was given last. */
int kv_after(struct kv *kv, struct kv_read *r, bool firm_only, const void *key, size_t klen, size_t plen,
             struct kv_item *ret);

/* Does the pending layer hold an image of this key (1) or not (0)? */
int kv_is_pending(struct kv *kv, const void *key, size_t klen);

/* And to which inode does it belong? false: there is none. */
bool kv_pending_owner_of(struct kv *kv, const void *key, size_t klen, struct kv_owner *ret);

/* Changes cannot fail: kv_reserve takes the memory for nputs changes of total bytes (keys + values) first (-E_NOMEM);
 * calls do not add up: the last one before the changes holds. Keys: 1 to 511 bytes. val NULL: a tombstone. */
int kv_reserve(struct kv *kv, size_t nputs, size_t bytes);
void kv_put(struct kv *kv, const void *key, size_t klen, const void *val, size_t vlen);
void kv_put_pending(struct kv *kv, struct kv_owner owner, const void *key, size_t klen, const void *val,
                    size_t vlen);

/* Before many changes: kv_expect says how many, kv_near which come next (see delta_expect, delta_near); of kv_put. */
void kv_expect(struct kv *kv, uint64_t nputs);
void kv_near(struct kv *kv, const void *key, size_t klen, bool node);

/* kv_ease: no more than is there now is expected, if that is nothing: gives memory back. Under the store's lock. */
void kv_ease(struct kv *kv);

/* The pending images of one inode, in key order, and dropping them all. */
int kv_pending_each(struct kv *kv, struct kv_owner owner,
                    int (*cb)(void *arg, const struct kv_item *it /* val NULL: tombstone */), void *arg);
void kv_pending_drop(struct kv *kv, struct kv_owner owner);
/* Every owner that has pending images (for replay's end and for check). */
int kv_pending_owners(struct kv *kv, int (*cb)(void *arg, struct kv_owner owner), void *arg);

uint64_t kv_changes(const struct kv *kv); /* of what is shown, counted */
uint64_t kv_delta_bytes(struct kv *kv);   /* of the active delta: keys, values, overhead */
uint64_t kv_pending_bytes(struct kv *kv);

/* Checkpoint. seal: O(1), active becomes sealed, a new active one begins (-E_BUSY while one is sealed). write: everything
 * sealed in one synced LMDB transaction; MAP_FULL grows the map and writes again; on -E_NOSPC/-E_IO the sealed delta stays
 * and write may be called again. extra_key/val: one more put in the same transaction (applied_lsn). dropped under the
 * exclusive lock by kv_checkpoint_done. kv_checkpoint_write also reports bytes and entries written (may be NULL). When even
 * the page that names the tree's root cannot be written, the tables are opened anew for reading: all that was put stays
 * visible, further writes are refused (-E_ROFS). */
int kv_checkpoint_seal(struct kv *kv);
int kv_checkpoint_write(struct kv *kv, const void *extra_key, size_t klen, const void *extra_val, size_t vlen,
                        uint64_t *ret_entries, uint64_t *ret_bytes);
void kv_checkpoint_done(struct kv *kv);

/* kv_rest: gives back memory that only large checkpoints need: LMDB keeps every page that it ever wrote at once until its environment
 * goes. Readers wait for a moment. Not beside a checkpoint; nothing happens where there is little to give back, a state is
 * held, or descriptors are few. An error (-E_IO, ...): the tables could not be opened anew, and nothing can be read or written any more. */
int kv_rest(struct kv *kv);

/* kv_let_go: what was read of the tables goes out of this process' memory, and stays in the page cache. For who has walked through much of
 * them. Readers need not wait. */
void kv_let_go(struct kv *kv);

/* kv_scattered(kv, true): until the same with false, who reads is after few records all over the tables, and does not want what lies around
 * them. For as many at once as like. Where LMDB's file is opened anew meanwhile, that is forgotten: it is only a wish. */
void kv_scattered(struct kv *kv, bool on);

/* kv_hold: keeps the newest state of LMDB's file as it is, for who reads it without LMDB; its number in ret_txn. Does not stand in
 * the way of the map's growth; the file grows while it is held. kv_unhold ends it. */
struct kv_hold;
int kv_hold(struct kv *kv, struct kv_hold **ret, uint64_t *ret_txn);
void kv_unhold(struct kv *kv, struct kv_hold *h);

struct kv_stat {
    uint64_t map_bytes, used_bytes, entries, depth, overflow_pages, free_pages, page_bytes;
};
int kv_stat(struct kv *kv, struct kv_stat *ret);

/* Drops everything in memory without writing (after a simulated crash). kv stays open: kv_close() comes after. */
void kv_drop(struct kv *kv);

#endif
