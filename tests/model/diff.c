/* diff_run() against a comparison of everything with everything. Names are compared as links (directory, name), so that
 * what lies below a renamed directory is not renamed itself. */
#include "tests/model/model.h"

#include <stdlib.h>

#define PATH_SIZE 32768

struct item {
    char kind;
    char *path, *old_path;
    bool meta, used;
    uint32_t type;
    uint64_t ino;
    struct diff_range *range;
    size_t nranges;
};
struct items {
    struct item *v;
    size_t n;
};
struct link {
    uint64_t ino, dir;
    const char *name;
};
struct links {
    struct link *v;
    size_t n;
};
struct cmp {
    struct m_run *m;
    const struct o_tree *a, *b;
    struct links la, lb;
    struct items got;
};

static int on_entry(void *arg, const struct diff_entry *e)
{
    struct items *l = arg;
    struct item it = {e->kind,
                      strdup(e->path),
                      e->kind == 'R' ? strdup(e->old_path) : NULL,
                      e->meta,
                      false,
                      e->type,
                      e->ino,
                      NULL,
                      e->nranges};

    it.range = malloc((e->nranges + 1) * sizeof(*it.range));
    assert(it.range);
    if (e->nranges)
        memcpy(it.range, e->ranges, e->nranges * sizeof(*it.range));
    l->v = realloc(l->v, (l->n + 1) * sizeof(*l->v));
    assert(l->v);
    l->v[l->n++] = it;
    return 0;
}

static void links_of(const struct o_tree *t, struct links *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += t->v[i]->nent;
    ret->v = calloc(n + 1, sizeof(*ret->v));
    assert(ret->v);
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->v[i]->nent; k++)
            ret->v[ret->n++] = (struct link){t->v[i]->ent[k].ino, t->v[i]->ino, t->v[i]->ent[k].name};
}

static bool link_in(const struct o_tree *t, const struct link *l)
{
    const struct o_ino *d = o_get(t, l->dir);
    const struct o_ent *e = d ? o_ent_find(d, l->name) : NULL;

    return e && e->ino == l->ino;
}

static const char *name_of(const struct o_tree *t, uint64_t dir, uint64_t ino)
{
    const struct o_ino *d = o_get(t, dir);

    for (size_t i = 0; i < d->nent; i++)
        if (d->ent[i].ino == ino)
            return d->ent[i].name;
    assert(false);
}

/* The path of a link, built from its end. */
static const char *path_of(const struct o_tree *t, const struct link *l, char room[PATH_SIZE])
{
    size_t at = PATH_SIZE - 1, len = strlen(l->name);
    uint64_t dir = l->dir;

    room[at] = 0;
    at -= len;
    memcpy(room + at, l->name, len);
    while (dir != INO_ROOT) {
        const char *name = name_of(t, o_get(t, dir)->parent, dir);

        len = strlen(name);
        assert(at > len);
        room[--at] = '/';
        at -= len;
        memcpy(room + at, name, len);
        dir = o_get(t, dir)->parent;
    }
    return room + at;
}

static struct item *take(struct cmp *c, char kind, const char *path, uint64_t ino)
{
    for (size_t i = 0; i < c->got.n; i++) {
        struct item *it = &c->got.v[i];

        if (!it->used && it->kind == kind && it->ino == ino && strcmp(it->path, path) == 0) {
            it->used = true;
            return it;
        }
    }
    return NULL;
}

static bool time_same(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* Must be called a change (mode, owner, links, attributes); may: also when only times differ. */
static bool meta_must(const struct o_ino *a, const struct o_ino *b)
{
    if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid || a->nxattr != b->nxattr)
        return true;
    for (size_t i = 0; i < a->nxattr; i++) {
        const struct o_xattr *x = &a->xattr[i], *y = o_xattr_find(b, x->name);
        if (!y || x->len != y->len || memcmp(x->val, y->val, x->len) != 0)
            return true;
    }
    return !o_is_dir(a) && a->nlink != b->nlink;
}

static bool meta_may(const struct o_ino *a, const struct o_ino *b)
{
    return meta_must(a, b) || a->nlink != b->nlink || !time_same(a->mtime, b->mtime) ||
           !time_same(a->ctime, b->ctime) || !time_same(a->atime, b->atime);
}

