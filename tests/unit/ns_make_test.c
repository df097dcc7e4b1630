/* Creating, looking up, linking and removing names. */
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "snap/ns.h"
#include "tests/lib/nsfix.h"

static char *repeat(char c, size_t n, char *out)
{
    memset(out, c, n);
    out[n] = 0;
    return out;
}

NS_TEST(test_ns_make__every_type_is_found_again_as_made)
{
    static const struct {
        const char *name;
        uint32_t mode;
        uint64_t rdev;
        uint32_t nlink;
    } kinds[] = {
        {"reg", S_IFREG | 0644, 0, 1},     {"dir", S_IFDIR | 0755, 0, 2},
        {"fifo", S_IFIFO | 0600, 0, 1},    {"sock", S_IFSOCK | 0700, 0, 1},
        {"chr", S_IFCHR | 0640, 0x501, 1}, {"blk", S_IFBLK | 0660, 0x10203, 1},
        {"suid", S_IFREG | 07755, 0, 1},   {"none", S_IFREG | 0, 0, 1},
    };
    f->c.uid = 1000;
    f->c.gid = 100;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct vfs_attr a;

        CHECK_OK(vfs_mknod(f->v, &f->c, NSFIX_ROOT, kinds[i].name, kinds[i].mode, kinds[i].rdev, &a));
        CHECK_EQ(a.mode, kinds[i].mode);
    }
    nsfix_turn(f);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct vfs_attr a = nsfix_look(f, NSFIX_ROOT, kinds[i].name);

        CHECK_EQ(a.mode, kinds[i].mode);
        CHECK_EQ(a.rdev, kinds[i].rdev);
        CHECK_EQ(a.nlink, kinds[i].nlink);
        CHECK_EQ(a.uid, 1000);
        CHECK_EQ(a.gid, 100);
        CHECK_EQ(a.size, S_ISDIR(a.mode) ? NS_DIR_SIZE : 0);
        CHECK_EQ(a.st_ino, vfs_node_ino(a.node));
        CHECK_EQ(a.btime.tv_nsec, a.ctime.tv_nsec);
        CHECK_ERR(vfs_mknod(f->v, &f->c, NSFIX_ROOT, kinds[i].name, S_IFREG, 0, NULL), -E_EXIST);
    }
    CHECK_EQ(nsfix_attr(f, NSFIX_ROOT).nlink, 3);
    CHECK_EQ(nsfix_count(f, NSFIX_ROOT), ARRAY_LEN(kinds));
}

NS_TEST(test_ns_make__names_that_are_no_names_are_refused)
{
    char name[600];
    struct vfs_attr a;
    static const char *const bad[] = {"", ".", "..", "a/b", "/"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_ERR(vfs_lookup(f->v, NSFIX_ROOT, bad[i], &a), -E_INVAL);
        CHECK_ERR(vfs_mknod(f->v, &f->c, NSFIX_ROOT, bad[i], S_IFREG, 0, NULL), -E_INVAL);
        CHECK_ERR(vfs_symlink(f->v, &f->c, NSFIX_ROOT, bad[i], "x", NULL), -E_INVAL);
        CHECK_ERR(vfs_unlink(f->v, &f->c, NSFIX_ROOT, bad[i]), -E_INVAL);
        CHECK_ERR(vfs_rmdir(f->v, &f->c, NSFIX_ROOT, bad[i]), -E_INVAL);
        CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "x", NSFIX_ROOT, bad[i], 0), -E_INVAL);
    }
    CHECK_ERR(vfs_lookup(f->v, NSFIX_ROOT, repeat('n', 256, name), &a), -E_NAMETOOLONG);
    CHECK_ERR(vfs_mknod(f->v, &f->c, NSFIX_ROOT, name, S_IFREG, 0, NULL), -E_NAMETOOLONG);
    CHECK_ERR(vfs_mknod(f->v, &f->c, NSFIX_ROOT, "x", 0, 0, NULL), -E_INVAL);
    CHECK_ERR(vfs_mknod(f->v, &f->c, NSFIX_ROOT, "x", S_IFLNK | 0777, 0, NULL), -E_INVAL);
    nsfix_mk(f, NSFIX_ROOT, repeat('n', 255, name), S_IFREG | 0644);
    name[254] = '\xff';
    nsfix_mk(f, NSFIX_ROOT, name, S_IFDIR | 0755);
    nsfix_turn(f);
    CHECK(S_ISDIR(nsfix_look(f, NSFIX_ROOT, name).mode));
    CHECK(S_ISREG(nsfix_look(f, NSFIX_ROOT, repeat('n', 255, name)).mode));
    CHECK_EQ(nsfix_count(f, NSFIX_ROOT), 2);
}

