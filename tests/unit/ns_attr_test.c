/* Attributes, extended attributes, POSIX ACLs. */
#include <stdlib.h>
#include <sys/xattr.h>

#include "snap/ns.h"
#include "tests/lib/nsfix.h"

static struct vfs_attr chmod_to(struct nsfix *f, vfs_node n, uint32_t mode)
{
    struct vfs_attr a;

    CHECK_OK(vfs_setattr(f->v, &f->c, n, &(struct vfs_setattr){.set = VFS_MODE, .mode = mode}, &a));
    return a;
}

static struct vfs_attr chown_to(struct nsfix *f, vfs_node n, uint32_t uid, uint32_t gid)
{
    struct vfs_attr a;

    CHECK_OK(vfs_setattr(f->v, &f->c, n,
                         &(struct vfs_setattr){.set = VFS_UID | VFS_GID, .uid = uid, .gid = gid}, &a));
    return a;
}

static bool has_x(struct nsfix *f, vfs_node n, const char *name, const void *want, size_t len)
{
    cleanup(buf_free) struct buf b = {0};
    int r = vfs_getxattr(f->v, n, name, &b);

    CHECK(r == 0 || r == -E_NODATA);
    if (r < 0)
        return false;
    CHECK_EQ(b.len, len);
    CHECK(len == 0 || memcmp(b.data, want, len) == 0);
    return true;
}

static void set_x(struct nsfix *f, vfs_node n, const char *name, const void *p, size_t len)
{
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, name, p, len, 0, false));
}

NS_TEST(test_ns_attr__setattr_sets_what_it_is_told)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644);
    struct vfs_setattr sa = {.set = VFS_MODE | VFS_UID | VFS_GID | VFS_ATIME | VFS_MTIME,
                             .mode = S_IFDIR | 04711,
                             .uid = 4000000000u,
                             .gid = 12,
                             .atime = {1, 999999999},
                             .mtime = {-5, 3}};
    struct vfs_attr a;

    nsfix_turn(f);
    CHECK_OK(vfs_setattr(f->v, &f->c, n, &sa, &a));
    nsfix_turn(f);
    a = nsfix_attr(f, n);
    CHECK_EQ(a.mode, S_IFREG | 04711);
    CHECK_EQ(a.uid, 4000000000u);
    CHECK_EQ(a.gid, 12);
    CHECK_EQ(a.atime.tv_sec, 1);
    CHECK_EQ(a.atime.tv_nsec, 999999999);
    CHECK(a.mtime.tv_sec == -5 && a.mtime.tv_nsec == 3);
    CHECK(a.ctime.tv_sec > 1000);
    sa.set = VFS_ATIME_NOW | VFS_MTIME_NOW | VFS_CTIME;
    sa.ctime = (struct timespec){77, 7};
    CHECK_OK(vfs_setattr(f->v, &f->c, n, &sa, &a));
    CHECK(a.atime.tv_sec > 1000 && a.mtime.tv_sec > 1000);
    CHECK_EQ(a.ctime.tv_sec, 77);
    CHECK_EQ(a.mode, S_IFREG | 04711);
}

NS_TEST(test_ns_attr__size_is_for_regular_files)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 06777),
             fifo = nsfix_mk(f, NSFIX_ROOT, "p", S_IFIFO | 0644);
    struct vfs_setattr sa = {.set = VFS_SIZE | VFS_MODE, .size = 100000, .mode = 0600};
    struct vfs_attr a;

    CHECK_ERR(vfs_setattr(f->v, &f->c, NSFIX_ROOT, &sa, &a), -E_ISDIR);
    CHECK_ERR(vfs_setattr(f->v, &f->c, fifo, &sa, &a), -E_INVAL);
    CHECK_OK(vfs_setattr(f->v, &f->c, n, &sa, &a));
    CHECK_EQ(a.size, 100000);
    CHECK_EQ(a.mode, S_IFREG | 0600);
    nsfix_turn(f);
    chmod_to(f, n, 06777);
    sa = (struct vfs_setattr){.set = VFS_SIZE | VFS_KILL_PRIV, .size = 10};
    CHECK_OK(vfs_setattr(f->v, &f->c, n, &sa, &a));
    CHECK_EQ(a.size, 10);
    CHECK_EQ(a.mode, S_IFREG | 0777);
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0777);
}

