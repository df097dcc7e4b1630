/* varve-csi with a daemon and a store: what csi-sanity does not ask. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "tests/csi/rig.h"

#define GIB ((int64_t)1 << 30)
#define OTHERS 40

static char *path_in(const char *dir, const char *name)
{
    static char path[4][600];
    static unsigned which;
    char *p = path[which++ % 4];

    snprintf(p, 600, "%s/%s", dir, name);
    return p;
}

static int put_file(const char *path, const char *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ssize_t n = fd < 0 ? -1 : write(fd, bytes, strlen(bytes));

    if (fd >= 0)
        close(fd);
    return n < 0 ? -errno : 0;
}

static bool has_file(const char *path, const char *bytes)
{
    cleanup(buf_free) struct buf b = {0};

    return io_read_file(io_real(), path, 1 << 20, &b) == 0 && b.len == strlen(bytes) &&
           memcmp(b.data, bytes, b.len) == 0;
}

static void nothing_left(void)
{
    struct timespec wait = {.tv_nsec = 20000000};
    char what[1024];
    bool left = true;

    for (int i = 0; i < 500 && left; i++, nanosleep(&wait, NULL)) /* what is retired goes behind */
        left = rig_left(what, sizeof(what));
    if (left)
        test_fail(__FILE__, __LINE__, "left over: %s", what);
}

static void bring_up(const char *id)
{
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    CHECK_EQ(publish_as(id, rig.stage, rig.target, SNW, false), 0);
}

static void take_down(const char *id)
{
    CHECK_EQ(unpublish(id, rig.target), 0);
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK(access(rig.target, F_OK) < 0);
}

TEST(test_csi__a_volume_lives_through_driver_and_daemon)
{
    char *id, *again;
    struct stat st;

    rig_start(NULL);
    id = make_volume("pvc-life", GIB);
    bring_up(id);
    CHECK_OK(put_file(path_in(rig.target, "f"), "kept"));
    CHECK(stat(path_in(rig.target, ".snapshots"), &st) == 0);
    rig_csi_end(SIGKILL);
    CHECK(has_file(path_in(rig.target, "f"), "kept"));
    rig_csi_start(NULL);
    kill(rig_daemon(), SIGKILL);
    CHECK(has_file(path_in(rig.target, "f"), "kept"));
    again = make_volume("pvc-life", GIB);
    CHECK(strcmp(id, again) == 0);
    bring_up(id);
    CHECK_EQ(delete_volume(id), GRPC_FAILED_PRECONDITION);
    CHECK(strncmp(rig.why, "volume_id: ", 11) == 0);
    take_down(id);
    take_down(id);
    CHECK_EQ(delete_volume(id), 0);
    CHECK_EQ(delete_volume(id), 0);
    nothing_left();
    free(id);
    free(again);
    rig_stop();
}

/* --- two at once ---------------------------------------------------------------------------------------------------------- */

TEST(test_csi__two_calls_at_work_on_one_volume_are_one_too_many)
{
    static const char path[] = "/csi.v1.Controller/CreateVolume";
    struct client *c = malloc(sizeof(*c));
    Csi__V1__CreateVolumeRequest q;
    struct call *first, *second, *late;
    struct cap cap;
    pid_t daemon;
    char *id;

    rig_start(NULL);
    create_request(&q, &cap, "pvc-twice", SNW);
    daemon = rig_daemon();
    client_open(c, rig.sock);
    kill(daemon, SIGSTOP);
    first = rpc_begin(c, path, &q, NULL);
    for (int i = 0; i < 20; i++)
        client_turn(c, 10);
    second = rpc_begin(c, path, &q, NULL);
    CHECK(client_wait(c, second, 10000));
    CHECK_EQ(second->status, GRPC_ABORTED);
    CHECK(strncmp(second->message, "name: ", 6) == 0);
    q.name = text("pvc-other");
    late = rpc_begin(c, path, &q, "200m");
    CHECK(client_wait(c, late, 10000));
    CHECK_EQ(late->status, GRPC_DEADLINE_EXCEEDED);
    kill(daemon, SIGCONT);
    CHECK(client_wait(c, first, 30000));
    CHECK_EQ(first->status, 0);
    client_close(c);
    free(c);
    id = make_volume("pvc-again", 0);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    rig_stop();
}

