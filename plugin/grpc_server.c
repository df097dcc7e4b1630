/* The loop: sockets in and out, calls that workers hand back, deadlines, the end. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/msg.h"
#include "plugin/grpc_i.h"

#define LISTEN_MAX 4
#define EVENTS 32
#define READ_SIZE (64u << 10)
#define MS 1000000

struct peer {
    int fd;
    struct grpc_conn *conn;
    const uint8_t *out; /* what the socket did not take yet */
    size_t out_len;
    bool dead, waits; /* waits: for room in the socket */
    struct peer *next;
};

struct listener {
    int fd;
    char *path;
};

struct grpc_loop {
    int epoll;
    struct listener listeners[LISTEN_MAX];
    size_t nlisteners;
    struct peer *peers;
    unsigned npeers;
    int64_t stops_ns; /* 0: it does not stop */
    uint8_t in[READ_SIZE];
};

/* --- what workers hand back ---------------------------------------------------------------------------------------------- */

static void ring(int fd)
{
    uint64_t one = 1;

    (void)!write(fd, &one, sizeof(one)); /* full: it is awake */
}

void grpc_server_ready(struct grpc_call *c)
{
    struct grpc_server *s = c->server;
    bool first, add;

    lock_take(&s->lock);
    add = !c->listed;
    first = !s->ready;
    if (add) {
        c->listed = true;
        c->ready_next = NULL;
        *s->ready_end = c;
        s->ready_end = &c->ready_next;
        atomic_fetch_add(&c->refs, 1);
    }
    lock_drop(&s->lock);
    if (add && first)
        ring(s->wake);
}

static struct grpc_call *take_ready(struct grpc_server *s)
{
    struct grpc_call *c;

    lock_take(&s->lock);
    c = s->ready;
    if (c) {
        s->ready = c->ready_next;
        if (!s->ready)
            s->ready_end = &s->ready;
        c->listed = false;
    }
    lock_drop(&s->lock);
    return c;
}

void grpc_server_settle(struct grpc_server *s)
{
    struct grpc_call *c;
    uint64_t n;

    (void)!read(s->wake, &n, sizeof(n));
    while ((c = take_ready(s))) {
        grpc_conn_resume(c);
        grpc_call_unref(c);
    }
}

/* --- connections --------------------------------------------------------------------------------------------------------- */

static void watch(struct grpc_loop *l, struct peer *p, int how)
{
    struct epoll_event e = {.events = EPOLLIN | (p->waits ? EPOLLOUT : 0u), .data.ptr = p};

    epoll_ctl(l->epoll, how, p->fd, &e);
}

static void peer_add(struct grpc_server *s, int fd)
{
    struct grpc_loop *l = s->loop;
    struct peer *p = l->npeers < s->o.conns_max ? calloc(1, sizeof(*p)) : NULL;

    if (!p || grpc_conn_new(s, &p->conn) < 0) {
        free(p);
        close(fd);
        return;
    }
    p->fd = fd;
    p->next = l->peers;
    l->peers = p;
    l->npeers++;
    watch(l, p, EPOLL_CTL_ADD);
}

static void accept_all(struct grpc_server *s, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return;
        peer_add(s, fd);
    }
}

static void peer_read(struct grpc_loop *l, struct peer *p)
{
    for (int i = 0; i < 16 && !p->dead; i++) {
        ssize_t n = recv(p->fd, l->in, sizeof(l->in), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0 || grpc_conn_in(p->conn, l->in, (size_t)n) < 0)
            p->dead = true;
    }
}

/* Until HTTP/2 has nothing more to say, or the socket takes no more. */
static void peer_write(struct grpc_loop *l, struct peer *p)
{
    bool waited = p->waits;

    p->waits = false;
    while (!p->dead) {
        ssize_t n;

        if (p->out_len == 0 && grpc_conn_out(p->conn, &p->out, &p->out_len) < 0)
            p->dead = true;
        if (p->dead || p->out_len == 0)
            break;
        n = send(p->fd, p->out, p->out_len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            p->waits = true;
            break;
        }
        if (n < 0) {
            p->dead = true;
            break;
        }
        p->out += n;
        p->out_len -= (size_t)n;
    }
    if (p->waits != waited && !p->dead)
        watch(l, p, EPOLL_CTL_MOD);
}

/* A child that is between fork and exec has the descriptor, too: closing it here would leave it watched. */
static void peer_free(struct grpc_loop *l, struct peer *p)
{
    grpc_conn_free(p->conn);
    if (!BROKEN(VARVE_BREAK_grpc_watched))
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, p->fd, NULL);
    close(p->fd);
    free(p);
}

/* Sends what there is to send, and takes out who is gone. Calls above may have ended by it. The nearest deadline, 0: none. */
static int64_t peers_turn(struct grpc_loop *l)
{
    int64_t now = clock_mono_ns(), nearest = 0;

    for (struct peer **at = &l->peers; *at;) {
        struct peer *p = *at;
        int64_t next = grpc_conn_expire(p->conn, now);

        if (!p->waits)
            peer_write(l, p);
        if (p->dead || (p->out_len == 0 && grpc_conn_over(p->conn))) {
            *at = p->next;
            l->npeers--;
            peer_free(l, p);
            continue;
        }
        if (next && (!nearest || next < nearest))
            nearest = next;
        at = &p->next;
    }
    return nearest;
}

/* --- the loop ------------------------------------------------------------------------------------------------------------ */

static void listeners_close(struct grpc_loop *l)
{
    for (size_t i = 0; i < l->nlisteners; i++) {
        close(l->listeners[i].fd);
        unlink(l->listeners[i].path);
        free(l->listeners[i].path);
    }
    l->nlisteners = 0;
}

