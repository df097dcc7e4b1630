/* Which recovery points a migration takes, what that is, and carrying them over. */
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "tier/idset.h"
#include "tier/map.h"
#include "tier/migrate.h"
#include "tier/pin.h"
#include "tier/restore.h"

/* --- which ---------------------------------------------------------------------------------------------------------------- */

void migrate_list_free(struct migrate_list *l)
{
    free(l->v);
    *l = (struct migrate_list){0};
}

struct listing {
    const struct migrate_filter *f;
    const struct buf *relied;
    struct migrate_list *l;
    struct buf there; /* struct migrate_moved each: origin, id */
    struct buf *err;
};

static bool in_list(const struct migrate_list *l, const char *id)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->v[i].p.id, id) == 0)
            return true;
    return false;
}

static bool is_relied(const struct buf *relied, const char *id)
{
    for (size_t at = 0; relied && at < relied->len; at += SHA_TEXT)
        if (strcmp((const char *)relied->data + at, id) == 0)
            return true;
    return false;
}

static int item_add(struct migrate_list *l, const struct point *p, bool asked)
{
    struct migrate_item *v = array_more(l->v, l->n, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    l->v = v;
    v[l->n] = (struct migrate_item){.p = *p, .asked = asked};
    v[l->n].p.labels = v[l->n].p.regarded = (struct buf){0};
    l->n++;
    return 0;
}

static int consider(void *arg, const struct point *p)
{
    struct listing *g = arg;
    bool asked = migrate_takes(g->f, p);

    return asked || is_relied(g->relied, p->id) ? item_add(g->l, p, asked) : 0;
}

static void unreadable(void *arg, const char *id, int why)
{
    struct listing *g = arg;

    if (g->err->len == 0)
        buf_printf(
            g->err,
            "recovery point %.12s cannot be read: %s; varve backup delete with all of its digits gives it "
            "up",
            id, err_text(why));
}

/* Those that pins hold and nobody lists any more. */
static int add_relied(struct listing *g, struct repo *from)
{
    int r = 0;

    for (size_t at = 0; r == 0 && g->relied && at < g->relied->len; at += SHA_TEXT) {
        const char *id = (const char *)g->relied->data + at;
        struct point p;

        if (in_list(g->l, id))
            continue;
        r = pin_point_get(from, id, &p);
        if (r < 0) {
            buf_printf(g->err, "recovery point %.12s, which a volume of this store relies on: %s", id,
                       err_text(r));
            return r;
        }
        r = item_add(g->l, &p, false);
        point_release(&p);
    }
    return r;
}

static int note_there(void *arg, const struct point *p)
{
    struct migrate_moved x = {.from = copy_origin(p)};
    int r = hex_parse(p->id, x.to.b, sizeof(x.to.b));

    return r < 0 ? r : buf_add(arg, &x, sizeof(x));
}

static int match_there(struct listing *g)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < g->l->n; i++) {
        struct sha origin = {.b = {0}};

        r = copy_origin_of(&g->l->v[i].p, g->l->path, &origin);
        for (size_t at = 0; at < g->there.len; at += sizeof(struct migrate_moved)) {
            const struct migrate_moved *x = (const void *)(g->there.data + at);

            if (memcmp(x->from.b, origin.b, sizeof(origin.b)) == 0)
                hex_format(x->to.b, sizeof(x->to.b), g->l->v[i].copy);
        }
    }
    return r;
}

/* Only those that have the path. */
static int keep_those_with(struct repo *from, struct migrate_list *l)
{
    size_t n = l->n;
    int r = l->path ? repo_sync(from) : 0;

    for (size_t i = l->n = 0; r == 0 && i < n; i++) {
        const struct point *p = &l->v[i].p;
        uint64_t ino;

        r = l->path ? restore_lookup(from, &p->tree, point_names(p), l->path, &ino) : 0;
        if (r == 0)
            l->v[l->n++] = l->v[i];
        else if (r == -E_NOENT)
            r = 0;
    }
    return r;
}

/* Of a volume the oldest first: each is what the next differs from. */
static int by_volume(const void *a, const void *b)
{
    const struct point *x = &((const struct migrate_item *)a)->p, *y = &((const struct migrate_item *)b)->p;
    int r = memcmp(&x->volume, &y->volume, sizeof(x->volume));

    if (r != 0)
        return r;
    if (x->taken_ns != y->taken_ns)
        return x->taken_ns < y->taken_ns ? -1 : 1;
    return strcmp(x->id, y->id);
}

