/* Bytes that lie elsewhere: reading, writing, sharing, dying, one by one. What fails: cold_fail_test.c; at random: cold_random_test.c. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "snap/ns.h"
#include "tests/lib/lying.h"
#include "tests/unit/cold_case.h"

static const char *object_file(struct box *b, const char *path, uint64_t *ret_object)
{
    static char file[4096];
    struct inode in;
    struct txn t;

    CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, NULL, &t));
    CHECK_OK(inode_get(&t, vol_now(b->v), vfs_node_ino(box_node(b->v, box_root(b->v), path)), &in));
    txn_abort(&t);
    object_path(b->s, in.base_obj, file);
    if (ret_object)
        *ret_object = in.base_obj;
    return file;
}

TEST(test_cold__a_read_fetches_and_the_next_one_does_not)
{
    struct cold_run run = far_run(7, 0, 300);
    uint64_t size = 300 * BLOCK_SIZE - 100;
    uint8_t *want = malloc(size);
    struct far f = {0};
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", size, &run, 1);
    far_bytes(want, size, &run, 1);
    CHECK(access(object_file(&b, "a", NULL), F_OK) < 0);
    far_sound(&b);
    far_expect(&b, "a", want + 5000, 100, 5000);
    CHECK_EQ(f.calls, 1);
    CHECK_EQ(f.blocks, 256);
    far_expect(&b, "a", want, MIB, 0);
    CHECK_EQ(f.calls, 1);
    far_expect(&b, "a", want + MIB, size - MIB, MIB);
    CHECK_EQ(f.calls, 2);
    far_sound(&b);
    CHECK_EQ(far_records(&b), 1);
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(far_records(&b), 0);
    far_sound(&b);
    box_reopen(&b); /* nobody is connected */
    far_expect(&b, "a", want, size, 0);
    CHECK_EQ(f.calls, 2);
    box_sound(&b);
    box_close(&b);
    free(want);
}

TEST(test_cold__a_settled_window_is_cut_out_of_its_range)
{
    struct cold_run run = far_run(7, 0, 3000);
    uint64_t size = 3000 * BLOCK_SIZE, off = 1000 * BLOCK_SIZE;
    uint8_t *want = malloc(size);
    struct far f = {0};
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", size, &run, 1);
    far_bytes(want, size, &run, 1);
    far_expect(&b, "a", want + off, 10, off);
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(far_records(&b), 2);
    far_sound(&b);
    box_die(&b);
    far_connect(&b, &f);
    far_expect(&b, "a", want + off, 10, off);
    CHECK_EQ(f.calls, 1);
    far_expect(&b, "a", want, size, 0);
    CHECK_EQ(f.calls, 12);
    CHECK_EQ(f.blocks, 3000);
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(far_records(&b), 0);
    far_sound(&b);
    box_close(&b);
    free(want);
}

TEST(test_cold__holes_and_skips_are_kept)
{
    struct cold_run runs[] = {far_run(1, 0, 2), far_run(2, 2, 1), far_run(3, 10, 300), far_run(4, 700, 1)};
    uint64_t size = 1000 * BLOCK_SIZE;
    uint8_t *want = malloc(size);
    struct far f = {0};
    struct inode in;
    struct txn t;
    struct box b;
    uint64_t hole;

    runs[2].ref.skip = 5;
    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", size, runs, 4);
    far_bytes(want, size, runs, 4);
    CHECK_OK(txn_begin(b.s, TXN_READ, OP_NONE, NULL, &t));
    CHECK_OK(inode_get(&t, vol_now(b.v), vfs_node_ino(box_node(b.v, box_root(b.v), "a")), &in));
    txn_abort(&t);
    CHECK_EQ(in.blocks, 304);
    CHECK_EQ(in.base_blocks, 3);
    CHECK_OK(vfs_seek(b.v, box_node(b.v, box_root(b.v), "a"), SEEK_HOLE, 0, &hole));
    CHECK_EQ(hole, 3 * BLOCK_SIZE);
    CHECK_EQ(f.calls, 0);
    far_expect(&b, "a", want, size, 0);
    box_sound(&b);
    far_sound(&b);
    box_close(&b);
    free(want);
}

