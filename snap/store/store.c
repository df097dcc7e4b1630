#include "snap/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/store/cold_i.h"
#include "snap/store/tabpages.h"
#include "snap/store/feature.h"
#include "snap/store/version.h"

_Thread_local int store_no_wait;
_Thread_local int store_inline_checkpoint;

const char *store_path(const struct store *s)
{
    return s->path;
}

struct io *store_io(struct store *s)
{
    return s->io;
}

const struct store_settings *store_get_settings(const struct store *s)
{
    return &s->set;
}

void store_set_hooks(struct store *s, const struct store_hooks *hooks)
{
    pthread_mutex_lock(&s->bg_lock);
    s->hooks = *hooks;
    pthread_mutex_unlock(&s->bg_lock);
    __atomic_store_n(&s->queue_rests, false, __ATOMIC_RELAXED); /* entries may have waited for these */
}

bool store_writable(const struct store *s)
{
    return __atomic_load_n(&s->mode, __ATOMIC_RELAXED) == STORE_RW;
}

void store_fail(struct store *s, const char *why)
{
    pthread_mutex_lock(&s->state_lock);
    if (s->mode == STORE_RW) {
        snprintf(s->why, sizeof(s->why), "%s; the store is read-only until it was checked", why);
        __atomic_store_n(&s->mode, STORE_RO_FAILED, __ATOMIC_RELAXED);
        log_error("store", "failed", "path=%s why=%s", s->path, why);
    }
    pthread_mutex_unlock(&s->state_lock);
}

void store_get_state(struct store *s, struct store_state *ret)
{
    struct statvfs sv;

    memset(ret, 0, sizeof(*ret));
    pthread_mutex_lock(&s->state_lock);
    ret->mode = s->mode;
    memcpy(ret->why, s->why, sizeof(ret->why));
    pthread_mutex_unlock(&s->state_lock);
    ret->uuid = s->uuid;
    ret->incarnation = journal_incarnation(s->journal);
    ret->appended_lsn = journal_appended(s->journal);
    ret->flushed_lsn = journal_flushed(s->journal);
    ret->applied_lsn = __atomic_load_n(&s->sealed_lsn, __ATOMIC_RELAXED);
    ret->dirty_bytes = __atomic_load_n(&s->dirty_bytes, __ATOMIC_RELAXED);
    ret->reclaim_entries = __atomic_load_n(&s->reclaim_count, __ATOMIC_RELAXED);
    /* tried only: the caller may hold the lock shared, and a writer that waits would then wait for ever */
    if (pthread_rwlock_tryrdlock(&s->lock) == 0) {
        __atomic_store_n(&s->seen_delta, kv_delta_bytes(s->kv), __ATOMIC_RELAXED);
        pthread_rwlock_unlock(&s->lock);
    }
    ret->delta_bytes = __atomic_load_n(&s->seen_delta, __ATOMIC_RELAXED);
    if (fstatvfs(s->dir_fd, &sv) == 0) {
        ret->disk_total = (uint64_t)sv.f_blocks * sv.f_frsize;
        ret->disk_free = (uint64_t)sv.f_bavail * sv.f_frsize;
    }
    ret->unclean = s->unclean;
    ret->powercut = s->powercut;
}

int store_get_tables(struct store *s, uint64_t *ret_bytes, uint64_t *ret_free_bytes)
{
    struct kv_stat st;
    int r;

    pthread_rwlock_rdlock(&s->lock);
    r = kv_stat(s->kv, &st);
    pthread_rwlock_unlock(&s->lock);
    if (r < 0)
        return r;
    *ret_bytes = st.used_bytes;
    *ret_free_bytes = st.free_pages * st.page_bytes;
    return 0;
}

