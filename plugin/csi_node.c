/* Node: staging is a mount by varve, publishing a bind mount of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "plugin/csi_methods.h"

static bool reads_only(const Csi__V1__VolumeCapability *cap)
{
    switch (cap->access_mode->mode) {
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_READER_ONLY:
    case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_READER_ONLY: return true;
    default: return false;
    }
}

/* One level: what lies above it is the caller's. */
static int directory(struct csi_call *k, const char *field, const char *path)
{
    struct stat st;

    if (mkdir(path, 0750) == 0)
        return 0;
    if (errno != EEXIST)
        return csi_fail(k, errno == ENOENT ? GRPC_FAILED_PRECONDITION : GRPC_INTERNAL,
                        "%s: cannot be made: %s", field, err_text(err_from_errno(errno)));
    if (lstat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: is no directory", field);
    return 0;
}

/* --- staging ------------------------------------------------------------------------------------------------------------- */

/* -o of varve mount: the class' options, then those of the claim. The group of a pod has the control files where the class names none. */
static int options(struct csi_call *k, const Csi__V1__NodeStageVolumeRequest *q, const char **ret)
{
    static const char *const keys[][2] = {
        {"control", "control"}, {"controlGid", "control_gid"}, {"snapdir", "snapdir"}};
    const Csi__V1__VolumeCapability__MountVolume *m = q->volume_capability->mount;
    const char *opts = ",control=" CSI_CONTROL; /* a later one counts */
    bool named = false;

    for (size_t i = 0; i < q->n_volume_context && opts; i++)
        for (size_t n = 0; n < ARRAY_LEN(keys) && opts; n++) {
            const char *value = q->volume_context[i]->value;

            if (strcmp(q->volume_context[i]->key, keys[n][0]) != 0)
                continue;
            if (!*value || strpbrk(value, ", \t\n"))
                return csi_fail(k, GRPC_INVALID_ARGUMENT, "volume_context[%s]: \"%.64s\" is not understood",
                                keys[n][0], value);
            named |= n == 1;
            opts = arena_printf(&k->arena, "%s,%s=%s", opts, keys[n][1], value);
        }
    for (size_t i = 0; i < m->n_mount_flags && opts; i++)
        opts = arena_printf(&k->arena, "%s,%s", opts, m->mount_flags[i]);
    if (opts && *m->volume_mount_group && (!named || BROKEN(VARVE_BREAK_csi_control)))
        opts = arena_printf(&k->arena, "%s,control_gid=%s", opts, m->volume_mount_group);
    *ret = opts && *opts ? opts + 1 : opts;
    return opts ? 0 : csi_nomem(k);
}

static int mount_group(struct csi_call *k, const Csi__V1__VolumeCapability *c, const char *dir)
{
    static const char field[] = "volume_capability.mount.volume_mount_group";
    const char *text = c->mount->volume_mount_group;
    uint64_t gid;

    if (!*text)
        return 0;
    if (csi_number(text, &gid) < 0 || gid >= UINT32_MAX)
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: is no number of a group", field);
    return csi_group_set(k, field, dir, (gid_t)gid);
}

static int stage(struct csi_call *k, const Csi__V1__NodeStageVolumeRequest *q, const char *dir,
                 const struct csi_volume *v)
{
    const char *what = arena_printf(&k->arena, "%s/%s", k->d->store, v->name), *opts;
    struct csi_mount m;
    int r = what ? options(k, q, &opts) : csi_nomem(k);

    if (r == 0)
        r = csi_mount_at(k, dir, v, &m);
    if (r == 0 && m.dead && (r = csi_unmount(k, "staging_target_path", dir, true)) == 0)
        m.at = CSI_AT_NOTHING; /* its daemon is gone for good: after a restart of the node, say */
    if (r < 0)
        return r;
    if (m.at == CSI_AT_OTHER)
        return csi_fail(k, GRPC_FAILED_PRECONDITION, "staging_target_path: something else is mounted there");
    if (m.at == CSI_AT_NOTHING) {
        r = directory(k, "staging_target_path", dir);
        if (r == 0)
            r = *opts ? csi_varve(k, "staging_target_path",
                                  (const char *const[]){"mount", what, dir, "-o", opts, NULL})
                      : csi_varve(k, "staging_target_path", (const char *const[]){"mount", what, dir, NULL});
    }
    return r < 0 ? r : mount_group(k, q->volume_capability, dir);
}

CSI_METHOD(NodeStageVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const struct csi_volume *v;
    struct csi_volumes vs;
    const char *dir;
    int r = csi_missing(k, "volume_id", q->volume_id);

    (void)a;
    if (r == 0)
        r = csi_path(k, "staging_target_path", q->staging_target_path, &dir);
    if (r == 0)
        r = csi_cap_check(k, q->volume_capability);
    if (r == 0 && csi_mobile_is(q->volume_id)) {
        r = csi_enter(k, &held, "volume_id", q->volume_id);
        if (r == 0)
            r = csi_mobile_take(k, q->volume_id, true, &vs, &v);
    } else if (r == 0) {
        r = csi_volume_find(k, "volume_id", q->volume_id, &vs, &v);
    }
    if (r == 0)
        r = csi_enter(k, &held, "volume_id", v->uuid);
    return r < 0 ? r : stage(k, q, dir, v);
}

/* What is to be unmounted goes also when the volume is not known any more, or the daemon cannot be asked: *ret_asked. */
static int volume_or_none(struct csi_call *k, const char *id, struct csi_volumes *vs,
                          const struct csi_volume **ret, bool *ret_asked)
{
    int r = csi_volumes(k, vs);

    *ret = NULL;
    *ret_asked = r == 0;
    if (r < 0)
        return k->code == GRPC_UNAVAILABLE ? 0 : r;
    *ret = csi_volume_by_id(vs, id);
    return 0;
}

/* Ours to unmount: the volume itself; where it is not known, a dead mount of our store. */
static bool is_ours(const struct csi *d, const struct csi_mount *m, const struct csi_volume *v)
{
    size_t n = strlen(d->store);

    return m->at == CSI_AT_VOLUME ||
           (m->at == CSI_AT_OTHER && !v && strncmp(m->source, d->store, n) == 0 && m->source[n] == '/');
}

static int unmount(struct csi_call *k, const char *dir)
{
    return csi_varve(k, "staging_target_path", (const char *const[]){"umount", dir, NULL});
}

/* One that no pod had, or whose driver died in between: what it holds is in its repository before it goes. */
static int let_go(struct csi_call *k, const struct csi_volumes *vs, const struct csi_volume *v,
                  const char *dir, bool dead)
{
    int r = csi_mobile_hand(k, vs, v);

    if (r == 0)
        r = dead ? csi_unmount(k, "staging_target_path", dir, true) : unmount(k, dir);
    csi_sweep_soon(k->d); /* from now on another node may take it */
    return r;
}

CSI_METHOD(NodeUnstageVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const struct csi_volume *v = NULL;
    struct csi_volumes vs;
    const char *dir;
    struct csi_mount m;
    bool asked;
    int r = csi_missing(k, "volume_id", q->volume_id);

    (void)a;
    if (r == 0)
        r = csi_path(k, "staging_target_path", q->staging_target_path, &dir);
    if (r == 0)
        r = volume_or_none(k, q->volume_id, &vs, &v, &asked);
    if (r == 0 && !asked && csi_mobile_is(q->volume_id))
        r = csi_no_daemon(k); /* nor would it be let go of later */
    if (r == 0)
        r = csi_enter(k, &held, "volume_id", v ? v->uuid : q->volume_id);
    if (r == 0)
        r = csi_mount_at(k, dir, v, &m);
    if (r < 0 || !is_ours(k->d, &m, v))
        return r;
    if (v && csi_mobile_volume(v))
        return let_go(k, &vs, v, dir, m.dead);
    return m.dead || !v ? csi_unmount(k, "staging_target_path", dir, m.dead) : unmount(k, dir);
}

/* --- publishing ---------------------------------------------------------------------------------------------------------- */

/* Read-only before it is mounted: what others see of the mount (propagation) is as it is at that moment, not as it is made later. */
static int bind_readonly(const char *dir, const char *target)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    int fd = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), e = 0;

    if (fd < 0)
        return errno;
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
        move_mount(fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        e = errno;
    close(fd);
    return e;
}

