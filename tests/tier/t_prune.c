/* Deleting: what no recovery point needs is freed, and nothing else, whoever writes meanwhile and whatever fails. */
#include <stdlib.h>

#include "base/hash.h"
#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"
#include "tests/tier/rig.h"
#include "tier/lease.h"
#include "tier/prune.h"

TEST(test_prune__frees_what_no_recovery_point_needs)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b;
    struct prune_result res;
    uint64_t before;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "old", 20u << 20);
    a = rig_back_up(&g, "a");
    box_remove(&g.b, g.b.v, "old");
    box_fill(&g.b, g.b.v, "new", 0, 3u << 20, 99);
    rig_picture(&g, &want);
    b = rig_back_up(&g, "b");
    res = rig_prune(&g, true);
    CHECK_EQ(res.deleted, 0); /* both are needed */
    rig_point_delete(&g, a.id);
    before = mem_bytes(g.w.m, "packs/");
    res = rig_prune(&g, true);
    CHECK(res.deleted > 0);
    CHECK(mem_bytes(g.w.m, "packs/") < before - (19u << 20));
    CHECK_EQ(mem_count(g.w.m, "condemned/"), 0);
    rig_restores_to(&g, b.id, &want);
    rig_sound(&g);
    rig_point_delete(&g, b.id);
    rig_prune(&g, true);
    CHECK_EQ(mem_count(g.w.m, "packs/"), 0);
    CHECK_EQ(mem_count(g.w.m, "index/"), 0);
    rig_end(&g);
}

TEST(test_prune__deletes_only_after_the_grace)
{
    struct backup_result a;
    struct prune_result res;
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "old", 5u << 20);
    a = rig_back_up(&g, "a");
    rig_point_delete(&g, a.id);
    res = rig_prune(&g, false);
    CHECK_EQ(res.condemned, 0); /* a writer at work may have put it just now */
    mem_later(g.w.m, CONDEMNED_GRACE_NS / 2 + 1);
    res = rig_prune(&g, false);
    CHECK(res.condemned > 0);
    CHECK_EQ(res.deleted, 0);
    CHECK_EQ(mem_count(g.w.m, "condemned/"), 1);
    mem_later(g.w.m, CONDEMNED_GRACE_NS - 1000000000);
    res = rig_prune(&g, false);
    CHECK_EQ(res.deleted + res.condemned, 0);
    CHECK_EQ(res.waiting, 1);
    CHECK(res.wait_ns <= 1000000000);
    mem_later(g.w.m, 1000000001);
    res = rig_prune(&g, false);
    CHECK(res.deleted > 0);
    CHECK_EQ(mem_count(g.w.m, "packs/"), 0);
    rig_end(&g);
}

/* Old bytes that are needed again while they are condemned are sent again. */
TEST(test_prune__condemned_packs_count_as_absent)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b;
    struct repo_rig g;

    a = rig_begin_with(&g, 5u << 20, &want);
    rig_point_delete(&g, a.id);
    CHECK(rig_prune_later(&g).condemned > 0);
    b = rig_back_up(&g, "b");
    CHECK(b.sent_bytes > 5u << 20);
    CHECK(rig_prune_later(&g).deleted > 0);
    rig_sound(&g);
    rig_restores_to(&g, b.id, &want);
    rig_end(&g);
}

/* --- a writer and a prune at once ------------------------------------------------------------------------------------ */

struct meanwhile {
    struct repo_rig *g;
    struct repo *other; /* where the prune runs */
    const char *gone;   /* a recovery point that is deleted before it */
    bool sweep, done;
    bool index, resync; /* another process of this machine names what was put so far; looks what is there */
    uint64_t at;        /* after so many bytes */
};

static int name_pending(void *arg, const struct sha *pack, uint64_t size, const void *trailer, size_t len)
{
    return index_add(arg, pack, size, trailer, len);
}

/* As one that something given out lies in. */
static void name_all(struct repo *r)
{
    cleanup(index_release) struct index_new x = {.packs = 0};
    char hex[SHA_TEXT];

    CHECK_OK(have_pending(r->have, name_pending, &x));
    CHECK(x.packs > 0);
    CHECK_OK(index_put(r, &x, hex));
    CHECK_OK(have_indexed(r->have, hex, x.plain.data, x.plain.len));
}

/* What another process does with this machine's knowledge of the repository. */
static struct repo *same_machine(struct repo_rig *g)
{
    struct world w = g->w;

    w.r = NULL;
    world_repo(&w);
    CHECK_OK(repo_sync(w.r));
    return w.r;
}

