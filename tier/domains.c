#include "tier/domains.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mark.h"

#define HEAD_DOMAIN_AT 24u /* in a chunk's head */
#define OWN_MAX 1024u      /* of one volume, one after the other */

struct domain_known {
    struct domain_known *next;
    struct domain d;
    bool shredded;
};

/* --- objects -------------------------------------------------------------------------------------------------------- */

static void name_of(const char *dir, const struct id16 *id, char out[DOMAIN_OBJECT_SIZE])
{
    char hex[ID16_TEXT];

    hex_format(id->b, 16, hex);
    snprintf(out, DOMAIN_OBJECT_SIZE, "%s/%s", dir, hex);
}

void domain_object(const struct id16 *id, char out[DOMAIN_OBJECT_SIZE])
{
    name_of("domains", id, out);
}

static int object_get(struct repo *r, const char *name, struct domain_head *ret, struct key *ret_key)
{
    cleanup(buf_free) struct buf b = {0};
    int x = backend_get_all(r->b, &r->call, name, PLAIN_MAX, &b);

    return x < 0 ? x : domain_decode(b.data, b.len, &r->root.uuid, &r->keys, ret, ret_key);
}

/* -E_NOENT; -E_CORRUPT: it is another's. */
static int get(struct repo *r, const char *dir, const struct id16 *id, struct domain_head *ret,
               struct key *ret_key)
{
    char name[DOMAIN_OBJECT_SIZE];
    int x;

    name_of(dir, id, name);
    x = object_get(r, name, ret, ret_key);
    return x == 0 && memcmp(ret->id.b, id->b, 16) != 0 ? -E_CORRUPT : x;
}

/* 1: it was shredded, and whoever knows the master key says so; 0. */
static int is_shredded(struct repo *r, const struct id16 *id)
{
    struct domain_head h;
    struct key none;
    int x = get(r, "shredded", id, &h, &none);

    if (x == 0)
        x = h.flags & DOMAIN_SHREDDED ? 1 : -E_CORRUPT;
    return x == -E_NOENT ? 0 : x;
}

static int put(struct repo *r, const char *dir, const struct domain_head *h, const struct key *k)
{
    cleanup(buf_free) struct buf b = {0};
    char name[DOMAIN_OBJECT_SIZE];
    int x = domain_encode(&r->root.uuid, h, k, &r->keys, &b);

    name_of(dir, &h->id, name);
    if (x == 0)
        x = backend_put(r->b, &r->call, name, b.data, b.len);
    if (x == 0) {
        r->put_bytes += b.len;
        r->puts++;
    }
    return x == -E_EXIST ? 0 : x; /* somebody else's is as good */
}

/* --- those that are known ------------------------------------------------------------------------------------------- */

static struct domain_known *known_locked(struct repo *r, const struct id16 *id)
{
    struct domain_known *k = r->domains;

    while (k && memcmp(k->d.id.b, id->b, 16) != 0)
        k = k->next;
    return k;
}

/* -E_NOENT: nobody has put its key, or it was shredded. */
static int key_read(struct repo *r, const struct id16 *id, struct domain *ret)
{
    struct domain_head h;
    struct key key;
    int x = get(r, "domains", id, &h, &key);

    if (x == 0 && (h.flags & DOMAIN_SHREDDED))
        x = -E_CORRUPT;
    if (x == 0)
        x = domain_derive(id, &key, ret);
    key_wipe(&key);
    return x;
}

int repo__domain_open(struct repo *r)
{
    int x = key_read(r, &r->root.domain, &r->dom);

    r->into = r->dom;
    return x == -E_NOENT ? -E_CORRUPT : x;
}

static int load(struct repo *r, const struct id16 *id, struct domain_known *k)
{
    int x = key_read(r, id, &k->d);

    if (x != -E_NOENT)
        return x;
    x = is_shredded(r, id);
    k->shredded = x == 1;
    k->d.id = *id;
    return x == 1 ? 0 : x == 0 ? -E_KEY : x;
}

static void known_free(struct domain_known *k)
{
    if (!k)
        return;
    key_wipe(&k->d.blob_key);
    key_wipe(&k->d.chunk_key);
    free(k);
}

