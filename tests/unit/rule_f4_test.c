/* F4, F5, F6, F7: maps exact to the block, open and frozen objects, writes under way while a snapshot is taken. */
#include <pthread.h>
#include <stdlib.h>

#include "tests/lib/rig.h"
#include "tests/lib/test.h"

#define MIB (1u << 20)

static uint8_t expected(const uint8_t *map, uint64_t off)
{
    return map[off / 512] ? (uint8_t)(map[off / 512] + off % 7) : 0;
}

/* Every layer shows what it was, whatever was written, cut and grown over it, in pieces that are no blocks. */
TEST(test_f4__each_snapshot_keeps_its_bytes_to_the_byte)
{
    enum { N = 4096, SNAPS = 12 }; /* pieces of 512 bytes: 2 MiB */
    static uint8_t map[SNAPS + 1][N], buf[N * 512];
    uint64_t rng = test_seed(), size[SNAPS + 1] = {0};
    struct rig g;
    char name[16];

    memset(map, 0, sizeof(map));
    rig_open(&g);
    box_write(&g.b, g.b.v, "f", "", 0, 0);
    for (int s = 0; s <= SNAPS; s++) {
        if (s) {
            memcpy(map[s], map[s - 1], N);
            size[s] = size[s - 1];
        }
        for (int i = 0; i < 8; i++) {
            uint64_t at = test_rand(&rng) % N, len = 1 + test_rand(&rng) % (N / 8);
            len = MIN_OF(len, N - at);
            if (test_rand(&rng) % 4 == 0) {
                box_truncate(&g.b, g.b.v, "f", at * 512);
                memset(map[s] + at, 0, N - at);
                size[s] = at * 512;
                continue;
            }
            memset(map[s] + at, 1 + s, len);
            for (uint64_t k = at * 512; k < (at + len) * 512; k++)
                buf[k] = expected(map[s], k);
            box_write(&g.b, g.b.v, "f", buf + at * 512, len * 512, at * 512);
            size[s] = MAX_OF(size[s], (at + len) * 512);
        }
        snprintf(name, sizeof(name), "s%d", s);
        CHECK_OK(snap_create(g.b.v, &g.b.c, name, NULL));
    }
    for (int s = 0; s <= SNAPS; s++) {
        size_t got;
        snprintf(name, sizeof(name), "s%d", s);
        CHECK_OK(vfs_read(g.b.v, box_node(g.b.v, box_view(g.b.v, name), "f"), buf, sizeof(buf), 0, &got));
        CHECK_EQ(got, size[s]);
        for (uint64_t k = 0; k < got; k++)
            if (buf[k] != expected(map[s], k))
                test_fail(__FILE__, __LINE__, "snapshot %d byte %llu: %u", s, (unsigned long long)k, buf[k]);
    }
    rig_close(&g);
}

TEST(test_f4__a_partial_write_to_a_sealed_block_copies_that_block_only)
{
    struct rig g;
    uint64_t before;

    rig_open(&g);
    rig_write(&g, "f", 0, 4 * MIB, rig_a);
    rig_fsync(&g, "f");
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    rig_quiet(&g);
    before = box_disk_blocks(&g.b);
    rig_write(&g, "f", 2 * MIB + 100, 50, rig_b);
    rig_expect(&g, "f", 2 * MIB, 100, rig_a);
    rig_expect(&g, "f", 2 * MIB + 100, 50, rig_b);
    rig_expect(&g, "f", 2 * MIB + 150, 10000, rig_a);
    rig_quiet(&g);
    CHECK(box_disk_blocks(&g.b) - before <= 2);
    CHECK(rig_holds(&g, box_node(g.b.v, box_view(g.b.v, "s"), "f"), 0, 4 * MIB, rig_a));
    rig_close(&g);
}

TEST(test_f5__sealed_bytes_are_not_written_in_place)
{
    struct rig g;

    rig_open(&g);
    rig_write(&g, "f", 0, MIB, rig_a);
    CHECK_OK(snap_create(g.b.v, &g.b.c, "s", NULL));
    rig_write(&g, "f", 8192, 4096, rig_b);
    CHECK(rig_holds(&g, box_node(g.b.v, box_view(g.b.v, "s"), "f"), 0, MIB, rig_a));
    rig_expect(&g, "f", 8192, 4096, rig_b);
    rig_close(&g);
}

