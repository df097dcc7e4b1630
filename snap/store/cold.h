/* snap/store/cold: bytes of an object that lie elsewhere (docs/decisions/0010-cold.md). Maps of files go on naming objects; a range of an
 * object's blocks may be cold: TAB_COLD says which source has its bytes, and by what reference. Who reads such blocks gets them
 * fetched; they are put in their place in the object and are local from then on. An object with cold ranges is frozen: nothing is
 * ever written in place there but what was fetched.
 *
 * Reading, writing, cutting, copying recall by themselves (snap/store/file.h). What is written here is firm at once: a record of a
 * cold range exposes nothing that is not on disk. Threads: any, but inside a transaction as snap/store/txn.h says. */
#ifndef VARVE_SNAP_STORE_COLD_H
#define VARVE_SNAP_STORE_COLD_H

#include "snap/store/inode.h"
#include "snap/store/vol.h"

#define COLD_REF_MAX 64u
#define COLD_SOURCE_MAX 4096u
#define COLD_FETCH_BLOCKS                                                                                    \
    256u /* so many blocks are fetched at a time at most: 1 MiB, from the beginning of a range */
#define COLD_RUN_PIECES 4u /* so many such pieces, one behind the other, by one fetch_run */
#define COLD_RUN_BLOCKS (COLD_RUN_PIECES * COLD_FETCH_BLOCKS)
#define COLD_RUNS_MAX 512u /* ranges put by one call; some calls of them fit into one transaction */

/* What a range's bytes are called. Opaque to this room. skip: blocks into what p names. */
struct cold_ref {
    uint8_t p[COLD_REF_MAX];
    uint8_t len;
    uint32_t skip;
};

struct cold_range {
    uint64_t object;
    uint64_t first;  /* block of the object */
    uint32_t blocks; /* > 0 */
    uint32_t source;
    struct cold_ref ref;
};

/* What is to be fetched, and where to. */
struct cold_piece {
    uint32_t source;
    struct cold_ref ref;
    uint32_t blocks;
    void *out; /* blocks * BLOCK_SIZE bytes */
};

/* fetch: `blocks` blocks of what ref names, from block ref->skip of it on, into out (blocks * BLOCK_SIZE bytes); what it has no bytes for
 * (behind the end of a file) as zeros. Called with no lock held and in no transaction; by many threads at a time; may take
 * long, but must end. Negative: the request that asked gets -E_IO; it is not tried again for that request. -E_CANCELED: likewise, but who
 * waits for the same bytes asks for them himself.
 * failed (may be NULL): it was said in the log that a request failed for want of these bytes, and why; for events. */
struct cold_hooks {
    void *arg;
    int (*fetch)(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out);
    void (*failed)(void *arg, struct store *s, uint32_t source, uint64_t object, int error);
    /* fetch_run (may be NULL: fetch for each): pieces of an object that lie one behind the other, n <= COLD_RUN_PIECES. got is called for
     * each, once, as soon as it is there or has failed, in this thread. All may have the same out: it is put there for got only. */
    void (*fetch_run)(void *arg, const struct cold_piece *v, unsigned n,
                      void (*got)(void *of, unsigned i, int result), void *of);
    /* waits (may be NULL): a request begins to wait for bytes, its own fetch or somebody else's; and ends. Negative: it must not, and
     * gets -E_IO at once. */
    int (*waits)(void *arg, bool begins);
    /* ahead (may be NULL: nobody reads ahead): a sequential reader will want more soon: some thread is to call cold_ahead_one().
     * Called with locks held and inside of transactions: it must neither wait nor call this room. */
    void (*ahead)(void *arg);
};
/* NULL: none: cold bytes cannot be read (-E_IO). Fetches under way with the old ones have ended when it returns. */
void store_set_cold(struct store *s, const struct cold_hooks *hooks);

/* cold_begin: before the first cold record of a process: from now on the store is for programs that know of them. Outside
 * of transactions; durable when it returns; cheap when it was done before. Without it the functions below give -E_NOTSUP. */
