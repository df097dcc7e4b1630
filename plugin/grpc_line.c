/* One connection to another driver, and the calls on it. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "plugin/grpc_client_i.h"
#include "plugin/grpc_wire.h"

#define MS 1000000
#define WINDOW (4u << 20) /* of all calls of a connection; each has HTTP/2's 64 KiB */
#define HEADERS_MAX (32u << 10)

/* --- calls ----------------------------------------------------------------------------------------------------------------- */

static void unlink_asked(struct grpc_line *l, struct grpc_asked *a)
{
    struct grpc_asked **at = &l->asked;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    a->line = NULL;
}

void grpc_asked_over(struct grpc_asked *a, enum grpc_code code, const char *why, bool unseen)
{
    struct grpc_line *l = a->line;

    if (!a->heard.number && l)
        a->heard.number = l->number;
    if (!a->has_status) {
        a->heard.code = code;
        a->heard.unseen = unseen;
        snprintf(a->heard.why, sizeof(a->heard.why), "%s", why);
    }
    if (l && a->stream > 0)
        nghttp2_session_set_stream_user_data(l->ng, a->stream, NULL);
    if (l)
        unlink_asked(l, a);
    lock_take(&a->lock);
    a->said = a->heard;
    a->done = true;
    cond_wake_all(&a->ready);
    lock_drop(&a->lock);
    if (l)
        grpc_asked_unref(a);
}

