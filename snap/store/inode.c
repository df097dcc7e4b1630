#include "snap/store/inode.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "snap/store/store_int.h"

/* Where the fields lie: eleven of 8 bytes, eleven of 4, four times of 12; then two of 8, one of 4. */
#define BASE_OBJ_AT (8u * 8)
#define BASE_BLOCKS_AT (9u * 8)
#define OPEN_OBJ_AT (10u * 8)
#define HALVES_AT (11u * 8)
#define TIMES_AT (HALVES_AT + 11 * 4)
#define TIME_SIZE 12u
static_assert(INODE_REC_SIZE == TIMES_AT + 4 * TIME_SIZE, "fields of an inode record");
static_assert(INODE_REC_MAX == INODE_REC_SIZE + 2 * 8 + 4, "fields behind them");

static void put_time(uint8_t *p, const struct timespec *ts)
{
    put_le64(p, (uint64_t)ts->tv_sec);
    put_le32(p + 8, (uint32_t)ts->tv_nsec);
}

static void get_time(const uint8_t *p, struct timespec *ts)
{
    ts->tv_sec = (time_t)get_le64(p);
    ts->tv_nsec = (long)get_le32(p + 8);
}

static size_t put_more(const struct inode *in, uint8_t *p)
{
    if (!in->xattr_names && !in->xattr_values && !in->more_blocks)
        return 0;
    put_le64(p, in->xattr_names);
    put_le64(p + 8, in->xattr_values);
    put_le32(p + 16, in->more_blocks);
    return INODE_REC_MAX - INODE_REC_SIZE;
}

static void get_more(const uint8_t *p, struct inode *in)
{
    in->xattr_names = get_le64(p);
    in->xattr_values = get_le64(p + 8);
    in->more_blocks = get_le32(p + 16);
}

size_t inode_encode(const struct inode *in, uint8_t out[INODE_REC_MAX])
{
    const uint64_t words[] = {in->ino,      in->size,        in->blocks,  in->rdev,
                              in->gen,      in->change,      in->parent,  in->parent_hash,
                              in->base_obj, in->base_blocks, in->open_obj};
    const uint32_t halves[] = {in->open_layer, in->base_layer, in->mode, in->uid,  in->gid,   in->nlink,
                               in->flags,      in->project,    in->key,  in->tier, in->nxattr};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        put_le64(out + i * 8, words[i]);
    for (size_t i = 0; i < ARRAY_LEN(halves); i++)
        put_le32(out + HALVES_AT + i * 4, halves[i]);
    put_time(out + TIMES_AT, &in->atime);
    put_time(out + TIMES_AT + TIME_SIZE, &in->mtime);
    put_time(out + TIMES_AT + 2 * TIME_SIZE, &in->ctime);
    put_time(out + TIMES_AT + 3 * TIME_SIZE, &in->btime);
    return INODE_REC_SIZE + put_more(in, out + INODE_REC_SIZE);
}

int inode_decode(const void *rec, size_t len, struct inode *ret)
{
    const uint8_t *p = rec, *h = p + HALVES_AT;

    if (len < INODE_REC_SIZE || (get_le32(h + 24) & INODE_INLINE && get_le64(p + 8) > INLINE_BYTES_MAX) ||
        get_le64(p + BASE_BLOCKS_AT) > FILE_SIZE_MAX / BLOCK_SIZE)
        return -E_CORRUPT;
    *ret = (struct inode){.ino = get_le64(p),
                          .size = get_le64(p + 8),
                          .blocks = get_le64(p + 16),
                          .rdev = get_le64(p + 24),
                          .gen = get_le64(p + 32),
                          .change = get_le64(p + 40),
                          .parent = get_le64(p + 48),
                          .parent_hash = get_le64(p + 56),
                          .base_obj = get_le64(p + BASE_OBJ_AT),
                          .base_blocks = get_le64(p + BASE_BLOCKS_AT),
                          .open_obj = get_le64(p + OPEN_OBJ_AT),
                          .open_layer = get_le32(h),
                          .base_layer = get_le32(h + 4),
                          .mode = get_le32(h + 8),
                          .uid = get_le32(h + 12),
                          .gid = get_le32(h + 16),
                          .nlink = get_le32(h + 20),
                          .flags = get_le32(h + 24),
                          .project = get_le32(h + 28),
                          .key = get_le32(h + 32),
                          .tier = get_le32(h + 36),
                          .nxattr = get_le32(h + 40)};
    get_time(p + TIMES_AT, &ret->atime);
    get_time(p + TIMES_AT + TIME_SIZE, &ret->mtime);
    get_time(p + TIMES_AT + 2 * TIME_SIZE, &ret->ctime);
    get_time(p + TIMES_AT + 3 * TIME_SIZE, &ret->btime);
    if (len >= INODE_REC_MAX)
        get_more(p + INODE_REC_SIZE, ret);
    return 0;
}

