#include "fs/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/keeper_i.h"
#include "fs/mount.h"
#include "fs/verb_target.h"

#define MINUTE_NS 60000000000ll
#define TRIES 5u
/* A service that could not begin lets its manager wait so long: systemd gives up after some tries in a minute. */
#define AGAIN_S 2

/* --- what it holds --------------------------------------------------------------------------------------------------------- */

static void place_drop(struct place **at)
{
    struct place *p = *at;

    *at = p->next;
    free(p->dir);
    free(p);
}

static int see_place(void *arg, const struct verb_mount *m)
{
    const struct keeper *k = arg;
    size_t len = strlen(k->store);

    for (struct place *p = k->places; p; p = p->next)
        if (strcmp(p->dir, m->dir) == 0) /* the last one is on top */
            p->ours = strncmp(m->source, k->store, len) == 0 && m->source[len] == '/';
    return 0;
}

/* Those where no mount of this store is on top any more: another store's may be. */
static void forget_places(struct keeper *k)
{
    for (struct place *p = k->places; p; p = p->next)
        p->ours = false;
    if (BROKEN(VARVE_BREAK_places_kept) || verb_mounts_each(see_place, k) < 0)
        return;
    for (struct place **at = &k->places; *at;)
        if ((*at)->ours)
            at = &(*at)->next;
        else
            place_drop(at);
}

/* The last mounted first. */
void keeper_places_detach(struct keeper *k)
{
    forget_places(k);
    while (k->places) {
        struct place *p = k->places;
        char why[256];
        int r = mount_is_point(p->dir) ? mount_detach(p->dir, false, why) : 0;

        if (r < 0)
            r = mount_detach(p->dir, true, why);
        log_note("keeper", "unmount", "dir=%s result=%s", p->dir, err_name(r));
        place_drop(&k->places);
    }
}

/* --- what the daemon asks ---------------------------------------------------------------------------------------------------- */

static void let_go(struct keeper *k, uint64_t conn)
{
    if (!keeper_hold(k, conn))
        return;
    keeper_hold_drop(k, conn);
    keeper_service_drop(k, conn);
}

/* Takes fd. */
static int hold(struct keeper *k, const struct keeper_msg *m, int fd)
{
    int r = keeper_hold_add(k, m, fd);

    if (r == 0)
        keeper_service_hold(k, m->conn);
    return r;
}

/* Held before it is mounted: there is no moment in which a death would take the mount along. */
static int hold_and_mount(struct keeper *k, const struct keeper_msg *m, const struct mount_opts *o, bool call,
                          int *ret_fd)
{
    int fd = -1;
    int r = mount_open_device(&fd);

    if (r == 0)
        r = hold(k, m, fd);
    if (r == 0 && call) {
        r = mount_attach(fd, keeper_field(m, 2), keeper_field(m, 3), o);
        if (r < 0)
            let_go(k, m->conn);
    }
    if (r == 0)
        *ret_fd = fd;
    return r;
}

static void note_place(struct keeper *k, const char *dir)
{
    forget_places(k);
    keeper_place_add(k, dir);
    keeper_service_save(k);
}

static int do_mount(struct keeper *k, const struct keeper_msg *m, bool call, char why[256], int *ret_fd)
{
    struct mount_opts o = {0};
    const char *dir = keeper_field(m, 3);
    int r = mount_opts_parse(&o, keeper_field(m, 1), why);

    if (r == 0 && call && geteuid() != 0) {
        r = mount_by_helper(keeper_field(m, 2), dir, &o, why, ret_fd);
        if (r == 0 && (r = hold(k, m, *ret_fd)) < 0)
            mount_detach(dir, true, why);
    } else if (r == 0) {
        r = hold_and_mount(k, m, &o, call, ret_fd);
    }
    if (r == 0 && call) {
        note_place(k, dir);
        mount_tune(dir, &o);
    }
    return r;
}

