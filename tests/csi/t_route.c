/* A controller's driver, and two nodes with a store each: what is asked of it is done where it belongs. */
#include <arpa/inet.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/sock.h"
#include "plugin/csi_nodes.h"
#include "plugin/grpc_client.h"
#include "tests/csi/certs.h"
#include "tests/csi/rig_repo.h"

#define GIB ((int64_t)1 << 30)
#define ABSENT "6f1e3ab2-0c5d-4e7f-8a9b-1c2d3e4f5a6b/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"

struct node {
    char name[16], store[300], sock[300], address[64];
    pid_t serve, csi;
};
static struct {
    struct node n[2];
    char sock[300], nodes[300], tls[300], control[300];
    pid_t csi;
    struct authority ca;
} far;

static void end(pid_t *pid, int sig)
{
    if (*pid <= 0)
        return;
    kill(*pid, SIGCONT);
    kill(*pid, sig);
    rig_wait(*pid);
    *pid = 0;
}

static void end_all(void)
{
    end(&far.csi, SIGKILL);
    for (size_t i = 0; i < ARRAY_LEN(far.n); i++) {
        end(&far.n[i].csi, SIGKILL);
        end(&far.n[i].serve, SIGINT);
    }
}

/* A port that nobody has at this moment. */
static unsigned port_free(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void await(const char *sock, pid_t pid)
{
    int fd = -1;

    for (int i = 0; i < 3000 && fd < 0; i++, pause_ms(5)) {
        CHECK(waitpid(pid, NULL, WNOHANG) == 0);
        fd = raw_connect(sock);
    }
    CHECK(fd >= 0);
    close(fd);
}

static void node_begin(struct node *n)
{
    char endpoint[320], listen[100], tls[320];
    const char *argv[] = {rig_program("varve-csi"),
                          "--store",
                          n->store,
                          "--endpoint",
                          endpoint,
                          "--node-id",
                          n->name,
                          "--verbose",
                          listen,
                          tls,
                          NULL};

    snprintf(endpoint, sizeof(endpoint), "unix://%s", n->sock);
    snprintf(listen, sizeof(listen), "--listen=%s", n->address);
    snprintf(tls, sizeof(tls), "--tls=%s", far.tls);
    unlink(n->sock);
    n->csi = rig_run(argv);
    await(n->sock, n->csi);
}

static void serve_begin(struct node *n)
{
    const char *argv[] = {rig_program("varve"), "serve", n->store, NULL}, *words[] = {"ping"};
    cleanup(buf_free) struct buf out = {0};
    int r = -E_NOTMOUNTED;

    n->serve = rig_run(argv);
    for (int i = 0; i < 3000 && r < 0; i++, pause_ms(5))
        r = sock_ask(n->store, words, 1, &out);
    CHECK_OK(r);
}

static void nodes_put(size_t n)
{
    cleanup(buf_free) struct buf b = {0};

    CHECK_OK(buf_puts(&b, "# NODE ADDRESS:PORT\n\n"));
    for (size_t i = n; i > 0; i--) /* in another order than that of their names */
        CHECK_OK(buf_printf(&b, " %s\t%s \n", far.n[i - 1].name, far.n[i - 1].address));
    CHECK_OK(io_replace(io_real(), far.nodes, b.data, b.len));
}

static void control_begin(void)
{
    char endpoint[320], nodes[320], tls[320];
    const char *argv[] = {
        rig_program("varve-csi"), "--controller", "--endpoint", endpoint, nodes, tls, "--verbose", NULL};

    snprintf(endpoint, sizeof(endpoint), "unix://%s", far.sock);
    snprintf(nodes, sizeof(nodes), "--nodes=%s", far.nodes);
    snprintf(tls, sizeof(tls), "--tls=%s", far.control);
    far.csi = rig_run(argv);
    await(far.sock, far.csi);
}

/* Whom RPC asks from now on: a node, or (2) the controller. */
static void ask_of(size_t who)
{
    snprintf(rig.sock, sizeof(rig.sock), "%.250s", who < 2 ? far.n[who].sock : far.sock);
}

/* before: done when the directory is there, and no node yet; NULL: nothing. */
static void start_after(void (*before)(void))
{
    static bool registered;

    if (geteuid() != 0)
        test_skip("needs root");
    if (!registered)
        atexit(end_all);
    registered = true;
    end_all(); /* of a test that failed */
    memset(&far, 0, sizeof(far));
    snprintf(rig.dir, sizeof(rig.dir), "%s/", test_dir());
    snprintf(rig.log, sizeof(rig.log), "%s/log", test_dir());
    snprintf(far.sock, sizeof(far.sock), "%s/csi.sock", test_dir());
    snprintf(far.nodes, sizeof(far.nodes), "%s/nodes", test_dir());
    snprintf(far.tls, sizeof(far.tls), "%s/tls", test_dir());
    snprintf(far.control, sizeof(far.control), "%s/control", test_dir());
    if (before)
        before();
    authority_make(&far.ca, "ca");
    certs_put(far.tls, &far.ca, &far.ca, "node.csi.varve.io", 3600);
    certs_put(far.control, &far.ca, &far.ca, "controller.csi.varve.io", 3600);
    for (size_t i = 0; i < ARRAY_LEN(far.n); i++) {
        struct node *n = &far.n[i];

        snprintf(n->name, sizeof(n->name), "node-%zu", i + 1);
        snprintf(n->store, sizeof(n->store), "%s/store-%zu", test_dir(), i + 1);
        snprintf(n->sock, sizeof(n->sock), "%s/csi-%zu.sock", test_dir(), i + 1);
        snprintf(n->address, sizeof(n->address), "127.0.0.1:%u", port_free());
        rig_varve("create", n->store, NULL, NULL);
        serve_begin(n);
        node_begin(n);
    }
    nodes_put(2);
    control_begin();
}

static void start(void)
{
    start_after(NULL);
}

static void stop(void)
{
    end(&far.csi, SIGTERM);
    for (size_t i = 0; i < ARRAY_LEN(far.n); i++) {
        end(&far.n[i].csi, SIGTERM);
        end(&far.n[i].serve, SIGINT);
    }
    authority_free(&far.ca);
}

/* --- what is done where ------------------------------------------------------------------------------------------------------ */

static int64_t size_of(const char *id)
{
    Csi__V1__ControllerGetVolumeRequest q = CSI__V1__CONTROLLER_GET_VOLUME_REQUEST__INIT;
    Csi__V1__ControllerGetVolumeResponse *a;
    int64_t size;

    q.volume_id = text(id);
    a = RPC(Controller, ControllerGetVolume, &q, 0);
    CHECK(strcmp(a->volume->volume_id, id) == 0);
    size = a->volume->capacity_bytes;
    rpc_free(a);
    return size;
}

/* Made by the controller on the node that its topology names. */
static char *make_on(const char *node, const char *name)
{
    Csi__V1__Topology__SegmentsEntry e = CSI__V1__TOPOLOGY__SEGMENTS_ENTRY__INIT, *es[] = {&e};
    Csi__V1__Topology t = CSI__V1__TOPOLOGY__INIT, *ts[] = {&t};
    Csi__V1__TopologyRequirement want = CSI__V1__TOPOLOGY_REQUIREMENT__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__CreateVolumeRequest q;
    struct cap cap;

    create_request(&q, &cap, name, SNW);
    e.key = text("topology.csi.varve.io/node");
    e.value = text(node);
    t.segments = es;
    t.n_segments = 1;
    want.preferred = ts;
    want.n_preferred = 1;
    range.required_bytes = GIB;
    q.capacity_range = &range;
    q.accessibility_requirements = &want;
    return create_volume(&q);
}

static int expand(const char *id, int64_t size)
{
    Csi__V1__ControllerExpandVolumeRequest q = CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;

    q.volume_id = text(id);
    q.capacity_range = &range;
    range.required_bytes = size;
    return rpc_status("/csi.v1.Controller/ControllerExpandVolume", &q);
}

static int modify(const char *id, const char *profile)
{
    Csi__V1__ControllerModifyVolumeRequest__MutableParametersEntry
        e = CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__MUTABLE_PARAMETERS_ENTRY__INIT,
        *es[] = {&e};
    Csi__V1__ControllerModifyVolumeRequest q = CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__INIT;

    q.volume_id = text(id);
    e.key = text("profile");
    e.value = text(profile);
    q.mutable_parameters = es;
    q.n_mutable_parameters = 1;
    return rpc_status("/csi.v1.Controller/ControllerModifyVolume", &q);
}

static bool is_healthy(const char *id)
{
    Csi__V1__ControllerGetVolumeHealthRequest q = CSI__V1__CONTROLLER_GET_VOLUME_HEALTH_REQUEST__INIT;
    Csi__V1__ControllerGetVolumeHealthResponse *a;
    bool ok;

    q.volume_id = text(id);
    a = RPC(Controller, ControllerGetVolumeHealth, &q, 0);
    ok = strcmp(a->volume_health->volume_id, id) == 0 && a->volume_health->n_health_statuses == 0;
    rpc_free(a);
    return ok;
}

TEST(test_route__a_volume_is_looked_after_where_it_lies)
{
    Csi__V1__ValidateVolumeCapabilitiesRequest v = CSI__V1__VALIDATE_VOLUME_CAPABILITIES_REQUEST__INIT;
    char *id, *copy, *snapshot;
    struct cap cap;

    start();
    ask_of(2);
    id = make_on("node-2", "pvc-there");
    ask_of(0);
    CHECK_EQ(expand(id, 2 * GIB), GRPC_UNAVAILABLE); /* not there */
    ask_of(1);
    CHECK_EQ(size_of(id), GIB);
    ask_of(2);
    CHECK_EQ(expand(id, 2 * GIB), 0);
    CHECK_EQ(size_of(id), 2 * GIB);
    CHECK_EQ(modify(id, "no-such-profile"), GRPC_INVALID_ARGUMENT);
    CHECK(strstr(rig.why, "mutable_parameters[profile]: "));
    CHECK(is_healthy(id));
    v.volume_id = id;
    cap_init(&cap, SNW);
    v.volume_capabilities = cap.list;
    v.n_volume_capabilities = 1;
    CHECK_EQ(rpc_status("/csi.v1.Controller/ValidateVolumeCapabilities", &v), 0);
    snapshot = make_snapshot(id, "snap-there");
    copy = make_copy("pvc-copy", 2 * GIB, NULL, snapshot);
    CHECK(strncmp(copy, id, 36) == 0);
    CHECK_EQ(delete_volume(copy), 0);
    CHECK_EQ(delete_snapshot(snapshot), 0);
    CHECK_EQ(delete_volume(id), 0);
    ask_of(1);
    CHECK_EQ(expand(id, 3 * GIB), GRPC_NOT_FOUND);
    free(id);
    free(copy);
    free(snapshot);
    stop();
}

TEST(test_route__what_nobody_has_is_not_said_to_be_done)
{
    Csi__V1__DeleteVolumeGroupSnapshotRequest g = CSI__V1__DELETE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__CreateVolumeRequest q;
    struct cap cap;

    start();
    ask_of(2);
    CHECK_EQ(delete_volume(ABSENT), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "6f1e3ab2-0c5d") && strstr(rig.why, "asked: node-1, node-2"));
    CHECK_EQ(expand(ABSENT, GIB), GRPC_UNAVAILABLE);
    CHECK_EQ(delete_snapshot(ABSENT "/1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"), GRPC_UNAVAILABLE);
    g.group_snapshot_id = text(ABSENT);
    RPC(GroupController, DeleteVolumeGroupSnapshot, &g, GRPC_UNAVAILABLE);
    CHECK_EQ(delete_volume("no id of ours"), 0); /* as any node says */
    CHECK_EQ(delete_volume(""), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(expand("no id of ours", GIB), GRPC_NOT_FOUND);
    CHECK_EQ(delete_volume("mobile/offsite/csi-0123456789abcdef0123456789abcdef"), GRPC_UNAVAILABLE);
    CHECK_EQ(expand("mobile/offsite/csi-0123456789abcdef0123456789abcdef", GIB), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "no node has the copy that counts"));
    create_request(&q, &cap, "pvc-nowhere", SNW);
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_INVALID_ARGUMENT);
    CHECK(strstr(rig.why, "names no node"));
    stop();
}

