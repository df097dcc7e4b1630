#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/soak/soak.h"

#define KEPT 8u /* snapshots */
#define KEPT_NAME "before-rollback-"
#define STEADY(k) ((k)->shrunk > 1 ? 40u : 100u) /* snapshots, of which a quarter with a rollback */
#define STEPS_A_SECOND 18.0                      /* of overwriting; a busy machine does fewer */

/* A rollback, and the first snapshot of a clone, wait until all that is unsynced is on the disk (at most 128 MiB), and begin after
 * a checkpoint or a flattening that is under way. */
static struct {
    const char *what;
    double bound_s, most_s, sum_s;
    unsigned n;
} waits[] = {{"taking a snapshot", 1, 0, 0, 0},
             {"deleting a snapshot", 1, 0, 0, 0},
             {"rollback", 3, 0, 0, 0},
             {"clone", 3, 0, 0, 0}};
enum { WAIT_TAKE, WAIT_DELETE, WAIT_ROLLBACK, WAIT_CLONE };

static void waited(unsigned what, double began_s)
{
    double s = now_s() - began_s;

    waits[what].most_s = MAX_OF(waits[what].most_s, s);
    waits[what].sum_s += s;
    waits[what].n++;
}

unsigned remember_verdict(void)
{
    unsigned bad = 0;

    for (unsigned i = 0; i < ARRAY_LEN(waits); i++) {
        if (waits[i].n == 0)
            continue;
        printf("  %-22s %6u times, mean %6.1f ms, longest %7.1f ms (at most %.0f)%s\n", waits[i].what,
               waits[i].n, waits[i].sum_s * 1e3 / waits[i].n, waits[i].most_s * 1e3, waits[i].bound_s * 1e3,
               waits[i].most_s <= waits[i].bound_s ? "" : " FAILED");
        bad += waits[i].most_s > waits[i].bound_s;
    }
    return bad;
}

/* --- names ---------------------------------------------------------------------------------------------------------------- */

static DIR *snapshots_open(const struct soak *k)
{
    char path[512];

    path_in(path, "%s/.snapshots", k->mnt);
    return opendir(path);
}

bool snapshot_any(const struct soak *k, uint64_t *seed, char out[256])
{
    DIR *d = snapshots_open(k);
    const struct dirent *e;
    uint64_t seen = 0;

    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.' && test_rand(seed) % ++seen == 0)
            snprintf(out, 256, "%s", e->d_name);
    if (d)
        closedir(d);
    return seen > 0;
}

static bool delete_one(struct soak *k, const char *name)
{
    double began = now_s();
    char path[512];
    bool ok;

    path_in(path, "%s/.snapshots/%s", k->mnt, name);
    pthread_rwlock_wrlock(&k->shelf);
    ok = rmdir(path) == 0 || errno == ENOENT;
    if (!ok)
        fault(k, "deleting %s: errno %d", path, errno);
    pthread_rwlock_unlock(&k->shelf);
    waited(WAIT_DELETE, began);
    return ok;
}

static void delete_kept(struct soak *k)
{
    char names[16][256];
    DIR *d = snapshots_open(k);
    const struct dirent *e;
    unsigned n = 0;

    while (d && n < ARRAY_LEN(names) && (e = readdir(d)))
        if (strncmp(e->d_name, KEPT_NAME, strlen(KEPT_NAME)) == 0)
            snprintf(names[n++], sizeof(names[0]), "%s", e->d_name);
    if (d)
        closedir(d);
    for (unsigned i = 0; i < n; i++)
        delete_one(k, names[i]);
}

/* --- commands --------------------------------------------------------------------------------------------------------------- */

static bool command(struct soak *k, const char *file, const char *line)
{
    char path[512];
    size_t len = strlen(line);
    int fd;
    bool ok;

    path_in(path, "%s/.snapshots/.control/%s", k->mnt, file);
    fd = open(path, O_WRONLY);
    ok = fd >= 0 && write(fd, line, len) == (ssize_t)len;
    if (!ok)
        fault(k, "%s: %s: errno %d", file, line, errno);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool run(struct soak *k, const char *const *argv)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0)
            dup2(null, 1);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    fault(k, "%s %s: status %x", argv[0], argv[1], (unsigned)status);
    return false;
}

