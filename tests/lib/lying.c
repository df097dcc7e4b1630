/* The door of the lying disk: calls, faults, counters. */
#include "tests/lib/lying.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/lying_model.h"
#include "tests/lib/test.h"

#define FDS_MAX 65536

/* What a call may do. code 0: go. Else give code back; recorded: it is in flight in a power cut and goes into the
 * model alone; partial: a write does its first bytes. */
struct verdict {
    int code;
    bool recorded;
    bool partial;
};

static pthread_mutex_t disks_lock = PTHREAD_MUTEX_INITIALIZER; /* guards disks */
static struct lying *disks;
static _Atomic(struct lying *) owners[FDS_MAX]; /* of descriptors */

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

static bool below(const struct lying *d, const char *path)
{
    return strncmp(path, d->root, d->root_len) == 0 && (path[d->root_len] == '/' || path[d->root_len] == 0);
}

struct lying *lying__of_path(const char *path)
{
    struct lying *d;

    pthread_mutex_lock(&disks_lock);
    for (d = disks; d && !below(d, path);)
        d = d->next;
    pthread_mutex_unlock(&disks_lock);
    return d;
}

struct lying *lying__of_fd(int fd)
{
    return fd >= 0 && fd < FDS_MAX ? atomic_load(&owners[fd]) : NULL;
}

static struct lying_node *node_of(const struct lying *d, int fd)
{
    return fd >= 0 && (size_t)fd < d->nfds ? d->fds[fd].node : NULL;
}

static void fd_track(struct lying *d, int fd, struct lying_node *n, int flags, const char *path)
{
    assert(fd < FDS_MAX);
    if ((size_t)fd >= d->nfds) {
        size_t n_new = MAX_OF((size_t)fd + 1, d->nfds * 2);

        d->fds = realloc(d->fds, n_new * sizeof(*d->fds));
        assert(d->fds);
        memset(d->fds + d->nfds, 0, (n_new - d->nfds) * sizeof(*d->fds));
        d->nfds = n_new;
    }
    assert(!d->fds[fd].node);
    d->fds[fd] = (struct lying_fd){lying__node_ref(n), flags, strdup(path + strspn(path, "/"))};
    assert(d->fds[fd].path);
    atomic_store(&owners[fd], d);
}

static void fd_forget(struct lying *d, int fd)
{
    if (!node_of(d, fd))
        return;
    atomic_store(&owners[fd], NULL);
    lying__node_unref(d->fds[fd].node);
    free(d->fds[fd].path);
    d->fds[fd] = (struct lying_fd){0};
}

static struct verdict judge(struct lying *d, enum lying_kind kind)
{
    struct verdict v = {0};

    d->counts[__builtin_ctz(kind)]++;
    if (d->crashed || d->killed)
        return (struct verdict){.code = -E_CRASH};
    if (kind & LYING_MUTATING)
        d->mutations++;
    if (kind & LYING_MUTATING && d->crash_at && d->mutations >= d->crash_at) {
        d->crashed = true;
        return (struct verdict){.code = -E_CRASH, .recorded = true};
    }
    if (kind & LYING_MUTATING && d->kill_at && d->mutations >= d->kill_at) {
        d->killed = true;
        return (struct verdict){.code = -E_CRASH, .partial = true};
    }
    if (!(d->fail_kinds & kind) || d->fail_n == 0 || --d->fail_n > 0)
        return v;
    d->fail_n = d->fail_stays;
    d->faults++;
    return (struct verdict){.code = d->fail_code,
                            .partial = kind == LYING_WRITE && d->fail_kinds & LYING_PARTIAL};
}

static void trace(struct lying *d, const char *what, const char *path, uint64_t off, uint64_t len, int r)
{
    bool range = off || len;

    if (!d->trace)
        return;
    path += below(d, path) ? d->root_len : 0;
    path += strspn(path, "/");
    if (buf_printf(d->trace, "%s %s", what, path) < 0 ||
        (range && buf_printf(d->trace, " %llu %llu", (unsigned long long)off, (unsigned long long)len) < 0) ||
        (r < 0 && buf_printf(d->trace, " %s", err_name(r)) < 0) || buf_puts(d->trace, "\n") < 0)
        abort();
}

static void trace_fd(struct lying *d, const char *what, int fd, uint64_t off, uint64_t len, int r)
{
    trace(d, what, node_of(d, fd) ? d->fds[fd].path : "?", off, len, r);
}

static int code_of(long r)
{
    return r < 0 ? err_from_errno(errno) : 0;
}

static int open_model(struct lying *d, const char *path, int flags, mode_t mode, struct verdict v,
                      enum lying_kind kind)
{
    struct lying_node *dir, *n;
    char name[256];
    int fd = v.code;

