#include "tests/lib/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"

struct walk {
    const char *path;
    size_t root_len;
    uint64_t *sum;
    const char *to;
};

static int remove_one(void *arg, const char *name)
{
    const struct walk *w = arg;
    cleanup(buf_free) struct buf path = {0};
    struct stat st;
    int r = buf_printf(&path, "%s/%s", w->path, name);

    if (r == 0)
        r = io_stat(io_real(), (char *)path.data, &st);
    if (r < 0)
        return r;
    return S_ISDIR(st.st_mode) ? tree_remove((char *)path.data) : io_unlink(io_real(), (char *)path.data);
}

int tree_remove(const char *path)
{
    struct walk w = {.path = path};
    int r = io_list(path, remove_one, &w);

    return r < 0 ? r : io_rmdir(io_real(), path);
}

static int sum_one(void *arg, const char *name)
{
    const struct walk *w = arg;
    struct walk below = *w;
    cleanup(buf_free) struct buf path = {0}, bytes = {0};
    struct stat st;
    uint64_t seed;
    int r = buf_printf(&path, "%s/%s", w->path, name);

    if (r == 0)
        r = io_stat(io_real(), (char *)path.data, &st);
    if (r == 0 && S_ISREG(st.st_mode))
        r = io_read_file(io_real(), (char *)path.data, (size_t)1 << 30, &bytes);
    if (r < 0)
        return r;
    seed = hash_sum(st.st_mode & S_IFMT, path.data + w->root_len, path.len - w->root_len);
    *w->sum += hash_sum(seed, bytes.data, bytes.len);
    below.path = (char *)path.data;
    return S_ISDIR(st.st_mode) ? io_list(below.path, sum_one, &below) : 0;
}

int tree_sum(const char *path, uint64_t *ret)
{
    uint64_t sum = 0;
    struct walk w = {.path = path, .root_len = strlen(path), .sum = &sum};
    int r = io_list(path, sum_one, &w);

    if (r < 0)
        return r;
    *ret = sum;
    return 0;
}

static int copy_run(int from, int to, off_t off, off_t end)
{
    uint8_t b[65536];

    while (off < end) {
        size_t n;
        int r = io_pread(io_real(), from, b, (size_t)MIN_OF((off_t)sizeof(b), end - off), (uint64_t)off, &n);

        if (r == 0)
            r = n ? io_pwrite(io_real(), to, b, n, (uint64_t)off) : -E_IO;
        if (r < 0)
            return r;
        off += (off_t)n;
    }
    return 0;
}

static int copy_data(int from, int to)
{
    off_t size = lseek(from, 0, SEEK_END), data, hole = 0;
    int r = 0;

    while (r == 0 && hole < size) {
        data = lseek(from, hole, SEEK_DATA);
        if (data < 0)
            break; /* a hole up to the end */
        hole = lseek(from, data, SEEK_HOLE);
        r = copy_run(from, to, data, hole);
    }
    return r < 0 ? r : io_truncate(io_real(), to, (uint64_t)size);
}

static int copy_file(const char *from, const char *to, mode_t mode)
{
    int in = io_open(io_real(), from, O_RDONLY, 0), out, r;

    if (in < 0)
        return in;
    out = io_open(io_real(), to, O_WRONLY | O_CREAT | O_EXCL, mode);
    r = out < 0 ? out : copy_data(in, out);
    (void)io_close(io_real(), in);
    if (out >= 0)
        (void)io_close(io_real(), out);
    return r;
}

static int copy_one(void *arg, const char *name)
{
    const struct walk *w = arg;
    cleanup(buf_free) struct buf from = {0}, to = {0};
    struct stat st;
    int r = buf_printf(&from, "%s/%s", w->path, name);

    if (r == 0)
        r = buf_printf(&to, "%s/%s", w->to, name);
    if (r == 0)
        r = io_stat(io_real(), (char *)from.data, &st);
    if (r < 0)
        return r;
    if (S_ISDIR(st.st_mode))
        return tree_copy((char *)from.data, (char *)to.data);
    return S_ISREG(st.st_mode) ? copy_file((char *)from.data, (char *)to.data, st.st_mode & 07777) : 0;
}

int tree_copy(const char *from, const char *to)
{
    struct walk w = {.path = from, .to = to};
    int r = io_mkdir(io_real(), to, 0700);

    return r < 0 ? r : io_list(from, copy_one, &w);
}
