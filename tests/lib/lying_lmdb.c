/* The calls of libc that change files, seen by the lying disk where they concern a file of one, given to the next
 * library else: LMDB does its own I/O, and a test program must see that in the same order as the rest. The names are
 * given by asm labels, because with 64-bit offsets the headers rename the plain ones. Nothing else in a test program
 * differs; without a lying disk every call goes straight on. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/lib/lying_model.h"
#include "tests/lib/lying_next.h"

int libc_open(const char *path, int flags, ...) __asm__("open");
int libc_open64(const char *path, int flags, ...) __asm__("open64");
int libc_close(int fd) __asm__("close");
ssize_t libc_write(int fd, const void *p, size_t len) __asm__("write");
ssize_t libc_writev(int fd, const struct iovec *iov, int n) __asm__("writev");
ssize_t libc_pwrite(int fd, const void *p, size_t len, off_t off) __asm__("pwrite");
ssize_t libc_pwrite64(int fd, const void *p, size_t len, off_t off) __asm__("pwrite64");
ssize_t libc_pwritev(int fd, const struct iovec *iov, int n, off_t off) __asm__("pwritev");
ssize_t libc_pwritev64(int fd, const struct iovec *iov, int n, off_t off) __asm__("pwritev64");
int libc_fdatasync(int fd) __asm__("fdatasync");
int libc_fsync(int fd) __asm__("fsync");
int libc_ftruncate(int fd, off_t size) __asm__("ftruncate");
int libc_ftruncate64(int fd, off_t size) __asm__("ftruncate64");
int libc_unlink(const char *path) __asm__("unlink");
int libc_rename(const char *from, const char *to) __asm__("rename");

static int as_libc(int r)
{
    if (r >= 0)
        return r;
    errno = err_errno(r);
    return -1;
}

typedef int open_fn(const char *, int, ...);

static int open_any(const char *path, int flags, mode_t mode, open_fn *next)
{
    struct lying *d = path[0] == '/' ? lying__of_path(path) : NULL;
    int fd;

    if (!d)
        return next(path, flags, mode);
    fd = io_open(lying_io(d), path, flags, mode);
    if (fd >= 0 && !(flags & O_CLOEXEC))
        fcntl(fd, F_SETFD, 0);
    return as_libc(fd);
}

#define OPEN_MODE(flags)                                                                                     \
    ({                                                                                                       \
        mode_t mode_ = 0;                                                                                    \
        if ((flags) & (O_CREAT | O_TMPFILE)) {                                                               \
            va_list ap_;                                                                                     \
            va_start(ap_, flags);                                                                            \
            mode_ = va_arg(ap_, mode_t);                                                                     \
            va_end(ap_);                                                                                     \
        }                                                                                                    \
        mode_;                                                                                               \
    })

int libc_open(const char *path, int flags, ...)
{
    return open_any(path, flags, OPEN_MODE(flags), NEXT("open", open_fn *));
}

int libc_open64(const char *path, int flags, ...)
{
    return open_any(path, flags, OPEN_MODE(flags), NEXT("open64", open_fn *));
}

int libc_close(int fd)
{
    struct lying *d = lying__of_fd(fd);

    return d ? as_libc(io_close(lying_io(d), fd)) : NEXT("close", int (*)(int))(fd);
}

/* write_some(d, fd, p, len, off): as pwrite(2): a count where some bytes were written, though an error stopped it. */
static ssize_t write_some(struct lying *d, int fd, const void *p, size_t len, uint64_t off)
{
    size_t done = 0;
    int r = len ? lying__pwrite_some(d, fd, p, len, off, &done) : 0;

    if (r == 0 || (r != -E_CRASH && done > 0))
        return (ssize_t)done;
    return as_libc(r);
}

static ssize_t write_at_seat(struct lying *d, int fd, const void *p, size_t len)
{
    uint64_t off;
    ssize_t n;

    if (lying__append_off(d, fd, &off) == 0)
        off = (uint64_t)lseek(fd, 0, SEEK_CUR);
    n = write_some(d, fd, p, len, off);
    if (n > 0)
        lseek(fd, (off_t)off + n, SEEK_SET);
    return n;
}