static bool in_ranges(const struct item *it, uint64_t block)
{
    for (size_t i = 0; i < it->nranges; i++)
        if (it->range[i].off_bytes <= block * PG_SIZE &&
            block * PG_SIZE < it->range[i].off_bytes + it->range[i].len_bytes)
            return true;
    return false;
}

static void check_block(struct cmp *c, const struct o_ino *a, const struct o_ino *b, const struct item *it,
                        uint64_t block)
{
    static const struct pg_slot none;
    const struct pg_slot *sa = pages_slot(&a->data, block), *sb = pages_slot(&b->data, block);
    uint8_t da[PG_SIZE], db[PG_SIZE];
    bool told = in_ranges(it, block);

    sa = sa ? sa : &none, sb = sb ? sb : &none;
    if (sa->stamp == sb->stamp) {
        WANT(c->m, !told || a->is_inline || b->is_inline || (block + 1) * PG_SIZE > MIN_OF(a->size, b->size),
             "diff: %.30s (inode %llu, %llu and %llu bytes): block %llu is told, but was not written since "
             "%llu",
             it->path, (unsigned long long)b->ino, (unsigned long long)a->size, (unsigned long long)b->size,
             (unsigned long long)block, (unsigned long long)sa->stamp);
        return;
    }
    pages_read(&a->data, da, PG_SIZE, block * PG_SIZE);
    pages_read(&b->data, db, PG_SIZE, block * PG_SIZE);
    WANT(c->m, told || memcmp(da, db, PG_SIZE) == 0, "diff: %s: block %llu has changed and is not told",
         it->path, (unsigned long long)block);
}

static void check_ranges(struct cmp *c, const struct o_ino *a, const struct o_ino *b, const struct item *it)
{
    uint64_t end = MAX_OF(a->size, b->size), from = 0;

    for (size_t i = 0; i < it->nranges; i++) {
        WANT(c->m,
             it->range[i].off_bytes >= from && it->range[i].len_bytes > 0 &&
                 it->range[i].off_bytes + it->range[i].len_bytes <= end,
             "diff: %s: range %llu+%llu after %llu, size %llu", it->path,
             (unsigned long long)it->range[i].off_bytes, (unsigned long long)it->range[i].len_bytes,
             (unsigned long long)from, (unsigned long long)end);
        from = it->range[i].off_bytes + it->range[i].len_bytes + 1;
    }
    if (it->nranges == 0 && pages_next(&b->data, 0) == UINT64_MAX && pages_next(&a->data, 0) == UINT64_MAX)
        return;
    for (uint64_t blk = 0; blk != UINT64_MAX && blk * PG_SIZE < end; blk++) {
        uint64_t na = pages_next(&a->data, blk), nb = pages_next(&b->data, blk);
        blk = MIN_OF(na, nb);
        if (blk == UINT64_MAX || blk * PG_SIZE >= end)
            return;
        check_block(c, a, b, it, blk);
    }
}

static void check_same_inode(struct cmp *c, uint64_t ino, const struct item *it)
{
    const struct o_ino *a = o_get(c->a, ino), *b = o_get(c->b, ino);

    WANT(c->m, it->type == (b->mode & S_IFMT), "diff: %s: type %o", it->path, it->type);
    WANT(c->m, it->meta || !meta_must(a, b), "diff: %s: changed attributes are not told", it->path);
    WANT(c->m, !it->meta || meta_may(a, b), "diff: %s: attributes told, but the same", it->path);
    if (S_ISREG(b->mode))
        check_ranges(c, a, b, it);
}

static bool data_must(const struct o_ino *a, const struct o_ino *b)
{
    uint8_t da[PG_SIZE], db[PG_SIZE];

    if (a->size != b->size && S_ISREG(a->mode))
        return true;
    for (uint64_t k = 0; k != UINT64_MAX; k++) {
        k = MIN_OF(pages_next(&a->data, k), pages_next(&b->data, k));
        if (k == UINT64_MAX)
            return false;
        pages_read(&a->data, da, PG_SIZE, k * PG_SIZE);
        pages_read(&b->data, db, PG_SIZE, k * PG_SIZE);
        if (memcmp(da, db, PG_SIZE) != 0)
            return true;
    }
    return false;
}