static int bind_to(struct csi_call *k, const char *dir, const char *target, bool readonly)
{
    int r = directory(k, "target_path", target), e = 0;

    if (r < 0)
        return r;
    if (readonly && !BROKEN(VARVE_BREAK_csi_readonly))
        e = bind_readonly(dir, target);
    else if (mount(dir, target, NULL, MS_BIND, NULL) < 0)
        e = errno;
    return e ? csi_fail(k, GRPC_INTERNAL, "target_path: cannot be mounted: %s", err_text(err_from_errno(e)))
             : 0;
}

static int publish(struct csi_call *k, const Csi__V1__NodePublishVolumeRequest *q, const char *dir,
                   const char *target, const struct csi_volume *v)
{
    bool readonly = q->readonly || reads_only(q->volume_capability), others;
    struct csi_mount staged, m;
    int r = csi_mount_at(k, dir, v, &staged);

    if (r == 0 && (staged.at != CSI_AT_VOLUME || staged.dead))
        r = csi_fail(k, GRPC_FAILED_PRECONDITION, "staging_target_path: the volume is not staged there");
    if (r == 0)
        r = csi_mount_at(k, target, v, &m);
    if (r == 0 && m.dead && (r = csi_unmount(k, "target_path", target, true)) == 0)
        m.at = CSI_AT_NOTHING;
    if (r < 0)
        return r;
    if (m.at == CSI_AT_OTHER)
        return csi_fail(k, GRPC_FAILED_PRECONDITION, "target_path: something else is mounted there");
    if (m.at == CSI_AT_VOLUME)
        return m.readonly == readonly || staged.readonly
                   ? 0
                   : csi_fail(k, GRPC_ALREADY_EXISTS,
                              "readonly: the volume is published there the other way");
    if (q->volume_capability->access_mode->mode ==
        CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_SINGLE_WRITER) {
        r = csi_mount_others(k, v, dir, target, &others);
        if (r == 0 && others)
            r = csi_fail(k, GRPC_FAILED_PRECONDITION,
                         "target_path: the volume has a single writer, and is published elsewhere");
    }
    if (r == 0 && !readonly && !staged.readonly) /* staged for another pod, of another group */
        r = mount_group(k, q->volume_capability, dir);
    return r < 0 ? r : bind_to(k, dir, target, readonly);
}

