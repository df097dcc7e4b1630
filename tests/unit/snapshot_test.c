#include "snap/snapshot.h"

#include <pthread.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "snap/store/journal.h"
#include "tests/lib/box.h"
#include "tests/lib/lying.h"
#include "tests/lib/test.h"

#define T0 1795212000000000000ll /* 2026-11-20T22:00:00Z */
#define SECOND 1000000000ll

TEST(test_snapshot__names_are_checked)
{
    CHECK_OK(snap_name_check("a b.c"));
    CHECK_ERR(snap_name_check(""), -E_NAME);
    CHECK_ERR(snap_name_check(".hidden"), -E_NAME);
    CHECK_ERR(snap_name_check("@latest"), -E_NAME);
    CHECK_ERR(snap_name_check("x.json"), -E_NAME);
    CHECK_ERR(snap_name_check("a/b"), -E_NAME);
    CHECK_ERR(snap_name_check("a\tb"), -E_NAME);
}

struct names {
    char text[512];
};

static int add_name(void *arg, const struct layer_rec *rec, const char *text, size_t text_len)
{
    struct names *n = arg;

    (void)text;
    (void)text_len;
    snprintf(n->text + strlen(n->text), sizeof(n->text) - strlen(n->text), "%s ", rec->name);
    return 0;
}

static void check_list(struct vol *v, const char *want)
{
    struct names n = {""};

    CHECK_OK(snap_each(v, add_name, &n));
    if (strcmp(n.text, want) != 0)
        test_fail(__FILE__, __LINE__, "list is \"%s\", want \"%s\"", n.text, want);
}

TEST(test_snapshot__list_rename_delete)
{
    struct layer_rec rec;
    uint64_t change;
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_OK(snap_create(b.v, &b.c, "a", &rec));
    CHECK_EQ(rec.number, 1);
    CHECK_EQ(rec.inodes, 1);
    change = snap_list_change(b.v);
    CHECK_OK(snap_create(b.v, &b.c, "b", &rec));
    CHECK(snap_list_change(b.v) > change);
    CHECK_EQ(rec.number, 2);
    CHECK_ERR(snap_create(b.v, &b.c, "a", NULL), -E_EXIST);
    check_list(b.v, "a b ");
    CHECK_ERR(snap_rename(b.v, &b.c, "a", "b"), -E_EXIST);
    CHECK_ERR(snap_rename(b.v, &b.c, "x", "y"), -E_NOENT);
    CHECK_ERR(snap_rename(b.v, &b.c, "a", ".y"), -E_NAME);
    CHECK_OK(snap_rename(b.v, &b.c, "a", "c"));
    CHECK_ERR(snap_find(b.v, "a", &rec), -E_NOENT);
    check_list(b.v, "c b ");
    box_reopen(&b);
    check_list(b.v, "c b ");
    CHECK_OK(snap_delete(b.v, &b.c, "c"));
    CHECK_ERR(snap_delete(b.v, &b.c, "c"), -E_NOENT);
    check_list(b.v, "b ");
    CHECK_OK(snap_create(b.v, &b.c, "c", &rec));
    CHECK_EQ(rec.number, 3);
    box_sound(&b);
    box_close(&b);
}

TEST(test_snapshot__time_names_mean_the_newest_not_later)
{
    struct layer_rec rec;
    struct box b;

    clock_test_set(T0, SECOND);
    box_open(&b, NULL, NULL);
    CHECK_ERR(snap_find(b.v, "@latest", &rec), -E_NOENT);
    CHECK_OK(snap_create(b.v, &b.c, NULL, &rec));
    CHECK(strcmp(rec.name, "2026-11-20T22-00-00Z") == 0);
    CHECK_OK(snap_create(b.v, &b.c, NULL, &rec));
    CHECK(strcmp(rec.name, "2026-11-20T22-00-00Z-1") == 0);
    clock_test_advance(60 * SECOND + 500000000);
    CHECK_OK(snap_create(b.v, &b.c, "later", &rec));
    CHECK_ERR(snap_find(b.v, "@2026-11-20T21:59:59Z", &rec), -E_NOENT);
    CHECK_OK(snap_find(b.v, "@2026-11-20T22:00:30Z", &rec));
    CHECK_EQ(rec.number, 2);
    CHECK_OK(snap_find(b.v, "@GMT-2026.11.20-22.00.30", &rec));
    CHECK_EQ(rec.number, 2);
    CHECK_OK(snap_find(b.v, "@GMT-2026.11.20-22.01.00", &rec)); /* taken within that second */
    CHECK_EQ(rec.number, 3);
    CHECK_OK(snap_find(b.v, "@latest", &rec));
    CHECK_EQ(rec.number, 3);
    CHECK_ERR(snap_find(b.v, "@yesterday", &rec), -E_NOENT);
    CHECK_ERR(snap_find(b.v, "@GMT-2026.11.20", &rec), -E_NOENT);
    box_close(&b);
    clock_test_off();
}