/* A node of the list whose driver has no address: what is asked of all of them waits for it. */
TEST(test_route__a_node_whose_driver_does_not_run_is_waited_for)
{
    cleanup(buf_free) struct buf b = {0};
    char *id;

    start();
    ask_of(2);
    id = make_on("node-2", "pvc-there");
    CHECK_OK(buf_printf(&b, "node-1 %s\nnode-2 -\n", far.n[0].address));
    CHECK_OK(io_replace(io_real(), far.nodes, b.data, b.len));
    pause_ms(1100); /* the list is read once a second at most */
    RPC(Controller, ListVolumes, &(Csi__V1__ListVolumesRequest)CSI__V1__LIST_VOLUMES_REQUEST__INIT,
        GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "node-2") && strstr(rig.why, "its driver does not run"));
    CHECK_EQ(expand(id, 2 * GIB), GRPC_UNAVAILABLE);
    nodes_put(2);
    pause_ms(1100);
    CHECK_EQ(expand(id, 2 * GIB), 0);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    stop();
}

/* A disk that was copied: what the one does not know may be the other's. */
TEST(test_route__a_store_that_two_nodes_have_is_nobodys)
{
    Csi__V1__ListVolumesRequest q = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    char *id, own[300];

    start();
    ask_of(2);
    id = make_on("node-1", "pvc-twice");
    end(&far.n[1].csi, SIGKILL);
    memcpy(own, far.n[1].store, sizeof(own));
    memcpy(far.n[1].store, far.n[0].store, sizeof(own));
    node_begin(&far.n[1]);
    pause_ms(1100);
    (void)rpc_status("/csi.v1.Controller/ListVolumes", &q); /* each is asked who it is */
    rpc_free(RPC(Controller, ListVolumes, &q, 0));
    CHECK_EQ(delete_volume(id), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "two nodes") && strstr(rig.why, "node-1 (") && strstr(rig.why, "node-2 ("));
    end(&far.n[1].csi, SIGKILL); /* it may come back as it was */
    CHECK_EQ(delete_volume(id), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "two nodes"));
    memcpy(far.n[1].store, own, sizeof(own));
    node_begin(&far.n[1]); /* with its own, at the same address */
    CHECK_EQ(size_of(id), GIB);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    stop();
}

