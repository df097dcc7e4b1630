/* One call: what a worker says goes to the loop by the ready list, and what happens to the stream comes back as `ended`. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugin/grpc_i.h"

#define OUT_MAX (256u << 10)

const char *grpc_code_name(enum grpc_code c)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"};

    return (size_t)c < ARRAY_LEN(names) ? names[c] : "UNKNOWN";
}

int grpc_call_new(struct grpc_server *s, struct grpc_call **ret)
{
    struct grpc_call *c = calloc(1, sizeof(*c));

    if (!c)
        return -E_NOMEM;
    c->server = s;
    c->refs = 1;
    lock_init(&c->lock, RANK_FACE, 0);
    cond_init(&c->room);
    *ret = c;
    return 0;
}

void grpc_call_unref(struct grpc_call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    atomic_fetch_sub(&c->server->bytes, c->counted);
    buf_free(&c->wire.in);
    buf_free(&c->out);
    free(c->message);
    cond_release(&c->room);
    lock_release(&c->lock);
    free(c);
}

static void run(struct task *t, void *arg)
{
    struct grpc_call *c = arg;

    if (!task_canceled(t) && !grpc_call_ended(c))
        c->method->fn(c, c->method->arg);
    grpc_call_end(c, task_canceled(t) ? GRPC_UNAVAILABLE : GRPC_INTERNAL, "the method gave no answer");
    grpc_call_unref(c);
}

int grpc_call_start(struct grpc_call *c)
{
    int r;

    atomic_fetch_add(&c->refs, 1);
    r = task_submit(c->method->streams ? c->server->streams : c->server->pool, run, c, NULL);
    if (r < 0)
        grpc_call_unref(c);
    return r;
}

const char *grpc_call_path(const struct grpc_call *c)
{
    return c->path;
}

const uint8_t *grpc_call_request(const struct grpc_call *c, size_t *ret_len)
{
    *ret_len = c->wire.in.len;
    return c->wire.in.data;
}

bool grpc_call_ended(struct grpc_call *c)
{
    bool ended;

    lock_take(&c->lock);
    ended = c->ended;
    lock_drop(&c->lock);
    return ended;
}

int64_t grpc_call_deadline(const struct grpc_call *c)
{
    return c->until_ns;
}

static int send_locked(struct grpc_call *c, const void *p, size_t len) REQUIRES(c->lock)
{
    uint8_t prefix[GRPC_PREFIX] = {0};
    int r;

    while (!c->ended && !c->done && c->out.len - c->out_at > OUT_MAX)
        cond_wait(&c->room, &c->lock);
    if (c->ended || c->done)
        return -E_CANCELED;
    if (len > UINT32_MAX)
        return -E_TOOBIG;
    put_be32(prefix + 1, (uint32_t)len);
    r = buf_reserve(&c->out, len + sizeof(prefix));
    if (r == 0)
        r = buf_add(&c->out, prefix, sizeof(prefix));
    return r == 0 && len > 0 ? buf_add(&c->out, p, len) : r;
}

int grpc_call_send(struct grpc_call *c, const void *p, size_t len)
{
    int r;

    lock_take(&c->lock);
    r = send_locked(c, p, len);
    lock_drop(&c->lock);
    if (r == 0 && c->method->streams)
        grpc_server_ready(c); /* a single answer goes with the end of its call */
    return r;
}

void grpc_call_end(struct grpc_call *c, enum grpc_code code, const char *fmt, ...)
{
    char *message = NULL;
    va_list ap;
    bool first;

    if (fmt && code != GRPC_OK) {
        va_start(ap, fmt);
        if (vasprintf(&message, fmt, ap) < 0)
            message = NULL;
        va_end(ap);
    }
    lock_take(&c->lock);
    first = !c->done;
    if (first) {
        c->done = true;
        c->code = code;
        c->message = TAKE(message);
        if (code != GRPC_OK && !c->method->streams)
            buf_reset(&c->out);
    }
    lock_drop(&c->lock);
    free(message);
    if (first)
        grpc_server_ready(c);
}

void grpc_call_cut(struct grpc_call *c, enum grpc_code code, const char *message)
{
    lock_take(&c->lock);
    c->ended = true;
    if (!c->done) {
        c->done = true;
        c->code = code;
        c->message = message ? strdup(message) : NULL;
        if (!c->answered)
            buf_reset(&c->out);
    }
    cond_wake_all(&c->room);
    lock_drop(&c->lock);
}
