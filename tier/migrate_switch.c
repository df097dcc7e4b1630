/* Volumes read from the other side: what cold ranges are called in one repository, and in the copy of their recovery point. A copy's tree
 * has the keys of what it was made from; only slices differ. */
#include <stdlib.h>

#include "snap/store/cold.h"
#include "tier/ahead.h"
#include "tier/import.h"
#include "tier/map.h"
#include "tier/migrate.h"
#include "tier/thaw.h"

#define TOGETHER 131072u /* ranges for which the trees are read once: some 20 MiB */
#define IN_TXN 256u
#define KEY_LEN 21u /* of an extent's record */

struct wanted { /* what a range names */
    struct id16 chunk;
    uint32_t off, len;
    uint32_t range;
};
struct place { /* where the source's tree has that */
    uint8_t key[KEY_LEN];
    uint32_t delta, len; /* into that extent; its length */
    uint32_t range;
};

struct switching {
    struct store *s;
    const struct migrate_side *was, *now;
    struct migrate *m;
    const struct migrate_hooks *h;
    struct buf ranges;   /* struct cold_range each */
    struct buf wanted;   /* struct wanted each, ascending */
    struct buf places;   /* struct place each, ascending by key */
    struct buf switches; /* struct cold_switch each */
    size_t at_place;
    bool *found; /* by range */
};

static const struct cold_range *range_at(const struct switching *w, uint32_t i)
{
    return (const struct cold_range *)(const void *)w->ranges.data + i;
}

static struct slice named(const uint8_t *ref, size_t len)
{
    struct dec d = dec_of(ref, len);

    return slice_decode(&d);
}

static struct slice slice_of(const struct cold_range *range)
{
    return named(range->ref.p, range->ref.len);
}

