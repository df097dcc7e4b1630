/* Contents as on the medium: a size and pages, shared between copies until one writes. */
#include "tests/lib/lying_model.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define RUN_PAGES 64

void *lying__alloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);

    if (!p)
        abort();
    return p;
}

void *lying__grow(void *p, size_t *cap, size_t n, size_t each)
{
    if (n < *cap)
        return p;
    *cap = *cap ? *cap * 2 : 16;
    p = realloc(p, *cap * each);
    if (!p)
        abort();
    return p;
}

static struct lying_slot *slot_of(const struct lying_pages *t, uint64_t no)
{
    uint64_t h = no * 0x9e3779b97f4a7c15;
    size_t i = (size_t)(h >> 32) & (t->nslots - 1);

    while (t->slots[i].page && t->slots[i].no != no)
        i = (i + 1) & (t->nslots - 1);
    return &t->slots[i];
}

static void pages_resize(struct lying_pages *t, size_t nslots)
{
    struct lying_pages fresh = {
        .slots = lying__alloc(nslots * sizeof(*t->slots)), .nslots = nslots, .used = t->used};

    for (size_t i = 0; i < t->nslots; i++) {
        if (t->slots[i].page)
            *slot_of(&fresh, t->slots[i].no) = t->slots[i];
    }
    free(t->slots);
    *t = fresh;
}

static void page_unref(struct lying_page *p)
{
    if (--p->refs == 0)
        free(p);
}

/* page_for_write(t, no): the page, made when it is a hole, copied when it is shared. */
static uint8_t *page_for_write(struct lying_pages *t, uint64_t no)
{
    struct lying_slot *s;
    struct lying_page *p;

    if ((t->used + 1) * 4 > t->nslots * 3)
        pages_resize(t, t->nslots ? t->nslots * 2 : 16);
    s = slot_of(t, no);
    if (s->page && s->page->refs == 1)
        return s->page->b;
    p = lying__alloc(sizeof(*p));
    p->refs = 1;
    if (s->page) {
        memcpy(p->b, s->page->b, LYING_PAGE);
        page_unref(s->page);
    } else {
        t->used++;
    }
    *s = (struct lying_slot){.no = no, .page = p};
    return p->b;
}

/* pages_drop(t, from, to): makes pages [from, to) holes. */
static void pages_drop(struct lying_pages *t, uint64_t from, uint64_t to)
{
    bool any = false;

    for (size_t i = 0; i < t->nslots; i++) {
        struct lying_slot *s = &t->slots[i];

        if (s->page && s->no >= from && s->no < to) {
            page_unref(s->page);
            s->page = NULL;
            t->used--;
            any = true;
        }
    }
    if (any)
        pages_resize(t, t->nslots); /* open addressing: a gap would end the search for what comes behind it */
}

static void zero_part(struct lying_content *c, uint64_t from, uint64_t to)
{
    uint64_t no = from / LYING_PAGE;

    assert(from <= to && to <= (no + 1) * LYING_PAGE);
    if (from < to && c->pages.nslots && slot_of(&c->pages, no)->page)
        memset(page_for_write(&c->pages, no) + from % LYING_PAGE, 0, to - from);
}

void lying__content_write(struct lying_content *c, uint64_t off, const uint8_t *p, size_t len)
{
    while (len > 0) {
        size_t at = off % LYING_PAGE;
        size_t n = MIN_OF(len, LYING_PAGE - at);

        memcpy(page_for_write(&c->pages, off / LYING_PAGE) + at, p, n);
        off += n;
        p += n;
        len -= n;
        c->size = MAX_OF(c->size, off);
    }
}

void lying__content_punch(struct lying_content *c, uint64_t off, uint64_t len)
{
    uint64_t end = off + len;
    uint64_t first = (off + LYING_PAGE - 1) / LYING_PAGE, last = end / LYING_PAGE;

    if (first > last) { /* inside one page */
        zero_part(c, off, end);
        return;
    }
    zero_part(c, off, first * LYING_PAGE);
    pages_drop(&c->pages, first, last);
    zero_part(c, last * LYING_PAGE, end);
}

