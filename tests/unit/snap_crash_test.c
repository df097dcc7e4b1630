/* Power cuts at many moments of a life with snapshots, rollbacks and clones: after each the store is sound, and every snapshot
 * that was durable shows what it showed (I-10). */
#include <sys/stat.h>

#include "snap/snapshot.h"
#include "snap/store/journal.h"
#include "tests/lib/box.h"
#include "tests/lib/lying.h"
#include "tests/lib/test.h"
#include "tests/lib/tree.h"

#define SNAPS 5

struct life {
    struct lying *d;
    struct box b;
    uint64_t rng;
    struct buf had[SNAPS]; /* of the snapshots s0.. */
    bool durable[SNAPS], there[SNAPS];
    unsigned cuts;
};

/* The medium as it would be now, opened on another boot of the machine, and looked at. */
static void cut(struct life *l)
{
    static const uint8_t other_boot[16] = {7};
    uint64_t seed = test_rand(&l->rng);
    struct layer_rec rec;
    char out[300], name[16];
    struct box b = {.io = io_real(), .set = l->b.set};

    snprintf(out, sizeof(out), "%s/cut", test_dir());
    CHECK_OK(lying_crash(l->d, seed, LYING_MIXED, out));
    snprintf(b.path, sizeof(b.path), "%s/store", out);
    journal_test_boot_id(other_boot);
    box_attach(&b);
    while (store_tick(b.s) > 0) /* settles what settles still: all of it was firm */
        ;
    for (int i = 0; i < SNAPS; i++) {
        cleanup(buf_free) struct buf have = {0};
        snprintf(name, sizeof(name), "s%d", i);
        int r = snap_find(b.v, name, &rec);
        if (l->durable[i])
            CHECK_OK(r);
        if (r < 0 || !l->there[i])
            continue; /* it was settling, or its deletion is not on disk yet */
        CHECK_EQ(rec.state, LAYER_DURABLE);
        box_picture(b.v, box_view(b.v, name), &have);
        CHECK(box_same(&l->had[i], &have));
    }
    box_sound(&b);
    box_close(&b);
    journal_test_boot_id(NULL);
    CHECK_OK(tree_remove(out));
    l->cuts++;
}

static void turn_snapshot(struct life *l, int i)
{
    struct layer_rec rec;
    char name[16];

    snprintf(name, sizeof(name), "s%d", i);
    if (l->there[i]) {
        l->durable[i] = false;
        CHECK_OK(snap_delete(l->b.v, &l->b.c, name));
        l->there[i] = false;
        CHECK_OK(store_flush(l->b.s)); /* or it may come back with the name that another takes */
        return;
    }
    CHECK_OK(snap_create(l->b.v, &l->b.c, name, &rec));
    box_picture(l->b.v, box_view(l->b.v, name), &l->had[i]);
    l->there[i] = true;
    if (test_rand(&l->rng) % 2) {
        CHECK_OK(snap_wait_durable(l->b.v, rec.layer));
        l->durable[i] = true;
    }
}

static void turn_branch(struct life *l, int i)
{
    char name[16], kept[NAME_LEN_MAX + 1];
    struct vol *w;

    snprintf(name, sizeof(name), "s%d", i);
    if (!l->there[i])
        return;
    if (test_rand(&l->rng) % 2) {
        CHECK_OK(snap_rollback(l->b.v, &l->b.c, name, kept));
        l->durable[i] = true; /* it was waited for */
        if (test_rand(&l->rng) % 2)
            CHECK_OK(snap_delete(l->b.v, &l->b.c, kept));
        return;
    }
    CHECK_OK(volume_clone(l->b.v, name, "copy", &w));
    l->durable[i] = true;
    box_mess(&l->b, w, &l->rng, 5);
    CHECK_OK(volume_delete(w, NULL));
    if (test_rand(&l->rng) % 2)
        CHECK_OK(volume_purge(w));
    else
        CHECK_OK(volume_undelete(l->b.s, "copy", &w));
    if (!(w->rec.flags & VOLUME_GHOST)) {
        CHECK_OK(volume_delete(w, NULL));
        CHECK_OK(volume_purge(w));
    }
}

TEST(test_snap_crash__I10_durable_snapshots_survive_power_cuts)
{
    struct life l = {.rng = test_seed()};
    char root[260], path[280];

    snprintf(root, sizeof(root), "%s/disk", test_dir());
    CHECK_EQ(mkdir(root, 0755), 0);
    CHECK_OK(lying_new(root, &l.d));
    snprintf(path, sizeof(path), "%s/store", root);
    box_open(&l.b, lying_io(l.d), path);
    CHECK_OK(store_flush(l.b.s));
    for (int turn = 0; turn < 60; turn++) {
        uint64_t x = test_rand(&l.rng);
        box_mess(&l.b, l.b.v, &l.rng, (int)(x % 12));
        if (x >> 8 & 1)
            turn_snapshot(&l, (int)((x >> 16) % SNAPS));
        if ((x >> 9) % 5 == 0)
            turn_branch(&l, (int)((x >> 20) % SNAPS));
        if ((x >> 12) % 6 == 0)
            CHECK_OK(store_checkpoint(l.b.s));
        if ((x >> 15) % 2 == 0)
            cut(&l);
    }
    CHECK(l.cuts > 5);
    box_sound(&l.b);
    box_close(&l.b);
    lying_free(l.d);
    for (int i = 0; i < SNAPS; i++)
        buf_free(&l.had[i]);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