static int in_the_middle(void *arg, uint64_t items, uint64_t bytes)
{
    cleanup(buf_free) struct buf err = {0};
    struct meanwhile *m = arg;
    struct prune_opts o = {0};
    struct prune_result res;
    struct repo *r;

    (void)items;
    if (m->done || bytes < m->at)
        return 0;
    m->done = true;
    if (m->gone)
        rig_point_delete(m->g, m->gone);
    if (m->index) {
        name_all(r = same_machine(m->g));
        repo_close(r);
    }
    rig_wait_grace(m->g);
    CHECK_OK(prune_run(m->other, &o, &res, &err));
    if (m->sweep) {
        rig_wait_grace(m->g);
        CHECK_OK(prune_run(m->other, &o, &res, &err));
        CHECK(res.deleted > 0);
    } else {
        CHECK(res.condemned > 0);
    }
    if (m->resync)
        repo_close(same_machine(m->g));
    return 0;
}

/* The first recovery point, which the second one shares everything with, is deleted and pruned while that one is made. */
static void while_writing(bool sweep, bool full, uint64_t at, bool resync)
{
    cleanup(buf_free) struct buf want = {0};
    struct meanwhile m = {.sweep = sweep, .at = at, .resync = resync};
    struct backup_opts o = {.full = full, .arg = &m, .progress = in_the_middle};
    struct backup_result a, b;
    struct layer_rec rec;
    struct repo_rig g;

    a = rig_begin_with(&g, 24u << 20, NULL);
    rig_fill_file(&g, "g", 2u << 20);
    rig_picture(&g, &want);
    rec = rig_snapshot(&g, "b");
    m.g = &g;
    m.gone = a.id;
    m.other = rig_elsewhere(&g, "other");
    CHECK_OK(backup_run(g.w.r, g.b.v, &rec, &o, &b));
    CHECK(m.done);
    rig_outlives_prunes(&g, b.id, &want);
    repo_close(m.other);
    rig_end(&g);
}

TEST(test_prune__what_a_writer_relies_on_is_condemned_meanwhile)
{
    while_writing(false, true, 20u << 20, false);
}
TEST(test_prune__what_a_writer_relies_on_is_deleted_meanwhile)
{
    while_writing(true, true, 20u << 20, false);
}
TEST(test_prune__what_a_writer_relies_on_is_deleted_and_this_machine_has_looked)
{
    while_writing(true, true, 20u << 20, true);
    while_writing(true, false, 1, true);
}
TEST(test_prune__what_a_writer_goes_on_from_is_condemned_meanwhile)
{
    while_writing(false, false, 1, false);
}
TEST(test_prune__what_a_writer_goes_on_from_is_deleted_meanwhile)
{
    while_writing(true, false, 1, false);
}

/* Each time that the writer begins, a recovery point that alone keeps some of what it relies on is deleted, and pruned. */
#define KEEPERS 5u
struct stubborn {
    struct repo_rig *g;
    struct repo *other;
    char point[KEEPERS][SHA_TEXT];
    unsigned left;
    bool armed;
};

static int each_time(void *arg, uint64_t items, uint64_t bytes)
{
    cleanup(buf_free) struct buf err = {0};
    struct stubborn *s = arg;
    struct prune_opts o = {0};
    struct prune_result res;

    (void)items;
    if (bytes < 4u << 20)
        s->armed = true;
    if (bytes < 4u << 20 || !s->armed || s->left == 0)
        return 0;
    s->armed = false;
    rig_point_delete(s->g, s->point[--s->left]);
    rig_wait_grace(s->g);
    CHECK_OK(prune_run(s->other, &o, &res, &err));
    return 0;
}

TEST(test_prune__a_writer_does_not_give_up_soon)
{
    cleanup(buf_free) struct buf want = {0};
    struct repo_rig g;
    struct stubborn s = {.g = &g, .left = KEEPERS};
    struct backup_opts o = {.arg = &s, .progress = each_time};
    struct backup_result res;
    struct layer_rec rec;

    rig_begin(&g);
    for (unsigned i = 0; i < 2 * KEEPERS; i++) {
        char name[8];

        snprintf(name, sizeof(name), "f%u", i % KEEPERS);
        box_fill(&g.b, g.b.v, name, 0, 2u << 20, i % KEEPERS + 1);
        if (i >= KEEPERS)
            continue;
        res = rig_back_up(&g, name);
        memcpy(s.point[i], res.id, sizeof(s.point[i]));
        box_remove(&g.b, g.b.v, name);
    }
    rig_picture(&g, &want);
    rec = rig_snapshot(&g, "last");
    s.other = rig_elsewhere(&g, "other");
    CHECK_OK(backup_run(g.w.r, g.b.v, &rec, &o, &res));
    CHECK_EQ(s.left, 0);
    rig_outlives_prunes(&g, res.id, &want);
    repo_close(s.other);
    rig_end(&g);
}

