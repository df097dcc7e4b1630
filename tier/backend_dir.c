#include "tier/backend_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/io.h"
#include "tier/rate.h"

#define PIECE (1u << 20)
#define TMP_KEPT_NS (86400 * (int64_t)1000000000)
#define PATH_SIZE (PATH_MAX + BACKEND_NAME_MAX + 2)

/* Who reads an object piece by piece soon wants the rest of it. */
#define READERS 16
#define NEAR (1u << 20)
#define REST (16u << 20) /* a pack is not longer */
struct reader {
    uint64_t name; /* hash_sum() of the object's; 0: nobody */
    uint64_t end;  /* of its last piece; UINT64_MAX: the rest was asked for */
};

struct dir {
    struct backend b;
    char path[PATH_MAX];
    struct rate up, down;
    pthread_mutex_t readers_lock;
    struct reader reader[READERS];
};

static struct dir *dir_of(struct backend *b)
{
    return (struct dir *)b;
}

static int path_of(struct dir *d, const char *name, char out[PATH_SIZE])
{
    int r = backend_name_check(name);

    if (r == 0)
        snprintf(out, PATH_SIZE, "%s/%s", d->path, name);
    return r;
}

static int sync_dir(const char *path)
{
    cleanup(fd_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return err_from_errno(errno);
    return fsync(fd) < 0 ? err_from_errno(errno) : 0;
}

/* The directory that path lies in, made where it is missing, each level on the disk before the next. */
static int make_parents(struct dir *d, char *path)
{
    size_t base = strlen(d->path);
    int r = 0;

    for (char *p = strchr(path + base + 1, '/'); r == 0 && p; p = strchr(p + 1, '/')) {
        char *up;

        *p = 0;
        if (mkdir(path, 0777) == 0) {
            up = strrchr(path, '/');
            *up = 0;
            r = sync_dir(path);
            *up = '/';
        } else if (errno != EEXIST) {
            r = err_from_errno(errno);
        }
        *p = '/';
    }
    return r;
}

/* Under a limit in smaller pieces, so that it is not kept by long pauses alone. */
static size_t piece(const struct rate *r, size_t left)
{
    size_t most = r->per_s && r->per_s / 8 < PIECE ? MAX_OF((size_t)(r->per_s / 8), (size_t)4096) : PIECE;

    return MIN_OF(left, most);
}

static int write_all(struct dir *d, int fd, const uint8_t *p, size_t len, const struct backend_call *c,
                     int64_t began)
{
    while (len > 0) {
        ssize_t n = write(fd, p, piece(&d->up, len));
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        p += n;
        len -= (size_t)n;
        if ((r = backend_pace(&d->up, (size_t)n, c, began)) < 0)
            return r;
    }
    return 0;
}

static int write_tmp(struct dir *d, const void *p, size_t len, const struct backend_call *c,
                     char tmp[PATH_SIZE])
{
    int64_t began = clock_mono_ns();
    uint64_t n[2];
    int r;

    hash_random(n, sizeof(n));
    snprintf(tmp, PATH_SIZE, "%s/tmp/%016" PRIx64 "%016" PRIx64, d->path, n[0], n[1]);
    if ((r = make_parents(d, tmp)) < 0)
        return r;
    cleanup(fd_close) int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_from_errno(errno);
    r = write_all(d, fd, p, len, c, began);
    if (r == 0 && !BROKEN(VARVE_BREAK_dir_sync) && fsync(fd) < 0)
        r = err_from_errno(errno);
    if (r < 0)
        unlink(tmp);
    return r;
}

/* tmp becomes path, if there is none. Filesystems without links have a rename that replaces nothing. */
static int publish(const char *tmp, const char *path)
{
    if (link(tmp, path) == 0) {
        unlink(tmp);
        return 0;
    }
    if ((errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK) &&
        renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    return err_from_errno(errno);
}

static int dir_put(struct backend *b, const struct backend_call *c, const char *name, const void *p,
                   size_t len)
{
    char path[PATH_SIZE], tmp[PATH_SIZE];
    int r = path_of(dir_of(b), name, path);

    if (r == 0 && access(path, F_OK) == 0)
        r = -E_EXIST;
    if (r == 0)
        r = write_tmp(dir_of(b), p, len, c, tmp);
    if (r < 0)
        return r;
    r = make_parents(dir_of(b), path);
    if (r == 0)
        r = publish(tmp, path);
    if (r < 0) {
        unlink(tmp);
        return r;
    }
    *strrchr(path, '/') = 0;
    return sync_dir(path) < 0 ? -E_UNSURE : 0;
}

/* Is this the second piece that somebody reads of the object, and behind the first? Once for each. */
static bool goes_on(struct dir *d, const char *name, uint64_t off, size_t len)
{
    uint64_t h = hash_sum(0, name, strlen(name)) | 1;
    struct reader *at = &d->reader[h / 2 % READERS];
    bool is;

    pthread_mutex_lock(&d->readers_lock);
    if (at->name != h)
        *at = (struct reader){h, off + len};
    is = at->end <= off && off - at->end < NEAR;
    if (is)
        at->end = UINT64_MAX;
    else if (at->end != UINT64_MAX)
        at->end = off + len;
    pthread_mutex_unlock(&d->readers_lock);
    return is;
}

static int dir_get_into(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                        size_t len, void *p, size_t *ret_len)
{
    int64_t began = clock_mono_ns();
    char path[PATH_SIZE];
    int r = path_of(dir_of(b), name, path);

    if (r < 0)
        return r;
    cleanup(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOTDIR ? -E_NOENT : err_from_errno(errno);
    *ret_len = 0;
    /* One chunk of many: the kernel need not guess what comes behind it, which are some MiB on some machines. */
    if (goes_on(dir_of(b), name, off, len))
        io_ahead(fd, off, REST);
    else if (off > 0)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    while (r == 0 && *ret_len < len) {
        size_t want = piece(&dir_of(b)->down, len - *ret_len);
        ssize_t n = pread(fd, (uint8_t *)p + *ret_len, want, (off_t)(off + *ret_len));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            r = n == 0 ? 0 : errno == EISDIR ? -E_NOENT : err_from_errno(errno);
            break;
        }
        *ret_len += (size_t)n;
        r = backend_pace(&dir_of(b)->down, (size_t)n, c, began);
    }
    return r;
}

static int dir_get(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                   size_t len, struct buf *ret)
{
    size_t n = 0;
    int r = buf_reserve(ret, len);

    if (r == 0)
        r = dir_get_into(b, c, name, off, len, ret->data + ret->len, &n);
    if (r == 0)
        ret->len += n;
    return r;
}

static void stat_fill(const struct stat *st, struct backend_stat *ret)
{
    *ret = (struct backend_stat){(uint64_t)st->st_size,
                                 st->st_mtim.tv_sec * (int64_t)1000000000 + st->st_mtim.tv_nsec};
}

static int dir_stat(struct backend *b, const struct backend_call *c, const char *name,
                    struct backend_stat *ret)
{
    char path[PATH_SIZE];
    struct stat st;
    int r = path_of(dir_of(b), name, path);

    (void)c;
    if (r < 0)
        return r;
    if (stat(path, &st) < 0)
        return errno == ENOTDIR ? -E_NOENT : err_from_errno(errno);
    if (!S_ISREG(st.st_mode))
        return -E_NOENT;
    stat_fill(&st, ret);
    return 0;
}

static int dir_del(struct backend *b, const struct backend_call *c, const char *name)
{
    char path[PATH_SIZE];
    int r = path_of(dir_of(b), name, path);

    (void)c;
    if (r < 0)
        return r;
    if (unlink(path) < 0)
        return errno == EISDIR || errno == ENOTDIR ? -E_NOENT
               : errno == EPERM                    ? -E_ACCES /* chattr +i, +a */
                                                   : err_from_errno(errno);
    *strrchr(path, '/') = 0;
    return sync_dir(path) < 0 ? -E_UNSURE : 0;
}

/* --- listing ------------------------------------------------------------------------------------------------------- */

struct listing {
    struct dir *d;
    const struct backend_call *c;
    int64_t began; /* or when a name was told last */
    const char *after;
    int (*cb)(void *arg, const char *name, const struct backend_stat *st);
    void *arg;
};

/* Directories sort as their name with the slash behind it, which is how names of objects sort. */
static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

static int names_add(char ***names, size_t *n, const char *name, bool dir)
{
    char **more = array_more(*names, *n, sizeof(*more));

    if (!more)
        return -E_NOMEM;
    *names = more;
    if (asprintf(&more[*n], "%s%s", name, dir ? "/" : "") < 0)
        return -E_NOMEM;
    (*n)++;
    return 0;
}

static bool is_dir(const char *path, const struct dirent *e)
{
    char sub[PATH_SIZE];
    struct stat st;

    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR;
    return snprintf(sub, sizeof(sub), "%s/%s", path, e->d_name) < (int)sizeof(sub) && stat(sub, &st) == 0 &&
           S_ISDIR(st.st_mode);
}

static int names_read(const char *path, char ***names, size_t *n)
{
    DIR *dp = opendir(path);
    struct dirent *e;
    int r = 0;

    if (!dp)
        return errno == ENOENT || errno == ENOTDIR ? 0 : err_from_errno(errno);
    while (r == 0 && (errno = 0, e = readdir(dp)))
        if (backend_name_check(e->d_name) == 0)
            r = names_add(names, n, e->d_name, is_dir(path, e));
    if (r == 0 && errno)
        r = err_from_errno(errno);
    closedir(dp);
    return r;
}

static int list_file(struct listing *l, const char *name)
{
    struct backend_stat st;
    int r;

    if (strcmp(name, l->after) <= 0)
        return 0;
    r = dir_stat(&l->d->b, l->c, name, &st);
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    r = l->cb(l->arg, name, &st);
    l->began = clock_mono_ns();
    return r;
}

/* prefix: "" or ends in '/'. */
static int list_in(struct listing *l, const char *prefix)
{
    char path[PATH_SIZE], name[BACKEND_NAME_MAX + 1], **names = NULL;
    size_t n = 0;
    int r;

    snprintf(path, sizeof(path), "%s/%s", l->d->path, prefix);
    r = names_read(path, &names, &n);
    if (n)
        qsort(names, n, sizeof(*names), by_name);
    for (size_t i = 0; r == 0 && i < n; i++) {
        size_t len = (size_t)snprintf(name, sizeof(name), "%s%s", prefix, names[i]);

        if (len >= sizeof(name) || (!*prefix && strcmp(names[i], "tmp/") == 0))
            continue;
        r = backend_call_check(l->c, l->began);
        if (r == 0 && name[len - 1] != '/')
            r = list_file(l, name);
        else if (r == 0 && (strncmp(l->after, name, len) <= 0))
            r = list_in(l, name);
    }
    names_free(names, n);
    return r;
}

static int dir_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
                    int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    struct listing l = {dir_of(b), c, clock_mono_ns(), after, cb, arg};
    int r = backend_prefix_check(prefix);

    return r < 0 ? r : list_in(&l, prefix);
}

/* --- the rest ------------------------------------------------------------------------------------------------------ */

static int dir_now(struct backend *b, const struct backend_call *c, int64_t *ret_ns)
{
    char tmp[PATH_SIZE];
    struct backend_stat st;
    struct stat fst;
    int r = write_tmp(dir_of(b), "", 0, c, tmp);

    if (r < 0)
        return r;
    r = stat(tmp, &fst) < 0 ? err_from_errno(errno) : 0;
    unlink(tmp);
    if (r < 0)
        return r;
    stat_fill(&fst, &st);
    *ret_ns = st.mtime_ns;
    return 0;
}

static void dir_close(struct backend *b)
{
    rate_release(&dir_of(b)->up);
    rate_release(&dir_of(b)->down);
    pthread_mutex_destroy(&dir_of(b)->readers_lock);
    free(b);
}

static void tmp_sweep(struct dir *d)
{
    char path[PATH_SIZE], file[PATH_SIZE + NAME_MAX + 2];
    int64_t now = clock_wall_ns();
    struct dirent *e;
    struct stat st;
    DIR *dp;

    snprintf(path, sizeof(path), "%s/tmp", d->path);
    if (!(dp = opendir(path)))
        return;
    while ((e = readdir(dp))) {
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode) &&
            now - st.st_mtim.tv_sec * (int64_t)1000000000 > TMP_KEPT_NS)
            unlink(file);
    }
    closedir(dp);
}

