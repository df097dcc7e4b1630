/* Requests about names: lookup, make, link, remove, rename. */
#include "fs/op.h"
#include "fs/snapdir.h"

static void reply_entry(fuse_req_t req, int r, const struct vfs_attr *a)
{
    struct fuse_entry_param e;

    if (r < 0) {
        op_reply(req, r);
        return;
    }
    op_entry(op_session(req), a, &e);
    answer_replying();
    fuse_reply_entry(req, &e);
}

/* "." and ".." come from whoever opens by file handle. */
static int lookup_dots(struct session *ss, vfs_node dir, const char *name, struct vfs_attr *ret)
{
    int r = name[1] == '.' ? vfs_parent(ss->vol, dir, &dir) : 0;

    return r < 0 ? r : vfs_getattr(ss->vol, dir, ret);
}

static int lookup(struct session *ss, vfs_node dir, const char *name, struct fuse_entry_param *e)
{
    struct vfs_attr a;
    int r;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        r = lookup_dots(ss, dir, name, &a);
    } else if (strcmp(name, SNAPDIR_NAME) == 0) {
        r = snapdir_enter(ss, dir, e);
        if (r != -E_NOENT)
            return r;
    } else {
        r = vfs_lookup(ss->vol, dir, name, &a);
    }
    if (r == 0)
        op_entry(ss, &a, e);
    if (r == -E_NOENT) {
        *e = (struct fuse_entry_param){.entry_timeout =
                                           OP_FOREVER}; /* the kernel may remember that it is not there */
        r = 0;
    }
    return r;
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct session *ss = op_session(req);
    struct fuse_entry_param e;
    int r =
        op_is_own(parent) ? snapdir_lookup(ss, parent, name, &e) : lookup(ss, op_node(ss, parent), name, &e);

    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_entry(req, &e);
}

/* May this name be made or taken away in this directory? .snapshots is there already, and stays. */
static int may_change(fuse_ino_t parent, const char *name)
{
    if (op_is_own(parent))
        return -E_ROFS;
    return strcmp(name, SNAPDIR_NAME) == 0 ? -E_PERM : 0;
}

static int make(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev,
                struct vfs_attr *ret)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    int r = may_change(parent, name);

    if (op_known())
        return op_known_attr(ss, op_known()->value, ret);
    return r < 0 ? r : vfs_mknod(ss->vol, &c, op_node(ss, parent), name, mode, rdev, ret);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct vfs_attr a;
    int r = make(req, parent, name, mode, rdev, &a);

    reply_entry(req, r, &a);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct session *ss = op_session(req);
    struct fuse_entry_param e;
    struct vfs_ctx c = op_ctx(req);
    struct vfs_attr a;
    int r;

    if (!op_is_own(parent)) {
        r = make(req, parent, name, S_IFDIR | (mode & 07777), 0, &a);
        reply_entry(req, r, &a);
        return;
    }
    r = op_known() ? snapdir_lookup(ss, parent, name, &e) : snapdir_mkdir(ss, &c, parent, name, &e);
    answer_replying();
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_entry(req, &e);
}

static void reply_create(fuse_req_t req, const struct vfs_attr *a, struct fuse_file_info *fi)
{
    struct fuse_entry_param e;

    op_entry(op_session(req), a, &e);
    fi->fh = 0;
    fi->keep_cache = 1;
    answer_replying();
    fuse_reply_create(req, &e, fi);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
    struct vfs_attr a;
    int r = make(req, parent, name, S_IFREG | (mode & 07777), 0, &a);

    if (r < 0) {
        op_reply(req, r);
        return;
    }
    reply_create(req, &a, fi);
}

static int make_unnamed(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct vfs_attr *ret)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    int made, r;

    if (op_is_own(parent))
        return -E_ROFS;
    notify_making(ss);
    r = op_known() ? op_known_attr(ss, op_known()->value, ret)
                   : vfs_tmpfile(ss->vol, &c, op_node(ss, parent), S_IFREG | (mode & 07777), ret);
    made = notify_made(ss, r == 0 ? vfs_node_ino(ret->node) : 0);
    notify_unlinked(ss);
    return r < 0 ? r : made;
}

void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info *fi)
{
    struct vfs_attr a;
    int r = make_unnamed(req, parent, mode, &a);

    if (r < 0) {
        op_reply(req, r);
        return;
    }
    reply_create(req, &a, fi);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    struct vfs_attr a;
    int r = may_change(parent, name);

    if (op_known())
        r = op_known_attr(ss, op_known()->value, &a);
    else if (r == 0)
        r = vfs_symlink(ss->vol, &c, op_node(ss, parent), name, target, &a);
    reply_entry(req, r, &a);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    struct vfs_attr a;
    int r = op_is_own(ino) ? -E_XDEV : may_change(parent, name);

    if (op_known())
        r = vfs_getattr(ss->vol, op_node(ss, ino), &a);
    else if (r == 0)
        r = vfs_link(ss->vol, &c, op_node(ss, ino), op_node(ss, parent), name, &a);
    reply_entry(req, r, &a);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    int r = may_change(parent, name);

    if (r == 0 && !op_known())
        r = vfs_unlink(ss->vol, &c, op_node(ss, parent), name);
    if (r == 0)
        notify_unlinked(ss);
    op_reply(req, r);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    int r;

    if (op_is_own(parent)) {
        op_reply(req, op_known() ? 0 : snapdir_rmdir(ss, &c, parent, name));
        return;
    }
    r = may_change(parent, name);
    if (r == 0 && !op_known())
        r = vfs_rmdir(ss->vol, &c, op_node(ss, parent), name);
    if (r == 0)
        notify_unlinked(ss);
    op_reply(req, r);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to,
               unsigned flags)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    int r;

    if (op_is_own(parent) || op_is_own(to_parent)) {
        op_reply(req, op_known() ? 0 : snapdir_rename(ss, &c, parent, name, to_parent, to, flags));
        return;
    }
    r = may_change(parent, name);
    if (r == 0)
        r = may_change(to_parent, to);
    if (r == 0 && !op_known())
        r = vfs_rename(ss->vol, &c, op_node(ss, parent), name, op_node(ss, to_parent), to, flags);
    if (r == 0)
        notify_unlinked(ss);
    op_reply(req, r);
}
