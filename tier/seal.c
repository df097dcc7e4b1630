#include "tier/seal.h"

#include <lz4.h>
#include <stdlib.h>
#include <zstd.h>

#define VERSION 1
#define MOVING_FRAMES 64u
#define ZSTD_LEVEL 3
#define ZSTD_LEVEL_HARD 7

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

static uint8_t frame_log2_of(enum codec_id codec, enum chunk_kind kind, size_t len)
{
    return codec == CODEC_ZSTD && kind == CHUNK_DATA && len > FRAME_SIZE ? FRAME_LOG2_MAX : FRAME_LOG2;
}

static uint32_t frames_of(size_t len, size_t frame_size)
{
    return (uint32_t)((len + frame_size - 1) / frame_size);
}

void sealer_release(struct sealer *s)
{
    ZSTD_freeCCtx(s->zstd);
    *s = (struct sealer){.zstd = NULL};
}

/* One frame: 0 where it does not become less. z: NULL for LZ4. */
static size_t squeeze(ZSTD_CCtx *z, int level, const uint8_t *from, size_t n, uint8_t *to)
{
    size_t c;
    int l;

    if (z) {
        c = ZSTD_compressCCtx(z, to, n - 1, from, n, level);
        return ZSTD_isError(c) ? 0 : c;
    }
    l = LZ4_compress_default((const char *)from, (char *)to, (int)n, (int)n - 1);
    return l > 0 ? (size_t)l : 0;
}

/* Frames, compressed, each with room for its tag behind it; their lengths (without tags) in lens. What all take. */
static size_t compress(ZSTD_CCtx *z, int level, const uint8_t *p, size_t len, size_t frame_size, uint8_t *to,
                       uint32_t *lens)
{
    size_t at = 0;

    for (uint32_t i = 0; i < frames_of(len, frame_size); i++) {
        size_t n = MIN_OF(len - i * frame_size, frame_size);
        const uint8_t *from = p + i * frame_size;
        size_t c = squeeze(z, level, from, n, to + at);

        if (c == 0)
            memcpy(to + at, from, n);
        lens[i] = c ? (uint32_t)c : (uint32_t)n | FRAME_RAW;
        at += (lens[i] & ~FRAME_RAW) + TAG_SIZE;
    }
    return at;
}

static void head_write(uint8_t *to, const struct domain *d, enum chunk_kind kind, const struct id16 *id,
                       size_t len, size_t stored, const uint32_t *lens, uint32_t n)
{
    struct enc e = {to};

    enc_bytes(&e, CHUNK_MAGIC, 4);
    enc_u8(&e, VERSION);
    enc_u8(&e, (uint8_t)kind);
    enc_u8(&e, (uint8_t)d->codec);
    enc_u8(&e, CIPHER_AES_256_GCM);
    enc_u8(&e, frame_log2_of(d->codec, kind, len));
    enc_u8(&e, 0);
    enc_u16(&e, 0);
    enc_u32(&e, (uint32_t)len);
    enc_u32(&e, (uint32_t)stored);
    enc_u32(&e, n);
    enc_bytes(&e, d->id.b, 16);
    enc_bytes(&e, id->b, 16);
    for (uint32_t i = 0; i < n; i++)
        enc_u32(&e, ((lens[i] & ~FRAME_RAW) + TAG_SIZE) | (lens[i] & FRAME_RAW));
}

/* The frames where they lie. */
static int encrypt(const struct domain *d, const struct id16 *id, const uint8_t *aad, size_t aad_len,
                   uint8_t *at, const uint32_t *lens, uint32_t n)
{
    uint8_t nonce[NONCE_SIZE];
    struct key k;
    int r = key_of(d, id, &k);

    for (uint32_t i = 0; r == 0 && i < n; i++) {
        size_t len = lens[i] & ~FRAME_RAW;

        nonce_of(i, nonce);
        r = crypt_seal(&k, nonce, aad, aad_len, at, len, at);
        at += len + TAG_SIZE;
    }
    key_wipe(&k);
    return r;
}

