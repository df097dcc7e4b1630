/* Pass 4: the tree of each place: entries and inodes name each other, links are counted, everything hangs from the root. */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "snap/check_i.h"
#include "snap/ns.h"

struct node {
    uint64_t parent, parent_hash, size, data, xattr_names, xattr_values;
    uint64_t names_found, values_found;
    uint32_t mode, nlink, flags, nxattr;
    uint32_t names, subdirs, links, xattrs; /* as the walk counts */
    bool inode, orphan, primary, counted;
    uint8_t way; /* 0 not yet, 1 under way, 2 hangs from the root, 3 does not */
};

struct walk {
    struct check *c;
    const struct place *p;
    struct idmap nodes;
};

static void fix_vt(const struct walk *w, enum fix_kind kind, uint8_t tab, const void *key, size_t klen)
{
    struct fix *f;

    if (!w->p->live)
        return;
    f = fix_add(w->c, kind);
    f->vol = w->p->v->rec.id;
    f->tab = tab;
    fix_key(f, key, klen);
}

/* All visible records of one table. */
static int each(struct walk *w, uint8_t tab,
                int (*fn)(struct walk *w, const uint8_t *key, const struct vt_val *v))
{
    struct vt_scan sc;
    struct vt_val v;
    const uint8_t *key;
    int r;

    vt_scan_init(&sc, &w->c->t, KEEP_PENDING, w->p->at, tab, "", 0);
    while ((r = vt_scan_next(&sc, &key, &v)) == 1 && (r = fn(w, key, &v)) == 0)
        continue;
    if (r == -E_CORRUPT)
        return problem(w->c, "%s: table %s cannot be walked: a value is damaged", w->p->name,
                       scan_table_name(tab));
    return r;
}

static int see_inode(struct walk *w, const uint8_t *key, const struct vt_val *v)
{
    struct node *n = idmap_put(&w->nodes, get_be64(key));
    struct inode in;

    if (!n)
        return -E_NOMEM;
    if (inode_decode(v->data, v->len, &in) < 0 || in.ino != get_be64(key))
        return problem(w->c, "%s: the record of inode %" PRIu64 " is malformed", w->p->name, get_be64(key));
    *n = (struct node){.inode = true,
                       .mode = in.mode,
                       .nlink = in.nlink,
                       .flags = in.flags,
                       .parent = in.parent,
                       .parent_hash = in.parent_hash,
                       .size = in.size,
                       .nxattr = in.nxattr,
                       .counted = inode_counted(&in),
                       .xattr_names = in.xattr_names,
                       .xattr_values = in.xattr_values};
    return 0;
}

static bool link_there(struct walk *w, uint64_t ino, const uint8_t *dirent_key)
{
    uint8_t key[24];
    struct vt_val v;

    put_be64(key, ino);
    memcpy(key + 8, dirent_key, 16);
    return vt_get(&w->c->t, KEEP_PENDING, w->p->at, TAB_LINK, key, &v) == 0;
}

static bool name_ok(const struct vol *v, const struct ns_dirent *e)
{
    if (memchr(e->name, '/', e->name_len) || memchr(e->name, 0, e->name_len))
        return false;
    return (e->hash & ~(uint64_t)(NS_GROUP - 1)) == ns_name_group(v->rec.hash_key, e->name, e->name_len);
}

static int see_dirent(struct walk *w, const uint8_t *key, const struct vt_val *v)
{
    uint64_t dir = get_be64(key);
    struct node *d = idmap_get(&w->nodes, dir), *n;
    struct ns_dirent e;

    if (ns_dirent_parse(get_be64(key + 8), v->data, v->len, &e) < 0)
        return problem(w->c, "%s: an entry of directory %" PRIu64 " is malformed", w->p->name, dir);
    n = idmap_get(&w->nodes, e.ino);
    if (!d || !d->inode || !S_ISDIR(d->mode) || !n || !n->inode) {
        fix_vt(w, FIX_VT_DEL, TAB_DIRENT, key, 16);
        return problem(w->c, "%s: entry '%.*s' of directory %" PRIu64 " names inode %" PRIu64 ": %s",
                       w->p->name, (int)e.name_len, e.name, dir, e.ino,
                       n && n->inode ? "the directory does not exist" : "that does not exist");
    }
    if (!name_ok(w->p->v, &e))
        problem(w->c, "%s: entry '%.*s' of directory %" PRIu64 " is not where it would be looked for",
                w->p->name, (int)e.name_len, e.name, dir);
    if (e.type != (n->mode & S_IFMT))
        problem(w->c, "%s: entry '%.*s' says type %o, inode %" PRIu64 " is %o", w->p->name, (int)e.name_len,
                e.name, e.type, e.ino, n->mode & S_IFMT);
    n->names++;
    if (S_ISDIR(n->mode))
        d->subdirs++;
    if (n->parent == dir && n->parent_hash == e.hash)
        n->primary = true;
    else if (!link_there(w, e.ino, key))
        problem(w->c, "%s: entry '%.*s' of directory %" PRIu64 " is not among the links of inode %" PRIu64,
                w->p->name, (int)e.name_len, e.name, dir, e.ino);
    return 0;
}

