/* Recovery points as volumes: the tree at once, the bytes when they are read. */
#include <stdio.h>

#include "snap/plant.h"
#include "snap/snapshot.h"
#include "snap/store/cold.h"
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/import.h"

static int on_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    struct repo_rig *g = arg;

    (void)source;
    return import_slice(g->w.r, ref->p, ref->len, ref->skip, blocks, out);
}

static void connect(struct repo_rig *g)
{
    struct store_state st;

    store_get_state(g->b.s, &st);
    store_set_cold(g->b.s, &(struct cold_hooks){.arg = g, .fetch = on_fetch});
}

struct told {
    struct repo_rig *g;
    const char *delete; /* this recovery point goes meanwhile */
    uint64_t stop_at;   /* items */
    uint64_t fault;     /* this call to the repository goes wrong */
    bool seen;          /* the volume, before it is whole */
    const char *name;
};

/* A pin that is put has been noted: what is left of it by a death is known. */
static int on_source(void *arg, const struct point *p, const struct pin *pin, bool put, struct buf *ret)
{
    struct told *t = arg;
    char name[80];

    snprintf(name, sizeof(name), "pins/%s", pin->id);
    if (pin->id[0])
        CHECK_EQ(mem_count(t->g->w.m, name), put);
    else
        CHECK(!put);
    return buf_printf(ret, "point=%s pin=%s", p->id, pin->id);
}

static int on_progress(void *arg, uint64_t items, uint64_t of)
{
    struct told *t = arg;
    struct vol *v;

    CHECK(items <= of);
    t->seen |= volume_find(t->g->b.s, t->name, &v) == 0;
    if (t->delete)
        rig_point_delete(t->g, TAKE(t->delete));
    return t->stop_at && items >= t->stop_at ? -E_CANCELED : 0;
}

static int try_import(struct told *t, const char *id, bool with_key, struct import_result *res)
{
    cleanup(buf_free) struct buf err = {0};
    struct import_opts o = {.name = t->name, .arg = t, .progress = on_progress, .source = on_source};
    struct point p;
    int r;

    CHECK_OK(point_get(t->g->w.r, id, &p));
    p.has_hash_key = p.has_hash_key && with_key;
    mem_fault(t->g->w.m, t->fault, MEM_FAIL, false);
    r = import_run(t->g->w.r, &p, t->g->b.s, &o, res, &err);
    CHECK(r == 0 || r == -E_CANCELED || err.len > 0);
    point_release(&p);
    return r;
}

static struct vol *imported(struct repo_rig *g, const char *id, const char *name, bool with_key)
{
    struct told t = {.g = g, .name = name};
    struct import_result res;

    CHECK_OK(try_import(&t, id, with_key, &res));
    CHECK(!t.seen);
    return res.vol;
}

/* What another volume of the same store shows. */
static void picture_of(struct repo_rig *g, struct vol *v, struct buf *ret)
{
    struct vol *own = g->b.v;

    g->b.v = v;
    rig_picture(g, ret);
    g->b.v = own;
}

static void shows(struct repo_rig *g, struct vol *v, const struct buf *want)
{
    cleanup(buf_free) struct buf is = {0};

    picture_of(g, v, &is);
    CHECK(box_same(&is, want));
}

static struct backup_result back_up_other(struct repo_rig *g, struct vol *v, const char *name)
{
    struct vol *own = g->b.v;
    struct backup_result res;

    g->b.v = v;
    res = rig_back_up(g, name);
    g->b.v = own;
    return res;
}

/* Written to, with snapshots, backed up in its turn, and opened again. */
static void lives_on(struct repo_rig *g, struct vol *v, uint64_t *rng)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result res;
    char name[NAME_LEN_MAX + 1];

    snprintf(name, sizeof(name), "%s", v->rec.name);
    box_mess(&g->b, v, rng, 30);
    box_sound(&g->b);
    picture_of(g, v, &want);
    res = back_up_other(g, v, "again");
    rig_restores_to(g, res.id, &want);
    box_reopen(&g->b);
    connect(g);
    CHECK_OK(volume_find(g->b.s, name, &v));
    shows(g, v, &want);
    box_mess(&g->b, v, rng, 10);
    box_sound(&g->b);
}

