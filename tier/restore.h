/* tier/restore: files of a recovery point into a directory of any filesystem. One thread. */
#ifndef VARVE_TIER_RESTORE_H
#define VARVE_TIER_RESTORE_H

#include "tier/point.h"

struct restore_opts {
    char *const *paths; /* in the recovery point; none: everything */
    size_t npaths;
    void *arg;
    int (*progress)(void *arg, uint64_t items, uint64_t bytes); /* so far; negative ends it with that value */
    void (*hurt)(void *arg, const char *path,
                 int why); /* a file that is not restored, or not in all it had */
};
struct restore_result {
    uint64_t files, dirs, others, bytes;
    uint64_t hurt;   /* files whose bytes are damaged in the repository: they are left out */
    uint64_t weaker; /* owners or attributes that the target or this user does not allow */
};

/* restore_run: everything goes into dest (made if it is not there, else empty: -E_NOTEMPTY); paths go there by their last component,
 * which must not be there (-E_EXIST). What exists is never written over. err: the sentence. -E_NOENT: no such path; others are of
 * the repository and of the target. Damage of single files is no error: it is counted and told. */
int restore_run(struct repo *r, const struct point *p, const char *dest, const struct restore_opts *o,
                struct restore_result *ret, struct buf *err);

/* restore_lookup: the inode of a path. -E_NOENT, -E_NOTDIR. */
int restore_lookup(struct repo *r, const struct tree *t, const char *path, uint64_t *ret_ino);

#endif