static int see_link(struct walk *w, const uint8_t *key, const struct vt_val *v)
{
    uint64_t ino = get_be64(key);
    struct node *n = idmap_get(&w->nodes, ino);
    struct vt_val ev;
    struct ns_dirent e;

    if (!(n && n->inode) && v->branch != w->p->at.branch)
        return 0;
    if (n && n->inode && vt_get(&w->c->t, KEEP_PENDING, w->p->at, TAB_DIRENT, key + 8, &ev) == 0 &&
        ns_dirent_parse(get_be64(key + 16), ev.data, ev.len, &e) == 0 && e.ino == ino) {
        n->links++;
        return 0;
    }
    fix_vt(w, FIX_VT_DEL, TAB_LINK, key, 24);
    return problem(w->c, "%s: a link of inode %" PRIu64 " names no entry (directory %" PRIu64 ")", w->p->name,
                   ino, get_be64(key + 8));
}

static int see_orphan(struct walk *w, const uint8_t *key, const struct vt_val *v)
{
    struct node *n = idmap_get(&w->nodes, get_be64(key));

    (void)v;
    if (n && n->inode && n->nlink == 0) {
        n->orphan = true;
        return 0;
    }
    fix_vt(w, FIX_VT_DEL, TAB_ORPHAN, key, 8);
    return problem(w->c, "%s: inode %" PRIu64 " is marked as an orphan, but %s", w->p->name, get_be64(key),
                   n && n->inode ? "has links" : "does not exist");
}

/* Inherited records of an inode that went are no harm: nobody asks for them. */
static int see_owned(struct walk *w, const uint8_t *key, uint8_t tab, const struct vt_val *v,
                     struct node **ret)
{
    struct node *n = idmap_get(&w->nodes, get_be64(key));

    *ret = n && n->inode ? n : NULL;
    if (*ret || v->branch != w->p->at.branch)
        return 0;
    fix_vt(w, FIX_VT_DEL, tab, key, tab_key_len(tab));
    return problem(w->c, "%s: table %s has a record of inode %" PRIu64 ", which does not exist", w->p->name,
                   scan_table_name(tab), get_be64(key));
}

static int see_xattr(struct walk *w, const uint8_t *key, const struct vt_val *v)
{
    struct node *n;
    int r = see_owned(w, key, TAB_XATTR, v, &n);

    if (n && key[16] == 0) {
        n->xattrs++;
        if (v->len < 6 || v->data[4] == 0 || v->len < 5u + v->data[4])
            return problem(w->c, "%s: an extended attribute of inode %" PRIu64 " is malformed", w->p->name,
                           get_be64(key));
        n->names_found += v->data[4] + 1u;
        n->values_found += get_le32(v->data);
    }
    return r;
}

static int see_data(struct walk *w, const uint8_t *key, const struct vt_val *v)
{
    struct node *n;
    int r = see_owned(w, key, TAB_DATA, v, &n);

    if (n)
        n->data += v->len;
    return r;
}

static int see_span(struct walk *w, const uint8_t *key, const struct vt_val *v)
{
    struct node *n;

    return see_owned(w, key, TAB_SPAN, v, &n);
}

/* Follows parents up to the root, or to a directory whose way is known. */
static bool hangs(struct walk *w, uint64_t ino)
{
    uint64_t at = ino;
    struct node *n;
    uint8_t way;

    while ((n = idmap_get(&w->nodes, at)) && n->inode && n->way == 0 && at != INO_ROOT) {
        n->way = 1;
        at = n->parent;
    }
    way = at == INO_ROOT && n && n->inode ? 2 : n && n->way == 2 ? 2 : 3;
    for (at = ino; (n = idmap_get(&w->nodes, at)) && n->way == 1; at = n->parent)
        n->way = way;
    return way == 2;
}

