/* Requests about bytes, and the table of all requests. ACCESS, the locks, IOCTL and POLL are left out on purpose: libfuse
 * answers ENOSYS and the kernel does them itself. */
#include <errno.h>

#include "base/log.h"
#include "fs/op.h"
#include "fs/snapdir.h"

/* One answer for the life of the connection: the kernel opens, flushes and closes by itself from then on. */
static void op_never(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    fuse_reply_err(req, ENOSYS);
}

/* A command written to a control file is carried out, and answered, at its write(2). Where the kernel keeps what is written, it must be
 * told at the opening not to do so here, and then it tells us of each opening. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    const struct session *ss = op_session(req);
    bool commands = ss->opts.control == CONTROL_ADMIN || ss->opts.control == CONTROL_SNAPSHOT;

    if (!ss->kernel_times || ss->opts.snapdir == SNAPDIR_DISABLED || !commands) {
        op_never(req, ino, fi);
        return;
    }
    fi->direct_io = op_is_own(ino);
    fi->keep_cache = !op_is_own(ino);
    fuse_reply_open(req, fi);
}

const struct fuse_lowlevel_ops op_table = {
    .init = init_op,
    .lookup = op_lookup,
    .open = op_open,
    .opendir = op_never,
    .flush = op_never,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .read = op_read,
    .write = op_write,
    .fsync = op_fsync,
    .fsyncdir = op_fsync,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .statfs = op_statfs,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
    .create = op_create,
    .fallocate = op_fallocate,
    .copy_file_range = op_copy_file_range,
    .lseek = op_lseek,
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    .tmpfile = op_tmpfile,
#endif
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
    .statx = op_statx,
#endif
};

void op_reply(fuse_req_t req, int r)
{
    const struct fuse_in_header *h = op_header();

    if (r < 0 && err_errno(r) == EIO)
        log_error("fs", "reply", "opcode=%u node=%llx result=%s (%s)", h->opcode,
                  (unsigned long long)h->nodeid, err_name(r), err_text(r));
    answer_replying();
    fuse_reply_err(req, err_errno(r));
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    cleanup(buf_free) struct buf b = {0};
    struct session *ss = op_session(req);
    int r = op_is_own(ino) ? -E_INVAL : vfs_readlink(ss->vol, op_node(ss, ino), &b);

    if (r == 0 && !buf_cstr(&b))
        r = -E_NOMEM;
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_readlink(req, (const char *)b.data);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct session *ss = op_session(req);
    size_t len = MIN_OF(size, OP_BUF_SIZE);
    int r = op_is_own(ino) ? snapdir_read(ss, ino, op_room(), len, (uint64_t)off, &len)
                           : vfs_read(ss->vol, op_node(ss, ino), op_room(), len, (uint64_t)off, &len);

    (void)fi;
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_buf(req, (const char *)op_room(), len);
}

/* Does the inode have bits that an ordinary user's write takes away? */
static bool loses_priv_bits(struct session *ss, fuse_ino_t ino)
{
    struct vfs_attr a;

    if (op_known()) /* then they are gone already, and the kernel has not been told */
        return true;
    return vfs_getattr(ss->vol, op_node(ss, ino), &a) == 0 && (a.mode & (S_ISUID | S_ISGID));
}

/* The kernel leaves the taking away to us and goes on believing the mode that it has. It must not: exec looks there. With
 * an offset of -1 this touches attributes only and waits for nobody, so a request's thread may do it. */
static void forget_mode(struct session *ss, fuse_ino_t ino)
{
    if (!BROKEN(VARVE_BREAK_mode_kept))
        fuse_lowlevel_notify_inval_inode(ss->fuse, ino, -1, 0);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *p, size_t size, off_t off,
              struct fuse_file_info *fi)
{
    const struct fuse_write_in *in = (const struct fuse_write_in *)(op_header() + 1);
    bool kill = (in->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    bool loses = kill && !op_is_own(ino) && loses_priv_bits(ss, ino);
    int r;

    (void)fi;
    c.kernel_times = ss->kernel_times && (in->write_flags & FUSE_WRITE_CACHE);
    if (op_is_own(ino))
        r = snapdir_write(ss, &c, op_header()->pid, ino, p, size, (uint64_t)off);
    else if (op_known())
        r = 0;
    else
        r = vfs_write(ss->vol, &c, op_node(ss, ino), p, size, (uint64_t)off, kill);
    if (loses)
        forget_mode(ss, ino);
    answer_replying();
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_write(req, size);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct session *ss = op_session(req);

    (void)datasync;
    (void)fi;
    op_reply(req, op_is_own(ino) ? 0 : vfs_fsync(ss->vol, op_node(ss, ino)));
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    bool loses = !op_is_own(ino) && loses_priv_bits(ss, ino);
    int r = op_is_own(ino) ? -E_ROFS : 0;

    (void)fi;
    if (r == 0 && !op_known())
        r = vfs_fallocate(ss->vol, &c, op_node(ss, ino), mode, (uint64_t)off, (uint64_t)len);
    if (loses)
        forget_mode(ss, ino);
    op_reply(req, r);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct session *ss = op_session(req);
    uint64_t to = 0;
    int r = op_is_own(ino) ? -E_INVAL : vfs_seek(ss->vol, op_node(ss, ino), whence, (uint64_t)off, &to);

    (void)fi;
    /* what the kernel has not written back would be a hole; told this once it takes every byte for data */
    if (ss->kernel_times && !BROKEN(VARVE_BREAK_writeback_seek))
        fuse_reply_err(req, ENOSYS);
    else if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_lseek(req, (off_t)to);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_off, struct fuse_file_info *fi_in,
                        fuse_ino_t out, off_t out_off, struct fuse_file_info *fi_out, size_t len, int flags)
{
    struct session *ss = op_session(req);
    struct vfs_ctx c = op_ctx(req);
    uint64_t done = 0;
    int r = op_is_own(in) || op_is_own(out) ? -E_XDEV : 0;
    bool loses = r == 0 && loses_priv_bits(ss, out);

    (void)fi_in;
    (void)fi_out;
    (void)flags;
    /* the answer has 32 bits; what is left over comes again */
    if (r == 0 && op_known())
        done = op_known()->value;
    else if (r == 0)
        r = vfs_copy(ss->vol, &c, op_node(ss, in), (uint64_t)in_off, op_node(ss, out), (uint64_t)out_off,
                     MIN_OF((uint64_t)len, 1ull << 30), &done);
    if (loses)
        forget_mode(ss, out);
    answer_replying();
    if (r < 0)
        op_reply(req, r);
    else
        fuse_reply_write(req, (size_t)done);
}
