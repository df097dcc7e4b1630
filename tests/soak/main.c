/* soak MNT STORE VARVE --seconds N --bound PCT --csv FILE: see soak.h. Mounting is the caller's. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/soak/soak.h"

#define LONGEST_S 1.0
#define FAULTS_SHOWN 20
#define SLOW_MOST 4 /* times as long as was asked for, until the load is steady */

bool soak_ends(const struct soak *k)
{
    double s = now_s() - k->began_s;

    if (atomic_load(&k->steady_s) == 0 && s < SLOW_MOST * k->asked_s)
        return false;
    return s >= atomic_load(&k->seconds);
}

void fault(struct soak *k, const char *fmt, ...)
{
    va_list ap;

    if (atomic_fetch_add(&k->faults, 1) >= FAULTS_SHOWN)
        return;
    flockfile(stdout);
    printf("  at %.1f s: ", now_s() - k->began_s);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
    fflush(stdout);
    funlockfile(stdout);
}

void path_in(char out[512], const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out, 512, fmt, ap);
    va_end(ap);
    assert(n > 0 && n < 512);
}

static void run(struct soak *k)
{
    void *(*const parts[])(void *) = {load_trees, load_overwrite, load_append, load_mmap,
                                      load_read,  remember,       probe,       probe_disk};
    pthread_t threads[ARRAY_LEN(parts)];

    load_lay(k);
    k->began_s = now_s();
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (pthread_create(&threads[i], NULL, parts[i], k) != 0)
            abort();
    sample(k);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        pthread_join(threads[i], NULL);
}

static int verdict(struct soak *k)
{
    static const char *const what[] = {"trees",   "overwriting", "appending", "mapped",
                                       "reading", "schedule",    "probe",     "disk"};
    unsigned all = sample_count() + PROBE_KINDS + 4 + 1, bad;

    printf("  %.0f s, a snapshot each %.2f s, steady after %.0f s; steps:", atomic_load(&k->seconds),
           k->tick_s, atomic_load(&k->steady_s));
    for (size_t i = 0; i < ARRAY_LEN(what); i++)
        printf(" %s %llu%s", what[i], (unsigned long long)atomic_load(&k->steps[i]),
               i + 1 < ARRAY_LEN(what) ? "," : "\n");
    bad = probe_verdict(k, LONGEST_S) + remember_verdict() + sample_verdict(k);
    if (atomic_load(&k->faults))
        printf("  %u wrong answers FAILED\n", atomic_load(&k->faults));
    bad += atomic_load(&k->faults) > 0;
    printf("%u passed, %u failed, 0 skipped\n", all - bad, bad);
    return bad > 0;
}

int main(int argc, char **argv)
{
    static struct soak k = {.world = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP,
                            .shelf = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP,
                            .asked_s = 60,
                            .bound_pct = 5};
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {"bound", required_argument, NULL, 'b'},
                                            {"csv", required_argument, NULL, 'c'},
                                            {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (c) {
        case 's': k.asked_s = strtod(optarg, NULL); break;
        case 'b': k.bound_pct = strtod(optarg, NULL); break;
        case 'c': k.csv = optarg; break;
        default: return 2;
        }
    }
    if (argc - optind != 3 || !k.csv)
        return 2;
    k.mnt = argv[optind];
    k.store = argv[optind + 1];
    k.varve = argv[optind + 2];
    atomic_store(&k.seconds, k.asked_s);
    k.shrunk = k.asked_s < 60 ? 6 : 1;
    k.tick_s = MIN_OF(MAX_OF(k.asked_s / 400, 0.15), 1.0);
    k.step_s = MIN_OF(MAX_OF(k.asked_s / 100, 0.1), 2.0);
    k.began_s = now_s();
    run(&k);
    return verdict(&k);
}
