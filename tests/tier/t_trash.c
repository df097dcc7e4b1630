/* Recovery points that go by a rule, and can be had back for a while. */
#include "tier/trash.h"

#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/expire.h"

#define DAY_NS (24 * 3600 * (int64_t)1000000000)

static int count(void *arg, const struct point *p, int64_t until_ns)
{
    (void)p;
    CHECK(until_ns > 0);
    ++*(unsigned *)arg;
    return 0;
}

static unsigned in_trash(struct repo_rig *g)
{
    unsigned n = 0;

    CHECK_OK(trash_each(g->w.r, count, &n));
    return n;
}

TEST(test_trash__it_is_had_back_as_it_was_after_any_prune)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result up;
    struct repo_rig g;

    up = rig_begin_with(&g, 3000000, &want);
    rig_fill_file(&g, "g", 1000);
    rig_back_up(&g, "b");
    CHECK_OK(trash_put(g.w.r, up.id, 400 * DAY_NS));
    CHECK_ERR(trash_put(g.w.r, up.id, 400 * DAY_NS), -E_NOENT);
    CHECK_EQ(in_trash(&g), 1);
    CHECK_EQ(mem_count(g.w.m, "points/"), 1);
    rig_prune(&g, false);
    rig_prune_later(&g);
    rig_prune(&g, true);
    CHECK_OK(trash_back(g.w.r, up.id));
    CHECK_EQ(mem_count(g.w.m, "points/"), 2);
    CHECK_EQ(mem_count(g.w.m, "trash/"), 0);
    CHECK_EQ(mem_count(g.w.m, "pins/"), 0);
    CHECK_ERR(trash_back(g.w.r, up.id), -E_NOENT);
    rig_restores_to(&g, up.id, &want);
    rig_sound(&g);
    rig_end(&g);
}

/* Alone in its repository, so that nothing else holds what it needs. */
TEST(test_trash__a_pin_holds_what_it_needs)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result up;
    struct repo_rig g;

    up = rig_begin_with(&g, 3000000, &want);
    CHECK_OK(trash_put(g.w.r, up.id, 400 * DAY_NS));
    rig_prune(&g, true);
    CHECK_OK(trash_back(g.w.r, up.id));
    rig_restores_to(&g, up.id, &want);
    rig_end(&g);
}

struct back {
    struct repo *other;
    const char *id;
    bool done;
};

static int has_it_back(void *arg, const char *what, uint64_t done, uint64_t of)
{
    struct back *m = arg;

    (void)what;
    (void)done;
    (void)of;
    if (!m->done)
        CHECK_OK(trash_back(m->other, m->id));
    m->done = true;
    return 0;
}

/* It comes back after the recovery points were listed, and its pin goes before the pins are. */
TEST(test_trash__it_is_had_back_while_a_prune_looks)
{
    cleanup(buf_free) struct buf want = {0}, err = {0};
    struct back m = {.done = false};
    struct prune_opts o = {.exclusive = true, .arg = &m, .progress = has_it_back};
    struct backup_result up;
    struct prune_result res;
    struct repo_rig g;

    up = rig_begin_with(&g, 3000000, &want);
    box_fill(&g.b, g.b.v, "f", 0, 3000000, 9);
    rig_back_up(&g, "b");
    CHECK_OK(trash_put(g.w.r, up.id, 400 * DAY_NS));
    m.other = rig_elsewhere(&g, "other");
    m.id = up.id;
    CHECK_OK(prune_run(g.w.r, &o, &res, &err));
    CHECK(m.done);
    CHECK_EQ(res.points, 2);
    rig_restores_to(&g, up.id, &want);
    rig_sound(&g);
    repo_close(m.other);
    rig_end(&g);
}

