#include "tests/lib/box.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "tests/lib/test.h"

#define BIG (3u << 20)

static void attach(struct box *b)
{
    char why[256] = "";
    int r = store_open(b->io, b->path, &b->set, 0, &b->s, why);

    if (r < 0)
        test_fail(__FILE__, __LINE__, "open: %s (%s)", err_name(r), why);
    CHECK_OK(snap_attach(b->s));
    CHECK_OK(volume_find(b->s, "main", &b->v));
}

size_t box_segment_bytes = 4 << 20;

void box_attach(struct box *b)
{
    attach(b);
}

void box_open(struct box *b, struct io *io, const char *path)
{
    struct vol *v;
    char why[256] = "";

    *b = (struct box){.io = io ? io : io_real()};
    if (path)
        snprintf(b->path, sizeof(b->path), "%s", path);
    else
        snprintf(b->path, sizeof(b->path), "%s/store", test_dir());
    b->set.no_threads = true;
    b->set.segment_bytes = box_segment_bytes;
    b->set.map_bytes = 64 << 20;
    CHECK_OK(store_create(b->io, b->path, &b->set));
    CHECK_OK(store_open(b->io, b->path, &b->set, 0, &b->s, why));
    CHECK_OK(snap_attach(b->s));
    CHECK_OK(volume_create(b->s, "main", NULL, &v));
    b->v = v;
}

void box_close(struct box *b)
{
    CHECK_OK(store_close(TAKE(b->s)));
}

void box_reopen(struct box *b)
{
    box_close(b);
    attach(b);
}

void box_drop(struct box *b)
{
    store_drop(TAKE(b->s));
}

void box_die(struct box *b)
{
    box_drop(b);
    attach(b);
}

vfs_node box_root(struct vol *v)
{
    return vfs_node_make(v->rec.live_view, INO_ROOT);
}

/* The directory of a path and the name in it. */
static vfs_node walk(struct vol *v, vfs_node at, const char *path, bool parent, char name[256])
{
    struct vfs_attr a;

    while (*path) {
        size_t n = strcspn(path, "/");
        snprintf(name, 256, "%.*s", (int)n, path);
        path += n + (path[n] == '/');
        if (parent && !*path)
            return at;
        int r = vfs_lookup(v, at, name, &a);
        if (r < 0)
            test_fail(__FILE__, __LINE__, "lookup of %s: %s", name, err_name(r));
        at = a.node;
    }
    return at;
}

vfs_node box_node(struct vol *v, vfs_node root, const char *path)
{
    char name[256];

    return walk(v, root, path, false, name);
}

bool box_there(struct vol *v, vfs_node at, const char *path)
{
    struct vfs_attr a;
    char name[256];

    while (*path) {
        size_t n = strcspn(path, "/");
        snprintf(name, sizeof(name), "%.*s", (int)n, path);
        path += n + (path[n] == '/');
        int r = vfs_lookup(v, at, name, &a);
        if (r == -E_NOENT || r == -E_NOTDIR)
            return false;
        CHECK_OK(r);
        at = a.node;
    }
    return true;
}

void box_mkdir(struct box *b, struct vol *v, const char *path)
{
    struct vfs_attr a;
    char name[256];
    vfs_node dir = walk(v, box_root(v), path, true, name);

    CHECK_OK(vfs_mknod(v, &b->c, dir, name, S_IFDIR | 0755, 0, &a));
}

void box_write(struct box *b, struct vol *v, const char *path, const void *p, size_t len, uint64_t off)
{
    struct vfs_attr a;
    char name[256];
    vfs_node dir = walk(v, box_root(v), path, true, name);
    int r = vfs_lookup(v, dir, name, &a);

    if (r == -E_NOENT)
        r = vfs_mknod(v, &b->c, dir, name, S_IFREG | 0644, 0, &a);
    CHECK_OK(r);
    if (len)
        CHECK_OK(vfs_write(v, &b->c, a.node, p, len, off, false));
}

void box_text(struct box *b, struct vol *v, const char *path, const char *text)
{
    box_write(b, v, path, text, strlen(text), 0);
    box_truncate(b, v, path, strlen(text));
}

void box_fill(struct box *b, struct vol *v, const char *path, uint64_t off, size_t len, uint64_t seed)
{
    uint8_t *p = malloc(len + 8);
    uint64_t x = seed;

    CHECK(p != NULL);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t w = test_rand(&x);
        memcpy(p + i, &w, 8);
    }
    box_write(b, v, path, p, len, off);
    free(p);
}

void box_remove(struct box *b, struct vol *v, const char *path)
{
    struct vfs_attr a;
    char name[256];
    vfs_node dir = walk(v, box_root(v), path, true, name);

    CHECK_OK(vfs_lookup(v, dir, name, &a));
    if (S_ISDIR(a.mode))
        CHECK_OK(vfs_rmdir(v, &b->c, dir, name));
    else
        CHECK_OK(vfs_unlink(v, &b->c, dir, name));
}

