#include "tier/tree_cursor.h"

static int step_in(struct tree_cursor *c, const struct slice *at)
{
    struct tree_step *s = &c->v[c->depth];
    int r = c->depth < TREE_DEPTH_MAX ? repo_page_get(c->r, at, &s->page) : -E_CORRUPT;

    if (r < 0)
        return r;
    c->depth++;
    s->d = dec_of(s->page->plain.data, s->page->plain.len);
    return page_head(&s->d, &s->head);
}

static int child_in(struct tree_cursor *c, const struct tree_rec *ref)
{
    struct dec d = dec_of(ref->val, ref->vlen);
    struct slice s = slice_decode(&d);

    return step_in(c, &s);
}

static void step_out(struct tree_cursor *c)
{
    repo_page_put(&c->v[--c->depth].page);
}

/* 1: the next entry of the page; 0: it is through. */
static int entry_next(struct tree_step *s, struct tree_rec *ret)
{
    int r;

    if (s->head.entries == 0)
        return s->d.left ? -E_CORRUPT : 0;
    if ((r = page_entry(&s->d, s->head.level, ret)) < 0)
        return r;
    s->head.entries--;
    return 1;
}

/* Where a leaf is left: before what is not less than the key, or before the last one that is not greater. */
enum stand { STAND_AT, STAND_BEFORE };

/* In this page, up to the last entry that is not greater than from: *ret, the first one where all are greater. A leaf is left as stand
 * says. */
static int page_seek(struct tree_step *s, const struct tree_key *from, enum stand stand, struct tree_rec *ret)
{
    struct tree_step before = *s, last = *s;
    struct tree_rec e;
    bool any = false, leaf = s->head.level == 0;
    int r;

    while ((r = entry_next(s, &e)) == 1) {
        int order = tree_key_cmp(e.key, e.klen, from->b, from->len);

        if (leaf ? order > 0 || (order == 0 && stand == STAND_AT) : any && order > 0) {
            *s = before;
            break;
        }
        last = before;
        before = *s;
        *ret = e;
        any = true;
    }
    if (leaf && any && stand == STAND_BEFORE && !BROKEN(VARVE_BREAK_roll_before))
        *s = last;
    return r < 0 ? r : any;
}

static int seek(struct tree_cursor *c, const struct slice *root, const struct tree_key *from,
                enum stand stand)
{
    struct tree_rec e = {.klen = 0};
    int r = step_in(c, root);

    while (r == 0) {
        struct tree_step *s = &c->v[c->depth - 1];
        bool leaf = s->head.level == 0;

        r = page_seek(s, from, stand, &e);
        if (leaf || r <= 0)
            return MIN_OF(r, 0);
        r = child_in(c, &e);
    }
    return r;
}

static int open_at(struct tree_cursor *c, struct repo *r, const struct tree *t, const struct tree_key *prefix,
                   const struct tree_key *from, enum stand stand)
{
    int x;

    c->r = r;
    c->prefix = *prefix;
    c->depth = 0;
    x = t->depth ? seek(c, &t->root, from, stand) : 0;
    if (x < 0)
        tree_cursor_close(c);
    return x;
}

int tree_cursor_open(struct tree_cursor *c, struct repo *r, const struct tree *t,
                     const struct tree_key *prefix, const struct tree_key *from)
{
    return open_at(c, r, t, prefix, from ? from : prefix, STAND_AT);
}

int tree_cursor_before(struct tree_cursor *c, struct repo *r, const struct tree *t,
                       const struct tree_key *prefix, const struct tree_key *from)
{
    return open_at(c, r, t, prefix, from, STAND_BEFORE);
}

static int key_past(const struct tree_cursor *c, const struct tree_rec *e)
{
    const struct tree_key *p = &c->prefix;

    return memcmp(e->key, p->b, MIN_OF(e->klen, p->len)) > 0;
}

int tree_cursor_next(struct tree_cursor *c, struct tree_rec *ret)
{
    int r = 0;

    while (r == 0 && c->depth > 0) {
        struct tree_step *s = &c->v[c->depth - 1];

        r = entry_next(s, ret);
        if (r == 0) {
            step_out(c);
        } else if (r == 1 && key_past(c, ret)) {
            tree_cursor_close(c);
            r = 0;
        } else if (r == 1 && s->head.level > 0) {
            r = child_in(c, ret);
        } else if (r == 1 &&
                   (ret->klen < c->prefix.len || memcmp(ret->key, c->prefix.b, c->prefix.len) != 0)) {
            r = 0; /* less than all that is asked for */
        }
    }
    return r;
}

void tree_cursor_copy(struct tree_cursor *to, const struct tree_cursor *c)
{
    *to = *c;
    for (unsigned i = 0; i < to->depth; i++)
        to->v[i].page->refs++;
}

void tree_cursor_close(struct tree_cursor *c)
{
    while (c->depth > 0)
        step_out(c);
}
