/* What one life of a store leaves to the next: F10, F11. */
#include "tests/crash/case.h"

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

WORLD_TEST(f10_operations_that_a_cut_took_do_not_come_back_after_the_next, 4096)
{
    static const enum lying_mode modes[] = {LYING_NONE, LYING_WRITES, LYING_PAGES, LYING_TORN};
    char name[16];

    sync_file(w, file_new(w, "kept"));
    for (unsigned i = 0; i < GHOSTS; i++) {
        snprintf(name, sizeof(name), "ghost%u", i);
        file_new(w, name);
    }
    for (unsigned i = 0; i < 12; i++) {
        CHECK_OK(lying_crash(w->disk, test_seed() + i, modes[i % 4], w->image));
        second_life(w); /* it removes the image at its end */
    }
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

WORLD_TEST(f11_the_first_fsync_after_a_death_keeps_its_word, 4096)
{
    uint64_t a;

    a = file_new(w, "a");
    put(w, a, 0, 300000, 'n');
    world_death(w);
    only(w, node_of(w, a), 0, 300000, "n");
    sync_file(w, a); /* clean, as far as this daemon has seen */
    cut_everywhere(w, look_first_fsync, NULL);
}

WORLD_TEST(f11_bytes_that_only_the_dead_daemon_wrote_in_place_are_synced, 4096)
{
    uint64_t a;

    a = file_new(w, "a");
    put(w, a, 0, 300000, 'o');
    sync_file(w, a);
    put(w, a, 0, 300000, 'n');
    world_death(w);
    sync_file(w, a);
    cut_everywhere(w, look_first_fsync, NULL);
}
