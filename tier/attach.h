/* tier/attach: small files that travel with a recovery point. They are records of its tree, attributes of the inode 0, which no file has:
 * so whoever marks, copies, proves or deletes a tree knows them already. One thread. */
#ifndef VARVE_TIER_ATTACH_H
#define VARVE_TIER_ATTACH_H

#include "tier/point.h"

#define ATTACH_BYTES BLOB_MAX        /* of one */
#define ATTACH_BYTES_ALL (16u << 20) /* of all of a recovery point */
#define ATTACH_MAX 256u

struct attachment {
    char name[POINT_NAME_MAX + 1];
    struct buf bytes;
};
struct attachments {
    struct attachment *v;
    size_t n;
};
void attachments_free(struct attachments *l);

/* attach_name_check: one component of a path, without control characters. -E_NAME. */
int attach_name_check(const char *name);
/* attach_read: one more, from a file. -E_TOOBIG, -E_EXIST (the name), -E_INVAL (no regular file), what open gives. */
int attach_read(struct attachments *l, const char *name, const char *path);

/* attach_put: as edits of a tree: in place of all that it had. */
int attach_put(struct packer *p, struct edits *e, const struct attachments *l);

/* attach_each: by name, ascending; cb non-zero ends it with that value. attach_get: appends the bytes, proved. -E_NOENT. */
int attach_each(struct repo *r, const struct tree *t, int (*cb)(void *arg, const char *name, uint64_t len),
                void *arg);
int attach_get(struct repo *r, const struct tree *t, const char *name, struct buf *ret);
/* attach_restore: all of them as files of dir, which is made if it is not there. -E_EXIST: a file is there, and the ones before it are
 * made. err: the sentence. */
int attach_restore(struct repo *r, const struct point *p, const char *dir, uint64_t *ret_n, struct buf *err);

#endif
