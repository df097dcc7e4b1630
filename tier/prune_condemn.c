/* The first phase of a prune: packs of which nothing is needed are condemned; what is needed of others that are mostly unneeded, or
 * small and many, is put into new packs first. */
#include <stdlib.h>

#include "base/mark.h"
#include "tier/domains.h"
#include "tier/prune_i.h"

#define SMALL (PACK_SIZE / 4)
#define SMALL_MANY 16 /* that many small packs become fewer */

/* --- which ---------------------------------------------------------------------------------------------------------- */

/* A writer at work may be about to need it: let it be for a while. */
static bool is_young(const struct prune *w, const struct pk *p)
{
    int64_t age = w->now_ns - (p->named ? p->index_ns : p->mtime_ns);

    return !w->o->exclusive && age < (p->named ? CONDEMNED_GRACE_NS / 2 : w->o->grace_ns);
}

static bool is_free(const struct prune *w, const struct pk *p)
{
    return !p->listed && p->needed == 0 && !is_young(w, p);
}

static bool is_sparse(const struct prune *w, const struct pk *p)
{
    return !p->listed && p->named && p->needed > 0 && !is_young(w, p) &&
           p->needed * 100 < p->size * PRUNE_KEEP_PERCENT;
}

static bool is_small(const struct prune *w, const struct pk *p)
{
    return !p->listed && p->named && p->needed > 0 && !is_young(w, p) && p->size < SMALL;
}

/* Packs that are to be moved have fresh set. */
static uint64_t choose(struct prune *w)
{
    uint64_t small = 0, n = 0;

    for (size_t i = 0; i < w->n; i++)
        small += is_small(w, &w->v[i]);
    for (size_t i = 0; i < w->n; i++) {
        struct pk *p = &w->v[i];

        p->fresh = is_sparse(w, p) || (small >= SMALL_MANY && is_small(w, p));
        n += p->fresh;
    }
    return n;
}

/* --- moving --------------------------------------------------------------------------------------------------------- */

struct moving {
    struct prune *w;
    struct packer *p;
    struct pk *pack;
    struct buf bytes; /* of the pack */
    bool prove;       /* the first time round: nothing is moved */
    bool take;        /* the chunk under way is needed and kept here */
    struct id16 id;   /* of it */
    struct have_chunk c;
    struct buf blobs;
    uint32_t n;
    uint64_t done, of;
};

/* The chunk whose blobs have all been told. */
static int chunk_end(struct moving *m)
{
    int r = 0;

    if (m->take && !m->prove)
        r = packer_chunk(m->p, &m->id, &m->c, m->bytes.data + m->c.off, m->blobs.data, m->n);
    m->take = false;
    buf_reset(&m->blobs);
    m->n = 0;
    return r;
}

static int chunk_prove(struct moving *m)
{
    cleanup(buf_free) struct buf plain = {0};
    struct chunk_head h;
    int r = -E_CORRUPT;

    if (m->c.off <= m->bytes.len && m->c.stored_len <= m->bytes.len - m->c.off)
        r = repo_unseal(m->w->r, m->c.kind, m->bytes.data + m->c.off, m->c.stored_len, &h, &plain);
    return r == 0 && memcmp(h.id.b, m->id.b, sizeof(m->id.b)) != 0 ? -E_CORRUPT : r;
}

static int chunk_begin(void *arg, const struct id16 *id, const struct have_chunk *c)
{
    struct moving *m = arg;
    uint64_t *by = idset_get(&m->w->m.chunks, id);
    int r = chunk_end(m);

    m->id = *id;
    m->c = *c;
    m->take = by && *by == (uint64_t)(m->pack - m->w->v) + 1;
    return r == 0 && m->take && m->prove ? chunk_prove(m) : r;
}

static int blob_take(void *arg, const struct id16 *blob, const struct have_blob *b)
{
    uint8_t entry[TRAILER_BLOB];
    struct enc e = {entry};
    struct moving *m = arg;

    if (!m->take)
        return 0;
    enc_bytes(&e, blob->b, 16);
    enc_u32(&e, b->len);
    m->n++;
    return buf_add(&m->blobs, entry, sizeof(entry));
}

