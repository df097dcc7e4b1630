/* Verbs that change snapshots. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "fs/verb_attach.h"
#include "fs/verb_runs.h"
#include "fs/verb_show.h"
#include "fs/verb_value.h"
#include "snap/store/answer.h"

#define SNAP_DEFAULT_TAG "user"

static void changed(struct verb_env *e, struct vol *v)
{
    if (e->host && e->host->snapshots_changed)
        e->host->snapshots_changed(e->host->arg, v);
}

int verb_snap_create(struct verb_env *e, struct vol *v, const struct vfs_ctx *c, const char *name,
                     struct layer_rec *ret)
{
    struct layer_rec rec;
    int r = 0;

    if (e->host && e->host->flush)
        r = e->host->flush(e->host->arg, v);
    if (r == 0 && !verb_snap_taken(v, &rec))
        r = snap_create(v, c, name, &rec);
    if (r < 0)
        return r;
    changed(e, v);
    event_emit(e->store, "snapshot-created", v->rec.name, "%s", rec.name);
    if (ret)
        *ret = rec;
    return 0;
}

int verb_snap_delete(struct verb_env *e, struct vol *v, const struct vfs_ctx *c, const char *name)
{
    int r = snap_delete(v, c, name);

    if (r < 0)
        return r;
    changed(e, v);
    event_emit(e->store, "snapshot-deleted", v->rec.name, "%s", name);
    return 0;
}

int verb_snap_rename(struct verb_env *e, struct vol *v, const struct vfs_ctx *c, const char *name,
                     const char *to)
{
    int r = snap_rename(v, c, name, to);

    if (r < 0)
        return r;
    changed(e, v);
    event_emit(e->store, "snapshot-renamed", v->rec.name, "%s is %s now", name, to);
    return 0;
}

static struct vfs_ctx asker(const struct verb_ctx *c)
{
    return (struct vfs_ctx){.uid = c->uid, .gid = c->gid};
}

int verb_snap_complain(int r, const char *name, struct buf *err)
{
    const char *todo = "";

    switch (r) {
    case -E_NOENT: todo = "; varve snapshot list shows what there is"; break;
    case -E_EXIST: todo = "; choose another name, or delete that one first"; break;
    case -E_HELD: todo = "; varve snapshot show names the holds, varve snapshot release ends one"; break;
    case -E_CLONES: todo = "; delete the clones that begin there first"; break;
    case -E_SNAP_LIMIT: todo = "; delete older snapshots"; break;
    case -E_NOSPC: todo = "; delete files or snapshots"; break;
    case -E_ROFS: todo = "; varve status says why"; break;
    default: break;
    }
    if (err->len == 0)
        buf_printf(err, "snapshot %s: %s%s", name ? name : "(by time)",
                   r == -E_NAME ? verb_name_complaint(r, false) : err_text(r), todo);
    return r;
}

/* What the argument `name` means now: @latest and times become the snapshot's own name. */
static int named(struct verb_ctx *c, const struct verb_args *a, struct layer_rec *ret, struct buf *err)
{
    const char *name = verb_text(a, "name");
    int r = snap_find(c->vol, name, ret);

    return r < 0 ? verb_snap_complain(r, name, err) : 0;
}

/* key=value apart; key holds the text and is changed. */
static int label_put(struct vol *v, const char *name, const char *pair)
{
    cleanup(buf_free) struct buf key = {0};
    const char *eq = strchr(pair, '=');
    int r;

    assert(eq);
    r = buf_add(&key, pair, (size_t)(eq - pair));
    if (r < 0 || !buf_cstr(&key))
        return -E_NOMEM;
    return snap_label(v, name, buf_cstr(&key), eq + 1);
}

static int labels_put(struct vol *v, const char *name, const struct verb_val *labels)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < labels->ntexts; i++)
        r = label_put(v, name, labels->texts[i]);
    return r;
}

