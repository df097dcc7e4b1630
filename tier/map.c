#include "tier/map.h"

#include <stdlib.h>

#include "base/array.h"
#include "tier/map_cursor.h"
#include "tier/map_i.h"

#define EXTENT_FIX 8u /* kind, flags, zero, blocks */

void extents_free(struct extents *l)
{
    free(l->v);
    *l = (struct extents){0};
}

int extents_add(struct extents *l, const struct extent *e)
{
    struct extent *v = array_more(l->v, l->n, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    l->v = v;
    l->v[l->n++] = *e;
    return 0;
}

/* --- records -------------------------------------------------------------------------------------------------------- */

int extent_decode(const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen, struct extent *ret,
                  uint32_t *ret_run)
{
    struct dec d = dec_of(val, vlen);
    struct extent e = {.kind = dec_u8(&d)};

    dec_bytes(&d, 3);
    e.blocks = dec_u32(&d);
    if (e.kind == EXTENT_SLICE)
        e.s = slice_decode(&d);
    if (d.bad || klen != 21 || key[8] != REC_EXTENT || e.blocks == 0 || e.kind > EXTENT_ALLOCATED)
        return -E_CORRUPT;
    if (e.kind == EXTENT_SLICE &&
        (e.s.len == 0 || e.s.len > BLOB_MAX || e.s.len > (uint64_t)e.blocks * TIER_BLOCK))
        return -E_CORRUPT;
    e.block = get_be64(key + 13);
    if (e.block + e.blocks > UINT64_MAX / TIER_BLOCK / 2)
        return -E_CORRUPT;
    *ret_run = get_be32(key + 9);
    *ret = e;
    return 0;
}

int record_slice(const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen, struct slice *ret)
{
    struct extent e;
    uint32_t run;
    int r;

    if (klen < 9)
        return -E_CORRUPT;
    if (key[8] == REC_XATTR && vlen > 0 && val[0] == 1) {
        struct dec d = dec_of(val + 1, vlen - 1);

        *ret = slice_decode(&d);
        return vlen == 1 + SLICE_SIZE ? 1 : -E_CORRUPT;
    }
    if (key[8] != REC_EXTENT)
        return 0;
    r = extent_decode(key, klen, val, vlen, &e, &run);
    if (r < 0 || e.kind != EXTENT_SLICE)
        return r;
    *ret = e.s;
    return 1;
}

struct tree_key run_key(uint64_t ino, uint32_t run)
{
    struct tree_key k = tree_key(ino, REC_EXTENT);

    tree_key_u32(&k, run);
    return k;
}

struct tree_key extent_key(uint64_t ino, uint32_t run, uint64_t block)
{
    struct tree_key k = run_key(ino, run);

    tree_key_u64(&k, block);
    return k;
}

int extent_put(struct edits *e, uint64_t ino, uint32_t run, const struct extent *x)
{
    struct tree_key k = extent_key(ino, run, x->block);
    uint8_t v[EXTENT_FIX + SLICE_SIZE];
    struct enc c = {v};

    enc_u8(&c, (uint8_t)x->kind);
    enc_u8(&c, 0);
    enc_u16(&c, 0);
    enc_u32(&c, x->blocks);
    if (x->kind == EXTENT_SLICE)
        slice_encode(&c, &x->s);
    return edits_put(e, &k, v, (size_t)(c.p - v));
}

/* --- laying over ---------------------------------------------------------------------------------------------------- */

struct extent extent_cut(const struct extent *x, uint64_t from, uint64_t to)
{
    struct extent e = *x;
    uint64_t before = (from - x->block) * TIER_BLOCK, bytes = (to - from) * TIER_BLOCK;

    e.block = from;
    e.blocks = (uint32_t)(to - from);
    if (x->kind != EXTENT_SLICE)
        return e;
    if (before >= x->s.len)
        return (struct extent){.block = from, .blocks = e.blocks, .kind = EXTENT_ZERO};
    e.s.off += (uint32_t)before;
    e.s.skip += (uint32_t)before;
    e.s.len = (uint32_t)MIN_OF((uint64_t)x->s.len - before, bytes);
    return e;
}

static int by_block(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;

    return (x->block > y->block) - (x->block < y->block);
}

void extents_sort(struct extents *l)
{
    if (l->n)
        qsort(l->v, l->n, sizeof(*l->v), by_block);
}

static bool ascending(const struct extents *l)
{
    for (size_t i = 1; i < l->n; i++)
        if (l->v[i].block < extent_end(&l->v[i - 1]))
            return false;
    return true;
}

int map_overlay(const struct extents *newer, const struct extents *older, struct extents *ret)
{
    uint64_t at = 0; /* everything before is done */
    size_t i = 0, k = 0;
    int r = 0;

    if (!ascending(newer) || !ascending(older))
        return -E_CORRUPT;
    while (r == 0 && (i < newer->n || k < older->n)) {
        const struct extent *n = i < newer->n ? &newer->v[i] : NULL, *o = k < older->n ? &older->v[k] : NULL;
        uint64_t from;

        if (o && (!n || MAX_OF(o->block, at) < n->block) && extent_end(o) > at) {
            uint64_t to = n ? MIN_OF(extent_end(o), n->block) : extent_end(o);
            struct extent part;

            from = MAX_OF(o->block, at);
            part = extent_cut(o, from, to);
            r = extents_add(ret, &part);
            at = to;
        } else if (n && (!o || extent_end(o) > at)) {
            r = extents_add(ret, n);
            at = extent_end(n);
            i++;
        }
        if (o && extent_end(o) <= at)
            k++;
    }
    return r;
}

/* --- loading -------------------------------------------------------------------------------------------------------- */

int map_runs_add(struct map_runs *m, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct extent e;
    uint32_t run;
    int r = extent_decode(key, klen, val, vlen, &e, &run);

    if (r < 0)
        return r;
    if (m->n == 0 || m->numbers[m->n - 1] != run) {
        if (m->n == MAP_RUNS_MAX)
            return -E_CORRUPT;
        m->numbers[m->n++] = run;
    }
    return extents_add(&m->v[m->n - 1], &e);
}

/* top over below: below becomes both. */
static int lay_over(const struct extents *top, struct extents *below)
{
    struct extents both = {0};
    int r = map_overlay(top, below, &both);

    if (r < 0) {
        extents_free(&both);
        return r;
    }
    extents_free(below);
    *below = both;
    return 0;
}

int map_runs_lay(struct map_runs *m)
{
    int r = 0;

    if (m->n == 1)
        return ascending(&m->v[0]) ? 0 : -E_CORRUPT;
    for (; r == 0 && m->n > 1; m->n--) {
        r = lay_over(&m->v[m->n - 1], &m->v[m->n - 2]);
        m->v[m->n - 1].n = 0;
    }
    return r;
}

void map_runs_clear(struct map_runs *m)
{
    for (size_t i = 0; i < m->n; i++)
        m->v[i].n = 0;
    m->n = 0;
}

void map_runs_free(struct map_runs *m)
{
    for (size_t i = 0; i < MAP_RUNS_MAX; i++)
        extents_free(&m->v[i]);
}

int map_load(struct repo *r, const struct tree *t, uint64_t ino, struct extents *ret)
{
    struct extents l = {0};
    struct map_cursor m;
    struct extent e;
    int x = map_cursor_open(&m, r, t, ino, 0, NULL);

    if (x < 0)
        return x;
    while ((x = map_cursor_next(&m, &e)) == 1 && (x = extents_add(&l, &e)) == 0)
        ;
    map_cursor_close(&m);
    if (x == 0)
        *ret = l;
    else
        extents_free(&l);
    return x;
}
