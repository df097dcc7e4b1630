/* tests/tier/random_life: two stores with three volumes, two repositories, machines that know of them; and what must be in all of them. Private to
 * random*.c. */
#ifndef VARVE_TESTS_TIER_RANDOM_LIFE_H
#define VARVE_TESTS_TIER_RANDOM_LIFE_H

#include "tests/tier/random_place.h"
#include "tests/tier/random_tree.h"
#include "tier/backup.h"

#define VOLS 3     /* the first two in one store, the third in the other */
#define MACHINES 4 /* each store's, one that prunes, one that looks whether all is right */
#define PRUNER 2
#define EYE 3
#define REPOS 2
#define SHOTS 96
#define POINTS 64

struct shot {        /* a snapshot, as it was */
    bool used, here; /* here: the volume still has it */
    unsigned vol;
    char name[24], copy[400];
};
struct rp {            /* a recovery point that was acknowledged, or found */
    char id[SHA_TEXT]; /* "" none */
    unsigned shot;
};

enum count {
    N_FULL,
    N_INCREMENT,
    N_SAME,
    N_CANCELED,
    N_FAULT,
    N_KILL,
    N_STORM,
    N_AGAIN,
    N_DELETE,
    N_PRUNE,
    N_EXCLUSIVE,
    N_MEANWHILE,
    N_COPY,
    N_VERIFY,
    N_RESTORE,
    N_PATHS,
    N_REINDEX,
    N_UNLOCK,
    N_DIE,
    N_FORGET,
    N_ROLLBACK,
    N_DAMAGE,
    N_SHRED,
    N_COUNTS
};

struct life {
    uint64_t rng, shots;
    struct box box[2];
    struct twin twin[VOLS];
    struct uuid uuid[VOLS];
    struct place place[REPOS];
    struct secret secret[REPOS];
    struct repo *repo[MACHINES][REPOS];
    struct shot shot[SHOTS];
    struct rp rp[REPOS][POINTS];
    uint64_t n[N_COUNTS];
    /* told while something is restored; may be NULL */
    int (*restoring)(void *arg, uint64_t items, uint64_t bytes);
    void *restoring_arg;
};

uint64_t life_draw(struct life *l, uint64_t below);
void life_begin(struct life *l, uint64_t seed);
void life_end(struct life *l);

struct repo *life_repo(struct life *l, unsigned machine, unsigned k);
void life_close_repos(struct life *l);
void life_forget(struct life *l, unsigned machine); /* all that it knows */

/* The store's volumes, when the store has been opened anew. */
void life_attached(struct life *l, unsigned box);

struct shot *life_shoot(struct life *l, unsigned vol); /* a snapshot, taken and kept beside */
void life_unshoot(struct life *l, struct shot *s);     /* the volume's is deleted */

struct rp *life_point(struct life *l, unsigned k); /* any; NULL: there is none */
unsigned life_points(const struct life *l, unsigned k);
void life_point_delete(struct life *l, unsigned k, struct rp *p);
/* What is in the repository is what must be there: recovery points nobody was told of are taken in. */
void life_reconcile(struct life *l, unsigned k);

/* random_check.c */
void life_restore(struct life *l, unsigned machine, unsigned k, const struct rp *p, bool paths);
void life_verify(struct life *l, unsigned k, bool full, double share);

#endif
