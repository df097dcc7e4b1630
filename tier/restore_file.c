/* Files, links, special files: made under a name of their own, complete, then given theirs. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "tier/restore_i.h"

#define TMP_SIZE 64

static void tmp_name(uint64_t ino, const char *what, char out[TMP_SIZE])
{
    snprintf(out, TMP_SIZE, RESTORE_TMP "%s%" PRIu64, what, ino);
}

/* --- first names of what has several ---------------------------------------------------------------------------------- */

static struct id16 link_id(uint64_t ino)
{
    struct id16 id = {{0}};

    put_le64(id.b, ino);
    return id;
}

/* NULL: it has none yet. */
static const uint8_t *first_of(const struct restore *w, uint64_t ino, const struct point_inode *in)
{
    struct id16 id = link_id(ino);
    uint64_t *at = in->nlink > 1 ? idset_get(&w->links, &id) : NULL;

    return at ? w->firsts.data + *at : NULL;
}

static int first_put(struct restore *w, const char *name, uint64_t ino)
{
    struct id16 id = link_id(ino);
    uint32_t place;
    uint8_t v[4];
    uint64_t *at;
    int r = levels_place(w, &place);

    if (r < 0 || (r = idset_put(&w->links, &id, &at)) < 0)
        return r;
    *at = w->firsts.len;
    put_le32(v, place);
    r = buf_add(&w->firsts, v, sizeof(v));
    return r < 0 ? r : buf_add(&w->firsts, name, strlen(name) + 1);
}

/* The directory that it is in; its name. */
static int first_open(struct restore *w, const uint8_t *first, int *ret_dir, const char **ret_name)
{
    *ret_name = (const char *)first + 4;
    return places_open(&w->places, get_le32(first), ret_dir);
}

static int first_is(struct restore *w, const uint8_t *first, const struct stat *st)
{
    const char *name;
    struct stat one;
    int dir, r = first_open(w, first, &dir, &name);

    if (r < 0)
        return r == -E_NOMEM ? r : 0;
    return fstatat(dir, name, &one, AT_SYMLINK_NOFOLLOW) == 0 && one.st_ino == st->st_ino &&
           one.st_dev == st->st_dev;
}

/* --- what is there already ------------------------------------------------------------------------------------------ */

static bool same_time(const struct timespec *is, const struct timespec *want)
{
    return is->tv_sec == want->tv_sec && (is->tv_nsec == want->tv_nsec || is->tv_nsec == 0);
}

static int file_equal(struct restore *w, int dir, const char *name, const struct stat *st, uint64_t ino,
                      const struct point_inode *in)
{
    if ((uint64_t)st->st_size != in->size || !same_time(&st->st_mtim, &in->mtime))
        return 0;
    if (BROKEN(VARVE_BREAK_restore_equal))
        return 1;
    cleanup(fd_close) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? 0 : restore_bytes_equal(w, fd, ino, in);
}

static int target_of(struct restore *w, uint64_t ino, struct buf *ret)
{
    struct tree_key k = tree_key(ino, REC_SYMLINK);
    int r = tree_get(w->r, w->t, &k, ret);

    if (r == 0 && (!buf_cstr(ret) || strlen(buf_cstr(ret)) != ret->len))
        r = -E_CORRUPT;
    return r == -E_NOENT ? -E_CORRUPT : r;
}

static int link_equal(struct restore *w, int dir, const char *name, uint64_t ino)
{
    cleanup(buf_free) struct buf target = {0};
    char is[4096];
    ssize_t n = readlinkat(dir, name, is, sizeof(is));
    int r = target_of(w, ino, &target);

    return r < 0 ? r : n >= 0 && (size_t)n == target.len && memcmp(is, target.data, target.len) == 0;
}

/* Is what is there what would be made? 1, 0. */
static int equal(struct restore *w, int dir, const char *name, const struct stat *st, uint64_t ino,
                 const struct point_inode *in)
{
    const uint8_t *first = first_of(w, ino, in);

    if ((st->st_mode ^ in->mode) & S_IFMT)
        return 0;
    if (first)
        return first_is(w, first, st);
    switch (in->mode & S_IFMT) {
    case S_IFREG: return file_equal(w, dir, name, st, ino, in);
    case S_IFLNK: return link_equal(w, dir, name, ino);
    case S_IFBLK:
    case S_IFCHR: return st->st_rdev == (dev_t)in->rdev;
    default: return 1;
    }
}

/* --- giving the name ------------------------------------------------------------------------------------------------ */

