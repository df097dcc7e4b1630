/* varve backup undelete, varve backup expire: recovery points go by a rule, and can be had back for a while. In the command line's process;
 * as a job where a profile asks for it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/clock.h"
#include "conf/daemon.h"
#include "conf/lifecycle.h"
#include "fs/verb_repo.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "tier/expire.h"
#include "tier/trash.h"

#define ID_SHOWN 12

/* --- what can be had back ------------------------------------------------------------------------------------------------- */

struct seen {
    char id[SHA_TEXT], volume[POINT_NAME_MAX + 1], snapshot[POINT_NAME_MAX + 1];
    struct uuid of;
    int64_t taken_ns, until_ns;
};
struct points {
    struct seen *v;
    size_t n;
    const char *volume;    /* NULL: all */
    const struct uuid *of; /* only this one's, whatever it was called; NULL: all */
    struct buf *err;
};

static void points_free(struct points *l)
{
    free(l->v);
}

static int keep_until(void *arg, const struct point *p, int64_t until_ns)
{
    struct points *l = arg;
    struct seen *v;

    if (l->volume && strcmp(l->volume, p->volume_name) != 0)
        return 0;
    if (l->of && !uuid_equal(l->of, &p->volume) && !BROKEN(VARVE_BREAK_expire_others))
        return 0;
    if (!(v = array_more(l->v, l->n, sizeof(*v))))
        return -E_NOMEM;
    l->v = v;
    v += l->n++;
    *v = (struct seen){.of = p->volume, .taken_ns = p->taken_ns, .until_ns = until_ns};
    memcpy(v->id, p->id, sizeof(v->id));
    memcpy(v->volume, p->volume_name, sizeof(v->volume));
    memcpy(v->snapshot, p->snapshot_name, sizeof(v->snapshot));
    return 0;
}

static int keep(void *arg, const struct point *p)
{
    return keep_until(arg, p, 0);
}

static int rows_json(const struct points *l, const char *list, struct buf *out)
{
    struct jw j = jw_begin(out, true);

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, list);
    for (size_t i = 0; i < l->n; i++) {
        const struct seen *s = &l->v[i];

        jw_object(&j, NULL);
        jw_str(&j, "id", s->id);
        jw_name(&j, "volume", s->volume, strlen(s->volume));
        jw_name(&j, "snapshot", s->snapshot, strlen(s->snapshot));
        jw_time(&j, "taken", s->taken_ns);
        jw_time(&j, "until", s->until_ns);
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

static int rows_text(const struct points *l, const char *none, const char *last, struct buf *out)
{
    const char *const heads[] = {"ID", "VOLUME", "SNAPSHOT", "TAKEN", last};
    struct show_cols c = {.ncols = ARRAY_LEN(heads)};

    if (l->n == 0)
        return buf_puts(out, none);
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        show_cell(&c, "%s", heads[i]);
    for (size_t i = 0; i < l->n; i++) {
        char taken[32], until[32];

        show_time(l->v[i].taken_ns, taken);
        show_time(l->v[i].until_ns, until);
        show_cell(&c, "%.*s", ID_SHOWN, l->v[i].id);
        show_cell_name(&c, l->v[i].volume);
        show_cell_name(&c, l->v[i].snapshot);
        show_cell(&c, "%s", taken);
        show_cell(&c, "%s", until);
    }
    return show_cols_print(&c, "", out);
}

/* Which one is meant by 8 or more digits. */
static const struct seen *meant(const struct points *l, const char *id, struct buf *err)
{
    const struct seen *found = NULL;

    for (size_t i = 0; strlen(id) >= 8 && i < l->n; i++) {
        if (strncmp(l->v[i].id, id, strlen(id)) != 0 || (found && strcmp(found->id, l->v[i].id) == 0))
            continue;
        if (found) {
            buf_printf(err, "%s: several begin so; write more digits", id);
            return NULL;
        }
        found = &l->v[i];
    }
    if (!found)
        buf_printf(err,
                   "%s: no deleted recovery point of this id can be had back; without an id varve backup "
                   "undelete lists them",
                   id);
    return found;
}

static int undelete(struct repo *repo, const struct points *l, const char *id, bool json,
                    struct verb_answer *ans)
{
    const struct seen *s = meant(l, id, &ans->err);
    struct jw j;
    int r = s ? trash_back(repo, s->id) : -E_NOENT;

    if (r < 0 && ans->err.len == 0)
        buf_printf(&ans->err, "%.12s: %s", s->id, r == -E_NOENT ? "its time is over" : backend_text(r));
    if (r < 0)
        return r;
    if (!json)
        return buf_printf(&ans->out, "recovery point %.12s is back\n", s->id);
    j = jw_begin(&ans->out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "back", s->id);
    jw_close(&j);
    return jw_end(&j);
}

REPO_LOCAL(backup_undelete)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    cleanup(points_free) struct points l = {.err = &ans->err};
    int r = repo_place_of(a, ans, &p);

    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &ans->err);
    if (r == 0)
        r = trash_each(repo, keep_until, &l);
    if (r < 0)
        return r;
    if (verb_given(a, "id"))
        return undelete(repo, &l, verb_text(a, "id"), a->json, ans);
    return a->json ? rows_json(&l, "deleted", &ans->out)
                   : rows_text(&l, "nothing that was deleted can be had back\n", "UNTIL", &ans->out);
}