static int do_attach(struct keeper *k, const struct keeper_msg *m, char why[256])
{
    const struct hold *h = keeper_hold(k, m->conn);
    struct mount_opts o = {0};
    int r = mount_opts_parse(&o, keeper_field(m, 1), why);

    if (r < 0)
        return r;
    if (!h)
        return -E_NOTMOUNTED;
    if (geteuid() != 0)
        return -E_PERM;
    r = mount_attach(h->fd, keeper_field(m, 2), keeper_field(m, 3), &o);
    if (r == 0)
        note_place(k, keeper_field(m, 3));
    return r;
}

static bool has_place(const struct keeper *k, const char *dir)
{
    const struct place *p = k->places;

    while (p && strcmp(p->dir, dir) != 0)
        p = p->next;
    return p;
}

/* Nobody will serve what was mounted there, if anything was; another's mount stays. */
static void give_back(struct keeper *k, const char *dir)
{
    char why[256];
    int r = 0;

    keeper_place_add(k, dir);
    forget_places(k);
    if (has_place(k, dir))
        r = mount_detach(dir, true, why);
    if (r < 0)
        log_err(r, "keeper", "dir=%s stays behind, without a daemon", dir);
    keeper_place_remove(k, dir);
    keeper_service_save(k);
}

static void reply(struct keeper *k, const struct keeper_msg *question, int r, const char *why, int fd)
{
    struct keeper_msg m = {.kind = KEEPER_REPLY, .err = r, .n = (uint32_t)question->err};

    keeper_put(&m, why);
    keeper_send(k->sock, &m, r == 0 ? fd : -1);
}

/* Tells who started the keeper; an empty line is good news. */
static void tell_ready(struct keeper *k, const char *text)
{
    ssize_t n;

    if (k->ready_fd < 0)
        return;
    n = dprintf(k->ready_fd, "%s\n", text);
    (void)n;
    close(k->ready_fd);
    k->ready_fd = -1;
}

/* Takes fd, where the keeper does not hold it already: the one that mounted it has died. */
static int keep_init(struct keeper *k, const struct keeper_msg *m, int fd)
{
    struct hold *h = keeper_hold(k, m->conn);
    int r = 0;

    if (!h && fd >= 0)
        r = hold(k, m, fd);
    else if (fd >= 0)
        close(fd);
    h = keeper_hold(k, m->conn);
    if (!h)
        return r < 0 ? r : -E_NOENT;
    memcpy(h->init, m->init, m->init_len);
    h->init_len = m->init_len;
    h->told = keeper_told(m, 2);
    keeper_service_save(k);
    return 0;
}

static void keep_told(struct keeper *k, const struct keeper_msg *m)
{
    struct hold *h = keeper_hold(k, m->conn);

    if (!h)
        return;
    h->told = keeper_told(m, 0);
    keeper_service_save(k);
}

static void on_ready(struct keeper *k)
{
    k->ready = k->served = true;
    k->alive_ns = k->well_ns = clock_mono_ns();
    if (k->before_fd >= 0) {
        close(k->before_fd);
        k->before_fd = -1;
        log_note("keeper", "upgraded", "store=%s varve=%s", k->store, VARVE_VERSION);
    }
    tell_ready(k, "");
    keeper_service_ready(k);
}

/* Ends a daemon that stands still; the next one takes over as after any death. */
static void end_hung(struct keeper *k, const char *what)
{
    log_error("keeper", "hung", "pid=%d %s: it is replaced", (int)k->daemon, what);
    k->hung = true;
    kill(k->daemon, SIGKILL);
}

static void on_alive(struct keeper *k, uint32_t still_ms)
{
    k->alive_ns = clock_mono_ns();
    if (!k->ready) { /* it opens the store: nobody else would be faster */
        if (still_ms < keeper_hung_ms())
            k->well_ns = k->alive_ns;
        return;
    }
    if (still_ms >= keeper_hung_ms() && !k->hung)
        end_hung(k, "a request stands still");
    else if (!k->hung)
        k->well_ns = k->alive_ns;
}