static int walk(struct moving *m, bool prove, const struct sha *pack, const void *trailer, size_t len)
{
    struct trailer_cb cb = {chunk_begin, blob_take, m};
    int r;

    m->prove = prove;
    r = trailer_walk(pack, trailer, len, &cb);
    return r == 0 ? chunk_end(m) : r;
}

/* It stays as it is. With damage: what can be read of it is needed more than its room. In an archive: there its room costs little, and to
 * read it costs more. */
static bool stays(int why)
{
    return why == -E_CORRUPT || why == -E_NOENT || why == -E_TOOBIG || why == -E_KEY || why == -E_SHREDDED ||
           (why == -E_ARCHIVED && !BROKEN(VARVE_BREAK_prune_archived));
}

static int pack_move(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct moving *m = arg;
    char name[PACK_NAME];
    struct repo *r = m->w->r;
    int x;

    (void)size;
    m->pack = prune_pack(m->w, pack);
    if (!m->pack || !m->pack->fresh || m->pack->needed == 0)
        return 0;
    pack_name(pack, name);
    buf_reset(&m->bytes);
    x = lease_keep(&m->w->lease);
    if (x == 0)
        x = backend_get_all(r->b, &r->call, name, PACK_SIZE_MAX, &m->bytes);
    if (x == 0)
        x = walk(m, true, pack, trailer, len);
    if (stays(x)) {
        m->w->res.archived += x == -E_ARCHIVED;
        m->take = false;
        m->pack->fresh = false;
        return 0;
    }
    if (x == 0)
        x = walk(m, false, pack, trailer, len);
    if (x < 0)
        return x;
    m->pack->needed = 0; /* elsewhere now, once the index is put */
    m->w->res.moved++;
    return m->w->o->progress ? m->w->o->progress(m->w->o->arg, "packs written anew", ++m->done, m->of) : 0;
}

static int index_move(void *arg, const char *name, const struct buf *plain)
{
    (void)name;
    return index_walk(plain->data, plain->len, pack_move, arg);
}

/* What is needed of the chosen packs is in new ones, which an index names. */
static int move(struct prune *w, uint64_t of)
{
    struct moving m = {.w = w, .of = of};
    struct packer_stat st;
    int r = packer_new(w->r, NULL, &m.p);

    if (r == 0)
        r = prune_indexes(w, index_move, &m);
    if (r == 0)
        r = packer_index(m.p);
    if (r == 0) {
        packer_get_stat(m.p, &st);
        w->res.moved_bytes = st.sent_bytes;
    }
    for (size_t i = 0; i < w->n; i++) /* one that no index named any more was not moved */
        w->v[i].fresh = w->v[i].fresh && w->v[i].needed == 0;
    packer_free(m.p);
    buf_free(&m.bytes);
    buf_free(&m.blobs);
    MARK("prune: what is needed is moved");
    return r;
}

/* --- condemning ----------------------------------------------------------------------------------------------------- */

static int list_fill(struct prune *w, struct buf *packs)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < w->n; i++) {
        struct pk *p = &w->v[i];

        if (!p->fresh && !is_free(w, p)) {
            w->res.young_bytes += !p->listed && p->needed == 0 ? p->size : 0;
            continue;
        }
        w->res.condemned++;
        w->res.condemned_bytes += p->size;
        p->listed = true;
        p->due = w->o->exclusive;
        r = buf_add(packs, p->name.b, sizeof(p->name.b));
    }
    return r;
}

static int due_name(void *arg, const char *name, const struct backend_stat *st, const struct buf *packs)
{
    struct prune *w = arg;

    (void)st;
    (void)packs;
    return buf_add(&w->due, name, strlen(name) + 1);
}

int prune_condemn(struct prune *w)
{
    cleanup(buf_free) struct buf packs = {0};
    uint64_t of = choose(w);
    int r = of && !w->o->dry ? move(w, of) : 0;

    if (r == 0)
        r = list_fill(w, &packs);
    if (r < 0 || packs.len == 0 || w->o->dry)
        return r;
    r = lease_keep(&w->lease);
    if (r == 0)
        r = condemned_put(w->r, &packs, &w->m.points);
    MARK("prune: a list is put");
    if (r == 0 && w->o->exclusive)
        r = condemned_each(w->r, due_name, w);
    return r;
}