static int sealer_ready(struct sealer *s, enum codec_id codec, ZSTD_CCtx **ret)
{
    if (s->was_hard && !s->hard)
        sealer_release(s);
    s->was_hard = s->hard;
    if (codec == CODEC_ZSTD && !s->zstd && !(s->zstd = ZSTD_createCCtx()))
        return -E_NOMEM;
    *ret = codec == CODEC_ZSTD ? s->zstd : NULL;
    return 0;
}

int seal_with(struct sealer *s, const struct domain *d, enum chunk_kind kind, const struct id16 *id,
              const void *p, size_t len, struct buf *out)
{
    size_t frame_size = (size_t)1 << frame_log2_of(d->codec, kind, len);
    uint32_t n = frames_of(len, frame_size), *lens;
    size_t head = CHUNK_HEAD + 4 * (size_t)n, stored;
    uint8_t *to;
    ZSTD_CCtx *z;
    int r = len > CHUNK_PLAIN_MAX ? -E_TOOBIG : sealer_ready(s, d->codec, &z);

    if (r == 0)
        r = buf_reserve(out, head + SUM8 + len + n * (size_t)TAG_SIZE);
    if (r < 0)
        return r;
    if (!(lens = malloc((n + 1) * sizeof(*lens))))
        return -E_NOMEM;
    to = out->data + out->len;
    stored = head + SUM8 +
             compress(z, s->hard ? ZSTD_LEVEL_HARD : ZSTD_LEVEL, p, len, frame_size, to + head + SUM8, lens);
    head_write(to, d, kind, id, len, stored, lens, n);
    r = crypt_sum8(to, head, to + head);
    if (r == 0)
        r = encrypt(d, id, to, head, to + head + SUM8, lens, n);
    if (r == 0)
        out->len += stored;
    free(lens);
    return r;
}

int seal(const struct domain *d, enum chunk_kind kind, const struct id16 *id, const void *p, size_t len,
         struct buf *out)
{
    struct sealer s = {.zstd = NULL};
    int r = seal_with(&s, d, kind, id, p, len, out);

    sealer_release(&s);
    return r;
}

/* --- back ----------------------------------------------------------------------------------------------------------- */

/* Do the frames' lengths add up to what the header says? */
static bool table_fits(const struct chunk_head *h)
{
    uint64_t sum = h->aad_len + SUM8;

    for (uint32_t i = 0; i < h->frames; i++) {
        uint32_t n = get_le32(h->table + 4 * (size_t)i) & ~FRAME_RAW;

        if (n <= TAG_SIZE || n > h->frame_size + TAG_SIZE)
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
        frame_log2 < FRAME_LOG2 || frame_log2 > FRAME_LOG2_MAX)
        return -E_REPO_NEWER;
    h.frame_size = 1u << frame_log2;
    if (h.frames != frames_of(h.plain_len, h.frame_size) || !table_fits(&h))
        return -E_CORRUPT;
    *ret = h;
    return 0;
}

struct opening {
    const struct chunk_head *h;
    const uint8_t *aad; /* the header */
    bool moving;        /* somebody else can change the frames: each is proved where it was copied to */
    struct key k;
    ZSTD_DCtx *z;  /* both NULL until a frame is compressed */
    uint8_t *room; /* for a frame that is still compressed */
};

static int opening_room(struct opening *o)
{
    if (!o->room && !(o->room = malloc(o->h->frame_size)))
        return -E_NOMEM;
    return o->h->codec != CODEC_ZSTD || o->z || (o->z = ZSTD_createDCtx()) ? 0 : -E_NOMEM;
}

static int frame_expand(struct opening *o, size_t len, uint8_t *to, size_t want)
{
    if (o->h->codec == CODEC_ZSTD)
        return ZSTD_decompressDCtx(o->z, to, want, o->room, len) == want ? 0 : -E_CORRUPT;
    return LZ4_decompress_safe((const char *)o->room, (char *)to, (int)len, (int)want) == (int)want
               ? 0
               : -E_CORRUPT;
}

