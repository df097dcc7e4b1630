/* The directories from the target down to the one under way, however many they are: the last of them are open, those above are found
 * again by "..", and proved; what is in those above is read again where it would take too much memory to keep. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/fd.h"
#include "base/mark.h"
#include "tier/restore_i.h"

#define OPEN_LEVELS 64
#define LISTS_BYTES (4u << 20)
#define DEPTH_ANY 2000 /* levels */
#define PLACE_NONE UINT32_MAX

/* The entries of a directory, read before anything is made. In the order of inodes their records and their bytes lie side by side in the
 * repository; in that of the names they do not. */
struct child {
    uint64_t ino;
    size_t name; /* in names, with its NUL */
};
struct list {
    struct buf v, names;   /* v: struct child each */
    struct point_inode in; /* mode 0: not known */
    bool read;
};

struct level {
    uint64_t ino;
    dev_t dev; /* what it is where it is restored to */
    ino_t there;
    struct list *list; /* NULL: to be read anew */
    uint64_t done;     /* of all entries, when it was read */
    size_t next;       /* entry */
    size_t path_len;
    uint32_t place; /* PLACE_ROOT: it is the target; PLACE_NONE: not noted */
    int fd;         /* -1: it is the target, or closed */
    bool sure;      /* it says itself that it lies in the one above, and so do all above but the first */
};

/* --- entries -------------------------------------------------------------------------------------------------------- */

static size_t list_bytes(const struct list *l)
{
    return sizeof(*l) + l->v.cap + l->names.cap;
}

static size_t list_len(const struct list *l)
{
    return l->v.len / sizeof(struct child);
}

static void list_drop(struct levels *v, struct level *l)
{
    if (!l->list)
        return;
    v->bytes -= list_bytes(l->list);
    buf_free(&l->list->v);
    buf_free(&l->list->names);
    free(l->list);
    l->list = NULL;
}

static int gather(void *arg, uint64_t hash, const struct point_dirent *e)
{
    struct list *l = arg;
    struct child child = {e->ino, l->names.len};

    (void)hash;
    if (buf_add(&l->v, &child, sizeof(child)) < 0 || buf_add(&l->names, e->name, e->name_len) < 0)
        return -E_NOMEM;
    return buf_add(&l->names, "", 1);
}

static int by_ino(const void *a, const void *b)
{
    const struct child *x = a, *y = b;

    return x->ino != y->ino ? (x->ino > y->ino) - (x->ino < y->ino)
                            : (x->name > y->name) - (x->name < y->name);
}

static int list_new(struct levels *v, struct level *l)
{
    if (!(l->list = calloc(1, sizeof(*l->list))))
        return -E_NOMEM;
    v->bytes += list_bytes(l->list);
    return 0;
}

/* What cannot be read of it is told, and passed over. */
static int list_read(struct restore *w, struct level *l)
{
    int r = l->list ? 0 : list_new(&w->levels, l);

    if (r < 0)
        return r;
    w->levels.bytes -= list_bytes(l->list);
    r = point_dirents(w->r, w->t, l->ino, gather, l->list);
    w->levels.bytes += list_bytes(l->list);
    l->list->read = true;
    l->done = w->levels.done;
    if (r < 0)
        l->list->v.len = 0;
    if (l->list->v.len && !BROKEN(VARVE_BREAK_restore_order))
        qsort(l->list->v.data, list_len(l->list), sizeof(struct child), by_ino);
    return r < 0 ? restore_survive(w, r) : 0;
}

/* Of those below which more was done since than reading them anew costs. */
static void lists_shrink(struct levels *v)
{
    for (; v->bytes > LISTS_BYTES && v->looked + 1 < v->n; v->looked++) {
        struct level *l = &v->v[v->looked];

        if (!l->list || v->done - l->done < list_len(l->list))
            continue;
        MARK("restore: a list is given back");
        list_drop(v, l);
    }
}

int levels_next(struct restore *w, const char **ret_name, uint64_t *ret_ino)
{
    struct level *l = &w->levels.v[w->levels.n - 1];
    const struct child *child;
    int r;

    w->path.len = l->path_len;
    if ((!l->list || !l->list->read) && (r = list_read(w, l)) < 0)
        return r;
    if (l->next >= list_len(l->list))
        return 0;
    child = (const struct child *)(const void *)l->list->v.data + l->next++;
    w->levels.done++;
    *ret_ino = child->ino;
    *ret_name = (const char *)l->list->names.data + child->name;
    r = l->path_len ? buf_puts(&w->path, "/") : 0;
    if (r == 0)
        r = buf_puts(&w->path, *ret_name);
    return r < 0 ? r : 1;
}

/* --- down, and up --------------------------------------------------------------------------------------------------- */

