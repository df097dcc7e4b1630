#include "snap/store/sift.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mark.h"
#include "snap/store/cold_i.h"

#define WINDOW_BLOCKS (1ull << 27) /* 512 GiB of an object at a time: 16 MiB of memory */
#define HOLD_NS 300000ll           /* of a transaction */
#define WORK_NS 1000000ll          /* after so much work as long a pause */
#define PUTS_MAX 256u
#define SCAN_SPANS 64u
#define SPARE_BLOCKS 8u /* that a file may take beside its bytes, and one for each 64 */

/* In this order: records move to the right only. */
static const uint8_t tables[] = {TAB_INODE, TAB_SPAN, TAB_INODE | TAB_HISTORY, TAB_SPAN | TAB_HISTORY};

enum stage { SCAN, QUEUE };

struct sift {
    struct object_rec rec;
    uint64_t entry;  /* with which it began */
    uint64_t blocks; /* of its file */
    enum stage stage;
    uint64_t from, count; /* the window */
    uint8_t *live;        /* a bit for each block of it */
    bool cold;            /* blocks of it are elsewhere */
    bool later;           /* what was found may not be all: once more */

    enum keep keep; /* what was pending becomes firm: that level first */
    uint8_t owner[21 + 1];
    size_t owner_len; /* the reference in work, with a zero behind it; 0: none yet */
    bool in_owner;
    uint64_t refs, seen; /* what it says, and what was found */
    unsigned txns, owner_txn;
    unsigned table;
    uint8_t key[KEY_SIZE_MAX + 1];
    size_t klen; /* the record looked at last, with a zero behind it; 0: none yet */

    bool in_base; /* the blocks of a dense base: where no span has a record */
    struct vt_at base_at;
    uint64_t base_blocks, base_span;

    uint64_t at; /* block: as far as dead ones have been queued */
    bool all;    /* also what is not known to hold bytes */
    int64_t worked_ns;
};

/* --- what lives ------------------------------------------------------------------------------------------------------------ */

static void mark(struct sift *w, uint64_t first, uint64_t count)
{
    uint64_t a = MAX_OF(first, w->from), b = MIN_OF(first + count, w->from + w->count);

    for (a -= MIN_OF(a, w->from), b -= MIN_OF(b, w->from); a < b; a++) {
        if (a % 8 == 0 && b - a >= 8) {
            memset(w->live + a / 8, 0xff, (b - a) / 8);
            a += (b - a) / 8 * 8;
            if (a == b)
                break;
        }
        w->live[a / 8] |= (uint8_t)(1u << a % 8);
    }
}

static bool is_live(const struct sift *w, uint64_t block)
{
    return w->live[(block - w->from) / 8] & 1u << (block - w->from) % 8;
}

/* Blocks of the object that a span's map names; *ret_names: it names it. */
static int mark_span(struct sift *w, uint64_t span, const void *payload, size_t len, bool *ret_names)
{
    struct span sp;
    int r = span_decode(payload, len, &sp);

    *ret_names = false;
    for (unsigned b = 0, n; r == 0 && b < SPAN_BLOCKS; b += n) {
        const struct span_src *src = span_at(&sp, b);
        for (n = 1; b + n < SPAN_BLOCKS && sp.block[b + n] == sp.block[b];)
            n++;
        if (!src || src->object != w->rec.object)
            continue;
        *ret_names = true;
        mark(w, (uint64_t)((int64_t)(span * SPAN_BLOCKS + b) + src->delta), n);
    }
    return r;
}

/* Its base is what the record before it had, or less of it: where spans have no record, and these only become more. */
static bool same_base(const struct inode *in, const struct txn_val *instead)
{
    struct inode was;

    return instead && !(instead->flags & VAL_TOMB) && inode_decode(instead->data, instead->len, &was) == 0 &&
           was.base_obj == in->base_obj && was.base_blocks >= in->base_blocks;
}

