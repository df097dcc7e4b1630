/* GroupController: snapshots of several volumes at one moment: one record of the store, all or none. */
#include <stdlib.h>

#include "plugin/csi_methods.h"

CSI_METHOD(GroupControllerGetCapabilities)
{
    Csi__V1__GroupControllerServiceCapability *cap = arena_alloc(&k->arena, sizeof(*cap));
    Csi__V1__GroupControllerServiceCapability__RPC *rpc = arena_alloc(&k->arena, sizeof(*rpc));

    (void)q;
    a->capabilities = arena_alloc(&k->arena, sizeof(*a->capabilities));
    if (!cap || !rpc || !a->capabilities)
        return csi_nomem(k);
    csi__v1__group_controller_service_capability__init(cap);
    csi__v1__group_controller_service_capability__rpc__init(rpc);
    rpc->type =
        CSI__V1__GROUP_CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT;
    cap->type_case = CSI__V1__GROUP_CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
    cap->rpc = rpc;
    a->capabilities[a->n_capabilities++] = cap;
    return 0;
}

static int group_new(struct csi_call *k, const char *id, size_t n, Csi__V1__VolumeGroupSnapshot **ret)
{
    Csi__V1__VolumeGroupSnapshot *g = arena_alloc(&k->arena, sizeof(*g));

    if (!g)
        return csi_nomem(k);
    csi__v1__volume_group_snapshot__init(g);
    g->snapshots = arena_alloc(&k->arena, (n + 1) * sizeof(*g->snapshots));
    g->group_snapshot_id = arena_dup(&k->arena, id);
    g->ready_to_use = true;
    *ret = g;
    return g->snapshots && g->group_snapshot_id ? 0 : csi_nomem(k);
}

/* Ready is what is ready in all of its members: uploads, too. */
static void group_put(Csi__V1__VolumeGroupSnapshot *g, Csi__V1__Snapshot *s)
{
    g->ready_to_use = g->ready_to_use && (s->ready_to_use || BROKEN(VARVE_BREAK_csi_group_ready));
    if (g->n_snapshots == 0)
        g->creation_time = s->creation_time;
    g->snapshots[g->n_snapshots++] = s;
}

static int group_fill(struct csi_call *k, const struct csi_volumes *vs, const struct csi_snapshots *ss,
                      Csi__V1__VolumeGroupSnapshot *g)
{
    int r = 0;

    for (size_t i = 0; i < ss->n && r == 0; i++) {
        Csi__V1__Snapshot *s;

        r = csi_snapshot_fill(k, vs, &ss->s[i], &s);
        if (r == 0)
            group_put(g, s);
    }
    return r;
}

/* Where each node has a sidecar of its own for groups it asks for every one: what has nothing here is answered for by another node. */
static int here_or_fail(struct csi_call *k, const struct csi_volumes *vs, const char *field, size_t n,
                        char *const *ids)
{
    for (size_t i = 0; i < n; i++)
        if (!csi_is_elsewhere(vs, ids[i]))
            return 0;
    return csi_fail(k, GRPC_UNAVAILABLE, "%s: is of another store than that of node %s", field, k->d->node);
}

/* --- taking -------------------------------------------------------------------------------------------------------------- */

struct group {
    struct csi_volumes vs;
    size_t n;
    const struct csi_volume **v;
    struct csi_upload_class class;
    char name[CSI_NAME_SIZE];
};

/* Where all of them go to. A profile that names no repository means those of the volumes' classes, which have to be one. */
static int class_look(struct csi_call *k, struct group *g)
{
    struct csi_upload_class asked = g->class, one;

    for (size_t i = 0; i < g->n; i++) {
        int r;

        one = asked;
        r = csi_upload_class_look(k, g->v[i], &one);
        if (r < 0)
            return r;
        if (i > 0 && (one.n != g->class.n || (one.n > 0 && strcmp(one.to[0], g->class.to[0]) != 0)))
            return csi_fail(k, GRPC_INVALID_ARGUMENT,
                            "%s: the profile names no repository, and the volumes' classes name several",
                            one.field);
        g->class = one;
    }
    return 0;
}

