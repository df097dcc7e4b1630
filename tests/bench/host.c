/* What the rows need of the machine: programs, caches, files. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_MS 500
#define SETTLE_SHORT_MS 60
#define SETTLE_STEP_MS 30

int run_program(const char *const *argv, char *ret_line, size_t size)
{
    int status = 0, ends[2];
    size_t n = 0;
    ssize_t got;
    char rest[512];
    pid_t pid;

    fflush(NULL);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(ends[1]);
    while (size > 1 && n < size - 1 && (got = read(ends[0], ret_line + n, size - 1 - n)) > 0)
        n += (size_t)got;
    while (read(ends[0], rest, sizeof(rest)) > 0)
        continue;
    close(ends[0]);
    if (size > 0) {
        ret_line[n] = 0;
        ret_line[strcspn(ret_line, "\n")] = 0;
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int drop_caches(void)
{
    int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    int r = -1;

    if (fd < 0)
        return -1;
    sync();
    if (write(fd, "3", 1) == 1)
        r = 0;
    close(fd);
    return r;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int remove_tree(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

void settle(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    unsigned most_ms = settings.is_short ? SETTLE_SHORT_MS : SETTLE_MS;
    struct cpu before, now;

    if (fd >= 0) {
        syncfs(fd);
        close(fd);
    }
    cpu_read(&before, "");
    for (unsigned ms = 0; ms < most_ms; ms += SETTLE_STEP_MS) {
        sleep_ms(SETTLE_STEP_MS);
        cpu_read(&now, "");
        if (now.busy - before.busy - (now.own - before.own) < 0.011) /* a tick at the most */
            return;
        before = now;
    }
}

static void fill(uint8_t *p, size_t n, uint64_t *x)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = rand_next(x);

        memcpy(p + i, &v, MIN_OF(n - i, sizeof(v)));
    }
}

int make_files(struct work *w, const char *name, unsigned long n, size_t size)
{
    static uint8_t block[64 * KIB];
    char path[NAME_SIZE];

    assert(size <= sizeof(block));
    fill(block, size, &w->rand);
    for (unsigned long i = 0; i < n; i++) {
        int fd, bad;

        snprintf(path, sizeof(path), "%s%lu", name, i);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0)
            return fail(w, path);
        bad = size > 0 && write(fd, block, size) != (ssize_t)size;
        if (close(fd) < 0 || bad)
            return fail(w, path);
    }
    return 0;
}

int make_file(struct work *w, const char *name, uint64_t size)
{
    static uint8_t block[MIB];
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return fail(w, name);
    for (uint64_t at = 0; at < size; at += sizeof(block)) {
        fill(block, sizeof(block), &w->rand);
        if (write(fd, block, sizeof(block)) != (ssize_t)sizeof(block)) {
            close(fd);
            return fail(w, name);
        }
    }
    if (fsync(fd) < 0) {
        close(fd);
        return fail(w, name);
    }
    close(fd);
    return 0;
}

/* --- a tree to work with --- */

static const char *const words[] = {"struct",  "return", "static", "layer",  "const",  "inode", "journal",
                                    "if",      "for",    "int",    "size",   "volume", "while", "offset",
                                    "branch",  "record", "char",   "buffer", "write",  "read",  "lock",
                                    "pending", "firm",   "span",   "delta",  "key",    "value"};

static int write_text(const char *path, size_t size, uint64_t *x)
{
    FILE *f = fopen(path, "we");
    size_t n = 0;

    if (!f)
        return -1;
    while (n < size) {
        uint64_t v = rand_next(x);
        int k = fprintf(f, "%s_%llu%s", words[v % ARRAY_LEN(words)], (unsigned long long)(v >> 40) % 1000,
                        v >> 32 & 7 ? " " : ";\n");

        if (k < 0)
            break;
        n += (size_t)k;
    }
    return fclose(f) < 0 || n < size ? -1 : 0;
}

/* Sizes from half a KiB to 32 KiB, half of them below 4 KiB, as sources have. */
static size_t text_size(uint64_t *x)
{
    uint64_t v = rand_next(x);
    size_t base = (size_t)512 << (v % 6);

    return base + (size_t)((v >> 8) % base);
}

int make_tree(const char *dir, unsigned long files)
{
    char path[PATH_SIZE + 64];
    uint64_t x = 1;

    if (mkdir(dir, 0755) < 0)
        return -1;
    for (unsigned long i = 0; i < files; i++) {
        unsigned long d = i / 15;

        if (i % 150 == 0) {
            snprintf(path, sizeof(path), "%s/part%lu", dir, d / 10);
            if (mkdir(path, 0755) < 0)
                return -1;
        }
        if (i % 15 == 0) {
            snprintf(path, sizeof(path), "%s/part%lu/dir%lu", dir, d / 10, d);
            if (mkdir(path, 0755) < 0)
                return -1;
        }
        snprintf(path, sizeof(path), "%s/part%lu/dir%lu/file%lu.c", dir, d / 10, d, i);
        if (write_text(path, text_size(&x), &x) < 0)
            return -1;
    }
    return 0;
}
