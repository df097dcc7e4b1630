/* A service manager for tests, where no systemd runs: it starts one service and speaks with it as systemd does: NOTIFY_SOCKET with the
 * sender's process looked at (NotifyAccess=main), a descriptor store, LISTEN_FDS and LISTEN_FDNAMES, the watchdog, Restart=always,
 * KillMode=mixed (by being the reaper of orphans).
 *
 *   manager [--watchdog MS] [--start-timeout MS] [--no-kill] [--descriptors N] --log FILE -- COMMAND...
 *
 * FILE gets a line for everything that happens, each after the time: "start PID DESCRIPTORS", "ready", "ping", "store NAME",
 * "remove NAME COUNT", "full NAME", "status ...", "stopping", "reloading", "stranger PID", "exit N", "watchdog",
 * "extend", "start-timeout", "end". Signals to it: TERM
 * ends the service, HUP restarts it, USR1 reloads it (HUP to the service), USR2 puts strange descriptors into the store. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"

#define SLOTS 256
#define TICK_MS 5

struct slot {
    int fd;
    char name[256];
};

static struct slot slots[SLOTS];
static unsigned nslots, descriptors = SLOTS, watchdog_ms, start_ms;
static bool kill_rest = true, is_ready;
static pid_t main_pid;
static int sock = -1;
static FILE *record;
static int64_t pinged_ms, start_until_ms;
static volatile sig_atomic_t want_end, want_restart, want_reload, want_garbage;

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...)
{
    struct timespec ts;
    va_list ap;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    fprintf(record, "%lld.%03ld ", (long long)ts.tv_sec, ts.tv_nsec / 1000000);
    va_start(ap, fmt);
    vfprintf(record, fmt, ap);
    va_end(ap);
    fputc('\n', record);
    fflush(record);
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

/* --- the store ------------------------------------------------------------------------------------------------------------- */

static void store(int fd, const char *name)
{
    if (nslots >= descriptors) {
        say("full %s", name);
        close(fd);
        return;
    }
    slots[nslots].fd = fd;
    snprintf(slots[nslots].name, sizeof(slots[nslots].name), "%s", name);
    nslots++;
    say("store %s", name);
}

static void take_out(const char *name)
{
    unsigned kept = 0, gone = 0;

    for (unsigned i = 0; i < nslots; i++) {
        if (strcmp(slots[i].name, name) == 0) {
            close(slots[i].fd);
            gone++;
        } else {
            slots[kept++] = slots[i];
        }
    }
    nslots = kept;
    say("remove %s %u", name, gone);
}