NS_TEST(test_ns_attr__chown_takes_privileges_away)
{
    static const struct {
        uint32_t mode, after;
    } cases[] = {{S_IFREG | 06755, S_IFREG | 0755},
                 {S_IFREG | 06644, S_IFREG | 02644},
                 {S_IFREG | 07777, S_IFREG | 01777},
                 {S_IFDIR | 06755, S_IFDIR | 06755},
                 {S_IFIFO | 04711, S_IFIFO | 0711}};
    char name[8];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(name, sizeof(name), "%zu", i);
        nsfix_mk(f, NSFIX_ROOT, name, cases[i].mode);
        set_x(f, nsfix_look(f, NSFIX_ROOT, name).node, NS_CAPS, "caps", 4);
    }
    nsfix_turn(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        vfs_node n;

        snprintf(name, sizeof(name), "%zu", i);
        n = nsfix_look(f, NSFIX_ROOT, name).node;
        CHECK_EQ(chown_to(f, n, 3, 4).mode, cases[i].after);
        CHECK_EQ(has_x(f, n, NS_CAPS, "caps", 4), S_ISDIR(cases[i].mode));
    }
}

NS_TEST(test_ns_attr__writing_takes_privileges_away_if_told)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 06755);

    set_x(f, n, NS_CAPS, "caps", 4);
    nsfix_turn(f);
    CHECK_OK(vfs_write(f->v, &f->c, n, "x", 1, 0, false));
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 06755);
    CHECK(has_x(f, n, NS_CAPS, "caps", 4));
    CHECK_OK(vfs_write(f->v, &f->c, n, "x", 1, 0, true));
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0755);
    CHECK(!has_x(f, n, NS_CAPS, "caps", 4));
    set_x(f, n, NS_CAPS, "again", 5);
    nsfix_turn(f);
    CHECK(has_x(f, n, NS_CAPS, "again", 5));
    chmod_to(f, n, 04755);
    f->c.uid = 1000;
    CHECK_OK(vfs_fallocate(f->v, &f->c, n, 0, 0, 8192));
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0755);
    CHECK(!has_x(f, n, NS_CAPS, "again", 5));
}

NS_TEST(test_ns_attr__attributes_survive_pending_bytes)
{
    static char big[300000];
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644);

    CHECK_OK(vfs_write(f->v, &f->c, n, big, sizeof(big), 0, false));
    chmod_to(f, n, 0600);
    set_x(f, n, "user.a", "1", 1);
    nsfix_turn(f);
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0600);
    CHECK_EQ(nsfix_attr(f, n).size, sizeof(big));
    CHECK_OK(vfs_write(f->v, &f->c, n, big, sizeof(big), 100000, false));
    chown_to(f, n, 9, 8);
    CHECK_OK(vfs_rename(f->v, &f->c, NSFIX_ROOT, "f", NSFIX_ROOT, "g", 0));
    nsfix_turn(f);
    CHECK_EQ(nsfix_look(f, NSFIX_ROOT, "g").uid, 9);
    CHECK_EQ(nsfix_attr(f, n).size, 400000);
    CHECK(has_x(f, n, "user.a", "1", 1));
    CHECK_OK(vfs_fsync(f->v, n));
    CHECK_OK(vfs_fsync(f->v, NSFIX_ROOT));
}

/* --- extended attributes --- */

