/* Controller: publishing to this node. What is published is noted with the volume's facts; nothing is attached. */
#include <inttypes.h>
#include <stdlib.h>

#include "plugin/csi_methods.h"

/* Others that are published here. */
static int published_count(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume * not,
                           int64_t *ret)
{
    int64_t n = 0;
    int r = 0;

    for (size_t i = 0; i < vs->n && r == 0; i++) {
        struct csi_facts *f = NULL;

        if (&vs->v[i] == not || vs->v[i].retired)
            continue;
        r = csi_facts_get(k, vs->v[i].name, &f);
        n += r == 0 && f && f->node;
    }
    *ret = n;
    return r;
}

static int look(struct csi_call *k, const Csi__V1__ControllerPublishVolumeRequest *q)
{
    int r = csi_missing(k, "volume_id", q->volume_id);

    if (r == 0)
        r = csi_missing(k, "node_id", q->node_id);
    return r < 0 ? r : csi_cap_check(k, q->volume_capability);
}

static int publish(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v,
                   bool readonly)
{
    struct csi_facts none = {.name = v->name, .source = "static", .params = "", .size = v->size}, *f = NULL;
    int64_t others = 0;
    int r = csi_facts_get(k, v->name, &f);

    if (r < 0)
        return r;
    if (!f)
        f = &none; /* one that a person made: a static volume */
    if (f->node)
        return f->node_readonly == readonly
                   ? 0
                   : csi_fail(k, GRPC_ALREADY_EXISTS,
                              "readonly: the volume is published to this node the other way");
    if (k->d->volumes_max > 0 && (r = published_count(k, vs, v, &others)) < 0)
        return r;
    if (k->d->volumes_max > 0 && others >= k->d->volumes_max)
        return csi_fail(k, GRPC_RESOURCE_EXHAUSTED,
                        "node_id: %" PRId64 " volumes are published to this node, its most", others);
    f->node = k->d->node;
    f->node_readonly = readonly;
    return csi_facts_put(k, v->name, f);
}

CSI_METHOD(ControllerPublishVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const struct csi_volume *v;
    struct csi_volumes vs;
    int r = look(k, q);

    (void)a;
    if (r == 0)
        r = csi_volume_find(k, "volume_id", q->volume_id, &vs, &v);
    if (r == 0 && strcmp(q->node_id, k->d->node) != 0)
        r = csi_fail(k, GRPC_NOT_FOUND, "node_id: the volume is on node %s", k->d->node);
    if (r == 0)
        r = csi_enter(k, &held, "volume_id", v->uuid);
    if (r == 0 && k->d->volumes_max > 0)
        r = csi_enter(k, &held, "node_id", "publish"); /* the count is one for all */
    return r < 0 ? r : publish(k, &vs, v, q->readonly);
}

CSI_METHOD(ControllerUnpublishVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const struct csi_volume *v;
    struct csi_volumes vs;
    struct csi_facts *f = NULL;
    int r = csi_volume_if_there(k, "volume_id", q->volume_id, &vs, &v);

    (void)a;
    if (r < 0)
        return r;
    if (!v || (*q->node_id && strcmp(q->node_id, k->d->node) != 0))
        return 0; /* it is not published there */
    r = csi_enter(k, &held, "volume_id", v->uuid);
    if (r == 0)
        r = csi_facts_get(k, v->name, &f);
    if (r < 0 || !f || !f->node)
        return r;
    f->node = NULL;
    f->node_readonly = false;
    return csi_facts_put(k, v->name, f);
}
