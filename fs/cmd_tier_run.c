/* `varve tier run`: a policy is carried out: what only snapshots need, what is old, and what is to make room. A job. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "conf/value.h"
#include "fs/recall.h"
#include "fs/verb_runs.h"
#include "fs/verb_tier.h"
#include "snap/event.h"
#include "tier/release.h"
#include "tier/sweep.h"

#define ROOM_WAIT_MS 30000
#define LOOK_MS 100

struct running {
    struct job *j;
    uint64_t id;
    struct store *s;
    struct vol *v;
    struct verb_args a; /* of the job's detail: a line of the control file */
    struct tier_terms terms;
    struct repo_place *place;
    struct repo *repo;
    struct buf points; /* struct tier_point each */
    char tag[32];
    int64_t now_s;
    struct sweep *sw;
    bool own_room;   /* of the volume's size: what only snapshots need is no part of that */
    uint64_t excess; /* bytes that are to go */
    uint64_t beside; /* that went and are none of these */
    struct release_result sum;
    struct sweep_counts looked;
};

static int on_progress(void *arg, uint64_t items, uint64_t bytes)
{
    struct running *w = arg;

    job_progress(w->j, w->sum.files + items, w->sum.bytes + bytes);
    return job_canceled(w->j) ? -E_CANCELED : 0;
}

/* --- one recovery point ----------------------------------------------------------------------------------------------- */

static void add(struct release_result *sum, const struct release_result *one)
{
    sum->files += one->files;
    sum->bytes += one->bytes;
    sum->stay += one->stay;
    sum->had += one->had;
    sum->unproved += one->unproved;
    sum->pinned += one->pinned;
}

static int release_of(struct running *w, const struct tier_point *tp, struct release_opts *o, struct buf *err)
{
    struct release_result res = {.files = 0};
    struct point p = {.flags = 0};
    int r = point_get(w->repo, tp->id, &p);

    o->progress = on_progress;
    if (r == 0)
        r = recall_source_for(w->s, w->v, &w->place->conf, w->repo, &p, &o->source);
    if (r == 0)
        r = release_run(w->repo, &p, w->v, &tp->rec, o, &res, err);
    point_release(&p);
    add(&w->sum, &res);
    return r;
}

/* The snapshot stays until its bytes are noted to be elsewhere; a source that no range names yet is not taken away meanwhile. */
static int release_held(struct running *w, const struct tier_point *tp, struct release_opts *o,
                        struct buf *err)
{
    int r = snap_hold(w->v, tp->rec.name, w->tag);

    if (r < 0)
        return r;
    recall_importing(w->s, true);
    r = release_of(w, tp, o, err);
    recall_importing(w->s, false);
    snap_release_all(w->v, w->tag);
    return r;
}

static uint64_t still_wanted(const struct running *w)
{
    uint64_t gone = w->sum.bytes - w->beside;

    return w->excess > gone ? w->excess - gone : 0;
}

/* --- what only snapshots need ----------------------------------------------------------------------------------------- */

/* Long enough, or room is wanted. */
static bool is_ripe(const struct running *w, const struct tier_point *next, bool full)
{
    return full || next->rec.taken_ns / 1000000000 <= w->now_s - w->terms.p.after_s;
}

static bool on_way(const struct running *w, const struct tier_point *tp)
{
    struct idle_walk way;

    return idle_walk_begin(w->v, w->v->rec.head, w->v->rec.layer, &way) == 0 &&
           idle_on_way(&way, tp->rec.branch, tp->rec.layer);
}

/* Each with the next: what the one has and the other has not is needed by snapshots alone. */
static int replaced(struct running *w, bool full, struct buf *err)
{
    const struct tier_point *v = (const struct tier_point *)(const void *)w->points.data;
    size_t n = w->points.len / sizeof(*v);
    bool all = true;
    int r = 0;

    for (size_t i = 0; r == 0 && i + 1 < n && (!full || still_wanted(w)); i++) {
        struct vt_at next = {v[i + 1].rec.branch, v[i + 1].rec.layer};
        struct release_opts o = {.arg = w, .replaced_by = &next, .most_bytes = full ? still_wanted(w) : 0};

        if (v[i].rec.layer < sweep_replaced(w->sw))
            continue;
        if (!is_ripe(w, &v[i + 1], full) || !on_way(w, &v[i + 1]) || !on_way(w, &v[i])) {
            all = false;
            continue;
        }
        r = snap_hold(w->v, v[i + 1].rec.name, w->tag);
        if (r == 0) {
            r = release_held(w, &v[i], &o, err);
            snap_release_all(w->v, w->tag);
        }
        all &= r == 0 && !o.most_bytes;
        r = r == -E_NOENT ? 0 : r; /* one of them went meanwhile */
        if (all)
            sweep_set_replaced(w->sw, v[i].rec.layer + 1);
    }
    return r;
}

