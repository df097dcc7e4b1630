#include "tests/crash/crash.h"

#include <stdlib.h>
#include <unistd.h>

#define C_DENSE (96u << 10) /* files up to here are read as a whole */

static const uint8_t zeros[PG_SIZE];

struct names {
    struct c_run *c;
    struct o_ino *dir;
};

static int on_entry(void *arg, const struct vfs_dirent *e)
{
    struct names *n = arg;

    if (e->cookie > 2)
        o_ent_add(n->dir, e->name, vfs_node_ino(e->attr.node));
    return 0;
}

static void read_xattrs(struct c_run *c, struct vol *v, vfs_node n, struct o_ino *in)
{
    cleanup(buf_free) struct buf list = {0};
    int r = vfs_listxattr(v, n, &list);

    WANT(c, r == 0, "listxattr: %s", err_name(r));
    for (size_t at = 0; at < list.len; at += strlen((char *)list.data + at) + 1) {
        cleanup(buf_free) struct buf val = {0};

        r = vfs_getxattr(v, n, (char *)list.data + at, &val);
        WANT(c, r == 0, "getxattr: %s", err_name(r));
        o_xattr_set(in, (char *)list.data + at, val.data ? val.data : (uint8_t *)"", val.len);
    }
}

/* Bytes [from, to), of which the file has as many; from is the first of a page. */
static void read_part(struct c_run *c, struct vol *v, vfs_node n, struct o_ino *in, uint64_t from,
                      uint64_t to)
{
    size_t len = 0, want = (size_t)(MIN_OF(to, in->size) - from);
    int r = vfs_read(v, n, c->bytes, (size_t)(to - from), from, &len);

    WANT(c, r == 0 && len == want, "read of inode %llu: %zu of %zu from %llu: %s",
         (unsigned long long)in->ino, len, want, (unsigned long long)from, err_name(r));
    for (size_t off = 0; off < len; off += PG_SIZE) {
        size_t part = MIN_OF((size_t)PG_SIZE, len - off);

        if (memcmp(c->bytes + off, zeros, part) != 0)
            pages_write(&in->data, c->bytes + off, part, from + off, 0);
    }
}

/* Holes are mostly believed to be such: they take long to read. */
static void read_bytes(struct c_run *c, struct vol *v, vfs_node n, struct o_ino *in)
{
    uint64_t from = 0, to = C_FILE_MAX;
    int r = 0;

    WANT(c, in->size <= C_FILE_MAX, "inode %llu has %llu bytes", (unsigned long long)in->ino,
         (unsigned long long)in->size);
    if (in->size <= C_DENSE || c_rand(c, C_ANEW) == 0) {
        read_part(c, v, n, in, from, to);
        return;
    }
    while (from < in->size && (r = vfs_seek(v, n, SEEK_DATA, from, &from)) == 0) {
        r = vfs_seek(v, n, SEEK_HOLE, from, &to);
        WANT(c, r == 0 && to > from, "seek of a hole in inode %llu from %llu: %s",
             (unsigned long long)in->ino, (unsigned long long)from, err_name(r));
        read_part(c, v, n, in, from / PG_SIZE * PG_SIZE, to);
        from = to;
    }
    WANT(c, r == 0 || r == -E_NXIO, "seek of bytes in inode %llu: %s", (unsigned long long)in->ino,
         err_name(r));
}

const uint8_t *c_page(const struct pages *p, uint64_t block)
{
    const struct pg_slot *s = pages_slot(p, block);

    return s && s->page ? s->page->data : zeros;
}

static void read_ino(struct c_run *c, struct vol *v, struct o_tree *t, vfs_node n, uint64_t ino);

static void read_dir(struct c_run *c, struct vol *v, struct o_tree *t, vfs_node n, uint64_t ino)
{
    struct names list = {c, o_mut(t, ino)};
    int r = vfs_readdir(v, n, 0, true, on_entry, &list);

    WANT(c, r == 0, "readdir: %s", err_name(r));
    for (size_t i = 0; i < o_get(t, ino)->nent; i++) {
        const struct o_ent *e = &o_get(t, ino)->ent[i];

        if (!o_get(t, e->ino))
            read_ino(c, v, t, vfs_node_make(vfs_node_view(n), e->ino), e->ino);
        if (o_is_dir(o_get(t, e->ino)))
            o_mut(t, e->ino)->parent = ino;
    }
}

