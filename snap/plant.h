/* snap/plant: a tree put into a volume record by record, as it was somewhere else: inodes with their numbers and times, names with their
 * hashes, bytes that lie elsewhere (snap/store/cold.h). For a volume of volume_make(), which nobody sees: what is put need not be
 * whole before volume_show(). Many records go into one transaction: they are there after plant_flush(), or when it becomes full.
 * One thread; nothing else may change the volume meanwhile. */
#ifndef VARVE_SNAP_PLANT_H
#define VARVE_SNAP_PLANT_H

#include "snap/store/cold.h"
#include "snap/volume.h"

struct plant;
int plant_new(struct vol *v, struct plant **ret);
void plant_free(struct plant *p); /* what was not flushed is forgotten */
int plant_flush(struct plant *p);

/* Of an inode that is put next: attributes, which change in->nxattr and in->flags; a symbolic link's target; a regular file's map (n of
 * any number, ascending), which changes in->blocks and what belongs to it; then the record. -E_CORRUPT: no such thing can be. */
int plant_xattr(struct plant *p, struct inode *in, const char *name, const void *value, size_t len);
int plant_target(struct plant *p, struct inode *in, const char *target, size_t len);
int plant_inode(struct plant *p, struct inode *in, const struct cold_run *runs, size_t n);

/* A name. kept: its hash is by this volume's key; else by another's, and the inode (which is there by now, as is its directory)
 * learns the new one where the old one stands in its record. */
struct plant_name {
    uint64_t dir, hash, ino;
    uint32_t type; /* S_IFMT bits */
    const char *name;
    size_t len;
};
int plant_name_kept(struct plant *p, const struct plant_name *n);
int plant_name_new(struct plant *p, const struct plant_name *n);
/* plant_name_more: a kept name of an inode that is there: noted if it is not the one in its record. */
int plant_name_more(struct plant *p, const struct plant_name *n);

#endif
