/* Rows that are programs: tests/bench/apps.sh does the work and says how long it took, or at what rate it went. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <stdlib.h>

static int script(struct work *w, const char *step, char *ret_line, size_t size)
{
    char path[PATH_SIZE];
    const char *argv[] = {"bash",       path,     w->row->how, step, w->is_short ? "short" : "full",
                          settings.run, w->place, NULL};
    int r;

    snprintf(path, sizeof(path), "%s/apps.sh", settings.run);
    r = run_program(argv, ret_line, size);
    if (r == 0)
        return 0;
    snprintf(w->why, sizeof(w->why), "%s %s: %.100s", w->row->how, step,
             ret_line[0] ? ret_line : "failed, see the log");
    return -1;
}

static int apps_prepare(struct work *w)
{
    char line[256] = "";

    return script(w, "prepare", line, sizeof(line));
}

/* "seconds S" or "rate R". */
static int apps_round(struct work *w, struct meter *m)
{
    char line[256] = "", what[16];
    double value;

    if (script(w, "round", line, sizeof(line)) < 0)
        return -1;
    if (sscanf(line, "%15s %lf", what, &value) != 2 || value <= 0) {
        snprintf(w->why, sizeof(w->why), "%s said: %.100s", w->row->how, line);
        return -1;
    }
    m->ops = 1;
    m->took_ns = strcmp(what, "rate") == 0 ? 1e9 / value : value * 1e9;
    return 0;
}

#define APP(id_, title_, bound_, peers_, ...)                                                                \
    {                                                                                                        \
        id_, title_, KIND_RATE, bound_, peers_, apps_prepare, apps_round, id_, __VA_ARGS__                   \
    }

const struct row rows_apps[] = {
    APP("sqlite-full", "SQLite, WAL, synchronous=FULL", "1.1", "1.03 / 4.4", .needs_disk = 1),
    APP("sqlite-normal", "SQLite, WAL, synchronous=NORMAL", "3 writeback=2", "2.4 / 41", .needs_disk = 1),
    APP("pgbench", "pgbench, scale 5, 4 clients", "1.15", "1.3 / 3.2", .needs_disk = 1),
    APP("dbench-1", "dbench 1", "2.5", "3.4 / 21", .needs_disk = 1),
    APP("dbench-4", "dbench 4", "2", "2.7 / 14", .needs_disk = 1),
    APP("untar", "untar", "4", "7.2 / 41", .needs_disk = 1),
    APP("git-add", "git add", "3", "4.2 / 21", .needs_disk = 1),
    APP("git-status", "git status, warm", "1.3", "3.1 / 46", .drop = 0),
    APP("grep", "grep, warm", "1.3", "3.3 / 29", .drop = 0),
    APP("cp", "cp -a", "2.5", "3.4 / 20", .needs_disk = 1),
    APP("rm", "rm -rf", "3", "4.5 / 44", .needs_disk = 1),
    APP("du-cold", "du, cold", "1.5", "1.7 / 3.9", .drop = 1),
    {0},
};
