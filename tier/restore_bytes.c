/* The bytes of regular files: written by extents; those that are there already are proved by the blobs' names. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tier/map.h"
#include "tier/repo_ahead.h"
#include "tier/restore_i.h"

int restore_moved(struct restore *w, uint64_t bytes)
{
    w->res.bytes += bytes;
    return w->o->progress
               ? w->o->progress(w->o->arg, w->res.files + w->res.dirs + w->res.others, w->res.bytes)
               : 0;
}

/* 1: the bytes at this place of the file are those of the blob, by its name. A part of a blob cannot be told by that: 0. */
static int proved(struct restore *w, int fd, const struct extent *e, uint64_t size, uint8_t *room)
{
    uint64_t off = e->block * TIER_BLOCK;
    struct id16 id;
    size_t got;
    int r;

    if (e->s.skip || e->s.len > BLOB_MAX || off + e->s.len > size)
        return 0;
    r = io_pread(io_real(), fd, room, e->s.len, off, &got);
    if (r < 0 || got < e->s.len)
        return r;
    r = mac_id(w->mac, room, got, &id);
    return r < 0 ? r : memcmp(id.b, e->s.blob.b, sizeof(id.b)) == 0;
}

/* The bytes of an extent, from the repository, up to the end of the file. */
static int extent_bytes(struct restore *w, const struct extent *e, uint64_t size, const uint8_t **ret,
                        size_t *len)
{
    size_t plen;
    int r = repo_chunk(w->r, &e->s.chunk, ret, &plen);

    if (r < 0)
        return r == -E_NOENT || r == -E_KEY ? -E_CORRUPT : r;
    if (e->s.off > plen || e->s.len > plen - e->s.off)
        return -E_CORRUPT;
    *ret += e->s.off;
    *len = (size_t)MIN_OF((uint64_t)e->s.len, size - e->block * TIER_BLOCK);
    return 0;
}

static int reserve(struct restore *w, int fd, const struct extent *e)
{
    off_t off = (off_t)(e->block * TIER_BLOCK), len = (off_t)e->blocks * TIER_BLOCK;

    return restore_weaker(w, fallocate(fd, FALLOC_FL_KEEP_SIZE, off, len) < 0);
}

static int write_extent(struct restore *w, int fd, const struct extent *e, uint64_t size)
{
    uint64_t off = e->block * TIER_BLOCK;
    const uint8_t *p;
    size_t len;
    int r;

    if (e->kind == EXTENT_ALLOCATED)
        return reserve(w, fd, e);
    if (e->kind != EXTENT_SLICE || off >= size)
        return 0;
    r = extent_bytes(w, e, size, &p, &len);
    if (r == 0)
        r = io_pwrite(io_real(), fd, p, len, off);
    return r < 0 ? r : restore_moved(w, len);
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Bytes [from, to) become zeros where the file has others: a hole, as it was. */
static int zeros(struct restore *w, int fd, uint64_t from, uint64_t to, uint8_t *room, bool look)
{
    while (from < to) {
        off_t data = lseek(fd, (off_t)from, SEEK_DATA);
        size_t len, got;
        int r;

        if ((data < 0 && errno == ENXIO) || (data >= 0 && (uint64_t)data >= to))
            return 0;
        if (data > 0 && (uint64_t)data > from)
            from = (uint64_t)data;
        len = (size_t)MIN_OF((uint64_t)BLOB_MAX, to - from);
        if ((r = io_pread(io_real(), fd, room, len, from, &got)) < 0)
            return r;
        if (!all_zero(room, got)) {
            if (look)
                return 1;
            if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)len) < 0) {
                memset(room, 0, len);
                r = io_pwrite(io_real(), fd, room, len, from);
            }
        }
        if (r < 0 || (r = restore_moved(w, 0)) < 0)
            return r;
        from += len;
    }
    return 0;
}

/* 1: these bytes are not in the file; 0: they are. */
static int bytes_differ(struct restore *w, int fd, const struct extent *e, uint64_t size, uint8_t *room)
{
    const uint8_t *p;
    size_t len, got;
    int r = proved(w, fd, e, size, room);

    if (r != 0)
        return MIN_OF(r, 0);
    r = e->s.len > BLOB_MAX ? -E_CORRUPT : extent_bytes(w, e, size, &p, &len);
    if (r == 0)
        r = io_pread(io_real(), fd, room, len, e->block * TIER_BLOCK, &got);
    return r < 0 ? r : got < len || memcmp(room, p, len) != 0;
}

