/* tier/lease: one prune of a repository at a time. A lease is an object lease/prune.NNNNNNNN, the highest number counts; it holds for
 * LEASE_NS after it was put, by the backend's clock, and is renewed by the next number. Nothing is lost when two hold one (deletion is
 * safe without, docs/repository-format.md): it spares them double work. Its body has a random number, by which its holder knows it.
 * Threads: one. */
#ifndef VARVE_TIER_LEASE_H
#define VARVE_TIER_LEASE_H

#include "tier/repo.h"

#define LEASE_NS (600 * (int64_t)1000000000)

struct lease {
    struct repo *r;
    uint32_t number; /* 0: none */
    struct id16 id;  /* of this holder */
    int64_t put_ns;  /* clock_mono_ns() */
};

/* lease_take: -E_BUSY with a sentence: somebody holds it. */
int lease_take(struct repo *r, struct lease *ret, struct buf *err);
/* lease_keep: now and then; renews it in time. -E_BUSY: it was taken away. */
int lease_keep(struct lease *l);
void lease_drop(struct lease *l);

/* lease_break: removes dead ones; force: all. *ret_gone, *ret_alive: how many of each there were. */
int lease_break(struct backend *b, const struct backend_call *c, bool force, unsigned *ret_gone,
                unsigned *ret_alive);

#endif
