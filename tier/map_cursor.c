#include "tier/map_cursor.h"

#include <stdlib.h>

#include "tier/map_i.h"
#include "tier/tree_cursor.h"

#define STEPS_SHORT 16 /* records that are gone through rather than looked for from the root */

/* A run, or what lies over all of them. */
struct map_source {
    struct tree_cursor c;
    uint32_t run;
    const struct extents *list; /* instead of c */
    size_t next;                /* of the list */
    struct extent now;
    bool has;
    uint64_t end; /* of what came before now */
};

/* --- a source ------------------------------------------------------------------------------------------------------- */

/* 1: an extent of its run; 0: there is no more. */
static int record_next(struct map_source *s, struct extent *ret)
{
    struct tree_rec e;
    uint32_t run;
    int r = tree_cursor_next(&s->c, &e);

    if (r == 1 && (r = extent_decode(e.key, e.klen, e.val, e.vlen, ret, &run)) == 0)
        r = run == s->run;
    if (r == 0)
        tree_cursor_close(&s->c);
    return r;
}

static int source_next(struct map_source *s)
{
    int r = 0;

    s->end = s->has ? extent_end(&s->now) : s->end;
    if (!s->list)
        r = record_next(s, &s->now);
    else if (s->next < s->list->n) {
        s->now = s->list->v[s->next++];
        r = 1;
    }
    s->has = r == 1;
    if (s->has && s->now.block < s->end)
        return -E_CORRUPT;
    return MIN_OF(r, 0);
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

static struct map_source *source_new(struct map_cursor *m)
{
    struct map_source *v = m->n < MAP_RUNS_MAX + 1 ? realloc(m->v, (m->n + 1) * sizeof(*v)) : NULL;

    if (!v)
        return NULL;
    m->v = v;
    v += m->n++;
    v->list = NULL;
    v->c.depth = 0;
    v->has = false;
    v->end = 0;
    return v;
}

/* The run whose first record is e; c stands behind it, and is another's. */
static int run_add(struct map_cursor *m, const struct tree_cursor *c, const struct tree_rec *e)
{
    struct map_source *s;
    int r;

    if (m->n >= MAP_RUNS_MAX)
        return -E_CORRUPT;
    if (!(s = source_new(m)))
        return -E_NOMEM;
    r = extent_decode(e->key, e->klen, e->val, e->vlen, &s->now, &s->run);
    if (r < 0)
        return r;
    s->has = true;
    tree_cursor_copy(&s->c, c);
    return 0;
}

/* On the first record of the run after this one: 1, *ret; 0: there is none. Most files are short: it is not far. */
static int run_next(struct tree_cursor *c, struct repo *r, const struct tree *t, uint64_t ino, uint32_t run,
                    struct tree_rec *ret)
{
    struct tree_key prefix = tree_key(ino, REC_EXTENT), from;
    struct extent e;
    uint32_t is = run;
    int x = 1;

    for (unsigned i = 0; x == 1 && is == run && i < STEPS_SHORT; i++)
        if ((x = tree_cursor_next(c, ret)) == 1 &&
            (x = extent_decode(ret->key, ret->klen, ret->val, ret->vlen, &e, &is)) == 0)
            x = 1;
    if (x <= 0 || is != run || run == UINT32_MAX)
        return x < 0 ? x : x == 1 && is != run;
    tree_cursor_close(c);
    from = run_key(ino, run + 1);
    x = tree_cursor_open(c, r, t, &prefix, &from);
    return x < 0 ? x : tree_cursor_next(c, ret);
}

static int runs_open(struct map_cursor *m, struct repo *r, const struct tree *t, uint64_t ino, uint32_t first)
{
    struct tree_key prefix = tree_key(ino, REC_EXTENT), from = run_key(ino, first);
    struct tree_cursor c;
    struct tree_rec e;
    int x;

    if ((x = tree_cursor_open(&c, r, t, &prefix, &from)) < 0)
        return x;
    x = tree_cursor_next(&c, &e);
    while (x == 1 && (x = run_add(m, &c, &e)) == 0)
        x = run_next(&c, r, t, ino, m->v[m->n - 1].run, &e);
    tree_cursor_close(&c);
    return x;
}

static int top_add(struct map_cursor *m, const struct extents *top)
{
    struct map_source *s = source_new(m);

    if (!s)
        return -E_NOMEM;
    s->list = top;
    s->next = 0;
    return source_next(s);
}

int map_cursor_open(struct map_cursor *m, struct repo *r, const struct tree *t, uint64_t ino,
                    uint32_t first_run, const struct extents *top)
{
    int x;

    *m = (struct map_cursor){.n = 0};
    x = runs_open(m, r, t, ino, first_run);
    if (x == 0 && top)
        x = top_add(m, top);
    if (x < 0)
        map_cursor_close(m);
    return x;
}

/* A run from the extent on that begins last at from or before it, or is the first one. */
static int part_add(struct map_cursor *m, struct repo *r, const struct tree *t, uint64_t ino, uint32_t run,
                    uint64_t from)
{
    struct tree_key prefix = run_key(ino, run), first = extent_key(ino, run, from);
    struct map_source *s = source_new(m);
    int x;

    if (!s)
        return -E_NOMEM;
    s->run = run;
    x = tree_cursor_before(&s->c, r, t, &prefix, &first);
    return x < 0 ? x : source_next(s);
}

int map_cursor_part(struct map_cursor *m, struct repo *r, const struct tree *t, uint64_t ino,
                    const struct map_run *runs, size_t n, uint64_t from, const struct extents *top)
{
    int x = 0;

    *m = (struct map_cursor){.at = from};
    for (size_t i = 0; x == 0 && i < n; i++)
        x = part_add(m, r, t, ino, runs[i].number, from);
    if (x == 0 && top)
        x = top_add(m, top);
    if (x < 0)
        map_cursor_close(m);
    return x;
}

/* What is laid over entirely is passed over. */
static int reach(struct map_cursor *m)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < m->n; i++)
        while (r == 0 && m->v[i].has && extent_end(&m->v[i].now) <= m->at)
            r = source_next(&m->v[i]);
    return r;
}

int map_cursor_next(struct map_cursor *m, struct extent *ret)
{
    uint64_t from = UINT64_MAX, to;
    size_t first = m->n;
    int r = reach(m);

    for (size_t i = 0; r == 0 && i < m->n; i++)
        if (m->v[i].has && MAX_OF(m->v[i].now.block, m->at) <= from) {
            from = MAX_OF(m->v[i].now.block, m->at);
            first = i;
        }
    if (r < 0 || first == m->n)
        return r;
    to = extent_end(&m->v[first].now);
    for (size_t i = first + 1; i < m->n; i++)
        if (m->v[i].has)
            to = MIN_OF(to, m->v[i].now.block);
    *ret = extent_cut(&m->v[first].now, from, to);
    m->at = to;
    return 1;
}

void map_cursor_close(struct map_cursor *m)
{
    for (size_t i = 0; i < m->n; i++)
        tree_cursor_close(&m->v[i].c);
    free(m->v);
    *m = (struct map_cursor){.n = 0};
}
