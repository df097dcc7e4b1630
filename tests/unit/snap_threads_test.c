/* Everything at once: writers, snapshots that come and go, rollbacks, clones, with the background threads running. */
#include <pthread.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "snap/snapshot.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

#define WRITERS 3
#define SNAPS 6
#define RUN_NS 3000000000ll

static bool stop;

struct writer {
    struct box *b;
    uint64_t seed;
    uint64_t done;
};

/* What a rollback or another writer may do to an operation under way. */
static void allow(int r)
{
    if (r < 0 && r != -E_STALE && r != -E_NOENT && r != -E_EXIST)
        CHECK_OK(r);
}

static int node_of(struct vol *v, const char *name, vfs_node *ret)
{
    struct vfs_attr a;
    int r =
        vfs_lookup(v, vfs_node_make(0, INO_ROOT), name, &a); /* node 1: the live root, whatever its number */

    if (r == 0)
        *ret = a.node;
    return r;
}

static int one_op(struct writer *w)
{
    static const uint8_t bytes[70000] = {1, 2, 3};
    struct vol *v = w->b->v;
    uint64_t x = test_rand(&w->seed), done;
    struct vfs_setattr set = {.set = VFS_SIZE, .size = x % 100000};
    struct vfs_attr a;
    vfs_node n = {0}, m = {0};
    char name[32], other[32];
    int r;

    snprintf(name, sizeof(name), "f%u", (unsigned)(x >> 8) % 12);
    snprintf(other, sizeof(other), "f%u", (unsigned)(x >> 16) % 12);
    if ((r = node_of(v, name, &n)) < 0)
        return vfs_mknod(v, &w->b->c, vfs_node_make(0, INO_ROOT), name, S_IFREG | 0644, 0, &a);
    switch (x % 8) {
    case 0: return vfs_setattr(v, &w->b->c, n, &set, &a);
    case 1: return vfs_unlink(v, &w->b->c, vfs_node_make(0, INO_ROOT), name);
    case 2:
        return vfs_rename(v, &w->b->c, vfs_node_make(0, INO_ROOT), name, vfs_node_make(0, INO_ROOT), other,
                          0);
    case 3: return vfs_fsync(v, n);
    case 4:
        r = node_of(v, other, &m);
        return r < 0 || m.v == n.v ? r : vfs_copy(v, &w->b->c, n, 0, m, 8192, 65536, &done);
    default: return vfs_write(v, &w->b->c, n, bytes, x % sizeof(bytes), (x >> 24) % 300000, false);
    }
}

static void *write_on(void *arg)
{
    struct writer *w = arg;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        allow(one_op(w));
        w->done++;
    }
    return NULL;
}

struct keeper {
    struct buf had[SNAPS];
    bool there[SNAPS];
    uint64_t seed;
};

static void turn_snapshot(struct box *b, struct keeper *k, int i)
{
    cleanup(buf_free) struct buf have = {0};
    char name[16];

    snprintf(name, sizeof(name), "s%d", i);
    if (!k->there[i]) {
        CHECK_OK(snap_create(b->v, &b->c, name, NULL));
        box_picture(b->v, box_view(b->v, name), &k->had[i]);
        k->there[i] = true;
        return;
    }
    box_picture(b->v, box_view(b->v, name), &have);
    CHECK(box_same(&k->had[i], &have));
    if (test_rand(&k->seed) % 2) {
        CHECK_OK(snap_delete(b->v, &b->c, name));
        k->there[i] = false;
    }
}

static void turn_branch(struct box *b, struct keeper *k, int i)
{
    cleanup(buf_free) struct buf have = {0};
    char name[32], kept[NAME_LEN_MAX + 1];
    struct vol *w;

    if (!k->there[i])
        return;
    snprintf(name, sizeof(name), "s%d", i);
    if (test_rand(&k->seed) % 2) {
        int r = snap_rollback(b->v, &b->c, name, kept);
        if (r == -E_DEPTH)
            return;
        CHECK_OK(r);
        if (test_rand(&k->seed) % 2)
            CHECK_OK(snap_delete(b->v, &b->c, kept));
        return;
    }
    CHECK_OK(volume_clone(b->v, name, "copy", &w));
    box_picture(w, box_root(w), &have);
    CHECK(box_same(&k->had[i], &have));
    CHECK_OK(volume_delete(w, NULL));
    CHECK_OK(volume_purge(w));
}

TEST(test_snap_threads__F6_F15_everything_at_once)
{
    int64_t end = clock_mono_ns() + RUN_NS;
    struct keeper k = {.seed = test_seed()};
    struct writer w[WRITERS];
    pthread_t th[WRITERS];
    struct box b;

    box_open(&b, NULL, NULL);
    box_close(&b);
    b.set.no_threads = false;
    b.set.flush_ms = 200;
    box_attach(&b);
    __atomic_store_n(&stop, false, __ATOMIC_RELAXED);
    for (int i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){.b = &b, .seed = test_rand(&k.seed)};
        CHECK_EQ(pthread_create(&th[i], NULL, write_on, &w[i]), 0);
    }
    for (int turn = 0; clock_mono_ns() < end; turn++) {
        turn_snapshot(&b, &k, (int)(test_rand(&k.seed) % SNAPS));
        if (turn % 4 == 3)
            turn_branch(&b, &k, (int)(test_rand(&k.seed) % SNAPS));
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(th[i], NULL);
        CHECK(w[i].done > 0);
    }
    for (int i = 0; i < SNAPS; i++) {
        cleanup(buf_free) struct buf have = {0};
        char name[16];
        snprintf(name, sizeof(name), "s%d", i);
        if (k.there[i]) {
            box_picture(b.v, box_view(b.v, name), &have);
            CHECK(box_same(&k.had[i], &have));
        }
        buf_free(&k.had[i]);
    }
    box_close(&b);
    b.set.no_threads = true;
    box_attach(&b);
    box_sound(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
