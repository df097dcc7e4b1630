/* snap/store/inode: the inode record and its reading and changing at both levels. */
#ifndef VARVE_SNAP_STORE_INODE_H
#define VARVE_SNAP_STORE_INODE_H

#include <time.h>

#include "snap/store/vtab.h"

enum inode_flag {
    INODE_INLINE = 1, /* bytes are in TAB_DATA, at most INLINE_BYTES_MAX; no object, no spans */
    INODE_IMMUTABLE = 2,
    INODE_APPEND = 4,
    INODE_ENCRYPTED = 8,
    INODE_ACL = 16,    /* has system.posix_acl_access */
    INODE_DEFACL = 32, /* has system.posix_acl_default */
    INODE_CAPS = 64,   /* has security.capability */
    INODE_SPANS = 128, /* may have span records */
    INODE_PINNED =
        256, /* its bytes, and what lies below it, are not released to repositories (snap/tier.h) */
};

/* In memory; on disk packed little endian in this order of fields (INODE_REC_SIZE bytes, version 1), and behind them, where one of them
 * is not 0, xattr_names, xattr_values u64, more_blocks u32 (INODE_REC_MAX). Records written before these were known have attributes whose
 * names are 0 bytes: not counted yet. */
struct inode {
    uint64_t ino;
    uint64_t size;
    uint64_t blocks; /* 4 KiB blocks: mapped ones (shared ones too), or those that inline bytes would take */
    uint64_t rdev;
    uint64_t gen;    /* unique in the family, tells reused numbers apart in clones */
    uint64_t change; /* raised with every change (statx change cookie) */
    uint64_t parent; /* one link: directory and hash of the name there; 0 for the root and for orphans */
    uint64_t parent_hash;
    uint64_t
        base_obj; /* dense: a span without a record has its blocks below base_blocks here, at the same offset */
    uint64_t base_blocks;
    uint64_t
        open_obj; /* the inode's own open object, if open_layer is the current layer; else frozen, unused */
    uint32_t open_layer;
    uint32_t base_layer; /* data_born of the dense bytes */
    uint32_t mode, uid, gid, nlink;
    uint32_t flags;
    uint32_t project;
    uint32_t key;
    uint32_t tier;
    uint32_t nxattr;
    uint32_t more_blocks; /* charged beside blocks: INODE_MORE */
    uint64_t xattr_names; /* bytes of all attributes' names, each with its NUL; 0 with nxattr: not counted */
    uint64_t xattr_values;
    bool inherited; /* not on disk: the record lies in a parent branch; open_obj is 0 then, base_layer too */
    struct timespec atime, mtime, ctime, btime;
};
#define INODE_REC_SIZE 180u
#define INODE_REC_MAX 200u

size_t inode_encode(const struct inode *in, uint8_t out[INODE_REC_MAX]);
int inode_decode(const void *p, size_t len, struct inode *ret);                       /* -E_CORRUPT */
int inode_objects(const void *p, size_t len, uint64_t *ret_base, uint64_t *ret_open); /* -E_CORRUPT */

/* What an inode has beside its bytes, by how much it changes. Names and values of attributes, 64 bytes for each of them, and 256 for each
 * name of the inode but the first count as whole blocks: more_blocks, which whoever changes them charges. inode_more: changes all of
 * it. What takes away never charges; what was not counted before stays so. */
struct inode_more {
    int32_t links, xattrs;
    int64_t names, values;
};
#define INODE_MORE_XATTR 64u
#define INODE_MORE_LINK 256u
void inode_more(struct inode *in, const struct inode_more *by);
bool inode_counted(const struct inode *in); /* are xattr_names and xattr_values what is there? */

/* inode_get: as visible at a place (pending over firm). -E_NOENT, -E_CORRUPT, -E_IO. */
int inode_get(struct txn *t, struct vt_at at, uint64_t ino, struct inode *ret);

/* inode_get_at, inode_put_over: the same at a level, and what is found there for whoever puts the inode in its place in this transaction
 * without looking again. was NULL: it is looked for. */
int inode_get_at(struct txn *t, enum keep keep, struct vt_at at, uint64_t ino, struct vt_val *ret_val,
                 struct inode *ret);
int inode_put_over(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at,
                   const struct vt_val *was, struct inode *in);

/* inode_from: what a record found at a place (vt_get, vt_scan_next) says. -E_CORRUPT. */
int inode_from(const struct vt_val *v, struct vt_at at, struct inode *ret);

/* inode_put_new: a record that did not exist; firm. */
int inode_put_new(struct txn *t, struct vt_at at, const struct inode *in);

/* inode_update(t, at, ino, fn, arg, ret): applies fn to the firm record and, where the inode has pending bytes, to the
 * pending one too, and puts both. For attributes, links, xattr counts: never for size, blocks, objects. The caller
 * holds the inode's lock exclusive (directories: not needed). fn must give the same change for both; it may be called
 * twice. ret (may be NULL) gets the present one. */
int inode_update(struct txn *t, struct vt_at at, uint64_t ino, void (*fn)(struct inode *in, void *arg),
                 void *arg, struct inode *ret);

/* inode_drop: removes the record, all spans, inline pieces, xattrs, links of an inode nobody sees in the live tree any
 * more; queues its objects' reclaim; frees its quota. For orphans. May need several transactions for a huge file:
 * returns 1 when there is more to do (commit and call again), 0 when done. */
int inode_drop(struct txn *t, struct vol *v, struct vt_at at, uint64_t ino);

void inode_now(struct timespec *ret); /* wall clock for times */

#endif
