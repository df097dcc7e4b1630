/* Owner, attributes, mode, times, flags. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "tier/restore_i.h"

struct setting {
    struct restore *w;
    int fd; /* -1: path is set instead */
    const char
        *path; /* of a symbolic link or special file: /proc/self/fd/N, which is that and leads no further */
};

int restore_weaker(struct restore *w, int failed)
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
    return restore_weaker(s->w, s->fd >= 0 ? fsetxattr(s->fd, name, p, len, 0) < 0
                                           : setxattr(s->path, name, p, len, 0) < 0);
}

/* Lists that the directory around gave it, or that a directory had which was there already: others may do with it what they say. */
static int drop_lists(struct setting *s)
{
    static const char *const names[] = {"system.posix_acl_access", "system.posix_acl_default"};
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_LEN(names); i++)
        if (s->fd >= 0 && fgetxattr(s->fd, names[i], NULL, 0) >= 0)
            r = restore_weaker(s->w, fremovexattr(s->fd, names[i]) < 0);
        else if (s->fd < 0 && getxattr(s->path, names[i], NULL, 0) >= 0)
            r = restore_weaker(s->w, removexattr(s->path, names[i]) < 0);
    return r;
}

static int set_xattrs(struct setting *s, uint64_t ino)
{
    struct tree_key k = tree_key(ino, REC_XATTR);
    int r = drop_lists(s);

    return r < 0 ? r : tree_scan(s->w->r, s->w->t, &k, NULL, set_xattr, s);
}

int restore_meta(struct restore *w, int fd, uint64_t ino, const struct point_inode *in)
{
    struct setting s = {w, fd, NULL};
    struct timespec t[2] = {in->atime, in->mtime};
    bool other = fchown(fd, in->uid, in->gid) < 0;
    int r = restore_weaker(w, other);
    uint32_t mode = in->mode & 07777;

    if (other && S_ISREG(in->mode)) /* it acted for its owner, not for whoever restores it */
        mode &= ~(uint32_t)(S_ISUID | S_ISGID);
    if (r == 0)
        r = set_xattrs(&s, ino);
    if (r == 0) /* after the owner: changing that clears setuid; after an ACL: the mode says it */
        r = restore_weaker(w, fchmod(fd, mode) < 0);
    if (r == 0)
        r = restore_weaker(w, futimens(fd, t) < 0);
    return r;
}

/* Of what cannot be opened: a symbolic link, a fifo, a device. By a descriptor all the same: who may write to the directory could put a link
 * to something else in its place. */
int restore_meta_of(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in)
{
    cleanup(fd_close) int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    char path[64];
    struct setting s = {w, -1, path};
    struct timespec t[2] = {in->atime, in->mtime};
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_from_errno(errno);
    if (((st.st_mode ^ in->mode) & S_IFMT) || st.st_nlink != 1)
        return -E_BUSY;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    r = restore_weaker(w, fchownat(fd, "", in->uid, in->gid, AT_EMPTY_PATH) < 0);
    if (r == 0)
        r = set_xattrs(&s, ino);
    if (r == 0 && !S_ISLNK(in->mode))
        r = restore_weaker(w, chmod(path, in->mode & 07777) < 0);
    if (r == 0)
        r = restore_weaker(w, utimensat(AT_FDCWD, path, t, 0) < 0);
    return r;
}

/* --- immutable, append-only ----------------------------------------------------------------------------------------- */

int restore_flags_note(struct restore *w, const char *name, const struct point_inode *in)
{
    uint8_t v[8];
    uint32_t place;
    int r;

    if (!(in->flags & (POINT_IMMUTABLE | POINT_APPEND)) || !(S_ISREG(in->mode) || S_ISDIR(in->mode)))
        return 0;
    if ((r = levels_place(w, &place)) < 0)
        return r;
    put_le32(v, in->flags);
    put_le32(v + 4, place);
    r = buf_add(&w->flags, v, sizeof(v));
    return r < 0 ? r : buf_add(&w->flags, name, strlen(name) + 1);
}

/* Directories have their owners again, who may have put a link in the place of one. */
static int set_flags(struct restore *w, uint32_t place, const char *name, uint32_t flags)
{
    int dir, v = 0, r = places_open(&w->places, place, &dir);
    cleanup(fd_close) int fd =
        r < 0 ? -1 : openat(dir, *name ? name : ".", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (r == -E_NOMEM)
        return r;
    if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &v) < 0) {
        w->res.weaker++;
        return 0;
    }
    v |= (flags & POINT_IMMUTABLE ? FS_IMMUTABLE_FL : 0) | (flags & POINT_APPEND ? FS_APPEND_FL : 0);
    if (ioctl(fd, FS_IOC_SETFLAGS, &v) < 0)
        w->res.weaker++;
    return 0;
}

/* What is in a directory was noted before it. */
int restore_flags_set(struct restore *w)
{
    int r = 0;

    for (size_t at = 0; r == 0 && at < w->flags.len;) {
        const uint8_t *p = w->flags.data + at;
        const char *name = (const char *)p + 8;

        r = set_flags(w, get_le32(p + 4), name, get_le32(p));
        at += 8 + strlen(name) + 1;
    }
    return r;
}
