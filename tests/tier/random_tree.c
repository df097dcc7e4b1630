#include "tests/tier/random_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/lib/test.h"

#define NAMES 24
#define DEPTH 3
#define FILE_MAX (3u << 19)
#define LINKS_MAX 200

struct entry {
    char path[300];
    struct stat st;
};
struct entries {
    struct entry *v;
    size_t n, cap;
};

static int by_alpha(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void look(const char *top, const char *below, struct entries *e)
{
    char path[900];
    struct dirent **v;
    int n;

    snprintf(path, sizeof(path), "%s/%s", top, below);
    n = scandir(path, &v, NULL, by_alpha);
    CHECK(n >= 0);
    for (int i = 0; i < n; i++) {
        struct entry x;

        if (strcmp(v[i]->d_name, ".") != 0 && strcmp(v[i]->d_name, "..") != 0) {
            snprintf(x.path, sizeof(x.path), "%.200s%s%.60s", below, *below ? "/" : "", v[i]->d_name);
            snprintf(path, sizeof(path), "%s/%s", top, x.path);
            CHECK(lstat(path, &x.st) == 0);
            if (e->n == e->cap) {
                e->cap = e->cap ? e->cap * 2 : 64;
                e->v = realloc(e->v, e->cap * sizeof(*e->v));
                CHECK(e->v != NULL);
            }
            e->v[e->n++] = x;
            if (S_ISDIR(x.st.st_mode))
                look(top, x.path, e);
        }
        free(v[i]);
    }
    free(v);
}

bool plain_pick(const char *top, uint64_t *rng, char out[300])
{
    struct entries e = {0};

    look(top, "", &e);
    if (e.n)
        memcpy(out, e.v[test_rand(rng) % e.n].path, 300);
    free(e.v);
    return e.n > 0;
}

void plain_copy(const char *from, const char *to)
{
    char command[900];

    snprintf(command, sizeof(command), "cp -a --sparse=always '%s' '%s'", from, to);
    CHECK(system(command) == 0);
}

/* --- one change ----------------------------------------------------------------------------------------------------- */

struct change {
    struct twin *t;
    uint64_t *rng;
    struct entries e;
};

static uint64_t draw(struct change *c, uint64_t below)
{
    return test_rand(c->rng) % below;
}

static void plain_of(const struct twin *t, const char *path, char out[700])
{
    snprintf(out, 700, "%s%s%s", t->plain, *path ? "/" : "", path);
}

static vfs_node node_of(struct twin *t, const char *path)
{
    return box_node(t->v, box_root(t->v), path);
}

static void parent_of(const char *path, char out[300])
{
    const char *slash = strrchr(path, '/');

    snprintf(out, 300, "%.*s", slash ? (int)(slash - path) : 0, path);
}

/* Both are given the same time, which nobody reads off a clock. */
static void stamp(struct twin *t, const char *path)
{
    struct timespec now = {1000000000 + ++t->clock, (long)(t->clock * 7919 % 1000000000)};
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, now};
    struct vfs_setattr set = {.set = VFS_MTIME, .mtime = now};
    struct vfs_attr a;
    char plain[700];

    plain_of(t, path, plain);
    CHECK(utimensat(AT_FDCWD, plain, times, AT_SYMLINK_NOFOLLOW) == 0);
    CHECK_OK(vfs_setattr(t->v, &t->b->c, node_of(t, path), &set, &a));
}

static void stamp_parent(struct twin *t, const char *path)
{
    char up[300];

    parent_of(path, up);
    stamp(t, up);
}

/* Something that is there of these kinds (bits: 1 files, 2 directories, 4 others); NULL: nothing is. */
static const struct entry *some(struct change *c, unsigned kinds)
{
    for (unsigned i = 0; c->e.n && i < 20; i++) {
        const struct entry *e = &c->e.v[draw(c, c->e.n)];
        unsigned kind = S_ISREG(e->st.st_mode) ? 1 : S_ISDIR(e->st.st_mode) ? 2 : 4;

        if (kind & kinds)
            return e;
    }
    return NULL;
}

static const struct entry *find(struct change *c, const char *path)
{
    for (size_t i = 0; i < c->e.n; i++)
        if (strcmp(c->e.v[i].path, path) == 0)
            return &c->e.v[i];
    return NULL;
}

/* A path below a directory that is there; it may be there. */
static void somewhere(struct change *c, char out[300])
{
    const struct entry *d = draw(c, 3) ? some(c, 2) : NULL;
    unsigned depth = 0;

    for (const char *s = d ? d->path : ""; *s; s++)
        depth += *s == '/';
    if (depth >= DEPTH)
        d = NULL;
    snprintf(out, 300, "%.200s%sn%u", d ? d->path : "", d ? "/" : "", (unsigned)draw(c, NAMES));
}

