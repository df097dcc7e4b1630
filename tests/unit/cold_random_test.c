/* Files whose bytes are elsewhere under everything that may happen to files, against plain memory. STEPS=: how much. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "tests/unit/cold_case.h"

#define FILES 6
#define SNAPS 4
#define SIZE_MAX_ (5u * MIB / 2)
#define KEPT 400u       /* pieces that were released, at most */
#define KEPT_BLOCKS 64u /* of one */
#define KEPT_ID (1ull << 40)

/* What a tree should hold. */
struct tree {
    bool there;
    struct content {
        bool there;
        uint64_t size;
        uint8_t *bytes; /* SIZE_MAX_ + what a write may add; zeros beyond the size */
    } f[FILES];
};

struct play {
    struct box b;
    struct far far;
    uint64_t rng, ids;
    struct tree live, snap[SNAPS];
    uint8_t *kept[KEPT]; /* what was released, by the number in its name */
    uint64_t nkept, reads, figures;
};

static uint64_t below(struct play *p, uint64_t n)
{
    return test_rand(&p->rng) % n;
}

static const char *name_of(char out[8], unsigned i)
{
    snprintf(out, 8, "f%u", i % FILES);
    return out;
}

static uint8_t *fresh_bytes(void)
{
    uint8_t *p = calloc(1, SIZE_MAX_);

    CHECK(p != NULL);
    return p;
}

static void content_drop(struct content *c)
{
    free(c->bytes);
    *c = (struct content){0};
}

static void tree_drop(struct tree *t)
{
    for (unsigned i = 0; i < FILES; i++)
        content_drop(&t->f[i]);
    t->there = false;
}

static void tree_copy(struct tree *to, const struct tree *from)
{
    tree_drop(to);
    *to = *from;
    for (unsigned i = 0; i < FILES; i++)
        if (to->f[i].there) {
            to->f[i].bytes = fresh_bytes();
            memcpy(to->f[i].bytes, from->f[i].bytes, SIZE_MAX_);
        }
}

static vfs_node node_of(struct play *p, unsigned i)
{
    char name[8];

    return box_node(p->b.v, box_root(p->b.v), name_of(name, i));
}

/* --- elsewhere ---------------------------------------------------------------------------------------------------------------- */

static int on_fetch(void *arg, uint32_t source, const struct cold_ref *ref, uint32_t blocks, void *out)
{
    struct play *p = arg;
    uint64_t id = get_le64(ref->p) - KEPT_ID;

    if (id >= p->nkept || p->far.fail)
        return far_fetch(&p->far, source, ref, blocks, out);
    CHECK(ref->skip + blocks <= KEPT_BLOCKS);
    memcpy(out, p->kept[id] + (size_t)ref->skip * BLOCK_SIZE, (size_t)blocks * BLOCK_SIZE);
    return 0;
}

static void connect(struct play *p)
{
    store_set_cold(p->b.s, &(struct cold_hooks){.arg = p, .fetch = on_fetch});
}

/* --- looking ---------------------------------------------------------------------------------------------------------------- */

static void expect(struct play *p, vfs_node n, const struct content *c, uint64_t off, uint64_t len,
                   const char *what)
{
    uint8_t *got_bytes = malloc(len + 1);
    uint64_t want = off >= c->size ? 0 : MIN_OF(len, c->size - off);
    size_t got = 0;

    CHECK_OK(vfs_read(p->b.v, n, got_bytes, len, off, &got));
    CHECK_EQ(got, want);
    for (uint64_t i = 0; i < want; i++)
        if (got_bytes[i] != c->bytes[off + i])
            test_fail(__FILE__, __LINE__, "%s: byte %llu (block %llu) is %02x, not %02x", what,
                      (unsigned long long)(off + i), (unsigned long long)((off + i) / BLOCK_SIZE),
                      got_bytes[i], c->bytes[off + i]);
    free(got_bytes);
    p->reads++;
}

static void expect_tree(struct play *p, vfs_node root, const struct tree *t, const char *what)
{
    char name[8];

    for (unsigned i = 0; i < FILES; i++) {
        CHECK_EQ(box_there(p->b.v, root, name_of(name, i)), t->f[i].there);
        if (t->f[i].there)
            expect(p, box_node(p->b.v, root, name), &t->f[i], 0, SIZE_MAX_, what);
    }
}

static void look_at_all(struct play *p)
{
    char name[8];

    far_figures(&p->b);
    p->figures++;
    expect_tree(p, box_root(p->b.v), &p->live, "live");
    for (unsigned i = 0; i < SNAPS; i++)
        if (p->snap[i].there) {
            snprintf(name, sizeof(name), "s%u", i);
            expect_tree(p, box_view(p->b.v, name), &p->snap[i], name);
        }
}

