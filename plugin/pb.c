#include "plugin/pb.h"

static int varint(const uint8_t **p, size_t *left, uint64_t *ret)
{
    *ret = 0;
    for (unsigned shift = 0; shift < 64 && *left > 0; shift += 7) {
        uint8_t b = **p;

        ++*p;
        --*left;
        *ret |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return 0;
    }
    return -E_PROTO;
}

/* How many bytes stand behind the head. */
static int body_len(unsigned type, const uint8_t **p, size_t *left, uint64_t *ret)
{
    uint64_t n;

    switch (type) {
    case 0: *ret = 0; return varint(p, left, &n);
    case 1: *ret = 8; return 0;
    case 2: return varint(p, left, ret);
    case 5: *ret = 4; return 0;
    default: return -E_PROTO;
    }
}

int pb_next(const uint8_t **p, size_t *left, struct pb_field *ret)
{
    const uint8_t *at = *p;
    uint64_t head, n;

    if (*left == 0)
        return 0;
    if (varint(p, left, &head) < 0 || head >> 3 == 0 || head >> 3 > UINT32_MAX ||
        body_len(head & 7, p, left, &n) < 0 || n > *left)
        return -E_PROTO;
    *ret = (struct pb_field){
        .number = (uint32_t)(head >> 3), .type = head & 7, .at = at, .bytes = *p, .bytes_len = (size_t)n};
    *p += n;
    *left -= n;
    ret->len = (size_t)(*p - at);
    return 1;
}

static int put_varint(struct buf *b, uint64_t n)
{
    uint8_t bytes[10];
    size_t len = 0;

    for (; n >= 0x80; n >>= 7)
        bytes[len++] = (uint8_t)(n | 0x80);
    bytes[len++] = (uint8_t)n;
    return buf_add(b, bytes, len);
}

int pb_put_number(struct buf *b, uint32_t field, uint64_t n)
{
    int r = n ? put_varint(b, (uint64_t)field << 3) : 0;

    return r < 0 || !n ? r : put_varint(b, n);
}

int pb_put_text(struct buf *b, uint32_t field, const char *s)
{
    size_t len = strlen(s);
    int r = len ? put_varint(b, (uint64_t)field << 3 | 2) : 0;

    if (r == 0 && len)
        r = put_varint(b, len);
    return r < 0 || !len ? r : buf_add(b, s, len);
}
