/* snap/store/txn: one operation against the tables. It reads through (own puts, pending, delta, sealed delta, LMDB),
 * collects after-images, and commits as one journal record; then the after-images are in memory, visible, and - so far
 * as they are firm - on their way to LMDB. Nothing of an aborted or failed transaction is ever seen.
 *
 * Two levels (F1). KEEP_FIRM: what a power cut keeps once the journal is flushed. KEEP_PENDING: what exposes object
 * bytes that are not on disk yet; belongs to one inode (branch, ino) and becomes firm with it (snap/store/file.h).
 * Reading at KEEP_PENDING sees pending over firm, that is the present; reading at KEEP_FIRM sees firm only.
 *
 * Locks: TXN_READ holds the store's lock shared, TXN_WRITE exclusive, from begin to commit/abort. Keep it short: no
 * object I/O, no waiting inside. An inode's lock (snap/store/ilock.h) is taken before, never inside.
 * Threads: a transaction belongs to the thread that began it. */
#ifndef VARVE_SNAP_STORE_TXN_H
#define VARVE_SNAP_STORE_TXN_H

#include "base/buf.h"
#include "snap/store/format.h"

struct store;
struct vol;
struct txn_put;
struct txn_index;
struct txn_page;
struct txn_hook;
struct kv_read;

enum txn_mode { TXN_READ, TXN_WRITE };
enum keep { KEEP_FIRM, KEEP_PENDING };

/* Logical operation of a journal record. Numbers are format: never reused. */
enum op_kind {
    OP_NONE = 0,
    OP_VOLUME = 1,
    OP_SNAPSHOT = 2,
    OP_ROLLBACK = 3,
    OP_CLONE = 4,
    OP_VIEW = 5,
    OP_RECLAIM = 6,
    OP_JOB = 7,
    OP_COLD = 8,
    OP_POLICY = 9,
    OP_CREATE = 16,
    OP_MKDIR = 17,
    OP_MKNOD = 18,
    OP_SYMLINK = 19,
    OP_LINK = 20,
    OP_UNLINK = 21,
    OP_RMDIR = 22,
    OP_RENAME = 23,
    OP_SETATTR = 24,
    OP_SETXATTR = 25,
    OP_REMOVEXATTR = 26,
    OP_TMPFILE = 27,
    OP_WRITE = 32,
    OP_TRUNCATE = 33,
    OP_FALLOCATE = 34,
    OP_COPY = 35,
    OP_SYNC = 36,
    OP_FREEZE = 37,
};

struct txn_owner {
    uint32_t branch;
    uint64_t ino;
    struct txn_owner *next; /* the transaction's own list; callers leave it NULL */
};

struct txn_payload {
    uint64_t object;
    uint64_t off;
    const void *data; /* valid until commit */
    uint32_t len;
    struct txn_payload *next;
};

struct txn {
    struct store *store;
    enum txn_mode mode;
    enum op_kind op;
    uint32_t vol;          /* 0: the store as a whole */
    uint64_t conn, unique; /* request that this answers; 0 none */
    uint64_t answer;       /* goes into the answer: an inode, a length (snap/store/answer.h) */
    bool must;             /* a reader that does not know the kind of this record must stop */
    bool part; /* no answer: more records of the same request follow, or it is work on the way there */
    struct txn_put *puts, **puts_end;
    uint32_t nputs;
    struct txn_index *index; /* of the puts, when they are many; arena */
    size_t bytes;            /* of the puts, after commit */
    struct txn_payload *payloads;
    struct txn_page *pages; /* arena */
    struct vol *charged;    /* volume whose counters change with this transaction */
    int64_t charge_blocks, charge_inodes;
    bool use_reserve; /* may use the room kept for deletes, truncates, fsyncs (set before begin) */
    uint64_t lsn;     /* of the record, after commit */
    struct buf *tail; /* arguments of the operation, TLV; NULL: none */
    struct kv_read *read;
    struct txn_hook *hooks, **hooks_end;
    struct txn_owner *released; /* pending images of these are not seen any more */
    bool next_changed;
    bool suspects; /* shared objects were queued to be sifted */
};

