/* Flattening (F14): a chain of branches is made short. What the branches between one and the root of its chain hold, as it
 * shows there, is copied into it; then it begins at the root's layer where the lowest of them began. So the cost is what was
 * written between, not the tree, and lookups ask two branches at most. The states between are sealed, so what is copied cannot
 * change meanwhile; what the branch writes meanwhile is its own and is left alone. An inode's records are copied with its lock
 * held, when it has nothing pending. */
#include "snap/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "snap/store/ilock.h"
#include "snap/store/object.h"
#include "snap/store/record.h"

#define BATCH 64
#define BUDGET_NS 1000000000ll
#define BETWEEN_MAX 64u

static const uint8_t tabs[] = {TAB_DATA, TAB_SPAN, TAB_INODE, TAB_DIRENT, TAB_LINK, TAB_XATTR, TAB_ORPHAN};

struct flat {
    struct store *s;
    struct txn *t;
    struct vol *v;
    struct branch_rec b;
    struct vt_at between[BETWEEN_MAX]; /* the branches that are merged, the nearest first, as seen from it */
    uint32_t nbetween;
    struct vt_at root;
    struct state_cursor *c; /* phase: branch, table, history or live; key: the last one looked at */
};

/* A phase is one table, live or history, of one branch between. */
static uint32_t phases(const struct flat *f)
{
    return f->nbetween * 2 * (uint32_t)ARRAY_LEN(tabs);
}

static uint32_t phase_branch(const struct flat *f)
{
    return f->between[f->c->phase / (2 * ARRAY_LEN(tabs))].branch;
}

static uint8_t phase_tab(const struct flat *f)
{
    return tabs[f->c->phase / 2 % ARRAY_LEN(tabs)];
}

static bool phase_history(const struct flat *f)
{
    return f->c->phase & 1;
}

/* What the branch shows before its own first layer. */
static struct vt_at origin(const struct flat *f)
{
    return (struct vt_at){f->b.parent, f->b.parent_layer};
}

static bool needs_lock(uint8_t tab)
{
    return tab == TAB_INODE || tab == TAB_DATA || tab == TAB_SPAN;
}

/* The layer in which the branch's own first record of a key was born; *any false: it has none. */
static int own_first(struct flat *f, uint8_t tab, const uint8_t *key, uint32_t *ret, bool *any)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val val;
    size_t n = key_history(k, tab, f->b.id, key, tab_key_len(tab), 0), flen;
    int r = txn_ge(f->t, KEEP_PENDING, k, n, n - 4, &found, &flen, &val);

    if (r == -E_NOENT)
        r = txn_get(f->t, KEEP_PENDING, k, key_live(k, tab, f->b.id, key, tab_key_len(tab)), &val);
    *any = r == 0;
    if (r == 0)
        *ret = val.born;
    return r == -E_NOENT ? 0 : r;
}

/* What one branch itself holds of a key as of a layer. -E_NOENT. */
static int own_visible(struct flat *f, struct vt_at at, uint8_t tab, const uint8_t *key, struct txn_val *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    size_t n, flen;
    int r = txn_get(f->t, KEEP_FIRM, k, key_live(k, tab, at.branch, key, tab_key_len(tab)), ret);

    if ((r < 0 && r != -E_NOENT) || (r == 0 && ret->born <= at.layer))
        return r;
    n = key_history(k, tab, at.branch, key, tab_key_len(tab), at.layer + 1);
    r = txn_ge(f->t, KEEP_FIRM, k, n, n - 4, &found, &flen, ret);
    if (r < 0)
        return r;
    return ret->born <= at.layer ? 0 : -E_NOENT;
}

/* What the branches between show of a key: a record, or a tombstone for one of the root's. -E_NOENT: nothing of theirs. */
static int visible_between(struct flat *f, uint8_t tab, const uint8_t *key, struct txn_val *ret)
{
    struct vt_val below;
    int r = -E_NOENT;

    for (uint32_t i = 0; i < f->nbetween && r == -E_NOENT; i++)
        r = own_visible(f, f->between[i], tab, key, ret);
    if (r == 0 && (ret->flags & VAL_TOMB))
        r = vt_get(f->t, KEEP_FIRM, f->root, tab, key, &below);
    return r;
}

