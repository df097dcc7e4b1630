/* varve migrate: recovery points go to another repository, and volumes that read from the old one read from the new one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conf/value.h"
#include "fs/migrate.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "snap/event.h"
#include "tier/prune.h"

#define WAIT_MS 500u

/* --- what was asked for --------------------------------------------------------------------------------------------------- */

static int share_of(const struct verb_args *a, double *ret, struct buf *err)
{
    const char *text = verb_text(a, "verify");
    char *end;

    *ret = 1;
    if (!text || strcmp(text, "full") == 0)
        return 0;
    *ret = strtod(text, &end) / 100;
    if (end != text && (!*end || strcmp(end, "%") == 0) && *ret > 0 && *ret <= 1)
        return 0;
    buf_printf(err, "migrate: --verify %.20s: write full, or percents of the packs, such as 5%%", text);
    return -E_USAGE;
}

static int text_of(const struct verb_args *a, const char *name, char *out, size_t size, struct buf *err)
{
    const char *text = verb_text(a, name);

    if (!text)
        return 0;
    if (strlen(text) < size && !strchr(text, '\n')) {
        memcpy(out, text, strlen(text) + 1);
        return 0;
    }
    buf_printf(err, "migrate: --%s is too long, or has a line break", name);
    return -E_USAGE;
}

static int path_of(const struct verb_args *a, char ret[PART_PATH_MAX + 1], struct buf *err)
{
    const char *path = verb_text(a, "path");

    if (!path)
        return 0;
    if (part_path(path, ret) == 0 && ret[0])
        return 0;
    buf_puts(err, "migrate: --path names something below the root of the volume, without \"..\"");
    return -E_USAGE;
}

/* Ages count from when it is to begin, and stay what they were when it is begun anew. */
static int filter_of(const struct verb_args *a, int64_t now_ns, struct migrate_filter *f, struct buf *err)
{
    int r = text_of(a, "volume", f->volume, sizeof(f->volume), err);

    if (r == 0)
        r = text_of(a, "label", f->label, sizeof(f->label), err);
    if (verb_given(a, "older"))
        f->before_ns = now_ns - (int64_t)verb_num(a, "older");
    if (verb_given(a, "newer"))
        f->since_ns = now_ns - (int64_t)verb_num(a, "newer");
    f->least_bytes = verb_num(a, "larger");
    f->most_bytes = verb_num(a, "smaller");
    return r < 0 ? r : path_of(a, f->path, err);
}

static int grace_of(const struct verb_args *a, int64_t *ret, struct buf *err)
{
    *ret = (int64_t)verb_num(a, "grace");
    if (!*ret || *ret >= CONDEMNED_GRACE_NS)
        return 0;
    buf_puts(err, "migrate: a grace is 1h at least, so that backups under way notice");
    return -E_USAGE;
}

static int place_of(struct conf_repo *ret, struct repo_place *p, int r)
{
    if (r == 0)
        *ret = p->conf;
    return r;
}

static int sides_of(const struct verb_args *a, struct migrate *m, struct buf *err)
{
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    int r = p ? 0 : -E_NOMEM;

    if (r == 0 && (!verb_given(a, "from") || !verb_given(a, "to"))) {
        buf_puts(err, "migrate: give --from REPO and --to REPO; or the name of a migration that is there "
                      "(varve migrate status)");
        r = -E_USAGE;
    }
    if (r == 0)
        r = place_of(&m->from, p, repo_place_parse(verb_text(a, "from"), false, a, p, err));
    if (r == 0)
        r = place_of(&m->to, p, repo_place_parse_to(verb_text(a, "to"), a, p, err));
    return r;
}

/* What plan and run both have. */
static int asked_for(const struct verb_args *a, const char *name, int64_t at_ns, struct migrate *m,
                     struct buf *err)
{
    int r = sides_of(a, m, err);

