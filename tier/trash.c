#include "tier/trash.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mark.h"

#define POINT_MAX (64u << 20) /* bytes of one as it lies there */

static void name_of(const char *dir, const char *id, char out[80])
{
    snprintf(out, 80, "%s/%s", dir, id);
}

bool trash_is(const struct pin *p)
{
    static const struct uuid none;

    return uuid_equal(&p->store, &none) && uuid_equal(&p->dir, &none) && p->npoints == 1;
}

/* --- away ----------------------------------------------------------------------------------------------------------- */

static int raw_copy(struct repo *r, const char *from, const char *to, const char *id)
{
    cleanup(buf_free) struct buf b = {0};
    char name[80];
    int x;

    name_of(from, id, name);
    x = backend_get_all(r->b, &r->call, name, POINT_MAX, &b);
    name_of(to, id, name);
    return x < 0 ? x : repo_put(r, name, b.data, b.len);
}

static int hold(struct repo *r, const char *id, int64_t keep_ns)
{
    struct pin pin = {.generation = (uint64_t)keep_ns};
    struct point pt;
    int x = point_get(r, id, &pt);

    if (x < 0)
        return x;
    pin.volume = pt.volume;
    memcpy(pin.volume_name, pt.volume_name, sizeof(pin.volume_name));
    x = pin_add(r, &pin, &pt);
    point_release(&pt);
    if (x == 0)
        x = pin_put(r, &pin, false, NULL, NULL);
    pin_release(&pin);
    return x;
}

/* What needs it is held, and it can be had back, before it goes: a death between leaves too much, not too little. */
int trash_put(struct repo *r, const char *id, int64_t keep_ns)
{
    struct backend_stat st;
    char name[80];
    int x = repo_may_write(r);

    name_of("points", id, name);
    if (x == 0 && keep_ns > 0)
        x = backend_stat(r->b, &r->call, name, &st);
    if (x == 0 && keep_ns > 0) {
        if (!BROKEN(VARVE_BREAK_trash_unheld))
            x = hold(r, id, keep_ns);
        if (x == 0)
            x = raw_copy(r, "points", "trash", id);
    }
    return x < 0 ? x : backend_del(r->b, &r->call, name);
}

/* --- what is there -------------------------------------------------------------------------------------------------- */

struct held { /* a pin of one */
    char pin[SHA_TEXT], point[SHA_TEXT];
    int64_t until_ns;
};
struct listing {
    struct repo *r;
    struct buf held; /* struct held each */
    bool unread;     /* there is a pin that cannot be read */
};

/* By the backend's clock. -E_NOENT: the pin went in this moment. */
static int until_of(struct repo *r, const struct pin *p, int64_t *ret)
{
    struct backend_stat st;
    char name[80];
    int x;

    name_of("pins", p->id, name);
    x = backend_stat(r->b, &r->call, name, &st);
    if (x == 0)
        *ret = st.mtime_ns + (int64_t)MIN_OF(p->generation, (uint64_t)INT64_MAX / 4);
    return x;
}

static int note(void *arg, const struct pin *p)
{
    struct listing *l = arg;
    struct held h = {.until_ns = 0};
    int x = trash_is(p) ? until_of(l->r, p, &h.until_ns) : -E_NOENT;

    if (x < 0)
        return x == -E_NOENT ? 0 : x;
    memcpy(h.pin, p->id, sizeof(h.pin));
    pin_first(p, h.point);
    return buf_add(&l->held, &h, sizeof(h));
}

static void note_unread(void *arg, const char *name, int why)
{
    (void)name, (void)why;
    ((struct listing *)arg)->unread = true;
}

static int list(struct repo *r, struct listing *l)
{
    *l = (struct listing){.r = r};
    return pins_each(r, note, note_unread, l);
}

static const struct held *held_at(const struct listing *l, size_t at)
{
    return (const struct held *)(const void *)(l->held.data + at);
}

struct telling {
    struct repo *r;
    int (*cb)(void *arg, const struct point *p, int64_t until_ns);
    void *arg;
    int64_t until_ns;
};

static int tell_point(void *arg, const struct point *p)
{
    const struct telling *t = arg;

    return t->cb(t->arg, p, t->until_ns);
}

static int tell_pin(void *arg, const struct pin *p)
{
    struct telling *t = arg;
    int x = trash_is(p) ? until_of(t->r, p, &t->until_ns) : -E_NOENT;

    return x == -E_NOENT ? 0 : x < 0 ? x : pin_points(t->r, p, tell_point, t);
}

