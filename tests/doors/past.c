/* A varve whose wall clock is VARVE_PAST seconds behind: what it makes is old for the others. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *ts)
{
    const char *past = id == CLOCK_REALTIME ? getenv("VARVE_PAST") : NULL;
    long r = syscall(SYS_clock_gettime, id, ts);

    if (r == 0 && past)
        ts->tv_sec -= strtol(past, NULL, 10);
    return (int)r;
}
