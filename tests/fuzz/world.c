#include "tests/fuzz/world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "snap/diff.h"

#define DEPTH_MAX 6
#define NODES_MAX 300

static const struct vfs_ctx ctx = {.umask = 022};
static const struct store_settings settings = {
    .no_threads = true, .segment_bytes = 64 << 10, .segments = 4, .map_bytes = 16 << 20, .fd_cache = 16};
static uint8_t bytes[300000];

static vfs_node root_of(struct vol *v)
{
    return vfs_node_make(v->rec.live_view, INO_ROOT);
}

static vfs_node make(struct vol *v, vfs_node dir, const char *name, uint32_t mode)
{
    struct vfs_attr a;

    FUZZ_CHECK(vfs_mknod(v, &ctx, dir, name, mode, 0, &a) == 0);
    return a.node;
}

static void fill(struct vol *v)
{
    static const char acl[] =
        "\2\0\0\0\1\0\7\0\377\377\377\377\2\0\6\0\1\0\0\0\4\0\5\0\377\377\377\377\20\0\7\0\377\377\377\377"
        "\40\0\5\0\377\377\377\377";
    vfs_node root = root_of(v), d = make(v, root, "dir", S_IFDIR | 0755), big, small;
    struct vfs_setattr cut = {.set = VFS_SIZE, .size = 250000};
    struct vfs_attr a;

    small = make(v, root, "small", S_IFREG | 0644);
    big = make(v, d, "big", S_IFREG | 0644);
    FUZZ_CHECK(vfs_write(v, &ctx, small, "a few bytes", 11, 0, false) == 0);
    FUZZ_CHECK(vfs_write(v, &ctx, big, bytes, sizeof(bytes), 0, false) == 0);
    FUZZ_CHECK(vfs_fallocate(v, &ctx, big, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 40960) == 0);
    FUZZ_CHECK(vfs_symlink(v, &ctx, root, "symlink", "dir/big", &a) == 0);
    FUZZ_CHECK(vfs_link(v, &ctx, small, d, "again", &a) == 0);
    FUZZ_CHECK(vfs_setxattr(v, &ctx, small, "user.name", bytes, 1500, 0, false) == 0);
    FUZZ_CHECK(vfs_setxattr(v, &ctx, small, "system.posix_acl_access", acl, sizeof(acl) - 1, 0, false) == 0);
    make(v, d, "fifo", S_IFIFO | 0600);
    FUZZ_CHECK(snap_create(v, &ctx, "s1", NULL) == 0);
    FUZZ_CHECK(vfs_write(v, &ctx, big, bytes, 9000, 100000, false) == 0);
    FUZZ_CHECK(vfs_setattr(v, &ctx, big, &cut, &a) == 0);
    FUZZ_CHECK(vfs_unlink(v, &ctx, root, "symlink") == 0);
    FUZZ_CHECK(vfs_rename(v, &ctx, root, "small", d, "moved", 0) == 0);
    FUZZ_CHECK(snap_create(v, &ctx, "s2", NULL) == 0);
    FUZZ_CHECK(snap_label(v, "s2", "key", "value") == 0);
    FUZZ_CHECK(snap_hold(v, "s2", "tag") == 0);
    make(v, root, "late", S_IFREG | 0600);
}

static void path_of(struct world *w)
{
    w->io = lying_io(w->disk);
    FUZZ_CHECK(snprintf(w->path, sizeof(w->path), "%s/store", lying_root(w->disk)) < (int)sizeof(w->path));
}

static struct lying_shot *template_make(void)
{
    struct world w = {.disk = lying_ram(NULL)};
    struct lying_shot *shot;
    struct vol *copy;

