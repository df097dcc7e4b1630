/* The loop of a connection: worker threads, each with a request of its own. */
#include <errno.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/session_i.h"

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
#define QUIET_MS 2000 /* a worker that gave a large answer and then none for so long gives its pages back */
#define UNIQUE_RESENT (1ull << 63) /* in a request that was sent again */

atomic_bool session__leaving;
static _Thread_local struct worker *me;
static pthread_mutex_t workers_lock = PTHREAD_MUTEX_INITIALIZER; /* guards workers */
static struct worker *workers;
static uint64_t workers_made; /* guarded by workers_lock */

const struct fuse_in_header *op_header(void)
{
    return (const struct fuse_in_header *)me->in;
}

struct worker *session__worker_mine(void)
{
    return me;
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

/* --- buffers ------------------------------------------------------------------------------------------------------------- */

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

int session__worker_init(struct worker *w, struct session *ss, bool with_room)
{
    *w = (struct worker){.ss = ss, .in = request_buffer()};
    if (with_room)
        w->room = map_buffer(MAP_NORESERVE);
    return w->in && (w->room || !with_room) ? 0 : -E_NOMEM;
}

void session__worker_release(struct worker *w)
{
    request_buffer_free(w->in);
    if (w->room)
        munmap(w->room, OP_BUF_SIZE);
}

/* --- requests ------------------------------------------------------------------------------------------------------------ */

static ssize_t wait_and_read(struct worker *w)
{
    struct pollfd p = {.fd = w->ss->fd, .events = POLLIN};
    bool spins = session__spin_begin(w);
    ssize_t n;

    while (spins && poll(&p, 1, 0) == 0 && session__spin_goes_on(w))
        continue;
    if (spins)
        session__spin_end(w);
    n = read(w->ss->fd, w->in, OP_BUF_SIZE);
    if (!spins)
        session__spin_end(w);
    return n;
}

size_t session__receive(struct worker *w)
{
    struct session *ss = w->ss;

    for (;;) {
        struct pollfd p = {.fd = ss->fd, .events = POLLIN};
        ssize_t n;

        if (atomic_load(&session__leaving))
            return 0;
        __atomic_add_fetch(&w->turns, 1, __ATOMIC_SEQ_CST);
        if (w->touched && poll(&p, 1, QUIET_MS) == 0) {
            madvise(w->room, OP_BUF_SIZE, MADV_DONTNEED);
            w->touched = false;
        }
        n = wait_and_read(w);
        if (n >= (ssize_t)sizeof(struct fuse_in_header))
            return (size_t)n;
        if (n < 0 && errno == EINTR && atomic_load(&ss->rest))
            return SESSION_RESTS;
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

ssize_t session__answer(int fd, struct iovec *iov, int n, void *arg)
{
    const struct fuse_out_header *h = iov[0].iov_base;

    (void)arg;
    if (me && me->entry && h->unique != 0) /* 0: said unasked */
        return session__ring_answer(me->entry, iov, n);
    return writev(fd, iov, n);
}

/* No kernel sends such a thing; whoever else does gets no more than an error. */
static void refuse(struct worker *w)
{
    const struct fuse_in_header *h = (const struct fuse_in_header *)w->in;
    struct fuse_out_header out = {.len = sizeof(out), .error = -EINVAL, .unique = h->unique};
    struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

    log_warn("fs", "malformed", "conn=%llx opcode=%u len=%u", (unsigned long long)w->ss->conn, h->opcode,
             h->len);
    if (h->opcode != FUSE_FORGET && h->opcode != FUSE_BATCH_FORGET && h->opcode != FUSE_INTERRUPT &&
        h->opcode != FUSE_NOTIFY_REPLY && session__answer(w->ss->fd, &iov, 1, NULL) < 0)
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

void session__serve(struct worker *w, size_t len)
{
    struct worker *outer = me;

    me = w;
    serve(w, len);
    me = outer;
}

void session__workers_each(void (*cb)(struct worker *w, void *arg), void *arg)
{
    pthread_mutex_lock(&workers_lock);
    for (struct worker *w = workers; w; w = w->next)
        cb(w, arg);
    pthread_mutex_unlock(&workers_lock);
}

/* --- workers ------------------------------------------------------------------------------------------------------------- */

/* So many wait already: is this worker one too many? */
static bool is_over(struct worker *w, unsigned idle)
{
    unsigned kept = w->ss->nqueues > 0 ? 1 : WORKERS_KEPT;

    if (idle < kept)
        w->over = 0;
    else
        w->over++;
    return idle >= kept + WORKERS_OVER || w->over > TURNS_OVER;
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
        len = session__receive(w);
        if (len == SESSION_RESTS) {
            atomic_fetch_sub(&ss->idle, 1);
            return;
        }
        if (atomic_load_explicit(&ss->rest, memory_order_relaxed))
            atomic_store(&ss->rest, false);
        if (atomic_fetch_sub(&ss->idle, 1) == 1 && len > 0)
            session_worker(ss);
        if (len == 0) {
            atomic_store(&ss->ended, !atomic_load(&session__leaving));
            return;
        }
        __atomic_store_n(&w->since_ns, clock_mono_ns(), __ATOMIC_RELAXED);
        session__serve(w, len);
        __atomic_store_n(&w->since_ns, 0, __ATOMIC_RELAXED);
    }
}

void session__worker_enter(struct worker *w)
{
    w->thread = pthread_self();
    io_moved = &w->moved;
    pthread_mutex_lock(&workers_lock);
    w->serial = ++workers_made;
    w->next = workers;
    workers = w;
    pthread_mutex_unlock(&workers_lock);
}

void session__worker_leave(struct worker *w)
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
void session__worker_gone(struct session *ss)
{
    bool rests = false;

    session__list_hold();
    if (atomic_fetch_sub(&ss->workers, 1) == 1 && !atomic_load(&session__leaving)) {
        rests = !atomic_load(&ss->ended);
        if (!rests)
            notify_end(ss);
    }
    session__list_release();
    if (rests)
        rest_poke();
}

static void starve(struct session *ss)
{
    log_error("fs", "worker", "no memory for its buffers");
    atomic_store(&ss->starved, !BROKEN(VARVE_BREAK_starve));
}

static void *worker_main(void *arg)
{
    struct session *ss = arg;
    struct worker w;
    int r;

    prctl(PR_SET_NAME, "varve-worker");
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); /* where it is allowed */
    r = session__worker_init(&w, ss, true);
    session__worker_enter(&w);
    if (r == 0)
        worker_loop(&w);
    else
        starve(ss);
    session__worker_leave(&w);
    session__worker_release(&w);
    session__worker_gone(ss);
    return NULL;
}

int session__thread(pthread_t *ret, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    int e;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    e = pthread_create(ret, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    return e;
}

int session_worker(struct session *ss)
{
    unsigned most = WORKERS_MAX + atomic_load(&ss->ring_workers) + atomic_load(&ss->waits);
    pthread_t t;
    int e;

    if (atomic_fetch_add(&ss->workers, 1) >= most && !BROKEN(VARVE_BREAK_workers)) {
        atomic_fetch_sub(&ss->workers, 1);
        return 0;
    }
    e = session__thread(&t, worker_main, ss);
    if (e == 0)
        return 0;
    atomic_fetch_sub(&ss->workers, 1);
    return err_from_errno(e);
}

void session_waits(bool begins)
{
    struct session *ss = me ? me->ss : NULL;

    if (!ss || BROKEN(VARVE_BREAK_recall_workers))
        return;
    if (!begins)
        atomic_fetch_sub(&ss->waits, 1);
    else {
        atomic_fetch_add(&ss->waits, 1);
        if (atomic_load(&ss->idle) == 0)
            (void)session_worker(ss);
    }
}