/* Two threads may have read the same one: the first stays. */
static struct domain_known *known_add(struct repo *r, struct domain_known *k)
{
    struct domain_known *was;

    lock_take(&r->domains_lock);
    was = known_locked(r, &k->d.id);
    if (!was) {
        k->next = r->domains;
        r->domains = k;
    }
    lock_drop(&r->domains_lock);
    if (was)
        known_free(k);
    return was ? was : k;
}

void repo__domains_free(struct repo *r)
{
    while (r->domains) {
        struct domain_known *k = r->domains;

        r->domains = k->next;
        known_free(k);
    }
}

bool repo_domain_is_default(const struct repo *r, const struct id16 *id)
{
    return id16_none(id) || memcmp(id->b, r->dom.id.b, 16) == 0;
}

bool repo_domain_same(const struct repo *r, const struct id16 *a, const struct id16 *b)
{
    return repo_domain_is_default(r, a) ? repo_domain_is_default(r, b) : memcmp(a->b, b->b, 16) == 0;
}

int repo_domain(struct repo *r, const struct id16 *id, const struct domain **ret)
{
    struct domain_known *k;
    int x = 0;

    if (repo_domain_is_default(r, id)) {
        *ret = &r->dom;
        return 0;
    }
    lock_take(&r->domains_lock);
    k = known_locked(r, id);
    lock_drop(&r->domains_lock);
    if (!k) {
        if (!(k = calloc(1, sizeof(*k))))
            return -E_NOMEM;
        if ((x = load(r, id, k)) < 0) {
            known_free(k);
            return x;
        }
        MARK("domains: one is read");
        k = known_add(r, k);
    }
    *ret = &k->d;
    return k->shredded ? -E_SHREDDED : 0;
}

static int blob_of(const struct domain *d, const struct id16 *blob, const void *p, size_t len)
{
    uint8_t full[32];
    int x = crypt_hmac(&d->blob_key, p, len, full);

    return x < 0 ? x : memcmp(full, blob->b, sizeof(blob->b)) == 0;
}

/* Others come before the first only, and none goes. */
int repo_blob_is(struct repo *r, const struct id16 *blob, const void *p, size_t len)
{
    int x = blob_of(&r->dom, blob, p, len);
    struct domain_known *k;

    lock_take(&r->domains_lock);
    k = r->domains;
    lock_drop(&r->domains_lock);
    for (; x == 0 && k; k = k->next)
        if (!k->shredded)
            x = blob_of(&k->d, blob, p, len);
    return x;
}

/* --- opening chunks ------------------------------------------------------------------------------------------------- */

/* By what the head says; whether that is true, the unsealing proves. */
static int domain_at(struct repo *r, const void *p, size_t len, const struct domain **ret)
{
    struct id16 id;

    if (len < CHUNK_HEAD)
        return -E_CORRUPT;
    memcpy(id.b, (const uint8_t *)p + HEAD_DOMAIN_AT, 16);
    return repo_domain(r, &id, ret);
}

/* One that is damaged just there has no domain: it is damaged, then, and its key is not missing. */
static int domain_of(struct repo *r, const void *p, size_t len, const struct domain **ret)
{
    struct chunk_head h;
    int x = domain_at(r, p, len, ret);

    return x == -E_KEY && unseal_head(p, len, &h) == -E_CORRUPT ? -E_CORRUPT : x;
}

int repo_unseal(struct repo *r, enum chunk_kind want, const void *p, size_t len, struct chunk_head *ret,
                struct buf *out)
{
    const struct domain *d;
    int x = domain_of(r, p, len, &d);

    return x < 0 ? x : unseal(d, want, p, len, ret, out);
}

int repo_unseal_into(struct repo *r, const void *p, size_t len, void *to, size_t room, struct chunk_head *ret)
{
    const struct domain *d;
    int x = domain_of(r, p, len, &d);

    return x < 0 ? x : unseal_into(d, p, len, to, room, ret);
}

/* --- making one ----------------------------------------------------------------------------------------------------- */

