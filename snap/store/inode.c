#include "snap/store/inode.h"

#include "base/clock.h"
#include "base/enc.h"
#include "snap/store/store_int.h"

static_assert(INODE_REC_SIZE == 11 * 8 + 2 * 4 + 4 * 4 + 5 * 4 + 4 * 12, "fields of an inode record");

static void put_time(struct enc *e, const struct timespec *ts)
{
    enc_u64(e, (uint64_t)ts->tv_sec);
    enc_u32(e, (uint32_t)ts->tv_nsec);
}

static void get_time(struct dec *d, struct timespec *ts)
{
    ts->tv_sec = (time_t)dec_u64(d);
    ts->tv_nsec = (long)dec_u32(d);
}

void inode_encode(const struct inode *in, uint8_t out[INODE_REC_SIZE])
{
    struct enc e = {out};
    const uint64_t words[] = {in->ino,      in->size,        in->blocks,  in->rdev,
                              in->gen,      in->change,      in->parent,  in->parent_hash,
                              in->base_obj, in->base_blocks, in->open_obj};
    const uint32_t halves[] = {in->open_layer, in->base_layer, in->mode, in->uid,  in->gid,   in->nlink,
                               in->flags,      in->project,    in->key,  in->tier, in->nxattr};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        enc_u64(&e, words[i]);
    for (size_t i = 0; i < ARRAY_LEN(halves); i++)
        enc_u32(&e, halves[i]);
    put_time(&e, &in->atime);
    put_time(&e, &in->mtime);
    put_time(&e, &in->ctime);
    put_time(&e, &in->btime);
    assert(e.p == out + INODE_REC_SIZE);
}

int inode_decode(const void *p, size_t len, struct inode *ret)
{
    struct dec d = dec_of(p, len);
    struct inode in = {0};
    uint64_t *const words[] = {&in.ino,      &in.size,        &in.blocks,  &in.rdev,
                               &in.gen,      &in.change,      &in.parent,  &in.parent_hash,
                               &in.base_obj, &in.base_blocks, &in.open_obj};
    uint32_t *const halves[] = {&in.open_layer, &in.base_layer, &in.mode, &in.uid,  &in.gid,   &in.nlink,
                                &in.flags,      &in.project,    &in.key,  &in.tier, &in.nxattr};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        *words[i] = dec_u64(&d);
    for (size_t i = 0; i < ARRAY_LEN(halves); i++)
        *halves[i] = dec_u32(&d);
    get_time(&d, &in.atime);
    get_time(&d, &in.mtime);
    get_time(&d, &in.ctime);
    get_time(&d, &in.btime);
    if (d.bad)
        return -E_CORRUPT;
    *ret = in;
    return 0;
}

void inode_now(struct timespec *ret)
{
    int64_t ns = clock_wall_ns();

    ret->tv_sec = (time_t)(ns / 1000000000);
    ret->tv_nsec = (long)(ns % 1000000000);
}

int inode_from(const struct vt_val *v, struct vt_at at, struct inode *ret)
{
    int r = inode_decode(v->data, v->len, ret);

    if (r < 0)
        return r;
    if (v->branch != at.branch) { /* numbers of layers mean nothing here, and nothing of it is open here */
        ret->inherited = true;
        ret->open_obj = 0;
        ret->open_layer = 0;
        ret->base_layer = 0;
    }
    return 0;
}

static int get_at(struct txn *t, enum keep keep, struct vt_at at, uint64_t ino, struct inode *ret)
{
    uint8_t key[8];
    struct vt_val v;
    int r;

    put_be64(key, ino);
    r = vt_get(t, keep, at, TAB_INODE, key, &v);
    return r < 0 ? r : inode_from(&v, at, ret);
}

int inode_get(struct txn *t, struct vt_at at, uint64_t ino, struct inode *ret)
{
    return get_at(t, KEEP_PENDING, at, ino, ret);
}

/* A record copied up from a parent names objects of the parent's: from now on two branches do. */
static int share_inherited(struct txn *t, struct inode *in)
{
    int r = in->inherited && in->base_obj ? object_mark_shared(t, in->base_obj) : 0;

    in->inherited = false;
    return r;
}

int inode_put_at(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, struct inode *in)
{
    uint8_t key[8], out[INODE_REC_SIZE];
    int r = share_inherited(t, in);

    if (r < 0)
        return r;
    put_be64(key, in->ino);
    inode_encode(in, out);
    return vt_put(t, keep, o, at, TAB_INODE, key, out, sizeof(out));
}

int inode_put_new(struct txn *t, struct vt_at at, const struct inode *in)
{
    struct inode copy = *in;

    copy.inherited = false;
    return inode_put_at(t, KEEP_FIRM, (struct txn_owner){0}, at, &copy);
}

static struct vt_at reading(struct vt_at at)
{
    return (struct vt_at){at.branch, LAYER_NOW};
}

int inode_update(struct txn *t, struct vt_at at, uint64_t ino, void (*fn)(struct inode *in, void *arg),
                 void *arg, struct inode *ret)
{
    struct txn_owner o = {.branch = at.branch, .ino = ino};
    struct dirty *d = dirty_find(t->store, at.branch, ino);
    struct inode in;
    int r = 0;

    /* the pending image first: its references are counted from what was there before this operation */
    if (d && d->pending) {
        r = get_at(t, KEEP_PENDING, reading(at), ino, &in);
        if (r < 0)
            return r;
        fn(&in, arg);
        in.change++;
        if (ret)
            *ret = in;
        r = inode_put_at(t, KEEP_PENDING, o, at, &in);
        ret = NULL;
    }
    if (r == 0)
        r = get_at(t, KEEP_FIRM, reading(at), ino, &in);
    if (r < 0)
        return r;
    fn(&in, arg);
    in.change++;
    if (ret)
        *ret = in;
    return inode_put_at(t, KEEP_FIRM, (struct txn_owner){0}, at, &in);
}
