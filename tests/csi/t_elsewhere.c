/* What is on another node, or is to be there: it is that node's to answer. */
#include <stdlib.h>

#include "tests/csi/rig.h"

#define GIB ((int64_t)1 << 30)

TEST(test_csi__another_node_is_not_here)
{
    Csi__V1__Topology__SegmentsEntry e = CSI__V1__TOPOLOGY__SEGMENTS_ENTRY__INIT, *es[] = {&e};
    Csi__V1__Topology t = CSI__V1__TOPOLOGY__INIT, *ts[] = {&t};
    Csi__V1__TopologyRequirement want = CSI__V1__TOPOLOGY_REQUIREMENT__INIT;
    Csi__V1__GetCapacityRequest g = CSI__V1__GET_CAPACITY_REQUEST__INIT;
    Csi__V1__GetCapacityResponse *room;
    Csi__V1__CreateVolumeRequest q;
    struct cap cap;

    rig_start(NULL);
    e.key = text("topology.csi.varve.io/node");
    e.value = text("node-2");
    t.segments = es;
    t.n_segments = 1;
    want.requisite = ts;
    want.n_requisite = 1;
    create_request(&q, &cap, "pvc-there", SNW);
    q.accessibility_requirements = &want;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_RESOURCE_EXHAUSTED);
    g.accessible_topology = &t;
    room = RPC(Controller, GetCapacity, &g, 0);
    CHECK_EQ(room->available_capacity, 0);
    rpc_free(room);
    e.value = text("node-1");
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), 0);
    room = RPC(Controller, GetCapacity, &g, 0);
    CHECK(room->available_capacity > 0);
    rpc_free(room);
    rig_stop();
}

TEST(test_csi__another_store_is_asked_by_its_own_node)
{
    static char id[] = "6f1e3ab2-0c5d-4e7f-8a9b-1c2d3e4f5a6b/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    Csi__V1__CreateVolumeGroupSnapshotRequest c = CSI__V1__CREATE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__DeleteVolumeGroupSnapshotRequest d = CSI__V1__DELETE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__GetVolumeGroupSnapshotRequest g = CSI__V1__GET_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__ControllerExpandVolumeRequest x = CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
    Csi__V1__ControllerModifyVolumeRequest m = CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    char *ids[] = {id, NULL};

    rig_start(NULL);
    range.required_bytes = GIB;
    x.volume_id = m.volume_id = d.group_snapshot_id = g.group_snapshot_id = id;
    x.capacity_range = &range;
    RPC(Controller, ControllerExpandVolume, &x, GRPC_UNAVAILABLE);
    RPC(Controller, ControllerModifyVolume, &m, GRPC_UNAVAILABLE);
    RPC(GroupController, DeleteVolumeGroupSnapshot, &d, GRPC_UNAVAILABLE);
    RPC(GroupController, GetVolumeGroupSnapshot, &g, GRPC_UNAVAILABLE);
    c.name = text("groupsnapshot-there");
    c.source_volume_ids = ids;
    c.n_source_volume_ids = 1;
    RPC(GroupController, CreateVolumeGroupSnapshot, &c, GRPC_UNAVAILABLE);
    ids[1] = make_volume("pvc-here", GIB); /* of two nodes: refused for good */
    c.n_source_volume_ids = 2;
    RPC(GroupController, CreateVolumeGroupSnapshot, &c, GRPC_NOT_FOUND);
    free(ids[1]);
    rig_stop();
}

/* What a claim is made from may be on another node: the provisioner gives it back, and that of the other node takes it. */
TEST(test_csi__a_copy_of_what_another_node_has_is_made_there)
{
    static char volume[] = "6f1e3ab2-0c5d-4e7f-8a9b-1c2d3e4f5a6b/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    static char snapshot[] = "6f1e3ab2-0c5d-4e7f-8a9b-1c2d3e4f5a6b/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/"
                             "1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    Csi__V1__VolumeContentSource__VolumeSource v = CSI__V1__VOLUME_CONTENT_SOURCE__VOLUME_SOURCE__INIT;
    Csi__V1__VolumeContentSource__SnapshotSource s = CSI__V1__VOLUME_CONTENT_SOURCE__SNAPSHOT_SOURCE__INIT;
    Csi__V1__VolumeContentSource from = CSI__V1__VOLUME_CONTENT_SOURCE__INIT;
    Csi__V1__CreateVolumeRequest q;
    struct cap cap;

    rig_start(NULL);
    create_request(&q, &cap, "pvc-copy", SNW);
    q.volume_content_source = &from;
    v.volume_id = volume;
    from.type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
    from.volume = &v;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_RESOURCE_EXHAUSTED);
    v.volume_id = volume + 37; /* no id of ours */
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_NOT_FOUND);
    s.snapshot_id = snapshot;
    from.type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT;
    from.snapshot = &s;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_RESOURCE_EXHAUSTED);
    rig_stop();
}
