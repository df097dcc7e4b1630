/* copy_file_range: whole blocks are shared, edges are copied (F5). */
#include <stdlib.h>

#include "snap/store/change.h"
#include "snap/store/cold_i.h"

#define COPY_SPANS 64u        /* spans in one record */
#define COPY_BYTES (1u << 20) /* at a time, where bytes are copied */

struct copy {
    struct vol *v;
    const struct file_req *rq;
    struct vt_at src_at;
    uint64_t src, src_off, dst, dst_off, len;
    uint64_t done;     /* bytes */
    struct buf synced; /* tail of a record: the source's objects that are on disk */
};

/* A record that brings the copy to this offset of the destination: its answer is how far that is. */
static struct file_req request_upto(const struct copy *c, uint64_t end)
{
    struct file_req rq = c->rq ? *c->rq : (struct file_req){0};

    rq.answer = end - c->dst_off;
    return rq;
}

/* What is not done up to a point, byte by byte. */
static int copy_bytes(struct copy *c, uint64_t to)
{
    uint8_t *p = to > c->done ? malloc(MIN_OF(to - c->done, (uint64_t)COPY_BYTES)) : NULL;
    int r = 0;

    if (!p)
        return to > c->done ? -E_NOMEM : 0;
    while (r == 0 && c->done < to) {
        size_t n = (size_t)MIN_OF(to - c->done, (uint64_t)COPY_BYTES), got = 0;
        r = file_read_locked(c->v, c->src_at, c->src, p, n, c->src_off + c->done, &got);
        if (r == 0 && got == 0)
            break;
        if (r == 0) {
            struct file_req rq = request_upto(c, c->dst_off + c->done + got);
            r = write_locked(c->v, &rq, c->dst, p, got, c->dst_off + c->done, NULL);
        }
        if (r == 0)
            c->done += got;
    }
    free(p);
    return r;
}

static void forget_open(struct inode *in, void *arg)
{
    (void)arg;
    in->open_obj = 0;
    in->open_layer = 0;
    in->change--; /* nothing that anyone sees has changed */
}

/* The live source's open object takes no more in place: others name its blocks now. */
static int freeze_source(struct change *ch, const struct copy *c)
{
    struct inode in;
    int r;

    if (c->src_at.layer != LAYER_NOW || BROKEN(VARVE_BREAK_freeze))
        return 0;
    if (c->src == c->dst) {
        ch->dropped = true;
        return 0;
    }
    r = inode_get(&ch->t, c->src_at, c->src, &in);
    if (r < 0 || !in.open_obj || in.inherited)
        return r;
    return inode_update(&ch->t, (struct vt_at){c->src_at.branch, ch->at.layer}, c->src, forget_open, NULL,
                        NULL);
}

/* Older bytes of the object may be in records: put back after a power cut they would be in the copy, too. */
static int note_synced(struct copy *c, struct txn *t, uint64_t object)
{
    struct buf one = {0};
    struct object_rec rec;
    int r = BROKEN(VARVE_BREAK_copy_synced) ? -E_NOENT : object_get(t, object, &rec);

    if (r < 0 || !dirty_find(t->store, rec.branch, rec.ino))
        return r == -E_NOENT ? 0 : r;
    r = tail_add_synced(&one, object);
    for (size_t at = 0; r == 0 && at < c->synced.len; at += one.len)
        if (memcmp(c->synced.data + at, one.data, one.len) == 0)
            r = 1;
    if (r == 0)
        r = buf_add(&c->synced, one.data, one.len);
    buf_free(&one);
    return r < 0 ? r : 0;
}

/* Bytes of a shared object must be on disk before a record of another file may name them (F1). */
static int sync_source(struct copy *c, const struct inode *in, uint64_t first, uint64_t count)
{
    uint64_t objs[RECORD_OBJECTS_MAX];
    struct store *s = c->v->store;
    struct txn t;
    struct span sp;
    int r = catchup_await(s); /* bytes of a dead daemon */

    for (uint64_t span = first / SPAN_BLOCKS; r == 0 && span * SPAN_BLOCKS < first + count; span++) {
        int n = 0;
        r = txn_begin(s, TXN_READ, OP_NONE, c->v, &t);
        if (r < 0)
            return r;
        r = span_get(&t, c->src_at, in, span, &sp);
        for (unsigned i = 1; r == 0 && i <= sp.nsrc; i++)
            if (n == 0 || objs[n - 1] != sp.src[i].object)
                objs[n++] = sp.src[i].object;
        for (int i = 0; i < n && r == 0; i++)
            r = note_synced(c, &t, objs[i]);
        txn_abort(&t);
        for (int i = 0; i < n && r == 0; i++)
            if (objfd_unsynced(s, objs[i]))
                r = objfd_sync(s, objs[i]);
        if (!(in->flags & INODE_SPANS))
            break; /* dense: one object */
    }
    return r;
}

