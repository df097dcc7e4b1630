/* tests/tier/random_work: one piece of work of the random test, done in this process, with a call that goes wrong, or in a process of its own
 * that is killed. Private to random*.c. */
#ifndef VARVE_TESTS_TIER_RANDOM_WORK_H
#define VARVE_TESTS_TIER_RANDOM_WORK_H

#include "tests/tier/random_life.h"

struct work {
    int (*run)(struct life *l, struct work *w);
    unsigned machine, k; /* whose, at which repository */
    struct shot *shot;   /* of a backup */
    const char *id;      /* of a copy, from the other repository */
    bool full, exclusive;
    enum codec_id codec;
    enum backup_domain domain;
    int (*progress)(void *arg, uint64_t items, uint64_t bytes);
    struct life *l;
    uint64_t at; /* when progress has been told so often, something happens */
    bool done, same;
    struct rp *gone; /* a recovery point that is deleted then; may be NULL */
    bool all;        /* or all of the volume's */
    unsigned vol;
};

int work_backup(struct life *l, struct work *w);
int work_prune(struct life *l, struct work *w);
int work_copy(struct life *l, struct work *w);
int work_reindex(struct life *l, struct work *w);

/* Its n-th call to the backend goes wrong. The error must be due to that. */
int work_with_fault(struct life *l, struct work *w);

/* In a process of its own, which is killed at a call or after a random time: WORK_DONE or WORK_BUSY, unless *killed. */
enum { WORK_DONE = 0, WORK_BUSY = 2, WORK_WRONG = 98 };
int work_in_child(struct life *l, struct work *w, bool *killed);

/* The parts of that. Between the first and the last nothing is open here that the other process uses. */
void work_apart_begin(struct life *l, const struct shot *s);
int work_child(struct life *l, struct work *w);
bool work_child_end(struct life *l, int pid, int *ret); /* true: it was killed */
void work_apart_end(struct life *l, const struct shot *s);

#endif
