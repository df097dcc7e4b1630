/* Truncating, punching, zeroing, reserving. */
#include <stdlib.h>

#include "snap/store/change.h"
#include "snap/store/cold_i.h"

static int find_cut(struct change *ch, uint64_t size, bool growing, struct cut *c)
{
    struct txn t;
    struct span sp;
    bool had, inh;
    int r = txn_begin(ch->s, TXN_READ, OP_NONE, ch->v, &t);

    if (r < 0)
        return r;
    r = change_span_load(ch, &t, c->block / SPAN_BLOCKS, &sp, &had, &inh);
    const struct span_src *s = r == 0 ? span_at(&sp, (unsigned)(c->block % SPAN_BLOCKS)) : NULL;
    if (s && s->kind == SPAN_OBJECT && !(growing && ch->in.open_obj && s->object == ch->in.open_obj)) {
        c->keep = size % BLOCK_SIZE;
        c->object = s->object;
        c->from = (uint64_t)((int64_t)c->block + s->delta) * BLOCK_SIZE;
    }
    txn_abort(&t);
    return r == 0 && c->keep ? object_here(ch->s, c->object, c->from, BLOCK_SIZE) : r;
}

int change_find_cut(struct change *ch, uint64_t size, struct cut *c)
{
    *c = (struct cut){.block = size / BLOCK_SIZE};
    return size % BLOCK_SIZE == 0 || size >= ch->in.size ? 0 : find_cut(ch, size, false, c);
}

/* In the open object there is nothing beyond the end; in others there may be bytes of writes that were lost. */
int change_find_tail(struct change *ch, struct cut *c)
{
    *c = (struct cut){.block = ch->in.size / BLOCK_SIZE};
    return ch->in.size % BLOCK_SIZE == 0 ? 0 : find_cut(ch, ch->in.size, true, c);
}

/* Where nothing but zeros is cut off, the block stays as it is. */
int change_copy_cut(struct change *ch, struct cut *c, bool fresh)
{
    static const uint8_t zeros[BLOCK_SIZE];
    uint8_t block[BLOCK_SIZE];
    int r;

    if (!c->keep)
        return 0;
    r = object_read(ch->s, c->object, block, BLOCK_SIZE, c->from);
    if (r < 0)
        return r;
    if (!memcmp(block + c->keep, zeros, BLOCK_SIZE - c->keep)) {
        c->keep = 0;
        return 0;
    }
    memset(block + c->keep, 0, BLOCK_SIZE - c->keep);
    if (!ch->fd)
        r = change_object(ch, fresh);
    return r < 0 ? r : change_pwrite(ch, block, BLOCK_SIZE, c->block * BLOCK_SIZE);
}

int change_set_block(struct change *ch, uint64_t block, uint8_t kind)
{
    struct span_src src = change_src(ch, kind);
    struct span old, new;
    bool had, inh;
    int r = change_span_load(ch, &ch->t, block / SPAN_BLOCKS, &old, &had, &inh);

    if (r < 0)
        return r;
    new = old;
    r = span_set(&new, (unsigned)(block % SPAN_BLOCKS), 1, &src);
    return r < 0 ? r : change_span_store(ch, block / SPAN_BLOCKS, &old, &new, had, inh);
}

static int shrink_object(struct change *ch, uint64_t size, const struct cut *c)
{
    uint64_t was = ch->in.base_obj;
    struct objfd *f;
    int r = change_cut(ch, c->keep ? c->block : blocks_of(size), UINT64_MAX);

    if (r == 0 && c->keep)
        r = change_set_block(ch, c->block, SPAN_OBJECT);
    if (BROKEN(VARVE_BREAK_truncate_in_place) && size == 0 && was && objfd_get(ch->s, was, false, &f) == 0) {
        (void)io_truncate(ch->s->io, f->fd, 0);
        objfd_put(ch->s, f);
    }
    if (r == 0 && size == 0) {
        ch->in.flags = (ch->in.flags & ~(uint32_t)INODE_SPANS) | INODE_INLINE;
        ch->dropped = true;
        assert(ch->in.blocks == 0);
    }
    return r;
}