static void bytes_of(uint64_t seed, uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        uint64_t w = test_rand(&seed);

        memcpy(p + i, &w, MIN_OF(sizeof(w), len - i));
    }
}

/* The bytes repeat where the seed does, so that some are in several files. */
static void do_write(struct change *c)
{
    const struct entry *e = draw(c, 3) ? some(c, 1) : NULL;
    uint64_t kind = draw(c, 10), off, len;
    char path[300], plain[700];
    uint8_t *p;
    int fd;

    if (e)
        memcpy(path, e->path, sizeof(path));
    else
        somewhere(c, path);
    e = find(c, path);
    if (e && !S_ISREG(e->st.st_mode))
        return;
    off = kind < 6 ? draw(c, 3000) : kind < 9 ? draw(c, 200) * 1024 : draw(c, 1u << 20);
    len = kind < 6 ? 1 + draw(c, 3000) : kind < 9 ? 1 + draw(c, 40000) : 1 + draw(c, 700u << 10);
    if (!e && draw(c, 2))
        off = 0;
    p = malloc(len);
    CHECK(p != NULL);
    bytes_of(draw(c, 300), p, len);
    plain_of(c->t, path, plain);
    fd = open(plain, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && pwrite(fd, p, len, (off_t)off) == (ssize_t)len);
    close(fd);
    box_write(c->t->b, c->t->v, path, p, len, off);
    free(p);
    stamp(c->t, path);
    if (!e)
        stamp_parent(c->t, path);
}

static void do_truncate(struct change *c)
{
    const struct entry *e = some(c, 1);
    uint64_t size = draw(c, 3) ? draw(c, 6000) : draw(c, FILE_MAX);
    char plain[700];

    if (!e)
        return;
    plain_of(c->t, e->path, plain);
    CHECK(truncate(plain, (off_t)size) == 0);
    box_truncate(c->t->b, c->t->v, e->path, size);
    stamp(c->t, e->path);
}

static void do_remove(struct change *c)
{
    const struct entry *e = some(c, 7);
    char plain[700];

    if (!e)
        return;
    plain_of(c->t, e->path, plain);
    if (remove(plain) < 0) /* a directory that is not empty */
        return;
    box_remove(c->t->b, c->t->v, e->path);
    stamp_parent(c->t, e->path);
}

static void do_make(struct change *c)
{
    uint64_t kind = draw(c, 4);
    struct vfs_attr a;
    char path[300], plain[700], up[300], target[100];
    const char *name;

    somewhere(c, path);
    if (find(c, path))
        return;
    plain_of(c->t, path, plain);
    parent_of(path, up);
    name = path + strlen(up) + (*up ? 1 : 0);
    if (kind < 2) {
        CHECK(mkdir(plain, 0755) == 0);
        box_mkdir(c->t->b, c->t->v, path);
    } else if (kind == 2) {
        snprintf(target, sizeof(target), "to/%llu", (unsigned long long)draw(c, 1000000));
        CHECK(symlink(target, plain) == 0);
        CHECK_OK(vfs_symlink(c->t->v, &c->t->b->c, node_of(c->t, up), name, target, &a));
    } else {
        CHECK(mkfifo(plain, 0640) == 0);
        CHECK_OK(vfs_mknod(c->t->v, &c->t->b->c, node_of(c->t, up), name, S_IFIFO | 0640, 0, &a));
    }
    stamp(c->t, path);
    stamp_parent(c->t, path);
}

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static void do_rename(struct change *c)
{
    const struct entry *e = some(c, 7), *there;
    char to[300], plain[700], plain_to[700];

    if (!e)
        return;
    somewhere(c, to);
    there = find(c, to);
    if (is_below(to, e->path) ||
        (there && (S_ISDIR(there->st.st_mode) || S_ISDIR(e->st.st_mode) || there->st.st_ino == e->st.st_ino)))
        return;
    plain_of(c->t, e->path, plain);
    plain_of(c->t, to, plain_to);
    CHECK(rename(plain, plain_to) == 0);
    box_rename(c->t->b, c->t->v, e->path, to);
    stamp_parent(c->t, e->path);
    stamp_parent(c->t, to);
}

static void do_link(struct change *c)
{
    const struct entry *e = some(c, 1);
    char to[300], plain[700], plain_to[700];

    if (!e || e->st.st_nlink > LINKS_MAX)
        return;
    somewhere(c, to);
    if (find(c, to))
        return;
    plain_of(c->t, e->path, plain);
    plain_of(c->t, to, plain_to);
    CHECK(link(plain, plain_to) == 0);
    box_link(c->t->b, c->t->v, e->path, to);
    stamp_parent(c->t, to);
}