NS_TEST(test_ns_make__what_is_no_directory_holds_no_names)
{
    vfs_node file = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644), gone = vfs_node_make(0, 999999);
    struct vfs_attr a;

    nsfix_turn(f);
    CHECK_ERR(vfs_lookup(f->v, file, "x", &a), -E_NOTDIR);
    CHECK_ERR(vfs_mknod(f->v, &f->c, file, "x", S_IFREG, 0, NULL), -E_NOTDIR);
    CHECK_ERR(vfs_symlink(f->v, &f->c, file, "x", "y", NULL), -E_NOTDIR);
    CHECK_ERR(vfs_tmpfile(f->v, &f->c, file, 0600, &a), -E_NOTDIR);
    CHECK_ERR(vfs_link(f->v, &f->c, file, file, "x", &a), -E_NOTDIR);
    CHECK_ERR(vfs_unlink(f->v, &f->c, file, "x"), -E_NOTDIR);
    CHECK_ERR(vfs_rmdir(f->v, &f->c, file, "x"), -E_NOTDIR);
    CHECK_ERR(vfs_lookup(f->v, gone, "x", &a), -E_STALE);
    CHECK_ERR(vfs_getattr(f->v, gone, &a), -E_STALE);
    CHECK_ERR(vfs_getattr(f->v, (vfs_node){0}, &a), -E_STALE);
    CHECK_ERR(vfs_mknod(f->v, &f->c, gone, "x", S_IFREG, 0, NULL), -E_STALE);
    CHECK_ERR(vfs_getattr(f->v, vfs_node_make(77, 1), &a), -E_STALE);
    CHECK_ERR(vfs_mknod(f->v, &f->c, vfs_node_make(77, 1), "x", S_IFREG, 0, NULL), -E_STALE);
}

NS_TEST(test_ns_make__umask_and_setgid_directories)
{
    vfs_node dir;
    struct vfs_attr a;
    struct vfs_setattr sa = {.set = VFS_MODE | VFS_GID, .mode = 02775, .gid = 77};

    f->c = (struct vfs_ctx){.uid = 5, .gid = 6, .umask = 027};
    dir = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0777);
    CHECK_EQ(nsfix_attr(f, dir).mode, S_IFDIR | 0750);
    CHECK_OK(vfs_setattr(f->v, &f->c, dir, &sa, &a));
    CHECK_EQ(a.mode, S_IFDIR | 02775);
    nsfix_turn(f);
    a = nsfix_attr(f, nsfix_mk(f, dir, "file", S_IFREG | 0666));
    CHECK_EQ(a.gid, 77);
    CHECK_EQ(a.uid, 5);
    CHECK_EQ(a.mode, S_IFREG | 0640);
    a = nsfix_attr(f, nsfix_mk(f, dir, "sub", S_IFDIR | 0777));
    CHECK_EQ(a.gid, 77);
    CHECK_EQ(a.mode, S_IFDIR | 02750);
    CHECK_OK(vfs_symlink(f->v, &f->c, dir, "l", "t", &a));
    CHECK_EQ(a.gid, 77);
    CHECK_EQ(a.mode, S_IFLNK | 0777);
    CHECK_OK(vfs_tmpfile(f->v, &f->c, dir, 0666, &a));
    CHECK_EQ(a.gid, 77);
    CHECK_EQ(a.mode, S_IFREG | 0640);
}

