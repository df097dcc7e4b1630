#include <stdlib.h>
#include <sys/stat.h>

#include "base/log.h"
#include "snap/ns.h"

#define BATCH 48 /* entries read in one transaction; the callback runs outside of it */

struct entry {
    struct vfs_dirent e;
    char name[NAME_LEN_MAX + 1];
};

struct batch {
    struct entry *e;
    int n;
    bool end;
    bool with_attr;
};

static void entry_set(struct entry *x, const char *name, size_t len)
{
    memcpy(x->name, name, len);
    x->name[len] = 0;
    x->e.name = x->name;
    x->e.name_len = len;
}

static int entry_attr(struct ns *o, uint64_t ino, const struct batch *b, struct entry *x)
{
    struct inode in;
    int r;

    if (!b->with_attr)
        return 0;
    r = ns_inode(o, ino, &in);
    if (r == -E_STALE)
        return log_err(-E_CORRUPT, "snap", "name of ino=%llu, which is not there", (unsigned long long)ino);
    if (r == 0)
        ns_attr(o, &in, &x->e.attr);
    return r;
}

static int add_dot(struct ns *o, uint64_t ino, uint64_t cookie, struct batch *b)
{
    struct entry *x = &b->e[b->n];

    x->e = (struct vfs_dirent){.ino = ns_st_ino(o, ino), .type = S_IFDIR, .cookie = cookie};
    entry_set(x, "..", cookie); /* "." is 1, ".." is 2 */
    b->n++;
    return entry_attr(o, ino, b, x);
}

static int add_entry(struct ns *o, const struct ns_dirent *d, struct batch *b)
{
    struct entry *x = &b->e[b->n];

    x->e = (struct vfs_dirent){.ino = ns_st_ino(o, d->ino), .type = d->type, .cookie = d->hash};
    entry_set(x, d->name, d->name_len);
    b->n++;
    return entry_attr(o, d->ino, b, x);
}

static uint64_t parent_of(const struct ns *o, const struct inode *dir)
{
    if (dir->ino == INO_ROOT || dir->parent == 0 || (!o->live && dir->ino == o->view_dir))
        return dir->ino;
    return dir->parent;
}

static int fill_dots(struct ns *o, uint64_t dir, uint64_t *cookie, struct batch *b)
{
    struct inode in;
    int r = ns_dir_inode(o, dir, false, &in);

    if (r == 0 && *cookie < 1)
        r = add_dot(o, dir, 1, b);
    if (r == 0 && *cookie < 2)
        r = add_dot(o, parent_of(o, &in), 2, b);
    *cookie = 2;
    return r;
}

static int fill(struct ns *o, uint64_t dir, uint64_t cookie, struct batch *b)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    uint8_t from[16];
    int r = 0;

    if (cookie < NS_COOKIE_FIRST - 1)
        r = fill_dots(o, dir, &cookie, b);
    if (r < 0)
        return r;
    put_be64(from, dir);
    put_be64(from + 8, cookie + 1);
    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, TAB_DIRENT, from, 8);
    vt_scan_from(&sc, from, sizeof(from));
    while (b->n < BATCH && (r = vt_scan_next(&sc, &key, &val)) == 1) {
        struct ns_dirent d;

        r = ns_dirent_parse(get_be64(key + 8), val.data, val.len, &d);
        if (r == 0)
            r = add_entry(o, &d, b);
        if (r < 0)
            return r;
    }
    b->end = b->n < BATCH;
    return r;
}

static int next_batch(struct vol *v, vfs_node dir, uint64_t cookie, struct batch *b)
{
    struct inode in;
    struct ns o;
    uint64_t ino;
    int r = ns_read(v, dir, &o, &ino);

    if (r < 0)
        return r;
    b->n = 0;
    r = ns_dir_inode(&o, ino, false, &in);
    if (r == 0)
        r = fill(&o, ino, cookie, b);
    return ns_end(&o, r);
}

int vfs_readdir(struct vol *v, vfs_node dir, uint64_t cookie, bool with_attr,
                int (*cb)(void *arg, const struct vfs_dirent *e), void *arg)
{
    struct batch b = {.with_attr = with_attr};
    int r = 0;

    if (cookie > INT64_MAX - 1)
        return 0;
    b.e = malloc(BATCH * sizeof(*b.e));
    if (b.e == NULL)
        return -E_NOMEM;
    while (r == 0 && !b.end) {
        r = next_batch(v, dir, cookie, &b);
        for (int i = 0; r == 0 && i < b.n; i++) {
            r = cb(arg, &b.e[i].e);
            cookie = b.e[i].e.cookie;
        }
    }
    free(b.e);
    return r == 1 ? 0 : r;
}
