/* base/io: the I/O door. Everything that a store does to its disk goes through one `struct io`: the real one
 * (io_real) or a test double that keeps unsynced writes apart, tears them at a simulated power cut, or fails the
 * n-th call (tests/lib/lying.h). Descriptors are those of the kernel in both cases: the double writes through to
 * real files (so that mmap and page cache behave) and keeps beside them what would be on the medium.
 *
 * All functions return 0 (or a count where said) or -E_IO, -E_NOSPC, -E_NOENT, -E_EXIST, -E_NOMEM, ... as
 * err_from_errno() maps them. EINTR is retried inside. Paths are absolute. Threads: any; the caller orders calls
 * that must be ordered. A failed fdatasync/fsync/syncfs is never retried as if the pages were still dirty. */
#ifndef VARVE_BASE_IO_H
#define VARVE_BASE_IO_H

#include <sys/stat.h>
#include <sys/types.h>

#include "base/buf.h"

struct io;

struct io_ops {
    int (*open)(struct io *io, const char *path, int flags, mode_t mode); /* fd >= 0; O_CLOEXEC is added */
    int (*close)(struct io *io, int fd);
    int (*pread)(struct io *io, int fd, void *p, size_t len, uint64_t off,
                 size_t *ret_len);                                                 /* short at EOF only */
    int (*pwrite)(struct io *io, int fd, const void *p, size_t len, uint64_t off); /* all or error */
    int (*fdatasync)(struct io *io, int fd);
    int (*fsync)(struct io *io, int fd); /* also of a directory opened O_RDONLY|O_DIRECTORY */
    int (*syncfs)(struct io *io, int fd);
    int (*sync_range)(
        struct io *io, int fd, uint64_t off,
        uint64_t len); /* writes back and waits; nothing is durable by it; tells an error once */
    int (*truncate)(struct io *io, int fd, uint64_t size);
    int (*allocate)(struct io *io, int fd, uint64_t off, uint64_t len); /* reserves, keeps the size */
    int (*punch)(struct io *io, int fd, uint64_t off, uint64_t len);    /* frees, keeps the size */
    int (*stat)(struct io *io, const char *path, struct stat *ret);
    int (*fstat)(struct io *io, int fd, struct stat *ret);
    int (*unlink)(struct io *io, const char *path);
    int (*rename)(struct io *io, const char *from, const char *to);
    int (*mkdir)(struct io *io, const char *path, mode_t mode);
    int (*rmdir)(struct io *io, const char *path);
};

struct io {
    const struct io_ops *ops;
};

/* Where this thread counts that it moves, for whoever watches over it; NULL: nobody does. Each call of the real door and each look
 * into the tables is a move: work may be long, but it moves. */
extern _Thread_local uint64_t *io_moved;
static inline void io_move(void)
{
    if (io_moved)
        __atomic_store_n(io_moved, *io_moved + 1, __ATOMIC_RELAXED);
}

/* io_real(): the door to the real disk. One for the process, never freed. */
struct io *io_real(void);

static inline int io_open(struct io *io, const char *path, int flags, mode_t mode)
{
    return io->ops->open(io, path, flags, mode);
}
static inline int io_close(struct io *io, int fd)
{
    return io->ops->close(io, fd);
}
static inline int io_pread(struct io *io, int fd, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    return io->ops->pread(io, fd, p, len, off, ret_len);
}
static inline int io_pwrite(struct io *io, int fd, const void *p, size_t len, uint64_t off)
{
    return io->ops->pwrite(io, fd, p, len, off);
}
static inline int io_fdatasync(struct io *io, int fd)
{
    return io->ops->fdatasync(io, fd);
}
static inline int io_fsync(struct io *io, int fd)
{
    return io->ops->fsync(io, fd);
}
static inline int io_syncfs(struct io *io, int fd)
{
    return io->ops->syncfs(io, fd);
}
static inline int io_sync_range(struct io *io, int fd, uint64_t off, uint64_t len)
{
    return io->ops->sync_range(io, fd, off, len);
}
static inline int io_truncate(struct io *io, int fd, uint64_t size)
{
    return io->ops->truncate(io, fd, size);
}
static inline int io_allocate(struct io *io, int fd, uint64_t off, uint64_t len)
{
    return io->ops->allocate(io, fd, off, len);
}
static inline int io_punch(struct io *io, int fd, uint64_t off, uint64_t len)
{
    return io->ops->punch(io, fd, off, len);
}
static inline int io_stat(struct io *io, const char *path, struct stat *ret)
{
    return io->ops->stat(io, path, ret);
}
static inline int io_fstat(struct io *io, int fd, struct stat *ret)
{
    return io->ops->fstat(io, fd, ret);
}
static inline int io_unlink(struct io *io, const char *path)
{
    return io->ops->unlink(io, path);
}
static inline int io_rename(struct io *io, const char *from, const char *to)
{
    return io->ops->rename(io, from, to);
}
static inline int io_mkdir(struct io *io, const char *path, mode_t mode)
{
    return io->ops->mkdir(io, path, mode);
}
static inline int io_rmdir(struct io *io, const char *path)
{
    return io->ops->rmdir(io, path);
}

/* io_list(path, cb, arg): every name in a directory but . and ..; cb returning non-zero ends it with that value.
 * Reading only, so it does not pass through the double. */
int io_list(const char *path, int (*cb)(void *arg, const char *name), void *arg);

/* Bytes of an open file. */
struct io_range {
    int fd;
    uint64_t off, len;
};

/* io_ahead(fd, off, len): these bytes will be read soon: the kernel begins to bring them into memory. A wish: nothing tells whether it
 * did. Reading only, so it does not pass through the double. */
void io_ahead(int fd, uint64_t off, uint64_t len);
/* io_behind: these were read and will not be soon again: what of them is in memory may go. What is not written yet is written. */
void io_behind(int fd, uint64_t off, uint64_t len);

/* io_sync_dir(io, path): fsync of a directory by path. */
int io_sync_dir(struct io *io, const char *path);

/* io_replace(io, path, p, len): the file is the old or the new one after a power cut: write beside it, fdatasync,
 * rename, fsync of the directory. */
int io_replace(struct io *io, const char *path, const void *p, size_t len);

/* io_read_file(path, max, ret): whole file; -E_TOOBIG beyond max bytes. */
int io_read_file(struct io *io, const char *path, size_t max, struct buf *ret);

/* io_write(fd, p, len): all of it, where the descriptor is: pipes, standard output. -E_CLOSED: nobody reads on. No bytes of a store:
 * it does not pass through the double. */
int io_write(int fd, const void *p, size_t len);

#endif
