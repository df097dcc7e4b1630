/* Removing a branch that shows nothing any more: of a deleted volume, or left behind by a rollback. */
#include "base/clock.h"
#include "base/log.h"
#include "snap/changes.h"
#include "snap/idle.h"
#include "snap/internal.h"
#include "snap/policy.h"
#include "snap/store/object.h"
#include "snap/store/record.h"

#define BATCH 64
#define BUDGET_NS 1000000000ll

struct work {
    struct txn *t;
    struct store *s;
    struct branch_rec b;
    struct vol *v;
};

struct child {
    uint32_t of;
    bool any;
};

static int see_child(void *arg, const struct branch_rec *b)
{
    struct child *c = arg;

    c->any |= b->parent == c->of && !(b->flags & BRANCH_FLATTENED);
    return 0;
}

/* Its layers first: their records and names, whatever their state. 1: more; 2: the layers of another one begin. */
struct layers {
    struct work *w;
    int n;
};

static int drop_layer(void *arg, const struct layer *l)
{
    struct layers *ls = arg;
    struct work *w = ls->w;
    struct layer named;
    int r;

    if (l->rec.branch != w->b.id)
        return 2; /* they follow each other */
    if (ls->n++ == BATCH)
        return 1;
    r = layer_named(w->t, l->rec.vol, l->rec.name, &named);
    if (r == 0 && named.rec.layer == l->rec.layer)
        r = layer_name_del(w->t, l->rec.vol, l->rec.name);
    if (r < 0 && r != -E_NOENT)
        return r;
    return layer_del(w->t, l->rec.vol, l->rec.layer);
}

/* One table with life spans: history before live, so that each is compared with what came after it. */
static int drop_table(struct work *w, uint8_t tab, bool history, int *left)
{
    size_t klen = tab_key_len(tab), n, flen;
    uint8_t k[KEY_SIZE_MAX], zero[32] = {0};
    const uint8_t *found;
    struct txn_val val;
    int r;

    while ((*left)-- > 0) {
        n = key_live(k, history ? tab | TAB_HISTORY : tab, w->b.id, zero, klen);
        r = txn_ge(w->t, KEEP_FIRM, k, n, 5, &found, &flen, &val);
        if (r < 0)
            return r == -E_NOENT ? 0 : r;
        if (flen != 5 + klen + (history ? 4u : 0u))
            return -E_CORRUPT;
        r = history ? vt_free_history(w->t, w->b.id, tab, found + 5, get_be32(found + flen - 4))
                    : vt_drop_own(w->t, w->b.id, tab, found + 5);
        if (r < 0)
            return r;
    }
    return 1;
}

/* The pieces of files before the inodes that say whose they are. */
static int drop_records(struct work *w)
{
    static const uint8_t tabs[] = {TAB_SPAN,   TAB_DATA,   TAB_XATTR, TAB_LINK,
                                   TAB_DIRENT, TAB_ORPHAN, TAB_INODE};
    int left = BATCH, r = 0;

    for (size_t i = 0; i < ARRAY_LEN(tabs) && r == 0; i++) {
        r = drop_table(w, tabs[i], true, &left);
        if (r == 0)
            r = drop_table(w, tabs[i], false, &left);
    }
    return r;
}

static int drop_touched(struct work *w)
{
    uint8_t key[KEY_SIZE_MAX];
    uint32_t klen = 0;
    int r = 1;

    for (int i = 0; i < BATCH && r == 1; i++) {
        r = touched_next(w->t, w->b.id, 0, UINT32_MAX, key, &klen);
        if (r == 1) {
            int e = txn_del(w->t, KEEP_FIRM, (struct txn_owner){0}, key, klen);
            r = e < 0 ? e : 1;
        }
    }
    return r;
}

static int count_branch(void *arg, const struct branch_rec *b)
{
    uint32_t *n = arg; /* n[0]: the volume; n[1]: its branches */

    n[1] += b->vol == n[0];
    return 0;
}

static int finish(struct work *w)
{
    uint32_t n[2] = {w->b.vol, 0};
    int r = 0;

    if (w->b.parent && !(w->b.flags & BRANCH_FLATTENED))
        r = layer_children(w->t, w->b.parent, w->b.parent_layer, -1);
    if (r == 0)
        r = branch_del(w->t, w->b.id);
    if (r == 0)
        r = branch_each(w->s, count_branch, n);
    if (r < 0 || n[1] > 1 || !w->v || !(w->v->rec.flags & VOLUME_GHOST))
        return r;
    r = policy_forget(w->t, w->b.vol);
    return r < 0 ? r : vol_del(w->t, w->v);
}

