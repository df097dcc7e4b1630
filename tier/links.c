#include "tier/links.h"

#include <stdlib.h>

struct links {
    struct link {
        uint64_t ino; /* 0: free */
        char *path;
    } * v;
    size_t n, cap;
};

int links_new(struct links **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret ? 0 : -E_NOMEM;
}

void links_free(struct links *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->cap; i++)
        free(l->v[i].path);
    free(l->v);
    free(l);
}

static struct link *slot(struct link *v, size_t cap, uint64_t ino)
{
    size_t i = (ino * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);

    while (v[i].ino && v[i].ino != ino)
        i = (i + 1) & (cap - 1);
    return &v[i];
}

const char *links_get(const struct links *l, uint64_t ino)
{
    return l->cap ? slot(l->v, l->cap, ino)->path : NULL;
}

int links_put(struct links *l, uint64_t ino, const char *path)
{
    char *copy;

    if (l->n * 2 >= l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct link *v = calloc(cap, sizeof(*v));

        if (!v)
            return -E_NOMEM;
        for (size_t i = 0; i < l->cap; i++)
            if (l->v[i].ino)
                *slot(v, cap, l->v[i].ino) = l->v[i];
        free(l->v);
        l->v = v;
        l->cap = cap;
    }
    if (!(copy = strdup(path)))
        return -E_NOMEM;
    *slot(l->v, l->cap, ino) = (struct link){ino, copy};
    l->n++;
    return 0;
}