static void store_garbage(void)
{
    static const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    char half[4096] = "varveKPR\1";
    int open_memory = memfd_create("garbage", MFD_CLOEXEC | MFD_ALLOW_SEALING), sealed, ends[2];

    if (open_memory < 0 || pipe2(ends, O_CLOEXEC) < 0)
        die("garbage");
    sealed = memfd_create("garbage", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (write(open_memory, half, sizeof(half)) < 0 || write(sealed, half, sizeof(half)) < 0 ||
        fcntl(sealed, F_ADD_SEALS, seals) < 0)
        die("garbage");
    store(open("/dev/fuse", O_RDWR | O_CLOEXEC), "conn-00000000deadbeef"); /* never mounted */
    store(open("/dev/null", O_RDWR | O_CLOEXEC), "conn-zz");
    for (unsigned i = 0, n = nslots; i < n; i++) /* something else by the name of what is there */
        if (strncmp(slots[i].name, "conn-", 5) == 0 && slots[i].name[5] != 'z')
            store(open("/dev/null", O_RDWR | O_CLOEXEC), slots[i].name);
    store(open_memory, "state-88888888");
    store(sealed, "state-99999999");
    store(ends[0], "listen");
    store(ends[1], "stranger");
    store(open("/etc/passwd", O_RDONLY | O_CLOEXEC), "");
    for (unsigned i = 0; i < nslots / 2; i++) { /* and in another order: what is false comes first */
        struct slot s = slots[i];

        slots[i] = slots[nslots - 1 - i];
        slots[nslots - 1 - i] = s;
    }
}

/* --- the service ----------------------------------------------------------------------------------------------------------- */

static void set_number(const char *name, unsigned long v)
{
    char text[32];

    snprintf(text, sizeof(text), "%lu", v);
    setenv(name, text, 1);
}

static void exec_service(char **argv)
{
    char names[SLOTS * 64] = "";
    int high[SLOTS];
    size_t at = 0;

    for (unsigned i = 0; i < nslots; i++) {
        high[i] = fcntl(slots[i].fd, F_DUPFD, 3 + SLOTS);
        at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s", i ? ":" : "", slots[i].name);
    }
    for (unsigned i = 0; i < nslots; i++) {
        if (high[i] < 0 || dup2(high[i], 3 + (int)i) < 0)
            _exit(126);
        close(high[i]);
    }
    set_number("LISTEN_PID", (unsigned long)getpid());
    set_number("LISTEN_FDS", nslots);
    setenv("LISTEN_FDNAMES", names, 1);
    if (nslots == 0) {
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
    }
    set_number("FDSTORE", descriptors);
    if (watchdog_ms > 0) {
        set_number("WATCHDOG_USEC", watchdog_ms * 1000ul);
        set_number("WATCHDOG_PID", (unsigned long)getpid());
    }
    execvp(argv[0], argv);
    _exit(127);
}

static void start(char **argv)
{
    is_ready = false;
    main_pid = fork();
    if (main_pid < 0)
        die("fork");
    if (main_pid == 0)
        exec_service(argv);
    start_until_ms = now_ms() + start_ms;
    say("start %d %u", (int)main_pid, nslots);
}

/* Whoever is left of the service: they have become ours. */
static void end_rest(void)
{
    char path[64], line[4096];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    for (bool any = kill_rest; any;) {
        char *save = NULL;

        any = false;
        f = fopen(path, "re");
        if (!f || !fgets(line, sizeof(line), f))
            line[0] = 0;
        if (f)
            fclose(f);
        for (char *w = strtok_r(line, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
            pid_t pid = (pid_t)strtol(w, NULL, 10);

            any = true;
            kill(pid, SIGKILL);
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                continue;
        }
    }
}

/* --- its words -------------------------------------------------------------------------------------------------------------- */

static const char *value_of(char *lines, const char *name, char out[256])
{
    size_t len = strlen(name);

    for (char *l = lines; l; l = strchr(l, '\n')) {
        l += *l == '\n';
        if (strncmp(l, name, len) == 0 && l[len] == '=') {
            snprintf(out, 256, "%.*s", (int)strcspn(l + len + 1, "\n"), l + len + 1);
            return out;
        }
    }
    return NULL;
}

static void heed(char *lines, int fd)
{
    char a[256], b[256];

    if (value_of(lines, "FDSTORE", a) && fd >= 0) {
        /* as systemd does unless it is told otherwise */
        struct pollfd p = {.fd = fd};
        bool bad = !value_of(lines, "FDPOLL", b) && poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));

        if (bad)
            close(fd);
        else
            store(fd, value_of(lines, "FDNAME", b) ? b : "stored");
        fd = -1;
    }
    if (value_of(lines, "FDSTOREREMOVE", a) && value_of(lines, "FDNAME", b))
        take_out(b);
    if (value_of(lines, "STATUS", a))
        say("status %s", a);
    if (value_of(lines, "STOPPING", a))
        say("stopping");
    if (value_of(lines, "RELOADING", a))
        say("reloading%s", value_of(lines, "MONOTONIC_USEC", b) ? " since" : "");
    if (value_of(lines, "WATCHDOG", a)) {
        pinged_ms = now_ms();
        say("ping");
    }
    if (value_of(lines, "EXTEND_TIMEOUT_USEC", a)) {
        start_until_ms = now_ms() + (int64_t)strtoull(a, NULL, 10) / 1000;
        say("extend");
    }
    if (value_of(lines, "READY", a)) {
        is_ready = true;
        pinged_ms = now_ms();
        say("ready");
    }
    if (fd >= 0)
        close(fd);
}

