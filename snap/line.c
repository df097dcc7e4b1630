#include "snap/line.h"

#include <stdlib.h>
#include <sys/stat.h>

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

/* --- the lowest ones ------------------------------------------------------------------------------------------------------- */

struct gathering {
    struct vol *v;
    struct vt_at a, b;
    uint64_t from, below; /* below: those that begin here or later are not wanted */
    unsigned part;        /* of a walk over one of them; LINE_PARTS: all are wanted */
    uint64_t largest;     /* file that was met */
    size_t limit;
    struct line_range *r;
    size_t n, cap;
    bool more;
};

static int by_offset(const void *a, const void *b)
{
    const struct line_range *x = a, *y = b;

    return (x->off_bytes > y->off_bytes) - (x->off_bytes < y->off_bytes);
}

/* Files stay apart, also where one ends and the next begins. */
static bool begins_part(uint64_t at)
{
    return (at & (((uint64_t)1 << ((at >> PART_SHIFT) + UNIT_SHIFT)) - 1)) == 0;
}

/* Sorted, joined, no more than are wanted. */
static void settle(struct gathering *g)
{
    size_t n = 0;

    if (g->n == 0)
        return;
    qsort(g->r, g->n, sizeof(*g->r), by_offset);
    for (size_t i = 1; i < g->n; i++) {
        uint64_t end = g->r[n].off_bytes + g->r[n].len_bytes;

        if (g->r[i].off_bytes > end || begins_part(g->r[i].off_bytes))
            g->r[++n] = g->r[i];
        else
            g->r[n].len_bytes = MAX_OF(end, g->r[i].off_bytes + g->r[i].len_bytes) - g->r[n].off_bytes;
    }
    g->n = n + 1;
    if (g->n <= g->limit)
        return;
    g->below = g->r[g->limit].off_bytes;
    g->n = g->limit;
    g->more = true;
}

static int add(struct gathering *g, uint64_t off, uint64_t len)
{
    struct line_range *r;

    if (off + len <= g->from)
        return 0;
    if (off < g->from) {
        len -= g->from - off;
        off = g->from;
    }
    if (off >= g->below) {
        g->more = true;
        return 0;
    }
    if (g->n == 4 * g->limit)
        settle(g);
    if (g->n == g->cap) {
        size_t cap = MIN_OF(g->cap ? g->cap * 2 : 1024, 4 * g->limit);

        if (!(r = realloc(g->r, cap * sizeof(*r))))
            return -E_NOMEM;
        g->r = r;
        g->cap = cap;
    }
    g->r[g->n++] = (struct line_range){off, len};
    return 0;
}

/* Bytes of a file, piece by piece. */
static int add_file(struct gathering *g, uint64_t ino, uint64_t off, uint64_t len)
{
    int r = 0;

    while (r == 0 && len > 0) {
        unsigned c = part_of(off);
        uint64_t n = MIN_OF(len, part_begin(c + 1) - off), at = 0;

        if (g->part == LINE_PARTS || g->part == c) {
            r = line_place(ino, off, &at);
            if (r == 0)
                r = add(g, at, n);
        }
        off += n;
        len -= n;
    }
    return r;
}

/* --- what a file has ------------------------------------------------------------------------------------------------------- */

static int runs_at(struct gathering *g, struct vt_at at, const struct inode *in, struct runs *ret)
{
    struct txn t;
    int r = txn_begin(g->v->store, TXN_READ, OP_NONE, g->v, &t);

    if (r < 0)
        return r;
    r = runs_of(&t, at, in, 0, (in->size + BLOCK_SIZE - 1) / BLOCK_SIZE, true, ret);
    txn_abort(&t);
    return r;
}