void box_rename(struct box *b, struct vol *v, const char *from, const char *to)
{
    char a[256], c[256];
    vfs_node x = walk(v, box_root(v), from, true, a), y = walk(v, box_root(v), to, true, c);

    CHECK_OK(vfs_rename(v, &b->c, x, a, y, c, 0));
}

void box_link(struct box *b, struct vol *v, const char *from, const char *to)
{
    struct vfs_attr a;
    char name[256];
    vfs_node n = box_node(v, box_root(v), from), dir = walk(v, box_root(v), to, true, name);

    CHECK_OK(vfs_link(v, &b->c, n, dir, name, &a));
}

void box_truncate(struct box *b, struct vol *v, const char *path, uint64_t size)
{
    struct vfs_setattr set = {.set = VFS_SIZE, .size = size};
    struct vfs_attr a;

    CHECK_OK(vfs_setattr(v, &b->c, box_node(v, box_root(v), path), &set, &a));
}

static uint8_t *content(struct vol *v, vfs_node n, uint64_t size)
{
    uint8_t *p = malloc(size + 1);
    size_t got = 0;

    CHECK(p != NULL);
    for (uint64_t off = 0; off < size; off += got) {
        CHECK_OK(vfs_read(v, n, p + off, size - off, off, &got));
        CHECK(got > 0);
    }
    return p;
}

bool box_is(struct vol *v, vfs_node root, const char *path, const char *text)
{
    vfs_node n = box_node(v, root, path);
    struct vfs_attr a;
    uint8_t *p;
    bool same;

    CHECK_OK(vfs_getattr(v, n, &a));
    p = content(v, n, a.size);
    same = a.size == strlen(text) && memcmp(p, text, a.size) == 0;
    free(p);
    return same;
}

vfs_node box_view(struct vol *v, const char *snap)
{
    struct vfs_attr a;
    vfs_node n;

    CHECK_OK(view_enter(v, snap, INO_ROOT, &n, &a));
    return n;
}

/* --- pictures --- */

struct entry {
    char name[256];
    struct vfs_attr a;
};
struct listing {
    struct entry *v;
    size_t n, cap;
};

static int list_one(void *arg, const struct vfs_dirent *e)
{
    struct listing *l = arg;

    if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
        return 0;
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 16;
        l->v = realloc(l->v, l->cap * sizeof(*l->v));
        CHECK(l->v != NULL);
    }
    snprintf(l->v[l->n].name, 256, "%.*s", (int)e->name_len, e->name);
    l->v[l->n++].a = e->attr;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static uint64_t sum_xattrs(struct vol *v, vfs_node n)
{
    cleanup(buf_free) struct buf names = {0};
    uint64_t sum = 0;

    CHECK_OK(vfs_listxattr(v, n, &names));
    for (size_t i = 0; i < names.len; i += strlen((char *)names.data + i) + 1) {
        cleanup(buf_free) struct buf val = {0};
        const char *name = (char *)names.data + i;
        CHECK_OK(vfs_getxattr(v, n, name, &val));
        sum += hash_sum(hash_sum(7, name, strlen(name)), val.data, val.len);
    }
    return sum;
}

static uint64_t sum_bytes(struct vol *v, vfs_node n, const struct vfs_attr *a)
{
    cleanup(buf_free) struct buf target = {0};
    uint64_t sum = 0;

    if (S_ISLNK(a->mode)) {
        CHECK_OK(vfs_readlink(v, n, &target));
        return hash_sum(1, target.data, target.len);
    }
    if (S_ISREG(a->mode) && a->size) {
        uint8_t *p = content(v, n, a->size);
        sum = hash_sum(1, p, a->size);
        free(p);
    }
    return sum;
}

static void picture_node(struct vol *v, const char *path, const struct vfs_attr *a, struct buf *ret)
{
    CHECK_OK(buf_printf(
        ret, "%s mode=%o links=%u uid=%u gid=%u size=%llu mtime=%lld.%09ld blocks=%llu xattr=%llx sum=%llx\n",
        path, a->mode, a->nlink, a->uid, a->gid, (unsigned long long)a->size, (long long)a->mtime.tv_sec,
        a->mtime.tv_nsec, (unsigned long long)a->blocks512, (unsigned long long)sum_xattrs(v, a->node),
        (unsigned long long)sum_bytes(v, a->node, a)));
}

static void picture_dir(struct vol *v, vfs_node dir, const char *path, struct buf *ret)
{
    struct listing l = {0};
    char sub[4096];

    CHECK_OK(vfs_readdir(v, dir, 0, true, list_one, &l));
    if (l.n)
        qsort(l.v, l.n, sizeof(*l.v), by_name);
    for (size_t i = 0; i < l.n; i++) {
        snprintf(sub, sizeof(sub), "%s%s%s", path, *path ? "/" : "", l.v[i].name);
        picture_node(v, sub, &l.v[i].a, ret);
        if (S_ISDIR(l.v[i].a.mode))
            picture_dir(v, l.v[i].a.node, sub, ret);
    }
    free(l.v);
}

void box_picture(struct vol *v, vfs_node root, struct buf *ret)
{
    struct vfs_attr a;

    buf_reset(ret);
    CHECK_OK(vfs_getattr(v, root, &a));
    picture_node(v, ".", &a, ret);
    picture_dir(v, root, "", ret);
}

