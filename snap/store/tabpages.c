#include "snap/store/tabpages.h"

#include <stdlib.h>

#include "snap/store/store_int.h"
#include "snap/store/tabpages_i.h"

struct walk {
    struct tp_file f;
    const struct tabpages_opts *o;
    struct tabpages_result res;
    uint64_t told; /* bytes that were told to progress */
    const struct tp_tree *tree;
    struct tp_tree found; /* as counted */
    bool numbers;
};

static int tell(struct walk *w)
{
    uint64_t n = w->f.bytes - w->told;

    w->told = w->f.bytes;
    return w->o && w->o->progress ? w->o->progress(w->o->arg, n) : 0;
}

static int leaf_walk(struct walk *w, const uint8_t *p, uint64_t page)
{
    struct txn_val val;
    int r = 0;

    for (unsigned i = 0; i < tp_count(p) && r == 0; i++) {
        const uint8_t *v = NULL;
        struct tp_node n;

        tp_node(p, i, &n);
        r = tp_value(&w->f, &n, &v, &w->found.overflows);
        if (r == 0 && w->numbers)
            r = tp_free_list(&w->f, v, n.size, &w->res.free);
        else if (r == 0 && !BROKEN(VARVE_BREAK_page_values) &&
                 envelope_check(&(struct kv_item){n.key.p, n.key.len, v, n.size}, &val) < 0)
            r = tp_damage(&w->f, page, "the checksum of a record on it is wrong");
    }
    w->found.entries += tp_count(p);
    w->found.leaves++;
    return r;
}

static int page_walk(struct walk *w, uint64_t page, unsigned depth, struct tp_key lo, struct tp_key hi)
{
    uint8_t *room = w->f.room + (size_t)depth * w->f.m.psize;
    int r = tp_take(&w->f, page, 1);

    if (r == 0)
        r = tp_page(&w->f, page, room, w->numbers, lo, hi);
    if (r == 0)
        r = tell(w);
    if (r < 0)
        return r;
    w->res.pages++;
    if (tp_is_leaf(room) != (depth + 1 == w->tree->depth))
        return tp_damage(&w->f, page, "it lies at another depth than all others");
    if (tp_is_leaf(room))
        return leaf_walk(w, room, page);
    w->found.branches++;
    for (unsigned i = 0, n = tp_count(room); i < n && r == 0; i++) {
        struct tp_node a, b;

        tp_node(room, i, &a);
        if (i + 1 < n)
            tp_node(room, i + 1, &b);
        r = page_walk(w, a.child, depth + 1, i > 0 ? a.key : lo, i + 1 < n ? b.key : hi);
    }
    return r;
}

static int tree_walk(struct walk *w, const struct tp_tree *t, bool numbers)
{
    const struct tp_key any = {NULL, 0};
    int r = 0;

    w->tree = t;
    w->numbers = numbers;
    w->found = (struct tp_tree){0};
    if (t->root != TP_NONE)
        r = page_walk(w, t->root, 0, any, any);
    if (r < 0)
        return r;
    if (w->found.branches != t->branches || w->found.leaves != t->leaves ||
        w->found.overflows != t->overflows || w->found.entries != t->entries)
        return tp_damage(&w->f, TP_NONE, "a tree has not as many pages and entries as its meta page says");
    return 0;
}

/* What is neither used nor free is where a list has lost a page to damage. */
static int all_accounted(struct walk *w)
{
    for (uint64_t page = 2; page <= w->f.m.last_page; page++)
        if (!tp_taken(&w->f, page) && !BROKEN(VARVE_BREAK_page_lost))
            return tp_damage(&w->f, page, "it is neither used nor free");
    return 0;
}

int tabpages_check(struct io *io, const char *meta, const struct tabpages_opts *o, char why[256],
                   struct tabpages_result *ret)
{
    struct walk w = {.o = o};
    int r;

    why[0] = 0;
    r = tp_open(io, meta, o ? o->txn : 0, &w.f, why);
    if (r == 0)
        r = tree_walk(&w, &w.f.m.free, true);
    if (r == 0)
        r = tree_walk(&w, &w.f.m.main, false);
    if (r == 0)
        r = all_accounted(&w);
    w.res.leaves = w.found.leaves;
    w.res.entries = w.found.entries;
    w.res.bytes = w.f.bytes;
    w.res.txn = w.f.m.txn;
    tp_close(&w.f);
    if (r == 0 && ret)
        *ret = w.res;
    return r;
}
