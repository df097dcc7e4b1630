#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/soak/soak.h"

#define TREES(k) (24u / (k)->shrunk)
#define TREE_FILES 20u
#define TREE_FILE_MAX (20u << 10)
#define OVER_UNITS(k) (3072u / (k)->shrunk) /* 12 MiB */
#define LOG_UNITS(k) (256u / (k)->shrunk)   /* 1 MiB: then the log is turned */
#define MAP_UNITS(k) (512u / (k)->shrunk)
#define PACE_S 0.004

/* --- one step, whole, of a tree that is not rolled back meanwhile -------------------------------------------------------- */

static void step_begin(struct soak *k)
{
    pthread_rwlock_rdlock(&k->world);
}

static void step_end(struct soak *k, unsigned kind, double rest_s)
{
    pthread_rwlock_unlock(&k->world);
    atomic_fetch_add(&k->steps[kind], 1);
    pause_s(rest_s);
}

static bool write_units(int fd, uint64_t at, unsigned n, uint64_t seq)
{
    static _Thread_local uint64_t buf[16 * UNIT / 8];

    for (unsigned i = 0; i < n; i++)
        unit_fill(buf + (size_t)i * (UNIT / 8), UNIT, seq, at + i);
    return pwrite(fd, buf, (size_t)n * UNIT, (off_t)(at * UNIT)) == (ssize_t)((size_t)n * UNIT);
}

/* --- trees: made, renamed into the place of another one, which is removed ---------------------------------------------------- */

static bool file_make(const char *path, size_t len, uint64_t seq)
{
    uint64_t buf[UNIT / 8];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    bool ok = fd >= 0;

    for (size_t at = 0; ok && at * UNIT < len; at++) {
        size_t n = MIN_OF(len - at * UNIT, (size_t)UNIT);
        unit_fill(buf, UNIT, seq, at);
        ok = write(fd, buf, n) == (ssize_t)n;
    }
    return fd >= 0 && close(fd) == 0 && ok;
}

static bool file_right(const char *path)
{
    uint64_t buf[UNIT / 8];
    int fd = open(path, O_RDONLY);
    bool ok = fd >= 0;
    ssize_t n = 0;

    for (uint64_t at = 0; ok && (n = read(fd, buf, UNIT)) > 0; at++)
        ok = unit_is(buf, (size_t)n, at);
    if (fd >= 0)
        close(fd);
    return ok && n == 0;
}

static bool tree_make(const char *path, uint64_t *seed)
{
    char name[512];
    bool ok = mkdir(path, 0755) == 0;

    for (unsigned d = 0; d < 3 && ok; d++) {
        path_in(name, "%s/d%u", path, d);
        ok = mkdir(name, 0755) == 0;
    }
    for (unsigned f = 0; f < TREE_FILES && ok; f++) {
        path_in(name, "%s/d%u/f%u", path, f % 3, f);
        /* the same sizes in every tree, so that all are the same to the store */
        ok = file_make(name, f * TREE_FILE_MAX / TREE_FILES, test_rand(seed));
    }
    return ok;
}

static int remove_all(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    char name[512];
    int r = 0;

    if (!d)
        return errno == ENOENT ? 0 : errno == ENOTDIR ? unlink(path) : -1;
    while (r == 0 && (e = readdir(d))) {
        if (e->d_name[0] == '.')
            continue;
        path_in(name, "%s/%s", path, e->d_name);
        r = e->d_type == DT_DIR ? remove_all(name) : unlink(name);
    }
    closedir(d);
    return r == 0 ? rmdir(path) : r;
}

unsigned tree_read(struct soak *k, const char *path)
{
    char name[512];
    unsigned n = 0;

    for (unsigned f = 0; f < TREE_FILES; f++) {
        path_in(name, "%s/d%u/f%u", path, f % 3, f);
        if (file_right(name))
            n++;
        else
            fault(k, "%s is not what was written", name);
    }
    return n;
}

