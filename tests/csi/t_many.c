/* Many volumes, and what a call costs. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sock.h"
#include "tests/csi/rig.h"

#define GIB ((int64_t)1 << 30)

/* --- volumes of a pod's own ----------------------------------------------------------------------------------------------- */

static int publish_own(const char *id, const char *key, const char *value)
{
    Csi__V1__NodePublishVolumeRequest q = CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;
    Csi__V1__NodePublishVolumeRequest__VolumeContextEntry e[2], *map[2] = {&e[0], &e[1]};
    struct cap c;

    cap_init(&c, SNW);
    for (size_t i = 0; i < 2; i++)
        csi__v1__node_publish_volume_request__volume_context_entry__init(&e[i]);
    e[0].key = (char *)(uintptr_t) "csi.storage.k8s.io/ephemeral";
    e[0].value = (char *)(uintptr_t) "true";
    e[1].key = (char *)(uintptr_t)key;
    e[1].value = (char *)(uintptr_t)value;
    q.volume_id = (char *)(uintptr_t)id;
    q.target_path = rig.target;
    q.volume_capability = &c.cap;
    q.volume_context = map;
    q.n_volume_context = key ? 2 : 1;
    return rpc_status("/csi.v1.Node/NodePublishVolume", &q);
}

TEST(test_csi__a_pod_brings_its_own_volume_and_takes_it_along)
{
    static const char id[] = "csi-5d41402abc4b2a76b9719d911017c592";
    Csi__V1__NodeGetVolumeStatsRequest s = CSI__V1__NODE_GET_VOLUME_STATS_REQUEST__INIT;
    Csi__V1__NodeGetVolumeStatsResponse *stats;
    char what[1024];

    rig_start(NULL);
    CHECK_EQ(publish_own(id, "sise", "1Gi"), GRPC_INVALID_ARGUMENT);
    CHECK(strncmp(rig.why, "volume_context[sise]: ", 22) == 0);
    CHECK_EQ(publish_own(id, "size", "much"), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(publish_own(id, "control", "admin"), GRPC_INVALID_ARGUMENT); /* that is for a class to say */
    CHECK(!rig_left(what, sizeof(what)));
    CHECK_EQ(publish_own(id, "size", "64Mi"), 0);
    rig_csi_end(SIGKILL);
    rig_csi_start(NULL);
    CHECK_EQ(publish_own(id, "size", "64Mi"), 0);
    CHECK(access(rig.target, W_OK) == 0);
    s.volume_id = (char *)(uintptr_t)id;
    s.volume_path = rig.target;
    stats = RPC(Node, NodeGetVolumeStats, &s, 0);
    CHECK_EQ(stats->usage[0]->total, 64 << 20);
    rpc_free(stats);
    CHECK_EQ(unpublish(id, rig.target), 0);
    CHECK_EQ(unpublish(id, rig.target), 0);
    if (rig_left(what, sizeof(what)))
        test_fail(__FILE__, __LINE__, "left over: %s", what);
    rig_stop();
}

/* The pod goes while there is no daemon: the kubelet asks until there is one, for who else would delete the volume? */
TEST(test_csi__a_pods_own_volume_goes_when_the_daemon_is_back)
{
    static const char id[] = "csi-5d41402abc4b2a76b9719d911017c593";
    char what[1024];

    rig_start(NULL);
    CHECK_EQ(publish_own(id, "size", "64Mi"), 0);
    rig_serve_kill();
    CHECK_EQ(unpublish(id, rig.target), GRPC_UNAVAILABLE);
    CHECK(access(rig.target, F_OK) < 0);
    CHECK_EQ(unpublish(id, rig.target), GRPC_UNAVAILABLE);
    rig_serve_start();
    CHECK_EQ(unpublish(id, rig.target), 0);
    if (rig_left(what, sizeof(what)))
        test_fail(__FILE__, __LINE__, "left over: %s", what);
    rig_stop();
}

/* Of a pod that never came to run the kubelet asks for no end. */
TEST(test_csi__a_pods_own_volume_goes_when_its_mount_fails)
{
    static const char id[] = "csi-5d41402abc4b2a76b9719d911017c594";
    char script[700], option[800], what[1024];
    FILE *f;

    rig_start(NULL);
    snprintf(script, sizeof(script), "%.200svarve", rig.dir);
    f = fopen(script, "we");
    CHECK(f && fprintf(f, "#!/bin/sh\necho no mount today >&2\nexit 1\n") > 0);
    CHECK(fclose(f) == 0 && chmod(script, 0700) == 0);
    snprintf(option, sizeof(option), "--varve=%.300s", script);
    rig_csi_end(SIGTERM);
    rig_csi_start(option);
    CHECK_EQ(publish_own(id, "size", "64Mi"), GRPC_INTERNAL);
    CHECK(strstr(rig.why, "no mount today"));
    if (rig_left(what, sizeof(what)))
        test_fail(__FILE__, __LINE__, "left over: %s", what);
    rig_csi_end(SIGTERM);
    rig_csi_start(NULL);
    CHECK_EQ(publish_own(id, "size", "64Mi"), 0);
    rig_csi_end(SIGTERM);
    rig_csi_start(option); /* what is there already stays, whatever becomes of this call */
    rig_varve("umount", rig.target, NULL, NULL);
    CHECK_EQ(publish_own(id, "size", "64Mi"), GRPC_INTERNAL);
    CHECK(rig_left(what, sizeof(what)));
    CHECK_EQ(unpublish(id, rig.target), 0);
    CHECK(!rig_left(what, sizeof(what)));
    rig_stop();
}

/* --- larger ----------------------------------------------------------------------------------------------------------------- */

#define OTHERS 300
#define TWICE 40

static struct call *expand_begin(struct client *c, const char *id, int64_t size)
{
    Csi__V1__ControllerExpandVolumeRequest q = CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;

    q.volume_id = text(id);
    q.capacity_range = &range;
    range.required_bytes = size;
    return rpc_begin(c, "/csi.v1.Controller/ControllerExpandVolume", &q, NULL);
}

static uint64_t size_of(const char *id)
{
    Csi__V1__ControllerExpandVolumeRequest q = CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__ControllerExpandVolumeResponse *a;
    uint64_t size;

    q.volume_id = text(id);
    q.capacity_range = &range;
    range.required_bytes = GIB;
    a = RPC(Controller, ControllerExpandVolume, &q, 0);
    size = (uint64_t)a->capacity_bytes;
    rpc_free(a);
    return size;
}

static void create_beside(const char *name)
{
    cleanup(sock_answer_free) struct sock_answer a = {.exit_code = 0};
    cleanup(buf_free) struct buf words = {0};
    const char *w[] = {"create", name};

    CHECK_OK(sock_words(&words, w, ARRAY_LEN(w)));
    CHECK_OK(sock_verb(rig.store, &words, &a));
    CHECK_EQ(a.exit_code, 0);
}

/* Many other volumes make it long from where the size is looked at to where the call is the only one at work on it. */
TEST(test_csi__two_expansions_at_once_leave_the_larger_one)
{
    struct client *c = malloc(sizeof(*c));
    struct call *less, *more;
    int64_t size = GIB;
    char name[32], *id;

    rig_start(NULL);
    for (int i = 0; i < OTHERS; i++) {
        snprintf(name, sizeof(name), "other-%d", i);
        create_beside(name);
    }
    id = make_volume("pvc-grows", GIB);
    client_open(c, rig.sock);
    for (int i = 0; i < TWICE; i++, size += 2 << 20) {
        more = expand_begin(c, id, size + (2 << 20));
        less = expand_begin(c, id, size + (1 << 20));
        CHECK(client_wait(c, more, 60000) && client_wait(c, less, 60000));
        CHECK(less->status == 0 || less->status == GRPC_ABORTED);
        if (more->status == 0)
            CHECK_EQ(size_of(id), size + (2 << 20));
        else
            CHECK_EQ(more->status, GRPC_ABORTED);
    }
    client_close(c);
    free(c);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    rig_stop();
}

/* --- calls that take long -------------------------------------------------------------------------------------------------- */

#define SLOW 24

/* A node is drained, and what its pods wrote goes to a repository that is slow: so many calls at a time, and others do not wait for them. */
TEST(test_csi__calls_that_take_long_hold_up_no_others)
{
    Csi__V1__GetPluginInfoRequest info = CSI__V1__GET_PLUGIN_INFO_REQUEST__INIT;
    struct client *c = malloc(sizeof(*c));
    char script[700], self[400], option[400], name[32], dirs[SLOW][300], *ids[SLOW];
    struct call *slow[SLOW];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    FILE *f;

    rig_start(NULL);
    CHECK(n > 0);
    self[n] = 0;
    for (int i = 0; i < 2; i++)
        *strrchr(self, '/') = 0;
    snprintf(script, sizeof(script), "%.200svarve", rig.dir);
    f = fopen(script, "we");
    CHECK(f && fprintf(f, "#!/bin/sh\n[ $1 != mount ] || sleep 3\nexec %s/varve \"$@\"\n", self) > 0);
    CHECK(fclose(f) == 0 && chmod(script, 0700) == 0);
    snprintf(option, sizeof(option), "--varve=%.300s", script);
    for (size_t i = 0; i < SLOW; i++) {
        snprintf(name, sizeof(name), "pvc-slow-%zu", i);
        ids[i] = make_volume(name, GIB);
    }
    rig_csi_end(SIGTERM);
    rig_csi_start(option);
    client_open(c, rig.sock);
    for (size_t i = 0; i < SLOW; i++) {
        Csi__V1__NodeStageVolumeRequest q = CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
        struct cap cap;

        cap_init(&cap, SNW);
        snprintf(dirs[i], sizeof(dirs[i]), "%.200sslow-%zu", rig.dir, i);
        q.volume_id = ids[i];
        q.staging_target_path = dirs[i];
        q.volume_capability = &cap.cap;
        slow[i] = rpc_begin(c, "/csi.v1.Node/NodeStageVolume", &q, NULL);
    }
    client_turn(c, 100);
    CHECK_EQ(rpc_status("/csi.v1.Identity/GetPluginInfo", &info), 0);
    CHECK(rig.took_ns < 2000000000);
    for (size_t i = 0; i < SLOW; i++) {
        CHECK(client_wait(c, slow[i], 60000));
        CHECK_EQ(slow[i]->status, 0);
        CHECK_EQ(unstage(ids[i], dirs[i]), 0);
        CHECK_EQ(delete_volume(ids[i]), 0);
        free(ids[i]);
    }
    client_close(c);
    free(c);
    rig_stop();
}

/* --- profiles ------------------------------------------------------------------------------------------------------------- */

static int create_as(const char *name, const char *from, const char *profile)
{
    Csi__V1__CreateVolumeRequest__ParametersEntry e = CSI__V1__CREATE_VOLUME_REQUEST__PARAMETERS_ENTRY__INIT,
                                                  *map[] = {&e};
    Csi__V1__VolumeContentSource__VolumeSource v = CSI__V1__VOLUME_CONTENT_SOURCE__VOLUME_SOURCE__INIT;
    Csi__V1__VolumeContentSource source = CSI__V1__VOLUME_CONTENT_SOURCE__INIT;
    Csi__V1__CreateVolumeRequest q = CSI__V1__CREATE_VOLUME_REQUEST__INIT;
    struct cap cap;

    cap_init(&cap, SNW);
    q.name = (char *)(uintptr_t)name;
    q.n_volume_capabilities = 1;
    q.volume_capabilities = cap.list;
    e.key = (char *)(uintptr_t) "profile";
    e.value = (char *)(uintptr_t)profile;
    q.parameters = map;
    q.n_parameters = 1;
    v.volume_id = (char *)(uintptr_t)from;
    source.type_case = CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME;
    source.volume = &v;
    q.volume_content_source = from ? &source : NULL;
    return rpc_status("/csi.v1.Controller/CreateVolume", &q);
}

static bool has_profile(const char *volume, const char *profile)
{
    cleanup(sock_answer_free) struct sock_answer a = {.exit_code = 0};
    cleanup(buf_free) struct buf words = {0}, want = {0};
    const char *w[] = {"profile", "get", volume, "--json"};

    CHECK_OK(sock_words(&words, w, ARRAY_LEN(w)));
    CHECK_OK(sock_verb(rig.store, &words, &a));
    CHECK_OK(buf_printf(&want, "\"%s\"", profile));
    return strstr(buf_cstr(&a.out), buf_cstr(&want)) != NULL;
}

TEST(test_csi__profiles_are_given_and_changed)
{
    Csi__V1__ControllerModifyVolumeRequest m = CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__INIT;
    Csi__V1__ControllerModifyVolumeRequest__MutableParametersEntry
        e = CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__MUTABLE_PARAMETERS_ENTRY__INIT,
        *map[] = {&e};
    char what[1024], *id;

    rig_start(NULL);
    CHECK_EQ(create_as("pvc-profile-none", NULL, "gold"), GRPC_INVALID_ARGUMENT);
    CHECK(strncmp(rig.why, "parameters[profile]: ", 21) == 0);
    CHECK_EQ(create_as("pvc-profile-lines", NULL, "a\nb"), GRPC_INVALID_ARGUMENT);
    id = make_volume("pvc-profile-source", GIB);
    CHECK_EQ(create_as("pvc-profile-copy", id, "gold"), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(create_as("pvc-profile-copy", id, "archive"), 0);
    CHECK(has_profile("pvc-profile-copy", "archive"));
    CHECK_EQ(create_as("pvc-profile-new", NULL, "database"), 0);
    CHECK_EQ(create_as("pvc-profile-new", NULL, "database"), 0);
    CHECK_EQ(create_as("pvc-profile-new", NULL, "scratch"), GRPC_ALREADY_EXISTS);
    CHECK(has_profile("pvc-profile-new", "database"));
    m.volume_id = id;
    m.mutable_parameters = map;
    m.n_mutable_parameters = 1;
    e.key = (char *)(uintptr_t) "profile";
    e.value = (char *)(uintptr_t) "scratch";
    CHECK_EQ(rpc_status("/csi.v1.Controller/ControllerModifyVolume", &m), 0);
    CHECK_EQ(rpc_status("/csi.v1.Controller/ControllerModifyVolume", &m), 0);
    CHECK(has_profile("pvc-profile-source", "scratch"));
    CHECK(rig_left(what, sizeof(what)) && strncmp(what, "4 volumes", 9) == 0 && !strstr(what, "none.json"));
    free(id);
    rig_stop();
}

/* --- many ----------------------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void tell(const char *what, int64_t *ns, size_t n)
{
    qsort(ns, n, sizeof(*ns), by_value);
    printf("    %-10s p50 %5.1f ms, longest %5.1f ms\n", what, (double)ns[n / 2] / 1e6,
           (double)ns[n - 1] / 1e6);
}

/* One after the other, timed; the first hundred volumes of a node. */
TEST(test_csi__what_a_call_costs)
{
    enum { N = 20 };
    int64_t create[N], stage[N], publish[N], snap[N], down[N];
    char *ids[N], dirs[N][2][300], what[1024];

    rig_start(NULL);
    for (size_t i = 0; i < N; i++) {
        char name[32], *s;

        snprintf(name, sizeof(name), "pvc-cost-%zu", i);
        snprintf(dirs[i][0], sizeof(dirs[i][0]), "%.200s-%zu", rig.stage, i);
        snprintf(dirs[i][1], sizeof(dirs[i][1]), "%.200s-%zu", rig.target, i);
        ids[i] = make_volume(name, GIB);
        create[i] = rig.took_ns;
        CHECK_EQ(stage_as(ids[i], dirs[i][0], SNW, NULL, NULL), 0);
        stage[i] = rig.took_ns;
        CHECK_EQ(publish_as(ids[i], dirs[i][0], dirs[i][1], SNW, false), 0);
        publish[i] = rig.took_ns;
        s = make_snapshot(ids[i], name);
        snap[i] = rig.took_ns;
        CHECK_EQ(delete_snapshot(s), 0);
        free(s);
    }
    for (size_t i = 0; i < N; i++) {
        CHECK_EQ(unpublish(ids[i], dirs[i][1]), 0);
        down[i] = rig.took_ns;
        CHECK_EQ(unstage(ids[i], dirs[i][0]), 0);
        CHECK_EQ(delete_volume(ids[i]), 0);
        free(ids[i]);
    }
    tell("create", create, N);
    tell("stage", stage, N);
    tell("publish", publish, N);
    tell("snapshot", snap, N);
    tell("unpublish", down, N);
    CHECK(!rig_left(what, sizeof(what)));
    rig_stop();
}

/* A million files of a volume (2,000 in a short run) make its snapshot no dearer. */
TEST(test_csi__a_snapshot_of_many_files)
{
    enum { N = 20, IN_DIR = 1000 };
    const char *scale = getenv("SCALE");
    unsigned files = scale && strcmp(scale, "short") == 0 ? 2000 : 1000000;
    int64_t snap[N];
    char path[400], *id;

    rig_start(NULL);
    id = make_volume("pvc-full", 0);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    for (unsigned i = 0; i < files; i++) {
        int fd;

        snprintf(path, sizeof(path), "%.300s/%u", rig.stage, i / IN_DIR);
        CHECK(i % IN_DIR || mkdir(path, 0755) == 0);
        snprintf(path, sizeof(path), "%.300s/%u/%u", rig.stage, i / IN_DIR, i);
        fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        CHECK(fd >= 0);
        close(fd);
    }
    for (size_t i = 0; i < N; i++) {
        char *s;

        snprintf(path, sizeof(path), "full-%zu", i);
        s = make_snapshot(id, path);
        snap[i] = rig.took_ns;
        free(s);
    }
    printf("    %u files:\n", files);
    tell("snapshot", snap, N);
    CHECK(snap[N / 2] <= 20000000);
    CHECK_EQ(unstage(id, rig.stage), 0);
    free(id);
    rig_stop();
}

struct many {
    struct client *c;
    struct call *calls[128];
    size_t n;
};

static void all_ok(struct many *m, const char *what)
{
    for (size_t i = 0; i < m->n; i++) {
        CHECK(client_wait(m->c, m->calls[i], 120000));
        if (m->calls[i]->status != 0)
            test_fail(__FILE__, __LINE__, "%s %zu: %d %s", what, i, m->calls[i]->status,
                      m->calls[i]->message);
    }
}

/* A hundred at once (24 in a short run), of each kind, without an error. */
TEST(test_csi__many_at_once)
{
    const char *scale = getenv("SCALE");
    size_t n = scale && strcmp(scale, "short") == 0 ? 24 : 100;
    char ids[128][80], name[32], stage[300], target[300], what[1024];
    struct many m = {.c = malloc(sizeof(struct client)), .n = n};
    struct cap cap;

    rig_start(NULL);
    client_open(m.c, rig.sock);
    for (size_t i = 0; i < n; i++) {
        Csi__V1__CreateVolumeRequest q;

        snprintf(name, sizeof(name), "pvc-many-%zu", i);
        csi__v1__create_volume_request__init(&q);
        cap_init(&cap, SNW);
        q.name = name;
        q.n_volume_capabilities = 1;
        q.volume_capabilities = cap.list;
        m.calls[i] = rpc_begin(m.c, "/csi.v1.Controller/CreateVolume", &q, NULL);
    }
    all_ok(&m, "create");
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p;
        size_t len;
        Csi__V1__CreateVolumeResponse *a;

        CHECK(call_message(m.calls[i], 0, &p, &len));
        a = csi__v1__create_volume_response__unpack(NULL, len, p);
        snprintf(ids[i], sizeof(ids[i]), "%s", a->volume->volume_id);
        rpc_free(a);
    }
    for (int phase = 0; phase < 5; phase++) {
        for (size_t i = 0; i < n; i++) {
            Csi__V1__NodeStageVolumeRequest s = CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
            Csi__V1__NodePublishVolumeRequest p = CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;
            Csi__V1__NodeUnpublishVolumeRequest u = CSI__V1__NODE_UNPUBLISH_VOLUME_REQUEST__INIT;
            Csi__V1__NodeUnstageVolumeRequest t = CSI__V1__NODE_UNSTAGE_VOLUME_REQUEST__INIT;
            Csi__V1__DeleteVolumeRequest d = CSI__V1__DELETE_VOLUME_REQUEST__INIT;
            const struct {
                const char *path;
                const void *q;
            } call[] = {{"/csi.v1.Node/NodeStageVolume", &s},
                        {"/csi.v1.Node/NodePublishVolume", &p},
                        {"/csi.v1.Node/NodeUnpublishVolume", &u},
                        {"/csi.v1.Node/NodeUnstageVolume", &t},
                        {"/csi.v1.Controller/DeleteVolume", &d}};

            snprintf(stage, sizeof(stage), "%.200s-%zu", rig.stage, i);
            snprintf(target, sizeof(target), "%.200s-%zu", rig.target, i);
            cap_init(&cap, SNW);
            s.volume_id = p.volume_id = u.volume_id = t.volume_id = d.volume_id = ids[i];
            s.staging_target_path = p.staging_target_path = t.staging_target_path = stage;
            p.target_path = u.target_path = target;
            s.volume_capability = p.volume_capability = &cap.cap;
            m.calls[i] = rpc_begin(m.c, call[phase].path, call[phase].q, NULL);
        }
        all_ok(&m, (const char *[]){"stage", "publish", "unpublish", "unstage", "delete"}[phase]);
        if (phase == 1)
            CHECK(access(target, W_OK) == 0);
        client_close(m.c);
        client_open(m.c, rig.sock);
    }
    client_close(m.c);
    free(m.c);
    CHECK(!rig_left(what, sizeof(what)));
    rig_stop();
}
