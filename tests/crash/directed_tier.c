/* Power cuts while bytes go to a repository and come back: F16, F13. A life of releases, recalls, writes, snapshots is played at random;
 * the power is cut in every punch, at every sync and in some of the writes; whatever is on the medium then has every byte. */
#include <stdlib.h>
#include <sys/stat.h>

#include "snap/snapshot.h"
#include "snap/store/journal.h"
#include "tests/lib/rig.h"
#include "tests/lib/tree.h"
#include "tests/unit/cold_case.h"

#define FILES 3u
#define BLOCKS 96u
#define STEPS 60u
#define SHOTS_MAX 600u
#define LIVES 3u
#define NEW 0xee
#define ONE_IN 12u /* of the calls that are neither a punch nor a sync */

struct moment {
    struct lying_shot *shot;
    bool punch;
    uint8_t written[FILES][BLOCKS];
};

struct tiered {
    struct rig g;
    struct far far;
    uint64_t rng, object[FILES];
    uint8_t written[FILES][BLOCKS]; /* NEW was written there, or is being */
    struct moment at[SHOTS_MAX];
    unsigned n, other;
    bool playing;
};

static uint64_t draw(struct tiered *t, uint64_t below)
{
    return test_rand(&t->rng) % below;
}

static const char *name_of(char out[4], unsigned i)
{
    snprintf(out, 4, "f%u", i);
    return out;
}

/* --- the life ----------------------------------------------------------------------------------------------------------- */

static void on_cut(void *arg, unsigned kind)
{
    struct tiered *t = arg;
    struct moment *m = &t->at[t->n];

    if (!t->playing || t->n == SHOTS_MAX ||
        (!(kind & (LYING_PUNCH | LYING_SYNC)) && t->other++ % ONE_IN != 0))
        return;
    m->punch = (kind & LYING_PUNCH) != 0;
    m->shot = lying_shot(t->g.d, test_rand(&t->rng), LYING_MIXED);
    memcpy(m->written, t->written, sizeof(m->written));
    t->n++;
}

static void begin(struct tiered *t)
{
    uint8_t *p = malloc(BLOCKS * BLOCK_SIZE);
    struct layer_rec rec;

    rig_open(&t->g);
    far_begin(&t->g.b, &t->far);
    for (unsigned i = 0; i < FILES; i++) {
        struct cold_run run = far_run(i + 1, 0, BLOCKS);
        char name[4];

        far_bytes(p, BLOCKS * BLOCK_SIZE, &run, 1);
        box_write(&t->g.b, t->g.b.v, name_of(name, i), p, BLOCKS * BLOCK_SIZE, 0);
    }
    CHECK_OK(snap_create(t->g.b.v, &t->g.b.c, "s0", NULL));
    CHECK_OK(snap_find(t->g.b.v, "s0", &rec));
    CHECK_OK(snap_wait_durable(t->g.b.v, rec.layer));
    CHECK_OK(store_sync(t->g.b.s));
    for (unsigned i = 0; i < FILES; i++) {
        struct inode in;
        struct txn x;
        char name[4];

        CHECK_OK(txn_begin(t->g.b.s, TXN_READ, OP_NONE, NULL, &x));
        CHECK_OK(inode_get(&x, vol_now(t->g.b.v), vfs_node_ino(rig_node(&t->g, name_of(name, i))), &in));
        txn_abort(&x);
        t->object[i] = in.base_obj;
    }
    free(p);
    lying_on_cut(t->g.d, on_cut, t);
}

static void play_release(struct tiered *t, unsigned i)
{
    uint32_t first = (uint32_t)draw(t, BLOCKS), n = 1 + (uint32_t)draw(t, BLOCKS - first);
    struct cold_range range = {.object = t->object[i], .first = first, .blocks = n, .source = 1};
    struct txn x;
    int r;

    range.ref = far_run(i + 1, 0, 1).ref;
    range.ref.skip = first;
    CHECK_OK(txn_begin(t->g.b.s, TXN_WRITE, OP_COLD, t->g.b.v, &x));
    r = cold_release(&x, &range);
    if (r < 0) {
        CHECK_ERR(r, -E_EXIST);
        txn_abort(&x);
    } else {
        CHECK_OK(txn_commit(&x));
    }
}

static void expect_file(vfs_node n, struct vol *v, unsigned i, const uint8_t *written, uint64_t from,
                        uint64_t blocks)
{
    uint8_t *p = malloc(blocks * BLOCK_SIZE), want[BLOCK_SIZE];
    size_t got;

    CHECK_OK(vfs_read(v, n, p, blocks * BLOCK_SIZE, from * BLOCK_SIZE, &got));
    CHECK_EQ(got, blocks * BLOCK_SIZE);
    for (uint64_t b = 0; b < blocks; b++) {
        const uint8_t *is = p + b * BLOCK_SIZE;

        far_block(i + 1, from + b, want);
        for (size_t k = 0; k < BLOCK_SIZE; k++)
            if (is[k] != want[k] && !(written && written[from + b] && is[k] == NEW))
                test_fail(__FILE__, __LINE__, "byte %zu of block %llu of f%u is %02x", k,
                          (unsigned long long)(from + b), i, is[k]);
    }
    free(p);
}

