#include "snap/plant.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "snap/ns.h"

#define TXN_BYTES                                                                                            \
    (16u << 10) /* about so much goes into one record of the journal: each put looks at those before it */
#define RUN_BYTES 320u /* what the records of a cold range take there, about */
#define INODE_BYTES 480u
#define NAME_BYTES 160u

struct plant {
    struct ns o;
    bool open;
    size_t bytes, runs; /* in the open transaction */
};

int plant_new(struct vol *v, struct plant **ret)
{
    struct plant *p = calloc(1, sizeof(*p));

    if (!p)
        return -E_NOMEM;
    p->o.v = v;
    p->o.live = true;
    *ret = p;
    return 0;
}

void plant_free(struct plant *p)
{
    if (p && p->open)
        txn_abort(&p->o.t);
    free(p);
}

int plant_flush(struct plant *p)
{
    if (!p->open)
        return 0;
    p->open = false;
    return txn_commit(&p->o.t);
}

/* Room for so much more in one transaction. */
static int begin(struct plant *p, size_t bytes, size_t runs)
{
    struct vol *v = p->o.v;
    int r = 0;

    if (p->open && (p->bytes + bytes > TXN_BYTES || p->runs + runs > COLD_TXN_RUNS))
        r = plant_flush(p);
    if (r < 0)
        return r;
    if (!p->open) {
        if ((r = txn_begin(v->store, TXN_WRITE, OP_VOLUME, v, &p->o.t)) < 0)
            return r;
        p->open = true;
        p->bytes = p->runs = 0;
        p->o.at = vol_now(v);
        p->o.to = vol_write(v);
    }
    p->bytes += bytes;
    p->runs += runs;
    return 0;
}

/* Half of an operation may be in the transaction: it goes. */
static int done(struct plant *p, int r)
{
    if (r < 0 && p->open) {
        p->open = false;
        txn_abort(&p->o.t);
    }
    return r;
}

/* A record that cannot be there yet: nobody looks. */
static int put_new(struct plant *p, uint8_t tab, const void *key, const void *payload, size_t len)
{
    static const struct vt_val none;

    return vt_put_over(&p->o.t, KEEP_FIRM, (struct txn_owner){0}, p->o.to, tab, key, &none, payload, len);
}

static int put_inode(struct plant *p, const struct inode *in)
{
    uint8_t key[8], out[INODE_REC_MAX];

    put_be64(key, in->ino);
    return put_new(p, TAB_INODE, key, out, inode_encode(in, out));
}

int plant_xattr(struct plant *p, struct inode *in, const char *name, const void *value, size_t len)
{
    struct inode_more more = {0};
    int r = strlen(name) == 0 || strlen(name) > NAME_LEN_MAX || len > NS_XATTR_MAX ? -E_CORRUPT : 0;

    if (r == 0)
        r = begin(p, NAME_BYTES + len * 5 / 4, 0);
    if (r == 0)
        r = ns_xattr_set(&p->o, in->ino, name, value, len, 0, &more);
    if (r < 0)
        return done(p, r);
    inode_more(in, &more);
    in->flags |= ns_xattr_flag(name);
    return 0;
}

int plant_target(struct plant *p, struct inode *in, const char *target, size_t len)
{
    uint8_t key[10];
    int r = len == 0 || len > NS_SYMLINK_MAX || memchr(target, 0, len) ? -E_CORRUPT : 0;

    if (r == 0)
        r = begin(p, NAME_BYTES + len, 0);
    for (size_t at = 0; r == 0 && at < len; at += PIECE_SIZE) {
        put_be64(key, in->ino);
        put_be16(key + 8, (uint16_t)(at / PIECE_SIZE));
        r = vt_put(&p->o.t, KEEP_FIRM, (struct txn_owner){0}, p->o.to, TAB_DATA, key, target + at,
                   MIN_OF(len - at, (size_t)PIECE_SIZE));
    }
    in->size = len;
    in->blocks = 1;
    in->flags |= INODE_INLINE;
    return done(p, r);
}

