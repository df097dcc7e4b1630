/* Dead blocks of shared objects, against an oracle of its own: the blocks that the maps of all states name, each walked whole, and
 * what the disk says is allocated. What is named must be there; what is there must be named, when nothing is left to do. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "snap/internal.h"
#include "snap/store/object.h"
#include "snap/store/record.h"
#include "snap/store/span.h"
#include "snap/store/store_int.h"
#include "tests/lib/box.h"
#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

/* --- the oracle -------------------------------------------------------------------------------------------------------------- */

struct block {
    uint64_t object, block;
    bool bytes; /* not reserved only */
};
struct blocks {
    struct block *v;
    size_t n, cap;
};

static void block_add(struct blocks *l, struct block b)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 4096;
        l->v = realloc(l->v, l->cap * sizeof(*l->v));
        CHECK(l->v != NULL);
    }
    l->v[l->n++] = b;
}

static int by_place(const void *a, const void *b)
{
    const struct block *x = a, *y = b;

    if (x->object != y->object)
        return x->object < y->object ? -1 : 1;
    if (x->block != y->block)
        return x->block < y->block ? -1 : 1;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes); /* those with bytes first */
}

static int run_add(void *arg, const struct file_run *run)
{
    for (uint64_t i = 0; run->object && i < run->count; i++)
        block_add(arg, (struct block){run->object, run->obj_block + i, run->kind == SPAN_OBJECT});
    return 0;
}

static void place_add(struct txn *t, struct vt_at at, struct blocks *live)
{
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    struct inode in;
    int r;

    vt_scan_init(&sc, t, KEEP_PENDING, at, TAB_INODE, "", 0);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        CHECK_OK(inode_from(&val, at, &in));
        if (S_ISREG(in.mode) && !(in.flags & INODE_INLINE))
            CHECK_OK(file_ranges(t, at, &in, 0, FILE_SIZE_MAX / BLOCK_SIZE, run_add, live));
    }
    CHECK_OK(r);
}

struct layers {
    struct txn *t;
    struct blocks *live;
};

static int layer_add(void *arg, const struct layer *l)
{
    struct layers *ls = arg;

    if (l->rec.state != LAYER_DELETING)
        place_add(ls->t, (struct vt_at){l->rec.branch, l->rec.layer}, ls->live);
    return 0;
}

/* Of every volume that is there, deleted ones too: the live tree, and every layer that something holds. */
static void live_blocks(struct box *b, struct blocks *live)
{
    struct layers ls = {.live = live};
    struct txn t;
    size_t n = 0;

    CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, NULL, &t));
    ls.t = &t;
    for (struct vol *v = vol_first(b->s); v; v = v->next) {
        if (v->rec.flags & VOLUME_GHOST)
            continue;
        place_add(&t, vol_now(v), live);
        CHECK_OK(layer_each(&t, v->rec.id, layer_add, &ls));
    }
    txn_abort(&t);
    if (live->n)
        qsort(live->v, live->n, sizeof(*live->v), by_place);
    for (size_t i = 0; i < live->n; i++)
        if (n == 0 || live->v[n - 1].object != live->v[i].object || live->v[n - 1].block != live->v[i].block)
            live->v[n++] = live->v[i];
    live->n = n;
}

static void file_add(void *disk, uint64_t object, const char *path)
{
    off_t data, hole = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0);
    while ((data = lseek(fd, hole, SEEK_DATA)) >= 0) {
        hole = lseek(fd, data, SEEK_HOLE);
        for (off_t at = data / BLOCK_SIZE; at * BLOCK_SIZE < hole; at++)
            block_add(disk, (struct block){object, (uint64_t)at, true});
    }
    close(fd);
}

static void disk_blocks(struct box *b, struct blocks *disk)
{
    box_each_object(b, file_add, disk);
    if (disk->n)
        qsort(disk->v, disk->n, sizeof(*disk->v), by_place);
}