/* --- by a rule ------------------------------------------------------------------------------------------------------------ */

static uint32_t number(const struct verb_args *a, const char *name)
{
    return (uint32_t)MIN_OF(verb_num(a, name), (uint64_t)UINT32_MAX);
}

static int rule_of(const struct verb_args *a, struct expire_rule *ret, struct buf *err)
{
    *ret = (struct expire_rule){.keep = {.newest = number(a, "keep"),
                                         .hourly = number(a, "hourly"),
                                         .daily = number(a, "daily"),
                                         .weekly = number(a, "weekly"),
                                         .monthly = number(a, "monthly"),
                                         .yearly = number(a, "yearly")}};
    if (verb_given(a, "older"))
        ret->before_ns = clock_wall_ns() - (int64_t)verb_num(a, "older");
    if (ret->before_ns || retain_all_set(&ret->keep))
        return 0;
    buf_puts(err, "backup expire: say what stays (--keep N, --daily N, ...) or what goes (--older AGE)");
    return -E_USAGE;
}

/* Those that may go are left in the list. */
static int decide(const struct expire_rule *rule, struct points *l)
{
    struct expire_item *v = calloc(l->n + 1, sizeof(*v));
    cleanup(zone_release) struct zone z = {.n = 0};
    struct conf_live live;
    struct seen *gone = calloc(l->n + 1, sizeof(*gone));
    size_t n = 0;
    int r = v && gone ? 0 : -E_NOMEM;

    conf_live_get(&live);
    if (r == 0)
        r = zone_load(live.time_zone, &z);
    for (size_t i = 0; r == 0 && i < l->n; i++)
        v[i] = (struct expire_item){.volume = l->v[i].of, .taken_ns = l->v[i].taken_ns, .tag = i};
    if (r == 0)
        r = expire_decide(rule, &z, v, l->n);
    for (size_t i = 0; r >= 0 && i < l->n; i++)
        if (v[i].drop)
            gone[n++] = l->v[v[i].tag];
    free(v);
    if (r >= 0) {
        free(l->v);
        l->v = gone;
        l->n = n;
    } else {
        free(gone);
    }
    return MIN_OF(r, 0);
}

/* j NULL: nobody stops it. */
static int drop_all(struct repo *repo, int64_t keep_ns, struct points *l, struct job *j, struct buf *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < l->n; i++) {
        if (j && (r = job_step(j, i, 0)) < 0)
            return r;
        r = trash_put(repo, l->v[i].id, keep_ns);
        r = r == -E_NOENT ? 0 : r; /* somebody else did */
        l->v[i].until_ns = keep_ns ? clock_wall_ns() + keep_ns : 0;
        if (r < 0)
            buf_printf(err, "%.12s: %s; %zu of %zu are deleted", l->v[i].id, backend_text(r), i, l->n);
    }
    return r;
}

static void unreadable(void *arg, const char *id, int why)
{
    buf_printf(((struct points *)arg)->err, "recovery point %.*s cannot be read, and stays: %s\n", ID_SHOWN,
               id, err_text(why));
}