TEST(test_cold__more_runs_come_behind)
{
    struct cold_run runs[] = {far_run(1, 0, 40), far_run(2, 40, 300), far_run(3, 400, 10), far_run(4, 410, 5),
                              far_run(5, 600, 1)};
    uint64_t size = 601 * BLOCK_SIZE;
    uint8_t *want = malloc(size);
    struct far f = {0};
    struct box b;
    struct txn t;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", 40 * BLOCK_SIZE, runs, 1);
    uint64_t ino = vfs_node_ino(box_node(b.v, box_root(b.v), "a"));
    for (unsigned i = 1; i < 5; i++) {
        CHECK_OK(txn_begin(b.s, TXN_WRITE, OP_COLD, b.v, &t));
        CHECK_OK(cold_file_add(&t, b.v, ino, size - (4 - i) * 10, &runs[i], 1));
        CHECK_OK(txn_commit(&t));
    }
    CHECK_OK(txn_begin(b.s, TXN_WRITE, OP_COLD, b.v, &t));
    CHECK_ERR(cold_file_add(&t, b.v, ino, size, &runs[2], 1), -E_INVAL);
    txn_abort(&t);
    far_bytes(want, size, runs, 5);
    far_expect(&b, "a", want, size, 0);
    box_sound(&b);
    far_sound(&b);
    box_close(&b);
    free(want);
}

TEST(test_cold__partial_writes_bring_what_they_keep)
{
    struct cold_run run = far_run(7, 0, 600);
    uint64_t size = 600 * BLOCK_SIZE - 10;
    uint8_t *want = calloc(1, size + BLOCK_SIZE);
    struct far f = {0};
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", size, &run, 1);
    far_bytes(want, size, &run, 1);
    box_fill(&b, b.v, "whole", 0, 4 * BLOCK_SIZE, 3);
    vfs_node n = box_node(b.v, box_root(b.v), "a");
    uint8_t x[3 * BLOCK_SIZE];
    memset(x, 'x', sizeof(x));
    CHECK_OK(vfs_write(b.v, &b.c, n, x, sizeof(x), 4 * BLOCK_SIZE, false));
    memcpy(want + 4 * BLOCK_SIZE, x, sizeof(x));
    CHECK_EQ(f.calls, 0); /* whole blocks need nothing */
    CHECK_OK(vfs_write(b.v, &b.c, n, x, 5000, 300 * BLOCK_SIZE + 17, false));
    memcpy(want + 300 * BLOCK_SIZE + 17, x, 5000);
    CHECK_EQ(f.calls, 1);
    CHECK_OK(vfs_write(b.v, &b.c, n, x, 10, size + 3, false)); /* behind the end: its last block stays */
    memcpy(want + size + 3, x, 10);
    far_expect(&b, "a", want, size + 13, 0);
    box_sound(&b);
    far_sound(&b);
    box_close(&b);
    free(want);
}

TEST(test_cold__what_dies_is_forgotten)
{
    struct cold_run runs[] = {far_run(1, 0, 1000), far_run(2, 1000, 24)};
    uint64_t size = 4 * MIB;
    struct far f = {0};
    uint8_t p[100];
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", size, runs, 2);
    far_file(&b, "b", size, runs, 2);
    CHECK_OK(far_read(&b, "a", p, 100, 2 * MIB));
    CHECK_OK(vfs_fallocate(b.v, &b.c, box_node(b.v, box_root(b.v), "a"), 3, MIB, 2 * MIB));
    box_truncate(&b, b.v, "b", 3 * BLOCK_SIZE);
    box_sound(&b);
    far_sound(&b);
    CHECK_EQ(far_records(&b), 2 + 1 + 1);
    box_remove(&b, b.v, "a");
    box_remove(&b, b.v, "b");
    CHECK_OK(vfs_orphans_drop_all(b.v));
    box_sound(&b);
    CHECK_EQ(far_records(&b), 0);
    far_sound(&b);
    CHECK_EQ(box_objects(&b), 0);
    box_close(&b);
}