void sift_entered(struct txn *t, uint8_t tab, const void *key, const struct txn_val *instead,
                  const void *payload, size_t len)
{
    struct sift *w = t->store->sift.work;
    struct inode in;
    bool names;

    if (!w || w->stage != SCAN || BROKEN(VARVE_BREAK_sift_blind))
        return;
    if (tab == TAB_SPAN) {
        if (mark_span(w, get_be64((const uint8_t *)key + 8), payload, len, &names) < 0)
            w->later = true;
    } else if (tab == TAB_INODE && inode_decode(payload, len, &in) == 0 && in.base_obj == w->rec.object &&
               !same_base(&in, instead)) {
        MARK("sift: a file gets the object as its base while it is looked at");
        mark(w, 0, in.base_blocks);
        w->later = true; /* which may be too many */
    }
}

/* --- looking: one record, one reference, some spans of a base ------------------------------------------------------------------ */

#define MORE 1

/* All spans below the base's end that have no record. The map is the same wherever the inode's record is seen: with each change of
 * it comes a record of the inode. */
static int base_step(struct sift *w, struct txn *t)
{
    uint64_t next = w->base_span, ino = get_be64(w->owner + 13);
    uint8_t key[16];
    const uint8_t *found;
    struct vt_scan sc;
    struct vt_val v;
    int r = 1;

    put_be64(key, ino);
    put_be64(key + 8, next);
    vt_scan_init(&sc, t, w->keep, w->base_at, TAB_SPAN, key, 8);
    vt_scan_from(&sc, key, 16);
    for (unsigned i = 0; i < SCAN_SPANS && (r = vt_scan_next(&sc, &found, &v)) == 1; i++) {
        uint64_t span = get_be64(found + 8);
        if (span * SPAN_BLOCKS >= w->base_blocks) {
            r = 0;
            break;
        }
        mark(w, next * SPAN_BLOCKS, (span - next) * SPAN_BLOCKS);
        next = span + 1;
    }
    w->base_span = next;
    if (r != 0)
        return r < 0 ? r : MORE;
    if (next * SPAN_BLOCKS < w->base_blocks)
        mark(w, next * SPAN_BLOCKS, w->base_blocks - next * SPAN_BLOCKS);
    w->in_base = false;
    return MORE;
}

/* A place that shows an inode's record; false: there is none, it waits to be freed. */
static bool shown_at(struct sift *w, struct txn *t, uint32_t branch, uint32_t born, uint32_t died)
{
    uint32_t layer = died == DIED_NEVER ? LAYER_NOW : layer_retained_above(t->store, branch, born - 1);

    w->base_at = (struct vt_at){branch, layer};
    return died == DIED_NEVER || layer < died;
}

static int see_inode(struct sift *w, struct txn *t, const uint8_t *key, size_t klen, const struct txn_val *v)
{
    bool old = key[0] & TAB_HISTORY;
    uint32_t died = old ? get_be32(key + klen - 4) : DIED_NEVER;
    struct inode in;
    int r = inode_decode(v->data, v->len, &in);

    if (r < 0)
        return r;
    w->seen += in.base_obj == w->rec.object || in.open_obj == w->rec.object;
    if (in.base_obj != w->rec.object || !in.base_blocks)
        return MORE;
    if (!(in.flags & INODE_SPANS) || !shown_at(w, t, get_be32(key + 1), v->born, died)) {
        mark(w, 0, in.base_blocks);
        return MORE;
    }
    w->in_base = true;
    w->base_blocks = MIN_OF(in.base_blocks, w->from + w->count);
    w->base_span = w->from / SPAN_BLOCKS;
    return MORE;
}

static int owner_ends(struct sift *w)
{
    w->in_owner = false;
    if (w->keep != KEEP_PENDING || w->txns != w->owner_txn || w->seen == w->refs)
        return MORE;
    log_warn("store", "sift", "object=%llx branch=%u ino=%llu references=%llu found=%llu",
             (unsigned long long)w->rec.object, get_be32(w->owner + 9),
             (unsigned long long)get_be64(w->owner + 13), (unsigned long long)w->refs,
             (unsigned long long)w->seen);
    return -E_CORRUPT; /* its records are not what the references say: nothing is freed on their word */
}

