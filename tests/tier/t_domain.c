/* Domains of a volume's own (domain=own): nothing shared with others, and an end of their own. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/tier/tiering_rig.h"
#include "tier/copy.h"
#include "tier/domains.h"
#include "tier/pin.h"
#include "tier/reindex.h"
#include "tier/trash.h"

#define LARGE (6u << 20)

static int try_backup(struct repo_rig *g, const char *snap, enum backup_domain domain, bool full,
                      struct backup_result *ret)
{
    struct backup_opts o = {.domain = domain, .full = full};
    struct layer_rec rec;

    CHECK_OK(snap_find(g->b.v, snap, &rec));
    return backup_run(g->w.r, g->b.v, &rec, &o, ret);
}

static struct backup_result backed_up(struct repo_rig *g, const char *snap, enum backup_domain domain)
{
    struct backup_result res;

    rig_snapshot(g, snap);
    CHECK_OK(try_backup(g, snap, domain, false, &res));
    return res;
}

/* A file of blocks and small ones, and a recovery point "a" of it. */
static struct backup_result begin(struct repo_rig *g, enum backup_domain domain, struct buf *want)
{
    rig_begin(g);
    rig_fill_file(g, "large", LARGE);
    box_text(&g->b, g->b.v, "small", "text");
    rig_picture(g, want);
    return backed_up(g, "a", domain);
}

static struct id16 domain_of(struct repo_rig *g, const char *id)
{
    struct point p = rig_point(g, id);
    struct id16 domain = p.domain;

    point_release(&p);
    return domain;
}

static bool is_shared(struct repo_rig *g, const char *id)
{
    struct id16 domain = domain_of(g, id);

    return id16_none(&domain);
}

static uint64_t shredded(struct repo_rig *g, const struct id16 *id)
{
    uint64_t points;

    CHECK_OK(domain_shred(g->w.r, id, &points));
    return points;
}

/* Another process of this machine forgets all that it knew, and is about to read it anew. */
static int forget_once(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct have **h = arg;

    (void)key;
    (void)klen;
    (void)val;
    (void)vlen;
    if (*h)
        CHECK_OK(have_clear(*h));
    *h = NULL;
    return 0;
}

TEST(test_domain__pages_are_proved_while_nothing_is_known_of_their_chunk)
{
    struct backup_result a;
    char name[16];
    struct have *h;
    struct point p;
    struct repo_rig g;

    rig_begin(&g);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        box_text(&g.b, g.b.v, name, name);
    }
    a = backed_up(&g, "a", BACKUP_OWN);
    world_repo(&g.w);
    p = rig_point(&g, a.id);
    h = g.w.r->have;
    CHECK_OK(tree_scan(g.w.r, &p.tree, NULL, NULL, forget_once, &h));
    CHECK(!h);
    point_release(&p);
    rig_end(&g);
}

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

static const char golden_domain[] =
#include "tests/tier/golden_domain.inc"
    ;

static struct master_keys keys_of(uint8_t byte)
{
    struct master_keys keys;
    struct key master;

    memset(master.b, byte, sizeof(master.b));
    CHECK_OK(master_keys(&master, &keys));
    return keys;
}

