/* Pins: what a volume relies on stays, whoever deletes the recovery point. */
#include <stdio.h>

#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"
#include "tests/tier/rig.h"
#include "tier/pin.h"
#include "tier/prune.h"

static const char golden_pin[] =
#include "tests/tier/golden_pin.inc"
    ;

static struct pin pin_of(const char *volume, uint8_t dir)
{
    struct pin p = {.generation = 1};

    memset(p.store.b, 0x11, sizeof(p.store.b));
    memset(p.dir.b, dir, sizeof(p.dir.b));
    memset(p.volume.b, 0x33, sizeof(p.volume.b));
    snprintf(p.volume_name, sizeof(p.volume_name), "%s", volume);
    return p;
}

static int keep_point(void *arg, const struct point *pt)
{
    struct point *keep = arg;

    *keep = *pt;
    keep->labels = keep->regarded = (struct buf){0};
    return 1;
}

TEST(test_pin__bytes_are_as_they_were)
{
    cleanup(buf_free) struct buf b = {0};
    struct pin p = pin_of("vol", 0x22), back;
    char hex[512];
    uint8_t old[1024];
    struct point pt;

    p.created_ns = 1700000000000000000;
    p.generation = 7;
    CHECK_OK(pin_encode(&p, &b));
    hex_format(b.data, b.len, hex);
    if (strcmp(hex,
               "0100000000002a36fe9c971707000000000000001111111111111111111111111111111122222222222222222222"
               "222222222222333333333333333333333333333333330300766f6c00000000") != 0)
        test_fail(__FILE__, __LINE__, "%s", hex);
    CHECK(sizeof(golden_pin) / 2 <= sizeof(old));
    CHECK_OK(hex_parse(golden_pin, old, sizeof(golden_pin) / 2));
    CHECK_OK(pin_decode(old, sizeof(golden_pin) / 2, &back));
    CHECK_EQ(back.generation, 3);
    CHECK_EQ(back.npoints, 1);
    CHECK(strcmp(back.volume_name, "db") == 0);
    CHECK_EQ(pin_points(NULL, &back, keep_point, &pt), 1);
    CHECK(strcmp(pt.volume_name, "main") == 0 && pt.files == 2 && pt.has_hash_key);
    for (size_t len = 0; len < sizeof(golden_pin) / 2; len++) {
        struct pin cut;
        int r = pin_decode(old, len, &cut);

        CHECK_ERR(r, -E_CORRUPT);
    }
    old[0] = 9;
    CHECK_ERR(pin_decode(old, sizeof(golden_pin) / 2, &(struct pin){0}), -E_REPO_NEWER);
    pin_release(&back);
    pin_release(&p);
}

/* --- what they keep --------------------------------------------------------------------------------------------------- */

static struct pin pinned(struct repo_rig *g, const char *id, uint8_t dir)
{
    struct pin p = pin_of("main", dir);
    struct point pt;

    CHECK_OK(point_get(g->w.r, id, &pt));
    CHECK_OK(pin_add(g->w.r, &p, &pt));
    point_release(&pt);
    return p;
}

static void prune_twice(struct repo_rig *g)
{
    rig_prune(g, true);
    world_forget(&g->w);
    rig_prune(g, true);
}

static int point_of_pin(void *arg, const struct pin *p)
{
    return pin_points(NULL, p, keep_point, arg);
}

/* What the first pin holds comes back as it was. */
static void pin_restores_to(struct repo_rig *g, const char *id)
{
    cleanup(buf_free) struct buf err = {0};
    struct restore_opts o = {.npaths = 0};
    struct restore_result res;
    struct point pt;
    char to[300];

    CHECK_EQ(pins_each(g->w.r, point_of_pin, NULL, &pt), 1);
    CHECK(strcmp(pt.id, id) == 0);
    snprintf(to, sizeof(to), "%s/pinned", test_dir());
    CHECK_OK(restore_run(g->w.r, &pt, to, &o, &res, &err));
    CHECK_EQ(res.hurt, 0);
    tree_remove(to);
}

TEST(test_pin__keeps_what_a_deleted_recovery_point_had)
{
    struct repo_rig g;
    struct backup_result a;
    struct pin p;
    uint64_t before;

    a = rig_begin_with(&g, 5u << 20, NULL);
    p = pinned(&g, a.id, 0x22);
    CHECK_OK(pin_put(g.w.r, &p, false, NULL, NULL));
    rig_point_delete(&g, a.id);
    before = mem_bytes(g.w.m, "packs/");
    prune_twice(&g);
    CHECK_EQ(mem_bytes(g.w.m, "packs/"), before);
    pin_restores_to(&g, a.id);
    rig_sound(&g);
    CHECK_OK(pin_drop(g.w.r, p.id));
    CHECK_OK(pin_drop(g.w.r, p.id));
    prune_twice(&g);
    CHECK_EQ(mem_count(g.w.m, "packs/"), 0);
    pin_release(&p);
    rig_end(&g);
}

