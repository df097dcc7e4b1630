/* The keeper under a service manager (`varve serve`): it says how things are, and the manager keeps every connection's descriptor
 * (conn-ID), a file that says what they are (state-N), and the socket of the store (listen). When keeper and daemon die together, the
 * manager starts another keeper and hands them over: the mounts have been waiting meanwhile.
 *
 * FDPOLL=0 goes with every descriptor: /dev/fuse says POLLERR until it is mounted, and the manager would let it go. So what has ended
 * is taken out by name, at the latest by the next keeper. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/keeper_i.h"

#define NAME_MAX_LEN 64
#define CONN_NAME "conn-%016" PRIx64
#define STATE_NAME "state-%" PRIu64
#define LISTEN_NAME "listen"
#define GENERATION_MASK (UINT64_MAX >> 8)
#define FUSE_MAJOR 10
#define FUSE_MINOR 229
#define STARTING_NS 60000000000ll /* a daemon that begins and has not moved for so long is none */
#define EXTEND_EVERY_NS 10000000000ll
#define EXTEND_LINE "EXTEND_TIMEOUT_USEC=90000000" /* from now: as long as the unit gives at first */

static bool is_told(const struct keeper *k)
{
    return k->manager.addr_len > 0;
}

static void report(int r, const char *what)
{
    if (r < 0)
        log_err(r, "keeper", "the service manager: %s", what);
}

/* --- what the manager keeps ------------------------------------------------------------------------------------------------ */

static int put(struct keeper *k, const char *name, int fd)
{
    int r = sdnotify_send(&k->manager, fd, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);

    report(r, "to keep a descriptor");
    return r;
}

static void take_out(struct keeper *k, const char *name)
{
    if (!BROKEN(VARVE_BREAK_store_kept))
        report(sdnotify_send(&k->manager, -1, "FDSTOREREMOVE=1\nFDNAME=%s", name), "to let one go");
}

static unsigned count_holds(const struct keeper *k)
{
    unsigned n = 0;

    for (const struct hold *h = k->holds; h; h = h->next)
        n++;
    return n;
}

static void say_state(struct keeper *k)
{
    unsigned n = count_holds(k);

    if (k->ready && !k->ending)
        sdnotify_send(&k->manager, -1, "STATUS=%u connection%s, daemon %d", n, n == 1 ? "" : "s",
                      (int)k->daemon);
}

/* The new file before the old one goes: at every moment there is one. Where it cannot be put there the old one stays, and this is tried
 * again. */
static int put_state(struct keeper *k)
{
    char name[NAME_MAX_LEN];
    int fd = -1;
    int r = keeper_save(k, k->generation + 1, &fd);

    k->unsaved = r < 0;
    if (r < 0) {
        report(r, "what is held could not be written down");
        return r;
    }
    snprintf(name, sizeof(name), STATE_NAME, k->generation + 1);
    r = put(k, name, fd);
    close(fd);
    k->unsaved = r < 0;
    if (r < 0 && !BROKEN(VARVE_BREAK_state_untold))
        return r;
    if (k->generation > 0) {
        snprintf(name, sizeof(name), STATE_NAME, k->generation);
        take_out(k, name);
    }
    k->generation++;
    return 0;
}

void keeper_service_save(struct keeper *k)
{
    if (!is_told(k))
        return;
    if (put_state(k) < 0)
        return;
    say_state(k);
    report(sdnotify_barrier(&k->manager), "it gives no sign");
}

void keeper_service_hold(struct keeper *k, uint64_t conn)
{
    const struct hold *h = keeper_hold(k, conn);
    char name[NAME_MAX_LEN];
    bool fits;

    if (!is_told(k) || !h)
        return;
    /* beside them `listen` and files of state, three after a death: without room for these all would be lost, not this one alone */
    fits = k->manager.descriptors == 0 || count_holds(k) + 4 <= k->manager.descriptors ||
           BROKEN(VARVE_BREAK_store_full);
    if (!fits)
        log_warn("keeper", "descriptors",
                 "conn=%" PRIx64 " is not kept: the service manager keeps %u, raise FileDescriptorStoreMax",
                 conn, k->manager.descriptors);
    snprintf(name, sizeof(name), CONN_NAME, conn);
    if (fits && !BROKEN(VARVE_BREAK_store_lost))
        put(k, name, h->fd);
    keeper_service_save(k);
}

void keeper_service_drop(struct keeper *k, uint64_t conn)
{
    char name[NAME_MAX_LEN];

    if (!is_told(k))
        return;
    snprintf(name, sizeof(name), CONN_NAME, conn);
    take_out(k, name);
    keeper_service_save(k);
}

void keeper_service_listen(struct keeper *k)
{
    if (!is_told(k) || k->listen < 0)
        return;
    take_out(k, LISTEN_NAME);
    put(k, LISTEN_NAME, k->listen);
}