static int volumes_find(struct csi_call *k, const Csi__V1__CreateVolumeGroupSnapshotRequest *q,
                        struct group *g)
{
    int r = csi_volumes(k, &g->vs);

    if (r < 0)
        return r;
    r = here_or_fail(k, &g->vs, "source_volume_ids", q->n_source_volume_ids, q->source_volume_ids);
    if (r < 0)
        return r;
    g->v = arena_alloc(&k->arena, q->n_source_volume_ids * sizeof(*g->v));
    if (!g->v)
        return csi_nomem(k);
    for (; g->n < q->n_source_volume_ids; g->n++) {
        g->v[g->n] = csi_volume_by_id(&g->vs, q->source_volume_ids[g->n]);
        r = csi_mobile_here(k, "source_volume_ids", q->source_volume_ids[g->n], &g->vs, g->v[g->n], false);
        if (r < 0)
            return r;
        if (!g->v[g->n])
            return csi_fail(
                k, GRPC_NOT_FOUND,
                "source_volume_ids[%zu]: there is no such volume on node %s; a group is of one node's store",
                g->n, k->d->node);
        for (size_t i = 0; i < g->n; i++)
            if (g->v[i] == g->v[g->n])
                return csi_fail(k, GRPC_INVALID_ARGUMENT, "source_volume_ids[%zu]: is there twice", g->n);
    }
    return 0;
}

/* Those that are there by this name. */
static int members(struct csi_call *k, const struct group *g, struct csi_snapshots *ret)
{
    int r = 0;

    for (size_t i = 0; i < g->n && r == 0; i++) {
        struct csi_snapshots ss = {.n = 0};

        r = csi_snapshots_add(k, g->v[i], true, &ss);
        for (size_t s = 0; s < ss.n && r == 0; s++)
            if (strcmp(ss.s[s].name, g->name) == 0)
                ret->s[ret->n++] = ss.s[s];
    }
    return r;
}

static bool are_one(const struct csi_snapshots *ss, const struct csi_snapshots *all, size_t n)
{
    size_t of_group = 0;

    if (ss->n != n || !ss->s[0].group)
        return false;
    for (size_t i = 0; i < ss->n; i++)
        if (!ss->s[i].group || strcmp(ss->s[i].group, ss->s[0].group) != 0)
            return false;
    for (size_t i = 0; i < all->n; i++)
        of_group += all->s[i].group && strcmp(all->s[i].group, ss->s[0].group) == 0;
    return of_group <= n; /* more: it was of more volumes */
}

static int take(struct csi_call *k, const struct group *g, const char *name)
{
    const char **words = arena_alloc(&k->arena, (g->n + 8) * sizeof(*words));
    const char *label = arena_printf(&k->arena, "--label=csi.name=%s", name);
    const char *upload =
        arena_printf(&k->arena, "--label=csi.upload=%s", g->class.n > 0 ? g->class.to[0] : "");
    struct csi_result res;
    size_t n = 0;
    int r;

    if (!words || !label || !upload)
        return csi_nomem(k);
    words[n++] = "snapshot";
    words[n++] = "group";
    words[n++] = ".";
    words[n++] = g->name;
    for (size_t i = 0; i < g->n; i++)
        words[n++] = g->v[i]->name;
    words[n++] = label;
    words[n++] = "--sync";
    if (g->class.n > 0)
        words[n++] = upload;
    r = csi_verb(k, &res, NULL, words);
    return r < 0 || csi_result_is(&res, "OK") ? r : csi_result_fail(k, "name", &res);
}

static bool goes_there(const struct csi_snapshot *s, const struct csi_upload_class *c)
{
    return s->upload ? c->n > 0 && strcmp(s->upload, c->to[0]) == 0 : c->n == 0;
}

