#include "tests/lib/pages.h"

#include <pthread.h>
#include <stdlib.h>

static void *must(void *p)
{
    assert(p);
    return p;
}

static struct pg_page *unused; /* by `next`; guarded by unused_lock */
static size_t nunused;
static pthread_mutex_t unused_lock = PTHREAD_MUTEX_INITIALIZER;
#define UNUSED_MAX 4096u

static struct pg_page *page_new(void)
{
    struct pg_page *pg;

    pthread_mutex_lock(&unused_lock);
    pg = unused;
    if (pg) {
        unused = pg->next;
        nunused--;
    }
    pthread_mutex_unlock(&unused_lock);
    return pg ? pg : must(malloc(sizeof(*pg)));
}

static void page_unref(struct pg_page *pg)
{
    if (!pg || --pg->refs > 0)
        return;
    pthread_mutex_lock(&unused_lock);
    if (nunused < UNUSED_MAX) {
        pg->next = unused;
        unused = pg;
        nunused++;
        pg = NULL;
    }
    pthread_mutex_unlock(&unused_lock);
    free(pg);
}

static void chunk_unref(struct pg_chunk *c)
{
    if (--c->refs > 0)
        return;
    for (size_t i = 0; i < PG_CHUNK; i++)
        page_unref(c->slot[i].page);
    free(c);
}

void pages_clone(struct pages *dst, const struct pages *src)
{
    assert(dst->n == 0 && dst->cap == 0);
    if (src->n == 0)
        return;
    dst->chunk = must(malloc(src->n * sizeof(*dst->chunk)));
    dst->index = must(malloc(src->n * sizeof(*dst->index)));
    memcpy(dst->chunk, src->chunk, src->n * sizeof(*dst->chunk));
    memcpy(dst->index, src->index, src->n * sizeof(*dst->index));
    dst->n = dst->cap = src->n;
    for (size_t i = 0; i < src->n; i++)
        src->chunk[i]->refs++;
}

void pages_free(struct pages *p)
{
    for (size_t i = 0; i < p->n; i++)
        chunk_unref(p->chunk[i]);
    free(p->chunk);
    free(p->index);
    memset(p, 0, sizeof(*p));
}

