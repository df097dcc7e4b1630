/* Many rollbacks, many snapshots deleted at once: what they cost those who use the volume, at once and after the daemon has put
 * its house in order. Lookups are compared with those of a twin: a volume with the same files that nothing was done to, asked in
 * turns, so that a machine that is busy with other work is as slow for both. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench-small/place.h"

#define ROUNDS 15
#define LOOKS 500
#define QUIET 0.25 /* of the looks of a round so many are taken as undisturbed */
#define SAMPLES_MAX 65536

/* One look at a name that the kernel does not know: microseconds. */
static double look_us(const struct place *p, unsigned i, unsigned count, bool there)
{
    struct stat st;
    char name[400];
    double t;

    if (there)
        snprintf(name, sizeof(name), "%s/roll/d%u/f%u", p->mnt, i % count / 1000, i % count);
    else
        snprintf(name, sizeof(name), "%s/roll/d%u/absent%u", p->mnt, i % count / 1000, i);
    t = now_ms();
    if ((stat(name, &st) == 0) != there)
        die(name);
    return (now_ms() - t) * 1e3;
}

/* The middle of the rounds' ratios of p to its twin; each round has names of its own, of one directory. What takes longer for
 * each look shows in the quicker ones as well, and those say less of what else the machine does. */
static double against_twin(const struct place *p, const struct place *twin, unsigned count, bool there,
                           double *ret_us)
{
    static unsigned from;
    double ratio[ROUNDS], us[ROUNDS];

    for (unsigned r = 0; r < ROUNDS; r++, from += 1000) {
        double a[LOOKS], b[LOOKS];
        drop_caches();
        usleep(50000);
        (void)look_us(p, from + LOOKS, count, there); /* the directories on the way */
        (void)look_us(twin, from + LOOKS, count, there);
        for (unsigned i = 0; i < LOOKS; i++) {
            bool first = i & 1;
            if (first)
                a[i] = look_us(p, from + i, count, there);
            b[i] = look_us(twin, from + i, count, there);
            if (!first)
                a[i] = look_us(p, from + i, count, there);
        }
        us[r] = part(a, LOOKS, QUIET);
        ratio[r] = us[r] / part(b, LOOKS, QUIET);
    }
    *ret_us = part(us, ROUNDS, 0.5);
    return part(ratio, ROUNDS, 0.5);
}

static void compare(const struct place *p, const struct place *twin, unsigned count, const char *when,
                    double at_most)
{
    double us_there, us_absent, there, absent;
    char what[128];

    place_pin(p, true);
    place_pin(twin, true);
    there = against_twin(p, twin, count, true, &us_there);
    absent = against_twin(p, twin, count, false, &us_absent);
    place_pin(p, false);
    place_pin(twin, false);
    printf("%s: stat %.1f us, absent name %.1f us\n", when, us_there, us_absent);
    snprintf(what, sizeof(what), "stat %s, against a volume without", when);
    figure(what, there, "x", at_most);
    snprintf(what, sizeof(what), "absent name %s, against a volume without", when);
    figure(what, absent, "x", at_most);
}

static void change_some(const struct place *p, unsigned files, unsigned i, unsigned n)
{
    char path[400];

    for (unsigned k = 0; k < n; k++) {
        unsigned f = (i * n + k) * 7 % files;
        snprintf(path, sizeof(path), "%s/roll/d%u/f%u", p->mnt, f / 1000, f);
        if (chmod(path, 0600 | (i & 077)) < 0)
            die(path);
    }
}

/* The trees that the rollbacks left go: a branch each. */
static void drop_trees_before(const struct place *p)
{
    double t = now_ms(), cpu = place_cpu_s(p);
    char path[800];
    unsigned n = 0;
    struct dirent *e;
    DIR *d;

    snprintf(path, sizeof(path), "%s/.snapshots", p->mnt);
    if (!(d = opendir(path)))
        die(path);
    while ((e = readdir(d))) {
        if (strncmp(e->d_name, "before-rollback-", 16) != 0)
            continue;
        snprintf(path, sizeof(path), "%s/.snapshots/%s", p->mnt, e->d_name);
        if (rmdir(path) < 0)
            die(path);
        n++;
    }
    closedir(d);
    printf("%u trees from before rollbacks removed: %.2f ms each\n", n, (now_ms() - t) / n);
    (void)place_rest(p, 300);
    printf("the daemon worked for %.1f s\n", place_cpu_s(p) - cpu);
    figure("until the queue is empty of their branches", (now_ms() - t) / 1e3, "s", 30);
}