/* --- groups ------------------------------------------------------------------------------------------------------------------ */

TEST(test_route__a_group_is_of_one_node)
{
    Csi__V1__CreateVolumeGroupSnapshotRequest c = CSI__V1__CREATE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__DeleteVolumeGroupSnapshotRequest d = CSI__V1__DELETE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__GetVolumeGroupSnapshotRequest g = CSI__V1__GET_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__CreateVolumeGroupSnapshotResponse *a;
    Csi__V1__GetVolumeGroupSnapshotResponse *got;
    char *ids[3];

    start();
    ask_of(2);
    ids[0] = make_on("node-2", "pvc-group-a");
    ids[1] = make_on("node-2", "pvc-group-b");
    ids[2] = make_on("node-1", "pvc-group-c");
    c.name = text("group-1");
    c.source_volume_ids = ids;
    c.n_source_volume_ids = 3;
    RPC(GroupController, CreateVolumeGroupSnapshot, &c, GRPC_FAILED_PRECONDITION);
    CHECK(strstr(rig.why, "on node node-2: ") && strstr(rig.why, "on node node-1: ") &&
          strstr(rig.why, ids[2]));
    c.n_source_volume_ids = 2;
    a = RPC(GroupController, CreateVolumeGroupSnapshot, &c, 0);
    CHECK_EQ(a->group_snapshot->n_snapshots, 2);
    g.group_snapshot_id = d.group_snapshot_id = a->group_snapshot->group_snapshot_id;
    got = RPC(GroupController, GetVolumeGroupSnapshot, &g, 0);
    CHECK_EQ(got->group_snapshot->n_snapshots, 2);
    rpc_free(RPC(GroupController, DeleteVolumeGroupSnapshot, &d, 0));
    RPC(GroupController, GetVolumeGroupSnapshot, &g, GRPC_NOT_FOUND);
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(delete_volume(ids[i]), 0);
        free(ids[i]);
    }
    rpc_free(a);
    rpc_free(got);
    stop();
}

