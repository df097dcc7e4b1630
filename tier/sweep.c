#include "tier/sweep.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "snap/store/inode.h"
#include "snap/tier.h"

#define CANDIDATES_MAX (1u << 20) /* of one layer, put in order together */
#define CLOCK_SLACK 60

enum phase { OLD, NEW, QUEUE, ORDERED, OVER };

struct candidate {
    int64_t since_s;
    uint64_t ino;
};

struct sweep {
    struct vol *v;
    struct vt_at rec; /* the snapshot */
    const struct tier_policy *p;
    uint64_t policy;
    bool full;
    int64_t now_s;
    struct idle_walk walk;
    struct idle_sweep state;
    enum phase phase;
    struct idle_item items[IDLE_BATCH]; /* of the index */
    size_t nitems, at;
    struct idle_entry queued[IDLE_BATCH], after; /* of the queue */
    size_t nqueued, qat;
    struct buf dropped; /* struct idle_entry each, which are done with */
    struct buf ordered; /* struct candidate each: room is wanted */
    size_t next;
    struct idle_place end; /* of the layer that is in ordered; becomes state.aged when all of it was given */
    bool last;             /* the queue behind the last layer is in ordered */
    struct sweep_counts counts;
};

int sweep_begin(struct vol *v, const struct layer_rec *rec, const struct tier_policy *p, uint64_t policy,
                bool full, int64_t now_s, struct sweep **ret)
{
    struct sweep *sw = calloc(1, sizeof(*sw));
    int r = sw ? idle_flush_vol(v) : -E_NOMEM;

    if (r == 0)
        r = idle_went_back(v, now_s);
    if (r == 0)
        r = idle_walk_begin(v, rec->branch, rec->layer, &sw->walk);
    if (r == 0 && policy)
        r = idle_sweep_get(v, policy, &sw->state);
    if (r < 0) {
        free(sw);
        return r;
    }
    sw->v = v;
    sw->rec = (struct vt_at){rec->branch, rec->layer};
    sw->p = p;
    sw->policy = policy;
    sw->full = full;
    sw->now_s = now_s;
    sw->phase = full ? ORDERED : p->what == TIER_COLD && p->after_s ? OLD : NEW;
    if (p->what == TIER_NOTHING || p->what == TIER_REPLACED || (!full && p->what == TIER_COLD && !p->after_s))
        sw->phase = OVER;
    *ret = sw;
    return 0;
}

/* --- one file -------------------------------------------------------------------------------------------------------- */

static int matches(struct txn *t, const struct sweep *sw, uint64_t ino)
{
    cleanup(buf_free) struct buf path = {0};
    int r = sw->p->pattern && *sw->p->pattern ? tier_path(t, vol_now(sw->v), ino, &path) : 1;

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    return r == 1 || (buf_cstr(&path) && tier_matches(sw->p->pattern, buf_cstr(&path)));
}

static int facts(struct txn *t, struct sweep *sw, uint64_t ino, struct tier_facts *f)
{
    struct inode in;
    int r = inode_get(t, vol_now(sw->v), ino, &in);

    *f = (struct tier_facts){.gone = r == -E_NOENT};
    if (f->gone) /* does the snapshot have it? */
        r = inode_get(t, sw->rec, ino, &in);
    if (r < 0) {
        f->other = r == -E_NOENT;
        return f->other ? 0 : r;
    }
    f->other = !S_ISREG(in.mode) || (in.flags & INODE_INLINE);
    f->size = in.size;
    f->mtime_s = in.mtime.tv_sec;
    f->atime_s = in.atime.tv_sec;
    return f->other || f->gone ? 0 : idle_stamp(t, sw->v->rec.id, ino, &f->read_s);
}

/* What the policy says of it now; since: when it was asked for last. */
static int judge(struct sweep *sw, uint64_t ino, enum tier_verdict *ret, struct tier_facts *f)
{
    int64_t due_s;
    struct txn t;
    int r = txn_begin(sw->v->store, TXN_READ, OP_NONE, sw->v, &t);

    if (r < 0)
        return r;
    sw->counts.looked++;
    r = facts(&t, sw, ino, f);
    if (r == 0)
        *ret = tier_decide(sw->p, f, sw->full, sw->now_s, &due_s);
    if (r == 0 && *ret != TIER_STAYS && !f->gone) {
        r = matches(&t, sw, ino);
        *ret = r == 0 ? TIER_STAYS : *ret;
    }
    txn_abort(&t);
    return r < 0 ? r : 0;
}