/* What was asked for together with the new snapshot. */
static int dress(struct vol *v, const char *name, const struct verb_args *a)
{
    int r = 0;

    if (verb_given(a, "hold"))
        r = snap_hold(v, name, verb_text(a, "hold"));
    if (r == 0)
        r = labels_put(v, name, verb_val(a, "label"));
    if (r == 0 && verb_given(a, "expire"))
        r = snap_expire(v, name, verb_val(a, "expire")->when_ns);
    return r;
}

/* A control file must not wait: a job does. */
static int make_durable(struct verb_ctx *c, const struct layer_rec *rec, struct buf *err)
{
    int r;

    if (c->via == VIA_CONTROL)
        r = job_start(c->env->store, "snapshot-sync", c->vol->rec.id, rec->name, &c->job);
    else
        r = snap_wait_durable(c->vol, rec->layer);
    if (r < 0)
        buf_printf(err, "snapshot %s: taken, but not durable: %s; varve status says what is wrong", rec->name,
                   err_text(r));
    return r;
}

/* The snapshot as it is now, as an object or a line. */
static int answer(struct verb_ctx *c, const char *name, const char *what, struct buf *out)
{
    cleanup(buf_free) struct buf text = {0}, quoted = {0};
    struct layer_rec rec;
    struct jw j;
    int r;

    if (!c->json) {
        r = verb_quote(name, strlen(name), &quoted);
        return r < 0 ? r : buf_printf(out, "snapshot %s %s\n", buf_cstr(&quoted), what);
    }
    r = snap_find(c->vol, name, &rec);
    if (r == 0)
        r = snap_text(c->vol, name, &text);
    if (r < 0)
        return r;
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_object(&j, "snapshot");
    show_layer_json(&j, &rec, (const char *)text.data, text.len);
    jw_close(&j);
    if (c->job)
        jw_u64(&j, "job", c->job);
    jw_close(&j);
    return jw_end(&j);
}

RUN(run_snapshot_create)
{
    struct vfs_ctx ctx = asker(c);
    struct layer_rec rec;
    int r = verb_labels_check(c, verb_val(a, "label"), NULL, err);

    if (r < 0)
        return r;
    r = verb_snap_create(c->env, c->vol, &ctx, verb_text(a, "name"), &rec);
    if (r < 0)
        return verb_snap_complain(r, verb_text(a, "name"), err);
    r = dress(c->vol, rec.name, a);
    if (r < 0) {
        buf_printf(err, "snapshot %s: taken, but not labelled as asked: %s; label it again, or delete it",
                   rec.name, err_text(r));
        return r;
    }
    if (verb_num(a, "sync"))
        r = make_durable(c, &rec, err);
    if (r < 0)
        return r;
    r = answer(c, rec.name, "taken", out);
    if (r == 0 && c->job && !c->json)
        r = buf_printf(out, "job %" PRIu64 " waits until it is durable\n", c->job);
    return r;
}

/* --- of several volumes at one moment ----------------------------------------------------------------------------- */

struct group {
    struct vol **vols;
    size_t n;
};

static void group_free(struct group *g)
{
    free(g->vols);
}

static int group_find(struct verb_ctx *c, const struct verb_val *names, struct group *ret, struct buf *err)
{
    ret->vols = calloc(names->ntexts, sizeof(struct vol *));
    if (!ret->vols)
        return -E_NOMEM;
    for (; ret->n < names->ntexts; ret->n++) {
        int r = volume_find(c->env->store, names->texts[ret->n], &ret->vols[ret->n]);

        if (r < 0) {
            buf_printf(err, "volume %s: %s; varve list shows what there is", names->texts[ret->n],
                       err_text(r));
            return r;
        }
        for (size_t i = 0; i < ret->n; i++)
            if (ret->vols[i] == ret->vols[ret->n]) {
                buf_printf(err, "volume %s: is named twice", names->texts[ret->n]);
                return -E_USAGE;
            }
    }
    return 0;
}

/* A former daemon took it and died before it answered. */
static bool group_taken(const struct group *g, const char *name)
{
    struct layer_rec rec;
    uint64_t layer;

    if (!answer_begun(&layer))
        return false;
    for (size_t i = 0; i < g->n; i++)
        if (snap_find(g->vols[i], name, &rec) < 0)
            return false;
    return true;
}

