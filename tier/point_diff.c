#include "tier/point_diff.h"

#include <sys/stat.h>

#include "snap/diff_list.h"
#include "tier/links.h"
#include "tier/map.h"
#include "tier/restore.h"
#include "tier/tree_diff.h"

#define DEPTH_MAX 4096

struct side {
    struct repo *r;
    const struct tree *t;
    const uint8_t *names; /* of point_names() */
    struct links *dirs;   /* paths of directories */
};

struct pdiff {
    struct side a, b;
    struct diff_list
        l; /* of fates meta and bytes: first, such records differ; then, if same: they mean something else */
};

static void pdiff_free(struct pdiff *d)
{
    links_free(d->a.dirs);
    links_free(d->b.dirs);
    diff_list_free(&d->l);
}

/* --- paths ---------------------------------------------------------------------------------------------------------- */

/* parent's path, a slash, the name. */
static int join(const char *up, const char *name, size_t len, struct buf *ret)
{
    int r = *up ? buf_printf(ret, "%s/", up) : 0;

    if (r == 0)
        r = buf_add(ret, name, len);
    return r < 0 ? r : buf_add(ret, "", 1);
}

static int dir_path(struct side *s, uint64_t ino, unsigned depth, const char **ret)
{
    cleanup(buf_free) struct buf val = {0}, path = {0};
    struct point_inode in;
    struct point_dirent e;
    struct tree_key k;
    const char *up;
    int r;

    *ret = ino == 1 ? "" : links_get(s->dirs, ino);
    if (*ret)
        return 0;
    if (depth > DEPTH_MAX)
        return -E_CORRUPT;
    if ((r = point_inode_get(s->r, s->t, ino, &in)) < 0 || (r = dir_path(s, in.parent, depth + 1, &up)) < 0)
        return r;
    k = tree_key(in.parent, REC_DIRENT);
    tree_key_u64(&k, in.parent_hash);
    if ((r = tree_get(s->r, s->t, &k, &val)) < 0 || (r = point_dirent_decode(val.data, val.len, &e)) < 0 ||
        (r = join(up, e.name, e.name_len, &path)) < 0 ||
        (r = links_put(s->dirs, ino, (const char *)path.data)) < 0)
        return r;
    *ret = links_get(s->dirs, ino);
    return 0;
}

/* A name's path, kept in d->l.text. */
static int path_of(struct pdiff *d, struct side *s, uint64_t dir, const struct point_dirent *e, size_t *ret)
{
    const char *up;
    int r = dir_path(s, dir, 0, &up);

    *ret = d->l.text.len;
    return r < 0 ? r : join(up, e->name, e->name_len, &d->l.text);
}

/* --- records -------------------------------------------------------------------------------------------------------- */

static int fate_note(struct pdiff *d, uint64_t ino, bool meta, bool bytes)
{
    struct fate *f = (struct fate *)d->l.fates.data, fresh = {.ino = ino};
    size_t n = d->l.fates.len / sizeof(*f);

    if (n == 0 || f[n - 1].ino != ino) {
        if (buf_add(&d->l.fates, &fresh, sizeof(fresh)) < 0)
            return -E_NOMEM;
        f = (struct fate *)d->l.fates.data;
        n++;
    }
    f[n - 1].meta |= meta;
    f[n - 1].bytes |= bytes;
    return 0;
}

static int name_note(struct pdiff *d, bool gone, const struct tree_rec *rec)
{
    struct name n = {.gone = gone};
    struct point_dirent e;
    int r = rec->klen == 17 ? point_dirent_decode(rec->val, rec->vlen, &e) : -E_CORRUPT;

    if (r < 0)
        return r;
    n.dir = get_be64(rec->key);
    n.hash = get_be64(rec->key + 9);
    n.ino = e.ino;
    n.type = e.type;
    r = path_of(d, gone ? &d->a : &d->b, n.dir, &e, &n.path);
    return r < 0 ? r : buf_add(&d->l.names, &n, sizeof(n));
}

