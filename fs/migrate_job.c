/* A migration as a job: copying, proving, switching, deleting; each stage is written down before it begins, and may be begun anew. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/value.h"
#include "fs/migrate.h"
#include "fs/recall.h"
#include "fs/verb_runs.h"
#include "snap/event.h"
#include "snap/store/cold.h"
#include "tier/prune.h"
#include "tier/url.h"
#include "tier/verify.h"

#define VERB "migrate"
#define SAVE_NS 2000000000ll
#define END_TRIES 20 /* a source that somebody else still uses: half a second each */

/* --- both sides ----------------------------------------------------------------------------------------------------------- */

static int side_place(const struct conf_repo *conf, uint64_t bandwidth, struct repo_place **ret)
{
    cleanup(buf_free) struct buf url = {0};
    struct repo_place *p = calloc(1, sizeof(*p));
    char rate[24];
    int r;

    if (!(*ret = p))
        return -E_NOMEM;
    p->conf = *conf;
    if (!bandwidth)
        return 0;
    snprintf(rate, sizeof(rate), "%" PRIu64, bandwidth);
    r = url_with(conf->url, "bandwidth", rate, &url);
    if (r == 0 && (!buf_cstr(&url) || url.len > CONF_REPO_URL))
        r = -E_TOOBIG;
    if (r == 0)
        memcpy(p->conf.url, url.data, url.len + 1);
    return r;
}

int migrate_sides_open(const struct migrate *m, const struct backend_call *c, struct migrate_sides *ret,
                       struct buf *err)
{
    int r = side_place(&m->from, m->bandwidth, &ret->place[0]);

    if (r == 0)
        r = side_place(&m->to, m->bandwidth, &ret->place[1]);
    if (r == 0)
        r = repo_place_open(ret->place[0], c, NULL, &ret->from, err);
    if (r == 0)
        r = repo_place_open(ret->place[1], c, NULL, &ret->to, err);
    if (r == 0 && uuid_equal(&ret->from->root.uuid, &ret->to->root.uuid)) {
        buf_puts(err, "source and destination are the same repository");
        r = -E_INVAL;
    }
    return r;
}

void migrate_sides_close(struct migrate_sides *s)
{
    repo_close(s->from);
    repo_close(s->to);
    free(s->place[0]);
    free(s->place[1]);
    *s = (struct migrate_sides){0};
}

/* --- what volumes rely on ------------------------------------------------------------------------------------------------- */

struct relying { /* a source of the store that names the repository */
    uint32_t number;
    struct recall_source src;
};
struct finding {
    const struct migrate *m;
    struct repo *from;
    struct buf *ret; /* struct relying each */
};

/* The same repository under another URL is known by its number. */
static bool is_source(const struct finding *f, const struct recall_source *src)
{
    cleanup(repo_place_free) struct repo_place *p = NULL;
    cleanup(repo_done) struct repo *repo = NULL;
    cleanup(buf_free) struct buf err = {0};

    if (strcmp(src->conf.url, f->m->from.url) == 0)
        return true;
    if (strcmp(src->conf.url, f->m->to.url) == 0 || !(p = calloc(1, sizeof(*p))))
        return false;
    p->conf = src->conf;
    return repo_place_open(p, &f->from->call, NULL, &repo, &err) == 0 &&
           uuid_equal(&repo->root.uuid, &f->from->root.uuid);
}

static int find_relying(void *arg, uint32_t number, const struct recall_source *src)
{
    struct finding *f = arg;
    const char *volume = f->m->filter.volume;
    struct relying *x;
    int r;

    if ((volume[0] && strcmp(volume, src->name) != 0) || !is_source(f, src))
        return 0;
    if (!(x = calloc(1, sizeof(*x))))
        return -E_NOMEM;
    x->number = number;
    x->src = *src;
    r = buf_add(f->ret, x, sizeof(*x));
    free(x);
    return r;
}

/* struct relying each. */
static int all_relying(struct store *s, const struct migrate *m, struct repo *from, struct buf *ret)
{
    struct finding f = {m, from, ret};

    buf_reset(ret);
    return recall_sources(s, find_relying, &f);
}

