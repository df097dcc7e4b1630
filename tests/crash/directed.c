/* One test for each rule of the engine that a power cut or a death can break. */
#include "tests/crash/case.h"

#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/lib/tree.h"

#define MIB (1u << 20)
#define PAGE 4096u

/* --- F1: data is ordered against the journal, file by file --------------------------------------------------------- */

static void look_redirect(struct world *w, void *arg)
{
    uint64_t a = find(w, "a");

    (void)arg;
    CHECK_EQ(size_of(w, a), MIB);
    only(w, node_of(w, a), 0, 5 * PAGE, "o");
    only(w, node_of(w, a), 5 * PAGE, PAGE, "on");
    only(w, node_of(w, a), 6 * PAGE, MIB - 6 * PAGE, "o");
}

TEST(f1_fsync_of_another_file_does_not_expose_a_redirected_page)
{
    struct world w;
    uint64_t a, b;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    b = file_new(&w, "b");
    put(&w, a, 0, MIB, 'o');
    sync_file(&w, a);
    CHECK_OK(snap_create(w.v, &nobody, "s", NULL));
    put(&w, a, 5 * PAGE, PAGE, 'n');
    put(&w, b, 0, 100, 'b');
    sync_file(&w, b);
    cut_everywhere(&w, look_redirect, NULL);
    world_end(&w);
}

static void look_extension(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);

    (void)arg;
    CHECK(size == 3 * PAGE || size == 200 * PAGE);
    only(w, node_of(w, a), 0, 3 * PAGE, "o");
    if (size > 3 * PAGE)
        only(w, node_of(w, a), 3 * PAGE, size - 3 * PAGE, "n");
}

TEST(f1_fsync_of_another_file_does_not_expose_a_longer_size)
{
    struct world w;
    uint64_t a, b;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    b = file_new(&w, "b");
    put(&w, a, 0, 3 * PAGE, 'o');
    sync_file(&w, a);
    put(&w, a, 3 * PAGE, 197 * PAGE, 'n');
    put(&w, b, 0, 100, 'b');
    sync_file(&w, b);
    cut_everywhere(&w, look_extension, NULL);
    CHECK_OK(store_checkpoint(w.s)); /* nor does a commit of the tables */
    cut_everywhere(&w, look_extension, NULL);
    world_end(&w);
}

static void look_promotion(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);

    (void)arg;
    CHECK(size == 3000 || size == 90000);
    only(w, node_of(w, a), 0, 3000, "o");
    if (size > 3000)
        only(w, node_of(w, a), 3000, size - 3000, "n");
}

TEST(f1_a_small_file_that_outgrows_the_tables_keeps_its_bytes)
{
    struct world w;
    uint64_t a, b;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    b = file_new(&w, "b");
    put(&w, a, 0, 3000, 'o');
    sync_file(&w, a);
    put(&w, a, 3000, 87000, 'n');
    put(&w, b, 0, 100, 'b');
    sync_file(&w, b);
    cut_everywhere(&w, look_promotion, NULL);
    world_end(&w);
}

static void look_replaced(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);

    (void)arg;
    CHECK(a != 0);
    CHECK(size == 300000 || size == 400000);
    only(w, node_of(w, a), 0, size, size == 300000 ? "o" : "n");
}

TEST(f1_a_file_replaced_by_rename_is_old_or_new)
{
    struct world w;
    uint64_t a, b, tmp;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    b = file_new(&w, "b");
    put(&w, a, 0, 300000, 'o');
    sync_file(&w, a);
    tmp = file_new(&w, "tmp");
    put(&w, tmp, 0, 400000, 'n');
    CHECK_OK(vfs_rename(w.v, &nobody, node_of(&w, INO_ROOT), "tmp", node_of(&w, INO_ROOT), "a", 0));
    CHECK_OK(vfs_orphan_drop(w.v, a));
    cut_everywhere(&w, look_replaced, NULL);
    put(&w, b, 0, 100, 'b');
    sync_file(&w, b);
    cut_everywhere(&w, look_replaced, NULL);
    world_end(&w);
}

static void look_synced(struct world *w, void *arg)
{
    uint64_t a = find(w, "a");
    const uint64_t *size = arg;

    CHECK_EQ(size_of(w, a), *size);
    only(w, node_of(w, a), 0, *size, "n");
}

