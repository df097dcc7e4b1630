/* The repairs, each in a transaction of its own: one that fails leaves the others. */
#include <inttypes.h>

#include "snap/check_i.h"
#include "snap/store/ilock.h"

struct links {
    uint32_t n;
};

static void set_links(struct inode *in, void *arg)
{
    const struct links *l = arg;

    in->nlink = l->n;
}

static int fix_layer(struct txn *t, const struct fix *f)
{
    uint8_t k[KEY_SIZE_MAX];
    cleanup(buf_free) struct buf b = {0};
    struct layer_rec l;
    struct txn_val v;
    const char *text;
    size_t text_len, n = key_u32_u32(k, TAB_LAYER, f->vol, (uint32_t)f->a);
    int r = txn_get(t, KEEP_FIRM, k, n, &v);

    if (r == 0)
        r = layer_rec_decode(v.data, v.len, &l, &text, &text_len);
    if (r == 0)
        r = buf_reserve(&b, RECORD_SIZE_MAX + text_len);
    if (r < 0)
        return r;
    l.children = (uint32_t)f->b;
    b.len = layer_rec_encode(&l, b.data);
    r = buf_add(&b, text, text_len);
    return r < 0 ? r : txn_put_plain(t, k, n, b.data, b.len);
}

static int fix_vstat(struct txn *t, struct vol *v, const struct fix *f)
{
    struct vstat_rec st = v->stat;

    st.blocks = f->a;
    st.inodes = f->b;
    st.next_ino = f->c;
    return vol_put_stat(t, v, &st);
}

static int fix_in(struct txn *t, struct vol *v, const struct fix *f)
{
    const struct txn_owner none = {0};
    struct links l = {(uint32_t)f->b};

    switch (f->kind) {
    case FIX_PUT: return txn_put_plain(t, f->key, f->klen, f->val, f->vlen);
    case FIX_DEL: return txn_del(t, KEEP_FIRM, none, f->key, f->klen);
    case FIX_VT_PUT: return vt_put(t, KEEP_FIRM, none, vol_write(v), f->tab, f->key, "", 0);
    case FIX_VT_DEL: return vt_del(t, KEEP_FIRM, none, vol_write(v), f->tab, f->key);
    case FIX_NLINK: return inode_update(t, vol_write(v), f->a, set_links, &l, NULL);
    case FIX_VSTAT: return fix_vstat(t, v, f);
    case FIX_UNLINK: return txn_reclaim(t, &(struct reclaim_rec){.kind = RECLAIM_UNLINK, .object = f->a});
    case FIX_LAYER: return fix_layer(t, f);
    case FIX_FILE: break;
    }
    return 0;
}

static bool needs_vol(enum fix_kind kind)
{
    return kind == FIX_VT_PUT || kind == FIX_VT_DEL || kind == FIX_NLINK || kind == FIX_VSTAT;
}

static int fix_one(struct check *c, const struct fix *f)
{
    struct ilock l = {0};
    struct txn t;
    struct vol *v;
    char path[4096];
    int r;

    if (f->kind == FIX_FILE) {
        object_path(c->s, f->a, path);
        return io_unlink(store_io(c->s), path);
    }
    if (f->kind == FIX_NLINK)
        ilock_take(c->s, &l, f->vol, &f->a, 1, true);
    r = txn_begin_freeing(c->s, OP_NONE, NULL, &t);
    if (r < 0) {
        ilock_drop(&l);
        return r;
    }
    v = f->vol ? vol_by_id(c->s, f->vol) : NULL;
    r = needs_vol(f->kind) && !v ? -E_NOENT : fix_in(&t, v, f);
    if (r < 0)
        txn_abort(&t);
    else
        r = txn_commit(&t);
    ilock_drop(&l);
    return r;
}

int fixes_run(struct check *c)
{
    const struct fix *f;
    int r;

    for (f = c->fixes; f; f = f->next) {
        r = fix_one(c, f);
        if (r < 0)
            say(c, "a repair failed: %s", err_text(r));
        if (r == -E_FAILED || r == -E_ROFS)
            return r;
    }
    return 0;
}