static int record_step(struct sift *w, struct txn *t)
{
    uint8_t k[KEY_SIZE_MAX + 1];
    const uint8_t *found;
    struct txn_val v;
    size_t n = 13, flen;
    bool names = false;

    k[0] = tables[w->table];
    memcpy(k + 1, w->owner + 9, 12);
    if (w->klen)
        memcpy(k, w->key, n = w->klen);
    int r = txn_ge(t, w->keep, k, n, 13, &found, &flen, &v);
    if (r == -E_NOENT) {
        w->klen = 0;
        return ++w->table < ARRAY_LEN(tables) ? MORE : owner_ends(w);
    }
    if (r < 0)
        return r;
    memcpy(w->key, found, flen);
    w->key[flen] = 0;
    w->klen = flen + 1;
    if (v.flags & VAL_TOMB)
        return MORE;
    if ((found[0] & ~TAB_HISTORY) == TAB_INODE)
        return see_inode(w, t, found, flen, &v);
    r = mark_span(w, get_be64(found + 13), v.data, v.len, &names);
    w->seen += names;
    return r < 0 ? r : MORE;
}

/* All names of one level have been seen: then the firm ones of inodes that have pending images. 0: that was all. */
static int level_ends(struct sift *w, struct txn *t)
{
    if (w->keep == KEEP_FIRM || !txn_any_pending(t) || BROKEN(VARVE_BREAK_sift_present))
        return 0;
    w->keep = KEEP_FIRM;
    w->owner_len = 0;
    return MORE;
}

static int owner_step(struct sift *w, struct txn *t)
{
    size_t n = w->owner_len ? w->owner_len : 9, flen;
    const uint8_t *found;
    struct txn_val v;

    w->owner[0] = TAB_OBJREF;
    put_be64(w->owner + 1, w->rec.object);
    int r = txn_ge(t, w->keep, w->owner, n, 9, &found, &flen, &v);
    if (r == -E_NOENT)
        return level_ends(w, t);
    if (r < 0)
        return r;
    if (flen != 21 || v.len != 8)
        return -E_CORRUPT;
    memcpy(w->owner, found, flen);
    w->owner[flen] = 0;
    w->owner_len = flen + 1;
    if (file_is_pending(t, get_be32(found + 9), get_be64(found + 13)))
        w->later = true; /* what it still names firmly may die with its becoming firm */
    else if (w->keep == KEEP_FIRM)
        return MORE;
    w->in_owner = true;
    w->refs = get_le64(v.data);
    w->seen = 0;
    w->owner_txn = w->txns;
    w->table = 0;
    w->klen = 0;
    return MORE;
}

static int look_step(struct sift *w, struct txn *t)
{
    return w->in_base ? base_step(w, t) : w->in_owner ? record_step(w, t) : owner_step(w, t);
}

/* Others get at the tables for as long as this was at them. */
static void give_way(struct sift *w)
{
    if (w->worked_ns < WORK_NS)
        return;
    nanosleep(&(struct timespec){.tv_nsec = MIN_OF(w->worked_ns, 100 * WORK_NS)}, NULL);
    w->worked_ns = 0;
}

static int look_some(struct store *s, struct sift *w, int64_t until_ns)
{
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);
    int64_t start = clock_mono_ns();

    if (r < 0)
        return r;
    w->txns++;
    do
        r = look_step(w, &t);
    while (r == MORE && clock_mono_ns() < MIN_OF(until_ns, start + HOLD_NS));
    if (r == 0)
        w->stage = QUEUE; /* from here on nothing of what was not named can be */
    txn_abort(&t);
    w->worked_ns += clock_mono_ns() - start;
    give_way(w);
    return r;
}

/* --- what is dead ------------------------------------------------------------------------------------------------------------ */

/* The next blocks from `block` on that hold bytes; false: none. */
static bool next_data(const struct sift *w, int fd, uint64_t block, uint64_t *ret_from, uint64_t *ret_to)
{
    off_t data = w->all ? -1 : lseek(fd, (off_t)(block * BLOCK_SIZE), SEEK_DATA), hole;

    if (data < 0 && !w->all && errno == ENXIO)
        return false;
    *ret_from = data < 0 ? block : (uint64_t)data / BLOCK_SIZE;
    hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
    *ret_to = hole < 0 ? w->blocks : ((uint64_t)hole + BLOCK_SIZE - 1) / BLOCK_SIZE;
    *ret_to = MIN_OF(*ret_to, w->from + w->count);
    return *ret_from < *ret_to;
}

