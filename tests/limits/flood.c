/* As many requests at once as the kernel will hold: a thread each, while the daemon stands still; then it goes on, and every one must
 * be answered. Once more without a standstill, and with many reads of each of a few processes that do not wait (AIO). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/limits/limits.h"

#define PROCESSES 8u
#define SHARED 1024u /* files that several requests concern */
#define STACK (64u << 10)
#define PATIENCE_S 60.0
#define GATHER_S 8.0
#define AIO_PROCESSES 4u
#define AIO_EACH 512u

static struct shared {
    atomic_uint ready, answered, wrong, round, done;
} * shared;

static const char *dir;
static unsigned requests;
static int *fds, direct[SHARED];

static void answer(bool ok)
{
    if (!ok) {
        if (atomic_fetch_add(&shared->wrong, 1) < 5)
            printf("  an answer: %s\n", strerror(errno));
    }
    atomic_fetch_add(&shared->answered, 1);
}

/* One request, of each kind a quarter. The kernel sends one fsync or setxattr of a file at a time, so each has a file of its own. */
static void request(unsigned n, void *block)
{
    unsigned f = n / 4 * 2 + n % 2;
    char v[16];

    switch (n % 4) {
    case 0: answer(fgetxattr(fds[f], "user.none", v, sizeof(v)) < 0 && errno == ENODATA); break;
    case 1: answer(pread(direct[f % SHARED], block, UNIT, 0) == UNIT); break;
    case 2: answer(fsetxattr(fds[f], "user.one", v, 0, 0) == 0); break;
    default: answer(fsync(fds[f]) == 0); break;
    }
}

static void await(unsigned round)
{
    unsigned is;

    while ((is = atomic_load(&shared->round)) < round)
        syscall(SYS_futex, &shared->round, FUTEX_WAIT, is, NULL, NULL, 0);
}

