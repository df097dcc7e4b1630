/* Recovery points and what volumes have of them only move to another repository. Through mounts: tests/tier/migrate.sh. */
#include "tier/migrate.h"

#include <stdio.h>

#include "snap/snapshot.h"
#include "snap/store/cold.h"
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/import.h"
#include "tier/release.h"

/* --- what is written down -------------------------------------------------------------------------------------------------- */

static struct migrate some_migration(void)
{
    struct migrate m = {.name = "mv", .share = 0.25, .drop_source = true, .at_ns = 5, .bandwidth = 1u << 20};
    struct migrate_moved x = {{{1, 2}}, {{3, 4}}};

    snprintf(m.from.url, sizeof(m.from.url), "dir:/a b=c");
    snprintf(m.to.url, sizeof(m.to.url), "s3://bucket?x=y");
    snprintf(m.to.key_file, sizeof(m.to.key_file), "/k");
    snprintf(m.filter.label, sizeof(m.filter.label), "a=b");
    m.filter.before_ns = -7;
    m.state = MIGRATE_FAILED;
    m.stage = STAGE_SWITCH;
    m.todo = (struct migrate_count){1, 2, 3};
    snprintf(m.why, sizeof(m.why), "it rained");
    CHECK_OK(buf_add(&m.moved, &x, sizeof(x)));
    return m;
}

TEST(test_migrate__what_is_written_is_read_and_damage_is_seen)
{
    cleanup(buf_free) struct buf text = {0}, again = {0};
    struct migrate m = some_migration(), n;

    CHECK_OK(migrate_print(&m, &text));
    CHECK_OK(migrate_parse(text.data, text.len, &n));
    CHECK_OK(migrate_print(&n, &again));
    CHECK(text.len == again.len && memcmp(text.data, again.data, text.len) == 0);
    CHECK(n.stage == STAGE_SWITCH && n.filter.before_ns == -7 && n.moved.len == sizeof(struct migrate_moved));
    CHECK(strcmp(n.from.url, "dir:/a b=c") == 0);
    migrate_release(&n);
    for (size_t i = 0; i < text.len; i++) {
        text.data[i] ^= 1;
        CHECK_ERR(migrate_parse(text.data, text.len, &n), -E_CORRUPT);
        text.data[i] ^= 1;
        CHECK_ERR(migrate_parse(text.data, i, &n), -E_CORRUPT);
    }
    migrate_release(&m);
}

static int count_one(void *arg, struct migrate *m, int bad)
{
    CHECK(strcmp(m->name, "mv") == 0 || bad == -E_CORRUPT);
    ((int *)arg)[bad < 0]++;
    return 0;
}

TEST(test_migrate__files_of_a_store)
{
    struct migrate m = some_migration(), n;
    struct io *io = io_real();
    int seen[2] = {0, 0};
    char path[4200];

    CHECK_OK(migrate_each(io, test_dir(), count_one, seen));
    CHECK_ERR(migrate_load(io, test_dir(), "mv", &n), -E_NOENT);
    CHECK_OK(migrate_save(io, test_dir(), &m));
    m.state = MIGRATE_DONE;
    CHECK_OK(migrate_save(io, test_dir(), &m));
    CHECK_OK(migrate_load(io, test_dir(), "mv", &n));
    CHECK_EQ(n.state, MIGRATE_DONE);
    migrate_release(&n);
    snprintf(path, sizeof(path), "%s/migrate/other", test_dir());
    CHECK_OK(io_replace(io, path, "varve migration 1\n", 18));
    CHECK_OK(migrate_each(io, test_dir(), count_one, seen));
    CHECK(seen[0] == 1 && seen[1] == 1);
    CHECK_ERR(migrate_name_check("a.new"), -E_NAME);
    CHECK_ERR(migrate_name_check("../a"), -E_NAME);
    CHECK_OK(migrate_forget(io, test_dir(), "mv"));
    CHECK_ERR(migrate_forget(io, test_dir(), "mv"), -E_NOENT);
    migrate_release(&m);
}

TEST(test_migrate__which_recovery_points)
{
    static const struct {
        struct migrate_filter f;
        bool takes;
    } rows[] = {{{.volume = ""}, true},
                {{.volume = "main"}, true},
                {{.volume = "mai"}, false},
                {{.label = "a=1"}, true},
                {{.label = "b=2"}, true},
                {{.label = "a"}, false},
                {{.before_ns = 1001}, true},
                {{.before_ns = 1000}, false},
                {{.since_ns = 1000}, true},
                {{.since_ns = 1001}, false},
                {{.least_bytes = 50}, true},
                {{.least_bytes = 51}, false},
                {{.most_bytes = 50}, true},
                {{.most_bytes = 49}, false},
                {{.label = "a=1", .most_bytes = 1}, false},
                {{.since_ns = 1, .before_ns = 1001, .volume = "main", .least_bytes = 1}, true}};
    struct point p = {.volume_name = "main", .taken_ns = 1000, .bytes = 50};

    CHECK_OK(buf_add(&p.labels, "a=1\0b=2", 8));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        CHECK_EQ(migrate_takes(&rows[i].f, &p), rows[i].takes);
    buf_free(&p.labels);
}

