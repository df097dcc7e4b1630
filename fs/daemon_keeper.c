/* The daemon's side of the pair of sockets: questions to the keeper, its words, its death; leaving for another program; and how the
 * daemon shows that it moves. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/daemon.h"
#include "snap/job.h"

#define SETTLED_BYTES (16u << 20) /* fewer unsynced bytes than this are made durable before leaving */
#define JOBS_WAIT_MS 10000
#define JOBS_STEP_MS 10
#define CLIENTS_WAIT_MS 1000
#define REQUESTS_WAIT_MS 150
#define KEEPERS_PAUSE_S 1
#define LEAVE_TRIES 50

/* --- words ------------------------------------------------------------------------------------------------------------------------ */

int daemon_ask(struct daemon *d, struct keeper_msg *m, int fd, char *why, int *ret_fd)
{
    int r;

    *ret_fd = -1;
    pthread_mutex_lock(&d->keeper_lock);
    pthread_mutex_lock(&d->lock);
    d->asked = d->asked < INT32_MAX ? d->asked + 1 : 1;
    m->err = d->asked;
    d->reply_lost = false;
    d->asking = true;
    r = keeper_send(KEEPER_FD, m, fd);
    while (r == 0 && !d->reply && !d->reply_lost)
        pthread_cond_wait(&d->change, &d->lock);
    d->asking = false;
    if (d->reply) {
        r = d->reply->err;
        *ret_fd = d->reply_fd;
        snprintf(why, 256, "%.255s", keeper_field(d->reply, 0));
    } else if (r == 0) {
        r = -E_CLOSED;
    }
    free(TAKE(d->reply));
    pthread_mutex_unlock(&d->lock);
    pthread_mutex_unlock(&d->keeper_lock);
    if (r == -E_CLOSED)
        snprintf(why, 256,
                 "the keeper of this store has just died, and another one is being started: try again");
    return r;
}

void daemon_tell(uint32_t kind, uint64_t conn, uint32_t n, int fd)
{
    struct keeper_msg *m = calloc(1, sizeof(*m));

    if (!m)
        return;
    m->kind = kind;
    m->conn = conn;
    m->n = n;
    keeper_send(KEEPER_FD, m, fd);
    free(m);
}

void daemon_tell_failed(const char *why)
{
    struct keeper_msg *m = calloc(1, sizeof(*m));

    if (!m)
        return;
    m->kind = KEEPER_FAILED;
    keeper_put(m, why);
    keeper_send(KEEPER_FD, m, -1);
    free(m);
}

/* All that a keeper has to know of it, as in RESTORE. */
static int put_session(struct keeper_msg *m, const struct session *ss)
{
    cleanup(buf_free) struct buf opts = {0};
    const char *snap = session_snap(ss);
    int r;

    *m = (struct keeper_msg){.kind = KEEPER_RESTORE, .conn = session_conn(ss), .n = session_vol(ss)->rec.id};
    m->init_len = (uint32_t)session_init_bytes(ss, m->init, sizeof(m->init));
    r = keeper_put(m, snap ? snap : "");
    if (r == 0)
        r = mount_opts_print(&opts, session_opts(ss));
    if (r == 0 && !buf_cstr(&opts))
        r = -E_NOMEM;
    if (r == 0)
        r = keeper_put(m, (const char *)opts.data);
    return r < 0 ? r : keeper_put_told(m, session_told(ss));
}

/* With everything that the keeper has known since it mounted: the one that did may have died since, and the next one never heard of it. */
void daemon_tell_init(struct daemon *d, struct session *ss)
{
    struct keeper_msg *m = calloc(1, sizeof(*m));
    char why[256];
    int fd = -1;
    int r = m ? put_session(m, ss) : -E_NOMEM;

    if (r == 0 && !BROKEN(VARVE_BREAK_init_untold)) {
        m->kind = KEEPER_INIT;
        r = daemon_ask(d, m, BROKEN(VARVE_BREAK_init_alone) ? -1 : session_fd(ss), why, &fd);
    }
    if (r < 0 && r != -E_CLOSED) /* the next keeper is told by us */
        log_err(r, "daemon", "conn=%llx is not known to the keeper", (unsigned long long)session_conn(ss));
    if (fd >= 0)
        close(fd);
    free(m);
}

void daemon_tell_told(const struct session *ss)
{
    struct keeper_msg *m = calloc(1, sizeof(*m));

    if (!m)
        return; /* the kernel is told again after the next takeover */
    m->kind = KEEPER_TOLD;
    m->conn = session_conn(ss);
    if (keeper_put_told(m, session_told(ss)) == 0)
        keeper_send(KEEPER_FD, m, -1);
    free(m);
}

/* --- the keeper's death ------------------------------------------------------------------------------------------------------------- */

static void exec_keeper(const char *store, int state, pid_t self)
{
    char name[] = "varve", sub[] = "keeper", mode[] = "background", none[] = "-1", word[] = "adopt", fd[16],
         pid[16];
    char *argv[] = {name, sub, (char *)(uintptr_t)store, mode, none, word, fd, pid, NULL};
    sigset_t set;

    setsid();
    if (fork() != 0)
        _exit(0);
    snprintf(fd, sizeof(fd), "%d", state);
    snprintf(pid, sizeof(pid), "%d", (int)self);
    fcntl(state, F_SETFD, 0);
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    execv("/proc/self/exe", argv);
    _exit(127);
}

