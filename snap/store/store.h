/* snap/store/store: a store on disk: create, open, close, checkpoint. One process has it open at a time (STORE/lock). */
#ifndef VARVE_SNAP_STORE_STORE_H
#define VARVE_SNAP_STORE_STORE_H

#include "base/io.h"
#include "base/uuid.h"
#include "snap/store/format.h"
#include "snap/store/txn.h"

struct store;

struct store_settings {     /* zeros take the defaults */
    uint64_t flush_ms;      /* 5000: bound on loss without fsync */
    uint64_t dirty_bytes;   /* 128 MiB: unsynced bytes before writers wait */
    uint64_t delta_bytes;   /* 32 MiB: memory of the delta before a checkpoint */
    uint64_t segment_bytes; /* 16 MiB: one journal segment (fixed at creation) */
    uint32_t segments;      /* 8 */
    uint32_t inline_bytes;  /* 4096: files up to this size live in the tables */
    uint64_t map_bytes;     /* first size of the LMDB map; grows by itself */
    uint32_t fd_cache; /* 1,024: object descriptors kept open; at most half of what the process may have */
    bool no_threads;   /* tests: no background threads; the caller runs store_tick() */
};

enum store_open_flag {
    STORE_READONLY = 1, /* nothing is written, not even replay (a copy in memory is) */
    STORE_CHECK = 2,    /* for check and dump: opens what it can of a damaged store, read-only */
    STORE_SAFE = 4,     /* serve what can be read, after repeated deaths */
};

/* store_create(io, path, settings): makes the directory (or takes an empty one) and an empty store in it.
 * -E_STORE_EXIST (it holds a store, or something else), -E_STORE_HOLES, -E_NOSPC, -E_ACCES, -E_NOENT (the parent). */
int store_create(struct io *io, const char *path, const struct store_settings *settings);

/* store_open: takes the lock, replays the journal, starts the background threads. why (may be NULL, 256 bytes) gets a
 * sentence on failure that says what to do. -E_STORE_MISSING, -E_STORE_NOT, -E_STORE_NEWER, -E_STORE_FEATURE,
 * -E_STORE_BUSY, -E_CORRUPT, -E_NOSPC, ...
 * A journal damaged in the middle opens the store read-only: store_state() says so and where. */
int store_open(struct io *io, const char *path, const struct store_settings *settings, unsigned flags,
               struct store **ret, char *why);

/* store_close: makes everything firm, checkpoints, ends the threads, releases the lock. Errors are those of the last
 * sync; the store is freed in any case. store_drop: frees without writing anything (after a simulated crash). */
int store_close(struct store *s);
void store_drop(struct store *s);

/* store_failed_forget: a check found nothing wrong: volumes that are read-only since a write-back failed (STORE/failed) are written
 * again from the next open on. Nobody has the store open. */
int store_failed_forget(struct io *io, const char *path);

/* store_path_is(path): 1 if the directory holds a store (STORE/version with our magic), 0 if not. */
int store_path_is(const char *path);

/* store_checkpoint(s): seal the delta, make older pending inodes firm, commit to LMDB, reuse segments, and let the
 * reclaim queue run. Serialized inside. */
int store_checkpoint(struct store *s);

/* store_pages_let_go(s): what was read of the tables leaves this process' memory (kv_let_go). */
void store_pages_let_go(struct store *s);

/* store_pages_scattered(s, on): few records all over the tables are read (kv_scattered). */
void store_pages_scattered(struct store *s, bool on);

/* store_flush(s): every acknowledged firm record is on disk when it returns (group commit). store_flush_to: up to lsn. */
int store_flush(struct store *s);
int store_flush_to(struct store *s, uint64_t lsn);

/* store_sync(s): everything acknowledged so far is firm and on disk: what `sync` would mean. */
int store_sync(struct store *s);

/* store_tick(s): with no_threads: one round of the background work that is due (flush timer, checkpoint, reclaim,
 * settling snapshots). Returns 1 when it did something, 0 when nothing was due. */
int store_tick(struct store *s);

/* store_reclaim_idle(s): runs the reclaim queue until it is empty (tests, check, close of a temporary store). */
int store_reclaim_idle(struct store *s);

/* store_settle(s, vol, layer): asks the background to make every pending inode of the volume with changes in layers <= layer
 * firm and then to call the hook `settled` (after writes under way there have ended). Returns at once. */
void store_settle(struct store *s, uint32_t vol, uint32_t layer);

/* Hooks of the room above, called by the background thread with no lock held. reclaim: what to do with a queue entry
 * of a kind this room does not know (layers, branches); 0 done, 1 more to do (call again), negative: keep it.
 * settled: all pending bytes of (vol, layer) are firm. alive: does the kernel hold this inode (orphans)? 1 yes 0 no. */
struct store_hooks {
    void *arg;
    int (*reclaim)(void *arg, struct store *s, const struct reclaim_rec *rec);
    int (*settled)(void *arg, struct store *s, uint32_t vol, uint32_t layer);
    int (*alive)(void *arg, struct store *s, uint32_t vol, uint64_t ino);
    void (*closing)(void *arg, struct store *s); /* the store goes away (store_close, store_drop) */
};
void store_set_hooks(struct store *s, const struct store_hooks *hooks);

enum store_mode { STORE_RW, STORE_RO_ASKED, STORE_RO_DAMAGED, STORE_RO_FAILED };
struct store_state {
    enum store_mode mode;
    char why[256];
    struct uuid uuid;
    uint64_t incarnation, appended_lsn, flushed_lsn, applied_lsn;
    uint64_t dirty_bytes, delta_bytes, reclaim_entries;
    uint64_t disk_total, disk_free; /* bytes of the filesystem below */
    bool unclean;                   /* the last stop was not a clean one */
    bool powercut;                  /* and the machine was booted since */
};
void store_get_state(struct store *s, struct store_state *ret);

/* store_get_tables(s, ...): bytes of the tables' file, and those of them that are free for use again. The caller is in no
 * transaction. -E_NOMEM, -E_IO. Cost: the list of free pages is read. */
int store_get_tables(struct store *s, uint64_t *ret_bytes, uint64_t *ret_free_bytes);
const char *store_path(const struct store *s);
const struct store_settings *store_get_settings(const struct store *s);
struct io *store_io(struct store *s);

#endif
