/* snap/walk: all that a sealed state holds, in order of inode numbers, for backup; and what changed between two, by inode. Short read
 * transactions; the layer must stay (a hold). Callbacks run outside of transactions, unless said. Threads: any. */
#ifndef VARVE_SNAP_WALK_H
#define VARVE_SNAP_WALK_H

#include "snap/diff.h"
#include "snap/store/inode.h"

#define WALK_BATCH 256

/* walk_inodes: up to WALK_BATCH inodes with numbers > after that have a name (orphans are left out); *ret_n 0 at the end. */
int walk_inodes(struct vol *v, struct vt_at at, uint64_t after, struct inode ret[WALK_BATCH], size_t *ret_n);
int walk_inode(struct vol *v, struct vt_at at, uint64_t ino, struct inode *ret); /* -E_NOENT; orphans too */

struct walk_dirent {
    uint64_t hash, ino;
    uint32_t type; /* S_IFMT bits */
    const char *name;
    size_t name_len;
};
/* All entries of a directory, or the one with this hash (-E_NOENT). cb runs inside a transaction: no I/O. */
int walk_dirents(struct vol *v, struct vt_at at, uint64_t dir,
                 int (*cb)(void *arg, const struct walk_dirent *e), void *arg);
int walk_dirent(struct vol *v, struct vt_at at, uint64_t dir, uint64_t hash,
                int (*cb)(void *arg, const struct walk_dirent *e), void *arg);

/* Extended attributes with their values. cb runs inside a transaction. */
int walk_xattrs(struct vol *v, struct vt_at at, uint64_t ino,
                int (*cb)(void *arg, const char *name, size_t name_len, const void *p, size_t len),
                void *arg);

/* Blocks that are reserved and were never written, those beyond the end of the file among them. */
int walk_reserved(struct vol *v, struct vt_at at, uint64_t ino,
                  int (*cb)(void *arg, uint64_t block, uint64_t count), void *arg);

/* walk_changes: inodes of which anything differs between a and b, ascending. */
struct walk_change {
    uint64_t ino;
    bool same; /* it is in both, and the same file: ranges and hashes tell all beside attributes */
    const struct inode *was, *is;    /* as a and b have it; NULL: it has no name there */
    const struct diff_range *ranges; /* bytes that changed; of a new file none are told */
    size_t nranges;
    const uint64_t *hashes; /* of a directory: entries that came, went, or became others */
    size_t nhashes;
};
int walk_changes(struct vol *v, struct vt_at a, struct vt_at b,
                 int (*cb)(void *arg, const struct walk_change *c), void *arg);

/* walk_changed: the same in steps. What was touched is gathered once (24 bytes for each key), then each inode can be looked at, piece
 * by piece: a piece costs what was touched in it. walk_changed_next: *at 0 at first; false: there are no more. walk_changed_look: of the inode at
 * `at`, the blocks [from, to) only; 1: anything differs, and *ret lives until the next look; 0: nothing. */
struct walk_changed;
int walk_changed_new(struct vol *v, struct vt_at a, struct vt_at b, struct walk_changed **ret);
/* walk_changed_peer: looks at the same inodes, for another thread; `of` must outlive it. */
int walk_changed_peer(const struct walk_changed *of, struct walk_changed **ret);
void walk_changed_free(struct walk_changed *w); /* NULL is allowed */
bool walk_changed_next(const struct walk_changed *w, size_t *at, uint64_t *ret_ino);
int walk_changed_look(struct walk_changed *w, size_t at, uint64_t from_block, uint64_t to_block,
                      struct walk_change *ret);

#endif
