#include "tests/csi/rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mounts.h"
#include "base/sock.h"

#define WAIT 60000

extern char **environ;
struct rig rig;

char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Programs of the build that this one is of: beside its directory. */
const char *rig_program(const char *name)
{
    static char path[2][512];
    static unsigned which;
    char *p = path[which++ % 2], self[400];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    CHECK(n > 0);
    self[n] = 0;
    for (int i = 0; i < 2; i++)
        *strrchr(self, '/') = 0;
    snprintf(p, sizeof(path[0]), "%s/%s", self, name);
    return p;
}

pid_t rig_run(const char *const *argv)
{
    posix_spawn_file_actions_t acts;
    pid_t pid = -1;

    CHECK(posix_spawn_file_actions_init(&acts) == 0);
    CHECK(posix_spawn_file_actions_addopen(&acts, 1, rig.log, O_WRONLY | O_CREAT | O_APPEND, 0600) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&acts, 1, 2) == 0);
    CHECK(posix_spawn(&pid, argv[0], &acts, NULL, (char **)(uintptr_t)argv, environ) == 0);
    posix_spawn_file_actions_destroy(&acts);
    return pid;
}

int rig_wait(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

static void went_well(const char *const *argv)
{
    cleanup(buf_free) struct buf log = {0};
    int status = rig_wait(rig_run(argv));

    if (status == 0)
        return;
    io_read_file(io_real(), rig.log, 64 << 20, &log);
    test_fail(__FILE__, __LINE__, "varve %s %s: status %d: ...%s", argv[1], argv[2], status,
              log.len > 400 ? buf_cstr(&log) + log.len - 400 : buf_cstr(&log));
}

void rig_varve(const char *a, const char *b, const char *c, const char *d)
{
    const char *argv[] = {rig_program("varve"), a, b, c, d, NULL};

    went_well(argv);
}

int rig_varve_status(const char *const *words)
{
    const char *argv[16] = {rig_program("varve")};
    size_t n = 1;

    for (; words[n - 1]; n++)
        argv[n] = words[n - 1];
    return rig_wait(rig_run(argv));
}

void rig_varve_words(const char *const *words)
{
    const char *argv[16] = {rig_program("varve")};
    size_t n = 1;

    for (; words[n - 1]; n++)
        argv[n] = words[n - 1];
    went_well(argv);
}

void rig_serve_start(void)
{
    const char *argv[] = {rig_program("varve"), "serve", rig.store, NULL};
    cleanup(buf_free) struct buf out = {0};
    const char *words[] = {"ping"};
    int r = -E_NOTMOUNTED;

    rig.serve = rig_run(argv);
    for (int i = 0; i < 3000 && r < 0; i++, pause_ms(5))
        r = sock_ask(rig.store, words, 1, &out);
    CHECK_OK(r);
}

/* CSI_APART: with mounts of its own, which it shares, as a container with Bidirectional propagation has. */
void rig_csi_start(const char *option)
{
    static const char *const apart[] = {"/usr/bin/unshare", "--mount", "--propagation", "unchanged"};
    char endpoint[300];
    const char *const words[] = {rig_program("varve-csi"),
                                 "--store",
                                 rig.store,
                                 "--endpoint",
                                 endpoint,
                                 "--node-id",
                                 "node-1",
                                 "--verbose",
                                 option,
                                 NULL};
    const char *argv[ARRAY_LEN(apart) + ARRAY_LEN(words)];
    size_t n = getenv("CSI_APART") ? ARRAY_LEN(apart) : 0;
    int fd = -1;

    memcpy(argv, apart, n * sizeof(*argv));
    memcpy(argv + n, words, sizeof(words));
    snprintf(endpoint, sizeof(endpoint), "unix://%s", rig.sock);
    unlink(rig.sock);
    rig.csi = rig_run(argv);
    for (int i = 0; i < 3000 && fd < 0; i++, pause_ms(5)) {
        CHECK(waitpid(rig.csi, NULL, WNOHANG) == 0);
        fd = raw_connect(rig.sock);
    }
    CHECK(fd >= 0);
    close(fd);
}

void rig_csi_end(int sig)
{
    if (rig.csi <= 0)
        return;
    kill(rig.csi, sig);
    rig_wait(rig.csi);
    rig.csi = 0;
}

/* What a test that failed left: its mounts must not stay. */
static int detach(void *arg, const struct mounts_line *l)
{
    const char *dir = arg;

    if (strncmp(l->dir, dir, strlen(dir)) == 0)
        umount2(l->dir, MNT_DETACH);
    return 0;
}

static void end_all(void)
{
    rig_csi_end(SIGKILL);
    if (rig.serve > 0) {
        kill(rig.serve, SIGCONT);
        kill(rig.serve, SIGINT);
        if (rig.dir[0])
            mounts_each(detach, rig.dir);
        rig_wait(rig.serve);
        rig.serve = 0;
    }
}

void rig_start(const char *option)
{
    static bool registered;
    const char *dir = test_dir();

    if (geteuid() != 0 || access("/dev/fuse", F_OK) < 0)
        test_skip("needs root and /dev/fuse");
    if (!registered)
        atexit(end_all);
    registered = true;
    end_all();
    snprintf(rig.dir, sizeof(rig.dir), "%s/", dir);
    snprintf(rig.store, sizeof(rig.store), "%s/store", dir);
    snprintf(rig.sock, sizeof(rig.sock), "%s/csi.sock", dir);
    snprintf(rig.log, sizeof(rig.log), "%s/log", dir);
    snprintf(rig.stage, sizeof(rig.stage), "%s/stage", dir);
    snprintf(rig.target, sizeof(rig.target), "%s/target", dir);
    rig_varve("create", rig.store, NULL, NULL);
    rig_serve_start();
    rig_csi_start(option);
}

void rig_serve_end(void)
{
    kill(rig.serve, SIGINT);
    CHECK_EQ(rig_wait(rig.serve), 0);
    rig.serve = 0;
}

void rig_serve_kill(void)
{
    pid_t daemon = rig_daemon();

    kill(rig.serve, SIGSTOP); /* the keeper: it must not see the daemon die */
    kill(daemon, SIGKILL);
    kill(rig.serve, SIGKILL);
    rig_wait(rig.serve);
    rig.serve = 0;
}

static int count_below(void *arg, const struct mounts_line *l)
{
    size_t *n = arg;

    *n += strncmp(l->dir, rig.dir, strlen(rig.dir)) == 0;
    return 0;
}

void rig_stop(void)
{
    size_t n = 0;

    mounts_each(count_below, &n);
    rig_csi_end(SIGTERM);
    rig_serve_end();
    CHECK_EQ(n, 0);
}

pid_t rig_daemon(void)
{
    cleanup(buf_free) struct buf out = {0};
    const char *words[] = {"who"};

    CHECK_OK(sock_ask(rig.store, words, 1, &out));
    return (pid_t)strtol(buf_cstr(&out), NULL, 10);
}

bool rig_left(char *what, size_t len)
{
    Csi__V1__ListVolumesRequest q = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    Csi__V1__ListVolumesResponse *a = RPC(Controller, ListVolumes, &q, 0);
    cleanup(buf_free) struct buf words = {0}, text = {0};
    cleanup(sock_answer_free) struct sock_answer ans = {.exit_code = 0};
    const char *list[] = {"list", "."};
    char path[300];
    size_t n = a->n_entries;
    struct dirent *e;
    DIR *d;

    rpc_free(a);
    CHECK_OK(sock_words(&words, list, 2));
    CHECK_OK(sock_verb(rig.store, &words, &ans));
    snprintf(path, sizeof(path), "%s/csi", rig.store);
    d = opendir(path);
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            CHECK_OK(buf_printf(&text, "%s ", e->d_name));
    if (d)
        closedir(d);
    snprintf(what, len, "%zu volumes; facts: %s; %s", n, text.len ? buf_cstr(&text) : "none",
             buf_cstr(&ans.out));
    return n != 1 || text.len > 0 || strstr(buf_cstr(&ans.out), "retired-");
}

/* --- calls ---------------------------------------------------------------------------------------------------------------- */

const ProtobufCMessageDescriptor *rpc_answer(const char *service, const char *method)
{
    static const ProtobufCServiceDescriptor *const all[] = {
        &csi__v1__identity__descriptor, &csi__v1__controller__descriptor, &csi__v1__node__descriptor,
        &csi__v1__group_controller__descriptor, &csi__v1__snapshot_metadata__descriptor};

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strcmp(all[i]->name, service) == 0)
            return protobuf_c_service_descriptor_get_method_by_name(all[i], method)->output;
    return NULL;
}

