/* tests/tier/rados_fake: stands in for librados and a cluster behind it: one pool in memory whose operations go wrong when told so, and
 * whose names come in no order, some of them twice. What was seen of the real one is done alike: an operation is consumed by sending it,
 * one that found no answer may be carried out later, a full pool lets those wait who do not ask for an answer, time is the client's. */
#ifndef VARVE_TESTS_TIER_RADOS_FAKE_H
#define VARVE_TESTS_TIER_RADOS_FAKE_H

#include "tier/backend.h"

enum fake_fault {
    FAKE_ERROR,  /* nothing is done, the error is told */
    FAKE_DONE,   /* it is done, the time-out is told */
    FAKE_NOT,    /* it is not done, the time-out is told */
    FAKE_LATE,   /* the time-out is told; it is done before the operation after the next */
    FAKE_FROZEN, /* the time-out is told; it is done by fake_thaw() */
    FAKE_SILENT, /* nothing is done, nothing is told until the backend is closed */
};

struct fake;
struct fake *fake_new(void);
void fake_free(struct fake *f);
/* options: as in a URL, "part=64K&timeout=1s"; names: how many a list keeps, 0 for the default. */
struct backend *fake_open(struct fake *f, const char *options, unsigned names);
int fake_try_open(struct fake *f, const char *options, struct backend **ret, struct buf *err);

/* The n-th operation from now on (1: the next), and as many after it as times says, go wrong; writes: only those count. error: of
 * FAKE_ERROR, a number of errno.h. */
void fake_fault(struct fake *f, unsigned n, unsigned times, enum fake_fault what, bool writes, int error);
bool fake_hit(const struct fake *f);
void fake_thaw(struct fake *f);

void fake_refuse(struct fake *f, int error); /* connecting gives that */
void fake_full(struct fake *f, int error);   /* what grows gives that, ENOSPC or EDQUOT; 0: it is not full */
void fake_pool(struct fake *f, bool there);
void fake_clock(struct fake *f, int64_t ahead_ns);        /* of the cluster */
int64_t fake_now(const struct fake *f);                   /* the cluster's */
void fake_older(struct fake *f, int64_t ns);              /* every object, by so much */
void fake_setting(struct fake *f, const char *max_write); /* osd_max_write_size, in MiB */
void fake_foreign(struct fake *f, const char *name);      /* somebody else puts an object */
size_t fake_count(const struct fake *f, const char *prefix);
void fake_drop(struct fake *f, const char *prefix); /* one object is lost */

#endif