int backend_dir_open(const struct dir_conf *conf, bool make, struct backend **ret)
{
    static const struct backend_ops ops = {.put = dir_put,
                                           .get = dir_get,
                                           .get_into = dir_get_into,
                                           .stat = dir_stat,
                                           .list = dir_list,
                                           .del = dir_del,
                                           .now = dir_now,
                                           .close = dir_close};
    const char *path = conf->path;
    struct dir *d;
    struct stat st;

    if (strlen(path) >= PATH_MAX - 1)
        return -E_NAMETOOLONG;
    if (make && mkdir(path, 0777) < 0 && errno != EEXIST)
        return err_from_errno(errno);
    if (stat(path, &st) < 0)
        return err_from_errno(errno);
    if (!S_ISDIR(st.st_mode))
        return -E_NOTDIR;
    if (!(d = calloc(1, sizeof(*d))))
        return -E_NOMEM;
    d->b.ops = &ops;
    rate_init(&d->up, conf->bandwidth);
    rate_init(&d->down, conf->bandwidth);
    pthread_mutex_init(&d->readers_lock, NULL);
    snprintf(d->path, sizeof(d->path), "%s", path);
    for (size_t n = strlen(d->path); n > 1 && d->path[n - 1] == '/'; n--)
        d->path[n - 1] = 0;
    tmp_sweep(d);
    *ret = &d->b;
    return 0;
}
