/* Bytes that lie elsewhere, where something fails: fetching, the disk, a store that is not written. */
#include <sys/stat.h>

#include "tests/lib/lying.h"
#include "tests/unit/cold_case.h"

TEST(test_cold__a_failed_fetch_is_an_error_once_and_works_again_later)
{
    struct cold_run run = far_run(7, 0, 10);
    uint8_t p[100], want[100];
    struct far f = {.fail = -E_TIMEOUT};
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", sizeof(want), &run, 1);
    far_bytes(want, sizeof(want), &run, 1);
    CHECK_ERR(far_read(&b, "a", p, sizeof(p), 0), -E_IO);
    CHECK_EQ(f.calls, 1);
    CHECK_EQ(f.failed, 1);
    CHECK_ERR(vfs_write(b.v, &b.c, box_node(b.v, box_root(b.v), "a"), "x", 1, 50, false), -E_IO);
    box_text(&b, b.v, "other", "the store is written all the same");
    store_set_cold(b.s, NULL);
    CHECK_ERR(far_read(&b, "a", p, sizeof(p), 0), -E_IO);
    CHECK_EQ(f.calls, 2);
    f.fail = 0;
    far_connect(&b, &f);
    far_expect(&b, "a", want, sizeof(want), 0);
    far_sound(&b);
    box_close(&b);
}

/* A store on a disk that fails when told so. */
static struct lying *disk_begin(struct box *b, struct far *f)
{
    char root[600], path[700];
    struct lying *d;

    snprintf(root, sizeof(root), "%s/disk", test_dir());
    snprintf(path, sizeof(path), "%s/store", root);
    CHECK_EQ(mkdir(root, 0700), 0);
    CHECK_OK(lying_new(root, &d));
    box_open(b, lying_io(d), path);
    far_begin(b, f);
    return d;
}

TEST(test_cold__a_full_disk_keeps_nobody_from_reading)
{
    struct cold_run runs[] = {far_run(1, 0, 300), far_run(2, 300, 10)};
    uint64_t size = 310 * BLOCK_SIZE;
    uint8_t *want = malloc(size);
    struct far f = {0};
    struct lying *d;
    struct box b;

    d = disk_begin(&b, &f);
    far_file(&b, "a", size, runs, 2);
    far_bytes(want, size, runs, 2);
    lying_fail_from(d, LYING_CREATE | LYING_WRITE, 1, -E_NOSPC);
    far_expect(&b, "a", want, size, 0);
    CHECK_EQ(f.calls, 3);
    far_expect(&b, "a", want + 400, 100, 400);
    CHECK_EQ(f.calls, 4);
    CHECK_ERR(cold_recall(b.s, 1, 0, 10), -E_NOSPC);
    lying_fail_off(d);
    far_expect(&b, "a", want, size, 0);
    CHECK_EQ(f.calls, 8);
    far_expect(&b, "a", want, size, 0);
    CHECK_EQ(f.calls, 8);
    far_sound(&b);
    box_close(&b);
    lying_free(d);
    free(want);
}

/* More pieces than are noted at a time. */
TEST(test_cold__many_small_ranges_are_read_at_once_kept_or_not)
{
    struct cold_run runs[200];
    uint64_t size = 200 * BLOCK_SIZE;
    uint8_t *want = malloc(size);
    struct far f = {0};
    struct lying *d;
    struct box b;

    d = disk_begin(&b, &f);
    for (unsigned i = 0; i < 200; i++)
        runs[i] = far_run(i, i, 1);
    far_file(&b, "a", size, runs, 200);
    far_bytes(want, size, runs, 200);
    lying_fail_from(d, LYING_CREATE | LYING_WRITE, 1, -E_NOSPC);
    far_expect(&b, "a", want, size, 0);
    CHECK_EQ(f.calls, 200);
    lying_fail_off(d);
    far_expect(&b, "a", want, size, 0);
    CHECK_EQ(f.calls, 400);
    far_sound(&b);
    CHECK_OK(cold_settle(b.s));
    CHECK_EQ(far_records(&b), 0);
    far_sound(&b);
    box_close(&b);
    lying_free(d);
    free(want);
}

TEST(test_cold__a_store_that_is_not_written_is_read_all_the_same)
{
    struct cold_run run = far_run(7, 0, 300);
    uint64_t size = 300 * BLOCK_SIZE;
    uint8_t *want = malloc(size);
    struct far f = {0};
    char why[256];
    struct box b;

    box_open(&b, NULL, NULL);
    far_begin(&b, &f);
    far_file(&b, "a", size, &run, 1);
    far_bytes(want, size, &run, 1);
    far_expect(&b, "a", want, 100, 0);
    box_close(&b);
    CHECK_OK(store_open(b.io, b.path, &b.set, STORE_READONLY, &b.s, why));
    CHECK_OK(snap_attach(b.s));
    CHECK_OK(volume_find(b.s, "main", &b.v));
    far_connect(&b, &f);
    far_expect(&b, "a", want, size, 0);
    far_expect(&b, "a", want, size, 0);
    CHECK_EQ(f.calls, 1 + 2);
    CHECK_ERR(cold_begin(b.s), 0);
    CHECK_ERR(cold_recall(b.s, 1, 256, 10), -E_ROFS);
    box_close(&b);
    box_attach(&b);
    far_sound(&b);
    CHECK_EQ(far_records(&b), 1);
    box_close(&b);
    free(want);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
