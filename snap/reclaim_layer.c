/* Deleting snapshots (F15): what only they showed lies between their neighbours in the index of changes, so the cost is what
 * changed around them. Let p be the next state below that something shows, n the next above. A record of history is dead when no
 * snapshot lies in [born, died); all that can have died with a snapshot between did so in (it, n].
 *
 * All that are being deleted between the same p and n go at once, as a run: one pass over the index does for them all, from the
 * lowest to n. What a run is for stays as it was when it began: when p or n is deleted meanwhile, what only these showed is left
 * to runs of their own, which need the inodes' records as of them.
 *
 * In short transactions, each complete by itself, with a pause between, so that others get at the tables; after a crash a run
 * begins again and finds less to do. Two passes: spans that a dense file had without a record are looked at while the inodes'
 * records as of the snapshots are still there. Where an inode has pending images the transaction ends, and goes on with the
 * inode's lock held, when it is firm. */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "snap/changes.h"
#include "snap/internal.h"
#include "snap/store/ilock.h"
#include "snap/store/object.h"
#include "snap/store/record.h"

#define BATCH 256
#define PUTS_MAX 256u     /* changes of a transaction after which it ends */
#define HOLD_NS 300000ll  /* or so long */
#define WORK_NS 1000000ll /* after so much work as long a pause */
#define COMPACT_MAX 16
#define SEEN_MAX 4096u
#define RUN_MAX 4096u
#define BUDGET_NS 1000000000ll

enum phase { FIRM, UNCOVER, FREE, FORGET, DONE };

/* A key of the index and the layer in which this run saw it last. */
struct seen {
    uint64_t hash;
    uint32_t layer;
};

struct run {
    uint32_t vol, branch;
    uint32_t p, n;   /* what died in (p, n] and was born after p is looked at; n UINT32_MAX: all */
    bool has_p, tip; /* tip: nothing above it shows this branch any more */
    uint32_t nlayers, done;
    uint32_t layers[RUN_MAX]; /* ascending */
    struct seen seen[SEEN_MAX];
};

struct work {
    struct txn *t;
    struct store *s;
    struct run *run;
    struct branch_rec b;
    uint32_t open;             /* the layer that this branch is written in; LAYER_NOW: none any more */
    uint32_t low[COMPACT_MAX]; /* layers of (p, the lowest] that the index knows */
    unsigned nlow;
    struct state_cursor *c;
    uint64_t pending; /* the inode that must be made firm first */
    int64_t until_ns, worked_ns;
};

/* What a step says then. MORE: of the same. */
#define MORE 1
#define PENDING 2

/* The layers of (p, the lowest] with entries, as far as they are few. */
static int find_low(struct work *w)
{
    uint8_t key[KEY_SIZE_MAX];
    uint32_t klen = 0, from = w->run->p;
    int r = 1;

    w->nlow = 0;
    while (w->run->has_p && w->nlow < COMPACT_MAX &&
           (r = touched_next(w->t, w->b.id, from, w->run->layers[0], key, &klen)) == 1) {
        from = get_be32(key + 5);
        w->low[w->nlow++] = from;
        klen = 0;
    }
    return r < 0 ? r : 0;
}

static uint32_t open_layer(struct store *s, const struct branch_rec *b)
{
    const struct vol *v = vol_by_id(s, b->vol);

    return v && v->rec.head == b->id ? v->rec.layer : LAYER_NOW;
}

struct claim {
    struct run *run;
    uint32_t asked;
};

static int claim_one(void *arg, const struct layer *l)
{
    struct claim *c = arg;
    struct run *run = c->run;

    if (l->rec.layer >= run->n || run->nlayers == RUN_MAX)
        return 1;
    if (l->rec.branch != run->branch)
        return l->rec.layer > c->asked; /* a branch's layers follow each other */
    if (l->rec.state == LAYER_DELETING)
        run->layers[run->nlayers++] = l->rec.layer;
    return 0;
}

/* The run that a layer belongs to. What dies later than now died in a state that some snapshot taken later shows; what is of
 * that snapshot is its own affair. -E_NOENT: it is gone. */
