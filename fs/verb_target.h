/* fs/verb_target: what the words STORE, STORE/VOLUME[@SNAP] and TARGET mean. Threads: any. */
#ifndef VARVE_FS_VERB_TARGET_H
#define VARVE_FS_VERB_TARGET_H

#include <limits.h>

#include "base/buf.h"
#include "snap/store/format.h"

struct verb_target {
    char store[PATH_MAX];          /* absolute, no symbolic links */
    char volume[NAME_LEN_MAX + 1]; /* "" for a plain STORE where a store is asked for */
    char snap[NAME_LEN_MAX + 1];   /* "" none */
    char dir[PATH_MAX];            /* mount point by which it was named; "" by STORE/VOLUME */
    bool exists;                   /* store holds a store */
};

enum verb_target_flag {
    TARGET_STORE = 1,  /* a STORE is meant: volume stays empty (else "main" where none is named) */
    TARGET_NEW = 2,    /* STORE need not exist yet */
    TARGET_SNAP = 4,   /* @SNAP is allowed */
    TARGET_ANY = 16,   /* a store or a volume: volume stays empty where none is named */
    TARGET_NO_DIR = 8, /* a mounted directory is no target here */
};

/* verb_target_parse: STORE is the longest prefix that holds a store; one further component is the volume (not the store's
 * own names, no '/', '@', '#'); without one it is "main". Of a
 * store to be made (TARGET_NEW) the parent must be there; where only that one's parent is, the last component is the volume. A directory below a mount of varve means that mount's volume;
 * with TARGET_SNAP DIR@SNAP, where nothing has that name, means a snapshot of it.
 * -E_STORE_MISSING, -E_STORE_NOT, -E_NAME, -E_NOENT (parent of a new store) with a sentence in err. */
int verb_target_parse(const char *text, unsigned flags, struct verb_target *ret, struct buf *err);

/* Mounts of varve on this machine, as this process sees them. cb non-zero ends it with that value. */
struct verb_mount {
    const char *dir, *root, *opts;
    const char *source; /* STORE/VOLUME[@SNAP] */
    unsigned major, minor;
};
int verb_mounts_each(int (*cb)(void *arg, const struct verb_mount *m), void *arg);

#endif
