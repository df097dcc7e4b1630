/* Volumes that are gone for good: their memory is for others, but not before whoever found them is through. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "snap/store/vol.h"
#include "snap/volume.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

static struct vol *cloned(struct box *b, const char *name)
{
    struct vol *v;

    CHECK_OK(volume_clone(b->v, "s", name, &v));
    return v;
}

static void delete (struct box *b, struct vol *v)
{
    CHECK_OK(volume_delete(v, NULL));
    CHECK_OK(volume_purge(v));
    CHECK_OK(store_checkpoint(b->s));
    CHECK_OK(store_reclaim_idle(b->s));
}

static bool is_there(struct box *b, uint32_t id)
{
    struct txn t;
    bool is;

    CHECK_OK(txn_begin(b->s, TXN_READ, OP_NONE, NULL, &t));
    is = vol_by_id(b->s, id) != NULL;
    txn_abort(&t);
    return is;
}

static void begin(struct box *b)
{
    box_open(b, NULL, NULL);
    box_text(b, b->v, "f", "text");
    CHECK_OK(snap_create(b->v, &b->c, "s", NULL));
}

TEST(test_vol_gone__stays_for_who_found_it)
{
    unsigned held, later;
    struct vol *v, *w;
    struct box b;
    uint32_t id;

    begin(&b);
    v = cloned(&b, "one");
    id = v->rec.id;
    held = vols_hold(b.s);
    delete (&b, v);
    CHECK(!is_there(&b, id));
    for (int i = 0; i < 3; i++) {
        volume_forget_gone(b.s);
        CHECK_EQ(v->rec.id, id);
        CHECK(strcmp(v->rec.name, "one") == 0);
    }
    later = vols_hold(b.s); /* cannot have found it */
    w = cloned(&b, "two");
    CHECK(w != v);
    vols_let_go(b.s, held);
    volume_forget_gone(b.s);
    CHECK_EQ(v->rec.id, 0);
    vols_let_go(b.s, later);
    CHECK(cloned(&b, "three") == v);
    delete (&b, w);
    box_sound(&b);
    box_reopen(&b);
    CHECK_OK(volume_find(b.s, "three", &v));
    CHECK_ERR(volume_find(b.s, "two", &v), -E_NOENT);
    box_sound(&b);
    box_close(&b);
}

static size_t rss_anon(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    size_t kib = 0;

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %zu", &kib) == 1)
            break;
    fclose(f);
    return kib << 10;
}

/* MANY= clones, a hundred at a time: what the first thousand leave is what all leave. */
TEST(test_vol_gone__leaves_nothing)
{
    const char *given = getenv("MANY");
    unsigned many = given ? (unsigned)strtoul(given, NULL, 10) : 2000, warm = MIN_OF(many / 2, 4000u);
    struct vol *v[100];
    size_t first = 0, last;
    struct box b;

    begin(&b);
    for (unsigned n = 0; n < many; n += ARRAY_LEN(v)) {
        char name[32];

        for (unsigned i = 0; i < ARRAY_LEN(v); i++) {
            snprintf(name, sizeof(name), "c%u", n + i);
            v[i] = cloned(&b, name);
        }
        for (unsigned i = 0; i < ARRAY_LEN(v); i++) {
            CHECK_OK(volume_delete(v[i], NULL));
            CHECK_OK(volume_purge(v[i]));
        }
        CHECK_OK(store_checkpoint(b.s));
        CHECK_OK(store_reclaim_idle(b.s));
        volume_forget_gone(b.s);
        if (n + ARRAY_LEN(v) == warm)
            first = rss_anon();
    }
    CHECK(vol_gone_first(b.s) == NULL);
    last = rss_anon();
    printf("    %u clones: RssAnon %zu KiB after %u of them, %zu at the end: %.1f bytes for each\n", many,
           first >> 10, warm, last >> 10, ((double)last - (double)first) / (many - warm));
    box_sound(&b);
    box_close(&b);
}

/* --- threads -------------------------------------------------------------------------------------------------------- */

struct looking {
    struct store *s;
    bool ends;     /* atomic */
    uint64_t seen; /* atomic */
};

/* Finds all volumes, again and again, and reads of them after the lock is gone. */
static void *look(void *arg)
{
    struct looking *l = arg;

    while (!__atomic_load_n(&l->ends, __ATOMIC_RELAXED)) {
        unsigned held = vols_hold(l->s);
        struct vol *found[64];
        size_t n = 0;
        struct txn t;

        CHECK_OK(txn_begin(l->s, TXN_READ, OP_NONE, NULL, &t));
        for (struct vol *v = vol_first(l->s); v && n < ARRAY_LEN(found); v = v->next)
            found[n++] = v;
        txn_abort(&t);
        for (size_t i = 0; i < n; i++) {
            CHECK(found[i]->store == l->s);
            CHECK(found[i]->rec.id != 0);
            __atomic_fetch_add(&l->seen, 1, __ATOMIC_RELAXED);
        }
        vols_let_go(l->s, held);
    }
    return NULL;
}

static uint64_t seen_by(const struct looking *l)
{
    return __atomic_load_n(&l->seen, __ATOMIC_RELAXED);
}

TEST(test_vol_gone__while_others_look)
{
    struct looking l[2];
    pthread_t t[2];
    struct box b;

    begin(&b);
    for (int i = 0; i < 2; i++) {
        l[i] = (struct looking){.s = b.s};
        CHECK_EQ(pthread_create(&t[i], NULL, look, &l[i]), 0);
    }
    for (int n = 0; n < 60 || !seen_by(&l[0]) || !seen_by(&l[1]); n++) {
        delete (&b, cloned(&b, "c"));
        volume_forget_gone(b.s);
    }
    for (int i = 0; i < 2; i++) {
        __atomic_store_n(&l[i].ends, true, __ATOMIC_RELAXED);
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    }
    volume_forget_gone(b.s);
    CHECK(vol_gone_first(b.s) == NULL);
    box_sound(&b);
    box_close(&b);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
