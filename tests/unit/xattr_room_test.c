/* How much an inode may have beside its bytes, and what of it the volume's size counts. */
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "snap/check.h"
#include "snap/ns.h"
#include "snap/snapshot.h"
#include "tests/lib/nsfix.h"

static const uint8_t zeros[NS_XATTR_MAX];

static int set(struct nsfix *f, vfs_node n, const char *name, size_t len)
{
    return vfs_setxattr(f->v, &f->c, n, name, zeros, len, 0, false);
}

static int set_number(struct nsfix *f, vfs_node n, const char *space, int i, int width, size_t len)
{
    char name[NAME_LEN_MAX + 1];

    snprintf(name, sizeof(name), "%s%0*d", space, width, i);
    return set(f, n, name, len);
}

/* As many as there is room for. */
static int fill(struct nsfix *f, vfs_node n, const char *space, int width, size_t len)
{
    int r, i = 0;

    while ((r = set_number(f, n, space, i, width, len)) == 0)
        CHECK(++i < 10000);
    CHECK_ERR(r, -E_XATTR_ROOM);
    return i;
}

static size_t listed(struct nsfix *f, vfs_node n)
{
    cleanup(buf_free) struct buf b = {0};

    CHECK_OK(vfs_listxattr(f->v, n, &b));
    return b.len;
}

static uint64_t used(struct nsfix *f)
{
    return vol_used_blocks(f->v);
}

static void remove_x(struct nsfix *f, vfs_node n, const char *name)
{
    CHECK_OK(vfs_removexattr(f->v, &f->c, n, name));
}

static void drop(struct nsfix *f, const char *name)
{
    CHECK_OK(vfs_unlink(f->v, &f->c, NSFIX_ROOT, name));
    CHECK_OK(vfs_orphans_drop_all(f->v));
}

NS_TEST(test_xattr_room__names_can_always_be_listed)
{
    static const uint8_t acl[] = {2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  7,
                                  0, 1, 0,   0,   0,   4,   0,  5, 0,   255, 255, 255, 255, 16, 0,
                                  7, 0, 255, 255, 255, 255, 32, 0, 5,   0,   255, 255, 255, 255};
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0755);
    int count = fill(f, n, "user.", 250, 0);

    nsfix_turn(f);
    CHECK_EQ(count, (XATTR_LIST_MAX - 512 - 4096) / 256);
    CHECK_OK(set_number(f, n, "user.", 0, 250, 500)); /* another value of the same name */
    CHECK_ERR(set_number(f, n, "user.", count, 250, 0), -E_XATTR_ROOM);
    nsfix_turn(f);
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, NS_ACL_ACCESS, acl, sizeof(acl), 0, false));
    CHECK_OK(set(f, n, NS_CAPS, 20));
    CHECK_OK(set(f, n, "security.selinux", 40));
    fill(f, n, "trusted.", 20, 0);
    CHECK(listed(f, n) <= XATTR_LIST_MAX - 512);
    CHECK_OK(vfs_write(f->v, &f->c, n, "x", 1, 0, true)); /* takes the capability away */
    CHECK_OK(set(f, n, NS_CAPS, 20));
    nsfix_turn(f);
    CHECK_EQ(listed(f, n) > XATTR_LIST_MAX - 1024, 1);
    nsfix_verify(f);
}

NS_TEST(test_xattr_room__values_have_a_bound)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755);

    CHECK_EQ(fill(f, n, "user.", 3, NS_XATTR_MAX), 14);
    nsfix_turn(f);
    CHECK_ERR(set(f, n, "user.little", 1), -E_XATTR_ROOM);
    CHECK_OK(set(f, n, "user.000", NS_XATTR_MAX - 10));
    CHECK_OK(set(f, n, "user.little", 10));
    CHECK_ERR(set(f, n, "user.little", 11), -E_XATTR_ROOM);
    CHECK_OK(set(f, n, "user.little", 9));
    CHECK_EQ(fill(f, n, "trusted.", 3, NS_XATTR_MAX), 2);
    nsfix_turn(f);
    remove_x(f, n, "user.001");
    CHECK_ERR(set(f, n, "user.other", 1000), -E_XATTR_ROOM);
    remove_x(f, n, "trusted.000");
    remove_x(f, n, "trusted.001");
    CHECK_OK(set(f, n, "user.other", 1000));
    nsfix_verify(f);
}

