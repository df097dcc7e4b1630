#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench-latency/latency.h"

#define KEPT 64u      /* files of the probe that are there at a time */
#define PAUSE_US 1000 /* between two turns: the probe is no load itself */
#define DISK_PAUSE_US 3000
#define DISK_BYTES (4u << 20) /* of the file below, which are written before */
#define DISK_GRACE 1.15

enum kind { CREATE, STAT, FSYNC, DISK, KINDS };
static const char *const names[KINDS] = {"create", "stat", "fsync", "disk"};

struct times {
    double *ms;
    size_t n, room;
};

static void keep(struct times *t, double began)
{
    if (t->n == t->room) {
        t->room = t->room ? 2 * t->room : 4096;
        t->ms = reallocarray(t->ms, t->room, sizeof(*t->ms));
        if (!t->ms)
            abort();
    }
    t->ms[t->n++] = (now_s() - began) * 1e3;
}

static void turn(const struct latency *l, struct times t[KINDS], unsigned n)
{
    char made[512], asked[512], block[4096] = "varve";
    struct statx st;
    double began;
    int fd;

    path_of(made, "%s/probe/f%u", l->dir, n % KEPT);
    path_of(asked, "%s/probe/asked", l->dir);
    (void)unlink(made);
    began = now_s();
    fd = open(made, O_WRONLY | O_CREAT | O_EXCL, 0644);
    keep(&t[CREATE], began);
    if (fd < 0)
        fail("create", made);
    began = now_s();
    if (statx(AT_FDCWD, asked, AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st) < 0)
        fail("statx", asked);
    keep(&t[STAT], began);
    block[8] = (char)n;
    if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block))
        fail("write", made);
    began = now_s();
    if (fsync(fd) < 0)
        fail("fsync", made);
    keep(&t[FSYNC], began);
    close(fd);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The value that a share of them does not exceed. */
static double share(const struct times *t, double of)
{
    size_t at = (size_t)(of * (double)t->n);

    return t->n ? t->ms[at < t->n ? at : t->n - 1] : 0;
}

/* bound: in ms, of p99.9; 0: none. */
static bool say(const char *scene, enum kind k, struct times *t, double bound)
{
    bool red = bound > 0 && share(t, 0.999) > bound;

    printf("%-12s %-6s %7zu  p50 %8.3f  p99 %8.3f  p99.9 %8.3f  longest %8.3f ms%s\n", scene, names[k], t->n,
           share(t, 0.5), share(t, 0.99), share(t, 0.999), share(t, 1), red ? "  FAILED" : "");
    free(t->ms);
    return red;
}

/* --- the disk itself ------------------------------------------------------------------------------------------------ */

struct disk {
    int fd;
    atomic_bool ends;
    struct times *t;
};

static void disk_open(struct disk *d, const char *path)
{
    static const char zeros[DISK_BYTES];

    d->fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (d->fd < 0 || pwrite(d->fd, zeros, sizeof(zeros), 0) != (ssize_t)sizeof(zeros) || fsync(d->fd) < 0)
        fail("write", path);
}

static void *disk_probe(void *arg)
{
    char block[4096] = "disk";
    struct disk *d = arg;

    for (unsigned n = 0; !d->ends; n++) {
        double began;

        if (pwrite(d->fd, block, sizeof(block), n % (DISK_BYTES / sizeof(block)) * sizeof(block)) < 0)
            fail("write", "below");
        began = now_s();
        if (fdatasync(d->fd) < 0)
            fail("sync", "below");
        keep(d->t, began);
        usleep(DISK_PAUSE_US);
    }
    close(d->fd);
    return NULL;
}

unsigned probe_scene(struct latency *l, const char *scene)
{
    struct times t[KINDS] = {{0}};
    double began, bound[KINDS] = {l->bound_ms, l->bound_ms, l->bound_ms};
    struct disk d = {.fd = -1, .t = &t[DISK]};
    pthread_t disk;
    unsigned red = 0;

    disk_open(&d, l->below);
    if (pthread_create(&disk, NULL, disk_probe, &d) != 0)
        abort();
    began = now_s();
    for (unsigned n = 0; now_s() - began < l->seconds; n++) {
        turn(l, t, n);
        usleep(PAUSE_US);
    }
    d.ends = true;
    pthread_join(disk, NULL);
    for (int k = 0; k < KINDS; k++)
        qsort(t[k].ms, t[k].n, sizeof(*t[k].ms), by_size);
    if (l->bound_ms > 0 && share(&t[DISK], 0.999) * DISK_GRACE > l->bound_ms)
        bound[FSYNC] = share(&t[DISK], 0.999) * DISK_GRACE;
    for (int k = 0; k < KINDS; k++)
        red += say(scene, (enum kind)k, &t[k], bound[k]);
    return red;
}
