#include "tests/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mark.h"

#define MARKS_MAX 1024

enum outcome { RAN = 0, FAILED = 1, SKIPPED = 2 };

static struct test_case *first, **last = &first;
static const struct test_case *running;
static jmp_buf out_of_test;
static pthread_t main_thread;
static pid_t main_process; /* what a test forks ends at its first failure, and cleans up nothing */
static char dir_path[256];
static uint64_t seed;
static bool seed_known;
static pthread_mutex_t mark_lock = PTHREAD_MUTEX_INITIALIZER; /* guards marks and mark_count */
static const char *marks[MARKS_MAX];
static size_t mark_times[MARKS_MAX];
static size_t mark_count;

void test_register(struct test_case *t)
{
    *last = t;
    last = &t->next;
}

void mark_hit(const char *mark)
{
    size_t i;

    pthread_mutex_lock(&mark_lock);
    for (i = 0; i < mark_count && strcmp(marks[i], mark) != 0;)
        i++;
    if (i == mark_count) {
        assert(mark_count < MARKS_MAX);
        marks[mark_count++] = mark;
        mark_times[i] = 0;
    }
    mark_times[i]++;
    pthread_mutex_unlock(&mark_lock);
}

size_t mark_passed(const char *mark)
{
    size_t n = 0;

    pthread_mutex_lock(&mark_lock);
    for (size_t i = 0; i < mark_count; i++)
        if (strcmp(marks[i], mark) == 0)
            n = mark_times[i];
    pthread_mutex_unlock(&mark_lock);
    return n;
}

void expect_mark(const char *mark)
{
    bool hit = false;

    pthread_mutex_lock(&mark_lock);
    for (size_t i = 0; i < mark_count; i++)
        hit |= strcmp(marks[i], mark) == 0;
    pthread_mutex_unlock(&mark_lock);
    if (!hit)
        test_fail(__FILE__, __LINE__, "mark was not passed: %s", mark);
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    fprintf(stdout, "FAIL %s\n  %s:%d: ", running ? running->name : "outside of a test", file, line);
    va_start(ap, fmt);
    vfprintf(stdout, fmt, ap);
    va_end(ap);
    fprintf(stdout, "\n");
    fflush(stdout);
    if (running && getpid() != main_process)
        _exit(99);
    if (!running || !pthread_equal(pthread_self(), main_thread))
        abort(); /* the stack of another thread cannot be left by a jump */
    longjmp(out_of_test, FAILED);
}

void test_skip(const char *why)
{
    printf("SKIP %s: %s\n", running->name, why);
    longjmp(out_of_test, SKIPPED);
}

uint64_t test_seed(void)
{
    const char *s = getenv("SEED");

    if (!seed_known && s)
        seed = strtoull(s, NULL, 0);
    else if (!seed_known)
        hash_random(&seed, sizeof(seed));
    seed_known = true;
    return seed;
}

uint64_t test_rand(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

const char *test_dir(void)
{
    const char *base = getenv("TEST_TMPDIR");

    if (dir_path[0])
        return dir_path;
    if (!base)
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(dir_path, sizeof(dir_path), "%s/varve-test.XXXXXX", base);
    if (!mkdtemp(dir_path)) {
        dir_path[0] = 0;
        test_fail(__FILE__, __LINE__, "cannot make a directory below %s", base);
    }
    return dir_path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void dir_remove(void)
{
    if (!dir_path[0] || getpid() != main_process)
        return;
    if (nftw(dir_path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
        printf("warning: %s could not be removed\n", dir_path);
    dir_path[0] = 0;
}

static enum outcome run_one(const struct test_case *t)
{
    volatile int how;

    running = t;
    mark_count = 0;
    how = setjmp(out_of_test);
    if (how == RAN)
        t->fn();
    running = NULL;
    dir_remove();
    return (enum outcome)how;
}

/* A test that dies takes the program with it; say at least which one it was. */
static void on_death(int sig)
{
    const char *name = running ? running->name : "outside of a test";
    ssize_t n;

    n = write(STDOUT_FILENO, "DIED ", 5);
    n = write(STDOUT_FILENO, name, strlen(name));
    n = write(STDOUT_FILENO, "\n", 1);
    (void)n;
    if (sig == SIGABRT) { /* not after a fault: memory is not to be trusted then */
        signal(SIGALRM, SIG_DFL);
        alarm(5);
        dir_remove();
    }
    signal(sig, SIG_DFL);
    raise(sig);
}

static void watch_deaths(void)
{
    signal(SIGABRT, on_death);
#ifndef __SANITIZE_ADDRESS__
    signal(SIGSEGV, on_death);
    signal(SIGBUS, on_death);
#endif
}

static bool wanted(const struct test_case *t, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], t->name) == 0)
            return true;
    }
    return argc < 2;
}

static int names_known(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const struct test_case *t;

        for (t = first; t && strcmp(t->name, argv[i]) != 0;)
            t = t->next;
        if (!t) {
            fprintf(stderr, "%s: no test is called %s\n", argv[0], argv[i]);
            return -E_NOENT;
        }
    }
    return 0;
}

int test_main(int argc, char **argv)
{
    unsigned counts[3] = {0};

    setvbuf(stdout, NULL, _IOLBF, 0);
    main_thread = pthread_self();
    main_process = getpid();
    if (names_known(argc, argv) < 0)
        return 2;
    watch_deaths();
    for (const struct test_case *t = first; t; t = t->next) {
        if (wanted(t, argc, argv))
            counts[run_one(t)]++;
    }
    if (counts[FAILED] > 0)
        printf("replay with SEED=%llu\n", (unsigned long long)test_seed());
    printf("%u passed, %u failed, %u skipped\n", counts[RAN], counts[FAILED], counts[SKIPPED]);
    return counts[FAILED] > 0;
}
