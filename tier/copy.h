/* tier/copy: a recovery point of one repository into another one, with other keys. What the other one has is not sent; where an older
 * recovery point of the volume is in both, only what differs from it is read. */
#ifndef VARVE_TIER_COPY_H
#define VARVE_TIER_COPY_H

#include "tier/part.h"

struct copy_opts {
    const char *path; /* NULL: all of it; else that part of it (tier/part.h), which is there: -E_NOENT */
    void *arg;
    int (*progress)(void *arg, uint64_t items,
                    uint64_t bytes); /* inodes and bytes carried; negative ends it with that value */
    uint64_t *pieces;                /* may be NULL: grows by each blob, or part of one, that is carried */
};
struct copy_result {
    char id[SHA_TEXT], base[SHA_TEXT]; /* in the other repository; base "": everything was read */
    bool same;                         /* it was there already */
    uint64_t items, bytes;             /* carried */
    uint64_t new_bytes, sent_bytes;    /* not there before; put, all objects */
    struct tree was;                   /* in the source: what both have of an older one; depth 0: of none */
    uint64_t hurt; /* after -E_CORRUPT: the inode that what is damaged belongs to; 0: not known */
};

/* copy_origin: what a recovery point is called by all its copies: the id of the first of them. */
struct sha copy_origin(const struct point *p);
/* copy_origin_of: what a copy of this part of it is called by; path NULL: of all of it. */
int copy_origin_of(const struct point *p, const char *path, struct sha *ret);

/* copy_run: both were synced by nobody yet. -E_CORRUPT: the source is damaged where it is needed; -E_ARCHIVED: what differs from ret->was
 * is needed, and some of it lies in an archive; others of repositories. Interrupted, it
 * is begun anew, and what is in the other repository by then is not sent again. */
int copy_run(struct repo *from, struct repo *to, const struct point *p, const struct copy_opts *o,
             struct copy_result *ret);

/* copy_run_thawed: as copy_run(); where something that is needed lies in an archive, all of it is asked for at once and waited for. thaws:
 * called now and then meanwhile with o->arg; negative ends it with that value. err: what went wrong with that. */
int copy_run_thawed(struct repo *from, struct repo *to, const struct point *p, const struct copy_opts *o,
                    int (*thaws)(void *arg, uint64_t ready, uint64_t of), struct copy_result *ret,
                    struct buf *err);

#endif
