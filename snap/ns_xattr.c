/* Extended attributes in TAB_XATTR: (ino, hash, piece). hash is made as for names, with a count in its low byte; piece 0 has
 * the head {total u32, name_len u8, name} and the first bytes, the others bytes only, PIECE_SIZE in each but the last. */
#include <sys/xattr.h>

#include "base/hash.h"
#include "base/log.h"
#include "snap/ns.h"

#define HEAD_SIZE(name_len) (5u + (name_len))

struct xhead {
    uint64_t hash;
    uint32_t total;
    const char *name;
    size_t name_len;
    const uint8_t *data; /* the first bytes */
    size_t len;
};

static void xattr_key(uint64_t ino, uint64_t hash, uint8_t piece, uint8_t key[17])
{
    put_be64(key, ino);
    put_be64(key + 8, hash);
    key[16] = piece;
}

static uint64_t xattr_group(const struct vol *v, const char *name, size_t len)
{
    return (hash_name(v->rec.hash_key, name, len) & ns_hash_mask) & ~(uint64_t)(NS_GROUP - 1);
}

static int head_parse(uint64_t hash, const struct vt_val *val, struct xhead *ret)
{
    const uint8_t *p = val->data;

    if (val->len < HEAD_SIZE(1) || val->len < HEAD_SIZE(p[4]))
        return log_err(-E_CORRUPT, "snap", "xattr hash=%llx len=%zu", (unsigned long long)hash, val->len);
    *ret = (struct xhead){
        .hash = hash,
        .total = get_le32(p),
        .name = (const char *)p + 5,
        .name_len = p[4],
        .data = p + HEAD_SIZE(p[4]),
        .len = val->len - HEAD_SIZE(p[4]),
    };
    return 0;
}

/* Calls cb for the head of every attribute whose key begins with prefix, passing over the further pieces. */
static int heads_each(struct ns *o, const uint8_t *prefix, size_t plen,
                      int (*cb)(void *arg, const struct xhead *h), void *arg)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    int r;

    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, TAB_XATTR, prefix, plen);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        uint8_t next[17];
        struct xhead h;

        if (key[16] != 0) { /* a long value: on to the next attribute */
            uint64_t hash = get_be64(key + 8);

            if (hash == UINT64_MAX)
                return 0;
            xattr_key(get_be64(key), hash + 1, 0, next);
            if (memcmp(next, prefix, plen) != 0)
                return 0;
            vt_scan_from(&sc, next, sizeof(next));
            continue;
        }
        r = head_parse(get_be64(key + 8), &val, &h);
        if (r == 0)
            r = cb(arg, &h);
        if (r != 0)
            return r;
    }
    return r;
}

struct seek {
    const char *name;
    size_t len;
    uint64_t gap;
    bool found;
    struct xhead head;
};

static int seek_cb(void *arg, const struct xhead *h)
{
    struct seek *k = arg;

    if (h->hash == k->gap)
        k->gap++;
    if (h->name_len != k->len || memcmp(h->name, k->name, k->len) != 0)
        return 0;
    k->head = *h;
    k->found = true;
    return 1;
}

/* Finds the attribute, or a free number for it in k->gap. */
static int xattr_seek(struct ns *o, uint64_t ino, const char *name, struct seek *k)
{
    uint8_t prefix[17];
    int r;

    *k = (struct seek){.name = name, .len = strlen(name)};
    k->gap = xattr_group(o->v, name, k->len);
    xattr_key(ino, k->gap, 0, prefix);
    r = heads_each(o, prefix, 15, seek_cb, k);
    return r < 0 ? r : 0;
}

int ns_xattr_get(struct ns *o, uint64_t ino, const char *name, struct buf *ret)
{
    struct seek k;
    struct vt_val val;
    size_t was = ret->len;
    uint8_t key[17];
    int r = xattr_seek(o, ino, name, &k);

    if (r < 0)
        return r;
    if (!k.found)
        return -E_NODATA;
    r = buf_add(ret, k.head.data, k.head.len);
    for (unsigned piece = 1; r == 0 && ret->len - was < k.head.total; piece++) {
        xattr_key(ino, k.head.hash, (uint8_t)piece, key);
        r = piece > UINT8_MAX ? -E_NOENT : vt_get(&o->t, KEEP_PENDING, o->at, TAB_XATTR, key, &val);
        if (r == 0)
            r = buf_add(ret, val.data, val.len);
    }
    if (r == -E_NOENT || (r == 0 && ret->len - was != k.head.total))
        r = log_err(-E_CORRUPT, "snap", "xattr ino=%llu lacks a piece", (unsigned long long)ino);
    if (r < 0)
        ret->len = was;
    return r;
}

static unsigned pieces_of(size_t name_len, size_t total)
{
    size_t first = PIECE_SIZE - HEAD_SIZE(name_len);

    return total <= first ? 1 : 1 + (unsigned)((total - first + PIECE_SIZE - 1) / PIECE_SIZE);
}