int migrate_list_make(struct repo *from, struct repo *to, const struct migrate_filter *f,
                      const struct buf *relied, struct migrate_list *ret, struct buf *err)
{
    struct migrate_list l = {.path = migrate_path(f)};
    struct listing g = {.f = f, .relied = relied, .l = &l, .err = err};
    int r = points_each(from, consider, unreadable, &g);

    if (r == 0 && err->len) /* what cannot be read might be one of those asked for */
        r = -E_CORRUPT;
    if (r == 0)
        r = add_relied(&g, from);
    if (r == 0)
        r = keep_those_with(from, &l);
    if (r == 0 && to)
        r = points_each(to, note_there, NULL, &g.there);
    if (r == 0)
        r = match_there(&g);
    if (r == 0) {
        if (l.n)
            qsort(l.v, l.n, sizeof(*l.v), by_volume);
        *ret = l;
    } else {
        migrate_list_free(&l);
    }
    buf_free(&g.there);
    return r;
}

/* --- how much ------------------------------------------------------------------------------------------------------------- */

struct weighing {
    struct repo *r;
    struct idset pages, blobs;
    struct migrate_count *n;
    const struct part *part; /* NULL: all of it */
};

static int weigh_slice(struct weighing *w, const struct slice *s)
{
    size_t before = w->blobs.n;
    int r = idset_put(&w->blobs, &s->blob, NULL);

    if (r == 0 && w->blobs.n > before) {
        w->n->pieces++;
        w->n->bytes += s->len;
    }
    return r;
}

static int weigh_record(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    const struct weighing *w = arg;
    struct slice s;
    int r = w->part && !part_takes(w->part, key, klen) ? 0 : record_slice(key, klen, val, vlen, &s);

    return r == 1 ? weigh_slice(arg, &s) : r;
}

static int weigh_page(void *arg, const struct slice *page, const uint8_t *p, size_t len, int error)
{
    struct weighing *w = arg;
    size_t before = w->pages.n;
    int r = error == -E_NOENT ? -E_CORRUPT : error;

    if (r == 0)
        r = idset_put(&w->pages, &page->blob, NULL);
    if (r == 0 && w->pages.n == before)
        return 1;
    if (r == 0 && len >= PAGE_HEAD && p[1] == 0)
        r = page_each(p, len, NULL, weigh_record, w);
    return r;
}

static int weigh_point(struct weighing *w, const struct point *p, const char *path)
{
    static const struct tree_key all;
    struct part part = {.v = {0}};
    int r;

    if (!path)
        return tree_walk(w->r, &p->tree, weigh_page, w);
    r = part_make(w->r, &p->tree, point_names(p), path, &part);
    w->part = &part;
    if (r == 0)
        r = tree_scan(w->r, &p->tree, &all, NULL, weigh_record, w);
    w->part = NULL;
    part_free(&part);
    return r;
}

int migrate_weigh(struct repo *from, const struct migrate_list *l, struct migrate_count *there,
                  struct migrate_count *todo, const struct migrate_hooks *h)
{
    struct weighing w = {.r = from};
    int r = repo_sync(from);

    *there = *todo = (struct migrate_count){0};
    for (int pass = 0; pass < 2; pass++) { /* what is there first: what both have need not be copied */
        w.n = pass ? todo : there;
        for (size_t i = 0; r == 0 && i < l->n; i++) {
            if ((l->v[i].copy[0] == 0) != pass)
                continue;
            w.n->points++;
            r = weigh_point(&w, &l->v[i].p, l->path);
            if (r == 0)
                r = h->progress(h->arg);
        }
    }
    idset_free(&w.pages);
    idset_free(&w.blobs);
    return r;
}

/* --- carrying over -------------------------------------------------------------------------------------------------------- */

struct carrying {
    struct migrate *m;
    const struct migrate_hooks *h;
    struct repo *to;
    struct migrate_count before; /* done, when this recovery point began */
    uint64_t pieces, put;        /* put: of the last look */
};

static uint64_t at_most(uint64_t n, uint64_t most)
{
    return MIN_OF(n, most);
}

static void note_sent(struct carrying *c)
{
    c->m->sent_bytes += c->to->put_bytes - c->put;
    c->put = c->to->put_bytes;
}

static int carried(void *arg, uint64_t items, uint64_t bytes)
{
    struct carrying *c = arg;

    (void)items;
    c->m->done.pieces = at_most(c->before.pieces + c->pieces, c->m->todo.pieces);
    c->m->done.bytes = at_most(c->before.bytes + bytes, c->m->todo.bytes);
    note_sent(c);
    return c->h->progress(c->h->arg);
}