TEST(f1_what_fsync_promised_is_there)
{
    static const uint64_t sizes[] = {10, 3000, 4097, 60000, 70000, 900000};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t size = sizes[i], a;
        struct world w;

        world_new(&w, 4096);
        a = file_new(&w, "a");
        put(&w, a, 0, size, 'o');
        sync_file(&w, a);
        put(&w, a, 0, size, 'n');
        sync_file(&w, a);
        cut_everywhere(&w, look_synced, &size);
        world_end(&w);
        CHECK_OK(0);
    }
}

struct content {
    uint64_t len;
    const char *letters;
};

/* "b" has this length, and no other bytes than these. */
static void look_copy(struct world *w, void *arg)
{
    const struct content *c = arg;
    uint64_t b = find(w, "b");

    CHECK_EQ(size_of(w, b), c->len);
    only(w, node_of(w, b), 0, c->len, c->letters);
}

/* All of "a" to "b", which is synced: it stands after every cut. */
static void copy_and_sync(struct world *w, uint64_t a, uint64_t b, struct content c)
{
    uint64_t len = 0;

    CHECK_OK(vfs_copy(w->v, &nobody, node_of(w, a), 0, node_of(w, b), 0, c.len, &len));
    CHECK_EQ(len, c.len);
    sync_file(w, b);
    cut_everywhere(w, look_copy, &c);
}

TEST(f1_fsync_of_a_copy_syncs_the_bytes_that_it_shares)
{
    struct world w;
    uint64_t a, b;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    b = file_new(&w, "b");
    put(&w, a, 0, 40 * PAGE, 's');
    copy_and_sync(&w, a, b, (struct content){40 * PAGE, "s"});
    world_end(&w);
}

/* The source's small fsync left its bytes in the journal; what was written over them since is what the copy shares. */
TEST(f1_fsync_of_a_copy_is_not_undone_by_an_older_one_of_its_source)
{
    struct world w;
    uint64_t a, b;

    world_new(&w, 512);
    a = file_new(&w, "a");
    b = file_new(&w, "b");
    put(&w, a, 0, 4 * PAGE, 'o');
    sync_file(&w, a);
    put(&w, a, 0, 4 * PAGE, 'n');
    copy_and_sync(&w, a, b, (struct content){4 * PAGE, "n"});
    world_end(&w);
}

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

TEST(f2_a_settling_snapshot_is_whole_or_gone)
{
    struct layer_rec rec;
    struct world w;
    uint64_t a, b;
    bool durable = false;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    b = file_new(&w, "b");
    put(&w, a, 0, 500000, 'o');
    sync_file(&w, a);
    put(&w, a, 0, 500000, 'n');
    CHECK_OK(snap_create(w.v, &nobody, "s", &rec));
    cut_everywhere(&w, look_settling, &durable);
    put(&w, b, 0, 100, 'b');
    sync_file(&w, b); /* its record is on disk now, its bytes are not */
    cut_everywhere(&w, look_settling, &durable);
    put(&w, a, 0, 500000, 'x');
    cut_everywhere(&w, look_settling, &durable);
    CHECK_OK(snap_wait_durable(w.v, rec.layer));
    durable = true;
    cut_everywhere(&w, look_settling, &durable);
    put(&w, a, 0, 500000, 'y');
    sync_file(&w, a);
    cut_everywhere(&w, look_settling, &durable);
    world_end(&w);
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

TEST(f2_a_snapshot_that_was_settling_stays_gone_when_recovery_is_cut)
{
    static const enum lying_mode modes[] = {LYING_NONE, LYING_ALL, LYING_TORN};
    struct world w;
    uint64_t a, n = 1;
    char name[16];

    world_new(&w, 4096);
    a = file_new(&w, "a");
    put(&w, a, 0, 500000, 'o');
    sync_file(&w, a);
    put(&w, a, 0, 500000, 'n');
    CHECK_OK(snap_create(w.v, &nobody, "s", NULL));
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        file_new(&w, name);
    }
    CHECK_OK(store_flush(w.s));
    w.set.delta_bytes = 16u << 10; /* of the next boots: what is replayed asks for a checkpoint at once */
    while (cut_recovery(&w, n, modes[n % 3]))
        n++;
    CHECK(n > 10);
    world_end(&w);
}

/* --- F5: what is shared is never written in place ------------------------------------------------------------------- */

