#include "tier/point.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "snap/ns.h"
#include "tier/domains.h"

#define TLV_LABEL 1
#define TLV_PROGRAM 2
#define TLV_REGARDED 3
#define TLV_ORIGIN 4
#define TLV_HASH_KEY 5
#define POINT_FIX 256u
#define DEPTH_MAX 4096

void point_release(struct point *p)
{
    buf_free(&p->labels);
    buf_free(&p->regarded);
}

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

static int tlv_put(struct buf *out, uint16_t type, const void *p, size_t len)
{
    uint8_t head[8];

    put_le16(head, type);
    put_le16(head + 2, 0);
    put_le32(head + 4, (uint32_t)len);
    return buf_add(out, head, sizeof(head)) < 0 ? -E_NOMEM : buf_add(out, p, len);
}

static int name_put(struct buf *out, const char *s)
{
    uint8_t n[2];

    put_le16(n, (uint16_t)strlen(s));
    return buf_add(out, n, sizeof(n)) < 0 ? -E_NOMEM : buf_puts(out, s);
}

static void fix_encode(const struct point *p, uint8_t out[POINT_FIX])
{
    const struct uuid *ids[] = {&p->volume, &p->family, &p->snapshot, &p->store, &p->group};
    const uint64_t counts[] = {p->files,     p->dirs,       p->others,     p->bytes,
                               p->new_bytes, p->size_limit, p->inode_limit};
    struct enc e = {out};

    enc_u16(&e, POINT_VERSION);
    enc_u16(&e, p->flags);
    enc_u64(&e, (uint64_t)p->created_ns);
    enc_u64(&e, (uint64_t)p->taken_ns);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        enc_bytes(&e, ids[i]->b, 16);
    enc_bytes(&e, p->base.b, 32);
    enc_u32(&e, p->branch);
    enc_u32(&e, p->layer);
    enc_u64(&e, p->epoch);
    enc_u32(&e, p->grade);
    enc_u32(&e, p->tree.depth);
    slice_encode(&e, &p->tree.root);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        enc_u64(&e, counts[i]);
    assert(e.p == out + POINT_FIX);
}

int point_encode(const struct point *p, struct buf *out)
{
    static const char program[] = "varve " VARVE_VERSION;
    static const struct sha none;
    uint8_t fix[POINT_FIX];
    int r;

    fix_encode(p, fix);
    if ((r = buf_add(out, fix, sizeof(fix))) < 0 || (r = name_put(out, p->volume_name)) < 0 ||
        (r = name_put(out, p->snapshot_name)) < 0)
        return r;
    for (size_t at = 0; r == 0 && at < p->labels.len;) {
        const char *s = (const char *)p->labels.data + at;

        r = tlv_put(out, TLV_LABEL, s, strlen(s));
        at += strlen(s) + 1;
    }
    if (r == 0 && memcmp(p->origin.b, none.b, sizeof(none.b)) != 0)
        r = tlv_put(out, TLV_ORIGIN, p->origin.b, sizeof(p->origin.b));
    if (r == 0 && p->regarded.len)
        r = tlv_put(out, TLV_REGARDED, p->regarded.data, p->regarded.len);
    if (r == 0 && p->has_hash_key)
        r = tlv_put(out, TLV_HASH_KEY, p->hash_key, sizeof(p->hash_key));
    return r < 0 ? r : tlv_put(out, TLV_PROGRAM, program, sizeof(program) - 1);
}

static void name_decode(struct dec *d, char out[POINT_NAME_MAX + 1])
{
    size_t n = dec_u16(d);
    const uint8_t *p = dec_bytes(d, n);

    if (n > POINT_NAME_MAX || (p && memchr(p, 0, n)))
        d->bad = true;
    if (d->bad)
        return;
    memcpy(out, p, n);
    out[n] = 0;
}

