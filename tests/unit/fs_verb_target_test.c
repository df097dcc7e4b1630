/* What STORE, STORE/VOLUME[@SNAP] and TARGET mean. */
#include "fs/verb_target.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "snap/store/store.h"
#include "tests/lib/test.h"

static char dir[PATH_MAX];

static void make(void)
{
    struct store_settings set = {.segment_bytes = 1 << 20, .segments = 4};
    char path[PATH_MAX + 16];

    CHECK(realpath(test_dir(), dir));
    snprintf(path, sizeof(path), "%s/s", dir);
    CHECK_OK(store_create(io_real(), path, &set));
    snprintf(path, sizeof(path), "%s/at@x", dir);
    CHECK_OK(store_create(io_real(), path, &set));
    snprintf(path, sizeof(path), "%s/plain", dir);
    CHECK(mkdir(path, 0755) == 0);
    snprintf(path, sizeof(path), "%s/link", dir);
    CHECK(symlink("s", path) == 0);
}

static int parse(const char *tail, unsigned flags, struct verb_target *t, struct buf *err)
{
    char text[2 * PATH_MAX];

    snprintf(text, sizeof(text), "%s/%s", dir, tail);
    buf_reset(err);
    return verb_target_parse(text, flags, t, err);
}

TEST(test_verb_target__the_longest_prefix_that_holds_a_store)
{
    static const struct {
        const char *text;
        unsigned flags;
        const char *store, *volume, *snap;
    } c[] = {
        {"s", 0, "s", "main", ""},
        {"s/", 0, "s", "main", ""},
        {"s//", 0, "s", "main", ""},
        {"s/vol", 0, "s", "vol", ""},
        {"s/vol/", 0, "s", "vol", ""},
        {"s", TARGET_STORE, "s", "", ""},
        {"s", TARGET_ANY, "s", "", ""},
        {"s/v", TARGET_ANY, "s", "v", ""},
        {"link/v", 0, "s", "v", ""},
        {"plain/../s/v", 0, "s", "v", ""},
        {"s/v@snap", TARGET_SNAP, "s", "v", "snap"},
        {"s/v@a@b", TARGET_SNAP, "s", "v", "a@b"},
        {"s/v@@latest", TARGET_SNAP, "s", "v", "@latest"},
        {"s@snap", TARGET_SNAP, "s", "main", "snap"},
        {"at@x", 0, "at@x", "main", ""},
        {"at@x/v@y", TARGET_SNAP, "at@x", "v", "y"},
    };

    make();
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        cleanup(buf_free) struct buf err = {0};
        char want[PATH_MAX + 64];
        struct verb_target t;

        if (parse(c[i].text, c[i].flags, &t, &err) < 0)
            test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
        snprintf(want, sizeof(want), "%s/%s", dir, c[i].store);
        CHECK(strcmp(t.store, want) == 0);
        CHECK(strcmp(t.volume, c[i].volume) == 0);
        CHECK(strcmp(t.snap, c[i].snap) == 0);
        CHECK(t.exists);
        CHECK(!t.dir[0]);
    }
}

TEST(test_verb_target__what_is_no_target_is_refused_with_what_to_do)
{
    static const struct {
        const char *text;
        unsigned flags;
        int r;
        const char *says;
    } c[] = {
        {"nothing", 0, -E_STORE_MISSING, "there is no store at this path; varve create makes one"},
        {"nothing/v", 0, -E_STORE_MISSING, "there is no store"},
        {"plain", 0, -E_STORE_NOT, "neither a varve store nor below a mount"},
        {"plain/v", 0, -E_STORE_MISSING, "there is no store"},
        {"s/a/b", 0, -E_NAME, "\"a/b\" cannot be a volume"},
        {"s/meta", 0, -E_NAME, "own names"},
        {"s/journal", 0, -E_NAME, "own names"},
        {"s/.x", 0, -E_NAME, "do not begin with '.'"},
        {"s/a#b", 0, -E_NAME, "@ #"},
        {"s/v@snap", 0, -E_USAGE, "a volume is meant here, not a snapshot"},
        {"s/v@", TARGET_SNAP, -E_NAME, "what follows @"},
        {"s/v", TARGET_STORE, -E_USAGE, "a store is meant here, not a volume"},
    };

    make();
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        cleanup(buf_free) struct buf err = {0};
        struct verb_target t = {.store = "untouched"};
        int r = parse(c[i].text, c[i].flags, &t, &err);

        if (r != c[i].r || !strstr(buf_cstr(&err), c[i].says))
            test_fail(__FILE__, __LINE__, "%s: %s: %s", c[i].text, err_name(r), buf_cstr(&err));
        CHECK(strcmp(t.store, "untouched") == 0);
    }
}

