/* base/msg: messages over a Unix stream socket: between the command line, the daemon, the keeper and the plugins.
 *
 *   frame = header payload                                       all numbers little endian
 *   header, 32 bytes = magic "vMsG" | version u16 | type u16 | length u32 | descriptors u16 | 0 u16 | 0 u64 | sum u64
 *
 * length counts the payload; its meaning (JSON text, plain fields) belongs to the type, and the types to whoever speaks.
 * sum is hash_sum() of the payload, seeded with that of the first 24 bytes. Descriptors travel with the frame (SCM_RIGHTS) and arrive with
 * close-on-exec set. A frame that is not as above is -E_PROTO, never more than that: nothing of it is used, its
 * descriptors are closed. No call raises SIGPIPE. Paths may be longer than the 107 bytes that a socket address holds.
 *
 * timeout_ms: for the whole call; negative waits for ever, 0 not at all. The descriptor may be blocking or not.
 * After any error of msg_send or msg_recv but -E_AGAIN and -E_TOOBIG of msg_send the two sides are out of step: close.
 * Threads: one sender and one receiver at a time per connection. */
#ifndef VARVE_BASE_MSG_H
#define VARVE_BASE_MSG_H

#include <sys/types.h>

#include "base/buf.h"

#define MSG_VERSION 1
#define MSG_HEADER_SIZE 32
#define MSG_FDS_MAX 16
#define MSG_SIZE_MAX (64u << 20) /* no payload is larger, whatever a receiver allows */

struct msg {
    uint16_t type;
    unsigned nfds;
    int fds[MSG_FDS_MAX]; /* owned; take one with msg_take_fd */
    struct buf payload;
};

void msg_release(
    struct msg *m); /* frees the payload, closes descriptors that were not taken; fit for cleanup() */
int msg_take_fd(struct msg *m,
                unsigned i); /* the i-th descriptor, from now on the caller's; -E_PROTO when there is none */

/* msg_listen(path, mode): a socket at path (absolute) with these permission bits. A socket that lies there is replaced:
 * only the holder of the store's lock may call this. The descriptor, or -E_EXIST (something else lies there), -E_NOENT, ... */
int msg_listen(const char *path, mode_t mode);

/* msg_connect(path, timeout_ms): the descriptor, or -E_NOENT (no socket), -E_CLOSED (nobody listens), -E_ACCES, -E_AGAIN
 * (the listener's queue stayed full). */
int msg_connect(const char *path, int timeout_ms);

/* msg_accept(fd, timeout_ms): a connection, or -E_AGAIN when none came in time. */
int msg_accept(int fd, int timeout_ms);

/* msg_send: -E_CLOSED the other side is gone; -E_AGAIN no byte could be sent in time; -E_TIMEOUT only a part could;
 * -E_TOOBIG beyond MSG_SIZE_MAX or MSG_FDS_MAX. The descriptors stay the caller's. */
int msg_send(int fd, uint16_t type, const void *payload, size_t len, const int *fds, unsigned nfds,
             int timeout_ms);

/* msg_recv: the next message, of at most max payload bytes. -E_CLOSED at the end of the stream; -E_AGAIN when no byte came
 * in time, -E_TIMEOUT when only a part did; -E_PROTO malformed, cut off, too large or of another version. *ret (which must
 * be a released or zero struct) is untouched on failure. */
int msg_recv(int fd, size_t max, int timeout_ms, struct msg *ret);

/* msg_recv_into: likewise; the payload takes room's memory and what it held goes. On failure room is as it was, or empty. */
int msg_recv_into(int fd, size_t max, int timeout_ms, struct buf *room, struct msg *ret);

/* msg_peer(fd): who is at the other end, as of its connect. */
struct msg_peer {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
int msg_peer(int fd, struct msg_peer *ret);

#endif