static int group_take(struct verb_ctx *c, const struct group *g, const char *name)
{
    const struct verb_host *h = c->env->host;
    int r = 0;

    for (size_t i = 0; i < g->n && r == 0 && h && h->flush; i++)
        r = h->flush(h->arg, g->vols[i]);
    if (r == 0 && !group_taken(g, name))
        r = snap_create_group(g->vols, g->n, name);
    for (size_t i = 0; i < g->n && r == 0; i++) {
        changed(c->env, g->vols[i]);
        event_emit(c->env->store, "snapshot-created", g->vols[i]->rec.name, "%s", name);
    }
    return r;
}

static int group_dress(struct verb_ctx *c, const struct group *g, const struct verb_args *a, struct buf *err)
{
    const char *name = verb_text(a, "name");
    int r = 0;

    for (size_t i = 0; i < g->n && r == 0; i++) {
        struct layer_rec rec;

        c->vol = g->vols[i];
        r = labels_put(c->vol, name, verb_val(a, "label"));
        if (r == 0 && verb_num(a, "sync") && (r = snap_find(c->vol, name, &rec)) == 0)
            r = make_durable(c, &rec, err);
    }
    return r;
}

static int group_json(const struct group *g, const char *name, struct buf *out)
{
    struct jw j = jw_begin(out, true);
    int r = 0;

    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_array(&j, "snapshots");
    for (size_t i = 0; i < g->n && r == 0; i++) {
        cleanup(buf_free) struct buf text = {0};
        struct layer_rec rec;

        if ((r = snap_find(g->vols[i], name, &rec)) < 0 || (r = snap_text(g->vols[i], name, &text)) < 0)
            break;
        jw_object(&j, NULL);
        jw_name(&j, "volume", g->vols[i]->rec.name, strlen(g->vols[i]->rec.name));
        show_layer_json(&j, &rec, (const char *)text.data, text.len);
        jw_close(&j);
    }
    jw_close(&j);
    jw_close(&j);
    return r < 0 ? r : jw_end(&j);
}

RUN(run_snapshot_group)
{
    cleanup(group_free) struct group g = {0};
    const char *name = verb_text(a, "name");
    int r = group_find(c, verb_val(a, "volume"), &g, err);

    if (r < 0)
        return r;
    r = group_take(c, &g, name);
    if (r < 0)
        return verb_snap_complain(r, name, err);
    r = group_dress(c, &g, a, err);
    if (r < 0) {
        if (err->len == 0)
            buf_printf(err, "snapshot %s: taken, but not labelled as asked: %s; label it again, or delete it",
                       name, err_text(r));
        return r;
    }
    if (c->json)
        return group_json(&g, name, out);
    return buf_printf(out, "snapshot %s taken of %zu volumes\n", name, g.n);
}

RUN(run_snapshot_delete)
{
    struct vfs_ctx ctx = asker(c);
    struct layer_rec rec;
    struct jw j;
    int r = named(c, a, &rec, err);

    if (r < 0)
        return r;
    r = verb_snap_delete(c->env, c->vol, &ctx, rec.name);
    if (r < 0)
        return verb_snap_complain(r, rec.name, err);
    if (!c->json)
        return answer(c, rec.name, "deleted", out);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "deleted", rec.name, strlen(rec.name));
    jw_close(&j);
    return jw_end(&j);
}

RUN(run_snapshot_rename)
{
    struct vfs_ctx ctx = asker(c);
    struct layer_rec rec;
    int r = named(c, a, &rec, err);

    if (r < 0)
        return r;
    r = verb_snap_rename(c->env, c->vol, &ctx, rec.name, verb_text(a, "to"));
    if (r < 0)
        return verb_snap_complain(r, r == -E_EXIST ? verb_text(a, "to") : rec.name, err);
    return answer(c, verb_text(a, "to"), "is its name now", out);
}

