/* fs/mount: mount options, mount(2), umount(2) and fusermount3.
 * A mount of varve has type fuse.varve and source STORE/VOLUME or STORE/VOLUME@SNAP (absolute), so that a directory leads
 * to its volume without a question to any daemon (fs/verb_target.h reads the table of mounts). */
#ifndef VARVE_FS_MOUNT_H
#define VARVE_FS_MOUNT_H

#include "base/buf.h"
#include "snap/store/format.h"

enum mount_snapdir { SNAPDIR_HIDDEN, SNAPDIR_VISIBLE, SNAPDIR_DISABLED };
enum mount_control { CONTROL_ADMIN, CONTROL_SNAPSHOT, CONTROL_READ, CONTROL_NONE };

#define MOUNT_CONTEXT_SIZE 200

struct mount_opts {
    bool ro;
    bool allow_other; /* always on when root mounts */
    bool allow_idmap;
    bool io_uring;  /* as transport, where it can be had */
    bool writeback; /* the kernel keeps what is written, and sends it later in large pieces */
    bool has_control_gid;
    uint32_t control_gid;
    enum mount_snapdir snapdir;
    enum mount_control control;
    char context[MOUNT_CONTEXT_SIZE]; /* SELinux' label of everything in it; "": none */
    unsigned long flags; /* MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_NOATIME, ... of this mount point */
};

/* mount_opts_parse: adds the options of a comma-separated list; context="..." may have commas between its quotes. -E_USAGE: why (256 bytes) names the one that is not
 * known or not understood. mount_opts_print: in the order of the struct, only what differs from the default; never fails.
 * mount_opts_differ: the name of the first option in which two connections to one volume would differ, or NULL. */
int mount_opts_parse(struct mount_opts *o, const char *list, char *why);
int mount_opts_print(struct buf *b, const struct mount_opts *o);
const char *mount_opts_differ(const struct mount_opts *a, const struct mount_opts *b);

/* mount_source: what the mount table says: STORE/VOLUME or STORE/VOLUME@SNAP (snap NULL or "": none). */
int mount_source(struct buf *b, const char *store, const char *volume, const char *snap);

/* mount_attach(fd, source, dir, o): mount(2) of the connection fd at dir; also a second time elsewhere while it lives.
 * Needs CAP_SYS_ADMIN. -E_NOENT, -E_NOTDIR, -E_BUSY (a varve mount is there already), -E_PERM, -E_NOSYS (no fuse). */
int mount_attach(int fd, const char *source, const char *dir, const struct mount_opts *o);
#define MOUNT_DATA_SIZE 512
void mount_data(char to[MOUNT_DATA_SIZE], int fd, const struct mount_opts *o); /* what mount(2) gets of it */
bool mount_selinux(void); /* SELinux is running here; where it is not, the kernel takes no context= */
int mount_open_device(int *ret_fd); /* /dev/fuse; -E_NOSYS when it is not there */

/* mount_by_helper: an ordinary user's way: fusermount3 opens and mounts, the descriptor comes back.
 * -E_NOSYS: there is no fusermount3; -E_PERM: it refused, why (256 bytes) is what it said. */
int mount_by_helper(const char *source, const char *dir, const struct mount_opts *o, char *why, int *ret_fd);

/* mount_tune(dir, o): the kernel reads ahead further than for a plain FUSE filesystem, and keeps more of what is not written yet where
 * it keeps any. Root only, best effort. */
void mount_tune(const char *dir, const struct mount_opts *o);

/* mount_point_check(dir): 0, or why nothing can be mounted there: -E_NOENT, -E_NOTDIR, -E_BUSY (a varve mount is there). */
int mount_point_check(const char *dir);

/* mount_is_point(dir): is a varve mount on top of this directory? The path is absolute and without symbolic links. Never
 * touches what is mounted: it reads /proc/self/mountinfo. */
bool mount_is_point(const char *dir);

/* mount_detach(dir, lazy, why): umount(2), or fusermount3 -u for an ordinary user. -E_BUSY, -E_PERM; why (256 bytes): what
 * fusermount3 said, "" if it was not asked. */
int mount_detach(const char *dir, bool lazy, char *why);

#endif