/* --- taking it back --------------------------------------------------------------------------------------------------------- */

struct kept {
    struct sdnotify_fd *fds;
    size_t n;
};

/* A connection of /dev/fuse that was mounted and is not over: it would say POLLERR. */
static bool is_connection(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(FUSE_MAJOR, FUSE_MINOR))
        return false;
    return poll(&p, 1, 0) >= 0 && (BROKEN(VARVE_BREAK_stale_taken) || !(p.revents & (POLLERR | POLLNVAL)));
}

static bool is_listener(int fd)
{
    int domain = 0, listening = 0;
    socklen_t len = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX)
        return false;
    len = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening;
}

/* The first of that name that is what it says; taken from the list. -1: there is none. */
static int take_named(const struct kept *kept, const char *name, bool (*is)(int fd))
{
    for (size_t i = 0; i < kept->n; i++)
        if (kept->fds[i].fd >= 0 && strcmp(kept->fds[i].name, name) == 0 && is(kept->fds[i].fd)) {
            int fd = kept->fds[i].fd;

            kept->fds[i].fd = -1;
            return fd;
        }
    return -1;
}

/* The newest of the files that are sound, if any; *generation: not below any number of a name. -E_STORE_NEWER, -E_NOMEM. */
static int find_state(const struct kept *kept, struct buf *ret, uint64_t *generation)
{
    uint64_t newest = 0;

    for (size_t i = 0; i < kept->n; i++) {
        struct buf b = {0};
        uint64_t g = 0;
        int r;

        if (strncmp(kept->fds[i].name, "state-", 6) != 0)
            continue;
        *generation = MAX_OF(*generation, strtoull(kept->fds[i].name + 6, NULL, 10) & GENERATION_MASK);
        r = keeper_load(kept->fds[i].fd, &b, &g);
        if (r == 0 && g > newest) {
            struct buf older = *ret;

            *ret = b;
            newest = g;
            b = older;
        }
        buf_free(&b);
        if (r == -E_STORE_NEWER || r == -E_NOMEM)
            return r;
        if (r < 0)
            log_warn("keeper", "refused", "name=%.60s %s", kept->fds[i].name, err_name(r));
    }
    *generation = MAX_OF(*generation, newest);
    return 0;
}

static void take_message(struct keeper *k, const struct kept *kept, const struct keeper_msg *m)
{
    char name[NAME_MAX_LEN];
    uint32_t ignored;
    int fd = -1;

    if (m->kind == KEEPER_LISTEN || m->kind == KEEPER_HELLO)
        return; /* the one is there by its name, the other was for a daemon */
    if (m->kind == KEEPER_RESTORE) {
        snprintf(name, sizeof(name), CONN_NAME, m->conn);
        fd = keeper_hold(k, m->conn) ? -1 : take_named(kept, name, is_connection);
        if (fd < 0) {
            log_note("keeper", "ended", "conn=%" PRIx64 " is mounted no more", m->conn);
            return;
        }
    }
    report(keeper_take_one(k, m, fd, &ignored), "what it kept");
}

static int take_state(struct keeper *k, const struct kept *kept)
{
    cleanup(buf_free) struct buf b = {0};
    struct keeper_msg *m;
    size_t at = 0;
    int r = find_state(kept, &b, &k->generation);

    if (r < 0)
        return r;
    m = malloc(sizeof(*m));
    if (!m)
        return -E_NOMEM;
    while ((r = keeper_load_next(&b, &at, m)) > 0)
        take_message(k, kept, m);
    free(m);
    report(r, "what it kept");
    return 0;
}

/* What nobody took is closed; there, too, where the name is one of ours and nobody goes by it. */
static void refuse_rest(struct keeper *k, const struct kept *kept)
{
    for (size_t i = 0; i < kept->n; i++) {
        const char *name = kept->fds[i].name;
        bool taken = kept->fds[i].fd < 0;

        for (size_t j = 0; j < kept->n && !taken; j++)
            taken = kept->fds[j].fd < 0 && strcmp(kept->fds[j].name, name) == 0;
        if (kept->fds[i].fd >= 0 && strncmp(name, "state-", 6) != 0)
            log_note("keeper", "refused", "name=%.60s", name);
        if (!taken && strlen(name) < NAME_MAX_LEN &&
            (strncmp(name, "conn-", 5) == 0 || strncmp(name, "state-", 6) == 0 ||
             strcmp(name, LISTEN_NAME) == 0))
            take_out(k, name);
    }
}

