/* plugin/tcp: sockets of TCP, which never wait. Addresses are numbers: nothing asks a name server. */
#ifndef VARVE_PLUGIN_TCP_H
#define VARVE_PLUGIN_TCP_H

#include <sys/socket.h>

#include "base/base.h"

struct tcp_addr {
    struct sockaddr_storage a;
    socklen_t len;
};

/* tcp_parse: 10.0.0.7:9812, [fd00::7]:9812, :9812 (any address, of both kinds). -E_INVAL. */
int tcp_parse(const char *text, struct tcp_addr *ret);
/* tcp_listen, tcp_connect: the descriptor, or -E_CLOSED (tcp_connect: nobody is there), -E_ACCES, -E_BUSY (the port), -E_FILES, ...
 * tcp_connect: connected when it can be written; tcp_connected: 0, or why not. */
int tcp_listen(const struct tcp_addr *a);
int tcp_connect(const struct tcp_addr *a);
int tcp_connected(int fd);
/* tcp_tune: small messages go at once, and the kernel gives up a peer that does not take bytes for 30 s. */
void tcp_tune(int fd);

#endif