static void fd_drop(struct level *l)
{
    fd_close(&l->fd);
    l->fd = -1;
}

static bool says_so(const struct levels *v, const struct point_inode *in)
{
    const struct level *up = v->n ? &v->v[v->n - 1] : NULL;

    return !up || (up->sure && in && in->parent == up->ino);
}

/* Where each says that it lies in the one above, none can be met again before the first is. */
bool levels_may_enter(const struct restore *w, uint64_t ino, const struct point_inode *in)
{
    const struct levels *v = &w->levels;

    return v->n <= DEPTH_ANY || (says_so(v, in) && ino != v->v[0].ino) || BROKEN(VARVE_BREAK_restore_circle);
}

int levels_enter(struct restore *w, int fd, uint64_t ino, const struct point_inode *in)
{
    struct level l = {.ino = ino, .fd = fd, .place = fd < 0 ? PLACE_ROOT : PLACE_NONE};
    struct levels *v = &w->levels;
    struct level *more = array_more(v->v, v->n, sizeof(*more));
    struct stat st = {0};
    int r = more ? list_new(v, &l) : -E_NOMEM;

    if (more)
        v->v = more;
    if (r == 0 && fd >= 0 && fstat(fd, &st) < 0)
        r = err_from_errno(errno);
    if (r < 0) {
        list_drop(v, &l);
        fd_drop(&l);
        return r;
    }
    l.dev = st.st_dev;
    l.there = st.st_ino;
    l.path_len = w->path.len;
    l.sure = says_so(v, in);
    if (in)
        l.list->in = *in;
    v->v[v->n++] = l;
    if (v->n - v->low > OPEN_LEVELS)
        fd_drop(&v->v[v->low++]);
    lists_shrink(v);
    return 0;
}

/* Who may move directories there could lead elsewhere: it must be the one that it was. */
static int up_open(struct levels *v)
{
    const struct level *l = &v->v[v->n - 1];
    struct level *up = &v->v[v->n - 2];
    struct stat st;

    if (up->fd >= 0 || up->place == PLACE_ROOT)
        return 0;
    up->fd = openat(l->fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (up->fd < 0 || fstat(up->fd, &st) < 0)
        return err_from_errno(errno);
    v->low = v->n - 2;
    if (BROKEN(VARVE_BREAK_restore_up) || (st.st_dev == up->dev && st.st_ino == up->there))
        return 0;
    return -E_BUSY;
}

static int level_end(struct restore *w, struct level *l)
{
    struct point_inode in = l->list->in;
    int r = in.mode ? 0 : point_inode_get(w->r, w->t, l->ino, &in);

    if (r == 0)
        r = restore_meta(w, levels_fd(w), l->ino, &in);
    r = restore_survive(w, r);
    return r < 0 || l->place == PLACE_ROOT || !in.mode ? r : restore_flags_note(w, "", &in);
}

/* The one above is open before this one gets its mode, which may let nobody through. */
int levels_leave(struct restore *w)
{
    struct levels *v = &w->levels;
    struct level *l = &v->v[v->n - 1];
    int r = v->n > 1 ? up_open(v) : 0;

    if (r == 0)
        r = level_end(w, l);
    if (r < 0)
        return r;
    list_drop(v, l);
    fd_drop(l);
    v->n--;
    v->low = MIN_OF(v->low, v->n);
    v->looked = MIN_OF(v->looked, v->n ? v->n - 1 : 0);
    return 0;
}

/* --- where it stands ------------------------------------------------------------------------------------------------ */

int levels_fd(const struct restore *w)
{
    const struct level *l = w->levels.n ? &w->levels.v[w->levels.n - 1] : NULL;

    return l && l->place != PLACE_ROOT ? l->fd : w->dest;
}

/* Those above must have theirs first. */
int levels_place(struct restore *w, uint32_t *ret)
{
    struct level *v = w->levels.v;
    size_t i = w->levels.n;
    int r = 0;

    *ret = PLACE_ROOT;
    while (i > 0 && v[i - 1].place == PLACE_NONE)
        i--;
    if (i > 0)
        *ret = v[i - 1].place;
    for (; r == 0 && i < w->levels.n; i++) {
        size_t from = i > 0 ? v[i - 1].path_len : 0;

        from += from > 0; /* the slash */
        r = places_add(&w->places, *ret, (const char *)w->path.data + from, v[i].path_len - from, ret);
        if (r == 0)
            v[i].place = *ret;
    }
    return r;
}

void levels_release(struct restore *w)
{
    struct levels *v = &w->levels;

    for (size_t i = 0; i < v->n; i++) {
        fd_drop(&v->v[i]);
        list_drop(v, &v->v[i]);
    }
    free(v->v);
    *v = (struct levels){0};
}
