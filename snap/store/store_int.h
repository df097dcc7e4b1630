/* snap/store/store_int: the engine's insides, for this room only. */
#ifndef VARVE_SNAP_STORE_STORE_INT_H
#define VARVE_SNAP_STORE_STORE_INT_H

#include <pthread.h>

#include "snap/store/answer.h"
#include "snap/store/file.h"
#include "snap/store/ilock.h"
#include "snap/store/journal.h"
#include "snap/store/kv.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "snap/store/sift.h"
#include "snap/store/store.h"

#define ILOCK_STRIPES 1024u
#define ILOCK_STRIPES_FEW 64u /* of a store without threads of its own: a tool, which opens and closes */
#define TXN_ROOM_MIN (256u * 1024u) /* journal room that a transaction may count on */
#define FSYNC_BYTES_MAX (64u * 1024u)
#define FSYNC_RANGES_MAX 16

/* TLV types in the tail of a record */
enum tail_type {
    TAIL_SYNCED = 1, /* object u64: all its earlier bytes are on disk */
    TAIL_ANSWER = 2, /* value u64, step u32: the record completes its request (snap/store/answer.h) */
    TAIL_ACKED = 3,  /* lsn u64 ...: the replies to these records have been written */
};
int tail_add_synced(struct buf *tail, uint64_t object);

/* Unsynced bytes of one object, as part of one dirty inode. */
struct dirty_obj {
    uint64_t object;
    uint64_t bytes; /* written since the last sync; counts rewriting twice */
    struct {
        uint64_t off, len;
    } range[FSYNC_RANGES_MAX];
    uint8_t nranges;
    bool overflow; /* more ranges than fit: only a whole sync will do */
    bool unsynced; /* some of it is in journal payloads only, or not even there */
    struct {       /* what was written since the last piece for writeout.c */
        uint64_t off, end, bytes;
        bool in_order;
    } late;
    struct dirty_obj *next;
};

/* An inode with pending images, or with bytes that are in journal payloads only. Guarded by the store's lock
 * (exclusive to change); fields of one entry change only under its inode lock besides. */
struct dirty {
    uint32_t vol, branch;
    uint64_t ino;
    bool pending;         /* has pending images */
    bool failed;          /* its write-back failed: never tried again */
    int64_t since_ns;     /* monotonic: first unsynced change */
    uint64_t image_bytes; /* at most so much will its firm record take */
    uint64_t first_lsn;   /* oldest record that must not be trimmed for its sake */
    uint32_t first_layer; /* of pending images */
    uint32_t bytes_layer; /* the oldest that wrote bytes which are not synced; 0: unknown */
    int64_t delta_blocks; /* present minus firm */
    struct dirty_obj *objs;
    struct dirty *hnext;
    struct dirty *prev, *next; /* by age, oldest first */
};

/* Retained layers of one branch, ascending. */
struct branch_mem {
    struct branch_rec rec;
    bool present;
    uint32_t *retained;
    uint32_t nretained, cap;
    uint32_t
        own[2]; /* tables that may hold records of its own, [1] in history: a bit that is clear is certain */
};

/* Of a descriptor, since its object was last synced: nothing was written, something, or a syncfs is under way that began after it. */
enum fd_wrote { FD_CLEAN, FD_WROTE, FD_SYNCING };

struct objfd {
    uint64_t object;
    int fd;
    uint32_t refs;
    bool made;     /* its directory entry is not synced yet */
    uint8_t wrote; /* atomic: enum fd_wrote */
    bool
        failed; /* atomic: a sync of it failed: what it held may be lost, and a second sync would not say so */
    bool gone;  /* its file is being deleted: closed when nobody uses it */
    bool hot;   /* atomic: no block of it is elsewhere */
    bool brought; /* atomic: bytes from elsewhere were put there, which cold_settle() syncs; not `wrote` */
    bool
        doubt; /* atomic: a syncfs failed while it was unsynced: only its own sync can tell whether that concerns it */
    uint64_t closed; /* of the store's fd_closed: what closed descriptors of it wrote is among those */
    struct objfd *hnext, *prev, *next;
};

#define GRACE_GENS 2
struct store {
    struct io *io;
    char *path;
    struct store_settings set;
    unsigned flags;
    struct uuid uuid;
    int lock_fd, dir_fd;
    struct kv *kv;
    struct tabpages *proof; /* of the tables, while the store is being opened */
    struct journal *journal;
    struct answers *answers;

