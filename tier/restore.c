#include "tier/restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "tier/domains.h"
#include "tier/restore_i.h"

/* --- looking -------------------------------------------------------------------------------------------------------- */

int restore_lookup(struct repo *r, const struct tree *t, const uint8_t *names, const char *path,
                   uint64_t *ret_ino)
{
    struct point_dirent e = {.ino = 1};
    int x = 0;

    while (x == 0 && *path) {
        const char *name = path;
        size_t len = strcspn(path, "/");

        path += len;
        path += strspn(path, "/");
        if (len > 0 && !(len == 1 && name[0] == '.'))
            x = point_lookup(r, t, names, e.ino, name, len, &e, NULL);
    }
    *ret_ino = e.ino;
    return x;
}

/* --- one thing ------------------------------------------------------------------------------------------------------ */

/* Damage is told and passed over; everything else ends it. */
int restore_survive(struct restore *w, int r)
{
    if (r != -E_CORRUPT && r != -E_NOENT && r != -E_KEY)
        return r;
    w->res.hurt++;
    if (w->o->hurt && buf_cstr(&w->path))
        w->o->hurt(w->o->arg, buf_cstr(&w->path), -E_CORRUPT);
    return 0;
}

/* One that is there is gone into, where that is allowed; something else in its place goes only by being written over. */
static int make_dir(struct restore *w, int dir, const char *name)
{
    struct stat st;

    if (mkdirat(dir, name, 0700) == 0)
        return 0;
    if (errno != EEXIST || (!w->o->overwrite && !w->o->resume) ||
        fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return err_from_errno(errno);
    if (S_ISDIR(st.st_mode))
        return 0;
    if (!w->o->overwrite)
        return -E_EXIST;
    if (unlinkat(dir, name, 0) < 0 || mkdirat(dir, name, 0700) < 0)
        return err_from_errno(errno);
    w->res.replaced++;
    return 0;
}

static int restore_dir(struct restore *w, int dir, const char *name, uint64_t ino,
                       const struct point_inode *in)
{
    int fd, r;

    if (!levels_may_enter(w, ino, in))
        return restore_survive(w, -E_CORRUPT);
    if ((r = make_dir(w, dir, name)) < 0)
        return r;
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    w->res.dirs++;
    return levels_enter(w, fd, ino, in);
}

/* A directory is entered by it, and what is in it comes then. */
static int restore_one(struct restore *w, const char *name, uint64_t ino)
{
    struct point_inode in;
    int dir = levels_fd(w), r = point_inode_get(w->r, w->t, ino, &in);

    if (r < 0)
        return restore_survive(w, r);
    if (S_ISDIR(in.mode))
        return restore_dir(w, dir, name, ino, &in);
    return restore_survive(w, restore_leaf(w, dir, name, ino, &in));
}

/* All that is in what was entered, down to the end. */
static int restore_entered(struct restore *w)
{
    const char *name;
    uint64_t ino;
    int r = 0;

    while (r == 0 && w->levels.n) {
        r = levels_next(w, &name, &ino);
        if (r == 1)
            r = restore_one(w, name, ino);
        else if (r == 0)
            r = levels_leave(w);
    }
    return r;
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static int is_empty(int fd)
{
    DIR *d = fdopendir(dup(fd));
    struct dirent *e;
    int n = 0;

    if (!d)
        return err_from_errno(errno);
    while ((e = readdir(d)))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n ? -E_NOTEMPTY : 0;
}

static int restore_all(struct restore *w)
{
    int r = w->o->overwrite || w->o->resume ? 0 : is_empty(w->dest);

    if (r == 0)
        r = levels_enter(w, -1, 1, NULL);
    return r < 0 ? r : restore_entered(w);
}

static const char *last_part(const char *path, char out[POINT_NAME_MAX + 1])
{
    size_t len = strlen(path), from;

    while (len && path[len - 1] == '/')
        len--;
    for (from = len; from && path[from - 1] != '/'; from--)
        ;
    if (len == from || len - from > POINT_NAME_MAX)
        return NULL;
    memcpy(out, path + from, len - from);
    out[len - from] = 0;
    return strcmp(out, ".") == 0 || strcmp(out, "..") == 0 ? NULL : out;
}

static int restore_path(struct restore *w, const char *path, struct buf *err)
{
    char name[POINT_NAME_MAX + 1];
    uint64_t ino;
    int r;

    if (!last_part(path, name)) {
        buf_printf(err, "\"%.200s\" names nothing that can be restored; leave it out for everything", path);
        return -E_INVAL;
    }
    r = restore_lookup(w->r, w->t, w->names, path, &ino);
    if (r == -E_NOENT)
        buf_printf(err, "%s is not in the recovery point", path);
    if (r < 0)
        return r;
    buf_reset(&w->path);
    r = buf_puts(&w->path, name);
    if (r == 0)
        r = restore_one(w, name, ino);
    return r < 0 ? r : restore_entered(w);
}

static int run(struct restore *w, struct buf *err)
{
    int r = 0;

    if (w->o->npaths == 0)
        r = restore_all(w);
    for (size_t i = 0; r == 0 && i < w->o->npaths; i++)
        r = restore_path(w, w->o->paths[i], err);
    if (r == 0)
        r = restore_flags_set(w);
    if (r == 0 && syncfs(w->dest) < 0)
        r = err_from_errno(errno);
    return r;
}

static const char *why_of(int r, const struct restore_opts *o)
{
    if (r == -E_NOTEMPTY)
        return "is not empty; choose a directory that is, or is not there yet; --resume goes on with an "
               "interrupted restore, --overwrite replaces files";
    if (r == -E_EXIST)
        return o->resume ? "exists already and is another; --overwrite replaces it"
                         : "exists already; --overwrite replaces it, --resume passes over what is equal";
    if (r == -E_ISDIR)
        return "is a directory, and none in the recovery point; move it away";
    return backend_text(r);
}

int restore_run(struct repo *r, const struct point *p, const char *dest, const struct restore_opts *o,
                struct restore_result *ret, struct buf *err)
{
    struct restore w = {.r = r, .t = &p->tree, .names = point_names(p), .o = o, .dest = -1};
    const struct domain *d;
    int x = 0;

    if (mkdir(dest, 0700) < 0 && errno != EEXIST)
        x = err_from_errno(errno);
    if (x == 0 && (w.dest = open(dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        x = err_from_errno(errno);
    w.places = (struct places)PLACES_OF(w.dest);
    if (x == 0)
        x = repo_sync(r);
    if (x == 0)
        x = repo_domain(r, &p->domain, &d);
    if (x == 0)
        x = mac_new(&d->blob_key, &w.mac);
    if (x == 0)
        x = run(&w, err);
    if (x < 0 && err->len == 0)
        buf_printf(err, "%s%s%s: %s", dest, w.path.len ? "/" : "", w.path.len ? buf_cstr(&w.path) : "",
                   why_of(x, o));
    levels_release(&w);
    places_release(&w.places);
    fd_close(&w.dest);
    idset_free(&w.links);
    buf_free(&w.firsts);
    mac_free(w.mac);
    buf_free(&w.path);
    buf_free(&w.flags);
    *ret = w.res;
    return x;
}
