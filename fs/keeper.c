#include "fs/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/cmd.h"
#include "fs/mount.h"

#define SELF "/proc/self/exe"
#define DEATHS_MAX 16u
#define MINUTE_NS 60000000000ll

struct hold {
    struct hold *next;
    uint64_t conn;
    uint32_t vol;
    int fd;
    char *snap, *opts;
    uint8_t init[KEEPER_INIT_MAX];
    uint32_t init_len;
};

/* Where this keeper mounted, to be undone when a keeper in the foreground is told to end. */
struct place {
    struct place *next;
    char *dir;
};

struct keeper {
    const char *store;
    int sock;     /* to the daemon */
    int listen;   /* of STORE/sock; -1 none yet */
    int ready_fd; /* who started us waits there; -1 once told */
    pid_t daemon;
    bool bye, failed, foreground;
    bool ready;     /* the daemon has said so */
    bool was_ended; /* the last one served, and somebody ended it (SIGKILL): not its own fault */
    struct hold *holds;
    struct place *places;
    int64_t deaths[DEATHS_MAX];
    uint32_t ndeaths;
};

/* --- what it holds --------------------------------------------------------------------------------------------------------- */

static struct hold *hold_find(struct keeper *k, uint64_t conn)
{
    struct hold *h = k->holds;

    while (h && h->conn != conn)
        h = h->next;
    return h;
}

static void hold_free(struct hold *h)
{
    close(h->fd);
    free(h->snap);
    free(h->opts);
    free(h);
}

/* Takes fd. */
static int hold_add(struct keeper *k, const struct keeper_msg *m, int fd)
{
    struct hold *h = calloc(1, sizeof(*h));

    if (h) {
        *h = (struct hold){.conn = m->conn, .vol = m->n, .fd = fd};
        h->snap = strdup(keeper_field(m, 0));
        h->opts = strdup(keeper_field(m, 1));
    }
    if (!h || !h->snap || !h->opts) {
        if (h)
            hold_free(h);
        else
            close(fd);
        return -E_NOMEM;
    }
    h->next = k->holds;
    k->holds = h;
    return 0;
}

static void hold_drop(struct keeper *k, uint64_t conn)
{
    for (struct hold **at = &k->holds; *at; at = &(*at)->next)
        if ((*at)->conn == conn) {
            struct hold *h = *at;

            *at = h->next;
            hold_free(h);
            return;
        }
}

static void place_add(struct keeper *k, const char *dir)
{
    struct place *p;

    for (p = k->places; p; p = p->next)
        if (strcmp(p->dir, dir) == 0)
            return;
    p = calloc(1, sizeof(*p));
    if (p)
        p->dir = strdup(dir);
    if (!p || !p->dir) {
        free(p);
        return;
    }
    p->next = k->places;
    k->places = p;
}

static void place_drop(struct keeper *k)
{
    struct place *p = k->places;

    k->places = p->next;
    free(p->dir);
    free(p);
}

/* The last mounted first. */
static void places_detach(struct keeper *k)
{
    while (k->places) {
        struct place *p = k->places;
        int r = mount_is_point(p->dir) ? mount_detach(p->dir, false) : 0;

        if (r < 0)
            r = mount_detach(p->dir, true);
        log_note("keeper", "unmount", "dir=%s result=%s", p->dir, err_name(r));
        place_drop(k);
    }
}

/* --- what the daemon asks ---------------------------------------------------------------------------------------------------- */

static int do_mount(struct keeper *k, const struct keeper_msg *m, bool call, char why[256], int *ret_fd)
{
    struct mount_opts o = {0};
    const char *source = keeper_field(m, 2), *dir = keeper_field(m, 3);
    int fd = -1;
    int r = mount_opts_parse(&o, keeper_field(m, 1), why);

    if (r < 0)
        return r;
    o.allow_other = o.allow_other || geteuid() == 0;
    if (call && geteuid() != 0) {
        r = mount_by_helper(source, dir, &o, why, &fd);
    } else {
        r = mount_open_device(&fd);
        if (r == 0 && call)
            r = mount_attach(fd, source, dir, &o);
    }
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        return r;
    }
    r = hold_add(k, m, fd);
    if (r == 0)
        *ret_fd = fd;
    if (r == 0 && call) {
        place_add(k, dir);
        mount_tune(dir);
    }
    return r;
}

