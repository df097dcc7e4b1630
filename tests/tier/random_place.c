#include "tests/tier/random_place.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/test.h"
#include "tier/backend_dir.h"

struct over {
    struct backend b;
    struct place *p;
    struct backend *below;
};

static struct backend *below_open(struct place *p)
{
    struct dir_conf c = {.bandwidth = 0};
    struct backend *b;

    if (p->m)
        return mem_backend(p->m);
    snprintf(c.path, sizeof(c.path), "%s", p->dir);
    CHECK_OK(backend_dir_open(&c, true, &b));
    return b;
}

/* --- faults --------------------------------------------------------------------------------------------------------- */

/* 1: do it and lose the answer; 2: do it and die; 0: all is well; negative: give that. */
static int faulty(struct place *p, bool changes)
{
    if (p->closed)
        return -E_CLOSED;
    if (++p->calls != p->fault_at)
        return 0;
    p->hit = true;
    switch (p->what) {
    case PLACE_UNSURE_DONE: return changes ? 1 : -E_IO;
    case PLACE_UNSURE_NOT: return changes ? -E_UNSURE : -E_IO;
    case PLACE_CLOSED: p->closed = true; return -E_CLOSED;
    case PLACE_KILL_BEFORE: raise(SIGKILL); break;
    case PLACE_KILL_AFTER: return 2;
    default: break;
    }
    return -E_IO;
}

static int done(int f, int r)
{
    if (f == 2)
        raise(SIGKILL);
    return f == 1 ? -E_UNSURE : r;
}

/* Files are put back instead of the clock forward: what is put after that has the right age by itself. */
static struct backend_stat shown(const struct place *p, struct backend_stat st)
{
    if (!p->m)
        st.mtime_ns += p->later_ns;
    return st;
}

static int over_put(struct backend *b, const struct backend_call *c, const char *name, const void *p,
                    size_t len)
{
    struct over *o = (struct over *)b;
    int f = faulty(o->p, true);

    return f < 0 ? f : done(f, backend_put(o->below, c, name, p, len));
}

static int over_get(struct backend *b, const struct backend_call *c, const char *name, uint64_t off,
                    size_t len, struct buf *ret)
{
    struct over *o = (struct over *)b;
    int f = faulty(o->p, false);

    return f < 0 ? f : done(f, backend_get(o->below, c, name, off, len, ret));
}

static int over_stat(struct backend *b, const struct backend_call *c, const char *name,
                     struct backend_stat *ret)
{
    struct over *o = (struct over *)b;
    struct backend_stat st;
    int f = faulty(o->p, false), r = f < 0 ? f : done(f, backend_stat(o->below, c, name, &st));

    if (r == 0)
        *ret = shown(o->p, st);
    return r;
}

struct listing {
    struct place *p;
    int (*cb)(void *arg, const char *name, const struct backend_stat *st);
    void *arg;
};

static int list_one(void *arg, const char *name, const struct backend_stat *st)
{
    struct listing *l = arg;
    struct backend_stat s = shown(l->p, *st);

    return l->cb(l->arg, name, &s);
}

static int over_list(struct backend *b, const struct backend_call *c, const char *prefix, const char *after,
                     int (*cb)(void *arg, const char *name, const struct backend_stat *st), void *arg)
{
    struct over *o = (struct over *)b;
    struct listing l = {o->p, cb, arg};
    int f = faulty(o->p, false);

    return f < 0 ? f : done(f, backend_list(o->below, c, prefix, after, list_one, &l));
}

static int over_del(struct backend *b, const struct backend_call *c, const char *name)
{
    struct over *o = (struct over *)b;
    int f = faulty(o->p, true);

    return f < 0 ? f : done(f, backend_del(o->below, c, name));
}

static int over_now(struct backend *b, const struct backend_call *c, int64_t *ret_ns)
{
    struct over *o = (struct over *)b;
    int f = faulty(o->p, false), r = f < 0 ? f : done(f, backend_now(o->below, c, ret_ns));

    if (r == 0 && !o->p->m)
        *ret_ns += o->p->later_ns;
    return r;
}

static void over_close(struct backend *b)
{
    struct over *o = (struct over *)b;

    backend_close(o->below);
    free(o);
}

struct backend *place_backend(struct place *p)
{
    static const struct backend_ops ops = {.put = over_put,
                                           .get = over_get,
                                           .stat = over_stat,
                                           .list = over_list,
                                           .del = over_del,
                                           .now = over_now,
                                           .close = over_close};
    struct over *o = calloc(1, sizeof(*o));

    CHECK(o != NULL);
    *o = (struct over){{&ops}, p, below_open(p)};
    return &o->b;
}

void place_open(struct place *p, const char *dir)
{
    *p = (struct place){.m = dir ? NULL : mem_new()};
    snprintf(p->dir, sizeof(p->dir), "%s", dir ? dir : "");
}

void place_release(struct place *p)
{
    if (p->m)
        mem_free(TAKE(p->m));
}

void place_fault(struct place *p, uint64_t n, enum place_fault what)
{
    p->fault_at = n;
    p->what = what;
    p->calls = 0;
    p->hit = p->closed = false;
}

/* --- time ----------------------------------------------------------------------------------------------------------- */

static int64_t back_ns; /* of the walk under way */

static int put_back(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    int64_t ns = st->st_mtim.tv_sec * (int64_t)1000000000 + st->st_mtim.tv_nsec - back_ns;
    struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {ns / 1000000000, ns % 1000000000}};

    (void)ftw;
    CHECK(type != FTW_F || utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW) == 0);
    return 0;
}

void place_later(struct place *p, int64_t ns)
{
    if (p->m) {
        mem_later(p->m, ns);
        return;
    }
    back_ns = ns;
    CHECK(nftw(p->dir, put_back, 16, FTW_PHYS) == 0);
    p->later_ns += ns;
}

/* --- looking, damaging ---------------------------------------------------------------------------------------------- */

static int name_take(void *arg, const char *name, const struct backend_stat *st)
{
    (void)st;
    return buf_add(arg, name, strlen(name) + 1);
}

size_t place_names(struct place *p, const char *prefix, struct buf *ret)
{
    struct backend *b = below_open(p);
    size_t n = 0;

    buf_reset(ret);
    CHECK_OK(backend_list(b, NULL, prefix, "", name_take, ret));
    backend_close(b);
    for (size_t at = 0; at < ret->len; at += strlen((char *)ret->data + at) + 1)
        n++;
    return n;
}

void place_flip(struct place *p, const char *name, size_t at)
{
    char path[600];
    uint8_t x;

    if (p->m) {
        mem_flip(p->m, name, at);
        return;
    }
    snprintf(path, sizeof(path), "%s/%s", p->dir, name);
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &x, 1, (off_t)at) == 1);
    x ^= 0x10;
    CHECK(pwrite(fd, &x, 1, (off_t)at) == 1);
    CHECK(futimens(fd, (struct timespec[]){{.tv_nsec = UTIME_OMIT}, st.st_mtim}) == 0);
    close(fd);
}

void place_drop(struct place *p, const char *name)
{
    struct backend *b = below_open(p);

    CHECK_OK(backend_del(b, NULL, name));
    backend_close(b);
}
