/* plugin/grpc_pipe: bytes between a socket and HTTP/2, through TLS or not. Nothing here waits. One thread. */
#ifndef VARVE_PLUGIN_GRPC_PIPE_H
#define VARVE_PLUGIN_GRPC_PIPE_H

#include "plugin/tls.h"

/* What is behind it. in: what came, negative: close. out: what is to be sent next, *ret_len 0: nothing now. */
struct grpc_pipe_end {
    int (*in)(void *arg, const uint8_t *p, size_t len);
    int (*out)(void *arg, const uint8_t **ret, size_t *ret_len);
};

struct grpc_pipe {
    int fd;
    struct tls *tls; /* NULL: bytes as they are */
    const struct grpc_pipe_end *end;
    void *arg;
    const uint8_t *out; /* what the socket did not take yet */
    size_t out_len;
    bool dead, waits; /* waits: for room in the socket */
    int64_t heard_ns; /* when something came */
    int64_t asked_ns; /* PING was sent since, 0: not */
};

/* grpc_pipe_begin: the first word of a handshake is the client's. grpc_pipe_read: all that came; room: for the bytes of one look. grpc_pipe_write: until there is nothing more to say, or the socket takes no
 * more. Both set dead where it is to be closed; tls_why may say why. grpc_pipe_release: closes the socket. */
void grpc_pipe_begin(struct grpc_pipe *p);
void grpc_pipe_read(struct grpc_pipe *p, uint8_t *room, size_t len);
void grpc_pipe_write(struct grpc_pipe *p);
void grpc_pipe_release(struct grpc_pipe *p);
bool grpc_pipe_is_open(const struct grpc_pipe *p); /* no TLS, or its handshake is over */

/* grpc_pipe_silence: of one that is open: *ret_ask: it has been silent for ping_ms, and is to be asked (PING); it is dead after as long
 * again. Gives when to look again. */
int64_t grpc_pipe_silence(struct grpc_pipe *p, int ping_ms, int64_t now_ns, bool *ret_ask);

#endif
