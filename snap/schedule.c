#include "snap/schedule.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "conf/daemon.h"
#include "snap/job.h"
#include "snap/layer.h"

#define WAKE_MOST 3600
#define SAME_NAME_MOST 10

struct round {
    struct store *s;
    const struct zone *z;
    const struct schedule_hooks *h;
    int64_t now_s, wake_s;
};

static void trouble(struct round *rd, struct vol *v, const char *kind, const char *text)
{
    log_warn("schedule", kind, "volume=%s %s", v->rec.name, text);
    if (rd->h->trouble)
        rd->h->trouble(rd->h->arg, v, kind, text);
}

void schedule_snap_name(const char *prefix, const char *plan, int64_t due_s, char out[NAME_LEN_MAX + 1])
{
    char when[CLOCK_TEXT_SIZE];

    clock_format(due_s * 1000000000, when);
    for (char *p = when; (p = strchr(p, ':'));)
        *p = '-';
    snprintf(out, NAME_LEN_MAX + 1, "%s%s-%s", prefix, plan, when);
}

/* --- taking ----------------------------------------------------------------------------------------------------------- */

/* The labels of a snapshot that a schedule takes. */
static int labels(const char *plan, int64_t due_s, struct buf *out)
{
    char when[CLOCK_TEXT_SIZE];
    const char *words[] = {"label", SCHEDULE_LABEL, plan, "label", "due", when};
    int r = 0;

    clock_format(due_s * 1000000000, when);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(words); i++)
        r = buf_add(out, words[i], strlen(words[i]) + 1);
    return r;
}

/* A run whose time has come. ok_s: when one went well the last time, by the clock of then. */
struct run_due {
    const char *plan;
    int64_t due_s, ok_s;
    const struct buf *labels;
};

/* Was it taken by this schedule, for this due time? */
static int is_ours(struct vol *v, const char *name, const struct buf *want)
{
    cleanup(buf_free) struct buf text = {0};
    int r = snap_text(v, name, &text);

    if (r < 0)
        return r;
    return memmem(text.data ? text.data : (const uint8_t *)"", text.len, want->data, want->len) != NULL;
}

struct later {
    const char *plan;
    uint32_t layer;
    int64_t due_s;
};

/* Of the same schedule, taken after it, and due before it? */
static int later_one(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    const struct later *l = arg;
    const char *p = text, *end = text + len;
    struct layer_text t;
    int64_t due_ns = 0;
    bool same = false;

    while (rec->layer > l->layer && layer_text_next(&p, end, &t) == 1) {
        if (strcmp(t.kind, "label") != 0)
            continue;
        if (strcmp(t.key, "due") == 0)
            clock_parse(t.value, &due_ns);
        same |= strcmp(t.key, SCHEDULE_LABEL) == 0 && strcmp(t.value, l->plan) == 0;
    }
    return same && due_ns > 0 && due_ns / 1000000000 < l->due_s;
}

/* 1: what has the run's name was taken while the clock was ahead, and is none of now. It was written down as done then, or runs that were
 * due before have come after it. Of two that have the name one after the other only the first was written down. */
static int is_of_a_time_ahead(struct vol *v, const struct run_due *d, const struct layer_rec *rec, bool first)
{
    struct later l = {d->plan, rec->layer, d->due_s};

    if (BROKEN(VARVE_BREAK_taken_ahead))
        return 0;
    return first && d->ok_s >= d->due_s ? 1 : snap_each(v, later_one, &l);
}

/* 1: this run was done before the last death; ret is what it took. 0: somebody else's, or of another time. */
static int is_done(struct vol *v, const struct run_due *d, const char *name, bool first,
                   struct layer_rec *ret)
{
    struct layer_rec rec;
    int r = is_ours(v, name, d->labels);

    if (r == 1 && BROKEN(VARVE_BREAK_taken_again))
        return 0;
    if (r == 1 && (r = snap_find(v, name, &rec)) == 0) {
        r = is_of_a_time_ahead(v, d, &rec, first);
        if (r == 0)
            *ret = rec;
        r = r < 0 ? r : !r;
    }
    return r;
}

static int count_one(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    static const char label[] = "label\0" SCHEDULE_LABEL;
    uint32_t *n = arg;

    (void)rec;
    *n += memmem(text, len, label, sizeof(label)) != NULL;
    return 0;
}

