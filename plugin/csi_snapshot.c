/* Controller: snapshots. What CSI took has its name there as label csi.name, and what is uploaded where to as csi.upload. */
#include <stdlib.h>

#include "plugin/csi_methods.h"

/* --- taking ----------------------------------------------------------------------------------------------------------------- */

static int find(struct csi_call *k, const struct csi_volume *v, const char *name, struct csi_snapshot **ret)
{
    struct csi_snapshots ss = {.n = 0};
    int r = csi_snapshots_add(k, v, true, &ss);

    *ret = NULL;
    for (size_t i = 0; i < ss.n && r == 0; i++)
        if (strcmp(ss.s[i].name, name) == 0)
            *ret = &ss.s[i];
    return r;
}

struct taking {
    const Csi__V1__CreateSnapshotRequest *q;
    struct csi_volumes vs;
    const struct csi_volume *v;
    struct csi_upload_class class;
    char in_store[CSI_NAME_SIZE];
};

/* There is one of this name: it is what is asked for, or it is to be labelled still. */
static int adopt(struct csi_call *k, const struct taking *t, const char *name, const char *upload)
{
    struct csi_snapshot *s;
    struct csi_result res;
    int r = find(k, t->v, t->in_store, &s);

    if (r < 0)
        return r;
    if (!s)
        return csi_fail(k, GRPC_ABORTED, "name: the snapshot was deleted by somebody else");
    if (s->csi_name &&
        (s->upload ? t->class.n == 0 || strcmp(s->upload, t->class.to[0]) != 0 : t->class.n > 0))
        return csi_fail(k, GRPC_ALREADY_EXISTS,
                        "%s: a snapshot of this name is there, which is uploaded %s%s", t->class.field,
                        s->upload ? "to " : "nowhere", s->upload ? s->upload : "");
    r = CSI_VERB(k, &res, NULL, "snapshot", "label", t->v->name, t->in_store, name,
                 t->class.n ? upload : NULL);
    return r < 0 || csi_result_is(&res, "OK") ? r : csi_result_fail(k, "name", &res);
}

static int take(struct csi_call *k, const struct taking *t)
{
    const char *repo = t->class.n ? t->class.to[0] : "";
    const char *name = arena_printf(&k->arena, "--label=csi.name=%s", t->q->name);
    const char *upload = arena_printf(&k->arena, "--label=csi.upload=%s", repo);
    struct csi_result res;
    int r;

    if (!name || !upload)
        return csi_nomem(k);
    r = CSI_VERB(k, &res, NULL, "snapshot", "create", t->v->name, t->in_store, "--sync", name,
                 t->class.n ? upload : NULL);
    if (r < 0 || csi_result_is(&res, "OK"))
        return r;
    return csi_result_is(&res, "EXIST") ? adopt(k, t, name + strlen("--label="), upload + strlen("--label="))
                                        : csi_result_fail(k, "name", &res);
}

static int make(struct csi_call *k, const struct taking *t, Csi__V1__Snapshot **ret)
{
    const Csi__V1__CreateSnapshotRequest *q = t->q;
    const char *elsewhere;
    struct csi_snapshot *s = NULL;
    int r = csi_name_elsewhere(k, &t->vs, t->v, q->name, &elsewhere);

    if (r == 0 && elsewhere)
        r = csi_fail(k, GRPC_ALREADY_EXISTS, "name: volume %s/%s has a snapshot of this name", t->vs.store,
                     elsewhere);
    if (r == 0)
        r = csi_name_put(k, t->v, q->name);
    if (r == 0)
        r = take(k, t);
    if (r == 0)
        r = find(k, t->v, t->in_store, &s);
    if (r == 0 && !s)
        r = csi_fail(k, GRPC_ABORTED, "name: the snapshot was deleted by somebody else");
    if (r == 0 && t->class.n > 0)
        r = csi_upload_go(k, s, &t->class, CSI_MAP(q, secrets));
    return r < 0 ? r : csi_snapshot_fill(k, &t->vs, s, ret);
}

CSI_METHOD(CreateSnapshot)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct taking t = {.q = q};
    char key[CSI_NAME_SIZE + 2] = "s/";
    int r = csi_missing(k, "name", q->name);

    if (r == 0)
        r = csi_missing(k, "source_volume_id", q->source_volume_id);
    if (r == 0)
        r = csi_upload_class_take(k, CSI_MAP(q, parameters), &t.class);
    if (r == 0)
        r = csi_node_allowed(k, q->accessibility_requirements);
    if (r == 0)
        r = csi_volume_find(k, "source_volume_id", q->source_volume_id, &t.vs, &t.v);
    if (r == 0 || (k->code == GRPC_NOT_FOUND && csi_mobile_is(q->source_volume_id)))
        r = csi_mobile_here(k, "source_volume_id", q->source_volume_id, &t.vs, t.v, false);
    if (r == 0)
        r = csi_upload_class_look(k, t.v, &t.class);
    if (r < 0)
        return r;
    csi_snapshot_name(q->name, t.in_store);
    memcpy(key + 2, t.in_store, sizeof(t.in_store));
    r = csi_enter(k, &held, "name", key);
    if (r == 0)
        r = csi_enter(k, &held, "source_volume_id", t.v->uuid);
    return r < 0 ? r : make(k, &t, &a->snapshot);
}

/* --- deleting, finding ------------------------------------------------------------------------------------------------------ */

