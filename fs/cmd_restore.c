/* varve restore: files of a recovery point into a directory. In the command line's process. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "conf/value.h"
#include "fs/verb_repo.h"
#include "fs/verb_show.h"
#include "tier/restore.h"

#define PROGRESS_NS 500000000

static volatile sig_atomic_t stopped;

static void on_stop(int sig)
{
    (void)sig;
    stopped = 1;
}

static bool is_stopped(void *arg)
{
    (void)arg;
    return stopped;
}

struct restoring {
    struct buf hurt; /* paths with their NUL */
    int64_t said_ns;
    bool tty;
};

/* A line that is written over, for who looks at a terminal. */
static int on_progress(void *arg, uint64_t items, uint64_t bytes)
{
    struct restoring *w = arg;
    char size[CONF_SIZE_TEXT];

    if (stopped)
        return -E_CANCELED;
    if (!w->tty || clock_mono_ns() - w->said_ns < PROGRESS_NS)
        return 0;
    w->said_ns = clock_mono_ns();
    conf_size_text(bytes, size);
    fprintf(stderr, "\r%" PRIu64 " files, %s   ", items, size);
    return 0;
}

static void on_hurt(void *arg, const char *path, int why)
{
    struct restoring *w = arg;

    (void)why;
    buf_add(&w->hurt, path, strlen(path) + 1);
}

static int say_json(const struct restore_result *res, const struct point *p, const struct restoring *w,
                    struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "recovery_point", p->id);
    jw_u64(&j, "files", res->files);
    jw_u64(&j, "directories", res->dirs);
    jw_u64(&j, "others", res->others);
    jw_u64(&j, "bytes", res->bytes);
    jw_u64(&j, "weaker", res->weaker);
    jw_array(&j, "damaged");
    for (size_t at = 0; at < w->hurt.len; at += strlen((const char *)w->hurt.data + at) + 1)
        jw_name(&j, NULL, w->hurt.data + at, strlen((const char *)w->hurt.data + at));
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static int say_text(const struct restore_result *res, const struct point *p, struct verb_answer *ans,
                    const struct restoring *w)
{
    char size[CONF_SIZE_TEXT];
    int r = 0;

    conf_size_text(res->bytes, size);
    for (size_t at = 0; r == 0 && at < w->hurt.len; at += strlen((const char *)w->hurt.data + at) + 1)
        r = buf_printf(&ans->err, "/%s is damaged in the repository and was left out\n", w->hurt.data + at);
    if (r == 0 && res->weaker)
        r = buf_printf(&ans->err,
                       "%" PRIu64 " owners, modes or attributes were not allowed here and are missing\n",
                       res->weaker);
    return r < 0 ? r
                 : buf_printf(&ans->out, "%s@%s (%.12s): %" PRIu64 " files, %" PRIu64 " directories, %s\n",
                              p->volume_name, p->snapshot_name, p->id, res->files, res->dirs, size);
}

static int restore_from(struct repo *repo, const struct repo_place *place, struct verb_args *a,
                        struct verb_answer *ans)
{
    const struct verb_val *words = verb_val(a, "to");
    struct restoring w = {.tty = isatty(STDERR_FILENO) && !a->json};
    struct restore_opts o = {.paths = words->texts,
                             .npaths = words->ntexts - 1,
                             .arg = &w,
                             .progress = on_progress,
                             .hurt = on_hurt};
    struct restore_result res = {0};
    struct point p = {.flags = 0};
    int r = point_find(repo, place->id, &p, &ans->err);

    if (r < 0)
        return r;
    r = restore_run(repo, &p, words->texts[words->ntexts - 1], &o, &res, &ans->err);
    if (w.tty && w.said_ns)
        fputs("\r                                        \r", stderr);
    if (r == 0)
        r = a->json ? say_json(&res, &p, &w, &ans->out) : say_text(&res, &p, ans, &w);
    ans->exit_code = res.hurt ? 1 : 0;
    buf_free(&w.hurt);
    point_release(&p);
    return r;
}

REPO_LOCAL(restore_files)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(repo_done) struct repo *repo = NULL;
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESETHAND}, was;
    struct backend_call call = {.canceled = is_stopped};
    int r = p ? repo_place_parse(verb_text(a, "point"), true, a, p, &ans->err) : -E_NOMEM;

    if (r == 0)
        r = repo_place_open(p, &call, NULL, &repo, &ans->err);
    if (r < 0)
        return r;
    sigaction(SIGINT, &stop, &was);
    r = restore_from(repo, p, a, ans);
    sigaction(SIGINT, &was, NULL);
    return r;
}
