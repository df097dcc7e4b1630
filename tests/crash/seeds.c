/* Many seeds, one after the other: figures, how long it will take, what is done already. */
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "tests/crash/done.h"

#define SAY_NS 60000000000ll /* between lines of progress */
#define N(x) ((unsigned long long)(x))

/* The seed under way is the last one. */
static volatile sig_atomic_t stopped;

static void on_stop(int sig)
{
    (void)sig;
    stopped = 1;
}

static uint64_t core_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int64_t now_ns(void) /* base/clock is the tests' */
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct seeds {
    struct c_run *c;
    struct done *done;
    uint64_t n, played;
    int64_t began_ns, said_ns;
};

static void progress(struct seeds *s)
{
    int64_t now = now_ns();
    struct done_sum sum = done_sum(s->done);
    uint64_t took = (uint64_t)(now - s->began_ns) / 1000000, left = s->n - MIN_OF(sum.seeds, s->n);

    if (now - s->said_ns < SAY_NS)
        return;
    s->said_ns = now;
    left = left * took / s->played / 1000;
    printf("%llu of %llu seeds, %llu failed, %.2f a second, %llu:%02llu h left\n", N(sum.seeds), N(s->n),
           N(sum.failed), 1000.0 * (double)s->played / (double)MAX_OF(took, (uint64_t)1), N(left / 3600),
           N(left / 60 % 60));
}

static void one(struct seeds *s, uint64_t seed, uint32_t ops)
{
    struct c_figures before = s->c->fig, of_it = {0};
    uint64_t began = core_ms();
    bool failed = c_seed(s->c, seed, ops) != 0;

    of_it.images = s->c->fig.images - before.images;
    of_it.judged = s->c->fig.judged - before.judged;
    of_it.recovered = s->c->fig.recovered - before.recovered;
    done_add(s->done, seed, failed, &of_it, core_ms() - began);
    s->played++;
    progress(s);
}

static void print_figures(const struct c_figures *f, const struct seeds *s, uint64_t took)
{
    printf("%llu seeds: %llu operations on %u volumes, %llu power cuts (%llu at syncs, %llu at writes; %llu "
           "of them while "
           "opening, %llu during recovery), %llu images, %llu of them unlike and judged: %llu recovered, "
           "%llu foreseen, %llu read, %llu checked; %llu deaths, %llu snapshots compared; %.1f core-seconds, "
           "%.3f a seed\n",
           N(s->played), N(f->ops), VOLS, N(f->cuts), N(f->cuts_sync), N(f->cuts_write), N(f->cuts_open),
           N(f->cuts_recovery), N(f->images), N(f->judged), N(f->recovered), N(f->foreseen), N(f->read),
           N(f->checked), N(f->deaths), N(f->snaps), (double)took / 1000,
           (double)took / 1000 / (double)MAX_OF(s->played, (uint64_t)1));
}

static void print_done(const struct done_sum *sum)
{
    printf("with those of before: %llu seeds, %llu images, %llu judged, %llu recovered, %.3f core-seconds a "
           "seed, by %llu "
           "programs\n",
           N(sum->seeds), N(sum->images), N(sum->judged), N(sum->recovered),
           (double)sum->core_ms / 1000 / (double)MAX_OF(sum->seeds, (uint64_t)1), N(sum->programs));
}

int c_seeds(struct c_run *c, uint64_t from, uint64_t n, uint32_t ops)
{
    const char *list = getenv("FROM");
    struct seeds s = {.c = c, .done = done_open(list, from, n), .n = n, .began_ns = now_ns()};
    uint64_t began = core_ms();
    struct done_sum sum;

    s.said_ns = s.began_ns;
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);
    for (uint64_t i = 0; i < n && !stopped; i++)
        if (!done_has(s.done, from + i))
            one(&s, from + i, ops);
    print_figures(&c->fig, &s, core_ms() - began);
    sum = done_sum(s.done);
    if (list)
        print_done(&sum);
    printf("%llu passed, %llu failed, 0 skipped\n", N(sum.seeds - sum.failed), N(sum.failed));
    done_close(s.done);
    return sum.failed > 0;
}
