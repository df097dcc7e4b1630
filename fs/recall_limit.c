/* How much of a volume readers may recall in an hour: so that a scanner does not bring all of it here. Who asks for it by name
 * (varve hydrate, varve tier recall) is not bound by it. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/mark.h"
#include "conf/value.h"
#include "fs/recall_i.h"
#include "snap/event.h"
#include "snap/job.h"

#define HOUR_NS 3600000000000ll
#define LEAST_BYTES (16u << 20) /* a single file can be looked at under any limit */

static _Thread_local struct job *unbound;

void recall_unbound(struct job *j)
{
    unbound = j;
}

bool recall_is_canceled(void)
{
    return unbound && job_canceled(unbound);
}

bool recall_is_limited(const struct recall *rc)
{
    return rc->opts.limit_bytes && !unbound && !BROKEN(VARVE_BREAK_recall_limit);
}

static uint64_t most_of(const struct recall *rc)
{
    return MAX_OF(rc->opts.limit_bytes, (uint64_t)LEAST_BYTES);
}

/* What the hour gives comes bit by bit; what nobody used is kept, up to an hour's worth. */
static void refill(const struct recall *rc, struct budget *b)
{
    int64_t now = clock_mono_ns(), passed = MIN_OF(now - b->at_ns, (int64_t)HOUR_NS);
    uint64_t more = (uint64_t)((double)rc->opts.limit_bytes * (double)passed / (double)HOUR_NS);

    if (more == 0)
        return;
    b->at_ns = now;
    b->bytes = MIN_OF(b->bytes + more, most_of(rc));
}

static struct budget *budget_locked(struct recall *rc, const struct uuid *volume)
{
    struct budget *b;

    for (b = rc->budgets; b; b = b->next)
        if (uuid_equal(&b->volume, volume))
            return b;
    b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    *b = (struct budget){
        .next = rc->budgets, .volume = *volume, .bytes = most_of(rc), .at_ns = clock_mono_ns()};
    rc->budgets = b;
    return b;
}

static void say_limited(struct recall *rc, const char *name)
{
    char size[CONF_SIZE_TEXT];

    conf_size_text(rc->opts.limit_bytes, size);
    event_emit(rc->s, "recall-limited", name,
               "readers recalled more than recall_limit, %s in an hour, allows: they wait, and get EIO after "
               "recall_timeout; varve tier recall brings what is wanted",
               size);
}

/* True: this is the first one that waits since nobody did. */
static bool take_locked(struct recall *rc, struct budget *b, uint64_t bytes, int64_t until_ns, int *ret)
{
    bool first = false;

    *ret = 0;
    for (refill(rc, b); b->bytes < bytes && *ret == 0; refill(rc, b)) {
        MARK("recall: a reader waits for the limit");
        first |= !b->said;
        b->said = true;
        if (first)
            break;
        *ret = recall_wait_locked(rc, until_ns);
    }
    if (*ret == 0 && b->bytes >= bytes) {
        b->said &= b->bytes < most_of(rc) / 2;
        b->bytes -= bytes;
        return false;
    }
    return first;
}

int recall_limit_take(struct recall *rc, const struct from *f, uint64_t bytes, int64_t until_ns)
{
    struct budget *b;
    bool first;
    int r;

    if (!recall_is_limited(rc))
        return 0;
    do {
        pthread_mutex_lock(&rc->lock);
        b = budget_locked(rc, &f->volume);
        first = b && take_locked(rc, b, bytes, until_ns, &r);
        pthread_mutex_unlock(&rc->lock);
        if (first)
            say_limited(rc, f->name);
    } while (first);
    return !b ? -E_NOMEM : r == -E_TIMEOUT ? -E_BUSY : r;
}
