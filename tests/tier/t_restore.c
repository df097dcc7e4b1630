/* Restores into directories that hold something already. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snap/ns.h"
#include "tests/lib/test.h"
#include "tests/tier/rig.h"

struct restored {
    int result;
    struct restore_result res;
    char err[300];
};

static struct restored restore_to(struct repo_rig *g, const char *id, const char *to,
                                  const struct restore_opts *o)
{
    cleanup(buf_free) struct buf err = {0};
    struct point p = rig_point(g, id);
    struct restored ret;

    ret.result = restore_run(g->w.r, &p, to, o, &ret.res, &err);
    snprintf(ret.err, sizeof(ret.err), "%s", err.len ? buf_cstr(&err) : "");
    point_release(&p);
    return ret;
}

static void put_text(const char *dir, const char *name, const char *text)
{
    char path[500];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "we");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static bool text_is(const char *dir, const char *name, const char *want)
{
    char path[500], got[100] = "";
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "re");
    if (!f)
        return false;
    got[fread(got, 1, sizeof(got) - 1, f)] = 0;
    fclose(f);
    return strcmp(got, want) == 0;
}

/* Ended while something is being replaced: what was there is there, whole. */
TEST(test_restore__what_is_replaced_is_old_or_new)
{
    struct rig_stopping s = {1u << 20};
    struct restore_opts o = {.overwrite = true, .arg = &s, .progress = rig_stop_after};
    struct backup_result b;
    struct repo_rig g;
    char to[400];

    b = rig_begin_with(&g, 8u << 20, NULL);
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK(mkdir(to, 0700) == 0);
    put_text(to, "f", "mine");
    CHECK_ERR(restore_to(&g, b.id, to, &o).result, -E_CANCELED);
    CHECK(text_is(to, "f", "mine"));
    s.after = UINT64_MAX;
    CHECK_OK(restore_to(&g, b.id, to, &o).result);
    CHECK(!text_is(to, "f", "mine"));
    rig_end(&g);
}

/* What exists is not touched unless that is said; not a directory in any case. */
TEST(test_restore__what_exists_stays)
{
    struct restore_opts o = {.resume = true}, over = {.overwrite = true};
    struct backup_result b;
    struct restored r;
    struct repo_rig g;
    char to[400], sub[500];

    rig_begin(&g);
    box_text(&g.b, g.b.v, "f", "theirs");
    b = rig_back_up(&g, "a");
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK(mkdir(to, 0700) == 0);
    put_text(to, "f", "mine");
    put_text(to, "other", "mine");
    CHECK_ERR(restore_to(&g, b.id, to, &(struct restore_opts){.npaths = 0}).result, -E_NOTEMPTY);
    r = restore_to(&g, b.id, to, &o);
    CHECK_ERR(r.result, -E_EXIST);
    CHECK(strstr(r.err, "to/f") && text_is(to, "f", "mine"));
    r = restore_to(&g, b.id, to, &over);
    CHECK_OK(r.result);
    CHECK(r.res.replaced == 1 && text_is(to, "f", "theirs") && text_is(to, "other", "mine"));
    snprintf(sub, sizeof(sub), "%s/f", to);
    CHECK(unlink(sub) == 0 && mkdir(sub, 0700) == 0);
    CHECK_ERR(restore_to(&g, b.id, to, &over).result, -E_ISDIR);
    rig_end(&g);
}

static void flip_file(const char *path, off_t at)
{
    struct timespec t[2];
    struct stat st;
    char c;
    int fd = open(path, O_RDWR | O_CLOEXEC);

    CHECK(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &c, 1, at) == 1);
    c ^= 1;
    CHECK(pwrite(fd, &c, 1, at) == 1);
    t[0] = st.st_atim;
    t[1] = st.st_mtim;
    CHECK(futimens(fd, t) == 0);
    close(fd);
}