static int place(int dir, const char *tmp, const char *name, bool replace)
{
    if (replace) {
        if (renameat(dir, tmp, dir, name) < 0)
            return err_from_errno(errno);
        unlinkat(dir, tmp, 0); /* it stays where both were one file before */
        return 0;
    }
    if (renameat2(dir, tmp, dir, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return err_from_errno(errno);
    if (linkat(dir, tmp, dir, name, 0) < 0) /* a filesystem without such a rename */
        return err_from_errno(errno);
    unlinkat(dir, tmp, 0);
    return 0;
}

/* --- making --------------------------------------------------------------------------------------------------------- */

/* As tmp_open() makes it: nobody else can have it open for writing, and go on changing what gets an owner and a mode later. */
static bool is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_nlink == 1 &&
           ((st->st_uid == geteuid() && (st->st_mode & 077) == 0) || BROKEN(VARVE_BREAK_restore_foreign));
}

/* What an interrupted run has begun is gone on with, if it may resume; else it makes room. */
static int tmp_open(struct restore *w, int dir, const char *tmp, bool *ret_there)
{
    struct stat st;
    int fd = openat(dir, tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    *ret_there = false;
    if (fd >= 0 || errno != EEXIST)
        return fd;
    if (w->o->resume) {
        fd = openat(dir, tmp, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &st) == 0 && is_ours(&st)) {
            *ret_there = true;
            return fd;
        }
        fd_close(&fd);
    }
    if (unlinkat(dir, tmp, 0) < 0)
        return -1;
    return openat(dir, tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

static int make_file(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in,
                     bool replace)
{
    char tmp[TMP_SIZE];
    bool there;
    int r;

    tmp_name(ino, "", tmp);
    if (replace && BROKEN(VARVE_BREAK_restore_over))
        snprintf(tmp, sizeof(tmp), "%s", name);
    cleanup(fd_close) int fd = tmp_open(w, dir, tmp, &there);
    if (fd < 0)
        return err_from_errno(errno);
    r = restore_bytes(w, fd, ino, in, there);
    if (r == 0)
        r = restore_meta(w, fd, ino, in);
    if (r == 0 && replace && fsync(fd) < 0) /* what takes the place of something is on the disk first */
        r = err_from_errno(errno);
    if (r == 0)
        r = place(dir, tmp, name, replace);
    if (r == -E_CORRUPT || r == -E_NOENT || r == -E_KEY || r == -E_EXIST)
        unlinkat(dir, tmp, 0);
    return r;
}

/* 1: it could not be made by this user, which is counted. */
static int make_node(struct restore *w, int dir, const char *tmp, uint64_t ino, const struct point_inode *in)
{
    cleanup(buf_free) struct buf target = {0};
    int r;

    if (unlinkat(dir, tmp, 0) < 0 && errno != ENOENT)
        return err_from_errno(errno);
    if (S_ISLNK(in->mode)) {
        r = target_of(w, ino, &target);
        return r < 0 ? r : symlinkat(buf_cstr(&target), dir, tmp) < 0 ? err_from_errno(errno) : 0;
    }
    if (mknodat(dir, tmp, (in->mode & S_IFMT) | 0600, (dev_t)in->rdev) == 0)
        return 0;
    if (errno != EPERM)
        return err_from_errno(errno);
    w->res.weaker++;
    return 1;
}

static int make_other(struct restore *w, int dir, const char *name, uint64_t ino,
                      const struct point_inode *in, bool replace)
{
    char tmp[TMP_SIZE];
    int r;

    tmp_name(ino, "", tmp);
    r = make_node(w, dir, tmp, ino, in);
    if (r != 0)
        return r;
    r = restore_meta_of(w, dir, tmp, ino, in);
    if (r == 0)
        r = place(dir, tmp, name, replace);
    if (r < 0)
        unlinkat(dir, tmp, 0);
    return r;
}

static int make_link(struct restore *w, int dir, const char *name, uint64_t ino, const uint8_t *first,
                     bool replace)
{
    char tmp[TMP_SIZE];
    const char *was;
    int from, r = first_open(w, first, &from, &was);

    if (r < 0)
        return r;
    if (!replace)
        return linkat(from, was, dir, name, 0) < 0 ? err_from_errno(errno) : 0;
    tmp_name(ino, "link.", tmp);
    unlinkat(dir, tmp, 0);
    if (linkat(from, was, dir, tmp, 0) < 0)
        return err_from_errno(errno);
    r = place(dir, tmp, name, true);
    if (r < 0)
        unlinkat(dir, tmp, 0);
    return r;
}

/* --- one thing ------------------------------------------------------------------------------------------------------ */

static int make(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in,
                bool replace)
{
    const uint8_t *first = first_of(w, ino, in);
    int r;

    if (first)
        r = make_link(w, dir, name, ino, first, replace);
    else if (S_ISREG(in->mode))
        r = make_file(w, dir, name, ino, in, replace);
    else
        r = make_other(w, dir, name, ino, in, replace);
    if (r == 0)
        w->res.replaced += replace;
    return r;
}

static int count(struct restore *w, const char *name, uint64_t ino, const struct point_inode *in)
{
    int r = 0;

    if (first_of(w, ino, in))
        return restore_moved(w, 0);
    *(S_ISREG(in->mode) ? &w->res.files : &w->res.others) += 1;
    if (in->nlink > 1)
        r = first_put(w, name, ino);
    if (r == 0)
        r = restore_flags_note(w, name, in);
    return r < 0 ? r : restore_moved(w, 0);
}

int restore_leaf(struct restore *w, int dir, const char *name, uint64_t ino, const struct point_inode *in)
{
    struct stat st;
    bool replace = false;
    int r;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        r = w->o->resume ? equal(w, dir, name, &st, ino, in) : 0;
        if (r < 0)
            return r;
        if (r == 1) {
            w->res.same++;
            return count(w, name, ino, in);
        }
        if (S_ISDIR(st.st_mode))
            return -E_ISDIR;
        if (!w->o->overwrite && !BROKEN(VARVE_BREAK_restore_exist))
            return -E_EXIST;
        replace = true;
    }
    r = make(w, dir, name, ino, in, replace);
    return r < 0 ? r : r == 1 ? restore_moved(w, 0) : count(w, name, ino, in);
}
