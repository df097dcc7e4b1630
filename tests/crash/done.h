/* tests/crash/done: a file that says which seeds are done, so that a long run can be interrupted and go on another day. One line a
 * seed: "seed failed images judged recovered core-milliseconds program", the last a sum of the program's bytes. */
#ifndef VARVE_TESTS_CRASH_DONE_H
#define VARVE_TESTS_CRASH_DONE_H

#include "tests/crash/crash.h"

struct done;
struct done_sum {
    uint64_t seeds, failed, images, judged, recovered, core_ms, programs;
};

/* done_open(path, from, n): seeds from .. from + n - 1. The file is made if it is not there. Ends the program when it cannot be
 * read or written, or says something else. path NULL: nothing is kept. */
struct done *done_open(const char *path, uint64_t from, uint64_t n);
bool done_has(const struct done *d, uint64_t seed);
void done_add(struct done *d, uint64_t seed, bool failed, const struct c_figures *of_it, uint64_t core_ms);
struct done_sum done_sum(const struct done *d); /* of those seeds, also of earlier runs */
void done_close(struct done *d);

#endif
