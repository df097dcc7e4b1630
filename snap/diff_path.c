#include <stdlib.h>
#include <sys/stat.h>

#include "snap/diff_int.h"

#define NO_PATH SIZE_MAX
#define DEPTH_MAX 100000u /* a chain of parents that is longer goes in a circle */

void paths_free(struct paths *p)
{
    free(p->slot);
    buf_free(&p->text);
    *p = (struct paths){0};
}

static struct path_slot *find(struct path_slot *slot, size_t cap, uint64_t ino)
{
    size_t i = (size_t)(ino * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);

    while (slot[i].ino && slot[i].ino != ino)
        i = (i + 1) & (cap - 1);
    return &slot[i];
}

static int grow(struct paths *p)
{
    size_t cap = p->cap ? p->cap * 2 : 256;
    struct path_slot *slot;

    if (p->n * 2 < p->cap)
        return 0;
    if (!(slot = calloc(cap, sizeof(*slot))))
        return -E_NOMEM;
    for (size_t i = 0; i < p->cap; i++)
        if (p->slot[i].ino)
            *find(slot, cap, p->slot[i].ino) = p->slot[i];
    free(p->slot);
    p->slot = slot;
    p->cap = cap;
    return 0;
}

static int remember(struct paths *p, uint64_t ino, size_t off)
{
    struct path_slot *s;
    int r = grow(p);

    if (r < 0)
        return r;
    s = find(p->slot, p->cap, ino);
    p->n += s->ino == 0;
    *s = (struct path_slot){ino, off};
    return 0;
}

int dirent_at(struct txn *t, struct vt_at at, uint64_t dir, uint64_t hash, struct dirent_val *ret)
{
    struct vt_val val;
    uint8_t key[16];
    int r;

    put_be64(key, dir);
    put_be64(key + 8, hash);
    if ((r = vt_get(t, KEEP_PENDING, at, TAB_DIRENT, key, &val)) < 0)
        return r;
    if (val.len < 10)
        return -E_CORRUPT;
    *ret = (struct dirent_val){get_le64(val.data), (uint32_t)val.data[8] << 12, (const char *)val.data + 9,
                               val.len - 9};
    return 0;
}

/* The part of the way up that is not remembered yet: inode numbers, the last is remembered or the root. */
static int way_up(struct paths *p, struct txn *t, struct vt_at at, uint64_t dir, struct buf *way)
{
    struct inode in;
    int r;

    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        if ((r = buf_add(way, &dir, sizeof(dir))) < 0)
            return r;
        if (dir == INO_ROOT || (p->cap && find(p->slot, p->cap, dir)->ino))
            return 0;
        if ((r = inode_get(t, at, dir, &in)) < 0)
            return r;
        if (!in.parent)
            return -E_NOENT;
        dir = in.parent;
    }
    return -E_CORRUPT;
}

static int step_down(struct paths *p, struct txn *t, struct vt_at at, uint64_t ino, size_t up,
                     size_t *ret_off)
{
    struct dirent_val e;
    struct inode in;
    size_t off, len;
    int r;

    if ((r = inode_get(t, at, ino, &in)) < 0 || (r = dirent_at(t, at, in.parent, in.parent_hash, &e)) < 0)
        return r;
    len = strlen((const char *)p->text.data + up);
    if (p->most && p->text.len + len + e.name_len > p->most)
        return -E_TOOBIG;
    if ((r = buf_reserve(&p->text, len + 1 + e.name_len + 1)) < 0)
        return r;
    off = p->text.len;
    if ((len && (r = buf_add(&p->text, p->text.data + up, len)) < 0) ||
        (len && (r = buf_add(&p->text, "/", 1)) < 0) || (r = buf_add(&p->text, e.name, e.name_len)) < 0 ||
        (r = buf_add(&p->text, "", 1)) < 0)
        return r;
    *ret_off = off;
    return remember(p, ino, off);
}

int paths_of(struct paths *p, struct txn *t, struct vt_at at, uint64_t dir, size_t *ret_off)
{
    cleanup(buf_free) struct buf way = {0};
    size_t off, n;
    uint64_t ino;
    int r;

    if (!p->text.len && ((r = buf_add(&p->text, "", 1)) < 0 || (r = remember(p, INO_ROOT, 0)) < 0))
        return r;
    if ((r = way_up(p, t, at, dir, &way)) < 0)
        return r;
    n = way.len / sizeof(ino);
    memcpy(&ino, way.data + (n - 1) * sizeof(ino), sizeof(ino));
    off = find(p->slot, p->cap, ino)->off;
    for (size_t i = n - 1; i-- > 0;) {
        memcpy(&ino, way.data + i * sizeof(ino), sizeof(ino));
        if ((r = step_down(p, t, at, ino, off, &off)) < 0)
            return r;
    }
    *ret_off = off;
    return 0;
}
