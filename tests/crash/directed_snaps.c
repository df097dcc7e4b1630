/* Power cuts and snapshots, and what they share: F2, F5, F6. */
#include "tests/crash/case.h"

#include <pthread.h>
#include <time.h>

#include "tests/lib/tree.h"

/* --- F2: a snapshot is durable with its bytes, or vanishes whole ---------------------------------------------------- */

static void look_settling(struct world *w, void *arg)
{
    const bool *durable = arg;
    struct layer_rec rec;
    struct vfs_attr at;
    vfs_node root;
    int r = snap_find(w->v, "s", &rec);

    CHECK(r == 0 || (r == -E_NOENT && !*durable));
    if (r < 0)
        return;
    CHECK_OK(view_enter(w->v, "s", INO_ROOT, &root, &at));
    CHECK_OK(vfs_lookup(w->v, root, "a", &at));
    CHECK_EQ(at.size, 500000);
    only(w, at.node, 0, 500000, "n");
}

WORLD_TEST(f2_a_settling_snapshot_is_whole_or_gone, 4096)
{
    struct layer_rec rec;
    uint64_t a, b;
    bool durable = false;

    two_files(w, &a, &b);
    put(w, a, 0, 500000, 'o');
    sync_file(w, a);
    put(w, a, 0, 500000, 'n');
    CHECK_OK(snap_create(w->v, &nobody, "s", &rec));
    cut_everywhere(w, look_settling, &durable);
    put(w, b, 0, 100, 'b');
    sync_file(w, b); /* its record is on disk now, its bytes are not */
    cut_everywhere(w, look_settling, &durable);
    put(w, a, 0, 500000, 'x');
    cut_everywhere(w, look_settling, &durable);
    CHECK_OK(snap_wait_durable(w->v, rec.layer));
    durable = true;
    cut_everywhere(w, look_settling, &durable);
    put(w, a, 0, 500000, 'y');
    sync_file(w, a);
    cut_everywhere(w, look_settling, &durable);
}

struct pair {
    uint64_t a, b;
    bool durable;
};

static bool has_half(struct vol *v, const char *name, char fill)
{
    struct world w = {.v = v};
    struct vfs_attr at;
    vfs_node root;
    int r = view_enter(v, "g", INO_ROOT, &root, &at);

    if (r == -E_NOENT)
        return false;
    CHECK_OK(r);
    CHECK_OK(vfs_lookup(v, root, name, &at));
    CHECK_EQ(at.size, 300000);
    only(&w, at.node, 0, 300000, (char[]){fill, 0});
    return true;
}

static void look_group(struct world *w, void *arg)
{
    const struct pair *p = arg;
    struct vol *other;
    bool here, there;

    CHECK_OK(volume_find(w->s, "other", &other));
    here = has_half(w->v, "a", 'a');
    there = has_half(other, "b", 'b');
    CHECK_EQ(here, there);
    CHECK(here || !p->durable);
}

TEST(f2_a_group_is_whole_or_gone)
{
    struct pair p = {0};
    struct vol *vols[2];
    struct layer_rec rec;
    struct world w, other;

    world_new(&w, 4096);
    CHECK_OK(volume_create(w.s, "other", &(struct volume_opts){0}, &vols[1]));
    vols[0] = w.v;
    other = w;
    other.v = vols[1];
    p.a = file_new(&w, "a");
    p.b = file_new(&other, "b");
    put(&w, p.a, 0, 300000, 'a');
    put(&other, p.b, 0, 300000, 'b');
    CHECK_OK(store_flush(w.s));
    CHECK_OK(snap_create_group(vols, 2, "g"));
    cut_everywhere(&w, look_group, &p);
    CHECK_OK(snap_find(vols[1], "g", &rec));
    CHECK_OK(snap_wait_durable(vols[1], rec.layer)); /* of one: the other's is durable with it */
    p.durable = true;
    cut_everywhere(&w, look_group, &p);
    world_end(&w);
}

#define FILES 60

/* The power is cut again, in the n-th call of the recovery; false: it came to its end before. */
static bool cut_recovery(const struct world *w, uint64_t n, enum lying_mode mode)
{
    struct world first = {.set = w->set}, second = {.set = w->set};
    struct layer_rec rec;
    char again[300];
    bool cut;

    CHECK_OK(lying_crash(w->disk, 1, LYING_ALL, w->image));
    CHECK_OK(lying_new(w->image, &first.disk));
    lying_crash_at(first.disk, n);
    world_new_boot();
    if (store_open(lying_io(first.disk), w->image, &w->set, 0, &first.s, NULL) == 0) {
        (void)snap_attach(first.s);
        store_drop(first.s);
    }
    cut = lying_crashed(first.disk);
    snprintf(again, sizeof(again), "%s/again", test_dir());
    CHECK_OK(lying_crash(first.disk, n, mode, again));
    lying_free(first.disk);
    world_new_boot();
    CHECK_OK(store_open(io_real(), again, &w->set, 0, &second.s, NULL));
    CHECK_OK(snap_attach(second.s));
    CHECK_OK(volume_find(second.s, "main", &second.v));
    CHECK_ERR(snap_find(second.v, "s", &rec), -E_NOENT);
    CHECK_OK(store_close(second.s));
    CHECK_OK(tree_remove(again));
    CHECK_OK(tree_remove(w->image));
    return cut;
}

