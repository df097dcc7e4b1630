/* tests/lib/seeded: numbers that must be new each time (keys, uuids, boot ids) are a seed's here, or a failure could not be replayed.
 * A double of getrandom(2), the system's own until seeded_begin. Any thread; with several of them their order is not the seed's. */
#ifndef VARVE_TESTS_LIB_SEEDED_H
#define VARVE_TESTS_LIB_SEEDED_H

#include "base/base.h"

void seeded_begin(uint64_t seed);
void seeded_end(void);

#endif
