#include "tier/copy.h"

#include <stdlib.h>

#include "tier/domains.h"
#include "tier/map.h"
#include "tier/tree_diff.h"
#include "tier/writer.h"

#define EDITS_BYTES (32u << 20) /* edits in memory before they become pages */

struct copy {
    struct repo *from;
    const struct point *p;
    const struct copy_opts *o;
    struct writer w;
    struct edits *e;
    struct tree tree;           /* in the other repository, as far as it is */
    struct tree was;            /* of the recovery point that both have, as it is in the source */
    struct part part, part_was; /* o->path: of p, and of that one */
    struct copy_result res;
};

/* --- records -------------------------------------------------------------------------------------------------------- */

/* A part of a blob that the other repository has as a whole: 1, and *ret is that part of it. */
static int carry_part(struct copy *c, const struct slice *s, struct slice *ret)
{
    cleanup(buf_free) struct buf b = {0};
    struct have_blob at;
    struct slice whole;
    int r = have_get_blob(c->from->have, &s->blob, &at);

    if (r < 0 || at.len > BLOB_MAX || s->skip > at.len || s->len > at.len - s->skip || s->len == at.len)
        return r == -E_NOENT ? 0 : MIN_OF(r, 0);
    whole = (struct slice){s->blob, at.chunk, at.off, at.len, 0};
    r = repo_slice(c->from, &whole, true, &b);
    if (r == 0)
        r = packer_known(c->w.p, b.data, b.len, ret);
    else if (r == -E_CORRUPT || r == -E_NOENT ||
             r == -E_ARCHIVED) /* the part itself may be whole, and at hand */
        r = 0;
    if (r == 1) {
        ret->off += s->skip;
        ret->len = s->len;
        ret->skip = s->skip;
        c->res.bytes += s->len;
    }
    return r;
}

/* The same bytes, where the other repository has them. */
static int carry(struct copy *c, enum chunk_kind kind, const struct slice *s, struct slice *ret)
{
    cleanup(buf_free) struct buf b = {0};
    int r = carry_part(c, s, ret);

    if (r != 0)
        return MIN_OF(r, 0);
    r = s->len > BLOB_MAX ? -E_CORRUPT : repo_slice(c->from, s, false, &b);

    if (r == -E_NOENT || (r == 0 && b.len == 0))
        r = -E_CORRUPT;
    c->res.bytes += b.len;
    return r < 0 ? r : packer_blob(c->w.p, kind, b.data, b.len, ret);
}

static int put_slice(struct copy *c, enum chunk_kind kind, const struct tree_key *k,
                     const struct tree_rec *is, size_t at)
{
    struct dec d = dec_of(is->val + at, SLICE_SIZE);
    struct slice s = slice_decode(&d), now;
    uint8_t v[64];
    struct enc e = {v + at};
    int r;

    assert(at + SLICE_SIZE == is->vlen && is->vlen <= sizeof(v));
    memcpy(v, is->val, at);
    r = carry(c, kind, &s, &now);
    if (r == 0 && c->o->pieces)
        ++*c->o->pieces;
    slice_encode(&e, &now);
    return r < 0 ? r : edits_put(c->e, k, v, is->vlen);
}

static int put(struct copy *c, const struct tree_rec *is)
{
    struct tree_key k = {.len = 0};
    uint8_t inode[POINT_INODE_SIZE];
    struct extent e;
    uint32_t run;
    int r = 0;

    tree_key_add(&k, is->key, is->klen);
    switch (is->key[8]) {
    case REC_USE: return 0; /* of chunks that are others there: it is found again */
    case REC_EXTENT:
        r = extent_decode(is->key, is->klen, is->val, is->vlen, &e, &run);
        if (r == 0 && e.kind == EXTENT_SLICE)
            return put_slice(c, CHUNK_DATA, &k, is, is->vlen - SLICE_SIZE);
        break;
    case REC_XATTR:
        if (is->vlen > 0 && is->val[0] == 1)
            return is->vlen == 1 + SLICE_SIZE ? put_slice(c, CHUNK_META, &k, is, 1) : -E_CORRUPT;
        break;
    case REC_INODE:
        c->res.items++;
        if (c->o->path) {
            r = part_inode(&c->part, is, inode);
            return r < 0 ? r : edits_put(c->e, &k, inode, sizeof(inode));
        }
        break;
    default: break;
    }
    return r < 0 ? r : edits_put(c->e, &k, is->val, is->vlen);
}

