/* snap/store/file: the bytes of files: reading, writing, cutting, sharing, syncing (F1, F4, F5, F6, F12, F13, F20).
 * All take the inode's lock themselves, unless the name ends in _locked. uid/gid questions are the caller's.
 * at: where to look (a sealed layer for views). Threads: any. */
#ifndef VARVE_SNAP_STORE_FILE_H
#define VARVE_SNAP_STORE_FILE_H

#include "snap/store/inode.h"
#include "snap/store/vol.h"

struct file_req {
    uint64_t conn, unique; /* request id for the record; 0 none */
    uint64_t answer;       /* what the record answers, if it is the last of its request: a length */
    bool part;             /* it is not */
    bool keep_times;       /* of the inode: who writes tells them by itself */
    bool kill_priv;        /* clear suid/sgid and security.capability with this change */
    bool has_room;         /* what it maps is reserved already, by the caller */
    uint32_t
        branch; /* 0, or the live tree that is meant: -E_STALE when the volume has gone on in another (F7) */
};

/* file_read: up to len bytes at off; *ret_len is short at the end of the file only; holes read as zeros. */
int file_read(struct vol *v, struct vt_at at, uint64_t ino, void *p, size_t len, uint64_t off,
              size_t *ret_len);

/* The same of nothing but a file: -E_ISDIR, -E_INVAL. */
int file_read_regular(struct vol *v, struct vt_at at, uint64_t ino, void *p, size_t len, uint64_t off,
                      size_t *ret_len);

/* file_peek: len bytes at off inside the caller's transaction, for looks at a few blocks (it reads objects under the store's
 * lock); zeros beyond the end of the file. -E_COLD: some of them lie elsewhere. */
int file_peek(struct txn *t, struct vt_at at, const struct inode *in, void *p, size_t len, uint64_t off);

/* file_write: all of it or an error. -E_QUOTA, -E_NOSPC, -E_FBIG, -E_ROFS, -E_IO, -E_NOENT. ret (may be NULL): the
 * inode after it. */
int file_write(struct vol *v, const struct file_req *rq, uint64_t ino, const void *p, size_t len,
               uint64_t off, struct inode *ret);

/* file_truncate: size up or down. */
int file_truncate(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t size, struct inode *ret);

/* file_allocate: the room is taken first, so -E_QUOTA changes nothing, however large the range. When the disk below is full
 * -E_NOSPC leaves the size as it was; of FILE_ZERO the bytes may be zeros by then. */
enum file_alloc { FILE_ALLOCATE, FILE_ALLOCATE_KEEP, FILE_PUNCH, FILE_ZERO, FILE_ZERO_KEEP };
int file_allocate(struct vol *v, const struct file_req *rq, uint64_t ino, enum file_alloc what, uint64_t off,
                  uint64_t len);

/* file_seek: SEEK_DATA (hole false) or SEEK_HOLE. -E_NXIO beyond the end. */
int file_seek(struct vol *v, struct vt_at at, uint64_t ino, bool hole, uint64_t off, uint64_t *ret_off);

/* file_copy: shares whole blocks with equal offset mod 4 KiB, copies the edges; src_at may be a snapshot of the same
 * volume family. *ret_len: bytes done, short at the source's end and where an error (-E_QUOTA, -E_NOSPC, ...) ended it:
 * asked for the rest, it tells the error. An error means that nothing was done. */
int file_copy(struct vol *v, const struct file_req *rq, struct vt_at src_at, uint64_t src, uint64_t src_off,
              uint64_t dst, uint64_t dst_off, uint64_t len, uint64_t *ret_len);

/* file_sync: fsync: bytes and record of the inode are firm and on disk. ino 0: only the journal (fsync of a
 * directory). -E_IO: the volume is read-only from now on. */
int file_sync(struct vol *v, uint64_t ino);

/* file_settle: what rename and link need (F1): called with the inode's lock held exclusive, before the transaction:
 * afterwards the inode has no pending bytes, or they travel in the coming record. Waits for the disk if it is large. */
int file_settle_locked(struct vol *v, uint64_t ino);

/* file_make_firm(s, vol, upto_layer): every pending inode of the volume with changes in layers <= upto_layer becomes
 * firm (0: of every volume). The journal is not flushed. */
int file_make_firm(struct store *s, uint32_t vol, uint32_t upto_layer);

/* Called inside a write transaction by whoever seals: the number of writes that resolved in layers <= layer and have
 * not returned. layer_wait blocks (no lock held) until it is zero. */
void layer_wait(struct vol *v, uint32_t layer);

/* file_ranges: where the bytes are, for diff, check and dump: calls cb for each run of equal kind, ascending. object 0:
 * a hole or inline bytes. Inside the caller's transaction. */
struct file_run {
    uint64_t block, count; /* of the file */
    uint64_t object, obj_block;
    uint32_t data_born;
    uint32_t owner_vol;
    uint8_t kind; /* enum span_kind of span.h */
};
int file_ranges(struct txn *t, struct vt_at at, const struct inode *in, uint64_t from_block,
                uint64_t to_block, int (*cb)(void *arg, const struct file_run *run), void *arg);

#endif