/* --- what is old ------------------------------------------------------------------------------------------------------ */

static int on_next(void *arg, uint64_t *ret)
{
    return sweep_next(((struct running *)arg)->sw, ret);
}

static const struct tier_point *newest(const struct running *w)
{
    return (const struct tier_point *)(const void *)(w->points.data + w->points.len) - 1;
}

static int old(struct running *w, bool full, struct buf *err)
{
    struct release_opts o = {.arg = w, .next = on_next, .most_bytes = full ? still_wanted(w) : 0};

    return release_held(w, newest(w), &o, err);
}

static int sweep_once(struct running *w, bool full, struct buf *err)
{
    uint64_t id = verb_num(&w->a, "whole") ? 0 : tier_policy_id(&w->terms.p, w->place->conf.url);
    uint64_t before = w->sum.bytes;
    struct sweep_counts n;
    int r = sweep_begin(w->v, &newest(w)->rec, &w->terms.p, id, full, w->now_s, &w->sw), e;

    if (r < 0)
        return r;
    r = replaced(w, full, err);
    if (w->own_room && !BROKEN(VARVE_BREAK_room_beside))
        w->beside += w->sum.bytes - before;
    if (r == 0 && (!full || still_wanted(w)))
        r = old(w, full, err);
    sweep_get_counts(w->sw, &n);
    w->looked.looked += n.looked;
    w->looked.given += n.given;
    e = sweep_end(w->sw, r == 0);
    return r < 0 ? r : e;
}

/* Freed blocks go after a checkpoint: whoever looks at the room afterwards is to see them gone. */
static void room_settle(struct running *w)
{
    struct store_state st;

    if (!w->sum.bytes || store_checkpoint(w->s) < 0)
        return;
    for (int ms = 0; ms < ROOM_WAIT_MS && !job_canceled(w->j); ms += LOOK_MS) {
        store_get_state(w->s, &st);
        if (st.reclaim_entries == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
    }
}

static int by_policy(struct running *w, struct buf *err)
{
    uint64_t used = 0, total = 0;
    int r = tier_room(w->v, &w->terms.p, &used, &total);

    w->own_room = r == 1;
    r = MIN_OF(r, 0);
    if (r == 0 && (!w->terms.p.high_pct || w->terms.p.after_s || w->terms.p.what != TIER_COLD))
        r = sweep_once(w, false, err);
    w->excess = tier_excess(&w->terms.p, used, total);
    if (r == 0 && still_wanted(w))
        r = sweep_once(w, true, err);
    room_settle(w);
    return r;
}

/* --- the job ---------------------------------------------------------------------------------------------------------- */

static void say(struct running *w)
{
    char size[CONF_SIZE_TEXT], stay[CONF_SIZE_TEXT], line[64];
    const struct {
        const char *name;
        uint64_t n;
    } counts[] = {{"files", w->sum.files},         {"bytes", w->sum.bytes},
                  {"looked", w->looked.looked},    {"eligible", w->looked.given},
                  {"pinned_bytes", w->sum.pinned}, {"wanted_bytes", w->excess}};

    conf_size_text(w->sum.bytes, size);
    conf_size_text(w->sum.unproved, stay);
    job_say(w->j, "released %s of %" PRIu64 " files to %.80s%s%s%s", size, w->sum.files,
            repo_place_name(w->place), w->sum.unproved ? "; not there, so kept here: " : "",
            w->sum.unproved ? stay : "",
            still_wanted(w) ? "; more was to go, but nothing is left that may" : "");
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        snprintf(line, sizeof(line), "%s %" PRIu64, counts[i].name, counts[i].n);
        job_report_line(w->j, line);
    }
    if (w->sum.bytes)
        event_emit(w->s, "tier-released", w->v->rec.name, "%s of %" PRIu64 " files, in %s", size,
                   w->sum.files, repo_place_name(w->place));
    if (still_wanted(w))
        event_emit(w->s, "tier-no-room", w->v->rec.name,
                   "more than %u %% is in use, and nothing is left that may go", w->terms.p.high_pct);
}

