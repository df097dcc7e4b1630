/* tier/part: what lies at a path of a recovery point and below it, with the directories on the way there, as a recovery point of its own:
 * the same inodes, fewer. It is no state of the volume, so that it is called otherwise, and no backup goes on from it. One thread. */
#ifndef VARVE_TIER_PART_H
#define VARVE_TIER_PART_H

#include "tier/idset.h"
#include "tier/point.h"

#define PART_PATH_MAX 1023

struct part_node {
    uint64_t ino, parent, hash; /* one of the entries that name it there; of the root: 0 */
    uint64_t only;              /* on the way: the one entry that is taken */
    uint32_t names, subdirs;    /* entries that name it there; on the way: directories below it there */
    uint64_t on_way;            /* a directory of which one entry is taken */
};
struct part {
    struct idset index; /* inodes: their place in v, and 1 */
    struct buf v;       /* struct part_node each */
};
void part_free(struct part *p);

/* part_path: a path as it is kept: names with one slash between. -E_NAME: with "..", too long, or with a line break. */
int part_path(const char *path, char ret[PART_PATH_MAX + 1]);

/* part_make: names: of point_names(). -E_NOENT: there is no such path. r was synced. */
int part_make(struct repo *r, const struct tree *t, const uint8_t *names, const char *path, struct part *ret);

const struct part_node *part_find(const struct part *p, uint64_t ino); /* NULL: it is not there */
size_t part_nodes(const struct part *p);
const struct part_node *part_node(const struct part *p, size_t i);
bool part_takes(const struct part *p, const uint8_t *key, size_t klen); /* a record of the whole tree */

/* part_inode: its record, which the part takes, as it is there: with the names that it has there. -E_CORRUPT. */
int part_inode(const struct part *p, const struct tree_rec *whole, uint8_t ret[POINT_INODE_SIZE]);

/* part_count: how many files, directories, others and bytes of the whole tree it has, into p. part_origin: what all copies of it are called.
 * part_name: volume and snapshot of its own; its path is a label. -E_NOMEM. */
int part_count(struct repo *r, const struct tree *whole, const struct part *part, struct point *p);
int part_origin(const struct sha *whole, const char *path, struct sha *ret);
int part_name(struct point *p, const char *path);

#endif
