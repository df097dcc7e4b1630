/* snap/volume: volumes of a store: create, delete, rename, resize, clone. Threads: any. All are journaled; durable after
 * store_flush() (the command line flushes before it says "done"). */
#ifndef VARVE_SNAP_VOLUME_H
#define VARVE_SNAP_VOLUME_H

#include "snap/vfs.h"

/* snap_attach(s): connects this room's hooks (reclaim of layers and branches, settling snapshots) to an open store. Call
 * once after store_open(). */
int snap_attach(struct store *s);

struct volume_opts {
    uint64_t size_limit, inode_limit, snap_limit; /* 0: none */
    uint32_t uid, gid, mode;                      /* of the root directory; mode 0: 0755 */
};

/* Names: 1..255 bytes, no '/', '@', '#', no control characters, not beginning with '.', not a name of the store's own
 * ("meta", "journal", "data", "cache", "config", "log", "sock", "lock", "version"). -E_NAME, -E_NAMETOOLONG. */
int volume_name_check(const char *name);
int volume_create(struct store *s, const char *name, const struct volume_opts *o,
                  struct vol **ret);                                  /* -E_EXIST */
int volume_find(struct store *s, const char *name, struct vol **ret); /* -E_NOENT */
int volume_rename(struct vol *v, const char *name);
int volume_resize(struct vol *v,
                  uint64_t size_limit); /* below what is used: allowed to grow no more; -E_INVAL if < 1 MiB */

/* volume_delete: -E_MOUNTED, -E_CLONES (names of clones in why, 256 bytes, may be NULL). Kept 24 h: undelete; then purge frees it. */
int volume_delete(struct vol *v, char *why);
int volume_undelete(struct store *s, const char *name, struct vol **ret);
int volume_purge(struct vol *v); /* now; also what the timer does after 24 h */
/* volume_forget_gone: the memory of volumes that are gone for good, and that nobody holds (vols_hold), is for others again. For a process
 * whose threads hold what they find; from time to time. */
void volume_forget_gone(struct store *s);

/* volume_clone: a new volume whose first state is snapshot `snap` of v (NULL or "": takes one now). Instant. -E_DEPTH. */
int volume_clone(struct vol *v, const char *snap, const char *name, struct vol **ret);

/* A volume that is filled by somebody else before anybody sees it (tier/import.h). volume_make: with no root directory yet; hash_key
 * NULL: a random one. volume_show: the last record: it is there from now on, its next inode has this number. volume_make_undo, and
 * volume_make_leftovers after a death: what was made is freed in the background. volume_make: -E_EXIST, -E_NAME. volume_show: -E_EXIST:
 * somebody else took the name meanwhile. */
int volume_make(struct store *s, const char *name, const struct volume_opts *o, const uint8_t *hash_key,
                struct vol **ret);
int volume_show(struct vol *v, uint64_t next_ino);
int volume_make_undo(struct vol *v);
int volume_make_leftovers(struct store *s); /* by snap_attach() */

struct volume_info {
    struct volume_rec rec;
    uint64_t used_bytes, used_inodes;
    uint64_t snapshots;
    uint64_t snapshot_bytes; /* held by snapshots only */
    uint32_t mounts;
};
int volume_get_info(struct vol *v, struct volume_info *ret);
int volume_each(struct store *s, int (*cb)(void *arg, struct vol *v), void *arg); /* without deleted ones */

#endif
