/* Volumes that follow their pod: two nodes, each a store with a daemon and a driver of its own, one after the other. */
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>

#include "base/sock.h"
#include "tests/csi/rig_repo.h"

#define GIB ((int64_t)1 << 30)

static int create(const char *name, int mode, const char *mobility, const char *repository, char **ret)
{
    static Csi__V1__CreateVolumeRequest__ParametersEntry e[2], *list[] = {&e[0], &e[1]};
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__CreateVolumeResponse *a;
    Csi__V1__CreateVolumeRequest q;
    struct cap c;

    create_request(&q, &c, name, mode);
    for (size_t i = 0; i < 2; i++)
        csi__v1__create_volume_request__parameters_entry__init(&e[i]);
    e[0].key = text("mobility");
    e[0].value = text(mobility);
    e[1].key = text("repository");
    e[1].value = text(repository ? repository : "");
    q.capacity_range = &range;
    range.required_bytes = GIB;
    q.parameters = list;
    q.n_parameters = repository ? 2 : 1;
    if (!ret)
        return rpc_status("/csi.v1.Controller/CreateVolume", &q);
    a = RPC(Controller, CreateVolume, &q, 0);
    CHECK_EQ(a->volume->n_accessible_topology, 0);
    CHECK_EQ(a->volume->capacity_bytes, GIB);
    *ret = strdup(a->volume->volume_id);
    rpc_free(a);
    return 0;
}

/* The driver looks after what it has when it begins: it says ABORTED while it does. */
static int stage(const char *id)
{
    int r = GRPC_ABORTED;

    for (int i = 0; i < 500 && (r = stage_as(id, rig.stage, RWOP, NULL, NULL)) == GRPC_ABORTED; i++)
        pause_ms(20);
    return r;
}

static int deleted(const char *id)
{
    int r = GRPC_ABORTED;

    for (int i = 0; i < 500 && (r = delete_volume(id)) == GRPC_ABORTED; i++)
        pause_ms(20);
    return r;
}

static void wrote(const char *id, const char *had, const char *bytes)
{
    CHECK_EQ(stage(id), 0);
    if (had)
        CHECK(holds(rig.stage, "f", had));
    put(rig.stage, "f", bytes);
    CHECK_EQ(unstage(id, rig.stage), 0);
}

/* The driver is another one, and the mount has gone without it: the node does not let go of anything. */
static void node_dies(void)
{
    rig_csi_end(SIGKILL);
    rig_varve("umount", rig.stage, NULL, NULL);
}

static void driver_again(const char *option)
{
    rig_csi_end(SIGTERM);
    rig_csi_start(option);
}

static size_t volumes_named(const char *part)
{
    cleanup(buf_free) struct buf words = {0};
    cleanup(sock_answer_free) struct sock_answer ans = {.exit_code = 0};
    const char *list[] = {"list", "."};
    size_t n = 0;

    CHECK_OK(sock_words(&words, list, 2));
    CHECK_OK(sock_verb(rig.store, &words, &ans));
    for (const char *p = buf_cstr(&ans.out); (p = strstr(p, part)); p++)
        n++;
    return n;
}

/* The repository opens for the node itself: nothing hands a secret to what is unstaged. */
static void begin(void)
{
    char key[400];

    repo_begin(REPO_ONE, "key");
    snprintf(key, sizeof(key), "--key-file=%spass", rig.dir);
    rig_varve_words((const char *const[]){"repo", "remove", "offsite", NULL});
    rig_varve_words((const char *const[]){"repo", "add", "offsite", repo_url, key, NULL});
    secret.key = NULL;
}

TEST(test_csi__a_volume_follows_its_pod_and_the_old_copy_is_fenced)
{
    char *id, *again;
    size_t points;

    begin();
    CHECK_EQ(create("pvc-moves", RWOP, "repository", "offsite", &id), 0);
    CHECK(strncmp(id, "mobile/offsite/csi-", 19) == 0);
    CHECK_EQ(create("pvc-moves", RWOP, "repository", "offsite", &again), 0);
    CHECK(strcmp(id, again) == 0);
    free(again);
    wrote(id, NULL, "one");
    wrote(id, "one", "one more"); /* the same node goes on with what it has */
    repo_node(2);
    wrote(id, "one more", "two");
    repo_node(1);
    CHECK_EQ(stage(id), 0);
    CHECK(holds(rig.stage, "f", "two"));
    CHECK_EQ(volumes_named("diverged-"), 0); /* it had handed over all of it */
    put(rig.stage, "f", "lost with the node");
    node_dies();
    repo_node(2);
    CHECK_EQ(stage(id), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "has not let it go") && strstr(rig.why, "takes it over in 300 s"));
    CHECK_EQ(deleted(id), GRPC_UNAVAILABLE);
    driver_again("--takeover-after=0");
    wrote(id, "two", "three"); /* the last recovery point */
    points = points_in("repo");
    repo_node(1);
    CHECK_EQ(stage(id), 0);
    CHECK(holds(rig.stage, "f", "three"));
    CHECK_EQ(volumes_named("diverged-"), 1); /* what it had is kept */
    CHECK_EQ(points_in("repo"), points);
    CHECK_EQ(unstage(id, rig.stage), 0);
    rig_varve("repo", "prune", "offsite", NULL);
    rig_varve("repo", "verify", "offsite", NULL);
    CHECK_EQ(deleted(id), 0);
    CHECK_EQ(points_in("repo"), 0);
    CHECK_EQ(deleted(id), 0);
    CHECK_EQ(stage(id), GRPC_NOT_FOUND);
    free(id);
    rig_stop();
}

