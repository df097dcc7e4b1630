/* What of a volume is elsewhere, and what of its live tree is here. No counter is kept: the ranges say which blocks of objects are elsewhere,
 * the references (TAB_OBJREF) and the maps which of these the live tree names. So whatever was released, brought, cut, rolled back, cloned
 * or copied, and however old the store is, it is right, and costs what is elsewhere. In short transactions: while others write it is
 * what was true of each part when it was looked at.
 *
 * A block of a file counts once:
 *  - those of an object that is not shared are named by its own inode alone, and lie where they lie in the file: range by range;
 *  - a shared object is looked for in each file that names it. One without spans has it as its base. In one with spans it may lie
 *    anywhere: such a file is gone through as a whole, for all shared objects at once, when the first is met of which it misses something. */
#include <sys/stat.h>

#include "snap/store/change.h"
#include "snap/store/cold_i.h"
#include "snap/store/record.h"

#define WORK 256u /* records looked at in one transaction, about */
#define PIECE_BLOCKS (16 * SPAN_BLOCKS)
#define WAY_MAX 64u

struct sum {
    struct vol *v;
    struct cold_walk w;
    bool cut; /* what comes next is the rest of a range */
    uint64_t object;
    struct object_rec rec; /* of that one */
    uint64_t shared;       /* an object that is to be looked for; 0 none */
    unsigned work;
    uint32_t way[WAY_MAX]; /* branches that the live tree may show something of */
    unsigned nway;
    uint64_t base, base_blocks, base_gone; /* how many of so many blocks of that object are elsewhere */
    uint64_t gone;                         /* blocks of the live tree that are elsewhere */
    struct cold_stat st;
};

static int begin(struct sum *m, struct txn *t)
{
    uint32_t at = 0;
    struct branch_rec b;
    int r = txn_begin(m->v->store, TXN_READ, OP_NONE, m->v, t);

    if (r == 0)
        at = m->v->rec.head;
    for (m->nway = 0; at && m->nway < WAY_MAX && branch_get(m->v->store, at, &b) == 0; at = b.parent)
        m->way[m->nway++] = at;
    return r;
}

static bool on_way(const struct sum *m, uint32_t branch)
{
    for (unsigned i = 0; i < m->nway; i++)
        if (m->way[i] == branch)
            return true;
    return false;
}

/* The inode as the live tree has it now. 1: there is none that has blocks. */
static int live_file(struct txn *t, struct sum *m, uint64_t ino, struct inode *ret)
{
    int r = inode_get(t, vol_now(m->v), ino, ret);

    if (r == -E_NOENT)
        return 1;
    return r < 0 ? r : !S_ISREG(ret->mode) || (ret->flags & INODE_INLINE);
}

/* --- its own inode's ---------------------------------------------------------------------------------------------------- */

struct window {
    uint64_t object, from, to, n;
};

static int count_own(void *arg, const struct file_run *run)
{
    struct window *w = arg;
    uint64_t a = MAX_OF(run->block, w->from), b = MIN_OF(run->block + run->count, w->to);

    if (run->object == w->object && a < b)
        w->n += b - a;
    return 0;
}

static int add_own(struct txn *t, struct sum *m, const struct cold_range *range)
{
    struct window w = {range->object, range->first, range->first + range->blocks, 0};
    struct inode in;
    int r = live_file(t, m, m->rec.ino, &in);

    if (r == 0)
        r = file_ranges(t, vol_now(m->v), &in, w.from, w.to, count_own, &w);
    m->work += range->blocks / SPAN_BLOCKS;
    m->gone += w.n;
    return MIN_OF(r, 0);
}

/* --- shared ones --------------------------------------------------------------------------------------------------------- */

