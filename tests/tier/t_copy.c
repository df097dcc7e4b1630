/* Copies of recovery points in other repositories. */
#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/copy.h"
#include "tier/map_use.h"
#include "tier/prune.h"

static struct copy_result copied(struct repo *from, struct repo *to, const char *id)
{
    cleanup(buf_free) struct buf err = {0};
    struct copy_opts o = {0};
    struct copy_result res;
    struct point p;

    CHECK_OK(point_find(from, id, &p, &err));
    CHECK_OK(copy_run(from, to, &p, &o, &res));
    point_release(&p);
    return res;
}

/* In this repository the id restores to that. */
static void there_is(struct repo_rig *g, struct world *o, const char *id, const struct buf *want)
{
    struct repo *mine = g->w.r;

    g->w.r = o->r;
    rig_restores_to(g, id, want);
    g->w.r = mine;
}

static void sound_there(struct repo_rig *g, struct world *o)
{
    struct world mine = g->w;

    g->w = *o;
    rig_sound(g);
    *o = g->w;
    g->w = mine;
}

TEST(test_copy__is_whole_and_the_next_one_costs_what_differs)
{
    cleanup(buf_free) struct buf a = {0}, b = {0};
    struct backup_result x, y;
    struct copy_result res;
    struct repo_rig g;
    struct world o;
    char id[SHA_TEXT];

    rig_begin(&g);
    world_other(&o, "other");
    rig_fill_file(&g, "db", 24u << 20);
    box_text(&g.b, g.b.v, "small", "text");
    rig_picture(&g, &a);
    x = rig_back_up(&g, "a");
    box_fill(&g.b, g.b.v, "db", 5000000, 10, 9);
    box_remove(&g.b, g.b.v, "small");
    rig_picture(&g, &b);
    y = rig_back_up(&g, "b");
    res = copied(g.w.r, o.r, x.id);
    CHECK(!res.base[0] && res.sent_bytes > 23u << 20);
    memcpy(id, res.id, sizeof(id));
    there_is(&g, &o, id, &a);
    CHECK(copied(g.w.r, o.r, x.id).same);
    res = copied(g.w.r, o.r, y.id);
    CHECK(strcmp(res.base, id) == 0);
    CHECK_EQ(res.bytes, 4096);
    CHECK(res.sent_bytes < 32u << 10);
    there_is(&g, &o, res.id, &b);
    there_is(&g, &o, id, &a);
    sound_there(&g, &o);
    world_close(&o);
    rig_end(&g);
}

/* Extents that a later change has cut in two are parts of bytes that the other repository has. */
TEST(test_copy__parts_of_what_is_there_are_not_sent)
{
    cleanup(buf_free) struct buf b = {0};
    struct backup_result y;
    struct copy_result res;
    struct repo_rig g;
    struct world o;

    rig_begin(&g);
    world_other(&o, "other");
    rig_fill_file(&g, "db", 3u << 20);
    copied(g.w.r, o.r, rig_back_up(&g, "a").id);
    box_fill(&g.b, g.b.v, "db", 1000000, 10, 9);
    rig_picture(&g, &b);
    y = rig_back_up(&g, "b");
    CHECK(y.sent_bytes < 40u << 10);
    res = copied(g.w.r, o.r, y.id);
    CHECK(res.base[0] && res.sent_bytes < 40u << 10);
    there_is(&g, &o, res.id, &b);
    sound_there(&g, &o);
    world_close(&o);
    rig_end(&g);
}

/* Back from the copy of a copy: known as what it is. */
TEST(test_copy__a_copy_of_a_copy_is_the_same_recovery_point)
{
    cleanup(buf_free) struct buf a = {0};
    struct backup_result x;
    struct copy_result second, third;
    struct repo_rig g;
    struct world o, p;

    rig_begin(&g);
    world_other(&o, "other");
    world_other(&p, "third");
    rig_fill_file(&g, "f", 3u << 20);
    rig_picture(&g, &a);
    x = rig_back_up(&g, "a");
    second = copied(g.w.r, o.r, x.id);
    third = copied(o.r, p.r, second.id);
    there_is(&g, &p, third.id, &a);
    CHECK(copied(p.r, g.w.r, third.id).same);
    CHECK(copied(g.w.r, p.r, x.id).same);
    world_close(&o);
    world_close(&p);
    rig_end(&g);
}

