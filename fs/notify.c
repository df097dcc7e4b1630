/* The notifier of a connection: a thread of its own that speaks to the kernel unasked. Requests' threads only leave word. */
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mark.h"
#include "fs/op.h"
#include "fs/snapdir.h"
#include "snap/snapshot.h"
#include "snap/store/room.h"

#define RING                                                                                                 \
    8192 /* forgotten inodes kept in mind; when there are more, the table of orphans is read instead */
#define DROP_BATCH ((size_t)32)  /* asked for and freed together */
#define SCAN_WAIT_NS 500000000ll /* after the last word, so that a burst is over */
#define BURST_NS 20000000        /* orphans freed so shortly before: more will come */
#define GATHER_NS 50000000       /* in a burst they are freed so many nanoseconds apart, many at a time */
#define NOTIFY_EPOCH_CODE 8

struct notifier {
    struct session *ss;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t word, done;
    pthread_rwlock_t making; /* shared: an inode without a name is made and not noted in `unnamed` yet */
    uint64_t ring[RING];
    size_t head, count;
    int64_t freed_ns; /* when the ring was last worked off */
    bool maybe;       /* some name went since the table of orphans was last seen empty */
    bool scan;        /* read the table */
    uint64_t went;    /* names that went */
    void *unnamed;    /* tree of inode numbers made without a name and not forgotten yet: see notify_made() */
    bool end, stop;
    uint64_t rollbacks_asked, rollbacks_done;
};

/* --- words, left by others ------------------------------------------------------------------------------------------------ */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void unnamed_remove_locked(struct notifier *n, uint64_t ino)
{
    uint64_t *const *at = tfind(&ino, &n->unnamed, by_number);
    uint64_t *key = at ? *at : NULL;

    if (key)
        tdelete(key, &n->unnamed, by_number);
    free(key);
}

void notify_making(struct session *ss)
{
    pthread_rwlock_rdlock(&ss->notifier->making);
}

/* Between our answer to O_TMPFILE and the moment in which the kernel has made an inode of it, nobody seems to hold it: it is
 * an orphan only after its FORGET. */
int notify_made(struct session *ss, uint64_t ino)
{
    struct notifier *n = ss->notifier;
    uint64_t *key = ino ? malloc(sizeof(*key)) : NULL;
    bool ok = !ino;

    if (key) {
        *key = ino;
        pthread_mutex_lock(&n->lock);
        ok = tsearch(key, &n->unnamed, by_number) != NULL;
        pthread_mutex_unlock(&n->lock);
        if (!ok)
            free(key);
    }
    pthread_rwlock_unlock(&n->making);
    return ok ? 0 : -E_NOMEM;
}

static bool is_unnamed(struct notifier *n, uint64_t ino)
{
    bool found;

    pthread_mutex_lock(&n->lock);
    found = n->unnamed && tfind(&ino, &n->unnamed, by_number);
    pthread_mutex_unlock(&n->lock);
    return found;
}

void notify_forget(struct session *ss, uint64_t ino)
{
    struct notifier *n = ss->notifier;

    pthread_mutex_lock(&n->lock);
    if (n->unnamed)
        unnamed_remove_locked(n, ino);
    if (n->maybe) {
        if (n->count < RING)
            n->ring[(n->head + n->count++) % RING] = ino;
        else
            n->scan = true;
        if (n->count == 1 || n->count == RING / 2)
            pthread_cond_signal(&n->word);
    }
    pthread_mutex_unlock(&n->lock);
}

void notify_unlinked(struct session *ss)
{
    struct notifier *n = ss->notifier;

    pthread_mutex_lock(&n->lock);
    n->went++;
    if (!n->maybe) {
        n->maybe = n->scan = true;
        pthread_cond_signal(&n->word);
    }
    pthread_mutex_unlock(&n->lock);
}

void notify_rolled_back(struct session *ss, int64_t until_mono_ns)
{
    struct notifier *n = ss->notifier;
    struct timespec until = {.tv_sec = until_mono_ns / 1000000000, .tv_nsec = until_mono_ns % 1000000000};
    uint64_t mine;

    pthread_mutex_lock(&n->lock);
    mine = ++n->rollbacks_asked;
    pthread_cond_signal(&n->word);
    while (n->rollbacks_done < mine && !n->stop)
        if (pthread_cond_timedwait(&n->done, &n->lock, &until) != 0)
            break;
    pthread_mutex_unlock(&n->lock);
}

void notify_end(struct session *ss)
{
    struct notifier *n = ss->notifier;

    pthread_mutex_lock(&n->lock);
    n->end = true;
    pthread_cond_signal(&n->word);
    pthread_mutex_unlock(&n->lock);
}