static int put_again(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    return put(arg, &(struct tree_rec){key, val, klen, vlen});
}

/* A key is removed as a prefix: attributes whose names begin with this one's are put again. */
static int take_away(struct copy *c, const struct tree_rec *was)
{
    struct tree_key k = {.len = 0};
    int r;

    tree_key_add(&k, was->key, was->klen);
    r = edits_remove(c->e, &k);
    if (r == 0 && was->key[8] == REC_XATTR)
        r = tree_scan(c->from, &c->p->tree, &k, NULL, put_again, c);
    return r;
}

/* --- a part ----------------------------------------------------------------------------------------------------------- */

/* Is this inode in the part as it was in the one before? */
static bool same_node(const struct part_node *a, const struct part_node *b)
{
    return a && b && memcmp(a, b, sizeof(*a)) == 0;
}

/* A record that the part takes, of an inode that is in it as before: what differs of it is all that there is to do. */
static bool part_goes_on(const struct copy *c, const struct tree_rec *rec)
{
    uint64_t ino = get_be64(rec->key);

    return part_takes(&c->part, rec->key, rec->klen) &&
           same_node(part_find(&c->part, ino), part_find(&c->part_was, ino));
}

/* After each record: not too much in memory, and whoever waits is told. */
static int went_on(struct copy *c)
{
    int r = edits_bytes(c->e) > EDITS_BYTES ? tree_apply(c->w.p, c->w.r, &c->tree, c->e) : 0;

    return r < 0 || !c->o->progress ? r : c->o->progress(c->o->arg, c->res.items, c->res.bytes);
}

/* A map that the copy had may roll, and be another one now. */
static int forget_uses(struct copy *c, uint64_t ino)
{
    struct tree_key uses = tree_key(ino, REC_USE);

    return edits_remove(c->e, &uses);
}

static int differs(void *arg, const struct tree_rec *was, const struct tree_rec *is)
{
    const struct tree_rec *rec = is ? is : was;
    struct copy *c = arg;
    int r;

    if (rec->klen < 9)
        return -E_CORRUPT;
    if (c->o->path && !part_goes_on(c, rec))
        return 0;
    r = is ? put(c, is) : take_away(c, was);
    if (r == 0 && rec->key[8] == REC_RUN)
        r = forget_uses(c, get_be64(rec->key));
    if (r == -E_CORRUPT)
        c->res.hurt = get_be64(rec->key);
    return r < 0 ? r : went_on(c);
}

static int whole_record(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct tree_rec rec = {key, val, klen, vlen};
    struct copy *c = arg;
    int r;

    if (!part_takes(&c->part, key, klen))
        return 0;
    r = put(c, &rec);
    if (r == -E_CORRUPT)
        c->res.hurt = get_be64(key);
    return r < 0 ? r : went_on(c);
}

/* Inodes that are in the part and were not, or otherwise: all of them; those that are not any more go. */
static int carry_part_nodes(struct copy *c)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < part_nodes(&c->part_was) && !BROKEN(VARVE_BREAK_part_gone); i++) {
        const struct part_node *was = part_node(&c->part_was, i);
        struct tree_key k = tree_key_ino(was->ino);

        if (!same_node(was, part_find(&c->part, was->ino)))
            r = edits_remove(c->e, &k);
    }
    for (size_t i = 0; r == 0 && i < part_nodes(&c->part); i++) {
        const struct part_node *n = part_node(&c->part, i);
        struct tree_key k = tree_key_ino(n->ino);

        if (!same_node(n, part_find(&c->part_was, n->ino)))
            r = tree_scan(c->from, &c->p->tree, &k, NULL, whole_record, c);
    }
    return r;
}

