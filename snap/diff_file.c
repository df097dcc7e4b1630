/* Comparing one inode in two states. */
#include <stdlib.h>
#include <sys/stat.h>

#include "snap/diff_int.h"

static bool time_equal(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool meta_differs(const struct inode *a, const struct inode *b)
{
    const uint32_t flags = ~(uint32_t)INODE_INLINE;

    return a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->nlink != b->nlink ||
           a->rdev != b->rdev || a->nxattr != b->nxattr || a->project != b->project ||
           ((a->flags ^ b->flags) & flags) || !time_equal(&a->mtime, &b->mtime) ||
           !time_equal(&a->ctime, &b->ctime);
}

static bool is_file(const struct file_state *f)
{
    return f->there && (f->in.mode & S_IFMT) == S_IFREG;
}

static bool is_inline(const struct file_state *f)
{
    return is_file(f) && (f->in.flags & INODE_INLINE);
}

static struct window clipped(const struct diff *d, const struct window *w)
{
    return (struct window){MAX_OF(w->from, d->clip.from), d->clip.to ? MIN_OF(w->to, d->clip.to) : w->to};
}

/* Changed blocks as ranges of bytes, ascending and joined, cut at the larger size. */
static int put_ranges(struct diff *d, struct windows *w, uint64_t size, size_t *ret_first, size_t *ret_n)
{
    struct diff_range rg;
    size_t n = 0;
    int r = 0;

    windows_sort(w);
    *ret_first = d->l.ranges.len / sizeof(rg);
    for (size_t i = 0; i < w->n && r == 0; i++) {
        struct window at = clipped(d, &w->v[i]);
        uint64_t from = at.from * BLOCK_SIZE, to;
        if (at.from >= at.to)
            continue;
        to = MIN_OF(at.to * BLOCK_SIZE, size);
        if (from >= to)
            continue;
        rg = (struct diff_range){from, to - from};
        r = buf_add(&d->l.ranges, &rg, sizeof(rg));
        n++;
    }
    *ret_n = n;
    return r;
}

static int add_runs(struct windows *w, const struct runs *runs)
{
    int r = 0;

    for (size_t i = 0; i < runs->n && r == 0; i++)
        r = windows_add(w, runs->v[i].block, runs->v[i].block + runs->v[i].count);
    return r;
}

static int inline_bytes(struct txn *t, const struct file_state *f, struct buf *ret)
{
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    uint8_t prefix[8];
    int r;

    if ((r = buf_add_zero(ret, (size_t)f->in.size)) < 0)
        return r;
    put_be64(prefix, f->in.ino);
    vt_scan_init(&sc, t, KEEP_PENDING, f->at, TAB_DATA, prefix, 8);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        size_t off = (size_t)get_be16(key + 8) * PIECE_SIZE;
        if (off < ret->len)
            memcpy(ret->data + off, val.data, MIN_OF(val.len, ret->len - off));
    }
    return r;
}

static int all_of(struct diff *d, const struct file_state *f, struct windows *w);

/* Both have their bytes in the tables: compared as bytes. What one has beyond the other's end counts. */
static int compare_inline(struct diff *d, const struct file_state *a, const struct file_state *b,
                          struct windows *w)
{
    cleanup(buf_free) struct buf x = {0}, y = {0};
    size_t end;
    int r;

    if ((r = inline_bytes(d->t, a, &x)) < 0 || (r = inline_bytes(d->t, b, &y)) < 0)
        return r;
    end = MAX_OF(x.len, y.len);
    for (size_t off = 0; off < end && r == 0; off += BLOCK_SIZE) {
        size_t n = MIN_OF((size_t)BLOCK_SIZE, end - off), nx = off < x.len ? MIN_OF(n, x.len - off) : 0;
        size_t ny = off < y.len ? MIN_OF(n, y.len - off) : 0;
        if (nx != ny || (nx && memcmp(x.data + off, y.data + off, nx) != 0))
            r = windows_add(w, off / BLOCK_SIZE, off / BLOCK_SIZE + 1);
    }
    return r;
}

/* One has its bytes in the tables, the other in objects: its few blocks are compared as bytes. */
static int compare_outgrown(struct diff *d, const struct file_state *a, const struct file_state *b,
                            struct windows *w)
{
    cleanup(windows_free) struct windows mapped = {0};
    uint64_t small = is_inline(a) ? a->in.size : b->in.size, blocks = (small + BLOCK_SIZE - 1) / BLOCK_SIZE;
    uint8_t x[BLOCK_SIZE], y[BLOCK_SIZE];
    int r = all_of(d, is_inline(a) ? b : a, &mapped);

