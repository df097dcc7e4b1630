/* One prune at a time, and lists of what is condemned that cannot be read. */
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/lease.h"

TEST(test_lease__one_at_a_time)
{
    cleanup(buf_free) struct buf err = {0};
    struct backend *b;
    struct prune_result res;
    struct lease l, second;
    unsigned gone, alive;
    struct repo_rig g;

    rig_begin(&g);
    b = mem_backend(g.w.m);
    CHECK_OK(lease_take(g.w.r, &l, &err));
    CHECK_ERR(rig_try_prune(&g, true, &res), -E_BUSY);
    CHECK_OK(lease_break(b, NULL, false, &gone, &alive));
    CHECK(gone == 0 && alive == 1);
    mem_later(g.w.m, LEASE_NS + 1); /* its holder has not been heard of: taken over */
    CHECK_OK(lease_take(g.w.r, &second, &err));
    l.put_ns = 0;
    CHECK_ERR(lease_keep(&l), -E_BUSY);
    second.put_ns = 0;
    CHECK_OK(lease_keep(&second));
    CHECK_EQ(mem_count(g.w.m, "lease/"), 1);
    CHECK_OK(lease_break(b, NULL, true, &gone, &alive));
    CHECK(gone == 1 && alive == 0);
    rig_prune(&g, true);
    backend_close(b);
    rig_end(&g);
}

/* Its number may be another's: after an unlock, or where a store lets two put the same name. And a lost answer is no other's. */
TEST(test_lease__it_is_known_by_its_holder)
{
    cleanup(buf_free) struct buf err = {0};
    struct lease l, second;
    struct repo_rig g;

    rig_begin(&g);
    CHECK_OK(lease_take(g.w.r, &l, &err));
    mem_drop(g.w.m, mem_name(g.w.m, "lease/", 0));
    CHECK_OK(lease_take(g.w.r, &second, &err));
    CHECK_EQ(l.number, second.number);
    l.put_ns = second.put_ns = 0;
    CHECK_ERR(lease_keep(&l), -E_BUSY);
    CHECK_OK(lease_keep(&second));
    lease_drop(&second);
    mem_fault(g.w.m, 1, MEM_UNSURE_DONE, true);
    CHECK_OK(lease_take(g.w.r, &l, &err));
    CHECK(mem_hit(g.w.m));
    lease_drop(&l);
    CHECK_EQ(mem_count(g.w.m, "lease/"), 0);
    rig_end(&g);
}

/* Where a deleted name is taken for one that is there two may go on to different numbers at the same moment. */
TEST(test_lease__two_who_pass_over_a_name_do_not_both_have_it)
{
    cleanup(buf_free) struct buf err = {0};
    struct repo_rig g;
    struct lease l;

    rig_begin(&g);
    mem_ghost(g.w.m, "lease/prune.00000001", NULL);
    CHECK_OK(lease_take(g.w.r, &l, &err));
    CHECK(l.number > 1);
    lease_drop(&l);
    mem_drop(g.w.m, "lease/prune.00000001");
    mem_ghost(g.w.m, "lease/prune.00000001", "lease/prune.00000900");
    CHECK_ERR(lease_take(g.w.r, &l, &err), -E_BUSY);
    CHECK_EQ(mem_count(g.w.m, "lease/"), 2);
    mem_drop(g.w.m, "lease/prune.00000001");
    mem_drop(g.w.m, "lease/prune.00000900");
    CHECK_OK(lease_take(g.w.r, &l, &err));
    mem_ghost(g.w.m, "lease/prune.00000002", "lease/prune.00000900");
    l.put_ns = 0;
    CHECK_ERR(lease_keep(&l), -E_BUSY);
    CHECK_EQ(l.number, 1);
    lease_drop(&l);
    CHECK_EQ(mem_count(g.w.m, "lease/"), 2);
    rig_end(&g);
}

/* Nobody deletes by a list that cannot be read, nobody writes while it is there; it goes when nobody carries it out. */
TEST(test_lease__damaged_lists_are_removed_safely)
{
    cleanup(buf_free) struct buf want = {0}, err = {0}, lines = {0};
    struct backup_result a, b;
    struct prune_result res;
    char list[BACKEND_NAME_MAX + 1];
    struct lease l;
    struct repo_rig g;
    uint64_t n;

    a = rig_begin_with(&g, 5u << 20, &want);
    rig_point_delete(&g, a.id);
    CHECK(rig_prune_later(&g).condemned > 0);
    CHECK_OK(lease_take(g.w.r, &l, &err)); /* which is wanted only where there is something to do */
    CHECK_OK(condemned_mend(g.w.r, &n, &err));
    CHECK(n == 0 && mem_count(g.w.m, "condemned/") == 1); /* one that is whole stays */
    lease_drop(&l);
    snprintf(list, sizeof(list), "%s", mem_name(g.w.m, "condemned/", 0));
    mem_flip(g.w.m, list, 90);
    rig_wait_grace(&g);
    rig_snapshot(&g, "b");
    CHECK_ERR(rig_try_backup(&g, "b", false, &b), -E_CORRUPT);
    CHECK(strstr(backend_text(-E_CORRUPT), "verify --repair removes it"));
    CHECK_ERR(rig_try_prune(&g, false, &res), -E_CORRUPT);
    CHECK_EQ(rig_verified(&g, false, &lines).damages, 1);
    CHECK(strstr(buf_cstr(&lines), "list of condemned packs"));
    CHECK_OK(lease_take(g.w.r, &l, &err));
    CHECK_ERR(condemned_mend(g.w.r, &n, &err), -E_BUSY); /* somebody may be deleting by it */
    CHECK_EQ(mem_count(g.w.m, "condemned/"), 1);
    lease_drop(&l);
    CHECK_OK(condemned_mend(g.w.r, &n, &err));
    CHECK(n == 1 && mem_count(g.w.m, "condemned/") == 0 && mem_count(g.w.m, "lease/") == 0);
    CHECK_OK(rig_try_backup(&g, "b", false, &b));
    rig_prune(&g, false);
    rig_prune_later(&g);
    rig_sound(&g);
    rig_restores_to(&g, b.id, &want);
    rig_end(&g);
}
