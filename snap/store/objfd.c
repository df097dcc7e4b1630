/* Descriptors of objects: a bounded cache; none is held for an idle inode beyond it. One with unsynced bytes is synced
 * before it is closed, so that no write-back error is lost with it. And the grace periods of those who read objects. */
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

static void fd_close(struct store *s, struct objfd *f)
{
    struct objfd **at = fd_slot(s, f->object);

    *at = f->hnext;
    list_out(f);
    s->nfds--;
    io_close(s->io, f->fd);
    free(f);
}

/* Closes idle descriptors until at most `keep` are open. A write-back error at this point must not get lost. */
static void fd_shrink(struct store *s, uint32_t keep)
{
    struct objfd *f = s->fd_list.next;

    while (s->nfds > keep && f != &s->fd_list) {
        struct objfd *next = f->next;
        if (f->refs == 0 && !f->failed) {
            if (f->wrote && io_fdatasync(s->io, f->fd) < 0)
                store_fail(s, "an object could not be written back");
            if (f->brought) /* they can be fetched again: nobody waits for the disk here */
                __atomic_store_n(&s->cold_closed, true, __ATOMIC_SEQ_CST);
            fd_close(s, f);
        }
        f = next;
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

int objfd_get(struct store *s, uint64_t object, bool create, struct objfd **ret)
{
    int r = 0;

    pthread_mutex_lock(&s->fd_lock);
    struct objfd *f = *fd_slot(s, object);
    if (f) {
        list_out(f);
    } else {
        if (s->nfds >= s->set.fd_cache && !BROKEN(VARVE_BREAK_descriptors_kept))
            fd_shrink(s, s->set.fd_cache - 1);
        int fd = fd_open(s, object, create);
        if (fd < 0 && fd != -E_NOENT && s->nfds) { /* descriptors exhausted, perhaps */
            fd_shrink(s, s->nfds / 2);
            fd = fd_open(s, object, create);
        }
        f = fd < 0 ? NULL : calloc(1, sizeof(*f));
        if (!f) {
            r = fd < 0 ? fd : -E_NOMEM;
            if (fd >= 0)
                io_close(s->io, fd);
        } else {
            *f = (struct objfd){.object = object, .fd = fd, .made = create};
            *fd_slot(s, object) = f;
            s->nfds++;
        }
    }
    if (f) {
        list_newest(s, f);
        f->refs++;
        *ret = f;
    }
    pthread_mutex_unlock(&s->fd_lock);
    return r;
}

void objfd_put(struct store *s, struct objfd *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&s->fd_lock);
    assert(f->refs > 0);
    f->refs--;
    pthread_mutex_unlock(&s->fd_lock);
}

static int fd_sync(struct store *s, struct objfd *f)
{
    if (__atomic_load_n(&f->failed, __ATOMIC_SEQ_CST))
        return -E_IO;
    __atomic_store_n(&f->wrote, false, __ATOMIC_SEQ_CST);
    __atomic_store_n(&f->brought, false, __ATOMIC_SEQ_CST);
    int r = BROKEN(VARVE_BREAK_data_sync) ? 0 : io_fdatasync(s->io, f->fd);
    if (r < 0)
        __atomic_store_n(&f->failed, true, __ATOMIC_SEQ_CST);
    return r;
}

int objfd_sync(struct store *s, uint64_t object)
{
    struct objfd *f;
    char path[4096];
    int r = objfd_get(s, object, false, &f);

    if (r < 0)
        return r;
    r = fd_sync(s, f);
    if (r == 0 && __atomic_load_n(&f->made, __ATOMIC_SEQ_CST)) {
        object_path(s, object, path);
        *strrchr(path, '/') = '\0';
        r = io_sync_dir(s->io, path);
        if (r == 0)
            __atomic_store_n(&f->made, false, __ATOMIC_SEQ_CST);
    }
    objfd_put(s, f);
    return r;
}

void objfd_forget(struct store *s, uint64_t object)
{
    pthread_mutex_lock(&s->fd_lock);
    struct objfd *f = *fd_slot(s, object);
    if (f && f->refs == 0)
        fd_close(s, f);
    pthread_mutex_unlock(&s->fd_lock);
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
    bool is =
        f && (__atomic_load_n(&f->wrote, __ATOMIC_SEQ_CST) || __atomic_load_n(&f->failed, __ATOMIC_SEQ_CST));
    pthread_mutex_unlock(&s->fd_lock);
    return is;
}

void objfd_close_all(struct store *s)
{
    pthread_mutex_lock(&s->fd_lock);
    while (s->fd_list.next != &s->fd_list)
        fd_close(s, s->fd_list.next);
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