static int publish_staged(struct csi_call *k, const Csi__V1__NodePublishVolumeRequest *q, const char *target,
                          struct csi_held *held)
{
    const struct csi_volume *v;
    struct csi_volumes vs;
    const char *dir;
    int r = *q->staging_target_path ? 0
                                    : csi_fail(k, GRPC_FAILED_PRECONDITION,
                                               "staging_target_path: is missing; volumes are staged before");

    if (r == 0)
        r = csi_path(k, "staging_target_path", q->staging_target_path, &dir);
    if (r == 0 && csi_mobile_is(q->volume_id))
        r = csi_enter(k, held, "volume_id", q->volume_id);
    if (r == 0)
        r = csi_volume_find(k, "volume_id", q->volume_id, &vs, &v);
    if (r == 0)
        r = csi_enter(k, held, "volume_id", v->uuid);
    if (r == 0 && csi_mobile_volume(v))
        r = csi_mobile_publish(k, q->volume_id, &vs, &v);
    return r < 0 ? r : publish(k, q, dir, target, v);
}

CSI_METHOD(NodePublishVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    const char *target;
    int r = csi_missing(k, "volume_id", q->volume_id);

    (void)a;
    if (r == 0)
        r = csi_path(k, "target_path", q->target_path, &target);
    if (r == 0)
        r = csi_cap_check(k, q->volume_capability);
    if (r == 0 && !csi_is_ephemeral(q))
        return publish_staged(k, q, target, &held);
    if (r == 0)
        r = csi_enter(k, &held, "volume_id", q->volume_id);
    return r < 0 ? r : csi_ephemeral_publish(k, q, target);
}