/* --- lists ------------------------------------------------------------------------------------------------------------------- */

static size_t list_all(int32_t max, size_t *pages)
{
    Csi__V1__ListVolumesRequest q = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    char *seen[32], *token = strdup("");
    size_t n = 0;

    *pages = 0;
    do {
        Csi__V1__ListVolumesResponse *a;

        q.max_entries = max;
        q.starting_token = token;
        a = RPC(Controller, ListVolumes, &q, 0);
        ++*pages;
        CHECK(max == 0 || a->n_entries <= (size_t)max);
        for (size_t i = 0; i < a->n_entries; i++, n++) {
            seen[n] = strdup(a->entries[i]->volume->volume_id);
            for (size_t s = 0; s < n; s++)
                CHECK(strcmp(seen[s], seen[n]) != 0);
        }
        free(token);
        token = strdup(a->next_token);
        rpc_free(a);
    } while (*token);
    for (size_t i = 0; i < n; i++)
        free(seen[i]);
    free(token);
    return n;
}

static int64_t capacity(const char *node)
{
    Csi__V1__Topology__SegmentsEntry e = CSI__V1__TOPOLOGY__SEGMENTS_ENTRY__INIT, *es[] = {&e};
    Csi__V1__GetCapacityRequest q = CSI__V1__GET_CAPACITY_REQUEST__INIT;
    Csi__V1__Topology t = CSI__V1__TOPOLOGY__INIT;
    Csi__V1__GetCapacityResponse *a;
    int64_t n;

    e.key = text("topology.csi.varve.io/node");
    e.value = text(node);
    t.segments = es;
    t.n_segments = 1;
    q.accessible_topology = node ? &t : NULL;
    a = RPC(Controller, GetCapacity, &q, 0);
    n = a->available_capacity;
    rpc_free(a);
    return n;
}

TEST(test_route__lists_are_of_all_nodes)
{
    Csi__V1__ListVolumesRequest q = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    Csi__V1__ListSnapshotsRequest s = CSI__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    Csi__V1__ListSnapshotsResponse *ss;
    Csi__V1__ControllerListVolumeHealthRequest h = CSI__V1__CONTROLLER_LIST_VOLUME_HEALTH_REQUEST__INIT;
    Csi__V1__ControllerListVolumeHealthResponse *hs;
    char name[32], *ids[7], *snap[2];
    size_t pages;

    start();
    ask_of(2);
    for (size_t i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "pvc-list-%zu", i);
        ids[i] = make_on(i < 4 ? "node-1" : "node-2", name);
    }
    CHECK(list_all(0, &pages) == 9 && pages == 1); /* each store has one of its own */
    CHECK(list_all(1, &pages) == 9 && pages >= 9);
    CHECK(list_all(3, &pages) == 9 && pages == 3);
    CHECK(list_all(5, &pages) == 9 && pages == 2);
    q.starting_token = text("node-9/x");
    RPC(Controller, ListVolumes, &q, GRPC_ABORTED);
    q.starting_token = text("garbage");
    RPC(Controller, ListVolumes, &q, GRPC_ABORTED);
    q.starting_token = text("");
    q.max_entries = -1;
    RPC(Controller, ListVolumes, &q, GRPC_INVALID_ARGUMENT);
    snap[0] = make_snapshot(ids[0], "snap-a");
    snap[1] = make_snapshot(ids[5], "snap-b");
    ss = RPC(Controller, ListSnapshots, &s, 0);
    CHECK_EQ(ss->n_entries, 2);
    rpc_free(ss);
    s.snapshot_id = snap[1];
    ss = RPC(Controller, ListSnapshots, &s, 0);
    CHECK(ss->n_entries == 1 && strcmp(ss->entries[0]->snapshot->snapshot_id, snap[1]) == 0);
    rpc_free(ss);
    s.snapshot_id = text("");
    s.source_volume_id = ids[0];
    ss = RPC(Controller, ListSnapshots, &s, 0);
    CHECK(ss->n_entries == 1 && strcmp(ss->entries[0]->snapshot->snapshot_id, snap[0]) == 0);
    rpc_free(ss);
    hs = RPC(Controller, ControllerListVolumeHealth, &h, 0);
    CHECK_EQ(hs->n_entries, 9);
    rpc_free(hs);
    CHECK(capacity("node-1") > 0 && capacity("node-2") > 0 && capacity("node-3") == 0);
    CHECK(capacity(NULL) > capacity("node-1"));
    /* a node that is away is missed, not left out */
    end(&far.n[1].csi, SIGKILL);
    q.max_entries = 0;
    RPC(Controller, ListVolumes, &q, GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "node-2"));
    nodes_put(1); /* one that is gone for good is not */
    pause_ms(1100);
    CHECK_EQ(list_all(0, &pages), 5);
    for (size_t i = 0; i < 7; i++)
        free(ids[i]);
    free(snap[0]);
    free(snap[1]);
    stop();
}

/* --- a node that answers wrongly ----------------------------------------------------------------------------------------------- */

enum wrong { LONG_TOKEN, TOKEN_ALONE, TOO_MANY, NO_ANSWER, LARGE };
static struct {
    struct grpc_server *s;
    struct tls_files *files;
    pthread_t thread;
    enum wrong how;
} odd;

