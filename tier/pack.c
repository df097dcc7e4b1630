#include "tier/pack.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mark.h"
#include "tier/domains.h"
#include "tier/pack_i.h"
#include "tier/prune.h"

#define VERSION 1
#define CHUNK_FULL (1u << 20)   /* a chunk that gathers blobs ends with the one that passes it */
#define META_FULL (128u << 10)  /* one of metadata in an increment */
#define BLOB_ALONE (512u << 10) /* a blob from here on is a chunk of its own */
#define INDEX_PACKS 4096        /* packs of one index object */
#define HARD_BYTES                                                                                           \
    (32u << 20)     /* of what a session sends, the first are compressed harder: an increment is small */
#define ASK_EACH 64 /* packs that are asked for one by one, beyond that all are listed */

struct packer {
    struct repo *r;
    struct mac *mac;
    struct pack_line line;
    struct chunk_work *data, *meta; /* that fill up; NULL: none does */
    struct pack_work *pack;
    struct fresh fresh;
    size_t meta_full;
    int failed; /* a chunk or a pack was lost on its way */
    const struct idset *gone;
    struct idset left;    /* pending packs that are so old that nobody is at work on them */
    struct idset retired; /* chunks of which nothing is given out */
    struct idset relied; /* packs that something given out lies in, and its own; how long they are at least */
    struct buf relied_names; /* struct sha each */
    struct id16 last;        /* the chunk asked for last, */
    bool last_set, last_ok;  /* and what was found */
    struct packer_stat st;
};

/* size: bytes that it has at least. */
static int rely_on(struct packer *p, const struct sha *pack, uint64_t size)
{
    struct id16 id = sha_half(pack);
    size_t before = p->relied.n;
    uint64_t *num;
    int r = idset_put(&p->relied, &id, &num);

    if (r < 0)
        return r;
    *num = MAX_OF(*num, size);
    return p->relied.n == before ? 0 : buf_add(&p->relied_names, pack->b, sizeof(pack->b));
}

/* --- packs that were put -------------------------------------------------------------------------------------------- */

static int chunk_id_take(void *arg, const struct id16 *id, const struct have_chunk *c)
{
    (void)c;
    return idset_put(arg, id, NULL);
}

/* From now on this machine's knowledge has what is in it. */
static int pack_known(struct packer *p, struct pack_work *w)
{
    struct idset chunks = {0};
    struct trailer_cb cb = {chunk_id_take, NULL, &chunks};
    int r = trailer_walk(&w->name, w->trailer.data, w->trailer.len, &cb);

    p->r->put_bytes += w->pack.len;
    p->r->puts++;
    p->st.sent_bytes += w->pack.len;
    if (r == 0)
        r = fresh_drop(&p->fresh, &chunks);
    idset_free(&chunks);
    return r < 0 ? r : rely_on(p, &w->name, w->pack.len);
}

static int pack_ended(struct packer *p, struct pack_work *w)
{
    int r = w->result;

    if (r < 0)
        backend_text_set(r, w->why, strlen(w->why));
    else
        r = pack_known(p, w);
    line_pack_free(w);
    return r;
}

static int pack_send(struct packer *p, bool last)
{
    struct pack_work *w = TAKE(p->pack);
    int r = 0;

    if (w && w->nchunks == 0)
        line_pack_free(TAKE(w));
    if (!w)
        return 0;
    while (r == 0 && line_packs_full(&p->line))
        r = pack_ended(p, line_pack_take(&p->line, true));
    if (r == 0)
        return line_pack_send(&p->line, w, last);
    line_pack_free(w);
    return r;
}

/* --- chunks that are sealed ----------------------------------------------------------------------------------------- */

static int pack_ready(struct packer *p)
{
    if (!p->pack)
        p->pack = line_pack_new(&p->line);
    return p->pack ? 0 : -E_NOMEM;
}

