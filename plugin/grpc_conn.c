/* One connection: nghttp2 without I/O, and the calls of its streams. */
#include <nghttp2/nghttp2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "plugin/grpc_i.h"

#define HEADERS_MAX (32u << 10)

struct grpc_conn {
    struct grpc_server *server;
    nghttp2_session *ng;
    struct grpc_call *calls;
    bool far;
};

/* --- what is said to the client ------------------------------------------------------------------------------------------ */

static nghttp2_nv nv(const char *name, const char *value, size_t len)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = len};
}

static nghttp2_nv nvs(const char *name, const char *value)
{
    return nv(name, value, strlen(value));
}

/* grpc-status and grpc-message; *text holds the second one's bytes. */
static size_t put_status(struct grpc_call *c, nghttp2_nv *to, char code[8], struct buf *text)
{
    size_t n = 0;

    lock_take(&c->lock);
    snprintf(code, 8, "%d", (int)c->code);
    if (c->message && c->code != GRPC_OK)
        grpc_wire_percent(text, c->message);
    lock_drop(&c->lock);
    to[n++] = nvs("grpc-status", code);
    if (text->len > 0)
        to[n++] = nv("grpc-message", (const char *)text->data, text->len);
    return n;
}

static void submit_trailer(struct grpc_call *c)
{
    cleanup(buf_free) struct buf text = {0};
    nghttp2_nv h[2];
    char code[8];
    size_t n = put_status(c, h, code, &text);

    if (nghttp2_submit_trailer(c->conn->ng, c->stream, h, n) != 0)
        nghttp2_submit_rst_stream(c->conn->ng, NGHTTP2_FLAG_NONE, c->stream, NGHTTP2_INTERNAL_ERROR);
}

static ssize_t read_out(nghttp2_session *ng, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
                        nghttp2_data_source *source, void *user)
{
    struct grpc_call *c = source->ptr;
    size_t n;
    bool end;

    (void)ng;
    (void)stream;
    (void)user;
    lock_take(&c->lock);
    n = MIN_OF(room, c->out.len - c->out_at);
    if (n > 0)
        memcpy(to, c->out.data + c->out_at, n);
    c->out_at += n;
    if (c->out_at == c->out.len) {
        buf_reset(&c->out);
        c->out_at = 0;
    }
    end = c->done && c->out.len == 0;
    c->deferred = n == 0 && !end;
    cond_wake_all(&c->room);
    lock_drop(&c->lock);
    if (c->deferred)
        return NGHTTP2_ERR_DEFERRED;
    if (end) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        submit_trailer(c);
    }
    return (ssize_t)n;
}

static void answer_bare(struct grpc_call *c, const char *status)
{
    nghttp2_nv h[] = {nvs(":status", status)};

    c->answered = c->begun = true;
    nghttp2_submit_response(c->conn->ng, c->stream, h, ARRAY_LEN(h), NULL);
}

static void answer_begin(struct grpc_call *c, bool trailers_only)
{
    cleanup(buf_free) struct buf text = {0};
    nghttp2_data_provider from = {.source.ptr = c, .read_callback = read_out};
    nghttp2_nv h[5];
    char code[8];
    size_t n = 0;

    c->answered = true;
    h[n++] = nvs(":status", "200");
    h[n++] = nvs("content-type", "application/grpc");
    h[n++] = nvs("grpc-accept-encoding", "identity");
    if (trailers_only)
        n += put_status(c, h + n, code, &text);
    nghttp2_submit_response(c->conn->ng, c->stream, h, n, trailers_only ? NULL : &from);
}

void grpc_conn_resume(struct grpc_call *c)
{
    bool done, empty;

    if (!c->conn)
        return;
    lock_take(&c->lock);
    done = c->done;
    empty = c->out.len == 0;
    lock_drop(&c->lock);
    if (!c->answered && (!empty || done))
        answer_begin(c, empty);
    else if (c->answered && c->deferred) {
        c->deferred = false;
        nghttp2_session_resume_data(c->conn->ng, c->stream);
    }
}

/* Ends a call that no worker has, or that nobody is to wait for any longer. */
static void refuse(struct grpc_call *c, enum grpc_code code, const char *message)
{
    c->begun = true;
    grpc_call_cut(c, code, message);
    grpc_conn_resume(c);
}

/* --- what the client says ------------------------------------------------------------------------------------------------ */

static struct grpc_call *call_of(nghttp2_session *ng, int32_t stream)
{
    return nghttp2_session_get_stream_user_data(ng, stream);
}

static void link_call(struct grpc_conn *conn, struct grpc_call *c)
{
    c->conn = conn;
    c->next = conn->calls;
    if (c->next)
        c->next->prev = c;
    conn->calls = c;
}