static int unmount_at(struct csi_call *k, const char *target, const struct csi_mount *m, bool ephemeral)
{
    int r = 0;

    if (m->at != CSI_AT_NOTHING)
        r = ephemeral && !m->dead ? csi_varve(k, "target_path", (const char *const[]){"umount", target, NULL})
                                  : csi_unmount(k, "target_path", target, m->dead);
    if (r == 0 && rmdir(target) < 0 && errno != ENOENT && errno != ENOTDIR)
        r = csi_fail(k, GRPC_INTERNAL, "target_path: cannot be removed: %s", err_text(err_from_errno(errno)));
    return r;
}

CSI_METHOD(NodeUnpublishVolume)
{
    cleanup(csi_leave) struct csi_held held = {.n = 0};
    struct csi_volumes vs = {.n = 0};
    const struct csi_volume *v = NULL;
    const char *target;
    struct csi_mount m;
    bool ephemeral = false, asked, more = false;
    int r = csi_missing(k, "volume_id", q->volume_id);

    (void)a;
    if (r == 0)
        r = csi_path(k, "target_path", q->target_path, &target);
    if (r == 0)
        r = volume_or_none(k, q->volume_id, &vs, &v, &asked);
    if (r == 0)
        r = csi_enter(k, &held, "volume_id", v ? v->uuid : q->volume_id);
    if (r == 0 && !v && asked) {
        r = csi_ephemeral_find(k, q->volume_id, &vs, &v);
        ephemeral = v != NULL;
    } else if (r == 0 && !v) {
        r = csi_ephemeral_is(k, q->volume_id, &more);
        more = more || csi_mobile_is(q->volume_id);
    }
    if (r == 0)
        r = csi_mount_at(k, target, v, &m);
    if (r < 0 || (m.at != CSI_AT_NOTHING && !is_ours(k->d, &m, v)))
        return r; /* it is not published there */
    r = unmount_at(k, target, &m, ephemeral);
    if (r == 0 && more)
        return csi_no_daemon(k); /* what is to be done besides would not be asked for again */
    if (r == 0 && v && csi_mobile_volume(v) && !BROKEN(VARVE_BREAK_csi_hand))
        return csi_mobile_hand(k, &vs, v); /* its pod is there until this is done, and no other one begins */
    return r == 0 && ephemeral ? csi_ephemeral_drop(k, v) : r;
}

/* --- what is there ------------------------------------------------------------------------------------------------------- */

/* The volume is mounted at this path of the request. */
static int mounted_at(struct csi_call *k, const char *id, const char *path)
{
    const char *dir;
    const struct csi_volume *v;
    struct csi_volumes vs;
    struct csi_mount m;
    int r = csi_missing(k, "volume_id", id);

    if (r == 0)
        r = csi_missing(k, "volume_path", path);
    if (r == 0)
        r = csi_volumes(k, &vs);
    if (r < 0)
        return r;
    v = csi_volume_by_id(&vs, id);
    if (!v && (r = csi_ephemeral_find(k, id, &vs, &v)) == 0 && !v)
        r = csi_fail(k, GRPC_NOT_FOUND, "volume_id: there is no such volume on node %s", k->d->node);
    if (r == 0 && (csi_path(k, "volume_path", path, &dir) < 0 || csi_mount_at(k, dir, v, &m) < 0))
        return csi_fail(k, GRPC_NOT_FOUND, "volume_path: the volume is not mounted there");
    if (r == 0 && (m.at != CSI_AT_VOLUME || m.dead))
        r = csi_fail(k, GRPC_NOT_FOUND, "volume_path: the volume is not mounted there");
    return r;
}

