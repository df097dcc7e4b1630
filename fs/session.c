#include "fs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/op.h"
#include "fs/snapdir.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define WORKERS_KEPT 3 /* wait for requests even when nothing is to be done */
#define WORKERS_OVER                                                                                         \
    2 /* more than these stay for a while: to end and begin a thread costs as much as several requests */
#define TURNS_OVER 1000 /* requests long */
#define WORKERS_MAX 16
#define WORKER_STACK (1u << 20) /* address space; touched as far as needed */
#define TOUCHED_BYTES (128u << 10)
#define BUFFERS_SPARE 4u
#define INIT_WAIT_MS 5000
#define QUIET_MS 2000 /* a worker that gave a large answer and then none for so long gives its pages back */
#define RESTS SIZE_MAX
#define NOTIFY_RESEND_CODE 7
#define UNIQUE_RESENT (1ull << 63) /* in a request that was sent again */
#define SETTLE_STEP_NS 500000
#define SETTLE_STEPS 1000

struct worker {
    struct session *ss;
    uint8_t *in, *room; /* OP_BUF_SIZE each; room is untouched until used */
    uint32_t setxattr_flags;
    struct answer_rec answer;
    bool known; /* answer is that of a former daemon to this request */
    pthread_t thread;
    struct worker *next; /* all of this process; guarded by workers_lock */
    uint64_t moved;      /* atomic: see io_moved */
    int64_t since_ns;    /* atomic: when its request came; 0: it has none */
    uint64_t seen_moved; /* of session_still_ms() */
    int64_t seen_ns;
    unsigned over; /* requests in a row after which it was one of too many */
    bool touched;  /* more than TOUCHED_BYTES of room are in memory */
};

static _Thread_local struct worker *me;
static pthread_mutex_t workers_lock = PTHREAD_MUTEX_INITIALIZER; /* guards workers */
static struct worker *workers;
static atomic_bool leaving;                                       /* no more requests are read */
static pthread_mutex_t sessions_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list */
static struct session *sessions;

const struct fuse_in_header *op_header(void)
{
    return (const struct fuse_in_header *)me->in;
}

uint8_t *op_room(void)
{
    return me->room;
}

uint32_t op_setxattr_flags(void)
{
    return me->setxattr_flags;
}

const struct answer_rec *op_known(void)
{
    return me->known ? &me->answer : NULL;
}

int op_known_attr(const struct session *ss, uint64_t ino, struct vfs_attr *ret)
{
    return vfs_getattr(ss->vol, vfs_node_make(ss->vol->rec.live_view, ino), ret);
}

struct vfs_ctx op_ctx(fuse_req_t req)
{
    const struct fuse_ctx *c = fuse_req_ctx(req);

    return (struct vfs_ctx){.uid = c->uid,
                            .gid = c->gid,
                            .umask = c->umask,
                            .conn = op_session(req)->conn,
                            .unique = op_header()->unique & ~UNIQUE_RESENT};
}

/* --- the loop ---------------------------------------------------------------------------------------------------------- */

