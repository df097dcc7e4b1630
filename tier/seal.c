#include "tier/seal.h"

#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

#define VERSION 1
#define ZSTD_LEVEL 3

int domain_derive(const struct id16 *id, const struct key *k, struct domain *ret)
{
    int r = crypt_subkey(k, "varve blob id 1", &ret->blob_key);

    ret->id = *id;
    ret->codec = CODEC_ZSTD;
    return r < 0 ? r : crypt_subkey(k, "varve chunk key 1", &ret->chunk_key);
}

static int key_of(const struct domain *d, const struct id16 *id, struct key *ret)
{
    return crypt_hmac(&d->chunk_key, id->b, sizeof(id->b), ret->b);
}

static void nonce_of(uint32_t frame, uint8_t nonce[NONCE_SIZE])
{
    memset(nonce, 0, NONCE_SIZE);
    put_le32(nonce, frame);
}

static uint32_t frames_of(size_t len)
{
    return (uint32_t)((len + FRAME_SIZE - 1) / FRAME_SIZE);
}

/* One frame: 0 where it does not become less. z: NULL for LZ4. */
static size_t squeeze(ZSTD_CCtx *z, const uint8_t *from, size_t n, uint8_t *to)
{
    size_t c;
    int l;

    if (z) {
        c = ZSTD_compressCCtx(z, to, n - 1, from, n, ZSTD_LEVEL);
        return ZSTD_isError(c) ? 0 : c;
    }
    l = LZ4_compress_default((const char *)from, (char *)to, (int)n, (int)n - 1);
    return l > 0 ? (size_t)l : 0;
}

/* Frames, compressed, one after the other in room; their lengths (without tags) in lens. */
static size_t compress(ZSTD_CCtx *z, const uint8_t *p, size_t len, uint8_t *room, uint32_t *lens)
{
    size_t at = 0;

    for (uint32_t i = 0; i < frames_of(len); i++) {
        size_t n = MIN_OF(len - (size_t)i * FRAME_SIZE, (size_t)FRAME_SIZE);
        const uint8_t *from = p + (size_t)i * FRAME_SIZE;
        size_t c = squeeze(z, from, n, room + at);

        if (c == 0)
            memcpy(room + at, from, n);
        lens[i] = c ? (uint32_t)c : (uint32_t)n | FRAME_RAW;
        at += lens[i] & ~FRAME_RAW;
    }
    return at;
}

static void head_write(uint8_t *to, const struct domain *d, enum chunk_kind kind, const struct id16 *id,
                       size_t len, size_t stored, const uint32_t *lens)
{
    struct enc e = {to};

    enc_bytes(&e, CHUNK_MAGIC, 4);
    enc_u8(&e, VERSION);
    enc_u8(&e, (uint8_t)kind);
    enc_u8(&e, (uint8_t)d->codec);
    enc_u8(&e, CIPHER_AES_256_GCM);
    enc_u8(&e, FRAME_LOG2);
    enc_u8(&e, 0);
    enc_u16(&e, 0);
    enc_u32(&e, (uint32_t)len);
    enc_u32(&e, (uint32_t)stored);
    enc_u32(&e, frames_of(len));
    enc_bytes(&e, d->id.b, 16);
    enc_bytes(&e, id->b, 16);
    for (uint32_t i = 0; i < frames_of(len); i++)
        enc_u32(&e, ((lens[i] & ~FRAME_RAW) + TAG_SIZE) | (lens[i] & FRAME_RAW));
}

static int encrypt(const struct domain *d, const struct id16 *id, const uint8_t *aad, size_t aad_len,
                   const uint8_t *from, const uint32_t *lens, uint32_t n, uint8_t *to)
{
    uint8_t nonce[NONCE_SIZE];
    struct key k;
    int r = key_of(d, id, &k);

    for (uint32_t i = 0; r == 0 && i < n; i++) {
        size_t len = lens[i] & ~FRAME_RAW;

        nonce_of(i, nonce);
        r = crypt_seal(&k, nonce, aad, aad_len, from, len, to);
        from += len;
        to += len + TAG_SIZE;
    }
    key_wipe(&k);
    return r;
}

int seal(const struct domain *d, enum chunk_kind kind, const struct id16 *id, const void *p, size_t len,
         struct buf *out)
{
    uint32_t n = frames_of(len), *lens = malloc((n + 1) * sizeof(*lens));
    ZSTD_CCtx *z = d->codec == CODEC_ZSTD ? ZSTD_createCCtx() : NULL;
    uint8_t *room = malloc(len + 1), *to;
    size_t aad_len = CHUNK_HEAD + 4 * (size_t)n, stored;
    int r = lens && room && (z || d->codec != CODEC_ZSTD) ? 0 : -E_NOMEM;

    if (len > CHUNK_PLAIN_MAX)
        r = -E_TOOBIG;
    if (r == 0) {
        stored = aad_len + SUM8 + compress(z, p, len, room, lens) + (size_t)n * TAG_SIZE;
        r = buf_reserve(out, stored);
    }
    if (r == 0) {
        to = out->data + out->len;
        head_write(to, d, kind, id, len, stored, lens);
        r = crypt_sum8(to, aad_len, to + aad_len);
        if (r == 0)
            r = encrypt(d, id, to, aad_len, room, lens, n, to + aad_len + SUM8);
        if (r == 0)
            out->len += stored;
    }
    ZSTD_freeCCtx(z);
    free(room);
    free(lens);
    return r;
}

