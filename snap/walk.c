#include "snap/walk.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/mark.h"
#include "snap/diff_int.h"
#include "snap/store/span.h"

static bool named(const struct inode *in)
{
    return in->nlink > 0;
}

int walk_inodes(struct vol *v, struct vt_at at, uint64_t after, struct inode ret[WALK_BATCH], size_t *ret_n)
{
    const uint8_t *key;
    uint8_t from[8];
    struct vt_scan sc;
    struct vt_val val;
    struct txn t;
    size_t n = 0;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    put_be64(from, after + 1);
    vt_scan_init(&sc, &t, KEEP_PENDING, at, TAB_INODE, "", 0);
    vt_scan_from(&sc, from, sizeof(from));
    while (n < WALK_BATCH && (r = vt_scan_next(&sc, &key, &val)) == 1) {
        if ((r = inode_get(&t, at, get_be64(key), &ret[n])) < 0)
            break;
        n += named(&ret[n]);
    }
    txn_abort(&t);
    *ret_n = n;
    return r < 0 ? r : 0;
}

int walk_inode(struct vol *v, struct vt_at at, uint64_t ino, struct inode *ret)
{
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = inode_get(&t, at, ino, ret);
    txn_abort(&t);
    return r;
}

static int reserved_of(struct txn *t, struct vt_at at, uint64_t ino, struct runs *ret)
{
    struct inode in;
    uint64_t end;
    int r = inode_get(t, at, ino, &in);

    if (r < 0 || (in.mode & S_IFMT) != S_IFREG || (in.flags & INODE_INLINE))
        return r;
    r = runs_end(t, at, &in, &end);
    return r < 0 ? r : runs_of(t, at, &in, 0, end, false, ret);
}

int walk_reserved(struct vol *v, struct vt_at at, uint64_t ino,
                  int (*cb)(void *arg, uint64_t block, uint64_t count), void *arg)
{
    cleanup(runs_free) struct runs runs = {0};
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = reserved_of(&t, at, ino, &runs);
    txn_abort(&t);
    for (size_t i = 0; r == 0 && i < runs.n; i++)
        if (runs.v[i].kind == SPAN_UNWRITTEN)
            r = cb(arg, runs.v[i].block, runs.v[i].count);
    return r;
}

int walk_dirents(struct vol *v, struct vt_at at, uint64_t dir,
                 int (*cb)(void *arg, const struct walk_dirent *e), void *arg)
{
    const uint8_t *key;
    uint8_t prefix[8];
    struct vt_scan sc;
    struct vt_val val;
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    put_be64(prefix, dir);
    vt_scan_init(&sc, &t, KEEP_PENDING, at, TAB_DIRENT, prefix, sizeof(prefix));
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        struct walk_dirent e = {.hash = get_be64(key + 8)};

        if (val.len < 10) {
            r = -E_CORRUPT;
            break;
        }
        e.ino = get_le64(val.data);
        e.type = (uint32_t)val.data[8] << 12;
        e.name = (const char *)val.data + 9;
        e.name_len = val.len - 9;
        if ((r = cb(arg, &e)) != 0)
            break;
    }
    txn_abort(&t);
    return r;
}

int walk_dirent(struct vol *v, struct vt_at at, uint64_t dir, uint64_t hash,
                int (*cb)(void *arg, const struct walk_dirent *e), void *arg)
{
    struct dirent_val d;
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    r = dirent_at(&t, at, dir, hash, &d);
    if (r == 0)
        r = cb(arg, &(struct walk_dirent){hash, d.ino, d.type, d.name, d.name_len});
    txn_abort(&t);
    return r;
}

/* The further pieces of a long value follow the first one in the table. */
static int xattr_rest(struct vt_scan *sc, uint64_t hash, uint32_t total, struct buf *value)
{
    const uint8_t *key;
    struct vt_val val;
    int r = 0;

    while (value->len < total) {
        if ((r = vt_scan_next(sc, &key, &val)) != 1)
            return r < 0 ? r : -E_CORRUPT;
        if (get_be64(key + 8) != hash || key[16] == 0)
            return -E_CORRUPT;
        if ((r = buf_add(value, val.data, val.len)) < 0)
            return r;
    }
    return value->len == total ? 0 : -E_CORRUPT;
}

int walk_xattrs(struct vol *v, struct vt_at at, uint64_t ino,
                int (*cb)(void *arg, const char *name, size_t name_len, const void *p, size_t len), void *arg)
{
    cleanup(buf_free) struct buf value = {0};
    const uint8_t *key;
    uint8_t prefix[8];
    struct vt_scan sc;
    struct vt_val val;
    struct txn t;
    int r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);

    if (r < 0)
        return r;
    put_be64(prefix, ino);
    vt_scan_init(&sc, &t, KEEP_PENDING, at, TAB_XATTR, prefix, sizeof(prefix));
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        size_t head = val.len > 5 ? 5u + val.data[4] : SIZE_MAX;

        if (key[16] != 0 || head > val.len) {
            r = -E_CORRUPT;
            break;
        }
        buf_reset(&value);
        r = buf_add(&value, val.data + head, val.len - head);
        if (r == 0)
            r = xattr_rest(&sc, get_be64(key + 8), get_le32(val.data), &value);
        if (r == 0)
            r = cb(arg, (const char *)val.data + 5, val.data[4], value.data, value.len);
        if (r != 0)
            break;
    }
    txn_abort(&t);
    return r;
}

