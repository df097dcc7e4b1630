#include "plugin/csi_route.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define SAID_MAX 1024 /* no sentence is longer */

/* --- passing on ------------------------------------------------------------------------------------------------------------ */

static int pass(void *arg, const uint8_t *p, size_t len)
{
    struct csi_routing *g = arg;

    g->sent = true;
    return grpc_call_send(g->k.grpc, p, len);
}

int csi_route_to(struct csi_routing *g, struct csi_place *p)
{
    struct grpc_said said;
    int r = csi_place_ask(&g->k, p, g->path, g->bytes, g->len, pass, g, &said);

    g->unseen = r == 0 && said.unseen && !g->sent;
    if (r < 0 || said.code == GRPC_OK)
        return r;
    return csi_place_fail(&g->k, p, &said);
}

int csi_route_any(struct csi_routing *g)
{
    cleanup(csi_places_drop) struct csi_places ps = {.n = 0};
    const char *away;
    int r = csi_places_all(&g->k, false, &ps);

    for (size_t i = 0; i < ps.n && r == 0; i++) {
        int tried = ps.p[i].why ? -E_AGAIN : csi_route_to(g, &ps.p[i]);

        if (!ps.p[i].why && (tried == 0 || !g->unseen))
            return tried;
    }
    away = csi_places_away(&g->k, &ps);
    return r < 0 ? r : csi_fail(&g->k, GRPC_UNAVAILABLE, "no node can be asked: %.800s", away ? away : "");
}

/* Once more where it was not seen: the node may be at another address by now. */
int csi_route_id(struct csi_routing *g, const char *field, const char *id)
{
    int r = -E_AGAIN;

    g->unseen = true;
    for (int tries = 0; tries < 2 && r < 0 && g->unseen; tries++) {
        cleanup(csi_places_drop) struct csi_places ps = {.n = 0};
        struct csi_place *p = NULL;

        g->unseen = false;
        r = id ? csi_place_of_id(g, field, id, &ps, &p) : 0;
        if (r == 0)
            r = p ? csi_route_to(g, p) : csi_route_any(g);
    }
    return r;
}

const char *csi_route_text(const struct csi_routing *g, const char *field)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field_by_name(g->q->descriptor, field);
    const char *s = NULL;

    if (f && f->type == PROTOBUF_C_TYPE_STRING && f->label != PROTOBUF_C_LABEL_REPEATED)
        memcpy(&s, (const char *)g->q + f->offset, sizeof(s));
    return s;
}

/* --- by what they name ----------------------------------------------------------------------------------------------------- */

static int by(struct csi_routing *g, const char *field)
{
    return csi_route_id(g, field, csi_route_text(g, field));
}

static int by_volume(struct csi_routing *g)
{
    return by(g, "volume_id");
}

static int by_source(struct csi_routing *g)
{
    return by(g, "source_volume_id");
}

static int by_snapshot(struct csi_routing *g)
{
    return by(g, "snapshot_id");
}

static int by_base(struct csi_routing *g)
{
    return by(g, "base_snapshot_id");
}

static int by_group(struct csi_routing *g)
{
    return by(g, "group_snapshot_id");
}

static int list_snapshots(struct csi_routing *g)
{
    if (*csi_route_text(g, "snapshot_id"))
        return by_snapshot(g);
    return *csi_route_text(g, "source_volume_id") ? by_source(g) : csi_merge_list(g);
}

/* One all of which lies in repositories is told by any node. */
static int group_get(struct csi_routing *g)
{
    const Csi__V1__GetVolumeGroupSnapshotRequest *q =
        (const Csi__V1__GetVolumeGroupSnapshotRequest *)(const void *)g->q;
    bool points = q->n_snapshot_ids > 0;
    int r;

    for (size_t i = 0; i < q->n_snapshot_ids; i++)
        points = points && csi_point_is(q->snapshot_ids[i]);
    r = by_group(g);
    return r < 0 && points && !g->sent && g->k.code == GRPC_UNAVAILABLE ? csi_route_any(g) : r;
}

/* --- groups ---------------------------------------------------------------------------------------------------------------- */

/* Which volumes lie where, for who is told that they are too far apart. */
static int apart(struct csi_call *k, const Csi__V1__CreateVolumeGroupSnapshotRequest *q,
                 const char *const *nodes)
{
    const char *s = "";

    for (size_t i = 0; i < q->n_source_volume_ids && s && strlen(s) < SAID_MAX; i++) {
        bool first = nodes[i] != NULL;

        for (size_t before = 0; before < i && first; before++)
            first = !nodes[before] || strcmp(nodes[before], nodes[i]) != 0;
        if (!first)
            continue;
        s = arena_printf(&k->arena, "%s%son node %s:", s, *s ? "; " : "", nodes[i]);
        for (size_t v = i; v < q->n_source_volume_ids && s && strlen(s) < SAID_MAX; v++)
            if (nodes[v] && strcmp(nodes[v], nodes[i]) == 0)
                s = arena_printf(&k->arena, "%s %s", s, q->source_volume_ids[v]);
    }
    return csi_fail(k, GRPC_FAILED_PRECONDITION,
                    "source_volume_ids: a group is of one node's store, and these are of several: %s",
                    s ? s : "");
}

