/* What was changed, in the order of layers: the index of what was touched, along the way from the first branch to the present one. */
#include "snap/idle.h"

#include "snap/layer.h"
#include "snap/store/record.h"

int idle_walk_begin(struct vol *v, uint32_t branch, uint32_t layer, struct idle_walk *ret)
{
    struct branch_rec b;
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    *ret = (struct idle_walk){.v = v};
    for (bool more = true; r == 0 && more;) {
        r = ret->n == IDLE_STEPS ? -E_CORRUPT : branch_get(v->store, branch, &b);
        if (r < 0)
            break;
        memmove(ret->steps + 1, ret->steps, ret->n * sizeof(ret->steps[0]));
        ret->steps[0].branch = branch;
        ret->steps[0].vol = b.vol;
        ret->steps[0].to = layer;
        ret->n++;
        more = b.parent && !(b.flags & BRANCH_FLATTENED);
        branch = b.parent;
        layer = b.parent_layer;
    }
    txn_abort(&t);
    return r;
}

static size_t step_of(const struct idle_walk *w, uint32_t branch)
{
    size_t i = 0;

    while (i < w->n && w->steps[i].branch != branch)
        i++;
    return i;
}

bool idle_on_way(const struct idle_walk *w, uint32_t branch, uint32_t layer)
{
    size_t i = step_of(w, branch);

    return i < w->n && layer <= w->steps[i].to;
}

bool idle_before(const struct idle_walk *w, const struct idle_place *a, const struct idle_place *b)
{
    size_t x = step_of(w, a->branch), y = step_of(w, b->branch);

    if (x == w->n || y == w->n)
        return x == w->n && y < w->n;
    if (x != y)
        return x < y;
    return a->layer != b->layer ? a->layer < b->layer : a->ino < b->ino;
}

/* The first snapshot that shows a layer of the step, whoever may still see it. */
struct seal {
    uint32_t branch;
    int64_t taken_ns;
};

static int see_layer(void *arg, const struct layer *l)
{
    struct seal *s = arg;

    if (l->rec.branch != s->branch)
        return 0;
    s->taken_ns = l->rec.taken_ns;
    return 1;
}

/* When layer L of a step had become a snapshot: of those that are known the first that holds it, so never too early. */
static int sealed(struct idle_walk *w, struct txn *t, size_t step, uint32_t layer, int64_t *ret_s)
{
    struct seal s = {.branch = w->steps[step].branch, .taken_ns = INT64_MAX};
    int r = layer_each_from(t, w->steps[step].vol, layer, see_layer, &s);

    *ret_s = s.taken_ns / 1000000000;
    return r < 0 ? r : 0;
}

/* The next key of inodes in the step's index at or behind (layer, ino). -E_NOENT. */
static int touched_ge(struct idle_walk *w, struct txn *t, size_t step, struct idle_place *p)
{
    uint8_t k[KEY_SIZE_MAX], ino[8];
    const uint8_t *key;
    struct txn_val val;
    size_t n, klen;
    int r;

    for (;;) {
        put_be64(ino, p->ino);
        n = key_touched(k, w->steps[step].branch, p->layer, TAB_INODE, ino, sizeof(ino));
        r = txn_ge(t, KEEP_PENDING, k, n, 5, &key, &klen, &val);
        if (r == 0 && (klen < 10 || (key[9] == TAB_INODE && klen < 18)))
            r = -E_CORRUPT;
        if (r == 0)
            w->looked++;
        if (r < 0 || get_be32(key + 5) > w->steps[step].to)
            return r < 0 ? r : -E_NOENT;
        if (key[9] == TAB_INODE)
            break;
        p->layer = get_be32(key + 5) + (key[9] > TAB_INODE);
        p->ino = 0;
    }
    *p = (struct idle_place){w->steps[step].branch, get_be32(key + 5), get_be64(key + 10)};
    return 0;
}

static int next_in(struct idle_walk *w, struct txn *t, struct idle_place *p, int64_t until_s,
                   struct idle_item ret[IDLE_BATCH], size_t *ret_n)
{
    size_t step = step_of(w, p->branch), n = 0;
    struct idle_place at = *p;
    int64_t when = 0;
    int r = 0;

    if (step == w->n) {
        step = 0;
        at = (struct idle_place){.layer = 0};
    }
    at.ino++;
    while (n < IDLE_BATCH && step < w->n) {
        uint32_t layer = at.layer;

        r = touched_ge(w, t, step, &at);
        if (r == -E_NOENT) {
            step++;
            at = (struct idle_place){.ino = 1};
            when = 0;
            continue;
        }
        if (r == 0 && (when == 0 || layer != at.layer))
            r = sealed(w, t, step, at.layer, &when);
        if (r < 0 || when > until_s)
            break;
        ret[n++] = (struct idle_item){at, when};
        *p = at;
        at.ino++;
    }
    *ret_n = n;
    return r == -E_NOENT ? 0 : r;
}

int idle_walk_next(struct idle_walk *w, struct idle_place *p, int64_t until_s,
                   struct idle_item ret[IDLE_BATCH], size_t *ret_n)
{
    struct txn t;
    int r = txn_begin(w->v->store, TXN_READ, OP_NONE, w->v, &t);

    if (r < 0)
        return r;
    r = next_in(w, &t, p, until_s, ret, ret_n);
    txn_abort(&t);
    return r;
}