TEST(f5_writing_to_the_source_of_a_copy_leaves_the_copy)
{
    struct world w;
    uint64_t a, b, len = 0;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    b = file_new(&w, "b");
    put(&w, a, 0, 40 * PAGE, 's');
    CHECK_OK(vfs_copy(w.v, &nobody, node_of(&w, a), 0, node_of(&w, b), 0, 40 * PAGE, &len));
    put(&w, a, 3 * PAGE, 2 * PAGE, 'a');
    only(&w, node_of(&w, b), 0, 40 * PAGE, "s");
    put(&w, b, 10 * PAGE, 100, 'b');
    only(&w, node_of(&w, a), 5 * PAGE, 35 * PAGE, "s");
    world_end(&w);
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

/* --- F10: no record of a dead incarnation comes back ---------------------------------------------------------------- */

#define GHOSTS 40

struct ghosts {
    bool there[GHOSTS];
};

static void look_ghosts(struct world *w, void *arg)
{
    struct ghosts *g = arg;

    CHECK(find(w, "kept") != 0);
    for (unsigned i = 0; i < GHOSTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "ghost%u", i);
        CHECK_EQ(find(w, name) != 0, g->there[i]);
    }
}

/* The second life begins with one image of the first one's end, and is cut after a record of its own. */
static void second_life(const struct world *first)
{
    struct ghosts g = {0};
    struct world w = {.set = first->set};
    bool gone = false;

    snprintf(w.path, sizeof(w.path), "%s", first->image);
    snprintf(w.image, sizeof(w.image), "%s/second", test_dir());
    world_new_boot();
    CHECK_OK(lying_new(w.path, &w.disk));
    CHECK_OK(store_open(lying_io(w.disk), w.path, &w.set, 0, &w.s, NULL));
    CHECK_OK(snap_attach(w.s));
    CHECK_OK(volume_find(w.s, "main", &w.v));
    for (unsigned i = 0; i < GHOSTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "ghost%u", i);
        g.there[i] = find(&w, name) != 0;
        CHECK(!(gone && g.there[i])); /* what survives is a prefix */
        gone |= !g.there[i];
    }
    file_new(&w, "alive0");
    cut_everywhere(&w, look_ghosts, &g);
    world_end(&w);
}

TEST(f10_operations_that_a_cut_took_do_not_come_back_after_the_next)
{
    static const enum lying_mode modes[] = {LYING_NONE, LYING_WRITES, LYING_PAGES, LYING_TORN};
    struct world w;
    char name[16];

    world_new(&w, 4096);
    sync_file(&w, file_new(&w, "kept"));
    for (unsigned i = 0; i < GHOSTS; i++) {
        snprintf(name, sizeof(name), "ghost%u", i);
        file_new(&w, name);
    }
    for (unsigned i = 0; i < 12; i++) {
        CHECK_OK(lying_crash(w.disk, test_seed() + i, modes[i % 4], w.image));
        second_life(&w); /* it removes the image at its end */
    }
    world_end(&w);
}

/* --- F11: the first fsync after a death covers what the dead daemon had answered ------------------------------------- */

static void look_first_fsync(struct world *w, void *arg)
{
    uint64_t a = find(w, "a");

    (void)arg;
    CHECK(a != 0);
    CHECK_EQ(size_of(w, a), 300000);
    only(w, node_of(w, a), 0, 300000, "n");
}

TEST(f11_the_first_fsync_after_a_death_keeps_its_word)
{
    struct world w;
    uint64_t a;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    put(&w, a, 0, 300000, 'n');
    world_death(&w);
    only(&w, node_of(&w, a), 0, 300000, "n");
    sync_file(&w, a); /* clean, as far as this daemon has seen */
    cut_everywhere(&w, look_first_fsync, NULL);
    world_end(&w);
}

TEST(f11_bytes_that_only_the_dead_daemon_wrote_in_place_are_synced)
{
    struct world w;
    uint64_t a;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    put(&w, a, 0, 300000, 'o');
    sync_file(&w, a);
    put(&w, a, 0, 300000, 'n');
    world_death(&w);
    sync_file(&w, a);
    cut_everywhere(&w, look_first_fsync, NULL);
    world_end(&w);
}

/* --- F12: shrinking never shows old bytes again, and never takes durable ones early ---------------------------------- */

static void look_truncated(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);

    (void)arg;
    CHECK(size == 500000 || size == 0 || size == 2000 || size == 100000);
    only(w, node_of(w, a), 0, size, size == 500000 ? "o" : "n");
}

