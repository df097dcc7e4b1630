/* Rows about what a snapshot costs those who go on working: varve is compared with itself, or with a time. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PER_DIR 1000ul
#define CHANGES 1000ul
#define SNAPSHOTS 1000ul
#define SMALL_BYTES 2000u

/* The part of a place's name that says which of them it is: varve@with. */
static bool place_is(const struct work *w, const char *kind)
{
    const char *at = strchr(w->place, '@');

    return at && strcmp(at + 1, kind) == 0;
}

static int snapshot(struct work *w, const char *name)
{
    char path[PATH_SIZE + NAME_SIZE];

    snprintf(path, sizeof(path), "%s/.snapshots/%s", w->mnt, name);
    return mkdir(path, 0755) < 0 ? fail(w, path) : 0;
}

static int snapshot_of_round(struct work *w)
{
    char name[NAME_SIZE];

    if (!place_is(w, "with"))
        return 0;
    snprintf(name, sizeof(name), "%s-%u", w->row->id, w->round);
    return snapshot(w, name);
}

/* --- the first overwrite --- */

static int round_large(struct work *w, struct meter *m)
{
    if (snapshot_of_round(w) < 0)
        return -1;
    return round_rand_write(w, m);
}

/* files of the row, a thousand in a directory */
static unsigned long files_of(const struct work *w)
{
    return scaled(w, w->row->arg, w->row->arg / 100);
}

static void path_of(char *ret, size_t size, unsigned long i)
{
    snprintf(ret, size, "d%lu/f%lu", i / PER_DIR, i);
}

static int write_small(struct work *w, unsigned long i, int flags, char mark)
{
    char block[SMALL_BYTES] = "varve", path[NAME_SIZE];
    int fd;

    path_of(path, sizeof(path), i);
    block[100] = mark;
    fd = open(path, O_WRONLY | flags, 0644);
    if (fd < 0 || pwrite(fd, block, sizeof(block), 0) != (ssize_t)sizeof(block) || close(fd) < 0)
        return fail(w, path);
    return 0;
}

static int small_prepare(struct work *w)
{
    char dir[NAME_SIZE];

    if (w->ready)
        return 0;
    for (unsigned long i = 0; i < files_of(w); i++) {
        snprintf(dir, sizeof(dir), "d%lu", i / PER_DIR);
        if (i % PER_DIR == 0 && mkdir(dir, 0755) < 0)
            return fail(w, dir);
        if (write_small(w, i, O_CREAT, 0) < 0)
            return -1;
    }
    return 0;
}

static int round_small(struct work *w, struct meter *m)
{
    if (snapshot_of_round(w) < 0)
        return -1;
    meter_start(m);
    for (unsigned long i = 0; i < files_of(w); i++)
        if (write_small(w, i, 0, (char)(w->round + 1)) < 0)
            return -1;
    meter_stop(m, files_of(w));
    return 0;
}

/* --- a volume of a million files --- */

/* One command of varve's, timed as a user waits for it. m NULL: not timed. */
static int timed(struct work *w, struct meter *m, const char *verb, const char *a, const char *b,
                 const char *c)
{
    const char *argv[] = {getenv("VARVE"), verb, a, b, c, NULL};
    char line[160] = "";
    uint64_t t;
    int r;

    if (!argv[0] || chdir("/") < 0)
        return fail(w, "VARVE");
    t = now_ns();
    r = run_program(argv, line, sizeof(line));
    if (m)
        meter_add(m, (double)(now_ns() - t));
    if (r == 0)
        return 0;
    snprintf(w->why, sizeof(w->why), "varve %s: exit %d", verb, r);
    return -1;
}

static void volume_of(const struct work *w, const char *name, char *ret, size_t size)
{
    snprintf(ret, size, "%s/disk/%s.store/%s", settings.run, w->place, name);
}

static int round_clone(struct work *w, struct meter *m)
{
    char from[PATH_SIZE], clone[PATH_SIZE], name[NAME_SIZE];

    volume_of(w, "main", from, sizeof(from));
    for (unsigned i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "c%u-%u", w->round, i);
        volume_of(w, name, clone, sizeof(clone));
        if (timed(w, m, "clone", from, name, NULL) < 0 || timed(w, NULL, "delete", clone, NULL, NULL) < 0)
            return -1;
    }
    return 0;
}

