#include "fs/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/daemon.h"
#include "fs/cmd.h"
#include "fs/mount_from.h"
#include "fs/recall.h"
#include "base/sock.h"
#include "fs/verb_target.h"
#include "snap/job.h"
#include "snap/snapshot.h"
#include "snap/store/answer.h"

#define BUSY_TRIES                                                                                           \
    1000 /* of 10 ms: a command that works on the store itself, or a daemon that is closing it */
#define CLIENTS_MAX 256u
#define FIRST_WAIT_MS 5000
#define JOBS_WAIT_MS 100
#define TICK_S 30
#define DEATHS_UNSAFE 3 /* within a minute: what can be read is served, nothing is written */

/* --- connections ------------------------------------------------------------------------------------------------------------------ */

struct session *daemon_find_locked(struct daemon *d, const struct vol *v, const char *snap)
{
    for (struct served *s = d->served; s; s = s->next) {
        const char *has = session_snap(s->ss) ? session_snap(s->ss) : "";

        if (session_vol(s->ss) == v && strcmp(has, snap ? snap : "") == 0)
            return s->ss;
    }
    return NULL;
}

struct by_id {
    uint32_t id;
    struct vol *found;
};

static int match_id(void *arg, struct vol *v)
{
    struct by_id *b = arg;

    if (v->rec.id == b->id)
        b->found = v;
    return b->found != NULL;
}

struct vol *daemon_volume(struct daemon *d, uint32_t id)
{
    struct by_id b = {.id = id};

    volume_each(d->env.store, match_id, &b);
    return b.found;
}

static void on_init(void *arg, struct session *ss, const void *req, size_t len)
{
    (void)req;
    (void)len;
    daemon_tell_init(arg, ss); /* session_init_bytes() has it */
}

static void on_told(void *arg, struct session *ss)
{
    (void)arg;
    daemon_tell_told(ss);
}

static void on_end(void *arg, struct session *ss)
{
    struct daemon *d = arg;

    pthread_mutex_lock(&d->lock);
    for (struct served *s = d->served; s; s = s->next)
        if (s->ss == ss)
            s->ended = true;
    pthread_cond_broadcast(&d->change);
    pthread_mutex_unlock(&d->lock);
}

