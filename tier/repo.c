#include "tier/repo.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mark.h"
#include "tier/domains.h"
#include "tier/idset.h"
#include "tier/repo_ahead.h"
#include "tier/repo_kept.h"
#include "tier/repo_page.h"

#define LOST_MAX 256 /* where so much is lost nobody looks anew any more */
#define OBJECT_MAX (256u << 20)
#define SEALED_KEPT (4u << 20)

/* --- opening -------------------------------------------------------------------------------------------------------- */

static int unlock(struct repo *r, const struct secret *s, struct buf *err)
{
    char name[BACKEND_NAME_MAX + 1];
    struct key master;
    int x = repo_unlock(r->b, &r->call, s, &r->root, &master, name, err);

    if (x == 0 && ((x = master_keys(&master, &r->keys)) < 0 || (x = repo__domain_open(r)) < 0))
        buf_printf(err, "the repository's keys: %s", backend_text(x));
    key_wipe(&master);
    return x;
}

static int open_have(struct repo *r, const char *cache)
{
    char dir[4096], uuid[UUID_TEXT_SIZE];

    uuid_format(&r->root.uuid, uuid);
    if (snprintf(dir, sizeof(dir), "%s/%s", cache, uuid) >= (int)sizeof(dir))
        return -E_NAMETOOLONG;
    return have_open(dir, &r->have);
}

static struct repo *repo_new(struct backend *b, const struct backend_call *c)
{
    struct repo *r = calloc(1, sizeof(*r));

    if (!r) {
        backend_close(b);
        return NULL;
    }
    r->b = b;
    (void)mlock(r, sizeof(*r)); /* keys do not go to a swap */
    lock_init(&r->domains_lock, RANK_LEAF, 0);
    if (c)
        r->call = *c;
    if (r->call.timeout_ms == 0)
        r->call.timeout_ms = REPO_CALL_MS;
    return r;
}

int repo_open(struct backend *b, const struct backend_call *c, const struct secret *s, const char *cache,
              struct repo **ret, struct buf *err)
{
    struct repo *r = repo_new(b, c);
    int x = r ? unlock(r, s, err) : -E_NOMEM;

    if (x == 0 && (x = open_have(r, cache)) < 0)
        buf_printf(err, "the local cache %s: %s; remove it, it is made again", cache, err_text(x));
    if (x < 0) {
        repo_close(r);
        return x;
    }
    *ret = r;
    return 0;
}

void repo_keys_of(const struct repo *r, struct repo_keys *ret)
{
    (void)mlock(ret, sizeof(*ret));
    ret->root = r->root;
    ret->dom = r->dom;
    ret->keys = r->keys;
}

void repo_keys_wipe(struct repo_keys *k)
{
    key_wipe(&k->dom.blob_key);
    key_wipe(&k->dom.chunk_key);
    master_keys_wipe(&k->keys);
    (void)munlock(k, sizeof(*k));
}

int repo_open_again(struct backend *b, const struct backend_call *c, const struct repo_keys *k,
                    const char *cache, struct repo **ret)
{
    struct repo *r = repo_new(b, c);
    int x;

    if (!r)
        return -E_NOMEM;
    r->root = k->root;
    r->dom = r->into = k->dom;
    r->keys = k->keys;
    x = open_have(r, cache);
    if (x < 0)
        repo_close(r);
    else
        *ret = r;
    return x;
}

void repo_close(struct repo *r)
{
    if (!r)
        return;
    repo_ahead_end(r);
    repo_pages_drop(r);
    repo_chunks_drop(r);
    idset_free(&r->lost);
    idset_free(&r->short_packs);
    buf_free(&r->sealed);
    have_close(r->have);
    backend_close(r->b);
    key_wipe(&r->dom.blob_key);
    key_wipe(&r->dom.chunk_key);
    key_wipe(&r->into.blob_key);
    key_wipe(&r->into.chunk_key);
    master_keys_wipe(&r->keys);
    repo__domains_free(r);
    lock_release(&r->domains_lock);
    (void)munlock(r, sizeof(*r));
    free(r);
}

