/* What snapshots hold, against a count over whole trees: for each block that a state maps, which other states map it too. */
#include <stdlib.h>
#include <sys/stat.h>

#include "snap/snapshot.h"
#include "snap/space.h"
#include "snap/store/span.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

struct blk {
    uint64_t ino, block, object, obj_block;
};
struct map {
    struct blk *v;
    size_t n, cap;
};

static void map_add(struct map *m, struct blk b)
{
    if (m->n == m->cap) {
        m->cap = m->cap ? m->cap * 2 : 1024;
        m->v = realloc(m->v, m->cap * sizeof(*m->v));
        CHECK(m->v != NULL);
    }
    m->v[m->n++] = b;
}

struct taking {
    struct map *m;
    uint64_t ino;
};

static int take(void *arg, const struct file_run *run)
{
    struct taking *t = arg;

    for (uint64_t i = 0; run->object && i < run->count; i++)
        map_add(t->m, (struct blk){t->ino, run->block + i, run->object, run->obj_block + i});
    return 0;
}

static int by_all(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct blk));
}

/* Every mapped block of a state; small files as blocks of their own sort, told apart by the record that holds their bytes. */
static void take_map(struct vol *v, struct vt_at at, struct map *m)
{
    const uint8_t *key;
    struct vt_scan sc;
    struct vt_val val;
    struct inode in;
    struct txn t;
    int r;

    *m = (struct map){0};
    CHECK_OK(txn_begin(v->store, TXN_READ, OP_NONE, v, &t));
    vt_scan_init(&sc, &t, KEEP_PENDING, at, TAB_INODE, "", 0);
    while ((r = vt_scan_next(&sc, &key, &val)) == 1) {
        struct taking tk = {m, get_be64(key)};
        CHECK_OK(inode_decode(val.data, val.len, &in));
        if (S_ISREG(in.mode) && !(in.flags & INODE_INLINE))
            CHECK_OK(file_ranges(&t, at, &in, 0, FILE_SIZE_MAX / BLOCK_SIZE, take, &tk));
    }
    CHECK_OK(r);
    txn_abort(&t);
    if (m->n)
        qsort(m->v, m->n, sizeof(*m->v), by_all);
}

#define N 5

static uint64_t lone(const struct map *all, int n, int which)
{
    uint64_t count = 0;

    for (size_t i = 0; i < all[which].n; i++) {
        bool other = false;
        for (int k = 0; k < n && !other; k++)
            other = k != which && all[k].n &&
                    bsearch(&all[which].v[i], all[k].v, all[k].n, sizeof(struct blk), by_all);
        count += !other;
    }
    return count;
}

/* Blocks of any snapshot that the live state, the last one, does not map: each once. */
static uint64_t held(const struct map *all, int n)
{
    struct map sum = {0};
    uint64_t count = 0;

    for (int k = 0; k + 1 < n; k++)
        for (size_t i = 0; i < all[k].n; i++)
            if (!all[n - 1].n ||
                !bsearch(&all[k].v[i], all[n - 1].v, all[n - 1].n, sizeof(struct blk), by_all))
                map_add(&sum, all[k].v[i]);
    if (sum.n)
        qsort(sum.v, sum.n, sizeof(*sum.v), by_all);
    for (size_t i = 0; i < sum.n; i++)
        count += i == 0 || by_all(&sum.v[i - 1], &sum.v[i]) != 0;
    free(sum.v);
    return count;
}

/* Large files only, so that all bytes lie in objects. */
static void churn(struct box *b, uint64_t *rng)
{
    char name[16];

    for (int i = 0; i < 14; i++) {
        uint64_t x = test_rand(rng);
        snprintf(name, sizeof(name), "f%u", (unsigned)(x % 5));
        if (!box_there(b->v, box_root(b->v), name))
            box_fill(b, b->v, name, 0, 200000, x);
        else if (x >> 8 & 7)
            box_fill(b, b->v, name, (x >> 16) % (2 << 20), 5000 + (x >> 40) % 200000, x);
        else if (x >> 11 & 1)
            box_truncate(b, b->v, name, 8192 + (x >> 16) % (1 << 20));
        else
            box_remove(b, b->v, name);
    }
    CHECK_OK(vfs_orphans_drop_all(b->v));
}

static void check_figures(struct box *b, const bool *gone)
{
    struct map all[N + 1];
    struct volume_info info;
    struct snap_info si;
    int of[N + 1], n = 0;
    char name[16];

    for (int i = 0; i < N; i++) {
        if (gone[i])
            continue;
        snprintf(name, sizeof(name), "s%d", i);
        CHECK_OK(snap_get_info(b->v, name, &si));
        take_map(b->v, (struct vt_at){si.rec.branch, si.rec.layer}, &all[n]);
        of[n++] = i;
    }
    take_map(b->v, vol_now(b->v), &all[n]);
    for (int k = 0; k < n; k++) {
        snprintf(name, sizeof(name), "s%d", of[k]);
        CHECK_OK(snap_get_info(b->v, name, &si));
        CHECK_EQ(si.unique_bytes / BLOCK_SIZE, lone(all, n + 1, k));
        CHECK(si.freed_bytes <= si.unique_bytes);
    }
    CHECK_OK(volume_get_info(b->v, &info));
    CHECK_EQ(info.snapshot_bytes / BLOCK_SIZE, held(all, n + 1));
    for (int k = 0; k <= n; k++)
        free(all[k].v);
}