/* Two branches name these objects from now on, and layers of the parent mean nothing here. */
static int adopt_inode(struct flat *f, const struct txn_val *val, uint8_t out[INODE_REC_MAX], size_t *ret_len)
{
    struct inode in;
    int r = inode_decode(val->data, val->len, &in);

    if (r < 0)
        return r;
    in.open_obj = 0;
    in.open_layer = in.base_layer = 0;
    *ret_len = inode_encode(&in, out);
    return in.base_obj ? object_mark_shared(f->t, in.base_obj) : 0;
}

static int adopt_span(struct flat *f, const struct txn_val *val, uint8_t *out, size_t *ret_len)
{
    struct span *sp = txn_alloc(f->t, sizeof(*sp));
    int r;

    if (!sp)
        return -E_NOMEM;
    if ((r = span_decode(val->data, val->len, sp)) < 0)
        return r;
    for (unsigned i = 1; i <= sp->nsrc && r == 0; i++) {
        sp->src[i].data_born = 0;
        if (sp->src[i].object)
            r = object_mark_shared(f->t, sp->src[i].object);
    }
    *ret_len = span_encode(sp, out);
    return r;
}

static int adopt(struct flat *f, uint8_t tab, const struct txn_val *val, const uint8_t **ret, size_t *ret_len)
{
    uint8_t *out;

    *ret = val->data;
    *ret_len = val->len;
    if (tab != TAB_INODE && tab != TAB_SPAN)
        return 0;
    if (!(out = txn_alloc(f->t, tab == TAB_SPAN ? SPAN_SIZE_MAX : INODE_REC_MAX)))
        return -E_NOMEM;
    *ret = out;
    if (tab == TAB_SPAN)
        return adopt_span(f, val, out, ret_len);
    return adopt_inode(f, val, out, ret_len);
}

/* Inherited records of an inode that went stay where they were when it did (inode_drop): nobody asks for them, unless a
 * snapshot of the branch still shows the inode. *ret: the layer in which it went (the first: before); 0: it is there. */
static int inode_gone(struct flat *f, uint8_t tab, const uint8_t *key, uint32_t *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val val;
    struct vt_val up;
    int r;

    *ret = 0;
    if (tab == TAB_INODE || tab == TAB_DIRENT)
        return 0;
    r = vt_get(f->t, KEEP_FIRM, origin(f), TAB_INODE, key, &up);
    if (r == -E_NOENT)
        *ret = f->b.first_layer;
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    r = txn_get(f->t, KEEP_PENDING, k, key_live(k, TAB_INODE, f->b.id, key, 8), &val);
    if (r == 0 && (val.flags & VAL_TOMB))
        *ret = val.born;
    return r == -E_NOENT ? 0 : r;
}

static int touch_at(struct flat *f, uint32_t layer, uint8_t tab, const uint8_t *key)
{
    uint8_t k[KEY_SIZE_MAX];

    return txn_put_plain(f->t, k, key_touched(k, f->b.id, layer, tab, key, tab_key_len(tab)), NULL, 0);
}

static int touch_first(struct flat *f, uint8_t tab, const uint8_t *key)
{
    return touch_at(f, f->b.first_layer, tab, key);
}

static int put_gone(struct flat *f, uint8_t tab, const uint8_t *key, uint32_t died, const uint8_t *p,
                    size_t len)
{
    int r = vt_put_history(f->t, f->b.id, tab, key, f->b.first_layer, died, p, len);

    if (r == 0)
        r = touch_at(f, died, tab, key);
    return r < 0 ? r : touch_first(f, tab, key);
}

/* A tombstone, as live record or as one that died when the branch wrote its own. */
static int copy_tomb(struct flat *f, uint8_t tab, const uint8_t *key, bool any, uint32_t own)
{
    uint8_t k[KEY_SIZE_MAX];
    size_t n = any ? key_history(k, tab, f->b.id, key, tab_key_len(tab), own)
                   : key_live(k, tab, f->b.id, key, tab_key_len(tab));
    int r = txn_put(f->t, KEEP_FIRM, (struct txn_owner){0}, k, n, f->b.first_layer, VAL_TOMB, NULL, 0);

    return r < 0 ? r : touch_first(f, tab, key);
}

