#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/soak/soak.h"

#define KIB 1024.0
#define MIB (1024.0 * KIB)

/* `grain`: less than so much more is never called growth; judged 0: shown only. */
enum metric {
    M_ANON,
    M_RSS,
    M_KEEPER_RSS,
    M_FDS,
    M_KEEPER_FDS,
    M_THREADS,
    M_TABLES,
    M_TABLES_FREE,
    M_META,
    M_DATA,
    M_JOURNAL,
    M_LOG,
    M_QUEUE,
    M_OBJECTS,
    M_LIVE,
    M_DELTA,
    M_UNSYNCED,
    METRICS
};
static const struct {
    const char *name, *unit;
    double scale, grain;
    bool judged;
} metrics[METRICS] = {
    [M_ANON] = {"daemon RssAnon", "MiB", MIB, 1 * MIB, true},
    [M_RSS] = {"daemon VmRSS", "MiB", MIB, 2 * MIB, true},
    [M_KEEPER_RSS] = {"keeper VmRSS", "MiB", MIB, 0.25 * MIB, true},
    [M_FDS] = {"daemon descriptors", "", 1, 4, true},
    [M_KEEPER_FDS] = {"keeper descriptors", "", 1, 1, true},
    [M_THREADS] = {"daemon threads", "", 1, 3, true},
    [M_TABLES] = {"LMDB pages in use", "", 4096, 64 * 4096.0, true},
    [M_TABLES_FREE] = {"LMDB pages free", "", 4096, 0, false},
    [M_META] = {"bytes in meta/", "MiB", MIB, 4 * MIB,
                true}, /* the largest checkpoint so far: never smaller again */
    [M_DATA] = {"bytes in data/", "MiB", MIB, 4 * MIB, true},
    [M_JOURNAL] = {"bytes in journal/", "MiB", MIB, 0, true},
    [M_LOG] = {"bytes in log/", "MiB", MIB, 1 * MIB, true},
    [M_QUEUE] = {"reclaim queue", "", 1, 1000, true}, /* what waits for the next checkpoint comes in bursts */
    [M_OBJECTS] = {"objects", "", 1, 100, true},
    [M_LIVE] = {"live bytes (load)", "MiB", MIB, 0, false},
    [M_DELTA] = {"delta", "MiB", MIB, 0, false},
    [M_UNSYNCED] = {"unsynced bytes", "MiB", MIB, 0, false},
};

struct row {
    double at_s, v[METRICS];
};
static struct row *rows;
static size_t nrows, room;
static int daemon_pid, deaths;

/* --- what the system says ------------------------------------------------------------------------------------------------- */

static double du_bytes, du_files;

static int du_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path, (void)ftw;
    if (type != FTW_NS)
        du_bytes += (double)st->st_blocks * 512;
    du_files += type == FTW_F;
    return 0;
}

static double du(const struct soak *k, const char *dir, double *ret_files)
{
    char path[512];

    path_in(path, "%s/%s", k->store, dir);
    du_bytes = du_files = 0;
    nftw(path, du_one, 16, FTW_PHYS); /* what goes away meanwhile is not missed */
    if (ret_files)
        *ret_files = du_files;
    return du_bytes;
}

/* --- what the daemon says ---------------------------------------------------------------------------------------------------- */

static double number(const json_t *o, const char *name)
{
    return (double)json_integer_value(json_object_get(o, name));
}

static void status(struct soak *k, struct row *r)
{
    json_error_t e;
    const json_t *store;
    char path[512];
    json_t *root;
    int pid;

    path_in(path, "%s/.snapshots/.control/status.json", k->mnt);
    root = json_load_file(path, 0, &e);
    if (!root) {
        fault(k, "%s: %s", path, e.text);
        return;
    }
    pid = (int)number(root, "daemon_pid");
    if (daemon_pid && pid != daemon_pid)
        deaths++;
    daemon_pid = pid;
    store = json_object_get(root, "store");
    r->v[M_TABLES_FREE] = number(store, "tables_free_bytes");
    r->v[M_TABLES] = number(store, "tables_bytes") - r->v[M_TABLES_FREE];
    r->v[M_QUEUE] = number(store, "reclaim_entries");
    r->v[M_DELTA] = number(store, "delta_bytes");
    r->v[M_UNSYNCED] = number(store, "unsynced_bytes");
    r->v[M_LIVE] = number(json_object_get(root, "volume"), "used_bytes");
    json_decref(root);
}

