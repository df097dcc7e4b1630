#include "tier/restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tier/domains.h"
#include "tier/restore_i.h"

#define DEPTH_MAX 2000
#define FILES_BESIDE 200 /* open besides directories that lie in each other */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

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

/* --- a directory ---------------------------------------------------------------------------------------------------- */

/* Its entries, read before anything is made. In the order of inodes their records and their bytes lie side by side in the repository; in
 * that of the names they do not. */
struct child {
    uint64_t ino;
    size_t name; /* in names, with its NUL */
};
struct children {
    struct buf v, names; /* v: struct child each */
};

static void children_free(struct children *c)
{
    buf_free(&c->v);
    buf_free(&c->names);
}

static int gather(void *arg, uint64_t hash, const struct point_dirent *e)
{
    struct children *c = arg;
    struct child child = {e->ino, c->names.len};

    (void)hash;
    if (buf_add(&c->v, &child, sizeof(child)) < 0 || buf_add(&c->names, e->name, e->name_len) < 0)
        return -E_NOMEM;
    return buf_add(&c->names, "", 1);
}

static int by_ino(const void *a, const void *b)
{
    const struct child *x = a, *y = b;

    return x->ino != y->ino ? (x->ino > y->ino) - (x->ino < y->ino)
                            : (x->name > y->name) - (x->name < y->name);
}

static int children_of(struct restore *w, uint64_t ino, struct children *ret)
{
    int r = point_dirents(w->r, w->t, ino, gather, ret);

    if (r == 0 && ret->v.len && !BROKEN(VARVE_BREAK_restore_order))
        qsort(ret->v.data, ret->v.len / sizeof(struct child), sizeof(struct child), by_ino);
    return r;
}

/* Damage is told and passed over; everything else ends it. */
static int survive(struct restore *w, int r)
{
    if (r != -E_CORRUPT && r != -E_NOENT && r != -E_KEY)
        return r;
    w->res.hurt++;
    if (w->o->hurt && buf_cstr(&w->path))
        w->o->hurt(w->o->arg, buf_cstr(&w->path), -E_CORRUPT);
    return 0;
}

static int restore_one(struct restore *w, int dir, const char *name, uint64_t ino, unsigned depth);

static int restore_entries(struct restore *w, int dir, uint64_t ino, unsigned depth)
{
    cleanup(children_free) struct children c = {{0}, {0}};
    int r = children_of(w, ino, &c);

    if (r < 0)
        return survive(w, r);
    for (size_t at = 0; r == 0 && at < c.v.len; at += sizeof(struct child)) {
        const struct child *child = (const struct child *)(const void *)(c.v.data + at);
        const char *name = (const char *)c.names.data + child->name;
        size_t was = w->path.len;

        if (was)
            r = buf_puts(&w->path, "/");
        if (r == 0)
            r = buf_puts(&w->path, name);
        if (r == 0)
            r = restore_one(w, dir, name, child->ino, depth);
        if (r == 0) /* else it is for the sentence */
            w->path.len = was;
    }
    return r;
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
                       const struct point_inode *in, unsigned depth)
{
    int r;

    if (depth > DEPTH_MAX)
        return -E_TOOBIG;
    if ((r = make_dir(w, dir, name)) < 0)
        return r;
    cleanup(close_fd) int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    w->res.dirs++;
    r = restore_entries(w, fd, ino, depth + 1);
    if (r == 0)
        r = survive(w, restore_meta(w, fd, ino, in));
    return r < 0 ? r : restore_flags_note(w, in);
}

static int restore_one(struct restore *w, int dir, const char *name, uint64_t ino, unsigned depth)
{
    struct point_inode in;
    int r = point_inode_get(w->r, w->t, ino, &in);

    if (r < 0)
        return survive(w, r);
    if (S_ISDIR(in.mode))
        return restore_dir(w, dir, name, ino, &in, depth);
    return survive(w, restore_leaf(w, dir, name, ino, &in));
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
    struct point_inode in;
    int r = w->o->overwrite || w->o->resume ? 0 : is_empty(w->dest);

    if (r == 0)
        r = restore_entries(w, w->dest, 1, 0);
    if (r == 0)
        r = point_inode_get(w->r, w->t, 1, &in);
    if (r == 0)
        r = restore_meta(w, w->dest, 1, &in);
    return r;
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
    return r < 0 ? r : restore_one(w, w->dest, name, ino, 0);
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

/* Shells allow 1,024, as of old. */
static void may_open_all(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= DEPTH_MAX + FILES_BESIDE)
        return;
    l.rlim_cur = MIN_OF(l.rlim_max, (rlim_t)(DEPTH_MAX + FILES_BESIDE));
    (void)setrlimit(RLIMIT_NOFILE, &l);
}

int restore_run(struct repo *r, const struct point *p, const char *dest, const struct restore_opts *o,
                struct restore_result *ret, struct buf *err)
{
    struct restore w = {.r = r, .t = &p->tree, .names = point_names(p), .o = o, .dest = -1};
    const struct domain *d;
    int x = links_new(&w.links);

    may_open_all();
    if (x == 0 && mkdir(dest, 0700) < 0 && errno != EEXIST)
        x = err_from_errno(errno);
    if (x == 0 && (w.dest = open(dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        x = err_from_errno(errno);
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
    close_fd(&w.dest);
    links_free(w.links);
    mac_free(w.mac);
    buf_free(&w.path);
    buf_free(&w.flags);
    *ret = w.res;
    return x;
}
