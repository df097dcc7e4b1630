/* What a keeper holds, in a file that has no name and cannot be changed any more. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/io.h"
#include "fs/keeper_i.h"

#define HEADER 40u
#define SUM_OFF 32u
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static const uint8_t magic[8] = "varveKPR";

/* The next version of this program reads it: another layout is another KEEPER_SAVE_VERSION. */
static_assert(offsetof(struct keeper_msg, conn) == 8 && offsetof(struct keeper_msg, n) == 16 &&
                  offsetof(struct keeper_msg, init) == 32 && offsetof(struct keeper_msg, data) == 288,
              "as in version 1");

static int put_to_buf(void *arg, const struct keeper_msg *m, int fd)
{
    struct buf *b = arg;
    size_t len = offsetof(struct keeper_msg, data) + m->len;
    int r = buf_add(b, m, len);

    (void)fd; /* it goes beside the file, under a name of its own */
    return r < 0 ? r : buf_add_zero(b, -len & 7);
}

static uint64_t sum_of(const uint8_t header[HEADER], const void *p, size_t len)
{
    return hash_sum(hash_sum(0, header, SUM_OFF), p, len);
}

int keeper_save(struct keeper *k, uint64_t generation, int *ret_fd)
{
    cleanup(buf_free) struct buf b = {0};
    uint8_t header[HEADER] = {0};
    int r = keeper_tell_all(k, k->ndeaths, put_to_buf, &b);
    int fd;

    if (r < 0)
        return r;
    memcpy(header, magic, sizeof(magic));
    put_le32(header + 8, KEEPER_SAVE_VERSION);
    put_le64(header + 16, generation);
    put_le64(header + 24, b.len);
    put_le64(header + SUM_OFF, sum_of(header, b.data, b.len));
    fd = memfd_create("varve-keeper", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_from_errno(errno);
    r = io_pwrite(io_real(), fd, header, sizeof(header), 0);
    if (r == 0)
        r = io_pwrite(io_real(), fd, b.data, b.len, HEADER);
    if (r == 0 && fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        r = err_from_errno(errno);
    if (r < 0)
        close(fd);
    else
        *ret_fd = fd;
    return r;
}

static int read_at(int fd, uint8_t *p, size_t len, uint64_t off)
{
    size_t got;
    int r = io_pread(io_real(), fd, p, len, off, &got);

    return r == 0 && got < len ? -E_PROTO : r;
}

int keeper_load(int fd, struct buf *ret, uint64_t *ret_generation)
{
    int seals = fcntl(fd, F_GET_SEALS);
    uint8_t header[HEADER];
    struct stat st;
    size_t len;
    int r;

    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        st.st_size < (off_t)HEADER || st.st_size > (off_t)KEEPER_SAVE_MAX)
        return -E_PROTO;
    r = read_at(fd, header, sizeof(header), 0);
    if (r < 0)
        return r;
    if (memcmp(header, magic, sizeof(magic)) != 0)
        return -E_PROTO;
    if (get_le32(header + 8) > KEEPER_SAVE_VERSION)
        return -E_STORE_NEWER;
    len = (size_t)st.st_size - HEADER;
    if (get_le32(header + 8) == 0 || get_le64(header + 24) != len)
        return -E_PROTO;
    r = buf_reserve(ret, len + 1);
    if (r == 0)
        r = read_at(fd, ret->data, len, HEADER);
    if (r < 0)
        return r;
    if (sum_of(header, ret->data, len) != get_le64(header + SUM_OFF) && !BROKEN(VARVE_BREAK_saved_sum))
        return -E_PROTO;
    ret->len = len;
    *ret_generation = get_le64(header + 16);
    return 0;
}

int keeper_load_next(const struct buf *b, size_t *at, struct keeper_msg *m)
{
    const size_t head = offsetof(struct keeper_msg, data);
    size_t left = b->len - *at, len;

    if (left == 0)
        return 0;
    if (left < head)
        return -E_PROTO;
    memcpy(m, b->data + *at, head);
    len = head + m->len;
    if (m->len > KEEPER_DATA || len + (-len & 7) > left)
        return -E_PROTO;
    memcpy(m->data, b->data + *at + head, m->len);
    if (!keeper_is_sound(m, len))
        return -E_PROTO;
    *at += len + (-len & 7);
    return 1;
}