/* The map of one span of the destination takes blocks of the source. */
static int share_span(struct change *ch, const struct copy *c, const struct inode *src, uint64_t span,
                      uint64_t first, uint64_t end, int64_t shift)
{
    uint64_t base = span * SPAN_BLOCKS, a = MAX_OF(first, base), b = MIN_OF(end, base + SPAN_BLOCKS);
    struct span old, new, from;
    uint64_t loaded = UINT64_MAX;
    bool had, inh;
    int r = change_span_load(ch, &ch->t, span, &old, &had, &inh);

    new = old;
    for (uint64_t i = a; i < b && r == 0; i++) {
        uint64_t sb = (uint64_t)((int64_t)i + shift);
        if (sb / SPAN_BLOCKS != loaded) {
            loaded = sb / SPAN_BLOCKS;
            r = span_get(&ch->t, c->src_at, src, loaded, &from);
            if (r < 0)
                return r;
        }
        const struct span_src *s = span_at(&from, (unsigned)(sb % SPAN_BLOCKS));
        if (!s || s->kind == SPAN_UNWRITTEN) {
            r = span_set(&new, (unsigned)(i - base), 1, NULL);
            continue;
        }
        struct span_src put = *s;
        put.data_born = ch->at.layer;
        put.delta += shift;
        r = span_set(&new, (unsigned)(i - base), 1, &put);
        if (r == 0)
            r = object_mark_shared(&ch->t, s->object);
    }
    return r < 0 ? r : change_span_store(ch, span, &old, &new, had, inh);
}

/* A whole dense file into an empty one: its object becomes the other's base. */
static int share_dense(struct change *ch, const struct copy *c, const struct inode *src, uint64_t first,
                       uint64_t count, int64_t shift)
{
    struct inode *in = &ch->in;

    (void)c;
    if (first != 0 || shift != 0 || in->blocks || in->base_obj || (in->flags & INODE_SPANS) ||
        (src->flags & INODE_SPANS) || !src->base_obj || count < src->base_blocks)
        return 0;
    int r = object_mark_shared(&ch->t, src->base_obj);
    in->base_obj = src->base_obj;
    in->base_blocks = in->blocks = src->base_blocks;
    in->base_layer = ch->at.layer;
    return r < 0 ? r : 1;
}

static int share_map(struct change *ch, const struct copy *c, uint64_t first, uint64_t count, int64_t shift)
{
    struct inode src;
    int r = inode_get(&ch->t, c->src_at, c->src, &src);

    if (r == 0)
        r = freeze_source(ch, c);
    if (r == 0)
        r = share_dense(ch, c, &src, first, count, shift);
    if (r != 0)
        return r < 0 ? r : 0;
    for (uint64_t span = first / SPAN_BLOCKS; r == 0 && span * SPAN_BLOCKS < first + count; span++)
        r = share_span(ch, c, &src, span, first, first + count, shift);
    return r;
}

static int share_part(struct copy *c, uint64_t first, uint64_t count, int64_t shift, uint64_t size)
{
    struct file_req rq = request_upto(c, size);
    struct change ch;
    struct cut tail = {0};
    int r = change_begin(&ch, c->v, &rq, c->dst);

    if (r == 0 && ch.in.size / BLOCK_SIZE < first)
        r = change_find_tail(&ch, &tail);
    if (r == 0) /* the source's object, which may be this file's own, is frozen below: not into that */
        r = change_copy_cut(&ch, &tail, true);
    if (r == 0)
        r = change_open(&ch, OP_COPY, true);
    if (r == 0) {
        ch.t.tail = &c->synced;
        if (ch.in.flags & INODE_INLINE) { /* empty: others were promoted */
            ch.in.flags &= ~(uint32_t)INODE_INLINE;
            ch.in.blocks = 0;
        }
        r = share_map(&ch, c, first, count, shift);
        if (r == 0 && tail.keep) /* last: the source's map may be the same, and is read as it was */
            r = change_set_block(&ch, tail.block, SPAN_OBJECT);
        uint64_t more =
            (int64_t)ch.in.blocks > ch.blocks_before ? ch.in.blocks - (uint64_t)ch.blocks_before : 0;
        if (r == 0)
            r = vol_room(c->v, more, 0);
        ch.in.size = MAX_OF(ch.in.size, size);
        if (r < 0)
            change_abort(&ch);
        else
            r = change_put(&ch);
    }
    return change_finish(&ch, r);
}