static int truncate_object(struct change *ch, uint64_t size)
{
    bool grows = size > ch->in.size;
    struct cut c;
    int r = grows ? change_find_tail(ch, &c) : change_find_cut(ch, size, &c);

    if (r == 0)
        r = change_copy_cut(ch, &c, !grows);
    if (r == 0)
        r = change_open(ch, OP_TRUNCATE, true);
    if (r < 0)
        return r;
    if (grows && c.keep)
        r = change_set_block(ch, c.block, SPAN_OBJECT);
    if (size < ch->in.size || size == 0) /* blocks reserved beyond the end go, too */
        r = shrink_object(ch, size, &c);
    if (r < 0) {
        change_abort(ch);
        return r;
    }
    ch->in.size = size;
    return change_put(ch);
}

static int truncate_inline(struct change *ch, uint64_t size)
{
    int r = size > ch->in.size ? change_reserve(ch, blocks_of(size) - blocks_of(ch->in.size)) : 0;

    if (r == 0)
        r = change_open(ch, OP_TRUNCATE, false);
    if (r < 0)
        return r;
    if (size < ch->in.size)
        r = inline_trim(ch, size);
    if (r < 0) {
        change_abort(ch);
        return r;
    }
    ch->in.size = size;
    ch->in.blocks = blocks_of(size);
    return change_put(ch);
}

static int truncate_once(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t size,
                         struct inode *ret)
{
    struct change ch;
    int r = change_begin(&ch, v, rq, ino);

    if (r == 0)
        r = ch.in.flags & INODE_INLINE ? truncate_inline(&ch, size) : truncate_object(&ch, size);
    if (r == 0 && ret)
        *ret = ch.in;
    return change_finish(&ch, r);
}

#define CUT_SPANS 128u /* spans with a record that one record of the journal takes away */

/* A file with very many span records is cut from its end in steps: one record of the journal would not hold them. *ret: the
 * size for the next step, `size` for the last. */
static int truncate_step(struct vol *v, uint64_t ino, uint64_t size, uint64_t *ret)
{
    uint64_t first = blocks_of(size) / SPAN_BLOCKS, n = 0, last = 0;
    struct vt_scan sc;
    uint8_t key[16];
    const uint8_t *found;
    struct inode in;
    struct vt_val val;
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    *ret = size;
    if (r < 0)
        return r;
    r = inode_get(&t, vol_now(v), ino, &in);
    if (r == 0 && size < in.size && (in.flags & INODE_SPANS)) {
        put_be64(key, ino);
        put_be64(key + 8, first + 1);
        vt_scan_init(&sc, &t, KEEP_PENDING, vol_now(v), TAB_SPAN, key, 8);
        vt_scan_from(&sc, key, 16);
        while ((r = vt_scan_next(&sc, &found, &val)) == 1)
            if (n++ % CUT_SPANS == 0) {
                last = get_be64(found + 8);
                if (n > CUT_SPANS)
                    *ret = last << SPAN_SHIFT;
            }
    }
    txn_abort(&t);
    return r;
}

int truncate_locked(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t size, struct inode *ret)
{
    struct file_req part = rq ? *rq : (struct file_req){0};
    struct change ch;
    uint64_t step = size;
    int r = change_begin(&ch, v, rq, ino);
    bool promote = r == 0 && (ch.in.flags & INODE_INLINE) && size > v->store->set.inline_bytes;

    change_end(&ch);
    part.part = true;
    if (promote)
        r = promote_locked(v, ino);
    while (r == 0) {
        r = truncate_step(v, ino, size, &step);
        if (r < 0 || step == size)
            break;
        r = truncate_once(v, &part, ino, step, NULL);
    }
    return r < 0 ? r : truncate_once(v, rq, ino, size, ret);
}

int file_truncate(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t size, struct inode *ret)
{
    struct ilock l;
    int r;

    if (size > FILE_SIZE_MAX)
        return -E_FBIG;
    do {
        ilock_take(v->store, &l, v->rec.id, &ino, 1, true);
        r = truncate_locked(v, rq, ino, size, ret);
        ilock_drop(&l);
    } while (cold_again(v->store, &r));
    return r;
}

