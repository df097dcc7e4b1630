/* The bytes of regular files: written by extents; those that are there already are proved by the blobs' names. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tier/map_cursor.h"
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

/* What is written: a part of a chunk. */
struct turn {
    uint64_t block;
    uint32_t off, len;
    uint32_t next; /* of the same chunk, and 1; 0: it is the last one */
};
/* A chunk, and what of it is written, ascending by block. What changed often has its blocks in many chunks, and each chunk has blocks from
 * all over: each is read once, in the order in which they lie in the repository; packs by where their first block goes. */
struct source {
    struct id16 chunk, pack;
    uint64_t first; /* block of the pack */
    uint32_t off;   /* in the pack */
    uint32_t head, tail;
};
struct plan {
    struct buf turns, sources; /* struct turn, struct source each */
    struct idset index;        /* chunk → its number in sources, and 1 */
};

static struct turn *turn_at(const struct plan *p, size_t i)
{
    return (struct turn *)(void *)p->turns.data + i;
}

static struct source *source_at(const struct plan *p, size_t i)
{
    return (struct source *)(void *)p->sources.data + i;
}

static size_t plan_sources(const struct plan *p)
{
    return p->sources.len / sizeof(struct source);
}

static void plan_free(struct plan *p)
{
    buf_free(&p->turns);
    buf_free(&p->sources);
    idset_free(&p->index);
}

static int source_of(struct plan *p, const struct id16 *chunk, struct source **ret)
{
    uint64_t *num;
    int r = idset_put(&p->index, chunk, &num);

    if (r == 0 && (*num == 0 || BROKEN(VARVE_BREAK_restore_turns))) {
        r = buf_add(&p->sources, &(struct source){.chunk = *chunk}, sizeof(struct source));
        if (r < 0)
            return r;
        *num = plan_sources(p);
    }
    if (r == 0)
        *ret = source_at(p, *num - 1);
    return r;
}

static int plan_add(struct plan *p, const struct extent *e)
{
    size_t n = p->turns.len / sizeof(struct turn);
    struct source *s = NULL;
    int r = n == UINT32_MAX ? -E_NOMEM : source_of(p, &e->s.chunk, &s);

    if (r == 0)
        r = buf_add(&p->turns, &(struct turn){e->block, e->s.off, e->s.len, 0}, sizeof(struct turn));
    if (r < 0)
        return r;
    *(s->head ? &turn_at(p, s->tail - 1)->next : &s->head) = (uint32_t)n + 1;
    s->tail = (uint32_t)n + 1;
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct source *x = a, *y = b;

    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->off != y->off ? (x->off > y->off) - (x->off < y->off)
                            : (x->head > y->head) - (x->head < y->head);
}

/* Where they lie. One that no index names has its own place: reading it is what tells. */
static int plan_sort(struct restore *w, struct plan *p)
{
    struct idset packs = {0};
    size_t n = plan_sources(p);
    int r = 0;

    for (size_t i = 0; r == 0 && i < n && n > 1; i++) {
        struct source *s = source_at(p, i);
        uint64_t *num, block = turn_at(p, s->head - 1)->block;
        struct have_chunk c;

        r = have_get_chunk(w->r->have, &s->chunk, &c);
        s->pack = r == 0 ? sha_half(&c.pack) : s->chunk;
        s->off = r == 0 ? c.off : 0;
        r = r == 0 || r == -E_NOENT ? idset_put(&packs, &s->pack, &num) : r;
        if (r == 0)
            *num = *num ? MIN_OF(*num, block + 1) : block + 1;
    }
    for (size_t i = 0; r == 0 && i < n && n > 1; i++)
        source_at(p, i)->first = *idset_get(&packs, &source_at(p, i)->pack);
    idset_free(&packs);
    if (r == 0 && n > 1 && !BROKEN(VARVE_BREAK_restore_turns))
        qsort(p->sources.data, n, sizeof(struct source), by_place);
    return r;
}

static int plan_make(struct restore *w, int fd, uint64_t ino, uint64_t size, struct plan *p)
{
    struct map_cursor m;
    struct extent e;
    int r = map_cursor_open(&m, w->r, w->t, ino, 0, NULL);

    if (r < 0)
        return r;
    while ((r = map_cursor_next(&m, &e)) == 1) {
        r = 0;
        if (e.kind == EXTENT_ALLOCATED)
            r = reserve(w, fd, &e);
        else if (e.kind == EXTENT_SLICE && e.block * TIER_BLOCK < size)
            r = plan_add(p, &e);
        if (r < 0)
            break;
    }
    map_cursor_close(&m);
    return r < 0 ? r : plan_sort(w, p);
}

static int write_source(struct restore *w, int fd, const struct plan *p, const struct source *s,
                        uint64_t size)
{
    int r = 0;

    for (uint32_t n = s->head; r == 0 && n; n = turn_at(p, n - 1)->next) {
        const struct turn *t = turn_at(p, n - 1);

        r = write_extent(w, fd,
                         &(struct extent){.block = t->block,
                                          .kind = EXTENT_SLICE,
                                          .s = {.chunk = s->chunk, .off = t->off, .len = t->len}},
                         size);
    }
    return r;
}

/* All of a file that has nothing yet; chunks that come next are read meanwhile. */
static int write_all(struct restore *w, int fd, uint64_t ino, uint64_t size)
{
    struct plan p = {.turns = {0}};
    int r = plan_make(w, fd, ino, size, &p);
    size_t next = 0, n = plan_sources(&p);

    for (size_t i = 0; r == 0 && i < n; i++) {
        next = MAX_OF(next, i + 1);
        while (next < n && repo_ahead(w->r, &source_at(&p, next)->chunk, AHEAD_PLAIN))
            next++;
        r = write_source(w, fd, &p, source_at(&p, i), size);
    }
    repo_ahead_drop(w->r);
    plan_free(&p);
    return r;
}

/* A file that may hold some of its bytes. */
static int compare_all(struct restore *w, int fd, uint64_t ino, uint64_t size, bool look)
{
    struct extents l = {0};
    int r = map_load(w->r, w->t, ino, &l);

    if (r == 0)
        r = compare(w, fd, &l, size, look);
    for (size_t i = 0; r == 0 && !look && i < l.n; i++)
        if (l.v[i].kind == EXTENT_ALLOCATED)
            r = reserve(w, fd, &l.v[i]);
    extents_free(&l);
    return r;
}

int restore_bytes(struct restore *w, int fd, uint64_t ino, const struct point_inode *in, bool there)
{
    if (ftruncate(fd, (off_t)in->size) < 0)
        return err_from_errno(errno);
    return there ? compare_all(w, fd, ino, in->size, false) : write_all(w, fd, ino, in->size);
}

int restore_bytes_equal(struct restore *w, int fd, uint64_t ino, const struct point_inode *in)
{
    int r = compare_all(w, fd, ino, in->size, true);

    return r < 0 ? r : r == 0;
}
