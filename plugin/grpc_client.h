/* plugin/grpc_client: gRPC to other drivers: HTTP/2 over TLS (plugin/tls.h), one connection to each, kept and made anew.
 *
 * One thread owns all connections; whoever calls waits in a thread of its own. A connection is made when something is asked, within
 * connect_ms, and goes when it is silent while somebody waits (PING), when the other side says goodbye, or when the certificates change:
 * calls that are on it then come to their end, later ones go over a new one.
 *
 *   what becomes of a call                         its status
 *   answered                                       what the other side says, with its sentence
 *   nobody is there, or has another certificate    UNAVAILABLE, and `unseen`: it was not sent
 *   the connection ends before the answer          UNAVAILABLE: it may have been done
 *   refused by HTTP/2 (GOAWAY)                     UNAVAILABLE, and `unseen`
 *   its time is over; nobody waits any more        DEADLINE_EXCEEDED, CANCELLED; the other side is told (RST_STREAM)
 *   no gRPC, a message above message_max           INTERNAL, RESOURCE_EXHAUSTED */
#ifndef VARVE_PLUGIN_GRPC_CLIENT_H
#define VARVE_PLUGIN_GRPC_CLIENT_H

#include "plugin/grpc.h"
#include "plugin/tls.h"

struct grpc_client;
struct grpc_link;

struct grpc_client_settings {
    struct tls_files
        *files;         /* TLS_CONTROLLER; the client's, which frees it, once grpc_client_new has gone well */
    int connect_ms;     /* until it has been let in; 0: 5 s */
    int ping_ms;        /* of silence; as long again for the answer; 0: 15 s */
    size_t message_max; /* 0: 4 MiB */
};
/* grpc_client_new: -E_NOMEM, -E_FILES, -E_AGAIN (threads). grpc_client_free: when nobody asks any more, and all links are freed. */
int grpc_client_new(const struct grpc_client_settings *o, struct grpc_client **ret);
void grpc_client_free(struct grpc_client *c); /* NULL is allowed */

/* grpc_link_new(c, address, &ret): to one driver; nothing is connected yet. -E_INVAL: no address (tcp_parse); -E_NOMEM. grpc_link_free: when
 * nobody asks it any more; NULL is allowed. */
int grpc_link_new(struct grpc_client *c, const char *address, struct grpc_link **ret);
void grpc_link_free(struct grpc_link *l);

struct grpc_ask {
    const char *path;    /* lives as long as the call */
    const void *message; /* copied */
    size_t len;
    int64_t deadline_ns; /* by clock_mono_ns; 0: none. It is passed on. */
    uint64_t number;     /* on this connection (grpc_said.number), else not at all: `unseen`; 0: on any */
};
struct grpc_said {
    enum grpc_code code;
    char why[1024];  /* "": nothing was said */
    bool told;       /* these are the other side's words */
    bool unseen;     /* the other side has not seen it */
    uint64_t number; /* of the connection that it went over; 0: none */
};

/* A call: begun, then waited for, by one thread, which frees it. grpc_asked_wait: each message is given to fn, by the thread that waits:
 * what fn gives that is negative ends the call, as does ended() (NULL: nobody asks), which is asked at least every 50 ms: then it is cancelled.
 * Messages that nobody takes keep the other side waiting, after 64 KiB. */
struct grpc_asked;
int grpc_asked_new(struct grpc_link *l, const struct grpc_ask *q, struct grpc_asked **ret); /* -E_NOMEM */
struct grpc_taking {
    int (*fn)(void *arg, const uint8_t *p, size_t len);
    bool (*ended)(void *arg);
    void *arg;
};
/* grpc_last: fn of whoever wants one message: arg is a struct buf, which has the last. */
int grpc_last(void *arg, const uint8_t *p, size_t len);
void grpc_asked_wait(struct grpc_asked *a, const struct grpc_taking *t, struct grpc_said *ret);
void grpc_asked_free(struct grpc_asked *a);

#endif
