/* tier/have_i: inside of tier/have: the environment and what is known of it while it is open. */
#ifndef VARVE_TIER_HAVE_I_H
#define VARVE_TIER_HAVE_I_H

#include <limits.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/mapped.h"
#include "tier/have.h"

#define HAVE_VERSION 1
#define HAVE_LET_GO_EACH 64 /* looks, each of which maps some 64 KiB anywhere */

/* Keys: a kind, then 16, 32 or 64 bytes. */
enum { K_BLOB = 'b', K_CHUNK = 'c', K_PENDING = 'p', K_INDEX = 'i', K_POINT = 'r', K_VERSION = 'v' };

struct have {
    MDB_env *env;
    MDB_dbi dbi;
    char dir[PATH_MAX];
    unsigned users; /* guarded by the registry's lock, as next */
    struct have *next;
    struct mapped map; /* to 0: not known */
    atomic_uint looks;
    atomic_bool damaged; /* who opens it next gets another */
};

int have_from_mdb(int m); /* our error for LMDB's */

/* have_told(h, r): r; -E_CORRUPT is written down, for whoever opens it next. */
int have_told(struct have *h, int r);

/* have_looked(h): one look more. Now and then what was mapped is let go, and more of the file is read ahead. */
void have_looked(struct have *h);

#endif
