#include "snap/store/span.h"

#include "base/enc.h"
#include "snap/store/inode.h"

static_assert(SPAN_SRC_SIZE == 28, "a source is 28 bytes on disk");

void span_clear(struct span *sp)
{
    sp->nsrc = 0;
    memset(sp->block, 0, sizeof(sp->block));
}

bool span_empty(const struct span *sp)
{
    static const uint8_t zero[SPAN_BLOCKS];

    return memcmp(sp->block, zero, sizeof(zero)) == 0;
}

unsigned span_mapped(const struct span *sp)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SPAN_BLOCKS; i++)
        n += sp->block[i] != 0;
    return n;
}

static bool src_equal(const struct span_src *a, const struct span_src *b)
{
    return a->kind == b->kind && a->flags == b->flags && a->data_born == b->data_born &&
           a->owner_vol == b->owner_vol && a->object == b->object && a->delta == b->delta;
}

/* Drops sources that no block uses and numbers the others anew, in the order of their first block. */
static void span_compact(struct span *sp)
{
    uint8_t map[256] = {0};
    struct span_src src[256];
    uint16_t n = 0;

    for (unsigned i = 0; i < SPAN_BLOCKS; i++) {
        uint8_t s = sp->block[i];
        if (!s)
            continue;
        if (!map[s]) {
            map[s] = (uint8_t)++n;
            src[n] = sp->src[s];
        }
        sp->block[i] = map[s];
    }
    memcpy(&sp->src[1], &src[1], n * sizeof(src[0]));
    sp->nsrc = n;
}

int span_set(struct span *sp, unsigned first, unsigned count, const struct span_src *src)
{
    unsigned id = 0;

    assert(first + count <= SPAN_BLOCKS);
    if (src) {
        for (id = 1; id <= sp->nsrc && !src_equal(&sp->src[id], src); id++)
            ;
        if (id > 255) {
            memset(sp->block + first, 0, count);
            span_compact(sp);
            id = sp->nsrc + 1u;
            if (id > 255)
                return -E_RANGE;
        }
        if (id > sp->nsrc) {
            sp->nsrc = (uint16_t)id;
            sp->src[id] = *src;
        }
    }
    memset(sp->block + first, (int)id, count);
    return 0;
}

static void put_src(struct enc *e, const struct span_src *s)
{
    enc_u8(e, s->kind);
    enc_u8(e, s->flags);
    enc_u16(e, 0);
    enc_u32(e, s->data_born);
    enc_u32(e, s->owner_vol);
    enc_u64(e, s->object);
    enc_u64(e, (uint64_t)s->delta);
}

void span_copy(struct span *to, const struct span *from)
{
    to->nsrc = from->nsrc;
    memcpy(to->block, from->block, sizeof(to->block));
    memcpy(&to->src[1], &from->src[1], from->nsrc * sizeof(from->src[1]));
}

void span_changed(const struct span *a, const struct span *b, unsigned *ret_first, unsigned *ret_end)
{
    unsigned first = 0, end = SPAN_BLOCKS, n = MIN_OF(a->nsrc, b->nsrc), i = 1;

    while (i <= n && src_equal(&a->src[i], &b->src[i]))
        i++;
    if (i > n) {
        while (first < end && a->block[first] == b->block[first])
            first++;
        while (end > first && a->block[end - 1] == b->block[end - 1])
            end--;
    }
    *ret_first = first;
    *ret_end = end;
}

/* The length of the run of one source that begins at block i. */
static unsigned run_at(const struct span *sp, unsigned i)
{
    unsigned n = 1;

    while (i + n < SPAN_BLOCKS && sp->block[i + n] == sp->block[i])
        n++;
    return n;
}

/* Sources that no block uses are left out, the others numbered in the order of their first block. */
size_t span_encode(const struct span *sp, uint8_t out[SPAN_SIZE_MAX])
{
    struct enc e = {out + 4};
    uint8_t map[256] = {0}, nsrc = 0;
    uint16_t runs = 0;

    for (unsigned i = 0; i < SPAN_BLOCKS; i += run_at(sp, i)) {
        uint8_t s = sp->block[i];
        if (!s || map[s])
            continue;
        map[s] = ++nsrc;
        put_src(&e, &sp->src[s]);
    }
    for (unsigned i = 0, n; i < SPAN_BLOCKS; i += n) {
        n = run_at(sp, i);
        if (!sp->block[i])
            continue;
        enc_u8(&e, (uint8_t)i);
        enc_u8(&e, (uint8_t)(n - 1));
        enc_u8(&e, map[sp->block[i]]);
        runs++;
    }
    out[0] = nsrc;
    out[1] = 0;
    put_le16(out + 2, runs);
    return (size_t)(e.p - out);
}

static void get_src(struct dec *d, struct span_src *s)
{
    s->kind = dec_u8(d);
    s->flags = dec_u8(d);
    (void)dec_u16(d);
    s->data_born = dec_u32(d);
    s->owner_vol = dec_u32(d);
    s->object = dec_u64(d);
    s->delta = (int64_t)dec_u64(d);
}

int span_decode(const void *p, size_t len, struct span *ret)
{
    struct dec d = dec_of(p, len);
    unsigned nsrc = dec_u8(&d), at = 0;

    (void)dec_u8(&d);
    unsigned runs = dec_u16(&d);
    span_clear(ret);
    for (unsigned i = 1; i <= nsrc; i++) {
        get_src(&d, &ret->src[i]);
        if (ret->src[i].kind == SPAN_HOLE || ret->src[i].kind > SPAN_BOTH)
            return -E_CORRUPT;
    }
    for (unsigned i = 0; i < runs; i++) {
        unsigned first = dec_u8(&d), count = dec_u8(&d) + 1u, s = dec_u8(&d);
        if (d.bad || first < at || first + count > SPAN_BLOCKS || s == 0 || s > nsrc)
            return -E_CORRUPT;
        memset(ret->block + first, (int)s, count);
        at = first + count;
    }
    if (d.bad || d.left)
        return -E_CORRUPT;
    ret->nsrc = (uint16_t)nsrc;
    return 0;
}

static int add_object(uint64_t object, uint64_t *ret, int n, int max)
{
    for (int i = 0; i < n; i++)
        if (ret[i] == object)
            return n;
    if (object && n < max)
        ret[n++] = object;
    return n;
}

int record_objects(uint8_t tab, const void *payload, size_t len, uint64_t *ret, int max)
{
    struct dec d = dec_of(payload, len);
    uint64_t base, open;
    struct span_src s;
    int n = 0;

    if (tab == TAB_INODE) {
        if (inode_objects(payload, len, &base, &open) < 0)
            return -E_CORRUPT;
        return add_object(open, ret, add_object(base, ret, 0, max), max);
    }
    if (tab != TAB_SPAN)
        return 0;
    unsigned nsrc = dec_u8(&d);
    (void)dec_u8(&d);
    (void)dec_u16(&d);
    for (unsigned i = 0; i < nsrc; i++) {
        get_src(&d, &s);
        n = add_object(s.object, ret, n, max);
    }
    return d.bad ? -E_CORRUPT : n;
}
