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
    struct mark m;  /* numbers of chunks: 1 + the place in v of the pack that is kept for it */
    struct buf due; /* names of lists, each with its NUL */
    struct prune_result res;
};

struct pk *prune_pack(struct prune *w, const struct sha *name); /* NULL: it is not there */
int prune_indexes(struct prune *w, int (*cb)(void *arg, const char *name, const struct buf *plain),
                  void *arg);
int prune_del(struct prune *w, const char *name);

/* prune_condemn.c: the first phase. */
int prune_condemn(struct prune *w);

#endif
