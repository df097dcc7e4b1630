#include "base/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/mark.h"
#include "base/rights.h"

#define FRAME_HDR 5u
#define SOCK_TRIES 100u
#define VERB_TRIES 500 /* of 20 ms */
#define VERB_DEATHS 2  /* daemons in a row that died when they were asked */
#define VERB_DIED_NS 1000000000ll
#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0) /* <linux/un.h>, which cannot be had beside <sys/un.h> */
#endif

bool sock_again(int e, unsigned *tries)
{
    struct timespec wait = {.tv_nsec = 10000000};

    if (e == EINTR)
        return true;
    if ((e != ENOBUFS && e != ENOMEM && e != ETOOMANYREFS) || ++*tries > SOCK_TRIES)
        return false;
    MARK("sock: the kernel has no room for a message");
    nanosleep(&wait, NULL);
    return true;
}

void sock_msg_free(struct sock_msg *m)
{
    buf_free(&m->data);
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
}

/* An address of fixed length for a path of any: the directory is held by a descriptor. */
static int address(int dir, const char *name, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dir, name) >=
        (int)sizeof(ret->sun_path))
        return -E_NAMETOOLONG;
    return 0;
}

static int open_dir(const char *store, int *ret)
{
    int fd = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_from_errno(errno);
    *ret = fd;
    return 0;
}

/* The store's directory, the address below it, a socket: the descriptors are the caller's to close in any case. */
static int open_place(const char *store, int *dir, struct sockaddr_un *a, int *s)
{
    int r = open_dir(store, dir);

    if (r < 0 || (r = address(*dir, "sock", a)) < 0)
        return r;
    *s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return *s < 0 ? err_from_errno(errno) : 0;
}

int sock_connect(const char *store, int *ret_fd)
{
    cleanup(fd_close) int dir = -1, s = -1;
    struct sockaddr_un a;
    int r = open_place(store, &dir, &a, &s);

    if (r < 0)
        return r;
    while (connect(s, (struct sockaddr *)&a, sizeof(a)) < 0) {
        if (errno == EINTR)
            continue;
        if (errno == ENOENT || errno == ECONNREFUSED)
            return -E_NOTMOUNTED;
        return err_from_errno(errno);
    }
    *ret_fd = s;
    s = -1;
    return 0;
}

int sock_listen(const char *store, int *ret_fd)
{
    cleanup(fd_close) int dir = -1, s = -1;
    struct sockaddr_un a;
    mode_t old;
    int r = open_place(store, &dir, &a, &s);

    if (r < 0)
        return r;
    if (unlinkat(dir, "sock", 0) < 0 && errno != ENOENT)
        return err_from_errno(errno);
    old = umask(0177);
    r = bind(s, (struct sockaddr *)&a, sizeof(a)) < 0 ? err_from_errno(errno) : 0;
    umask(old);
    if (r < 0)
        return r;
    if (listen(s, 64) < 0)
        return err_from_errno(errno);
    *ret_fd = s;
    s = -1;
    return 0;
}

