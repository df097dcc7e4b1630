/* fs/snapctl: nodes of .snapshots/.control: which node id is which control file with which text. See fs/snapdir.h. */
#ifndef VARVE_FS_SNAPCTL_H
#define VARVE_FS_SNAPCTL_H

#include "fs/op.h"

#define SNAPCTL_TEXT_MAX                                                                                     \
    (64ull << 20) /* bytes kept for readers to come; beyond it the oldest texts go (ESTALE) */

#define SNAPCTL_NODES_MAX                                                                                    \
    4096u /* beyond it the oldest are gone (ESTALE), whatever the kernel keeps of them */

struct snapctl;

int snapctl_new(struct session *ss, struct snapctl **ret);
void snapctl_free(struct snapctl *sc);
bool snapctl_is_there(const struct snapctl *sc); /* control=none: it is not */

/* name NULL: the entry .control itself. own: uid and gid to show. */
struct snapctl_owner {
    uint32_t uid, gid;
    bool group_writes; /* control_gid= was given: its members may do what the owner may */
};
int snapctl_lookup(struct snapctl *sc, const struct snapctl_owner *own, fuse_ino_t dir, const char *name,
                   struct fuse_entry_param *ret);
int snapctl_getattr(struct snapctl *sc, const struct snapctl_owner *own, fuse_ino_t ino, struct stat *ret);
int snapctl_truncate(struct snapctl *sc, fuse_ino_t ino, uint64_t size);
void snapctl_forget(struct snapctl *sc, fuse_ino_t ino, uint64_t count);
int snapctl_readdir(struct snapctl *sc, fuse_ino_t dir, uint64_t off,
                    int (*cb)(void *arg, const struct vfs_dirent *d), void *arg);
int snapctl_read(struct snapctl *sc, fuse_ino_t ino, void *p, size_t len, uint64_t off, size_t *ret_len);
/* snapctl_refused: mkdir, rmdir or mv of a snapshot (what) failed with r: the reason stands in .control/error. Gives r. */
int snapctl_refused(struct snapctl *sc, const struct vfs_ctx *c, const char *what, const char *name, int r);
int snapctl_write(struct snapctl *sc, const struct vfs_ctx *c, uint32_t pid, fuse_ino_t ino, const void *p,
                  size_t len, uint64_t off);

#endif