/* A pod that was to begin here once, and did not, says nothing of how long its volume's node has been away. */
TEST(test_csi__who_asked_once_has_not_waited_since)
{
    const char *scale = getenv("SCALE");
    char *id;

    if (scale && strcmp(scale, "short") == 0)
        test_skip("takes three minutes");
    begin();
    CHECK_EQ(create("pvc-asked", RWOP, "repository", "offsite", &id), 0);
    CHECK_EQ(stage(id), 0);
    node_dies();
    repo_node(2);
    driver_again("--takeover-after=155");
    CHECK_EQ(stage(id), GRPC_UNAVAILABLE);
    pause_ms(160000);
    CHECK_EQ(stage(id), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "takes it over in 155 s"));
    driver_again("--takeover-after=0");
    CHECK_EQ(stage(id), 0);
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(deleted(id), 0);
    free(id);
    rig_stop();
}

/* Another node takes it while it is mounted here: what is written from now on goes nowhere, and it is not staged again. */
TEST(test_csi__a_copy_that_is_mounted_is_fenced)
{
    char *id, name[64];
    size_t points;

    begin();
    CHECK_EQ(create("pvc-fenced", RWOP, "repository", "offsite", &id), 0);
    CHECK_EQ(stage(id), 0);
    put(rig.stage, "f", "here");
    points = points_in("repo");
    snprintf(name, sizeof(name), "%s", strrchr(id, '/') + 1);
    rig_varve_words((const char *const[]){"backup", "owner", "offsite", name, "--take=3",
                                          "--by=11111111-2222-4333-8444-555555555555", NULL});
    CHECK(rig_varve_status((const char *const[]){"backup", "owner", "offsite", name, "--take=3",
                                                 "--by=22222222-2222-4333-8444-555555555555", NULL}) != 0);
    CHECK_EQ(stage(id), GRPC_FAILED_PRECONDITION);
    CHECK(strstr(rig.why, "is fenced"));
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(points_in("repo"), points);
    driver_again("--takeover-after=0");
    CHECK_EQ(stage(id), 0); /* as the last recovery point has it */
    CHECK(!holds(rig.stage, "f", "here"));
    CHECK_EQ(volumes_named("diverged-"), 1);
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(deleted(id), 0);
    free(id);
    rig_stop();
}

/* A pod is there until what it wrote is in the repository: what comes after that, unstaging, is not waited for by anybody. */
TEST(test_csi__a_pods_end_lets_its_volume_go)
{
    char *id;

    begin();
    CHECK_EQ(create("pvc-ends", RWOP, "repository", "offsite", &id), 0);
    CHECK_EQ(stage(id), 0);
    CHECK_EQ(publish_as(id, rig.stage, rig.target, RWOP, false), 0);
    put(rig.target, "f", "one");
    CHECK_EQ(unpublish(id, rig.target), 0);
    node_dies();
    repo_node(2);
    CHECK_EQ(stage(id), 0);
    CHECK(holds(rig.stage, "f", "one"));
    CHECK_EQ(publish_as(id, rig.stage, rig.target, RWOP, false), 0);
    CHECK_EQ(unpublish(id, rig.target), 0);
    /* another pod on the same node, for which it is not staged anew */
    CHECK_EQ(publish_as(id, rig.stage, rig.target, RWOP, false), 0);
    put(rig.target, "f", "two");
    umount2(rig.target, 0);
    node_dies();
    repo_node(1);
    CHECK_EQ(stage(id), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "has not let it go"));
    repo_node(2); /* it was not dead */
    CHECK_EQ(unpublish(id, rig.target), 0);
    repo_node(1);
    wrote(id, "two", "three");
    CHECK_EQ(deleted(id), 0);
    free(id);
    rig_stop();
}

