/* Files in an object each, written, synced, read past the kernel's cache, with attributes and names that change, by many threads at
 * once. Errors that were announced may come, bytes that are wrong may not. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/limits/limits.h"

#define FILE_UNITS 4u
#define ERRNOS 256

static struct {
    const char *dir;
    unsigned files, threads;
    atomic_uint next, done, wrong, errors[ERRNOS];
    bool may[ERRNOS];
    atomic_uint slowest_ms;
} all;

/* Counts what failed; false: it did. */
static bool went(bool ok)
{
    if (!ok)
        atomic_fetch_add(&all.errors[(unsigned)errno % ERRNOS], 1);
    return ok;
}

static void write_one(int fd, unsigned n)
{
    uint64_t buf[UNIT / 8];

    for (unsigned at = 0; at < FILE_UNITS; at++) {
        unit_fill(buf, UNIT, n, at);
        went(pwrite(fd, buf, UNIT, (off_t)at * UNIT) == UNIT);
    }
    if (n % 4 == 0)
        went(fsync(fd) == 0);
}

/* What is there is of one of the writes, or nothing where the write was refused. */
static void read_one(const char *path, uint64_t *block)
{
    int fd = open(path, O_RDONLY | O_DIRECT);
    ssize_t got;

    if (!went(fd >= 0))
        return;
    for (unsigned at = 0; at < FILE_UNITS; at++) {
        got = pread(fd, block, UNIT, (off_t)at * UNIT);
        if (!went(got >= 0) || got == 0)
            continue;
        bool hole = got == UNIT && block[0] == 0 && block[1] == 0 && memcmp(block, block + 1, UNIT - 8) == 0;
        if (!unit_is(block, (size_t)got, at) && !hole) {
            atomic_fetch_add(&all.wrong, 1);
            printf("  %s: unit %u holds what was not written\n", path, at);
        }
    }
    close(fd);
}

static void one(unsigned n, uint64_t *block)
{
    char path[512], to[512];
    struct stat st;
    int fd;

    path_in(path, "%s/d%u/f%u", all.dir, n % 16, n);
    path_in(to, "%s/d%u/g%u", all.dir, (n + 5) % 16, n);
    fd = open(path, O_WRONLY | O_CREAT, 0644);
    if (!went(fd >= 0))
        return;
    write_one(fd, n);
    close(fd);
    if (n % 3 == 0)
        went(setxattr(path, "user.some", path, sizeof(path), 0) == 0);
    went(stat(path, &st) == 0);
    read_one(path, block);
    if (n % 5 == 0 && went(rename(path, to) == 0))
        went(unlink(to) == 0);
}

static void *work(void *arg)
{
    uint64_t *block = aligned_alloc(UNIT, UNIT);
    unsigned n;

    (void)arg;
    while (block && (n = atomic_fetch_add(&all.next, 1)) < all.files) {
        double began = now_s();
        one(n, block);
        unsigned ms = (unsigned)((now_s() - began) * 1e3);
        if (ms > atomic_load(&all.slowest_ms))
            atomic_store(&all.slowest_ms, ms);
        atomic_fetch_add(&all.done, 1);
    }
    free(block);
    return NULL;
}

static int verdict(double took_s)
{
    unsigned refused = 0, unexpected = 0;

    printf("  %u files by %u threads in %.1f s, slowest %u ms;", atomic_load(&all.done), all.threads, took_s,
           atomic_load(&all.slowest_ms));
    for (unsigned e = 0; e < ERRNOS; e++) {
        unsigned n = atomic_load(&all.errors[e]);
        if (n == 0)
            continue;
        printf(" %s %u", strerrorname_np((int)e), n);
        refused += n;
        unexpected += all.may[e] ? 0 : n;
    }
    printf("%s\n", refused ? "" : " no error");
    return atomic_load(&all.done) < all.files || atomic_load(&all.wrong) || unexpected;
}

int part_files(int argc, char **argv)
{
    double began = now_s();
    pthread_t *threads;
    char path[512];

    all.dir = argv[1];
    all.files = (unsigned)strtoul(argv[2], NULL, 10);
    all.threads = (unsigned)strtoul(argv[3], NULL, 10);
    for (int i = 4; i < argc; i++)
        for (unsigned e = 1; e < ERRNOS; e++)
            if (strerrorname_np((int)e) && strcmp(strerrorname_np((int)e), argv[i]) == 0)
                all.may[e] = true;
    mkdir(all.dir, 0755);
    for (unsigned d = 0; d < 16; d++) {
        path_in(path, "%s/d%u", all.dir, d);
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            went(false);
    }
    threads = calloc(all.threads, sizeof(*threads));
    for (unsigned i = 0; threads && i < all.threads; i++)
        if (pthread_create(&threads[i], NULL, work, NULL) != 0)
            abort();
    for (unsigned i = 0; threads && i < all.threads; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    return verdict(now_s() - began);
}
