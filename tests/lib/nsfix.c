#include "tests/lib/nsfix.h"

#include <inttypes.h>
#include <stdlib.h>

#include "snap/check.h"
#include "snap/ns.h"
#include "snap/snapshot.h"

static const struct store_settings small = {.no_threads = true, .segment_bytes = 4 << 20, .segments = 4};

static void attach(struct nsfix *f)
{
    struct store_settings set = small;
    char why[256] = "";

    set.no_threads = !f->background;
    CHECK_OK(store_open(f->io ? f->io : io_real(), f->path, &set, 0, &f->s, why));
    CHECK_OK(snap_attach(f->s));
}

void nsfix_attach(struct nsfix *f)
{
    attach(f);
    CHECK_OK(volume_find(f->s, f->name, &f->v));
}

void nsfix_open(struct nsfix *f, enum nsfix_mode mode)
{
    *f = (struct nsfix){.mode = mode};
    ns_hash_mask = UINT64_MAX;
    snprintf(f->path, sizeof(f->path), "%s/store", test_dir());
    snprintf(f->name, sizeof(f->name), "main");
    CHECK_OK(store_create(io_real(), f->path, &small));
    attach(f);
    CHECK_OK(volume_create(f->s, f->name, &(struct volume_opts){.mode = 0755}, &f->v));
}

void nsfix_reopen(struct nsfix *f)
{
    CHECK_OK(store_close(f->s));
    nsfix_attach(f);
}

/* All memory is gone; what the kernel was given is there. */
static void kill_and_open(struct nsfix *f)
{
    store_drop(f->s);
    nsfix_attach(f);
}

static void go_on_in_clone(struct nsfix *f)
{
    struct vol *v;

    snprintf(f->name, sizeof(f->name), "clone-%u", f->turns);
    CHECK_OK(volume_clone(f->v, NULL, f->name, &v));
    f->v = v;
}

void nsfix_turn(struct nsfix *f)
{
    char name[64];

    f->turns++;
    switch (f->mode) {
    case NSFIX_PLAIN: break;
    case NSFIX_REOPEN: nsfix_reopen(f); break;
    case NSFIX_KILL: kill_and_open(f); break;
    case NSFIX_SNAP:
        snprintf(name, sizeof(name), "turn-%u", f->turns);
        CHECK_OK(snap_create(f->v, &f->c, name, NULL));
        break;
    case NSFIX_CLONE:
        if (f->turns <= 4) /* chains of clones have a bound */
            go_on_in_clone(f);
        else
            nsfix_reopen(f);
        break;
    }
}

static void say(void *arg, const char *line)
{
    (void)arg;
    printf("  check: %s\n", line);
}

void nsfix_close(struct nsfix *f)
{
    const struct check_opts opts = {.quiet = true, .say = say};
    struct check_result res = {0};

    CHECK_OK(store_checkpoint(f->s));
    CHECK_OK(store_reclaim_idle(f->s));
    CHECK_OK(check_store(f->s, &opts, &res));
    ns_hash_mask = UINT64_MAX;
    CHECK_EQ(res.problems, 0);
    CHECK_OK(store_close(f->s));
    f->s = NULL;
}

void nsfix_run(void (*body)(struct nsfix *f), enum nsfix_mode mode)
{
    struct nsfix f;

    nsfix_open(&f, mode);
    nsfix_turn(&f);
    body(&f);
    nsfix_verify(&f);
    nsfix_turn(&f);
    nsfix_verify(&f);
    nsfix_close(&f);
}

vfs_node nsfix_mk(struct nsfix *f, vfs_node dir, const char *name, uint32_t mode)
{
    struct vfs_attr a;

    CHECK_OK(vfs_mknod(f->v, &f->c, dir, name, mode, 0, &a));
    return a.node;
}

struct vfs_attr nsfix_attr(struct nsfix *f, vfs_node n)
{
    struct vfs_attr a;

    CHECK_OK(vfs_getattr(f->v, n, &a));
    return a;
}

struct vfs_attr nsfix_look(struct nsfix *f, vfs_node dir, const char *name)
{
    struct vfs_attr a;

    CHECK_OK(vfs_lookup(f->v, dir, name, &a));
    return a;
}

bool nsfix_has(struct nsfix *f, vfs_node dir, const char *name)
{
    struct vfs_attr a;
    int r = vfs_lookup(f->v, dir, name, &a);

    CHECK(r == 0 || r == -E_NOENT);
    return r == 0;
}

static int count_cb(void *arg, const struct vfs_dirent *e)
{
    size_t *n = arg;

    if (e->cookie >= NS_COOKIE_FIRST)
        ++*n;
    return 0;
}

size_t nsfix_count(struct nsfix *f, vfs_node dir)
{
    size_t n = 0;

    CHECK_OK(vfs_readdir(f->v, dir, 0, false, count_cb, &n));
    return n;
}

/* --- nsfix_verify: the tables of the live tree, read raw --- */

#define BAD(ino, ...)                                                                                        \
    do {                                                                                                     \
        printf("  inode %" PRIu64 ": ", (uint64_t)(ino));                                                    \
        printf(__VA_ARGS__);                                                                                 \
        printf("\n");                                                                                        \
        bad++;                                                                                               \
    } while (0)

