/* tier/backup_i: a backup under way. Private to backup*.c. */
#ifndef VARVE_TIER_BACKUP_I_H
#define VARVE_TIER_BACKUP_I_H

#include "tier/backup.h"
#include "tier/map.h"
#include "tier/writer.h"

struct backup {
    struct repo *r;
    struct vol *v;
    const struct backup_opts *o;
    struct vt_at at;
    struct packer *p; /* the writer's */
    struct edits *e;
    struct tree tree;  /* as far as it is */
    struct tree base;  /* of the recovery point that this one goes on from */
    struct vt_at from; /* its snapshot; branch 0: none */
    uint8_t *room;     /* BLOB_MAX */
    uint8_t *old;      /* the same, once it is needed */
    uint64_t reads;    /* of the store */
    uint64_t looked;   /* changes and ranges, since memory of the tables was given back */
    bool cold;         /* the store has bytes that lie elsewhere */
    bool compared;     /* something is left out, as `from` has it: that snapshot has to be there at the end */
    struct writer w;
    bool again; /* an attempt before this one relied on what was condemned meanwhile */
    struct backup_result res;
};

/* backup.c: the edits become pages of the tree where there are many. arg: the backup. */
int backup_edits_full(void *arg);
/* backup_file.c: the map of a regular file, as edits. whole: its records are new; else changed as said. */
int backup_file_whole(struct backup *b, const struct inode *in);
int backup_file_ranges(struct backup *b, const struct walk_change *c);
/* backup_gather.c: bytes of the file in chunks of which it uses less than half are sent again and added to top, what changed of it, so
 * that nothing here refers to those chunks any more. At most a twelfth of what the backup sends anyway. Of a file whose map rolls
 * (tier/map.h), with so many blocks, those in the part that is laid over the base now. */
int backup_gather(struct backup *b, const struct inode *in, uint64_t blocks, struct extents *top);
/* backup_ahead.c: these ranges of the file, which the caller keeps, will be read one after the other: threads of its own read a little
 * ahead into the page cache. NULL: not worth it, or there is no memory: the others take that, too. backup_ahead_at: the i-th is next. */
struct backup_ahead;
struct backup_ahead *backup_ahead_new(struct backup *b, uint64_t ino, const struct diff_range *v, size_t n);
void backup_ahead_at(struct backup_ahead *a, size_t i);
void backup_ahead_free(struct backup_ahead *a);
/* backup_scout.c: threads of its own look at the inodes that come next in the walk, and at a little of their bytes, so that the backup finds
 * in memory what it needs of the store. inodes: of the whole volume. NULL: as above. backup_scouts_at: the walk stands there. They end before w does. */
struct backup_scouts;
struct backup_scouts *backup_scouts_new(struct backup *b, const struct walk_changed *w, uint64_t inodes);
void backup_scouts_at(struct backup_scouts *s, size_t at);
void backup_scouts_free(struct backup_scouts *s);
/* backup_cold.c: extents of the file in bytes [from, to), which begin with a block, that the repository has already, and that are not here;
 * ascending. backup_cold_any: 1 where the store has such bytes at all, 0. backup_cold_in: 1 where some of these are not here, whoever has
 * them; 0. backup_cold_before: are any of these, as `from` has the file, not here? */
int backup_cold_runs(struct backup *b, const struct inode *in, uint64_t from, uint64_t to,
                     struct extents *ret);
int backup_cold_any(struct backup *b);
int backup_cold_in(struct backup *b, const struct inode *in, uint64_t from, uint64_t to);
bool backup_cold_before(struct backup *b, uint64_t ino, uint64_t from, uint64_t to);
int backup_read(struct backup *b, uint64_t ino, uint64_t off,
                size_t len); /* into b->room, all of it; else -E_CORRUPT */
/* A symbolic link's target, appended. */
int backup_link_target(struct backup *b, const struct inode *in, struct buf *ret);
/* A value too large for a record: blob by blob is not needed, it is one. */
int backup_moved(struct backup *b, uint64_t items, uint64_t bytes);

#endif
