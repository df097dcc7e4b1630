/* Verbs about volumes: create, list, clone, resize, rename, delete, undelete. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/clock.h"
#include "conf/value.h"
#include "fs/verb_profile.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "fs/verb_value.h"

#define KEPT_NS (24 * 3600 * (int64_t)1000000000)

static int complain(int r, const char *name, struct buf *err)
{
    const char *todo = "";

    switch (r) {
    case -E_EXIST: todo = "; choose another name (varve list shows what there is)"; break;
    case -E_NOENT: todo = "; varve list shows what there is"; break;
    case -E_DEPTH: todo = "; clone an older volume of its line, or copy it with cp -a"; break;
    case -E_ROFS: todo = "; varve status says why"; break;
    case -E_NOSPC: todo = "; delete files or snapshots"; break;
    default: break;
    }
    if (err->len == 0)
        buf_printf(err, "volume %s: %s%s", name, r == -E_NAME ? verb_name_complaint(r, true) : err_text(r),
                   todo);
    return r;
}

/* One volume as it is now, as an object or a line. */
static int answer(struct verb_ctx *c, struct vol *v, const char *what, struct buf *out)
{
    struct volume_info i;
    struct jw j;
    int r = volume_get_info(v, &i);

    if (r < 0)
        return r;
    if (!c->json)
        return buf_printf(out, "volume %s %s\n", i.rec.name, what);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_str(&j, "store", store_path(c->env->store));
    jw_object(&j, "volume");
    show_volume_json(&j, &i);
    jw_close(&j);
    jw_close(&j);
    return jw_end(&j);
}

/* What is said on the command line goes before what the profile says. */
static int limits_of(const struct verb_args *a, struct profile **p, struct volume_opts *o, struct buf *err)
{
    int r = verb_given(a, "profile") ? profile_of_word(verb_text(a, "profile"), p, err) : 0;

    if (r < 0 || !*p)
        return r;
    if (!(*p)->name[0])
        snprintf((*p)->name, sizeof((*p)->name), "unnamed");
    if (!verb_given(a, "size"))
        o->size_limit = (*p)->provisioning.size_bytes;
    if (!verb_given(a, "inodes"))
        o->inode_limit = (*p)->provisioning.inodes;
    if (!verb_given(a, "snapshot-limit"))
        o->snap_limit = (*p)->provisioning.snapshot_limit_bytes;
    return 0;
}

RUN(run_create)
{
    struct volume_opts o = {.size_limit = verb_num(a, "size"),
                            .inode_limit = verb_num(a, "inodes"),
                            .snap_limit = verb_num(a, "snapshot-limit"),
                            .uid = c->uid,
                            .gid = c->gid};
    cleanup(profile_free) struct profile *p = NULL;
    struct vol *v;
    int r = limits_of(a, &p, &o, err);

    if (r == 0 && verb_given(a, "from")) {
        r = create_from(c, a, &v, err);
        if (r == 0 && p)
            r = policy_set(v, p, true, NULL);
        return r < 0 ? r : answer(c, v, "created", out);
    }
    if (r == 0)
        r = volume_create(c->env->store, a->target, &o, &v);
    if (r == 0 && p)
        r = policy_set(v, p, false, NULL);
    if (r == -E_INVAL && err->len == 0)
        buf_printf(err, "volume %s: the size is too small; give at least 1M", a->target);
    if (r < 0)
        return complain(r, a->target, err);
    event_emit(c->env->store, "volume-created", a->target, "created");
    return answer(c, v, "created", out);
}

/* --- list --------------------------------------------------------------------------------------------------------- */

struct vols {
    struct vol **v;
    size_t n;
};

static int vols_add(void *arg, struct vol *v)
{
    struct vols *vs = arg;
    struct vol **more = array_more(vs->v, vs->n, sizeof(struct vol *));

    if (!more)
        return -E_NOMEM;
    vs->v = more;
    vs->v[vs->n++] = v;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct vol *const *)a)->rec.name, (*(struct vol *const *)b)->rec.name);
}

static void vols_free(struct vols *vs)
{
    free(vs->v);
}

/* Those that can be undeleted. */
static int deleted_each(struct store *s, void (*cb)(void *arg, const struct volume_rec *rec), void *arg)
{
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    for (struct vol *v = vol_first(s); v; v = v->next)
        if ((v->rec.flags & VOLUME_DELETED) && !(v->rec.flags & VOLUME_GHOST))
            cb(arg, &v->rec);
    txn_abort(&t);
    return 0;
}

static void deleted_json(void *arg, const struct volume_rec *rec)
{
    struct jw *j = arg;

    jw_object(j, NULL);
    jw_name(j, "name", rec->name, strlen(rec->name));
    jw_time(j, "deleted", rec->deleted_ns);
    jw_time(j, "purged", rec->deleted_ns + KEPT_NS);
    jw_close(j);
}