/* Killed while the daemon is at work: what is half done is gone on with. */
TEST(test_csi__a_driver_killed_half_way_is_followed_by_one_that_goes_on)
{
    char name[64], *id, *copy, *twice;

    rig_start(NULL);
    id = make_volume("pvc-source", GIB);
    for (int i = 0; i < 4; i++) {
        struct client *c = malloc(sizeof(*c));
        Csi__V1__CreateVolumeRequest q;
        Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
        Csi__V1__VolumeContentSource from = CSI__V1__VOLUME_CONTENT_SOURCE__INIT;
        Csi__V1__VolumeContentSource__VolumeSource v = CSI__V1__VOLUME_CONTENT_SOURCE__VOLUME_SOURCE__INIT;
        struct timespec wait = {.tv_nsec = i * 1500000};
        struct cap cap;

        snprintf(name, sizeof(name), "pvc-half-%d", i);
        create_request(&q, &cap, name, SNW);
        range.required_bytes = 2 * GIB;
        q.capacity_range = &range;
        v.volume_id = id;
        from.type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
        from.volume = &v;
        q.volume_content_source = &from;
        client_open(c, rig.sock);
        rpc_begin(c, "/csi.v1.Controller/CreateVolume", &q, NULL);
        client_turn(c, 0);
        nanosleep(&wait, NULL);
        rig_csi_end(SIGKILL);
        client_close(c);
        free(c);
        rig_csi_start(NULL);
        copy = make_copy(name, 2 * GIB, id, NULL);
        twice = make_copy(name, 2 * GIB, id, NULL);
        CHECK(strcmp(copy, twice) == 0);
        CHECK_EQ(delete_volume(copy), 0);
        free(copy);
        free(twice);
    }
    CHECK_EQ(delete_volume(id), 0);
    nothing_left();
    free(id);
    rig_stop();
}

/* --- snapshots ------------------------------------------------------------------------------------------------------------ */

TEST(test_csi__a_snapshot_outlives_its_volume_and_a_copy_its_source)
{
    Csi__V1__ListVolumesRequest lv = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    Csi__V1__ListSnapshotsRequest ls = CSI__V1__LIST_SNAPSHOTS_REQUEST__INIT;
    Csi__V1__ListSnapshotsResponse *snaps;
    Csi__V1__ListVolumesResponse *vols;
    char *id, *snap, *copy, what[1024];

    rig_start(NULL);
    id = make_volume("pvc-old", GIB);
    bring_up(id);
    CHECK_OK(put_file(path_in(rig.target, "f"), "then"));
    snap = make_snapshot(id, "snapshot-1");
    CHECK_OK(put_file(path_in(rig.target, "f"), "later"));
    take_down(id);
    CHECK_EQ(delete_volume(id), 0);
    vols = RPC(Controller, ListVolumes, &lv, 0);
    CHECK_EQ(vols->n_entries, 1); /* main */
    snaps = RPC(Controller, ListSnapshots, &ls, 0);
    CHECK(snaps->n_entries == 1 && strcmp(snaps->entries[0]->snapshot->snapshot_id, snap) == 0);
    CHECK_EQ(snaps->entries[0]->snapshot->n_accessible_topology, 1);
    ls.snapshot_id = text(snap);
    ls.starting_token = text("11111111-2222-4333-8444-555555555555");
    CHECK_EQ(rpc_status("/csi.v1.Controller/ListSnapshots", &ls), GRPC_ABORTED);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), GRPC_NOT_FOUND);
    copy = make_copy("pvc-new", 2 * GIB, NULL, snap);
    CHECK_EQ(delete_snapshot(snap), 0);
    CHECK(rig_left(what, sizeof(what)));
    bring_up(copy);
    CHECK(has_file(path_in(rig.target, "f"), "then"));
    take_down(copy);
    CHECK_EQ(delete_volume(copy), 0); /* and with it what was retired for it */
    nothing_left();
    rpc_free(snaps);
    rpc_free(vols);
    free(id);
    free(snap);
    free(copy);
    rig_stop();
}

