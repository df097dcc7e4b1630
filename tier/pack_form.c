/* How a pack is laid out: made, and opened again. */
#include "base/hash.h"
#include "tier/pack.h"

#define VERSION 1

int pack_begin(const struct uuid *repo, const struct domain *d, struct buf *pack)
{
    uint8_t head[PACK_HEAD];
    struct enc e = {head};

    enc_bytes(&e, PACK_MAGIC, 4);
    enc_u16(&e, VERSION);
    enc_u16(&e, 0);
    enc_bytes(&e, repo->b, 16);
    enc_bytes(&e, d->id.b, 16);
    return buf_add(pack, head, sizeof(head));
}

int pack_close(const struct domain *d, const void *trailer, size_t len, struct buf *pack)
{
    uint8_t foot[PACK_FOOT];
    struct enc e = {foot};
    size_t at = pack->len;
    struct id16 id;
    int r;

    hash_random(id.b, sizeof(id.b));
    r = seal(d, CHUNK_TRAILER, &id, trailer, len, pack);
    if (r < 0)
        return r;
    enc_u64(&e, at);
    enc_u32(&e, (uint32_t)(pack->len - at));
    enc_u16(&e, VERSION);
    enc_u16(&e, 0);
    r = crypt_sum8(foot, 16, e.p);
    e.p += SUM8;
    enc_bytes(&e, PACK_END_MAGIC, 4);
    return r < 0 ? r : buf_add(pack, foot, sizeof(foot));
}

/* The footer of a pack of size bytes: where its trailer is. */
static int foot_parse(const uint8_t foot[PACK_FOOT], uint64_t size, uint64_t *ret_off, uint32_t *ret_len)
{
    struct dec d = dec_of(foot, PACK_FOOT);
    uint8_t sum[SUM8];
    uint16_t version;

    *ret_off = dec_u64(&d);
    *ret_len = dec_u32(&d);
    version = dec_u16(&d);
    if (crypt_sum8(foot, 16, sum) < 0)
        return -E_NOMEM;
    if (memcmp(foot + PACK_FOOT - 4, PACK_END_MAGIC, 4) != 0 || memcmp(sum, foot + 16, SUM8) != 0 ||
        *ret_off < PACK_HEAD || *ret_off > size - PACK_FOOT || *ret_len != size - PACK_FOOT - *ret_off)
        return -E_CORRUPT;
    return version == VERSION ? 0 : -E_REPO_NEWER;
}

static int head_check(const uint8_t head[PACK_HEAD], const struct uuid *repo)
{
    struct dec d = dec_of(head + 4, PACK_HEAD - 4);
    uint16_t version = dec_u16(&d);

    if (memcmp(head, PACK_MAGIC, 4) != 0 || memcmp(head + 8, repo->b, 16) != 0)
        return -E_CORRUPT;
    return version == VERSION ? 0 : -E_REPO_NEWER;
}

int pack_open(const struct uuid *repo, const struct domain *d, const void *p, size_t len,
              struct buf *ret_trailer)
{
    const uint8_t *at = p;
    uint64_t off;
    uint32_t n;
    int r;

    if (len < PACK_HEAD + PACK_FOOT)
        return -E_CORRUPT;
    r = head_check(at, repo);
    if (r == 0)
        r = foot_parse(at + len - PACK_FOOT, len, &off, &n);
    return r < 0 ? r : unseal(d, CHUNK_TRAILER, at + off, n, NULL, ret_trailer);
}

int pack_trailer(struct repo *r, const struct sha *pack, uint64_t size, struct buf *ret)
{
    cleanup(buf_free) struct buf b = {0};
    char name[PACK_NAME];
    uint64_t off;
    uint32_t n;
    int x;

    if (size < PACK_HEAD + PACK_FOOT || size > PACK_SIZE_MAX)
        return -E_CORRUPT;
    pack_name(pack, name);
    x = backend_get(r->b, &r->call, name, size - PACK_FOOT, PACK_FOOT, &b);
    if (x == 0)
        x = b.len == PACK_FOOT ? foot_parse(b.data, size, &off, &n) : -E_CORRUPT;
    if (x < 0)
        return x;
    buf_reset(&b);
    x = backend_get(r->b, &r->call, name, off, n, &b);
    return x < 0 ? x : unseal(&r->dom, CHUNK_TRAILER, b.data, b.len, NULL, ret);
}
