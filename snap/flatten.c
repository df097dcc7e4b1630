/* Flattening (F14): a branch gets copies of all that it shows from its parents, and stands alone. Keeps chains of clones and
 * rollbacks short, so that lookups stay quick. The parent's state is sealed, so what is copied cannot change meanwhile; what
 * the branch writes meanwhile is its own and is left alone. Each record in one transaction, an inode's with its lock. */
#include "base/clock.h"
#include "base/log.h"
#include "snap/internal.h"
#include "snap/store/ilock.h"
#include "snap/store/object.h"
#include "snap/store/record.h"

#define BATCH 64
#define BUDGET_NS 1000000000ll

static const uint8_t tabs[] = {TAB_DATA, TAB_SPAN, TAB_INODE, TAB_DIRENT, TAB_LINK, TAB_XATTR, TAB_ORPHAN};

struct flat {
    struct store *s;
    struct txn *t;
    struct vol *v;
    struct branch_rec b;
    struct state_cursor *c; /* phase: index in tabs; key: the next to look at */
};

static bool needs_lock(uint8_t tab)
{
    return tab == TAB_INODE || tab == TAB_DATA || tab == TAB_SPAN;
}

static struct vt_at origin(const struct flat *f)
{
    return (struct vt_at){f->b.parent, f->b.parent_layer};
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

/* Two branches name these objects from now on, and layers of the parent mean nothing here. */
static int adopt_inode(struct flat *f, const struct vt_val *val, uint8_t out[INODE_REC_SIZE])
{
    struct inode in;
    int r = inode_decode(val->data, val->len, &in);

    if (r < 0)
        return r;
    in.open_obj = 0;
    in.open_layer = in.base_layer = 0;
    inode_encode(&in, out);
    return in.base_obj ? object_mark_shared(f->t, in.base_obj) : 0;
}

static int adopt_span(struct flat *f, const struct vt_val *val, uint8_t *out, size_t *ret_len)
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

static int adopt(struct flat *f, uint8_t tab, const struct vt_val *val, const uint8_t **ret, size_t *ret_len)
{
    uint8_t *out;

    *ret = val->data;
    *ret_len = val->len;
    if (tab != TAB_INODE && tab != TAB_SPAN)
        return 0;
    if (!(out = txn_alloc(f->t, tab == TAB_SPAN ? SPAN_SIZE_MAX : INODE_REC_SIZE)))
        return -E_NOMEM;
    *ret = out;
    if (tab == TAB_SPAN)
        return adopt_span(f, val, out, ret_len);
    *ret_len = INODE_REC_SIZE;
    return adopt_inode(f, val, out);
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

static int put_gone(struct flat *f, uint8_t tab, const uint8_t *key, uint32_t died, const uint8_t *p,
                    size_t len)
{
    uint8_t k[KEY_SIZE_MAX];
    int r = vt_put_history(f->t, f->b.id, tab, key, f->b.first_layer, died, p, len);

    return r < 0 ? r
                 : txn_put_plain(f->t, k, key_touched(k, f->b.id, died, tab, key, tab_key_len(tab)), "", 0);
}

static int copy_key(struct flat *f, uint8_t tab, const uint8_t *key, const struct vt_val *val)
{
    uint8_t k[KEY_SIZE_MAX];
    uint32_t first = f->b.first_layer, own = 0, gone = 0;
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
    if (gone && (gone <= first || !layer_retained(f->s, f->b.id, first, gone)))
        return 0;
    if ((r = adopt(f, tab, val, &p, &len)) < 0)
        return r;
    if (gone)
        return put_gone(f, tab, key, gone, p, len);
    if (any)
        return vt_put_history(f->t, f->b.id, tab, key, first, own, p, len);
    r = vt_put(f->t, KEEP_FIRM, (struct txn_owner){0}, (struct vt_at){f->b.id, first}, tab, key, p, len);
    if (r == 0) /* nothing changed with it */
        r = txn_del(f->t, KEEP_FIRM, (struct txn_owner){0}, k,
                    key_touched(k, f->b.id, first, tab, key, tab_key_len(tab)));
    return r;
}

/* The key after this one, as bytes; false: there is none. */
static bool key_after(uint8_t *key, size_t len)
{
    for (size_t i = len; i-- > 0;)
        if (++key[i])
            return true;
    return false;
}

/* Where the scan of the parents stands: the inode that comes next. 0 the end of the table. */
static int peek(struct flat *f, uint8_t tab, uint64_t *ret_ino)
{
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    int r;

    vt_scan_init(&sc, f->t, KEEP_FIRM, origin(f), tab, "", 0);
    vt_scan_from(&sc, f->c->key, f->c->klen);
    r = vt_scan_next(&sc, &key, &val);
    if (r == 1)
        *ret_ino = get_be64(key);
    return r;
}

/* Copies from the cursor on: one inode's records when only_ino is given, else a batch. 1: more in this table. */
static int copy_some(struct flat *f, uint8_t tab, uint64_t only_ino)
{
    size_t len = tab_key_len(tab);
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    int r;

    vt_scan_init(&sc, f->t, KEEP_FIRM, origin(f), tab, "", 0);
    vt_scan_from(&sc, f->c->key, f->c->klen);
    for (int i = 0; i < BATCH; i++) {
        if ((r = vt_scan_next(&sc, &key, &val)) != 1)
            return r;
        if (only_ino && get_be64(key) != only_ino)
            return 1;
        if ((r = copy_key(f, tab, key, &val)) < 0)
            return r;
        memcpy(f->c->key, key, len);
        f->c->klen = (uint32_t)len;
        if (!key_after(f->c->key, len))
            return 0;
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
    struct depths d = {f->t, b.id, 0};
    int r;

    b.flags |= BRANCH_FLATTENED;
    b.depth = 0;
    if ((r = branch_put(f->t, &b)) < 0 || (r = branch_each(f->s, lift, &d)) < 0)
        return r;
    r = layer_children(f->t, b.parent, b.parent_layer, -1);
    if (r == 0)
        log_note("snap", "flattened", "vol=%u branch=%u", b.vol, b.id);
    return r;
}

static int look(struct flat *f, uint32_t branch)
{
    int r = branch_get(f->s, branch, &f->b);

    if (r < 0)
        return r;
    f->v = vol_by_id(f->s, f->b.vol);
    return !f->v || !f->b.parent || (f->b.flags & (BRANCH_FLATTENED | BRANCH_DEAD)) ? -E_NOENT : 0;
}

/* The inode whose records come next, so that its lock can be taken; 0: no lock is needed, or the table is at its end. */
static int next_ino(struct flat *f, uint32_t branch, uint64_t *ret)
{
    struct txn t;
    int r;

    *ret = 0;
    if ((r = txn_begin(f->s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    f->t = &t;
    r = look(f, branch);
    if (r == 0 && f->c->phase < ARRAY_LEN(tabs) && needs_lock(tabs[f->c->phase]))
        r = peek(f, tabs[f->c->phase], ret);
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
        r = f->c->phase < ARRAY_LEN(tabs) ? copy_some(f, tabs[f->c->phase], ino) : finish(f);
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

    while (c->phase <= ARRAY_LEN(tabs)) {
        if (clock_mono_ns() > until_ns)
            return 1;
        if ((r = batch(&f, branch)) < 0)
            return r == -E_NOENT ? 0 : r;
        if (r == 0) {
            c->phase++;
            c->klen = 0;
            memset(c->key, 0, sizeof(c->key));
        }
    }
    return 0;
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
