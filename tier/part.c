#include "tier/part.h"

#include <stdio.h>
#include <sys/stat.h>

#include "tier/crypt.h"

#define ROOT 1u

void part_free(struct part *p)
{
    idset_free(&p->index);
    buf_free(&p->v);
}

int part_path(const char *path, char ret[PART_PATH_MAX + 1])
{
    size_t at = 0;

    for (;;) {
        size_t n;

        path += strspn(path, "/");
        n = strcspn(path, "/");
        if (n == 0)
            break;
        if ((n == 2 && memcmp(path, "..", 2) == 0) || memchr(path, '\n', n) || at + 1 + n > PART_PATH_MAX)
            return -E_NAME;
        if (n > 1 || path[0] != '.') {
            if (at)
                ret[at++] = '/';
            memcpy(ret + at, path, n);
            at += n;
        }
        path += n;
    }
    ret[at] = 0;
    return 0;
}

/* --- which inodes ----------------------------------------------------------------------------------------------------------- */

static struct id16 id_of(uint64_t ino)
{
    struct id16 id = {.b = {0}};

    put_be64(id.b, ino);
    return id;
}

static struct part_node *node_at(const struct part *p, uint64_t place)
{
    return (struct part_node *)(void *)p->v.data + place;
}

const struct part_node *part_find(const struct part *p, uint64_t ino)
{
    struct id16 id = id_of(ino);
    const uint64_t *place = idset_get(&p->index, &id);

    return place ? node_at(p, *place - 1) : NULL;
}

size_t part_nodes(const struct part *p)
{
    return p->v.len / sizeof(struct part_node);
}

const struct part_node *part_node(const struct part *p, size_t i)
{
    return node_at(p, i);
}

/* One more entry that names it. *ret_new: the first one. */
static int named(struct part *p, uint64_t ino, uint64_t parent, uint64_t hash, bool *ret_new)
{
    struct part_node n = {.ino = ino, .parent = parent, .hash = hash};
    struct id16 id = id_of(ino);
    uint64_t *place;
    int r = idset_put(&p->index, &id, &place);

    if (r < 0)
        return r;
    *ret_new = *place == 0;
    if (*ret_new) {
        r = buf_add(&p->v, &n, sizeof(n));
        *place = part_nodes(p);
    }
    if (r == 0)
        node_at(p, *place - 1)->names++;
    return r;
}

/* From the root to what the path names: *ret_ino, *ret_dir: is it a directory? */
static int way(struct repo *r, const struct tree *t, const uint8_t *names, const char *path, struct part *p,
               uint64_t *ret_ino, bool *ret_dir)
{
    bool is_new;
    int x = named(p, ROOT, 0, 0, &is_new);

    *ret_ino = ROOT;
    *ret_dir = true;
    while (x == 0 && *path) {
        struct part_node *dir = node_at(p, part_nodes(p) - 1);
        size_t len = strcspn(path, "/");
        struct point_dirent e;

        x = *ret_dir ? point_lookup(r, t, names, *ret_ino, path, len, &e, &dir->only) : -E_NOENT;
        if (x < 0)
            return x;
        *ret_dir = S_ISDIR(e.type);
        dir->on_way = 1;
        dir->subdirs = *ret_dir;
        x = named(p, e.ino, *ret_ino, dir->only, &is_new);
        if (x == 0 && !is_new)
            return -E_CORRUPT;
        *ret_ino = e.ino;
        path += len + (path[len] == '/');
    }
    return x;
}

struct descending {
    struct part *p;
    uint64_t dir;
    struct buf dirs; /* u64 each: still to be looked at */
};

static int entry(void *arg, uint64_t hash, const struct point_dirent *e)
{
    struct descending *d = arg;
    bool is_new;
    int r = named(d->p, e->ino, d->dir, hash, &is_new);

    if (r == 0 && S_ISDIR(e->type))
        r = is_new ? buf_add(&d->dirs, &e->ino, sizeof(e->ino)) : -E_CORRUPT;
    return r;
}