/* As a keeper does for a daemon. Called with d->lock: connections that come or go are told after GO. */
static int hand_over_locked(struct daemon *d)
{
    struct keeper_msg *m = calloc(1, sizeof(*m));
    int r = m ? 0 : -E_NOMEM;

    if (r == 0) {
        m->kind = KEEPER_HELLO;
        r = keeper_send(KEEPER_FD, m, -1);
    }
    for (struct served *s = d->served; s && r == 0; s = s->next) {
        if (session_ended(s->ss))
            continue;
        r = put_session(m, s->ss);
        if (r == 0)
            r = keeper_send(KEEPER_FD, m, session_fd(s->ss));
    }
    free(m);
    if (r < 0)
        return r;
    daemon_tell(KEEPER_LISTEN, 0, 0, d->listen);
    daemon_tell(KEEPER_GO, 0, 0, -1);
    return 0;
}

static int new_keeper(struct daemon *d)
{
    pid_t self = getpid(), child;
    int pair[2];
    int r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_from_errno(errno);
    child = fork();
    if (child == 0) {
        close(pair[0]);
        exec_keeper(d->store, pair[1], self);
        _exit(127);
    }
    close(pair[1]);
    if (child > 0)
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            continue;
    pthread_mutex_lock(&d->lock);
    r = child < 0 || dup3(pair[0], KEEPER_FD, O_CLOEXEC) < 0 ? err_from_errno(errno) : hand_over_locked(d);
    pthread_mutex_unlock(&d->lock);
    if (r < 0)
        shutdown(pair[0], SHUT_RDWR); /* it ends, and is followed by another one */
    close(pair[0]);
    if (r == 0)
        log_note("daemon", "keeper", "store=%s the keeper died: another one holds its mounts", d->store);
    return r;
}

static void lose_reply(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    d->reply_lost = true;
    pthread_cond_broadcast(&d->change);
    pthread_mutex_unlock(&d->lock);
}

/* Where a manager has the descriptors and starts the next keeper, that one brings the next daemon along. */
static void keeper_died(struct daemon *d)
{
    struct timespec pause = {.tv_sec = KEEPERS_PAUSE_S};

    lose_reply(d);
    if (d->service.kept) {
        daemon_leave(d);
        nanosleep(&pause, NULL);
        return;
    }
    daemon_end(d); /* nobody else would tell it */
    if (clock_mono_ns() - d->keeper_since_ns < KEEPERS_PAUSE_S * 1000000000ll)
        nanosleep(&pause, NULL);
    d->keeper_since_ns = clock_mono_ns();
    if (new_keeper(d) < 0)
        nanosleep(&pause, NULL);
}

/* --- leaving ------------------------------------------------------------------------------------------------------------------------- */