/* It was taken, and perhaps not labelled. */
static int label_all(struct csi_call *k, const struct group *g, const struct csi_snapshots *ss,
                     const char *name)
{
    const char *label = arena_printf(&k->arena, "csi.name=%s", name);
    const char *upload = arena_printf(&k->arena, "csi.upload=%s", g->class.n > 0 ? g->class.to[0] : "");
    int r = label && upload ? 0 : csi_nomem(k);

    for (size_t i = 0; i < ss->n && r == 0; i++) {
        struct csi_result res;

        if (ss->s[i].csi_name && !goes_there(&ss->s[i], &g->class))
            return csi_fail(k, GRPC_ALREADY_EXISTS,
                            "parameters: a group of this name is there, which is uploaded %s%s",
                            ss->s[i].upload ? "to " : "nowhere", ss->s[i].upload ? ss->s[i].upload : "");
        if (ss->s[i].csi_name)
            continue;
        r = CSI_VERB(k, &res, NULL, "snapshot", "label", ss->s[i].volume->name, ss->s[i].name, label,
                     g->class.n > 0 ? upload : NULL);
        if (r == 0 && !csi_result_is(&res, "OK"))
            r = csi_result_fail(k, "name", &res);
    }
    return r;
}

static int make(struct csi_call *k, struct group *g, const char *name, struct csi_snapshots *ret)
{
    struct csi_snapshots all = {.n = 0};
    int r = 0;

    ret->s = arena_alloc(&k->arena, g->n * sizeof(*ret->s));
    if (!ret->s)
        return csi_nomem(k);
    r = members(k, g, ret);
    if (r == 0 && ret->n > 0) {
        r = csi_snapshots_all(k, &g->vs, &all);
        if (r == 0 && !are_one(ret, &all, g->n))
            r = csi_fail(k, GRPC_ALREADY_EXISTS, "name: there is a snapshot of this name, of other volumes");
        if (r == 0)
            r = label_all(k, g, ret, name);
        ret->n = 0;
        return r < 0 ? r : members(k, g, ret);
    }
    if (r == 0)
        r = take(k, g, name);
    for (size_t i = 0; i < g->n && r == 0; i++)
        r = csi_name_put(k, g->v[i], name);
    return r < 0 ? r : members(k, g, ret);
}

/* Each of them, to each repository; one that fails is told, and the others go on. */
static int upload(struct csi_call *k, const struct group *g, const struct csi_snapshots *ss,
                  const Csi__V1__CreateVolumeGroupSnapshotRequest *q)
{
    enum grpc_code code = GRPC_OK;
    const char *why = NULL;
    int r = 0;

    for (size_t i = 0; g->class.n > 0 && i < ss->n; i++)
        if (csi_upload_go(k, &ss->s[i], &g->class, CSI_MAP(q, secrets)) < 0 && r == 0) {
            r = -E_FAILED;
            code = k->code;
            why = k->why;
        }
    if (r < 0) {
        k->code = code;
        k->why = why;
    }
    return r;
}

static int look(struct csi_call *k, const Csi__V1__CreateVolumeGroupSnapshotRequest *q, struct group *g)
{
    int r = csi_missing(k, "name", q->name);

    if (r == 0 && q->n_source_volume_ids == 0)
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "source_volume_ids: is missing");
    if (r == 0 && q->n_source_volume_ids > 128)
        r = csi_fail(k, GRPC_INVALID_ARGUMENT, "source_volume_ids: are more than 128");
    return r < 0 ? r : csi_upload_class_take(k, CSI_MAP(q, parameters), &g->class);
}

/* external-snapshotter 8.6 keeps what the first answer says of each member, and never asks again: so there is none before all are ready. */
static int all_up(struct csi_call *k, const Csi__V1__VolumeGroupSnapshot *g)
{
    size_t ready = 0;

    if (g->ready_to_use || BROKEN(VARVE_BREAK_csi_group_early))
        return 0;
    for (size_t i = 0; i < g->n_snapshots; i++)
        ready += g->snapshots[i]->ready_to_use;
    return csi_fail(k, GRPC_ABORTED,
                    "name: uploads go on: %zu of %zu snapshots are in their repositories; ask again", ready,
                    g->n_snapshots);
}

