/* Bytes of files: read from the snapshot, made blobs, noted as extents. */
#include <stdlib.h>

#include "base/mark.h"
#include "tier/backup_i.h"

#define SMALL_BYTES (64u << 10) /* a file up to here is sent anew as a whole: one blob */
#define COMPARED (64u << 10)    /* a changed range from here on is compared with what was there before, */
#define SAMPLES 8u              /* if one of so many blocks is as it was */
#define WINDOW ((uint64_t)64 << 20)
#define LET_GO_READS 128u /* each has looked up where the bytes are: some 64 KiB of the tables, anywhere */

int backup_moved(struct backup *b, uint64_t items, uint64_t bytes)
{
    b->res.read_items += items;
    b->res.read_bytes += bytes;
    return b->o->progress
               ? b->o->progress(b->o->arg, b->res.read_items, b->res.read_bytes + b->res.named_bytes)
               : 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

int backup_read(struct backup *b, uint64_t ino, uint64_t off, size_t len)
{
    size_t got = 0;
    int r = file_read(b->v, b->at, ino, b->room, len, off, &got);

    if (++b->reads % LET_GO_READS == 0)
        store_pages_let_go(b->v->store);
    return r < 0 ? r : got == len ? 0 : -E_CORRUPT;
}

/* Bytes of one aligned mebibyte, read already, as one extent; off is aligned to a block. Zeros: an extent only where something older
 * may lie below. */
static int send(struct backup *b, const uint8_t *p, uint64_t off, size_t len, bool below, struct extents *out)
{
    struct extent x = {.block = off / TIER_BLOCK,
                       .blocks = (uint32_t)((len + TIER_BLOCK - 1) / TIER_BLOCK),
                       .kind = EXTENT_SLICE};
    int r;

    if (all_zero(p, len)) {
        x.kind = EXTENT_ZERO;
        if (!below)
            return 0;
    } else if ((r = packer_blob(b->p, CHUNK_DATA, p, len, &x.s)) < 0) {
        return r;
    }
    return extents_add(out, &x);
}

static int piece(struct backup *b, const struct inode *in, uint64_t off, uint64_t end, bool below,
                 struct extents *out)
{
    size_t len = (size_t)(end - off);
    int r = backup_read(b, in->ino, off, len);

    if (r == 0)
        r = send(b, b->room, off, len, below, out);
    return r < 0 ? r : backup_moved(b, 0, len);
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

/* --- what is told as changed and is not ------------------------------------------------------------------------------ */

/* The bytes as the snapshot before had them, into b->old; *ret_len: as many as there are. What cannot be read counts as other bytes. */
static void read_old(struct backup *b, uint64_t ino, uint64_t off, size_t len, size_t *ret_len)
{
    if (file_read(b->v, b->from, ino, b->old, len, off, ret_len) < 0)
        *ret_len = 0;
    b->compared = true;
}

/* A block that was there before with the same bytes, all of them. */
static bool block_same(const struct backup *b, size_t at, size_t len, size_t old_len)
{
    return at + TIER_BLOCK <= MIN_OF(len, old_len) && memcmp(b->room + at, b->old + at, TIER_BLOCK) == 0;
}

/* Is any of a few blocks, from all over it, as before? Then it is worth it to look at all. */
static bool may_be_same(struct backup *b, uint64_t ino, uint64_t off, size_t len)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t at = len / SAMPLES * i / TIER_BLOCK * TIER_BLOCK, n = MIN_OF(len - at, (size_t)TIER_BLOCK),
               got;

        if (file_read(b->v, b->from, ino, b->old + at, n, off + at, &got) == 0 &&
            block_same(b, at, len, at + got)) {
            b->compared = true;
            return true;
        }
    }
    return false;
}

/* The store gathers the blocks of a mebibyte that lies in too many places; they are told as changed, and most are not. */
static int piece_changed(struct backup *b, const struct inode *in, uint64_t off, uint64_t end,
                         struct extents *out)
{
    size_t len = (size_t)(end - off), old_len, from = 0;
    int r = backup_read(b, in->ino, off, len);

    if (r == 0 && (backup_cold_before(b, in->ino, off, end) || !may_be_same(b, in->ino, off, len)))
        r = send(b, b->room, off, len, true, out);
    else if (r == 0) {
        MARK("backup: blocks that are as before");
        read_old(b, in->ino, off, len, &old_len);
        for (size_t at = 0, next; r == 0 && at < len; at = next) {
            next = MIN_OF(at + TIER_BLOCK, len);
            if (block_same(b, at, len, old_len))
                from = next;
            else if (next == len || block_same(b, next, len, old_len))
                r = send(b, b->room + from, off + from, next - from, true, out);
        }
    }
    return r < 0 ? r : backup_moved(b, 0, len);
}

