/* Messages between keeper and daemon. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "fs/keeper.h"

unsigned keeper_hung_ms(void)
{
    const char *s = getenv("VARVE_HUNG_MS");
    long ms = s ? strtol(s, NULL, 10) : 0;

    return ms > 0 && ms < 3600000 ? (unsigned)ms : KEEPER_HUNG_MS;
}

int keeper_put(struct keeper_msg *m, const char *field)
{
    size_t len = strlen(field) + 1;

    if (len > KEEPER_DATA - m->len)
        return -E_TOOBIG;
    memcpy(m->data + m->len, field, len);
    m->len += (uint32_t)len;
    return 0;
}

const char *keeper_field(const struct keeper_msg *m, unsigned i)
{
    uint32_t at = 0;

    while (at < m->len && i > 0) {
        at += (uint32_t)strlen(m->data + at) + 1;
        i--;
    }
    return at < m->len ? m->data + at : "";
}

int keeper_send(int sock, const struct keeper_msg *m, int fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } ctl = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)m,
                        .iov_len = offsetof(struct keeper_msg, data) + m->len};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (fd >= 0) {
        h.msg_control = ctl.room;
        h.msg_controllen = sizeof(ctl.room);
        *CMSG_FIRSTHDR(&h) = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &fd, sizeof(fd));
    }
    do
        n = sendmsg(sock, &h, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN ? -E_CLOSED : err_from_errno(errno);
    return 0;
}

static bool is_sound(const struct keeper_msg *m, ssize_t n)
{
    const size_t head = offsetof(struct keeper_msg, data);

    return n >= (ssize_t)head && m->len <= KEEPER_DATA && (size_t)n == head + m->len &&
           m->init_len <= KEEPER_INIT_MAX && (m->len == 0 || m->data[m->len - 1] == 0);
}

int keeper_recv(int sock, struct keeper_msg *m, int *ret_fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } ctl;
    struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.room, .msg_controllen = sizeof(ctl.room)};
    struct cmsghdr *c;
    ssize_t n;

    do
        n = recvmsg(sock, &h, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        return -E_CLOSED;
    if (n < 0)
        return err_from_errno(errno);
    *ret_fd = -1;
    c = CMSG_FIRSTHDR(&h);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    return is_sound(m, n) ? 0 : -E_PROTO;
}
