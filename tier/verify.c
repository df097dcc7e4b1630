#include "tier/verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "tier/condemned.h"
#include "tier/domains.h"
#include "tier/map.h"
#include "tier/pin.h"

#define SHOWN 12 /* digits of a recovery point in sentences */
#define TRIES 4  /* where packs are moved meanwhile */
#define LINES_HELD (1u << 20)

struct verify {
    struct repo *r;
    const struct verify_opts *o;
    struct verify_result res;
    struct mac *mac;        /* names blobs of */
    struct id16 mac_domain; /* this domain */
    struct idset packs;     /* the first half of their names: 1 named by an index, 2 is there */
    struct idset bad;       /* chunks that cannot be read */
    struct idset good;      /* pages of metadata that are right, with all that they refer to */
    const struct point *point;
    uint64_t last;      /* inode told last: once is enough */
    struct buf lines;   /* damages found, each with its NUL, until it is known that they are some */
    struct buf indexes; /* struct sha each: those that were read */
    struct buf damaged; /* struct sha each: packs of which chunks cannot be read */
    bool said, moved;
};

static void say(struct verify *w)
{
    for (size_t at = 0; at < w->lines.len; at += strlen((char *)w->lines.data + at) + 1)
        if (w->o->found)
            w->o->found(w->o->arg, (char *)w->lines.data + at);
    w->said = w->said || w->lines.len;
    buf_reset(&w->lines);
}

