/* tier/restore_i: a restore under way. Private to restore*.c. */
#ifndef VARVE_TIER_RESTORE_I_H
#define VARVE_TIER_RESTORE_I_H

#include "tier/links.h"
#include "tier/restore.h"

struct mac;
struct restore {
    struct repo *r;
    const struct tree *t;
    const uint8_t *names; /* of point_names() */
    const struct restore_opts *o;
    int dest;
    struct buf path; /* of what is being restored, below dest; with its NUL */
    struct links *links;
    struct mac *mac;  /* names blobs (resume) */
    struct buf flags; /* u32, path with its NUL: what is made immutable at the end */
    struct restore_result res;
};

/* restore_file.c: one thing that is no directory, as dir/name, all of it; -E_CORRUPT: nothing is left of it. */
int restore_leaf(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in);

/* restore_bytes.c: the bytes of a regular file into fd. there: it may hold some of them already, which are proved and stay. */
int restore_bytes(struct restore *w, int fd, uint64_t ino, const struct point_inode *in, bool there);
/* 1: fd holds exactly these bytes already; 0. */
int restore_bytes_equal(struct restore *w, int fd, uint64_t ino, const struct point_inode *in);

/* restore_meta.c: owner, attributes, mode, times of what fd is (a file or a directory); or of dir/name, which cannot be opened. */
int restore_meta(struct restore *w, int fd, uint64_t ino, const struct point_inode *in);
int restore_meta_of(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in);
/* Notes what is immutable or append-only; sets it, once everything else is done. */
int restore_flags_note(struct restore *w, const struct point_inode *in);
int restore_flags_set(struct restore *w);
/* What this user may not do, or the target cannot hold, is counted, not refused. */
int restore_weaker(struct restore *w, int failed);

int restore_moved(struct restore *w, uint64_t bytes);

#endif
