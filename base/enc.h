/* base/enc: a writing and a reading cursor over little-endian fields. The reader remembers the first shortage and gives
 * zeros from then on, so a decoder checks once, at its end. Header only, pure. */
#ifndef VARVE_BASE_ENC_H
#define VARVE_BASE_ENC_H

#include "base/base.h"

struct enc {
    uint8_t *p; /* next byte; the caller made sure of the room */
};
static inline void enc_u8(struct enc *e, uint8_t v)
{
    *e->p++ = v;
}
static inline void enc_u16(struct enc *e, uint16_t v)
{
    put_le16(e->p, v);
    e->p += 2;
}
static inline void enc_u32(struct enc *e, uint32_t v)
{
    put_le32(e->p, v);
    e->p += 4;
}
static inline void enc_u64(struct enc *e, uint64_t v)
{
    put_le64(e->p, v);
    e->p += 8;
}
static inline void enc_bytes(struct enc *e, const void *p, size_t len)
{
    if (len)
        memcpy(e->p, p, len);
    e->p += len;
}

struct dec {
    const uint8_t *p;
    size_t left;
    bool bad; /* something was missing */
};
static inline struct dec dec_of(const void *p, size_t len)
{
    return (struct dec){p, len, false};
}
static inline const uint8_t *dec_bytes(struct dec *d, size_t len)
{
    const uint8_t *at = d->p;
    if (d->bad || d->left < len) {
        d->bad = true;
        return NULL;
    }
    d->p += len;
    d->left -= len;
    return at;
}
static inline uint8_t dec_u8(struct dec *d)
{
    const uint8_t *p = dec_bytes(d, 1);
    return p ? *p : 0;
}
static inline uint16_t dec_u16(struct dec *d)
{
    const uint8_t *p = dec_bytes(d, 2);
    return p ? get_le16(p) : 0;
}
static inline uint32_t dec_u32(struct dec *d)
{
    const uint8_t *p = dec_bytes(d, 4);
    return p ? get_le32(p) : 0;
}
static inline uint64_t dec_u64(struct dec *d)
{
    const uint8_t *p = dec_bytes(d, 8);
    return p ? get_le64(p) : 0;
}
static inline void dec_copy(struct dec *d, void *to, size_t len)
{
    const uint8_t *p = dec_bytes(d, len);
    if (p)
        memcpy(to, p, len);
    else
        memset(to, 0, len);
}

#endif
