/* snap/vfs: the filesystem as operations on node ids, without FUSE: what fs/ calls for the kernel and tests call directly.
 *
 * A node id is view (24 bits) | inode number (40 bits). View 0.. : the volume's live tree has one number (0 at first, a new
 * one after each rollback, F7); node 1 is always the live root. Other numbers are views: (snapshot, directory by which it was
 * entered), allotted by view_enter(). Unknown views: -E_STALE. The tree before a rollback is a view too: reading goes on,
 * changing gives -E_STALE. Changing anything in a snapshot's view: -E_ROFS; a volume mounted or opened read-only: -E_ROFS.
 * Names are 1..255 bytes without '/' and NUL and not "." or ".." (-E_INVAL, -E_NAMETOOLONG). `.snapshots` is no business of
 * this room (fs/snapdir). Permissions are the kernel's (default_permissions), except what it leaves to the filesystem: owner
 * and group of new files, setgid directories, default ACLs and umask, mode bits that follow an ACL.
 *
 * Threads: any. Every function is one atomic operation, journaled before it returns (its effects survive the daemon's death). */
#ifndef VARVE_SNAP_VFS_H
#define VARVE_SNAP_VFS_H

#include <sys/statvfs.h>

#include "snap/store/file.h"
#include "snap/store/store.h"

typedef struct {
    uint64_t v;
} vfs_node;
#define VFS_VIEW_BITS 24
#define VFS_VIEW_MAX 0xffff00u /* above: node ids of fs/ itself (.snapshots, control files) */
static inline uint32_t vfs_node_view(vfs_node n)
{
    return (uint32_t)(n.v >> INO_BITS);
}
static inline uint64_t vfs_node_ino(vfs_node n)
{
    return n.v & INO_MAX;
}
static inline vfs_node vfs_node_make(uint32_t view, uint64_t ino)
{
    return (vfs_node){(uint64_t)view << INO_BITS | ino};
}

/* Who asks. unique and conn identify the kernel's request for the journal (0: none). */
struct vfs_ctx {
    uint32_t uid, gid;
    uint32_t umask; /* applied to modes of new files unless the directory has a default ACL */
    uint64_t conn, unique;
    bool kernel_times; /* a write: mtime and ctime are told by a vfs_setattr of their own */
};

struct vfs_attr {
    vfs_node node;
    uint64_t st_ino; /* live: the inode number; in a view: the node id (so cp and diff see two files) */
    uint64_t size;
    uint64_t blocks512;
    uint64_t rdev;
    uint64_t change;
    uint32_t mode, nlink, uid, gid;
    uint32_t flags; /* enum inode_flag */
    struct timespec atime, mtime, ctime, btime;
};

/* Where a node lies: place to read at, whether it is the live tree, and its inode number. -E_STALE. */
struct vfs_place {
    struct vt_at at;
    uint64_t ino;
    bool live;
};
int vfs_place(struct vol *v, vfs_node n, struct vfs_place *ret);

/* Errors below are in addition to -E_STALE, -E_ROFS, -E_IO, -E_CORRUPT, -E_NOMEM, -E_NOSPC, -E_QUOTA, -E_QUOTA_INODES. */
int vfs_lookup(struct vol *v, vfs_node dir, const char *name, struct vfs_attr *ret); /* -E_NOENT, -E_NOTDIR */
int vfs_getattr(struct vol *v, vfs_node n, struct vfs_attr *ret);

enum vfs_set {
    VFS_MODE = 1,
    VFS_UID = 2,
    VFS_GID = 4,
    VFS_SIZE = 8,
    VFS_ATIME = 16,
    VFS_MTIME = 32,
    VFS_CTIME = 64,
    VFS_ATIME_NOW = 128,
    VFS_MTIME_NOW = 256,
    VFS_KILL_PRIV = 512
};
struct vfs_setattr {
    unsigned set; /* of enum vfs_set */
    uint32_t mode, uid, gid;
    uint64_t size;
    struct timespec atime, mtime, ctime;
};
int vfs_setattr(struct vol *v, const struct vfs_ctx *c, vfs_node n, const struct vfs_setattr *a,
                struct vfs_attr *ret);

/* Any type by the S_IFMT bits of mode: regular, fifo, socket, device, directory. -E_EXIST, -E_NOENT (dir is gone). */
int vfs_mknod(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name, uint32_t mode,
              uint64_t rdev, struct vfs_attr *ret);
int vfs_symlink(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name, const char *target,
                struct vfs_attr *ret);