static void do_mode(struct change *c)
{
    const struct entry *e = some(c, 3);
    uint32_t mode = 0600 + (uint32_t)draw(c, 64), id = (uint32_t)draw(c, 5) * 100;
    struct vfs_setattr set = {.set = VFS_MODE | VFS_UID | VFS_GID, .mode = mode, .uid = id, .gid = id + 1};
    struct vfs_attr a;
    char plain[700];

    if (!e)
        return;
    if (S_ISDIR(e->st.st_mode))
        set.mode = mode |= 0100;
    plain_of(c->t, e->path, plain);
    CHECK(chown(plain, id, id + 1) == 0);
    CHECK(chmod(plain, mode) == 0);
    CHECK_OK(vfs_setattr(c->t->v, &c->t->b->c, node_of(c->t, e->path), &set, &a));
}

static void do_attribute(struct change *c)
{
    const struct entry *e = some(c, 3);
    static const size_t sizes[] = {0, 9, 200, 700, 3000, 20000};
    size_t len = sizes[draw(c, ARRAY_LEN(sizes))];
    char name[32], plain[700];
    uint8_t val[20000];

    if (!e)
        return;
    snprintf(name, sizeof(name), "user.a%u", (unsigned)draw(c, 4));
    plain_of(c->t, e->path, plain);
    if (draw(c, 3) == 0) {
        if (lremovexattr(plain, name) == 0)
            CHECK_OK(vfs_removexattr(c->t->v, &c->t->b->c, node_of(c->t, e->path), name));
        return;
    }
    bytes_of(draw(c, 100), val, len);
    CHECK(lsetxattr(plain, name, val, len, 0) == 0);
    CHECK_OK(vfs_setxattr(c->t->v, &c->t->b->c, node_of(c->t, e->path), name, val, len, 0, false));
}

static void do_copy(struct change *c)
{
    const struct entry *from = some(c, 1), *to = some(c, 1);
    uint64_t off, at, len, done = 0;
    char plain[700];
    uint8_t *p;
    int fd;

    if (!from || !to || from->st.st_ino == to->st.st_ino)
        return;
    off = draw(c, 64) * 4096;
    at = draw(c, 4) ? draw(c, 64) * 4096 : draw(c, 200000);
    len = 1 + draw(c, 200u << 10);
    CHECK_OK(vfs_copy(c->t->v, &c->t->b->c, node_of(c->t, from->path), off, node_of(c->t, to->path), at, len,
                      &done));
    CHECK(done == ((uint64_t)from->st.st_size <= off ? 0 : MIN_OF(len, (uint64_t)from->st.st_size - off)));
    if (done == 0)
        return;
    p = malloc(done);
    plain_of(c->t, from->path, plain);
    fd = open(plain, O_RDONLY | O_CLOEXEC);
    CHECK(p && fd >= 0 && pread(fd, p, done, (off_t)off) == (ssize_t)done);
    close(fd);
    plain_of(c->t, to->path, plain);
    fd = open(plain, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, p, done, (off_t)at) == (ssize_t)done);
    close(fd);
    free(p);
    stamp(c->t, to->path);
}

static void do_hole(struct change *c)
{
    const struct entry *e = some(c, 1);
    int mode = draw(c, 3) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_KEEP_SIZE;
    uint64_t off = draw(c, 1u << 20), len = 1 + draw(c, 1u << 19);
    char plain[700];
    int fd;

    if (!e)
        return;
    plain_of(c->t, e->path, plain);
    fd = open(plain, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && fallocate(fd, mode, (off_t)off, (off_t)len) == 0);
    close(fd);
    CHECK_OK(vfs_fallocate(c->t->v, &c->t->b->c, node_of(c->t, e->path), mode, off, len));
    stamp(c->t, e->path);
}

void twin_mess(struct twin *t, uint64_t *rng, unsigned n)
{
    static void (*const changes[])(struct change * c) = {
        do_write, do_write, do_write,  do_write, do_write,     do_truncate, do_remove, do_remove,
        do_make,  do_make,  do_rename, do_link,  do_attribute, do_mode,     do_copy,   do_hole};

    for (unsigned i = 0; i < n; i++) {
        struct change c = {.t = t, .rng = rng};

        look(t->plain, "", &c.e);
        changes[draw(&c, ARRAY_LEN(changes))](&c);
        free(c.e.v);
        if (draw(&c, 40) == 0)
            (void)store_tick(t->b->s);
    }
}

void twin_begin(struct twin *t)
{
    CHECK(mkdir(t->plain, 0755) == 0);
    stamp(t, "");
}