TEST(test_domain__bytes_are_as_they_were)
{
    static const struct uuid volume = {{0x22, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};
    struct master_keys keys = keys_of(0x33);
    struct domain_head h;
    struct uuid repo;
    uint8_t old[512];
    size_t n = strlen(golden_domain) / 2;
    struct id16 id;
    struct key k;
    char hex[65];

    memset(repo.b, 0x11, sizeof(repo.b));
    CHECK(n <= sizeof(old));
    CHECK_OK(hex_parse(golden_domain, old, n));
    CHECK_OK(domain_decode(old, n, &repo, &keys, &h, &k));
    CHECK_OK(domain_name(&keys, &volume, 3, &id));
    CHECK(memcmp(h.id.b, id.b, sizeof(id.b)) == 0);
    CHECK_EQ(h.created_ns, 1700000000000000000);
    CHECK_EQ(h.flags, DOMAIN_OWN);
    hex_format(k.b, sizeof(k.b), hex);
    CHECK(strcmp(hex, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f") == 0);
    for (size_t at = 0; at < n; at++) {
        old[at] ^= 4;
        CHECK(domain_decode(old, n, &repo, &keys, &h, &k) < 0);
        old[at] ^= 4;
        CHECK(domain_decode(old, at, &repo, &keys, &h, &k) < 0);
    }
    keys = keys_of(0x34);
    CHECK_ERR(domain_decode(old, n, &repo, &keys, &h, &k), -E_CORRUPT);
}

/* What a domain's flags say is proved with its key. */
TEST(test_domain__flags_are_proved)
{
    cleanup(buf_free) struct buf b = {0};
    struct domain_head h = {.flags = DOMAIN_OWN}, back;
    struct master_keys keys = keys_of(1);
    struct uuid repo = {{7}};
    struct key k = {{5}};
    struct sha sum;

    CHECK_OK(domain_encode(&repo, &h, &k, &keys, &b));
    b.data[PLAIN_HEAD + 40] |= DOMAIN_SHREDDED;
    CHECK_OK(crypt_sha256(b.data, b.len - sizeof(sum), &sum));
    memcpy(b.data + b.len - sizeof(sum), sum.b, sizeof(sum));
    CHECK_ERR(domain_decode(b.data, b.len, &repo, &keys, &back, &k), -E_CORRUPT);
    b.data[PLAIN_HEAD + 40] = 8;
    CHECK_OK(crypt_sha256(b.data, b.len - sizeof(sum), &sum));
    memcpy(b.data + b.len - sizeof(sum), sum.b, sizeof(sum));
    CHECK_ERR(domain_decode(b.data, b.len, &repo, &keys, &back, &k), -E_REPO_NEWER);
}

/* --- apart ---------------------------------------------------------------------------------------------------------- */

TEST(test_domain__a_repository_without_any_is_as_before)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a;
    struct repo_rig g;

    a = begin(&g, BACKUP_AS_BEFORE, &want);
    CHECK(is_shared(&g, a.id));
    CHECK_EQ(mem_count(g.w.m, "root/"), 1);
    CHECK_EQ(mem_count(g.w.m, "domains/"), 1);
    CHECK_EQ(g.w.r->root.incompat, 0);
    CHECK_EQ(backed_up(&g, "b", BACKUP_SHARED).new_bytes < 65536, 1);
    CHECK_EQ(mem_count(g.w.m, "root/"), 1);
    rig_end(&g);
}

/* The same bytes in both: each has its own; within each the next one costs what differs. */
TEST(test_domain__shares_nothing_and_comes_back)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b, c, d;
    struct id16 first;
    struct repo_rig g;

    a = begin(&g, BACKUP_AS_BEFORE, &want);
    b = backed_up(&g, "b", BACKUP_OWN);
    CHECK(b.new_bytes >= LARGE && !b.base[0]);
    CHECK(!is_shared(&g, b.id));
    CHECK_EQ(mem_count(g.w.m, "domains/"), 2);
    CHECK_EQ(mem_count(g.w.m, "root/"), 2);
    first = domain_of(&g, b.id);
    box_fill(&g.b, g.b.v, "large", 1u << 20, 4096, 9);
    rig_picture(&g, &want);
    c = backed_up(&g, "c", BACKUP_AS_BEFORE);
    CHECK(strcmp(c.base, b.id) == 0 && c.new_bytes < 65536);
    CHECK(memcmp(first.b, (domain_of(&g, c.id)).b, 16) == 0);
    rig_restores_to(&g, c.id, &want);
    d = backed_up(&g, "d", BACKUP_SHARED);
    CHECK(strcmp(d.base, a.id) == 0 && d.new_bytes < 65536);
    CHECK(is_shared(&g, d.id));
    rig_restores_to(&g, d.id, &want);
    rig_sound(&g);
    rig_restores_to(&g, c.id, &want);
    rig_end(&g);
}

struct heads {
    struct repo *r;
    const struct buf *pack;
    uint64_t own, shared;
};

static int head_look(void *arg, const struct id16 *id, const struct have_chunk *c)
{
    struct heads *h = arg;
    struct chunk_head head;

    (void)id;
    CHECK_OK(unseal_head(h->pack->data + c->off, c->stored_len, &head));
    CHECK(memcmp(head.domain.b, id16_none(&c->domain) ? h->r->dom.id.b : c->domain.b, 16) == 0);
    *(id16_none(&c->domain) ? &h->shared : &h->own) += 1;
    return 0;
}

/* All that is in packs: by their trailers, which are readable in any case. */
static struct heads heads_of(struct repo_rig *g)
{
    struct heads h = {.r = g->w.r};
    struct trailer_cb cb = {head_look, NULL, &h};

    for (size_t i = 0; i < mem_count(g->w.m, "packs/"); i++) {
        cleanup(buf_free) struct buf pack = {0}, trailer = {0};
        const char *name = mem_name(g->w.m, "packs/", i);
        struct sha s;

        h.pack = &pack;
        CHECK_OK(pack_name_parse(name, &s));
        CHECK_OK(backend_get_all(g->w.r->b, &g->w.r->call, name, PACK_SIZE_MAX, &pack));
        CHECK_OK(pack_open(&g->w.r->root.uuid, &g->w.r->dom, pack.data, pack.len, &trailer));
        CHECK_OK(trailer_walk(&s, trailer.data, trailer.len, &cb));
    }
    return h;
}

TEST(test_domain__every_chunk_and_point_of_it_is_sealed_in_it)
{
    cleanup(buf_free) struct buf want = {0}, raw = {0}, plain = {0};
    struct backup_result a;
    struct repo_rig g;
    struct heads h;
    char name[80];

    a = begin(&g, BACKUP_OWN, &want);
    h = heads_of(&g);
    CHECK(h.own > 5 && h.shared == 0);
    snprintf(name, sizeof(name), "points/%s", a.id);
    CHECK_OK(backend_get_all(g.w.r->b, &g.w.r->call, name, 1u << 20, &raw));
    CHECK_ERR(unseal(&g.w.r->dom, CHUNK_POINT, raw.data, raw.len, NULL, &plain), -E_KEY);
    CHECK_OK(repo_unseal(g.w.r, CHUNK_POINT, raw.data, raw.len, NULL, &plain));
    rig_end(&g);
}

/* Indexes are made again from packs: which domain a chunk is of comes from there, too. */
TEST(test_domain__indexes_are_made_again)
{
    cleanup(buf_free) struct buf want = {0};
    struct reindex_result res;
    struct backup_result a;
    struct repo_rig g;

    a = begin(&g, BACKUP_OWN, &want);
    while (mem_count(g.w.m, "index/"))
        mem_drop(g.w.m, mem_name(g.w.m, "index/", 0));
    world_forget(&g.w);
    CHECK_OK(reindex_run(g.w.r, NULL, NULL, &res));
    CHECK(res.packs > 0 && res.unreadable == 0);
    rig_sound(&g);
    rig_restores_to(&g, a.id, &want);
    rig_end(&g);
}

/* What lies in the repository only, in the other domain, is read and sent, not named. */
TEST(test_domain__bytes_of_another_one_are_not_named)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b, c;
    struct repo_rig g;

    a = begin(&g, BACKUP_SHARED, &want);
    tiering_connect(&g);
    CHECK(tiering_released(&g, a.id, "a").bytes >= LARGE);
    b = backed_up(&g, "b", BACKUP_OWN);
    CHECK_EQ(b.named_bytes, 0);
    CHECK(b.new_bytes >= LARGE);
    rig_snapshot(&g, "c");
    CHECK_OK(try_backup(&g, "c", BACKUP_SHARED, true, &c));
    CHECK(c.new_bytes < 65536);
    rig_restores_to(&g, b.id, &want);
    rig_point_delete(&g, a.id);
    rig_point_delete(&g, c.id);
    rig_prune(&g, true); /* nothing of the shared ones is needed by it */
    CHECK_EQ(heads_of(&g).shared, 0);
    rig_sound(&g);
    rig_restores_to(&g, b.id, &want);
    rig_end(&g);
}

