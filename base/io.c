#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Thread_local uint64_t *io_moved;

/* sys(call): the call's result, EINTR retried. */
#define SYS(call)                                                                                            \
    ({                                                                                                       \
        __typeof__(call) sys_r_;                                                                             \
        do                                                                                                   \
            sys_r_ = (call);                                                                                 \
        while (sys_r_ < 0 && errno == EINTR);                                                                \
        io_move();                                                                                           \
        sys_r_;                                                                                              \
    })

static int code_of(int sys_result)
{
    return sys_result < 0 ? err_from_errno(errno) : 0;
}

static int real_open(struct io *io, const char *path, int flags, mode_t mode)
{
    int fd = SYS(open(path, flags | O_CLOEXEC, mode));

    (void)io;
    return fd < 0 ? err_from_errno(errno) : fd;
}

static int real_close(struct io *io, int fd)
{
    (void)io;
    return close(fd) < 0 && errno != EINTR ? err_from_errno(errno) : 0; /* Linux has closed it in any case */
}

static int real_pread(struct io *io, int fd, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    size_t done = 0;

    (void)io;
    while (done < len) {
        ssize_t n = SYS(pread(fd, (uint8_t *)p + done, len - done, (off_t)(off + done)));

        if (n < 0 && errno == EINVAL && done > 0)
            break; /* O_DIRECT: beyond the end of the file, and no sector begins there */
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *ret_len = done;
    return 0;
}

static int real_pwrite(struct io *io, int fd, const void *p, size_t len, uint64_t off)
{
    size_t done = 0;

    (void)io;
    while (done < len) {
        ssize_t n = SYS(pwrite(fd, (const uint8_t *)p + done, len - done, (off_t)(off + done)));

        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            return -E_IO;
        done += (size_t)n;
    }
    return 0;
}

static int real_fdatasync(struct io *io, int fd)
{
    (void)io;
    return code_of(SYS(fdatasync(fd)));
}

static int real_fsync(struct io *io, int fd)
{
    (void)io;
    return code_of(SYS(fsync(fd)));
}

static int real_syncfs(struct io *io, int fd)
{
    (void)io;
    return code_of(SYS(syncfs(fd)));
}

static int real_sync_range(struct io *io, int fd, uint64_t off, uint64_t len)
{
    (void)io;
    return code_of(SYS(
        sync_file_range(fd, (off_t)off, (off_t)len,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)));
}

static int real_truncate(struct io *io, int fd, uint64_t size)
{
    (void)io;
    return code_of(SYS(ftruncate(fd, (off_t)size)));
}

static int real_allocate(struct io *io, int fd, uint64_t off, uint64_t len)
{
    (void)io;
    return code_of(SYS(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len)));
}

static int real_punch(struct io *io, int fd, uint64_t off, uint64_t len)
{
    (void)io;
    return code_of(SYS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len)));
}

static int real_stat(struct io *io, const char *path, struct stat *ret)
{
    struct stat st;
    int r = SYS(lstat(path, &st));

    (void)io;
    if (r < 0)
        return err_from_errno(errno);
    *ret = st;
    return 0;
}

static int real_fstat(struct io *io, int fd, struct stat *ret)
{
    struct stat st;
    int r = SYS(fstat(fd, &st));

    (void)io;
    if (r < 0)
        return err_from_errno(errno);
    *ret = st;
    return 0;
}

static int real_unlink(struct io *io, const char *path)
{
    (void)io;
    return code_of(SYS(unlink(path)));
}

static int real_rename(struct io *io, const char *from, const char *to)
{
    (void)io;
    return code_of(SYS(rename(from, to)));
}

static int real_mkdir(struct io *io, const char *path, mode_t mode)
{
    (void)io;
    return code_of(SYS(mkdir(path, mode)));
}

static int real_rmdir(struct io *io, const char *path)
{
    (void)io;
    return code_of(SYS(rmdir(path)));
}