static int do_attach(struct keeper *k, const struct keeper_msg *m, char why[256])
{
    const struct hold *h = hold_find(k, m->conn);
    struct mount_opts o = {0};
    int r = mount_opts_parse(&o, keeper_field(m, 1), why);

    if (r < 0)
        return r;
    if (!h)
        return -E_NOTMOUNTED;
    if (geteuid() != 0)
        return -E_PERM;
    o.allow_other = true;
    r = mount_attach(h->fd, keeper_field(m, 2), keeper_field(m, 3), &o);
    if (r == 0)
        place_add(k, keeper_field(m, 3));
    return r;
}

static void reply(struct keeper *k, int r, const char *why, int fd)
{
    struct keeper_msg m = {.kind = KEEPER_REPLY, .err = r};

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

static void keep_init(struct keeper *k, const struct keeper_msg *m)
{
    struct hold *h = hold_find(k, m->conn);

    if (!h)
        return;
    memcpy(h->init, m->init, m->init_len);
    h->init_len = m->init_len;
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
        return;
    case KEEPER_READY:
        k->ready = true;
        tell_ready(k, "");
        break;
    case KEEPER_FAILED:
        k->failed = true;
        log_error("keeper", "failed", "%s", keeper_field(m, 0));
        tell_ready(k, keeper_field(m, 0));
        break;
    case KEEPER_MOUNT:
    case KEEPER_OPEN:
        r = do_mount(k, m, m->kind == KEEPER_MOUNT, why, &out);
        reply(k, r, why, out);
        break;
    case KEEPER_ATTACH:
        r = do_attach(k, m, why);
        reply(k, r, why, -1);
        break;
    case KEEPER_INIT: keep_init(k, m); break;
    case KEEPER_GONE: hold_drop(k, m->conn); break;
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
    if (sock == KEEPER_FD ? fcntl(sock, F_SETFD, 0) < 0 : dup2(sock, KEEPER_FD) < 0)
        _exit(127);
    execv(SELF, argv);
    _exit(127);
}

static int hand_over(struct keeper *k)
{
    struct keeper_msg m = {.kind = KEEPER_HELLO, .n = k->ndeaths};
    int r = keeper_send(k->sock, &m, -1);

    for (struct hold *h = k->holds; h && r == 0; h = h->next) {
        m = (struct keeper_msg){
            .kind = KEEPER_RESTORE, .conn = h->conn, .n = h->vol, .init_len = h->init_len};
        memcpy(m.init, h->init, h->init_len);
        r = keeper_put(&m, h->snap);
        if (r == 0)
            r = keeper_put(&m, h->opts);
        if (r == 0)
            r = keeper_send(k->sock, &m, h->fd);
    }
    m = (struct keeper_msg){.kind = KEEPER_LISTEN};
    if (r == 0 && k->listen >= 0)
        r = keeper_send(k->sock, &m, k->listen);
    m = (struct keeper_msg){.kind = KEEPER_GO};
    return r < 0 ? r : keeper_send(k->sock, &m, -1);
}

static int daemon_start(struct keeper *k)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_from_errno(errno);
    k->daemon = fork();
    if (k->daemon == 0)
        exec_daemon(k->store, pair[1]);
    close(pair[1]);
    k->sock = pair[0];
    k->failed = k->ready = false;
    return k->daemon < 0 ? err_from_errno(errno) : hand_over(k);
}

static volatile sig_atomic_t told_to_end;

static void on_signal(int sig)
{
    (void)sig;
    told_to_end = 1;
}

/* Until the daemon has gone. Signals come while it waits and at no other time, so that none is slept over. */
static void serve(struct keeper *k)
{
    static struct keeper_msg m; /* one thread; large */
    struct pollfd p = {.fd = k->sock, .events = POLLIN};
    sigset_t none;

    sigemptyset(&none);
    for (;;) {
        int fd = -1;

        if (told_to_end) {
            told_to_end = 0;
            places_detach(k);
        }
        if (ppoll(&p, 1, NULL, &none) < 0)
            continue;
        if (keeper_recv(k->sock, &m, &fd) < 0)
            return;
        handle(k, &m, fd);
    }
}

static void daemon_reap(struct keeper *k)
{
    int status = 0;

    close(k->sock);
    while (k->daemon > 0 && waitpid(k->daemon, &status, 0) < 0 && errno == EINTR)
        continue;
    k->was_ended = k->ready && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
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
    struct timespec wait;

    for (uint32_t i = 0; i < k->ndeaths; i++)
        if (now - k->deaths[i] < MINUTE_NS)
            k->deaths[kept++] = k->deaths[i];
    if (kept == DEATHS_MAX)
        memmove(k->deaths, k->deaths + 1, --kept * sizeof(k->deaths[0]));
    k->deaths[kept++] = now;
    k->ndeaths = kept;
    wait = (struct timespec){.tv_sec = kept > 2 ? MIN_OF(kept - 2, 10u) : 0};
    nanosleep(&wait, NULL);
}

