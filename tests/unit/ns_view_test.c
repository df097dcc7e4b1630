/* Looking at snapshots through node ids, and what may not be changed there. */
#include <unistd.h>

#include "snap/ns.h"
#include "snap/snapshot.h"
#include "tests/lib/nsfix.h"

struct tree {
    vfs_node dir, file, sub, view, vdir, vfile;
};

static void make(struct nsfix *f, struct tree *t)
{
    struct vfs_attr a;

    t->dir = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755);
    t->file = nsfix_mk(f, t->dir, "f", S_IFREG | 0644);
    t->sub = nsfix_mk(f, t->dir, "sub", S_IFDIR | 0755);
    CHECK_OK(vfs_symlink(f->v, &f->c, t->dir, "l", "there", NULL));
    CHECK_OK(vfs_write(f->v, &f->c, t->file, "then", 4, 0, false));
    CHECK_OK(vfs_setxattr(f->v, &f->c, t->file, "user.x", "then", 4, 0, false));
    CHECK_OK(snap_create(f->v, &f->c, "s", NULL));
    CHECK_OK(vfs_write(f->v, &f->c, t->file, "later", 5, 0, false));
    CHECK_OK(vfs_setxattr(f->v, &f->c, t->file, "user.x", "later", 5, 0, false));
    CHECK_OK(vfs_unlink(f->v, &f->c, t->dir, "l"));
    CHECK_OK(vfs_rename(f->v, &f->c, t->dir, "sub", NSFIX_ROOT, "moved", 0));
    CHECK_OK(view_enter(f->v, "s", INO_ROOT, &t->view, &a));
    t->vdir = nsfix_look(f, t->view, "d").node;
    t->vfile = nsfix_look(f, t->vdir, "f").node;
}

TEST(test_ns_view__shows_what_was)
{
    cleanup(buf_free) struct buf x = {0}, l = {0};
    struct nsfix f;
    struct tree t;
    struct vfs_attr a;
    vfs_node up;
    char b[8];
    size_t len;

    nsfix_open(&f, NSFIX_PLAIN);
    make(&f, &t);
    CHECK_OK(vfs_read(f.v, t.vfile, b, sizeof(b), 0, &len));
    CHECK(len == 4 && memcmp(b, "then", 4) == 0);
    CHECK_OK(vfs_getxattr(f.v, t.vfile, "user.x", &x));
    CHECK(x.len == 4 && memcmp(x.data, "then", 4) == 0);
    CHECK_OK(vfs_readlink(f.v, nsfix_look(&f, t.vdir, "l").node, &l));
    CHECK_EQ(l.len, 5);
    CHECK_EQ(nsfix_count(&f, t.vdir), 3);
    CHECK_EQ(nsfix_count(&f, t.dir), 1);
    CHECK(!nsfix_has(&f, t.view, "moved"));
    a = nsfix_attr(&f, t.vfile);
    CHECK_EQ(a.st_ino, a.node.v);
    CHECK(a.st_ino != vfs_node_ino(a.node));
    CHECK_EQ(vfs_node_ino(a.node), vfs_node_ino(t.file));
    CHECK_OK(vfs_parent(f.v, nsfix_look(&f, t.vdir, "sub").node, &up));
    CHECK_EQ(up.v, t.vdir.v);
    CHECK_OK(vfs_parent(f.v, t.view, &up));
    CHECK_EQ(up.v, t.view.v);
    CHECK_OK(view_enter(f.v, "s", vfs_node_ino(t.dir), &t.view, &a)); /* another way in: another view */
    CHECK(vfs_node_view(t.view) != vfs_node_view(t.vdir));
    CHECK_OK(vfs_parent(f.v, t.view, &up));
    CHECK_EQ(up.v, t.view.v);
    nsfix_verify(&f);
    nsfix_close(&f);
}

