/* bench run|rows|tree|floor: see usage(). tests/bench/run.sh is what people call. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ONLY_MAX 64

struct settings settings;
static const char *only[ONLY_MAX];
static unsigned nonly, nfailed;
static FILE *out;

struct place {
    char name[NAME_SIZE], mnt[PATH_SIZE];
    bool asked; /* on the command line: stays for the whole run */
    bool is_up;
    char why[160]; /* it cannot be had */
};
static struct place places[PLACES_MAX];
static unsigned nplaces;

static const struct row *const tables[] = {rows_meta, rows_data, rows_apps, rows_snap};

static bool is_wanted(const struct row *r)
{
    for (unsigned i = 0; i < nonly; i++)
        if (strcmp(only[i], r->id) == 0)
            return true;
    return nonly == 0;
}

/* --- places --- */

static int targets(const char *verb, const char *name, char *ret_line, size_t size)
{
    const char *argv[] = {"bash", settings.targets, verb, name, NULL};

    return run_program(argv, ret_line, size);
}

static struct place *place_find(const char *name)
{
    struct place *p;

    for (unsigned i = 0; i < nplaces; i++)
        if (strcmp(places[i].name, name) == 0)
            return &places[i];
    if (nplaces == PLACES_MAX)
        return NULL;
    p = &places[nplaces++];
    *p = (struct place){0};
    snprintf(p->name, sizeof(p->name), "%s", name);
    snprintf(p->mnt, sizeof(p->mnt), "%s/mnt/%s", settings.run, name);
    return p;
}

/* Mounts it unless it is mounted already. -1: it cannot be had, which is said in the results. */
static int place_up(struct place *p)
{
    if (p->is_up)
        return 0;
    if (p->why[0])
        return -1;
    if (targets("up", p->name, p->why, sizeof(p->why)) != 0) {
        if (!p->why[0])
            snprintf(p->why, sizeof(p->why), "it could not be mounted");
        printf("%s: %s\n", p->name, p->why);
        return -1;
    }
    p->why[0] = 0;
    p->is_up = true;
    return 0;
}

static void place_down(struct place *p)
{
    char line[160];

    if (p->is_up)
        targets("down", p->name, line, sizeof(line));
    p->is_up = false;
}

/* The next option that the row has a bound of its own for, as the name of a place: "14 io_uring=7" has varve-io_uring. NULL: no more. */
static const char *option_next(const char **bound, char *ret, size_t size)
{
    const char *eq = strchr(*bound, '='), *from = eq;

    if (!eq)
        return NULL;
    while (from > *bound && from[-1] != ' ')
        from--;
    *bound = eq + 1;
    snprintf(ret, size, "varve-%.*s", (int)(eq - from), from);
    return ret;
}

static bool is_asked(const char *name)
{
    const struct place *p = place_find(name);

    return p && p->asked;
}

/* With an option varve is measured where it is as it comes, and what both are compared with. */
static bool has_options(const struct row *r)
{
    return !r->places[0] && is_asked("varve") && is_asked("ext4");
}

static bool row_names(const struct row *r, const char *place)
{
    const char *bound = r->bound;
    char name[NAME_SIZE];

    for (unsigned i = 0; i < ARRAY_LEN(r->places) && r->places[i]; i++)
        if (strcmp(r->places[i], place) == 0)
            return true;
    while (has_options(r) && option_next(&bound, name, sizeof(name)))
        if (strcmp(name, place) == 0)
            return true;
    return false;
}

/* Those that only some rows have are kept for the next of these. */
static void places_tidy(const struct row *next)
{
    for (unsigned i = 0; i < nplaces; i++)
        if (!places[i].asked && (!next || !row_names(next, places[i].name)))
            place_down(&places[i]);
}

/* --- one row --- */

struct turn {
    struct place *place;
    struct work w;
    bool bad;
};

static void say_bad(struct turn *t, const char *why)
{
    t->bad = true;
    if (!t->w.why[0])
        snprintf(t->w.why, sizeof(t->w.why), "%s", why);
    fprintf(out, "%s\t%s\tna\t%s\n", t->w.row->id, t->place->name, t->w.why);
    printf("  %s: %s\n", t->place->name, t->w.why);
    if (strncmp(t->place->name, "varve", 5) == 0 || strcmp(t->place->name, "ext4") == 0)
        nfailed++;
}

