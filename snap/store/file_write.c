/* Writing: small files in the tables, others in objects. */
#include <stdlib.h>

#include "base/clock.h"
#include "snap/store/change.h"
#include "snap/store/cold_i.h"
#include "snap/store/writeout.h"

#define GATHER_SOURCES 64u /* a span of more sources than this is written together again */
/* Pieces that go to the disk: where somebody flushed the journal a moment ago, he would wait behind a large one. */
#define PIECE (8u << 20)
#define PIECE_SMALL (1u << 20)
#define FLUSHED_NS 100000000

/* A write as planned: which blocks, which old bytes come along. */
struct plan {
    uint64_t off, end;           /* bytes */
    uint64_t first, last;        /* blocks */
    uint64_t head_obj, head_off; /* old bytes before off in its block; 0: none to copy */
    uint64_t tail_obj, tail_off;
    uint64_t holes;       /* blocks that take new space */
    uint64_t gather[3];   /* spans to be written together, + 1; 0: none */
    uint64_t inline_size; /* inline bytes that move to the object */
    struct cut tail;      /* the block of the present end, when the write begins beyond it */
};

static void plan_edge(const struct change *ch, const struct span *sp, uint64_t block, uint64_t *obj,
                      uint64_t *off)
{
    const struct span_src *s = span_at(sp, (unsigned)(block % SPAN_BLOCKS));

    if (!s || s->kind == SPAN_UNWRITTEN || (s->object == ch->in.open_obj && ch->in.open_obj))
        return;
    *obj = s->object;
    *off = (uint64_t)((int64_t)block + s->delta) * BLOCK_SIZE;
}

static int plan_span(struct change *ch, struct txn *t, struct plan *p, uint64_t span)
{
    uint64_t base = span * SPAN_BLOCKS, a = MAX_OF(p->first, base),
             b = MIN_OF(p->last, base + SPAN_BLOCKS - 1);
    struct span sp;
    bool had, inh, mine = false;
    int r = change_span_load(ch, t, span, &sp, &had, &inh);

    if (r < 0)
        return r;
    for (uint64_t i = a; i <= b; i++)
        p->holes += span_at(&sp, (unsigned)(i - base)) == NULL;
    if (p->first >= base && p->off % BLOCK_SIZE)
        plan_edge(ch, &sp, p->first, &p->head_obj, &p->head_off);
    if (p->last < base + SPAN_BLOCKS && p->end % BLOCK_SIZE)
        plan_edge(ch, &sp, p->last, &p->tail_obj, &p->tail_off);
    for (unsigned i = 1; i <= sp.nsrc; i++)
        mine |= ch->in.open_obj && sp.src[i].object == ch->in.open_obj;
    if (sp.nsrc > GATHER_SOURCES && !mine)
        p->gather[span - p->first / SPAN_BLOCKS] = span + 1;
    return 0;
}

static int plan_spans(struct change *ch, struct plan *p)
{
    bool records = ch->in.flags & INODE_SPANS; /* else nothing is looked for in the tables */
    struct txn t;
    int r = records ? txn_begin(ch->s, TXN_READ, OP_NONE, ch->v, &t) : 0;

    if (r < 0)
        return r;
    for (uint64_t span = p->first / SPAN_BLOCKS; r == 0 && span <= p->last / SPAN_BLOCKS; span++)
        r = plan_span(ch, records ? &t : NULL, p, span);
    if (records)
        txn_abort(&t);
    return r;
}

static int plan_write(struct change *ch, struct plan *p)
{
    int r = 0;

    p->first = p->off / BLOCK_SIZE;
    p->last = (p->end - 1) / BLOCK_SIZE;
    if (ch->in.flags & INODE_INLINE) {
        uint64_t counted = blocks_of(ch->in.size);
        p->inline_size = ch->in.size;
        p->holes = p->last >= counted ? p->last + 1 - MAX_OF(p->first, counted) : 0;
    } else {
        r = plan_spans(ch, p);
    }
    if (r == 0 && !(ch->in.flags & INODE_INLINE) && ch->in.size / BLOCK_SIZE < p->first)
        r = change_find_tail(ch, &p->tail);
    return r;
}

/* len old bytes of an object, to the same place of the file. */
static int copy_old(struct change *ch, uint64_t object, uint64_t from, uint64_t to, size_t len)
{
    uint8_t block[BLOCK_SIZE];
    int r;

    if (!object || !len || BROKEN(VARVE_BREAK_block_copy))
        return 0;
    r = object_read(ch->s, object, block, len, from);
    return r < 0 ? r : change_pwrite(ch, block, len, to);
}

static int copy_inline(struct change *ch, uint64_t size)
{
    uint8_t *p = size ? malloc(size) : NULL;
    struct txn t;
    int r;

    if (!size)
        return 0;
    if (!p)
        return -E_NOMEM;
    r = txn_begin(ch->s, TXN_READ, OP_NONE, ch->v, &t);
    if (r == 0) {
        r = inline_read(&t, (struct vt_at){ch->at.branch, LAYER_NOW}, ch->ino, p, size, 0);
        txn_abort(&t);
    }
    if (r == 0)
        r = change_pwrite(ch, p, size, 0);
    free(p);
    return r;
}