/* --- changing --------------------------------------------------------------------------------------------------------------- */

static int pick_file(struct play *p)
{
    unsigned i = (unsigned)below(p, FILES);

    for (unsigned k = 0; k < FILES; k++, i++)
        if (p->live.f[i % FILES].there)
            return (int)(i % FILES);
    return -1;
}

static void do_import(struct play *p)
{
    unsigned i = (unsigned)below(p, FILES), n = 0;
    struct content *c = &p->live.f[i];
    struct cold_run runs[24];
    uint64_t block = below(p, 3) ? 0 : below(p, 50), max = SIZE_MAX_ / BLOCK_SIZE;
    char name[8];

    if (c->there)
        return;
    while (n < ARRAY_LEN(runs) && block < max && below(p, 8)) {
        uint64_t count = below(p, 4) ? 1 + below(p, 20) : 1 + below(p, 500);
        runs[n] = far_run(p->ids++, block, MIN_OF(count, max - block));
        runs[n].ref.skip = (uint32_t)below(p, 5);
        block += runs[n++].count;
        block += below(p, 3) ? 0 : 1 + below(p, 30);
    }
    *c = (struct content){.there = true, .bytes = fresh_bytes()};
    c->size = n ? (runs[n - 1].block + runs[n - 1].count) * BLOCK_SIZE - below(p, BLOCK_SIZE) : below(p, MIB);
    far_bytes(c->bytes, c->size, runs, n);
    far_file(&p->b, name_of(name, i), c->size, runs, n);
}

static void do_write(struct play *p)
{
    int i = pick_file(p);
    uint64_t len = below(p, 3) ? 1 + below(p, 9000) : 1 + below(p, 300000), off;
    struct content *c;

    if (i < 0)
        return;
    c = &p->live.f[i];
    off = below(p, below(p, 8) ? MIN_OF(c->size + 5000, (uint64_t)SIZE_MAX_) : SIZE_MAX_);
    if (below(p, 3) == 0)
        off -= off % BLOCK_SIZE;
    len = MIN_OF(len, SIZE_MAX_ - off);
    if (!len)
        return;
    for (uint64_t k = 0; k < len; k++)
        c->bytes[off + k] = (uint8_t)(p->rng >> (k % 57));
    CHECK_OK(vfs_write(p->b.v, &p->b.c, node_of(p, (unsigned)i), c->bytes + off, len, off, false));
    c->size = MAX_OF(c->size, off + len);
}

static void do_truncate(struct play *p)
{
    int i = pick_file(p);
    char name[8];

    if (i < 0)
        return;
    struct content *c = &p->live.f[i];
    uint64_t size = below(p, 2) ? below(p, c->size + 1) : below(p, SIZE_MAX_);
    if (below(p, 10) == 0)
        size = 0;
    box_truncate(&p->b, p->b.v, name_of(name, (unsigned)i), size);
    if (size < c->size)
        memset(c->bytes + size, 0, c->size - size);
    c->size = size;
}

static void do_allocate(struct play *p)
{
    static const int modes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, FALLOC_FL_ZERO_RANGE};
    int i = pick_file(p), mode = modes[below(p, ARRAY_LEN(modes))];

    if (i < 0)
        return;
    struct content *c = &p->live.f[i];
    uint64_t off = below(p, SIZE_MAX_ - 1), len = 1 + below(p, MIN_OF((uint64_t)SIZE_MAX_ - off, 600000ul));
    CHECK_OK(vfs_fallocate(p->b.v, &p->b.c, node_of(p, (unsigned)i), mode, off, len));
    if (mode)
        memset(c->bytes + off, 0, len);
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        c->size = MAX_OF(c->size, off + len);
}

static void do_copy(struct play *p)
{
    int i = pick_file(p), k = pick_file(p);
    size_t done = 0, at = 0;

    if (i < 0 || i == k)
        return;
    struct content *from = &p->live.f[i], *to = &p->live.f[k];
    uint64_t off = below(p, from->size + 1), dst = below(p, 2) ? off : below(p, SIZE_MAX_ / 2), len;
    if (below(p, 2)) {
        off -= off % BLOCK_SIZE;
        dst -= dst % BLOCK_SIZE;
    }
    len = MIN_OF(1 + below(p, MIB), SIZE_MAX_ - dst);
    len = MIN_OF(len, from->size - off);
    while (at < len) {
        CHECK_OK(vfs_copy(p->b.v, &p->b.c, node_of(p, (unsigned)i), off + at, node_of(p, (unsigned)k),
                          dst + at, len - at, &done));
        CHECK(done > 0);
        at += done;
    }
    memcpy(to->bytes + dst, from->bytes + off, len);
    if (len)
        to->size = MAX_OF(to->size, dst + len);
}