static bool hear(void)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
    } ctl;
    char lines[4096];
    struct iovec iov = {.iov_base = lines, .iov_len = sizeof(lines) - 1};
    struct msghdr h = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.room, .msg_controllen = sizeof(ctl.room)};
    ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct ucred who = {.pid = 0};
    int fd = -1;

    if (n < 0)
        return false;
    lines[n] = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
        if (c->cmsg_type == SCM_RIGHTS)
            memcpy(&fd, CMSG_DATA(c), sizeof(fd));
        if (c->cmsg_type == SCM_CREDENTIALS)
            memcpy(&who, CMSG_DATA(c), sizeof(who));
    }
    if (who.pid != main_pid) {
        say("stranger %d", (int)who.pid);
        if (fd >= 0)
            close(fd);
        return true;
    }
    heed(lines, fd);
    return true;
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

static void on_signal(int sig)
{
    if (sig == SIGTERM || sig == SIGINT)
        want_end = 1;
    if (sig == SIGHUP)
        want_restart = 1;
    if (sig == SIGUSR1)
        want_reload = 1;
    if (sig == SIGUSR2)
        want_garbage = 1;
}

static void carry_out(void)
{
    static bool told;

    if (want_garbage) {
        want_garbage = 0;
        store_garbage();
    }
    if (want_reload) {
        want_reload = 0;
        kill(main_pid, SIGHUP);
    }
    if (want_restart) {
        want_restart = 0;
        kill(main_pid, SIGTERM);
    }
    if (want_end && !told) {
        told = true;
        kill(main_pid, SIGTERM);
    }
    if (start_ms > 0 && !is_ready && now_ms() > start_until_ms) {
        say("start-timeout");
        kill(main_pid, SIGKILL);
    }
    if (watchdog_ms > 0 && is_ready && now_ms() - pinged_ms > watchdog_ms) {
        say("watchdog");
        is_ready = false;
        kill(main_pid, SIGKILL);
    }
}

static void run(char **argv)
{
    int status;

    start(argv);
    for (;;) {
        struct pollfd p = {.fd = sock, .events = POLLIN};

        poll(&p, 1, TICK_MS);
        while (hear())
            continue;
        carry_out();
        if (waitpid(main_pid, &status, WNOHANG) != main_pid)
            continue;
        while (hear()) /* what it said before it died */
            continue;
        say("exit %d", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
        end_rest();
        if (want_end)
            break;
        start(argv);
    }
    while (nslots > 0)
        take_out(slots[0].name);
    say("end");
}

static void make_socket(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char name[64];
    int on = 1;

    /* without a name in the filesystem, as '@' says */
    snprintf(name, sizeof(name), "@varve-manager-%d", (int)getpid());
    memcpy(a.sun_path, name, strlen(name));
    a.sun_path[0] = 0;
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0 ||
        bind(sock, (struct sockaddr *)&a,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))) < 0 ||
        setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
        die("socket");
    setenv("NOTIFY_SOCKET", name, 1);
}

int main(int argc, char **argv)
{
    struct sigaction act = {.sa_handler = on_signal};
    static const int heard[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    int i = 1;

    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--no-kill") == 0)
            kill_rest = false;
        else if (strcmp(argv[i], "--watchdog") == 0 && i + 1 < argc)
            watchdog_ms = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--start-timeout") == 0 && i + 1 < argc)
            start_ms = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--descriptors") == 0 && i + 1 < argc)
            descriptors = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--log") == 0 && i + 1 < argc)
            record = fopen(argv[++i], "ae");
    }
    descriptors = MIN_OF(descriptors, SLOTS);
    if (i + 1 >= argc || !record) {
        fprintf(stderr, "manager [--watchdog MS] [--no-kill] [--descriptors N] --log FILE -- COMMAND...\n");
        return 2;
    }
    for (size_t s = 0; s < ARRAY_LEN(heard); s++)
        sigaction(heard[s], &act, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    make_socket();
    run(argv + i + 1);
    return 0;
}
