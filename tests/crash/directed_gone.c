/* What is taken away, and when: F13; and how much may be under way: F20. */
#include "tests/crash/case.h"

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

WORLD_TEST(f13_a_deleted_file_is_whole_or_gone, 4096)
{
    uint64_t a;

    a = file_new(w, "a");
    put(w, a, 0, 500000, 'o');
    sync_file(w, a);
    CHECK_OK(vfs_unlink(w->v, &nobody, node_of(w, INO_ROOT), "a"));
    CHECK_OK(vfs_orphan_drop(w->v, a));
    cut_everywhere(w, look_deleted, NULL);
    CHECK_OK(store_tick(w->s) < 0 ? -E_IO : 0);
    cut_everywhere(w, look_deleted, NULL);
    CHECK_OK(store_reclaim_idle(w->s));
    cut_everywhere(w, look_deleted, NULL);
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

WORLD_TEST(f13_a_deleted_snapshot_is_whole_or_gone, 4096)
{
    struct layer_rec rec;
    uint64_t a;

    a = file_new(w, "a");
    put(w, a, 0, 500000, 'o');
    CHECK_OK(snap_create(w->v, &nobody, "s", &rec));
    CHECK_OK(snap_wait_durable(w->v, rec.layer));
    put(w, a, 0, 500000, 'n');
    sync_file(w, a);
    CHECK_OK(snap_delete(w->v, &nobody, "s"));
    cut_everywhere(w, look_snap_deleted, NULL);
    CHECK_OK(store_reclaim_idle(w->s));
    cut_everywhere(w, look_snap_deleted, NULL);
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
