#include "snap/store/ilock.h"

#include "snap/store/store_int.h"

static uint32_t stripe_of(const struct store *s, uint32_t vol, uint64_t ino)
{
    uint64_t h = (ino + ((uint64_t)vol << 40)) * 0x9e3779b97f4a7c15ull;

    return (uint32_t)(h >> 32) % s->nilocks;
}

void ilock_take(struct store *s, struct ilock *l, uint32_t vol, const uint64_t *inos, int n, bool exclusive)
{
    *l = (struct ilock){.store = s, .exclusive = exclusive};
    assert(n < (int)ARRAY_LEN(l->stripe));
    if (exclusive)
        (void)store_make_room(s, true); /* now: it must not wait any more once it holds a lock */
    for (int i = 0; i < n; i++) {
        uint32_t st = stripe_of(s, vol, inos[i]);
        int at = 0;
        if (!inos[i])
            continue;
        while (at < l->n && l->stripe[at] < st)
            at++;
        if (at < l->n && l->stripe[at] == st)
            continue;
        memmove(&l->stripe[at + 1], &l->stripe[at], (size_t)(l->n - at) * sizeof(l->stripe[0]));
        l->stripe[at] = st;
        l->n++;
    }
    store_no_wait += l->n > 0;
    for (int i = 0; i < l->n; i++) {
        if (exclusive)
            pthread_rwlock_wrlock(&s->ilocks[l->stripe[i]]);
        else
            pthread_rwlock_rdlock(&s->ilocks[l->stripe[i]]);
    }
}

void ilock_drop(struct ilock *l)
{
    store_no_wait -= l->n > 0;
    while (l->n)
        pthread_rwlock_unlock(&l->store->ilocks[l->stripe[--l->n]]);
}
