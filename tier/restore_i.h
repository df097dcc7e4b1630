/* tier/restore_i: a restore under way. Private to restore*.c. */
#ifndef VARVE_TIER_RESTORE_I_H
#define VARVE_TIER_RESTORE_I_H

#include "tier/restore.h"

struct links;
struct restore {
    struct repo *r;
    const struct tree *t;
    const struct restore_opts *o;
    int dest;
    struct buf path; /* of what is being restored, below dest; with its NUL */
    struct links *links;
    struct restore_result res;
};

/* restore_file.c: one thing that is no directory, as dir/name, all of it; -E_CORRUPT: nothing is left of it. */
int restore_leaf(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in);
/* Owner, attributes, mode, times of what fd is (a file or a directory). */
int restore_meta(struct restore *w, int fd, uint64_t ino, const struct point_inode *in);

/* Where an inode with several names was restored first. links_get: NULL, not yet. */
int links_new(struct links **ret);
void links_free(struct links *l);
const char *links_get(const struct links *l, uint64_t ino);
int links_put(struct links *l, uint64_t ino, const char *path);

#endif