/* Blocks on the disk that nothing names. One that is named and not there fails the test. */
static uint64_t dead_blocks(struct box *b)
{
    struct blocks live = {0}, disk = {0};
    uint64_t dead = 0;
    size_t k = 0;

    live_blocks(b, &live);
    disk_blocks(b, &disk);
    for (size_t i = 0; i < live.n; i++) {
        const struct block *l = &live.v[i];
        for (; k < disk.n && by_place(&disk.v[k], &(struct block){l->object, l->block, true}) < 0; k++)
            dead++;
        bool there = k < disk.n && disk.v[k].object == l->object && disk.v[k].block == l->block;
        k += there;
        if (l->bytes && !there)
            test_fail(__FILE__, __LINE__, "block %llu of object %llx is named and was freed",
                      (unsigned long long)l->block, (unsigned long long)l->object);
    }
    dead += disk.n - k;
    free(live.v);
    free(disk.v);
    return dead;
}

/* --- directed ------------------------------------------------------------------------------------------------------------------- */

TEST(test_sift__a_copy_that_is_written_over_gives_the_other_ones_blocks_back)
{
    struct box b;
    size_t done;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "a", 0, 2 * MIB, 1);
    box_write(&b, b.v, "b", NULL, 0, 0);
    CHECK_OK(vfs_copy(b.v, &b.c, box_node(b.v, box_root(b.v), "a"), 0, box_node(b.v, box_root(b.v), "b"), 0,
                      2 * MIB, &done));
    CHECK_EQ(done, 2 * MIB);
    box_fill(&b, b.v, "a", 0, MIB, 2);
    CHECK_OK(store_reclaim_idle(b.s));
    CHECK_EQ(box_disk_blocks(&b), 768); /* the copy has the first half */
    box_fill(&b, b.v, "b", MIB / 2, MIB, 3);
    box_sound(&b);
    CHECK_EQ(dead_blocks(&b), 0);
    CHECK_EQ(box_disk_blocks(&b), 512 + 512 - 128);
    box_remove(&b, b.v, "a");
    CHECK_OK(vfs_orphans_drop_all(b.v));
    box_sound(&b);
    CHECK_EQ(dead_blocks(&b), 0);
    CHECK_EQ(box_disk_blocks(&b), 512);
    box_close(&b);
}

/* A file of some mebibytes written over at random, a snapshot, back to it, and all over again. */
TEST(test_sift__rollbacks_one_after_the_other_leave_nothing)
{
    char name[16], kept[NAME_LEN_MAX + 1];
    uint64_t rng = test_seed();
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 4 * MIB, 1);
    for (unsigned i = 0; i < 12; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
        for (int k = 0; k < 20; k++)
            box_fill(&b, b.v, "f", test_rand(&rng) % (3 * MIB) / 4096 * 4096, 65536, test_rand(&rng));
        if (i % 2) {
            CHECK_OK(snap_rollback(b.v, &b.c, name, kept));
            CHECK_OK(snap_delete(b.v, &b.c, kept));
        }
        for (int k = 0; k < 5; k++)
            box_fill(&b, b.v, "f", test_rand(&rng) % (3 * MIB), 30000, test_rand(&rng));
        if (i > 2) {
            snprintf(name, sizeof(name), "s%u", i - 3);
            CHECK_OK(snap_delete(b.v, &b.c, name));
        }
        if (i % 3 == 0) {
            box_sound(&b);
            CHECK_EQ(dead_blocks(&b), 0);
        }
    }
    for (unsigned i = 9; i < 12; i++) {
        snprintf(name, sizeof(name), "s%u", i);
        CHECK_OK(snap_delete(b.v, &b.c, name));
    }
    box_sound(&b);
    CHECK_EQ(dead_blocks(&b), 0);
    CHECK(box_disk_blocks(&b) <
          2 * 1024); /* the state that the tree was taken back to last is held besides */
    box_close(&b);
}

/* A box of its own for each round of a test. */
static void open_again(struct box *b, unsigned round)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/store%u", test_dir(), round);
    box_open(b, NULL, path);
}

/* As the queue does: nobody works it meanwhile. */
static int look_at(struct store *s, uint64_t object, int64_t until_ns)
{
    pthread_mutex_lock(&s->reclaim_lock);
    int r = sift_run(s, &(struct reclaim_rec){.object = object}, until_ns);
    pthread_mutex_unlock(&s->reclaim_lock);
    return r;
}

static void copy(struct box *b, const char *from, const char *to, uint64_t off, uint64_t len)
{
    vfs_node root = box_root(b->v);
    size_t done;

    CHECK_OK(
        vfs_copy(b->v, &b->c, box_node(b->v, root, from), off, box_node(b->v, root, to), off, len, &done));
    CHECK_EQ(done, len);
}