/* --- a volume moves --------------------------------------------------------------------------------------------------------- */

struct moving {
    struct repo_rig g;
    struct world o; /* the other side */
    uint32_t was, now;
    uint64_t fetched[2]; /* by side */
    struct migrate m;
    struct buf want;
};

static int on_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    struct moving *v = arg;

    v->fetched[source == v->now]++;
    return import_slice(source == v->now ? v->o.r : v->g.w.r, ref->p, ref->len, ref->skip, blocks, out);
}

static int goes_on(void *arg)
{
    (void)arg;
    return 0;
}
static const struct migrate_hooks plain = {.progress = goes_on};

static void moving_begin(struct moving *v)
{
    *v = (struct moving){.m = {.name = "mv"}};
    rig_begin(&v->g);
    world_other(&v->o, "other");
    store_set_cold(v->g.b.s, &(struct cold_hooks){.arg = v, .fetch = on_fetch});
    CHECK_OK(cold_begin(v->g.b.s));
    CHECK_OK(cold_source_put(v->g.b.s, "here", 4, &v->was));
    CHECK_OK(cold_source_put(v->g.b.s, "there", 5, &v->now));
}

static void moving_end(struct moving *v)
{
    migrate_release(&v->m);
    buf_free(&v->want);
    world_close(&v->o);
    rig_end(&v->g);
}

static void release_all(struct moving *v, const char *id, const char *snap)
{
    cleanup(buf_free) struct buf err = {0};
    struct release_opts o = {.source = v->was};
    struct release_result res;
    struct layer_rec rec;
    struct point p = rig_point(&v->g, id);

    CHECK_OK(snap_find(v->g.b.v, snap, &rec));
    CHECK_OK(release_run(v->g.w.r, &p, v->g.b.v, &rec, &o, &res, &err));
    CHECK(res.bytes > 0 && res.unproved == 0);
    point_release(&p);
}

/* Copies everything; the copy of `id`. */
static struct point copied(struct moving *v, const char *id)
{
    cleanup(buf_free) struct buf err = {0};
    struct migrate_list l = {0};
    struct point q = {.flags = 0};

    CHECK_OK(migrate_list_make(v->g.w.r, v->o.r, &v->m.filter, NULL, &l, &err));
    CHECK_OK(migrate_weigh(v->g.w.r, &l, &v->m.there, &v->m.todo, &plain));
    CHECK_OK(migrate_copy(v->g.w.r, v->o.r, &l, &v->m, &plain, &err));
    for (size_t i = 0; i < l.n; i++)
        if (strcmp(l.v[i].p.id, id) == 0)
            CHECK_OK(point_get(v->o.r, l.v[i].copy, &q));
    CHECK(q.id[0]);
    migrate_list_free(&l);
    return q;
}

static uint64_t switched(struct moving *v, const char *id, const struct point *q)
{
    struct point p = rig_point(&v->g, id);
    struct migrate_side was = {v->g.w.r, &p, v->was}, now = {v->o.r, q, v->now};
    uint64_t left = 99;

    CHECK_OK(migrate_switch(v->g.b.s, &was, &now, &v->m, &plain, &left));
    point_release(&p);
    return left;
}

static void reads_the_same(struct moving *v)
{
    cleanup(buf_free) struct buf is = {0};

    rig_picture(&v->g, &is);
    CHECK(box_same(&is, &v->want));
}

/* From now on it is in a domain of its own. */
static void go_apart(struct repo_rig *g)
{
    struct backup_opts o = {.domain = BACKUP_OWN};
    struct layer_rec rec = rig_snapshot(g, "apart");
    struct backup_result res;

    CHECK_OK(backup_run(g->w.r, g->b.v, &rec, &o, &res));
}

