/* fs/verb_check: `varve check` and `varve dump` of a store that nobody has open; and what both forms of check print. */
#ifndef VARVE_FS_VERB_CHECK_H
#define VARVE_FS_VERB_CHECK_H

#include "snap/check.h"

/* verb_check_path: the exit code 0 clean, 1 repaired, 4 not; negative: it could not look (err). */
int verb_check_path(const char *path, bool repair, bool json, struct buf *out, struct buf *err);
int verb_dump_path(const char *path, int argc, char **argv, struct buf *out, struct buf *err);

#endif