/* --- changes -------------------------------------------------------------------------------------------------------- */

struct walk_changed {
    struct diff d;
    bool peer; /* d.c is another one's */
    struct buf hashes;
    struct file_state a, b; /* of the inode looked at last */
};

/* 1: something differs; what stands in *ret points into w. */
static int change_of(struct walk_changed *w, const struct change *v, size_t n, struct walk_change *ret)
{
    struct file_state *a = &w->a, *b = &w->b;
    struct buf *hashes = &w->hashes;
    struct diff *d = &w->d;
    struct fate f;
    struct txn t;
    bool any;
    int r = txn_begin(d->v->store, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    d->t = &t;
    buf_reset(&d->l.ranges);
    buf_reset(hashes);
    r = diff_fate(d, v, n, &f, &any);
    if (r == 0)
        r = file_state_get(&t, d->a, v->ino, a);
    if (r == 0)
        r = file_state_get(&t, d->b, v->ino, b);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (v[i].tab == TAB_DIRENT)
            r = buf_add(hashes, &v[i].a, sizeof(v[i].a));
    txn_abort(&t);
    if (r < 0 || (!a->there && !b->there))
        return r;
    *ret = (struct walk_change){.ino = v->ino,
                                .was = a->there && named(&a->in) ? &a->in : NULL,
                                .is = b->there && named(&b->in) ? &b->in : NULL};
    ret->same = f.same && ret->was;
    if (ret->same) {
        ret->nranges = f.nranges;
        ret->ranges = f.nranges ? (const struct diff_range *)d->l.ranges.data + f.ranges : NULL;
        ret->nhashes = hashes->len / sizeof(uint64_t);
        ret->hashes = (const uint64_t *)hashes->data;
    }
    return !f.same || any || ret->nhashes || !ret->was != !ret->is;
}

int walk_changed_new(struct vol *v, struct vt_at a, struct vt_at b, struct walk_changed **ret)
{
    struct walk_changed *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return -E_NOMEM;
    w->d = (struct diff){.v = v, .a = a, .b = b};
    MARK("walk: what was touched is gathered");
    r = diff_candidates(&w->d);
    if (r < 0) {
        walk_changed_free(w);
        return r;
    }
    changes_sort(&w->d.c);
    *ret = w;
    return 0;
}

int walk_changed_peer(const struct walk_changed *of, struct walk_changed **ret)
{
    struct walk_changed *w = calloc(1, sizeof(*w));

    if (!w)
        return -E_NOMEM;
    w->d = (struct diff){.v = of->d.v, .a = of->d.a, .b = of->d.b, .c = of->d.c};
    w->peer = true;
    *ret = w;
    return 0;
}

void walk_changed_free(struct walk_changed *w)
{
    if (!w)
        return;
    if (w->peer)
        w->d.c = (struct changes){0};
    diff_free(&w->d);
    buf_free(&w->hashes);
    free(w);
}

/* *at: one more than where the group begins; 0: before all of them. */
bool walk_changed_next(const struct walk_changed *w, size_t *at, uint64_t *ret_ino)
{
    size_t i = *at ? changes_group(&w->d.c, *at - 1) : 0;

    if (i >= w->d.c.n)
        return false;
    *ret_ino = w->d.c.v[i].ino;
    *at = i + 1;
    return true;
}

int walk_changed_look(struct walk_changed *w, size_t at, uint64_t from, uint64_t to, struct walk_change *ret)
{
    size_t i = at - 1;

    assert(at > 0);
    MARK("walk: an inode is looked at");
    w->d.clip = (struct window){from, to};
    return change_of(w, &w->d.c.v[i], changes_group(&w->d.c, i) - i, ret);
}

static void changed_free(struct walk_changed **w)
{
    walk_changed_free(*w);
}

int walk_changes(struct vol *v, struct vt_at a, struct vt_at b,
                 int (*cb)(void *arg, const struct walk_change *c), void *arg)
{
    cleanup(changed_free) struct walk_changed *w = NULL;
    int r = walk_changed_new(v, a, b, &w);
    struct walk_change c;
    size_t at = 0;
    uint64_t ino;

    while (r == 0 && walk_changed_next(w, &at, &ino)) {
        r = walk_changed_look(w, at, 0, UINT64_MAX, &c);
        if (r == 1)
            r = cb(arg, &c);
    }
    return r;
}
