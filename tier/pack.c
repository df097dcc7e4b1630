#include "tier/pack.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mark.h"

#define VERSION 1
#define CHUNK_FULL (1u << 20)   /* a chunk that gathers blobs ends with the one that passes it */
#define BLOB_ALONE (512u << 10) /* a blob from here on is a chunk of its own */
#define INDEX_PACKS 4096        /* packs of one index object */
#define ASK_EACH 64             /* packs that are asked for one by one, beyond that all are listed */

/* --- a pack's form -------------------------------------------------------------------------------------------------- */

int pack_begin(const struct uuid *repo, const struct domain *d, struct buf *pack)
{
    uint8_t head[PACK_HEAD];
    struct enc e = {head};

    enc_bytes(&e, PACK_MAGIC, 4);
    enc_u16(&e, VERSION);
    enc_u16(&e, 0);
    enc_bytes(&e, repo->b, 16);
    enc_bytes(&e, d->id.b, 16);
    return buf_add(pack, head, sizeof(head));
}

int pack_close(const struct domain *d, const void *trailer, size_t len, struct buf *pack)
{
    uint8_t foot[PACK_FOOT];
    struct enc e = {foot};
    size_t at = pack->len;
    struct id16 id;
    int r;

    hash_random(id.b, sizeof(id.b));
    r = seal(d, CHUNK_TRAILER, &id, trailer, len, pack);
    if (r < 0)
        return r;
    enc_u64(&e, at);
    enc_u32(&e, (uint32_t)(pack->len - at));
    enc_u16(&e, VERSION);
    enc_u16(&e, 0);
    r = crypt_sum8(foot, 16, e.p);
    e.p += SUM8;
    enc_bytes(&e, PACK_END_MAGIC, 4);
    return r < 0 ? r : buf_add(pack, foot, sizeof(foot));
}

/* The footer of a pack of size bytes: where its trailer is. */
static int foot_parse(const uint8_t foot[PACK_FOOT], uint64_t size, uint64_t *ret_off, uint32_t *ret_len)
{
    struct dec d = dec_of(foot, PACK_FOOT);
    uint8_t sum[SUM8];
    uint16_t version;

    *ret_off = dec_u64(&d);
    *ret_len = dec_u32(&d);
    version = dec_u16(&d);
    if (crypt_sum8(foot, 16, sum) < 0)
        return -E_NOMEM;
    if (memcmp(foot + PACK_FOOT - 4, PACK_END_MAGIC, 4) != 0 || memcmp(sum, foot + 16, SUM8) != 0 ||
        *ret_off < PACK_HEAD || *ret_off > size - PACK_FOOT || *ret_len != size - PACK_FOOT - *ret_off)
        return -E_CORRUPT;
    return version == VERSION ? 0 : -E_REPO_NEWER;
}

static int head_check(const uint8_t head[PACK_HEAD], const struct uuid *repo)
{
    struct dec d = dec_of(head + 4, PACK_HEAD - 4);
    uint16_t version = dec_u16(&d);

    if (memcmp(head, PACK_MAGIC, 4) != 0 || memcmp(head + 8, repo->b, 16) != 0)
        return -E_CORRUPT;
    return version == VERSION ? 0 : -E_REPO_NEWER;
}

int pack_open(const struct uuid *repo, const struct domain *d, const void *p, size_t len,
              struct buf *ret_trailer)
{
    const uint8_t *at = p;
    uint64_t off;
    uint32_t n;
    int r;

    if (len < PACK_HEAD + PACK_FOOT)
        return -E_CORRUPT;
    r = head_check(at, repo);
    if (r == 0)
        r = foot_parse(at + len - PACK_FOOT, len, &off, &n);
    return r < 0 ? r : unseal(d, CHUNK_TRAILER, at + off, n, NULL, ret_trailer);
}

