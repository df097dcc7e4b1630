/* Which files a policy finds, by a false clock, and what looking for them costs. */
#include "tier/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "snap/check.h"
#include "snap/tier.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

#define SECOND 1000000000ll
#define DAY 86400ll
#define POLICY 7 /* an id, and what makes others of it */

static struct tier_policy cold = {
    .what = TIER_COLD, .by_access = true, .after_s = 30 * DAY, .least_bytes = 4096};
static struct tier_policy all = {.what = TIER_ALL};
static int64_t now;
static struct sweep_counts counts;

static void at(int64_t s)
{
    now = s;
    clock_test_set(s * SECOND, s * SECOND);
}

static void begin(struct box *b)
{
    log_set_level(LOG_ERROR);
    at(20000 * DAY);
    box_open(b, NULL, NULL);
}

static void end(struct box *b)
{
    box_sound(b);
    box_close(b);
    clock_test_off();
}

static void file(struct box *b, const char *path)
{
    box_fill(b, b->v, path, 0, 40000, 1);
}

static void look(struct box *b, const char *path)
{
    uint8_t byte;
    size_t n;

    CHECK_OK(vfs_read(b->v, box_node(b->v, box_root(b->v), path), &byte, 1, 0, &n));
}

/* Names of what a sweep gives, in its order, up to most of them. */
static const char *swept_some(struct box *b, const struct tier_policy *p, const char *snap, bool full,
                              unsigned most, bool done)
{
    static char text[2000];
    struct layer_rec rec;
    struct sweep *sw;
    uint64_t ino;
    int r;

    text[0] = 0;
    CHECK_OK(snap_find(b->v, snap, &rec));
    CHECK_OK(sweep_begin(b->v, &rec, p, POLICY + p->what, full, now, &sw));
    while (most-- > 0 && (r = sweep_next(sw, &ino)) != 0) {
        cleanup(buf_free) struct buf path = {0};
        char number[32];
        struct txn t;
        size_t n = strlen(text);

        CHECK_OK(r);
        snprintf(number, sizeof(number), "%llu", (unsigned long long)ino);
        CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, b->v, &t));
        r = tier_path(&t, vol_now(b->v), ino, &path);
        txn_abort(&t);
        snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "", r == 0 ? buf_cstr(&path) : "-");
    }
    sweep_get_counts(sw, &counts);
    CHECK_OK(sweep_end(sw, done));
    return text;
}

static const char *swept(struct box *b, const struct tier_policy *p, const char *snap, bool full)
{
    return swept_some(b, p, snap, full, UINT32_MAX, true);
}

static void gives(struct box *b, const char *snap, const char *want)
{
    const char *have = swept(b, &cold, snap, false);

    if (strcmp(have, want) != 0)
        test_fail(__FILE__, __LINE__, "at day %lld %s gives \"%s\", not \"%s\"",
                  (long long)(now / DAY - 20000), snap, have, want);
}

static void snap(struct box *b, const char *name)
{
    CHECK_OK(snap_create(b->v, &b->c, name, NULL));
}

TEST(test_tier_sweep__each_file_comes_when_it_is_old)
{
    struct box b;

    begin(&b);
    file(&b, "a");
    box_text(&b, b.v, "small", "x");
    box_mkdir(&b, b.v, "d");
    file(&b, "d/b");
    snap(&b, "s1");
    gives(&b, "s1", "");
    at(now + 10 * DAY);
    file(&b, "c");
    box_fill(&b, b.v, "d/b", 0, 10, 2); /* changed again */
    snap(&b, "s2");
    at(now + 20 * DAY - 1);
    gives(&b, "s2", "");
    at(now + 1);
    gives(&b, "s2", "a");
    gives(&b, "s2", "");
    at(now + 10 * DAY);
    gives(&b, "s2", "d/b c");
    at(now + 100 * DAY);
    gives(&b, "s2", "");
    end(&b);
}

TEST(test_tier_sweep__who_is_read_waits)
{
    struct box b;

    begin(&b);
    file(&b, "read");
    file(&b, "other");
    snap(&b, "s");
    CHECK_OK(idle_follow(b.v, DAY, true));
    at(now + 25 * DAY);
    for (int i = 0; i < 10; i++)
        look(&b, "read");
    CHECK_OK(idle_flush(b.s));
    at(now + 4 * DAY);
    look(&b, "read"); /* again: one record, one place */
    CHECK_OK(idle_flush(b.s));
    CHECK_EQ(box_records(&b, TAB_READ, b.v->rec.id), 1);
    CHECK_EQ(box_records(&b, TAB_IDLE, b.v->rec.id), 1);
    box_reopen(&b);
    at(now + 2 * DAY);
    gives(&b, "s", "other");
    at(now + 25 * DAY);
    gives(&b, "s", "");
    at(now + 5 * DAY); /* 30 days and what was rounded up */
    gives(&b, "s", "read");
    CHECK_EQ(box_records(&b, TAB_READ, b.v->rec.id), 0);
    CHECK_EQ(box_records(&b, TAB_IDLE, b.v->rec.id), 0);
    end(&b);
}

