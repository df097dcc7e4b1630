#include "snap/line.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/array.h"
#include "snap/internal.h"
#include "snap/runs.h"
#include "snap/walk.h"

#define PART_SHIFT 58
#define UNIT_SHIFT 20

static uint64_t part_begin(unsigned part)
{
    return (((uint64_t)1 << part) - 1) << UNIT_SHIFT;
}

static unsigned part_of(uint64_t off)
{
    return 63u - (unsigned)__builtin_clzll((off >> UNIT_SHIFT) + 1);
}

int line_place(uint64_t ino, uint64_t off, uint64_t *ret)
{
    unsigned c = part_of(off);

    if (c >= LINE_PARTS || ino >> (PART_SHIFT - UNIT_SHIFT - c))
        return -E_RANGE;
    *ret = ((uint64_t)c << PART_SHIFT) + (ino << (c + UNIT_SHIFT)) + (off - part_begin(c));
    return 0;
}

/* --- telling: ascending, joined ---------------------------------------------------------------------------------------------- */

#define PIECE_BYTES ((uint64_t)1 << 30) /* of a file, looked at in one go: so much of it is held at a time */

struct telling {
    struct vol *v;
    struct vt_at a, b;
    struct walk_changed *w; /* NULL: all of b */
    uint64_t from;
    struct line_range last; /* may go on still; len_bytes 0: none */
    struct line_range *r;   /* of a piece */
    size_t n;
    int (*cb)(void *arg, const struct line_range *r);
    void *arg;
};

/* Files stay apart, also where one ends and the next begins. */
static bool begins_part(uint64_t at)
{
    return (at & (((uint64_t)1 << ((at >> PART_SHIFT) + UNIT_SHIFT)) - 1)) == 0;
}

static int tell_last(struct telling *t)
{
    int r = t->last.len_bytes ? t->cb(t->arg, &t->last) : 0;

    t->last.len_bytes = 0;
    return r;
}

/* Not before the one that was told last. */
static int tell(struct telling *t, struct line_range x)
{
    uint64_t end = t->last.off_bytes + t->last.len_bytes, x_end = x.off_bytes + x.len_bytes;
    int r;

    if (x_end <= t->from)
        return 0;
    if (x.off_bytes < t->from)
        x = (struct line_range){t->from, x_end - t->from};
    if (t->last.len_bytes && (x.off_bytes < end || (x.off_bytes == end && !begins_part(end)))) {
        t->last.len_bytes = MAX_OF(end, x_end) - t->last.off_bytes;
        return 0;
    }
    r = tell_last(t);
    t->last = x;
    return r;
}

/* --- a piece of a file -------------------------------------------------------------------------------------------------------- */

static int add(struct telling *t, uint64_t ino, uint64_t off, uint64_t len)
{
    struct line_range *r, one = {.len_bytes = len};
    int e = line_place(ino, off, &one.off_bytes);

    if (e < 0)
        return e;
    if (!(r = array_more(t->r, t->n, sizeof(*r))))
        return -E_NOMEM;
    t->r = r;
    t->r[t->n++] = one;
    return 0;
}

static int runs_at(struct telling *t, struct vt_at at, const struct inode *in, struct window w,
                   struct runs *ret)
{
    struct txn txn;
    int r = txn_begin(t->v->store, TXN_READ, OP_NONE, t->v, &txn);

    if (r < 0)
        return r;
    r = runs_of(&txn, at, in, w.from, w.to, true, ret);
    txn_abort(&txn);
    return r;
}

/* What a state has of it. */
static int add_state(struct telling *t, struct vt_at at, uint64_t ino, uint64_t from, uint64_t to)
{
    cleanup(runs_free) struct runs runs = {0};
    struct window w = {from / BLOCK_SIZE, (to + BLOCK_SIZE - 1) / BLOCK_SIZE};
    struct inode in;
    int r = walk_inode(t->v, at, ino, &in);

    if (r == -E_NOENT || (r == 0 && (in.nlink == 0 || (in.mode & S_IFMT) != S_IFREG || in.size <= from)))
        return 0;
    if (r == 0 && (in.flags & INODE_INLINE))
        return add(t, ino, from, MIN_OF(in.size, to) - from);
    if (r == 0)
        r = runs_at(t, at, &in, w, &runs);
    for (size_t i = 0; r == 0 && i < runs.n; i++) {
        uint64_t off = runs.v[i].block * BLOCK_SIZE, end = off + runs.v[i].count * BLOCK_SIZE;

        if (off < MIN_OF(in.size, to))
            r = add(t, ino, off, MIN_OF(end, MIN_OF(in.size, to)) - off);
    }
    return r;
}