CSI_METHOD(CreateVolumeGroupSnapshot)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct csi_snapshots ss = {.n = 0};
    struct group g = {.n = 0};
    char key[CSI_NAME_SIZE + 2] = "s/";
    const char *id;
    int r = look(k, q, &g);

    if (r < 0)
        return r;
    csi_snapshot_name(q->name, g.name);
    memcpy(key + 2, g.name, sizeof(g.name));
    r = csi_enter(k, &held, "name", key);
    if (r == 0)
        r = volumes_find(k, q, &g);
    if (r == 0)
        r = class_look(k, &g);
    if (r == 0)
        r = make(k, &g, q->name, &ss);
    if (r == 0 && ss.n != g.n)
        r = csi_fail(k, GRPC_ABORTED, "name: the snapshots were deleted by somebody else");
    if (r < 0)
        return r;
    id = arena_printf(&k->arena, "%s/%s", g.vs.store, ss.s[0].group);
    r = id ? csi_enter(k, &held, "name", id) : csi_nomem(k);
    if (r == 0)
        r = upload(k, &g, &ss, q);
    if (r == 0)
        r = group_new(k, id, ss.n, &a->group_snapshot);
    if (r == 0)
        r = group_fill(k, &g.vs, &ss, a->group_snapshot);
    return r < 0 ? r : all_up(k, a->group_snapshot);
}

/* --- finding, deleting --------------------------------------------------------------------------------------------------- */

static int find(struct csi_call *k, const char *id, struct csi_volumes *vs, struct csi_snapshots *ret)
{
    struct csi_snapshots all = {.n = 0};
    char ids[2][UUID_TEXT_SIZE];
    int r = csi_missing(k, "group_snapshot_id", id);

    if (r == 0)
        r = csi_volumes(k, vs);
    if (r < 0 || !csi_id_split(id, 2, ids) || strcmp(ids[0], vs->store) != 0)
        return r;
    r = csi_snapshots_all(k, vs, &all);
    for (size_t i = 0; i < all.n && r == 0; i++)
        if (all.s[i].group && strcmp(all.s[i].group, ids[1]) == 0)
            all.s[ret->n++] = all.s[i];
    ret->s = all.s;
    return r;
}

/* A member that a call before this one has deleted, which did not come to its end. */
static int is_deleted(struct csi_call *k, const char *id, bool *ret)
{
    char parts[3][UUID_TEXT_SIZE];
    struct csi_snapshot *s;
    struct csi_volumes vs;
    int r = csi_snapshot_by_id(k, id, &vs, &s);

    *ret = r == 0 && !s && csi_id_split(id, 3, parts);
    return r;
}

/* The ids that come along, where some do, are those of the group. One that is not here may be of what was uploaded: the snapshot went
 * with its volume, or is on another node; those are put into away. */
static int ids_check(struct csi_call *k, const struct csi_volumes *vs, const struct csi_snapshots *ss,
                     bool deletes, size_t n, char **ids, const char **away, size_t *ret_away)
{
    int r = 0;

    *ret_away = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        bool known = false;

        for (size_t s = 0; s < ss->n && !known; s++) {
            Csi__V1__Snapshot *one;

            if ((r = csi_snapshot_fill(k, vs, &ss->s[s], &one)) < 0)
                return r;
            known = strcmp(one->snapshot_id, ids[i]) == 0;
        }
        if (!known && csi_point_is(ids[i])) {
            away[(*ret_away)++] = ids[i];
            continue;
        }
        if (!known && deletes)
            r = is_deleted(k, ids[i], &known);
        if (r == 0 && !known && ss->n > 0)
            r = csi_fail(k, GRPC_INVALID_ARGUMENT, "snapshot_ids[%zu]: is no snapshot of this group", i);
    }
    return r;
}

