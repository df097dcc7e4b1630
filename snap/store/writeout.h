/* snap/store/writeout: what bulk writers leave in the page cache goes to the disk bit by bit, in a thread, a piece at a time. So an fsync
 * beside them never stands behind all of it in the disk's queue. Promises nothing. Private to the room. */
#ifndef VARVE_SNAP_STORE_WRITEOUT_H
#define VARVE_SNAP_STORE_WRITEOUT_H

#include "snap/store/store.h"

int writeout_start(struct store *s); /* -E_NOMEM */
void writeout_stop(struct store *s); /* what is left over stays where it is; nobody waits any more */

/* writeout_give: a piece of an object; one that finds no room is left out, to be written by whoever syncs. Any thread, whatever it
 * holds. */
void writeout_give(struct store *s, uint64_t object, uint64_t off, uint64_t len);
/* writeout_wait: for all that was given before. */
void writeout_wait(struct store *s);

#endif
