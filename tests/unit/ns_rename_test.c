/* Renaming: every pair of types, flags, loops, links. */
#include "snap/ns.h"
#include "tests/lib/nsfix.h"

enum kind {
    NONE,
    FILE_,
    LINK_,
    DIR_,
    FULL_,
    KINDS
}; /* nothing, file, symlink, empty directory, one with an entry */

static void put(struct nsfix *f, vfs_node dir, const char *name, enum kind k)
{
    switch (k) {
    case FILE_: nsfix_mk(f, dir, name, S_IFREG | 0644); break;
    case LINK_: CHECK_OK(vfs_symlink(f->v, &f->c, dir, name, "target", NULL)); break;
    case DIR_: nsfix_mk(f, dir, name, S_IFDIR | 0755); break;
    case FULL_: nsfix_mk(f, nsfix_mk(f, dir, name, S_IFDIR | 0755), "inner", S_IFREG | 0644); break;
    default: break;
    }
}

static int expected(enum kind from, enum kind to, unsigned flags)
{
    bool from_dir = from >= DIR_, to_dir = to >= DIR_;

    if (from == NONE)
        return -E_NOENT;
    if (to == NONE)
        return flags & VFS_EXCHANGE ? -E_NOENT : 0;
    if (flags & VFS_NOREPLACE)
        return -E_EXIST;
    if (flags & VFS_EXCHANGE)
        return 0;
    if (from_dir && !to_dir)
        return -E_NOTDIR;
    if (!from_dir && to_dir)
        return -E_ISDIR;
    return to == FULL_ ? -E_NOTEMPTY : 0;
}

static uint64_t ino_of(struct nsfix *f, vfs_node dir, const char *name)
{
    struct vfs_attr a;
    int r = vfs_lookup(f->v, dir, name, &a);

    CHECK(r == 0 || r == -E_NOENT);
    return r == 0 ? vfs_node_ino(a.node) : 0;
}

static void check_moved(struct nsfix *f, vfs_node a, const char *from, vfs_node b, const char *to,
                        uint64_t was_from, uint64_t was_to, unsigned flags)
{
    CHECK_EQ(ino_of(f, b, to), was_from);
    if (flags & VFS_EXCHANGE) {
        CHECK_EQ(ino_of(f, a, from), was_to);
    } else if (flags & VFS_WHITEOUT) {
        struct vfs_attr w = nsfix_look(f, a, from);

        CHECK_EQ(w.mode, S_IFCHR);
        CHECK_EQ(w.rdev, 0);
        CHECK_EQ(w.nlink, 1);
    } else {
        CHECK_EQ(ino_of(f, a, from), 0);
    }
}

/* All pairs of kinds, within one directory and between two. */
static void matrix(struct nsfix *f, unsigned flags)
{
    vfs_node top = nsfix_mk(f, NSFIX_ROOT, "top", S_IFDIR | 0755);
    vfs_node d[2] = {nsfix_mk(f, top, "d0", S_IFDIR | 0755), nsfix_mk(f, top, "d1", S_IFDIR | 0755)};
    char from[32], to[32];

    for (int between = 0; between < 2; between++)
        for (int k = 0; k < KINDS * KINDS; k++) {
            snprintf(from, sizeof(from), "from-%d-%d", between, k);
            snprintf(to, sizeof(to), "to-%d-%d", between, k);
            put(f, d[0], from, (enum kind)(k / KINDS));
            put(f, d[between], to, (enum kind)(k % KINDS));
        }
    nsfix_turn(f);
    for (int between = 0; between < 2; between++)
        for (int k = 0; k < KINDS * KINDS; k++) {
            enum kind kf = (enum kind)(k / KINDS), kt = (enum kind)(k % KINDS);
            uint64_t was_from, was_to;

            snprintf(from, sizeof(from), "from-%d-%d", between, k);
            snprintf(to, sizeof(to), "to-%d-%d", between, k);
            was_from = ino_of(f, d[0], from);
            was_to = ino_of(f, d[between], to);
            CHECK_ERR(vfs_rename(f->v, &f->c, d[0], from, d[between], to, flags), expected(kf, kt, flags));
            if (expected(kf, kt, flags) == 0) {
                check_moved(f, d[0], from, d[between], to, was_from, was_to, flags);
            } else {
                CHECK_EQ(ino_of(f, d[0], from), was_from);
                CHECK_EQ(ino_of(f, d[between], to), was_to);
            }
        }
    nsfix_verify(f);
    nsfix_turn(f);
    CHECK_OK(vfs_orphans_drop_all(f->v));
    nsfix_verify(f);
}

NS_TEST(test_ns_rename__plain_matrix)
{
    matrix(f, 0);
}

NS_TEST(test_ns_rename__noreplace_matrix)
{
    matrix(f, VFS_NOREPLACE);
}

NS_TEST(test_ns_rename__exchange_matrix)
{
    matrix(f, VFS_EXCHANGE);
}

NS_TEST(test_ns_rename__whiteout_matrix)
{
    matrix(f, VFS_WHITEOUT);
}

NS_TEST(test_ns_rename__whiteout_noreplace_matrix)
{
    matrix(f, VFS_WHITEOUT | VFS_NOREPLACE);
}

