/* Profiles: those of this machine (list, show, add, remove, import, export, check), and that of a volume (set, get). */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/io.h"
#include "conf/daemon.h"
#include "conf/value.h"
#include "fs/verb_profile.h"
#include "fs/verb_runs.h"
#include "fs/verb_value.h"
#include "snap/schedule.h"
#include "tier/policy.h"

#define AHEAD_S 120                                      /* a clock may be set right by so much */
#define RPO_LATEST(rpo_s) ((rpo_s) + (rpo_s) / 10 + 120) /* a run begins a little late, and takes its time */

/* --- words -------------------------------------------------------------------------------------------------------------- */

static int word_add(void *arg, const char *name, const struct profile *p, bool built_in, const char *why)
{
    int r = verb_words_add(arg, name);

    (void)built_in;
    (void)why;
    return r == 0 && p && p->id[0] ? verb_words_add(arg, p->id) : r;
}

/* There is none of this name: is one meant that is called nearly so? */
static void name_complain(const char *word, struct buf *err)
{
    cleanup(verb_words_free) struct verb_words w = {.n = 0};

    (void)profile_lib_each(word_add, &w);
    buf_printf(err, "profile %.80s: there is none of this name or id", word);
    verb_words_near(&w, word, "varve profile list shows what there is", err);
}

int profile_of_word(const char *word, struct profile **ret, struct buf *err)
{
    int r = strchr(word, '\n') ? profile_parse(word, "profile", ret, err) : profile_lib_get(word, ret, err);

    if (r == -E_NOENT && err->len == 0)
        name_complain(word, err);
    else if (r < 0 && err->len == 0)
        buf_printf(err, "profile %.80s: %s", word, err_text(r));
    return r;
}

int verb_profile_resolve(struct verb_args *a, const char *what, struct buf *err)
{
    cleanup(profile_free) struct profile *p = NULL;
    cleanup(buf_free) struct buf text = {0};
    const char *word = verb_text(a, what);
    int r;

    if (!word || strcmp(word, "none") == 0 || strchr(word, '\n'))
        return 0;
    if ((r = profile_of_word(word, &p, err)) < 0 || (r = profile_print(p, &text)) < 0)
        return r;
    for (size_t i = 0; i < VERB_ARGS_MAX && a->verb->args[i].name; i++)
        if (strcmp(a->verb->args[i].name, what) == 0)
            verb_value_free(&a->vals[i]);
    return buf_cstr(&text) ? verb_set(a, what, buf_cstr(&text), err) : -E_NOMEM;
}

/* --- of this machine ---------------------------------------------------------------------------------------------------- */

struct listing {
    struct jw j;
    struct show_cols c;
    bool json;
};

static int list_one(void *arg, const char *name, const struct profile *p, bool built_in, const char *why)
{
    struct listing *l = arg;

    if (!l->json) {
        show_cell(&l->c, "%s", name);
        show_cell(&l->c, "%s", p && p->id[0] ? p->id : "-");
        show_cell(&l->c, "%s", built_in ? "built in" : "here");
        show_cell(&l->c, "%s", p ? p->description : why);
        return l->c.err;
    }
    jw_object(&l->j, NULL);
    jw_str(&l->j, "name", name);
    jw_str(&l->j, "id", p && p->id[0] ? p->id : NULL);
    jw_bool(&l->j, "built_in", built_in);
    jw_str(&l->j, "description", p ? p->description : NULL);
    jw_str(&l->j, "error", why);
    jw_close(&l->j);
    return 0;
}

PROFILE_LOCAL(profile_list)
{
    struct listing l = {.json = a->json, .c = {.ncols = 4}};
    static const char *const heads[] = {"NAME", "ID", "WHERE", "DESCRIPTION"};
    int r;

    l.j = jw_begin(&ans->out, true);
    if (a->json) {
        jw_object(&l.j, NULL);
        jw_u64(&l.j, "schema", 1);
        jw_array(&l.j, "profiles");
    }
    for (size_t i = 0; !a->json && i < ARRAY_LEN(heads); i++)
        show_cell(&l.c, "%s", heads[i]);
    r = profile_lib_each(list_one, &l);
    if (a->json) {
        jw_close(&l.j);
        jw_close(&l.j);
        return r < 0 ? r : jw_end(&l.j);
    }
    return r < 0 ? (buf_free(&l.c.cells), r) : show_cols_print(&l.c, "", &ans->out);
}

