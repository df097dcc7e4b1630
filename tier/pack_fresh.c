/* What was packed and is not acknowledged. */
#include <stdlib.h>

#include "tier/pack_i.h"

#define CAP_MIN 1024

static const struct id16 none;

static struct fresh_at *slot(struct fresh_at *v, size_t cap, const struct id16 *blob)
{
    size_t i = get_le64(blob->b) & (cap - 1);

    while (memcmp(v[i].blob.b, none.b, 16) != 0 && memcmp(v[i].blob.b, blob->b, 16) != 0)
        i = (i + 1) & (cap - 1);
    return &v[i];
}

void fresh_free(struct fresh *f)
{
    free(f->v);
    *f = (struct fresh){.v = NULL};
}

const struct have_blob *fresh_get(const struct fresh *f, const struct id16 *blob)
{
    struct fresh_at *at = f->n ? slot(f->v, f->cap, blob) : NULL;

    return at && memcmp(at->blob.b, blob->b, 16) == 0 ? &at->at : NULL;
}

/* Without what lies in these chunks (NULL: with all), and with room for more. */
static int rebuild(struct fresh *f, const struct idset *without)
{
    struct fresh n = {.cap = CAP_MIN};

    for (size_t i = 0; i < f->cap; i++)
        if (memcmp(f->v[i].blob.b, none.b, 16) != 0 && !(without && idset_get(without, &f->v[i].at.chunk)))
            n.n++;
    while (n.cap < 4 * n.n)
        n.cap *= 2;
    if (!(n.v = calloc(n.cap, sizeof(*n.v))))
        return -E_NOMEM;
    for (size_t i = 0; i < f->cap; i++)
        if (memcmp(f->v[i].blob.b, none.b, 16) != 0 && !(without && idset_get(without, &f->v[i].at.chunk)))
            *slot(n.v, n.cap, &f->v[i].blob) = f->v[i];
    free(f->v);
    *f = n;
    return 0;
}

int fresh_put(struct fresh *f, const struct id16 *blob, const struct have_blob *at)
{
    struct fresh_at *s;
    int r = f->n * 2 >= f->cap ? rebuild(f, NULL) : 0;

    if (r < 0)
        return r;
    s = slot(f->v, f->cap, blob);
    f->n += memcmp(s->blob.b, none.b, 16) == 0;
    *s = (struct fresh_at){*blob, *at};
    return 0;
}

int fresh_drop(struct fresh *f, const struct idset *chunks)
{
    return f->n ? rebuild(f, chunks) : 0;
}
