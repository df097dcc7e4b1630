/* Pages of the tables that lie, each in one way, told by who reads them all and by who is about to write (F21). */
#include "snap/store/tabpages.h"

#include <fcntl.h>
#include <libgen.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "snap/store/object.h"
#include "snap/store/tabpages_i.h"
#include "tests/lib/box.h"
#include "tests/lib/test.h"

#ifdef __SANITIZE_THREAD__
#define SIGNALS_ARE_KEPT true
#else
#define SIGNALS_ARE_KEPT false
#endif

static struct box b;
static char meta[600], why[256];

static void begin(void)
{
    log_set_level(LOG_ERROR);
    box_open(&b, NULL, NULL);
    snprintf(meta, sizeof(meta), "%s/meta", b.path);
    for (unsigned i = 0; i < 400; i++) {
        char name[64];
        snprintf(name, sizeof(name), "a-name-that-fills-pages-%u", i);
        box_write(&b, b.v, name, "x", 1, 0);
        if (i % 100 == 99)
            CHECK_OK(store_checkpoint(b.s));
    }
    CHECK_OK(store_checkpoint(b.s));
    CHECK_OK(tabpages_check(b.io, meta, NULL, why, NULL));
}

static void end(void)
{
    box_drop(&b);
}

static int data_open(void)
{
    char path[700];
    int fd;

    snprintf(path, sizeof(path), "%s/data.mdb", meta);
    fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

/* Pages of a kind in use (a leaf of ours, a branch, a list of free pages), by what is_it says of page and number. */
static uint64_t page_find(bool (*is_it)(const uint8_t *p), uint8_t out[4096])
{
    int fd = data_open();
    struct tp_file f;
    uint64_t page, found = 0;

    /* the newest that still holds: one that the proof knows, seen by what its change does */
    CHECK_OK(tp_open(b.io, meta, 0, &f, why));
    for (page = 2; page <= f.m.last_page && !found; page++) {
        uint8_t bad = 0xff;

        CHECK(pread(fd, out, 4096, (off_t)(page * 4096)) == 4096);
        if (get_le64(out) != page || !is_it(out))
            continue;
        CHECK(pwrite(fd, &bad, 1, (off_t)(page * 4096 + 11)) == 1); /* its kind */
        if (tabpages_check(b.io, meta, NULL, why, NULL) == -E_CORRUPT)
            found = page;
        CHECK(pwrite(fd, out, 4096, (off_t)(page * 4096)) == 4096);
    }
    tp_close(&f);
    close(fd);
    CHECK(found > 0);
    CHECK_OK(tabpages_check(b.io, meta, NULL, why, NULL));
    return found;
}

static void page_put(uint64_t page, const uint8_t p[4096])
{
    int fd = data_open();

    CHECK(pwrite(fd, p, 4096, (off_t)(page * 4096)) == 4096);
    close(fd);
}

static bool is_branch(const uint8_t *p)
{
    return get_le16(p + 10) == TP_BRANCH;
}

static bool is_leaf(const uint8_t *p)
{
    return get_le16(p + 10) == TP_LEAF && tp_count(p) > 4;
}

/* A leaf of the tree of free pages: its keys are numbers of 8 bytes, and a value begins with the count of its pages. */
static bool is_free_list(const uint8_t *p)
{
    struct tp_node n;

    if (get_le16(p + 10) != TP_LEAF || tp_count(p) == 0)
        return false;
    tp_node(p, 0, &n);
    return n.key.len == 8 && !n.big && n.size >= 24 && get_le64(n.data) >= 2 && get_le64(n.data) < 500;
}

static void damaged(const char *what)
{
    CHECK_ERR(tabpages_check(b.io, meta, NULL, why, NULL), -E_CORRUPT);
    if (!strstr(why, what))
        test_fail(__FILE__, __LINE__, "%s, not: %s", why, what);
}

/* The first page of a kind is written as lie() changes it: the proof has to say what is wrong. */
static void expect_seen(bool (*is_it)(const uint8_t *p), void (*lie)(uint8_t *p), const char *what)
{
    uint8_t p[4096], changed[4096];
    uint64_t page;

    begin();
    page = page_find(is_it, p);
    memcpy(changed, p, sizeof(changed));
    lie(changed);
    page_put(page, changed);
    damaged(what);
    page_put(page, p);
    end();
}

/* Still in order with its neighbours, or not: what lies below tells. */
static void move_separator(uint8_t *p)
{
    struct tp_node n;

    tp_node(p, 1, &n);
    p[n.key.p - p] ^= 0x40;
}

TEST(test_tabpages__a_separator_that_moved)
{
    expect_seen(is_branch, move_separator, "out of order");
}

static void change_value(uint8_t *p)
{
    struct tp_node n;

    tp_node(p, 3, &n);
    p[n.data - p + 12] ^= 1;
}

TEST(test_tabpages__a_value_that_changed)
{
    expect_seen(is_leaf, change_value, "checksum");
}

/* The second entry is the first. */
static void overlap(uint8_t *p)
{
    put_le16(p + TP_HDR + 2, get_le16(p + TP_HDR));
}

TEST(test_tabpages__entries_that_overlap)
{
    expect_seen(is_leaf, overlap, "do not fit together");
}

static void count_one_fewer(uint8_t *p)
{
    struct tp_node n;

    tp_node(p, 0, &n);
    put_le64(p + (n.data - p), get_le64(n.data) - 1);
}

TEST(test_tabpages__a_free_page_that_is_lost)
{
    expect_seen(is_free_list, count_one_fewer, "neither used nor free");
}

/* What LMDB would write over next. */
TEST(test_tabpages__no_checkpoint_takes_a_living_page_for_a_free_one)
{
    uint8_t p[4096], lie[4096], leaf[4096], now[4096];
    struct store_state st;
    struct tp_node n;
    uint64_t page, victim;
    int fd;

    begin();
    victim = page_find(is_leaf, leaf);
    page = page_find(is_free_list, p);
    memcpy(lie, p, sizeof(lie));
    tp_node(lie, 0, &n);
    /* in descending order still: the last one becomes the living one, or all of them go but it */
    put_le64(lie + (n.data - lie), 1);
    put_le64(lie + (n.data - lie) + 8, victim);
    box_write(&b, b.v, "more", "y", 1, 0);
    page_put(page, lie);
    (void)store_checkpoint(b.s);
    store_get_state(b.s, &st);
    CHECK(st.mode == STORE_RO_FAILED);
    fd = data_open();
    CHECK(pread(fd, now, 4096, (off_t)(victim * 4096)) == 4096);
    close(fd);
    CHECK(memcmp(now, leaf, 4096) == 0);
    end();
}

TEST(test_tabpages__a_checkpoint_stops_at_a_damaged_page)
{
    uint8_t p[4096], lie[4096];
    struct store_state st;
    uint64_t page;
    char name[64];

    begin();
    page = page_find(is_branch, p);
    memcpy(lie, p, sizeof(lie));
    put_le16(lie + 14, 4000); /* upper */
    for (unsigned i = 0; i < 400; i += 7) {
        snprintf(name, sizeof(name), "a-name-that-fills-pages-%u", i);
        box_text(&b, b.v, name, "other");
    }
    page_put(page, lie);
    CHECK(store_checkpoint(b.s) < 0);
    store_get_state(b.s, &st);
    CHECK(st.mode == STORE_RO_FAILED);
    page_put(page, p);
    end();
}

TEST(test_tabpages__a_store_of_damaged_tables_is_not_opened)
{
    uint8_t p[4096], lie[4096];
    struct store *s;
    uint64_t page;

    begin();
    page = page_find(is_branch, p);
    memcpy(lie, p, sizeof(lie));
    lie[0] ^= 4;
    box_drop(&b);
    page_put(page, lie);
    CHECK_ERR(store_open(b.io, b.path, &b.set, 0, &s, why), -E_CORRUPT);
    CHECK(strstr(why, "it has another number"));
    page_put(page, p);
    CHECK_OK(store_open(b.io, b.path, &b.set, 0, &s, why));
    CHECK_OK(store_close(s));
}

static bool has_names(const uint8_t *p)
{
    return tp_is_leaf(p) && memmem(p, 4096, "a-name-that-fills-pages-2", 25);
}

/* An object that no record names is taken away by an opening, but only when the tables are proved: they may have named it. */
TEST(test_tabpages__nothing_is_taken_away_before_they_are_proved)
{
    char object[4096 + 64];
    uint8_t p[4096], lie[4096];
    struct store *s;
    uint64_t page;

    begin();
    object_path(b.s, 4095, object);
    page = page_find(has_names, p);
    memcpy(lie, p, sizeof(lie));
    lie[0] ^= 4;
    box_drop(&b);
    (void)mkdir(dirname(strdupa(object)), 0700);
    close(creat(object, 0600));
    page_put(page, lie);
    CHECK_ERR(store_open(b.io, b.path, &b.set, 0, &s, why), -E_CORRUPT);
    CHECK(strstr(why, "it has another number"));
    CHECK(access(object, F_OK) == 0);
    page_put(page, p);
    CHECK_OK(store_open(b.io, b.path, &b.set, 0, &s, why));
    CHECK(access(object, F_OK) < 0);
    CHECK_OK(store_close(s));
}

/* As a bad sector does: the map has a page there, and the file has not. */
TEST(test_tabpages__a_file_that_ends_under_its_readers)
{
    struct vfs_attr a;
    char name[64];
    unsigned failed = 0;
    int fd;

    if (SIGNALS_ARE_KEPT)
        test_skip("the sanitizer of threads keeps SIGBUS to itself until the thread leaves its code");
    begin();
    fd = data_open();
    CHECK(ftruncate(fd, 2 * 4096) == 0);
    close(fd);
    for (unsigned i = 0; i < 400; i++) {
        snprintf(name, sizeof(name), "a-name-that-fills-pages-%u", i);
        int r = vfs_lookup(b.v, box_root(b.v), name, &a);
        CHECK(r == 0 || r == -E_CORRUPT);
        failed += r < 0;
    }
    CHECK(failed > 300);
    expect_mark("kv: a damaged page would have killed its reader");
    end();
}

/* By one thread and by several: the same, of pages that are whole and of pages that are not. */
static void both(struct tabpages_result *ret)
{
    const struct tabpages_opts alone = {.alone = true}, shared = {.shared = 1};
    struct tabpages_result other = {0};
    char others[256];
    int r = tabpages_check(b.io, meta, &alone, why, ret),
        o = tabpages_check(b.io, meta, &shared, others, &other);

    CHECK_EQ(r, o);
    if (strcmp(why, others) != 0)
        test_fail(__FILE__, __LINE__, "\"%s\" alone, \"%s\" shared", why, others);
    if (r < 0)
        return;
    CHECK_EQ(ret->pages, other.pages);
    CHECK_EQ(ret->leaves, other.leaves);
    CHECK_EQ(ret->entries, other.entries);
    CHECK_EQ(ret->free, other.free);
}

TEST(test_tabpages__several_threads_find_what_one_finds)
{
    struct tabpages_result whole = {0}, res;
    uint64_t seed = test_seed();
    unsigned bad = 0;
    int fd;

    begin();
    for (unsigned i = 0; i < 6000; i++) {
        char name[64];
        snprintf(name, sizeof(name), "another-name-that-fills-pages-%u", i);
        box_write(&b, b.v, name, "x", 1, 0);
    }
    CHECK_OK(store_checkpoint(b.s));
    both(&whole);
    CHECK(whole.leaves > 400); /* so that there are branches above the lowest */
    fd = data_open();
    for (unsigned i = 0; i < 200; i++) {
        off_t at = (off_t)(2 * 4096 + test_rand(&seed) % ((whole.pages + whole.free) * 4096));
        uint8_t was, flipped;

        CHECK(pread(fd, &was, 1, at) == 1);
        flipped = was ^ (uint8_t)(1u << test_rand(&seed) % 8);
        CHECK(pwrite(fd, &flipped, 1, at) == 1);
        both(&res);
        bad += why[0] != 0;
        CHECK(pwrite(fd, &was, 1, at) == 1);
    }
    CHECK(bad > 50);
    close(fd);
    both(&res);
    end();
}

static unsigned free_depth(void)
{
    struct tp_file f;
    unsigned depth;

    CHECK_OK(tp_open(b.io, meta, 0, &f, why));
    depth = f.m.free.depth;
    tp_close(&f);
    return depth;
}

/* Another process that reads the state of now, and goes on reading it: what is freed from now on is not taken again. */
static pid_t reader_start(void)
{
    int up[2];
    char c;

    CHECK(pipe2(up, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        MDB_env *env;
        MDB_txn *t;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (mdb_env_create(&env) || mdb_env_set_mapsize(env, (size_t)1 << 36) ||
            mdb_env_open(env, meta, MDB_RDONLY, 0600) || mdb_txn_begin(env, NULL, MDB_RDONLY, &t) ||
            write(up[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    CHECK(pid > 0);
    close(up[1]);
    CHECK_EQ(read(up[0], &c, 1), 1);
    close(up[0]);
    return pid;
}

#define MANY 30000u

/* The list of free pages has branches of its own: several threads prove the rest all the same. */
TEST(test_tabpages__a_long_list_of_free_pages)
{
    struct tabpages_result whole = {0};
    pid_t reader;

    begin();
    for (unsigned i = 0; i < MANY; i++) {
        char name[64];

        snprintf(name, sizeof(name), "another-name-that-fills-pages-%u", i);
        box_write(&b, b.v, name, "x", 1, 0);
    }
    CHECK_OK(store_checkpoint(b.s));
    reader = reader_start();
    for (unsigned i = 0; i < 400 && free_depth() < 2; i++) {
        char name[64];

        snprintf(name, sizeof(name), "another-name-that-fills-pages-%u", i * 997 % MANY);
        box_write(&b, b.v, name, "y", 1, 0);
        CHECK_OK(store_checkpoint(b.s));
    }
    CHECK(free_depth() > 1);
    both(&whole);
    CHECK_EQ(why[0], 0);
    CHECK(whole.leaves > 3000); /* so that there are several turns to give */
    CHECK(kill(reader, SIGKILL) == 0 && waitpid(reader, NULL, 0) == reader);
    end();
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
