/* snap/store/sift: the dead blocks of objects that several files name (OBJECT_SHARED). Of such an object nobody knows, when a record
 * that names it goes, whether others name the same blocks. So the object is put into the reclaim queue (RECLAIM_SIFT), and in the
 * background every record that names it is looked at: live ones and history, firm and pending, of every branch. Blocks that none of
 * them names are queued to be punched, and go as all others do (I-09).
 *
 * A block that no record names at either level is never named again (I-15): new names are made of old ones only, and a shared object takes
 * no writes in place. So looking may take its time, in short transactions, as long as none of the names that there were at its
 * beginning is missed. Records move from live to history and from pending to firm, never back: they are looked at in that order. A
 * record that enters meanwhile is marked as it enters (sift_entered).
 *
 * For this room only. Threads: one sift at a time, under the queue's lock; the others inside write transactions. */
#ifndef VARVE_SNAP_STORE_SIFT_H
#define VARVE_SNAP_STORE_SIFT_H

#include "snap/store/txn.h"

#define SIFT_KNOWN 1024u
#define SIFT_REST_NS 1000000000ll /* between rounds of it, at least, and nine times as long as they took */

/* Their entries lie behind all others of the queue (RECLAIM_SIFTS), each object's once. `first` is a number never used before, which
 * tells whether an entry was put anew. */

/* Of the store: guarded by its lock (exclusive, or shared by who works the queue). */
struct sift_state {
    struct sift *work; /* the object that is looked at; NULL: none */
    uint64_t known
        [SIFT_KNOWN]; /* objects of which nothing need be queued: they are not shared, or are queued already */
    int64_t next_ns;  /* of the queue alone: not before, so that it takes a tenth of the time at most */
    uint64_t at;      /* likewise: the object whose turn it is */
    uint32_t hurry;   /* atomic: somebody waits for what it frees */
};

/* A record that named the object went, or another took its place: queues it if it is shared. Firm, whatever the level of what went. */
int sift_suspect(struct txn *t, uint64_t object);
/* The transaction is over without its puts. */
void sift_undone(struct txn *t);
/* The object becomes shared; it is queued. */
void sift_now_shared(struct store *s, uint64_t object);
void sift_known(struct store *s, uint64_t object);
bool sift_waiting(struct txn *t); /* is any queued? */

/* sift_round: works them for as long as it is their time. The number done, or an error; *ret_left: more will be done without anything
 * happening meanwhile. */
int sift_round(struct store *s, bool *ret_left);
void sift_rest(struct store *s); /* not for a while */

/* A record of an inode or a span enters; instead: the live one of that key whose place it takes; NULL: none. */
void sift_entered(struct txn *t, uint8_t tab, const void *key, const struct txn_val *instead,
                  const void *payload, size_t len);

/* sift_run: looks at an entry's object until the time is over; at least one step. 0: all of it was looked at, and what is dead is
 * queued; rec->first is that of the entry with which the look began. 1: more to do, or once more later; negative: an error. */
int sift_run(struct store *s, struct reclaim_rec *rec, int64_t until_ns);
void sift_end(struct store *s); /* what is under way is given up */

#endif