static void take(struct soak *k, struct row *r)
{
    int keeper;

    r->at_s = now_s() - k->began_s;
    status(k, r);
    keeper = (int)proc_field(daemon_pid, "PPid");
    r->v[M_ANON] = proc_field(daemon_pid, "RssAnon") * KIB;
    r->v[M_RSS] = proc_field(daemon_pid, "VmRSS") * KIB;
    r->v[M_THREADS] = proc_field(daemon_pid, "Threads");
    r->v[M_FDS] = proc_descriptors(daemon_pid);
    r->v[M_KEEPER_RSS] = proc_field(keeper, "VmRSS") * KIB;
    r->v[M_KEEPER_FDS] = proc_descriptors(keeper);
    r->v[M_DATA] = du(k, "data", &r->v[M_OBJECTS]);
    r->v[M_META] = du(k, "meta", NULL);
    r->v[M_JOURNAL] = du(k, "journal", NULL);
    r->v[M_LOG] = du(k, "log", NULL);
}

static void csv_head(FILE *f)
{
    fprintf(f, "seconds");
    for (unsigned m = 0; m < METRICS; m++)
        fprintf(f, ",%s", metrics[m].name);
    fprintf(f, "\n");
}

static void csv_row(FILE *f, const struct row *r)
{
    fprintf(f, "%.2f", r->at_s);
    for (unsigned m = 0; m < METRICS; m++)
        fprintf(f, ",%.0f", r->v[m]);
    fprintf(f, "\n");
    fflush(f);
}

void sample(struct soak *k)
{
    FILE *f = fopen(k->csv, "w");

    if (!f) {
        fault(k, "%s: errno %d", k->csv, errno);
        return;
    }
    csv_head(f);
    for (unsigned i = 1; !soak_ends(k); i++) {
        if (nrows == room) {
            size_t more = room ? room * 2 : 1024;
            struct row *at = reallocarray(rows, more, sizeof(*at));
            if (!at)
                break;
            rows = at;
            room = more;
        }
        rows[nrows] = (struct row){0};
        take(k, &rows[nrows]);
        csv_row(f, &rows[nrows++]);
        while (!soak_ends(k) && now_s() - k->began_s < i * k->step_s)
            pause_s(0.01);
    }
    fclose(f);
}

/* --- has it grown? --------------------------------------------------------------------------------------------------------------- */

struct window {
    double mean, most;
    unsigned n;
};

static struct window window(double from_s, double to_s, unsigned m)
{
    struct window w = {0};

    for (size_t i = 0; i < nrows; i++)
        if (rows[i].at_s >= from_s && rows[i].at_s <= to_s) {
            w.mean += rows[i].v[m];
            w.most = MAX_OF(w.most, rows[i].v[m]);
            w.n++;
        }
    w.mean = w.n ? w.mean / w.n : 0;
    return w;
}

unsigned sample_count(void)
{
    unsigned n = 1;

    for (unsigned m = 0; m < METRICS; m++)
        n += metrics[m].judged;
    return n;
}

/* The mean of the end against that around a sixth of the time (of an hour: the last 8 minutes, minutes 7 to 15), and not before the
 * load is steady. */
unsigned sample_verdict(struct soak *k)
{
    double t = atomic_load(&k->seconds), early = MAX_OF(t / 6 - t / 20, atomic_load(&k->steady_s)),
           long_s = t * 2 / 15;
    unsigned bad = 0;

    printf("  %-20s %12s %12s %8s %12s   at most +%.0f %%\n", "", "early", "at the end", "", "most",
           k->bound_pct);
    for (unsigned m = 0; m < METRICS; m++) {
        struct window a = window(early, early + long_s, m), b = window(t - long_s, 1e9, m),
                      all = window(0, 1e9, m);
        double bound = MAX_OF(a.mean * (1 + k->bound_pct / 100), a.mean + metrics[m].grain);
        bool ok = (a.n > 0 && b.n > 0 && b.mean <= bound) || !metrics[m].judged;

        printf("  %-20s %12.2f %12.2f %+7.1f%% %12.2f %s%s\n", metrics[m].name, a.mean / metrics[m].scale,
               b.mean / metrics[m].scale, a.mean > 0 ? (b.mean / a.mean - 1) * 100 : 0.0,
               all.most / metrics[m].scale, metrics[m].unit, ok ? "" : " FAILED: it grows");
        bad += !ok;
    }
    if (deaths)
        printf("  the daemon died %d times FAILED\n", deaths);
    free(rows);
    return bad + (deaths > 0);
}