TEST(test_f5__neither_side_of_a_copy_writes_through_to_the_other)
{
    struct rig g;

    rig_open(&g);
    for (int synced = 0; synced < 2; synced++) {
        const char *a = synced ? "a1" : "a0", *b = synced ? "b1" : "b0";

        rig_write(&g, a, 0, MIB, rig_a);
        if (synced)
            rig_fsync(&g, a);
        rig_copy(&g, a, b, MIB);
        rig_write(&g, a, 8192, 4096, rig_b);
        rig_expect(&g, b, 0, MIB, rig_a);
        rig_write(&g, b, 16384, 4096, rig_b);
        rig_expect(&g, a, 16384, 4096, rig_a);
        rig_quiet(&g); /* nor does the freeing of what one gave up */
        rig_expect(&g, b, 0, 16384, rig_a);
        rig_expect(&g, a, 12288, MIB - 12288, rig_a);
    }
    rig_close(&g);
}

/* F6: a pwrite that is held back by the disk while the snapshot is taken. */
struct slow {
    struct io io;
    struct io_ops ops;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool armed, inside, go;
};
static struct slow slow;

static int slow_pwrite(struct io *io, int fd, const void *p, size_t len, uint64_t off)
{
    (void)io;
    pthread_mutex_lock(&slow.lock);
    if (slow.armed && len == 64 << 10) {
        slow.armed = false;
        slow.inside = true;
        pthread_cond_broadcast(&slow.change);
        while (!slow.go)
            pthread_cond_wait(&slow.change, &slow.lock);
    }
    pthread_mutex_unlock(&slow.lock);
    return io_real()->ops->pwrite(io_real(), fd, p, len, off);
}

struct worker {
    struct box *b;
    vfs_node n;
    int r;
    bool done;
};

static void *write_slowly(void *arg)
{
    struct worker *w = arg;
    uint8_t *p = malloc(64 << 10);

    memset(p, 9, 64 << 10);
    w->r = vfs_write(w->b->v, &w->b->c, w->n, p, 64 << 10, 0, false);
    free(p);
    return NULL;
}

