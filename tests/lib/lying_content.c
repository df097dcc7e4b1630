/* Contents as on the medium: a size and pages, shared between copies until one writes. */
#include "tests/lib/lying_model.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/hash.h"

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

static struct lying_slot *slot_in(struct lying_table *t, uint64_t no)
{
    uint64_t h = no * 0x9e3779b97f4a7c15;
    size_t i = (size_t)(h >> 32) & (t->nslots - 1);

    while (t->slots[i].page && t->slots[i].no != no)
        i = (i + 1) & (t->nslots - 1);
    return &t->slots[i];
}

/* slot_of(c, no): of a page that is there, else NULL. */
static struct lying_slot *slot_of(const struct lying_content *c, uint64_t no)
{
    struct lying_slot *s = c->table ? slot_in(c->table, no) : NULL;

    return s && s->page ? s : NULL;
}

static struct lying_table *table_new(size_t nslots)
{
    struct lying_table *t = lying__alloc(sizeof(*t) + nslots * sizeof(t->slots[0]));

    t->refs = 1;
    t->nslots = nslots;
    return t;
}

static struct lying_page *unused; /* by `next`; guarded by unused_lock */
static size_t nunused;
static pthread_mutex_t unused_lock = PTHREAD_MUTEX_INITIALIZER;
#define UNUSED_MAX 4096u

static struct lying_page *page_new(void)
{
    struct lying_page *p;

    pthread_mutex_lock(&unused_lock);
    p = unused;
    if (p) {
        unused = p->next;
        nunused--;
    }
    pthread_mutex_unlock(&unused_lock);
    if (!p)
        p = malloc(sizeof(*p));
    if (!p)
        abort();
    return p;
}

void lying__page_unref(struct lying_page *p)
{
    if (!p || --p->refs > 0)
        return;
    pthread_mutex_lock(&unused_lock);
    if (nunused < UNUSED_MAX) {
        p->next = unused;
        unused = p;
        nunused++;
        p = NULL;
    }
    pthread_mutex_unlock(&unused_lock);
    free(p);
}

static void table_unref(struct lying_table *t)
{
    if (!t || --t->refs > 0)
        return;
    for (size_t i = 0; i < t->nslots; i++) {
        if (t->slots[i].page)
            lying__page_unref(t->slots[i].page);
    }
    free(t);
}

/* A table of nslots that is the content's own, with the pages that it has now. */
static void table_own(struct lying_content *c, size_t nslots)
{
    struct lying_table *was = c->table, *t = table_new(nslots);

    for (size_t i = 0; was && i < was->nslots; i++) {
        if (!was->slots[i].page)
            continue;
        *slot_in(t, was->slots[i].no) = was->slots[i];
        was->slots[i].page->refs++;
        t->used++;
    }
    table_unref(was);
    c->table = t;
}

/* slot_for_write(c, no): where the page is or will be, in a table of the content's own. */
static struct lying_slot *slot_for_write(struct lying_content *c, uint64_t no)
{
    if (!c->table || (c->table->used + 1) * 4 > c->table->nslots * 3)
        table_own(c, c->table ? c->table->nslots * 2 : 16);
    else if (c->table->refs > 1)
        table_own(c, c->table->nslots);
    c->table->sum[0] = c->table->sum[1] = 0;
    return slot_in(c->table, no);
}

void lying__content_page(struct lying_content *c, uint64_t no, struct lying_page *p)
{
    struct lying_slot *s = slot_for_write(c, no);

    p->refs++;
    if (s->page)
        lying__page_unref(s->page);
    else
        c->table->used++;
    *s = (struct lying_slot){.no = no, .page = p};
}

/* page_for_write(c, no, whole): the page, made when it is a hole, copied when it is shared. whole: all of it will be written. */
static uint8_t *page_for_write(struct lying_content *c, uint64_t no, bool whole)
{
    struct lying_slot *s = slot_for_write(c, no);
    struct lying_page *p;

    if (s->page && s->page->refs == 1) {
        s->page->sum = 0;
        return s->page->b;
    }
    p = page_new();
    if (!whole && s->page)
        memcpy(p->b, s->page->b, LYING_PAGE);
    else if (!whole)
        memset(p->b, 0, LYING_PAGE);
    if (s->page)
        lying__page_unref(s->page);
    else
        c->table->used++;
    p->refs = 1;
    p->sum = 0;
    *s = (struct lying_slot){.no = no, .page = p};
    return p->b;
}

/* pages_drop(c, from, to): makes pages [from, to) holes. */
static void pages_drop(struct lying_content *c, uint64_t from, uint64_t to)
{
    struct lying_table *was = c->table, *t;

    if (!was)
        return;
    t = table_new(was->nslots);
    for (size_t i = 0; i < was->nslots; i++) {
        struct lying_slot *s = &was->slots[i];

        if (!s->page || (s->no >= from && s->no < to))
            continue;
        *slot_in(t, s->no) = *s;
        s->page->refs++;
        t->used++;
    }
    table_unref(was);
    c->table = t;
}

