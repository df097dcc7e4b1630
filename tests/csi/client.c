#include "tests/csi/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/lib/test.h"

#define MS 1000000

int raw_connect(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0);
    CHECK(snprintf(a.sun_path, sizeof(a.sun_path), "%s", path) < (int)sizeof(a.sun_path));
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int raw_send(int fd, const void *p, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, (const char *)p + at, len - at, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += (size_t)n;
    }
    return 0;
}

bool raw_closed(int fd, int ms)
{
    int64_t until = clock_mono_ns() + (int64_t)ms * MS;
    char room[4096];

    for (;;) {
        int64_t left = (until - clock_mono_ns()) / MS;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            return false;
        n = recv(fd, room, sizeof(room), 0);
        if (n == 0 || (n < 0 && errno != EINTR))
            return true;
    }
}

static struct call *call_of(struct client *c, int32_t stream)
{
    for (size_t i = 0; i < c->ncalls; i++)
        if (c->calls[i].stream == stream)
            return &c->calls[i];
    return NULL;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t nlen,
                     const uint8_t *value, size_t vlen, uint8_t flags, void *user)
{
    struct call *k = call_of(user, f->hd.stream_id);
    char n[64], v[1024];

    (void)ng;
    (void)flags;
    snprintf(n, sizeof(n), "%.*s", (int)nlen, (const char *)name);
    snprintf(v, sizeof(v), "%.*s", (int)vlen, (const char *)value);
    if (!k)
        return 0;
    if (strcmp(n, ":status") == 0)
        k->http = (int)strtol(v, NULL, 10);
    else if (strcmp(n, "grpc-status") == 0) {
        k->status = (int)strtol(v, NULL, 10);
        k->first_trailers_only = f->headers.cat == NGHTTP2_HCAT_RESPONSE;
    } else if (strcmp(n, "grpc-message") == 0)
        snprintf(k->message, sizeof(k->message), "%s", v);
    else if (strcmp(n, "content-type") == 0)
        snprintf(k->type, sizeof(k->type), "%.60s", v);
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t stream, const uint8_t *p, size_t len,
                   void *user)
{
    struct call *k = call_of(user, stream);

    (void)ng;
    (void)flags;
    if (k)
        CHECK_OK(buf_add(&k->body, p, len));
    return 0;
}

static int on_close(nghttp2_session *ng, int32_t stream, uint32_t error, void *user)
{
    struct call *k = call_of(user, stream);

    (void)ng;
    if (k) {
        k->closed = true;
        k->error = error;
    }
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    struct client *c = user;

    (void)ng;
    c->goaway |= f->hd.type == NGHTTP2_GOAWAY;
    return 0;
}

void client_open(struct client *c, const char *path)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *opt;

    memset(c, 0, sizeof(*c));
    c->fd = raw_connect(path);
    CHECK(c->fd >= 0);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    CHECK(nghttp2_session_callbacks_new(&cb) == 0);
    CHECK(nghttp2_option_new(&opt) == 0);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_option_set_no_http_messaging(opt, 1);
    CHECK(nghttp2_session_client_new2(&c->ng, cb, c, opt) == 0);
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    CHECK(nghttp2_submit_settings(c->ng, NGHTTP2_FLAG_NONE, NULL, 0) == 0);
}

void client_close(struct client *c)
{
    nghttp2_session_del(c->ng);
    for (size_t i = 0; i < c->ncalls; i++) {
        buf_free(&c->calls[i].body);
        buf_free(&c->calls[i].out);
    }
    close(c->fd);
}

