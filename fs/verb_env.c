/* A store in use by verbs: opened with its settings, with jobs and events; and what is due from time to time. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/daemon.h"
#include "fs/migrate.h"
#include "fs/recall.h"
#include "fs/verb_profile.h"
#include "fs/verb_runs.h"
#include "fs/verb_tier.h"
#include "snap/event.h"
#include "snap/idle.h"
#include "snap/job.h"

#define UNDELETE_NS (24 * 3600 * (int64_t)1000000000)

/* --- kinds of jobs ------------------------------------------------------------------------------------------------ */

/* Volumes that are deleted, too; the struct lives as long as the store is open. */
struct vol *verb_vol_of_id(struct store *s, uint32_t id)
{
    struct vol *v = NULL;
    struct txn t;

    if (txn_begin(s, TXN_READ, OP_NONE, NULL, &t) < 0)
        return NULL;
    v = vol_by_id(s, id);
    txn_abort(&t);
    return v;
}

void verb_job_thaws(struct job *j, uint64_t ready, uint64_t of)
{
    if (of)
        job_say(j, "waits for the archive: %" PRIu64 " of %" PRIu64 " packs are out of it", ready, of);
}

static int job_snapshot_sync(struct job *j, struct store *s, const struct job_info *info)
{
    struct vol *v = verb_vol_of_id(s, info->vol);
    struct layer_rec rec;
    int r;

    if (!v)
        return -E_NOENT;
    r = snap_find(v, info->detail, &rec);
    if (r == -E_NOENT)
        job_say(j, "snapshot %s is gone", info->detail);
    if (r < 0)
        return r;
    job_total(j, 1, 0);
    r = snap_wait_durable(v, rec.layer);
    if (r < 0)
        return r;
    job_progress(j, 1, 0);
    job_say(j, "snapshot %s is durable", info->detail);
    return 0;
}

static const struct job_kind kinds[] = {
    {.verb = "snapshot-sync", .run = job_snapshot_sync, .again = true},
    {.verb = "scrub", .run = scrub_job, .again = true},
    {.verb = "backup", .run = backup_job, .again = true},
    {.verb = "export", .run = plain_job, .again = true},
    {.verb = "release", .run = release_job, .again = true},
    {.verb = "tier", .run = tier_job, .again = true},
    {.verb = "restore", .run = command_job},
    {.verb = "repository", .run = command_job},
    {.verb = "hydrate", .run = hydrate_job, .again = true},
    {.verb = "recall", .run = recall_job, .again = true},
    {.verb = "transition", .run = transition_job, .again = true},
    {.verb = "expire", .run = expire_job, .again = true},
    {.verb = "migrate", .run = migrate_job, .again = true},
};

/* --- open and close ----------------------------------------------------------------------------------------------- */

int verb_env_attach(struct verb_env *e)
{
    int r = events_attach(e->store);

    if (r < 0)
        return r;
    r = recall_attach(e->store, &(struct recall_opts){.timeout_ms = e->recall_ms,
                                                      .wait_ms = e->recall_wait_ms,
                                                      .limit_bytes = e->recall_limit});
    if (r == 0)
        tier_follow_all(e->store);
    if (r == 0 && (r = jobs_attach(e->store, kinds, ARRAY_LEN(kinds))) < 0)
        recall_detach(e->store);
    if (r < 0)
        events_detach(e->store);
    else
        e->wait_s = recall_due(e->store);
    return r;
}

void verb_env_detach(struct verb_env *e)
{
    jobs_detach(e->store);
    idle_flush(e->store);
    recall_detach(e->store);
    events_detach(e->store);
}

/* A daemon that takes over has mounts to serve, whatever was written into a file since. */
static int forgive(int r, bool forgiving, struct buf *err)
{
    if (r >= 0 || !forgiving || r == -E_NOMEM)
        return r;
    log_error("conf", "ignored", "%s", err->len ? buf_cstr(err) : err_text(r));
    buf_reset(err);
    return 0;
}

/* The store's own file, and what it does not say, of the machine's. */
static int settings_read(const char *path, bool forgiving, struct store_settings *ret,
                         struct verb_env *ret_env, struct buf *err)
{
    cleanup(conf_daemon_release) struct conf_daemon conf = {.nstores = 0};
    const struct conf_stored *of;
    struct conf_store c = {0};
    char file[4096];
    int r, m;

    if (snprintf(file, sizeof(file), "%s/config", path) >= (int)sizeof(file))
        return -E_NAMETOOLONG;
    m = conf_daemon_read(NULL, &conf, err);
    r = forgive(m, forgiving, err);
    if (r == 0)
        r = forgive(conf_store_read(file, &c, err), forgiving, err);
    if (r < 0)
        return r;
    of = conf_daemon_store(&conf, path);
    if (of)
        conf_store_fill(&c, &of->set);
    if (m == 0)
        conf_live_begin(&conf);
    *ret = (struct store_settings){.flush_ms = c.flush_ms,
                                   .dirty_bytes = c.dirty_bytes,
                                   .delta_bytes = c.delta_bytes,
                                   .inline_bytes = c.inline_bytes,
                                   .fd_cache = c.fd_cache};
    ret_env->recall_ms = c.recall_ms;
    ret_env->recall_wait_ms = c.recall_wait_ms;
    ret_env->recall_limit = c.recall_limit;
    return 0;
}

