#include "snap/runs.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/array.h"
#include "snap/store/span.h"

void runs_free(struct runs *r)
{
    free(r->v);
    *r = (struct runs){0};
}

int runs_add(struct runs *r, const struct file_run *run)
{
    struct file_run *last = r->n ? &r->v[r->n - 1] : NULL, *p;

    if (last && last->block + last->count == run->block && last->object == run->object &&
        last->obj_block + last->count == run->obj_block && last->kind == run->kind &&
        last->data_born == run->data_born) {
        last->count += run->count;
        return 0;
    }
    if (!(p = array_more(r->v, r->n, sizeof(*p))))
        return -E_NOMEM;
    r->v = p;
    r->v[r->n++] = *run;
    return 0;
}

uint64_t runs_blocks(const struct runs *r)
{
    uint64_t n = 0;

    for (size_t i = 0; i < r->n; i++)
        n += r->v[i].count;
    return n;
}

struct taking {
    struct runs *ret;
    uint64_t from, to;
    bool written;
};

static int take_run(void *arg, const struct file_run *run)
{
    struct taking *tk = arg;
    uint64_t from = MAX_OF(run->block, tk->from), to = MIN_OF(run->block + run->count, tk->to);
    struct file_run cut = *run;

    if (!run->object || run->kind == SPAN_HOLE || (tk->written && run->kind == SPAN_UNWRITTEN) || from >= to)
        return 0;
    cut.block = from;
    cut.count = to - from;
    cut.obj_block = run->obj_block + (from - run->block);
    return runs_add(tk->ret, &cut);
}

int runs_of(struct txn *t, struct vt_at at, const struct inode *in, uint64_t from, uint64_t to, bool written,
            struct runs *ret)
{
    struct taking tk = {ret, from, to, written};

    if ((in->mode & S_IFMT) != S_IFREG || (in->flags & INODE_INLINE) || from >= to)
        return 0;
    return file_ranges(t, at, in, from, to, take_run, &tk);
}

int runs_end(struct txn *t, struct vt_at at, const struct inode *in, uint64_t *ret)
{
    uint64_t end = MAX_OF((in->size + BLOCK_SIZE - 1) / BLOCK_SIZE, in->base_blocks);
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    uint8_t from[16];
    int r;

    put_be64(from, in->ino);
    put_be64(from + 8, end / SPAN_BLOCKS); /* what is kept beyond the size has records of its own */
    vt_scan_init(&sc, t, KEEP_PENDING, at, TAB_SPAN, from, 8);
    vt_scan_from(&sc, from, 16);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1)
        end = MAX_OF(end, (get_be64(key + 8) + 1) * SPAN_BLOCKS);
    if (r == 0)
        *ret = end;
    return r;
}

static int add_part(struct runs *ret, const struct file_run *a, uint64_t from, uint64_t to)
{
    struct file_run part = *a;

    if (from >= to)
        return 0;
    part.block = from;
    part.count = to - from;
    part.obj_block = a->obj_block + (from - a->block);
    return runs_add(ret, &part);
}

int runs_minus(const struct runs *a, const struct runs *b, struct runs *ret)
{
    size_t k = 0;
    int r = 0;

    for (size_t i = 0; i < a->n && r == 0; i++) {
        const struct file_run *x = &a->v[i];
        uint64_t at = x->block, end = x->block + x->count;
        while (k < b->n && b->v[k].block + b->v[k].count <= at)
            k++;
        for (size_t m = k; m < b->n && b->v[m].block < end && r == 0; m++) {
            const struct file_run *y = &b->v[m];
            if (x->object != y->object || x->obj_block - x->block != y->obj_block - y->block)
                continue;
            r = add_part(ret, x, at, MAX_OF(y->block, at));
            at = MAX_OF(at, y->block + y->count);
        }
        if (r == 0)
            r = add_part(ret, x, at, end);
    }
    return r;
}

void windows_free(struct windows *w)
{
    free(w->v);
    *w = (struct windows){0};
}

int windows_add(struct windows *w, uint64_t from, uint64_t to)
{
    struct window *p;

    if (from >= to)
        return 0;
    if (!(p = array_more(w->v, w->n, sizeof(*p))))
        return -E_NOMEM;
    w->v = p;
    w->v[w->n++] = (struct window){from, to};
    return 0;
}

static int by_from(const void *a, const void *b)
{
    const struct window *x = a, *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

void windows_sort(struct windows *w)
{
    size_t n = 0;

    if (w->n)
        qsort(w->v, w->n, sizeof(*w->v), by_from);
    for (size_t i = 0; i < w->n; i++) {
        if (n && w->v[i].from <= w->v[n - 1].to)
            w->v[n - 1].to = MAX_OF(w->v[n - 1].to, w->v[i].to);
        else
            w->v[n++] = w->v[i];
    }
    w->n = n;
}

int file_state_get(struct txn *t, struct vt_at at, uint64_t ino, struct file_state *ret)
{
    int r = inode_get(t, at, ino, &ret->in);

    ret->at = at;
    ret->there = r == 0;
    return r == -E_NOENT ? 0 : r;
}

int runs_windows(struct txn *t, const struct file_state *a, const struct file_state *b, struct windows *w)
{
    const struct inode *x = &a->in, *y = &b->in;
    uint64_t ea = 0, eb = 0;
    int r;

    if (a->there && b->there && x->base_obj == y->base_obj && !((x->flags ^ y->flags) & INODE_INLINE))
        return windows_add(w, MIN_OF(x->base_blocks, y->base_blocks), MAX_OF(x->base_blocks, y->base_blocks));
    if (a->there && (r = runs_end(t, a->at, x, &ea)) < 0)
        return r;
    if (b->there && (r = runs_end(t, b->at, y, &eb)) < 0)
        return r;
    return windows_add(w, 0, MAX_OF(ea, eb));
}