/* Packs of a backup that takes longer than the grace, which no index names yet, or another writer's. */
static void long_backup(bool index)
{
    cleanup(buf_free) struct buf want = {0};
    struct repo_rig g;
    struct meanwhile m = {.g = &g, .sweep = true, .at = 40u << 20, .index = index, .resync = index};
    struct backup_opts o = {.arg = &m, .progress = in_the_middle};
    struct backup_result b;
    struct layer_rec rec;

    rig_begin(&g);
    rig_fill_file(&g, "f", 48u << 20);
    rig_picture(&g, &want);
    rec = rig_snapshot(&g, "b");
    m.other = rig_elsewhere(&g, "other");
    mem_later(g.w.m, 1);
    CHECK_OK(backup_run(g.w.r, g.b.v, &rec, &o, &b));
    CHECK(m.done);
    rig_sound(&g);
    rig_restores_to(&g, b.id, &want);
    repo_close(m.other);
    rig_end(&g);
}

TEST(test_prune__packs_of_a_long_backup_are_put_again)
{
    long_backup(false);
}
TEST(test_prune__packs_of_a_long_backup_that_another_writer_named_are_put_again)
{
    long_backup(true);
}

/* Another backup of this machine ends, and a prune comes a while later. */
static int another_ends(void *arg, uint64_t items, uint64_t bytes)
{
    cleanup(buf_free) struct buf err = {0};
    struct meanwhile *m = arg;
    struct prune_opts o = {.grace_ns = PRUNE_GRACE_NS};
    struct prune_result res;
    struct packer *p;
    struct slice s;
    struct repo *r;

    (void)items;
    if (m->done || bytes < m->at)
        return 0;
    m->done = true;
    r = same_machine(m->g);
    CHECK_OK(packer_new(r, NULL, &p));
    CHECK_OK(packer_blob(p, CHUNK_DATA, "another's", 9, &s));
    CHECK_OK(packer_index(p));
    packer_free(p);
    repo_close(r);
    mem_later(m->g->w.m, CONDEMNED_GRACE_NS / 2 + 1);
    CHECK_OK(prune_run(m->other, &o, &res, &err));
    return 0;
}

TEST(test_prune__packs_of_a_backup_stay_while_another_of_this_machine_ends)
{
    struct repo_rig g;
    struct meanwhile m = {.g = &g, .at = 40u << 20};
    struct backup_opts o = {.arg = &m, .progress = another_ends};
    struct backup_result b;
    struct layer_rec rec;

    rig_begin(&g);
    rig_fill_file(&g, "f", 48u << 20);
    rec = rig_snapshot(&g, "b");
    m.other = rig_elsewhere(&g, "other");
    CHECK_OK(backup_run(g.w.r, g.b.v, &rec, &o, &b));
    CHECK(m.done);
    CHECK(b.sent_bytes < 52u << 20); /* nothing twice */
    rig_sound(&g);
    repo_close(m.other);
    rig_end(&g);
}

/* Nobody asks for them again and again, then. */
TEST(test_prune__packs_that_were_left_behind_are_named_a_day_later)
{
    struct rig_stopping stop = {.after = 20u << 20};
    struct backup_opts o = {.arg = &stop, .progress = rig_stop_after};
    struct index_new x = {.packs = 0};
    struct backup_result b;
    struct layer_rec rec;
    struct repo_rig g;

    rig_begin(&g);
    box_text(&g.b, g.b.v, "t", "text");
    rig_snapshot(&g, "t");
    rig_fill_file(&g, "f", 48u << 20);
    rec = rig_snapshot(&g, "b");
    CHECK_ERR(backup_run(g.w.r, g.b.v, &rec, &o, &b), -E_CANCELED);
    CHECK_OK(have_pending(g.w.r->have, name_pending, &x));
    CHECK(x.packs > 0);
    index_release(&x);
    mem_later(g.w.m, PRUNE_GRACE_NS + 1);
    CHECK_OK(rig_try_backup(&g, "t", false, &b));
    CHECK_OK(have_pending(g.w.r->have, name_pending, &x));
    CHECK_EQ(x.packs, 0);
    index_release(&x);
    rig_end(&g);
}

