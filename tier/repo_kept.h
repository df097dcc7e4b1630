/* tier/repo_kept: chunks that were read last: sealed, and as plain bytes as far as somebody asked for them. A page of metadata is some 16 of
 * the 1,024 KiB of its chunk: for one page the frames that it lies in are unpacked. Threads: as of the repo. */
#ifndef VARVE_TIER_REPO_KEPT_H
#define VARVE_TIER_REPO_KEPT_H

#include "tier/repo.h"

/* repo_sealed_read: appends a chunk as it lies in its pack, by what is known now; any thread, at any time. repo_sealed_get: by the repo's
 * thread, which looks anew where it was moved to. -E_NOENT, -E_CORRUPT. Not proved. */
int repo_sealed_read(struct repo *r, const struct id16 *chunk, struct buf *ret);
int repo_sealed_get(struct repo *r, const struct id16 *chunk, struct buf *ret);

/* repo_prove: are these plain bytes the blob that the slice names? -E_CORRUPT. */
int repo_prove(struct repo *r, const struct slice *s, const uint8_t *p);

bool repo_chunk_kept(struct repo *r, const struct id16 *chunk);

#endif
