/* base/fd: descriptors that end with their scope: `cleanup(fd_close) int fd = open(...)`. Header only. */
#ifndef VARVE_BASE_FD_H
#define VARVE_BASE_FD_H

#include <unistd.h>

/* Below 0: there is none. Its error is not looked at: for what was read, or synced before. */
static inline void fd_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

#endif