/* The daemon is away when the pod ends: it does not end before what it wrote is in the repository. */
TEST(test_csi__a_pod_does_not_end_while_its_volume_cannot_be_let_go)
{
    char *id;

    begin();
    CHECK_EQ(create("pvc-away", RWOP, "repository", "offsite", &id), 0);
    CHECK_EQ(stage(id), 0);
    CHECK_EQ(publish_as(id, rig.stage, rig.target, RWOP, false), 0);
    put(rig.target, "f", "one");
    rig_serve_kill();
    CHECK_EQ(unpublish(id, rig.target), GRPC_UNAVAILABLE);
    CHECK_EQ(unstage(id, rig.stage), GRPC_UNAVAILABLE);
    rig_serve_start();
    CHECK_EQ(unpublish(id, rig.target), 0);
    CHECK_EQ(unstage(id, rig.stage), 0);
    repo_node(2);
    wrote(id, "one", "two");
    CHECK_EQ(deleted(id), 0);
    free(id);
    rig_stop();
}

/* The same of one that no pod had, whose mount is dead. */
TEST(test_csi__a_dead_mount_is_let_go)
{
    char *id;

    begin();
    CHECK_EQ(create("pvc-dead", RWOP, "repository", "offsite", &id), 0);
    CHECK_EQ(stage(id), 0);
    put(rig.stage, "f", "one");
    rig_serve_kill();
    rig_serve_start();
    CHECK_EQ(unstage(id, rig.stage), 0); /* as if unpublished without a daemon by a driver that was before */
    repo_node(2);
    wrote(id, "one", "two");
    CHECK_EQ(deleted(id), 0);
    free(id);
    rig_stop();
}

/* The answer was lost, and the claim given to another node, which is asked twice, too: the limit is the volume's. */
TEST(test_csi__a_copy_that_is_asked_for_again_keeps_its_limit)
{
    char *id;

    begin();
    CHECK_EQ(create("pvc-limit", RWOP, "repository", "offsite", &id), 0);
    repo_node(2);
    for (int i = 0; i < 2; i++) {
        free(id);
        CHECK_EQ(create("pvc-limit", RWOP, "repository", "offsite", &id), 0);
    }
    CHECK_EQ(deleted(id), 0);
    free(id);
    rig_stop();
}

/* It took the volume, and was killed before it noted that: it does not wait for itself. */
TEST(test_csi__a_driver_killed_while_it_takes_a_volume_goes_on)
{
    char *id, *own, by[64], name[64];

    begin();
    CHECK_EQ(create("pvc-taken", RWOP, "repository", "offsite", &id), 0);
    wrote(id, NULL, "one");
    snprintf(name, sizeof(name), "%s", strrchr(id, '/') + 1);
    repo_node(2);
    own = make_volume("pvc-own", GIB);
    snprintf(by, sizeof(by), "--by=%.36s", own);
    rig_varve_words((const char *const[]){"backup", "owner", "offsite", name, "--take=3", by, NULL});
    wrote(id, "one", "two");
    CHECK_EQ(deleted(id), 0);
    CHECK_EQ(delete_volume(own), 0);
    free(own);
    free(id);
    rig_stop();
}

static void none_left(const char *part)
{
    for (int i = 0; i < 500 && volumes_named(part) > 0; i++)
        pause_ms(20);
    CHECK_EQ(volumes_named(part), 0);
}

static int expand(const char *id)
{
    Csi__V1__ControllerExpandVolumeRequest q = CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;

    q.volume_id = text(id);
    q.capacity_range = &range;
    range.required_bytes = 2 * GIB;
    return rpc_status("/csi.v1.Controller/ControllerExpandVolume", &q);
}

static int snapshot(const char *id)
{
    Csi__V1__CreateSnapshotRequest q = CSI__V1__CREATE_SNAPSHOT_REQUEST__INIT;

    q.source_volume_id = text(id);
    q.name = text("snapshot-moves");
    return rpc_status("/csi.v1.Controller/CreateSnapshot", &q);
}