void rollbacks(unsigned files, unsigned n)
{
    struct place *p = place_new("rolled"), *twin = place_new("twin");
    char path[400], when[64];
    double t, cpu, cpu_s;

    printf("--- %u rollbacks over %u files\n", n, files);
    snprintf(path, sizeof(path), "%s/roll", twin->mnt);
    many_files(path, 0, files);
    snprintf(path, sizeof(path), "%s/roll", p->mnt);
    many_files(path, 0, files);
    snprintf(path, sizeof(path), "%s/.snapshots/base", p->mnt);
    if (mkdir(path, 0755) < 0)
        die(path);
    compare(p, twin, files, "before any rollback", 1.1);
    cpu = place_cpu_s(p);
    t = now_ms();
    for (unsigned i = 0; i < n; i++) {
        change_some(p, files, i, 10);
        control(p, "rollback", "rollback base\n");
    }
    printf("%u rollbacks in a row, each after 10 changes: %.2f ms each\n", n, (now_ms() - t) / n);
    snprintf(when, sizeof(when), "at once after %u rollbacks", n);
    compare(p, twin, files, when, 1.1);
    (void)place_rest(p, 120);
    cpu_s = place_cpu_s(p);
    printf("the queue is at rest %.1f s after the first; the daemon worked for %.1f s\n",
           (now_ms() - t) / 1e3, cpu_s - cpu);
    snprintf(when, sizeof(when), "at rest after %u rollbacks", n);
    compare(p, twin, files, when, 1.1);
    sleep(5);
    figure("the daemon's work in 5 s of rest after rollbacks", place_cpu_s(p) - cpu_s, "s", 3);
    drop_trees_before(p);
    place_free(twin);
    place_free(p);
}

/* --- deleting many at once --- */

struct maker {
    pthread_t thread;
    const struct place *p;
    _Atomic bool stop;
    double ms[SAMPLES_MAX];
    size_t n;
};

/* Goes on making files and writing to them. */
static void *make_on(void *arg)
{
    struct maker *m = arg;

    while (!atomic_load(&m->stop) && m->n < SAMPLES_MAX) {
        char name[400];
        double t = now_ms();
        int fd;

        snprintf(name, sizeof(name), "%s/meanwhile%zu", m->p->mnt, m->n);
        fd = open(name, O_WRONLY | O_CREAT, 0644);
        if (fd < 0 || write(fd, name, 30) != 30 || close(fd) < 0)
            die(name);
        m->ms[m->n++] = now_ms() - t;
        usleep(2000);
    }
    return NULL;
}

/* A snapshot after each few changes, so that each has something of its own. */
static void take_many(const struct place *p, unsigned files, unsigned n)
{
    char path[400];

    for (unsigned i = 0; i < n; i++) {
        change_some(p, files, i, 50);
        snapshot_path(path, sizeof(path), p, "many", i);
        if (mkdir(path, 0755) < 0)
            die(path);
    }
}

void deletions(unsigned files, unsigned n)
{
    static struct maker m;
    struct place *p = place_new("deleted");
    char path[400], what[128];
    double t, cpu;

    printf("--- %u snapshots of %u files deleted at once\n", n, files);
    snprintf(path, sizeof(path), "%s/roll", p->mnt);
    many_files(path, 0, files);
    t = now_ms();
    take_many(p, files, n);
    printf("%u snapshots, each with 50 changes: %.1f s\n", n, (now_ms() - t) / 1e3);
    (void)place_rest(p, 60);
    cpu = place_cpu_s(p);
    m.p = p;
    if (pthread_create(&m.thread, NULL, make_on, &m) != 0)
        die("pthread_create");
    t = now_ms();
    for (unsigned i = 0; i < n; i++) {
        snapshot_path(path, sizeof(path), p, "many", i);
        if (rmdir(path) < 0)
            die(path);
    }
    printf("%u rmdir in a row: %.2f ms each\n", n, (now_ms() - t) / n);
    (void)place_rest(p, 300);
    t = (now_ms() - t) / 1e3;
    atomic_store(&m.stop, true);
    pthread_join(m.thread, NULL);
    printf("the daemon worked for %.1f s; a file made meanwhile: p50 %.2f ms, longest %.2f ms\n",
           place_cpu_s(p) - cpu, part(m.ms, m.n, 0.5), part(m.ms, m.n, 1));
    snprintf(what, sizeof(what), "%u snapshots deleted until the queue is empty", n);
    figure(what, t, "s", 30);
    figure("making a file meanwhile: p99", part(m.ms, m.n, 0.99), "ms", 50);
    place_free(p);
}