/* Zeros over bytes [off, end) inside one block, where it holds any; grows nothing. */
static int zero_edge(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t off, uint64_t end)
{
    static const uint8_t zeros[BLOCK_SIZE];
    struct change ch;
    struct txn t;
    struct span sp;
    bool had, inh, mapped = false;
    int r = change_begin(&ch, v, rq, ino);

    end = MIN_OF(end, ch.in.size);
    if (r == 0 && off < end && !(ch.in.flags & INODE_INLINE)) {
        r = txn_begin(ch.s, TXN_READ, OP_NONE, v, &t);
        if (r == 0) {
            uint64_t block = off / BLOCK_SIZE;
            r = change_span_load(&ch, &t, block / SPAN_BLOCKS, &sp, &had, &inh);
            const struct span_src *s = r == 0 ? span_at(&sp, (unsigned)(block % SPAN_BLOCKS)) : NULL;
            mapped = s && s->kind != SPAN_UNWRITTEN;
            txn_abort(&t);
        }
    }
    change_end(&ch);
    if (r == 0 && off < end && (mapped || (ch.in.flags & INODE_INLINE)))
        r = write_locked(v, rq, ino, zeros, end - off, off, NULL);
    return r;
}

static int punch_once(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t first, uint64_t end)
{
    struct change ch;
    int r = change_begin(&ch, v, rq, ino);

    if (r == 0 && !(ch.in.flags & INODE_INLINE)) {
        r = change_open(&ch, OP_FALLOCATE, true);
        if (r == 0) {
            r = change_cut(&ch, first, end);
            if (r < 0)
                change_abort(&ch);
            else
                r = change_put(&ch);
        }
    }
    return change_finish(&ch, r);
}

/* The first block at or after `first` that may hold something; end when there is none before it. */
static int next_used(struct vol *v, uint64_t ino, uint64_t first, uint64_t end, uint64_t *ret)
{
    struct inode in;
    struct txn t;
    uint64_t span;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = inode_get(&t, vol_now(v), ino, &in);
    if (r == 0)
        r = span_next_used(&t, vol_now(v), &in, first / SPAN_BLOCKS, &span);
    txn_abort(&t);
    if (r == 0)
        *ret = span >= end / SPAN_BLOCKS + 1 ? end : MAX_OF(first, span * SPAN_BLOCKS);
    return r;
}

/* Some spans in each record; holes are passed over. */
static int punch_blocks(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t first, uint64_t end)
{
    uint64_t at = first, part;
    int r;

    do {
        r = next_used(v, ino, at, end, &at);
        part = MIN_OF(end, (at / SPAN_BLOCKS + CUT_SPANS) * SPAN_BLOCKS);
        if (r == 0) /* also over a hole: it is a change all the same */
            r = punch_once(v, rq, ino, MIN_OF(at, part), part);
        at = part;
    } while (r == 0 && at < end);
    return r;
}

static int punch_locked(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t off, uint64_t end)
{
    uint64_t first = blocks_of(off), last = end / BLOCK_SIZE; /* whole blocks */
    struct change ch;
    int r = change_begin(&ch, v, rq, ino);
    bool is_inline = r == 0 && (ch.in.flags & INODE_INLINE);
    uint64_t size = ch.in.size;

    change_end(&ch);
    if (r < 0)
        return r;
    if (is_inline) {
        uint8_t zeros[PIECE_SIZE] = {0};
        for (uint64_t at = off; r == 0 && at < MIN_OF(end, size);
             at += MIN_OF((uint64_t)PIECE_SIZE, MIN_OF(end, size) - at))
            r = write_locked(v, rq, ino, zeros, MIN_OF((uint64_t)PIECE_SIZE, MIN_OF(end, size) - at), at,
                             NULL);
        return r;
    }
    if (first > last) /* inside one block */
        return zero_edge(v, rq, ino, off, end);
    if (off % BLOCK_SIZE)
        r = zero_edge(v, rq, ino, off, first * BLOCK_SIZE);
    if (r == 0 && end % BLOCK_SIZE)
        r = zero_edge(v, rq, ino, last * BLOCK_SIZE, end);
    return r == 0 && first < last ? punch_blocks(v, rq, ino, first, last) : r;
}