/* Equal is what has the same bytes: size and time are not enough, not in a hole either. What is proved is not read again. */
TEST(test_restore__resuming_proves_what_is_there)
{
    struct restore_opts o = {.resume = true}, both = {.resume = true, .overwrite = true};
    struct backup_result b;
    struct restored r;
    struct repo_rig g;
    char to[400], path[500];

    rig_begin(&g);
    rig_fill_file(&g, "f", 3u << 20);
    box_truncate(&g.b, g.b.v, "f", 8u << 20);
    b = rig_back_up(&g, "a");
    snprintf(to, sizeof(to), "%s/to", test_dir());
    snprintf(path, sizeof(path), "%s/f", to);
    CHECK_OK(restore_to(&g, b.id, to, &(struct restore_opts){.npaths = 0}).result);
    r = restore_to(&g, b.id, to, &o);
    CHECK_OK(r.result);
    CHECK(r.res.same == 1 && r.res.bytes == 0);
    for (off_t at = 100; at < 8 << 20; at += 3 << 20) {
        flip_file(path, at);
        CHECK_ERR(restore_to(&g, b.id, to, &o).result, -E_EXIST);
        r = restore_to(&g, b.id, to, &both);
        CHECK_OK(r.result);
        CHECK(r.res.replaced == 1);
        r = restore_to(&g, b.id, to, &o);
        CHECK(r.result == 0 && r.res.same == 1);
    }
    rig_end(&g);
}

/* A file that somebody else may have open is not gone on with, whatever its name. */
TEST(test_restore__goes_on_with_its_own_only)
{
    struct restore_opts o = {.resume = true};
    struct backup_result b;
    struct repo_rig g;
    char to[400], path[500];
    struct stat st;
    int fd;

    rig_begin(&g);
    box_text(&g.b, g.b.v, "f", "theirs");
    b = rig_back_up(&g, "a");
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK(mkdir(to, 0700) == 0);
    snprintf(path, sizeof(path), "%s/" RESTORE_TMP "2", to);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && fchmod(fd, 0666) == 0);
    CHECK_OK(restore_to(&g, b.id, to, &o).result);
    CHECK(fstat(fd, &st) == 0 && st.st_nlink == 0);
    CHECK(text_is(to, "f", "theirs"));
    close(fd);
    rig_end(&g);
}

/* What was begun is gone on with: only what is missing, or other, is written. */
TEST(test_restore__goes_on_with_what_was_begun)
{
    struct rig_stopping s = {5u << 20};
    struct restore_opts o = {.arg = &s, .progress = rig_stop_after}, more = {.resume = true};
    cleanup(buf_free) struct buf want = {0};
    struct backup_result b;
    struct restored r;
    struct repo_rig g;
    char to[400];

    b = rig_begin_with(&g, 16u << 20, &want);
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK_ERR(restore_to(&g, b.id, to, &o).result, -E_CANCELED);
    CHECK(!text_is(to, "f", ""));
    r = restore_to(&g, b.id, to, &more);
    CHECK_OK(r.result);
    CHECK(r.res.bytes < 12u << 20 && r.res.bytes > 9u << 20);
    r = restore_to(&g, b.id, to, &more);
    CHECK(r.result == 0 && r.res.same == 1);
    rig_restores_to(&g, b.id, &want);
    rig_end(&g);
}

/* --- looking up ----------------------------------------------------------------------------------------------------- */

static void many_names(struct repo_rig *g, unsigned n)
{
    char path[40];

    box_mkdir(&g->b, g->b.v, "d");
    for (unsigned i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "d/name-%u", i);
        box_text(&g->b, g->b.v, path, "");
    }
}

/* The same number, whether it is looked for by its key or in all of the directory; and what is not there is in neither. */
static void found(struct repo_rig *g, const struct point *p, const char *path, int want)
{
    uint64_t by_key = 0, by_all = 0;

    CHECK_ERR(restore_lookup(g->w.r, &p->tree, point_names(p), path, &by_key), want);
    CHECK_ERR(restore_lookup(g->w.r, &p->tree, NULL, path, &by_all), want);
    CHECK(want < 0 || (by_key == by_all && by_key > 2));
}

static void all_found(uint64_t mask)
{
    struct repo_rig g;
    struct point p;
    char path[40];

    ns_hash_mask = mask;
    rig_begin(&g);
    many_names(&g, 200);
    p = rig_point(&g, rig_back_up(&g, "a").id);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(path, sizeof(path), "/d//name-%u", i);
        found(&g, &p, path, 0);
    }
    found(&g, &p, "d/name-200", -E_NOENT);
    found(&g, &p, "d/name-1/name-2", -E_NOENT);
    found(&g, &p, "e/name-1", -E_NOENT);
    point_release(&p);
    rig_end(&g);
    ns_hash_mask = UINT64_MAX;
}

