#include "snap/store/object.h"

#include <stdio.h>

#include "snap/store/store_int.h"

int object_get(struct txn *t, uint64_t object, struct object_rec *ret)
{
    uint8_t k[KEY_SIZE_MAX];
    struct txn_val v;
    int r = txn_get(t, KEEP_PENDING, k, key_u64(k, TAB_OBJECT, object), &v);

    return r < 0 ? r : object_rec_decode(v.data, v.len, ret);
}

int object_mark_shared(struct txn *t, uint64_t object)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];
    struct object_rec rec;
    int r = object_get(t, object, &rec);

    if (r < 0)
        return r == -E_NOENT ? -E_CORRUPT : r;
    if (rec.flags & OBJECT_SHARED)
        return 0;
    sift_now_shared(t->store, object);
    rec.flags |= OBJECT_SHARED;
    size_t klen = key_u64(k, TAB_OBJECT, object), len = object_rec_encode(&rec, out);
    if (kv_is_pending(t->store->kv, k,
                      klen)) { /* its owner's image would hide the flag, and take it away when it is firm */
        r = txn_put(t, KEEP_PENDING, (struct txn_owner){.branch = rec.branch, .ino = rec.ino}, k, klen, 0, 0,
                    out, len);
        if (r < 0)
            return r;
    }
    return txn_put_plain(t, k, klen, out, len);
}

int object_ref_count(struct txn *t, enum keep keep, uint64_t object, uint64_t *ret)
{
    uint8_t k[KEY_SIZE_MAX + 1] = {TAB_OBJREF};
    size_t n = 9;
    uint64_t sum = 0;

    put_be64(k + 1, object);
    for (;;) {
        const uint8_t *found;
        size_t flen;
        struct txn_val v;
        int r = txn_ge(t, keep, k, n, 9, &found, &flen, &v);
        if (r == -E_NOENT)
            break;
        if (r < 0)
            return r;
        if (v.len != 8 || flen != 21)
            return -E_CORRUPT;
        sum += get_le64(v.data);
        memcpy(k, found, flen);
        k[flen] = 0;
        n = flen + 1;
    }
    *ret = sum;
    return 0;
}

bool file_is_pending(struct txn *t, uint32_t branch, uint64_t ino)
{
    const struct dirty *d = dirty_find(t->store, branch, ino);

    return d && d->pending;
}

/* Has the inode pending images that this transaction does not drop? */
static bool txn_has_pending(struct txn *t, uint32_t branch, uint64_t ino)
{
    if (!file_is_pending(t, branch, ino))
        return false;
    for (const struct txn_owner *gone = t->released; gone; gone = gone->next)
        if (gone->branch == branch && gone->ino == ino)
            return false;
    return true;
}

/* n in hexadecimal, with at least so many digits. */
static char *hex_add(char *at, uint64_t n, unsigned digits)
{
    while (digits < 16 && n >> 4 * digits)
        digits++;
    for (unsigned i = digits; i-- > 0; n >>= 4)
        at[i] = "0123456789abcdef"[n & 15];
    return at + digits;
}

/* Without snprintf: it is asked for wherever an object is opened. */
void object_path(const struct store *s, uint64_t object, char *out)
{
    size_t n = strlen(s->path);
    char *at = out;

    assert(n < 4096 - 64);
    memcpy(at, s->path, n);
    memcpy(at + n, "/data/", 6);
    at = hex_add(at + n + 6, object >> OBJECT_DIR_SHIFT, 6);
    *at++ = '/';
    *hex_add(at, object, 1) = 0;
}

/* Counts are absolute at both levels. A firm change of an inode that has pending images must not be seen through the pending
 * level, where that change was made on its own (or is not true): what counts there is written down before. */
static int ref_pin_present(struct txn *t, uint32_t branch, uint64_t ino, const uint8_t *k, size_t n)
{
    struct txn_owner o = {.branch = branch, .ino = ino};
    struct txn_val v;

    if (!txn_has_pending(t, branch, ino))
        return 0;
    int r = txn_get(t, KEEP_PENDING, k, n, &v);
    if (r == -E_NOENT)
        return txn_del(t, KEEP_PENDING, o, k, n);
    return r < 0 ? r : txn_put(t, KEEP_PENDING, o, k, n, 0, 0, v.data, v.len);
}

/* Firm names of the object besides the one that goes: what is named by pending records alone may be lost with them. */
static int count_others_firm(struct txn *t, enum keep keep, uint64_t object, const uint8_t *k, size_t n,
                             uint64_t *ret)
{
    struct txn_val v;
    int r = object_ref_count(t, KEEP_FIRM, object, ret);

    if (r < 0 || keep == KEEP_FIRM)
        return r;
    r = txn_get(t, KEEP_FIRM, k, n, &v);
    if (r == 0 && v.len == 8)
        *ret -= get_le64(v.data);
    return r == -E_NOENT ? 0 : r;
}

