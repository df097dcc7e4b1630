/* Controller: what there is, how much room, and what this driver can do. */
#include "plugin/csi_methods.h"

static const char *volume_key(const void *arg, size_t i)
{
    return ((*(const struct csi_volume *const *)arg) + i)->uuid;
}

CSI_METHOD(ListVolumes)
{
    struct csi_volumes vs;
    struct csi_page page;
    struct csi_volume *shown;
    size_t n = 0;
    int r = csi_volumes(k, &vs);

    if (r < 0)
        return r;
    shown = arena_alloc(&k->arena, (vs.n + 1) * sizeof(*shown));
    if (!shown)
        return csi_nomem(k);
    for (size_t i = 0; i < vs.n; i++)
        if (!vs.v[i].retired)
            shown[n++] = vs.v[i];
    r = csi_page(k, q->max_entries, q->starting_token, n, volume_key, &shown, &page);
    if (r == 0)
        r = csi_page_begin(k, &page, &a->entries, &a->next_token);
    for (size_t i = 0; r == 0 && i < page.n; i++) {
        Csi__V1__ListVolumesResponse__Entry *e = arena_alloc(&k->arena, sizeof(*e));

        if (!e)
            return csi_nomem(k);
        csi__v1__list_volumes_response__entry__init(e);
        r = csi_volume_fill(k, &vs, &shown[page.first + i], &e->volume);
        a->entries[a->n_entries++] = e;
    }
    return r;
}

CSI_METHOD(ControllerGetVolume)
{
    const struct csi_volume *v;
    struct csi_volumes vs;
    int r = csi_volume_find(k, "volume_id", q->volume_id, &vs, &v);

    if (r == 0) /* by this a controller finds the node whose copy counts */
        r = csi_mobile_here(k, "volume_id", q->volume_id, &vs, v, false);
    if (r < 0)
        return r;
    a->status = arena_alloc(&k->arena, sizeof(*a->status));
    if (!a->status)
        return csi_nomem(k);
    csi__v1__controller_get_volume_response__volume_status__init(a->status);
    return csi_volume_fill(k, &vs, v, &a->volume);
}

static Google__Protobuf__Int64Value *int64_of(struct csi_call *k, int64_t n)
{
    Google__Protobuf__Int64Value *v = arena_alloc(&k->arena, sizeof(*v));

    if (v) {
        google__protobuf__int64_value__init(v);
        v->value = n;
    }
    return v;
}

CSI_METHOD(GetCapacity)
{
    struct csi_params p;
    struct csi_volumes vs;
    bool here = !q->accessible_topology || csi_node_is(k->d, q->accessible_topology);
    int r = csi_params_take(k, "parameters", CSI_MAP(q, parameters), &p);

    for (size_t i = 0; i < q->n_volume_capabilities; i++)
        here = here && !csi_cap_why(q->volume_capabilities[i]);
    if (r < 0 || !here || (r = csi_volumes(k, &vs)) < 0)
        return r;
    a->available_capacity = (int64_t)vs.free;
    a->maximum_volume_size = int64_of(k, (int64_t)vs.total);
    a->minimum_volume_size = int64_of(k, CSI_VOLUME_MIN);
    return a->maximum_volume_size && a->minimum_volume_size ? 0 : csi_nomem(k);
}

CSI_METHOD(ControllerGetCapabilities)
{
    static const Csi__V1__ControllerServiceCapability__RPC__Type types[] = {
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__CREATE_DELETE_VOLUME,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__PUBLISH_UNPUBLISH_VOLUME,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__LIST_VOLUMES,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__GET_CAPACITY,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__CREATE_DELETE_SNAPSHOT,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__LIST_SNAPSHOTS,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__CLONE_VOLUME,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__PUBLISH_READONLY,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__EXPAND_VOLUME,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__GET_VOLUME,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__SINGLE_NODE_MULTI_WRITER,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__MODIFY_VOLUME,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__GET_SNAPSHOT,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__GET_VOLUME_HEALTH,
        CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__LIST_VOLUME_HEALTH};
    struct one {
        Csi__V1__ControllerServiceCapability cap;
        Csi__V1__ControllerServiceCapability__RPC rpc;
    } *all = arena_alloc(&k->arena, ARRAY_LEN(types) * sizeof(*all));

    (void)q;
    a->capabilities = arena_alloc(&k->arena, ARRAY_LEN(types) * sizeof(*a->capabilities));
    if (!all || !a->capabilities)
        return csi_nomem(k);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        csi__v1__controller_service_capability__init(&all[i].cap);
        csi__v1__controller_service_capability__rpc__init(&all[i].rpc);
        all[i].rpc.type = types[i];
        all[i].cap.type_case = CSI__V1__CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
        all[i].cap.rpc = &all[i].rpc;
        a->capabilities[a->n_capabilities++] = &all[i].cap;
    }
    return 0;
}
