/* tests/tier/random_tree: a volume and a plain directory to which the same is done, each by its own means: what the directory shows is what
 * a snapshot of the volume must bring back. Nothing of varve is asked about what is there. */
#ifndef VARVE_TESTS_TIER_RANDOM_TREE_H
#define VARVE_TESTS_TIER_RANDOM_TREE_H

#include "tests/lib/box.h"

struct twin {
    struct box *b;
    struct vol *v;
    char plain[300];
    int64_t clock; /* of the times that both are given */
};

void twin_begin(struct twin *t); /* makes the directory; the volume is new */
/* n random changes: bytes, sizes, names, links, attributes, owners, holes, copies. */
void twin_mess(struct twin *t, uint64_t *rng, unsigned n);

/* A plain tree as it is; to must not be there. */
void plain_copy(const char *from, const char *to);
/* A random name below a plain tree, without what leads to it; false: there is none. */
bool plain_pick(const char *top, uint64_t *rng, char out[300]);

#endif
