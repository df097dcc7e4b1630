/* Descriptors of objects: a bounded cache; none is held for an idle inode beyond it. Nobody waits for the disk when one is closed: what
 * it wrote stays unsynced, which is remembered for all of them together and made good by one syncfs, which also tells of their
 * write-back errors. And the grace periods of those who read objects. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "snap/store/store_int.h"

#define FD_BUCKETS 1024u

static struct objfd **fd_slot(struct store *s, uint64_t object)
{
    struct objfd **at = &s->fd_hash[object % FD_BUCKETS];

    while (*at && (*at)->object != object)
        at = &(*at)->hnext;
    return at;
}

static void list_out(struct objfd *f)
{
    f->prev->next = f->next;
    f->next->prev = f->prev;
}

static void list_newest(struct store *s, struct objfd *f)
{
    f->prev = s->fd_list.prev;
    f->next = &s->fd_list;
    f->prev->next = f->next->prev = f;
}

/* Out of the table; who holds the table's lock no more closes it. */
static void fd_out(struct store *s, struct objfd *f)
{
    struct objfd **at = fd_slot(s, f->object);

    *at = f->hnext;
    list_out(f);
    s->nfds--;
}

static void fd_close(struct store *s, struct objfd *f)
{
    io_close(s->io, f->fd);
    free(f);
}

static bool is_unsynced(const struct objfd *f)
{
    return __atomic_load_n(&f->wrote, __ATOMIC_SEQ_CST) != FD_CLEAN;
}

/* Takes idle descriptors out until at most `keep` are left; a list of them. One whose write-back may have failed is the only one that
 * can tell of it, and stays. */
static struct objfd *fd_shrink(struct store *s, uint32_t keep)
{
    struct objfd *f = s->fd_list.next, *out = NULL;

    while (s->nfds > keep && f != &s->fd_list) {
        struct objfd *next = f->next;
        if (f->refs == 0 && !f->failed && !f->doubt) {
            if (is_unsynced(f) || f->brought)
                s->fd_closed += !BROKEN(VARVE_BREAK_closed_kept);
            if (f->brought) /* they can be fetched again: nobody waits for the disk here */
                __atomic_store_n(&s->cold_closed, true, __ATOMIC_SEQ_CST);
            fd_out(s, f);
            f->hnext = out;
            out = f;
        }
        f = next;
    }
    return out;
}

static void fd_close_list(struct store *s, struct objfd *out)
{
    while (out) {
        struct objfd *next = out->hnext;
        fd_close(s, out);
        out = next;
    }
}

static int dir_make(struct store *s, const char *path)
{
    char dir[4096];
    char *slash;
    int r;

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    *slash = '\0';
    r = io_mkdir(s->io, dir, 0700);
    if (r < 0 && r != -E_EXIST)
        return r;
    *strrchr(dir, '/') = '\0';
    return io_sync_dir(s->io, dir);
}

static int fd_open(struct store *s, uint64_t object, bool create)
{
    char path[4096];
    int flags = (s->flags & STORE_READONLY) ? O_RDONLY : O_RDWR, fd;

    object_path(s, object, path);
    fd = io_open(s->io, path, flags | (create ? O_CREAT : 0), 0600);
    if (fd == -E_NOENT && create) {
        int r = dir_make(s, path);
        if (r < 0)
            return r;
        fd = io_open(s->io, path, flags | O_CREAT, 0600);
    }
    return fd;
}

static void shrink_to_half(struct store *s)
{
    struct objfd *out;

    pthread_mutex_lock(&s->fd_lock);
    out = fd_shrink(s, s->nfds / 2);
    pthread_mutex_unlock(&s->fd_lock);
    fd_close_list(s, out);
}

static void ref_newest(struct store *s, struct objfd *f)
{
    list_newest(s, f);
    f->refs++;
}

/* One that is in the table, to be used; NULL. */
static struct objfd *find_locked(struct store *s, uint64_t object)
{
    struct objfd *f = *fd_slot(s, object);

    if (f) {
        list_out(f);
        ref_newest(s, f);
    }
    return f;
}

/* Likewise; when there is none, there is room for one. */
static struct objfd *find_or_make_room(struct store *s, uint64_t object)
{
    struct objfd *out = NULL, *f;

    pthread_mutex_lock(&s->fd_lock);
    f = find_locked(s, object);
    if (!f && s->nfds >= s->set.fd_cache && !BROKEN(VARVE_BREAK_descriptors_kept))
        out = fd_shrink(s, s->set.fd_cache - 1);
    pthread_mutex_unlock(&s->fd_lock);
    fd_close_list(s, out);
    return f;
}