TEST(test_restore__each_name_is_found_by_its_key)
{
    all_found(UINT64_MAX);
    all_found(0); /* all names are of one group */
}

/* One of a million files comes back without the names of the others. */
TEST(test_restore__a_name_is_found_without_reading_its_directory)
{
    struct repo_rig g;
    struct point p;
    uint64_t ino, pages[2];

    rig_begin(&g);
    many_names(&g, 20000);
    p = rig_point(&g, rig_back_up(&g, "a").id);
    for (int i = 0; i < 2; i++) {
        world_forget(&g.w);
        CHECK_OK(repo_sync(g.w.r));
        CHECK_ERR(restore_lookup(g.w.r, &p.tree, i ? NULL : point_names(&p), "d/other", &ino), -E_NOENT);
        pages[i] = g.w.r->proved_pages;
    }
    CHECK(pages[0] < 10 && pages[1] > 30);
    point_release(&p);
    rig_end(&g);
}

/* --- what others do meanwhile --------------------------------------------------------------------------------------- */

#define FIFOS 300

/* Who owns the directory puts a link in the place of what is just being made there. */
struct luring {
    int dir;
    uint64_t ino; /* atomic: that is being restored; 0: it is over */
    unsigned swapped;
};

static void *lure(void *arg)
{
    struct luring *l = arg;
    uint64_t ino;

    while ((ino = __atomic_load_n(&l->ino, __ATOMIC_ACQUIRE))) {
        char name[64];

        snprintf(name, sizeof(name), RESTORE_TMP "%" PRIu64, ino);
        if (renameat2(l->dir, "bait", l->dir, name, RENAME_EXCHANGE) < 0)
            continue;
        l->swapped++;
        while (__atomic_load_n(&l->ino, __ATOMIC_ACQUIRE) == ino)
            continue;
        unlinkat(l->dir, name, 0);
        unlinkat(l->dir, "bait", 0);
        CHECK(symlinkat("../mine", l->dir, "bait") == 0);
    }
    return NULL;
}

static void restore_fifo(struct repo_rig *g, const char *id, const char *to, char *name, struct luring *l)
{
    struct restore_opts o = {.overwrite = true, .paths = &name, .npaths = 1};
    struct point p = rig_point(g, id);
    uint64_t ino;

    CHECK_OK(restore_lookup(g->w.r, &p.tree, point_names(&p), name, &ino));
    point_release(&p);
    __atomic_store_n(&l->ino, ino, __ATOMIC_RELEASE);
    (void)restore_to(g, id, to, &o);
}