static int pieces_del(struct ns *o, uint64_t ino, uint64_t hash, unsigned from, unsigned to)
{
    uint8_t key[17];
    int r = 0;

    for (unsigned i = from; r == 0 && i < to; i++) {
        xattr_key(ino, hash, (uint8_t)i, key);
        r = vt_del(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_XATTR, key);
    }
    return r;
}

static int pieces_put(struct ns *o, uint64_t ino, uint64_t hash, const struct seek *k, const uint8_t *p,
                      size_t len)
{
    size_t n = MIN_OF(len, PIECE_SIZE - HEAD_SIZE(k->len));
    uint8_t head[PIECE_SIZE], key[17];
    int r;

    put_le32(head, (uint32_t)len);
    head[4] = (uint8_t)k->len;
    memcpy(head + 5, k->name, k->len);
    if (n > 0)
        memcpy(head + HEAD_SIZE(k->len), p, n);
    xattr_key(ino, hash, 0, key);
    r = vt_put(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_XATTR, key, head, HEAD_SIZE(k->len) + n);
    for (unsigned i = 1; r == 0 && n < len; i++) {
        size_t more = MIN_OF(len - n, (size_t)PIECE_SIZE);

        xattr_key(ino, hash, (uint8_t)i, key);
        r = vt_put(&o->t, KEEP_FIRM, (struct txn_owner){0}, o->to, TAB_XATTR, key, p + n, more);
        n += more;
    }
    return r;
}

static void count(struct inode_more *by, int sign, size_t name_len, size_t len)
{
    by->xattrs += sign;
    by->names += sign * (int64_t)(name_len + 1);
    by->values += sign * (int64_t)len;
}

int ns_xattr_set(struct ns *o, uint64_t ino, const char *name, const void *p, size_t len, int flags,
                 struct inode_more *by)
{
    struct seek k;
    int r = xattr_seek(o, ino, name, &k);

    if (r < 0)
        return r;
    if (k.found && (flags & XATTR_CREATE))
        return -E_EXIST;
    if (!k.found && (flags & XATTR_REPLACE))
        return -E_NODATA;
    if (k.found) {
        r = pieces_del(o, ino, k.head.hash, pieces_of(k.len, len), pieces_of(k.len, k.head.total));
        if (r == 0)
            r = pieces_put(o, ino, k.head.hash, &k, p, len);
    } else {
        if ((k.gap & (NS_GROUP - 1)) == 0 && k.gap != xattr_group(o->v, name, k.len))
            return -E_NOSPC;
        r = pieces_put(o, ino, k.gap, &k, p, len);
    }
    if (r < 0)
        return r;
    if (k.found)
        count(by, -1, k.len, k.head.total);
    count(by, 1, k.len, len);
    return 0;
}

int ns_xattr_del(struct ns *o, uint64_t ino, const char *name, struct inode_more *by)
{
    struct seek k;
    int r = xattr_seek(o, ino, name, &k);

    if (r < 0)
        return r;
    if (!k.found)
        return -E_NODATA;
    r = pieces_del(o, ino, k.head.hash, 0, pieces_of(k.len, k.head.total));
    if (r == 0)
        count(by, -1, k.len, k.head.total);
    return r;
}

static int list_cb(void *arg, const struct xhead *h)
{
    struct buf *b = arg;
    int r = b->len + h->name_len < XATTR_LIST_MAX ? buf_reserve(b, h->name_len + 1) : -E_TOOBIG;

    if (r < 0)
        return r;
    r = buf_add(b, h->name, h->name_len);
    return r < 0 ? r : buf_add(b, "", 1);
}

int ns_xattr_list(struct ns *o, uint64_t ino, struct buf *ret)
{
    size_t was = ret->len;
    uint8_t prefix[8];
    int r;

    put_be64(prefix, ino);
    r = heads_each(o, prefix, sizeof(prefix), list_cb, ret);
    if (r < 0)
        ret->len = was;
    return r;
}

static int sum_cb(void *arg, const struct xhead *h)
{
    count(arg, 1, h->name_len, h->total);
    return 0;
}

int ns_xattr_sum(struct ns *o, uint64_t ino, struct inode_more *ret)
{
    uint8_t prefix[8];

    *ret = (struct inode_more){0};
    put_be64(prefix, ino);
    return heads_each(o, prefix, sizeof(prefix), sum_cb, ret);
}

uint32_t ns_xattr_flag(const char *name)
{
    if (strcmp(name, NS_ACL_ACCESS) == 0)
        return INODE_ACL;
    if (strcmp(name, NS_ACL_DEFAULT) == 0)
        return INODE_DEFACL;
    return strcmp(name, NS_CAPS) == 0 ? INODE_CAPS : 0;
}