static int diff_prepare(struct work *w)
{
    unsigned long n = files_of(w), step = n / MIN_OF(n, CHANGES);

    if (small_prepare(w) < 0 || snapshot(w, "diff-a") < 0)
        return -1;
    for (unsigned long i = 0; i < n; i += step)
        if (write_small(w, i, 0, 'x') < 0)
            return -1;
    return snapshot(w, "diff-b");
}

static int round_diff(struct work *w, struct meter *m)
{
    for (unsigned i = 0; i < 5; i++)
        if (timed(w, m, "diff", w->mnt, "diff-a", "diff-b") < 0)
            return -1;
    return 0;
}

static int rollback_prepare(struct work *w)
{
    if (small_prepare(w) < 0)
        return -1;
    return snapshot(w, "back");
}

static int round_rollback(struct work *w, struct meter *m)
{
    return timed(w, m, "rollback", w->mnt, "back", NULL);
}

/* --- a thousand snapshots alive --- */

static int many_prepare(struct work *w)
{
    unsigned long n = scaled(w, SNAPSHOTS, 50);
    char name[NAME_SIZE];
    int fd;

    if (w->ready)
        return 0;
    if (list_prepare(w) < 0 || make_file(w, "data", 64 * MIB) < 0)
        return -1;
    if (!place_is(w, "1000"))
        return 0;
    fd = open("churn", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    for (unsigned long i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "many-%lu", i);
        if (pwrite(fd, name, sizeof(name), (off_t)(i % 16 * 4096)) < 0 || snapshot(w, name) < 0)
            break;
    }
    close(fd);
    return w->why[0] ? -1 : 0;
}

#define OVER                                                                                                 \
    {                                                                                                        \
        "varve@without", "varve@with"                                                                        \
    }
#define MILLION                                                                                              \
    {                                                                                                        \
        "varve@million"                                                                                      \
    }
#define MANY                                                                                                 \
    {                                                                                                        \
        "varve@none", "varve@1000"                                                                           \
    }

const struct row rows_snap[] = {
    {"snap-large", "first overwrite after a snapshot: blocks of a large file", KIND_RATE, "1.25", "-",
     data_prepare, round_large, .arg = 128, .places = OVER, .needs_disk = 1},
    {"snap-small", "first overwrite after a snapshot: 100,000 small files", KIND_RATE, "3", "-",
     small_prepare, round_small, .arg = 100000, .places = OVER, .needs_disk = 1},
    {"clone", "clone of 1,000,000 files", KIND_MS, "20", "btrfs snapshot 5 ms / 100,000 files 10 s",
     small_prepare, round_clone, .how = "million", .arg = 1000000, .places = MILLION, .keep = 1},
    {"diff", "diff with 1,000 changes among 1,000,000 files", KIND_MS, "100", "-", diff_prepare, round_diff,
     .how = "million", .arg = 1000000, .places = MILLION, .keep = 1},
    {"rollback", "rollback of 1,000,000 files", KIND_MS, "20", "-", rollback_prepare, round_rollback,
     .how = "million", .arg = 1000000, .places = MILLION, .keep = 1},
    {"many-stat", "1,000 snapshots alive: cold stat", KIND_LATENCY, "1.1", "-", many_prepare, round_cold_stat,
     .how = "many", .arg = 64, .places = MANY, .keep = 1, .drop = 1},
    {"many-read", "1,000 snapshots alive: cold 4 KiB random read", KIND_RATE, "1.1", "-", many_prepare,
     round_rand_read, .how = "many", .arg = 64, .places = MANY, .keep = 1, .drop = 1},
    {"many-write", "1,000 snapshots alive: 4 KiB random overwrite, fsync at the end", KIND_RATE, "1.1", "-",
     many_prepare, round_rand_write, .how = "many", .arg = 64, .places = MANY, .keep = 1, .needs_disk = 1},
    {0},
};
