/* Group snapshots that a class uploads: each member is a recovery point. */
#include <signal.h>
#include <stdlib.h>

#include "tests/csi/rig_repo.h"

static Csi__V1__CreateVolumeGroupSnapshotRequest__ParametersEntry param, *params[] = {&param};
static Csi__V1__CreateVolumeGroupSnapshotRequest__SecretsEntry group_secret,
    *group_secrets[] = {&group_secret};

static void ask(Csi__V1__CreateVolumeGroupSnapshotRequest *q, const char *name, char **ids, size_t n,
                const char *profile)
{
    csi__v1__create_volume_group_snapshot_request__init(q);
    csi__v1__create_volume_group_snapshot_request__parameters_entry__init(&param);
    csi__v1__create_volume_group_snapshot_request__secrets_entry__init(&group_secret);
    q->name = text(name);
    q->source_volume_ids = ids;
    q->n_source_volume_ids = n;
    param.key = text("profile");
    param.value = text(profile);
    group_secret.key = text("key");
    group_secret.value = text(REPO_SECRET_TEXT);
    q->parameters = params;
    q->n_parameters = profile ? 1 : 0;
    q->secrets = group_secrets;
    q->n_secrets = 1;
}

static Csi__V1__CreateVolumeGroupSnapshotResponse *group_up(const char *name, char **ids, size_t n)
{
    Csi__V1__CreateVolumeGroupSnapshotRequest q;
    Csi__V1__CreateVolumeGroupSnapshotResponse *a;

    for (int i = 0; i < 500; i++) {
        int r;

        ask(&q, name, ids, n, REPO_CLASS);
        if ((r = rpc_status("/csi.v1.GroupController/CreateVolumeGroupSnapshot", &q)) == GRPC_ABORTED) {
            CHECK(strstr(rig.why, "uploads go on"));
            pause_ms(20);
            continue;
        }
        CHECK_EQ(r, 0);
        a = RPC(GroupController, CreateVolumeGroupSnapshot, &q, 0);
        CHECK_EQ(a->group_snapshot->n_snapshots, n);
        for (size_t s = 0; s < n; s++)
            CHECK(a->group_snapshot->snapshots[s]->ready_to_use);
        CHECK(a->group_snapshot->ready_to_use && points_in("repo") >= n);
        return a;
    }
    test_fail(__FILE__, __LINE__, "%s does not become ready", name);
    return NULL;
}

static int group_delete(const Csi__V1__VolumeGroupSnapshot *g)
{
    Csi__V1__DeleteVolumeGroupSnapshotRequest d = CSI__V1__DELETE_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    char *ids[4];

    d.group_snapshot_id = g->group_snapshot_id;
    for (size_t i = 0; i < g->n_snapshots; i++)
        ids[i] = g->snapshots[i]->snapshot_id;
    d.snapshot_ids = ids;
    d.n_snapshot_ids = g->n_snapshots;
    d.secrets = (Csi__V1__DeleteVolumeGroupSnapshotRequest__SecretsEntry **)(void *)group_secrets;
    d.n_secrets = 1;
    return rpc_status("/csi.v1.GroupController/DeleteVolumeGroupSnapshot", &d);
}

/* As many members as are told; all of them have to be ready. */
static size_t group_get(const Csi__V1__VolumeGroupSnapshot *g, bool ids_too)
{
    Csi__V1__GetVolumeGroupSnapshotRequest q = CSI__V1__GET_VOLUME_GROUP_SNAPSHOT_REQUEST__INIT;
    Csi__V1__GetVolumeGroupSnapshotResponse *a;
    char *ids[4];
    size_t n;

    q.group_snapshot_id = g->group_snapshot_id;
    for (size_t i = 0; i < g->n_snapshots; i++)
        ids[i] = g->snapshots[i]->snapshot_id;
    q.snapshot_ids = ids;
    q.n_snapshot_ids = ids_too ? g->n_snapshots : 0;
    q.secrets = (Csi__V1__GetVolumeGroupSnapshotRequest__SecretsEntry **)(void *)group_secrets;
    q.n_secrets = 1;
    a = RPC(GroupController, GetVolumeGroupSnapshot, &q, 0);
    n = a->group_snapshot->n_snapshots;
    CHECK(a->group_snapshot->ready_to_use && a->group_snapshot->creation_time->seconds > 1000000000);
    for (size_t i = 0; i < n; i++)
        CHECK(strcmp(a->group_snapshot->snapshots[i]->group_snapshot_id, g->group_snapshot_id) == 0);
    rpc_free(a);
    return n;
}