/* Into the pack, and into its trailer. */
static int pack_add(struct packer *p, const struct id16 *id, const struct have_chunk *c, const void *sealed,
                    const void *blobs, uint32_t n)
{
    uint8_t head[TRAILER_CHUNK + 16];
    bool own = !id16_none(&c->domain);
    struct enc e = {head};
    int r = pack_ready(p);

    if (r < 0)
        return r;
    enc_bytes(&e, id->b, 16);
    enc_u32(&e, (uint32_t)p->pack->pack.len);
    enc_u32(&e, c->stored_len);
    enc_u32(&e, c->plain_len);
    enc_u8(&e, c->kind);
    enc_u8(&e, own ? TRAILER_OWN : 0);
    enc_u16(&e, 0);
    enc_u32(&e, n);
    if (own)
        enc_bytes(&e, c->domain.b, 16);
    if ((r = buf_add(&p->pack->pack, sealed, c->stored_len)) < 0 ||
        (r = buf_add(&p->pack->trailer, head, (size_t)(e.p - head))) < 0 ||
        (r = buf_add(&p->pack->trailer, blobs, n * (size_t)TRAILER_BLOB)) < 0)
        return r;
    p->pack->nchunks++;
    return p->pack->pack.len >= PACK_SIZE ? pack_send(p, false) : 0;
}

static int chunk_ended(struct packer *p, struct chunk_work *w)
{
    struct have_chunk c = {
        .stored_len = (uint32_t)w->sealed.len, .plain_len = (uint32_t)w->plain.len, .kind = (uint8_t)w->kind};
    int r = w->result;

    if (!repo_is_into(p->r, &c.domain))
        c.domain = p->r->into.id;
    if (r == 0)
        r = pack_add(p, &w->id, &c, w->sealed.data, w->blobs.data, w->n);
    line_chunk_spare(&p->line, w);
    return r;
}

/* Takes the chunk, which may be none. What is done meanwhile goes on. */
static int chunk_send(struct packer *p, struct chunk_work *w, bool last)
{
    struct chunk_work *done;
    struct pack_work *put;
    int r = 0;

    if (!w)
        return 0;
    while (r == 0 && (done = line_chunk_take(&p->line, line_chunks_full(&p->line))))
        r = chunk_ended(p, done);
    while (r == 0 && (put = line_pack_take(&p->line, false)))
        r = pack_ended(p, put);
    if (r == 0)
        return line_chunk_send(&p->line, w, last);
    line_chunk_spare(&p->line, w);
    return r;
}

/* Everything is put and acknowledged, or the first failure is told for ever. */
static int put_all(struct packer *p)
{
    struct chunk_work *done;
    struct pack_work *put;
    int r = p->failed;

    if (r == 0)
        r = chunk_send(p, TAKE(p->data), true);
    if (r == 0)
        r = chunk_send(p, TAKE(p->meta), true);
    while (r == 0 && (done = line_chunk_take(&p->line, true)))
        r = chunk_ended(p, done);
    if (r == 0)
        r = pack_send(p, true);
    while (r == 0 && (put = line_pack_take(&p->line, true)))
        r = pack_ended(p, put);
    p->failed = r;
    assert(r < 0 || p->fresh.n == 0);
    return r;
}

/* --- gathering ------------------------------------------------------------------------------------------------------ */

static int gather_add(struct packer *p, struct chunk_work **g, enum chunk_kind kind, const struct id16 *blob,
                      const void *bytes, size_t len, struct slice *ret)
{
    uint8_t entry[TRAILER_BLOB];
    struct enc e = {entry};
    int r;

    if (!*g) {
        if (!(*g = line_chunk_new(&p->line)))
            return -E_NOMEM;
        (*g)->kind = kind;
        (*g)->hard = p->st.new_bytes <= HARD_BYTES;
        hash_random((*g)->id.b, sizeof((*g)->id.b));
    }
    enc_bytes(&e, blob->b, 16);
    enc_u32(&e, (uint32_t)len);
    *ret = (struct slice){*blob, (*g)->id, (uint32_t)(*g)->plain.len, (uint32_t)len, 0};
    r = buf_add(&(*g)->blobs, entry, sizeof(entry));
    if (r == 0)
        r = buf_add(&(*g)->plain, bytes, len);
    (*g)->n++;
    return r;
}

static int add_new(struct packer *p, enum chunk_kind kind, const struct id16 *blob, const void *bytes,
                   size_t len, struct slice *ret)
{
    struct chunk_work *alone = NULL, **g = len >= BLOB_ALONE    ? &alone
                                           : kind == CHUNK_META ? &p->meta
                                                                : &p->data;
    int r = gather_add(p, g, kind, blob, bytes, len, ret);

    if (r == 0)
        r = fresh_put(&p->fresh, blob, &(struct have_blob){ret->chunk, ret->off, ret->len});
    if (r == 0 && (alone || (*g)->plain.len >= (g == &p->meta ? p->meta_full : CHUNK_FULL)))
        r = chunk_send(p, TAKE(*g), false);
    if (alone)
        line_chunk_spare(&p->line, alone);
    return r;
}