TEST(test_csi__a_group_is_taken_once_and_whole)
{
    Csi__V1__CreateVolumeGroupSnapshotRequest q = CSI__V1__CREATE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__DeleteVolumeGroupSnapshotRequest d = CSI__V1__DELETE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__GetVolumeGroupSnapshotRequest g = CSI__V1__GET_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__CreateVolumeGroupSnapshotResponse *a, *b;
    Csi__V1__GetVolumeGroupSnapshotResponse *got;
    Csi__V1__CreateSnapshotRequest s = CSI__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    char *ids[3];

    rig_start(NULL);
    ids[0] = make_volume("pvc-a", GIB);
    ids[1] = make_volume("pvc-b", GIB);
    ids[2] = make_volume("pvc-c", GIB);
    q.name = text("groupsnapshot-1");
    q.source_volume_ids = ids;
    q.n_source_volume_ids = 2;
    a = RPC(GroupController, CreateVolumeGroupSnapshot, &q, 0);
    CHECK(a->group_snapshot->n_snapshots == 2 && a->group_snapshot->ready_to_use);
    b = RPC(GroupController, CreateVolumeGroupSnapshot, &q, 0);
    CHECK(strcmp(a->group_snapshot->group_snapshot_id, b->group_snapshot->group_snapshot_id) == 0);
    q.n_source_volume_ids = 3;
    RPC(GroupController, CreateVolumeGroupSnapshot, &q, GRPC_ALREADY_EXISTS);
    q.n_source_volume_ids = 1;
    RPC(GroupController, CreateVolumeGroupSnapshot, &q, GRPC_ALREADY_EXISTS);
    s.name = q.name;
    s.source_volume_id = ids[2];
    RPC(Controller, CreateSnapshot, &s, GRPC_ALREADY_EXISTS);
    g.group_snapshot_id = a->group_snapshot->group_snapshot_id;
    got = RPC(GroupController, GetVolumeGroupSnapshot, &g, 0);
    CHECK_EQ(got->group_snapshot->n_snapshots, 2);
    g.n_snapshot_ids = 1;
    g.snapshot_ids = ids; /* a volume's id */
    RPC(GroupController, GetVolumeGroupSnapshot, &g, GRPC_INVALID_ARGUMENT);
    CHECK_EQ(delete_volume(ids[0]), 0); /* retired until the group goes */
    d.group_snapshot_id = a->group_snapshot->group_snapshot_id;
    rpc_free(RPC(GroupController, DeleteVolumeGroupSnapshot, &d, 0));
    rpc_free(RPC(GroupController, DeleteVolumeGroupSnapshot, &d, 0));
    CHECK_EQ(delete_volume(ids[1]), 0);
    CHECK_EQ(delete_volume(ids[2]), 0);
    nothing_left();
    rpc_free(a);
    rpc_free(b);
    rpc_free(got);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        free(ids[i]);
    rig_stop();
}

