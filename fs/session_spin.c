/* A request that comes soon after an answer finds its reader awake. To wake a thread, on a processor that has gone idle above all, takes
 * longer than most requests.
 *
 * One thread of the process does so at a time, for SPIN_NS at most, and only while it pays: each wait tells whether a request would have
 * come in that time, and more that came late than soon end it. So an idle mount costs nothing. When somebody else wanted the processor
 * (the thread was switched away though it did not ask for it) nobody spins for HOLD_NS. */
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "fs/session_i.h"

#define SPIN_NS 30000
#define HOLD_NS 50000000
#define LUCK_LEAST 2u
#define LUCK_MOST 8u

static atomic_uint spinners;
static atomic_llong held_until_ns;

static long switched_away(void)
{
    struct rusage u;

    return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_nivcsw : 0;
}

static bool has_company(void)
{
    static atomic_long processors;
    long n = atomic_load_explicit(&processors, memory_order_relaxed);

    if (n == 0) {
        n = sysconf(_SC_NPROCESSORS_ONLN);
        atomic_store(&processors, n);
    }
    return n > 1;
}

static bool is_worth(const struct worker *w)
{
    return atomic_load_explicit(&w->ss->luck, memory_order_relaxed) >= LUCK_LEAST && has_company() &&
           w->waits_ns >= atomic_load(&held_until_ns);
}

bool session__spin_begin(struct worker *w)
{
    w->waits_ns = clock_mono_ns();
    w->spins = false;
    atomic_store_explicit(&w->ss->waits_ns, w->waits_ns, memory_order_relaxed);
    if (!BROKEN(VARVE_BREAK_spin_endless) && !is_worth(w))
        return false;
    if (atomic_fetch_add(&spinners, 1) > 0) {
        atomic_fetch_sub(&spinners, 1);
        return false;
    }
    w->spins = true;
    w->switches = switched_away();
    return true;
}

bool session__spin_goes_on(const struct worker *w)
{
    return clock_mono_ns() - w->waits_ns < SPIN_NS || BROKEN(VARVE_BREAK_spin_endless);
}

void session__spin_end(struct worker *w)
{
    int64_t now = clock_mono_ns();
    unsigned luck = atomic_load_explicit(&w->ss->luck, memory_order_relaxed);

    /* since the last answer of whichever thread; when two change it at once, one of them counts */
    if (now - atomic_load_explicit(&w->ss->waits_ns, memory_order_relaxed) < SPIN_NS)
        luck = MIN_OF(luck + 1, LUCK_MOST);
    else
        luck -= MIN_OF(luck, 2);
    atomic_store_explicit(&w->ss->luck, luck, memory_order_relaxed);
    if (!w->spins)
        return;
    atomic_fetch_sub(&spinners, 1);
    w->spins = false;
    if (switched_away() != w->switches)
        atomic_store(&held_until_ns, now + HOLD_NS);
}

bool session__spin_held(void)
{
    return clock_mono_ns() < atomic_load_explicit(&held_until_ns, memory_order_relaxed);
}
