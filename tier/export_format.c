#include "tier/export_format.h"

/* Puts the sum of [out, e->p) behind it. */
static int sum_put(const uint8_t *out, struct enc *e)
{
    int r = crypt_sum8(out, (size_t)(e->p - out), e->p);

    e->p += SUM8;
    return r;
}

static int sum_check(const uint8_t *p, size_t len)
{
    uint8_t sum[SUM8];
    int r = crypt_sum8(p, len - SUM8, sum);

    return r < 0 ? r : memcmp(sum, p + len - SUM8, SUM8) == 0 ? 0 : -E_CORRUPT;
}

int export_head_encode(const struct export_head *h, uint8_t out[EXPORT_HEAD])
{
    struct enc e = {out};

    enc_bytes(&e, EXPORT_MAGIC, 4);
    enc_u16(&e, EXPORT_VERSION);
    enc_u16(&e, 0);
    enc_bytes(&e, h->point.b, sizeof(h->point.b));
    enc_u64(&e, (uint64_t)h->created_ns);
    assert(e.p + SUM8 == out + EXPORT_HEAD);
    return sum_put(out, &e);
}

int export_head_decode(const uint8_t p[EXPORT_HEAD], struct export_head *ret)
{
    struct dec d = dec_of(p, EXPORT_HEAD);
    uint16_t version;
    int r = memcmp(dec_bytes(&d, 4), EXPORT_MAGIC, 4) == 0 ? sum_check(p, EXPORT_HEAD) : -E_CORRUPT;

    if (r < 0)
        return r;
    version = dec_u16(&d);
    dec_u16(&d);
    if (version != EXPORT_VERSION)
        return -E_REPO_NEWER;
    dec_copy(&d, ret->point.b, sizeof(ret->point.b));
    ret->created_ns = (int64_t)dec_u64(&d);
    return 0;
}

int export_object_encode(struct export_object *o, uint8_t out[EXPORT_OBJECT_MAX], size_t *ret_len)
{
    struct enc e = {out};
    int r;

    enc_bytes(&e, EXPORT_OBJECT_MAGIC, 4);
    enc_u16(&e, (uint16_t)strlen(o->name));
    enc_u16(&e, 0);
    enc_u64(&e, o->len);
    enc_bytes(&e, o->sum.b, sizeof(o->sum.b));
    assert(e.p == out + EXPORT_OBJECT_FIX);
    enc_bytes(&e, o->name, strlen(o->name));
    r = sum_put(out, &e);
    *ret_len = (size_t)(e.p - out);
    memcpy(o->head_sum, e.p - SUM8, SUM8);
    return r;
}

int export_object_size(const uint8_t p[EXPORT_OBJECT_FIX], size_t *ret)
{
    uint16_t n = get_le16(p + 4);

    if (memcmp(p, EXPORT_OBJECT_MAGIC, 4) != 0 || n == 0 || n > BACKEND_NAME_MAX)
        return -E_CORRUPT;
    *ret = EXPORT_OBJECT_FIX + n + SUM8;
    return 0;
}

int export_object_decode(const uint8_t *p, size_t len, struct export_object *ret)
{
    struct export_object o = {.len = 0};
    struct dec d = dec_of(p, len);
    size_t size;
    int r = len < EXPORT_OBJECT_FIX ? -E_CORRUPT : export_object_size(p, &size);

    if (r == 0)
        r = size == len ? sum_check(p, len) : -E_CORRUPT;
    if (r < 0)
        return r;
    dec_bytes(&d, 8);
    o.len = dec_u64(&d);
    dec_copy(&d, o.sum.b, sizeof(o.sum.b));
    dec_copy(&d, o.name, len - EXPORT_OBJECT_FIX - SUM8);
    memcpy(o.head_sum, p + len - SUM8, SUM8);
    if (strlen(o.name) != len - EXPORT_OBJECT_FIX - SUM8 || backend_name_check(o.name) < 0)
        return -E_CORRUPT;
    *ret = o;
    return 0;
}

int export_end_encode(const struct export_end *e, uint8_t out[EXPORT_END])
{
    struct enc c = {out};

    enc_bytes(&c, EXPORT_END_MAGIC, 4);
    enc_u32(&c, 0);
    enc_u64(&c, e->objects);
    enc_u64(&c, e->len);
    enc_bytes(&c, e->sums.b, sizeof(struct sha));
    assert(c.p + SUM8 == out + EXPORT_END);
    return sum_put(out, &c);
}

int export_end_decode(const uint8_t p[EXPORT_END], struct export_end *ret)
{
    struct dec d = dec_of(p, EXPORT_END);
    int r = memcmp(dec_bytes(&d, 4), EXPORT_END_MAGIC, 4) == 0 ? sum_check(p, EXPORT_END) : -E_CORRUPT;

    if (r < 0)
        return r;
    *ret = (struct export_end){.objects = 0};
    dec_u32(&d);
    ret->objects = dec_u64(&d);
    ret->len = dec_u64(&d);
    dec_copy(&d, ret->sums.b, sizeof(struct sha));
    return 0;
}
