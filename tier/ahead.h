/* tier/ahead: tree_scan() of a whole tree with the reading and unpacking in a thread of its own, some hundred KiB ahead of what is done with
 * the records. Values of large attributes come as if they stood in their records. */
#ifndef VARVE_TIER_AHEAD_H
#define VARVE_TIER_AHEAD_H

#include "tier/tree.h"

/* tree_scan_ahead: as tree_scan() without prefix; cb runs in the thread that called, and must not use r. backend_text() is as after a
 * call of this thread. */
int tree_scan_ahead(struct repo *r, const struct tree *t,
                    int (*cb)(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen),
                    void *arg);

#endif