static int thaws(void *arg, uint64_t ready, uint64_t of)
{
    const struct carrying *c = arg;

    return c->h->thaws ? c->h->thaws(c->h->arg, ready, of) : c->h->progress(c->h->arg);
}

static int carry_point(struct carrying *c, struct repo *from, const char *path, struct migrate_item *it,
                       struct buf *err)
{
    struct copy_opts o = {.path = path, .arg = c, .progress = carried, .pieces = &c->pieces};
    struct copy_result res;
    struct point p;
    int r = pin_point_get(from, it->p.id, &p);

    if (r < 0)
        return r;
    c->before = c->m->done;
    c->pieces = 0;
    r = copy_run_thawed(from, c->to, &p, &o, thaws, &res, err);
    point_release(&p);
    note_sent(c); /* what was on its way when it ended, too */
    if (r == 0)
        memcpy(it->copy, res.id, sizeof(it->copy));
    if (r == 0)
        c->m->done.points++;
    return r < 0 ? r : carried(c, 0, res.bytes);
}

static int note_moved(const struct migrate_list *l, struct buf *moved)
{
    struct migrate_moved x;
    int r = 0;

    buf_reset(moved);
    for (size_t i = 0; r == 0 && i < l->n; i++) {
        if (!l->v[i].asked || l->path) /* of a part the rest is at the source only */
            continue;
        r = hex_parse(l->v[i].p.id, x.from.b, sizeof(x.from.b));
        if (r == 0)
            r = hex_parse(l->v[i].copy, x.to.b, sizeof(x.to.b));
        if (r == 0)
            r = buf_add(moved, &x, sizeof(x));
    }
    return r;
}

int migrate_copy(struct repo *from, struct repo *to, struct migrate_list *l, struct migrate *m,
                 const struct migrate_hooks *h, struct buf *err)
{
    struct carrying c = {.m = m, .h = h, .to = to, .put = to->put_bytes};
    int r = 0;

    for (size_t i = 0; r == 0 && i < l->n; i++) {
        if (l->v[i].copy[0])
            continue;
        r = carry_point(&c, from, l->path, &l->v[i], err);
        if (r < 0 && r != -E_CANCELED)
            buf_printf(err, "%srecovery point %.12s (%.100s@%.100s): %s", err->len ? "; " : "", l->v[i].p.id,
                       l->v[i].p.volume_name, l->v[i].p.snapshot_name, backend_text(r));
    }
    return r < 0 ? r : note_moved(l, &m->moved);
}

/* --- the source goes ------------------------------------------------------------------------------------------------------ */

/* Of what this machine has read before the place itself is asked: is it there? */
static int copy_is_there(struct repo *to, const char *copy)
{
    char name[BACKEND_NAME_MAX + 1];
    struct backend_stat st;
    struct point p;
    int r;

    snprintf(name, sizeof(name), "points/%s", copy);
    r = backend_stat(to->b, &to->call, name, &st);
    if (r == 0)
        r = point_get(to, copy, &p);
    if (r == 0)
        point_release(&p);
    return r;
}

static int drop_one(struct repo *from, struct repo *to, const struct migrate_moved *x, struct buf *err)
{
    char id[SHA_TEXT], copy[SHA_TEXT], name[BACKEND_NAME_MAX + 1];
    int r;

    hex_format(x->from.b, sizeof(x->from.b), id);
    hex_format(x->to.b, sizeof(x->to.b), copy);
    r = copy_is_there(to, copy);
    if (r < 0) {
        buf_printf(err, "recovery point %.12s stays: its copy %.12s cannot be read: %s", id, copy,
                   backend_text(r));
        return r == -E_NOENT ? -E_CORRUPT : r;
    }
    snprintf(name, sizeof(name), "points/%s", id);
    r = backend_del(from->b, &from->call, name);
    if (r < 0 && r != -E_NOENT)
        buf_printf(err, "recovery point %.12s cannot be deleted: %s", id, backend_text(r));
    return r == -E_NOENT ? 0 : r;
}

int migrate_drop(struct repo *from, struct repo *to, struct migrate *m, const struct migrate_hooks *h,
                 struct buf *err)
{
    int r = repo_may_write(from);

    m->dropped = 0; /* those that a run before this one deleted are counted again */
    for (size_t at = 0; r == 0 && at < m->moved.len; at += sizeof(struct migrate_moved)) {
        struct migrate_moved x;

        memcpy(&x, m->moved.data + at, sizeof(x));
        r = drop_one(from, to, &x, err);
        m->dropped += r == 0;
        if (r == 0)
            r = h->progress(h->arg);
    }
    return r;
}