TEST(test_snapshot__a_clock_that_goes_back_does_not_turn_the_order_round)
{
    struct layer_rec first, second, third;
    struct box b;

    clock_test_set(T0, SECOND);
    box_open(&b, NULL, NULL);
    CHECK_OK(snap_create(b.v, &b.c, "a", &first));
    clock_test_advance(-3600 * SECOND);
    CHECK_OK(snap_create(b.v, &b.c, "b", &second));
    CHECK(second.taken_ns > first.taken_ns); /* as recovery points are told apart by it */
    box_reopen(&b);
    CHECK_OK(snap_create(b.v, &b.c, "c", &third));
    CHECK(third.taken_ns > second.taken_ns);
    box_close(&b);
    clock_test_off();
}

TEST(test_snapshot__held_ones_stay)
{
    cleanup(buf_free) struct buf text = {0};
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    CHECK_OK(snap_hold(b.v, "a", "audit"));
    CHECK_OK(snap_hold(b.v, "a", "audit"));
    CHECK_OK(snap_hold(b.v, "a", "backup"));
    CHECK_OK(snap_label(b.v, "a", "who", "me"));
    CHECK_OK(snap_label(b.v, "a", "who", "you"));
    CHECK_OK(snap_text(b.v, "a", &text));
    CHECK_EQ(text.len, sizeof("hold\0audit\0hold\0backup\0label\0who\0you"));
    CHECK(memcmp(text.data, "hold\0audit\0hold\0backup\0label\0who\0you", text.len) == 0);
    CHECK_ERR(snap_delete(b.v, &b.c, "a"), -E_HELD);
    CHECK_ERR(snap_release(b.v, "a", "nobody"), -E_NOENT);
    CHECK_OK(snap_release(b.v, "a", "audit"));
    CHECK_ERR(snap_delete(b.v, &b.c, "a"), -E_HELD);
    box_reopen(&b);
    CHECK_ERR(snap_delete(b.v, &b.c, "a"), -E_HELD);
    CHECK_OK(snap_release(b.v, "a", "backup"));
    CHECK_OK(snap_label(b.v, "a", "who", NULL));
    CHECK_ERR(snap_label(b.v, "a", "who", NULL), -E_NOENT);
    CHECK_OK(snap_delete(b.v, &b.c, "a"));
    box_close(&b);
}

/* Whoever held one lets it go also when somebody gave it another name meanwhile. */
TEST(test_snapshot__all_that_somebody_holds_are_let_go)
{
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    CHECK_OK(snap_create(b.v, &b.c, "b", NULL));
    CHECK_OK(snap_hold(b.v, "a", "tier-1"));
    CHECK_OK(snap_hold(b.v, "b", "tier-1"));
    CHECK_OK(snap_hold(b.v, "b", "tier-12"));
    CHECK_OK(snap_rename(b.v, &b.c, "a", "c"));
    CHECK_OK(snap_release_all(b.v, "tier-1"));
    CHECK_OK(snap_release_all(b.v, "tier-1"));
    CHECK_OK(snap_delete(b.v, &b.c, "c"));
    CHECK_ERR(snap_delete(b.v, &b.c, "b"), -E_HELD);
    box_close(&b);
}

