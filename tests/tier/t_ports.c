/* What goes out of repositories and comes in: diffs of recovery points, exports. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snap/diff.h"
#include "tests/lib/test.h"
#include "tests/tier/rig.h"
#include "tier/copy.h"
#include "tier/export_file.h"
#include "tier/point_diff.h"

/* --- diff ----------------------------------------------------------------------------------------------------------- */

struct lines {
    struct buf text;
    bool ranges;
    struct repo *r; /* with t: of changed files that have several names nothing is said */
    const struct tree *t;
};

static int line(void *arg, const struct diff_entry *e)
{
    struct lines *l = arg;
    struct point_inode in;

    if (l->t && e->kind == 'M' && e->type != S_IFDIR) {
        CHECK_OK(point_inode_get(l->r, l->t, e->ino, &in));
        if (in.nlink > 1)
            return 0;
    }
    CHECK_OK(buf_printf(&l->text, "%c %o %s", e->kind, e->type, e->path));
    if (e->old_path)
        CHECK_OK(buf_printf(&l->text, " <- %s", e->old_path));
    for (size_t i = 0; l->ranges && i < e->nranges; i++)
        CHECK_OK(buf_printf(&l->text, " %llu+%llu", (unsigned long long)e->ranges[i].off_bytes,
                            (unsigned long long)e->ranges[i].len_bytes));
    return buf_puts(&l->text, "\n");
}

static void differs_as(struct repo_rig *g, const char *a, const char *b, const char *below, const char *want)
{
    struct lines l = {.ranges = true};
    struct point x = rig_point(g, a), y = rig_point(g, b);

    CHECK_OK(point_diff(g->w.r, &x, &y, below, line, &l));
    if (strcmp(buf_cstr(&l.text), want) != 0)
        test_fail(__FILE__, __LINE__, "%s, not %s", buf_cstr(&l.text), want);
    buf_free(&l.text);
    point_release(&x);
    point_release(&y);
}

TEST(test_point_diff__says_paths_kinds_and_ranges)
{
    struct backup_result a, b;
    struct repo_rig g;
    struct point x, y;
    struct lines l = {.ranges = true};

    rig_begin(&g);
    rig_fill_file(&g, "db", 4u << 20);
    box_text(&g.b, g.b.v, "gone", "text");
    box_text(&g.b, g.b.v, "same", "text");
    a = rig_back_up(&g, "a");
    box_fill(&g.b, g.b.v, "db", 2 << 20, 10, 9);
    box_remove(&g.b, g.b.v, "gone");
    box_text(&g.b, g.b.v, "new", "text");
    b = rig_back_up(&g, "b");
    differs_as(&g, a.id, b.id, "", "M 40000 \nM 100000 db 2097152+4096\n- 100000 gone\n+ 100000 new 0+4\n");
    differs_as(&g, b.id, a.id, "db", "M 100000 db 2097152+4096\n");
    differs_as(&g, a.id, a.id, "", "");
    x = rig_point(&g, a.id);
    y = rig_point(&g, b.id);
    CHECK_ERR(point_diff(g.w.r, &x, &y, "none", line, &l), -E_NOENT);
    y.family = uuid_new();
    CHECK_ERR(point_diff(g.w.r, &x, &y, "", line, &l), -E_UNRELATED);
    point_release(&x);
    point_release(&y);
    buf_free(&l.text);
    rig_end(&g);
}

/* What changed little costs little: pages that both have are not read. */
TEST(test_point_diff__reads_what_changed)
{
    struct backup_result a, b;
    struct repo_rig g;
    uint64_t before;

    rig_begin(&g);
    for (int i = 0; i < 3000; i++) {
        char name[32];

        snprintf(name, sizeof(name), "file-%d", i);
        box_text(&g.b, g.b.v, name, name);
    }
    rig_fill_file(&g, "db", 8u << 20);
    a = rig_back_up(&g, "a");
    box_fill(&g.b, g.b.v, "db", 5 << 20, 10, 9);
    b = rig_back_up(&g, "b");
    world_repo(&g.w);
    before = g.w.r->got_bytes;
    differs_as(&g, a.id, b.id, "", "M 100000 db 5242880+4096\n");
    before = g.w.r->got_bytes - before;
    if (before > 600u << 10)
        test_fail(__FILE__, __LINE__, "%llu bytes were read", (unsigned long long)before);
    rig_end(&g);
}

