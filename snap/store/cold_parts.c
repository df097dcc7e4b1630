/* Which blocks were brought and are in their objects, while their ranges are still recorded. All with the lock of struct cold. */
#include <stdlib.h>

#include "snap/store/cold_i.h"

static struct cold_obj **obj_slot(struct cold *c, uint64_t object)
{
    struct cold_obj **at = &c->hash[object % COLD_BUCKETS];

    while (*at && (*at)->object != object)
        at = &(*at)->hnext;
    return at;
}

struct cold_obj *cold_obj_find(struct cold *c, uint64_t object)
{
    return *obj_slot(c, object);
}

static struct cold_obj *obj_make(struct cold *c, uint64_t object)
{
    struct cold_obj **at = obj_slot(c, object);

    if (*at || !(*at = calloc(1, sizeof(**at))))
        return *at;
    (*at)->object = object;
    c->nobjs++;
    return *at;
}

static void obj_free_empty(struct cold *c, uint64_t object)
{
    struct cold_obj **at = obj_slot(c, object), *o = *at;

    if (!o || o->n)
        return;
    *at = o->hnext;
    c->nobjs--;
    free(o->parts);
    free(o);
}

/* The first part that ends at a block or behind it. */
static uint32_t part_from(const struct cold_obj *o, uint64_t block)
{
    uint32_t lo = 0, hi = o->n;

    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (o->parts[mid].end >= block)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

bool cold_part_has(struct cold *c, uint64_t object, uint64_t first, uint64_t end)
{
    const struct cold_obj *o = cold_obj_find(c, object);
    uint32_t i = o ? part_from(o, end) : 0;

    return o && i < o->n && o->parts[i].first <= first;
}

/* Parts [i, j) make room for n others. */
static int parts_replace(struct cold_obj *o, uint32_t i, uint32_t j, const struct cold_part *with, uint32_t n)
{
    if (o->n + n > o->cap + (j - i)) {
        struct cold_part *p = realloc(o->parts, (o->cap * 2 + 4) * sizeof(*p));
        if (!p)
            return -E_NOMEM;
        o->parts = p;
        o->cap = o->cap * 2 + 4;
    }
    memmove(o->parts + i + n, o->parts + j, (o->n - j) * sizeof(*o->parts));
    for (uint32_t k = 0; k < n; k++)
        o->parts[i + k] = with[k];
    o->n += n - (j - i);
    return 0;
}

int cold_part_add(struct cold *c, uint64_t object, uint64_t first, uint64_t end)
{
    struct cold_obj *o = obj_make(c, object);
    struct cold_part part = {first, end};
    uint64_t had = 0;
    uint32_t i, j;

    if (!o)
        return -E_NOMEM;
    for (i = j = part_from(o, first); j < o->n && o->parts[j].first <= end; j++) {
        part.first = MIN_OF(part.first, o->parts[j].first);
        part.end = MAX_OF(part.end, o->parts[j].end);
        had += o->parts[j].end - o->parts[j].first;
    }
    int r = parts_replace(o, i, j, &part, 1);
    if (r == 0)
        c->parts_bytes += (part.end - part.first - had) * BLOCK_SIZE;
    obj_free_empty(c, object);
    return r;
}

void cold_part_drop(struct cold *c, uint64_t object, uint64_t first, uint64_t end)
{
    struct cold_obj *o = cold_obj_find(c, object);
    uint32_t i = o ? part_from(o, first) : 0, j, n = 0;
    struct cold_part left[2] = {{0}};
    uint64_t had = 0;

    if (!o)
        return;
    for (j = i; j < o->n && o->parts[j].first < end; j++) {
        const struct cold_part *p = &o->parts[j];
        had += p->end - p->first;
        if (p->first < first)
            left[n++] = (struct cold_part){p->first, MIN_OF(first, p->end)};
        if (p->end > end)
            left[n++] = (struct cold_part){end, p->end};
    }
    if (parts_replace(o, i, j, left, n) <
        0) /* one more than there were: they are brought once more instead */
        (void)parts_replace(o, i, j, left, n = 0);
    for (uint32_t k = 0; k < n; k++)
        had -= left[k].end - left[k].first;
    c->parts_bytes -= had * BLOCK_SIZE;
    obj_free_empty(c, object);
}

bool cold_part_gap(struct cold *c, uint64_t object, uint64_t *first, uint64_t *end)
{
    const struct cold_obj *o = cold_obj_find(c, object);

    for (uint32_t i = o ? part_from(o, *first) : 0; o && i < o->n && o->parts[i].first < *end; i++) {
        const struct cold_part *p = &o->parts[i];
        if (p->first > *first) {
            *end = p->first;
            break;
        }
        *first = MAX_OF(*first, p->end);
    }
    return *first < *end;
}
