/* tier/point: recovery points: what one says beside its tree, finding them, and the records of the tree. */
#ifndef VARVE_TIER_POINT_H
#define VARVE_TIER_POINT_H

#include <time.h>

#include "tier/tree.h"

#define POINT_NAME_MAX 255
#define POINT_VERSION 1

enum point_flag { POINT_ATTACHED = 1 }; /* it has attachments */

struct point {
    char id[SHA_TEXT]; /* not in the bytes: their hash */
    struct id16
        domain; /* nor this: what it is sealed in, with all that it refers to; zeros: the default one */
    uint16_t flags;
    int64_t created_ns, taken_ns;
    struct uuid volume, family, snapshot, store, group;
    struct sha base, origin; /* origin: of a copy, the id of the first one; zeros: it is no copy */
    uint32_t branch, layer;
    uint64_t epoch;
    uint32_t grade;
    struct tree tree;
    bool has_hash_key;    /* else it was made by an older program */
    uint8_t hash_key[16]; /* by which the hashes of names are made */
    uint64_t files, dirs, others, bytes, new_bytes, size_limit, inode_limit;
    char volume_name[POINT_NAME_MAX + 1], snapshot_name[POINT_NAME_MAX + 1];
    struct buf labels;   /* "KEY=VALUE", each with its NUL */
    struct buf regarded; /* struct sha each: lists of condemned packs, of which nothing here needs any */
};
void point_release(struct point *p);

int point_encode(const struct point *p, struct buf *out);
int point_decode(const void *bytes, size_t len, struct point *ret); /* -E_CORRUPT, -E_REPO_NEWER */

/* point_open: plain bytes, or a chunk of whichever domain. -E_SHREDDED. point_seal: for pin_add() and the like: plain bytes where it is of
 * the default domain, else a chunk. */
int point_open(struct repo *r, const void *p, size_t len, struct point *ret);
int point_seal(struct repo *r, const struct point *p, struct buf *out);

int point_put(struct repo *r, struct point *p);                   /* fills p->id, p->domain */
int point_get(struct repo *r, const char *id, struct point *ret); /* a whole id. -E_NOENT */

/* points_each: all that can be read, in no order; cb non-zero ends it with that value. bad (may be NULL): told of others, but for those
 * that were shredded: they are as good as deleted. */
int points_each(struct repo *r, int (*cb)(void *arg, const struct point *p),
                void (*bad)(void *arg, const char *id, int why), void *arg);
/* point_find: "latest" (by time taken; of all volumes), 8 and more digits, or the uuid of its snapshot (of several the one that was
 * made last). -E_NOENT, -E_USAGE (several begin so) with a sentence in err. */
int point_find(struct repo *r, const char *id, struct point *ret, struct buf *err);

/* Records of inodes in the tree. */
struct point_inode {
    uint32_t mode, uid, gid, nlink;
    uint64_t rdev, size;
    uint32_t flags, project;
    uint64_t parent, parent_hash;
    struct timespec mtime, ctime, btime, atime;
    uint64_t gen;
};
#define POINT_INODE_SIZE 112u
#define POINT_INO_ATTACH 0u /* no file: its attributes are attachments (tier/attach.h) */
enum point_inode_flag { POINT_IMMUTABLE = 2, POINT_APPEND = 4 };
void point_inode_encode(const struct point_inode *in, uint8_t out[POINT_INODE_SIZE]);
int point_inode_decode(const void *p, size_t len, struct point_inode *ret);
int point_inode_get(struct repo *r, const struct tree *t, uint64_t ino,
                    struct point_inode *ret); /* -E_NOENT */

struct point_dirent {
    uint64_t ino;
    uint32_t type; /* S_IFMT bits */
    const char *name;
    size_t name_len;
};
int point_dirent_decode(const void *p, size_t len,
                        struct point_dirent *ret); /* -E_CORRUPT: also a name with '/', "." */
int point_dirents(struct repo *r, const struct tree *t, uint64_t dir,
                  int (*cb)(void *arg, uint64_t hash, const struct point_dirent *e), void *arg);

/* point_names: by what names are found in its directories; NULL: not known, then a directory is read from its beginning to find one. */
const uint8_t *point_names(const struct point *p);
/* point_lookup: the entry of a directory by its name; its name is left NULL. names: of point_names(). *ret_hash (may be NULL): its key in
 * the directory. -E_NOENT. */
int point_lookup(struct repo *r, const struct tree *t, const uint8_t *names, uint64_t dir, const char *name,
                 size_t len, struct point_dirent *ret, uint64_t *ret_hash);

/* point_path: of an inode, from the root, without a leading slash, by one of its names. -E_NOENT. */
int point_path(struct repo *r, const struct tree *t, uint64_t ino, struct buf *ret);

#endif