static uint64_t blocks_of(struct nsfix *f, vfs_node n)
{
    return nsfix_attr(f, n).blocks512 / 8;
}

NS_TEST(test_xattr_room__the_volume_counts_it)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644);
    uint64_t before = used(f);
    char name[32];

    CHECK_OK(set(f, n, "user.small", 100));
    CHECK_EQ(used(f), before);
    CHECK_OK(set(f, n, "user.large", 40000));
    CHECK_EQ(used(f), before + 9);
    CHECK_EQ(blocks_of(f, n), 9);
    nsfix_turn(f);
    CHECK_EQ(used(f), before + 9);
    CHECK_OK(set(f, n, "user.large", 20000));
    CHECK_EQ(used(f), before + 4);
    CHECK_OK(set(f, n, NS_CAPS, 4096));
    CHECK_EQ(used(f), before + 5);
    CHECK_OK(vfs_write(f->v, &f->c, n, "x", 1, 0, true)); /* a block comes, one goes */
    CHECK_EQ(used(f), before + 5);
    CHECK_OK(vfs_fsync(f->v, n));
    nsfix_turn(f);
    for (int i = 1; i < 33; i++) {
        snprintf(name, sizeof(name), "link-%d", i);
        CHECK_OK(vfs_link(f->v, &f->c, n, NSFIX_ROOT, name, NULL));
    }
    CHECK_EQ(used(f), before + 5 + 2);
    nsfix_turn(f);
    remove_x(f, n, "user.large");
    CHECK_EQ(used(f), before + 1 + 2);
    for (int i = 1; i < 33; i++) {
        snprintf(name, sizeof(name), "link-%d", i);
        CHECK_OK(vfs_unlink(f->v, &f->c, NSFIX_ROOT, name));
    }
    CHECK_EQ(used(f), before + 1);
    CHECK_OK(set(f, n, "user.large", 40000));
    nsfix_verify(f);
    nsfix_turn(f);
    drop(f, "f");
    CHECK_EQ(used(f), before);
}

/* A snapshot, and what comes of it, has what was counted then; orphans are left out of it. */
TEST(test_xattr_room__snapshots_and_rollbacks_count_it)
{
    struct snap_info info;
    struct nsfix f;
    vfs_node n, gone;
    uint64_t before;

    nsfix_open(&f, NSFIX_PLAIN);
    before = used(&f);
    n = nsfix_mk(&f, NSFIX_ROOT, "f", S_IFREG | 0644);
    gone = nsfix_mk(&f, NSFIX_ROOT, "gone", S_IFREG | 0644);
    CHECK_OK(set(&f, n, "user.large", 40000));
    CHECK_OK(set(&f, gone, "user.large", 60000));
    CHECK_OK(vfs_unlink(f.v, &f.c, NSFIX_ROOT, "gone"));
    CHECK_OK(snap_create(f.v, &f.c, "s", NULL));
    CHECK_OK(snap_get_info(f.v, "s", &info));
    CHECK_EQ(info.rec.blocks, before + 9);
    drop(&f, "f");
    CHECK_EQ(used(&f), before);
    CHECK_OK(snap_rollback(f.v, &f.c, "s", NULL));
    CHECK_OK(vfs_orphans_drop_all(f.v));
    CHECK_EQ(used(&f), before + 9);
    nsfix_verify(&f);
    nsfix_close(&f);
}

TEST(test_xattr_room__a_full_volume_takes_no_more)
{
    static char bytes[1 << 20];
    struct nsfix f;
    vfs_node n, full;
    char name[32];

    nsfix_open(&f, NSFIX_PLAIN);
    CHECK_OK(volume_create(f.s, "small", &(struct volume_opts){.size_limit = sizeof(bytes)}, &f.v));
    n = nsfix_mk(&f, NSFIX_ROOT, "f", S_IFREG | 0644);
    full = nsfix_mk(&f, NSFIX_ROOT, "full", S_IFREG | 0644);
    CHECK_OK(vfs_write(f.v, &f.c, full, bytes, sizeof(bytes), 0, false));
    CHECK_OK(set(&f, n, "user.small", 1000));
    CHECK_ERR(set(&f, n, "user.large", 40000), -E_QUOTA);
    CHECK_EQ(listed(&f, n), sizeof("user.small"));
    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof(name), "link-%d", i);
        CHECK_OK(vfs_link(f.v, &f.c, n, NSFIX_ROOT, name, NULL));
    }
    CHECK_ERR(vfs_link(f.v, &f.c, n, NSFIX_ROOT, "more", NULL), -E_QUOTA);
    CHECK(!nsfix_has(&f, NSFIX_ROOT, "more"));
    drop(&f, "full");
    CHECK_OK(set(&f, n, "user.large", 40000));
    nsfix_verify(&f);
    nsfix_close(&f);
}