static int copy_key(struct flat *f, uint8_t tab, const uint8_t *key)
{
    uint32_t first = f->b.first_layer, own = 0, gone = 0;
    struct txn_val val;
    const uint8_t *p;
    size_t len;
    bool any;
    int r;

    if ((r = own_first(f, tab, key, &own, &any)) < 0)
        return r;
    if (any && (own <= first || !layer_retained(f->s, f->b.id, first, own)))
        return 0;
    if (!any && (r = inode_gone(f, tab, key, &gone)) < 0)
        return r;
    if ((r = visible_between(f, tab, key, &val)) < 0)
        return r == -E_NOENT ? 0 : r;
    if (tab == TAB_ORPHAN && gone && (val.flags & VAL_TOMB)) /* asked for by itself: it must not show again */
        return copy_tomb(f, tab, key, false, 0);
    if (gone && (gone <= first || !layer_retained(f->s, f->b.id, first, gone)))
        return 0;
    if (val.flags & VAL_TOMB) {
        r = copy_tomb(f, tab, key, any || gone, gone ? gone : own);
        return r < 0 || !gone ? r
                              : touch_at(f, gone, tab, key); /* the branch wrote nothing under it that did */
    }
    if ((r = adopt(f, tab, &val, &p, &len)) < 0)
        return r;
    if (gone)
        return put_gone(f, tab, key, gone, p, len);
    if (!any)
        return vt_put(f->t, KEEP_FIRM, (struct txn_owner){0}, (struct vt_at){f->b.id, first}, tab, key, p,
                      len);
    r = vt_put_history(f->t, f->b.id, tab, key, first, own, p, len);
    return r < 0 ? r : touch_first(f, tab, key);
}

/* The next key of the phase's table after the cursor's; 0 the end. */
static int next_key(struct flat *f, const uint8_t **ret)
{
    uint8_t tab = phase_tab(f), from[KEY_SIZE_MAX + 1];
    size_t len = tab_key_len(tab), n = 5, flen;
    struct txn_val val;
    const uint8_t *found;
    int r;

    from[0] = phase_history(f) ? tab | TAB_HISTORY : tab;
    put_be32(from + 1, phase_branch(f));
    if (f->c->klen) { /* beyond all lives of that key */
        memcpy(from + 5, f->c->key, len);
        memset(from + 5 + len, 0xff, 5);
        n = 5 + len + 5;
    }
    r = txn_ge(f->t, KEEP_FIRM, from, n, 5, &found, &flen, &val);
    if (r == -E_NOENT)
        return 0;
    *ret = found + 5;
    return r < 0 ? r : 1;
}

/* Copies from the cursor on: one inode's records when only_ino is given, else a batch. 1: more in this table. */
static int copy_some(struct flat *f, uint64_t only_ino)
{
    uint8_t tab = phase_tab(f);
    const uint8_t *key;
    int r;

    for (int i = 0; i < BATCH; i++) {
        if ((r = next_key(f, &key)) != 1)
            return r;
        if (only_ino && get_be64(key) != only_ino)
            return 1;
        if ((r = copy_key(f, tab, key)) < 0)
            return r;
        memcpy(f->c->key, key, tab_key_len(tab));
        f->c->klen = (uint32_t)tab_key_len(tab);
    }
    return 1;
}

struct depths {
    struct txn *t;
    uint32_t of, depth;
};

/* Those that begin in a flattened branch are nearer to the ground now, and those that begin in them. */
static int lift(void *arg, const struct branch_rec *b)
{
    struct depths *d = arg, next = {d->t, b->id, d->depth + 1};
    struct branch_rec up = *b;
    int r;

    if (b->parent != d->of || (b->flags & BRANCH_FLATTENED))
        return 0;
    up.depth = d->depth + 1;
    if ((r = branch_put(d->t, &up)) < 0)
        return r;
    return branch_each(d->t->store, lift, &next);
}

