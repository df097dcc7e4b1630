/* Files, links, special files: bytes, owner, attributes, mode, times. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tier/map.h"
#include "tier/restore_i.h"

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* --- names of one inode --------------------------------------------------------------------------------------------- */

struct links {
    struct link {
        uint64_t ino; /* 0: free */
        char *path;
    } * v;
    size_t n, cap;
};

int links_new(struct links **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret ? 0 : -E_NOMEM;
}

void links_free(struct links *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->cap; i++)
        free(l->v[i].path);
    free(l->v);
    free(l);
}

static struct link *slot(struct link *v, size_t cap, uint64_t ino)
{
    size_t i = (ino * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);

    while (v[i].ino && v[i].ino != ino)
        i = (i + 1) & (cap - 1);
    return &v[i];
}

const char *links_get(const struct links *l, uint64_t ino)
{
    return l->cap ? slot(l->v, l->cap, ino)->path : NULL;
}

int links_put(struct links *l, uint64_t ino, const char *path)
{
    char *copy;

    if (l->n * 2 >= l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct link *v = calloc(cap, sizeof(*v));

        if (!v)
            return -E_NOMEM;
        for (size_t i = 0; i < l->cap; i++)
            if (l->v[i].ino)
                *slot(v, cap, l->v[i].ino) = l->v[i];
        free(l->v);
        l->v = v;
        l->cap = cap;
    }
    if (!(copy = strdup(path)))
        return -E_NOMEM;
    *slot(l->v, l->cap, ino) = (struct link){ino, copy};
    l->n++;
    return 0;
}

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

static int write_at(int fd, const uint8_t *p, size_t len, uint64_t off)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        p += n;
        len -= (size_t)n;
        off += (uint64_t)n;
    }
    return 0;
}

static int moved(struct restore *w, uint64_t bytes)
{
    w->res.bytes += bytes;
    return w->o->progress
               ? w->o->progress(w->o->arg, w->res.files + w->res.dirs + w->res.others, w->res.bytes)
               : 0;
}

static int write_extent(struct restore *w, int fd, const struct extent *e, uint64_t size)
{
    uint64_t off = e->block * TIER_BLOCK, len;
    const uint8_t *p;
    size_t plen;
    int r;

    if (e->kind != EXTENT_SLICE || off >= size)
        return 0;
    if ((r = repo_chunk(w->r, &e->s.chunk, &p, &plen)) < 0)
        return r == -E_NOENT || r == -E_KEY ? -E_CORRUPT : r;
    if (e->s.off > plen || e->s.len > plen - e->s.off)
        return -E_CORRUPT;
    len = MIN_OF((uint64_t)e->s.len, size - off);
    r = write_at(fd, p + e->s.off, (size_t)len, off);
    return r < 0 ? r : moved(w, len);
}

static int write_file(struct restore *w, int fd, uint64_t ino, const struct point_inode *in)
{
    struct extents l = {0};
    int r = map_load(w->r, w->t, ino, &l);

    if (r == 0 && ftruncate(fd, (off_t)in->size) < 0)
        r = err_from_errno(errno);
    for (size_t i = 0; r == 0 && i < l.n; i++)
        r = write_extent(w, fd, &l.v[i], in->size);
    extents_free(&l);
    return r;
}

/* --- owner, attributes, mode, times --------------------------------------------------------------------------------- */

struct setting {
    struct restore *w;
    int fd;           /* -1: path is set instead */
    const char *path; /* of a symbolic link or special file, by way of /proc/self/fd */
};

/* What this user may not do, or the target cannot hold, is counted, not refused. */
static int weaker(struct restore *w, int failed)
{
    if (!failed)
        return 0;
    if (errno != EPERM && errno != EOPNOTSUPP && errno != EINVAL && errno != EACCES && errno != E2BIG &&
        errno != ENOSPC)
        return err_from_errno(errno);
    w->res.weaker++;
    return 0;
}

static int set_xattr(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    cleanup(buf_free) struct buf large = {0};
    struct setting *s = arg;
    const void *p = val + 1;
    size_t len = vlen - 1;
    char name[256];

    if (vlen < 1 || val[0] > 1 || klen - 9 >= sizeof(name))
        return -E_CORRUPT;
    memcpy(name, key + 9, klen - 9);
    name[klen - 9] = 0;
    if (val[0] == 1) {
        struct dec d = dec_of(p, len);
        struct slice at = slice_decode(&d);
        int r = d.bad ? -E_CORRUPT : repo_slice(s->w->r, &at, true, &large);

        if (r < 0)
            return r;
        p = large.data;
        len = large.len;
    }
    return weaker(s->w, s->fd >= 0 ? fsetxattr(s->fd, name, p, len, 0) < 0
                                   : lsetxattr(s->path, name, p, len, 0) < 0);
}

