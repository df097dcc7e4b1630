#include "tests/crash/case.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "snap/store/journal.h"
#include "tests/lib/tree.h"

const struct vfs_ctx nobody;
#define SEEDS_A_MODE 4

void world_new_boot(void)
{
    uint8_t boot[16];

    hash_random(boot, sizeof(boot));
    journal_test_boot_id(boot);
}

static void open_in(struct world *w, struct io *io, const char *path)
{
    char why[256] = "";
    int r = store_open(io, path, &w->set, 0, &w->s, why);

    if (r < 0)
        test_fail(__FILE__, __LINE__, "open: %s: %s", err_name(r), why);
    CHECK_OK(snap_attach(w->s));
    CHECK_OK(volume_find(w->s, "main", &w->v));
}

void world_new(struct world *w, uint32_t inline_bytes)
{
    struct vol *v;

    memset(w, 0, sizeof(*w));
    w->set = (struct store_settings){.no_threads = true, .segments = 4, .segment_bytes = 1u << 20};
    w->set.inline_bytes = inline_bytes;
    w->set.map_bytes = 1u << 20;
    snprintf(w->path, sizeof(w->path), "%s/store", test_dir());
    snprintf(w->image, sizeof(w->image), "%s/image", test_dir());
    world_new_boot();
    CHECK_OK(store_create(io_real(), w->path, &w->set));
    CHECK_OK(lying_new(w->path, &w->disk));
    CHECK_OK(store_open(lying_io(w->disk), w->path, &w->set, 0, &w->s, NULL));
    CHECK_OK(snap_attach(w->s));
    CHECK_OK(volume_create(w->s, "main", &(struct volume_opts){0}, &v));
    CHECK_OK(store_close(w->s));
    w->s = NULL;
    open_in(w, lying_io(w->disk), w->path);
}

void world_end(struct world *w)
{
    if (w->s)
        store_drop(w->s);
    lying_free(w->disk);
    if (w->path[0])
        tree_remove(w->path);
    journal_test_boot_id(NULL);
    memset(w, 0, sizeof(*w));
}

void world_death(struct world *w)
{
    store_drop(w->s);
    w->s = NULL;
    open_in(w, lying_io(w->disk), w->path);
}

vfs_node node_of(const struct world *w, uint64_t ino)
{
    return vfs_node_make(w->v->rec.live_view, ino);
}

uint64_t file_new(struct world *w, const char *name)
{
    struct vfs_attr a;

    CHECK_OK(vfs_mknod(w->v, &nobody, node_of(w, INO_ROOT), name, S_IFREG | 0644, 0, &a));
    return vfs_node_ino(a.node);
}

void two_files(struct world *w, uint64_t *ret_a, uint64_t *ret_b)
{
    *ret_a = file_new(w, "a");
    *ret_b = file_new(w, "b");
}

void put(struct world *w, uint64_t ino, uint64_t off, size_t len, uint8_t fill)
{
    uint8_t *p = malloc(len);

    CHECK(p != NULL);
    memset(p, fill, len);
    CHECK_OK(vfs_write(w->v, &nobody, node_of(w, ino), p, len, off, false));
    free(p);
}

void sync_file(struct world *w, uint64_t ino)
{
    CHECK_OK(vfs_fsync(w->v, node_of(w, ino)));
}

uint64_t find(struct world *w, const char *name)
{
    struct vfs_attr a;
    int r = vfs_lookup(w->v, node_of(w, INO_ROOT), name, &a);

    if (r == -E_NOENT)
        return 0;
    CHECK_OK(r);
    return vfs_node_ino(a.node);
}

uint64_t size_of(struct world *w, uint64_t ino)
{
    struct vfs_attr a;

    CHECK_OK(vfs_getattr(w->v, node_of(w, ino), &a));
    return a.size;
}

void truncate_to(struct world *w, uint64_t ino, uint64_t size)
{
    struct vfs_setattr set = {.set = VFS_SIZE, .size = size};
    struct vfs_attr a;

    CHECK_OK(vfs_setattr(w->v, &nobody, node_of(w, ino), &set, &a));
}

void only(struct world *w, vfs_node n, uint64_t off, size_t len, const char *allowed)
{
    uint8_t *p = malloc(len + 1);
    size_t got = 0;

    CHECK(p != NULL);
    CHECK_OK(vfs_read(w->v, n, p, len, off, &got));
    if (got != len)
        test_fail(__FILE__, __LINE__, "%zu of %zu bytes of node %llx", got, len, (unsigned long long)n.v);
    for (size_t i = 0; i < len; i++) {
        if (p[i] == 0 || !strchr(allowed, p[i]))
            test_fail(__FILE__, __LINE__, "byte %llu is %02x, none of \"%s\"", (unsigned long long)(off + i),
                      p[i], allowed);
    }
    free(p);
}

static void on_line(void *arg, const char *line)
{
    (void)arg;
    printf("  check: %s\n", line);
}

static void look_at(struct world *w, void (*look)(struct world *image, void *arg), void *arg)
{
    struct world im = {.set = w->set};
    struct check_opts co = {.quiet = true, .say = on_line};
    struct check_result found = {0};

    world_new_boot();
    open_in(&im, io_real(), w->image);
    look(&im, arg);
    CHECK_OK(check_store(im.s, &co, &found));
    CHECK_EQ(found.problems, 0);
    CHECK_OK(store_reclaim_idle(im.s));
    look(&im, arg);
    CHECK_OK(store_close(im.s));
}

void cut_everywhere(struct world *w, void (*look)(struct world *image, void *arg), void *arg)
{
    uint64_t rng = test_seed();

    for (int mode = 0; mode < LYING_MODES; mode++) {
        for (unsigned i = 0; i < (mode <= LYING_ALL ? 1 : SEEDS_A_MODE); i++) {
            CHECK_OK(lying_crash(w->disk, test_rand(&rng), (enum lying_mode)mode, w->image));
            look_at(w, look, arg);
            CHECK_OK(tree_remove(w->image));
        }
    }
}