int cold_begin(struct store *s);

/* Sources: which repository, recovery point, ... in words of the rooms above. Numbers are never reused while any range names
 * one. cold_source_get appends to ret. cold_source_each: cb non-zero ends it. cold_source_any: 1: there is one. cold_source_del: -E_BUSY while a range names it
 * (cost: all ranges). */
int cold_source_put(struct store *s, const void *text, size_t len, uint32_t *ret); /* firm and flushed */
int cold_source_set(struct store *s, uint32_t source, const void *text,
                    size_t len);                                        /* a new text; -E_NOENT */
int cold_source_get(struct store *s, uint32_t source, struct buf *ret); /* -E_NOENT */
int cold_source_each(struct store *s, int (*cb)(void *arg, uint32_t source, const void *text, size_t len),
                     void *arg);
int cold_source_any(struct store *s);
int cold_source_del(struct store *s, uint32_t source);

/* A run of a file's blocks and what its bytes are called. */
struct cold_run {
    uint64_t block, count; /* of the file; count < 2^32 */
    uint32_t source;
    struct cold_ref ref;
};

/* cold_file_map(t, v, in, runs, n): gives a regular file without any blocks the map that these runs say: ascending, not
 * overlapping, n <= COLD_RUNS_MAX; what lies between them is a hole. Puts an object that is cold as a whole, its ranges and the maps of
 * spans; and changes `in`: blocks, base, flags. in->size is the caller's to set; afterwards the caller puts the record in the same
 * transaction and charges its blocks: for a new file ns_new_put(), or inode_put_new() and txn_charge(t, v, in->blocks, 1).
 * A file of more runs: cold_file_add() in further transactions. n 0: a file of one hole (or empty). No file is made on disk.
 * -E_INVAL, -E_NOTSUP, -E_NOMEM. A transaction should hold at most COLD_TXN_RUNS runs in all (its record lies in one segment), and
 * goes fastest with 16 to 64 files in it. */
#define COLD_TXN_RUNS 512u
int cold_file_map(struct txn *t, struct vol *v, struct inode *in, const struct cold_run *runs, size_t n);

/* cold_file_add: more runs behind those that an inode has, in a transaction of their own; the inode is one that only cold_file_map and
 * cold_file_add have given blocks to, and which nobody uses yet. size: what it has from now on. Puts and charges all. -E_QUOTA. */
int cold_file_add(struct txn *t, struct vol *v, uint64_t ino, uint64_t size, const struct cold_run *runs,
                  size_t n);

/* cold_file_set: cold_file_map for an existing empty file: reads, puts, charges. -E_INVAL: it is not empty. -E_QUOTA. */
int cold_file_set(struct txn *t, struct vol *v, uint64_t ino, uint64_t size, const struct cold_run *runs,
                  size_t n);

/* One by one, for tiering. cold_object_new: a record of a frozen object of that inode with no file on disk. cold_range_put: these
 * blocks of a frozen object are elsewhere from now on. cold_release: likewise, and what its file holds there is punched when the
 * record is durable and nobody reads there any more, unless it was recalled meanwhile. -E_EXIST: overlaps one that is there;
 * -E_NOENT: no such object; -E_STALE: no such source. */
int cold_object_new(struct txn *t, struct vol *v, uint64_t ino, uint64_t *ret);
int cold_range_put(struct txn *t, const struct cold_range *range);
int cold_release(struct txn *t, const struct cold_range *range);

/* cold_ranges_each: those of an object that end behind block `from`, ascending; inside a transaction. cb non-zero ends it. */
int cold_ranges_each(struct txn *t, uint64_t object, uint64_t from,
                     int (*cb)(void *arg, const struct cold_range *range), void *arg);

/* cold_missing: how many of these blocks are elsewhere and were not brought; inside a transaction. */
int cold_missing(struct txn *t, uint64_t object, uint64_t first, uint64_t blocks, uint64_t *ret);

