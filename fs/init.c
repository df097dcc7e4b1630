/* The first message of a connection. libfuse parses the request and makes an answer; the flags in it become ours. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/op.h"

/* Bits above what the oldest header that we build with names. */
#define INIT_BIT(n) (1ull << (n))
#define INIT_SETXATTR_EXT INIT_BIT(29)
#define INIT_EXT INIT_BIT(30)
#define INIT_DIRECT_IO_ALLOW_MMAP INIT_BIT(36)
#define INIT_ALLOW_IDMAP INIT_BIT(40)
#define INIT_OVER_IO_URING INIT_BIT(41)

/* ATOMIC_O_TRUNC is not among them: without OPEN the kernel would lose O_TRUNC. AUTO_INVAL_DATA is not: nobody else
 * changes the data. WRITEBACK_CACHE is there only where the mount asks for it: a write is here when write() returns. Locks are not: they are the kernel's. */
#define INIT_WANTED                                                                                          \
    (FUSE_ASYNC_READ | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_DO_READDIRPLUS |        \
     FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_POSIX_ACL |       \
     FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA | FUSE_HANDLE_KILLPRIV_V2 | INIT_SETXATTR_EXT |          \
     INIT_EXT | INIT_DIRECT_IO_ALLOW_MMAP)

#define INIT_BACKGROUND 256
#define INIT_MINOR_LEAST 31 /* Linux 5.2: NO_OPENDIR, EXPLICIT_INVAL_DATA */

/* As far as libfuse itself acts on it: sizes, and no splicing. */
void init_op(void *arg, struct fuse_conn_info *conn)
{
    (void)arg;
    conn->max_write = OP_MAX_WRITE;
    conn->max_background = INIT_BACKGROUND;
    conn->congestion_threshold = INIT_BACKGROUND * 3 / 4;
    conn->time_gran = 1;
    conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    conn->want_ext &= ~(uint64_t)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
    conn->no_interrupt = 1; /* requests are short; a signal waits for the answer */
#endif
}

struct answer {
    struct fuse_out_header h;
    struct fuse_init_out o;
};

static void put_flags(struct answer *a, struct session *ss, const struct fuse_init_in *in)
{
    uint64_t offered = in->flags | (in->flags & INIT_EXT ? (uint64_t)in->flags2 << 32 : 0);
    uint64_t wanted = INIT_WANTED | (ss->opts.allow_idmap ? INIT_ALLOW_IDMAP : 0) |
                      (ss->opts.io_uring ? INIT_OVER_IO_URING : 0) |
                      (ss->opts.writeback && !ss->opts.ro ? FUSE_WRITEBACK_CACHE : 0) |
                      (BROKEN(VARVE_BREAK_o_trunc) ? FUSE_ATOMIC_O_TRUNC : 0);
    uint64_t flags = offered & wanted;

    ss->kernel_times = (flags & FUSE_WRITEBACK_CACHE) != 0 && !BROKEN(VARVE_BREAK_writeback_times);
    ss->ring = (flags & INIT_OVER_IO_URING) != 0;
    a->o.flags = (uint32_t)flags;
    a->o.flags2 = (uint32_t)(flags >> 32);
    if (!BROKEN(
            VARVE_BREAK_read_ahead)) /* a bound: mount_tune() sets it, often before this answer is there */
        a->o.max_readahead = OP_MAX_WRITE;
    a->o.max_write = flags & FUSE_MAX_PAGES ? OP_MAX_WRITE : 32 * 4096;
    a->o.max_pages = flags & FUSE_MAX_PAGES ? OP_MAX_WRITE / 4096 : 0;
    a->o.max_background = INIT_BACKGROUND;
    a->o.congestion_threshold = INIT_BACKGROUND * 3 / 4;
    a->o.time_gran = 1;
}

int init_answer(struct session *ss, const void *req, size_t len, const int catcher[2], int fd)
{
    const struct fuse_in_header *h = req;
    const struct fuse_init_in *in = (const struct fuse_init_in *)(h + 1);
    struct fuse_buf b = {.mem = (void *)(uintptr_t)req, .size = len};
    struct answer a = {0};
    ssize_t n;

    if (len < sizeof(*h) + 16 || h->opcode != FUSE_INIT)
        return -E_PROTO;
    if (in->major != 7 || in->minor < INIT_MINOR_LEAST)
        return -E_NOSYS;
    fuse_session_process_buf(ss->fuse, &b);
    n = recv(catcher[1], &a, sizeof(a), MSG_DONTWAIT);
    if (n >= (ssize_t)sizeof(a.h) && a.h.error == -ENOMEM)
        return -E_NOMEM;
    if (n < (ssize_t)sizeof(a) || a.h.error != 0)
        return -E_PROTO;
    put_flags(&a, ss, in);
    static_assert(sizeof(a) <= sizeof(ss->init_out), "init_out holds an answer");
    memcpy(ss->init_out, &a, sizeof(a));
    log_debug("fs", "init", "conn=%llx kernel=7.%u flags=%x,%x", (unsigned long long)ss->conn, in->minor,
              a.o.flags, a.o.flags2);
    if (fd >= 0 && write(fd, &a, sizeof(a)) < 0)
        return err_from_errno(errno);
    return 0;
}

int init_answer_again(const struct session *ss, const struct fuse_in_header *h)
{
    struct answer a;

    memcpy(&a, ss->init_out, sizeof(a));
    a.h.unique = h->unique;
    log_note("fs", "init", "conn=%llx is answered by another daemon", (unsigned long long)ss->conn);
    return write(ss->fd, &a, sizeof(a)) < 0 ? err_from_errno(errno) : 0;
}