static void zero_part(struct lying_content *c, uint64_t from, uint64_t to)
{
    uint64_t no = from / LYING_PAGE;

    assert(from <= to && to <= (no + 1) * LYING_PAGE);
    if (from < to && slot_of(c, no))
        memset(page_for_write(c, no, to - from == LYING_PAGE) + from % LYING_PAGE, 0, to - from);
}

static bool is_zero(const uint8_t *p)
{
    return p[0] == 0 && memcmp(p, p + 1, LYING_PAGE - 1) == 0;
}

struct lying_page *lying__page_of(const struct lying_content *c, uint64_t no, const uint8_t *bytes)
{
    struct lying_slot *s = slot_of(c, no);
    struct lying_page *p;

    if (s && memcmp(s->page->b, bytes, LYING_PAGE) == 0) {
        s->page->refs++;
        return s->page;
    }
    p = page_new();
    p->refs = 1;
    p->sum = 0;
    memcpy(p->b, bytes, LYING_PAGE);
    return p;
}

/* Files that are made of zeros, like a new journal, are made of one page. */
static void write_zeros(struct lying_content *c, uint64_t no)
{
    static struct lying_page zeros = {.refs = 1};

    lying__content_page(c, no, &zeros);
}

void lying__content_write(struct lying_content *c, uint64_t off, const uint8_t *p, size_t len)
{
    while (len > 0) {
        size_t at = off % LYING_PAGE;
        size_t n = MIN_OF(len, LYING_PAGE - at);

        if (n == LYING_PAGE && is_zero(p))
            write_zeros(c, off / LYING_PAGE);
        else
            memcpy(page_for_write(c, off / LYING_PAGE, n == LYING_PAGE) + at, p, n);
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
    pages_drop(c, first, last);
    zero_part(c, last * LYING_PAGE, end);
}

void lying__content_truncate(struct lying_content *c, uint64_t size)
{
    if (size < c->size) {
        uint64_t next = (size + LYING_PAGE - 1) / LYING_PAGE;

        zero_part(c, size, next * LYING_PAGE);
        pages_drop(c, next, UINT64_MAX);
    }
    c->size = size;
}

void lying__content_copy(struct lying_content *to, const struct lying_content *from)
{
    *to = *from;
    if (to->table)
        to->table->refs++;
}

void lying__content_free(struct lying_content *c)
{
    table_unref(c->table);
    *c = (struct lying_content){0};
}

size_t lying__content_read(const struct lying_content *c, uint64_t off, uint8_t *p, size_t len)
{
    size_t done = 0;

    if (off >= c->size)
        return 0;
    len = MIN_OF((uint64_t)len, c->size - off);
    while (done < len) {
        uint64_t at = off + done;
        size_t n = MIN_OF(len - done, LYING_PAGE - (size_t)(at % LYING_PAGE));
        const struct lying_slot *s = slot_of(c, at / LYING_PAGE);

        if (s)
            memcpy(p + done, s->page->b + at % LYING_PAGE, n);
        else
            memset(p + done, 0, n);
        done += n;
    }
    return len;
}

bool lying__content_hole(const struct lying_content *c, uint64_t page)
{
    return !slot_of(c, page);
}

/* Kept with the page until it is written to: a page is shared by many images. */
static uint64_t page_sum(struct lying_page *p)
{
    if (!p->sum)
        p->sum = hash_sum(0, p->b, LYING_PAGE) | 1;
    return p->sum;
}

static uint64_t slot_sum(const struct lying_slot *s, bool bytes)
{
    return ((bytes ? page_sum(s->page) : 0x5851f42d4c957f2d) ^ s->no) * 0x9e3779b97f4a7c15;
}

static uint64_t table_sum(struct lying_table *t, bool bytes)
{
    uint64_t sum = 1;

    if (t->sum[bytes])
        return t->sum[bytes];
    for (size_t i = 0; i < t->nslots; i++)
        if (t->slots[i].page)
            sum += slot_sum(&t->slots[i], bytes);
    return t->sum[bytes] = sum | 1;
}

void lying__content_part_sum(const struct lying_content *c, uint64_t first, uint64_t n, uint64_t ret[2])
{
    uint64_t size = MIN_OF(c->size, (first + n) * LYING_PAGE);

    ret[0] = ret[1] = size;
    for (uint64_t no = first; no * LYING_PAGE < size; no++) {
        const struct lying_slot *s = slot_of(c, no);

        ret[0] += s ? slot_sum(s, false) : 0;
        ret[1] += s ? slot_sum(s, true) : 0;
    }
}

uint64_t lying__content_sum(const struct lying_content *c, bool bytes)
{
    uint64_t both[2] = {c->size, c->table ? table_sum(c->table, bytes) : 1};

    return hash_sum(1, both, sizeof(both));
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
    struct lying_slot *s = lying__alloc((c->table ? c->table->used : 0) * sizeof(*s));
    size_t n = 0, run;
    int r = 0;

    for (size_t i = 0; c->table && i < c->table->nslots; i++) {
        if (c->table->slots[i].page)
            s[n++] = c->table->slots[i];
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