/* What is copied and written over while the object is looked at, at every step of it: the copy's file was looked at before, or
 * after, or is just in work. */
TEST(test_sift__a_copy_made_meanwhile_is_seen)
{
    bool ended = false;

    for (unsigned steps = 1; !ended; steps++) {
        uint64_t object;
        struct box b;

        open_again(&b, steps);
        box_write(&b, b.v, "low", NULL, 0, 0);
        object = b.s->next.object;
        box_fill(&b, b.v, "high", 0, 2 * MIB, 1);
        copy(&b, "high", "low", 0, 65536);
        box_fill(&b, b.v, "high", MIB, 65536, 2);
        CHECK_OK(store_sync(b.s));
        for (unsigned i = 0; i < steps && !ended; i++)
            ended = look_at(b.s, object, 0) == 0;
        copy(&b, "high", "low", MIB / 2, 65536);
        box_fill(&b, b.v, "high", MIB / 2, 65536, 3);
        if (steps % 2)
            box_truncate(&b, b.v, "low", MIB / 2 + 32768);
        box_sound(&b);
        CHECK_EQ(dead_blocks(&b), 0);
        box_close(&b);
        CHECK(steps < 200);
    }
}

/* The same for a whole file, whose base the object becomes, and for a tree that is taken back. */
TEST(test_sift__a_file_made_of_it_meanwhile_is_seen)
{
    bool ended = false;

    for (unsigned steps = 1; !ended; steps++) {
        char kept[NAME_LEN_MAX + 1];
        uint64_t object;
        struct box b;

        open_again(&b, steps);
        box_write(&b, b.v, "new", NULL, 0, 0);
        object = b.s->next.object;
        box_fill(&b, b.v, "f", 0, MIB, 1);
        copy(&b, "f", "new", 0, 65536);
        CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
        box_truncate(&b, b.v, "new", 0);
        CHECK_OK(store_sync(b.s));
        for (unsigned i = 0; i < steps && !ended; i++)
            ended = look_at(b.s, object, 0) == 0;
        if (steps % 2)
            copy(&b, "f", "new", 0, MIB);
        else
            CHECK_OK(snap_rollback(b.v, &b.c, "s", kept));
        box_fill(&b, b.v, "f", 0, MIB, 2);
        CHECK_OK(snap_delete(b.v, &b.c, "s"));
        box_sound(&b);
        CHECK_EQ(dead_blocks(&b), 0);
        box_close(&b);
        CHECK(steps < 200);
    }
}

/* Bytes that never reach the disk: what they took the place of is there after a power cut, so it must not be freed. */
TEST(test_sift__what_only_firm_records_name_is_kept)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "a", 0, MIB, rig_a);
    rig_fsync(&g, "a");
    rig_copy(&g, "a", "b", MIB);
    rig_fsync(&g, "b");
    rig_quiet(&g);
    rig_write(&g, "a", 0, 300000, rig_b);
    rig_write(&g, "b", 0, 300000, rig_b);
    for (struct dirty *d = g.b.s->dirty_list.next; d != &g.b.s->dirty_list; d = d->next)
        d->failed = true; /* as if the disk had not taken them */
    failed_note(g.b.s, g.b.v->rec.id, "test");
    __atomic_fetch_add(&g.b.s->sift.hurry, 1,
                       __ATOMIC_RELAXED); /* this store is sifted when it is asked for only */
    for (int i = 0; i < 4; i++)
        CHECK_OK(store_checkpoint(g.b.s));
    rig_cut(&g, 1, LYING_ALL);
    rig_expect(&g, "a", 0, MIB, rig_a);
    rig_expect(&g, "b", 0, MIB, rig_a);
    rig_quiet(&g);
    rig_close(&g);
}

