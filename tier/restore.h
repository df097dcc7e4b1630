/* tier/restore: files of a recovery point into a directory of any filesystem. One thread. */
#ifndef VARVE_TIER_RESTORE_H
#define VARVE_TIER_RESTORE_H

#include "tier/point.h"

struct restore_opts {
    char *const *paths; /* in the recovery point; none: everything */
    size_t npaths;
    bool overwrite; /* what exists is replaced, each file whole or not at all; directories are gone into */
    bool
        resume; /* what exists and is equal, byte for byte, stays; what an interrupted run has begun is gone on with */
    void *arg;
    int (*progress)(void *arg, uint64_t items, uint64_t bytes); /* so far; negative ends it with that value */
    void (*hurt)(void *arg, const char *path,
                 int why); /* a file that is not restored, or not in all it had */
};
struct restore_result {
    uint64_t files, dirs, others, bytes; /* bytes: written */
    uint64_t hurt;     /* files whose bytes are damaged in the repository: they are left out */
    uint64_t weaker;   /* owners, attributes, reserved space that the target or this user does not allow */
    uint64_t same;     /* of files and others: they were there and stayed (resume) */
    uint64_t replaced; /* of files and others: something else had the name (overwrite) */
};

/* restore_run: everything goes into dest (made if it is not there, else empty: -E_NOTEMPTY, unless it may overwrite or resume); paths go
 * there by their last component. What exists is never written over (-E_EXIST) unless overwrite says so; a directory never by something
 * else. A file has its name only when all of it is there; until then it is RESTORE_TMP and its inode's number.
 * However deep the tree is, some hundred descriptors are open. err: the sentence. -E_NOENT: no such path; others are of the repository and of the target. Damage of single files is no error: it is
 * counted and told. */
#define RESTORE_TMP ".varve-restore."
int restore_run(struct repo *r, const struct point *p, const char *dest, const struct restore_opts *o,
                struct restore_result *ret, struct buf *err);

/* restore_lookup: the inode of a path; names: of point_names(). -E_NOENT. */
int restore_lookup(struct repo *r, const struct tree *t, const uint8_t *names, const char *path,
                   uint64_t *ret_ino);

#endif
