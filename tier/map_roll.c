/* The map of a file with many extents. Its oldest run is the base. What a backup pushes is a run over it, and stays one until it has been laid
 * over the base everywhere: each push does that for a part of the file, goes on where the last one ended, and begins anew at
 * the end. So a push reads and writes a part of the map, and never all of it. Runs go in the order in which they came: what lies
 * over the base is always the last of all that was pushed, without a gap, and says of a block the same as the base or something newer. */
#include "base/mark.h"
#include "tier/map_cursor.h"
#include "tier/map_i.h"
#include "tier/map_use.h"
#include "tier/tree_cursor.h"

/* Extents of the base that are gone through for each one that is pushed: where a push brings few, and where it brings many. In between
 * a round through the file takes so many pushes. */
#define WORK_FEW 4u
#define WORK_MANY 2u
#define PUSHES 48u
#define SHORT_RUN 128u /* a run of less than this part of the base is merged with its like */
#define STEPS_MAX 64u  /* extents of the base that are gone through rather than looked for from the root */

/* --- the base, as it becomes ------------------------------------------------------------------------------------------ */

struct base {
    const struct map_pushing *p;
    uint32_t run;
    uint64_t n;    /* its extents */
    uint64_t puts; /* of this push */
    struct tree_cursor c;
    struct extent now;
    bool has, recorded; /* is there an extent; is it what its record says */
    struct map_uses uses;
};

static int put(struct base *b, const struct extent *x)
{
    int r = extent_put(b->p->e, b->p->ino, b->run, x);

    return r < 0 ? r : map_put_some(b->p, ++b->puts);
}

/* What was cut off gets a record of its own before it is left. */
static int settle(struct base *b)
{
    if (!b->has || b->recorded || BROKEN(VARVE_BREAK_roll_rest))
        return 0;
    b->recorded = true;
    b->n++;
    return put(b, &b->now);
}

static int next(struct base *b)
{
    struct tree_rec rec;
    uint32_t run;
    bool had = b->has;
    uint64_t end;
    int r = settle(b);

    b->has = false;
    if (r == 0)
        r = tree_cursor_next(&b->c, &rec);
    if (r <= 0)
        return r;
    b->has = b->recorded = true;
    end = extent_end(&b->now);
    r = extent_decode(rec.key, rec.klen, rec.val, rec.vlen, &b->now, &run);
    return r < 0 ? r : had && b->now.block < end ? -E_CORRUPT : 0;
}

static int seek(struct base *b, uint64_t block)
{
    struct tree_key prefix = run_key(b->p->ino, b->run), first = extent_key(b->p->ino, b->run, block);
    int r = settle(b);

    b->has = false;
    tree_cursor_close(&b->c);
    if (r == 0)
        r = tree_cursor_before(&b->c, b->p->r, b->p->t, &prefix, &first);
    return r < 0 ? r : next(b);
}

/* On the first extent that ends behind block. */
static int reach(struct base *b, uint64_t block)
{
    int r = 0;

    for (unsigned steps = 0; r == 0 && b->has && extent_end(&b->now) <= block; steps++)
        r = steps == STEPS_MAX ? seek(b, block) : next(b);
    return r;
}

static bool same(const struct base *b, const struct extent *x)
{
    struct extent part;

    if (!b->has || b->now.kind != x->kind || b->now.block > x->block || extent_end(&b->now) < extent_end(x))
        return false;
    part = extent_cut(&b->now, x->block, extent_end(x));
    return part.kind == x->kind && (x->kind != EXTENT_SLICE || memcmp(&part.s, &x->s, sizeof(part.s)) == 0);
}

/* The part of what is there now that x, which begins before its end, takes. */
static int take(struct base *b, const struct extent *x)
{
    uint64_t from = MAX_OF(b->now.block, x->block), to = MIN_OF(extent_end(&b->now), extent_end(x));
    struct extent gone = extent_cut(&b->now, from, to), all = b->now;
    int r;

    r = map_uses_at(&b->uses, from);
    if (r < 0)
        return r;
    map_uses_less(&b->uses, &gone);
    if (all.block < from) {
        b->now = extent_cut(&all, all.block, from);
        b->n -= b->recorded;
        b->recorded = false;
        r = settle(b);
    } else if (b->recorded) {
        struct tree_key k = extent_key(b->p->ino, b->run, all.block);

        b->n--;
        r = all.block == x->block ? 0 : edits_remove(b->p->e, &k);
        if (r == 0)
            r = map_put_some(b->p, ++b->puts);
    }
    if (extent_end(&all) <= to) {
        b->recorded = true;
        return r < 0 ? r : next(b);
    }
    b->now = extent_cut(&all, to, extent_end(&all));
    b->recorded = false;
    return r;
}

static int lay(struct base *b, const struct extent *x)
{
    int r = reach(b, x->block);

    if (r < 0 || same(b, x))
        return r;
    r = map_uses_at(&b->uses, x->block);
    while (r == 0 && b->has && b->now.block < extent_end(x))
        r = take(b, x);
    if (r == 0)
        r = map_uses_more(&b->uses, x);
    b->n++;
    return r < 0 ? r : put(b, x);
}

static int base_end(struct base *b, int r)
{
    if (r == 0)
        r = settle(b);
    tree_cursor_close(&b->c);
    return map_uses_end(&b->uses, r);
}

/* --- a part ----------------------------------------------------------------------------------------------------------- */

