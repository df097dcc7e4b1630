/* Requests over STORE/sock: verbs, mounting, waiting for the end of a mount. One thread a connection. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "fs/cmd.h"
#include "fs/daemon.h"
#include "fs/recall.h"
#include "base/sock.h"
#include "snap/snapshot.h"
#include "snap/store/answer.h"

#define MOUNTER_WAIT_S 10
#define SETTLE_MS 500

struct client {
    struct daemon *d;
    int sock;
    struct sock_peer peer;
    bool kept; /* the socket is one of d->waiters now */
};

static int finish(struct client *c, int r, const char *why)
{
    cleanup(buf_free) struct buf b = {0};
    const char *text = why && *why ? why : err_text(r);

    if (r == 0)
        return sock_done(c->sock, CMD_OK, 0);
    if (buf_printf(&b, "varve: %s\n", text) == 0)
        sock_send(c->sock, SOCK_ERR, b.data, b.len, -1);
    return sock_done(c->sock, CMD_FAILED, r);
}

/* --- mount ------------------------------------------------------------------------------------------------------------------- */

/* mount VOLUME SNAP OPTIONS DIR create|- : as they stand in the request */
struct wanted {
    const char *volume, *snap, *opts, *dir;
    bool create;
    struct mount_opts o;
    struct vol *v;
    struct buf source;
    char why[256];
};

static int find_volume(struct client *c, struct wanted *w)
{
    struct volume_opts vo = {.uid = c->peer.uid, .gid = c->peer.gid};
    int r = volume_find(c->d->env.store, w->volume, &w->v);

    if (r == -E_NOENT && w->create && !*w->snap)
        r = volume_create(c->d->env.store, w->volume, &vo, &w->v);
    if (r == -E_NOENT)
        snprintf(w->why, sizeof(w->why),
                 "%s has no volume '%.100s'; `varve list` shows them, --create makes it", c->d->store,
                 w->volume);
    return r;
}

/* FUSE_ALLOW_IDMAP: Linux 6.12. The flag is put into the kernel's first answer by fs/init.c, whatever the library. */
static int check_idmap(struct wanted *w)
{
    struct utsname u;
    int major = 0, minor = 0;

    if (!w->o.allow_idmap)
        return 0;
    if (uname(&u) == 0 && sscanf(u.release, "%d.%d", &major, &minor) == 2 &&
        (major > 6 || (major == 6 && minor >= 12)))
        return 0;
    snprintf(w->why, sizeof(w->why), "allow_idmap needs Linux 6.12 or newer, this is %.32s", u.release);
    return -E_NOSYS;
}

/* Does the caller see other mounts than we do? Then it must mount by itself. */
static bool is_elsewhere(const struct sock_peer *peer)
{
    struct stat mine, theirs;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", peer->pid);
    if (stat("/proc/self/ns/mnt", &mine) < 0 || stat(path, &theirs) < 0)
        return false;
    return mine.st_dev != theirs.st_dev || mine.st_ino != theirs.st_ino;
}

static int fill_ask(struct wanted *w, struct keeper_msg *m)
{
    cleanup(buf_free) struct buf opts = {0};
    int r = mount_opts_print(&opts, &w->o);

    if (r < 0 || !buf_cstr(&opts))
        return -E_NOMEM;
    if ((r = keeper_put(m, w->snap)) < 0 || (r = keeper_put(m, (const char *)opts.data)) < 0 ||
        (r = keeper_put(m, buf_cstr(&w->source))) < 0)
        return r;
    return keeper_put(m, w->dir);
}

/* Gives the descriptor to the caller, who mounts and says how that went. Others who want to mount wait meanwhile, and so does a daemon
 * that is to leave: not for ever. */