static void found(struct verify *w, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void found(struct verify *w, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    w->res.damages++;
    if (buf_add(&w->lines, line, strlen(line) + 1) < 0 || w->lines.len > LINES_HELD)
        say(w);
}

static int moved(struct verify *w, uint64_t bytes)
{
    w->res.bytes += bytes;
    return w->o->progress ? w->o->progress(w->o->arg, w->res.packs + w->res.points, w->res.bytes) : 0;
}

/* Damage, not trouble on the way to it. */
static bool is_damage(int r)
{
    return r == -E_CORRUPT || r == -E_NOENT || r == -E_KEY;
}

/* --- packs that the indexes name ------------------------------------------------------------------------------------ */

struct index_pack {
    struct verify *w;
    bool absent;
};

static int chunk_bad(void *arg, const struct id16 *id, const struct have_chunk *c)
{
    struct verify *w = arg;

    (void)c;
    return idset_put(&w->bad, id, NULL);
}

static int pack_named(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    struct trailer_cb cb = {.chunk = chunk_bad, .arg = arg};
    struct verify *w = arg;
    char hex[SHA_TEXT], name[PACK_NAME];
    struct backend_stat st;
    struct id16 id = sha_half(pack);
    uint64_t *state;
    int r = idset_put(&w->packs, &id, &state);

    if (r < 0 || *state)
        return r;
    *state = 1;
    w->res.packs++;
    hex_format(pack->b, sizeof(pack->b), hex);
    pack_name(pack, name);
    r = backend_stat(w->r->b, &w->r->call, name, &st);
    if (r == 0 && st.size == size)
        return moved(w, 0);
    if (r < 0 && r != -E_NOENT)
        return r;
    found(w, r == 0 ? "pack %.*s is damaged: it has not the length that the index says" : "pack %.*s is gone",
          SHOWN, hex);
    return trailer_walk(pack, trailer, len, &cb);
}

static int index_note(struct verify *w, const char *name)
{
    struct sha s;
    int r = pack_name_parse(name, &s);

    return r < 0 ? r : buf_add(&w->indexes, s.b, sizeof(s.b));
}

static int index_read(void *arg, const char *name, const struct backend_stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    struct verify *w = arg;
    int r = repo_object(w->r, name, CHUNK_INDEX, &b);

    (void)st;
    if (r == 0)
        r = index_note(w, name);
    if (r == 0)
        r = index_walk(b.data, b.len, pack_named, w);
    if (r == -E_NOENT) { /* since it was listed */
        w->moved = true;
        return 0;
    }
    if (r == -E_CORRUPT || r == -E_KEY) {
        found(w, "index %.*s is damaged: what its packs hold is not found; verify --repair makes it anew",
              SHOWN, name + strlen("index/"));
        return 0;
    }
    return r;
}

/* --- every byte ----------------------------------------------------------------------------------------------------- */

struct pack_read {
    struct verify *w;
    const struct buf *pack;
    struct buf plain; /* of the chunk */
    struct id16 chunk;
    bool ok;
    const char *hex;
    uint64_t bad;
};

/* Does the index say of it what its head says? */
static bool is_as_indexed(const struct repo *r, const struct id16 *id, const struct chunk_head *h,
                          const struct have_chunk *c)
{
    return memcmp(h->id.b, id->b, 16) == 0 && h->plain_len == c->plain_len &&
           repo_domain_same(r, &h->domain, &c->domain);
}

static int mac_ready(struct verify *w, const struct id16 *domain)
{
    const struct domain *d;
    int r;

    if (w->mac && memcmp(w->mac_domain.b, domain->b, 16) == 0)
        return 0;
    r = repo_domain(w->r, domain, &d);
    if (r < 0)
        return r;
    mac_free(TAKE(w->mac));
    w->mac_domain = *domain;
    return mac_new(&d->blob_key, &w->mac);
}

static int chunk_read(void *arg, const struct id16 *id, const struct have_chunk *c)
{
    struct pack_read *p = arg;
    struct chunk_head h;
    int r = -E_CORRUPT;

    p->w->res.chunks++;
    p->chunk = *id;
    buf_reset(&p->plain);
    if (c->off <= p->pack->len && c->stored_len <= p->pack->len - c->off)
        r = repo_unseal(p->w->r, c->kind, p->pack->data + c->off, c->stored_len, &h, &p->plain);
    if (r == 0 && !is_as_indexed(p->w->r, id, &h, c))
        r = -E_CORRUPT;
    if (r == 0)
        r = mac_ready(p->w, &h.domain);
    p->ok = r == 0;
    if (r == -E_SHREDDED) { /* as somebody wanted it */
        p->w->res.shredded++;
        return 0;
    }
    if (r < 0 && !is_damage(r))
        return r;
    p->bad += !p->ok;
    return p->ok ? 0 : idset_put(&p->w->bad, id, NULL);
}

static int blob_read(void *arg, const struct id16 *blob, const struct have_blob *b)
{
    struct pack_read *p = arg;
    struct id16 is;
    int r;

    if (!p->ok)
        return 0;
    r = mac_id(p->w->mac, p->plain.data + b->off, b->len, &is);
    if (r < 0 || memcmp(is.b, blob->b, 16) == 0)
        return r;
    p->ok = false;
    p->bad++;
    return idset_put(&p->w->bad, &p->chunk, NULL);
}

static bool is_drawn(double share)
{
    uint32_t x;

    hash_random(&x, sizeof(x));
    return x < share * UINT32_MAX;
}

/* By the pack's own trailer where that is right; else by what the index says. */
static int pack_all(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    cleanup(buf_free) struct buf b = {0};
    char hex[SHA_TEXT], name[PACK_NAME];
    struct verify *w = arg;
    struct pack_read p = {.w = w, .pack = &b, .hex = hex};
    struct trailer_cb cb = {chunk_read, blob_read, &p};
    struct id16 id = sha_half(pack);
    uint64_t *state = idset_get(&w->packs, &id);
    struct sha is;
    int r;

    if (!state || *state != 1)
        return 0;
    *state = 2;
    if (w->o->share > 0 && !is_drawn(w->o->share))
        return 0;
    w->res.sampled++;
    hex_format(pack->b, sizeof(pack->b), hex);
    pack_name(pack, name);
    r = backend_get_all(w->r->b, &w->r->call, name, PACK_SIZE_MAX, &b);
    if (r == -E_NOENT || r == -E_TOOBIG) /* told already */
        return 0;
    if (r == -E_ARCHIVED && !BROKEN(VARVE_BREAK_verify_archived)) {
        w->res.archived++;
        w->res.sampled--;
        return 0;
    }
    if (r == 0)
        r = crypt_sha256(b.data, b.len, &is);
    if (r == 0 &&
        (memcmp(is.b, pack->b, sizeof(is.b)) != 0 || b.len != size || BROKEN(VARVE_BREAK_verify_chunks))) {
        r = BROKEN(VARVE_BREAK_verify_chunks) ? 0 : trailer_walk(pack, trailer, len, &cb);
        if (r == 0)
            found(w, "pack %.*s is damaged: %" PRIu64 " of its chunks cannot be read", SHOWN, hex, p.bad);
    } else if (r == 0) {
        r = trailer_walk(pack, trailer, len, &cb);
        if (r == 0 && p.bad)
            found(w, "pack %.*s was written wrong: %" PRIu64 " of its chunks cannot be read", SHOWN, hex,
                  p.bad);
    }
    buf_free(&p.plain);
    if (r == 0 && p.bad)
        r = buf_add(&w->damaged, pack->b, sizeof(pack->b));
    return r < 0 ? r : moved(w, b.len);
}

static int index_packs(void *arg, const char *name, const struct backend_stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    struct verify *w = arg;
    int r = repo_object(w->r, name, CHUNK_INDEX, &b);

    (void)st;
    if (r == 0)
        r = index_walk(b.data, b.len, pack_all, w);
    return is_damage(r) ? 0 : r;
}

static int pack_listed(void *arg, const char *name, const struct backend_stat *st)
{
    struct verify *w = arg;
    struct sha s;
    struct id16 id;

    (void)st;
    if (pack_name_parse(name, &s) < 0)
        return 0;
    id = sha_half(&s);
    w->res.unnamed += !idset_get(&w->packs, &id);
    return 0;
}

/* --- recovery points ------------------------------------------------------------------------------------------------ */

static void hurt(struct verify *w, uint64_t ino, const char *what)
{
    cleanup(buf_free) struct buf path = {0};
    const struct point *p = w->point;

    if (ino == w->last)
        return;
    w->last = ino;
    w->res.hurt++;
    if (point_path(w->r, &p->tree, ino, &path) < 0 || !buf_cstr(&path))
        found(w, "inode %" PRIu64 " of %.*s (%s@%s): %s is lost", ino, SHOWN, p->id, p->volume_name,
              p->snapshot_name, what);
    else
        found(w, "/%s of %.*s (%s@%s): %s is lost", buf_cstr(&path), SHOWN, p->id, p->volume_name,
              p->snapshot_name, what);
}

static void attachment_hurt(struct verify *w, const uint8_t *key, size_t klen)
{
    const struct point *p = w->point;

    w->res.hurt++;
    found(w, "attachment %.*s of %.*s (%s@%s) is lost", (int)klen - 9, (const char *)key + 9, SHOWN, p->id,
          p->volume_name, p->snapshot_name);
}

/* The chunk is known, large enough, and not among those that cannot be read. */
static int slice_ok(struct verify *w, const struct slice *s, bool *ret)
{
    struct have_chunk c;
    int r = have_get_chunk(w->r->have, &s->chunk, &c);

    *ret =
        r == 0 && !idset_get(&w->bad, &s->chunk) && s->off <= c.plain_len && s->len <= c.plain_len - s->off;
    return r == -E_NOENT ? 0 : r;
}

struct page_look {
    struct verify *w;
    bool ok;
};

static int record_look(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct page_look *l = arg;
    struct slice s;
    bool ok = true;
    int r = record_slice(key, klen, val, vlen, &s);

    if (r == 1)
        r = slice_ok(l->w, &s, &ok);
    if (r == -E_CORRUPT)
        ok = false;
    else if (r < 0)
        return r;
    if (!ok) {
        l->ok = false;
        if (get_be64(key) == POINT_INO_ATTACH)
            attachment_hurt(l->w, key, klen);
        else
            hurt(l->w, get_be64(key), key[8] == REC_XATTR ? "an attribute" : "a part of its bytes");
    }
    return 0;
}

static int page_looked(void *arg, const struct slice *page, const uint8_t *p, size_t len, int error)
{
    struct verify *w = arg;
    struct page_look l = {w, true};
    int r;

    if (error < 0 && !is_damage(error))
        return error;
    if (error < 0) {
        found(w, "a page of metadata of %.*s (%s@%s) is lost, with the names of what it holds", SHOWN,
              w->point->id, w->point->volume_name, w->point->snapshot_name);
        return 1;
    }
    if (len < PAGE_HEAD || p[1] != 0)
        return 0;
    if (idset_get(&w->good, &page->blob))
        return 0;
    r = page_each(p, len, NULL, record_look, &l);
    if (r == 0 && l.ok)
        r = idset_put(&w->good, &page->blob, NULL);
    return r;
}

static int point_look(void *arg, const struct point *p)
{
    struct verify *w = arg;
    int r;

    w->point = p;
    w->last = 0;
    w->res.points++;
    r = tree_walk(w->r, &p->tree, page_looked, w);
    return r < 0 ? r : moved(w, 0);
}

/* What a volume relies on, whether or not its recovery point is still there. */
static int pinned_look(void *arg, const struct point *p)
{
    struct verify *w = arg;
    struct backend_stat st;
    char name[80];
    int r;

    snprintf(name, sizeof(name), "points/%s", p->id);
    r = backend_stat(w->r->b, &w->r->call, name, &st); /* then it was looked at */
    if (r != -E_NOENT)
        return r;
    r = point_look(w, p);
    w->res.points--;
    return r;
}

static void point_bad(void *arg, const char *id, int why)
{
    found(arg, "recovery point %.*s cannot be read: %s", SHOWN, id, err_text(why));
}

static int pin_look(void *arg, const struct pin *p)
{
    struct verify *w = arg;

    w->res.pins++;
    return BROKEN(VARVE_BREAK_verify_pins) ? 0 : pin_points(w->r, p, pinned_look, w);
}

static void pin_bad(void *arg, const char *name, int why)
{
    found(arg, "%s cannot be read: %s; nothing is deleted while it is there", name, err_text(why));
}

static int list_look(void *arg, const char *name, const struct backend_stat *st)
{
    struct verify *w = arg;
    int r = condemned_check(w->r, name);

    (void)st;
    if (r == -E_CORRUPT || r == -E_KEY)
        found(w,
              "list of condemned packs %.*s is damaged: nobody backs up and nobody prunes while it is there; "
              "verify "
              "--repair removes it",
              SHOWN, name + strlen("condemned/"));
    return is_damage(r) ? 0 : r;
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static int run(struct verify *w)
{
    int r = repo_sync(w->r);

    if (r == 0)
        r = backend_list(w->r->b, &w->r->call, "index/", "", index_read, w);
    if (r == 0)
        r = backend_list(w->r->b, &w->r->call, "packs/", "", pack_listed, w);
    if (r == 0 && (w->o->full || w->o->share > 0))
        r = backend_list(w->r->b, &w->r->call, "index/", "", index_packs, w);
    if (r == 0)
        r = points_each(w->r, point_look, point_bad, w);
    if (r == 0)
        r = pins_each(w->r, pin_look, pin_bad, w);
    if (r == 0)
        r = backend_list(w->r->b, &w->r->call, "condemned/", "", list_look, w);
    return r;
}

/* Is an index gone that was read? Somebody prunes: what it named may be elsewhere. */
static int is_moved(struct verify *w)
{
    int r = 0;

    for (size_t at = 0; r == 0 && !w->moved && at < w->indexes.len; at += sizeof(struct sha)) {
        char name[80], hex[SHA_TEXT];
        struct backend_stat st;

        hex_format(w->indexes.data + at, sizeof(struct sha), hex);
        snprintf(name, sizeof(name), "index/%s", hex);
        r = backend_stat(w->r->b, &w->r->call, name, &st);
        if (r == -E_NOENT) {
            w->moved = true;
            r = 0;
        }
    }
    return r;
}

static void verify_release(struct verify *w)
{
    mac_free(w->mac);
    idset_free(&w->packs);
    idset_free(&w->bad);
    idset_free(&w->good);
    buf_free(&w->lines);
    buf_free(&w->indexes);
    buf_free(&w->damaged);
}

/* true: what was found is due to a prune that is at work, perhaps; nobody was told of it. */
static bool attempt(struct verify *w, bool last, int *ret)
{
    bool again = false;

    *ret = run(w);
    if (*ret == 0 && w->res.damages && !w->said && !last && !BROKEN(VARVE_BREAK_verify_moved)) {
        *ret = is_moved(w);
        again = *ret == 0 && w->moved;
    }
    if (!again)
        say(w);
    return again;
}

/* A list that no recovery point was in sight of: none of them is gone on from, and what they had in these packs is sent again. */
static int condemn(struct verify *w)
{
    cleanup(condemned_release) struct condemned c = {.base_kept = true};
    cleanup(buf_free) struct buf fresh = {0};
    int r = w->damaged.len ? condemned_read(w->r, NULL, &c) : 0;

    for (size_t at = 0; r == 0 && at < w->damaged.len; at += sizeof(struct sha)) {
        struct sha s;
        struct id16 id;

        memcpy(s.b, w->damaged.data + at, sizeof(s.b));
        id = sha_half(&s);
        if (!idset_get(&c.packs, &id))
            r = buf_add(&fresh, s.b, sizeof(s.b));
    }
    if (r < 0 || fresh.len == 0)
        return r;
    w->res.condemned = fresh.len / sizeof(struct sha);
    return condemned_put(w->r, &fresh, &(struct buf){0});
}

int verify_run(struct repo *r, const struct verify_opts *o, struct verify_result *ret)
{
    bool again = true;
    int x = 0;

    for (unsigned n = 1; again; n++) {
        struct verify w = {.r = r, .o = o};

        again = attempt(&w, n == TRIES, &x);
        if (!again && x == 0 && o->condemn)
            x = condemn(&w);
        *ret = w.res;
        verify_release(&w);
    }
    return x;
}