static void tree_turn(struct soak *k, uint64_t *seed)
{
    char fresh[512], old[512], place[512];

    path_in(fresh, "%s/trees/.fresh", k->mnt);
    path_in(old, "%s/trees/.old", k->mnt);
    path_in(place, "%s/trees/t%u", k->mnt, (unsigned)(test_rand(seed) % TREES(k)));
    if (remove_all(fresh) < 0 || remove_all(old) < 0) /* of a step that was rolled back */
        fault(k, "removing %s, %s: errno %d", fresh, old, errno);
    if (!tree_make(fresh, seed))
        fault(k, "making %s: errno %d", fresh, errno);
    else if ((rename(place, old) < 0 && errno != ENOENT) || rename(fresh, place) < 0)
        fault(k, "renaming %s: errno %d", place, errno);
    else if (remove_all(old) < 0)
        fault(k, "removing %s: errno %d", old, errno);
}

void *load_trees(void *arg)
{
    struct soak *k = arg;
    uint64_t seed = 11;

    while (!soak_ends(k)) {
        step_begin(k);
        tree_turn(k, &seed);
        step_end(k, 0, 20 * PACE_S);
    }
    return NULL;
}

/* --- one large file, written over at random ----------------------------------------------------------------------------------- */

/* A page that is read while it is copied to may be half of each, as on any filesystem. */
static pthread_mutex_t large_lock = PTHREAD_MUTEX_INITIALIZER;

void *load_overwrite(void *arg)
{
    struct soak *k = arg;
    uint64_t seed = 22;
    char path[512];

    path_in(path, "%s/large", k->mnt);
    while (!soak_ends(k)) {
        step_begin(k);
        int fd = open(path, O_RDWR);
        for (unsigned i = 0; i < 8 && fd >= 0; i++) {
            unsigned n = 1 + (unsigned)(test_rand(&seed) % 16);
            pthread_mutex_lock(&large_lock);
            if (!write_units(fd, test_rand(&seed) % (OVER_UNITS(k) - n), n, test_rand(&seed)))
                fault(k, "overwriting: errno %d", errno);
            pthread_mutex_unlock(&large_lock);
        }
        if (fd < 0 || fsync(fd) < 0 || close(fd) < 0)
            fault(k, "overwriting: errno %d", errno);
        step_end(k, 1, 8 * PACE_S);
    }
    return NULL;
}

/* --- a log: appended and synced, turned when it is long ------------------------------------------------------------------------- */

static void append_step(struct soak *k, uint64_t *seed)
{
    char path[512], before[512];
    struct stat st;
    uint64_t at;
    int fd;

    path_in(path, "%s/log", k->mnt);
    path_in(before, "%s/log.1", k->mnt);
    fd = open(path, O_WRONLY | O_CREAT, 0644);
    if (fd < 0 || fstat(fd, &st) < 0) {
        fault(k, "appending: errno %d", errno);
        return;
    }
    at = (uint64_t)st.st_size / UNIT;
    if (!write_units(fd, at, 1, test_rand(seed)) || fsync(fd) < 0)
        fault(k, "appending: errno %d", errno);
    close(fd);
    if (at + 1 >= LOG_UNITS(k) && rename(path, before) < 0)
        fault(k, "turning the log: errno %d", errno);
}

void *load_append(void *arg)
{
    struct soak *k = arg;
    uint64_t seed = 33;

    while (!soak_ends(k)) {
        step_begin(k);
        append_step(k, &seed);
        step_end(k, 2, PACE_S);
    }
    return NULL;
}

/* --- stores through a mapping ----------------------------------------------------------------------------------------------------- */

static void mmap_step(struct soak *k, uint64_t *seed)
{
    size_t len = (size_t)MAP_UNITS(k) * UNIT;
    char path[512];
    uint64_t *p;
    int fd;

    path_in(path, "%s/mapped", k->mnt);
    fd = open(path, O_RDWR);
    p = fd < 0 ? MAP_FAILED : mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        fault(k, "mapping: errno %d", errno);
    } else {
        for (unsigned i = 0; i < 16; i++) {
            uint64_t at = test_rand(seed) % MAP_UNITS(k);
            if (!unit_is(p + at * (UNIT / 8), UNIT, at))
                fault(k, "%s: unit %llu is not what was stored", path, (unsigned long long)at);
            unit_fill(p + at * (UNIT / 8), UNIT, test_rand(seed), at);
        }
        if (msync(p, len, MS_SYNC) < 0)
            fault(k, "msync: errno %d", errno);
        munmap(p, len);
    }
    if (fd >= 0)
        close(fd);
}