static void unlink_call(struct grpc_call *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        c->conn->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->next = c->prev = NULL;
    c->conn = NULL;
}

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    struct grpc_conn *conn = user;
    struct grpc_call *c;

    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    if (grpc_call_new(conn->server, &c) < 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    c->stream = f->hd.stream_id;
    link_call(conn, c);
    nghttp2_session_set_stream_user_data(ng, c->stream, c);
    return 0;
}

static bool is(const uint8_t *p, size_t len, const char *s)
{
    return len == strlen(s) && memcmp(p, s, len) == 0;
}

static void take_timeout(struct grpc_call *c, const char *value, size_t len)
{
    int64_t ns, now = clock_mono_ns();

    if (grpc_wire_timeout(value, len, &ns) < 0)
        c->timeout_bad = true;
    else
        c->until_ns = c->deadline_ns = ns < INT64_MAX - now ? now + ns : 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t nlen,
                     const uint8_t *value, size_t vlen, uint8_t flags, void *user)
{
    struct grpc_call *c = call_of(ng, f->hd.stream_id);
    const char *text = (const char *)value;

    (void)flags;
    (void)user;
    if (!c || f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* trailers of a client say nothing */
    c->header_bytes += nlen + vlen + 32;
    if (c->header_bytes > HEADERS_MAX)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (is(name, nlen, ":method")) {
        c->is_post = is(value, vlen, "POST");
    } else if (is(name, nlen, ":path")) {
        c->has_path = vlen > 0 && vlen < GRPC_PATH_MAX && value[0] == '/';
        if (c->has_path)
            snprintf(c->path, sizeof(c->path), "%.*s", (int)vlen, text);
    } else if (is(name, nlen, "content-type")) {
        c->is_grpc = grpc_wire_is_grpc(text, vlen);
    } else if (is(name, nlen, "grpc-timeout")) {
        take_timeout(c, text, vlen);
    }
    return 0;
}

static const struct grpc_method *method_of(const struct grpc_call *c)
{
    const struct grpc_settings *o = &c->server->o;

    return (c->conn->far && !BROKEN(VARVE_BREAK_grpc_far) ? o->find_far : o->find)(o->arg, c->path);
}

/* All headers of a request have come. */
static void request_begins(struct grpc_call *c)
{
    if (!c->is_post && !BROKEN(VARVE_BREAK_grpc_method))
        answer_bare(c, "405");
    else if (!c->is_grpc && !BROKEN(VARVE_BREAK_grpc_type))
        answer_bare(c, "415");
    else if (c->timeout_bad)
        refuse(c, GRPC_INTERNAL, "grpc-timeout is not understood");
    else if (!c->has_path || !(c->method = method_of(c)))
        refuse(c, GRPC_UNIMPLEMENTED, "there is no such method here");
}

static void request_ends(struct grpc_call *c)
{
    c->whole = true;
    if (c->begun)
        return;
    switch (grpc_wire_state(&c->wire)) {
    case GRPC_WIRE_NONE: refuse(c, GRPC_INTERNAL, "the request has no message"); return;
    case GRPC_WIRE_PART: refuse(c, GRPC_INTERNAL, "the request ends within its message"); return;
    default: break;
    }
    c->begun = true;
    if (grpc_call_start(c) < 0)
        refuse(c, GRPC_RESOURCE_EXHAUSTED, "too many calls are waiting; try again");
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    struct grpc_call *c;

    (void)user;
    if (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA)
        return 0;
    c = call_of(ng, f->hd.stream_id);
    if (!c)
        return 0;
    if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST)
        request_begins(c);
    if (f->hd.flags & NGHTTP2_FLAG_END_STREAM)
        request_ends(c);
    return 0;
}

static void refuse_message(struct grpc_call *c, int r)
{
    switch (r) {
    case -E_TOOBIG: refuse(c, GRPC_RESOURCE_EXHAUSTED, "the message is larger than is allowed here"); break;
    case -E_NOTSUP:
        refuse(c, GRPC_UNIMPLEMENTED, "the message is compressed; only identity is understood");
        break;
    case -E_NOMEM: refuse(c, GRPC_RESOURCE_EXHAUSTED, err_text(r)); break;
    default: refuse(c, GRPC_INTERNAL, "the message is malformed, or more than one came"); break;
    }
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t stream, const uint8_t *p, size_t len,
                   void *user)
{
    struct grpc_call *c = call_of(ng, stream);
    struct grpc_server *s;
    size_t before;
    int r;

    (void)flags;
    (void)user;
    if (!c || c->begun)
        return 0; /* answered already: the rest is of no interest */
    s = c->server;
    before = c->wire.in.len;
    r = grpc_wire_add(&c->wire, p, len, s->o.message_max);
    c->counted += c->wire.in.len - before;
    if (atomic_fetch_add(&s->bytes, c->wire.in.len - before) + len > s->o.bytes_max && r == 0)
        refuse(c, GRPC_RESOURCE_EXHAUSTED, "too many bytes are held for calls; try again");
    else if (r < 0)
        refuse_message(c, r);
    return 0;
}

