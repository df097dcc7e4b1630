/* snap/store/cold_i: cold ranges, for this room only.
 *
 * Whoever reads bytes of objects does it by object_read(). It gives -E_COLD where blocks are elsewhere, and notes for the thread which
 * they were. That goes up to the function that took the inode's lock; it drops the lock and asks cold_again(), which brings the blocks,
 * outside of all locks, and says that it is to be done over:
 *
 *     do {
 *         ilock_take(...);
 *         r = read_or_change_locked(...);
 *         ilock_drop(...);
 *     } while (cold_again(s, &r));
 *
 * So -E_COLD leaves this room only from file_peek(). What was fetched and could not be kept (the disk is full) is held for the thread until
 * it asks without -E_COLD. */
#ifndef VARVE_SNAP_STORE_COLD_I_H
#define VARVE_SNAP_STORE_COLD_I_H

#include "snap/store/cold.h"
#include "snap/store/store_int.h"

static inline bool cold_any(const struct store *s)
{
    return __atomic_load_n(&s->cold_any, __ATOMIC_RELAXED);
}

/* --- records (cold_table.c) */
#define COLD_VALUE_MAX (13u + COLD_REF_MAX)
size_t key_cold(uint8_t *out, uint64_t object, uint64_t end);
size_t cold_encode(const struct cold_range *range, uint8_t *out); /* COLD_VALUE_MAX */
int cold_put_new(struct txn *t, const struct cold_range *range);  /* which overlaps none */
/* The first range of an object that ends behind a block. -E_NOENT. */
int cold_range_ge(struct txn *t, uint64_t object, uint64_t block, struct cold_range *ret);
int cold_source_there(struct txn *t, uint32_t source); /* -E_STALE */
/* Takes blocks [first, end) out of the ranges; at most so many of these. 1: there may be more. */
int cold_cut(struct txn *t, uint64_t object, uint64_t first, uint64_t end, unsigned most);

/* --- memory (cold.c) */
int cold_new(struct store *s);
void cold_free(struct store *s); /* accepts a store without */
int cold_load(struct store *s);  /* at the open: are there any? */

/* object_read: bytes of an object; what it has none for reads as zeros. -E_COLD; -E_CORRUPT: there is no file. behind: of a long
 * sequential reader, whose bytes need not stay in memory twice. object_here: no bytes, only whether they could be read now. */
int object_read(struct store *s, uint64_t object, void *p, size_t len, uint64_t off);
/* Likewise when some of it may be elsewhere; takes the descriptor (NULL: it has no file). objfd_read: what its file has. */
int object_read_cold(struct store *s, uint64_t object, struct objfd *fd, void *p, size_t len, uint64_t off);
int objfd_read(struct store *s, const struct objfd *fd, void *p, size_t len, uint64_t off);
int object_here(struct store *s, uint64_t object, uint64_t off, uint64_t len);

extern _Thread_local bool cold_noted; /* something is noted or held for this thread */
bool cold_again_noted(struct store *s, int *r);
static inline bool cold_again(struct store *s, int *r)
{
    return cold_noted && cold_again_noted(s, r);
}
void cold_unnote(void); /* what -E_COLD was about is not wanted */

/* --- what was brought, and what dies (cold_settle.c) */
/* Blocks of the object are dead: their ranges go, and nothing is brought to them any more. Before they are punched or unlinked. */
int cold_forget(struct store *s, uint64_t object, uint64_t first, uint64_t end);
int cold_punch_released(struct store *s, const struct reclaim_rec *rec); /* 1: later */
void cold_asked(struct cold *c, uint64_t object);                        /* somebody reads it */
/* cold_reads: blocks of an object are read, here or elsewhere: what a sequential reader will want next is brought (cold_ahead.c). */
void cold_reads(struct store *s, uint64_t object, uint64_t first, uint64_t end);
int cold_range_at(struct store *s, uint64_t object, uint64_t block,
                  struct cold_range *ret); /* cold_range_ge */
/* Is there anything to settle, much of it or after a while? */
bool cold_settle_due(struct store *s, bool while_over);

/* A walk over ranges in their order, in one transaction or several. cold_walk_step: the next range that has blocks which are elsewhere only:
 * *ret is cut to the first run of them. 1; 0: the end; 2: go on. */
struct cold_walk {
    struct store *s;
    uint32_t vol;           /* of its objects; 0: any */
    uint64_t object, block; /* the next range ends behind it */
    uint64_t known;         /* an object whose volume is known */
    bool wanted;
    bool one; /* only this object */
};
int cold_walk_step(struct txn *t, struct cold_walk *w, struct cold_range *ret);