/* --- by age ------------------------------------------------------------------------------------------------------------- */

/* A young file comes again with a later layer, or in the queue, if it was changed or read; its own times may say more than these. */
static int young(struct sweep *sw, const struct idle_item *it, const struct tier_facts *f)
{
    bool ahead = f->mtime_s > sw->now_s || f->atime_s > sw->now_s || it->sealed_s > sw->now_s + CLOCK_SLACK;

    return ahead && !f->read_s ? idle_later(sw->v, it->at.ino, tier_idle_since(sw->p, f, sw->now_s)) : 0;
}

/* 1: one is found; 0: none are left in this phase. */
static int from_index(struct sweep *sw, struct idle_place *place, int64_t until_s, uint64_t *ret)
{
    for (;;) {
        struct tier_facts f;
        enum tier_verdict v;
        int r = 0;

        if (sw->at == sw->nitems) {
            sw->at = 0;
            r = idle_walk_next(&sw->walk, place, until_s, sw->items, &sw->nitems);
            if (r < 0 || sw->nitems == 0)
                return r;
        }
        *ret = sw->items[sw->at].at.ino;
        r = judge(sw, *ret, &v, &f);
        if (r == 0 && v == TIER_YOUNG)
            r = young(sw, &sw->items[sw->at], &f);
        sw->at++;
        if (r < 0 || v == TIER_RELEASE)
            return r < 0 ? r : 1;
    }
}

static int queue_fill(struct sweep *sw, int64_t until_s)
{
    sw->qat = 0;
    return idle_queue(sw->v, &sw->after, until_s, sw->queued, &sw->nqueued, &sw->counts.looked);
}

static int from_queue(struct sweep *sw, uint64_t *ret)
{
    for (;;) {
        struct idle_entry *e;
        struct tier_facts f;
        enum tier_verdict v;
        int r = 0;

        if (sw->qat == sw->nqueued) {
            r = queue_fill(sw, sw->now_s - sw->p->after_s);
            if (r < 0 || sw->nqueued == 0)
                return r;
        }
        e = &sw->queued[sw->qat++];
        *ret = e->ino;
        r = judge(sw, *ret, &v, &f);
        if (r == 0 &&
            v !=
                TIER_YOUNG) /* a young one was changed: its layer is looked at when it is old; until then it stays */
            r = buf_add(&sw->dropped, e, sizeof(*e));
        else if (r == 0)
            r = idle_later(sw->v, *ret, tier_idle_since(sw->p, &f, sw->now_s));
        if (r < 0 || v == TIER_RELEASE)
            return r < 0 ? r : 1;
    }
}

static int next_aged(struct sweep *sw, uint64_t *ret)
{
    int r = 0;

    if (sw->phase == OLD) {
        r = from_index(sw, &sw->state.aged, sw->now_s - sw->p->after_s, ret);
        if (r != 0)
            return r;
        sw->phase = NEW;
        if (idle_before(&sw->walk, &sw->state.seen, &sw->state.aged))
            sw->state.seen = sw->state.aged;
    }
    if (sw->phase == NEW) {
        r = from_index(sw, &sw->state.seen, INT64_MAX, ret);
        if (r != 0)
            return r;
        sw->phase = sw->p->what == TIER_COLD || sw->p->what == TIER_ALL ? QUEUE : OVER;
    }
    if (sw->phase == QUEUE && (r = from_queue(sw, ret)) == 0)
        sw->phase = OVER;
    return r;
}

/* --- room is wanted ------------------------------------------------------------------------------------------------------- */

static int consider(struct sweep *sw, uint64_t ino, int64_t until_s)
{
    struct candidate c = {.ino = ino};
    enum tier_verdict v;
    struct tier_facts f;
    int r = judge(sw, ino, &v, &f);

    if (r < 0 || v != TIER_RELEASE)
        return r;
    c.since_s = f.gone ? 0 : tier_idle_since(sw->p, &f, sw->now_s);
    if (c.since_s > until_s) /* it comes again, with a later layer or in the queue */
        return 0;
    return buf_add(&sw->ordered, &c, sizeof(c));
}

