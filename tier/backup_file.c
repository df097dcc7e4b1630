/* Bytes of files: read from the snapshot, made blobs, noted as extents. */
#include <stdlib.h>

#include "tier/backup_i.h"

#define SMALL_BYTES (64u << 10) /* a file up to here is sent anew as a whole: one blob */

int backup_moved(struct backup *b, uint64_t items, uint64_t bytes)
{
    b->res.read_items += items;
    b->res.read_bytes += bytes;
    return b->o->progress ? b->o->progress(b->o->arg, b->res.read_items, b->res.read_bytes) : 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static int read_exact(struct backup *b, uint64_t ino, uint64_t off, size_t len)
{
    size_t got = 0;
    int r = file_read(b->v, b->at, ino, b->room, len, off, &got);

    return r < 0 ? r : got == len ? 0 : -E_CORRUPT;
}

/* Bytes [off, end) of one aligned mebibyte as one extent; off is aligned to a block. Zeros: an extent only where something older
 * may lie below. */
static int piece(struct backup *b, const struct inode *in, uint64_t off, uint64_t end, bool below,
                 struct extents *out)
{
    size_t len = (size_t)(end - off);
    struct extent x = {.block = off / TIER_BLOCK,
                       .blocks = (uint32_t)((len + TIER_BLOCK - 1) / TIER_BLOCK),
                       .kind = EXTENT_SLICE};
    int r = read_exact(b, in->ino, off, len);

    if (r < 0)
        return r;
    if (all_zero(b->room, len)) {
        x.kind = EXTENT_ZERO;
        if (!below)
            return backup_moved(b, 0, len);
    } else if ((r = packer_blob(b->p, CHUNK_DATA, b->room, len, &x.s)) < 0) {
        return r;
    }
    if ((r = extents_add(out, &x)) < 0)
        return r;
    return backup_moved(b, 0, len);
}

static int pieces(struct backup *b, const struct inode *in, uint64_t from, uint64_t to, bool below,
                  struct extents *out)
{
    int r = 0;

    for (uint64_t off = from, end; r == 0 && off < to; off = end) {
        end = MIN_OF((off / BLOB_MAX + 1) * BLOB_MAX, to);
        r = piece(b, in, off, end, below, out);
    }
    return r;
}

static int reserved(void *arg, uint64_t block, uint64_t count)
{
    int r = 0;

    for (uint64_t n; r == 0 && count > 0; block += n, count -= n) {
        n = MIN_OF(count, (uint64_t)1 << 30);
        r = extents_add(arg,
                        &(struct extent){.block = block, .blocks = (uint32_t)n, .kind = EXTENT_ALLOCATED});
    }
    return r;
}

int backup_file_whole(struct backup *b, const struct inode *in)
{
    struct extents l = {0};
    int r = 0;

    for (uint64_t at = 0, from, to; r == 0 && at < in->size; at = to) {
        to = in->size;
        r = file_seek(b->v, b->at, in->ino, false, at, &from);
        if (r == -E_NXIO) {
            r = 0;
            break;
        }
        if (r == 0)
            r = file_seek(b->v, b->at, in->ino, true, from, &to);
        if (r == 0)
            r = pieces(b, in, from / TIER_BLOCK * TIER_BLOCK, to, false, &l);
    }
    if (r == 0 && (in->flags & INODE_SPANS))
        r = walk_reserved(b->v, b->at, in->ino, reserved, &l);
    if (r == 0)
        r = map_replace(b->e, in->ino, &l);
    extents_free(&l);
    return r;
}

/* Blocks [from, to) read as zeros from now on, also if the file grows over them again. */
static int zeros(uint64_t from, uint64_t to, struct extents *out)
{
    int r = 0;

    for (uint64_t end; r == 0 && from < to; from = end) {
        end = MIN_OF(to, from + (1u << 30));
        r = extents_add(
            out, &(struct extent){.block = from, .blocks = (uint32_t)(end - from), .kind = EXTENT_ZERO});
    }
    return r;
}

static uint64_t blocks_of(uint64_t bytes)
{
    return (bytes + TIER_BLOCK - 1) / TIER_BLOCK;
}

static int ranges(struct backup *b, const struct inode *in, const struct diff_range *v, size_t n,
                  uint64_t old_size)
{
    struct extents l = {0};
    uint64_t tail = blocks_of(in->size);
    int r = 0;

    for (size_t i = 0; r == 0 && i < n; i++)
        r = pieces(b, in, v[i].off_bytes, MIN_OF(v[i].off_bytes + v[i].len_bytes, in->size), true, &l);
    if (r == 0 && !BROKEN(VARVE_BREAK_backup_shrink))
        r = zeros(tail, blocks_of(old_size), &l);
    if (r == 0 && l.n)
        r = map_push(b->e, b->r, &b->base, in->ino, &l);
    extents_free(&l);
    return r;
}

int backup_file_ranges(struct backup *b, const struct inode *in, const struct diff_range *v, size_t n)
{
    struct point_inode old;
    uint64_t changed = 0;
    int r;

    for (size_t i = 0; i < n; i++)
        changed += v[i].len_bytes;
    r = point_inode_get(b->r, &b->base, in->ino, &old);
    if (r < 0)
        return r == -E_NOENT ? -E_CORRUPT : r;
    if (n == 0 && old.size <= in->size)
        return 0;
    if (in->size <= SMALL_BYTES || changed >= in->size / 2)
        return backup_file_whole(b, in);
    return ranges(b, in, v, n, old.size);
}

int backup_link_target(struct backup *b, const struct inode *in, struct buf *ret)
{
    int r = in->size == 0 || in->size > BLOB_MAX ? -E_CORRUPT : read_exact(b, in->ino, 0, (size_t)in->size);

    return r < 0 ? r : buf_add(ret, b->room, (size_t)in->size);
}