static int compared(struct backup *b, const struct inode *in, uint64_t from, uint64_t to, struct extents *out)
{
    int r = 0;

    if (!b->old && !(b->old = malloc(BLOB_MAX)))
        return -E_NOMEM;
    for (uint64_t off = from, end; r == 0 && off < to; off = end) {
        end = MIN_OF((off / BLOB_MAX + 1) * BLOB_MAX, to);
        r = piece_changed(b, in, off, end, out);
    }
    return r;
}

/* Bytes that are here. below: they changed, and something older may lie below. */
static int local(struct backup *b, const struct inode *in, uint64_t from, uint64_t to, bool below,
                 struct extents *out)
{
    if (!below || to <= from || to - from < COMPARED || BROKEN(VARVE_BREAK_compare))
        return pieces(b, in, from, to, below, out);
    return compared(b, in, from, to, out);
}

static int named(struct backup *b, const struct extent *e, uint64_t len, bool below, struct extents *out)
{
    int r = e->kind == EXTENT_SLICE || below ? extents_add(out, e) : 0;

    b->res.named_bytes += len;
    return r < 0 ? r : backup_moved(b, 0, 0);
}

/* Between what the repository has and this place has not, what is here. */
static int window(struct backup *b, const struct inode *in, uint64_t from, uint64_t to, bool below,
                  struct extents *out)
{
    struct extents cold = {0};
    uint64_t at = from;
    int r = backup_cold_runs(b, in, from, to, &cold);

    for (size_t i = 0; r == 0 && i < cold.n; i++) {
        uint64_t off = cold.v[i].block * TIER_BLOCK;
        uint64_t end = MIN_OF(off + (uint64_t)cold.v[i].blocks * TIER_BLOCK, to);

        r = local(b, in, at, off, below, out);
        if (r == 0)
            r = named(b, &cold.v[i], end - off, below, out);
        at = end;
    }
    if (r == 0)
        r = local(b, in, at, to, below, out);
    extents_free(&cold);
    return r;
}

/* Windows: what is known of them lies in memory. */
static int range(struct backup *b, const struct inode *in, uint64_t from, uint64_t to, bool below,
                 struct extents *out)
{
    int r = 0;

    if (!b->cold)
        return local(b, in, from, to, below, out);
    for (uint64_t at = from, end; r == 0 && at < to; at = end) {
        end = MIN_OF((at / WINDOW + 1) * WINDOW, to);
        r = window(b, in, at, end, below, out);
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
            r = range(b, in, from / TIER_BLOCK * TIER_BLOCK, to, false, &l);
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

static int ranges(struct backup *b, const struct walk_change *c)
{
    const struct inode *in = c->is;
    const struct diff_range *v = c->ranges;
    struct map_pushing p = {b->e, b->r, &b->base, in->ino, 0, backup_edits_full, b};
    struct backup_ahead *ahead = backup_ahead_new(b, in->ino, v, c->nranges);
    struct extents l = {0};
    uint64_t tail = blocks_of(in->size), was = blocks_of(c->was->size);
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->nranges; i++) {
        backup_ahead_at(ahead, i);
        r = range(b, in, v[i].off_bytes, MIN_OF(v[i].off_bytes + v[i].len_bytes, in->size), true, &l);
    }
    backup_ahead_free(ahead);
    if (r == 0 && !BROKEN(VARVE_BREAK_backup_shrink))
        r = zeros(tail, was, &l);
    p.blocks = MAX_OF(tail, was);
    if (r == 0 && l.n && !BROKEN(VARVE_BREAK_gather))
        r = backup_gather(b, in, p.blocks, &l);
    if (r == 0 && l.n)
        r = map_push(&p, &l);
    extents_free(&l);
    return r;
}

int backup_file_ranges(struct backup *b, const struct walk_change *c)
{
    const struct inode *in = c->is;
    uint64_t changed = 0;

    for (size_t i = 0; i < c->nranges; i++)
        changed += c->ranges[i].len_bytes;
    if (c->nranges == 0 && c->was->size <= in->size)
        return 0;
    if (in->size <= SMALL_BYTES || changed >= in->size / 2)
        return backup_file_whole(b, in);
    return ranges(b, c);
}

int backup_link_target(struct backup *b, const struct inode *in, struct buf *ret)
{
    int r = in->size == 0 || in->size > BLOB_MAX ? -E_CORRUPT : backup_read(b, in->ino, 0, (size_t)in->size);

    return r < 0 ? r : buf_add(ret, b->room, (size_t)in->size);
}