static int gather(const struct iovec *iov, int n, struct buf *b)
{
    size_t len = 0;
    int r = n < 0 || n > IOV_MAX ? -E_INVAL : 0;

    for (int i = 0; i < n && r == 0; i++)
        len += iov[i].iov_len;
    if (r == 0)
        r = buf_reserve(b, len);
    for (int i = 0; i < n && r == 0; i++)
        r = buf_add(b, iov[i].iov_base, iov[i].iov_len);
    return r;
}

ssize_t libc_write(int fd, const void *p, size_t len)
{
    struct lying *d = lying__of_fd(fd);

    return d ? write_at_seat(d, fd, p, len)
             : NEXT("write", ssize_t(*)(int, const void *, size_t))(fd, p, len);
}

ssize_t libc_writev(int fd, const struct iovec *iov, int n)
{
    struct lying *d = lying__of_fd(fd);
    cleanup(buf_free) struct buf b = {0};
    int r;

    if (!d)
        return NEXT("writev", ssize_t(*)(int, const struct iovec *, int))(fd, iov, n);
    r = gather(iov, n, &b);
    return r < 0 ? as_libc(r) : write_at_seat(d, fd, b.data, b.len);
}

typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);

ssize_t libc_pwrite(int fd, const void *p, size_t len, off_t off)
{
    struct lying *d = lying__of_fd(fd);

    return d ? write_some(d, fd, p, len, (uint64_t)off) : NEXT("pwrite", pwrite_fn *)(fd, p, len, off);
}

ssize_t libc_pwrite64(int fd, const void *p, size_t len, off_t off)
{
    struct lying *d = lying__of_fd(fd);

    return d ? write_some(d, fd, p, len, (uint64_t)off) : NEXT("pwrite64", pwrite_fn *)(fd, p, len, off);
}

typedef ssize_t pwritev_fn(int, const struct iovec *, int, off_t);

static ssize_t pwritev_any(int fd, const struct iovec *iov, int n, off_t off, pwritev_fn *next)
{
    struct lying *d = lying__of_fd(fd);
    cleanup(buf_free) struct buf b = {0};
    int r;

    if (!d)
        return next(fd, iov, n, off);
    r = gather(iov, n, &b);
    return r < 0 ? as_libc(r) : write_some(d, fd, b.data, b.len, (uint64_t)off);
}

ssize_t libc_pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
    return pwritev_any(fd, iov, n, off, NEXT("pwritev", pwritev_fn *));
}

ssize_t libc_pwritev64(int fd, const struct iovec *iov, int n, off_t off)
{
    return pwritev_any(fd, iov, n, off, NEXT("pwritev64", pwritev_fn *));
}

int libc_fdatasync(int fd)
{
    struct lying *d = lying__of_fd(fd);

    return d ? as_libc(io_fdatasync(lying_io(d), fd)) : NEXT("fdatasync", int (*)(int))(fd);
}

int libc_fsync(int fd)
{
    struct lying *d = lying__of_fd(fd);

    return d ? as_libc(io_fsync(lying_io(d), fd)) : NEXT("fsync", int (*)(int))(fd);
}

typedef int ftruncate_fn(int, off_t);

int libc_ftruncate(int fd, off_t size)
{
    struct lying *d = lying__of_fd(fd);

    return d ? as_libc(io_truncate(lying_io(d), fd, (uint64_t)size))
             : NEXT("ftruncate", ftruncate_fn *)(fd, size);
}

int libc_ftruncate64(int fd, off_t size)
{
    struct lying *d = lying__of_fd(fd);

    return d ? as_libc(io_truncate(lying_io(d), fd, (uint64_t)size))
             : NEXT("ftruncate64", ftruncate_fn *)(fd, size);
}

int libc_unlink(const char *path)
{
    struct lying *d = lying__of_path(path);

    return d ? as_libc(io_unlink(lying_io(d), path)) : NEXT("unlink", int (*)(const char *))(path);
}

int libc_rename(const char *from, const char *to)
{
    struct lying *d = lying__of_path(from);

    if (d && lying__of_path(to) == d)
        return as_libc(io_rename(lying_io(d), from, to));
    return NEXT("rename", int (*)(const char *, const char *))(from, to);
}
