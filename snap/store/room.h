/* snap/store/room: who finds a volume or the disk full waits a moment for what is being freed already: files that were removed and are
 * not forgotten yet, and what waits in the reclaim queue. So writing what was just deleted succeeds.
 *
 *     struct room room = {0};
 *     do
 *         r = file_write(...);
 *     while (room_await(v, r, &room));
 *
 * No lock is held and no transaction is open. Threads: any; of one volume at most ROOM_WAITERS wait at a time, so that others answer
 * what the waiting is for; the next one hears at once that there is no room. */
#ifndef VARVE_SNAP_STORE_ROOM_H
#define VARVE_SNAP_STORE_ROOM_H

#include "snap/store/vol.h"

#define ROOM_WAITERS 8u

/* One caller's waiting. */
struct room {
    int64_t until_ns; /* 0: it has not waited yet */
    int64_t stalled_ns;
    uint64_t free; /* as seen last */
};

/* room_await(v, r, w): true: something may have been freed, try again. false: r is another error, or nothing is to be had: after a
 * second in which nothing was freed, after five in all, and at once when that was found out a moment ago and nothing was removed since. */
bool room_await(struct vol *v, int r, struct room *w);

/* Does anybody wait for room in this volume? Then what can be freed is freed without delay. */
bool room_wanted(const struct vol *v);

/* A file without names came to the volume's list. */
void room_orphan(struct vol *v);

#endif
