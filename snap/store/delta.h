/* snap/store/delta: an ordered map of bytes in memory, made so that a change cannot fail: memory is taken beforehand
 * (delta_reserve). A skip list whose nodes, keys and values lie in chunks that go away as a whole, and a table of hashes over the
 * same nodes: most of what is asked for is one key, and a search in order meets a node that is in no cache at every step. Single
 * entries can be removed too; their memory is used again. Locks: none; changes are exclusive, reading may be shared (snap/store/kv.h). */
#ifndef VARVE_SNAP_STORE_DELTA_H
#define VARVE_SNAP_STORE_DELTA_H

#include "base/base.h"

#define DELTA_KEY_MAX 511u
#define DELTA_HEIGHT_MAX 12

struct delta;
struct delta_node {
    uint8_t *val;             /* within the node's block, or in one of its own */
    struct delta_node *chain; /* of the same bucket */
    uint32_t vlen, vcap;
    uint32_t size; /* of the block */
    uint32_t hash; /* of the key */
    uint16_t klen;
    uint8_t height;
    bool tomb;                 /* hides what lies below; val is memory only */
    struct delta_node *next[]; /* height of them, then the key, then room for the value */
};

/* delta_new(extra): each node is preceded by `extra` bytes (a multiple of 8, zeroed) for the owner of the map. -E_NOMEM. */
int delta_new(size_t extra, struct delta **ret);
void delta_free(struct delta *d); /* accepts NULL */
void delta_clear(struct delta *d);

/* Memory for n coming puts of bytes (keys and values together), each with one delta_alloc of at most DELTA_ALLOC_MAX
 * beside it. Not added up over several calls: the last one before the puts holds. -E_NOMEM. */
#define DELTA_ALLOC_MAX 64u
int delta_reserve(struct delta *d, size_t n, size_t bytes);

/* delta_expect: n entries will be in it before long; to look for them is quick from the start. */
void delta_expect(struct delta *d, uint64_t n);
void delta_ease(struct delta *d); /* if it is empty, nothing is expected any more */

/* delta_put: val NULL is a tombstone. An entry of this key is replaced in its node. */
struct delta_node *delta_put(struct delta *d, const void *key, size_t klen, const void *val, size_t vlen);
void delta_remove(struct delta *d, struct delta_node *n);

struct delta_node *delta_get(const struct delta *d, const void *key, size_t klen);
struct delta_node *delta_ge(const struct delta *d, const void *key, size_t klen);
/* delta_near: a key that will soon be put or looked for: its place comes near the processor; of several keys first the places in the
 * table of all of them, then the nodes. */
void delta_near(const struct delta *d, const void *key, size_t klen, bool node);
struct delta_node *delta_first(const struct delta *d);
static inline struct delta_node *delta_next(const struct delta_node *n)
{
    return n->next[0];
}
static inline const uint8_t *delta_key(const struct delta_node *n)
{
    return (const uint8_t *)&n->next[n->height];
}
/* As memcmp and then by length; without a call, since keys are short and this is what a search does. */
static inline int delta_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
    const uint8_t *p = a, *q = b;
    size_t n = MIN_OF(alen, blen);

    for (; n >= 8; p += 8, q += 8, n -= 8) {
        uint64_t x = get_be64(p), y = get_be64(q);

        if (x != y)
            return x < y ? -1 : 1;
    }
    for (; n > 0; p++, q++, n--)
        if (*p != *q)
            return *p < *q ? -1 : 1;
    return (alen > blen) - (alen < blen);
}

/* Small pieces out of the same memory. */
void *delta_alloc(struct delta *d, size_t len); /* zeroed; reserved before */
void delta_release(struct delta *d, void *p, size_t len);

uint64_t delta_count(const struct delta *d);
uint64_t delta_bytes(const struct delta *d); /* of blocks in use, with the nodes and the rounding */
uint64_t delta_taken(const struct delta *d); /* of memory that goes away with the map only */

#endif