/* A page that cannot be read hides what it refers to. */
TEST(test_prune__nothing_is_deleted_where_a_page_cannot_be_read)
{
    struct backup_result a;
    struct prune_result res;
    char pack[BACKEND_NAME_MAX + 1], name[16];
    struct repo_rig g;
    uint64_t packs;

    rig_begin(&g);
    for (unsigned i = 0; i < 1500; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        box_text(&g.b, g.b.v, name, name);
    }
    a = rig_back_up(&g, "a");
    CHECK_EQ(mem_count(g.w.m, "packs/"), 1);
    snprintf(pack, sizeof(pack), "%s", mem_name(g.w.m, "packs/", 0));
    box_text(&g.b, g.b.v, "f0", "another"); /* the pages on the way to it are new, in another pack */
    rig_back_up(&g, "b");
    rig_point_delete(&g, a.id);
    rig_wait_grace(&g);
    for (size_t at = 100; at < mem_bytes(g.w.m, pack); at += 2000)
        mem_flip(g.w.m, pack, at);
    packs = mem_bytes(g.w.m, "packs/");
    world_forget(&g.w);
    CHECK_ERR(rig_try_prune(&g, true, &res), -E_CORRUPT);
    CHECK_EQ(mem_bytes(g.w.m, "packs/"), packs);
    rig_end(&g);
}

/* A hundred increments with a list about: none of them reads everything. */
TEST(test_prune__a_list_does_not_stop_increments)
{
    struct backup_result res;
    struct repo_rig g;

    res = rig_begin_with(&g, 3u << 20, NULL);
    rig_fill_file(&g, "g", 8u << 20);
    rig_back_up(&g, "b");
    rig_point_delete(&g, res.id);
    rig_fill_file(&g, "f", 1u << 20);
    rig_prune_later(&g);
    for (unsigned i = 0; i < 10; i++) {
        char name[16];

        snprintf(name, sizeof(name), "c%u", i);
        box_fill(&g.b, g.b.v, "g", 4096 * i, 10, i);
        res = rig_back_up(&g, name);
        CHECK(res.base[0]);
        CHECK(res.read_bytes <= 4u << 20);
        if (i == 4)
            rig_prune_later(&g);
    }
    rig_sound(&g);
    rig_end(&g);
}

/* --- what is mostly unneeded, or small ------------------------------------------------------------------------------ */

TEST(test_prune__a_mostly_unneeded_pack_is_written_anew)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result a, b;
    struct prune_result res;
    char name[16];
    struct repo_rig g;

    rig_begin(&g);
    for (unsigned i = 0; i < 15; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        box_fill(&g.b, g.b.v, name, 0, 1u << 20, 100 + i);
    }
    a = rig_back_up(&g, "a");
    for (unsigned i = 0; i < 12; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        box_remove(&g.b, g.b.v, name);
    }
    rig_picture(&g, &want);
    b = rig_back_up(&g, "b");
    rig_point_delete(&g, a.id);
    res = rig_prune_later(&g);
    CHECK(res.moved >= 1);
    CHECK(res.moved_bytes > 2u << 20 && res.moved_bytes < 5u << 20);
    rig_sound(&g);
    CHECK(rig_prune_later(&g).deleted >= 1);
    CHECK(mem_bytes(g.w.m, "packs/") < 5u << 20);
    rig_sound(&g);
    rig_restores_to(&g, b.id, &want);
    rig_end(&g);
}

/* Two recovery points of which one goes, so that there is something to move, to condemn and to delete; besides: what else is removed. */
static struct backup_result something_to_do(struct repo_rig *g, struct buf *want, const char *besides)
{
    struct backup_result a, b;
    char name[16];

    for (unsigned i = 0; i < 8; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        box_fill(&g->b, g->b.v, name, 0, 1u << 20, 100 + i);
    }
    a = rig_back_up(g, "a");
    for (unsigned i = 0; i < 6; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        box_remove(&g->b, g->b.v, name);
    }
    if (besides && box_there(g->b.v, box_root(g->b.v), besides))
        box_remove(&g->b, g->b.v, besides);
    rig_picture(g, want);
    b = rig_back_up(g, "b");
    rig_point_delete(g, a.id);
    rig_wait_grace(g);
    return b;
}

struct reading {
    struct repo_rig *g;
    struct repo *other;
    bool done;
    uint64_t items, bytes; /* when so much was told */
};