static void fix_decode(struct dec *d, struct point *p)
{
    struct uuid *ids[] = {&p->volume, &p->family, &p->snapshot, &p->store, &p->group};
    uint64_t *counts[] = {&p->files,     &p->dirs,       &p->others,     &p->bytes,
                          &p->new_bytes, &p->size_limit, &p->inode_limit};

    p->flags = dec_u16(d);
    p->created_ns = (int64_t)dec_u64(d);
    p->taken_ns = (int64_t)dec_u64(d);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        dec_copy(d, ids[i]->b, 16);
    dec_copy(d, p->base.b, 32);
    p->branch = dec_u32(d);
    p->layer = dec_u32(d);
    p->epoch = dec_u64(d);
    p->grade = dec_u32(d);
    p->tree.depth = dec_u32(d);
    p->tree.root = slice_decode(d);
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        *counts[i] = dec_u64(d);
}

int point_decode(const void *bytes, size_t len, struct point *ret)
{
    struct dec d = dec_of(bytes, len);
    struct point p = {.flags = 0};
    struct tlv t;
    uint16_t version = dec_u16(&d);
    int r = 0;

    if (d.bad)
        return -E_CORRUPT;
    if (version != POINT_VERSION)
        return -E_REPO_NEWER;
    fix_decode(&d, &p);
    name_decode(&d, p.volume_name);
    name_decode(&d, p.snapshot_name);
    if (d.bad || p.tree.depth > TREE_DEPTH_MAX)
        return -E_CORRUPT;
    if ((r = tlv_known(d, TLV_HASH_KEY)) < 0)
        return r;
    while (r == 0 && tlv_next(&d, &t) == 1)
        if (t.type == TLV_LABEL && (r = buf_add(&p.labels, t.p, t.len)) == 0)
            r = buf_add(&p.labels, "", 1);
        else if (t.type == TLV_REGARDED && t.len % sizeof(struct sha) == 0)
            r = buf_add(&p.regarded, t.p, t.len);
        else if (t.type == TLV_ORIGIN && t.len == sizeof(p.origin.b))
            memcpy(p.origin.b, t.p, t.len);
        else if (t.type == TLV_HASH_KEY && t.len == sizeof(p.hash_key)) {
            memcpy(p.hash_key, t.p, t.len);
            p.has_hash_key = true;
        }
    if (r < 0)
        point_release(&p);
    else
        *ret = p;
    return r;
}

/* --- in the repository ---------------------------------------------------------------------------------------------- */

static bool is_sealed(const void *p, size_t len)
{
    return len >= CHUNK_HEAD && memcmp(p, CHUNK_MAGIC, strlen(CHUNK_MAGIC)) == 0;
}

int point_open(struct repo *r, const void *p, size_t len, struct point *ret)
{
    cleanup(buf_free) struct buf plain = {0};
    struct chunk_head h;
    int x;

    if (!is_sealed(p, len))
        return point_decode(p, len, ret);
    x = repo_unseal(r, CHUNK_POINT, p, len, &h, &plain);
    if (x == 0)
        x = point_decode(plain.data, plain.len, ret);
    if (x == 0 && !repo_domain_is_default(r, &h.domain))
        ret->domain = h.domain;
    return x;
}

int point_seal(struct repo *r, const struct point *p, struct buf *out)
{
    cleanup(buf_free) struct buf b = {0};
    const struct domain *d;
    struct id16 id;
    int x = point_encode(p, &b);

    if (x == 0)
        x = repo_domain(r, &p->domain, &d);
    if (x < 0 || repo_domain_is_default(r, &p->domain))
        return x < 0 ? x : buf_add(out, b.data, b.len);
    hash_random(id.b, sizeof(id.b));
    return seal(d, CHUNK_POINT, &id, b.data, b.len, out);
}

int point_put(struct repo *r, struct point *p)
{
    cleanup(buf_free) struct buf b = {0};
    bool shared = repo_domain_is_default(r, &r->into.id);
    int x = point_encode(p, &b);

    p->domain = shared ? (struct id16){{0}} : r->into.id;
    if (x == 0)
        x = repo_put_object(r, "points", CHUNK_POINT, b.data, b.len, p->id);
    if (x == 0 && shared)
        (void)have_put_point(r->have, p->id, b.data, b.len); /* read again where it is not kept */
    return x;
}