    pthread_rwlock_t lock; /* the store's lock: tables, numbers, volumes, branches, dirty table */
    struct next_rec next;
    uint64_t
        open_floor; /* atomic: objects below it are frozen: writes that left no record may have put bytes in them */
    struct vol *vols;
    struct vol_row *vol_rows; /* what holds them */
    struct vol *unborn;       /* made by a transaction that is not committed: see vol_new() */
    struct vol *gone, *spare; /* whose record is gone, by ->gone; places of such, by ->next */
    uint64_t hold_gen;        /* atomic, with the next one: see vols_hold() */
    uint64_t holds[2];
    struct branch_page **branch_pages; /* branch.c */
    uint32_t nbranch_pages;
    struct dirty **dirty_hash;
    uint32_t dirty_buckets, ndirty;
    struct dirty dirty_list; /* head of the ring */
    uint64_t dirty_bytes;    /* atomic */
    uint64_t reclaim_count;  /* entries queued; approximate, atomic */
    uint64_t sealed_lsn, sealed_reclaim;
    struct sift_state sift;
    bool cold_any;    /* atomic: some object has blocks that are elsewhere */
    bool cold_closed; /* atomic: a descriptor with brought bytes was closed before they were synced */
    struct cold *cold;
    int64_t room_known; /* atomic: so much may be taken before delta and journal must be looked at again */

    pthread_rwlock_t *ilocks;
    uint32_t nilocks;

    pthread_mutex_t fd_lock; /* objfd table */
    struct objfd *fd_hash[1024];
    struct objfd fd_list; /* least recently used first */
    uint32_t nfds;
    uint64_t fd_closed,
        fd_closed_synced; /* closed unsynced, since the store was opened; how many of them were synced since */
    pthread_mutex_t fd_sync_lock; /* one syncfs at a time: before fd_lock */

    uint64_t grace_gen;               /* atomic */
    uint64_t grace_count[GRACE_GENS]; /* atomic: readers in each generation */

    pthread_mutex_t ckpt_lock; /* one checkpoint at a time */
    pthread_mutex_t reclaim_lock;
    pthread_mutex_t bg_lock; /* the fields below */
    pthread_cond_t bg_wake, bg_done;
    pthread_t bg_thread;
    pthread_t catchup_thread;
    struct writeout *writeout;         /* NULL: without threads */
    bool catchup_running, catching_up; /* catching_up: atomic; see catchup.c */
    bool bg_running, bg_stop, bg_want_ckpt, settle_later;
    uint64_t bg_rounds;
    struct settle {
        uint32_t vol, layer;
        struct settle *next;
    } * settles;
    int64_t last_flush_ns, last_cold_ns; /* of the background alone */
    int64_t last_ckpt_ns;                /* atomic */
    uint64_t rest_lsn; /* of the background alone: appended when it last looked, since when, */
    int64_t rest_ns;
    bool rests;           /* and whether it has given memory back since */
    int64_t last_trim_ns; /* likewise of the background alone */
    uint64_t done_lsn;    /* atomic: the tables on disk hold everything up to it */
    bool queue_rests;     /* atomic: the last run of the queue found nothing that it could do */
    uint64_t seen_delta;  /* atomic: bytes of the delta when it was last looked at */
    uint64_t ckpts;       /* done since open */
    int ckpts_making;     /* begun and not done, those that wait for another one included */

    struct store_hooks hooks;
    pthread_mutex_t state_lock; /* mode, why */
    enum store_mode mode;
    char why[256];
    bool unclean, powercut;
    uint64_t new_objects; /* numbers from here on were given after the last checkpoint before this open */
    bool reclaim_first;
    struct buf
        lost; /* numbers (uint64_t) of objects that pending records named which a power cut took; until they are seen to */
};

void store_settings_defaults(struct store_settings *set, const struct store_settings *from);

/* errors that end all writing */
void store_fail(struct store *s, const char *why);
bool store_writable(const struct store *s);

/* STORE/failed (failed.c): noted, read at the open (after the volumes), looked for */
void failed_note(struct store *s, uint32_t vol, const char *why);
int failed_load(struct store *s);
bool failed_any(struct store *s);

/* back-pressure, before a write transaction takes the lock; reserve: may use the last quarter of the journal */
int store_make_room(struct store *s, bool reserve);
extern unsigned store_room_wait_ms; /* one of its waits; tests have less time */
/* a transaction's record and puts are about to take room (store's lock held exclusive) */
void store_room_taken(struct store *s, size_t record, size_t nputs, size_t bytes);
/* whatever is open is written in place no more: after bytes were written that no record names */
void store_freeze_objects(struct store *s);
void store_kick(struct store *s); /* wakes the background */

/* readers of objects: what they resolved stays until they are through */
uint32_t grace_enter(struct store *s);
void grace_leave(struct store *s, uint32_t gen);
void grace_wait(struct store *s);

/* object descriptors */
int objfd_get(struct store *s, uint64_t object, bool create, struct objfd **ret);
void objfd_put(struct store *s, struct objfd *f);
void objfd_writes(struct objfd *f); /* before it is written to */
int objfd_sync(struct store *s,
               uint64_t object); /* what it has unsynced, and the directory entry of a new one */
/* all that was written before; an error may concern any of them: each must be synced by itself then, which tells */
int objfd_sync_all(struct store *s);
void objfd_forget(struct store *s, uint64_t object); /* before unlink */
void objfd_close_all(struct store *s);
bool objfd_unsynced(struct store *s, uint64_t object); /* has bytes in the page cache only */
/* objfd_write_out: to the disk, without a promise, where it has a descriptor; an error is told by the next sync of it. */
void objfd_write_out(struct store *s, uint64_t object, uint64_t off, uint64_t len);
void objfd_not_hot(struct store *s, uint64_t object); /* some of it is elsewhere from now on */