struct io *io_real(void)
{
    static const struct io_ops ops = {
        .open = real_open,
        .close = real_close,
        .pread = real_pread,
        .pwrite = real_pwrite,
        .fdatasync = real_fdatasync,
        .fsync = real_fsync,
        .syncfs = real_syncfs,
        .sync_range = real_sync_range,
        .truncate = real_truncate,
        .allocate = real_allocate,
        .punch = real_punch,
        .stat = real_stat,
        .fstat = real_fstat,
        .unlink = real_unlink,
        .rename = real_rename,
        .mkdir = real_mkdir,
        .rmdir = real_rmdir,
    };
    static struct io real = {.ops = &ops};

    return &real;
}

/* Of a longer range Linux takes the first part only: as much as the window of its own reading ahead. */
#define AHEAD_PIECE (128u << 10)

void io_ahead(int fd, uint64_t off, uint64_t len)
{
    for (uint64_t end = off + len; off < end; off += AHEAD_PIECE)
        (void)posix_fadvise(fd, (off_t)off, (off_t)MIN_OF((uint64_t)AHEAD_PIECE, end - off),
                            POSIX_FADV_WILLNEED);
}

void io_behind(int fd, uint64_t off, uint64_t len)
{
    (void)posix_fadvise(fd, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED);
}

int io_list(const char *path, int (*cb)(void *arg, const char *name), void *arg)
{
    DIR *dir = opendir(path);
    struct dirent *e;
    int r = 0;

    if (!dir)
        return err_from_errno(errno);
    while (r == 0) {
        errno = 0;
        e = readdir(dir);
        if (!e) {
            r = errno ? err_from_errno(errno) : 0;
            break;
        }
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = cb(arg, e->d_name);
    }
    closedir(dir);
    return r;
}

int io_sync_dir(struct io *io, const char *path)
{
    int fd = io_open(io, path, O_RDONLY | O_DIRECTORY, 0);
    int r, rc;

    if (fd < 0)
        return fd;
    r = io_fsync(io, fd);
    rc = io_close(io, fd);
    return r < 0 ? r : rc;
}

static int write_new(struct io *io, const char *path, const void *p, size_t len)
{
    int fd = io_open(io, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int r, rc;

    if (fd < 0)
        return fd;
    r = io_pwrite(io, fd, p, len, 0);
    if (r == 0 && !BROKEN(VARVE_BREAK_replace_unsynced))
        r = io_fdatasync(io, fd);
    rc = io_close(io, fd);
    return r < 0 ? r : rc;
}

int io_write(int fd, const void *p, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = SYS(write(fd, (const uint8_t *)p + done, len - done));

        if (n < 0)
            return errno == EPIPE ? -E_CLOSED : err_from_errno(errno);
        done += (size_t)n;
    }
    return 0;
}

int io_replace(struct io *io, const char *path, const void *p, size_t len)
{
    cleanup(buf_free) struct buf fresh = {0}, dir = {0};
    const char *slash = strrchr(path, '/');
    int r;

    assert(slash);
    if (buf_printf(&fresh, "%s.new", path) < 0 || buf_add(&dir, path, (size_t)(slash - path) + 1) < 0 ||
        !buf_cstr(&dir))
        return -E_NOMEM;
    r = write_new(io, (char *)fresh.data, p, len);
    if (r == 0)
        r = io_rename(io, (char *)fresh.data, path);
    if (r < 0) {
        (void)io_unlink(io, (char *)fresh.data);
        return r;
    }
    return io_sync_dir(io, (char *)dir.data);
}

static int read_all(struct io *io, int fd, size_t max, struct buf *b)
{
    size_t n;
    int r;

    do {
        r = buf_reserve(b, MIN_OF((size_t)65536, max - b->len + 1));
        if (r < 0)
            return r;
        r = io_pread(io, fd, b->data + b->len, b->cap - b->len, b->len, &n);
        if (r < 0)
            return r;
        b->len += n;
        if (b->len > max)
            return -E_TOOBIG;
    } while (n > 0);
    return 0;
}

int io_read_file(struct io *io, const char *path, size_t max, struct buf *ret)
{
    cleanup(buf_free) struct buf b = {0};
    int fd, r;

    assert(max < SIZE_MAX);
    fd = io_open(io, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    r = read_all(io, fd, max, &b);
    (void)io_close(io, fd);
    if (r < 0)
        return r;
    buf_free(ret);
    *ret = b;
    b = (struct buf){0};
    return 0;
}
