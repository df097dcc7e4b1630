/* snap/store/change: one change of one file's bytes, from resolving it to its record (F6). For this room only.
 *
 * change_begin resolves the place (layer pinned) and reads the inode; the caller then does its object I/O; change_open begins
 * the record; spans are altered by change_span_*; change_put ends it. All with the inode's lock held exclusive, which the
 * caller took. change_end gives back what was pinned and reserved, always. change_unpin gives back the pin before: once the record is made,
 * when long work follows that a snapshot need not wait for. */
#ifndef VARVE_SNAP_STORE_CHANGE_H
#define VARVE_SNAP_STORE_CHANGE_H

#include "snap/store/store_int.h"

struct change {
    struct vol *v;
    struct store *s;
    const struct file_req *rq;
    uint64_t ino;
    struct vt_at at;   /* {branch, layer written in} */
    struct inode in;   /* as resolved; then as changed */
    struct vt_val was; /* its record, as change_open found it */
    struct txn t;
    bool pinned;
    bool done;      /* its record is journaled */
    uint64_t floor; /* objects below it take nothing in place */
    enum keep keep;
    struct txn_owner owner;
    uint64_t reserved; /* blocks */
    uint64_t object;   /* the open object of this change; 0: none is needed */
    bool object_new;
    bool moves;       /* where the bytes are kept is all that changes: no times */
    bool dropped;     /* blocks of the open object were given up: it takes no more */
    struct objfd *fd; /* of object, while I/O is done */
    struct dirty *dirty;
    struct dirty_obj *dobj;
    uint64_t wrote_off, wrote_end; /* bytes written to object, for the sync */
    int64_t blocks_before;
};

int change_begin(struct change *ch, struct vol *v, const struct file_req *rq, uint64_t ino);
void change_unpin(struct change *ch);
void change_end(struct change *ch);
/* ends it, too; an inode that has gathered more images than fit well into one record of the journal is made firm */
int change_finish(struct change *ch, int r);

/* the object that blocks of this change go to: the open one, or a fresh number; its descriptor is ch->fd */
int change_object(struct change *ch, bool fresh);
int change_reserve(struct change *ch, uint64_t blocks); /* -E_QUOTA */
int change_pwrite(struct change *ch, const void *p, size_t len, uint64_t off);

int change_open(struct change *ch, enum op_kind op, bool pending);
/* As change_open does: what the request takes away besides is firm at once, like all attributes; so that both levels agree on
 * how many there are, and a power cut that loses the bytes does not bring it back. */
int change_kill_priv(struct change *ch);
int change_put(struct change *ch); /* commits; in any case the transaction is over */
void change_abort(struct change *ch);

/* a span of the file as it is, and storing its new map; had: as span_load said (1 a record, 0 dense) */
/* The block that the file's end cuts in two, when it is to be copied to an object of this change: its first part stays, and
 * what lies beyond the end reads as zeros when the file grows. keep 0: there is none. */
struct cut {
    uint64_t block, keep;
    uint64_t object, from;
};
int change_find_cut(struct change *ch, uint64_t size, struct cut *c); /* at a new end */
int change_find_tail(struct change *ch, struct cut *c); /* at the present one: for a file that grows */
int change_copy_cut(struct change *ch, struct cut *c,
                    bool fresh); /* c->keep 0 afterwards: nothing had to be cut */
int change_set_block(struct change *ch, uint64_t block, uint8_t kind);

int change_span_load(struct change *ch, struct txn *t, uint64_t span, struct span *ret, bool *ret_had,
                     bool *ret_inherited);
int change_span_store(struct change *ch, uint64_t span, const struct span *old, const struct span *new,
                      bool had, bool inherited_src);
int change_cut(struct change *ch, uint64_t first,
               uint64_t end); /* blocks [first, end) become holes; end may be UINT64_MAX */
struct span_src change_src(const struct change *ch, uint8_t kind);

int span_load(struct txn *t, struct vt_at at, const struct inode *in, uint64_t span, struct span *ret,
              bool *ret_inherited);
int inline_read(struct txn *t, struct vt_at at, uint64_t ino, uint8_t *p, size_t len, uint64_t off);
int inline_write(struct change *ch, const uint8_t *p, size_t len, uint64_t off);
int inline_trim(struct change *ch, uint64_t size); /* drops bytes from size on */
int file_read_locked(struct vol *v, struct vt_at at, uint64_t ino, void *p, size_t len, uint64_t off,
                     size_t *ret_len);
int file_here_locked(struct vol *v, struct vt_at at, uint64_t ino, size_t len, uint64_t off);
int write_locked(struct vol *v, const struct file_req *rq, uint64_t ino, const void *p, size_t len,
                 uint64_t off, struct inode *ret);
int truncate_locked(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t size, struct inode *ret);
/* the first span at or after `span` that is no hole as a whole; UINT64_MAX: none */
int span_next_used(struct txn *t, struct vt_at at, const struct inode *in, uint64_t span, uint64_t *ret);
int promote_locked(struct vol *v, uint64_t ino); /* inline bytes go to an object */

static inline uint64_t blocks_of(uint64_t bytes)
{
    return (bytes + BLOCK_SIZE - 1) / BLOCK_SIZE;
}

#endif