TEST(f12_a_truncated_file_keeps_its_old_bytes_until_the_cut_is_durable)
{
    struct world w;
    uint64_t a;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    put(&w, a, 0, 500000, 'o');
    sync_file(&w, a);
    truncate_to(&w, a, 0);
    CHECK_OK(store_reclaim_idle(w.s));
    cut_everywhere(&w, look_truncated, NULL);
    put(&w, a, 0, 100000, 'n');
    CHECK_OK(store_reclaim_idle(w.s));
    cut_everywhere(&w, look_truncated, NULL);
    world_end(&w);
}

static void look_zeros(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);
    uint8_t p[20000];
    size_t len = 0;

    (void)arg;
    CHECK(size == 500000 || size == 5000 || size == 20000);
    if (size != 20000)
        return;
    CHECK_OK(vfs_read(w->v, node_of(w, a), p, sizeof(p), 0, &len));
    for (size_t i = 5000; i < len; i++)
        CHECK_EQ(p[i], 0);
}

TEST(f12_growing_again_reads_zeros)
{
    struct world w;
    uint64_t a;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    put(&w, a, 0, 500000, 'o');
    sync_file(&w, a);
    truncate_to(&w, a, 5000);
    truncate_to(&w, a, 20000);
    look_zeros(&w, NULL);
    cut_everywhere(&w, look_zeros, NULL);
    sync_file(&w, a);
    cut_everywhere(&w, look_zeros, NULL);
    world_end(&w);
}

/* --- F13: nothing is punched or unlinked before the record that allows it is durable --------------------------------- */

static void look_deleted(struct world *w, void *arg)
{
    uint64_t a = find(w, "a");

    (void)arg;
    if (a == 0)
        return;
    CHECK_EQ(size_of(w, a), 500000);
    only(w, node_of(w, a), 0, 500000, "o");
}

TEST(f13_a_deleted_file_is_whole_or_gone)
{
    struct world w;
    uint64_t a;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    put(&w, a, 0, 500000, 'o');
    sync_file(&w, a);
    CHECK_OK(vfs_unlink(w.v, &nobody, node_of(&w, INO_ROOT), "a"));
    CHECK_OK(vfs_orphan_drop(w.v, a));
    cut_everywhere(&w, look_deleted, NULL);
    CHECK_OK(store_tick(w.s) < 0 ? -E_IO : 0);
    cut_everywhere(&w, look_deleted, NULL);
    CHECK_OK(store_reclaim_idle(w.s));
    cut_everywhere(&w, look_deleted, NULL);
    world_end(&w);
}

static void look_snap_deleted(struct world *w, void *arg)
{
    struct vfs_attr at;
    vfs_node root;
    int r = view_enter(w->v, "s", INO_ROOT, &root, &at);

    (void)arg;
    if (r == -E_NOENT)
        return;
    CHECK_OK(r);
    CHECK_OK(vfs_lookup(w->v, root, "a", &at));
    only(w, at.node, 0, 500000, "o");
}

TEST(f13_a_deleted_snapshot_is_whole_or_gone)
{
    struct layer_rec rec;
    struct world w;
    uint64_t a;

    world_new(&w, 4096);
    a = file_new(&w, "a");
    put(&w, a, 0, 500000, 'o');
    CHECK_OK(snap_create(w.v, &nobody, "s", &rec));
    CHECK_OK(snap_wait_durable(w.v, rec.layer));
    put(&w, a, 0, 500000, 'n');
    sync_file(&w, a);
    CHECK_OK(snap_delete(w.v, &nobody, "s"));
    cut_everywhere(&w, look_snap_deleted, NULL);
    CHECK_OK(store_reclaim_idle(w.s));
    cut_everywhere(&w, look_snap_deleted, NULL);
    world_end(&w);
}

/* a's object is shared with b, which has written over its part but is not synced, and with d, which is not synced at all; a is
 * gone. */