/* How many of the first blocks of an object are elsewhere. */
static int count_base(struct sum *m, uint64_t object, uint64_t blocks)
{
    struct cold_walk w = {.s = m->v->store, .object = object, .one = true};
    struct cold_range range;
    struct txn t;
    uint64_t gone = 0;
    int r = 1;

    if (m->base == object && m->base_blocks == blocks)
        return 0;
    while (r > 0) {
        r = begin(m, &t);
        if (r < 0)
            return r;
        r = 1;
        for (unsigned n = 0; n < WORK && r > 0; n++) {
            r = cold_walk_step(&t, &w, &range);
            if (r == 1 && range.first >= blocks)
                r = 0;
            if (r == 1)
                gone += MIN_OF(range.first + range.blocks, blocks) - range.first;
        }
        txn_abort(&t);
    }
    m->base = object;
    m->base_blocks = blocks;
    m->base_gone = gone;
    return r;
}

static int add_base(struct sum *m, uint64_t object, const struct inode *in)
{
    int r = in->base_obj == object ? count_base(m, object, in->base_blocks) : 0;

    if (r == 0 && in->base_obj == object)
        m->gone += m->base_gone;
    return r;
}

struct whole {
    struct txn *t;
    uint64_t object, ino;
    uint64_t at, to; /* blocks of the file */
    uint64_t known;  /* of this object it is known whether it is shared */
    bool shared;
    bool its; /* blocks of `object` are missing */
    uint64_t n;
};

static int is_shared(struct whole *w, uint64_t object)
{
    struct object_rec rec;
    int r = 0;

    if (w->known != object) {
        r = object_get(w->t, object, &rec);
        w->shared = r == 0 && (rec.flags & OBJECT_SHARED);
        w->known = object;
    }
    return r < 0 && r != -E_NOENT ? r : w->shared;
}

/* 1: it counts with another object. */
static int count_shared(void *arg, const struct file_run *run)
{
    struct whole *w = arg;
    uint64_t a = MAX_OF(run->block, w->at), b = MIN_OF(run->block + run->count, w->to), n = 0;
    int r = run->object && a < b ? is_shared(w, run->object) : 0;

    if (r == 1)
        r = cold_missing(w->t, run->object, run->obj_block + (a - run->block), b - a, &n);
    if (r < 0)
        return r;
    w->its |= run->object == w->object && n > 0;
    w->n += n;
    return n > 0 && run->object < w->object && !BROKEN(VARVE_BREAK_here_once);
}

/* 0: more; 1: that was all, or it counts elsewhere. */
static int whole_step(struct sum *m, struct whole *w)
{
    struct inode in;
    struct txn t;
    uint64_t span;
    int r = begin(m, &t);

    if (r < 0)
        return r;
    w->t = &t;
    r = live_file(&t, m, w->ino, &in);
    if (r == 0)
        r = span_next_used(&t, vol_now(m->v), &in, w->at / SPAN_BLOCKS, &span);
    if (r == 0 && span == UINT64_MAX)
        r = 1;
    if (r == 0) {
        w->at = MAX_OF(w->at, span * SPAN_BLOCKS);
        w->to = w->at + PIECE_BLOCKS;
        r = file_ranges(&t, vol_now(m->v), &in, w->at, w->to, count_shared, w);
        if (r == 1)
            w->its = false;
        w->at = w->to;
    }
    txn_abort(&t);
    return r;
}

static int add_whole(struct sum *m, uint64_t object, uint64_t ino)
{
    struct whole w = {.object = object, .ino = ino};
    int r;

    while ((r = whole_step(m, &w)) == 0)
        continue;
    if (r == 1 && w.its)
        m->gone += w.n;
    return MIN_OF(r, 0);
}

/* The reference looked at next. */
struct names {
    uint64_t object;
    uint32_t branch;
    uint64_t ino;
};

/* An inode that several branches have names it in each of them. */
static int named_before(struct txn *t, const struct sum *m, const struct names *c)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    int r = -E_NOENT;

    for (unsigned i = 0; i < m->nway && r == -E_NOENT; i++)
        if (m->way[i] < c->branch)
            r = txn_get(t, KEEP_PENDING, k, key_objref(k, c->object, m->way[i], c->ino), &v);
    return r == -E_NOENT ? 0 : r < 0 ? r : 1;
}

