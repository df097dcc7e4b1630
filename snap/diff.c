#include "snap/diff.h"

#include <sys/stat.h>

#include "snap/diff_int.h"
#include "snap/internal.h"

#define BATCH 256 /* inodes compared in one short transaction */

const char *diff_type_name(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    case S_IFBLK: return "block-device";
    case S_IFCHR: return "char-device";
    default: return "unknown";
    }
}

void diff_free(struct diff *d)
{
    changes_free(&d->c);
    paths_free(&d->pa);
    paths_free(&d->pb);
    diff_list_free(&d->l);
}

static int begin(struct diff *d, struct txn *t)
{
    d->t = t;
    return txn_begin(d->v->store, TXN_READ, OP_NONE, NULL, t);
}

/* Paths lie in memory as a whole: a few thousand directories in one another, with long names, are gigabytes. */
static bool is_too_much(const struct diff *d)
{
    return d->most && d->c.n * sizeof(*d->c.v) + d->pa.text.len + d->pb.text.len + d->l.text.len +
                              d->l.names.len + d->l.ranges.len >
                          d->most;
}

/* The path of a name, kept in d->l.text. -E_NOENT: its directory hangs nowhere. */
static int path_of(struct diff *d, bool in_a, uint64_t dir, const struct dirent_val *e, size_t *ret)
{
    struct paths *p = in_a ? &d->pa : &d->pb;
    size_t up, off = d->l.text.len;
    const char *s;
    int r = paths_of(p, d->t, in_a ? d->a : d->b, dir, &up);

    if (r < 0)
        return r;
    if (is_too_much(d))
        return -E_TOOBIG;
    s = (const char *)p->text.data + up;
    if (*s && ((r = buf_puts(&d->l.text, s)) < 0 || (r = buf_puts(&d->l.text, "/")) < 0))
        return r;
    if ((r = buf_add(&d->l.text, e->name, e->name_len)) < 0 || (r = buf_add(&d->l.text, "", 1)) < 0)
        return r;
    *ret = off;
    return 0;
}

static int add_name(struct diff *d, bool gone, const struct change *c, const struct dirent_val *e)
{
    struct name n = {.dir = c->ino, .hash = c->a, .ino = e->ino, .type = e->type, .gone = gone};
    int r = path_of(d, gone, c->ino, e, &n.path);

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    return buf_add(&d->l.names, &n, sizeof(n));
}

/* Is inode number ino the same file in both states, or at least not two different ones? */
static int same_file(struct diff *d, uint64_t ino, bool *ret)
{
    struct file_state a, b;
    int r;

    if ((r = file_state_get(d->t, d->a, ino, &a)) < 0 || (r = file_state_get(d->t, d->b, ino, &b)) < 0)
        return r;
    *ret = !a.there || !b.there || a.in.gen == b.in.gen;
    return 0;
}

static int compare_name(struct diff *d, const struct change *c)
{
    struct dirent_val a, b;
    bool same = false;
    int ra = dirent_at(d->t, d->a, c->ino, c->a, &a), rb = dirent_at(d->t, d->b, c->ino, c->a, &b), r = 0;

    if ((ra < 0 && ra != -E_NOENT) || (rb < 0 && rb != -E_NOENT))
        return ra < 0 && ra != -E_NOENT ? ra : rb;
    if (ra == 0 && rb == 0 && a.ino == b.ino && a.name_len == b.name_len &&
        memcmp(a.name, b.name, a.name_len) == 0) {
        if ((r = same_file(d, a.ino, &same)) < 0 || same)
            return r;
    }
    if (ra == 0)
        r = add_name(d, true, c, &a);
    if (r == 0 && rb == 0)
        r = add_name(d, false, c, &b);
    return r;
}

static int compare_group(struct diff *d, const struct change *v, size_t n)
{
    struct fate f;
    bool any;
    int r = diff_fate(d, v, n, &f, &any);

    if (r == 0 && any)
        r = buf_add(&d->l.fates, &f, sizeof(f));
    for (size_t i = 0; i < n && r == 0; i++)
        if (v[i].tab == TAB_DIRENT)
            r = compare_name(d, &v[i]);
    return r;
}

static int compare_all(struct diff *d)
{
    struct txn t;
    size_t i = 0;
    int r = 0;

    while (i < d->c.n && r == 0) {
        if ((r = begin(d, &t)) < 0)
            return r;
        for (int k = 0; k < BATCH && i < d->c.n && r == 0; k++) {
            size_t end = changes_group(&d->c, i);
            r = compare_group(d, &d->c.v[i], end - i);
            i = end;
        }
        txn_abort(&t);
    }
    return r;
}

/* --- entries --- */

static int add_new(struct diff *d, const struct name *n)
{
    struct fate whole = {.meta = true};
    int r = diff_whole(d, n->ino, &whole.ranges, &whole.nranges);

    return r < 0 ? r : diff_list_add(&d->l, '+', n, NULL, &whole);
}