static int ref_add(struct txn *t, enum keep keep, struct txn_owner o, uint64_t object, uint32_t branch,
                   uint64_t ino, int by)
{
    uint8_t k[KEY_SIZE_MAX], val[8];
    size_t n = key_objref(k, object, branch, ino);
    struct txn_val v;
    uint64_t count = 0, others, firm = 1;
    int r = keep == KEEP_FIRM ? ref_pin_present(t, branch, ino, k, n) : 0;

    if (r == 0)
        r = txn_get(t, keep, k, n, &v);
    if (r < 0 && r != -E_NOENT)
        return r;
    if (r == 0)
        count = v.len == 8 ? get_le64(v.data) : 0;
    if (by < 0 && count == 0)
        return -E_CORRUPT;
    count += (uint64_t)(int64_t)by;
    if (count) {
        put_le64(val, count);
        r = txn_put(t, keep, o, k, n, 0, 0, val, sizeof(val));
        return r == 0 && by < 0 ? sift_suspect(t, object) : r;
    }
    r = txn_del(t, keep, o, k, n);
    if (r == 0)
        r = object_ref_count(t, KEEP_PENDING, object, &others);
    if (r == 0)
        r = count_others_firm(t, keep, object, k, n, &firm);
    if (r == 0 && others && firm)
        return sift_suspect(t, object);
    if (r < 0)
        return r;
    return reclaim_put(
        t, keep, o,
        &(struct reclaim_rec){.kind = RECLAIM_UNLINK, .branch = branch, .object = object, .ino = ino});
}

static int refs_change(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint8_t tab,
                       const void *key, const void *payload, size_t len, int by)
{
    uint64_t objs[RECORD_OBJECTS_MAX];
    int n;

    if (tab != TAB_INODE && tab != TAB_SPAN)
        return 0;
    n = record_objects(tab, payload, len, objs, RECORD_OBJECTS_MAX);
    for (int i = 0; i < n; i++) {
        int r = ref_add(t, keep, o, objs[i], branch, get_be64(key), by);
        if (r < 0)
            return r;
    }
    return n < 0 ? n : 0;
}

int refs_same(struct txn *t, uint8_t tab, const struct txn_val *old, const void *payload, size_t len)
{
    uint64_t was[RECORD_OBJECTS_MAX], is[RECORD_OBJECTS_MAX];
    int n, r = 0;

    if (tab != TAB_INODE && tab != TAB_SPAN)
        return 1;
    n = record_objects(tab, old->data, old->len, was, RECORD_OBJECTS_MAX);
    if (n < 0 || n != record_objects(tab, payload, len, is, RECORD_OBJECTS_MAX) ||
        memcmp(was, is, (size_t)n * sizeof(was[0])) != 0)
        return 0;
    for (int i = 0; i < n && r == 0; i++) /* it may name fewer blocks of them */
        r = sift_suspect(t, was[i]);
    return r < 0 ? r : 1;
}

int refs_enter(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint8_t tab,
               const void *key, const void *payload, size_t len)
{
    return refs_change(t, keep, o, branch, tab, key, payload, len, 1);
}

int refs_leave(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint8_t tab,
               const void *key, const void *payload, size_t len)
{
    return refs_change(t, keep, o, branch, tab, key, payload, len, -1);
}

int reclaim_put(struct txn *t, enum keep keep, struct txn_owner o, const struct reclaim_rec *rec)
{
    uint8_t k[KEY_SIZE_MAX], out[RECORD_SIZE_MAX];

    __atomic_fetch_add(&t->store->reclaim_count, 1, __ATOMIC_RELAXED);
    return txn_put(t, keep, o, k, key_u64(k, TAB_RECLAIM, txn_next_reclaim(t)), 0, 0, out,
                   reclaim_rec_encode(rec, out));
}

/* What may never be done here (F13). */
static void punch_now(struct store *s, uint64_t object, uint64_t first, uint64_t count)
{
    struct objfd *f;

    if (objfd_get(s, object, false, &f) < 0)
        return;
    (void)io_punch(s->io, f->fd, first * BLOCK_SIZE, count * BLOCK_SIZE);
    objfd_put(s, f);
}

int punch_queue(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint64_t object,
                uint64_t first, uint64_t count)
{
    struct object_rec rec;
    int r = object_get(t, object, &rec);

    if (r == -E_NOENT || (r == 0 && (rec.flags & OBJECT_SHARED)))
        return 0;
    if (r < 0)
        return r;
    if (BROKEN(VARVE_BREAK_punch_early))
        punch_now(t->store, object, first, count);
    return reclaim_put(t, keep, o,
                       &(struct reclaim_rec){.kind = RECLAIM_PUNCH,
                                             .branch = branch,
                                             .object = object,
                                             .ino = rec.ino,
                                             .first = first,
                                             .count = count});
}

/* Is block b of old dead: not in new, and no snapshot in [data_born, died) may see it? */
static const struct span_src *block_dead(struct txn *t, uint32_t branch, const struct span *old,
                                         const struct span *new, unsigned b, uint32_t died)
{
    const struct span_src *a = span_at(old, b), *n = new ? span_at(new, b) : NULL;

    if (!a || !a->object || (a->kind != SPAN_OBJECT && a->kind != SPAN_UNWRITTEN))
        return NULL;
    if (n && n->object == a->object && n->delta == a->delta)
        return NULL;
    return layer_retained(t->store, branch, a->data_born, died) ? NULL : a;
}

