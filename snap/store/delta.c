#include "snap/store/delta.h"

#include <stdlib.h>

#define CHUNK_SIZE (256u << 10)
#define GRAIN 16u
#define FINE_MAX 1024u /* blocks up to here are multiples of the grain, beyond powers of two */
#define FINE_CLASSES (FINE_MAX / GRAIN + 1)
#define CLASSES (FINE_CLASSES + 32)
#define BUCKETS_LEAST 256u  /* a power of two, as all that follow */
#define BUCKETS_MANY 65536u /* from here on memory counts, too */
#define NODE_MAX (sizeof(struct delta_node) + DELTA_HEIGHT_MAX * sizeof(void *) + 64)

struct chunk {
    struct chunk *next;
    size_t size;
};
struct block {
    struct block *next;
};

/* Where keys of one kind went in last: numbers grow, so the next one mostly belongs right behind. */
#define FINGERS 8u
struct finger {
    struct delta_node *last; /* NULL: none */
    struct delta_node *before[DELTA_HEIGHT_MAX];
};

struct delta {
    struct chunk *chunks; /* the first is the one being cut */
    uint8_t *at, *end;
    struct block *unused[CLASSES]; /* by size */
    size_t extra;
    uint64_t count, bytes, taken;
    uint64_t dice;
    struct delta_node *head; /* of full height, without a key */
    struct delta_node **bucket;
    size_t nbuckets;
    struct finger finger[FINGERS];
};

static size_t block_size(size_t len)
{
    size_t size = FINE_MAX;

    if (len <= FINE_MAX)
        return (len + GRAIN - 1) / GRAIN * GRAIN;
    while (size < len)
        size *= 2;
    return size;
}

static size_t block_class(size_t size)
{
    size_t c = FINE_CLASSES;

    if (size <= FINE_MAX)
        return size / GRAIN;
    for (size /= 2 * FINE_MAX; size > 1; size /= 2)
        c++;
    assert(c < CLASSES);
    return c;
}

/* Cannot fail: delta_reserve has made the room. */
static void *block_take(struct delta *d, size_t size)
{
    struct block **unused = &d->unused[block_class(size)];
    void *p = *unused;

    if (p) {
        *unused = (*unused)->next;
    } else {
        assert((size_t)(d->end - d->at) >= size);
        p = d->at;
        d->at += size;
        d->taken += size;
    }
    d->bytes += size;
    return p;
}

static void block_give(struct delta *d, void *p, size_t size)
{
    struct block **unused = &d->unused[block_class(size)];
    struct block *b = p;

    b->next = *unused;
    *unused = b;
    d->bytes -= size;
}

void *delta_alloc(struct delta *d, size_t len)
{
    assert(len <= DELTA_ALLOC_MAX);
    return memset(block_take(d, block_size(len)), 0, len);
}

void delta_release(struct delta *d, void *p, size_t len)
{
    block_give(d, p, block_size(len));
}

static int chunk_add(struct delta *d, size_t need)
{
    size_t size = MAX_OF(need + sizeof(struct chunk) + GRAIN, (size_t)CHUNK_SIZE);
    struct chunk *c = malloc(size);

    if (!c)
        return -E_NOMEM;
    *c = (struct chunk){.next = d->chunks, .size = size};
    d->taken += (uint64_t)(d->end - d->at); /* what is left of the one before is lost */
    d->chunks = c;
    d->at = (uint8_t *)(c + 1);
    d->end = (uint8_t *)c + size;
    return 0;
}

/* --- one key --- */

static uint32_t key_hash(const void *key, size_t klen)
{
    uint64_t h = klen, w;
    const uint8_t *p = key;

    for (; klen >= 8; p += 8, klen -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, p, klen);
    h = (h ^ w) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(h >> 32);
}

static struct delta_node **bucket_of(const struct delta *d, uint32_t hash)
{
    return &d->bucket[hash & (d->nbuckets - 1)];
}

static struct delta_node *find(const struct delta *d, uint32_t hash, const void *key, size_t klen)
{
    struct delta_node *n = *bucket_of(d, hash);

    while (n && (n->hash != hash || n->klen != klen || memcmp(delta_key(n), key, klen) != 0))
        n = n->chain;
    return n;
}

static void chain_add(struct delta *d, struct delta_node *n)
{
    struct delta_node **at = bucket_of(d, n->hash);

    n->chain = *at;
    *at = n;
}

static void chain_drop(struct delta *d, const struct delta_node *n)
{
    struct delta_node **at = bucket_of(d, n->hash);

    while (*at != n)
        at = &(*at)->chain;
    *at = n->chain;
}