TEST(test_snapshot__expired_ones_go_unless_held)
{
    struct layer_rec rec;
    struct box b;

    clock_test_set(T0, SECOND);
    box_open(&b, NULL, NULL);
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    CHECK_OK(snap_create(b.v, &b.c, "b", NULL));
    CHECK_OK(snap_create(b.v, &b.c, "c", NULL));
    CHECK_OK(snap_expire(b.v, "a", T0 + 10 * SECOND));
    CHECK_OK(snap_expire(b.v, "b", T0 + 10 * SECOND));
    CHECK_OK(snap_hold(b.v, "b", "x"));
    CHECK_OK(snap_expire_due(b.s));
    CHECK_OK(snap_find(b.v, "a", &rec));
    clock_test_advance(11 * SECOND);
    CHECK_OK(snap_expire_due(b.s));
    check_list(b.v, "b c ");
    box_close(&b);
    clock_test_off();
}

TEST(test_snapshot__a_group_is_one_record)
{
    struct layer_rec x, y;
    struct vol *v[2];
    struct box b;

    box_open(&b, NULL, NULL);
    v[0] = b.v;
    CHECK_OK(volume_create(b.s, "two", NULL, &v[1]));
    CHECK_OK(snap_create(v[1], &b.c, "taken", NULL));
    CHECK_ERR(snap_create_group(v, 2, "taken"), -E_EXIST);
    check_list(v[0], "");
    CHECK_OK(snap_create_group(v, 2, "g"));
    CHECK_OK(snap_find(v[0], "g", &x));
    CHECK_OK(snap_find(v[1], "g", &y));
    CHECK(uuid_equal(&x.group, &y.group) && !uuid_is_null(&x.group));
    CHECK_ERR(snap_create_group(v, 0, "h"), -E_INVAL);
    box_close(&b);
}

TEST(test_snapshot__limit_counts_what_snapshots_hold)
{
    struct volume_opts o = {.snap_limit = 1 << 20};
    struct volume_info info;
    struct vol *v;
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_OK(volume_create(b.s, "two", &o, &v));
    box_fill(&b, v, "f", 0, 2 << 20, 1);
    CHECK_OK(snap_create(v, &b.c, "a", NULL));
    CHECK_OK(snap_create(v, &b.c, "b", NULL)); /* they hold nothing of their own yet */
    CHECK_OK(volume_get_info(v, &info));
    CHECK_EQ(info.snapshot_bytes, 0);
    box_fill(&b, v, "f", 0, 2 << 20, 2);
    CHECK_OK(volume_get_info(v, &info));
    CHECK_EQ(info.snapshot_bytes, 2 << 20);
    CHECK_EQ(info.snapshots, 2);
    CHECK_ERR(snap_create(v, &b.c, "c", NULL), -E_SNAP_LIMIT);
    CHECK_OK(snap_delete(v, &b.c, "a"));
    CHECK_OK(snap_delete(v, &b.c, "b"));
    CHECK_OK(snap_create(v, &b.c, "c", NULL));
    box_sound(&b);
    box_close(&b);
}

/* F6: what a snapshot shows when it was answered it shows for ever, whoever writes meanwhile. */
struct writer {
    struct box *b;
    vfs_node n;
    bool stop;
    uint64_t seed;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;
    uint8_t page[20000];

    while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
        uint64_t x = test_rand(&w->seed);
        memset(page, (int)x, sizeof(page));
        CHECK_OK(vfs_write(w->b->v, &w->b->c, w->n, page, sizeof(page), x % 64 * 20000, false));
    }
    return NULL;
}

TEST(test_snapshot__F6_never_changes_after_the_answer)
{
    cleanup(buf_free) struct buf after = {0};
    struct buf before[12] = {{0}};
    struct writer w[3];
    pthread_t th[3];
    char name[16];
    struct box b;

    box_open(&b, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        box_fill(&b, b.v, name, 0, 64 * 20000, (uint64_t)i);
        w[i] = (struct writer){&b, box_node(b.v, box_root(b.v), name), false, (uint64_t)i};
        CHECK_EQ(pthread_create(&th[i], NULL, write_on, &w[i]), 0);
    }
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
        box_picture(b.v, box_view(b.v, name), &before[i]);
    }
    for (int i = 0; i < 3; i++)
        __atomic_store_n(&w[i].stop, true, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        pthread_join(th[i], NULL);
    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        box_picture(b.v, box_view(b.v, name), &after);
        CHECK(box_same(&before[i], &after));
        buf_free(&before[i]);
    }
    box_sound(&b);
    box_close(&b);
}

/* --- F2: with power cuts --- */

struct disk {
    struct lying *d;
    char root[400], out[440];
    struct box b;
};

