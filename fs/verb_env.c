/* A store in use by verbs: opened with its settings, with jobs and events; and what is due from time to time. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/store.h"
#include "fs/verb.h"
#include "snap/event.h"
#include "snap/job.h"

#define UNDELETE_NS (24 * 3600 * (int64_t)1000000000)

/* --- kinds of jobs ------------------------------------------------------------------------------------------------ */

/* Volumes that are deleted, too; the struct lives as long as the store is open. */
static struct vol *vol_of_id(struct store *s, uint32_t id)
{
    struct vol *v = NULL;
    struct txn t;

    if (txn_begin(s, TXN_READ, OP_NONE, NULL, &t) < 0)
        return NULL;
    v = vol_by_id(s, id);
    txn_abort(&t);
    return v;
}

static int job_snapshot_sync(struct job *j, struct store *s, const struct job_info *info)
{
    struct vol *v = vol_of_id(s, info->vol);
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

static int job_purge(struct job *j, struct store *s, const struct job_info *info)
{
    struct vol *v = vol_of_id(s, info->vol);
    int r = v ? volume_purge(v) : -E_NOENT;

    if (r == 0)
        job_say(j, "volume %s is gone for good", info->detail);
    return r;
}

static const struct job_kind kinds[] = {
    {.verb = "snapshot-sync", .run = job_snapshot_sync, .again = true},
    {.verb = "purge", .run = job_purge, .again = true},
};

/* --- open and close ----------------------------------------------------------------------------------------------- */

int verb_env_attach(struct verb_env *e)
{
    int r = events_attach(e->store);

    if (r < 0)
        return r;
    r = jobs_attach(e->store, kinds, ARRAY_LEN(kinds));
    if (r < 0)
        events_detach(e->store);
    return r;
}

void verb_env_detach(struct verb_env *e)
{
    jobs_detach(e->store);
    events_detach(e->store);
}

static int settings_read(const char *path, struct store_settings *ret, struct buf *err)
{
    struct conf_store c;
    char file[4096];
    int r;

    if (snprintf(file, sizeof(file), "%s/config", path) >= (int)sizeof(file))
        return -E_NAMETOOLONG;
    r = conf_store_read(file, &c, err);
    if (r < 0)
        return r;
    *ret = (struct store_settings){.flush_ms = c.flush_ms,
                                   .dirty_bytes = c.dirty_bytes,
                                   .delta_bytes = c.delta_bytes,
                                   .inline_bytes = c.inline_bytes,
                                   .fd_cache = c.fd_cache};
    return 0;
}

int verb_open(struct io *io, const char *path, unsigned flags, struct verb_env *ret, struct buf *err)
{
    struct verb_env e = {.host = ret->host};
    struct store_settings settings;
    char why[256] = "";
    int r = settings_read(path, &settings, err);

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

/* Volumes deleted long enough ago become jobs; those under way have one already. */
static int job_of_volume(void *arg, const struct job_info *i)
{
    return strcmp(i->verb, "purge") == 0 && i->vol == *(uint32_t *)arg && !job_state_ended(i->state);
}

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

static int purge_due(struct store *s)
{
    static _Thread_local struct volume_rec due[DUE_MAX];
    size_t n = deleted_due(s, due);
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        uint64_t id;

        if (jobs_each(s, job_of_volume, &due[i].id))
            continue;
        r = job_start(s, "purge", due[i].id, due[i].name, &id);
        if (r == 0)
            event_emit(s, "volume-purge", due[i].name,
                       "deleted 24 hours ago: its space is freed (job %" PRIu64 ")", id);
    }
    return r;
}

/* One event when the disk falls below 5 % free, one when it is above 6 % again. */
static void disk_watch(struct store *s)
{
    static _Atomic bool low;
    struct store_state st;
    uint64_t pct;

    store_get_state(s, &st);
    if (st.disk_total == 0)
        return;
    pct = (uint64_t)((unsigned __int128)st.disk_free * 100 / st.disk_total);
    if (pct < 5 && !low) {
        low = true;
        event_emit(s, "disk-low", NULL,
                   "only %" PRIu64 " %% of the disk below the store is free; delete files or snapshots", pct);
    } else if (pct > 6 && low) {
        low = false;
        event_emit(s, "disk-ok", NULL, "%" PRIu64 " %% of the disk below the store is free again", pct);
    }
}

int verb_tick(struct verb_env *e)
{
    struct store_state st;
    int r, p;

    disk_watch(e->store);
    store_get_state(e->store, &st);
    if (st.mode != STORE_RW)
        return 0;
    r = snap_expire_due(e->store);
    if (r < 0)
        log_warn("verb", "expire", "reason=%s", err_name(r));
    p = purge_due(e->store);
    return r < 0 ? r : p;
}
