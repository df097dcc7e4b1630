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
    return fd >= 0 && fd < FDS_MAX ? atomic_load(&owners[fd]) : NULL;
}

struct lying_node *lying__node_of(const struct lying *d, int fd)
{
    return fd >= 0 && (size_t)fd < d->nfds ? d->fds[fd].node : NULL;
}

void lying__fd_track(struct lying *d, int fd, struct lying_node *n, int flags, const char *path)
{
    assert(fd < FDS_MAX);
    if ((size_t)fd >= d->nfds) {
        size_t n_new = MAX_OF((size_t)fd + 1, d->nfds * 2);

        d->fds = realloc(d->fds, n_new * sizeof(*d->fds));
        assert(d->fds);
        memset(d->fds + d->nfds, 0, (n_new - d->nfds) * sizeof(*d->fds));
        d->nfds = n_new;
    }
    assert(!d->fds[fd].node);
    d->fds[fd] = (struct lying_fd){lying__node_ref(n), flags, strdup(path + strspn(path, "/"))};
    assert(d->fds[fd].path);
    atomic_store(&owners[fd], d);
}

void lying__fd_forget(struct lying *d, int fd)
{
    if (!lying__node_of(d, fd))
        return;
    atomic_store(&owners[fd], NULL);
    lying__node_unref(d->fds[fd].node);
    free(d->fds[fd].path);
    d->fds[fd] = (struct lying_fd){0};
}

struct lying_verdict lying__judge(struct lying *d, enum lying_kind kind)
{
    struct lying_verdict v = {0};

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
    lying__trace(d, what, lying__node_of(d, fd) ? d->fds[fd].path : "?", off, len, r);
}

int lying_new(const char *root, struct lying **ret)
{
    struct lying *d = lying__alloc(sizeof(*d));
    int r;

    assert(root[0] == '/');
    d->io.ops = &lying__ops;
    pthread_mutex_init(&d->lock, NULL);
    d->root = strdup(root);
    assert(d->root);
    d->root_len = strlen(root);
    while (d->root_len > 1 && root[d->root_len - 1] == '/')
        d->root[--d->root_len] = 0;
    d->top = lying__node_new(true, 0700);
    r = lying__load(d->root, d->top);
    pthread_mutex_lock(&disks_lock);
    d->next = disks;
    disks = d;
    pthread_mutex_unlock(&disks_lock);
    if (r < 0) {
        lying_free(d);
        return r;
    }
    *ret = d;
    return 0;
}

void lying__close_all(struct lying *d)
{
    for (size_t fd = 0; fd < d->nfds; fd++) {
        if (d->fds[fd].node) {
            lying__fd_forget(d, (int)fd);
            syscall(SYS_close, (int)fd);
        }
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