/* An answer that is complete before its request is: the client may stop sending. */
static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    struct grpc_call *c;

    (void)user;
    if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
        (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA))
        return 0;
    c = call_of(ng, f->hd.stream_id);
    if (c && !c->whole)
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, c->stream, NGHTTP2_NO_ERROR);
    return 0;
}

static void detach(struct grpc_call *c)
{
    grpc_call_cut(c, GRPC_CANCELLED, NULL);
    unlink_call(c);
    grpc_call_unref(c);
}

static int on_stream_close(nghttp2_session *ng, int32_t stream, uint32_t error, void *user)
{
    struct grpc_call *c = call_of(ng, stream);

    (void)error;
    (void)user;
    if (c) {
        nghttp2_session_set_stream_user_data(ng, stream, NULL);
        detach(c);
    }
    return 0;
}

/* --- the connection ------------------------------------------------------------------------------------------------------ */

static int session_new(struct grpc_conn *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_option *opt = NULL;
    int r = -1;

    if (nghttp2_session_callbacks_new(&cb) == 0 && nghttp2_option_new(&opt) == 0) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
        nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
        nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
        nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
        /* what is asked of a request is asked above; clients of Unix sockets put paths into :authority */
        if (!BROKEN(VARVE_BREAK_grpc_authority))
            nghttp2_option_set_no_http_messaging(opt, 1);
        r = nghttp2_session_server_new2(&c->ng, cb, c, opt);
    }
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    return r == 0 ? 0 : -E_NOMEM;
}

int grpc_conn_new(struct grpc_server *s, bool far, struct grpc_conn **ret)
{
    nghttp2_settings_entry set[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->o.streams_max},
                                    {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADERS_MAX}};
    struct grpc_conn *c = calloc(1, sizeof(*c));

    if (!c)
        return -E_NOMEM;
    c->server = s;
    c->far = far;
    if (session_new(c) < 0 || nghttp2_submit_settings(c->ng, NGHTTP2_FLAG_NONE, set, ARRAY_LEN(set)) != 0) {
        grpc_conn_free(c);
        return -E_NOMEM;
    }
    *ret = c;
    return 0;
}

void grpc_conn_free(struct grpc_conn *c)
{
    if (!c)
        return;
    while (c->calls)
        detach(c->calls);
    nghttp2_session_del(c->ng);
    free(c);
}

int grpc_conn_in(struct grpc_conn *c, const uint8_t *p, size_t len)
{
    ssize_t n = nghttp2_session_mem_recv(c->ng, p, len);

    if (n >= 0)
        return 0;
    log_debug("grpc", "malformed", "nghttp2=%s", nghttp2_strerror((int)n));
    return -E_PROTO;
}

int grpc_conn_out(struct grpc_conn *c, const uint8_t **ret, size_t *ret_len)
{
    ssize_t n = nghttp2_session_mem_send(c->ng, ret);

    if (n < 0)
        return -E_PROTO;
    *ret_len = (size_t)n;
    return 0;
}

bool grpc_conn_over(const struct grpc_conn *c)
{
    return !nghttp2_session_want_read(c->ng) && !nghttp2_session_want_write(c->ng);
}

void grpc_conn_goaway(struct grpc_conn *c)
{
    nghttp2_submit_goaway(c->ng, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->ng),
                          NGHTTP2_NO_ERROR, NULL, 0);
}

void grpc_conn_ping(struct grpc_conn *c)
{
    nghttp2_submit_ping(c->ng, NGHTTP2_FLAG_NONE, NULL);
}

int64_t grpc_conn_expire(struct grpc_conn *conn, int64_t now_ns)
{
    int64_t nearest = 0;

    for (struct grpc_call *c = conn->calls; c; c = c->next) {
        if (c->deadline_ns == 0)
            continue;
        if (c->deadline_ns > now_ns) {
            nearest = nearest && nearest < c->deadline_ns ? nearest : c->deadline_ns;
            continue;
        }
        c->deadline_ns = 0;
        refuse(c, GRPC_DEADLINE_EXCEEDED, "the time that the client gave is over");
    }
    return nearest;
}
