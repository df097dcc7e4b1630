/* tests/csi/client: a gRPC client of nghttp2 that does as it is told, wrongly too. One thread. */
#ifndef VARVE_TESTS_CSI_CLIENT_H
#define VARVE_TESTS_CSI_CLIENT_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"

#define CALLS_MAX 512

struct call {
    int32_t stream;
    int http, status; /* -1: none came */
    char message[1024], type[64];
    struct buf body; /* frames as they came */
    struct buf out;
    size_t out_at;
    bool keep_open; /* does not end the request */
    bool closed;
    uint32_t error; /* of HTTP/2, when closed */
    bool first_trailers_only;
};

struct client {
    int fd;
    nghttp2_session *ng;
    struct call calls[CALLS_MAX];
    size_t ncalls;
    bool goaway, gone;
    bool deaf; /* reads nothing from the socket */
};

struct ask {
    const char *path, *method, *type, *authority, *timeout; /* NULL: as usual; "-": without */
    const void *msg;
    size_t len;
    const struct buf *raw; /* in place of a framed message */
    bool keep_open;
};

int raw_connect(const char *path);
int raw_send(int fd, const void *p, size_t len);
/* raw_closed: the other side closes within ms; what it says until then is thrown away. */
bool raw_closed(int fd, int ms);

void client_open(struct client *c, const char *path);
void client_close(struct client *c);
struct call *client_call(struct client *c, const struct ask *a);
/* client_turn: sends and receives once, waits at most ms. client_wait: until the call is closed; false: not within ms. */
void client_turn(struct client *c, int ms);
bool client_wait(struct client *c, struct call *k, int ms);
void client_cancel(struct client *c, struct call *k);

/* the n-th message of an answer; false: there is none */
bool call_message(const struct call *k, size_t n, const uint8_t **ret, size_t *ret_len);
size_t call_messages(const struct call *k);

#endif