static void turn_prepare(struct turn *t, const struct row *r)
{
    struct work *w = &t->w;

    *w = (struct work){.row = r,
                       .place = t->place->name,
                       .mnt = t->place->mnt,
                       .is_short = settings.is_short,
                       .rand = 42,
                       .fd = -1};
    if (place_up(t->place) < 0) {
        say_bad(t, t->place->why);
        return;
    }
    snprintf(w->dir, sizeof(w->dir), "%.300s/%s", t->place->mnt, r->keep ? r->how : r->id);
    w->ready = mkdir(w->dir, 0755) < 0 && errno == EEXIST;
    if (chdir(w->dir) < 0 && fail(w, w->dir) < 0)
        say_bad(t, "");
    else if (r->prepare && r->prepare(w) < 0)
        say_bad(t, "it could not be prepared");
    if (r->needs_disk)
        settle(settings.disk);
}

/* What has to be so before the clock starts. */
static int turn_ready(struct turn *t)
{
    const struct row *r = t->w.row;
    char line[160];

    if (chdir("/") < 0)
        return -1;
    if (r->restart && targets("restart", t->place->name, line, sizeof(line)) != 0)
        return -1;
    if (r->drop && drop_caches() < 0)
        return -1;
    return chdir(t->w.dir);
}

static void turn_round(struct turn *t, unsigned round)
{
    struct cpu a, b;
    struct meter m = {0};
    double others, wall;

    t->w.round = round;
    if (turn_ready(t) < 0) {
        say_bad(t, "it was not ready for a round");
        return;
    }
    cpu_read(&a, t->place->name);
    if (t->w.row->round(&t->w, &m) < 0) {
        say_bad(t, "a round failed");
    } else {
        cpu_read(&b, t->place->name);
        wall = b.wall - a.wall;
        others = (b.busy - a.busy) - (b.own - a.own) - (b.daemon - a.daemon) - (b.kernel - a.kernel);
        fprintf(out, "%s\t%s\t%u\t%.1f\t%.1f\t%.3f\t%.3f\t%.3f\t%.4f\t%.3f\n", t->w.row->id, t->place->name,
                round, meter_part(&m, 0.5), meter_part(&m, 0.99), meter_rate(&m),
                MAX_OF(b.daemon - a.daemon, 0.0), b.own - a.own, MAX_OF(others, 0.0) / wall / cpu_count(),
                wall);
    }
    free(m.ns);
    if (t->w.row->needs_disk)
        settle(settings.disk);
}

static void turn_end(struct turn *t)
{
    if (t->w.fd >= 0)
        close(t->w.fd);
    free(t->w.state);
    if (chdir("/") < 0)
        abort();
    if (!t->w.row->keep && t->w.dir[0])
        remove_tree(t->w.dir);
}

static unsigned turns_of(const struct row *r, struct turn *turns)
{
    const char *bound = r->bound;
    char name[NAME_SIZE];
    unsigned n = 0;

    for (unsigned i = 0; i < ARRAY_LEN(r->places) && r->places[i]; i++)
        turns[n++].place = place_find(r->places[i]);
    for (unsigned i = 0; i < nplaces && !r->places[0]; i++)
        if (places[i].asked)
            turns[n++].place = &places[i];
    while (has_options(r) && option_next(&bound, name, sizeof(name))) {
        struct place *p = place_find(name);

        if (p && !p->asked && n < PLACES_MAX)
            turns[n++].place = p;
    }
    return n;
}

static void run_row(const struct row *r)
{
    struct turn turns[PLACES_MAX] = {0};
    uint64_t t = now_ns();
    unsigned n;

    places_tidy(r);
    n = turns_of(r, turns);
    printf("%s\n", r->id);
    for (unsigned i = 0; i < n; i++)
        turn_prepare(&turns[i], r);
    for (unsigned round = 0; round < settings.rounds; round++)
        for (unsigned i = 0; i < n; i++) {
            struct turn *turn = &turns[(i + round) % n]; /* who comes first pays for what the last one left */

            if (!turn->bad)
                turn_round(turn, round);
        }
    for (unsigned i = 0; i < n; i++)
        turn_end(&turns[i]);
    if (r->needs_disk)
        settle(settings.disk);
    fprintf(out, "%s\t-\ttook\t%.1f\n", r->id, (double)(now_ns() - t) / 1e9);
    fflush(out);
}

