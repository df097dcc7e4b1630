#include "snap/store/change.h"

#include <stdlib.h>
#include <time.h>

#include "base/log.h"

void file_pin(struct vol *v, uint32_t layer)
{
    __atomic_fetch_add(&v->pins[layer % PIN_SLOTS], 1, __ATOMIC_SEQ_CST);
}

void file_unpin(struct vol *v, uint32_t layer)
{
    __atomic_fetch_sub(&v->pins[layer % PIN_SLOTS], 1, __ATOMIC_SEQ_CST);
}

void layer_wait(struct vol *v, uint32_t layer)
{
    while (__atomic_load_n(&v->pins[layer % PIN_SLOTS], __ATOMIC_SEQ_CST) && !BROKEN(VARVE_BREAK_seal_wait))
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

/* The inode's own object, if it may be written in place. */
static uint64_t open_object(const struct change *ch)
{
    if (BROKEN(VARVE_BREAK_in_place))
        return ch->in.open_obj;
    return ch->in.open_layer == ch->at.layer && ch->in.open_obj >= ch->floor ? ch->in.open_obj : 0;
}

int change_begin(struct change *ch, struct vol *v, const struct file_req *rq, uint64_t ino)
{
    static const struct file_req none;
    struct txn t;
    int r;

    memset(ch, 0, sizeof(*ch));
    ch->v = v;
    ch->s = v->store;
    ch->rq = rq ? rq : &none;
    ch->ino = ino;
    ch->floor = __atomic_load_n(&v->store->open_floor, __ATOMIC_SEQ_CST);
    r = txn_begin(v->store, TXN_READ, OP_NONE, v, &t);
    if (r < 0)
        return r;
    ch->at = vol_write(v);
    ch->owner = (struct txn_owner){.branch = ch->at.branch, .ino = ino};
    r = v->readonly || !store_writable(v->store) ? -E_ROFS : inode_get(&t, vol_now(v), ino, &ch->in);
    if (ch->rq->branch && ch->rq->branch != ch->at.branch && !BROKEN(VARVE_BREAK_stale_write))
        r = -E_STALE;
    if (r == 0 && !S_ISREG(ch->in.mode))
        r = S_ISDIR(ch->in.mode) ? -E_ISDIR : -E_INVAL;
    if (r == 0) {
        file_pin(v, ch->at.layer);
        ch->pinned = true;
    }
    txn_abort(&t);
    ch->in.open_obj = open_object(ch);
    ch->blocks_before = (int64_t)ch->in.blocks;
    return r;
}

/* A file that was made for this change, and which no record names. When the store has failed its record may be there. */
static void drop_object(struct change *ch)
{
    char path[4096];

    if (!ch->object_new || ch->done || !store_writable(ch->s))
        return;
    objfd_forget(ch->s, ch->object);
    object_path(ch->s, ch->object, path);
    (void)io_unlink(ch->s->io, path);
    ch->object_new = false;
}

void change_unpin(struct change *ch)
{
    if (ch->pinned)
        file_unpin(ch->v, ch->at.layer);
    ch->pinned = false;
}

void change_end(struct change *ch)
{
    objfd_put(ch->s, ch->fd);
    ch->fd = NULL;
    drop_object(ch);
    if (ch->wrote_end && !ch->done) /* bytes where no record says that there are any */
        store_freeze_objects(ch->s);
    change_unpin(ch);
    __atomic_fetch_sub(&ch->v->reserved_blocks, ch->reserved, __ATOMIC_RELAXED);
    ch->reserved = 0;
}

int change_finish(struct change *ch, int r)
{
    uint64_t images = ch->dirty ? ch->dirty->image_bytes : 0;

    change_end(ch);
    if (r == 0 && ch->done && images > ch->s->set.segment_bytes / 4)
        r = firm_locked(ch->s, ch->at.branch, ch->ino, false);
    return r;
}

int change_object(struct change *ch, bool fresh)
{
    struct txn t = {.store = ch->s};
    int r;

    ch->object = fresh ? 0 : ch->in.open_obj;
    if (!ch->object) {
        ch->object = txn_next_object(&t);
        ch->object_new = true;
    }
    r = objfd_get(ch->s, ch->object, ch->object_new, &ch->fd);
    return r == -E_NOENT ? -E_CORRUPT : r;
}

int change_reserve(struct change *ch, uint64_t blocks)
{
    uint64_t limit = ch->v->rec.size_limit / BLOCK_SIZE;

    if (!blocks || ch->rq->has_room)
        return 0;
    __atomic_fetch_add(&ch->v->reserved_blocks, blocks, __ATOMIC_SEQ_CST);
    ch->reserved += blocks;
    return limit && vol_used_blocks(ch->v) > limit ? -E_QUOTA : 0;
}

int change_pwrite(struct change *ch, const void *p, size_t len, uint64_t off)
{
    objfd_writes(ch->fd);
    int r = len ? io_pwrite(ch->s->io, ch->fd->fd, p, len, off) : 0;

    if (r == 0 && len) {
        ch->wrote_off = ch->wrote_end ? MIN_OF(ch->wrote_off, off) : off;
        ch->wrote_end = MAX_OF(ch->wrote_end, off + len);
    }
    return r;
}

static int open_dirty(struct change *ch)
{
    struct dirty *d = dirty_find(ch->s, ch->at.branch, ch->ino);
    int r = 0;

    if (d && d->failed)
        return -E_ROFS;
    if (d && d->pending)
        ch->keep = KEEP_PENDING;
    if (ch->keep == KEEP_PENDING)
        r = dirty_reserve(ch->s, ch->v->rec.id, ch->at.branch, ch->ino, &ch->dirty);
    if (r == 0 && ch->object)
        r = dirty_add_object(ch->dirty, ch->object, &ch->dobj);
    return r;
}

int change_open(struct change *ch, enum op_kind op, bool pending)
{
    bool freeing = op != OP_WRITE;
    int r = freeing ? txn_begin_freeing(ch->s, op, ch->v, &ch->t)
                    : txn_begin(ch->s, TXN_WRITE, op, ch->v, &ch->t);

    if (r < 0)
        return r;
    ch->t.conn = ch->rq->conn;
    ch->t.unique = ch->rq->unique;
    ch->t.answer = ch->rq->answer;
    ch->t.part = ch->rq->part;
    ch->keep = pending ? KEEP_PENDING : KEEP_FIRM;
    r = open_dirty(ch);
    if (r == 0) /* first of all: what is pending counts from the firm records that it changes */
        r = change_kill_priv(ch);
    if (r ==
        0) { /* nobody changed it: its lock is ours. But attributes may have, before we took it: read again */
        uint64_t open = ch->in.open_obj;
        r = inode_get_at(&ch->t, KEEP_PENDING, (struct vt_at){ch->at.branch, LAYER_NOW}, ch->ino, &ch->was,
                         &ch->in);
        ch->in.open_obj = open_object(ch);
        assert(r < 0 || open == ch->in.open_obj);
        ch->blocks_before = (int64_t)ch->in.blocks;
    }
    if (r < 0)
        txn_abort(&ch->t);
    return r;
}

void change_abort(struct change *ch)
{
    txn_abort(&ch->t);
}

/* What the commit does to the memory beside the tables. */
static void change_done(struct store *s, void *arg)
{
    struct change *ch = arg;
    struct dirty *d = ch->dirty;
    int64_t delta = (int64_t)ch->in.blocks - ch->blocks_before;

    if (!d->pending || ch->at.layer < d->first_layer)
        d->first_layer = ch->at.layer;
    if (!d->first_lsn || ch->at.layer < d->bytes_layer)
        d->bytes_layer = ch->at.layer;
    if (!d->first_lsn)
        d->first_lsn = ch->t.lsn;
    d->image_bytes += ch->t.bytes;
    d->pending = true;
    if (ch->v->rec.head == ch->at.branch) {
        d->delta_blocks += delta;
        __atomic_fetch_add(&ch->v->pending_blocks, delta, __ATOMIC_RELAXED);
    }
    if (ch->dobj && ch->wrote_end)
        dirty_wrote(s, ch->dobj, ch->wrote_off, ch->wrote_end - ch->wrote_off);
}

static int put_object(struct change *ch)
{
    struct object_rec rec = {.object = ch->object,
                             .ino = ch->ino,
                             .vol = ch->v->rec.id,
                             .branch = ch->at.branch,
                             .layer = ch->at.layer};
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];

    if (!ch->object_new)
        return 0;
    ch->t.next_changed = true;
    return txn_put(&ch->t, ch->keep, ch->owner, k, key_u64(k, TAB_OBJECT, ch->object), 0, 0, out,
                   object_rec_encode(&rec, out));
}

