#include "tier/idset.h"

#include <stdlib.h>

void idset_free(struct idset *s)
{
    free(s->v);
    *s = (struct idset){0};
}

/* Identifiers are hashes or random: any of their bytes will do. */
static struct idslot *slot(struct idslot *v, size_t cap, const struct id16 *id)
{
    size_t i = get_le64(id->b) & (cap - 1);

    while (v[i].set && memcmp(v[i].id.b, id->b, 16) != 0)
        i = (i + 1) & (cap - 1);
    return &v[i];
}

uint64_t *idset_get(const struct idset *s, const struct id16 *id)
{
    struct idslot *x = s->cap ? slot(s->v, s->cap, id) : NULL;

    return x && x->set ? &x->num : NULL;
}

int idset_put(struct idset *s, const struct id16 *id, uint64_t **ret_num)
{
    struct idslot *x;

    if (s->n * 2 >= s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 256;
        struct idslot *v = calloc(cap, sizeof(*v));

        if (!v)
            return -E_NOMEM;
        for (size_t i = 0; i < s->cap; i++)
            if (s->v[i].set)
                *slot(v, cap, &s->v[i].id) = s->v[i];
        free(s->v);
        s->v = v;
        s->cap = cap;
    }
    x = slot(s->v, s->cap, id);
    if (!x->set) {
        *x = (struct idslot){.id = *id, .set = true};
        s->n++;
    }
    if (ret_num)
        *ret_num = &x->num;
    return 0;
}