/* The next dead blocks of the window that hold bytes, up to a living one: with what is free already among them; false: none. */
static bool next_dead(const struct sift *w, int fd, uint64_t *ret_first, uint64_t *ret_count)
{
    uint64_t at = w->at, last = w->from + w->count, from, to, end;

    while (next_data(w, fd, at, &from, &to)) {
        while (from < to && is_live(w, from))
            from++;
        if (from < to) {
            for (end = from; end < last && !is_live(w, end);)
                end++;
            *ret_first = from;
            *ret_count = end - from + (BROKEN(VARVE_BREAK_sift_greedy) ? 1 : 0);
            return true;
        }
        at = to;
    }
    return false;
}

/* Does the file take more than it has bytes and living blocks for? Then space that was reserved has died. */
static bool takes_more(const struct sift *w, int fd, uint64_t taken)
{
    uint64_t want = 0, at = w->from, from, to;

    if (w->count < w->blocks)
        return false; /* a window says nothing about the whole */
    for (; next_data(w, fd, at, &from, &to); at = to) {
        for (; at < from; at++)
            want += is_live(w, at);
        want += to - from;
    }
    for (; at < w->blocks; at++)
        want += is_live(w, at);
    return taken > want + SPARE_BLOCKS + want / 64;
}

static int queue_some(struct store *s, struct sift *w, int fd)
{
    uint64_t first, count;
    struct txn t;
    int r;

    if (!next_dead(w, fd, &first, &count))
        return 0;
    if ((r = txn_begin_freeing(s, OP_RECLAIM, NULL, &t)) < 0)
        return r;
    do {
        r = txn_reclaim(&t, &(struct reclaim_rec){.kind = RECLAIM_PUNCH,
                                                  .branch = w->rec.branch,
                                                  .object = w->rec.object,
                                                  .ino = w->rec.ino,
                                                  .first = first,
                                                  .count = count});
        w->at = first + count;
    } while (r == 0 && t.nputs < PUTS_MAX && next_dead(w, fd, &first, &count));
    if (r == 0)
        r = txn_commit(&t);
    else
        txn_abort(&t);
    return r < 0 ? r : MORE;
}

static int queue_dead(struct store *s, struct sift *w, int64_t until_ns)
{
    struct objfd *f = NULL;
    struct stat st;
    int r = objfd_get(s, w->rec.object, false, &f);

    if (r == -E_NOENT && w->cold) /* all of it is elsewhere */
        r = 0;
    if (r < 0)
        return r;
    w->all |= w->cold;
    if (w->at == w->from && !w->all && io_fstat(s->io, f->fd, &st) == 0)
        w->all = takes_more(w, f->fd, (uint64_t)st.st_blocks * 512 / BLOCK_SIZE);
    do
        r = queue_some(s, w, f ? f->fd : -1);
    while (r == MORE && clock_mono_ns() < until_ns);
    objfd_put(s, f);
    return r;
}

/* --- one object ---------------------------------------------------------------------------------------------------------------- */

static int file_blocks(struct store *s, uint64_t object, uint64_t *ret)
{
    struct objfd *f;
    struct stat st = {0};
    int r = objfd_get(s, object, false, &f);

    if (r < 0)
        return r;
    r = io_fstat(s->io, f->fd, &st);
    objfd_put(s, f);
    *ret = ((uint64_t)st.st_size + BLOCK_SIZE - 1) / BLOCK_SIZE;
    return r;
}

static int last_cold(void *arg, const struct cold_range *range)
{
    *(uint64_t *)arg = range->first + range->blocks;
    return 0;
}

/* With what is elsewhere: of that nothing is known to the file. */
static int object_blocks(struct store *s, uint64_t object, uint64_t *ret, bool *ret_cold)
{
    uint64_t cold = 0, file = 0;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = cold_any(s) ? cold_ranges_each(&t, object, 0, last_cold, &cold) : 0;
    txn_abort(&t);
    if (r == 0)
        r = file_blocks(s, object, &file);
    if (r == -E_NOENT && cold)
        r = 0;
    *ret = MAX_OF(file, cold);
    *ret_cold = cold > 0;
    return r;
}

