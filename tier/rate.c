#include "tier/rate.h"

#include "base/clock.h"

#define SAVED_NS 100000000 /* what was not used for longer than this is lost */
#define NS_PER_S 1000000000.0

void rate_init(struct rate *r, uint64_t bytes_per_s)
{
    *r = (struct rate){.per_s = bytes_per_s, .free_ns = clock_mono_ns()};
    lock_init(&r->lock, RANK_LEAF, 0);
}

void rate_release(struct rate *r)
{
    lock_release(&r->lock);
}

int64_t rate_wait_ns(struct rate *r)
{
    int64_t left;

    if (!r || r->per_s == 0)
        return 0;
    lock_take(&r->lock);
    left = r->free_ns - clock_mono_ns();
    lock_drop(&r->lock);
    return MAX_OF(left, 0);
}

void rate_add(struct rate *r, size_t bytes)
{
    int64_t now = clock_mono_ns();

    if (!r || r->per_s == 0)
        return;
    lock_take(&r->lock);
    r->free_ns = MAX_OF(r->free_ns, now - SAVED_NS) + (int64_t)((double)bytes * NS_PER_S / (double)r->per_s);
    lock_drop(&r->lock);
}
