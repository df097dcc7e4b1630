/* snap/runs: where the blocks of a file lie in a state, and how two states differ. Identity of content between sealed states
 * is identity of mapping: the same block of the same object. Private to the room; inside the caller's transaction. */
#ifndef VARVE_SNAP_RUNS_H
#define VARVE_SNAP_RUNS_H

#include "snap/snapshot.h"

struct runs {
    struct file_run *v; /* ascending, mapped ones only */
    size_t n;
};
void runs_free(struct runs *r);
static inline void runs_reset(struct runs *r)
{
    r->n = 0;
}
int runs_add(struct runs *r, const struct file_run *run); /* joins with the last one */
uint64_t runs_blocks(const struct runs *r);

/* runs_of: appends the mapped runs of an inode in blocks [from, to). written: without unwritten ones, which read as zeros. */
int runs_of(struct txn *t, struct vt_at at, const struct inode *in, uint64_t from, uint64_t to, bool written,
            struct runs *ret);
/* runs_end: a block beyond all mapped ones. */
int runs_end(struct txn *t, struct vt_at at, const struct inode *in, uint64_t *ret);

/* runs_minus: the parts of a that b does not hold at the same place of the file. */
int runs_minus(const struct runs *a, const struct runs *b, struct runs *ret);

/* Pieces of a file, in blocks: ascending and joined after windows_sort. */
struct windows {
    struct window {
        uint64_t from, to;
    } * v;
    size_t n;
};
void windows_free(struct windows *w);
int windows_add(struct windows *w, uint64_t from, uint64_t to);
void windows_sort(struct windows *w);

/* A file in one state. */
struct file_state {
    struct vt_at at;
    bool there;
    struct inode in;
};
int file_state_get(struct txn *t, struct vt_at at, uint64_t ino,
                   struct file_state *ret); /* not there is no error */

/* runs_windows: where two states of a file may differ: the touched spans given, and what the dense base or the file's coming
 * and going says. */
int runs_windows(struct txn *t, const struct file_state *a, const struct file_state *b, struct windows *w);

#endif
