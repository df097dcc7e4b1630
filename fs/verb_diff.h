/* fs/verb_diff: what changed between two states, as text or an object: for `varve diff` and .control/changes. */
#ifndef VARVE_FS_VERB_DIFF_H
#define VARVE_FS_VERB_DIFF_H

#include "base/jw.h"
#include "snap/diff.h"

/* Entries as text, or as members of an array that is open in j. */
struct diff_say {
    struct buf *out;
    struct jw j;
    bool json;
    uint64_t count, bytes;
};
int diff_say_entry(void *arg, const struct diff_entry *e); /* arg: a struct diff_say */
int diff_say_end(struct diff_say *d);                      /* closes the array and the object around it */

/* b NULL or "": now. For control files: with VERB_DIFF_MAX bytes of memory, and as many of text, at the most: -E_TOOBIG. -E_NOENT with the
 * name in err. */
#define VERB_DIFF_MAX (128ull << 20)
int verb_diff(struct vol *v, const char *a, const char *b, bool json, struct buf *out, struct buf *err);

#endif