int migrate_relied(struct store *s, const struct migrate *m, struct repo *from, struct buf *ret)
{
    cleanup(buf_free) struct buf all = {0};
    int r = all_relying(s, m, from, &all);

    for (size_t at = 0; r == 0 && at < all.len; at += sizeof(struct relying))
        r = buf_add(ret, ((const struct relying *)(const void *)(all.data + at))->src.point, SHA_TEXT);
    return r;
}

/* --- the job -------------------------------------------------------------------------------------------------------------- */

struct working {
    struct job *j;
    struct store *s;
    struct migrate m;
    struct migrate_sides sides;
    int64_t saved_ns;
    bool thaws; /* something was asked of an archive */
    struct buf err;
};

static int save(struct working *w)
{
    w->saved_ns = clock_mono_ns();
    return migrate_save(store_io(w->s), store_path(w->s), &w->m);
}

static int on_progress(void *arg)
{
    struct working *w = arg;
    int r = 0;

    if (w->m.stage == STAGE_COPY)
        job_progress(w->j, w->m.done.pieces, w->m.done.bytes);
    if (clock_mono_ns() - w->saved_ns > SAVE_NS)
        r = save(w);
    return job_canceled(w->j) ? -E_CANCELED : r;
}

static int on_thaw(void *arg, uint64_t ready, uint64_t of)
{
    struct working *w = arg;

    if (of && !w->thaws)
        event_emit(w->s, "archive-asked", "",
                   "%s: %" PRIu64 " packs were asked for; it goes on when they are out of the archive",
                   w->m.name, of);
    verb_job_thaws(w->j, ready, of);
    w->thaws |= of > 0;
    return on_progress(w);
}

static struct migrate_hooks hooks_of(struct working *w)
{
    return (struct migrate_hooks){.arg = w, .progress = on_progress, .thaws = on_thaw};
}

static int copy_listed(struct working *w, struct migrate_list *l)
{
    struct migrate_hooks h = hooks_of(w);
    int r;

    if (l->n == 0) {
        buf_puts(&w->err, "no recovery point is what was asked for");
        return -E_NOENT;
    }
    r = migrate_weigh(w->sides.from, l, &w->m.there, &w->m.todo, &h);
    if (r < 0)
        return r;
    w->m.done = (struct migrate_count){0};
    job_total(w->j, w->m.todo.pieces, w->m.todo.bytes);
    r = migrate_copy(w->sides.from, w->sides.to, l, &w->m, &h, &w->err);
    if (r == 0)
        w->m.done = w->m.todo;
    return r;
}

static int stage_copy(struct working *w)
{
    cleanup(buf_free) struct buf relied = {0};
    struct migrate_list l = {0};
    int r = migrate_relied(w->s, &w->m, w->sides.from, &relied);

    if (r == 0)
        r = migrate_list_make(w->sides.from, w->sides.to, &w->m.filter, &relied, &l, &w->err);
    if (r == 0)
        r = copy_listed(w, &l);
    migrate_list_free(&l);
    return r;
}

/* --- proving -------------------------------------------------------------------------------------------------------------- */

static int on_verified(void *arg, uint64_t items, uint64_t bytes)
{
    struct working *w = arg;

    job_progress(w->j, items, bytes);
    return on_progress(w);
}

static void on_damage(void *arg, const char *line)
{
    struct working *w = arg;

    if (w->err.len == 0)
        buf_printf(&w->err, "the destination is damaged: %s", line);
}