NS_TEST(test_ns_xattr__create_replace_remove)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644);

    CHECK_ERR(vfs_setxattr(f->v, &f->c, n, "user.a", "1", 1, XATTR_REPLACE, false), -E_NODATA);
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, "user.a", "1", 1, XATTR_CREATE, false));
    nsfix_turn(f);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, n, "user.a", "2", 1, XATTR_CREATE, false), -E_EXIST);
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, "user.a", "22", 2, XATTR_REPLACE, false));
    CHECK(has_x(f, n, "user.a", "22", 2));
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, "user.a", "", 0, 0, false));
    CHECK(has_x(f, n, "user.a", "", 0));
    nsfix_turn(f);
    CHECK_OK(vfs_removexattr(f->v, &f->c, n, "user.a"));
    CHECK_ERR(vfs_removexattr(f->v, &f->c, n, "user.a"), -E_NODATA);
    CHECK(!has_x(f, n, "user.a", "", 0));
    nsfix_turn(f);
    CHECK(!has_x(f, n, "user.a", "", 0));
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, "user.a", "3", 1, XATTR_CREATE, false));
}

NS_TEST(test_ns_xattr__names_and_sizes_that_are_refused)
{
    static char big[65537];
    char name[300];
    struct buf b = {0};

    memset(name, 'n', sizeof(name));
    memcpy(name, "user.", 5);
    name[256] = 0;
    CHECK_ERR(vfs_setxattr(f->v, &f->c, NSFIX_ROOT, name, "", 0, 0, false), -E_RANGE);
    CHECK_ERR(vfs_getxattr(f->v, NSFIX_ROOT, name, &b), -E_RANGE);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, NSFIX_ROOT, "", "", 0, 0, false), -E_RANGE);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, NSFIX_ROOT, "user.", "", 0, 0, false), -E_INVAL);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, NSFIX_ROOT, "other.a", "", 0, 0, false), -E_NOTSUP);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, NSFIX_ROOT, "system.other", "", 0, 0, false), -E_NOTSUP);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, NSFIX_ROOT, "user.varve.snap.x", "", 0, 0, false), -E_PERM);
    CHECK_ERR(vfs_removexattr(f->v, &f->c, NSFIX_ROOT, "user.varve.snap.x"), -E_PERM);
    CHECK_ERR(vfs_getxattr(f->v, NSFIX_ROOT, "user.varve.snap.x", &b), -E_NODATA);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, NSFIX_ROOT, "user.a", big, 65537, 0, false), -E_TOOBIG);
    CHECK_ERR(vfs_setxattr(f->v, &f->c, NSFIX_ROOT, "user.a", "", 0, XATTR_CREATE | XATTR_REPLACE, false),
              -E_INVAL);
    name[255] = 0;
    memset(big, 'v', 65536);
    set_x(f, NSFIX_ROOT, name, big, 65536);
    nsfix_turn(f);
    CHECK(has_x(f, NSFIX_ROOT, name, big, 65536));
    CHECK_OK(vfs_listxattr(f->v, NSFIX_ROOT, &b));
    CHECK_EQ(b.len, 256);
    CHECK(strcmp((char *)b.data, name) == 0);
    buf_free(&b);
}

NS_TEST(test_ns_xattr__values_grow_and_shrink)
{
    static const size_t lens[] = {0, 1, 1000, 1010, 1013, 1014, 2000, 65536, 1024, 5000, 3, 65535, 0};
    static uint8_t data[65536];
    uint64_t state = test_seed();

    for (size_t i = 0; i < sizeof(data); i += 8)
        put_le64(data + i, test_rand(&state));
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        set_x(f, NSFIX_ROOT, "user.v", data + (65536 - lens[i]), lens[i]);
        set_x(f, NSFIX_ROOT, "trusted.w", data, lens[ARRAY_LEN(lens) - 1 - i]);
        if (i % 4 == 0)
            nsfix_turn(f);
        CHECK(has_x(f, NSFIX_ROOT, "user.v", data + (65536 - lens[i]), lens[i]));
        CHECK(has_x(f, NSFIX_ROOT, "trusted.w", data, lens[ARRAY_LEN(lens) - 1 - i]));
    }
}

