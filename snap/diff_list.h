/* snap/diff_list: the entries of a diff as they are found: names that went and came, what became of inodes, and what is told of both.
 * For whoever compares two states of a tree. One thread. */
#ifndef VARVE_SNAP_DIFF_LIST_H
#define VARVE_SNAP_DIFF_LIST_H

#include "snap/diff.h"

/* What became of an inode between the states. */
struct fate {
    uint64_t ino;
    bool same;        /* is in both, and is the same file */
    bool meta, bytes; /* bytes: for who compares them later */
    uint32_t type;
    size_t ranges, nranges; /* in diff_list.ranges */
};
/* A name that is in one state only, or means another file there. */
struct name {
    uint64_t dir, hash, ino;
    uint32_t type;
    size_t path; /* in diff_list.text */
    bool gone;   /* of state a; else new in b */
};
struct diff_list {
    struct buf fates;  /* struct fate each, ascending by ino */
    struct buf names;  /* struct name each */
    struct buf ranges; /* struct diff_range each */
    struct buf text;   /* paths, each with its NUL */
    struct buf outs;
};
void diff_list_free(struct diff_list *l); /* its contents */

/* diff_list_sort: the names by inode, those gone before those that came, each by path. Once, before diff_list_came. */
void diff_list_sort(struct diff_list *l);
/* diff_list_came: is (dir, hash) among the names of ino that came? Those have an entry already. */
bool diff_list_came(const struct diff_list *l, uint64_t ino, uint64_t dir, uint64_t hash);
struct fate *diff_list_fate(const struct diff_list *l, uint64_t ino); /* NULL: none */

/* diff_list_add: an entry; old: 'R', else NULL; f: meta and ranges, NULL neither. */
int diff_list_add(struct diff_list *l, char kind, const struct name *n, const struct name *old,
                  const struct fate *f);
/* diff_list_give: the entries by path, those at the path below or under it; "" all. cb non-zero ends it with that value. */
int diff_list_give(struct diff_list *l, const char *below, int (*cb)(void *arg, const struct diff_entry *e),
                   void *arg);

#endif