/* As this machine keeps it: plain where it is of the default domain; of another one as it lies there, so that who shreds that has not to
 * look for machines that know it. */
static int point_fetch(struct repo *r, const char *id, struct buf *ret)
{
    cleanup(buf_free) struct buf raw = {0};
    struct chunk_head h;
    char name[80];
    int x;

    snprintf(name, sizeof(name), "points/%s", id);
    x = repo_object_raw(r, name, &raw);
    if (x == 0)
        x = unseal_head(raw.data, raw.len, &h);
    if (x == 0 && repo_domain_is_default(r, &h.domain))
        x = repo_unseal(r, CHUNK_POINT, raw.data, raw.len, NULL, ret);
    else if (x == 0)
        x = buf_add(ret, raw.data, raw.len);
    if (x == 0)
        (void)have_put_point(r->have, id, ret->data, ret->len);
    return x;
}

/* What was read once is kept by this machine: the id is its hash. */
int point_get(struct repo *r, const char *id, struct point *ret)
{
    cleanup(buf_free) struct buf b = {0};
    int x = have_point(r->have, id, &b);

    if (x == -E_NOENT)
        x = point_fetch(r, id, &b);
    if (x == 0)
        x = point_open(r, b.data, b.len, ret);
    if (x == 0)
        snprintf(ret->id, sizeof(ret->id), "%s", id);
    return x;
}

static int take_id(void *arg, const char *name, const struct backend_stat *st)
{
    const char *hex = name + strlen("points/");

    (void)st;
    return strlen(hex) == SHA_TEXT - 1 ? buf_add(arg, hex, SHA_TEXT) : 0;
}

int points_each(struct repo *r, int (*cb)(void *arg, const struct point *p),
                void (*bad)(void *arg, const char *id, int why), void *arg)
{
    cleanup(buf_free) struct buf ids = {0};
    int x = backend_list(r->b, &r->call, "points/", "", take_id, &ids);

    for (size_t at = 0; x == 0 && at < ids.len; at += SHA_TEXT) {
        const char *id = (const char *)ids.data + at;
        struct point p;

        x = point_get(r, id, &p);
        if (x == 0) {
            x = cb(arg, &p);
            point_release(&p);
        } else if (x == -E_CORRUPT || x == -E_REPO_NEWER || x == -E_NOENT || x == -E_KEY ||
                   x == -E_SHREDDED) {
            if (bad && x != -E_NOENT && x != -E_SHREDDED)
                bad(arg, id, x);
            x = 0;
        }
    }
    return x;
}

struct finding {
    const char *id;
    size_t len, n;
    bool latest, by_snapshot;
    struct uuid snapshot;
    int64_t newest;
    char found[SHA_TEXT];
};

static bool is_meant(const struct finding *f, const struct point *p)
{
    if (f->by_snapshot)
        return uuid_equal(&p->snapshot, &f->snapshot) && (!f->n || p->created_ns > f->newest);
    return f->latest ? !f->n || p->taken_ns > f->newest : strncmp(p->id, f->id, f->len) == 0;
}

static int find_one(void *arg, const struct point *p)
{
    struct finding *f = arg;

    if (!is_meant(f, p))
        return 0;
    f->n++;
    f->newest = f->by_snapshot ? p->created_ns : p->taken_ns;
    memcpy(f->found, p->id, sizeof(f->found));
    return 0;
}