static ssize_t read_out(nghttp2_session *ng, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                        nghttp2_data_source *source, void *user)
{
    struct call *k = source->ptr;
    size_t n = MIN_OF(room, k->out.len - k->out_at);

    (void)ng;
    (void)stream;
    (void)user;
    if (n > 0)
        memcpy(to, k->out.data + k->out_at, n);
    k->out_at += n;
    if (k->out_at < k->out.len)
        return (ssize_t)n;
    if (k->keep_open)
        return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void put(nghttp2_nv *h, size_t *n, const char *name, const char *value, const char *usual)
{
    const char *v = value ? value : usual;

    if (v && strcmp(v, "-") != 0)
        h[(*n)++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                                 .value = (uint8_t *)(uintptr_t)v,
                                 .namelen = strlen(name),
                                 .valuelen = strlen(v)};
}

struct call *client_call(struct client *c, const struct ask *a)
{
    struct call *k = &c->calls[c->ncalls];
    nghttp2_data_provider from = {.source.ptr = k, .read_callback = read_out};
    uint8_t prefix[5] = {0};
    nghttp2_nv h[8];
    size_t n = 0;

    CHECK(c->ncalls < CALLS_MAX);
    *k = (struct call){.http = -1, .status = -1, .keep_open = a->keep_open};
    put(h, &n, ":method", a->method, "POST");
    put(h, &n, ":scheme", NULL, "http");
    put(h, &n, ":path", a->path, "/t.T/Echo");
    put(h, &n, ":authority", a->authority, "localhost");
    put(h, &n, "content-type", a->type, "application/grpc");
    put(h, &n, "te", NULL, "trailers");
    put(h, &n, "grpc-timeout", a->timeout, NULL);
    if (a->raw) {
        CHECK_OK(buf_add(&k->out, a->raw->data, a->raw->len));
    } else {
        put_be32(prefix + 1, (uint32_t)a->len);
        CHECK_OK(buf_add(&k->out, prefix, sizeof(prefix)));
        if (a->len > 0)
            CHECK_OK(buf_add(&k->out, a->msg, a->len));
    }
    k->stream = nghttp2_submit_request(c->ng, NULL, h, n, &from, NULL);
    CHECK(k->stream > 0);
    c->ncalls++;
    return k;
}

static void send_all(struct client *c)
{
    const uint8_t *p;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(c->ng, &p)) > 0) {
        for (ssize_t at = 0; at < n;) {
            ssize_t sent = send(c->fd, p + at, (size_t)(n - at), MSG_NOSIGNAL);
            struct pollfd w = {.fd = c->fd, .events = POLLOUT};

            if (sent < 0 && errno == EAGAIN && poll(&w, 1, 5000) == 1)
                continue;
            if (sent < 0) {
                c->gone = true;
                return;
            }
            at += sent;
        }
    }
}

void client_turn(struct client *c, int ms)
{
    struct pollfd p = {.fd = c->fd, .events = c->deaf ? 0 : POLLIN};
    uint8_t room[16384];
    ssize_t n;

    send_all(c);
    if (poll(&p, 1, ms) <= 0 || c->deaf)
        return;
    n = recv(c->fd, room, sizeof(room), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        c->gone = true;
    if (n > 0)
        CHECK(nghttp2_session_mem_recv(c->ng, room, (size_t)n) == n);
    send_all(c);
}

bool client_wait(struct client *c, struct call *k, int ms)
{
    int64_t until = clock_mono_ns() + (int64_t)ms * MS;

    while (!k->closed && !c->gone && clock_mono_ns() < until)
        client_turn(c, 20);
    return k->closed;
}

void client_cancel(struct client *c, struct call *k)
{
    CHECK(nghttp2_submit_rst_stream(c->ng, NGHTTP2_FLAG_NONE, k->stream, NGHTTP2_CANCEL) == 0);
    client_turn(c, 0);
}

bool call_message(const struct call *k, size_t n, const uint8_t **ret, size_t *ret_len)
{
    size_t at = 0;

    while (k->body.len - at >= 5) {
        size_t len = get_be32(k->body.data + at + 1);

        if (k->body.len - at - 5 < len)
            return false;
        if (n-- == 0) {
            *ret = k->body.data + at + 5;
            *ret_len = len;
            return true;
        }
        at += 5 + len;
    }
    return false;
}

size_t call_messages(const struct call *k)
{
    const uint8_t *p;
    size_t len, n = 0;

    while (call_message(k, n, &p, &len))
        n++;
    return n;
}