void packer_increment(struct packer *p)
{
    p->meta_full = META_FULL;
}

int packer_chunk(struct packer *p, const struct id16 *id, const struct have_chunk *c, const void *sealed,
                 const void *blobs, uint32_t n)
{
    int r = p->failed;

    if (r == 0)
        r = p->failed = pack_add(p, id, c, sealed, blobs, n);
    return r;
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
        p->last_ok = r == 0 && !idset_get(&p->r->short_packs, &id) &&
                     (!p->gone || !idset_get(p->gone, &id) || BROKEN(VARVE_BREAK_condemned_absent));
        if (p->last_ok)
            r = rely_on(p, &c.pack, (uint64_t)c.off + c.stored_len);
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
    uint64_t *size;
    struct id16 id;
    struct sha s;
    int r;

    if (pack_name_parse(name, &s) < 0)
        return 0;
    id = sha_half(&s);
    if ((r = idset_put(arg, &id, &size)) == 0)
        *size = st->size;
    return r;
}

/* One that something given out lies in; size: it has that many bytes, NULL: it is not there. Who begins anew does without it: nobody
 * else takes it out of the indexes as long as a recovery point needs it. */
static int relied_look(struct packer *p, const struct id16 *id, const uint64_t *size)
{
    const uint64_t *least = idset_get(&p->relied, id);
    int r = 0;

    if (size && *size >= *least)
        return 0;
    if (!BROKEN(VARVE_BREAK_short_packs))
        r = idset_put(&p->r->short_packs, id, NULL);
    return r < 0 ? r : 1;
}

/* Few are asked for each, many by a list. All of them: each that is gone costs another beginning. */
static int gone_by_list(struct packer *p)
{
    struct idset there = {0};
    int r = backend_list(p->r->b, &p->r->call, "packs/", "", seen_there, &there);
    bool gone = false;

    for (size_t i = 0; r == 0 && i < p->relied.cap; i++) {
        if (p->relied.v[i].set)
            r = relied_look(p, &p->relied.v[i].id, idset_get(&there, &p->relied.v[i].id));
        gone = gone || r == 1;
        r = MIN_OF(r, 0);
    }
    idset_free(&there);
    return r < 0 ? r : gone;
}

int packer_gone(struct packer *p)
{
    bool gone = false;
    int r = 0;

    if (p->relied.n > ASK_EACH)
        return gone_by_list(p);
    for (size_t at = 0; r == 0 && at < p->relied_names.len; at += sizeof(struct sha)) {
        struct backend_stat st;
        char name[PACK_NAME];
        struct id16 id;
        struct sha s;

        memcpy(s.b, p->relied_names.data + at, sizeof(s.b));
        pack_name(&s, name);
        id = sha_half(&s);
        r = backend_stat(p->r->b, &p->r->call, name, &st);
        if (r == 0 || r == -E_NOENT)
            r = relied_look(p, &id, r == 0 ? &st.size : NULL);
        gone = gone || r == 1;
        r = MIN_OF(r, 0);
    }
    return r < 0 ? r : gone;
}

/* A blob that the repository has where it stays. -E_NOENT. */
static int blob_there(struct packer *p, const struct id16 *blob, struct have_blob *ret)
{
    bool stays = false;
    int r = have_get_blob(p->r->have, blob, ret);

    if (r == 0 && idset_get(&p->retired, &ret->chunk))
        return -E_NOENT;
    if (r == 0)
        r = chunk_stays(p, &ret->chunk, &stays);
    return r < 0 ? r : stays ? 0 : -E_NOENT;
}

/* len 0: the repository has it not. */
static int blob_look(struct packer *p, const struct id16 *blob, struct have_blob *ret)
{
    const struct have_blob *f = fresh_get(&p->fresh, blob);
    int r;

    if (f) {
        *ret = *f;
        return 0;
    }
    r = blob_there(p, blob, ret);
    if (r == -E_NOENT)
        ret->len = 0;
    return r == -E_NOENT ? 0 : r;
}

int packer_blob(struct packer *p, enum chunk_kind kind, const void *bytes, size_t len, struct slice *ret)
{
    struct have_blob at = {.len = 0};
    struct id16 blob;
    int r = p->failed;

    assert(len > 0);
    assert(len <= BLOB_MAX);
    if (r < 0 || (r = mac_id(p->mac, bytes, len, &blob)) < 0 || (r = blob_look(p, &blob, &at)) < 0)
        return r;
    p->st.blobs++;
    if (at.len == len) {
        p->st.known++;
        *ret = (struct slice){blob, at.chunk, at.off, at.len, 0};
        return 0;
    }
    p->st.new_bytes += len;
    return p->failed = add_new(p, kind, &blob, bytes, len, ret);
}