WORLD_TEST(f2_a_snapshot_that_was_settling_stays_gone_when_recovery_is_cut, 4096)
{
    static const enum lying_mode modes[] = {LYING_NONE, LYING_ALL, LYING_TORN};
    uint64_t a, n = 1;
    char name[16];

    a = file_new(w, "a");
    put(w, a, 0, 500000, 'o');
    sync_file(w, a);
    put(w, a, 0, 500000, 'n');
    CHECK_OK(snap_create(w->v, &nobody, "s", NULL));
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        file_new(w, name);
    }
    CHECK_OK(store_flush(w->s));
    w->set.delta_bytes = 16u << 10; /* of the next boots: what is replayed asks for a checkpoint at once */
    while (cut_recovery(w, n, modes[n % 3]))
        n++;
    CHECK(n > 10);
}

/* --- F5: what is shared is never written in place ------------------------------------------------------------------- */

WORLD_TEST(f5_writing_to_the_source_of_a_copy_leaves_the_copy, 4096)
{
    uint64_t a, b, len = 0;

    two_files(w, &a, &b);
    put(w, a, 0, 40 * PAGE, 's');
    CHECK_OK(vfs_copy(w->v, &nobody, node_of(w, a), 0, node_of(w, b), 0, 40 * PAGE, &len));
    put(w, a, 3 * PAGE, 2 * PAGE, 'a');
    only(w, node_of(w, b), 0, 40 * PAGE, "s");
    put(w, b, 10 * PAGE, 100, 'b');
    only(w, node_of(w, a), 5 * PAGE, 35 * PAGE, "s");
}

/* --- F6: a seal waits for writes that resolved before it ------------------------------------------------------------ */

struct slow_io { /* the real disk, whose writes to objects can be held up */
    struct io io;
    struct io_ops ops;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool armed, held, sealed;
};
static struct slow_io slow = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

/* Holds the write back until the snapshot has answered, or has had 300 ms to do so. */
static int slow_pwrite(struct io *io, int fd, const void *p, size_t len, uint64_t off)
{
    struct timespec until;

    (void)io;
    pthread_mutex_lock(&slow.lock);
    if (slow.armed && len == 8 * PAGE) {
        slow.armed = false;
        slow.held = true;
        pthread_cond_broadcast(&slow.cond);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 300000000;
        until.tv_sec += until.tv_nsec / 1000000000, until.tv_nsec %= 1000000000;
        while (!slow.sealed && pthread_cond_timedwait(&slow.cond, &slow.lock, &until) == 0)
            continue;
    }
    pthread_mutex_unlock(&slow.lock);
    return io_pwrite(io_real(), fd, p, len, off);
}

static void *write_slowly(void *arg)
{
    struct world *w = arg;

    put(w, find(w, "a"), 0, 8 * PAGE, 'n');
    return NULL;
}

TEST(f6_a_snapshot_does_not_change_after_it_was_shown)
{
    struct world w = {.set = {.no_threads = true, .segments = 4, .segment_bytes = MIB}};
    uint8_t first[8 * PAGE], second[8 * PAGE];
    struct vfs_attr at;
    vfs_node root;
    pthread_t writer;
    size_t len = 0;
    uint64_t a;

    slow.ops = *io_real()->ops;
    slow.ops.pwrite = slow_pwrite;
    slow.io.ops = &slow.ops;
    slow.armed = slow.held = slow.sealed = false;
    snprintf(w.path, sizeof(w.path), "%s/store", test_dir());
    CHECK_OK(store_create(io_real(), w.path, &w.set));
    CHECK_OK(store_open(&slow.io, w.path, &w.set, 0, &w.s, NULL));
    CHECK_OK(snap_attach(w.s));
    CHECK_OK(volume_create(w.s, "main", &(struct volume_opts){0}, &w.v));
    a = file_new(&w, "a");
    put(&w, a, 0, 8 * PAGE, 'o');
    sync_file(&w, a);
    slow.armed = true;
    CHECK_EQ(pthread_create(&writer, NULL, write_slowly, &w), 0);
    pthread_mutex_lock(&slow.lock);
    while (!slow.held)
        pthread_cond_wait(&slow.cond, &slow.lock);
    pthread_mutex_unlock(&slow.lock);
    CHECK_OK(snap_create(w.v, &nobody, "s", NULL));
    CHECK_OK(view_enter(w.v, "s", INO_ROOT, &root, &at));
    CHECK_OK(vfs_lookup(w.v, root, "a", &at));
    CHECK_OK(vfs_read(w.v, at.node, first, sizeof(first), 0, &len));
    pthread_mutex_lock(&slow.lock);
    slow.sealed = true;
    pthread_cond_broadcast(&slow.cond);
    pthread_mutex_unlock(&slow.lock);
    pthread_join(writer, NULL);
    CHECK_OK(vfs_read(w.v, at.node, second, sizeof(second), 0, &len));
    CHECK(memcmp(first, second, sizeof(first)) == 0);
    CHECK_OK(store_close(w.s));
}