/* However short the times and however many are to stay: a volume is not flooded. */
static int room_check(struct vol *v)
{
    struct conf_live live;
    uint32_t n = 0;
    int r = snap_each(v, count_one, &n);

    conf_live_get(&live);
    return r < 0 ? r : n >= live.schedule_snapshots ? -E_SNAP_LIMIT : 0;
}

/* Takes it, or finds it taken; then it is durable. */
static int take(struct round *rd, struct vol *v, const struct profile_plan *p, int64_t due_s, int64_t ok_s)
{
    cleanup(buf_free) struct buf text = {0};
    const struct run_due due = {p->name, due_s, ok_s, &text};
    char name[NAME_LEN_MAX + 1];
    struct layer_rec rec;
    int r = labels(p->name, due_s, &text);

    if (r == 0)
        r = room_check(v);
    schedule_snap_name(SCHEDULE_PREFIX, p->name, due_s, name);
    if (r == 0 && rd->h->flush)
        r = rd->h->flush(rd->h->arg, v);
    for (unsigned i = 1; r == 0; i++) {
        r = snap_create_labelled(v, name, text.data, text.len, &rec);
        if (r == 0 && rd->h->changed)
            rd->h->changed(rd->h->arg, v, name, true);
        if (r != -E_EXIST)
            break;
        r = is_done(v, &due, name, i == 1, &rec);
        if (r == 1)
            break;
        if (r < 0 || i == SAME_NAME_MOST)
            return r < 0 ? r : -E_EXIST;
        schedule_snap_name(SCHEDULE_PREFIX, p->name, due_s, name);
        snprintf(name + strlen(name), sizeof(name) - strlen(name), "-%u", i);
        r = 0;
    }
    return r < 0 ? r : snap_wait_durable(v, rec.layer);
}

static void went_well(struct round *rd, struct policy_run *run, int64_t due_s, uint32_t missed)
{
    run->state.done_s = due_s;
    run->state.failures = 0;
    run->state.tried_s = 0;
    run->ok_s = run->ended_s = rd->now_s;
    run->job = 0;
    if (missed)
        snprintf(run->result, sizeof(run->result), "ok; %u before it were missed", missed);
    else
        snprintf(run->result, sizeof(run->result), "ok");
}

static const char *failed_event(uint32_t kind)
{
    static const char *const events[] = {[POLICY_SNAPSHOT] = "snapshot-failed",
                                         [POLICY_BACKUP] = "backup-failed",
                                         [POLICY_TIER] = "tier-failed",
                                         [POLICY_EXPIRE] = "expire-failed",
                                         [POLICY_MOVE] = "transition-failed"};

    return events[kind];
}

static void went_wrong(struct round *rd, struct vol *v, struct policy_run *run, const char *why)
{
    char text[POLICY_RESULT_MAX + 64];

    run->state.tried_s = run->ended_s = rd->now_s;
    run->state.failures++;
    run->job = 0;
    snprintf(run->result, sizeof(run->result), "%s", why);
    snprintf(text, sizeof(text), "%s: %s; it is tried again", run->name, why);
    if (run->state.failures == 1)
        trouble(rd, v, failed_event(run->kind), text);
}

/* --- runs ------------------------------------------------------------------------------------------------------------- */

static int put(struct vol *v, const struct policy_run *run)
{
    int r = BROKEN(VARVE_BREAK_run_forgotten) ? 0 : policy_run_put(v, run);

    return r < 0 ? log_err(r, "schedule", "volume=%s run=%s", v->rec.name, run->name) : 0;
}

static void wake(struct round *rd, int64_t at_s)
{
    rd->wake_s = MIN_OF(rd->wake_s, MAX_OF(at_s, rd->now_s + 1));
}

static void clock_was_wrong(struct round *rd, struct vol *v, struct policy_run *run,
                            const struct schedule_todo *t)
{
    char text[128];

    run->state.done_s = t->due_s;
    run->state.since_s = MIN_OF(run->state.since_s, t->due_s);
    if (put(v, run) == 0) {
        snprintf(text, sizeof(text), "%s: the clock had been ahead; counting begins anew from now",
                 run->name);
        trouble(rd, v, "clock-went-back", text);
    }
}

static void snapshot_due(struct round *rd, struct vol *v, const struct profile_plan *p,
                         struct policy_run *run)
{
    struct schedule_todo t = schedule_decide(&p->when, rd->z, &run->state, rd->now_s);
    int r;