    snprintf(m->name, sizeof(m->name), "%s", name);
    m->made_ns = clock_wall_ns();
    m->at_ns = at_ns;
    m->share = 1;
    m->bandwidth = verb_num(a, "bandwidth");
    return r < 0 ? r : filter_of(a, MAX_OF(m->made_ns, m->at_ns), &m->filter, err);
}

static int made(const struct verb_args *a, const char *name, struct migrate *m, struct buf *err)
{
    int r = asked_for(a, name, verb_given(a, "at") ? verb_val(a, "at")->when_ns : 0, m, err);

    m->drop_source = verb_num(a, "delete-source");
    if (r == 0 && m->drop_source && m->filter.path[0]) {
        buf_puts(err,
                 "migrate: --path copies a part of each recovery point: --delete-source would delete the "
                 "rest of it, too; varve backup expire deletes what is old there");
        r = -E_USAGE;
    }
    if (r == 0)
        r = share_of(a, &m->share, err);
    return r < 0 ? r : grace_of(a, &m->grace_ns, err);
}

static int no_such(const char *name, int r, struct buf *err)
{
    if (r == -E_NOENT)
        buf_printf(err, "there is no migration %.64s; varve migrate status shows what there is", name);
    else if (r < 0)
        buf_printf(err, "migration %.64s: %s", name, err_text(r));
    return r;
}

/* --- showing -------------------------------------------------------------------------------------------------------------- */

static void count_json(struct jw *j, const char *name, const struct migrate_count *n)
{
    jw_object(j, name);
    jw_u64(j, "recovery_points", n->points);
    jw_u64(j, "objects", n->pieces);
    jw_u64(j, "bytes", n->bytes);
    jw_close(j);
}

static void one_json(struct jw *j, const struct migrate *m, uint64_t job)
{
    bool live = m->state == MIGRATE_RUNS || m->state == MIGRATE_FAILED || m->state == MIGRATE_CANCELED;

    jw_str(j, "name", m->name);
    jw_name(j, "from", m->from.url, strlen(m->from.url));
    jw_name(j, "to", m->to.url, strlen(m->to.url));
    jw_str(j, "state", migrate_state_name(m->state));
    jw_str(j, "stage", live ? migrate_stage_name(m->stage) : NULL);
    if (m->filter.path[0])
        jw_name(j, "path", m->filter.path, strlen(m->filter.path));
    else
        jw_str(j, "path", NULL);
    jw_bool(j, "delete_source", m->drop_source);
    jw_time(j, "made", m->made_ns);
    jw_time(j, "at", m->at_ns);
    jw_time(j, "began", m->began_ns);
    jw_time(j, "ended", m->ended_ns);
    count_json(j, "there_before", &m->there);
    count_json(j, "to_copy", &m->todo);
    count_json(j, "copied", &m->done);
    jw_u64(j, "sent_bytes", m->sent_bytes);
    jw_u64(j, "switched_ranges", m->ranges);
    jw_u64(j, "switched_bytes", m->range_bytes);
    jw_u64(j, "deleted_at_source", m->dropped);
    jw_u64(j, "job", job);
    if (m->why[0])
        jw_name(j, "why", m->why, strlen(m->why));
    else
        jw_str(j, "why", NULL);
}

static int count_text(const char *what, const struct migrate_count *n, struct buf *out)
{
    char size[CONF_SIZE_TEXT];

    conf_size_text(n->bytes, size);
    return buf_printf(out, "%-13s %" PRIu64 " recovery points, %" PRIu64 " objects, %s\n", what, n->points,
                      n->pieces, size);
}

