#include "tests/lib/rot.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int rot_open(struct io *io, const char *path, int flags, mode_t mode)
{
    struct rot *r = (struct rot *)io;
    int fd;

    if (flags & O_DIRECT && r->refuse_open)
        return -E_INVAL;
    fd = io_open(io_real(), path, flags & ~O_DIRECT, mode);
    if (fd >= 0 && fd < (int)ARRAY_LEN(r->direct))
        r->direct[fd] = flags & O_DIRECT;
    return fd;
}

static bool is_file(int fd, const char *end)
{
    char link[64], path[4096];
    size_t len = strlen(end);
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path));
    return n >= (ssize_t)len && memcmp(path + (size_t)n - len, end, len) == 0;
}

static int rot_pread(struct io *io, int fd, void *p, size_t len, uint64_t off, size_t *ret_len)
{
    struct rot *r = (struct rot *)io;
    bool direct = fd < (int)ARRAY_LEN(r->direct) && r->direct[fd];
    int e;

    if (direct && r->refuse_read) {
        r->direct[fd] = false;
        return -E_INVAL;
    }
    if (direct && (off % 4096 || len % 4096 || (uintptr_t)p % 4096))
        return -E_INVAL;
    *(direct ? &r->past : &r->cached) += 1;
    e = io_pread(io_real(), fd, p, len, off, ret_len);
    if (e == 0 && direct && r->file && r->at >= off && r->at < off + *ret_len && is_file(fd, r->file))
        ((uint8_t *)p)[r->at - off] ^= 0x10;
    return e;
}

void rot_init(struct rot *r)
{
    *r = (struct rot){.ops = *io_real()->ops};
    r->ops.open = rot_open;
    r->ops.pread = rot_pread;
    r->io.ops = &r->ops;
}