static bool list_differs(const struct o_ino *a, const struct o_ino *b)
{
    if (a->nent != b->nent)
        return true;
    for (size_t i = 0; i < a->nent; i++) {
        const struct o_ent *e = o_ent_find(b, a->ent[i].name);
        if (!e || e->ino != a->ent[i].ino)
            return true;
    }
    return false;
}

static bool changed(const struct o_ino *a, const struct o_ino *b)
{
    return meta_may(a, b) || list_differs(a, b) || data_must(a, b);
}

/* A link that is in both: an entry exactly when the inode changed. */
static void check_stayed(struct cmp *c, const struct link *l)
{
    char room[PATH_SIZE];
    const char *path = l->dir ? path_of(c->b, l, room) : "";
    struct item *it = take(c, 'M', path, l->ino);
    const struct o_ino *a = o_get(c->a, l->ino), *b = o_get(c->b, l->ino);

    if (it)
        check_same_inode(c, l->ino, it);
    else
        WANT(c->m, !meta_must(a, b) && !data_must(a, b) && !list_differs(a, b),
             "diff: %s (inode %llu) has changed and is not told", path, (unsigned long long)l->ino);
    WANT(c->m, !it || changed(a, b), "diff: %s is told as changed, and is not", path);
}

/* A link that is in b only: created, or the inode's new name. */
static void check_came(struct cmp *c, const struct link *l)
{
    char room[PATH_SIZE];
    const char *path = path_of(c->b, l, room);
    const struct o_ino *a = o_get(c->a, l->ino), *b = o_get(c->b, l->ino);
    struct item *it = take(c, '+', path, l->ino);

    if (it) {
        WANT(c->m, !a || a->nlink > 1 || b->nlink > 1, "diff: %s is told as created, but was renamed", path);
        return;
    }
    it = a ? take(c, 'R', path, l->ino) : NULL;
    WANT(c->m, it, "diff: %s (inode %llu) came and is not told", path, (unsigned long long)l->ino);
    check_same_inode(c, l->ino, it);
}

static bool take_old(struct cmp *c, const char *path, uint64_t ino)
{
    for (size_t i = 0; i < c->got.n; i++) {
        struct item *it = &c->got.v[i];

        if (it->kind == 'R' && it->ino == ino && it->old_path && strcmp(it->old_path, path) == 0) {
            free(TAKE(it->old_path));
            return true;
        }
    }
    return false;
}

static void check_went(struct cmp *c, const struct link *l)
{
    char room[PATH_SIZE];
    const char *path = path_of(c->a, l, room);

    WANT(c->m, take(c, '-', path, l->ino) || take_old(c, path, l->ino),
         "diff: %s (inode %llu) went and is not told", path, (unsigned long long)l->ino);
}

static void check_left_over(struct cmp *c)
{
    for (size_t i = 0; i < c->got.n; i++) {
        const struct item *it = &c->got.v[i];

        WANT(c->m, it->used, "diff tells %c %s (inode %llu), which is not so", it->kind, it->path,
             (unsigned long long)it->ino);
        WANT(c->m, !it->old_path, "diff tells that %s was %s", it->path, it->old_path);
        WANT(c->m, i == 0 || strcmp(it[-1].path, it->path) <= 0, "diff: %s after %s", it->path, it[-1].path);
    }
}

void m_verify_diff(struct m_run *m, struct m_vol *mv, const char *a, const struct o_tree *ta, const char *b,
                   const struct o_tree *tb)
{
    struct cmp c = {.m = m, .a = ta, .b = tb};
    struct link root = {INO_ROOT, 0, ""};

    m_expect(m, diff_run(mv->v, a, b, on_entry, &c.got), 0, "diff");
    links_of(ta, &c.la);
    links_of(tb, &c.lb);
    check_stayed(&c, &root);
    for (size_t i = 0; i < c.lb.n; i++) {
        if (link_in(ta, &c.lb.v[i]))
            check_stayed(&c, &c.lb.v[i]);
        else
            check_came(&c, &c.lb.v[i]);
    }
    for (size_t i = 0; i < c.la.n; i++)
        if (!link_in(tb, &c.la.v[i]))
            check_went(&c, &c.la.v[i]);
    check_left_over(&c);
    for (size_t i = 0; i < c.got.n; i++) {
        free(c.got.v[i].path);
        free(c.got.v[i].old_path);
        free(c.got.v[i].range);
    }
    free(c.got.v);
    free(c.la.v);
    free(c.lb.v);
}
