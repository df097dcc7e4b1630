/* plugin/csi_route: the driver of a controller: it has no store, and asks the drivers of nodes, as bytes: what a node answers is passed on as it came.
 *
 *   answered here        GetPluginInfo, GetPluginCapabilities, Probe, ControllerGetCapabilities, GroupControllerGetCapabilities
 *   to one node          what names a volume, a snapshot or a group: the one that has its store (plugin/csi.h: ids begin with it); CreateVolume from one
 *                        of these likewise, else to the node of its topology; CreateVolumeGroupSnapshot where all volumes are of one node, else
 *                        FAILED_PRECONDITION, with what lies where
 *   to all nodes         ListVolumes, ListSnapshots, ControllerListVolumeHealth: one after the other, by name. A token is NODE/TOKEN, of that node; a
 *                        node that cannot be asked fails the list (UNAVAILABLE), so that none silently lacks its volumes. GetCapacity
 *                        without a topology: all of them together
 *   not at all           Node, registration (UNIMPLEMENTED)
 *
 * A store that no node says it has, or two do, and a node that cannot be reached: UNAVAILABLE, for deletions, too. An id that names no store (it cannot be any
 * node's) goes to any node, for its answer.
 *
 * A volume that follows its pod (plugin/csi_mobile.c) names no store: each node is asked (ControllerGetVolume) whether its copy is the one that counts. One
 * of which no node has such a copy is deleted by any node, which looks into the repository whether it may be. A recovery point (REPO#ID) belongs to
 * the node whose store it says it is of (GetSnapshot): there a snapshot may be left that belongs to it; where the store is none of this cluster's,
 * all of which is there, to any. */
#ifndef VARVE_PLUGIN_CSI_ROUTE_H
#define VARVE_PLUGIN_CSI_ROUTE_H

#include "plugin/csi_nodes.h"

/* csi_route_init: after csi_init; d->nodes is set. csi_route_find: for grpc_settings; arg is the struct csi. */
void csi_route_init(struct csi *d);
const struct grpc_method *csi_route_find(void *arg, const char *path);

/* --- between csi_route.c, csi_place.c and csi_merge.c ------------------------------------------------------------------------- */

struct csi_routing {
    struct csi_call k;
    const char *path;
    const uint8_t *bytes; /* the request */
    size_t len;
    ProtobufCMessage *q;
    bool sent;   /* something was answered */
    bool unseen; /* no node has seen it: it may be asked again, of another one */
};
/* Members of the request by their names; NULL: it has none. */
const char *csi_route_text(const struct csi_routing *g, const char *field);

/* csi_place_of_id: the node for an id of any kind. *ret NULL: any node will do. */
int csi_place_of_id(struct csi_routing *g, const char *field, const char *id, struct csi_places *ps,
                    struct csi_place **ret);
/* csi_route_to: asks it, and passes on what it says. csi_route_any: the first node that can be asked. */
int csi_route_to(struct csi_routing *g, struct csi_place *p);
int csi_route_any(struct csi_routing *g);
int csi_route_id(struct csi_routing *g, const char *field, const char *id);

int csi_merge_list(struct csi_routing *g); /* csi_merge.c */
int csi_merge_capacity(struct csi_routing *g);
/* csi_place_of_topology: the node that it names; *ret NULL: none. */
int csi_place_of_topology(struct csi_call *k, const Csi__V1__Topology *t, struct csi_places *ps,
                          struct csi_place **ret);

#endif
