/* base/io_past: a door for reading files as the disk holds them, past the page cache: what is in memory tells nothing of what the next
 * boot will read. Files opened for reading are opened with O_DIRECT; where the filesystem refuses that, at opening or at
 * reading, clean pages are taken out of memory before they are read and after it. Unsynced bytes are written back first: the
 * kernel does so, and a failure of that is heard by the next sync of whoever wrote them. Everything but reading is not for this
 * door. Hot files keep their pages in memory where O_DIRECT goes.
 *
 * Reads at any offset and of any length, through aligned memory of its own. One thread. */
#ifndef VARVE_BASE_IO_PAST_H
#define VARVE_BASE_IO_PAST_H

#include "base/io.h"

struct io_past;

/* io_past_new(under, &ret): over another door, which outlives it. -E_NOMEM. */
int io_past_new(struct io *under, struct io_past **ret);
void io_past_free(struct io_past *p); /* NULL is allowed; no file of it is open any more */
struct io *io_past_io(struct io_past *p);

/* How its files are read. */
bool io_past_refused(const struct io_past *p); /* O_DIRECT was: pages are taken out of memory instead */

#endif