    n = lying__find(d, path, &dir, name);
    if (v.code == 0) {
        fd = (int)syscall(SYS_openat, AT_FDCWD, path, (flags | O_CLOEXEC) & ~O_DIRECT, mode);
        if (fd < 0)
            return err_from_errno(errno);
    } else if (!v.recorded) {
        return v.code;
    }
    if (kind == LYING_CREATE) {
        n = lying__node_new(false, mode);
        lying__name_create(d, dir, name, n);
        lying__node_unref(n);
    } else if (kind == LYING_TRUNCATE) {
        lying__truncate(d, n, 0);
    }
    if (fd >= 0 && n)
        fd_track(d, fd, n, flags, path + d->root_len);
    return fd;
}

static int lying_open(struct io *io, const char *path, int flags, mode_t mode)
{
    struct lying *d = (struct lying *)io;
    enum lying_kind kind = LYING_OPEN;
    struct lying_node *dir, *n;
    char name[256];
    int fd;

    if (!below(d, path))
        return io_open(io_real(), path, flags, mode);
    lock(io);
    n = lying__find(d, path, &dir, name);
    if (!n && dir && dir->is_dir && flags & O_CREAT)
        kind = LYING_CREATE;
    else if (n && !n->is_dir && flags & O_TRUNC && !(flags & O_EXCL && flags & O_CREAT) && n->size > 0)
        kind = LYING_TRUNCATE;
    fd = open_model(d, path, flags, mode, judge(d, kind), kind);
    trace(d,
          kind == LYING_CREATE     ? "create"
          : kind == LYING_TRUNCATE ? "open-truncate"
                                   : "open",
          path, 0, 0, fd);
    return unlock(d, fd);
}

static int lying_close(struct io *io, int fd)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_CLOSE);

    trace_fd(d, "close", fd, 0, 0, 0);
    fd_forget(d, fd);
    if (syscall(SYS_close, fd) < 0 && errno != EINTR && v.code == 0)
        v.code = err_from_errno(errno);
    return unlock(d, v.code == -E_CRASH ? 0 : v.code);
}

static int lying_pread(struct io *io, int fd, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_READ);

    unlock(d, 0);
    return v.code < 0 ? v.code : io_pread(io_real(), fd, p, len, off, ret_len);
}

static size_t part_of(const struct lying *d, struct verdict v, size_t len)
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
    struct verdict v;
    size_t done = 0, take;

    lock(&d->io);
    v = judge(d, LYING_WRITE);
    take = part_of(d, v, len);
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
    if (done > 0 && node_of(d, fd)) {
        lying__write(d, node_of(d, fd), p, done, off);
        if (d->fds[fd].flags & (O_DSYNC | O_SYNC) && v.code == 0)
            lying__sync_pages(node_of(d, fd), off, done);
    }
    trace_fd(d, "write", fd, off, len, v.code);
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
    if (node_of(d, fd) && d->fds[fd].flags & O_APPEND) {
        *ret_off = node_of(d, fd)->size;
        r = 1;
    }
    return unlock(d, r);
}

static int sync_fd(struct io *io, int fd, enum lying_kind kind)
{
    struct lying *d = lock(io);
    struct lying_node *n = node_of(d, fd);
    struct verdict v;

    if (!n)
        return unlock(d, -E_INVAL);
    if (n->is_dir)
        kind = LYING_FSYNC_DIR;
    v = judge(d, kind);
    if (v.code == 0) {
        if (!n->is_dir)
            lying__sync(n);
        lying__names_sync(d, n);
    } else if (v.code != -E_CRASH && !n->is_dir) {
        lying__sync_failed(n);
    }
    trace_fd(d, kind == LYING_FDATASYNC ? "fdatasync" : "fsync", fd, 0, 0, v.code);
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
    struct verdict v = judge(d, LYING_SYNCFS);

    if (v.code == 0)
        lying__settle(d);
    else if (v.code != -E_CRASH)
        lying__for_each_file(d->top, lying__sync_failed);
    trace_fd(d, "syncfs", fd, 0, 0, v.code);
    return unlock(d, v.code);
}

static int lying_sync_range(struct io *io, int fd, uint64_t off, uint64_t len)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_SYNC_RANGE);

    trace_fd(d, "sync_range", fd, off, len, v.code);
    return unlock(d, v.code);
}

static int lying_truncate(struct io *io, int fd, uint64_t size)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_TRUNCATE);
    int r = v.code;

    if (r == 0)
        r = code_of(syscall(SYS_ftruncate, fd, (long)size));
    if ((r == 0 || v.recorded) && node_of(d, fd))
        lying__truncate(d, node_of(d, fd), size);
    trace_fd(d, "truncate", fd, size, 0, r);
    return unlock(d, r);
}