/* A value as read: points into the transaction's arena; valid until its end. */
struct txn_val {
    const uint8_t *data; /* payload */
    size_t len;
    uint32_t born;
    uint8_t flags; /* VAL_TOMB */
};

/* txn_begin(s, mode, op, v, t): fills t and takes the store's lock. v may be NULL. A write transaction first waits
 * until there is room in the delta and the journal (back-pressure), so that applying it cannot fail.
 * Errors: -E_ROFS (store opened read-only), -E_FAILED (stopped after a failed sync), -E_NOSPC (no room in the journal
 * and not use_reserve), -E_NOMEM. On error no lock is held and t must not be used. */
int txn_begin(struct store *s, enum txn_mode mode, enum op_kind op, struct vol *v, struct txn *t);

/* As above; t->use_reserve is on: for operations that free or save (unlink, truncate, fsync, reclaim). */
int txn_begin_freeing(struct store *s, enum op_kind op, struct vol *v, struct txn *t);

/* txn_commit(t): journals the record and applies it; releases the lock and everything of t in any case.
 * With no puts it only releases. -E_IO/-E_NOSPC/-E_FAILED: nothing was applied. */
int txn_commit(struct txn *t);
void txn_abort(struct txn *t); /* also ends a read transaction */

/* Is anything pending in the store? If not, both levels show the same. */
bool txn_any_pending(const struct txn *t);

/* A number that is another one whenever anything in the store has changed: what was read with the same one is still true. */
uint64_t txn_state(const struct txn *t);

/* Arena memory of the transaction: NULL when memory is out. */
void *txn_alloc(struct txn *t, size_t len);

/* Raw access with whole keys (table byte first) and enveloped values; for tables with life spans use vtab.h.
 * txn_get: -E_NOENT, -E_CORRUPT (checksum; the key is logged), -E_IO. */
int txn_get(struct txn *t, enum keep keep, const void *key, size_t klen, struct txn_val *ret);

/* txn_ge: the first present entry at or after key whose first plen bytes equal key's (a prefix). ret_key is arena
 * memory. -E_NOENT when there is none. Sees own puts. */
int txn_ge(struct txn *t, enum keep keep, const void *key, size_t klen, size_t plen, const uint8_t **ret_key,
           size_t *ret_klen, struct txn_val *ret);

/* txn_on_commit: fn(store, arg) runs after the record was applied, under the lock, in the order of calls. -E_NOMEM. */
int txn_on_commit(struct txn *t, void (*fn)(struct store *s, void *arg), void *arg);

/* txn_put/del: after-images. owner_branch/owner_ino name the inode that a pending one belongs to (0, 0 for firm).
 * A del of an absent key is allowed. -E_NOMEM. */
int txn_put(struct txn *t, enum keep keep, struct txn_owner owner, const void *key, size_t klen,
            uint32_t born, uint8_t flags, const void *payload, size_t len);
int txn_del(struct txn *t, enum keep keep, struct txn_owner owner, const void *key, size_t klen);

/* A plain table's record, firm: thin over the above. */
int txn_put_plain(struct txn *t, const void *key, size_t klen, const void *payload, size_t len);

/* txn_release(t, owner): drops every pending image of the inode with this record (it was deleted). */
int txn_release(struct txn *t, struct txn_owner owner);

/* Bytes of an object that travel in the record (small fsync); data must stay until commit. */
int txn_payload(struct txn *t, uint64_t object, uint64_t off, const void *data, uint32_t len);

/* txn_charge(t, v, blocks, inodes): changes the volume's counters of the live tree with this record (firm). */
void txn_charge(struct txn *t, struct vol *v, int64_t blocks, int64_t inodes);

/* Numbers never reused, counted up with this record (also when it aborts, a number is not given twice). */
uint64_t txn_next_object(struct txn *t);
uint64_t txn_next_reclaim(struct txn *t);
uint64_t txn_next_job(struct txn *t);
uint32_t txn_next_volume(struct txn *t);
uint32_t txn_next_branch(struct txn *t);

/* txn_reclaim(t, rec): queues work for after the checkpoint (I-09). */
int txn_reclaim(struct txn *t, const struct reclaim_rec *rec);

#endif
