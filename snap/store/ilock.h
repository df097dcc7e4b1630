/* snap/store/ilock: locks of inodes. Whoever changes the record of a file (data, attributes, links, xattrs) holds its
 * lock exclusive from before its transaction until after the commit; whoever reads a live file's bytes holds it shared.
 * So between resolving a write and journaling it nobody changes that inode (F6). Directories' entries need no lock: they
 * change inside one write transaction. Locks are striped: take all at once. Order: inode locks, then the store's lock. */
#ifndef VARVE_SNAP_STORE_ILOCK_H
#define VARVE_SNAP_STORE_ILOCK_H

#include "base/base.h"

#define ILOCK_MAX 16 /* inodes at once */

struct store;
struct ilock {
    struct store *store;
    uint32_t stripe[ILOCK_MAX + 1]; /* ascending, without repeats; one more than used while sorting */
    uint8_t n;
    bool exclusive;
};

/* ilock_take(s, l, vol, inos, n, exclusive): n <= ILOCK_MAX inodes of one volume; zeros in inos are passed over. Waits. */
void ilock_take(struct store *s, struct ilock *l, uint32_t vol, const uint64_t *inos, int n, bool exclusive);
void ilock_drop(struct ilock *l); /* accepts the zero state; fit for cleanup() */

#endif