int csi_snapshot_delete(struct csi_call *k, const struct csi_snapshot *s)
{
    const struct csi_volume *v = s->volume;
    struct csi_result res;
    bool again;
    int r;

    do {
        again = false;
        r = CSI_VERB(k, &res, NULL, "snapshot", "delete", v->name, s->name);
        if (r == 0 && csi_result_is(&res, "NOENT"))
            r = csi_volume_renamed(k, &v, &again);
    } while (r == 0 && again);
    if (r == 0 && !csi_result_is(&res, "OK") && !csi_result_is(&res, "NOENT"))
        r = csi_result_fail(k, "snapshot_id", &res);
    if (r == 0 && s->csi_name)
        csi_name_drop(k->d, s->volume->uuid, s->csi_name);
    return r;
}

CSI_METHOD(DeleteSnapshot)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct csi_snapshot *s;
    struct csi_volumes vs;
    int r = csi_missing(k, "snapshot_id", q->snapshot_id);

    (void)a;
    if (r == 0)
        r = csi_snapshot_by_id(k, q->snapshot_id, &vs, &s);
    if (r == 0 && !s && csi_is_elsewhere(&vs, q->snapshot_id)) /* it is not gone: another node has it */
        r = csi_fail(k, GRPC_UNAVAILABLE, "snapshot_id: is of another store than that of node %s",
                     k->d->node);
    if (r < 0 || (!s && !csi_point_is(q->snapshot_id)))
        return r;
    r = csi_enter(k, &held, "snapshot_id", s ? s->volume->uuid : q->snapshot_id);
    if (r == 0)
        r = csi_point_is(q->snapshot_id) ? csi_upload_delete(k, q->snapshot_id, s, CSI_MAP(q, secrets))
                                         : csi_snapshot_delete(k, s);
    csi_sweep_soon(k->d);
    return r;
}

/* Here, or in a repository; *ret NULL: neither. */
static int look_up(struct csi_call *k, const char *id, size_t n, csi_entry *const *secrets,
                   Csi__V1__Snapshot **ret)
{
    cleanup(csi_json_free) json_t *point = NULL;
    struct csi_snapshot *s;
    struct csi_volumes vs;
    int r = csi_snapshot_by_id(k, id, &vs, &s);

    *ret = NULL;
    if (r == 0 && s)
        return csi_snapshot_fill(k, &vs, s, ret);
    if (r == 0 && csi_point_is(id))
        r = csi_point_show(k, "snapshot_id", id, n, secrets, &point);
    return r < 0 || !point ? r : csi_point_fill(k, id, point, ret);
}

CSI_METHOD(GetSnapshot)
{
    int r = csi_missing(k, "snapshot_id", q->snapshot_id);

    if (r == 0)
        r = look_up(k, q->snapshot_id, CSI_MAP(q, secrets), &a->snapshot);
    if (r == 0 && !a->snapshot)
        r = csi_fail(k, GRPC_NOT_FOUND, "snapshot_id: there is no such snapshot on node %s", k->d->node);
    return r;
}

static int entry_put(struct csi_call *k, Csi__V1__ListSnapshotsResponse *a, Csi__V1__Snapshot *s)
{
    Csi__V1__ListSnapshotsResponse__Entry *e = arena_alloc(&k->arena, sizeof(*e));

    if (!e)
        return csi_nomem(k);
    csi__v1__list_snapshots_response__entry__init(e);
    e->snapshot = s;
    a->entries[a->n_entries++] = e;
    return 0;
}

/* The one that is asked for: recovery points, too, which the lists of all do not tell. */
static int list_one(struct csi_call *k, const Csi__V1__ListSnapshotsRequest *q,
                    Csi__V1__ListSnapshotsResponse *a)
{
    struct csi_page page;
    Csi__V1__Snapshot *s;
    int r =
        *q->starting_token /* no answer of this kind gives one */
            ? csi_fail(k, GRPC_ABORTED, "starting_token: is none that was given here; begin again without")
            : csi_page(k, q->max_entries, "", 1, NULL, NULL, &page);

    if (r == 0)
        r = csi_page_begin(k, &page, &a->entries, &a->next_token);
    if (r == 0)
        r = look_up(k, q->snapshot_id, CSI_MAP(q, secrets), &s);
    if (r < 0 || !s || (*q->source_volume_id && strcmp(q->source_volume_id, s->source_volume_id) != 0))
        return r;
    return entry_put(k, a, s);
}

static const char *snapshot_key(const void *arg, size_t i)
{
    return ((const struct csi_snapshots *)arg)->s[i].uuid;
}

CSI_METHOD(ListSnapshots)
{
    struct csi_snapshots ss = {.n = 0};
    struct csi_volumes vs;
    struct csi_page page;
    size_t n = 0;
    int r;

    if (*q->snapshot_id)
        return list_one(k, q, a);
    r = csi_volumes(k, &vs);
    if (r == 0)
        r = csi_snapshots_all(k, &vs, &ss);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ss.n; i++) {
        const char *id = csi_volume_id(k, &vs, ss.s[i].volume);

        if (!id)
            return csi_nomem(k);
        if (!*q->source_volume_id || strcmp(q->source_volume_id, id) == 0)
            ss.s[n++] = ss.s[i];
    }
    r = csi_page(k, q->max_entries, q->starting_token, n, snapshot_key, &ss, &page);
    if (r == 0)
        r = csi_page_begin(k, &page, &a->entries, &a->next_token);
    for (size_t i = 0; i < page.n && r == 0; i++) {
        Csi__V1__Snapshot *s;

        r = csi_snapshot_fill(k, &vs, &ss.s[page.first + i], &s);
        if (r == 0)
            r = entry_put(k, a, s);
    }
    return r;
}