/* dirty inodes (store's lock held exclusive, except find: shared will do) */
struct dirty *dirty_find(struct store *s, uint32_t branch, uint64_t ino);
int dirty_reserve(struct store *s, uint32_t vol, uint32_t branch, uint64_t ino, struct dirty **ret);
int dirty_add_object(struct dirty *d, uint64_t object, struct dirty_obj **ret);
void dirty_wrote(struct store *s, struct dirty_obj *o, uint64_t off, uint64_t len);
void dirty_clean_objects(struct store *s, struct dirty *d, bool drop);
void dirty_remove(struct store *s, struct dirty *d);
void dirty_free_all(struct store *s);

/* the reserve of space: given up (true: there was one), taken again when there is room */
bool ballast_drop(struct store *s);
void ballast_take(struct store *s);

/* checkpoints, background */
int reclaim_count(struct store *s);
int reclaim_run(struct store *s, uint64_t below_seq, bool all);
int store_start_background(struct store *s);
void store_settle_all(struct store *s); /* snapshots that wait to become durable */
void store_stop_background(struct store *s);
/* every dirty inode that began before an instant, or whose oldest record is at most upto_lsn; synced to disk */
int dirty_make_firm_older(struct store *s, int64_t before_ns, uint64_t upto_lsn);
bool dirty_any_older(struct store *s, uint64_t upto_lsn); /* any of these left that may still become firm? */
/* one, with its inode lock held exclusive; payload: few bytes may travel in the record instead of a sync */
int firm_locked(struct store *s, uint32_t branch, uint64_t ino, bool payload);

/* A thread that holds inode locks, or works for a checkpoint, must not wait for one. */
extern _Thread_local int store_no_wait;
/* A thread that runs the reclaim queue makes checkpoints itself: nobody else may be there to do it. */
extern _Thread_local int store_inline_checkpoint;

/* envelope of a value, and a put of one that is enveloped already */
void envelope_make(uint8_t *env, const void *key, size_t klen, uint32_t born, uint8_t flags,
                   const void *payload, size_t len);
int envelope_check(const struct kv_item *it, struct txn_val *ret); /* -E_CORRUPT, without a word */
int txn_put_enveloped(struct txn *t, const void *key, size_t klen, const void *env,
                      size_t len); /* env NULL: a deletion */

/* volumes and branches in memory */
int vols_load(struct store *s);
void vols_free(struct store *s);
/* branch_mem: NULL where there is none; branch_slot: also one whose record is not there (yet); branch_mem_make: makes that. -E_NOMEM,
 * -E_CORRUPT: no such number is ever given. branches_load_own: what each of them has records of. */
struct branch_mem *branch_mem(struct store *s, uint32_t id);
struct branch_mem *branch_slot(struct store *s, uint32_t id);
int branches_load_own(struct txn *t);
void branches_free(struct store *s);
int branch_mem_make(struct store *s, uint32_t id, struct branch_mem **ret);
/* Lookups pass by a branch that has nothing in a table: so a rollback or a clone costs none of them anything until it writes. */
void branch_note_own(struct store *s, const uint8_t *key);
void layer_note(struct store *s, uint32_t branch, uint32_t layer, bool retained); /* memory was reserved */
int layer_note_reserve(struct store *s, uint32_t branch);

/* what a dead daemon of this boot had acknowledged is being put on disk (F11): begun at the open, awaited by whoever says of anything that
 * it is on disk, or makes a record that needs it to be */
int catchup_begin(struct store *s);
int catchup_await(struct store *s); /* -E_FAILED */
void catchup_end(struct store *s);

/* recovery */
int store_replay(struct store *s, char why[256]);
/* store_proved: waits until the tables are proved (tabpages.h); once, then 0 */
int store_proved(struct store *s, char why[256]);
int store_recover(struct store *s);

/* references kept by vtab: a record enters / leaves */
int refs_enter(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint8_t tab,
               const void *key, const void *payload, size_t len);
int refs_leave(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint8_t tab,
               const void *key, const void *payload, size_t len);

/* A record takes another's place. 1: it names the same objects, nothing has to be counted; 0: refs_enter and refs_leave have to be
 * called; negative: an error. */
int refs_same(struct txn *t, uint8_t tab, const struct txn_val *old, const void *payload, size_t len);

/* queues [first, first + count) blocks of an object, at a level */
int punch_queue(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint64_t object,
                uint64_t first, uint64_t count);
int reclaim_put(struct txn *t, enum keep keep, struct txn_owner o, const struct reclaim_rec *rec);
int span_dead(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint64_t span,
              const struct span *old, const struct span *new, uint32_t died);

int inode_put_at(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, struct inode *in);
/* The layer record of a snapshot counts what a write adds that resolved before the seal. Nothing when layer is the current. */
int layer_late_blocks(struct txn *t, const struct vol *v, uint32_t layer, int64_t blocks);
void file_pin(struct vol *v, uint32_t layer);
void file_unpin(struct vol *v, uint32_t layer);

#endif
