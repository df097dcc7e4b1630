#include "snap/store/pending.h"

#include <stdlib.h>

struct image;
struct owner {
    struct owner *next; /* in its bucket */
    struct kv_owner id;
    struct image *first;
    size_t count;
};
struct image { /* precedes its node */
    struct owner *owner;
    struct image *prev, *next;
};
static_assert(sizeof(struct owner) <= DELTA_ALLOC_MAX, "owners come out of the map's memory");

struct pending {
    struct delta *map;
    struct owner **buckets; /* a power of two of them */
    size_t nbuckets, nowners;
};

#define BUCKETS_MIN 64u

static struct image *image_of(struct delta_node *n)
{
    return (struct image *)(void *)((uint8_t *)n - sizeof(struct image));
}

static struct delta_node *node_of(struct image *m)
{
    return (struct delta_node *)(m + 1);
}

static size_t bucket_of(struct kv_owner o, size_t n)
{
    uint64_t h = (o.ino ^ ((uint64_t)o.branch << 40)) * 0x9e3779b97f4a7c15ull;

    return (size_t)(h >> 32) & (n - 1);
}

int pending_new(struct pending **ret)
{
    struct pending *p = calloc(1, sizeof(*p));

    if (!p)
        return -E_NOMEM;
    p->nbuckets = BUCKETS_MIN;
    p->buckets = calloc(p->nbuckets, sizeof(*p->buckets));
    if (!p->buckets || delta_new(sizeof(struct image), &p->map) < 0) {
        free(p->buckets);
        free(p);
        return -E_NOMEM;
    }
    *ret = p;
    return 0;
}

void pending_free(struct pending *p)
{
    if (!p)
        return;
    delta_free(p->map);
    free(p->buckets);
    free(p);
}

void pending_clear(struct pending *p)
{
    delta_clear(p->map);
    memset(p->buckets, 0, p->nbuckets * sizeof(*p->buckets));
    p->nowners = 0;
}

static int buckets_grow(struct pending *p)
{
    size_t n = p->nbuckets * 2, i;
    struct owner **fresh = calloc(n, sizeof(*fresh)), *o;

    if (!fresh)
        return -E_NOMEM;
    for (i = 0; i < p->nbuckets; i++)
        while ((o = p->buckets[i])) {
            size_t to = bucket_of(o->id, n);

            p->buckets[i] = o->next;
            o->next = fresh[to];
            fresh[to] = o;
        }
    free(p->buckets);
    p->buckets = fresh;
    p->nbuckets = n;
    return 0;
}

int pending_reserve(struct pending *p, size_t nputs, size_t bytes)
{
    if (p->nowners > p->nbuckets)
        (void)buckets_grow(p); /* chains grow longer without it, no more */
    return delta_reserve(p->map, nputs, bytes);
}

static struct owner **owner_find(struct pending *p, struct kv_owner id)
{
    struct owner **at = &p->buckets[bucket_of(id, p->nbuckets)];

    while (*at && ((*at)->id.ino != id.ino || (*at)->id.branch != id.branch))
        at = &(*at)->next;
    return at;
}

static struct owner *owner_get(struct pending *p, struct kv_owner id)
{
    struct owner **at = owner_find(p, id);

    if (!*at) {
        *at = delta_alloc(p->map, sizeof(struct owner));
        (*at)->id = id;
        p->nowners++;
    }
    return *at;
}

static void owner_forget(struct pending *p, struct owner *o)
{
    struct owner **at = owner_find(p, o->id);

    assert(*at == o);
    *at = o->next;
    p->nowners--;
    delta_release(p->map, o, sizeof(*o));
    if (p->nowners == 0)
        delta_clear(p->map);
}

static void image_link(struct image *m, struct owner *o)
{
    m->owner = o;
    m->prev = NULL;
    m->next = o->first;
    if (o->first)
        o->first->prev = m;
    o->first = m;
    o->count++;
}

static void image_unlink(struct image *m)
{
    struct owner *o = m->owner;

    if (m->prev)
        m->prev->next = m->next;
    else
        o->first = m->next;
    if (m->next)
        m->next->prev = m->prev;
    o->count--;
}

void pending_put(struct pending *p, struct kv_owner owner, const void *key, size_t klen, const void *val,
                 size_t vlen)
{
    struct image *m = image_of(delta_put(p->map, key, klen, val, vlen));
    struct owner *o = owner_get(p, owner), *old = m->owner;

    if (old == o)
        return;
    if (old)
        image_unlink(m);
    image_link(m, o);
    if (old && old->count == 0)
        owner_forget(p, old);
}

void pending_drop(struct pending *p, struct kv_owner owner)
{
    struct owner *o = *owner_find(p, owner);
    struct image *m;

    if (!o)
        return;
    while ((m = o->first)) {
        image_unlink(m);
        delta_remove(p->map, node_of(m));
    }
    owner_forget(p, o);
}

bool pending_owner_of(struct pending *p, const void *key, size_t klen, struct kv_owner *ret)
{
    struct delta_node *n = delta_count(p->map) > 0 ? delta_get(p->map, key, klen) : NULL;

    if (n)
        *ret = image_of(n)->owner->id;
    return n != NULL;
}

static int node_order(const void *a, const void *b)
{
    const struct delta_node *x = *(struct delta_node *const *)a, *y = *(struct delta_node *const *)b;

    return delta_cmp(delta_key(x), x->klen, delta_key(y), y->klen);
}

int pending_each(struct pending *p, struct kv_owner owner, int (*cb)(void *arg, const struct kv_item *it),
                 void *arg)
{
    struct owner *o = *owner_find(p, owner);
    struct delta_node **nodes;
    struct image *m;
    size_t n = 0, i;
    int r = 0;

    if (!o)
        return 0;
    nodes = malloc(o->count * sizeof(struct delta_node *));
    if (!nodes)
        return -E_NOMEM;
    for (m = o->first; m; m = m->next)
        nodes[n++] = node_of(m);
    qsort(nodes, n, sizeof(struct delta_node *), node_order);
    for (i = 0; i < n && r == 0; i++) {
        struct kv_item it = {delta_key(nodes[i]), nodes[i]->klen, nodes[i]->tomb ? NULL : nodes[i]->val,
                             nodes[i]->vlen, false};
        r = cb(arg, &it);
    }
    free(nodes);
    return r;
}

int pending_owners(struct pending *p, int (*cb)(void *arg, struct kv_owner owner), void *arg)
{
    struct kv_owner *ids;
    struct owner *o;
    size_t n = 0, i;
    int r = 0;

    if (p->nowners == 0)
        return 0;
    ids = malloc(p->nowners * sizeof(*ids));
    if (!ids)
        return -E_NOMEM;
    for (i = 0; i < p->nbuckets; i++)
        for (o = p->buckets[i]; o; o = o->next)
            ids[n++] = o->id;
    for (i = 0; i < n && r == 0; i++)
        r = cb(arg, ids[i]);
    free(ids);
    return r;
}

const struct delta *pending_map(const struct pending *p)
{
    return p->map;
}
