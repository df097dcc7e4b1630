#include "tier/tree_diff.h"

/* A page, and its entries that have not been taken yet. */
struct frame {
    struct buf page;
    struct dec d;
    struct page_head h;
};

/* Stands on an entry, of a leaf or of a page above: what lies below it is not read until it is gone into. */
struct cursor {
    struct repo *r;
    struct frame v[TREE_DEPTH_MAX + 1];
    unsigned depth; /* frames; 0: at the end */
    struct tree_rec rec;
    uint8_t level;
};

static void cursor_free(struct cursor *c)
{
    for (size_t i = 0; i < ARRAY_LEN(c->v); i++)
        buf_free(&c->v[i].page);
}

static int next(struct cursor *c)
{
    struct frame *f;

    while (c->depth && c->v[c->depth - 1].h.entries == 0)
        c->depth--;
    if (c->depth == 0)
        return 0;
    f = &c->v[c->depth - 1];
    f->h.entries--;
    c->level = f->h.level;
    return page_entry(&f->d, f->h.level, &c->rec);
}

static struct slice below(const struct cursor *c)
{
    struct dec d = dec_of(c->rec.val, SLICE_SIZE);

    return slice_decode(&d);
}

/* Goes to the first entry of a page. */
static int enter(struct cursor *c, const struct slice *at)
{
    struct frame *f;
    int r;

    if (c->depth == ARRAY_LEN(c->v))
        return -E_CORRUPT;
    f = &c->v[c->depth];
    buf_reset(&f->page);
    if ((r = page_read(c->r, at, &f->page)) < 0)
        return r;
    f->d = dec_of(f->page.data, f->page.len);
    if ((r = page_head(&f->d, &f->h)) < 0)
        return r;
    if (c->depth && f->h.level + 1 != c->v[c->depth - 1].h.level)
        return -E_CORRUPT;
    c->depth++;
    return next(c);
}

static int descend(struct cursor *c)
{
    struct slice at = below(c);

    return enter(c, &at);
}

struct pair {
    struct cursor a, b;
    int (*cb)(void *arg, const struct tree_rec *was, const struct tree_rec *is);
    void *arg;
};

/* The one that comes first gives up its place: by going into it, or by being told. */
static int only_in(struct pair *p, struct cursor *c)
{
    int r;

    if (c->level)
        return descend(c);
    r = c == &p->a ? p->cb(p->arg, &c->rec, NULL) : p->cb(p->arg, NULL, &c->rec);
    return r == 0 ? next(c) : r;
}

static int both_next(struct pair *p)
{
    int r = next(&p->a);

    return r == 0 ? next(&p->b) : r;
}

/* Both stand on the same key. */
static int same_key(struct pair *p)
{
    const struct tree_rec *a = &p->a.rec, *b = &p->b.rec;
    bool equal = a->vlen == b->vlen && memcmp(a->val, b->val, a->vlen) == 0;
    int r;

    if (p->a.level != p->b.level)
        return descend(p->a.level > p->b.level ? &p->a : &p->b);
    if (equal)
        return both_next(p);
    if (p->a.level) {
        struct slice x = below(&p->a), y = below(&p->b);

        if (memcmp(x.blob.b, y.blob.b, sizeof(x.blob.b)) == 0)
            return both_next(p);
        r = descend(&p->a);
        return r == 0 ? descend(&p->b) : r;
    }
    r = p->cb(p->arg, a, b);
    return r == 0 ? both_next(p) : r;
}

static int step(struct pair *p)
{
    const struct tree_rec *a = &p->a.rec, *b = &p->b.rec;
    int c;

    if (p->a.depth == 0)
        return only_in(p, &p->b);
    if (p->b.depth == 0)
        return only_in(p, &p->a);
    c = tree_key_cmp(a->key, a->klen, b->key, b->klen);
    return c == 0 ? same_key(p) : only_in(p, c < 0 ? &p->a : &p->b);
}

int tree_diff(struct repo *r, const struct tree *was, const struct tree *is,
              int (*cb)(void *arg, const struct tree_rec *was, const struct tree_rec *is), void *arg)
{
    struct pair p = {.a = {.r = r}, .b = {.r = r}, .cb = cb, .arg = arg};
    int x = 0;

    if (was->depth && is->depth && memcmp(was->root.blob.b, is->root.blob.b, sizeof(was->root.blob.b)) == 0)
        return 0;
    if (was->depth)
        x = enter(&p.a, &was->root);
    if (x == 0 && is->depth)
        x = enter(&p.b, &is->root);
    while (x == 0 && (p.a.depth || p.b.depth))
        x = step(&p);
    cursor_free(&p.a);
    cursor_free(&p.b);
    return x;
}
