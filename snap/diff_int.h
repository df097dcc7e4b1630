/* snap/diff_int: the parts of a diff under way. Private to diff*.c. */
#ifndef VARVE_SNAP_DIFF_INT_H
#define VARVE_SNAP_DIFF_INT_H

#include "snap/changes.h"
#include "snap/diff_list.h"
#include "snap/runs.h"

/* Paths of directories in one state, remembered. */
struct paths {
    struct path_slot {
        uint64_t ino; /* 0: empty */
        size_t off;   /* in text: NUL-terminated; SIZE_MAX: it has none */
    } * slot;
    size_t n, cap;
    struct buf text;
    size_t most; /* bytes of text, then -E_TOOBIG; 0: as memory allows */
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

struct diff {
    struct vol *v;
    struct txn *t;
    struct vt_at a, b;
    struct window clip; /* blocks of files that are compared; to 0: all */
    size_t most;        /* bytes of memory, about; then -E_TOOBIG; 0: as there is */
    struct changes c;
    struct paths pa, pb;
    struct diff_list l;
};

void diff_free(struct diff *d); /* its contents */

/* diff_fate: compares an inode of which v[0..n) were touched; *ret_any: something differs. Appends to d->l.ranges. */
int diff_fate(struct diff *d, const struct change *v, size_t n, struct fate *ret, bool *ret_any);
/* diff_whole: all bytes of a file of state b as ranges. */
int diff_whole(struct diff *d, uint64_t ino, size_t *ret_first, size_t *ret_n);
/* diff_candidates: fills d->c. -E_UNRELATED. */
int diff_candidates(struct diff *d);

#endif
