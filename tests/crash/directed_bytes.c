/* Power cuts and the bytes of files: F1, F12. */
#include "tests/crash/case.h"

/* --- F1: data is ordered against the journal, file by file --------------------------------------------------------- */

static void look_redirect(struct world *w, void *arg)
{
    uint64_t a = find(w, "a");

    (void)arg;
    CHECK_EQ(size_of(w, a), MIB);
    only(w, node_of(w, a), 0, 5 * PAGE, "o");
    only(w, node_of(w, a), 5 * PAGE, PAGE, "on");
    only(w, node_of(w, a), 6 * PAGE, MIB - 6 * PAGE, "o");
}

WORLD_TEST(f1_fsync_of_another_file_does_not_expose_a_redirected_page, 4096)
{
    uint64_t a, b;

    two_files(w, &a, &b);
    put(w, a, 0, MIB, 'o');
    sync_file(w, a);
    CHECK_OK(snap_create(w->v, &nobody, "s", NULL));
    put(w, a, 5 * PAGE, PAGE, 'n');
    put(w, b, 0, 100, 'b');
    sync_file(w, b);
    cut_everywhere(w, look_redirect, NULL);
}

static void look_extension(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);

    (void)arg;
    CHECK(size == 3 * PAGE || size == 200 * PAGE);
    only(w, node_of(w, a), 0, 3 * PAGE, "o");
    if (size > 3 * PAGE)
        only(w, node_of(w, a), 3 * PAGE, size - 3 * PAGE, "n");
}

WORLD_TEST(f1_fsync_of_another_file_does_not_expose_a_longer_size, 4096)
{
    uint64_t a, b;

    two_files(w, &a, &b);
    put(w, a, 0, 3 * PAGE, 'o');
    sync_file(w, a);
    put(w, a, 3 * PAGE, 197 * PAGE, 'n');
    put(w, b, 0, 100, 'b');
    sync_file(w, b);
    cut_everywhere(w, look_extension, NULL);
    CHECK_OK(store_checkpoint(w->s)); /* nor does a commit of the tables */
    cut_everywhere(w, look_extension, NULL);
}

static void look_promotion(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);

    (void)arg;
    CHECK(size == 3000 || size == 90000);
    only(w, node_of(w, a), 0, 3000, "o");
    if (size > 3000)
        only(w, node_of(w, a), 3000, size - 3000, "n");
}

WORLD_TEST(f1_a_small_file_that_outgrows_the_tables_keeps_its_bytes, 4096)
{
    uint64_t a, b;

    two_files(w, &a, &b);
    put(w, a, 0, 3000, 'o');
    sync_file(w, a);
    put(w, a, 3000, 87000, 'n');
    put(w, b, 0, 100, 'b');
    sync_file(w, b);
    cut_everywhere(w, look_promotion, NULL);
}

static void look_replaced(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);

    (void)arg;
    CHECK(a != 0);
    CHECK(size == 300000 || size == 400000);
    only(w, node_of(w, a), 0, size, size == 300000 ? "o" : "n");
}

WORLD_TEST(f1_a_file_replaced_by_rename_is_old_or_new, 4096)
{
    uint64_t a, b, tmp;

    two_files(w, &a, &b);
    put(w, a, 0, 300000, 'o');
    sync_file(w, a);
    tmp = file_new(w, "tmp");
    put(w, tmp, 0, 400000, 'n');
    CHECK_OK(vfs_rename(w->v, &nobody, node_of(w, INO_ROOT), "tmp", node_of(w, INO_ROOT), "a", 0));
    CHECK_OK(vfs_orphan_drop(w->v, a));
    cut_everywhere(w, look_replaced, NULL);
    put(w, b, 0, 100, 'b');
    sync_file(w, b);
    cut_everywhere(w, look_replaced, NULL);
}

static void look_synced(struct world *w, void *arg)
{
    uint64_t a = find(w, "a");
    const uint64_t *size = arg;

    CHECK_EQ(size_of(w, a), *size);
    only(w, node_of(w, a), 0, *size, "n");
}

