/* fs/verb_into: a word that means a directory of any filesystem, or STORE/VOLUME[:PATH], a live volume: as a directory in any case. A
 * volume is written by way of its mount, so that the kernel, which keeps what it has seen, sees what is made; one that is not mounted is
 * mounted for the time, at a place that nobody else sees. Links in the volume do not lead out of it. */
#ifndef VARVE_FS_VERB_INTO_H
#define VARVE_FS_VERB_INTO_H

#include <limits.h>

#include "base/buf.h"

struct into {
    char path[PATH_MAX];  /* of the directory, as this process reaches it */
    char shown[PATH_MAX]; /* as it was said */
    int fd; /* of a directory of a volume; one that was mounted for the time ends with it; -1 none */
};

/* into_open: -E_NOENT: no such volume; -E_ROFS: it is mounted read-only; others of mounting; with a sentence. */
int into_open(const char *text, struct into *ret, struct buf *err);
void into_close(struct into *i); /* fit for cleanup() */

#endif
