/* bench-scale DIR FROM TO: makes the files number FROM to TO - 1, a thousand in a directory, and says how long each of the last took.
 * bench-scale DIR touch N OF: changes the modes of N files spread over OF. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IN_A_DIR 1000u
#define LAST 20000u /* whose cost is told */

static int fail(const char *path)
{
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return 1;
}

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void dir_path(char out[256], const char *dir, uint64_t n)
{
    snprintf(out, 256, "%.200s/d%" PRIu64, dir, n / IN_A_DIR);
}

static int make_one(const char *dir, uint64_t n)
{
    char path[300], parent[256];
    int fd;

    dir_path(parent, dir, n);
    if (n % IN_A_DIR == 0 && mkdir(parent, 0755) < 0 && errno != EEXIST)
        return fail(parent);
    snprintf(path, sizeof(path), "%s/f%" PRIu64, parent, n);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    if (fd < 0)
        return fail(path);
    close(fd);
    return 0;
}

static int make(const char *dir, uint64_t from, uint64_t to)
{
    uint64_t told = to - from > LAST ? to - LAST : from;
    double began = now_s(), last = began;

    for (uint64_t n = from; n < to; n++) {
        if (n == told)
            last = now_s();
        if (make_one(dir, n) != 0)
            return 1;
    }
    printf("%.1f %.0f\n", (now_s() - last) / (double)(to - told) * 1e6,
           (double)(to - from) / (now_s() - began));
    return 0;
}

static int touch(const char *dir, uint64_t n, uint64_t of)
{
    char path[300], parent[256];

    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = i * (of / n);

        dir_path(parent, dir, at);
        snprintf(path, sizeof(path), "%s/f%" PRIu64, parent, at);
        if (chmod(path, 0600) < 0 || chmod(path, 0644) < 0)
            return fail(path);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return make(argv[1], strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
    if (argc == 5 && strcmp(argv[2], "touch") == 0)
        return touch(argv[1], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    fprintf(stderr, "usage: bench-scale DIR FROM TO | DIR touch N OF\n");
    return 2;
}