static int prune_twice(void *arg, uint64_t items, uint64_t bytes)
{
    cleanup(buf_free) struct buf err = {0};
    struct reading *m = arg;
    struct prune_opts o = {0};
    struct prune_result res = {0};

    if (m->done || items < m->items || bytes < m->bytes)
        return 0;
    m->done = true;
    for (unsigned i = 0; i < 2; i++) {
        rig_wait_grace(m->g);
        CHECK_OK(prune_run(m->other, &o, &res, &err));
    }
    CHECK(res.deleted > 0);
    return 0;
}

/* What is read is put elsewhere, and deleted where it was, before the reader is through. */
TEST(test_prune__whoever_reads_finds_what_was_moved)
{
    cleanup(buf_free) struct buf want = {0}, have = {0}, err = {0};
    struct repo_rig g;
    struct reading m = {.g = &g, .bytes = 1};
    struct restore_opts o = {.arg = &m, .progress = prune_twice};
    struct restore_result res;
    struct backup_result b;
    struct point p;
    char to[400];

    rig_begin(&g);
    b = something_to_do(&g, &want, NULL);
    m.other = rig_elsewhere(&g, "other");
    snprintf(to, sizeof(to), "%s/out", test_dir());
    CHECK_OK(point_find(g.w.r, b.id, &p, &err));
    CHECK_OK(restore_run(g.w.r, &p, to, &o, &res, &err));
    CHECK(m.done);
    CHECK_EQ(res.hurt, 0);
    rig_dir_picture(to, true, &have);
    CHECK(box_same(&want, &have));
    point_release(&p);
    repo_close(m.other);
    rig_end(&g);
}

static void found_none(void *arg, const char *line)
{
    (void)arg;
    test_fail(__FILE__, __LINE__, "%s", line);
}

/* At any moment of verifying; in the middle of an index, too. */
TEST(test_prune__what_is_moved_meanwhile_is_no_damage)
{
    bool more = true;

    for (uint64_t n = 1; more; n++) {
        cleanup(buf_free) struct buf want = {0};
        struct repo_rig g;
        struct reading m = {.g = &g, .items = n};
        struct verify_opts o = {.full = n % 2 == 0, .arg = &m, .progress = prune_twice, .found = found_none};
        struct verify_result res;

        rig_begin(&g);
        if (n < 3)
            rig_fill_file(&g, "large", 18u << 20); /* two packs in one index, and both go */
        something_to_do(&g, &want, "large");
        m.other = rig_elsewhere(&g, "other");
        world_forget(&g.w);
        CHECK_OK(verify_run(g.w.r, &o, &res));
        CHECK_EQ(res.damages, 0);
        more = m.done;
        repo_close(m.other);
        rig_end(&g);
    }
}

TEST(test_prune__many_small_packs_become_few)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result b = {.id = ""};
    struct repo_rig g;
    size_t before;

    rig_begin(&g);
    for (unsigned i = 0; i < 24; i++) {
        char name[16];

        snprintf(name, sizeof(name), "s%u", i);
        box_fill(&g.b, g.b.v, "f", 8192 * i, 8192, i);
        b = rig_back_up(&g, name);
    }
    rig_picture(&g, &want);
    before = mem_count(g.w.m, "packs/");
    rig_prune(&g, true);
    CHECK(before >= 24);
    CHECK(mem_count(g.w.m, "packs/") <= 2);
    rig_restores_to(&g, b.id, &want);
    rig_sound(&g);
    rig_end(&g);
}

static int count_listed(void *arg, const char *name, const struct backend_stat *st, const struct buf *packs)
{
    (void)name;
    (void)st;
    *(size_t *)arg += packs->len / sizeof(struct sha);
    return 0;
}

/* More than fit in one list, as of a repository of tens of terabytes that nobody needs any more. */
TEST(test_prune__millions_of_packs_are_condemned_at_once)
{
    cleanup(buf_free) struct buf packs = {0}, points = {0};
    size_t n = CHUNK_PLAIN_MAX / sizeof(struct sha) + 1, listed = 0;
    struct world w;

    world_open(&w);
    CHECK_OK(buf_add_zero(&packs, n * sizeof(struct sha)));
    CHECK_OK(buf_add_zero(&points, 3 * sizeof(struct sha)));
    CHECK_OK(condemned_put(w.r, &packs, &points));
    CHECK_OK(condemned_each(w.r, count_listed, &listed));
    CHECK_EQ(listed, n);
    world_close(&w);
    tree_remove(w.cache);
}

/* --- trouble -------------------------------------------------------------------------------------------------------- */

