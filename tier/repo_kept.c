#include "tier/repo_kept.h"

#include <stdlib.h>

#include "base/mark.h"
#include "tier/domains.h"
#include "tier/repo_ahead.h"

#define CHUNKS_KEPT 64        /* at the most, */
#define KEPT_BYTES (8u << 20) /* if they are small */
#define OPEN_WORDS (CHUNK_PLAIN_MAX / FRAME_SIZE / 64)

struct repo_chunks {
    struct kept {
        struct id16 id;
        struct buf sealed, plain; /* plain: its whole length, of which the frames that are open are filled */
        struct chunk_head h;      /* of sealed */
        uint64_t open[OPEN_WORDS];
        uint32_t shut; /* frames that are not open; 0: sealed is not needed */
        uint64_t used; /* 0: the slot is free */
    } v[CHUNKS_KEPT];
    uint64_t clock;
};

static struct kept *kept_find(struct repo *r, const struct id16 *id)
{
    for (size_t i = 0; r->chunks && i < CHUNKS_KEPT; i++)
        if (r->chunks->v[i].used && memcmp(r->chunks->v[i].id.b, id->b, 16) == 0)
            return &r->chunks->v[i];
    return NULL;
}

static size_t kept_bytes(const struct kept *k)
{
    return k->plain.cap + k->sealed.cap;
}

static void kept_free(struct kept *k)
{
    k->used = 0;
    buf_free(&k->plain);
    buf_free(&k->sealed);
}

/* Bytes that are kept, without those of one; and of the others the one that was used last before all. */
static size_t kept_others(struct repo *r, const struct kept *but, struct kept **ret_oldest)
{
    size_t bytes = 0;

    *ret_oldest = NULL;
    for (size_t i = 0; i < CHUNKS_KEPT; i++) {
        struct kept *k = &r->chunks->v[i];

        if (k == but || kept_bytes(k) == 0)
            continue;
        bytes += kept_bytes(k);
        if (!*ret_oldest || k->used < (*ret_oldest)->used)
            *ret_oldest = k;
    }
    return bytes;
}

/* The one that another takes the place of. */
static struct kept *kept_place(struct repo *r)
{
    struct kept *oldest, *k;
    bool full = kept_others(r, NULL, &oldest) >= KEPT_BYTES;

    for (k = r->chunks->v; k < r->chunks->v + CHUNKS_KEPT && (full || kept_bytes(k));)
        k++;
    if (k == r->chunks->v + CHUNKS_KEPT)
        k = oldest;
    if (kept_bytes(k) > KEPT_BYTES / 2) /* one that has so much is one of few */
        kept_free(k);
    k->used = 0;
    buf_reset(&k->plain);
    buf_reset(&k->sealed);
    return k;
}

/* As many of the others as there is room for. */
static void kept_trim(struct repo *r, const struct kept *newest)
{
    struct kept *oldest;

    while (kept_others(r, newest, &oldest) + kept_bytes(newest) > KEPT_BYTES && oldest)
        kept_free(oldest);
}

void repo_chunks_drop(struct repo *r)
{
    for (size_t i = 0; r->chunks && i < CHUNKS_KEPT; i++)
        kept_free(&r->chunks->v[i]);
    free(TAKE(r->chunks));
}

bool repo_chunk_kept(struct repo *r, const struct id16 *chunk)
{
    return kept_find(r, chunk) != NULL;
}

/* Of its sealed bytes the head; every frame is shut. */
static int kept_begin(struct kept *k, const struct id16 *id)
{
    int x = unseal_head(k->sealed.data, k->sealed.len, &k->h);

    if (x == 0 && (k->h.stored_len != k->sealed.len || memcmp(k->h.id.b, id->b, sizeof(id->b)) != 0))
        x = -E_CORRUPT;
    if (x == 0)
        x = buf_reserve(&k->plain, k->h.plain_len);
    if (x < 0)
        return x;
    k->plain.len = k->h.plain_len;
    k->shut = k->h.frames;
    memset(k->open, 0, sizeof(k->open));
    return 0;
}

