/* tier/map_use: how much of each chunk the base of a rolling map uses, by parts of the file: what gathering goes by. It is told in records
 * of the tree, and only for speed: where they are missing they are made from the base. Threads: as of the repo. */
#ifndef VARVE_TIER_MAP_USE_H
#define VARVE_TIER_MAP_USE_H

#include "tier/idset.h"
#include "tier/map.h"

#define USE_BLOCKS 2048u /* of a part: 8 MiB */

/* Bytes of a chunk that are in use, and where in it they lie, or have lain. */
struct map_use {
    struct id16 chunk;
    uint32_t live, from, to;
};

/* map_use_each: what is told of the parts that have blocks of [from, to), a chunk once for each part. cb: 0, or an error, which ends it. */
int map_use_each(struct repo *r, const struct tree *t, uint64_t ino, uint64_t from, uint64_t to,
                 int (*cb)(void *arg, const struct map_use *u), void *arg);

/* The part that is changing now. Zero state but for p and base: none. map_uses_at: the part in which this block lies; what was before becomes edits.
 * map_uses_more, map_uses_less: the base has this extent now, or no more, in that part. map_uses_end: edits, if r is 0, and memory
 * goes; r, or the error. */
struct map_uses {
    const struct map_pushing *p;
    uint32_t base; /* its run */
    bool any;
    uint64_t part;
    struct idset index; /* chunk → its number here, and 1 */
    struct use_now {
        struct map_use u;
        bool had, changed; /* a record; another one now */
    } * v;
    size_t n;
};
int map_uses_at(struct map_uses *s, uint64_t block);
int map_uses_more(struct map_uses *s, const struct extent *e);
void map_uses_less(struct map_uses *s, const struct extent *e);
int map_uses_end(struct map_uses *s, int r);

#endif
