/* Inodes with unsynced bytes: which, since when, in which objects. */
#include <stdlib.h>

#include "base/clock.h"
#include "snap/store/store_int.h"

static uint32_t bucket_of(const struct store *s, uint32_t branch, uint64_t ino)
{
    return (uint32_t)(((ino + ((uint64_t)branch << 40)) * 0x9e3779b97f4a7c15ull) >> 40) &
           (s->dirty_buckets - 1);
}

struct dirty *dirty_find(struct store *s, uint32_t branch, uint64_t ino)
{
    struct dirty *d = s->dirty_buckets ? s->dirty_hash[bucket_of(s, branch, ino)] : NULL;

    while (d && (d->ino != ino || d->branch != branch))
        d = d->hnext;
    return d;
}

static int dirty_grow(struct store *s)
{
    uint32_t n = s->dirty_buckets ? s->dirty_buckets * 2 : 256, old = s->dirty_buckets;
    struct dirty **h = calloc(n, sizeof(struct dirty *)), **was = s->dirty_hash;

    if (!h)
        return -E_NOMEM;
    s->dirty_hash = h;
    s->dirty_buckets = n;
    for (uint32_t i = 0; i < old; i++) {
        for (struct dirty *d = was[i], *next; d; d = next) {
            uint32_t b = bucket_of(s, d->branch, d->ino);
            next = d->hnext;
            d->hnext = h[b];
            h[b] = d;
        }
    }
    free(was);
    return 0;
}

int dirty_reserve(struct store *s, uint32_t vol, uint32_t branch, uint64_t ino, struct dirty **ret)
{
    struct dirty *d = dirty_find(s, branch, ino);
    int r = 0;

    if (!d && s->ndirty >= s->dirty_buckets)
        r = dirty_grow(s);
    if (r < 0)
        return r;
    if (!d) {
        d = calloc(1, sizeof(*d));
        if (!d)
            return -E_NOMEM;
        uint32_t b = bucket_of(s, branch, ino);
        *d = (struct dirty){
            .vol = vol, .branch = branch, .ino = ino, .since_ns = clock_mono_ns(), .hnext = s->dirty_hash[b]};
        s->dirty_hash[b] = d;
        d->prev = s->dirty_list.prev;
        d->next = &s->dirty_list;
        d->prev->next = d->next->prev = d;
        __atomic_fetch_add(&s->ndirty, 1, __ATOMIC_RELAXED);
    }
    *ret = d;
    return 0;
}

int dirty_add_object(struct dirty *d, uint64_t object, struct dirty_obj **ret)
{
    struct dirty_obj *o = d->objs;

    while (o && o->object != object)
        o = o->next;
    if (!o) {
        o = calloc(1, sizeof(*o));
        if (!o)
            return -E_NOMEM;
        o->object = object;
        o->next = d->objs;
        d->objs = o;
    }
    *ret = o;
    return 0;
}

static void range_add(struct dirty_obj *o, uint64_t off, uint64_t len)
{
    for (unsigned i = 0; i < o->nranges; i++) {
        uint64_t a = o->range[i].off, b = a + o->range[i].len;
        if (off > b || off + len < a)
            continue;
        o->range[i].off = MIN_OF(a, off);
        o->range[i].len = MAX_OF(b, off + len) - o->range[i].off;
        return;
    }
    if (o->nranges == FSYNC_RANGES_MAX) {
        o->overflow = true;
        return;
    }
    o->range[o->nranges].off = off;
    o->range[o->nranges++].len = len;
}

static void late_add(struct dirty_obj *o, uint64_t off, uint64_t len)
{
    if (o->late.bytes == 0) {
        o->late.off = o->late.end = off;
        o->late.in_order = true;
    }
    o->late.in_order &= off == o->late.end;
    o->late.off = MIN_OF(o->late.off, off);
    o->late.end = MAX_OF(o->late.end, off + len);
    o->late.bytes += len;
}

void dirty_wrote(struct store *s, struct dirty_obj *o, uint64_t off, uint64_t len)
{
    o->unsynced = true;
    o->bytes += len;
    late_add(o, off, len);
    if (!o->overflow)
        range_add(o, off, len);
    __atomic_fetch_add(&s->dirty_bytes, len, __ATOMIC_RELAXED);
}

void dirty_clean_objects(struct store *s, struct dirty *d, bool drop)
{
    struct dirty_obj **at = &d->objs;

    while (*at) {
        struct dirty_obj *o = *at;
        __atomic_fetch_sub(&s->dirty_bytes, o->bytes, __ATOMIC_RELAXED);
        o->bytes = o->late.bytes = 0;
        o->nranges = 0;
        if (drop) {
            *at = o->next;
            free(o);
        } else {
            at = &o->next;
        }
    }
}

void dirty_remove(struct store *s, struct dirty *d)
{
    struct dirty **at = &s->dirty_hash[bucket_of(s, d->branch, d->ino)];

    while (*at != d)
        at = &(*at)->hnext;
    *at = d->hnext;
    d->prev->next = d->next;
    d->next->prev = d->prev;
    dirty_clean_objects(s, d, true);
    free(d);
    __atomic_fetch_sub(&s->ndirty, 1, __ATOMIC_RELAXED);
}

void dirty_free_all(struct store *s)
{
    while (s->dirty_list.next != &s->dirty_list)
        dirty_remove(s, s->dirty_list.next);
    free(s->dirty_hash);
    s->dirty_hash = NULL;
    s->dirty_buckets = 0;
}
