/* The door of the lying disk: every call is judged, done for real, and kept in the model. */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/lying_model.h"
#include "tests/lib/test.h"

static struct lying *lock(struct io *io)
{
    struct lying *d = (struct lying *)io;

    pthread_mutex_lock(&d->lock);
    return d;
}

static int unlock(struct lying *d, int r)
{
    pthread_mutex_unlock(&d->lock);
    return r;
}

static int code_of(long r)
{
    return r < 0 ? err_from_errno(errno) : 0;
}

struct asked { /* for, by an open */
    const char *path, *name;
    struct lying_node *dir, *n;
    int flags;
    mode_t mode;
};

static int open_model(struct lying *d, const struct asked *a, struct lying_verdict v, enum lying_kind kind)
{
    struct lying_node *n = a->n;
    int fd = v.code;

    if (v.code == 0 && d->ram) {
        fd = lying__ram_open(d, a->dir, n, a->flags);
        if (fd < 0)
            return fd;
    } else if (v.code == 0) {
        fd = (int)syscall(SYS_openat, AT_FDCWD, a->path, (a->flags | O_CLOEXEC) & ~O_DIRECT, a->mode);
        if (fd < 0)
            return err_from_errno(errno);
    } else if (!v.recorded) {
        return v.code;
    }
    if (kind == LYING_CREATE) {
        n = lying__node_new(false, a->mode);
        lying__name_create(d, a->dir, a->name, n);
        lying__node_unref(n);
        lying__log(d, LYING_CREATE, a->path, 0, a->mode, NULL);
    } else if (kind == LYING_TRUNCATE) {
        lying__truncate(d, n, 0);
        lying__log(d, LYING_TRUNCATE, a->path, 0, 0, NULL);
        if (d->ram)
            lying__ram_resize(n, 0);
    }
    if (kind & LYING_MUTATING)
        lying__moment(d, kind);
    if (fd >= 0 && n)
        lying__fd_track(d, fd, n, a->flags, a->path + d->root_len);
    return fd;
}

static int lying_open(struct io *io, const char *path, int flags, mode_t mode)
{
    struct lying *d = (struct lying *)io;
    enum lying_kind kind = LYING_OPEN;
    char name[256];
    struct asked a = {.path = path, .name = name, .flags = flags, .mode = mode};
    int fd;

    if (!lying__below(d, path))
        return io_open(io_real(), path, flags, mode);
    lock(io);
    a.n = lying__find(d, path, &a.dir, name);
    if (!a.n && a.dir && a.dir->is_dir && flags & O_CREAT)
        kind = LYING_CREATE;
    else if (a.n && !a.n->is_dir && flags & O_TRUNC && !(flags & O_EXCL && flags & O_CREAT) && a.n->size > 0)
        kind = LYING_TRUNCATE;
    fd = open_model(d, &a, lying__judge(d, kind), kind);
    lying__trace(d,
                 kind == LYING_CREATE     ? "create"
                 : kind == LYING_TRUNCATE ? "open-truncate"
                                          : "open",
                 path, 0, 0, fd);
    return unlock(d, fd);
}

static int lying_close(struct io *io, int fd)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_CLOSE);

    lying__trace_fd(d, "close", fd, 0, 0, 0);
    lying__fd_forget(d, fd);
    if (!d->ram && syscall(SYS_close, fd) < 0 && errno != EINTR && v.code == 0)
        v.code = err_from_errno(errno);
    return unlock(d, v.code == -E_CRASH ? 0 : v.code);
}

static int lying_pread(struct io *io, int fd, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_READ);

    if (v.code == 0 && d->ram) {
        *ret_len = lying__ram_read(lying__node_of(d, fd), off, p, len);
        return unlock(d, 0);
    }
    unlock(d, 0);
    return v.code < 0 ? v.code : io_pread(io_real(), fd, p, len, off, ret_len);
}

static size_t part_of(const struct lying *d, struct lying_verdict v, size_t len)
{
    uint64_t state = d->mutations;
    size_t pages = (size_t)(test_rand(&state) % (len / LYING_PAGE + 2));

    if (v.code == 0 || v.recorded)
        return len;
    if (!v.partial)
        return 0;
    return d->killed ? MIN_OF(len, pages * LYING_PAGE) : len / 2;
}

