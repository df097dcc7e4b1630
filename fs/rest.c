/* A connection that nothing is asked of has no worker: each would hold a megabyte of locked memory for its request. One thread for
 * all of them looks whether something comes, and starts a worker then. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/op.h"

#define REST_AFTER_NS 3000000000ll
#define LOOK_MS 1000 /* while some connection is awake */
#define AGAIN_NS 50000000

static pthread_mutex_t begin_lock = PTHREAD_MUTEX_INITIALIZER; /* guards who begins */
static atomic_int wake = -1;                                   /* -1: the thread does not run */

struct look {
    struct pollfd *at; /* the first is wake */
    size_t n, cap;
    bool awake;   /* some connection is */
    bool refused; /* a worker could not be started, or there was no memory to look */
};

static unsigned long long asked(const struct session *ss)
{
    unsigned long long sum = 0;

    for (size_t i = 0; i < OP_CODES; i++)
        sum += atomic_load_explicit(&ss->requests[i], memory_order_relaxed);
    return sum;
}

static void add(struct look *l, int fd)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct pollfd *at = reallocarray(l->at, cap, sizeof(*at));

        if (!at) {
            l->refused = true;
            return;
        }
        l->at = at;
        l->cap = cap;
    }
    l->at[l->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

/* Its workers are asked again each second, as one may just have been about to read. */
static void send_to_rest(struct session *ss, struct look *l)
{
    unsigned long long n = asked(ss);
    int64_t now = clock_mono_ns();

    l->awake = true;
    if (n != ss->seen.requests || atomic_load(&ss->idle) < atomic_load(&ss->workers) ||
        ss->seen.since_ns == 0) {
        ss->seen.requests = n;
        ss->seen.since_ns = now;
    } else if (now - ss->seen.since_ns >= REST_AFTER_NS && !BROKEN(VARVE_BREAK_restless)) {
        atomic_store(&ss->rest, true);
        session_wake_idle(ss);
    }
}

static void look_at(struct session *ss, void *arg)
{
    struct pollfd p = {.fd = ss->fd, .events = POLLIN};
    struct look *l = arg;

    if (atomic_load(&ss->ended) || !atomic_load(&ss->ready))
        return;
    if (atomic_load(&ss->workers) > 0) {
        send_to_rest(ss, l);
    } else if (poll(&p, 1, 0) == 0) {
        add(l, ss->fd);
    } else if (atomic_exchange(&ss->starved, false)) {
        l->refused = true;
    } else {
        atomic_store(&ss->rest, false);
        ss->seen.since_ns = 0;
        l->awake = true;
        if (session_worker(ss) < 0)
            l->refused = true;
    }
}

static void *rest_main(void *arg)
{
    const struct timespec again = {.tv_nsec = AGAIN_NS};
    int fd = (int)(intptr_t)arg;
    struct look l = {0};
    uint64_t n;

    prctl(PR_SET_NAME, "varve-rest");
    for (;;) {
        l.n = 0;
        l.awake = l.refused = false;
        add(&l, fd);
        sessions_each(look_at, &l);
        if (l.refused)
            nanosleep(&again, NULL);
        else if (poll(l.at, l.n, l.awake ? LOOK_MS : -1) > 0 && (l.at[0].revents & POLLIN) &&
                 read(fd, &n, sizeof(n)) < 0)
            log_debug("fs", "rest", "errno=%d", errno);
    }
    return NULL;
}

static int start(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_t t;
    int e = fd < 0 ? errno : pthread_create(&t, NULL, rest_main, (void *)(intptr_t)fd);

    if (e == 0) {
        pthread_detach(t);
        return fd;
    }
    log_warn("fs", "rest", "errno=%d: workers stay while nothing is asked", e);
    if (fd >= 0)
        close(fd);
    return -1;
}

void rest_begin(void)
{
    pthread_mutex_lock(&begin_lock);
    if (atomic_load(&wake) < 0)
        atomic_store(&wake, start());
    pthread_mutex_unlock(&begin_lock);
}

void rest_poke(void)
{
    const uint64_t one = 1;
    int fd = atomic_load(&wake);

    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        log_debug("fs", "rest", "errno=%d", errno);
}
