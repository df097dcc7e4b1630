/* snap/diff: what changed between two states of a volume; cost proportional to the changes (F15), through the nearest common
 * layer (F14). */
#ifndef VARVE_SNAP_DIFF_H
#define VARVE_SNAP_DIFF_H

#include "snap/snapshot.h"

struct diff_range {
    uint64_t off_bytes, len_bytes; /* exact to the 4 KiB block, cut at the larger size */
};
struct diff_entry {
    char kind;     /* '+' created, '-' removed, 'M' changed, 'R' renamed (and perhaps changed) */
    uint32_t type; /* S_IFMT bits */
    const char
        *path; /* from the volume's root, without a leading slash; for 'R' and 'M' as in b ("" = the root) */
    const char *old_path;            /* 'R' only */
    bool meta;                       /* mode, owner, times, links, xattrs differ */
    const struct diff_range *ranges; /* of changed bytes, ascending, joined */
    size_t nranges;
    uint64_t ino;
};
/* diff_type_name: "file", "directory", ... of S_IFMT bits; others of a mode may be set. */
const char *diff_type_name(uint32_t mode);

/* diff_run: from state a to state b (names as snap_find takes them; b NULL or "": now), entries sorted by path; cb non-zero
 * ends it with that value. Directories whose only change is their list are 'M'. Hard links: one entry a path. */
int diff_run(struct vol *v, const char *a, const char *b, int (*cb)(void *arg, const struct diff_entry *e),
             void *arg);
/* The same with about so much memory at the most, for who is not to be trusted with more: -E_TOOBIG. */
int diff_run_within(struct vol *v, const char *a, const char *b, size_t most,
                    int (*cb)(void *arg, const struct diff_entry *e), void *arg);
/* The places, for callers that hold layers. */
int diff_places(struct vol *v, struct vt_at a, struct vt_at b,
                int (*cb)(void *arg, const struct diff_entry *e), void *arg);

#endif
