/* What profiles have due, done by the process that serves the store. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "conf/daemon.h"
#include "fs/verb_profile.h"
#include "fs/verb_repo.h"
#include "fs/verb_runs.h"
#include "fs/verb_tier.h"
#include "snap/schedule.h"

#define BACKUP_PREFIX "backup-"

static int flush(void *arg, struct vol *v)
{
    const struct verb_host *h = ((struct verb_env *)arg)->host;

    return h && h->flush ? h->flush(h->arg, v) : 0;
}

static void changed(void *arg, struct vol *v, const char *name, bool taken)
{
    struct verb_env *e = arg;

    if (e->host && e->host->snapshots_changed)
        e->host->snapshots_changed(e->host->arg, v);
    event_emit(e->store, taken ? "snapshot-created" : "snapshot-deleted", v->rec.name, "%s", name);
}

static void trouble(void *arg, struct vol *v, const char *kind, const char *text)
{
    struct verb_env *e = arg;

    event_emit(e->store, kind, v->rec.name, "%s", text);
}

/* --- backups ---------------------------------------------------------------------------------------------------------- */

struct under_way {
    uint32_t vol;
    const char *snap; /* ` snap="NAME"` as a job's detail has it */
    uint64_t job;
};

static int under_way(void *arg, const struct job_info *i)
{
    struct under_way *u = arg;

    if (i->vol == u->vol && strcmp(i->verb, "backup") == 0 && strstr(i->detail, u->snap) &&
        (!job_state_ended(i->state) || i->state == JOB_DONE))
        u->job = i->id;
    return 0;
}

/* The snapshot of this run: the one of a try before, or a new one. It goes when a later one is backed up to the same place. */
static int snapshot(struct verb_env *e, struct vol *v, const char *name, const char *url)
{
    static const char head[] = "label\0backup";
    char place[NAME_LEN_MAX + 1], text[sizeof(head) + NAME_LEN_MAX + 1];
    struct layer_rec rec;
    int r = snap_find(v, name, &rec);

    if (r != -E_NOENT)
        return r;
    backup_place_label(url, place);
    memcpy(text, head, sizeof(head));
    memcpy(text + sizeof(head), place, strlen(place) + 1);
    r = flush(e, v);
    if (r == 0)
        r = snap_create_labelled(v, name, text, sizeof(head) + strlen(place) + 1, NULL);
    if (r == 0)
        changed(e, v, name, true);
    return r;
}

static int words(const struct profile_plan *p, const struct conf_repo *c, const char *name,
                 struct verb_args *a, struct buf *err)
{
    int r = verb_set(a, "to", c->url, err);

    if (r == 0)
        r = verb_set(a, "snap", name, err);
    if (r == 0 && c->passphrase_file[0])
        r = verb_set(a, "passphrase-file", c->passphrase_file, err);
    if (r == 0 && c->key_file[0])
        r = verb_set(a, "key-file", c->key_file, err);
    return r < 0 || !p->compression ? r
                                    : verb_set(a, "compression", p->compression == 1 ? "zstd" : "lz4", err);
}

static int begin(struct verb_env *e, struct vol *v, const struct profile_plan *p, const char *name,
                 uint64_t *ret_job, struct buf *err)
{
    cleanup(repo_place_free) struct repo_place *place = calloc(1, sizeof(*place));
    cleanup(verb_args_free) struct verb_args a = {.verb = verb_find("backup", "run")};
    cleanup(buf_free) struct buf out = {0};
    struct verb_ctx c = {.env = e, .vol = v, .role = ROLE_ADMIN, .via = VIA_CONTROL};
    int r = place ? repo_place_parse(p->to, false, NULL, place, err) : -E_NOMEM;

    if (r == 0)
        r = snapshot(e, v, name, place->conf.url);
    if (r == 0)
        r = words(p, &place->conf, name, &a, err);
    if (r == 0)
        r = verb_run(&c, &a, &out, err);
    if (r == 0)
        *ret_job = c.job;
    return r;
}

static int backup(void *arg, struct vol *v, const struct profile_plan *p, int64_t due_s, uint64_t *ret_job,
                  struct buf *err)
{
    struct verb_env *e = arg;
    char name[NAME_LEN_MAX + 1], detail[NAME_LEN_MAX + 16];
    struct under_way u = {.vol = v->rec.id, .snap = detail};
    int r;