static int away_fill(struct csi_call *k, const char *id, size_t n, csi_entry *const *secrets,
                     Csi__V1__VolumeGroupSnapshot *g)
{
    cleanup(csi_json_free) json_t *point = NULL;
    Csi__V1__Snapshot *s;
    int r = csi_point_show(k, "snapshot_ids", id, n, secrets, &point);

    if (r < 0)
        return r;
    if (!point)
        return csi_fail(k, GRPC_NOT_FOUND, "snapshot_ids: there is no recovery point %s", id);
    r = csi_point_fill(k, id, point, &s);
    if (r < 0)
        return r;
    s->group_snapshot_id = g->group_snapshot_id;
    group_put(g, s);
    return 0;
}

CSI_METHOD(GetVolumeGroupSnapshot)
{
    const char **away = arena_alloc(&k->arena, (q->n_snapshot_ids + 1) * sizeof(*away));
    struct csi_snapshots ss = {.n = 0};
    struct csi_volumes vs;
    size_t n = 0;
    int r = away ? find(k, q->group_snapshot_id, &vs, &ss) : csi_nomem(k);

    if (r == 0)
        r = ids_check(k, &vs, &ss, false, q->n_snapshot_ids, q->snapshot_ids, away, &n);
    if (r == 0 && (n == 0 || n < q->n_snapshot_ids)) /* else all of it is in repositories */
        r = here_or_fail(k, &vs, "group_snapshot_id", 1, &q->group_snapshot_id);
    if (r == 0 && ss.n + n == 0)
        r = csi_fail(k, GRPC_NOT_FOUND, "group_snapshot_id: there is no such group snapshot on node %s",
                     k->d->node);
    if (r == 0)
        r = group_new(k, q->group_snapshot_id, ss.n + n, &a->group_snapshot);
    if (r == 0)
        r = group_fill(k, &vs, &ss, a->group_snapshot);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = away_fill(k, away[i], CSI_MAP(q, secrets), a->group_snapshot);
    return r;
}

static int member_delete(struct csi_call *k, const struct csi_volumes *vs, const struct csi_snapshot *s,
                         const Csi__V1__DeleteVolumeGroupSnapshotRequest *q)
{
    Csi__V1__Snapshot *told;
    int r;

    if (!s->upload)
        return csi_snapshot_delete(k, s);
    r = csi_snapshot_fill(k, vs, s, &told);
    return r < 0 ? r : csi_upload_delete(k, told->snapshot_id, s, CSI_MAP(q, secrets));
}

/* By the node that took it alone, whatever was uploaded: who says that it is deleted says so of the snapshots, too. */
CSI_METHOD(DeleteVolumeGroupSnapshot)
{
    const char **away = arena_alloc(&k->arena, (q->n_snapshot_ids + 1) * sizeof(*away));
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct csi_snapshots ss = {.n = 0};
    struct csi_volumes vs;
    size_t n = 0;
    int r = away ? find(k, q->group_snapshot_id, &vs, &ss) : csi_nomem(k);

    (void)a;
    if (r == 0)
        r = ids_check(k, &vs, &ss, true, q->n_snapshot_ids, q->snapshot_ids, away, &n);
    if (r == 0 && !BROKEN(VARVE_BREAK_csi_group_away))
        r = here_or_fail(k, &vs, "group_snapshot_id", 1, &q->group_snapshot_id);
    if (r == 0)
        r = csi_enter(k, &held, "group_snapshot_id", q->group_snapshot_id);
    for (size_t i = 0; i < ss.n && r == 0; i++)
        r = member_delete(k, &vs, &ss.s[i], q);
    for (size_t i = 0; i < n && r == 0; i++)
        r = csi_upload_delete(k, away[i], NULL, CSI_MAP(q, secrets));
    csi_sweep_soon(k->d);
    return r;
}