static void deleted_text(void *arg, const struct volume_rec *rec)
{
    struct buf *out = arg;
    char when[32];

    show_time(rec->deleted_ns + KEPT_NS, when);
    buf_puts(out, "deleted: ");
    verb_quote(rec->name, strlen(rec->name), out);
    buf_printf(out, ", varve undelete brings it back until %s\n", when);
}

enum { LIST_GONE = 1 };

/* Others may delete volumes while they are listed: such a one is left out. */
static int list_info(struct vol *v, struct volume_info *ret)
{
    int r = volume_get_info(v, ret);

    if (r == -E_NOENT || (r == 0 && (ret->rec.flags & (VOLUME_DELETED | VOLUME_GHOST))))
        return LIST_GONE;
    return r;
}

static int list_json(struct store *s, const struct vols *vs, bool sources, struct buf *out)
{
    struct jw j = jw_begin(out, true);
    struct store_state st;
    char uuid[UUID_TEXT_SIZE];
    int r = 0;

    store_get_state(s, &st);
    uuid_format(&st.uuid, uuid);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "store", store_path(s), strlen(store_path(s)));
    jw_str(&j, "uuid", uuid);
    jw_u64(&j, "disk_total_bytes", st.disk_total);
    jw_u64(&j, "disk_free_bytes", st.disk_free);
    jw_array(&j, "volumes");
    for (size_t i = 0; i < vs->n && r == 0; i++) {
        struct volume_info info;

        r = list_info(vs->v[i], &info);
        if (r < 0)
            break;
        if (r == LIST_GONE) {
            r = 0;
            continue;
        }
        jw_object(&j, NULL);
        show_volume_json(&j, &info);
        jw_close(&j);
    }
    jw_close(&j);
    jw_array(&j, "deleted");
    if (r == 0)
        r = deleted_each(s, deleted_json, &j);
    jw_close(&j);
    if (r == 0 && sources)
        r = tier_sources_json(s, "sources", &j);
    jw_close(&j);
    return r < 0 ? r : jw_end(&j);
}

static void limit_cell(struct show_cols *c, uint64_t limit)
{
    if (limit)
        show_cell_size(c, limit);
    else
        show_cell(c, "-");
}

static int list_text(struct store *s, const struct vols *vs, struct buf *out)
{
    static const char *const heads[] = {"VOLUME", "USED", "LIMIT", "FILES", "SNAPSHOTS", "HOLD", "MOUNTS"};
    struct show_cols c = {.ncols = ARRAY_LEN(heads), .right = 0x7e};
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        show_cell(&c, "%s", heads[i]);
    for (size_t i = 0; i < vs->n && r == 0; i++) {
        struct volume_info info;

        r = list_info(vs->v[i], &info);
        if (r < 0)
            break;
        if (r == LIST_GONE) {
            r = 0;
            continue;
        }
        show_cell_name(&c, info.rec.name);
        show_cell_size(&c, info.used_bytes);
        limit_cell(&c, info.rec.size_limit);
        show_cell(&c, "%" PRIu64, info.used_inodes);
        show_cell(&c, "%" PRIu64, info.snapshots);
        show_cell_size(&c, info.snapshot_bytes);
        show_cell(&c, "%" PRIu32, info.mounts);
    }
    if (r < 0)
        buf_free(&c.cells);
    else
        r = show_cols_print(&c, "", out);
    return r < 0 ? r : deleted_each(s, deleted_text, out);
}