REPO_LOCAL(backup_expire)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    cleanup(points_free) struct points l = {.volume = verb_text(a, "volume"), .err = &ans->err};
    struct expire_rule rule;
    int r = repo_place_of(a, ans, &p);

    if (r == 0)
        r = rule_of(a, &rule, &ans->err);
    if (r == 0)
        r = repo_place_open(p, NULL, NULL, &repo, &ans->err);
    if (r == 0)
        r = points_each(repo, keep, unreadable, &l);
    if (r == 0)
        r = decide(&rule, &l);
    if (r == 0 && !verb_num(a, "dry-run"))
        r = drop_all(repo, (int64_t)verb_num(a, "undo"), &l, NULL, &ans->err);
    if (r < 0)
        return r;
    return a->json ? rows_json(&l, verb_num(a, "dry-run") ? "would_be_deleted" : "deleted", &ans->out)
                   : rows_text(&l, "nothing to delete\n", verb_num(a, "dry-run") ? "(NOT DELETED)" : "UNTIL",
                               &ans->out);
}

/* --- by a profile --------------------------------------------------------------------------------------------------------- */

struct expiring {
    struct job *j;
    struct store *s;
    struct vol *v;
    struct verb_args a; /* of the job's detail: a line of the control file */
    struct repo_place *place;
    struct repo *repo;
};

static void expired_say(struct expiring *w, size_t n, size_t of)
{
    char text[160], until[64] = "";
    int64_t undo_ns = (int64_t)verb_num(&w->a, "undo");

    if (undo_ns) {
        char when[32];

        show_time(clock_wall_ns() + undo_ns, when);
        snprintf(until, sizeof(until), "; to be had back until %s", when);
    }
    snprintf(text, sizeof(text), "%zu of %zu recovery points deleted%s", n, of, n ? until : "");
    job_say(w->j, "%s in %.80s", text, repo_place_name(w->place));
    if (n)
        event_emit(w->s, "expired", w->v->rec.name, "%s in %.300s", text, repo_place_name(w->place));
}

/* What cannot be read stays. */
static int expire_run(struct expiring *w, struct buf *err)
{
    struct backend_call call = {.canceled = job_stopped, .arg = w->j};
    cleanup(buf_free) struct buf unread = {0};
    cleanup(points_free) struct points l = {.of = &w->v->rec.uuid, .err = &unread};
    struct expire_rule rule = {.before_ns = 0};
    int64_t there_ns = 0, older_s = (int64_t)(verb_num(&w->a, "older") / 1000000000);
    size_t all;
    int r = repo_place_parse(verb_text(&w->a, "repo"), false, &w->a, w->place, err);

    if (r == 0)
        r = repo_place_open(w->place, &call, NULL, &w->repo, err);
    if (r == 0)
        r = points_each(w->repo, keep, unreadable, &l);
    if (r == 0)
        r = backend_now(w->repo->b, &call, &there_ns);
    rule.before_ns = lifecycle_before(older_s, clock_wall_ns(), there_ns);
    all = l.n;
    if (r == 0)
        r = decide(&rule, &l);
    if (r < 0)
        return r;
    job_total(w->j, l.n, 0);
    r = drop_all(w->repo, (int64_t)verb_num(&w->a, "undo"), &l, w->j, err);
    if (r == 0)
        expired_say(w, l.n, all);
    return r;
}

int expire_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct expiring w = {
        .j = j, .s = s, .v = verb_vol_of_id(s, info->vol), .place = calloc(1, sizeof(*w.place))};
    cleanup(buf_free) struct buf err = {0};
    int r = verb_parse_line("backup", info->detail, strlen(info->detail), &w.a, &err);

    if (r == 0 && (!w.a.verb || !w.v || !verb_num(&w.a, "older")))
        r = -E_INVAL;
    if (r == 0 && !w.place)
        r = -E_NOMEM;
    if (r == 0)
        r = expire_run(&w, &err);
    if (r < 0 && r != -E_CANCELED)
        job_say(j, "%s", err.len ? buf_cstr(&err) : backend_text(r));
    repo_done(&w.repo);
    repo_place_free(&w.place);
    verb_args_free(&w.a);
    return r;
}