    path_of(&w);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    clock_test_set(1790000000000000000, 1000000000);
    FUZZ_CHECK(store_create(w.io, w.path, &settings) == 0);
    FUZZ_CHECK(store_open(w.io, w.path, &settings, 0, &w.env.store, NULL) == 0);
    FUZZ_CHECK(snap_attach(w.env.store) == 0);
    FUZZ_CHECK(volume_create(w.env.store, "main", &(struct volume_opts){.size_limit = 64 << 20}, &w.v) == 0);
    fill(w.v);
    FUZZ_CHECK(volume_clone(w.v, "s1", "copy", &copy) == 0);
    FUZZ_CHECK(vfs_unlink(copy, &ctx, root_of(copy), "small") == 0);
    make(copy, root_of(copy), "own", S_IFREG | 0644);
    FUZZ_CHECK(store_close(w.env.store) == 0);
    shot = lying_shot(w.disk, 0, LYING_ALL);
    lying_free(w.disk);
    return shot;
}

void world_copy(struct world *w)
{
    static struct lying_shot *template; /* until the end of the process */

    if (!template)
        template = template_make();
    *w = (struct world){.disk = lying_ram(lying_shot_copy(template))};
    path_of(w);
    clock_test_set(1790000100000000000, 100000000000);
}

int world_open(struct world *w)
{
    int r = store_open(w->io, w->path, &settings, 0, &w->env.store, NULL);

    if (r < 0)
        return r;
    r = snap_attach(w->env.store);
    if (r == 0)
        r = verb_env_attach(&w->env);
    if (r == 0 && volume_find(w->env.store, "main", &w->v) < 0)
        w->v = NULL;
    if (r < 0)
        store_close(TAKE(w->env.store));
    return r;
}

void world_begin(struct world *w)
{
    world_copy(w);
    FUZZ_CHECK(world_open(w) == 0);
}

void world_end(struct world *w)
{
    if (w->env.store) {
        verb_env_detach(&w->env);
        (void)store_close(TAKE(w->env.store));
    }
    lying_free(TAKE(w->disk));
}

/* --- looking ----------------------------------------------------------------------------------------------------------- */

struct look {
    struct vol *v;
    unsigned left, depth;
    uint8_t room[65536];
};

static void look_node(struct look *l, vfs_node n, uint32_t type);

static int look_entry(void *arg, const struct vfs_dirent *e)
{
    struct look *l = arg;

    if (l->left == 0)
        return 1;
    l->left--;
    if (strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0)
        look_node(l, e->attr.node, e->attr.mode & S_IFMT);
    return 0;
}

static void look_attributes(struct look *l, vfs_node n)
{
    cleanup(buf_free) struct buf names = {0};

    if (vfs_listxattr(l->v, n, &names) < 0)
        return;
    for (size_t i = 0; i < names.len; i += strlen((char *)names.data + i) + 1) {
        cleanup(buf_free) struct buf val = {0};
        (void)vfs_getxattr(l->v, n, (char *)names.data + i, &val);
    }
}

static void look_bytes(struct look *l, vfs_node n)
{
    static const uint64_t at[] = {0, 99000, 240000, FILE_SIZE_MAX - 5};
    uint64_t off = 0;
    size_t got;

    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        (void)vfs_read(l->v, n, l->room, sizeof(l->room), at[i], &got);
    (void)vfs_seek(l->v, n, SEEK_HOLE, 0, &off);
    (void)vfs_seek(l->v, n, SEEK_DATA, off, &off);
}

/* What the inode is decides, where it can be read, not what its name says. */
static void look_node(struct look *l, vfs_node n, uint32_t type)
{
    cleanup(buf_free) struct buf target = {0};
    struct vfs_attr a;
    vfs_node up;

    if (vfs_getattr(l->v, n, &a) == 0)
        type = a.mode & S_IFMT;
    look_attributes(l, n);
    if (type != S_IFDIR && type != S_IFLNK)
        look_bytes(l, n);
    if (type != S_IFDIR && type != S_IFREG)
        (void)vfs_readlink(l->v, n, &target);
    if (type != S_IFDIR || l->depth == DEPTH_MAX)
        return;
    (void)vfs_parent(l->v, n, &up);
    l->depth++;
    (void)vfs_readdir(l->v, n, 0, true, look_entry, l);
    l->depth--;
}

