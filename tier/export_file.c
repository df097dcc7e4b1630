#include "tier/export_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/io.h"

#define PIECE (1u << 20)

struct object {
    char *name;
    uint64_t off, len; /* of its bytes */
};
struct export_file {
    pthread_mutex_t lock; /* guards all below but what open sets */
    int fd, out;          /* out: -1 none */
    char *path;           /* NULL: without a name */
    bool writes;
    struct export_head head;
    uint64_t end, damaged, resumed;
    struct object *v; /* by name, ascending */
    size_t n;
    struct buf sums; /* head_sum of each, in the order of the file */
};
struct view {
    struct backend b;
    struct export_file *x;
};

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

static int append(struct export_file *x, const void *p, size_t len)
{
    int r = io_pwrite(io_real(), x->fd, p, len, x->end);

    if (r == 0 && x->out >= 0)
        r = io_write(x->out, p, len);
    if (r == 0)
        x->end += len;
    return r;
}

/* --- objects -------------------------------------------------------------------------------------------------------- */

/* Where it is, or would be. */
static size_t slot_of(const struct export_file *x, const char *name, bool *ret_there)
{
    size_t lo = 0, hi = x->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (strcmp(x->v[mid].name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_there = lo < x->n && strcmp(x->v[lo].name, name) == 0;
    return lo;
}

static struct object *find(struct export_file *x, const char *name)
{
    bool there;
    size_t at = slot_of(x, name, &there);

    return there ? &x->v[at] : NULL;
}

static int note(struct export_file *x, const struct export_object *o, uint64_t off, bool bad)
{
    bool there;
    size_t at = slot_of(x, o->name, &there);
    char *name;

    if (there)
        return -E_CORRUPT;
    struct object *v = array_more(x->v, x->n, sizeof(*v));

    if (!v)
        return -E_NOMEM;
    x->v = v;
    if (buf_add(&x->sums, o->head_sum, SUM8) < 0 || !(name = strdup(o->name)))
        return -E_NOMEM;
    memmove(&x->v[at + 1], &x->v[at], (x->n - at) * sizeof(*x->v));
    x->v[at] = (struct object){name, off, o->len};
    x->n++;
    x->damaged += bad;
    return 0;
}

static void forget(struct export_file *x)
{
    for (size_t i = 0; i < x->n; i++)
        free(x->v[i].name);
    x->n = 0;
    buf_reset(&x->sums);
}

/* --- reading a file that is there ----------------------------------------------------------------------------------- */

struct scanning {
    struct export_file *x;
    int (*progress)(void *arg, uint64_t bytes);
    void *arg;
    uint8_t *room; /* PIECE */
};

static int sum_of(struct scanning *s, uint64_t off, uint64_t len, struct sha *ret)
{
    cleanup(buf_free) struct buf b = {0};
    size_t got = 0;
    int r = len > PACK_SIZE_MAX ? -E_CORRUPT : buf_reserve(&b, (size_t)len);

    while (r == 0 && b.len < len) {
        r = io_pread(io_real(), s->x->fd, s->room, (size_t)MIN_OF((uint64_t)PIECE, len - b.len), off + b.len,
                     &got);
        if (r == 0 && got == 0)
            return -E_CORRUPT;
        if (r == 0)
            r = buf_add(&b, s->room, got);
        if (r == 0 && s->progress)
            r = s->progress(s->arg, off + b.len);
    }
    return r < 0 ? r : crypt_sha256(b.data, b.len, ret);
}

/* The object at x->end. 1: it is there, perhaps with damaged bytes; 0: something else is. */
static int scan_object(struct scanning *s)
{
    struct export_file *x = s->x;
    uint8_t head[EXPORT_OBJECT_MAX];
    struct export_object o;
    size_t got, size;
    struct sha sum;
    int r = io_pread(io_real(), x->fd, head, sizeof(head), x->end, &got);

    if (r < 0)
        return r;
    if (got < EXPORT_OBJECT_FIX || export_object_size(head, &size) < 0 || size > got ||
        export_object_decode(head, size, &o) < 0)
        return 0;
    r = sum_of(s, x->end + size, o.len, &sum);
    if (r == -E_CORRUPT) /* it ends before it should */
        return 0;
    if (r == 0)
        r = note(x, &o, x->end + size,
                 memcmp(sum.b, o.sum.b, sizeof(sum.b)) != 0 && !BROKEN(VARVE_BREAK_export_sum));
    if (r < 0)
        return r;
    x->end += size + o.len;
    return 1;
}

/* As many objects as stand one after the other from the head on. */
static int scan(struct scanning *s)
{
    uint8_t head[EXPORT_HEAD];
    size_t got;
    int r = io_pread(io_real(), s->x->fd, head, sizeof(head), 0, &got);

    if (r == 0)
        r = got == sizeof(head) ? export_head_decode(head, &s->x->head) : -E_CORRUPT;
    if (r == 0 && !(s->room = malloc(PIECE)))
        r = -E_NOMEM;
    s->x->end = EXPORT_HEAD;
    for (int more = 1; r == 0 && more;) {
        more = scan_object(s);
        r = MIN_OF(more, 0);
    }
    free(s->room);
    return r;
}

static int end_check(struct export_file *x)
{
    uint8_t raw[EXPORT_END];
    struct export_end e;
    struct stat st;
    struct sha sums;
    size_t got;
    int r = io_pread(io_real(), x->fd, raw, sizeof(raw), x->end, &got);

    if (r == 0)
        r = got == sizeof(raw) ? export_end_decode(raw, &e) : -E_CORRUPT;
    if (r == 0)
        r = crypt_sha256(x->sums.data, x->sums.len, &sums);
    if (r == 0 && fstat(x->fd, &st) < 0)
        r = err_from_errno(errno);
    if (r == 0 && (e.objects != x->n || e.len != x->end || (uint64_t)st.st_size != x->end + EXPORT_END ||
                   memcmp(sums.b, e.sums.b, sizeof(sums.b)) != 0))
        r = -E_CORRUPT;
    return r;
}

/* --- opening -------------------------------------------------------------------------------------------------------- */

static int file_new(struct export_file **ret)
{
    struct export_file *x = calloc(1, sizeof(*x));

    if (!x)
        return -E_NOMEM;
    x->fd = x->out = -1;
    pthread_mutex_init(&x->lock, NULL);
    *ret = x;
    return 0;
}

void export_close(struct export_file *x)
{
    if (!x)
        return;
    forget(x);
    free(x->v);
    buf_free(&x->sums);
    if (x->fd >= 0)
        close(x->fd);
    free(x->path);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

static int nameless(const char *dir, int *ret)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char path[PATH_MAX];

    if (fd < 0 && snprintf(path, sizeof(path), "%s/varve.XXXXXX", dir) < (int)sizeof(path) &&
        (fd = mkostemp(path, O_CLOEXEC)) >= 0)
        unlink(path);
    *ret = fd;
    return fd < 0 ? err_from_errno(errno) : 0;
}

static int part_of(const char *path, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s.part", path) < PATH_MAX ? 0 : -E_NAMETOOLONG;
}

static int part_open(struct export_file *x, const char *path)
{
    char part[PATH_MAX];
    int r = part_of(path, part);

    if (r < 0)
        return r;
    if (!(x->path = strdup(path)))
        return -E_NOMEM;
    if (access(path, F_OK) == 0)
        return -E_EXIST;
    x->fd = open(part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (x->fd < 0)
        return err_from_errno(errno);
    return flock(x->fd, LOCK_EX | LOCK_NB) < 0 ? -E_BUSY : 0;
}

/* What an interrupted run of the same left; 1: there is something to go on with. */
static int resume(struct export_file *x, const struct sha *point)
{
    struct scanning s = {.x = x};
    int r = scan(&s);

    if (r == -E_CORRUPT || r == -E_REPO_NEWER)
        return 0;
    if (r < 0)
        return r;
    if (x->damaged ||
        (memcmp(x->head.point.b, point->b, sizeof(point->b)) != 0 && !BROKEN(VARVE_BREAK_export_other)))
        return 0;
    x->resumed = x->n;
    return ftruncate(x->fd, (off_t)x->end) < 0 ? err_from_errno(errno) : 1;
}

static int fresh(struct export_file *x, const struct sha *point)
{
    uint8_t head[EXPORT_HEAD];
    int r;

    forget(x);
    x->end = x->damaged = 0;
    x->head = (struct export_head){*point, clock_wall_ns()};
    r = export_head_encode(&x->head, head);
    if (r == 0 && ftruncate(x->fd, 0) < 0)
        r = err_from_errno(errno);
    return r < 0 ? r : append(x, head, sizeof(head));
}

int export_begin(const char *path, int out, const char *dir, const struct sha *point,
                 struct export_file **ret)
{
    struct export_file *x;
    int r = file_new(&x);

    if (r < 0)
        return r;
    x->writes = true;
    if (path) {
        r = part_open(x, path);
        if (r == 0)
            r = resume(x, point);
    } else {
        x->out = out;
        r = nameless(dir, &x->fd);
    }
    if (r == 0)
        r = fresh(x, point);
    if (r < 0)
        export_close(x);
    else
        *ret = x;
    return MIN_OF(r, 0);
}

static int sync_parent(const char *path)
{
    char up[PATH_MAX];
    char *slash;
    int fd, r;

    snprintf(up, sizeof(up), "%s", path);
    slash = strrchr(up, '/');
    if (slash)
        slash[slash == up] = 0;
    fd = open(slash ? up : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    r = fsync(fd) < 0 ? err_from_errno(errno) : 0;
    close(fd);
    return r;
}

int export_end(struct export_file *x)
{
    struct export_end e = {.objects = x->n, .len = x->end};
    uint8_t raw[EXPORT_END];
    char part[PATH_MAX];
    int r = crypt_sha256(x->sums.data, x->sums.len, &e.sums);

    assert(x->writes);
    if (r == 0)
        r = export_end_encode(&e, raw);
    if (r == 0)
        r = append(x, raw, sizeof(raw));
    if (r < 0 || !x->path)
        return r;
    if (fsync(x->fd) < 0 || part_of(x->path, part) < 0)
        return err_from_errno(errno);
    if (renameat2(AT_FDCWD, part, AT_FDCWD, x->path, RENAME_NOREPLACE) < 0 &&
        (errno == EEXIST || rename(part, x->path) < 0))
        return err_from_errno(errno);
    return sync_parent(x->path);
}

static int keep_pipe(int from, const char *dir, struct scanning *s)
{
    uint8_t *room = malloc(PIECE);
    uint64_t at = 0;
    int r = room ? nameless(dir, &s->x->fd) : -E_NOMEM;

    while (r == 0) {
        ssize_t n = read(from, room, PIECE);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = err_from_errno(errno);
        if (n <= 0)
            break;
        r = io_pwrite(io_real(), s->x->fd, room, (size_t)n, at);
        at += (uint64_t)n;
        if (r == 0 && s->progress)
            r = s->progress(s->arg, at);
    }
    free(room);
    return r;
}

static void say_why(int r, const struct export_file *x, const char *path, struct buf *err)
{
    if (r == -E_REPO_NEWER)
        buf_printf(err, "%s was written by a newer varve", path);
    else if (r == -E_CORRUPT && x->end <= EXPORT_HEAD)
        buf_printf(err, "%s is no export of varve, or its beginning is damaged", path);
    else if (r == -E_CORRUPT)
        buf_printf(err,
                   "%s ends too early, or is damaged from byte %llu on: it was cut, or its export was not "
                   "finished",
                   path, (unsigned long long)x->end);
    else
        buf_printf(err, "%s: %s", path, err_text(r));
}

int export_open(const char *path, int fd, const char *dir, int (*progress)(void *arg, uint64_t bytes),
                void *arg, struct export_file **ret, struct buf *err)
{
    struct export_file *x;
    struct scanning s = {.progress = progress, .arg = arg};
    int r = file_new(&x);

    if (r < 0)
        return r;
    s.x = x;
    if (fd >= 0)
        r = keep_pipe(fd, dir, &s);
    else if ((x->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        r = err_from_errno(errno);
    if (r == 0)
        r = scan(&s);
    if (r == 0 && !BROKEN(VARVE_BREAK_export_end))
        r = end_check(x);
    if (r < 0) {
        if (r != -E_CANCELED)
            say_why(r, x, fd >= 0 ? "standard input" : path, err);
        export_close(x);
        return r;
    }
    *ret = x;
    return 0;
}

uint64_t export_damaged(const struct export_file *x)
{
    return x->damaged;
}

uint64_t export_size(const struct export_file *x)
{
    return x->end;
}

uint64_t export_resumed(const struct export_file *x)
{
    return x->resumed;
}

/* --- as a backend --------------------------------------------------------------------------------------------------- */

static struct export_file *file_of(struct backend *b)
{
    return ((struct view *)b)->x;
}

static int put_locked(struct export_file *x, const char *name, const void *p, size_t len)
{
    struct export_object o = {.len = len};
    uint8_t head[EXPORT_OBJECT_MAX];
    uint64_t before = x->end;
    size_t n;
    int r;

    if (find(x, name))
        return -E_EXIST;
    if (!x->writes)
        return -E_ROFS;
    snprintf(o.name, sizeof(o.name), "%s", name);
    r = crypt_sha256(p, len, &o.sum);
    if (r == 0)
        r = export_object_encode(&o, head, &n);
    if (r == 0)
        r = append(x, head, n);
    if (r == 0)
        r = append(x, p, len);
    if (r == 0)
        r = note(x, &o, before + n, false);
    if (r < 0 && x->out < 0)
        x->end = before;
    return r;
}

/* Takes the lock, unless it fails. */
static int call_begin(struct export_file *x, const struct backend_call *c, const char *name)
{
    int r = backend_name_check(name);

    if (r == 0)
        r = backend_call_check(c, clock_mono_ns());
    if (r == 0)
        pthread_mutex_lock(&x->lock);
    return r;
}

static int x_put(struct backend *b, const struct backend_call *c, const char *name, const void *p, size_t len)
{
    struct export_file *x = file_of(b);
    int r = call_begin(x, c, name);

    if (r < 0)
        return r;
    r = put_locked(x, name, p, len);
    pthread_mutex_unlock(&x->lock);
    return r;
}

static int get_locked(struct export_file *x, const char *name, uint64_t off, size_t len, struct buf *ret)
{
    const struct object *o = find(x, name);
    size_t was = ret->len, got = 0;
    int r;

    if (!o)
        return -E_NOENT;
    len = off >= o->len ? 0 : (size_t)MIN_OF((uint64_t)len, o->len - off);
    if ((r = buf_add_zero(ret, len)) < 0)
        return r;
    r = io_pread(io_real(), x->fd, ret->data + was, len, o->off + off, &got);
    if (r == 0 && got < len)
        r = -E_CORRUPT;
    if (r < 0)
        ret->len = was;
    return r;
}

static int x_get(struct backend *b, const struct backend_call *c, const char *name, uint64_t off, size_t len,
                 struct buf *ret)
{
    struct export_file *x = file_of(b);
    int r = call_begin(x, c, name);

    if (r < 0)
        return r;
    r = get_locked(x, name, off, len, ret);
    pthread_mutex_unlock(&x->lock);
    return r;
}

static int x_stat(struct backend *b, const struct backend_call *c, const char *name, struct backend_stat *ret)
{
    struct export_file *x = file_of(b);
    const struct object *o;
    int r = call_begin(x, c, name);

    if (r < 0)
        return r;
    o = find(x, name);
    if (o)
        *ret = (struct backend_stat){o->len, x->head.created_ns};
    pthread_mutex_unlock(&x->lock);
    return o ? 0 : -E_NOENT;
}

/* The next name after `after`, copied: what is told may put and get. */
static bool next_after(struct export_file *x, const char *prefix, const char *after,
                       char out[BACKEND_NAME_MAX + 1], struct backend_stat *st)
{
    bool there, found = false;
    size_t at;

    pthread_mutex_lock(&x->lock);
    at = slot_of(x, strcmp(after, prefix) < 0 ? prefix : after, &there);
    if (there && strcmp(x->v[at].name, after) == 0)
        at++;
    if (at < x->n && strncmp(x->v[at].name, prefix, strlen(prefix)) == 0) {
        found = true;
        snprintf(out, BACKEND_NAME_MAX + 1, "%s", x->v[at].name);
        *st = (struct backend_stat){x->v[at].len, x->head.created_ns};
    }
    pthread_mutex_unlock(&x->lock);
    return found;
}

static int x_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
                  int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    char name[BACKEND_NAME_MAX + 1];
    struct backend_stat st;
    int r = backend_call_check(c, clock_mono_ns());

    snprintf(name, sizeof(name), "%s", after);
    while (r == 0 && next_after(file_of(b), prefix, name, name, &st))
        r = cb(arg, name, &st);
    return r;
}

static int x_del(struct backend *b, const struct backend_call *c, const char *name)
{
    struct backend_stat st;
    int r = x_stat(b, c, name, &st);

    return r < 0 ? r : -E_NOTSUP; /* it only grows */
}

static int x_now(struct backend *b, const struct backend_call *c, int64_t *ret_ns)
{
    int r = backend_call_check(c, clock_mono_ns());

    (void)b;
    if (r == 0)
        *ret_ns = clock_wall_ns();
    return r;
}

static void x_close(struct backend *b)
{
    free(b);
}

static const struct backend_ops ops = {
    .put = x_put, .get = x_get, .stat = x_stat, .list = x_list, .del = x_del, .now = x_now, .close = x_close};

struct backend *export_backend(struct export_file *x)
{
    struct view *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    w->b.ops = &ops;
    w->x = x;
    return &w->b;
}
