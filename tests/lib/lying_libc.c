/* The calls of libc that a disk in memory (lying_ram) must answer itself, for no real file lies behind it: what only looks, and
 * mappings. Those that change files are in lying_lmdb.c. Both names of a call with 64-bit offsets are given. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/lib/lying_model.h"
#include "tests/lib/lying_next.h"

ssize_t ram_pread(int fd, void *p, size_t len, off_t off) __asm__("pread");
ssize_t ram_pread64(int fd, void *p, size_t len, off_t off) __asm__("pread64");
off_t ram_lseek(int fd, off_t off, int whence) __asm__("lseek");
off_t ram_lseek64(int fd, off_t off, int whence) __asm__("lseek64");
int ram_stat(const char *path, struct stat *ret) __asm__("stat");
int ram_stat64(const char *path, struct stat *ret) __asm__("stat64");
int ram_fstat(int fd, struct stat *ret) __asm__("fstat");
int ram_fstat64(int fd, struct stat *ret) __asm__("fstat64");
int ram_fxstat(int version, int fd, struct stat *ret) __asm__("__fxstat");
int ram_fxstat64(int version, int fd, struct stat *ret) __asm__("__fxstat64");
int ram_fstatfs(int fd, struct statfs *ret) __asm__("fstatfs");
int ram_fstatfs64(int fd, struct statfs *ret) __asm__("fstatfs64");
int ram_fstatvfs(int fd, struct statvfs *ret) __asm__("fstatvfs");
int ram_fstatvfs64(int fd, struct statvfs *ret) __asm__("fstatvfs64");
int ram_fcntl(int fd, int cmd, ...) __asm__("fcntl");
int ram_fcntl64(int fd, int cmd, ...) __asm__("fcntl64");
int ram_flock(int fd, int op) __asm__("flock");
char *ram_realpath(const char *path, char *to) __asm__("realpath");
void *ram_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off) __asm__("mmap");
void *ram_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off) __asm__("mmap64");
int ram_munmap(void *p, size_t len) __asm__("munmap");
DIR *ram_opendir(const char *path) __asm__("opendir");
struct dirent *ram_readdir(DIR *dir) __asm__("readdir");
struct dirent *ram_readdir64(DIR *dir) __asm__("readdir64");
int ram_closedir(DIR *dir) __asm__("closedir");

/* The disk in memory that a path or descriptor belongs to, or NULL. */
static struct lying *of_path(const char *path)
{
    struct lying *d = path && path[0] == '/' ? lying__of_path(path) : NULL;

    return d && d->ram ? d : NULL;
}

static struct lying *of_fd(int fd)
{
    return lying__ram_is(fd) ? lying__of_fd(fd) : NULL;
}

static int as_libc(int r)
{
    if (r >= 0)
        return r;
    errno = err_errno(r);
    return -1;
}

typedef ssize_t pread_fn(int, void *, size_t, off_t);

static ssize_t pread_any(int fd, void *p, size_t len, off_t off, pread_fn *next)
{
    struct lying *d = of_fd(fd);
    size_t got;
    int r;

    if (!d)
        return next(fd, p, len, off);
    r = io_pread(lying_io(d), fd, p, len, (uint64_t)off, &got);
    return r < 0 ? as_libc(r) : (ssize_t)got;
}

ssize_t ram_pread(int fd, void *p, size_t len, off_t off)
{
    return pread_any(fd, p, len, off, NEXT("pread", pread_fn *));
}

ssize_t ram_pread64(int fd, void *p, size_t len, off_t off)
{
    return pread_any(fd, p, len, off, NEXT("pread64", pread_fn *));
}

typedef off_t lseek_fn(int, off_t, int);

off_t ram_lseek(int fd, off_t off, int whence)
{
    struct lying *d = of_fd(fd);

    return d ? (off_t)lying__ram_seek(d, fd, off, whence) : NEXT("lseek", lseek_fn *)(fd, off, whence);
}

off_t ram_lseek64(int fd, off_t off, int whence)
{
    return ram_lseek(fd, off, whence);
}

typedef int stat_fn(const char *, struct stat *);

int ram_stat(const char *path, struct stat *ret)
{
    struct lying *d = of_path(path);

    return d ? as_libc(io_stat(lying_io(d), path, ret)) : NEXT("stat", stat_fn *)(path, ret);
}

int ram_stat64(const char *path, struct stat *ret)
{
    return ram_stat(path, ret);
}

typedef int fstat_fn(int, struct stat *);

int ram_fstat(int fd, struct stat *ret)
{
    struct lying *d = of_fd(fd);

    return d ? as_libc(io_fstat(lying_io(d), fd, ret)) : NEXT("fstat", fstat_fn *)(fd, ret);
}

int ram_fstat64(int fd, struct stat *ret)
{
    return ram_fstat(fd, ret);
}

int ram_fxstat(int version, int fd, struct stat *ret)
{
    (void)version;
    return ram_fstat(fd, ret);
}

int ram_fxstat64(int version, int fd, struct stat *ret)
{
    (void)version;
    return ram_fstat(fd, ret);
}

typedef int fstatfs_fn(int, struct statfs *);

