/* tier/repo_ahead: chunks that will be read soon are fetched and unpacked by threads of their own. Threads: as of the repo. */
#ifndef VARVE_TIER_REPO_AHEAD_H
#define VARVE_TIER_REPO_AHEAD_H

#include "tier/repo.h"

/* repo_ahead: the chunk will be asked for by repo_chunk(). False: as many as there is room for are on their way. */
bool repo_ahead(struct repo *r, const struct id16 *chunk);
/* repo_ahead_drop: those that nobody asked for are forgotten, after what runs has ended; _end: and the threads. */
void repo_ahead_drop(struct repo *r);
void repo_ahead_end(struct repo *r);

/* For repo_chunk(): the plain bytes take the place of *plain's. False: it is not on its way, or could not be read. */
bool repo_ahead_take(struct repo *r, const struct id16 *chunk, struct buf *plain);

#endif
