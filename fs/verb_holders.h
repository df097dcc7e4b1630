/* fs/verb_holders: which processes hold files of a mounted volume open: descriptors, working directories, maps. Best
 * effort: other users' processes are seen by root only. Nothing is asked of the filesystem itself. */
#ifndef VARVE_FS_VERB_HOLDERS_H
#define VARVE_FS_VERB_HOLDERS_H

#include "base/buf.h"

/* One line a process: "  pid 123 postgres: /mnt/a (and 3 more)". count: of the processes. */
int verb_holders(unsigned major, unsigned minor, struct buf *out, size_t *ret_count);

#endif