int inode_objects(const void *rec, size_t len, uint64_t *ret_base, uint64_t *ret_open)
{
    const uint8_t *p = rec;

    if (len < INODE_REC_SIZE)
        return -E_CORRUPT;
    *ret_base = get_le64(p + BASE_OBJ_AT);
    *ret_open = get_le64(p + OPEN_OBJ_AT);
    return 0;
}

bool inode_counted(const struct inode *in)
{
    return in->nxattr == 0 || in->xattr_names != 0;
}

static uint32_t more_of(const struct inode *in)
{
    uint64_t links = !S_ISDIR(in->mode) && in->nlink > 1 ? in->nlink - 1 : 0;
    uint64_t bytes = in->xattr_names + in->xattr_values + (uint64_t)in->nxattr * INODE_MORE_XATTR +
                     links * INODE_MORE_LINK;

    if (BROKEN(VARVE_BREAK_more_free))
        return 0;
    return (uint32_t)MIN_OF(bytes / BLOCK_SIZE, (uint64_t)UINT32_MAX);
}

void inode_more(struct inode *in, const struct inode_more *by)
{
    bool counted = inode_counted(in);
    bool less = by->links <= 0 && by->xattrs <= 0 && by->names <= 0 && by->values <= 0;
    uint32_t now;

    in->nlink += (uint32_t)by->links;
    in->nxattr += (uint32_t)by->xattrs;
    if (!counted)
        return;
    in->xattr_names += (uint64_t)by->names;
    in->xattr_values += (uint64_t)by->values;
    now = more_of(in);
    in->more_blocks = less ? MIN_OF(in->more_blocks, now) : now;
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

int inode_get_at(struct txn *t, enum keep keep, struct vt_at at, uint64_t ino, struct vt_val *ret_val,
                 struct inode *ret)
{
    uint8_t key[8];
    int r;

    put_be64(key, ino);
    r = vt_get(t, keep, at, TAB_INODE, key, ret_val);
    return r < 0 ? r : inode_from(ret_val, at, ret);
}

int inode_get(struct txn *t, struct vt_at at, uint64_t ino, struct inode *ret)
{
    struct vt_val v;

    return inode_get_at(t, KEEP_PENDING, at, ino, &v, ret);
}

/* A record copied up from a parent names objects of the parent's: from now on two branches do. */
static int share_inherited(struct txn *t, struct inode *in)
{
    int r = in->inherited && in->base_obj ? object_mark_shared(t, in->base_obj) : 0;

    in->inherited = false;
    return r;
}

int inode_put_over(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at,
                   const struct vt_val *was, struct inode *in)
{
    uint8_t key[8], out[INODE_REC_MAX];
    size_t len;
    int r = share_inherited(t, in);

    if (r < 0)
        return r;
    put_be64(key, in->ino);
    len = inode_encode(in, out);
    if (was)
        return vt_put_over(t, keep, o, at, TAB_INODE, key, was, out, len);
    return vt_put(t, keep, o, at, TAB_INODE, key, out, len);
}

int inode_put_at(struct txn *t, enum keep keep, struct txn_owner o, struct vt_at at, struct inode *in)
{
    return inode_put_over(t, keep, o, at, NULL, in);
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
    struct vt_val was;
    struct inode in;
    int r = 0;

    /* the pending image first: its references are counted from what was there before this operation */
    if (d && d->pending) {
        r = inode_get_at(t, KEEP_PENDING, reading(at), ino, &was, &in);
        if (r < 0)
            return r;
        fn(&in, arg);
        in.change++;
        if (ret)
            *ret = in;
        r = inode_put_over(t, KEEP_PENDING, o, at, &was, &in);
        ret = NULL;
    }
    if (r == 0)
        r = inode_get_at(t, KEEP_FIRM, reading(at), ino, &was, &in);
    if (r < 0)
        return r;
    fn(&in, arg);
    in.change++;
    if (ret)
        *ret = in;
    return inode_put_over(t, KEEP_FIRM, (struct txn_owner){0}, at, &was, &in);
}
