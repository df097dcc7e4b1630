/* Verbs about jobs and events. */
#include "fs/verb_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "conf/value.h"
#include "fs/verb_runs.h"

#define WAIT_MS 900 /* less than the second in which a control file answers */

struct jobs_list {
    struct store *s;
    const char *verb; /* NULL: all */
    struct vol *v;
    struct job_info *i;
    size_t n;
};

static void jobs_list_free(struct jobs_list *l)
{
    free(l->i);
}

static int collect(void *arg, const struct job_info *i)
{
    struct jobs_list *l = arg;
    struct job_info *more;

    if (l->verb && strcmp(l->verb, i->verb) != 0)
        return 0;
    if (l->v && i->vol && i->vol != l->v->rec.id) /* those of the store as a whole are everybody's */
        return 0;
    more = array_more(l->i, l->n, sizeof(*more));
    if (!more)
        return -E_NOMEM;
    l->i = more;
    l->i[l->n++] = *i;
    return 0;
}

/* The name of a volume by its id; "" for the store's own jobs and what is gone. */
static void name_of(struct store *s, uint32_t id, char out[NAME_LEN_MAX + 1])
{
    struct vol *v;
    struct txn t;

    out[0] = 0;
    if (id == 0 || txn_begin(s, TXN_READ, OP_NONE, NULL, &t) < 0)
        return;
    v = vol_by_id(s, id);
    if (v)
        snprintf(out, NAME_LEN_MAX + 1, "%s", v->rec.name);
    txn_abort(&t);
}

static void done_cell(struct show_cols *c, const struct job_info *i)
{
    char a[CONF_SIZE_TEXT], b[CONF_SIZE_TEXT];

    conf_size_text(i->bytes_done, a);
    conf_size_text(i->bytes_total, b);
    if (i->bytes_total)
        show_cell(c, "%s of %s", a, b);
    else if (i->items_total)
        show_cell(c, "%" PRIu64 " of %" PRIu64, i->items_done, i->items_total);
    else if (i->bytes_done)
        show_cell(c, "%s", a);
    else
        show_cell(c, i->items_done ? "%" PRIu64 : "-", i->items_done);
}

static void rate_cell(struct show_cols *c, const struct job_info *i)
{
    char a[CONF_SIZE_TEXT];

    if (i->bytes_per_s) {
        conf_size_text(i->bytes_per_s, a);
        show_cell(c, "%s/s", a);
    } else if (i->items_per_s) {
        show_cell(c, "%" PRIu64 "/s", i->items_per_s);
    } else {
        show_cell(c, "-");
    }
}

static void job_row(struct show_cols *c, struct store *s, const struct job_info *i)
{
    char name[NAME_LEN_MAX + 1], eta[CONF_SIZE_TEXT];

    name_of(s, i->vol, name);
    conf_duration_text(i->eta_ns, eta);
    show_cell(c, "%" PRIu64, i->id);
    show_cell(c, "%s", i->verb);
    show_cell_name(c, name[0] ? name : "-");
    show_cell_name(c, i->detail[0] ? i->detail : "-");
    show_cell(c, "%s%s", job_state_name(i->state),
              i->cancel && !job_state_ended(i->state) ? " (cancelling)" : "");
    done_cell(c, i);
    rate_cell(c, i);
    show_cell(c, "%s", i->eta_ns >= 0 ? eta : "-");
    show_cell(c, "%s", i->text[0] ? i->text : "-");
}

