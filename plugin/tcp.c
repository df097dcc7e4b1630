#include "plugin/tcp.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define QUIET_MS 30000

/* What lies before the last colon, without its brackets; "" is any. */
static int split(const char *text, char host[64], char port[8])
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    bool brackets = n >= 2 && text[0] == '[' && text[n - 1] == ']';

    if (!colon || n >= 64 || strlen(colon + 1) > 5 || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
        return -E_INVAL;
    if ((!brackets && memchr(text, ':', n)) || strtol(colon + 1, NULL, 10) > UINT16_MAX)
        return -E_INVAL;
    snprintf(host, 64, "%.*s", (int)(brackets ? n - 2 : n), brackets ? text + 1 : text);
    snprintf(port, 8, "%s", colon + 1);
    return 0;
}

int tcp_parse(const char *text, struct tcp_addr *ret)
{
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char host[64], port[8];

    if (split(text, host, port) < 0 || getaddrinfo(*host ? host : "::", port, &want, &found) != 0)
        return -E_INVAL;
    memset(ret, 0, sizeof(*ret));
    memcpy(&ret->a, found->ai_addr, found->ai_addrlen);
    ret->len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int failed(int fd)
{
    int e = errno;

    close(fd);
    if (e == EADDRINUSE)
        return -E_BUSY;
    return e == ECONNREFUSED || e == EHOSTUNREACH || e == ENETUNREACH ? -E_CLOSED : err_from_errno(e);
}

static int open_socket(const struct tcp_addr *a)
{
    int fd = socket(a->a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 ? -E_FILES : fd;
}

/* Where the kernel has no IPv6, any address is any of IPv4. */
static bool is_any6(const struct tcp_addr *a)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)&a->a;

    return a->a.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
}

static struct tcp_addr any4(const struct tcp_addr *a)
{
    struct tcp_addr to = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)&to.a;

    in->sin_family = AF_INET;
    in->sin_port = ((const struct sockaddr_in6 *)(const void *)&a->a)->sin6_port;
    return to;
}

int tcp_listen(const struct tcp_addr *a)
{
    int fd = open_socket(a), on = 1, off = 0;
    struct tcp_addr other;

    if (fd < 0 && is_any6(a)) {
        other = any4(a);
        a = &other;
        fd = open_socket(a);
    }
    if (fd < 0)
        return fd;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a->a.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, (const struct sockaddr *)&a->a, a->len) < 0 || listen(fd, 64) < 0)
        return failed(fd);
    return fd;
}

int tcp_connect(const struct tcp_addr *a)
{
    int fd = open_socket(a);

    if (fd < 0)
        return fd;
    if (connect(fd, (const struct sockaddr *)&a->a, a->len) < 0 && errno != EINPROGRESS)
        return failed(fd);
    tcp_tune(fd);
    return fd;
}

int tcp_connected(int fd)
{
    socklen_t len = sizeof(int);
    int e = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
        e = errno;
    if (e == 0)
        return 0;
    return e == ECONNREFUSED || e == EHOSTUNREACH || e == ENETUNREACH ? -E_CLOSED : err_from_errno(e);
}

void tcp_tune(int fd)
{
    int on = 1, idle_s = QUIET_MS / 1000 / 2, times = 3;
    unsigned quiet = QUIET_MS;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle_s, sizeof(idle_s));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &quiet, sizeof(quiet));
}