static int claim(struct txn *t, const struct reclaim_rec *rec, struct run *run)
{
    struct claim c = {run, rec->layer};
    struct branch_rec b;
    struct layer l;
    uint32_t open;
    int r;

    if ((r = layer_get(t, rec->vol, rec->layer, &l)) < 0)
        return r;
    if (l.rec.state != LAYER_DELETING)
        return -E_NOENT;
    if ((r = branch_get(t->store, l.rec.branch, &b)) < 0)
        return r;
    open = open_layer(t->store, &b);
    run->vol = rec->vol;
    run->branch = b.id;
    run->p = layer_retained_below(t->store, b.id, rec->layer);
    run->has_p = run->p != 0 || b.parent;
    if (!run->p && b.parent)
        run->p = b.first_layer - 1;
    run->n = layer_retained_above(t->store, b.id, rec->layer);
    run->tip = run->n == LAYER_NOW && open == LAYER_NOW;
    run->n = MIN_OF(run->n, open);
    r = layer_each_from(t, rec->vol, run->p + 1, claim_one, &c);
    if (r >= 0 && run->nlayers == 0)
        return -E_CORRUPT;
    return r < 0 ? r : 0;
}

/* Is it as it was when the run began, as far as that matters? -E_NOENT: no. */
static int look(struct work *w)
{
    struct run *run = w->run;
    struct layer l;
    int r;

    if ((r = branch_get(w->s, run->branch, &w->b)) < 0)
        return r;
    w->open = open_layer(w->s, &w->b);
    if (run->tip &&
        (w->open != LAYER_NOW || layer_retained_above(w->s, run->branch, run->layers[0]) != LAYER_NOW))
        return -E_NOENT; /* it came back to life */
    if (w->c->phase == DONE)
        return 0;
    r = layer_get(w->t, run->vol, run->layers[0], &l);
    return r < 0 ? r : l.rec.state == LAYER_DELETING ? 0 : -E_NOENT;
}

/* The highest layer of the run below another one. */
static uint32_t run_below(const struct run *run, uint32_t layer)
{
    uint32_t n = layers_before(run->layers, run->nlayers, layer);

    assert(n > 0);
    return run->layers[n - 1];
}

/* A span of a dense file that got its first record in this layer: what it was before is what the snapshot next below showed. */
static int uncover(struct work *w, const uint8_t *touched, uint32_t klen)
{
    uint8_t key[KEY_SIZE_MAX];
    uint32_t layer = get_be32(touched + 5);
    struct txn_val val;
    int r;

    (void)klen;
    if (touched[9] != TAB_SPAN)
        return 0;
    r = txn_get(w->t, KEEP_FIRM, key,
                key_history(key, TAB_SPAN, w->b.id, touched + 10, tab_key_len(TAB_SPAN), layer), &val);
    if (r != -E_NOENT)
        return r;
    return span_uncovered(w->t, w->b.id, touched + 10, run_below(w->run, layer), layer);
}

/* Records of history of a key that nobody sees any more, the oldest first: each is compared with what comes after it. MORE: in
 * another transaction. */
static int free_history(struct work *w, uint8_t tab, const uint8_t *key)
{
    uint8_t k[KEY_SIZE_MAX];
    const uint8_t *found;
    struct txn_val val;
    uint32_t died = w->run->p;
    size_t n, flen;
    int r;

    for (;;) {
        n = key_history(k, tab, w->b.id, key, tab_key_len(tab), died + 1);
        r = txn_ge(w->t, KEEP_FIRM, k, n, n - 4, &found, &flen, &val);
        if (r < 0)
            return r == -E_NOENT ? 0 : r;
        died = get_be32(found + flen - 4);
        if (died > w->run->n)
            return 0;
        if (val.born <= w->run->p || layer_retained(w->s, w->b.id, val.born, died))
            continue;
        if (w->t->nputs >= PUTS_MAX)
            return MORE;
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
    return val.born > w->run->p ? vt_drop_own(w->t, w->b.id, tab, key) : 0;
}

static int forget_at(struct work *w, const uint8_t *touched, uint32_t klen, uint32_t layer)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val val;
    int r;

    memcpy(k, touched, klen);
    put_be32(k + 5, layer);
    r = txn_get(w->t, KEEP_FIRM, k, klen, &val);
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    return txn_del(w->t, KEEP_FIRM, (struct txn_owner){0}, k, klen);
}

