/* Rows about names and attributes. */
#include "tests/bench/bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define WARM_FILES 100ul
#define BATCH 20u /* quick operations are timed so many at a time: the clock itself takes its time */
#define DEPTH 32u
#define LIST_FILES 1000ul

/* --- warm: what the kernel may answer by itself --- */

typedef int op_fn(struct work *w, unsigned long i);

/* n batches of an operation on the files in turn, after one pass that is not timed. */
static int batches(struct work *w, struct meter *m, op_fn *op, unsigned long n)
{
    for (unsigned long i = 0; i < WARM_FILES; i++)
        if (op(w, i) < 0)
            return fail(w, w->row->id);
    for (unsigned long k = 0; k < n; k++) {
        uint64_t t = now_ns();

        for (unsigned long i = 0; i < BATCH; i++)
            if (op(w, (k * BATCH + i) % WARM_FILES) < 0)
                return fail(w, w->row->id);
        meter_add(m, (double)(now_ns() - t) / BATCH);
    }
    return 0;
}

static const char *numbered(const char *prefix, unsigned long i)
{
    static char name[NAME_SIZE];

    snprintf(name, sizeof(name), "%s%lu", prefix, i);
    return name;
}

static int warm_prepare(struct work *w)
{
    return make_files(w, "f", WARM_FILES, 4096);
}

static int op_stat(struct work *w, unsigned long i)
{
    struct stat st;

    (void)w;
    return stat(numbered("f", i), &st);
}

static int op_absent(struct work *w, unsigned long i)
{
    struct stat st;

    (void)w;
    return stat(numbered("none", i), &st) < 0 && errno == ENOENT ? 0 : -1;
}

static int op_open(struct work *w, unsigned long i)
{
    int fd = open(numbered("f", i), O_RDONLY);

    (void)w;
    return fd < 0 ? -1 : close(fd);
}

static int op_open_read(struct work *w, unsigned long i)
{
    char block[4096];
    int fd = open(numbered("f", i), O_RDONLY);
    bool bad;

    (void)w;
    if (fd < 0)
        return -1;
    bad = read(fd, block, sizeof(block)) != (ssize_t)sizeof(block);
    return close(fd) < 0 || bad ? -1 : 0;
}

static int round_stat(struct work *w, struct meter *m)
{
    return batches(w, m, op_stat, scaled(w, 5000, 500));
}

static int round_absent(struct work *w, struct meter *m)
{
    return batches(w, m, op_absent, scaled(w, 5000, 500));
}

static int round_open(struct work *w, struct meter *m)
{
    return batches(w, m, op_open, scaled(w, 3000, 300));
}

static int round_open_read(struct work *w, struct meter *m)
{
    return batches(w, m, op_open_read, scaled(w, 3000, 300));
}

static const char *deep_path(const char *last)
{
    static char path[DEPTH * 4 + NAME_SIZE];
    size_t n = 0;

    for (unsigned i = 0; i < DEPTH - 1; i++)
        n += (size_t)snprintf(path + n, sizeof(path) - n, "d%u/", i % 10);
    snprintf(path + n, sizeof(path) - n, "%s", last);
    return path;
}