int point_find(struct repo *r, const char *id, struct point *ret, struct buf *err)
{
    struct finding f = {.id = id, .len = strlen(id), .latest = strcmp(id, "latest") == 0};
    int x;

    f.by_snapshot = uuid_parse(id, &f.snapshot) == 0;
    if (!f.latest && !f.by_snapshot &&
        (f.len < 8 || f.len >= SHA_TEXT || strspn(id, "0123456789abcdef") != f.len)) {
        buf_printf(
            err,
            "\"%.70s\" is no recovery point; write 8 or more of its digits, its snapshot's uuid, or latest",
            id);
        return -E_USAGE;
    }
    x = points_each(r, find_one, NULL, &f);
    if (x == 0 && f.n == 0) {
        buf_printf(err, "there is no recovery point %s; varve backup list shows what there is", id);
        return -E_NOENT;
    }
    if (x == 0 && !f.latest && !f.by_snapshot && f.n > 1) {
        buf_printf(err, "%zu recovery points begin with %s; give more digits", f.n, id);
        return -E_USAGE;
    }
    if (x == 0)
        x = point_get(r, f.found, ret);
    if (x < 0)
        buf_printf(err, "recovery point %s: %s", id, backend_text(x));
    return x;
}

/* --- records -------------------------------------------------------------------------------------------------------- */

static void time_encode(struct enc *e, const struct timespec *t)
{
    enc_u64(e, (uint64_t)t->tv_sec);
    enc_u32(e, (uint32_t)t->tv_nsec);
}

static struct timespec time_decode(struct dec *d)
{
    struct timespec t = {.tv_sec = (time_t)dec_u64(d)};

    t.tv_nsec = dec_u32(d);
    return t;
}

void point_inode_encode(const struct point_inode *in, uint8_t out[POINT_INODE_SIZE])
{
    struct enc e = {out};

    enc_u32(&e, in->mode);
    enc_u32(&e, in->uid);
    enc_u32(&e, in->gid);
    enc_u32(&e, in->nlink);
    enc_u64(&e, in->rdev);
    enc_u64(&e, in->size);
    enc_u32(&e, in->flags);
    enc_u32(&e, in->project);
    enc_u64(&e, in->parent);
    enc_u64(&e, in->parent_hash);
    time_encode(&e, &in->mtime);
    time_encode(&e, &in->ctime);
    time_encode(&e, &in->btime);
    time_encode(&e, &in->atime);
    enc_u64(&e, in->gen);
    assert(e.p == out + POINT_INODE_SIZE);
}

int point_inode_decode(const void *p, size_t len, struct point_inode *ret)
{
    struct dec d = dec_of(p, len);

    ret->mode = dec_u32(&d);
    ret->uid = dec_u32(&d);
    ret->gid = dec_u32(&d);
    ret->nlink = dec_u32(&d);
    ret->rdev = dec_u64(&d);
    ret->size = dec_u64(&d);
    ret->flags = dec_u32(&d);
    ret->project = dec_u32(&d);
    ret->parent = dec_u64(&d);
    ret->parent_hash = dec_u64(&d);
    ret->mtime = time_decode(&d);
    ret->ctime = time_decode(&d);
    ret->btime = time_decode(&d);
    ret->atime = time_decode(&d);
    ret->gen = dec_u64(&d);
    if (d.bad || ret->mtime.tv_nsec >= 1000000000 || ret->atime.tv_nsec >= 1000000000)
        return -E_CORRUPT;
    return tlv_known(d, 0);
}

int point_inode_get(struct repo *r, const struct tree *t, uint64_t ino, struct point_inode *ret)
{
    cleanup(buf_free) struct buf b = {0};
    struct tree_key k = tree_key(ino, REC_INODE);
    int x = tree_get(r, t, &k, &b);

    return x < 0 ? x : point_inode_decode(b.data, b.len, ret);
}

int point_dirent_decode(const void *p, size_t len, struct point_dirent *ret)
{
    struct dec d = dec_of(p, len);
    struct point_dirent e = {.ino = dec_u64(&d)};

    e.type = (uint32_t)dec_u8(&d) << 12;
    e.name = (const char *)d.p;
    e.name_len = d.left;
    if (d.bad || e.name_len == 0 || e.name_len > POINT_NAME_MAX || memchr(e.name, '/', e.name_len) ||
        memchr(e.name, 0, e.name_len) ||
        (e.name[0] == '.' && (e.name_len == 1 || (e.name_len == 2 && e.name[1] == '.'))))
        return -E_CORRUPT;
    *ret = e;
    return 0;
}