static void disk_open(struct disk *k)
{
    snprintf(k->root, sizeof(k->root), "%s/disk", test_dir());
    CHECK_EQ(mkdir(k->root, 0755), 0);
    CHECK_OK(lying_new(k->root, &k->d));
    snprintf(k->out, sizeof(k->out), "%s/store", k->root);
    box_open(&k->b, lying_io(k->d), k->out);
}

/* What is on the medium now, opened on another boot of the machine; the first store is left behind. */
static void disk_cut(struct disk *k, uint64_t seed, enum lying_mode mode, struct box *after)
{
    static const uint8_t other_boot[16] = {9, 9, 9};
    char out[420];

    snprintf(out, sizeof(out), "%s/cut", test_dir());
    CHECK_OK(lying_crash(k->d, seed, mode, out));
    box_drop(&k->b);
    lying_free(TAKE(k->d));
    journal_test_boot_id(other_boot);
    *after = (struct box){.io = io_real(), .set = k->b.set};
    snprintf(after->path, sizeof(after->path), "%s/store", out);
    box_attach(after);
}

TEST(test_snapshot__F2_settling_at_a_power_cut_vanishes_whole)
{
    struct layer_rec rec;
    struct disk k;
    struct box b;

    disk_open(&k);
    box_fill(&k.b, k.b.v, "f", 0, 1 << 20, 1);
    CHECK_OK(snap_create(k.b.v, &k.b.c, "durable", &rec));
    CHECK_EQ(rec.state, LAYER_SETTLING);
    CHECK_OK(snap_wait_durable(k.b.v, rec.layer));
    CHECK_OK(snap_find(k.b.v, "durable", &rec));
    CHECK_EQ(rec.state, LAYER_DURABLE);
    box_fill(&k.b, k.b.v, "f", 0, 1 << 20, 2);
    CHECK_OK(snap_create(k.b.v, &k.b.c, "settling", &rec));
    CHECK_OK(store_flush(k.b.s)); /* the record is on disk, the bytes are not */
    disk_cut(&k, test_seed(), LYING_NONE, &b);
    CHECK_ERR(snap_find(b.v, "settling", &rec), -E_NOENT);
    CHECK_OK(snap_find(b.v, "durable", &rec));
    box_sound(&b);
    box_close(&b);
    journal_test_boot_id(NULL);
}

TEST(test_snapshot__F2_durable_ones_come_back_as_they_were)
{
    cleanup(buf_free) struct buf had = {0}, have = {0};
    uint64_t seed = test_seed(), rng = seed;
    struct layer_rec rec;
    struct disk k;
    struct box b;

    disk_open(&k);
    box_mess(&k.b, k.b.v, &rng, 120);
    CHECK_OK(snap_create(k.b.v, &k.b.c, "s", &rec));
    box_picture(k.b.v, box_view(k.b.v, "s"), &had);
    CHECK_OK(snap_wait_durable(k.b.v, rec.layer));
    box_mess(&k.b, k.b.v, &rng, 60);
    disk_cut(&k, seed, LYING_MIXED, &b);
    CHECK_OK(snap_find(b.v, "s", &rec));
    CHECK_EQ(rec.state, LAYER_DURABLE);
    box_picture(b.v, box_view(b.v, "s"), &have);
    CHECK(box_same(&had, &have));
    box_sound(&b);
    box_close(&b);
    journal_test_boot_id(NULL);
}

TEST(test_snapshot__F2_the_daemons_death_lets_it_go_on_settling)
{
    cleanup(buf_free) struct buf had = {0}, have = {0};
    struct layer_rec rec;
    struct box b;

    box_open(&b, NULL, NULL);
    box_fill(&b, b.v, "f", 0, 1 << 20, 1);
    CHECK_OK(snap_create(b.v, &b.c, "s", NULL));
    box_picture(b.v, box_view(b.v, "s"), &had);
    box_die(&b);
    CHECK_OK(snap_find(b.v, "s", &rec));
    while (store_tick(b.s) > 0)
        ;
    CHECK_OK(snap_find(b.v, "s", &rec));
    CHECK_EQ(rec.state, LAYER_DURABLE);
    box_picture(b.v, box_view(b.v, "s"), &have);
    CHECK(box_same(&had, &have));
    box_sound(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
