/* base/mapped: memory of mapped files. */
#ifndef VARVE_BASE_MAPPED_H
#define VARVE_BASE_MAPPED_H

#include "base/base.h"

/* mapped_let_go(p): what this process has in memory of the file mapping that p lies in is let go: it stays in the page cache as long as the
 * kernel likes, and is mapped again when it is read. Nobody may unmap it meanwhile. 1: done; 0: p lies in no shared mapping of a file. */
int mapped_let_go(const void *p);

/* mapped_scattered(p, on): reads of that mapping go all over it, so that reading around each of them would bring what nobody asks for (a
 * device may be set to 8 MiB of it); off: as the kernel likes. Returns as above. */
int mapped_scattered(const void *p, bool on);

/* The first in two steps, for who does it often. mapped_find: false as 0. */
struct mapped {
    uintptr_t from, to;
};
bool mapped_find(const void *p, struct mapped *ret);
bool mapped_drop(const struct mapped *m);

#endif