/* --- the command line --- */

static int usage(void)
{
    fprintf(stderr, "usage: bench run --run DIR --targets PROGRAM --out FILE [--short] [--rounds N] [--only "
                    "ROW]... PLACE...\n"
                    "       bench rows                       the rows, with tabs between: id, kind, bound, "
                    "bold, base, title, peers\n"
                    "       bench tree DIR FILES             a tree as of a C project\n"
                    "       bench floor DIR [--counts FILE]  a filesystem that keeps all in memory, on the "
                    "transport of varve's\n");
    return 2;
}

static int print_rows(void)
{
    static const char kinds[] = "LRM";

    for (unsigned k = 0; k < ARRAY_LEN(tables); k++)
        for (const struct row *r = tables[k]; r->id; r++)
            printf("%s\t%c\t%s\t%s\t%s\t%s\t%s\n", r->id, kinds[r->kind], r->bound, r->bold ? "bold" : "-",
                   r->places[0] ? r->places[0] : "ext4", r->title, r->peers);
    return 0;
}

static bool row_known(const char *id)
{
    for (unsigned k = 0; k < ARRAY_LEN(tables); k++)
        for (const struct row *r = tables[k]; r->id; r++)
            if (strcmp(r->id, id) == 0)
                return true;
    fprintf(stderr, "bench: there is no row '%s'; `bench rows` lists them\n", id);
    return false;
}

static int parse_run(int argc, char **argv, const char **ret_out)
{
    static const struct option longs[] = {{"run", required_argument, NULL, 'r'},
                                          {"targets", required_argument, NULL, 't'},
                                          {"out", required_argument, NULL, 'o'},
                                          {"short", no_argument, NULL, 's'},
                                          {"rounds", required_argument, NULL, 'n'},
                                          {"only", required_argument, NULL, 'y'},
                                          {0}};
    int c;

    settings.rounds = 5;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (c) {
        case 'r': settings.run = optarg; break;
        case 't': settings.targets = optarg; break;
        case 'o': *ret_out = optarg; break;
        case 's': settings.is_short = true; break;
        case 'n': settings.rounds = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'y':
            if (!row_known(optarg) || nonly == ONLY_MAX)
                return -1;
            only[nonly++] = optarg;
            break;
        default: return -1;
        }
    }
    if (!settings.run || !settings.targets || !*ret_out || settings.rounds == 0 || optind == argc)
        return -1;
    snprintf(settings.disk, sizeof(settings.disk), "%s/disk", settings.run);
    for (; optind < argc; optind++) {
        struct place *p = place_find(argv[optind]);

        if (!p)
            return -1;
        p->asked = true;
    }
    return 0;
}

static int run_all(int argc, char **argv)
{
    const char *path = NULL;

    if (parse_run(argc, argv, &path) < 0)
        return usage();
    out = fopen(path, "ae");
    if (!out) {
        perror(path);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    for (unsigned k = 0; k < ARRAY_LEN(tables); k++)
        for (const struct row *r = tables[k]; r->id; r++)
            if (is_wanted(r))
                run_row(r);
    places_tidy(NULL);
    fclose(out);
    return nfailed > 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc >= 2 && strcmp(argv[1], "run") == 0)
        return run_all(argc - 1, argv + 1);
    if (argc == 2 && strcmp(argv[1], "rows") == 0)
        return print_rows();
    if (argc == 4 && strcmp(argv[1], "tree") == 0)
        return make_tree(argv[2], strtoul(argv[3], NULL, 10)) < 0 ? (perror(argv[2]), 1) : 0;
    if (argc >= 3 && strcmp(argv[1], "floor") == 0)
        return floor_main(argc - 1, argv + 1);
    return usage();
}
