/* What the kernel keeps of a writeback mount is asked for before a snapshot. The kernel has no word for that from whom it serves; syncfs(2)
 * by somebody else does it. This process must not be that somebody: it would wait, in the kernel, for answers of its own, and could not
 * even be killed then. So a child does (fs/cmd_syncer.c), and is left to itself where it takes too long. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/session_i.h"

#define FLUSH_MS 5000u

/* Shared by who waits and the thread that waits for the child; the last one frees it. */
struct syncer {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t change;
    bool ended;
    int status;
    unsigned users;
    int fd; /* the connection's, a copy */
    char source[];
};

static void syncer_unref(struct syncer *y)
{
    bool last;

    pthread_mutex_lock(&y->lock);
    last = --y->users == 0;
    pthread_mutex_unlock(&y->lock);
    if (!last)
        return;
    close(y->fd);
    pthread_cond_destroy(&y->change);
    pthread_mutex_destroy(&y->lock);
    free(y);
}

/* Nothing that this process has open goes along but the connection, as its standard input. */
static int run_child(struct syncer *y)
{
    char path[] = "/proc/self/exe", name[] = "varve", sub[] = "syncer";
    char *argv[] = {name, sub, y->source, NULL};
    char *const env[] = {NULL};
    posix_spawn_file_actions_t acts;
    int e, status = 0;
    pid_t pid = -1;

    posix_spawn_file_actions_init(&acts);
    e = posix_spawn_file_actions_adddup2(&acts, y->fd, STDIN_FILENO);
    if (e == 0)
        e = posix_spawn(&pid, path, &acts, NULL, argv, env);
    posix_spawn_file_actions_destroy(&acts);
    if (e != 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void *syncer_main(void *arg)
{
    struct syncer *y = arg;
    int status = run_child(y);

    pthread_mutex_lock(&y->lock);
    y->status = status;
    y->ended = true;
    pthread_cond_signal(&y->change);
    pthread_mutex_unlock(&y->lock);
    syncer_unref(y);
    return NULL;
}

static struct syncer *syncer_new(int fd, const char *source)
{
    size_t len = strlen(source) + 1;
    struct syncer *y = calloc(1, sizeof(*y) + len);
    pthread_condattr_t mono;

    if (!y)
        return NULL;
    y->fd = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    if (y->fd < 0) {
        free(y);
        return NULL;
    }
    memcpy(y->source, source, len);
    y->users = 2;
    pthread_mutex_init(&y->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&y->change, &mono);
    pthread_condattr_destroy(&mono);
    return y;
}

static int await_syncer(struct syncer *y, int64_t until_ns)
{
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    int r = -E_BUSY;

    pthread_mutex_lock(&y->lock);
    while (!y->ended)
        if (pthread_cond_timedwait(&y->change, &y->lock, &until) == ETIMEDOUT)
            break;
    if (y->ended)
        r = y->status == 0 ? 0 : -E_BUSY;
    pthread_mutex_unlock(&y->lock);
    return r;
}

static int sync_kernel(int fd, const char *source, int64_t until_ns)
{
    struct syncer *y = syncer_new(fd, source);
    pthread_attr_t attr;
    pthread_t t;
    int e, r;

    if (!y)
        return -E_NOMEM;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    e = pthread_create(&t, &attr, syncer_main, y);
    pthread_attr_destroy(&attr);
    if (e != 0)
        syncer_unref(y);
    r = e != 0 ? err_from_errno(e) : await_syncer(y, until_ns);
    syncer_unref(y);
    return r;
}

struct kept {
    const struct vol *vol;
    int fd; /* a copy; -1: nothing is kept back */
};

static void find_kept(struct session *ss, void *arg)
{
    struct kept *k = arg;

    if (ss->vol == k->vol && ss->kernel_times && !atomic_load(&ss->ended) && k->fd < 0)
        k->fd = fcntl(ss->fd, F_DUPFD_CLOEXEC, 10);
}

int session_flush(struct vol *v)
{
    int64_t began = clock_mono_ns(), until_ns = began + FLUSH_MS * 1000000ll;
    struct kept k = {.vol = v, .fd = -1};
    cleanup(buf_free) struct buf source = {0};
    int r;

    sessions_each(find_kept, &k);
    if (k.fd < 0 || BROKEN(VARVE_BREAK_writeback_flush))
        return 0;
    r = mount_source(&source, store_path(v->store), v->rec.name, NULL);
    if (r == 0 && !buf_cstr(&source))
        r = -E_NOMEM;
    if (r == 0)
        r = sync_kernel(k.fd, (const char *)source.data, until_ns);
    close(k.fd);
    if (r == 0) {
        int64_t left = until_ns - clock_mono_ns();

        r = session_settle(v, left > 0 ? (unsigned)(left / 1000000) : 0);
    }
    if (r < 0)
        log_warn("fs", "flush", "volume=%s result=%s: the kernel did not send what it keeps", v->rec.name,
                 err_name(r));
    return r;
}