static int by_slice(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    int r = memcmp(&x->chunk, &y->chunk, sizeof(x->chunk));

    if (r != 0)
        return r;
    if (x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return (x->range > y->range) - (x->range < y->range);
}

static int want_all(struct switching *w)
{
    uint32_t n = (uint32_t)(w->ranges.len / sizeof(struct cold_range));
    int r = 0;

    buf_reset(&w->wanted);
    for (uint32_t i = 0; r == 0 && i < n; i++) {
        struct slice s = slice_of(range_at(w, i));

        if (range_at(w, i)->ref.len == SLICE_SIZE)
            r = buf_add(&w->wanted, &(struct wanted){s.chunk, s.off, s.len, i}, sizeof(struct wanted));
    }
    if (w->wanted.len)
        qsort(w->wanted.data, w->wanted.len / sizeof(struct wanted), sizeof(struct wanted), by_slice);
    return r;
}

/* The first that begins in this slice or behind it. */
static size_t first_wanted(const struct switching *w, const struct slice *s)
{
    const struct wanted *v = (const struct wanted *)(const void *)w->wanted.data;
    struct wanted key = {s->chunk, s->off, 0, 0};
    size_t lo = 0, hi = w->wanted.len / sizeof(*v);

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (by_slice(&v[mid], &key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* An extent of the source's tree: ranges that lie in it. */
static int see_was(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct switching *w = arg;
    const struct wanted *v = (const struct wanted *)(const void *)w->wanted.data;
    struct extent e;
    uint32_t run;
    int r = klen >= 9 && key[8] == REC_EXTENT ? extent_decode(key, klen, val, vlen, &e, &run) : 1;

    if (r != 0 || e.kind != EXTENT_SLICE)
        return MIN_OF(r, 0);
    for (size_t i = first_wanted(w, &e.s); r == 0 && i < w->wanted.len / sizeof(*v); i++) {
        struct place p = {.delta = v[i].off - e.s.off, .len = e.s.len, .range = v[i].range};

        if (memcmp(&v[i].chunk, &e.s.chunk, sizeof(e.s.chunk)) != 0 || p.delta >= e.s.len)
            break;
        if (w->found[v[i].range] || v[i].len > e.s.len - p.delta)
            continue;
        w->found[v[i].range] = true;
        memcpy(p.key, key, KEY_LEN);
        r = buf_add(&w->places, &p, sizeof(p));
    }
    return r;
}

static int switch_add(struct switching *w, const struct place *p, const struct slice *there)
{
    const struct cold_range *range = range_at(w, p->range);
    struct cold_switch x = {.was = *range, .source = w->now->source, .ref = range->ref};
    struct slice s = *there;
    struct enc e = {x.ref.p};

    s.off += p->delta;
    s.skip += p->delta;
    s.len = slice_of(range).len;
    slice_encode(&e, &s);
    return buf_add(&w->switches, &x, sizeof(x));
}

/* An extent of the copy's tree: those ranges of which the source has the same key. */
static int see_now(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct switching *w = arg;
    const struct place *v = (const struct place *)(const void *)w->places.data;
    size_t n = w->places.len / sizeof(*v);
    struct extent e;
    uint32_t run;
    int r = klen == KEY_LEN && key[8] == REC_EXTENT ? extent_decode(key, klen, val, vlen, &e, &run) : 1;

    if (r != 0)
        return MIN_OF(r, 0);
    while (w->at_place < n && memcmp(v[w->at_place].key, key, KEY_LEN) < 0)
        w->at_place++;
    for (; r == 0 && w->at_place < n && memcmp(v[w->at_place].key, key, KEY_LEN) == 0; w->at_place++)
        if (e.kind == EXTENT_SLICE && e.s.len == v[w->at_place].len)
            r = switch_add(w, &v[w->at_place], &e.s);
    return r;
}

/* One of them, as both sides have it. */
static int same_bytes(struct switching *w, const struct cold_switch *x)
{
    uint32_t blocks = MIN_OF(x->was.blocks, COLD_FETCH_BLOCKS);
    cleanup(buf_free) struct buf room = {0};
    size_t len = (size_t)blocks * TIER_BLOCK;
    int r = buf_reserve(&room, 2 * len);

    if (r == 0)
        r = import_slice(w->was->r, x->was.ref.p, x->was.ref.len, x->was.ref.skip, blocks, room.data);
    if (r == 0)
        r = import_slice(w->now->r, x->ref.p, x->ref.len, x->ref.skip, blocks, room.data + len);
    return r < 0 ? r : memcmp(room.data, room.data + len, len) == 0 ? 0 : -E_CORRUPT;
}

/* What is compared of those from `from` on comes out of archives: all of it is asked for at once. */
static int proofs_thaw(struct switching *w, size_t from)
{
    const struct cold_switch *v = (const struct cold_switch *)(const void *)w->switches.data;
    size_t n = w->switches.len / sizeof(*v);
    struct thaw_packs was = {.packs = 0}, now = {.packs = 0};
    int r = 0;

    for (size_t i = from; r == 0 && i < n; i += IN_TXN) {
        struct slice a = slice_of(&v[i].was), b = named(v[i].ref.p, v[i].ref.len);

        r = thaw_packs_add(&was, w->was->r, &a.chunk);
        if (r == 0)
            r = thaw_packs_add(&now, w->now->r, &b.chunk);
    }
    if (r == 0)
        r = thaw_packs_wait(&was, w->was->r, w->h->thaws, w->h->arg);
    if (r == 0)
        r = thaw_packs_wait(&now, w->now->r, w->h->thaws, w->h->arg);
    thaw_packs_free(&was);
    thaw_packs_free(&now);
    return r;
}

static int switch_all(struct switching *w, size_t *ret_done)
{
    const struct cold_switch *v = (const struct cold_switch *)(const void *)w->switches.data;
    size_t n = w->switches.len / sizeof(*v);
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i += IN_TXN) {
        size_t some = MIN_OF(n - i, (size_t)IN_TXN), done = 0;

        r = same_bytes(w, &v[i]);
        if (r == -E_ARCHIVED && !BROKEN(VARVE_BREAK_switch_unthawed) && (r = proofs_thaw(w, i)) == 0)
            r = same_bytes(w, &v[i]);
        if (r == 0)
            r = cold_switch(w->s, v + i, some, &done);
        *ret_done += done;
        w->m->ranges += done;
        for (size_t k = 0; k < some && done == some; k++)
            w->m->range_bytes += (uint64_t)v[i + k].was.blocks * TIER_BLOCK;
        if (r == 0)
            r = w->h->progress(w->h->arg);
    }
    return r;
}

/* What some ranges are called there; then they are called so. */
static int some_ranges(struct switching *w, size_t *ret_done)
{
    int r = want_all(w);

    buf_reset(&w->places);
    buf_reset(&w->switches);
    w->at_place = 0;
    free(w->found);
    w->found = calloc(w->ranges.len / sizeof(struct cold_range) + 1, sizeof(*w->found));
    if (!w->found)
        return -E_NOMEM;
    if (r == 0)
        r = tree_scan_ahead(w->was->r, &w->was->p->tree, see_was, w);
    if (r == 0)
        r = tree_scan_ahead(w->now->r, &w->now->p->tree, see_now, w);
    return r < 0 ? r : switch_all(w, ret_done);
}

/* Once over all ranges. *ret_seen: of the source; *ret_done: switched. */
static int sweep(struct switching *w, size_t *ret_seen, size_t *ret_done)
{
    struct cold_cursor c = {.object = 0};
    int more = 1, r = 0;

    *ret_seen = *ret_done = 0;
    while (r == 0 && more == 1) {
        buf_reset(&w->ranges);
        more = cold_named(w->s, w->was->source, &c, TOGETHER, &w->ranges);
        r = more < 0 ? more : w->ranges.len ? some_ranges(w, ret_done) : 0;
        *ret_seen += w->ranges.len / sizeof(struct cold_range);
    }
    return r;
}

int migrate_switch(struct store *s, const struct migrate_side *was, const struct migrate_side *now,
                   struct migrate *m, const struct migrate_hooks *h, uint64_t *ret_left)
{
    struct switching w = {.s = s, .was = was, .now = now, .m = m, .h = h};
    size_t seen = 1, done = 1;
    int r = repo_sync(was->r), e;

    if (r == 0)
        r = repo_sync(now->r);
    while (r == 0 && seen > 0 && done > 0) /* what was brought in parts meanwhile is found the next time */
        r = sweep(&w, &seen, &done);
    e = store_flush(s);
    buf_free(&w.ranges);
    buf_free(&w.wanted);
    buf_free(&w.places);
    buf_free(&w.switches);
    free(w.found);
    if (r == 0 && e == 0)
        *ret_left = seen;
    return r < 0 ? r : e;
}
