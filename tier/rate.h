/* tier/rate: a limit of bytes a second, shared by all that goes one way. Threads: any. */
#ifndef VARVE_TIER_RATE_H
#define VARVE_TIER_RATE_H

#include "base/lock.h"

struct rate {
    struct lock lock; /* guards free_ns */
    uint64_t per_s;   /* 0: no limit */
    int64_t free_ns;  /* when what was let through has had its time */
};

void rate_init(struct rate *r, uint64_t bytes_per_s);
void rate_release(struct rate *r);

/* rate_wait_ns: how long nothing more may go; 0: now. rate_add: bytes go now; they may be more than is due, then the next wait longer. */
int64_t rate_wait_ns(struct rate *r);
void rate_add(struct rate *r, size_t bytes);

#endif