static ssize_t read_out(nghttp2_session *ng, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                        nghttp2_data_source *source, void *user)
{
    struct grpc_asked *a = nghttp2_session_get_stream_user_data(ng, stream);
    size_t n = a ? MIN_OF(room, a->out.len - a->out_at) : 0;

    (void)source;
    (void)user;
    if (!a) /* given up meanwhile */
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    memcpy(to, a->out.data + a->out_at, n);
    a->out_at += n;
    if (a->out_at == a->out.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

/* At most 8 digits. */
static void timeout_text(int64_t left_ns, char to[16])
{
    int64_t ms = MAX_OF(left_ns / MS, 1);

    if (ms < 100000000)
        snprintf(to, 16, "%dm", (int)ms);
    else
        snprintf(to, 16, "%dS", (int)MIN_OF(ms / 1000, 99999999));
}

static void submit(struct grpc_line *l, struct grpc_asked *a)
{
    nghttp2_data_provider from = {.read_callback = read_out};
    nghttp2_nv h[8] = {nv(":method", "POST"),    nv(":scheme", "https"),
                       nv(":path", a->path),     nv(":authority", "varve"),
                       nv("te", "trailers"),     nv("content-type", "application/grpc"),
                       nv("user-agent", "varve")};
    char timeout[16];
    size_t n = 7;

    if (a->deadline_ns) {
        timeout_text(a->deadline_ns - clock_mono_ns(), timeout);
        h[n++] = nv("grpc-timeout", timeout);
    }
    a->stream = nghttp2_submit_request(l->ng, NULL, h, n, &from, a);
    if (a->stream <= 0) {
        a->stream = 0;
        grpc_asked_over(a, GRPC_UNAVAILABLE, "the connection takes no more calls", true);
    }
}

void grpc_line_add(struct grpc_line *l, struct grpc_asked *a)
{
    atomic_fetch_add(&a->refs, 1);
    a->line = l;
    a->next = l->asked;
    l->asked = a;
    if (l->open)
        submit(l, a);
}

void grpc_line_cancel(struct grpc_line *l, struct grpc_asked *a)
{
    if (a->stream > 0 && !BROKEN(VARVE_BREAK_grpc_cancel))
        nghttp2_submit_rst_stream(l->ng, NGHTTP2_FLAG_NONE, a->stream, NGHTTP2_CANCEL);
    grpc_asked_over(a, GRPC_CANCELLED, "nobody waits for the answer any more", false);
}

void grpc_line_taken(struct grpc_line *l, struct grpc_asked *a, size_t n)
{
    if (a->stream > 0)
        nghttp2_session_consume_stream(l->ng, a->stream, n);
}

/* --- what the other side says ---------------------------------------------------------------------------------------------- */

static bool is(const uint8_t *p, size_t len, const char *s)
{
    return len == strlen(s) && memcmp(p, s, len) == 0;
}

static int nibble(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void take_message(struct grpc_asked *a, const uint8_t *p, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len && n + 1 < sizeof(a->heard.why); i++) {
        bool coded = p[i] == '%' && i + 2 < len && nibble(p[i + 1]) >= 0 && nibble(p[i + 2]) >= 0;

        a->heard.why[n++] = coded ? (char)(nibble(p[i + 1]) << 4 | nibble(p[i + 2])) : (char)p[i];
        i += coded ? 2 : 0;
    }
    a->heard.why[n] = 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t nlen,
                     const uint8_t *value, size_t vlen, uint8_t flags, void *user)
{
    struct grpc_asked *a = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
    char text[16];

    (void)flags;
    (void)user;
    if (!a || f->hd.type != NGHTTP2_HEADERS)
        return 0;
    snprintf(text, sizeof(text), "%.*s", (int)MIN_OF(vlen, sizeof(text) - 1), (const char *)value);
    if (is(name, nlen, ":status")) {
        a->http = (int)strtol(text, NULL, 10);
    } else if (is(name, nlen, "content-type")) {
        a->is_grpc = grpc_wire_is_grpc((const char *)value, vlen);
    } else if (is(name, nlen, "grpc-status")) {
        long code = strtol(text, NULL, 10);

        a->has_status = a->heard.told = true;
        a->heard.code = code >= 0 && code <= GRPC_UNAUTHENTICATED ? (enum grpc_code)code : GRPC_UNKNOWN;
    } else if (is(name, nlen, "grpc-message")) {
        take_message(a, value, vlen);
    }
    return 0;
}

/* Taken from the connection at once, and from the call's own window when somebody takes it. */
static int on_data(nghttp2_session *ng, uint8_t flags, int32_t stream, const uint8_t *p, size_t len,
                   void *user)
{
    struct grpc_asked *a = nghttp2_session_get_stream_user_data(ng, stream);
    int r = 0;

    (void)flags;
    (void)user;
    nghttp2_session_consume_connection(ng, len);
    if (!a)
        return 0;
    lock_take(&a->lock);
    r = buf_add(&a->in, p, len);
    cond_wake_all(&a->ready);
    lock_drop(&a->lock);
    return r < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t stream, uint32_t error, void *user)
{
    struct grpc_asked *a = nghttp2_session_get_stream_user_data(ng, stream);

    (void)user;
    if (!a)
        return 0;
    if (error == NGHTTP2_REFUSED_STREAM)
        grpc_asked_over(a, GRPC_UNAVAILABLE, "the other side takes no more calls", true);
    else if (error != NGHTTP2_NO_ERROR)
        grpc_asked_over(a, GRPC_UNAVAILABLE, "the other side gave up the call", false);
    else
        grpc_asked_over(a, a->http == 200 && a->is_grpc ? GRPC_INTERNAL : GRPC_UNAVAILABLE,
                        "the answer is none of gRPC", false);
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    (void)ng;
    if (f->hd.type == NGHTTP2_GOAWAY)
        grpc_line_leave(user);
    return 0;
}

static int line_in(void *arg, const uint8_t *p, size_t len)
{
    struct grpc_line *l = arg;

    return nghttp2_session_mem_recv(l->ng, p, len) < 0 ? -E_PROTO : 0;
}

static int line_out(void *arg, const uint8_t **ret, size_t *ret_len)
{
    struct grpc_line *l = arg;
    ssize_t n = nghttp2_session_mem_send(l->ng, ret);

    *ret_len = n > 0 ? (size_t)n : 0;
    return n < 0 ? -E_PROTO : 0;
}

/* --- beginning and end ----------------------------------------------------------------------------------------------------- */

static int session_new(struct grpc_line *l)
{
    nghttp2_settings_entry set[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADERS_MAX}};
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *opt = NULL;
    int r = -1;

    if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0) {
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
        nghttp2_option_set_no_auto_window_update(opt, 1);
        r = nghttp2_session_client_new2(&l->ng, cb, l, opt);
    }
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    if (r == 0)
        r = nghttp2_submit_settings(l->ng, NGHTTP2_FLAG_NONE, set, ARRAY_LEN(set));
    if (r == 0)
        r = nghttp2_session_set_local_window_size(l->ng, NGHTTP2_FLAG_NONE, 0, WINDOW);
    return r == 0 ? 0 : -E_NOMEM;
}

static void watch(struct grpc_line *l, int how)
{
    bool writes = l->pipe.waits || !l->connected;
    struct epoll_event e = {.events = EPOLLIN | (writes ? EPOLLOUT : 0u), .data.ptr = l};

    epoll_ctl(l->client->epoll, how, l->pipe.fd, &e);
}