int pack_trailer(struct repo *r, const struct sha *pack, uint64_t size, struct buf *ret)
{
    cleanup(buf_free) struct buf b = {0};
    char name[PACK_NAME];
    uint64_t off;
    uint32_t n;
    int x;

    if (size < PACK_HEAD + PACK_FOOT || size > PACK_SIZE_MAX)
        return -E_CORRUPT;
    pack_name(pack, name);
    x = backend_get(r->b, &r->call, name, size - PACK_FOOT, PACK_FOOT, &b);
    if (x == 0)
        x = b.len == PACK_FOOT ? foot_parse(b.data, size, &off, &n) : -E_CORRUPT;
    if (x < 0)
        return x;
    buf_reset(&b);
    x = backend_get(r->b, &r->call, name, off, n, &b);
    return x < 0 ? x : unseal(&r->dom, CHUNK_TRAILER, b.data, b.len, NULL, ret);
}

/* --- gathering ------------------------------------------------------------------------------------------------------ */

/* A chunk that fills up. */
struct gather {
    enum chunk_kind kind;
    struct id16 id;
    struct buf plain, blobs; /* blobs: as in the trailer */
    uint32_t n;
};

/* Blobs of this session that no pack put holds yet. */
struct fresh {
    struct id16 blob; /* all zeros: a free slot */
    struct have_blob at;
};

struct packer {
    struct repo *r;
    struct mac *mac;
    struct gather data, meta;
    struct buf pack, trailer;
    uint32_t nchunks;
    struct fresh *fresh;
    size_t nfresh, cap;
    const struct idset *gone;
    struct idset relied;     /* packs that something given out lies in, those of its own among them */
    struct buf relied_names; /* struct sha each */
    struct id16 last;        /* the chunk asked for last, */
    bool last_set, last_ok;  /* and what was found */
    struct packer_stat st;
};

static struct fresh *fresh_slot(struct fresh *v, size_t cap, const struct id16 *blob)
{
    static const struct id16 none;
    size_t i = get_le64(blob->b) & (cap - 1);

    while (memcmp(v[i].blob.b, none.b, 16) != 0 && memcmp(v[i].blob.b, blob->b, 16) != 0)
        i = (i + 1) & (cap - 1);
    return &v[i];
}

static int fresh_add(struct packer *p, const struct id16 *blob, const struct have_blob *at)
{
    if (p->nfresh * 2 >= p->cap) {
        static const struct id16 none;
        size_t cap = p->cap ? p->cap * 2 : 1024;
        struct fresh *v = calloc(cap, sizeof(*v));

        if (!v)
            return -E_NOMEM;
        for (size_t i = 0; i < p->cap; i++)
            if (memcmp(p->fresh[i].blob.b, none.b, 16) != 0)
                *fresh_slot(v, cap, &p->fresh[i].blob) = p->fresh[i];
        free(p->fresh);
        p->fresh = v;
        p->cap = cap;
    }
    *fresh_slot(p->fresh, p->cap, blob) = (struct fresh){*blob, *at};
    p->nfresh++;
    return 0;
}

static void fresh_clear(struct packer *p)
{
    free(p->fresh);
    p->fresh = NULL;
    p->nfresh = p->cap = 0;
}

static int gather_begin(struct gather *g)
{
    if (g->n == 0)
        hash_random(g->id.b, sizeof(g->id.b));
    return 0;
}

static int rely_on(struct packer *p, const struct sha *pack)
{
    struct id16 id = sha_half(pack);
    int r;

    if (idset_get(&p->relied, &id))
        return 0;
    r = idset_put(&p->relied, &id, NULL);
    return r < 0 ? r : buf_add(&p->relied_names, pack->b, sizeof(pack->b));
}

static int put_pack(struct packer *p)
{
    char name[PACK_NAME];
    uint8_t head[TRAILER_HEAD];
    cleanup(buf_free) struct buf t = {0};
    struct enc e = {head};
    struct sha sum;
    int r;

    if (p->nchunks == 0)
        return 0;
    enc_u16(&e, VERSION);
    enc_u16(&e, 0);
    enc_u32(&e, p->nchunks);
    if ((r = buf_add(&t, head, sizeof(head))) < 0 || (r = buf_add(&t, p->trailer.data, p->trailer.len)) < 0)
        return r;
    r = pack_close(&p->r->dom, t.data, t.len, &p->pack);
    if (r == 0)
        r = crypt_sha256(p->pack.data, p->pack.len, &sum);
    if (r < 0)
        return r;
    pack_name(&sum, name);
    r = repo_put(p->r, name, p->pack.data, p->pack.len);
    if (r == 0)
        r = have_pack(p->r->have, &sum, p->pack.len, t.data, t.len, true);
    if (r < 0)
        return r;
    if ((r = rely_on(p, &sum)) < 0)
        return r;
    MARK("pack: put");
    p->st.sent_bytes += p->pack.len;
    buf_reset(&p->pack);
    buf_reset(&p->trailer);
    p->nchunks = 0;
    return 0;
}