int packer_known(struct packer *p, const void *bytes, size_t len, struct slice *ret)
{
    struct have_blob at = {.len = 0};
    struct id16 blob;
    int r = p->failed;

    if (r < 0 || (r = mac_id(p->mac, bytes, len, &blob)) < 0 || (r = blob_look(p, &blob, &at)) < 0)
        return r;
    *ret = (struct slice){blob, at.chunk, at.off, at.len, 0};
    return at.len == len;
}

int packer_slice(struct packer *p, const struct slice *s)
{
    struct have_chunk c;
    bool stays = false;
    int r = p->failed;

    if (r == 0 && BROKEN(VARVE_BREAK_slice_retired) && idset_get(&p->retired, &s->chunk))
        return 0;
    if (r == 0)
        r = have_get_chunk(p->r->have, &s->chunk, &c);
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    if (s->off > c.plain_len || s->len > c.plain_len - s->off)
        return 0;
    if (!repo_is_into(p->r, &c.domain) && !BROKEN(VARVE_BREAK_domain_shared)) /* domains share nothing */
        return 0;
    if (BROKEN(VARVE_BREAK_cold_relied))
        return 1;
    r = chunk_stays(p, &s->chunk, &stays);
    return r < 0 ? r : stays;
}

int packer_retire(struct packer *p, const struct id16 *chunk)
{
    return idset_put(&p->retired, chunk, NULL);
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
static int pending_check(struct packer *p, bool *ret_gone)
{
    const struct idset *gone = p->gone;
    struct repo *r = p->r;
    struct names w = {{0}};
    int64_t now = 0;
    int x = have_pending(r->have, pending_name, &w);

    *ret_gone = false;
    if (x == 0 && w.packs.len)
        x = backend_now(r->b, &r->call, &now);
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
        } else if (x == 0 && now - st.mtime_ns > PRUNE_GRACE_NS) {
            x = idset_put(&p->left, &id, NULL);
        }
    }
    buf_free(&w.packs);
    return x;
}

int packer_recheck(struct packer *p)
{
    bool gone;
    int r = pending_check(p, &gone);

    return r < 0 ? r : gone;
}

struct naming {
    const struct packer *p;
    struct index_new index;
};

/* Those of others wait for theirs, as long as these may be at work: a pack that an index names is young for a shorter time than that. */
static int pending_index(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct naming *n = arg;
    struct index_new *x = &n->index;
    struct id16 id = sha_half(pack);

    if (!idset_get(&n->p->relied, &id) && !idset_get(&n->p->left, &id) && !BROKEN(VARVE_BREAK_index_others))
        return 0;
    if (x->packs == INDEX_PACKS || (x->packs && x->plain.len + len > CHUNK_PLAIN_MAX / 2))
        return 1;
    return index_add(x, pack, size, trailer, len);
}

static int put_index(struct packer *p, bool *ret_more)
{
    struct naming n = {.p = p};
    char hex[SHA_TEXT];
    int x = have_pending(p->r->have, pending_index, &n);

    *ret_more = x == 1;
    if (x >= 0 && n.index.packs > 0) {
        x = index_put(p->r, &n.index, hex);
        if (x == 0)
            x = have_indexed(p->r->have, hex, n.index.plain.data, n.index.plain.len);
    }
    index_release(&n.index);
    return x;
}

int packer_index(struct packer *p)
{
    bool more = true;
    int r = put_all(p);

    while (r == 0 && more)
        r = put_index(p, &more);
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
    p->meta_full = CHUNK_FULL;
    line_init(&p->line, r);
    x = mac_new(&r->into.blob_key, &p->mac);
    if (x == 0)
        x = pending_check(p, &gone_ones);
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
    if (p->data)
        line_chunk_spare(&p->line, p->data);
    if (p->meta)
        line_chunk_spare(&p->line, p->meta);
    if (p->pack)
        line_pack_free(p->pack);
    line_release(&p->line);
    fresh_free(&p->fresh);
    idset_free(&p->left);
    idset_free(&p->retired);
    idset_free(&p->relied);
    buf_free(&p->relied_names);
    mac_free(p->mac);
    free(p);
}

void packer_get_stat(const struct packer *p, struct packer_stat *ret)
{
    *ret = p->st;
}