/* --- what others have added ----------------------------------------------------------------------------------------- */

struct syncing {
    struct repo *r;
    struct buf names; /* of the repository's index objects, SHA_TEXT each, ascending */
    int gone;
};

static int name_take(void *arg, const char *name, const struct backend_stat *st)
{
    struct syncing *s = arg;
    const char *hex = name + strlen("index/");

    (void)st;
    return strlen(hex) == SHA_TEXT - 1 ? buf_add(&s->names, hex, SHA_TEXT) : 0;
}

static int name_cmp(const void *a, const void *b)
{
    return memcmp(a, b, SHA_TEXT);
}

static int still_named(void *arg, const char *name)
{
    struct syncing *s = arg;

    if (!s->names.len || !bsearch(name, s->names.data, s->names.len / SHA_TEXT, SHA_TEXT, name_cmp))
        s->gone = 1;
    return s->gone;
}

static int take_index(struct repo *r, const char *hex)
{
    cleanup(buf_free) struct buf b = {0};
    char name[80];
    int x = have_index_is(r->have, hex);

    if (x != 0)
        return x < 0 ? x : 0;
    snprintf(name, sizeof(name), "index/%s", hex);
    x = repo_object(r, name, CHUNK_INDEX, &b);
    if (x == -E_NOENT) /* taken away since the list was read */
        return 0;
    if (x == 0)
        x = have_index(r->have, hex, b.data, b.len);
    if (x == -E_CORRUPT) {
        log_warn("tier", "index-damaged", "name=%s", name);
        x = 0;
    }
    return x;
}

/* The names of all index objects; which of those that are known are not among them? */
static int compare(struct repo *r, struct syncing *s)
{
    int x;

    *s = (struct syncing){.r = r};
    x = backend_list(r->b, &r->call, "index/", "", name_take, s);
    if (x == 0)
        x = have_indexes(r->have, still_named, s);
    return x < 0 ? x : 0;
}

int repo_sync(struct repo *r)
{
    struct syncing s;
    int x = compare(r, &s);

    if (x == 0 && s.gone)
        x = have_clear(r->have);
    for (size_t at = 0; x == 0 && at < s.names.len; at += SHA_TEXT)
        x = take_index(r, (const char *)s.names.data + at);
    buf_free(&s.names);
    return x;
}