/* Its names come later, but count from now on. */
static void links_more(struct inode *in)
{
    uint32_t more = !S_ISDIR(in->mode) && in->nlink > 1 ? in->nlink - 1 : 0;

    if (BROKEN(VARVE_BREAK_plant_links))
        return;
    in->nlink -= more;
    inode_more(in, &(struct inode_more){.links = (int32_t)more});
}

/* The first runs with the record, the others behind it. */
int plant_inode(struct plant *p, struct inode *in, const struct cold_run *runs, size_t n)
{
    struct vol *v = p->o.v;
    size_t first = MIN_OF(n, (size_t)COLD_RUNS_MAX);
    int r = in->ino == 0 || in->ino > INO_MAX || (n && !S_ISREG(in->mode)) ? -E_CORRUPT : 0;

    if (r == 0)
        r = begin(p, INODE_BYTES + first * RUN_BYTES, first);
    if (r == 0 && S_ISREG(in->mode) && in->size == 0)
        in->flags |= INODE_INLINE;
    else if (r == 0 && S_ISREG(in->mode))
        r = cold_file_map(&p->o.t, v, in, runs, first);
    links_more(in);
    if (r == 0)
        r = put_inode(p, in);
    if (r < 0)
        return done(p, r);
    txn_charge(&p->o.t, v, (int64_t)in->blocks + in->more_blocks, 1);
    for (size_t at = first; r == 0 && at < n; at += first) {
        first = MIN_OF(n - at, (size_t)COLD_RUNS_MAX);
        r = plant_flush(p);
        if (r == 0)
            r = begin(p, first * RUN_BYTES, first);
        if (r == 0)
            r = cold_file_add(&p->o.t, v, in->ino, in->size, runs + at, first);
    }
    return done(p, r);
}

static int link_put(struct plant *p, const struct plant_name *n, uint64_t hash)
{
    uint8_t key[24];

    put_be64(key, n->ino);
    put_be64(key + 8, n->dir);
    put_be64(key + 16, hash);
    return vt_put(&p->o.t, KEEP_FIRM, (struct txn_owner){0}, p->o.to, TAB_LINK, key, "", 0);
}

int plant_name_kept(struct plant *p, const struct plant_name *n)
{
    uint8_t key[16], val[NS_DIRENT_HEAD + NAME_LEN_MAX];
    int r =
        n->hash < NS_COOKIE_FIRST || n->len > NAME_LEN_MAX ? -E_CORRUPT : begin(p, NAME_BYTES + n->len, 0);

    if (r < 0)
        return done(p, r);
    put_be64(key, n->dir);
    put_be64(key + 8, n->hash);
    put_le64(val, n->ino);
    val[8] = (uint8_t)(n->type >> 12);
    memcpy(val + NS_DIRENT_HEAD, n->name, n->len);
    return done(p, put_new(p, TAB_DIRENT, key, val, NS_DIRENT_HEAD + n->len));
}

int plant_name_more(struct plant *p, const struct plant_name *n)
{
    struct inode in;
    int r = begin(p, NAME_BYTES, 0);

    if (r == 0)
        r = inode_get(&p->o.t, p->o.at, n->ino, &in);
    if (r == 0 && (in.parent != n->dir || in.parent_hash != n->hash))
        r = link_put(p, n, n->hash);
    return done(p, r == -E_NOENT ? -E_CORRUPT : r);
}

int plant_name_new(struct plant *p, const struct plant_name *n)
{
    struct ns_name name = {n->name, n->len};
    struct inode in;
    uint64_t hash = 0;
    int r = begin(p, NAME_BYTES + INODE_BYTES + n->len, 0);

    if (r == 0)
        r = ns_dirent_slot(&p->o, n->dir, &name, &hash);
    if (r == 0)
        r = ns_dirent_put(&p->o, n->dir, hash, n->ino, n->type, &name);
    if (r == 0)
        r = inode_get(&p->o.t, p->o.at, n->ino, &in);
    if (r == 0 && in.parent == n->dir && in.parent_hash == n->hash) {
        in.parent_hash = hash;
        r = inode_put_new(&p->o.t, p->o.to, &in);
    } else if (r == 0) {
        r = link_put(p, n, hash);
    }
    return done(p, r == -E_NOENT || r == -E_EXIST ? -E_CORRUPT : r);
}
