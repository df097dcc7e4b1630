/* Opening after any kind of stop: replay of the journal, bytes that travelled in records, objects nobody knows (F1, F10,
 * F11, F13). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/enc.h"
#include "base/log.h"
#include "snap/store/feature.h"
#include "snap/store/recover_bytes.h"
#include "snap/store/store_int.h"
#include "snap/store/tabpages.h"

#define PUT_BYTES 256u /* of a journal full of creations, for each key that it changes */

struct replay {
    struct store *s;
    char *why;
    struct recover_bytes bytes; /* of records of another boot */
    uint64_t records;
    bool cut; /* records were written before this boot, and none on this one says that the cut was seen to */
};

static int replay_tail(struct replay *rp, const struct jrec_view *rec, bool same_boot)
{
    struct dec d = dec_of(rec->tail, rec->hdr.tail_len);

    while (d.left >= 4) {
        uint16_t type = dec_u16(&d), len = dec_u16(&d);
        const uint8_t *p = dec_bytes(&d, len);
        if (p && type == TAIL_SYNCED && len == 8) {
            int r = recover_bytes_synced(&rp->bytes, get_le64(p), rec->hdr.lsn);
            if (r < 0)
                return r;
        } else if (p && same_boot) {
            int r = answers_replay(rp->s, rec, type, p, len);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* A pending record that is left out may have named an object whose firm names were taken away on the strength of it. */
static int note_lost(struct store *s, const struct jput *p)
{
    uint64_t object;

    if (p->klen <= 9 || p->key[0] != TAB_OBJREF)
        return 0;
    object = get_be64(p->key + 1);
    if (s->lost.len && memcmp(s->lost.data + s->lost.len - sizeof(object), &object, sizeof(object)) == 0)
        return 0;
    return buf_add(&s->lost, &object, sizeof(object));
}

/* Most of what a put costs is waiting for memory that was not touched for long: all puts of a record wait together. */
static void puts_near(struct kv *kv, const struct jrec_view *rec)
{
    struct jrec_view v;
    struct jput p;

    if (rec->hdr.nputs < 2)
        return;
    for (int node = 0; node < 2; node++)
        for (v = *rec; jrec_next_put(&v, &p) == 1;)
            kv_near(kv, p.key, p.klen, node);
}

/* The first of another boot: who has asked then is gone. */
static void note_foreign(struct replay *rp)
{
    if (!rp->cut)
        answers_clear(rp->s);
    rp->cut = true;
}

/* A daemon of this boot has recovered from the cut, and the room above, too: what came after it is this boot's own, settling
 * snapshots among it, although the tables do not hold it yet. */
static void note_seen_to(struct replay *rp, const struct jput *p)
{
    uint8_t k[KEY_SIZE_MAX];
    size_t klen = key_meta(k, META_CUT);

    if (p->op == 1 && p->klen == klen && memcmp(p->key, k, klen) == 0 && !BROKEN(VARVE_BREAK_cut_seen_to))
        rp->cut = false;
}

static int replay_record(void *arg, struct jrec_view *rec, bool same_boot)
{
    struct replay *rp = arg;
    struct kv *kv = rp->s->kv;
    struct jput p;

    if ((rec->hdr.flags & JREC_MUST) && !feature_kind_known(rec->hdr.kind)) {
        snprintf(
            rp->why, 256,
            "record %llu of the journal is of kind %u, which this program does not know; use a newer varve",
            (unsigned long long)rec->hdr.lsn, rec->hdr.kind);
        return -E_STORE_FEATURE;
    }
    int r = kv_reserve(kv, rec->hdr.nputs, rec->hdr.len);

    puts_near(kv, rec);
    if (!same_boot)
        note_foreign(rp);
    while (r == 0 && (r = jrec_next_put(rec, &p)) == 1) {
        struct kv_owner o = {p.owner_branch, p.owner_ino};
        r = 0;
        if (p.level == KEEP_PENDING && !same_boot && !BROKEN(VARVE_BREAK_pending_firm)) {
            r = note_lost(rp->s, &p);
            continue;
        }
        if (p.op == 2)
            kv_pending_drop(kv, o);
        else if (p.level == KEEP_PENDING)
            kv_put_pending(kv, o, p.key, p.klen, p.op ? NULL : p.val, p.vlen);
        else
            kv_put(kv, p.key, p.klen, p.op ? NULL : p.val, p.vlen);
        if (same_boot && rp->cut)
            note_seen_to(rp, &p);
    }
    if (r == 0)
        r = replay_tail(rp, rec, same_boot);
    rp->records++;
    /* on the same boot the page cache is newer than what travelled in records */
    return r == 0 && !same_boot && rec->hdr.npayloads > 0 ? recover_bytes_note(&rp->bytes, rec) : r;
}

static int read_meta(struct store *s, enum meta m, const uint8_t **ret, size_t *ret_len, struct txn *t)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    int r = txn_get(t, KEEP_FIRM, k, key_meta(k, m), &v);

    (void)s;
    if (r < 0)
        return r == -E_NOENT ? -E_CORRUPT : r;
    *ret = v.data;
    *ret_len = v.len;
    return 0;
}

static int read_numbers(struct store *s, uint64_t *ret_applied, struct next_rec *ret)
{
    struct txn t;
    const uint8_t *p = NULL;
    size_t len = 0;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    r = read_meta(s, META_APPLIED_LSN, &p, &len, &t);
    if (r == 0)
        r = len == 8 ? 0 : -E_CORRUPT;
    if (r == 0)
        *ret_applied = get_le64(p);
    if (r == 0)
        r = read_meta(s, META_NEXT, &p, &len, &t);
    if (r == 0)
        r = next_rec_decode(p, len, ret);
    txn_abort(&t);
    return r;
}

/* Objects made since the last checkpoint that no record names: their operation never returned. */
struct sweep {
    struct store *s;
    const char *dir;
    uint64_t from, highest, swept;
};

static int sweep_file(void *arg, const char *name)
{
    struct sweep *sw = arg;
    struct object_rec rec;
    struct txn t;
    char *end, path[4400];
    uint64_t object = strtoull(name, &end, 16);

    if (*end || object < sw->from)
        return 0;
    sw->highest = MAX_OF(sw->highest, object);
    int r = txn_begin(sw->s, TXN_READ, OP_NONE, NULL, &t);
    if (r < 0)
        return r;
    r = object_get(&t, object, &rec);
    txn_abort(&t);
    if (r != -E_NOENT)
        return r;
    snprintf(path, sizeof(path), "%s/%s", sw->dir, name);
    sw->swept++;
    return io_unlink(sw->s->io, path);
}

static int sweep_dir(void *arg, const char *name)
{
    struct sweep *sw = arg;
    char dir[4300], *end;
    uint64_t high = strtoull(name, &end, 16);

    if (*end || high < sw->from >> OBJECT_DIR_SHIFT)
        return 0;
    snprintf(dir, sizeof(dir), "%s/data/%s", sw->s->path, name);
    sw->dir = dir;
    uint64_t before = sw->swept;
    int r = io_list(dir, sweep_file, sw);
    sw->dir = NULL;
    /* the next checkpoint moves on the number from which files are looked for: none may come back after it */
    return r == 0 && sw->swept > before ? io_sync_dir(sw->s->io, dir) : r;
}

static int sweep_objects(struct store *s, uint64_t from)
{
    char dir[4200];
    struct sweep sw = {.s = s, .from = from};

    snprintf(dir, sizeof(dir), "%s/data", s->path);
    int r = io_list(dir, sweep_dir, &sw);
    if (r < 0)
        return r;
    if (sw.swept)
        log_note("store", "swept", "objects=%llu", (unsigned long long)sw.swept);
    s->next.object = MAX_OF(s->next.object, sw.highest + 1);
    return 0;
}

/* What a power cut means for the room above is remembered in the tables until it has been seen to: the records that tell it
 * are gone with the first checkpoint. So this is written before anything that may make one. */
static bool cut_noted(struct store *s)
{
    struct txn t;
    const uint8_t *p;
    size_t len;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return false;
    r = read_meta(s, META_CUT, &p, &len, &t);
    txn_abort(&t);
    return r == 0;
}

static int note_cut(struct store *s)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn t;
    int r;

    store_no_wait++; /* for room: there is a fresh segment */
    r = txn_begin_freeing(s, OP_NONE, NULL, &t);
    store_no_wait--;
    if (r < 0)
        return r;
    r = txn_put_plain(&t, k, key_meta(k, META_CUT), "", 0);
    if (r == 0)
        return txn_commit(&t);
    txn_abort(&t);
    return r;
}

/* The disk brings the journal, which has to be gone through from its beginning to its end by one, and then the tables. */
static void read_ahead(struct store *s, uint64_t applied)
{
    struct io_range journal[TABPAGES_FIRST_MAX];

    if (s->proof)
        tabpages_ahead(s->proof, journal, journal_ranges(s->journal, applied, journal, TABPAGES_FIRST_MAX));
}

int store_replay(struct store *s, char why[256])
{
    struct replay rp = {.s = s, .why = why};
    char pwhy[256] = "";
    struct next_rec ckpt;
    uint64_t applied = 0;
    int r = read_numbers(s, &applied, &ckpt);

    if (r < 0) {
        snprintf(why, 256, "the tables in %s/meta are damaged (%s)", s->path, err_text(r));
        return r;
    }
    s->sealed_lsn = applied;
    r = answers_load(s);
    if (r < 0) {
        snprintf(why, 256, "the tables in %s/meta are damaged (%s)", s->path, err_text(r));
        return r;
    }
    if (!journal_same_boot(s->journal))
        answers_clear(s);
    read_ahead(s, applied);
    kv_expect(s->kv, journal_unread(s->journal, applied) / PUT_BYTES);
    r = journal_replay(s->journal, applied, replay_record, &rp, why);
    int damaged = r == -E_JOURNAL ? r : 0;
    int proved = BROKEN(VARVE_BREAK_unproved) ? 0 : store_proved(s, pwhy); /* before anything is written */
    if (proved < 0) {
        memcpy(why, pwhy, sizeof(pwhy));
        recover_bytes_free(&rp.bytes);
        return proved;
    }
    if (r == 0 || damaged)
        r = read_numbers(s, &applied, &s->next);
    s->new_objects = ckpt.object;
    s->unclean = rp.records > 0;
    s->powercut = rp.cut || (r == 0 && cut_noted(s)); /* also when a daemon has begun to recover, and died */
    bool writes = r == 0 && !damaged && !(s->flags & STORE_READONLY);
    if (writes && !BROKEN(VARVE_BREAK_payload))
        r = recover_bytes_write(&rp.bytes, s);
    if (writes &&
        r == 0) /* also without records: those of new objects may be lost, while their names are not */
        /* what a failed write-back left is older */
        r = sweep_objects(s, failed_any(s) ? 0 : ckpt.object);
    store_freeze_objects(s); /* the last daemon may have died between the bytes of a write and its record */
    if (r == 0)
        r = reclaim_count(s);
    if (rp.records)
        log_note("store", "replayed", "path=%s records=%llu payloads=%llu powercut=%d", s->path,
                 (unsigned long long)rp.records, (unsigned long long)rp.bytes.payloads, s->powercut);
    recover_bytes_free(&rp.bytes);
    return r < 0 ? r : damaged;
}

/* Same boot: the pending inodes live on; all their bytes are put on disk by one syncfs (F11). */
static int add_owner(void *arg, struct kv_owner owner)
{
    return buf_add(arg, &owner, sizeof(owner));
}

static int inode_blocks(struct store *s, enum keep keep, struct kv_owner o, int64_t *ret)
{
    struct txn t;
    uint8_t key[8];
    struct vt_val v;
    struct inode in;
    int r = txn_begin(s, TXN_READ, OP_NONE, NULL, &t);

    if (r < 0)
        return r;
    put_be64(key, o.ino);
    r = vt_get(&t, keep, (struct vt_at){o.branch, LAYER_NOW}, TAB_INODE, key, &v);
    if (r == 0)
        r = inode_decode(v.data, v.len, &in);
    *ret = r == 0 ? (int64_t)in.blocks : 0;
    txn_abort(&t);
    return r == -E_NOENT ? 0 : r;
}

static int revive(struct store *s, struct kv_owner o)
{
    const struct branch_mem *b = branch_mem(s, o.branch);
    int64_t firm = 0, present = 0;
    struct dirty *d;
    int r = inode_blocks(s, KEEP_FIRM, o, &firm);

    if (r == 0)
        r = inode_blocks(s, KEEP_PENDING, o, &present);
    if (r == 0)
        r = dirty_reserve(s, b ? b->rec.vol : 0, o.branch, o.ino, &d);
    if (r < 0)
        return r;
    struct vol *v = vol_by_id(s, d->vol);
    d->pending = true;
    d->first_lsn = 1;
    d->delta_blocks = present - firm;
    if (v && v->rec.head == o.branch)
        v->pending_blocks += d->delta_blocks;
    return 0;
}

/* Queued for removal if nothing names it. */
static int queue_unnamed(struct txn *t, uint64_t object)
{
    uint64_t refs;
    int r = object_ref_count(t, KEEP_PENDING, object, &refs);

    if (r < 0 || refs)
        return r;
    return txn_reclaim(t, &(struct reclaim_rec){.kind = RECLAIM_UNLINK, .object = object});
}

/* A record of an object can be firm before anything that names it is (object_mark_shared): after a power cut it may stand
 * alone. */
static int unlink_new(struct store *s)
{
    uint8_t k[KEY_SIZE_MAX];
    uint64_t object = s->new_objects;
    int r = 0;

    for (;;) {
        const uint8_t *found;
        size_t flen;
        struct txn_val v;
        struct txn t;
        if ((r = txn_begin_freeing(s, OP_RECLAIM, NULL, &t)) < 0)
            return r;
        r = txn_ge(&t, KEEP_PENDING, k, key_u64(k, TAB_OBJECT, object), 1, &found, &flen, &v);
        if (r == 0) {
            object = get_be64(found + 1);
            r = queue_unnamed(&t, object);
        }
        if (r < 0) {
            txn_abort(&t);
            return r == -E_NOENT ? 0 : r;
        }
        if ((r = txn_commit(&t)) < 0)
            return r;
        object++;
    }
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Older ones, whose last name went with what was pending. */
static int unlink_lost(struct store *s)
{
    uint64_t *lost = (void *)s->lost.data;
    size_t n = s->lost.len / sizeof(*lost);
    int r = 0;

    if (n)
        qsort(lost, n, sizeof(*lost), by_number);
    for (size_t i = 0; i < n && lost[i] < s->new_objects && r == 0; i++) {
        struct object_rec rec;
        struct txn t;
        if (i && lost[i] == lost[i - 1])
            continue;
        if ((r = txn_begin_freeing(s, OP_RECLAIM, NULL, &t)) < 0)
            return r;
        r = object_get(&t, lost[i], &rec);
        if (r == 0)
            r = queue_unnamed(&t, lost[i]);
        if (r == 0) {
            r = txn_commit(&t);
        } else {
            txn_abort(&t);
            r = r == -E_NOENT ? 0 : r;
        }
    }
    return r;
}

/* Before any checkpoint: with the first one the records are gone that tell which objects to look at. */
static int unlink_unnamed(struct store *s)
{
    int r;

    store_no_wait++;
    r = unlink_new(s);
    if (r == 0 && !BROKEN(VARVE_BREAK_lost_names))
        r = unlink_lost(s);
    store_no_wait--;
    buf_free(&s->lost);
    return r;
}

int store_recover(struct store *s)
{
    cleanup(buf_free) struct buf owners = {0};
    int r = journal_start(s->journal);

    if (r < 0)
        return r;
    if (s->powercut)
        r = note_cut(s);
    if (r == 0)
        r = kv_pending_owners(s->kv, add_owner, &owners);
    for (size_t i = 0; i < owners.len / sizeof(struct kv_owner) && r == 0; i++)
        r = revive(s, ((const struct kv_owner *)(const void *)owners.data)[i]);
    ballast_take(s);
    if (r == 0 && s->powercut)
        r = unlink_unnamed(s);
    if ((r == 0 || r == -E_NOSPC) && s->unclean) {
        int c = catchup_begin(s);
        r = c < 0 ? c : r;
    }
    if (r == 0 && s->unclean && !s->catchup_running) /* else when it has caught up */
        r = store_checkpoint(s);
    return r == -E_NOSPC ? 0 : r; /* a full filesystem: reading and deleting must go on */
}
