/* tests/tier/random_place: where a repository of the random test lies: a directory, or memory. Its calls fail when told so, its process dies
 * in the middle of one, and its clock can be put forward. What is below a directory outlives the process. */
#ifndef VARVE_TESTS_TIER_RANDOM_PLACE_H
#define VARVE_TESTS_TIER_RANDOM_PLACE_H

#include "tests/tier/mem.h"

enum place_fault {
    PLACE_FAIL, /* as in mem.h */
    PLACE_UNSURE_DONE,
    PLACE_UNSURE_NOT,
    PLACE_CLOSED,
    PLACE_KILL_BEFORE, /* this process dies by SIGKILL instead of it, */
    PLACE_KILL_AFTER,  /* or when it is done */
    PLACE_FAULTS
};

struct place {
    char dir[300]; /* "" memory */
    struct mem *m;
    int64_t later_ns;
    uint64_t fault_at, calls;
    enum place_fault what;
    bool hit, closed;
};

void place_open(struct place *p, const char *dir); /* dir NULL: memory */
void place_release(struct place *p);
struct backend *place_backend(struct place *p); /* any number of them */

/* The n-th call from now on goes wrong; 0: none does. */
void place_fault(struct place *p, uint64_t n, enum place_fault what);
void place_later(struct place *p, int64_t ns);

/* Names that begin with prefix, each with its NUL; how many. */
size_t place_names(struct place *p, const char *prefix, struct buf *ret);
void place_flip(struct place *p, const char *name, size_t at); /* one bit */
void place_drop(struct place *p, const char *name);

#endif