/* The same paths and kinds as the volume says of the snapshots. */
TEST(test_point_diff__random_trees_differ_as_their_snapshots)
{
    uint64_t rng = test_seed();
    char ids[6][SHA_TEXT], name[8], other[8];
    struct repo_rig g;

    rig_begin(&g);
    for (int i = 0; i < 6; i++) {
        struct backup_result res;

        box_mess(&g.b, g.b.v, &rng, 20 + (int)(test_rand(&rng) % 40));
        snprintf(name, sizeof(name), "s%d", i);
        res = rig_back_up(&g, name);
        memcpy(ids[i], res.id, sizeof(res.id));
    }
    for (int i = 0; i < 5; i++) {
        struct point x = rig_point(&g, ids[i]), y = rig_point(&g, ids[i + 1]);
        struct lines l = {.r = g.w.r, .t = &y.tree}, want = l;

        snprintf(name, sizeof(name), "s%d", i);
        snprintf(other, sizeof(other), "s%d", i + 1);
        CHECK_OK(diff_run(g.b.v, name, other, line, &want));
        CHECK_OK(point_diff(g.w.r, &x, &y, "", line, &l));
        if (strcmp(buf_cstr(&l.text), buf_cstr(&want.text)) != 0)
            test_fail(__FILE__, __LINE__, "%s to %s:\n%s, not\n%s", name, other, buf_cstr(&l.text),
                      buf_cstr(&want.text));
        buf_free(&l.text);
        buf_free(&want.text);
        point_release(&x);
        point_release(&y);
    }
    rig_end(&g);
}

/* --- exports -------------------------------------------------------------------------------------------------------- */

static const struct sha some_point = {{1, 2, 3}};

static void hex_is(const uint8_t *p, size_t len, const char *want)
{
    char got[2 * EXPORT_OBJECT_MAX + 1];

    hex_format(p, len, got);
    if (strcmp(got, want) != 0)
        test_fail(__FILE__, __LINE__, "%s, not %s", got, want);
}

static const char golden_head[] =
#include "tests/tier/golden_export_head.inc"
    ;
static const char golden_object[] =
#include "tests/tier/golden_export_object.inc"
    ;
static const char golden_end[] =
#include "tests/tier/golden_export_end.inc"
    ;

TEST(test_export__bytes_are_as_they_were)
{
    struct export_head h = {some_point, 1000000000}, h2;
    struct export_object o = {.name = "packs/ab/cd", .len = 5, .sum = {{9, 8}}}, o2;
    struct export_end e = {3, 777, {{4, 5}}}, e2;
    uint8_t head[EXPORT_HEAD], obj[EXPORT_OBJECT_MAX], end[EXPORT_END];
    size_t n;

    CHECK_OK(export_head_encode(&h, head));
    hex_is(head, sizeof(head), golden_head);
    CHECK_OK(export_head_decode(head, &h2));
    CHECK(memcmp(&h, &h2, sizeof(h)) == 0);
    CHECK_OK(export_object_encode(&o, obj, &n));
    hex_is(obj, n, golden_object);
    CHECK_OK(export_object_decode(obj, n, &o2));
    CHECK(o2.len == 5 && strcmp(o2.name, o.name) == 0);
    CHECK_OK(export_end_encode(&e, end));
    hex_is(end, sizeof(end), golden_end);
    CHECK_OK(export_end_decode(end, &e2));
    CHECK(memcmp(&e, &e2, sizeof(e)) == 0);
    for (size_t i = 0; i < sizeof(head); i++) {
        head[i] ^= 4;
        CHECK(export_head_decode(head, &h2) < 0);
        head[i] ^= 4;
    }
    for (size_t i = 0; i < n; i++) {
        obj[i] ^= 4;
        CHECK(export_object_decode(obj, n, &o2) < 0);
        obj[i] ^= 4;
    }
}

static void file_path(char out[400])
{
    snprintf(out, 400, "%s/file", test_dir());
}

static struct repo *file_repo(struct repo_rig *g, struct export_file *x, bool make, const char *cache)
{
    cleanup(buf_free) struct buf err = {0};
    struct backend *b = export_backend(x);
    struct repo_root root;
    char dir[400];
    struct repo *r;

    snprintf(dir, sizeof(dir), "%s/%s", test_dir(), cache);
    if (make && repo_peek_root(b, NULL, &root, NULL) == -E_REPO_MISSING)
        CHECK_OK(repo_init(b, NULL, &g->w.s, &root));
    CHECK_OK(repo_open(b, NULL, &g->w.s, dir, &r, &err));
    return r;
}

/* One run of an export, ended after so many bytes. */
static int export_once(struct repo_rig *g, const char *id, uint64_t after, uint64_t *resumed)
{
    struct rig_stopping s = {after};
    struct copy_opts o = {.arg = &s, .progress = rig_stop_after};
    struct copy_result res;
    struct point p = rig_point(g, id);
    struct export_file *x;
    struct repo *to;
    struct sha sha;
    char path[400];
    int r;

    file_path(path);
    CHECK_OK(hex_parse(id, sha.b, sizeof(sha.b)));
    CHECK_OK(export_begin(path, -1, test_dir(), &sha, &x));
    *resumed = export_resumed(x);
    to = file_repo(g, x, true, "of-file");
    r = copy_run(g->w.r, to, &p, &o, &res);
    repo_close(to);
    if (r == 0)
        CHECK_OK(export_end(x));
    export_close(x);
    point_release(&p);
    return r;
}

