/* Deleting a snapshot (F15): what only it showed lies between its neighbours in the index of changes, so the cost is what
 * changed around it. Let p be the next state below it that something shows, n the next above. A record of history is dead
 * when no snapshot lies in [born, died); all that can have died with this one did so in (p, n].
 *
 * In short transactions, each complete by itself; after a crash it begins again and finds less to do. Two passes: spans that a
 * dense file had without a record are looked at while the inodes' records as of the snapshot are still there. Where an inode has
 * pending images the transaction ends, and goes on with the inode's lock held, when it is firm. */
#include "base/clock.h"
#include "snap/changes.h"
#include "snap/internal.h"
#include "snap/store/ilock.h"
#include "snap/store/object.h"
#include "snap/store/record.h"

#define BATCH 64
#define COMPACT_MAX 16
#define BUDGET_NS 1000000000ll

enum phase { FIRM, UNCOVER, FREE, FORGET, DONE };

struct work {
    struct txn *t;
    struct store *s;
    struct layer l;
    struct branch_rec b;
    uint32_t p, n;             /* n LAYER_NOW: the live tree, or nothing when tip */
    uint32_t open;             /* the layer that this branch is written in; LAYER_NOW: none any more */
    bool has_p, tip;           /* tip: nothing above it shows this branch any more */
    uint32_t low[COMPACT_MAX]; /* layers of (p, layer] that the index knows */
    unsigned nlow;
    struct state_cursor *c;
    uint64_t pending; /* the inode that must be made firm first */
};

#define PENDING 2 /* what a step says then */

/* The layers of (p, layer] with entries, as far as they are few. */
static int find_low(struct work *w)
{
    uint8_t key[KEY_SIZE_MAX];
    uint32_t klen = 0, from = w->p;
    int r = 1;

    w->nlow = 0;
    while (w->has_p && w->nlow < COMPACT_MAX &&
           (r = touched_next(w->t, w->b.id, from, w->l.rec.layer, key, &klen)) == 1) {
        from = get_be32(key + 5);
        w->low[w->nlow++] = from;
        klen = 0;
    }
    return r < 0 ? r : 0;
}

static int look(struct work *w, const struct reclaim_rec *rec)
{
    const struct vol *v;
    int r;

    if ((r = layer_get(w->t, rec->vol, rec->layer, &w->l)) < 0)
        return r;
    if (w->l.rec.state != LAYER_DELETING)
        return -E_NOENT;
    if ((r = branch_get(w->s, w->l.rec.branch, &w->b)) < 0)
        return r;
    v = vol_by_id(w->s, w->b.vol);
    w->p = layer_retained_below(w->s, w->b.id, rec->layer);
    w->has_p = w->p != 0 || w->b.parent;
    if (!w->p && w->b.parent)
        w->p = w->b.first_layer - 1;
    w->n = layer_retained_above(w->s, w->b.id, rec->layer);
    w->open = v && v->rec.head == w->b.id ? v->rec.layer : LAYER_NOW;
    w->tip = w->n == LAYER_NOW && w->open == LAYER_NOW;
    return 0;
}

/* A span of a dense file that got its first record in this layer. */
static int uncover(struct work *w, const uint8_t *touched)
{
    uint8_t key[KEY_SIZE_MAX];
    uint32_t layer = get_be32(touched + 5);
    struct txn_val val;
    int r;

    if (touched[9] != TAB_SPAN)
        return 0;
    r = txn_get(w->t, KEEP_FIRM, key,
                key_history(key, TAB_SPAN, w->b.id, touched + 10, tab_key_len(TAB_SPAN), layer), &val);
    if (r != -E_NOENT)
        return r;
    return span_uncovered(w->t, w->b.id, touched + 10, w->l.rec.layer, layer);
}

/* Records of history of a key that nobody sees any more, the oldest first: each is compared with what comes after it. */
static int free_history(struct work *w, uint8_t tab, const uint8_t *key)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val val;
    uint32_t died = w->p;
    size_t n, flen;
    int r;

    for (;;) {
        n = key_history(k, tab, w->b.id, key, tab_key_len(tab), died + 1);
        r = txn_ge(w->t, KEEP_FIRM, k, n, n - 4, &found, &flen, &val);
        if (r < 0)
            return r == -E_NOENT ? 0 : r;
        died = get_be32(found + flen - 4);
        if (died > w->n)
            return 0;
        if (layer_retained(w->s, w->b.id, val.born, died))
            continue;
        if ((r = vt_free_history(w->t, w->b.id, tab, key, died)) < 0)
            return r;
    }
}

/* The branch ends here: what was written after the neighbour below goes, live records too. */
static int drop_live(struct work *w, uint8_t tab, const uint8_t *key)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val val;
    int r = txn_get(w->t, KEEP_FIRM, k, key_live(k, tab, w->b.id, key, tab_key_len(tab)), &val);

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    return val.born > w->p ? vt_drop_own(w->t, w->b.id, tab, key) : 0;
}

/* The index need not say twice that a key changed between p and n. An entry of the open layer may go again, when what was born
 * in it dies in it: then the other one is all there is. */
static int compact(struct work *w, const uint8_t *touched, uint32_t klen)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val val;
    int r = 0;

    if (get_be32(touched + 5) >= w->open)
        return 0;
    memcpy(k, touched, klen);
    for (unsigned i = 0; i < w->nlow && r == 0; i++) {
        put_be32(k + 5, w->low[i]);
        if ((r = txn_get(w->t, KEEP_FIRM, k, klen, &val)) == 0)
            r = txn_del(w->t, KEEP_FIRM, (struct txn_owner){0}, k, klen);
        else if (r == -E_NOENT)
            r = 0;
    }
    return r;
}