static int one_text(const struct migrate *m, uint64_t job, struct buf *out)
{
    char sent[CONF_SIZE_TEXT], moved[CONF_SIZE_TEXT], at[32];
    int r = buf_printf(out, "name          %s\nfrom          %s\nto            %s\nstate         %s", m->name,
                       m->from.url, m->to.url, migrate_state_name(m->state));

    show_time(m->at_ns, at);
    conf_size_text(m->sent_bytes, sent);
    conf_size_text(m->range_bytes, moved);
    if (r == 0 && m->state == MIGRATE_WAITS)
        r = buf_printf(out, ": %s", at);
    else if (r == 0 && m->state != MIGRATE_DONE)
        r = buf_printf(out, ": %s%s%s", migrate_stage_name(m->stage), m->why[0] ? ": " : "", m->why);
    if (r == 0)
        r = buf_printf(out, "%s%" PRIu64 "%s\n", job ? " (job " : "", job, job ? ")" : "");
    if (r == 0 && m->filter.path[0])
        r = buf_printf(out, "path          %s\n", m->filter.path);
    if (r == 0)
        r = count_text("there before", &m->there, out);
    if (r == 0)
        r = count_text("to copy", &m->todo, out);
    if (r == 0)
        r = count_text("copied", &m->done, out);
    return r < 0 ? r
                 : buf_printf(out,
                              "sent          %s\nswitched      %" PRIu64 " ranges, %s\ndeleted       %" PRIu64
                              " recovery points at the source%s\n",
                              sent, m->ranges, moved, m->dropped, m->drop_source ? "" : " (they stay)");
}