static int group_create(struct csi_routing *g)
{
    const Csi__V1__CreateVolumeGroupSnapshotRequest *q =
        (const Csi__V1__CreateVolumeGroupSnapshotRequest *)(const void *)g->q;
    const char **nodes = arena_alloc(&g->k.arena, (q->n_source_volume_ids + 1) * sizeof(*nodes));
    const char *first = NULL, *id = NULL;
    bool several = false;
    int r = nodes ? 0 : csi_nomem(&g->k);

    for (size_t i = 0; i < q->n_source_volume_ids && r == 0; i++) {
        cleanup(csi_places_drop) struct csi_places ps = {.n = 0};
        struct csi_place *p;

        r = csi_place_of_id(g, "source_volume_ids", q->source_volume_ids[i], &ps, &p);
        if (r < 0 || !p)
            continue; /* none of a node's: it says so */
        nodes[i] = arena_dup(&g->k.arena, p->name);
        several |= first && strcmp(first, nodes[i]) != 0;
        first = first ? first : nodes[i];
        id = id ? id : q->source_volume_ids[i];
    }
    if (r < 0)
        return r;
    return several ? apart(&g->k, q, nodes) : csi_route_id(g, "source_volume_ids", id);
}

/* --- making a volume ------------------------------------------------------------------------------------------------------- */

static bool is_mobile(const Csi__V1__CreateVolumeRequest *q)
{
    for (size_t i = 0; i < q->n_parameters; i++)
        if (strcmp(q->parameters[i]->key, "mobility") == 0)
            return true;
    return false;
}

/* Where it is wanted most. */
static int wanted(struct csi_call *k, const Csi__V1__TopologyRequirement *t, struct csi_places *ps,
                  struct csi_place **ret)
{
    int r = 0;

    *ret = NULL;
    for (size_t i = 0; t && r == 0 && !*ret && i < t->n_preferred; i++)
        r = csi_place_of_topology(k, t->preferred[i], ps, ret);
    for (size_t i = 0; t && r == 0 && !*ret && i < t->n_requisite; i++)
        r = csi_place_of_topology(k, t->requisite[i], ps, ret);
    return r;
}

static int create_anywhere(struct csi_routing *g)
{
    const Csi__V1__CreateVolumeRequest *q = (const Csi__V1__CreateVolumeRequest *)(const void *)g->q;
    cleanup(csi_places_drop) struct csi_places ps = {.n = 0};
    struct csi_place *p;
    int r = wanted(&g->k, q->accessibility_requirements, &ps, &p);

    if (r == 0 && p)
        return csi_route_to(g, p);
    if (r == 0)
        r = csi_places_all(&g->k, false, &ps);
    if (r == 0 && ps.n > 1 && !is_mobile(q))
        r = csi_fail(
            &g->k, GRPC_INVALID_ARGUMENT,
            "accessibility_requirements: names no node that is known here, and there are %zu of them", ps.n);
    return r < 0 ? r : csi_route_any(g);
}

static int create_volume(struct csi_routing *g)
{
    const Csi__V1__CreateVolumeRequest *q = (const Csi__V1__CreateVolumeRequest *)(const void *)g->q;
    const Csi__V1__VolumeContentSource *s = q->volume_content_source;
    cleanup(csi_places_drop) struct csi_places ps = {.n = 0};
    struct csi_place *p = NULL;
    int r = 0;

    if (s && s->type_case == CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME)
        r = csi_place_of_id(g, "volume_content_source.volume.volume_id", s->volume->volume_id, &ps, &p);
    else if (s && s->type_case == CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT &&
             !csi_point_is(s->snapshot->snapshot_id)) /* which can be had everywhere */
        r = csi_place_of_id(g, "volume_content_source.snapshot.snapshot_id", s->snapshot->snapshot_id, &ps,
                            &p);
    if (r < 0)
        return r;
    return p ? csi_route_to(g, p) : create_anywhere(g);
}

/* --- methods --------------------------------------------------------------------------------------------------------------- */

