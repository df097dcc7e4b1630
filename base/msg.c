#include "base/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

#define SUM_OFF 24
#define BACKLOG 128

static const uint8_t magic[4] = {'v', 'M', 's', 'G'};

union fd_room {
    char b[CMSG_SPACE(sizeof(int) * MSG_FDS_MAX)];
    struct cmsghdr align;
};

/* A whole call's time. The kernel's clock, not the clock door: a test that holds time still must not hang here. */
struct deadline {
    bool never;
    int64_t at_ms;
};

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static struct deadline deadline_in(int timeout_ms)
{
    return (struct deadline){.never = timeout_ms<0, .at_ms = timeout_ms> 0 ? now_ms() + timeout_ms : 0};
}

/* wait_for(fd, events, d): 0 when fd is ready, -E_TIMEOUT. */
static int wait_for(int fd, short events, const struct deadline *d)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        int64_t left = d->never ? -1 : d->at_ms ? MAX_OF(d->at_ms - now_ms(), 0) : 0;
        int n = poll(&p, 1, (int)MIN_OF(left, INT32_MAX));

        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_from_errno(errno);
        if (n == 0)
            return -E_TIMEOUT;
    }
}

static int code_of_errno(void)
{
    return errno == EPIPE || errno == ECONNRESET || errno == ECONNREFUSED ? -E_CLOSED : err_from_errno(errno);
}

void msg_release(struct msg *m)
{
    for (unsigned i = 0; i < m->nfds; i++) {
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    }
    buf_free(&m->payload);
    *m = (struct msg){0};
}

int msg_take_fd(struct msg *m, unsigned i)
{
    int fd;

    if (i >= m->nfds || m->fds[i] < 0)
        return -E_PROTO;
    fd = m->fds[i];
    m->fds[i] = -1;
    return fd;
}

/* address(path, ret, ret_dir): the address of path; where that does not fit, by way of an open descriptor of its
 * directory, which the caller closes after use (-1: none). */
static int address(const char *path, struct sockaddr_un *ret, int *ret_dir)
{
    cleanup(buf_free) struct buf dir = {0};
    const char *slash = strrchr(path, '/');
    size_t n;

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    *ret_dir = -1;
    if (!slash || slash[1] == 0)
        return -E_INVAL;
    if (strlen(path) < sizeof(ret->sun_path)) {
        memcpy(ret->sun_path, path, strlen(path) + 1);
        return 0;
    }
    if (buf_add(&dir, path, (size_t)(slash - path) + 1) < 0 || !buf_cstr(&dir))
        return -E_NOMEM;
    *ret_dir = open((char *)dir.data, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*ret_dir < 0)
        return err_from_errno(errno);
    n = (size_t)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d%s", *ret_dir, slash);
    if (n < sizeof(ret->sun_path))
        return 0;
    close(*ret_dir);
    *ret_dir = -1;
    return -E_NAMETOOLONG;
}

/* A socket that a dead listener left behind is in the way of the next bind. */
static int remove_socket(const char *path)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_from_errno(errno);
    if (!S_ISSOCK(st.st_mode))
        return -E_EXIST;
    return unlink(path) < 0 && errno != ENOENT ? err_from_errno(errno) : 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *sa, mode_t mode)
{
    if (bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0)
        return errno == EADDRINUSE ? -E_EXIST : err_from_errno(errno);
    /* nobody can connect before listen(), so that the bits are right from the first connection on */
    if (chmod(sa->sun_path, mode) < 0 || listen(fd, BACKLOG) < 0) {
        int r = err_from_errno(errno);

        (void)unlink(sa->sun_path);
        return r;
    }
    return 0;
}

int msg_listen(const char *path, mode_t mode)
{
    struct sockaddr_un sa;
    int fd, dir, r = address(path, &sa, &dir);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    r = fd < 0 ? err_from_errno(errno) : remove_socket(path);
    if (r == 0)
        r = bind_and_listen(fd, &sa, mode);
    if (dir >= 0)
        close(dir);
    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}

static int connect_until(int fd, const struct sockaddr_un *sa, const struct deadline *d)
{
    for (;;) {
        struct timespec pause = {.tv_nsec = 5000000};

        if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return code_of_errno();
        if (!d->never && (d->at_ms == 0 || now_ms() >= d->at_ms))
            return -E_AGAIN;
        nanosleep(&pause, NULL); /* a full queue wakes nobody who polls */
    }
}

int msg_connect(const char *path, int timeout_ms)
{
    struct deadline d = deadline_in(timeout_ms);
    struct sockaddr_un sa;
    int fd, dir, r = address(path, &sa, &dir);

    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    r = fd < 0 ? err_from_errno(errno) : connect_until(fd, &sa, &d);
    if (dir >= 0)
        close(dir);
    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}

int msg_accept(int fd, int timeout_ms)
{
    struct deadline d = deadline_in(timeout_ms);

    for (;;) {
        int r, conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (conn >= 0)
            return conn;
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            return err_from_errno(errno);
        r = wait_for(fd, POLLIN, &d);
        if (r < 0)
            return r == -E_TIMEOUT ? -E_AGAIN : r;
    }
}

static uint64_t frame_sum(const uint8_t *header, const void *payload, size_t len)
{
    return hash_sum(hash_sum(0, header, SUM_OFF), payload, len);
}

static void header_put(uint8_t h[MSG_HEADER_SIZE], uint16_t type, const void *payload, size_t len,
                       unsigned nfds)
{
    memset(h, 0, MSG_HEADER_SIZE);
    memcpy(h, magic, sizeof(magic));
    put_le16(h + 4, MSG_VERSION);
    put_le16(h + 6, type);
    put_le32(h + 8, (uint32_t)len);
    put_le16(h + 12, (uint16_t)nfds);
    put_le64(h + SUM_OFF, frame_sum(h, payload, len));
}

