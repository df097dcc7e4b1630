/* Many snapshots deleted at once, in any order: nothing stays that nobody sees, and what somebody sees stays. */
#include "snap/internal.h"

#include "snap/store/store.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

#define MANY 16

static uint64_t history(struct box *b)
{
    uint64_t n = 0;

    for (uint8_t tab = TAB_INODE; tab < TAB__LIFE_END; tab++)
        if (tab_key_len(tab))
            n += box_records(b, tab | TAB_HISTORY, 0);
    return n;
}

static void delete_all(struct box *b, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK_OK(snap_delete(b->v, &b->c, names[i]));
    box_sound(b);
}

TEST(test_reclaim__the_newest_first_leaves_no_history)
{
    struct box b;

    box_open(&b, NULL, NULL);
    box_text(&b, b.v, "f", "one");
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    box_text(&b, b.v, "f", "two");
    CHECK_OK(snap_create(b.v, &b.c, "b", NULL));
    box_text(&b, b.v, "f", "three");
    CHECK_OK(snap_create(b.v, &b.c, "c", NULL));
    box_text(&b, b.v, "g", "not f");
    CHECK(history(&b) > 0);
    delete_all(&b, (const char *[]){"c", "b", "a"}, 3);
    CHECK_EQ(history(&b), 0);
    CHECK_EQ(box_records(&b, TAB_LAYER, 0), 0);
    CHECK(box_is(b.v, box_root(b.v), "f", "three"));
    box_close(&b);
}

/* The blocks of a dense file that only the second snapshot saw: the first did not know the file. */
TEST(test_reclaim__a_dense_file_between_two_gives_its_blocks_back)
{
    uint64_t before;
    struct box b;

    box_open(&b, NULL, NULL);
    CHECK_OK(snap_create(b.v, &b.c, "a", NULL));
    box_fill(&b, b.v, "f", 0, 2 << 20, 1);
    CHECK_OK(store_sync(b.s));
    before = box_disk_blocks(&b);
    CHECK_OK(snap_create(b.v, &b.c, "b", NULL));
    box_fill(&b, b.v, "f", 1 << 19, 1 << 18, 2);
    CHECK_OK(store_sync(b.s));
    CHECK_EQ(box_disk_blocks(&b), before + 64);
    delete_all(&b, (const char *[]){"a", "b"}, 2);
    CHECK_EQ(box_disk_blocks(&b), before);
    CHECK_EQ(history(&b), 0);
    box_close(&b);
}

/* One file, changed so often that a transaction does not free all that it was. */
TEST(test_reclaim__one_key_of_many_lives_goes_in_pieces)
{
    char name[16];
    struct box b;

    box_open(&b, NULL, NULL);
    for (unsigned i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "%u", i);
        box_text(&b, b.v, "f", name);
        CHECK_OK(snap_create(b.v, &b.c, name, NULL));
    }
    box_text(&b, b.v, "f", "last");
    for (unsigned i = 0; i < 299; i++) {
        snprintf(name, sizeof(name), "%u", (i * 5 + 3) % 299 + 1);
        CHECK_OK(snap_delete(b.v, &b.c, name));
    }
    CHECK(history(&b) >= 300);
    box_sound(&b);
    CHECK(history(&b) <= 4);                     /* of the first: the file, its data, the root */
    CHECK(box_records(&b, TAB_TOUCHED, 0) < 40); /* one gap, and what was touched before it */
    CHECK(box_is(b.v, box_view(b.v, "0"), "f", "0"));
    CHECK(box_is(b.v, box_root(b.v), "f", "last"));
    box_close(&b);
}

struct kept {
    char name[16];
    struct buf picture;
    bool gone;
};

static void compare(struct box *b, struct kept *k)
{
    cleanup(buf_free) struct buf have = {0};

    box_picture(b->v, box_view(b->v, k->name), &have);
    CHECK(box_same(&k->picture, &have));
}

/* Some of many go, the queue is run in part, the daemon dies now and then; then the rest goes. */
TEST(test_reclaim__what_stays_is_as_it_was)
{
    uint64_t rng = test_seed();
    struct kept k[MANY] = {0};
    struct box b;

    box_open(&b, NULL, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        box_mess(&b, b.v, &rng, 20);
        snprintf(k[i].name, sizeof(k[i].name), "s%u", i);
        CHECK_OK(snap_create(b.v, &b.c, k[i].name, NULL));
        box_picture(b.v, box_view(b.v, k[i].name), &k[i].picture);
    }
    box_mess(&b, b.v, &rng, 20);
    for (unsigned n = 0; n < MANY;) {
        unsigned i = (unsigned)(test_rand(&rng) % MANY), what = (unsigned)(test_rand(&rng) % 12);
        if (!k[i].gone) {
            CHECK_OK(snap_delete(b.v, &b.c, k[i].name));
            k[i].gone = true;
            n++;
        }
        if (what == 0)
            box_die(&b);
        else if (what == 1)
            box_sound(&b);
        else if (what == 2)
            CHECK_OK(store_checkpoint(b.s));
        else if (what == 3)
            box_mess(&b, b.v, &rng, 5);
        for (unsigned j = 0; j < MANY && what < 3; j++)
            if (!k[j].gone)
                compare(&b, &k[j]);
    }
    box_sound(&b);
    CHECK_EQ(history(&b), 0);
    for (unsigned i = 0; i < MANY; i++)
        buf_free(&k[i].picture);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
