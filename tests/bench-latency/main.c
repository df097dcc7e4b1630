/* latency DIR SECONDS BOUND_MS FILE [SCENE...]: BOUND_MS 0: DIR is a yardstick on another filesystem. FILE: on the disk below. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench-latency/latency.h"

double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void path_of(char out[512], const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out, 512, fmt, ap);
    va_end(ap);
    if (n < 0 || n >= 512)
        abort();
}

void fail(const char *what, const char *path)
{
    fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
    fflush(stdout);
    _exit(2);
}

static bool is_asked(const char *scene, char **names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], scene) == 0)
            return true;
    return n == 0;
}

/* How many bounds did not hold. */
static unsigned run_scene(struct latency *l, const struct scene *sc)
{
    pthread_t t;
    unsigned red;

    if (sc->prepare)
        sc->prepare(l);
    l->ends = false;
    l->load_steps = 0;
    if (sc->load && pthread_create(&t, NULL, sc->load, l) != 0)
        abort();
    red = probe_scene(l, sc->name);
    l->ends = true;
    if (sc->load) {
        pthread_join(t, NULL);
        printf("%-12s %llu steps beside it: %s\n", sc->name, (unsigned long long)l->load_steps, sc->says);
    }
    fflush(stdout);
    return red;
}

int main(int argc, char **argv)
{
    struct latency l = {0};
    unsigned passed = 0, failed = 0;
    char path[512];

    if (argc < 5) {
        fprintf(stderr, "usage: latency DIR SECONDS BOUND_MS FILE [SCENE...]\n");
        return 2;
    }
    l.dir = argv[1];
    l.seconds = strtod(argv[2], NULL);
    l.bound_ms = strtod(argv[3], NULL);
    l.varve = l.bound_ms > 0;
    l.below = argv[4];
    path_of(path, "%s/probe", l.dir);
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        fail("mkdir", path);
    path_of(path, "%s/probe/asked", l.dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    if (fd < 0)
        fail("create", path);
    close(fd);
    for (size_t i = 0; i < nscenes; i++)
        if ((l.varve || !scenes[i].snapshots) && is_asked(scenes[i].name, argv + 5, argc - 5)) {
            unsigned red = run_scene(&l, &scenes[i]);
            failed += red;
            passed += 3 - red;
        }
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
