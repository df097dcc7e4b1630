/* plugin/csi_nodes: the nodes of a cluster, as a controller knows them: where their drivers listen, and which store each has.
 *
 * The list is lines, `NODE ADDRESS:PORT`, or `NODE -`, whose driver does not run: of a file, or what `varve-manifests nodes` prints. It is looked at anew when a store is not known, when a
 * node cannot be reached, and before lists of all nodes; at most once a second. What cannot be read leaves the list as it was.
 *
 * Which store a node has it says itself (GetPluginInfo, plugin/csi.h), once for each connection: what is asked for by a store goes over the
 * connection by which that was said, so an address that has become another node's, and a driver that was started anew, are asked again. */
#ifndef VARVE_PLUGIN_CSI_NODES_H
#define VARVE_PLUGIN_CSI_NODES_H

#include "plugin/csi.h"
#include "plugin/grpc_client.h"

/* csi_nodes_new(d, file, client, &ret): file NULL: by the program. -E_NOMEM. client: the nodes', which free it. */
int csi_nodes_new(struct csi *d, const char *file, struct grpc_client *client, struct csi_nodes **ret);
void csi_nodes_free(struct csi_nodes *ns); /* NULL is allowed */

/* A node, for as long as a call. */
struct csi_place {
    struct csi_node *node;
    const char *name, *address;
    const char *store, *id; /* what it has said; NULL: it has not yet */
    const char *why;        /* why it cannot be asked; NULL: it can */
    bool tried;             /* within the last second */
    uint64_t number;        /* of the connection by which it said so; 0: that is to be asked */
};
struct csi_places {
    struct csi_nodes *nodes;
    size_t n;
    struct csi_place *p; /* by name */
};
void csi_places_drop(struct csi_places *ps); /* fit for cleanup() */

/* csi_places_all: every node, each asked who it is where that is not known: why says which cannot be. fresh: the list is read anew. UNAVAILABLE:
 * there are none. csi_place_of_store: the one that has this store; UNAVAILABLE, with the nodes that were asked, or where
 * two say that they have it. */
int csi_places_all(struct csi_call *k, bool fresh, struct csi_places *ps);
int csi_place_of_store(struct csi_call *k, const char *field, const char *store, struct csi_places *ps,
                       struct csi_place **ret);
/* csi_places_away: the names of those that cannot be asked, with why, for a sentence: the first ones; NULL: there are none (or out of memory). */
const char *csi_places_away(struct csi_call *k, const struct csi_places *ps);

/* csi_place_ask: one call, as bytes, for as long as somebody waits for k's. Its messages go to fn. Where the connection is another one by now it is asked who it
 * is, and what was asked for goes on if it is the same (ret->unseen: it is not, or it cannot be reached). */
int csi_place_ask(struct csi_call *k, struct csi_place *p, const char *path, const void *bytes, size_t len,
                  int (*fn)(void *arg, const uint8_t *p, size_t len), void *arg, struct grpc_said *ret);
/* csi_place_fail: what was said, as this call's failure. */
int csi_place_fail(struct csi_call *k, const struct csi_place *p, const struct grpc_said *said);

#endif
