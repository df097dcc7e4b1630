#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "snap/snapshot.h"
#include "tests/bitflip/flip.h"

#define DEPTH_MAX 20
#define NAMES_MAX 20000

struct look {
    struct vol *v;
    struct buf *out;
    unsigned depth, names;
};

static void tree_look(struct look *l, vfs_node n, const char *path);

static void say_sum(struct look *l, vfs_node n, const struct vfs_attr *a)
{
    static uint8_t room[1 << 16];
    uint64_t sum = 0;
    size_t got = 1;

    for (uint64_t off = 0; off < a->size && got > 0; off += got) {
        int r = vfs_read(l->v, n, room, sizeof(room), off, &got);
        if (r < 0) {
            buf_printf(l->out, "\tERROR");
            return;
        }
        sum = hash_sum(sum, room, got);
    }
    buf_printf(l->out, "\t%016llx", (unsigned long long)sum);
}

/* -E_..., or the sum of names and values. */
static int xattr_sum(struct look *l, vfs_node n, uint64_t *ret)
{
    cleanup(buf_free) struct buf names = {0};
    int r = vfs_listxattr(l->v, n, &names);

    *ret = 0;
    for (size_t i = 0; i < names.len && r == 0; i += strlen((char *)names.data + i) + 1) {
        cleanup(buf_free) struct buf val = {0};
        const char *name = (char *)names.data + i;
        r = vfs_getxattr(l->v, n, name, &val);
        *ret += hash_sum(hash_sum(1, name, strlen(name)), val.data, val.len);
    }
    return r;
}

static void say_node(struct look *l, vfs_node n, const char *path)
{
    cleanup(buf_free) struct buf target = {0};
    struct vfs_attr a;
    uint64_t xattrs = 0;
    int r = vfs_getattr(l->v, n, &a);

    if (r == 0)
        r = xattr_sum(l, n, &xattrs);
    if (r == 0 && S_ISLNK(a.mode))
        r = vfs_readlink(l->v, n, &target);
    if (r < 0) {
        buf_printf(l->out, "%s\tERROR\n", path);
        return;
    }
    buf_printf(l->out, "%s\t%o %u %u %u %llu %llu %lld.%ld %lld.%ld %llx %s", path, a.mode, a.nlink, a.uid,
               a.gid, (unsigned long long)a.size, (unsigned long long)a.blocks512, (long long)a.mtime.tv_sec,
               a.mtime.tv_nsec, (long long)a.ctime.tv_sec, a.ctime.tv_nsec, (unsigned long long)xattrs,
               buf_cstr(&target));
    if (S_ISREG(a.mode))
        say_sum(l, n, &a);
    buf_puts(l->out, "\n");
    if (S_ISDIR(a.mode))
        tree_look(l, n, path);
}

struct list {
    struct look *l;
    struct entry {
        char name[NAME_LEN_MAX + 1];
        vfs_node node;
    } * v;
    size_t n;
};

static int take_entry(void *arg, const struct vfs_dirent *e)
{
    struct list *d = arg;

    if (e->name_len <= 2 && memcmp(e->name, "..", e->name_len) == 0)
        return 0;
    if (d->l->names++ > NAMES_MAX)
        return 1;
    d->v = realloc(d->v, (d->n + 1) * sizeof(*d->v));
    assert(d->v);
    snprintf(d->v[d->n].name, sizeof(d->v[0].name), "%.*s", (int)e->name_len, e->name);
    d->n++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* By the list, and each name looked up: two ways to the same. */
static void tree_look(struct look *l, vfs_node n, const char *path)
{
    struct list d = {.l = l};
    int r;

    if (l->depth++ == DEPTH_MAX)
        return;
    r = vfs_readdir(l->v, n, 0, false, take_entry, &d);
    if (r < 0)
        buf_printf(l->out, "%s/\tERROR\n", path);
    if (d.n)
        qsort(d.v, d.n, sizeof(*d.v), by_name);
    for (size_t i = 0; i < d.n; i++) {
        cleanup(buf_free) struct buf below = {0};
        struct vfs_attr a;
        buf_printf(&below, "%s/%s", path, d.v[i].name);
        r = vfs_lookup(l->v, n, d.v[i].name, &a);
        if (r == -E_NOENT)
            buf_printf(l->out, "%s\tMISSING\n", buf_cstr(&below));
        else if (r < 0)
            buf_printf(l->out, "%s\tERROR\n", buf_cstr(&below));
        else
            say_node(l, a.node, buf_cstr(&below));
    }
    free(d.v);
    l->depth--;
}

struct names {
    char name[64][NAME_LEN_MAX + 1];
    unsigned n;
};

static int take_name(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct names *s = arg;

    (void)text;
    (void)text_len;
    if (s->n < ARRAY_LEN(s->name))
        snprintf(s->name[s->n++], sizeof(s->name[0]), "%s", rec->name);
    return 0;
}

static int volume_look(void *arg, struct vol *v)
{
    struct look l = {.v = v, .out = arg};
    struct names s = {.n = 0};
    char path[2 * NAME_LEN_MAX + 4];

    snprintf(path, sizeof(path), "/%s", v->rec.name);
    say_node(&l, vfs_node_make(v->rec.live_view, INO_ROOT), path);
    if (snap_each(v, take_name, &s) < 0)
        buf_printf(l.out, "%s@/\tERROR\n", path);
    for (unsigned i = 0; i < s.n; i++) {
        struct vfs_attr a;
        vfs_node n;
        int r = view_enter_readonly(v, s.name[i], &n);
        snprintf(path, sizeof(path), "/%s@%s", v->rec.name, s.name[i]);
        if (r == 0)
            r = vfs_getattr(v, n, &a);
        if (r < 0)
            buf_printf(l.out, "%s\tERROR\n", path);
        else
            say_node(&l, n, path);
    }
    return 0;
}

void picture_take(struct store *s, struct buf *out)
{
    if (volume_each(s, volume_look, out) < 0)
        buf_puts(out, "/\tERROR\n");
}

/* --- comparing ---------------------------------------------------------------------------------------------------------- */

struct line {
    char *path, *meta, *sum;
};
struct lines {
    struct line *v;
    size_t n;
};

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->path, ((const struct line *)b)->path);
}

