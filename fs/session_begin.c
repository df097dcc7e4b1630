/* The beginning of a connection: the kernel's first message, or a former daemon's connection taken over. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/session_i.h"

#define INIT_WAIT_MS 5000
#define NOTIFY_RESEND_CODE 7

static ssize_t read_never(int fd, void *p, size_t len, void *arg)
{
    (void)fd;
    (void)p;
    (void)len;
    (void)arg;
    errno = ENOSYS;
    return -1;
}

/* An answer goes where its request came from; a libfuse that cannot do this writes all of them to fd. */
static bool answer_apart(struct fuse_session *fuse, int fd)
{
    static const struct fuse_custom_io io = {.writev = session__answer, .read = read_never};

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    return fuse_session_custom_io_317(fuse, &io, sizeof(io), fd) == 0;
#else
    return fuse_session_custom_io(fuse, &io, fd) == 0;
#endif
}

/* libfuse gets one end of a pair of sockets for the first answer, and the kernel's descriptor in its place afterwards. */
static int fuse_open(struct session *ss, int catcher[2])
{
    char name[] = "varve", path[32];
    char *argv[] = {name, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, catcher) < 0)
        return err_from_errno(errno);
    ss->fuse = fuse_session_new(&args, &op_table, sizeof(op_table), ss);
    fuse_opt_free_args(&args);
    snprintf(path, sizeof(path), "/dev/fd/%d", catcher[0]);
    ss->answers_apart = ss->fuse && answer_apart(ss->fuse, catcher[0]);
    if (ss->fuse && (ss->answers_apart || fuse_session_mount(ss->fuse, path) == 0))
        return 0;
    close(catcher[0]);
    close(catcher[1]);
    return -E_NOMEM;
}

/* Brings libfuse and the kernel together by the INIT request in req. answer: the kernel still waits for it. Takes catcher. */
static int begin(struct session *ss, const int catcher[2], const void *req, size_t len, bool answer)
{
    int r = init_answer(ss, req, len, catcher, answer ? ss->fd : -1);

    close(catcher[1]);
    if (r == 0 && dup3(ss->fd, catcher[0], O_CLOEXEC) < 0) /* libfuse closes it */
        r = err_from_errno(errno);
    return r;
}

static void keep_init(struct session *ss, const void *req, size_t len)
{
    size_t n = MIN_OF(len, sizeof(ss->init));

    memcpy(ss->init, req, n);
    __atomic_store_n(&ss->init_len, n, __ATOMIC_RELEASE);
}

/* A fresh connection: the kernel's first message is there when mount(2) has returned. */
static int begin_fresh(struct session *ss)
{
    struct pollfd p = {.fd = ss->fd, .events = POLLIN};
    struct worker w;
    int catcher[2];
    bool opened;
    size_t len = 0;
    int r = session__worker_init(&w, ss, false);

    if (r == 0 && poll(&p, 1, INIT_WAIT_MS) == 0)
        r = -E_TIMEOUT;
    if (r == 0 && (len = session__receive(&w)) == 0)
        r = -E_CLOSED;
    if (r == 0)
        r = fuse_open(ss, catcher);
    opened = r == 0;
    if (r == 0)
        r = session__ring_prepare(ss, w.in, len);
    if (r == 0)
        keep_init(ss, w.in, len);
    atomic_store(&ss->told, ss->vol->rec.live_view); /* the kernel has no name yet */
    if (r == 0 && ss->hooks.on_init)
        ss->hooks.on_init(ss->hooks.arg, ss, w.in, len);
    if (r == 0 && answer_door)
        answer_door(ANSWER_BEFORE_REPLY, OP_NONE);
    if (r == 0)
        r = begin(ss, catcher, w.in, len, true);
    else if (opened)
        close(catcher[1]);
    session__worker_release(&w);
    if (r < 0)
        log_err(r, "fs", "conn=%llx the kernel's first message was not answered",
                (unsigned long long)ss->conn);
    return r;
}

