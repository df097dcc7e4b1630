/* Operations on bytes. */
#include "tests/model/model.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#define LEN_MAX (256u << 10)
static uint8_t bytes[LEN_MAX];

void m_kill_priv(struct o_ino *in)
{
    in->mode &= ~(uint32_t)S_ISUID;
    if (in->mode & S_IXGRP)
        in->mode &= ~(uint32_t)S_ISGID;
    o_xattr_del(in, "security.capability");
}

void m_touch(struct o_ino *in, bool data)
{
    m_now(&in->ctime);
    if (data)
        in->mtime = in->ctime;
}

/* A small file's bytes lie in the tables and count as whole blocks; the engine says when they no longer do. Then every
 * block that they had is there. */
void m_data_follow(struct m_run *m, struct m_vol *mv, uint64_t ino)
{
    const struct o_ino *in = o_get(mv->live, ino);
    struct vfs_attr a;
    bool is_inline;

    m_expect(m, vfs_getattr(mv->v, m_node(mv, ino), &a), 0, "getattr");
    is_inline = a.flags & INODE_INLINE;
    if (is_inline != in->is_inline)
        o_mut(mv->live, ino)->is_inline = is_inline;
    m_verify_ino(m, mv, o_get(mv->live, ino), m_node(mv, ino));
}

/* What was kept inline is about to be kept in blocks: all of them are there. */
static void leave_inline(struct m_run *m, struct m_vol *mv, struct o_ino *in)
{
    struct vfs_attr a;
    uint64_t blocks;

    if (!in->is_inline)
        return;
    m_expect(m, vfs_getattr(mv->v, m_node(mv, in->ino), &a), 0, "getattr");
    if (a.flags & INODE_INLINE)
        return;
    in->is_inline = false;
    blocks = (in->size + PG_SIZE - 1) / PG_SIZE;
    pages_set(&in->data, 0, blocks, PG_DATA, PG_HOLE, m->op);
    pages_set(&in->data, 0, blocks, PG_DATA, PG_UNWRITTEN, m->op);
    pages_set(&in->data, blocks, UINT64_MAX - blocks, PG_HOLE, -1, m->op);
    for (uint64_t b = 0; b < blocks; b++) { /* they are written, so a diff may tell them */
        uint8_t block[PG_SIZE];

        pages_read(&in->data, block, PG_SIZE, b * PG_SIZE);
        pages_write(&in->data, block, PG_SIZE, b * PG_SIZE, m->op);
    }
}

/* Growing may write the old last block again, so that what lies behind the old end is zeros for sure: a diff may tell it. */
static void grow(struct m_run *m, struct o_ino *in, uint64_t size)
{
    if (size <= in->size)
        return;
    if (in->size % PG_SIZE)
        pages_zero(&in->data, in->size, PG_SIZE - in->size % PG_SIZE, m->op);
    in->size = size;
}

int m_quota_error(const struct m_vol *mv, int r, uint64_t blocks)
{
    if (r == -E_QUOTA && mv->limit_blocks && o_tree_blocks(mv->live) + blocks > mv->limit_blocks)
        return -E_QUOTA;
    return 0;
}

void op_write(struct m_run *m, struct m_vol *mv)
{
    const struct o_ino *pick = m_pick_file(m, mv);
    bool kill = m_chance(m, 30);
    uint64_t off;
    struct o_ino *in;
    size_t len;
    int r;

    if (!pick)
        return;
    off = m_pick_offset(m, pick);
    len = m_pick_len(m);
    m_fill(m, bytes, len);
    m_trace(m, "write ino=%llu off=%llu len=%zu size=%llu", (unsigned long long)pick->ino,
            (unsigned long long)off, len, (unsigned long long)pick->size);
    r = vfs_write(mv->v, &m->ctx, m_node(mv, pick->ino), bytes, len, off, kill);
    if (!m_expect(m, r, m_quota_error(mv, r, len / PG_SIZE + 2 + pick->size / PG_SIZE), "write"))
        return m_verify_ino(m, mv, pick, m_node(mv, pick->ino));
    in = o_mut(mv->live, pick->ino);
    leave_inline(m, mv, in);
    grow(m, in, off + len);
    pages_write(&in->data, bytes, len, off, m->op);
    m_touch(in, true);
    if (kill)
        m_kill_priv(in);
    m_data_follow(m, mv, in->ino);
}

void op_read(struct m_run *m, struct m_vol *mv)
{
    const struct o_ino *in = m_pick_file(m, mv);
    uint64_t off;
    size_t len;

    if (!in)
        return;
    off = m_pick_offset(m, in);
    len = m_pick_len(m);
    m_trace(m, "read ino=%llu off=%llu len=%zu", (unsigned long long)in->ino, (unsigned long long)off, len);
    m_compare_bytes(m, mv, m_node(mv, in->ino), in, off, len);
}