static int jobs_json(struct store *s, const struct jobs_list *l, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "jobs");
    for (size_t i = 0; i < l->n; i++) {
        char name[NAME_LEN_MAX + 1];

        name_of(s, l->i[i].vol, name);
        jw_object(&j, NULL);
        show_job_json(&j, &l->i[i], name[0] ? name : NULL);
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

int verb_jobs_list(struct store *s, struct vol *v, bool json, struct buf *out)
{
    return verb_jobs_of(s, v, NULL, json, out);
}

int verb_jobs_of(struct store *s, struct vol *v, const char *verb, bool json, struct buf *out)
{
    static const char *const heads[] = {"ID",   "VERB", "VOLUME", "OF",  "STATE",
                                        "DONE", "RATE", "LEFT",   "TEXT"};
    cleanup(jobs_list_free) struct jobs_list l = {.s = s, .v = v, .verb = verb};
    struct show_cols c = {.ncols = ARRAY_LEN(heads), .right = 1};
    int r = jobs_each(s, collect, &l);

    if (r < 0)
        return r;
    if (json)
        return jobs_json(s, &l, out);
    if (l.n == 0)
        return buf_puts(out, "no jobs\n");
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        show_cell(&c, "%s", heads[i]);
    for (size_t i = 0; i < l.n; i++)
        job_row(&c, s, &l.i[i]);
    return show_cols_print(&c, "", out);
}

RUN(run_job_list)
{
    (void)a;
    (void)err;
    return verb_jobs_list(c->env->store, c->vol, c->json, out);
}

static int no_job(uint64_t id, int r, struct buf *err)
{
    if (r == -E_NOENT)
        buf_printf(err, "job %" PRIu64 ": does not exist; varve job list shows what there is", id);
    else
        buf_printf(err, "job %" PRIu64 ": %s", id, err_text(r));
    return r;
}

/* A volume's control files know its own jobs only. */
static int job_of(struct verb_ctx *c, uint64_t id, struct job_info *ret, struct buf *err)
{
    int r = job_get(c->env->store, id, ret);

    if (r == 0 && c->via == VIA_CONTROL && ret->vol != c->vol->rec.id)
        r = -E_NOENT;
    return r < 0 ? no_job(id, r, err) : 0;
}

static int job_answer(struct verb_ctx *c, const struct job_info *i, struct buf *out)
{
    char name[NAME_LEN_MAX + 1];
    struct jw j;

    if (!c->json)
        return buf_printf(out, "job %" PRIu64 " %s: %s\n", i->id, job_state_name(i->state), i->text);
    name_of(c->env->store, i->vol, name);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_object(&j, "job");
    show_job_json(&j, i, name[0] ? name : NULL);
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

/* --- verbs that began one --------------------------------------------------------------------------------------------- */

static bool store_closes(const struct verb_env *e)
{
    return e->host && e->host->closes && e->host->closes(e->host->arg) && !BROKEN(VARVE_BREAK_await_closing);
}

int verb_job_await(struct verb_ctx *c, const struct verb_args *a, uint64_t id, struct buf *err)
{
    c->job = id;
    if (c->via == VIA_CONTROL || verb_num(a, "background"))
        return 0;
    while (job_wait(c->env->store, id, WAIT_MS) == -E_AGAIN)
        if (store_closes(c->env)) {
            buf_printf(err,
                       "%s: the store is being closed; job %" PRIu64
                       " goes on at the next mount, varve job list shows how far it is",
                       a->verb->name, id);
            return -E_CLOSED;
        }
    return 0;
}

static int report_members(struct jw *j, struct store *s, uint64_t id)
{
    cleanup(buf_free) struct buf report = {0};
    int r = job_report(s, id, &report);
    char *save = NULL, *line, *text = report.len ? (char *)(uintptr_t)buf_cstr(&report) : NULL;

    for (line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
        char *value = strchr(line, ' ');

        if (!value)
            continue;
        *value++ = 0;
        if (strcmp(line, "id") == 0 ||
            (strcmp(line, "base") == 0 && strlen(value) != strspn(value, "0123456789")))
            jw_str(j, line, value);
        else if (!*value)
            jw_null(j, line);
        else
            jw_u64(j, line, strtoull(value, NULL, 10));
    }
    return r;
}

static int answer_json(struct verb_ctx *c, const struct job_info *i, const struct verb_job_words *w,
                       struct buf *out)
{
    struct jw j = jw_begin(out, true);
    int r = 0;

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "volume", c->vol->rec.name, strlen(c->vol->rec.name));
    if (w->snap)
        jw_name(&j, "snapshot", w->snap, strlen(w->snap));
    jw_object(&j, "job");
    show_job_json(&j, i, c->vol->rec.name);
    jw_close(&j);
    if (w->report) {
        jw_object(&j, w->report);
        r = report_members(&j, c->env->store, i->id);
        jw_close(&j);
    }
    jw_close(&j);
    return r < 0 ? r : jw_end(&j);
}

int verb_job_answer(struct verb_ctx *c, uint64_t id, const struct verb_job_words *w, struct buf *out,
                    struct buf *err)
{
    struct job_info i;
    int r = job_get(c->env->store, id, &i);

    if (r < 0)
        return r;
    if (job_state_ended(i.state) && i.result < 0) {
        buf_printf(err, "%s: %s", w->verb, i.text[0] ? i.text : err_text(i.result));
        return i.result;
    }
    if (c->json)
        return answer_json(c, &i, w, out);
    if (!job_state_ended(i.state))
        return buf_printf(out, "job %" PRIu64 " %s%s%s%s; varve job list shows how far it is\n", id, w->doing,
                          w->snap ? " " : "", w->snap ? w->snap : "", w->particle ? w->particle : "");
    return buf_printf(out, "%s\n", i.text);
}

int verb_job_run(struct verb_ctx *c, const struct verb_args *a, const char *kind, struct buf *detail,
                 const struct verb_job_words *w, struct buf *out, struct buf *err)
{
    uint64_t id;
    int r = job_join(c->env->store, kind, c->vol->rec.id, buf_cstr(detail), &id);

    if (r < 0)
        return r;
    r = verb_job_await(c, a, id, err);
    return r < 0 ? r : verb_job_answer(c, id, w, out, err);
}

int verb_job_fits(struct buf *detail, const char *why, struct buf *err)
{
    if (buf_cstr(detail) && detail->len <= JOB_DETAIL_MAX)
        return 0;
    buf_puts(err, why);
    return -E_TOOBIG;
}

/* --- verbs about one ---------------------------------------------------------------------------------------------------- */

RUN(run_job_wait)
{
    uint64_t id = verb_num(a, "id");
    struct job_info i;
    int r = job_of(c, id, &i, err), w;

    if (r < 0)
        return r;
    w = job_wait(c->env->store, id, WAIT_MS);
    r = job_of(c, id, &i, err);
    if (r < 0)
        return r;
    if (w == -E_AGAIN) {
        buf_printf(err, "job %" PRIu64 ": still %s; wait again", id, job_state_name(i.state));
        return w;
    }
    if (w < 0) {
        buf_printf(err, "job %" PRIu64 ": %s: %s", id, job_state_name(i.state), i.text);
        return w;
    }
    return job_answer(c, &i, out);
}

RUN(run_job_cancel)
{
    uint64_t id = verb_num(a, "id");
    struct job_info i;
    int r = job_of(c, id, &i, err);

    if (r < 0)
        return r;
    r = job_cancel(c->env->store, id);
    if (r == -E_INVAL) {
        buf_printf(err, "job %" PRIu64 ": is %s already; nothing to cancel", id, job_state_name(i.state));
        return r;
    }
    if (r == 0)
        r = job_get(c->env->store, id, &i);
    return r < 0 ? no_job(id, r, err) : job_answer(c, &i, out);
}

/* --- events ------------------------------------------------------------------------------------------------------- */

struct events_list {
    struct jw j;
    struct buf *out;
    bool json;
};

static int event_take(void *arg, const struct event *e)
{
    struct events_list *l = arg;

    if (!l->json)
        return show_event_text(e, l->out);
    jw_object(&l->j, NULL);
    show_event_json(&l->j, e);
    jw_close(&l->j);
    return l->j.err;
}

int verb_events_list(struct store *s, struct vol *v, uint64_t since, bool json, struct buf *out)
{
    struct events_list l = {.out = out, .json = json};
    char name[NAME_LEN_MAX + 1] = "";
    int r;

    if (v)
        name_of(s, v->rec.id, name);
    l.j = jw_begin(out, true);
    if (json) {
        jw_object(&l.j, NULL);
        jw_u64(&l.j, "schema", 1);
        jw_array(&l.j, "events");
    }
    r = events_each(s, since, v ? name : NULL, event_take, &l);
    if (!json || r < 0)
        return r;
    jw_close(&l.j);
    jw_close(&l.j);
    return jw_end(&l.j);
}

RUN(run_events)
{
    (void)err;
    return verb_events_list(c->env->store, c->vol, verb_num(a, "since"), c->json, out);
}
