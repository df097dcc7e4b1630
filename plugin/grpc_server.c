/* The loop: sockets in and out, calls that workers hand back, deadlines, the end. */
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/msg.h"
#include "plugin/grpc_i.h"
#include "plugin/tcp.h"

#define LISTEN_MAX 4
#define EVENTS 32
#define READ_SIZE (64u << 10)
#define MS 1000000

#define MINUTE (60000 * (int64_t)MS)
#define ACCEPTS 16 /* of one listener, then the others have their turn */

struct listener {
    int fd;
    char *path;              /* NULL: of TCP */
    struct tls_files *files; /* of TCP */
    uint64_t version;        /* of the files, when they were looked at last */
    int64_t said_ns;         /* when it was told last that they cannot be used */
};

struct grpc_loop {
    int epoll;
    struct listener listeners[LISTEN_MAX];
    size_t nlisteners;
    struct grpc_peer *peers;
    unsigned npeers, nfar; /* of Unix sockets; of TCP */
    int64_t looked_ns;     /* at certificates */
    int64_t stops_ns;      /* 0: it does not stop */
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

static void watch(struct grpc_loop *l, struct grpc_peer *p, int how)
{
    struct epoll_event e = {.events = EPOLLIN | (p->pipe.waits ? EPOLLOUT : 0u), .data.ptr = p};

    epoll_ctl(l->epoll, how, p->pipe.fd, &e);
}

static struct grpc_peer *peer_add(struct grpc_server *s, int fd, struct tls *tls)
{
    struct grpc_loop *l = s->loop;
    struct grpc_peer *p;

    if (grpc_peer_new(s, fd, tls, &p) < 0)
        return NULL;
    p->next = l->peers;
    l->peers = p;
    *(tls ? &l->nfar : &l->npeers) += 1;
    watch(l, p, EPOLL_CTL_ADD);
    return p;
}

/* One more over TCP: the one that has been shaking hands for longest makes room. */
static bool far_room(struct grpc_server *s)
{
    struct grpc_peer *oldest = NULL;
    unsigned n = 0;

    for (struct grpc_peer *p = s->loop->peers; p; p = p->next) {
        n += p->pipe.tls && !p->pipe.dead;
        if (!grpc_pipe_is_open(&p->pipe) && !p->pipe.dead)
            oldest = p; /* they stand newest first */
    }
    if (n < s->o.far_max)
        return true;
    if (oldest && !BROKEN(VARVE_BREAK_grpc_oldest))
        oldest->pipe.dead = true; /* taken out before the loop waits again */
    return oldest != NULL;
}

static void say_unusable(struct listener *at)
{
    int64_t now = clock_mono_ns();

    if (at->said_ns && now - at->said_ns < MINUTE)
        return;
    at->said_ns = now;
    log_warn("grpc", "no-certificates", "why=\"%s\" do=\"nobody is let in over TCP\"",
             tls_files_why(at->files));
}

static bool look_at_files(struct grpc_server *s, struct listener *at)
{
    uint64_t version;
    bool usable = tls_files_look(at->files, &version);

    if (!usable)
        say_unusable(at);
    if (version != at->version)
        for (struct grpc_peer *p = s->loop->peers; p; p = p->next)
            if (p->pipe.tls && p->version != version && !p->leaving) {
                p->leaving = true;
                grpc_conn_goaway(p->conn);
            }
    at->version = version;
    return usable;
}

/* Also while nobody comes: who was let in by other certificates is told to come anew. */
static void files_turn(struct grpc_server *s, int64_t now)
{
    struct grpc_loop *l = s->loop;

    if (l->nfar == 0 || now - l->looked_ns < (int64_t)s->o.ping_ms * MS / 2)
        return;
    l->looked_ns = now;
    for (size_t i = 0; i < l->nlisteners; i++)
        if (l->listeners[i].files)
            look_at_files(s, &l->listeners[i]);
}

static void far_add(struct grpc_server *s, struct listener *at, int fd)
{
    struct grpc_peer *p;
    struct tls *tls;

    if (!look_at_files(s, at) || !far_room(s) || tls_new(at->files, &tls) < 0) {
        close(fd);
        return;
    }
    tcp_tune(fd);
    p = peer_add(s, fd, tls);
    if (p)
        p->version = at->version;
}

static void accept_some(struct grpc_server *s, struct listener *at)
{
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(at->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return;
        if (at->files)
            far_add(s, at, fd);
        else if (s->loop->npeers < s->o.conns_max)
            peer_add(s, fd, NULL);
        else
            close(fd);
    }
}

static void peer_write(struct grpc_loop *l, struct grpc_peer *p)
{
    bool waited = p->pipe.waits;

    grpc_pipe_write(&p->pipe);
    if (p->pipe.waits != waited && !p->pipe.dead)
        watch(l, p, EPOLL_CTL_MOD);
}

/* A child that is between fork and exec has the descriptor, too: closing it here would leave it watched. */
static void peer_free(struct grpc_loop *l, struct grpc_peer *p)
{
    *(p->pipe.tls ? &l->nfar : &l->npeers) -= 1;
    if (!BROKEN(VARVE_BREAK_grpc_watched))
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, p->pipe.fd, NULL);
    grpc_peer_free(p);
}