static void check_frozen(struct nsfix *f, const struct tree *t, int want)
{
    struct vfs_setattr sa = {.set = VFS_MODE, .mode = 0600}, size = {.set = VFS_SIZE, .size = 1};
    struct vfs_attr a;
    uint64_t len;

    CHECK_ERR(vfs_mknod(f->v, &f->c, t->vdir, "n", S_IFREG, 0, &a), want);
    CHECK_ERR(vfs_symlink(f->v, &f->c, t->vdir, "n", "t", &a), want);
    CHECK_ERR(vfs_tmpfile(f->v, &f->c, t->vdir, 0600, &a), want);
    CHECK_ERR(vfs_link(f->v, &f->c, t->vfile, t->vdir, "n", &a), want);
    CHECK_ERR(vfs_unlink(f->v, &f->c, t->vdir, "f"), want);
    CHECK_ERR(vfs_rmdir(f->v, &f->c, t->vdir, "sub"), want);
    CHECK_ERR(vfs_rename(f->v, &f->c, t->vdir, "f", t->vdir, "g", 0), want);
    CHECK_ERR(vfs_setattr(f->v, &f->c, t->vfile, &sa, &a), want);
    CHECK_ERR(vfs_setattr(f->v, &f->c, t->vfile, &size, &a), want);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, t->vfile, "user.y", "", 0, 0, false), want);
    CHECK_ERR(vfs_removexattr(f->v, &f->c, t->vfile, "user.x"), want);
    CHECK_ERR(vfs_write(f->v, &f->c, t->vfile, "x", 1, 0, false), want);
    CHECK_ERR(vfs_fallocate(f->v, &f->c, t->vfile, 0, 0, 1), want);
    CHECK_ERR(vfs_copy(f->v, &f->c, t->vfile, 0, t->vfile, 4096, 4, &len), want);
    CHECK_OK(vfs_fsync(f->v, t->vfile));
}

TEST(test_ns_view__a_snapshot_is_not_changed)
{
    struct nsfix f;
    struct tree t;
    struct vfs_attr a;
    uint64_t len;
    char b[8];
    size_t n;

    nsfix_open(&f, NSFIX_PLAIN);
    make(&f, &t);
    check_frozen(&f, &t, -E_ROFS);
    CHECK_ERR(vfs_link(f.v, &f.c, t.vfile, t.dir, "n", &a), -E_XDEV);
    CHECK_ERR(vfs_link(f.v, &f.c, t.file, t.vdir, "n", &a), -E_XDEV);
    CHECK_ERR(vfs_rename(f.v, &f.c, t.vdir, "f", t.dir, "n", 0), -E_XDEV);
    CHECK_ERR(vfs_rename(f.v, &f.c, t.dir, "f", t.vdir, "n", 0), -E_XDEV);
    CHECK_OK(vfs_copy(f.v, &f.c, t.vfile, 0, t.file, 0, 4, &len)); /* a restore */
    CHECK_EQ(len, 4);
    CHECK_OK(vfs_read(f.v, t.file, b, sizeof(b), 0, &n));
    CHECK(n == 5 && memcmp(b, "thenr", 5) == 0);
    nsfix_verify(&f);
    nsfix_close(&f);
}

TEST(test_ns_view__the_tree_before_a_rollback_is_stale)
{
    struct nsfix f;
    struct tree t;
    struct vfs_attr a;
    char kept[NAME_LEN_MAX + 1], b[8];
    size_t n;

    nsfix_open(&f, NSFIX_PLAIN);
    make(&f, &t);
    CHECK_OK(snap_rollback(f.v, &f.c, "s", kept));
    CHECK_OK(vfs_read(f.v, t.file, b, sizeof(b), 0, &n)); /* what was open goes on showing what it had */
    CHECK(n == 5 && memcmp(b, "later", 5) == 0);
    CHECK_ERR(vfs_write(f.v, &f.c, t.file, "x", 1, 0, false), -E_STALE);
    CHECK_ERR(vfs_mknod(f.v, &f.c, t.dir, "n", S_IFREG, 0, &a), -E_STALE);
    CHECK_ERR(vfs_unlink(f.v, &f.c, t.dir, "f"), -E_STALE);
    CHECK_ERR(vfs_rename(f.v, &f.c, t.dir, "f", NSFIX_ROOT, "n", 0), -E_STALE);
    t.dir = nsfix_look(&f, NSFIX_ROOT, "d").node; /* the root's node stays */
    t.file = nsfix_look(&f, t.dir, "f").node;
    CHECK_OK(vfs_read(f.v, t.file, b, sizeof(b), 0, &n));
    CHECK(n == 4 && memcmp(b, "then", 4) == 0);
    CHECK(nsfix_has(&f, t.dir, "sub"));
    CHECK_OK(vfs_unlink(f.v, &f.c, t.dir, "f"));
    nsfix_verify(&f);
    nsfix_reopen(&f);
    nsfix_verify(&f);
    nsfix_close(&f);
}

TEST(test_ns_view__a_volume_that_may_not_be_written)
{
    struct nsfix f;
    struct tree t;
    struct vfs_attr a;

    nsfix_open(&f, NSFIX_PLAIN);
    make(&f, &t);
    f.v->readonly = true;
    t.vdir = t.dir;
    t.vfile = t.file;
    CHECK_ERR(vfs_mknod(f.v, &f.c, t.dir, "n", S_IFREG, 0, &a), -E_ROFS);
    CHECK_ERR(vfs_link(f.v, &f.c, t.file, t.dir, "n", &a), -E_ROFS);
    CHECK_ERR(vfs_rename(f.v, &f.c, t.dir, "f", t.dir, "g", 0), -E_ROFS);
    CHECK_ERR(vfs_unlink(f.v, &f.c, t.dir, "f"), -E_ROFS);
    CHECK_ERR(vfs_write(f.v, &f.c, t.file, "x", 1, 0, false), -E_ROFS);
    CHECK_EQ(nsfix_look(&f, t.dir, "f").size, 5);
    f.v->readonly = false;
    nsfix_close(&f);
}

