#include <sys/stat.h>

#include "snap/ns.h"
#include "snap/store/room.h"
#include "snap/store/ilock.h"

/* What a change of owner, or of bytes by somebody without rights over the file, takes away. */
static uint32_t mode_without_priv(uint32_t mode)
{
    if (S_ISDIR(mode))
        return mode;
    mode &= ~(uint32_t)S_ISUID;
    return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

static int drop_caps(struct ns *o, const struct inode *in, struct ns_edit *e)
{
    int r;

    if (!(in->flags & INODE_CAPS))
        return 0;
    r = ns_xattr_del(o, in->ino, NS_CAPS, &e->more);
    if (r < 0)
        return r;
    e->flags_off |= INODE_CAPS;
    return 0;
}

static void edit_times(struct ns *o, const struct vfs_setattr *a, struct ns_edit *e)
{
    if (a->set & (VFS_ATIME | VFS_ATIME_NOW)) {
        e->set |= NS_ATIME;
        e->atime = a->set & VFS_ATIME_NOW ? *ns_time(o) : a->atime;
    }
    if (a->set & (VFS_MTIME | VFS_MTIME_NOW)) {
        e->set |= NS_MTIME;
        e->mtime = a->set & VFS_MTIME_NOW ? *ns_time(o) : a->mtime;
    }
    e->set |= NS_CTIME;
    e->ctime = a->set & VFS_CTIME ? a->ctime : *ns_time(o);
}

static int set_in(struct ns *o, uint64_t ino, const struct vfs_setattr *a, struct inode *ret)
{
    struct ns_edit e = {0};
    struct inode in;
    int r = ns_inode(o, ino, &in);

    if (r < 0)
        return r;
    e.mode = in.mode;
    if ((a->set & (VFS_UID | VFS_GID | VFS_KILL_PRIV)) && !S_ISDIR(in.mode)) {
        e.mode = mode_without_priv(in.mode);
        r = drop_caps(o, &in, &e);
    }
    if (r == 0 && (a->set & VFS_MODE)) {
        e.mode = a->mode & 07777;
        r = ns_chmod_acl(o, &in, e.mode);
    }
    if (r < 0)
        return r;
    e.set = NS_MODE;
    if (a->set & VFS_UID) {
        e.set |= NS_UID;
        e.uid = a->uid;
    }
    if (a->set & VFS_GID) {
        e.set |= NS_GID;
        e.gid = a->gid;
    }
    edit_times(o, a, &e);
    return ns_edit(o, ino, &e, ret);
}

static int set_size(struct vol *v, const struct vfs_ctx *c, vfs_node n, const struct vfs_setattr *a,
                    struct vfs_attr *ret)
{
    struct file_req rq = {.conn = c != NULL ? c->conn : 0,
                          .unique = c != NULL ? c->unique : 0,
                          .part = (a->set & ~(unsigned)(VFS_SIZE | VFS_KILL_PRIV)) != 0,
                          .kill_priv = a->set & VFS_KILL_PRIV};
    struct room room = {0};
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = ns_changeable(v, n);

    if (r < 0)
        return r;
    r = ns_read(v, n, &o, &ino);
    if (r < 0)
        return r;
    r = ns_end(&o, ns_inode(&o, ino, &in));
    if (r < 0)
        return r;
    if (!S_ISREG(in.mode))
        return S_ISDIR(in.mode) ? -E_ISDIR : -E_INVAL;
    rq.branch = o.at.branch;
    do
        r = file_truncate(v, &rq, ino, a->size, &in);
    while (room_await(v, r, &room));
    if (r == -E_NOENT)
        r = -E_STALE;
    if (r == 0 && ret != NULL)
        ns_attr(&o, &in, ret);
    return r;
}

int vfs_setattr(struct vol *v, const struct vfs_ctx *c, vfs_node n, const struct vfs_setattr *a,
                struct vfs_attr *ret)
{
    struct vfs_setattr rest = *a;
    cleanup(ilock_drop) struct ilock lock = {0};
    uint64_t ino = vfs_node_ino(n);
    struct inode in;
    struct ns o;
    int r;

    if (a->set & VFS_SIZE) {
        r = set_size(v, c, n, a, ret);
        rest.set &= ~(unsigned)(VFS_SIZE | VFS_KILL_PRIV);
        if (r < 0 || rest.set == 0)
            return r;
    }
    ilock_take(v->store, &lock, v->rec.id, &ino, 1, true);
    r = ns_change(v, c, OP_SETATTR, n, &o, &ino);
    if (r < 0)
        return r;
    r = ns_end(&o, set_in(&o, ino, &rest, &in));
    if (r == 0 && ret != NULL)
        ns_attr(&o, &in, ret);
    return r;
}
