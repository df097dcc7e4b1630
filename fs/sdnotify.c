#include "fs/sdnotify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/rights.h"

#define FIRST_FD 3
#define LINES_MAX 1024

static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",   "FDSTORE",
                                        "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES", "LISTEN_PIDFDID"};

void sdnotify_forget_env(void)
{
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        unsetenv(variables[i]);
}

/* A number of the environment: digits and nothing else, at most max. False: it is not there, or no such number. */
static bool number_of(const char *variable, uint64_t max, uint64_t *ret)
{
    const char *s = getenv(variable);
    char *end;
    unsigned long long v;

    if (!s || *s < '0' || *s > '9')
        return false;
    errno = 0;
    v = strtoull(s, &end, 10);
    if (errno != 0 || *end != 0 || v > max)
        return false;
    *ret = v;
    return true;
}

/* A path, or a name of the abstract kind that begins with '@'. Others (vsock) are none of ours. */
static void find_socket(struct sdnotify *n)
{
    const char *s = getenv("NOTIFY_SOCKET");
    size_t len = s ? strlen(s) : 0;

    if (len < 2 || len >= sizeof(n->addr.sun_path) || (*s != '/' && *s != '@'))
        return;
    n->addr.sun_family = AF_UNIX;
    memcpy(n->addr.sun_path, s, len);
    if (*s == '@')
        n->addr.sun_path[0] = 0;
    n->addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*s == '/'));
}

void sdnotify_init(struct sdnotify *n)
{
    uint64_t v;

    *n = (struct sdnotify){.addr_len = 0};
    find_socket(n);
    if (n->addr_len == 0)
        return;
    if (number_of("FDSTORE", SDNOTIFY_FDS_MAX, &v))
        n->descriptors = (uint32_t)v;
    if (number_of("WATCHDOG_PID", INT32_MAX, &v) && (pid_t)v != getpid())
        return; /* it watches somebody else */
    if (number_of("WATCHDOG_USEC", INT64_MAX / 1000, &v))
        n->watchdog_ns = (int64_t)v * 1000;
}

static int send_lines(const struct sdnotify *n, int fd, const char *lines, size_t len)
{
    struct timeval wait = {.tv_sec = SDNOTIFY_WAIT_MS / 1000};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)lines, .iov_len = len};
    struct msghdr h = {.msg_name = (void *)(uintptr_t)&n->addr,
                       .msg_namelen = n->addr_len,
                       .msg_iov = &iov,
                       .msg_iovlen = 1};
    union rights_room room;
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ssize_t sent;
    int r = 0;

    if (s < 0)
        return err_from_errno(errno);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    if (fd >= 0)
        rights_put(&h, &room, fd);
    do
        sent = sendmsg(s, &h, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        r = errno == EAGAIN ? -E_TIMEOUT : err_from_errno(errno);
    close(s);
    return r;
}

int sdnotify_send(const struct sdnotify *n, int fd, const char *lines, ...)
{
    char text[LINES_MAX];
    va_list ap;
    int len;

    if (n->addr_len == 0)
        return 0;
    va_start(ap, lines);
    len = vsnprintf(text, sizeof(text), lines, ap);
    va_end(ap);
    if (len < 0 || len >= (int)sizeof(text))
        return -E_TOOBIG;
    return send_lines(n, fd, text, (size_t)len);
}

/* The manager closes the descriptor when it comes to this message. */
int sdnotify_barrier(const struct sdnotify *n)
{
    struct pollfd p = {.events = 0};
    int ends[2];
    int r, got;

    if (n->addr_len == 0)
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_from_errno(errno);
    r = sdnotify_send(n, ends[1], "BARRIER=1");
    close(ends[1]);
    p.fd = ends[0];
    do
        got = r < 0 ? 1 : poll(&p, 1, SDNOTIFY_WAIT_MS);
    while (got < 0 && errno == EINTR);
    close(ends[0]);
    return r < 0 ? r : got > 0 ? 0 : -E_TIMEOUT;
}

/* --- what it kept ----------------------------------------------------------------------------------------------------------- */

static int add_fd(struct sdnotify_fd *fds, size_t *n, int fd, const char *name, size_t len)
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return 0; /* nothing is open there */
    fds[*n].fd = fd;
    fds[*n].name = strndup(name, len);
    return fds[(*n)++].name ? 0 : -E_NOMEM;
}

static int take_all(struct sdnotify_fd *fds, uint64_t count, size_t *ret_n)
{
    const char *name = getenv("LISTEN_FDNAMES");
    int r = 0;

    for (uint64_t i = 0; i < count && r == 0; i++) {
        size_t len = name ? strcspn(name, ":") : 0;

        r = add_fd(fds, ret_n, FIRST_FD + (int)i, name ? name : "", len);
        name = name && name[len] == ':' ? name + len + 1 : NULL;
    }
    return r;
}

int sdnotify_take(struct sdnotify_fd **ret, size_t *ret_n)
{
    struct sdnotify_fd *fds = NULL;
    uint64_t pid, count = 0;
    size_t n = 0;
    int r = 0;

    if (!number_of("LISTEN_PID", INT32_MAX, &pid) || (pid_t)pid != getpid() ||
        !number_of("LISTEN_FDS", SDNOTIFY_FDS_MAX, &count))
        count = 0;
    if (count > 0) {
        fds = calloc(count, sizeof(*fds));
        r = fds ? take_all(fds, count, &n) : -E_NOMEM;
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("LISTEN_PIDFDID");
    if (r < 0) {
        sdnotify_fds_free(fds, n);
        return r;
    }
    *ret = fds;
    *ret_n = n;
    return 0;
}

void sdnotify_fds_free(struct sdnotify_fd *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (fds[i].fd >= 0)
            close(fds[i].fd);
        free(fds[i].name);
    }
    free(fds);
}
