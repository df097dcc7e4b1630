/* bench-small [--files N]: figures of daily use through a mount, each with its bound: restoring by cp, rollbacks in a row,
 * snapshots of few and of many files, alone and under load, and what the daemon takes of memory. Works below $TMPDIR. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "tests/lib/test.h"

#define MIB (1ull << 20)
#define SAMPLES_MAX 4096

static char dir[256], store[300], mnt[300], varve[300];
static unsigned passed, failed;
static bool is_mounted;

static void die(const char *what)
{
    printf("FAIL %s: %s\n%u passed, %u failed, 0 skipped\n", what, strerror(errno), passed, failed + 1);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* figure: one line, and whether it holds. */
static void figure(const char *what, double is, const char *unit, double at_most)
{
    bool ok = is <= at_most;

    printf("%-58s %10.2f %-4s (at most %.2f) %s\n", what, is, unit, at_most, ok ? "ok" : "FAIL");
    if (ok)
        passed++;
    else
        failed++;
}

static int run(const char *const *argv)
{
    int status = -1;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0)
            dup2(null, 1);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void must_run(const char *const *argv)
{
    int r = run(argv);

    errno = 0;
    if (r != 0) {
        printf("%s %s: exit %d\n", argv[0], argv[1], r);
        die("a command failed");
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void release(void)
{
    if (chdir("/") == 0 && is_mounted) {
        run((const char *[]){varve, "umount", mnt, NULL});
        umount2(mnt, MNT_DETACH);
    }
    if (dir[0])
        nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    dir[0] = 0;
}

static void on_signal(int sig)
{
    (void)sig;
    exit(130);
}

static void prepare(void)
{
    const char *tmp = getenv("TMPDIR"), *build = getenv("BUILD"), *v = getenv("VARVE");
    char path[300], *real;

    snprintf(path, sizeof(path), "%s/varve", build ? build : "build");
    real = realpath(v ? v : path, NULL);
    if (!real)
        die(v ? v : path);
    snprintf(varve, sizeof(varve), "%s", real);
    free(real);
    snprintf(dir, sizeof(dir), "%s/varve-bench.XXXXXX", tmp ? tmp : "/var/tmp");
    if (!mkdtemp(dir))
        die(dir);
    atexit(release);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    snprintf(store, sizeof(store), "%s/store", dir);
    snprintf(mnt, sizeof(mnt), "%s/mnt", dir);
    if (mkdir(mnt, 0755) < 0)
        die(mnt);
    must_run((const char *[]){varve, "create", store, NULL});
    must_run((const char *[]){varve, "mount", store, mnt, NULL});
    is_mounted = true;
    if (chdir(mnt) < 0)
        die(mnt);
}

/* --- the daemon's memory --- */

static int daemon_pid(void)
{
    char line[512], cmd[700];
    int pid = 0;
    FILE *f;

    snprintf(cmd, sizeof(cmd), "'%s' status '%s' --json", varve, mnt);
    f = popen(cmd, "r");
    while (f && fgets(line, sizeof(line), f)) {
        const char *at = strstr(line, "\"daemon_pid\"");
        if (at && (at = strchr(at, ':')))
            pid = (int)strtol(at + 1, NULL, 10);
    }
    if (f)
        pclose(f);
    return pid;
}

static double status_mib(int pid, const char *field)
{
    char path[64], line[256];
    double kib = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, field, strlen(field)) == 0)
            kib = (double)strtoull(line + strlen(field) + 1, NULL, 10);
    if (f)
        fclose(f);
    if (kib < 0)
        die("the daemon's memory");
    return kib / 1024;
}

