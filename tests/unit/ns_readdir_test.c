/* Listing: order, cookies, change under way, groups of equal hashes. */
#include <stdlib.h>

#include "snap/ns.h"
#include "tests/lib/nsfix.h"

#define DROPS 3000u

struct list {
    struct nsfix *f;
    vfs_node dir;
    size_t n, stop; /* entries seen; stops before the entry number stop (0: never) */
    uint64_t cookie;
    uint8_t *seen; /* by the number after "keep" */
    size_t nseen;
    size_t churn; /* every so many entries, create and remove some */
    size_t churned;
    bool attr;
};

static void churn(struct list *l)
{
    char name[32];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "new-%zu", l->churned++);
        nsfix_mk(l->f, l->dir, name, S_IFREG | 0644);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "drop-%zu", (l->churned - 1 - (size_t)i) % DROPS);
        if (nsfix_has(l->f, l->dir, name))
            CHECK_OK(vfs_unlink(l->f->v, &l->f->c, l->dir, name));
    }
}

static int list_cb(void *arg, const struct vfs_dirent *e)
{
    struct list *l = arg;

    if (l->stop != 0 && l->n == l->stop)
        return 1;
    CHECK(e->cookie > l->cookie);
    CHECK(e->cookie < (uint64_t)1 << 63);
    CHECK_EQ(strlen(e->name), e->name_len);
    l->cookie = e->cookie;
    l->n++;
    if (strncmp(e->name, "keep-", 5) == 0) {
        size_t i = strtoul(e->name + 5, NULL, 10);

        CHECK(i < l->nseen);
        l->seen[i]++;
    }
    if (l->attr) {
        CHECK_EQ(e->attr.st_ino, e->ino);
        CHECK_EQ(e->attr.mode & S_IFMT, e->type);
    }
    if (l->churn != 0 && l->n % l->churn == 0)
        churn(l);
    return 0;
}

static void fill(struct nsfix *f, vfs_node dir, const char *stem, size_t n)
{
    char name[32];

    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s-%zu", stem, i);
        nsfix_mk(f, dir, name, S_IFREG | 0644);
    }
}

static void check_all_once(struct list *l)
{
    for (size_t i = 0; i < l->nseen; i++)
        CHECK_EQ(l->seen[i], 1);
}

/* Reads in chunks that the callback ends, going on from the last cookie taken. */
static void read_in_chunks(struct list *l, size_t chunk)
{
    size_t before;

    do {
        before = l->n;
        l->stop = before + chunk;
        CHECK_OK(vfs_readdir(l->f->v, l->dir, l->cookie, l->attr, list_cb, l));
    } while (l->n != before);
}

static void run(struct nsfix *f, vfs_node dir, size_t n, size_t chunk, size_t churn_every, bool attr)
{
    struct list l = {.f = f, .dir = dir, .nseen = n, .churn = churn_every, .attr = attr};
    static size_t churned; /* names are made once */

    l.churned = churned;
    l.seen = calloc(n, 1);
    CHECK(l.seen != NULL);
    read_in_chunks(&l, chunk);
    check_all_once(&l);
    churned = l.churned;
    free(l.seen);
}

NS_TEST(test_ns_readdir__dots_come_first)
{
    vfs_node d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755);
    struct list l = {.f = f, .dir = d, .stop = 1, .attr = true};

    nsfix_turn(f);
    CHECK_OK(vfs_readdir(f->v, d, 0, true, list_cb, &l));
    CHECK_EQ(l.cookie, 1);
    l.stop = 2;
    CHECK_OK(vfs_readdir(f->v, d, 1, true, list_cb, &l));
    CHECK_EQ(l.cookie, 2);
    l.stop = 0;
    CHECK_OK(vfs_readdir(f->v, d, 2, true, list_cb, &l));
    CHECK_EQ(l.n, 2);
    CHECK_OK(vfs_readdir(f->v, d, UINT64_MAX, true, list_cb, &l));
    CHECK_EQ(l.n, 2);
    CHECK_ERR(vfs_readdir(f->v, nsfix_mk(f, d, "f", S_IFREG), 0, false, list_cb, &l), -E_NOTDIR);
}

NS_TEST(test_ns_readdir__small_chunks_give_everything_once)
{
    fill(f, NSFIX_ROOT, "keep", 300);
    nsfix_turn(f);
    for (size_t chunk = 1; chunk < 120; chunk += 13)
        run(f, NSFIX_ROOT, 300, chunk, 0, chunk & 1);
}

NS_TEST(test_ns_readdir__what_stays_is_given_once_under_change)
{
    vfs_node d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755);

    fill(f, d, "keep", 3000);
    fill(f, d, "drop", DROPS);
    nsfix_turn(f);
    run(f, d, 3000, 37, 5, false);
    nsfix_turn(f);
    run(f, d, 3000, 100000, 11, true);
}

NS_TEST(test_ns_readdir__equal_hashes)
{
    char name[32];

    ns_hash_mask = 0;
    fill(f, NSFIX_ROOT, "keep", 200);
    fill(f, NSFIX_ROOT, "drop", 56);
    CHECK_ERR(vfs_mknod(f->v, &f->c, NSFIX_ROOT, "one more", S_IFREG, 0, NULL), -E_NOSPC);
    nsfix_turn(f);
    CHECK(!nsfix_has(f, NSFIX_ROOT, "one more"));
    for (size_t i = 0; i < 56; i += 2) {
        snprintf(name, sizeof(name), "drop-%zu", i);
        CHECK_OK(vfs_unlink(f->v, &f->c, NSFIX_ROOT, name));
    }
    run(f, NSFIX_ROOT, 200, 7, 0, false);
    nsfix_turn(f);
    for (size_t i = 1; i < 56; i += 2) {
        snprintf(name, sizeof(name), "drop-%zu", i);
        CHECK(nsfix_has(f, NSFIX_ROOT, name));
    }
    fill(f, NSFIX_ROOT, "again", 28);
    CHECK_ERR(vfs_mknod(f->v, &f->c, NSFIX_ROOT, "one more", S_IFREG, 0, NULL), -E_NOSPC);
    for (size_t i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "keep-%zu", i);
        CHECK(nsfix_has(f, NSFIX_ROOT, name));
    }
}

static void many(struct nsfix *f, size_t n)
{
    vfs_node d = nsfix_mk(f, NSFIX_ROOT, "d", S_IFDIR | 0755);

    fill(f, d, "keep", n);
    CHECK_OK(store_checkpoint(f->s));
    run(f, d, n, 1000, 50, false);
}

TEST(test_ns_readdir__a_hundred_thousand_entries)
{
    struct nsfix f;

    nsfix_open(&f, NSFIX_PLAIN);
    many(&f, 100000);
    nsfix_verify(&f);
    nsfix_close(&f);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