TEST(f1_what_fsync_promised_is_there)
{
    static const uint64_t sizes[] = {10, 3000, 4097, 60000, 70000, 900000};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t size = sizes[i], a;
        struct world w;

        world_new(&w, 4096);
        a = file_new(&w, "a");
        put(&w, a, 0, size, 'o');
        sync_file(&w, a);
        put(&w, a, 0, size, 'n');
        sync_file(&w, a);
        cut_everywhere(&w, look_synced, &size);
        world_end(&w);
        CHECK_OK(0);
    }
}

struct content {
    uint64_t len;
    const char *letters;
};

/* "b" has this length, and no other bytes than these. */
static void look_copy(struct world *w, void *arg)
{
    const struct content *c = arg;
    uint64_t b = find(w, "b");

    CHECK_EQ(size_of(w, b), c->len);
    only(w, node_of(w, b), 0, c->len, c->letters);
}

/* All of "a" to "b", which is synced: it stands after every cut. */
static void copy_and_sync(struct world *w, uint64_t a, uint64_t b, struct content c)
{
    uint64_t len = 0;

    CHECK_OK(vfs_copy(w->v, &nobody, node_of(w, a), 0, node_of(w, b), 0, c.len, &len));
    CHECK_EQ(len, c.len);
    sync_file(w, b);
    cut_everywhere(w, look_copy, &c);
}

WORLD_TEST(f1_fsync_of_a_copy_syncs_the_bytes_that_it_shares, 4096)
{
    uint64_t a, b;

    two_files(w, &a, &b);
    put(w, a, 0, 40 * PAGE, 's');
    copy_and_sync(w, a, b, (struct content){40 * PAGE, "s"});
}

/* The source's small fsync left its bytes in the journal; what was written over them since is what the copy shares. */
WORLD_TEST(f1_fsync_of_a_copy_is_not_undone_by_an_older_one_of_its_source, 512)
{
    uint64_t a, b;

    two_files(w, &a, &b);
    put(w, a, 0, 4 * PAGE, 'o');
    sync_file(w, a);
    put(w, a, 0, 4 * PAGE, 'n');
    copy_and_sync(w, a, b, (struct content){4 * PAGE, "n"});
}

/* --- F12: shrinking never shows old bytes again, and never takes durable ones early ---------------------------------- */

static void look_truncated(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);

    (void)arg;
    CHECK(size == 500000 || size == 0 || size == 2000 || size == 100000);
    only(w, node_of(w, a), 0, size, size == 500000 ? "o" : "n");
}

WORLD_TEST(f12_a_truncated_file_keeps_its_old_bytes_until_the_cut_is_durable, 4096)
{
    uint64_t a;

    a = file_new(w, "a");
    put(w, a, 0, 500000, 'o');
    sync_file(w, a);
    truncate_to(w, a, 0);
    CHECK_OK(store_reclaim_idle(w->s));
    cut_everywhere(w, look_truncated, NULL);
    put(w, a, 0, 100000, 'n');
    CHECK_OK(store_reclaim_idle(w->s));
    cut_everywhere(w, look_truncated, NULL);
}

static void look_zeros(struct world *w, void *arg)
{
    uint64_t a = find(w, "a"), size = size_of(w, a);
    uint8_t p[20000];
    size_t len = 0;

    (void)arg;
    CHECK(size == 500000 || size == 5000 || size == 20000);
    if (size != 20000)
        return;
    CHECK_OK(vfs_read(w->v, node_of(w, a), p, sizeof(p), 0, &len));
    for (size_t i = 5000; i < len; i++)
        CHECK_EQ(p[i], 0);
}

WORLD_TEST(f12_growing_again_reads_zeros, 4096)
{
    uint64_t a;

    a = file_new(w, "a");
    put(w, a, 0, 500000, 'o');
    sync_file(w, a);
    truncate_to(w, a, 5000);
    truncate_to(w, a, 20000);
    look_zeros(w, NULL);
    cut_everywhere(w, look_zeros, NULL);
    sync_file(w, a);
    cut_everywhere(w, look_zeros, NULL);
}