/* A group that was deleted half: the driver was killed, or one of its members was in use. */
TEST(test_csi__half_a_group_is_deleted_by_asking_again)
{
    Csi__V1__CreateVolumeGroupSnapshotRequest q = CSI__V1__CREATE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__DeleteVolumeGroupSnapshotRequest d = CSI__V1__DELETE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__CreateVolumeGroupSnapshotResponse *a;
    char *ids[2], *gone[2], *other;

    rig_start(NULL);
    ids[0] = make_volume("pvc-half-a", GIB);
    ids[1] = make_volume("pvc-half-b", GIB);
    other = make_snapshot(ids[0], "snapshot-of-no-group");
    q.name = text("group-half");
    q.source_volume_ids = ids;
    q.n_source_volume_ids = 2;
    a = RPC(GroupController, CreateVolumeGroupSnapshot, &q, 0);
    d.group_snapshot_id = a->group_snapshot->group_snapshot_id;
    d.snapshot_ids = gone;
    d.n_snapshot_ids = 2;
    gone[0] = other;
    gone[1] = a->group_snapshot->snapshots[1]->snapshot_id;
    RPC(GroupController, DeleteVolumeGroupSnapshot, &d, GRPC_INVALID_ARGUMENT);
    gone[0] = a->group_snapshot->snapshots[0]->snapshot_id;
    CHECK_EQ(delete_snapshot(gone[0]), 0); /* so far the first call came */
    for (int i = 0; i < 2; i++)
        rpc_free(RPC(GroupController, DeleteVolumeGroupSnapshot, &d, 0));
    CHECK_EQ(delete_snapshot(other), 0);
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(delete_volume(ids[i]), 0);
        free(ids[i]);
    }
    nothing_left();
    free(other);
    rpc_free(a);
    rig_stop();
}

/* A namespace goes: groups and volumes at once. A volume that is retired meanwhile has another name, and its snapshot goes all the same. */
TEST(test_csi__a_volume_retired_meanwhile_loses_its_snapshot)
{
    Csi__V1__CreateVolumeGroupSnapshotRequest q = CSI__V1__CREATE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__DeleteVolumeGroupSnapshotRequest d = CSI__V1__DELETE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__CreateVolumeGroupSnapshotResponse *a;
    struct client *c = malloc(sizeof(*c));
    char *ids[OTHERS], *snaps[OTHERS], name[32];
    struct call *k;

    rig_start(NULL);
    for (size_t i = 0; i < OTHERS; i++) { /* so that looking takes a while */
        snprintf(name, sizeof(name), "pvc-other-%zu", i);
        ids[i] = make_volume(name, GIB);
        snaps[i] = make_snapshot(ids[i], name);
    }
    for (int round = 0; round < 8; round++) {
        char *of[2];

        of[0] = make_volume("pvc-meanwhile-a", GIB);
        of[1] = make_volume("pvc-meanwhile-b", GIB);
        q.name = text("group-meanwhile");
        q.source_volume_ids = of;
        q.n_source_volume_ids = 2;
        a = RPC(GroupController, CreateVolumeGroupSnapshot, &q, 0);
        d.group_snapshot_id = a->group_snapshot->group_snapshot_id;
        client_open(c, rig.sock);
        k = rpc_begin(c, "/csi.v1.GroupController/DeleteVolumeGroupSnapshot", &d, NULL);
        client_turn(c, 0);
        pause_ms(round);
        for (size_t i = 0; i < 2; i++) {
            CHECK_EQ(delete_volume(of[i]), 0);
            free(of[i]);
        }
        CHECK(client_wait(c, k, 10000));
        CHECK_EQ(k->status, 0);
        client_close(c);
        rpc_free(a);
    }
    for (size_t i = 0; i < OTHERS; i++) {
        CHECK_EQ(delete_snapshot(snaps[i]), 0);
        CHECK_EQ(delete_volume(ids[i]), 0);
        free(snaps[i]);
        free(ids[i]);
    }
    nothing_left();
    free(c);
    rig_stop();
}

/* --- a node's paths ------------------------------------------------------------------------------------------------------- */