/* What a node has that another one took the volume from is old: nothing is done with it, and it goes. */
TEST(test_csi__a_copy_that_was_left_behind_is_not_used_and_goes)
{
    char *id, *snap;

    begin();
    CHECK_EQ(create("pvc-left", RWOP, "repository", "offsite", &id), 0);
    wrote(id, NULL, "one");
    CHECK_EQ(expand(id), GRPC_UNAVAILABLE); /* no pod uses it: the next one's node would not know */
    snap = make_snapshot(id, "snapshot-moves");
    CHECK_EQ(snapshot(id), 0);
    repo_node(2);
    CHECK_EQ(delete_snapshot(snap), GRPC_UNAVAILABLE); /* each node's sidecar is asked */
    CHECK_EQ(expand(id), GRPC_UNAVAILABLE);
    CHECK_EQ(snapshot(id), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "is of another store than that of node"));
    CHECK_EQ(stage(id), 0);
    CHECK_EQ(expand(id), 0);
    CHECK_EQ(unstage(id, rig.stage), 0);
    repo_node(1);
    none_left("mobile-"); /* it has a snapshot: retired */
    CHECK_EQ(volumes_named("retired-"), 1);
    CHECK_EQ(snapshot(id), GRPC_UNAVAILABLE);
    CHECK_EQ(delete_snapshot(snap), 0);
    free(snap);
    none_left("retired-");
    wrote(id, "one", "two");
    repo_node(2);
    CHECK_EQ(deleted(id), 0);
    CHECK_EQ(points_in("repo"), 0);
    repo_node(1);
    none_left("mobile-");
    CHECK_EQ(stage(id), GRPC_NOT_FOUND);
    free(id);
    rig_stop();
}

static int copy_of(const char *id)
{
    Csi__V1__VolumeContentSource__VolumeSource v = CSI__V1__VOLUME_CONTENT_SOURCE__VOLUME_SOURCE__INIT;
    Csi__V1__VolumeContentSource from = CSI__V1__VOLUME_CONTENT_SOURCE__INIT;
    Csi__V1__CreateVolumeRequest q;
    struct cap c;

    create_request(&q, &c, "pvc-copied", SNW);
    v.volume_id = text(id);
    from.type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
    from.volume = &v;
    q.volume_content_source = &from;
    return rpc_status("/csi.v1.Controller/CreateVolume", &q);
}

static void taken_by_another(const char *id, const char *epoch)
{
    rig_varve_words((const char *const[]){"backup", "owner", "offsite", strrchr(id, '/') + 1, epoch,
                                          "--by=11111111-2222-4333-8444-555555555555", NULL});
}

/* What is old is no source of snapshots and copies, nor is one that a pod writes here still. */
TEST(test_csi__what_another_node_has_taken_is_no_source)
{
    char *id;

    begin();
    CHECK_EQ(create("pvc-handed", RWOP, "repository", "offsite", &id), 0);
    wrote(id, NULL, "one");
    pause_ms(500); /* the sweeper has looked */
    taken_by_another(id, "--take=3");
    CHECK_EQ(copy_of(id), GRPC_RESOURCE_EXHAUSTED);
    free(id);
    CHECK_EQ(create("pvc-written", RWOP, "repository", "offsite", &id), 0);
    CHECK_EQ(stage(id), 0);
    put(rig.stage, "f", "one");
    CHECK_EQ(copy_of(id), 0);
    CHECK_EQ(expand(id), 0);
    taken_by_another(id, "--take=3");
    CHECK_EQ(expand(id), GRPC_UNAVAILABLE);
    CHECK_EQ(snapshot(id), GRPC_UNAVAILABLE);
    CHECK(strstr(rig.why, "is of another store than that of node"));
    CHECK_EQ(unstage(id, rig.stage), 0);
    free(id);
    rig_stop();
}

TEST(test_csi__what_cannot_move_is_refused)
{
    char *id;

    begin();
    CHECK_EQ(create("pvc-1", RWOP, "node", "offsite", NULL), GRPC_INVALID_ARGUMENT);
    CHECK(strncmp(rig.why, "parameters[mobility]: ", 22) == 0);
    CHECK_EQ(create("pvc-1", RWOP, "repository", NULL, NULL), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(create("pvc-1", RWOP, "repository", repo_url, NULL), GRPC_INVALID_ARGUMENT);
    CHECK(strncmp(rig.why, "parameters[repository]: ", 24) == 0);
    CHECK_EQ(create("pvc-1", SNW, "repository", "offsite", NULL), GRPC_INVALID_ARGUMENT);
    CHECK(strstr(rig.why, "ReadWriteOncePod"));
    CHECK_EQ(create("pvc-1", RWOP, "repository", "offsite", &id), 0);
    CHECK_EQ(stage(id), 0);
    put(rig.stage, "f", "kept");
    rig_varve_words((const char *const[]){"repo", "remove", "offsite", NULL});
    CHECK_EQ(unstage(id, rig.stage), GRPC_UNAVAILABLE); /* it is not let go without */
    CHECK(holds(rig.stage, "f", "kept"));
    CHECK_EQ(stage(id), 0); /* it is there already */
    {
        char key[400];

        snprintf(key, sizeof(key), "--key-file=%spass", rig.dir);
        rig_varve_words((const char *const[]){"repo", "add", "offsite", repo_url, key, NULL});
    }
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(deleted(id), 0);
    free(id);
    rig_stop();
}
