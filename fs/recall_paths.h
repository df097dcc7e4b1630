/* fs/recall_paths: what files and directories of a volume have in repositories only, for whoever brings it here. One thread at a time. */
#ifndef VARVE_FS_RECALL_PATHS_H
#define VARVE_FS_RECALL_PATHS_H

#include "snap/store/cold.h"

struct recall_paths;

/* recall_paths_new: paths in the live tree. err: a sentence. -E_NOENT, -E_NOTDIR. */
int recall_paths_new(struct vol *v, char *const *paths, size_t n, struct recall_paths **ret, struct buf *err);
void recall_paths_free(struct recall_paths *p); /* NULL is allowed */

/* recall_paths_begin: a pass over all of it. _next: 1: *ret is a piece that may be elsewhere, of COLD_FETCH_BLOCKS at the most, of
 * another object than failed; 0: there are no more. _sum: a pass that only counts. */
int recall_paths_begin(struct recall_paths *p);
int recall_paths_next(struct recall_paths *p, uint64_t failed, struct cold_range *ret);
int recall_paths_sum(struct recall_paths *p, uint64_t *ret_bytes);

#endif
