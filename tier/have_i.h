/* tier/have_i: inside of tier/have: the environment and what is known of it while it is open. */
#ifndef VARVE_TIER_HAVE_I_H
#define VARVE_TIER_HAVE_I_H

#include <limits.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/mapped.h"
#include "tier/have.h"

#define HAVE_VERSION 2
#define HAVE_VERSION_VAL 9u /* and a random number */
#define HAVE_LET_GO_EACH 64 /* looks, each of which maps some 64 KiB anywhere */

/* Keys: a kind, then 16, 32 or 64 bytes; of K_FILTER 5, of K_TURN and K_VERSION none. */
enum {
    K_BLOB = 'b', /* in both tables */
    K_CHUNK = 'c',
    K_PENDING = 'p',
    K_INDEX = 'i',
    K_POINT = 'r',
    K_VERSION = 'v', /* in both: the same value, so that they belong together */
    K_FILTER = 'l',  /* in the young one, as the next */
    K_TURN = 't',
};
#define HAVE_KEY_MAX 65

/* Two tables, of which the young one is small: what is looked for, blob by blob, and mostly not there, is found not to be there without
 * the large one (tier/have_blobs.c). */
enum have_which { HAVE_OLD, HAVE_YOUNG, HAVE__N };
struct have_table {
    MDB_env *env;
    MDB_dbi dbi;
    struct mapped map; /* to 0: not known */
};
struct have {
    struct have_table t[HAVE__N];
    char dir[PATH_MAX];
    unsigned users; /* guarded by the registry's lock, as next */
    struct have *next;
    atomic_uint looks, young_looks;
    atomic_bool damaged; /* who opens it next gets another */
};

/* A change of both. What comes is durable in the young one first, so that what the old one says of an index is so; where names move, the
 * old one is first. Names without their chunk are harmless. have_end: r, or the error. */
struct have_txn {
    struct have *h;
    MDB_txn *t[HAVE__N];
    bool forget;
    bool moves; /* from the young one to the old one */
    bool many;  /* more than the young one should take: into the old one */
};
int have_begin(struct have *h, struct have_txn *w);
int have_end(struct have_txn *w, int r);

MDB_val have_key(uint8_t room[HAVE_KEY_MAX], uint8_t kind, const void *p, size_t len);
int have_put(struct have_txn *w, enum have_which which, uint8_t kind, const void *key, size_t klen,
             const void *p, size_t len);
int have_drop(struct have_txn *w, enum have_which which, uint8_t kind, const void *key, size_t klen);
/* have_names: does the entry of these 16 bytes have a value that begins so? Another pack may have the same chunk, another chunk the same blob. */
bool have_names(struct have_txn *w, enum have_which which, uint8_t kind, const void *key, const void *p,
                size_t len);
/* have_get: copies the old table's value into out, zeros behind a short one; one that is neither of these is not ours. */
int have_get(struct have *h, uint8_t kind, const void *key, size_t klen, void *out, size_t len_short,
             size_t len);

/* have_open.c: both tables are empty, but for their version. have.c: and for what is put and not yet named, which a writer counts on. */
int have_empty(struct have_txn *w);
int have_empty_but_pending(struct have_txn *w);

/* have_blobs.c: a blob that came, or whose pack is forgotten. have_settle: some of the young table's blobs go to the old one,
 * and the part gets its filter, if there are many, or the part has none, and enough came to be worth it. have_settle_all: all but what may stay, where much came: while it
 * comes that many more wait as a part has of all. have_many: blobs go to the old table
 * from now on, in this change, and parts have no filters. */
int have_blob_put(struct have_txn *w, const struct id16 *blob, const struct have_blob *b);
int have_blob_forget(struct have_txn *w, const struct id16 *blob, const struct have_blob *b);
int have_settle(struct have *h, uint64_t came);
int have_settle_all(struct have *h, bool (*stop)(void *arg), void *arg);
int have_many(struct have_txn *w);
/* Blobs that stay in the young table, and entries of the old one for each part, beyond which parts are halved; tests make them less. */
extern uint64_t have_young_max, have_part_max;

int have_from_mdb(int m); /* our error for LMDB's */

/* have_told(h, r): r; -E_CORRUPT is written down, for whoever opens it next. */
int have_told(struct have *h, int r);

/* have_looked(h): one look more. Now and then what was mapped is let go, and more of the file is read ahead. */
void have_looked(struct have *h);
/* have_young_looks(h): a look into the young table is next. The first one has all of it read; now and then what was mapped is let go. */
void have_young_looks(struct have *h);

#endif