/* Released to its own domain: reads come from there. */
TEST(test_domain__released_bytes_come_back)
{
    cleanup(buf_free) struct buf want = {0}, have = {0};
    struct backup_result a, b;
    struct repo_rig g;

    a = begin(&g, BACKUP_OWN, &want);
    tiering_connect(&g);
    CHECK(tiering_released(&g, a.id, "a").bytes >= LARGE);
    rig_snapshot(&g, "b");
    CHECK_OK(try_backup(&g, "b", BACKUP_AS_BEFORE, true, &b));
    CHECK(b.named_bytes >= LARGE && b.new_bytes < 65536);
    rig_picture(&g, &have);
    CHECK(box_same(&want, &have));
    rig_end(&g);
}

/* --- its end -------------------------------------------------------------------------------------------------------- */

static void unreadable(struct repo_rig *g)
{
    for (size_t i = 0; i < mem_count(g->w.m, "packs/"); i++) {
        cleanup(buf_free) struct buf pack = {0};

        CHECK_OK(
            backend_get_all(g->w.r->b, &g->w.r->call, mem_name(g->w.m, "packs/", i), PACK_SIZE_MAX, &pack));
        for (size_t at = 0; at + CHUNK_HEAD < pack.len; at++) {
            cleanup(buf_free) struct buf plain = {0};
            struct chunk_head h;

            if (memcmp(pack.data + at, CHUNK_MAGIC, 4) != 0 ||
                unseal_head(pack.data + at, pack.len - at, &h) < 0 || h.kind > CHUNK_META)
                continue;
            CHECK_ERR(repo_unseal(g->w.r, 0, pack.data + at, h.stored_len, NULL, &plain), -E_SHREDDED);
        }
    }
}