static int differs(void *arg, const struct tree_rec *was, const struct tree_rec *is)
{
    const struct tree_rec *any = is ? is : was;
    struct pdiff *d = arg;
    uint64_t ino;
    int r = 0;

    if (any->klen < 9)
        return -E_CORRUPT;
    ino = get_be64(any->key);
    switch (any->key[8]) {
    case REC_DIRENT:
        if (was)
            r = name_note(d, true, was);
        return r == 0 && is ? name_note(d, false, is) : r;
    case REC_RUN:
    case REC_USE:
    case REC_EXTENT: return fate_note(d, ino, false, true);
    case REC_INODE: return fate_note(d, ino, false, false);
    default: return fate_note(d, ino, true, false);
    }
}

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

static int range_add(struct pdiff *d, size_t first, uint64_t from, uint64_t to, uint64_t size)
{
    struct diff_range *v = (struct diff_range *)d->l.ranges.data, fresh;
    size_t n = d->l.ranges.len / sizeof(*v);

    from *= TIER_BLOCK;
    to = MIN_OF(to * TIER_BLOCK, size);
    if (from >= to)
        return 0;
    if (n > first && v[n - 1].off_bytes + v[n - 1].len_bytes == from) {
        v[n - 1].len_bytes += to - from;
        return 0;
    }
    fresh = (struct diff_range){from, to - from};
    return buf_add(&d->l.ranges, &fresh, sizeof(fresh));
}

/* The extent that holds block `at`, NULL: none does; *next: where that changes, if before. Asked with at ascending. */
static const struct extent *covers(const struct extents *l, size_t *i, uint64_t at, uint64_t *next)
{
    const struct extent *e;

    while (*i < l->n && l->v[*i].block + l->v[*i].blocks <= at)
        (*i)++;
    if (*i == l->n)
        return NULL;
    e = &l->v[*i];
    *next = MIN_OF(*next, e->block > at ? e->block : e->block + e->blocks);
    return e->block > at ? NULL : e;
}

/* Bytes of a blob from block `at` on; 0: zeros. */
static uint64_t blob_left(const struct extent *e, uint64_t at)
{
    uint64_t before = e ? (at - e->block) * TIER_BLOCK : 0;

    return !e || e->kind != EXTENT_SLICE || before >= e->s.len ? 0 : e->s.len - before;
}

static bool same_bytes(const struct extent *x, const struct extent *y, uint64_t at, uint64_t to)
{
    uint64_t n = (to - at) * TIER_BLOCK, nx = MIN_OF(blob_left(x, at), n), ny = MIN_OF(blob_left(y, at), n);

    if (nx != ny || nx == 0)
        return nx == ny;
    return memcmp(x->s.blob.b, y->s.blob.b, sizeof(x->s.blob.b)) == 0 &&
           x->s.skip + (at - x->block) * TIER_BLOCK == y->s.skip + (at - y->block) * TIER_BLOCK;
}

/* Appends to d->l.ranges the blocks that are not the same in both. */
static int ranges_of(struct pdiff *d, const struct extents *x, const struct extents *y, uint64_t size,
                     size_t *ret_first, size_t *ret_n)
{
    size_t i = 0, k = 0;
    int r = 0;

    *ret_first = d->l.ranges.len / sizeof(struct diff_range);
    for (uint64_t at = 0, next; r == 0; at = next) {
        const struct extent *e, *f;

        next = UINT64_MAX;
        e = covers(x, &i, at, &next);
        f = covers(y, &k, at, &next);
        if (next == UINT64_MAX)
            break;
        if (!same_bytes(e, f, at, next))
            r = range_add(d, *ret_first, at, next, size);
    }
    *ret_n = d->l.ranges.len / sizeof(struct diff_range) - *ret_first;
    return r;
}

static int compare_bytes(struct pdiff *d, struct fate *f, uint64_t size)
{
    struct extents x = {0}, y = {0};
    int r = map_load(d->a.r, d->a.t, f->ino, &x);

    if (r == 0)
        r = map_load(d->b.r, d->b.t, f->ino, &y);
    if (r == 0)
        r = ranges_of(d, &x, &y, size, &f->ranges, &f->nranges);
    extents_free(&x);
    extents_free(&y);
    return r;
}

