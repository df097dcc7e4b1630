/* The second phase of a prune: what is due goes. What the store refuses to delete stays with what relies on it, and all else goes on. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mark.h"
#include "tier/prune_i.h"

static bool is_doomed(const struct pk *p)
{
    return p->due && p->needed == 0;
}

/* Indexes that name what goes, the oldest first: what is locked for a time is free in that order. */
struct stale {
    int64_t mtime_ns;
    char name[80];
};
#define REFUSED_ENOUGH                                                                                       \
    2 /* one after the other: younger ones will be, too, and nothing is put in their place */

struct rewriting {
    struct prune *w;
    int64_t mtime_ns;       /* of the one */
    struct index_new index; /* takes its place */
    bool drops;
};

static bool is_there(struct prune *w, const struct sha *pack)
{
    struct backend_stat st;
    char name[PACK_NAME];

    pack_name(pack, name);
    return backend_stat(w->r->b, &w->r->call, name, &st) != -E_NOENT;
}

/* One that is not known came after the list was read, or is gone. */
static bool is_dropped(struct prune *w, const struct sha *pack)
{
    struct pk *p = prune_pack(w, pack);

    return p ? is_doomed(p) : !is_there(w, pack);
}

/* Another index names it, put later than this one: of two prunes at work none can rely on what the other deletes. */
static bool is_elsewhere(const struct rewriting *x, const struct pk *p)
{
    return p && !BROKEN(VARVE_BREAK_prune_elsewhere) &&
           (p->index_ns > x->mtime_ns || (p->renamed && x->mtime_ns < x->w->now_ns));
}

static int pack_drops(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct rewriting *x = arg;

    (void)size, (void)trailer, (void)len;
    x->drops = x->drops || is_dropped(x->w, pack);
    return 0;
}

struct finding {
    struct prune *w;
    struct buf v; /* struct stale each */
};

static int index_look(void *arg, const char *name, const struct buf *plain)
{
    struct finding *f = arg;
    struct stale s = {.mtime_ns = f->w->index_ns};
    struct rewriting x = {.w = f->w};
    int r = index_walk(plain->data, plain->len, pack_drops, &x);

    snprintf(s.name, sizeof(s.name), "%s", name);
    return r == 0 && x.drops ? buf_add(&f->v, &s, sizeof(s)) : r;
}

static int index_keep(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct rewriting *x = arg;

    if (is_dropped(x->w, pack) || is_elsewhere(x, prune_pack(x->w, pack)))
        return 0;
    return index_add(&x->index, pack, size, trailer, len);
}

static int pack_named(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct pk *p = prune_pack(arg, pack);

    (void)size, (void)trailer, (void)len;
    if (p)
        p->renamed = true;
    return 0;
}

static int pack_hold(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct pk *p = prune_pack(arg, pack);

    (void)size, (void)trailer, (void)len;
    if (p)
        p->held = true;
    return 0;
}

/* 1: what would be put in its place is not, since it will not go. */
static int index_replace(struct rewriting *x)
{
    struct prune *w = x->w;
    char hex[SHA_TEXT];
    int r;

    if (x->index.packs == 0)
        return 0;
    if (w->refused >= REFUSED_ENOUGH)
        return 1;
    r = index_put(w->r, &x->index, hex);
    MARK("prune: an index is put anew");
    return r < 0 ? r : index_walk(x->index.plain.data, x->index.plain.len, pack_named, w);
}

/* The new index is there before the old one goes, and both before a pack. */
static int index_rewrite(struct prune *w, const struct stale *s)
{
    cleanup(buf_free) struct buf plain = {0};
    struct rewriting x = {.w = w, .mtime_ns = s->mtime_ns};
    int r = lease_keep(&w->lease);

    if (r == 0)
        r = repo_object(w->r, s->name, CHUNK_INDEX, &plain);
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    r = index_walk(plain.data, plain.len, index_keep, &x);
    if (r == 0)
        r = index_replace(&x);
    if (r == 0 && (r = prune_del(w, s->name)) >= 0)
        w->refused = r ? w->refused + 1 : 0;
    index_release(&x.index);
    return r == 1 ? index_walk(plain.data, plain.len, pack_hold, w) : r;
}

static int by_age(const void *a, const void *b)
{
    const struct stale *x = a, *y = b;

    return (x->mtime_ns > y->mtime_ns) - (x->mtime_ns < y->mtime_ns);
}

static int indexes_rewrite(struct prune *w)
{
    struct finding f = {.w = w};
    int r = prune_indexes(w, index_look, &f);

    if (r == 0 && f.v.len)
        qsort(f.v.data, f.v.len / sizeof(struct stale), sizeof(struct stale), by_age);
    for (size_t at = 0; r == 0 && at < f.v.len; at += sizeof(struct stale))
        r = index_rewrite(w, (const struct stale *)(const void *)(f.v.data + at));
    buf_free(&f.v);
    return r;
}

/* 1: it stays. */
static int pack_delete(struct prune *w, struct pk *p)
{
    char name[PACK_NAME];
    int r = 0;

    pack_name(&p->name, name);
    if (!w->o->dry)
        r = p->held ? 1 : prune_del(w, name);
    MARK("prune: a pack is deleted");
    if (r < 0)
        return r;
    p->gone = r == 0;
    *(r ? &w->res.stuck : &w->res.deleted) += 1;
    *(r ? &w->res.stuck_bytes : &w->res.deleted_bytes) += p->size;
    return r;
}

static int packs_delete(struct prune *w)
{
    int r = 0;

    for (size_t i = 0; r >= 0 && i < w->n; i++) {
        struct pk *p = &w->v[i];

        w->res.rescued += p->due && p->needed > 0;
        if (!is_doomed(p))
            continue;
        r = pack_delete(w, p);
        if (r == 0 && !w->o->dry)
            r = prune_told(w, "packs deleted", w->res.deleted, 0);
    }
    return MIN_OF(r, 0);
}

/* A list of which something stays does, too: else that would be condemned once more. One of damaged packs as long as old recovery points
 * need what can be read of them. */
static int list_delete(void *arg, const char *name, const struct backend_stat *st, const struct buf *packs)
{
    struct prune *w = arg;
    bool needed = false;
    int r;

    (void)st;
    if (!prune_is_due(w, name))
        return 0;
    for (size_t at = 0; at < packs->len; at += sizeof(struct sha)) {
        struct sha s;
        struct pk *p;

        memcpy(s.b, packs->data + at, sizeof(s.b));
        p = prune_pack(w, &s);
        if (p && p->needed == 0 && !p->gone && !BROKEN(VARVE_BREAK_prune_list_kept))
            return 0;
        needed = needed || (p && p->needed > 0);
    }
    r = needed ? condemned_lasts(w->r, name) : 0;
    if (r == 0)
        r = prune_del(w, name);
    return r == -E_NOENT ? 0 : MIN_OF(r, 0);
}

int prune_sweep(struct prune *w)
{
    int r = 0;

    if (w->due.len == 0)
        return 0;
    if (!w->o->dry)
        r = indexes_rewrite(w);
    if (r == 0)
        r = packs_delete(w);
    if (r == 0 && !w->o->dry)
        r = condemned_each(w->r, list_delete, w);
    buf_reset(&w->due);
    for (size_t i = 0; i < w->n; i++)
        w->v[i].due = false;
    return r;
}