/* The place of the first chunk whose index is not below the wanted one. */
static size_t chunk_place(const struct pages *p, uint64_t index)
{
    size_t lo = 0, hi = p->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (p->index[mid] < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct pg_slot *pages_slot(const struct pages *p, uint64_t block)
{
    size_t i = chunk_place(p, block / PG_CHUNK);

    if (i == p->n || p->index[i] != block / PG_CHUNK)
        return NULL;
    return &p->chunk[i]->slot[block % PG_CHUNK];
}

static void chunk_insert(struct pages *p, size_t i, uint64_t index)
{
    if (p->n == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 4;
        p->chunk = must(realloc(p->chunk, p->cap * sizeof(*p->chunk)));
        p->index = must(realloc(p->index, p->cap * sizeof(*p->index)));
    }
    memmove(p->chunk + i + 1, p->chunk + i, (p->n - i) * sizeof(*p->chunk));
    memmove(p->index + i + 1, p->index + i, (p->n - i) * sizeof(*p->index));
    p->chunk[i] = must(calloc(1, sizeof(struct pg_chunk)));
    p->chunk[i]->refs = 1;
    p->index[i] = index;
    p->n++;
}

/* A slot that may be changed. */
static struct pg_slot *slot_own(struct pages *p, uint64_t block)
{
    size_t i = chunk_place(p, block / PG_CHUNK);

    if (i == p->n || p->index[i] != block / PG_CHUNK)
        chunk_insert(p, i, block / PG_CHUNK);
    if (p->chunk[i]->refs > 1) {
        struct pg_chunk *c = must(malloc(sizeof(*c)));
        memcpy(c, p->chunk[i], sizeof(*c));
        c->refs = 1;
        for (size_t k = 0; k < PG_CHUNK; k++)
            if (c->slot[k].page)
                c->slot[k].page->refs++;
        p->chunk[i]->refs--;
        p->chunk[i] = c;
    }
    return &p->chunk[i]->slot[block % PG_CHUNK];
}

/* A page that may be changed; whole: all of it will be. */
static struct pg_page *page_own(struct pg_slot *s, bool whole)
{
    struct pg_page *pg;

    if (s->page && s->page->refs == 1)
        return s->page;
    pg = page_new();
    pg->refs = 1;
    if (s->page && !whole)
        memcpy(pg->data, s->page->data, PG_SIZE);
    else if (!whole)
        memset(pg->data, 0, PG_SIZE);
    page_unref(s->page);
    return s->page = pg;
}

void pages_read(const struct pages *p, void *out, size_t len, uint64_t off)
{
    uint8_t *to = out;

    while (len > 0) {
        size_t at = off % PG_SIZE, n = MIN_OF(len, PG_SIZE - at);
        const struct pg_slot *s = pages_slot(p, off / PG_SIZE);

        if (s && s->page)
            memcpy(to, s->page->data + at, n);
        else
            memset(to, 0, n);
        to += n, off += n, len -= n;
    }
}

void pages_write(struct pages *p, const void *data, size_t len, uint64_t off, uint64_t stamp)
{
    const uint8_t *from = data;

    while (len > 0) {
        size_t at = off % PG_SIZE, n = MIN_OF(len, PG_SIZE - at);
        struct pg_slot *s = slot_own(p, off / PG_SIZE);

        memcpy(page_own(s, n == PG_SIZE)->data + at, from, n);
        s->kind = PG_DATA;
        s->stamp = stamp;
        from += n, off += n, len -= n;
    }
}

void pages_zero(struct pages *p, uint64_t off, uint64_t len, uint64_t stamp)
{
    uint64_t end = off + len;

    for (uint64_t b = pages_next(p, off / PG_SIZE); b != UINT64_MAX && b * PG_SIZE < end;
         b = pages_next(p, b + 1)) {
        uint64_t from = MAX_OF(off, b * PG_SIZE), to = MIN_OF(end, (b + 1) * PG_SIZE);
        struct pg_slot *s;

        if (pages_kind(p, b) != PG_DATA || from >= to)
            continue;
        s = slot_own(p, b);
        if (s->page)
            memset(page_own(s, to - from == PG_SIZE)->data + (from - b * PG_SIZE), 0, to - from);
        s->stamp = stamp;
    }
}

static void slot_set(struct pg_slot *s, enum pg_kind kind, uint64_t stamp)
{
    page_unref(s->page);
    s->page = NULL;
    s->kind = kind;
    s->stamp = stamp;
}

void pages_set(struct pages *p, uint64_t first, uint64_t count, enum pg_kind kind, int only_kind,
               uint64_t stamp)
{
    uint64_t end = first + count;

    if (kind == PG_HOLE) { /* may be endless: visit what is there only */
        for (uint64_t b = pages_next(p, first); b != UINT64_MAX && b < end; b = pages_next(p, b + 1))
            if (only_kind < 0 || pages_kind(p, b) == (enum pg_kind)only_kind)
                slot_set(slot_own(p, b), kind, stamp);
        return;
    }
    for (uint64_t b = first; b < end; b++)
        if (only_kind < 0 || pages_kind(p, b) == (enum pg_kind)only_kind)
            slot_set(slot_own(p, b), kind, stamp);
}

void pages_share(struct pages *dst, uint64_t to, const struct pages *src, uint64_t from, uint64_t count,
                 uint64_t stamp)
{
    for (uint64_t i = 0; i < count; i++) {
        const struct pg_slot *s = pages_slot(src, from + i);
        struct pg_slot old = s ? *s : (struct pg_slot){0}, *d;

        if (old.page)
            old.page->refs++;
        d = slot_own(dst, to + i);
        page_unref(d->page);
        *d = old;
        d->stamp = stamp;
    }
}

uint64_t pages_next(const struct pages *p, uint64_t from)
{
    for (size_t i = chunk_place(p, from / PG_CHUNK); i < p->n; i++) {
        size_t k = p->index[i] == from / PG_CHUNK ? from % PG_CHUNK : 0;

        for (; k < PG_CHUNK; k++)
            if (p->chunk[i]->slot[k].kind != PG_HOLE)
                return p->index[i] * PG_CHUNK + k;
    }
    return UINT64_MAX;
}

uint64_t pages_count(const struct pages *p)
{
    uint64_t n = 0;

    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < PG_CHUNK; k++)
            n += p->chunk[i]->slot[k].kind != PG_HOLE;
    return n;
}
