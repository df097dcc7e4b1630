#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "tier/crypt.h"
#include "tier/plain_i.h"

#define IN_MEMORY (8u << 20)
#define PIECE (1u << 20)
#define TRIES 3
#define SLOW_BYTES_MS 64

/* --- names ---------------------------------------------------------------------------------------------------------- */

static int far_name(const char *path, char out[BACKEND_NAME_MAX + 1])
{
    char hex[SHA_TEXT];
    struct sha sum;
    int r = crypt_sha256(path, strlen(path), &sum);

    hex_format(sum.b, sizeof(sum.b), hex);
    snprintf(out, BACKEND_NAME_MAX + 1, "far/%.2s/%s", hex, hex);
    return r;
}

static bool stays(const char *at, bool first)
{
    return (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '-' || (*at == '.' && !first);
}

int plain_name(const char *path, bool far, char out[BACKEND_NAME_MAX + 1])
{
    char name[3 * BACKEND_NAME_MAX + 16];
    size_t n = (size_t)snprintf(name, sizeof(name), "files/");
    bool first = true;

    for (const char *p = path; *p && !far; p++) {
        if (n + 4 > BACKEND_NAME_MAX) {
            far = true;
        } else if (*p == '/' || stays(p, first)) {
            name[n++] = *p;
        } else {
            n += (size_t)snprintf(name + n, 4, "_%02x", (unsigned char)*p);
        }
        first = *p == '/';
    }
    name[n] = 0;
    if (far || backend_name_check(name) < 0)
        return far_name(path, out);
    snprintf(out, BACKEND_NAME_MAX + 1, "%.*s", BACKEND_NAME_MAX, name);
    return 0;
}

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

int plain_spool(const char *room, int *ret_fd)
{
    int fd = open(room, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char path[PATH_MAX];

    if (fd < 0 && snprintf(path, sizeof(path), "%s/varve.XXXXXX", room) < (int)sizeof(path) &&
        (fd = mkostemp(path, O_CLOEXEC)) >= 0)
        unlink(path);
    *ret_fd = fd;
    return fd < 0 ? err_from_errno(errno) : 0;
}

void plain_bytes_release(struct plain_bytes *p)
{
    buf_free(&p->mem);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static int read_piece(struct vol *v, struct vt_at at, uint64_t ino, uint8_t *p, size_t len, uint64_t off)
{
    size_t got = 0;
    int r = file_read(v, at, ino, p, len, off, &got);

    return r < 0 ? r : got == len ? 0 : -E_CORRUPT;
}

static int sum_fd(int fd, uint64_t len, struct sha *ret)
{
    void *p = mmap(NULL, (size_t)len, PROT_READ, MAP_SHARED, fd, 0);
    int r;

    if (p == MAP_FAILED)
        return err_from_errno(errno);
    r = crypt_sha256(p, (size_t)len, ret);
    munmap(p, (size_t)len);
    return r;
}

static int read_large(struct vol *v, struct vt_at at, const struct inode *in, const char *room,
                      const struct backend_call *c, struct plain_bytes *ret, struct sha *sum)
{
    uint8_t *p = malloc(PIECE);
    int r = p ? plain_spool(room, &ret->fd) : -E_NOMEM;

    if (r == 0 && ftruncate(ret->fd, (off_t)in->size) < 0)
        r = err_from_errno(errno);
    for (uint64_t off = 0; r == 0 && off < in->size; off += PIECE) {
        size_t n = (size_t)MIN_OF((uint64_t)PIECE, in->size - off);

        r = c && c->canceled && c->canceled(c->arg) ? -E_CANCELED : 0;
        if (r == 0)
            r = read_piece(v, at, in->ino, p, n, off);
        if (r == 0 && !all_zero(p, n))
            r = io_pwrite(io_real(), ret->fd, p, n, off);
    }
    free(p);
    return r < 0 ? r : sum_fd(ret->fd, in->size, sum);
}

int plain_read(struct vol *v, struct vt_at at, const struct inode *in, const char *room,
               const struct backend_call *c, struct plain_bytes *ret)
{
    struct sha sum;
    int r;

    *ret = (struct plain_bytes){.fd = -1, .len = in->size};
    if (in->size > IN_MEMORY) {
        r = read_large(v, at, in, room, c, ret, &sum);
    } else {
        r = buf_add_zero(&ret->mem, (size_t)in->size);
        if (r == 0 && in->size)
            r = read_piece(v, at, in->ino, ret->mem.data, (size_t)in->size, 0);
        if (r == 0)
            r = crypt_sha256(ret->mem.data ? (const void *)ret->mem.data : "", ret->mem.len, &sum);
    }
    if (r < 0) {
        plain_bytes_release(ret);
        return r;
    }
    hex_format(sum.b, sizeof(sum.b), ret->sha);
    return 0;
}

/* Whatever has the name is in the way: an export that was interrupted, or a try of which no answer came. */
int plain_put(struct backend *b, const struct backend_call *c, const char *name, const struct plain_bytes *p)
{
    struct backend_call call = c ? *c : (struct backend_call){.timeout_ms = 0};
    int r = -E_UNSURE;

    if (call.timeout_ms) /* of large ones: as long as they take at 64 KiB a second, as a pack of a backup may */
        call.timeout_ms += (int)MIN_OF(p->len / SLOW_BYTES_MS, (uint64_t)INT_MAX / 2);
    for (int i = 0; i < TRIES && (r == -E_UNSURE || r == -E_EXIST); i++) {
        int x = i ? backend_del(b, c, name) : 0;

        if (x < 0 && x != -E_NOENT && x != -E_UNSURE)
            return r == -E_EXIST ? r : x;
        r = p->fd >= 0
                ? backend_put_fd(b, &call, name, p->fd, p->len)
                : backend_put(b, &call, name, p->mem.data ? (const void *)p->mem.data : "", p->mem.len);
    }
    return r;
}