/* The power is cut at every call of a checkpoint that frees blocks of a shared object. */
TEST(test_sift__a_checkpoint_that_frees_may_be_cut_anywhere)
{
    uint64_t seed = test_seed();
    bool ended = false;

    for (uint64_t cut = 1; !ended; cut++) {
        struct rig g;

        rig_open(&g);
        rig_write(&g, "a", 0, MIB, rig_a);
        rig_copy(&g, "a", "b", MIB);
        rig_fsync(&g, "b");
        rig_quiet(&g);
        rig_write(&g, "a", 0, 65536, rig_b);
        rig_write(&g, "b", 32768, 65536, rig_b);
        lying_crash_at(g.d, cut);
        (void)store_reclaim_idle(g.b.s);
        ended = !lying_crashed(g.d);
        for (int i = 0; i < 3; i++) {
            rig_cut(&g, seed++, LYING_MIXED);
            rig_expect(&g, "a", 65536, MIB - 65536, rig_a);
            rig_expect(&g, "b", 0, 32768, rig_a);
            rig_expect(&g, "b", 98304, MIB - 98304, rig_a);
            CHECK(rig_holds(&g, rig_node(&g, "a"), 0, 65536, rig_a) ||
                  rig_holds(&g, rig_node(&g, "a"), 0, 65536, rig_b));
            rig_check(&g);
            CHECK_OK(store_reclaim_idle(g.b.s));
            rig_expect(&g, "b", 98304, MIB - 98304, rig_a);
        }
        rig_close(&g);
    }
}

/* --- at random ------------------------------------------------------------------------------------------------------------------ */

#define VOLS 3
#define SNAPS 24

struct life {
    struct box b;
    uint64_t rng;
    struct snap {
        char vol[16], name[NAME_LEN_MAX + 1]; /* vol "": free */
        struct buf picture;
    } snaps[SNAPS];
    unsigned n;      /* names given */
    uint64_t object; /* looked at by steps of this test; 0: none */
};

static unsigned roll(struct life *l, unsigned below)
{
    return (unsigned)(test_rand(&l->rng) % below);
}

static struct vol *any_vol(struct life *l, char name[16])
{
    struct vol *v;

    for (;;) {
        unsigned i = roll(l, VOLS + 1);
        snprintf(name, 16, i ? "c%u" : "main", i);
        if (volume_find(l->b.s, name, &v) == 0)
            return v;
    }
}

static struct snap *free_snap(struct life *l)
{
    for (struct snap *s = l->snaps; s < l->snaps + SNAPS; s++)
        if (!s->vol[0])
            return s;
    return NULL;
}

static struct snap *any_snap(struct life *l)
{
    struct snap *s = &l->snaps[roll(l, SNAPS)];

    return s->vol[0] ? s : NULL;
}

static void snap_forget(struct snap *s)
{
    buf_free(&s->picture);
    *s = (struct snap){0};
}

static void note_snap(struct life *l, const char *vol, const char *name)
{
    struct snap *s = free_snap(l);
    struct vol *v;

    CHECK_OK(volume_find(l->b.s, vol, &v));
    if (!s) {
        CHECK_OK(snap_delete(v, &l->b.c, name));
        return;
    }
    snprintf(s->vol, sizeof(s->vol), "%s", vol);
    snprintf(s->name, sizeof(s->name), "%s", name);
    box_picture(v, box_view(v, name), &s->picture);
}

static void life_snapshot(struct life *l)
{
    char vol[16], name[16];
    struct vol *v = any_vol(l, vol);

    snprintf(name, sizeof(name), "s%u", l->n++);
    CHECK_OK(snap_create(v, &l->b.c, name, NULL));
    note_snap(l, vol, name);
}

static void life_forget(struct life *l)
{
    struct snap *s = any_snap(l);
    struct vol *v;

    if (!s)
        return;
    CHECK_OK(volume_find(l->b.s, s->vol, &v));
    CHECK_OK(snap_delete(v, &l->b.c, s->name));
    snap_forget(s);
}

static void life_rollback(struct life *l)
{
    char kept[NAME_LEN_MAX + 1];
    struct snap *s = any_snap(l);
    struct vol *v;

    if (!s)
        return;
    CHECK_OK(volume_find(l->b.s, s->vol, &v));
    CHECK_OK(snap_rollback(v, &l->b.c, s->name, kept));
    note_snap(l, s->vol, kept);
}

static void life_clone(struct life *l)
{
    struct snap *s = any_snap(l);
    char name[16];
    struct vol *v, *w;

    snprintf(name, sizeof(name), "c%u", 1 + roll(l, VOLS));
    if (!s || volume_find(l->b.s, name, &w) == 0)
        return;
    CHECK_OK(volume_find(l->b.s, s->vol, &v));
    CHECK_OK(volume_clone(v, s->name, name, &w));
}