static void forget_one(struct session *ss, fuse_ino_t ino, uint64_t count)
{
    vfs_node n = {ino};

    atomic_fetch_add_explicit(&ss->forgotten, 1, memory_order_relaxed);
    if (op_is_own(ino))
        snapdir_forget(ss, ino, count);
    else if (!ss->snap && vfs_node_view(n) == ss->vol->rec.live_view)
        notify_forget(ss, vfs_node_ino(n));
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    forget_one(op_session(req), ino, nlookup);
    fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget_one(op_session(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/* --- orphans (F9) ----------------------------------------------------------------------------------------------------------- */

/* ENOENT: it does not. Anything else says nothing of it, as that the question found no memory: then it is taken as held. */
static bool kernel_holds(struct session *ss, vfs_node n)
{
    return fuse_lowlevel_notify_inval_inode(ss->fuse, n.v, -1, 0) != -ENOENT &&
           !BROKEN(VARVE_BREAK_orphan_unasked);
}

static bool is_free(struct session *ss, uint64_t ino)
{
    vfs_node n = vfs_node_make(ss->vol->rec.live_view, ino);
    struct vfs_attr a;

    return vfs_getattr(ss->vol, n, &a) == 0 && a.nlink == 0 && !is_unnamed(ss->notifier, ino) &&
           !kernel_holds(ss, n);
}

/* Changes the order of inos. */
static void try_drop(struct session *ss, uint64_t *inos, size_t n)
{
    size_t gone = 0;
    int r;

    for (size_t i = 0; i < n; i++)
        if (is_free(ss, inos[i]))
            inos[gone++] = inos[i];
    r = gone ? vfs_orphans_drop(ss->vol, inos, gone) : 0;
    if (r < 0 && r != -E_NOENT && r != -E_STALE && r != -E_ROFS)
        log_err(r, "fs", "orphans=%zu first=%llu", gone, (unsigned long long)inos[0]);
}

struct ino_list {
    uint64_t *at;
    size_t n, cap;
};

static int collect(void *arg, uint64_t ino)
{
    struct ino_list *l = arg;

    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        uint64_t *at = reallocarray(l->at, cap, sizeof(*at));

        if (!at)
            return -E_NOMEM;
        l->at = at;
        l->cap = cap;
    }
    l->at[l->n++] = ino;
    return 0;
}

/* Asks for every orphan in the table; the number that there were. */
static size_t scan_orphans(struct session *ss)
{
    struct ino_list l = {0};
    int r = vfs_orphans_each(ss->vol, collect, &l);

    pthread_rwlock_wrlock(
        &ss->notifier->making); /* what is on the list and has just been made is noted after this */
    pthread_rwlock_unlock(&ss->notifier->making);
    for (size_t i = 0; i < l.n && !atomic_load(&ss->ended); i += DROP_BATCH)
        try_drop(ss, l.at + i, MIN_OF(l.n - i, DROP_BATCH));
    free(l.at);
    return r < 0 ? 1 : l.n;
}

/* --- rollback (F7) ---------------------------------------------------------------------------------------------------------- */

static int forget_name(void *arg, const struct vfs_dirent *e)
{
    struct session *ss = arg;

    if (e->cookie > 2)
        fuse_lowlevel_notify_inval_entry(ss->fuse, FUSE_ROOT_ID, e->name, e->name_len);
    return 0;
}

/* Kernels before 6.16: one by one the names of the root as it is, and as the snapshot kept it that the rollback made. */
static void forget_names(struct session *ss)
{
    struct layer_rec kept;
    struct vfs_attr a;
    vfs_node root;

    vfs_readdir(ss->vol, (vfs_node){FUSE_ROOT_ID}, 0, false, forget_name, ss);
    if (snap_find(ss->vol, "@latest", &kept) == 0 && view_enter(ss->vol, kept.name, INO_ROOT, &root, &a) == 0)
        vfs_readdir(ss->vol, root, 0, false, forget_name, ss);
}

/* All names that the kernel keeps count as old from now on. */
static bool raise_epoch(struct session *ss)
{
    struct fuse_out_header h = {.len = sizeof(h), .error = NOTIFY_EPOCH_CODE};

    return !getenv("VARVE_NO_EPOCH") && write(ss->fd, &h, sizeof(h)) == (ssize_t)sizeof(h);
}

static void forget_tree(struct session *ss)
{
    int64_t view = ss->vol->rec.live_view;

    if (BROKEN(VARVE_BREAK_rollback_untold))
        return;
    if (!raise_epoch(ss)) {
        MARK("fs: names of a rolled back tree are forgotten one by one");
        forget_names(ss);
    }
    fuse_lowlevel_notify_inval_inode(ss->fuse, FUSE_ROOT_ID, 0, 0);
    atomic_store(&ss->told, view);
    if (ss->hooks.on_told)
        ss->hooks.on_told(ss->hooks.arg, ss);
}

/* Only then: a name that counts as old is taken out of the kernel's tree when it is next looked up. Whoever stands in that directory
 * meanwhile has none that getcwd(2) could find, and what is mounted on it is unmounted. */
void notify_taken_over(struct session *ss)
{
    bool stale = !ss->snap && atomic_load(&ss->told) != (int64_t)ss->vol->rec.live_view;

    if (BROKEN(VARVE_BREAK_names_stale))
        raise_epoch(ss);
    if (!stale || BROKEN(VARVE_BREAK_told_kept))
        return;
    log_note("fs", "told", "conn=%llx the daemon before had not told the kernel of a rollback",
             (unsigned long long)ss->conn);
    raise_epoch(ss);
    notify_rolled_back(ss, 0); /* the rest when requests are served; waits for nothing */
}

/* --- the thread --------------------------------------------------------------------------------------------------------------- */

static bool has_word(const struct notifier *n)
{
    return n->count > 0 || n->end || n->stop || n->rollbacks_done != n->rollbacks_asked;
}

/* Waits for word; a wanted scan comes when it was quiet for a moment. */
static void await(struct notifier *n)
{
    int64_t until_ns = clock_mono_ns() + SCAN_WAIT_NS;
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    while (!has_word(n)) {
        if (!n->scan)
            pthread_cond_wait(&n->word, &n->lock);
        else if (pthread_cond_timedwait(&n->word, &n->lock, &until) == ETIMEDOUT)
            return;
    }
}

/* In a burst of names that go, whoever takes them away would meet the freeing of the one before at every step, for the store's lock. */
static void gather(struct notifier *n)
{
    int64_t now = clock_mono_ns(), until_ns = now + GATHER_NS;
    struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    if (now - n->freed_ns > BURST_NS || room_wanted(n->ss->vol))
        return;
    while (n->count < RING / 2 && !n->end && !n->stop && n->rollbacks_done == n->rollbacks_asked)
        if (pthread_cond_timedwait(&n->word, &n->lock, &until) == ETIMEDOUT)
            return;
}

static void do_rollback_locked(struct notifier *n)
{
    uint64_t asked = n->rollbacks_asked;

    pthread_mutex_unlock(&n->lock);
    forget_tree(n->ss);
    pthread_mutex_lock(&n->lock);
    n->rollbacks_done = asked;
    pthread_cond_broadcast(&n->done);
}

static void do_ring_locked(struct notifier *n)
{
    gather(n);
    while (n->count > 0 && !n->end && n->rollbacks_done == n->rollbacks_asked) {
        uint64_t inos[DROP_BATCH];
        size_t got = 0;

        for (; n->count > 0 && got < DROP_BATCH; n->count--) {
            inos[got++] = n->ring[n->head];
            n->head = (n->head + 1) % RING;
        }
        n->scan |= n->count == 0;
        pthread_mutex_unlock(&n->lock);
        try_drop(n->ss, inos, got);
        pthread_mutex_lock(&n->lock);
    }
    n->freed_ns = clock_mono_ns();
}

/* When the table is empty, FORGETs of the kernel need no look until another name goes. */
static void do_scan_locked(struct notifier *n)
{
    uint64_t went = n->went;
    size_t left;

    n->scan = false;
    pthread_mutex_unlock(&n->lock);
    left = scan_orphans(n->ss);
    pthread_mutex_lock(&n->lock);
    if (left == 0 && n->went == went && n->count == 0)
        n->maybe = false;
}

static void finish(struct session *ss)
{
    int r = ss->snap ? 0 : vfs_orphans_drop_all(ss->vol);

    if (r < 0 && r != -E_ROFS)
        log_err(r, "fs", "conn=%llx orphans after the last unmount", (unsigned long long)ss->conn);
    if (ss->hooks.on_end)
        ss->hooks.on_end(ss->hooks.arg, ss);
}

static void *notify_main(void *arg)
{
    struct notifier *n = arg;

    prctl(PR_SET_NAME, "varve-notify");
    pthread_mutex_lock(&n->lock);
    while (!n->end && !n->stop) {
        await(n);
        if (n->end || n->stop)
            break;
        if (n->rollbacks_done != n->rollbacks_asked)
            do_rollback_locked(n);
        else if (n->count > 0)
            do_ring_locked(n);
        else if (n->scan && !n->ss->snap)
            do_scan_locked(n);
        else
            n->scan = false;
    }
    n->rollbacks_done = n->rollbacks_asked;
    pthread_cond_broadcast(&n->done);
    pthread_mutex_unlock(&n->lock);
    if (!n->stop)
        finish(n->ss);
    return NULL;
}

int notify_new(struct session *ss, struct notifier **ret)
{
    struct notifier *n = calloc(1, sizeof(*n));
    pthread_condattr_t mono;
    int e;

    if (!n)
        return -E_NOMEM;
    n->ss = ss;
    pthread_mutex_init(&n->lock, NULL);
    pthread_rwlock_init(&n->making, NULL);
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&n->word, &mono);
    pthread_cond_init(&n->done, &mono);
    pthread_condattr_destroy(&mono);
    e = pthread_create(&n->thread, NULL, notify_main, n);
    if (e != 0) {
        free(n);
        return err_from_errno(e);
    }
    *ret = n;
    return 0;
}

void notify_free(struct notifier *n)
{
    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    n->stop = !n->end;
    pthread_cond_signal(&n->word);
    pthread_mutex_unlock(&n->lock);
    pthread_join(n->thread, NULL);
    tdestroy(n->unnamed, free);
    pthread_cond_destroy(&n->word);
    pthread_cond_destroy(&n->done);
    pthread_rwlock_destroy(&n->making);
    pthread_mutex_destroy(&n->lock);
    free(n);
}