static void do_remove(struct play *p)
{
    int i = pick_file(p);
    char name[8];

    if (i < 0)
        return;
    box_remove(&p->b, p->b.v, name_of(name, (unsigned)i));
    if (below(p, 3))
        CHECK_OK(vfs_orphans_drop_all(p->b.v));
    content_drop(&p->live.f[i]);
}

static void do_snapshot(struct play *p)
{
    unsigned i = (unsigned)below(p, SNAPS);
    char name[8], kept[NAME_LEN_MAX + 1];

    snprintf(name, sizeof(name), "s%u", i);
    if (!p->snap[i].there) {
        CHECK_OK(snap_create(p->b.v, &p->b.c, name, NULL));
        tree_copy(&p->snap[i], &p->live);
        p->snap[i].there = true;
    } else if (below(p, 3)) {
        CHECK_OK(snap_delete(p->b.v, &p->b.c, name));
        tree_drop(&p->snap[i]);
    } else {
        CHECK_OK(snap_rollback(p->b.v, &p->b.c, name, kept));
        CHECK_OK(snap_delete(p->b.v, &p->b.c, kept));
        tree_copy(&p->live, &p->snap[i]);
    }
}

/* --- released, cloned --------------------------------------------------------------------------------------------------------- */

struct finding {
    struct play *p;
    struct file_run run;
    unsigned n;
};

static int find_run(void *arg, const struct file_run *run)
{
    struct finding *f = arg;

    if (run->object && run->kind == SPAN_OBJECT && below(f->p, ++f->n) == 0)
        f->run = *run;
    return 0;
}

/* One of the runs of a file as a snapshot shows it. */
static bool some_run(struct play *p, const char *snap, unsigned i, struct file_run *ret)
{
    struct finding f = {.p = p};
    struct layer_rec rec;
    struct inode in;
    struct txn t;
    char name[8];

    CHECK_OK(snap_find(p->b.v, snap, &rec));
    CHECK_OK(store_sync(p->b.s));
    struct vt_at at = {rec.branch, rec.layer};
    vfs_node n = box_node(p->b.v, box_view(p->b.v, snap), name_of(name, i));
    CHECK_OK(txn_begin(p->b.s, TXN_READ, OP_NONE, NULL, &t));
    CHECK_OK(inode_get(&t, at, vfs_node_ino(n), &in));
    if (!(in.flags & INODE_INLINE))
        CHECK_OK(file_ranges(&t, at, &in, 0, SIZE_MAX_ / BLOCK_SIZE, find_run, &f));
    txn_abort(&t);
    *ret = f.run;
    return f.n > 0;
}

/* Whether the live tree has it or not. */
static void do_release(struct play *p)
{
    unsigned s = (unsigned)below(p, SNAPS), i = (unsigned)below(p, FILES);
    struct cold_range range = {.source = 1, .ref = {.len = 8}};
    struct file_run run;
    struct txn t;
    char name[8];

    snprintf(name, sizeof(name), "s%u", s);
    if (p->nkept == KEPT || !p->snap[s].there || !p->snap[s].f[i].there || !some_run(p, name, i, &run))
        return;
    uint64_t skip = below(p, run.count), n = 1 + below(p, MIN_OF(run.count - skip, (uint64_t)KEPT_BLOCKS));
    range.object = run.object;
    range.first = run.obj_block + skip;
    range.blocks = (uint32_t)n;
    put_le64(range.ref.p, KEPT_ID + p->nkept);
    CHECK_OK(txn_begin(p->b.s, TXN_WRITE, OP_COLD, p->b.v, &t));
    int r = cold_release(&t, &range);
    if (r < 0) {
        CHECK_EQ(r, -E_EXIST);
        txn_abort(&t);
        return;
    }
    CHECK_OK(txn_commit(&t));
    p->kept[p->nkept] = calloc(KEPT_BLOCKS, BLOCK_SIZE);
    uint64_t off = (run.block + skip) * BLOCK_SIZE;
    memcpy(p->kept[p->nkept++], p->snap[s].f[i].bytes + off, MIN_OF(n * BLOCK_SIZE, SIZE_MAX_ - off));
}

static void clone_writes(struct play *p, struct vol *w)
{
    static uint8_t bytes[100000];
    char name[8];

    for (unsigned i = 0; i < FILES; i++)
        if (below(p, 2) && box_there(w, box_root(w), name_of(name, i)))
            CHECK_OK(vfs_write(w, &p->b.c, box_node(w, box_root(w), name), bytes, below(p, sizeof(bytes)),
                               below(p, SIZE_MAX_ - sizeof(bytes)), false));
}

