#include "snap/store/journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mark.h"
#include "snap/store/journal_i.h"

#define PAGE_BYTES 4096u /* segments are multiples of it */

struct journal_dir {
    uint32_t count, highest;
};

static int dir_count(void *arg, const char *name)
{
    struct journal_dir *d = arg;
    uint32_t n = 0;
    size_t i;

    for (i = 0; i < 4; i++) {
        if (name[i] < '0' || name[i] > '9')
            return 0;
        n = n * 10 + (uint32_t)(name[i] - '0');
    }
    if (name[4])
        return 0;
    d->count++;
    d->highest = MAX_OF(d->highest, n);
    return 0;
}

static int segment_open(struct journal *j, const char *dir, uint32_t index, char why[256])
{
    cleanup(buf_free) struct buf path = {0};
    struct jseg *s = &j->segs[index];
    uint8_t block[JSEG_HDR_SIZE];
    size_t n;
    int r;

    if (buf_printf(&path, "%s/%04u", dir, index) < 0 || !buf_cstr(&path))
        return -E_NOMEM;
    s->fd = io_open(j->io, (char *)path.data, O_RDWR, 0);
    if (s->fd == -E_ROFS || s->fd == -E_ACCES)
        s->fd = io_open(j->io, (char *)path.data, O_RDONLY, 0);
    if (s->fd < 0)
        return s->fd;
    r = io_pread(j->io, s->fd, block, sizeof(block), 0, &n);
    if (r == 0)
        r = jseg_decode(block, n, &s->hdr);
    s->valid = r == 0;
    if (r == -E_STORE_NEWER)
        snprintf(why, 256, "journal segment %04u was written by a newer varve", index);
    return r == -E_CORRUPT ? 0 : r;
}

/* The headers agree with each other and with the store; a damaged one is left to the replay. */
static int segments_agree(struct journal *j, char why[256])
{
    const struct jseg *known = NULL;
    struct stat st;
    uint32_t i, made = 0;
    int r;

    for (i = 0; i < j->nsegs; i++) {
        const struct jseg *s = &j->segs[i];

        if (!s->valid)
            continue;
        if (!uuid_equal(&s->hdr.store, &j->store) || s->hdr.index != i) {
            snprintf(why, 256, "journal segment %04u belongs to another store or place", i);
            return -E_JOURNAL;
        }
        if (known && s->hdr.segment_bytes != known->hdr.segment_bytes) {
            snprintf(why, 256, "journal segments %04u and %04u do not belong together", known->hdr.index, i);
            return -E_JOURNAL;
        }
        known = s;
        made = MAX_OF(made, s->hdr.segments); /* one may have been added since others were written */
        r = io_fstat(j->io, s->fd, &st);
        if (r < 0)
            return r;
        if ((uint64_t)st.st_size < s->hdr.segment_bytes) {
            snprintf(why, 256, "journal segment %04u is cut short at %lld bytes", i, (long long)st.st_size);
            return -E_JOURNAL;
        }
    }
    if (!known || made > j->nsegs) {
        snprintf(why, 256, "%u journal segments are there, %u were made", j->nsegs, made);
        return -E_JOURNAL;
    }
    j->segment_bytes = known->hdr.segment_bytes;
    return 0;
}

static int segments_open(struct journal *j, const char *dir, char why[256])
{
    struct journal_dir d = {0};
    uint32_t i;
    int r = io_list(dir, dir_count, &d);

    if (r < 0)
        return r;
    if (d.count == 0 || d.highest != d.count - 1) {
        snprintf(why, 256, "%u journal segments are in %.180s: one is missing", d.count, dir);
        return -E_JOURNAL;
    }
    j->segs = calloc(d.count, sizeof(*j->segs));
    if (!j->segs)
        return -E_NOMEM;
    j->nsegs = d.count;
    for (i = 0; i < j->nsegs; i++)
        j->segs[i].fd = -1;
    for (i = 0; i < j->nsegs && r == 0; i++)
        r = segment_open(j, dir, i, why);
    return r < 0 ? r : segments_agree(j, why);
}

