/* fs/migrate: migrations of a store (tier/migrate.h) as jobs of the process that serves it. */
#ifndef VARVE_FS_MIGRATE_H
#define VARVE_FS_MIGRATE_H

#include "fs/verb_repo.h"
#include "snap/job.h"
#include "tier/migrate.h"

/* Both sides, open. Given back by migrate_sides_close(); the zero state is allowed. */
struct migrate_sides {
    struct repo_place *place[2]; /* from, to: as they are opened, with the limit of bytes */
    struct repo *from, *to;
};
/* migrate_sides_open: err: the sentence. */
int migrate_sides_open(const struct migrate *m, const struct backend_call *c, struct migrate_sides *ret,
                       struct buf *err);
void migrate_sides_close(struct migrate_sides *s);

/* migrate_relied: ids (SHA_TEXT bytes each) of recovery points at the source that volumes of the store read from, as far as the filter's
 * volume says. */
int migrate_relied(struct store *s, const struct migrate *m, struct repo *from, struct buf *ret);

/* migrate_start: the job that does it: the one under way, or a new one; the record says that it runs. */
int migrate_start(struct store *s, struct migrate *m, uint64_t *ret_job);
/* migrate_job_of: the job that is at it; 0 none. */
uint64_t migrate_job_of(struct store *s, const char *name);
int migrate_job(struct job *j, struct store *s, const struct job_info *info);

/* migrate_due: starts what is due, and what a dead process was at. How many seconds until the next one; 0: none waits. */
int64_t migrate_due(struct store *s);

#endif