static int show_one(struct verb_ctx *c, const struct migrate *m, struct buf *out)
{
    uint64_t job = migrate_job_of(c->env->store, m->name);
    struct jw j;

    if (!c->json)
        return one_text(m, job, out);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_object(&j, "migration");
    one_json(&j, m, job);
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

struct showing {
    struct verb_ctx *c;
    struct show_cols cols;
    struct jw j;
    size_t n;
};

static void row(struct show_cols *c, const struct migrate *m, int bad)
{
    char done[CONF_SIZE_TEXT], all[CONF_SIZE_TEXT];

    conf_size_text(m->done.bytes, done);
    conf_size_text(m->todo.bytes, all);
    show_cell(c, "%s", m->name);
    show_cell(c, "%s", bad < 0 ? "unreadable" : migrate_state_name(m->state));
    show_cell(c, "%s",
              bad < 0                    ? err_text(bad)
              : m->state == MIGRATE_RUNS ? migrate_stage_name(m->stage)
                                         : "-");
    show_cell(c, "%" PRIu64 "/%" PRIu64, m->done.pieces, m->todo.pieces);
    show_cell(c, "%s of %s", done, all);
    show_cell(c, "%.60s", m->from.url);
    show_cell(c, "%.60s", m->to.url);
}

static int show_row(void *arg, struct migrate *m, int bad)
{
    struct showing *s = arg;

    s->n++;
    if (!s->c->json) {
        row(&s->cols, m, bad);
        return 0;
    }
    if (bad < 0)
        return 0;
    jw_object(&s->j, NULL);
    one_json(&s->j, m, migrate_job_of(s->c->env->store, m->name));
    jw_close(&s->j);
    return s->j.err;
}

static int show_all(struct verb_ctx *c, struct buf *out)
{
    static const char *const heads[] = {"NAME", "STATE", "STAGE", "OBJECTS", "BYTES", "FROM", "TO"};
    struct showing s = {.c = c, .cols = {.ncols = ARRAY_LEN(heads)}};
    int r;

    s.j = jw_begin(out, true);
    if (c->json) {
        jw_object(&s.j, NULL);
        jw_u64(&s.j, "schema", 1);
        jw_array(&s.j, "migrations");
    }
    for (size_t i = 0; !c->json && i < ARRAY_LEN(heads); i++)
        show_cell(&s.cols, "%s", heads[i]);
    r = migrate_each(store_io(c->env->store), store_path(c->env->store), show_row, &s);
    if (c->json) {
        jw_close(&s.j);
        jw_close(&s.j);
        return r < 0 ? r : jw_end(&s.j);
    }
    if (r == 0 && s.n > 0)
        return show_cols_print(&s.cols, "", out);
    buf_free(&s.cols.cells);
    return r < 0 ? r : buf_puts(out, "no migrations\n");
}

RUN(run_migrate_status)
{
    const char *name = verb_text(a, "name");
    struct store *s = c->env->store;
    struct migrate *m;
    int r;

    if (!name)
        return show_all(c, out);
    if (!(m = calloc(1, sizeof(*m))))
        return -E_NOMEM;
    r = no_such(name, migrate_load(store_io(s), store_path(s), name, m), err);
    if (r == 0)
        r = show_one(c, m, out);
    migrate_release(m);
    free(m);
    return r;
}

/* --- plan ----------------------------------------------------------------------------------------------------------------- */

static int never_stops(void *arg)
{
    (void)arg;
    return 0;
}

static int plan_text(const struct migrate *m, size_t volumes, struct buf *out)
{
    int r = count_text("to copy", &m->todo, out);

    if (r == 0)
        r = count_text("there already", &m->there, out);
    return r < 0 ? r
                 : buf_printf(out, "volumes here  %zu read from the source, and from the destination then\n",
                              volumes);
}

static int plan_show(struct verb_ctx *c, const struct migrate *m, size_t volumes, struct buf *out)
{
    struct jw j;

    if (!c->json)
        return plan_text(m, volumes, out);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    count_json(&j, "to_copy", &m->todo);
    count_json(&j, "there_already", &m->there);
    jw_u64(&j, "sources_of_volumes", volumes);
    jw_close(&j);
    return jw_end(&j);
}

static int plan(struct verb_ctx *c, struct migrate *m, struct buf *out, struct buf *err)
{
    struct migrate_hooks h = {.progress = never_stops};
    struct backend_call call = {.timeout_ms = REPO_CALL_MS};
    struct migrate_sides sides = {0};
    cleanup(buf_free) struct buf relied = {0};
    struct migrate_list l = {0};
    int r = migrate_sides_open(m, &call, &sides, err);

    if (r == 0)
        r = migrate_relied(c->env->store, m, sides.from, &relied);
    if (r == 0)
        r = migrate_list_make(sides.from, sides.to, &m->filter, &relied, &l, err);
    if (r == 0)
        r = migrate_weigh(sides.from, &l, &m->there, &m->todo, &h);
    if (r == 0)
        r = plan_show(c, m, relied.len / SHA_TEXT, out);
    else if (err->len == 0)
        buf_printf(err, "migrate plan: %s", backend_text(r));
    migrate_list_free(&l);
    migrate_sides_close(&sides);
    return r;
}

RUN(run_migrate_plan)
{
    const char *name = verb_text(a, "name");
    struct store *s = c->env->store;
    struct migrate *m = calloc(1, sizeof(*m));
    int r = m ? 0 : -E_NOMEM;

    if (r == 0 && name && !verb_given(a, "from"))
        r = no_such(name, migrate_load(store_io(s), store_path(s), name, m), err);
    else if (r == 0)
        r = asked_for(a, name ? name : "plan", 0, m, err);
    if (r == 0)
        r = plan(c, m, out, err);
    if (m)
        migrate_release(m);
    free(m);
    return r;
}

/* --- run ------------------------------------------------------------------------------------------------------------------ */

/* A new one, or the one of that name. */
static int found_or_made(struct verb_ctx *c, const struct verb_args *a, struct migrate *m, struct buf *err)
{
    const char *name = verb_text(a, "name");
    struct store *s = c->env->store;
    int r = migrate_load(store_io(s), store_path(s), name, m);

    if (r == 0 && verb_given(a, "from")) {
        buf_printf(
            err,
            "there is a migration %s already: varve migrate run STORE %s goes on with it; varve migrate "
            "cancel --forget gives it up",
            name, name);
        return -E_EXIST;
    }
    if (r == 0 && m->state == MIGRATE_DONE) {
        buf_printf(err, "migration %s is done", name);
        return -E_EXIST;
    }
    if (r == 0 || r != -E_NOENT)
        return no_such(name, r, err);
    if (migrate_name_check(name) < 0) {
        buf_printf(err, "migrate run: \"%.64s\" is no name: letters, digits, . _ -, 64 at the most", name);
        return -E_NAME;
    }
    r = made(a, name, m, err);
    return r < 0 ? r : migrate_save(store_io(s), store_path(s), m);
}

static int scheduled(struct verb_ctx *c, const struct migrate *m, struct buf *out)
{
    char at[32];

    event_emit(c->env->store, "migrate-scheduled", "", "%s: to %.300s", m->name, m->to.url);
    if (c->json)
        return show_one(c, m, out);
    show_time(m->at_ns, at);
    return buf_printf(out, "migration %s begins at %s\n", m->name, at);
}

static int answer(struct verb_ctx *c, const char *name, uint64_t id, struct buf *out, struct buf *err)
{
    struct store *s = c->env->store;
    struct migrate *m;
    struct job_info i;
    int r = job_get(s, id, &i);

    if (r == 0 && job_state_ended(i.state) && i.result < 0) {
        buf_printf(err, "migrate: %s", i.text[0] ? i.text : err_text(i.result));
        return i.result;
    }
    if (r < 0 || (!c->json && job_state_ended(i.state)))
        return r < 0 ? r : buf_printf(out, "%s\n", i.text);
    if (!c->json)
        return buf_printf(out, "job %" PRIu64 " migrates; varve migrate status shows how far it is\n", id);
    if (!(m = calloc(1, sizeof(*m))))
        return -E_NOMEM;
    r = migrate_load(store_io(s), store_path(s), name, m);
    if (r == 0)
        r = show_one(c, m, out);
    migrate_release(m);
    free(m);
    return r;
}

static int begin(struct verb_ctx *c, const struct verb_args *a, struct migrate *m, struct buf *out,
                 struct buf *err)
{
    uint64_t id;
    int r;

    if (m->state == MIGRATE_WAITS && m->at_ns > clock_wall_ns())
        return scheduled(c, m, out);
    r = migrate_start(c->env->store, m, &id);
    if (r < 0)
        return r;
    r = verb_job_await(c, a, id, err);
    return r < 0 ? r : answer(c, m->name, id, out, err);
}

RUN(run_migrate_run)
{
    struct migrate *m = calloc(1, sizeof(*m));
    int r = m ? found_or_made(c, a, m, err) : -E_NOMEM;

    if (r == 0)
        r = begin(c, a, m, out, err);
    if (m)
        migrate_release(m);
    free(m);
    return r;
}

/* --- cancel --------------------------------------------------------------------------------------------------------------- */

static int cancel(struct verb_ctx *c, struct migrate *m, bool forget, struct buf *out)
{
    struct store *s = c->env->store;
    uint64_t id = migrate_job_of(s, m->name);
    int r = 0;

    if (id) {
        r = job_cancel(s, id);
        while (r == 0 && job_wait(s, id, WAIT_MS) == -E_AGAIN)
            continue;
        r = r == -E_INVAL ? 0 : r; /* it ended in this moment */
    } else if (!forget && m->state != MIGRATE_DONE) {
        m->state = MIGRATE_CANCELED;
        m->ended_ns = clock_wall_ns();
        r = migrate_save(store_io(s), store_path(s), m);
    }
    if (r == 0 && forget)
        r = migrate_forget(store_io(s), store_path(s), m->name);
    if (r < 0)
        return r;
    return buf_printf(out,
                      forget ? "migration %s is forgotten: what was copied stays\n"
                             : "migration %s is cancelled: varve migrate run goes on with it\n",
                      m->name);
}

RUN(run_migrate_cancel)
{
    const char *name = verb_text(a, "name");
    struct migrate *m = calloc(1, sizeof(*m));
    struct store *s = c->env->store;
    int r = m ? no_such(name, migrate_load(store_io(s), store_path(s), name, m), err) : -E_NOMEM;

    if (r == -E_CORRUPT && verb_num(a, "forget")) {
        buf_reset(err);
        snprintf(m->name, sizeof(m->name), "%s", name);
        r = 0;
    }
    if (r == 0)
        r = cancel(c, m, verb_num(a, "forget"), out);
    if (m)
        migrate_release(m);
    free(m);
    return r;
}