int grpc_line_new(struct grpc_link *link, uint64_t version, struct grpc_line **ret)
{
    static const struct grpc_pipe_end end = {.in = line_in, .out = line_out};
    struct grpc_client *c = link->client;
    struct grpc_line *l = calloc(1, sizeof(*l));
    struct tls *tls = NULL;
    int fd = -1, r = l ? tls_new(c->o.files, &tls) : -E_NOMEM;

    if (r == 0)
        fd = r = tcp_connect(&link->to);
    if (r < 0) {
        tls_free(tls);
        free(l);
        return r;
    }
    l->client = c;
    l->link = link;
    l->number = ++c->numbers;
    l->version = version;
    l->pipe = (struct grpc_pipe){.fd = fd, .tls = tls, .end = &end, .arg = l, .heard_ns = clock_mono_ns()};
    l->until_ns = l->pipe.heard_ns + (int64_t)c->o.connect_ms * MS;
    if (session_new(l) < 0) {
        nghttp2_session_del(l->ng);
        grpc_pipe_release(&l->pipe);
        free(l);
        return -E_NOMEM;
    }
    watch(l, EPOLL_CTL_ADD);
    l->next = c->lines;
    c->lines = l;
    *ret = l;
    return 0;
}

void grpc_line_leave(struct grpc_line *l)
{
    if (l->link && l->link->line == l)
        l->link->line = NULL;
    l->link = NULL;
}

void grpc_line_free(struct grpc_line *l)
{
    const char *why = *l->why ? l->why : "the connection ended before the answer";

    grpc_line_leave(l);
    while (l->asked) /* what was not sent was not seen; nor by one who turned us away */
        grpc_asked_over(l->asked, GRPC_UNAVAILABLE, why, l->asked->stream == 0);
    nghttp2_session_del(l->ng);
    epoll_ctl(l->client->epoll, EPOLL_CTL_DEL, l->pipe.fd, NULL);
    grpc_pipe_release(&l->pipe);
    free(l);
}

/* --- the loop's ------------------------------------------------------------------------------------------------------------ */

static void opened(struct grpc_line *l)
{
    struct grpc_asked *next;

    l->open = true;
    for (struct grpc_asked *a = l->asked; a; a = next) {
        next = a->next;
        submit(l, a);
    }
}

/* Room in the socket is looked for only while it is waited for. */
static void line_write(struct grpc_line *l)
{
    bool waited = l->pipe.waits;

    grpc_pipe_write(&l->pipe);
    if (l->pipe.waits != waited)
        watch(l, EPOLL_CTL_MOD);
}

void grpc_line_event(struct grpc_line *l, uint32_t events)
{
    int r;

    if (!l->connected) {
        r = tcp_connected(l->pipe.fd);
        if (r < 0) {
            snprintf(l->why, sizeof(l->why), "%s", r == -E_CLOSED ? "nobody listens there" : err_text(r));
            l->pipe.dead = true;
            return;
        }
        l->connected = true;
        grpc_pipe_begin(&l->pipe);
        watch(l, EPOLL_CTL_MOD);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        grpc_pipe_read(&l->pipe, l->client->in, sizeof(l->client->in));
    if (events & EPOLLOUT)
        line_write(l);
    if (!l->open && grpc_pipe_is_open(&l->pipe))
        opened(l);
    if (l->pipe.dead && !*l->why && *tls_why(l->pipe.tls))
        snprintf(l->why, sizeof(l->why), "%s", tls_why(l->pipe.tls));
}

static int64_t silence(struct grpc_line *l, int64_t now)
{
    bool ask = false;
    int64_t next;

    if (!l->asked && !l->pipe.asked_ns) { /* nobody waits: the kernel looks whether it is alive */
        l->pipe.heard_ns = now;
        return 0;
    }
    next = grpc_pipe_silence(&l->pipe, l->client->o.ping_ms, now, &ask);
    if (ask)
        nghttp2_submit_ping(l->ng, NGHTTP2_FLAG_NONE, NULL);
    if (l->pipe.dead && !*l->why)
        snprintf(l->why, sizeof(l->why), "it has fallen silent");
    return next;
}

bool grpc_line_turn(struct grpc_line *l, int64_t now_ns, int64_t *ret_next_ns)
{
    *ret_next_ns = 0;
    if (!l->open && now_ns >= l->until_ns) {
        snprintf(l->why, sizeof(l->why), "%s",
                 l->connected ? "it does not shake hands" : "it does not answer");
        l->pipe.dead = true;
    }
    if (l->pipe.dead)
        return false;
    *ret_next_ns = l->open ? silence(l, now_ns) : l->until_ns;
    if (l->connected && !l->pipe.waits)
        line_write(l);
    if (!l->link && !l->asked && l->pipe.out_len == 0)
        return false;
    return !l->pipe.dead && (nghttp2_session_want_read(l->ng) || nghttp2_session_want_write(l->ng));
}
