/* `varve export --plain`: a job of the process that has the store open; whoever asked over the socket waits for it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "conf/value.h"
#include "fs/verb_repo.h"
#include "fs/verb_runs.h"
#include "snap/event.h"
#include "tier/plain.h"
#include "tier/tierd.h"

struct working {
    struct job *j;
    struct store *s;
    struct vol *v;
    struct verb_args a; /* of the job's detail: a line of the control file */
    struct layer_rec rec;
    struct plain_result res;
};

static void say(struct working *w)
{
    const struct plain_result *s = &w->res;
    char size[CONF_SIZE_TEXT], line[128];
    const struct {
        const char *name;
        uint64_t n;
    } counts[] = {{"number", s->number},    {"base", s->base},           {"files", s->files},
                  {"directories", s->dirs}, {"others", s->others},       {"bytes", s->bytes},
                  {"put", s->put},          {"put_bytes", s->put_bytes}, {"deleted", s->deleted},
                  {"gone", s->gone},        {"resumed", s->resumed}};

    conf_size_text(s->put_bytes, size);
    job_say(w->j, "export %u of %.60s: %" PRIu64 " files, %" PRIu64 " of them put (%s), %" PRIu64 " deleted",
            s->number, w->rec.name, s->files, s->put, size, s->deleted);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        snprintf(line, sizeof(line), "%s %" PRIu64, counts[i].name, counts[i].n);
        job_report_line(w->j, line);
    }
}

static int work(struct working *w, struct buf *err)
{
    struct backend_call call = {.timeout_ms = REPO_CALL_MS, .canceled = job_stopped, .arg = w->j};
    struct plain_opts o = {.base = verb_text(&w->a, "base"),
                           .del = verb_num(&w->a, "delete"),
                           .room = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp",
                           .arg = w->j,
                           .progress = job_step};
    struct backend *b;
    int r = snap_wait_durable(w->v, w->rec.layer);

    if (r == 0)
        r = tierd_open(verb_text(&w->a, "url"), true, NULL, &b, err);
    if (r < 0)
        return r;
    job_total(w->j, w->rec.inodes, 0);
    r = plain_run(b, &call, w->v, &w->rec, &o, &w->res, err);
    backend_close(b);
    return r;
}

static int held(struct working *w, uint64_t id)
{
    cleanup(buf_free) struct buf err = {0};
    char tag[32];
    int r;

    snprintf(tag, sizeof(tag), "export-%" PRIu64, id);
    if ((r = snap_hold(w->v, w->rec.name, tag)) < 0)
        return r;
    r = work(w, &err);
    snap_release_all(w->v, tag);
    if (r == 0)
        say(w);
    else if (r != -E_CANCELED)
        job_say(w->j, "%s", err.len ? buf_cstr(&err) : err_text(r));
    return r;
}

/* detail: a line as of the control file `backup`. */
int plain_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct working w = {.j = j, .s = s, .v = verb_vol_of_id(s, info->vol)};
    cleanup(buf_free) struct buf err = {0};
    int r = verb_parse_line("backup", info->detail, strlen(info->detail), &w.a, &err);

    if (r < 0)
        job_say(j, "%s", err.len ? buf_cstr(&err) : err_text(r));
    if (r == 0 && (!w.a.verb || !verb_given(&w.a, "snap") || !w.v))
        r = -E_INVAL;
    if (r == 0 && (r = snap_find(w.v, verb_text(&w.a, "snap"), &w.rec)) == -E_NOENT)
        job_say(j, "snapshot %.100s is gone", verb_text(&w.a, "snap"));
    if (r == 0)
        r = held(&w, info->id);
    verb_args_free(&w.a);
    return r;
}

/* --- the verb ------------------------------------------------------------------------------------------------------- */

static int detail_of(const struct verb_args *a, const char *snap, struct buf *ret, struct buf *err)
{
    int r = buf_puts(ret, "export plain=yes");

    if (r == 0)
        r = verb_line_add(ret, "snap", snap);
    if (r == 0)
        r = verb_line_add(ret, "url", verb_text(a, "url"));
    if (r == 0)
        r = verb_line_add(ret, "base", verb_text(a, "base"));
    if (r == 0 && verb_num(a, "delete"))
        r = buf_puts(ret, " delete=yes");
    return r < 0 ? r : verb_job_fits(ret, "export: the URL is too long; use a shorter one", err);
}

static int check(struct verb_ctx *c, const struct verb_args *a, struct layer_rec *rec, struct buf *err)
{
    const char *snap = verb_text(a, "snap");
    int r;

    if (!verb_num(a, "plain") || !snap) {
        buf_printf(
            err, "export: %s",
            snap ? "say --plain: what is exported is not encrypted; backup export makes an encrypted file"
                 : "a snapshot is missing; write TARGET@SNAP");
        return -E_USAGE;
    }
    r = backend_url_check(verb_text(a, "url"), err);
    if (r == 0 && (r = snap_find(c->vol, snap, rec)) < 0)
        return verb_snap_complain(r, snap, err);
    return r;
}

RUN(run_plain)
{
    struct verb_job_words words = {.verb = "export", .doing = "exports", .report = "export"};
    cleanup(buf_free) struct buf detail = {0};
    struct layer_rec rec;
    int r = check(c, a, &rec, err);

    if (r == 0)
        r = detail_of(a, rec.name, &detail, err);
    words.snap = rec.name;
    return r < 0 ? r : verb_job_run(c, a, "export", &detail, &words, out, err);
}
