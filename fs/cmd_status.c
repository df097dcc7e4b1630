/* varve status: what there is to know about a volume and its store, for people, programs and monitors. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "conf/value.h"
#include "fs/verb_profile.h"
#include "fs/recall.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "snap/store/cold.h"

#define TRANSPORT_SIZE 160 /* as fs/verb.h says */

struct state {
    struct verb_ctx *c;
    struct volume_info vol;
    struct store_state store;
    const struct store_settings *settings;
    char mode_why[256];
    bool readonly;
    struct layer_rec newest; /* number 0: none */
    uint64_t jobs;
    uint64_t tables_bytes, tables_free_bytes;
    bool has_cold; /* some of it lies in a repository, or did */
    struct cold_stat cold;
};

static int newest(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    (void)text;
    (void)len;
    *(struct layer_rec *)arg = *rec;
    return 0;
}

/* The volume's own failure, else the store's. A store that this command opened for reading would be mounted rw. */
static int mode_of(struct state *s)
{
    struct txn t;
    int r = txn_begin(s->c->env->store, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    s->readonly = s->c->vol->readonly;
    snprintf(s->mode_why, sizeof(s->mode_why), "%s", s->c->vol->why_readonly ? s->c->vol->why_readonly : "");
    txn_abort(&t);
    if (s->store.mode == STORE_RO_DAMAGED || s->store.mode == STORE_RO_FAILED ||
        (s->store.mode == STORE_RO_ASKED && s->c->env->host)) {
        s->readonly = true;
        snprintf(s->mode_why, sizeof(s->mode_why), "%s", s->store.why);
    }
    return 0;
}

static int gather(struct verb_ctx *c, struct state *s)
{
    int r;

    *s = (struct state){.c = c, .settings = store_get_settings(c->env->store)};
    store_get_state(c->env->store, &s->store);
    r = volume_get_info(c->vol, &s->vol);
    if (r == 0)
        r = mode_of(s);
    if (r == 0)
        r = snap_each(c->vol, newest, &s->newest);
    (void)store_get_tables(c->env->store, &s->tables_bytes,
                           &s->tables_free_bytes); /* zeros: they cannot be read */
    s->jobs = jobs_running(c->env->store);
    if (r == 0 && recall_any(c->env->store))
        s->has_cold = cold_stat(c->vol, &s->cold) == 0;
    return r;
}

static int mounts_each(const struct state *s, int (*cb)(void *arg, const char *dir, const char *opts),
                       void *arg)
{
    const struct verb_host *h = s->c->env->host;

    return h && h->mounts ? h->mounts(h->arg, s->c->vol, cb, arg) : 0;
}

/* --- for programs ------------------------------------------------------------------------------------------------- */

static int mount_json(void *arg, const char *dir, const char *opts)
{
    struct jw *j = arg;

    jw_object(j, NULL);
    jw_name(j, "dir", dir, strlen(dir));
    jw_str(j, "options", opts);
    jw_close(j);
    return 0;
}

/* NULL: nobody serves the live tree here. */
static const char *transport(const struct state *s, char room[TRANSPORT_SIZE])
{
    const struct verb_host *h = s->c->env->host;

    return h && h->transport ? h->transport(h->arg, s->c->vol, room) : NULL;
}

static void store_json(struct jw *j, const struct state *s)
{
    const struct store_state *st = &s->store;
    char uuid[UUID_TEXT_SIZE];

    uuid_format(&st->uuid, uuid);
    jw_object(j, "store");
    jw_name(j, "path", store_path(s->c->env->store), strlen(store_path(s->c->env->store)));
    jw_str(j, "uuid", uuid);
    jw_u64(j, "format", STORE_FORMAT);
    jw_u64(j, "incarnation", st->incarnation);
    jw_bool(j, "stopped_unclean", st->unclean);
    jw_bool(j, "after_power_cut", st->powercut);
    jw_u64(j, "unsynced_bytes", st->dirty_bytes);
    jw_u64(j, "unsynced_limit_bytes", s->settings->dirty_bytes);
    jw_u64(j, "delta_bytes", st->delta_bytes);
    jw_u64(j, "delta_limit_bytes", s->settings->delta_bytes);
    jw_u64(j, "tables_bytes", s->tables_bytes);
    jw_u64(j, "tables_free_bytes", s->tables_free_bytes);
    jw_u64(j, "journal_bytes", s->settings->segment_bytes * s->settings->segments);
    jw_u64(j, "journal_appended", st->appended_lsn);
    jw_u64(j, "journal_flushed", st->flushed_lsn);
    jw_u64(j, "journal_applied", st->applied_lsn);
    jw_u64(j, "reclaim_entries", st->reclaim_entries);
    jw_u64(j, "disk_total_bytes", st->disk_total);
    jw_u64(j, "disk_free_bytes", st->disk_free);
    jw_u64(j, "jobs_running", s->jobs);
    jw_u64(j, "last_event", events_last(s->c->env->store));
    jw_close(j);
}

static int status_json(const struct state *s, struct buf *out)
{
    struct jw j = jw_begin(out, true);
    char room[TRANSPORT_SIZE];

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    if (s->c->env->host)
        jw_u64(&j, "daemon_pid", (uint64_t)getpid());
    else
        jw_null(&j, "daemon_pid");
    jw_str(&j, "mode", s->readonly ? "ro" : "rw");
    jw_str(&j, "mode_reason", s->readonly ? s->mode_why : NULL);
    jw_object(&j, "volume");
    show_volume_json(&j, &s->vol);
    if (s->newest.number)
        jw_name(&j, "newest_snapshot", s->newest.name, strlen(s->newest.name));
    else
        jw_null(&j, "newest_snapshot");
    jw_close(&j);
    jw_array(&j, "mounts");
    mounts_each(s, mount_json, &j);
    jw_close(&j);
    jw_str(&j, "transport", transport(s, room));
    if (s->has_cold) {
        jw_u64(&j, "remote_bytes", s->cold.remote_bytes);
        jw_u64(&j, "local_bytes", s->cold.local_bytes);
    }
    profile_status_json(&j, s->c);
    store_json(&j, s);
    jw_close(&j);
    return jw_end(&j);
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static int mount_text(void *arg, const char *dir, const char *opts)
{
    struct show_cols *c = arg;

    show_cell(c, "mounted");
    show_cell(c, "%s (%s)", dir, opts ? opts : "");
    return 0;
}

static void size_row(struct show_cols *c, const char *what, uint64_t used, uint64_t limit,
                     const char *no_limit)
{
    char a[CONF_SIZE_TEXT], b[CONF_SIZE_TEXT];

    conf_size_text(used, a);
    conf_size_text(limit, b);
    show_cell(c, "%s", what);
    if (limit)
        show_cell(c, "%s of %s (%" PRIu64 " %%)", a, b, (uint64_t)((unsigned __int128)used * 100 / limit));
    else
        show_cell(c, "%s of %s", a, no_limit);
}

static void volume_rows(struct show_cols *c, const struct state *s)
{
    char uuid[UUID_TEXT_SIZE], held[CONF_SIZE_TEXT], limit[CONF_SIZE_TEXT], when[32];
    const struct volume_rec *rec = &s->vol.rec;

    uuid_format(&rec->uuid, uuid);
    show_cell(c, "volume");
    show_cell(c, "%s (%s)", rec->name, uuid);
    show_cell(c, "mode");
    show_cell(c, "%s%s%s", s->readonly ? "read-only: " : "read-write", s->readonly ? s->mode_why : "",
              s->readonly ? "; varve check says more" : "");
    size_row(c, "size", s->vol.used_bytes, rec->size_limit, "the store's space");
    show_cell(c, "files");
    if (rec->inode_limit)
        show_cell(c, "%" PRIu64 " of %" PRIu64, s->vol.used_inodes, rec->inode_limit);
    else
        show_cell(c, "%" PRIu64 ", no limit", s->vol.used_inodes);
    conf_size_text(s->vol.snapshot_bytes, held);
    conf_size_text(rec->snap_limit, limit);
    show_time(s->newest.taken_ns, when);
    show_cell(c, "snapshots");
    show_cell(c, "%" PRIu64 ", holding %s%s%s%s%s", s->vol.snapshots, held, rec->snap_limit ? " of " : "",
              rec->snap_limit ? limit : "", s->newest.number ? ", newest " : "",
              s->newest.number ? when : "");
}

static void cold_row(struct show_cols *c, const struct state *s)
{
    char remote[CONF_SIZE_TEXT], local[CONF_SIZE_TEXT];

    if (!s->has_cold || s->cold.remote_bytes == 0)
        return;
    conf_size_text(s->cold.remote_bytes, remote);
    conf_size_text(s->cold.local_bytes, local);
    show_cell(c, "remote");
    show_cell(c, "%s in a repository only, %s here; varve hydrate brings it", remote, local);
}

static void store_rows(struct show_cols *c, const struct state *s)
{
    const struct store_state *st = &s->store;
    char uuid[UUID_TEXT_SIZE], a[CONF_SIZE_TEXT], b[CONF_SIZE_TEXT];

    uuid_format(&st->uuid, uuid);
    show_cell(c, "store");
    show_cell(c, "%s (%s), format %u", store_path(s->c->env->store), uuid, STORE_FORMAT);
    show_cell(c, "disk below");
    conf_size_text(st->disk_free, a);
    conf_size_text(st->disk_total, b);
    show_cell(c, "%s free of %s", a, b);
    size_row(c, "unsynced", st->dirty_bytes, s->settings->dirty_bytes, "-");
    size_row(c, "delta", st->delta_bytes, s->settings->delta_bytes, "-");
    conf_size_text(s->tables_bytes, a);
    conf_size_text(s->tables_free_bytes, b);
    show_cell(c, "tables");
    show_cell(c, "%s, of which %s free", a, b);
    show_cell(c, "journal");
    show_cell(c, "%" PRIu64 " records not on the disk yet",
              st->appended_lsn - MIN_OF(MAX_OF(st->flushed_lsn, st->applied_lsn), st->appended_lsn));
    show_cell(c, "reclaim");
    show_cell(c, "%" PRIu64 " entries waiting", st->reclaim_entries);
    show_cell(c, "jobs");
    show_cell(c, "%" PRIu64 " running", s->jobs);
}

struct job_rows {
    struct show_cols *c;
    uint32_t vol;
};

/* What a running one says of itself: what it waits for. */
static int job_row(void *arg, const struct job_info *i)
{
    struct job_rows *w = arg;

    if (i->state == JOB_RUNNING && i->text[0] && (!i->vol || i->vol == w->vol)) {
        show_cell(w->c, "job %" PRIu64, i->id);
        show_cell(w->c, "%s: %s", i->verb, i->text);
    }
    return 0;
}

static int status_text(const struct state *s, struct buf *out)
{
    struct show_cols c = {.ncols = 2};
    char room[TRANSPORT_SIZE];

    volume_rows(&c, s);
    cold_row(&c, s);
    profile_status_rows(&c, s->c);
    show_cell(&c, "daemon");
    if (s->c->env->host)
        show_cell(&c, "pid %d", (int)getpid());
    else
        show_cell(&c, "none: not mounted");
    mounts_each(s, mount_text, &c);
    if (transport(s, room) && strcmp(room, "classic") != 0) {
        show_cell(&c, "transport");
        show_cell(&c, "%s", room);
    }
    store_rows(&c, s);
    (void)jobs_each(s->c->env->store, job_row, &(struct job_rows){&c, s->vol.rec.id});
    return show_cols_print(&c, "", out);
}

/* --- for monitors ------------------------------------------------------------------------------------------------- */

/* Each trouble is a line; the result is the first one's code. */
static int troubles(const struct state *s, struct buf *out)
{
    const struct store_state *st = &s->store;
    const struct volume_rec *rec = &s->vol.rec;
    int r = 0, p;

    if (s->readonly) {
        buf_printf(out, "read-only: %s; varve check says more\n", s->mode_why);
        r = -E_ROFS;
    }
    if (st->disk_total && st->disk_free < st->disk_total / 20) {
        buf_printf(out, "disk below the store: less than 5 %% free; delete files or snapshots\n");
        r = r ? r : -E_NOSPC;
    }
    if (rec->size_limit && s->vol.used_bytes >= rec->size_limit - rec->size_limit / 20) {
        buf_printf(out, "size: 95 %% of the limit used; varve resize, or delete files\n");
        r = r ? r : -E_QUOTA;
    }
    if (rec->inode_limit && s->vol.used_inodes >= rec->inode_limit - rec->inode_limit / 20) {
        buf_printf(out, "files: 95 %% of the limit used; delete files\n");
        r = r ? r : -E_QUOTA_INODES;
    }
    if (rec->snap_limit && s->vol.snapshot_bytes >= rec->snap_limit - rec->snap_limit / 20) {
        buf_printf(out, "snapshots: 95 %% of their limit used; delete older ones\n");
        r = r ? r : -E_SNAP_LIMIT;
    }
    p = profile_trouble(s->c, out);
    return r ? r : p;
}

RUN(run_status)
{
    struct state s;
    int r = gather(c, &s);

    if (r < 0)
        return r;
    if (!verb_num(a, "check"))
        return c->json ? status_json(&s, out) : status_text(&s, out);
    if (c->json)
        r = status_json(&s, out);
    if (r == 0)
        r = troubles(&s, err);
    return r;
}
