/* tests/lib/tree: whole directories on the real disk. */
#ifndef VARVE_TESTS_LIB_TREE_H
#define VARVE_TESTS_LIB_TREE_H

#include "base/base.h"

/* tree_remove(path): the directory and all below it. Symlinks are not followed. */
int tree_remove(const char *path);

/* tree_sum(path, &ret): a checksum of all names, kinds and contents below a directory, in whatever order they come. */
int tree_sum(const char *path, uint64_t *ret);

/* tree_copy(from, to): directories and regular files (holes stay holes) into a new directory; sockets are left out. */
int tree_copy(const char *from, const char *to);

#endif
