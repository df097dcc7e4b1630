/* The pages that a writer of LMDB's file is about to touch, proved before it does (F21). */
#include <stdlib.h>

#include "base/hash.h"
#include "snap/store/tabpages_i.h"

struct tabway {
    struct tp_file f;
    struct tp_key hi; /* up to which the last leaf goes; in hi_room */
    bool any;         /* some key was asked for */
    bool last;        /* that leaf was the last one */
    uint64_t free_sum;
    uint8_t hi_room[512];
    uint8_t *side; /* a page beside the way */
};

/* The list of free pages, whole: what it names is written over. */
static int free_walk(struct tabway *w, uint64_t page, unsigned depth, struct tp_key lo, struct tp_key hi)
{
    uint8_t *room = w->f.room + (size_t)depth * w->f.m.psize;
    const uint8_t *v = NULL;
    uint64_t overflows = 0, count = 0;
    int r = tp_take(&w->f, page, 1);

    if (r == 0)
        r = tp_page(&w->f, page, room, true, lo, hi);
    if (r == 0 && tp_is_leaf(room) != (depth + 1 == w->f.m.free.depth))
        r = tp_damage(&w->f, page, "it lies at another depth than all others");
    for (unsigned i = 0, n = r == 0 ? tp_count(room) : 0; i < n && r == 0; i++) {
        struct tp_node a, b;

        tp_node(room, i, &a);
        if (i + 1 < n)
            tp_node(room, i + 1, &b);
        if (!tp_is_leaf(room)) {
            r = free_walk(w, a.child, depth + 1, i > 0 ? a.key : lo, i + 1 < n ? b.key : hi);
            continue;
        }
        r = tp_value(&w->f, &a, &v, &overflows);
        if (r == 0)
            r = tp_free_list(&w->f, v, a.size, &count);
        if (r == 0)
            w->free_sum = hash_sum(hash_sum(w->free_sum, a.key.p, a.key.len), v, a.size);
    }
    return r;
}

int tabway_begin(struct io *io, const char *meta, struct tabway **ret, char why[256])
{
    struct tabway *w = calloc(1, sizeof(*w));
    const struct tp_key any = {NULL, 0};
    int r;

    if (!w)
        return -E_NOMEM;
    why[0] = 0;
    r = tp_open(io, meta, 0, &w->f, why);
    if (r == 0)
        w->side = malloc(w->f.m.psize);
    if (r == 0 && !w->side)
        r = -E_NOMEM;
    if (r == 0 && w->f.m.free.root != TP_NONE)
        r = free_walk(w, w->f.m.free.root, 0, any, any);
    if (r < 0) {
        tabway_end(w);
        return r;
    }
    *ret = w;
    return 0;
}

uint64_t tabway_free_sum(const struct tabway *w)
{
    return w->free_sum;
}

void tabway_end(struct tabway *w)
{
    if (!w)
        return;
    tp_close(&w->f);
    free(w->side);
    free(w);
}

/* The bounds of the i-th child of a branch. */
static void bounds(const uint8_t *p, unsigned i, struct tp_key *lo, struct tp_key *hi)
{
    struct tp_node n;

    if (i > 0) {
        tp_node(p, i, &n);
        *lo = n.key;
    }
    if (i + 1 < tp_count(p)) {
        tp_node(p, i + 1, &n);
        *hi = n.key;
    }
}

static unsigned child_find(const uint8_t *p, struct tp_key key)
{
    unsigned lo = 0, hi = tp_count(p); /* the child is in [lo, hi) */

    while (hi - lo > 1) {
        unsigned mid = (lo + hi) / 2;
        struct tp_node n;

        tp_node(p, mid, &n);
        if (tp_compare(false, n.key, key) <= 0)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* A neighbour: pages that run low are joined with it, or borrow from it. */
static int side_check(struct tabway *w, const uint8_t *p, unsigned i, struct tp_key lo, struct tp_key hi)
{
    struct tp_node n;
    int r;

    tp_node(p, i, &n);
    if (tp_taken(&w->f, n.child))
        return 0;
    bounds(p, i, &lo, &hi);
    r = tp_take(&w->f, n.child, 1);
    return r < 0 ? r : tp_page(&w->f, n.child, w->side, false, lo, hi);
}

/* One step down. The page itself is read again even if it was proved before: it is looked at. */
static int step(struct tabway *w, uint64_t page, unsigned depth, struct tp_key lo, struct tp_key hi)
{
    int r = tp_taken(&w->f, page) ? 0 : tp_take(&w->f, page, 1);

    if (r == 0)
        r = tp_page(&w->f, page, w->f.room + (size_t)depth * w->f.m.psize, false, lo, hi);
    return r;
}

int tabway_key(struct tabway *w, const void *key, size_t klen)
{
    const struct tp_key k = {key, klen};
    struct tp_key lo = {NULL, 0}, hi = {NULL, 0};
    uint64_t page = w->f.m.main.root;
    int r = 0;

    if (page == TP_NONE || (w->any && (w->last || tp_compare(false, k, w->hi) < 0)))
        return 0;
    for (unsigned depth = 0;; depth++) {
        const uint8_t *p = w->f.room + (size_t)depth * w->f.m.psize;
        struct tp_node n;
        unsigned i;

        r = step(w, page, depth, lo, hi);
        if (r == 0 && tp_is_leaf(p) != (depth + 1 == w->f.m.main.depth))
            r = tp_damage(&w->f, page, "it lies at another depth than all others");
        if (r < 0 || tp_is_leaf(p))
            break;
        i = child_find(p, k);
        if (i > 0)
            r = side_check(w, p, i - 1, lo, hi);
        if (r == 0 && i + 1 < tp_count(p))
            r = side_check(w, p, i + 1, lo, hi);
        if (r < 0)
            break;
        tp_node(p, i, &n);
        page = n.child;
        bounds(p, i, &lo, &hi);
    }
    if (r < 0)
        return r;
    w->any = true;
    w->last = !hi.p;
    if (hi.p)
        memcpy(w->hi_room, hi.p, hi.len);
    w->hi = (struct tp_key){w->hi_room, hi.len};
    return 0;
}