/* --- what is known in memory --- */
/* Blocks [first, end) of one object that were brought and whose ranges are still recorded. */
struct cold_part {
    uint64_t first, end;
};
struct cold_obj {
    uint64_t object;
    struct cold_part *parts; /* ascending, apart */
    uint32_t n, cap;
    struct cold_obj *hnext;
};

/* A fetch under way, or its result while somebody needs it. */
struct cold_fetch {
    uint64_t object, first, end;
    struct cold_fetch *next; /* of those under way */
    uint32_t refs;
    bool over;
    bool placing; /* its bytes are being written to the object */
    bool kept;
    int result;
    uint8_t *bytes;
};

/* Somebody who reads an object from front to back. */
struct cold_stream {
    uint64_t object, begin;
    uint64_t next;         /* behind what was read */
    uint64_t read;         /* blocks */
    uint64_t taken, asked; /* is being brought, and is to be */
    uint64_t window;       /* blocks ahead; 0: not yet */
    uint64_t used;
    bool over; /* there is no more, or it cannot be had */
};

#define COLD_STREAMS 16u
#define COLD_ROOMS 4u /* buffers of COLD_FETCH_BLOCKS that are kept for the next fetch */
#define COLD_BUCKETS 1024u
#define COLD_RECENT 64u
#define COLD_SETTLE_BYTES (64ull << 20) /* brought and not settled, before the background is woken */
struct cold {
    pthread_mutex_t lock; /* guards all below but hooks; nothing is taken within it */
    pthread_cond_t over;  /* a fetch or the placing of its bytes is over */
    struct cold_obj *hash[COLD_BUCKETS];
    uint64_t nobjs, parts_bytes;
    struct cold_fetch *fetches;
    uint64_t
        recent[COLD_RECENT]; /* objects that were asked for, the newest at [(nrecent - 1) % COLD_RECENT] */
    uint64_t nrecent;
    struct cold_stream stream[COLD_STREAMS];
    uint64_t stream_clock;
    uint8_t *room[COLD_ROOMS];
    unsigned nrooms;
    struct cold_counts counts;
    unsigned hook_users;         /* calls of hooks that bring bytes */
    pthread_rwlock_t hooks_lock; /* guards hooks */
    struct cold_hooks hooks;
    pthread_mutex_t settle_lock; /* one settling at a time */
    pthread_mutex_t leave_lock;  /* one source goes at a time */
    uint32_t leaving;            /* atomic: that one; 0 none */
    bool leaving_named;          /* atomic: a range was given its name meanwhile */
    uint64_t put_lsn;            /* atomic: of the record that said last of blocks that they are elsewhere */
    uint64_t
        put_settled; /* up to that one they are durable, and who reads sees them; of the thread of the queue */
    bool aheads;     /* atomic: hooks.ahead is there */
    bool begun;      /* atomic: the store's version says that there are cold ranges */
};

/* cold_bring: blocks [first, end) of an object, as far as they are elsewhere. What cannot be kept is given to loose, which takes it
 * (cold_fetch_unref). -E_IO, -E_NOMEM, what loose gave. No lock held (cold_fetch.c). */
int cold_bring(struct store *s, uint64_t object, uint64_t first, uint64_t end,
               int (*loose)(void *arg, struct cold_fetch *f), void *arg);
/* cold_bring_run: as much of the beginning as one fetch_run brings, without waiting for who brings parts of it; what is left is cold_bring's, as
 * is what could not be kept. -E_IO, -E_NOMEM: some of it failed. */
int cold_bring_run(struct store *s, uint64_t object, uint64_t first, uint64_t end);
void cold_fetch_unref(struct cold *c, struct cold_fetch *f);
void cold_rooms_free(struct cold *c);
/* cold_fence: nothing of these blocks is fetched until cold_unfence. NULL: something is under way there; no memory. */
struct cold_fetch *cold_fence(struct store *s, uint64_t object, uint64_t first, uint64_t end);
void cold_unfence(struct store *s, struct cold_fetch *f);

/* with the lock (cold_parts.c) */
struct cold_obj *cold_obj_find(struct cold *c, uint64_t object);
int cold_part_add(struct cold *c, uint64_t object, uint64_t first, uint64_t end);
void cold_part_drop(struct cold *c, uint64_t object, uint64_t first, uint64_t end);
bool cold_part_has(struct cold *c, uint64_t object, uint64_t first, uint64_t end);
bool cold_part_gap(struct cold *c, uint64_t object, uint64_t *first,
                   uint64_t *end); /* the first that is in no part */

#endif