static int program_check(const char *path, char why[256])
{
    if (path[0] == '/' && strlen(path) < PATH_MAX && access(path, X_OK) == 0)
        return 0;
    snprintf(why, 256, "%.200s is no program that can be started", path);
    return -E_INVAL;
}

static void handle(struct keeper *k, struct keeper_msg *m, int fd)
{
    char why[256] = "";
    int out = -1;
    int r;

    switch (m->kind) {
    case KEEPER_LISTEN:
        if (k->listen >= 0)
            close(k->listen);
        k->listen = fd;
        keeper_service_listen(k);
        return;
    case KEEPER_READY: on_ready(k); break;
    case KEEPER_ALIVE: on_alive(k, m->n); break;
    case KEEPER_LEFT: k->left = true; break;
    case KEEPER_UPGRADE:
        r = program_check(keeper_field(m, 0), why);
        if (r == 0) {
            snprintf(k->next, sizeof(k->next), "%s", keeper_field(m, 0));
            keeper_service_changing(k);
        }
        reply(k, m, r, why, -1);
        break;
    case KEEPER_FAILED:
        k->failed = true;
        log_error("keeper", "failed", "%s", keeper_field(m, 0));
        tell_ready(k, keeper_field(m, 0));
        keeper_service_say(k, keeper_field(m, 0));
        break;
    case KEEPER_MOUNT:
    case KEEPER_OPEN:
        r = do_mount(k, m, m->kind == KEEPER_MOUNT, why, &out);
        reply(k, m, r, why, out);
        break;
    case KEEPER_ATTACH:
        r = do_attach(k, m, why);
        reply(k, m, r, why, -1);
        break;
    case KEEPER_INIT: reply(k, m, keep_init(k, m, fd), "", -1); return;
    case KEEPER_TOLD: keep_told(k, m); break;
    case KEEPER_GONE:
        let_go(k, m->conn);
        if (m->len > 0)
            give_back(k, keeper_field(m, 0));
        break;
    case KEEPER_BYE: k->bye = true; break;
    default: log_error("keeper", "message", "kind=%u is not known", m->kind);
    }
    if (fd >= 0)
        close(fd);
}

/* --- the daemon ----------------------------------------------------------------------------------------------------------------- */

static void exec_daemon(const char *store, int sock)
{
    char name[] = "varve", sub[] = "daemon";
    char *argv[] = {name, sub, (char *)(uintptr_t)store, NULL};

    prctl(PR_SET_PDEATHSIG, 0);
    sdnotify_forget_env();
    if (sock == KEEPER_FD ? fcntl(sock, F_SETFD, 0) < 0 : dup2(sock, KEEPER_FD) < 0)
        _exit(127);
    execv(KEEPER_SELF, argv);
    _exit(127);
}

static int daemon_start(struct keeper *k)
{
    int pair[2], e;

    k->sock = -1;
    k->daemon = -1;
    k->failed = k->ready = k->left = k->hung = k->adopted = false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_from_errno(errno);
    k->daemon = fork();
    if (k->daemon == 0)
        exec_daemon(k->store, pair[1]);
    e = errno;
    close(pair[1]);
    k->sock = pair[0];
    return k->daemon < 0 ? err_from_errno(e) : keeper_hand_over(k, k->sock, k->ndeaths);
}

static volatile sig_atomic_t told_to_end, told_to_upgrade; /* told_to_end: by which signal */

static void on_signal(int sig)
{
    if (sig == SIGHUP)
        told_to_upgrade = 1;
    else
        told_to_end = sig;
}