static int whole_ranges(struct pdiff *d, uint64_t ino, struct fate *ret)
{
    struct extents none = {0}, y = {0};
    struct point_inode in;
    int r = point_inode_get(d->b.r, d->b.t, ino, &in);

    if (r == 0)
        r = map_load(d->b.r, d->b.t, ino, &y);
    if (r == 0)
        r = ranges_of(d, &none, &y, in.size, &ret->ranges, &ret->nranges);
    extents_free(&y);
    return r == -E_NOENT ? -E_CORRUPT : r;
}

/* --- inodes --------------------------------------------------------------------------------------------------------- */

static bool time_equal(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool meta_differs(const struct point_inode *a, const struct point_inode *b)
{
    return a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->nlink != b->nlink ||
           a->rdev != b->rdev || a->flags != b->flags || a->project != b->project ||
           !time_equal(&a->mtime, &b->mtime) || !time_equal(&a->ctime, &b->ctime);
}

/* 1: it is in both and the same file; 0. */
static int in_both(struct pdiff *d, uint64_t ino, struct point_inode *a, struct point_inode *b)
{
    int ra = point_inode_get(d->a.r, d->a.t, ino, a), rb = point_inode_get(d->b.r, d->b.t, ino, b);

    if ((ra < 0 && ra != -E_NOENT) || (rb < 0 && rb != -E_NOENT))
        return ra < 0 && ra != -E_NOENT ? ra : rb;
    return ra == 0 && rb == 0 && a->gen == b->gen && ((a->mode ^ b->mode) & S_IFMT) == 0;
}

static int fate_find_out(struct pdiff *d, struct fate *f)
{
    struct point_inode a, b;
    int r = in_both(d, f->ino, &a, &b);

    if (r <= 0)
        return r;
    f->type = b.mode & S_IFMT;
    f->meta |= meta_differs(&a, &b);
    if (f->type == S_IFREG && (f->bytes || a.size != b.size))
        r = compare_bytes(d, f, MAX_OF(a.size, b.size));
    f->same = f->meta || f->nranges || a.size != b.size;
    return MIN_OF(r, 0);
}

/* NULL: nothing of it changed. */
static const struct fate *fate_of(const struct pdiff *d, uint64_t ino)
{
    const struct fate *f = diff_list_fate(&d->l, ino);

    return f && f->same ? f : NULL;
}

/* --- entries -------------------------------------------------------------------------------------------------------- */

static int add_new(struct pdiff *d, const struct name *n)
{
    struct fate whole = {.meta = true};
    int r = n->type == S_IFREG ? whole_ranges(d, n->ino, &whole) : 0;

    return r < 0 ? r : diff_list_add(&d->l, '+', n, NULL, &whole);
}

/* Names of one inode that went and came: renamed as far as they pair, when it is the same file. */
static int pair_names(struct pdiff *d, const struct name *n, size_t count)
{
    const struct fate *f = fate_of(d, n->ino);
    struct point_inode a, b;
    const char *text = (const char *)d->l.text.data;
    size_t gone = 0, i = 0, k;
    int same, r = 0;

    while (gone < count && n[gone].gone)
        gone++;
    k = gone;
    if ((same = in_both(d, n->ino, &a, &b)) < 0)
        return same;
    for (; same && i < gone && k < count && r == 0; i++, k++)
        if (strcmp(text + n[i].path, text + n[k].path) != 0)
            r = diff_list_add(&d->l, 'R', &n[k], &n[i], f);
        else if (f)
            r = diff_list_add(&d->l, 'M', &n[k], NULL, f);
    for (; i < gone && r == 0; i++)
        r = diff_list_add(&d->l, '-', &n[i], NULL, NULL);
    for (; k < count && r == 0; k++)
        r = add_new(d, &n[k]);
    return r;
}

static int pair_all(struct pdiff *d)
{
    struct name *n = (struct name *)d->l.names.data;
    size_t count = d->l.names.len / sizeof(*n), i = 0;
    int r = 0;

    diff_list_sort(&d->l);
    while (i < count && r == 0) {
        size_t end = i + 1;

        while (end < count && n[end].ino == n[i].ino)
            end++;
        r = pair_names(d, &n[i], end - i);
        i = end;
    }
    return r;
}

static int add_changed(struct pdiff *d, const struct fate *f)
{
    cleanup(buf_free) struct buf val = {0};
    struct name n = {.ino = f->ino, .type = f->type, .path = d->l.text.len};
    struct point_dirent e;
    struct point_inode in;
    struct tree_key k;
    int r;

    if (f->ino == 1) {
        r = buf_add(&d->l.text, "", 1);
        return r < 0 ? r : diff_list_add(&d->l, 'M', &n, NULL, f);
    }
    if ((r = point_inode_get(d->b.r, d->b.t, f->ino, &in)) < 0)
        return r;
    if (diff_list_came(&d->l, f->ino, in.parent, in.parent_hash))
        return 0;
    k = tree_key(in.parent, REC_DIRENT);
    tree_key_u64(&k, in.parent_hash);
    if ((r = tree_get(d->b.r, d->b.t, &k, &val)) < 0 ||
        (r = point_dirent_decode(val.data, val.len, &e)) < 0 ||
        (r = path_of(d, &d->b, in.parent, &e, &n.path)) < 0)
        return r;
    return diff_list_add(&d->l, 'M', &n, NULL, f);
}

static int side_lookup(const struct side *s, const char *path)
{
    uint64_t ino;

    return restore_lookup(s->r, s->t, s->names, path, &ino);
}

static struct side side_of(struct repo *r, const struct point *p)
{
    return (struct side){.r = r, .t = &p->tree, .names = point_names(p)};
}

/* Without slashes where none are needed. -E_NOENT: it is in neither. */
static int below_clean(struct pdiff *d, const char *below, struct buf *ret)
{
    int ra = side_lookup(&d->a, below), rb = side_lookup(&d->b, below);
    int r = 0;

    if ((ra < 0 && ra != -E_NOENT) || (rb < 0 && rb != -E_NOENT))
        return ra < 0 && ra != -E_NOENT ? ra : rb;
    if (ra < 0 && rb < 0)
        return -E_NOENT;
    while (r == 0 && *below) {
        size_t n = strcspn(below, "/");

        if (n > 1 || (n == 1 && *below != '.'))
            r = ret->len ? buf_printf(ret, "/%.*s", (int)n, below) : buf_printf(ret, "%.*s", (int)n, below);
        below += n;
        below += strspn(below, "/");
    }
    return r < 0 ? r : buf_cstr(ret) ? 0 : -E_NOMEM;
}

int point_diff(struct repo *r, const struct point *a, const struct point *b, const char *below,
               int (*cb)(void *arg, const struct diff_entry *e), void *arg)
{
    cleanup(pdiff_free) struct pdiff d = {.a = side_of(r, a), .b = side_of(r, b)};
    cleanup(buf_free) struct buf path = {0};
    struct fate *f;
    int x = links_new(&d.a.dirs);

    if (x == 0)
        x = links_new(&d.b.dirs);
    if (x == 0 && !uuid_equal(&a->family, &b->family))
        x = -E_UNRELATED;
    if (x == 0)
        x = repo_sync(r);
    if (x == 0)
        x = below_clean(&d, below, &path);
    if (x == 0 && (x = tree_diff(r, &a->tree, &b->tree, differs, &d)) == -E_NOENT)
        x = -E_CORRUPT;
    f = (struct fate *)d.l.fates.data;
    for (size_t i = 0; x == 0 && i < d.l.fates.len / sizeof(*f); i++)
        x = fate_find_out(&d, &f[i]);
    if (x == 0)
        x = pair_all(&d);
    for (size_t i = 0; x == 0 && i < d.l.fates.len / sizeof(*f); i++)
        if (f[i].same)
            x = add_changed(&d, &f[i]);
    return x < 0 ? x : diff_list_give(&d.l, buf_cstr(&path), cb, arg);
}