/* The names of one inode that went and came: renamed as far as they pair, when it is the same file. */
static int pair_names(struct diff *d, struct name *n, size_t count)
{
    const struct fate *f = diff_list_fate(&d->l, n->ino);
    size_t gone = 0, i = 0, k;
    bool same;
    int r;

    while (gone < count && n[gone].gone)
        gone++;
    k = gone;
    if ((r = same_file(d, n->ino, &same)) < 0)
        return r;
    for (; same && i < gone && k < count && r == 0; i++, k++)
        r = diff_list_add(&d->l, 'R', &n[k], &n[i], f);
    for (; i < gone && r == 0; i++)
        r = diff_list_add(&d->l, '-', &n[i], NULL, NULL);
    for (; k < count && r == 0; k++)
        r = add_new(d, &n[k]);
    return r;
}

static int pair_all(struct diff *d)
{
    struct name *n = (struct name *)d->l.names.data;
    size_t count = d->l.names.len / sizeof(*n), i = 0;
    struct txn t;
    int r = 0;

    diff_list_sort(&d->l);
    while (i < count && r == 0) {
        if ((r = begin(d, &t)) < 0)
            return r;
        for (int k = 0; k < BATCH && i < count && r == 0; k++) {
            size_t end = i + 1;
            while (end < count && n[end].ino == n[i].ino)
                end++;
            r = pair_names(d, &n[i], end - i);
            i = end;
        }
        txn_abort(&t);
    }
    return r;
}

static int add_changed(struct diff *d, const struct fate *f, uint64_t dir, uint64_t hash)
{
    struct name n = {.dir = dir, .hash = hash, .ino = f->ino, .type = f->type};
    struct dirent_val e;
    int r;

    if (diff_list_came(&d->l, f->ino, dir, hash))
        return 0;
    if ((r = dirent_at(d->t, d->b, dir, hash, &e)) < 0 || (r = path_of(d, false, dir, &e, &n.path)) < 0)
        return r == -E_NOENT ? 0 : r;
    return diff_list_add(&d->l, 'M', &n, NULL, f);
}

/* An entry for each name in b of an inode that changed. */
static int changed_names(struct diff *d, const struct fate *f)
{
    struct name root = {.ino = f->ino, .type = f->type, .path = d->l.text.len};
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    struct inode in;
    uint8_t prefix[8];
    int r;

    if (f->ino == INO_ROOT) {
        r = buf_add(&d->l.text, "", 1);
        return r < 0 ? r : diff_list_add(&d->l, 'M', &root, NULL, f);
    }
    if ((r = inode_get(d->t, d->b, f->ino, &in)) < 0)
        return r == -E_NOENT ? 0 : r;
    if (in.parent && (r = add_changed(d, f, in.parent, in.parent_hash)) < 0)
        return r;
    if (in.nlink < 2 || f->type == S_IFDIR)
        return 0;
    put_be64(prefix, f->ino);
    vt_scan_init(&sc, d->t, KEEP_PENDING, d->b, TAB_LINK, prefix, 8);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1)
        if ((r = add_changed(d, f, get_be64(key + 8), get_be64(key + 16))) < 0)
            return r;
    return r;
}

static int changed_all(struct diff *d)
{
    size_t count = d->l.fates.len / sizeof(struct fate), i = 0;
    struct txn t;
    int r = 0;

    while (i < count && r == 0) {
        if ((r = begin(d, &t)) < 0)
            return r;
        for (int k = 0; k < BATCH && i < count && r == 0; k++)
            r = changed_names(d, (const struct fate *)d->l.fates.data + i++);
        txn_abort(&t);
    }
    return r;
}

static int run(struct vol *v, struct vt_at a, struct vt_at b, size_t most,
               int (*cb)(void *arg, const struct diff_entry *e), void *arg)
{
    cleanup(diff_free) struct diff d = {
        .v = v, .a = a, .b = b, .most = most, .pa = {.most = most}, .pb = {.most = most}};
    int r;

    if ((r = diff_candidates(&d)) < 0)
        return r;
    if (is_too_much(&d))
        return -E_TOOBIG;
    changes_sort(&d.c);
    if ((r = compare_all(&d)) < 0 || (r = pair_all(&d)) < 0 || (r = changed_all(&d)) < 0)
        return r;
    return diff_list_give(&d.l, "", cb, arg);
}

int diff_places(struct vol *v, struct vt_at a, struct vt_at b,
                int (*cb)(void *arg, const struct diff_entry *e), void *arg)
{
    return run(v, a, b, 0, cb, arg);
}

static int place_of(struct vol *v, const char *name, struct vt_at *ret)
{
    struct layer_rec rec;
    int r = snap_find(v, name, &rec);

    if (r == 0)
        *ret = (struct vt_at){rec.branch, rec.layer};
    return r;
}

int diff_run_within(struct vol *v, const char *a, const char *b, size_t most,
                    int (*cb)(void *arg, const struct diff_entry *e), void *arg)
{
    struct vt_at from, to;
    struct txn t;
    int r;

    if ((r = place_of(v, a, &from)) < 0)
        return r;
    if (b && b[0]) {
        r = place_of(v, b, &to);
    } else if ((r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t)) == 0) {
        to = vol_now(v);
        txn_abort(&t);
    }
    return r < 0 ? r : run(v, from, to, most, cb, arg);
}

int diff_run(struct vol *v, const char *a, const char *b, int (*cb)(void *arg, const struct diff_entry *e),
             void *arg)
{
    return diff_run_within(v, a, b, 0, cb, arg);
}