/* The owner, the mode and the times of a fifo or a device are those of nothing else, wherever a link leads. */
TEST(test_restore__nobody_leads_it_to_another_file)
{
    struct luring l = {.ino = 1};
    struct backup_result b;
    char to[400], name[16];
    struct vfs_attr a;
    struct repo_rig g;
    struct stat st;
    pthread_t t;

    rig_begin(&g);
    for (int i = 0; i < FIFOS; i++) {
        snprintf(name, sizeof(name), "p%d", i);
        CHECK_OK(vfs_mknod(g.b.v, &g.b.c, box_root(g.b.v), name, S_IFIFO | 0666, 0, &a));
    }
    b = rig_back_up(&g, "a");
    put_text(test_dir(), "mine", "mine");
    snprintf(to, sizeof(to), "%s/mine", test_dir());
    CHECK(chmod(to, 0400) == 0);
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK(mkdir(to, 0700) == 0 && (l.dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
    CHECK(symlinkat("../mine", l.dir, "bait") == 0);
    CHECK(pthread_create(&t, NULL, lure, &l) == 0);
    for (int i = 0; i < FIFOS; i++) {
        snprintf(name, sizeof(name), "p%d", i);
        restore_fifo(&g, b.id, to, name, &l);
    }
    __atomic_store_n(&l.ino, 0, __ATOMIC_RELEASE);
    CHECK(pthread_join(t, NULL) == 0);
    CHECK(fstatat(l.dir, "../mine", &st, 0) == 0);
    CHECK_EQ(st.st_mode & 07777, 0400);
    close(l.dir);
    rig_end(&g);
}

/* What the directory around gives to all that is made in it, they did not have. */
TEST(test_restore__no_lists_are_inherited)
{
    static const uint8_t list[] = {2, 0,  0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  7,
                                   0, 57, 48,  0,   0,   4,   0,  7, 0,   255, 255, 255, 255, 16, 0,
                                   7, 0,  255, 255, 255, 255, 32, 0, 5,   0,   255, 255, 255, 255};
    static const char *const names[] = {"f", "d", "d/g", "."};
    struct vfs_setattr set = {.set = VFS_MODE, .mode = 0640};
    struct backup_result b;
    char up[400], to[500];
    struct repo_rig g;
    struct vfs_attr a;

    rig_begin(&g);
    box_text(&g.b, g.b.v, "f", "text");
    box_mkdir(&g.b, g.b.v, "d");
    box_text(&g.b, g.b.v, "d/g", "text");
    CHECK_OK(vfs_setattr(g.b.v, &g.b.c, box_node(g.b.v, box_root(g.b.v), "f"), &set, &a));
    b = rig_back_up(&g, "a");
    snprintf(up, sizeof(up), "%s/up", test_dir());
    CHECK(mkdir(up, 0700) == 0);
    if (setxattr(up, "system.posix_acl_default", list, sizeof(list), 0) < 0)
        test_skip("no lists of access here");
    snprintf(to, sizeof(to), "%s/to", up);
    CHECK_EQ(rig_restored(&g, b.id, to, NULL).weaker, 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[600];

        snprintf(path, sizeof(path), "%s/%s", to, names[i]);
        CHECK(getxattr(path, "system.posix_acl_access", NULL, 0) < 0 && errno == ENODATA);
        CHECK(getxattr(path, "system.posix_acl_default", NULL, 0) < 0 && errno == ENODATA);
    }
    rig_end(&g);
}

static void set_attr(struct repo_rig *g, const char *path, const struct vfs_setattr *set)
{
    struct vfs_attr a;

    CHECK_OK(vfs_setattr(g->b.v, &g->b.c, box_node(g->b.v, box_root(g->b.v), path), set, &a));
}

/* A program that acts for its owner does not act for another one, who only restored it. */
TEST(test_restore__what_gets_another_owner_acts_for_nobody)
{
    struct vfs_setattr owner = {.set = VFS_UID, .uid = 12345}, mode = {.set = VFS_MODE, .mode = 06755};
    struct restore_opts o = {.resume = true};
    struct backup_result b;
    struct restored r;
    struct repo_rig g;
    struct stat st;

    if (geteuid() != 0)
        test_skip("it takes two users");
    rig_begin(&g);
    box_text(&g.b, g.b.v, "f", "text");
    set_attr(&g, "f", &owner);
    set_attr(&g, "f", &mode);
    b = rig_back_up(&g, "a");
    CHECK(chmod(test_dir(), 0711) == 0 && chdir(test_dir()) == 0);
    CHECK(mkdir("to", 0700) == 0 && chown("to", 65534, 65534) == 0 && seteuid(65534) == 0);
    r = restore_to(&g, b.id, "to", &o);
    CHECK(seteuid(0) == 0);
    CHECK_OK(r.result);
    CHECK(r.res.weaker > 0);
    CHECK(stat("to/f", &st) == 0 && st.st_uid == 65534);
    CHECK_EQ(st.st_mode & 07777, 0755);
    CHECK_OK(restore_to(&g, b.id, "again", &o).result);
    CHECK(stat("again/f", &st) == 0 && st.st_uid == 12345);
    CHECK_EQ(st.st_mode & 07777, 06755);
    rig_end(&g);
}

/* Directories lie in each other, each open while what is in it is made. */
TEST(test_restore__deep_trees_come_back)
{
    struct rlimit few;
    struct backup_result b;
    struct repo_rig g;
    struct vfs_attr a;
    vfs_node dir;
    char to[400];

    rig_begin(&g);
    dir = box_root(g.b.v);
    for (int i = 0; i < 600; i++) {
        CHECK_OK(vfs_mknod(g.b.v, &g.b.c, dir, "d", S_IFDIR | 0755, 0, &a));
        dir = a.node;
    }
    b = rig_back_up(&g, "a");
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK(getrlimit(RLIMIT_NOFILE, &few) == 0);
    few.rlim_cur = 256;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    CHECK_EQ(rig_restored(&g, b.id, to, NULL).dirs, 600);
    rig_end(&g);
}

/* --- deeper than any path ------------------------------------------------------------------------------------------- */

#define LEVEL_NAME 200 /* bytes: 4,095 of a path are 20 levels */

static vfs_node level_below(struct repo_rig *g, vfs_node dir)
{
    char name[LEVEL_NAME + 1];
    struct vfs_attr a;

    memset(name, 'n', LEVEL_NAME);
    name[LEVEL_NAME] = 0;
    CHECK_OK(vfs_mknod(g->b.v, &g->b.c, dir, name, S_IFDIR | 0755, 0, &a));
    return a.node;
}

static vfs_node file_in(struct repo_rig *g, vfs_node dir, const char *name)
{
    struct vfs_attr a;

    CHECK_OK(vfs_mknod(g->b.v, &g->b.c, dir, name, S_IFREG | 0644, 0, &a));
    return a.node;
}

static int below(int dir)
{
    char name[LEVEL_NAME + 1];
    int fd;

    memset(name, 'n', LEVEL_NAME);
    name[LEVEL_NAME] = 0;
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY);
    close(dir);
    return fd;
}

/* From the bottom up, since nothing else removes it. */
static void remove_levels(int fd)
{
    char name[LEVEL_NAME + 1];
    int up = openat(fd, "..", O_RDONLY | O_DIRECTORY);

    memset(name, 'n', LEVEL_NAME);
    name[LEVEL_NAME] = 0;
    while (up >= 0 && unlinkat(up, name, AT_REMOVEDIR) == 0) {
        close(fd);
        fd = up;
        unlinkat(fd, "first", 0);
        unlinkat(fd, "second", 0);
        up = openat(fd, "..", O_RDONLY | O_DIRECTORY);
    }
    close(fd);
    close(up);
}

static bool same_file(int a, const char *name, int b, const char *other)
{
    struct stat x, y;

    return fstatat(a, name, &x, 0) == 0 && fstatat(b, other, &y, 0) == 0 && x.st_ino == y.st_ino &&
           x.st_nlink == 3;
}

/* With few descriptors; two files whose names are far from each other, each found first at another end. */
TEST(test_restore__no_tree_is_too_deep)
{
    enum { DEPTH = 12000 };
    struct restore_result res;
    struct backup_result b;
    struct rlimit few;
    vfs_node root, dir, mid = {0}, early, late;
    struct vfs_attr a;
    struct repo_rig g;
    char to[400];
    int top, fd;

    rig_begin(&g);
    dir = root = box_root(g.b.v);
    early = file_in(&g, root, "early");
    for (int i = 0; i < DEPTH; i++) {
        dir = level_below(&g, dir);
        if (i == DEPTH / 2)
            mid = dir;
    }
    late = file_in(&g, dir, "first");
    CHECK_OK(vfs_link(g.b.v, &g.b.c, early, dir, "second", &a));
    CHECK_OK(vfs_link(g.b.v, &g.b.c, early, mid, "second", &a));
    CHECK_OK(vfs_link(g.b.v, &g.b.c, late, mid, "first", &a));
    CHECK_OK(vfs_link(g.b.v, &g.b.c, late, root, "late", &a));
    b = rig_back_up(&g, "a");
    snprintf(to, sizeof(to), "%s/to", test_dir());
    CHECK(getrlimit(RLIMIT_NOFILE, &few) == 0);
    few.rlim_cur = 256;
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
    res = rig_restored(&g, b.id, to, NULL);
    CHECK(res.dirs == DEPTH && res.files == 2 && res.hurt == 0);
    expect_mark("restore: a list is given back");
    top = open(to, O_RDONLY | O_DIRECTORY);
    fd = dup(top);
    for (int i = 0; i <= DEPTH / 2; i++)
        CHECK((fd = below(fd)) >= 0);
    CHECK(same_file(top, "early", fd, "second") && same_file(top, "late", fd, "first"));
    for (int i = DEPTH / 2 + 1; i < DEPTH; i++)
        CHECK((fd = below(fd)) >= 0);
    CHECK(same_file(top, "early", fd, "second") && same_file(top, "late", fd, "first"));
    unlinkat(fd, "first", 0);
    unlinkat(fd, "second", 0);
    remove_levels(fd);
    close(top);
    rig_end(&g);
}

/* a is in the root and in b, which is in a, and says that it is in b. */
static void make_circle(struct repo_rig *g)
{
    struct vfs_attr a, b;
    struct ns_name name;
    struct inode in;
    uint64_t ino;
    struct ns o;

    file_in(g, box_root(g->b.v), "first");
    CHECK_OK(vfs_mknod(g->b.v, &g->b.c, box_root(g->b.v), "a", S_IFDIR | 0755, 0, &a));
    CHECK_OK(vfs_mknod(g->b.v, &g->b.c, a.node, "b", S_IFDIR | 0755, 0, &b));
    CHECK_OK(vfs_rename(g->b.v, &g->b.c, box_root(g->b.v), "first", b.node, "first", 0));
    CHECK_OK(ns_name_init("a", &name));
    CHECK_OK(ns_change(g->b.v, &g->b.c, OP_MKDIR, b.node, &o, &ino));
    CHECK_OK(ns_inode(&o, vfs_node_ino(a.node), &in));
    in.parent = ino;
    CHECK_OK(ns_dirent_slot(&o, ino, &name, &in.parent_hash));
    CHECK_OK(ns_dirent_put(&o, ino, in.parent_hash, in.ino, S_IFDIR, &name));
    CHECK_OK(inode_put_over(&o.t, KEEP_FIRM, (struct txn_owner){0}, o.to, NULL, &in));
    CHECK_OK(ns_end(&o, 0));
}

static int far_enough(void *arg, uint64_t items, uint64_t bytes)
{
    (void)arg, (void)bytes;
    return items > 6000 ? -E_CANCELED : 0;
}

TEST(test_restore__a_circle_has_an_end)
{
    struct restore_opts o = {.progress = far_enough};
    struct restored res;
    struct backup_result b;
    struct repo_rig g;
    char to[400];

    rig_begin(&g);
    make_circle(&g);
    b = rig_back_up(&g, "a");
    snprintf(to, sizeof(to), "%s/to", test_dir());
    res = restore_to(&g, b.id, to, &o);
    CHECK_OK(res.result);
    CHECK(res.res.hurt == 1 && res.res.dirs <= 2001);
    rig_end(&g);
}

static int move_away(void *arg, uint64_t items, uint64_t bytes)
{
    (void)arg, (void)items, (void)bytes;
    (void)rename("to/d/d/d", "away/d");
    return 0;
}

/* What is above is found again only if it is the same. */
TEST(test_restore__who_moves_a_directory_leads_it_nowhere)
{
    struct restore_opts o = {.progress = move_away};
    struct backup_result b;
    struct restored r;
    struct repo_rig g;
    struct vfs_attr a;
    vfs_node dir, second = {0};

    rig_begin(&g);
    dir = box_root(g.b.v);
    for (int i = 0; i < 100; i++) {
        CHECK_OK(vfs_mknod(g.b.v, &g.b.c, dir, "d", S_IFDIR | 0755, 0, &a));
        dir = a.node;
        if (i == 1)
            second = dir;
    }
    file_in(&g, dir, "bottom");
    file_in(&g, second, "after");
    b = rig_back_up(&g, "a");
    CHECK(chdir(test_dir()) == 0 && mkdir("away", 0700) == 0);
    r = restore_to(&g, b.id, "to", &o);
    CHECK_ERR(r.result, -E_BUSY);
    CHECK(access("away/d/d/d/d", F_OK) == 0);
    CHECK(access("away/after", F_OK) != 0);
    rig_end(&g);
}
