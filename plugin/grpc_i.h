/* plugin/grpc_i: between the parts of the gRPC server.
 *
 * grpc_server.c  sockets, the loop, what workers hand back      grpc_conn.c  one connection: bytes in, bytes out, no I/O
 * grpc_call.c    one call: between the loop and its worker      grpc_peer.c  one client: socket and connection
 *
 * A call has a reference of its connection (until the stream is closed), one of its worker, one while it is in the ready list. */
#ifndef VARVE_PLUGIN_GRPC_I_H
#define VARVE_PLUGIN_GRPC_I_H

#include "base/lock.h"
#include "base/task.h"
#include "plugin/grpc.h"
#include "plugin/grpc_pipe.h"
#include "plugin/grpc_wire.h"

#define GRPC_PATH_MAX 256

struct grpc_conn;

struct grpc_server {
    struct grpc_settings o;
    struct task_pool *pool,
        *streams;         /* streams: waits for clients that read slowly: of methods that stream */
    _Atomic size_t bytes; /* of requests held */
    int wake;             /* eventfd: the ready list has grown */
    int stop;             /* eventfd */
    struct lock lock;     /* RANK_REGISTRY: ready */
    struct grpc_call *ready, **ready_end;
    struct grpc_loop *loop; /* of grpc_server.c */
};

struct grpc_call {
    struct grpc_server *server;
    const struct grpc_method *method;
    _Atomic unsigned refs;

    /* the loop's until the worker starts, then read only */
    char path[GRPC_PATH_MAX];
    struct grpc_wire_in wire;
    size_t counted;   /* bytes of wire.in in server->bytes */
    int64_t until_ns; /* as deadline_ns was */

    /* the loop's */
    struct grpc_conn *conn; /* NULL: the stream is closed */
    struct grpc_call *next, *prev;
    int32_t stream;
    size_t header_bytes;
    bool is_post, is_grpc, has_path, timeout_bad, compresses;
    bool whole;          /* the request has ended */
    bool begun;          /* given to a worker, or answered without */
    bool answered;       /* headers are on their way */
    bool deferred;       /* HTTP/2 waits for more to send */
    int64_t deadline_ns; /* 0: none */

    struct lock lock; /* RANK_FACE: what follows */
    struct cond room;
    struct buf out; /* framed messages, sent up to out_at */
    size_t out_at;
    bool done, ended, listed;
    enum grpc_code code;
    char *message;
    struct grpc_call *ready_next; /* server->lock */
};

/* grpc_call_new: of a stream, with the connection's reference. -E_NOMEM. */
int grpc_call_new(struct grpc_server *s, struct grpc_call **ret);
void grpc_call_unref(struct grpc_call *c);
/* grpc_call_start: hands it to a worker. -E_AGAIN: the queue is full. */
int grpc_call_start(struct grpc_call *c);
/* grpc_call_cut: nobody waits any more: the worker's sends fail from now on. Where it was not done, it is with this code. */
void grpc_call_cut(struct grpc_call *c, enum grpc_code code, const char *message);
/* grpc_server_settle: looks at all that are ready: the loop, or who stands in for it. */
void grpc_server_settle(struct grpc_server *s);
/* grpc_server_ready: the loop is to look at this call. Any thread. */
void grpc_server_ready(struct grpc_call *c);

/* A connection; the loop's thread only. far: over TCP. */
int grpc_conn_new(struct grpc_server *s, bool far, struct grpc_conn **ret);
void grpc_conn_free(struct grpc_conn *c);
/* grpc_conn_in: what came. -E_PROTO: close. grpc_conn_out: what is to be sent, in pieces; *ret_len 0: nothing now. Valid until the next
 * call. */
int grpc_conn_in(struct grpc_conn *c, const uint8_t *p, size_t len);
int grpc_conn_out(struct grpc_conn *c, const uint8_t **ret, size_t *ret_len);
bool grpc_conn_over(const struct grpc_conn *c); /* nothing more will come or go */
void grpc_conn_goaway(struct grpc_conn *c);
void grpc_conn_ping(struct grpc_conn *c);
/* grpc_conn_expire: ends calls past their deadline; the nearest one that is left, 0: none. */
int64_t grpc_conn_expire(struct grpc_conn *c, int64_t now_ns);
void grpc_conn_resume(struct grpc_call *call); /* there is more to send, or an end */

/* A socket with its connection. */
struct grpc_peer {
    struct grpc_pipe pipe;
    struct grpc_conn *conn;
    bool leaving;     /* was told to come anew */
    uint64_t version; /* of the certificates by which it was let in */
    int64_t since_ns; /* connected */
    struct grpc_peer *next;
};
/* grpc_peer_new: takes fd and tls (NULL: a Unix socket's), also where it fails. grpc_peer_expire: ends calls whose time is over, and itself where it
 * has been silent for too long; when to look again, 0: never. */
int grpc_peer_new(struct grpc_server *s, int fd, struct tls *tls, struct grpc_peer **ret);
void grpc_peer_free(struct grpc_peer *p);
int64_t grpc_peer_expire(const struct grpc_server *s, struct grpc_peer *p, int64_t now_ns);

#endif