/* --- from which ----------------------------------------------------------------------------------------------------- */

struct sha copy_origin(const struct point *p)
{
    static const struct sha none;
    struct sha id = p->origin;

    if (memcmp(id.b, none.b, sizeof(id.b)) == 0)
        (void)hex_parse(p->id, id.b, sizeof(id.b));
    return id;
}

int copy_origin_of(const struct point *p, const char *path, struct sha *ret)
{
    struct sha whole = copy_origin(p);

    if (path)
        return part_origin(&whole, path, ret);
    *ret = whole;
    return 0;
}

struct there { /* a recovery point of the volume, in the other repository */
    struct sha origin;
    struct tree tree;
    char id[SHA_TEXT];
};
struct choosing {
    struct copy *c;
    struct uuid volume; /* as it is called there */
    struct buf there;
    int64_t taken_ns;
    char base[SHA_TEXT];
    struct tree base_tree;
};

static int list_there(void *arg, const struct point *p)
{
    struct choosing *g = arg;
    struct there t = {.origin = copy_origin(p), .tree = p->tree};

    if (!uuid_equal(&p->volume, &g->volume) || !repo_is_into(g->c->w.r, &p->domain))
        return 0;
    memcpy(t.id, p->id, sizeof(t.id));
    return buf_add(&g->there, &t, sizeof(t));
}

static bool find_there(const struct choosing *g, const struct sha *origin, struct there *ret)
{
    for (size_t at = 0; at < g->there.len; at += sizeof(*ret)) {
        memcpy(ret, g->there.data + at, sizeof(*ret));
        if (memcmp(ret->origin.b, origin->b, sizeof(origin->b)) == 0)
            return true;
    }
    return false;
}

/* The newest of the volume that both have. */
static int choose(void *arg, const struct point *p)
{
    struct choosing *g = arg;
    struct sha origin;
    struct there t;
    int r;

    if (!uuid_equal(&p->volume, &g->c->p->volume) || p->tree.depth == 0 ||
        (g->base[0] && p->taken_ns <= g->taken_ns))
        return 0;
    r = copy_origin_of(p, g->c->o->path, &origin);
    if (r < 0 || !find_there(g, &origin, &t) || t.tree.depth == 0)
        return r;
    memcpy(g->base, t.id, sizeof(t.id));
    g->taken_ns = p->taken_ns;
    g->base_tree = t.tree;
    g->c->was = p->tree;
    return 0;
}

/* As what it is known there: the volume, and what its copies are called. */
static int known_as(struct copy *c, struct choosing *g, struct sha *ret_origin)
{
    struct point p = {.volume = c->p->volume};
    int r = c->o->path ? part_name(&p, c->o->path) : 0;

    g->volume = p.volume;
    buf_free(&p.labels);
    return r < 0 ? r : copy_origin_of(c->p, c->o->path, ret_origin);
}

