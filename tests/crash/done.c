#include "tests/crash/done.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"

#define PROGRAMS_MAX 64u

struct done {
    FILE *f; /* NULL: nothing is kept */
    uint64_t from, n, program;
    bool *seen;
    struct done_sum sum;
    uint64_t programs[PROGRAMS_MAX];
};

static void quit(const char *path, const char *what)
{
    fprintf(stderr, "crash: %s: %s\n", path, what);
    exit(2);
}

static uint64_t program_sum(void)
{
    cleanup(buf_free) struct buf b = {0};
    int r = io_read_file(io_real(), "/proc/self/exe", 256u << 20, &b);

    return r < 0 ? 0 : hash_sum(0, b.data, b.len);
}

static void program_note(struct done *d, uint64_t program)
{
    for (uint64_t i = 0; i < d->sum.programs; i++)
        if (d->programs[i] == program)
            return;
    if (d->sum.programs < PROGRAMS_MAX)
        d->programs[d->sum.programs++] = program;
}

static void count(struct done *d, uint64_t seed, const uint64_t v[5], uint64_t program)
{
    if (seed < d->from || seed - d->from >= d->n || d->seen[seed - d->from])
        return;
    d->seen[seed - d->from] = true;
    d->sum.seeds++;
    d->sum.failed += v[0];
    d->sum.images += v[1];
    d->sum.judged += v[2];
    d->sum.recovered += v[3];
    d->sum.core_ms += v[4];
    program_note(d, program);
}

/* A seed that has failed is played again: what is wrong may have been mended. */
static void lines_read(struct done *d, const char *path)
{
    char line[256];

    while (fgets(line, sizeof(line), d->f)) {
        uint64_t seed, v[5], program;

        if (sscanf(line, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNx64,
                   &seed, &v[0], &v[1], &v[2], &v[3], &v[4], &program) != 7)
            quit(path, "is no list of seeds that are done");
        if (v[0] == 0)
            count(d, seed, v, program);
    }
}

struct done *done_open(const char *path, uint64_t from, uint64_t n)
{
    struct done *d = calloc(1, sizeof(*d));

    assert(d);
    d->from = from;
    d->n = n;
    d->seen = calloc(n + 1, sizeof(*d->seen));
    assert(d->seen);
    if (!path)
        return d;
    d->program = program_sum();
    d->f = fopen(path, "a+e");
    if (!d->f)
        quit(path, "cannot be written");
    rewind(d->f);
    lines_read(d, path);
    return d;
}

bool done_has(const struct done *d, uint64_t seed)
{
    return d->seen[seed - d->from];
}

void done_add(struct done *d, uint64_t seed, bool failed, const struct c_figures *of_it, uint64_t core_ms)
{
    const uint64_t v[5] = {failed, of_it->images, of_it->judged, of_it->recovered, core_ms};

    count(d, seed, v, d->program);
    if (d->f &&
        (fprintf(d->f,
                 "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIx64 "\n",
                 seed, v[0], v[1], v[2], v[3], v[4], d->program) < 0 ||
         fflush(d->f) != 0))
        quit("the list of seeds that are done", "cannot be written");
}

struct done_sum done_sum(const struct done *d)
{
    return d->sum;
}

void done_close(struct done *d)
{
    if (d->f)
        fclose(d->f);
    free(d->seen);
    free(d);
}