/* Requests that a former daemon had read and not answered come again, marked; kernels before 6.9 do not know this. */
static void ask_resend(struct session *ss)
{
    struct fuse_out_header h = {.len = sizeof(h), .error = NOTIFY_RESEND_CODE};

    if (BROKEN(VARVE_BREAK_no_resend))
        return;
    if (write(ss->fd, &h, sizeof(h)) < 0)
        log_warn("fs", "resend", "conn=%llx errno=%d: requests the former daemon had read wait for ever",
                 (unsigned long long)ss->conn, errno);
}
/* An O_TMPFILE that was made and not answered looks like an orphan to everybody. */
static void keep_unnamed(void *arg, const struct answer_rec *r)
{
    if (r->kind != OP_TMPFILE)
        return;
    notify_making(arg);
    notify_made(arg, r->value);
}

/* Ends a read(2) that waits for a request. */
static void on_wake(int sig)
{
    (void)sig;
}

/* Under the list's lock: its worker may find that the kernel has gone already, and its end must not come before this one's. */
static int session_ready(struct session *ss)
{
    int r;

    session__list_hold();
    r = session_worker(ss);
    atomic_store(&ss->ready, r == 0);
    session__list_release();
    rest_poke();
    return r;
}

void session_own(struct session *ss, int fd)
{
    ss->fd = fd;
}

/* What the kernel had given to the former daemon over io_uring nobody gets again, so the connection ends with it: whoever waits for an
 * answer is told, where otherwise he would wait for ever. */
static int take_over(struct session *ss, const struct session_past *past)
{
    int catcher[2];
    int r = fuse_open(ss, catcher);

    if (r == 0)
        r = begin(ss, catcher, past->init, past->init_len, false);
    if (r == 0 && ss->ring) {
        log_error("fs", "io_uring",
                  "conn=%llx cannot be taken over: what is mounted by it must be mounted anew",
                  (unsigned long long)ss->conn);
        return -E_NOTSUP;
    }
    return r;
}

/* What lies unread when its process is killed is forgotten by the kernel, although the former daemon may have done it. So that the first
 * worker reads at once, its buffer is in memory before the requests come again. */
static void warm(struct session *ss)
{
    struct worker w;

    (void)session__worker_init(&w, ss, false);
    session__worker_release(&w);
}

int session_start(struct session *ss, const struct session_past *past)
{
    struct sigaction act = {.sa_handler = on_wake};
    int r;

    sigaction(SIGUSR1, &act, NULL);
    rest_begin();
    session__list_add(ss);
    if (past && past->init_len == 0)
        ask_resend(ss);
    if (!past || past->init_len == 0) {
        r = begin_fresh(ss);
        if (r == 0 && ss->ring)
            r = session__ring_start(ss);
        return r < 0 ? r : session_ready(ss);
    }
    r = take_over(ss, past);
    if (r < 0)
        return r;
    keep_init(ss, past->init, past->init_len);
    atomic_store(&ss->told, past->told);
    answers_each(ss->env->store, ss->conn, keep_unnamed, ss);
    notify_taken_over(ss);
    warm(ss);
    ask_resend(ss);
    notify_unlinked(ss); /* what the former daemon had not reclaimed */
    return session_ready(ss);
}
/* --- without a kernel ---------------------------------------------------------------------------------------------------- */

int session_feed_begin(struct session *ss, int fd, const void *init, size_t len)
{
    int catcher[2];
    int r;

    ss->fd = fd;
    session__list_add(ss);
    atomic_store(&ss->workers, 1);
    r = fuse_open(ss, catcher);
    if (r == 0)
        r = begin(ss, catcher, init, len, true);
    if (r == 0 && ss->hooks.on_init)
        ss->hooks.on_init(ss->hooks.arg, ss, init, len);
    return r;
}

void session_feed(struct session *ss, const void *req, size_t len)
{
    struct worker w;

    if (session__worker_init(&w, ss, true) == 0 && len >= sizeof(struct fuse_in_header) &&
        len <= OP_BUF_SIZE) {
        memcpy(w.in, req, len);
        session__serve(&w, len);
    }
    session__worker_release(&w);
}

void session_feed_end(struct session *ss)
{
    atomic_store(&ss->ended, true);
    atomic_store(&ss->workers, 0);
    notify_end(ss);
}