int journal_open(struct io *io, const char *dir, const struct uuid *store, struct journal **ret,
                 char why[256])
{
    struct journal *j = calloc(1, sizeof(*j));
    uint32_t i;
    int r;

    why[0] = 0;
    if (!j)
        return -E_NOMEM;
    j->io = io;
    j->store = *store;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->change, NULL);
    j->dir = strdup(dir);
    r = j->dir ? journal__boot_id(j->boot_id) : -E_NOMEM;
    if (r == 0)
        r = segments_open(j, dir, why);
    if (r < 0) {
        journal_close(j);
        return r;
    }
    for (i = 0; i < j->nsegs; i++)
        if (j->segs[i].valid)
            j->incarnation = MAX_OF(j->incarnation, j->segs[i].hdr.incarnation);
    *ret = j;
    return 0;
}

void journal_close(struct journal *j)
{
    uint32_t i;

    if (!j)
        return;
    for (i = 0; i < j->nsegs; i++)
        if (j->segs[i].fd >= 0)
            (void)io_close(j->io, j->segs[i].fd);
    buf_free(&j->record);
    pthread_cond_destroy(&j->change);
    pthread_mutex_destroy(&j->lock);
    free(j->segs);
    free(j->dir);
    free(j);
}

bool journal_same_boot(const struct journal *j)
{
    uint32_t i;

    for (i = 0; i < j->nsegs; i++)
        if (j->segs[i].valid && j->segs[i].hdr.incarnation == j->incarnation &&
            memcmp(j->segs[i].hdr.boot_id, j->boot_id, 16) == 0)
            return true;
    return false;
}

static uint32_t count_free(const struct journal *j)
{
    struct journal *lockable = (struct journal *)(uintptr_t)j;
    uint32_t i, n = 0;

    pthread_mutex_lock(&lockable->lock);
    for (i = 0; i < j->nsegs; i++)
        n += j->segs[i].state == JSEG_FREE;
    pthread_mutex_unlock(&lockable->lock);
    return n;
}

/* The next one in turn, so that the one with a torn end comes last. */
static struct jseg *find_free(struct journal *j)
{
    uint32_t i, from = j->cur ? (uint32_t)(j->cur - j->segs) + 1 : 0;
    struct jseg *s = NULL;

    pthread_mutex_lock(&j->lock);
    for (i = 0; i < j->nsegs && !s; i++)
        if (j->segs[(from + i) % j->nsegs].state == JSEG_FREE)
            s = &j->segs[(from + i) % j->nsegs];
    pthread_mutex_unlock(&j->lock);
    return s;
}

/* Records go to s from now on. On an error nothing has changed but a header that nobody continues from. */
static int segment_take(struct journal *j, struct jseg *s, uint64_t first_lsn)
{
    const struct jseg_hdr was = s->hdr;
    int r;

    s->hdr = (struct jseg_hdr){.index = (uint32_t)(s - j->segs),
                               .store = j->store,
                               .incarnation = j->incarnation,
                               .first_lsn = first_lsn,
                               .seed = j->last_sum,
                               .segment_bytes = j->segment_bytes,
                               .trimmed_lsn = j->trimmed,
                               .segments = j->nsegs};
    memcpy(s->hdr.boot_id, j->boot_id, 16);
    r = jseg_write(j, s);
    if (r < 0) {
        s->hdr = was;
        return r;
    }
    pthread_mutex_lock(&j->lock);
    if (j->cur && j->cur->state == JSEG_CURRENT)
        j->cur->state = JSEG_FULL;
    s->valid = s->dirty = true;
    s->dead = false;
    s->state = JSEG_CURRENT;
    s->last_lsn = first_lsn - 1;
    j->cur = s;
    j->pos = JSEG_HDR_SIZE;
    pthread_mutex_unlock(&j->lock);
    return 0;
}

/* Numbers of dead incarnations beyond the end must not be met by a later replay: their segments are emptied. And all that
 * was replayed may still lie in the page cache only. */
static int segments_settle(struct journal *j)
{
    uint32_t i;
    int r = 0;

    for (i = 0; i < j->nsegs && r == 0; i++) {
        struct jseg *s = &j->segs[i];

        if (s->dead) {
            MARK("journal: a dead segment is emptied");
            s->hdr.first_lsn = s->hdr.seed = 0;
            r = jseg_write(j, s);
        }
        if (r == 0)
            r = io_fdatasync(j->io, s->fd);
    }
    return r;
}