static uint64_t share_three(struct world *w, uint64_t *ret_d)
{
    uint64_t a, b, d, len = 0;

    world_new(w, 512);
    a = file_new(w, "a");
    b = file_new(w, "b");
    d = file_new(w, "d");
    put(w, a, 0, 4 * PAGE, 'a');
    CHECK_OK(vfs_copy(w->v, &nobody, node_of(w, a), 0, node_of(w, b), 16 * PAGE, 4 * PAGE, &len));
    CHECK_OK(store_sync(w->s));
    CHECK_OK(store_checkpoint(w->s));
    put(w, d, 0, PAGE, 'd');
    put(w, b, 16 * PAGE, 4 * PAGE, 'b');
    CHECK_OK(vfs_copy(w->v, &nobody, node_of(w, a), 0, node_of(w, d), 16 * PAGE, 4 * PAGE, &len));
    CHECK_OK(vfs_unlink(w->v, &nobody, node_of(w, INO_ROOT), "a"));
    CHECK_OK(vfs_orphan_drop(w->v, a));
    *ret_d = d;
    return b;
}

static void look_nothing(struct world *w, void *arg) /* the images are checked anyway */
{
    (void)w, (void)arg;
}

TEST(f13_what_the_last_pending_name_took_with_it_is_queued)
{
    struct world w;
    uint64_t b, d;

    b = share_three(&w, &d);
    CHECK_OK(vfs_unlink(w.v, &nobody, node_of(&w, INO_ROOT), "d"));
    CHECK_OK(vfs_orphan_drop(w.v, d));
    sync_file(&w, b);
    cut_everywhere(&w, look_nothing, NULL);
    CHECK_OK(store_reclaim_idle(w.s));
    cut_everywhere(&w, look_nothing, NULL);
    world_end(&w);
}

TEST(f13_what_a_lost_pending_name_would_have_queued_is_queued)
{
    struct world w;
    uint64_t b, d;

    b = share_three(&w, &d);
    put(&w, d, 16 * PAGE, 4 * PAGE, 'd'); /* the last name in the present goes, and d says so: not firm */
    sync_file(&w, b);
    cut_everywhere(&w, look_nothing, NULL);
    world_end(&w);
}

/* The record that named the object never came to the disk, its file did. */
TEST(f13_a_swept_file_does_not_come_back)
{
    struct world w, next = {0};
    char image[250];

    world_new(&w, 512);
    CHECK_OK(store_checkpoint(w.s));
    put(&w, file_new(&w, "a"), 0, 4 * PAGE, 'a');
    snprintf(image, sizeof(image), "%s/next", test_dir());
    for (uint64_t seed = 0; seed < 40; seed++) { /* one in which names land, and no record */
        CHECK_OK(lying_crash(w.disk, seed, LYING_PAGES, image));
        next.set = w.set;
        snprintf(next.path, sizeof(next.path), "%s", image);
        snprintf(next.image, sizeof(next.image), "%s", w.image);
        world_new_boot();
        CHECK_OK(lying_new(image, &next.disk));
        CHECK_OK(store_open(lying_io(next.disk), image, &next.set, 0, &next.s, NULL));
        CHECK_OK(snap_attach(next.s));
        CHECK_OK(volume_find(next.s, "main", &next.v));
        CHECK_OK(snap_create(next.v, &nobody, "s", NULL));
        CHECK_OK(snap_delete(next.v, &nobody, "s")); /* takes a number: all numbers are written down */
        CHECK_OK(store_checkpoint(next.s));
        cut_everywhere(&next, look_nothing, NULL);
        world_end(&next);
    }
    world_end(&w);
}

/* --- F20: unsynced bytes are bounded -------------------------------------------------------------------------------- */

TEST(f20_unsynced_bytes_are_bounded)
{
    struct world w = {.set = {.dirty_bytes = 4u << 20, .flush_ms = 600000}};
    struct store_state st;
    uint64_t a, most = 0;

    snprintf(w.path, sizeof(w.path), "%s/store", test_dir());
    CHECK_OK(store_create(io_real(), w.path, &w.set));
    CHECK_OK(store_open(io_real(), w.path, &w.set, 0, &w.s, NULL));
    CHECK_OK(snap_attach(w.s));
    CHECK_OK(volume_create(w.s, "main", &(struct volume_opts){0}, &w.v));
    a = file_new(&w, "a");
    for (unsigned i = 0; i < 64; i++) {
        put(&w, a, (uint64_t)i * MIB, MIB, 'd');
        store_get_state(w.s, &st);
        most = MAX_OF(most, st.dirty_bytes);
    }
    printf("at most %llu KiB unsynced of %u MiB written, limit 4096 KiB\n", (unsigned long long)(most >> 10),
           64);
    CHECK(most <= 3 * w.set.dirty_bytes);
    CHECK_OK(store_close(w.s));
}
