/* tests/lib/units: bytes that say by themselves whether they are right, for programs that load a mount from many threads; and the
 * time. A unit's first word is its seed, so that any of the versions that were written is right, and half of each is not. */
#ifndef VARVE_TESTS_LIB_UNITS_H
#define VARVE_TESTS_LIB_UNITS_H

#include "base/base.h"

#define UNIT 4096u

/* at: the unit's number in its file. len: of the part that is there, a multiple of 8. */
void unit_fill(uint64_t *p, size_t len, uint64_t seed, uint64_t at);
bool unit_is(const uint64_t *p, size_t len, uint64_t at);

double now_s(void);
void pause_s(double s);

/* A field of /proc/PID/status in its own unit (kB), 0: there is none. And how many descriptors a process has open. */
double proc_field(int pid, const char *field);
unsigned proc_descriptors(int pid);

#endif