TEST(test_import__random_trees_are_the_same_as_volumes)
{
    uint64_t rng = test_seed();
    struct repo_rig g;

    rig_begin(&g);
    connect(&g);
    for (int i = 0; i < 6; i++) {
        cleanup(buf_free) struct buf want = {0};
        struct backup_result res;
        struct vol *v;
        char snap[16], name[16];

        box_mess(&g.b, g.b.v, &rng, 1 + (int)(test_rand(&rng) % 80));
        rig_picture(&g, &want);
        snprintf(snap, sizeof(snap), "s%d", i);
        snprintf(name, sizeof(name), "v%d", i);
        res = rig_back_up(&g, snap);
        if (i % 2)
            world_forget(&g.w);
        v = imported(&g, res.id, name, i % 3 != 2);
        box_sound(&g.b);
        shows(&g, v, &want);
        box_sound(&g.b);
        if (i % 2)
            lives_on(&g, v, &rng);
    }
    rig_end(&g);
}

TEST(test_import__names_of_one_file_stay_its_names)
{
    for (int key = 0; key < 2; key++) {
        struct backup_result res;
        struct repo_rig g;
        struct vol *v;

        rig_begin(&g);
        connect(&g);
        box_mkdir(&g.b, g.b.v, "d");
        box_text(&g.b, g.b.v, "one", "text");
        box_link(&g.b, g.b.v, "one", "d/two");
        box_link(&g.b, g.b.v, "one", "three");
        res = rig_back_up(&g, "a");
        v = imported(&g, res.id, "v", key == 1);
        box_remove(&g.b, v, "one");
        box_sound(&g.b);
        CHECK(box_is(v, box_root(v), "d/two", "text"));
        box_remove(&g.b, v, "d/two");
        CHECK(box_is(v, box_root(v), "three", "text"));
        box_remove(&g.b, v, "three");
        box_text(&g.b, v, "four", "more");
        box_sound(&g.b);
        rig_end(&g);
    }
}

/* What counts in the volume's size beside the bytes does so in what comes of a recovery point. */
TEST(test_import__names_of_one_file_count)
{
    struct backup_result res;
    struct repo_rig g;
    char name[32];
    struct vol *v;

    rig_begin(&g);
    connect(&g);
    box_text(&g.b, g.b.v, "one", "text");
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "link-%d", i);
        box_link(&g.b, g.b.v, "one", name);
    }
    res = rig_back_up(&g, "a");
    v = imported(&g, res.id, "v", true);
    CHECK_EQ(vol_used_blocks(v), vol_used_blocks(g.b.v));
    box_sound(&g.b);
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "link-%d", i);
        box_remove(&g.b, v, name);
    }
    CHECK_EQ(vol_used_blocks(v), 1);
    box_sound(&g.b);
    rig_end(&g);
}

/* --- what goes wrong ------------------------------------------------------------------------------------------------------ */

static void many_files(struct repo_rig *g)
{
    char name[32];

    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        box_fill(&g->b, g->b.v, name, 0, 100 + (size_t)i, (uint64_t)i);
    }
}