TEST(test_csi__who_may_write_where)
{
    char other[300], *id;

    rig_start(NULL);
    snprintf(other, sizeof(other), "%s-2", rig.target);
    id = make_volume("pvc-modes", GIB);
    CHECK_EQ(publish_as(id, rig.stage, rig.target, SNW, false), GRPC_FAILED_PRECONDITION); /* not staged */
    CHECK_EQ(stage_as(id, rig.stage, RWX, NULL, NULL), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(stage_as(id, rig.stage, RWOP, NULL, NULL), 0);
    CHECK_EQ(publish_as(id, rig.stage, rig.target, RWOP, false), 0);
    CHECK_EQ(publish_as(id, rig.stage, rig.target, RWOP, false), 0);
    CHECK_EQ(publish_as(id, rig.stage, other, RWOP, false), GRPC_FAILED_PRECONDITION);
    CHECK_OK(put_file(path_in(rig.target, "f"), "x"));
    CHECK_EQ(publish_as(id, rig.stage, rig.target, RWOP, true), GRPC_ALREADY_EXISTS);
    CHECK(strncmp(rig.why, "readonly: ", 10) == 0);
    CHECK_EQ(publish_as(id, rig.stage, other, SNW, true), 0);
    CHECK(has_file(path_in(other, "f"), "x"));
    CHECK_EQ(put_file(path_in(other, "f"), "y"), -EROFS);
    CHECK_EQ(unpublish(id, other), 0);
    CHECK_EQ(publish_as(id, rig.stage, other, ROX, false), 0);
    CHECK_EQ(put_file(path_in(other, "f"), "y"), -EROFS);
    CHECK_EQ(unpublish(id, other), 0);
    take_down(id);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    rig_stop();
}

TEST(test_csi__options_and_groups_of_a_mount)
{
    struct stat st;
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-options", GIB);
    CHECK_EQ(stage_as(id, rig.stage, SNW, "no_such_option", NULL), GRPC_INVALID_ARGUMENT);
    CHECK(strstr(rig.why, "no_such_option"));
    CHECK_EQ(stage_as(id, rig.stage, SNW, "a,b", NULL), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, "wheel"), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(stage_as(id, rig.stage, SNW, "snapdir=visible", "4242"), 0);
    CHECK(stat(rig.stage, &st) == 0 && st.st_gid == 4242 && (st.st_mode & 02070) == 02070);
    CHECK_EQ(stage_as(id, path_in(rig.store, "none/stage"), SNW, NULL, NULL), GRPC_FAILED_PRECONDITION);
    CHECK(strncmp(rig.why, "staging_target_path: ", 21) == 0);
    CHECK_EQ(stage_as(id, "relative", SNW, NULL, NULL), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    rig_stop();
}

/* The kubelet stages a volume once, and publishes it to each pod with that pod's group. */
TEST(test_csi__a_pod_of_another_group_writes_too)
{
    Csi__V1__NodePublishVolumeRequest q = CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;
    struct stat st;
    struct cap c;
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-pods", GIB);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    CHECK(stat(rig.stage, &st) == 0 && st.st_gid == 0);
    cap_init(&c, SNW);
    c.mount.volume_mount_group = text("4242");
    q.volume_id = id;
    q.staging_target_path = rig.stage;
    q.target_path = rig.target;
    q.volume_capability = &c.cap;
    CHECK_EQ(rpc_status("/csi.v1.Node/NodePublishVolume", &q), 0);
    CHECK(stat(rig.target, &st) == 0 && st.st_gid == 4242 && (st.st_mode & 02070) == 02070);
    CHECK_EQ(unpublish(id, rig.target), 0);
    c.mount.volume_mount_group = text("4243"); /* who only reads changes nothing */
    q.readonly = true;
    CHECK_EQ(rpc_status("/csi.v1.Node/NodePublishVolume", &q), 0);
    CHECK(stat(rig.target, &st) == 0 && st.st_gid == 4242);
    CHECK_EQ(unpublish(id, rig.target), 0);
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    rig_stop();
}

/* The kubelet's directory is often a link to a larger disk. */
TEST(test_csi__paths_may_lead_through_links)
{
    char dir[300], way[300], stage[300], target[300], *id;

    rig_start(NULL);
    snprintf(dir, sizeof(dir), "%s-real", rig.stage);
    snprintf(way, sizeof(way), "%s-link", rig.stage);
    CHECK(mkdir(dir, 0755) == 0 && symlink(dir, way) == 0);
    snprintf(stage, sizeof(stage), "%.280s//stage/", way);
    snprintf(target, sizeof(target), "%.280s/target", way);
    id = make_volume("pvc-links", GIB);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(stage_as(id, stage, SNW, NULL, NULL), 0);
        CHECK_EQ(publish_as(id, stage, target, SNW, false), 0);
    }
    CHECK_EQ(stage_as(id, "/var/../x", SNW, NULL, NULL), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(unpublish(id, target), 0);
    CHECK_EQ(unstage(id, stage), 0);
    CHECK_EQ(delete_volume(id), 0);
    nothing_left();
    free(id);
    rig_stop();
}

/* Keeper and daemon die at once, as at a restart of the node without an unmount: the mount is dead, and is made anew. */
TEST(test_csi__dead_mounts_are_replaced)
{
    struct timespec wait = {.tv_nsec = 10000000};
    struct statvfs st;
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-dead", GIB);
    bring_up(id);
    CHECK_OK(put_file(path_in(rig.target, "f"), "kept"));
    rig_serve_kill();
    for (int i = 0; i < 500 && statvfs(rig.target, &st) == 0; i++)
        nanosleep(&wait, NULL);
    CHECK(statvfs(rig.target, &st) < 0 && errno == ENOTCONN);
    CHECK_EQ(publish_as(id, rig.stage, rig.target, SNW, false), GRPC_UNAVAILABLE);
    rig_serve_start();
    CHECK_EQ(publish_as(id, rig.stage, rig.target, SNW, false), GRPC_FAILED_PRECONDITION);
    bring_up(id);
    CHECK(has_file(path_in(rig.target, "f"), "kept"));
    take_down(id);
    CHECK_EQ(delete_volume(id), 0);
    nothing_left();
    free(id);
    rig_stop();
}

TEST(test_csi__without_a_daemon_it_says_so_and_still_unmounts)
{
    Csi__V1__ProbeRequest p = CSI__V1__PROBE_REQUEST__INIT;
    Csi__V1__NodeGetStorageHealthRequest h = CSI__V1__NODE_GET_STORAGE_HEALTH_REQUEST__INIT;
    Csi__V1__NodeGetStorageHealthResponse *health;
    Csi__V1__ProbeResponse *probe;
    Csi__V1__CreateVolumeRequest q;
    struct cap cap;
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-alone", GIB);
    bring_up(id);
    rig_serve_kill();
    probe = RPC(Identity, Probe, &p, 0);
    CHECK(!probe->ready->value);
    create_request(&q, &cap, "pvc-x", SNW);
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "varve serve"));
    health = RPC(Node, NodeGetStorageHealth, &h, 0);
    CHECK_EQ(health->n_backend_health, 1);
    take_down(id);
    rpc_free(probe);
    rpc_free(health);
    rig_serve_start();
    CHECK_EQ(delete_volume(id), 0);
    nothing_left();
    free(id);
    rig_stop();
}