static void read_ino(struct c_run *c, struct vol *v, struct o_tree *t, vfs_node n, uint64_t ino)
{
    struct vfs_attr a;
    int r = vfs_getattr(v, n, &a);
    struct o_ino *in;

    WANT(c, r == 0, "getattr of inode %llu: %s", (unsigned long long)ino, err_name(r));
    in = o_add(t, ino);
    in->mode = a.mode, in->uid = a.uid, in->gid = a.gid, in->nlink = a.nlink, in->rdev = a.rdev,
    in->size = a.size;
    in->is_inline = a.flags & INODE_INLINE;
    read_xattrs(c, v, n, in);
    if (S_ISREG(in->mode))
        read_bytes(c, v, n, in);
    if (o_is_dir(in))
        read_dir(c, v, t, n, ino);
}

struct o_tree *c_read_tree(struct c_run *c, unsigned vol, uint32_t view)
{
    struct o_tree *t = o_tree_new();

    read_ino(c, c->vol[vol], t, vfs_node_make(view, INO_ROOT), INO_ROOT);
    o_mut(t, INO_ROOT)->parent = INO_ROOT;
    return t;
}

static bool same_xattrs(const struct o_ino *a, const struct o_ino *b)
{
    if (a->nxattr != b->nxattr)
        return false;
    for (size_t i = 0; i < a->nxattr; i++) {
        const struct o_xattr *x = &a->xattr[i], *y = o_xattr_find(b, x->name);

        if (!y || x->len != y->len || memcmp(x->val, y->val, x->len) != 0)
            return false;
    }
    return true;
}

static bool same_entries(const struct o_ino *a, const struct o_ino *b)
{
    if (a->nent != b->nent)
        return false;
    for (size_t i = 0; i < a->nent; i++) {
        const struct o_ent *e = o_ent_find(b, a->ent[i].name);

        if (!e || e->ino != a->ent[i].ino)
            return false;
    }
    return true;
}

bool c_same_names(const struct o_tree *a, const struct o_tree *b, char why[256])
{
    for (size_t i = 0; i < a->n; i++) {
        const struct o_ino *x = a->v[i], *y = o_get(b, x->ino);
        const char *what = !y                     ? "is one too many"
                           : x->mode != y->mode   ? "mode"
                           : x->nlink != y->nlink ? "links"
                           : x->uid != y->uid     ? "owner"
                           : !same_entries(x, y)  ? "names"
                           : !same_xattrs(x, y)   ? "attributes"
                                                  : NULL;
        if (what) {
            snprintf(why, 256, "inode %llu: %s", (unsigned long long)x->ino, what);
            return false;
        }
    }
    for (size_t i = 0; i < b->n; i++) {
        if (!o_get(a, b->v[i]->ino)) {
            snprintf(why, 256, "inode %llu is missing", (unsigned long long)b->v[i]->ino);
            return false;
        }
    }
    return true;
}

bool c_same_bytes(const struct o_ino *a, const struct o_ino *b, char why[256])
{
    if (a->size != b->size) {
        snprintf(why, 256, "inode %llu: %llu bytes, not %llu", (unsigned long long)a->ino,
                 (unsigned long long)a->size, (unsigned long long)b->size);
        return false;
    }
    for (uint64_t off = 0; off < a->size; off += PG_SIZE) {
        const uint8_t *x = c_page(&a->data, off / PG_SIZE), *y = c_page(&b->data, off / PG_SIZE);
        size_t n = MIN_OF((uint64_t)PG_SIZE, a->size - off), k = 0;

        if (x == y || memcmp(x, y, n) == 0)
            continue;
        while (x[k] == y[k])
            k++;
        snprintf(why, 256, "inode %llu: byte %llu is %02x, not %02x", (unsigned long long)a->ino,
                 (unsigned long long)(off + k), x[k], y[k]);
        return false;
    }
    return true;
}

bool c_same_tree(const struct o_tree *a, const struct o_tree *b, char why[256])
{
    if (!c_same_names(a, b, why))
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (S_ISREG(a->v[i]->mode) && !c_same_bytes(a->v[i], o_get(b, a->v[i]->ino), why))
            return false;
    return true;
}
