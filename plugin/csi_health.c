/* How volumes and the store are: what the daemon says of them. */
#include <jansson.h>
#include <stdlib.h>

#include "plugin/csi_methods.h"

/* Why the volume cannot be written, NULL: it can. */
static int readonly_why(struct csi_call *k, const struct csi_volume *v, const char **ret)
{
    cleanup(csi_json_free) json_t *j = NULL;
    struct csi_result res;
    const char *mode, *why;
    char *out = NULL;
    int r = CSI_VERB(k, &res, &out, "status", v->name, "--json");

    *ret = NULL;
    if (r < 0)
        return r;
    if (!csi_result_is(&res, "OK"))
        return csi_result_fail(k, "volume_id", &res);
    j = json_loads(out, 0, NULL);
    mode = json_string_value(json_object_get(j, "mode"));
    why = json_string_value(json_object_get(j, "mode_reason"));
    if (mode && strcmp(mode, "ro") == 0 && !(*ret = arena_dup(&k->arena, why ? why : "it is read-only")))
        r = csi_nomem(k);
    return r;
}

static int health_put(struct csi_call *k, Csi__V1__VolumeHealth *h, Csi__V1__VolumeHealthErrorType type,
                      const char *reason, const char *message)
{
    Csi__V1__VolumeHealth__VolumeHealthEntry *e = arena_alloc(&k->arena, sizeof(*e));
    Csi__V1__VolumeHealth__VolumeHealthEntry **list = arena_alloc(&k->arena, sizeof(*list));

    if (!e || !list)
        return csi_nomem(k);
    csi__v1__volume_health__volume_health_entry__init(e);
    e->status = type;
    e->reason = arena_dup(&k->arena, reason);
    e->message = arena_dup(&k->arena, message);
    list[0] = e;
    h->health_statuses = list;
    h->n_health_statuses = 1;
    return e->reason && e->message ? 0 : csi_nomem(k);
}

static int health_of(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v,
                     Csi__V1__VolumeHealth **ret)
{
    Csi__V1__VolumeHealth *h = arena_alloc(&k->arena, sizeof(*h));
    const char *why;
    int r = h ? readonly_why(k, v, &why) : csi_nomem(k);

    if (r < 0)
        return r;
    csi__v1__volume_health__init(h);
    h->volume_id = csi_volume_id(k, vs, v);
    if (!h->volume_id)
        return csi_nomem(k);
    *ret = h;
    return why ? health_put(k, h, CSI__V1__VOLUME_HEALTH_ERROR_TYPE__DEGRADED, "ReadOnly", why) : 0;
}

CSI_METHOD(ControllerGetVolumeHealth)
{
    const struct csi_volume *v;
    struct csi_volumes vs;
    int r = csi_volume_find(k, "volume_id", q->volume_id, &vs, &v);

    return r < 0 ? r : health_of(k, &vs, v, &a->volume_health);
}

static const char *volume_key(const void *arg, size_t i)
{
    return ((const struct csi_volumes *)arg)->v[i].uuid;
}

CSI_METHOD(ControllerListVolumeHealth)
{
    struct csi_volumes vs;
    struct csi_page page;
    int r = csi_volumes(k, &vs);

    if (r == 0)
        r = csi_page(k, q->max_entries, q->starting_token, vs.n, volume_key, &vs, &page);
    if (r == 0)
        r = csi_page_begin(k, &page, &a->entries, &a->next_token);
    for (size_t i = 0; r == 0 && i < page.n; i++) {
        const struct csi_volume *v = &vs.v[page.first + i];

        if (v->retired)
            continue;
        r = health_of(k, &vs, v, &a->entries[a->n_entries]);
        a->n_entries += r == 0;
        if (r < 0 && k->code == GRPC_NOT_FOUND)
            r = 0; /* deleted meanwhile */
    }
    return r;
}

/* Beside what the daemon says: a mount whose daemon is gone for good. */
CSI_METHOD(NodeGetVolumeHealth)
{
    const char *const dirs[] = {q->volume_publish_path, q->staging_target_path};
    const struct csi_volume *v;
    struct csi_volumes vs;
    int r = csi_volume_find(k, "volume_id", q->volume_id, &vs, &v);

    if (r == 0)
        r = health_of(k, &vs, v, &a->volume_health);
    for (size_t i = 0; i < ARRAY_LEN(dirs) && r == 0; i++) {
        struct csi_mount m;

        const char *dir;

        if (!*dirs[i])
            continue;
        r = csi_path(k, i == 0 ? "volume_publish_path" : "staging_target_path", dirs[i], &dir);
        if (r == 0)
            r = csi_mount_at(k, dir, v, &m);
        if (r == 0 && (m.dead || m.at != CSI_AT_VOLUME))
            r = health_put(k, a->volume_health, CSI__V1__VOLUME_HEALTH_ERROR_TYPE__INACCESSIBLE,
                           m.dead ? "MountDead" : "NotMounted",
                           "the volume cannot be reached by a path that was given");
    }
    return r;
}

/* The store's own reason is that of all its volumes. */
static int store_readonly_why(struct csi_call *k, const struct csi_volumes *vs, const char **ret)
{
    int r = 0;

    *ret = NULL;
    for (size_t i = 0; i < vs->n && r == 0 && (i == 0 || *ret); i++)
        r = readonly_why(k, &vs->v[i], ret);
    return r;
}

CSI_METHOD(NodeGetStorageHealth)
{
    Csi__V1__NodeGetStorageHealthResponse__StorageBackendHealth *b = arena_alloc(&k->arena, sizeof(*b));
    const char *why = NULL;
    struct csi_volumes vs;
    int r;

    (void)q;
    a->backend_health = arena_alloc(&k->arena, sizeof(*a->backend_health));
    if (!b || !a->backend_health)
        return csi_nomem(k);
    csi__v1__node_get_storage_health_response__storage_backend_health__init(b);
    r = csi_volumes(k, &vs);
    if (r < 0 && k->code != GRPC_UNAVAILABLE)
        return r;
    if (r < 0) {
        b->status = CSI__V1__STORAGE_HEALTH_ERROR_TYPE__STORAGE_UNREACHABLE;
        b->reason = arena_dup(&k->arena, "NoDaemon");
        why = k->why;
    } else if ((r = store_readonly_why(k, &vs, &why)) < 0) {
        return r;
    } else if (why) {
        b->status = CSI__V1__STORAGE_HEALTH_ERROR_TYPE__STORAGE_DEGRADED;
        b->reason = arena_dup(&k->arena, "ReadOnly");
    }
    if (!why)
        return 0;
    b->message = arena_dup(&k->arena, why);
    a->backend_health[a->n_backend_health++] = b;
    return b->reason && b->message ? 0 : csi_nomem(k);
}
