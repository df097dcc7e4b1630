/* snap/store/kv_i: what kv.c, kv_read.c and kv_write.c share. */
#ifndef VARVE_SNAP_STORE_KV_I_H
#define VARVE_SNAP_STORE_KV_I_H

#include <lmdb.h>
#include <pthread.h>

#include "snap/store/delta.h"
#include "snap/store/kv.h"
#include "snap/store/pending.h"

struct kv {
    MDB_env *env; /* NULL after a failed write, when it could not be opened again */
    MDB_dbi dbi;
    bool readonly; /* as asked for, or since such a failure */
    char *dir;
    uint64_t
        most_written; /* for the writer alone: entries of the largest checkpoint since the tables were opened */
    bool free_known;   /* for the writer alone: */
    uint64_t free_sum; /* of the list of free pages as the last commit left it */
    /* guarded by the store's lock */
    struct pending *pending;
    struct delta *active, *sealed; /* sealed: NULL while no checkpoint runs */
    uint64_t changes;              /* of the maps in memory */
    uint64_t epoch;                /* of LMDB: raised when a sealed delta went away */
    /* the gate of LMDB readers */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t change;
    struct kv_read *idle;
    struct kv_hold *holds;
    size_t inside;                  /* readers between begin and end */
    bool growing;                   /* the map is about to move, or to be opened anew: nobody may come in */
    pthread_mutex_t scattered_lock; /* guards what follows */
    int scattered;                  /* how many are after few records all over the tables */
};

/* Where a run of ascending kv_ge stands. All positions are those of the first entry >= from. */
struct kv_seek {
    bool valid, db_valid;
    bool db_end;
    size_t
        db_left_out; /* LMDB was not asked, as it has nothing with this many first bytes of from; 0: it was */
    bool db_passed;  /* beyond an entry that a tombstone hid: good only while the maps do not change */
    uint64_t changes;
    struct delta_node *at[3]; /* pending, active, sealed */
    MDB_cursor *cursor;
    MDB_val db_key, db_val;
    const void *gave; /* the key of the entry that was given last; gave_len 0: none, or not any more */
    size_t gave_len;
    size_t from_len;
    uint8_t from[DELTA_KEY_MAX];
};

/* Two neighbours in LMDB: between them it has no key. */
#define KV_GAPS 16u
#define KV_GAP_KEY 48u
struct kv_gap {
    bool known;
    uint64_t epoch; /* what LMDB gets after that lay in the maps until then */
    uint8_t lo_len, hi_len;
    bool last;                              /* there is none above */
    uint8_t lo[KV_GAP_KEY], hi[KV_GAP_KEY]; /* hi may be cut off: so the gap is smaller than it could be */
};

struct kv_read {
    struct kv_read *next;
    MDB_txn *txn;
    bool live; /* txn is at work: from the first look into LMDB in a bracket */
    uint64_t epoch;
    void *keep;             /* see kv_read_keep() */
    MDB_cursor *probe;      /* for single keys */
    struct kv_seek seek[2]; /* with the pending layer, without */
    struct kv_gap gap[KV_GAPS];
};

int kv__error(int mdb); /* the code of an LMDB result; 0 for success */
void kv__read_free(struct kv_read *r);
int kv__read_fresh(struct kv *kv, struct kv_read *r); /* before LMDB is looked into */
void kv__holds_end(struct kv *kv); /* before the environment is closed; lock held, or nobody else there */
/* One try to write the sealed delta and `extra`: all of it, or nothing. An LMDB result. */
struct kv_written {
    uint64_t entries, bytes;
};
int kv__write_once(struct kv *kv, const struct kv_item *extra, struct kv_written *ret);
int kv__grow(struct kv *kv); /* doubles the map when no reader is inside; without a write transaction */

#endif