bool sock_is_named(const char *store, int fd)
{
    cleanup(fd_close) int dir = -1, mine = -1;
    struct stat named, bound;

    if (open_dir(store, &dir) < 0 || fstatat(dir, "sock", &named, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    mine = ioctl(fd, SIOCUNIXFILE);
    if (mine < 0)
        return errno != ENOENT;
    return fstat(mine, &bound) == 0 && bound.st_dev == named.st_dev && bound.st_ino == named.st_ino;
}

static int send_all(int sock, const uint8_t *p, size_t len)
{
    unsigned tries = 0;

    while (len > 0) {
        ssize_t n = send(sock, p, len, MSG_NOSIGNAL);

        if (n < 0 && sock_again(errno, &tries))
            continue;
        if (n < 0)
            return errno == EPIPE || errno == ECONNRESET ? -E_CLOSED : err_from_errno(errno);
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The header, with the descriptor beside it if there is one. */
static int send_header(int sock, uint8_t hdr[FRAME_HDR], int fd)
{
    union rights_room room;
    struct iovec iov = {.iov_base = hdr, .iov_len = FRAME_HDR};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    unsigned tries = 0;
    ssize_t n;

    if (fd >= 0)
        rights_put(&m, &room, fd);
    do
        n = sendmsg(sock, &m, MSG_NOSIGNAL);
    while (n < 0 && sock_again(errno, &tries));
    if (n < 0)
        return errno == EPIPE || errno == ECONNRESET ? -E_CLOSED : err_from_errno(errno);
    return send_all(sock, hdr + n, FRAME_HDR - (size_t)n);
}

int sock_send(int sock, enum sock_kind kind, const void *p, size_t len, int fd)
{
    uint8_t hdr[FRAME_HDR];
    int r;

    if (len > SOCK_MAX)
        return -E_TOOBIG;
    put_le32(hdr, (uint32_t)len);
    hdr[4] = (uint8_t)kind;
    r = send_header(sock, hdr, fd);
    return r < 0 ? r : send_all(sock, p, len);
}

int sock_done(int sock, int exit_code, int err)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t code[4];
    int r;

    put_le32(code, (uint32_t)exit_code);
    if ((r = buf_add(&b, code, 4)) < 0 || (r = buf_puts(&b, err_name(err))) < 0 ||
        (r = buf_add(&b, "", 1)) < 0)
        return r;
    return sock_send(sock, SOCK_DONE, b.data, b.len, -1);
}

/* Reads exactly len bytes; a descriptor that comes along replaces *fd. */
static int recv_all(int sock, uint8_t *p, size_t len, int *fd)
{
    unsigned tries = 0;

    while (len > 0) {
        union rights_room room;
        struct iovec iov = {.iov_base = p, .iov_len = len};
        struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
        int came = -1;
        ssize_t n;

        rights_room_for(&m, &room);
        n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
        if (n < 0 && sock_again(errno, &tries))
            continue;
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return -E_CLOSED;
        if (n < 0)
            return err_from_errno(errno);
        if (rights_take(&m, &came) < 0)
            return -E_PROTO;
        if (came >= 0) {
            fd_close(fd);
            *fd = came;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int sock_recv(int sock, struct sock_msg *ret)
{
    cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;
    uint8_t hdr[FRAME_HDR];
    uint32_t len;
    int r = recv_all(sock, hdr, sizeof(hdr), &m.fd);

    if (r < 0)
        return r;
    len = get_le32(hdr);
    if (len > SOCK_MAX || hdr[4] < SOCK_REQUEST || hdr[4] > SOCK_FD)
        return -E_PROTO;
    if ((r = buf_reserve(&m.data, len + 1)) < 0 || (r = recv_all(sock, m.data.data, len, &m.fd)) < 0)
        return r;
    m.data.len = len;
    m.kind = (enum sock_kind)hdr[4];
    *ret = m;
    m = (struct sock_msg)SOCK_MSG_NONE;
    return 0;
}

int sock_words(struct buf *b, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int r = buf_add(b, words[i], strlen(words[i]) + 1);

        if (r < 0)
            return r;
    }
    return 0;
}

int sock_split(const struct buf *b, char *words[SOCK_WORDS_MAX], size_t *ret_n)
{
    size_t n = 0, at = 0;

    if (b->len == 0 || b->data[b->len - 1] != 0)
        return -E_PROTO;
    while (at < b->len) {
        if (n == SOCK_WORDS_MAX)
            return -E_TOOBIG;
        words[n] = (char *)b->data + at;
        at += strlen(words[n++]) + 1;
    }
    *ret_n = n;
    return 0;
}

/* One message of an answer; 1 when it was the last one. */
static int take_answer(struct sock_msg *m, int out, int err, int *ret_exit, int *ret_fd)
{
    switch (m->kind) {
    case SOCK_OUT: return io_write(out, m->data.data, m->data.len);
    case SOCK_ERR: return io_write(err, m->data.data, m->data.len);
    case SOCK_FD:
        if (!ret_fd)
            return 0;
        fd_close(ret_fd);
        *ret_fd = m->fd;
        m->fd = -1;
        return 0;
    case SOCK_DONE:
        if (m->data.len < 5)
            return -E_PROTO;
        *ret_exit = (int)get_le32(m->data.data);
        return 1;
    default: return -E_PROTO;
    }
}

/* *ret_fd is the caller's, also where the request could not be sent. */
static int request_send(const char *store, const struct buf *req, int *ret_fd)
{
    int r = sock_connect(store, ret_fd);

    return r < 0 ? r : sock_send(*ret_fd, SOCK_REQUEST, req->data, req->len, -1);
}

static int request(const char *store, const char *const *words, size_t n, int *ret_fd)
{
    cleanup(buf_free) struct buf req = {0};
    int r = sock_words(&req, words, n);

    return r < 0 ? r : request_send(store, &req, ret_fd);
}

int sock_call(const char *store, const char *const *words, size_t n, int out, int err, int *ret_exit,
              int *ret_fd)
{
    cleanup(fd_close) int s = -1, got = -1;
    int exit_code = 1;
    int r = request(store, words, n, &s);

    while (r == 0) {
        cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;

        r = sock_recv(s, &m);
        if (r == 0)
            r = take_answer(&m, out, err, &exit_code, ret_fd ? &got : NULL);
    }
    if (r < 0)
        return r;
    *ret_exit = exit_code;
    if (ret_fd) {
        *ret_fd = got;
        got = -1;
    }
    return 0;
}

int sock_ask(const char *store, const char *const *words, size_t n, struct buf *out)
{
    cleanup(fd_close) int s = -1;
    int r = request(store, words, n, &s);

    while (r == 0) {
        cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;

        r = sock_recv(s, &m);
        if (r == 0 && m.kind == SOCK_DONE)
            return m.data.len >= 4 && get_le32(m.data.data) == 0 ? 0 : -E_FAILED;
        if (r == 0)
            r = buf_add(out, m.data.data, m.data.len);
    }
    return r;
}

/* --- a verb ------------------------------------------------------------------------------------------------------- */

void sock_answer_free(struct sock_answer *a)
{
    buf_free(&a->out);
    buf_free(&a->err);
}

/* One message of the answer; 1: it was the last. */
static int take_part(const struct sock_msg *m, struct sock_answer *a)
{
    switch (m->kind) {
    case SOCK_OUT: return buf_add(&a->out, m->data.data, m->data.len);
    case SOCK_ERR: return buf_add(&a->err, m->data.data, m->data.len);
    case SOCK_DONE: break;
    default: return -E_PROTO;
    }
    if (m->data.len < 5 || m->data.data[m->data.len - 1] != 0)
        return -E_PROTO;
    a->exit_code = (int)get_le32(m->data.data);
    snprintf(a->result, sizeof(a->result), "%s", (const char *)m->data.data + 4);
    return 1;
}

static int verb_once(const char *store, const struct buf *req, struct sock_answer *ret)
{
    cleanup(fd_close) int s = -1;
    int r = request_send(store, req, &s);

    while (r == 0) {
        cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;

        r = sock_recv(s, &m);
        if (r == 0)
            r = take_part(&m, ret);
    }
    return r < 0 ? r : 0;
}

/* Which daemon serves the store now; 0: nobody says. */
static int who_serves(const char *store)
{
    cleanup(buf_free) struct buf out = {0};
    const char *word = "who";

    return sock_ask(store, &word, 1, &out) == 0 && buf_cstr(&out) ? (int)strtol(buf_cstr(&out), NULL, 10) : 0;
}

/* Nobody answered, and another daemon is there: has the one before died of it at once, and the one before that? */
struct deaths {
    int daemon;
    unsigned n;
};

static bool dies_of_it(struct deaths *d, const char *store, int64_t asked_ns)
{
    bool at_once = clock_mono_ns() - asked_ns < VERB_DIED_NS;
    int daemon = who_serves(store);

    if (daemon == 0 || daemon == d->daemon || BROKEN(VARVE_BREAK_verb_deaths))
        return false;
    d->daemon = daemon;
    d->n = at_once ? d->n + 1 : 0;
    return d->n == VERB_DEATHS;
}

/* A daemon that ends in good order takes no more requests and removes its socket; one that died or made room for another is replaced,
 * and the next one is asked the same again. */
int sock_verb(const char *store, const struct buf *words, struct sock_answer *ret)
{
    struct timespec wait = {.tv_nsec = 20000000};
    cleanup(buf_free) struct buf req = {0};
    struct deaths deaths = {0};
    uint64_t number = 0;
    char id[32];
    const char *head[] = {"verb", id};
    int r;

    hash_random(&number, sizeof(number));
    snprintf(id, sizeof(id), "#%llx", (unsigned long long)number | 1);
    r = sock_words(&req, head, ARRAY_LEN(head));
    if (r == 0)
        r = buf_add(&req, words->data, words->len);
    for (int i = 0; r == 0 && i < VERB_TRIES; i++) {
        int64_t asked_ns = clock_mono_ns();

        r = verb_once(store, &req, ret);
        if (r != -E_CLOSED || ret->out.len > 0 || ret->err.len > 0)
            return r;
        r = dies_of_it(&deaths, store, asked_ns) ? -E_DIES : 0;
        if (r == 0)
            nanosleep(&wait, NULL);
    }
    return r < 0 ? r : -E_CLOSED;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

/* The whole lines of b; what follows them stays. */
static int lines_take(struct buf *b, int (*line)(void *arg, char *s, size_t len), void *arg)
{
    size_t at = 0;
    uint8_t *nl;
    int r = 0;

    while (r >= 0 && b->len > at && (nl = memchr(b->data + at, '\n', b->len - at))) {
        size_t len = (size_t)(nl - b->data) - at;

        *nl = 0;
        r = line(arg, (char *)b->data + at, len);
        at += len + 1;
    }
    if (at > 0)
        memmove(b->data, b->data + at, b->len - at);
    b->len -= at;
    return MIN_OF(r, 0);
}

int sock_lines(const char *store, const char *const *words, size_t n,
               int (*line)(void *arg, char *s, size_t len), void *arg, struct sock_answer *ret)
{
    cleanup(fd_close) int s = -1;
    int r = request(store, words, n, &s);

    while (r == 0) {
        cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;

        r = sock_recv(s, &m);
        if (r == 0)
            r = take_part(&m, ret);
        if (r == 0)
            r = lines_take(&ret->out, line, arg);
    }
    return r == 1 && ret->out.len > 0 ? -E_PROTO : MIN_OF(r, 0);
}

int sock_peer(int sock, struct sock_peer *ret)
{
    struct ucred c;
    socklen_t len = sizeof(c);

    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0)
        return err_from_errno(errno);
    *ret = (struct sock_peer){.pid = c.pid, .uid = c.uid, .gid = c.gid};
    return 0;
}
