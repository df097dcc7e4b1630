/* fsx [--ops N] [--seed S] [--trace] [--keep]: works in a directory of its own below $TMPDIR with $BUILD/varve (or $VARVE).
 * Prints how many operations of each kind there were, and closes with "N passed, N failed, N skipped". */
#include "tests/fsx/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define HISTORY 60

static struct fx the;
static char history[HISTORY][160];
static bool keep;

static const struct {
    const char *name;
    unsigned weight;
    void (*fn)(struct fx *f);
} ops[] = {
#define OP(name, weight) {#name, weight, fx_##name},
#include "tests/fsx/ops.def"
#undef OP
};

void fx_fail(struct fx *f, const char *fmt, ...)
{
    va_list ap;

    for (unsigned i = 1; i <= HISTORY; i++)
        if (history[(f->op + i) % HISTORY][0])
            printf("    %s\n", history[(f->op + i) % HISTORY]);
    printf("FAIL seed %llu op %llu: ", (unsigned long long)f->seed, (unsigned long long)f->op);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n  replay: build/tests/fsx --seed %llu --ops %llu\n0 passed, 1 failed, 0 skipped\n",
           (unsigned long long)f->seed, (unsigned long long)f->ops);
    fflush(stdout);
    if (keep) {
        printf("kept: %s, mounted at %s\n", f->store, f->mnt);
        _exit(1);
    }
    exit(1);
}

void fx_log(struct fx *f, const char *fmt, ...)
{
    char *line = history[f->op % HISTORY];
    va_list ap;
    int n = snprintf(line, sizeof(history[0]), "%6llu ", (unsigned long long)f->op);

    va_start(ap, fmt);
    vsnprintf(line + n, sizeof(history[0]) - (size_t)n, fmt, ap);
    va_end(ap);
    if (f->trace)
        printf("%s\n", line);
}

uint64_t fx_rand(struct fx *f, uint64_t below)
{
    assert(below > 0);
    return test_rand(&f->rng) % below;
}

static void at_exit(void)
{
    fx_cleanup(&the);
}

static void on_signal(int sig)
{
    (void)sig;
    exit(130);
}

static uint64_t number(const char *s)
{
    char *end;
    uint64_t n = strtoull(s, &end, 0);

    if (!*s || *end) {
        fprintf(stderr, "fsx: %s is no number\n", s);
        exit(2);
    }
    return n;
}

static void parse(struct fx *f, int argc, char **argv)
{
    static const struct option longs[] = {{"ops", 1, NULL, 'o'},
                                          {"seed", 1, NULL, 's'},
                                          {"trace", 0, NULL, 'v'},
                                          {"keep", 0, NULL, 'k'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'o': f->ops = number(optarg); break;
        case 's': f->seed = number(optarg); break;
        case 'v': f->trace = true; break;
        case 'k': keep = true; break;
        default: fprintf(stderr, "usage: fsx [--ops N] [--seed S] [--trace] [--keep]\n"); exit(2);
        }
    }
}

static void find_varve(struct fx *f)
{
    const char *varve = getenv("VARVE"), *build = getenv("BUILD");
    char path[256], *real;

    snprintf(path, sizeof(path), "%s/varve", build ? build : "build");
    real = realpath(varve ? varve : path, NULL);
    if (!real) {
        fprintf(stderr, "fsx: no %s\n", varve ? varve : path);
        exit(2);
    }
    snprintf(f->varve, sizeof(f->varve), "%s", real);
    free(real);
}

static void prepare(struct fx *f)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(f->dir, sizeof(f->dir), "%s/varve-fsx.XXXXXX",
             tmp                             ? tmp
             : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                             : "/tmp");
    if (!mkdtemp(f->dir)) {
        perror(f->dir);
        exit(1);
    }
    f->buf = malloc(IO_MAX + 8);
    f->want = malloc(IO_MAX + 8);
    assert(f->buf && f->want);
    for (unsigned i = 0; i < FILES; i++)
        f->fd[i] = -1;
    atexit(at_exit);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGHUP, on_signal);
    fx_create(f);
    fx_mount(f);
    for (unsigned i = 0; i < FILES; i++) {
        char path[1024];

        snprintf(f->file[i].name, NAME_SIZE, "f%llu", (unsigned long long)++f->next_name);
        fx_path(f, "", f->file[i].name, path, sizeof(path));
        f->fd[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        WANT(f, f->fd[i] >= 0, "create %s: %s", path, strerror(errno));
    }
}

static enum fx_op choose(struct fx *f)
{
    unsigned sum = 0;
    uint64_t at;

    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        sum += ops[i].weight;
    at = fx_rand(f, sum);
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (at < ops[i].weight)
            return (enum fx_op)i;
        at -= ops[i].weight;
    }
    assert(false);
}

void fx_do(struct fx *f, enum fx_op op)
{
    f->done[op]++;
    f->instead = false;
    ops[op].fn(f);
    if (f->instead)
        f->done[op]--;
    f->instead = true;
}

static void finish(struct fx *f)
{
    fx_compare_dir(f, "", f->file, true);
    for (size_t i = 0; i < f->nsnaps; i++) {
        char under[NAME_SIZE + 16];

        snprintf(under, sizeof(under), ".snapshots/%s", f->snap[i].name);
        fx_compare_dir(f, under, f->snap[i].file, true);
    }
    fx_close_all(f);
    fx_umount(f);
    fx_check(f);
}

/* The figures, and whether they are what the suite promises. */
static bool figures(const struct fx *f, double seconds)
{
    bool enough = true;

    printf("seed %llu: %llu operations in %.0f s, %llu MiB written, %llu MiB compared\n",
           (unsigned long long)f->seed, (unsigned long long)f->ops, seconds,
           (unsigned long long)(f->bytes_written >> 20), (unsigned long long)(f->bytes_compared >> 20));
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        double pct = 100.0 * (double)f->done[i] / (double)f->ops;

        printf("%-12s %8llu  %5.2f %%\n", ops[i].name, (unsigned long long)f->done[i], pct);
        if (f->ops >= 10000 && pct < 3 && i != FX_remount)
            enough = false;
    }
    printf("snapshots alive: %zu at the end, %zu at most\n", f->nsnaps, f->snaps_most);
    if (f->ops >= 10000 && (f->snaps_most < 50 || f->done[FX_remount] * 5000 < f->ops))
        enough = false;
    if (!enough)
        printf("FAIL: too few of some kind\n");
    return enough;
}

int main(int argc, char **argv)
{
    struct fx *f = &the;
    time_t began = time(NULL);
    bool ok;

    setvbuf(stdout, NULL, _IOLBF, 0);
    f->ops = 50000;
    f->seed = test_seed();
    parse(f, argc, argv);
    f->rng = f->seed;
    find_varve(f);
    prepare(f);
    for (f->op = 1; f->op <= f->ops; f->op++) {
        enum fx_op op = choose(f);

        if (f->op % 4000 == 0)
            op = FX_remount;
        fx_do(f, op);
    }
    finish(f);
    ok = figures(f, difftime(time(NULL), began));
    printf("%d passed, %d failed, 0 skipped\n", ok, !ok);
    return !ok;
}