int ram_fstatfs(int fd, struct statfs *ret)
{
    if (!lying__ram_is(fd))
        return NEXT("fstatfs", fstatfs_fn *)(fd, ret);
    memset(ret, 0, sizeof(*ret));
    ret->f_type = 0xef53; /* a local one */
    return 0;
}

int ram_fstatfs64(int fd, struct statfs *ret)
{
    return ram_fstatfs(fd, ret);
}

typedef int fstatvfs_fn(int, struct statvfs *);

int ram_fstatvfs(int fd, struct statvfs *ret)
{
    if (!lying__ram_is(fd))
        return NEXT("fstatvfs", fstatvfs_fn *)(fd, ret);
    memset(ret, 0, sizeof(*ret));
    ret->f_bsize = ret->f_frsize = LYING_PAGE;
    ret->f_blocks = 1u << 28;
    ret->f_bfree = ret->f_bavail = 1u << 27;
    ret->f_files = ret->f_ffree = ret->f_favail = 1u << 20;
    ret->f_namemax = 255;
    return 0;
}

int ram_fstatvfs64(int fd, struct statvfs *ret)
{
    return ram_fstatvfs(fd, ret);
}

typedef int fcntl_fn(int, int, ...);

/* Locks are granted, flags are nothing. */
#define FCNTL(name)                                                                                          \
    va_list ap;                                                                                              \
    void *arg;                                                                                               \
    if (lying__ram_is(fd))                                                                                   \
        return 0;                                                                                            \
    va_start(ap, cmd);                                                                                       \
    arg = va_arg(ap, void *);                                                                                \
    va_end(ap);                                                                                              \
    return NEXT(name, fcntl_fn *)(fd, cmd, arg)

int ram_fcntl(int fd, int cmd, ...)
{
    FCNTL("fcntl");
}

int ram_fcntl64(int fd, int cmd, ...)
{
    FCNTL("fcntl64");
}

int ram_flock(int fd, int op)
{
    return lying__ram_is(fd) ? 0 : NEXT("flock", int (*)(int, int))(fd, op);
}

typedef char *realpath_fn(const char *, char *);

char *ram_realpath(const char *path, char *to)
{
    if (!of_path(path))
        return NEXT("realpath", realpath_fn *)(path, to);
    assert(!to);
    return strdup(path);
}

typedef void *mmap_fn(void *, size_t, int, int, int, off_t);

static void *mmap_any(void *at, size_t len, int prot, int flags, int fd, off_t off, mmap_fn *next)
{
    struct lying *d = of_fd(fd);

    if (!d)
        return next(at, len, prot, flags, fd, off);
    assert(off == 0 && flags & MAP_SHARED);
    return lying__ram_map(d, fd, len, prot & PROT_WRITE);
}

void *ram_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    return mmap_any(at, len, prot, flags, fd, off, NEXT("mmap", mmap_fn *));
}

void *ram_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    return mmap_any(at, len, prot, flags, fd, off, NEXT("mmap64", mmap_fn *));
}

int ram_munmap(void *p, size_t len)
{
    return lying__ram_unmap(p) ? 0 : NEXT("munmap", int (*)(void *, size_t))(p, len);
}

#define DIRS_MAX 16

static struct ram_dir {
    bool used;
    struct lying_entries list; /* as it was when the directory was opened */
    size_t at;
    struct dirent entry;
} dirs[DIRS_MAX];

static struct ram_dir *ram_dir(DIR *dir)
{
    for (size_t i = 0; i < DIRS_MAX; i++)
        if ((void *)dir == &dirs[i])
            return &dirs[i];
    return NULL;
}

DIR *ram_opendir(const char *path)
{
    struct lying *d = of_path(path);
    struct lying_node *parent, *n;
    struct ram_dir *rd = dirs;
    char name[256];

    if (!d)
        return NEXT("opendir", DIR * (*)(const char *))(path);
    n = lying__find(d, path, &parent, name);
    if (!n || !n->is_dir) {
        errno = n ? ENOTDIR : ENOENT;
        return NULL;
    }
    while (rd->used)
        rd++;
    assert(rd < dirs + DIRS_MAX);
    *rd = (struct ram_dir){.used = true};
    for (size_t i = 0; i < n->now.n; i++)
        lying__entry_set(&rd->list, n->now.e[i].name, n->now.e[i].node);
    return (DIR *)(void *)rd;
}

typedef struct dirent *readdir_fn(DIR *);

struct dirent *ram_readdir(DIR *dir)
{
    struct ram_dir *rd = ram_dir(dir);

    if (!rd)
        return NEXT("readdir", readdir_fn *)(dir);
    if (rd->at >= rd->list.n)
        return NULL;
    snprintf(rd->entry.d_name, sizeof(rd->entry.d_name), "%s", rd->list.e[rd->at++].name);
    return &rd->entry;
}

struct dirent *ram_readdir64(DIR *dir)
{
    return ram_readdir(dir);
}

int ram_closedir(DIR *dir)
{
    struct ram_dir *rd = ram_dir(dir);

    if (!rd)
        return NEXT("closedir", int (*)(DIR *))(dir);
    lying__entries_free(&rd->list);
    rd->used = false;
    return 0;
}