int change_put(struct change *ch)
{
    int r = put_object(ch);

    if (ch->dropped)
        ch->in.open_obj = 0;
    if (ch->object) {
        ch->in.open_obj = ch->object;
        ch->in.open_layer = ch->at.layer;
    }
    if (!ch->moves && !ch->rq->keep_times) {
        inode_now(&ch->in.ctime);
        ch->in.mtime = ch->in.ctime;
    }
    if (!ch->moves)
        ch->in.change++;
    if (r == 0)
        r = inode_put_over(&ch->t, ch->keep, ch->keep == KEEP_PENDING ? ch->owner : (struct txn_owner){0},
                           ch->at, &ch->was, &ch->in);
    if (r == 0 && ch->in.nlink)
        r = layer_late_blocks(&ch->t, ch->v, ch->at.layer, (int64_t)ch->in.blocks - ch->blocks_before);
    if (r == 0 && ch->keep == KEEP_PENDING)
        r = txn_on_commit(&ch->t, change_done, ch);
    else if (r == 0 && ch->v->rec.head == ch->at.branch)
        txn_charge(&ch->t, ch->v, (int64_t)ch->in.blocks - ch->blocks_before, 0);
    if (r < 0) {
        txn_abort(&ch->t);
        return r;
    }
    r = txn_commit(&ch->t);
    ch->done = r == 0;
    return r;
}