void map_part(const struct map_state *s, uint64_t blocks, uint64_t n, uint64_t *from, uint64_t *to)
{
    uint64_t base = s->n ? MAX_OF(s->v[0].n, (uint64_t)1) : 1;
    double step;

    *from = *to = 0;
    if (!s->rolling)
        return;
    step = (double)n / (double)base;
    step = MIN_OF(MAX_OF(1.0 / PUSHES, WORK_MANY * step), WORK_FEW * step);
    *from = s->v[0].at.block;
    *to = *from + (uint64_t)((double)blocks * MIN_OF(step, 1.0)) + 1;
    if (*to < *from || *to >= blocks)
        *to = UINT64_MAX;
    if (s->n + 4 >= MAP_RUNS_MAX || s->v[s->n - 1].number == UINT32_MAX || BROKEN(VARVE_BREAK_roll_whole)) {
        MARK("map: all of it is laid over the base");
        *from = 0;
        *to = UINT64_MAX;
    }
}

/* Extents that a push lays at most: where they lie close together in a file that is long, a part has as many as all of it. */
static uint64_t quota_of(const struct map_state *s, const struct extents *top)
{
    uint64_t over = s->total - MIN_OF(s->total, s->v[0].n) + top->n;

    return WORK_FEW * (over / PUSHES + top->n);
}

/* Slices are short; zeros may be as long as the file. */
static void cut_at(struct extent *x, uint64_t to)
{
    if (x->kind != EXTENT_SLICE && extent_end(x) > to)
        *x = extent_cut(x, x->block, to);
}

/* All runs and top over the base in blocks [from, *to); *to: where it ended. *n: the base's extents. */
static int lay_part(const struct map_pushing *p, const struct map_state *s, const struct extents *top,
                    uint64_t from, uint64_t *to, uint64_t *n)
{
    struct base b = {.p = p, .run = s->v[0].number, .n = *n, .uses = {.p = p, .base = s->v[0].number}};
    uint64_t left = from == 0 && *to == UINT64_MAX ? UINT64_MAX : quota_of(s, top);
    struct map_cursor m;
    struct extent x;
    int r = map_cursor_part(&m, p->r, p->t, p->ino, s->v + 1, s->n - 1, from, top);

    if (r < 0)
        return r;
    r = map_cursor_next(&m, &x);
    if (r == 1 && (r = seek(&b, x.block)) == 0)
        r = 1;
    for (; r == 1 && x.block < *to; left--) {
        if (left == 0) {
            MARK("map: a part ends early");
            *to = x.block;
            break;
        }
        cut_at(&x, *to);
        if ((r = lay(&b, &x)) == 0)
            r = map_cursor_next(&m, &x);
    }
    map_cursor_close(&m);
    r = base_end(&b, MIN_OF(r, 0));
    *n = b.n;
    return r;
}

/* --- runs ------------------------------------------------------------------------------------------------------------- */

/* Has the whole file been gone through since the run was pushed? */
static bool passed(const struct map_front *at, const struct map_run *run)
{
    uint32_t rounds = at->round - run->at.round;

    return rounds > 1 || (rounds == 1 && at->block >= run->at.block);
}

static int drop_passed(const struct map_pushing *p, struct map_state *s, const struct map_front *at)
{
    size_t n = 1;
    int r = 0;

    while (r == 0 && n < s->n && (passed(at, &s->v[n]) || BROKEN(VARVE_BREAK_roll_early)))
        r = map_run_remove(p->e, p->ino, s->v[n++].number);
    memmove(s->v + 1, s->v + n, (s->n - n) * sizeof(*s->v));
    s->n -= n - 1;
    return r;
}

/* A run of its own; short ones below it are merged with it. */
static int push(const struct map_pushing *p, struct map_state *s, const struct extents *top, uint32_t number,
                const struct map_front *at)
{
    struct map_run x = {.number = number, .n = top->n, .at = *at};
    int r = 0;

    for (; r == 0 && s->n > 1; s->n--) {
        const struct map_run *below = &s->v[s->n - 1];

        if (below->n > 2 * x.n || below->n > s->v[0].n / SHORT_RUN)
            break;
        x.number = below->number;
        x.n += below->n;
        r = map_run_remove(p->e, p->ino, x.number);
    }
    if (r == 0)
        r = map_runs_put(p, x.number, top, &x.n);
    return r < 0 || x.n == 0 ? r : map_run_put(p, &x, true);
}

/* What records say of the runs, if it is not what they say already. */
static int tell(const struct map_pushing *p, const struct map_state *s, bool all)
{
    int r = 0;

    if (all)
        MARK("map: it rolls");
    for (size_t i = 0; r == 0 && i < (all ? s->n : 1); i++)
        r = map_run_put(p, &s->v[i], true);
    return r;
}

int map_roll(const struct map_pushing *p, struct map_state *s, const struct extents *top, bool begins)
{
    struct map_front was = s->v[0].at, at = was;
    uint32_t number = s->v[s->n - 1].number + 1;
    uint64_t from, to;
    bool whole;
    int r;

    map_part(s, p->blocks, top->n, &from, &to);
    whole = from == 0 && to == UINT64_MAX;
    r = lay_part(p, s, top, from, &to, &s->v[0].n);
    at.round += to == UINT64_MAX ? 1 + whole : 0;
    at.block = to == UINT64_MAX ? 0 : to;
    if (r == 0)
        r = drop_passed(p, s, &at);
    if (r == 0 && !whole)
        r = push(p, s, top, number, &was);
    s->v[0].at = at;
    return r < 0 ? r : tell(p, s, begins);
}