static void begin_stop(struct grpc_server *s)
{
    struct grpc_loop *l = s->loop;

    if (l->stops_ns)
        return;
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->stop, NULL);
    listeners_close(l);
    l->stops_ns = clock_mono_ns() + (int64_t)s->o.stop_wait_ms * MS;
    for (struct peer *p = l->peers; p; p = p->next)
        grpc_conn_goaway(p->conn);
}

static bool is_listener(struct grpc_loop *l, const void *p, int *ret_fd)
{
    const struct listener *at = p;

    if (at < l->listeners || at >= l->listeners + LISTEN_MAX)
        return false;
    *ret_fd = at < l->listeners + l->nlisteners ? at->fd : -1;
    return true;
}

static void handle(struct grpc_server *s, const struct epoll_event *e)
{
    struct grpc_loop *l = s->loop;
    struct peer *p = e->data.ptr;
    int fd;

    if (e->data.ptr == &s->stop) {
        begin_stop(s);
    } else if (e->data.ptr == &s->wake) {
        grpc_server_settle(s);
    } else if (is_listener(l, e->data.ptr, &fd)) {
        if (fd >= 0)
            accept_all(s, fd);
    } else {
        if (e->events & EPOLLOUT)
            peer_write(l, p);
        if (e->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            peer_read(l, p);
    }
}

static int wait_ms(const struct grpc_loop *l, int64_t nearest)
{
    int64_t now = clock_mono_ns();

    if (l->stops_ns && (!nearest || l->stops_ns < nearest))
        nearest = l->stops_ns;
    if (!nearest)
        return -1;
    return nearest <= now ? 0 : (int)MIN_OF((nearest - now + MS - 1) / MS, (int64_t)INT32_MAX);
}

int grpc_server_run(struct grpc_server *s)
{
    struct grpc_loop *l = s->loop;
    struct epoll_event ev[EVENTS];
    int64_t nearest = 0;

    for (;;) {
        int n = epoll_wait(l->epoll, ev, EVENTS, wait_ms(l, nearest));

        if (n < 0 && errno != EINTR)
            return err_from_errno(errno);
        for (int i = 0; i < n; i++)
            handle(s, &ev[i]);
        nearest = peers_turn(l);
        if (l->stops_ns && (!l->peers || clock_mono_ns() >= l->stops_ns))
            return 0;
    }
}

void grpc_server_stop(struct grpc_server *s)
{
    ring(s->stop);
}

/* --- beginning and end --------------------------------------------------------------------------------------------------- */

static void defaults(struct grpc_settings *o)
{
    o->workers = o->workers ? o->workers : 8;
    o->streamers = o->streamers ? o->streamers : 8;
    o->queue_max = o->queue_max ? o->queue_max : 256;
    o->message_max = o->message_max ? o->message_max : 4u << 20;
    o->bytes_max = o->bytes_max ? o->bytes_max : 32u << 20;
    o->conns_max = o->conns_max ? o->conns_max : 64;
    o->streams_max = o->streams_max ? o->streams_max : 128;
    o->stop_wait_ms = o->stop_wait_ms ? o->stop_wait_ms : 5000;
}

static int add_event(struct grpc_loop *l, int fd, void *what)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = what};

    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? err_from_errno(errno) : 0;
}

static int open_all(struct grpc_server *s)
{
    int r;

    s->loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->loop->epoll < 0 || s->wake < 0 || s->stop < 0)
        return -E_FILES;
    if ((r = add_event(s->loop, s->wake, &s->wake)) < 0 || (r = add_event(s->loop, s->stop, &s->stop)) < 0)
        return r;
    r = task_pool_new("grpc", s->o.workers, s->o.queue_max, &s->pool);
    return r < 0 ? r : task_pool_new("grpc-stream", s->o.streamers, s->o.queue_max, &s->streams);
}

int grpc_server_new(const struct grpc_settings *o, struct grpc_server **ret)
{
    struct grpc_server *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -E_NOMEM;
    s->o = *o;
    defaults(&s->o);
    lock_init(&s->lock, RANK_REGISTRY, 0);
    s->ready_end = &s->ready;
    s->wake = s->stop = -1;
    s->loop = calloc(1, sizeof(*s->loop));
    if (s->loop)
        s->loop->epoll = -1;
    r = s->loop ? open_all(s) : -E_NOMEM;
    if (r < 0) {
        grpc_server_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

int grpc_server_listen(struct grpc_server *s, const char *path, mode_t mode)
{
    struct grpc_loop *l = s->loop;
    struct listener *at = &l->listeners[l->nlisteners];
    int r;

    if (l->nlisteners == LISTEN_MAX)
        return -E_FILES;
    at->path = strdup(path);
    if (!at->path)
        return -E_NOMEM;
    at->fd = msg_listen(path, mode);
    r = at->fd < 0 ? at->fd : add_event(l, at->fd, at);
    if (r < 0) {
        if (at->fd >= 0)
            close(at->fd);
        free(at->path);
        return r;
    }
    l->nlisteners++;
    return 0;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void grpc_server_free(struct grpc_server *s)
{
    struct grpc_call *c;

    if (!s)
        return;
    if (s->loop) {
        listeners_close(s->loop);
        for (struct peer *p = s->loop->peers, *next; p; p = next) {
            next = p->next;
            peer_free(s->loop, p);
        }
        close_fd(s->loop->epoll);
    }
    if (s->pool)
        task_pool_stop(s->pool);
    if (s->streams)
        task_pool_stop(s->streams);
    while ((c = take_ready(s)))
        grpc_call_unref(c);
    close_fd(s->wake);
    close_fd(s->stop);
    lock_release(&s->lock);
    free(s->loop);
    free(s);
}
