/* FUSE over io_uring (Linux 6.14), mount option io_uring: a request and the answer to the one before cost one system call together.
 *
 * The kernel has a queue for each processor. Each of our threads has a ring of its own with one entry in it, and the kernel gives a request
 * to the entry that was given back last. So a slow request delays no other: its entry is busy, and another thread's is taken; when the
 * last one of a queue is taken another thread is started. FORGET and what came before the first entry come the classic way.
 *
 * No header that we build with need know any of it. */
#include "fs/session_i.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

#define RING_REGISTER 1u
#define RING_COMMIT_AND_FETCH 2u
#define RING_THREADS 32u /* of all queues together, about */
#define RING_THREADS_LEAST 2u
#define RING_THREADS_MOST 8u /* of one queue */
#define HEADROOM 4096u
#define INIT_OVER_IO_URING (1u << 9) /* of flags2 */
#define QUIET_S 2

/* As linux/fuse.h of 7.42 has them. */
struct ring_header {
    uint8_t in_out[128]; /* fuse_in_header; fuse_out_header */
    uint8_t op_in[128];  /* what is fixed for the kind of request */
    struct {
        uint64_t flags, commit_id;
        uint32_t payload_len, padding;
        uint64_t reserved;
    } entry;
};
struct ring_cmd {
    uint64_t flags, commit_id;
    uint16_t queue;
    uint8_t padding[6];
};
static_assert(sizeof(struct ring_header) == 288 && sizeof(struct ring_cmd) == 24, "as the kernel has them");

atomic_ullong session__ticket;

/* One thread's ring, and its entry: header, room for what comes before the payload, payload. */
struct ring_entry {
    int fd;
    uint8_t *sq, *sqes;
    struct io_uring_params params;
    struct ring_header *header;
    uint8_t *payload;
    struct iovec iov[2];
    uint64_t commit_id;
    uint16_t queue;
    bool answered;
};

/* --- a ring -------------------------------------------------------------------------------------------------------------------- */

static size_t sq_size(const struct io_uring_params *p)
{
    return MAX_OF(p->sq_off.array + p->sq_entries * sizeof(uint32_t),
                  p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe));
}

static size_t sqes_size(const struct io_uring_params *p)
{
    return p->sq_entries * 2 * sizeof(struct io_uring_sqe); /* of 128 bytes */
}

static void ring_close(struct ring_entry *e)
{
    if (e->sq)
        munmap(e->sq, sq_size(&e->params));
    if (e->sqes)
        munmap(e->sqes, sqes_size(&e->params));
    if (e->fd >= 0)
        close(e->fd);
}

static int ring_open(struct ring_entry *e)
{
    struct io_uring_params *p = &e->params;
    void *sq = MAP_FAILED, *sqes = MAP_FAILED;

    *e = (struct ring_entry){.fd = -1};
    p->flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
               IORING_SETUP_TASKRUN_FLAG;
    e->fd = (int)syscall(SYS_io_uring_setup, 2, p);
    if (e->fd < 0)
        return err_from_errno(errno);
    fcntl(e->fd, F_SETFD, FD_CLOEXEC);
    if (p->features & IORING_FEAT_SINGLE_MMAP) {
        sq = mmap(NULL, sq_size(p), PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, IORING_OFF_SQ_RING);
        sqes = mmap(NULL, sqes_size(p), PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, IORING_OFF_SQES);
    }
    e->sq = sq == MAP_FAILED ? NULL : sq;
    e->sqes = sqes == MAP_FAILED ? NULL : sqes;
    if (e->sq && e->sqes)
        return 0;
    ring_close(e);
    return -E_NOMEM;
}

static uint32_t *sq_word(struct ring_entry *e, uint32_t off)
{
    return (uint32_t *)(void *)(e->sq + off);
}

/* Puts one command; there is never another one under way. */
static void ring_put(struct ring_entry *e, int fuse_fd, uint32_t op)
{
    uint32_t *tail = sq_word(e, e->params.sq_off.tail), at = *tail & *sq_word(e, e->params.sq_off.ring_mask);
    struct io_uring_sqe *sqe =
        (struct io_uring_sqe *)(void *)(e->sqes + at * 2 * sizeof(struct io_uring_sqe));
    struct ring_cmd cmd = {.commit_id = e->commit_id, .queue = e->queue};

    memset(sqe, 0, 2 * sizeof(*sqe));
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = fuse_fd;
    sqe->cmd_op = op;
    if (op == RING_REGISTER) {
        sqe->addr = (uint64_t)(uintptr_t)e->iov;
        sqe->len = 2;
    }
    memcpy(sqe->cmd, &cmd, sizeof(cmd));
    sq_word(e, e->params.sq_off.array)[at] = at;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
}