    for (uint64_t at = 0; at < blocks && r == 0; at++) {
        if ((r = file_peek(d->t, a->at, &a->in, x, sizeof(x), at * BLOCK_SIZE)) == 0)
            r = file_peek(d->t, b->at, &b->in, y, sizeof(y), at * BLOCK_SIZE);
        if (r < 0 && r != -E_COLD)
            return r;
        bool far = r == -E_COLD; /* not fetched for this: it counts as changed */
        r = 0;
        if (far || memcmp(x, y, sizeof(x)) != 0 ||
            ((at + 1) * BLOCK_SIZE > small && a->in.size != b->in.size))
            r = windows_add(w, at, at + 1);
    }
    for (size_t i = 0; i < mapped.n && r == 0; i++)
        if (mapped.v[i].to > blocks)
            r = windows_add(w, MAX_OF(mapped.v[i].from, blocks), mapped.v[i].to);
    return r;
}

/* All of the bytes that a state has. */
static int all_of(struct diff *d, const struct file_state *f, struct windows *w)
{
    cleanup(runs_free) struct runs runs = {0};
    struct window at = {0};
    int r;

    if (!is_file(f))
        return 0;
    if (is_inline(f))
        return windows_add(w, 0, (f->in.size + BLOCK_SIZE - 1) / BLOCK_SIZE);
    if ((r = runs_end(d->t, f->at, &f->in, &at.to)) < 0)
        return r;
    at = clipped(d, &at);
    if (at.from < at.to && (r = runs_of(d->t, f->at, &f->in, at.from, at.to, true, &runs)) < 0)
        return r;
    return add_runs(w, &runs);
}

/* Blocks whose mapping differs within a window; blocks that are full of holes in both are equal. */
static int compare_window(struct diff *d, const struct file_state *a, const struct file_state *b,
                          const struct window *at, struct windows *w)
{
    cleanup(runs_free) struct runs x = {0}, y = {0}, only = {0};
    int r;

    if ((r = runs_of(d->t, a->at, &a->in, at->from, at->to, true, &x)) < 0 ||
        (r = runs_of(d->t, b->at, &b->in, at->from, at->to, true, &y)) < 0)
        return r;
    if ((r = runs_minus(&x, &y, &only)) < 0 || (r = add_runs(w, &only)) < 0)
        return r;
    runs_reset(&only);
    if ((r = runs_minus(&y, &x, &only)) < 0)
        return r;
    return add_runs(w, &only);
}

/* The first span that is wanted: they are sorted by table and number. */
static size_t first_span(const struct diff *d, const struct change *v, size_t n)
{
    uint64_t span = d->clip.from / SPAN_BLOCKS;
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (v[mid].tab < TAB_SPAN || (v[mid].tab == TAB_SPAN && v[mid].a < span))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int compare_mapped(struct diff *d, const struct file_state *a, const struct file_state *b,
                          const struct change *v, size_t n, struct windows *w)
{
    cleanup(windows_free) struct windows at = {0};
    int r = runs_windows(d->t, a, b, &at);

    for (size_t i = first_span(d, v, n); i < n && r == 0 && v[i].tab == TAB_SPAN; i++) {
        if (d->clip.to && v[i].a >= d->clip.to / SPAN_BLOCKS + 1)
            break;
        r = windows_add(&at, v[i].a * SPAN_BLOCKS, (v[i].a + 1) * SPAN_BLOCKS);
    }
    windows_sort(&at);
    for (size_t i = 0; i < at.n && r == 0; i++) {
        struct window one = clipped(d, &at.v[i]);

        if (one.from < one.to)
            r = compare_window(d, a, b, &one, w);
    }
    return r;
}

int diff_fate(struct diff *d, const struct change *v, size_t n, struct fate *ret, bool *ret_any)
{
    cleanup(windows_free) struct windows w = {0};
    struct file_state a, b;
    int r;

    *ret = (struct fate){.ino = v->ino};
    *ret_any = false;
    if ((r = file_state_get(d->t, d->a, v->ino, &a)) < 0 || (r = file_state_get(d->t, d->b, v->ino, &b)) < 0)
        return r;
    if (!a.there || !b.there || a.in.gen != b.in.gen)
        return 0;
    ret->same = true;
    ret->type = b.in.mode & S_IFMT;
    ret->meta = meta_differs(&a.in, &b.in);
    if (is_inline(&a) && is_inline(&b))
        r = compare_inline(d, &a, &b, &w);
    else if (is_file(&a) && (is_inline(&a) || is_inline(&b)))
        r = compare_outgrown(d, &a, &b, &w);
    else if (is_file(&a))
        r = compare_mapped(d, &a, &b, v, n, &w);
    if (r == 0)
        r = put_ranges(d, &w, MAX_OF(a.in.size, b.in.size), &ret->ranges, &ret->nranges);
    *ret_any = ret->meta || ret->nranges || a.in.size != b.in.size;
    return r;
}

int diff_whole(struct diff *d, uint64_t ino, size_t *ret_first, size_t *ret_n)
{
    cleanup(windows_free) struct windows w = {0};
    struct file_state b;
    int r;

    *ret_first = *ret_n = 0;
    if ((r = file_state_get(d->t, d->b, ino, &b)) < 0 || !b.there)
        return r;
    if ((r = all_of(d, &b, &w)) < 0)
        return r;
    return put_ranges(d, &w, b.in.size, ret_first, ret_n);
}