static int let_mount(struct client *c, struct wanted *w, int fd)
{
    cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;
    struct timeval wait = {.tv_sec = BROKEN(VARVE_BREAK_mounter_awaited) ? 0 : MOUNTER_WAIT_S};
    int r;

    setsockopt(c->sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    r = sock_send(c->sock, SOCK_FD, w->source.data, w->source.len, fd);
    if (r == 0)
        r = sock_recv(c->sock, &m);
    wait.tv_sec = 0;
    setsockopt(c->sock, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    if (r == -E_AGAIN)
        snprintf(w->why, sizeof(w->why), "it was not mounted within %d s", MOUNTER_WAIT_S);
    if (r < 0)
        return r == -E_AGAIN ? -E_TIMEOUT : r;
    return m.kind == SOCK_REQUEST && m.data.len == 8 && memcmp(m.data.data, "mounted", 8) == 0 ? 0
                                                                                               : -E_CANCELED;
}

static int mount_again(struct client *c, struct wanted *w, struct session *ss)
{
    const char *differs = mount_opts_differ(&w->o, session_opts(ss));
    struct keeper_msg *m;
    int fd = -1;
    int r;

    if (differs) {
        snprintf(
            w->why, sizeof(w->why),
            "%s is mounted already, and the two differ in the option %s; unmount it, or mount with the same",
            (const char *)w->source.data, differs);
        return -E_BUSY;
    }
    if (is_elsewhere(&c->peer))
        return let_mount(c, w, session_fd(ss));
    m = calloc(1, sizeof(*m));
    if (!m)
        return -E_NOMEM;
    m->kind = KEEPER_ATTACH;
    m->conn = session_conn(ss);
    r = fill_ask(w, m);
    if (r == 0)
        r = daemon_ask(c->d, m, -1, w->why, &fd);
    free(m);
    if (r == -E_PERM && !*w->why)
        snprintf(w->why, sizeof(w->why), "only root can mount a volume at a second place");
    return r;
}

static int mount_new(struct client *c, struct wanted *w)
{
    struct keeper_msg *m = calloc(1, sizeof(*m));
    bool elsewhere = is_elsewhere(&c->peer), held;
    uint64_t conn = 0;
    int fd = -1;
    int r;

    if (!m)
        return -E_NOMEM;
    while (conn == 0)
        hash_random(&conn, sizeof(conn));
    m->kind = elsewhere ? KEEPER_OPEN : KEEPER_MOUNT;
    m->conn = conn;
    m->n = w->v->rec.id;
    r = fill_ask(w, m);
    if (r == 0)
        r = daemon_ask(c->d, m, -1, w->why, &fd);
    held = r == 0 || r == -E_CLOSED;
    if (r == 0 && fd < 0)
        r = -E_FILES; /* it found no place in this process */
    if (r == 0 && elsewhere)
        r = let_mount(c, w, fd);
    if (r == 0)
        r = daemon_add(c->d, w->v, w->snap, &w->o, conn, fd, NULL);
    else if (fd >= 0)
        close(fd);
    if (r < 0 && held) { /* a caller elsewhere undoes its mount itself */
        *m = (struct keeper_msg){.kind = KEEPER_GONE, .conn = conn};
        if (!elsewhere)
            keeper_put(m, w->dir);
        keeper_send(KEEPER_FD, m, -1);
    }
    free(m);
    if (r == 0)
        log_note("daemon", "mounted", "source=%s dir=%s conn=%llx", (const char *)w->source.data, w->dir,
                 (unsigned long long)conn);
    return r;
}

/* A name of a snapshot may be a time: what is mounted is the one it means. */
static int resolve_snap(struct wanted *w, struct layer_rec *rec)
{
    int r = *w->snap ? snap_find(w->v, w->snap, rec) : 0;

    if (r == -E_NOENT)
        snprintf(w->why, sizeof(w->why), "volume '%.100s' has no snapshot '%.100s'", w->volume, w->snap);
    if (r == 0 && *w->snap) {
        w->snap = rec->name;
        w->o.ro = true;
        w->o.snapdir = SNAPDIR_DISABLED;
    }
    return r;
}

static int do_mount(struct client *c, struct wanted *w)
{
    struct layer_rec rec;
    struct session *ss;
    int r = mount_opts_parse(&w->o, w->opts, w->why);

    if (r < 0 || (r = check_idmap(w)) < 0 || (r = find_volume(c, w)) < 0 || (r = resolve_snap(w, &rec)) < 0)
        return r;
    r = mount_source(&w->source, c->d->store, w->v->rec.name, w->snap);
    if (r < 0 || !buf_cstr(&w->source))
        return -E_NOMEM;
    pthread_mutex_lock(&c->d->mount_lock);
    pthread_mutex_lock(&c->d->lock);
    while ((ss = daemon_find_locked(c->d, w->v, w->snap)) && session_ended(ss))
        pthread_cond_wait(&c->d->change, &c->d->lock); /* the mount before this one is being closed */
    pthread_mutex_unlock(&c->d->lock);
    r = ss ? mount_again(c, w, ss) : mount_new(c, w);
    pthread_mutex_unlock(&c->d->mount_lock);
    return r;
}

/* from: the volume is made out of a recovery point first, by the words of `create` that follow; from-again: unless it was already,
 * by a daemon that died since. */
static int make_from(struct client *c, char **words, size_t n, struct buf *err)
{
    cleanup(buf_free) struct buf out = {0};
    struct vol *v;
    int exit_code;

    if (strcmp(words[5], "from-again") == 0 && volume_find(c->d->env.store, words[1], &v) == 0 &&
        recall_from(c->d->env.store, v))
        return 0;
    return verb_serve(&c->d->env, n - 6, words + 6, c->peer.uid, c->peer.gid, &out, err, &exit_code);
}

static int serve_mount(struct client *c, char **words, size_t n)
{
    cleanup(buf_free) struct buf err = {0};
    struct wanted w = {0};
    int r = n == 6 || (n > 6 && strncmp(words[5], "from", 4) == 0) ? 0 : -E_PROTO;

    if (r == 0 && n > 6)
        r = make_from(c, words, n, &err);
    if (r < 0)
        return finish(c, r, err.len ? buf_cstr(&err) : NULL);
    w.volume = words[1];
    w.snap = words[2];
    w.opts = words[3];
    w.dir = words[4];
    w.create = strcmp(words[5], "create") == 0;
    r = do_mount(c, &w);
    buf_free(&w.source);
    return finish(c, r, w.why);
}

/* --- gone VOLUME SNAP: the caller is about to unmount; answers OUT, and when it has said "unmounted", waits until
 * that mount has ended and, if it was the last one, the store is closed ------------------------- */

#define UNSEEN_MS                                                                                            \
    1000 /* so long after umount(2) the kernel must have told us; otherwise it is mounted elsewhere too */

static int keep_waiter_locked(struct client *c)
{
    int *at = reallocarray(c->d->waiters, c->d->nwaiters + 1, sizeof(int));

    if (!at)
        return -E_NOMEM;
    c->d->waiters = at;
    c->d->waiters[c->d->nwaiters++] = c->sock;
    c->kept = true;
    return 0;
}

static int wait_gone_locked(struct daemon *d, const struct vol *v, const char *snap)
{
    struct session *ss = daemon_find_locked(d, v, snap);
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += UNSEEN_MS / 1000;
    while (ss) {
        if (session_ended(ss))
            pthread_cond_wait(&d->change, &d->lock); /* its orphans are being reclaimed */
        else if (pthread_cond_timedwait(&d->change, &d->lock, &until) == ETIMEDOUT && !session_ended(ss))
            return -E_BUSY;
        ss = daemon_find_locked(d, v, snap);
    }
    return 0;
}

static int serve_gone(struct client *c, char **words, size_t n)
{
    static const char elsewhere[] =
        "varve: note: it is in use still: another mount namespace has it, a container's perhaps\n";
    cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;
    struct daemon *d = c->d;
    struct vol *v;
    int r = n == 3 ? volume_find(d->env.store, words[1], &v) : -E_PROTO;

    if (r < 0)
        return finish(c, r, NULL);
    if ((r = sock_send(c->sock, SOCK_OUT, "", 0, -1)) < 0 || (r = sock_recv(c->sock, &m)) < 0)
        return r; /* it could not unmount */
    pthread_mutex_lock(&d->lock);
    r = BROKEN(VARVE_BREAK_umount_early) ? -E_BUSY : wait_gone_locked(d, v, words[2]);
    if (r == 0 && !d->served && !d->stays)
        keep_waiter_locked(c); /* the last word comes when the store is closed */
    pthread_mutex_unlock(&d->lock);
    if (c->kept)
        return 0;
    if (r == -E_BUSY && sock_send(c->sock, SOCK_ERR, elsewhere, sizeof(elsewhere) - 1, -1) == 0)
        r = 0;
    return finish(c, r, NULL);
}

/* --- others ------------------------------------------------------------------------------------------------------------------------ */

/* In as many frames as it takes: a list of differences has no bound. */
static int send_text(int sock, enum sock_kind kind, const struct buf *b)
{
    int r = 0;

    for (size_t at = 0; at < b->len && r == 0; at += SOCK_MAX / 16)
        r = sock_send(sock, kind, b->data + at, MIN_OF(b->len - at, SOCK_MAX / 16), -1);
    return r;
}

/* Commands before which the caller has synced what is mounted. */
static bool follows_sync(char **words, size_t n)
{
    return (n > 2 && strcmp(words[1], "snapshot") == 0 &&
            (strcmp(words[2], "create") == 0 || strcmp(words[2], "group") == 0)) ||
           (n > 1 && strcmp(words[1], "rollback") == 0);
}

static int serve_verb(struct client *c, char **words, size_t n)
{
    cleanup(buf_free) struct buf out = {0}, err = {0};
    struct answer_rec before;
    int exit_code = CMD_FAILED;
    uint64_t id = 0;
    int r;

    if (n > 1 && words[1][0] == '#') {
        id = strtoull(words[1] + 1, NULL, 16);
        words++;
        n--;
    }
    if (follows_sync(words, n))
        (void)session_settle(NULL, SETTLE_MS);
    if (id)
        answer_begin(c->d->env.store, ANSWER_SOCKET, id, true, &before);
    answer_steps_begin();
    answer_step(0);
    r = verb_serve(&c->d->env, n - 1, words + 1, c->peer.uid, c->peer.gid, &out, &err, &exit_code);
    if (send_text(c->sock, SOCK_OUT, &out) < 0 || send_text(c->sock, SOCK_ERR, &err) < 0)
        r = -E_CLOSED;
    else
        r = sock_done(c->sock, exit_code, r);
    answer_end();
    return r;
}

static int serve_requests(struct client *c, char **words, size_t n)
{
    cleanup(buf_free) struct buf b = {0};
    struct session *ss;
    struct vol *v;
    int r = n == 2 ? volume_find(c->d->env.store, words[1], &v) : -E_PROTO;

    if (r < 0)
        return finish(c, r, NULL);
    pthread_mutex_lock(&c->d->lock);
    ss = daemon_find_locked(c->d, v, NULL);
    r = ss ? session_print_requests(ss, &b) : -E_NOTMOUNTED;
    pthread_mutex_unlock(&c->d->lock);
    if (r == 0)
        r = sock_send(c->sock, SOCK_OUT, b.data, b.len, -1);
    return finish(c, r, NULL);
}

/* upgrade PROGRAM: the keeper becomes that program when this daemon has left. */
static int serve_upgrade(struct client *c, char **words, size_t n)
{
    struct keeper_msg *m = calloc(1, sizeof(*m));
    char why[256] = "";
    int fd = -1;
    int r = m ? 0 : -E_NOMEM;

    if (r == 0 && n != 2)
        r = -E_PROTO;
    if (r == 0 && session_any_ring()) {
        snprintf(
            why, sizeof(why),
            "a volume is mounted with -o io_uring, which no other process can take over: unmount it first");
        r = -E_BUSY;
    }
    if (r == 0) {
        m->kind = KEEPER_UPGRADE;
        r = keeper_put(m, words[1]);
    }
    if (r == 0)
        r = daemon_ask(c->d, m, -1, why, &fd);
    free(m);
    if (fd >= 0)
        close(fd);
    if (r < 0)
        return finish(c, r, why);
    r = finish(c, 0, NULL);
    daemon_leave(c->d);
    return r;
}

/* who: which process, which program. */
static int serve_who(struct client *c, char **words, size_t n)
{
    cleanup(buf_free) struct buf b = {0};
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

    (void)words;
    (void)n;
    path[len > 0 ? len : 0] = 0;
    if (buf_printf(&b, "%d %s %s\n", (int)getpid(), VARVE_VERSION, path) < 0)
        return finish(c, -E_NOMEM, NULL);
    sock_send(c->sock, SOCK_OUT, b.data, b.len, -1);
    return finish(c, 0, NULL);
}

/* kept: what a service manager does for this store, as NAME=NUMBER words. */
static int serve_kept(struct client *c, char **words, size_t n)
{
    const struct daemon_service *s = &c->d->service;
    cleanup(buf_free) struct buf b = {0};

    (void)words;
    (void)n;
    if (buf_printf(&b, "served=%d kept=%d watchdog_ms=%u descriptors=%u\n", s->served, s->kept,
                   s->watchdog_ms, s->descriptors) < 0)
        return finish(c, -E_NOMEM, NULL);
    sock_send(c->sock, SOCK_OUT, b.data, b.len, -1);
    return finish(c, 0, NULL);
}

static int serve_changes(struct client *c, char **words, size_t n)
{
    int r = daemon_changes(c->d, c->sock, words, n);

    if (r == -E_CLOSED)
        return r;
    return finish(c, r,
                  r == -E_RANGE ? "a large file has too high an inode number for the line of offsets" : NULL);
}

static int serve_ping(struct client *c, char **words, size_t n)
{
    (void)words;
    (void)n;
    return finish(c, 0, NULL);
}

static const struct {
    const char *word;
    int (*serve)(struct client *c, char **words, size_t n);
} services[] = {{"verb", serve_verb},         {"mount", serve_mount},     {"gone", serve_gone},
                {"requests", serve_requests}, {"upgrade", serve_upgrade}, {"who", serve_who},
                {"kept", serve_kept},         {"changes", serve_changes}, {"ping", serve_ping}};

static int serve_one(struct client *c, const struct sock_msg *m)
{
    char *words[SOCK_WORDS_MAX];
    size_t n;
    int r = m->kind == SOCK_REQUEST ? sock_split(&m->data, words, &n) : -E_PROTO;

    if (r < 0)
        return r;
    if (c->peer.uid != 0 && c->peer.uid != geteuid())
        return finish(c, -E_PERM, "only root and the user who runs the daemon may ask it");
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (strcmp(services[i].word, words[0]) == 0)
            return services[i].serve(c, words, n);
    return finish(c, -E_PROTO, "the daemon does not know this request: is it of another version?");
}

static bool enter(struct daemon *d)
{
    bool open;

    pthread_mutex_lock(&d->lock);
    open = !d->closing && d->busy < d->clients_max;
    if (open)
        d->busy++;
    pthread_mutex_unlock(&d->lock);
    return open;
}

static void leave(struct daemon *d)
{
    pthread_mutex_lock(&d->lock);
    d->busy--;
    d->was_asked = true;
    pthread_cond_broadcast(&d->change);
    pthread_mutex_unlock(&d->lock);
}

/* One more, where that leaves descriptors for the store itself; or one less. */
static bool client_count(struct daemon *d, bool comes)
{
    bool fits;

    pthread_mutex_lock(&d->lock);
    fits = !comes || d->clients < d->clients_max;
    if (fits)
        d->clients += comes ? 1 : -1u;
    pthread_mutex_unlock(&d->lock);
    return fits;
}

/* Requests one after the other; a silent client does not keep the daemon from ending. */
static void *client_main(void *arg)
{
    struct client *c = arg;
    int r = 0;

    prctl(PR_SET_NAME, "varve-client");
    while (r == 0 && !c->kept) {
        cleanup(sock_msg_free) struct sock_msg m = SOCK_MSG_NONE;

        r = sock_recv(c->sock, &m);
        if (r < 0 || !enter(c->d))
            break;
        unsigned held = vols_hold(c->d->env.store);
        r = serve_one(c, &m);
        vols_let_go(c->d->env.store, held);
        leave(c->d);
    }
    if (!c->kept)
        close(c->sock);
    client_count(c->d, false);
    free(c);
    return NULL;
}

static void start_client(struct daemon *d, int sock)
{
    struct client *c = calloc(1, sizeof(*c));
    pthread_attr_t attr;
    pthread_t t;
    int e = ENOMEM;

    if (!client_count(d, true)) {
        close(sock);
        free(c);
        return;
    }
    if (c) {
        *c = (struct client){.d = d, .sock = sock};
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        e = sock_peer(sock, &c->peer) < 0 ? EPERM : pthread_create(&t, &attr, client_main, c);
        pthread_attr_destroy(&attr);
    }
    if (e == 0)
        return;
    log_warn("daemon", "client", "errno=%d", e);
    client_count(d, false);
    close(sock);
    free(c);
}

void *daemon_serve_main(void *arg)
{
    struct timespec wait = {.tv_nsec = 50000000};
    struct daemon *d = arg;

    prctl(PR_SET_NAME, "varve-accept");
    for (;;) {
        struct pollfd p[2] = {{.fd = d->listen, .events = POLLIN}, {.fd = d->wake, .events = POLLIN}};
        bool end;
        int sock;

        poll(p, 2, -1);
        pthread_mutex_lock(&d->lock);
        end = d->closing || d->leaving; /* who comes now waits for the next daemon */
        pthread_mutex_unlock(&d->lock);
        if (end && !d->closing)
            return NULL;
        sock = accept4(d->listen, NULL, NULL, SOCK_CLOEXEC);
        if (end && sock >= 0)
            close(sock);
        if (end)
            return NULL;
        if (sock >= 0)
            start_client(d, sock);
        else if (errno != EINTR && errno != ECONNABORTED)
            nanosleep(&wait, NULL); /* out of descriptors: others will be closed */
    }
}

void daemon_accept_over(struct daemon *d)
{
    bool accepts;

    pthread_mutex_lock(&d->lock);
    accepts = d->accepts;
    d->accepts = false;
    pthread_mutex_unlock(&d->lock);
    if (accepts)
        pthread_join(d->accepting, NULL);
}