static size_t list_count(struct nsfix *f, vfs_node n)
{
    cleanup(buf_free) struct buf b = {0};
    size_t count = 0;

    CHECK_OK(vfs_listxattr(f->v, n, &b));
    for (size_t i = 0; i < b.len; i++)
        count += b.data[i] == 0;
    return count;
}

static void two_thousand(struct nsfix *f)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644);
    char name[32], value[64];

    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "user.%d", i);
        snprintf(value, sizeof(value), "value of %d", i);
        set_x(f, n, name, value, strlen(value));
    }
    nsfix_turn(f);
    CHECK_EQ(list_count(f, n), 2000);
    for (int i = 0; i < 2000; i += 2) {
        snprintf(name, sizeof(name), "user.%d", i);
        CHECK_OK(vfs_removexattr(f->v, &f->c, n, name));
    }
    CHECK_EQ(list_count(f, n), 1000);
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "user.%d", i);
        snprintf(value, sizeof(value), "value of %d", i);
        CHECK_EQ(has_x(f, n, name, value, strlen(value)), i & 1);
    }
    nsfix_verify(f);
    CHECK_OK(vfs_unlink(f->v, &f->c, NSFIX_ROOT, "f"));
    CHECK_OK(vfs_orphans_drop_all(f->v));
}

NS_TEST(test_ns_xattr__two_thousand_on_one_file)
{
    two_thousand(f);
}

NS_TEST(test_ns_xattr__equal_hashes)
{
    char name[32];
    static char big[3000];

    ns_hash_mask = 0x300;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "user.%d", i);
        set_x(f, NSFIX_ROOT, name, big, (size_t)(i % 3) * 1500);
    }
    nsfix_turn(f);
    for (int i = 0; i < 200; i += 3) {
        snprintf(name, sizeof(name), "user.%d", i);
        CHECK_OK(vfs_removexattr(f->v, &f->c, NSFIX_ROOT, name));
    }
    nsfix_verify(f);
    nsfix_turn(f);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "user.%d", i);
        CHECK_EQ(has_x(f, NSFIX_ROOT, name, big, (size_t)(i % 3) * 1500), i % 3 != 0);
    }
    CHECK_EQ(list_count(f, NSFIX_ROOT), 133);
}

/* --- POSIX ACLs --- */

enum { U = 1, UN = 2, G = 4, GN = 8, M = 16, O = 32 };

struct acl {
    uint8_t b[4 + 8 * 16];
    size_t len;
};

static struct acl acl_make(size_t n, const uint32_t (*e)[3])
{
    struct acl a = {.len = 4 + 8 * n};

    put_le32(a.b, 2);
    for (size_t i = 0; i < n; i++) {
        put_le16(a.b + 4 + 8 * i, (uint16_t)e[i][0]);
        put_le16(a.b + 6 + 8 * i, (uint16_t)e[i][1]);
        put_le32(a.b + 8 + 8 * i, e[i][2]);
    }
    return a;
}

#define ACL(...)                                                                                             \
    ({                                                                                                       \
        static const uint32_t e_[][3] = {__VA_ARGS__};                                                       \
        acl_make(ARRAY_LEN(e_), e_);                                                                         \
    })
#define NOID UINT32_MAX

static int set_acl(struct nsfix *f, vfs_node n, const char *name, const struct acl *a)
{
    return vfs_setxattr(f->v, &f->c, n, name, a->b, a->len, 0, false);
}