/* By a cache of its own: what is proved is what the repository says. */
static int stage_verify(struct working *w)
{
    struct verify_opts o = {.full = w->m.share >= 1,
                            .share = w->m.share >= 1 ? 0 : w->m.share,
                            .arg = w,
                            .progress = on_verified,
                            .found = on_damage};
    struct backend_call call = {.canceled = job_stopped, .arg = w->j};
    struct verify_result res = {0};
    cleanup(repo_done) struct repo *repo = NULL;
    char dir[PATH_MAX];
    int r = repo_scratch_make("migrate", dir, &w->err);

    if (r < 0 || BROKEN(VARVE_BREAK_migrate_unproved))
        return r;
    job_total(w->j, 0, 0);
    r = repo_place_open(w->sides.place[1], &call, dir, &repo, &w->err);
    if (r == 0)
        r = verify_run(repo, &o, &res);
    repo_close(TAKE(repo));
    repo_scratch_remove(dir);
    if (r == 0 && res.damages)
        r = -E_CORRUPT;
    if (r == 0)
        event_emit(w->s, "migrate-verified", "",
                   "%s: %" PRIu64 " recovery points, %" PRIu64 " packs in %.300s", w->m.name, res.points,
                   res.packs, w->m.to.url);
    return r;
}

/* --- switching ------------------------------------------------------------------------------------------------------------ */

/* The copy of a recovery point, or of that part of it. */
struct copy_of {
    struct sha origin;
    char id[SHA_TEXT];
};

static int is_copy(void *arg, const struct point *p)
{
    struct copy_of *c = arg;
    struct sha origin = copy_origin(p);

    if (memcmp(origin.b, c->origin.b, sizeof(origin.b)) != 0)
        return 0;
    memcpy(c->id, p->id, sizeof(c->id));
    return 1;
}

static int copy_get(struct repo *to, const struct point *p, const char *path, struct point *ret)
{
    struct copy_of c = {.id = ""};
    int r = copy_origin_of(p, path, &c.origin);

    if (r == 0)
        r = points_each(to, is_copy, NULL, &c);
    return r < 0 ? r : r == 0 ? -E_NOENT : point_get(to, c.id, ret);
}

static int switch_pinned(struct working *w, const struct relying *x, const struct point *p,
                         const struct point *q, uint64_t *ret_left)
{
    struct migrate_side was = {w->sides.from, p, x->number}, now = {.r = w->sides.to, .p = q};
    struct migrate_hooks h = hooks_of(w);
    int r = recall_source_beside(w->s, &x->src, &w->m.to, w->sides.to, q, &now.source);

    return r < 0 ? r : migrate_switch(w->s, &was, &now, &w->m, &h, ret_left);
}

/* What one source names, by the copy of its recovery point; a pin holds that first. */
static int switch_source(struct working *w, const struct relying *x)
{
    const char *path = migrate_path(&w->m.filter);
    struct point p, q;
    uint64_t left = 0;
    int r = pin_point_get(w->sides.from, x->src.point, &p);

    if (r < 0)
        return r;
    r = copy_get(w->sides.to, &p, path, &q);
    if (r == -E_NOENT && path) { /* it has no such path */
        point_release(&p);
        return 0;
    }
    if (r == 0) {
        recall_importing(w->s, true); /* a source that no range names yet is not taken away */
        r = switch_pinned(w, x, &p, &q, &left);
        recall_importing(w->s, false);
        point_release(&q);
    }
    point_release(&p);
    if (r == 0 && left && !path) {
        buf_printf(&w->err,
                   "%" PRIu64
                   " ranges of volume %.100s are not in the copy of what they came from; varve hydrate "
                   "brings them here",
                   left, x->src.name);
        r = -E_CORRUPT;
    }
    if (r < 0 && w->err.len == 0)
        buf_printf(&w->err, "volume %.100s: %s", x->src.name, backend_text(r));
    if (r == 0)
        event_emit(w->s, "migrate-switched", x->src.name, "%s: what is not here is read from %.300s",
                   w->m.name, w->m.to.url);
    return r;
}

/* The old sources end, and their pins: each in one record of the store, when nothing names it any more. */
static int sources_end(struct working *w)
{
    cleanup(buf_free) struct buf all = {0};
    int r = cold_settle(w->s);

    for (unsigned n = 0; r == 0 && n < END_TRIES; n++) {
        recall_keep(w->s, true);
        r = all_relying(w->s, &w->m, w->sides.from, &all);
        if (r < 0 || all.len == 0 ||
            w->m.filter.path[0]) /* what is not in that part is read from there still */
            return r;
        if (job_canceled(w->j))
            return -E_CANCELED;
        nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    }
    if (r == 0) {
        buf_printf(&w->err,
                   "volume %.100s still reads from the source: something is being released to it, or "
                   "imported; run it again later",
                   ((const struct relying *)(const void *)all.data)->src.name);
        r = -E_BUSY;
    }
    return r;
}