/* The chunk lies in the pack from `at` on. */
static int chunk_added(struct packer *p, const struct id16 *id, const struct have_chunk *c, const void *blobs,
                       uint32_t n)
{
    uint8_t head[TRAILER_CHUNK];
    struct enc e = {head};
    int r;

    enc_bytes(&e, id->b, 16);
    enc_u32(&e, c->off);
    enc_u32(&e, c->stored_len);
    enc_u32(&e, c->plain_len);
    enc_u8(&e, c->kind);
    enc_u8(&e, 0);
    enc_u16(&e, 0);
    enc_u32(&e, n);
    if ((r = buf_add(&p->trailer, head, sizeof(head))) < 0 ||
        (r = buf_add(&p->trailer, blobs, n * (size_t)TRAILER_BLOB)) < 0)
        return r;
    p->nchunks++;
    return 0;
}

static int pack_ready(struct packer *p)
{
    return p->pack.len == 0 ? pack_begin(&p->r->root.uuid, &p->r->dom, &p->pack) : 0;
}

/* Seals a chunk into the pack. */
static int gather_end(struct packer *p, struct gather *g)
{
    struct have_chunk c = {.plain_len = (uint32_t)g->plain.len, .kind = (uint8_t)g->kind};
    int r = g->n ? pack_ready(p) : 0;

    if (r < 0 || g->n == 0)
        return r;
    c.off = (uint32_t)p->pack.len;
    r = seal(&p->r->dom, g->kind, &g->id, g->plain.data, g->plain.len, &p->pack);
    c.stored_len = (uint32_t)p->pack.len - c.off;
    if (r == 0)
        r = chunk_added(p, &g->id, &c, g->blobs.data, g->n);
    if (r < 0)
        return r;
    g->n = 0;
    buf_reset(&g->plain);
    buf_reset(&g->blobs);
    return 0;
}

/* The pack is put with everything that the fresh ones refer to: both chunks that fill up are ended with it. */
static int put_all(struct packer *p)
{
    int r = gather_end(p, &p->data);

    if (r == 0)
        r = gather_end(p, &p->meta);
    if (r == 0)
        r = put_pack(p);
    if (r == 0)
        fresh_clear(p);
    return r;
}

static int gather_add(struct gather *g, const struct id16 *blob, const void *bytes, size_t len,
                      struct slice *ret)
{
    uint8_t entry[TRAILER_BLOB];
    struct enc e = {entry};
    int r = gather_begin(g);

    enc_bytes(&e, blob->b, 16);
    enc_u32(&e, (uint32_t)len);
    *ret = (struct slice){*blob, g->id, (uint32_t)g->plain.len, (uint32_t)len, 0};
    if (r == 0)
        r = buf_add(&g->blobs, entry, sizeof(entry));
    if (r == 0)
        r = buf_add(&g->plain, bytes, len);
    g->n++;
    return r;
}

static int add_new(struct packer *p, enum chunk_kind kind, const struct id16 *blob, const void *bytes,
                   size_t len, struct slice *ret)
{
    struct gather alone = {.kind = kind}, *g = len >= BLOB_ALONE    ? &alone
                                               : kind == CHUNK_META ? &p->meta
                                                                    : &p->data;
    int r = gather_add(g, blob, bytes, len, ret);

    if (r == 0)
        r = fresh_add(p, blob, &(struct have_blob){ret->chunk, ret->off, ret->len});
    if (r == 0 && (g == &alone || g->plain.len >= CHUNK_FULL))
        r = gather_end(p, g);
    buf_free(&alone.plain);
    buf_free(&alone.blobs);
    if (r == 0 && p->pack.len >= PACK_SIZE)
        r = put_all(p);
    return r;
}

