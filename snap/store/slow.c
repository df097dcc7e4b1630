#include "snap/store/slow.h"

#include <string.h>
#include <time.h>

#include "base/log.h"

#define LONG_NS 250000000

static _Thread_local int64_t waited[SLOW__WAITS], since_ns;

/* To some milliseconds, for a few instructions. */
static int64_t coarse_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return ts.tv_sec * (int64_t)1000000000 + ts.tv_nsec;
}

void slow_goes_on(void)
{
    since_ns = coarse_ns();
}

void slow_begin(void)
{
    memset(waited, 0, sizeof(waited));
    slow_goes_on();
}

void slow_over(enum slow_wait what)
{
    int64_t now = coarse_ns();

    waited[what] = now - since_ns;
    since_ns = now;
}

static int ms(enum slow_wait what)
{
    return (int)(waited[what] / 1000000);
}

void slow_tell(int op)
{
    bool any = false;

    for (int i = 0; i < SLOW__WAITS; i++)
        any |= waited[i] >= LONG_NS;
    if (any && !BROKEN(VARVE_BREAK_slow_untold))
        log_note("store", "slow", "op=%d room_ms=%d lock_ms=%d tables_ms=%d journal_ms=%d", op, ms(SLOW_ROOM),
                 ms(SLOW_LOCK), ms(SLOW_TABLES), ms(SLOW_JOURNAL));
}
