/* What a test asks of the lying disk: when it fails, what it has counted. */
#include "tests/lib/lying_model.h"

void lying__for_each_file(struct lying_node *n, void (*fn)(struct lying_node *f))
{
    if (!n->is_dir)
        fn(n);
    for (size_t i = 0; i < n->now.n; i++)
        lying__for_each_file(n->now.e[i].node, fn);
}

void lying__settle(struct lying *d)
{
    lying__for_each_file(d->top, lying__sync);
    lying__names_sync_all(d);
}

void lying_crash_at(struct lying *d, uint64_t n)
{
    pthread_mutex_lock(&d->lock);
    d->crash_at = n ? d->mutations + n : 0;
    pthread_mutex_unlock(&d->lock);
}

bool lying_crashed(struct lying *d)
{
    bool crashed;

    pthread_mutex_lock(&d->lock);
    crashed = d->crashed;
    pthread_mutex_unlock(&d->lock);
    return crashed;
}

void lying_kill_at(struct lying *d, uint64_t n)
{
    pthread_mutex_lock(&d->lock);
    d->kill_at = n ? d->mutations + n : 0;
    pthread_mutex_unlock(&d->lock);
}

void lying_revive(struct lying *d)
{
    pthread_mutex_lock(&d->lock);
    assert(!d->crashed);
    lying__close_all(d);
    d->killed = false;
    d->kill_at = 0;
    pthread_mutex_unlock(&d->lock);
}

static void fail_set(struct lying *d, unsigned kinds, uint64_t n, int code, bool stays)
{
    assert(n > 0 || kinds == 0);
    pthread_mutex_lock(&d->lock);
    d->fail_kinds = kinds;
    d->fail_n = n;
    d->fail_code = code;
    d->fail_stays = stays;
    pthread_mutex_unlock(&d->lock);
}

void lying_fail_at(struct lying *d, unsigned kinds, uint64_t n, int code)
{
    fail_set(d, kinds, n, code, false);
}

void lying_fail_from(struct lying *d, unsigned kinds, uint64_t n, int code)
{
    fail_set(d, kinds, n, code, true);
}

void lying_fail_off(struct lying *d)
{
    fail_set(d, 0, 0, 0, false);
}

uint64_t lying_faults(struct lying *d)
{
    uint64_t n;

    pthread_mutex_lock(&d->lock);
    n = d->faults;
    pthread_mutex_unlock(&d->lock);
    return n;
}

uint64_t lying_count(struct lying *d, unsigned kinds)
{
    uint64_t n = 0;

    pthread_mutex_lock(&d->lock);
    for (unsigned i = 0; i < LYING_KINDS; i++)
        n += kinds >> i & 1 ? d->counts[i] : 0;
    pthread_mutex_unlock(&d->lock);
    return n;
}

static uint64_t unsynced_below(const struct lying_node *n)
{
    uint64_t sum = lying__unsynced(n);

    for (size_t i = 0; i < n->now.n; i++)
        sum += unsynced_below(n->now.e[i].node);
    return sum;
}

uint64_t lying_unsynced(struct lying *d, const char *path)
{
    struct lying_node *dir, *n;
    char name[256];
    uint64_t sum;

    pthread_mutex_lock(&d->lock);
    n = path ? lying__find(d, path, &dir, name) : d->top;
    sum = n ? unsynced_below(n) : 0;
    pthread_mutex_unlock(&d->lock);
    return sum;
}

uint64_t lying_unsynced_names(struct lying *d)
{
    uint64_t n;

    pthread_mutex_lock(&d->lock);
    n = d->nnames;
    pthread_mutex_unlock(&d->lock);
    return n;
}

void lying_settle(struct lying *d)
{
    pthread_mutex_lock(&d->lock);
    lying__settle(d);
    pthread_mutex_unlock(&d->lock);
}

void lying_trace(struct lying *d, struct buf *b)
{
    pthread_mutex_lock(&d->lock);
    d->trace = b;
    pthread_mutex_unlock(&d->lock);
}

void lying_allocate(struct lying *d, bool real)
{
    pthread_mutex_lock(&d->lock);
    d->allocate_real = real;
    pthread_mutex_unlock(&d->lock);
}

void lying_on_cut(struct lying *d, void (*fn)(void *arg, unsigned kind), void *arg)
{
    pthread_mutex_lock(&d->lock);
    d->on_cut = fn;
    d->cut_arg = arg;
    pthread_mutex_unlock(&d->lock);
}
