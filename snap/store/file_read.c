/* Reading: where the bytes of a file are, and getting them. */
#include <stdlib.h>

#include "base/array.h"
#include "snap/store/change.h"
#include "snap/store/cold_i.h"

#define BEHIND_READ (128u << 10)
#define BEHIND_STEP (4ull << 20)
#define BARE_ENOUGH 4
#define AHEAD_PIECES 8 /* fewer are read one after the other: the kernel reads ahead by itself */

static int span_record(struct txn *t, struct vt_at at, uint64_t ino, uint64_t span, struct vt_val *ret)
{
    uint8_t key[16];

    put_be64(key, ino);
    put_be64(key + 8, span);
    return vt_get(t, KEEP_PENDING, at, TAB_SPAN, key, ret);
}

static void span_dense(const struct inode *in, uint64_t span, struct span *ret)
{
    uint64_t first = span * SPAN_BLOCKS;
    struct span_src src = {.kind = SPAN_OBJECT, .data_born = in->base_layer, .object = in->base_obj};

    span_clear(ret);
    if (in->base_obj && in->base_blocks > first)
        (void)span_set(ret, 0, (unsigned)MIN_OF(in->base_blocks - first, (uint64_t)SPAN_BLOCKS), &src);
}

/* 1: it has a record; 0: the dense base says; negative: an error. Inherited sources were written before this branch. */
int span_load(struct txn *t, struct vt_at at, const struct inode *in, uint64_t span, struct span *ret,
              bool *ret_inherited)
{
    struct vt_val v;
    int r = in->flags & INODE_SPANS ? span_record(t, at, in->ino, span, &v) : -E_NOENT;

    if (ret_inherited)
        *ret_inherited = false;
    if (r == -E_NOENT) {
        span_dense(in, span, ret);
        return 0;
    }
    if (r < 0)
        return r;
    r = span_decode(v.data, v.len, ret);
    if (r < 0)
        return r;
    if (v.branch != at.branch) {
        for (unsigned i = 1; i <= ret->nsrc; i++)
            ret->src[i].data_born = 0;
        if (ret_inherited)
            *ret_inherited = true;
    }
    return 1;
}

int span_get(struct txn *t, struct vt_at at, const struct inode *in, uint64_t span, struct span *ret)
{
    int r = span_load(t, at, in, span, ret, NULL);

    return r < 0 ? r : 0;
}

/* To the run before it where it goes on with that one; else that one is given away, and this one is kept. */
static int run_join(struct file_run *run, const struct file_run *next,
                    int (*cb)(void *arg, const struct file_run *run), void *arg)
{
    int r;

    if (run->count && run->kind == next->kind && run->object == next->object &&
        run->data_born == next->data_born &&
        (next->kind == SPAN_HOLE || run->obj_block + run->count == next->obj_block)) {
        run->count += next->count;
        return 0;
    }
    r = run->count ? cb(arg, run) : 0;
    if (r == 0)
        *run = *next;
    return r;
}

/* Runs of one span, block by block joined. */
static int span_runs(const struct span *sp, uint64_t span, uint64_t from, uint64_t to, struct file_run *run,
                     int (*cb)(void *arg, const struct file_run *run), void *arg)
{
    uint64_t base = span * SPAN_BLOCKS, end = MIN_OF(to, base + SPAN_BLOCKS), b = MAX_OF(from, base), n;
    int r = 0;

    for (; r == 0 && b < end; b += n) {
        const struct span_src *s = span_at(sp, (unsigned)(b - base));
        struct file_run next = {.block = b};
        for (n = 1; b + n < end && sp->block[b + n - base] == sp->block[b - base];)
            n++;
        next.count = n;
        if (s) {
            next.kind = s->kind;
            next.object = s->object;
            next.obj_block = (uint64_t)((int64_t)b + s->delta);
            next.data_born = s->data_born;
            next.owner_vol = s->owner_vol;
        }
        r = run_join(run, &next, cb, arg);
    }
    return r;
}

