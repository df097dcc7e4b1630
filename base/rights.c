#include "base/rights.h"

#include <unistd.h>

void rights_put(struct msghdr *h, union rights_room *room, int fd)
{
    struct cmsghdr *c;

    memset(room, 0, sizeof(*room));
    h->msg_control = room->room;
    h->msg_controllen = sizeof(room->room);
    c = CMSG_FIRSTHDR(h);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
}

void rights_room_for(struct msghdr *h, union rights_room *room)
{
    h->msg_control = room->room;
    h->msg_controllen = sizeof(room->room);
}

int rights_take(struct msghdr *h, int *ret_fd)
{
    int got = -1, count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        size_t n = c->cmsg_len > CMSG_LEN(0) ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (count++ == 0)
                got = fd;
            else if (!BROKEN(VARVE_BREAK_rights_kept))
                close(fd);
        }
    }
    if (count > 1 || (h->msg_flags & MSG_CTRUNC)) {
        if (got >= 0 && !BROKEN(VARVE_BREAK_rights_kept))
            close(got);
        return -E_PROTO;
    }
    if (count == 1)
        *ret_fd = got;
    return 0;
}