struct call *rpc_begin(struct client *c, const char *path, const void *q, const char *timeout)
{
    cleanup(buf_free) struct buf b = {0};
    size_t n = protobuf_c_message_get_packed_size(q);

    CHECK_OK(buf_reserve(&b, n + 1));
    b.len = protobuf_c_message_pack(q, b.data);
    return client_call(c, &(struct ask){.path = path, .msg = b.data, .len = b.len, .timeout = timeout});
}

static struct client *one;

int rpc_status(const char *path, const void *q)
{
    int64_t began = clock_mono_ns();
    struct call *k;
    int status;

    if (one) {
        client_close(one);
        free(one);
    }
    one = malloc(sizeof(*one));
    CHECK(one);
    client_open(one, rig.sock);
    k = rpc_begin(one, path, q, NULL);
    CHECK(client_wait(one, k, WAIT));
    status = k->status;
    snprintf(rig.why, sizeof(rig.why), "%s", k->message);
    rig.took_ns = clock_mono_ns() - began;
    return status;
}

void *rpc(const char *path, const void *q, const ProtobufCMessageDescriptor *answer, int want)
{
    int status = rpc_status(path, q);
    const uint8_t *p;
    void *m = NULL;
    size_t len;

    if (status != want)
        test_fail(__FILE__, __LINE__, "%s: %s \"%s\", not %s", path, grpc_code_name((enum grpc_code)status),
                  rig.why, grpc_code_name((enum grpc_code)want));
    if (status == 0) {
        CHECK(call_message(&one->calls[0], 0, &p, &len));
        m = protobuf_c_message_unpack(answer, NULL, len, p);
        CHECK(m);
    }
    return m;
}

