#include "snap/store/tabpages.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "snap/store/store_int.h"
#include "snap/store/tabpages_i.h"

#define SHARES_MAX 4u
#define AHEAD_BYTES (8u << 20)
#define TURN                                                                                                 \
    16u /* lowest branches at a time: what is read by one lies together where it was written together */

/* One of those who walk a tree together. All of them prove the branches above; the lowest branches, with what lies below them, are
 * taken in turns. */
struct share {
    struct tp_file f;
    const struct tabpages_opts *o;
    struct tabpages_result res;
    uint64_t told; /* bytes that were told to progress */
    const struct tp_tree *tree;
    struct tp_tree found; /* as counted */
    bool numbers;
    bool helps;                  /* what all of them prove is counted by another */
    uint64_t *turns;             /* given so far; NULL: there is one share only */
    uint64_t lowest, turn_begin; /* lowest branches met so far; the first one of the turn */
    pthread_t thread;
    int result;
    char why[256];
};

static int tell(struct share *w)
{
    uint64_t n = w->f.bytes - w->told;

    w->told = w->f.bytes;
    return w->o && w->o->progress ? w->o->progress(w->o->arg, n) : 0;
}

static int leaf_walk(struct share *w, const uint8_t *p, uint64_t page)
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
                 envelope_check(&(struct kv_item){n.key.p, n.key.len, v, n.size, true}, &val) < 0)
            r = tp_damage(&w->f, page, "the checksum of a record on it is wrong");
    }
    w->found.entries += tp_count(p);
    w->found.leaves++;
    return r;
}

static void turn_take(struct share *w)
{
    w->turn_begin = TURN * __atomic_fetch_add(w->turns, 1, __ATOMIC_RELAXED);
}

/* Of each lowest branch, in order: is it this share's? */
static bool my_turn(struct share *w)
{
    uint64_t at = w->lowest++;

    if (!w->turns)
        return true;
    if (at == w->turn_begin + TURN)
        turn_take(w);
    return at >= w->turn_begin;
}

/* A page as its parent names it: the i-th of branch; NULL: the root. */
struct place {
    const uint8_t *branch;
    unsigned i, depth;
    uint64_t page;
    struct tp_key lo, hi;
};

static int page_get(struct share *w, const struct place *at, const uint8_t **ret)
{
    uint8_t *room = w->f.room + (size_t)at->depth * w->f.m.psize;
    bool leaf = at->depth + 1 == w->tree->depth;
    const uint8_t *p = room;
    int r;

    if (leaf && at->branch) {
        r = tp_run(&w->f, at->branch, at->i, &p);
        if (r == 0)
            r = tp_prove(&w->f, at->page, p, w->numbers, at->lo, at->hi);
    } else {
        r = tp_page(&w->f, at->page, room, w->numbers, at->lo, at->hi);
    }
    if (r == 0)
        r = tell(w);
    if (r == 0 && tp_is_leaf(p) != leaf)
        r = tp_damage(&w->f, at->page, "it lies at another depth than all others");
    *ret = p;
    return r;
}

static int page_walk(struct share *w, const struct place *at)
{
    unsigned height = w->tree->depth - at->depth;
    bool counts = height <= 2 || !w->helps;
    const uint8_t *p = NULL;
    int r;

    if (height == 2 && !my_turn(w))
        return 0;
    r = counts ? tp_take(&w->f, at->page, 1) : 0;
    if (r == 0)
        r = page_get(w, at, &p);
    if (r < 0)
        return r;
    w->res.pages += counts;
    if (tp_is_leaf(p))
        return leaf_walk(w, p, at->page);
    w->found.branches += counts;
    for (unsigned i = 0, n = tp_count(p); i < n && r == 0; i++) {
        struct tp_node a, b;

        tp_node(p, i, &a);
        if (i + 1 < n)
            tp_node(p, i + 1, &b);
        r = page_walk(w, &(struct place){p, i, at->depth + 1, a.child, i > 0 ? a.key : at->lo,
                                         i + 1 < n ? b.key : at->hi});
    }
    return r;
}

