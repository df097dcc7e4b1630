/* base/mounts: the mounts that this process sees (/proc/self/mountinfo). Nothing of what is mounted is touched. Threads: any. */
#ifndef VARVE_BASE_MOUNTS_H
#define VARVE_BASE_MOUNTS_H

#include "base/base.h"

struct mounts_line {
    const char *dir, *root; /* absolute; what of the filesystem is seen there */
    const char *opts;       /* of the mount point: "rw,nosuid" */
    const char *type, *source;
    unsigned major, minor;
};

/* mounts_each: each, in the order of mounting: of two on one directory the later lies on top. cb non-zero ends it with that value. */
int mounts_each(int (*cb)(void *arg, const struct mounts_line *l), void *arg);

#endif