struct dirents {
    int (*cb)(void *arg, uint64_t hash, const struct point_dirent *e);
    void *arg;
};

static int dirent_one(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct dirents *d = arg;
    struct point_dirent e;
    int r = klen == 17 ? point_dirent_decode(val, vlen, &e) : -E_CORRUPT;

    return r < 0 ? r : d->cb(d->arg, get_be64(key + 9), &e);
}

static int dirents_each(struct repo *r, const struct tree *t, const struct tree_key *prefix,
                        int (*cb)(void *arg, uint64_t hash, const struct point_dirent *e), void *arg)
{
    struct dirents d = {cb, arg};

    return tree_scan(r, t, prefix, NULL, dirent_one, &d);
}

int point_dirents(struct repo *r, const struct tree *t, uint64_t dir,
                  int (*cb)(void *arg, uint64_t hash, const struct point_dirent *e), void *arg)
{
    struct tree_key k = tree_key(dir, REC_DIRENT);

    return dirents_each(r, t, &k, cb, arg);
}

struct lookup {
    const char *name;
    size_t len;
    struct point_dirent found;
    uint64_t hash;
};

static int is_looked_for(void *arg, uint64_t hash, const struct point_dirent *e)
{
    struct lookup *l = arg;

    if (e->name_len != l->len || memcmp(e->name, l->name, l->len) != 0)
        return 0;
    l->found = *e;
    l->found.name = NULL; /* it ends with the call */
    l->hash = hash;
    return 1;
}

const uint8_t *point_names(const struct point *p)
{
    return p->has_hash_key && !BROKEN(VARVE_BREAK_names_read) ? p->hash_key : NULL;
}

int point_lookup(struct repo *r, const struct tree *t, const uint8_t *names, uint64_t dir, const char *name,
                 size_t len, struct point_dirent *ret, uint64_t *ret_hash)
{
    struct lookup l = {.name = name, .len = len};
    struct tree_key k = tree_key(dir, REC_DIRENT);
    int x;

    if (names) { /* a group: all numbers of one begin alike */
        static_assert(NS_GROUP == 256, "the last byte tells the names of a group apart");
        tree_key_u64(&k, ns_name_group(names, name, len));
        k.len--;
    }
    x = dirents_each(r, t, &k, is_looked_for, &l);
    if (x <= 0)
        return x < 0 ? x : -E_NOENT;
    *ret = l.found;
    if (ret_hash)
        *ret_hash = l.hash;
    return 0;
}

int point_path(struct repo *r, const struct tree *t, uint64_t ino, struct buf *ret)
{
    cleanup(buf_free) struct buf path = {0};
    struct point_inode in;
    int x = 0;

    for (unsigned i = 0; ino != 1 && x == 0; i++) {
        cleanup(buf_free) struct buf val = {0}, longer = {0};
        struct tree_key k;
        struct point_dirent e;

        if (i == DEPTH_MAX)
            return -E_CORRUPT;
        if ((x = point_inode_get(r, t, ino, &in)) < 0)
            return x;
        k = tree_key(in.parent, REC_DIRENT);
        tree_key_u64(&k, in.parent_hash);
        if ((x = tree_get(r, t, &k, &val)) < 0 || (x = point_dirent_decode(val.data, val.len, &e)) < 0)
            return x;
        if ((x = buf_add(&longer, e.name, e.name_len)) < 0 ||
            (path.len && (x = buf_puts(&longer, "/")) < 0) || (x = buf_add(&longer, path.data, path.len)) < 0)
            return x;
        buf_free(&path);
        path = longer;
        longer = (struct buf){0};
        ino = in.parent;
    }
    return x < 0 ? x : buf_add(ret, path.data, path.len);
}