void rpc_free(void *m)
{
    if (m)
        protobuf_c_message_free_unpacked(m, NULL);
}

/* --- what most tests need ------------------------------------------------------------------------------------------------- */

void cap_init(struct cap *c, int mode)
{
    csi__v1__volume_capability__init(&c->cap);
    csi__v1__volume_capability__mount_volume__init(&c->mount);
    csi__v1__volume_capability__access_mode__init(&c->mode);
    c->cap.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
    c->cap.mount = &c->mount;
    c->cap.access_mode = &c->mode;
    c->mode.mode = (Csi__V1__VolumeCapability__AccessMode__Mode)mode;
    c->list[0] = &c->cap;
}

void create_request(Csi__V1__CreateVolumeRequest *q, struct cap *c, const char *name, int mode)
{
    csi__v1__create_volume_request__init(q);
    cap_init(c, mode);
    q->name = text(name);
    q->n_volume_capabilities = 1;
    q->volume_capabilities = c->list;
}

char *create_volume(const Csi__V1__CreateVolumeRequest *q)
{
    Csi__V1__CreateVolumeResponse *a = RPC(Controller, CreateVolume, q, 0);
    char *id = strdup(a->volume->volume_id);

    CHECK_EQ(a->volume->capacity_bytes, q->capacity_range->required_bytes);
    rpc_free(a);
    return id;
}

