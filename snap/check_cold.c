/* Pass 12: ranges of objects whose bytes lie elsewhere. And what pass 5 asks of them: which blocks need no bytes in a file. */
#include <inttypes.h>

#include "snap/check_i.h"
#include "snap/store/cold.h"

static int add_range(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    struct cold_range range;

    if (it->verdict < 0 || cold_decode(it->key, it->klen, it->val.data, it->val.len, &range) < 0)
        return 0;
    return buf_add(&c->cold, &(struct cold_blocks){range.object, range.first, range.first + range.blocks},
                   sizeof(struct cold_blocks));
}

int check_cold_load(struct check *c)
{
    static const uint8_t tab = TAB_COLD;

    buf_reset(&c->cold);
    return txn_scan(&c->t, KEEP_FIRM, &tab, 1, add_range, c);
}

/* The first range of the object that ends behind the block; NULL. */
static const struct cold_blocks *range_at(const struct check *c, uint64_t object, uint64_t block)
{
    const struct cold_blocks *v = (const void *)c->cold.data;
    size_t n = c->cold.len / sizeof(*v), lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (v[mid].object < object || (v[mid].object == object && v[mid].end <= block))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && v[lo].object == object ? &v[lo] : NULL;
}

bool check_cold_gap(const struct check *c, uint64_t object, uint64_t *first, uint64_t *end)
{
    const struct cold_blocks *range;

    while (*first < *end && (range = range_at(c, object, *first)) != NULL && range->first < *end) {
        if (range->first > *first) {
            *end = range->first;
            break;
        }
        *first = range->end;
    }
    return *first < *end;
}

/* --- the pass ------------------------------------------------------------------------------------------------------------ */

struct pass {
    struct check *c;
    uint64_t object, end; /* of the range before */
    struct idmap sources; /* no values */
};

static int load_source(void *arg, const struct scan_item *it)
{
    struct pass *p = arg;

    return it->verdict < 0 || it->klen != 5 || idmap_put(&p->sources, get_be32(it->key + 1)) ? 0 : -E_NOMEM;
}

static int load_object(void *arg, const struct scan_item *it)
{
    struct check *c = arg;
    struct check_object *o;
    struct object_rec rec;

    if (it->verdict < 0 || object_rec_decode(it->val.data, it->val.len, &rec) < 0)
        return 0;
    o = idmap_put(&c->objects, get_be64(it->key + 1));
    if (o)
        o->rec = rec;
    return o ? 0 : -E_NOMEM;
}

static int see_range(void *arg, const struct scan_item *it)
{
    struct pass *p = arg;
    const struct check_object *o;
    struct cold_range range;

    if (it->verdict < 0 || !scan_key_ok(it->key, it->klen))
        return 0;
    if (cold_decode(it->key, it->klen, it->val.data, it->val.len, &range) < 0)
        return problem(p->c, "a range of object %" PRIx64 " is malformed", get_be64(it->key + 1));
    if (p->object == range.object && range.first < p->end)
        problem(p->c, "object %" PRIx64 ": the range from block %" PRIu64 " overlaps the one before it",
                range.object, range.first);
    p->object = range.object;
    p->end = range.first + range.blocks;
    o = idmap_get(&p->c->objects, range.object);
    if (!o) {
        fix_key(fix_add(p->c, FIX_DEL), it->key, it->klen);
        return problem(p->c,
                       "blocks from %" PRIu64 " of object %" PRIx64 " are elsewhere, but it has no record",
                       range.first, range.object);
    }
    if (!(o->rec.flags & OBJECT_COLD))
        problem(p->c, "object %" PRIx64 " has blocks that are elsewhere and does not say so", range.object);
    if (!idmap_get(&p->sources, range.source))
        problem(p->c, "object %" PRIx64 ": blocks from %" PRIu64 " are in source %u, which is not known",
                range.object, range.first, range.source);
    return 0;
}

int check_pass_cold(struct check *c)
{
    static const uint8_t objects = TAB_OBJECT, sources = TAB_SOURCE, ranges = TAB_COLD;
    struct pass p = {.c = c, .sources = {.vsize = 1}};
    int r = txn_scan(&c->t, KEEP_PENDING, &objects, 1, load_object, c);

    if (r == 0)
        r = txn_scan(&c->t, KEEP_FIRM, &sources, 1, load_source, &p);
    if (r == 0)
        r = txn_scan(&c->t, KEEP_FIRM, &ranges, 1, see_range, &p);
    idmap_free(&p.sources);
    return r;
}