int keeper_service_begin(struct keeper *k)
{
    struct kept kept = {0};
    int r;

    sdnotify_init(&k->manager);
    k->well_ns = clock_mono_ns();
    r = sdnotify_take(&kept.fds, &kept.n);
    if (r == 0 && kept.n > 0 && is_told(k)) {
        r = take_state(k, &kept);
        if (r == 0) {
            k->listen = take_named(&kept, LISTEN_NAME, is_listener);
            if (put_state(k) == 0) /* before those of before go */
                refuse_rest(k, &kept);
            log_note("keeper", "restored", "store=%s connections=%u of %zu descriptors", k->store,
                     count_holds(k), kept.n);
        }
    }
    sdnotify_fds_free(kept.fds, kept.n);
    if (r == 0)
        log_note("keeper", "service", "store=%s manager=%s watchdog_ms=%" PRId64 " descriptors=%u", k->store,
                 is_told(k) ? "yes" : "no", k->manager.watchdog_ns / 1000000, k->manager.descriptors);
    return r;
}

/* --- how things are ----------------------------------------------------------------------------------------------------------- */

/* Both live: this keeper comes by here, and the daemon says that its requests, or the opening of its store, move. */
static bool is_well(const struct keeper *k, int64_t now)
{
    if (BROKEN(VARVE_BREAK_ping_always))
        return true;
    if (k->hung)
        return false;
    if (k->ready)
        return now - k->alive_ns <= keeper_hung_ms() * 1000000ll;
    return now - k->well_ns <= STARTING_NS;
}

/* Milliseconds until something is to be said again that was last said at *said_ns; not said at all while they do not move. */
static unsigned say_in_time(struct keeper *k, int64_t *said_ns, int64_t period_ns, const char *line)
{
    int64_t now = clock_mono_ns();

    if (now - *said_ns >= period_ns && is_well(k, now)) {
        report(sdnotify_send(&k->manager, -1, "%s", line), line);
        *said_ns = now;
    }
    now -= *said_ns;
    return now >= period_ns ? (unsigned)MAX_OF(period_ns / 4000000, 1)
                            : (unsigned)((period_ns - now) / 1000000 + 1);
}

unsigned keeper_service_tick(struct keeper *k)
{
    unsigned ms = 0, start_ms;

    if (k->unsaved)
        keeper_service_save(k);
    if (!is_told(k))
        return 0;
    if (k->manager.watchdog_ns > 0)
        ms = say_in_time(k, &k->pinged_ns, k->manager.watchdog_ns / 2, "WATCHDOG=1");
    if (k->ready || k->ending || BROKEN(VARVE_BREAK_start_unextended))
        return ms;
    start_ms = say_in_time(k, &k->extended_ns, EXTEND_EVERY_NS, EXTEND_LINE);
    return ms > 0 ? MIN_OF(ms, start_ms) : start_ms;
}

void keeper_service_ready(struct keeper *k)
{
    if (!is_told(k))
        return;
    sdnotify_send(&k->manager, -1, "READY=1");
    say_state(k);
    keeper_service_tick(k);
}

void keeper_service_changing(struct keeper *k)
{
    sdnotify_send(&k->manager, -1,
                  "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=going on as another program",
                  clock_mono_ns() / 1000);
}

void keeper_service_say(struct keeper *k, const char *text)
{
    sdnotify_send(&k->manager, -1, "STATUS=%.*s", (int)strcspn(text, "\n"), text);
}

/* With a manager that has the descriptors the mounts stay, for the keeper that comes next: so `systemctl restart` is a pause. Otherwise, and
 * when that is wanted, they are undone, and the store is closed. */
void keeper_service_stop(struct keeper *k, bool unmount)
{
    struct keeper_msg m = {.kind = KEEPER_LEAVE};

    if (!k->ending)
        sdnotify_send(&k->manager, -1, "STOPPING=1");
    k->ending = true;
    if (unmount || !is_told(k))
        keeper_places_detach(k);
    if (unmount || !is_told(k) || !k->holds)
        m.kind = KEEPER_END;
    keeper_service_say(k,
                       m.kind == KEEPER_END ? "closing the store" : "leaving the mounts to the next keeper");
    keeper_send(k->sock, &m, -1);
}

/* The socket has no name any more once the store is closed. */
void keeper_service_ended(struct keeper *k)
{
    char name[NAME_MAX_LEN];

    if (!is_told(k))
        return;
    if (k->bye || !k->holds) {
        take_out(k, LISTEN_NAME);
        snprintf(name, sizeof(name), STATE_NAME, k->generation);
        take_out(k, name);
    }
    report(sdnotify_barrier(&k->manager), "it gives no sign");
}

void keeper_service_print(const struct keeper *k, struct keeper_msg *hello)
{
    char text[32];

    if (!k->service)
        return;
    hello->conn = KEEPER_STAYS | (is_told(k) ? KEEPER_KEPT : 0);
    snprintf(text, sizeof(text), "%" PRId64, k->manager.watchdog_ns / 1000000);
    keeper_put(hello, text);
    snprintf(text, sizeof(text), "%u", k->manager.descriptors);
    keeper_put(hello, text);
    snprintf(text, sizeof(text), "%" PRIu64, k->generation);
    keeper_put(hello, text);
}
