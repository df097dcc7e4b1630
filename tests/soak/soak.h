/* tests/soak: a steady mixed load on one mount, samples of what daemon and store take meanwhile, and a probe of how long requests
 * wait. What the load keeps is always the same, so what grows is a leak. */
#ifndef VARVE_TESTS_SOAK_SOAK_H
#define VARVE_TESTS_SOAK_SOAK_H

#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib/test.h"
#include "tests/lib/units.h"

struct soak {
    const char *mnt, *store, *varve, *csv;
    double asked_s, bound_pct;
    _Atomic double seconds;  /* what it takes: longer where the machine is slow */
    _Atomic double steady_s; /* when the load had become so, 0: not yet */
    unsigned shrunk;         /* what the load keeps is divided by this, so that a short one is soon steady */
    double tick_s;           /* between two snapshots */
    double step_s;           /* between two samples */
    double began_s;          /* by now_s() */
    atomic_uint faults;      /* answers that were wrong */
    pthread_rwlock_t world;  /* shared: a step of the load; exclusive: the tree is rolled back */
    pthread_rwlock_t shelf;  /* shared: a view is read; exclusive: snapshots are deleted */
    atomic_ullong steps[8];  /* of the load, by kind */
};

bool soak_ends(const struct soak *k);
void fault(struct soak *k, const char *fmt, ...) PRINTF_LIKE(2, 3);
void path_in(char out[512], const char *fmt, ...) PRINTF_LIKE(2, 3);

/* load.c: the threads of the load; each runs until the soak ends. load_lay: what the load works on, before the clock starts. */
void load_lay(struct soak *k);
void *load_trees(void *arg);
void *load_overwrite(void *arg);
void *load_append(void *arg);
void *load_mmap(void *arg);
void *load_read(void *arg);
/* Every file of a tree that load_trees made, live or in a view: the number of files. */
unsigned tree_read(struct soak *k, const char *path);

/* remember.c: snapshots, their deletion, rollbacks, clones, at a schedule. */
void *remember(void *arg);
bool snapshot_any(const struct soak *k, uint64_t *seed, char out[256]);

/* probe.c: how long single requests wait. */
enum probe_kind { PROBE_CREATE, PROBE_STAT, PROBE_FSYNC, PROBE_READ, PROBE_DISK, PROBE_KINDS };
void *probe(void *arg);
void *probe_disk(void *arg);                           /* how long the disk itself takes, beside the store */
unsigned probe_verdict(struct soak *k, double most_s); /* prints; how many bounds do not hold */
unsigned remember_verdict(void);

/* sample.c: what is taken, sampled until the soak ends; and whether it has grown. */
void sample(struct soak *k);
unsigned sample_verdict(struct soak *k);
unsigned sample_count(void); /* of verdicts */

#endif