int part_make(struct repo *r, const struct tree *t, const uint8_t *names, const char *path, struct part *ret)
{
    struct part p = {.v = {0}};
    struct descending d = {.p = &p};
    uint64_t ino = 0;
    bool dir = false;
    int x = t->depth == 0 ? -E_NOENT : way(r, t, names, path, &p, &ino, &dir);

    if (x == 0 && dir)
        x = buf_add(&d.dirs, &ino, sizeof(ino));
    while (x == 0 && d.dirs.len) {
        d.dirs.len -= sizeof(d.dir);
        memcpy(&d.dir, d.dirs.data + d.dirs.len, sizeof(d.dir));
        x = point_dirents(r, t, d.dir, entry, &d);
    }
    buf_free(&d.dirs);
    if (x == 0)
        *ret = p;
    else
        part_free(&p);
    return x;
}

bool part_takes(const struct part *p, const uint8_t *key, size_t klen)
{
    const struct part_node *n = klen >= 9 ? part_find(p, get_be64(key)) : NULL;

    return n && (!n->on_way || key[8] != REC_DIRENT || (klen == 17 && get_be64(key + 9) == n->only));
}

/* --- as it is there --------------------------------------------------------------------------------------------------------- */

int part_inode(const struct part *p, const struct tree_rec *whole, uint8_t ret[POINT_INODE_SIZE])
{
    const struct part_node *n = part_find(p, get_be64(whole->key)), *up;
    struct point_inode in;
    int r = point_inode_decode(whole->val, whole->vlen, &in);

    if (r < 0)
        return r;
    assert(n);
    if (n->on_way)
        in.nlink = 2 + n->subdirs;
    else if (!S_ISDIR(in.mode))
        in.nlink = n->names;
    up = n->parent ? part_find(p, in.parent) : NULL;
    if (n->parent && (!up || (up->on_way && up->only != in.parent_hash))) {
        in.parent = n->parent;
        in.parent_hash = n->hash;
    }
    point_inode_encode(&in, ret);
    return 0;
}

int part_count(struct repo *r, const struct tree *whole, const struct part *part, struct point *p)
{
    int x = 0;

    p->files = p->dirs = p->others = p->bytes = 0;
    for (size_t i = 0; x == 0 && i < part_nodes(part); i++) {
        struct point_inode in;

        x = point_inode_get(r, whole, part_node(part, i)->ino, &in);
        if (x < 0)
            break;
        ++*(S_ISREG(in.mode) ? &p->files : S_ISDIR(in.mode) ? &p->dirs : &p->others);
        p->bytes += S_ISREG(in.mode) ? in.size : 0;
    }
    return x == -E_NOENT ? -E_CORRUPT : x;
}

static int derived(const void *of, size_t len, const char *path, struct sha *ret)
{
    cleanup(buf_free) struct buf b = {0};
    int r = buf_puts(&b, "varve part");

    if (r == 0)
        r = buf_add(&b, of, len);
    if (r == 0)
        r = buf_puts(&b, path);
    return r < 0 ? r : crypt_sha256(b.data, b.len, ret);
}

int part_origin(const struct sha *whole, const char *path, struct sha *ret)
{
    return derived(whole->b, sizeof(whole->b), path, ret);
}

int part_name(struct point *p, const char *path)
{
    struct uuid *const ids[] = {&p->volume, &p->snapshot};
    struct sha sum;
    int r = buf_printf(&p->labels, "part=%s", path);

    if (r == 0)
        r = buf_add(&p->labels, "", 1);
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(ids); i++) {
        r = derived(ids[i]->b, sizeof(ids[i]->b), path, &sum);
        if (r == 0)
            memcpy(ids[i]->b, sum.b, sizeof(ids[i]->b));
    }
    p->flags &= (uint16_t)~POINT_ATTACHED;
    return r;
}