NS_TEST(test_ns_make__symlinks_of_every_length)
{
    static const size_t lens[] = {1, 59, 1023, 1024, 1025, 2048, 3000, 4095};
    char target[5000], name[32];
    struct vfs_attr a;

    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        snprintf(name, sizeof(name), "l%zu", i);
        CHECK_OK(vfs_symlink(f->v, &f->c, NSFIX_ROOT, name, repeat((char)('a' + i), lens[i], target), &a));
        CHECK_EQ(a.size, lens[i]);
        CHECK_EQ(a.mode, S_IFLNK | 0777);
    }
    nsfix_turn(f);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        cleanup(buf_free) struct buf b = {0};

        snprintf(name, sizeof(name), "l%zu", i);
        CHECK_OK(vfs_readlink(f->v, nsfix_look(f, NSFIX_ROOT, name).node, &b));
        CHECK_EQ(b.len, lens[i]);
        CHECK(strcmp((char *)b.data, repeat((char)('a' + i), lens[i], target)) == 0);
    }
    CHECK_ERR(vfs_symlink(f->v, &f->c, NSFIX_ROOT, "x", repeat('x', 4096, target), NULL), -E_NAMETOOLONG);
    CHECK_ERR(vfs_symlink(f->v, &f->c, NSFIX_ROOT, "x", "", NULL), -E_NOENT);
    CHECK_ERR(vfs_symlink(f->v, &f->c, NSFIX_ROOT, "l0", "y", NULL), -E_EXIST);
    CHECK_ERR(vfs_readlink(f->v, NSFIX_ROOT, &(struct buf){0}), -E_INVAL);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        snprintf(name, sizeof(name), "l%zu", i);
        CHECK_OK(vfs_unlink(f->v, &f->c, NSFIX_ROOT, name));
    }
    CHECK_OK(vfs_orphans_drop_all(f->v));
    CHECK_EQ(f->v->stat.inodes, 1);
    CHECK_EQ(vol_used_blocks(f->v), 0);
}

NS_TEST(test_ns_make__hard_links_over_directories)
{
    vfs_node d1 = nsfix_mk(f, NSFIX_ROOT, "d1", S_IFDIR | 0755),
             d2 = nsfix_mk(f, NSFIX_ROOT, "d2", S_IFDIR | 0755);
    vfs_node n = nsfix_mk(f, d1, "a", S_IFREG | 0600);
    struct vfs_attr a;

    CHECK_OK(vfs_link(f->v, &f->c, n, d2, "b", &a));
    CHECK_EQ(a.nlink, 2);
    CHECK_OK(vfs_link(f->v, &f->c, n, d1, "c", &a));
    CHECK_OK(vfs_link(f->v, &f->c, n, NSFIX_ROOT, "d", &a));
    nsfix_turn(f);
    nsfix_verify(f);
    CHECK_EQ(nsfix_look(f, d2, "b").nlink, 4);
    CHECK_EQ(nsfix_look(f, d2, "b").node.v, n.v);
    CHECK_ERR(vfs_link(f->v, &f->c, n, d2, "b", &a), -E_EXIST);
    CHECK_ERR(vfs_link(f->v, &f->c, d1, d2, "x", &a), -E_PERM);
    CHECK_ERR(vfs_link(f->v, &f->c, vfs_node_make(0, 4242), d2, "x", &a), -E_STALE);
    CHECK_OK(vfs_unlink(f->v, &f->c, d1, "a")); /* the one that the inode's record holds */
    nsfix_verify(f);
    nsfix_turn(f);
    CHECK_OK(vfs_unlink(f->v, &f->c, d2, "b"));
    nsfix_verify(f);
    CHECK_OK(vfs_rename(f->v, &f->c, d1, "c", d2, "e", 0));
    nsfix_verify(f);
    CHECK_EQ(nsfix_look(f, d2, "e").nlink, 2);
    nsfix_turn(f);
    CHECK_OK(vfs_unlink(f->v, &f->c, NSFIX_ROOT, "d"));
    CHECK_EQ(nsfix_attr(f, n).nlink, 1);
    CHECK_OK(vfs_unlink(f->v, &f->c, d2, "e"));
    CHECK_EQ(nsfix_attr(f, n).nlink, 0);
}

