/* tests/bench-latency: how long single requests wait while the store is at work behind them. */
#ifndef VARVE_TESTS_LATENCY_H
#define VARVE_TESTS_LATENCY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct latency {
    const char *dir;   /* on what is measured */
    double seconds;    /* of each scene */
    double bound_ms;   /* 0: what is measured is a yardstick */
    bool varve;        /* dir lies on varve: there are snapshots */
    const char *below; /* a file on the disk that the store is on */
    atomic_bool ends;  /* the scene's load is to stop */
    atomic_ullong load_steps;
};

double now_s(void);
void path_of(char out[512], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fail(const char *what, const char *path); /* says errno and ends the program */

/* scenes.c: what goes on beside the probe; prepare comes before the clock starts, load is a thread until `ends`. */
struct scene {
    const char *name, *says;
    bool snapshots; /* on varve only */
    void (*prepare)(struct latency *l);
    void *(*load)(void *latency);
};
extern const struct scene scenes[];
extern const size_t nscenes;

/* probe.c: creates a file, asks for the times of another past the kernel's cache, writes a block and syncs it, by turns, until the time
 * is over; prints a line for each kind. Meanwhile a block of the file below is written and synced now and then: what the disk itself
 * takes just then is the least that an fsync can. How many bounds do not hold. */
unsigned probe_scene(struct latency *l, const char *scene);

#endif