static void break_at(uint64_t n, enum mem_fault what, bool exclusive, bool *ret_hit)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result b;
    struct prune_result res;
    struct repo_rig g;
    int r;

    rig_begin(&g);
    b = something_to_do(&g, &want, NULL);
    if (!exclusive) {
        rig_prune(&g, false);
        rig_wait_grace(&g);
    }
    mem_fault(g.w.m, n, what, false);
    r = rig_try_prune(&g, exclusive, &res);
    *ret_hit = mem_hit(g.w.m);
    CHECK(r == 0 || *ret_hit);
    mem_fault(g.w.m, 0, what, false);
    world_repo(&g.w);
    rig_restores_to(&g, b.id, &want);
    rig_sound(&g);
    mem_later(g.w.m, LEASE_NS); /* what a dead one holds */
    rig_prune(&g, exclusive);
    CHECK(mem_bytes(g.w.m, "packs/") < 6u << 20);
    rig_restores_to(&g, b.id, &want);
    rig_sound(&g);
    rig_end(&g);
}

TEST(test_prune__every_call_may_fail)
{
    static const enum mem_fault kinds[] = {MEM_FAIL, MEM_UNSURE_DONE, MEM_UNSURE_NOT, MEM_CLOSED};
    bool hit = true;

    for (uint64_t n = 1; hit; n++)
        break_at(n, kinds[n % ARRAY_LEN(kinds)], true, &hit);
    hit = true;
    for (uint64_t n = 1; hit; n++)
        break_at(n, kinds[(n + 1) % ARRAY_LEN(kinds)], false, &hit);
}

/* --- what is damaged ------------------------------------------------------------------------------------------------- */

static struct verify_result verified_and_condemned(struct repo_rig *g)
{
    struct verify_opts o = {.full = true, .condemn = true};
    struct verify_result res;

    world_forget(&g->w);
    CHECK_OK(verify_run(g->w.r, &o, &res));
    CHECK(res.damages > 0);
    return res;
}

/* Its bytes are sent again, by which all that is backed up from then on is whole; whatever prunes there are meanwhile. */
TEST(test_prune__damaged_packs_are_relied_on_no_more)
{
    cleanup(buf_free) struct buf want = {0}, then = {0};
    struct backup_result a, b, c;
    struct repo_rig g;

    a = rig_begin_with(&g, 5u << 20, &want);
    mem_flip(g.w.m, mem_name(g.w.m, "packs/", 0), 1u << 20);
    CHECK_EQ(verified_and_condemned(&g).condemned, 1);
    CHECK_EQ(verified_and_condemned(&g).condemned, 0); /* it is already */
    b = rig_back_up(&g, "b");
    CHECK(!b.base[0] && b.sent_bytes > 4u << 20);
    rig_restores_to(&g, b.id, &want);
    CHECK(rig_prune_later(&g).rescued > 0); /* the old recovery point has nothing better */
    CHECK_EQ(mem_count(g.w.m, "condemned/"), 1);
    box_remove(&g.b, g.b.v, "f");
    rig_fill_file(&g, "f", 5u << 20);
    rig_picture(&g, &then);
    world_forget(&g.w);
    c = rig_back_up(&g, "c");
    CHECK(strcmp(c.base, b.id) == 0);
    rig_restores_to(&g, c.id, &then);
    rig_point_delete(&g, a.id);
    rig_prune_later(&g);
    CHECK_EQ(mem_count(g.w.m, "condemned/"), 0);
    rig_sound(&g);
    rig_restores_to(&g, b.id, &want);
    rig_end(&g);
}

/* --- what may not be deleted (a lock on objects, append only) -------------------------------------------------------- */

TEST(test_prune__what_may_not_be_deleted_is_counted_and_goes_later)
{
    static const char *const what[] = {"", "index/", "packs/", "condemned/"};

    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        cleanup(buf_free) struct buf want = {0};
        struct backup_result b;
        struct prune_result res;
        struct repo_rig g;
        size_t all;

        rig_begin(&g);
        b = something_to_do(&g, &want, NULL);
        mem_refuse(g.w.m, what[i]);
        res = rig_prune(&g, true);
        CHECK(res.refused > 0 && strstr(res.refused_why, what[i]));
        CHECK((res.stuck_bytes > 5u << 20) == (i < 3));
        all = mem_count(g.w.m, "");
        for (unsigned n = 0; n < 3; n++) { /* nothing is left to be done: nothing is put */
            res = rig_prune(&g, n == 1);
            CHECK_EQ(res.refused > 0, n == 1);
            CHECK_EQ(mem_count(g.w.m, ""), all);
        }
        rig_sound(&g);
        mem_refuse(g.w.m, NULL);
        res = rig_prune(&g, true);
        CHECK(res.refused == 0 && res.stuck == 0 && !res.refused_why[0]);
        CHECK(mem_bytes(g.w.m, "packs/") < 6u << 20);
        CHECK_EQ(mem_count(g.w.m, "condemned/"), 0);
        CHECK_EQ(mem_count(g.w.m, "index/"), i == 0 || i == 1 ? 2 : mem_count(g.w.m, "index/"));
        rig_restores_to(&g, b.id, &want);
        rig_sound(&g);
        rig_end(&g);
    }
}