NS_TEST(test_ns_make__an_unlinked_file_lives_until_it_is_dropped)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0600);
    struct vfs_attr a, before = nsfix_attr(f, n);
    char byte = 0;
    size_t len;

    CHECK_OK(vfs_write(f->v, &f->c, n, "kept", 4, 0, false));
    nsfix_turn(f);
    CHECK_OK(vfs_unlink(f->v, &f->c, NSFIX_ROOT, "f"));
    CHECK(!nsfix_has(f, NSFIX_ROOT, "f"));
    CHECK_ERR(vfs_unlink(f->v, &f->c, NSFIX_ROOT, "f"), -E_NOENT);
    nsfix_turn(f);
    if (f->mode == NSFIX_CLONE)
        return; /* a clone begins without the orphans of its origin */
    a = nsfix_attr(f, n);
    CHECK_EQ(a.nlink, 0);
    CHECK_EQ(a.size, 4);
    CHECK(a.change > before.change);
    CHECK_OK(vfs_read(f->v, n, &byte, 1, 3, &len));
    CHECK_EQ(byte, 't');
    CHECK_OK(vfs_write(f->v, &f->c, n, "more", 4, 4, false));
    nsfix_verify(f);
    CHECK_OK(vfs_orphan_drop(f->v, vfs_node_ino(n)));
    CHECK_ERR(vfs_getattr(f->v, n, &a), -E_STALE);
    CHECK_OK(vfs_orphan_drop(f->v, vfs_node_ino(n))); /* again: nothing to do */
    CHECK_EQ(f->v->stat.inodes, 1);
    CHECK_EQ(vol_used_blocks(f->v), 0);
}

NS_TEST(test_ns_make__a_linked_file_is_no_orphan_to_drop)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0600);

    CHECK_OK(vfs_orphan_drop(f->v, vfs_node_ino(n)));
    CHECK_OK(vfs_orphan_drop(f->v, INO_ROOT));
    CHECK_EQ(nsfix_attr(f, n).nlink, 1);
    CHECK_EQ(nsfix_attr(f, NSFIX_ROOT).nlink, 2);
}

static int orphan_cb(void *arg, uint64_t ino)
{
    size_t *n = arg;

    CHECK(ino > INO_ROOT);
    ++*n;
    return 0;
}

NS_TEST(test_ns_make__tmpfiles_are_orphans_until_linked)
{
    struct vfs_attr a, b;
    size_t n = 0;

    CHECK_OK(vfs_tmpfile(f->v, &f->c, NSFIX_ROOT, 0640, &a));
    CHECK_EQ(a.nlink, 0);
    CHECK_EQ(a.mode, S_IFREG | 0640);
    CHECK_OK(vfs_tmpfile(f->v, &f->c, NSFIX_ROOT, 0640, &b));
    CHECK_EQ(nsfix_count(f, NSFIX_ROOT), 0);
    CHECK_OK(vfs_write(f->v, &f->c, a.node, "x", 1, 0, false));
    if (f->mode != NSFIX_CLONE)
        nsfix_turn(f);
    CHECK_OK(vfs_orphans_each(f->v, orphan_cb, &n));
    CHECK_EQ(n, 2);
    CHECK_OK(vfs_link(f->v, &f->c, a.node, NSFIX_ROOT, "now", &a));
    CHECK_EQ(a.nlink, 1);
    nsfix_verify(f);
    CHECK_OK(vfs_orphan_drop(f->v, vfs_node_ino(a.node)));
    CHECK_OK(vfs_orphan_drop(f->v, vfs_node_ino(b.node)));
    nsfix_turn(f);
    CHECK_EQ(nsfix_look(f, NSFIX_ROOT, "now").size, 1);
    CHECK_ERR(vfs_link(f->v, &f->c, b.node, NSFIX_ROOT, "late", &b), -E_STALE);
}