char *make_copy(const char *name, int64_t size, const char *volume_id, const char *snapshot_id)
{
    Csi__V1__VolumeContentSource from = CSI__V1__VOLUME_CONTENT_SOURCE__INIT;
    Csi__V1__VolumeContentSource__VolumeSource v = CSI__V1__VOLUME_CONTENT_SOURCE__VOLUME_SOURCE__INIT;
    Csi__V1__VolumeContentSource__SnapshotSource s = CSI__V1__VOLUME_CONTENT_SOURCE__SNAPSHOT_SOURCE__INIT;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    Csi__V1__CreateVolumeRequest q;
    struct cap c;

    create_request(&q, &c, name, SNW);
    q.capacity_range = &range;
    range.required_bytes = size;
    v.volume_id = text(volume_id);
    s.snapshot_id = text(snapshot_id);
    from.type_case = volume_id ? CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_VOLUME
                               : CSI__V1__VOLUME_CONTENT_SOURCE__TYPE_SNAPSHOT;
    if (volume_id)
        from.volume = &v;
    else
        from.snapshot = &s;
    if (volume_id || snapshot_id)
        q.volume_content_source = &from;
    return create_volume(&q);
}

char *make_volume(const char *name, int64_t size)
{
    return make_copy(name, size, NULL, NULL);
}

char *make_snapshot(const char *volume_id, const char *name)
{
    Csi__V1__CreateSnapshotRequest q = CSI__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    Csi__V1__CreateSnapshotResponse *a;
    char *id;

    q.source_volume_id = text(volume_id);
    q.name = text(name);
    a = RPC(Controller, CreateSnapshot, &q, 0);
    CHECK(a->snapshot->ready_to_use && strcmp(a->snapshot->source_volume_id, volume_id) == 0);
    id = strdup(a->snapshot->snapshot_id);
    rpc_free(a);
    return id;
}

int stage_as(const char *id, const char *dir, int mode, const char *flag, const char *group)
{
    Csi__V1__NodeStageVolumeRequest q = CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
    struct cap c;

    cap_init(&c, mode);
    if (flag) {
        c.flags[0] = text(flag);
        c.mount.mount_flags = c.flags;
        c.mount.n_mount_flags = 1;
    }
    if (group)
        c.mount.volume_mount_group = text(group);
    q.volume_id = text(id);
    q.staging_target_path = text(dir);
    q.volume_capability = &c.cap;
    return rpc_status("/csi.v1.Node/NodeStageVolume", &q);
}

int publish_as(const char *id, const char *stage, const char *target, int mode, bool readonly)
{
    Csi__V1__NodePublishVolumeRequest q = CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;
    struct cap c;

    cap_init(&c, mode);
    q.volume_id = text(id);
    q.staging_target_path = text(stage);
    q.target_path = text(target);
    q.volume_capability = &c.cap;
    q.readonly = readonly;
    return rpc_status("/csi.v1.Node/NodePublishVolume", &q);
}

int unpublish(const char *id, const char *target)
{
    Csi__V1__NodeUnpublishVolumeRequest q = CSI__V1__NODE_UNPUBLISH_VOLUME_REQUEST__INIT;

    q.volume_id = text(id);
    q.target_path = text(target);
    return rpc_status("/csi.v1.Node/NodeUnpublishVolume", &q);
}

int unstage(const char *id, const char *dir)
{
    Csi__V1__NodeUnstageVolumeRequest q = CSI__V1__NODE_UNSTAGE_VOLUME_REQUEST__INIT;

    q.volume_id = text(id);
    q.staging_target_path = text(dir);
    return rpc_status("/csi.v1.Node/NodeUnstageVolume", &q);
}

int delete_volume(const char *id)
{
    Csi__V1__DeleteVolumeRequest q = CSI__V1__DELETE_VOLUME_REQUEST__INIT;

    q.volume_id = text(id);
    return rpc_status("/csi.v1.Controller/DeleteVolume", &q);
}

int delete_snapshot(const char *id)
{
    Csi__V1__DeleteSnapshotRequest q = CSI__V1__DELETE_SNAPSHOT_REQUEST__INIT;

    q.snapshot_id = text(id);
    return rpc_status("/csi.v1.Controller/DeleteSnapshot", &q);
}