/* Files whose backups each have an index. */
static void files_singly(struct repo_rig *g, unsigned n, char ids[][SHA_TEXT])
{
    char name[32];

    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "f%u-%u", n, i);
        box_fill(&g->b, g->b.v, name, 0, 3u << 20, 100 * n + i);
        memcpy(ids[i], rig_back_up(g, name).id, SHA_TEXT);
        box_remove(&g->b, g->b.v, name);
    }
}

TEST(test_prune__one_that_may_not_be_deleted_stops_no_other)
{
    struct prune_result res;
    char ids[4][SHA_TEXT], first[SHA_TEXT], name[BACKEND_NAME_MAX + 1];
    struct repo_rig g;

    rig_begin(&g);
    files_singly(&g, 1, ids);
    memcpy(first, ids[0], sizeof(first));
    snprintf(name, sizeof(name), "%s", mem_name(g.w.m, "index/", 0));
    files_singly(&g, 4, ids);
    mem_refuse(g.w.m, name);
    rig_point_delete(&g, first);
    for (unsigned i = 0; i < 3; i++)
        rig_point_delete(&g, ids[i]);
    res = rig_prune(&g, true);
    CHECK(res.refused == 1 && res.stuck == 1);
    CHECK(mem_bytes(g.w.m, "packs/") < 7u << 20); /* of 15 MiB */
    rig_sound(&g);
    mem_refuse(g.w.m, NULL);
    rig_prune(&g, true);
    CHECK(mem_bytes(g.w.m, "packs/") < 4u << 20);
    rig_end(&g);
}

struct joining {
    struct repo *r;
    struct index_new all;
    struct buf names;
};

static int join_one(void *arg, const char *name, const struct backend_stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    struct joining *j = arg;

    (void)st;
    CHECK_OK(repo_object(j->r, name, CHUNK_INDEX, &b));
    CHECK_OK(index_walk(b.data, b.len, name_pending, &j->all));
    return buf_add(&j->names, name, strlen(name) + 1);
}

/* One that names all takes the place of all others. */
static void indexes_join(struct repo_rig *g)
{
    struct joining j = {.r = g->w.r};
    char hex[SHA_TEXT];

    CHECK_OK(backend_list(j.r->b, NULL, "index/", "", join_one, &j));
    CHECK_OK(index_put(j.r, &j.all, hex));
    for (size_t at = 0; at < j.names.len; at += strlen((char *)j.names.data + at) + 1)
        CHECK_OK(backend_del(j.r->b, NULL, (char *)j.names.data + at));
    index_release(&j.all);
    buf_free(&j.names);
    world_forget(&g->w);
}

/* Each time something else is needed no more. */
static void never_deletes(bool one_index)
{
    char ids[12][SHA_TEXT];
    struct prune_result res;
    struct repo_rig g;
    size_t indexes;

    rig_begin(&g);
    files_singly(&g, 12, ids);
    if (one_index)
        indexes_join(&g);
    indexes = mem_count(g.w.m, "index/");
    for (unsigned i = 0; i + 1 < 12; i++) {
        mem_refuse(g.w.m, NULL);
        rig_point_delete(&g, ids[i]);
        mem_refuse(g.w.m, "");
        res = rig_prune(&g, true);
        CHECK(res.refused > 0);
    }
    CHECK(mem_count(g.w.m, "index/") <= indexes + 3);
    rig_sound(&g);
    mem_refuse(g.w.m, NULL);
    rig_prune(&g, true);
    CHECK(mem_bytes(g.w.m, "packs/") < 4u << 20);
    rig_sound(&g);
    rig_end(&g);
}

TEST(test_prune__a_store_that_deletes_nothing_gets_few_indexes)
{
    never_deletes(false);
    never_deletes(true);
}

