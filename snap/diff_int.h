/* snap/diff_int: the parts of a diff under way. Private to diff*.c. */
#ifndef VARVE_SNAP_DIFF_INT_H
#define VARVE_SNAP_DIFF_INT_H

#include "snap/changes.h"
#include "snap/diff.h"
#include "snap/runs.h"

/* Paths of directories in one state, remembered. */
struct paths {
    struct path_slot {
        uint64_t ino; /* 0: empty */
        size_t off;   /* in text: NUL-terminated; SIZE_MAX: it has none */
    } * slot;
    size_t n, cap;
    struct buf text;
};
void paths_free(struct paths *p);
/* paths_of: off of the path of a directory in p->text. -E_NOENT: it hangs nowhere in that state. */
int paths_of(struct paths *p, struct txn *t, struct vt_at at, uint64_t dir, size_t *ret_off);

struct dirent_val {
    uint64_t ino;
    uint32_t type; /* S_IFMT bits */
    const char *name;
    size_t name_len;
};
int dirent_at(struct txn *t, struct vt_at at, uint64_t dir, uint64_t hash,
              struct dirent_val *ret); /* -E_NOENT */

/* What became of an inode between the states. */
struct fate {
    uint64_t ino;
    bool same; /* is in both, and is the same file */
    bool meta;
    uint32_t type;
    size_t ranges, nranges; /* in diff.ranges */
};
/* A name that is in one state only, or means another file there. */
struct name {
    uint64_t dir, hash, ino;
    uint32_t type;
    size_t path; /* in diff.text */
    bool gone;   /* of state a; else new in b */
    bool used;
};
struct out {
    char kind;
    bool meta;
    uint32_t type;
    uint64_t ino;
    size_t path, old_path; /* in diff.text; SIZE_MAX none */
    size_t ranges, nranges;
};
struct diff {
    struct vol *v;
    struct txn *t;
    struct vt_at a, b;
    struct changes c;
    struct paths pa, pb;
    struct buf fates, names, outs, ranges, text;
};

void diff_free(struct diff *d); /* its contents */

/* diff_fate: compares an inode of which v[0..n) were touched; *ret_any: something differs. Appends to d->ranges. */
int diff_fate(struct diff *d, const struct change *v, size_t n, struct fate *ret, bool *ret_any);
/* diff_whole: all bytes of a file of state b as ranges. */
int diff_whole(struct diff *d, uint64_t ino, size_t *ret_first, size_t *ret_n);
/* diff_candidates: fills d->c. -E_UNRELATED. */
int diff_candidates(struct diff *d);

#endif
