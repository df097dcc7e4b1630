/* plugin/grpc: a gRPC server on Unix sockets, and on TCP with TLS: HTTP/2 by nghttp2, messages as bytes.
 *
 * One thread (grpc_server_run) owns all connections; a few workers run the methods, and others those that stream, which wait for
 * their clients. A call that ends early (cancelled, past its deadline, connection gone) is answered or forgotten at once; its method
 * goes on until it looks at grpc_call_ended().
 *
 *   POST /package.Service/Method, content-type application/grpc[+...], one message in, one (or, of a method that streams, any
 *   number) out. Everything else about the request is as the client likes: any :authority, any scheme, unknown headers.
 *
 *   not application/grpc              415, no gRPC status
 *   not POST                          405
 *   no such method                    UNIMPLEMENTED
 *   compressed message                UNIMPLEMENTED (identity is said to be accepted)
 *   message above message_max, more than bytes_max held for all calls, more calls than workers and queue_max
 *                                     RESOURCE_EXHAUSTED, at once, however much of it is still to come
 *   half a message, none, two         INTERNAL
 *   grpc-timeout not understood       INTERNAL; passed: DEADLINE_EXCEEDED
 *   streams beyond streams_max        refused by HTTP/2, tried again by clients
 *
 * Errors are answered with trailers only; grpc-message is percent-encoded. Keeping alive (PING) is answered; a client that stops in the
 * middle of a frame, never ends a message, or reads nothing holds no more than its connection and what is named above.
 *
 * Connections over TCP (plugin/tls.h) are counted apart: however many come, the Unix sockets are served. Of those that have not shown
 * a certificate yet the oldest goes when one more comes than far_max, and each after shake_ms. One that says nothing for ping_ms is asked
 * (PING), and goes when it says nothing for as long again, with its calls: a client that died without a word. Where the certificates change
 * those that were let in before are told to come anew (GOAWAY). */
#ifndef VARVE_PLUGIN_GRPC_H
#define VARVE_PLUGIN_GRPC_H

#include <sys/types.h>

#include "base/buf.h"

enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};
const char *grpc_code_name(enum grpc_code c); /* "NOT_FOUND"; never NULL */

struct grpc_server;
struct grpc_call;

/* fn runs in a worker. It sends its messages and ends the call; one that returns without has failed (INTERNAL). */
struct grpc_method {
    const char *path; /* "/csi.v1.Identity/Probe" */
    bool streams;     /* any number of messages out */
    void (*fn)(struct grpc_call *c, void *arg);
    void *arg;
};

struct grpc_settings {
    /* the method of a path, NULL: none. Called by the thread that owns the connections; what it gives lives as long as the server. */
    const struct grpc_method *(*find)(void *arg, const char *path);
    const struct grpc_method *(*find_far)(void *arg,
                                          const char *path); /* the same for those that come over TCP */
    void *arg;
    unsigned workers;     /* 0: 8 */
    unsigned streamers;   /* workers for methods that stream; 0: 8 */
    size_t queue_max;     /* calls waiting for a worker; 0: 256 */
    size_t message_max;   /* 0: 4 MiB */
    size_t bytes_max;     /* of requests held at a time; 0: 32 MiB */
    unsigned conns_max;   /* 0: 64; one more is closed at once */
    unsigned streams_max; /* at a time, of each connection; 0: 128 */
    int stop_wait_ms;     /* calls that run get so long to end when the server stops; 0: 5 s */
    unsigned far_max;     /* connections over TCP; 0: 32 */
    int shake_ms;         /* from being connected to having shown a certificate; 0: 5 s */
    int ping_ms;          /* 0: 20 s */
};

/* grpc_server_new: -E_NOMEM, -E_AGAIN (threads), -E_FILES. grpc_server_listen(s, path, mode): one more socket, before run; what lies
 * there and is a socket is replaced. grpc_server_run: serves until grpc_server_stop, then says GOAWAY, takes no new calls, waits for
 * those that run (stop_wait_ms), removes the sockets. grpc_server_stop: any thread, also a signal handler. grpc_server_free: not while
 * run runs; waits for methods that still run; NULL is allowed. */
int grpc_server_new(const struct grpc_settings *o, struct grpc_server **ret);
int grpc_server_listen(struct grpc_server *s, const char *path, mode_t mode);
/* grpc_server_listen_tls(s, address, files): one TCP socket, before run; files lives longer than the server, and is the server's from now on.
 * *ret_port (may be NULL): that of address, or what it became where it is 0. -E_INVAL: address is none (tcp_parse), -E_BUSY: another has it. */
struct tls_files;
int grpc_server_listen_tls(struct grpc_server *s, const char *address, struct tls_files *files,
                           unsigned *ret_port);
int grpc_server_run(struct grpc_server *s);
void grpc_server_stop(struct grpc_server *s);
void grpc_server_free(struct grpc_server *s);

/* --- inside a method; by its worker only ---------------------------------------------------------------------------- */

const char *grpc_call_path(const struct grpc_call *c);
const uint8_t *grpc_call_request(const struct grpc_call *c, size_t *ret_len);

/* grpc_call_ended: nobody waits for the answer any more. grpc_call_deadline: until when somebody does, by clock_mono_ns; 0: nothing is
 * said of it. */
bool grpc_call_ended(struct grpc_call *c);
int64_t grpc_call_deadline(const struct grpc_call *c);

/* grpc_call_send: one message. Waits while more than 256 KiB are not sent yet. -E_CANCELED: the call has ended; -E_NOMEM. */
int grpc_call_send(struct grpc_call *c, const void *p, size_t len);

/* grpc_call_end: the last word; fmt NULL: no message. Later ones are ignored. */
void grpc_call_end(struct grpc_call *c, enum grpc_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
