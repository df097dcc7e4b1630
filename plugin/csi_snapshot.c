/* Controller: snapshots. What CSI took has its name there as label csi.name. */
#include <stdlib.h>

#include "plugin/csi_methods.h"

static int answer(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v,
                  const char *name, Csi__V1__Snapshot **ret)
{
    struct csi_snapshots ss = {.n = 0};
    int r = csi_snapshots_add(k, v, true, &ss);

    for (size_t i = 0; i < ss.n && r == 0; i++)
        if (strcmp(ss.s[i].name, name) == 0)
            return csi_snapshot_fill(k, vs, &ss.s[i], ret);
    return r < 0 ? r : csi_fail(k, GRPC_ABORTED, "name: the snapshot was deleted by somebody else");
}

/* There is one of this name: it is what is asked for, or it is to be labelled still. */
static int adopt(struct csi_call *k, const struct csi_volume *v, const char *in_store, const char *label)
{
    struct csi_result res;
    int r = CSI_VERB(k, &res, NULL, "snapshot", "label", v->name, in_store, label);

    return r < 0 || csi_result_is(&res, "OK") ? r : csi_result_fail(k, "name", &res);
}

static int take(struct csi_call *k, const struct csi_volume *v, const char *name, const char *in_store)
{
    const char *label = arena_printf(&k->arena, "csi.name=%s", name);
    const char *option = arena_printf(&k->arena, "--label=csi.name=%s", name);
    struct csi_result res;
    int r = label && option
                ? CSI_VERB(k, &res, NULL, "snapshot", "create", v->name, in_store, option, "--sync")
                : csi_nomem(k);

    if (r < 0 || csi_result_is(&res, "OK"))
        return r;
    return csi_result_is(&res, "EXIST") ? adopt(k, v, in_store, label) : csi_result_fail(k, "name", &res);
}

CSI_METHOD(CreateSnapshot)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    char in_store[CSI_NAME_SIZE], key[CSI_NAME_SIZE + 2] = "s/";
    const struct csi_volume *v;
    struct csi_volumes vs;
    const char *elsewhere;
    int r = csi_missing(k, "name", q->name);

    if (r == 0)
        r = csi_missing(k, "source_volume_id", q->source_volume_id);
    if (r == 0)
        r = csi_none_known(k, "parameters", CSI_MAP(q, parameters));
    if (r == 0)
        r = csi_node_allowed(k, q->accessibility_requirements);
    if (r == 0)
        r = csi_volume_find(k, "source_volume_id", q->source_volume_id, &vs, &v);
    if (r < 0)
        return r;
    csi_snapshot_name(q->name, in_store);
    memcpy(key + 2, in_store, sizeof(in_store));
    r = csi_enter(k, &held, "name", key);
    if (r == 0)
        r = csi_enter(k, &held, "source_volume_id", v->uuid);
    if (r == 0)
        r = csi_name_elsewhere(k, &vs, v, q->name, &elsewhere);
    if (r == 0 && elsewhere)
        r = csi_fail(k, GRPC_ALREADY_EXISTS, "name: volume %s/%s has a snapshot of this name", vs.store,
                     elsewhere);
    if (r == 0)
        r = csi_name_put(k, v, q->name);
    if (r == 0)
        r = take(k, v, q->name, in_store);
    return r < 0 ? r : answer(k, &vs, v, in_store, &a->snapshot);
}

CSI_METHOD(DeleteSnapshot)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct csi_snapshot *s;
    struct csi_volumes vs;
    struct csi_result res;
    int r = csi_missing(k, "snapshot_id", q->snapshot_id);

    (void)a;
    if (r == 0)
        r = csi_snapshot_by_id(k, q->snapshot_id, &vs, &s);
    if (r < 0 || !s)
        return r;
    r = csi_enter(k, &held, "snapshot_id", s->volume->uuid);
    if (r == 0)
        r = CSI_VERB(k, &res, NULL, "snapshot", "delete", s->volume->name, s->name);
    if (r == 0 && !csi_result_is(&res, "OK") && !csi_result_is(&res, "NOENT"))
        r = csi_result_fail(k, "snapshot_id", &res);
    if (r == 0 && s->csi_name)
        csi_name_drop(k->d, s->volume->uuid, s->csi_name);
    csi_sweep_soon(k->d);
    return r;
}

CSI_METHOD(GetSnapshot)
{
    struct csi_snapshot *s;
    struct csi_volumes vs;
    int r = csi_missing(k, "snapshot_id", q->snapshot_id);

    if (r == 0)
        r = csi_snapshot_by_id(k, q->snapshot_id, &vs, &s);
    if (r == 0 && !s)
        r = csi_fail(k, GRPC_NOT_FOUND, "snapshot_id: there is no such snapshot on node %s", k->d->node);
    return r < 0 ? r : csi_snapshot_fill(k, &vs, s, &a->snapshot);
}

/* Those that are asked for: one, those of a volume, all. */
static int gather(struct csi_call *k, const Csi__V1__ListSnapshotsRequest *q, struct csi_volumes *vs,
                  struct csi_snapshots *ret)
{
    struct csi_snapshot *one;
    int r;

    if (*q->snapshot_id) {
        r = csi_snapshot_by_id(k, q->snapshot_id, vs, &one);
        if (r == 0 && one)
            *ret = (struct csi_snapshots){.n = 1, .cap = 1, .s = one};
    } else {
        r = csi_volumes(k, vs);
        if (r == 0)
            r = csi_snapshots_all(k, vs, ret);
    }
    return r;
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
    int r = gather(k, q, &vs, &ss);

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
    if (r < 0)
        return r;
    a->entries = arena_alloc(&k->arena, (page.n + 1) * sizeof(*a->entries));
    a->next_token = arena_dup(&k->arena, page.next);
    if (!a->entries || !a->next_token)
        return csi_nomem(k);
    for (size_t i = 0; i < page.n && r == 0; i++) {
        Csi__V1__ListSnapshotsResponse__Entry *e = arena_alloc(&k->arena, sizeof(*e));

        if (!e)
            return csi_nomem(k);
        csi__v1__list_snapshots_response__entry__init(e);
        r = csi_snapshot_fill(k, &vs, &ss.s[page.first + i], &e->snapshot);
        a->entries[a->n_entries++] = e;
    }
    return r;
}
