#include "tests/fsx/fsx.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

static unsigned pick(struct fx *f)
{
    return (unsigned)fx_rand(f, FILES);
}

static size_t pick_len(struct fx *f)
{
    switch (fx_rand(f, 10)) {
    case 0: return 1 + fx_rand(f, 400000);
    case 1:
    case 2: return PG_SIZE * (1 + fx_rand(f, 8));
    case 3:
    case 4:
    case 5: return 1 + fx_rand(f, 600);
    default: return 1 + fx_rand(f, 30000);
    }
}

/* Mostly inside of the first mebibytes, where things meet; now and then anywhere. */
static uint64_t pick_off(struct fx *f, uint64_t size)
{
    uint64_t off;

    switch (fx_rand(f, 12)) {
    case 0: off = fx_rand(f, FILE_MAX); break;
    case 1: off = size; break;
    case 2: off = fx_rand(f, 65) << 20; break;
    case 3:
    case 4: off = fx_rand(f, 600) * PG_SIZE; break;
    default: off = fx_rand(f, MIN_OF(size + 4096, (uint64_t)3 << 20)); break;
    }
    return MIN_OF(off, FILE_MAX - 500000);
}

void fx_write(struct fx *f)
{
    unsigned i = pick(f);
    struct fx_file *file = &f->file[i];
    uint64_t off = pick_off(f, file->size);
    size_t len = pick_len(f);
    ssize_t n;

    fx_fill(f, len);
    fx_log(f, "write %s off=%llu len=%zu", file->name, (unsigned long long)off, len);
    n = pwrite(fx_open(f, i), f->buf, len, (off_t)off);
    WANT(f, n == (ssize_t)len, "write %s: %zd: %s", file->name, n, strerror(errno));
    pages_write(&file->data, f->buf, len, off, f->op);
    file->size = MAX_OF(file->size, off + len);
    f->bytes_written += len;
    if (fx_rand(f, 40) == 0)
        WANT(f, fsync(fx_open(f, i)) == 0, "fsync %s: %s", file->name, strerror(errno));
}

void fx_read(struct fx *f)
{
    unsigned i = pick(f);
    uint64_t off = pick_off(f, f->file[i].size);

    fx_log(f, "read %s off=%llu", f->file[i].name, (unsigned long long)off);
    fx_compare(f, fx_open(f, i), &f->file[i], off, pick_len(f), "read");
}

void fx_truncate(struct fx *f)
{
    unsigned i = pick(f);
    struct fx_file *file = &f->file[i];
    uint64_t size = fx_rand(f, 5) == 0 ? 0 : pick_off(f, file->size), last = (size + PG_SIZE - 1) / PG_SIZE;

    fx_log(f, "truncate %s size=%llu from %llu", file->name, (unsigned long long)size,
           (unsigned long long)file->size);
    WANT(f, ftruncate(fx_open(f, i), (off_t)size) == 0, "truncate %s: %s", file->name, strerror(errno));
    if (size < file->size) {
        pages_zero(&file->data, size, last * PG_SIZE - size, f->op);
        pages_set(&file->data, last, UINT64_MAX - last, PG_HOLE, -1, f->op);
    }
    file->size = size;
}

static void zero_range(struct fx *f, int mode, const char *what)
{
    unsigned i = pick(f);
    struct fx_file *file = &f->file[i];
    uint64_t off = pick_off(f, file->size), len = pick_len(f);

    fx_log(f, "%s %s off=%llu len=%llu mode=%d", what, file->name, (unsigned long long)off,
           (unsigned long long)len, mode);
    WANT(f, fallocate(fx_open(f, i), mode, (off_t)off, (off_t)len) == 0, "%s %s: %s", what, file->name,
         strerror(errno));
    pages_zero(&file->data, off, len, f->op);
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        file->size = MAX_OF(file->size, off + len);
}

void fx_punch(struct fx *f)
{
    zero_range(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch");
}

void fx_zero(struct fx *f)
{
    zero_range(f, FALLOC_FL_ZERO_RANGE | (fx_rand(f, 2) ? FALLOC_FL_KEEP_SIZE : 0), "zero");
}

/* A map of a part of the file that has bytes. false: it is empty. */
static bool map(struct fx *f, unsigned i, uint8_t **ret, uint64_t *ret_off, size_t *ret_len)
{
    uint64_t size = f->file[i].size, off, len = pick_len(f);
    void *p;

    if (size == 0)
        return false;
    off = fx_rand(f, size) / PG_SIZE * PG_SIZE;
    len = MIN_OF(len, size - off);
    p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fx_open(f, i), (off_t)off);
    WANT(f, p != MAP_FAILED, "mmap %s: %s", f->file[i].name, strerror(errno));
    *ret = p, *ret_off = off, *ret_len = len;
    return true;
}

