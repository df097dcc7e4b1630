/* fs/verb_diff: what changed between two states, as text or an object: for `varve diff` and .control/changes. */
#ifndef VARVE_FS_VERB_DIFF_H
#define VARVE_FS_VERB_DIFF_H

#include "snap/diff.h"

/* b NULL or "": now. -E_NOENT with the name in err. */
int verb_diff(struct vol *v, const char *a, const char *b, bool json, struct buf *out, struct buf *err);

#endif