/* Where there is no memory for more buckets, the chains grow longer instead. */
static void buckets_for(struct delta *d, uint64_t count)
{
    struct delta_node **more;
    size_t n = d->nbuckets;

    /* Twice as many: else every other new key waits for another one's node. Each time all nodes are met, far apart in memory. */
    while (n < 2 * count)
        n *= n < BUCKETS_MANY ? 4 : 2;
    more = n > d->nbuckets ? malloc(n * sizeof(*more)) : NULL;
    if (!more)
        return;
    /* No calloc(): of what is read before it is written each page comes twice, and other processors hear of it. */
    memset(more, 0, n * sizeof(*more));
    free(d->bucket);
    d->bucket = more;
    d->nbuckets = n;
    for (struct delta_node *at = d->head->next[0]; at; at = at->next[0])
        chain_add(d, at);
}

void delta_ease(struct delta *d)
{
    struct delta_node **few =
        d->count == 0 && d->nbuckets > BUCKETS_LEAST ? calloc(BUCKETS_LEAST, sizeof(*few)) : NULL;

    if (!few)
        return;
    free(d->bucket);
    d->bucket = few;
    d->nbuckets = BUCKETS_LEAST;
}

int delta_reserve(struct delta *d, size_t n, size_t bytes)
{
    size_t one = NODE_MAX + d->extra + DELTA_ALLOC_MAX + 4 * GRAIN, need;

    if (__builtin_mul_overflow(n, one, &need) || bytes > SIZE_MAX / 8 ||
        __builtin_add_overflow(need, bytes * 2, &need))
        return -E_NOMEM;
    buckets_for(d, d->count + n);
    return (size_t)(d->end - d->at) >= need ? 0 : chunk_add(d, need);
}

void delta_expect(struct delta *d, uint64_t n)
{
    buckets_for(d, d->count + n);
}

int delta_new(size_t extra, struct delta **ret)
{
    struct delta *d = calloc(1, sizeof(*d));

    assert(extra % 8 == 0);
    if (!d)
        return -E_NOMEM;
    d->head = calloc(1, sizeof(struct delta_node) + DELTA_HEIGHT_MAX * sizeof(void *));
    d->bucket = calloc(BUCKETS_LEAST, sizeof(*d->bucket));
    if (!d->head || !d->bucket) {
        free(d->head);
        free(d->bucket);
        free(d);
        return -E_NOMEM;
    }
    d->nbuckets = BUCKETS_LEAST;
    d->head->height = DELTA_HEIGHT_MAX;
    d->extra = extra;
    d->dice = 0x9e3779b97f4a7c15ull;
    *ret = d;
    return 0;
}

/* All but the first of them. */
static void chunks_free(struct chunk *first)
{
    struct chunk *c;

    while (first && (c = first->next)) {
        first->next = c->next;
        free(c);
    }
}

/* The chunk being cut stays, so that what was reserved stays reserved. */
void delta_clear(struct delta *d)
{
    chunks_free(d->chunks);
    if (d->chunks)
        d->at = (uint8_t *)(d->chunks + 1);
    memset(d->finger, 0, sizeof(d->finger));
    memset(d->unused, 0, sizeof(d->unused));
    memset(d->head->next, 0, DELTA_HEIGHT_MAX * sizeof(void *));
    memset(d->bucket, 0, d->nbuckets * sizeof(*d->bucket));
    d->count = d->bytes = d->taken = 0;
}

void delta_free(struct delta *d)
{
    if (!d)
        return;
    chunks_free(d->chunks);
    free(d->chunks);
    free(d->bucket);
    free(d->head);
    free(d);
}

/* One level in four goes on to the next. */
static uint8_t dice_height(struct delta *d)
{
    uint8_t h = 1;
    uint64_t x = d->dice;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    d->dice = x;
    while (h < DELTA_HEIGHT_MAX && (x & 3) == 0) {
        x >>= 2;
        h++;
    }
    return h;
}

/* The last node before key on each level, and the first not before it. */
static struct delta_node *seek(const struct delta *d, const void *key, size_t klen,
                               struct delta_node **before)
{
    struct delta_node *at = d->head, *next = NULL, *same = NULL;
    int level;

    for (level = DELTA_HEIGHT_MAX - 1; level >= 0; level--) {
        while ((next = at->next[level]) && next != same &&
               delta_cmp(delta_key(next), next->klen, key, klen) < 0)
            at = next;
        same = next; /* known to be not before key on the levels below, too */
        if (before)
            before[level] = at;
    }
    return next;
}

struct delta_node *delta_ge(const struct delta *d, const void *key, size_t klen)
{
    return seek(d, key, klen, NULL);
}

struct delta_node *delta_get(const struct delta *d, const void *key, size_t klen)
{
    return find(d, key_hash(key, klen), key, klen);
}