/* 1: *ret is a file of the live tree that may name it; 0: there are no more; 2: go on. */
static int names_step(struct txn *t, struct sum *m, struct names *c, struct inode *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val v;
    size_t flen;
    int r = txn_ge(t, KEEP_PENDING, k, key_objref(k, c->object, c->branch, c->ino), 9, &found, &flen, &v);

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    c->branch = flen == 21 ? get_be32(found + 9) : UINT32_MAX;
    c->ino = flen == 21 ? get_be64(found + 13) : 0;
    if (c->branch == UINT32_MAX || c->ino > INO_MAX)
        return -E_CORRUPT;
    if (!on_way(m, c->branch)) {
        c->branch++;
        c->ino = 0;
        return 2;
    }
    r = named_before(t, m, c);
    if (r == 0)
        r = live_file(t, m, c->ino, ret);
    c->ino++;
    return r < 0 ? r : r == 0 ? 1 : 2;
}

static int names_next(struct sum *m, struct names *c, struct inode *ret)
{
    struct txn t;
    int r;

    do {
        r = begin(m, &t);
        if (r < 0)
            return r;
        r = 2;
        for (unsigned n = 0; n < WORK && r == 2; n++)
            r = names_step(&t, m, c, ret);
        txn_abort(&t);
    } while (r == 2);
    return r;
}

static int add_shared(struct sum *m, uint64_t object)
{
    struct names c = {.object = object};
    struct inode in;
    int r = 0;

    while (r == 0 && (r = names_next(m, &c, &in)) == 1)
        r = in.flags & INODE_SPANS ? add_whole(m, object, in.ino) : add_base(m, object, &in);
    return r;
}

/* --- all ranges ----------------------------------------------------------------------------------------------------------- */

static int next_object(struct txn *t, struct sum *m, uint64_t object)
{
    int r;

    m->rec = (struct object_rec){.object = object};
    r = object_get(t, object, &m->rec);
    m->object = object;
    m->st.objects += m->rec.vol == m->v->rec.id;
    m->shared = m->rec.flags & OBJECT_SHARED ? object : 0;
    return r == -E_NOENT ? 0 : r;
}

/* 1: there may be more. */
static int sum_step(struct txn *t, struct sum *m)
{
    struct cold_range range;
    bool rest = m->cut;
    int r = cold_walk_step(t, &m->w, &range);

    if (r != 1)
        return MIN_OF(r, 1);
    m->cut = range.blocks > PIECE_BLOCKS;
    if (m->cut) {
        range.blocks = PIECE_BLOCKS;
        m->w.block = range.first + PIECE_BLOCKS;
    }
    if (m->object != range.object && (r = next_object(t, m, range.object)) < 0)
        return r;
    if (m->rec.vol == m->v->rec.id) {
        m->st.remote_bytes += (uint64_t)range.blocks * BLOCK_SIZE;
        m->st.ranges += !rest;
    }
    if (m->rec.flags & OBJECT_SHARED || !on_way(m, m->rec.branch))
        return 1;
    r = BROKEN(VARVE_BREAK_here_seen) ? (m->gone += range.blocks, 0) : add_own(t, m, &range);
    return r < 0 ? r : 1;
}

static int sum_some(struct sum *m)
{
    struct txn t;
    int r = begin(m, &t);

    if (r < 0)
        return r;
    m->work = 0;
    do {
        r = sum_step(&t, m);
    } while (r == 1 && !m->shared && ++m->work < WORK);
    txn_abort(&t);
    return r;
}

int cold_stat(struct vol *v, struct cold_stat *ret)
{
    struct sum m = {.v = v, .w.s = v->store};
    uint64_t held, shared;
    int r = cold_any(v->store), e = 0;

    while (r == 1 && e == 0) {
        r = sum_some(&m);
        shared = m.shared;
        m.shared = 0;
        e = r >= 0 && shared ? add_shared(&m, shared) : 0;
    }
    if (r < 0 || e < 0)
        return MIN_OF(r, e);
    pthread_rwlock_rdlock(&v->store->lock);
    held = vol_present_blocks(v);
    pthread_rwlock_unlock(&v->store->lock);
    m.st.local_bytes = held > m.gone ? (held - m.gone) * BLOCK_SIZE : 0;
    *ret = m.st;
    return 0;
}
