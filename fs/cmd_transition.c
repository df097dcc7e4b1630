/* varve repo transition: old packs get another storage class. In the command line's process; as a job where a profile asks for it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/jw.h"
#include "conf/lifecycle.h"
#include "conf/value.h"
#include "fs/verb_long.h"
#include "fs/verb_repo.h"
#include "fs/verb_runs.h"
#include "snap/event.h"
#include "tier/transition.h"

static int result_json(const struct transition_result *s, const struct transition_opts *o, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_object(&j, "transition");
    jw_str(&j, "class", o->class);
    jw_bool(&j, "dry_run", o->dry);
    jw_u64(&j, "packs", s->packs);
    jw_u64(&j, "bytes", s->bytes);
    jw_u64(&j, "there", s->there);
    jw_u64(&j, "there_bytes", s->there_bytes);
    jw_u64(&j, "young", s->young);
    jw_u64(&j, "metadata", s->metadata);
    jw_u64(&j, "unnamed", s->unnamed);
    jw_u64(&j, "archived", s->archived);
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static void result_line(const struct transition_result *s, const struct transition_opts *o, char *out,
                        size_t size)
{
    char moved[CONF_SIZE_TEXT], there[CONF_SIZE_TEXT];

    conf_size_text(s->bytes, moved);
    conf_size_text(s->there_bytes, there);
    snprintf(out, size,
             "%" PRIu64 " packs, %s, %s %s; %" PRIu64 " packs, %s, were there; %" PRIu64
             " are too young, %" PRIu64 " hold metadata and stay",
             s->packs, moved, o->dry ? "would go to" : "went to", o->class, s->there, there,
             s->young + s->unnamed, s->metadata);
}

/* The age, by the clocks here and there. */
static int opts_of(struct repo *repo, const struct verb_args *a, const struct backend_call *call,
                   struct transition_opts *ret)
{
    int64_t there_ns = 0;
    int r = backend_now(repo->b, call, &there_ns);

    ret->class = verb_text(a, "class");
    ret->before_ns =
        lifecycle_before((int64_t)(verb_num(a, "older") / 1000000000), clock_wall_ns(), there_ns);
    ret->dry = verb_num(a, "dry-run");
    return r;
}

static int on_progress(void *arg, uint64_t items, uint64_t bytes)
{
    return long_say(arg, "packs have another class", items, 0, bytes);
}

static int class_of(const struct verb_args *a, struct buf *err)
{
    if (transition_class_check(verb_text(a, "class")) == 0)
        return 0;
    buf_printf(err,
               "repo transition: class \"%.80s\" is none; write STANDARD_IA, GLACIER, as the server calls it",
               verb_text(a, "class"));
    return -E_USAGE;
}

REPO_LOCAL(repo_transition)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    cleanup(buf_free) struct buf why = {0};
    struct backend_call call = {.canceled = long_stopped};
    struct transition_opts o = {.progress = on_progress};
    struct transition_result res = {0};
    struct verb_long l;
    char line[256];
    int r = class_of(a, &ans->err);

    if (r == 0)
        r = repo_place_of(a, ans, &p);
    if (r == 0)
        r = repo_place_open(p, &call, NULL, &repo, &ans->err);
    if (r < 0)
        return r;
    o.arg = &l;
    long_begin(&l, a->json);
    r = opts_of(repo, a, &call, &o);
    if (r == 0)
        r = transition_run(repo, &o, &res, &why);
    long_end(&l);
    if (r < 0) {
        buf_printf(&ans->err, "%s: %s", repo_place_name(p), why.len ? buf_cstr(&why) : backend_text(r));
        return r;
    }
    if (a->json)
        return result_json(&res, &o, &ans->out);
    result_line(&res, &o, line, sizeof(line));
    return buf_printf(&ans->out, "%s\n", line);
}

/* --- by a profile ----------------------------------------------------------------------------------------------------- */

static int run(struct job *j, const struct verb_args *a, struct repo_place *place, struct repo **repo,
               struct transition_result *res, struct buf *err)
{
    struct backend_call call = {.canceled = job_stopped, .arg = j};
    struct transition_opts o = {.arg = j, .progress = job_step};
    char line[256];
    int r = repo_place_parse(verb_text(a, "repo"), false, a, place, err);

    if (r == 0)
        r = repo_place_open(place, &call, NULL, repo, err);
    if (r == 0)
        r = opts_of(*repo, a, &call, &o);
    if (r == 0)
        r = transition_run(*repo, &o, res, err);
    if (r == -E_NOTSUP && strncmp(place->conf.url, "s3:", 3) != 0) { /* it never will */
        job_say(j, "%s", buf_cstr(err));
        return 0;
    }
    if (r < 0)
        return r;
    result_line(res, &o, line, sizeof(line));
    job_say(j, "%s", line);
    return 0;
}

int transition_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct repo_place *place = calloc(1, sizeof(*place));
    struct vol *v = verb_vol_of_id(s, info->vol);
    cleanup(verb_args_free) struct verb_args a = {0};
    cleanup(buf_free) struct buf err = {0};
    struct transition_result res = {0};
    struct repo *repo = NULL;
    int r = verb_parse_line("repos", info->detail, strlen(info->detail), &a, &err);

    if (r == 0 && !a.verb)
        r = -E_INVAL;
    if (r == 0 && !place)
        r = -E_NOMEM;
    if (r == 0)
        r = run(j, &a, place, &repo, &res, &err);
    if (r < 0 && r != -E_CANCELED)
        job_say(j, "%s", err.len ? buf_cstr(&err) : backend_text(r));
    else if (r == 0 && res.packs)
        event_emit(s, "transition-done", v ? v->rec.name : "", "%" PRIu64 " packs of %.300s went to %s",
                   res.packs, repo_place_name(place), verb_text(&a, "class"));
    repo_done(&repo);
    repo_place_free(&place);
    return r;
}