static int run(struct running *w, struct buf *err)
{
    struct backend_call call = {.canceled = job_stopped, .arg = w->j};
    int r = tier_terms_of(w->v, &w->a, &w->terms, err);

    if (r == 0)
        r = repo_place_parse(w->terms.to, false, &w->a, w->place, err);
    if (r == 0 && verb_given(&w->a, "snap") &&
        (r = tier_upload(w->j, w->id, w->s, w->v, w->place, &w->a)) < 0)
        return r;
    if (r == 0)
        r = repo_place_open(w->place, &call, NULL, &w->repo, err);
    if (r == 0)
        r = tier_points(w->v, w->repo, repo_place_name(w->place), &w->points, err);
    if (r == 0)
        r = by_policy(w, err);
    if (r == 0)
        say(w);
    return r;
}

int tier_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct running w = {.j = j,
                        .id = info->id,
                        .s = s,
                        .v = verb_vol_of_id(s, info->vol),
                        .place = calloc(1, sizeof(*w.place)),
                        .now_s = clock_wall_ns() / 1000000000};
    cleanup(buf_free) struct buf err = {0};
    int r = verb_parse_line("tier", info->detail, strlen(info->detail), &w.a, &err);

    if (r == 0 && (!w.a.verb || !w.v))
        r = -E_INVAL;
    if (r == 0 && !w.place)
        r = -E_NOMEM;
    snprintf(w.tag, sizeof(w.tag), "tier-%" PRIu64, info->id);
    if (r == 0)
        r = snap_release_all(w.v, w.tag); /* of a daemon that died at it */
    if (r == 0)
        r = run(&w, &err);
    if (r < 0 && r != -E_CANCELED) {
        if (err.len || !verb_given(&w.a, "snap"))
            job_say(j, "%s", err.len ? buf_cstr(&err) : backend_text(r));
        event_emit(s, "tier-failed", w.v ? w.v->rec.name : "", "%s",
                   err.len ? buf_cstr(&err) : backend_text(r));
    }
    buf_free(&w.points);
    repo_done(&w.repo);
    repo_place_free(&w.place);
    verb_args_free(&w.a);
    return r;
}

/* --- the verb --------------------------------------------------------------------------------------------------------- */

/* As it was said, so that a profile that changes until the job runs holds. */
static int detail_of(const struct verb_args *a, const char *snap, struct buf *ret, struct buf *err)
{
    static const char *const texts[] = {"to", "by", "pattern"};
    static const char *const numbers[] = {"larger", "smaller", "high", "low"};
    int r = buf_puts(ret, "run");

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(texts); i++)
        r = verb_line_add(ret, texts[i], verb_text(a, texts[i]));
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(numbers); i++)
        if (verb_given(a, numbers[i]))
            r = buf_printf(ret, " %s=%" PRIu64, numbers[i], verb_num(a, numbers[i]));
    if (r == 0 && verb_given(a, "after"))
        r = buf_printf(ret, " after=%" PRIu64 "s", verb_num(a, "after") / 1000000000);
    if (r == 0 && verb_num(a, "whole"))
        r = buf_puts(ret, " whole");
    if (r == 0)
        r = verb_line_add(ret, "snap", snap);
    if (r == 0)
        r = tier_secrets(a, ret);
    return r < 0 ? r
                 : verb_job_fits(
                       ret, "tier run: the URL and the pattern are too long together; use shorter ones", err);
}

RUN(run_tier_run)
{
    static const struct verb_job_words words = {
        .verb = "tier run", .doing = "releases what the policy says", .report = "released"};
    cleanup(repo_place_free) struct repo_place *p = calloc(1, sizeof(*p));
    cleanup(buf_free) struct buf detail = {0};
    struct layer_rec rec = {.name = ""};
    struct tier_terms terms;
    int r = p ? tier_terms_of(c->vol, a, &terms, err) : -E_NOMEM;

    if (r == 0)
        r = repo_place_parse(terms.to, false, a, p, err);
    if (r == 0 && terms.upload)
        r = backup_snapshot(c, p->conf.url, &rec, err);
    if (r == 0)
        r = detail_of(a, rec.name[0] ? rec.name : NULL, &detail, err);
    return r < 0 ? r : verb_job_run(c, a, "tier", &detail, &words, out, err);
}
