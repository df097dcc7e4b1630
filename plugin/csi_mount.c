/* Mounts of this node: looked up in the table of mounts, undone; the program varve makes them. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mounts.h"
#include "plugin/csi.h"

/* --- the table of mounts ------------------------------------------------------------------------------------------------- */

struct search {
    const char *dir;
    struct csi_mount *ret;
    bool found, varve;
};

static bool has_option(const char *opts, const char *want)
{
    size_t n = strlen(want);

    for (const char *at = opts; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, want, n) == 0 && (at[n] == ',' || !at[n]))
            return true;
    return false;
}

static int search_line(void *arg, const struct mounts_line *l)
{
    struct search *s = arg;

    if (strcmp(l->dir, s->dir) != 0)
        return 0;
    s->found = true; /* the last one is on top */
    s->varve = strcmp(l->type, "fuse.varve") == 0;
    s->ret->readonly = has_option(l->opts, "ro");
    snprintf(s->ret->source, sizeof(s->ret->source), "%s", l->source);
    return 0;
}

/* STORE/VOLUME[@SNAP] of the table is this volume of our store. */
static bool source_is(const struct csi *d, const char *source, const struct csi_volume *v)
{
    size_t n = strlen(d->store), name = strlen(v->name);

    return strncmp(source, d->store, n) == 0 && source[n] == '/' &&
           strncmp(source + n + 1, v->name, name) == 0 &&
           (!source[n + 1 + name] || source[n + 1 + name] == '@');
}

int csi_mount_at(struct csi_call *k, const char *dir, const struct csi_volume *v, struct csi_mount *ret)
{
    struct search s = {.dir = dir, .ret = ret};
    struct statvfs
        st; /* is asked of the daemon each time; what stat(2) says, the kernel may know by itself */
    int r;

    *ret = (struct csi_mount){.at = CSI_AT_NOTHING};
    r = mounts_each(search_line, &s);
    if (r < 0)
        return csi_fail(k, GRPC_INTERNAL, "the table of mounts cannot be read: %s", err_text(r));
    if (!s.found)
        return 0;
    ret->at = s.varve && v && source_is(k->d, ret->source, v) ? CSI_AT_VOLUME : CSI_AT_OTHER;
    ret->dead = s.varve && !BROKEN(VARVE_BREAK_csi_dead) && statvfs(dir, &st) < 0 && errno == ENOTCONN;
    return 0;
}

struct others {
    struct csi_call *k;
    const struct csi_volume *v;
    const char *a, *b;
    bool found;
};

static int others_line(void *arg, const struct mounts_line *l)
{
    struct others *o = arg;

    o->found |= strcmp(l->type, "fuse.varve") == 0 && source_is(o->k->d, l->source, o->v) &&
                strcmp(l->dir, o->a) != 0 && strcmp(l->dir, o->b) != 0;
    return 0;
}

int csi_mount_others(struct csi_call *k, const struct csi_volume *v, const char *a, const char *b, bool *ret)
{
    struct others o = {.k = k, .v = v, .a = a, .b = b};
    int r = mounts_each(others_line, &o);

    *ret = o.found;
    return r < 0 ? csi_fail(k, GRPC_INTERNAL, "the table of mounts cannot be read: %s", err_text(r)) : 0;
}

/* --- paths --------------------------------------------------------------------------------------------------------------- */

/* Where what lies above is not there, nothing is mounted there either: then the words do. */
static const char *resolved(struct csi_call *k, char *path)
{
    char *slash, real[PATH_MAX];

    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = 0;
    slash = strrchr(path, '/');
    if (slash == path)
        return path;
    *slash = 0;
    if (!realpath(path, real)) {
        *slash = '/';
        return path;
    }
    return arena_printf(&k->arena, "%s/%s", strcmp(real, "/") == 0 ? "" : real, slash + 1);
}

int csi_path(struct csi_call *k, const char *field, const char *path, const char **ret)
{
    size_t n = strlen(path);
    char *copy;
    int r = csi_missing(k, field, path);

    if (r < 0)
        return r;
    if (path[0] != '/' || n >= PATH_MAX || strstr(path, "/../") ||
        (n > 2 && strcmp(path + n - 3, "/..") == 0))
        return csi_fail(k, GRPC_INVALID_ARGUMENT, "%s: is no absolute path without ..", field);
    copy = arena_dup(&k->arena, path);
    *ret = copy ? resolved(k, copy) : NULL;
    return *ret ? 0 : csi_nomem(k);
}

int csi_unmount(struct csi_call *k, const char *field, const char *dir, bool dead)
{
    if (umount2(dir, dead ? MNT_DETACH : UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT)
        return 0;
    return csi_fail(k, GRPC_INTERNAL, "%s: cannot be unmounted: %s", field, err_text(err_from_errno(errno)));
}

int csi_group_set(struct csi_call *k, const char *field, const char *dir, gid_t gid)
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return csi_fail(k, GRPC_INTERNAL, "%s: %s", field, err_text(err_from_errno(errno)));
    if (st.st_gid == gid && (st.st_mode & 02070) == 02070)
        return 0;
    if (chown(dir, (uid_t)-1, gid) < 0 || chmod(dir, (st.st_mode & 07777) | 02070) < 0)
        return csi_fail(k, GRPC_INTERNAL, "%s: %s", field, err_text(err_from_errno(errno)));
    return 0;
}