static int free_key(struct work *w, const uint8_t *touched, uint32_t klen)
{
    int r = free_history(w, touched[9], touched + 10);

    if (r == 0 && w->tip)
        r = drop_live(w, touched[9], touched + 10);
    if (r == 0 && w->tip)
        return txn_del(w->t, KEEP_FIRM, (struct txn_owner){0}, touched, klen);
    return r < 0 ? r : compact(w, touched, klen);
}

static bool is_pending(struct work *w, const uint8_t *touched)
{
    if (touched[9] != TAB_INODE && touched[9] != TAB_SPAN)
        return false;
    w->pending = get_be64(touched + 10);
    return file_is_pending(w->t, w->b.id, w->pending);
}

/* One pass over the index from the cursor. 1: more; PENDING. */
static int pass(struct work *w, uint32_t after, uint32_t to,
                int (*fn)(struct work *w, const uint8_t *touched, uint32_t klen))
{
    struct state_cursor *c = w->c;
    int r = 1;

    for (int i = 0; i < BATCH && r == 1; i++) {
        struct state_cursor was = *c;
        r = touched_next(w->t, w->b.id, after, to, c->key, &c->klen);
        if (r == 1 && is_pending(w, c->key)) {
            *c = was;
            return PENDING;
        }
        if (r == 1) {
            int e = fn(w, c->key, c->klen);
            r = e < 0 ? e : 1;
        }
    }
    return r;
}

static int do_uncover(struct work *w, const uint8_t *touched, uint32_t klen)
{
    (void)klen;
    return uncover(w, touched);
}

static int do_forget(struct work *w, const uint8_t *touched, uint32_t klen)
{
    return txn_del(w->t, KEEP_FIRM, (struct txn_owner){0}, touched, klen);
}

/* Nothing is left of it; a branch that is not written any more and shows nothing goes as a whole. */
static int finish(struct work *w)
{
    struct reclaim_rec rc = {.kind = RECLAIM_BRANCH, .vol = w->b.vol, .branch = w->b.id};
    int r = layer_del(w->t, w->l.rec.vol, w->l.rec.layer);

    if (r < 0 || !w->tip || layer_retained_below(w->s, w->b.id, w->l.rec.layer))
        return r;
    return txn_reclaim(w->t, &rc);
}

static int step(struct work *w)
{
    uint32_t from = w->tip ? w->p : w->l.rec.layer;
    int r;

    switch (w->c->phase) {
    case UNCOVER: return w->tip ? 0 : pass(w, from, w->n, do_uncover);
    case FREE: r = find_low(w); return r < 0 ? r : pass(w, from, w->n, free_key);
    case FORGET: /* before the first state that is shown nobody asks what changed */
        return w->has_p ? 0 : pass(w, 0, w->l.rec.layer, do_forget);
    default: return finish(w);
    }
}

/* 1: more in this phase; PENDING: of ret_pending. */
static int batch(struct store *s, const struct reclaim_rec *rec, struct state_cursor *c,
                 uint64_t *ret_pending, uint32_t *ret_branch)
{
    struct txn t;
    struct work w = {.t = &t, .s = s, .c = c};
    struct state_cursor was = *c;
    int r, e;

    if ((r = txn_begin_freeing(s, OP_RECLAIM, NULL, &t)) < 0)
        return r;
    t.vol = rec->vol;
    if ((r = look(&w, rec)) == 0)
        r = step(&w);
    if (r < 0) {
        txn_abort(&t);
        *c = was;
        return r;
    }
    if ((e = txn_commit(&t)) < 0) {
        *c = was;
        return e;
    }
    *ret_pending = w.pending;
    *ret_branch = w.b.id;
    return r;
}

/* A batch after which there is nothing pending in the way. */
static int batch_firm(struct store *s, const struct reclaim_rec *rec, struct state_cursor *c)
{
    struct ilock lock;
    struct vol *v;
    struct txn t;
    uint32_t branch;
    uint64_t ino;
    int r = batch(s, rec, c, &ino, &branch);

    if (r != PENDING)
        return r;
    if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    v = vol_by_id(s, rec->vol);
    txn_abort(&t);
    if (!v)
        return -E_NOENT;
    ilock_take(s, &lock, rec->vol, &ino, 1, true);
    r = file_make_firm_ino(v, branch, ino);
    if (r == 0)
        r = batch(s, rec, c, &ino, &branch);
    ilock_drop(&lock);
    return r == PENDING ? 1 : r;
}

/* What is pending of it becomes firm first, at one go: later changes move nothing to a history that only it would see. */
static int make_firm(struct store *s, uint32_t vol)
{
    uint32_t layer = 0;
    struct vol *v;
    struct txn t;
    int r;

    if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    if ((v = vol_by_id(s, vol)))
        layer = v->rec.layer;
    txn_abort(&t);
    return layer ? file_make_firm(s, vol, layer) : 0;
}

int reclaim_layer(struct store *s, const struct reclaim_rec *rec)
{
    struct state_cursor *c = state_cursor(s, rec);
    int64_t end = clock_mono_ns() + BUDGET_NS;
    int r = 0;

    if (!c)
        return -E_NOMEM;
    if (c->phase == FIRM) {
        if ((r = make_firm(s, rec->vol)) < 0)
            return r;
        c->phase = UNCOVER;
    }
    while (c->phase <= DONE && clock_mono_ns() < end) {
        r = batch_firm(s, rec, c);
        if (r < 0)
            break;
        if (r == 0) {
            c->phase++;
            c->klen = 0;
        }
    }
    if (r == 0 && c->phase <= DONE)
        r = 1;
    if (r == 0 || r == -E_NOENT) {
        state_cursor_end(s, c);
        return 0;
    }
    return r;
}