/* As a program left it that knew no bounds: count attributes, of which the record says no more than how many they are. */
static void fill_as_before(struct nsfix *f, vfs_node n, int count, size_t len)
{
    struct inode_more more = {0};
    char name[NAME_LEN_MAX + 1];
    struct inode in;
    struct ns o;
    uint64_t ino;

    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "user.%0*d", 250, i);
        CHECK_OK(ns_change(f->v, &f->c, OP_SETXATTR, n, &o, &ino));
        CHECK_OK(ns_xattr_set(&o, ino, name, zeros, len, 0, &more));
        CHECK_OK(ns_inode(&o, ino, &in));
        in.nxattr++;
        CHECK_OK(inode_put_over(&o.t, KEEP_FIRM, (struct txn_owner){0}, o.to, NULL, &in));
        CHECK_OK(ns_end(&o, 0));
    }
}

static void names_left(struct nsfix *f, vfs_node n, int from, int to)
{
    char name[NAME_LEN_MAX + 1];

    for (int i = from; i < to; i++) {
        snprintf(name, sizeof(name), "user.%0*d", 250, i);
        remove_x(f, n, name);
    }
}

NS_TEST(test_xattr_room__what_was_there_before_stays)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644);
    cleanup(buf_free) struct buf b = {0};
    char name[NAME_LEN_MAX + 1];
    uint64_t before = used(f);

    fill_as_before(f, n, 300, 4000);
    nsfix_turn(f);
    CHECK_EQ(used(f), before);
    CHECK_ERR(vfs_listxattr(f->v, n, &b), -E_TOOBIG);
    snprintf(name, sizeof(name), "user.%0*d", 250, 299);
    CHECK_OK(vfs_getxattr(f->v, n, name, &b));
    CHECK_EQ(b.len, 4000);
    CHECK_ERR(set(f, n, "user.one", 0), -E_XATTR_ROOM);
    CHECK_ERR(set(f, n, name, 4001), -E_XATTR_ROOM);
    CHECK_OK(set(f, n, name, 3999));
    CHECK_EQ(used(f), before); /* less than there was is never charged */
    nsfix_turn(f);
    names_left(f, n, 0, 299);
    CHECK_OK(set(f, n, "user.one", 4000));
    CHECK_EQ(used(f), before + 2);
    nsfix_turn(f);
    CHECK_EQ(listed(f, n), 256 + sizeof("user.one"));
    nsfix_verify(f);
    drop(f, "f");
    CHECK_EQ(used(f), before);
}

/* A death may come between two of the parts in which a file goes: that is no damage. */
TEST(test_xattr_room__half_gone_is_sound)
{
    struct check_opts quiet = {.quiet = true};
    struct check_result res = {0};
    struct nsfix f;
    uint64_t before, ino;
    vfs_node n;
    struct ns o;

    nsfix_open(&f, NSFIX_PLAIN);
    before = used(&f);
    n = nsfix_mk(&f, NSFIX_ROOT, "f", S_IFREG | 0644);
    for (int i = 0; i < 4; i++)
        CHECK_OK(set_number(&f, n, "user.", i, 10, NS_XATTR_MAX));
    CHECK_OK(vfs_unlink(f.v, &f.c, NSFIX_ROOT, "f"));
    CHECK_OK(ns_change(f.v, &f.c, OP_UNLINK, n, &o, &ino));
    CHECK_EQ(inode_drop(&o.t, f.v, o.to, ino), 1);
    CHECK_OK(ns_end(&o, 0));
    CHECK_OK(check_store(f.s, &quiet, &res));
    CHECK_EQ(res.problems, 0);
    CHECK_OK(vfs_orphans_drop_all(f.v));
    CHECK_EQ(used(&f), before);
    nsfix_verify(&f);
    nsfix_close(&f);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
