#include "plugin/grpc_pipe.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define MS 1000000

bool grpc_pipe_is_open(const struct grpc_pipe *p)
{
    return !p->tls || tls_is_open(p->tls);
}

void grpc_pipe_release(struct grpc_pipe *p)
{
    tls_free(p->tls);
    close(p->fd);
    *p = (struct grpc_pipe){.fd = -1, .dead = true};
}

/* --- in -------------------------------------------------------------------------------------------------------------------- */

/* What TLS makes of bytes that came. Where that fails the other side is still told why. */
static void take(struct grpc_pipe *p, uint8_t *room, size_t len, size_t came)
{
    size_t n = 1;

    if (tls_in(p->tls, room, came) < 0) {
        p->dead = true;
        return;
    }
    while (n > 0 && !p->dead) {
        if (tls_read(p->tls, room, len, &n) < 0) {
            grpc_pipe_write(p);
            p->dead = true;
        } else if (n > 0 && p->end->in(p->arg, room, n) < 0) {
            p->dead = true;
        }
    }
}

void grpc_pipe_begin(struct grpc_pipe *p)
{
    uint8_t none[1];
    size_t n;

    if (tls_read(p->tls, none, 0, &n) < 0)
        p->dead = true;
}

void grpc_pipe_read(struct grpc_pipe *p, uint8_t *room, size_t len)
{
    for (int i = 0; i < 16 && !p->dead; i++) {
        ssize_t n = recv(p->fd, room, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            p->dead = true;
            return;
        }
        p->heard_ns = clock_mono_ns();
        p->asked_ns = 0;
        if (p->tls)
            take(p, room, len, (size_t)n);
        else if (p->end->in(p->arg, room, (size_t)n) < 0)
            p->dead = true;
    }
}

/* --- out ------------------------------------------------------------------------------------------------------------------- */

/* The next piece for the socket; out_len 0: there is none. */
static int next_piece(struct grpc_pipe *p)
{
    const uint8_t *plain;
    size_t len = 0;
    int r;

    if (!p->tls)
        return p->end->out(p->arg, &p->out, &p->out_len);
    r = tls_out(p->tls, &p->out, &p->out_len);
    if (r < 0 || p->out_len > 0 || !tls_is_open(p->tls))
        return r;
    r = p->end->out(p->arg, &plain, &len);
    if (r == 0 && len > 0)
        r = tls_write(p->tls, plain, len);
    return r < 0 ? r : tls_out(p->tls, &p->out, &p->out_len);
}

void grpc_pipe_write(struct grpc_pipe *p)
{
    p->waits = false;
    while (!p->dead) {
        ssize_t n;

        if (p->out_len == 0 && next_piece(p) < 0)
            p->dead = true;
        if (p->dead || p->out_len == 0)
            return;
        n = send(p->fd, p->out, p->out_len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            p->waits = true;
            return;
        }
        if (n < 0) {
            p->dead = true;
            return;
        }
        p->out += n;
        p->out_len -= (size_t)n;
    }
}

/* --- silence --------------------------------------------------------------------------------------------------------------- */

int64_t grpc_pipe_silence(struct grpc_pipe *p, int ping_ms, int64_t now_ns, bool *ret_ask)
{
    int64_t ping = (int64_t)ping_ms * MS;

    *ret_ask = !p->asked_ns && now_ns - p->heard_ns >= ping;
    if (*ret_ask)
        p->asked_ns = now_ns;
    if (p->asked_ns && now_ns - p->asked_ns >= ping && !BROKEN(VARVE_BREAK_grpc_ping))
        p->dead = true;
    return (p->asked_ns ? p->asked_ns : p->heard_ns) + ping;
}