static bool ring_take(struct ring_entry *e, int *ret_res)
{
    uint32_t *head = sq_word(e, e->params.cq_off.head), *tail = sq_word(e, e->params.cq_off.tail);
    const struct io_uring_cqe *cqes =
        (const struct io_uring_cqe *)(const void *)(e->sq + e->params.cq_off.cqes);

    if (*head == __atomic_load_n(tail, __ATOMIC_ACQUIRE))
        return false;
    *ret_res = cqes[*head & *sq_word(e, e->params.cq_off.ring_mask)].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return true;
}

/* Hands over what was put, and waits for a completion; seconds 0: as long as it takes. */
static int ring_enter(struct ring_entry *e, unsigned put, long seconds)
{
    struct __kernel_timespec ts = {.tv_sec = seconds};
    struct io_uring_getevents_arg arg = {.ts = (uint64_t)(uintptr_t)(seconds ? &ts : NULL)};

    return (int)syscall(SYS_io_uring_enter, e->fd, put, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                        &arg, sizeof(arg));
}

/* --- can it be had? ----------------------------------------------------------------------------------------------------------- */

static const char *why_not(void)
{
    char on = 'N';
    struct ring_entry probe;
    int fd = open("/sys/module/fuse/parameters/enable_uring", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return "this kernel has no FUSE over io_uring (Linux 6.14)";
    if (read(fd, &on, 1) != 1)
        on = 'N';
    close(fd);
    if (on != 'Y')
        return "it is switched off (/sys/module/fuse/parameters/enable_uring)";
    if (ring_open(&probe) < 0)
        return "io_uring is not allowed here (kernel.io_uring_disabled, or the container's filter)";
    ring_close(&probe);
    return NULL;
}

const char *session_ring_why_not(void)
{
    return why_not();
}

struct asked {
    const struct vol *vol;
    char *room;
    bool found, ring;
};

static void look_transport(struct session *ss, void *arg)
{
    struct asked *a = arg;

    if (atomic_load(&ss->ended))
        return;
    a->ring |= ss->ring;
    if (ss->vol != a->vol || ss->snap)
        return;
    a->found = true;
    snprintf(a->room, SESSION_TRANSPORT, "%s%s%s", ss->ring ? "io_uring" : "classic",
             ss->ring_why ? ": " : "", ss->ring_why ? ss->ring_why : "");
}

const char *session_transport(const struct vol *v, char room[SESSION_TRANSPORT])
{
    struct asked a = {.vol = v, .room = room};

    sessions_each(look_transport, &a);
    return a.found ? room : NULL;
}

bool session_any_ring(void)
{
    struct asked a = {.vol = NULL};

    sessions_each(look_transport, &a);
    return a.ring;
}

static unsigned possible_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_CONF);
    FILE *f = fopen("/sys/devices/system/cpu/possible", "re");
    unsigned from, to = 0;

    if (f && fscanf(f, "%u-%u", &from, &to) >= 1 && to > 0)
        n = (long)to + 1;
    if (f)
        fclose(f);
    return n < 1 ? 1 : (unsigned)n;
}

int session__ring_prepare(struct session *ss, void *init, size_t len)
{
    struct fuse_init_in *in = (struct fuse_init_in *)((struct fuse_in_header *)init + 1);
    const char *why = !ss->opts.io_uring   ? ""
                      : !ss->answers_apart ? "libfuse was built without custom I/O"
                                           : why_not();
    unsigned n = possible_cpus();

    if (len < sizeof(struct fuse_in_header) + sizeof(*in) || !(in->flags2 & INIT_OVER_IO_URING))
        why = why ? why : "the kernel does not offer it";
    else if (why)
        in->flags2 &= ~INIT_OVER_IO_URING;
    if (why && *why) {
        ss->ring_why = why;
        log_note("fs", "io_uring", "conn=%llx classic instead: %s", (unsigned long long)ss->conn, why);
    }
    if (why)
        return 0;
    ss->queues = calloc(n, sizeof(*ss->queues));
    if (!ss->queues)
        return -E_NOMEM;
    for (unsigned i = 0; i < n; i++)
        ss->queues[i] = (struct ring_queue){.ss = ss, .number = i};
    ss->nqueues = n;
    return 0;
}

/* --- requests ------------------------------------------------------------------------------------------------------------------- */

