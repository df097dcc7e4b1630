/* The lying disk: what lies where, which call may go on. */
#include "tests/lib/lying.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/lib/lying_model.h"
#include "tests/lib/test.h"

#define FDS_MAX 65536

static pthread_mutex_t disks_lock = PTHREAD_MUTEX_INITIALIZER; /* guards disks */
static struct lying *disks;
static _Atomic(struct lying *) owners[FDS_MAX]; /* of descriptors */
static _Atomic(struct lying *) ram_owners[LYING_RAM_FDS];

bool lying__below(const struct lying *d, const char *path)
{
    return strncmp(path, d->root, d->root_len) == 0 && (path[d->root_len] == '/' || path[d->root_len] == 0);
}

struct lying *lying__of_path(const char *path)
{
    struct lying *d;

    pthread_mutex_lock(&disks_lock);
    for (d = disks; d && !lying__below(d, path);)
        d = d->next;
    pthread_mutex_unlock(&disks_lock);
    return d;
}

struct lying *lying__of_fd(int fd)
{
    if (lying__ram_is(fd))
        return atomic_load(&ram_owners[fd - LYING_RAM_FD]);
    return fd >= 0 && fd < FDS_MAX ? atomic_load(&owners[fd]) : NULL;
}

/* Where a descriptor's owner is remembered, and its place in the disk's own table. */
static _Atomic(struct lying *) *owner_of(int fd)
{
    return lying__ram_is(fd) ? &ram_owners[fd - LYING_RAM_FD] : &owners[fd];
}

static size_t place_of(int fd)
{
    return (size_t)(lying__ram_is(fd) ? fd - LYING_RAM_FD : fd);
}

struct lying_fd *lying__fd(const struct lying *d, int fd)
{
    if (fd < 0 || lying__ram_is(fd) != d->ram || place_of(fd) >= d->nfds || !d->fds[place_of(fd)].node)
        return NULL;
    return &d->fds[place_of(fd)];
}

struct lying_node *lying__node_of(const struct lying *d, int fd)
{
    struct lying_fd *f = lying__fd(d, fd);

    return f ? f->node : NULL;
}

void lying__fd_track(struct lying *d, int fd, struct lying_node *n, int flags, const char *path)
{
    size_t at = place_of(fd);

    assert(lying__ram_is(fd) || fd < FDS_MAX);
    if (at >= d->nfds) {
        size_t n_new = MAX_OF(at + 1, d->nfds * 2);

        d->fds = realloc(d->fds, n_new * sizeof(*d->fds));
        assert(d->fds);
        memset(d->fds + d->nfds, 0, (n_new - d->nfds) * sizeof(*d->fds));
        d->nfds = n_new;
    }
    assert(!d->fds[at].node);
    d->fds[at] = (struct lying_fd){lying__node_ref(n), flags, 0, strdup(path + strspn(path, "/"))};
    assert(d->fds[at].path);
    atomic_store(owner_of(fd), d);
}

void lying__fd_forget(struct lying *d, int fd)
{
    struct lying_fd *f = lying__fd(d, fd);

    if (!f)
        return;
    atomic_store(owner_of(fd), NULL);
    lying__node_unref(f->node);
    free(f->path);
    *f = (struct lying_fd){0};
}

struct lying_verdict lying__judge(struct lying *d, enum lying_kind kind)
{
    struct lying_verdict v = {0};

    if (kind & LYING_SYNC)
        lying__moment(d, kind);
    d->counts[__builtin_ctz(kind)]++;
    if (d->crashed || d->killed)
        return (struct lying_verdict){.code = -E_CRASH};
    if (kind & LYING_MUTATING)
        d->mutations++;
    if (kind & LYING_MUTATING && d->crash_at && d->mutations >= d->crash_at) {
        d->crashed = true;
        return (struct lying_verdict){.code = -E_CRASH, .recorded = true};
    }
    if (kind & LYING_MUTATING && d->kill_at && d->mutations >= d->kill_at) {
        d->killed = true;
        return (struct lying_verdict){.code = -E_CRASH, .partial = true};
    }
    if (!(d->fail_kinds & kind) || d->fail_n == 0 || --d->fail_n > 0)
        return v;
    d->fail_n = d->fail_stays;
    d->faults++;
    return (struct lying_verdict){.code = d->fail_code,
                                  .partial = kind == LYING_WRITE && d->fail_kinds & LYING_PARTIAL};
}

void lying__trace(struct lying *d, const char *what, const char *path, uint64_t off, uint64_t len, int r)
{
    bool range = off || len;

    if (!d->trace)
        return;
    path += lying__below(d, path) ? d->root_len : 0;
    path += strspn(path, "/");
    if (buf_printf(d->trace, "%s %s", what, path) < 0 ||
        (range && buf_printf(d->trace, " %llu %llu", (unsigned long long)off, (unsigned long long)len) < 0) ||
        (r < 0 && buf_printf(d->trace, " %s", err_name(r)) < 0) || buf_puts(d->trace, "\n") < 0)
        abort();
}

void lying__trace_fd(struct lying *d, const char *what, int fd, uint64_t off, uint64_t len, int r)
{
    lying__trace(d, what, lying__fd(d, fd) ? lying__fd(d, fd)->path : "?", off, len, r);
}

struct lying *lying__disk_new(const char *root)
{
    struct lying *d = lying__alloc(sizeof(*d));
    pthread_mutexattr_t attr;

    assert(root[0] == '/');
    d->io.ops = &lying__ops;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE); /* for lying_on_cut */
    pthread_mutex_init(&d->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    d->root = strdup(root);
    assert(d->root);
    d->root_len = strlen(root);
    while (d->root_len > 1 && root[d->root_len - 1] == '/')
        d->root[--d->root_len] = 0;
    d->top = lying__node_new(true, 0700);
    pthread_mutex_lock(&disks_lock);
    d->next = disks;
    disks = d;
    pthread_mutex_unlock(&disks_lock);
    return d;
}

int lying_new(const char *root, struct lying **ret)
{
    struct lying *d = lying__disk_new(root);
    int r = lying__load(d->root, d->top);

    if (r < 0) {
        lying_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

void lying__close_all(struct lying *d)
{
    for (size_t at = 0; at < d->nfds; at++) {
        int fd = (int)at + (d->ram ? LYING_RAM_FD : 0);

        if (!d->fds[at].node)
            continue;
        lying__fd_forget(d, fd);
        if (!d->ram)
            syscall(SYS_close, fd);
    }
}

void lying_free(struct lying *d)
{
    struct lying **at;

    if (!d)
        return;
    pthread_mutex_lock(&disks_lock);
    for (at = &disks; *at != d;)
        at = &(*at)->next;
    *at = d->next;
    pthread_mutex_unlock(&disks_lock);
    lying__close_all(d);
    lying__names_free(d);
    lying__node_unref(d->top);
    pthread_mutex_destroy(&d->lock);
    free(d->fds);
    free(d->root);
    free(d);
}

struct io *lying_io(struct lying *d)
{
    return &d->io;
}

const char *lying_root(const struct lying *d)
{
    return d->root;
}