TEST(test_csi__a_group_is_uploaded_and_restored_elsewhere)
{
    Csi__V1__CreateVolumeGroupSnapshotResponse *a, *b;
    Csi__V1__CreateVolumeGroupSnapshotRequest q;
    char *ids[2], *copy, *points[2];

    repo_begin(REPO_ONE, "key");
    ids[0] = volume_with("pvc-group-a", "first");
    ids[1] = volume_with("pvc-group-b", "second");
    a = group_up("group-1", ids, 2);
    for (size_t i = 0; i < 2; i++)
        CHECK(strncmp(a->group_snapshot->snapshots[i]->snapshot_id, "offsite#", 8) == 0);
    ask(&q, "group-1", ids, 2, NULL);
    CHECK_EQ(rpc_status("/csi.v1.GroupController/CreateVolumeGroupSnapshot", &q), GRPC_ALREADY_EXISTS);
    ask(&q, "group-2", ids, 2, "no-such-profile");
    CHECK_EQ(rpc_status("/csi.v1.GroupController/CreateVolumeGroupSnapshot", &q), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(group_get(a->group_snapshot, false), 2);
    b = group_up("group-2", ids, 2);
    CHECK_EQ(points_in("repo"), 4);
    CHECK_EQ(delete_volume(ids[0]), 0); /* its snapshots are there, so it need not stay */
    for (int i = 0; i < 500 && group_get(a->group_snapshot, false) > 1; i++)
        pause_ms(20);
    CHECK_EQ(group_get(a->group_snapshot, false), 1);
    CHECK_EQ(group_get(a->group_snapshot, true), 2);
    CHECK_EQ(group_delete(a->group_snapshot), 0);
    CHECK_EQ(points_in("repo"), 2);
    CHECK_EQ(group_delete(a->group_snapshot), 0);
    repo_other_node();
    CHECK_EQ(group_get(b->group_snapshot, true), 2);
    for (size_t i = 0; i < 2; i++)
        points[i] = b->group_snapshot->snapshots[i]->snapshot_id;
    CHECK_EQ(restore("pvc-group-there", (int64_t)1 << 30, points[0], &copy), 0);
    CHECK_EQ(delete_volume(copy), 0);
    CHECK_EQ(group_delete(b->group_snapshot),
             GRPC_UNAVAILABLE); /* its snapshots are on the node that took it */
    CHECK_EQ(points_in("repo"), 2);
    no_secret_left();
    rpc_free(a);
    rpc_free(b);
    free(copy);
    for (size_t i = 0; i < 2; i++)
        free(ids[i]);
    rig_stop();
}

/* Not ready before all of it is there: who asks is told to ask again. */
TEST(test_csi__a_group_is_ready_when_all_of_it_is)
{
    static const char method[] = "/csi.v1.GroupController/CreateVolumeGroupSnapshot";
    Csi__V1__CreateVolumeGroupSnapshotRequest q;
    Csi__V1__CreateVolumeGroupSnapshotResponse *a;
    char *ids[2];
    int r;

    repo_begin(REPO_ONE, "key");
    ids[0] = volume_with("pvc-group-a", "first");
    ids[1] = volume_with("pvc-group-b", "second");
    ask(&q, "group-1", ids, 2, REPO_CLASS);
    q.n_secrets = 0;
    for (int i = 0; (r = rpc_status(method, &q)) == GRPC_ABORTED; i++) {
        CHECK(i < 500); /* until it is told what is wrong */
        pause_ms(20);
    }
    CHECK(r != 0);
    CHECK_EQ(points_in("repo"), 0);
    CHECK(strstr(rig.why, "passphrase"));
    ask(&q, "group-1", ids, 2, REPO_CLASS); /* how the other one's try ended may be told once more */
    for (int i = 0; (r = rpc_status(method, &q)) != 0 && r != GRPC_ABORTED; i++)
        CHECK(i < 1 && strstr(rig.why, "passphrase"));
    a = group_up("group-1", ids, 2);
    CHECK_EQ(group_delete(a->group_snapshot), 0);
    CHECK_EQ(points_in("repo"), 0);
    rpc_free(a);
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(delete_volume(ids[i]), 0);
        free(ids[i]);
    }
    no_secret_left();
    rig_stop();
}
