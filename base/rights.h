/* base/rights: one descriptor beside a message of a Unix socket (SCM_RIGHTS). */
#ifndef VARVE_BASE_RIGHTS_H
#define VARVE_BASE_RIGHTS_H

#include <sys/socket.h>

#include "base/base.h"

union rights_room {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int))];
};

/* rights_put(h, room, fd): fd goes with the message that h is about to send; it stays the caller's. */
void rights_put(struct msghdr *h, union rights_room *room, int fd);

/* rights_room_for(h, room): before recvmsg(2), which is called with MSG_CMSG_CLOEXEC. */
void rights_room_for(struct msghdr *h, union rights_room *room);

/* rights_take(h, ret_fd): the descriptor that came with h, from now on the caller's; *ret_fd is untouched when none came.
 * -E_PROTO: more than one came, or some were cut off (also for want of room in the table of this process): all that arrived
 * are closed. */
int rights_take(struct msghdr *h, int *ret_fd);

#endif