static int say(char *why, int r, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int say(char *why, int r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (why)
        vsnprintf(why, 256, fmt, ap);
    va_end(ap);
    return r;
}

static void store_free(struct store *s)
{
    sift_end(s);
    cold_free(s);
    dirty_free_all(s);
    vols_free(s);
    objfd_close_all(s);
    answers_free(s->answers);
    if (s->journal)
        journal_close(s->journal);
    if (s->kv)
        kv_close(s->kv);
    if (s->dir_fd >= 0)
        io_close(s->io, s->dir_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    while (s->settles) {
        struct settle *se = s->settles;
        s->settles = se->next;
        free(se);
    }
    pthread_rwlock_destroy(&s->lock);
    for (unsigned i = 0; i < s->nilocks; i++)
        pthread_rwlock_destroy(&s->ilocks[i]);
    free(s->ilocks);
    pthread_mutex_destroy(&s->fd_lock);
    pthread_mutex_destroy(&s->fd_sync_lock);
    pthread_mutex_destroy(&s->ckpt_lock);
    pthread_mutex_destroy(&s->reclaim_lock);
    pthread_mutex_destroy(&s->bg_lock);
    pthread_mutex_destroy(&s->state_lock);
    pthread_cond_destroy(&s->bg_wake);
    pthread_cond_destroy(&s->bg_done);
    buf_free(&s->lost);
    free(s->path);
    free(s);
}

static struct store *store_alloc(struct io *io, const char *path, const struct store_settings *set,
                                 unsigned flags)
{
    struct store *s = calloc(1, sizeof(*s));
    pthread_rwlockattr_t attr;

    if (!s)
        return NULL;
    s->path = realpath(path, NULL);
    if (!s->path) {
        free(s);
        return NULL;
    }
    s->io = io;
    s->flags = flags;
    s->lock_fd = s->dir_fd = -1;
    store_settings_defaults(&s->set, set);
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&s->lock, &attr);
    s->ilocks = malloc((s->set.no_threads ? ILOCK_STRIPES_FEW : ILOCK_STRIPES) * sizeof(*s->ilocks));
    if (s->ilocks)
        s->nilocks = s->set.no_threads ? ILOCK_STRIPES_FEW : ILOCK_STRIPES;
    for (unsigned i = 0; i < s->nilocks; i++)
        pthread_rwlock_init(&s->ilocks[i], &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&s->fd_lock, NULL);
    pthread_mutex_init(&s->fd_sync_lock, NULL);
    pthread_mutex_init(&s->ckpt_lock, NULL);
    pthread_mutex_init(&s->reclaim_lock, NULL);
    pthread_mutex_init(&s->bg_lock, NULL);
    pthread_mutex_init(&s->state_lock, NULL);
    clock_cond_init(&s->bg_wake);
    clock_cond_init(&s->bg_done);
    s->dirty_list.prev = s->dirty_list.next = &s->dirty_list;
    s->fd_list.prev = s->fd_list.next = &s->fd_list;
    if (s->ilocks && answers_new(&s->answers) == 0 && cold_new(s) == 0)
        return s;
    store_free(s);
    return NULL;
}

static int read_version(const char *path, struct store_version *v, unsigned *flags, char *why)
{
    cleanup(buf_free) struct buf b = {0};
    char file[4096];
    struct stat st;

    if (stat(path, &st) < 0)
        return say(why, -E_STORE_MISSING, "%s: no such directory; `varve create %s` makes a store there",
                   path, path);
    snprintf(file, sizeof(file), "%s/version", path);
    int r = io_read_file(io_real(), file, 4096, &b);
    if (r == -E_NOENT || r == -E_NOTDIR)
        return say(why, -E_STORE_NOT, "%s is no store (it has no file `version`); `varve create` makes one",
                   path);
    if (r < 0)
        return say(why, r, "%s: %s", file, err_text(r));
    r = store_version_decode(b.data, b.len, v);
    if (r == -E_STORE_NOT)
        return say(why, r, "%s is no store (its file `version` is not ours)", path);
    if (r == -E_STORE_NEWER)
        return say(why, r, "%s was written in format %u, this program knows up to %u; use a newer varve",
                   path, v->format, STORE_FORMAT);
    if (r == -E_STORE_FEATURE)
        return say(why, r, "%s uses features %llx that this program does not know; use a newer varve", path,
                   (unsigned long long)(v->incompat & ~(STORE_INCOMPAT | feature_door.incompat)));
    if (r < 0)
        return say(why, r, "%s is damaged; `varve check %s` says more", file, path);
    if (v->rocompat & ~STORE_ROCOMPAT)
        *flags |= STORE_READONLY;
    return 0;
}

static int take_lock(struct store *s, char *why)
{
    char file[4200], text[64] = "";

    snprintf(file, sizeof(file), "%s/lock", s->path);
    s->lock_fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0) {
        if (s->flags & STORE_READONLY)
            return 0;
        int r = err_from_errno(errno);
        return say(why, r, "%s: %s", file, err_text(r));
    }
    if (flock(s->lock_fd, (s->flags & STORE_READONLY ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0) {
        ssize_t n = pread(s->lock_fd, text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return say(why, -E_STORE_BUSY, "%s is in use by process %s", s->path, text[0] ? text : "unknown");
    }
    if (!(s->flags & STORE_READONLY)) {
        int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
        if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, text, (size_t)n, 0) != n)
            log_warn("store", "lock_note", "path=%s", s->path);
    }
    return 0;
}

static int open_parts(struct store *s, char *why)
{
    char dir[4200], jwhy[256] = "";
    int r;

    s->dir_fd = io_open(s->io, s->path, O_RDONLY | O_DIRECTORY, 0);
    if (s->dir_fd < 0)
        return say(why, s->dir_fd, "%s: %s", s->path, err_text(s->dir_fd));
    snprintf(dir, sizeof(dir), "%s/meta", s->path);
    if (!(s->flags & STORE_SAFE) && !BROKEN(VARVE_BREAK_pages)) {
        const struct tabpages_opts o = {.alone = s->set.no_threads};
        char pwhy[256] = "";
        r = tabpages_begin(s->io, dir, &o, &s->proof, pwhy);
        if (r < 0 && r != -E_NOENT)
            return say(why, r, "%s: %s", s->path, pwhy[0] ? pwhy : err_text(r));
    }
    r = kv_open(dir, s->set.map_bytes, s->flags & STORE_READONLY, &s->kv);
    if (r < 0)
        return say(why, r, "%s: %s; `varve check` says more", dir, err_text(r));
    snprintf(dir, sizeof(dir), "%s/journal", s->path);
    r = journal_open(s->io, dir, &s->uuid, &s->journal, jwhy);
    if (r < 0)
        return say(why, r, "%s: %s", dir, jwhy[0] ? jwhy : err_text(r));
    return 0;
}

int store_proved(struct store *s, char why[256])
{
    return s->proof ? tabpages_end(TAKE(s->proof), why, NULL) : 0;
}

/* What went wrong before the tables were proved went wrong because of them, if they are damaged. */
static int store_load(struct store *s, char *why, char jwhy[256])
{
    char pwhy[256] = "";
    int r = open_parts(s, why);

    if (r == 0)
        r = store_replay(s, jwhy);
    int p = store_proved(s, pwhy);
    return p < 0 ? say(why, p, "%s: %s", s->path, pwhy[0] ? pwhy : err_text(p)) : r;
}

static int store_begin(struct store *s, char *why)
{
    char jwhy[256] = "";
    int r = store_load(s, why, jwhy);

    if (r == -E_JOURNAL) { /* damage in the middle: what was before it can be read */
        s->mode = STORE_RO_DAMAGED;
        snprintf(s->why, sizeof(s->why), "%s", jwhy);
        s->flags |= STORE_READONLY;
        r = 0;
    }
    if (r == 0 && s->mode == STORE_RW && (s->flags & STORE_READONLY))
        s->mode = STORE_RO_ASKED;
    if (r == 0)
        r = vols_load(s);
    if (r == 0)
        r = failed_load(s);
    if (r == 0)
        r = cold_load(s);
    sift_rest(s); /* not while somebody waits for the opening */
    if (r == 0 && s->mode == STORE_RW)
        r = store_recover(s);
    if (r < 0 && why && !why[0])
        say(why, r, "%s: %s", s->path, jwhy[0] ? jwhy : err_text(r));
    return r;
}

int store_open(struct io *io, const char *path, const struct store_settings *settings, unsigned flags,
               struct store **ret, char *why)
{
    struct store_version ver;
    int r;

    if (why)
        why[0] = '\0';
    if (flags & (STORE_CHECK | STORE_SAFE))
        flags |= STORE_READONLY;
    r = read_version(path, &ver, &flags, why);
    if (r < 0)
        return r;
    struct store *s = store_alloc(io, path, settings, flags);
    if (!s)
        return say(why, -E_NOMEM, "%s: out of memory", path);
    s->uuid = ver.uuid;
    s->cold->begun = ver.incompat & STORE_HAS_COLD;
    s->set.segment_bytes = ver.segment_bytes;
    s->set.segments = ver.segments;
    r = take_lock(s, why);
    if (r == 0)
        r = store_begin(s, why);
    if (r == 0 && s->mode == STORE_RW && !s->set.no_threads)
        r = store_start_background(s);
    if (r < 0) {
        store_stop_background(s);
        store_free(s);
        return r;
    }
    if (s->mode == STORE_RW && feature_door.opened)
        feature_door.opened(s);
    *ret = s;
    return 0;
}

void store_freeze_objects(struct store *s)
{
    uint64_t next = __atomic_load_n(&s->next.object, __ATOMIC_SEQ_CST),
             was = __atomic_load_n(&s->open_floor, __ATOMIC_SEQ_CST);

    while (
        was < next && !BROKEN(VARVE_BREAK_lost_bytes) &&
        !__atomic_compare_exchange_n(&s->open_floor, &was, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        continue;
}

int store_flush_to(struct store *s, uint64_t lsn)
{
    if (!store_writable(s))
        return s->mode == STORE_RO_FAILED ? -E_FAILED : 0;
    int r = journal_flush(s->journal, lsn);
    if (r < 0 && r != -E_NOMEM)
        store_fail(s, "a sync of the journal failed");
    return r;
}

int store_flush(struct store *s)
{
    return store_flush_to(s, journal_appended(s->journal));
}

int store_sync(struct store *s)
{
    int r = file_make_firm(s, 0, 0);

    return r < 0 ? r : store_flush(s);
}

/* The room above forgets the store. */
static void leave(struct store *s)
{
    if (s->hooks.closing)
        s->hooks.closing(s->hooks.arg, s);
}

int store_close(struct store *s)
{
    int r = 0;

    store_stop_background(s);
    if (store_writable(s)) {
        store_settle_all(s);
        (void)cold_settle(s);
        r = store_sync(s);
        for (int i = 0; i < 8 && store_writable(s); i++) { /* reclaiming leaves new records behind */
            int c = store_checkpoint(s);
            r = r < 0 ? r : c;
            if (c < 0 || journal_appended(s->journal) == s->sealed_lsn)
                break;
        }
    }
    leave(s);
    store_free(s);
    return r;
}

void store_drop(struct store *s)
{
    store_stop_background(s);
    leave(s);
    if (s->kv)
        kv_drop(s->kv);
    store_free(s);
}