/* What cannot be read may be needed. */
TEST(test_prune__nothing_is_deleted_where_something_cannot_be_read)
{
    static const char *const what[] = {"points/", "index/"};
    cleanup(buf_free) struct buf want = {0};
    struct prune_result res;
    struct backend *b;
    struct repo_rig g;
    uint64_t packs;

    rig_begin(&g);
    something_to_do(&g, &want, NULL);
    packs = mem_bytes(g.w.m, "packs/");
    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        mem_flip(g.w.m, mem_name(g.w.m, what[i], 0), 90);
        world_forget(&g.w);
        CHECK_ERR(rig_try_prune(&g, true, &res), -E_CORRUPT);
        mem_flip(g.w.m, mem_name(g.w.m, what[i], 0), 90);
    }
    b = mem_backend(g.w.m);
    CHECK_OK(backend_put(b, NULL, "pins/x", "x", 1));
    world_forget(&g.w);
    CHECK_ERR(rig_try_prune(&g, true, &res), -E_REPO_NEWER);
    CHECK_OK(backend_del(b, NULL, "pins/x"));
    backend_close(b);
    CHECK_EQ(mem_bytes(g.w.m, "packs/"), packs);
    rig_prune(&g, true);
    CHECK(mem_bytes(g.w.m, "packs/") < packs);
    rig_end(&g);
}

TEST(test_prune__a_dry_run_changes_nothing)
{
    cleanup(buf_free) struct buf want = {0}, err = {0};
    struct prune_opts o = {.dry = true, .exclusive = true};
    struct prune_result res;
    uint64_t bytes;
    struct repo_rig g;

    rig_begin(&g);
    something_to_do(&g, &want, NULL);
    bytes = mem_bytes(g.w.m, "");
    CHECK_OK(prune_run(g.w.r, &o, &res, &err));
    CHECK(res.condemned > 0);
    CHECK_EQ(mem_bytes(g.w.m, ""), bytes);
    rig_end(&g);
}

/* --- at random ------------------------------------------------------------------------------------------------------ */

#define POINTS 12
struct life {
    struct repo_rig g;
    struct {
        struct buf want;
        char id[SHA_TEXT];
    } v[POINTS]; /* id "": free */
    struct repo *second;
    uint64_t rng, n;
};

static void step_backup(struct life *l)
{
    size_t at = test_rand(&l->rng) % POINTS;
    struct repo *mine = l->g.w.r;
    struct backup_result res;
    char name[24];

    if (l->v[at].id[0])
        rig_point_delete(&l->g, l->v[at].id);
    box_mess(&l->g.b, l->g.b.v, &l->rng, 1 + (int)(test_rand(&l->rng) % 20));
    buf_reset(&l->v[at].want);
    rig_picture(&l->g, &l->v[at].want);
    snprintf(name, sizeof(name), "s%llu", (unsigned long long)l->n++);
    rig_snapshot(&l->g, name);
    if (test_rand(&l->rng) % 3 == 0)
        l->g.w.r = l->second;
    CHECK_OK(rig_try_backup(&l->g, name, test_rand(&l->rng) % 8 == 0, &res));
    l->g.w.r = mine;
    memcpy(l->v[at].id, res.id, sizeof(res.id));
}

static void step(struct life *l)
{
    size_t at = test_rand(&l->rng) % POINTS;

    switch (test_rand(&l->rng) % 8) {
    case 0:
    case 1: rig_prune(&l->g, test_rand(&l->rng) % 4 == 0); break;
    case 2: mem_later(l->g.w.m, (int64_t)(test_rand(&l->rng) % (2 * (uint64_t)CONDEMNED_GRACE_NS))); break;
    case 3:
        if (l->v[at].id[0])
            rig_point_delete(&l->g, l->v[at].id);
        l->v[at].id[0] = 0;
        break;
    case 4:
        if (l->v[at].id[0])
            rig_restores_to(&l->g, l->v[at].id, &l->v[at].want);
        break;
    default: step_backup(l);
    }
}

TEST(test_prune__random_backups_and_deletions)
{
    struct life l = {.rng = test_seed()};

    rig_begin(&l.g);
    l.second = rig_elsewhere(&l.g, "second");
    for (unsigned i = 0; i < 120; i++)
        step(&l);
    for (size_t i = 0; i < POINTS; i++) {
        if (l.v[i].id[0])
            rig_restores_to(&l.g, l.v[i].id, &l.v[i].want);
        buf_free(&l.v[i].want);
    }
    rig_sound(&l.g);
    repo_close(l.second);
    rig_end(&l.g);
}