/* --- words that are not understood ---------------------------------------------------------------------------------------- */

static void entry(Csi__V1__CreateVolumeRequest__ParametersEntry *e, const char *key, const char *value)
{
    csi__v1__create_volume_request__parameters_entry__init(e);
    e->key = text(key);
    e->value = text(value);
}

TEST(test_csi__parameters_are_known_or_refused_by_name)
{
    static const struct {
        const char *key, *value;
        int status;
        const char *says;
    } t[] = {{"profile", "gold", GRPC_INVALID_ARGUMENT, "parameters[profile]: "},
             {"inodes", "many", GRPC_INVALID_ARGUMENT, "parameters[inodes]: "},
             {"inodes", "99999999999999999999", GRPC_INVALID_ARGUMENT, "parameters[inodes]: "},
             {"control", "root", GRPC_INVALID_ARGUMENT, "parameters[control]: "},
             {"inodes", "10K", 0, ""},
             {"snapshotLimit", "1Gi", 0, ""},
             {"control", "read", 0, ""},
             {"csi.storage.k8s.io/pvc/name", "claim", 0, ""}};

    rig_start(NULL);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        Csi__V1__CreateVolumeRequest__ParametersEntry e, *map[] = {&e};
        Csi__V1__CreateVolumeRequest q;
        struct cap cap;
        char name[64];

        snprintf(name, sizeof(name), "pvc-parameter-%zu", i);
        create_request(&q, &cap, name, SNW);
        entry(&e, t[i].key, t[i].value);
        q.parameters = map;
        q.n_parameters = 1;
        if (rpc_status("/csi.v1.Controller/CreateVolume", &q) != t[i].status ||
            strncmp(rig.why, t[i].says, strlen(t[i].says)) != 0)
            test_fail(__FILE__, __LINE__, "%s=%s: %s", t[i].key, t[i].value, rig.why);
    }
    rig_stop();
}