static int from_which(struct copy *c, bool whole, struct choosing *g)
{
    struct sha origin;
    struct there t;
    int r = known_as(c, g, &origin);

    if (r == 0)
        r = points_each(c->w.r, list_there, NULL, g);
    if (r == 0 && find_there(g, &origin, &t)) {
        c->res.same = true;
        memcpy(c->res.id, t.id, sizeof(t.id));
        return 0;
    }
    return r < 0 || whole ? r : points_each(c->from, choose, NULL, g);
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

/* What it says of itself; labels: room for its own. */
static int is_part(struct copy *c, struct point *p, struct buf *labels)
{
    int r = buf_add(labels, p->labels.data, p->labels.len);

    p->labels = *labels;
    if (r == 0)
        r = part_name(p, c->o->path);
    *labels = p->labels;
    return r < 0 ? r : part_count(c->from, &c->p->tree, &c->part, p);
}

static int publish(struct copy *c)
{
    cleanup(buf_free) struct buf labels = {0};
    struct packer_stat st;
    struct point p = *c->p;
    int r = tree_apply(c->w.p, c->w.r, &c->tree, c->e);

    if (r == 0)
        r = writer_ready(&c->w);
    packer_get_stat(c->w.p, &st);
    c->res.new_bytes = p.new_bytes = st.new_bytes;
    p.tree = c->tree;
    if (r == 0)
        r = copy_origin_of(c->p, c->o->path, &p.origin);
    if (r == 0 && c->o->path)
        r = is_part(c, &p, &labels);
    p.regarded = (struct buf){0}; /* labels stay the other's */
    p.base = (struct sha){{0}};
    if (r == 0 && c->w.base[0])
        r = hex_parse(c->w.base, p.base.b, sizeof(p.base.b));
    if (r == 0)
        r = writer_put(&c->w, &p);
    buf_free(&p.regarded);
    memcpy(c->res.id, p.id, sizeof(p.id));
    return r;
}

static int parts_make(struct copy *c)
{
    const uint8_t *names = point_names(c->p); /* both are of one volume */
    int r = part_make(c->from, &c->p->tree, names, c->o->path, &c->part);

    return r < 0 || !c->was.depth ? r : part_make(c->from, &c->was, names, c->o->path, &c->part_was);
}

static int carry_all(struct copy *c, struct choosing *g)
{
    int r = writer_base(&c->w, g->base);

    if (r == 0)
        r = edits_new(&c->e);
    if (r < 0)
        return r;
    if (c->w.base[0]) {
        c->tree = g->base_tree;
        memcpy(c->res.base, c->w.base, sizeof(c->w.base));
    } else {
        c->was.depth = 0;
    }
    c->res.was = c->was;
    r = c->o->path ? parts_make(c) : 0;
    if (r == 0 && (!c->o->path || c->was.depth)) /* of a part that is new all is carried by its inodes */
        r = tree_diff(c->from, &c->was, &c->p->tree, differs, c);
    if (r == 0 && c->o->path)
        r = carry_part_nodes(c);
    return r < 0 ? r : publish(c);
}

/* What is of a domain of its own is so there, too: of another one, as all keys are others there. */
static int domain_choose(struct copy *c, struct repo *to)
{
    const struct domain *d = NULL;
    int r = id16_none(&c->p->domain) || BROKEN(VARVE_BREAK_domain_copied)
                ? 0
                : repo_domain_own(to, &c->p->volume, true, &d);

    if (r == 0)
        repo_into(to, d);
    return r;
}

static int attempt(struct copy *c, struct repo *to, bool whole)
{
    struct choosing g = {.c = c};
    int r = writer_begin(&c->w, to);

    if (r == 0)
        r = domain_choose(c, to);
    if (r == 0)
        r = repo_sync(c->from);
    if (r == 0)
        r = from_which(c, whole, &g);
    if (r == 0 && !c->res.same)
        r = carry_all(c, &g);
    r = writer_failed(&c->w, r);
    buf_free(&g.there);
    edits_free(c->e);
    part_free(&c->part);
    part_free(&c->part_was);
    writer_end(&c->w);
    return r;
}

int copy_run(struct repo *from, struct repo *to, const struct point *p, const struct copy_opts *o,
             struct copy_result *ret)
{
    uint64_t before = to->put_bytes;
    int r = -E_AGAIN;

    for (unsigned n = 0; r == -E_AGAIN && n < WRITER_TRIES; n++) {
        struct copy c = {.from = from, .p = p, .o = o};

        r = writer_pause(to, n);
        r = r < 0 ? r : attempt(&c, to, n > 0);
        c.res.sent_bytes = to->put_bytes - before;
        *ret = c.res;
    }
    repo_into(to, NULL);
    return r == -E_AGAIN ? -E_PRUNED : r;
}