static void *share_walk(void *arg)
{
    struct share *w = arg;

    w->found = (struct tp_tree){0};
    if (!BROKEN(VARVE_BREAK_page_turns))
        w->lowest = 0; /* of this tree: the list of free pages was walked before it */
    w->result = 0;
    if (w->turns)
        turn_take(w);
    if (w->tree->root != TP_NONE)
        w->result = page_walk(w, &(struct place){.page = w->tree->root});
    return NULL;
}

static int counts_agree(struct share *w)
{
    const struct tp_tree *t = w->tree;

    if (w->found.branches != t->branches || w->found.leaves != t->leaves ||
        w->found.overflows != t->overflows || w->found.entries != t->entries)
        return tp_damage(&w->f, TP_NONE, "a tree has not as many pages and entries as its meta page says");
    return 0;
}

static int tree_walk(struct share *w, const struct tp_tree *t, bool numbers)
{
    w->tree = t;
    w->numbers = numbers;
    share_walk(w);
    return w->result < 0 ? w->result : counts_agree(w);
}

/* What another share has found; of several that found damage the one that found it first in the tree is told of. */
static void share_add(struct share *w, const struct share *other)
{
    w->res.pages += other->res.pages;
    w->f.bytes += other->f.bytes;
    w->found.branches += other->found.branches;
    w->found.leaves += other->found.leaves;
    w->found.overflows += other->found.overflows;
    w->found.entries += other->found.entries;
    if (other->result < 0 && (w->result == 0 || other->lowest < w->lowest)) {
        w->result = other->result;
        w->lowest = other->lowest;
        memcpy(w->f.why, other->why, sizeof(other->why));
    }
}

static unsigned helpers_for(const struct share *w)
{
    uint64_t from = w->o && w->o->shared ? w->o->shared : TABPAGES_SHARED;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (w->f.m.main.leaves < from || (w->o && (w->o->alone || w->o->progress)))
        return 0;
    return cores < 2 ? 0 : (unsigned)MIN_OF(cores, (long)SHARES_MAX) - 1;
}

/* As tree_walk, with other threads. What a thread that is not to be had would have done falls to the rest. */
static int tree_walk_shared(struct share *w, const struct tp_tree *t, unsigned nhelpers)
{
    struct share *help = calloc(nhelpers, sizeof(*help));
    uint64_t turns = 0;
    unsigned n = 0;

    if (!help)
        return -E_NOMEM;
    w->tree = t;
    w->numbers = false;
    w->turns = &turns;
    for (; n < nhelpers; n++) {
        help[n] = (struct share){.tree = t, .turns = &turns, .helps = true};
        if (tp_share(&w->f, &help[n].f, help[n].why) < 0 ||
            pthread_create(&help[n].thread, NULL, share_walk, &help[n]) != 0) {
            tp_close(&help[n].f);
            break;
        }
    }
    share_walk(w);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(help[i].thread, NULL);
        share_add(w, &help[i]);
        tp_close(&help[i].f);
    }
    free(help);
    return w->result < 0 ? w->result : counts_agree(w);
}

/* What is neither used nor free is where a list has lost a page to damage. */
static int all_accounted(struct share *w)
{
    for (uint64_t page = 2; page <= w->f.m.last_page; page++)
        if (!tp_taken(&w->f, page) && !BROKEN(VARVE_BREAK_page_lost))
            return tp_damage(&w->f, page, "it is neither used nor free");
    return 0;
}

/* The file from its beginning to its end, before those who prove it ask for its pages: a tree that grew a little in many places lies
 * all over the file, and each of its ranges would wait for the disk anew. */
struct ahead {
    struct io_range what[TABPAGES_FIRST_MAX + 1];
    unsigned n;
    bool stop; /* atomic */
    bool runs;
    pthread_t thread;
};

/* The whole look, from its beginning to its end. */
struct tabpages {
    struct share w;
    struct tabpages_opts o;
    unsigned helpers;
    int result;
    bool behind;
    pthread_t thread;
    struct ahead ahead;
    char why[256];
};

