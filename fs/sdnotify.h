/* fs/sdnotify: words to the service manager that started this process, and the descriptors that it keeps for us. The protocol is that
 * of sd_notify(3) and sd_listen_fds(3): lines of VARIABLE=value in one datagram to the Unix socket that $NOTIFY_SOCKET names,
 * descriptors beside it; and descriptors from 3 on, named in $LISTEN_FDNAMES. Any manager that speaks it will do.
 *
 * No call waits longer than SDNOTIFY_WAIT_MS for a manager that stands still. One thread. */
#ifndef VARVE_FS_SDNOTIFY_H
#define VARVE_FS_SDNOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/base.h"

#define SDNOTIFY_WAIT_MS 2000
#define SDNOTIFY_FDS_MAX 65536u

struct sdnotify {
    struct sockaddr_un addr;
    socklen_t addr_len;   /* 0: there is nobody to tell */
    int64_t watchdog_ns;  /* within which it wants to hear WATCHDOG=1; 0: it does not watch */
    uint32_t descriptors; /* that it keeps at the most; 0: it has not said (systemd before 254) */
};

/* sdnotify_init: from the environment, which stays as it is: the same process may go on as another program. */
void sdnotify_init(struct sdnotify *n);

/* sdnotify_forget_env: what it said is not for the programs that this process starts. */
void sdnotify_forget_env(void);

/* sdnotify_send(n, fd, lines): fd -1: none goes along. 0 as well where there is nobody to tell. */
int sdnotify_send(const struct sdnotify *n, int fd, const char *lines, ...) PRINTF_LIKE(3, 4);

/* sdnotify_barrier: returns when the manager has carried out all that it was told before. -E_TIMEOUT. */
int sdnotify_barrier(const struct sdnotify *n);

/* What the manager kept and hands back. */
struct sdnotify_fd {
    int fd; /* -1: taken by somebody */
    char *name;
};

/* sdnotify_take: the descriptors that $LISTEN_FDS speaks of, close-on-exec from now on, and the variables are gone; none where they
 * are meant for another process. Numbers of which none is open are left out. *ret is freed by sdnotify_fds_free, which closes what
 * was not taken. -E_NOMEM. */
int sdnotify_take(struct sdnotify_fd **ret, size_t *ret_n);
void sdnotify_fds_free(struct sdnotify_fd *fds, size_t n);

#endif
