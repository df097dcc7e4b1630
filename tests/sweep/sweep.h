/* tests/sweep: the n-th allocation, the n-th call to the disk fails, for every n, over everything that varve does: requests as
 * the kernel sends them, through libfuse, and verbs. See main.c. */
#ifndef VARVE_TESTS_SWEEP_SWEEP_H
#define VARVE_TESTS_SWEEP_SWEEP_H

#include "fs/op.h"

struct place {
    struct io *io;
    char path[400];
    struct verb_env env;
    struct vol *v;
    struct session *ss;
    int fd; /* the kernel's end */
    uint64_t unique, node;
    uint8_t answer[70000]; /* the last one, without its header */
    size_t answer_len;
};

/* place_make: an empty store with a volume and what the works want to find; closed. */
void place_make(const char *path);
/* place_open: a daemon's state over it. The error of opening; nothing is open then. */
int place_open(struct place *p, struct io *io, const char *path);
/* place_close: as at the last umount; the error of store_close. place_drop: as if the process died. */
int place_close(struct place *p);
void place_drop(struct place *p);

/* One thing that a user does. before (may be NULL) prepares it and is not swept. run: 0 or a positive errno; -1: no answer came. */
struct work {
    const char *name;
    void (*before)(struct place *p);
    int (*run)(struct place *p);
};
extern const struct work works[];
extern const size_t nworks;

/* alloc.c: allocations of this thread. alloc_fail(n): the n-th from now fails, once. alloc_failed: it did; ends it. alloc_live: blocks of
 * the whole process that are not freed yet. */
bool alloc_can(void);
void alloc_fail(int64_t n);
bool alloc_failed(void);
int64_t alloc_live(void);

#endif