static void odd_send(struct grpc_call *c, const void *a)
{
    uint8_t *p = malloc(protobuf_c_message_get_packed_size(a) + 1);

    (void)grpc_call_send(c, p, protobuf_c_message_pack(a, p));
    free(p);
    grpc_call_end(c, GRPC_OK, NULL);
}

static void odd_info(struct grpc_call *c, void *arg)
{
    Csi__V1__GetPluginInfoResponse__ManifestEntry e = CSI__V1__GET_PLUGIN_INFO_RESPONSE__MANIFEST_ENTRY__INIT,
                                                  *es[] = {&e};
    Csi__V1__GetPluginInfoResponse a = CSI__V1__GET_PLUGIN_INFO_RESPONSE__INIT;

    (void)arg;
    a.name = text("csi.varve.io");
    e.key = text(CSI_MANIFEST_STORE);
    e.value = text("6f1e3ab2-0c5d-4e7f-8a9b-1c2d3e4f5a6b");
    a.manifest = es;
    a.n_manifest = 1;
    odd_send(c, &a);
}

static void odd_list(struct grpc_call *c, void *arg)
{
    static char id[1000], token[600];
    Csi__V1__Volume v = CSI__V1__VOLUME__INIT;
    Csi__V1__ListVolumesResponse__Entry e = CSI__V1__LIST_VOLUMES_RESPONSE__ENTRY__INIT, *es[1001];
    Csi__V1__ListVolumesResponse a = CSI__V1__LIST_VOLUMES_RESPONSE__INIT;

    (void)arg;
    memset(id, 'v', sizeof(id) - 1);
    memset(token, 't', sizeof(token) - 1);
    v.volume_id = id;
    e.volume = &v;
    for (size_t i = 0; i < ARRAY_LEN(es); i++)
        es[i] = &e;
    a.entries = es;
    a.n_entries = odd.how == LARGE ? 1000 : odd.how == TOO_MANY ? 1001 : odd.how == LONG_TOKEN;
    a.next_token = odd.how == LONG_TOKEN ? token : text("next");
    if (odd.how == NO_ANSWER)
        grpc_call_end(c, GRPC_OK, NULL);
    else
        odd_send(c, &a);
}

static void odd_capacity(struct grpc_call *c, void *arg)
{
    Csi__V1__GetCapacityResponse a = CSI__V1__GET_CAPACITY_RESPONSE__INIT;

    (void)arg;
    a.available_capacity = INT64_MAX;
    odd_send(c, &a);
}

static const struct grpc_method *odd_find(void *arg, const char *path)
{
    static const struct grpc_method all[] = {{.path = "/csi.v1.Identity/GetPluginInfo", .fn = odd_info},
                                             {.path = "/csi.v1.Controller/ListVolumes", .fn = odd_list},
                                             {.path = "/csi.v1.Controller/GetCapacity", .fn = odd_capacity}};

    (void)arg;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(path, all[i].path) == 0)
            return &all[i];
    return NULL;
}

static void *odd_run(void *arg)
{
    (void)arg;
    CHECK_OK(grpc_server_run(odd.s));
    return NULL;
}

/* In place of the second node. */
static void odd_begin(void)
{
    struct grpc_settings o = {.find = odd_find, .find_far = odd_find, .workers = 2};

    end(&far.n[1].csi, SIGKILL);
    CHECK_OK(grpc_server_new(&o, &odd.s));
    CHECK_OK(tls_files_new(far.tls, "csi.varve.io", TLS_NODE, &odd.files));
    CHECK_OK(grpc_server_listen_tls(odd.s, far.n[1].address, odd.files, NULL));
    CHECK(pthread_create(&odd.thread, NULL, odd_run, NULL) == 0);
}

static void odd_end(void)
{
    grpc_server_stop(odd.s);
    pthread_join(odd.thread, NULL);
    grpc_server_free(odd.s);
    tls_files_free(odd.files);
}

TEST(test_route__a_list_is_whole_or_none_whatever_a_node_answers)
{
    Csi__V1__ListVolumesRequest q = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    Csi__V1__ListVolumesResponse *a;

    start();
    odd_begin();
    ask_of(2);
    q.max_entries = 1000;
    for (odd.how = LONG_TOKEN; odd.how < LARGE; odd.how++) {
        RPC(Controller, ListVolumes, &q, GRPC_INTERNAL);
        CHECK(strstr(rig.why, "node node-2 answers in another way"));
    }
    q.max_entries = 100000; /* no more than clients take */
    a = RPC(Controller, ListVolumes, &q, 0);
    CHECK(a->n_entries >= 500 && a->n_entries < 4000 && strcmp(a->next_token, "node-2/next") == 0);
    rpc_free(a);
    CHECK(capacity(NULL) == INT64_MAX);
    odd_end();
    stop();
}

/* --- what names no node ------------------------------------------------------------------------------------------------------ */

/* A repository that opens for each node by itself. */
static void repository(void)
{
    char path[400], key[400];

    snprintf(path, sizeof(path), "%sconfig", rig.dir);
    setenv("XDG_CONFIG_HOME", path, 1);
    snprintf(path, sizeof(path), "%scache", rig.dir);
    setenv("XDG_CACHE_HOME", path, 1);
    put(rig.dir, "pass", REPO_SECRET_TEXT);
    put(rig.dir, "profile", "name = \"" REPO_CLASS "\";\n" REPO_ONE);
    snprintf(key, sizeof(key), "--key-file=%spass", rig.dir);
    snprintf(repo_url, sizeof(repo_url), "dir:%srepo", rig.dir);
    rig_varve("repo", "init", repo_url, key);
    rig_varve_words((const char *const[]){"repo", "add", "offsite", repo_url, key, NULL});
    snprintf(path, sizeof(path), "%sprofile", rig.dir);
    rig_varve("profile", "add", path, "--replace");
}