/* Bytes beyond a size are gone: growing again shows zeros. */
static void cut(struct m_run *m, struct o_ino *in, uint64_t size)
{
    uint64_t last = (size + PG_SIZE - 1) / PG_SIZE;

    if (size < in->size || size == 0) { /* what is reserved beyond the end goes too */
        pages_zero(&in->data, size, last * PG_SIZE - size, m->op);
        pages_set(&in->data, last, UINT64_MAX - last, PG_HOLE, -1, m->op);
    }
    grow(m, in, size);
    in->size = size;
}

void op_truncate(struct m_run *m, struct m_vol *mv)
{
    const struct o_ino *pick = m_pick_file(m, mv);
    struct vfs_setattr a = {.set = VFS_SIZE};
    struct vfs_attr got;
    struct o_ino *in;
    int r;

    if (!pick)
        return;
    a.size = m_chance(m, 25) ? 0 : m_pick_offset(m, pick);
    if (m_chance(m, 30))
        a.set |= VFS_KILL_PRIV;
    m_trace(m, "truncate ino=%llu size=%llu from=%llu", (unsigned long long)pick->ino,
            (unsigned long long)a.size, (unsigned long long)pick->size);
    r = vfs_setattr(mv->v, &m->ctx, m_node(mv, pick->ino), &a, &got);
    if (!m_expect(m, r, m_quota_error(mv, r, 2 + pick->size / PG_SIZE), "truncate"))
        return;
    in = o_mut(mv->live, pick->ino);
    leave_inline(m, mv, in);
    cut(m, in, a.size);
    m_touch(in, true);
    if (a.set & VFS_KILL_PRIV)
        m_kill_priv(in);
    m_data_follow(m, mv, in->ino);
}

/* A small file in the tables has no blocks to give up: its bytes become zeros. */
static void alloc_apply(struct m_run *m, struct o_ino *in, bool was_inline, int mode, uint64_t off,
                        uint64_t len)
{
    uint64_t end = off + len, first = (off + PG_SIZE - 1) / PG_SIZE, last = end / PG_SIZE;

    if (mode & FALLOC_FL_PUNCH_HOLE) {
        pages_zero(&in->data, off, len, m->op);
        if (last > first && !was_inline)
            pages_set(&in->data, first, last - first, PG_HOLE, -1, m->op);
        return;
    }
    if (mode & FALLOC_FL_ZERO_RANGE) {
        pages_zero(&in->data, off, len, m->op);
        if (last > first && !was_inline)
            pages_set(&in->data, first, last - first, PG_UNWRITTEN, -1, m->op);
    }
    first = off / PG_SIZE, last = (end + PG_SIZE - 1) / PG_SIZE;
    pages_set(&in->data, first, last - first, PG_UNWRITTEN, PG_HOLE, m->op);
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        grow(m, in, end);
}

/* What a reservation or zeroing will say: all of it fits, or nothing is done. For a small file, whose place may change: 1. */
static int alloc_says(struct m_run *m, struct m_vol *mv, const struct o_ino *in, int mode, uint64_t off,
                      uint64_t len)
{
    uint64_t last = (off + len + PG_SIZE - 1) / PG_SIZE, need = 0;
    struct volume_info info;

    if (!mv->limit_blocks || (mode & FALLOC_FL_PUNCH_HOLE))
        return 0;
    if (in->is_inline)
        return 1;
    for (uint64_t b = off / PG_SIZE; b < last; b++)
        need += pages_kind(&in->data, b) == PG_HOLE;
    m_expect(m, volume_get_info(mv->v, &info), 0, "volume_get_info");
    return need && info.used_bytes / PG_SIZE + need > mv->limit_blocks ? -E_QUOTA : 0;
}