/* In the foreground it is told to end by signals; SIGHUP is always the word to go on as what lies where this program lay. */
void keeper_signals(const struct keeper *k)
{
    struct sigaction act = {.sa_handler = SIG_IGN};
    sigset_t set;

    sigaction(SIGPIPE, &act, NULL);
    if (k->foreground || k->service)
        act.sa_handler = on_signal;
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    act.sa_handler = on_signal;
    sigaction(SIGHUP, &act, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    if (k->foreground || k->service) {
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
    }
    sigprocmask(SIG_SETMASK, &set, NULL); /* see serve() */
}

static void upgrade_itself(struct keeper *k)
{
    struct keeper_msg m = {.kind = KEEPER_LEAVE};
    char path[PATH_MAX], why[256];
    ssize_t n = readlink(KEEPER_SELF, path, sizeof(path) - 1);
    static const char gone[] = " (deleted)";

    path[n > 0 ? n : 0] = 0;
    if (n > (ssize_t)sizeof(gone) && strcmp(path + n - (sizeof(gone) - 1), gone) == 0)
        path[n - (ssize_t)(sizeof(gone) - 1)] = 0;
    if (program_check(path, why) < 0) {
        log_error("keeper", "upgrade", "%s", why);
        return;
    }
    memcpy(k->next, path, sizeof(path));
    keeper_service_changing(k);
    keeper_send(k->sock, &m, -1);
}

static void on_words_of_signals(struct keeper *k)
{
    int sig = told_to_end;

    if (told_to_upgrade) {
        told_to_upgrade = 0;
        upgrade_itself(k);
    }
    if (sig == 0)
        return;
    told_to_end = 0;
    if (k->service)
        keeper_service_stop(k, sig == SIGINT);
    else
        keeper_places_detach(k);
}

/* Until something is to be done; 0: for ever. */
static unsigned wait_ms(struct keeper *k, unsigned hung_ms)
{
    unsigned ping_ms = keeper_service_tick(k);

    if (ping_ms == 0 || !k->ready)
        return k->ready ? hung_ms : ping_ms;
    return MIN_OF(ping_ms, hung_ms);
}

/* Until the daemon has gone. Signals come while it waits and at no other time, so that none is slept over. */
static void serve(struct keeper *k)
{
    static struct keeper_msg m; /* one thread; large */
    struct pollfd p = {.fd = k->sock, .events = POLLIN};
    const unsigned hung_ms = keeper_hung_ms();
    const struct timespec pause = {.tv_nsec = 10000000};
    sigset_t none;

    sigemptyset(&none);
    k->alive_ns = clock_mono_ns();
    for (;;) {
        struct timespec wait;
        unsigned ms;
        int fd = -1, n, r;

        on_words_of_signals(k);
        ms = wait_ms(k, hung_ms);
        wait = (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
        n = ppoll(&p, 1, ms > 0 ? &wait : NULL, &none);
        if (n == 0 && k->ready && !k->hung && clock_mono_ns() - k->alive_ns > hung_ms * 1000000ll)
            end_hung(k, "it says nothing");
        if (n <= 0)
            continue;
        r = keeper_recv(k->sock, &m, &fd);
        if (r == -E_CLOSED)
            return;
        if (r == 0) {
            handle(k, &m, fd);
            continue;
        }
        log_err(r, "keeper", "a message of the daemon");
        nanosleep(&pause, NULL);
    }
}

/* Of one that is not our child only the end is known. */
static void await_end(pid_t pid)
{
    struct timespec wait = {.tv_nsec = 2000000};

    for (int i = 0; i < 2500 && kill(pid, 0) == 0; i++)
        nanosleep(&wait, NULL);
}

static void daemon_reap(struct keeper *k)
{
    int status = 0;

    if (k->sock >= 0)
        close(k->sock);
    if (k->adopted) {
        await_end(k->daemon);
        k->was_ended = k->killed = !k->hung;
        if (!k->bye && !k->left)
            log_error("keeper", "death", "pid=%d", (int)k->daemon);
        return;
    }
    while (k->daemon > 0 && waitpid(k->daemon, &status, 0) < 0 && errno == EINTR)
        continue;
    k->killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !k->hung;
    k->was_ended = k->ready && k->killed;
    if (k->left)
        return;
    if (!k->bye && WIFSIGNALED(status))
        log_error("keeper", "death", "pid=%d signal=%d", (int)k->daemon, WTERMSIG(status));
    else if (!k->bye && !k->failed)
        log_error("keeper", "death", "pid=%d exit=%d", (int)k->daemon, WEXITSTATUS(status));
}

/* A death of its own. How long to wait before the next one: nothing at first, then longer and longer while they keep dying. */
static void note_death(struct keeper *k)
{
    int64_t now = clock_mono_ns();
    uint32_t kept = 0;
    struct timespec wait = {.tv_nsec = 50000000};

    for (uint32_t i = 0; i < k->ndeaths; i++)
        if (now - k->deaths[i] < MINUTE_NS)
            k->deaths[kept++] = k->deaths[i];
    if (kept == DEATHS_MAX)
        memmove(k->deaths, k->deaths + 1, --kept * sizeof(k->deaths[0]));
    k->deaths[kept++] = now;
    k->ndeaths = kept;
    now += kept > 2 ? (int64_t)MIN_OF(kept - 2, 10u) * 1000000000 : 0;
    while (clock_mono_ns() < now) {
        nanosleep(&wait, NULL);
        keeper_service_tick(k);
    }
}

/* The daemon has left for another program, or another program has failed on trial: becomes the one that is to go on. */
static void change_program(struct keeper *k)
{
    char path[32];
    int r = 0;

    if (k->left && k->next[0]) {
        r = keeper_become(k, k->next);
        log_err(r, "keeper", "upgrade to %s", k->next);
    } else if (k->before_fd >= 0 && !k->ready) {
        log_error("keeper", "upgrade", "the new program does not serve the store: back to the one before");
        snprintf(path, sizeof(path), "/proc/self/fd/%d", k->before_fd);
        r = keeper_become(k, path);
        log_err(r, "keeper", "back to the program before");
    }
    k->next[0] = 0;
}

/* Nothing is held before the first mount and after the last one: then only a daemon that somebody killed is worth another. */
static bool goes_on(struct keeper *k)
{
    if (k->ending)
        return false;
    if (k->bye || k->failed)
        return !k->bye && k->holds;
    if (k->holds || (k->service && k->served)) {
        k->tries = 0;
        return true;
    }
    return k->killed && k->tries++ < TRIES;
}

static void cannot_start(struct keeper *k, int r)
{
    char text[256];

    log_err(r, "keeper", "the daemon cannot be started");
    snprintf(text, sizeof(text), "the daemon cannot be started: %s", err_text(r));
    if (!k->holds)
        tell_ready(k, text);
}

/* Until it is told to end, at the longest. */
static void rest(const struct keeper *k)
{
    struct timespec wait = {.tv_sec = AGAIN_S};
    sigset_t none;

    sigemptyset(&none);
    if (k->service && !k->served && !k->ending && !BROKEN(VARVE_BREAK_no_rest))
        ppoll(NULL, 0, &wait, &none);
}

int keeper_run(struct keeper *k)
{
    for (;;) {
        int r = k->adopted ? 0 : daemon_start(k);

        if (r == 0)
            serve(k);
        else
            cannot_start(k, r);
        daemon_reap(k);
        if (!goes_on(k))
            break;
        change_program(k);
        if (!k->was_ended && !k->left)
            note_death(k);
        log_note("keeper", "restart", "store=%s mounts are kept", k->store);
        k->adopted = false;
    }
    tell_ready(k, "the daemon ended before it served the store; see log/daemon.log there");
    keeper_service_ended(k);
    rest(k);
    while (k->places)
        place_drop(&k->places);
    while (k->holds)
        keeper_hold_drop(k, k->holds->conn);
    if (k->service)
        return k->ending || told_to_end ? 0 : 1;
    return k->bye || !k->failed ? 0 : 1;
}