struct span_src change_src(const struct change *ch, uint8_t kind)
{
    return (struct span_src){
        .kind = kind, .data_born = ch->at.layer, .owner_vol = ch->v->rec.id, .object = ch->object};
}

int change_span_load(struct change *ch, struct txn *t, uint64_t span, struct span *ret, bool *ret_had,
                     bool *ret_inherited)
{
    int r = span_load(t, (struct vt_at){ch->at.branch, LAYER_NOW}, &ch->in, span, ret, ret_inherited);

    if (r >= 0)
        *ret_had = r == 1;
    return r < 0 ? r : 0;
}

/* A map copied up from the parent names its objects in two branches from now on. */
static int share_sources(struct change *ch, const struct span *new)
{
    for (unsigned i = 1; i <= new->nsrc; i++) {
        if (new->src[i].object == ch->object || !new->src[i].object)
            continue;
        int r = object_mark_shared(&ch->t, new->src[i].object);
        if (r < 0)
            return r;
    }
    return 0;
}

static void note_dropped(struct change *ch, const struct span *old, const struct span *new)
{
    unsigned b, end;

    span_changed(old, new, &b, &end);
    for (; b < end && ch->in.open_obj && !ch->dropped; b++) {
        const struct span_src *o = span_at(old, b), *n = span_at(new, b);
        if (o && o->object == ch->in.open_obj && (!n || n->object != o->object || n->delta != o->delta))
            ch->dropped = true;
    }
}

int change_span_store(struct change *ch, uint64_t span, const struct span *old, const struct span *new,
                      bool had, bool inherited_src)
{
    uint8_t key[16], out[SPAN_SIZE_MAX];
    struct txn_owner o = ch->keep == KEEP_PENDING ? ch->owner : (struct txn_owner){0};
    int r = 0;

    ch->in.blocks += span_mapped(new) - (uint64_t)span_mapped(old);
    note_dropped(ch, old, new);
    put_be64(key, ch->ino);
    put_be64(key + 8, span);
    if (inherited_src || ch->in.inherited)
        r = share_sources(ch, new);
    if (r < 0)
        return r;
    bool beyond = ch->in.base_obj == 0 || ch->in.base_blocks <= span * SPAN_BLOCKS;
    if (span_empty(new) && beyond) { /* without a record it is a hole */
        r = had ? vt_del(&ch->t, ch->keep, o, ch->at, TAB_SPAN, key) : 0;
    } else {
        r = vt_put(&ch->t, ch->keep, o, ch->at, TAB_SPAN, key, out, span_encode(new, out));
        ch->in.flags |= INODE_SPANS;
    }
    return r < 0 ? r : span_dead(&ch->t, ch->keep, o, ch->at.branch, span, old, new, ch->at.layer);
}