static void look_tree(struct vol *v, vfs_node root)
{
    struct look l = {.v = v, .left = NODES_MAX};

    look_node(&l, root, S_IFDIR);
}

struct names {
    char name[16][NAME_LEN_MAX + 1];
    unsigned n;
};

static int take_name(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct names *s = arg;

    (void)text;
    (void)text_len;
    if (s->n == ARRAY_LEN(s->name))
        return 1;
    snprintf(s->name[s->n++], sizeof(s->name[0]), "%s", rec->name);
    return 0;
}

static int look_diff(void *arg, const struct diff_entry *e)
{
    uint64_t *sum = arg;

    *sum += e->ino + e->nranges + strlen(e->path);
    return 0;
}

static int look_volume(void *arg, struct vol *v)
{
    struct names s = {.n = 0};
    struct volume_info info;
    struct statvfs sv;
    uint64_t sum = 0;

    (void)arg;
    (void)volume_get_info(v, &info);
    (void)vfs_statfs(v, &sv);
    look_tree(v, root_of(v));
    (void)snap_each(v, take_name, &s);
    for (unsigned i = 0; i < s.n; i++) {
        cleanup(buf_free) struct buf text = {0};
        struct snap_info si;
        struct vfs_attr a;
        vfs_node n;

        (void)snap_get_info(v, s.name[i], &si);
        (void)snap_text(v, s.name[i], &text);
        if (view_enter(v, s.name[i], INO_ROOT, &n, &a) == 0)
            look_tree(v, n);
        (void)diff_run(v, s.name[i], NULL, look_diff, &sum);
        if (i > 0)
            (void)diff_run(v, s.name[0], s.name[i], look_diff, &sum);
    }
    return 0;
}

void world_look(struct world *w)
{
    (void)volume_each(w->env.store, look_volume, NULL);
}

void world_use(struct world *w)
{
    struct vfs_setattr cut = {.set = VFS_SIZE | VFS_MODE, .size = 70000, .mode = 0600};
    vfs_node root = root_of(w->v), d = root;
    struct vol *v = w->v, *clone;
    struct vfs_attr a, b;
    uint64_t done;

    if (vfs_lookup(v, root, "dir", &a) == 0)
        d = a.node;
    if (vfs_lookup(v, d, "big", &a) == 0) {
        (void)vfs_write(v, &ctx, a.node, bytes, 20000, 3000, true);
        (void)vfs_setattr(v, &ctx, a.node, &cut, &b);
        (void)vfs_fallocate(v, &ctx, a.node, 0, 60000, 50000);
        if (vfs_lookup(v, root, "late", &b) == 0)
            (void)vfs_copy(v, &ctx, a.node, 0, b.node, 4096, 60000, &done);
        (void)vfs_fsync(v, a.node);
    }
    if (vfs_lookup(v, d, "moved", &a) == 0) {
        (void)vfs_write(v, &ctx, a.node, bytes, 5000, 1, false);
        (void)vfs_setxattr(v, &ctx, a.node, "user.more", bytes, 30, 0, false);
        (void)vfs_removexattr(v, &ctx, a.node, "user.name");
    }
    (void)vfs_mknod(v, &ctx, d, "new", S_IFREG | 0644, 0, &a);
    (void)vfs_rename(v, &ctx, d, "new", root, "newer", 0);
    (void)vfs_unlink(v, &ctx, d, "again");
    (void)vfs_unlink(v, &ctx, d, "big");
    (void)vfs_orphans_drop_all(v);
    (void)snap_create(v, &ctx, "s3", NULL);
    (void)volume_clone(v, "s2", "other", &clone);
    (void)snap_delete(v, &ctx, "s1");
    (void)snap_rollback(v, &ctx, "s2", NULL);
    (void)store_sync(w->env.store);
    (void)store_checkpoint(w->env.store);
    (void)store_reclaim_idle(w->env.store);
}