TEST(test_cold__copies_clones_and_snapshots_share_what_is_elsewhere)
{
    struct cold_run run = far_run(1, 0, 500);
    uint64_t size = 500 * BLOCK_SIZE;
    uint8_t *want = malloc(size), *p = malloc(size);
    struct far f = {0};
    struct vol *clone;
    size_t done, got;
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", size, &run, 1);
    far_bytes(want, size, &run, 1);
    vfs_node root = box_root(b.v);
    box_write(&b, b.v, "b", NULL, 0, 0);
    box_write(&b, b.v, "c", NULL, 0, 0);
    CHECK_OK(vfs_copy(b.v, &b.c, box_node(b.v, root, "a"), 0, box_node(b.v, root, "b"), 0, size, &done));
    CHECK_EQ(done, size);
    CHECK_OK(
        vfs_copy(b.v, &b.c, box_node(b.v, root, "a"), MIB, box_node(b.v, root, "c"), 2 * MIB, 200000, &done));
    CHECK_EQ(f.calls, 1); /* the end of the piece is not a whole block */
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    CHECK_OK(volume_clone(b.v, "s", "clone", &clone));
    box_fill(&b, b.v, "a", 0, size, 5);
    box_remove(&b, b.v, "c");
    CHECK_OK(vfs_orphans_drop_all(b.v));
    box_sound(&b);
    far_sound(&b);
    CHECK_OK(vfs_read(clone, box_node(clone, box_root(clone), "a"), p, size, 0, &got));
    CHECK(got == size && memcmp(p, want, size) == 0);
    CHECK_OK(vfs_read(b.v, box_node(b.v, box_view(b.v, "s"), "c"), p, 200000, 2 * MIB, &got));
    CHECK(got == 200000 && memcmp(p, want + MIB, 200000) == 0);
    far_expect(&b, "b", want, size, 0);
    CHECK_EQ(f.calls, 2); /* all of them have one object */
    CHECK_OK(cold_settle(b.s));
    box_sound(&b);
    far_sound(&b);
    CHECK_EQ(far_records(&b), 0);
    box_close(&b);
    free(want);
    free(p);
}

/* --- imports ------------------------------------------------------------------------------------------------------------------- */

static int import_one(struct ns *o, uint64_t dir, unsigned i)
{
    struct cold_run run = far_run(i, 0, 1);
    struct inode parent, in;
    struct ns_name name;
    char text[16];
    uint64_t hash;

    snprintf(text, sizeof(text), "n%u", i);
    CHECK_OK(ns_name_init(text, &name));
    CHECK_OK(ns_dir_inode(o, dir, true, &parent));
    CHECK_OK(ns_dirent_slot(o, dir, &name, &hash));
    CHECK_OK(ns_new(o, &parent, S_IFREG | 0644, 0, 0, &in));
    in.size = 1000 + i % 3000;
    in.parent = dir;
    in.parent_hash = hash;
    CHECK_OK(cold_file_map(&o->t, o->v, &in, &run, 1));
    CHECK_OK(ns_dirent_put(o, dir, hash, in.ino, in.mode, &name));
    return ns_new_put(o, &in);
}