RUN(run_list)
{
    cleanup(vols_free) struct vols vs = {0};
    int r = volume_each(c->env->store, vols_add, &vs);

    if (r < 0)
        return r;
    if (verb_num(a, "sources") && !c->json) {
        buf_puts(err, "list: --sources tells something with --json only");
        return -E_USAGE;
    }
    if (vs.n)
        qsort(vs.v, vs.n, sizeof(*vs.v), by_name);
    return c->json ? list_json(c->env->store, &vs, verb_num(a, "sources"), out)
                   : list_text(c->env->store, &vs, out);
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

RUN(run_clone)
{
    const char *snap = verb_text(a, "snap"), *to = verb_text(a, "to");
    struct layer_rec rec = {.name = ""};
    struct vol *v;
    int r = snap ? snap_find(c->vol, snap, &rec) : 0;

    if (r < 0) {
        buf_printf(err, "snapshot %s: %s; varve snapshot list shows what there is", snap, err_text(r));
        return r;
    }
    if (!snap && c->env->host && c->env->host->flush)
        r = c->env->host->flush(c->env->host->arg, c->vol);
    if (r == 0)
        r = volume_clone(c->vol, snap ? rec.name : NULL, to, &v);
    if (r < 0)
        return complain(r, to, err);
    if (!snap && c->env->host && c->env->host->snapshots_changed)
        c->env->host->snapshots_changed(c->env->host->arg, c->vol);
    event_emit(c->env->store, "volume-cloned", to, "from %s%s%s", c->vol->rec.name, snap ? "@" : "",
               rec.name);
    return answer(c, v, "cloned", out);
}

RUN(run_resize)
{
    uint64_t size = verb_num(a, "size");
    char text[CONF_SIZE_TEXT], what[64];
    int r = volume_resize(c->vol, size);

    if (r == -E_INVAL)
        buf_printf(err, "volume %s: the size is too small; give at least 1M, or none", c->vol->rec.name);
    if (r < 0)
        return complain(r, c->vol->rec.name, err);
    conf_size_text(size, text);
    event_emit(c->env->store, "volume-resized", c->vol->rec.name, "limit: %s", size ? text : "none");
    snprintf(what, sizeof(what), "is limited to %s", size ? text : "the store's space");
    return answer(c, c->vol, what, out);
}

static int mount_name(void *arg, const char *dir, const char *opts)
{
    struct buf *b = arg;

    (void)opts;
    return buf_printf(b, "%s%s", b->len ? ", " : "", dir);
}

/* Where it is mounted, as part of a sentence. */
static int refuse_mounted(struct verb_ctx *c, const char *verb, struct buf *err)
{
    cleanup(buf_free) struct buf dirs = {0};
    const struct verb_host *h = c->env->host;

    if (h && h->mounts)
        h->mounts(h->arg, c->vol, mount_name, &dirs);
    buf_printf(err, "volume %s: is mounted %s%s; umount it, then %s it", c->vol->rec.name,
               dirs.len ? "at " : "in another mount namespace, a container's perhaps",
               dirs.len ? buf_cstr(&dirs) : "", verb);
    return -E_MOUNTED;
}

RUN(run_rename)
{
    char old[NAME_LEN_MAX + 1];
    struct volume_info i;
    int r = volume_get_info(c->vol, &i);

    if (r < 0)
        return r;
    if (i.mounts > 0)
        return refuse_mounted(c, "rename", err);
    snprintf(old, sizeof(old), "%s", i.rec.name);
    r = volume_rename(c->vol, verb_text(a, "to"));
    if (r < 0)
        return complain(r, verb_text(a, "to"), err);
    event_emit(c->env->store, "volume-renamed", verb_text(a, "to"), "was %s", old);
    return answer(c, c->vol, "is its name now", out);
}

/* One word and a time of return, as an object or a line. */
static int gone(struct verb_ctx *c, const char *name, int64_t kept_ns, struct buf *out)
{
    int64_t until = clock_wall_ns() + kept_ns;
    char when[32];
    struct jw j;

    if (!c->json && kept_ns == 0)
        return buf_printf(out, "volume %s deleted for good\n", name);
    if (!c->json) {
        show_time(until, when);
        return buf_printf(out, "volume %s deleted; varve undelete brings it back until %s\n", name, when);
    }
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "deleted", name, strlen(name));
    jw_time(&j, "purged", until);
    jw_close(&j);
    return jw_end(&j);
}

RUN(run_delete)
{
    char name[NAME_LEN_MAX + 1], why[256] = "";
    int r;

    bool now = verb_given(a, "now");

    snprintf(name, sizeof(name), "%s", c->vol->rec.name);
    r = volume_delete(c->vol, why);
    if (r == -E_MOUNTED)
        return refuse_mounted(c, "delete", err);
    if (r == -E_CLONES)
        buf_printf(err, "volume %s: has clones (%s); delete these first", name, why);
    if (r < 0)
        return complain(r, name, err);
    event_emit(c->env->store, "volume-deleted", name, now ? "for good" : "kept for 24 hours");
    if (now && (r = volume_purge(c->vol)) < 0)
        return complain(r, name, err);
    return gone(c, name, now ? 0 : KEPT_NS, out);
}

RUN(run_undelete)
{
    struct vol *v;
    int r = volume_undelete(c->env->store, a->target, &v);

    if (r == -E_NOENT)
        buf_printf(
            err, "volume %s: was not deleted in the last 24 hours; varve list shows what can be brought back",
            a->target);
    if (r == -E_EXIST)
        buf_printf(err, "volume %s: another one has this name now; rename that one first", a->target);
    if (r < 0)
        return complain(r, a->target, err);
    event_emit(c->env->store, "volume-undeleted", a->target, "is back");
    return answer(c, v, "is back", out);
}
