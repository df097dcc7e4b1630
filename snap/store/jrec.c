/* The record of the journal: encoder and parser, pure. */
#include "base/hash.h"
#include "snap/store/journal.h"

#define PUT_HDR_SIZE 20u
#define PAYLOAD_HDR_SIZE 24u
#define KEY_MAX 511u

static_assert(sizeof(struct jrec_hdr) == JREC_HDR_SIZE, "the header is packed by its order of fields");
static_assert(offsetof(struct jrec_hdr, lsn) == 16, "layout of the record");
static_assert(offsetof(struct jrec_hdr, prev_sum) == 32, "layout of the record");
static_assert(offsetof(struct jrec_hdr, vol) == 48, "layout of the record");
static_assert(offsetof(struct jrec_hdr, vol_seq) == 56, "layout of the record");
static_assert(offsetof(struct jrec_hdr, nputs) == 96, "layout of the record");
static_assert(offsetof(struct jrec_hdr, sum) == 104, "layout of the record");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are copied as they lie in memory");

uint64_t jrec_chain(const struct uuid *store, uint64_t incarnation)
{
    return hash_sum(incarnation, store->b, sizeof(store->b));
}

static uint64_t sum_of(const uint8_t *p, size_t len, uint64_t prev_sum, uint64_t chain)
{
    const size_t upto = offsetof(struct jrec_hdr, sum);
    uint8_t link[8];
    uint64_t seed;

    put_le64(link, prev_sum);
    seed = BROKEN(VARVE_BREAK_ghost) ? 0 : hash_sum(chain, link, sizeof(link));
    return hash_sum(hash_sum(seed, p, upto), p + JREC_HDR_SIZE, len - JREC_HDR_SIZE);
}

static size_t body_size(const struct jrec *r)
{
    size_t n = JREC_HDR_SIZE + r->hdr.tail_len;
    uint32_t i;

    for (i = 0; i < r->hdr.nputs; i++)
        n += PUT_HDR_SIZE + (size_t)r->puts[i].klen + r->puts[i].vlen;
    for (i = 0; i < r->hdr.npayloads; i++)
        n += PAYLOAD_HDR_SIZE + (size_t)r->payloads[i].len;
    return n;
}

size_t jrec_size(const struct jrec *r)
{
    return (body_size(r) + JREC_ALIGN - 1) / JREC_ALIGN * JREC_ALIGN;
}

static uint8_t *bytes_add(uint8_t *p, const void *from, size_t len)
{
    if (len)
        memcpy(p, from, len);
    return p + len;
}

static uint8_t *put_add(uint8_t *p, const struct jput *u)
{
    assert(u->klen <= KEY_MAX);
    p[0] = u->op;
    p[1] = u->level;
    put_le16(p + 2, (uint16_t)u->klen);
    put_le32(p + 4, u->vlen);
    put_le32(p + 8, u->owner_branch);
    put_le64(p + 12, u->owner_ino);
    p = bytes_add(p + PUT_HDR_SIZE, u->key, u->klen);
    return bytes_add(p, u->val, u->vlen);
}

static uint8_t *payload_add(uint8_t *p, const struct jpayload *y)
{
    put_le64(p, y->object);
    put_le64(p + 8, y->off);
    put_le32(p + 16, y->len);
    put_le32(p + 20, 0);
    return bytes_add(p + PAYLOAD_HDR_SIZE, y->data, y->len);
}

void jrec_encode(struct jrec *r, uint64_t chain, uint8_t *out)
{
    size_t len = jrec_size(r);
    uint8_t *p = out + JREC_HDR_SIZE;
    uint32_t i;

    assert(len <= UINT32_MAX);
    r->hdr.magic = JREC_MAGIC;
    r->hdr.len = (uint32_t)len;
    r->hdr.version = JREC_VERSION;
    r->hdr.sum = 0;
    memcpy(out, &r->hdr, JREC_HDR_SIZE);
    for (i = 0; i < r->hdr.nputs; i++)
        p = put_add(p, &r->puts[i]);
    for (i = 0; i < r->hdr.npayloads; i++)
        p = payload_add(p, &r->payloads[i]);
    p = bytes_add(p, r->tail, r->hdr.tail_len);
    memset(p, 0, len - (size_t)(p - out));
    r->hdr.sum = sum_of(out, len, r->hdr.prev_sum, chain);
    put_le64(out + offsetof(struct jrec_hdr, sum), r->hdr.sum);
}