/* The first span at or after `span` that has a record; UINT64_MAX: none. */
static int span_next_record(struct txn *t, struct vt_at at, const struct inode *in, uint64_t span,
                            uint64_t *ret)
{
    struct vt_scan sc;
    uint8_t key[16];
    const uint8_t *found;
    struct vt_val v;

    *ret = UINT64_MAX;
    if (!(in->flags & INODE_SPANS))
        return 0;
    put_be64(key, in->ino);
    put_be64(key + 8, span);
    vt_scan_init(&sc, t, KEEP_PENDING, at, TAB_SPAN, key, 8);
    vt_scan_from(&sc, key, 16);
    int r = vt_scan_next(&sc, &found, &v);
    if (r == 1)
        *ret = get_be64(found + 8);
    return r < 0 ? r : 0;
}

/* The first span at or after `span` that is no hole as a whole; UINT64_MAX: none. */
int span_next_used(struct txn *t, struct vt_at at, const struct inode *in, uint64_t span, uint64_t *ret)
{
    if (in->base_obj && span * SPAN_BLOCKS < in->base_blocks) {
        *ret = span;
        return 0;
    }
    return span_next_record(t, at, in, span, ret);
}

/* A walk over the runs of a file. */
struct ranges {
    struct txn *t;
    struct vt_at at;
    const struct inode *in;
    uint64_t from, to; /* blocks */
    struct file_run run;
    unsigned bare; /* spans of the dense base that had no record, one after the other */
    int (*cb)(void *arg, const struct file_run *run);
    void *arg;
};

/* From `span` on the dense base alone says where bytes are: up to the span that is returned in ret, in one run. Where every span has a
 * record nothing is gained by looking for the next one, so that is done behind some that have none. */
static int ranges_dense(struct ranges *w, uint64_t span, uint64_t *ret)
{
    uint64_t end = MIN_OF(w->in->base_obj ? w->in->base_blocks : 0, w->to) / SPAN_BLOCKS, record;
    struct file_run next = {.kind = SPAN_OBJECT, .object = w->in->base_obj, .data_born = w->in->base_layer};
    int r;

    *ret = span;
    if (end <= span + 1 || (w->bare < BARE_ENOUGH && w->in->flags & INODE_SPANS))
        return 0;
    w->bare = 0;
    r = span_next_record(w->t, w->at, w->in, span, &record);
    end = MIN_OF(end, BROKEN(VARVE_BREAK_ranges_record) ? end : record);
    if (r < 0 || end <= span)
        return r;
    *ret = end;
    next.block = next.obj_block = MAX_OF(w->from, span * SPAN_BLOCKS);
    next.count = end * SPAN_BLOCKS - next.block;
    return run_join(&w->run, &next, w->cb, w->arg);
}

/* What lies between `span` and the next one that is used. */
static int ranges_hole(struct ranges *w, uint64_t span, uint64_t *ret)
{
    uint64_t first = MAX_OF(w->from, span * SPAN_BLOCKS);
    int r = span_next_used(w->t, w->at, w->in, span, ret);

    if (r < 0)
        return r;
    struct file_run hole = {.block = first,
                            .count = (*ret <= w->to / SPAN_BLOCKS ? *ret * SPAN_BLOCKS : w->to) - first};
    return *ret > span ? run_join(&w->run, &hole, w->cb, w->arg) : 0;
}

static int ranges_span(struct ranges *w, uint64_t span)
{
    struct span sp;
    int r = span_load(w->t, w->at, w->in, span, &sp, NULL);

    if (r < 0)
        return r;
    w->bare = r == 0 ? w->bare + 1 : 0;
    return span_runs(&sp, span, w->from, w->to, &w->run, w->cb, w->arg);
}