static int stage_switch(struct working *w)
{
    cleanup(buf_free) struct buf all = {0};
    int r = all_relying(w->s, &w->m, w->sides.from, &all);

    job_total(w->j, 0, 0);
    for (size_t at = 0; r == 0 && at < all.len; at += sizeof(struct relying))
        r = switch_source(w, (const struct relying *)(const void *)(all.data + at));
    return r < 0 || all.len == 0 ? r : sources_end(w);
}

/* --- deleting ------------------------------------------------------------------------------------------------------------- */

static int on_prune(void *arg, const char *what, uint64_t done, uint64_t of)
{
    (void)what;
    (void)done;
    (void)of;
    return on_progress(arg);
}

static int stage_delete(struct working *w)
{
    struct prune_opts o = {
        .grace_ns = w->m.grace_ns ? w->m.grace_ns : PRUNE_GRACE_NS, .arg = w, .progress = on_prune};
    struct migrate_hooks h = hooks_of(w);
    struct prune_result res = {0};
    int r = migrate_drop(w->sides.from, w->sides.to, &w->m, &h, &w->err);

    if (r == 0)
        event_emit(w->s, "migrate-dropped", "", "%s: %" PRIu64 " recovery points deleted in %.300s",
                   w->m.name, w->m.dropped, w->m.from.url);
    if (r == 0)
        r = save(w);
    if (r == 0)
        r = prune_run(w->sides.from, &o, &res, &w->err);
    return r == -E_BUSY ? 0 : r; /* another one is at work: the next one finds it all the same */
}

/* --- the whole ------------------------------------------------------------------------------------------------------------ */

static int stages(struct working *w)
{
    static int (*const run[])(struct working * w) = {stage_copy, stage_verify, stage_switch, stage_delete};
    static const enum migrate_stage early[] = {STAGE_COPY, STAGE_VERIFY, STAGE_DELETE, STAGE_SWITCH};
    int r = 0;

    for (;;) {
        enum migrate_stage now = BROKEN(VARVE_BREAK_migrate_early) ? early[w->m.stage] : w->m.stage;

        if (now != STAGE_DELETE || w->m.drop_source)
            r = run[now](w);
        if (w->thaws)
            job_say(w->j, "%s", "");
        w->thaws = false;
        if (r < 0 || w->m.stage == STAGE_DELETE)
            return r;
        w->m.stage++;
        r = save(w);
        if (r < 0)
            return r;
    }
}

static void say_done(struct working *w)
{
    char sent[CONF_SIZE_TEXT], moved[CONF_SIZE_TEXT];

    conf_size_text(w->m.sent_bytes, sent);
    conf_size_text(w->m.range_bytes, moved);
    job_say(w->j,
            "%" PRIu64 " recovery points copied, %" PRIu64 " were there; sent %s; volumes read %s from there "
            "now; %" PRIu64 " deleted at the source",
            w->m.todo.points, w->m.there.points, sent, moved, w->m.dropped);
    event_emit(w->s, "migrate-done", "", "%s: to %.300s", w->m.name, w->m.to.url);
}

/* Was it asked to end, or is the store about to close? */
static bool was_canceled(struct store *s, uint64_t id)
{
    struct job_info i;

    return job_get(s, id, &i) == 0 && i.cancel;
}

static int ended(struct working *w, uint64_t id, int r)
{
    if (r == -E_CANCELED && !was_canceled(w->s, id)) {
        (void)save(w);
        return r; /* whoever has the store next goes on */
    }
    w->m.ended_ns = clock_wall_ns();
    w->m.state = r == 0 ? MIGRATE_DONE : r == -E_CANCELED ? MIGRATE_CANCELED : MIGRATE_FAILED;
    w->m.why[0] = 0;
    if (w->m.state == MIGRATE_FAILED) {
        const char *why = w->err.len ? buf_cstr(&w->err) : backend_text(r);

        snprintf(w->m.why, sizeof(w->m.why), "%.*s", (int)strcspn(why, "\n"), why);
        job_say(w->j, "%s: %s", migrate_stage_name(w->m.stage), w->m.why);
        event_emit(w->s, "migrate-failed", "", "%s: %s: %s", w->m.name, migrate_stage_name(w->m.stage),
                   w->m.why);
    }
    int x = save(w);
    if (r == 0 && x == 0)
        say_done(w);
    return r < 0 ? r : x;
}

