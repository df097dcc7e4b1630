/* plugin/grpc_client_i: between the parts of the gRPC client.
 *
 * grpc_client.c  the loop, links, who waits          grpc_line.c  one connection, and the calls on it */
#ifndef VARVE_PLUGIN_GRPC_CLIENT_I_H
#define VARVE_PLUGIN_GRPC_CLIENT_I_H

#include <nghttp2/nghttp2.h>
#include <pthread.h>

#include "base/lock.h"
#include "plugin/grpc_client.h"
#include "plugin/grpc_pipe.h"
#include "plugin/tcp.h"

#define GRPC_LINE_READ (64u << 10)

struct grpc_line;

struct grpc_client {
    struct grpc_client_settings o;
    int epoll, wake;
    pthread_t thread;
    struct lock lock; /* RANK_REGISTRY: guards what follows */
    struct grpc_asked *poked, **poked_end;
    struct grpc_link *gone; /* freed by their owners */
    bool ends;
    struct grpc_line *lines; /* the loop's, as is the rest */
    uint64_t numbers;
    uint8_t in[GRPC_LINE_READ];
};

struct grpc_link {
    struct grpc_client *client;
    struct tcp_addr to;
    struct grpc_line *line; /* the loop's: for what is asked next; NULL: none yet */
    struct grpc_link *next; /* client->lock: of those that are gone */
};

struct grpc_asked {
    struct grpc_client *client;
    struct grpc_link *link;
    _Atomic unsigned refs; /* who waits, the loop, the list of poked ones */
    const char *path;
    int64_t deadline_ns;
    uint64_t number;
    struct buf out; /* the framed message; out_at is the loop's */
    size_t out_at;

    /* the loop's */
    struct grpc_line *line; /* NULL: not begun, or over */
    struct grpc_asked *next;
    int32_t stream;
    int http;
    bool begun, is_grpc, has_status;
    struct grpc_said heard;

    struct lock lock; /* RANK_FACE: guards what follows */
    struct cond ready;
    struct buf in; /* framed messages, as they came */
    size_t taken;  /* bytes that somebody took, and the other side may send anew */
    bool cancel, done;
    struct grpc_said said;

    bool listed; /* client->lock */
    struct grpc_asked *poked_next;
};

void grpc_asked_unref(struct grpc_asked *a);
/* grpc_asked_over: its end, by a->heard where that has a status, else by this. Takes it from its line. */
void grpc_asked_over(struct grpc_asked *a, enum grpc_code code, const char *why, bool unseen);

/* A connection; the loop's thread only. grpc_line_new: begun. -E_*: it cannot be. */
struct grpc_line {
    struct grpc_client *client;
    struct grpc_link *link; /* NULL: takes no new calls */
    struct grpc_pipe pipe;
    nghttp2_session *ng;
    struct grpc_asked *asked;
    struct grpc_line *next;
    uint64_t number, version; /* version: of the certificates */
    int64_t until_ns;         /* it has to be open by then */
    bool connected, open;
    char why[300];
};
int grpc_line_new(struct grpc_link *l, uint64_t version, struct grpc_line **ret);
void grpc_line_free(struct grpc_line *l);  /* calls on it come to their end */
void grpc_line_leave(struct grpc_line *l); /* takes no new calls; goes with its last one */
void grpc_line_add(struct grpc_line *l, struct grpc_asked *a);
void grpc_line_cancel(struct grpc_line *l, struct grpc_asked *a);
void grpc_line_taken(struct grpc_line *l, struct grpc_asked *a, size_t n);
void grpc_line_event(struct grpc_line *l, uint32_t events);
/* grpc_line_turn: sends what there is to send; when to look again. False: it is over. */
bool grpc_line_turn(struct grpc_line *l, int64_t now_ns, int64_t *ret_next_ns);

#endif