NS_TEST(test_ns_acl__what_equals_the_mode_is_the_mode)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 02644);
    struct acl three = ACL({U, 7, NOID}, {G, 5, NOID}, {O, 1, NOID});
    struct acl more = ACL({U, 6, NOID}, {UN, 7, 1000}, {G, 4, NOID}, {M, 6, NOID}, {O, 0, NOID});

    CHECK_OK(set_acl(f, n, NS_ACL_ACCESS, &three));
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 02751);
    CHECK(!has_x(f, n, NS_ACL_ACCESS, NULL, 0));
    CHECK_EQ(list_count(f, n), 0);
    CHECK_OK(set_acl(f, n, NS_ACL_ACCESS, &more));
    nsfix_turn(f);
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 02660); /* the group bits are the mask */
    CHECK(has_x(f, n, NS_ACL_ACCESS, more.b, more.len));
    CHECK(nsfix_attr(f, n).flags & INODE_ACL);
    CHECK_EQ(list_count(f, n), 1);
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, NS_ACL_ACCESS, more.b, more.len, 0, true));
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0660);
    CHECK_OK(set_acl(f, n, NS_ACL_ACCESS, &three)); /* back to the mode: nothing is stored */
    CHECK(!has_x(f, n, NS_ACL_ACCESS, NULL, 0));
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0751);
    CHECK(!(nsfix_attr(f, n).flags & INODE_ACL));
}

NS_TEST(test_ns_acl__chmod_changes_the_mask)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644);
    struct acl acl = ACL({U, 6, NOID}, {UN, 7, 1000}, {G, 4, NOID}, {GN, 5, 7}, {M, 6, NOID}, {O, 0, NOID});
    struct acl after = ACL({U, 7, NOID}, {UN, 7, 1000}, {G, 4, NOID}, {GN, 5, 7}, {M, 1, NOID}, {O, 4, NOID});

    CHECK_OK(set_acl(f, n, NS_ACL_ACCESS, &acl));
    nsfix_turn(f);
    CHECK_EQ(chmod_to(f, n, 0714).mode, S_IFREG | 0714);
    CHECK(has_x(f, n, NS_ACL_ACCESS, after.b, after.len));
    nsfix_turn(f);
    CHECK_OK(vfs_removexattr(f->v, &f->c, n, NS_ACL_ACCESS));
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0714);
    CHECK(!has_x(f, n, NS_ACL_ACCESS, NULL, 0));
    CHECK_OK(vfs_removexattr(f->v, &f->c, n, NS_ACL_ACCESS)); /* absent: as the kernel's filesystems */
    CHECK_OK(set_acl(f, n, NS_ACL_ACCESS, &acl));
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, NS_ACL_ACCESS, "", 0, 0, false));
    CHECK(!has_x(f, n, NS_ACL_ACCESS, NULL, 0));
}

NS_TEST(test_ns_acl__defaults_are_inherited)
{
    vfs_node d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755), n, sub;
    struct acl def = ACL({U, 7, NOID}, {UN, 7, 1000}, {G, 5, NOID}, {M, 7, NOID}, {O, 5, NOID});
    struct acl got = ACL({U, 6, NOID}, {UN, 7, 1000}, {G, 5, NOID}, {M, 4, NOID}, {O, 0, NOID});
    struct acl dir = ACL({U, 7, NOID}, {UN, 7, 1000}, {G, 5, NOID}, {M, 7, NOID}, {O, 0, NOID});

    f->c.umask = 077; /* counts for nothing below a default ACL */
    CHECK_OK(set_acl(f, d, NS_ACL_DEFAULT, &def));
    nsfix_turn(f);
    n = nsfix_mk(f, d, "f", S_IFREG | 0640);
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0640);
    CHECK(has_x(f, n, NS_ACL_ACCESS, got.b, got.len));
    CHECK(!has_x(f, n, NS_ACL_DEFAULT, NULL, 0));
    sub = nsfix_mk(f, d, "sub", S_IFDIR | 0770);
    nsfix_turn(f);
    CHECK_EQ(nsfix_attr(f, sub).mode, S_IFDIR | 0770);
    CHECK(has_x(f, sub, NS_ACL_ACCESS, dir.b, dir.len));
    CHECK(has_x(f, sub, NS_ACL_DEFAULT, def.b, def.len));
    CHECK_EQ(list_count(f, sub), 2);
    n = nsfix_mk(f, sub, "deeper", S_IFIFO | 0666);
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFIFO | 0664);
    CHECK_OK(vfs_symlink(f->v, &f->c, sub, "l", "t", NULL));
    CHECK_EQ(list_count(f, nsfix_look(f, sub, "l").node), 0);
    CHECK_OK(vfs_removexattr(f->v, &f->c, sub, NS_ACL_DEFAULT));
    CHECK_EQ(nsfix_attr(f, nsfix_mk(f, sub, "plain", S_IFREG | 0666)).mode, S_IFREG | 0600);
}