static void *snap_now(void *arg)
{
    struct worker *w = arg;

    w->r = snap_create(w->b->v, &w->b->c, "s", NULL);
    __atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

/* The snapshot is in the list before it is answered; who looks into it waits as well. */
static void *look_now(void *arg)
{
    struct worker *w = arg;
    struct layer_rec rec;
    struct vfs_attr a;
    uint8_t p[10] = {0};
    vfs_node root;
    size_t got;

    while (snap_find(w->b->v, "s", &rec) < 0)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    w->r = view_enter(w->b->v, "s", INO_ROOT, &root, &a);
    if (w->r == 0)
        w->r = vfs_lookup(w->b->v, root, "f", &a);
    if (w->r == 0)
        w->r = vfs_read(w->b->v, a.node, p, sizeof(p), 0, &got);
    if (w->r == 0)
        w->r = p[0];
    return NULL;
}

TEST(test_f6__a_snapshot_answers_when_writes_of_its_layer_are_in_place)
{
    struct worker w, sn, look;
    struct box b;
    pthread_t tw, ts, tl;
    uint8_t p[10] = {0};
    size_t got;

    slow = (struct slow){.ops = *io_real()->ops, .io = {&slow.ops}};
    slow.ops.pwrite = slow_pwrite;
    pthread_mutex_init(&slow.lock, NULL);
    pthread_cond_init(&slow.change, NULL);
    box_open(&b, &slow.io, NULL);
    box_fill(&b, b.v, "f", 0, MIB, 1);
    box_write(&b, b.v, "other", "x", 1, 0);
    w = (struct worker){.b = &b, .n = box_node(b.v, box_root(b.v), "f")};
    sn = look = (struct worker){.b = &b};
    slow.armed = true;
    CHECK_EQ(pthread_create(&tw, NULL, write_slowly, &w), 0);
    pthread_mutex_lock(&slow.lock);
    while (!slow.inside)
        pthread_cond_wait(&slow.change, &slow.lock);
    pthread_mutex_unlock(&slow.lock);
    CHECK_EQ(pthread_create(&ts, NULL, snap_now, &sn), 0);
    CHECK_EQ(pthread_create(&tl, NULL, look_now, &look), 0);
    for (int i = 0; i < 100 && !__atomic_load_n(&sn.done, __ATOMIC_SEQ_CST); i++) {
        box_write(&b, b.v, "other", "y", 1, 0); /* nobody else waits for them */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    bool early = __atomic_load_n(&sn.done, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&slow.lock);
    slow.go = true;
    pthread_cond_broadcast(&slow.change);
    pthread_mutex_unlock(&slow.lock);
    pthread_join(tw, NULL);
    pthread_join(ts, NULL);
    pthread_join(tl, NULL);
    CHECK(!early);
    CHECK_EQ(look.r, 9);
    CHECK_OK(w.r);
    CHECK_OK(sn.r);
    CHECK_OK(vfs_read(b.v, box_node(b.v, box_view(b.v, "s"), "f"), p, sizeof(p), 0, &got));
    CHECK_EQ(p[0], 9); /* it resolved in the sealed layer, so it is in the snapshot */
    box_close(&b);
}

/* F7: a write that was on its way to the tree before a rollback must not reach the tree after it. The first write is held
 * back by the disk, the second waits for the file, then the volume is rolled back. */
static void *write_page(void *arg)
{
    struct worker *w = arg;
    uint8_t p[4096];

    memset(p, 77, sizeof(p));
    __atomic_store_n(&w->done, true, __ATOMIC_SEQ_CST); /* it has begun */
    w->r = vfs_write(w->b->v, &w->b->c, w->n, p, sizeof(p), 0, false);
    return NULL;
}

static void *roll_back(void *arg)
{
    struct worker *w = arg;

    w->r = snap_rollback(w->b->v, &w->b->c, "s", NULL);
    return NULL;
}

TEST(test_f7__a_write_on_its_way_does_not_reach_the_tree_after_a_rollback)
{
    struct worker first, second, back;
    pthread_t t1, t2, t3;
    struct layer_rec rec;
    struct box b;
    uint8_t p[10];
    size_t got;

    slow = (struct slow){.ops = *io_real()->ops, .io = {&slow.ops}};
    slow.ops.pwrite = slow_pwrite;
    pthread_mutex_init(&slow.lock, NULL);
    pthread_cond_init(&slow.change, NULL);
    box_open(&b, &slow.io, NULL);
    box_fill(&b, b.v, "f", 0, MIB, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", &rec));
    CHECK_OK(snap_wait_durable(b.v, rec.layer));
    uint32_t head = b.v->rec.head;
    first = second = back = (struct worker){.b = &b, .n = box_node(b.v, box_root(b.v), "f")};
    slow.armed = true;
    CHECK_EQ(pthread_create(&t1, NULL, write_slowly, &first), 0);
    pthread_mutex_lock(&slow.lock);
    while (!slow.inside)
        pthread_cond_wait(&slow.change, &slow.lock);
    pthread_mutex_unlock(&slow.lock);
    CHECK_EQ(pthread_create(&t2, NULL, write_page, &second), 0);
    while (!__atomic_load_n(&second.done, __ATOMIC_SEQ_CST))
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* it waits for the file */
    CHECK_EQ(pthread_create(&t3, NULL, roll_back, &back), 0);
    for (int i = 0; i < 1000 && __atomic_load_n(&b.v->rec.head, __ATOMIC_SEQ_CST) == head; i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    pthread_mutex_lock(&slow.lock);
    slow.go = true;
    pthread_cond_broadcast(&slow.change);
    pthread_mutex_unlock(&slow.lock);
    pthread_join(t1, NULL);
    pthread_join(t2, NULL);
    pthread_join(t3, NULL);
    CHECK_OK(back.r);
    CHECK_OK(first.r);
    CHECK_ERR(second.r, -E_STALE);
    CHECK_OK(vfs_read(b.v, box_node(b.v, box_root(b.v), "f"), p, sizeof(p), 0, &got));
    CHECK(p[0] != 77 || p[1] != 77);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
