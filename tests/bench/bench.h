/* tests/bench: how long work takes on several filesystems that are mounted side by side.
 *
 * A row is one kind of work, a place is one mounted filesystem. For each row every place is prepared once; then the rounds take turns
 * over the places, so that what else the machine does meets all of them alike. A round gives one figure of each kind: the median
 * latency of one operation, and operations a second. tests/bench/report.py makes medians, ratios and verdicts of what is printed here.
 *
 * Nothing here is linked with tests/lib: that brings calls of libc of its own along. */
#ifndef VARVE_TESTS_BENCH_BENCH_H
#define VARVE_TESTS_BENCH_BENCH_H

#include <stdio.h>
#include <sys/types.h>

#include "base/base.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define NAME_SIZE 64
#define PATH_SIZE 400
#define PLACES_MAX 24

/* What one round measures. */
struct meter {
    double *ns; /* of single operations, or of batches of them divided by their number */
    size_t n, size;
    uint64_t ops;   /* done while the clock ran */
    double took_ns; /* by the clock; 0: the sum of ns */
    uint64_t began;
};

enum kind {
    KIND_LATENCY, /* L: the median of one operation counts */
    KIND_RATE,    /* R: operations a second count */
    KIND_MS       /* milliseconds, of varve alone */
};

struct work;
typedef int step_fn(struct work *w);
typedef int round_fn(struct work *w, struct meter *m);

struct row {
    const char *id, *title;
    enum kind kind;
    const char *bound; /* "4", or "14 io_uring=7 writeback=1.5": with that mount option */
    const char *peers; /* figures of others, as multiples of ext4's: the best FUSE peer / JuiceFS */
    step_fn *prepare;  /* once for each place; NULL: nothing */
    round_fn *round;
    const char *how;   /* for the functions above */
    unsigned long arg; /* for the functions above */
    const char
        *places[4];       /* instead of those asked for; the first one is what the others are compared with */
    unsigned drop : 1;    /* the kernel's caches are empty when a round begins */
    unsigned restart : 1; /* and the daemon is a new one */
    unsigned
        needs_disk : 1; /* after each round what was written is brought to the disk before the next place has its turn */
    unsigned keep : 1; /* the directory stays for later rows of the same name in `how` */
    unsigned bold : 1;
};

extern const struct row rows_meta[], rows_data[], rows_apps[], rows_snap[]; /* each ends with id NULL */

/* The row's directory on one place: also the working directory while its functions run. */
struct work {
    const struct row *row;
    const char *place; /* name */
    const char *mnt;
    char dir[PATH_SIZE];
    unsigned round;
    bool is_short;
    uint64_t rand;
    char why[160]; /* what a function says when it fails */
    /* kept from prepare() to the last round, freed by the harness */
    int fd;      /* -1; closed */
    void *state; /* NULL; freed */
    bool ready;  /* of a row with keep: prepare() was done by an earlier one */
};

struct settings {
    const char *run; /* directory of this run: NAME.pid, mnt/NAME, disk (the ext4), tree.tar */
    char disk[PATH_SIZE];
    const char *targets; /* the program that mounts: tests/bench/targets.sh */
    bool is_short;
    unsigned rounds;
};
extern struct settings settings;

/* full when the run is a full one. */
static inline unsigned long scaled(const struct work *w, unsigned long full, unsigned long in_short)
{
    return w->is_short ? in_short : full;
}

/* --- measure.c --- */
uint64_t now_ns(void);
void meter_add(struct meter *m, double ns);   /* one operation */
void meter_start(struct meter *m);            /* for work that is not timed one by one */
void meter_stop(struct meter *m, size_t ops); /* ops of it were done since meter_start */
double meter_part(struct meter *m, double part);
double meter_rate(const struct meter *m);
uint64_t rand_next(uint64_t *state);        /* splitmix64 */
int fail(struct work *w, const char *what); /* says why, with errno, and returns -1 */

/* CPU time, in seconds. */
struct cpu {
    double wall, busy; /* of the machine: all its processors; stolen time included */
    double own;        /* this program and its children that have ended */
    double daemon;     /* of the place */
    double kernel;     /* the kernel's own threads: they work for whoever writes */
};
void cpu_read(struct cpu *c, const char *place);
unsigned cpu_count(void);

/* --- host.c --- */
int run_program(const char *const *argv, char *ret_line,
                size_t size); /* exit code; the first line of its output */
int drop_caches(void);
int remove_tree(const char *path);
void settle(
    const char *
        dir); /* what is dirty on the disk below dir goes to it; until the machine is idle, half a second at the most */
/* n files NAME%lu of `size` bytes each in the working directory. */
int make_files(struct work *w, const char *name, unsigned long n, size_t size);
int make_file(struct work *w, const char *name, uint64_t size); /* synced */
/* A tree as of a C project: files in directories, text of words. */
int make_tree(const char *dir, unsigned long files);

/* --- used by rows of more than one file --- */
int list_prepare(struct work *w); /* 1,000 files */
int round_cold_stat(struct work *w, struct meter *m);
int data_prepare(struct work *w); /* "data", of row->arg MiB */
int round_rand_read(struct work *w, struct meter *m);
int round_rand_write(struct work *w, struct meter *m);

/* --- floor.c --- */
int floor_main(int argc, char **argv);

#endif