void delta_near(const struct delta *d, const void *key, size_t klen, bool node)
{
    struct delta_node **bucket = bucket_of(d, key_hash(key, klen));

    if (!node)
        __builtin_prefetch(bucket);
    else if (*bucket)
        __builtin_prefetch(*bucket);
}

struct delta_node *delta_first(const struct delta *d)
{
    return d->head->next[0];
}

static size_t node_fixed(const struct delta_node *n)
{
    return sizeof(*n) + n->height * sizeof(void *) + n->klen;
}

static uint8_t *node_room(struct delta_node *n)
{
    return (uint8_t *)n + node_fixed(n);
}

static void value_drop(struct delta *d, struct delta_node *n)
{
    if (n->val != node_room(n))
        block_give(d, n->val, n->vcap);
}

static void value_set(struct delta *d, struct delta_node *n, const void *val, size_t vlen)
{
    n->tomb = !val;
    n->vlen = (uint32_t)vlen;
    if (vlen > n->vcap) {
        size_t size = block_size(vlen);
        uint8_t *room = block_take(d, size);

        value_drop(d, n);
        n->val = room;
        n->vcap = (uint32_t)size;
    }
    if (vlen)
        memcpy(n->val, val, vlen);
}

static struct delta_node *node_new(struct delta *d, const void *key, size_t klen, size_t vlen)
{
    struct delta_node probe = {.height = dice_height(d), .klen = (uint16_t)klen}, *n;
    size_t fixed = d->extra + node_fixed(&probe), size = block_size(fixed + vlen);
    uint8_t *p = block_take(d, size);

    memset(p, 0, d->extra);
    n = (struct delta_node *)(p + d->extra);
    *n = probe;
    n->size = (uint32_t)size;
    n->val = node_room(n);
    n->vcap = (uint32_t)(size - fixed);
    memcpy(&n->next[n->height], key, klen);
    return n;
}

static bool belongs_behind(const struct delta_node *n, const void *key, size_t klen)
{
    const struct delta_node *next = n ? n->next[0] : NULL;

    return n && delta_cmp(delta_key(n), n->klen, key, klen) < 0 &&
           (!next || delta_cmp(delta_key(next), next->klen, key, klen) > 0);
}

/* The last node before the key on a level, from one that is not behind it. */
static struct delta_node *walk_to(struct delta_node *at, int level, const void *key, size_t klen)
{
    struct delta_node *next;

    while ((next = at->next[level]) && delta_cmp(delta_key(next), next->klen, key, klen) < 0)
        at = next;
    return at;
}

static struct delta_node *node_add(struct delta *d, uint32_t hash, const void *key, size_t klen, size_t vlen)
{
    struct finger *f = &d->finger[(*(const uint8_t *)key * 3u + klen) % FINGERS];
    bool behind = belongs_behind(f->last, key, klen);
    struct delta_node *n;
    int level;

    if (!behind)
        (void)seek(d, key, klen, f->before);
    n = node_new(d, key, klen, vlen);
    for (level = 0; level < n->height; level++) {
        struct delta_node *at = behind ? walk_to(f->before[level], level, key, klen) : f->before[level];

        n->next[level] = at->next[level];
        at->next[level] = n;
        f->before[level] = n;
    }
    f->last = n;
    n->hash = hash;
    chain_add(d, n);
    d->count++;
    return n;
}

struct delta_node *delta_put(struct delta *d, const void *key, size_t klen, const void *val, size_t vlen)
{
    uint32_t hash = key_hash(key, klen);
    struct delta_node *n = find(d, hash, key, klen);

    assert(klen > 0);
    assert(klen <= DELTA_KEY_MAX);
    if (!val)
        vlen = 0;
    if (!n)
        n = node_add(d, hash, key, klen, vlen);
    value_set(d, n, val, vlen);
    return n;
}

void delta_remove(struct delta *d, struct delta_node *n)
{
    struct delta_node *before[DELTA_HEIGHT_MAX], *found = seek(d, delta_key(n), n->klen, before);
    int level;

    assert(found == n);
    memset(d->finger, 0, sizeof(d->finger)); /* any may stand on it */
    for (level = 0; level < n->height; level++)
        before[level]->next[level] = n->next[level];
    chain_drop(d, n);
    value_drop(d, n);
    block_give(d, (uint8_t *)n - d->extra, n->size);
    d->count--;
}

uint64_t delta_count(const struct delta *d)
{
    return d->count;
}

uint64_t delta_bytes(const struct delta *d)
{
    return d->bytes;
}

uint64_t delta_taken(const struct delta *d)
{
    return d->taken;
}
