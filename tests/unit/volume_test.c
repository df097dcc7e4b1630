#include "snap/volume.h"

#include "base/clock.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

TEST(test_volume__names_that_would_confuse_are_refused)
{
    char longest[NAME_LEN_MAX + 2];

    memset(longest, 'x', sizeof(longest) - 1);
    longest[NAME_LEN_MAX + 1] = 0;
    CHECK_ERR(volume_name_check(longest), -E_NAMETOOLONG);
    longest[NAME_LEN_MAX] = 0;
    CHECK_OK(volume_name_check(longest));
    CHECK_ERR(volume_name_check(""), -E_NAME);
    CHECK_ERR(volume_name_check(".x"), -E_NAME);
    CHECK_ERR(volume_name_check("a/b"), -E_NAME);
    CHECK_ERR(volume_name_check("a@b"), -E_NAME);
    CHECK_ERR(volume_name_check("a#b"), -E_NAME);
    CHECK_ERR(volume_name_check("a\nb"), -E_NAME);
    CHECK_ERR(volume_name_check("journal"), -E_NAME);
    CHECK_OK(volume_name_check("journals"));
}

TEST(test_volume__create_find_rename_resize)
{
    struct volume_opts o = {.size_limit = 8 << 20, .inode_limit = 10, .uid = 7, .gid = 8, .mode = 0700};
    struct vol *v, *w;
    struct vfs_attr a;
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_OK(volume_create(b.s, "two", &o, &v));
    CHECK_ERR(volume_create(b.s, "two", &o, &w), -E_EXIST);
    o.size_limit = 4096;
    CHECK_ERR(volume_create(b.s, "three", &o, &w), -E_INVAL);
    CHECK_OK(vfs_getattr(v, box_root(v), &a));
    CHECK_EQ(a.mode, S_IFDIR | 0700);
    CHECK_EQ(a.uid, 7);
    CHECK_EQ(a.nlink, 2);
    CHECK_ERR(volume_rename(v, "main"), -E_EXIST);
    CHECK_OK(volume_rename(v, "zwei"));
    CHECK_ERR(volume_find(b.s, "two", &w), -E_NOENT);
    CHECK_OK(volume_resize(v, 16 << 20));
    CHECK_ERR(volume_resize(v, 5), -E_INVAL);
    box_reopen(&b);
    CHECK_OK(volume_find(b.s, "zwei", &w));
    CHECK_EQ(w->rec.size_limit, 16 << 20);
    CHECK_EQ(w->rec.inode_limit, 10);
    box_sound(&b);
    box_close(&b);
}

static int count(void *arg, struct vol *v)
{
    (void)v;
    ++*(int *)arg;
    return 0;
}

TEST(test_volume__delete_is_refused_while_in_use_and_can_be_undone_for_a_day)
{
    struct vol *v, *w;
    char why[256];
    struct box b;
    int n = 0;

    clock_test_set(1000000000000000000ll, 1000000000ll);
    box_open(&b, NULL, NULL);
    CHECK_OK(volume_create(b.s, "two", NULL, &v));
    box_text(&b, v, "f", "kept");
    v->mounts = 1;
    CHECK_ERR(volume_delete(v, why), -E_MOUNTED);
    v->mounts = 0;
    CHECK_OK(volume_clone(v, NULL, "copy", &w));
    CHECK_ERR(volume_delete(v, why), -E_CLONES);
    CHECK(strcmp(why, "copy") == 0);
    CHECK_OK(volume_delete(w, why));
    CHECK_ERR(volume_delete(v, why), -E_CLONES); /* it may come back */
    CHECK_OK(volume_purge(w));
    box_sound(&b);
    CHECK_OK(volume_delete(v, why));
    CHECK_ERR(volume_find(b.s, "two", &w), -E_NOENT);
    CHECK_OK(volume_each(b.s, count, &n));
    CHECK_EQ(n, 1);
    CHECK_OK(volume_undelete(b.s, "two", &w));
    CHECK(box_is(w, box_root(w), "f", "kept"));
    CHECK_OK(volume_delete(w, NULL));
    clock_test_advance(23 * 3600 * 1000000000ll);
    CHECK_OK(snap_expire_due(b.s));
    CHECK_OK(volume_undelete(b.s, "two", &w));
    CHECK_OK(volume_delete(w, NULL));
    clock_test_advance(25 * 3600 * 1000000000ll);
    CHECK_OK(snap_expire_due(b.s));
    CHECK_ERR(volume_undelete(b.s, "two", &w), -E_NOENT);
    box_close(&b);
    clock_test_off();
}

TEST(test_volume__purge_frees_everything_of_it)
{
    uint64_t seed = test_seed();
    char name[32];
    struct vol *v;
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_OK(volume_create(b.s, "two", NULL, &v));
    for (int i = 0; i < 6; i++) {
        box_mess(&b, v, &seed, 60);
        snprintf(name, sizeof(name), "s%d", i);
        CHECK_OK(snap_create(v, &b.c, name, NULL));
        if (i == 3)
            CHECK_OK(snap_rollback(v, &b.c, "s1", NULL));
    }
    CHECK_OK(volume_delete(v, NULL));
    CHECK_OK(volume_purge(v));
    box_sound(&b);
    CHECK_EQ(box_objects(&b), 0);
    CHECK_EQ(box_records(&b, TAB_INODE, 0), 1); /* the root of main */
    CHECK_EQ(box_records(&b, TAB_INODE | TAB_HISTORY, 0), 0);
    CHECK_EQ(box_records(&b, TAB_DIRENT, 0), 0);
    CHECK_EQ(box_records(&b, TAB_SPAN, 0), 0);
    CHECK_EQ(box_records(&b, TAB_DATA, 0), 0);
    CHECK_EQ(box_records(&b, TAB_TOUCHED, 0), 1);
    CHECK_EQ(box_records(&b, TAB_LAYER, 0), 0);
    CHECK_EQ(box_records(&b, TAB_VOLUME, 0), 1);
    CHECK_EQ(box_records(&b, TAB_BRANCH, 0), 1);
    CHECK_EQ(box_records(&b, TAB_SNAPNAME, 0), 0);
    box_reopen(&b);
    box_sound(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
