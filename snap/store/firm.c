/* Making pending inodes firm (F1): their bytes first, then one record; or the bytes in the record when they are few. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "snap/store/store_int.h"

struct images {
    struct txn *t;
    int r;
};

static int add_image(void *arg, const struct kv_item *it)
{
    struct images *im = arg;

    im->r = txn_put_enveloped(im->t, it->key, it->klen, it->val, it->vlen);
    return im->r;
}

/* All pending images of the inode as firm ones, in the transaction. */
static int put_images(struct txn *t, const struct dirty *d)
{
    struct images im = {t, 0};

    if (!d->pending)
        return 0;
    int r = kv_pending_each(t->store->kv, (struct kv_owner){d->branch, d->ino}, add_image, &im);
    if (r < 0)
        return r; /* not all of them were looked at */
    struct vol *v = vol_by_id(t->store, d->vol);
    if (v && v->rec.head == d->branch && d->delta_blocks)
        txn_charge(t, v, d->delta_blocks, 0);
    return txn_release(t, (struct txn_owner){.branch = d->branch, .ino = d->ino});
}

static void no_delta(struct store *s, struct dirty *d)
{
    struct vol *v = vol_by_id(s, d->vol);

    if (v && v->rec.head == d->branch)
        __atomic_fetch_sub(&v->pending_blocks, d->delta_blocks, __ATOMIC_RELAXED);
    d->delta_blocks = 0;
    d->image_bytes = 0;
    d->pending = false;
}

static void firm_synced(struct store *s, void *arg)
{
    struct dirty *d = arg;

    no_delta(s, d);
    dirty_remove(s, d);
}

static void firm_in_record(struct store *s, void *arg)
{
    struct dirty *d = arg;

    no_delta(s, d);
    dirty_clean_objects(s, d, false);
}

static uint64_t few_bytes(const struct dirty *d)
{
    uint64_t sum = 0, n = 0;

    for (const struct dirty_obj *o = d->objs; o; o = o->next) {
        if (o->overflow)
            return UINT64_MAX;
        for (unsigned i = 0; i < o->nranges; i++, n++)
            sum += o->range[i].len;
    }
    return n <= FSYNC_RANGES_MAX ? sum : UINT64_MAX;
}

/* Reads the unsynced ranges; `at` is filled with the bytes in the order of the lists. */
static int read_ranges(struct store *s, const struct dirty *d, uint8_t *at)
{
    for (const struct dirty_obj *o = d->objs; o; o = o->next) {
        struct objfd *f;
        int r = o->nranges ? objfd_get(s, o->object, false, &f) : 0;
        if (r < 0)
            return r;
        for (unsigned i = 0; i < o->nranges && r == 0; i++) {
            size_t got;
            r = io_pread(s->io, f->fd, at, o->range[i].len, o->range[i].off, &got);
            if (r == 0)
                memset(at + got, 0, o->range[i].len - got);
            at += o->range[i].len;
        }
        if (o->nranges)
            objfd_put(s, f);
        if (r < 0)
            return r;
    }
    return 0;
}

static int firm_with_payload(struct store *s, struct dirty *d, uint64_t bytes)
{
    cleanup(buf_free) struct buf b = {0};
    struct txn t;
    int r = buf_add_zero(&b, bytes ? bytes : 1);

    if (r == 0)
        r = read_ranges(s, d, b.data);
    if (r == 0)
        r = txn_begin_freeing(s, OP_SYNC, NULL, &t);
    if (r < 0)
        return r;
    t.vol = d->vol;
    const uint8_t *at = b.data;
    for (const struct dirty_obj *o = d->objs; o && r == 0; o = o->next)
        for (unsigned i = 0; i < o->nranges && r == 0; at += o->range[i].len, i++)
            r = txn_payload(&t, o->object, o->range[i].off, at, (uint32_t)o->range[i].len);
    if (r == 0)
        r = put_images(&t, d);
    if (r == 0)
        r = txn_on_commit(&t, firm_in_record, d);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    return txn_commit(&t);
}

