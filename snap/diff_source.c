/* Where two states meet, and which keys may differ between them (F14, F15). */
#include "snap/diff_int.h"
#include "snap/internal.h"
#include "snap/store/object.h"

#define CHAIN_MAX 256

struct chain {
    struct vt_at at[CHAIN_MAX];
    uint32_t first[CHAIN_MAX]; /* layer of each branch */
    int n;
};

/* A branch and what it comes from; also beyond what was flattened, as long as that is there. */
static int chain_of(struct store *s, struct vt_at at, struct chain *c)
{
    struct branch_rec b;
    int r;

    for (c->n = 0; at.branch && c->n < CHAIN_MAX; c->n++) {
        r = branch_get(s, at.branch, &b);
        if (r == -E_NOENT && c->n > 0)
            return 0;
        if (r < 0)
            return r;
        c->at[c->n] = at;
        c->first[c->n] = b.first_layer;
        at = (struct vt_at){b.parent, b.parent_layer};
    }
    return 0;
}

static int gather_own(struct diff *d, const struct chain *c, int upto)
{
    int r = 0;

    for (int i = 0; i < upto && r == 0; i++)
        r = changes_gather(d->v->store, c->at[i].branch, c->first[i] - 1, c->at[i].layer, &d->c);
    return r;
}

/* Layers between two of one branch. When the later one is no snapshot any more, the index may tell its changes further up. */
static int gather_between(struct diff *d, uint32_t branch, uint32_t x, uint32_t y)
{
    uint32_t from = MIN_OF(x, y), to = MAX_OF(x, y);
    struct txn t;
    int r;

    if (to != LAYER_NOW && to > from) {
        if ((r = txn_begin(d->v->store, TXN_READ, OP_NONE, NULL, &t)) < 0)
            return r;
        to = layer_retained_above(d->v->store, branch, to - 1);
        txn_abort(&t);
    }
    return changes_gather(d->v->store, branch, from, to, &d->c);
}

/* Every key of a state: what is left when the way between two states is gone. */
static int gather_all(struct diff *d, struct vt_at at)
{
    static const uint8_t tabs[] = {TAB_INODE, TAB_DIRENT, TAB_SPAN};
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    struct txn t;
    int r = 0;

    if ((r = txn_begin(d->v->store, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    for (size_t i = 0; i < ARRAY_LEN(tabs) && r == 0; i++) {
        vt_scan_init(&sc, &t, KEEP_PENDING, at, tabs[i], "", 0);
        while ((r = vt_scan_next(&sc, &key, &val)) == 1)
            if (changes_add(&d->c, tabs[i], key) < 0) {
                r = -E_NOMEM;
                break;
            }
    }
    txn_abort(&t);
    return r;
}

static int same_family(struct diff *d)
{
    struct store *s = d->v->store;
    struct branch_rec a, b;
    struct vol *va, *vb;
    struct txn t;
    int r;

    if ((r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    r = branch_get(s, d->a.branch, &a);
    if (r == 0)
        r = branch_get(s, d->b.branch, &b);
    if (r == 0) {
        va = vol_by_id(s, a.vol);
        vb = vol_by_id(s, b.vol);
        if (!va || !vb || !uuid_equal(&va->rec.family, &vb->rec.family))
            r = -E_UNRELATED;
    }
    txn_abort(&t);
    return r;
}

static int chains(struct diff *d, struct chain *a, struct chain *b)
{
    struct txn t;
    int r;

    if ((r = txn_begin(d->v->store, TXN_READ, OP_NONE, NULL, &t)) < 0)
        return r;
    r = chain_of(d->v->store, d->a, a);
    if (r == 0)
        r = chain_of(d->v->store, d->b, b);
    txn_abort(&t);
    return r;
}

int diff_candidates(struct diff *d)
{
    struct chain a, b;
    int r;

    if ((r = same_family(d)) < 0 || (r = chains(d, &a, &b)) < 0)
        return r;
    for (int i = 0; i < a.n; i++)
        for (int k = 0; k < b.n; k++) {
            if (a.at[i].branch != b.at[k].branch)
                continue;
            if ((r = gather_own(d, &a, i)) < 0 || (r = gather_own(d, &b, k)) < 0)
                return r;
            return gather_between(d, a.at[i].branch, a.at[i].layer, b.at[k].layer);
        }
    r = gather_all(d, d->a);
    return r < 0 ? r : gather_all(d, d->b);
}
