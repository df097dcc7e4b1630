/* Messages between keeper and daemon. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/rights.h"
#include "fs/keeper.h"
#include "fs/session.h"
#include "base/sock.h"

unsigned keeper_hung_ms(void)
{
    const char *s = getenv("VARVE_HUNG_MS");
    long ms = s ? strtol(s, NULL, 10) : 0;

    return ms > 0 && ms < 3600000 ? (unsigned)ms : KEEPER_HUNG_MS;
}

uint64_t keeper_descriptors(void)
{
    struct rlimit l = {0};

    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return 0;
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) < 0)
        getrlimit(RLIMIT_NOFILE, &l);
    return l.rlim_cur;
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

int keeper_put_told(struct keeper_msg *m, int64_t told)
{
    char text[32] = "";

    if (told != SESSION_TOLD_UNKNOWN)
        snprintf(text, sizeof(text), "%" PRId64, told);
    return keeper_put(m, text);
}

int64_t keeper_told(const struct keeper_msg *m, unsigned i)
{
    const char *text = keeper_field(m, i);

    return *text >= '0' && *text <= '9' ? (int64_t)strtoull(text, NULL, 10) : SESSION_TOLD_UNKNOWN;
}

int keeper_send(int sock, const struct keeper_msg *m, int fd)
{
    union rights_room room;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)m,
                        .iov_len = offsetof(struct keeper_msg, data) + m->len};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    unsigned tries = 0;
    ssize_t n;

    if (fd >= 0)
        rights_put(&h, &room, fd);
    do
        n = sendmsg(sock, &h, MSG_NOSIGNAL);
    while (n < 0 && sock_again(errno, &tries));
    if (n < 0)
        return errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN ? -E_CLOSED : err_from_errno(errno);
    return 0;
}

bool keeper_is_sound(const struct keeper_msg *m, size_t n)
{
    const size_t head = offsetof(struct keeper_msg, data);

    return n >= head && m->len <= KEEPER_DATA && n == head + m->len && m->init_len <= KEEPER_INIT_MAX &&
           (m->len == 0 || m->data[m->len - 1] == 0);
}

/* Looks at the message first: a descriptor for which there is no place at the moment is still in it afterwards. */
static ssize_t look(int sock, struct msghdr *h, union rights_room *room)
{
    const struct msghdr as = *h;
    unsigned tries = 0;

    for (;;) {
        ssize_t n;
        int fd = -1;

        *h = as;
        rights_room_for(h, room);
        n = recvmsg(sock, h, MSG_CMSG_CLOEXEC | MSG_PEEK);
        if (n > 0 ? !(h->msg_flags & MSG_CTRUNC) : n == 0 || !sock_again(errno, &tries))
            return n;
        if (n > 0 && !sock_again(ENOMEM, &tries))
            return n;
        if (n > 0 && rights_take(h, &fd) == 0 && fd >= 0)
            close(fd);
    }
}

int keeper_recv(int sock, struct keeper_msg *m, int *ret_fd)
{
    union rights_room room;
    struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    int fd = -1;
    ssize_t n = look(sock, &h, &room);
    int r;

    if (n < 0)
        return errno == ECONNRESET ? -E_CLOSED : err_from_errno(errno);
    while (n > 0 && recv(sock, NULL, 0, 0) < 0 && errno == EINTR)
        continue;
    r = rights_take(&h, &fd);
    if (n == 0)
        r = -E_CLOSED;
    else if (r == 0 && !keeper_is_sound(m, (size_t)n))
        r = -E_PROTO;
    if (r < 0 && fd >= 0 && !BROKEN(VARVE_BREAK_rights_kept))
        close(fd);
    *ret_fd = r < 0 ? -1 : fd;
    return r;
}
