/* snap/ns: the namespace inside one transaction: what snap/vfs_*.c are made of. Private to these files and their tests.
 *
 * struct ns is one operation under way: its transaction and the places that it reads at and writes to. It is opened by
 * ns_read() or ns_change() and ended by ns_end() in any case. All other functions here work inside it; what they give
 * points into the transaction's arena unless said otherwise.
 *
 * Names in a directory: key (dir, hash). hash = 55 bits of SipHash of the name, then a count of 0..255 that tells names of
 * one group apart. A removal leaves a gap, so looking up reads the whole group. The numbers 0..2 are kept free for readdir. */
#ifndef VARVE_SNAP_NS_H
#define VARVE_SNAP_NS_H

#include <linux/limits.h>

#include "snap/vfs.h"

#define NS_GROUP 256u           /* names of one hash group */
#define NS_DIRENT_HEAD 9u       /* ino u64, type u8; then the name */
#define NS_COOKIE_FIRST 3u      /* 1 and 2 are "." and ".." */
#define NS_LINK_MAX 0x7fffffffu /* links of one inode */
#define NS_TRIES 64             /* an operation that meets a change of what it had resolved begins again */
#define NS_DIR_SIZE 4096u
#define NS_SYMLINK_MAX 4095u
#define NS_XATTR_MAX 65536u
/* Of one inode, together: names, each with its NUL, so that listxattr can always tell them (the kernel asks for 64 KiB at the most, and
 * the face adds some of its own); values. The last part of both is for names that are not user.*: whoever may write to a file
 * cannot keep its access lists and labels from being set. Checked when one is set, not when records are read. */
#define NS_XATTR_NAMES_MAX (XATTR_LIST_MAX - 512u)
#define NS_XATTR_VALUES_MAX (1u << 20)
#define NS_XATTR_NAMES_KEPT 4096u
#define NS_XATTR_VALUES_KEPT (128u << 10)
#define NS_ACL_ACCESS "system.posix_acl_access"
#define NS_ACL_DEFAULT "system.posix_acl_default"
#define NS_CAPS "security.capability"
#define NS_OWN_PREFIX "user.varve." /* names of the face's own: never stored */

/* ns_name_group: the first of the NS_GROUP numbers of which a name in a directory has one. hash_key: the volume's. */
uint64_t ns_name_group(const uint8_t hash_key[16], const char *name, size_t len);
extern uint64_t ns_hash_mask; /* test door: all ones; a test clears bits to make names collide */

struct ns {
    struct txn t;
    struct vol *v;
    struct vt_at at; /* to read at */
    struct vt_at to; /* to write to */
    uint32_t view;
    uint64_t view_dir; /* of a view: the directory by which it was entered */
    bool live;
    bool fresh; /* the current time is known */
    struct timespec time;
    const struct vfs_ctx *c;
};

/* ns_read(v, n, o, ret_ino): opens a reading operation where n lies. -E_STALE. */
int ns_read(struct vol *v, vfs_node n, struct ns *o, uint64_t *ret_ino);

/* ns_change(v, c, op, n, o, ret_ino): opens a changing one; n must lie in the live tree: else -E_ROFS (a snapshot's view) or
 * -E_STALE. op of the freeing kind may use the reserve. */
int ns_change(struct vol *v, const struct vfs_ctx *c, enum op_kind op, vfs_node n, struct ns *o,
              uint64_t *ret_ino);

/* ns_both_live(v, a, b): 0, -E_XDEV when only one lies in the live tree, else as ns_change. Call outside of operations. */
int ns_both_live(struct vol *v, vfs_node a, vfs_node b);
int ns_changeable(struct vol *v, vfs_node n); /* 0, -E_ROFS, -E_STALE; outside of operations too */

/* ns_end(o, r): r >= 0 of a changing operation: commits, and gives r back or the error of that; else aborts, gives r. */
int ns_end(struct ns *o, int r);

/* ns_holds(o, n): does another node lie in the live tree that this operation changes? */
bool ns_holds(const struct ns *o, vfs_node n);

/* The one time of this operation. */
const struct timespec *ns_time(struct ns *o);

/* Inodes. ns_inode: -E_STALE when it is gone. ns_dir_inode: also -E_NOTDIR; need_linked: -E_NOENT when it was removed. */
int ns_inode(struct ns *o, uint64_t ino, struct inode *ret);
int ns_dir_inode(struct ns *o, uint64_t ino, bool need_linked, struct inode *ret);
void ns_attr(const struct ns *o, const struct inode *in, struct vfs_attr *ret);
uint64_t ns_st_ino(const struct ns *o, uint64_t ino);

enum ns_edit_field {
    NS_MODE = 1,
    NS_UID = 2,
    NS_GID = 4,
    NS_ATIME = 8,
    NS_MTIME = 16,
    NS_CTIME = 32,
    NS_PARENT = 64,
};
/* A change of an inode's attributes. more is a difference. had, of an inode whose attributes are not counted yet: what they were; NULL:
 * they stay so. */