static int keeper_run(struct keeper *k)
{
    for (;;) {
        int r = daemon_start(k);

        if (r == 0)
            serve(k);
        else
            log_err(r, "keeper", "the daemon cannot be started");
        daemon_reap(k);
        if (!k->holds || k->bye)
            break;
        if (!k->was_ended)
            note_death(k);
        log_note("keeper", "restart", "store=%s mounts are kept", k->store);
    }
    tell_ready(k, "the daemon ended before it served the store; see log/daemon.log there");
    while (k->places)
        place_drop(k);
    return k->bye || !k->failed ? 0 : 1;
}

/* --- the process ------------------------------------------------------------------------------------------------------------------ */

/* Standard input from nowhere, output and errors to STORE/log/daemon.log. */
static void detach_streams(const char *store)
{
    char path[PATH_MAX];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = -1;

    if (snprintf(path, sizeof(path), "%s/log", store) < (int)sizeof(path)) {
        mkdir(path, 0750);
        if (snprintf(path, sizeof(path), "%s/log/daemon.log", store) < (int)sizeof(path))
            log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    }
    dup2(null, STDIN_FILENO);
    dup2(log >= 0 ? log : null, STDOUT_FILENO);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    if (null > STDERR_FILENO)
        close(null);
    if (log > STDERR_FILENO)
        close(log);
}

static void spare_from_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, "-999", 4) < 0)
        log_debug("keeper", "oom", "the score stays as it is");
    close(fd);
}

/* See serve(). */
static void signals_wait(const struct keeper *k)
{
    sigset_t set;

    sigemptyset(&set);
    if (k->foreground) {
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
    }
    sigprocmask(SIG_SETMASK, &set, NULL);
}

/* varve keeper STORE foreground|background READY_FD */
static int run(int argc, char **argv)
{
    struct keeper k = {.sock = -1, .listen = -1, .ready_fd = -1};
    struct sigaction act = {.sa_handler = SIG_IGN};

    if (argc != 4)
        return CMD_USAGE;
    k.store = argv[1];
    k.foreground = strcmp(argv[2], "foreground") == 0;
    k.ready_fd = (int)strtol(argv[3], NULL, 10);
    fcntl(k.ready_fd, F_SETFD, FD_CLOEXEC);
    if (!k.foreground)
        detach_streams(k.store);
    sigaction(SIGPIPE, &act, NULL);
    if (k.foreground)
        act.sa_handler = on_signal;
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    if (chdir("/") < 0)
        return CMD_FAILED;
    signals_wait(&k);
    spare_from_oom();
    return keeper_run(&k);
}

const struct cmd cmd_keeper = {.name = "keeper",
                               .synopsis = "keeper STORE foreground|background FD",
                               .help = "",
                               .run = run,
                               .hidden = true};

/* --- starting one ------------------------------------------------------------------------------------------------------------------ */

static void exec_keeper(const char *store, bool foreground, int ready)
{
    char name[] = "varve", sub[] = "keeper", fg[] = "foreground", bg[] = "background", number[16];
    char *argv[] = {name, sub, (char *)(uintptr_t)store, foreground ? fg : bg, number, NULL};

    snprintf(number, sizeof(number), "%d", ready);
    fcntl(ready, F_SETFD, 0);
    unsetenv("FUSE_URING_ENABLE");
    execv(SELF, argv);
    _exit(127);
}

/* In the background the keeper is a grandchild in a session of its own, and nobody's to wait for. */
static pid_t fork_keeper(const char *store, bool foreground, int ready)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    if (!foreground) {
        setsid();
        if (fork() != 0)
            _exit(0);
    }
    exec_keeper(store, foreground, ready);
    _exit(127);
}

int keeper_start(const char *store, bool foreground, int *ret_pid, char *why)
{
    int ends[2];
    size_t at = 0;
    ssize_t n;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_from_errno(errno);
    pid = fork_keeper(store, foreground, ends[1]);
    close(ends[1]);
    if (pid > 0 && !foreground)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    while (at < 511 && ((n = read(ends[0], why + at, 511 - at)) > 0 || (n < 0 && errno == EINTR)))
        at += n > 0 ? (size_t)n : 0;
    close(ends[0]);
    why[at] = 0;
    why[strcspn(why, "\n")] = 0;
    if (pid < 0 || at == 0)
        return -E_IO; /* it died without a word */
    if (*why)
        return -E_FAILED;
    *ret_pid = pid;
    return 0;
}