TEST(test_ns_view__quota_counts_files)
{
    struct nsfix f;
    struct vfs_attr a;
    struct statvfs st;
    struct vol *v;
    vfs_node n;
    char name[16];
    static char block[8192];

    nsfix_open(&f, NSFIX_PLAIN);
    CHECK_OK(
        volume_create(f.s, "small", &(struct volume_opts){.size_limit = 1 << 20, .inode_limit = 10}, &v));
    f.v = v;
    CHECK_OK(vfs_statfs(v, &st));
    CHECK_EQ(st.f_blocks, 256);
    CHECK_EQ(st.f_bfree, 256);
    CHECK_EQ(st.f_files, 10);
    CHECK_EQ(st.f_ffree, 9);
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        nsfix_mk(&f, NSFIX_ROOT, name, S_IFREG | 0644);
    }
    CHECK_ERR(vfs_mknod(v, &f.c, NSFIX_ROOT, "g", S_IFREG, 0, &a), -E_QUOTA_INODES);
    CHECK_ERR(vfs_mknod(v, &f.c, NSFIX_ROOT, "g", S_IFDIR, 0, &a), -E_QUOTA_INODES);
    CHECK_ERR(vfs_symlink(v, &f.c, NSFIX_ROOT, "g", "t", &a), -E_QUOTA_INODES);
    CHECK_ERR(vfs_tmpfile(v, &f.c, NSFIX_ROOT, 0600, &a), -E_QUOTA_INODES);
    CHECK_OK(vfs_link(v, &f.c, nsfix_look(&f, NSFIX_ROOT, "f0").node, NSFIX_ROOT, "g", &a));
    n = nsfix_look(&f, NSFIX_ROOT, "f1").node;
    CHECK_OK(vfs_write(v, &f.c, n, block, sizeof(block), 0, false));
    CHECK_OK(vfs_statfs(v, &st));
    CHECK_EQ(st.f_bfree, 254);
    CHECK_EQ(st.f_ffree, 0);
    CHECK_ERR(vfs_write(v, &f.c, n, block, 4096, 1 << 21, false), 0);
    CHECK_ERR(vfs_fallocate(v, &f.c, n, 0, 0, 4 << 20), -E_QUOTA);
    CHECK_OK(vfs_unlink(v, &f.c, NSFIX_ROOT, "f1"));
    CHECK_OK(vfs_orphans_drop_all(v));
    CHECK_OK(vfs_statfs(v, &st));
    CHECK_EQ(st.f_bfree, 256);
    CHECK_EQ(st.f_ffree, 1);
    nsfix_verify(&f);
    nsfix_close(&f);
}

TEST(test_ns_view__seek_and_holes_pass_through)
{
    static char b[200000];
    struct nsfix f;
    vfs_node n;
    uint64_t off;

    nsfix_open(&f, NSFIX_PLAIN);
    n = nsfix_mk(&f, NSFIX_ROOT, "f", S_IFREG | 0644);
    CHECK_OK(vfs_write(f.v, &f.c, n, b, sizeof(b), 1 << 20, false));
    CHECK_OK(vfs_seek(f.v, n, SEEK_DATA, 0, &off));
    CHECK_EQ(off, 1 << 20);
    CHECK_OK(vfs_seek(f.v, n, SEEK_HOLE, 0, &off));
    CHECK_EQ(off, 0);
    CHECK_ERR(vfs_seek(f.v, n, SEEK_DATA, 1 << 30, &off), -E_NXIO);
    CHECK_ERR(vfs_seek(f.v, n, SEEK_SET, 0, &off), -E_INVAL);
    CHECK_ERR(vfs_fallocate(f.v, &f.c, n, 0x08, 0, 4096), -E_NOTSUP);
    CHECK_ERR(vfs_fallocate(f.v, &f.c, n, 0, 0, 0), -E_INVAL);
    CHECK_ERR(vfs_read(f.v, NSFIX_ROOT, b, 1, 0, &(size_t){0}), -E_ISDIR);
    CHECK_ERR(vfs_write(f.v, &f.c, NSFIX_ROOT, b, 1, 0, false), -E_ISDIR);
    nsfix_verify(&f);
    nsfix_close(&f);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