/* FILES= and BATCH= measure: how long it takes for many. */
TEST(test_cold__many_small_files_are_imported_in_few_transactions)
{
    const char *files = getenv("FILES"), *batch_text = getenv("BATCH");
    unsigned n = files ? (unsigned)strtoul(files, NULL, 10) : 1000,
             batch = batch_text ? (unsigned)strtoul(batch_text, NULL, 10) : 32;
    struct far f = {0};
    uint64_t dir, blocks;
    struct cold_stat st;
    struct box b;
    struct ns o;

    box_open(&b, NULL, NULL);
    b.set.segment_bytes = 0;
    far_begin(&b, &f);
    int64_t start = clock_mono_ns();
    for (unsigned i = 0; i < n;) {
        CHECK_OK(ns_change(b.v, &b.c, OP_CREATE, box_root(b.v), &o, &dir));
        for (unsigned k = 0; k < batch && i < n; k++, i++)
            CHECK_OK(import_one(&o, dir, i));
        CHECK_OK(ns_end(&o, 0));
    }
    int64_t took = clock_mono_ns() - start;
    printf("    %u files, %u at a time: %.2f s, %.2f us a file\n", n, batch, (double)took / 1e9,
           (double)took / 1e3 / n);
    blocks = b.v->stat.blocks;
    CHECK_EQ(blocks, n);
    took = INT64_MAX;
    for (unsigned i = 0; i < 5; i++) { /* others may be at work: the best of some */
        start = clock_mono_ns();
        CHECK_OK(cold_stat(b.v, &st));
        took = MIN_OF(took, clock_mono_ns() - start);
    }
    printf("    what of them is here: %.1f ms, %.2f us a file\n", (double)took / 1e6, (double)took / 1e3 / n);
    CHECK_EQ(st.objects, n);
    CHECK_EQ(st.local_bytes, 0);
    CHECK_EQ(f.calls, 0);
    for (unsigned i = 0; i < n; i += 1 + n / 50) {
        struct cold_run run = far_run(i, 0, 1);
        uint8_t want[BLOCK_SIZE];
        char name[16];
        snprintf(name, sizeof(name), "n%u", i);
        far_bytes(want, 1000 + i % 3000, &run, 1);
        far_expect(&b, name, want, 1000 + i % 3000, 0);
    }
    if (n <= 1000) {
        box_sound(&b);
        far_sound(&b);
    }
    box_close(&b);
}

/* --- many at a time --------------------------------------------------------------------------------------------------------- */

#define READERS 8
struct reader {
    struct box *b;
    const uint8_t *want;
    uint64_t len;
    pthread_t id;
    bool ok;
};

static void *read_all(void *arg)
{
    struct reader *rd = arg;
    uint8_t *p = malloc(rd->len);
    size_t got = 0;

    rd->ok = vfs_read(rd->b->v, box_node(rd->b->v, box_root(rd->b->v), "a"), p, rd->len, 0, &got) == 0 &&
             got == rd->len && memcmp(p, rd->want, rd->len) == 0;
    free(p);
    return NULL;
}

TEST(test_cold__many_readers_wait_for_one_fetch)
{
    struct cold_run run = far_run(1, 0, 1024);
    struct far f = {.delay_us = 20000};
    struct reader rd[READERS];
    uint8_t *want = malloc(4 * MIB);
    struct cold_counts counts;
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", 4 * MIB, &run, 1);
    far_bytes(want, 4 * MIB, &run, 1);
    for (unsigned i = 0; i < READERS; i++) {
        rd[i] = (struct reader){.b = &b, .want = want, .len = 4 * MIB};
        CHECK_EQ(pthread_create(&rd[i].id, NULL, read_all, &rd[i]), 0);
    }
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(rd[i].id, NULL);
        CHECK(rd[i].ok);
    }
    CHECK_EQ(f.calls, 4);
    CHECK_EQ(f.blocks, 1024);
    expect_mark("cold: waits for the fetch of another");
    cold_get_counts(b.s, &counts);
    CHECK_EQ(counts.fetches, 4);
    CHECK_EQ(counts.fetched_bytes, 4 * MIB);
    far_sound(&b);
    box_close(&b);
    free(want);
}

TEST(test_cold__what_was_brought_is_local_for_good_after_a_while)
{
    struct cold_run run = far_run(1, 0, 100);
    struct far f = {0};
    struct box b;
    uint8_t p[10];

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", 100 * BLOCK_SIZE, &run, 1);
    box_close(&b);
    b.set.flush_ms = 20;
    box_attach(&b);
    far_connect(&b, &f);
    CHECK_OK(store_tick(b.s));
    CHECK_OK(far_read(&b, "a", p, 10, 0));
    CHECK_EQ(far_records(&b), 1);
    for (unsigned i = 0; i < 1000 && far_records(&b); i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        CHECK_OK(store_tick(b.s));
    }
    CHECK_EQ(far_records(&b), 0);
    far_sound(&b);
    box_close(&b);
}

