#include "tests/tier/rig.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/hash.h"
#include "snap/snapshot.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"

/* --- pictures of directories, as box_picture() makes them of volumes ------------------------------------------------- */

static uint64_t file_xattrs(const char *path)
{
    char names[4096], val[65536];
    ssize_t n = llistxattr(path, names, sizeof(names));
    uint64_t sum = 0;

    for (ssize_t i = 0; i < n; i += (ssize_t)strlen(names + i) + 1) {
        ssize_t len = lgetxattr(path, names + i, val, sizeof(val));

        CHECK(len >= 0);
        sum += hash_sum(hash_sum(7, names + i, strlen(names + i)), val, (size_t)len);
    }
    return sum;
}

static uint64_t file_bytes(const char *path, const struct stat *st)
{
    cleanup(buf_free) struct buf b = {0};
    char target[4096];
    ssize_t n;

    if (S_ISLNK(st->st_mode)) {
        n = readlink(path, target, sizeof(target));
        CHECK(n > 0);
        return hash_sum(1, target, (size_t)n);
    }
    if (!S_ISREG(st->st_mode) || st->st_size == 0)
        return 0;
    CHECK_OK(io_read_file(io_real(), path, 1u << 30, &b));
    return hash_sum(1, b.data, b.len);
}

static void dir_node(const char *path, const char *shown, struct buf *ret)
{
    struct stat st;

    CHECK(lstat(path, &st) == 0);
    CHECK_OK(buf_printf(
        ret, "%s mode=%o links=%u uid=%u gid=%u size=%llu mtime=%lld.%09ld blocks=0 xattr=%llx sum=%llx\n",
        shown, st.st_mode, (unsigned)st.st_nlink, st.st_uid, st.st_gid, (unsigned long long)st.st_size,
        (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (unsigned long long)file_xattrs(path),
        (unsigned long long)file_bytes(path, &st)));
}

static int by_alpha(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void dir_below(const char *path, const char *shown, struct buf *ret)
{
    struct dirent **v;
    int n = scandir(path, &v, NULL, by_alpha);

    CHECK(n >= 0);
    for (int i = 0; i < n; i++) {
        char sub[4096], name[4096];
        struct stat st;

        if (strcmp(v[i]->d_name, ".") != 0 && strcmp(v[i]->d_name, "..") != 0) {
            snprintf(sub, sizeof(sub), "%s/%s", path, v[i]->d_name);
            snprintf(name, sizeof(name), "%s%s%s", shown, *shown ? "/" : "", v[i]->d_name);
            dir_node(sub, name, ret);
            if (lstat(sub, &st) == 0 && S_ISDIR(st.st_mode))
                dir_below(sub, name, ret);
        }
        free(v[i]);
    }
    free(v);
}

/* What filesystems decide by themselves is left out: blocks; of directories sizes and links. */
static void normal(struct buf *b, bool keep_links)
{
    cleanup(buf_free) struct buf out = {0};
    char *save, *line;

    CHECK(buf_cstr(b) != NULL);
    for (line = strtok_r((char *)b->data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *blocks = strstr(line, " blocks="), *rest = strstr(line, " xattr="),
             *links = strstr(line, " links=");
        char *uid = strstr(line, " uid="), *size = strstr(line, " size="), *mtime = strstr(line, " mtime=");
        bool dir = strstr(line, " mode=4") != NULL, cut = dir || !keep_links;

        CHECK(blocks && rest && links && uid && size && mtime);
        CHECK_OK(buf_printf(&out, "%.*s%.*s%.*s%s\n", (int)((cut ? links : size) - line), line,
                            cut ? (int)(size - uid) : 0, uid, (int)(blocks - (dir ? mtime : size)),
                            dir ? mtime : size, rest));
    }
    buf_reset(b);
    CHECK_OK(buf_add(b, out.data, out.len));
}

void rig_dir_picture(const char *path, bool links, struct buf *ret)
{
    struct stat st;

    buf_reset(ret);
    dir_node(path, ".", ret);
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
        dir_below(path, "", ret);
    normal(ret, links);
}

/* --- the rig -------------------------------------------------------------------------------------------------------- */

void rig_begin(struct repo_rig *g)
{
    box_open(&g->b, NULL, NULL);
    world_open(&g->w);
}

void rig_end(struct repo_rig *g)
{
    world_close(&g->w);
    box_close(&g->b);
    tree_remove(g->b.path);
    tree_remove(g->w.cache);
}

struct layer_rec rig_snapshot(struct repo_rig *g, const char *name)
{
    struct layer_rec rec;

    CHECK_OK(snap_create(g->b.v, NULL, name, &rec));
    CHECK_OK(snap_wait_durable(g->b.v, rec.layer));
    CHECK_OK(snap_find(g->b.v, name, &rec));
    return rec;
}

int rig_try_backup(struct repo_rig *g, const char *name, bool full, struct backup_result *res)
{
    struct backup_opts o = {.full = full};
    struct layer_rec rec;

    CHECK_OK(snap_find(g->b.v, name, &rec));
    return backup_run(g->w.r, g->b.v, &rec, &o, res);
}

struct backup_result rig_back_up(struct repo_rig *g, const char *name)
{
    struct backup_result res;

    rig_snapshot(g, name);
    CHECK_OK(rig_try_backup(g, name, false, &res));
    return res;
}

struct backup_result rig_begin_with(struct repo_rig *g, size_t bytes, struct buf *want)
{
    rig_begin(g);
    rig_fill_file(g, "f", bytes);
    if (want)
        rig_picture(g, want);
    return rig_back_up(g, "a");
}

static void on_hurt(void *arg, const char *path, int why)
{
    (void)why;
    CHECK_OK(buf_printf(arg, "%s ", path));
}

struct restore_result rig_restored(struct repo_rig *g, const char *id, const char *to, struct buf *hurt)
{
    cleanup(buf_free) struct buf err = {0}, ignored = {0};
    struct restore_opts o = {.arg = hurt ? hurt : &ignored, .hurt = on_hurt};
    struct restore_result res;
    struct point p;

    CHECK_OK(point_find(g->w.r, id, &p, &err));
    if (restore_run(g->w.r, &p, to, &o, &res, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
    point_release(&p);
    return res;
}

/* The recovery point holds what the snapshot's picture shows. */
void rig_restores_to(struct repo_rig *g, const char *id, const struct buf *want)
{
    cleanup(buf_free) struct buf have = {0};
    char to[400];

    snprintf(to, sizeof(to), "%s/out", test_dir());
    rig_restored(g, id, to, NULL);
    rig_dir_picture(to, true, &have);
    CHECK(box_same(want, &have));
    tree_remove(to);
}

void rig_picture(struct repo_rig *g, struct buf *ret)
{
    box_picture(g->b.v, box_root(g->b.v), ret);
    normal(ret, true);
}

static void found(void *arg, const char *line)
{
    CHECK_OK(buf_printf(arg, "%s\n", line));
}

/* Verifies by what the repository says, not by what this machine knows. */
struct verify_result rig_verified(struct repo_rig *g, bool full, struct buf *lines)
{
    struct verify_opts o = {.full = full, .arg = lines, .found = found};
    struct verify_result res;

    world_forget(&g->w);
    CHECK_OK(verify_run(g->w.r, &o, &res));
    return res;
}

void rig_sound(struct repo_rig *g)
{
    cleanup(buf_free) struct buf lines = {0};
    struct verify_result res = rig_verified(g, true, &lines);

    if (res.damages)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&lines));
}

void rig_fill_file(struct repo_rig *g, const char *name, size_t bytes)
{
    for (size_t off = 0; off < bytes; off += 1u << 20)
        box_fill(&g->b, g->b.v, name, off, MIN_OF(bytes - off, (size_t)1 << 20), off + 1);
}

/* --- deleting ------------------------------------------------------------------------------------------------------- */

int rig_try_prune(struct repo_rig *g, bool exclusive, struct prune_result *res)
{
    cleanup(buf_free) struct buf err = {0};
    struct prune_opts o = {.exclusive = exclusive};
    int r = prune_run(g->w.r, &o, res, &err);

    CHECK(r == 0 || err.len > 0);
    return r;
}

struct prune_result rig_prune(struct repo_rig *g, bool exclusive)
{
    struct prune_result res;

    CHECK_OK(rig_try_prune(g, exclusive, &res));
    CHECK_EQ(mem_count(g->w.m, "lease/"), 0);
    return res;
}

void rig_point_delete(struct repo_rig *g, const char *id)
{
    struct backend *b = mem_backend(g->w.m);
    char name[80];

    snprintf(name, sizeof(name), "points/%s", id);
    CHECK_OK(backend_del(b, NULL, name));
    backend_close(b);
}

void rig_wait_grace(struct repo_rig *g)
{
    mem_later(g->w.m, CONDEMNED_GRACE_NS + 1);
}

struct prune_result rig_prune_later(struct repo_rig *g)
{
    rig_wait_grace(g);
    return rig_prune(g, false);
}

void rig_outlives_prunes(struct repo_rig *g, const char *id, const struct buf *want)
{
    rig_prune_later(g);
    rig_prune_later(g);
    rig_sound(g);
    rig_restores_to(g, id, want);
}

struct repo *rig_elsewhere(struct repo_rig *g, const char *name)
{
    struct world w = g->w;

    w.r = NULL;
    snprintf(w.cache, sizeof(w.cache), "%s/%s", test_dir(), name);
    world_repo(&w);
    CHECK_OK(repo_sync(w.r));
    return w.r;
}

struct point rig_point(struct repo_rig *g, const char *id)
{
    cleanup(buf_free) struct buf err = {0};
    struct point p;

    CHECK_OK(point_find(g->w.r, id, &p, &err));
    return p;
}

int rig_stop_after(void *arg, uint64_t items, uint64_t bytes)
{
    const struct rig_stopping *s = arg;

    (void)items;
    return bytes > s->after ? -E_CANCELED : 0;
}
