/* The keeper's process: how it begins, how it becomes another program. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "fs/cmd.h"
#include "fs/keeper_i.h"

/* --- the process ------------------------------------------------------------------------------------------------------------------ */

/* Standard input from nowhere, output and errors to STORE/log/daemon.log; for reading, too, so that the log can cut it. */
static int detach_streams(const char *store)
{
    char path[PATH_MAX];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = -1, r = 0;

    if (snprintf(path, sizeof(path), "%s/log", store) < (int)sizeof(path)) {
        mkdir(path, 0750);
        if (snprintf(path, sizeof(path), "%s/log/daemon.log", store) < (int)sizeof(path))
            log = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    }
    if (dup2(null, STDIN_FILENO) < 0 || dup2(log >= 0 ? log : null, STDOUT_FILENO) < 0 ||
        dup2(log >= 0 ? log : null, STDERR_FILENO) < 0)
        r = err_from_errno(errno); /* whoever reads what our starter says would wait for us */
    if (null > STDERR_FILENO)
        close(null);
    if (log > STDERR_FILENO)
        close(log);
    return r;
}

/* To whoever waits for it. */
static void cannot_start(int ready, int r)
{
    if (ready >= 0 && dprintf(ready, "the keeper cannot be started: %s\n", err_text(r)) < 0)
        _exit(126);
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

/* What a keeper begins with: nothing; what this process held as another program ("resume", descriptor of that program); what a
 * daemon holds whose keeper died ("adopt", its process). */
static int begin_with(struct keeper *k, int argc, char **argv)
{
    uint32_t n = 0;
    int sock, r;

    if (argc == 4)
        return 0;
    sock = (int)strtol(argv[5], NULL, 10);
    fcntl(sock, F_SETFD, FD_CLOEXEC);
    r = keeper_take_over(k, sock, &n);
    if (strcmp(argv[4], "adopt") == 0) {
        k->adopted = k->ready = true;
        k->daemon = (pid_t)strtol(argv[6], NULL, 10);
        k->sock = sock;
        log_note("keeper", "adopted", "store=%s daemon=%d", k->store, (int)k->daemon);
        return r;
    }
    close(sock);
    while (waitpid(-1, NULL, 0) > 0) /* who told us */
        continue;
    k->before_fd = (int)strtol(argv[6], NULL, 10);
    if (k->before_fd >= 0)
        fcntl(k->before_fd, F_SETFD, FD_CLOEXEC);
    return r;
}

/* varve keeper STORE foreground|background|service READY_FD [resume|adopt STATE_FD PROGRAM_FD|PID] */
static int run(int argc, char **argv)
{
    struct keeper k = {.sock = -1, .listen = -1, .ready_fd = -1, .before_fd = -1};
    int r = 0;

    if (argc != 4 && argc != 7)
        return CMD_USAGE;
    prctl(PR_SET_NAME, "varve");
    k.store = argv[1];
    k.foreground = strcmp(argv[2], "foreground") == 0;
    k.service = strcmp(argv[2], "service") == 0;
    k.ready_fd = (int)strtol(argv[3], NULL, 10);
    if (k.ready_fd >= 0)
        fcntl(k.ready_fd, F_SETFD, FD_CLOEXEC);
    if (!k.foreground && !k.service && argc == 4) /* who goes on has them */
        r = detach_streams(k.store);
    if (r < 0) {
        cannot_start(k.ready_fd, r);
        return CMD_FAILED;
    }
    keeper_signals(&k);
    if (chdir("/") < 0)
        return CMD_FAILED;
    spare_from_oom();
    if (!BROKEN(VARVE_BREAK_keeper_files))
        keeper_descriptors();
    if (k.service)
        r = keeper_service_begin(&k);
    else
        sdnotify_forget_env(); /* it was another service's */
    if (r == 0)
        r = begin_with(&k, argc, argv);
    if (r < 0) {
        log_err(r, "keeper", "what was held cannot be taken over");
        return CMD_FAILED;
    }
    return keeper_run(&k);
}

const struct cmd cmd_keeper = {.name = "keeper",
                               .synopsis = "keeper STORE foreground|background|service FD",
                               .help = "",
                               .run = run,
                               .hidden = true};

/* --- becoming another program ------------------------------------------------------------------------------------------------------ */

static void number(char out[16], int n)
{
    snprintf(out, 16, "%d", n);
}

/* A child tells the new program what is held, through a socket that both inherit. */
int keeper_become(struct keeper *k, const char *path)
{
    char name[] = "varve", sub[] = "keeper", word[] = "resume", state[16], before[16], none[] = "-1",
         mode[16];
    char *argv[] = {name, sub, (char *)(uintptr_t)k->store, mode, none, word, state, before, NULL};
    int pair[2], self = open(KEEPER_SELF, O_PATH | O_CLOEXEC), e;
    pid_t teller;

    snprintf(mode, sizeof(mode), "%s", k->service ? "service" : k->foreground ? "foreground" : "background");
    if (self < 0 && k->before_fd < 0) /* there would be no way back */
        return err_from_errno(errno);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        e = errno;
        if (self >= 0)
            close(self);
        return err_from_errno(e);
    }
    teller = fork();
    e = errno;
    if (teller == 0) {
        close(pair[0]);
        _exit(keeper_hand_over(k, pair[1], 0) < 0);
    }
    close(pair[1]);
    number(state, pair[0]);
    number(before, k->before_fd >= 0 ? -1 : self); /* back from a trial: there is no other way left */
    fcntl(pair[0], F_SETFD, 0);
    if (self >= 0 && k->before_fd < 0)
        fcntl(self, F_SETFD, 0);
    if (teller > 0) {
        execv(path, argv);
        e = errno;
    }
    close(pair[0]);
    if (self >= 0)
        close(self);
    if (teller > 0)
        waitpid(teller, NULL, 0);
    return err_from_errno(e);
}

/* --- starting one ------------------------------------------------------------------------------------------------------------------ */

static void exec_keeper(const char *store, bool foreground, int ready)
{
    char name[] = "varve", sub[] = "keeper", fg[] = "foreground", bg[] = "background", number[16];
    char *argv[] = {name, sub, (char *)(uintptr_t)store, foreground ? fg : bg, number, NULL};

    snprintf(number, sizeof(number), "%d", ready);
    fcntl(ready, F_SETFD, 0);
    unsetenv("FUSE_URING_ENABLE");
    execv(KEEPER_SELF, argv);
    cannot_start(ready, err_from_errno(errno));
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
        pid = fork();
        if (pid < 0)
            cannot_start(ready, err_from_errno(errno));
        if (pid != 0)
            _exit(0);
    }
    exec_keeper(store, foreground, ready);
    _exit(127);
}

int keeper_start(const char *store, bool foreground, int *ret_pid, char *why)
{
    int ends[2], e;
    size_t at = 0;
    ssize_t n;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_from_errno(errno);
    pid = fork_keeper(store, foreground, ends[1]);
    e = errno;
    close(ends[1]);
    if (pid > 0 && !foreground)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    while (at < 511 && ((n = read(ends[0], why + at, 511 - at)) > 0 || (n < 0 && errno == EINTR)))
        at += n > 0 ? (size_t)n : 0;
    close(ends[0]);
    why[at] = 0;
    why[strcspn(why, "\n")] = 0;
    if (pid < 0)
        return err_from_errno(e);
    if (at == 0)
        return -E_CLOSED; /* it died without a word */
    if (*why)
        return -E_FAILED;
    *ret_pid = pid;
    return 0;
}
