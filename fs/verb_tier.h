/* fs/verb_tier: what the verbs of tiering share. */
#ifndef VARVE_FS_VERB_TIER_H
#define VARVE_FS_VERB_TIER_H

#include "fs/verb_repo.h"
#include "snap/snapshot.h"
#include "tier/policy.h"

/* A recovery point whose snapshot is here, and durable. */
struct tier_point {
    struct layer_rec rec;
    char id[SHA_TEXT];
};
/* tier_points: those of a volume, struct tier_point each, in the order of the snapshots, one for each; appended. tier_points_newest: the
 * last. -E_NOENT with a sentence: there is none. */
int tier_points(struct vol *v, struct repo *repo, const char *place, struct buf *ret, struct buf *err);
int tier_points_newest(struct vol *v, struct repo *repo, const char *place, struct tier_point *ret,
                       struct buf *err);

/* What is asked for: by the profile, and by words that take the place of its terms. p.pattern points into it. */
struct tier_terms {
    struct tier_policy p;
    char to[1025], pattern[256];
    bool upload, own; /* own: words were given */
};
/* tier_terms_of: a NULL: by the profile alone. -E_NODATA with a sentence: nothing says what. -E_USAGE. */
int tier_terms_of(struct vol *v, const struct verb_args *a, struct tier_terms *ret, struct buf *err);

/* tier_secrets: the options that open a repository, for a line of a job. tier_upload: a backup of the snapshot that the argument `snap` names,
 * within the job j, which then says how it went. */
int tier_secrets(const struct verb_args *a, struct buf *line);
struct job;
int tier_upload(struct job *j, uint64_t id, struct store *s, struct vol *v, const struct repo_place *place,
                const struct verb_args *a);

/* tier_room: what the live tree has here and the volume's size, or without one what is in use of the filesystem below. 1: the former. */
int tier_room(struct vol *v, const struct tier_policy *p, uint64_t *ret_used, uint64_t *ret_total);

/* tier_follow: reads are noted from now on as the profile of the volume, or of each, needs it. */
int tier_follow(struct vol *v);
void tier_follow_all(struct store *s);

#endif