static struct export_file *opened(void)
{
    cleanup(buf_free) struct buf err = {0};
    struct export_file *x;
    char path[400];

    file_path(path);
    if (export_open(path, -1, test_dir(), NULL, NULL, &x, &err) < 0)
        test_fail(__FILE__, __LINE__, "%s", buf_cstr(&err));
    return x;
}

static off_t size_of(const char *path)
{
    struct stat st;

    CHECK(stat(path, &st) == 0);
    return st.st_size;
}

TEST(test_export__interrupted_goes_on_and_is_whole)
{
    cleanup(buf_free) struct buf want = {0};
    struct backup_result x;
    struct export_file *f;
    struct repo_rig g;
    struct repo *mine;
    uint64_t resumed;
    char path[400];

    rig_begin(&g);
    rig_fill_file(&g, "db", 90u << 20);
    box_text(&g.b, g.b.v, "small", "text");
    rig_picture(&g, &want);
    x = rig_back_up(&g, "a");
    file_path(path);
    CHECK_ERR(export_once(&g, x.id, 40u << 20, &resumed), -E_CANCELED);
    CHECK_EQ(resumed, 0);
    CHECK(access(path, F_OK) < 0);
    CHECK_OK(export_once(&g, x.id, UINT64_MAX, &resumed));
    CHECK(resumed >= 4); /* root, key, domain, packs */
    CHECK(size_of(path) < 93 << 20);
    CHECK_ERR(export_begin(path, -1, test_dir(), &some_point, &f), -E_EXIST);
    f = opened();
    CHECK_EQ(export_damaged(f), 0);
    mine = g.w.r;
    g.w.r = file_repo(&g, f, false, "read");
    CHECK_OK(repo_sync(g.w.r));
    rig_restores_to(&g, "latest", &want);
    repo_close(g.w.r);
    g.w.r = mine;
    export_close(f);
    rig_end(&g);
}

/* Of another recovery point nothing is gone on with. */
TEST(test_export__what_another_left_is_not_taken)
{
    struct backup_result x;
    struct export_file *f;
    struct repo_rig g;
    uint64_t resumed;
    char path[400];

    rig_begin(&g);
    rig_fill_file(&g, "db", 20u << 20);
    x = rig_back_up(&g, "a");
    file_path(path);
    CHECK_ERR(export_once(&g, x.id, 10u << 20, &resumed), -E_CANCELED);
    CHECK_OK(export_begin(path, -1, test_dir(), &some_point, &f));
    CHECK_EQ(export_resumed(f), 0);
    CHECK_EQ(export_size(f), EXPORT_HEAD);
    export_close(f);
    rig_end(&g);
}

static int no_export(void)
{
    cleanup(buf_free) struct buf err = {0};
    struct export_file *x;
    char path[400];
    int r;

    file_path(path);
    r = export_open(path, -1, test_dir(), NULL, NULL, &x, &err);
    if (r == 0)
        export_close(x);
    else
        CHECK(err.len > 0);
    return r;
}

static void write_bytes(const char *path, const struct buf *b, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0);
    CHECK(write(fd, b->data, len) == (ssize_t)len);
    close(fd);
}

static void read_bytes(const char *path, struct buf *b)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t n = (size_t)size_of(path);

    CHECK_OK(buf_add_zero(b, n));
    CHECK(fd >= 0 && read(fd, b->data, n) == (ssize_t)n);
    close(fd);
}

/* Cut anywhere it is refused, also between two objects; a flipped bit is refused, or an object that cannot be read. */
TEST(test_export__cut_or_damaged_is_never_whole)
{
    cleanup(buf_free) struct buf all = {0};
    uint64_t rng = test_seed(), resumed;
    struct backup_result x;
    struct export_file *f;
    struct repo_rig g;
    char path[400];

    rig_begin(&g);
    rig_fill_file(&g, "db", 300000);
    x = rig_back_up(&g, "a");
    CHECK_OK(export_once(&g, x.id, UINT64_MAX, &resumed));
    file_path(path);
    read_bytes(path, &all);
    write_bytes(path, &all, all.len - EXPORT_END);
    CHECK_ERR(no_export(), -E_CORRUPT);
    for (int i = 0; i < 60; i++) {
        write_bytes(path, &all, (size_t)(test_rand(&rng) % all.len));
        CHECK_ERR(no_export(), -E_CORRUPT);
    }
    for (int i = 0; i < 200; i++) {
        size_t at = (size_t)(test_rand(&rng) % all.len);

        all.data[at] ^= 0x10;
        write_bytes(path, &all, all.len);
        if (no_export() == 0) {
            f = opened();
            CHECK_EQ(export_damaged(f), 1);
            export_close(f);
        }
        all.data[at] ^= 0x10;
    }
    write_bytes(path, &all, all.len);
    f = opened();
    CHECK_EQ(export_damaged(f), 0);
    export_close(f);
    rig_end(&g);
}
