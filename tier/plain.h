/* tier/plain: a snapshot as plain objects, one for each file, for programs that know nothing of varve: `files/` and the path, and a
 * manifest of JSON lines for each export (docs/repository-format.md, Plain exports). What has not changed since the last export is not
 * read; an interrupted one is gone on with by the next. One thread; one export to a place at a time. */
#ifndef VARVE_TIER_PLAIN_H
#define VARVE_TIER_PLAIN_H

#include "snap/walk.h"
#include "tier/backend.h"

struct plain_opts {
    const char *
        base; /* NULL: the last export; "none": everything is put anew; else a snapshot's name or an export's number, which
                         the last one must have */
    bool del;         /* objects of files that are gone are deleted */
    const char *room; /* a directory for what is too large for memory */
    void *arg;
    int (*progress)(void *arg, uint64_t items,
                    uint64_t bytes); /* told, and put; negative ends it with that value */
};
struct plain_result {
    uint32_t number, base;               /* of this export; of the one it went on from, 0 none */
    uint64_t files, dirs, others, bytes; /* of the snapshot */
    uint64_t put, put_bytes;
    uint64_t deleted, gone; /* objects of files that are no more: deleted; left there */
    bool resumed;           /* with what an interrupted export of the same snapshot had put */
};

/* plain_run: rec: of a durable snapshot that is held. err: a sentence, where more is to be said than the code tells.
 * -E_REPO_EXIST: a repository lies there; -E_CORRUPT: the last manifest is damaged; -E_USAGE: base is another. */
int plain_run(struct backend *b, const struct backend_call *c, struct vol *v, const struct layer_rec *rec,
              const struct plain_opts *o, struct plain_result *ret, struct buf *err);

/* plain_name: an object's name for a path; far: when that one is too long, or in the way of another. */
int plain_name(const char *path, bool far, char out[BACKEND_NAME_MAX + 1]);

#endif