int lying__pwrite_some(struct lying *d, int fd, const void *p, size_t len, uint64_t off, size_t *ret_done)
{
    struct lying_verdict v;
    size_t done = 0, take;

    lock(&d->io);
    v = lying__judge(d, LYING_WRITE);
    take = part_of(d, v, len);
    if (d->ram && !v.recorded) {
        lying__ram_write(lying__node_of(d, fd), p, take, off);
        done = take;
    }
    while (!v.recorded && done < take) {
        long n = syscall(SYS_pwrite64, fd, (const uint8_t *)p + done, take - done, (long)(off + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            v.code = v.code ? v.code : code_of(n ? n : -1);
            break;
        }
        done += (size_t)n;
    }
    if (v.recorded)
        done = len;
    if (done > 0 && lying__node_of(d, fd)) {
        bool syncs = lying__fd(d, fd)->flags & (O_DSYNC | O_SYNC);

        lying__write(d, lying__node_of(d, fd), p, done, off);
        lying__log_fd(d, LYING_WRITE, fd, off, done, p);
        lying__moment(d, LYING_WRITE | (syncs ? LYING_FDATASYNC : 0u));
        if (syncs && v.code == 0)
            lying__sync_pages(lying__node_of(d, fd), off, done);
    }
    lying__trace_fd(d, "write", fd, off, len, v.code);
    *ret_done = done;
    return unlock(d, v.code);
}

static int lying_pwrite(struct io *io, int fd, const void *p, size_t len, uint64_t off)
{
    size_t done;

    return len == 0 ? 0 : lying__pwrite_some((struct lying *)io, fd, p, len, off, &done);
}

int lying__append_off(struct lying *d, int fd, uint64_t *ret_off)
{
    int r = 0;

    lock(&d->io);
    if (lying__node_of(d, fd) && lying__fd(d, fd)->flags & O_APPEND) {
        *ret_off = lying__node_of(d, fd)->size;
        r = 1;
    }
    return unlock(d, r);
}

static int sync_fd(struct io *io, int fd, enum lying_kind kind)
{
    struct lying *d = lock(io);
    struct lying_node *n = lying__node_of(d, fd);
    struct lying_verdict v;

    if (!n)
        return unlock(d, -E_INVAL);
    if (n->is_dir)
        kind = LYING_FSYNC_DIR;
    v = lying__judge(d, kind);
    if (v.code == 0) {
        if (!n->is_dir)
            lying__sync(n);
        lying__names_sync(d, n);
    } else if (v.code != -E_CRASH && !n->is_dir) {
        lying__sync_failed(n);
    }
    lying__trace_fd(d, kind == LYING_FDATASYNC ? "fdatasync" : "fsync", fd, 0, 0, v.code);
    return unlock(d, v.code);
}

static int lying_fdatasync(struct io *io, int fd)
{
    return sync_fd(io, fd, LYING_FDATASYNC);
}

static int lying_fsync(struct io *io, int fd)
{
    return sync_fd(io, fd, LYING_FSYNC);
}

static int lying_syncfs(struct io *io, int fd)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_SYNCFS);

    if (v.code == 0)
        lying__settle(d);
    else if (v.code != -E_CRASH)
        lying__for_each_file(d->top, lying__sync_failed);
    lying__trace_fd(d, "syncfs", fd, 0, 0, v.code);
    return unlock(d, v.code);
}

static int lying_sync_range(struct io *io, int fd, uint64_t off, uint64_t len)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_SYNC_RANGE);

    lying__trace_fd(d, "sync_range", fd, off, len, v.code);
    return unlock(d, v.code);
}

static int lying_truncate(struct io *io, int fd, uint64_t size)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_TRUNCATE);
    int r = v.code;

    if (r == 0 && d->ram)
        lying__ram_resize(lying__node_of(d, fd), size);
    else if (r == 0)
        r = code_of(syscall(SYS_ftruncate, fd, (long)size));
    if ((r == 0 || v.recorded) && lying__node_of(d, fd)) {
        lying__truncate(d, lying__node_of(d, fd), size);
        lying__log_fd(d, LYING_TRUNCATE, fd, size, 0, NULL);
    }
    lying__moment(d, LYING_TRUNCATE);
    lying__trace_fd(d, "truncate", fd, size, 0, r);
    return unlock(d, r);
}

static int lying_allocate_op(struct io *io, int fd, uint64_t off, uint64_t len)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_ALLOCATE);
    int r = v.code;

    if (r == 0 && d->allocate_real && !d->ram)
        r = code_of(syscall(SYS_fallocate, fd, FALLOC_FL_KEEP_SIZE, (long)off, (long)len));
    lying__trace_fd(d, "allocate", fd, off, len, r);
    return unlock(d, r);
}

static int lying_punch(struct io *io, int fd, uint64_t off, uint64_t len)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_PUNCH);
    int r = v.code;

    if (r == 0 && d->ram)
        lying__ram_punch(lying__node_of(d, fd), off, len);
    else if (r == 0)
        r = code_of(
            syscall(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (long)off, (long)len));
    if ((r == 0 || v.recorded) && lying__node_of(d, fd)) {
        lying__punch(d, lying__node_of(d, fd), off, len);
        lying__log_fd(d, LYING_PUNCH, fd, off, len, NULL);
    }
    lying__moment(d, LYING_PUNCH);
    lying__trace_fd(d, "punch", fd, off, len, r);
    return unlock(d, r);
}