TEST(test_domain__a_shredded_one_is_read_by_nobody)
{
    cleanup(buf_free) struct buf want = {0}, err = {0}, lines = {0};
    struct backup_result a, b, c;
    struct verify_result v;
    struct id16 id;
    struct point p;
    struct repo_rig g;
    size_t packs;

    a = begin(&g, BACKUP_OWN, &want);
    id = domain_of(&g, a.id);
    packs = mem_count(g.w.m, "packs/");
    CHECK_EQ(shredded(&g, &id), 1);
    CHECK_EQ(mem_count(g.w.m, "packs/"), packs); /* the bytes still lie there */
    CHECK_EQ(mem_count(g.w.m, "domains/"), 1);
    CHECK_EQ(mem_count(g.w.m, "points/"), 0);
    unreadable(&g);
    CHECK_ERR(point_find(g.w.r, a.id, &p, &err), -E_NOENT);
    world_repo(&g.w); /* nor does what this machine keeps help */
    unreadable(&g);
    CHECK_ERR(point_get(g.w.r, a.id, &p), -E_SHREDDED);
    world_forget(&g.w);
    unreadable(&g);
    v = rig_verified(&g, true, &lines);
    CHECK_EQ(v.damages, 0);
    CHECK(v.shredded > 5);
    CHECK_EQ(shredded(&g, &id), 0);           /* once more does no harm */
    b = backed_up(&g, "b", BACKUP_AS_BEFORE); /* another one of its own */
    c = backed_up(&g, "c", BACKUP_SHARED);
    CHECK(!is_shared(&g, b.id) && memcmp(id.b, domain_of(&g, b.id).b, 16) != 0);
    CHECK(b.new_bytes >= LARGE && !b.base[0]);
    rig_outlives_prunes(&g, b.id, &want);
    rig_restores_to(&g, c.id, &want);
    v = rig_verified(&g, true, &lines);
    CHECK_EQ(v.shredded, 0); /* pruned */
    rig_end(&g);
}

TEST(test_domain__the_shared_one_stays)
{
    struct id16 other = {{9}};
    struct repo_rig g;
    uint64_t points;

    rig_begin(&g);
    CHECK_ERR(domain_shred(g.w.r, &g.w.r->dom.id, &points), -E_INVAL);
    CHECK_ERR(domain_shred(g.w.r, &other, &points), -E_NOENT);
    CHECK_EQ(mem_count(g.w.m, ""), 3);
    rig_end(&g);
}