static int work(struct working *w, const char *name, uint64_t id)
{
    struct backend_call call = {.canceled = job_stopped, .arg = w->j};
    int r = migrate_load(store_io(w->s), store_path(w->s), name, &w->m);

    if (r < 0) {
        job_say(w->j, "migration %.64s: %s", name, err_text(r));
        return r;
    }
    w->m.state = MIGRATE_RUNS;
    w->m.ended_ns = 0;
    if (!w->m.began_ns)
        w->m.began_ns = clock_wall_ns();
    r = save(w);
    if (r == 0)
        r = migrate_sides_open(&w->m, &call, &w->sides, &w->err);
    if (r == 0)
        r = stages(w);
    r = ended(w, id, r);
    migrate_sides_close(&w->sides);
    migrate_release(&w->m);
    return r;
}

int migrate_job(struct job *j, struct store *s, const struct job_info *info)
{
    struct working *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -E_NOMEM;
    w->j = j;
    w->s = s;
    r = work(w, info->detail, info->id);
    buf_free(&w->err);
    free(w);
    return r;
}

/* --- beginning ------------------------------------------------------------------------------------------------------------ */

struct at_work {
    const char *name;
    uint64_t id;
};

static int is_at_it(void *arg, const struct job_info *i)
{
    struct at_work *f = arg;

    if (strcmp(i->verb, VERB) == 0 && strcmp(i->detail, f->name) == 0 && !job_state_ended(i->state))
        f->id = i->id;
    return 0;
}

uint64_t migrate_job_of(struct store *s, const char *name)
{
    struct at_work f = {.name = name};

    jobs_each(s, is_at_it, &f);
    return f.id;
}

static int start_new(struct store *s, struct migrate *m, uint64_t *ret_job)
{
    int r;

    m->state = MIGRATE_RUNS;
    m->why[0] = 0;
    r = migrate_save(store_io(s), store_path(s), m);
    return r < 0 ? r : job_start(s, VERB, 0, m->name, ret_job);
}

int migrate_start(struct store *s, struct migrate *m, uint64_t *ret_job)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* two who find none do not both begin one */
    int r = 0;

    pthread_mutex_lock(&lock);
    *ret_job = migrate_job_of(s, m->name);
    if (!*ret_job)
        r = start_new(s, m, ret_job);
    pthread_mutex_unlock(&lock);
    return r;
}

struct due {
    struct store *s;
    int64_t now_ns, wait_s;
};

static int start_due(void *arg, struct migrate *m, int bad)
{
    struct due *d = arg;
    uint64_t job;

    if (bad < 0) {
        log_warn("migrate", "unreadable", "name=%s reason=%s", m->name, err_name(bad));
        return 0;
    }
    if (m->state == MIGRATE_WAITS && m->at_ns > d->now_ns) {
        int64_t left = (m->at_ns - d->now_ns) / 1000000000 + 1;

        d->wait_s = d->wait_s ? MIN_OF(d->wait_s, left) : left;
    } else if (m->state == MIGRATE_WAITS || m->state == MIGRATE_RUNS) {
        int r = migrate_start(d->s, m, &job);

        if (r < 0)
            log_warn("migrate", "not-started", "name=%s reason=%s", m->name, err_name(r));
    }
    return 0;
}

int64_t migrate_due(struct store *s)
{
    struct due d = {.s = s, .now_ns = clock_wall_ns()};
    int r = migrate_each(store_io(s), store_path(s), start_due, &d);

    if (r < 0)
        log_warn("migrate", "unseen", "reason=%s", err_name(r));
    return d.wait_s;
}