int packer_chunk(struct packer *p, const struct id16 *id, const struct have_chunk *c, const void *sealed,
                 const void *blobs, uint32_t n)
{
    struct have_chunk here = *c;
    int r = pack_ready(p);

    here.off = (uint32_t)p->pack.len;
    if (r == 0)
        r = buf_add(&p->pack, sealed, c->stored_len);
    if (r == 0)
        r = chunk_added(p, id, &here, blobs, n);
    return r == 0 && p->pack.len >= PACK_SIZE ? put_all(p) : r;
}

/* --- what may be relied on ------------------------------------------------------------------------------------------ */

/* Is the chunk in a pack that stays? That pack is remembered. */
static int chunk_stays(struct packer *p, const struct id16 *chunk, bool *ret)
{
    struct have_chunk c;
    struct id16 id;
    int r = 0;

    if (!p->last_set || memcmp(p->last.b, chunk->b, sizeof(p->last.b)) != 0) {
        r = have_get_chunk(p->r->have, chunk, &c);
        id = sha_half(&c.pack);
        p->last_ok = r == 0 && (!p->gone || !idset_get(p->gone, &id) || BROKEN(VARVE_BREAK_condemned_absent));
        if (p->last_ok)
            r = rely_on(p, &c.pack);
        p->last = *chunk;
        p->last_set = r == 0;
    }
    *ret = p->last_ok;
    return r == -E_NOENT ? 0 : r;
}

static int is_gone(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct id16 id = sha_half(pack);

    (void)size;
    (void)trailer;
    (void)len;
    return idset_get(arg, &id) != NULL;
}

int packer_relies(const struct packer *p, const struct idset *gone)
{
    for (size_t i = 0; gone->n && i < p->relied.cap; i++)
        if (p->relied.v[i].set && idset_get(gone, &p->relied.v[i].id))
            return 1;
    return gone->n ? have_pending(p->r->have, is_gone, (void *)(uintptr_t)gone) : 0;
}

static int seen_there(void *arg, const char *name, const struct backend_stat *st)
{
    struct id16 id;
    struct sha s;

    (void)st;
    if (pack_name_parse(name, &s) < 0)
        return 0;
    id = sha_half(&s);
    return idset_put(arg, &id, NULL);
}

/* Few are asked for each, many by a list. */
static int gone_by_list(struct packer *p)
{
    struct idset there = {0};
    int r = backend_list(p->r->b, &p->r->call, "packs/", "", seen_there, &there);

    for (size_t i = 0; r == 0 && i < p->relied.cap; i++)
        if (p->relied.v[i].set && !idset_get(&there, &p->relied.v[i].id))
            r = 1;
    idset_free(&there);
    return r;
}

int packer_gone(struct packer *p)
{
    int r = 0;

    if (p->relied.n > ASK_EACH)
        return gone_by_list(p);
    for (size_t at = 0; r == 0 && at < p->relied_names.len; at += sizeof(struct sha)) {
        struct backend_stat st;
        char name[PACK_NAME];
        struct sha s;

        memcpy(s.b, p->relied_names.data + at, sizeof(s.b));
        pack_name(&s, name);
        r = backend_stat(p->r->b, &p->r->call, name, &st);
        if (r == -E_NOENT)
            r = 1;
    }
    return r;
}

/* A blob that the repository has where it stays. -E_NOENT. */
static int blob_there(struct packer *p, const struct id16 *blob, struct have_blob *ret)
{
    bool stays = false;
    int r = have_get_blob(p->r->have, blob, ret);

    if (r == 0)
        r = chunk_stays(p, &ret->chunk, &stays);
    return r < 0 ? r : stays ? 0 : -E_NOENT;
}

int packer_blob(struct packer *p, enum chunk_kind kind, const void *bytes, size_t len, struct slice *ret)
{
    struct have_blob at = {.len = 0};
    struct id16 blob;
    struct fresh *f;
    int r;

    assert(len > 0);
    assert(len <= BLOB_MAX);
    if ((r = mac_id(p->mac, bytes, len, &blob)) < 0)
        return r;
    p->st.blobs++;
    f = p->cap ? fresh_slot(p->fresh, p->cap, &blob) : NULL;
    if (f && memcmp(f->blob.b, blob.b, 16) == 0) {
        at = f->at;
    } else {
        r = blob_there(p, &blob, &at);
        if (r < 0 && r != -E_NOENT)
            return r;
        if (r == -E_NOENT)
            at.len = 0;
    }
    if (at.len == len) {
        p->st.known++;
        *ret = (struct slice){blob, at.chunk, at.off, at.len, 0};
        return 0;
    }
    p->st.new_bytes += len;
    return add_new(p, kind, &blob, bytes, len, ret);
}