    if (t.went_back)
        clock_was_wrong(rd, v, run, &t);
    wake(rd, t.wake_s);
    if (!t.run)
        return;
    r = take(rd, v, p, t.due_s, run->ok_s);
    if (r == 0)
        went_well(rd, run, t.due_s, t.missed);
    else
        went_wrong(rd, v, run, err_text(r));
    put(v, run);
}

/* The job of a run: has it ended? */
static void job_look(struct round *rd, struct vol *v, struct policy_run *run)
{
    struct job_info i = {.text = "it is not known how it ended"};
    int r = job_get(rd->s, run->job, &i);

    if (r == 0 && !job_state_ended(i.state))
        return;
    if (r == 0 && i.state == JOB_DONE) {
        went_well(rd, run, run->due_s, 0);
    } else if (r == 0 && i.state == JOB_CANCELED) {
        went_well(rd, run, run->due_s, 0);
        run->ok_s = 0;
        snprintf(run->result, sizeof(run->result), "cancelled");
    } else {
        went_wrong(rd, v, run, i.text[0] ? i.text : job_state_name(i.state));
    }
    put(v, run);
}

/* Does a job of this run go on? Then it is looked at again soon. */
static bool job_goes_on(struct round *rd, struct vol *v, struct policy_run *run)
{
    if (run->job)
        job_look(rd, v, run);
    if (run->job)
        wake(rd, rd->now_s + 30);
    return run->job != 0;
}

/* What a run begins: a backup (plan), or what becomes of those that are there (place). */
struct work {
    const struct schedule *when;
    const struct profile_plan *plan;
    const struct profile *p;
    const struct lifecycle_place *place;
    enum lifecycle_what what;
};

static int work_start(struct round *rd, struct vol *v, const struct work *w, int64_t due_s, uint64_t *ret_job,
                      struct buf *err)
{
    return w->plan ? rd->h->backup(rd->h->arg, v, w->plan, due_s, ret_job, err)
                   : rd->h->life(rd->h->arg, v, w->p, w->what, w->place->to, ret_job, err);
}

static void work_begin(struct round *rd, struct vol *v, const struct work *w, struct policy_run *run,
                       const struct schedule_todo *t)
{
    cleanup(buf_free) struct buf err = {0};
    uint64_t job = 0;
    int r = work_start(rd, v, w, t->due_s, &job, &err);

    if (r == 0) {
        run->job = job;
        run->due_s = t->due_s;
        snprintf(run->result, sizeof(run->result),
                 t->missed ? "under way; %u before it were missed" : "under way", t->missed);
    } else {
        went_wrong(rd, v, run, err.len && buf_cstr(&err) ? buf_cstr(&err) : err_text(r));
    }
    put(v, run);
}

static void work_due(struct round *rd, struct vol *v, const struct work *w, struct policy_run *run)
{
    struct schedule_todo t;

    if (job_goes_on(rd, v, run))
        return;
    t = schedule_decide(w->when, rd->z, &run->state, rd->now_s);
    if (t.went_back)
        clock_was_wrong(rd, v, run, &t);
    wake(rd, t.wake_s);
    if (t.run)
        work_begin(rd, v, w, run, &t);
}

static void tier_begin(struct round *rd, struct vol *v, struct policy_run *run, const struct schedule_todo *t)
{
    cleanup(buf_free) struct buf err = {0};
    bool rested = rd->now_s >= run->ended_s + SCHEDULE_FULL_S || run->ended_s > rd->now_s;
    uint64_t job = 0;
    int r = t->run || rested ? rd->h->tier(rd->h->arg, v, t->run, &job, &err) : 0;

    if (r < 0) {
        went_wrong(rd, v, run, err.len && buf_cstr(&err) ? buf_cstr(&err) : err_text(r));
    } else if (job) {
        run->job = job;
        run->due_s = t->run ? t->due_s : run->state.done_s;
        snprintf(run->result, sizeof(run->result), "under way");
    } else if (t->run) {
        went_well(rd, run, t->due_s, 0);
    } else {
        return;
    }
    put(v, run);
}

