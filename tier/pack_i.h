/* tier/pack_i: what is on its way from a packer to the repository. Private to pack*.c. */
#ifndef VARVE_TIER_PACK_I_H
#define VARVE_TIER_PACK_I_H

#include <stdatomic.h>

#include "base/task.h"
#include "tier/pack.h"

#define LINE_THREADS_MAX 4

/* A chunk that fills up, and then is sealed by another thread. */
struct chunk_work {
    struct chunk_work *next;
    struct task *task; /* NULL: it has none, result is there */
    struct pack_line *line;
    bool hard; /* as of a sealer */
    enum chunk_kind kind;
    struct id16 id;
    struct buf plain, blobs, sealed; /* blobs: as in the trailer */
    uint32_t n;                      /* blobs */
    int result;
};

/* A pack that fills up, and then is hashed, put and taken note of by another thread. */
struct pack_work {
    struct pack_work *next;
    struct task *task;
    struct repo *repo;
    struct buf pack, trailer; /* trailer: its plain bytes */
    uint32_t nchunks;
    struct sha name;
    bool put; /* it is there, whatever came after */
    int result;
    char why[256]; /* what is said of the result */
};

/* Both on their way: in the order in which they were begun, whichever ends first. One owner; the queues are bounded: who sends more
 * waits for the oldest. */
struct pack_line {
    struct repo *r;
    struct task_pool *sealing, *putting; /* NULL: nothing was enough for threads yet */
    struct chunk_work *chunks, **chunks_end, *chunks_spare;
    struct pack_work *packs, **packs_end;
    unsigned nchunks, npacks, threads;
    struct sealer sealer[LINE_THREADS_MAX]; /* one for each thread: they are large */
    atomic_bool busy[LINE_THREADS_MAX];
};
void line_init(struct pack_line *l, struct repo *r);
void line_release(struct pack_line *l); /* waits for what runs; the rest is forgotten */

/* An empty one. NULL: no memory. */
struct chunk_work *line_chunk_new(struct pack_line *l);
struct pack_work *line_pack_new(struct pack_line *l);
/* line_full: who sends another has to take one before. */
bool line_chunks_full(const struct pack_line *l);
bool line_packs_full(const struct pack_line *l);
/* line_send: takes w in any case. last: nothing follows soon, it is done at once where no threads are there yet. */
int line_chunk_send(struct pack_line *l, struct chunk_work *w, bool last);
int line_pack_send(struct pack_line *l, struct pack_work *w, bool last);
/* line_take: the oldest, once it is done; NULL: there is none, or (wait false) it is not done. Given back by line_chunk_spare, which keeps
 * its memory for the next one, and line_pack_free, which does not: packs are large. */
struct chunk_work *line_chunk_take(struct pack_line *l, bool wait);
struct pack_work *line_pack_take(struct pack_line *l, bool wait);
void line_chunk_spare(struct pack_line *l, struct chunk_work *w);
void line_pack_free(struct pack_work *w);

/* Blobs of this session that no acknowledged pack holds yet. The zero state is empty. */
struct fresh {
    struct fresh_at {
        struct id16 blob; /* all zeros: a free slot */
        struct have_blob at;
    } * v;
    size_t n, cap;
};
void fresh_free(struct fresh *f);
const struct have_blob *fresh_get(const struct fresh *f, const struct id16 *blob); /* NULL: it is not in it */
int fresh_put(struct fresh *f, const struct id16 *blob, const struct have_blob *at);
int fresh_drop(struct fresh *f, const struct idset *chunks); /* those in these chunks */

#endif