static int copy_span(struct change *ch, uint64_t span)
{
    uint64_t end = MIN_OF((span + 1) << SPAN_SHIFT, ch->in.size), off = span << SPAN_SHIFT;
    size_t got = 0, len = end > off ? (size_t)(end - off) : 0;
    uint8_t *p = len ? malloc(len) : NULL;

    if (!len)
        return 0;
    if (!p)
        return -E_NOMEM;
    int r = file_read_locked(ch->v, (struct vt_at){ch->at.branch, LAYER_NOW}, ch->ino, p, len, off, &got);
    if (r == 0)
        r = change_pwrite(ch, p, got, off);
    free(p);
    return r;
}

static int write_object(struct change *ch, struct plan *p, const void *data)
{
    uint64_t head = p->off % BLOCK_SIZE, tail = p->end % BLOCK_SIZE, size = ch->in.size;
    int r = change_object(ch, false);

    if (r == 0)
        r = copy_inline(ch, p->inline_size);
    for (int i = 0; i < 3 && r == 0; i++)
        if (p->gather[i])
            r = copy_span(ch, p->gather[i] - 1);
    if (r == 0)
        r = change_copy_cut(ch, &p->tail, false);
    if (r == 0 && head &&
        size > p->off - head) /* beyond the end an old object may hold bytes of writes that were lost */
        r = copy_old(ch, p->head_obj, p->head_off, p->off - head, MIN_OF(head, size - (p->off - head)));
    if (r == 0 && tail && size > p->end)
        r = copy_old(ch, p->tail_obj, p->tail_off + tail, p->end, MIN_OF(BLOCK_SIZE - tail, size - p->end));
    return r < 0 ? r : change_pwrite(ch, data, p->end - p->off, p->off);
}

/* The new blocks of one span as part of the dense base, if they can be: 1 done, 0 the span needs a record. */
static int map_dense(struct change *ch, uint64_t span, uint64_t a, uint64_t b)
{
    struct inode *in = &ch->in;

    if (in->base_obj && in->base_obj == ch->object && a <= in->base_blocks) {
        if (b + 1 > in->base_blocks) {
            in->blocks += b + 1 - in->base_blocks;
            in->base_blocks = b + 1;
        }
        return 1;
    }
    if (in->base_obj || (in->flags & INODE_SPANS) || a != 0 || in->blocks != 0)
        return 0;
    assert(span == 0);
    in->base_obj = ch->object;
    in->base_layer = ch->at.layer;
    in->base_blocks = in->blocks = b + 1;
    return 1;
}

static int map_span(struct change *ch, const struct plan *p, uint64_t span)
{
    uint64_t base = span * SPAN_BLOCKS, a = MAX_OF(p->first, base),
             b = MIN_OF(p->last, base + SPAN_BLOCKS - 1);
    struct span_src src = change_src(ch, SPAN_OBJECT);
    struct span old, new;
    bool had, inh;
    int r = change_span_load(ch, &ch->t, span, &old, &had, &inh);

    if (r < 0)
        return r;
    if (!had && map_dense(ch, span, a, b) == 1)
        return 0;
    span_copy(&new, &old);
    for (int i = 0; i < 3; i++)
        if (p->gather[i] == span + 1)
            for (unsigned k = 0; k < SPAN_BLOCKS; k++)
                if (span_at(&old, k))
                    (void)span_set(&new, k, 1, &src);
    r = span_set(&new, (unsigned)(a - base), (unsigned)(b - a + 1), &src);
    if (r < 0)
        return r;
    if (had && !inh && memcmp(new.block, old.block, sizeof(new.block)) == 0 && new.nsrc == old.nsrc)
        return 0;
    return change_span_store(ch, span, &old, &new, had, inh);
}

/* The inline pieces' bytes are in the object now. */
static int unline(struct change *ch, uint64_t size)
{
    int r = inline_trim(ch, 0);

    ch->in.flags &= ~(uint32_t)INODE_INLINE;
    ch->in.blocks = 0;
    if (r == 0 && size)
        (void)map_dense(ch, 0, 0, blocks_of(size) - 1);
    return r;
}

static int record_write(struct change *ch, const struct plan *p)
{
    int r = change_open(ch, OP_WRITE, true);

    if (r < 0)
        return r;
    if (ch->in.flags & INODE_INLINE)
        r = unline(ch, p->inline_size);
    if (r == 0 && p->tail.keep)
        r = change_set_block(ch, p->tail.block, SPAN_OBJECT);
    for (uint64_t span = p->first / SPAN_BLOCKS; r == 0 && span <= p->last / SPAN_BLOCKS; span++)
        r = map_span(ch, p, span);
    if (r < 0) {
        change_abort(ch);
        return r;
    }
    ch->in.size = MAX_OF(ch->in.size, p->end);
    return change_put(ch);
}

static uint64_t piece_of(const struct store *s, const struct dirty_obj *o)
{
    bool alone = clock_mono_ns() - journal_flush_ns(s->journal) > FLUSHED_NS;

    return alone || !o->late.in_order ? PIECE : PIECE_SMALL;
}