TEST(test_space__F15_figures_equal_a_walk)
{
    uint64_t rng = test_seed();
    bool gone[N] = {0};
    char name[16];
    struct box b;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < N; i++) {
        churn(&b, &rng);
        snprintf(name, sizeof(name), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
        for (int k = i + 1; k < N; k++)
            gone[k] = true;
        check_figures(&b, gone);
        memset(gone, 0, sizeof(gone));
    }
    churn(&b, &rng);
    check_figures(&b, gone);
    for (int i = 0; i < N - 1; i++) {
        int k = (int)(test_rand(&rng) % N);
        snprintf(name, sizeof(name), "s%d", k);
        if (gone[k])
            continue;
        CHECK_OK(snap_delete(b.v, &b.c, name));
        gone[k] = true;
        check_figures(&b, gone); /* at once, while its blocks wait to be freed */
        CHECK_OK(store_reclaim_idle(b.s));
        check_figures(&b, gone);
        churn(&b, &rng);
        check_figures(&b, gone);
    }
    box_sound(&b);
    box_close(&b);
}

static uint64_t held_blocks(struct vol *v)
{
    uint64_t blocks;
    struct txn t;

    CHECK_OK(txn_begin(v->store, TXN_READ, OP_NONE, v, &t));
    CHECK_OK(space_held(&t, v, &blocks));
    txn_abort(&t);
    return blocks;
}

/* A small file lies in pieces: a snapshot holds it whichever of them was written since. */
TEST(test_space__small_files_that_changed_behind_their_beginning)
{
    const struct vfs_setattr chmod = {.set = VFS_MODE, .mode = 0600};
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 3000, 1);
    box_fill(&b, b.v, "same", 0, 3000, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_EQ(held_blocks(b.v), 0);
    box_fill(&b, b.v, "f", 2500, 100, 2);
    CHECK_OK(vfs_setattr(b.v, &b.c, box_node(b.v, box_root(b.v), "same"), &chmod, NULL));
    CHECK_EQ(held_blocks(b.v), 1);
    box_close(&b);
}

TEST(test_space__of_the_branch_before_a_rollback)
{
    char kept[NAME_LEN_MAX + 1];
    struct volume_info info;
    struct snap_info si;
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 1 << 20, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_fill(&b, b.v, "f", 0, 256 << 10, 2);
    box_fill(&b, b.v, "g", 0, 512 << 10, 3);
    CHECK_OK(snap_rollback(b.v, &b.c, "s", kept));
    CHECK_OK(snap_get_info(b.v, kept, &si));
    CHECK_EQ(si.unique_bytes, 768 << 10);
    CHECK_EQ(si.freed_bytes, 768 << 10);
    CHECK_OK(snap_get_info(b.v, "s", &si));
    CHECK_EQ(si.freed_bytes, 0); /* the live tree stands on it */
    CHECK_OK(volume_get_info(b.v, &info));
    CHECK_EQ(info.used_bytes, 1 << 20);
    CHECK_EQ(info.snapshot_bytes, 768 << 10);
    box_close(&b);
}

/* Every state of a life with rollbacks, in whatever branch: the sum is right, and what one is said to free is there. */
TEST(test_space__F15_held_equals_a_walk_across_rollbacks)
{
    struct map all[24];
    struct volume_info info;
    char kept[6][NAME_LEN_MAX + 1], name[16];
    uint64_t rng = test_seed();
    struct snap_info si;
    struct box b;
    int n = 0;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < 6; i++) {
        churn(&b, &rng);
        snprintf(name, sizeof(name), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
        churn(&b, &rng);
        snprintf(name, sizeof(name), "s%d", (int)(test_rand(&rng) % (uint64_t)(i + 1)));
        CHECK_OK(snap_rollback(b.v, &b.c, i % 3 == 2 ? kept[i - 1] : name, kept[i]));
        if (i % 2)
            churn(&b, &rng);
    }
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof(name), "s%d", i % 6);
        CHECK_OK(snap_get_info(b.v, i < 6 ? name : kept[i - 6], &si));
        take_map(b.v, (struct vt_at){si.rec.branch, si.rec.layer}, &all[n++]);
    }
    take_map(b.v, vol_now(b.v), &all[n++]);
    for (int round = 0; round < 2; round++) {
        CHECK_OK(volume_get_info(b.v, &info));
        CHECK_EQ(info.snapshot_bytes / BLOCK_SIZE, held(all, n));
        for (int i = 0; i < 12; i++) {
            snprintf(name, sizeof(name), "s%d", i % 6);
            CHECK_OK(snap_get_info(b.v, i < 6 ? name : kept[i - 6], &si));
            if (!si.rec.children)
                CHECK_EQ(si.unique_bytes / BLOCK_SIZE, lone(all, n, i));
        }
        CHECK_OK(store_reclaim_idle(b.s));
    }
    for (int i = 0; i < n; i++)
        free(all[i].v);
    box_sound(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