static uint8_t *map_buffer(int flags)
{
    void *p = mmap(NULL, OP_BUF_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* For requests: all of it is in memory before one is read. A request that the kernel is copying to a page not in memory when this
 * process is killed is lost to its caller (EIO), where otherwise the next daemon gets it. As that takes a while, a few are kept. */
static pthread_mutex_t spare_lock = PTHREAD_MUTEX_INITIALIZER; /* guards spare */
static uint8_t *spare[BUFFERS_SPARE];

static uint8_t *request_buffer(void)
{
    uint8_t *p = NULL;

    pthread_mutex_lock(&spare_lock);
    for (size_t i = 0; i < BUFFERS_SPARE && !p; i++)
        p = TAKE(spare[i]);
    pthread_mutex_unlock(&spare_lock);
    if (p)
        return p;
    p = map_buffer(MAP_POPULATE);
    if (p) {
        (void)mlock(p, OP_BUF_SIZE); /* where it is allowed */
        madvise(p, OP_BUF_SIZE,
                MADV_DONTFORK); /* shared with a child its pages would have to be copied first */
    }
    return p;
}

static void request_buffer_free(uint8_t *p)
{
    pthread_mutex_lock(&spare_lock);
    for (size_t i = 0; i < BUFFERS_SPARE && p; i++)
        if (!spare[i])
            spare[i] = TAKE(p);
    pthread_mutex_unlock(&spare_lock);
    if (p)
        munmap(p, OP_BUF_SIZE);
}

static void worker_release(struct worker *w)
{
    request_buffer_free(w->in);
    if (w->room)
        munmap(w->room, OP_BUF_SIZE);
}

/* One request into w->in. 0 when the connection has ended, RESTS when the worker is to leave. */
static size_t receive(struct worker *w)
{
    struct session *ss = w->ss;

    for (;;) {
        struct pollfd p = {.fd = ss->fd, .events = POLLIN};
        ssize_t n;

        if (atomic_load(&leaving))
            return 0;
        if (w->touched && poll(&p, 1, QUIET_MS) == 0) {
            madvise(w->room, OP_BUF_SIZE, MADV_DONTNEED);
            w->touched = false;
        }
        n = read(ss->fd, w->in, OP_BUF_SIZE);
        if (n >= (ssize_t)sizeof(struct fuse_in_header))
            return (size_t)n;
        if (n < 0 && errno == EINTR && atomic_load(&ss->rest))
            return RESTS;
        if (n < 0 &&
            (errno == EINTR || errno == EAGAIN || errno == ENOENT)) /* ENOENT: taken back meanwhile */
            continue;
        if (n < 0 && errno != ENODEV && errno != ECONNABORTED)
            log_error("fs", "receive", "conn=%llx errno=%d", (unsigned long long)ss->conn, errno);
        return 0;
    }
}

/* The extended form of SETXATTR becomes the plain one that every libfuse parses; its flags are kept aside. */
static size_t shorten_setxattr(struct worker *w, size_t len)
{
    struct fuse_in_header *h = (struct fuse_in_header *)w->in;
    const size_t plain = sizeof(*h) + FUSE_COMPAT_SETXATTR_IN_SIZE;
    const size_t full = sizeof(*h) + sizeof(struct fuse_setxattr_in);

    w->setxattr_flags = 0;
    if (h->opcode != FUSE_SETXATTR || len < full)
        return len;
    w->setxattr_flags = ((const struct fuse_setxattr_in *)(h + 1))->setxattr_flags;
    memmove(w->in + plain, w->in + full, len - full);
    h->len = (uint32_t)(len - (full - plain));
    return h->len;
}

/* No kernel sends such a thing; whoever else does gets no more than an error. */
static void refuse(struct worker *w)
{
    const struct fuse_in_header *h = (const struct fuse_in_header *)w->in;
    struct fuse_out_header out = {.len = sizeof(out), .error = -EINVAL, .unique = h->unique};

    log_warn("fs", "malformed", "conn=%llx opcode=%u len=%u", (unsigned long long)w->ss->conn, h->opcode,
             h->len);
    if (h->opcode != FUSE_FORGET && h->opcode != FUSE_BATCH_FORGET && h->opcode != FUSE_INTERRUPT &&
        write(w->ss->fd, &out, sizeof(out)) < 0)
        log_warn("fs", "malformed", "conn=%llx errno=%d", (unsigned long long)w->ss->conn, errno);
}

static void serve(struct worker *w, size_t len)
{
    const struct fuse_in_header *h = (const struct fuse_in_header *)w->in;
    struct fuse_buf b = {.mem = w->in};

    if (h->opcode < OP_CODES)
        atomic_fetch_add_explicit(&w->ss->requests[h->opcode], 1, memory_order_relaxed);
    if (h->opcode == FUSE_READ && ((const struct fuse_read_in *)(h + 1))->size > TOUCHED_BYTES)
        w->touched = true;
    if (h->opcode == FUSE_INIT && h->unique & UNIQUE_RESENT) {
        if (init_answer_again(w->ss, h) < 0)
            log_error("fs", "init", "conn=%llx errno=%d", (unsigned long long)w->ss->conn, errno);
        return;
    }
    b.size = shorten_setxattr(w, len);
    if (!op_request_fits(h, b.size)) {
        refuse(w);
        return;
    }
    w->known = answer_begin(w->ss->env->store, w->ss->conn, h->unique & ~UNIQUE_RESENT,
                            (h->unique & UNIQUE_RESENT) != 0, &w->answer);
    if (h->unique & UNIQUE_RESENT)
        atomic_fetch_add_explicit(&w->ss->resent, 1, memory_order_relaxed);
    if (w->known)
        atomic_fetch_add_explicit(&w->ss->known, 1, memory_order_relaxed);
    fuse_session_process_buf(w->ss->fuse, &b);
    answer_end();
}

static int worker_spawn(struct session *ss);

/* So many wait already: is this worker one too many? */
static bool is_over(struct worker *w, unsigned idle)
{
    if (idle < WORKERS_KEPT)
        w->over = 0;
    else
        w->over++;
    return idle >= WORKERS_KEPT + WORKERS_OVER || w->over > TURNS_OVER;
}

/* Leaves one reader at least: when the last idle worker takes a request, another one is started. */
static void worker_loop(struct worker *w)
{
    struct session *ss = w->ss;

    for (;;) {
        size_t len;

        if (is_over(w, atomic_fetch_add(&ss->idle, 1))) {
            atomic_fetch_sub(&ss->idle, 1);
            return;
        }
        len = receive(w);
        if (len == RESTS) {
            atomic_fetch_sub(&ss->idle, 1);
            return;
        }
        if (atomic_load_explicit(&ss->rest, memory_order_relaxed))
            atomic_store(&ss->rest, false);
        if (atomic_fetch_sub(&ss->idle, 1) == 1 && len > 0)
            worker_spawn(ss);
        if (len == 0) {
            atomic_store(&ss->ended, !atomic_load(&leaving));
            return;
        }
        __atomic_store_n(&w->since_ns, clock_mono_ns(), __ATOMIC_RELAXED);
        serve(w, len);
        __atomic_store_n(&w->since_ns, 0, __ATOMIC_RELAXED);
    }
}

static void worker_enter(struct worker *w)
{
    w->thread = pthread_self();
    io_moved = &w->moved;
    pthread_mutex_lock(&workers_lock);
    w->next = workers;
    workers = w;
    pthread_mutex_unlock(&workers_lock);
}

static void worker_leave(struct worker *w)
{
    pthread_mutex_lock(&workers_lock);
    for (struct worker **at = &workers; *at; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    pthread_mutex_unlock(&workers_lock);
    io_moved = NULL;
}

/* A worker leaves. After the last one the connection has ended, or rests, or had no memory for another. Under the list's lock, so that
 * whoever looks after those that rest sees it before or after; ss may be gone on return. */
static void worker_gone(struct session *ss)
{
    bool rests = false;

    pthread_mutex_lock(&sessions_lock);
    if (atomic_fetch_sub(&ss->workers, 1) == 1 && !atomic_load(&leaving)) {
        rests = !atomic_load(&ss->ended);
        if (!rests)
            notify_end(ss);
    }
    pthread_mutex_unlock(&sessions_lock);
    if (rests)
        rest_poke();
}

static void *worker_main(void *arg)
{
    struct worker w = {.ss = arg};
    struct session *ss = arg;

    prctl(PR_SET_NAME, "varve-worker");
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); /* where it is allowed */
    w.in = request_buffer();
    w.room = map_buffer(MAP_NORESERVE);
    me = &w;
    worker_enter(&w);
    if (w.in && w.room)
        worker_loop(&w);
    else
        log_error("fs", "worker", "no memory for its buffers");
    worker_leave(&w);
    me = NULL;
    worker_release(&w);
    worker_gone(ss);
    return NULL;
}

static int worker_spawn(struct session *ss)
{
    pthread_attr_t attr;
    pthread_t t;
    int e;

    if (atomic_fetch_add(&ss->workers, 1) >= WORKERS_MAX && !BROKEN(VARVE_BREAK_workers)) {
        atomic_fetch_sub(&ss->workers, 1);
        return 0;
    }
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    e = pthread_create(&t, &attr, worker_main, ss);
    pthread_attr_destroy(&attr);
    if (e == 0)
        return 0;
    atomic_fetch_sub(&ss->workers, 1);
    return err_from_errno(e);
}

/* --- the first message --------------------------------------------------------------------------------------------------- */

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
    if (ss->fuse && fuse_session_mount(ss->fuse, path) == 0)
        return 0;
    close(catcher[0]);
    close(catcher[1]);
    return -E_NOMEM;
}

/* Brings libfuse and the kernel together by the INIT request in req. answer: the kernel still waits for it. */
static int begin(struct session *ss, int fd, const void *req, size_t len, bool answer)
{
    int catcher[2];
    int r = fuse_open(ss, catcher);

    if (r < 0)
        return r;
    r = init_answer(ss, req, len, catcher, answer ? fd : -1);
    close(catcher[1]);
    if (r == 0 && dup3(fd, catcher[0], O_CLOEXEC) < 0) /* libfuse closes it */
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
    struct worker w = {.ss = ss, .in = request_buffer()};
    size_t len = 0;
    int r = w.in ? 0 : -E_NOMEM;

    if (r == 0 && poll(&p, 1, INIT_WAIT_MS) == 0)
        r = -E_TIMEOUT;
    if (r == 0 && (len = receive(&w)) == 0)
        r = -E_CLOSED;
    if (r == 0)
        keep_init(ss, w.in, len);
    if (r == 0 && ss->hooks.on_init)
        ss->hooks.on_init(ss->hooks.arg, ss, w.in, len);
    if (r == 0 && answer_door)
        answer_door(ANSWER_BEFORE_REPLY, OP_NONE);
    if (r == 0)
        r = begin(ss, ss->fd, w.in, len, true);
    worker_release(&w);
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

static void sessions_add(struct session *ss)
{
    pthread_mutex_lock(&sessions_lock);
    ss->next = sessions;
    sessions = ss;
    pthread_mutex_unlock(&sessions_lock);
}

static void sessions_remove(struct session *ss)
{
    pthread_mutex_lock(&sessions_lock);
    for (struct session **at = &sessions; *at; at = &(*at)->next)
        if (*at == ss) {
            *at = ss->next;
            break;
        }
    pthread_mutex_unlock(&sessions_lock);
}

/* No request is in the kernel's queue, and none is being served. */
static bool is_quiet(void)
{
    bool quiet = true;

    pthread_mutex_lock(&sessions_lock);
    for (struct session *ss = sessions; ss && quiet; ss = ss->next) {
        struct pollfd p = {.fd = ss->fd, .events = POLLIN};

        if (atomic_load(&ss->ended))
            continue;
        quiet = poll(&p, 1, 0) == 0 && atomic_load(&ss->idle) >= atomic_load(&ss->workers);
    }
    pthread_mutex_unlock(&sessions_lock);
    return quiet;
}

void session_settle(void)
{
    struct timespec wait = {.tv_nsec = SETTLE_STEP_NS};
    unsigned quiet = 0;

    /* twice: a worker that has just been given a request is not seen for a moment */
    for (int i = 0; i < SETTLE_STEPS && quiet < 2; i++) {
        if (i > 0)
            nanosleep(&wait, NULL);
        quiet = is_quiet() ? quiet + 1 : 0;
    }
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

    pthread_mutex_lock(&sessions_lock);
    r = worker_spawn(ss);
    atomic_store(&ss->ready, r == 0);
    pthread_mutex_unlock(&sessions_lock);
    rest_poke();
    return r;
}

int session_start(struct session *ss, int fd, const void *init, size_t init_len)
{
    struct sigaction act = {.sa_handler = on_wake};
    int r;

    sigaction(SIGUSR1, &act, NULL);
    rest_begin();
    ss->fd = fd;
    sessions_add(ss);
    if (init && init_len == 0)
        ask_resend(ss);
    if (init_len == 0) {
        r = begin_fresh(ss);
        return r < 0 ? r : session_ready(ss);
    }
    r = begin(ss, fd, init, init_len, false);
    if (r < 0)
        return r;
    keep_init(ss, init, init_len);
    answers_each(ss->env->store, ss->conn, keep_unnamed, ss);
    notify_names_stale(ss); /* the former daemon may have moved names and died before it could say so */
    ask_resend(ss);
    notify_unlinked(ss); /* what the former daemon had not reclaimed */
    return session_ready(ss);
}

/* --- leaving, and being watched over ----------------------------------------------------------------------------------------- */

static bool wake_workers(void)
{
    bool any = false;

    pthread_mutex_lock(&workers_lock);
    for (struct worker *w = workers; w; w = w->next) {
        any = true;
        pthread_kill(w->thread, SIGUSR1);
    }
    pthread_mutex_unlock(&workers_lock);
    return any;
}

void session_wake_idle(struct session *ss)
{
    pthread_mutex_lock(&workers_lock);
    for (struct worker *w = workers; w; w = w->next)
        if (w->ss == ss && __atomic_load_n(&w->since_ns, __ATOMIC_RELAXED) == 0)
            pthread_kill(w->thread, SIGUSR1);
    pthread_mutex_unlock(&workers_lock);
}

int session_worker(struct session *ss)
{
    return worker_spawn(ss);
}

void sessions_each(void (*cb)(struct session *ss, void *arg), void *arg)
{
    pthread_mutex_lock(&sessions_lock);
    for (struct session *ss = sessions; ss; ss = ss->next)
        cb(ss, arg);
    pthread_mutex_unlock(&sessions_lock);
}

bool session_leave_all(unsigned timeout_ms)
{
    int64_t until = clock_mono_ns() + timeout_ms * 1000000ll;
    struct timespec wait = {.tv_nsec = SETTLE_STEP_NS};

    atomic_store(&leaving, true);
    while (wake_workers()) { /* again and again: the signal may come just before the read */
        if (clock_mono_ns() > until)
            return false;
        nanosleep(&wait, NULL);
    }
    return true;
}

size_t session_init_bytes(const struct session *ss, void *p, size_t size)
{
    size_t n = MIN_OF(__atomic_load_n(&ss->init_len, __ATOMIC_ACQUIRE), size);

    memcpy(p, ss->init, n);
    return n;
}

/* Nanoseconds that a worker's request has stood still, and how long it is being carried out. */
static int64_t still_ns(struct worker *w, int64_t now, int64_t *ret_age)
{
    int64_t since = __atomic_load_n(&w->since_ns, __ATOMIC_RELAXED);
    uint64_t moved = __atomic_load_n(&w->moved, __ATOMIC_RELAXED);

    *ret_age = since ? now - since : 0;
    if (!since || moved != w->seen_moved) {
        w->seen_moved = moved;
        w->seen_ns = now;
        return 0;
    }
    return now - MAX_OF(since, w->seen_ns);
}

unsigned session_still_ms(void)
{
    int64_t now = clock_mono_ns(), worst = 0, oldest_moving = 0;

    pthread_mutex_lock(&workers_lock);
    for (struct worker *w = workers; w; w = w->next) {
        int64_t age, still = still_ns(w, now, &age);

        worst = MAX_OF(worst, still);
        if (still < age / 2)
            oldest_moving = MAX_OF(oldest_moving, age);
    }
    pthread_mutex_unlock(&workers_lock);
    /* short requests that come and go say nothing of one that waits; a long one that moves may be what it waits for */
    return oldest_moving * 2 > worst ? 0 : (unsigned)(worst / 1000000);
}

/* --- life ----------------------------------------------------------------------------------------------------------------- */

/* --- without a kernel ---------------------------------------------------------------------------------------------------- */

int session_feed_begin(struct session *ss, int fd, const void *init, size_t len)
{
    int r;

    ss->fd = fd;
    sessions_add(ss);
    atomic_store(&ss->workers, 1);
    r = begin(ss, fd, init, len, true);
    if (r == 0 && ss->hooks.on_init)
        ss->hooks.on_init(ss->hooks.arg, ss, init, len);
    return r;
}

void session_feed(struct session *ss, const void *req, size_t len)
{
    struct worker w = {.ss = ss, .in = request_buffer(), .room = map_buffer(MAP_NORESERVE)};

    if (w.in && w.room && len >= sizeof(struct fuse_in_header) && len <= OP_BUF_SIZE) {
        memcpy(w.in, req, len);
        me = &w;
        serve(&w, len);
        me = NULL;
    }
    worker_release(&w);
}

void session_feed_end(struct session *ss)
{
    atomic_store(&ss->ended, true);
    atomic_store(&ss->workers, 0);
    notify_end(ss);
}

static int session_init(struct session *ss, const char *snap)
{
    int r;

    if (snap) {
        ss->snap = strdup(snap);
        if (!ss->snap)
            return -E_NOMEM;
        ss->opts.ro = true;
        ss->opts.snapdir = SNAPDIR_DISABLED;
        r = view_enter_readonly(ss->vol, snap, &ss->root);
        if (r < 0)
            return r;
    }
    r = snapdir_new(ss, &ss->snapdir);
    return r < 0 ? r : notify_new(ss, &ss->notifier);
}

int session_new(struct verb_env *env, struct vol *v, const char *snap, const struct mount_opts *opts,
                uint64_t conn, const struct session_hooks *hooks, struct session **ret)
{
    struct session *ss = calloc(1, sizeof(*ss));
    int r;

    if (!ss)
        return -E_NOMEM;
    ss->env = env;
    ss->vol = v;
    ss->opts = *opts;
    ss->conn = conn;
    ss->hooks = *hooks;
    ss->fd = -1;
    ss->root = (vfs_node){FUSE_ROOT_ID};
    r = session_init(ss, snap);
    if (r < 0) {
        session_free(ss);
        return r;
    }
    *ret = ss;
    return 0;
}

void session_free(struct session *ss)
{
    if (!ss)
        return;
    sessions_remove(ss);
    notify_free(ss->notifier);
    if (ss->fd >= 0)
        close(ss->fd);
    if (ss->fuse)
        fuse_session_destroy(ss->fuse); /* closes its own */
    snapdir_free(ss->snapdir);
    free(ss->snap);
    free(ss);
}

/* --- what others ask --------------------------------------------------------------------------------------------------------- */

struct vol *session_vol(const struct session *ss)
{
    return ss->vol;
}

const char *session_snap(const struct session *ss)
{
    return ss->snap;
}

const struct mount_opts *session_opts(const struct session *ss)
{
    return &ss->opts;
}

uint64_t session_conn(const struct session *ss)
{
    return ss->conn;
}

int session_fd(const struct session *ss)
{
    return ss->fd;
}

/* The last umount(2) returns before any worker has heard of it. */
bool session_ended(const struct session *ss)
{
    struct pollfd p = {.fd = ss->fd};

    if (atomic_load(&ss->ended))
        return true;
    return !BROKEN(VARVE_BREAK_ended_late) && poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
}

void session_rolled_back(struct vol *v)
{
    int64_t until = clock_mono_ns() + 2000000000;

    pthread_mutex_lock(&sessions_lock);
    for (struct session *ss = sessions; ss; ss = ss->next)
        if (ss->vol == v && !ss->snap && !atomic_load(&ss->ended))
            notify_rolled_back(ss, until);
    pthread_mutex_unlock(&sessions_lock);
}
