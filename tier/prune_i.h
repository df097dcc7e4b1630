/* tier/prune_i: a prune under way. Private to prune*.c. */
#ifndef VARVE_TIER_PRUNE_I_H
#define VARVE_TIER_PRUNE_I_H

#include "tier/lease.h"
#include "tier/mark.h"
#include "tier/prune.h"

struct pk { /* a pack that is there */
    struct sha name;
    uint64_t size;
    int64_t mtime_ns, index_ns; /* index_ns: of the newest index that names it */
    uint64_t needed;            /* bytes of chunks that it is kept for */
    bool named;                 /* by an index */
    bool claimed;               /* its chunks have been looked at */
    bool listed;                /* condemned */
    bool due;                   /* and its grace is over */
    bool fresh;                 /* condemned in this run */
    bool renamed;               /* an index put in this run names it */
    bool held;                  /* an index that may not be deleted names it: it stays, too */
    bool gone;
};

struct prune {
    struct repo *r;
    const struct prune_opts *o;
    struct buf *err;
    struct lease lease;
    int64_t now_ns;   /* by the backend's clock, before anything was read */
    int64_t index_ns; /* of the index under way */
    struct pk *v;
    size_t n;
    struct idset by_name; /* to the place in v */
    bool any_listed;
    struct mark m;    /* numbers of chunks: 1 + the place in v of the pack that is kept for it */
    struct buf due;   /* names of lists, each with its NUL */
    unsigned refused; /* deletions of indexes, one after the other */
    struct prune_result res;
};

struct pk *prune_pack(struct prune *w, const struct sha *name); /* NULL: it is not there */
int prune_indexes(struct prune *w, int (*cb)(void *arg, const char *name, const struct buf *plain),
                  void *arg);
/* 0: it is gone; 1: the store refuses, which is counted. */
int prune_del(struct prune *w, const char *name);

bool prune_is_due(const struct prune *w, const char *list);
int prune_told(struct prune *w, const char *what, uint64_t done, uint64_t of);

/* prune_condemn.c: the first phase. */
int prune_condemn(struct prune *w);
/* prune_sweep.c: the second. */
int prune_sweep(struct prune *w);

#endif