static int lying_allocate_op(struct io *io, int fd, uint64_t off, uint64_t len)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_ALLOCATE);
    int r = v.code;

    if (r == 0 && d->allocate_real)
        r = code_of(syscall(SYS_fallocate, fd, FALLOC_FL_KEEP_SIZE, (long)off, (long)len));
    trace_fd(d, "allocate", fd, off, len, r);
    return unlock(d, r);
}

static int lying_punch(struct io *io, int fd, uint64_t off, uint64_t len)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_PUNCH);
    int r = v.code;

    if (r == 0)
        r = code_of(
            syscall(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (long)off, (long)len));
    if ((r == 0 || v.recorded) && node_of(d, fd))
        lying__punch(d, node_of(d, fd), off, len);
    trace_fd(d, "punch", fd, off, len, r);
    return unlock(d, r);
}

static int lying_stat(struct io *io, const char *path, struct stat *ret)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_STAT);

    unlock(d, 0);
    return v.code < 0 ? v.code : io_stat(io_real(), path, ret);
}

static int lying_fstat(struct io *io, int fd, struct stat *ret)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_STAT);

    unlock(d, 0);
    return v.code < 0 ? v.code : io_fstat(io_real(), fd, ret);
}

static int lying_remove(struct io *io, const char *path, bool is_dir)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, is_dir ? LYING_RMDIR : LYING_UNLINK);
    struct lying_node *dir, *n;
    char name[256];
    int r = v.code;

    assert(below(d, path));
    n = lying__find(d, path, &dir, name);
    if (r == 0)
        r = code_of(syscall(SYS_unlinkat, AT_FDCWD, path, is_dir ? AT_REMOVEDIR : 0));
    if (n && dir && (r == 0 || (v.recorded && n->is_dir == is_dir && n->now.n == 0)))
        lying__name_remove(d, dir, name);
    trace(d, is_dir ? "rmdir" : "unlink", path, 0, 0, r);
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
    struct verdict v = judge(d, LYING_RENAME);
    struct lying_node *dir, *dir2, *n, *n2;
    char name[256], name2[256];
    int r = v.code;

    assert(below(d, from) && below(d, to));
    n = lying__find(d, from, &dir, name);
    n2 = lying__find(d, to, &dir2, name2);
    if (r == 0)
        r = code_of(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
    if (n && dir && dir2 && (r == 0 || (v.recorded && would_rename(n, n2))))
        lying__name_rename(d, dir, name, dir2, name2);
    trace(d, "rename", from, 0, 0, r);
    trace(d, "rename-to", to, 0, 0, r);
    return unlock(d, r);
}

static int lying_mkdir(struct io *io, const char *path, mode_t mode)
{
    struct lying *d = lock(io);
    struct verdict v = judge(d, LYING_MKDIR);
    struct lying_node *dir, *n;
    char name[256];
    int r = v.code;

    assert(below(d, path));
    n = lying__find(d, path, &dir, name);
    if (r == 0)
        r = code_of(syscall(SYS_mkdirat, AT_FDCWD, path, mode));
    if (!n && dir && dir->is_dir && (r == 0 || v.recorded)) {
        n = lying__node_new(true, mode);
        lying__name_create(d, dir, name, n);
        lying__node_unref(n);
    }
    trace(d, "mkdir", path, 0, 0, r);
    return unlock(d, r);
}

static const struct io_ops lying_ops = {
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

int lying_new(const char *root, struct lying **ret)
{
    struct lying *d = lying__alloc(sizeof(*d));
    int r;

    assert(root[0] == '/');
    d->io.ops = &lying_ops;
    pthread_mutex_init(&d->lock, NULL);
    d->root = strdup(root);
    assert(d->root);
    d->root_len = strlen(root);
    while (d->root_len > 1 && root[d->root_len - 1] == '/')
        d->root[--d->root_len] = 0;
    d->top = lying__node_new(true, 0700);
    r = lying__load(d->root, d->top);
    pthread_mutex_lock(&disks_lock);
    d->next = disks;
    disks = d;
    pthread_mutex_unlock(&disks_lock);
    if (r < 0) {
        lying_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

void lying__close_all(struct lying *d)
{
    for (size_t fd = 0; fd < d->nfds; fd++) {
        if (d->fds[fd].node) {
            fd_forget(d, (int)fd);
            syscall(SYS_close, (int)fd);
        }
    }
}

void lying_free(struct lying *d)
{
    struct lying **at;

    if (!d)
        return;
    pthread_mutex_lock(&disks_lock);
    for (at = &disks; *at != d;)
        at = &(*at)->next;
    *at = d->next;
    pthread_mutex_unlock(&disks_lock);
    lying__close_all(d);
    lying__names_free(d);
    lying__node_unref(d->top);
    pthread_mutex_destroy(&d->lock);
    free(d->fds);
    free(d->root);
    free(d);
}

struct io *lying_io(struct lying *d)
{
    return &d->io;
}