/* The index need not say twice that a key changed between p and n: the last time will do. An entry of the open layer may go
 * again, when what was born in it dies in it: then the other one is all there is. Keys beyond what `seen` holds stay twice. */
static int compact(struct work *w, const uint8_t *touched, uint32_t klen)
{
    uint32_t layer = get_be32(touched + 5);
    uint64_t hash = hash_sum(touched[9], touched + 10, klen - 10);
    struct seen *seen = &w->run->seen[hash % SEEN_MAX];
    int r = 0;

    if (layer >= w->open)
        return 0;
    for (unsigned i = 0; i < w->nlow && r == 0; i++)
        r = forget_at(w, touched, klen, w->low[i]);
    if (r == 0 && seen->hash == hash && seen->layer && seen->layer < layer)
        r = forget_at(w, touched, klen, seen->layer);
    *seen = (struct seen){hash, layer};
    return r;
}

static int free_key(struct work *w, const uint8_t *touched, uint32_t klen)
{
    int r = free_history(w, touched[9], touched + 10);

    if (r == 0 && w->run->tip)
        r = drop_live(w, touched[9], touched + 10);
    if (r == 0 && w->run->tip)
        return txn_del(w->t, KEEP_FIRM, (struct txn_owner){0}, touched, klen);
    return r != 0 ? r : compact(w, touched, klen);
}

static int forget(struct work *w, const uint8_t *touched, uint32_t klen)
{
    return txn_del(w->t, KEEP_FIRM, (struct txn_owner){0}, touched, klen);
}

static bool is_pending(struct work *w, const uint8_t *touched)
{
    if (touched[9] != TAB_INODE && touched[9] != TAB_SPAN)
        return false;
    w->pending = get_be64(touched + 10);
    return file_is_pending(w->t, w->b.id, w->pending);
}

/* One key of the index. 0: there is none any more; MORE: another one, or the same again. */
static int pass_one(struct work *w, uint32_t after, uint32_t to,
                    int (*fn)(struct work *w, const uint8_t *touched, uint32_t klen))
{
    struct state_cursor *c = w->c, was = *c;
    int r = touched_next(w->t, w->b.id, after, to, c->key, &c->klen);

    if (r != 1)
        return r;
    r = is_pending(w, c->key) ? PENDING : fn(w, c->key, c->klen);
    if (r != 0)
        *c = was;
    return r == 0 ? MORE : r;
}

/* One pass over the index from the cursor, as far as a transaction goes. 0: to its end; MORE; PENDING. */
static int pass(struct work *w, uint32_t after, uint32_t to,
                int (*fn)(struct work *w, const uint8_t *touched, uint32_t klen))
{
    int r = MORE;

    for (int i = 0; i < BATCH && r == MORE; i++) {
        if (i > 0 && (w->t->nputs >= PUTS_MAX || clock_mono_ns() > w->until_ns))
            break;
        r = pass_one(w, after, to, fn);
    }
    return r;
}

/* Nothing is left of them; a branch that is not written any more and shows nothing goes as a whole. */
static int finish(struct work *w)
{
    struct reclaim_rec rc = {.kind = RECLAIM_BRANCH, .vol = w->b.vol, .branch = w->b.id};
    struct run *run = w->run;
    struct layer l;
    int r = 0;

    while (run->done < run->nlayers && r == 0) {
        if (w->t->nputs >= PUTS_MAX)
            return MORE;
        r = layer_get(w->t, run->vol, run->layers[run->done], &l);
        if (r == 0 && l.rec.state == LAYER_DELETING)
            r = layer_del(w->t, run->vol, run->layers[run->done]);
        r = r == -E_NOENT ? 0 : r;
        run->done++;
    }
    if (r < 0 || !run->tip || layer_retained_below(w->s, w->b.id, run->layers[0]))
        return r;
    return txn_reclaim(w->t, &rc);
}

static int step(struct work *w)
{
    struct run *run = w->run;
    uint32_t from = run->tip ? run->p : run->layers[0], last = run->layers[run->nlayers - 1];
    int r;

    switch (w->c->phase) {
    case UNCOVER: return run->tip ? 0 : pass(w, from, run->n, uncover);
    case FREE: r = find_low(w); return r < 0 ? r : pass(w, from, run->n, free_key);
    case FORGET: /* before the first state that is shown nobody asks what changed */
        return run->has_p ? 0 : pass(w, 0, last, forget);
    default: return finish(w);
    }
}