NS_TEST(test_ns_rename__flags_that_contradict_are_refused)
{
    nsfix_mk(f, NSFIX_ROOT, "a", S_IFREG | 0644);
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", NSFIX_ROOT, "b", VFS_EXCHANGE | VFS_NOREPLACE),
              -E_INVAL);
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", NSFIX_ROOT, "b", VFS_EXCHANGE | VFS_WHITEOUT),
              -E_INVAL);
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", NSFIX_ROOT, "b", 8), -E_INVAL);
}

NS_TEST(test_ns_rename__a_directory_never_moves_below_itself)
{
    vfs_node a = nsfix_mk(f, NSFIX_ROOT, "a", S_IFDIR | 0755), b = nsfix_mk(f, a, "b", S_IFDIR | 0755);
    vfs_node c = nsfix_mk(f, b, "c", S_IFDIR | 0755), up;

    nsfix_mk(f, NSFIX_ROOT, "x", S_IFDIR | 0755);
    nsfix_turn(f);
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", a, "a", 0), -E_INVAL);
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", b, "a", 0), -E_INVAL);
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", c, "a", VFS_NOREPLACE), -E_INVAL);
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", b, "c", VFS_EXCHANGE), -E_INVAL);
    CHECK_ERR(vfs_rename(f->v, &f->c, b, "c", NSFIX_ROOT, "a", VFS_EXCHANGE), -E_INVAL);
    CHECK_ERR(vfs_rename(f->v, &f->c, b, "c", NSFIX_ROOT, "a", 0), -E_NOTEMPTY);
    CHECK_OK(vfs_rename(f->v, &f->c, b, "c", NSFIX_ROOT, "x", 0));
    CHECK_OK(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", c, "a", 0)); /* now c lies above */
    nsfix_turn(f);
    CHECK_OK(vfs_parent(f->v, a, &up));
    CHECK_EQ(up.v, c.v);
    CHECK_EQ(nsfix_attr(f, c).nlink, 3);
    CHECK_EQ(nsfix_attr(f, b).nlink, 2);
    CHECK_EQ(nsfix_attr(f, NSFIX_ROOT).nlink, 3);
}

NS_TEST(test_ns_rename__two_names_of_one_file_both_stay)
{
    vfs_node n = nsfix_mk(f, NSFIX_ROOT, "a", S_IFREG | 0644);
    struct vfs_attr a;

    CHECK_OK(vfs_link(f->v, &f->c, n, NSFIX_ROOT, "b", &a));
    nsfix_turn(f);
    CHECK_OK(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", NSFIX_ROOT, "b", 0));
    CHECK_OK(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", NSFIX_ROOT, "a", 0));
    CHECK_OK(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", NSFIX_ROOT, "b", VFS_EXCHANGE));
    CHECK_ERR(vfs_rename(f->v, &f->c, NSFIX_ROOT, "a", NSFIX_ROOT, "a", VFS_NOREPLACE), -E_EXIST);
    CHECK_EQ(nsfix_attr(f, n).nlink, 2);
    CHECK_EQ(nsfix_count(f, NSFIX_ROOT), 2);
}

/* Renames of every link of a file, also over links of another. */
NS_TEST(test_ns_rename__links_are_kept_exact)
{
    vfs_node d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755), n[2];
    struct vfs_attr a;
    char name[2][16];

    for (int k = 0; k < 2; k++) {
        n[k] = nsfix_mk(f, NSFIX_ROOT, k ? "b0" : "a0", S_IFREG | 0644);
        for (int i = 1; i < 6; i++) {
            snprintf(name[0], sizeof(name[0]), "%c%d", 'a' + k, i);
            CHECK_OK(vfs_link(f->v, &f->c, n[k], i & 1 ? d : NSFIX_ROOT, name[0], &a));
        }
    }
    nsfix_turn(f);
    for (int i = 0; i < 6; i++) {
        vfs_node where = i & 1 ? d : NSFIX_ROOT, other = i & 1 ? NSFIX_ROOT : d;

        snprintf(name[0], sizeof(name[0]), "a%d", i);
        snprintf(name[1], sizeof(name[1]), "b%d", i);
        if (i < 2)
            CHECK_OK(vfs_rename(f->v, &f->c, where, name[0], where, name[1], 0));
        else if (i < 4)
            CHECK_OK(vfs_rename(f->v, &f->c, where, name[0], where, name[1], VFS_EXCHANGE));
        else
            CHECK_OK(vfs_rename(f->v, &f->c, where, name[0], other, name[1], 0));
        nsfix_verify(f);
    }
    nsfix_turn(f);
    CHECK_EQ(nsfix_attr(f, n[0]).nlink, 6);
    CHECK_EQ(nsfix_attr(f, n[1]).nlink, 4);
}

NS_TEST(test_ns_rename__a_group_of_equal_hashes)
{
    char name[32];

    ns_hash_mask = 0x200;
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        nsfix_mk(f, NSFIX_ROOT, name, S_IFREG | 0644);
    }
    nsfix_turn(f);
    for (int i = 0; i < 60; i += 3) { /* gaps in the middle, filled by the names moved */
        char to[32];

        snprintf(name, sizeof(name), "n%d", i);
        snprintf(to, sizeof(to), i & 1 ? "n%d" : "m%d", i + 1);
        CHECK_OK(vfs_rename(f->v, &f->c, NSFIX_ROOT, name, NSFIX_ROOT, to, 0));
        CHECK(!nsfix_has(f, NSFIX_ROOT, name));
        CHECK(nsfix_has(f, NSFIX_ROOT, to));
    }
    CHECK_EQ(nsfix_count(f, NSFIX_ROOT), 50);
    nsfix_verify(f);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
