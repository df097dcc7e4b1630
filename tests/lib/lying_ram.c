/* Disks in memory: what the kernel does for the others. The process's view of a file is in `live`; a mapping is a piece of memory
 * that is kept the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/lying_model.h"

#define MAPS_MAX 64
#define WIPE_WHOLE (128u << 10) /* what a process may write to by itself is small, and wiped whole */

/* Mappings are kept when they end: the next one of that length costs neither calls nor page faults. */
static struct ram_map {
    uint8_t *at;
    size_t len;
    size_t touched; /* what lies beyond is zero */
    bool used;
    struct lying_node *node; /* a reference */
} maps[MAPS_MAX];

/* Asked at every call with a descriptor and every munmap, also a sanitizer's before it is ready to be told of calls. */
#define UNWATCHED __attribute__((no_sanitize("thread")))

UNWATCHED bool lying__ram_is(int fd)
{
    return fd >= LYING_RAM_FD && fd < LYING_RAM_FD + LYING_RAM_FDS;
}

static struct ram_map *map_of(const struct lying_node *n)
{
    for (size_t i = 0; n->map && i < MAPS_MAX; i++)
        if (maps[i].used && maps[i].node == n)
            return &maps[i];
    return NULL;
}

int lying__ram_open(struct lying *d, const struct lying_node *dir, const struct lying_node *n, int flags)
{
    int fd = LYING_RAM_FD;

    if (n && flags & O_CREAT && flags & O_EXCL)
        return -E_EXIST;
    if (!n && !(flags & O_CREAT && dir))
        return -E_NOENT;
    if (n && flags & O_DIRECTORY && !n->is_dir)
        return -E_NOTDIR;
    while (lying__of_fd(fd))
        fd++;
    assert(lying__ram_is(fd));
    (void)d;
    return fd;
}

/* The process's view of a file that was never written to is what was booted with. */
static void look(struct lying_node *n)
{
    if (!n->seen)
        lying__content_copy(&n->live, &n->safe);
    n->seen = true;
}

size_t lying__ram_read(struct lying_node *n, uint64_t off, void *p, size_t len)
{
    return lying__content_read(n->seen ? &n->live : &n->safe, off, p, len);
}

void lying__ram_write(struct lying_node *n, const void *p, size_t len, uint64_t off)
{
    struct ram_map *m = map_of(n);

    look(n);
    lying__content_write(&n->live, off, p, len);
    if (m && off < m->len) {
        len = MIN_OF(len, m->len - (size_t)off);
        memcpy(m->at + off, p, len);
        m->touched = MAX_OF(m->touched, (size_t)off + len);
    }
}

void lying__ram_resize(struct lying_node *n, uint64_t size)
{
    struct ram_map *m = map_of(n);

    look(n);
    lying__content_truncate(&n->live, size);
    if (m && size < m->touched)
        memset(m->at + size, 0, m->touched - (size_t)size);
}

void lying__ram_punch(struct lying_node *n, uint64_t off, uint64_t len)
{
    assert(!n->map);
    look(n);
    lying__content_punch(&n->live, off, off < n->size ? MIN_OF(len, n->size - off) : 0);
}

void lying__ram_stat(const struct lying_node *n, struct stat *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->st_dev = 1;
    ret->st_ino = (ino_t)(uintptr_t)n;
    ret->st_nlink = 1;
    ret->st_mode = (n->is_dir ? S_IFDIR : S_IFREG) | (n->mode & 07777);
    ret->st_size = (off_t)n->size;
    ret->st_blksize = LYING_PAGE;
    for (uint64_t page = 0; !n->is_dir && page * LYING_PAGE < n->size; page++)
        ret->st_blocks += lying__content_hole(n->seen ? &n->live : &n->safe, page) ? 0 : 8;
}

static struct ram_map *map_free(size_t len)
{
    struct ram_map *empty = NULL;

    for (struct ram_map *m = maps; m < maps + MAPS_MAX; m++) {
        if (!m->used && m->len == len)
            return m;
        if (!m->len && !empty)
            empty = m;
    }
    assert(empty);
    empty->at =
        (uint8_t *)syscall(SYS_mmap, NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(empty->at != MAP_FAILED);
    empty->len = len;
    return empty;
}

void *lying__ram_map(struct lying *d, int fd, size_t len, bool writes)
{
    struct lying_node *n = lying__node_of(d, fd);
    struct ram_map *m = map_free(len);
    size_t filled;

    assert(!n->map && (!writes || len <= WIPE_WHOLE));
    filled = lying__ram_read(n, 0, m->at, len);
    if (filled < m->touched)
        memset(m->at + filled, 0, m->touched - filled);
    m->touched = writes ? len : filled;
    m->used = true;
    m->node = lying__node_ref(n);
    n->map = m->at;
    return m->at;
}

UNWATCHED bool lying__ram_unmap(void *p)
{
    for (struct ram_map *m = maps; m < maps + MAPS_MAX; m++) {
        if (!m->used || m->at != p)
            continue;
        m->node->map = NULL;
        lying__node_unref(m->node);
        m->node = NULL;
        m->used = false;
        return true;
    }
    return false;
}

static int64_t seek_data(struct lying_node *n, int64_t off, bool hole)
{
    const struct lying_content *c = n->seen ? &n->live : &n->safe;

    if (off < 0 || (uint64_t)off >= n->size) {
        errno = ENXIO;
        return -1;
    }
    while ((uint64_t)off < n->size && lying__content_hole(c, (uint64_t)off / LYING_PAGE) != hole)
        off = (off / LYING_PAGE + 1) * LYING_PAGE;
    if (!hole && (uint64_t)off >= n->size) {
        errno = ENXIO;
        return -1;
    }
    return MIN_OF(off, (int64_t)n->size);
}

int64_t lying__ram_seek(struct lying *d, int fd, int64_t off, int whence)
{
    struct lying_fd *f = lying__fd(d, fd);

    if (whence == SEEK_DATA || whence == SEEK_HOLE)
        off = seek_data(f->node, off, whence == SEEK_HOLE);
    else if (whence == SEEK_END)
        off += (int64_t)f->node->size;
    else if (whence == SEEK_CUR)
        off += f->seat;
    if (off >= 0)
        f->seat = off;
    return off;
}
