/* Parts of recovery points: what lies below a path, as a recovery point of its own. */
#include <stdio.h>

#include "tests/lib/test.h"
#include "tests/lib/tree.h"
#include "tests/tier/rig.h"
#include "tier/copy.h"
#include "tier/map.h"

static char path[] = "d/e";

TEST(test_part__paths)
{
    static const struct {
        const char *given, *kept; /* NULL: refused */
    } rows[] = {{"d/e", "d/e"}, {"/d//e/", "d/e"}, {"./d/./e", "d/e"}, {"..d", "..d"}, {"/", ""},
                {".", ""},      {"../d", NULL},    {"d/..", NULL},     {"a\nb", NULL}, {".../x", ".../x"}};
    char kept[PART_PATH_MAX + 1];
    char lengthy[PART_PATH_MAX + 2];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK_ERR(part_path(rows[i].given, kept), rows[i].kept ? 0 : -E_NAME);
        if (rows[i].kept)
            CHECK(strcmp(kept, rows[i].kept) == 0);
    }
    memset(lengthy, 'x', sizeof(lengthy));
    lengthy[PART_PATH_MAX + 1] = 0;
    CHECK_ERR(part_path(lengthy, kept), -E_NAME);
}

/* --- carried on, or whole --------------------------------------------------------------------------------------------------- */

/* The copy of a part in another repository. */
static struct point copied(struct repo *from, struct world *to, const char *id, const char *of,
                           struct copy_result *res)
{
    struct copy_opts o = {.path = of};
    struct point p, q;

    CHECK_OK(point_get(from, id, &p));
    CHECK_OK(copy_run(from, to->r, &p, &o, res));
    CHECK_OK(point_get(to->r, res->id, &q));
    CHECK(!uuid_equal(&q.volume, &p.volume) && !uuid_equal(&q.snapshot, &p.snapshot));
    point_release(&p);
    return q;
}

struct gathering {
    struct repo *r;
    struct buf *out;
};

/* A record with its bytes in place of where they lie. */
static int gather(void *arg, const uint8_t *key, size_t klen, const uint8_t *val, size_t vlen)
{
    struct gathering *g = arg;
    struct slice s;
    int r = record_slice(key, klen, val, vlen, &s);

    CHECK(r >= 0);
    CHECK_OK(buf_add(g->out, key, klen));
    CHECK_OK(buf_add(g->out, val, r == 1 ? vlen - SLICE_SIZE : vlen));
    return r == 1 ? repo_slice(g->r, &s, false, g->out) : 0;
}

