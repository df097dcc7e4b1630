/* bench-small [--files N] [--roll N] [--rollbacks N] [--only PART]...: figures of daily use through a mount, each with its bound:
 * restoring by cp, rollbacks in a row, snapshots of few and of many files, alone and under load, many of them deleted at once,
 * and what the daemon takes of memory. Works below $TMPDIR. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench-small/place.h"
#include "tests/lib/test.h"

#define SAMPLES_MAX 4096

static struct place *place;

static void memory(const char *when, const char *field, double bound)
{
    printf("%s: VmRSS %.1f, RssAnon %.1f, RssFile %.1f MiB\n", when, place_mib(place, "VmRSS:"),
           place_mib(place, "RssAnon:"), place_mib(place, "RssFile:"));
    figure(when, place_mib(place, field), "MiB", bound);
}

/* --- restoring --- */

static void write_file(const char *name, uint64_t size)
{
    static uint8_t block[MIB];
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    uint64_t x = size;

    if (fd < 0)
        die(name);
    for (uint64_t off = 0; off < size; off += sizeof(block)) {
        size_t n = (size_t)MIN_OF((uint64_t)sizeof(block), size - off);
        for (size_t i = 0; i < n; i += 8) {
            uint64_t w = test_rand(&x);
            memcpy(block + i, &w, 8);
        }
        if (write(fd, block, n) != (ssize_t)n)
            die(name);
    }
    if (fsync(fd) < 0 || close(fd) < 0)
        die(name);
}

static void snapshot(const char *name)
{
    char path[300];

    snprintf(path, sizeof(path), ".snapshots/%s", name);
    if (mkdir(path, 0755) < 0)
        die(path);
}

static void restoring(void)
{
    double best = 1e9, took;

    write_file("f", 3 * MIB + 17);
    snapshot("s");
    write_file("f", 100);
    must_run((const char *[]){"cp", "-a", ".snapshots/s/f", "f", NULL});
    must_run((const char *[]){"diff", "f", ".snapshots/s/f", NULL});
    figure("cp -a .snapshots/s/f f; diff f .snapshots/s/f: differences", 0, "", 0);
    write_file("big", 1024 * MIB);
    snapshot("big");
    for (unsigned i = 0; i < 5; i++) {
        if (unlink("big") < 0)
            die("unlink");
        took = now_ms();
        must_run((const char *[]){"cp", ".snapshots/big/big", "big", NULL});
        took = now_ms() - took;
        best = MIN_OF(best, took);
        printf("cp of 1 GiB out of a snapshot: %.1f ms\n", took);
    }
    must_run((const char *[]){"cmp", "big", ".snapshots/big/big", NULL});
    figure("restoring 1 GiB by cp, best of 5", best, "ms", 50);
    unlink("big");
}

/* --- snapshots --- */

static _Atomic bool stop;

static void *write_on(void *arg)
{
    uint8_t block[65536];
    const char *name = arg;
    int fd = open(name, O_WRONLY | O_CREAT, 0644);
    uint64_t x = 1;

    if (fd < 0)
        die(name);
    while (!atomic_load(&stop)) {
        memset(block, (int)(x % 251), sizeof(block));
        if (pwrite(fd, block, sizeof(block), (off_t)(test_rand(&x) % 1024 * sizeof(block))) < 0)
            die(name);
    }
    close(fd);
    return NULL;
}

static void snapshots_take(const char *tag, unsigned n, double *p50, double *p99)
{
    static double v[SAMPLES_MAX];
    char path[128];

    for (unsigned i = 0; i < n; i++) {
        snprintf(path, sizeof(path), ".snapshots/%s-%u", tag, i);
        v[i] = now_ms();
        if (mkdir(path, 0755) < 0)
            die(path);
        v[i] = now_ms() - v[i];
        usleep(5000);
    }
    *p50 = part(v, n, 0.5);
    *p99 = part(v, n, 0.99);
    for (unsigned i = 0; i < n; i++) {
        snprintf(path, sizeof(path), ".snapshots/%s-%u", tag, i);
        if (rmdir(path) < 0)
            die(path);
    }
}

static void snapshots(const char *tag, const char *files)
{
    double p50, p99;
    char what[128];
    pthread_t t[2];

    snapshots_take(tag, 200, &p50, &p99);
    snprintf(what, sizeof(what), "mkdir .snapshots/X at %s files: p50", files);
    figure(what, p50, "ms", 5);
    printf("alone: p99 %.2f ms\n", p99);
    atomic_store(&stop, false);
    if (pthread_create(&t[0], NULL, write_on, (void *)(uintptr_t) "load0") != 0 ||
        pthread_create(&t[1], NULL, write_on, (void *)(uintptr_t) "load1") != 0)
        die("pthread_create");
    snapshots_take(tag, 300, &p50, &p99);
    atomic_store(&stop, true);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    printf("under write load: p50 %.2f ms\n", p50);
    snprintf(what, sizeof(what), "mkdir .snapshots/X at %s files, write load: p99", files);
    figure(what, p99, "ms", 50);
}

static void few(void)
{
    many_files("few", 0, 1000);
    snapshots("few", "1,000");
}

/* --- many files --- */

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)st, (void)type, (void)ftw;
    return 0;
}

static void many(unsigned files)
{
    char text[32];
    double t = now_ms();

    many_files("many", 0, files);
    printf("%u files made in %.1f s\n", files, (now_ms() - t) / 1e3);
    snprintf(text, sizeof(text), "%u", files);
    snapshots("many", text);
    drop_caches();
    t = now_ms();
    nftw("many", count_one, 32, FTW_PHYS);
    printf("walk: %.1f s\n", (now_ms() - t) / 1e3);
    memory("after a walk over many files, RssAnon", "RssAnon:", 150);
}

/* --- */

static const char *const names[] = {"idle", "few", "restoring", "rollbacks", "deletions", "many"};

struct asked {
    unsigned files, roll, rollbacks;
    uint32_t parts; /* bits as of names */
};

static bool part_named(const char *name, uint32_t *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *ret |= 1u << i;
            return true;
        }
    return false;
}

static bool parse(int argc, char **argv, struct asked *a)
{
    bool ok = argc % 2 == 1;

    for (int i = 1; ok && i < argc; i += 2) {
        unsigned n = (unsigned)strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--files") == 0)
            a->files = n;
        else if (strcmp(argv[i], "--roll") == 0)
            a->roll = n;
        else if (strcmp(argv[i], "--rollbacks") == 0)
            a->rollbacks = n;
        else
            ok = strcmp(argv[i], "--only") == 0 && part_named(argv[i + 1], &a->parts);
    }
    return ok && a->files && a->roll && a->rollbacks;
}

int main(int argc, char **argv)
{
    struct asked a = {.files = 1000000, .roll = 50000, .rollbacks = 1000};

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!parse(argc, argv, &a)) {
        printf("usage: bench-small [--files N] [--roll N] [--rollbacks N] [--only PART]...\n");
        return 2;
    }
    if (!a.parts)
        a.parts = UINT32_MAX;
    place = place_new("store");
    if (chdir(place->mnt) < 0)
        die(place->mnt);
    sleep(1);
    if (a.parts & 1)
        memory("daemon idle, VmRSS", "VmRSS:", 20);
    if (a.parts & 2)
        few();
    if (a.parts & 4)
        restoring();
    if (a.parts & 8)
        rollbacks(a.roll, a.rollbacks);
    if (a.parts & 16)
        deletions(a.roll, a.rollbacks);
    if (chdir(place->mnt) < 0)
        die(place->mnt);
    if (a.parts & 32)
        many(a.files);
    return figures_end();
}