/* By change, reading is none; but what had to be brought stays for as long. */
/* However many in front of it are read again and again. */
TEST(test_tier_sweep__who_is_not_read_any_more_comes_behind_all_who_are)
{
    struct box b;
    char name[16];

    begin(&b);
    for (unsigned i = 0; i <= 600; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        file(&b, name);
    }
    snap(&b, "s1");
    CHECK_OK(idle_follow(b.v, DAY, true));
    at(now + 2 * DAY);
    for (unsigned i = 0; i <= 600; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        look(&b, name);
    }
    CHECK_OK(idle_flush(b.s));
    at(now + 29 * DAY);
    gives(&b, "s1", "");
    for (unsigned i = 0; i < 600; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        look(&b, name);
    }
    CHECK_OK(idle_flush(b.s));
    at(now + 3 * DAY);
    gives(&b, "s1", "f600");
    gives(&b, "s1", "");
    end(&b);
}

TEST(test_tier_sweep__reads_count_as_they_are_asked_to)
{
    struct box b;

    begin(&b);
    file(&b, "f");
    snap(&b, "s");
    CHECK_OK(idle_follow(b.v, 3600, false));
    at(now + 29 * DAY);
    look(&b, "f");
    idle_note(b.v, 12345, true); /* of one that is not there */
    CHECK_OK(idle_flush(b.s));
    CHECK_EQ(box_records(&b, TAB_READ, b.v->rec.id), 0);
    idle_note(b.v, vfs_node_ino(box_node(b.v, box_root(b.v), "f")), true);
    CHECK_OK(idle_flush(b.s));
    CHECK_EQ(box_records(&b, TAB_READ, b.v->rec.id), 1);
    CHECK_OK(idle_follow(b.v, 0, false));
    at(now + DAY);
    gives(&b, "s", "");
    end(&b);
}

/* Files that came with old times are found when their layer is new. */
TEST(test_tier_sweep__old_times_count_at_once)
{
    struct vfs_setattr set = {.set = VFS_MTIME | VFS_ATIME};
    struct box b;

    begin(&b);
    file(&b, "old");
    file(&b, "new");
    set.atime.tv_sec = set.mtime.tv_sec = now - 40 * DAY;
    CHECK_OK(vfs_setattr(b.v, &b.c, box_node(b.v, box_root(b.v), "old"), &set, NULL));
    snap(&b, "s");
    gives(&b, "s", "old");
    gives(&b, "s", "");
    at(now + 30 * DAY);
    gives(&b, "s", "old new"); /* once more: nothing is left to do for it */
    end(&b);
}

TEST(test_tier_sweep__clocks_that_were_wrong_keep_nothing_for_ever)
{
    struct vfs_setattr set = {.set = VFS_MTIME | VFS_ATIME};
    struct box b;

    begin(&b);
    at(now + 4000 * DAY); /* ahead */
    file(&b, "ahead");
    CHECK_OK(idle_follow(b.v, DAY, true));
    snap(&b, "s1");
    look(&b, "ahead");
    CHECK_OK(idle_flush(b.s));
    at(now - 4000 * DAY);
    file(&b, "set");
    set.atime.tv_sec = set.mtime.tv_sec = now + 400 * DAY;
    CHECK_OK(vfs_setattr(b.v, &b.c, box_node(b.v, box_root(b.v), "set"), &set, NULL));
    file(&b, "right");
    snap(&b, "s2"); /* its time is not before that of the one before */
    gives(&b, "s2", "");
    at(now + 29 * DAY);
    gives(&b, "s2", "");
    at(now + 2 * DAY);
    CHECK(strlen(swept(&b, &cold, "s2", false)) == strlen("ahead set right"));
    end(&b);
}

TEST(test_tier_sweep__deleted_files_and_other_branches)
{
    struct box b;

    begin(&b);
    file(&b, "a");
    file(&b, "gone");
    snap(&b, "s1");
    at(now + DAY);
    box_remove(&b, b.v, "gone");
    file(&b, "late");
    snap(&b, "s2");
    gives(&b, "s2", ""); /* the newest does not have it: that is another matter */
    box_remove(&b, b.v, "a");
    gives(&b, "s1", "");
    CHECK(strcmp(swept_some(&b, &all, "s1", false, 9, false), "- -") == 0);
    CHECK_OK(snap_rollback(b.v, &b.c, "s1", NULL));
    file(&b, "other");
    snap(&b, "s3");
    at(now + 31 * DAY);
    gives(&b, "s3", "a gone other");
    gives(&b, "s3", "");
    snap_delete(b.v, &b.c, "s1");
    CHECK_OK(store_reclaim_idle(b.s));
    gives(&b, "s3", "");
    end(&b);
}