/* One span's holes become unwritten blocks of the open object. */
static int reserve_span(struct change *ch, uint64_t span, uint64_t first, uint64_t end)
{
    uint64_t base = span * SPAN_BLOCKS, a = MAX_OF(first, base), b = MIN_OF(end, base + SPAN_BLOCKS);
    struct span_src src = change_src(ch, SPAN_UNWRITTEN);
    struct span old, new;
    bool had, inh;
    int r = change_span_load(ch, &ch->t, span, &old, &had, &inh);

    if (r < 0)
        return r;
    new = old;
    for (uint64_t i = a; i < b && r == 0; i++)
        if (!span_at(&old, (unsigned)(i - base)))
            r = span_set(&new, (unsigned)(i - base), 1, &src);
    if (r < 0 || memcmp(new.block, old.block, sizeof(new.block)) == 0)
        return r;
    return change_span_store(ch, span, &old, &new, had, inh);
}

static int count_holes(struct change *ch, uint64_t first, uint64_t end, uint64_t *ret)
{
    struct txn t;
    struct span sp;
    bool had, inh;
    int r = txn_begin(ch->s, TXN_READ, OP_NONE, ch->v, &t);

    if (r < 0)
        return r;
    *ret = 0;
    for (uint64_t span = first / SPAN_BLOCKS; r == 0 && span * SPAN_BLOCKS < end; span++) {
        r = change_span_load(ch, &t, span, &sp, &had, &inh);
        for (uint64_t b = MAX_OF(first, span * SPAN_BLOCKS);
             r == 0 && b < MIN_OF(end, (span + 1) * SPAN_BLOCKS); b++)
            *ret += span_at(&sp, (unsigned)(b % SPAN_BLOCKS)) == NULL;
    }
    txn_abort(&t);
    return r;
}

#define RESERVE_SPANS 64u /* spans in one record */

/* The holes among blocks [first, end); the disk's room is asked for up to `last` at once, before anything has changed. */
static int reserve_part(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t first, uint64_t end,
                        uint64_t last, uint64_t size)
{
    struct change ch;
    struct cut tail = {0};
    uint64_t holes = 0;
    int r = change_begin(&ch, v, rq, ino);

    if (r == 0 && size > ch.in.size)
        r = change_find_tail(&ch, &tail);
    if (r == 0)
        r = count_holes(&ch, first, end, &holes);
    if (r == 0)
        r = change_reserve(&ch, holes);
    if (r == 0 && holes)
        r = change_object(&ch, false);
    if (r == 0 && holes)
        r = io_allocate(ch.s->io, ch.fd->fd, first * BLOCK_SIZE, (last - first) * BLOCK_SIZE);
    if (r == -E_NOTSUP)
        r = 0; /* a filesystem below without reservation: the space is counted all the same */
    if (r == 0 &&
        holes) { /* its file is to be there after a power cut, though nothing was written: it counts as unsynced */
        r = change_pwrite(&ch, "", 0, 0);
        ch.wrote_off = first * BLOCK_SIZE;
        ch.wrote_end = ch.wrote_off + 1;
    }
    if (r == 0)
        r = change_copy_cut(&ch, &tail, false);
    if (r == 0)
        r = change_open(&ch, OP_FALLOCATE, true);
    if (r == 0) {
        if (tail.keep)
            r = change_set_block(&ch, tail.block, SPAN_OBJECT);
        for (uint64_t span = first / SPAN_BLOCKS; r == 0 && span * SPAN_BLOCKS < end && holes; span++)
            r = reserve_span(&ch, span, first, end);
        ch.in.size = MAX_OF(ch.in.size, size);
        if (r < 0)
            change_abort(&ch);
        else
            r = change_put(&ch);
    }
    return change_finish(&ch, r);
}

static int reserve_locked(struct vol *v, const struct file_req *rq, uint64_t ino, uint64_t off, uint64_t end,
                          bool keep)
{
    struct file_req one = *rq;
    struct change ch;
    int r = change_begin(&ch, v, rq, ino);
    uint64_t size = ch.in.size, first = off / BLOCK_SIZE, last = blocks_of(end);
    bool is_inline = ch.in.flags & INODE_INLINE;

    change_end(&ch);
    if (r < 0)
        return r;
    if (is_inline && end <= v->store->set.inline_bytes) /* its place is in the tables */
        return end > size && !keep ? truncate_locked(v, rq, ino, end, NULL) : 0;
    if (is_inline)
        r = promote_locked(v, ino);
    while (r == 0 && first < last) {
        uint64_t part = MIN_OF(last, (first / SPAN_BLOCKS + RESERVE_SPANS) * SPAN_BLOCKS);
        one.part = part < last;
        r = reserve_part(v, &one, ino, first, part, last, keep || part < last ? 0 : end);
        first = part;
    }
    return r;
}