CSI_METHOD(NodeGetVolumeStats)
{
    Csi__V1__VolumeUsage *u = arena_alloc(&k->arena, 2 * sizeof(*u));
    struct statvfs s;
    int r = u ? mounted_at(k, q->volume_id, q->volume_path) : csi_nomem(k);

    a->usage = arena_alloc(&k->arena, 2 * sizeof(*a->usage));
    if (r < 0 || !a->usage)
        return r < 0 ? r : csi_nomem(k);
    if (statvfs(q->volume_path, &s) < 0)
        return csi_fail(k, GRPC_INTERNAL, "volume_path: %s", err_text(err_from_errno(errno)));
    for (size_t i = 0; i < 2; i++) {
        csi__v1__volume_usage__init(&u[i]);
        a->usage[a->n_usage++] = &u[i];
    }
    u[0].unit = CSI__V1__VOLUME_USAGE__UNIT__BYTES;
    u[0].total = (int64_t)(s.f_blocks * s.f_frsize);
    u[0].available = (int64_t)(s.f_bavail * s.f_frsize);
    u[0].used = (int64_t)((s.f_blocks - s.f_bfree) * s.f_frsize);
    u[1].unit = CSI__V1__VOLUME_USAGE__UNIT__INODES;
    u[1].total = (int64_t)s.f_files;
    u[1].available = (int64_t)s.f_favail;
    u[1].used = (int64_t)(s.f_files - s.f_ffree);
    return 0;
}

/* The limit was raised by the controller, and holds at once. */
CSI_METHOD(NodeExpandVolume)
{
    const struct csi_volume *v;
    struct csi_volumes vs;
    int r = q->volume_capability ? csi_cap_check(k, q->volume_capability) : 0;

    if (r == 0)
        r = mounted_at(k, q->volume_id, q->volume_path);
    if (r == 0)
        r = csi_volume_find(k, "volume_id", q->volume_id, &vs, &v);
    if (r == 0)
        a->capacity_bytes = (int64_t)v->size;
    return r;
}

CSI_METHOD(NodeGetCapabilities)
{
    static const Csi__V1__NodeServiceCapability__RPC__Type types[] = {
        CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__STAGE_UNSTAGE_VOLUME,
        CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__GET_VOLUME_STATS,
        CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__EXPAND_VOLUME,
        CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__SINGLE_NODE_MULTI_WRITER,
        CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__VOLUME_MOUNT_GROUP,
        CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__GET_VOLUME_HEALTH,
        CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__GET_STORAGE_HEALTH};
    struct one {
        Csi__V1__NodeServiceCapability cap;
        Csi__V1__NodeServiceCapability__RPC rpc;
    } *all = arena_alloc(&k->arena, ARRAY_LEN(types) * sizeof(*all));

    (void)q;
    a->capabilities = arena_alloc(&k->arena, ARRAY_LEN(types) * sizeof(*a->capabilities));
    if (!all || !a->capabilities)
        return csi_nomem(k);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        csi__v1__node_service_capability__init(&all[i].cap);
        csi__v1__node_service_capability__rpc__init(&all[i].rpc);
        all[i].rpc.type = types[i];
        all[i].cap.type_case = CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC;
        all[i].cap.rpc = &all[i].rpc;
        a->capabilities[a->n_capabilities++] = &all[i].cap;
    }
    return 0;
}

CSI_METHOD(NodeGetInfo)
{
    Csi__V1__Topology **list;
    size_t n;
    int r = csi_topology(k, &n, &list);

    (void)q;
    if (r < 0)
        return r;
    a->node_id = arena_dup(&k->arena, k->d->node);
    a->max_volumes_per_node = k->d->volumes_max;
    a->accessible_topology = list[0];
    return a->node_id ? 0 : csi_nomem(k);
}