static struct lines lines_of(const struct buf *b, char **text)
{
    struct lines l = {NULL, 0};
    char *p = malloc(b->len + 1), *end;

    assert(p);
    if (b->len)
        memcpy(p, b->data, b->len);
    p[b->len] = 0;
    *text = p;
    for (; (end = strchr(p, '\n')); p = end + 1) {
        struct line x = {.path = p, .sum = NULL};
        *end = 0;
        x.meta = strchr(p, '\t');
        *x.meta++ = 0;
        if ((x.sum = strchr(x.meta, '\t')))
            *x.sum++ = 0;
        l.v = realloc(l.v, (l.n + 1) * sizeof(*l.v));
        assert(l.v);
        l.v[l.n++] = x;
    }
    if (l.n)
        qsort(l.v, l.n, sizeof(*l.v), by_path);
    return l;
}

static const struct line *line_find(const struct lines *l, const char *path)
{
    const struct line key = {.path = (char *)(uintptr_t)path};

    return l->n ? bsearch(&key, l->v, l->n, sizeof(*l->v), by_path) : NULL;
}

/* Is something above it an error, so that it could not be seen? */
static bool excused(const struct lines *got, const char *path)
{
    char up[4096];
    const struct line *l;

    snprintf(up, sizeof(up), "%s", path);
    for (char *at; (at = strrchr(up, '/'));) {
        at[1] = 0; /* the list of the directory */
        if (line_find(got, up))
            return true;
        at[0] = 0;
        l = line_find(got, up);
        if (l && strcmp(l->meta, "ERROR") == 0)
            return true;
    }
    snprintf(up, sizeof(up), "%s", path);
    up[strcspn(up + 1, "/") + 1] = 0; /* a snapshot: the list of snapshots */
    if (strchr(up, '@')) {
        snprintf(strchr(up, '@'), 8, "@/");
        return line_find(got, up) != NULL;
    }
    return false;
}

static enum difference line_compare(const struct lines *got, const struct line *w)
{
    const struct line *g = line_find(got, w->path);

    if (!g)
        return excused(got, w->path) ? ERRORS : WRONG;
    if (strcmp(g->meta, "ERROR") == 0)
        return ERRORS;
    if (strcmp(g->meta, w->meta) != 0)
        return WRONG;
    if (!w->sum || (g->sum && strcmp(g->sum, w->sum) == 0))
        return SAME;
    return !g->sum ? WRONG : strcmp(g->sum, "ERROR") == 0 ? ERRORS : WRONG_BYTES;
}

enum difference picture_compare(struct buf *want, struct buf *got, char where[512])
{
    char *t1, *t2;
    struct lines w = lines_of(want, &t1), g = lines_of(got, &t2);
    enum difference worst = SAME;

    for (size_t i = 0; i < w.n; i++) {
        enum difference d = line_compare(&g, &w.v[i]);
        if (d > worst) {
            const struct line *x = line_find(&g, w.v[i].path);
            snprintf(where, 512, "%.150s: %.150s, shown as: %.150s", w.v[i].path, w.v[i].meta,
                     x ? x->meta : "(nothing)");
            worst = d;
        }
    }
    for (size_t i = 0; i < g.n; i++)
        if (strcmp(g.v[i].meta, "ERROR") != 0 && !line_find(&w, g.v[i].path)) {
            snprintf(where, 512, "%.250s: is shown, and should not be", g.v[i].path);
            worst = WRONG;
        }
    free(w.v);
    free(g.v);
    free(t1);
    free(t2);
    return worst;
}