static int set_xattrs(struct setting *s, uint64_t ino)
{
    struct tree_key k = tree_key(ino, REC_XATTR);

    return tree_scan(s->w->r, s->w->t, &k, NULL, set_xattr, s);
}

int restore_meta(struct restore *w, int fd, uint64_t ino, const struct point_inode *in)
{
    struct setting s = {w, fd, NULL};
    struct timespec t[2] = {in->atime, in->mtime};
    int r = weaker(w, fchown(fd, in->uid, in->gid) < 0);

    if (r == 0)
        r = set_xattrs(&s, ino);
    if (r == 0) /* after the owner: changing that clears setuid; after an ACL: the mode says it */
        r = weaker(w, fchmod(fd, in->mode & 07777) < 0);
    if (r == 0)
        r = weaker(w, futimens(fd, t) < 0);
    return r;
}

/* Of what cannot be opened: a symbolic link, a fifo, a device. */
static int meta_by_name(struct restore *w, int dir, const char *name, uint64_t ino,
                        const struct point_inode *in)
{
    char path[64 + POINT_NAME_MAX];
    struct setting s = {w, -1, path};
    struct timespec t[2] = {in->atime, in->mtime};
    int r = weaker(w, fchownat(dir, name, in->uid, in->gid, AT_SYMLINK_NOFOLLOW) < 0);

    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
    if (r == 0)
        r = set_xattrs(&s, ino);
    if (r == 0 && !S_ISLNK(in->mode))
        r = weaker(w, fchmodat(dir, name, in->mode & 07777, 0) < 0);
    if (r == 0)
        r = weaker(w, utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW) < 0);
    return r;
}

/* --- one thing ------------------------------------------------------------------------------------------------------ */

static int make_file(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in)
{
    cleanup(close_fd) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r;

    if (fd < 0)
        return err_from_errno(errno);
    r = write_file(w, fd, ino, in);
    if (r == 0)
        r = restore_meta(w, fd, ino, in);
    if (r < 0)
        unlinkat(dir, name, 0);
    return r;
}

static int make_link(struct restore *w, int dir, const char *name, uint64_t ino)
{
    cleanup(buf_free) struct buf target = {0};
    struct tree_key k = tree_key(ino, REC_SYMLINK);
    int r = tree_get(w->r, w->t, &k, &target);

    if (r == 0 && (!buf_cstr(&target) || strlen(buf_cstr(&target)) != target.len))
        r = -E_CORRUPT;
    if (r < 0)
        return r == -E_NOENT ? -E_CORRUPT : r;
    return symlinkat(buf_cstr(&target), dir, name) < 0 ? err_from_errno(errno) : 0;
}

static int make_other(struct restore *w, int dir, const char *name, uint64_t ino,
                      const struct point_inode *in)
{
    int r;

    if (S_ISLNK(in->mode))
        r = make_link(w, dir, name, ino);
    else if (mknodat(dir, name, (in->mode & S_IFMT) | 0600, (dev_t)in->rdev) == 0)
        r = 0;
    else if (errno == EPERM) { /* a device, by somebody who may not make any */
        w->res.weaker++;
        return 0;
    } else
        r = err_from_errno(errno);
    return r < 0 ? r : meta_by_name(w, dir, name, ino, in);
}

int restore_leaf(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in)
{
    const char *first = in->nlink > 1 ? links_get(w->links, ino) : NULL;
    int r;

    if (first)
        return linkat(w->dest, first, dir, name, 0) < 0 ? err_from_errno(errno) : 0;
    r = S_ISREG(in->mode) ? make_file(w, dir, name, ino, in) : make_other(w, dir, name, ino, in);
    if (r < 0)
        return r;
    if (S_ISREG(in->mode))
        w->res.files++;
    else
        w->res.others++;
    if (in->nlink > 1 && !buf_cstr(&w->path))
        r = -E_NOMEM;
    else if (in->nlink > 1)
        r = links_put(w->links, ino, buf_cstr(&w->path));
    return r < 0 ? r : moved(w, 0);
}
