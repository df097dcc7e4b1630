/* crash [--seeds N] [--seed S] [--ops M] [--trace] [--directed [name...]]: see crash.h. One seed is one test. KEEP=dir: where the
 * image of a failure is put. FROM=file: the seeds that it says to be done are left out, and those that are done now are added
 * (with the ordinary number of operations). A signal ends the run after the seed under way. */
#include "tests/crash/crash.h"

#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

struct args {
    uint64_t seed, seeds, ops;
    bool trace, directed;
};
static struct args args = {.seed = 1, .seeds = 20, .ops = 200};

void c_fail(struct c_run *c, const char *fmt, ...)
{
    va_list ap;

    printf("FAIL seed %llu life %u op %u (%s): ", (unsigned long long)c->seed, c->life_no, c->op, c->what);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n  replay: build/tests/crash --seed %llu --seeds 1 --ops %llu --trace\n",
           (unsigned long long)c->seed, (unsigned long long)args.ops);
    if (c->shown)
        printf("  the image: %s/store%s\n", getenv("KEEP"),
               lying_shot_store(c->shown, getenv("KEEP")) < 0 ? " (could not be kept)" : "");
    fflush(stdout);
    longjmp(c->out, 1);
}

uint64_t c_rand(struct c_run *c, uint64_t below)
{
    return test_rand(&c->rng) % below;
}

static uint64_t number(const char *s)
{
    char *end;
    uint64_t n = strtoull(s, &end, 0);

    if (!*s || *end) {
        fprintf(stderr, "crash: %s is no number\n", s);
        exit(2);
    }
    return n;
}

static void parse(int argc, char **argv)
{
    static const struct option longs[] = {{"seeds", 1, NULL, 'n'},    {"ops", 1, NULL, 'o'},
                                          {"seed", 1, NULL, 's'},     {"trace", 0, NULL, 'v'},
                                          {"directed", 0, NULL, 'd'}, {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'n': args.seeds = number(optarg); break;
        case 'o': args.ops = MIN_OF(number(optarg), (uint64_t)OPS_MAX); break;
        case 's': args.seed = number(optarg); break;
        case 'v': args.trace = true; break;
        case 'd': args.directed = true; break;
        default: exit(2);
        }
    }
}

static int run_seeds(void)
{
    static struct c_run c;
    int r;

    c.trace = args.trace;
    c.bytes = malloc(C_FILE_MAX + 8);
    c.bytes2 = malloc(C_FILE_MAX + 8);
    assert(c.bytes);
    assert(c.bytes2);
    r = c_seeds(&c, args.seed, args.seeds, (uint32_t)args.ops);
    free(c.bytes);
    free(c.bytes2);
    return r;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    mallopt(M_MMAP_THRESHOLD,
            1536 << 10); /* buffers without page faults, but not the 2 MiB of zeros that LMDB asks for */
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    if (getenv("SEED"))
        args.seed = number(getenv("SEED"));
    parse(argc, argv);
    log_set_level(args.trace ? LOG_NOTE : LOG_ERROR);
    if (!args.trace) /* each cut makes a store stop, which says so */
        log_set_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (args.directed) {
        argv[optind - 1] = argv[0];
        return test_main(argc - optind + 1, argv + optind - 1);
    }
    return run_seeds();
}