/* Whatever call is the last one: the next shredding ends it, and nothing else is hurt. */
TEST(test_domain__shredding_is_interrupted_anywhere)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b;
    struct repo_rig g;
    struct id16 id;
    bool hit = true;

    a = begin(&g, BACKUP_SHARED, &want);
    for (uint64_t n = 1; hit; n++) {
        char snap[16];
        uint64_t points;

        snprintf(snap, sizeof(snap), "s%llu", (unsigned long long)n);
        b = backed_up(&g, snap, BACKUP_OWN);
        id = domain_of(&g, b.id);
        mem_fault(g.w.m, n, MEM_CLOSED, false);
        (void)domain_shred(g.w.r, &id, &points);
        hit = mem_hit(g.w.m);
        mem_fault(g.w.m, 0, MEM_FAIL, false);
        world_repo(&g.w);
        shredded(&g, &id);
        CHECK_EQ(mem_count(g.w.m, "points/"), 1);
        rig_prune(&g, true);
    }
    rig_sound(&g);
    rig_restores_to(&g, a.id, &want);
    rig_end(&g);
}

/* A key that is lost is another thing than one that was destroyed: nothing is deleted, and it is said. */
TEST(test_domain__a_lost_key_is_damage)
{
    cleanup(buf_free) struct buf want = {0}, lines = {0};
    struct prune_result res;
    struct backup_result a;
    struct id16 id;
    char name[64], hex[ID16_TEXT];
    struct repo_rig g;

    a = begin(&g, BACKUP_OWN, &want);
    id = domain_of(&g, a.id);
    hex_format(id.b, sizeof(id.b), hex);
    snprintf(name, sizeof(name), "domains/%s", hex);
    mem_drop(g.w.m, name);
    CHECK(rig_verified(&g, true, &lines).damages > 0);
    CHECK_ERR(rig_try_prune(&g, true, &res), -E_KEY);
    CHECK_EQ(mem_count(g.w.m, "points/"), 1);
    rig_end(&g);
}

static int stop_and_shred(void *arg, uint64_t items, uint64_t bytes)
{
    struct repo_rig *g = arg;
    struct repo *other;
    const struct domain *d;
    uint64_t points;

    (void)items;
    (void)bytes;
    if (repo_domain_own(g->w.r, &g->b.v->rec.uuid, false, &d) != 0)
        return 0;
    other = rig_elsewhere(g, "elsewhere");
    CHECK_OK(domain_shred(other, &d->id, &points));
    repo_close(other);
    return 0;
}

/* Shredded while a backup into it is at work: that one fails, and leaves nothing that counts. */
TEST(test_domain__a_backup_under_way_notices)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_opts o = {.domain = BACKUP_OWN, .progress = stop_and_shred};
    struct backup_result a, b;
    struct layer_rec rec;
    struct repo_rig g;

    a = begin(&g, BACKUP_SHARED, &want);
    o.arg = &g;
    rec = rig_snapshot(&g, "b");
    CHECK_ERR(backup_run(g.w.r, g.b.v, &rec, &o, &b), -E_SHREDDED);
    CHECK_EQ(mem_count(g.w.m, "points/"), 1);
    world_repo(&g.w);
    CHECK_OK(try_backup(&g, "b", BACKUP_OWN, false, &b));
    rig_restores_to(&g, b.id, &want);
    rig_outlives_prunes(&g, a.id, &want);
    rig_end(&g);
}

/* --- pins, trash ---------------------------------------------------------------------------------------------------- */

static int count_point(void *arg, const struct point *p)
{
    (void)p;
    ++*(unsigned *)arg;
    return 0;
}

TEST(test_domain__pins_hold_it_sealed_and_not_when_it_is_shredded)
{
    cleanup(buf_free) struct buf want = {0}, err = {0};
    struct restore_opts o = {.npaths = 0};
    struct restore_result res;
    struct backup_result a;
    struct pin pin = {.generation = 1, .volume_name = "main", .store = {{1}}, .dir = {{2}}};
    struct repo_rig g;
    struct point p;
    struct id16 id;
    unsigned n = 0;
    char to[400];

    a = begin(&g, BACKUP_OWN, &want);
    CHECK_OK(point_get(g.w.r, a.id, &p));
    id = p.domain;
    CHECK_OK(pin_add(g.w.r, &pin, &p));
    CHECK(memmem(pin.points.data, pin.points.len, "main", 4) == NULL);
    point_release(&p);
    CHECK_OK(pin_put(g.w.r, &pin, false, NULL, NULL));
    rig_point_delete(&g, a.id);
    rig_prune(&g, true);
    world_forget(&g.w);
    CHECK_OK(repo_sync(g.w.r));
    CHECK_OK(pin_point_get(g.w.r, a.id, &p));
    CHECK(memcmp(p.domain.b, id.b, 16) == 0);
    snprintf(to, sizeof(to), "%s/out", test_dir());
    CHECK_OK(restore_run(g.w.r, &p, to, &o, &res, &err));
    point_release(&p);
    shredded(&g, &id);
    CHECK_OK(pin_points(g.w.r, &pin, count_point, &n));
    CHECK_EQ(n, 0);
    rig_prune(&g, true);
    rig_prune(&g, true);
    CHECK_EQ(mem_count(g.w.m, "packs/"), 0);
    rig_sound(&g);
    pin_release(&pin);
    rig_end(&g);
}