TEST(test_tier_sweep__room_is_made_from_the_oldest)
{
    static const char *const names[] = {"f3", "f1", "f4", "f2"};
    static const int age[] = {3, 9, 2, 5};
    struct vfs_setattr set = {.set = VFS_MTIME | VFS_ATIME};
    struct tier_policy level = {.what = TIER_COLD, .by_access = true, .high_pct = 80, .low_pct = 70};
    struct box b;

    begin(&b);
    CHECK_OK(idle_follow(b.v, 3600, true));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        file(&b, names[i]);
        set.atime.tv_sec = set.mtime.tv_sec = now - age[i] * DAY;
        CHECK_OK(vfs_setattr(b.v, &b.c, box_node(b.v, box_root(b.v), names[i]), &set, NULL));
    }
    snap(&b, "s1");
    at(now + DAY);
    file(&b, "g");
    snap(&b, "s2");
    CHECK(strcmp(swept(&b, &level, "s2", false), "") == 0); /* nobody wants room */
    CHECK(strcmp(swept_some(&b, &level, "s2", true, 2, true), "f1 f2") == 0);
    at(now + DAY);
    look(&b, "f3");
    CHECK(strcmp(swept_some(&b, &level, "s2", true, 3, false), "f1 f2 f4") == 0);
    CHECK(strcmp(swept(&b, &level, "s2", true), "f1 f2 f4 g f3") == 0);
    CHECK(strcmp(swept(&b, &level, "s2", true), "f3") == 0); /* it is in the queue until it is old */
    end(&b);
}

TEST(test_tier_sweep__patterns_are_of_paths)
{
    struct tier_policy p = cold;
    struct box b;

    begin(&b);
    box_mkdir(&b, b.v, "archive");
    file(&b, "archive/x");
    file(&b, "film.mp4");
    file(&b, "y");
    snap(&b, "s");
    at(now + 31 * DAY);
    p.pattern = "archive|*.mp4";
    CHECK(strcmp(swept(&b, &p, "s", false), "archive/x film.mp4") == 0);
    end(&b);
}

/* 100 of many become old: what is looked at follows from them. MANY=10000000 SIZE=100 for the figure of the whole. */
TEST(test_tier_sweep__costs_what_became_eligible)
{
    unsigned many = getenv("MANY") ? (unsigned)strtoul(getenv("MANY"), NULL, 10) : 3000;
    size_t size = getenv("SIZE") ? strtoul(getenv("SIZE"), NULL, 10) : 20000;
    struct box b;
    int64_t t0;

    begin(&b);
    for (unsigned i = 0; i < 100; i++) {
        char name[32];

        snprintf(name, sizeof(name), "old%u", i);
        file(&b, name);
    }
    snap(&b, "s0");
    at(now + 10 * DAY);
    for (unsigned i = 0; i < many; i++) {
        char name[32];

        snprintf(name, sizeof(name), "f%u", i);
        box_fill(&b, b.v, name, 0, size, 1);
    }
    snap(&b, "s1");
    gives(&b, "s1", ""); /* each once, when it is new */
    CHECK(counts.looked >= many);
    at(now + 10 * DAY);
    gives(&b, "s1", "");
    CHECK(counts.looked < 20);
    at(now + 10 * DAY);
    clock_test_off();
    t0 = clock_mono_ns();
    at(now);
    swept(&b, &cold, "s1", false);
    clock_test_off();
    printf("    100 of %u files: %llu looked at, %.1f ms\n", many, (unsigned long long)counts.looked,
           (double)(clock_mono_ns() - t0) / 1e6);
    at(now);
    CHECK_EQ(counts.given, 100);
    CHECK(counts.looked < 100 * 4);
    box_close(&b);
    clock_test_off();
}

static void line(void *arg, const char *text)
{
    (void)arg;
    if (!strstr(text, ": 0 problems"))
        printf("%s\n", text);
}

static void checked(struct box *b)
{
    struct check_result res;

    CHECK_OK(check_store(b->s, &(struct check_opts){.quiet = true, .say = line}, &res));
    CHECK_EQ(res.problems, 0);
}

TEST(test_tier_sweep__what_is_noted_is_checked_and_forgotten)
{
    struct box b;

    begin(&b);
    file(&b, "f");
    snap(&b, "s");
    CHECK_OK(idle_follow(b.v, 3600, true));
    look(&b, "f");
    gives(&b, "s", "");
    CHECK_EQ(box_records(&b, TAB_READ, b.v->rec.id), 1);
    CHECK_EQ(box_records(&b, TAB_SWEEP, b.v->rec.id), 1);
    checked(&b);
    CHECK_OK(idle_drop(b.v, &(struct idle_entry){.stamp_s = 1, .ino = 99}, 1)); /* is not there */
    checked(&b);
    for (uint64_t id = 1; id < 40; id++)
        CHECK_OK(idle_sweep_put(b.v, id, &(struct idle_sweep){.replaced = 1}));
    CHECK(box_records(&b, TAB_SWEEP, b.v->rec.id) <= IDLE_SWEEPS);
    CHECK_OK(idle_sweep_reset(b.v));
    CHECK_EQ(box_records(&b, TAB_SWEEP, b.v->rec.id), 0);
    end(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