/* Errors that pass: the inode stays as it is, to be made firm another time. */
static bool firm_later(int r)
{
    return r == -E_NOMEM || r == -E_NOSPC || (r == -E_FILES && !BROKEN(VARVE_BREAK_few_descriptors));
}

static void sync_failed(struct store *s, struct dirty *d, int r)
{
    uint32_t vol = d->vol;
    uint64_t ino = d->ino;
    bool first = false;
    char why[100];
    struct vol *v;

    snprintf(why, sizeof(why), "write-back of inode %llu failed: %s", (unsigned long long)ino, err_text(r));
    pthread_rwlock_wrlock(&s->lock);
    d->failed = true;
    v = vol_by_id(s, vol);
    if (v && !v->readonly && !BROKEN(VARVE_BREAK_writeback_quiet)) {
        first = v->readonly = true;
        v->why_readonly = strdup(why);
    }
    pthread_rwlock_unlock(&s->lock);
    log_error("store", "writeback_failed", "vol=%u ino=%llu error=%s", vol, (unsigned long long)ino,
              err_name(r));
    if (first)
        failed_note(s, vol, why);
}

int tail_add_synced(struct buf *tail, uint64_t object)
{
    uint8_t tlv[12];

    put_le16(tlv, TAIL_SYNCED);
    put_le16(tlv + 2, 8);
    put_le64(tlv + 4, object);
    return buf_add(tail, tlv, sizeof(tlv));
}

static int sync_objects(struct store *s, struct dirty *d, struct buf *tail)
{
    for (struct dirty_obj *o = d->objs; o; o = o->next) {
        int r = o->unsynced ? objfd_sync(s, o->object) : 0;
        if (r == -E_NOENT)
            r = 0; /* unlinked meanwhile: nothing names it */
        if (r == 0)
            r = tail_add_synced(tail, o->object);
        if (r < 0)
            return r;
    }
    return 0;
}

static int firm_with_sync(struct store *s, struct dirty *d)
{
    cleanup(buf_free) struct buf tail = {0};
    struct txn t;
    int r = sync_objects(s, d, &tail);

    if (r < 0) {
        if (!firm_later(r))
            sync_failed(s, d, r);
        return r;
    }
    r = txn_begin_freeing(s, OP_SYNC, NULL, &t);
    if (r < 0)
        return r;
    t.vol = d->vol;
    t.tail = &tail;
    r = put_images(&t, d);
    if (r == 0)
        r = txn_on_commit(&t, firm_synced, d);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    return txn_commit(&t);
}

/* Bytes that may travel in a record, which lies in one segment, with what else is in it (change_finish bounds that). */
static uint64_t payload_max(const struct store *s)
{
    if (BROKEN(VARVE_BREAK_long_record))
        return FSYNC_BYTES_MAX;
    return MIN_OF((uint64_t)FSYNC_BYTES_MAX, s->set.segment_bytes / 2);
}

int firm_locked(struct store *s, uint32_t branch, uint64_t ino, bool payload)
{
    int r;

    pthread_rwlock_rdlock(&s->lock);
    struct dirty *d = dirty_find(s, branch, ino); /* stays: its inode's lock is ours */
    pthread_rwlock_unlock(&s->lock);
    if (!d)
        return 0;
    if (d->failed)
        return -E_IO;
    if ((r = catchup_await(s)) < 0)
        return r;
    uint64_t bytes = few_bytes(d);
    if (payload && !d->pending)
        return 0; /* its bytes are in records already */
    if (payload && bytes <= payload_max(s))
        r = firm_with_payload(s, d, bytes);
    else
        r = firm_with_sync(s, d);
    if (r < 0 && !firm_later(r) && store_writable(s) && !d->failed)
        sync_failed(s, d, r); /* it would fail again and again, and keep the journal from being trimmed */
    return r;
}

struct pick {
    uint32_t vol, branch;
    uint64_t ino;
};

/* The oldest dirty inode that `want` takes; false: none. */
static bool pick_next(struct store *s, bool (*want)(const struct dirty *d, const void *arg), const void *arg,
                      struct pick *ret)
{
    bool found = false;