NS_TEST(test_ns_make__directories_count_their_subdirectories)
{
    vfs_node d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755), sub, up;
    struct vfs_attr a;

    sub = nsfix_mk(f, d, "s", S_IFDIR | 0755);
    nsfix_mk(f, d, "f", S_IFREG | 0644);
    CHECK_EQ(nsfix_attr(f, d).nlink, 3);
    nsfix_turn(f);
    CHECK_OK(vfs_parent(f->v, sub, &up));
    CHECK_EQ(up.v, d.v);
    CHECK_OK(vfs_parent(f->v, d, &up));
    CHECK_EQ(up.v, INO_ROOT);
    CHECK_OK(vfs_parent(f->v, NSFIX_ROOT, &up));
    CHECK_EQ(up.v, INO_ROOT);
    CHECK_ERR(vfs_rmdir(f->v, &f->c, NSFIX_ROOT, "d"), -E_NOTEMPTY);
    CHECK_ERR(vfs_unlink(f->v, &f->c, NSFIX_ROOT, "d"), -E_ISDIR);
    CHECK_ERR(vfs_rmdir(f->v, &f->c, d, "f"), -E_NOTDIR);
    CHECK_ERR(vfs_rmdir(f->v, &f->c, d, "none"), -E_NOENT);
    CHECK_OK(vfs_rmdir(f->v, &f->c, d, "s"));
    CHECK_EQ(nsfix_attr(f, d).nlink, 2);
    CHECK_EQ(nsfix_attr(f, sub).nlink, 0);
    CHECK_ERR(vfs_mknod(f->v, &f->c, sub, "x", S_IFREG, 0, NULL), -E_NOENT);
    CHECK_ERR(vfs_symlink(f->v, &f->c, sub, "x", "y", NULL), -E_NOENT);
    CHECK_ERR(vfs_tmpfile(f->v, &f->c, sub, 0600, &a), -E_NOENT);
    CHECK_ERR(vfs_rename(f->v, &f->c, d, "f", sub, "f", 0), -E_NOENT);
    CHECK_ERR(vfs_lookup(f->v, sub, "x", &a), -E_NOENT);
    CHECK_ERR(vfs_parent(f->v, sub, &up), -E_NOENT);
    CHECK_EQ(nsfix_count(f, sub), 0);
    nsfix_verify(f);
    CHECK_OK(vfs_unlink(f->v, &f->c, d, "f"));
    CHECK_OK(vfs_rmdir(f->v, &f->c, NSFIX_ROOT, "d"));
    CHECK_OK(vfs_orphans_drop_all(f->v));
    CHECK_EQ(f->v->stat.inodes, 1);
}

NS_TEST(test_ns_make__links_have_a_bound)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644),
             d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755);
    struct ns_edit more = {.more.links = NS_LINK_MAX - 2}, less = {.more.links = -(int32_t)(NS_LINK_MAX - 2)};
    struct vfs_attr a;
    struct ns o;
    uint64_t root;

    CHECK_OK(ns_change(f->v, &f->c, OP_SETATTR, NSFIX_ROOT, &o, &root));
    CHECK_OK(ns_edit(&o, vfs_node_ino(n), &more, NULL));
    CHECK_OK(ns_edit(&o, vfs_node_ino(d), &more, NULL));
    CHECK_OK(ns_end(&o, 0));
    CHECK_OK(vfs_link(f->v, &f->c, n, NSFIX_ROOT, "g", &a));
    CHECK_ERR(vfs_link(f->v, &f->c, n, NSFIX_ROOT, "h", &a), -E_MLINK);
    CHECK_ERR(vfs_mknod(f->v, &f->c, d, "sub", S_IFDIR | 0755, 0, &a), -E_MLINK);
    nsfix_mk(f, NSFIX_ROOT, "sub", S_IFDIR | 0755);
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "sub", d, "sub", 0), -E_MLINK);
    CHECK(!nsfix_has(f, NSFIX_ROOT, "h"));
    CHECK(nsfix_has(f, NSFIX_ROOT, "sub"));
    CHECK_OK(ns_change(f->v, &f->c, OP_SETATTR, NSFIX_ROOT, &o, &root));
    CHECK_OK(ns_edit(&o, vfs_node_ino(n), &less, NULL));
    CHECK_OK(ns_edit(&o, vfs_node_ino(d), &less, NULL));
    CHECK_OK(ns_end(&o, 0));
}