/* Blocks that a range will take beyond those it has; *ret_mapped: those it has. */
static int count_need(struct change *ch, uint64_t off, uint64_t end, bool keep, uint64_t *ret_need,
                      uint64_t *ret_mapped)
{
    uint64_t first = off / BLOCK_SIZE, last = blocks_of(end), part, holes;
    int r = 0;

    *ret_need = *ret_mapped = 0;
    if (ch->in.flags & INODE_INLINE) {
        uint64_t has = blocks_of(ch->in.size);
        bool stays = end <= ch->s->set.inline_bytes;
        if (last > has && !(stays && keep))
            *ret_need = last - (stays ? has : MAX_OF(first, has));
        return 0;
    }
    if (change_reserve(ch, last - first > ch->in.blocks ? last - first - ch->in.blocks : 0) < 0)
        return -E_QUOTA; /* without counting a range of any size */
    for (; r == 0 && first < last; first = part) {
        part = MIN_OF(last, (first / SPAN_BLOCKS + RESERVE_SPANS) * SPAN_BLOCKS);
        r = count_holes(ch, first, part, &holes);
        *ret_need += holes;
        *ret_mapped += part - first - holes;
    }
    return r;
}

/* Takes the room for the whole range, so that no part of it fails for want of it. Zeroing gives up the blocks that it has
 * and takes as many again: nobody else may get them in between. */
static int hold_room(struct vol *v, const struct file_req *rq, uint64_t ino, enum file_alloc what,
                     uint64_t off, uint64_t end, uint64_t *ret_held)
{
    bool keep = what == FILE_ALLOCATE_KEEP || what == FILE_ZERO_KEEP;
    uint64_t need, mapped;
    struct change ch;
    int r = change_begin(&ch, v, rq, ino);

    if (r == 0)
        r = count_need(&ch, off, end, keep, &need, &mapped);
    if (r == 0)
        r = change_reserve(&ch, need > ch.reserved ? need - ch.reserved : 0);
    if (r == 0) {
        *ret_held = ch.reserved;
        ch.reserved = 0;
        if (what == FILE_ZERO || what == FILE_ZERO_KEEP) {
            __atomic_fetch_add(&v->reserved_blocks, mapped, __ATOMIC_SEQ_CST);
            *ret_held += mapped;
        }
    }
    change_end(&ch);
    return r;
}

static int allocate_locked(struct vol *v, const struct file_req *rq, uint64_t ino, enum file_alloc what,
                           uint64_t off, uint64_t end)
{
    struct file_req held = rq ? *rq : (struct file_req){0};
    uint64_t blocks = 0;
    int r = 0;

    if (what != FILE_PUNCH && v->rec.size_limit) {
        r = hold_room(v, rq, ino, what, off, end, &blocks);
        held.has_room = true;
    }
    held.part = true; /* cutting takes several records; doing all of it over changes nothing */
    if (r == 0 && (what == FILE_PUNCH || what == FILE_ZERO || what == FILE_ZERO_KEEP))
        r = punch_locked(v, &held, ino, off, end);
    held.part = false;
    if (r == 0 && what != FILE_PUNCH)
        r = reserve_locked(v, &held, ino, off, end, what == FILE_ALLOCATE_KEEP || what == FILE_ZERO_KEEP);
    __atomic_fetch_sub(&v->reserved_blocks, blocks, __ATOMIC_SEQ_CST);
    return r;
}

int file_allocate(struct vol *v, const struct file_req *rq, uint64_t ino, enum file_alloc what, uint64_t off,
                  uint64_t len)
{
    struct ilock l;
    uint64_t end = off + len;
    int r;

    if (len == 0 || end < off)
        return -E_INVAL;
    if (end > FILE_SIZE_MAX && what != FILE_PUNCH)
        return -E_FBIG;
    end = MIN_OF(end, FILE_SIZE_MAX); /* no file has anything beyond it */
    off = MIN_OF(off, end);
    do {
        ilock_take(v->store, &l, v->rec.id, &ino, 1, true);
        r = allocate_locked(v, rq, ino, what, off, end);
        ilock_drop(&l);
    } while (cold_again(v->store, &r));
    return r;
}