#define ROUTES(X)                                                                                            \
    X("csi.v1.Controller", CreateVolume, create_volume, false)                                               \
    X("csi.v1.Controller", DeleteVolume, by_volume, false)                                                   \
    X("csi.v1.Controller", ControllerPublishVolume, by_volume, false)                                        \
    X("csi.v1.Controller", ControllerUnpublishVolume, by_volume, false)                                      \
    X("csi.v1.Controller", ValidateVolumeCapabilities, by_volume, false)                                     \
    X("csi.v1.Controller", ListVolumes, csi_merge_list, false)                                               \
    X("csi.v1.Controller", GetCapacity, csi_merge_capacity, false)                                           \
    X("csi.v1.Controller", CreateSnapshot, by_source, false)                                                 \
    X("csi.v1.Controller", DeleteSnapshot, by_snapshot, false)                                               \
    X("csi.v1.Controller", ListSnapshots, list_snapshots, false)                                             \
    X("csi.v1.Controller", GetSnapshot, by_snapshot, false)                                                  \
    X("csi.v1.Controller", ControllerExpandVolume, by_volume, false)                                         \
    X("csi.v1.Controller", ControllerGetVolume, by_volume, false)                                            \
    X("csi.v1.Controller", ControllerModifyVolume, by_volume, false)                                         \
    X("csi.v1.Controller", ControllerGetVolumeHealth, by_volume, false)                                      \
    X("csi.v1.Controller", ControllerListVolumeHealth, csi_merge_list, false)                                \
    X("csi.v1.GroupController", CreateVolumeGroupSnapshot, group_create, false)                              \
    X("csi.v1.GroupController", DeleteVolumeGroupSnapshot, by_group, false)                                  \
    X("csi.v1.GroupController", GetVolumeGroupSnapshot, group_get, false)                                    \
    X("csi.v1.SnapshotMetadata", GetMetadataAllocated, by_snapshot, true)                                    \
    X("csi.v1.SnapshotMetadata", GetMetadataDelta, by_base, true)                                            \
    X("varve.csi.v1.FileMetadata", GetChangedFiles, by_base, true)

#define ROUTE(service, name, how, several) {"/" service "/" #name, how, several},
static const struct {
    const char *path;
    int (*how)(struct csi_routing *g);
    bool streams;
} table[] = {ROUTES(ROUTE)};

static const char *const here[] = {"/csi.v1.Identity/GetPluginInfo", "/csi.v1.Identity/GetPluginCapabilities",
                                   "/csi.v1.Identity/Probe", "/csi.v1.Controller/ControllerGetCapabilities",
                                   "/csi.v1.GroupController/GroupControllerGetCapabilities"};

struct route {
    struct grpc_method grpc;
    const ProtobufCMessageDescriptor *in;
    int (*how)(struct csi_routing *g);
    struct csi *d;
};
static struct route routes[ARRAY_LEN(table)];

static void end(struct csi_routing *g, int r, int64_t began_ns)
{
    int64_t us = (clock_mono_ns() - began_ns) / 1000;

    if (r == 0) {
        grpc_call_end(g->k.grpc, GRPC_OK, NULL);
        log_debug("csi", "routed", "method=%s us=%" PRId64, g->path, us);
        return;
    }
    grpc_call_end(g->k.grpc, g->k.code, "%s", g->k.why ? g->k.why : "out of memory");
    log_note("csi", "refused", "method=%s code=%s us=%" PRId64 " why=\"%s\"", g->path,
             grpc_code_name(g->k.code), us, g->k.why ? g->k.why : "");
}

static void run(struct grpc_call *c, void *arg)
{
    const struct route *m = arg;
    struct csi_routing g = {.k = {.d = m->d, .grpc = c, .code = GRPC_INTERNAL}, .path = m->grpc.path};
    int64_t began = clock_mono_ns();
    int r;

    g.bytes = grpc_call_request(c, &g.len);
    g.q = csi_unpack(&g.k, m->in, g.bytes, g.len);
    r = g.q ? m->how(&g) : csi_fail(&g.k, GRPC_INTERNAL, "the request is no message of its type");
    if (r == 0 && !g.sent && !m->grpc.streams)
        r = csi_fail(&g.k, GRPC_INTERNAL, "the node gave no answer");
    end(&g, r, began);
    arena_free(&g.k.arena);
}

void csi_route_init(struct csi *d)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        routes[i] = (struct route){
            .grpc = {.path = table[i].path, .streams = table[i].streams, .fn = run, .arg = &routes[i]},
            .in = csi_describe(table[i].path)->input,
            .how = table[i].how,
            .d = d};
        assert(routes[i].in);
    }
}

const struct grpc_method *csi_route_find(void *arg, const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (strcmp(routes[i].grpc.path, path) == 0)
            return &routes[i].grpc;
    for (size_t i = 0; i < ARRAY_LEN(here); i++)
        if (strcmp(here[i], path) == 0)
            return csi_find(arg, path);
    return NULL;
}