static char *uploaded(const char *volume, const char *name)
{
    static Csi__V1__CreateSnapshotRequest__ParametersEntry e, *es[] = {&e};
    Csi__V1__CreateSnapshotRequest q = CSI__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    char *id = NULL;

    csi__v1__create_snapshot_request__parameters_entry__init(&e);
    e.key = text("profile");
    e.value = text(REPO_CLASS);
    q.source_volume_id = text(volume);
    q.name = text(name);
    q.parameters = es;
    q.n_parameters = 1;
    for (int i = 0; i < 500 && !id; i++, pause_ms(20)) {
        Csi__V1__CreateSnapshotResponse *a = RPC(Controller, CreateSnapshot, &q, 0);

        if (a->snapshot->ready_to_use)
            id = strdup(a->snapshot->snapshot_id);
        rpc_free(a);
    }
    CHECK(id && strncmp(id, "offsite#", 8) == 0);
    return id;
}

static size_t snapshots(void)
{
    Csi__V1__ListSnapshotsRequest q = CSI__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    Csi__V1__ListSnapshotsResponse *a = RPC(Controller, ListSnapshots, &q, 0);
    size_t n = a->n_entries;

    rpc_free(a);
    return n;
}

/* Its recovery point is anybody's; the snapshot that it is of lies on one node, which is to know when it is deleted. */
TEST(test_route__a_recovery_point_is_deleted_by_the_node_that_took_it)
{
    Csi__V1__GetSnapshotRequest g = CSI__V1__GET_SNAPSHOT_REQUEST__INIT;
    char *id, *point[2];

    start_after(repository);
    ask_of(2);
    id = make_on("node-2", "pvc-point");
    for (size_t i = 0; i < 2; i++)
        point[i] = uploaded(id, i ? "snap-two" : "snap-one");
    CHECK(points_in("repo") == 2 && snapshots() == 2);
    g.snapshot_id = point[0];
    rpc_free(RPC(Controller, GetSnapshot, &g, 0));
    CHECK_EQ(delete_snapshot(point[0]), 0);
    CHECK(points_in("repo") == 1 && snapshots() == 1);
    RPC(Controller, GetSnapshot, &g, GRPC_NOT_FOUND);
    CHECK_EQ(delete_snapshot(point[0]), 0);
    end(&far.n[1].csi, SIGKILL);
    CHECK_EQ(delete_snapshot(point[1]), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "node-2"));
    CHECK_EQ(delete_snapshot(point[0]), GRPC_UNAVAILABLE); /* it may have been of that one */
    CHECK_EQ(points_in("repo"), 1);
    node_begin(&far.n[1]);
    pause_ms(1100);
    CHECK_EQ(delete_snapshot(point[1]), 0);
    CHECK_EQ(points_in("repo"), 0);
    for (size_t i = 0; i < 2; i++)
        free(point[i]);
    free(id);
    stop();
}

static char *make_mobile(const char *name)
{
    static Csi__V1__CreateVolumeRequest__ParametersEntry e[2], *es[] = {&e[0], &e[1]};
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__CreateVolumeRequest q;
    struct cap c;

    create_request(&q, &c, name, RWOP);
    for (size_t i = 0; i < 2; i++)
        csi__v1__create_volume_request__parameters_entry__init(&e[i]);
    e[0].key = text("mobility");
    e[0].value = text("repository");
    e[1].key = text("repository");
    e[1].value = text("offsite");
    q.capacity_range = &range;
    range.required_bytes = GIB;
    q.parameters = es;
    q.n_parameters = 2;
    return create_volume(&q);
}

/* The driver looks after its copies once something was deleted: it says ABORTED while it does. */
static int delete_in_the_end(const char *id)
{
    int r = GRPC_ABORTED;

    for (int i = 0; i < 500 && (r = delete_volume(id)) == GRPC_ABORTED; i++)
        pause_ms(20);
    return r;
}

TEST(test_route__a_volume_that_moves_is_asked_of_the_node_whose_copy_counts)
{
    char *id, *snap;

    start_after(repository);
    ask_of(1);
    id = make_mobile("pvc-moves"); /* on the second node */
    ask_of(2);
    CHECK_EQ(size_of(id), GIB);
    CHECK_EQ(expand(id, 2 * GIB), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "no pod on node node-2 uses the volume"));
    snap = make_snapshot(id, "snap-moves");
    ask_of(0);
    CHECK_EQ(expand(id, 2 * GIB), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "is of another store than that of node"));
    ask_of(2);
    CHECK_EQ(delete_snapshot(snap), 0);
    CHECK_EQ(delete_in_the_end(id), 0);
    CHECK_EQ(points_in("repo"), 0);
    CHECK_EQ(expand(id, 2 * GIB), GRPC_UNAVAILABLE);
    free(id);
    free(snap);
    stop();
}

/* --- nodes that come and go -------------------------------------------------------------------------------------------------- */

static void *expand_slowly(const char *id, struct client *c, struct call **k)
{
    Csi__V1__ControllerExpandVolumeRequest q = CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;

    q.volume_id = text(id);
    q.capacity_range = &range;
    range.required_bytes = 3 * GIB;
    client_open(c, far.sock);
    *k = rpc_begin(c, "/csi.v1.Controller/ControllerExpandVolume", &q, NULL);
    for (int i = 0; i < 50; i++, pause_ms(20)) /* a second: it is at the node by then */
        client_turn(c, 0);
    return c;
}