static int add_whole(struct gathering *g, struct vt_at at, const struct inode *in)
{
    cleanup(runs_free) struct runs runs = {0};
    int r = 0;

    if ((in->mode & S_IFMT) != S_IFREG)
        return 0;
    g->largest = MAX_OF(g->largest, in->size);
    if (g->part < LINE_PARTS && in->size <= part_begin(g->part))
        return 0;
    if (in->flags & INODE_INLINE)
        return add_file(g, in->ino, 0, in->size);
    r = runs_at(g, at, in, &runs);
    for (size_t i = 0; r == 0 && i < runs.n; i++) {
        uint64_t off = runs.v[i].block * BLOCK_SIZE, end = off + runs.v[i].count * BLOCK_SIZE;

        r = add_file(g, in->ino, off, MIN_OF(end, in->size) - off);
    }
    return r;
}

/* --- all of a state -------------------------------------------------------------------------------------------------------- */

/* One part of all files, from this inode on. */
static int walk_part(struct gathering *g, uint64_t after)
{
    struct inode *in = malloc(WALK_BATCH * sizeof(*in));
    size_t n = 1;
    int r = in ? 0 : -E_NOMEM;

    while (r == 0 && n > 0 && !g->more) {
        r = walk_inodes(g->v, g->b, after, in, &n);
        for (size_t i = 0; r == 0 && i < n; i++) {
            r = add_whole(g, g->b, &in[i]);
            after = in[i].ino;
        }
        if (g->n > g->limit)
            settle(g);
    }
    free(in);
    return r;
}

static int walk_all(struct gathering *g)
{
    unsigned first = (unsigned)(g->from >> PART_SHIFT);
    int r = 0;

    for (g->part = first; r == 0 && g->part < LINE_PARTS && !g->more; g->part++) {
        uint64_t ino =
            g->part == first ? (g->from & (((uint64_t)1 << PART_SHIFT) - 1)) >> (g->part + UNIT_SHIFT) : 0;

        g->largest = 0;
        r = walk_part(g, ino ? ino - 1 : 0);
        if (ino <= 1 && g->largest <= part_begin(g->part + 1))
            break; /* all were seen, and none goes on */
    }
    return r;
}

/* --- what changed ---------------------------------------------------------------------------------------------------------- */

static int add_state(struct gathering *g, struct vt_at at, uint64_t ino)
{
    struct inode in;
    int r = walk_inode(g->v, at, ino, &in);

    if (r == -E_NOENT || (r == 0 && in.nlink == 0))
        return 0;
    return r < 0 ? r : add_whole(g, at, &in);
}

static int on_change(void *arg, const struct walk_change *c)
{
    struct gathering *g = arg;
    int r = 0;

    if (!c->same || !c->in_b) {
        r = BROKEN(VARVE_BREAK_line_gone) ? 0 : add_state(g, g->a, c->ino);
        return r < 0 ? r : add_state(g, g->b, c->ino);
    }
    for (size_t i = 0; r == 0 && i < c->nranges; i++)
        r = add_file(g, c->ino, c->ranges[i].off_bytes, c->ranges[i].len_bytes);
    return r;
}

/* --- both ------------------------------------------------------------------------------------------------------------------ */

static int place_of(struct vol *v, const char *name, struct vt_at *ret)
{
    struct layer_rec rec;
    int r = snap_find(v, name, &rec);

    if (r == 0)
        *ret = (struct vt_at){rec.branch, rec.layer};
    return r;
}

int line_ranges(struct vol *v, const char *a, const char *b, uint64_t from, size_t limit,
                int (*cb)(void *arg, const struct line_range *r), void *arg, bool *ret_more)
{
    struct gathering g = {.v = v, .from = from, .below = UINT64_MAX, .part = LINE_PARTS, .limit = limit};
    int r = place_of(v, b, &g.b);

    assert(limit > 0);
    if (r == 0 && *a)
        r = place_of(v, a, &g.a);
    if (r == 0)
        r = *a ? walk_changes(v, g.a, g.b, on_change, &g) : walk_all(&g);
    if (r == 0)
        settle(&g);
    for (size_t i = 0; r == 0 && i < g.n; i++)
        r = cb(arg, &g.r[i]);
    *ret_more = g.more;
    free(g.r);
    return r;
}