/* Puts a descriptor into the table, unless somebody else was faster: then his it is. Takes f. */
static struct objfd *fd_enter(struct store *s, struct objfd *f)
{
    struct objfd *had;

    pthread_mutex_lock(&s->fd_lock);
    had = find_locked(s, f->object);
    if (!had) {
        f->closed = f->made ? 0 : s->fd_closed;
        *fd_slot(s, f->object) = f;
        s->nfds++;
        ref_newest(s, f);
    }
    pthread_mutex_unlock(&s->fd_lock);
    if (had)
        fd_close(s, f);
    return had ? had : f;
}

int objfd_get(struct store *s, uint64_t object, bool create, struct objfd **ret)
{
    struct objfd *f = find_or_make_room(s, object);
    int fd;

    if (f) {
        *ret = f;
        return 0;
    }
    fd = fd_open(s, object, create);
    if (fd < 0 && fd != -E_NOENT) { /* descriptors exhausted, perhaps */
        shrink_to_half(s);
        fd = fd_open(s, object, create);
    }
    if (fd < 0)
        return fd;
    f = calloc(1, sizeof(*f));
    if (!f) {
        io_close(s->io, fd);
        return -E_NOMEM;
    }
    *f = (struct objfd){.object = object, .fd = fd, .made = create, .wrote = create ? FD_WROTE : FD_CLEAN};
    *ret = fd_enter(s, f);
    return 0;
}

void objfd_put(struct store *s, struct objfd *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&s->fd_lock);
    assert(f->refs > 0);
    f->refs--;
    bool gone = f->refs == 0 && f->gone && !BROKEN(VARVE_BREAK_gone_kept);
    if (gone)
        fd_out(s, f);
    pthread_mutex_unlock(&s->fd_lock);
    if (gone)
        fd_close(s, f);
}

void objfd_writes(struct objfd *f)
{
    __atomic_store_n(&f->wrote, FD_WROTE, __ATOMIC_SEQ_CST);
}

static int fd_sync(struct store *s, struct objfd *f)
{
    if (__atomic_load_n(&f->failed, __ATOMIC_SEQ_CST))
        return -E_IO;
    __atomic_store_n(&f->wrote, FD_CLEAN, __ATOMIC_SEQ_CST);
    __atomic_store_n(&f->brought, false, __ATOMIC_SEQ_CST);
    int r = BROKEN(VARVE_BREAK_data_sync) ? 0 : io_fdatasync(s->io, f->fd);
    if (r < 0)
        __atomic_store_n(&f->failed, true, __ATOMIC_SEQ_CST);
    else
        __atomic_store_n(&f->doubt, false, __ATOMIC_SEQ_CST);
    return r;
}

/* With the table's lock: what nobody writes to is synced by what begins now, unless it is written to meanwhile. */
static uint64_t mark_locked(struct store *s)
{
    for (struct objfd *f = s->fd_list.next; f != &s->fd_list; f = f->next)
        if (f->refs == 0 && !f->failed && !f->doubt && is_unsynced(f))
            __atomic_store_n(&f->wrote, FD_SYNCING, __ATOMIC_SEQ_CST);
    return s->fd_closed;
}