static int judge_links(struct walk *w, uint64_t ino, const struct node *n)
{
    uint32_t want = S_ISDIR(n->mode) ? 2 + n->subdirs : n->names;
    struct fix *f;

    if (n->nlink != want) {
        if (w->p->live && want > 0) {
            f = fix_add(w->c, FIX_NLINK);
            f->vol = w->p->v->rec.id;
            f->a = ino;
            f->b = want;
        }
        problem(w->c, "%s: inode %" PRIu64 " has %u links, %u are found", w->p->name, ino, n->nlink, want);
    }
    if (ino == INO_ROOT)
        return n->names || !S_ISDIR(n->mode)
                   ? problem(w->c, "%s: the root is named or no directory", w->p->name)
                   : 0;
    if (!n->primary)
        problem(w->c, "%s: no entry is where inode %" PRIu64 " says that it is named (directory %" PRIu64 ")",
                w->p->name, ino, n->parent);
    if (S_ISDIR(n->mode) && n->names > 1)
        problem(w->c, "%s: directory %" PRIu64 " has %u names", w->p->name, ino, n->names);
    if (!S_ISDIR(n->mode) && n->primary && n->names != n->links + 1)
        problem(w->c, "%s: inode %" PRIu64 " has %u names and %u links beside the first", w->p->name, ino,
                n->names, n->links);
    if (S_ISDIR(n->mode) && n->primary && !hangs(w, ino))
        problem(w->c, "%s: directory %" PRIu64 " does not hang from the root", w->p->name, ino);
    return 0;
}

static void judge(struct walk *w, uint64_t ino, const struct node *n)
{
    uint8_t key[8];

    if (n->nlink == 0) {
        if (n->names)
            problem(w->c, "%s: inode %" PRIu64 " has no links, but %u names", w->p->name, ino, n->names);
        if (!n->orphan && !n->names) {
            put_be64(key, ino);
            fix_vt(w, FIX_VT_PUT, TAB_ORPHAN, key, 8);
            problem(w->c, "%s: inode %" PRIu64 " has no links and is not among the orphans", w->p->name, ino);
        }
    } else {
        (void)judge_links(w, ino, n);
    }
    if (n->nlink == 0 && n->orphan &&
        !BROKEN(VARVE_BREAK_check_half_gone)) /* it goes by parts, its record with the last */
        return;
    if (n->xattrs != n->nxattr)
        problem(w->c, "%s: inode %" PRIu64 " says %u extended attributes, %u are there", w->p->name, ino,
                n->nxattr, n->xattrs);
    else if (n->counted && (n->names_found != n->xattr_names || n->values_found != n->xattr_values))
        problem(w->c,
                "%s: inode %" PRIu64 " says %" PRIu64 " and %" PRIu64
                " bytes of attributes' names and values, %" PRIu64 " and %" PRIu64 " are there",
                w->p->name, ino, n->xattr_names, n->xattr_values, n->names_found, n->values_found);
    if ((S_ISLNK(n->mode) || n->flags & INODE_INLINE) && n->data > n->size)
        problem(w->c, "%s: inode %" PRIu64 " holds %" PRIu64 " bytes of %" PRIu64, w->p->name, ino, n->data,
                n->size);
}

static int walk_place(struct walk *w)
{
    struct node *root;
    int r = each(w, TAB_INODE, see_inode);

    if (r == 0)
        r = each(w, TAB_DIRENT, see_dirent);
    if (r == 0)
        r = each(w, TAB_LINK, see_link);
    if (r == 0)
        r = each(w, TAB_ORPHAN, see_orphan);
    if (r == 0)
        r = each(w, TAB_XATTR, see_xattr);
    if (r == 0)
        r = each(w, TAB_DATA, see_data);
    if (r == 0)
        r = each(w, TAB_SPAN, see_span);
    if (r < 0)
        return r;
    root = idmap_get(&w->nodes, INO_ROOT);
    if (!root || !root->inode)
        problem(w->c, "%s: there is no root directory", w->p->name);
    idmap_each(&w->nodes, i)
    {
        judge(w, idmap_key(&w->nodes, i), idmap_val(&w->nodes, i));
    }
    return 0;
}

int check_pass_names(struct check *c)
{
    size_t i;
    int r = 0;

    for (i = 0; i < c->nplaces && r == 0; i++) {
        struct walk w = {.c = c, .p = &c->places[i], .nodes = {.vsize = sizeof(struct node)}};

        r = walk_place(&w);
        idmap_free(&w.nodes);
        if (r == 0)
            r = check_turn(c);
    }
    return r;
}
