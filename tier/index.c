/* Trailers of packs and index objects, as plain bytes. */
#include <stdio.h>

#include "tier/crypt.h"
#include "tier/pack.h"

#define VERSION 1

void pack_name(const struct sha *pack, char out[PACK_NAME])
{
    char hex[SHA_TEXT];

    hex_format(pack->b, sizeof(pack->b), hex);
    snprintf(out, PACK_NAME, "packs/%.2s/%s", hex, hex);
}

int pack_name_parse(const char *name, struct sha *ret)
{
    const char *hex = strrchr(name, '/');

    return hex ? hex_parse(hex + 1, ret->b, sizeof(ret->b)) : -E_INVAL;
}

/* One chunk of a trailer with its blobs; *end: where the last chunk of the pack ended. */
static int chunk_walk(struct dec *d, const struct sha *pack, const struct trailer_cb *cb)
{
    struct have_chunk c = {.pack = *pack};
    struct have_blob b = {.off = 0};
    struct id16 blob;
    uint8_t flags;
    uint32_t n;
    int r = 0;

    dec_copy(d, b.chunk.b, 16);
    c.off = dec_u32(d);
    c.stored_len = dec_u32(d);
    c.plain_len = dec_u32(d);
    c.kind = dec_u8(d);
    flags = dec_u8(d);
    dec_bytes(d, 2);
    n = dec_u32(d);
    if (flags & TRAILER_OWN)
        dec_copy(d, c.domain.b, 16);
    if (d->bad || c.plain_len > CHUNK_PLAIN_MAX || c.stored_len < CHUNK_HEAD + SUM8 ||
        n > d->left / TRAILER_BLOB)
        return -E_CORRUPT;
    if (cb->chunk)
        r = cb->chunk(cb->arg, &b.chunk, &c);
    for (; r == 0 && n > 0; n--, b.off += b.len) {
        dec_copy(d, blob.b, 16);
        b.len = dec_u32(d);
        if (b.len > c.plain_len - b.off)
            return -E_CORRUPT;
        if (cb->blob)
            r = cb->blob(cb->arg, &blob, &b);
    }
    return r != 0 ? r : b.off == c.plain_len ? 0 : -E_CORRUPT;
}

/* How many entries follow. */
static int head(struct dec *d, uint32_t *ret)
{
    uint16_t version = dec_u16(d);

    dec_u16(d);
    *ret = dec_u32(d);
    if (d->bad)
        return -E_CORRUPT;
    return version == VERSION ? 0 : -E_REPO_NEWER;
}

int trailer_walk(const struct sha *pack, const void *p, size_t len, const struct trailer_cb *cb)
{
    struct dec d = dec_of(p, len);
    uint32_t n;
    int r = head(&d, &n);

    for (; r == 0 && n > 0; n--)
        r = chunk_walk(&d, pack, cb);
    return r != 0 ? r : d.left ? -E_CORRUPT : 0;
}

int index_walk(const void *p, size_t len,
               int (*cb)(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t tlen),
               void *arg)
{
    struct dec d = dec_of(p, len);
    uint32_t n;
    int r = head(&d, &n);

    for (; r == 0 && n > 0; n--) {
        const uint8_t *trailer;
        struct sha pack;
        uint64_t size;
        uint32_t tlen;

        dec_copy(&d, pack.b, sizeof(pack.b));
        size = dec_u64(&d);
        tlen = dec_u32(&d);
        trailer = dec_bytes(&d, tlen);
        if (d.bad)
            return -E_CORRUPT;
        r = cb(arg, &pack, size, trailer, tlen);
    }
    return r != 0 ? r : d.left ? -E_CORRUPT : 0;
}

/* --- making one ----------------------------------------------------------------------------------------------------- */

int index_add(struct index_new *x, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    uint8_t head[INDEX_PACK];
    struct enc e = {head};
    int r = x->plain.len ? 0 : buf_add_zero(&x->plain, INDEX_HEAD);

    enc_bytes(&e, pack->b, sizeof(pack->b));
    enc_u64(&e, size);
    enc_u32(&e, (uint32_t)len);
    if (r == 0)
        r = buf_add(&x->plain, head, sizeof(head));
    if (r == 0)
        r = buf_add(&x->plain, trailer, len);
    x->packs++;
    return r;
}

int index_put(struct repo *r, struct index_new *x, char out[SHA_TEXT])
{
    assert(x->packs > 0);
    put_le16(x->plain.data, VERSION);
    put_le32(x->plain.data + 4, x->packs);
    return repo_put_object(r, "index", CHUNK_INDEX, x->plain.data, x->plain.len, out);
}

void index_release(struct index_new *x)
{
    buf_free(&x->plain);
    x->packs = 0;
}
