#include "snap/diff_list.h"

#include <stdlib.h>

#define NONE SIZE_MAX

struct out {
    char kind;
    bool meta;
    uint32_t type;
    uint64_t ino;
    size_t path, old_path; /* in diff_list.text */
    size_t ranges, nranges;
};

void diff_list_free(struct diff_list *l)
{
    buf_free(&l->fates);
    buf_free(&l->names);
    buf_free(&l->ranges);
    buf_free(&l->text);
    buf_free(&l->outs);
}

/* --- names ---------------------------------------------------------------------------------------------------------- */

static int by_ino_path(const void *a, const void *b, void *arg)
{
    const struct name *x = a, *y = b;
    const char *text = arg;

    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    if (x->gone != y->gone)
        return x->gone ? -1 : 1;
    return strcmp(text + x->path, text + y->path);
}

void diff_list_sort(struct diff_list *l)
{
    if (l->names.len)
        qsort_r(l->names.data, l->names.len / sizeof(struct name), sizeof(struct name), by_ino_path,
                l->text.data);
}

bool diff_list_came(const struct diff_list *l, uint64_t ino, uint64_t dir, uint64_t hash)
{
    const struct name *n = (const struct name *)l->names.data;
    size_t lo = 0, count = l->names.len / sizeof(*n), hi = count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (n[mid].ino < ino)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < count && n[lo].ino == ino; lo++)
        if (!n[lo].gone && n[lo].dir == dir && n[lo].hash == hash)
            return true;
    return false;
}

struct fate *diff_list_fate(const struct diff_list *l, uint64_t ino)
{
    struct fate *f = (struct fate *)l->fates.data;
    size_t lo = 0, hi = l->fates.len / sizeof(*f);

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (f[mid].ino == ino)
            return &f[mid];
        if (f[mid].ino < ino)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* --- entries -------------------------------------------------------------------------------------------------------- */

int diff_list_add(struct diff_list *l, char kind, const struct name *n, const struct name *old,
                  const struct fate *f)
{
    struct out o = {
        .kind = kind, .type = n->type, .ino = n->ino, .path = n->path, .old_path = old ? old->path : NONE};

    if (f) {
        o.meta = f->meta;
        o.ranges = f->ranges;
        o.nranges = f->nranges;
    }
    return buf_add(&l->outs, &o, sizeof(o));
}

static int by_path(const void *a, const void *b, void *arg)
{
    const struct out *x = a, *y = b;
    const char *text = arg;
    int c = strcmp(text + x->path, text + y->path);

    return c ? c : (y->kind == '-') - (x->kind == '-');
}

static bool lies_below(const char *path, const char *below)
{
    size_t n = strlen(below);

    return n == 0 || (strncmp(path, below, n) == 0 && (path[n] == 0 || path[n] == '/'));
}

int diff_list_give(struct diff_list *l, const char *below, int (*cb)(void *arg, const struct diff_entry *e),
                   void *arg)
{
    struct out *o = (struct out *)l->outs.data;
    size_t count = l->outs.len / sizeof(*o);
    char *text = (char *)l->text.data;
    int r = 0;

    if (count)
        qsort_r(o, count, sizeof(*o), by_path, text);
    for (size_t i = 0; i < count && r == 0; i++) {
        struct diff_entry e = {.kind = o[i].kind, .type = o[i].type, .meta = o[i].meta, .ino = o[i].ino};

        e.path = text + o[i].path;
        e.old_path = o[i].old_path == NONE ? NULL : text + o[i].old_path;
        e.nranges = o[i].nranges;
        if (e.nranges)
            e.ranges = (const struct diff_range *)l->ranges.data + o[i].ranges;
        if (lies_below(e.path, below) || (e.old_path && lies_below(e.old_path, below)))
            r = cb(arg, &e);
    }
    return r;
}