/* Trees at random, with increments that cut what was sent before in pieces; then the old repository is empty. */
TEST(test_migrate__a_volume_reads_from_the_copy_afterwards)
{
    uint64_t rng = test_seed();

    for (int round = 0; round < 5; round++) {
        struct moving v;
        struct backup_result up;
        struct point q;

        moving_begin(&v);
        rig_fill_file(&v.g, "db", 5000000);
        box_mess(&v.g.b, v.g.b.v, &rng, 40);
        if (round % 2)
            go_apart(&v.g);
        for (int i = 0; i < 4; i++) {
            char name[] = {'a', (char)('0' + i), 0};

            up = rig_back_up(&v.g, name);
            for (int k = 0; k < 6 && i < 3; k++)
                box_fill(&v.g.b, v.g.b.v, "db", test_rand(&rng) % 4900000, 1 + test_rand(&rng) % 9000,
                         (uint8_t)k);
            box_mess(&v.g.b, v.g.b.v, &rng, 8);
        }
        rig_picture(&v.g, &v.want);
        release_all(&v, up.id, "a3");
        q = copied(&v, up.id);
        CHECK_EQ(v.m.done.points, 4 + round % 2);
        CHECK_EQ(id16_none(&q.domain), round % 2 == 0);
        CHECK_EQ(switched(&v, up.id, &q), 0);
        CHECK_OK(cold_source_del(v.g.b.s, v.was));
        while (mem_count(v.g.w.m, "packs/") > 0)
            mem_drop(v.g.w.m, mem_name(v.g.w.m, "packs/", 0));
        v.fetched[0] = 0;
        reads_the_same(&v);
        CHECK_EQ(v.fetched[0], 0);
        point_release(&q);
        box_sound(&v.g.b);
        moving_end(&v);
    }
}

/* What the copy does not have is not switched; the source is not given up then. */
TEST(test_migrate__what_the_copy_lacks_stays_at_the_source)
{
    struct moving v;
    struct backup_result a, b;
    struct point q;

    moving_begin(&v);
    rig_fill_file(&v.g, "f", 2000000);
    a = rig_back_up(&v.g, "a");
    rig_fill_file(&v.g, "g", 3000000);
    b = rig_back_up(&v.g, "b");
    rig_picture(&v.g, &v.want);
    release_all(&v, b.id, "b");
    q = copied(&v, a.id); /* has no "g" */
    CHECK(switched(&v, b.id, &q) > 0);
    CHECK_ERR(cold_source_del(v.g.b.s, v.was), -E_BUSY);
    reads_the_same(&v);
    CHECK(v.fetched[0] > 0 && v.fetched[1] > 0);
    point_release(&q);
    moving_end(&v);
}

struct stopping {
    struct migrate *m;
    uint64_t after;
};

static int stop_after(void *arg)
{
    struct stopping *s = arg;

    return s->m->done.bytes >= s->after ? -E_CANCELED : 0;
}

TEST(test_migrate__interrupted_it_sends_nothing_twice)
{
    cleanup(buf_free) struct buf err = {0};
    struct stopping s;
    struct migrate_hooks h = {.arg = &s, .progress = stop_after};
    struct moving v;

    moving_begin(&v);
    rig_fill_file(&v.g, "f", 54000000);
    rig_back_up(&v.g, "a");
    s.m = &v.m;
    for (int n = 0; n < 4; n++) {
        struct migrate_list l = {0};
        bool last = n == 3;

        CHECK_OK(migrate_list_make(v.g.w.r, v.o.r, &v.m.filter, NULL, &l, &err));
        v.m.done = (struct migrate_count){0};
        CHECK_OK(migrate_weigh(v.g.w.r, &l, &v.m.there, &v.m.todo, &plain));
        s.after = v.m.todo.bytes / 2;
        CHECK_ERR(migrate_copy(v.g.w.r, v.o.r, &l, &v.m, last ? &plain : &h, &err), last ? 0 : -E_CANCELED);
        migrate_list_free(&l);
    }
    CHECK_EQ(v.m.moved.len, sizeof(struct migrate_moved));
    printf("    %llu bytes of packs for 54000000\n", (unsigned long long)mem_bytes(v.o.m, "packs/"));
    CHECK(mem_bytes(v.o.m, "packs/") > 50000000 && mem_bytes(v.o.m, "packs/") < 60000000);
    CHECK(v.m.sent_bytes > 50000000 && v.m.sent_bytes < 60000000); /* with those on their way when it ended */
    moving_end(&v);
}

TEST(test_migrate__the_source_stays_where_the_copy_cannot_be_read)
{
    cleanup(buf_free) struct buf err = {0};
    struct backup_result up;
    struct moving v;
    struct point q;

    moving_begin(&v);
    rig_fill_file(&v.g, "f", 100000);
    up = rig_back_up(&v.g, "a");
    q = copied(&v, up.id);
    CHECK_EQ(v.m.there.points, 0);
    mem_drop(v.o.m, mem_name(v.o.m, "points/", 0));
    CHECK_ERR(migrate_drop(v.g.w.r, v.o.r, &v.m, &plain, &err), -E_CORRUPT);
    CHECK_EQ(mem_count(v.g.w.m, "points/"), 1);
    point_release(&q);
    q = copied(&v, up.id);
    CHECK_OK(migrate_drop(v.g.w.r, v.o.r, &v.m, &plain, &err));
    CHECK_OK(migrate_drop(v.g.w.r, v.o.r, &v.m, &plain, &err)); /* once more: nothing is left to do */
    CHECK_EQ(mem_count(v.g.w.m, "points/"), 0);
    CHECK_EQ(v.m.dropped, 1);
    point_release(&q);
    moving_end(&v);
}
