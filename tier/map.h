/* tier/map: where the bytes of a file are: a stack of runs of extents. Pure but for what takes a repo. */
#ifndef VARVE_TIER_MAP_H
#define VARVE_TIER_MAP_H

#include "tier/tree.h"

struct extent {
    uint64_t block;
    uint32_t blocks;
    enum extent_kind kind;
    struct slice s; /* EXTENT_SLICE */
};
static inline uint64_t extent_end(const struct extent *e)
{
    return e->block + e->blocks;
}
struct extents {
    struct extent *v;
    size_t n;
};
void extents_free(struct extents *l);
int extents_add(struct extents *l, const struct extent *e);
void extents_sort(struct extents *l); /* ascending by block */

int extent_decode(const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen, struct extent *ret,
                  uint32_t *ret_run); /* a record of kind REC_EXTENT. -E_CORRUPT */

/* record_slice: the slice that a record of any kind names: an extent's, or that of a large attribute. 1; 0: none; -E_CORRUPT. */
int record_slice(const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen, struct slice *ret);

/* extent_cut: the part of it in blocks [from, to), which lie in it; zeros where its slice has ended. */
struct extent extent_cut(const struct extent *x, uint64_t from, uint64_t to);

/* map_overlay: newer over older, both ascending, into ret (empty). -E_NOMEM, -E_CORRUPT: not ascending. */
int map_overlay(const struct extents *newer, const struct extents *older, struct extents *ret);

/* The runs of one file, as its records come. Zero state: empty. map_runs_lay: the newer over the older: what results is v[0];
 * -E_CORRUPT: one is not ascending. map_runs_clear keeps the memory. */
#define MAP_RUNS_MAX 64u
struct map_runs {
    struct extents v[MAP_RUNS_MAX]; /* by number, ascending */
    uint32_t numbers[MAP_RUNS_MAX];
    size_t n;
};
int map_runs_add(struct map_runs *m, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen);
int map_runs_lay(struct map_runs *m);
void map_runs_clear(struct map_runs *m);
void map_runs_free(struct map_runs *m);

/* map_load: all runs laid over each other. */
int map_load(struct repo *r, const struct tree *t, uint64_t ino, struct extents *ret);

/* What is known of a file's runs without reading an extent. */
struct map_run {
    uint32_t number;
    uint64_t n; /* extents */
    struct map_front {
        uint32_t round;
        uint64_t block;
    } at; /* rolling: of the base, how far it has come; of another run, where that was when the run was pushed */
};
struct map_state {
    struct map_run v[MAP_RUNS_MAX]; /* by number, ascending: the oldest first */
    size_t n;
    uint64_t total; /* extents in all of them */
    bool rolling;   /* v[0] is the base */
};
int map_state_get(struct repo *r, const struct tree *t, uint64_t ino, struct map_state *ret);

/* map_replace: edits: the file has this one run. map_push: one more run on those that t has. Of a file with few extents runs are merged, newest
 * first, while the one below is not more than twice as long, or there would be more than RUNS_MAX. From map_roll_from extents on (tests make
 * it less) the oldest run is a base, and each push lays all runs over a part of it, as large as what is pushed calls for: no push has
 * to read or to write more than that part. What has been laid over the base everywhere goes. takes nothing; sorts top. full (may be NULL) is
 * called now and then: it may apply the edits that there are, to another tree than t. */
int map_replace(struct edits *e, uint64_t ino, const struct extents *top);
struct map_pushing {
    struct edits *e;
    struct repo *r;
    const struct tree *t;
    uint64_t ino;
    uint64_t blocks; /* as many as the file has, or had before, whichever is more */
    int (*full)(void *arg);
    void *arg;
};
int map_push(const struct map_pushing *p, struct extents *top);
extern uint64_t map_roll_from;

/* map_part: blocks [*from, *to) of the base that a push of n extents lays its runs over; empty where the map does not roll. */
void map_part(const struct map_state *s, uint64_t blocks, uint64_t n, uint64_t *from, uint64_t *to);

#endif
