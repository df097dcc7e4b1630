/* tier/links: paths by inode number: where an inode was first met. One owner. */
#ifndef VARVE_TIER_LINKS_H
#define VARVE_TIER_LINKS_H

#include "base/base.h"

struct links;
int links_new(struct links **ret);
void links_free(struct links *l);                           /* NULL is allowed */
const char *links_get(const struct links *l, uint64_t ino); /* NULL: not yet; stays valid until the end */
int links_put(struct links *l, uint64_t ino,
              const char *path); /* ino is not 0 and not in it yet; copies path */

#endif