TEST(test_import__is_not_there_before_it_is_whole)
{
    struct told t = {.name = "v", .stop_at = 200};
    struct import_result res;
    struct backup_result a;
    struct repo_rig g;
    struct vol *v;

    rig_begin(&g);
    connect(&g);
    many_files(&g);
    a = rig_back_up(&g, "a");
    t.g = &g;
    CHECK_ERR(try_import(&t, a.id, true, &res), -E_CANCELED);
    CHECK(!t.seen);
    CHECK_ERR(volume_find(g.b.s, "v", &v), -E_NOENT);
    CHECK_EQ(mem_count(g.w.m, "pins/"), 0);
    CHECK_OK(store_checkpoint(g.b.s));
    CHECK_OK(store_reclaim_idle(g.b.s));
    box_sound(&g.b);
    imported(&g, a.id, "v", true);
    CHECK_EQ(mem_count(g.w.m, "pins/"), 1);
    t.stop_at = 0;
    CHECK_ERR(try_import(&t, a.id, true, &res), -E_EXIST);
    CHECK_EQ(mem_count(g.w.m, "pins/"), 1);
    rig_end(&g);
}

TEST(test_import__a_death_in_the_middle_leaves_nothing)
{
    struct cold_run run = {.count = 1, .source = 1, .ref = {.len = 4}};
    struct plant *p;
    struct repo_rig g;
    struct vol *v;

    rig_begin(&g);
    connect(&g);
    CHECK_OK(cold_begin(g.b.s));
    CHECK_OK(cold_source_put(g.b.s, "x", 1, &run.source));
    CHECK_OK(volume_make(g.b.s, "v", NULL, NULL, &v));
    CHECK_OK(plant_new(v, &p));
    for (uint64_t ino = 1; ino < 100; ino++) {
        struct inode in = {.ino = ino, .mode = ino == 1 ? 040755 : 0100644, .nlink = 2, .size = 100};

        CHECK_OK(plant_inode(p, &in, &run, ino == 1 ? 0 : 1));
    }
    CHECK_OK(plant_flush(p));
    plant_free(p);
    CHECK_OK(store_flush(g.b.s));
    CHECK_ERR(volume_find(g.b.s, "v", &v), -E_NOENT);
    CHECK_ERR(volume_undelete(g.b.s, "v", NULL), -E_NOENT);
    box_die(&g.b);
    connect(&g);
    CHECK_ERR(volume_find(g.b.s, "v", &v), -E_NOENT);
    for (int i = 0; i < 10; i++) {
        CHECK_OK(store_checkpoint(g.b.s));
        CHECK_OK(store_reclaim_idle(g.b.s));
    }
    CHECK_OK(cold_source_del(g.b.s, run.source)); /* nothing names it any more */
    box_sound(&g.b);
    rig_end(&g);
}

TEST(test_import__comes_too_late_when_the_recovery_point_is_gone)
{
    struct told t = {.name = "v"};
    struct import_result res;
    struct backup_result a;
    struct repo_rig g;
    struct vol *v;

    rig_begin(&g);
    connect(&g);
    many_files(&g);
    a = rig_back_up(&g, "a");
    t.g = &g;
    t.delete = a.id;
    CHECK_ERR(try_import(&t, a.id, true, &res), -E_NOENT);
    CHECK_ERR(volume_find(g.b.s, "v", &v), -E_NOENT);
    CHECK_EQ(mem_count(g.w.m, "pins/"), 0);
    rig_end(&g);
}

TEST(test_import__each_call_may_fail)
{
    struct told t = {.name = "v"};
    struct backup_result a;
    struct repo_rig g;
    struct vol *v;

    rig_begin(&g);
    connect(&g);
    many_files(&g);
    a = rig_back_up(&g, "a");
    t.g = &g;
    for (uint64_t n = 1;; n++) {
        struct import_result res;
        int r;

        world_forget(&g.w);
        t.fault = n;
        r = try_import(&t, a.id, true, &res);
        bool hit = mem_hit(g.w.m);
        mem_fault(g.w.m, 0, MEM_FAIL, false);
        if (!hit)
            CHECK_OK(r);
        CHECK_EQ(volume_find(g.b.s, "v", &v), r == 0 ? 0 : -E_NOENT);
        CHECK_EQ(mem_count(g.w.m, "pins/"), r == 0);
        if (r == 0)
            break;
        CHECK(n < 100);
    }
    box_sound(&g.b);
    rig_end(&g);
}
