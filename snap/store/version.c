#include "snap/store/version.h"

#include "base/enc.h"
#include "base/hash.h"
#include "snap/store/feature.h"

void store_version_encode(const struct store_version *v, uint8_t out[STORE_VERSION_SIZE])
{
    struct enc e = {out};

    memset(out, 0, STORE_VERSION_SIZE);
    enc_bytes(&e, STORE_MAGIC, 8);
    enc_u32(&e, v->format);
    enc_u32(&e, v->block_size);
    enc_u64(&e, v->compat);
    enc_u64(&e, v->rocompat);
    enc_u64(&e, v->incompat);
    enc_bytes(&e, v->uuid.b, 16);
    enc_u64(&e, (uint64_t)v->created_ns);
    enc_u64(&e, v->segment_bytes);
    enc_u32(&e, v->segments);
    enc_u32(&e, v->span_shift);
    enc_u64(&e, v->dir_dev);
    enc_u64(&e, v->dir_ino);
    enc_bytes(&e, v->machine, 16);
    put_le64(out + STORE_VERSION_SIZE - 8, hash_sum(0, out, STORE_VERSION_SIZE - 8));
}

static void decode_fields(struct dec *d, struct store_version *v)
{
    v->format = dec_u32(d);
    v->block_size = dec_u32(d);
    v->compat = dec_u64(d);
    v->rocompat = dec_u64(d);
    v->incompat = dec_u64(d);
    dec_copy(d, v->uuid.b, 16);
    v->created_ns = (int64_t)dec_u64(d);
    v->segment_bytes = dec_u64(d);
    v->segments = dec_u32(d);
    v->span_shift = dec_u32(d);
    v->dir_dev = dec_u64(d);
    v->dir_ino = dec_u64(d);
    dec_copy(d, v->machine, 16);
}

int store_version_decode(const void *p, size_t len, struct store_version *ret)
{
    struct dec d = dec_of(p, len);
    const uint8_t *magic = dec_bytes(&d, 8);
    struct store_version v = {0};

    if (!magic || memcmp(magic, STORE_MAGIC, 8) != 0)
        return -E_STORE_NOT;
    if (len < STORE_VERSION_SIZE)
        return -E_CORRUPT;
    if (get_le64((const uint8_t *)p + STORE_VERSION_SIZE - 8) != hash_sum(0, p, STORE_VERSION_SIZE - 8))
        return -E_CORRUPT;
    decode_fields(&d, &v);
    *ret = v;
    if (v.format > STORE_FORMAT)
        return -E_STORE_NEWER;
    if (v.incompat & ~(STORE_INCOMPAT | feature_door.incompat))
        return -E_STORE_FEATURE;
    if (v.format != STORE_FORMAT || v.block_size != BLOCK_SIZE || v.span_shift != SPAN_SHIFT)
        return -E_CORRUPT;
    return 0;
}