TEST(test_csi__unknown_keys_are_refused)
{
    Csi__V1__ControllerModifyVolumeRequest m = CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__INIT;
    Csi__V1__CreateSnapshotRequest s = CSI__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    Csi__V1__CreateVolumeRequest__ParametersEntry e, *map[] = {&e};
    static const char *const words[][2] = {{"profile", "gold"}, {"colour", "blue"}}; /* a value, a key */
    char *id, why[64];

    rig_start(NULL);
    id = make_volume("pvc-keys", GIB);
    m.volume_id = s.source_volume_id = id;
    s.name = text("snapshot-keys");
    CHECK_EQ(rpc_status("/csi.v1.Controller/ControllerModifyVolume", &m), 0);
    m.mutable_parameters = (Csi__V1__ControllerModifyVolumeRequest__MutableParametersEntry **)map;
    m.n_mutable_parameters = 1;
    s.parameters = (Csi__V1__CreateSnapshotRequest__ParametersEntry **)map;
    s.n_parameters = 1;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        entry(&e, words[i][0], words[i][1]);
        e.base.descriptor = &csi__v1__controller_modify_volume_request__mutable_parameters_entry__descriptor;
        CHECK_EQ(rpc_status("/csi.v1.Controller/ControllerModifyVolume", &m), GRPC_INVALID_ARGUMENT);
        snprintf(why, sizeof(why), "mutable_parameters[%s]: ", words[i][0]);
        CHECK(strncmp(rig.why, why, strlen(why)) == 0);
        e.base.descriptor = &csi__v1__create_snapshot_request__parameters_entry__descriptor;
        CHECK_EQ(rpc_status("/csi.v1.Controller/CreateSnapshot", &s), GRPC_INVALID_ARGUMENT);
        snprintf(why, sizeof(why), "parameters[%s]: ", words[i][0]);
        CHECK(strncmp(rig.why, why, strlen(why)) == 0);
    }
    free(id);
    rig_stop();
}

/* A copy that cannot be as it is asked for leaves nothing. */
TEST(test_csi__what_could_not_be_made_leaves_nothing)
{
    Csi__V1__VolumeContentSource__VolumeSource v = CSI__V1__VOLUME_CONTENT_SOURCE__VOLUME_SOURCE__INIT;
    Csi__V1__VolumeContentSource from = CSI__V1__VOLUME_CONTENT_SOURCE__INIT;
    Csi__V1__CreateVolumeRequest__ParametersEntry e, *map[] = {&e};
    Csi__V1__CreateVolumeRequest q;
    struct cap cap;
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-whole", GIB);
    create_request(&q, &cap, "pvc-part", SNW);
    v.volume_id = id;
    from.type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
    from.volume = &v;
    q.volume_content_source = &from;
    entry(&e, "inodes", "1000");
    q.parameters = map;
    q.n_parameters = 1;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(delete_volume(id), 0);
    nothing_left();
    free(id);
    rig_stop();
}

TEST(test_csi__the_same_name_with_other_wishes_exists_already)
{
    Csi__V1__CreateVolumeRequest__ParametersEntry e, *map[] = {&e};
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__CreateVolumeRequest q;
    struct cap cap;
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-wishes", GIB);
    create_request(&q, &cap, "pvc-wishes", SNW);
    range.required_bytes = GIB;
    q.capacity_range = &range;
    entry(&e, "inodes", "1000");
    q.parameters = map;
    q.n_parameters = 1;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_ALREADY_EXISTS);
    CHECK(strncmp(rig.why, "parameters: ", 12) == 0);
    entry(&e, "csi.storage.k8s.io/pv/name", "x");
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), 0);
    range.required_bytes = 3 * GIB;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_ALREADY_EXISTS);
    CHECK(strncmp(rig.why, "capacity_range: ", 16) == 0);
    range.required_bytes = INT64_MAX;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_OUT_OF_RANGE);
    create_request(&q, &cap, "persons-own", SNW);
    rig_varve("create", path_in(rig.store, "persons-own"), NULL, NULL);
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_ALREADY_EXISTS);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    rig_stop();
}

