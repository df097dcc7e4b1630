#include "snap/state.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "snap/layer.h"

#define VIEW_BUCKETS 1024u

struct view_node {
    struct view_node *next;
    uint32_t vol, view;
    struct view_rec rec;
};
struct list_mark {
    struct list_mark *next;
    uint32_t vol;
    bool taken_known;
    uint64_t change;
    int64_t mtime_ns, taken_ns;
};
struct deaths {
    struct deaths *next;
    uint32_t branch, from, to;
    uint64_t blocks;
};
struct state {
    struct state *next;
    struct store *store;
    int64_t since_ns;
    struct view_node *views[VIEW_BUCKETS];
    struct list_mark *marks;
    struct state_cursor *cursors;
    struct deaths *deaths;
};

static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* guards the list of states and all that hangs on it */
static struct state *states;

static struct state *find_locked(const struct store *s)
{
    struct state *st = states;

    while (st && st->store != s)
        st = st->next;
    return st;
}

static void state_free(struct state *st)
{
    struct view_node *n;
    struct list_mark *m;
    struct state_cursor *c;
    struct deaths *d;

    for (unsigned i = 0; i < VIEW_BUCKETS; i++)
        while ((n = st->views[i])) {
            st->views[i] = n->next;
            free(n);
        }
    while ((m = st->marks)) {
        st->marks = m->next;
        free(m);
    }
    while ((c = st->cursors)) {
        st->cursors = c->next;
        free(c->more);
        free(c);
    }
    while ((d = st->deaths)) {
        st->deaths = d->next;
        free(d);
    }
    free(st);
}

void state_drop(struct store *s)
{
    struct state **p, *st;

    pthread_mutex_lock(&lock);
    for (p = &states; (st = *p) && st->store != s;)
        p = &st->next;
    if (st)
        *p = st->next;
    pthread_mutex_unlock(&lock);
    if (st)
        state_free(st);
}

int state_attach(struct store *s)
{
    struct state *st = calloc(1, sizeof(*st));

    if (!st)
        return -E_NOMEM;
    state_drop(s);
    st->store = s;
    st->since_ns = clock_wall_ns();
    pthread_mutex_lock(&lock);
    st->next = states;
    states = st;
    pthread_mutex_unlock(&lock);
    return 0;
}

/* The mark of a volume, made when it is asked for first; NULL when memory is out or the store is not attached. */
static struct list_mark *mark_locked(struct store *s, uint32_t vol)
{
    struct state *st = find_locked(s);
    struct list_mark *m = st ? st->marks : NULL;

    while (m && m->vol != vol)
        m = m->next;
    if (!m && st && (m = calloc(1, sizeof(*m)))) {
        m->vol = vol;
        m->change = 1;
        m->mtime_ns = st->since_ns;
        m->next = st->marks;
        st->marks = m;
    }
    return m;
}

void state_list_changed(struct store *s, uint32_t vol, int64_t taken_ns)
{
    int64_t now = clock_wall_ns();
    struct list_mark *m;

    pthread_mutex_lock(&lock);
    if ((m = mark_locked(s, vol))) {
        m->change++;
        m->mtime_ns = MAX_OF(now, m->mtime_ns + 1); /* grows also when the clock does not */
        if (taken_ns > m->taken_ns)
            m->taken_ns = taken_ns;
    }
    pthread_mutex_unlock(&lock);
}

uint64_t state_list_change(struct store *s, uint32_t vol)
{
    struct list_mark *m;
    uint64_t change;

    pthread_mutex_lock(&lock);
    m = mark_locked(s, vol);
    change = m ? m->change : 0;
    pthread_mutex_unlock(&lock);
    return change;
}

int64_t state_list_mtime_ns(struct store *s, uint32_t vol)
{
    struct list_mark *m;
    int64_t ns;

    pthread_mutex_lock(&lock);
    m = mark_locked(s, vol);
    ns = m ? m->mtime_ns : clock_wall_ns();
    pthread_mutex_unlock(&lock);
    return ns;
}

static int max_taken(void *arg, const struct layer *l)
{
    int64_t *ns = arg;

    *ns = MAX_OF(*ns, l->rec.taken_ns);
    return 0;
}

int state_last_taken(struct txn *t, struct vol *v, int64_t *ret_ns)
{
    struct list_mark *m;
    bool known;
    int64_t ns = 0;
    int r;

    pthread_mutex_lock(&lock);
    m = mark_locked(t->store, v->rec.id);
    known = m && m->taken_known;
    ns = m ? m->taken_ns : 0;
    pthread_mutex_unlock(&lock);
    if (!known) {
        if ((r = layer_each(t, v->rec.id, max_taken, &ns)) < 0)
            return r;
        pthread_mutex_lock(&lock);
        if ((m = mark_locked(t->store, v->rec.id))) {
            m->taken_known = true;
            m->taken_ns = MAX_OF(m->taken_ns, ns);
        }
        pthread_mutex_unlock(&lock);
    }
    *ret_ns = ns;
    return 0;
}

