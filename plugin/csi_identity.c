/* Identity, and the socket by which the kubelet finds this driver. */
#include "base/log.h"
#include "base/sock.h"
#include "plugin/csi_methods.h"

/* By which a controller knows whose volumes these are. Without a daemon the store is not known. */
static int manifest_put(struct csi_call *k, Csi__V1__GetPluginInfoResponse *a)
{
    csi_entry **map = NULL;
    struct csi_volumes vs;
    size_t n = 0;
    int r = csi_map_put(k, &n, &map, CSI_MANIFEST_NODE, k->d->node);

    if (r == 0 && csi_volumes(k, &vs) == 0)
        r = csi_map_put(k, &n, &map, CSI_MANIFEST_STORE, vs.store);
    for (size_t i = 0; i < n; i++)
        map[i]->base.descriptor = &csi__v1__get_plugin_info_response__manifest_entry__descriptor;
    a->n_manifest = n;
    a->manifest = (Csi__V1__GetPluginInfoResponse__ManifestEntry **)map;
    return r;
}

int csi_GetPluginInfo(struct csi_call *k, const Csi__V1__GetPluginInfoRequest *q,
                      Csi__V1__GetPluginInfoResponse *a)
{
    (void)q;
    a->name = arena_dup(&k->arena, k->d->name);
    a->vendor_version = arena_dup(&k->arena, VARVE_VERSION);
    if (!a->name || !a->vendor_version)
        return csi_nomem(k);
    return k->d->nodes ? 0 : manifest_put(k, a);
}

int csi_GetPluginCapabilities(struct csi_call *k, const Csi__V1__GetPluginCapabilitiesRequest *q,
                              Csi__V1__GetPluginCapabilitiesResponse *a)
{
    static const Csi__V1__PluginCapability__Service__Type types[] = {
        CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__CONTROLLER_SERVICE,
        CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__VOLUME_ACCESSIBILITY_CONSTRAINTS,
        CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__GROUP_CONTROLLER_SERVICE,
        CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__SNAPSHOT_METADATA_SERVICE,
        CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__SNAPSHOT_ACCESSIBILITY_CONSTRAINTS};
    struct one {
        Csi__V1__PluginCapability cap;
        Csi__V1__PluginCapability__Service service;
        Csi__V1__PluginCapability__VolumeExpansion expansion;
    } *all = arena_alloc(&k->arena, (ARRAY_LEN(types) + 1) * sizeof(*all));
    size_t n = ARRAY_LEN(types) - k->d->no_snapshot_topology; /* the last one */

    (void)q;
    a->capabilities = arena_alloc(&k->arena, (ARRAY_LEN(types) + 1) * sizeof(*a->capabilities));
    if (!all || !a->capabilities)
        return csi_nomem(k);
    for (size_t i = 0; i <= n; i++) {
        csi__v1__plugin_capability__init(&all[i].cap);
        csi__v1__plugin_capability__service__init(&all[i].service);
        csi__v1__plugin_capability__volume_expansion__init(&all[i].expansion);
        if (i < n) {
            all[i].service.type = types[i];
            all[i].cap.type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_SERVICE;
            all[i].cap.service = &all[i].service;
        } else {
            all[i].expansion.type = CSI__V1__PLUGIN_CAPABILITY__VOLUME_EXPANSION__TYPE__ONLINE;
            all[i].cap.type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_VOLUME_EXPANSION;
            all[i].cap.volume_expansion = &all[i].expansion;
        }
        a->capabilities[a->n_capabilities++] = &all[i].cap;
    }
    return 0;
}

/* Ready: a daemon serves the store. A controller has none: which nodes are there it says when it is asked for something. */
int csi_Probe(struct csi_call *k, const Csi__V1__ProbeRequest *q, Csi__V1__ProbeResponse *a)
{
    cleanup(buf_free) struct buf out = {0};
    const char *words[] = {"ping"};

    (void)q;
    a->ready = arena_alloc(&k->arena, sizeof(*a->ready));
    if (!a->ready)
        return csi_nomem(k);
    google__protobuf__bool_value__init(a->ready);
    a->ready->value = k->d->nodes || sock_ask(k->d->store, words, ARRAY_LEN(words), &out) == 0;
    return 0;
}

int csi_GetInfo(struct csi_call *k, const Pluginregistration__InfoRequest *q,
                Pluginregistration__PluginInfo *a)
{
    static char version[] = "1.0.0", type[] = "CSIPlugin";
    static char *versions[] = {version};

    (void)q;
    a->type = type;
    a->name = arena_dup(&k->arena, k->d->name);
    a->endpoint = arena_dup(&k->arena, k->d->endpoint);
    a->supported_versions = versions;
    a->n_supported_versions = ARRAY_LEN(versions);
    return a->name && a->endpoint ? 0 : csi_nomem(k);
}

int csi_NotifyRegistrationStatus(struct csi_call *k, const Pluginregistration__RegistrationStatus *q,
                                 Pluginregistration__RegistrationStatusResponse *a)
{
    (void)k;
    (void)a;
    if (q->plugin_registered)
        log_note("csi", "registered", "by=kubelet");
    else
        log_warn("csi", "not registered", "by=kubelet why=\"%.200s\"", q->error);
    return 0;
}