    pthread_rwlock_rdlock(&s->lock);
    for (struct dirty *d = s->dirty_list.next; d != &s->dirty_list && !found; d = d->next) {
        if (d->failed || !want(d, arg))
            continue;
        *ret = (struct pick){d->vol, d->branch, d->ino};
        found = true;
    }
    pthread_rwlock_unlock(&s->lock);
    return found;
}

/* Errors of single inodes turn their volume read-only and are not tried again; a stopped store ends it. */
static int firm_all(struct store *s, bool (*want)(const struct dirty *d, const void *arg), const void *arg)
{
    struct pick p;
    int first = catchup_await(s);

    if (first < 0)
        return first;
    if (__atomic_load_n(&s->ndirty, __ATOMIC_RELAXED) > 32 && pick_next(s, want, arg, &p)) {
        int r = BROKEN(VARVE_BREAK_data_sync) ? 0 : objfd_sync_all(s); /* one wait for all of them */
        if (r < 0)
            return r;
    }
    while (pick_next(s, want, arg, &p)) {
        struct ilock l;
        store_no_wait++;
        ilock_take(s, &l, p.vol, &p.ino, 1, true);
        int r = firm_locked(s, p.branch, p.ino, false);
        ilock_drop(&l);
        store_no_wait--;
        if (r < 0 && first == 0)
            first = r;
        if (r < 0 && (firm_later(r) || !store_writable(s)))
            break;
    }
    return first;
}

struct older {
    int64_t before_ns;
    uint64_t upto_lsn;
};

static bool want_older(const struct dirty *d, const void *arg)
{
    const struct older *o = arg;

    return d->since_ns < o->before_ns || (d->first_lsn && d->first_lsn <= o->upto_lsn);
}

int dirty_make_firm_older(struct store *s, int64_t before_ns, uint64_t upto_lsn)
{
    return firm_all(s, want_older, &(struct older){before_ns, upto_lsn});
}

bool dirty_any_older(struct store *s, uint64_t upto_lsn)
{
    struct pick p;

    return pick_next(s, want_older, &(struct older){INT64_MIN, upto_lsn}, &p);
}

struct layers {
    uint32_t vol, layer;
};

static bool want_layer(const struct dirty *d, const void *arg)
{
    const struct layers *l = arg;

    return d->pending && (!l->vol || d->vol == l->vol) && (!l->layer || d->first_layer <= l->layer);
}

/* Inodes whose bytes could not be brought to the disk never become firm: what asks for all of them must not hear "done". */
static bool any_failed(struct store *s, const struct layers *l)
{
    bool found = false;

    pthread_rwlock_rdlock(&s->lock);
    for (const struct dirty *d = s->dirty_list.next; d != &s->dirty_list && !found; d = d->next)
        found = d->failed && want_layer(d, l);
    pthread_rwlock_unlock(&s->lock);
    return found;
}

int file_make_firm(struct store *s, uint32_t vol, uint32_t upto_layer)
{
    struct layers l = {vol, upto_layer};

    if (BROKEN(VARVE_BREAK_settle))
        return 0;
    int r = firm_all(s, want_layer, &l);
    return r == 0 && any_failed(s, &l) ? -E_IO : r;
}

int file_make_firm_ino(struct vol *v, uint32_t branch, uint64_t ino)
{
    return firm_locked(v->store, branch, ino, false);
}

int file_settle_locked(struct vol *v, uint64_t ino)
{
    if (BROKEN(VARVE_BREAK_rename_order))
        return 0;
    return firm_locked(v->store, v->rec.head, ino, true);
}

int file_sync(struct vol *v, uint64_t ino)
{
    struct store *s = v->store;
    struct ilock l = {0};
    int r;

    if (v->readonly && ino)
        return -E_IO;
    if ((r = catchup_await(s)) < 0)
        return r;
    if (ino) {
        ilock_take(s, &l, v->rec.id, &ino, 1, true);
        r = firm_locked(s, v->rec.head, ino, true);
        ilock_drop(&l);
        if (r < 0)
            return r;
    }
    return store_flush(s);
}