static int deep_prepare(struct work *w)
{
    char path[DEPTH * 4] = "";
    size_t n = 0;
    int fd;

    for (unsigned i = 0; i < DEPTH - 1; i++) {
        n += (size_t)snprintf(path + n, sizeof(path) - n, "%sd%u", i ? "/" : "", i % 10);
        if (mkdir(path, 0755) < 0)
            return fail(w, path);
    }
    fd = open(deep_path("f"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return fail(w, "the deepest file");
    return close(fd);
}

static int op_deep(struct work *w, unsigned long i)
{
    struct stat st;

    (void)w, (void)i;
    return stat(deep_path("f"), &st);
}

static int round_deep(struct work *w, struct meter *m)
{
    return batches(w, m, op_deep, scaled(w, 1000, 100));
}

int list_prepare(struct work *w)
{
    return make_files(w, "f", LIST_FILES, 100);
}

static int round_readdir(struct work *w, struct meter *m)
{
    unsigned long n = scaled(w, 200, 20);

    for (unsigned long k = 0; k < n + 3; k++) { /* three that warm the cache */
        uint64_t t = now_ns();
        unsigned long seen = 0;
        DIR *d = opendir(".");

        while (d && readdir(d))
            seen++;
        if (!d || closedir(d) < 0 || seen < LIST_FILES)
            return fail(w, "readdir");
        if (k >= 3)
            meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

/* ls -l as a user has it: the program. */
static int ls_long(struct work *w, double *ret_ns)
{
    uint64_t t = now_ns();
    pid_t pid = vfork();
    int status;

    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        if (null >= 0)
            dup2(null, STDOUT_FILENO);
        execlp("ls", "ls", "-l", ".", (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        return fail(w, "ls -l");
    *ret_ns = (double)(now_ns() - t);
    return 0;
}

static int round_ls(struct work *w, struct meter *m)
{
    unsigned long n = w->row->drop ? 1 : scaled(w, 40, 5);
    unsigned warm = w->row->drop ? 0 : 3;

    for (unsigned long k = 0; k < n + warm; k++) {
        double ns;

        if (ls_long(w, &ns) < 0)
            return -1;
        if (k >= warm)
            meter_add(m, ns);
    }
    return 0;
}

/* The first look at each name after the caches are gone. */
int round_cold_stat(struct work *w, struct meter *m)
{
    struct stat st;

    for (unsigned long i = 0; i < LIST_FILES; i++) {
        uint64_t t = now_ns();

        if (stat(numbered("f", i), &st) < 0)
            return fail(w, "stat");
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

/* --- changes --- */

/* A directory of the round's own, entered. */
static int fresh(struct work *w)
{
    char dir[PATH_SIZE + 32];

    snprintf(dir, sizeof(dir), "%s/r%u", w->dir, w->round);
    if (mkdir(dir, 0755) < 0 || chdir(dir) < 0)
        return fail(w, dir);
    return 0;
}

static int round_create(struct work *w, struct meter *m)
{
    static const char block[4096] = "varve";
    unsigned long n = scaled(w, 3000, 300);

    if (fresh(w) < 0)
        return -1;
    for (unsigned long i = 0; i < n; i++) {
        const char *name = numbered("c", i);
        uint64_t t = now_ns();
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

        if (fd < 0 || (w->row->arg && write(fd, block, w->row->arg) != (ssize_t)w->row->arg) || close(fd) < 0)
            return fail(w, name);
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

static int round_mkdir(struct work *w, struct meter *m)
{
    unsigned long n = scaled(w, 2000, 200);

    if (fresh(w) < 0)
        return -1;
    for (unsigned long i = 0; i < n; i++) {
        const char *name = numbered("d", i);
        uint64_t t = now_ns();

        if (mkdir(name, 0755) < 0)
            return fail(w, name);
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

static int round_unlink(struct work *w, struct meter *m)
{
    unsigned long n = scaled(w, 2000, 200);

    if (fresh(w) < 0 || make_files(w, "u", n, 4096) < 0)
        return -1;
    settle(w->dir);
    for (unsigned long i = 0; i < n; i++) {
        const char *name = numbered("u", i);
        uint64_t t = now_ns();

        if (unlink(name) < 0)
            return fail(w, name);
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

static int round_rename(struct work *w, struct meter *m)
{
    unsigned long n = scaled(w, 2000, 200);
    char to[NAME_SIZE];

    if (fresh(w) < 0 || make_files(w, "n", n, 0) < 0)
        return -1;
    settle(w->dir);
    for (unsigned long i = 0; i < n; i++) {
        const char *name = numbered("n", i);
        uint64_t t;

        snprintf(to, sizeof(to), "renamed%lu", i);
        t = now_ns();
        if (rename(name, to) < 0)
            return fail(w, name);
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

static int round_chmod(struct work *w, struct meter *m)
{
    unsigned long n = scaled(w, 3000, 300);

    for (unsigned long i = 0; i < n; i++) {
        const char *name = numbered("f", i % WARM_FILES);
        uint64_t t = now_ns();

        if (chmod(name, i / WARM_FILES % 2 ? 0644 : 0600) < 0)
            return fail(w, name);
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

static int xattr_prepare(struct work *w)
{
    static const char value[32] = "thirty-two bytes, as labels have";

    if (warm_prepare(w) < 0)
        return -1;
    for (unsigned long i = 0; i < WARM_FILES; i++)
        if (setxattr(numbered("f", i), "user.bench", value, sizeof(value), 0) < 0)
            return fail(w, "setxattr");
    return 0;
}

static int op_getxattr(struct work *w, unsigned long i)
{
    char value[64];

    (void)w;
    return getxattr(numbered("f", i), "user.bench", value, sizeof(value)) == 32 ? 0 : -1;
}

static int round_getxattr(struct work *w, struct meter *m)
{
    for (unsigned long i = 0; i < scaled(w, 4000, 400); i++) {
        uint64_t t = now_ns();

        if (op_getxattr(w, i % WARM_FILES) < 0)
            return fail(w, "getxattr");
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

/* --- with the disk: what must be there after a power cut --- */

static int write_synced(struct work *w, const char *name, int flags)
{
    static const char block[4096] = "varve";
    int fd = open(name, O_WRONLY | O_CREAT | flags, 0644);

    if (fd < 0 || write(fd, block, sizeof(block)) != (ssize_t)sizeof(block) || fsync(fd) < 0 || close(fd) < 0)
        return fail(w, name);
    return 0;
}

static int round_create_fsync(struct work *w, struct meter *m)
{
    if (fresh(w) < 0)
        return -1;
    for (unsigned long i = 0; i < scaled(w, 500, 60); i++) {
        uint64_t t = now_ns();

        if (write_synced(w, numbered("s", i), O_EXCL) < 0)
            return -1;
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

static int round_replace(struct work *w, struct meter *m)
{
    if (fresh(w) < 0 || make_files(w, "p", 20, 4096) < 0)
        return -1;
    settle(w->dir);
    for (unsigned long i = 0; i < scaled(w, 500, 60); i++) {
        uint64_t t = now_ns();

        if (write_synced(w, "new", O_EXCL) < 0)
            return -1;
        if (rename("new", numbered("p", i % 20)) < 0)
            return fail(w, "rename");
        meter_add(m, (double)(now_ns() - t));
    }
    return 0;
}

const struct row rows_meta[] = {
    {"stat", "warm stat", KIND_LATENCY, "1.25", "1.2 / 1.2", warm_prepare, round_stat, .drop = 0},
    {"walk", "warm walk of a 32-deep path", KIND_LATENCY, "1.5", "1.5 / 1.5", deep_prepare, round_deep,
     .drop = 0},
    {"absent", "stat of an absent name", KIND_LATENCY, "1.3", "5.3 / 46", warm_prepare, round_absent,
     .drop = 0},
    {"readdir", "warm readdir of 1,000", KIND_LATENCY, "1.2", "9.2 / 35", list_prepare, round_readdir,
     .drop = 0},
    {"ls", "warm `ls -l` of 1,000", KIND_LATENCY, "1.2", "2.1 / 12", list_prepare, round_ls, .drop = 0},
    {"open", "warm open + close", KIND_LATENCY, "1.2", "12.7 / 72", warm_prepare, round_open, .drop = 0},
    {"open-read", "warm open + read 4 KiB", KIND_LATENCY, "1.2", "11 / 99", warm_prepare, round_open_read,
     .drop = 0},
    {"create", "create", KIND_LATENCY, "4", "5.6 / 58", NULL, round_create, .needs_disk = 1},
    {"create-4k", "create + 4 KiB", KIND_LATENCY, "5", "10 / 70", NULL, round_create, .arg = 4096,
     .needs_disk = 1},
    {"mkdir", "mkdir", KIND_LATENCY, "2.5", "2.9 / 30", NULL, round_mkdir, .needs_disk = 1},
    {"unlink", "unlink", KIND_LATENCY, "4", "5.3 / 52", NULL, round_unlink, .needs_disk = 1},
    {"rename", "rename", KIND_LATENCY, "4", "7.6 / 60", NULL, round_rename, .needs_disk = 1},
    {"chmod", "chmod", KIND_LATENCY, "5", "6.3 / 84", warm_prepare, round_chmod, .needs_disk = 1},
    {"getxattr", "getxattr", KIND_LATENCY, "6", "7.9 / 52", xattr_prepare, round_getxattr, .drop = 0},
    {"create-fsync", "create + 4 KiB + fsync", KIND_LATENCY, "1.0", "1.3 / 2.7", NULL, round_create_fsync,
     .needs_disk = 1, .bold = 1},
    {"replace", "replace (write, fsync, rename)", KIND_LATENCY, "1.0", "1.6 / 5.1", NULL, round_replace,
     .needs_disk = 1, .bold = 1},
    {"cold-stat", "cold stat, daemon warm", KIND_LATENCY, "3", "4.4 / 28", list_prepare, round_cold_stat,
     .drop = 1},
    {"cold-stat-new", "cold stat, daemon restarted", KIND_LATENCY, "3", "4.4 / 28", list_prepare,
     round_cold_stat, .drop = 1, .restart = 1},
    {"cold-ls", "cold `ls -l` of 1,000, daemon warm", KIND_LATENCY, "1.5", "1.8 / 2.4", list_prepare,
     round_ls, .drop = 1},
    {"cold-ls-new", "cold `ls -l` of 1,000, daemon restarted", KIND_LATENCY, "1.5", "1.8 / 2.4", list_prepare,
     round_ls, .drop = 1, .restart = 1},
    {0},
};