/* By the profile's age, and whenever there is too much. */
static void tier_due(struct round *rd, struct vol *v, int64_t period_s, struct policy_run *run)
{
    struct schedule when = {.occurrence = OCCUR_EVERY, .every_s = period_s};
    struct schedule_todo t;

    if (job_goes_on(rd, v, run))
        return;
    t = schedule_decide(&when, rd->z, &run->state, rd->now_s);
    if (t.went_back)
        clock_was_wrong(rd, v, run, &t);
    wake(rd, MIN_OF(t.wake_s, rd->now_s + 60));
    tier_begin(rd, v, run, &t);
}

/* The run of a plan; one that is not known begins now (a clone's). */
static struct policy_run *run_of(struct round *rd, struct vol *v, struct policy_runs *runs,
                                 enum policy_kind kind, const char *name)
{
    struct policy_run *run = policy_run_find(runs, kind, name);

    if (run || runs->n == POLICY_RUNS_MAX)
        return run;
    run = &runs->v[runs->n++];
    *run = (struct policy_run){.kind = kind, .state = {.since_s = rd->now_s}};
    snprintf(run->name, sizeof(run->name), "%s", name);
    return put(v, run) < 0 ? NULL : run;
}

/* A profile that is new acts at once. */
static void tiering(struct round *rd, struct vol *v, const struct profile *p, struct policy_runs *runs)
{
    int64_t period_s = rd->h->tier ? rd->h->tier_period(rd->h->arg, p) : 0;
    bool fresh = !policy_run_find(runs, POLICY_TIER, POLICY_TIER_NAME);
    struct policy_run *run = period_s ? run_of(rd, v, runs, POLICY_TIER, POLICY_TIER_NAME) : NULL;

    if (run && fresh)
        run->state.since_s -= period_s;
    if (run)
        tier_due(rd, v, period_s, run);
}

static void backups(struct round *rd, struct vol *v, const struct profile *p, struct policy_runs *runs)
{
    for (size_t i = 0; i < p->nbackups; i++) {
        struct work w = {.when = &p->backups[i].when, .plan = &p->backups[i]};
        struct policy_run *run = run_of(rd, v, runs, POLICY_BACKUP, p->backups[i].name);

        if (run && rd->h->backup)
            work_due(rd, v, &w, run);
    }
}

/* Of each repository that the profile names. */
static void lifecycle(struct round *rd, struct vol *v, const struct profile *p, enum lifecycle_what what,
                      struct policy_runs *runs)
{
    struct lifecycle_place places[LIFECYCLE_PLACES_MAX];
    struct schedule when;
    size_t n = lifecycle_places(p, places);

    if (!rd->h->life || !lifecycle_schedule(p, what, &when))
        return;
    for (size_t i = 0; i < n; i++) {
        struct work w = {.when = &when, .p = p, .place = &places[i], .what = what};
        struct policy_run *run =
            run_of(rd, v, runs, what == LIFECYCLE_EXPIRE ? POLICY_EXPIRE : POLICY_MOVE, places[i].name);

        if (run)
            work_due(rd, v, &w, run);
    }
}

/* --- letting go --------------------------------------------------------------------------------------------------------- */

struct held {
    const struct profile *p;
    struct retain_snap *v;
    struct buf names; /* each with its NUL, in the order of v */
    size_t n;
    int err;
};

static int index_of(const struct profile *p, const char *name)
{
    for (size_t i = 0; i < p->nsnapshots; i++)
        if (strcmp(p->snapshots[i].name, name) == 0)
            return (int)i;
    return -1;
}