/* Others get at the tables for as long as this was at them. */
static void give_way(struct work *w)
{
    if (w->worked_ns < WORK_NS)
        return;
    nanosleep(&(struct timespec){.tv_nsec = MIN_OF(w->worked_ns, 100 * WORK_NS)}, NULL);
    w->worked_ns = 0;
}

/* 0: the phase is over; MORE; PENDING: w->pending. -E_NOENT: nothing is as it was. */
static int batch(struct work *w)
{
    struct txn t;
    struct state_cursor was = *w->c;
    uint32_t done = w->run->done;
    int64_t start;
    int r, e;

    if ((r = txn_begin_freeing(w->s, OP_RECLAIM, NULL, &t)) < 0)
        return r;
    w->t = &t;
    start = clock_mono_ns();
    w->until_ns = start + HOLD_NS;
    t.vol = w->run->vol;
    if ((r = look(w)) == 0)
        r = step(w);
    if (r >= 0 && (e = txn_commit(&t)) < 0)
        r = e;
    else if (r < 0)
        txn_abort(&t);
    if (r < 0) {
        *w->c = was;
        w->run->done = done;
    }
    w->worked_ns += clock_mono_ns() - start;
    return r;
}

/* A batch after which there is nothing pending in the way. */
static int batch_firm(struct work *w)
{
    struct ilock lock;
    struct vol *v;
    struct txn t;
    int r = batch(w);

    if (r != PENDING)
        return r;
    if ((r = txn_begin(w->s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    v = vol_by_id(w->s, w->run->vol);
    txn_abort(&t);
    if (!v)
        return -E_NOENT;
    ilock_take(w->s, &lock, w->run->vol, &w->pending, 1, true);
    r = file_make_firm_ino(v, w->run->branch, w->pending);
    if (r == 0)
        r = batch(w);
    ilock_drop(&lock);
    return r == PENDING ? MORE : r;
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

/* As far as the time allows. 0: it is done; MORE. */
static int run_on(struct work *w, int64_t end_ns)
{
    struct state_cursor *c = w->c;
    int r = 0;

    if (c->phase == FIRM) {
        if ((r = make_firm(w->s, w->run->vol)) < 0)
            return r;
        c->phase = UNCOVER;
    }
    while (c->phase <= DONE && clock_mono_ns() < end_ns) {
        if ((r = batch_firm(w)) < 0)
            return r;
        if (r == 0) {
            c->phase++;
            c->klen = 0;
        }
        give_way(w);
    }
    return c->phase <= DONE ? MORE : 0;
}

static int run_begin(struct store *s, const struct reclaim_rec *rec, struct state_cursor *c)
{
    struct run *run = calloc(1, sizeof(*run));
    struct txn t;
    int r;

    if (!run)
        return -E_NOMEM;
    if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) == 0) {
        r = claim(&t, rec, run);
        txn_abort(&t);
    }
    if (r < 0) {
        free(run);
        return r;
    }
    c->more = run;
    c->phase = FIRM;
    c->klen = 0;
    return 0;
}

/* A branch has one run at a time: whichever entry of the queue comes by takes it further, and begins another when its own layer
 * was not of it. */
int reclaim_layer(struct store *s, const struct reclaim_rec *rec)
{
    struct reclaim_rec of = {.kind = rec->kind, .vol = rec->vol, .branch = rec->branch};
    struct work w = {.s = s, .c = state_cursor(s, &of)};
    int64_t end = clock_mono_ns() + BUDGET_NS;
    int r;

    if (!w.c)
        return -E_NOMEM;
    do {
        r = w.c->more ? 0 : run_begin(s, rec, w.c);
        if (r == -E_NOENT) {
            state_cursor_end(s, w.c);
            return 0;
        }
        w.run = w.c->more;
        if (r == 0)
            r = run_on(&w, end);
        if (r == MORE || (r < 0 && r != -E_NOENT))
            return r;
        free(w.c->more);
        w.c->more = NULL;
    } while (clock_mono_ns() < end);
    return MORE;
}