static int kept_fill(struct repo *r, struct kept *k, const struct id16 *id)
{
    enum ahead_form form = AHEAD_SEALED;
    int x = 0;

    k->shut = 0;
    if (!repo_ahead_take(r, id, &k->sealed, &k->plain, &form))
        x = repo_sealed_get(r, id, &k->sealed);
    if (x == 0 && form == AHEAD_SEALED)
        x = kept_begin(k, id);
    if (x < 0)
        kept_free(k);
    else
        k->id = *id;
    return x;
}

static int kept_get(struct repo *r, const struct id16 *id, struct kept **ret)
{
    struct kept *k = kept_find(r, id);
    int x;

    if (!r->chunks && !(r->chunks = calloc(1, sizeof(*r->chunks))))
        return -E_NOMEM;
    if (!k) {
        k = kept_place(r);
        if ((x = kept_fill(r, k, id)) < 0)
            return x;
        kept_trim(r, k);
    }
    k->used = ++r->chunks->clock;
    *ret = k;
    return 0;
}

static bool is_open(const struct kept *k, uint32_t frame)
{
    return k->open[frame / 64] >> frame % 64 & 1;
}

/* Frames [first, end), of which none is open. */
static int frames_open(struct repo *r, struct kept *k, uint32_t first, uint32_t end)
{
    size_t at = (size_t)first * k->h.frame_size;
    const struct domain *d;
    int x = repo_domain(r, &k->h.domain, &d);

    if (x == 0)
        x = unseal_frames(d, k->sealed.data, &k->h, first, end, k->plain.data + at);
    if (x < 0) {
        k->used = 0; /* damaged on its way, perhaps: another time it is fetched anew */
        return x;
    }
    if (BROKEN(VARVE_BREAK_frames_all)) /* taken for open: one more */
        end += end < k->h.frames && !is_open(k, end);
    for (uint32_t i = first; i < end; i++)
        k->open[i / 64] |= (uint64_t)1 << i % 64;
    k->shut -= end - first;
    if (k->shut == 0)
        buf_free(&k->sealed);
    return 0;
}

/* Plain bytes [off, off + n), which it has, are filled in. */
static int kept_open(struct repo *r, struct kept *k, size_t off, size_t n)
{
    uint32_t to, first, end;
    int x = 0;

    if (k->shut == 0 || n == 0)
        return 0;
    to = (uint32_t)((off + n - 1) / k->h.frame_size) + 1;
    for (first = (uint32_t)(off / k->h.frame_size); x == 0 && first < to; first = end) {
        for (end = first; end < to && !is_open(k, end);)
            end++;
        x = end > first ? frames_open(r, k, first, end) : 0;
        end += end == first;
    }
    return x;
}

/* *ret has the plain bytes [off, off + n), or as many as there are. Damage of bytes that lay here is looked for where they come from. */
static int kept_with(struct repo *r, const struct id16 *id, size_t off, size_t n, struct kept **ret)
{
    bool was = kept_find(r, id);
    int x = kept_get(r, id, ret);

    if (x == 0 && off < (*ret)->plain.len)
        x = kept_open(r, *ret, off, MIN_OF(n, (*ret)->plain.len - off));
    return x == -E_CORRUPT && was ? kept_with(r, id, off, n, ret) : x;
}

int repo_chunk(struct repo *r, const struct id16 *chunk, const uint8_t **ret, size_t *ret_len)
{
    struct kept *k;
    int x = kept_with(r, chunk, 0, SIZE_MAX, &k);

    if (x < 0)
        return x;
    *ret = k->plain.data;
    *ret_len = k->plain.len;
    return 0;
}

int repo_slice(struct repo *r, const struct slice *s, bool whole, struct buf *ret)
{
    struct kept *k;
    int x = kept_with(r, &s->chunk, s->off, s->len, &k);

    if (x < 0)
        return x;
    if (s->off > k->plain.len || s->len > k->plain.len - s->off)
        return -E_CORRUPT;
    if (k->shut)
        MARK("repo: of a chunk only what is asked for was unpacked");
    if (whole && (x = repo_prove(r, s, k->plain.data + s->off)) < 0)
        return x;
    return buf_add(ret, k->plain.data + s->off, s->len);
}
