/* Requests about attributes: stat, statx, chmod and its kin, extended attributes, statfs. */
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "fs/op.h"
#include "fs/snapdir.h"
#include "snap/tier.h"

#define OWN_XATTRS "user.varve." /* made up from what is known, never stored */

void op_stat(const struct session *ss, const struct vfs_attr *a, struct stat *ret)
{
    (void)ss;
    *ret = (struct stat){.st_ino = a->st_ino,
                         .st_mode = a->mode,
                         .st_nlink = a->nlink,
                         .st_uid = a->uid,
                         .st_gid = a->gid,
                         .st_rdev = a->rdev,
                         .st_size = (off_t)a->size,
                         .st_blksize = 4096,
                         .st_blocks = (blkcnt_t)a->blocks512,
                         .st_atim = a->atime,
                         .st_mtim = a->mtime,
                         .st_ctim = a->ctime};
}

void op_entry(const struct session *ss, const struct vfs_attr *a, struct fuse_entry_param *ret)
{
    *ret = (struct fuse_entry_param){.ino = a->node.v == ss->root.v ? FUSE_ROOT_ID : a->node.v,
                                     .generation = 1,
                                     .attr_timeout = OP_FOREVER,
                                     .entry_timeout = OP_FOREVER};
    op_stat(ss, a, &ret->attr);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct session *ss = op_session(req);
    double ttl = OP_FOREVER;
    struct vfs_attr a;
    struct stat st;
    int r;

    (void)fi;
    if (op_is_own(ino)) {
        r = snapdir_getattr(ss, ino, &st);
        ttl = 0;
    } else {
        r = vfs_getattr(ss->vol, op_node(ss, ino), &a);
        if (r == 0)
            op_stat(ss, &a, &st);
    }
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_attr(req, &st, ttl);
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
static void put_time(struct statx_timestamp *to, const struct timespec *t)
{
    to->tv_sec = t->tv_sec;
    to->tv_nsec = (uint32_t)t->tv_nsec;
}

static void fill_statx(struct statx *x, const struct stat *st, const struct timespec *btime)
{
    memset(x, 0, sizeof(*x));
    x->stx_mask = STATX_BASIC_STATS | (btime ? STATX_BTIME : 0);
    x->stx_blksize = 4096;
    x->stx_ino = st->st_ino;
    x->stx_mode = (uint16_t)st->st_mode;
    x->stx_nlink = (uint32_t)st->st_nlink;
    x->stx_uid = st->st_uid;
    x->stx_gid = st->st_gid;
    x->stx_size = (uint64_t)st->st_size;
    x->stx_blocks = (uint64_t)st->st_blocks;
    x->stx_rdev_major = major(st->st_rdev);
    x->stx_rdev_minor = minor(st->st_rdev);
    put_time(&x->stx_atime, &st->st_atim);
    put_time(&x->stx_mtime, &st->st_mtim);
    put_time(&x->stx_ctime, &st->st_ctim);
    if (btime)
        put_time(&x->stx_btime, btime);
}

void op_statx(fuse_req_t req, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
    struct session *ss = op_session(req);
    struct vfs_attr a = {0};
    struct statx x;
    struct stat st;
    int r = op_is_own(ino) ? snapdir_getattr(ss, ino, &st) : vfs_getattr(ss->vol, op_node(ss, ino), &a);

    (void)flags;
    (void)mask;
    (void)fi;
    if (r < 0) {
        op_reply(req, r);
        return;
    }
    if (!op_is_own(ino))
        op_stat(ss, &a, &st);
    fill_statx(&x, &st, op_is_own(ino) ? NULL : &a.btime);
    fuse_reply_statx(req, 0, &x, op_is_own(ino) ? 0 : OP_FOREVER);
}
#endif

/* What the kernel asks to set; the raw request has a bit that libfuse does not hand on. */
static struct vfs_setattr translate(const struct stat *st, int to_set)
{
    const struct fuse_setattr_in *in = (const struct fuse_setattr_in *)(op_header() + 1);
    static const struct {
        int bit;
        unsigned set;
    } map[] = {{FUSE_SET_ATTR_MODE, VFS_MODE},
               {FUSE_SET_ATTR_UID, VFS_UID},
               {FUSE_SET_ATTR_GID, VFS_GID},
               {FUSE_SET_ATTR_SIZE, VFS_SIZE},
               {FUSE_SET_ATTR_ATIME, VFS_ATIME},
               {FUSE_SET_ATTR_MTIME, VFS_MTIME},
               {FUSE_SET_ATTR_CTIME, VFS_CTIME},
               {FUSE_SET_ATTR_ATIME_NOW, VFS_ATIME_NOW},
               {FUSE_SET_ATTR_MTIME_NOW, VFS_MTIME_NOW}};
    struct vfs_setattr a = {.mode = st->st_mode & 07777,
                            .uid = st->st_uid,
                            .gid = st->st_gid,
                            .size = (uint64_t)st->st_size,
                            .atime = st->st_atim,
                            .mtime = st->st_mtim,
                            .ctime = st->st_ctim};

    for (size_t i = 0; i < ARRAY_LEN(map); i++)
        if (to_set & map[i].bit)
            a.set |= map[i].set;
    if (a.set & VFS_ATIME_NOW)
        a.set &= ~(unsigned)VFS_ATIME;
    if (a.set & VFS_MTIME_NOW)
        a.set &= ~(unsigned)VFS_MTIME;
    if (in->valid & FATTR_KILL_SUIDGID)
        a.set |= VFS_KILL_PRIV;
    return a;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
    struct session *ss = op_session(req);
    struct vfs_setattr set = translate(st, to_set);
    struct vfs_ctx c = op_ctx(req);
    double ttl = OP_FOREVER;
    struct vfs_attr a;
    struct stat out;
    int r;

    (void)fi;
    if (op_is_own(ino)) {
        r = snapdir_setattr(ss, ino, &set, &out);
        ttl = 0;
    } else {
        r = op_known() ? vfs_getattr(ss->vol, op_node(ss, ino), &a)
                       : vfs_setattr(ss->vol, &c, op_node(ss, ino), &set, &a);
        if (r == 0)
            op_stat(ss, &a, &out);
    }
    answer_replying();
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_attr(req, &out, ttl);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st;
    int r = vfs_statfs(op_session(req)->vol, &st);

    (void)ino;
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_statfs(req, &st);
}

/* --- extended attributes ------------------------------------------------------------------------------------------------- */

static bool is_own_xattr(const char *name)
{
    return strncmp(name, OWN_XATTRS, sizeof(OWN_XATTRS) - 1) == 0;
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    bool kill = (op_setxattr_flags() & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
    int r;

    if (op_is_own(ino))
        r = -E_ROFS;
    else if (is_own_xattr(name))
        r = -E_NOTSUP; /* so that `cp -a` of a snapshot's directory leaves them behind without a word */
    else if (op_known())
        r = 0;
    else
        r = vfs_setxattr(ss->vol, &c, op_node(ss, ino), name, value, size, flags, kill);
    op_reply(req, r);
}

static void reply_bytes(fuse_req_t req, int r, const struct buf *b, size_t size)
{
    if (r == 0 && size > 0 && b->len > size)
        r = -E_RANGE;
    if (r < 0)
        op_reply(req, r);
    else if (size == 0)
        fuse_reply_xattr(req, b->len);
    else
        fuse_reply_buf(req, (const char *)b->data, b->len);
}

/* `ls -l` asks for the label of every file, and each time the kernel asks us. Where SELinux is not running and a file has no label, it
 * hears that there are none here, which it asks once for all files. */
static bool is_label_unused(const char *name)
{
    return strcmp(name, "security.selinux") == 0 && !BROKEN(VARVE_BREAK_label_unused) && !mount_selinux();
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    cleanup(buf_free) struct buf b = {0};
    struct session *ss = op_session(req);
    int r;

    if (op_is_own(ino))
        r = -E_NODATA;
    else if (strncmp(name, TIER_XATTR, sizeof(TIER_XATTR) - 1) == 0)
        r = tier_xattr(ss->vol, op_node(ss, ino), name, &b);
    else if (is_own_xattr(name))
        r = snapdir_getxattr(ss, op_node(ss, ino), name, &b);
    else
        r = vfs_getxattr(ss->vol, op_node(ss, ino), name, &b);
    if (r == -E_NODATA && is_label_unused(name))
        r = -E_NOTSUP;
    reply_bytes(req, r, &b, size);
}

/* trusted.* is root's alone, its names too. */
static void drop_trusted(struct buf *b)
{
    static const char prefix[] = "trusted.";
    size_t kept = 0;

    for (size_t at = 0, n; at < b->len; at += n) {
        const char *name = (const char *)b->data + at;

        n = strlen(name) + 1;
        if (strncmp(name, prefix, sizeof(prefix) - 1) == 0)
            continue;
        memmove(b->data + kept, name, n);
        kept += n;
    }
    b->len = kept;
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    cleanup(buf_free) struct buf b = {0};
    struct session *ss = op_session(req);
    int r = 0;

    if (!op_is_own(ino)) {
        r = vfs_listxattr(ss->vol, op_node(ss, ino), &b);
        if (r == 0 && fuse_req_ctx(req)->uid != 0)
            drop_trusted(&b);
        if (r == 0)
            r = snapdir_listxattr(ss, op_node(ss, ino), &b);
    }
    reply_bytes(req, r, &b, size);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    int r = 0;

    if (op_is_own(ino) || is_own_xattr(name))
        r = -E_ROFS;
    else if (!op_known())
        r = vfs_removexattr(ss->vol, &c, op_node(ss, ino), name);
    op_reply(req, r);
}