static void take(struct soak *k, unsigned n)
{
    double began = now_s();
    char path[512];

    path_in(path, "%s/.snapshots/s-%u", k->mnt, n);
    if (mkdir(path, 0755) < 0)
        fault(k, "%s: errno %d", path, errno);
    waited(WAIT_TAKE, began);
}

static void take_back(struct soak *k, unsigned n)
{
    char line[64];
    double began;

    snprintf(line, sizeof(line), "rollback s-%u\n", n);
    pthread_rwlock_wrlock(&k->world);
    began = now_s();
    command(k, "rollback", line);
    waited(WAIT_ROLLBACK, began);
    pthread_rwlock_unlock(&k->world);
}

/* A clone of the newest snapshot: mounted, read, written to, and deleted for good. */
static void clone_use(struct soak *k, unsigned n)
{
    char line[64], volume[512], dir[512], path[512];
    double began = now_s();
    struct stat st;
    int fd;

    snprintf(line, sizeof(line), "clone c-%u snap=s-%u\n", n, n);
    path_in(volume, "%s/c-%u", k->store, n);
    path_in(dir, "%s.clone", k->mnt);
    if (!command(k, "snapshots", line))
        return;
    waited(WAIT_CLONE, began);
    if (run(k, (const char *[]){k->varve, "mount", volume, dir, NULL})) {
        path_in(path, "%s/trees/t1", dir);
        if (stat(path, &st) == 0)
            tree_read(k, path);
        path_in(path, "%s/large", dir);
        fd = open(path, O_WRONLY);
        if (fd < 0 || pwrite(fd, path, sizeof(path), 8192) < 0 || fsync(fd) < 0)
            fault(k, "%s: errno %d", path, errno);
        if (fd >= 0)
            close(fd);
        run(k, (const char *[]){k->varve, "umount", dir, NULL});
    }
    run(k, (const char *[]){k->varve, "delete", "--now", volume, NULL});
}

static void difference_read(struct soak *k, unsigned n)
{
    char path[512], buf[4096];
    ssize_t got = 0;
    int fd;

    path_in(path, "%s/.snapshots/.control/changes/s-%u..s-%u", k->mnt, n - 1, n);
    fd = open(path, O_RDONLY);
    while (fd >= 0 && (got = read(fd, buf, sizeof(buf))) > 0)
        continue;
    if (fd < 0 || got < 0)
        fault(k, "%s: errno %d", path, errno);
    if (fd >= 0)
        close(fd);
}

/* So much is written between two snapshots, whatever the machine does beside it: else what they hold would say how busy it was. */
static void until_tick(const struct soak *k, double began, unsigned long long steps)
{
    unsigned long long want = steps + (unsigned long long)(k->tick_s * STEPS_A_SECOND);

    while (!soak_ends(k) && (now_s() - began < k->tick_s || atomic_load(&k->steps[1]) < want))
        pause_s(0.01);
}

/* Until then more is kept from one snapshot to the next: the oldest is not of the steady time, chains of rollbacks have not been
 * flattened, some of the large file has never been written over. As long again is measured at least. */
static void is_steady(struct soak *k)
{
    double s = now_s() - k->began_s;

    atomic_store(&k->seconds, MAX_OF(k->asked_s, 2 * s));
    atomic_store(&k->steady_s, s);
}

void *remember(void *arg)
{
    struct soak *k = arg;
    char name[64];

    for (unsigned n = 1; !soak_ends(k); n++) {
        unsigned long long steps = atomic_load(&k->steps[1]);
        double began = now_s();

        delete_kept(k);
        take(k, n);
        snprintf(name, sizeof(name), "s-%u", n - KEPT);
        if (n > KEPT)
            delete_one(k, name);
        switch (n % 4) {
        case 0: difference_read(k, n); break;
        case 2: take_back(k, n); break;
        case 3: clone_use(k, n); break;
        default: break;
        }
        atomic_fetch_add(&k->steps[5], 1);
        if (n == STEADY(k))
            is_steady(k);
        until_tick(k, began, steps);
    }
    return NULL;
}