static int term_row(void *arg, const char *term, const char *value, bool acted_on)
{
    struct show_cols *c = arg;

    show_cell(c, "%s", term);
    show_cell(c, "%s", value);
    show_cell(c, "%s", acted_on ? "acted on" : "kept");
    return c->err;
}

static int terms_print(const struct profile *p, struct buf *out)
{
    struct show_cols c = {.ncols = 3};
    int r = profile_each_term(p, term_row, &c);

    if (r < 0)
        buf_free(&c.cells);
    return r < 0 ? r : show_cols_print(&c, "", out);
}

PROFILE_LOCAL(profile_show)
{
    cleanup(profile_free) struct profile *p = NULL;
    int r = profile_of_word(verb_text(a, "name"), &p, &ans->err);

    if (r < 0)
        return r;
    return a->json ? profile_json(p, &ans->out) : terms_print(p, &ans->out);
}

/* The file, by its grammar: JSON begins with a brace and a quote. */
static int profile_file_read(const char *path, bool json, struct profile **ret, struct buf *err)
{
    cleanup(buf_free) struct buf text = {0};
    int r = conf_text_read(path, PROFILE_TEXT_MAX, "docs/configuration.md", &text, err);

    if (r == -E_NOENT)
        buf_printf(err, "%s: there is no such file", path);
    if (r < 0)
        return r;
    return json ? profile_parse_json(buf_cstr(&text), text.len, path, ret, err)
                : profile_parse(buf_cstr(&text), path, ret, err);
}

static bool looks_like_json(const char *path)
{
    cleanup(buf_free) struct buf text = {0};
    size_t i = 0;

    if (io_read_file(io_real(), path, PROFILE_TEXT_MAX, &text) < 0)
        return false;
    while (i < text.len && strchr(" \t\r\n", text.data[i]))
        i++;
    return i < text.len && (text.data[i] == '{' || text.data[i] == '[');
}

static int keep(struct verb_args *a, struct verb_answer *ans, bool json)
{
    cleanup(profile_free) struct profile *p = NULL;
    const char *file = verb_text(a, "file"), *name = verb_text(a, "name");
    int r = profile_file_read(file, json, &p, &ans->err);

    if (r < 0)
        return r;
    if (name)
        snprintf(p->name, sizeof(p->name), "%s", name);
    r = profile_name_check(p->name);
    if (r < 0) {
        buf_printf(&ans->err, "%s: %s; give --name: letters, digits, . _ -, 64 at most", file,
                   p->name[0] ? "its name is not allowed" : "it has no name");
        return r;
    }
    r = profile_lib_put(p, verb_num(a, "replace"));
    if (r < 0) {
        buf_printf(&ans->err, "profile %s: %s%s", p->name, err_text(r),
                   r == -E_EXIST ? "; --replace puts this one in its place" : "");
        return r;
    }
    return a->json ? profile_json(p, &ans->out)
                   : buf_printf(&ans->out, "profile %s is kept; varve profile set gives it to a volume\n",
                                p->name);
}

PROFILE_LOCAL(profile_add)
{
    return keep(a, ans, false);
}

PROFILE_LOCAL(profile_import)
{
    return keep(a, ans, true);
}

PROFILE_LOCAL(profile_remove)
{
    const char *name = verb_text(a, "name");
    int r = profile_lib_del(name);
    struct jw j;

    if (r < 0) {
        buf_printf(&ans->err, "profile %s: %s", name,
                   r == -E_PERM    ? "is built in; it stays"
                   : r == -E_NOENT ? "there is none of this name; varve profile list shows what there is"
                                   : err_text(r));
        return r;
    }
    if (!a->json)
        return buf_printf(&ans->out, "profile %s is forgotten here; volumes that have it keep it\n", name);
    j = jw_begin(&ans->out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "removed", name);
    jw_close(&j);
    return jw_end(&j);
}

