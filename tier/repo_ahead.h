/* tier/repo_ahead: chunks that will be read soon are fetched, and unpacked if all of them is wanted, by threads of their own. Threads: as of the repo. */
#ifndef VARVE_TIER_REPO_AHEAD_H
#define VARVE_TIER_REPO_AHEAD_H

#include "tier/repo.h"

/* repo_ahead: the chunk will be asked for by repo_chunk(), or, to stay sealed, some of it by repo_slice(). False: as many as there is
 * room for are on their way. */
enum ahead_form { AHEAD_PLAIN, AHEAD_SEALED };
bool repo_ahead(struct repo *r, const struct id16 *chunk, enum ahead_form form);
/* repo_ahead_drop: those that nobody asked for are forgotten, after what runs has ended; _end: and the threads. */
void repo_ahead_drop(struct repo *r);
void repo_ahead_end(struct repo *r);

/* For tier/repo_kept.c: its bytes take the place of those of *sealed or of *plain; the other one stays as it is. False: it is not on its way,
 * or could not be read. */
bool repo_ahead_take(struct repo *r, const struct id16 *chunk, struct buf *sealed, struct buf *plain,
                     enum ahead_form *ret);

#endif
