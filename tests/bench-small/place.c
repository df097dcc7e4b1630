#include "tests/bench-small/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PLACES_MAX 4

static char dir[256], varve[300];
static struct place places[PLACES_MAX];
static unsigned nplaces, passed, failed;

void die(const char *what)
{
    printf("FAIL %s: %s\n%u passed, %u failed, 0 skipped\n", what, strerror(errno), passed, failed + 1);
    exit(1);
}

double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* One line, and whether it holds. */
void figure(const char *what, double is, const char *unit, double at_most)
{
    bool ok = is <= at_most;

    printf("%-58s %10.2f %-4s (at most %.2f) %s\n", what, is, unit, at_most, ok ? "ok" : "FAIL");
    if (ok)
        passed++;
    else
        failed++;
}

int figures_end(void)
{
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed > 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double part(double *v, size_t n, double p)
{
    qsort(v, n, sizeof(*v), by_value);
    return v[MIN_OF((size_t)((double)n * p), n - 1)];
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

void must_run(const char *const *argv)
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

void place_free(struct place *p)
{
    if (chdir("/") == 0 && p->is_mounted) {
        run((const char *[]){varve, "umount", p->mnt, NULL});
        umount2(p->mnt, MNT_DETACH);
        p->is_mounted = false;
    }
    nftw(p->store, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    rmdir(p->mnt);
}

static void release(void)
{
    for (unsigned i = 0; i < nplaces; i++)
        if (places[i].is_mounted)
            place_free(&places[i]);
    nplaces = 0;
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
}

struct place *place_new(const char *name)
{
    struct place *p = &places[nplaces];

    if (!dir[0])
        prepare();
    if (nplaces == PLACES_MAX)
        die("too many places");
    snprintf(p->store, sizeof(p->store), "%s/%s", dir, name);
    snprintf(p->mnt, sizeof(p->mnt), "%s/%s.mnt", dir, name);
    if (mkdir(p->mnt, 0755) < 0)
        die(p->mnt);
    must_run((const char *[]){varve, "create", p->store, NULL});
    nplaces++;
    p->is_mounted = true;
    must_run((const char *[]){varve, "mount", p->store, p->mnt, NULL});
    return p;
}

/* --- the daemon --- */

/* A number that `status --json` has under a name. */
static uint64_t status_number(const struct place *p, const char *name)
{
    char line[512], cmd[700], quoted[64];
    uint64_t n = 0;
    bool any = false;
    FILE *f;

    snprintf(cmd, sizeof(cmd), "'%s' status '%s' --json", varve, p->mnt);
    snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    f = popen(cmd, "r");
    while (f && fgets(line, sizeof(line), f)) {
        const char *at = strstr(line, quoted);
        if (at && (at = strchr(at, ':'))) {
            n = strtoull(at + 1, NULL, 10);
            any = true;
        }
    }
    if (f)
        pclose(f);
    if (!any)
        die(name);
    return n;
}

int place_pid(const struct place *p)
{
    return (int)status_number(p, "daemon_pid");
}

uint64_t place_queue(const struct place *p)
{
    return status_number(p, "reclaim_entries");
}

double place_mib(const struct place *p, const char *field)
{
    char path[64], line[256];
    double kib = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", place_pid(p));
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

double place_cpu_s(const struct place *p)
{
    char path[64], text[1024];
    const char *at;
    unsigned long user, sys;
    size_t n = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", place_pid(p));
    if ((f = fopen(path, "r"))) {
        n = fread(text, 1, sizeof(text) - 1, f);
        fclose(f);
    }
    text[n] = 0;
    at = strrchr(text, ')');
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
        die(path);
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static void pin_process(int pid, const cpu_set_t *cpus)
{
    char path[64];
    struct dirent *e;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%d/task", pid);
    if (!(d = opendir(path)))
        die(path);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.')
            (void)sched_setaffinity((pid_t)strtol(e->d_name, NULL, 10), sizeof(*cpus),
                                    cpus); /* may have ended */
    closedir(d);
}

void place_pin(const struct place *p, bool on)
{
    static cpu_set_t all;
    static bool known;
    cpu_set_t cpus;

    if (!known && sched_getaffinity(0, sizeof(all), &all) < 0)
        die("sched_getaffinity");
    known = true;
    cpus = all;
    for (int i = 0, n = 0; on && i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &cpus) && n++ > 0)
            CPU_CLR(i, &cpus);
    pin_process(place_pid(p), &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
        die("sched_setaffinity");
}

double place_rest(const struct place *p, double most_s)
{
    double t = now_ms(), said = t, took = 0;
    uint64_t n;

    while ((n = place_queue(p)) > 0 && took < most_s) {
        took = (now_ms() - t) / 1e3;
        if (now_ms() - said > 10000) {
            said = now_ms();
            printf("  %.0f s: %llu entries wait, the daemon has worked for %.1f s\n", took,
                   (unsigned long long)n, place_cpu_s(p));
        }
        usleep(100000);
    }
    return (now_ms() - t) / 1e3;
}

/* --- the tree --- */

void drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

    if (fd < 0 || write(fd, "2", 1) != 1)
        printf("note: no right to drop the kernel's caches\n");
    if (fd >= 0)
        close(fd);
}

void many_files(const char *in, unsigned from, unsigned to)
{
    char name[400];

    mkdir(in, 0755);
    for (unsigned i = from; i < to; i++) {
        int fd;

        if (i % 1000 == 0) {
            snprintf(name, sizeof(name), "%s/d%u", in, i / 1000);
            mkdir(name, 0755);
        }
        snprintf(name, sizeof(name), "%s/d%u/f%u", in, i / 1000, i);
        fd = open(name, O_WRONLY | O_CREAT, 0644);
        if (fd < 0 || write(fd, name + strlen(name) - 8, 8) != 8 || close(fd) < 0)
            die(name);
    }
}

void control(const struct place *p, const char *file, const char *line)
{
    char path[400];
    int fd;

    snprintf(path, sizeof(path), "%s/.snapshots/.control/%s", p->mnt, file);
    fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, line, strlen(line)) < 0 || close(fd) < 0)
        die(line);
}

void snapshot_path(char *ret, size_t size, const struct place *p, const char *tag, unsigned i)
{
    snprintf(ret, size, "%s/.snapshots/%s-%u", p->mnt, tag, i);
}