/* cold_decode: what a record of TAB_COLD says; for check and dump. -E_CORRUPT. */
int cold_decode(const void *key, size_t klen, const void *p, size_t len, struct cold_range *ret);

/* cold_recall: makes these blocks local (those of them that are cold). Outside of transactions and inode locks. Waits for fetches that
 * are under way. They are on disk, and their records gone, after cold_settle() or some seconds. -E_IO; -E_NOSPC: the disk is full;
 * -E_ROFS. */
int cold_recall(struct store *s, uint64_t object, uint64_t first, uint64_t blocks);
/* cold_ahead_one: brings one piece, at most 1 MiB, of what sequential readers will want next. 0: there is none now; 1: it was dealt with
 * (a failure is left to the reader). Threads: several at a time, inside of nothing. */
int cold_ahead_one(struct store *s);
/* How often bytes had to be brought for this thread. */
extern _Thread_local uint64_t cold_brought;
/* cold_settle: what was recalled so far is on disk, and no record says otherwise (the records are journaled, not flushed). */
int cold_settle(struct store *s);

/* cold_next(s, vol, cursor, ret): for hydration: the next range of objects of this volume (0: of any) that is still elsewhere, at most
 * COLD_FETCH_BLOCKS of it: first the rest of objects that were read lately, newest first, then all by number. 1: *ret is one; 0: none
 * are left behind the cursor (begin anew with a zero cursor to see whether any are left at all). Recall it by cold_recall(). */
struct cold_cursor {
    uint64_t object, block;
    uint64_t recent, recent_block; /* likewise, of those that were read lately */
    uint64_t failed; /* set by the caller: an object that cannot be had now and is passed over; 0 none */
};
int cold_next(struct store *s, uint32_t vol, struct cold_cursor *c, struct cold_range *ret);

/* cold_each: what is elsewhere only of the objects of a volume (0: of all), by number; cb non-zero ends it with that value. Called outside of
 * transactions, as cb is. Cost: all ranges of the store. */
int cold_each(struct store *s, uint32_t vol, int (*cb)(void *arg, const struct cold_range *range), void *arg);

/* cold_named: ranges that name a source, from a cursor on (zero: all), at most so many: struct cold_range each, appended to ret. 1:
 * there may be more behind the cursor; 0: no. Outside of transactions.
 * cold_switch: in one transaction these ranges get another name for the same bytes, those that are still there just so; *ret_done
 * grows by how many. Firm, not flushed; n <= COLD_RUNS_MAX. Whoever reads one meanwhile reads by either name. -E_STALE: no
 * such source. */
struct cold_switch {
    struct cold_range was;
    uint32_t source;
    struct cold_ref ref;
};
int cold_named(struct store *s, uint32_t source, struct cold_cursor *c, size_t most, struct buf *ret);
int cold_switch(struct store *s, const struct cold_switch *v, size_t n, size_t *ret_done);

/* cold_stat: what of a volume is elsewhere only, of all objects that it wrote, be they seen by its snapshots or clones alone; and what its live
 * tree has here: what is in use, shared blocks in each file, but those blocks that are elsewhere, whoever wrote them. Counted anew each
 * time (cold_stat.c). Cost: all ranges of the store, and the maps of those files of the live tree that name what is elsewhere; in short
 * transactions, so while others write it is about so much. */
struct cold_stat {
    uint64_t remote_bytes, ranges, objects;
    uint64_t local_bytes;
};
int cold_stat(struct vol *v, struct cold_stat *ret);

/* Counters since the store was opened. */
struct cold_counts {
    uint64_t fetches, fetched_bytes, failed;
    uint64_t waited; /* for a fetch of somebody else */
    uint64_t unkept; /* not put on disk */
    uint64_t ahead;  /* pieces brought before they were asked for */
};
void cold_get_counts(struct store *s, struct cold_counts *ret);

#endif