struct meanwhile {
    struct repo_rig *g;
    struct world *o;
    const char *gone;
    bool done;
};

static void delete_in(struct world *o, const char *id)
{
    struct backend *b = mem_backend(o->m);
    char name[80];

    snprintf(name, sizeof(name), "points/%s", id);
    CHECK_OK(backend_del(b, NULL, name));
    backend_close(b);
}

static int prune_there(void *arg, uint64_t items, uint64_t bytes)
{
    cleanup(buf_free) struct buf err = {0};
    struct prune_opts opts = {.exclusive = true};
    struct meanwhile *m = arg;
    struct prune_result res;
    struct world w = *m->o;

    (void)items;
    if (m->done || bytes == 0)
        return 0;
    m->done = true;
    delete_in(m->o, m->gone);
    w.r = NULL;
    snprintf(w.cache, sizeof(w.cache), "%s/pruner", test_dir());
    world_repo(&w);
    CHECK_OK(prune_run(w.r, &opts, &res, &err));
    CHECK(res.deleted > 0);
    repo_close(w.r);
    return 0;
}

/* What the copy goes on from is deleted and pruned in the middle of it. */
TEST(test_copy__begins_anew_where_what_it_relied_on_is_gone)
{
    cleanup(buf_free) struct buf b = {0}, err = {0};
    struct backup_result x, y;
    struct copy_result first, res;
    struct repo_rig g;
    struct world o;
    struct meanwhile m = {.g = &g, .o = &o};
    struct copy_opts opts = {.arg = &m, .progress = prune_there};
    struct point p;

    rig_begin(&g);
    world_other(&o, "other");
    rig_fill_file(&g, "f", 6u << 20);
    x = rig_back_up(&g, "a");
    box_fill(&g.b, g.b.v, "f", 100000, 5000, 9);
    rig_picture(&g, &b);
    y = rig_back_up(&g, "b");
    first = copied(g.w.r, o.r, x.id);
    m.gone = first.id;
    CHECK_OK(point_find(g.w.r, y.id, &p, &err));
    CHECK_OK(copy_run(g.w.r, o.r, &p, &opts, &res));
    CHECK(m.done);
    point_release(&p);
    sound_there(&g, &o);
    there_is(&g, &o, res.id, &b);
    world_close(&o);
    rig_end(&g);
}

#define POINTS 10
TEST(test_copy__random_trees_arrive)
{
    struct {
        struct buf want;
        char id[SHA_TEXT], there[SHA_TEXT];
    } v[POINTS] = {{.id = ""}};
    uint64_t rng = test_seed();
    struct repo_rig g;
    struct world o;

    rig_begin(&g);
    world_other(&o, "other");
    for (size_t i = 0; i < POINTS; i++) {
        struct backup_result res;
        char name[16];

        box_mess(&g.b, g.b.v, &rng, 1 + (int)(test_rand(&rng) % 60));
        rig_picture(&g, &v[i].want);
        snprintf(name, sizeof(name), "s%zu", i);
        res = rig_back_up(&g, name);
        memcpy(v[i].id, res.id, sizeof(res.id));
    }
    for (size_t i = 0; i < 2 * POINTS; i++) { /* in any order */
        size_t at = test_rand(&rng) % POINTS;
        struct copy_result res = copied(g.w.r, o.r, v[at].id);

        CHECK(res.same == (v[at].there[0] != 0));
        memcpy(v[at].there, res.id, sizeof(res.id));
        there_is(&g, &o, v[at].there, &v[at].want);
        if (test_rand(&rng) % 4 == 0) {
            delete_in(&o, v[at].there);
            v[at].there[0] = 0;
        }
    }
    for (size_t i = 0; i < POINTS; i++) {
        if (v[i].there[0])
            there_is(&g, &o, v[i].there, &v[i].want);
        buf_free(&v[i].want);
    }
    sound_there(&g, &o);
    world_close(&o);
    rig_end(&g);
}