struct ns_edit {
    unsigned set; /* of enum ns_edit_field */
    uint32_t mode, uid, gid;
    uint32_t flags_on, flags_off;
    struct inode_more more;
    const struct inode_more *had;
    int64_t blocks; /* what comes of it: blocks that the volume is charged */
    uint64_t parent, parent_hash;
    struct timespec atime, mtime, ctime;
};
int ns_edit(struct ns *o, uint64_t ino, struct ns_edit *e,
            struct inode *ret); /* ret may be NULL. -E_QUOTA: the volume has no room for more */
/* A directory whose list changed: its times, and its links by as many. */
int ns_edit_dir(struct ns *o, uint64_t dir, int32_t links);

/* Names. ns_name_init checks: -E_INVAL, -E_NAMETOOLONG. */
struct ns_name {
    const char *s;
    size_t len;
};
int ns_name_init(const char *s, struct ns_name *ret);

struct ns_dirent {
    uint64_t hash;
    uint64_t ino;
    uint32_t type; /* S_IFMT bits */
    const char *name;
    size_t name_len;
};
int ns_dirent_parse(uint64_t hash, const void *p, size_t len, struct ns_dirent *ret); /* -E_CORRUPT */
int ns_dirent_find(
    struct ns *o, uint64_t dir, const struct ns_name *name,
    struct ns_dirent *ret); /* -E_NOENT: ret->hash is what the name would get, 0: its group is full */
/* ns_dirent_slot: the number that a new name would get. -E_EXIST, -E_NOSPC (the group is full). */
int ns_dirent_slot(struct ns *o, uint64_t dir, const struct ns_name *name, uint64_t *ret_hash);
int ns_dirent_put(struct ns *o, uint64_t dir, uint64_t hash, uint64_t ino, uint32_t mode,
                  const struct ns_name *name);
int ns_dirent_del(struct ns *o, uint64_t dir, uint64_t hash);
int ns_dir_empty(struct ns *o, uint64_t dir); /* 0, -E_NOTEMPTY */

/* Links: the inode's record holds one (dir, hash) that names it, TAB_LINK the others. All change nlink and ctime of in's
 * record; in is as read in this operation. ns_link_drop at the last link makes the inode an orphan. */
int ns_link_add(struct ns *o, const struct inode *in, uint64_t dir, uint64_t hash);
int ns_link_drop(struct ns *o, const struct inode *in, uint64_t dir, uint64_t hash);
int ns_link_move(struct ns *o, const struct inode *in, uint64_t dir, uint64_t hash, uint64_t to_dir,
                 uint64_t to_hash);
int ns_orphan_put(struct ns *o, uint64_t ino);
int ns_orphan_del(struct ns *o, uint64_t ino);
int ns_orphan_is(struct ns *o, uint64_t ino); /* 0, -E_NOENT */

/* New inodes. ns_new: number, owner, group, mode, ACLs from the directory, times, quota; in->mode and rdev are given; it
 * puts nothing yet but the ACLs. ns_new_put writes the record. */
int ns_new(struct ns *o, const struct inode *dir, uint32_t mode, uint64_t rdev, uint64_t blocks,
           struct inode *in);
int ns_new_put(struct ns *o, const struct inode *in);

/* Extended attributes: storage only. by: what the inode has more of then, or less; added. ns_xattr_set: -E_EXIST, -E_NODATA by flags;
 * -E_NOSPC (group of hashes full). get and list append. ns_xattr_list: -E_TOOBIG (no program can ask for so many names).
 * ns_xattr_sum: all of them, counted one by one. */
int ns_xattr_get(struct ns *o, uint64_t ino, const char *name, struct buf *ret); /* -E_NODATA */
int ns_xattr_set(struct ns *o, uint64_t ino, const char *name, const void *p, size_t len, int flags,
                 struct inode_more *by);
int ns_xattr_del(struct ns *o, uint64_t ino, const char *name, struct inode_more *by); /* -E_NODATA */
int ns_xattr_list(struct ns *o, uint64_t ino, struct buf *ret);
int ns_xattr_sum(struct ns *o, uint64_t ino, struct inode_more *ret);
uint32_t ns_xattr_flag(const char *name); /* INODE_ACL, INODE_DEFACL, INODE_CAPS or 0 */

/* ns_chmod_acl: an access ACL follows the mode. */
int ns_chmod_acl(struct ns *o, const struct inode *in, uint32_t mode);

/* POSIX ACLs in the form of the xattr: header {version u32 = 2}, entries {tag u16, perm u16, id u32}, little endian.
 * acl_check: 0; 1: holds no entry at all; -E_INVAL; -E_NOTSUP (another version). The others take what acl_check passed. */
#define ACL_HEADER_SIZE 4u
#define ACL_ENTRY_SIZE 8u
int acl_check(const void *p, size_t len);
bool acl_to_mode(const void *p, size_t len, uint32_t *mode); /* true: the ACL says more than the mode does */
bool acl_inherit(void *p, size_t len, uint32_t *mode); /* ACL and mode mask each other; as acl_to_mode */
void acl_chmod(void *p, size_t len, uint32_t mode);

#endif
