/* snap/tier: what of a file lies here and what in repositories only; and what is to stay here. A pin is a bit of the inode of a file or
 * directory: its bytes, and those of all that lies below it by any name, are not released. Snapshots and clones have it as it was.
 * Threads: any. */
#ifndef VARVE_SNAP_TIER_H
#define VARVE_SNAP_TIER_H

#include "snap/vfs.h"

#define TIER_XATTR "user.varve.tier"           /* the word of enum tier_state */
#define TIER_REMOTE_XATTR TIER_XATTR ".remote" /* bytes that are in repositories only */

/* tier_pin: of the live tree. No time of it changes. -E_STALE: it is gone; -E_ROFS. */
int tier_pin(struct vol *v, uint64_t ino, bool on);

/* tier_pinned: 1: it, or a directory above one of its names, is pinned there; 0: not. -E_NOENT. Inside a transaction. What was asked for
 * last is remembered in *near (zeroed at first; good for one transaction): files of one directory are asked for one after the other. */
struct tier_near {
    uint64_t dir;
    int pinned;
};
int tier_pinned(struct txn *t, struct vt_at at, uint64_t ino, struct tier_near *near);

/* tier_path: one of the names by which an inode is found from the root, without a slash at the beginning; appended, no NUL. -E_NOENT: it
 * has none. Inside a transaction. */
int tier_path(struct txn *t, struct vt_at at, uint64_t ino, struct buf *ret);

/* both: all is here, and in a backup of that which is here as well. partial: some blocks are here. Directories and small files, whose bytes
 * lie in the tables, are local or pinned. */
enum tier_state { TIER_LOCAL, TIER_BOTH, TIER_PARTIAL, TIER_REMOTE, TIER_PINNED };
const char *tier_state_name(enum tier_state s);
struct tier_file {
    enum tier_state state;
    uint64_t bytes, remote_bytes; /* whole blocks */
};
int tier_look(struct vol *v, vfs_node n, struct tier_file *ret); /* -E_STALE */

/* tier_xattr: the value of one of the two; appended. -E_NODATA: another name. */
int tier_xattr(struct vol *v, vfs_node n, const char *name, struct buf *ret);

#endif
