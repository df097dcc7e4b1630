/* Does a request hold what its header and its own numbers announce? libfuse takes that on trust and would read beyond it. */
#include "fs/op.h"

struct shape {
    uint8_t arg;   /* bytes of the fixed part */
    uint8_t names; /* that follow it, each with its NUL */
};

static const struct shape shapes[OP_CODES] = {
    [FUSE_LOOKUP] = {0, 1},
    [FUSE_FORGET] = {sizeof(struct fuse_forget_in), 0},
    [FUSE_GETATTR] = {sizeof(struct fuse_getattr_in), 0},
    [FUSE_SETATTR] = {sizeof(struct fuse_setattr_in), 0},
    [FUSE_SYMLINK] = {0, 2},
    [FUSE_MKNOD] = {sizeof(struct fuse_mknod_in), 1},
    [FUSE_MKDIR] = {sizeof(struct fuse_mkdir_in), 1},
    [FUSE_UNLINK] = {0, 1},
    [FUSE_RMDIR] = {0, 1},
    [FUSE_RENAME] = {sizeof(struct fuse_rename_in), 2},
    [FUSE_LINK] = {sizeof(struct fuse_link_in), 1},
    [FUSE_OPEN] = {sizeof(struct fuse_open_in), 0},
    [FUSE_READ] = {sizeof(struct fuse_read_in), 0},
    [FUSE_WRITE] = {sizeof(struct fuse_write_in), 0},
    [FUSE_RELEASE] = {sizeof(struct fuse_release_in), 0},
    [FUSE_FSYNC] = {sizeof(struct fuse_fsync_in), 0},
    [FUSE_SETXATTR] = {FUSE_COMPAT_SETXATTR_IN_SIZE, 1},
    [FUSE_GETXATTR] = {sizeof(struct fuse_getxattr_in), 1},
    [FUSE_LISTXATTR] = {sizeof(struct fuse_getxattr_in), 0},
    [FUSE_REMOVEXATTR] = {0, 1},
    [FUSE_FLUSH] = {sizeof(struct fuse_flush_in), 0},
    [FUSE_OPENDIR] = {sizeof(struct fuse_open_in), 0},
    [FUSE_READDIR] = {sizeof(struct fuse_read_in), 0},
    [FUSE_RELEASEDIR] = {sizeof(struct fuse_release_in), 0},
    [FUSE_FSYNCDIR] = {sizeof(struct fuse_fsync_in), 0},
    [FUSE_GETLK] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_SETLK] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_SETLKW] = {sizeof(struct fuse_lk_in), 0},
    [FUSE_ACCESS] = {sizeof(struct fuse_access_in), 0},
    [FUSE_CREATE] = {sizeof(struct fuse_create_in), 1},
    [FUSE_INTERRUPT] = {sizeof(struct fuse_interrupt_in), 0},
    [FUSE_BMAP] = {sizeof(struct fuse_bmap_in), 0},
    [FUSE_IOCTL] = {sizeof(struct fuse_ioctl_in), 0},
    [FUSE_POLL] = {sizeof(struct fuse_poll_in), 0},
    [FUSE_BATCH_FORGET] = {sizeof(struct fuse_batch_forget_in), 0},
    [FUSE_FALLOCATE] = {sizeof(struct fuse_fallocate_in), 0},
    [FUSE_READDIRPLUS] = {sizeof(struct fuse_read_in), 0},
    [FUSE_RENAME2] = {sizeof(struct fuse_rename2_in), 2},
    [FUSE_LSEEK] = {sizeof(struct fuse_lseek_in), 0},
    [FUSE_COPY_FILE_RANGE] = {sizeof(struct fuse_copy_file_range_in), 0},
    [51 /* TMPFILE, for older headers */] = {sizeof(struct fuse_create_in), 1},
    [52 /* STATX */] = {24, 0},
};

/* What follows the fixed part and the names, by the fixed part's own numbers; SIZE_MAX: more than there can be. */
static size_t bytes_announced(const struct fuse_in_header *h)
{
    const void *arg = h + 1;

    switch (h->opcode) {
    case FUSE_WRITE: return ((const struct fuse_write_in *)arg)->size;
    case FUSE_SETXATTR: return ((const struct fuse_setxattr_in *)arg)->size;
    case FUSE_BATCH_FORGET:
        return (size_t)((const struct fuse_batch_forget_in *)arg)->count * sizeof(struct fuse_forget_one);
    case FUSE_IOCTL: return ((const struct fuse_ioctl_in *)arg)->in_size;
    default: return 0;
    }
}

bool op_request_fits(const struct fuse_in_header *h, size_t len)
{
    const struct shape *s = h->opcode < OP_CODES ? &shapes[h->opcode] : NULL;
    const uint8_t *p = (const uint8_t *)(h + 1);
    size_t left = len - sizeof(*h);

    if (h->len != len)
        return false;
    if (!s)
        return true; /* answered as unknown */
    if (h->opcode == FUSE_NOTIFY_REPLY)
        return false; /* what it would answer is never asked, and libfuse forgets to free such a one */
    if (left < s->arg)
        return false;
    p += s->arg;
    left -= s->arg;
    for (unsigned i = 0; i < s->names; i++) {
        const uint8_t *nul = memchr(p, 0, left);

        if (!nul)
            return false;
        left -= (size_t)(nul + 1 - p);
        p = nul + 1;
    }
    return bytes_announced(h) <= left || BROKEN(VARVE_BREAK_request_fits);
}
