#include "snap/space.h"

#include <sys/stat.h>

#include "snap/changes.h"
#include "snap/internal.h"
#include "snap/runs.h"
#include "snap/store/object.h"

/* Blocks of a file in one state that none of the others shows. */
struct lone {
    struct txn *t;
    struct file_state s, other[2];
    int nother;
    struct space_unique sum;
};

static bool is_inline(const struct inode *in)
{
    return (in->mode & S_IFMT) != S_IFREG || (in->flags & INODE_INLINE);
}

/* One piece of small bytes; none: zeros. */
static int inline_piece(struct txn *t, const struct file_state *f, uint64_t piece, struct vt_val *ret)
{
    uint8_t key[10];

    put_be64(key, f->in.ino);
    put_be16(key + 8, (uint16_t)piece);
    *ret = (struct vt_val){0};
    int r = vt_get(t, KEEP_PENDING, f->at, TAB_DATA, key, ret);
    return r == -E_NOENT ? 0 : r;
}

static bool piece_same(const struct vt_val *a, const struct vt_val *b)
{
    return a->born == b->born && a->branch == b->branch && a->len == b->len &&
           (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* Small bytes are the same when no piece was written since: their birth says so. 1: they are. */
static int inline_same(struct txn *t, const struct file_state *a, const struct file_state *b)
{
    uint64_t end = MIN_OF(MAX_OF(a->in.size, b->in.size), (uint64_t)INLINE_BYTES_MAX);
    struct vt_val x, y;
    int r = 0;

    for (uint64_t piece = 0; piece * PIECE_SIZE < end; piece++) {
        if ((r = inline_piece(t, a, piece, &x)) < 0 || (r = inline_piece(t, b, piece, &y)) < 0)
            return r;
        if (!piece_same(&x, &y))
            return 0;
    }
    return 1;
}

static int lone_inline(struct lone *l)
{
    if (!l->s.in.blocks)
        return 0;
    for (int i = 0; i < l->nother; i++) {
        if (!l->other[i].there || !is_inline(&l->other[i].in))
            continue;
        int r = inline_same(l->t, &l->s, &l->other[i]);
        if (r != 0)
            return MIN_OF(r, 0);
    }
    l->sum.blocks += l->s.in.blocks;
    l->sum.freed += l->s.in.blocks;
    return 0;
}

static int count_runs(struct lone *l, const struct runs *runs)
{
    struct object_rec obj;
    int r;

    for (size_t i = 0; i < runs->n; i++) {
        l->sum.blocks += runs->v[i].count;
        r = object_get(l->t, runs->v[i].object, &obj);
        if (r < 0 && r != -E_NOENT)
            return r;
        if (r == 0 && !(obj.flags & OBJECT_SHARED) && obj.branch == l->s.at.branch)
            l->sum.freed += runs->v[i].count;
    }
    return 0;
}

static int lone_window(struct lone *l, uint64_t from, uint64_t to)
{
    cleanup(runs_free) struct runs mine = {0}, left = {0}, theirs = {0};
    int r = runs_of(l->t, l->s.at, &l->s.in, from, to, false, &mine);

    for (int i = 0; i < l->nother && r == 0 && mine.n; i++) {
        struct runs swap;
        if (!l->other[i].there)
            continue;
        runs_reset(&theirs);
        runs_reset(&left);
        r = runs_of(l->t, l->other[i].at, &l->other[i].in, from, to, false, &theirs);
        if (r == 0)
            r = runs_minus(&mine, &theirs, &left);
        swap = mine;
        mine = left;
        left = swap;
    }
    return r < 0 ? r : count_runs(l, &mine);
}

/* One inode: the keys v[0..n) of it were touched around the state. */
static int lone_inode(struct lone *l, const struct change *v, size_t n)
{
    cleanup(windows_free) struct windows w = {0};
    int r = file_state_get(l->t, l->s.at, v->ino, &l->s);

    if (r < 0 || !l->s.there)
        return r;
    for (int i = 0; i < l->nother && r == 0; i++)
        r = file_state_get(l->t, l->other[i].at, v->ino, &l->other[i]);
    if (r < 0)
        return r;
    if (is_inline(&l->s.in))
        return lone_inline(l);
    for (size_t i = 0; i < n && r == 0; i++)
        if (v[i].tab == TAB_SPAN)
            r = windows_add(&w, v[i].a * SPAN_BLOCKS, (v[i].a + 1) * SPAN_BLOCKS);
    for (int i = 0; i < l->nother && r == 0; i++)
        r = runs_windows(l->t, &l->s, &l->other[i], &w);
    if (l->nother == 0 && r == 0)
        r = runs_windows(l->t, &l->s, &(struct file_state){.at = l->s.at}, &w);
    windows_sort(&w);
    for (size_t i = 0; i < w.n && r == 0; i++)
        r = lone_window(l, w.v[i].from, w.v[i].to);
    return r;
}

static int lone_all(struct lone *l, struct changes *c)
{
    int r = 0;

    changes_sort(c);
    for (size_t i = 0, end; i < c->n && r == 0; i = end) {
        end = changes_group(c, i);
        r = lone_inode(l, &c->v[i], end - i);
    }
    return r;
}

/* Where a branch begins: also of a flattened one, whose blocks are its parents' still. false: nowhere. */
static bool origin(struct txn *t, const struct branch_rec *b, struct vt_at *ret)
{
    struct branch_rec up;

    *ret = (struct vt_at){b->parent, b->parent_layer};
    return b->parent && branch_get(t->store, b->parent, &up) == 0;
}

static bool is_head(struct txn *t, const struct branch_rec *b)
{
    const struct vol *v = vol_by_id(t->store, b->vol);

    return v && v->rec.head == b->id;
}

int space_unique(struct txn *t, const struct layer_rec *rec, struct space_unique *ret)
{
    cleanup(changes_free) struct changes c = {0};
    struct lone l = {.t = t, .s.at = {rec->branch, rec->layer}};
    struct branch_rec b;
    uint32_t p, n;
    int r = branch_get(t->store, rec->branch, &b);

    if (r < 0)
        return r;
    *ret = (struct space_unique){0};
    if (rec->children)
        return 0; /* the branches that begin there show it too */
    p = layer_retained_below(t->store, b.id, rec->layer);
    n = layer_retained_above(t->store, b.id, rec->layer);
    if (p)
        l.other[l.nother++].at = (struct vt_at){b.id, p};
    else if (origin(t, &b, &l.other[0].at))
        l.nother++;
    if (n != LAYER_NOW || is_head(t, &b)) { /* what dies after it lies in (layer, n] */
        l.other[l.nother++].at = (struct vt_at){b.id, n};
        r = changes_collect(t, b.id, rec->layer, n, &c);
    } else { /* the end of its branch: what was written since the one before is its own */
        r = changes_collect(t, b.id, p ? p : b.first_layer - 1, rec->layer, &c);
    }
    if (r == 0)
        r = lone_all(&l, &c);
    if (r == 0)
        *ret = l.sum;
    return r;
}

/* --- what all snapshots of a volume hold beside its live tree: each block is counted where it is seen last --- */

#define CHAIN_MAX 64

/* The way from the live tree down: place of each branch, and where it begins. */
struct chain {
    struct vt_at at[CHAIN_MAX];
    struct branch_rec b[CHAIN_MAX];
    int n;
};

struct held {
    struct txn *t;
    struct vol *v;
    struct chain way;
    uint64_t blocks;
};

static int find_way(struct held *h)
{
    struct vt_at at = vol_now(h->v);
    struct chain *w = &h->way;
    int r = 0;

    for (w->n = 0; at.branch && w->n < CHAIN_MAX && r == 0; w->n++) {
        if ((r = branch_get(h->t->store, at.branch, &w->b[w->n])) < 0)
            break;
        w->at[w->n] = at;
        at = (struct vt_at){w->b[w->n].parent, w->b[w->n].parent_layer};
    }
    return w->n ? 0 : r;
}

/* Blocks of {branch, from} that the others do not show; the index of `of` tells what to look at. */
static int count_lone(struct held *h, struct lone *l, uint32_t of, uint32_t after, uint32_t to)
{
    cleanup(changes_free) struct changes c = {0};
    uint32_t branch = l->s.at.branch, from = l->s.at.layer;
    bool keep = of == branch && to != LAYER_NOW;
    uint64_t n;
    int r;

    if (keep && state_deaths_get(h->t->store, branch, from, to, &n) == 0) {
        h->blocks += n;
        return 0;
    }
    l->t = h->t;
    if ((r = changes_collect(h->t, of, after, to, &c)) < 0 || (r = lone_all(l, &c)) < 0)
        return r;
    if (keep)
        state_deaths_put(h->t->store, branch, from, to, l->sum.blocks);
    h->blocks += l->sum.blocks;
    return 0;
}

/* From the layer where the next branch of the way begins to the first state in that one. */
static int held_fork(struct held *h, int i)
{
    const struct branch_rec *child = &h->way.b[i - 1];
    uint32_t first = layer_retained_above(h->t->store, child->id, child->first_layer - 1);
    struct lone l = {.s.at = h->way.at[i], .other[0].at = {child->id, first}, .nother = 1};

    return count_lone(h, &l, child->id, child->first_layer - 1, first);
}

/* A snapshot beside the way: what neither the next one shows nor the place where it left the way. */
static int held_beside(struct held *h, const struct branch_rec *b, uint32_t at, uint32_t next,
                       const struct vt_at *left, uint32_t after)
{
    struct lone l = {.s.at = {b->id, at}};

    if (left)
        l.other[l.nother++].at = *left;
    if (next == LAYER_NOW)
        return count_lone(h, &l, b->id, after, at);
    l.other[l.nother++].at = (struct vt_at){b->id, next};
    return count_lone(h, &l, b->id, at, next);
}

static int held_branch(void *arg, const struct branch_rec *b)
{
    struct held *h = arg;
    struct vt_at left;
    uint32_t at, next, on = 0, after = b->first_layer - 1;
    bool has_left;
    int i = 0, r = 0;

    if (b->vol != h->v->rec.id)
        return 0;
    while (i < h->way.n && h->way.at[i].branch != b->id)
        i++;
    has_left = i < h->way.n || origin(h->t, b, &left);
    if (i < h->way.n) { /* on the way up to this layer */
        left = h->way.at[i];
        after = on = left.layer;
    }
    at = layer_retained_above(h->t->store, b->id, b->first_layer - 1);
    for (; at != LAYER_NOW && r == 0; at = next) {
        next = layer_retained_above(h->t->store, b->id, at);
        if (at < on) {
            struct lone l = {.s.at = {b->id, at}, .other[0].at = {b->id, next}, .nother = 1};
            r = count_lone(h, &l, b->id, at, next);
        } else if (at == on) {
            r = held_fork(h, i);
        } else {
            r = held_beside(h, b, at, next, has_left ? &left : NULL, after);
        }
    }
    return r;
}

int space_held(struct txn *t, struct vol *v, uint64_t *ret_blocks)
{
    struct held *h = txn_alloc(t, sizeof(*h));
    int r;

    if (!h)
        return -E_NOMEM;
    *h = (struct held){.t = t, .v = v};
    r = find_way(h);
    if (r == 0)
        r = branch_each(t->store, held_branch, h);
    if (r == 0)
        *ret_blocks = h->blocks;
    return r;
}

int space_limit_check(struct txn *t, struct vol *v)
{
    uint64_t blocks = 0;
    int r;

    if (!v->rec.snap_limit)
        return 0;
    if ((r = space_held(t, v, &blocks)) < 0)
        return r;
    return blocks * BLOCK_SIZE >= v->rec.snap_limit ? -E_SNAP_LIMIT : 0;
}