static void *ahead_main(void *arg)
{
    struct ahead *a = arg;

    for (const struct io_range *r = a->what; r < a->what + a->n; r++)
        for (uint64_t at = 0; at < r->len && !__atomic_load_n(&a->stop, __ATOMIC_RELAXED); at += AHEAD_BYTES)
            io_ahead(r->fd, r->off + at, MIN_OF((uint64_t)AHEAD_BYTES, r->len - at));
    return NULL;
}

void tabpages_ahead(struct tabpages *tp, const struct io_range *first, unsigned n)
{
    uint64_t room = (uint64_t)sysconf(_SC_PHYS_PAGES) / 4 * (uint64_t)sysconf(_SC_PAGESIZE), all = 0;
    const struct tp_file *f = &tp->w.f;
    struct ahead *a = &tp->ahead;

    assert(n <= TABPAGES_FIRST_MAX);
    assert(a->n == 0);
    if (tp->helpers == 0)
        return;
    if (n > 0)
        memcpy(a->what, first, n * sizeof(*first));
    a->n = n + 1;
    a->what[n] = (struct io_range){f->fd, 0, (f->m.last_page + 1) * f->m.psize};
    for (unsigned i = 0; i < a->n; i++)
        all += a->what[i].len;
    /* not where memory would not hold all of it beside other things */
    a->runs = all <= room && pthread_create(&a->thread, NULL, ahead_main, a) == 0;
}

static void ahead_end(struct ahead *a)
{
    __atomic_store_n(&a->stop, true, __ATOMIC_RELAXED);
    if (a->runs)
        pthread_join(a->thread, NULL);
}

static void *main_walk(void *arg)
{
    struct tabpages *tp = arg;
    struct share *w = &tp->w;

    tp->result =
        tp->helpers ? tree_walk_shared(w, &w->f.m.main, tp->helpers) : tree_walk(w, &w->f.m.main, false);
    if (tp->result == 0)
        tp->result = all_accounted(w);
    return NULL;
}

int tabpages_begin(struct io *io, const char *meta, const struct tabpages_opts *o, struct tabpages **ret,
                   char why[256])
{
    struct tabpages *tp = calloc(1, sizeof(*tp));
    int r;

    why[0] = 0;
    if (!tp)
        return -E_NOMEM;
    if (o)
        tp->o = *o;
    tp->w.o = &tp->o;
    r = tp_open(io, meta, tp->o.txn, &tp->w.f, tp->why);
    if (r == 0)
        r = tree_walk(&tp->w, &tp->w.f.m.free, true);
    if (r < 0) {
        memcpy(why, tp->why, sizeof(tp->why));
        tp_close(&tp->w.f);
        free(tp);
        return r;
    }
    tp->helpers = helpers_for(&tp->w);
    tp->behind = tp->helpers && pthread_create(&tp->thread, NULL, main_walk, tp) == 0;
    *ret = tp;
    return 0;
}

int tabpages_end(struct tabpages *tp, char why[256], struct tabpages_result *ret)
{
    int r;

    if (tp->behind)
        pthread_join(tp->thread, NULL);
    else
        main_walk(tp);
    ahead_end(&tp->ahead);
    r = tp->result;
    memcpy(why, tp->why, sizeof(tp->why));
    tp->w.res.leaves = tp->w.found.leaves;
    tp->w.res.entries = tp->w.found.entries;
    tp->w.res.bytes = tp->w.f.bytes;
    tp->w.res.txn = tp->w.f.m.txn;
    if (r == 0 && ret)
        *ret = tp->w.res;
    tp_close(&tp->w.f);
    free(tp);
    return r;
}

int tabpages_check(struct io *io, const char *meta, const struct tabpages_opts *o, char why[256],
                   struct tabpages_result *ret)
{
    struct tabpages *tp;
    int r = tabpages_begin(io, meta, o, &tp, why);

    if (r < 0)
        return r;
    tabpages_ahead(tp, NULL, 0);
    return tabpages_end(tp, why, ret);
}