/* What is other in b than in a. */
static int add_changed(struct telling *t, size_t at, uint64_t ino, uint64_t from, uint64_t to)
{
    struct walk_change c;
    int r = walk_changed_look(t->w, at, from / BLOCK_SIZE, (to + BLOCK_SIZE - 1) / BLOCK_SIZE, &c);

    if (r != 1)
        return r;
    r = 0;
    if (!c.same || !c.is) {
        r = BROKEN(VARVE_BREAK_line_gone) ? 0 : add_state(t, t->a, ino, from, to);
        return r < 0 ? r : add_state(t, t->b, ino, from, to);
    }
    for (size_t i = 0; r == 0 && i < c.nranges; i++)
        r = add(t, ino, c.ranges[i].off_bytes, c.ranges[i].len_bytes);
    return r;
}

static int by_offset(const void *a, const void *b)
{
    const struct line_range *x = a, *y = b;

    return (x->off_bytes > y->off_bytes) - (x->off_bytes < y->off_bytes);
}

/* --- files, part by part ------------------------------------------------------------------------------------------------------ */

/* A file; `at`: where its changes are. */
struct item {
    uint64_t ino, size;
    size_t at;
};

static int part_of_file(struct telling *t, unsigned part, const struct item *f)
{
    uint64_t off = part_begin(part), end = MIN_OF(f->size, part_begin(part + 1)), at = 0;
    int r = 0;

    while (r == 0 && off < end) {
        uint64_t to = MIN_OF(end, off + PIECE_BYTES);

        if ((r = line_place(f->ino, to - 1, &at)) < 0)
            return r;
        t->n = 0;
        if (at >= t->from)
            r = t->w ? add_changed(t, f->at, f->ino, off, to) : add_state(t, t->b, f->ino, off, to);
        if (t->n > 1)
            qsort(t->r, t->n, sizeof(*t->r), by_offset);
        for (size_t i = 0; r == 0 && i < t->n; i++)
            r = tell(t, t->r[i]);
        off = to;
    }
    return r;
}

static uint64_t size_of(const struct inode *in)
{
    return (in->mode & S_IFMT) == S_IFREG && in->nlink > 0 ? in->size : 0;
}

/* As large as it is in either state. */
static int size_at(struct telling *t, struct vt_at at, uint64_t ino, uint64_t *size)
{
    struct inode in;
    int r = walk_inode(t->v, at, ino, &in);

    if (r == 0)
        *size = MAX_OF(*size, size_of(&in));
    return r == -E_NOENT ? 0 : r;
}

/* A part of all files; those that have a further one go to *ret. */
struct pass {
    struct telling *t;
    unsigned part;
    bool telling;
    struct buf *ret;
};

static int pass_file(struct pass *p, const struct item *f)
{
    int r = 0;

    if (f->size <= part_begin(p->part))
        return 0;
    if (p->telling)
        r = part_of_file(p->t, p->part, f);
    return r == 0 && f->size > part_begin(p->part + 1) ? buf_add(p->ret, f, sizeof(*f)) : r;
}

static int pass_changed(struct pass *p, uint64_t from, uint64_t to)
{
    struct telling *t = p->t;
    struct item f = {.at = 0};
    int r = 0;

    while (r == 0 && walk_changed_next(t->w, &f.at, &f.ino)) {
        if (f.ino < from || f.ino >= to)
            continue;
        f.size = 0;
        r = size_at(t, t->a, f.ino, &f.size);
        if (r == 0)
            r = size_at(t, t->b, f.ino, &f.size);
        if (r == 0)
            r = pass_file(p, &f);
    }
    return r;
}