TEST(test_domain__what_was_deleted_comes_back_until_it_is_shredded)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a;
    struct repo_rig g;
    struct id16 id;

    a = begin(&g, BACKUP_OWN, &want);
    id = domain_of(&g, a.id);
    CHECK_OK(trash_put(g.w.r, a.id, CONDEMNED_GRACE_NS * 10));
    CHECK_OK(trash_back(g.w.r, a.id));
    rig_restores_to(&g, a.id, &want);
    CHECK_OK(trash_put(g.w.r, a.id, CONDEMNED_GRACE_NS * 10));
    CHECK_EQ(shredded(&g, &id), 1);
    CHECK(trash_back(g.w.r, a.id) < 0);
    mem_later(g.w.m, CONDEMNED_GRACE_NS * 11);
    rig_prune(&g, true);
    rig_prune(&g, true);
    CHECK_EQ(mem_count(g.w.m, "pins/"), 0);
    CHECK_EQ(mem_count(g.w.m, "packs/"), 0);
    rig_end(&g);
}

/* --- elsewhere ------------------------------------------------------------------------------------------------------ */

static struct copy_result copied(struct repo *from, struct repo *to, const char *id)
{
    struct copy_opts o = {0};
    struct copy_result res;
    struct point p;

    CHECK_OK(point_get(from, id, &p));
    CHECK_OK(copy_run(from, to, &p, &o, &res));
    point_release(&p);
    return res;
}

TEST(test_domain__copies_are_in_one_of_their_own)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b, c;
    struct copy_result x, y, z;
    struct repo_rig g;
    struct world o, mine;
    struct id16 id;

    a = begin(&g, BACKUP_SHARED, &want);
    b = backed_up(&g, "b", BACKUP_OWN);
    world_other(&o, "other");
    x = copied(g.w.r, o.r, a.id);
    y = copied(g.w.r, o.r, b.id);
    CHECK(y.new_bytes >= LARGE && !y.base[0]);
    box_fill(&g.b, g.b.v, "large", 1u << 20, 4096, 9);
    c = backed_up(&g, "c", BACKUP_OWN);
    z = copied(g.w.r, o.r, c.id);
    CHECK(strcmp(z.base, y.id) == 0 && z.new_bytes < 65536);
    CHECK(copied(g.w.r, o.r, c.id).same);
    mine = g.w;
    g.w = o;
    id = domain_of(&g, y.id);
    CHECK(is_shared(&g, x.id) && !id16_none(&id));
    rig_sound(&g);
    rig_restores_to(&g, y.id, &want);
    CHECK_EQ(shredded(&g, &id), 2);
    rig_outlives_prunes(&g, x.id, &want);
    o = g.w;
    g.w = mine;
    rig_restores_to(&g, b.id, &want); /* the other repository's end of it is not this one's */
    world_close(&o);
    rig_end(&g);
}

/* A repository that says more than this program knows is refused; one that begins to have domains is gone on with. */
TEST(test_domain__who_has_it_open_learns_that_there_are_some)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b;
    struct repo *other;
    struct repo_rig g;
    struct point p;

    a = begin(&g, BACKUP_SHARED, &want);
    other = rig_elsewhere(&g, "elsewhere");
    b = backed_up(&g, "b", BACKUP_OWN);
    CHECK_OK(point_get(other, b.id, &p));
    point_release(&p);
    CHECK_EQ(other->root.incompat, 0);
    CHECK_OK(repo_may_write(other));
    CHECK_EQ(other->root.incompat, REPO_DOMAINS);
    repo_close(other);
    rig_restores_to(&g, a.id, &want);
    rig_end(&g);
}
