#include "tier/reindex.h"

#include <stdio.h>

#include "tier/condemned.h"
#include "tier/pack.h"

#define INDEX_PACKS 1024 /* packs of one index object */
#define INDEX_BYTES (CHUNK_PLAIN_MAX / 4)

struct reindex {
    struct repo *r;
    struct condemned gone; /* what is about to be deleted is not named again */
    struct idset named;    /* halves of names of packs */
    struct buf damaged;    /* names of indexes, BACKEND_NAME_MAX + 1 each */
    struct buf unnamed;    /* struct found each */
    struct index_new index;
    struct reindex_result res;
};
struct found {
    struct sha pack;
    uint64_t size;
};

static int pack_named(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct id16 id = sha_half(pack);

    (void)size;
    (void)trailer;
    (void)len;
    return idset_put(&((struct reindex *)arg)->named, &id, NULL);
}

static int index_look(void *arg, const char *name, const struct backend_stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    char room[BACKEND_NAME_MAX + 1] = "";
    struct reindex *x = arg;
    int r = repo_object(x->r, name, CHUNK_INDEX, &b);

    (void)st;
    if (r == 0)
        r = index_walk(b.data, b.len, pack_named, x);
    if (r == -E_NOENT)
        return 0;
    if (r != -E_CORRUPT && r != -E_KEY)
        return r;
    snprintf(room, sizeof(room), "%s", name);
    return buf_add(&x->damaged, room, sizeof(room));
}

static int pack_look(void *arg, const char *name, const struct backend_stat *st)
{
    struct found f = {.size = st->size};
    struct reindex *x = arg;
    struct id16 id;

    if (pack_name_parse(name, &f.pack) < 0)
        return 0;
    id = sha_half(&f.pack);
    return idset_get(&x->named, &id) || idset_get(&x->gone.packs, &id) ? 0
                                                                       : buf_add(&x->unnamed, &f, sizeof(f));
}

static int index_end(struct reindex *x)
{
    char hex[SHA_TEXT];
    int r = x->index.packs ? index_put(x->r, &x->index, hex) : 0;

    x->res.packs += x->index.packs;
    index_release(&x->index);
    return r;
}

/* What the pack says it holds: its end, then its trailer. */
static int pack_add(struct reindex *x, const struct found *f)
{
    cleanup(buf_free) struct buf trailer = {0};
    struct trailer_cb none = {.arg = x};
    int r = pack_trailer(x->r, &f->pack, f->size, &trailer);

    if (r == 0)
        r = trailer_walk(&f->pack, trailer.data, trailer.len, &none);
    if (r == -E_CORRUPT || r == -E_KEY || r == -E_REPO_NEWER) {
        x->res.unreadable++;
        return 0;
    }
    if (r < 0)
        return r == -E_NOENT ? 0 : r;
    if ((r = index_add(&x->index, &f->pack, f->size, trailer.data, trailer.len)) < 0)
        return r;
    return x->index.packs == INDEX_PACKS || x->index.plain.len > INDEX_BYTES ? index_end(x) : 0;
}

static int damaged_delete(struct reindex *x)
{
    int r = 0;

    for (size_t at = 0; r == 0 && at < x->damaged.len; at += BACKEND_NAME_MAX + 1) {
        r = backend_del(x->r->b, &x->r->call, (const char *)x->damaged.data + at);
        x->res.damaged += r == 0;
        r = r == -E_NOENT ? 0 : r;
    }
    return r;
}

static int run(struct reindex *x, int (*progress)(void *arg, uint64_t done, uint64_t of), void *arg)
{
    uint64_t n;
    int r = backend_list(x->r->b, &x->r->call, "index/", "", index_look, x);

    if (r == 0)
        r = backend_list(x->r->b, &x->r->call, "packs/", "", pack_look, x);
    n = x->unnamed.len / sizeof(struct found);
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        struct found f;

        memcpy(&f, x->unnamed.data + i * sizeof(f), sizeof(f));
        r = pack_add(x, &f);
        if (r == 0 && progress)
            r = progress(arg, i + 1, n);
    }
    if (r == 0)
        r = index_end(x);
    return r < 0 ? r : damaged_delete(x); /* last: an interrupted run finds them again */
}

int reindex_run(struct repo *r, int (*progress)(void *arg, uint64_t done, uint64_t of), void *arg,
                struct reindex_result *ret)
{
    struct reindex x = {.r = r};
    int e = repo_may_write(r);

    if (e == 0)
        e = condemned_read(r, NULL, &x.gone);
    if (e == 0)
        e = run(&x, progress, arg);
    if (e == 0)
        e = repo_sync(r);
    *ret = x.res;
    condemned_release(&x.gone);
    idset_free(&x.named);
    buf_free(&x.damaged);
    buf_free(&x.unnamed);
    index_release(&x.index);
    return e;
}