static int pass_inodes(struct pass *p, uint64_t from, uint64_t to)
{
    struct inode *in = malloc(WALK_BATCH * sizeof(*in));
    uint64_t after = from ? from - 1 : 0;
    size_t n = 1;
    int r = in ? 0 : -E_NOMEM;

    while (r == 0 && n > 0 && after + 1 < to) {
        r = walk_inodes(p->t->v, p->t->b, after, in, &n);
        for (size_t i = 0; r == 0 && i < n; i++) {
            after = in[i].ino;
            if (after < to)
                r = pass_file(p, &(struct item){.ino = after, .size = size_of(&in[i])});
        }
    }
    free(in);
    return r;
}

static int pass_some(struct pass *p, uint64_t from, uint64_t to)
{
    return p->t->w ? pass_changed(p, from, to) : pass_inodes(p, from, to);
}

/* The part in which `from` lies. Files before that place are looked up afterwards: who wants a page only does without. */
static int first_pass(struct telling *t, struct buf *ret)
{
    cleanup(buf_free) struct buf rest = {0};
    unsigned part = (unsigned)(t->from >> PART_SHIFT);
    uint64_t ino = (t->from & (((uint64_t)1 << PART_SHIFT) - 1)) >> (part + UNIT_SHIFT);
    struct pass p = {.t = t, .part = part, .telling = true, .ret = &rest};
    int r = part < LINE_PARTS ? pass_some(&p, ino, UINT64_MAX) : 0;

    p.telling = false;
    p.ret = ret;
    if (r == 0 && part < LINE_PARTS)
        r = pass_some(&p, 0, ino);
    return r == 0 && rest.len > 0 ? buf_add(ret, rest.data, rest.len) : r;
}

static int all_parts(struct telling *t)
{
    cleanup(buf_free) struct buf now = {0}, next = {0};
    struct pass p = {.t = t, .part = (unsigned)(t->from >> PART_SHIFT), .telling = true, .ret = &next};
    int r = first_pass(t, &now);

    while (r == 0 && now.len > 0 && ++p.part < LINE_PARTS) {
        const struct item *f = (const struct item *)now.data;
        struct buf keep = now;

        buf_reset(&next);
        for (size_t i = 0; r == 0 && i < now.len / sizeof(*f); i++)
            r = pass_file(&p, &f[i]);
        now = next;
        next = keep;
    }
    return r == 0 ? tell_last(t) : r;
}

/* --- from outside ------------------------------------------------------------------------------------------------------------- */

static int place_of(struct vol *v, const char *name, struct vt_at *ret)
{
    struct layer_rec rec;
    int r = snap_find(v, name, &rec);

    if (r == 0)
        *ret = (struct vt_at){rec.branch, rec.layer};
    return r;
}

int line_each(struct vol *v, const char *a, const char *b, uint64_t from,
              int (*cb)(void *arg, const struct line_range *r), void *arg)
{
    struct telling t = {.v = v, .from = from, .cb = cb, .arg = arg};
    int r = place_of(v, b, &t.b);

    if (r == 0 && *a)
        r = place_of(v, a, &t.a);
    if (r == 0 && *a)
        r = walk_changed_new(v, t.a, t.b, &t.w);
    if (r == 0)
        r = all_parts(&t);
    walk_changed_free(t.w);
    free(t.r);
    return r;
}

struct page {
    int (*cb)(void *arg, const struct line_range *r);
    void *arg;
    size_t left;
    bool more;
};

static int page_range(void *arg, const struct line_range *r)
{
    struct page *p = arg;

    p->more = p->left == 0;
    if (p->more)
        return 1;
    p->left--;
    return p->cb(p->arg, r);
}

int line_ranges(struct vol *v, const char *a, const char *b, uint64_t from, size_t limit,
                int (*cb)(void *arg, const struct line_range *r), void *arg, bool *ret_more)
{
    struct page p = {.cb = cb, .arg = arg, .left = limit};
    int r = line_each(v, a, b, from, page_range, &p);

    assert(limit > 0);
    *ret_more = p.more;
    return p.more ? 0 : r;
}