static void life_purge(struct life *l)
{
    char name[16], why[256];
    struct vol *v = any_vol(l, name);

    if (strcmp(name, "main") == 0 || volume_delete(v, why) < 0)
        return; /* it has clones */
    CHECK_OK(volume_purge(v));
    for (struct snap *s = l->snaps; s < l->snaps + SNAPS; s++)
        if (strcmp(s->vol, name) == 0)
            snap_forget(s);
}

/* Large files copied whole and in part, written over, cut. */
static void life_bytes(struct life *l)
{
    char vol[16], from[16], to[16];
    struct vol *v = any_vol(l, vol);
    size_t done;

    for (int i = 0; i < 6; i++) {
        snprintf(from, sizeof(from), "big%u", roll(l, 3));
        snprintf(to, sizeof(to), "big%u", roll(l, 3));
        if (!box_there(v, box_root(v), from))
            box_fill(&l->b, v, from, 0, 3 * MIB, test_rand(&l->rng));
        if (!box_there(v, box_root(v), to))
            box_write(&l->b, v, to, NULL, 0, 0);
        switch (roll(l, 5)) {
        case 0:
            if (strcmp(from, to) != 0)
                CHECK_OK(vfs_copy(v, &l->b.c, box_node(v, box_root(v), from), 0, box_node(v, box_root(v), to),
                                  roll(l, 3) * MIB / 2, 3 * MIB, &done));
            break;
        case 1: box_truncate(&l->b, v, to, roll(l, 3 * MIB)); break;
        default: box_fill(&l->b, v, from, roll(l, 3 * MIB), 4096 + roll(l, 400000), test_rand(&l->rng));
        }
    }
}

/* Some steps of looking at an object, with everything else in between. */
static void life_sift(struct life *l)
{
    if (!l->object)
        l->object = 1 + test_rand(&l->rng) % l->b.s->next.object;
    for (unsigned i = roll(l, 20); i > 0 && l->object; i--) {
        int r = look_at(l->b.s, l->object, 0);
        CHECK_OK(r);
        if (r == 0)
            l->object = 0;
    }
}

static void life_die(struct life *l)
{
    box_die(&l->b);
    l->object = 0;
}

static void life_look(struct life *l)
{
    for (struct snap *s = l->snaps; s < l->snaps + SNAPS; s++) {
        cleanup(buf_free) struct buf have = {0};
        struct vol *v;

        if (!s->vol[0])
            continue;
        CHECK_OK(volume_find(l->b.s, s->vol, &v));
        box_picture(v, box_view(v, s->name), &have);
        CHECK(box_same(&s->picture, &have));
    }
}

static void life_rest(struct life *l)
{
    if (l->b.s->sift.work)
        CHECK_OK(look_at(l->b.s, l->object, INT64_MAX));
    l->object = 0;
    for (struct vol *v = vol_first(l->b.s); v; v = v->next)
        if (!(v->rec.flags & (VOLUME_DELETED | VOLUME_GHOST)))
            CHECK_OK(vfs_orphans_drop_all(v));
    box_sound(&l->b);
    life_look(l);
    CHECK_EQ(dead_blocks(&l->b), 0);
}

static void life_step(struct life *l)
{
    char vol[16];

    switch (roll(l, 20)) {
    case 0:
    case 1: life_snapshot(l); break;
    case 2: life_forget(l); break;
    case 3: life_rollback(l); break;
    case 4: life_clone(l); break;
    case 5: roll(l, 3) ? (void)0 : life_purge(l); break;
    case 6: CHECK_OK(store_checkpoint(l->b.s)); break;
    case 7: CHECK_OK(store_sync(l->b.s)); break;
    case 8: roll(l, 4) ? (void)store_tick(l->b.s) : life_die(l); break;
    case 10:
    case 11:
    case 12: life_sift(l); break;
    case 9: box_mess(&l->b, any_vol(l, vol), &l->rng, 8); break;
    default: life_bytes(l);
    }
}

TEST(test_sift__at_rest_what_is_there_is_what_is_named)
{
    static struct life l;

    l = (struct life){.rng = test_seed()};
    box_open(&l.b, NULL, NULL);
    for (unsigned i = 0; i < 400; i++) {
        life_step(&l);
        if (i % 40 == 39)
            life_rest(&l);
    }
    for (struct snap *s = l.snaps; s < l.snaps + SNAPS; s++)
        snap_forget(s);
    box_close(&l.b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
