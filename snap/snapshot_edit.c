/* Changing what is known of snapshots: delete, rename, hold, label, expire. */
#include <stdio.h>

#include "base/clock.h"
#include "snap/internal.h"

/* One change of one snapshot's record in one transaction. */
struct edit {
    struct txn t;
    struct layer l;
    struct vol *v;
};

static int edit_begin(struct vol *v, const struct vfs_ctx *c, const char *name, bool freeing, struct edit *e)
{
    int r;

    e->v = v;
    r = freeing ? txn_begin_freeing(v->store, OP_SNAPSHOT, v, &e->t)
                : txn_begin(v->store, TXN_WRITE, OP_SNAPSHOT, v, &e->t);
    if (r < 0)
        return r;
    if (c) {
        e->t.conn = c->conn;
        e->t.unique = c->unique;
    }
    r = layer_find(&e->t, v->rec.id, name, &e->l);
    if (r == 0 && !layer_shown(&e->l.rec))
        r = -E_NOENT;
    if (r < 0)
        txn_abort(&e->t);
    return r;
}

/* Commits if all went well so far; the list counts as changed then. */
static int edit_end(struct edit *e, int r)
{
    if (r < 0) {
        txn_abort(&e->t);
        return r;
    }
    if ((r = txn_commit(&e->t)) == 0)
        state_list_changed(e->v->store, e->v->rec.id, 0);
    return r;
}

int snap_delete(struct vol *v, const struct vfs_ctx *c, const char *name)
{
    struct layer_rec seen;
    uint32_t from = 0;
    struct edit e;
    int r;

    if ((r = snap_find(v, name, &seen)) < 0)
        return r;
    if (!seen.holds && layer_shown(&seen) && (r = views_thin(v, seen.branch, seen.layer, &from)) < 0)
        return r;
    if ((r = edit_begin(v, c, name, true, &e)) < 0)
        return r;
    if (e.l.rec.layer != seen.layer) /* the name means another one by now */
        from = 0;
    if (e.l.rec.holds)
        return edit_end(&e, -E_HELD);
    r = layer_name_del(&e.t, v->rec.id, e.l.rec.name);
    if (r == 0)
        r = views_forget_layer(&e.t, v->rec.id, e.l.rec.branch, e.l.rec.layer, from);
    if (r == 0)
        r = layer_doom(&e.t, &e.l);
    if ((r = edit_end(&e, r)) == 0) {
        state_views_forget(v->store, v->rec.id, e.l.rec.branch, e.l.rec.layer);
        state_deaths_forget(v->store, e.l.rec.branch);
    }
    return r;
}

int snap_rename(struct vol *v, const struct vfs_ctx *c, const char *name, const char *to)
{
    struct layer other;
    struct edit e;
    int r;

    if ((r = snap_name_check(to)) < 0)
        return r;
    if ((r = edit_begin(v, c, name, false, &e)) < 0)
        return r;
    if (strcmp(e.l.rec.name, to) == 0) {
        txn_abort(&e.t);
        return 0;
    }
    r = layer_named(&e.t, v->rec.id, to, &other);
    if (r != -E_NOENT)
        return edit_end(&e, r == 0 ? -E_EXIST : r);
    r = layer_name_del(&e.t, v->rec.id, e.l.rec.name);
    if (r == 0)
        r = layer_name_put(&e.t, v->rec.id, to, e.l.rec.layer);
    memcpy(e.l.rec.name, to, strlen(to) + 1);
    if (r == 0)
        r = layer_put(&e.t, &e.l.rec, e.l.text, e.l.text_len);
    return edit_end(&e, r);
}

/* Words become lines of lists and control files: printable, short. */
static int word_check(const char *s, bool may_be_empty)
{
    size_t n = strlen(s);

    if (n > NAME_LEN_MAX)
        return -E_NAMETOOLONG;
    if (n == 0 && !may_be_empty)
        return -E_INVAL;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return -E_INVAL;
    return 0;
}

static int edit_text(struct vol *v, const char *name, const struct layer_text *x, bool add)
{
    cleanup(buf_free) struct buf text = {0};
    struct edit e;
    int r, had;

    if ((r = edit_begin(v, NULL, name, !add, &e)) < 0)
        return r;
    had = layer_text_edit(&e.l, x, add, &text);
    if (had < 0)
        return edit_end(&e, had);
    if (!had && !add)
        return edit_end(&e, -E_NOENT);
    if (strcmp(x->kind, "hold") == 0)
        e.l.rec.holds += (uint32_t)(add - had);
    return edit_end(&e, layer_put(&e.t, &e.l.rec, (const char *)text.data, text.len));
}

int snap_hold(struct vol *v, const char *name, const char *tag)
{
    int r = word_check(tag, false);

    return r < 0 ? r : edit_text(v, name, &(struct layer_text){"hold", tag, ""}, true);
}

int snap_release(struct vol *v, const char *name, const char *tag)
{
    return edit_text(v, name, &(struct layer_text){"hold", tag, ""}, false);
}

struct held {
    const char *tag;
    char name[NAME_LEN_MAX + 1];
};

static int find_held(void *arg, const struct layer_rec *rec, const char *text, size_t len)
{
    const char *p = text, *end = text + len;
    struct held *h = arg;
    struct layer_text t;

    while (layer_text_next(&p, end, &t) == 1)
        if (strcmp(t.kind, "hold") == 0 && strcmp(t.key, h->tag) == 0) {
            snprintf(h->name, sizeof(h->name), "%s", rec->name);
            return 1;
        }
    return 0;
}

int snap_release_all(struct vol *v, const char *tag)
{
    struct held h = {.tag = tag};
    int r;

    while ((r = snap_each(v, find_held, &h)) == 1) {
        r = snap_release(v, h.name, tag);
        if (r < 0 && r != -E_NOENT) /* else it has just got another name */
            return r;
    }
    return r;
}

int snap_label(struct vol *v, const char *name, const char *key, const char *value)
{
    int r = word_check(key, false);

    if (r == 0 && value)
        r = word_check(value, true);
    return r < 0 ? r
                 : edit_text(v, name, &(struct layer_text){"label", key, value ? value : ""}, value != NULL);
}

int snap_expire(struct vol *v, const char *name, int64_t when_ns)
{
    struct edit e;
    int r;

    if (when_ns < 0)
        return -E_INVAL;
    if ((r = edit_begin(v, NULL, name, false, &e)) < 0)
        return r;
    e.l.rec.expires_ns = when_ns;
    return edit_end(&e, layer_put(&e.t, &e.l.rec, e.l.text, e.l.text_len));
}

struct due {
    struct vol *v;
    int64_t now_ns;
};

static int delete_due(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct due *d = arg;
    int r;

    (void)text;
    (void)text_len;
    if (!rec->expires_ns || rec->expires_ns > d->now_ns || rec->holds)
        return 0;
    r = snap_delete(d->v, NULL, rec->name);
    return r == -E_NOENT || r == -E_HELD ? 0 : r; /* somebody was quicker */
}

static int expire_volume(void *arg, struct vol *v)
{
    struct due *d = arg;

    d->v = v;
    return snap_each(v, delete_due, d);
}

int snap_expire_due(struct store *s)
{
    struct due d = {.now_ns = clock_wall_ns()};
    int r = volume_each(s, expire_volume, &d);

    return r < 0 ? r : volume_purge_due(s);
}