int file_ranges(struct txn *t, struct vt_at at, const struct inode *in, uint64_t from, uint64_t to,
                int (*cb)(void *arg, const struct file_run *run), void *arg)
{
    struct ranges w = {.t = t, .at = at, .in = in, .from = from, .to = to, .cb = cb, .arg = arg};
    uint64_t span = from / SPAN_BLOCKS, next;
    int r = 0;

    while (r == 0 && from < to && span <= (to - 1) / SPAN_BLOCKS) {
        r = ranges_dense(&w, span, &next);
        if (r == 0 && next == span)
            r = ranges_hole(&w, span, &next);
        if (r == 0 && next == span)
            r = ranges_span(&w, next++);
        span = next;
    }
    return r == 0 && w.run.count ? cb(arg, &w.run) : r;
}

/* What a read has to fetch. */
struct fetch {
    uint8_t *out;
    uint64_t off, end; /* bytes of the file that are wanted */
    bool regular;      /* of nothing but a file */
    struct piece {
        uint64_t object, off, len;
        uint8_t *to;
    } * pieces;
    size_t n;
};

static int fetch_run(void *arg, const struct file_run *run)
{
    struct fetch *f = arg;
    uint64_t a = MAX_OF(run->block * BLOCK_SIZE, f->off),
             b = MIN_OF((run->block + run->count) * BLOCK_SIZE, f->end);

    if (a >= b)
        return 0;
    if (run->kind != SPAN_OBJECT && run->kind != SPAN_BOTH) {
        memset(f->out + (a - f->off), 0, b - a);
        return 0;
    }
    struct piece *p = array_more(f->pieces, f->n, sizeof(*p));
    if (!p)
        return -E_NOMEM;
    f->pieces = p;
    f->pieces[f->n++] =
        (struct piece){run->object, run->obj_block * BLOCK_SIZE + (a - run->block * BLOCK_SIZE), b - a,
                       f->out + (a - f->off)};
    return 0;
}

/* Who goes through a file in long reads has its bytes in memory then, and the kernel has them once more, as those of the object: these go,
 * some way behind. Right away would not do: the pages that the kernel reads ahead are longer than a read. */
static void leave_behind(const struct objfd *fd, uint64_t off, size_t len)
{
    uint64_t step = (off + len) / BEHIND_STEP;

    if (len >= BEHIND_READ && off / BEHIND_STEP != step && step >= 3 && !BROKEN(VARVE_BREAK_read_behind))
        io_behind(fd->fd, (step - 3) * BEHIND_STEP, BEHIND_STEP);
}

int objfd_read(struct store *s, const struct objfd *fd, void *p, size_t len, uint64_t off)
{
    size_t got = 0;
    int r = io_pread(s->io, fd->fd, p, len, off, &got);

    leave_behind(fd, off, len);
    if (r == 0)
        memset((uint8_t *)p + got, 0, len - got); /* an object ends where its last written block ended */
    return r;
}

int object_read(struct store *s, uint64_t object, void *p, size_t len, uint64_t off)
{
    struct objfd *fd = NULL;
    int r = objfd_get(s, object, false, &fd);

    if (r < 0 && r != -E_NOENT)
        return r;
    if (r < 0 || (cold_any(s) && !__atomic_load_n(&fd->hot, __ATOMIC_RELAXED)))
        return object_read_cold(s, object, fd, p, len, off);
    r = objfd_read(s, fd, p, len, off);
    objfd_put(s, fd);
    return r;
}

/* Many small pieces, as of a database that was snapshotted often, lie all over the disk: it is told of all before the first is waited for. */
static void fetch_ahead(struct store *s, const struct fetch *f)
{
    for (size_t i = 0; i < f->n; i++) {
        struct objfd *fd;

        if (objfd_get(s, f->pieces[i].object, false, &fd) < 0)
            continue; /* elsewhere */
        io_ahead(fd->fd, f->pieces[i].off, f->pieces[i].len);
        objfd_put(s, fd);
    }
}

