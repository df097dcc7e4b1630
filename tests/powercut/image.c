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

/* The medium as the last flush left it, and the file that shows it with some of the writes since. Going on to a later position costs
 * what lies between. */
struct medium {
    struct log log, rest; /* rest: not in `base` yet */
    uint64_t size, done;  /* records in base */
    uint8_t *base, *out;
    uint8_t *used; /* a byte for each block of base: it was written */
    int fd;
};

static void *memory(uint64_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        pc_die("memory");
    return p;
}

static void rewind_to_start(struct medium *m)
{
    munmap(m->base, m->size);
    munmap(m->used, m->size / BLOCK);
    m->base = memory(m->size);
    m->used = memory(m->size / BLOCK);
    m->rest = m->log;
    m->done = 0;
}

static void medium_open(struct medium *m, const char *log, const char *out)
{
    m->rest = m->log = log_open(log);
    m->size = device_size(m->log);
    m->base = memory(m->size);
    m->used = memory(m->size / BLOCK);
    m->fd = open(out, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (m->fd < 0 || ftruncate(m->fd, (off_t)m->size) < 0)
        pc_die(out);
    m->out = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
    if (m->out == MAP_FAILED)
        pc_die(out);
}

static void put(uint8_t *bytes, const struct pc_rec *rec, const uint8_t *p, uint64_t from, uint64_t to)
{
    if (rec->kind == PC_ZERO)
        memset(bytes + from, 0, to - from);
    else
        memcpy(bytes + from, p + (from - rec->off), to - from);
}

/* Blocks, or sectors, of one write: each lands or not. */
static void put_some(uint8_t *bytes, const struct pc_rec *rec, const uint8_t *p, uint64_t unit,
                     uint64_t *rand)
{
    uint64_t end = rec->off + rec->count;

    for (uint64_t from = rec->off; from < end;) {
        uint64_t to = (from / unit + 1) * unit;

        to = to < end ? to : end;
        if (pc_rand(rand) & 1)
            put(bytes, rec, p, from, to);
        from = to;
    }
}

/* Base goes on to the last flush before the position. */
static uint64_t go_to(struct medium *m, uint64_t pos)
{
    struct log l;
    struct pc_rec rec;
    const uint8_t *p;
    uint64_t flush;

    if (m->done > pos)
        rewind_to_start(m);
    l = m->rest;
    flush = m->done;
    for (uint64_t i = m->done; i < pos && log_next(&l, &rec, &p); i++)
        if (rec.kind == PC_FLUSH)
            flush = i;
    for (; m->done < flush && log_next(&m->rest, &rec, &p); m->done++) {
        if (rec.kind != PC_WRITE && rec.kind != PC_ZERO)
            continue;
        put(m->base, &rec, p, rec.off, rec.off + rec.count);
        if (rec.count)
            memset(m->used + rec.off / BLOCK, 1, (rec.off + rec.count - 1) / BLOCK - rec.off / BLOCK + 1);
    }
    return flush;
}

/* What the last image left where base has nothing. */
static void clear_rest(struct medium *m)
{
    off_t data, hole = 0;

    while ((data = lseek(m->fd, hole, SEEK_DATA)) >= 0) {
        hole = lseek(m->fd, data, SEEK_HOLE);
        for (uint64_t b = (uint64_t)data / BLOCK; b * BLOCK < (uint64_t)hole; b++)
            if (!m->used[b])
                memset(m->out + b * BLOCK, 0, BLOCK);
    }
}

static void show_base(struct medium *m)
{
    clear_rest(m);
    for (uint64_t b = 0; b < m->size / BLOCK; b++)
        if (m->used[b] && memcmp(m->out + b * BLOCK, m->base + b * BLOCK, BLOCK) != 0)
            memcpy(m->out + b * BLOCK, m->base + b * BLOCK, BLOCK);
}

static void build(struct medium *m, uint64_t pos, enum pc_way way, uint64_t seed)
{
    uint64_t flush = go_to(m, pos), rand = seed, kept;
    struct log l = m->rest;
    struct pc_rec rec;
    const uint8_t *p;

    show_base(m);
    kept = flush + (pos > flush ? pc_rand(&rand) % (pos - flush + 1) : 0);
    for (uint64_t i = flush; i < pos && log_next(&l, &rec, &p); i++) {
        if (rec.kind != PC_WRITE && rec.kind != PC_ZERO)
            continue;
        if (way == PC_KEPT || (way == PC_PREFIX && i < kept))
            put(m->out, &rec, p, rec.off, rec.off + rec.count);
        else if (way == PC_BLOCKS || way == PC_TORN)
            put_some(m->out, &rec, p, way == PC_TORN ? SECTOR : BLOCK, &rand);
    }
}

static void marks_before(struct log l, uint64_t pos, FILE *f)
{
    struct pc_rec rec;
    const uint8_t *p;

    for (uint64_t i = 0; i < pos && log_next(&l, &rec, &p); i++)
        if (rec.kind == PC_MARK)
            fprintf(f, "%.*s\n", (int)rec.len, (const char *)p);
}

int pc_images(const char *log, const char *out, const char *marks)
{
    struct medium m = {0};
    char line[256], way[16];
    unsigned long long pos, seed, last = 0;

    medium_open(&m, log, out);
    while (fgets(line, sizeof(line), stdin)) {
        FILE *f;

        if (sscanf(line, "%llu %15s %llu", &pos, way, &seed) != 3)
            pc_die(line);
        build(&m, pos, pc_way_of(way), seed);
        if (pos != last) {
            f = fopen(marks, "we");
            if (!f)
                pc_die(marks);
            marks_before(m.log, pos, f);
            if (fclose(f) != 0)
                pc_die(marks);
        }
        last = pos;
        printf("built\n");
        fflush(stdout);
    }
    return 0;
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
    marks_before(log_open(log), pos, stdout);
    return 0;
}