TEST(test_trash__when_the_time_is_over_a_prune_forgets_it)
{
    struct prune_result res;
    struct backup_result up;
    struct repo_rig g;

    up = rig_begin_with(&g, 3000000, NULL);
    CHECK_OK(trash_put(g.w.r, up.id, 1));
    rig_wait_grace(&g);
    CHECK_OK(rig_try_prune(&g, true, &res));
    CHECK_EQ(res.forgotten, 1);
    CHECK_EQ(in_trash(&g), 0);
    CHECK_EQ(mem_count(g.w.m, "trash/") + mem_count(g.w.m, "pins/") + mem_count(g.w.m, "packs/"), 0);
    CHECK_ERR(trash_back(g.w.r, up.id), -E_NOENT);
    rig_end(&g);
}

TEST(test_trash__twice_and_without_a_time)
{
    struct backup_result up;
    struct repo_rig g;

    up = rig_begin_with(&g, 100000, NULL);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(trash_put(g.w.r, up.id, 400 * DAY_NS));
        CHECK_OK(trash_back(g.w.r, up.id));
    }
    CHECK_OK(trash_put(g.w.r, up.id, 0));
    CHECK_EQ(mem_count(g.w.m, "points/") + mem_count(g.w.m, "pins/") + mem_count(g.w.m, "trash/"), 0);
    rig_end(&g);
}

/* --- by a rule -------------------------------------------------------------------------------------------------------------- */

TEST(test_expire__what_a_rule_leaves)
{
    static const struct {
        struct expire_rule rule;
        unsigned gone; /* bit n: of volume 0 the nth, of volume 1 the n-10th */
    } rows[] = {
        {{.keep = {.newest = 2}}, 0x003 | 0x400},
        {{.keep = {.newest = 9}}, 0},
        {{.keep = {.newest = 1}}, 0x007 | 0xc00},
        {{.before_ns = 3 * DAY_NS}, 0x003 | 0xc00},
        {{.before_ns = 100 * DAY_NS}, 0x007 | 0xc00}, /* the newest never goes */
        {{.keep = {.newest = 1}, .before_ns = 2 * DAY_NS}, 0x001 | 0x400},
        {{.keep = {.daily = 3}}, 0x001},
    };
    static const int64_t days[] = {1, 2, 3, 4};
    struct zone z = {.n = 0};

    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        struct expire_item v[7];
        unsigned gone = 0;
        int n = 0;

        for (size_t i = 0; i < 7; i++) { /* four of the one, three of the other; not in order */
            v[6 - i] = (struct expire_item){.taken_ns = days[i % 4] * DAY_NS, .tag = i < 4 ? i : 10 + i - 4};
            v[6 - i].volume.b[0] = i >= 4;
        }
        n = expire_decide(&rows[k].rule, &z, v, 7);
        for (size_t i = 0; i < 7; i++)
            gone |= v[i].drop ? 1u << v[i].tag : 0;
        CHECK_EQ(gone, rows[k].gone);
        CHECK_EQ(n, __builtin_popcount(gone));
    }
}

/* The pin may be locked longer than its bytes, or shorter. */
TEST(test_trash__what_may_not_be_deleted_goes_with_a_later_prune)
{
    static const char *const what[] = {"pins/", "trash/"};

    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        struct backup_result up;
        struct prune_result res;
        struct repo_rig g;

        up = rig_begin_with(&g, 3000000, NULL);
        CHECK_OK(trash_put(g.w.r, up.id, DAY_NS));
        mem_later(g.w.m, 2 * DAY_NS);
        mem_refuse(g.w.m, what[i]);
        res = rig_prune(&g, true);
        CHECK_EQ(res.refused, 1);
        CHECK_EQ(res.forgotten, i);
        CHECK_EQ(mem_count(g.w.m, "trash/"), 1);
        CHECK_EQ(mem_count(g.w.m, "packs/") == 0, i == 1);
        mem_refuse(g.w.m, NULL);
        rig_prune(&g, true);
        CHECK_EQ(mem_count(g.w.m, "trash/") + mem_count(g.w.m, "pins/") + mem_count(g.w.m, "packs/"), 0);
        rig_end(&g);
    }
}