/* 1: more; 0: the branch is gone. */
static int step(struct work *w)
{
    struct layers ls = {.w = w};
    struct child c = {.of = w->b.id};
    bool ghost = w->v && (w->v->rec.flags & VOLUME_GHOST);
    int r;

    if (!ghost && w->v && (w->v->rec.head == w->b.id || layer_retained_above(w->s, w->b.id, 0) != LAYER_NOW))
        return 0; /* came back to life: its volume writes it, or a snapshot shows it */
    (void)branch_each(w->s, see_child, &c);
    if (c.any)
        return -E_CLONES; /* they were queued before it */
    if ((r = layer_each_from(w->t, w->b.vol, w->b.first_layer, drop_layer, &ls)) == 1 || r < 0)
        return r;
    if (ls.n)
        return 1;
    if ((r = drop_records(w)) != 0)
        return r;
    if ((r = drop_touched(w)) != 0)
        return r;
    if (ghost && (r = idle_forget(w->t, w->b.vol, BATCH)) != 0)
        return r;
    return finish(w);
}

static int batch(struct store *s, uint32_t branch)
{
    struct txn t;
    struct work w = {.t = &t, .s = s};
    int r, e;

    if ((r = txn_begin_freeing(s, OP_RECLAIM, NULL, &t)) < 0)
        return r;
    if ((r = branch_get(s, branch, &w.b)) == 0) {
        w.v = vol_by_id(s, w.b.vol);
        r = step(&w);
    }
    if (r < 0) {
        txn_abort(&t);
        return r == -E_NOENT ? 0 : r;
    }
    e = txn_commit(&t);
    return e < 0 ? e : r;
}

int reclaim_branch(struct store *s, const struct reclaim_rec *rec)
{
    int64_t end = clock_mono_ns() + BUDGET_NS;
    int r;

    do
        r = batch(s, rec->branch);
    while (r == 1 && clock_mono_ns() < end);
    if (r == 0)
        state_deaths_forget(s, rec->branch);
    return r;
}

/* --- the beginning: a volume that was deleted goes for good --- */

struct branches {
    struct txn *t;
    uint32_t vol, depth;
    int r;
};

static int queue_branch(void *arg, const struct branch_rec *b)
{
    struct branches *bs = arg;
    struct reclaim_rec rc = {.kind = RECLAIM_BRANCH, .vol = b->vol, .branch = b->id};
    struct branch_rec dead = *b;

    if (b->vol != bs->vol)
        return 0;
    if (b->depth != bs->depth)
        return 0;
    dead.flags |= BRANCH_DEAD;
    bs->r = branch_put(bs->t, &dead);
    return bs->r < 0 ? bs->r : txn_reclaim(bs->t, &rc);
}

int volume_reclaim_begin(struct vol *v)
{
    struct volume_rec vr;
    struct txn t;
    struct branches bs = {.t = &t, .vol = v->rec.id};
    uint32_t from;
    int r;

    if ((v->rec.flags & VOLUME_DELETED) && !v->mounts && (r = views_thin(v, 0, 0, &from)) < 0)
        return r;
    if ((r = txn_begin_freeing(v->store, OP_VOLUME, v, &t)) < 0)
        return r;
    vr = v->rec;
    if (!(vr.flags & VOLUME_DELETED) || v->mounts)
        r = -E_INVAL;
    else if ((vr.flags & (VOLUME_GHOST | VOLUME_MAKING)) == VOLUME_GHOST)
        r = -E_NOENT;
    vr.flags |= VOLUME_GHOST;
    vr.flags &= ~(uint32_t)VOLUME_MAKING;
    if (r == 0)
        r = vol_put(&t, v, &vr);
    if (r == 0)
        r = views_forget_volume(&t, vr.id);
    /* the deepest first: a branch goes after those that begin in it */
    bs.depth = BRANCH_DEPTH_MAX + 1;
    do {
        bs.depth--;
        if (r == 0)
            r = branch_each(v->store, queue_branch, &bs);
    } while (bs.depth > 0 && r == 0);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    if ((r = txn_commit(&t)) == 0)
        state_volume_forget(v->store, v->rec.id);
    return r;
}