/* A term a line. */
static void left_out(const struct buf *left, struct buf *err)
{
    const char *p = (const char *)left->data, *end = p + left->len;

    while (p < end) {
        size_t n = strcspn(p, "\n");

        buf_printf(err, "left out, OpenSDS has no place for it: %.*s\n", (int)n, p);
        p += n + 1;
    }
}

PROFILE_LOCAL(profile_export)
{
    cleanup(profile_free) struct profile *p = NULL;
    cleanup(buf_free) struct buf left = {0};
    int r = profile_of_word(verb_text(a, "name"), &p, &ans->err);

    if (r < 0)
        return r;
    if (!verb_num(a, "opensds"))
        return profile_json(p, &ans->out);
    r = profile_json_opensds(p, &ans->out, &left);
    if (r == 0 && left.len && buf_cstr(&left))
        left_out(&left, &ans->err);
    return r;
}

PROFILE_LOCAL(profile_try)
{
    cleanup(profile_free) struct profile *p = NULL;
    const char *file = verb_text(a, "file");
    int r = profile_file_read(file, looks_like_json(file), &p, &ans->err);

    if (r < 0)
        return r;
    return a->json ? profile_json(p, &ans->out) : terms_print(p, &ans->out);
}

/* --- of a volume -------------------------------------------------------------------------------------------------------- */

struct view {
    struct profile *p;
    struct policy_runs runs;
    struct zone z;
    int64_t now_s, last_s,
        begun_s; /* last good backup, or snapshot where there are no backups; since when there is a profile */
};

static void view_free(struct view *w)
{
    profile_free(&w->p);
    zone_release(&w->z);
}

/* The later one of two times, 0 none; one that is to come yet says the least. */
static int64_t later(int64_t a, int64_t b, int64_t now_s)
{
    bool x = a > now_s + AHEAD_S, y = b > now_s + AHEAD_S;

    return !a ? b : !b ? a : x == y ? MAX_OF(a, b) : x ? b : a;
}

/* -E_NODATA: there is no profile. */
static int volume_view(struct verb_ctx *c, struct view *w, struct buf *err)
{
    struct conf_live live;
    int r = policy_get(c->vol, &w->p, err);

    if (r == 0)
        r = policy_runs_get(c->vol, &w->runs);
    if (r < 0)
        return r;
    conf_live_get(&live);
    (void)zone_load(live.time_zone, &w->z); /* UTC where that fails, as the scheduler does */
    w->now_s = clock_wall_ns() / 1000000000;
    w->begun_s = w->now_s;
    for (size_t i = 0; i < w->runs.n; i++) {
        const struct policy_run *run = &w->runs.v[i];

        if (run->kind == (w->p->nbackups ? POLICY_LAST : POLICY_SNAPSHOT))
            w->last_s = later(w->last_s, run->ok_s, w->now_s);
        if (run->kind == POLICY_SNAPSHOT || run->kind == POLICY_BACKUP)
            w->begun_s = MIN_OF(w->begun_s, run->state.since_s);
    }
    return 0;
}

static void plan_row(struct show_cols *c, struct view *w, const struct profile_plan *p, enum policy_kind kind)
{
    const struct policy_run *run = policy_run_find(&w->runs, kind, p->name);
    struct schedule_state fresh = {.since_s = w->now_s};
    struct schedule_todo t = schedule_decide(&p->when, &w->z, run ? &run->state : &fresh, w->now_s);
    char text[128], span[24] = "";

    profile_plan_text(p, text);
    conf_span_print(p->keep_for_s, span);
    show_cell(c, kind == POLICY_BACKUP ? "backup" : "snapshot");
    show_cell(c, "%s", p->name);
    show_cell(c, "%s", text);
    if (kind == POLICY_BACKUP)
        show_cell(c, "to %s", p->to);
    else if (p->keep)
        show_cell(c, "keep %u", p->keep);
    else
        show_cell(c, p->keep_for_s ? "keep for %s" : "-", span);
    profile_time_cell(c, t.run && !(run && run->job) ? t.due_s : t.next_s);
    profile_time_cell(c, run ? run->ok_s : 0);
    show_cell(c, "%s", run && run->result[0] ? run->result : "-");
}

