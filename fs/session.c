#include "fs/session.h"

#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "fs/session_i.h"
#include "fs/snapdir.h"

static pthread_mutex_t sessions_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list */
static struct session *sessions;

/* --- all of this process ---------------------------------------------------------------------------------------------------- */

void session__list_hold(void)
{
    pthread_mutex_lock(&sessions_lock);
}

void session__list_release(void)
{
    pthread_mutex_unlock(&sessions_lock);
}

void session__list_add(struct session *ss)
{
    pthread_mutex_lock(&sessions_lock);
    ss->next = sessions;
    sessions = ss;
    pthread_mutex_unlock(&sessions_lock);
}

static void sessions_remove(struct session *ss)
{
    pthread_mutex_lock(&sessions_lock);
    for (struct session **at = &sessions; *at; at = &(*at)->next)
        if (*at == ss) {
            *at = ss->next;
            break;
        }
    pthread_mutex_unlock(&sessions_lock);
}

void sessions_each(void (*cb)(struct session *ss, void *arg), void *arg)
{
    pthread_mutex_lock(&sessions_lock);
    for (struct session *ss = sessions; ss; ss = ss->next)
        cb(ss, arg);
    pthread_mutex_unlock(&sessions_lock);
}

void session_rolled_back(struct vol *v)
{
    int64_t until = clock_mono_ns() + 2000000000;

    pthread_mutex_lock(&sessions_lock);
    for (struct session *ss = sessions; ss; ss = ss->next)
        if (ss->vol == v && !ss->snap && !atomic_load(&ss->ended))
            notify_rolled_back(ss, until);
    pthread_mutex_unlock(&sessions_lock);
}

/* --- life ----------------------------------------------------------------------------------------------------------------- */

static int session_init(struct session *ss, const char *snap)
{
    int r;

    if (snap) {
        ss->snap = strdup(snap);
        if (!ss->snap)
            return -E_NOMEM;
        ss->opts.ro = true;
        ss->opts.snapdir = SNAPDIR_DISABLED;
        r = view_enter_readonly(ss->vol, snap, &ss->root);
        if (r < 0)
            return r;
    }
    r = snapdir_new(ss, &ss->snapdir);
    return r < 0 ? r : notify_new(ss, &ss->notifier);
}

int session_new(struct verb_env *env, struct vol *v, const char *snap, const struct mount_opts *opts,
                uint64_t conn, const struct session_hooks *hooks, struct session **ret)
{
    struct session *ss = calloc(1, sizeof(*ss));
    int r;

    if (!ss)
        return -E_NOMEM;
    ss->env = env;
    ss->vol = v;
    ss->opts = *opts;
    ss->conn = conn;
    ss->hooks = *hooks;
    ss->fd = -1;
    ss->root = (vfs_node){FUSE_ROOT_ID};
    r = session_init(ss, snap);
    if (r < 0) {
        session_free(ss);
        return r;
    }
    *ret = ss;
    return 0;
}

void session_free(struct session *ss)
{
    if (!ss)
        return;
    sessions_remove(ss);
    notify_free(ss->notifier);
    if (ss->fd >= 0)
        close(ss->fd);
    if (ss->fuse)
        fuse_session_destroy(ss->fuse); /* closes its own */
    free(ss->queues);
    snapdir_free(ss->snapdir);
    free(ss->snap);
    free(ss);
}

/* --- what others ask --------------------------------------------------------------------------------------------------------- */

struct vol *session_vol(const struct session *ss)
{
    return ss->vol;
}

const char *session_snap(const struct session *ss)
{
    return ss->snap;
}

const struct mount_opts *session_opts(const struct session *ss)
{
    return &ss->opts;
}

uint64_t session_conn(const struct session *ss)
{
    return ss->conn;
}

int session_fd(const struct session *ss)
{
    return ss->fd;
}

int64_t session_told(const struct session *ss)
{
    return atomic_load(&ss->told);
}

/* The last umount(2) returns before any worker has heard of it. */
bool session_ended(const struct session *ss)
{
    struct pollfd p = {.fd = ss->fd};

    if (atomic_load(&ss->ended))
        return true;
    return !BROKEN(VARVE_BREAK_ended_late) && poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP));
}

size_t session_init_bytes(const struct session *ss, void *p, size_t size)
{
    size_t n = MIN_OF(__atomic_load_n(&ss->init_len, __ATOMIC_ACQUIRE), size);

    memcpy(p, ss->init, n);
    return n;
}