static void same_trees(struct repo *a, const struct tree *x, struct repo *b, const struct tree *y)
{
    static const struct tree_key all;
    cleanup(buf_free) struct buf one = {0}, two = {0};

    CHECK_OK(tree_scan(a, x, &all, NULL, gather, &(struct gathering){a, &one}));
    CHECK_OK(tree_scan(b, y, &all, NULL, gather, &(struct gathering){b, &two}));
    CHECK(one.len > 0 && one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
}

/* What a restore makes of the part is what one of that path makes of the whole. */
static void restores_the_same(struct repo *a, const char *id, struct repo *b, const struct point *part)
{
    cleanup(buf_free) struct buf want = {0}, have = {0}, err = {0};
    char whole[400], some[400], below[440];
    struct restore_opts o = {.npaths = 0};
    struct restore_result res;
    char *paths[] = {path};
    struct point p;

    snprintf(whole, sizeof(whole), "%s/whole", test_dir());
    snprintf(some, sizeof(some), "%s/some", test_dir());
    CHECK_OK(point_get(a, id, &p));
    CHECK_OK(restore_run(b, part, some, &o, &res, &err));
    CHECK_EQ(res.files + res.others, part->files + part->others);
    o.paths = paths;
    o.npaths = 1;
    CHECK_OK(restore_run(a, &p, whole, &o, &res, &err));
    snprintf(below, sizeof(below), "%s/e", whole);
    rig_dir_picture(below, false, &want);
    snprintf(below, sizeof(below), "%s/%s", some, path);
    rig_dir_picture(below, false, &have);
    CHECK(box_same(&want, &have));
    tree_remove(whole);
    tree_remove(some);
    point_release(&p);
}

/* Names that come into the part, go, move between its directories, and files that have names on both sides. */
static void stir(struct box *b, uint64_t *rng, int n)
{
    static const char *const in[] = {"d/e/a", "d/e/b", "d/e/f/c", "d/e/x", "d/e/f/y"};
    static const char *const out[] = {"a", "b", "d/c", "x", "d/y"};
    vfs_node root = box_root(b->v);

    for (int i = 0; i < n; i++) {
        const char *from = (test_rand(rng) % 2 ? in : out)[test_rand(rng) % ARRAY_LEN(in)];
        const char *to = (test_rand(rng) % 2 ? in : out)[test_rand(rng) % ARRAY_LEN(in)];
        bool there = box_there(b->v, root, from), taken = box_there(b->v, root, to);

        switch (test_rand(rng) % 6) {
        case 0:
        case 1:
            box_fill(b, b->v, from, test_rand(rng) % 9000, 1 + test_rand(rng) % 70000, test_rand(rng));
            break;
        case 2:
            if (there && strcmp(from, to) != 0)
                box_rename(b, b->v, from, to);
            break;
        case 3:
            if (there && !taken)
                box_link(b, b->v, from, to);
            break;
        case 4:
            if (there)
                box_remove(b, b->v, from);
            break;
        default:
            if (there)
                box_truncate(b, b->v, from, test_rand(rng) % 100000);
            break;
        }
    }
}

TEST(test_part__carried_on_it_is_as_carried_whole)
{
    uint64_t rng = test_seed();

    for (int round = 0; round < 6; round++) {
        struct world there, fresh;
        struct repo_rig g;

        rig_begin(&g);
        world_other(&there, "there");
        world_other(&fresh, "fresh");
        box_mkdir(&g.b, g.b.v, "d");
        box_mkdir(&g.b, g.b.v, "d/e");
        box_mkdir(&g.b, g.b.v, "d/e/f");
        for (int i = 0; i < 6; i++) {
            struct backup_result up;
            struct copy_result res;
            struct point q, whole;
            char name[] = {'a', (char)('0' + i), 0};

            stir(&g.b, &rng, 12);
            if (i == 3) { /* a directory with what is in it comes in */
                box_mkdir(&g.b, g.b.v, "later");
                box_text(&g.b, g.b.v, "later/in it", "text that was there before");
            }
            if (i == 4)
                box_rename(&g.b, g.b.v, "later", "d/e/later");
            if (i == 5) { /* another directory of that name */
                box_rename(&g.b, g.b.v, "d/e", "d/was");
                box_mkdir(&g.b, g.b.v, "d/e");
                box_rename(&g.b, g.b.v, "d/was/later", "d/e/later");
            }
            up = rig_back_up(&g, name);
            q = copied(g.w.r, &there, up.id, path, &res);
            CHECK(!res.same && (i == 0 || res.base[0]));
            if (i == 2 || i == 5) {
                whole = copied(g.w.r, &fresh, up.id, path, &res);
                CHECK_EQ(q.bytes, whole.bytes);
                if (i == 2) /* the next one there is carried whole as well */
                    mem_drop(fresh.m, mem_name(fresh.m, "points/", 0));
                same_trees(there.r, &q.tree, fresh.r, &whole.tree);
                point_release(&whole);
            }
            restores_the_same(g.w.r, up.id, there.r, &q);
            point_release(&q);
        }
        world_close(&fresh);
        world_close(&there);
        rig_end(&g);
    }
}

/* --- what it is taken for --------------------------------------------------------------------------------------------------- */

TEST(test_part__it_is_no_copy_of_the_whole)
{
    struct world there;
    struct copy_opts o = {.path = NULL};
    struct copy_result res;
    struct backup_result up;
    struct point p, q;
    struct repo_rig g;

    rig_begin(&g);
    world_other(&there, "there");
    box_mkdir(&g.b, g.b.v, "d");
    box_mkdir(&g.b, g.b.v, "d/e");
    rig_fill_file(&g, "large", 3000000);
    rig_fill_file(&g, "d/e/small", 200000);
    up = rig_back_up(&g, "a");
    q = copied(g.w.r, &there, up.id, path, &res);
    CHECK(mem_bytes(there.m, "packs/") < 300000);
    CHECK(q.files == 1 && q.dirs == 3 && q.bytes == 200000);
    CHECK(q.labels.len == 9 && strcmp((const char *)q.labels.data + q.labels.len - 9, "part=d/e") == 0);
    point_release(&q);
    q = copied(g.w.r, &there, up.id, path, &res); /* once more */
    CHECK(res.same);
    point_release(&q);
    CHECK_OK(point_get(g.w.r, up.id, &p));
    CHECK_OK(copy_run(g.w.r, there.r, &p, &o, &res));
    CHECK(!res.same && !res.base[0]);
    o.path = "d/none";
    CHECK_ERR(copy_run(g.w.r, there.r, &p, &o, &res), -E_NOENT);
    o.path = "large/none";
    CHECK_ERR(copy_run(g.w.r, there.r, &p, &o, &res), -E_NOENT);
    point_release(&p);
    CHECK_EQ(mem_count(there.m, "points/"), 2);
    world_close(&there);
    rig_end(&g);
}
