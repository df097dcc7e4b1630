/* model [--seeds N] [--ops M] [--seed S] [--threads T] [--trace]: see model.h. Prints its figures and closes with
 * "N passed, N failed, N skipped"; one seed is one test. */
#include "tests/model/model.h"

#include <ftw.h>
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

struct args {
    uint64_t seed, seeds, ops;
    unsigned threads;
    uint64_t always;
    bool trace, stop;
};

static void usage(void)
{
    fprintf(stderr,
            "usage: model [--seeds N] [--ops M] [--seed S] [--threads T] [--trace] [--always OP] [--stop]\n");
    exit(2);
}

static uint64_t number(const char *s)
{
    char *end;
    uint64_t n = strtoull(s, &end, 0);

    if (!*s || *end)
        usage();
    return n;
}

static void parse(int argc, char **argv, struct args *a)
{
    static const struct option longs[] = {
        {"seeds", 1, NULL, 'n'}, {"ops", 1, NULL, 'o'},  {"seed", 1, NULL, 's'},   {"threads", 1, NULL, 't'},
        {"trace", 0, NULL, 'v'}, {"stop", 0, NULL, 'x'}, {"always", 1, NULL, 'a'}, {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': a->seeds = number(optarg); break;
        case 'o': a->ops = number(optarg); break;
        case 's': a->seed = number(optarg); break;
        case 't': a->threads = (unsigned)number(optarg); break;
        case 'v': a->trace = true; break;
        case 'x': a->stop = true; break;
        case 'a': a->always = number(optarg); break;
        default: usage();
        }
    }
    if (optind != argc || a->seeds == 0 || a->ops == 0)
        usage();
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void print_figures(const struct m_run *m, uint64_t snaps_least)
{
    static const char *const name[] = {
#define OP(name, weight) #name,
#include "tests/model/ops.def"
#undef OP
    };

    for (size_t i = 0; i < ARRAY_LEN(name); i++)
        printf("%s %llu%s", name[i], (unsigned long long)m->done[i], i % 8 == 7 ? "\n" : ", ");
    printf("\nbranches by rollback and clone: %llu\n", (unsigned long long)m->branches);
    printf("snapshots alive at once: at least %llu in every seed\n", (unsigned long long)snaps_least);
}

static int run_seeds(const struct args *a, const char *dir)
{
    static struct m_run m;
    uint64_t failed = 0, least = UINT64_MAX, done = 0;
    int64_t began = clock_mono_ns();

    m.trace = a->trace;
    m.always = a->always;
    for (uint64_t i = 0; i < a->seeds && !(failed && a->stop); i++, done++) {
        m.snaps_most = 0;
        snprintf(m.dir, sizeof(m.dir), "%s/%llu", dir, (unsigned long long)(a->seed + i));
        if (m_seed_run(&m, a->seed + i, a->ops))
            failed++;
        else
            least = MIN_OF(least, m.snaps_most);
    }
    printf("seeds %llu..%llu, %llu operations each, %.1f s\n", (unsigned long long)a->seed,
           (unsigned long long)(a->seed + done - 1), (unsigned long long)a->ops,
           (double)(clock_mono_ns() - began) / 1e9);
    print_figures(&m, least == UINT64_MAX ? 0 : least);
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)(done - failed),
           (unsigned long long)failed);
    return failed > 0;
}

int main(int argc, char **argv)
{
    struct args a = {.seed = 1, .seeds = 20, .ops = 2000};
    char dir[64];
    int r;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getenv("SEED"))
        a.seed = number(getenv("SEED"));
    parse(argc, argv, &a);
    snprintf(dir, sizeof(dir), "%s/varve-model.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    log_set_level(LOG_ERROR);
    r = a.threads ? m_threads(dir, a.seed, a.ops, a.threads) : run_seeds(&a, dir);
    if (!r || !getenv("KEEP"))
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return r;
}