static uint64_t count_keys(struct ns *o, uint8_t tab, uint64_t ino, bool heads_only)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    uint8_t prefix[8];
    uint64_t n = 0;
    int r;

    put_be64(prefix, ino);
    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, tab, prefix, 8);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1)
        n += !heads_only || key[16] == 0;
    CHECK_OK(r);
    return n;
}

/* Does (dir, hash) name ino? */
static bool names(struct ns *o, uint64_t dir, uint64_t hash, uint64_t ino, uint32_t mode)
{
    struct ns_dirent e;
    struct vt_val val;
    uint8_t key[16];

    put_be64(key, dir);
    put_be64(key + 8, hash);
    if (vt_get(&o->t, KEEP_PENDING, o->at, TAB_DIRENT, key, &val) < 0)
        return false;
    return ns_dirent_parse(hash, val.data, val.len, &e) == 0 && e.ino == ino && e.type == (mode & S_IFMT);
}

static unsigned verify_links(struct ns *o, const struct inode *in)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    uint8_t prefix[8];
    unsigned bad = 0;
    uint64_t n = 0;
    int r;

    if (!names(o, in->parent, in->parent_hash, in->ino, in->mode))
        BAD(in->ino, "parent does not name it");
    put_be64(prefix, in->ino);
    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, TAB_LINK, prefix, 8);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        n++;
        if (!names(o, get_be64(key + 8), get_be64(key + 16), in->ino, in->mode))
            BAD(in->ino, "a link record without a name");
        if (get_be64(key + 8) == in->parent && get_be64(key + 16) == in->parent_hash)
            BAD(in->ino, "one name counted twice");
    }
    CHECK_OK(r);
    if (n + 1 != in->nlink)
        BAD(in->ino, "nlink %u, names %" PRIu64, in->nlink, n + 1);
    return bad;
}

/* Every name of a directory leads to an inode that knows it; returns the number of subdirectories in ret. */
static unsigned verify_names(struct ns *o, uint64_t dir, uint32_t *ret_dirs)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    uint8_t prefix[8];
    unsigned bad = 0;
    int r;

    *ret_dirs = 0;
    put_be64(prefix, dir);
    vt_scan_init(&sc, &o->t, KEEP_PENDING, o->at, TAB_DIRENT, prefix, 8);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        uint64_t hash = get_be64(key + 8);
        struct ns_dirent e;
        struct inode in;
        struct vt_val link;
        uint8_t lkey[24];

        CHECK_OK(ns_dirent_parse(hash, val.data, val.len, &e));
        if (inode_get(&o->t, o->at, e.ino, &in) < 0) {
            BAD(dir, "names inode %" PRIu64 ", which is not there", e.ino);
            continue;
        }
        *ret_dirs += S_ISDIR(in.mode);
        put_be64(lkey, e.ino);
        memcpy(lkey + 8, key, 16);
        if (!(in.parent == dir && in.parent_hash == hash) &&
            vt_get(&o->t, KEEP_PENDING, o->at, TAB_LINK, lkey, &link) < 0)
            BAD(e.ino, "does not know its name in %" PRIu64, dir);
    }
    CHECK_OK(r);
    return bad;
}

static unsigned verify_one(struct ns *o, const struct inode *in)
{
    unsigned bad = 0;
    uint32_t dirs = 0;

    if (S_ISDIR(in->mode)) {
        bad += verify_names(o, in->ino, &dirs);
        if (in->nlink != 0 && in->nlink != 2 + dirs)
            BAD(in->ino, "nlink %u with %u subdirectories", in->nlink, dirs);
        if (in->nlink != 0 && in->ino != INO_ROOT &&
            !names(o, in->parent, in->parent_hash, in->ino, in->mode))
            BAD(in->ino, "parent does not name the directory");
    } else if (in->nlink != 0) {
        bad += verify_links(o, in);
    }
    if (in->nlink == 0 && (in->parent != 0 || count_keys(o, TAB_LINK, in->ino, false) != 0))
        BAD(in->ino, "without links, but with a name");
    if ((ns_orphan_is(o, in->ino) == 0) != (in->nlink == 0))
        BAD(in->ino, "nlink %u does not agree with the orphans", in->nlink);
    if (count_keys(o, TAB_XATTR, in->ino, true) != in->nxattr)
        BAD(in->ino, "nxattr %u is wrong", in->nxattr);
    return bad;
}

void nsfix_verify(struct nsfix *f)
{
    struct vt_scan sc;
    struct vt_val val;
    const uint8_t *key;
    struct ns o;
    uint64_t root, inodes = 0, blocks = 0;
    unsigned bad = 0;
    int r;

    CHECK_OK(ns_read(f->v, NSFIX_ROOT, &o, &root));
    vt_scan_init(&sc, &o.t, KEEP_PENDING, o.at, TAB_INODE, "", 0);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        struct inode in;

        CHECK_OK(inode_get(&o.t, o.at, get_be64(key), &in));
        inodes++;
        blocks += in.blocks + in.more_blocks;
        bad += verify_one(&o, &in);
    }
    if (inodes != f->v->stat.inodes)
        BAD(0, "%" PRIu64 " inodes, counted %" PRIu64, inodes, f->v->stat.inodes);
    if (blocks != vol_used_blocks(f->v))
        BAD(0, "%" PRIu64 " blocks, counted %" PRIu64, blocks, vol_used_blocks(f->v));
    ns_end(&o, 0);
    CHECK_OK(r);
    CHECK_EQ(bad, 0);
}