/* As many as there may be descriptors and more: none of them waits for the disk by itself. */
TEST(test_cold__many_files_are_brought_without_a_sync_of_each)
{
    char root[600], path[700], name[16];
    struct far f = {0};
    struct lying *d;
    struct box b;
    uint8_t p[10];

    snprintf(root, sizeof(root), "%s/disk", test_dir());
    snprintf(path, sizeof(path), "%s/store", root);
    CHECK_EQ(mkdir(root, 0700), 0);
    CHECK_OK(lying_new(root, &d));
    box_open(&b, lying_io(d), path);
    far_begin(&b, &f);
    for (unsigned i = 0; i < 60; i++) {
        struct cold_run run = far_run(i, 0, 1);
        snprintf(name, sizeof(name), "f%u", i);
        far_file(&b, name, 1000, &run, 1);
    }
    box_close(&b);
    b.set.fd_cache = 8;
    box_attach(&b);
    far_connect(&b, &f);
    uint64_t before = lying_count(d, LYING_SYNC);
    for (unsigned i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        CHECK_OK(far_read(&b, name, p, 10, 0));
    }
    CHECK(lying_count(d, LYING_SYNC) <= before + 2); /* a directory was made */
    before = lying_count(d, LYING_SYNCFS);
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(lying_count(d, LYING_SYNCFS), before + 1);
    CHECK_EQ(far_records(&b), 0);
    far_sound(&b);
    box_close(&b);
    lying_free(d);
}

/* --- release ------------------------------------------------------------------------------------------------------------------ */

TEST(test_cold__a_released_object_gives_its_space_back_and_comes_again)
{
    uint8_t *want = malloc(MIB);
    struct far f = {0};
    struct cold_run run = far_run(9, 0, 256);
    uint64_t object, before;
    struct txn t;
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_bytes(want, MIB, &run, 1);
    box_write(&b, b.v, "a", want, MIB, 0);
    far_expect(&b, "a", want, MIB, 0);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL)); /* it is frozen */
    CHECK_OK(store_sync(b.s));
    (void)object_file(&b, "a", &object);
    before = box_disk_blocks(&b);
    struct cold_range range = {.object = object, .first = 0, .blocks = 200, .source = 1, .ref = run.ref};
    CHECK_OK(txn_begin(b.s, TXN_WRITE, OP_COLD, b.v, &t));
    CHECK_OK(cold_release(&t, &range));
    CHECK_ERR(cold_range_put(&t, &range), -E_EXIST);
    CHECK_OK(txn_commit(&t));
    far_expect(&b, "a", want, 100 * BLOCK_SIZE, 0); /* before it is punched */
    CHECK_EQ(f.calls, 1);
    box_sound(&b);
    CHECK_EQ(box_disk_blocks(&b), before); /* for all of it came back */
    far_sound(&b);
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(far_records(&b), 0);
    CHECK_OK(txn_begin(b.s, TXN_WRITE, OP_COLD, b.v, &t));
    CHECK_OK(cold_release(&t, &range));
    CHECK_OK(txn_commit(&t));
    box_sound(&b);
    CHECK_EQ(box_disk_blocks(&b), before - 200);
    far_sound(&b);
    far_expect(&b, "a", want, MIB, 0);
    CHECK_EQ(f.calls, 2);
    far_sound(&b);
    box_close(&b);
    free(want);
}

/* --- what is left, and what is known of it ------------------------------------------------------------------------------------- */

