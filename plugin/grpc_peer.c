/* One client: its socket, its connection, and how long it may be silent. */
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "plugin/grpc_i.h"

#define MS 1000000

static int peer_in(void *arg, const uint8_t *p, size_t len)
{
    return grpc_conn_in(arg, p, len);
}

static int peer_out(void *arg, const uint8_t **ret, size_t *ret_len)
{
    return grpc_conn_out(arg, ret, ret_len);
}

int grpc_peer_new(struct grpc_server *s, int fd, struct tls *tls, struct grpc_peer **ret)
{
    static const struct grpc_pipe_end end = {.in = peer_in, .out = peer_out};
    struct grpc_peer *p = calloc(1, sizeof(*p));

    if (!p || grpc_conn_new(s, tls != NULL, &p->conn) < 0) {
        free(p);
        tls_free(tls);
        close(fd);
        return -E_NOMEM;
    }
    p->since_ns = clock_mono_ns();
    p->pipe = (struct grpc_pipe){.fd = fd, .tls = tls, .end = &end, .arg = p->conn, .heard_ns = p->since_ns};
    *ret = p;
    return 0;
}

void grpc_peer_free(struct grpc_peer *p)
{
    if (p->pipe.tls && !grpc_pipe_is_open(&p->pipe) && *tls_why(p->pipe.tls))
        log_note("grpc", "turned-away", "why=\"%s\"", tls_why(p->pipe.tls));
    grpc_conn_free(p->conn);
    grpc_pipe_release(&p->pipe);
    free(p);
}

static int64_t nearer(int64_t a, int64_t b)
{
    return !a || (b && b < a) ? b : a;
}

int64_t grpc_peer_expire(const struct grpc_server *s, struct grpc_peer *p, int64_t now_ns)
{
    int64_t nearest = grpc_conn_expire(p->conn, now_ns), next;
    bool ask = false;

    if (!p->pipe.tls)
        return nearest;
    if (grpc_pipe_is_open(&p->pipe)) {
        next = grpc_pipe_silence(&p->pipe, s->o.ping_ms, now_ns, &ask);
    } else {
        next = p->since_ns + (int64_t)s->o.shake_ms * MS;
        p->pipe.dead |= now_ns >= next && !BROKEN(VARVE_BREAK_grpc_shake);
    }
    if (ask)
        grpc_conn_ping(p->conn);
    return nearer(nearest, next);
}