static void memory(const char *when, const char *field, double bound)
{
    int pid = daemon_pid();

    if (pid <= 0)
        die("daemon_pid");
    printf("%s: VmRSS %.1f, RssAnon %.1f, RssFile %.1f MiB\n", when, status_mib(pid, "VmRSS:"),
           status_mib(pid, "RssAnon:"), status_mib(pid, "RssFile:"));
    figure(when, status_mib(pid, field), "MiB", bound);
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

/* --- rollbacks --- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double part(double *v, size_t n, double p)
{
    qsort(v, n, sizeof(*v), by_value);
    return v[MIN_OF((size_t)((double)n * p), n - 1)];
}

static void drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

    if (fd < 0 || write(fd, "2", 1) != 1)
        printf("note: no right to drop the kernel's caches\n");
    if (fd >= 0)
        close(fd);
}

/* Microseconds of one look at a name that the kernel does not know yet: the middle of many rounds. */
static double lookup_us(const char *prefix, unsigned from, bool there)
{
    static double v[SAMPLES_MAX];
    struct stat st;
    char name[64];
    size_t n = 0;

    drop_caches();
    for (unsigned i = 0; n < 1000; i++, n++) {
        double t;

        snprintf(name, sizeof(name), "%s%u", prefix, from + i);
        t = now_ms();
        if ((stat(name, &st) == 0) != there)
            die(name);
        v[n] = (now_ms() - t) * 1e3;
    }
    return part(v, n, 0.5);
}

static void control(const char *file, const char *line)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), ".snapshots/.control/%s", file);
    fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, line, strlen(line)) < 0 || close(fd) < 0)
        die(line);
}

static void many_files(const char *in, unsigned from, unsigned to)
{
    char name[128];

    mkdir(in, 0755);
    for (unsigned i = from; i < to; i++) {
        int fd;

        if (i % 1000 == 0) {
            snprintf(name, sizeof(name), "%s/d%u", in, i / 1000);
            mkdir(name, 0755);
        }
        snprintf(name, sizeof(name), "%s/d%u/f%u", in, i / 1000, i);
        fd = open(name, O_WRONLY | O_CREAT, 0644);
        if (fd < 0 || write(fd, name, 20) != 20 || close(fd) < 0)
            die(name);
    }
}

static void rollbacks(void)
{
    double stat_before, stat_after, absent_before, absent_after, t;
    char line[64];

    many_files("roll", 0, 2000);
    snapshot("base");
    absent_before = lookup_us("roll/d0/absent", 0, false);
    stat_before = lookup_us("roll/d1/f", 1000, true);
    absent_before = MIN_OF(absent_before, lookup_us("roll/d0/absent", 10000, false));
    snprintf(line, sizeof(line), "rollback base\n");
    t = now_ms();
    for (unsigned i = 0; i < 1000; i++)
        control("rollback", line);
    printf("1,000 rollbacks in a row: %.2f ms each\n", (now_ms() - t) / 1000);
    sleep(2);
    absent_after = lookup_us("roll/d0/absent", 20000, false);
    stat_after = lookup_us("roll/d1/f", 1000, true);
    absent_after = MIN_OF(absent_after, lookup_us("roll/d0/absent", 30000, false));
    printf("stat %.1f -> %.1f us, absent name %.1f -> %.1f us\n", stat_before, stat_after, absent_before,
           absent_after);
    figure("stat after 1,000 rollbacks, against before", stat_after / stat_before, "x", 1.1);
    figure("absent name after 1,000 rollbacks, against before", absent_after / absent_before, "x", 1.1);
}

/* --- snapshots --- */

static _Atomic bool stop;

static void *write_on(void *arg)
{
    static uint8_t block[65536];
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

static int count_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)st, (void)type, (void)ftw;
    return 0;
}

int main(int argc, char **argv)
{
    unsigned files =
        argc > 2 && strcmp(argv[1], "--files") == 0 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000000;
    char text[32];
    double t;

    setvbuf(stdout, NULL, _IOLBF, 0);
    prepare();
    sleep(1);
    memory("daemon idle, VmRSS", "VmRSS:", 20);
    many_files("few", 0, 1000);
    snapshots("few", "1,000");
    restoring();
    rollbacks();
    t = now_ms();
    many_files("many", 0, files);
    printf("%u files made in %.1f s\n", files, (now_ms() - t) / 1e3);
    snprintf(text, sizeof(text), "%u", files);
    snapshots("many", text);
    drop_caches();
    t = now_ms();
    nftw("many", count_one, 32, FTW_PHYS);
    printf("walk: %.1f s\n", (now_ms() - t) / 1e3);
    memory("after a walk over many files, RssAnon", "RssAnon:", 150);
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