static void tier_row(struct show_cols *c, struct view *w)
{
    const struct policy_run *run = policy_run_find(&w->runs, POLICY_TIER, POLICY_TIER_NAME);

    show_cell(c, POLICY_TIER_NAME);
    show_cell(c, "-");
    show_cell(c, "by age and level");
    show_cell(c, "to %s", tier_policy_to(w->p));
    show_cell(c, "-");
    profile_time_cell(c, run ? run->ok_s : 0);
    show_cell(c, "%s", run && run->result[0] ? run->result : "-");
}

static int plans_print(struct view *w, struct buf *out)
{
    static const char *const heads[] = {"KIND", "NAME", "WHEN", "WHAT", "NEXT", "LAST GOOD", "RESULT"};
    struct show_cols c = {.ncols = ARRAY_LEN(heads)};
    struct tier_policy policy;
    struct life_view life = {w->p, &w->runs, &w->z, w->now_s};
    bool tiers = tier_policy_of(w->p, &policy);

    if (w->p->nsnapshots + w->p->nbackups == 0 && !tiers && !life_asked(w->p))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        show_cell(&c, "%s", heads[i]);
    for (size_t i = 0; i < w->p->nsnapshots; i++)
        plan_row(&c, w, &w->p->snapshots[i], POLICY_SNAPSHOT);
    for (size_t i = 0; i < w->p->nbackups; i++)
        plan_row(&c, w, &w->p->backups[i], POLICY_BACKUP);
    if (tiers)
        tier_row(&c, w);
    life_rows(&c, &life);
    return show_cols_print(&c, "", out);
}

static void plan_json(struct jw *j, struct view *w, const struct profile_plan *p, enum policy_kind kind)
{
    const struct policy_run *run = policy_run_find(&w->runs, kind, p->name);
    struct schedule_state fresh = {.since_s = w->now_s};
    struct schedule_todo t = schedule_decide(&p->when, &w->z, run ? &run->state : &fresh, w->now_s);
    int64_t next = t.run && !(run && run->job) ? t.due_s : t.next_s;
    char text[128];

    profile_plan_text(p, text);
    jw_object(j, NULL);
    jw_str(j, "kind", kind == POLICY_BACKUP ? "backup" : "snapshot");
    jw_str(j, "name", p->name);
    jw_str(j, "when", text);
    jw_str(j, "to", kind == POLICY_BACKUP ? p->to : NULL);
    jw_time(j, "next", next < INT64_MAX / 1000000000 ? next * 1000000000 : 0);
    profile_run_json(j, run);
    jw_close(j);
}

static void tier_json(struct jw *j, struct view *w)
{
    const struct policy_run *run = policy_run_find(&w->runs, POLICY_TIER, POLICY_TIER_NAME);

    jw_object(j, NULL);
    jw_str(j, "kind", POLICY_TIER_NAME);
    jw_str(j, "to", tier_policy_to(w->p));
    profile_run_json(j, run);
    jw_close(j);
}

/* What is asked of the age of copies, and what it is. */
static void rpo_json(struct jw *j, struct view *w)
{
    jw_str(j, "copies_are", w->p->nbackups ? "backups" : "snapshots");
    jw_time(j, "last_good", w->last_s * 1000000000);
    if (w->last_s)
        jw_i64(j, "age_seconds", w->now_s - w->last_s);
    else
        jw_null(j, "age_seconds");
    if (w->p->protection.rpo_s)
        jw_i64(j, "rpo_seconds", w->p->protection.rpo_s);
    else
        jw_null(j, "rpo_seconds");
}

static int term_json(void *arg, const char *term, const char *value, bool acted_on)
{
    struct jw *j = arg;

    jw_object(j, NULL);
    jw_str(j, "term", term);
    jw_str(j, "value", value);
    jw_bool(j, "acted_on", acted_on);
    jw_close(j);
    return 0;
}