int verb_open(struct io *io, const char *path, unsigned flags, struct verb_env *ret, struct buf *err)
{
    struct verb_env e = {.host = ret->host};
    struct store_settings settings;
    char why[256] = "";
    int r = settings_read(path, ret->forgiving, &settings, &e, err);

    if (r < 0)
        return r;
    r = store_open(io, path, &settings, flags, &e.store, why);
    if (r < 0) {
        buf_printf(err, "%s: %s", path, why[0] ? why : err_text(r));
        return r;
    }
    r = snap_attach(e.store);
    if (r == 0)
        r = verb_env_attach(&e);
    if (r < 0) {
        buf_printf(err, "%s: %s", path, err_text(r));
        store_close(e.store);
        return r;
    }
    *ret = e;
    return 0;
}

int verb_close(struct verb_env *e)
{
    verb_env_detach(e);
    return store_close(TAKE(e->store));
}

/* --- what is due -------------------------------------------------------------------------------------------------- */

#define DUE_MAX 64

static size_t deleted_due(struct store *s, struct volume_rec due[DUE_MAX])
{
    int64_t now = clock_wall_ns();
    size_t n = 0;
    struct txn t;

    if (txn_begin(s, TXN_READ, OP_NONE, NULL, &t) < 0)
        return 0;
    for (struct vol *v = vol_first(s); v && n < DUE_MAX; v = v->next)
        if ((v->rec.flags & VOLUME_DELETED) && !(v->rec.flags & VOLUME_GHOST) && v->rec.deleted_ns &&
            now - v->rec.deleted_ns >= UNDELETE_NS)
            due[n++] = v->rec;
    txn_abort(&t);
    return n;
}

/* One event when the disk falls below a bound (5 %), one when it is above the next percent again. */
static void disk_watch(struct store *s)
{
    static _Atomic bool low;
    struct conf_live live;
    struct store_state st;
    uint64_t pct;

    conf_live_get(&live);
    store_get_state(s, &st);
    if (st.disk_total == 0)
        return;
    pct = (uint64_t)((unsigned __int128)st.disk_free * 100 / st.disk_total);
    if (pct < live.disk_low_pct && !low) {
        low = true;
        event_emit(s, "disk-low", NULL,
                   "only %" PRIu64 " %% of the disk below the store is free; delete files or snapshots", pct);
    } else if (pct > live.disk_low_pct + 1 && low) {
        low = false;
        event_emit(s, "disk-ok", NULL, "%" PRIu64 " %% of the disk below the store is free again", pct);
    }
}

#define BROKEN_MAX 64

/* Volumes that became read-only by themselves, each said once; what could not be said now is said the next time. */
static void volumes_watch(struct store *s)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static uint32_t said[BROKEN_MAX];
    static size_t nsaid;
    char name[NAME_LEN_MAX + 1] = "", why[160];
    struct txn t;

    if (txn_begin(s, TXN_READ, OP_NONE, NULL, &t) < 0)
        return;
    pthread_mutex_lock(&lock);
    for (struct vol *v = vol_first(s); v && nsaid < BROKEN_MAX && !name[0]; v = v->next) {
        bool known = !v->readonly;

        for (size_t i = 0; i < nsaid; i++)
            known |= said[i] == v->rec.id;
        if (known)
            continue;
        said[nsaid++] = v->rec.id;
        snprintf(name, sizeof(name), "%s", v->rec.name);
        snprintf(why, sizeof(why), "%s", v->why_readonly ? v->why_readonly : "");
    }
    pthread_mutex_unlock(&lock);
    txn_abort(&t);
    if (name[0])
        event_emit(s, "volume-read-only", name, "%s; varve check says more", why);
}

/* The store stopped writing: said once. */
static void mode_watch(struct store *s)
{
    static _Atomic bool said;
    struct store_state st;

    store_get_state(s, &st);
    if (st.mode != STORE_RO_FAILED && st.mode != STORE_RO_DAMAGED)
        return;
    if (!said)
        event_emit(s, "store-read-only", NULL, "%s; varve check says more", st.why);
    said = true;
}

/* Not later than due_s; 0: it wants nothing. */
static void wait_until(struct verb_env *e, int64_t due_s)
{
    if (due_s && (!e->wait_s || due_s < e->wait_s))
        e->wait_s = due_s;
}

static int tick(struct verb_env *e)
{
    static _Thread_local struct volume_rec due[DUE_MAX];
    struct store_state st;
    size_t n;
    int r;

    disk_watch(e->store);
    mode_watch(e->store);
    volumes_watch(e->store);
    e->wait_s = 0;
    store_get_state(e->store, &st);
    if (st.mode != STORE_RW)
        return 0;
    wait_until(e, verb_schedules(e));
    wait_until(e, migrate_due(e->store));
    recall_keep(e->store, false);
    wait_until(e, recall_due(e->store));
    idle_flush(e->store);
    n = deleted_due(e->store, due);
    r = snap_expire_due(e->store);
    if (r < 0)
        return log_err(r, "verb", "what=expire");
    for (size_t i = 0; i < n; i++)
        event_emit(e->store, "volume-purged", due[i].name, "deleted 24 hours ago: its space is freed");
    return 0;
}

int verb_tick(struct verb_env *e)
{
    unsigned held = vols_hold(e->store);
    int r = tick(e);

    vols_let_go(e->store, held);
    volume_forget_gone(e->store);
    return r;
}