/* A copy that ends at its n-th call, of either side: the other repository is sound, and the next one is whole. */
TEST(test_copy__every_call_may_fail)
{
    static const enum mem_fault kinds[] = {MEM_FAIL, MEM_UNSURE_DONE, MEM_UNSURE_NOT, MEM_CLOSED};
    bool hit = true;

    for (uint64_t n = 1; hit; n++) {
        cleanup(buf_free) struct buf want = {0}, err = {0};
        struct copy_opts opts = {0};
        struct copy_result res;
        struct backup_result x;
        struct repo_rig g;
        struct world o;
        struct point p;
        struct mem *m;
        int r;

        rig_begin(&g);
        world_other(&o, "other");
        rig_fill_file(&g, "f", 2u << 20);
        rig_picture(&g, &want);
        x = rig_back_up(&g, "a");
        CHECK_OK(point_find(g.w.r, x.id, &p, &err));
        m = n % 2 ? o.m : g.w.m;
        mem_fault(m, (n + 1) / 2, kinds[n % ARRAY_LEN(kinds)], false);
        r = copy_run(g.w.r, o.r, &p, &opts, &res);
        hit = mem_hit(m) || n % 2 == 0;
        CHECK(r == 0 || mem_hit(m));
        mem_fault(m, 0, MEM_FAIL, false);
        world_repo(&g.w);
        world_repo(&o);
        CHECK_OK(copy_run(g.w.r, o.r, &p, &opts, &res));
        there_is(&g, &o, res.id, &want);
        sound_there(&g, &o);
        point_release(&p);
        world_close(&o);
        rig_end(&g);
    }
}

/* --- maps that roll --------------------------------------------------------------------------------------------------- */

#define DB_BLOCKS 2048u

static void increments(struct repo_rig *g, uint64_t *rng, int from, int to, struct backup_result *ret)
{
    char name[16];

    for (int i = from; i < to; i++) {
        for (int k = 0; k < 82; k++)
            box_fill(&g->b, g->b.v, "db", test_rand(rng) % DB_BLOCKS * TIER_BLOCK, TIER_BLOCK,
                     test_rand(rng));
        snprintf(name, sizeof(name), "s%d", i);
        *ret = rig_back_up(g, name);
    }
}

static int sum_live(void *arg, const struct map_use *u)
{
    *(uint64_t *)arg += u->live;
    return 0;
}

/* Told of the file's only part: the bytes that the base uses, or nothing. */
static uint64_t told_in_use(struct repo *r, const char *id)
{
    cleanup(buf_free) struct buf err = {0};
    struct map_state s;
    uint64_t sum = 0;
    struct point p;

    CHECK_OK(point_find(r, id, &p, &err));
    CHECK_OK(map_state_get(r, &p.tree, 2, &s));
    CHECK(s.rolling);
    CHECK_OK(map_use_each(r, &p.tree, 2, 0, DB_BLOCKS, sum_live, &sum));
    point_release(&p);
    return sum;
}

/* A copy that goes back to where increments were made: what is told there of chunks is of these, or is counted anew. */
TEST(test_copy__a_map_that_rolls_goes_on_where_it_comes_from)
{
    cleanup(buf_free) struct buf want = {0};
    const uint64_t roll_from = map_roll_from;
    uint64_t rng = test_seed();
    struct backup_result res;
    struct copy_result c;
    struct world o, mine;
    struct repo_rig g;

    map_roll_from = 300;
    rig_begin(&g);
    world_other(&o, "other");
    rig_fill_file(&g, "db", (size_t)DB_BLOCKS * TIER_BLOCK);
    increments(&g, &rng, 0, 40, &res);
    CHECK_EQ(told_in_use(g.w.r, res.id), DB_BLOCKS * TIER_BLOCK);
    c = copied(g.w.r, o.r, res.id);
    CHECK_EQ(told_in_use(o.r, c.id), 0);
    mine = g.w;
    g.w = o;
    increments(&g, &rng, 40, 60, &res);
    CHECK(res.base[0]);
    o = g.w;
    g.w = mine;
    c = copied(o.r, g.w.r, res.id);
    CHECK(c.base[0]);
    CHECK_EQ(told_in_use(g.w.r, c.id), 0);
    increments(&g, &rng, 60, 80, &res);
    CHECK_EQ(told_in_use(g.w.r, res.id), DB_BLOCKS * TIER_BLOCK);
    rig_picture(&g, &want);
    rig_restores_to(&g, res.id, &want);
    map_roll_from = roll_from;
    world_close(&o);
    rig_end(&g);
}