static int entry_map(struct ring_entry *e)
{
    uint8_t *p = mmap(NULL, 4096 + HEADROOM + OP_BUF_SIZE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return -E_NOMEM;
    e->header = (struct ring_header *)(void *)p;
    e->payload = p + 4096 + HEADROOM;
    e->iov[0] = (struct iovec){.iov_base = e->header, .iov_len = sizeof(*e->header)};
    e->iov[1] = (struct iovec){.iov_base = e->payload, .iov_len = OP_MAX_WRITE};
    return 0;
}

/* The request in one piece, as it would have been read(2): its beginning goes before the payload. 0: it is none. */
static size_t assemble(struct worker *w)
{
    struct ring_entry *e = w->entry;
    struct fuse_in_header h;
    size_t fixed;

    memcpy(&h, e->header->in_out, sizeof(h));
    e->commit_id = e->header->entry.commit_id;
    e->answered = false;
    fixed = (size_t)h.len - sizeof(h) - e->header->entry.payload_len;
    if (h.len < sizeof(h) || e->header->entry.payload_len > OP_MAX_WRITE || fixed > sizeof(e->header->op_in))
        return 0;
    w->in = e->payload - fixed - sizeof(h);
    memcpy(w->in, &h, sizeof(h));
    memcpy(w->in + sizeof(h), e->header->op_in, fixed);
    return h.len;
}

ssize_t session__ring_answer(struct ring_entry *e, const struct iovec *iov, int n)
{
    size_t len = 0;

    assert(n >= 1 && iov[0].iov_len == sizeof(struct fuse_out_header));
    for (int i = 1; i < n; i++) {
        if (iov[i].iov_len > OP_MAX_WRITE - len) {
            errno = EINVAL;
            return -1;
        }
        if (iov[i].iov_len > 0 && iov[i].iov_base != e->payload + len)
            memmove(e->payload + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    memcpy(e->header->in_out, iov[0].iov_base, iov[0].iov_len);
    e->header->entry.payload_len = (uint32_t)len;
    e->answered = true;
    return (ssize_t)(iov[0].iov_len + len);
}

static void answer_nothing(struct ring_entry *e, int32_t error)
{
    struct fuse_in_header h;
    struct fuse_out_header out = {.len = sizeof(out), .error = error};
    struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

    memcpy(&h, e->header->in_out, sizeof(h));
    out.unique = h.unique;
    session__ring_answer(e, &iov, 1);
}

/* Who spins does it best on another processor than who asks; who sleeps is woken fastest on the same. */
static void move_to(struct worker *w, bool spins)
{
    cpu_set_t set;
    bool stays = !spins && (atomic_load(&w->ss->luck) == 0 || session__spin_held());

    if (stays == w->stays || (!stays && !spins) || w->entry->queue >= CPU_SETSIZE)
        return;
    CPU_ZERO(&set);
    for (unsigned i = 0; i < w->ss->nqueues && i < CPU_SETSIZE; i++)
        if (!stays || i == w->entry->queue)
            CPU_SET(i, &set);
    (void)sched_setaffinity(0, sizeof(set), &set); /* where it is allowed */
    w->stays = stays;
}

static int wait_and_enter(struct worker *w, unsigned put)
{
    struct ring_entry *e = w->entry;
    bool spins = session__spin_begin(w);
    int n;

    move_to(w, spins);
    if (spins) {
        const uint32_t *flags = sq_word(e, e->params.sq_off.flags);

        (void)syscall(SYS_io_uring_enter, e->fd, put, 0, IORING_ENTER_GETEVENTS, NULL, 0);
        put = 0;
        while (!(__atomic_load_n(flags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN) && session__spin_goes_on(w))
            continue;
        session__spin_end(w);
    }
    n = ring_enter(e, put, w->touched ? QUIET_S : 0);
    if (!spins)
        session__spin_end(w);
    return n;
}

static void was_empty(struct ring_queue *q, unsigned long long ticket)
{
    unsigned long long old = atomic_load(&q->empty_at);

    while (old < ticket && !atomic_compare_exchange_weak(&q->empty_at, &old, ticket))
        continue;
}

/* The next request in w->in; 0: the connection has ended, or this thread is to leave. */
static size_t next(struct worker *w, uint32_t op)
{
    struct ring_entry *e = w->entry;
    unsigned long long ticket;
    unsigned put = 1;
    int res = 0;

    ring_put(e, w->ss->fd, op);
    for (;;) {
        if (atomic_load(&session__leaving))
            return 0;
        ticket = atomic_load(&session__ticket);
        __atomic_add_fetch(&w->turns, 1, __ATOMIC_SEQ_CST);
        if (wait_and_enter(w, put) < 0) {
            if (errno != EINTR && errno != ETIME && errno != EAGAIN && errno != EBUSY)
                return 0;
            put = *sq_word(e, e->params.sq_off.tail) !=
                  __atomic_load_n(sq_word(e, e->params.sq_off.head), __ATOMIC_ACQUIRE);
        } else {
            put = 0;
        }
        if (ring_take(e, &res))
            break;
        if (put == 0)
            was_empty(&w->ss->queues[e->queue], ticket);
        if (w->touched) {
            madvise(e->payload, OP_BUF_SIZE, MADV_DONTNEED);
            w->touched = false;
        }
    }
    if (res >= 0)
        return assemble(w) ?: SIZE_MAX;
    if (res != -ENOTCONN && res != -ECONNABORTED && res != -ECANCELED)
        log_error("fs", "io_uring", "conn=%llx queue=%u errno=%d", (unsigned long long)w->ss->conn, e->queue,
                  -res);
    return 0;
}

static int ring_spawn(struct ring_queue *q);

static void ring_loop(struct worker *w, struct ring_queue *q)
{
    uint32_t op = RING_REGISTER;

    for (;;) {
        size_t len;

        atomic_fetch_add(&q->idle, 1);
        len = next(w, op);
        if (atomic_fetch_sub(&q->idle, 1) == 1 && len > 0)
            ring_spawn(q);
        if (len == 0) {
            atomic_store(&w->ss->ended, !atomic_load(&session__leaving));
            return;
        }
        op = RING_COMMIT_AND_FETCH;
        __atomic_store_n(&w->since_ns, clock_mono_ns(), __ATOMIC_RELAXED);
        if (len != SIZE_MAX)
            session__serve(w, len);
        if (!w->entry->answered)
            answer_nothing(w->entry, len == SIZE_MAX ? -EINVAL : 0);
        __atomic_store_n(&w->since_ns, 0, __ATOMIC_RELAXED);
    }
}

static void *ring_main(void *arg)
{
    struct ring_queue *q = arg;
    struct session *ss = q->ss;
    struct ring_entry e;
    struct worker w = {.ss = ss, .entry = &e};
    int r = ring_open(&e);

    prctl(PR_SET_NAME, "varve-ring");
    prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    e.queue = (uint16_t)q->number;
    if (r == 0)
        r = entry_map(&e);
    session__worker_enter(&w);
    if (r == 0) {
        w.room = e.payload;
        ring_loop(&w, q);
    } else {
        log_err(r, "fs", "conn=%llx a ring", (unsigned long long)ss->conn);
    }
    session__worker_leave(&w);
    ring_close(&e);
    if (e.header)
        munmap(e.header, 4096 + HEADROOM + OP_BUF_SIZE);
    atomic_fetch_sub(&q->threads, 1);
    atomic_fetch_sub(&ss->ring_workers, 1);
    session__worker_gone(ss);
    return NULL;
}

static unsigned threads_most(const struct session *ss)
{
    if (BROKEN(VARVE_BREAK_ring_alone))
        return 1;
    return MIN_OF(RING_THREADS_MOST, MAX_OF(RING_THREADS_LEAST, RING_THREADS / ss->nqueues));
}

static int ring_spawn(struct ring_queue *q)
{
    struct session *ss = q->ss;
    pthread_t t;
    int e;

    if (atomic_fetch_add(&q->threads, 1) >= threads_most(ss)) {
        atomic_fetch_sub(&q->threads, 1);
        return 0;
    }
    atomic_fetch_add(&ss->workers, 1);
    atomic_fetch_add(&ss->ring_workers, 1);
    e = session__thread(&t, ring_main, q);
    if (e == 0)
        return 0;
    atomic_fetch_sub(&ss->ring_workers, 1);
    atomic_fetch_sub(&ss->workers, 1);
    atomic_fetch_sub(&q->threads, 1);
    return err_from_errno(e);
}

/* Until every queue has an entry the kernel lets all requests wait. */
int session__ring_start(struct session *ss)
{
    int r = 0;

    for (unsigned i = 0; i < ss->nqueues && r == 0; i++)
        r = ring_spawn(&ss->queues[i]);
    if (r == 0)
        log_note("fs", "io_uring", "conn=%llx queues=%u", (unsigned long long)ss->conn, ss->nqueues);
    return r;
}
