#include "tier/mark.h"

#include <stdio.h>

#include "tier/map.h"
#include "tier/pin.h"

#define SHOWN 12 /* digits of a recovery point in sentences */

void mark_release(struct mark *m)
{
    idset_free(&m->chunks);
    buf_free(&m->points);
}

struct marking {
    struct repo *r;
    struct mark *m;
    struct idset seen;   /* pages of metadata */
    struct idset points; /* halves of ids: recovery points that are marked */
    int (*progress)(void *arg, uint64_t points, uint64_t chunks);
    void *arg;
    struct buf *err;
    const struct point *point;
    int bad;
};

static int record_mark(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct marking *g = arg;
    struct slice s;
    int r = record_slice(key, klen, val, vlen, &s);

    return r == 1 ? idset_put(&g->m->chunks, &s.chunk, NULL) : r;
}

static int page_mark(void *arg, const struct slice *page, const uint8_t *p, size_t len, int error)
{
    struct marking *g = arg;
    int r;

    if (error < 0)
        return error == -E_NOENT ? -E_CORRUPT : error;
    if ((r = idset_put(&g->m->chunks, &page->chunk, NULL)) < 0)
        return r;
    if (idset_get(&g->seen, &page->blob))
        return 1;
    g->m->pages++;
    r = idset_put(&g->seen, &page->blob, NULL);
    if (r == 0 && len >= PAGE_HEAD && p[1] == 0)
        r = page_each(p, len, NULL, record_mark, g);
    return r;
}

static int tree_mark(struct marking *g, const struct tree *t)
{
    int r = tree_walk(g->r, t, page_mark, g);

    if (r ==
        -E_CORRUPT) { /* put since the indexes were read? Then all of it is walked again: no page was done */
        if (!BROKEN(VARVE_BREAK_mark_twice))
            idset_free(&g->seen);
        r = repo_sync(g->r);
        if (r == 0)
            r = tree_walk(g->r, t, page_mark, g);
    }
    return r;
}

static bool is_unreadable(int r)
{
    return r == -E_CORRUPT || r == -E_REPO_NEWER || r == -E_KEY;
}

static int marked(struct marking *g)
{
    return g->progress ? g->progress(g->arg, g->m->points.len / sizeof(struct sha), g->m->chunks.n) : 0;
}

static int point_mark(void *arg, const struct point *p)
{
    struct marking *g = arg;
    struct sha id;
    struct id16 half;
    int r = hex_parse(p->id, id.b, sizeof(id.b));

    half = sha_half(&id);
    if (r == 0 && idset_get(&g->points, &half))
        return 0;
    if (r == 0)
        r = tree_mark(g, &p->tree);
    if (r == 0)
        r = buf_add(&g->m->points, id.b, sizeof(id.b));
    if (r == 0)
        r = idset_put(&g->points, &half, NULL);
    if (is_unreadable(r)) {
        buf_printf(g->err,
                   "recovery point %.*s (%s@%s): %s; varve repo verify names what is hurt, varve backup "
                   "delete gives it up",
                   SHOWN, p->id, p->volume_name, p->snapshot_name, err_text(r));
        return r;
    }
    return r < 0 ? r : marked(g);
}

static void point_bad(void *arg, const char *id, int why)
{
    struct marking *g = arg;

    if (g->bad == 0)
        buf_printf(
            g->err,
            "recovery point %s cannot be read: %s; varve backup delete with all of these digits gives it up",
            id, err_text(why));
    g->bad = why;
}

static int pinned_mark(void *arg, const struct point *p)
{
    struct marking *g = arg;
    int r = tree_mark(g, &p->tree);

    return r < 0 ? r : marked(g);
}

static int pin_mark(void *arg, const struct pin *p)
{
    struct marking *g = arg;
    int r = BROKEN(VARVE_BREAK_mark_pins) ? 0 : pin_points(g->r, p, pinned_mark, g);

    if (is_unreadable(r))
        buf_printf(g->err,
                   "pin %.*s, of what volume %s relies on: %s; varve repo verify names what is hurt, varve "
                   "repo forget gives it up",
                   SHOWN, p->id, p->volume_name, err_text(r));
    return r;
}

static void pin_bad(void *arg, const char *name, int why)
{
    struct marking *g = arg;

    if (g->bad == 0)
        buf_printf(g->err,
                   "%s cannot be read: %s; so it is not known what is pinned, and nothing may be deleted",
                   name, err_text(why));
    g->bad = why;
}

int mark_run(struct repo *r, int (*progress)(void *arg, uint64_t points, uint64_t chunks), void *arg,
             struct mark *ret, struct buf *err)
{
    struct mark m = {.pages = 0};
    struct marking g = {.r = r, .m = &m, .progress = progress, .arg = arg, .err = err};
    int x = points_each(r, point_mark, point_bad, &g);

    if (x == 0) /* after them: who pins one sees afterwards that it is still there */
        x = pins_each(r, pin_mark, pin_bad, &g);
    if (x == 0 && !BROKEN(VARVE_BREAK_mark_back)) /* one that was had back meanwhile was in neither */
        x = points_each(r, point_mark, point_bad, &g);
    if (x == 0)
        x = g.bad;
    idset_free(&g.seen);
    idset_free(&g.points);
    if (x < 0)
        mark_release(&m);
    else
        *ret = m;
    return x;
}