/* Bulk writers' bytes go to the disk behind them, so that nobody waits for gigabytes (F20). */
static void write_out(struct change *ch)
{
    struct dirty_obj *o = ch->wrote_end ? ch->dobj : NULL;

    if (!o || o->late.bytes < PIECE_SMALL || o->late.bytes < piece_of(ch->s, o))
        return;
    writeout_give(ch->s, o->object, o->late.off, o->late.end - o->late.off);
    o->late.bytes = 0;
}

/* A snapshot that waits for this write does not wait for that: the bytes are in their place, and the record that says so has been
 * made. */
static int write_back(struct change *ch)
{
    struct store *s = ch->s;
    uint64_t dirty = __atomic_load_n(&s->dirty_bytes, __ATOMIC_RELAXED);
    int r;

    if (!BROKEN(VARVE_BREAK_pin_long))
        change_unpin(ch);
    write_out(ch);
    if (dirty <= s->set.dirty_bytes || BROKEN(VARVE_BREAK_dirty_bound))
        return 0;
    writeout_wait(s);
    r = firm_locked(s, ch->at.branch, ch->ino, false);
    ch->dirty = NULL;
    return r;
}

/* Nothing is written before all of the old bytes that come along can be read. */
static int old_here(struct change *ch, const struct plan *p)
{
    struct vt_at now = {ch->at.branch, LAYER_NOW};
    int r = p->head_obj ? object_here(ch->s, p->head_obj, p->head_off, p->off % BLOCK_SIZE) : 0, e = 0;

    if (p->tail_obj)
        e = object_here(ch->s, p->tail_obj, p->tail_off + p->end % BLOCK_SIZE,
                        BLOCK_SIZE - p->end % BLOCK_SIZE);
    r = MIN_OF(r, e);
    for (int i = 0; i < 3; i++)
        if (p->gather[i]) {
            e = file_here_locked(ch->v, now, ch->ino, SPAN_BLOCKS * BLOCK_SIZE,
                                 (p->gather[i] - 1) << SPAN_SHIFT);
            r = MIN_OF(r, e);
        }
    return r;
}

static int write_to_object(struct change *ch, const void *data, size_t len, uint64_t off)
{
    struct plan p = {.off = off, .end = off + len};
    int r = plan_write(ch, &p);

    if (r == 0 && cold_any(ch->s))
        r = old_here(ch, &p);
    if (r == 0)
        r = change_reserve(ch, p.holes);
    if (r == 0)
        r = write_object(ch, &p, data);
    if (r == 0)
        r = record_write(ch, &p);
    return r < 0 ? r : write_back(ch);
}

static int write_inline(struct change *ch, const void *data, size_t len, uint64_t off)
{
    uint64_t end = MAX_OF(ch->in.size, off + len);
    int r = change_reserve(ch, blocks_of(end) - blocks_of(ch->in.size));

    if (r == 0)
        r = change_open(ch, OP_WRITE, false);
    if (r < 0)
        return r;
    r = inline_write(ch, data, len, off);
    if (r < 0) {
        change_abort(ch);
        return r;
    }
    ch->in.size = end;
    ch->in.blocks = blocks_of(end);
    return change_put(ch);
}

int write_locked(struct vol *v, const struct file_req *rq, uint64_t ino, const void *p, size_t len,
                 uint64_t off, struct inode *ret)
{
    struct change ch;
    int r = change_begin(&ch, v, rq, ino);

    if (r == 0 && (off > FILE_SIZE_MAX || len > FILE_SIZE_MAX - off))
        r = -E_FBIG;
    if (r == 0 && len) {
        if ((ch.in.flags & INODE_INLINE) && off + len <= v->store->set.inline_bytes)
            r = write_inline(&ch, p, len, off);
        else
            r = write_to_object(&ch, p, len, off);
    }
    if (r == 0 && ret)
        *ret = ch.in;
    return change_finish(&ch, r);
}

int file_write(struct vol *v, const struct file_req *rq, uint64_t ino, const void *p, size_t len,
               uint64_t off, struct inode *ret)
{
    struct ilock l;
    int r;

    do {
        ilock_take(v->store, &l, v->rec.id, &ino, 1, true);
        r = write_locked(v, rq, ino, p, len, off, ret);
        ilock_drop(&l);
    } while (cold_again(v->store, &r));
    return r;
}

/* Inline bytes go to an object: for what only objects can do. */
int promote_locked(struct vol *v, uint64_t ino)
{
    struct change ch;
    struct plan p = {0};
    int r = change_begin(&ch, v, NULL, ino);

    ch.moves = true;
    if (r == 0 && (ch.in.flags & INODE_INLINE)) {
        p.inline_size = ch.in.size;
        if (ch.in.size)
            r = change_object(&ch, false);
        if (r == 0)
            r = copy_inline(&ch, ch.in.size);
        if (r == 0)
            r = change_open(&ch, OP_WRITE, true);
        if (r == 0) {
            r = unline(&ch, p.inline_size);
            if (r < 0)
                change_abort(&ch);
            else
                r = change_put(&ch);
        }
    }
    change_end(&ch);
    return r;
}