TEST(test_cold__hydration_begins_with_what_was_read_last)
{
    struct cold_cursor cur = {0};
    struct cold_range range;
    struct far f = {0};
    struct cold_stat st;
    char name[20];
    uint8_t p[10];
    uint64_t object, n = 0;
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    for (unsigned i = 0; i < 20; i++) {
        struct cold_run run = far_run(i, 0, 600);
        snprintf(name, sizeof(name), "f%u", i);
        far_file(&b, name, 600 * BLOCK_SIZE, &run, 1);
    }
    box_fill(&b, b.v, "local", 0, MIB, 1);
    CHECK_OK(cold_stat(b.v, &st));
    CHECK_EQ(st.remote_bytes, 20 * 600 * BLOCK_SIZE);
    CHECK_EQ(st.local_bytes, MIB);
    CHECK_EQ(st.objects, 20);
    CHECK_OK(far_read(&b, "f13", p, 10, 300 * BLOCK_SIZE));
    (void)object_file(&b, "f13", &object);
    CHECK_EQ(cold_next(b.s, b.v->rec.id, &cur, &range), 1);
    CHECK_EQ(range.object, object);
    CHECK_EQ(range.first, 0);
    CHECK_EQ(range.blocks, 256);
    while (cold_next(b.s, b.v->rec.id, &cur, &range) == 1) {
        CHECK_OK(cold_recall(b.s, range.object, range.first, range.blocks));
        CHECK(++n < 100);
    }
    CHECK_EQ(n, 59);
    CHECK_EQ(f.blocks, 20 * 600);
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(far_records(&b), 0);
    CHECK_EQ(cold_next(b.s, 0, &(struct cold_cursor){0}, &range), 0);
    far_sound(&b);
    box_close(&b);
}

TEST(test_cold__sources_are_kept_while_they_are_named)
{
    cleanup(buf_free) struct buf text = {0};
    struct cold_run run = far_run(1, 0, 1);
    struct far f = {0};
    uint32_t other;
    struct txn t;
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_ERR(cold_source_put(b.s, "x", 1, &other), -E_NOTSUP);
    CHECK_OK(txn_begin(b.s, TXN_WRITE, OP_COLD, b.v, &t));
    CHECK_ERR(cold_object_new(&t, b.v, 5, &(uint64_t){0}), -E_NOTSUP);
    txn_abort(&t);
    far_begin(&b, &f);
    far_file(&b, "a", 100, &run, 1);
    CHECK_OK(cold_source_put(b.s, "another", 7, &other));
    CHECK_EQ(other, 2);
    CHECK_ERR(cold_source_del(b.s, 1), -E_BUSY);
    CHECK_OK(cold_source_del(b.s, 2));
    CHECK_ERR(cold_source_get(b.s, 2, &text), -E_NOENT);
    CHECK_OK(cold_source_set(b.s, 1, "moved", 5));
    box_die(&b);
    CHECK_OK(cold_source_get(b.s, 1, &text));
    CHECK(text.len == 5 && memcmp(text.data, "moved", 5) == 0);
    box_close(&b);
}

TEST(test_cold__check_finds_what_is_wrong)
{
    struct cold_run run = far_run(1, 0, 100);
    uint8_t k[KEY_SIZE_MAX];
    struct far f = {0};
    struct box b;
    struct txn t;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", 100 * BLOCK_SIZE, &run, 1);
    far_sound(&b);
    k[0] = TAB_COLD;
    put_be64(k + 1, 1);
    put_be64(k + 9, 90);
    uint8_t val[13] = {10};
    CHECK_OK(txn_begin(b.s, TXN_WRITE, OP_COLD, b.v, &t));
    CHECK_OK(txn_put_plain(&t, k, 17, val, sizeof(val))); /* blocks 80 to 89 once more, of source 0 */
    CHECK_OK(txn_commit(&t));
    CHECK_EQ(far_problems(&b, false), 3); /* and the blocks below 80 are not found */
    CHECK_OK(txn_begin(b.s, TXN_WRITE, OP_COLD, b.v, &t));
    CHECK_OK(txn_del(&t, KEEP_FIRM, (struct txn_owner){0}, k, 17));
    put_be64(k + 9, 100);
    CHECK_OK(txn_del(&t, KEEP_FIRM, (struct txn_owner){0}, k, 17));
    CHECK_OK(txn_commit(&t));
    CHECK_EQ(far_problems(&b, false), 1); /* blocks that are neither there nor elsewhere */
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