NS_TEST(test_ns_acl__a_default_that_equals_a_mode_is_inherited_as_mode)
{
    vfs_node d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755), n;
    struct acl def = ACL({U, 7, NOID}, {G, 5, NOID}, {O, 0, NOID});

    CHECK_OK(set_acl(f, d, NS_ACL_DEFAULT, &def));
    CHECK(has_x(f, d, NS_ACL_DEFAULT, def.b, def.len));
    nsfix_turn(f);
    n = nsfix_mk(f, d, "f", S_IFREG | 0666);
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0640);
    CHECK_EQ(list_count(f, n), 0);
}

NS_TEST(test_ns_acl__bad_ones_are_refused)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "f", S_IFREG | 0644);
    struct acl bad[] = {
        ACL({U, 7, NOID}, {G, 5, NOID}),                                            /* no other */
        ACL({G, 7, NOID}, {U, 5, NOID}, {O, 5, NOID}),                              /* order */
        ACL({U, 7, NOID}, {UN, 7, 1}, {G, 5, NOID}, {O, 5, NOID}),                  /* named without mask */
        ACL({U, 7, NOID}, {U, 7, NOID}, {G, 5, NOID}, {O, 5, NOID}),                /* twice */
        ACL({U, 8, NOID}, {G, 5, NOID}, {O, 5, NOID}),                              /* permissions */
        ACL({U, 7, NOID}, {G, 5, NOID}, {64, 0, NOID}, {O, 5, NOID}),               /* tag */
        ACL({U, 7, NOID}, {UN, 7, NOID}, {G, 5, NOID}, {M, 7, NOID}, {O, 5, NOID}), /* id */
        ACL({U, 7, NOID}, {G, 5, NOID}, {M, 7, NOID}, {M, 7, NOID}, {O, 5, NOID}),  /* two masks */
    };
    struct acl good = ACL({U, 7, NOID}, {G, 5, NOID}, {O, 5, NOID});

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CHECK_ERR(set_acl(f, n, NS_ACL_ACCESS, &bad[i]), -E_INVAL);
        CHECK_ERR(set_acl(f, NSFIX_ROOT, NS_ACL_DEFAULT, &bad[i]), -E_INVAL);
    }
    CHECK_ERR(set_acl(f, n, NS_ACL_DEFAULT, &good), -E_ACCES);
    CHECK_OK(vfs_setxattr(f->v, &f->c, n, NS_ACL_DEFAULT, "", 0, 0, false));
    CHECK_OK(vfs_removexattr(f->v, &f->c, n, NS_ACL_DEFAULT));
    good.len--;
    CHECK_ERR(set_acl(f, n, NS_ACL_ACCESS, &good), -E_INVAL);
    good.len = 3;
    CHECK_ERR(set_acl(f, n, NS_ACL_ACCESS, &good), -E_INVAL);
    good.len = 28;
    put_le32(good.b, 1);
    CHECK_ERR(set_acl(f, n, NS_ACL_ACCESS, &good), -E_NOTSUP);
    CHECK_EQ(nsfix_attr(f, n).mode, S_IFREG | 0644);
    CHECK_OK(vfs_symlink(f->v, &f->c, NSFIX_ROOT, "l", "t", NULL));
    put_le32(good.b, 2);
    CHECK_ERR(set_acl(f, nsfix_look(f, NSFIX_ROOT, "l").node, NS_ACL_ACCESS, &good), -E_NOTSUP);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
