/* tier/restore_i: a restore under way. Private to restore*.c. */
#ifndef VARVE_TIER_RESTORE_I_H
#define VARVE_TIER_RESTORE_I_H

#include "tier/idset.h"
#include "tier/places.h"
#include "tier/restore.h"

/* restore_level.c: the directories from the target down to the one that is under way. */
struct level;
struct levels {
    struct level *v;
    size_t n;
    size_t low;    /* from here on they are open; those above are found again by ".." */
    size_t bytes;  /* of lists of entries, */
    size_t looked; /* those above were asked to give theirs back */
    uint64_t done; /* entries, all in all */
};

struct mac;
struct restore {
    struct repo *r;
    const struct tree *t;
    const uint8_t *names; /* of point_names() */
    const struct restore_opts *o;
    int dest;
    struct levels levels;
    struct buf path; /* of what is being restored, below dest; with its NUL */
    struct places places;
    struct idset links; /* inodes of several names: where in firsts the first one is */
    struct buf firsts;  /* place u32, name with its NUL */
    struct mac *mac;    /* names blobs (resume) */
    struct buf
        flags; /* u32, place u32, name with its NUL ("" the place): what is made immutable at the end */
    struct restore_result res;
};

int restore_survive(struct restore *w, int r); /* damage is told, and 0; everything else is given back */

/* levels_enter: the directory of w->path, in the one entered last; takes fd (-1: it is the target). levels_next: 1: the next entry of the
 * one entered last, name valid until another call; w->path is its. 0: that was all. levels_leave: its owner, mode, times. levels_fd:
 * of the one entered last; of the target where none is. levels_may_enter: false: the tree could be a circle. levels_place: its place. in
 * NULL: it is read when it is left. */
int levels_enter(struct restore *w, int fd, uint64_t ino, const struct point_inode *in);
int levels_next(struct restore *w, const char **ret_name, uint64_t *ret_ino);
int levels_leave(struct restore *w);
int levels_fd(const struct restore *w);
bool levels_may_enter(const struct restore *w, uint64_t ino, const struct point_inode *in);
int levels_place(struct restore *w, uint32_t *ret);
void levels_release(struct restore *w);

/* restore_file.c: one thing that is no directory, as dir/name, all of it; -E_CORRUPT: nothing is left of it. */
int restore_leaf(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in);

/* restore_bytes.c: the bytes of a regular file into fd. there: it may hold some of them already, which are proved and stay. */
int restore_bytes(struct restore *w, int fd, uint64_t ino, const struct point_inode *in, bool there);
/* 1: fd holds exactly these bytes already; 0. */
int restore_bytes_equal(struct restore *w, int fd, uint64_t ino, const struct point_inode *in);

/* restore_meta.c: owner, attributes, mode, times of what fd is (a file or a directory); or of dir/name, which cannot be opened. */
int restore_meta(struct restore *w, int fd, uint64_t ino, const struct point_inode *in);
int restore_meta_of(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in);
/* Notes what is immutable or append-only, by its name in the directory entered last ("": that one); sets it, once everything else is
 * done. */
int restore_flags_note(struct restore *w, const char *name, const struct point_inode *in);
int restore_flags_set(struct restore *w);
/* What this user may not do, or the target cannot hold, is counted, not refused. */
int restore_weaker(struct restore *w, int failed);

int restore_moved(struct restore *w, uint64_t bytes);

#endif