static const char *tag_of(const struct verb_args *a)
{
    return verb_given(a, "tag") ? verb_text(a, "tag") : SNAP_DEFAULT_TAG;
}

RUN(run_snapshot_hold)
{
    struct layer_rec rec;
    int r = named(c, a, &rec, err);

    if (r < 0)
        return r;
    r = snap_hold(c->vol, rec.name, tag_of(a));
    if (r < 0)
        return verb_snap_complain(r, rec.name, err);
    event_emit(c->env->store, "snapshot-held", c->vol->rec.name, "%s by %s", rec.name, tag_of(a));
    return answer(c, rec.name, "held", out);
}

RUN(run_snapshot_release)
{
    struct layer_rec rec;
    int r = named(c, a, &rec, err);

    if (r < 0)
        return r;
    r = snap_release(c->vol, rec.name, tag_of(a));
    if (r == -E_NOENT) {
        buf_printf(err, "snapshot %s: is not held by \"%s\"; varve snapshot show names its holds", rec.name,
                   tag_of(a));
        return r;
    }
    if (r < 0)
        return verb_snap_complain(r, rec.name, err);
    event_emit(c->env->store, "snapshot-released", c->vol->rec.name, "%s by %s", rec.name, tag_of(a));
    return answer(c, rec.name, "released", out);
}

RUN(run_snapshot_label)
{
    const struct verb_val *remove = verb_val(a, "remove");
    struct layer_rec rec;
    int r = named(c, a, &rec, err);

    if (r < 0)
        return r;
    if (!verb_given(a, "label") && !remove->set) {
        buf_puts(err, "snapshot label: nothing to do; give KEY=VALUE or --remove KEY");
        return -E_USAGE;
    }
    if ((r = verb_labels_check(c, verb_val(a, "label"), remove, err)) < 0)
        return r;
    r = labels_put(c->vol, rec.name, verb_val(a, "label"));
    for (size_t i = 0; r == 0 && i < remove->ntexts; i++)
        r = snap_label(c->vol, rec.name, remove->texts[i], NULL);
    if (r < 0)
        return verb_snap_complain(r, rec.name, err);
    return answer(c, rec.name, "labelled", out);
}

RUN(run_snapshot_expire)
{
    int64_t when = verb_val(a, "at")->when_ns;
    char text[32], what[64];
    struct layer_rec rec;
    int r = named(c, a, &rec, err);

    if (r < 0)
        return r;
    r = snap_expire(c->vol, rec.name, when);
    if (r < 0)
        return verb_snap_complain(r, rec.name, err);
    show_time(when, text);
    snprintf(what, sizeof(what), when ? "expires at %s" : "never expires", text);
    return answer(c, rec.name, what, out);
}

RUN(run_rollback)
{
    struct vfs_ctx ctx = asker(c);
    char kept[NAME_LEN_MAX + 1];
    struct layer_rec rec;
    struct jw j;
    int r = named(c, a, &rec, err);

    if (r < 0)
        return r;
    if (c->env->host && c->env->host->flush)
        r = c->env->host->flush(c->env->host->arg, c->vol);
    if (r == 0)
        r = snap_rollback(c->vol, &ctx, rec.name, kept);
    if (r < 0)
        return verb_snap_complain(r, rec.name, err);
    if (c->env->host && c->env->host->rolled_back)
        c->env->host->rolled_back(c->env->host->arg, c->vol);
    changed(c->env, c->vol);
    event_emit(c->env->store, "rollback", c->vol->rec.name, "to %s; the state before is %s", rec.name, kept);
    if (!c->json)
        return buf_printf(out, "volume %s is as snapshot %s was; to undo, roll back to %s\n",
                          c->vol->rec.name, rec.name, kept);
    j = jw_begin(out, true);
    jw_object(&j, NULL);
    jw_u64(&j, "schema", 1);
    jw_name(&j, "rolled_back_to", rec.name, strlen(rec.name));
    jw_name(&j, "kept", kept, strlen(kept));
    jw_close(&j);
    return jw_end(&j);
}