/* Where bytes are elsewhere all that are wanted are noted, so that they are brought at once. */
static int fetch_pieces(struct store *s, const struct fetch *f)
{
    int miss = 0;

    if (f->n >= AHEAD_PIECES)
        fetch_ahead(s, f);
    for (size_t i = 0; i < f->n; i++) {
        const struct piece *p = &f->pieces[i];
        int r = object_read(s, p->object, p->to, p->len, p->off);
        if (r < 0 && r != -E_COLD)
            return r;
        miss = MIN_OF(miss, r);
    }
    return miss;
}

/* Inline bytes [off, off + len) into p; what no piece holds is zeros. */
int inline_read(struct txn *t, struct vt_at at, uint64_t ino, uint8_t *p, size_t len, uint64_t off)
{
    struct vt_scan sc;
    uint8_t key[10];
    const uint8_t *found;
    struct vt_val v;
    int r;

    memset(p, 0, len);
    put_be64(key, ino);
    vt_scan_init(&sc, t, KEEP_PENDING, at, TAB_DATA, key, 8);
    while ((r = vt_scan_next(&sc, &found, &v)) == 1) {
        uint64_t at_off = (uint64_t)get_be16(found + 8) * PIECE_SIZE;
        uint64_t a = MAX_OF(at_off, off), b = MIN_OF(at_off + v.len, off + len);
        if (a < b)
            memcpy(p + (a - off), v.data + (a - at_off), b - a);
    }
    return r;
}

static inline __attribute__((always_inline)) int read_resolve(struct vol *v, struct vt_at at, uint64_t ino,
                                                              struct fetch *f, size_t len, size_t *ret_len)
{
    struct txn t;
    struct inode in;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = inode_get(&t, at, ino, &in);
    if (r == 0 && f->regular && !S_ISREG(in.mode))
        r = S_ISDIR(in.mode) ? -E_ISDIR : -E_INVAL;
    if (r == 0) {
        f->end = f->off >= in.size ? f->off : f->off + MIN_OF((uint64_t)len, in.size - f->off);
        *ret_len = (size_t)(f->end - f->off);
        if (f->end == f->off)
            r = 0;
        else if (in.flags & INODE_INLINE)
            r = inline_read(&t, at, ino, f->out, *ret_len, f->off);
        else
            r = file_ranges(&t, at, &in, f->off / BLOCK_SIZE, (f->end + BLOCK_SIZE - 1) / BLOCK_SIZE,
                            fetch_run, f);
    }
    txn_abort(&t);
    return r;
}

int file_peek(struct txn *t, struct vt_at at, const struct inode *in, void *p, size_t len, uint64_t off)
{
    struct fetch f = {.out = p, .off = off, .end = MIN_OF(off + len, in->size)};
    uint32_t gen;
    int r;

    memset(p, 0, len);
    if (off >= in->size)
        return 0;
    if (in->flags & INODE_INLINE)
        return inline_read(t, at, in->ino, p, (size_t)(f.end - off), off);
    gen = grace_enter(t->store);
    r = file_ranges(t, at, in, off / BLOCK_SIZE, (f.end + BLOCK_SIZE - 1) / BLOCK_SIZE, fetch_run, &f);
    if (r == 0)
        r = fetch_pieces(t->store, &f);
    grace_leave(t->store, gen);
    free(f.pieces);
    if (r == -E_COLD) /* for the caller to say */
        cold_unnote();
    return r;
}

/* Could these bytes of a file be read now? -E_COLD. With the inode's lock held. */
int file_here_locked(struct vol *v, struct vt_at at, uint64_t ino, size_t len, uint64_t off)
{
    cleanup(buf_free) struct buf room = {
        0}; /* for holes and inline bytes, which are read as they are found */
    struct fetch f = {.off = off};
    uint32_t gen;
    size_t got = 0;
    int r, miss = 0;

    if (!cold_any(v->store))
        return 0;
    r = buf_add_zero(&room, len);
    if (r < 0)
        return r;
    f.out = room.data;
    gen = grace_enter(v->store);
    r = read_resolve(v, at, ino, &f, len, &got);
    for (size_t i = 0; r == 0 && i < f.n; i++)
        miss = MIN_OF(miss, object_here(v->store, f.pieces[i].object, f.pieces[i].off, f.pieces[i].len));
    grace_leave(v->store, gen);
    free(f.pieces);
    return r < 0 ? r : miss;
}

