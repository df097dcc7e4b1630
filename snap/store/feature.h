/* snap/store/feature: what a store needs of the program that opens it. A program that writes something which an older one would
 * misunderstand sets a bit in STORE/version first (the older one then says so and touches nothing), and marks such records of the
 * journal with `txn.must`: a replay that meets one of a kind it does not know stops, whatever the bits say. Records of other unknown
 * kinds are read: their after-images say all. */
#ifndef VARVE_SNAP_STORE_FEATURE_H
#define VARVE_SNAP_STORE_FEATURE_H

#include "snap/store/store.h"

/* feature_require: from now on the store is for programs that know these bits (of the incompat mask). Durable when it returns. */
int feature_require(struct store *s, uint64_t incompat);
bool feature_kind_known(unsigned kind);

/* Test door: a program of a later version knows more than this one. opened: the store was opened for writing. */
struct feature_door {
    uint64_t incompat;
    unsigned kind;
    void (*opened)(struct store *s);
};
extern struct feature_door feature_door;

#endif
