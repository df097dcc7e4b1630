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

/* Small bytes are the same when no piece was written since: their birth says so. */
static int inline_born(struct txn *t, const struct file_state *f, struct vt_val *ret)
{
    uint8_t key[10];

    put_be64(key, f->in.ino);
    put_be16(key + 8, 0);
    *ret = (struct vt_val){0};
    int r = vt_get(t, KEEP_PENDING, f->at, TAB_DATA, key, ret);
    return r == -E_NOENT ? 0 : r;
}

static int lone_inline(struct lone *l)
{
    struct vt_val mine, theirs;
    int r;

    if (!l->s.in.blocks)
        return 0;
    if ((r = inline_born(l->t, &l->s, &mine)) < 0)
        return r;
    for (int i = 0; i < l->nother; i++) {
        if (!l->other[i].there || !is_inline(&l->other[i].in))
            continue;
        if ((r = inline_born(l->t, &l->other[i], &theirs)) < 0)
            return r;
        if (theirs.born == mine.born && theirs.branch == mine.branch && theirs.len == mine.len &&
            memcmp(theirs.data, mine.data, mine.len) == 0)
            return 0;
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

/* The neighbours of a layer in its branch: states that something still shows. below: the parent's place for a branch that
 * begins elsewhere. false: there is none. */
static bool below(struct txn *t, const struct branch_rec *b, uint32_t layer, uint32_t *ret)
{
    *ret = layer_retained_below(t->store, b->id, layer);
    if (*ret == 0 && b->parent)
        *ret = b->first_layer - 1;
    return *ret != 0 || b->parent;
}

static bool above(struct txn *t, const struct branch_rec *b, uint32_t layer, uint32_t *ret)
{
    const struct vol *v = vol_by_id(t->store, b->vol);

    *ret = layer_retained_above(t->store, b->id, layer);
    return *ret != LAYER_NOW || (v && v->rec.head == b->id);
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
    if (below(t, &b, rec->layer, &p))
        l.other[l.nother++].at = (struct vt_at){b.id, p};
    if (above(t, &b, rec->layer, &n))
        l.other[l.nother++].at = (struct vt_at){b.id, n};
    else
        n = rec->layer; /* the end of its branch: what was written since the one before is its own */
    /* what dies after it lies in (layer, n]; what only the end of a branch shows was born in (p, layer] */
    r = changes_collect(t, b.id, n == rec->layer ? p : rec->layer, n, &c);
    if (r == 0)
        r = lone_all(&l, &c);
    if (r == 0)
        *ret = l.sum;
    return r;
}

/* Blocks seen at `from` and no more at `to`, both of one branch. */
static int deaths(struct txn *t, uint32_t branch, uint32_t from, uint32_t to, uint64_t *ret)
{
    cleanup(changes_free) struct changes c = {0};
    struct lone l = {.t = t, .s.at = {branch, from}, .other[0].at = {branch, to}, .nother = 1};
    int r;

    if (to != LAYER_NOW && state_deaths_get(t->store, branch, from, to, ret) == 0)
        return 0;
    if ((r = changes_collect(t, branch, from, to, &c)) < 0 || (r = lone_all(&l, &c)) < 0)
        return r;
    *ret = l.sum.blocks;
    if (to != LAYER_NOW)
        state_deaths_put(t->store, branch, from, to, *ret);
    return 0;
}

/* Blocks that the last snapshot of an abandoned branch shows and the place where the branch began does not. */
static int tip(struct txn *t, const struct branch_rec *b, uint32_t last, uint64_t *ret)
{
    cleanup(changes_free) struct changes c = {0};
    struct lone l = {.t = t, .s.at = {b->id, last}};
    int r;

    if (state_deaths_get(t->store, b->id, last, last, ret) == 0)
        return 0;
    if (b->parent)
        l.other[l.nother++].at = (struct vt_at){b->id, b->first_layer - 1};
    if ((r = changes_collect(t, b->id, b->first_layer - 1, last, &c)) < 0 || (r = lone_all(&l, &c)) < 0)
        return r;
    *ret = l.sum.blocks;
    state_deaths_put(t->store, b->id, last, last, *ret);
    return 0;
}

struct held {
    struct txn *t;
    struct vol *v;
    uint64_t blocks;
};

static int held_branch(void *arg, const struct branch_rec *b)
{
    struct held *h = arg;
    bool head = b->id == h->v->rec.head;
    uint32_t at, next;
    uint64_t n;
    int r;

    if (b->vol != h->v->rec.id)
        return 0;
    at = layer_retained_above(h->t->store, b->id, b->first_layer - 1);
    while (at != LAYER_NOW) {
        next = layer_retained_above(h->t->store, b->id, at);
        r = next == LAYER_NOW && !head ? tip(h->t, b, at, &n) : deaths(h->t, b->id, at, next, &n);
        if (r < 0)
            return r;
        h->blocks += n;
        at = next;
    }
    return 0;
}

int space_held(struct txn *t, struct vol *v, uint64_t *ret_blocks)
{
    struct held h = {.t = t, .v = v};
    int r = branch_each(t->store, held_branch, &h);

    if (r == 0)
        *ret_blocks = h.blocks;
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