void *load_mmap(void *arg)
{
    struct soak *k = arg;
    uint64_t seed = 44;

    while (!soak_ends(k)) {
        step_begin(k);
        mmap_step(k, &seed);
        step_end(k, 3, 12 * PACE_S);
    }
    return NULL;
}

/* --- reading, the live tree and views ------------------------------------------------------------------------------------------------ */

static void large_read(struct soak *k, const char *top, uint64_t *seed)
{
    uint64_t buf[UNIT / 8];
    char path[512];
    int fd;

    path_in(path, "%s/large", top);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        fault(k, "%s: errno %d", path, errno);
    for (unsigned i = 0; i < 32 && fd >= 0; i++) {
        uint64_t at = test_rand(seed) % OVER_UNITS(k);
        pthread_mutex_lock(&large_lock);
        if (pread(fd, buf, UNIT, (off_t)(at * UNIT)) != UNIT || !unit_is(buf, UNIT, at))
            fault(k, "%s: unit %llu is not what was written", path, (unsigned long long)at);
        pthread_mutex_unlock(&large_lock);
    }
    if (fd >= 0)
        close(fd);
}

/* A tree of the live ones may be in the middle of its turn; each that a view shows stands still. */
static void view_read(struct soak *k, uint64_t *seed)
{
    char name[256], top[512], tree[512];
    struct stat st;

    if (!snapshot_any(k, seed, name))
        return;
    path_in(top, "%s/.snapshots/%s", k->mnt, name);
    large_read(k, top, seed);
    path_in(tree, "%s/trees/t%u", top, (unsigned)(test_rand(seed) % TREES(k)));
    if (test_rand(seed) % 2) /* the same by another door */
        path_in(tree, "%s/trees/.snapshots/%s/t%u", k->mnt, name, (unsigned)(test_rand(seed) % TREES(k)));
    if (stat(tree, &st) == 0)
        tree_read(k, tree);
    else if (errno != ENOENT)
        fault(k, "%s: errno %d", tree, errno);
}

void *load_read(void *arg)
{
    struct soak *k = arg;
    uint64_t seed = 55;

    while (!soak_ends(k)) {
        step_begin(k);
        large_read(k, k->mnt, &seed);
        pthread_rwlock_rdlock(&k->shelf);
        view_read(k, &seed);
        pthread_rwlock_unlock(&k->shelf);
        step_end(k, 4, 10 * PACE_S);
    }
    return NULL;
}

/* --- what there is before the clock starts -------------------------------------------------------------------------------------------- */

static void lay_file(struct soak *k, const char *name, unsigned units)
{
    char path[512];
    int fd;

    path_in(path, "%s/%s", k->mnt, name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    for (unsigned at = 0; at < units; at += 16)
        if (fd < 0 || !write_units(fd, at, 16, at))
            fault(k, "%s: errno %d", path, errno);
    if (fd < 0 || fsync(fd) < 0 || close(fd) < 0)
        fault(k, "%s: errno %d", path, errno);
}

void load_lay(struct soak *k)
{
    uint64_t seed = 1;
    char path[512];

    lay_file(k, "large", OVER_UNITS(k));
    lay_file(k, "mapped", MAP_UNITS(k));
    lay_file(k, "log.1", LOG_UNITS(k));
    lay_file(k, "probed", 1024);
    path_in(path, "%s/trees", k->mnt);
    if (mkdir(path, 0755) < 0)
        fault(k, "%s: errno %d", path, errno);
    path_in(path, "%s/probe", k->mnt);
    if (mkdir(path, 0755) < 0)
        fault(k, "%s: errno %d", path, errno);
    for (unsigned i = 0; i < TREES(k); i++) {
        path_in(path, "%s/trees/t%u", k->mnt, i);
        if (!tree_make(path, &seed))
            fault(k, "%s: errno %d", path, errno);
    }
}
