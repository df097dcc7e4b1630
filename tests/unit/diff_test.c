/* The diff of two states, told entry by entry. */
#include "snap/diff.h"

#include <sys/stat.h>

#include "tests/lib/box.h"
#include "tests/lib/test.h"

/* "M a 0+4096\n": kind, path (for a renamed one the old name, too), meta, ranges. */
static int tell(void *arg, const struct diff_entry *e)
{
    struct buf *out = arg;

    CHECK_OK(buf_printf(out, "%c %s", e->kind, *e->path ? e->path : "/"));
    if (e->old_path)
        CHECK_OK(buf_printf(out, " < %s", e->old_path));
    if (e->meta)
        CHECK_OK(buf_puts(out, " meta"));
    for (size_t i = 0; i < e->nranges; i++)
        CHECK_OK(buf_printf(out, " %llu+%llu", (unsigned long long)e->ranges[i].off_bytes,
                            (unsigned long long)e->ranges[i].len_bytes));
    return buf_puts(out, "\n");
}

static void expect(struct box *b, const char *from, const char *to, const char *want)
{
    cleanup(buf_free) struct buf got = {0};

    CHECK_OK(diff_run(b->v, from, to, tell, &got));
    if (strcmp(got.len ? buf_cstr(&got) : "", want) != 0)
        test_fail(__FILE__, __LINE__, "%s to %s: got\n%swant\n%s", from, to ? to : "now",
                  got.len ? buf_cstr(&got) : "", want);
}

static void snap(struct box *b, const char *name)
{
    CHECK_OK(snap_create(b->v, &b->c, name, NULL));
}

/* A file in objects and a small one: blocks for the one, the whole for the other. */
TEST(test_diff__F15_written_blocks_are_told)
{
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "large", 0, 1 << 20, 1);
    box_text(&b, b.v, "small", "before");
    box_fill(&b, b.v, "left", 0, 1 << 20, 2);
    snap(&b, "s1");
    box_fill(&b, b.v, "large", 40960, 4096, 3);
    box_fill(&b, b.v, "large", 49152, 4096, 4);
    snap(&b, "s2");
    box_text(&b, b.v, "small", "after it");
    expect(&b, "s1", "s2", "M large meta 40960+4096 49152+4096\n");
    expect(&b, "s2", NULL, "M small meta 0+8\n");
    expect(&b, "s1", NULL, "M large meta 40960+4096 49152+4096\nM small meta 0+8\n");
    box_reopen(&b);
    expect(&b, "s1", NULL, "M large meta 40960+4096 49152+4096\nM small meta 0+8\n");
    expect(&b, "s1", "s1", "");
    box_close(&b);
}

TEST(test_diff__F15_names_are_told)
{
    struct box b;

    box_open(&b, NULL, NULL);
    box_mkdir(&b, b.v, "d");
    box_text(&b, b.v, "d/gone", "x");
    box_text(&b, b.v, "d/old", "y");
    snap(&b, "s1");
    box_remove(&b, b.v, "d/gone");
    box_rename(&b, b.v, "d/old", "new");
    box_text(&b, b.v, "d/made", "z");
    snap(&b, "s2");
    expect(&b, "s1", "s2", "M / meta\nM d meta\n- d/gone\n+ d/made meta 0+1\nR new < d/old meta\n");
    /* backwards */
    expect(&b, "s2", "s1", "M / meta\nM d meta\n+ d/gone meta 0+1\n- d/made\nR d/old < new meta\n");
    box_close(&b);
}

/* What lies between goes; what it says of changes must not go with it. */
TEST(test_diff__F15_a_deleted_snapshot_between_hides_nothing)
{
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 1 << 20, 1);
    snap(&b, "s1");
    box_fill(&b, b.v, "f", 8192, 4096, 2);
    snap(&b, "s2");
    box_fill(&b, b.v, "f", 16384, 4096, 3);
    snap(&b, "s3");
    CHECK_OK(snap_delete(b.v, &b.c, "s2"));
    CHECK_OK(store_reclaim_idle(b.s));
    expect(&b, "s1", "s3", "M f meta 8192+4096 16384+4096\n");
    box_sound(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
