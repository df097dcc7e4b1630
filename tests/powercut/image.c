/* The medium after a power cut at a position of the log: all writes before the last flush, and of those since as much as the way
 * says. A write may land in any order; within one block the later one wins when both do. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/powercut/powercut.h"

#define BLOCK 4096u
#define SECTOR 512u

struct log {
    const uint8_t *p, *end;
};

static struct log log_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct log l = {0};
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        pc_die(path);
    l.p = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    if (l.p == MAP_FAILED)
        pc_die(path);
    l.end = l.p + st.st_size;
    close(fd);
    return l;
}

/* The first record is a mark that says the device's size. */
static uint64_t device_size(struct log l)
{
    struct pc_rec rec;

    if (l.end - l.p < (ptrdiff_t)sizeof(rec))
        pc_die("empty log");
    memcpy(&rec, l.p, sizeof(rec));
    return rec.count;
}

/* The next record and its bytes; false at the end. */
static bool log_next(struct log *l, struct pc_rec *ret, const uint8_t **ret_bytes)
{
    if (l->end - l->p < (ptrdiff_t)sizeof(*ret))
        return false;
    memcpy(ret, l->p, sizeof(*ret));
    if ((uint64_t)(l->end - l->p) < sizeof(*ret) + ret->len)
        return false;
    *ret_bytes = l->p + sizeof(*ret);
    l->p += sizeof(*ret) + ret->len;
    return true;
}

static void put(int fd, const struct pc_rec *rec, const uint8_t *p, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[1u << 16];

    while (from < to) {
        uint64_t n = to - from < sizeof(zeros) ? to - from : sizeof(zeros);
        const uint8_t *b = rec->kind == PC_ZERO ? zeros : p + (from - rec->off);

        if (pwrite(fd, b, n, (off_t)from) != (ssize_t)n)
            pc_die("image");
        from += n;
    }
}

/* Blocks, or sectors, of one write: each lands or not. */
static void put_some(int fd, const struct pc_rec *rec, const uint8_t *p, uint64_t unit, uint64_t *rand)
{
    uint64_t end = rec->off + rec->count;

    for (uint64_t from = rec->off; from < end;) {
        uint64_t to = (from / unit + 1) * unit;

        to = to < end ? to : end;
        if (pc_rand(rand) & 1)
            put(fd, rec, p, from, to);
        from = to;
    }
}

static uint64_t last_flush(struct log l, uint64_t pos)
{
    struct pc_rec rec;
    const uint8_t *p;
    uint64_t flush = 0;

    for (uint64_t i = 0; i < pos && log_next(&l, &rec, &p); i++)
        if (rec.kind == PC_FLUSH)
            flush = i;
    return flush;
}

int pc_image(const char *log, uint64_t pos, enum pc_way way, uint64_t seed, const char *out)
{
    struct log l = log_open(log);
    uint64_t flush = last_flush(l, pos), rand = seed, size = device_size(l), kept;
    int fd = open(out, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct pc_rec rec;
    const uint8_t *p;

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        pc_die(out);
    kept = flush + (pos > flush ? pc_rand(&rand) % (pos - flush + 1) : 0);
    for (uint64_t i = 0; i < pos && log_next(&l, &rec, &p); i++) {
        if (rec.kind != PC_WRITE && rec.kind != PC_ZERO)
            continue;
        if (i < flush || way == PC_KEPT || (way == PC_PREFIX && i < kept))
            put(fd, &rec, p, rec.off, rec.off + rec.count);
        else if (way == PC_BLOCKS || way == PC_TORN)
            put_some(fd, &rec, p, way == PC_TORN ? SECTOR : BLOCK, &rand);
    }
    return close(fd) < 0;
}

static bool mark_is(const struct pc_rec *rec, const uint8_t *p, const char *text)
{
    return rec->kind == PC_MARK && rec->len == strlen(text) && memcmp(p, text, rec->len) == 0;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

struct points {
    uint64_t *flush, *mark, nflush, nmark, from, to;
};

static struct points points_find(struct log l)
{
    struct points f = {0};
    struct pc_rec rec;
    const uint8_t *p;

    for (uint64_t i = 0; log_next(&l, &rec, &p); i++) {
        if (mark_is(&rec, p, "begin"))
            f.from = i + 1;
        if (mark_is(&rec, p, "end"))
            f.to = i;
        if (!f.from || f.to)
            continue;
        f.flush = realloc(f.flush, (f.nflush + 1) * sizeof(*f.flush));
        f.mark = realloc(f.mark, (f.nmark + 1) * sizeof(*f.mark));
        if (!f.flush || !f.mark)
            pc_die("points");
        if (rec.kind == PC_FLUSH)
            f.flush[f.nflush++] = i; /* the flush has not happened */
        if (rec.kind == PC_MARK)
            f.mark[f.nmark++] = i + 1;
    }
    return f;
}

/* Half of them anywhere, a quarter just before a flush, a quarter just after a mark. */
int pc_points(const char *log, uint64_t n, uint64_t seed)
{
    struct points f = points_find(log_open(log));
    uint64_t *at = calloc(n + 1, sizeof(*at));

    if (!at)
        pc_die("points");
    if (f.to <= f.from) {
        fprintf(stderr, "powercut: no marks \"begin\" and \"end\" in the log\n");
        return 1;
    }
    for (uint64_t i = 0; i < n; i++) {
        at[i] = f.from + pc_rand(&seed) % (f.to - f.from);
        if (i % 4 == 1 && f.nflush)
            at[i] = f.flush[pc_rand(&seed) % f.nflush];
        if (i % 4 == 3 && f.nmark)
            at[i] = f.mark[pc_rand(&seed) % f.nmark];
    }
    qsort(at, n, sizeof(*at), by_number);
    for (uint64_t i = 0; i < n; i++)
        printf("%llu\n", (unsigned long long)at[i]);
    free(at);
    free(f.flush);
    free(f.mark);
    return 0;
}

int pc_marks(const char *log, uint64_t pos)
{
    struct log l = log_open(log);
    struct pc_rec rec;
    const uint8_t *p;

    for (uint64_t i = 0; i < pos && log_next(&l, &rec, &p); i++)
        if (rec.kind == PC_MARK)
            printf("%.*s\n", (int)rec.len, (const char *)p);
    return 0;
}
