/* Removing an inode that nobody sees in the live tree any more. */
#include <stdlib.h>

#include "snap/store/change.h"

#define DROP_RECORDS 64

/* The branch's own live records of the inode in one table, up to a number: 1 there are more. Inherited ones need no
 * tombstones: without the inode nobody asks for them. */
static int drop_table(struct txn *t, struct vt_at at, uint8_t tab, uint64_t ino, int *left)
{
    uint8_t k[KEY_SIZE_MAX], key[8];
    const uint8_t *found;
    size_t flen;
    struct txn_val v;
    int r;

    put_be64(key, ino);
    size_t n = key_live(k, tab, at.branch, key, 8);
    while ((r = txn_ge(t, KEEP_FIRM, k, n, 13, &found, &flen, &v)) == 0) {
        struct span sp;
        if (flen != 5 + tab_key_len(tab))
            return -E_CORRUPT;
        bool tomb = v.flags & VAL_TOMB;
        if (!tomb && (*left)-- == 0) /* tombstones stay: they are no work */
            return 1;
        if (!tomb && tab == TAB_SPAN) {
            r = span_decode(v.data, v.len, &sp);
            if (r == 0)
                r = span_dead(t, KEEP_FIRM, (struct txn_owner){0}, at.branch, get_be64(found + 13), &sp, NULL,
                              at.layer);
        }
        if (r == 0 && !tomb)
            r = vt_del(t, KEEP_FIRM, (struct txn_owner){0}, at, tab, found + 5);
        if (r < 0)
            return r;
        memcpy(k, found, flen);
        k[flen] = 0;
        n = flen + 1;
    }
    return r == -E_NOENT ? 0 : r;
}

struct forget {
    struct vol *v;
    uint32_t branch;
    uint64_t ino;
};

static void forget_dirty(struct store *s, void *arg)
{
    const struct forget *f = arg;
    struct dirty *d = dirty_find(s, f->branch, f->ino);

    if (!d)
        return;
    if (f->v->rec.head == f->branch)
        __atomic_fetch_sub(&f->v->pending_blocks, d->delta_blocks, __ATOMIC_RELAXED);
    dirty_remove(s, d);
}

/* An object whose record is pending still has a file, which nobody would know when the images are dropped. And one that these
 * images name beside others may have lost its last name with them. */
static int queue_object(void *arg, const struct kv_item *it)
{
    const uint8_t *key = it->key;
    bool own = key[0] == TAB_OBJECT && it->klen == 9, shares = key[0] == TAB_OBJREF && it->klen > 9;
    const struct reclaim_rec rec = {.kind = RECLAIM_UNLINK, .object = own || shares ? get_be64(key + 1) : 0};

    if (!it->val || !rec.object)
        return 0;
    return reclaim_put(arg, KEEP_FIRM, (struct txn_owner){0}, &rec);
}

/* Pending bytes of a file that goes: no snapshot sees them, so they need not be synced. */
static int drop_pending(struct txn *t, struct vol *v, struct vt_at at, uint64_t ino)
{
    struct dirty *d = dirty_find(t->store, at.branch, ino);
    struct forget *f;

    if (!d)
        return 0;
    if ((d->pending || d->objs) && layer_retained(t->store, at.branch, d->bytes_layer, at.layer))
        return -E_AGAIN; /* a snapshot does, be they pending or in a record only: the caller syncs them first */
    f = txn_alloc(t, sizeof(*f));
    if (!f)
        return -E_NOMEM;
    *f = (struct forget){v, at.branch, ino};
    int r = kv_pending_each(t->store->kv, (struct kv_owner){at.branch, ino}, queue_object, t);
    if (r == 0)
        r = txn_release(t, (struct txn_owner){.branch = at.branch, .ino = ino});
    return r < 0 ? r : txn_on_commit(t, forget_dirty, f);
}

int inode_drop(struct txn *t, struct vol *v, struct vt_at at, uint64_t ino)
{
    static const uint8_t tabs[] = {TAB_SPAN, TAB_DATA, TAB_XATTR, TAB_LINK};
    int left = DROP_RECORDS;
    struct inode in;
    struct vt_val val;
    uint8_t key[8];
    int r = drop_pending(t, v, at, ino);

    for (size_t i = 0; i < ARRAY_LEN(tabs) && r == 0; i++)
        r = drop_table(t, at, tabs[i], ino, &left);
    if (r != 0)
        return r;
    put_be64(key, ino);
    r = vt_get(t, KEEP_FIRM, (struct vt_at){at.branch, LAYER_NOW}, TAB_INODE, key, &val);
    if (r == 0)
        r = inode_decode(val.data, val.len, &in);
    if (r < 0)
        return r;
    r = vt_del(t, KEEP_FIRM, (struct txn_owner){0}, at, TAB_INODE, key);
    if (r == 0)
        r = vt_del(t, KEEP_FIRM, (struct txn_owner){0}, at, TAB_ORPHAN, key);
    if (r == 0 && v->rec.head == at.branch)
        txn_charge(t, v, -(int64_t)in.blocks - in.more_blocks, -1);
    return r;
}
