/* A file's map changes: its runs are few, or roll (tier/map_roll.c). */
#include "tier/map_cursor.h"
#include "tier/map_i.h"

#define PUT_AT_ONCE 256 /* records between two looks at how many there are */

uint64_t map_roll_from = 4096;

/* --- runs ----------------------------------------------------------------------------------------------------------- */

static int state_add(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct map_state *s = arg;
    struct dec d = dec_of(val, vlen);
    struct map_run x = {.n = dec_u64(&d)};

    if (klen != 13 || s->n == MAP_RUNS_MAX || (vlen != MAP_RUN_VALUE && vlen != MAP_RUN_ROLLING) ||
        (s->n && s->rolling != (vlen == MAP_RUN_ROLLING)))
        return -E_CORRUPT;
    if (vlen == MAP_RUN_ROLLING) {
        x.at.round = dec_u32(&d);
        x.at.block = dec_u64(&d);
        s->rolling = true;
    }
    x.number = get_be32(key + 9);
    s->total += x.n;
    s->v[s->n++] = x;
    return 0;
}

static bool front_after(const struct map_front *a, const struct map_front *b)
{
    uint32_t rounds = a->round - b->round;

    return rounds ? rounds < 1u << 31 : a->block > b->block;
}

/* Fronts ascend with the runs, and none is ahead of the base's: else a run would go before its time. */
static bool fronts_fit(const struct map_state *s)
{
    for (size_t i = 1; i < s->n; i++)
        if (front_after(&s->v[i].at, &s->v[0].at) || (i > 1 && front_after(&s->v[i - 1].at, &s->v[i].at)))
            return false;
    return true;
}

int map_state_get(struct repo *r, const struct tree *t, uint64_t ino, struct map_state *ret)
{
    struct tree_key k = tree_key(ino, REC_RUN);
    int x;

    ret->n = 0;
    ret->total = 0;
    ret->rolling = false;
    x = tree_scan(r, t, &k, NULL, state_add, ret);
    return x < 0 || !ret->rolling || fronts_fit(ret) ? x : -E_CORRUPT;
}

int map_run_put(const struct map_pushing *p, const struct map_run *run, bool rolling)
{
    struct tree_key k = tree_key(p->ino, REC_RUN);
    uint8_t v[MAP_RUN_ROLLING];
    struct enc c = {v};

    tree_key_u32(&k, run->number);
    enc_u64(&c, run->n);
    if (rolling) {
        enc_u32(&c, run->at.round);
        enc_u64(&c, run->at.block);
    }
    return edits_put(p->e, &k, v, (size_t)(c.p - v));
}

int map_run_remove(struct edits *e, uint64_t ino, uint32_t run)
{
    struct tree_key k = run_key(ino, run), rec = tree_key(ino, REC_RUN);
    int r;

    tree_key_u32(&rec, run);
    r = edits_remove(e, &k);
    return r < 0 ? r : edits_remove(e, &rec);
}

int map_put_some(const struct map_pushing *p, uint64_t n)
{
    return n % PUT_AT_ONCE == 0 && p->full && !BROKEN(VARVE_BREAK_run_parts) ? p->full(p->arg) : 0;
}

int map_runs_put(const struct map_pushing *p, uint32_t run, const struct extents *top, uint64_t *ret_n)
{
    struct map_cursor m;
    struct extent x;
    uint64_t n = 0;
    int r = map_cursor_open(&m, p->r, p->t, p->ino, run, top);

    if (r < 0)
        return r;
    while ((r = map_cursor_next(&m, &x)) == 1 && (r = extent_put(p->e, p->ino, run, &x)) == 0)
        if ((r = map_put_some(p, ++n)) < 0)
            break;
    map_cursor_close(&m);
    *ret_n = n;
    return r;
}

int map_replace(struct edits *e, uint64_t ino, const struct extents *top)
{
    struct tree_key runs = tree_key(ino, REC_RUN), ext = tree_key(ino, REC_EXTENT),
                    use = tree_key(ino, REC_USE);
    struct map_pushing p = {.e = e, .ino = ino};
    int r = edits_remove(e, &runs);

    if (r == 0)
        r = edits_remove(e, &ext);
    if (r == 0)
        r = edits_remove(e, &use);
    if (r == 0 && top->n)
        r = map_run_put(&p, &(struct map_run){.number = 1, .n = top->n}, false);
    for (size_t i = 0; r == 0 && i < top->n; i++)
        r = extent_put(e, ino, 1, &top->v[i]);
    return r;
}

/* --- few ------------------------------------------------------------------------------------------------------------ */

/* How many extents there are in the runs from this one on, laid over each other, below top. */
static int laid_count(const struct map_pushing *p, uint32_t run, const struct extents *top, uint64_t *ret)
{
    struct map_cursor m;
    struct extent e;
    uint64_t n = 0;
    int x = map_cursor_open(&m, p->r, p->t, p->ino, run, top);

    if (x < 0)
        return x;
    while ((x = map_cursor_next(&m, &e)) == 1)
        n++;
    map_cursor_close(&m);
    *ret = n;
    return x;
}

static int push_few(const struct map_pushing *p, struct map_state *s, const struct extents *top)
{
    struct map_run x = {.number = s->n ? s->v[s->n - 1].number + 1 : 1, .n = top->n};
    int r = 0;

    while (r == 0 && s->n && !BROKEN(VARVE_BREAK_runs_many) &&
           (s->v[s->n - 1].n <= 2 * x.n || s->n >= RUNS_MAX)) {
        x.number = s->v[--s->n].number;
        r = map_run_remove(p->e, p->ino, x.number);
        if (r == 0)
            r = laid_count(p, x.number, top, &x.n);
    }
    if (r == 0)
        r = map_runs_put(p, x.number, top, &x.n);
    return r < 0 || x.n == 0 ? r : map_run_put(p, &x, false);
}

int map_push(const struct map_pushing *p, struct extents *top)
{
    struct map_state s;
    bool begins;
    int r = map_state_get(p->r, p->t, p->ino, &s);

    if (r < 0)
        return r;
    extents_sort(top);
    begins = !s.rolling && s.n && s.total + top->n >= map_roll_from;
    s.rolling |= begins;
    return s.rolling ? map_roll(p, &s, top, begins) : push_few(p, &s, top);
}
