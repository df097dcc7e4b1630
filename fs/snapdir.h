/* fs/snapdir: the .snapshots tree as the kernel sees it. D/.snapshots exists in every live directory D (never in a view), is
 * made up here, and is found by name only (snapdir=visible lists it at the root). Below it:
 *
 *   NAME, @GMT-..., @RFC3339, @latest   the view of D as of that snapshot; nodes of snap/vfs from there on
 *   mkdir NAME, rmdir NAME, mv          take, delete, rename a snapshot of the volume
 *   .control/                           at the root's only: the control files of fs/ctl.h
 *
 * Node ids: (NODE_VIEW_SNAPDIR, D) and (NODE_VIEW_CONTROL, number). A control file's text is made when its name is looked
 * up and belongs to that node id for its life, so that size and bytes agree; the same text again keeps the node id. Names and
 * attributes here are believed by the kernel for no time; those inside a view for ever.
 * Modes: owner and group of the volume's root (or control_gid); control= says what is there and may be written. Checked by
 * the kernel for users, and here against control= for everybody.
 * All return 0 or a code; outputs are those of libfuse's structs. Threads: any. */
#ifndef VARVE_FS_SNAPDIR_H
#define VARVE_FS_SNAPDIR_H

#include "fs/op.h"

#define SNAPDIR_NAME ".snapshots"
#define SNAPDIR_CONTROL ".control"
#define SNAPDIR_COOKIE INT64_MAX /* of its entry where it is listed */

int snapdir_new(struct session *ss, struct snapdir **ret);
void snapdir_free(struct snapdir *sd);

int snapdir_enter(struct session *ss, vfs_node dir,
                  struct fuse_entry_param *ret); /* -E_NOENT: not in this one */
int snapdir_lookup(struct session *ss, fuse_ino_t dir, const char *name, struct fuse_entry_param *ret);
void snapdir_forget(struct session *ss, fuse_ino_t ino, uint64_t count);
int snapdir_getattr(struct session *ss, fuse_ino_t ino, struct stat *ret);
int snapdir_setattr(struct session *ss, fuse_ino_t ino, const struct vfs_setattr *set, struct stat *ret);

int snapdir_mkdir(struct session *ss, const struct vfs_ctx *c, fuse_ino_t dir, const char *name,
                  struct fuse_entry_param *ret);
int snapdir_rmdir(struct session *ss, const struct vfs_ctx *c, fuse_ino_t dir, const char *name);
int snapdir_rename(struct session *ss, const struct vfs_ctx *c, fuse_ino_t dir, const char *name,
                   fuse_ino_t to_dir, const char *to, unsigned flags);

int snapdir_readdir(struct session *ss, fuse_ino_t dir, uint64_t off,
                    int (*cb)(void *arg, const struct vfs_dirent *d), void *arg);
bool snapdir_is_listed(const struct session *ss,
                       fuse_ino_t dir); /* is .snapshots an entry of this directory? */
int snapdir_list_self(struct session *ss, vfs_node dir, int (*cb)(void *arg, const struct vfs_dirent *d),
                      void *arg);

int snapdir_read(struct session *ss, fuse_ino_t ino, void *p, size_t len, uint64_t off, size_t *ret_len);
int snapdir_write(struct session *ss, const struct vfs_ctx *c, uint32_t pid, fuse_ino_t ino, const void *p,
                  size_t len, uint64_t off);

/* user.varve.snap.* of a snapshot's directory. n is any node of snap/vfs; list adds nothing elsewhere. */
int snapdir_getxattr(struct session *ss, vfs_node n, const char *name, struct buf *ret);
int snapdir_listxattr(struct session *ss, vfs_node n, struct buf *ret);

#endif
