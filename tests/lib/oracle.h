/* tests/lib/oracle: what a volume should hold, in plain memory: a tree of inodes, copied whole for each snapshot
 * (inodes and blocks are shared until they change). Nothing here calls the filesystem. */
#ifndef VARVE_TESTS_LIB_ORACLE_H
#define VARVE_TESTS_LIB_ORACLE_H

#include <sys/stat.h>
#include <time.h>

#include "tests/lib/pages.h"

struct o_ent {
    char *name; /* owned */
    uint64_t ino;
};
struct o_xattr {
    char *name; /* owned */
    uint8_t *val;
    size_t len;
};
struct o_ino {
    uint32_t refs;
    uint64_t ino;
    uint32_t mode, uid, gid, nlink;
    uint64_t rdev, size;
    uint64_t parent; /* directories only */
    bool is_inline;
    bool pending; /* crash: what was written last need not be firm */
    struct timespec atime, mtime, ctime, btime;
    struct pages data;
    char *target; /* symlinks */
    struct o_ent *ent;
    size_t nent;
    struct o_xattr *xattr;
    size_t nxattr;
};
struct o_tree {
    struct o_ino **v; /* ascending by number */
    size_t n, cap;
};

struct o_tree *o_tree_new(void);
struct o_tree *o_tree_copy(const struct o_tree *t); /* without orphans (nlink 0) */
void o_tree_free(struct o_tree *t);

const struct o_ino *o_get(const struct o_tree *t, uint64_t ino); /* NULL: none */
struct o_ino *o_mut(struct o_tree *t, uint64_t ino);             /* to change it; it must be there */
struct o_ino *o_add(struct o_tree *t, uint64_t ino);
void o_del(struct o_tree *t, uint64_t ino);
void o_ino_assign(struct o_ino *dst, const struct o_ino *src); /* dst is new and empty */

const struct o_ent *o_ent_find(const struct o_ino *dir, const char *name);
void o_ent_add(struct o_ino *dir, const char *name, uint64_t ino);
void o_ent_del(struct o_ino *dir, const char *name);

const struct o_xattr *o_xattr_find(const struct o_ino *in, const char *name);
void o_xattr_set(struct o_ino *in, const char *name, const void *val, size_t len);
bool o_xattr_del(struct o_ino *in, const char *name);

/* Blocks as st_blocks and the quota count them. */
uint64_t o_blocks(const struct o_ino *in);
uint64_t o_tree_blocks(const struct o_tree *t);

/* ACLs: bytes as in system.posix_acl_*. */
#define O_ACL_ACCESS "system.posix_acl_access"
#define O_ACL_DEFAULT "system.posix_acl_default"
void o_acl_chmod(struct o_ino *in); /* mode changed: the entries follow */
uint32_t o_acl_mode(const uint8_t *acl, size_t len, uint32_t mode,
                    bool *plain); /* mode bits that an ACL gives */
/* New inode below dir: mode without umask goes in; sets in->mode and inherited entries. */
void o_acl_inherit(const struct o_ino *dir, struct o_ino *in, uint32_t mode, uint32_t umask);

static inline bool o_is_dir(const struct o_ino *in)
{
    return S_ISDIR(in->mode);
}

#endif