/* The volume counts who shows it; under the store's lock, so that none is deleted while it is being mounted. */
static int count_mount(struct daemon *d, struct vol *v, int by)
{
    struct txn t;
    int r = txn_begin(d->env.store, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    if (by > 0 && (v->rec.flags & (VOLUME_DELETED | VOLUME_GHOST)))
        r = -E_NOENT;
    else
        __atomic_fetch_add(&v->mounts, (uint32_t)by, __ATOMIC_SEQ_CST);
    txn_abort(&t);
    return r;
}

static void unlink_locked(struct daemon *d, const struct served *one)
{
    for (struct served **at = &d->served; *at; at = &(*at)->next)
        if (*at == one) {
            *at = one->next;
            return;
        }
}

int daemon_add(struct daemon *d, struct vol *v, const char *snap, const struct mount_opts *o, uint64_t conn,
               int fd, const struct session_past *past)
{
    struct session_hooks hooks = {.arg = d, .on_init = on_init, .on_told = on_told, .on_end = on_end};
    struct served *s = calloc(1, sizeof(*s));
    int r = s ? count_mount(d, v, 1) : -E_NOMEM;

    if (r < 0) {
        free(s);
        close(fd);
        return r;
    }
    r = session_new(&d->env, v, snap && *snap ? snap : NULL, o, conn, &hooks, &s->ss);
    if (r < 0) {
        close(fd);
        goto err0;
    }
    session_own(s->ss, fd);
    if (answer_door)
        answer_door(ANSWER_BEFORE_JOURNAL, OP_NONE);
    pthread_mutex_lock(&d->lock);
    s->next = d->served;
    d->served = s;
    pthread_mutex_unlock(&d->lock);
    if (answer_door && !past)
        answer_door(ANSWER_AFTER_JOURNAL, OP_NONE);
    r = session_start(s->ss, past);
    if (r == 0)
        return 0;
    pthread_mutex_lock(&d->lock);
    unlink_locked(d, s);
    pthread_mutex_unlock(&d->lock);
    session_free(s->ss);
err0:
    count_mount(d, v, -1);
    free(s);
    return r;
}

static bool is_last_locked(const struct daemon *d, const struct served *one)
{
    for (struct served *s = d->served; s; s = s->next)
        if (s != one && session_vol(s->ss) == session_vol(one->ss))
            return false;
    return true;
}

/* Ends one connection that the kernel has left: it stays on the list until everything in it is on disk. Called with the
 * lock, which is let go meanwhile. */
static void reap_locked(struct daemon *d, struct served *s)
{
    struct vol *v = session_vol(s->ss);
    uint64_t conn = session_conn(s->ss);
    bool last = is_last_locked(d, s);
    unsigned held = vols_hold(d->env.store);
    int r;

    pthread_mutex_unlock(&d->lock);
    if (last)
        views_free_all(v);
    r = store_sync(d->env.store);
    if (r < 0 && r != -E_ROFS)
        log_err(r, "daemon", "volume=%s after its unmount", v->rec.name);
    answers_forget(d->env.store, conn);
    daemon_tell(KEEPER_GONE, conn, 0, -1);
    log_note("daemon", "unmounted", "volume=%s conn=%llx", v->rec.name, (unsigned long long)conn);
    count_mount(d, v, -1);
    pthread_mutex_lock(&d->lock);
    unlink_locked(d, s);
    d->busy++; /* not idle before it is freed */
    pthread_cond_broadcast(&d->change);
    pthread_mutex_unlock(&d->lock);
    session_free(s->ss);
    free(s);
    vols_let_go(d->env.store, held);
    pthread_mutex_lock(&d->lock);
    d->busy--;
}

static bool reap_one_locked(struct daemon *d)
{
    for (struct served *s = d->served; s; s = s->next)
        if (s->ended) {
            reap_locked(d, s);
            return true;
        }
    return false;
}

/* --- what verbs ask of the process that serves mounts --------------------------------------------------------------------------------- */

struct mounts_arg {
    const char *source;
    size_t len;
    bool whole_store;
    int (*cb)(void *arg, const char *dir, const char *opts);
    void *cb_arg;
};

static int match_mount(void *arg, const struct verb_mount *m)
{
    const struct mounts_arg *a = arg;
    const char *rest = m->source + a->len;

    if (strncmp(m->source, a->source, a->len) != 0)
        return 0;
    if (a->whole_store ? *rest != '/' : *rest != 0 && *rest != '@')
        return 0;
    return a->cb(a->cb_arg, m->dir, m->opts);
}

/* From the table of mounts: nothing that is mounted is touched. */
static int host_mounts(void *arg, struct vol *v, int (*cb)(void *cb_arg, const char *dir, const char *opts),
                       void *cb_arg)
{
    cleanup(buf_free) struct buf source = {0};
    struct daemon *d = arg;
    struct mounts_arg a = {.whole_store = !v, .cb = cb, .cb_arg = cb_arg};
    int r = v ? mount_source(&source, d->store, v->rec.name, NULL) : buf_puts(&source, d->store);

    if (r < 0)
        return r;
    a.source = buf_cstr(&source);
    if (!a.source)
        return -E_NOMEM;
    a.len = source.len;
    return verb_mounts_each(match_mount, &a);
}

static const char *host_transport(void *arg, struct vol *v, char *room)
{
    (void)arg;
    return session_transport(v, room);
}

static int host_flush(void *arg, struct vol *v)
{
    (void)arg;
    return session_flush(v);
}

static void host_rolled_back(void *arg, struct vol *v)
{
    (void)arg;
    session_rolled_back(v);
}

static bool host_closes(void *arg)
{
    struct daemon *d = arg;
    bool closes;

    pthread_mutex_lock(&d->lock);
    closes = d->told_to_end || d->nwaiters > 0;
    pthread_mutex_unlock(&d->lock);
    return closes;
}

/* --- taking over ------------------------------------------------------------------------------------------------------------------------ */

struct restore {
    struct restore *next;
    struct keeper_msg m;
    int fd;
};

static void hear_hello(struct daemon *d, const struct keeper_msg *m, uint32_t *ret_deaths)
{
    *ret_deaths = m->n;
    d->stays = m->conn & KEEPER_STAYS;
    d->service = (struct daemon_service){
        .served = m->conn & KEEPER_STAYS,
        .kept = m->conn & KEEPER_KEPT,
        .watchdog_ms = (uint32_t)strtoul(keeper_field(m, 0), NULL, 10),
        .descriptors = (uint32_t)strtoul(keeper_field(m, 1), NULL, 10),
    };
}

/* What the keeper says first. Restores come in a list, owned by the caller. */
static int hear(struct daemon *d, uint32_t *ret_deaths, struct restore **ret)
{
    for (;;) {
        struct restore *one = calloc(1, sizeof(*one));
        int r = one ? keeper_recv(KEEPER_FD, &one->m, &one->fd) : -E_NOMEM;

        if (r == 0 && one->m.kind == KEEPER_RESTORE && one->fd < 0)
            r = -E_FILES; /* it found no place in this process */
        if (r == 0 && one->m.kind == KEEPER_RESTORE) {
            one->next = *ret;
            *ret = one;
            continue;
        }
        if (r == 0 && one->m.kind == KEEPER_HELLO)
            hear_hello(d, &one->m, ret_deaths);
        if (r == 0 && one->m.kind == KEEPER_LISTEN && d->listen < 0)
            d->listen = one->fd;
        else if (r == 0 && one->fd >= 0)
            close(one->fd);
        if (r < 0 || one->m.kind == KEEPER_GO) {
            free(one);
            return r;
        }
        free(one);
    }
}

/* What another daemon may manage: this one lacked memory, threads or descriptors. */
static bool may_pass(int r)
{
    return r == -E_NOMEM || r == -E_AGAIN || r == -E_FILES;
}

static int restore_one(struct daemon *d, struct restore *one)
{
    struct vol *v = daemon_volume(d, one->m.n);
    struct session_past past = {
        .init = one->m.init, .init_len = one->m.init_len, .told = keeper_told(&one->m, 2)};
    struct mount_opts o = {0};
    char why[256] = "";
    int r = v ? mount_opts_parse(&o, keeper_field(&one->m, 1), why) : -E_NOENT;

    if (r == 0)
        r = daemon_add(d, v, keeper_field(&one->m, 0), &o, one->m.conn, one->fd, &past);
    else
        close(one->fd);
    if (r == 0) {
        log_note("daemon", "takeover", "volume=%s conn=%llx", v->rec.name, (unsigned long long)one->m.conn);
        return 0;
    }
    log_err(r, "daemon", "conn=%llx cannot be taken over %s", (unsigned long long)one->m.conn, why);
    if (may_pass(r))
        return r;
    daemon_tell(KEEPER_GONE, one->m.conn, 0, -1); /* who waits there gets ENOTCONN */
    return 0;
}

/* Answers for connections that the keeper does not hold any more are nobody's. */
static void keep_answers(struct daemon *d, const struct restore *list)
{
    uint64_t *conns;
    size_t n = 0;

    for (const struct restore *one = list; one; one = one->next)
        n++;
    conns = calloc(n + 2, sizeof(*conns));
    if (!conns)
        return;
    n = 0;
    for (const struct restore *one = list; one; one = one->next)
        conns[n++] = one->m.conn;
    conns[n++] = ANSWER_SOCKET;
    answers_keep(d->env.store, conns, n);
    free(conns);
}

/* When one fails for want of something that may pass, the daemon ends: the keeper has them all, and starts another one. */
static int restore_all(struct daemon *d, struct restore *list)
{
    unsigned held = vols_hold(d->env.store);
    int r = 0;

    keep_answers(d, list);
    while (list) {
        struct restore *one = list;

        list = one->next;
        if (r == 0)
            r = restore_one(d, one);
        free(one);
    }
    vols_let_go(d->env.store, held);
    return r;
}

/* --- life -------------------------------------------------------------------------------------------------------------------------------- */

/* Another daemon has the store and answers: whoever wanted this one is better off there. */
static bool is_served(const char *store)
{
    int sock = -1;

    if (sock_connect(store, &sock) < 0)
        return false;
    close(sock);
    return true;
}

static int open_store(struct daemon *d, unsigned flags, struct buf *err)
{
    struct timespec wait = {.tv_nsec = 10000000};
    int r = -E_STORE_BUSY;

    for (int i = 0; i < BUSY_TRIES && r == -E_STORE_BUSY; i++) {
        if (i > 0)
            nanosleep(&wait, NULL);
        if (i > 0 && d->listen < 0 &&
            is_served(d->store)) /* with a socket of its own it is the one that is wanted */
            break;
        buf_reset(err);
        r = verb_open(io_real(), d->store, flags, &d->env, err);
    }
    return r;
}

static int start_listening(struct daemon *d)
{
    int r;

    if (d->listen >= 0 && (sock_is_named(d->store, d->listen) || BROKEN(VARVE_BREAK_listen_any)))
        return 0;
    if (d->listen >= 0) /* the daemon before was about to end; another one may have been here since */
        close(d->listen);
    r = sock_listen(d->store, &d->listen);
    if (r == 0)
        daemon_tell(KEEPER_LISTEN, 0, 0, d->listen);
    return r;
}

/* SIGTERM is the machine going down: what was acknowledged is made durable, and the mounts are served on until they go. */
static void *signal_main(void *arg)
{
    struct daemon *d = arg;
    sigset_t set;
    int sig;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    for (;;)
        if (sigwait(&set, &sig) == 0)
            store_sync(d->env.store);
    return NULL;
}

static void *tick_main(void *arg)
{
    struct daemon *d = arg;
    struct timespec until;

    for (;;) {
        bool end;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += d->env.wait_s > 0 ? MIN_OF(d->env.wait_s, (int64_t)TICK_S) : TICK_S;
        pthread_mutex_lock(&d->lock);
        while (!d->closing && pthread_cond_timedwait(&d->change, &d->lock, &until) == 0)
            continue;
        end = d->closing;
        pthread_mutex_unlock(&d->lock);
        if (end)
            return NULL;
        verb_tick(&d->env);
    }
}

/* Waits for a change, or until then. */
static void wait_until_locked(struct daemon *d, int64_t mono_ns)
{
    struct timespec until = {.tv_sec = mono_ns / 1000000000, .tv_nsec = mono_ns % 1000000000};

    pthread_cond_timedwait(&d->change, &d->lock, &until);
}

/* Nothing mounted, nobody being answered, no job running; at the start somebody is awaited. When a `varve umount` waits for the
 * end, or a service is to end, jobs are not: they stop, and go on at the next mount. */
static void wait_idle(struct daemon *d)
{
    int64_t patience = clock_mono_ns() + FIRST_WAIT_MS * 1000000ll;

    pthread_mutex_lock(&d->lock);
    for (;;) {
        if (reap_one_locked(d))
            continue;
        if (d->served || d->busy > 0 || d->stays || d->leaving)
            pthread_cond_wait(&d->change, &d->lock);
        else if (!d->was_asked && !d->told_to_end && clock_mono_ns() < patience)
            wait_until_locked(d, patience);
        else if (d->nwaiters == 0 && !d->told_to_end && !d->private && jobs_running(d->env.store) > 0)
            wait_until_locked(d, clock_mono_ns() + JOBS_WAIT_MS * 1000000ll);
        else
            break;
    }
    d->closing = true;
    pthread_cond_broadcast(&d->change);
    pthread_mutex_unlock(&d->lock);
}

static void last_words(struct daemon *d, int r)
{
    for (size_t i = 0; i < d->nwaiters; i++) {
        if (r < 0)
            sock_send(d->waiters[i], SOCK_ERR, err_text(r), strlen(err_text(r)), -1);
        sock_done(d->waiters[i], r < 0 ? CMD_FAILED : CMD_OK, r);
        close(d->waiters[i]);
    }
    free(d->waiters);
}

/* Without a word to the threads that run already: as after a death the next daemon begins where this one stopped. */
static int cannot_serve(const char *why)
{
    daemon_tell_failed(why);
    _exit(CMD_FAILED);
}

/* Under the lock: who is told to leave at once finds that thread there, or none. */
static int accept_begin(struct daemon *d)
{
    int e;

    pthread_mutex_lock(&d->lock);
    e = pthread_create(&d->accepting, NULL, daemon_serve_main, d);
    d->accepts = e == 0;
    pthread_mutex_unlock(&d->lock);
    return e == 0 ? 0 : err_from_errno(e);
}

static int daemon_run(struct daemon *d, struct restore *list)
{
    char path[PATH_MAX];
    pthread_t signals, tick, hearing;
    int r;

    if (start_listening(d) < 0 || pthread_create(&signals, NULL, signal_main, d) != 0 ||
        pthread_create(&tick, NULL, tick_main, d) != 0 ||
        pthread_create(&hearing, NULL, daemon_hear_main, d) != 0)
        return cannot_serve("the socket of the store or the daemon's threads cannot be made: are there "
                            "descriptors, room and processes left?");
    d->was_asked = list != NULL;
    if (BROKEN(VARVE_BREAK_asked_early) && accept_begin(d) < 0)
        return CMD_FAILED;
    if (restore_all(d, list) < 0)
        return cannot_serve("a mount could not be taken over at once");
    if (!BROKEN(VARVE_BREAK_asked_early) &&
        accept_begin(d) < 0) /* whoever asks now hears of all that is mounted */
        return cannot_serve("the daemon's threads cannot be made: are there processes left?");
    io_moved = NULL;
    __atomic_store_n(&d->serves, true, __ATOMIC_RELAXED);
    daemon_tell(KEEPER_READY, 0, 0, -1);
    log_note("daemon", "serving", "store=%s opened_ms=%lld ms=%lld", d->store,
             (long long)(d->opened_ns - d->began_ns) / 1000000,
             (long long)(clock_mono_ns() - d->began_ns) / 1000000);
    wait_idle(d);
    shutdown(d->listen, SHUT_RDWR);
    daemon_accept_over(d);
    pthread_join(tick, NULL);
    if (snprintf(path, sizeof(path), "%s/sock", d->store) < (int)sizeof(path))
        unlink(path); /* while the store is still ours */
    if (d->private)
        recall_forget(d->env.store);
    r = verb_close(&d->env);
    if (r < 0)
        log_err(r, "daemon", "the store was closed");
    if (d->private)
        mount_private_remove(d->store);
    daemon_tell(KEEPER_BYE, 0, 0, -1);
    last_words(d, r);
    return r < 0 ? CMD_FAILED : CMD_OK;
}

/* As many descriptors as are allowed; a quarter at the most goes to clients of the socket. */
static void descriptors_init(struct daemon *d)
{
    uint64_t most = keeper_descriptors();
    struct conf_live live;

    conf_live_get(&live);
    log_set_level(live.log_level);
    d->clients_max = live.clients;
    if (most > 0)
        d->clients_max = (uint32_t)MIN_OF(most / 4, (uint64_t)d->clients_max);
}

static void daemon_init(struct daemon *d, const char *store)
{
    pthread_condattr_t mono;
    sigset_t set;

    *d = (struct daemon){.store = store, .listen = -1, .clients_max = CLIENTS_MAX};
    d->wake = eventfd(0, EFD_CLOEXEC);
    d->host = (struct verb_host){.arg = d,
                                 .mounts = host_mounts,
                                 .transport = host_transport,
                                 .flush = host_flush,
                                 .rolled_back = host_rolled_back,
                                 .closes = host_closes};
    d->env.host = &d->host;
    pthread_mutex_init(&d->keeper_lock, NULL);
    pthread_mutex_init(&d->mount_lock, NULL);
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&d->change, &mono);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    mallopt(M_ARENA_MAX, 4);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

/* varve daemon STORE: with the keeper at KEEPER_FD */
static int run(int argc, char **argv)
{
    cleanup(buf_free) struct buf err = {0};
    struct restore *list = NULL;
    static struct daemon d;
    uint32_t deaths = 0;
    pthread_t alive;
    int r;

    if (argc != 2)
        return CMD_USAGE;
    daemon_init(&d, argv[1]);
    d.began_ns = clock_mono_ns();
    if (chdir("/") < 0 || fcntl(KEEPER_FD, F_SETFD, FD_CLOEXEC) < 0 || hear(&d, &deaths, &list) < 0)
        return CMD_FAILED;
    if (deaths >= DEATHS_UNSAFE)
        log_warn("daemon", "safe", "deaths=%u within a minute: read-only from now on", deaths);
    if (d.wake < 0) {
        daemon_tell_failed("no descriptor is left for the daemon");
        return CMD_FAILED;
    }
    if (pthread_create(&alive, NULL, daemon_alive_main, &d) != 0) {
        daemon_tell_failed("no thread is left for the daemon");
        return CMD_FAILED;
    }
    d.env.forgiving = list != NULL;
    io_moved = &d.opening;
    r = open_store(&d, deaths >= DEATHS_UNSAFE ? STORE_SAFE : 0, &err);
    if (r < 0) {
        daemon_tell_failed(err.len > 0 && buf_cstr(&err) ? buf_cstr(&err) : err_text(r));
        return CMD_FAILED;
    }
    descriptors_init(&d);
    d.opened_ns = clock_mono_ns();
    d.private = mount_private_is(d.store);
    return daemon_run(&d, list);
}

const struct cmd cmd_daemon = {
    .name = "daemon", .synopsis = "daemon STORE", .help = "", .run = run, .hidden = true};