int span_dead(struct txn *t, enum keep keep, struct txn_owner o, uint32_t branch, uint64_t span,
              const struct span *old, const struct span *new, uint32_t died)
{
    unsigned b = 0, end = SPAN_BLOCKS;

    if (new)
        span_changed(old, new, &b, &end);
    for (unsigned n; b < end; b += n) {
        const struct span_src *a = block_dead(t, branch, old, new, b, died);
        n = 1;
        if (!a)
            continue;
        while (b + n < end) {
            const struct span_src *c = block_dead(t, branch, old, new, b + n, died);
            if (!c || c->object != a->object || c->delta != a->delta)
                break;
            n++;
        }
        uint64_t block = span * SPAN_BLOCKS + b;
        int r = punch_queue(t, keep, o, branch, a->object, (uint64_t)((int64_t)block + a->delta), n);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The next state after a death that something shows: a snapshot, or the live tree. What lies between may be freed already. */
static struct vt_at next_seen(struct txn *t, uint32_t branch, uint32_t died)
{
    return (struct vt_at){branch, layer_retained_above(t->store, branch, died - 1)};
}

static int free_span_blocks(struct txn *t, uint32_t branch, const uint8_t *key, uint32_t died,
                            const struct txn_val *v)
{
    struct span old, new;
    struct inode in;
    uint64_t ino = get_be64(key), span = get_be64(key + 8);
    int r = span_decode(v->data, v->len, &old);

    if (r < 0)
        return r;
    struct vt_at seen = next_seen(t, branch, died);
    r = inode_get(t, seen, ino, &in);
    if (r == -E_NOENT)
        return span_dead(t, KEEP_FIRM, (struct txn_owner){0}, branch, span, &old, NULL, died);
    if (r == 0)
        r = span_get(t, seen, &in, span, &new);
    if (r < 0)
        return r;
    return span_dead(t, KEEP_FIRM, (struct txn_owner){0}, branch, span, &old, &new, died);
}

/* An inode version leaves: the end of its dense base that the next version cut off. */
static int free_base_blocks(struct txn *t, uint32_t branch, const uint8_t *key, uint32_t died,
                            const struct txn_val *v)
{
    struct inode old, new;
    int r = inode_decode(v->data, v->len, &old);

    if (r < 0 || !old.base_obj || layer_retained(t->store, branch, old.base_layer, died))
        return r;
    r = inode_get(t, next_seen(t, branch, died), old.ino, &new);
    if (r < 0)
        return r == -E_NOENT ? 0 : r; /* the object goes as a whole, when nothing names it */
    if (new.base_obj != old.base_obj || new.base_blocks >= old.base_blocks)
        return 0;
    (void)key;
    return punch_queue(t, KEEP_FIRM, (struct txn_owner){0}, branch, old.base_obj, new.base_blocks,
                       old.base_blocks - new.base_blocks);
}

int vt_free_history(struct txn *t, uint32_t branch, uint8_t tab, const void *key, uint32_t died)
{
    uint8_t k[KEY_SIZE_MAX];
    size_t n = key_history(k, tab, branch, key, tab_key_len(tab), died);
    struct txn_val v;
    int r = txn_get(t, KEEP_FIRM, k, n, &v);

    if (r < 0)
        return r;
    if (!(v.flags & VAL_TOMB)) {
        if (tab == TAB_SPAN)
            r = free_span_blocks(t, branch, key, died, &v);
        else if (tab == TAB_INODE)
            r = free_base_blocks(t, branch, key, died, &v);
        if (r == 0)
            r = refs_leave(t, KEEP_FIRM, (struct txn_owner){0}, branch, tab, key, v.data, v.len);
        if (r < 0)
            return r;
    }
    return txn_del(t, KEEP_FIRM, (struct txn_owner){0}, k, n);
}

int span_uncovered(struct txn *t, uint32_t branch, const void *key, uint32_t s_layer, uint32_t layer)
{
    struct inode before, after;
    struct span old, new;
    uint64_t ino = get_be64(key), span = get_be64((const uint8_t *)key + 8);
    struct vt_at was = {branch, s_layer}, seen = next_seen(t, branch, layer);
    int r = inode_get(t, was, ino, &before);

    if (r < 0 || before.inherited || !before.base_obj)
        return r == -E_NOENT ? 0 : r;
    r = span_get(t, was, &before, span, &old);
    if (r < 0)
        return r;
    r = inode_get(t, seen, ino, &after);
    if (r == -E_NOENT)
        return span_dead(t, KEEP_FIRM, (struct txn_owner){0}, branch, span, &old, NULL, layer);
    if (r == 0)
        r = span_get(t, seen, &after, span, &new);
    return r < 0 ? r : span_dead(t, KEEP_FIRM, (struct txn_owner){0}, branch, span, &old, &new, layer);
}