static void view_json(struct jw *j, struct view *w)
{
    struct life_view life = {w->p, &w->runs, &w->z, w->now_s};
    struct tier_policy policy;

    jw_object(j, "profile");
    jw_str(j, "name", w->p->name);
    jw_str(j, "id", w->p->id[0] ? w->p->id : NULL);
    rpo_json(j, w);
    jw_array(j, "schedules");
    for (size_t i = 0; i < w->p->nsnapshots; i++)
        plan_json(j, w, &w->p->snapshots[i], POLICY_SNAPSHOT);
    for (size_t i = 0; i < w->p->nbackups; i++)
        plan_json(j, w, &w->p->backups[i], POLICY_BACKUP);
    if (tier_policy_of(w->p, &policy))
        tier_json(j, w);
    life_json(j, &life);
    jw_close(j);
    jw_close(j);
}

static void age_text(const struct view *w, char out[96])
{
    char age[CONF_SIZE_TEXT], asked[24];
    bool ahead = w->last_s > w->now_s + AHEAD_S;

    conf_duration_text((w->now_s - w->last_s) * 1000000000, age);
    conf_span_print(w->p->protection.rpo_s, asked);
    if (!w->last_s)
        snprintf(out, 96, "none yet%s%s%s", w->p->protection.rpo_s ? " (" : "",
                 w->p->protection.rpo_s ? asked : "", w->p->protection.rpo_s ? " asked)" : "");
    else
        snprintf(out, 96, "%s%s%s%s%s", ahead ? "of a time to come" : age, ahead ? "" : " ago",
                 w->p->protection.rpo_s ? " (" : "", w->p->protection.rpo_s ? asked : "",
                 w->p->protection.rpo_s ? " asked)" : "");
}

static int get_json(struct verb_ctx *c, struct view *w, struct buf *out)
{
    struct jw j = jw_begin(out, true);
    int r = 0;

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "volume", c->vol->rec.name, strlen(c->vol->rec.name));
    if (w->p) {
        view_json(&j, w);
        jw_array(&j, "terms");
        r = profile_each_term(w->p, term_json, &j);
        jw_close(&j);
    } else {
        jw_null(&j, "profile");
    }
    jw_close(&j);
    return r < 0 ? r : jw_end(&j);
}

RUN(run_profile_get)
{
    cleanup(view_free) struct view w = {.p = NULL};
    char age[96];
    int r = volume_view(c, &w, err);

    (void)a;
    if (r < 0 && r != -E_NODATA)
        return r;
    if (c->json)
        return get_json(c, &w, out);
    if (r == -E_NODATA)
        return buf_puts(out, "no profile; varve profile set gives it one\n");
    age_text(&w, age);
    r = buf_printf(out, "profile %s%s%s\nlast good %s: %s\n", w.p->name, w.p->id[0] ? " " : "", w.p->id,
                   w.p->nbackups ? "backup" : "snapshot", age);
    if (r == 0)
        r = plans_print(&w, out);
    if (r == 0)
        r = buf_puts(out, "\n");
    return r < 0 ? r : terms_print(w.p, out);
}

/* What this process cannot do of it, as remarks. */
static void remarks(const struct profile *p, struct buf *err)
{
    for (size_t i = 0; i < p->nbackups; i++) {
        cleanup(buf_free) struct buf why = {0};
        struct conf_repo *c = calloc(1, sizeof(*c));
        const char *to = p->backups[i].to;

        if (c && !strchr(to, ':') && !strchr(to, '/') && conf_repo_get(to, c, &why) < 0)
            buf_printf(err,
                       "backups.%s: the process that serves the store knows no repository %s; varve repo "
                       "add, as its user\n",
                       p->backups[i].name, to);
        free(c);
    }
}