int journal_start(struct journal *j)
{
    uint64_t gap = BROKEN(VARVE_BREAK_ghost) ? 0 : j->nsegs * j->segment_bytes / JREC_HDR_SIZE;
    struct jseg *s;
    int r;

    assert(j->replayed);
    assert(!j->started);
    if (j->damaged)
        return -E_JOURNAL;
    if (!find_free(j)) {
        MARK("journal: grows at the start");
        r = jseg_add(j);
        if (r < 0)
            return r;
    }
    s = find_free(j);
    r = segments_settle(j);
    if (r < 0)
        return r;
    j->incarnation++;
    j->chain = jrec_chain(&j->store, j->incarnation);
    r = segment_take(j, s, j->appended + gap + 1);
    if (r == 0)
        r = io_fdatasync(j->io, s->fd);
    if (r < 0) {
        j->incarnation--;
        return r;
    }
    s->dirty = false;
    j->appended = j->flushed = s->hdr.first_lsn - 1;
    j->started = true;
    return 0;
}

/* A header's position was moved on to a fresh segment; -E_NOSPC when only the spare ones are free. */
static int segment_next(struct journal *j)
{
    if (count_free(j) <= JSEG_SPARE)
        return -E_NOSPC;
    return segment_take(j, find_free(j), j->appended + 1);
}

/* How much is written for a record: one that enters a page of the segment writes the rest of that page with it, as zeros. Written in
 * part, a page that is not in memory would first have to be read from the disk, while everybody waits. */
static size_t written_for(const struct journal *j, size_t len)
{
    uint64_t last = (j->pos + len - 1) / PAGE_BYTES;
    bool enters = j->pos % PAGE_BYTES == 0 || j->pos / PAGE_BYTES != last;

    return enters && !BROKEN(VARVE_BREAK_journal_reads) ? (size_t)((last + 1) * PAGE_BYTES - j->pos) : len;
}

static int record_write(struct journal *j, struct jrec *r, size_t len)
{
    static const uint8_t nothing[8];
    size_t all = written_for(j, len);
    int e;

    r->hdr.lsn = j->appended + 1;
    r->hdr.flushed_lsn = journal_flushed(j);
    r->hdr.prev_sum = j->last_sum;
    r->hdr.wall_ns = clock_wall_ns();
    buf_reset(&j->record);
    e = buf_reserve(&j->record, all);
    if (e < 0)
        return e;
    jrec_encode(r, j->chain, j->record.data);
    memset(j->record.data + len, 0, all - len);
    e = io_pwrite(j->io, j->cur->fd, j->record.data, all, j->pos);
    if (e == 0)
        return 0;
    /* it was refused, so it must not come back, even if all of it has landed */
    (void)io_pwrite(j->io, j->cur->fd, nothing, sizeof(nothing), j->pos);
    return e == -E_NOSPC ? -E_IO : e;
}

int journal_append(struct journal *j, struct jrec *r, uint64_t *ret_lsn)
{
    size_t len = jrec_size(r);
    int e;

    assert(j->started);
    if (len > j->segment_bytes - JSEG_HDR_SIZE)
        return -E_TOOBIG;
    if (__atomic_load_n(&j->failed, __ATOMIC_RELAXED))
        return -E_FAILED;
    if (j->pos + len > j->segment_bytes) {
        e = segment_next(j);
        if (e < 0)
            return e;
    }
    e = record_write(j, r, len);
    if (e < 0)
        return e;
    j->last_sum = r->hdr.sum;
    pthread_mutex_lock(&j->lock);
    j->pos += len;
    j->appended = r->hdr.lsn;
    j->cur->last_lsn = r->hdr.lsn;
    j->cur->dirty = true;
    pthread_mutex_unlock(&j->lock);
    *ret_lsn = r->hdr.lsn;
    return 0;
}