static void synced_locked(struct store *s, uint64_t closed)
{
    for (struct objfd *f = s->fd_list.next; f != &s->fd_list; f = f->next) {
        uint8_t was = FD_SYNCING;

        if (__atomic_compare_exchange_n(&f->wrote, &was, FD_CLEAN, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            __atomic_store_n(&f->made, false, __ATOMIC_SEQ_CST);
    }
    s->fd_closed_synced = closed;
}

/* The error is told once: the next syncfs knows nothing of it. Each descriptor tells of its own. */
static void doubt_locked(struct store *s)
{
    for (struct objfd *f = s->fd_list.next; f != &s->fd_list; f = f->next)
        if (is_unsynced(f) && !BROKEN(VARVE_BREAK_doubt)) {
            __atomic_store_n(&f->doubt, true, __ATOMIC_SEQ_CST);
            objfd_writes(f);
        }
}

/* One at a time, so that nobody takes for synced what somebody else is being told an error of. */
static int sync_upto(struct store *s, uint64_t closed)
{
    uint64_t upto;
    int r = 0;

    pthread_mutex_lock(&s->fd_sync_lock);
    pthread_mutex_lock(&s->fd_lock);
    bool done = s->fd_closed_synced >= closed, lost = false;
    upto = done ? 0 : mark_locked(s);
    pthread_mutex_unlock(&s->fd_lock);
    if (!done) {
        r = io_syncfs(s->io, s->dir_fd);
        pthread_mutex_lock(&s->fd_lock);
        lost = r < 0 && upto != s->fd_closed_synced;
        if (r < 0)
            doubt_locked(s);
        else
            synced_locked(s, upto);
        pthread_mutex_unlock(&s->fd_lock);
    }
    pthread_mutex_unlock(&s->fd_sync_lock);
    if (lost) /* of which one, nobody can say */
        store_fail(s, "an object could not be written back");
    return r;
}

int objfd_sync_all(struct store *s)
{
    return sync_upto(s, UINT64_MAX);
}

/* The descriptor itself, and the directory entry of a new one. */
static int sync_open(struct store *s, struct objfd *f)
{
    char path[4096];
    int r = is_unsynced(f) || f->brought || f->failed ? fd_sync(s, f) : 0;

    if (r < 0 || !__atomic_load_n(&f->made, __ATOMIC_SEQ_CST))
        return r;
    object_path(s, f->object, path);
    *strrchr(path, '/') = '\0';
    r = io_sync_dir(s->io, path);
    if (r == 0)
        __atomic_store_n(&f->made, false, __ATOMIC_SEQ_CST);
    return r;
}

int objfd_sync(struct store *s, uint64_t object)
{
    uint64_t closed;
    int r;

    pthread_mutex_lock(&s->fd_lock);
    struct objfd *f = find_locked(s, object);
    closed = f ? f->closed : s->fd_closed;
    bool left = closed > s->fd_closed_synced;
    pthread_mutex_unlock(&s->fd_lock);
    r = left ? sync_upto(s, closed) : 0;
    if (r == 0 && f)
        r = sync_open(s, f);
    objfd_put(s, f);
    return r;
}

void objfd_write_out(struct store *s, uint64_t object, uint64_t off, uint64_t len)
{
    struct objfd *f;
    int r;

    pthread_mutex_lock(&s->fd_lock);
    f = find_locked(s, object);
    pthread_mutex_unlock(&s->fd_lock);
    r = f ? io_sync_range(s->io, f->fd, off, len) : 0;
    if ((r == -E_IO || r == -E_NOSPC || r == -E_QUOTA) && !BROKEN(VARVE_BREAK_writeout_error))
        __atomic_store_n(&f->failed, true, __ATOMIC_SEQ_CST); /* the kernel has told it, and will not again */
    objfd_put(s, f);
}

void objfd_forget(struct store *s, uint64_t object)
{
    pthread_mutex_lock(&s->fd_lock);
    struct objfd *f = *fd_slot(s, object);
    bool idle = f && f->refs == 0;
    if (idle)
        fd_out(s, f);
    else if (f)
        f->gone = true;
    pthread_mutex_unlock(&s->fd_lock);
    if (idle)
        fd_close(s, f);
}

void objfd_not_hot(struct store *s, uint64_t object)
{
    pthread_mutex_lock(&s->fd_lock);
    struct objfd *f = *fd_slot(s, object);
    if (f)
        __atomic_store_n(&f->hot, false, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&s->fd_lock);
}

bool objfd_unsynced(struct store *s, uint64_t object)
{
    pthread_mutex_lock(&s->fd_lock);
    const struct objfd *f = *fd_slot(s, object);
    bool is = (f ? f->closed : s->fd_closed) > s->fd_closed_synced ||
              (f && (is_unsynced(f) || __atomic_load_n(&f->failed, __ATOMIC_SEQ_CST)));
    pthread_mutex_unlock(&s->fd_lock);
    return is;
}

void objfd_close_all(struct store *s)
{
    pthread_mutex_lock(&s->fd_lock);
    while (s->fd_list.next != &s->fd_list) {
        struct objfd *f = s->fd_list.next;
        fd_out(s, f);
        fd_close(s, f);
    }
    pthread_mutex_unlock(&s->fd_lock);
}

/* Readers count themselves in the generation they begin in; a waiter turns the generation and waits for the old one to
 * empty, twice, so that one who read the number just before the turn is waited for, too. */
uint32_t grace_enter(struct store *s)
{
    uint32_t gen = (uint32_t)(__atomic_load_n(&s->grace_gen, __ATOMIC_SEQ_CST) % GRACE_GENS);

    __atomic_fetch_add(&s->grace_count[gen], 1, __ATOMIC_SEQ_CST);
    return gen;
}

void grace_leave(struct store *s, uint32_t gen)
{
    __atomic_fetch_sub(&s->grace_count[gen], 1, __ATOMIC_SEQ_CST);
}

void grace_wait(struct store *s)
{
    for (int i = 0; i < 2 && !BROKEN(VARVE_BREAK_grace); i++) {
        uint64_t old = __atomic_fetch_add(&s->grace_gen, 1, __ATOMIC_SEQ_CST) % GRACE_GENS;
        while (__atomic_load_n(&s->grace_count[old], __ATOMIC_SEQ_CST))
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
}