static unsigned view_bucket(uint32_t vol, const struct view_rec *rec)
{
    uint64_t h = rec->dir * 0x9e3779b97f4a7c15ull ^ ((uint64_t)rec->layer << 32 | rec->branch) ^ vol;

    h *= 0xff51afd7ed558ccdull;
    return (unsigned)(h >> 40) % VIEW_BUCKETS;
}

int state_view_add(struct store *s, uint32_t vol, uint32_t view, const struct view_rec *rec)
{
    struct view_node *n = malloc(sizeof(*n));
    struct view_node **b;
    struct state *st;

    if (!n)
        return -E_NOMEM;
    *n = (struct view_node){.vol = vol, .view = view, .rec = *rec};
    pthread_mutex_lock(&lock);
    st = find_locked(s);
    if (st) {
        b = &st->views[view_bucket(vol, rec)];
        n->next = *b;
        *b = n;
    }
    pthread_mutex_unlock(&lock);
    if (!st)
        free(n);
    return 0;
}

int state_view_find(struct store *s, uint32_t vol, const struct view_rec *rec, uint32_t *ret)
{
    struct view_node *n = NULL;
    struct state *st;

    pthread_mutex_lock(&lock);
    if ((st = find_locked(s)))
        n = st->views[view_bucket(vol, rec)];
    while (n && !(n->vol == vol && n->rec.branch == rec->branch && n->rec.layer == rec->layer &&
                  n->rec.dir == rec->dir && n->rec.kind == rec->kind))
        n = n->next;
    if (n)
        *ret = n->view;
    pthread_mutex_unlock(&lock);
    return n ? 0 : -E_NOENT;
}

void state_views_forget(struct store *s, uint32_t vol, uint32_t branch, uint32_t layer)
{
    struct view_node **p, *n;
    struct state *st;

    pthread_mutex_lock(&lock);
    st = find_locked(s);
    for (unsigned i = 0; st && i < VIEW_BUCKETS; i++)
        for (p = &st->views[i]; (n = *p);) {
            if (n->vol == vol && (!branch || (n->rec.branch == branch && n->rec.layer == layer))) {
                *p = n->next;
                free(n);
            } else {
                p = &n->next;
            }
        }
    pthread_mutex_unlock(&lock);
}

void state_volume_forget(struct store *s, uint32_t vol)
{
    struct list_mark **p, *m = NULL;
    struct state *st;

    state_views_forget(s, vol, 0, 0);
    pthread_mutex_lock(&lock);
    if ((st = find_locked(s))) {
        for (p = &st->marks; (m = *p) && m->vol != vol;)
            p = &m->next;
        if (m)
            *p = m->next;
    }
    pthread_mutex_unlock(&lock);
    free(m);
}

struct state_cursor *state_cursor(struct store *s, const struct reclaim_rec *rec)
{
    struct state_cursor *c = NULL;
    struct state *st;

    pthread_mutex_lock(&lock);
    if ((st = find_locked(s))) {
        c = st->cursors;
        while (c && !(c->rec.kind == rec->kind && c->rec.vol == rec->vol && c->rec.branch == rec->branch &&
                      c->rec.layer == rec->layer))
            c = c->next;
        if (!c && (c = calloc(1, sizeof(*c)))) {
            c->rec = *rec;
            c->next = st->cursors;
            st->cursors = c;
        }
    }
    pthread_mutex_unlock(&lock);
    return c;
}

void state_cursor_end(struct store *s, struct state_cursor *c)
{
    struct state_cursor **p;
    struct state *st;

    pthread_mutex_lock(&lock);
    st = find_locked(s);
    for (p = st ? &st->cursors : NULL; p && *p && *p != c;)
        p = &(*p)->next;
    if (p && *p)
        *p = c->next;
    pthread_mutex_unlock(&lock);
    free(c->more);
    free(c);
}

int state_deaths_get(struct store *s, uint32_t branch, uint32_t from, uint32_t to, uint64_t *ret)
{
    struct deaths *d = NULL;
    struct state *st;

    pthread_mutex_lock(&lock);
    if ((st = find_locked(s)))
        d = st->deaths;
    while (d && !(d->branch == branch && d->from == from && d->to == to))
        d = d->next;
    if (d)
        *ret = d->blocks;
    pthread_mutex_unlock(&lock);
    return d ? 0 : -E_NOENT;
}

void state_deaths_put(struct store *s, uint32_t branch, uint32_t from, uint32_t to, uint64_t blocks)
{
    struct deaths *d = malloc(sizeof(*d));
    struct state *st;

    if (!d)
        return; /* it will be counted again */
    *d = (struct deaths){.branch = branch, .from = from, .to = to, .blocks = blocks};
    pthread_mutex_lock(&lock);
    if ((st = find_locked(s))) {
        d->next = st->deaths;
        st->deaths = TAKE(d);
    }
    pthread_mutex_unlock(&lock);
    free(d);
}

void state_deaths_forget(struct store *s, uint32_t branch)
{
    struct deaths **p, *d;
    struct state *st;

    pthread_mutex_lock(&lock);
    st = find_locked(s);
    for (p = st ? &st->deaths : NULL; p && (d = *p);) {
        if (!branch || d->branch == branch) {
            *p = d->next;
            free(d);
        } else {
            p = &d->next;
        }
    }
    pthread_mutex_unlock(&lock);
}
