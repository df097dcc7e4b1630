/* What is to stay here stays, and what a file's state says of it. */
#include <stdio.h>
#include <sys/stat.h>

#include "snap/snapshot.h"
#include "snap/store/cold.h"
#include "snap/tier.h"
#include "snap/volume.h"
#include "tests/lib/test.h"
#include "tests/tier/tiering_rig.h"

static void pin(struct repo_rig *g, const char *path, bool on)
{
    CHECK_OK(tier_pin(g->b.v, vfs_node_ino(box_node(g->b.v, box_root(g->b.v), path)), on));
}

static const char *state(struct repo_rig *g, vfs_node root, const char *path)
{
    struct tier_file f;

    CHECK_OK(tier_look(g->b.v, box_node(g->b.v, root, path), &f));
    return tier_state_name(f.state);
}

static void is(struct repo_rig *g, const char *path, const char *want)
{
    const char *have = state(g, box_root(g->b.v), path);

    if (strcmp(have, want) != 0)
        test_fail(__FILE__, __LINE__, "%s is %s, not %s", path, have, want);
}

static void share(struct repo_rig *g, const char *from, const char *to, uint64_t len)
{
    uint64_t done = 0;

    box_write(&g->b, g->b.v, to, "", 0, 0);
    CHECK_OK(vfs_copy(g->b.v, &g->b.c, box_node(g->b.v, box_root(g->b.v), from), 0,
                      box_node(g->b.v, box_root(g->b.v), to), 0, len, &done));
    CHECK_EQ(done, len);
}

TEST(test_tier__what_is_pinned_is_not_released)
{
    static const char *const stay[] = {"file", "dir/sub/below", "linked", "shared"};
    struct release_result res;
    struct backup_result up;
    struct repo_rig g;

    rig_begin(&g);
    tiering_connect(&g);
    box_mkdir(&g.b, g.b.v, "dir");
    box_mkdir(&g.b, g.b.v, "dir/sub");
    for (size_t i = 0; i < ARRAY_LEN(stay); i++)
        rig_fill_file(&g, stay[i], 300000);
    rig_fill_file(&g, "other", 300000);
    box_link(&g.b, g.b.v, "linked", "dir/link");
    share(&g, "shared", "dir/copy", 300000);
    up = rig_back_up(&g, "s");
    pin(&g, "file", true);
    pin(&g, "dir", true);
    box_reopen(&g.b); /* pins are kept */
    tiering_connect(&g);
    res = tiering_released(&g, up.id, "s");
    CHECK_EQ(res.files, 1);
    CHECK(res.pinned >= 4 * 300000);
    for (size_t i = 0; i < ARRAY_LEN(stay); i++)
        is(&g, stay[i], i == 3 ? "local" : "pinned"); /* of what is shared only the copy is pinned */
    is(&g, "other", "remote");
    pin(&g, "dir", false);
    res = tiering_released(&g, up.id, "s");
    is(&g, "dir/sub/below", "remote");
    is(&g, "shared", "remote");
    is(&g, "file", "pinned");
    box_sound(&g.b);
    rig_end(&g);
}

/* The bytes of a clone are those of its origin. */
TEST(test_tier__a_release_of_a_clone_keeps_what_the_origin_pinned)
{
    struct release_result res;
    struct backup_result up;
    struct vol *origin;
    struct repo_rig g;

    rig_begin(&g);
    tiering_connect(&g);
    rig_fill_file(&g, "f", 300000);
    rig_fill_file(&g, "other", 300000);
    origin = g.b.v;
    CHECK_OK(volume_clone(origin, NULL, "clone", &g.b.v));
    up = rig_back_up(&g, "s");
    CHECK_OK(tier_pin(origin, vfs_node_ino(box_node(origin, box_root(origin), "f")), true));
    res = tiering_released(&g, up.id, "s");
    g.b.v = origin;
    is(&g, "f", "pinned");
    CHECK_EQ(tiering_remote(&g), 303104); /* of the other one */
    CHECK(res.pinned >= 300000);
    box_sound(&g.b);
    rig_end(&g);
}

TEST(test_tier__a_pin_is_a_part_of_snapshots)
{
    struct repo_rig g;

    rig_begin(&g);
    rig_fill_file(&g, "f", 300000);
    pin(&g, "f", true);
    pin(&g, "f", true);
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    pin(&g, "f", false);
    is(&g, "f", "local");
    CHECK(strcmp(state(&g, box_view(g.b.v, "s"), "f"), "pinned") == 0);
    CHECK_OK(snap_rollback(g.b.v, &g.b.c, "s", NULL));
    is(&g, "f", "pinned");
    rig_end(&g);
}

TEST(test_tier__states_follow_the_bytes)
{
    cleanup(buf_free) struct buf value = {0};
    struct backup_result up;
    struct repo_rig g;
    uint8_t bytes[5000];
    vfs_node f;
    size_t n;

    rig_begin(&g);
    tiering_connect(&g);
    rig_fill_file(&g, "f", 3000000);
    box_text(&g.b, g.b.v, "small", "in the tables");
    is(&g, "f", "local");
    up = rig_back_up(&g, "s");
    is(&g, "f", "local"); /* nobody has said that this was a backup */
    CHECK_OK(snap_label(g.b.v, "s", "base.0", "x"));
    is(&g, "f", "both");
    is(&g, "small", "local");
    tiering_released(&g, up.id, "s");
    is(&g, "f", "remote");
    is(&g, "", "local");
    f = box_node(g.b.v, box_root(g.b.v), "f");
    CHECK_OK(tier_xattr(g.b.v, f, TIER_REMOTE_XATTR, &value));
    CHECK(strcmp(buf_cstr(&value), "3002368") == 0);
    CHECK_ERR(tier_xattr(g.b.v, f, "user.varve.tier.x", &value), -E_NODATA);
    CHECK_OK(vfs_read(g.b.v, f, bytes, sizeof(bytes), 1500000, &n));
    is(&g, "f", "partial");
    CHECK_OK(cold_settle(g.b.s));
    is(&g, "f", "partial");
    for (uint64_t at = 0; at < 3000000; at += sizeof(bytes))
        CHECK_OK(vfs_read(g.b.v, f, bytes, sizeof(bytes), at, &n));
    is(&g, "f", "both");
    box_fill(&g.b, g.b.v, "f", 4096, 10, 1);
    is(&g, "f", "local");
    rig_end(&g);
}