static int frame_open(struct opening *o, uint32_t i, const uint8_t *from, size_t len, uint8_t *to,
                      size_t want)
{
    bool raw = get_le32(o->h->table + 4 * (size_t)i) & FRAME_RAW;
    uint8_t nonce[NONCE_SIZE], tag[TAG_SIZE], *at;
    int r = raw ? 0 : opening_room(o);

    len -= TAG_SIZE;
    if (raw && len != want)
        return -E_CORRUPT;
    if (r < 0)
        return r;
    at = raw ? to : o->room;
    memcpy(tag, from + len, TAG_SIZE);
    if (o->moving)
        from = memcpy(at, from, len);
    nonce_of(i, nonce);
    r = crypt_open_with(&o->k, nonce, o->aad, o->h->aad_len, from, len, tag, at);
    if (r < 0)
        return r == -E_KEY && !BROKEN(VARVE_BREAK_tag) ? -E_CORRUPT : r == -E_KEY ? 0 : r;
    return raw ? 0 : frame_expand(o, len, to, want);
}

/* Frames [first, end). */
static int frames_open_some(const struct domain *d, struct opening *o, uint32_t first, uint32_t end,
                            const uint8_t *p, uint8_t *to)
{
    const struct chunk_head *h = o->h;
    const uint8_t *from = p + h->aad_len + SUM8;
    int r = key_of(d, &h->id, &o->k);

    for (uint32_t i = 0; r == 0 && i < end; i++) {
        size_t len = get_le32(h->table + 4 * (size_t)i) & ~FRAME_RAW;
        size_t want = MIN_OF(h->plain_len - i * (size_t)h->frame_size, (size_t)h->frame_size);

        if (i >= first) {
            r = frame_open(o, i, from, len, to, want);
            to += want;
        }
        from += len;
    }
    key_wipe(&o->k);
    ZSTD_freeDCtx(o->z);
    free(o->room);
    return r;
}

static int frames_open(const struct domain *d, struct opening *o, const uint8_t *p, uint8_t *to)
{
    return frames_open_some(d, o, 0, o->h->frames, p, to);
}

static int head_is(const struct domain *d, enum chunk_kind want, size_t len, const struct chunk_head *h)
{
    if (h->stored_len != len || (want && h->kind != want))
        return -E_CORRUPT;
    return memcmp(h->domain.b, d->id.b, 16) == 0 ? 0 : -E_KEY;
}

static int whole_head(const struct domain *d, enum chunk_kind want, const void *p, size_t len,
                      struct chunk_head *ret)
{
    int r = unseal_head(p, len, ret);

    return r < 0 ? r : head_is(d, want, len, ret);
}

int unseal_into(const struct domain *d, const void *p, size_t len, void *to, size_t room,
                struct chunk_head *ret)
{
    int r = whole_head(d, 0, p, len, ret);

    if (r == 0 && ret->plain_len > room)
        r = -E_TOOBIG;
    return r < 0 ? r : frames_open(d, &(struct opening){.h = ret, .aad = p}, p, to);
}

int unseal_moving(const struct domain *d, const void *p, size_t len, void *to, size_t room,
                  struct chunk_head *ret)
{
    uint8_t head[CHUNK_HEAD + 4 * MOVING_FRAMES + SUM8];
    size_t n = MIN_OF(len, sizeof(head));
    int r;

    memcpy(head, p, n);
    r = unseal_head(head, n, ret);
    if (r == 0)
        r = head_is(d, 0, len, ret);
    if (r == 0 && ret->plain_len > room)
        r = -E_TOOBIG;
    if (r == 0)
        r = frames_open(d, &(struct opening){.h = ret, .aad = head, .moving = true}, p, to);
    ret->table = NULL;
    return r;
}

int unseal(const struct domain *d, enum chunk_kind want, const void *p, size_t len, struct chunk_head *ret,
           struct buf *out)
{
    struct chunk_head h;
    int r = whole_head(d, want, p, len, &h);

    if (r < 0)
        return r;
    r = buf_reserve(out, h.plain_len);
    if (r == 0)
        r = frames_open(d, &(struct opening){.h = &h, .aad = p}, p, out->data + out->len);
    if (r < 0)
        return r;
    out->len += h.plain_len;
    if (ret)
        *ret = h;
    return 0;
}

int unseal_frames(const struct domain *d, const void *p, const struct chunk_head *h, uint32_t first,
                  uint32_t end, void *to)
{
    int r = head_is(d, 0, h->stored_len, h);

    assert(first <= end && end <= h->frames);
    return r < 0 ? r : frames_open_some(d, &(struct opening){.h = h, .aad = p}, first, end, p, to);
}
