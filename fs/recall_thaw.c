/* Packs in archives that are about to be needed: asked for all at once, and looked after. */
#include <stdlib.h>

#include "base/clock.h"
#include "fs/recall_i.h"
#include "snap/store/cold.h"
#include "tier/thaw.h"

struct side { /* a repository */
    struct side *next;
    struct pool *pool;
    struct repo *repo; /* while ranges are added */
    struct thaw_packs packs;
};
struct recall_thaw {
    struct recall *rc;
    struct side *sides;
    int (*on)(void *arg, uint64_t ready, uint64_t of);
    void *arg;
};

uint64_t recall_archived(struct store *s)
{
    struct recall *rc = recall_of(s);

    return rc ? __atomic_load_n(&rc->archived, __ATOMIC_RELAXED) : 0;
}

int recall_thaw_new(struct store *s, struct recall_thaw **ret)
{
    struct recall_thaw *t = calloc(1, sizeof(*t));

    if (!t)
        return -E_NOMEM;
    t->rc = recall_of(s);
    if (!t->rc) {
        free(t);
        return -E_NOTSUP;
    }
    *ret = t;
    return 0;
}

static int take(struct recall_thaw *t, struct pool *p, struct repo **ret)
{
    return pool_take(t->rc, p, clock_mono_ns() + (int64_t)t->rc->opts.timeout_ms * 1000000, ret, NULL);
}

static void give(struct recall_thaw *t, struct side *d)
{
    if (d->repo)
        pool_give(t->rc, d->pool, TAKE(d->repo));
}

void recall_thaw_free(struct recall_thaw *t)
{
    while (t && t->sides) {
        struct side *d = t->sides;

        t->sides = d->next;
        give(t, d);
        thaw_packs_free(&d->packs);
        free(d);
    }
    free(t);
}

/* --- which ---------------------------------------------------------------------------------------------------------- */

static int side_new(struct recall_thaw *t, struct pool *p, struct side **ret)
{
    struct side *d = calloc(1, sizeof(*d));

    if (!d)
        return -E_NOMEM;
    *d = (struct side){.next = t->sides, .pool = p};
    t->sides = *ret = d;
    return 0;
}

static int side_of(struct recall_thaw *t, struct pool *p, struct side **ret)
{
    struct side *d = t->sides;
    int r = 0;

    while (d && d->pool != p)
        d = d->next;
    if (!d)
        r = side_new(t, p, &d);
    if (r == 0 && !d->repo) {
        r = take(t, p, &d->repo);
        if (r == 0)
            r = repo_sync(d->repo); /* packs are written anew now and then */
    }
    if (r == 0)
        *ret = d;
    return r;
}

int recall_thaw_add(struct recall_thaw *t, const struct cold_range *range)
{
    struct dec d = dec_of(range->ref.p, range->ref.len);
    struct slice s = slice_decode(&d);
    struct side *side = NULL;
    struct from *f;
    int r = d.bad || d.left ? 0 : recall_from_of(t->rc, range->source, &f);

    if (r < 0 || d.bad || d.left) /* of a range that nobody understands its reader is told */
        return r;
    r = side_of(t, f->pool, &side);
    return r < 0 ? r : thaw_packs_add(&side->packs, side->repo, &s.chunk);
}

/* --- until they are there ------------------------------------------------------------------------------------------- */

static int on_each(void *arg, uint64_t ready, uint64_t of)
{
    struct recall_thaw *t = arg;

    ready = of = 0;
    for (struct side *d = t->sides; d; d = d->next) {
        ready += d->packs.ready;
        of += d->packs.of;
    }
    return t->on(t->arg, ready, of);
}

static int look(struct recall_thaw *t, struct side *d, bool ask)
{
    int r = d->packs.names.len && !d->repo ? take(t, d->pool, &d->repo) : 0;

    if (r == 0 && d->packs.names.len)
        r = thaw_packs_look(&d->packs, d->repo, ask, on_each, t);
    give(t, d);
    return r;
}

int recall_thaw_look(struct recall_thaw *t, bool ask, int (*on)(void *arg, uint64_t ready, uint64_t of),
                     void *arg, uint64_t *ret_left)
{
    uint64_t left = 0;
    int r = 0;

    t->on = on;
    t->arg = arg;
    for (struct side *d = t->sides; r == 0 && d; d = d->next) {
        r = look(t, d, ask);
        left += d->packs.names.len / PACK_NAME;
    }
    if (r == 0)
        *ret_left = left;
    return r;
}