static void start(unsigned round)
{
    atomic_store(&shared->round, round);
    syscall(SYS_futex, &shared->round, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void *thread_main(void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg;
    uint64_t block[2 * UNIT / 8];
    void *aligned = (void *)(((uintptr_t)block + UNIT - 1) & ~(uintptr_t)(UNIT - 1));

    atomic_fetch_add(&shared->ready, 1);
    for (unsigned round = 1; round <= 2; round++) {
        await(round);
        request(n, aligned);
    }
    return NULL;
}

static int process_main(unsigned from, unsigned to)
{
    pthread_t *threads = calloc(to - from, sizeof(*threads));
    pthread_attr_t attr;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    for (unsigned i = from; threads && i < to; i++)
        if (pthread_create(&threads[i - from], &attr, thread_main, (void *)(uintptr_t)i) != 0) {
            printf("  no more threads than %u\n", i - from);
            return 1;
        }
    for (unsigned i = from; threads && i < to; i++)
        pthread_join(threads[i - from], NULL);
    return threads ? 0 : 1;
}

static unsigned waiting(const char *path)
{
    char text[32] = "";
    FILE *f = fopen(path, "re");

    if (f && !fgets(text, sizeof(text), f))
        text[0] = 0;
    if (f)
        fclose(f);
    return (unsigned)strtoul(text, NULL, 10);
}

/* Until so many have been answered: the seconds it took, negative when they were not. */
static double until_answered(unsigned n, int daemon, double *most_anon, double *most_threads)
{
    double began = now_s();

    while (atomic_load(&shared->answered) < n) {
        *most_anon = MAX_OF(*most_anon, proc_field(daemon, "RssAnon"));
        *most_threads = MAX_OF(*most_threads, proc_field(daemon, "Threads"));
        if (now_s() - began > PATIENCE_S) {
            printf("  %u of %u were not answered within %.0f s\n", n - atomic_load(&shared->answered), n,
                   PATIENCE_S);
            return -1;
        }
        pause_s(0.005);
    }
    return now_s() - began;
}

static int lay(void)
{
    uint64_t buf[UNIT / 8];
    struct rlimit l;
    char path[512];

    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || (l.rlim_cur = l.rlim_max, setrlimit(RLIMIT_NOFILE, &l)) < 0)
        return -1;
    fds = calloc(requests / 2 + 1, sizeof(*fds));
    for (unsigned i = 0; fds && i <= requests / 2; i++) {
        path_in(path, "%s/f%u", dir, i);
        fds[i] = open(path, O_RDWR | O_CREAT, 0644);
        unit_fill(buf, UNIT, i, 0);
        if (fds[i] < 0 || write(fds[i], buf, UNIT) != UNIT)
            return -1;
        if (i >= SHARED)
            continue;
        direct[i] = open(path, O_RDONLY | O_DIRECT);
        if (direct[i] < 0 || write(fds[i], buf, UNIT) != UNIT)
            return -1;
    }
    return fds ? 0 : -1;
}

/* --- reads that nobody waits for ------------------------------------------------------------------------------------------ */

static int aio_main(void)
{
    static struct iocb iocbs[AIO_EACH], *list[AIO_EACH];
    static struct io_event events[AIO_EACH];
    char *room =
        mmap(NULL, (size_t)AIO_EACH * UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned sent = 0, back = 0, bad = 0;
    aio_context_t ctx = 0;

    if (room == MAP_FAILED || syscall(SYS_io_setup, AIO_EACH, &ctx) < 0)
        return 1;
    for (unsigned i = 0; i < AIO_EACH; i++) {
        iocbs[i] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD,
                                 .aio_fildes = (uint32_t)direct[i % SHARED],
                                 .aio_buf = (uintptr_t)(room + (size_t)i * UNIT),
                                 .aio_nbytes = UNIT};
        list[i] = &iocbs[i];
    }
    while (sent < AIO_EACH) {
        long n = syscall(SYS_io_submit, ctx, (long)(AIO_EACH - sent), list + sent);
        if (n <= 0)
            return 1;
        sent += (unsigned)n;
    }
    while (back < AIO_EACH) {
        struct timespec most = {.tv_sec = (time_t)PATIENCE_S};
        long n = syscall(SYS_io_getevents, ctx, 1l, (long)AIO_EACH, events, &most);
        if (n <= 0)
            return 1;
        for (long i = 0; i < n; i++)
            bad += events[i].res != UNIT;
        back += (unsigned)n;
    }
    syscall(SYS_io_destroy, ctx);
    return bad > 0;
}

static int wait_all(const pid_t *pids, unsigned n)
{
    int bad = 0, status;

    for (unsigned i = 0; i < n; i++)
        bad += waitpid(pids[i], &status, 0) != pids[i] || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    return bad;
}

static int aio(void)
{
    double began = now_s();
    pid_t pids[AIO_PROCESSES];
    int bad;

    fflush(stdout);
    for (unsigned i = 0; i < AIO_PROCESSES; i++)
        if ((pids[i] = fork()) == 0)
            _exit(aio_main());
    bad = wait_all(pids, AIO_PROCESSES);
    printf("  %u reads at once that nobody waits for: %.2f s%s\n", AIO_PROCESSES * AIO_EACH, now_s() - began,
           bad ? ", FAILED" : "");
    return bad;
}

/* --- the flood ---------------------------------------------------------------------------------------------------------------- */

/* The signal stops its threads one by one; its first is not the last. */
static void stop(int daemon)
{
    char path[64], line[256] = "";
    unsigned left = 1;

    kill(daemon, SIGSTOP);
    while (left > 0) {
        struct dirent *e;
        DIR *d;

        left = 0;
        pause_s(0.01);
        snprintf(path, sizeof(path), "/proc/%d/task", daemon);
        d = opendir(path);
        while (d && (e = readdir(d))) {
            char file[400];
            snprintf(file, sizeof(file), "%s/%s/stat", path, e->d_name);
            FILE *f = e->d_name[0] == '.' ? NULL : fopen(file, "re");
            if (f && fgets(line, sizeof(line), f) && !strstr(line, ") T "))
                left++;
            if (f)
                fclose(f);
        }
        if (d)
            closedir(d);
    }
}

/* Round 1: with the daemon standing still until they are all there. */
static bool standstill(int daemon, const char *waiting_file)
{
    double began = now_s(), before = proc_field(daemon, "RssAnon"), anon = before, threads = 0, took;
    unsigned most = 0;

    stop(daemon);
    start(1);
    while (most < requests && now_s() - began < GATHER_S) {
        most = MAX_OF(most, waiting(waiting_file));
        pause_s(0.01);
    }
    kill(daemon, SIGCONT);
    took = until_answered(requests, daemon, &anon, &threads);
    printf("  %u requests in the kernel at once (wanted %u); all answered %.2f s after the daemon went on; "
           "RssAnon %.1f to %.1f MiB, threads at most %.0f\n",
           most, requests, took, before / 1024, anon / 1024, threads);
    return took >= 0 && most >= requests && anon - before < 64 * 1024 && threads < 100;
}

/* Round 2: as they come, while snapshots are taken and deleted beside them. */
static bool as_they_come(int daemon)
{
    double anon = 0, threads = 0, took, began, snap = 0;
    char path[512];
    bool ok;

    start(2);
    path_in(path, "%s/.snapshots/flood", dir);
    began = now_s();
    ok = mkdir(path, 0755) == 0;
    ok = rmdir(path) == 0 && ok;
    snap = now_s() - began;
    took = until_answered(2 * requests, daemon, &anon, &threads);
    printf("  %u requests as they come: %.2f s; a snapshot taken and deleted meanwhile: %.2f s%s\n", requests,
           took, snap, ok ? "" : " FAILED");
    return ok && took >= 0 && snap < 5;
}

int part_flood(int argc, char **argv)
{
    int daemon = (int)strtol(argv[3], NULL, 10);
    double began = now_s();
    pid_t pids[PROCESSES];
    bool ok = true;

    (void)argc;
    dir = argv[1];
    requests = (unsigned)strtoul(argv[2], NULL, 10);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || lay() < 0) {
        printf("  %s\n", strerror(errno));
        return 1;
    }
    fflush(stdout);
    for (unsigned i = 0; i < PROCESSES; i++)
        if ((pids[i] = fork()) == 0)
            _exit(process_main(requests / PROCESSES * i,
                               i + 1 < PROCESSES ? requests / PROCESSES * (i + 1) : requests));
    while (atomic_load(&shared->ready) < requests && now_s() - began < PATIENCE_S)
        pause_s(0.01);
    printf("  laid and begun in %.1f s\n", now_s() - began);
    if (atomic_load(&shared->ready) == requests)
        ok = standstill(daemon, argv[4]) && as_they_come(daemon);
    else
        ok = false;
    if (!ok)
        for (unsigned i = 0; i < PROCESSES; i++)
            kill(pids[i], SIGKILL);
    ok = wait_all(pids, PROCESSES) == 0 && ok;
    return !ok || atomic_load(&shared->wrong) > 0 || aio() != 0;
}
