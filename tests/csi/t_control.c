/* What a class lets a pod do by the control files: who it is, and how much. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/csi/rig_repo.h"

#define GIB ((int64_t)1 << 30)

/* "none", "read", ... of a class, its group, the pod's fsGroup. */
static int stage_with(const char *id, const char *control, const char *gid, const char *group)
{
    static Csi__V1__NodeStageVolumeRequest__VolumeContextEntry e[2], *list[] = {&e[0], &e[1]};
    Csi__V1__NodeStageVolumeRequest q = CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
    struct cap c;

    cap_init(&c, SNW);
    for (size_t i = 0; i < 2; i++)
        csi__v1__node_stage_volume_request__volume_context_entry__init(&e[i]);
    e[0].key = text("control");
    e[0].value = text(control);
    e[1].key = text("controlGid");
    e[1].value = text(gid ? gid : "");
    q.volume_context = list;
    q.n_volume_context = gid ? 2 : 1;
    if (group)
        c.mount.volume_mount_group = text(group);
    q.volume_id = text(id);
    q.staging_target_path = rig.stage;
    q.volume_capability = &c.cap;
    return rpc_status("/csi.v1.Node/NodeStageVolume", &q);
}

enum { MAY_LOOK = 1, MAY_SNAP = 2, MAY_ASK = 4, MAY_RESIZE = 8 };

static bool says(int dir, const char *file, const char *line)
{
    int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line);

    if (fd >= 0)
        close(fd);
    return ok;
}

/* As somebody of this group, in a process of its own: what he may do. */
static int may(gid_t gid)
{
    int dir = open(rig.stage, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = 0;
    pid_t pid = fork();

    CHECK(dir >= 0 && pid >= 0);
    if (pid == 0) {
        int can = 0;

        if (setgroups(0, NULL) < 0 || setgid(gid) < 0 || setuid(4711) < 0)
            _exit(255);
        can |= faccessat(dir, ".snapshots/.control/status", R_OK, AT_EACCESS) == 0 ? MAY_LOOK : 0;
        if (mkdirat(dir, ".snapshots/of-a-pod", 0755) == 0)
            can |= unlinkat(dir, ".snapshots/of-a-pod", AT_REMOVEDIR) == 0 ? MAY_SNAP : 0;
        if (says(dir, ".snapshots/.control/snapshots", "create asked"))
            can |= says(dir, ".snapshots/.control/snapshots", "delete asked") ? MAY_ASK : 0;
        can |= says(dir, ".snapshots/.control/status", "resize 2G") ? MAY_RESIZE : 0;
        _exit(can);
    }
    close(dir);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) != 255);
    return WEXITSTATUS(status);
}

TEST(test_csi__a_class_says_what_a_pod_may_control)
{
    static const struct {
        const char *control;
        int want;
    } modes[] = {{"none", 0},
                 {"read", MAY_LOOK},
                 {"snapshot", MAY_LOOK | MAY_SNAP | MAY_ASK},
                 {"admin", MAY_LOOK | MAY_SNAP | MAY_ASK | MAY_RESIZE}};
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-control", GIB);
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        CHECK_EQ(stage_with(id, modes[i].control, "5000", NULL), 0);
        if (may(5000) != modes[i].want)
            test_fail(__FILE__, __LINE__, "control=%s: %d, not %d", modes[i].control, may(5000),
                      modes[i].want);
        CHECK_EQ(may(6000), 0);
        CHECK_EQ(unstage(id, rig.stage), 0);
    }
    CHECK_EQ(stage_with(id, "snapshot", NULL, "6000"), 0); /* the class names no group: the pod's */
    CHECK_EQ(may(6000), MAY_LOOK | MAY_SNAP | MAY_ASK);
    CHECK_EQ(may(5000), 0);
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(stage_with(id, "snapshot", "5000", "6000"), 0); /* a pod does not choose who */
    CHECK_EQ(may(5000), MAY_LOOK | MAY_SNAP | MAY_ASK);
    CHECK_EQ(may(6000) & (MAY_SNAP | MAY_ASK), 0);
    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(stage_with(id, "none,control=admin", "5000", NULL), GRPC_INVALID_ARGUMENT);
    CHECK(strncmp(rig.why, "volume_context[control]: ", 25) == 0);
    CHECK_EQ(stage_with(id, "", "5000", NULL), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(stage_with(id, "all", "5000", NULL), GRPC_INVALID_ARGUMENT);
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    rig_stop();
}

/* Root of a container: no privilege, and nothing in sight but the volume. What it writes into a control file. */
static bool container_says(uid_t uid, const char *file, const char *line)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    int status = 0;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        int dir;

        if (chroot(rig.stage) < 0 || chdir("/") < 0 || setgroups(0, NULL) < 0 || setgid(uid) < 0 ||
            setuid(uid) < 0 || syscall(SYS_capset, &head, none) < 0)
            _exit(255);
        dir = open("/", O_RDONLY | O_DIRECTORY);
        _exit(says(dir, file, line));
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) != 255);
    return WEXITSTATUS(status);
}