/* A name that a store could not have, and one that it keeps for itself. */
TEST(test_csi__any_name_will_do)
{
    static const char *const names[] = {"meta",      "main",  "a/b c@d#",          "-o",    "..",
                                        "retired-x", "csi-x", "\xc3\xa9t\xc3\xa9", "--json"};
    char *ids[ARRAY_LEN(names)];

    rig_start(NULL);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *snap, *again;

        ids[i] = make_volume(names[i], GIB);
        again = make_volume(names[i], GIB);
        CHECK(strcmp(ids[i], again) == 0);
        for (size_t n = 0; n < i; n++)
            CHECK(strcmp(ids[i], ids[n]) != 0);
        snap = make_snapshot(ids[i], names[i]);
        CHECK_EQ(delete_snapshot(snap), 0);
        free(snap);
        free(again);
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CHECK_EQ(delete_volume(ids[i]), 0);
        free(ids[i]);
    }
    nothing_left();
    rig_stop();
}

TEST(test_csi__secrets_are_in_no_log)
{
    Csi__V1__CreateVolumeRequest__SecretsEntry s = CSI__V1__CREATE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
                                               *ss[] = {&s};
    Csi__V1__CreateVolumeRequest__ParametersEntry e, *map[] = {&e};
    cleanup(buf_free) struct buf log = {0};
    Csi__V1__CreateVolumeRequest q;
    struct cap cap;

    rig_start(NULL);
    create_request(&q, &cap, "pvc-secret", SNW);
    s.key = text("password");
    s.value = text("correct-horse-battery");
    q.secrets = ss;
    q.n_secrets = 1;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), 0);
    entry(&e, "nonsense", "x");
    q.parameters = map;
    q.n_parameters = 1;
    CHECK_EQ(rpc_status("/csi.v1.Controller/CreateVolume", &q), GRPC_INVALID_ARGUMENT);
    rig_csi_end(SIGTERM);
    CHECK_OK(io_read_file(io_real(), rig.log, 1 << 20, &log));
    CHECK(strstr(buf_cstr(&log), "CreateVolume") && strstr(buf_cstr(&log), "INVALID_ARGUMENT"));
    CHECK(!strstr(buf_cstr(&log), "battery") && !strstr(buf_cstr(&log), "password"));
    rig_csi_start(NULL);
    rig_stop();
}

TEST(test_csi__the_kubelet_is_told_name_and_socket)
{
    Pluginregistration__InfoRequest q = PLUGINREGISTRATION__INFO_REQUEST__INIT;
    Pluginregistration__RegistrationStatus s = PLUGINREGISTRATION__REGISTRATION_STATUS__INIT;
    Pluginregistration__PluginInfo *i;

    rig_start("--kubelet-endpoint=/var/lib/kubelet/plugins/csi.varve.io/csi.sock");
    i = rpc("/pluginregistration.Registration/GetInfo", &q, &pluginregistration__plugin_info__descriptor, 0);
    CHECK(strcmp(i->type, "CSIPlugin") == 0 && strcmp(i->name, "csi.varve.io") == 0);
    CHECK(strcmp(i->endpoint, "/var/lib/kubelet/plugins/csi.varve.io/csi.sock") == 0);
    CHECK(i->n_supported_versions == 1 && strcmp(i->supported_versions[0], "1.0.0") == 0);
    rpc_free(i);
    CHECK_EQ(rpc_status("/pluginregistration.Registration/NotifyRegistrationStatus", &s), 0);
    rig_stop();
}