static void sleep_ms(unsigned ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* The store stays open until store_let_go(). False: the last mount ended meanwhile, and it is being closed. */
static bool store_keep(struct daemon *d)
{
    bool open;

    pthread_mutex_lock(&d->lock);
    open = !d->closing || BROKEN(VARVE_BREAK_leave_closed);
    d->busy += open;
    pthread_mutex_unlock(&d->lock);
    return open;
}

static void store_let_go(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    d->busy--;
    pthread_cond_broadcast(&d->change);
    pthread_mutex_unlock(&d->lock);
}

/* 0: none is running, or they have had their time. */
static int await_jobs(struct daemon *d)
{
    uint64_t n = 1;

    for (unsigned ms = 0; ms < JOBS_WAIT_MS && n > 0; ms += JOBS_STEP_MS) {
        if (!store_keep(d))
            return -E_CLOSED;
        n = jobs_running(d->env.store);
        store_let_go(d);
        if (n > 0)
            sleep_ms(JOBS_STEP_MS);
    }
    return 0;
}

/* Everything that may take its time, while requests are served: so that little is left to do afterwards. */
static int prepare_to_leave(struct daemon *d)
{
    if (await_jobs(d) < 0 || !store_keep(d))
        return -E_CLOSED;
    for (int i = 0; i < 2; i++) {
        store_sync(d->env.store);
        store_checkpoint(d->env.store);
    }
    store_let_go(d);
    return 0;
}

/* From here on the store is not closed any more (wait_idle), unless there is nothing left that another one could go on with. */
static int finish_clients(struct daemon *d)
{
    struct timespec until;
    bool idle;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CLIENTS_WAIT_MS / 1000;
    pthread_mutex_lock(&d->lock);
    if (d->closing) {
        pthread_mutex_unlock(&d->lock);
        return -E_CLOSED;
    }
    d->leaving = true;
    if (eventfd_write(d->wake, 1) < 0)
        log_debug("daemon", "leave", "errno=%d", errno);
    while (d->busy > 0 && pthread_cond_timedwait(&d->change, &d->lock, &until) == 0)
        continue;
    idle = !d->served && !d->stays;
    if (idle) {
        d->leaving = false;
        d->told_to_end = true;
        pthread_cond_broadcast(&d->change);
    }
    pthread_mutex_unlock(&d->lock);
    daemon_accept_over(d);
    return idle ? -E_CLOSED : 0;
}

/* Requests under way are answered; those that take too long come again to the next daemon, as after a death. Where the last mount ends
 * meanwhile, the store is closed instead. */
static void *leave_main(void *arg)
{
    struct daemon *d = arg;
    struct store_state st;
    int64_t began;
    bool all;

    prctl(PR_SET_NAME, "varve-leave");
    if (prepare_to_leave(d) < 0)
        return NULL;
    pthread_mutex_lock(&d->mount_lock);
    if (finish_clients(d) < 0) {
        pthread_mutex_unlock(&d->mount_lock);
        return NULL;
    }
    began = clock_mono_ns();
    all = session_leave_all(REQUESTS_WAIT_MS);
    store_get_state(d->env.store, &st);
    if (all && st.mode == STORE_RW && st.dirty_bytes < SETTLED_BYTES) {
        store_sync(d->env.store);
        store_checkpoint(d->env.store);
    }
    log_note("daemon", "left", "store=%s answered=%s ms=%lld", d->store, all ? "all" : "not all",
             (long long)(clock_mono_ns() - began) / 1000000);
    daemon_tell(KEEPER_LEFT, 0, 0, -1);
    _exit(0);
}

void daemon_leave(struct daemon *d)
{
    pthread_t t;
    bool first;

    pthread_mutex_lock(&d->lock);
    first = !d->told_to_leave && !d->closing;
    d->told_to_leave = true;
    pthread_mutex_unlock(&d->lock);
    for (int i = 0; first && i < LEAVE_TRIES; i++) {
        if (pthread_create(&t, NULL, leave_main, d) == 0) {
            pthread_detach(t);
            return;
        }
        sleep_ms(20);
    }
    if (first) {
        log_error("daemon", "leave", "no thread for it: this daemon goes on");
        pthread_mutex_lock(&d->lock);
        d->told_to_leave = false;
        pthread_mutex_unlock(&d->lock);
    }
}

void daemon_end(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    d->told_to_end = d->told_to_end || d->stays;
    d->stays = false;
    pthread_cond_broadcast(&d->change);
    pthread_mutex_unlock(&d->lock);
}

/* --- threads --------------------------------------------------------------------------------------------------------------------------- */

/* Takes m and fd, unless it is late: nobody waits for it any more. */
static bool take_reply(struct daemon *d, struct keeper_msg *m, int fd)
{
    bool mine;

    pthread_mutex_lock(&d->lock);
    mine = d->asking && !d->reply && (m->n == (uint32_t)d->asked || BROKEN(VARVE_BREAK_reply_any));
    if (mine) {
        d->reply = m;
        d->reply_fd = fd;
        pthread_cond_broadcast(&d->change);
    }
    pthread_mutex_unlock(&d->lock);
    return mine;
}

static void hear_one(struct daemon *d, struct keeper_msg *m, int fd)
{
    if (m->kind == KEEPER_REPLY && take_reply(d, m, fd))
        return;
    if (m->kind == KEEPER_LEAVE)
        daemon_leave(d);
    if (m->kind == KEEPER_END)
        daemon_end(d);
    if (fd >= 0)
        close(fd);
    free(m);
}

void *daemon_hear_main(void *arg)
{
    struct daemon *d = arg;

    prctl(PR_SET_NAME, "varve-hear");
    d->keeper_since_ns = clock_mono_ns();
    for (;;) {
        struct keeper_msg *m = calloc(1, sizeof(*m));
        int fd = -1;
        int r = m ? keeper_recv(KEEPER_FD, m, &fd) : -E_NOMEM;

        if (r == 0) {
            hear_one(d, m, fd);
            continue;
        }
        free(m);
        if (r == -E_CLOSED) {
            keeper_died(d);
        } else {
            lose_reply(d); /* it may have been that */
            sleep_ms(100);
        }
    }
}

/* Since when the opening of the store, and taking over what was mounted, stand still. */
struct opening {
    uint64_t moved;
    int64_t since_ns;
};

static unsigned opening_still_ms(const struct daemon *d, struct opening *o)
{
    uint64_t moved = __atomic_load_n(&d->opening, __ATOMIC_RELAXED);
    int64_t now = clock_mono_ns();

    if (moved != o->moved || o->since_ns == 0)
        *o = (struct opening){moved, now};
    return (unsigned)((now - o->since_ns) / 1000000);
}

void *daemon_alive_main(void *arg)
{
    struct daemon *d = arg;
    struct opening o = {0};
    unsigned every = keeper_hung_ms() / 5;

    prctl(PR_SET_NAME, "varve-alive");
    for (;;) {
        daemon_tell(
            KEEPER_ALIVE, 0,
            __atomic_load_n(&d->serves, __ATOMIC_RELAXED) ? session_still_ms() : opening_still_ms(d, &o), -1);
        sleep_ms(MAX_OF(every, 1u));
    }
}
