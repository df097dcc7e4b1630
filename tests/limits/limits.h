/* tests/limits: loads that go to the edge of what a process, a connection or a store may have. Each part prints its figures and
 * gives 0, or 1 when an answer was wrong or did not come. Mounting, limits and what is asked of the daemon are run.sh's. */
#ifndef VARVE_TESTS_LIMITS_LIMITS_H
#define VARVE_TESTS_LIMITS_LIMITS_H

#include "tests/lib/test.h"
#include "tests/lib/units.h"

void path_in(char out[512], const char *fmt, ...) PRINTF_LIKE(2, 3);

int part_files(int argc, char **argv);
int part_flood(int argc, char **argv);
int part_storm(int argc, char **argv);
int part_walk(int argc, char **argv);

#endif