/* Where the tail begins; NULL when what the header announces does not fit exactly. */
static const uint8_t *body_tail(const struct jrec_hdr *h, const uint8_t *p, size_t left)
{
    uint32_t i;
    size_t n;

    for (i = 0; i < h->nputs; i++) {
        if (left < PUT_HDR_SIZE || p[0] > 2 || p[1] > 1 || get_le16(p + 2) > KEY_MAX)
            return NULL;
        n = PUT_HDR_SIZE + (size_t)get_le16(p + 2) + get_le32(p + 4);
        if (left < n)
            return NULL;
        p += n;
        left -= n;
    }
    for (i = 0; i < h->npayloads; i++) {
        if (left < PAYLOAD_HDR_SIZE)
            return NULL;
        n = PAYLOAD_HDR_SIZE + (size_t)get_le32(p + 16);
        if (left < n)
            return NULL;
        p += n;
        left -= n;
    }
    return left >= h->tail_len && left - h->tail_len < JREC_ALIGN ? p : NULL;
}

static bool hdr_fits(const struct jrec_hdr *h, size_t len)
{
    return h->magic == JREC_MAGIC && h->version == JREC_VERSION && h->len >= JREC_HDR_SIZE && h->len <= len &&
           h->len % JREC_ALIGN == 0;
}

int jrec_parse(const uint8_t *p, size_t len, uint64_t prev_sum, uint64_t chain, struct jrec_view *ret,
               size_t *ret_len)
{
    struct jrec_view v = {0};

    if (len < JREC_HDR_SIZE)
        return -E_CORRUPT;
    memcpy(&v.hdr, p, JREC_HDR_SIZE);
    if (!hdr_fits(&v.hdr, len) || (v.hdr.prev_sum != prev_sum && !BROKEN(VARVE_BREAK_ghost)) ||
        sum_of(p, v.hdr.len, v.hdr.prev_sum, chain) != v.hdr.sum)
        return -E_CORRUPT;
    v.tail = body_tail(&v.hdr, p + JREC_HDR_SIZE, v.hdr.len - JREC_HDR_SIZE);
    if (!v.tail)
        return -E_CORRUPT;
    v.p = p + JREC_HDR_SIZE;
    v.end = p + v.hdr.len;
    v.puts_left = v.hdr.nputs;
    v.payloads_left = v.hdr.npayloads;
    *ret = v;
    *ret_len = v.hdr.len;
    return 0;
}

int jrec_next_put(struct jrec_view *v, struct jput *ret)
{
    const uint8_t *p = v->p;

    if (v->puts_left == 0)
        return 0;
    if (v->end - p < (ptrdiff_t)PUT_HDR_SIZE)
        return -E_CORRUPT;
    *ret = (struct jput){.op = p[0],
                         .level = p[1],
                         .klen = get_le16(p + 2),
                         .vlen = get_le32(p + 4),
                         .owner_branch = get_le32(p + 8),
                         .owner_ino = get_le64(p + 12),
                         .key = p + PUT_HDR_SIZE};
    ret->val = ret->key + ret->klen;
    if ((size_t)(v->end - ret->key) < (size_t)ret->klen + ret->vlen)
        return -E_CORRUPT;
    v->p = ret->val + ret->vlen;
    v->puts_left--;
    return 1;
}

int jrec_next_payload(struct jrec_view *v, struct jpayload *ret)
{
    const uint8_t *p = v->p;
    struct jput skip;
    int r;

    while ((r = jrec_next_put(v, &skip)) == 1)
        p = v->p;
    if (r < 0 || v->payloads_left == 0)
        return r;
    if (v->end - p < (ptrdiff_t)PAYLOAD_HDR_SIZE)
        return -E_CORRUPT;
    *ret = (struct jpayload){get_le64(p), get_le64(p + 8), p + PAYLOAD_HDR_SIZE, get_le32(p + 16)};
    if ((size_t)(v->end - ret->data) < ret->len)
        return -E_CORRUPT;
    v->p = ret->data + ret->len;
    v->payloads_left--;
    return 1;
}