static int held_add(struct held *h, const struct layer_rec *rec, struct retain_snap one)
{
    struct retain_snap *v = array_more(h->v, h->n, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    h->v = v;
    one.tag = h->names.len;
    h->v[h->n++] = one;
    return buf_add(&h->names, rec->name, strlen(rec->name) + 1);
}

static int held_one(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    struct held *h = arg;
    struct retain_snap one = {.schedule = -1, .bound = rec->holds || rec->children};
    const char *p = text, *end = text + len;
    bool ours = false;
    struct layer_text t;
    int64_t due_ns = 0;

    while (layer_text_next(&p, end, &t) == 1) {
        if (strcmp(t.kind, "label") != 0)
            continue;
        if (strcmp(t.key, SCHEDULE_LABEL) == 0) {
            ours = true;
            one.schedule = index_of(h->p, t.value);
        } else if (strcmp(t.key, "due") == 0) {
            clock_parse(t.value, &due_ns);
        } else if (strncmp(t.key, SCHEDULE_BASE, strlen(SCHEDULE_BASE)) == 0) {
            one.bound = true;
        }
    }
    if (!ours || due_ns <= 0 ||
        rec->state == LAYER_SETTLING) /* a power cut may take it back: it is no reason */
        return 0;
    one.due_s = due_ns / 1000000000;
    return held_add(h, rec, one);
}

/* Those taken while the clock was ahead would be the newest until that time comes, and all that are taken until then would go at once:
 * they stand before the one that was taken next, now at the latest. */
static void clock_ahead(struct held *h, int64_t now_s)
{
    int64_t next_s = now_s;

    for (size_t i = h->n; i-- > 0;) /* as they were taken, the newest first */
        next_s = h->v[i].order_s = h->v[i].due_s > now_s ? next_s : h->v[i].due_s;
}

static int by_order(const void *a, const void *b)
{
    const struct retain_snap *x = a, *y = b;

    return x->order_s != y->order_s ? (x->order_s < y->order_s ? -1 : 1)
           : x->tag < y->tag        ? -1
                                    : x->tag > y->tag;
}

static void let_go(struct round *rd, struct vol *v, const struct held *h)
{
    for (size_t i = 0; i < h->n; i++) {
        const char *name = (const char *)h->names.data + h->v[i].tag;
        int r = h->v[i].drop ? snap_delete(v, NULL, name) : 1;

        if (r == 0 && rd->h->changed)
            rd->h->changed(rd->h->arg, v, name, false);
        if (r < 0 && r != -E_NOENT && r != -E_HELD) {
            log_err(r, "schedule", "volume=%s delete=%s", v->rec.name, name);
            return;
        }
    }
}

static void retain(struct round *rd, struct vol *v, const struct profile *p)
{
    struct schedule s[PROFILE_PLANS_MAX];
    struct retain_own own[PROFILE_PLANS_MAX];
    struct held h = {.p = p};
    int r;

    for (size_t i = 0; i < p->nsnapshots; i++) {
        s[i] = p->snapshots[i].when;
        own[i] = (struct retain_own){p->snapshots[i].keep, p->snapshots[i].keep_for_s};
    }
    r = snap_each(v, held_one, &h);
    if (r == 0 && h.n > 0) {
        clock_ahead(&h, rd->now_s);
        qsort(h.v, h.n, sizeof(*h.v), by_order);
        if (retain_decide(s, own, p->nsnapshots, &p->retention, rd->z, h.v, h.n) > 0)
            let_go(rd, v, &h);
    }
    free(h.v);
    buf_free(&h.names);
}

/* --- one round ---------------------------------------------------------------------------------------------------------- */

static int one_volume(void *arg, struct vol *v)
{
    cleanup(profile_free) struct profile *p = NULL;
    cleanup(buf_free) struct buf err = {0};
    struct round *rd = arg;
    struct policy_runs runs;
    int r = policy_get(v, &p, &err);

    if (r == -E_NODATA || v->readonly)
        return 0;
    if (r == 0)
        r = policy_runs_get(v, &runs);
    if (r < 0) {
        log_warn("schedule", "profile", "volume=%s %s", v->rec.name, err.len ? buf_cstr(&err) : err_text(r));
        return 0;
    }
    for (size_t i = 0; i < p->nsnapshots; i++) {
        struct policy_run *run = run_of(rd, v, &runs, POLICY_SNAPSHOT, p->snapshots[i].name);

        if (run)
            snapshot_due(rd, v, &p->snapshots[i], run);
    }
    backups(rd, v, p, &runs);
    for (enum lifecycle_what what = 0; what < LIFECYCLE__N; what++)
        lifecycle(rd, v, p, what, &runs);
    retain(rd, v, p);
    tiering(rd, v, p, &runs);
    return 0;
}

int64_t schedules_tick(struct store *s, const struct zone *z, const struct schedule_hooks *h)
{
    struct round rd = {.s = s, .z = z, .h = h, .now_s = clock_wall_ns() / 1000000000};
    struct store_state st;

    rd.wake_s = rd.now_s + WAKE_MOST;
    store_get_state(s, &st);
    if (st.mode == STORE_RW)
        volume_each(s, one_volume, &rd);
    return rd.wake_s - rd.now_s;
}