/* With the lock held: takes the descriptors of the segments that have something to flush. */
static uint32_t dirty_take(struct journal *j, int *fds)
{
    uint32_t i, n = 0;

    for (i = 0; i < j->nsegs; i++)
        if (j->segs[i].dirty) {
            j->segs[i].dirty = false;
            fds[n++] = j->segs[i].fd;
        }
    return n;
}

/* With the lock held; leaves it while the disk works. */
static int flush_lead(struct journal *j)
{
    uint64_t upto = j->appended;
    int *fds = malloc(j->nsegs * sizeof(*fds)), r = 0;
    uint32_t i, n;

    if (!fds)
        return -E_NOMEM;
    j->flushing = true;
    __atomic_store_n(&j->flush_ns, clock_mono_ns(), __ATOMIC_RELAXED);
    n = dirty_take(j, fds);
    pthread_mutex_unlock(&j->lock);
    for (i = 0; i < n && r == 0 && !BROKEN(VARVE_BREAK_flush); i++)
        r = io_fdatasync(j->io, fds[i]);
    free(fds);
    pthread_mutex_lock(&j->lock);
    j->flushing = false;
    if (r == 0)
        j->flushed = MAX_OF(j->flushed, upto);
    else
        __atomic_store_n(&j->failed, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&j->change);
    return r < 0 ? log_err(-E_FAILED, "journal", "flush: %s", err_name(r)) : 0;
}

int journal_flush(struct journal *j, uint64_t lsn)
{
    int r = 0;

    pthread_mutex_lock(&j->lock);
    lsn = MIN_OF(lsn, j->appended);
    while (r == 0 && j->flushed < lsn) {
        if (j->failed)
            r = -E_FAILED;
        else if (j->flushing)
            pthread_cond_wait(&j->change, &j->lock);
        else
            r = flush_lead(j);
    }
    pthread_mutex_unlock(&j->lock);
    return r;
}

static uint64_t read_locked(const struct journal *j, const uint64_t *what)
{
    struct journal *lockable = (struct journal *)(uintptr_t)j;
    uint64_t v;

    pthread_mutex_lock(&lockable->lock);
    v = *what;
    pthread_mutex_unlock(&lockable->lock);
    return v;
}

int64_t journal_flush_ns(const struct journal *j)
{
    return __atomic_load_n(&j->flush_ns, __ATOMIC_RELAXED);
}

uint64_t journal_appended(const struct journal *j)
{
    return read_locked(j, &j->appended);
}

uint64_t journal_flushed(const struct journal *j)
{
    return read_locked(j, &j->flushed);
}

uint64_t journal_incarnation(const struct journal *j)
{
    return j->incarnation;
}

uint64_t journal_capacity(const struct journal *j)
{
    return (j->nsegs - JSEG_SPARE) * (j->segment_bytes - JSEG_HDR_SIZE);
}

uint64_t journal_room(const struct journal *j)
{
    uint32_t n = count_free(j);

    n = n > JSEG_SPARE ? n - JSEG_SPARE : 0;
    return n * (j->segment_bytes - JSEG_HDR_SIZE) + (j->started ? j->segment_bytes - j->pos : 0);
}

bool journal_segment(struct journal *j, uint32_t index, struct journal_segment *ret)
{
    const struct jseg *s = &j->segs[index];

    if (index >= j->nsegs)
        return false;
    pthread_mutex_lock(&j->lock);
    *ret = (struct journal_segment){.holds = s->state != JSEG_FREE, .bytes = j->segment_bytes};
    if (ret->holds) {
        ret->first_lsn = s->hdr.first_lsn;
        ret->last_lsn = s->last_lsn;
    }
    pthread_mutex_unlock(&j->lock);
    return true;
}

int journal_switch(struct journal *j)
{
    return j->pos == JSEG_HDR_SIZE ? 0 : segment_next(j);
}

void journal_trim(struct journal *j, uint64_t lsn)
{
    uint32_t i;

    pthread_mutex_lock(&j->lock);
    j->trimmed = MAX_OF(j->trimmed, lsn);
    for (i = 0; i < j->nsegs; i++)
        if (j->segs[i].state == JSEG_FULL && j->segs[i].last_lsn <= lsn)
            j->segs[i].state = JSEG_FREE;
    pthread_mutex_unlock(&j->lock);
}