TEST(test_route__a_node_that_dies_in_a_call_is_asked_again_when_it_is_back)
{
    struct client *c = malloc(sizeof(*c));
    struct call *k;
    char *id;

    start();
    ask_of(2);
    id = make_on("node-1", "pvc-dies");
    kill(far.n[0].csi, SIGSTOP); /* it takes the call, and says nothing */
    expand_slowly(id, c, &k);
    CHECK(!k->closed);
    end(&far.n[0].csi, SIGKILL);
    CHECK(client_wait(c, k, 20000));
    CHECK_EQ(k->status, GRPC_UNAVAILABLE);
    CHECK(strstr(k->message, "node-1"));
    client_close(c);
    CHECK_EQ(expand(id, 3 * GIB), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "node-1") && strstr(rig.why, "nobody listens"));
    snprintf(far.n[0].address, sizeof(far.n[0].address), "127.0.0.1:%u",
             port_free()); /* as a pod has another */
    node_begin(&far.n[0]);
    nodes_put(2);
    pause_ms(1100);
    CHECK_EQ(expand(id, 3 * GIB), 0);
    end(&far.n[0].csi, SIGTERM);
    snprintf(far.n[0].address, sizeof(far.n[0].address), "127.0.0.1:%u", port_free());
    node_begin(&far.n[0]);
    nodes_put(2);
    pause_ms(1100);
    CHECK_EQ(expand(id, 3 * GIB), 0); /* at once */
    end(&far.n[0].serve, SIGINT);
    CHECK_EQ(expand(id, 4 * GIB), GRPC_UNAVAILABLE);
    serve_begin(&far.n[0]);
    CHECK_EQ(expand(id, 4 * GIB), 0);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    free(c);
    stop();
}

static bool log_says(const char *what)
{
    bool says = false;

    for (int i = 0; i < 200 && !says; i++, pause_ms(10)) {
        cleanup(buf_free) struct buf b = {0};

        CHECK_OK(io_read_file(io_real(), rig.log, 64 << 20, &b));
        says = strstr(buf_cstr(&b), what) != NULL;
    }
    return says;
}

TEST(test_route__who_waits_no_more_keeps_no_node_busy)
{
    struct client *c = malloc(sizeof(*c));
    struct call *k;
    char *id;

    start();
    ask_of(2);
    id = make_on("node-1", "pvc-gone");
    kill(far.n[0].csi, SIGSTOP);
    expand_slowly(id, c, &k);
    client_cancel(c, k);
    CHECK(log_says("refused method=/csi.v1.Controller/ControllerExpandVolume code=CANCELLED"));
    kill(far.n[0].csi, SIGCONT);
    CHECK_EQ(delete_in_the_end(id), 0);
    client_close(c);
    free(c);
    free(id);
    stop();
}

TEST(test_route__a_large_cluster_is_taken_whole_or_not_at_all)
{
    Csi__V1__ListVolumesRequest q = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    cleanup(buf_free) struct buf b = {0};
    struct rlimit files, was;
    size_t pages;

    start();
    end(&far.csi, SIGTERM);
    for (unsigned i = 0; i <= 5000; i++)
        CHECK_OK(buf_printf(&b, "worker-%u 127.0.0.1:1\n", i));
    CHECK_OK(io_replace(io_real(), far.nodes, b.data, b.len));
    CHECK(getrlimit(RLIMIT_NOFILE, &was) == 0);
    CHECK(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 512, .rlim_max = was.rlim_max}) == 0);
    control_begin();
    CHECK(setrlimit(RLIMIT_NOFILE, &was) == 0);
    ask_of(2);
    RPC(Controller, ListVolumes, &q, GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "no node is known: there are more than 5000 nodes"));
    CHECK(prlimit(far.csi, RLIMIT_NOFILE, NULL, &files) == 0 && files.rlim_cur == was.rlim_max);
    nodes_put(2);
    pause_ms(1100);
    CHECK_EQ(list_all(0, &pages), 2);
    stop();
}

/* --- streams ----------------------------------------------------------------------------------------------------------------- */

TEST(test_route__streams_come_from_the_snapshots_node)
{
    Csi__V1__GetMetadataAllocatedRequest q = CSI__V1__GET_METADATA_ALLOCATED_REQUEST__INIT;
    Csi__V1__GetMetadataDeltaRequest d = CSI__V1__GET_METADATA_DELTA_REQUEST__INIT;
    char *id, *a, *b;

    start();
    ask_of(2);
    id = make_on("node-2", "pvc-stream");
    a = make_snapshot(id, "snap-1");
    b = make_snapshot(id, "snap-2");
    q.snapshot_id = a;
    rpc_free(RPC(SnapshotMetadata, GetMetadataAllocated, &q, 0));
    d.base_snapshot_id = a;
    d.target_snapshot_id = b;
    rpc_free(RPC(SnapshotMetadata, GetMetadataDelta, &d, 0));
    q.starting_offset = -1;
    RPC(SnapshotMetadata, GetMetadataAllocated, &q, GRPC_OUT_OF_RANGE);
    free(id);
    free(a);
    free(b);
    stop();
}

/* --- who may ask what -------------------------------------------------------------------------------------------------------- */

static int nothing(void *arg, const uint8_t *p, size_t len)
{
    (void)arg;
    (void)p;
    (void)len;
    return 0;
}