static int oldest_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->since_s != y->since_s)
        return x->since_s < y->since_s ? -1 : 1;
    return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Those of the queue whose turn was before a layer was sealed; of the last layer all. */
static int consider_queue(struct sweep *sw, int64_t until_s)
{
    int r = 0;

    while (r == 0 && (r = queue_fill(sw, until_s)) == 0 && sw->nqueued > 0)
        for (size_t i = 0; i < sw->nqueued && r == 0; i++)
            r = consider(sw, sw->queued[i].ino, INT64_MAX);
    return r;
}

/* The next layer, all of it, or as much as can be put in order at once. 0: there is none. */
static int layer_load(struct sweep *sw)
{
    struct idle_place p = sw->end;
    uint32_t branch = 0, layer = 0;
    int64_t sealed_s = INT64_MAX;
    int r = 0;

    while (sw->ordered.len < CANDIDATES_MAX * sizeof(struct candidate)) {
        size_t i = 0;

        r = idle_walk_next(&sw->walk, &p, INT64_MAX, sw->items, &sw->nitems);
        for (; r == 0 && i < sw->nitems; i++) {
            const struct idle_item *it = &sw->items[i];

            if (layer && (it->at.layer != layer || it->at.branch != branch))
                break;
            branch = it->at.branch;
            layer = it->at.layer;
            sealed_s = it->sealed_s;
            sw->end = it->at;
            r = consider(sw, it->at.ino, sealed_s);
        }
        if (r < 0 || sw->nitems == 0 || i < sw->nitems)
            break;
    }
    if (r == 0)
        r = consider_queue(sw, layer ? sealed_s : INT64_MAX);
    sw->last = !layer;
    return r < 0 ? r : layer != 0;
}

static int next_ordered(struct sweep *sw, uint64_t *ret)
{
    struct candidate c;
    int r;

    while (sw->next * sizeof(c) == sw->ordered.len) {
        if (sw->last)
            return 0;
        sw->state.aged = sw->end;
        sw->ordered.len = sw->next = 0;
        r = layer_load(sw);
        if (r < 0)
            return r;
        if (sw->ordered.len)
            qsort(sw->ordered.data, sw->ordered.len / sizeof(c), sizeof(c), oldest_first);
    }
    memcpy(&c, sw->ordered.data + sw->next++ * sizeof(c), sizeof(c));
    *ret = c.ino;
    return 1;
}

/* ----------------------------------------------------------------------------------------------------------------------- */

int sweep_next(void *arg, uint64_t *ret)
{
    struct sweep *sw = arg;
    int r = 0;

    if (sw->phase == ORDERED && !sw->end.branch && !sw->next)
        sw->end = sw->state.aged;
    if (sw->phase == ORDERED)
        r = next_ordered(sw, ret);
    else if (sw->phase != OVER)
        r = next_aged(sw, ret);
    sw->counts.given += r == 1;
    return r;
}

void sweep_get_counts(const struct sweep *sw, struct sweep_counts *ret)
{
    *ret = sw->counts;
    ret->looked += sw->walk.looked;
}

uint32_t sweep_replaced(const struct sweep *sw)
{
    return sw->state.replaced;
}

void sweep_set_replaced(struct sweep *sw, uint32_t layer)
{
    sw->state.replaced = layer;
}

int sweep_end(struct sweep *sw, bool done)
{
    const struct idle_entry *e = (const struct idle_entry *)(const void *)sw->dropped.data;
    size_t n = sw->dropped.len / sizeof(*e);
    int r = 0;

    for (size_t at = 0; done && r == 0 && at < n; at += IDLE_BATCH)
        r = idle_drop(sw->v, e + at, MIN_OF(n - at, (size_t)IDLE_BATCH));
    if (done && r == 0 && sw->policy)
        r = idle_sweep_put(sw->v, sw->policy, &sw->state);
    buf_free(&sw->dropped);
    buf_free(&sw->ordered);
    free(sw);
    return r;
}
