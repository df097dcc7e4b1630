/* The asking side's process: it is started, says its first word, is given lines, and ends. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tier/tierd_i.h"

#define LINE_ROOM (3 << 20)

void process_end(struct client *c)
{
    if (c->nlines == 0)
        return;
    for (unsigned i = 0; i < c->nlines; i++) {
        close(c->line[i].fd);
        if (c->line[i].room)
            munmap((void *)(uintptr_t)TAKE(c->line[i].room), VIEW_ROOM);
    }
    c->nlines = 0;
    c->dead = false;
    for (int i = 0; i < 200; i++) {
        if (waitpid(c->pid, NULL, WNOHANG) != 0)
            return;
        if (i == 100)
            kill(c->pid, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = i < 20 ? 1000000 : 20000000}, NULL);
    }
    log_warn("tier", "tierd-stuck", "pid=%d", (int)c->pid);
}

static void abandon(struct client *c)
{
    kill(c->pid, SIGKILL);
    process_end(c);
}

int answer_split(const struct msg *m, const uint8_t **rest, size_t *len)
{
    const uint8_t *nul = m->payload.len ? memchr(m->payload.data, 0, m->payload.len) : NULL;

    if (!nul)
        return -E_PROTO;
    *rest = nul + 1;
    *len = m->payload.len - (size_t)(nul + 1 - m->payload.data);
    return tierd_code((const char *)m->payload.data);
}

/* A whole chunk finds room between the two: where it does not, each part of it waits for the other side to be woken. */
static int line_pair(int pair[2])
{
    const int room = LINE_ROOM;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_from_errno(errno);
    (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    return 0;
}

/* The lines beside the first. */
static int lines_open(struct client *c)
{
    int theirs[TIERD_LINES - 1], n = 0, r = 0;

    while (r == 0 && n < TIERD_LINES - 1) {
        int pair[2];

        if ((r = line_pair(pair)) < 0)
            break;
        c->line[c->nlines++] = (struct line){.fd = pair[0]};
        theirs[n++] = pair[1];
    }
    if (r == 0)
        r = msg_send(c->line[0].fd, TIERD_MORE, "", 0, theirs, (unsigned)n, HELLO_MS);
    while (n > 0)
        close(theirs[--n]);
    return r;
}

/* Its first word, which comes when it has tried the place out: for as long as the call may last. */
static int hello_wait(int fd, const struct backend_call *call)
{
    int64_t most_ms = call && call->timeout_ms > 0 ? MIN_OF(call->timeout_ms, HELLO_MS) : HELLO_MS;
    int64_t until = clock_mono_ns() + most_ms * 1000000;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    while (poll(&p, 1, ASK_MS) <= 0) {
        if (call && call->canceled && call->canceled(call->arg))
            return -E_CANCELED;
        if (clock_mono_ns() > until && !BROKEN(VARVE_BREAK_open_unbound))
            return -E_TIMEOUT;
    }
    return 0;
}

int process_start(struct client *c, bool make, const struct backend_call *call, struct buf *err)
{
    cleanup(msg_release) struct msg m = {0};
    const uint8_t *text = NULL;
    size_t len = 0;
    int pair[2], r = line_pair(pair);

    if (r < 0)
        return r;
    r = tierd_spawn(c->url, make, pair[1], &c->pid);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        if (err)
            buf_printf(err, "%s: varve-tierd cannot be started: %s", c->url, err_text(r));
        return r;
    }
    c->line[0] = (struct line){.fd = pair[0]};
    c->nlines = 1;
    r = hello_wait(pair[0], call);
    if (r == 0)
        r = msg_recv(pair[0], HEAD_ROOM * 4, HELLO_MS, &m);
    if (r == 0)
        r = m.type == TIERD_HELLO ? answer_split(&m, &text, &len) : -E_PROTO;
    if (r == 0)
        r = lines_open(c);
    if (r < 0) {
        if (err && m.type == TIERD_HELLO && len > 1)
            buf_add(err, text, len - 1);
        else if (err)
            buf_printf(err, "%s: varve-tierd: %s", c->url, err_text(r));
        abandon(c);
    }
    return r;
}
