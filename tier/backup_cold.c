/* Bytes that are not here but in the repository that the backup goes to: what the tables call them is what the recovery point has to say,
 * and nothing is read. A chunk's number is random, so where the repository knows it, it is that chunk, whatever the source's name is. */
#include "base/mark.h"
#include "snap/store/cold.h"
#include "snap/store/span.h"
#include "tier/backup_i.h"

int backup_cold_any(struct backup *b)
{
    return BROKEN(VARVE_BREAK_cold_named) ? 0 : cold_source_any(b->v->store);
}

struct looking {
    struct txn *t;
    const struct inode *in;
    const struct file_run *run;
    struct extents *out;
};

/* What of a range lies in the run. */
static int look_range(void *arg, const struct cold_range *c)
{
    struct looking *l = arg;
    const struct file_run *run = l->run;
    struct dec d = dec_of(c->ref.p, c->ref.len);
    struct extent whole = {.kind = EXTENT_SLICE, .s = slice_decode(&d)}, x;
    uint64_t from = MAX_OF(c->first, run->obj_block), left;
    uint64_t to = MIN_OF(c->first + c->blocks, run->obj_block + run->count), skip;

    if (c->first >= run->obj_block + run->count)
        return 1;
    if (from >= to || d.bad || d.left)
        return 0;
    skip = BROKEN(VARVE_BREAK_cold_part) ? 0 : c->ref.skip + (from - c->first);
    x = extent_cut(&whole, skip, skip + (to - from));
    x.block = run->block + (from - run->obj_block);
    left = l->in->size - MIN_OF(l->in->size, x.block * TIER_BLOCK);
    if (left == 0)
        return 1;
    if (x.kind == EXTENT_SLICE)
        x.s.len = (uint32_t)MIN_OF((uint64_t)x.s.len, left);
    return extents_add(l->out, &x);
}

static int look_run(void *arg, const struct file_run *run)
{
    struct looking *l = arg;
    int r;

    if (run->kind != SPAN_OBJECT || run->object == 0)
        return 0;
    l->run = run;
    r = cold_ranges_each(l->t, run->object, run->obj_block, look_range, l);
    return MIN_OF(r, 0);
}

/* Those of which the repository has the chunk, and keeps it. */
static int known(struct backup *b, struct extents *l)
{
    size_t n = 0;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < l->n; i++) {
        r = l->v[i].kind == EXTENT_SLICE ? packer_slice(b->p, &l->v[i].s) : 1;
        if (r == 1)
            l->v[n++] = l->v[i];
    }
    l->n = n;
    return MIN_OF(r, 0);
}

static int runs(struct backup *b, struct vt_at at, const struct inode *in, uint64_t from, uint64_t to,
                struct extents *ret)
{
    struct looking l = {.in = in, .out = ret};
    struct txn t;
    int r = txn_begin(b->v->store, TXN_READ, OP_NONE, b->v, &t);

    if (r < 0)
        return r;
    l.t = &t;
    r = file_ranges(&t, at, in, from / TIER_BLOCK, (to + TIER_BLOCK - 1) / TIER_BLOCK, look_run, &l);
    txn_abort(&t);
    return MIN_OF(r, 0);
}

int backup_cold_runs(struct backup *b, const struct inode *in, uint64_t from, uint64_t to,
                     struct extents *ret)
{
    int r = b->cold ? runs(b, b->at, in, from, to, ret) : 0;

    if (r == 0)
        r = known(b, ret);
    if (r == 0 && ret->n)
        MARK("backup: what lies in the repository is named");
    return r;
}

int backup_cold_in(struct backup *b, const struct inode *in, uint64_t from, uint64_t to)
{
    struct extents l = {0};
    int r = b->cold && from < in->size ? runs(b, b->at, in, from, MIN_OF(to, in->size), &l) : 0;

    if (r == 0)
        r = l.n > 0;
    extents_free(&l);
    return r;
}

bool backup_cold_before(struct backup *b, uint64_t ino, uint64_t from, uint64_t to)
{
    struct extents l = {0};
    struct inode in;
    int r = b->cold ? walk_inode(b->v, b->from, ino, &in) : -E_NOENT;
    bool any;

    if (r == 0 && from < in.size)
        r = runs(b, b->from, &in, from, MIN_OF(to, in.size), &l);
    any = r == 0 && l.n > 0;
    extents_free(&l);
    return any;
}
