/* base/clock: the clock door. Code asks here, never the kernel, so that a test can set time. Threads: any. */
#ifndef VARVE_BASE_CLOCK_H
#define VARVE_BASE_CLOCK_H

#include <pthread.h>
#include <time.h>

#include "base/base.h"

int64_t clock_wall_ns(void); /* nanoseconds since 1970 UTC (CLOCK_REALTIME); may go backwards */
int64_t clock_mono_ns(void); /* nanoseconds of CLOCK_MONOTONIC; never goes backwards */

/* Test door: from now on both clocks stand at the given instants and move only by clock_test_advance(). */
void clock_test_set(int64_t wall_ns, int64_t mono_ns);
void clock_test_advance(int64_t ns);
void clock_test_off(void);

/* A condition for pthread_cond_timedwait() until clock_until(ms), that long from now: by CLOCK_MONOTONIC, as who waits by the wall clock
 * sleeps on for as long as that is set back. The kernel's time, not the test door's. */
void clock_cond_init(pthread_cond_t *c);
struct timespec clock_until(int64_t ms);

/* RFC 3339 in UTC with nanoseconds left out: "2026-11-20T22:00:00Z". out holds CLOCK_TEXT_SIZE bytes. */
#define CLOCK_TEXT_SIZE 32
void clock_format(int64_t wall_ns, char out[CLOCK_TEXT_SIZE]);

/* clock_parse(s, ret_ns): RFC 3339 with Z or an offset, or YYYY-MM-DD (midnight UTC). -E_INVAL. */
int clock_parse(const char *s, int64_t *ret_ns);

/* The Gregorian calendar: days since 1970-01-01 of a date (month 1..12, day from 1), and back; how many days a month has. */
int64_t clock_days(int64_t year, int month, int day);
void clock_date(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day);
int clock_month_days(int64_t year, int month);

#endif
