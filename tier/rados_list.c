/* Listing. RADOS tells names by their hash: all names of the namespace are read, those that are wanted sorted, so many at a time as are
 * kept in memory; then each is looked at, several at a time. */
#include <errno.h>
#include <stdlib.h>

#include "base/array.h"

#include "tier/rados_i.h"

#define NAMES 500000u /* kept at a time; up to twice as many while they are read */

/* --- names ---------------------------------------------------------------------------------------------------------- */

struct names {
    char **v;
    size_t n, keep;
    const char *prefix, *after;
    const char *bound; /* greater ones are for the next round; NULL: all are wanted so far */
    bool more;
};

static void names_free(struct names *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->v[i]);
    free(w->v);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, each once (a placement group that is split meanwhile may tell some twice), and as many as are kept. */
static void names_cut(struct names *w)
{
    size_t n = 0;

    if (w->n)
        qsort(w->v, w->n, sizeof(*w->v), by_name);
    for (size_t i = 0; i < w->n; i++) {
        bool again = n && strcmp(w->v[i], w->v[n - 1]) == 0;

        if (again || n == w->keep) {
            w->more |= !again;
            free(w->v[i]);
        } else {
            w->v[n++] = w->v[i];
        }
    }
    w->n = n;
    w->bound = n == w->keep ? w->v[n - 1] : NULL;
}

static int names_add(void *arg, const char *name)
{
    struct names *w = arg;

    if (strncmp(name, w->prefix, strlen(w->prefix)) != 0 || strcmp(name, w->after) <= 0 ||
        backend_name_check(name) < 0)
        return 0;
    if (w->bound && strcmp(name, w->bound) > 0) {
        w->more = true;
        return 0;
    }
    char **v = array_more(w->v, w->n, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    w->v = v;
    if (!(w->v[w->n] = strdup(name)))
        return -E_NOMEM;
    if (++w->n == 2 * w->keep)
        names_cut(w);
    return 0;
}

int rad_each_name(struct rad *s, const struct rad_run *run, int (*cb)(void *arg, const char *name), void *arg)
{
    const char *name, *key, *space;
    void *list = NULL;
    int r = s->lib->nobjects_list_open(s->io, &list), x = 0;

    if (r < 0)
        return rad_fail(s, "list objects", r, false);
    while (x == 0 && (x = rad_run_check(run)) == 0) {
        r = s->lib->nobjects_list_next(list, &name, &key, &space);
        if (r < 0)
            break;
        if (!key || !*key) /* ours lie where their names say */
            x = cb(arg, name);
    }
    s->lib->nobjects_list_close(list);
    if (x != 0 || r == 0)
        return x;
    if (r == -ENOENT && !rad_pool_is_gone(s)) /* that was all */
        return 0;
    if (r == -ETIMEDOUT)
        return rad_no_answer(s, -E_TIMEOUT, "list objects");
    return rad_fail(s, "list objects", r, false);
}

/* --- telling -------------------------------------------------------------------------------------------------------- */

struct listing {
    struct rad *s;
    struct rad_run *run; /* begins anew with each name that is told */
    int (*cb)(void *arg, const char *name, const struct backend_stat *st);
    void *arg;
};

static int look_send(struct rad *s, const char *name, struct rad_op **ret)
{
    int r = rad_op_read(s, ret);

    if (r < 0)
        return r;
    rad_op_look(*ret);
    return rad_op_send(s, *ret, name, 0);
}

static int tell(struct listing *l, const char *name, struct rad_op *op)
{
    struct rad_object o;
    int r = rad_op_wait(l->s, l->run, op, "look at objects");

    if (r == -E_NOENT) /* it went meanwhile */
        return 0;
    if (r == 0)
        r = rad_object_of(l->s, op, name, &o);
    if (r < 0)
        return r;
    rad_seen(l->s, o.mtime_ns);
    r = l->cb(l->arg, name, &(struct backend_stat){o.size, o.mtime_ns});
    *l->run = rad_run_begin(l->run->call);
    return r;
}

static int tell_all(struct listing *l, const struct names *w)
{
    size_t ahead = l->s->conf.concurrency, sent = 0;
    struct rad_op **ops = calloc(ahead, sizeof(struct rad_op *));
    int r = ops ? 0 : -E_NOMEM;

    for (size_t i = 0; r == 0 && i < w->n; i++) {
        for (; r == 0 && sent < w->n && sent < i + ahead; sent++)
            r = look_send(l->s, w->v[sent], &ops[sent % ahead]);
        if (r == 0)
            r = tell(l, w->v[i], ops[i % ahead]);
        rad_op_unref(TAKE(ops[i % ahead]));
    }
    for (size_t i = 0; ops && i < ahead; i++)
        rad_op_unref(ops[i]);
    free(ops);
    return r;
}

/* One round: those after *after that are kept. *after is the last one then. */
static int round_of(struct listing *l, const char *prefix, char after[BACKEND_NAME_MAX + 1], bool *more)
{
    struct names w = {.keep = l->s->conf.names ? l->s->conf.names : NAMES, .prefix = prefix, .after = after};
    int r = rad_each_name(l->s, l->run, names_add, &w);

    names_cut(&w);
    if (r == 0)
        r = tell_all(l, &w);
    *more = w.more && w.n && !BROKEN(VARVE_BREAK_rados_rounds);
    if (w.n)
        snprintf(after, BACKEND_NAME_MAX + 1, "%s", w.v[w.n - 1]);
    names_free(&w);
    return r;
}

int rad_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
             int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    struct rad_run run = rad_run_begin(c);
    struct listing l = {rad_of(b), &run, cb, arg};
    char at[BACKEND_NAME_MAX + 1];
    bool more = true;
    int r = backend_prefix_check(prefix);

    /* a name that is longer than names may be: what its beginning is greater than, it is greater than, too */
    snprintf(at, sizeof(at), "%s", after);
    while (r == 0 && more)
        r = round_of(&l, prefix, at, &more);
    return r;
}