static void play_read(struct tiered *t, unsigned i)
{
    uint64_t from = draw(t, BLOCKS), n = 1 + draw(t, BLOCKS - from);
    char name[4];

    expect_file(rig_node(&t->g, name_of(name, i)), t->g.b.v, i, t->written[i], from, n);
}

static void play_write(struct tiered *t, unsigned i)
{
    uint64_t from = draw(t, BLOCKS), n = 1 + draw(t, MIN_OF(BLOCKS - from, (uint64_t)8));
    uint8_t *p = malloc(n * BLOCK_SIZE);
    char name[4];

    memset(p, NEW, n * BLOCK_SIZE);
    memset(t->written[i] + from, 1, n);
    CHECK_OK(vfs_write(t->g.b.v, &t->g.b.c, rig_node(&t->g, name_of(name, i)), p, n * BLOCK_SIZE,
                       from * BLOCK_SIZE, false));
    free(p);
}

static void play(struct tiered *t)
{
    unsigned i = (unsigned)draw(t, FILES);

    switch (draw(t, 12)) {
    case 0:
    case 1:
    case 2: play_release(t, i); break;
    case 3:
    case 4: play_read(t, i); break;
    case 5: play_write(t, i); break;
    case 6: CHECK_OK(cold_settle(t->g.b.s)); break;
    case 7: CHECK_OK(store_flush(t->g.b.s)); break;
    case 8: CHECK_OK(store_checkpoint(t->g.b.s)); break;
    case 9:
    case 10: CHECK_OK(store_reclaim_idle(t->g.b.s)); break;
    default:
        if (snap_create(t->g.b.v, &t->g.b.c, "later", NULL) == -E_EXIST)
            CHECK_OK(snap_delete(t->g.b.v, NULL, "later"));
    }
}

/* --- what is on the medium ---------------------------------------------------------------------------------------------- */

static void expect_all(struct box *b, const struct moment *m)
{
    char name[4];

    for (unsigned i = 0; i < FILES; i++) {
        expect_file(box_node(b->v, box_root(b->v), name_of(name, i)), b->v, i, m->written[i], 0, BLOCKS);
        expect_file(box_node(b->v, box_view(b->v, "s0"), name), b->v, i, NULL, 0, BLOCKS);
    }
}

static void judge(struct tiered *t, struct moment *m, unsigned number)
{
    struct box b = {.io = io_real(), .set = t->g.b.set};
    uint8_t boot[16] = {7, (uint8_t)number, (uint8_t)(number >> 8)};
    char dir[400];

    snprintf(dir, sizeof(dir), "%s/image", test_dir());
    CHECK_OK(lying_shot_store(m->shot, dir));
    lying_shot_free(TAKE(m->shot));
    snprintf(b.path, sizeof(b.path), "%.400s/store", dir);
    journal_test_boot_id(boot);
    box_attach(&b);
    far_connect(&b, &t->far);
    CHECK_EQ(far_problems(&b, true), 0);
    expect_all(&b, m);
    CHECK_OK(cold_settle(b.s));
    CHECK_OK(store_sync(b.s));
    CHECK_OK(store_reclaim_idle(b.s)); /* what was to be punched is, but for what has come back */
    expect_all(&b, m);
    far_sound(&b);
    box_close(&b);
    CHECK_OK(tree_remove(dir));
}

TEST(f16_released_bytes_are_somewhere_wherever_the_power_goes)
{
    struct tiered *t = calloc(1, sizeof(*t));
    uint64_t lives = getenv("LIVES") ? strtoull(getenv("LIVES"), NULL, 10) : LIVES;
    unsigned cuts = 0, punches = 0, fetches = 0;

    CHECK(t != NULL);
    for (uint64_t life = 0; life < lives; life++) {
        *t = (struct tiered){.rng = test_seed() + life};
        begin(t);
        t->playing = true;
        for (unsigned k = 0; k < STEPS; k++)
            play(t);
        t->playing = false;
        lying_on_cut(t->g.d, NULL, NULL);
        fetches += (unsigned)t->far.calls;
        rig_close(&t->g);
        for (unsigned k = 0; k < t->n; k++) {
            punches += t->at[k].punch;
            judge(t, &t->at[k], k);
        }
        cuts += t->n;
    }
    CHECK(punches >= lives);
    printf("    %llu lives, %u power cuts, %u of them in a punch; %u pieces recalled\n",
           (unsigned long long)lives, cuts, punches, fetches);
    journal_test_boot_id(NULL);
    free(t);
}