TEST(test_verb_target__empty_and_endless_paths_are_refused)
{
    static char longer[2 * PATH_MAX];
    cleanup(buf_free) struct buf err = {0};
    struct verb_target t;

    make();
    CHECK_ERR(verb_target_parse("", 0, &t, &err), -E_USAGE);
    memset(longer, 'x', sizeof(longer) - 1);
    CHECK_ERR(verb_target_parse(longer, 0, &t, &err), -E_NAMETOOLONG);
    memset(longer, 0, sizeof(longer));
    snprintf(longer, sizeof(longer), "%s/s/", dir);
    memset(longer + strlen(longer), 'v', 300);
    CHECK_ERR(verb_target_parse(longer, 0, &t, &err), -E_NAMETOOLONG);
}

TEST(test_verb_target__a_new_store_needs_its_parent)
{
    cleanup(buf_free) struct buf err = {0};
    char want[PATH_MAX + 64];
    struct verb_target t;

    make();
    CHECK_OK(parse("new", TARGET_NEW, &t, &err));
    snprintf(want, sizeof(want), "%s/new", dir);
    CHECK(strcmp(t.store, want) == 0);
    CHECK(strcmp(t.volume, "main") == 0);
    CHECK(!t.exists);
    CHECK_OK(parse("plain", TARGET_NEW, &t, &err));
    CHECK(!t.exists);
    CHECK_OK(parse("s/another", TARGET_NEW, &t, &err));
    CHECK(t.exists);
    CHECK(strcmp(t.volume, "another") == 0);
    CHECK_OK(parse("fresh/volume", TARGET_NEW, &t, &err));
    snprintf(want, sizeof(want), "%s/fresh", dir);
    CHECK(strcmp(t.store, want) == 0);
    CHECK(strcmp(t.volume, "volume") == 0);
    CHECK(!t.exists);
    CHECK_ERR(parse("fresh/data", TARGET_NEW, &t, &err), -E_NOENT);
    CHECK_ERR(parse("fresh/a@b", TARGET_NEW, &t, &err), -E_NOENT);
    buf_reset(&err);
    CHECK_ERR(parse("no/such/parent", TARGET_NEW, &t, &err), -E_NOENT);
    CHECK(strstr(buf_cstr(&err), "make it first"));
}

TEST(test_verb_target__relative_paths_and_the_store_itself)
{
    cleanup(buf_free) struct buf err = {0};
    char want[PATH_MAX + 64], old[PATH_MAX];
    struct verb_target t;

    make();
    CHECK(getcwd(old, sizeof(old)));
    CHECK(chdir(dir) == 0);
    snprintf(want, sizeof(want), "%s/s", dir);
    CHECK_OK(verb_target_parse("s/v", 0, &t, &err));
    CHECK(strcmp(t.store, want) == 0);
    CHECK_OK(verb_target_parse("./s", 0, &t, &err));
    CHECK(strcmp(t.store, want) == 0);
    CHECK_OK(verb_target_parse("fresh", TARGET_NEW, &t, &err));
    CHECK(chdir("s") == 0);
    CHECK_OK(verb_target_parse(".", 0, &t, &err));
    CHECK(strcmp(t.store, want) == 0);
    CHECK_OK(verb_target_parse("v", 0, &t, &err));
    CHECK(strcmp(t.volume, "v") == 0);
    CHECK(chdir(old) == 0);
}

int main(int argc, char **argv)
{
    return test_main(argc, argv);
}