static int lying_stat(struct io *io, const char *path, struct stat *ret)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_STAT);

    if (v.code == 0 && d->ram) {
        struct lying_node *dir, *n;
        char name[256];

        n = lying__find(d, path, &dir, name);
        if (n)
            lying__ram_stat(n, ret);
        return unlock(d, n ? 0 : -E_NOENT);
    }
    unlock(d, 0);
    return v.code < 0 ? v.code : io_stat(io_real(), path, ret);
}

static int lying_fstat(struct io *io, int fd, struct stat *ret)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_STAT);

    if (v.code == 0 && d->ram) {
        lying__ram_stat(lying__node_of(d, fd), ret);
        return unlock(d, 0);
    }
    unlock(d, 0);
    return v.code < 0 ? v.code : io_fstat(io_real(), fd, ret);
}

static int lying_remove(struct io *io, const char *path, bool is_dir)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, is_dir ? LYING_RMDIR : LYING_UNLINK);
    struct lying_node *dir, *n;
    char name[256];
    int r = v.code;

    assert(lying__below(d, path));
    n = lying__find(d, path, &dir, name);
    if (r == 0 && d->ram)
        r = !n ? -E_NOENT : n->is_dir != is_dir ? -E_INVAL : n->now.n ? -E_NOTEMPTY : 0;
    else if (r == 0)
        r = code_of(syscall(SYS_unlinkat, AT_FDCWD, path, is_dir ? AT_REMOVEDIR : 0));
    if (n && dir && (r == 0 || (v.recorded && n->is_dir == is_dir && n->now.n == 0))) {
        lying__name_remove(d, dir, name);
        lying__log(d, LYING_UNLINK, path, 0, 0, NULL);
    }
    lying__moment(d, LYING_UNLINK);
    lying__trace(d, is_dir ? "rmdir" : "unlink", path, 0, 0, r);
    return unlock(d, r);
}

static int lying_unlink(struct io *io, const char *path)
{
    return lying_remove(io, path, false);
}

static int lying_rmdir(struct io *io, const char *path)
{
    return lying_remove(io, path, true);
}

/* would_rename(n, to): whether the kernel would rename n over to (NULL: nothing there). */
static bool would_rename(const struct lying_node *n, const struct lying_node *to)
{
    return !to || (n->is_dir == to->is_dir && to->now.n == 0);
}

static int lying_rename(struct io *io, const char *from, const char *to)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_RENAME);
    struct lying_node *dir, *dir2, *n, *n2;
    char name[256], name2[256];
    int r = v.code;

    assert(lying__below(d, from) && lying__below(d, to));
    n = lying__find(d, from, &dir, name);
    n2 = lying__find(d, to, &dir2, name2);
    if (r == 0 && d->ram)
        r = !n || !dir2 ? -E_NOENT : !would_rename(n, n2) ? -E_NOTEMPTY : 0;
    else if (r == 0)
        r = code_of(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
    if (n && dir && dir2 && (r == 0 || (v.recorded && would_rename(n, n2)))) {
        lying__name_rename(d, dir, name, dir2, name2);
        lying__log(d, LYING_RENAME, from, 0, 0, NULL);
        lying__log(d, LYING_RENAME, to, 0, 0, NULL);
    }
    lying__moment(d, LYING_RENAME);
    lying__trace(d, "rename", from, 0, 0, r);
    lying__trace(d, "rename-to", to, 0, 0, r);
    return unlock(d, r);
}

static int lying_mkdir(struct io *io, const char *path, mode_t mode)
{
    struct lying *d = lock(io);
    struct lying_verdict v = lying__judge(d, LYING_MKDIR);
    struct lying_node *dir, *n;
    char name[256];
    int r = v.code;

    assert(lying__below(d, path));
    n = lying__find(d, path, &dir, name);
    if (r == 0 && d->ram)
        r = n ? -E_EXIST : !dir ? -E_NOENT : 0;
    else if (r == 0)
        r = code_of(syscall(SYS_mkdirat, AT_FDCWD, path, mode));
    if (!n && dir && dir->is_dir && (r == 0 || v.recorded)) {
        n = lying__node_new(true, mode);
        lying__name_create(d, dir, name, n);
        lying__node_unref(n);
        lying__log(d, LYING_MKDIR, path, 0, mode, NULL);
    }
    lying__moment(d, LYING_MKDIR);
    lying__trace(d, "mkdir", path, 0, 0, r);
    return unlock(d, r);
}

const struct io_ops lying__ops = {
    .open = lying_open,
    .close = lying_close,
    .pread = lying_pread,
    .pwrite = lying_pwrite,
    .fdatasync = lying_fdatasync,
    .fsync = lying_fsync,
    .syncfs = lying_syncfs,
    .sync_range = lying_sync_range,
    .truncate = lying_truncate,
    .allocate = lying_allocate_op,
    .punch = lying_punch,
    .stat = lying_stat,
    .fstat = lying_fstat,
    .unlink = lying_unlink,
    .rename = lying_rename,
    .mkdir = lying_mkdir,
    .rmdir = lying_rmdir,
};
