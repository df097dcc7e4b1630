#include "base/io_past.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/mark.h"

#define PAST_ALIGN 4096u /* no disk's sectors are larger */
#define PAST_BYTES (256u << 10)

struct io_past {
    struct io io;
    struct io *under;
    uint8_t *room; /* PAST_BYTES, aligned */
    bool refused;
};

static struct io_past *past(struct io *io)
{
    return (struct io_past *)io;
}

static void refuse(struct io_past *p)
{
    MARK("io: a filesystem refuses to be read past the page cache");
    p->refused = true;
}

static int past_open(struct io *io, const char *path, int flags, mode_t mode)
{
    struct io_past *p = past(io);
    int fd = -E_INVAL;

    if ((flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT)
        return -E_INVAL;
    if (!p->refused && !BROKEN(VARVE_BREAK_scrub_cached))
        fd = io_open(p->under, path, flags | O_DIRECT, mode);
    if (fd != -E_INVAL)
        return fd;
    refuse(p);
    return io_open(p->under, path, flags, mode);
}

static int past_close(struct io *io, int fd)
{
    return io_close(past(io)->under, fd);
}

static int past_fstat(struct io *io, int fd, struct stat *ret)
{
    return io_fstat(past(io)->under, fd, ret);
}

static int past_stat(struct io *io, const char *path, struct stat *ret)
{
    return io_stat(past(io)->under, path, ret);
}

static void drop_pages(int fd, uint64_t off, size_t len)
{
    if (!BROKEN(VARVE_BREAK_scrub_cached))
        (void)posix_fadvise(fd, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED);
}

/* An aligned piece into the room. */
static int read_piece(struct io_past *p, int fd, uint64_t off, size_t len, size_t *ret_len)
{
    int r = -E_INVAL;

    if (!p->refused)
        r = io_pread(p->under, fd, p->room, len, off, ret_len);
    if (r != -E_INVAL)
        return r;
    if (!p->refused) {
        int flags = fcntl(fd, F_GETFL);

        refuse(p);
        if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_DIRECT) < 0)
            return -E_INVAL;
    }
    drop_pages(fd, off, len);
    r = io_pread(p->under, fd, p->room, len, off, ret_len);
    drop_pages(fd, off, len);
    return r;
}

static int past_pread(struct io *io, int fd, void *out, size_t len, uint64_t off, size_t *ret_len)
{
    struct io_past *p = past(io);
    size_t done = 0, got = 0, want = 0;

    while (done < len && got == want) {
        size_t skip = (size_t)((off + done) % PAST_ALIGN), n;
        int r;

        want = MIN_OF((size_t)PAST_BYTES, (skip + len - done + PAST_ALIGN - 1) & ~(size_t)(PAST_ALIGN - 1));
        r = read_piece(p, fd, off + done - skip, want, &got);
        if (r < 0)
            return r;
        n = got > skip ? MIN_OF(got - skip, len - done) : 0;
        memcpy((uint8_t *)out + done, p->room + skip, n);
        done += n;
    }
    *ret_len = done;
    return 0;
}

int io_past_new(struct io *under, struct io_past **ret)
{
    static const struct io_ops ops = {
        .open = past_open, .close = past_close, .pread = past_pread, .stat = past_stat, .fstat = past_fstat};
    struct io_past *p = calloc(1, sizeof(*p));

    if (p)
        p->room = aligned_alloc(PAST_ALIGN, PAST_BYTES);
    if (!p || !p->room) {
        free(p);
        return -E_NOMEM;
    }
    p->io.ops = &ops;
    p->under = under;
    *ret = p;
    return 0;
}

void io_past_free(struct io_past *p)
{
    if (!p)
        return;
    free(p->room);
    free(p);
}

struct io *io_past_io(struct io_past *p)
{
    return &p->io;
}

bool io_past_refused(const struct io_past *p)
{
    return p->refused;
}