/* One extent of a file that may hold it already. look: 1, it does not. */
static int compare_extent(struct restore *w, int fd, const struct extent *e, uint64_t size, uint8_t *room,
                          bool look)
{
    uint64_t off = e->block * TIER_BLOCK, end = MIN_OF(off + (uint64_t)e->blocks * TIER_BLOCK, size);
    uint64_t from = off;
    int r = 0;

    if (off >= size)
        return 0;
    if (e->kind == EXTENT_SLICE) {
        r = bytes_differ(w, fd, e, size, room);
        if (r == 1 && !look)
            r = write_extent(w, fd, e, size);
        from += e->s.len;
    }
    if (r == 0 && from < end)
        r = zeros(w, fd, from, end, room, look);
    return r == 0 ? restore_moved(w, 0) : r;
}

/* Everything that the file has, compared; else than look: put right. */
static int compare(struct restore *w, int fd, const struct extents *l, uint64_t size, bool look)
{
    uint8_t *room = malloc(BLOB_MAX);
    uint64_t at = 0;
    int r = room ? 0 : -E_NOMEM;

    for (size_t i = 0; r == 0 && i < l->n; i++) {
        uint64_t off = MIN_OF(l->v[i].block * TIER_BLOCK, size);

        r = zeros(w, fd, at, off, room, look);
        if (r == 0)
            r = compare_extent(w, fd, &l->v[i], size, room, look);
        at = MIN_OF((l->v[i].block + l->v[i].blocks) * TIER_BLOCK, size);
    }
    if (r == 0)
        r = zeros(w, fd, at, size, room, look);
    free(room);
    return r;
}

/* --- each chunk once ------------------------------------------------------------------------------------------------ */

/* Extents in the order in which they are written: those of one chunk together, chunks by where their first one lies. What changed often
 * has its blocks in many chunks, and each chunk has blocks from all over. */
struct turn {
    uint64_t first;
    uint32_t off;
    const struct extent *e;
};

static int by_turn(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;

    return x->first != y->first ? (x->first > y->first) - (x->first < y->first)
                                : (x->off > y->off) - (x->off < y->off);
}

static int turns_of(const struct extents *l, struct turn *v)
{
    struct idset first = {0};
    uint64_t *num;
    int r = 0;

    for (size_t i = 0; r == 0 && i < l->n; i++) {
        const struct extent *e = &l->v[i];

        v[i] = (struct turn){e->block, e->s.off, e};
        if (e->kind != EXTENT_SLICE || (r = idset_put(&first, &e->s.chunk, &num)) < 0)
            continue;
        if (*num == 0)
            *num = e->block + 1;
        v[i].first = *num - 1;
    }
    idset_free(&first);
    if (r == 0 && l->n && !BROKEN(VARVE_BREAK_restore_turns))
        qsort(v, l->n, sizeof(*v), by_turn);
    return r;
}

/* All of a file that has nothing yet; chunks that come next are read meanwhile. */
static int write_all(struct restore *w, int fd, const struct extents *l, uint64_t size)
{
    struct turn *v = calloc(l->n + 1, sizeof(*v));
    size_t next = 0;
    int r = v ? turns_of(l, v) : -E_NOMEM;

    for (size_t i = 0; r == 0 && i < l->n; i++) {
        next = MAX_OF(next, i + 1);
        while (l->n > 1 && next < l->n &&
               (v[next].e->kind != EXTENT_SLICE || repo_ahead(w->r, &v[next].e->s.chunk)))
            next++;
        r = write_extent(w, fd, v[i].e, size);
    }
    repo_ahead_drop(w->r);
    free(v);
    return r;
}

int restore_bytes(struct restore *w, int fd, uint64_t ino, const struct point_inode *in, bool there)
{
    struct extents l = {0};
    int r = map_load(w->r, w->t, ino, &l);

    if (r == 0 && ftruncate(fd, (off_t)in->size) < 0)
        r = err_from_errno(errno);
    if (r == 0 && there)
        r = compare(w, fd, &l, in->size, false);
    if (r == 0 && !there)
        r = write_all(w, fd, &l, in->size);
    for (size_t i = 0; r == 0 && there && i < l.n; i++)
        if (l.v[i].kind == EXTENT_ALLOCATED)
            r = write_extent(w, fd, &l.v[i], in->size);
    extents_free(&l);
    return r;
}

int restore_bytes_equal(struct restore *w, int fd, uint64_t ino, const struct point_inode *in)
{
    struct extents l = {0};
    int r = map_load(w->r, w->t, ino, &l);

    if (r == 0)
        r = compare(w, fd, &l, in->size, true);
    extents_free(&l);
    return r < 0 ? r : r == 0;
}