/* In two phases: condemned before the pin was there, rescued after. */
TEST(test_pin__rescues_what_is_condemned)
{
    cleanup(buf_free) struct buf err = {0};
    struct prune_opts o = {.exclusive = false};
    struct prune_result res;
    struct repo_rig g;
    struct backup_result a;
    struct pin p;

    a = rig_begin_with(&g, 5u << 20, NULL);
    p = pinned(&g, a.id, 0x22);
    CHECK_OK(pin_put(g.w.r, &p, false, NULL, NULL));
    pin_release(&p);
    p = pinned(&g, a.id, 0x44);
    rig_point_delete(&g, a.id);
    CHECK_OK(pin_put(g.w.r, &p, false, NULL, NULL)); /* another one holds it */
    mem_later(g.w.m, CONDEMNED_GRACE_NS);
    CHECK_OK(prune_run(g.w.r, &o, &res, &err));
    CHECK_EQ(res.condemned, 0);
    mem_later(g.w.m, CONDEMNED_GRACE_NS + 1);
    CHECK_OK(prune_run(g.w.r, &o, &res, &err));
    CHECK_EQ(res.deleted, 0);
    pin_restores_to(&g, a.id);
    pin_release(&p);
    rig_end(&g);
}

TEST(test_pin__that_comes_too_late_is_taken_away)
{
    struct repo_rig g;
    struct backup_result a;
    struct pin p;

    a = rig_begin_with(&g, 1u << 20, NULL);
    p = pinned(&g, a.id, 0x22);
    rig_point_delete(&g, a.id);
    CHECK_ERR(pin_put(g.w.r, &p, false, NULL, NULL), -E_NOENT);
    CHECK_EQ(mem_count(g.w.m, "pins/"), 0);
    CHECK_ERR(pin_put(g.w.r, &p, true, NULL, NULL), -E_NOENT);
    CHECK_EQ(mem_count(g.w.m, "pins/"), 1);
    pin_release(&p);
    rig_end(&g);
}

/* Whatever call fails: an error, or the pin is there; never a pin that nobody knows of but after a lost answer. */
TEST(test_pin__each_call_may_fail)
{
    struct repo_rig g;
    struct backup_result a;

    a = rig_begin_with(&g, 1u << 20, NULL);
    for (uint64_t n = 1;; n++) {
        struct pin p = pinned(&g, a.id, 0x22);
        int r;

        mem_fault(g.w.m, n, MEM_FAIL, false);
        r = pin_put(g.w.r, &p, false, NULL, NULL);
        bool hit = mem_hit(g.w.m);
        mem_fault(g.w.m, 0, MEM_FAIL, false);
        CHECK_EQ(mem_count(g.w.m, "pins/"), r == 0 ? 1 : 0);
        if (r == 0)
            CHECK_OK(pin_drop(g.w.r, p.id));
        pin_release(&p);
        if (!hit)
            break;
        CHECK(n < 50);
    }
    rig_end(&g);
}

/* --- trouble ------------------------------------------------------------------------------------------------------------ */

TEST(test_pin__that_cannot_be_read_stops_deletion)
{
    struct backup_result a;
    struct prune_result res;
    struct repo_rig g;
    struct pin p;
    char name[80];

    a = rig_begin_with(&g, 1u << 20, NULL);
    p = pinned(&g, a.id, 0x22);
    CHECK_OK(pin_put(g.w.r, &p, false, NULL, NULL));
    snprintf(name, sizeof(name), "pins/%s", p.id);
    mem_flip(g.w.m, name, 100);
    rig_point_delete(&g, a.id);
    for (int i = 0; i < 2; i++) {
        cleanup(buf_free) struct buf err = {0}, lines = {0};
        struct verify_result v;

        CHECK_ERR(prune_run(g.w.r, &(struct prune_opts){.exclusive = true}, &res, &err),
                  i == 0 ? -E_CORRUPT : -E_REPO_NEWER);
        CHECK(strstr(buf_cstr(&err), "pins/") != NULL);
        v = rig_verified(&g, false, &lines);
        CHECK_EQ(v.damages, 1);
        mem_drop(g.w.m, i == 0 ? name : "pins/other");
        if (i == 0) {
            struct backend *b = mem_backend(g.w.m);

            CHECK_OK(backend_put(b, NULL, "pins/other", "x", 1));
            backend_close(b);
        }
    }
    prune_twice(&g);
    CHECK_EQ(mem_count(g.w.m, "packs/"), 0);
    pin_release(&p);
    rig_end(&g);
}

/* What is pinned and gone is named, though its recovery point is deleted. */
TEST(test_pin__verify_looks_at_what_is_pinned)
{
    cleanup(buf_free) struct buf lines = {0};
    struct backup_result a;
    struct verify_result v;
    struct repo_rig g;
    struct pin p;

    rig_begin(&g);
    rig_fill_file(&g, "hurt", 3u << 20);
    a = rig_back_up(&g, "a");
    p = pinned(&g, a.id, 0x22);
    CHECK_OK(pin_put(g.w.r, &p, false, NULL, NULL));
    rig_point_delete(&g, a.id);
    v = rig_verified(&g, false, &lines);
    CHECK_EQ(v.pins, 1);
    CHECK_EQ(v.damages, 0);
    mem_flip(g.w.m, mem_name(g.w.m, "packs/", 0), 1u << 20);
    v = rig_verified(&g, true, &lines);
    CHECK(v.hurt > 0);
    CHECK(strstr(buf_cstr(&lines), "/hurt of") != NULL);
    pin_release(&p);
    rig_end(&g);
}