void lying__content_truncate(struct lying_content *c, uint64_t size)
{
    if (size < c->size) {
        uint64_t next = (size + LYING_PAGE - 1) / LYING_PAGE;

        zero_part(c, size, next * LYING_PAGE);
        pages_drop(&c->pages, next, UINT64_MAX);
    }
    c->size = size;
}

void lying__content_copy(struct lying_content *to, const struct lying_content *from)
{
    *to = *from;
    if (!from->pages.nslots)
        return;
    to->pages.slots = lying__alloc(from->pages.nslots * sizeof(*to->pages.slots));
    for (size_t i = 0; i < from->pages.nslots; i++) {
        to->pages.slots[i] = from->pages.slots[i];
        if (to->pages.slots[i].page)
            to->pages.slots[i].page->refs++;
    }
}

void lying__content_free(struct lying_content *c)
{
    for (size_t i = 0; i < c->pages.nslots; i++) {
        if (c->pages.slots[i].page)
            page_unref(c->pages.slots[i].page);
    }
    free(c->pages.slots);
    *c = (struct lying_content){0};
}

static int load_run(struct lying_content *c, int fd, uint64_t off, uint64_t end)
{
    uint8_t b[LYING_PAGE];

    while (off < end) {
        long n = syscall(SYS_pread64, fd, b, MIN_OF((uint64_t)sizeof(b), end - off), (long)off);

        if (n <= 0)
            return n < 0 ? err_from_errno(errno) : -E_IO;
        lying__content_write(c, off, b, (size_t)n);
        off += (uint64_t)n;
    }
    return 0;
}

int lying__content_load(struct lying_content *c, int fd)
{
    off_t size = lseek(fd, 0, SEEK_END), data, hole = 0;
    int r = 0;

    if (size < 0)
        return err_from_errno(errno);
    while (r == 0 && hole < size) {
        data = lseek(fd, hole, SEEK_DATA);
        if (data < 0)
            break; /* ENXIO: a hole up to the end */
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
            return err_from_errno(errno);
        r = load_run(c, fd, (uint64_t)data, (uint64_t)hole);
    }
    c->size = (uint64_t)size;
    return r;
}

static int by_number(const void *a, const void *b)
{
    const struct lying_slot *x = a, *y = b;

    return x->no < y->no ? -1 : x->no > y->no;
}

static int store_run(const struct lying_slot *s, size_t n, uint64_t size, int fd)
{
    struct iovec iov[RUN_PAGES];
    uint64_t off = s[0].no * LYING_PAGE;
    uint64_t len = MIN_OF((uint64_t)n * LYING_PAGE, size - off);

    for (size_t i = 0; i < n; i++)
        iov[i] = (struct iovec){s[i].page->b, LYING_PAGE};
    iov[n - 1].iov_len = (size_t)(len - (n - 1) * LYING_PAGE);
    if (syscall(SYS_pwritev, fd, iov, (unsigned long)n, (unsigned long)off, 0ul) != (long)len)
        return -E_IO;
    return 0;
}

int lying__content_store(const struct lying_content *c, int fd)
{
    struct lying_slot *s = lying__alloc(c->pages.used * sizeof(*s));
    size_t n = 0, run;
    int r = 0;

    for (size_t i = 0; i < c->pages.nslots; i++) {
        if (c->pages.slots[i].page)
            s[n++] = c->pages.slots[i];
    }
    qsort(s, n, sizeof(*s), by_number);
    for (size_t i = 0; i < n && r == 0; i += run) {
        for (run = 1; i + run < n && run < RUN_PAGES && s[i + run].no == s[i].no + run;)
            run++;
        r = store_run(s + i, run, c->size, fd);
    }
    free(s);
    if (r == 0 && syscall(SYS_ftruncate, fd, (long)c->size) != 0)
        r = err_from_errno(errno);
    return r;
}