static void do_clone(struct play *p)
{
    unsigned i = (unsigned)below(p, SNAPS);
    struct vol *w;
    char name[8];

    snprintf(name, sizeof(name), "s%u", i);
    if (volume_find(p->b.s, "copy", &w) == 0) {
        if (below(p, 2)) {
            clone_writes(p, w);
            return;
        }
        CHECK_OK(volume_delete(w, NULL));
        CHECK_OK(volume_purge(w));
    } else if (p->snap[i].there) {
        CHECK_OK(volume_clone(p->b.v, name, "copy", &w));
    }
}

/* --- the world --------------------------------------------------------------------------------------------------------------- */

static void do_world(struct play *p)
{
    struct cold_cursor cur = {0};
    struct cold_range range;

    switch (below(p, 12)) {
    case 0: box_reopen(&p->b); break;
    case 1: box_die(&p->b); break;
    case 2: CHECK_OK(store_reclaim_idle(p->b.s)); break;
    case 3: box_sound(&p->b); break;
    case 4: far_sound(&p->b); break;
    case 5: CHECK_OK(store_checkpoint(p->b.s)); break;
    case 6: look_at_all(p); break;
    case 7:
    case 8:
        for (unsigned i = 0; i < 3 && cold_next(p->b.s, 0, &cur, &range) == 1; i++)
            CHECK_OK(cold_recall(p->b.s, range.object, range.first, range.blocks));
        break;
    default: CHECK_OK(cold_settle(p->b.s)); break;
    }
    connect(p);
}

static void do_read(struct play *p)
{
    int i = pick_file(p);

    if (i < 0)
        return;
    uint64_t off = below(p, p->live.f[i].size + 100);
    expect(p, node_of(p, (unsigned)i), &p->live.f[i], off, 1 + below(p, below(p, 4) ? 20000 : MIB), "read");
}

/* A request that cannot be served changes nothing; one that needs nothing from elsewhere works. */
static void do_fail(struct play *p)
{
    int i = pick_file(p), r;
    uint8_t x[5000], y[5000];
    size_t got;

    if (i < 0)
        return;
    struct content *c = &p->live.f[i];
    uint64_t off = below(p, MIN_OF(c->size + 1, SIZE_MAX_ - sizeof(x)));
    p->far.fail = -E_TIMEOUT;
    memset(x, 'F', sizeof(x));
    r = vfs_read(p->b.v, node_of(p, (unsigned)i), y, sizeof(y), off, &got);
    CHECK(r == 0 || r == -E_IO);
    r = vfs_write(p->b.v, &p->b.c, node_of(p, (unsigned)i), x, sizeof(x), off, false);
    CHECK(r == 0 || r == -E_IO);
    if (r == 0) {
        memcpy(c->bytes + off, x, sizeof(x));
        c->size = MAX_OF(c->size, off + sizeof(x));
    }
    p->far.fail = 0;
}

static void step(struct play *p)
{
    static void (*const ops[])(struct play * p) = {
        do_import, do_import, do_write,    do_write,    do_write, do_read,   do_read,
        do_read,   do_read,   do_truncate, do_allocate, do_copy,  do_remove, do_snapshot,
        do_world,  do_fail,   do_release,  do_release,  do_clone,
    };

    ops[below(p, ARRAY_LEN(ops))](p);
    if (below(p, 16) == 0) {
        far_figures(&p->b);
        p->figures++;
    }
}

TEST(test_cold__everything_at_random_is_as_plain_memory_says)
{
    const char *steps_text = getenv("STEPS");
    uint64_t steps = steps_text ? strtoull(steps_text, NULL, 10) : 4000;
    struct play p = {.rng = test_seed()};

    box_open(&p.b, NULL, NULL);
    far_begin(&p.b, &p.far);
    connect(&p);
    for (uint64_t i = 0; i < steps; i++)
        step(&p);
    look_at_all(&p);
    box_sound(&p.b);
    far_sound(&p.b);
    printf("    %llu steps, %llu reads, %llu fetches of %llu blocks, %llu released, %llu figures\n",
           (unsigned long long)steps, (unsigned long long)p.reads, (unsigned long long)p.far.calls,
           (unsigned long long)p.far.blocks, (unsigned long long)p.nkept, (unsigned long long)p.figures);
    CHECK(steps < 1000 || p.far.calls > 100);
    box_close(&p.b);
    tree_drop(&p.live);
    for (unsigned i = 0; i < SNAPS; i++)
        tree_drop(&p.snap[i]);
    for (uint64_t i = 0; i < p.nkept; i++)
        free(p.kept[i]);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