int packer_flush(struct packer *p)
{
    return put_all(p);
}

/* --- packs that no index names -------------------------------------------------------------------------------------- */

struct names {
    struct buf packs; /* struct sha and u64 each */
};

static int pending_name(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct names *w = arg;

    (void)trailer;
    (void)len;
    if (buf_add(&w->packs, pack->b, sizeof(pack->b)) < 0 || buf_add(&w->packs, &size, sizeof(size)) < 0)
        return -E_NOMEM;
    return 0;
}

/* What an interrupted writer put may have been taken away since: asked for, each. */
static int pending_check(struct repo *r, const struct idset *gone, bool *ret_gone)
{
    struct names w = {{0}};
    int x = have_pending(r->have, pending_name, &w);

    *ret_gone = false;
    for (size_t at = 0; x == 0 && at < w.packs.len; at += sizeof(struct sha) + 8) {
        struct backend_stat st;
        char name[PACK_NAME];
        struct sha pack;
        struct id16 id;
        uint64_t size;

        memcpy(pack.b, w.packs.data + at, sizeof(pack.b));
        memcpy(&size, w.packs.data + at + sizeof(pack.b), sizeof(size));
        pack_name(&pack, name);
        id = sha_half(&pack);
        x = backend_stat(r->b, &r->call, name, &st);
        if (BROKEN(VARVE_BREAK_pending_gone) && x == -E_NOENT)
            x = 0;
        else if (x == -E_NOENT || (x == 0 && (st.size != size || (gone && idset_get(gone, &id))))) {
            MARK("pack: a pending one is gone");
            *ret_gone = true;
            x = have_forget_pack(r->have, &pack);
        }
    }
    buf_free(&w.packs);
    return x;
}

int packer_recheck(struct packer *p)
{
    bool gone;
    int r = pending_check(p->r, p->gone, &gone);

    return r < 0 ? r : gone;
}

static int pending_index(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct index_new *x = arg;

    if (x->packs == INDEX_PACKS || (x->packs && x->plain.len + len > CHUNK_PLAIN_MAX / 2))
        return 1;
    return index_add(x, pack, size, trailer, len);
}

static int put_index(struct repo *r, bool *ret_more)
{
    cleanup(index_release) struct index_new index = {.packs = 0};
    char hex[SHA_TEXT];
    int x = have_pending(r->have, pending_index, &index);

    *ret_more = x == 1;
    if (x >= 0 && index.packs > 0) {
        x = index_put(r, &index, hex);
        if (x == 0)
            x = have_indexed(r->have, hex, index.plain.data, index.plain.len);
    }
    return x;
}

int packer_index(struct packer *p)
{
    bool more = true;
    int r = put_all(p);

    while (r == 0 && more)
        r = put_index(p->r, &more);
    return r;
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

int packer_new(struct repo *r, const struct idset *gone, struct packer **ret)
{
    struct packer *p = calloc(1, sizeof(*p));
    bool gone_ones;
    int x;

    if (!p)
        return -E_NOMEM;
    p->r = r;
    p->gone = gone;
    p->data.kind = CHUNK_DATA;
    p->meta.kind = CHUNK_META;
    x = mac_new(&r->dom.blob_key, &p->mac);
    if (x == 0)
        x = pending_check(r, gone, &gone_ones);
    if (x < 0) {
        packer_free(p);
        return x;
    }
    *ret = p;
    return 0;
}

void packer_free(struct packer *p)
{
    if (!p)
        return;
    buf_free(&p->data.plain);
    buf_free(&p->data.blobs);
    buf_free(&p->meta.plain);
    buf_free(&p->meta.blobs);
    buf_free(&p->pack);
    buf_free(&p->trailer);
    idset_free(&p->relied);
    buf_free(&p->relied_names);
    mac_free(p->mac);
    free(p->fresh);
    free(p);
}

void packer_get_stat(const struct packer *p, struct packer_stat *ret)
{
    *ret = p->st;
}