static int finish(struct flat *f)
{
    struct branch_rec b = f->b;
    struct depths d = {f->t, b.id, 1};
    int r;

    b.parent = f->root.branch;
    b.parent_layer = f->root.layer;
    b.depth = 1;
    if ((r = branch_put(f->t, &b)) < 0 || (r = branch_each(f->s, lift, &d)) < 0)
        return r;
    if ((r = layer_children(f->t, b.parent, b.parent_layer, 1)) < 0)
        return r;
    r = layer_children(f->t, f->b.parent, f->b.parent_layer, -1);
    if (r == 0)
        log_debug("snap", "flattened", "vol=%u branch=%u", b.vol, b.id);
    return r;
}

/* -E_NOENT: there is nothing between it and its root, or it is going. */
static int look(struct flat *f, uint32_t branch)
{
    struct branch_rec up;
    int r = branch_get(f->s, branch, &f->b);

    if (r < 0)
        return r;
    f->v = vol_by_id(f->s, f->b.vol);
    f->nbetween = 0;
    f->root = (struct vt_at){f->b.parent, f->b.parent_layer};
    if (!f->v || !f->b.parent || (f->b.flags & (BRANCH_FLATTENED | BRANCH_DEAD)))
        return -E_NOENT;
    while ((r = branch_get(f->s, f->root.branch, &up)) == 0 && up.parent && !(up.flags & BRANCH_FLATTENED)) {
        if (f->nbetween == BETWEEN_MAX)
            return -E_DEPTH;
        f->between[f->nbetween++] = f->root;
        f->root = (struct vt_at){up.parent, up.parent_layer};
    }
    return r < 0 ? r : f->nbetween ? 0 : -E_NOENT;
}

/* The inode whose records come next, so that its lock can be taken; 0: no lock is needed, or the table is at its end. */
static int next_ino(struct flat *f, uint32_t branch, uint64_t *ret)
{
    const uint8_t *key;
    struct txn t;
    int r;

    *ret = 0;
    if ((r = txn_begin(f->s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    f->t = &t;
    r = look(f, branch);
    if (r == 0 && f->c->phase < phases(f) && needs_lock(phase_tab(f)) && (r = next_key(f, &key)) == 1)
        *ret = get_be64(key);
    txn_abort(&t);
    return r < 0 ? r : 0;
}

static int batch_locked(struct flat *f, uint32_t branch, uint64_t ino)
{
    struct state_cursor was = *f->c;
    struct txn t;
    int r, e;

    if (ino && (r = file_make_firm_ino(f->v, branch, ino)) < 0)
        return r;
    if ((r = txn_begin_freeing(f->s, OP_RECLAIM, NULL, &t)) < 0)
        return r;
    f->t = &t;
    r = look(f, branch);
    if (r == 0)
        r = f->c->phase < phases(f) ? copy_some(f, ino) : finish(f);
    if (r < 0) {
        txn_abort(&t);
        *f->c = was;
        return r;
    }
    if ((e = txn_commit(&t)) < 0)
        *f->c = was;
    return e < 0 ? e : r;
}

/* 1: more in this phase. */
static int batch(struct flat *f, uint32_t branch)
{
    struct ilock lock = {0};
    uint64_t ino;
    int r;

    if ((r = next_ino(f, branch, &ino)) < 0)
        return r;
    if (ino)
        ilock_take(f->s, &lock, f->v->rec.id, &ino, 1, true);
    r = batch_locked(f, branch, ino);
    if (ino)
        ilock_drop(&lock);
    return r;
}

/* Until the end, or the budget is used up (1). */
static int run(struct store *s, uint32_t branch, struct state_cursor *c, int64_t until_ns)
{
    struct flat f = {.s = s, .c = c};
    int r = 0;

    for (;;) {
        if (clock_mono_ns() > until_ns)
            return 1;
        if ((r = batch(&f, branch)) < 0)
            return r == -E_NOENT ? 0 : r; /* also after the end: nothing is between then */
        if (r == 0) {
            c->phase++;
            c->klen = 0;
        }
    }
}

int reclaim_flatten(struct store *s, const struct reclaim_rec *rec)
{
    struct state_cursor *c = state_cursor(s, rec);
    int r;

    if (!c)
        return -E_NOMEM;
    r = run(s, rec->branch, c, clock_mono_ns() + BUDGET_NS);
    if (r == 0)
        state_cursor_end(s, c);
    return r;
}

int branch_flatten(struct store *s, uint32_t branch)
{
    struct state_cursor c = {0};

    return run(s, branch, &c, INT64_MAX);
}