NS_TEST(test_ns_make__sixty_five_thousand_links)
{
    const unsigned count = f->mode == NSFIX_PLAIN ? 65000 : 3000;
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644),
             d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755);
    struct vfs_attr a;
    char name[32];

    for (unsigned i = 1; i < count; i++) {
        snprintf(name, sizeof(name), "link-%u", i);
        CHECK_OK(vfs_link(f->v, &f->c, n, d, name, &a));
    }
    CHECK_EQ(a.nlink, count);
    nsfix_turn(f);
    nsfix_verify(f);
    CHECK_OK(vfs_unlink(f->v, &f->c, NSFIX_ROOT, "f"));
    for (unsigned i = 2; i < count; i++) {
        snprintf(name, sizeof(name), "link-%u", i);
        CHECK_OK(vfs_unlink(f->v, &f->c, d, name));
    }
    CHECK_EQ(nsfix_look(f, d, "link-1").nlink, 1);
}

static bool later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* Which of the three times of a node moved on since `was`: of "amc". */
static void check_moved(struct nsfix *f, vfs_node n, const struct vfs_attr *was, const char *want)
{
    struct vfs_attr a = nsfix_attr(f, n);
    char got[4], *p = got;

    if (later(a.atime, was->atime))
        *p++ = 'a';
    if (later(a.mtime, was->mtime))
        *p++ = 'm';
    if (later(a.ctime, was->ctime))
        *p++ = 'c';
    *p = 0;
    if (strcmp(got, want) != 0)
        test_fail(__FILE__, __LINE__, "times that moved: '%s', want '%s'", got, want);
}

struct times {
    vfs_node n[4];
    struct vfs_attr was[4];
};

static void look_again(struct nsfix *f, struct times *t)
{
    pause_a_little();
    for (int i = 0; i < 4; i++)
        t->was[i] = nsfix_attr(f, t->n[i]);
}

static void check_times(struct nsfix *f, struct times *t, const char *const want[4])
{
    for (int i = 0; i < 4; i++)
        if (want[i] != NULL)
            check_moved(f, t->n[i], &t->was[i], want[i]);
    look_again(f, t);
}

#define TIMES(...) check_times(f, &t, (const char *const[4]){__VA_ARGS__})

NS_TEST(test_ns_make__times_follow_posix)
{
    vfs_node d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755),
             e = nsfix_mk(f, NSFIX_ROOT, "e", S_IFDIR | 0755);
    struct times t = {.n = {d, e, nsfix_mk(f, d, "f", S_IFREG | 0644), nsfix_mk(f, e, "o", S_IFREG | 0644)}};
    struct vfs_attr a;

    look_again(f, &t);
    CHECK_OK(vfs_link(f->v, &f->c, t.n[2], e, "l", &a));
    TIMES("", "mc", "c", "");
    CHECK_OK(vfs_rename(f->v, &f->c, d, "f", e, "o", 0));
    TIMES("mc", "mc", "c", "c");
    nsfix_turn(f);
    t.n[3] = t.n[2]; /* what was replaced stays behind a clone */
    look_again(f, &t);
    CHECK_OK(vfs_rename(f->v, &f->c, NSFIX_ROOT, "e", d, "e", 0));
    TIMES("mc", "c", "");
    CHECK_OK(vfs_unlink(f->v, &f->c, e, "l"));
    TIMES("", "mc", "c");
    CHECK_OK(vfs_mknod(f->v, &f->c, e, "new", S_IFDIR | 0755, 0, &a));
    TIMES("", "mc", "");
    CHECK_OK(vfs_rmdir(f->v, &f->c, e, "new"));
    TIMES("", "mc", "");
    CHECK_OK(vfs_setattr(f->v, &f->c, t.n[2], &(struct vfs_setattr){.set = VFS_MODE, .mode = 0600}, &a));
    TIMES("", "", "c");
    CHECK_OK(vfs_write(f->v, &f->c, t.n[2], "x", 1, 0, false));
    TIMES("", "", "mc");
    CHECK_OK(vfs_setattr(f->v, &f->c, t.n[2], &(struct vfs_setattr){.set = VFS_SIZE, .size = 1}, &a));
    TIMES("", "", "mc");
    CHECK_OK(vfs_setxattr(f->v, &f->c, t.n[2], "user.x", "1", 1, 0, false));
    TIMES("", "", "c");
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
