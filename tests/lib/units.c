#include "tests/lib/units.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

static uint64_t word(uint64_t seed, uint64_t at, size_t i)
{
    return (seed * 0x9e3779b97f4a7c15ull + at * 0xc2b2ae3d27d4eb4full) ^ (i * 0x165667b19e3779f9ull);
}

void unit_fill(uint64_t *p, size_t len, uint64_t seed, uint64_t at)
{
    p[0] = seed;
    for (size_t i = 1; i < len / 8; i++)
        p[i] = word(seed, at, i);
}

bool unit_is(const uint64_t *p, size_t len, uint64_t at)
{
    for (size_t i = 1; i < len / 8; i++)
        if (p[i] != word(p[0], at, i))
            return false;
    return true;
}

double now_s(void)
{
    return (double)clock_mono_ns() / 1e9;
}

void pause_s(double s)
{
    struct timespec t = {.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

    nanosleep(&t, NULL);
}

double proc_field(int pid, const char *field)
{
    char path[64], line[256];
    double v = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            v = strtod(line + strlen(field) + 1, NULL);
    if (f)
        fclose(f);
    return v;
}

unsigned proc_descriptors(int pid)
{
    const struct dirent *e;
    char path[64];
    unsigned n = 0;
    DIR *d;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    d = opendir(path);
    while (d && (e = readdir(d)))
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}
