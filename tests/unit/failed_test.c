/* A write-back that failed: the volume is read-only, says why, also after the daemon's death, until a check. */
#include <unistd.h>

#include "base/log.h"
#include "snap/check.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

static int write_to(struct rig *g, const char *name)
{
    return vfs_write(g->b.v, &g->b.c, rig_node(g, name), "x", 1, 0, false);
}

static void fail_one(struct rig *g)
{
    struct vol *other;

    log_set_level(LOG_ERROR);
    rig_open(g);
    CHECK_OK(volume_create(g->b.s, "other", NULL, &other));
    rig_write(g, "a", 0, 300000, rig_a);
    rig_write(g, "b", 0, 100, rig_a);
    rig_fsync(g, "b");
    rig_fsync(g, "a");
    rig_write(g, "a", 0, 300000, rig_b);
    lying_fail_at(g->d, LYING_FDATASYNC, 1, -E_IO);
    CHECK_ERR(vfs_fsync(g->b.v, rig_node(g, "a")), -E_IO);
    lying_fail_off(g->d);
}

TEST(test_failed__its_volume_is_read_only_and_others_are_not)
{
    struct vfs_attr a;
    struct store_state st;
    struct vol *other;
    struct rig g;

    fail_one(&g);
    CHECK_ERR(write_to(&g, "b"), -E_ROFS);
    CHECK(strstr(g.b.v->why_readonly, "write-back of inode"));
    store_get_state(g.b.s, &st);
    CHECK(st.mode == STORE_RW);
    CHECK_OK(volume_find(g.b.s, "other", &other));
    CHECK_OK(vfs_mknod(other, &g.b.c, box_root(other), "f", S_IFREG | 0644, 0, &a));
    rig_expect(&g, "b", 0, 100, rig_a);
    box_drop(&g.b);
}

TEST(test_failed__over_the_daemons_death_until_a_check)
{
    struct check_opts o = {.quiet = true};
    struct check_result res;
    struct rig g;

    fail_one(&g);
    rig_die(&g);
    CHECK(g.b.v->readonly);
    CHECK(strstr(g.b.v->why_readonly, "write-back of inode"));
    CHECK_ERR(write_to(&g, "b"), -E_ROFS);
    rig_check(&g);
    box_close(&g.b);
    CHECK_OK(check_path(g.b.io, g.b.path, &o, &res));
    CHECK_EQ(res.problems, 0);
    box_attach(&g.b);
    CHECK(!g.b.v->readonly);
    CHECK_OK(write_to(&g, "b"));
    rig_close(&g);
}

TEST(test_failed__leaves_no_file_that_nobody_knows)
{
    struct rig g;

    log_set_level(LOG_ERROR);
    rig_open(&g);
    rig_write(&g, "new", 0, 300000, rig_a);
    lying_fail_at(g.d, LYING_FDATASYNC, 1, -E_IO);
    (void)vfs_fsync(g.b.v, rig_node(&g, "new"));
    lying_fail_off(g.d);
    CHECK_OK(store_checkpoint(g.b.s)); /* what the failed one needed of the journal goes */
    rig_die(&g);
    rig_check(&g);
    box_close(&g.b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