/* Sends what there is to send, and takes out who is gone. Calls above may have ended by it. The nearest deadline, 0: none. */
static int64_t peers_turn(struct grpc_server *s)
{
    struct grpc_loop *l = s->loop;
    int64_t now = clock_mono_ns(), nearest = 0;

    files_turn(s, now);
    for (struct grpc_peer **at = &l->peers; *at;) {
        struct grpc_peer *p = *at;
        int64_t next = grpc_peer_expire(s, p, now);

        if (!p->pipe.waits)
            peer_write(l, p);
        if (p->pipe.dead || (p->pipe.out_len == 0 && grpc_conn_over(p->conn))) {
            *at = p->next;
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
        if (l->listeners[i].path)
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
    for (struct grpc_peer *p = l->peers; p; p = p->next) {
        grpc_conn_goaway(p->conn);
        p->pipe.dead |= !grpc_pipe_is_open(&p->pipe); /* nobody whom it could be said to */
    }
}

/* *ret NULL: of one that is closed. */
static bool is_listener(struct grpc_loop *l, void *p, struct listener **ret)
{
    struct listener *at = p;

    if (at < l->listeners || at >= l->listeners + LISTEN_MAX)
        return false;
    *ret = at < l->listeners + l->nlisteners ? at : NULL;
    return true;
}

static void handle(struct grpc_server *s, const struct epoll_event *e)
{
    struct grpc_loop *l = s->loop;
    struct grpc_peer *p = e->data.ptr;
    struct listener *at;

    if (e->data.ptr == &s->stop) {
        begin_stop(s);
    } else if (e->data.ptr == &s->wake) {
        grpc_server_settle(s);
    } else if (is_listener(l, e->data.ptr, &at)) {
        if (at)
            accept_some(s, at);
    } else {
        if (e->events & EPOLLOUT)
            peer_write(l, p);
        if (e->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            grpc_pipe_read(&p->pipe, l->in, sizeof(l->in));
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
        nearest = peers_turn(s);
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
    o->far_max = o->far_max ? o->far_max : 32;
    o->shake_ms = o->shake_ms ? o->shake_ms : 5000;
    o->ping_ms = o->ping_ms ? o->ping_ms : 20000;
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
    *at = (struct listener){.path = strdup(path)};
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

static unsigned port_of(int fd)
{
    struct tcp_addr a = {.len = sizeof(a.a)};
    const struct sockaddr *any = (const struct sockaddr *)&a.a;

    if (getsockname(fd, (struct sockaddr *)&a.a, &a.len) < 0)
        return 0;
    return be16toh(any->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)(const void *)any)->sin6_port
                                              : ((const struct sockaddr_in *)(const void *)any)->sin_port);
}

int grpc_server_listen_tls(struct grpc_server *s, const char *address, struct tls_files *files,
                           unsigned *ret_port)
{
    struct grpc_loop *l = s->loop;
    struct listener *at = &l->listeners[l->nlisteners];
    struct tcp_addr a;
    int r = l->nlisteners < LISTEN_MAX ? tcp_parse(address, &a) : -E_FILES, fd;

    assert(s->o.find_far);
    if (r < 0)
        return r;
    fd = tcp_listen(&a);
    r = fd < 0 ? fd : add_event(l, fd, at);
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    *at = (struct listener){.fd = fd, .files = files};
    l->nlisteners++;
    if (ret_port)
        *ret_port = port_of(fd);
    if (!look_at_files(s, at))
        at->said_ns = clock_mono_ns();
    return 0;
}

void grpc_server_free(struct grpc_server *s)
{
    struct grpc_call *c;

    if (!s)
        return;
    if (s->loop) {
        listeners_close(s->loop);
        for (struct grpc_peer *p = s->loop->peers, *next; p; p = next) {
            next = p->next;
            peer_free(s->loop, p);
        }
        fd_close(&s->loop->epoll);
    }
    if (s->pool)
        task_pool_stop(s->pool);
    if (s->streams)
        task_pool_stop(s->streams);
    while ((c = take_ready(s)))
        grpc_call_unref(c);
    fd_close(&s->wake);
    fd_close(&s->stop);
    lock_release(&s->lock);
    free(s->loop);
    free(s);
}