static int source_inode(struct copy *c, struct vt_at at, uint64_t ino, struct inode *ret)
{
    struct txn t;
    int r = txn_begin(c->v->store, TXN_READ, OP_NONE, c->v, &t);

    if (r < 0)
        return r;
    r = inode_get(&t, at, ino, ret);
    txn_abort(&t);
    return r;
}

/* The blocks between the edges. */
static int share_blocks(struct copy *c, const struct inode *src, uint64_t first, uint64_t count,
                        uint64_t size)
{
    int64_t shift = (int64_t)(c->src_off / BLOCK_SIZE) - (int64_t)(c->dst_off / BLOCK_SIZE);
    bool dense = !(src->flags & INODE_SPANS);
    int r = sync_source(c, src, (uint64_t)((int64_t)first + shift), count);

    while (r == 0 && count) {
        uint64_t n = dense && first == 0 && shift == 0
                         ? count
                         : MIN_OF(count, COPY_SPANS * SPAN_BLOCKS - first % SPAN_BLOCKS);
        uint64_t end = MIN_OF(size, (first + n) * BLOCK_SIZE);
        r = share_part(c, first, n, shift, end);
        if (r == -E_RANGE) /* more sources than a span's map names: written together, they are one */
            r = copy_bytes(c, end - c->dst_off);
        else if (r == 0)
            c->done = end - c->dst_off;
        first += n;
        count -= n;
    }
    return r;
}

/* Which blocks [first, last) of the destination are shared; the rest of the range is copied. */
struct whole {
    uint64_t first, last;
};

static struct whole whole_blocks(const struct copy *c, const struct inode *src, const struct inode *dst)
{
    uint64_t end = c->dst_off + c->len;
    struct whole w = {blocks_of(c->dst_off), end / BLOCK_SIZE};

    if (c->src_off + c->len == src->size && end >= dst->size)
        w.last = blocks_of(end); /* beyond both ends there are only zeros */
    if ((src->flags & INODE_INLINE) || c->src_off % BLOCK_SIZE != c->dst_off % BLOCK_SIZE ||
        c->len < BLOCK_SIZE || w.first > w.last)
        w.last = w.first;
    return w;
}

static int copy_locked(struct copy *c)
{
    struct inode src, dst;
    int r = source_inode(c, c->src_at, c->src, &src);

    if (r == 0)
        r = source_inode(c, (struct vt_at){c->v->rec.head, LAYER_NOW}, c->dst, &dst);
    if (r < 0)
        return r;
    if (!S_ISREG(src.mode) || !S_ISREG(dst.mode))
        return -E_INVAL;
    c->len = c->src_off >= src.size ? 0 : MIN_OF(c->len, src.size - c->src_off);
    if (c->dst_off > FILE_SIZE_MAX || c->len > FILE_SIZE_MAX - c->dst_off)
        return -E_FBIG;
    struct whole w = whole_blocks(c, &src, &dst);
    if (w.first == w.last)
        return copy_bytes(c, c->len);
    uint64_t head = w.first * BLOCK_SIZE - c->dst_off;
    r = copy_bytes(c, head);
    if (r == 0 && (dst.flags & INODE_INLINE) &&
        (dst.size || head)) /* the head's bytes may lie in the tables, too */
        r = promote_locked(c->v, c->dst);
    if (r == 0 &&
        c->dst_off + c->done < MIN_OF(w.last * BLOCK_SIZE, c->dst_off + c->len)) /* else it is done over */
        r = share_blocks(c, &src, w.first, w.last - w.first, c->dst_off + c->len);
    return r < 0 ? r : copy_bytes(c, c->len);
}

int file_copy(struct vol *v, const struct file_req *rq, struct vt_at src_at, uint64_t src, uint64_t src_off,
              uint64_t dst, uint64_t dst_off, uint64_t len, uint64_t *ret_len)
{
    struct copy c = {.v = v,
                     .rq = rq,
                     .src_at = src_at,
                     .src = src,
                     .src_off = src_off,
                     .dst = dst,
                     .dst_off = dst_off,
                     .len = len};
    uint64_t inos[2] = {src, dst};
    struct ilock l;
    int r;

    do { /* what was done stays done */
        ilock_take(v->store, &l, v->rec.id, inos, 2, true);
        r = copy_locked(&c);
        ilock_drop(&l);
    } while (cold_again(v->store, &r));
    buf_free(&c.synced);
    if (r < 0 && c.done == 0)
        return r;
    *ret_len = c.done;
    return 0;
}
