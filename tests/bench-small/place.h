/* tests/bench-small/place: what its parts share: figures with their bounds, mounted stores below $TMPDIR, what a daemon says of
 * itself and what the system says of it. Whatever fails ends the program; stores are unmounted and removed at its end. */
#ifndef VARVE_TESTS_BENCH_SMALL_PLACE_H
#define VARVE_TESTS_BENCH_SMALL_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

#define MIB (1ull << 20)

struct place {
    char store[300], mnt[300];
    bool is_mounted;
};

/* A fresh store with its volume, mounted; at most four in a run. */
struct place *place_new(const char *name);
void place_free(struct place *p); /* unmounts and removes it */
int place_pid(const struct place *p);
uint64_t place_queue(const struct place *p); /* entries of the reclaim queue that wait */
double place_cpu_s(const struct place *p);   /* seconds the daemon has worked */
double place_mib(const struct place *p, const char *field /* of /proc/PID/status */);
/* On one CPU, beside this program (true), or as the system likes it: which of the two it chooses makes more of a difference than
 * what is measured. */
void place_pin(const struct place *p, bool on);
/* place_rest(p, most_s): until the queue is empty; says how it goes on. The seconds it took; most_s when it is not. */
double place_rest(const struct place *p, double most_s);

void die(const char *what) __attribute__((noreturn));
double now_ms(void);
void figure(const char *what, double is, const char *unit, double at_most);
int figures_end(void);                      /* the last line, and the exit code */
double part(double *v, size_t n, double p); /* sorts v */
void must_run(const char *const *argv);
void drop_caches(void); /* the kernel's names and inodes, so that the daemon is asked */
/* in/dN/fM for M in [from, to), a thousand in a directory. */
void many_files(const char *in, unsigned from, unsigned to);
void control(const struct place *p, const char *file, const char *line);
void snapshot_path(char *ret, size_t size, const struct place *p, const char *tag, unsigned i);

void rollbacks(unsigned files, unsigned n);
void deletions(unsigned files, unsigned n);

#endif