/* --- back ----------------------------------------------------------------------------------------------------------- */

/* Do the frames' lengths add up to what the header says? */
static bool table_fits(const struct chunk_head *h)
{
    uint64_t sum = h->aad_len + SUM8;

    for (uint32_t i = 0; i < h->frames; i++) {
        uint32_t n = get_le32(h->table + 4 * (size_t)i) & ~FRAME_RAW;

        if (n <= TAG_SIZE || n > FRAME_SIZE + TAG_SIZE)
            return false;
        sum += n;
    }
    return sum == h->stored_len;
}

int unseal_head(const void *p, size_t len, struct chunk_head *ret)
{
    struct dec d = dec_of(p, len);
    const uint8_t *magic = dec_bytes(&d, 4), *sum;
    uint8_t version = dec_u8(&d), want[SUM8], cipher, frame_log2;
    struct chunk_head h = {.kind = dec_u8(&d)};

    h.codec = dec_u8(&d);
    cipher = dec_u8(&d);
    frame_log2 = dec_u8(&d);
    dec_bytes(&d, 3);
    h.plain_len = dec_u32(&d);
    h.stored_len = dec_u32(&d);
    h.frames = dec_u32(&d);
    dec_copy(&d, h.domain.b, 16);
    dec_copy(&d, h.id.b, 16);
    if (d.bad || memcmp(magic, CHUNK_MAGIC, 4) != 0 || h.plain_len > CHUNK_PLAIN_MAX ||
        h.frames > CHUNK_PLAIN_MAX / 512)
        return -E_CORRUPT;
    h.table = dec_bytes(&d, 4 * (size_t)h.frames);
    sum = dec_bytes(&d, SUM8);
    if (d.bad)
        return -E_CORRUPT;
    h.aad_len = CHUNK_HEAD + 4 * (size_t)h.frames;
    if (crypt_sum8(p, h.aad_len, want) < 0)
        return -E_NOMEM;
    if (memcmp(want, sum, SUM8) != 0)
        return -E_CORRUPT;
    if (version != VERSION || cipher != CIPHER_AES_256_GCM || h.codec > CODEC_ZSTD ||
        frame_log2 != FRAME_LOG2)
        return -E_REPO_NEWER;
    if (h.frames != frames_of(h.plain_len) || !table_fits(&h))
        return -E_CORRUPT;
    *ret = h;
    return 0;
}

/* One frame: room has FRAME_SIZE bytes for what is still compressed. */
static int frame_open(const struct key *k, const struct chunk_head *h, const uint8_t *aad, uint32_t i,
                      const uint8_t *from, size_t len, uint8_t *room, uint8_t *to, size_t want)
{
    bool raw = get_le32(h->table + 4 * (size_t)i) & FRAME_RAW;
    uint8_t nonce[NONCE_SIZE];
    int r;

    if (raw && len - TAG_SIZE != want)
        return -E_CORRUPT;
    nonce_of(i, nonce);
    r = crypt_open(k, nonce, aad, h->aad_len, from, len, raw ? to : room);
    if (r < 0)
        return r == -E_KEY && !BROKEN(VARVE_BREAK_tag) ? -E_CORRUPT : r == -E_KEY ? 0 : r;
    if (raw)
        return 0;
    len -= TAG_SIZE;
    if (h->codec == CODEC_ZSTD)
        return ZSTD_decompress(to, want, room, len) == want ? 0 : -E_CORRUPT;
    return LZ4_decompress_safe((const char *)room, (char *)to, (int)len, (int)want) == (int)want ? 0
                                                                                                 : -E_CORRUPT;
}

static int frames_open(const struct domain *d, const struct chunk_head *h, const uint8_t *p, uint8_t *to)
{
    const uint8_t *from = p + h->aad_len + SUM8;
    uint8_t *room = malloc(FRAME_SIZE);
    struct key k;
    int r = room ? key_of(d, &h->id, &k) : -E_NOMEM;

    for (uint32_t i = 0; r == 0 && i < h->frames; i++) {
        size_t len = get_le32(h->table + 4 * (size_t)i) & ~FRAME_RAW;
        size_t want = MIN_OF((size_t)h->plain_len - (size_t)i * FRAME_SIZE, (size_t)FRAME_SIZE);

        r = frame_open(&k, h, p, i, from, len, room, to, want);
        from += len;
        to += want;
    }
    if (room)
        key_wipe(&k);
    free(room);
    return r;
}

int unseal(const struct domain *d, enum chunk_kind want, const void *p, size_t len, struct chunk_head *ret,
           struct buf *out)
{
    struct chunk_head h;
    int r = unseal_head(p, len, &h);

    if (r < 0)
        return r;
    if (h.stored_len != len || (want && h.kind != want))
        return -E_CORRUPT;
    if (memcmp(h.domain.b, d->id.b, 16) != 0)
        return -E_KEY;
    if ((r = buf_reserve(out, h.plain_len)) < 0 || (r = frames_open(d, &h, p, out->data + out->len)) < 0)
        return r;
    out->len += h.plain_len;
    if (ret)
        *ret = h;
    return 0;
}
