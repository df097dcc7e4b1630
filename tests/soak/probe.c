#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/soak/soak.h"

#define PAUSE_S 0.02
#define DIRECT_UNITS 1024u /* of the file "probed" */
#define P999_S 0.5         /* a request in a thousand */

/* The longest waits are for the disk: what is unsynced is bounded (128 MiB), and a checkpoint's commit is of at most the delta's
 * size (32 MiB). On a disk that writes 200 MB/s that is below a second, and nobody waits for both. What a block of a file beside the
 * store waits for the disk in the same hour comes on top: it is nobody's here. */
static const char *const names[PROBE_KINDS] = {"create", "stat", "fsync", "read", "disk"};

struct times {
    uint32_t *us;
    size_t n, room;
};
static struct times times[PROBE_KINDS];

static void keep(struct soak *k, enum probe_kind what, double s)
{
    struct times *t = &times[what];

    if (t->n == t->room) {
        size_t room = t->room ? t->room * 2 : 4096;
        uint32_t *us = reallocarray(t->us, room, sizeof(*us));
        if (!us) {
            fault(k, "no memory for the probe");
            return;
        }
        t->us = us;
        t->room = room;
    }
    t->us[t->n++] = (uint32_t)(s * 1e6);
}

/* Makes a file, syncs it, looks at it, and reads a block of another one past the kernel's cache. */
static void probe_once(struct soak *k, unsigned n, int direct, void *block, uint64_t *seed)
{
    char path[512], dir[512];
    struct stat st;
    double began;
    int fd;

    path_in(path, "%s/probe/p%u", k->mnt, n % 64);
    path_in(dir, "%s/probe", k->mnt);
    if (unlink(path) < 0 && errno != ENOENT)
        fault(k, "%s: errno %d", path, errno);
    began = now_s();
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    keep(k, PROBE_CREATE, now_s() - began);
    began = now_s();
    if (stat(dir, &st) < 0) /* its times have just changed: the daemon is asked */
        fault(k, "%s: errno %d", dir, errno);
    keep(k, PROBE_STAT, now_s() - began);
    if (fd < 0 || write(fd, path, sizeof(path)) < 0)
        fault(k, "%s: errno %d", path, errno);
    began = now_s();
    if (fd >= 0 && fsync(fd) < 0)
        fault(k, "fsync of %s: errno %d", path, errno);
    keep(k, PROBE_FSYNC, now_s() - began);
    if (fd >= 0)
        close(fd);
    began = now_s();
    if (pread(direct, block, UNIT, (off_t)(test_rand(seed) % DIRECT_UNITS * UNIT)) != UNIT)
        fault(k, "reading directly: errno %d", errno);
    keep(k, PROBE_READ, now_s() - began);
}

void *probe(void *arg)
{
    struct soak *k = arg;
    void *block = aligned_alloc(UNIT, UNIT);
    uint64_t seed = 66;
    char path[512];

    path_in(path, "%s/probed", k->mnt);
    for (unsigned n = 0; block && !soak_ends(k); n++) {
        pthread_rwlock_rdlock(&k->world);
        int direct = open(path, O_RDONLY | O_DIRECT);
        if (direct < 0)
            fault(k, "%s: errno %d", path, errno);
        else
            probe_once(k, n, direct, block, &seed);
        if (direct >= 0)
            close(direct);
        pthread_rwlock_unlock(&k->world);
        atomic_fetch_add(&k->steps[6], 1);
        pause_s(PAUSE_S);
    }
    free(block);
    return NULL;
}

void *probe_disk(void *arg)
{
    char block[UNIT] = "disk";
    struct soak *k = arg;
    char path[512];
    int fd;

    path_in(path, "%s.disk", k->store);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || unlink(path) < 0)
        fault(k, "%s: errno %d", path, errno);
    while (fd >= 0 && !soak_ends(k)) {
        double began = now_s();

        if (pwrite(fd, block, sizeof(block), 0) != (ssize_t)sizeof(block) || fdatasync(fd) < 0)
            fault(k, "%s: errno %d", path, errno);
        keep(k, PROBE_DISK, now_s() - began);
        atomic_fetch_add(&k->steps[7], 1);
        pause_s(PAUSE_S);
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static double part(const struct times *t, double p)
{
    return t->us[MIN_OF((size_t)((double)t->n * p), t->n - 1)] / 1e3;
}

/* most_s, p999_s: 0: nothing is required. */
static bool is_bad(struct times *t, const char *name, double most_s, double p999_s)
{
    bool ok;

    if (t->n == 0) {
        printf("  %-8s never asked FAILED\n", name);
        return true;
    }
    ok = most_s == 0 || (part(t, 1) <= most_s * 1e3 && part(t, 0.999) <= p999_s * 1e3);
    printf("  %-8s %8zu times: p50 %7.3f  p99 %8.3f  p99.9 %8.3f", name, t->n, part(t, 0.5), part(t, 0.99),
           part(t, 0.999));
    if (most_s > 0)
        printf(" (at most %.0f)  longest %8.3f ms (at most %.0f)%s\n", p999_s * 1e3, part(t, 1), most_s * 1e3,
               ok ? "" : " FAILED");
    else
        printf("  longest %8.3f ms\n", part(t, 1));
    return !ok;
}

unsigned probe_verdict(struct soak *k, double most_s)
{
    const struct times *disk = &times[PROBE_DISK];
    double most = most_s, p999 = P999_S;
    unsigned bad = 0;

    (void)k;
    for (unsigned i = 0; i < PROBE_KINDS; i++)
        if (times[i].n > 0)
            qsort(times[i].us, times[i].n, sizeof(*times[i].us), by_value);
    if (disk->n > 0) {
        most += part(disk, 1) / 1e3;
        p999 += part(disk, 0.999) / 1e3;
    }
    for (unsigned i = 0; i < PROBE_KINDS; i++) {
        bad += is_bad(&times[i], names[i], i == PROBE_DISK ? 0 : most, p999);
        free(times[i].us);
    }
    return bad;
}
