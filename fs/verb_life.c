/* What a profile says of recovery points that are there, as `profile get` and `status` show it. */
#include <stdio.h>

#include "conf/lifecycle.h"
#include "conf/value.h"
#include "fs/verb_profile.h"

void profile_time_cell(struct show_cols *c, int64_t s)
{
    char when[32];

    show_time(s > 0 && s < INT64_MAX / 1000000000 ? s * 1000000000 : 0, when);
    show_cell(c, "%s", when);
}

void profile_run_json(struct jw *j, const struct policy_run *run)
{
    jw_time(j, "last_good", run ? run->ok_s * 1000000000 : 0);
    jw_time(j, "last_ended", run ? run->ended_s * 1000000000 : 0);
    jw_str(j, "result", run && run->result[0] ? run->result : NULL);
    jw_u64(j, "failures", run ? run->state.failures : 0);
    jw_u64(j, "job", run ? run->job : 0);
}

static enum policy_kind kind_of(enum lifecycle_what what)
{
    return what == LIFECYCLE_EXPIRE ? POLICY_EXPIRE : POLICY_MOVE;
}

/* 0: it is not known. */
static int64_t next_of(const struct life_view *w, const struct schedule *when, const struct policy_run *run)
{
    struct schedule_state fresh = {.since_s = w->now_s};
    struct schedule_todo t = schedule_decide(when, w->z, run ? &run->state : &fresh, w->now_s);

    return t.run && !(run && run->job) ? t.due_s : t.next_s;
}

/* Each repository that the profile names, for each thing that it asks of them. */
static size_t each(const struct life_view *w, void *arg,
                   void (*cb)(void *arg, const struct life_view *w, enum lifecycle_what what,
                              const struct lifecycle_place *at, const struct policy_run *run, int64_t next_s))
{
    struct lifecycle_place v[LIFECYCLE_PLACES_MAX];
    size_t n = lifecycle_places(w->p, v), found = 0;
    struct schedule when;

    for (enum lifecycle_what what = 0; what < LIFECYCLE__N; what++)
        for (size_t i = 0; i < n && lifecycle_schedule(w->p, what, &when); i++, found++) {
            const struct policy_run *run =
                w->runs ? policy_run_find(w->runs, kind_of(what), v[i].name) : NULL;

            if (cb)
                cb(arg, w, what, &v[i], run, next_of(w, &when, run));
        }
    return found;
}

bool life_asked(const struct profile *p)
{
    return each(&(struct life_view){.p = p}, NULL, NULL) > 0;
}

static void row(void *arg, const struct life_view *w, enum lifecycle_what what,
                const struct lifecycle_place *at, const struct policy_run *run, int64_t next_s)
{
    char after[24], undo[24];
    struct show_cols *c = arg;

    conf_span_print(lifecycle_after(w->p, what), after);
    conf_span_print(w->p->lifecycle.undo_s, undo);
    show_cell(c, "%s", policy_kind_name(kind_of(what)));
    show_cell(c, "%s", at->name);
    show_cell(c, "older than %s", after);
    if (what == LIFECYCLE_MOVE)
        show_cell(c, "in %s, to %s", at->to, w->p->lifecycle.storage_class);
    else
        show_cell(c, "in %s%s%s", at->to, w->p->lifecycle.undo_s ? ", undo " : "",
                  w->p->lifecycle.undo_s ? undo : "");
    profile_time_cell(c, next_s);
    profile_time_cell(c, run ? run->ok_s : 0);
    show_cell(c, "%s", run && run->result[0] ? run->result : "-");
}

void life_rows(struct show_cols *c, const struct life_view *w)
{
    each(w, c, row);
}

static void member(void *arg, const struct life_view *w, enum lifecycle_what what,
                   const struct lifecycle_place *at, const struct policy_run *run, int64_t next_s)
{
    struct jw *j = arg;

    jw_object(j, NULL);
    jw_str(j, "kind", policy_kind_name(kind_of(what)));
    jw_str(j, "name", at->name);
    jw_str(j, "to", at->to);
    jw_i64(j, "after_seconds", lifecycle_after(w->p, what));
    if (what == LIFECYCLE_MOVE)
        jw_str(j, "class", w->p->lifecycle.storage_class);
    else
        jw_i64(j, "undo_seconds", w->p->lifecycle.undo_s);
    jw_time(j, "next", next_s < INT64_MAX / 1000000000 ? next_s * 1000000000 : 0);
    profile_run_json(j, run);
    jw_close(j);
}

void life_json(struct jw *j, const struct life_view *w)
{
    each(w, j, member);
}