    schedule_snap_name(BACKUP_PREFIX, p->name, due_s, name);
    snprintf(detail, sizeof(detail), " snap=\"%s\"", name);
    r = jobs_each(e->store, under_way,
                  &u); /* a former daemon may have begun it, and not come to write that down */
    if (r < 0)
        return r;
    if (u.job) {
        *ret_job = u.job;
        return 0;
    }
    return begin(e, v, p, name, ret_job, err);
}

/* --- tiering ---------------------------------------------------------------------------------------------------------- */

static int64_t tier_period_of(void *arg, const struct profile *p)
{
    struct tier_policy policy;

    (void)arg;
    return tier_policy_of(p, &policy) ? tier_period(&policy) : 0;
}

/* Levels alone are looked at without asking the repository. */
static int is_wanted(struct vol *v, const struct tier_policy *p, bool due)
{
    uint64_t used, total;
    int r = p->high_pct ? tier_room(v, p, &used, &total) : 0;

    if (r < 0)
        return r;
    return (p->high_pct && tier_excess(p, used, total)) || (due && (p->after_s || p->what != TIER_COLD));
}

static int tier(void *arg, struct vol *v, bool due, uint64_t *ret_job, struct buf *err)
{
    cleanup(verb_args_free) struct verb_args a = {.verb = verb_find("tier", "run")};
    cleanup(buf_free) struct buf out = {0};
    struct verb_ctx c = {.env = arg, .vol = v, .role = ROLE_ADMIN, .via = VIA_CONTROL};
    struct tier_terms terms;
    int r = tier_follow(v);

    if (r == 0)
        r = tier_terms_of(v, NULL, &terms, err);
    if (r == 0)
        r = is_wanted(v, &terms.p, due);
    if (r == 1)
        r = verb_run(&c, &a, &out, err);
    if (r == 0)
        *ret_job = c.job;
    return r;
}

/* --- lifecycle -------------------------------------------------------------------------------------------------------- */

/* The line that says it, for the job. */
static int life_detail(const struct profile *p, enum lifecycle_what what, const struct conf_repo *c,
                       struct buf *out, struct buf *err)
{
    int r = buf_puts(out, what == LIFECYCLE_EXPIRE ? "expire" : "transition");

    if (r == 0)
        r = verb_line_add(out, "repo", c->url);
    if (r == 0)
        r = verb_line_add(out, "passphrase-file", c->passphrase_file[0] ? c->passphrase_file : NULL);
    if (r == 0)
        r = verb_line_add(out, "key-file", c->key_file[0] ? c->key_file : NULL);
    if (r == 0)
        r = buf_printf(out, " older=%" PRId64 "s", lifecycle_after(p, what));
    if (r == 0 && what == LIFECYCLE_MOVE)
        r = verb_line_add(out, "class", p->lifecycle.storage_class);
    else if (r == 0 && p->lifecycle.undo_s)
        r = buf_printf(out, " undo=%" PRId64 "s", p->lifecycle.undo_s);
    return r < 0 ? r
                 : verb_job_fits(out, "lifecycle: the URL and the paths of its secrets are too long together",
                                 err);
}

/* The job of a former daemon that did not come to write it down is joined. */
static int life(void *arg, struct vol *v, const struct profile *p, enum lifecycle_what what, const char *to,
                uint64_t *ret_job, struct buf *err)
{
    cleanup(repo_place_free) struct repo_place *place = calloc(1, sizeof(*place));
    cleanup(buf_free) struct buf detail = {0};
    int r = place ? repo_place_parse(to, false, NULL, place, err) : -E_NOMEM;

    if (r == 0)
        r = life_detail(p, what, &place->conf, &detail, err);
    return r < 0
               ? r
               : job_join(((struct verb_env *)arg)->store, what == LIFECYCLE_EXPIRE ? "expire" : "transition",
                          v->rec.id, buf_cstr(&detail), ret_job);
}

int64_t verb_schedules(struct verb_env *e)
{
    struct schedule_hooks hooks = {.arg = e,
                                   .flush = flush,
                                   .changed = changed,
                                   .trouble = trouble,
                                   .backup = backup,
                                   .tier_period = tier_period_of,
                                   .tier = tier,
                                   .life = life};

    cleanup(zone_release) struct zone z = {.n = 0};
    struct conf_live live;
    int r;

    conf_live_get(&live);
    if (!live.scheduler)
        return 3600;
    r = zone_load(live.time_zone, &z);
    if (r < 0)
        log_warn("schedule", "zone", "name=%s: %s; UTC is taken", live.time_zone, err_text(r));
    return schedules_tick(e->store, &z, &hooks);
}