/* May its owner write to it in place? Then blocks of it may be written that no record names yet. */
static int is_open(struct txn *t, const struct object_rec *rec)
{
    const struct vol *v = vol_by_id(t->store, rec->vol);
    struct inode in;
    int r = v && v->rec.head == rec->branch ? inode_get(t, vol_now(v), rec->ino, &in) : -E_NOENT;

    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    return in.open_obj == rec->object && in.open_layer == v->rec.layer;
}

static void window_begin(struct sift *w, uint64_t from)
{
    w->from = from;
    w->count = MIN_OF(w->blocks - from, WINDOW_BLOCKS);
    memset(w->live, 0, w->count / 8 + 1);
    w->stage = SCAN;
    w->keep = KEEP_PENDING;
    w->owner_len = 0;
    w->in_owner = w->in_base = false;
    w->at = from;
    w->all = false;
}

static int work_new(struct store *s, const struct object_rec *rec, struct sift **ret)
{
    struct sift *w = calloc(1, sizeof(*w));
    int r = w ? object_blocks(s, rec->object, &w->blocks, &w->cold) : -E_NOMEM;

    if (r == 0) {
        w->rec = *rec;
        w->live = malloc(MIN_OF(w->blocks, WINDOW_BLOCKS) / 8 + 1);
        r = w->live ? 0 : -E_NOMEM;
    }
    if (r < 0) {
        free(w);
        return r;
    }
    window_begin(w, 0);
    *ret = w;
    return 0;
}

static void work_free(struct sift *w)
{
    free(w->live);
    free(w);
}

/* From this transaction on every record that enters is seen. The owner's lock: no write to the object is under way that would name
 * more of it. 1: it is open. */
static int begin_locked(struct store *s, struct sift *w)
{
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = is_open(&t, &w->rec);
    if (r == 0) {
        sift_now_shared(s, w->rec.object); /* what goes from now on is suspected anew */
        s->sift.work = w;
    }
    txn_abort(&t);
    return r;
}

static int begin(struct store *s, const struct reclaim_rec *entry)
{
    struct object_rec rec;
    struct sift *w = NULL;
    struct ilock l;
    struct txn t;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = object_get(&t, entry->object, &rec);
    txn_abort(&t);
    if (r == 0 && !(rec.flags & OBJECT_SHARED))
        return -E_NOENT;
    if (r == 0)
        r = work_new(s, &rec, &w);
    if (r < 0)
        return r;
    w->entry = entry->first;
    ilock_take(s, &l, rec.vol, &rec.ino, 1, false);
    r = begin_locked(s, w);
    ilock_drop(&l);
    if (r != 0)
        work_free(w);
    return r;
}

/* again: it stays in the queue. */
static int end(struct store *s, bool again)
{
    struct sift *w = s->sift.work;

    pthread_rwlock_rdlock(&s->lock);
    s->sift.work = NULL;
    if (again)
        sift_known(s, w->rec.object);
    pthread_rwlock_unlock(&s->lock);
    work_free(w);
    return again;
}

static void next_window(struct store *s, struct sift *w)
{
    pthread_rwlock_rdlock(&s->lock);
    window_begin(w, w->from + w->count);
    pthread_rwlock_unlock(&s->lock);
}

int sift_run(struct store *s, struct reclaim_rec *rec, int64_t until_ns)
{
    struct sift *w = s->sift.work;
    int r = 0;

    if (w && w->rec.object != rec->object)
        (void)end(s, true); /* that one begins anew when its turn comes */
    if (!s->sift.work && (r = begin(s, rec)) != 0)
        return r == -E_NOENT ? 0 : r;
    w = s->sift.work;
    rec->first = w->entry;
    do {
        if (w->stage == SCAN) {
            r = look_some(s, w, until_ns);
        } else if ((r = queue_dead(s, w, until_ns)) == 0) {
            if (w->from + w->count >= w->blocks)
                return end(s, w->later);
            next_window(s, w);
        }
    } while (r >= 0 && clock_mono_ns() < until_ns);
    if (r >= 0)
        return 1;
    (void)end(s, false);
    return r == -E_NOENT || r == -E_CORRUPT ? 0
                                            : r; /* damage was told; the space stays until the object goes */
}

void sift_end(struct store *s)
{
    if (s->sift.work)
        work_free(s->sift.work);
    s->sift.work = NULL;
}
