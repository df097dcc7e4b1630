/* snap/changes: what the index `touched` says of layers of a branch, gathered by inode (F15). Private to the room. */
#ifndef VARVE_SNAP_CHANGES_H
#define VARVE_SNAP_CHANGES_H

#include "snap/snapshot.h"

/* One touched key. TAB_DIRENT: ino is the directory and a the hash; TAB_SPAN: a is the span; others: a is 0. */
struct change {
    uint64_t ino;
    uint64_t a;
    uint8_t tab;
};
struct changes {
    struct change *v;
    size_t n;
};
void changes_free(struct changes *c);
int changes_add(struct changes *c, uint8_t tab, const uint8_t *key);
int changes_collect(struct txn *t, uint32_t branch, uint32_t after, uint32_t to, struct changes *c);
/* The same in read transactions of its own, each short: the states looked at may be live. */
int changes_gather(struct store *s, uint32_t branch, uint32_t after, uint32_t to, struct changes *c);
/* touched_next: steps over the index from a key (TAB_TOUCHED's whole key; klen 0: from the first of layer after + 1): 1 and the
 * next key in it, 0 at the end of layer `to`. Sees the present. */
int touched_next(struct txn *t, uint32_t branch, uint32_t after, uint32_t to, uint8_t *key, uint32_t *klen);
void changes_sort(struct changes *c); /* by ino, table, a; without repeats */
/* The end of the group of one inode that begins at i. */
size_t changes_group(const struct changes *c, size_t i);

#endif