int vfs_tmpfile(struct vol *v, const struct vfs_ctx *c, vfs_node dir, uint32_t mode, struct vfs_attr *ret);
int vfs_link(struct vol *v, const struct vfs_ctx *c, vfs_node n, vfs_node dir, const char *name,
             struct vfs_attr *ret);
int vfs_unlink(struct vol *v, const struct vfs_ctx *c, vfs_node dir,
               const char *name); /* -E_ISDIR -> the edge says EISDIR */
int vfs_rmdir(struct vol *v, const struct vfs_ctx *c, vfs_node dir, const char *name);
enum vfs_rename { VFS_NOREPLACE = 1, VFS_EXCHANGE = 2, VFS_WHITEOUT = 4 }; /* as RENAME_* */
int vfs_rename(struct vol *v, const struct vfs_ctx *c, vfs_node from_dir, const char *from, vfs_node to_dir,
               const char *to, unsigned flags);
int vfs_readlink(struct vol *v, vfs_node n, struct buf *ret); /* NUL-terminated, not counted */

/* vfs_readdir: entries after cookie (0: from the beginning) until cb returns non-zero (1: full, ends with 0; that entry was
 * not taken). "." and ".." come first (cookies 1 and 2). A cookie is stable: valid at any later time, also in snapshots,
 * whatever was created or removed meanwhile; an entry that stays is given exactly once. attr is filled only with_attr. */
struct vfs_dirent {
    const char *name;
    size_t name_len;
    uint64_t ino;  /* st_ino */
    uint32_t type; /* S_IFMT bits */
    uint64_t cookie;
    struct vfs_attr attr;
};
int vfs_readdir(struct vol *v, vfs_node dir, uint64_t cookie, bool with_attr,
                int (*cb)(void *arg, const struct vfs_dirent *e), void *arg);
int vfs_parent(struct vol *v, vfs_node dir, vfs_node *ret); /* in a view, the view's root is its own parent */

/* Attributes. Names carry their namespace ("user.x"). set flags: XATTR_CREATE, XATTR_REPLACE (sys/xattr.h). -E_XATTR_ROOM: the inode has
 * as many as it may.
 * Sizes: name 255, value 65536 (-E_TOOBIG -> E2BIG). get and list append to ret. -E_NODATA. posix ACLs: setting
 * system.posix_acl_access changes the mode (and clears setgid if kill_sgid); chmod changes the ACL's mask entry. */
int vfs_setxattr(struct vol *v, const struct vfs_ctx *c, vfs_node n, const char *name, const void *p,
                 size_t len, int flags, bool kill_sgid);
int vfs_getxattr(struct vol *v, vfs_node n, const char *name, struct buf *ret);
int vfs_listxattr(struct vol *v, vfs_node n, struct buf *ret); /* names, each with its NUL */
int vfs_removexattr(struct vol *v, const struct vfs_ctx *c, vfs_node n, const char *name);

/* Bytes. */
int vfs_read(struct vol *v, vfs_node n, void *p, size_t len, uint64_t off, size_t *ret_len);
int vfs_write(struct vol *v, const struct vfs_ctx *c, vfs_node n, const void *p, size_t len, uint64_t off,
              bool kill_priv);
int vfs_fallocate(struct vol *v, const struct vfs_ctx *c, vfs_node n, int mode, uint64_t off,
                  uint64_t len);                                                  /* FALLOC_FL_* */
int vfs_seek(struct vol *v, vfs_node n, int whence, uint64_t off, uint64_t *ret); /* SEEK_DATA/HOLE */
int vfs_copy(struct vol *v, const struct vfs_ctx *c, vfs_node src, uint64_t src_off, vfs_node dst,
             uint64_t dst_off, uint64_t len, uint64_t *ret_len);
int vfs_fsync(struct vol *v, vfs_node n);           /* files and directories */
int vfs_statfs(struct vol *v, struct statvfs *ret); /* from the quota, or the store's space */

/* vfs_orphans_drop: nobody holds these unlinked inodes any more: free them, several in a transaction; what is no orphan is passed over.
 * The first error; the others are freed all the same. vfs_orphans_drop_all: after the last unmount. */
int vfs_orphans_drop(struct vol *v, const uint64_t *inos, size_t n);
static inline int vfs_orphan_drop(struct vol *v, uint64_t ino)
{
    return vfs_orphans_drop(v, &ino, 1);
}
int vfs_orphans_each(struct vol *v, int (*cb)(void *arg, uint64_t ino), void *arg);
int vfs_orphans_drop_all(struct vol *v);

#endif