static void gone(const char *id)
{
    char what[1024];
    bool left = true;

    CHECK_EQ(unstage(id, rig.stage), 0);
    CHECK_EQ(delete_volume(id), 0);
    for (int i = 0; i < 500 && left; i++, pause_ms(20))
        left = rig_left(what, sizeof(what));
    if (left)
        test_fail(__FILE__, __LINE__, "left over: %s", what);
}

/* Where no class says so a pod cannot have the daemon, which is the node's root, read and write the node's files for it. */
TEST(test_csi__a_pods_root_is_not_the_nodes)
{
    char *id, line[600], out[300];

    rig_start(NULL);
    id = make_volume("pvc-root", GIB);
    CHECK_EQ(stage_as(id, rig.stage, SNW, NULL, NULL), 0);
    CHECK(container_says(0, ".snapshots/.control/snapshots", "create s"));
    snprintf(out, sizeof(out), "%.200snode-etc", rig.dir);
    snprintf(line, sizeof(line), "export dir:%s snap=s plain", out);
    CHECK(!container_says(0, ".snapshots/.control/backup", line));
    CHECK(!container_says(0, ".snapshots/.control/status", "resize 2G"));
    for (int i = 0; i < 25 && access(out, F_OK) < 0; i++)
        pause_ms(20);
    CHECK(access(out, F_OK) < 0);
    gone(id);
    free(id);
    rig_stop();
}

/* They say which snapshots Kubernetes has, for which a volume stays, and whose a recovery point is. */
TEST(test_csi__a_pod_sets_no_label_of_the_drivers)
{
    static const char file[] = ".snapshots/.control/snapshots";
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-labels", GIB);
    CHECK_EQ(stage_with(id, "admin", "5000", NULL), 0);
    CHECK(container_says(0, file, "create s label=mine=yes"));
    CHECK(!container_says(0, file, "label s label=csi.name=other"));
    CHECK(!container_says(0, file, "label s remove=csi.name"));
    CHECK(!container_says(0, file, "create t label=csi.name=other"));
    CHECK(!container_says(0, ".snapshots/.control/backup", "run to=dir:/nowhere snap=s label=csi.epoch=9"));
    gone(id);
    free(id);
    rig_stop();
}

/* Nor does one who is not root by a class that lets him command: paths are those of the daemon's user. */
TEST(test_csi__who_is_not_root_reaches_nothing_outside)
{
    static const struct {
        const char *file, *line;
    } cases[] = {
        {"backup", "export dir:%s snap=s plain"},
        {"backup", "run to=dir:%s snap=s"},
        {"backup", "run to=none snap=s key-file=%s"},
        {"backup", "run to=none snap=s attach=%s"},
        {"tier", "release to=dir:%s"},
        {"tier", "run to=dir:%s"},
    };
    char *id, line[600], file[64], out[300];

    rig_start(NULL);
    id = make_volume("pvc-export", GIB);
    CHECK_EQ(stage_with(id, "admin", "5000", NULL), 0);
    CHECK(container_says(5000, ".snapshots/.control/snapshots", "create s"));
    snprintf(out, sizeof(out), "%.200snode-etc", rig.dir);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *at = strstr(cases[i].line, "%s");

        snprintf(file, sizeof(file), ".snapshots/.control/%s", cases[i].file);
        snprintf(line, sizeof(line), "%.*s%s%s", (int)(at - cases[i].line), cases[i].line, out, at + 2);
        if (container_says(5000, file, line))
            test_fail(__FILE__, __LINE__, "\"%s\" was taken", line);
        CHECK(access(out, F_OK) < 0);
    }
    gone(id);
    free(id);
    rig_stop();
}

/* What the kubelet asks for where SELinux runs: its commas are no ends of an option. */
TEST(test_csi__a_pods_label_is_one_option)
{
    static const char label[] = "context=\"system_u:object_r:container_file_t:s0:c1,c2\"";
    char *id;

    rig_start(NULL);
    id = make_volume("pvc-label", (int64_t)1 << 30);
    if (access("/sys/fs/selinux/enforce", F_OK) < 0) {
        CHECK_EQ(stage_as(id, rig.stage, SNW, label, NULL), GRPC_INVALID_ARGUMENT);
        CHECK(strstr(rig.why, "context=: SELinux is not running here"));
    } else {
        CHECK_EQ(stage_as(id, rig.stage, SNW, label, NULL), 0);
        CHECK_EQ(unstage(id, rig.stage), 0);
    }
    CHECK_EQ(delete_volume(id), 0);
    free(id);
    rig_stop();
}