static void attach_fds(struct msghdr *mh, union fd_room *room, const int *fds, unsigned nfds)
{
    struct cmsghdr *c;

    memset(room, 0, sizeof(*room));
    mh->msg_control = room->b;
    mh->msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
    c = CMSG_FIRSTHDR(mh);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
    memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
}

int msg_send(int fd, uint16_t type, const void *payload, size_t len, const int *fds, unsigned nfds,
             int timeout_ms)
{
    struct deadline d = deadline_in(timeout_ms);
    uint8_t header[MSG_HEADER_SIZE];
    union fd_room room;
    size_t done = 0;

    if (len > MSG_SIZE_MAX || nfds > MSG_FDS_MAX)
        return -E_TOOBIG;
    header_put(header, type, payload, len, nfds);
    while (done < MSG_HEADER_SIZE + len) {
        size_t head = MIN_OF(done, (size_t)MSG_HEADER_SIZE), body = done - head;
        struct iovec iov[2] = {{header + head, MSG_HEADER_SIZE - head},
                               {(uint8_t *)payload + body, len - body}};
        struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
        ssize_t n;
        int r;

        if (nfds > 0 && done == 0)
            attach_fds(&mh, &room, fds, nfds); /* they go with the first byte, once */
        n = sendmsg(fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return code_of_errno();
        r = wait_for(fd, POLLOUT, &d);
        if (r < 0)
            return r == -E_TIMEOUT && done == 0 ? -E_AGAIN : r;
    }
    return 0;
}

/* take_fds(mh, m): the descriptors of a recvmsg into m; those beyond its room are closed. */
static int take_fds(struct msghdr *mh, struct msg *m)
{
    int r = mh->msg_flags & MSG_CTRUNC ? -E_PROTO : 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
        size_t n;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (m->nfds < MSG_FDS_MAX) {
                m->fds[m->nfds++] = fd;
            } else {
                close(fd);
                r = -E_PROTO;
            }
        }
    }
    return r;
}

/* recv_exact: len bytes. done counts what of the frame was read before: its first byte makes the difference between an
 * end and a cut, between nothing and a part. */
static int recv_exact(int fd, uint8_t *p, size_t len, size_t done, const struct deadline *d, struct msg *m)
{
    size_t got = 0;

    while (got < len) {
        union fd_room room;
        struct iovec iov = {p + got, len - got};
        struct msghdr mh = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room.b, .msg_controllen = sizeof(room.b)};
        ssize_t n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        bool begun = done + got > 0;
        int r;

        if (n > 0) {
            got += (size_t)n;
            r = take_fds(&mh, m);
            if (r < 0)
                return r;
            continue;
        }
        if (n == 0 || errno == ECONNRESET)
            return begun ? -E_PROTO : -E_CLOSED;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return err_from_errno(errno);
        r = wait_for(fd, POLLIN, d);
        if (r < 0)
            return r == -E_TIMEOUT && !begun ? -E_AGAIN : r;
    }
    return 0;
}

static int header_check(const uint8_t h[MSG_HEADER_SIZE], size_t max)
{
    if (memcmp(h, magic, sizeof(magic)) != 0 || get_le16(h + 4) != MSG_VERSION)
        return -E_PROTO;
    if (get_le32(h + 8) > MIN_OF(max, (size_t)MSG_SIZE_MAX))
        return -E_PROTO;
    if (get_le16(h + 12) > MSG_FDS_MAX || get_le16(h + 14) != 0 || get_le64(h + 16) != 0)
        return -E_PROTO;
    return 0;
}

static int recv_frame(int fd, size_t max, const struct deadline *d, struct msg *m)
{
    uint8_t h[MSG_HEADER_SIZE];
    size_t len;
    int r;

    r = recv_exact(fd, h, sizeof(h), 0, d, m);
    if (r == 0)
        r = header_check(h, max);
    if (r < 0)
        return r;
    len = get_le32(h + 8);
    r = buf_reserve(&m->payload, len + 1);
    if (r == 0)
        r = recv_exact(fd, m->payload.data, len, sizeof(h), d, m);
    if (r < 0)
        return r;
    m->payload.len = len;
    m->payload.data[len] = 0;
    m->type = get_le16(h + 6);
    if (m->nfds != get_le16(h + 12))
        return -E_PROTO;
    if (frame_sum(h, m->payload.data, len) != get_le64(h + SUM_OFF) && !BROKEN(VARVE_BREAK_msg_sum))
        return -E_PROTO;
    return 0;
}

int msg_recv(int fd, size_t max, int timeout_ms, struct msg *ret)
{
    struct buf none = {0};

    return msg_recv_into(fd, max, timeout_ms, &none, ret);
}

int msg_recv_into(int fd, size_t max, int timeout_ms, struct buf *room, struct msg *ret)
{
    struct deadline d = deadline_in(timeout_ms);
    cleanup(msg_release) struct msg m = {.payload = *room};
    int r;

    *room = (struct buf){0};
    buf_reset(&m.payload);
    r = recv_frame(fd, max, &d, &m);

    if (r < 0)
        return r;
    *ret = m;
    m = (struct msg){0};
    return 0;
}

int msg_peer(int fd, struct msg_peer *ret)
{
    struct ucred c;
    socklen_t len = sizeof(c);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
        return err_from_errno(errno);
    *ret = (struct msg_peer){.pid = c.pid, .uid = c.uid, .gid = c.gid};
    return 0;
}