bool box_same(const struct buf *a, const struct buf *b)
{
    size_t i = 0, line = 0;

    if (a->len == b->len && memcmp(a->data, b->data, a->len) == 0)
        return true;
    while (i < a->len && i < b->len && a->data[i] == b->data[i]) {
        if (a->data[i] == '\n')
            line = i + 1;
        i++;
    }
    printf("  had:  %.*s\n  have: %.*s\n", (int)strcspn((char *)a->data + line, "\n"), (char *)a->data + line,
           (int)strcspn((char *)b->data + line, "\n"), (char *)b->data + line);
    return false;
}

/* --- random operations --- */

#define DIRS 5
#define NAMES 9

static void pick(uint64_t *rng, char out[64])
{
    unsigned d = (unsigned)(test_rand(rng) % (DIRS + 1)), n = (unsigned)(test_rand(rng) % NAMES);

    if (d == DIRS)
        snprintf(out, 64, "f%u", n);
    else
        snprintf(out, 64, "d%u/f%u", d, n);
}

static void need_dirs(struct box *b, struct vol *v)
{
    char name[16];

    for (int i = 0; i < DIRS; i++) {
        snprintf(name, sizeof(name), "d%d", i);
        if (!box_there(v, box_root(v), name))
            box_mkdir(b, v, name);
    }
}

static void mess_write(struct box *b, struct vol *v, uint64_t *rng, const char *path)
{
    uint64_t kind = test_rand(rng) % 10, off, len;

    if (kind < 5) { /* small */
        off = test_rand(rng) % 3000;
        len = 1 + test_rand(rng) % 2000;
    } else if (kind < 8) { /* pages */
        off = test_rand(rng) % 200 * 1024;
        len = 1 + test_rand(rng) % 40000;
    } else {
        off = test_rand(rng) % BIG;
        len = 1 + test_rand(rng) % (300 << 10);
    }
    box_fill(b, v, path, off, len, test_rand(rng));
}

static void mess_attr(struct box *b, struct vol *v, uint64_t *rng, const char *path)
{
    struct vfs_setattr set = {.set = VFS_MODE, .mode = 0600 + (uint32_t)(test_rand(rng) % 64)};
    vfs_node n = box_node(v, box_root(v), path);
    uint64_t val = test_rand(rng);
    struct vfs_attr a;
    char name[32];

    CHECK_OK(vfs_setattr(v, &b->c, n, &set, &a));
    snprintf(name, sizeof(name), "user.n%u", (unsigned)(val % 3));
    if (val & 64)
        CHECK_OK(vfs_setxattr(v, &b->c, n, name, &val, sizeof(val), 0, false));
    else if (vfs_removexattr(v, &b->c, n, name) == 0)
        return;
}

static void mess_two(struct box *b, struct vol *v, uint64_t *rng, const char *path)
{
    vfs_node root = box_root(v);
    uint64_t kind = test_rand(rng) % 3, done;
    char other[64];

    pick(rng, other);
    if (strcmp(other, path) == 0)
        return;
    if (kind == 0) {
        box_rename(b, v, path, other);
    } else if (kind == 1 && !box_there(v, root, other)) {
        box_link(b, v, path, other);
    } else if (kind == 2 && box_there(v, root, other)) {
        CHECK_OK(vfs_copy(v, &b->c, box_node(v, root, path), test_rand(rng) % 64 * 4096,
                          box_node(v, root, other), test_rand(rng) % 64 * 4096, test_rand(rng) % (200 << 10),
                          &done));
    }
}

static void mess_once(struct box *b, struct vol *v, uint64_t *rng)
{
    vfs_node root = box_root(v);
    uint64_t kind = test_rand(rng) % 20;
    char path[64];

    pick(rng, path);
    if (getenv("BOX_SAY"))
        printf("kind %u %s\n", (unsigned)kind, path);
    if (kind < 8 || !box_there(v, root, path))
        mess_write(b, v, rng, path);
    else if (kind < 11)
        box_truncate(b, v, path, test_rand(rng) % 3 ? test_rand(rng) % BIG : test_rand(rng) % 5000);
    else if (kind < 13)
        box_remove(b, v, path);
    else if (kind < 15)
        mess_attr(b, v, rng, path);
    else if (kind < 17)
        CHECK_OK(vfs_fallocate(v, &b->c, box_node(v, root, path),
                               kind == 15 ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_KEEP_SIZE,
                               test_rand(rng) % (1 << 20), 1 + test_rand(rng) % (1 << 19)));
    else if (kind < 18)
        CHECK_OK(vfs_fsync(v, box_node(v, root, path)));
    else
        mess_two(b, v, rng, path);
}

void box_mess(struct box *b, struct vol *v, uint64_t *rng, int n)
{
    need_dirs(b, v);
    for (int i = 0; i < n; i++) {
        mess_once(b, v, rng);
        if (getenv("BOX_REFS"))
            box_refs(b);
        if (test_rand(rng) % 40 == 0)
            (void)store_tick(b->s);
    }
}