int trash_each(struct repo *r, int (*cb)(void *arg, const struct point *p, int64_t until_ns), void *arg)
{
    struct telling t = {r, cb, arg, 0};

    return pins_each(r, tell_pin, NULL, &t);
}

/* --- back, and gone ------------------------------------------------------------------------------------------------- */

static int still_held(struct repo *r, const char *pin)
{
    struct backend_stat st;
    char name[80];

    name_of("pins", pin, name);
    return backend_stat(r->b, &r->call, name, &st);
}

/* Marks read recovery points before pins, and after: if it was put while its pin was there, each mark sees one of them. */
static int bring(struct repo *r, const struct held *h)
{
    char name[80];
    int x = raw_copy(r, "trash", "points", h->point);

    MARK("trash: a recovery point is back, its pin is looked for");
    if (x < 0 || (x = still_held(r, h->pin)) == 0)
        return x;
    name_of("points", h->point, name);
    (void)backend_del(r->b, &r->call, name);
    return x;
}

struct deleting {
    struct repo *r;
    int (*del)(void *arg, const char *name); /* 1: it may not be deleted */
    void *arg;
};

static int del_one(void *arg, const char *name)
{
    struct repo *r = arg;
    int x = backend_del(r->b, &r->call, name);

    return x == -E_NOENT ? 0 : x;
}

/* 1: it is held still, since a pin may not be deleted. */
static int forget(const struct deleting *d, const struct listing *l, const char *point)
{
    bool stays = false;
    char name[80];
    int x = 0;

    for (size_t at = 0; x >= 0 && at < l->held.len; at += sizeof(struct held))
        if (strcmp(held_at(l, at)->point, point) == 0) {
            name_of("pins", held_at(l, at)->pin, name);
            x = d->del(d->arg, name);
            stays = stays || x == 1;
        }
    if (x < 0 || stays)
        return x < 0 ? x : 1;
    name_of("trash", point, name);
    x = d->del(d->arg, name);
    return MIN_OF(x, 0); /* what nothing holds is for the next one */
}

int trash_back(struct repo *r, const char *id)
{
    const struct held *last = NULL;
    struct listing l;
    int x = repo_may_write(r);

    if (x < 0)
        return x;
    x = list(r, &l);
    for (size_t at = 0; x == 0 && at < l.held.len; at += sizeof(struct held))
        if (strcmp(held_at(&l, at)->point, id) == 0 && (!last || held_at(&l, at)->until_ns > last->until_ns))
            last = held_at(&l, at);
    if (x == 0)
        x = last ? bring(r, last) : -E_NOENT;
    if (x == 0)
        x = forget(&(struct deleting){r, del_one, r}, &l, id);
    buf_free(&l.held);
    return x;
}

static int64_t latest(const struct listing *l, const char *point)
{
    int64_t until = INT64_MIN;

    for (size_t at = 0; at < l->held.len; at += sizeof(struct held))
        if (strcmp(held_at(l, at)->point, point) == 0)
            until = MAX_OF(until, held_at(l, at)->until_ns);
    return until;
}

/* Bytes whose pin went, and that could not go with it. names: read before the pins, which are put first. */
static int drop_unheld(const struct deleting *d, const struct listing *l, const struct buf *names)
{
    int x = 0;

    for (size_t at = 0; x >= 0 && !l->unread && at < names->len;
         at += strlen((const char *)names->data + at) + 1) {
        const char *name = (const char *)names->data + at;

        if (latest(l, strchr(name, '/') + 1) == INT64_MIN)
            x = d->del(d->arg, name);
    }
    return MIN_OF(x, 0);
}

int trash_empty(struct repo *r, int64_t now_ns, int (*del)(void *arg, const char *name), void *arg,
                uint64_t *ret_gone)
{
    const struct deleting d = {r, del, arg};
    cleanup(buf_free) struct buf names = {0};
    struct listing l = {.r = r};
    int x = backend_names(r->b, &r->call, "trash/", &names);

    if (x == 0)
        x = list(r, &l);
    if (x == 0)
        x = drop_unheld(&d, &l, &names);
    for (size_t at = 0; x >= 0 && at < l.held.len; at += sizeof(struct held)) {
        const struct held *h = held_at(&l, at);

        if (latest(&l, h->point) > now_ns)
            continue;
        x = forget(&d, &l, h->point);
        if (x != 0)
            continue;
        ++*ret_gone;
        log_note("tier", "trash-emptied", "point=%.12s", h->point);
    }
    buf_free(&l.held);
    return MIN_OF(x, 0);
}
