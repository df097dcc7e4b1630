#include "tests/lib/oracle.h"

#include <stdlib.h>

static void *must(void *p)
{
    assert(p);
    return p;
}

static void ino_unref(struct o_ino *in)
{
    if (--in->refs > 0)
        return;
    pages_free(&in->data);
    free(in->target);
    for (size_t i = 0; i < in->nent; i++)
        free(in->ent[i].name);
    free(in->ent);
    for (size_t i = 0; i < in->nxattr; i++) {
        free(in->xattr[i].name);
        free(in->xattr[i].val);
    }
    free(in->xattr);
    free(in);
}

static struct o_ino *ino_copy(const struct o_ino *in)
{
    struct o_ino *c = must(malloc(sizeof(*c)));

    *c = *in;
    c->refs = 1;
    memset(&c->data, 0, sizeof(c->data));
    pages_clone(&c->data, &in->data);
    c->target = in->target ? must(strdup(in->target)) : NULL;
    c->ent = in->nent ? must(malloc(in->nent * sizeof(*c->ent))) : NULL;
    for (size_t i = 0; i < in->nent; i++)
        c->ent[i] = (struct o_ent){must(strdup(in->ent[i].name)), in->ent[i].ino};
    c->xattr = in->nxattr ? must(malloc(in->nxattr * sizeof(*c->xattr))) : NULL;
    for (size_t i = 0; i < in->nxattr; i++) {
        const struct o_xattr *x = &in->xattr[i];
        c->xattr[i] = (struct o_xattr){must(strdup(x->name)), must(malloc(x->len + 1)), x->len};
        memcpy(c->xattr[i].val, x->val, x->len);
    }
    return c;
}

void o_ino_assign(struct o_ino *dst, const struct o_ino *src)
{
    struct o_ino *c = ino_copy(src);

    assert(dst->refs == 1);
    *dst = *c;
    free(c);
}

struct o_tree *o_tree_new(void)
{
    return must(calloc(1, sizeof(struct o_tree)));
}

struct o_tree *o_tree_copy(const struct o_tree *t)
{
    struct o_tree *c = o_tree_new();

    c->v = must(malloc((t->n + 1) * sizeof(*c->v)));
    c->cap = t->n + 1;
    for (size_t i = 0; i < t->n; i++) {
        if (t->v[i]->nlink == 0)
            continue;
        c->v[c->n] = t->v[i];
        c->v[c->n++]->refs++;
    }
    return c;
}

void o_tree_free(struct o_tree *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        ino_unref(t->v[i]);
    free(t->v);
    free(t);
}

static size_t tree_place(const struct o_tree *t, uint64_t ino)
{
    size_t lo = 0, hi = t->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t->v[mid]->ino < ino)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct o_ino *o_get(const struct o_tree *t, uint64_t ino)
{
    size_t i = tree_place(t, ino);

    return i < t->n && t->v[i]->ino == ino ? t->v[i] : NULL;
}

struct o_ino *o_mut(struct o_tree *t, uint64_t ino)
{
    size_t i = tree_place(t, ino);

    assert(i < t->n && t->v[i]->ino == ino);
    if (t->v[i]->refs > 1) {
        struct o_ino *c = ino_copy(t->v[i]);
        t->v[i]->refs--;
        t->v[i] = c;
    }
    return t->v[i];
}

struct o_ino *o_add(struct o_tree *t, uint64_t ino)
{
    size_t i = tree_place(t, ino);

    assert(i == t->n || t->v[i]->ino != ino);
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 16;
        t->v = must(realloc(t->v, t->cap * sizeof(*t->v)));
    }
    memmove(t->v + i + 1, t->v + i, (t->n - i) * sizeof(*t->v));
    t->n++;
    t->v[i] = must(calloc(1, sizeof(struct o_ino)));
    t->v[i]->refs = 1;
    t->v[i]->ino = ino;
    return t->v[i];
}

void o_del(struct o_tree *t, uint64_t ino)
{
    size_t i = tree_place(t, ino);

    assert(i < t->n && t->v[i]->ino == ino);
    ino_unref(t->v[i]);
    memmove(t->v + i, t->v + i + 1, (t->n - i - 1) * sizeof(*t->v));
    t->n--;
}

const struct o_ent *o_ent_find(const struct o_ino *dir, const char *name)
{
    for (size_t i = 0; i < dir->nent; i++)
        if (strcmp(dir->ent[i].name, name) == 0)
            return &dir->ent[i];
    return NULL;
}

void o_ent_add(struct o_ino *dir, const char *name, uint64_t ino)
{
    assert(!o_ent_find(dir, name));
    dir->ent = must(realloc(dir->ent, (dir->nent + 1) * sizeof(*dir->ent)));
    dir->ent[dir->nent++] = (struct o_ent){must(strdup(name)), ino};
}

void o_ent_del(struct o_ino *dir, const char *name)
{
    size_t i = (size_t)(o_ent_find(dir, name) - dir->ent);

    assert(i < dir->nent);
    free(dir->ent[i].name);
    dir->ent[i] = dir->ent[--dir->nent];
}

const struct o_xattr *o_xattr_find(const struct o_ino *in, const char *name)
{
    for (size_t i = 0; i < in->nxattr; i++)
        if (strcmp(in->xattr[i].name, name) == 0)
            return &in->xattr[i];
    return NULL;
}

bool o_xattr_del(struct o_ino *in, const char *name)
{
    const struct o_xattr *x = o_xattr_find(in, name);
    size_t i;

    if (!x)
        return false;
    i = (size_t)(x - in->xattr);
    free(in->xattr[i].name);
    free(in->xattr[i].val);
    in->xattr[i] = in->xattr[--in->nxattr];
    return true;
}

void o_xattr_set(struct o_ino *in, const char *name, const void *val, size_t len)
{
    struct o_xattr x = {must(strdup(name)), must(malloc(len + 1)), len};

    memcpy(x.val, val, len);
    o_xattr_del(in, name);
    in->xattr = must(realloc(in->xattr, (in->nxattr + 1) * sizeof(*in->xattr)));
    in->xattr[in->nxattr++] = x;
}

/* What attributes and further names count, in whole blocks. */
static uint64_t more_blocks(const struct o_ino *in)
{
    uint64_t bytes = !o_is_dir(in) && in->nlink > 1 ? (in->nlink - 1) * 256ull : 0;

    for (size_t i = 0; i < in->nxattr; i++)
        bytes += strlen(in->xattr[i].name) + 1 + in->xattr[i].len + 64;
    return bytes / PG_SIZE;
}

uint64_t o_blocks(const struct o_ino *in)
{
    if (!S_ISREG(in->mode))
        return S_ISLNK(in->mode) + more_blocks(in);
    return more_blocks(in) + (in->is_inline ? (in->size + PG_SIZE - 1) / PG_SIZE : pages_count(&in->data));
}

uint64_t o_tree_blocks(const struct o_tree *t)
{
    uint64_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += o_blocks(t->v[i]);
    return n;
}
