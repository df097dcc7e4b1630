#include "tests/fsx/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void fx_path(const struct fx *f, const char *under, const char *name, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/%s%s%s", f->mnt, under, under[0] ? "/" : "", name);

    assert(n > 0 && (size_t)n < size);
}

int fx_open(struct fx *f, unsigned i)
{
    char path[1024];

    if (f->fd[i] >= 0)
        return f->fd[i];
    fx_path(f, "", f->file[i].name, path, sizeof(path));
    f->fd[i] = open(path, O_RDWR | O_CLOEXEC);
    WANT(f, f->fd[i] >= 0, "open %s: %s", path, strerror(errno));
    return f->fd[i];
}

void fx_close_all(struct fx *f)
{
    for (unsigned i = 0; i < FILES; i++) {
        if (f->fd[i] >= 0)
            close(f->fd[i]);
        f->fd[i] = -1;
    }
}

static void compare_piece(struct fx *f, int fd, const struct fx_file *file, uint64_t off, size_t len,
                          const char *what)
{
    ssize_t n = pread(fd, f->buf, len, (off_t)off);

    WANT(f, n == (ssize_t)len, "%s %s: read of %zu at %llu gives %zd: %s", what, file->name, len,
         (unsigned long long)off, n, n < 0 ? strerror(errno) : "");
    pages_read(&file->data, f->want, len, off);
    f->bytes_compared += len;
    if (memcmp(f->buf, f->want, len) == 0)
        return;
    for (size_t i = 0; i < len; i++)
        WANT(f, f->buf[i] == f->want[i], "%s %s: byte %llu (block %llu) is %02x, not %02x", what, file->name,
             (unsigned long long)(off + i), (unsigned long long)((off + i) / PG_SIZE), f->buf[i], f->want[i]);
}

void fx_compare(struct fx *f, int fd, const struct fx_file *file, uint64_t off, uint64_t len,
                const char *what)
{
    struct stat st;

    WANT(f, fstat(fd, &st) == 0, "%s %s: fstat: %s", what, file->name, strerror(errno));
    WANT(f, (uint64_t)st.st_size == file->size, "%s %s: size is %lld, not %llu", what, file->name,
         (long long)st.st_size, (unsigned long long)file->size);
    len = off >= file->size ? 0 : MIN_OF(len, file->size - off);
    while (len > 0) {
        size_t n = MIN_OF(len, (uint64_t)IO_MAX);
        compare_piece(f, fd, file, off, n, what);
        off += n, len -= n;
    }
}

void fx_compare_dir(struct fx *f, const char *under, const struct fx_file *files, bool whole)
{
    char path[1024];

    for (unsigned i = 0; i < FILES; i++) {
        uint64_t off = whole ? 0 : fx_rand(f, files[i].size + 1);
        int fd;

        fx_path(f, under, files[i].name, path, sizeof(path));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        WANT(f, fd >= 0, "open %s: %s", path, strerror(errno));
        fx_compare(f, fd, &files[i], off, whole ? UINT64_MAX : 65536, under[0] ? under : "live");
        close(fd);
    }
}

void fx_file_copy(struct fx_file *dst, const struct fx_file *src)
{
    *dst = *src;
    memset(&dst->data, 0, sizeof(dst->data));
    pages_clone(&dst->data, &src->data);
}

void fx_file_free(struct fx_file *file)
{
    pages_free(&file->data);
    memset(file, 0, sizeof(*file));
}

void fx_fill(struct fx *f, size_t len)
{
    uint64_t x = f->seed * 0x9e3779b97f4a7c15u + f->op;

    for (size_t i = 0; i < len; i += 8) {
        uint64_t w = test_rand(&x) | 0x0101010101010101u;
        memcpy(f->buf + i, &w, 8); /* the buffer has room for a whole word more */
    }
}