/* From now on programs that know of one domain only keep away. */
static int announce(struct repo *r)
{
    int x = 0;

    while (x == 0 && !(r->root.incompat & REPO_DOMAINS)) {
        cleanup(buf_free) struct buf raw = {0};
        struct repo_root next = r->root;
        char name[32];

        next.generation++;
        next.incompat |= REPO_DOMAINS;
        x = root_encode(&next, &r->keys, &raw);
        snprintf(name, sizeof(name), "root/%08u", next.generation);
        if (x == 0)
            x = backend_put_same(r->b, &r->call, name, raw.data, raw.len);
        if (x == 0 || x == -E_EXIST)
            x = repo_may_write(r);
    }
    return x;
}

static int make_one(struct repo *r, const struct id16 *id, const struct domain **ret)
{
    struct domain_head h = {.id = *id, .created_ns = clock_wall_ns(), .flags = DOMAIN_OWN};
    struct key k;
    int x = announce(r);

    if (x < 0)
        return x;
    hash_random(k.b, sizeof(k.b));
    x = put(r, "domains", &h, &k);
    key_wipe(&k);
    return x < 0 ? x : repo_domain(r, id, ret);
}

int repo_domain_own(struct repo *r, const struct uuid *volume, bool make, const struct domain **ret)
{
    struct id16 id;
    int x = 1;

    for (uint32_t n = 0; x == 1 && n < OWN_MAX; n++) {
        x = domain_name(&r->keys, volume, n, &id);
        if (x == 0 && (r->root.incompat & REPO_DOMAINS))
            x = is_shredded(r, &id);
        if (x == 1 && !make)
            return -E_SHREDDED;
    }
    if (x != 0)
        return x < 0 ? x : -E_TOOBIG;
    x = r->root.incompat & REPO_DOMAINS ? repo_domain(r, &id, ret) : -E_KEY;
    if (x != -E_KEY)
        return x;
    return make ? make_one(r, &id, ret) : -E_NOENT;
}

void repo_into(struct repo *r, const struct domain *d)
{
    enum codec_id codec = r->dom.codec;

    r->into = d ? *d : r->dom;
    r->into.codec = codec;
}

bool repo_is_into(const struct repo *r, const struct id16 *domain)
{
    return repo_domain_same(r, domain, &r->into.id);
}

int repo_into_still(struct repo *r)
{
    struct backend_stat st;
    char name[DOMAIN_OBJECT_SIZE];
    int x;

    if (repo_domain_is_default(r, &r->into.id))
        return 0;
    domain_object(&r->into.id, name);
    x = backend_stat(r->b, &r->call, name, &st);
    return x == -E_NOENT ? -E_SHREDDED : x;
}

/* --- all of them ---------------------------------------------------------------------------------------------------- */

int domains_each(struct repo *r, int (*cb)(void *arg, const struct domain_head *h),
                 void (*bad)(void *arg, const char *name, int why), void *arg)
{
    cleanup(buf_free) struct buf names = {0};
    int x = backend_names(r->b, &r->call, "domains/", &names);

    if (x == 0 && (r->root.incompat & REPO_DOMAINS))
        x = backend_names(r->b, &r->call, "shredded/", &names);
    for (size_t at = 0; x == 0 && at < names.len; at += strlen((char *)names.data + at) + 1) {
        const char *name = (const char *)names.data + at;
        struct domain_head h;
        struct key k;

        x = object_get(r, name, &h, &k);
        key_wipe(&k);
        if (x == 0) {
            x = cb(arg, &h);
        } else if (x == -E_CORRUPT || x == -E_REPO_NEWER || x == -E_NOENT) {
            if (bad && x != -E_NOENT)
                bad(arg, name, x);
            x = 0;
        }
    }
    return x;
}

/* --- the end of one ------------------------------------------------------------------------------------------------- */

/* This process knows the key no more, either. */
static int forget(struct repo *r, const struct id16 *id)
{
    struct domain_known *k = calloc(1, sizeof(*k));

    if (!k)
        return -E_NOMEM;
    k->d.id = *id;
    k->shredded = true;
    k = known_add(r, k);
    key_wipe(&k->d.blob_key);
    key_wipe(&k->d.chunk_key);
    k->shredded = true;
    return 0;
}