void op_fallocate(struct m_run *m, struct m_vol *mv)
{
    static const int modes[] = {0,
                                FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE,
                                FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
    const struct o_ino *pick = m_pick_file(m, mv);
    int mode = modes[m_rand(m, ARRAY_LEN(modes))], r, says;
    struct o_ino *in;
    struct vfs_attr a;
    struct timespec now;
    uint64_t off, len;
    bool was_inline;

    if (!pick)
        return;
    off = m_pick_offset(m, pick) % (4u << 20);
    len = m_pick_len(m);
    m_trace(m, "fallocate ino=%llu mode=%d off=%llu len=%llu size=%llu", (unsigned long long)pick->ino, mode,
            (unsigned long long)off, (unsigned long long)len, (unsigned long long)pick->size);
    says = alloc_says(m, mv, pick, mode, off, len);
    r = vfs_fallocate(mv->v, &m->ctx, m_node(mv, pick->ino), mode, off, len);
    if (!m_expect(m, r, says == 1 ? m_quota_error(mv, r, (off + len) / PG_SIZE + 1) : says, "fallocate"))
        return m_verify_ino(m, mv, pick, m_node(mv, pick->ino));
    in = o_mut(mv->live, pick->ino);
    was_inline = in->is_inline;
    leave_inline(m, mv, in);
    alloc_apply(m, in, was_inline, mode, off, len);
    m_expect(m, vfs_getattr(mv->v, m_node(mv, in->ino), &a), 0, "getattr");
    m_now(&now);
    if (a.ctime.tv_sec == now.tv_sec &&
        a.ctime.tv_nsec == now.tv_nsec) { /* there may have been nothing to change */
        m_touch(in, true);
        if (m->ctx.uid != 0)
            m_kill_priv(in);
    }
    m_data_follow(m, mv, in->ino);
}

void op_seek(struct m_run *m, struct m_vol *mv)
{
    const struct o_ino *in = m_pick_file(m, mv);

    if (!in)
        return;
    m_trace(m, "seek ino=%llu", (unsigned long long)in->ino);
    m_compare_map(m, mv, m_node(mv, in->ino), in);
}

struct cp {
    const struct o_ino *src; /* as it was before */
    vfs_node src_node;
    uint64_t src_off, dst, dst_off, len;
    uint64_t want;               /* bytes, cut at the source's end */
    uint64_t src_size, dst_size; /* before */
    bool src_inline, heads_inline;
};

/* The blocks of the destination that are shared: whole ones, at the same place in their block; the last one too where both
 * files end in it. none: first == last. */
static void copy_shared(const struct cp *c, uint64_t dst_size, uint64_t len, uint64_t *first, uint64_t *last)
{
    uint64_t end = c->dst_off + len;

    *first = (c->dst_off + PG_SIZE - 1) / PG_SIZE;
    *last = end / PG_SIZE;
    if (c->src_off + len == c->src_size && end >= dst_size)
        *last = (end + PG_SIZE - 1) / PG_SIZE;
    if (c->src_inline || c->src_off % PG_SIZE != c->dst_off % PG_SIZE || *first >= *last || len < PG_SIZE)
        *last = *first;
}

static void copy_bytes(struct m_run *m, struct o_ino *in, const struct pages *src, const struct cp *c,
                       uint64_t at, uint64_t end)
{
    for (; at < end; at += MIN_OF(end - at, (uint64_t)LEN_MAX)) {
        size_t n = (size_t)MIN_OF(end - at, (uint64_t)LEN_MAX);

        pages_read(src, bytes, n, c->src_off + (at - c->dst_off));
        pages_write(&in->data, bytes, n, at, m->op);
    }
}

/* Holes stay holes where blocks are shared, and what is only reserved becomes one; bytes at the edges are written. */
static void copy_apply(struct m_run *m, struct o_ino *in, const struct pages *src, const struct cp *c,
                       uint64_t len)
{
    uint64_t first, last, end = c->dst_off + len;

    copy_shared(c, c->dst_size, c->want, &first, &last);
    last = MAX_OF(first, MIN_OF(last, (end + PG_SIZE - 1) / PG_SIZE)); /* so far it went */
    copy_bytes(m, in, src, c, c->dst_off, first < last ? first * PG_SIZE : end);
    if (c->heads_inline && !in->is_inline)
        pages_set(&in->data, 0, first, PG_DATA, PG_HOLE, m->op); /* the head went to the tables first */
    if (first == last)
        return;
    pages_share(&in->data, first, src, c->src_off / PG_SIZE + (c->src_off % PG_SIZE ? 1 : 0), last - first,
                m->op);
    pages_set(&in->data, first, last - first, PG_HOLE, PG_UNWRITTEN, m->op);
    if (last * PG_SIZE < end)
        copy_bytes(m, in, src, c, last * PG_SIZE, end);
}

static void copy_describe(struct m_run *m, const struct m_vol *mv, struct cp *c)
{
    const struct o_ino *dst = o_get(mv->live, c->dst);
    uint64_t first, last;

    c->src_size = c->src->size; /* now: the source may be the destination */
    c->src_inline = c->src->is_inline;
    c->want = c->src_off >= c->src_size ? 0 : MIN_OF(c->len, c->src_size - c->src_off);
    c->dst_size = dst->size;
    copy_shared(c, c->dst_size, c->want, &first, &last);
    c->heads_inline = dst->is_inline && first < last && first * PG_SIZE > c->dst_off &&
                      first * PG_SIZE <= m->set.inline_bytes;
    m_trace(m, "copy src=%llx off=%llu -> dst=%llu off=%llu len=%llu", (unsigned long long)c->src_node.v,
            (unsigned long long)c->src_off, (unsigned long long)c->dst, (unsigned long long)c->dst_off,
            (unsigned long long)c->len);
}

/* It may have moved out of the tables for it, nothing else. */
static void copy_refused(struct m_run *m, struct m_vol *mv, const struct cp *c)
{
    leave_inline(m, mv, o_mut(mv->live, c->dst));
    m_verify_ino(m, mv, o_get(mv->live, c->dst), m_node(mv, c->dst));
}

static void copy(struct m_run *m, struct m_vol *mv, struct cp *c)
{
    uint64_t got = 0, more;
    struct pages src = {0};
    struct o_ino *in;
    int r;

    copy_describe(m, mv, c);
    more = c->want / PG_SIZE + 2 + m->set.inline_bytes / PG_SIZE;
    r = vfs_copy(mv->v, &m->ctx, c->src_node, c->src_off, m_node(mv, c->dst), c->dst_off, c->len, &got);
    if (!m_expect(m, r, c->want ? m_quota_error(mv, r, more) : 0, "copy"))
        return copy_refused(m, mv, c);
    WANT(m, got <= c->want && (got > 0 || c->want == 0), "copy did %llu of %llu bytes",
         (unsigned long long)got, (unsigned long long)c->want);
    if (got == 0)
        return;
    pages_clone(&src, &c->src->data);
    in = o_mut(mv->live, c->dst);
    leave_inline(m, mv, in);
    grow(m, in, c->dst_off + got);
    copy_apply(m, in, &src, c, got);
    pages_free(&src);
    m_touch(in, true);
    if (m->ctx.uid != 0)
        m_kill_priv(in);
    m_data_follow(m, mv, c->dst);
    WANT(m, got == c->want || m_quota_error(mv, -E_QUOTA, (c->want - got) / PG_SIZE + 2),
         "copy did %llu of %llu bytes, and there is room", (unsigned long long)got,
         (unsigned long long)c->want);
}

static void copy_place(struct m_run *m, struct cp *c, const struct o_ino *dst)
{
    c->dst = dst->ino;
    c->src_off = m_pick_offset(m, c->src) % (4u << 20);
    c->dst_off = m_chance(m, 60) ? c->src_off : m_pick_offset(m, dst) % (4u << 20);
    c->len = m_pick_len(m);
    if (m_chance(m, 50)) {
        c->src_off -= c->src_off % PG_SIZE;
        c->dst_off -= c->dst_off % PG_SIZE;
    }
}

void op_copy(struct m_run *m, struct m_vol *mv)
{
    struct cp c = {.src = m_pick_file(m, mv)};
    const struct o_ino *dst = m_pick_file(m, mv);

    if (!c.src || !dst)
        return;
    c.src_node = m_node(mv, c.src->ino);
    copy_place(m, &c, dst);
    if (c.src == dst && c.src_off < c.dst_off + c.len && c.dst_off < c.src_off + c.len)
        return; /* the kernel refuses overlapping ranges */
    copy(m, mv, &c);
}

/* Restoring: out of a snapshot into the live tree, as cp does. */
void op_copy_view(struct m_run *m, struct m_vol *mv)
{
    struct m_snap *sn = m_pick_snap(m, mv);
    const struct o_ino *dst = m_pick_file(m, mv);
    struct cp c = {0};
    vfs_node root;
    struct vfs_attr a;

    if (!sn || !dst)
        return;
    for (size_t i = 0, from = m_rand(m, sn->tree->n); i < sn->tree->n && !c.src; i++) {
        const struct o_ino *in = sn->tree->v[(from + i) % sn->tree->n];
        c.src = S_ISREG(in->mode) && in->size > 0 ? in : NULL;
    }
    if (!c.src)
        return;
    m_expect(m, view_enter(mv->v, sn->name, INO_ROOT, &root, &a), 0, "view_enter");
    c.src_node = vfs_node_make(vfs_node_view(root), c.src->ino);
    copy_place(m, &c, dst);
    if (m_chance(m, 40)) {
        c.src_off = c.dst_off = 0;
        c.len = LEN_MAX;
    }
    copy(m, mv, &c);
}

void op_fsync(struct m_run *m, struct m_vol *mv)
{
    const struct o_ino *in = m_pick(m, mv, m_chance(m, 90) ? S_IFREG : S_IFDIR);

    if (!in)
        return;
    m_trace(m, "fsync ino=%llu", (unsigned long long)in->ino);
    m_expect(m, vfs_fsync(mv->v, m_node(mv, in->ino)), 0, "fsync");
}
