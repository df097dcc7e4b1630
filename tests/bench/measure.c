/* Clocks: of operations, and of who used the processors. */
#include "tests/bench/bench.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void meter_add(struct meter *m, double ns)
{
    if (m->n == m->size) {
        size_t size = m->size ? m->size * 2 : 4096;
        double *p = realloc(m->ns, size * sizeof(*p));

        if (!p)
            abort();
        m->ns = p;
        m->size = size;
    }
    m->ns[m->n++] = ns;
}

void meter_start(struct meter *m)
{
    m->began = now_ns();
}

void meter_stop(struct meter *m, size_t ops)
{
    m->took_ns += (double)(now_ns() - m->began);
    m->ops += ops;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double meter_part(struct meter *m, double part)
{
    size_t at;

    if (m->n == 0)
        return m->ops ? m->took_ns / (double)m->ops : 0;
    qsort(m->ns, m->n, sizeof(*m->ns), by_value);
    at = (size_t)((double)m->n * part);
    return m->ns[MIN_OF(at, m->n - 1)];
}

double meter_rate(const struct meter *m)
{
    double sum = 0;

    if (m->took_ns > 0)
        return (double)m->ops / m->took_ns * 1e9;
    for (size_t i = 0; i < m->n; i++)
        sum += m->ns[i];
    return sum > 0 ? (double)m->n / sum * 1e9 : 0;
}

uint64_t rand_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int fail(struct work *w, const char *what)
{
    if (!w->why[0])
        snprintf(w->why, sizeof(w->why), "%s: %s", what, errno ? strerror(errno) : "failed");
    return -1;
}

/* --- processors --- */

/* utime + stime of a process; -1: there is none. ret_parent: whose child it is. */
static double process_s(const char *pid, int *ret_parent)
{
    char path[64], text[1024];
    unsigned long user, sys;
    const char *at;
    size_t n;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    f = fopen(path, "re");
    if (!f)
        return -1;
    n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = 0;
    at = strrchr(text, ')');
    if (!at ||
        sscanf(at + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", ret_parent, &user, &sys) != 3)
        return -1;
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

static double daemon_s(const char *place)
{
    char path[PATH_SIZE], pid[32];
    double sum = 0;
    int parent;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s.pid", settings.run, place);
    f = fopen(path, "re");
    while (f && fscanf(f, "%31s", pid) == 1) {
        double s = process_s(pid, &parent);

        sum += s > 0 ? s : 0;
    }
    if (f)
        fclose(f);
    return sum;
}

/* The kernel's own threads are children of process 2. */
static double kernel_s(void)
{
    DIR *d = opendir("/proc");
    struct dirent *e;
    double sum = 0;
    int parent;

    while (d && (e = readdir(d))) {
        double s = isdigit((unsigned char)e->d_name[0]) ? process_s(e->d_name, &parent) : -1;

        if (s > 0 && parent == 2)
            sum += s;
    }
    if (d)
        closedir(d);
    return sum;
}

static double busy_s(void)
{
    unsigned long long user = 0, nice = 0, sys = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
    FILE *f = fopen("/proc/stat", "re");

    if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &sys, &idle, &wait, &irq,
                    &soft, &steal) != 8)
        user = nice = sys = irq = soft = steal = 0;
    if (f)
        fclose(f);
    return (double)(user + nice + sys + irq + soft + steal) / (double)sysconf(_SC_CLK_TCK);
}

static double usage_s(int who)
{
    struct rusage u;

    getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

void cpu_read(struct cpu *c, const char *place)
{
    c->wall = (double)now_ns() / 1e9;
    c->busy = busy_s();
    c->own = usage_s(RUSAGE_SELF) + usage_s(RUSAGE_CHILDREN);
    c->daemon = daemon_s(place);
    c->kernel = kernel_s();
}

unsigned cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (unsigned)n : 1;
}