static int set_answer(struct verb_ctx *c, const struct profile *p, uint32_t others, struct buf *out)
{
    struct jw j;

    if (!c->json && p)
        return others ? buf_printf(out,
                                   "volume %s has profile %s; so have %" PRIu32 " others, which follow it\n",
                                   c->vol->rec.name, p->name, others)
                      : buf_printf(out, "volume %s has profile %s\n", c->vol->rec.name, p->name);
    if (!c->json)
        return buf_printf(out, "volume %s has no profile; its snapshots stay\n", c->vol->rec.name);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "volume", c->vol->rec.name, strlen(c->vol->rec.name));
    jw_str(&j, "profile", p ? p->name : NULL);
    jw_u64(&j, "others", others);
    jw_close(&j);
    return jw_end(&j);
}

RUN(run_profile_set)
{
    cleanup(profile_free) struct profile *p = NULL;
    const char *word = verb_text(a, "name");
    uint32_t others = 0;
    int r = strcmp(word, "none") == 0 ? 0 : profile_of_word(word, &p, err);

    if (r == 0 && p && !p->name[0])
        snprintf(p->name, sizeof(p->name), "unnamed");
    if (r == 0)
        r = policy_set(c->vol, p, true, &others);
    if (r == -E_TOOBIG)
        buf_printf(err, "profile %s: is longer than %u bytes; shorten it", p->name, POLICY_TEXT_MAX);
    if (r < 0)
        return r;
    event_emit(c->env->store, "profile-set", c->vol->rec.name, "%s", p ? p->name : "none");
    if (p)
        remarks(p, err);
    return set_answer(c, p, others, out);
}

/* --- for status --------------------------------------------------------------------------------------------------------- */

void profile_status_rows(struct show_cols *cols, struct verb_ctx *c)
{
    cleanup(view_free) struct view w = {.p = NULL};
    int64_t next = SCHEDULE_NEVER;
    char text[96];

    if (volume_view(c, &w, NULL) < 0)
        return;
    for (size_t i = 0; i < w.p->nsnapshots; i++)
        next = MIN_OF(next, schedule_next(&w.p->snapshots[i].when, &w.z, w.now_s));
    for (size_t i = 0; i < w.p->nbackups; i++)
        next = MIN_OF(next, schedule_next(&w.p->backups[i].when, &w.z, w.now_s));
    show_cell(cols, "profile");
    show_cell(cols, "%s", w.p->name);
    age_text(&w, text);
    show_cell(cols, w.p->nbackups ? "last good backup" : "last good snapshot");
    show_cell(cols, "%s", text);
    show_cell(cols, "next run");
    profile_time_cell(cols, next == SCHEDULE_NEVER ? 0 : next);
}

void profile_status_json(struct jw *j, struct verb_ctx *c)
{
    cleanup(view_free) struct view w = {.p = NULL};

    if (volume_view(c, &w, NULL) < 0)
        jw_null(j, "profile");
    else
        view_json(j, &w);
}

static const char *trouble_of(uint32_t kind)
{
    return kind == POLICY_EXPIRE || kind == POLICY_MOVE ? policy_kind_name(kind) : "schedule";
}

/* One of a clock that was ahead would be young until that time comes. */
static bool too_old(const struct view *w)
{
    int64_t rpo_s = w->p->protection.rpo_s, age_s = w->now_s - MAX_OF(w->last_s, w->begun_s);

    return rpo_s && (age_s > RPO_LATEST(rpo_s) || age_s < -RPO_LATEST(rpo_s));
}

int profile_trouble(struct verb_ctx *c, struct buf *out)
{
    cleanup(view_free) struct view w = {.p = NULL};
    char text[96];
    int r = 0;

    if (volume_view(c, &w, NULL) < 0)
        return 0;
    if (too_old(&w)) {
        age_text(&w, text);
        buf_printf(out, "protection: the last good %s is %s; varve profile get says why\n",
                   w.p->nbackups ? "backup" : "snapshot", text);
        r = -E_TIMEOUT;
    }
    for (size_t i = 0; i < w.runs.n; i++)
        if (w.runs.v[i].state.failures > 0) {
            buf_printf(out, "%s %s: %s\n", trouble_of(w.runs.v[i].kind), w.runs.v[i].name,
                       w.runs.v[i].result);
            r = r ? r : -E_TIMEOUT;
        }
    return r;
}
