#include "tier/prune.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/log.h"
#include "base/mark.h"
#include "tier/domains.h"
#include "tier/lease.h"
#include "tier/mark.h"
#include "tier/prune_i.h"
#include "tier/trash.h"

/* --- what is there -------------------------------------------------------------------------------------------------- */

struct pk *prune_pack(struct prune *w, const struct sha *name)
{
    struct id16 id = sha_half(name);
    uint64_t *at = idset_get(&w->by_name, &id);

    return at ? &w->v[*at] : NULL;
}

static int pack_listed(void *arg, const char *name, const struct backend_stat *st)
{
    struct prune *w = arg;
    struct pk p = {.size = st->size, .mtime_ns = st->mtime_ns};
    struct id16 id;
    uint64_t *at;
    int r;

    if (pack_name_parse(name, &p.name) < 0)
        return 0;
    struct pk *v = array_more(w->v, w->n, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    w->v = v;
    id = sha_half(&p.name);
    if ((r = idset_put(&w->by_name, &id, &at)) < 0)
        return r;
    *at = w->n;
    w->v[w->n++] = p;
    w->res.packs++;
    w->res.bytes += st->size;
    return 0;
}

/* Lists whose grace is over. */
static int list_due(void *arg, const char *name, const struct backend_stat *st, const struct buf *packs)
{
    struct prune *w = arg;
    int64_t left = st->mtime_ns + w->o->grace_ns - w->now_ns;

    (void)packs;
    if (left <= 0 || w->o->exclusive)
        return buf_add(&w->due, name, strlen(name) + 1);
    w->res.wait_ns = w->res.waiting ? MIN_OF(w->res.wait_ns, left) : left;
    w->res.waiting++;
    return 0;
}

bool prune_is_due(const struct prune *w, const char *name)
{
    for (size_t at = 0; at < w->due.len; at += strlen((char *)w->due.data + at) + 1)
        if (strcmp((char *)w->due.data + at, name) == 0)
            return true;
    return false;
}

static int list_flag(void *arg, const char *name, const struct backend_stat *st, const struct buf *packs)
{
    struct prune *w = arg;
    bool due = prune_is_due(w, name);

    (void)st;
    for (size_t at = 0; at < packs->len; at += sizeof(struct sha)) {
        struct sha s;
        struct pk *p;

        memcpy(s.b, packs->data + at, sizeof(s.b));
        p = prune_pack(w, &s);
        if (p) {
            w->any_listed = p->listed = true;
            p->due = p->due || due;
        }
    }
    return 0;
}

/* --- who holds what is needed --------------------------------------------------------------------------------------- */

struct claiming {
    struct prune *w;
    struct pk *p;
    bool listed; /* this time those that are condemned */
};

/* Of the packs that have a needed chunk one is kept for it: the same for whoever looks, in whatever order. */
static int chunk_claim(void *arg, const struct id16 *id, const struct have_chunk *c)
{
    struct claiming *k = arg;
    uint64_t *by = idset_get(&k->w->m.chunks, id);

    struct pk *holder = by && *by ? &k->w->v[*by - 1] : NULL;

    if (!by || holder == k->p ||
        (holder &&
         (holder->listed != k->listed || memcmp(holder->name.b, k->p->name.b, sizeof(holder->name.b)) < 0)))
        return 0;
    if (holder)
        holder->needed -= c->stored_len;
    *by = (uint64_t)(k->p - k->w->v) + 1;
    k->p->needed += c->stored_len;
    return 0;
}

static int pack_claim(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct claiming *k = arg;
    struct trailer_cb cb = {.chunk = chunk_claim, .arg = k};

    k->p = prune_pack(k->w, pack);
    if (!k->p || k->p->size != size)
        return 0;
    k->p->named = true;
    k->p->index_ns = MAX_OF(k->p->index_ns, k->w->index_ns);
    if (k->p->listed != k->listed || k->p->claimed)
        return 0;
    k->p->claimed = true;
    return trailer_walk(pack, trailer, len, &cb);
}

/* All index objects: cb gets the name and the plain bytes. */
struct indexes {
    struct prune *w;
    int (*cb)(void *arg, const char *name, const struct buf *plain);
    void *arg;
};

static int index_one(void *arg, const char *name, const struct backend_stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    struct indexes *x = arg;
    int r = lease_keep(&x->w->lease);

    x->w->index_ns = st->mtime_ns;
    if (r == 0)
        r = repo_object(x->w->r, name, CHUNK_INDEX, &b);
    if (r == -E_NOENT)
        return 0;
    if (r == -E_CORRUPT || r == -E_KEY)
        buf_printf(
            x->w->err,
            "%s is damaged: what its packs hold is not known; varve repo verify --repair makes it anew",
            name);
    return r < 0 ? r : x->cb(x->arg, name, &b);
}

int prune_indexes(struct prune *w, int (*cb)(void *arg, const char *name, const struct buf *plain), void *arg)
{
    struct indexes x = {w, cb, arg};

    return backend_list(w->r->b, &w->r->call, "index/", "", index_one, &x);
}

static int index_claim(void *arg, const char *name, const struct buf *plain)
{
    (void)name;
    return index_walk(plain->data, plain->len, pack_claim, arg);
}

static int claim(struct prune *w)
{
    struct claiming k = {.w = w};
    int r = prune_indexes(w, index_claim, &k);

    k.listed = true;
    if (r == 0 && w->any_listed)
        r = prune_indexes(w, index_claim, &k);
    for (size_t i = 0; r == 0 && i < w->m.chunks.cap; i++)
        if (w->m.chunks.v[i].set && w->m.chunks.v[i].num == 0) {
            buf_puts(
                w->err,
                "something that is needed lies in no pack; nothing is deleted: varve repo verify says what");
            r = -E_CORRUPT;
        }
    for (size_t i = 0; i < w->n; i++)
        w->res.needed += w->v[i].needed;
    return r;
}

/* --- deleting, telling ------------------------------------------------------------------------------------------------ */

static bool is_refusal(int r)
{
    return r == -E_ACCES || r == -E_ROFS;
}

int prune_del(struct prune *w, const char *name)
{
    int r = lease_keep(&w->lease);

    if (r < 0 || (r = backend_del(w->r->b, &w->r->call, name)) == 0 || r == -E_NOENT)
        return r == -E_NOENT ? 0 : r;
    if (!is_refusal(r))
        return r;
    if (w->res.refused++ == 0)
        snprintf(w->res.refused_why, sizeof(w->res.refused_why), "%s: %s", name, backend_text(r));
    return 1;
}

int prune_told(struct prune *w, const char *what, uint64_t done, uint64_t of)
{
    return w->o->progress ? w->o->progress(w->o->arg, what, done, of) : 0;
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static int mark_told(void *arg, uint64_t points, uint64_t chunks)
{
    int r = lease_keep(&((struct prune *)arg)->lease);

    (void)chunks;
    return r < 0 ? r : prune_told(arg, "recovery points read", points, 0);
}

/* The order counts. Lists before recovery points: who has not read a list that is due has put what it makes by now. Recovery points
 * before packs and indexes: what a recovery point needs was put before it. */
static int look(struct prune *w)
{
    struct repo *r = w->r;
    int x = backend_now(r->b, &r->call, &w->now_ns);

    if (x == 0)
        x = repo_sync(r);
    if (x == 0)
        x = condemned_each(r, list_due, w);
    if (x == 0)
        x = mark_run(r, mark_told, w, &w->m, w->err);
    w->res.points = w->m.points.len / sizeof(struct sha);
    if (x == 0)
        x = backend_list(r->b, &r->call, "packs/", "", pack_listed, w);
    if (x == 0)
        x = condemned_each(r, list_flag, w);
    return x == 0 ? claim(w) : x;
}

static int del_one(void *arg, const char *name)
{
    return prune_del(arg, name);
}

/* Deleted recovery points that could be had back until now. Before anything is marked. */
static int empty_trash(struct prune *w)
{
    int64_t now_ns;
    int x = backend_now(w->r->b, &w->r->call, &now_ns);

    return x < 0 ? x : trash_empty(w->r, now_ns, del_one, w, &w->res.forgotten);
}

static int run(struct prune *w)
{
    int x = lease_take(w->r, &w->lease, w->err);

    if (x == 0)
        x = repo_may_write(w->r);
    if (x == 0 && !w->o->dry)
        x = empty_trash(w);
    if (x == 0 && !w->o->dry)
        x = shredded_delete(w->r, del_one, w, &w->res.shredded);
    if (x == 0)
        x = look(w);
    if (x == 0)
        x = prune_sweep(w);
    if (x == 0)
        x = prune_condemn(w);
    if (x == 0 && w->o->exclusive) /* what was condemned just now is due */
        x = prune_sweep(w);
    if (x < 0 && w->err->len == 0) /* before another call to the backend */
        buf_puts(w->err, backend_text(x));
    lease_drop(&w->lease);
    return x;
}

int prune_run(struct repo *r, const struct prune_opts *o, struct prune_result *ret, struct buf *err)
{
    struct prune_opts own = *o;
    struct prune w = {.r = r, .o = &own, .err = err};
    int x;

    own.grace_ns = MAX_OF(o->grace_ns, CONDEMNED_GRACE_NS);
    x = run(&w);
    mark_release(&w.m);
    idset_free(&w.by_name);
    buf_free(&w.due);
    free(w.v);
    *ret = w.res;
    return x;
}