int repo_stale(struct repo *r)
{
    struct syncing s;
    int x = compare(r, &s);

    buf_free(&s.names);
    return x < 0 ? x : s.gone;
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

int repo_object_raw(struct repo *r, const char *name, struct buf *ret)
{
    const char *hex = strrchr(name, '/');
    char is[SHA_TEXT];
    struct sha sum;
    int x = backend_get_all(r->b, &r->call, name, OBJECT_MAX, ret);

    if (x == 0)
        x = crypt_sha256(ret->data, ret->len, &sum);
    if (x < 0)
        return x;
    r->got_bytes += ret->len;
    hex_format(sum.b, sizeof(sum.b), is);
    return hex && strcmp(hex + 1, is) == 0 ? 0 : -E_CORRUPT;
}

int repo_object(struct repo *r, const char *name, enum chunk_kind kind, struct buf *ret)
{
    cleanup(buf_free) struct buf b = {0};
    int x = repo_object_raw(r, name, &b);

    return x < 0 ? x : unseal(&r->dom, kind, b.data, b.len, NULL, ret);
}

int repo_sealed_read(struct repo *r, const struct id16 *id, struct buf *ret)
{
    char name[PACK_NAME];
    struct have_chunk c;
    int x = have_get_chunk(r->have, id, &c);

    if (x < 0)
        return x;
    pack_name(&c.pack, name);
    x = backend_get(r->b, &r->call, name, c.off, c.stored_len, ret);
    if (x == 0)
        __atomic_fetch_add(&r->got_bytes, ret->len, __ATOMIC_RELAXED);
    return x;
}

/* What was moved by a prune since the indexes were read is found where it is now. A chunk that is not there then is lost. */
int repo_sealed_get(struct repo *r, const struct id16 *id, struct buf *ret)
{
    struct have_chunk c;
    int x = repo_sealed_read(r, id, ret);

    if (x == -E_NOENT && r->lost.n < LOST_MAX && !idset_get(&r->lost, id) &&
        !BROKEN(VARVE_BREAK_moved_chunks)) {
        x = repo_sync(r);
        if (x == 0 && (x = repo_sealed_read(r, id, ret)) == -E_NOENT && idset_put(&r->lost, id, NULL) < 0)
            x = -E_NOMEM;
        MARK("repo: what was moved is looked for");
    }
    return x == -E_NOENT && have_get_chunk(r->have, id, &c) == 0 ? -E_CORRUPT : x;
}

static int chunk_open(struct repo *r, const struct id16 *id, const struct buf *sealed, struct buf *ret)
{
    struct chunk_head h;
    int x = repo_unseal(r, 0, sealed->data, sealed->len, &h, ret);

    return x == 0 && memcmp(h.id.b, id->b, 16) != 0 ? -E_CORRUPT : x;
}

int repo_chunk_read(struct repo *r, const struct id16 *id, struct buf *ret)
{
    cleanup(buf_free) struct buf b = {0};
    int x = repo_sealed_read(r, id, &b);

    return x < 0 ? x : chunk_open(r, id, &b, ret);
}

int repo_chunk_get(struct repo *r, const struct id16 *id, struct buf *ret)
{
    cleanup(buf_free) struct buf b = {0};
    int x = repo_sealed_get(r, id, &b);

    return x < 0 ? x : chunk_open(r, id, &b, ret);
}

/* Out of the memory that the backend has put it in. -E_NOTSUP: it does not do that. */
static int view_into(struct repo *r, const struct id16 *id, void *p, size_t room, struct chunk_head *ret)
{
    char name[PACK_NAME];
    const struct domain *d;
    struct backend_view v;
    struct have_chunk c;
    int x = have_get_chunk(r->have, id, &c);

    if (x == 0)
        x = repo_domain(r, &c.domain, &d); /* before: a view keeps what a call needs */
    if (x < 0)
        return x;
    pack_name(&c.pack, name);
    x = backend_view(r->b, &r->call, name, c.off, c.stored_len, &v);
    if (x < 0)
        return x;
    __atomic_fetch_add(&r->got_bytes, v.len, __ATOMIC_RELAXED);
    x = unseal_moving(d, v.p, v.len, p, room, ret);
    backend_view_end(r->b, &v);
    return x;
}

/* Chunks that lie together in a pack, in whatever order. */
struct together {
    unsigned n;
    uint64_t off, end;
    struct have_chunk c[REPO_RUN_MAX];
    const struct domain *d[REPO_RUN_MAX]; /* asked for before: a view keeps what a call needs */
};

static int together_of(struct repo *r, const struct repo_into *v, unsigned n, struct together *ret)
{
    uint64_t sum = 0, off = UINT64_MAX, end = 0;
    int x = 0;

    *ret = (struct together){.n = 0};
    for (unsigned i = 0; i < n && i < REPO_RUN_MAX; i++) {
        struct have_chunk *c = &ret->c[i];

        x = have_get_chunk(r->have, v[i].chunk, c);
        if (x < 0 || memcmp(&c->pack, &ret->c[0].pack, sizeof(c->pack)) != 0 ||
            repo_domain(r, &c->domain, &ret->d[i]) < 0) /* which of them is read alone says why */
            break;
        sum += c->stored_len;
        off = MIN_OF(off, c->off);
        end = MAX_OF(end, c->off + c->stored_len);
        if (end - off == sum) {
            ret->n = i + 1;
            ret->off = off;
            ret->end = end;
        }
    }
    return x == -E_NOENT ? 0 : x;
}

int repo_chunks_into(struct repo *r, const struct repo_into *v, unsigned n,
                     void (*got)(void *of, unsigned i, int result, size_t len), void *of)
{
    struct backend_view view;
    struct together t;
    char name[PACK_NAME];
    int x = together_of(r, v, n, &t);

    if (x < 0 || t.n < 2)
        return MIN_OF(x, 0);
    pack_name(&t.c[0].pack, name);
    x = backend_view(r->b, &r->call, name, t.off, t.end - t.off, &view);
    if (x < 0)
        return x == -E_NOTSUP ? 0 : x;
    __atomic_fetch_add(&r->got_bytes, view.len, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < t.n; i++) {
        uint64_t at = t.c[i].off - t.off;
        struct chunk_head h = {.plain_len = 0};

        x = at + t.c[i].stored_len > view.len
                ? -E_CORRUPT
                : unseal_moving(t.d[i], view.p + at, t.c[i].stored_len, v[i].p, v[i].room, &h);
        if (x == 0 && memcmp(h.id.b, v[i].chunk->b, sizeof(h.id.b)) != 0)
            x = -E_CORRUPT;
        got(of, i, x, h.plain_len);
    }
    backend_view_end(r->b, &view);
    return (int)t.n;
}

static int sealed_into(struct repo *r, const struct id16 *id, void *p, size_t room, struct chunk_head *ret)
{
    int x;

    buf_reset(&r->sealed);
    x = repo_sealed_read(r, id, &r->sealed);
    if (x == 0)
        x = repo_unseal_into(r, r->sealed.data, r->sealed.len, p, room, ret);
    if (r->sealed.cap > SEALED_KEPT)
        buf_free(&r->sealed);
    return x;
}

int repo_chunk_into(struct repo *r, const struct id16 *id, void *p, size_t room, size_t *ret_len)
{
    struct chunk_head h;
    int x = view_into(r, id, p, room, &h);

    if (x == -E_NOTSUP)
        x = sealed_into(r, id, p, room, &h);
    if (x == 0 && memcmp(h.id.b, id->b, 16) != 0)
        x = -E_CORRUPT;
    if (x == 0)
        *ret_len = h.plain_len;
    return x;
}

int repo_prove(struct repo *r, const struct slice *s, const uint8_t *p)
{
    const struct domain *d;
    struct have_chunk c;
    uint8_t full[32];
    int x = have_get_chunk(r->have, &s->chunk, &c);

    if (x == -E_NOENT) { /* no index names it any more, or they are read anew just now; it was read before */
        x = repo_blob_is(r, &s->blob, p, s->len);
        return x < 0 ? x : x == 1 ? 0 : -E_CORRUPT;
    }
    if (x == 0)
        x = repo_domain(r, &c.domain, &d);
    if (x == 0)
        x = crypt_hmac(&d->blob_key, p, s->len, full);
    return x < 0 ? x : memcmp(full, s->blob.b, 16) == 0 ? 0 : -E_CORRUPT;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

int repo_put(struct repo *r, const char *name, const void *p, size_t len)
{
    int x = backend_put_same(r->b, &r->call, name, p, len);

    if (x == 0) {
        r->put_bytes += len;
        r->puts++;
    }
    return x;
}

int repo_seal_object(struct repo *r, enum chunk_kind kind, const void *p, size_t len, struct buf *sealed,
                     char out[SHA_TEXT])
{
    struct id16 id;
    struct sha sum;
    int x;

    hash_random(id.b, sizeof(id.b));
    x = seal(kind == CHUNK_POINT ? &r->into : &r->dom, kind, &id, p, len, sealed);
    if (x == 0)
        x = crypt_sha256(sealed->data, sealed->len, &sum);
    if (x == 0)
        hex_format(sum.b, sizeof(sum.b), out);
    return x;
}

int repo_put_sealed(struct repo *r, const char *dir, const struct buf *sealed, const char *sha)
{
    char name[96];

    snprintf(name, sizeof(name), "%s/%s", dir, sha);
    return repo_put(r, name, sealed->data, sealed->len);
}

int repo_put_object(struct repo *r, const char *dir, enum chunk_kind kind, const void *p, size_t len,
                    char out[SHA_TEXT])
{
    cleanup(buf_free) struct buf b = {0};
    int x = repo_seal_object(r, kind, p, len, &b, out);

    return x < 0 ? x : repo_put_sealed(r, dir, &b, out);
}
