/* tier/backup: a durable snapshot becomes a recovery point: whole, or by what changed since one that is there. */
#ifndef VARVE_TIER_BACKUP_H
#define VARVE_TIER_BACKUP_H

#include "snap/walk.h"
#include "tier/attach.h"

/* In which deduplication domain: as the volume's newest recovery point is; in the repository's; in one of the volume's own. */
enum backup_domain { BACKUP_AS_BEFORE, BACKUP_SHARED, BACKUP_OWN };
struct backup_opts {
    enum codec_id codec; /* CODEC_NONE: the default */
    enum backup_domain domain;
    bool full; /* read everything, also where a recovery point to go on from is there */
    const struct attachments *attach; /* NULL: none */
    const struct buf *labels; /* "KEY=VALUE", each with its NUL, before those of the snapshot; NULL: none */
    void *arg;
    /* files and bytes read so far; negative ends it with that value */
    int (*progress)(void *arg, uint64_t items, uint64_t bytes);
    void (*total)(void *arg, uint64_t items,
                  uint64_t bytes); /* what there is to do, when it is known; may be NULL */
};
struct backup_result {
    char id[SHA_TEXT], base[SHA_TEXT];   /* base "": everything was read */
    bool same;                           /* the snapshot was there already: id is that one's */
    uint64_t files, dirs, others, bytes; /* of the snapshot */
    uint64_t read_items, read_bytes;     /* looked at */
    uint64_t named_bytes;                /* that lie in the repository only: named, not read */
    uint64_t new_bytes, sent_bytes;      /* not in the repository before; put, all objects */
    uint64_t gathered_bytes;             /* of new_bytes: sent again out of chunks of which little is left */
};

/* backup_run: rec: of a durable snapshot that is held. What an interrupted run has put is not sent again.
 * Errors: of backends and of reading; -E_CANCELED; -E_REPO_NEWER (deletion under way by unknown rules); -E_SHREDDED: its domain was,
 * meanwhile. */
int backup_run(struct repo *r, struct vol *v, const struct layer_rec *rec, const struct backup_opts *o,
               struct backup_result *ret);

#endif