/* One span of a cut; whole records beyond a truncation's end are removed. */
static int cut_span(struct change *ch, uint64_t span, uint64_t first, uint64_t end)
{
    uint64_t base = span * SPAN_BLOCKS, a = MAX_OF(first, base), b = MIN_OF(end, base + SPAN_BLOCKS);
    struct span old, new;
    bool had, inh;
    int r = change_span_load(ch, &ch->t, span, &old, &had, &inh);

    if (r < 0)
        return r;
    span_copy(&new, &old);
    (void)span_set(&new, (unsigned)(a - base), (unsigned)(b - a), NULL);
    bool over =
        had && end == UINT64_MAX && base >= first; /* the record itself goes: there is no file any more */
    if (memcmp(new.block, old.block, sizeof(new.block)) == 0 && !over)
        return 0;
    return change_span_store(ch, span, &old, &new, had, inh);
}

static int cut_records(struct change *ch, uint64_t from_span, uint64_t first, uint64_t end)
{
    struct vt_scan sc;
    uint8_t key[16];
    const uint8_t *found;
    struct vt_val v;
    int r;

    if (!(ch->in.flags & INODE_SPANS))
        return 0;
    put_be64(key, ch->ino);
    put_be64(key + 8, from_span);
    vt_scan_init(&sc, &ch->t, KEEP_PENDING, (struct vt_at){ch->at.branch, LAYER_NOW}, TAB_SPAN, key, 8);
    vt_scan_from(&sc, key, 16);
    while ((r = vt_scan_next(&sc, &found, &v)) == 1) {
        uint64_t span = get_be64(found + 8);
        if (end != UINT64_MAX && span > (end - 1) / SPAN_BLOCKS)
            break;
        r = cut_span(ch, span, first, end);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : 0;
}

struct records {
    uint64_t from, to,
        blocks; /* blocks [from, to) of the file; how many of them lie in spans with a record */
};

static int count_recorded(struct change *ch, struct records *rc)
{
    struct vt_scan sc;
    uint8_t key[16];
    const uint8_t *found;
    struct vt_val v;
    int r;

    if (!(ch->in.flags & INODE_SPANS))
        return 0;
    put_be64(key, ch->ino);
    put_be64(key + 8, rc->from / SPAN_BLOCKS);
    vt_scan_init(&sc, &ch->t, KEEP_PENDING, (struct vt_at){ch->at.branch, LAYER_NOW}, TAB_SPAN, key, 8);
    vt_scan_from(&sc, key, 16);
    while ((r = vt_scan_next(&sc, &found, &v)) == 1) {
        uint64_t base = get_be64(found + 8) * SPAN_BLOCKS;
        if (base >= rc->to)
            return 0;
        rc->blocks += MIN_OF(rc->to, base + SPAN_BLOCKS) - MAX_OF(rc->from, base);
    }
    return r;
}

/* The dense part's tail goes: no span of it needs a record. */
static int cut_base_tail(struct change *ch, uint64_t first)
{
    uint64_t was = ch->in.base_blocks;
    struct records rc = {.from = first, .to = was};
    int r = count_recorded(ch, &rc); /* those are cut as records */

    if (r < 0)
        return r;
    if (ch->in.base_obj == ch->in.open_obj)
        ch->dropped = true;
    ch->in.blocks -= was - first - rc.blocks;
    ch->in.base_blocks = first;
    if (first == 0) {
        ch->in.base_obj = 0;
        return 0; /* it goes as a whole, when nothing names it */
    }
    if (ch->in.inherited || layer_retained(ch->s, ch->at.branch, ch->in.base_layer, ch->at.layer))
        return 0;
    struct txn_owner o = ch->keep == KEEP_PENDING ? ch->owner : (struct txn_owner){0};
    return punch_queue(&ch->t, ch->keep, o, ch->at.branch, ch->in.base_obj, first, was - first);
}

int change_cut(struct change *ch, uint64_t first, uint64_t end)
{
    int r = 0;

    if (first >= end)
        return 0;
    if (ch->in.base_obj && end >= ch->in.base_blocks && first < ch->in.base_blocks) {
        r = cut_base_tail(ch, first);
        return r < 0 ? r : cut_records(ch, first / SPAN_BLOCKS, first, end);
    }
    if (ch->in.base_obj && first < ch->in.base_blocks)
        for (uint64_t span = first / SPAN_BLOCKS; r == 0 && span <= (end - 1) / SPAN_BLOCKS; span++)
            r = cut_span(ch, span, first, end);
    else
        r = cut_records(ch, first / SPAN_BLOCKS, first, end);
    return r;
}