static int there(struct repo *r, const char *dir, const struct id16 *id)
{
    struct backend_stat st;
    char name[DOMAIN_OBJECT_SIZE];
    int x;

    name_of(dir, id, name);
    x = backend_stat(r->b, &r->call, name, &st);
    return x == 0 ? 1 : x == -E_NOENT ? 0 : x;
}

/* Where it says that the object is gone, and it is not, nothing was shredded. */
static int key_delete(struct repo *r, const struct id16 *id)
{
    char name[DOMAIN_OBJECT_SIZE];
    int x;

    if (BROKEN(VARVE_BREAK_shred_key))
        return 0;
    domain_object(id, name);
    x = backend_del(r->b, &r->call, name);
    if (x == 0 || x == -E_NOENT)
        x = there(r, "domains", id);
    return x == 1 ? -E_ACCES : x;
}

/* First it is told that it will be: a death between leaves a key that the next call deletes, never a domain of which nobody knows why it
 * has none. */
int domain_shred(struct repo *r, const struct id16 *id, uint64_t *ret_points)
{
    struct domain_head h = {.id = *id, .created_ns = clock_wall_ns(), .flags = DOMAIN_OWN | DOMAIN_SHREDDED};
    static const struct key none;
    int x = repo_domain_is_default(r, id) ? -E_INVAL : repo_may_write(r), was;

    if (x < 0)
        return x;
    if ((x = was = is_shredded(r, id)) == 0 && (x = there(r, "domains", id)) == 0)
        x = -E_NOENT;
    if (x > 0)
        x = was ? 0 : put(r, "shredded", &h, &none);
    if (x == 0)
        x = key_delete(r, id);
    if (x == 0)
        x = forget(r, id);
    return x < 0 ? x : shredded_delete(r, NULL, NULL, ret_points);
}

/* By what this machine keeps of it, else by its first bytes. Zeros where they say nothing: then it is not ours to judge. */
static int point_domain(struct repo *r, const char *name, struct id16 *ret)
{
    cleanup(buf_free) struct buf b = {0};
    const char *hex = strchr(name, '/') + 1;
    int x = strncmp(name, "points/", 7) == 0 ? have_point(r->have, hex, &b) : -E_NOENT;

    if (x == -E_NOENT)
        x = backend_get(r->b, &r->call, name, 0, CHUNK_HEAD, &b);
    *ret = (struct id16){{0}};
    if (x == 0 && b.len >= CHUNK_HEAD && memcmp(b.data, CHUNK_MAGIC, 4) == 0)
        memcpy(ret->b, b.data + HEAD_DOMAIN_AT, 16);
    return x == -E_NOENT || x == -E_CORRUPT ? 0 : x;
}

static int point_delete(struct repo *r, const char *name, int (*del)(void *arg, const char *name), void *arg,
                        uint64_t *ret_points)
{
    const struct domain *d;
    struct id16 id;
    int x = point_domain(r, name, &id);

    if (x < 0 || (x = repo_domain(r, &id, &d)) != -E_SHREDDED)
        return x == -E_KEY || x == -E_CORRUPT || x == -E_REPO_NEWER ? 0 : x;
    x = del ? del(arg, name) : backend_del(r->b, &r->call, name);
    *ret_points += x == 0;
    return x == -E_NOENT || x == 1 ? 0 : x;
}

int shredded_delete(struct repo *r, int (*del)(void *arg, const char *name), void *arg, uint64_t *ret_points)
{
    cleanup(buf_free) struct buf names = {0};
    int x = 0;

    *ret_points = 0;
    if (!(r->root.incompat & REPO_DOMAINS))
        return 0;
    x = backend_names(r->b, &r->call, "points/", &names);
    if (x == 0)
        x = backend_names(r->b, &r->call, "trash/", &names);
    for (size_t at = 0; x == 0 && at < names.len; at += strlen((char *)names.data + at) + 1)
        x = point_delete(r, (const char *)names.data + at, del, arg, ret_points);
    return x;
}
