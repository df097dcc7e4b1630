#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench-latency/latency.h"

#define DIRS 64u
#define MANY 20000u /* files whose deletion is worked off behind */
#define SNAPS 1000u
#define STREAM_BYTES (1ull << 30)
#define MIB (1u << 20)

static void make_file(const char *path, const void *p, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    if (fd < 0 || write(fd, p, len) != (ssize_t)len)
        fail("write", path);
    close(fd);
}

static void make_dir(const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        fail("mkdir", path);
}

static void lay_dirs(const struct latency *l, const char *name)
{
    char path[512];

    path_of(path, "%s/%s", l->dir, name);
    make_dir(path);
    for (unsigned i = 0; i < DIRS; i++) {
        path_of(path, "%s/%s/%u", l->dir, name, i);
        make_dir(path);
    }
}

static void lay_files(const struct latency *l, const char *name, unsigned n, size_t size)
{
    static char block[2 * MIB];
    char path[512];

    lay_dirs(l, name);
    for (unsigned i = 0; i < n; i++) {
        path_of(path, "%s/%s/%u/f%u", l->dir, name, i % DIRS, i);
        make_file(path, block, size);
    }
}

static int drop_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void drop_tree(const struct latency *l, const char *name)
{
    char path[512];

    path_of(path, "%s/%s", l->dir, name);
    if (nftw(path, drop_one, 32, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
        fail("remove", path);
}

static void snapshot(const struct latency *l, const char *name, bool remove_it)
{
    char path[512];

    path_of(path, "%s/.snapshots/%s", l->dir, name);
    if ((remove_it ? rmdir(path) : mkdir(path, 0755)) < 0)
        fail(remove_it ? "rmdir" : "mkdir", path);
}

/* --- loads ---------------------------------------------------------------------------------------------------------- */

/* Small files without end: the tables are written again and again. */
static void *load_names(void *arg)
{
    struct latency *l = arg;
    char path[512];

    lay_dirs(l, "names");
    for (unsigned i = 0; !l->ends; i++) {
        path_of(path, "%s/names/%u/f%u", l->dir, i % DIRS, i % 200000u);
        make_file(path, path, sizeof(path));
        l->load_steps++;
    }
    return NULL;
}

static void prepare_reclaim(struct latency *l)
{
    lay_files(l, "many", MANY, 6000);
    if (!l->varve)
        return;
    snapshot(l, "of-many", false);
    lay_files(l, "many", MANY, 7000);
}

/* What a snapshot and the live tree held goes, and is made again. */
static void *load_reclaim(void *arg)
{
    struct latency *l = arg;

    while (!l->ends) {
        drop_tree(l, "many");
        if (l->varve)
            snapshot(l, "of-many", true);
        l->load_steps++;
        if (!l->ends)
            prepare_reclaim(l);
    }
    return NULL;
}

/* One a second, while blocks of files are written over. */
static void *load_storm(void *arg)
{
    struct latency *l = arg;
    char name[64], path[512];
    double next = now_s();

    lay_files(l, "storm", DIRS, 100000);
    for (unsigned i = 0, taken = 0; !l->ends; i++) {
        path_of(path, "%s/storm/%u/f%u", l->dir, i % DIRS, i % DIRS);
        make_file(path, path, sizeof(path));
        l->load_steps++;
        if (now_s() < next)
            continue;
        snprintf(name, sizeof(name), "storm%u", taken++);
        snapshot(l, name, false);
        next += 1;
    }
    return NULL;
}

static void prepare_thousand(struct latency *l)
{
    char name[64], path[512];

    lay_dirs(l, "old");
    for (unsigned i = 0; i < SNAPS; i++) {
        path_of(path, "%s/old/%u/f%u", l->dir, i % DIRS, i);
        make_file(path, path, sizeof(path));
        snprintf(name, sizeof(name), "old%u", i);
        snapshot(l, name, false);
    }
}

/* As fast as it goes, without a sync: as much is unsynced as may be. */
static void *load_stream(void *arg)
{
    static char chunk[MIB];
    struct latency *l = arg;
    char path[512];
    off_t at = 0;
    int fd;

    path_of(path, "%s/stream", l->dir);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0)
        fail("open", path);
    memset(chunk, 's', sizeof(chunk));
    while (!l->ends) {
        if (pwrite(fd, chunk, sizeof(chunk), at) != (ssize_t)sizeof(chunk))
            fail("write", path);
        at = (at + (off_t)sizeof(chunk)) % (off_t)STREAM_BYTES;
        l->load_steps++;
    }
    close(fd);
    return NULL;
}

const struct scene scenes[] = {
    {"quiet", "nothing else", false, NULL, NULL},
    {"checkpoints", "another makes small files", false, NULL, load_names},
    {"reclaim", "20,000 files and a snapshot of them go, again and again", false, prepare_reclaim,
     load_reclaim},
    {"storm", "a snapshot a second while files are written over", true, NULL, load_storm},
    {"thousand", "1,000 snapshots are alive, another makes small files", true, prepare_thousand, load_names},
    {"full", "another writes as fast as it goes, never syncs", false, NULL, load_stream},
};
const size_t nscenes = sizeof(scenes) / sizeof(scenes[0]);