static int far_status(struct grpc_link *l, const char *path)
{
    struct grpc_ask q = {.path = path, .deadline_ns = clock_mono_ns() + 10000000000};
    struct grpc_taking t = {.fn = nothing};
    struct grpc_asked *a;
    struct grpc_said said;

    CHECK_OK(grpc_asked_new(l, &q, &a));
    grpc_asked_wait(a, &t, &said);
    grpc_asked_free(a);
    CHECK(said.told);
    return (int)said.code;
}

TEST(test_route__a_controller_cannot_do_what_is_the_kubelets)
{
    struct grpc_client_settings o = {.files = NULL};
    struct grpc_client *c;
    struct grpc_link *l;

    start();
    CHECK_OK(tls_files_new(far.control, "csi.varve.io", TLS_CONTROLLER, &o.files));
    CHECK_OK(grpc_client_new(&o, &c));
    CHECK_OK(grpc_link_new(c, far.n[0].address, &l));
    CHECK_EQ(far_status(l, "/csi.v1.Identity/Probe"), 0);
    CHECK_EQ(far_status(l, "/csi.v1.Node/NodeGetInfo"), GRPC_UNIMPLEMENTED);
    CHECK_EQ(far_status(l, "/csi.v1.Node/NodePublishVolume"), GRPC_UNIMPLEMENTED);
    CHECK_EQ(far_status(l, "/pluginregistration.Registration/GetInfo"), GRPC_UNIMPLEMENTED);
    grpc_link_free(l);
    grpc_client_free(c);
    ask_of(2);
    CHECK_EQ(rpc_status("/csi.v1.Node/NodeGetInfo",
                        &(Csi__V1__NodeGetInfoRequest)CSI__V1__NODE_GET_INFO_REQUEST__INIT),
             GRPC_UNIMPLEMENTED);
    stop();
}

/* In KiB. */
static long memory_of(pid_t pid)
{
    cleanup(buf_free) struct buf b = {0};
    const char *at;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    CHECK_OK(io_read_file(io_real(), path, 1 << 20, &b));
    at = strstr(buf_cstr(&b), "VmHWM:");
    return at ? strtol(at + 6, NULL, 10) : 0;
}

/* A cluster of which no node can be asked: each call says so. */
TEST(test_route__who_is_away_takes_a_sentence_not_the_memory)
{
    struct csi_call k = {.code = GRPC_OK};
    struct csi_places ps = {.n = 5000, .p = calloc(5000, sizeof(*ps.p))};
    struct mallinfo2 was = mallinfo2(), is;
    const char *s;

    for (size_t i = 0; i < ps.n; i++)
        ps.p[i] =
            (struct csi_place){.name = "worker-0", .address = "10.0.0.7:9812", .why = "it does not answer"};
    s = csi_places_away(&k, &ps);
    is = mallinfo2();
    CHECK(s && strstr(s, "worker-0 (10.0.0.7:9812): it does not answer; node worker-0") &&
          strstr(s, " more"));
    CHECK(strlen(s) < 400);
    CHECK(is.uordblks + is.hblkhd < was.uordblks + was.hblkhd + (1u << 20));
    arena_free(&k.arena);
    free(ps.p);
}

TEST(test_route__what_is_announced_and_what_it_costs)
{
    Csi__V1__DeleteSnapshotRequest__SecretsEntry e = CSI__V1__DELETE_SNAPSHOT_REQUEST__SECRETS_ENTRY__INIT,
                                                 *es[] = {&e};
    Csi__V1__DeleteSnapshotRequest d = CSI__V1__DELETE_SNAPSHOT_REQUEST__INIT;
    Csi__V1__GetPluginInfoRequest i = CSI__V1__GET_PLUGIN_INFO_REQUEST__INIT;
    Csi__V1__ProbeRequest p = CSI__V1__PROBE_REQUEST__INIT;
    Csi__V1__GetPluginInfoResponse *info;
    Csi__V1__ProbeResponse *probe;
    cleanup(buf_free) struct buf log = {0};
    size_t pages;

    start();
    ask_of(2);
    info = RPC(Identity, GetPluginInfo, &i, 0);
    CHECK(strcmp(info->name, "csi.varve.io") == 0 && info->n_manifest == 0);
    rpc_free(info);
    probe = RPC(Identity, Probe, &p, 0);
    CHECK(probe->ready && probe->ready->value);
    rpc_free(probe);
    CHECK_EQ(list_all(0, &pages), 2);
    e.key = text("passphrase");
    e.value = text("the-secret-of-the-class");
    d.secrets = es;
    d.n_secrets = 1;
    d.snapshot_id = text("offsite#0123456789abcdef");
    CHECK(rpc_status("/csi.v1.Controller/DeleteSnapshot", &d) != 0);
    if (!getenv("ASAN_OPTIONS") && !getenv("TSAN_OPTIONS"))
        CHECK(memory_of(far.csi) < 15 * 1024 && memory_of(far.n[0].csi) < 15 * 1024);
    printf("    controller %ld KiB, node %ld KiB\n", memory_of(far.csi), memory_of(far.n[0].csi));
    for (size_t n = 0; n < 2; n++)
        end(&far.n[n].csi, SIGTERM);
    end(&far.csi, SIGTERM);
    CHECK_OK(io_read_file(io_real(), rig.log, 1 << 20, &log));
    CHECK(strstr(buf_cstr(&log), "refused method=/csi.v1.Controller/DeleteSnapshot"));
    CHECK(!strstr(buf_cstr(&log), "the-secret"));
    stop();
}