void fx_mmap_write(struct fx *f)
{
    unsigned i = pick(f);
    uint8_t *p;
    uint64_t off;
    size_t len, at;

    if (!map(f, i, &p, &off, &len))
        return fx_do(f, FX_write);
    at = fx_rand(f, len);
    fx_log(f, "mmap_write %s off=%llu len=%zu", f->file[i].name, (unsigned long long)(off + at), len - at);
    fx_fill(f, len - at);
    memcpy(p + at, f->buf, len - at);
    WANT(f, msync(p, len, MS_SYNC) == 0, "msync %s: %s", f->file[i].name, strerror(errno));
    munmap(p, len);
    pages_write(&f->file[i].data, f->buf, len - at, off + at, f->op);
}

void fx_mmap_read(struct fx *f)
{
    unsigned i = pick(f);
    uint8_t *p;
    uint64_t off;
    size_t len;

    if (!map(f, i, &p, &off, &len))
        return fx_do(f, FX_read);
    fx_log(f, "mmap_read %s off=%llu len=%zu", f->file[i].name, (unsigned long long)off, len);
    pages_read(&f->file[i].data, f->want, len, off);
    for (size_t k = 0; memcmp(p, f->want, len) != 0 && k < len; k++)
        WANT(f, p[k] == f->want[k], "mmap %s: byte %llu is %02x, not %02x", f->file[i].name,
             (unsigned long long)(off + k), p[k], f->want[k]);
    munmap(p, len);
}

static void copy_bytes(struct fx *f, const struct pages *src, uint64_t from, struct fx_file *dst, uint64_t to,
                       size_t len)
{
    pages_read(src, f->want, len, from);
    pages_write(&dst->data, f->want, len, to, f->op);
    dst->size = MAX_OF(dst->size, to + len);
}

/* From another file, from the same one, or out of a snapshot. */
void fx_copy(struct fx *f)
{
    unsigned i = pick(f), k = pick(f);
    struct fx_snap *sn = f->nsnaps && fx_rand(f, 3) == 0 ? &f->snap[fx_rand(f, f->nsnaps)] : NULL;
    const struct fx_file *src = sn ? &sn->file[k] : &f->file[k];
    uint64_t from = pick_off(f, src->size), to = fx_rand(f, 2) ? from : pick_off(f, f->file[i].size);
    off_t at_from, at_to;
    size_t len = pick_len(f), want;
    char under[NAME_SIZE + 16], path[1024];
    int fd = -1;
    ssize_t n;

    if (fx_rand(f, 2))
        from -= from % PG_SIZE, to -= to % PG_SIZE;
    if (!sn && i == k && from < to + len && to < from + len)
        return fx_do(f, FX_read);
    if (sn) {
        snprintf(under, sizeof(under), ".snapshots/%s", sn->name);
        fx_path(f, under, src->name, path, sizeof(path));
        fd = open(path, O_RDONLY | O_CLOEXEC);
        WANT(f, fd >= 0, "open %s: %s", path, strerror(errno));
    }
    fx_log(f, "copy %s%s off=%llu -> %s off=%llu len=%zu", sn ? sn->name : "", src->name,
           (unsigned long long)from, f->file[i].name, (unsigned long long)to, len);
    want = from >= src->size ? 0 : MIN_OF((uint64_t)len, src->size - from);
    at_from = (off_t)from, at_to = (off_t)to;
    n = copy_file_range(sn ? fd : fx_open(f, k), &at_from, fx_open(f, i), &at_to, len, 0);
    WANT(f, n >= 0 && (size_t)n <= want && (n > 0 || want == 0), "copy_file_range %s: %zd of %zu: %s",
         src->name, n, want, n < 0 ? strerror(errno) : "");
    if (fd >= 0)
        close(fd);
    if (n > 0)
        copy_bytes(f, &src->data, from, &f->file[i], to, (size_t)n);
}