static int read_fetch(struct vol *v, struct vt_at at, uint64_t ino, struct fetch *f, size_t len,
                      size_t *ret_len)
{
    uint32_t gen = grace_enter(v->store);
    size_t got = 0;
    int r = read_resolve(v, at, ino, f, len, &got);

    if (r == 0)
        r = fetch_pieces(v->store, f);
    grace_leave(v->store, gen);
    free(f->pieces);
    f->pieces = NULL;
    f->n = 0;
    if (r == 0)
        *ret_len = got;
    return r;
}

/* With the inode's lock held, or at a place that does not change. */
int file_read_locked(struct vol *v, struct vt_at at, uint64_t ino, void *p, size_t len, uint64_t off,
                     size_t *ret_len)
{
    struct fetch f = {.out = p, .off = off};

    return read_fetch(v, at, ino, &f, len, ret_len);
}

static int read_unlocked(struct vol *v, struct vt_at at, uint64_t ino, struct fetch *f, size_t len,
                         size_t *ret_len)
{
    struct ilock l = {0};
    int r;

    do {
        if (at.layer == LAYER_NOW)
            ilock_take(v->store, &l, v->rec.id, &ino, 1, false);
        r = read_fetch(v, at, ino, f, len, ret_len);
        ilock_drop(&l);
    } while (cold_again(v->store, &r));
    return r;
}

int file_read(struct vol *v, struct vt_at at, uint64_t ino, void *p, size_t len, uint64_t off,
              size_t *ret_len)
{
    struct fetch f = {.out = p, .off = off};

    return read_unlocked(v, at, ino, &f, len, ret_len);
}

int file_read_regular(struct vol *v, struct vt_at at, uint64_t ino, void *p, size_t len, uint64_t off,
                      size_t *ret_len)
{
    struct fetch f = {.out = p, .off = off, .regular = true};

    return read_unlocked(v, at, ino, &f, len, ret_len);
}

struct seek {
    bool hole;
    uint64_t from, size, ret;
};

static int seek_run(void *arg, const struct file_run *run)
{
    struct seek *sk = arg;
    bool hole = run->kind == SPAN_HOLE || run->kind == SPAN_UNWRITTEN;

    if (hole != sk->hole)
        return 0;
    sk->ret = MAX_OF(sk->from, run->block * BLOCK_SIZE);
    return 1;
}

static int seek_in(struct txn *t, struct vt_at at, const struct inode *in, struct seek *sk)
{
    int r = 0;

    if (sk->from >= in->size)
        return -E_NXIO;
    if (in->flags & INODE_INLINE)
        r = !sk->hole;
    if (in->flags & INODE_INLINE && !sk->hole)
        sk->ret = sk->from;
    if (!(in->flags & INODE_INLINE))
        r = file_ranges(t, at, in, sk->from / BLOCK_SIZE, (in->size + BLOCK_SIZE - 1) / BLOCK_SIZE, seek_run,
                        sk);
    if (r < 0)
        return r;
    if (r == 0 && !sk->hole)
        return -E_NXIO;
    if (r == 0 || sk->ret > in->size)
        sk->ret = in->size;
    return 0;
}

int file_seek(struct vol *v, struct vt_at at, uint64_t ino, bool hole, uint64_t off, uint64_t *ret_off)
{
    struct seek sk = {.hole = hole, .from = off};
    struct txn t;
    struct inode in;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = inode_get(&t, at, ino, &in);
    if (r == 0)
        r = seek_in(&t, at, &in, &sk);
    txn_abort(&t);
    if (r == 0)
        *ret_off = sk.ret;
    return r;
}
