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
#include "tier/plain_i.h"
#include "tier/point_diff.h"

/* --- diff ----------------------------------------------------------------------------------------------------------- */

static struct point point_of(struct repo_rig *g, const char *id)
{
    cleanup(buf_free) struct buf err = {0};
    struct point p;

    CHECK_OK(point_find(g->w.r, id, &p, &err));
    return p;
}

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
    struct point x = point_of(g, a), y = point_of(g, b);

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
    x = point_of(&g, a.id);
    y = point_of(&g, b.id);
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
        struct point x = point_of(&g, ids[i]), y = point_of(&g, ids[i + 1]);
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

struct stopping {
    uint64_t after; /* bytes */
};

static int stop_after(void *arg, uint64_t items, uint64_t bytes)
{
    const struct stopping *s = arg;

    (void)items;
    return bytes > s->after ? -E_CANCELED : 0;
}

/* One run of an export, ended after so many bytes. */
static int export_once(struct repo_rig *g, const char *id, uint64_t after, uint64_t *resumed)
{
    struct stopping s = {after};
    struct copy_opts o = {.arg = &s, .progress = stop_after};
    struct copy_result res;
    struct point p = point_of(g, id);
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

/* --- plain exports -------------------------------------------------------------------------------------------------- */

struct plain_rig {
    struct repo_rig g;
    struct mem *m;
};

static void plain_begin(struct plain_rig *p)
{
    rig_begin(&p->g);
    p->m = mem_new();
}

static void plain_done(struct plain_rig *p)
{
    mem_free(p->m);
    rig_end(&p->g);
}

static int plain_try(struct plain_rig *p, struct mem *m, const char *snap, bool del, const char *base,
                     struct plain_result *res)
{
    cleanup(buf_free) struct buf err = {0};
    struct plain_opts o = {.del = del, .base = base, .room = test_dir()};
    struct backend *b = mem_backend(m);
    struct layer_rec rec;
    int r;

    CHECK_OK(snap_find(p->g.b.v, snap, &rec));
    mem_later(m, 10);
    r = plain_run(b, NULL, p->g.b.v, &rec, &o, res, &err);
    mem_later(m, 10);
    backend_close(b);
    return r;
}

static struct plain_result exported(struct plain_rig *p, const char *snap, bool del)
{
    struct plain_result res;

    CHECK_OK(plain_try(p, p->m, snap, del, NULL, &res));
    return res;
}

/* The last manifest's lines: of files path, size, sha; each object has these bytes. */
static void manifest(struct mem *m, struct buf *ret)
{
    struct backend *b = mem_backend(m);
    struct plain_old o = {.b = b};

    CHECK_OK(plain_old_open(&o));
    while (o.have) {
        if (o.e.file && !o.e.gone) {
            cleanup(buf_free) struct buf bytes = {0};
            char hex[SHA_TEXT];
            struct sha sum;

            CHECK_OK(backend_get_all(b, NULL, o.e.object, 1u << 30, &bytes));
            CHECK_OK(crypt_sha256(bytes.data ? bytes.data : (const uint8_t *)"", bytes.len, &sum));
            hex_format(sum.b, sizeof(sum.b), hex);
            if (strcmp(hex, o.e.sha) != 0 || bytes.len != o.e.size)
                test_fail(__FILE__, __LINE__, "%s has other bytes", o.e.object);
        }
        if (!o.e.gone)
            CHECK_OK(buf_printf(ret, "%s %d %llu %s\n", (const char *)o.e.path.data, o.e.file,
                                (unsigned long long)o.e.size, o.e.sha));
        CHECK_OK(plain_old_next(&o));
    }
    plain_old_release(&o);
    backend_close(b);
}

/* What is there is what an export of this snapshot to an empty place gives. */
static void plain_is(struct plain_rig *p, const char *snap)
{
    cleanup(buf_free) struct buf got = {0}, want = {0};
    struct mem *fresh = mem_new();
    struct plain_result res;

    CHECK_OK(plain_try(p, fresh, snap, false, NULL, &res));
    manifest(fresh, &want);
    manifest(p->m, &got);
    CHECK(box_same(&got, &want));
    mem_free(fresh);
}

static void snap(struct plain_rig *p, const char *name)
{
    (void)rig_snapshot(&p->g, name);
}

TEST(test_plain__names_can_be_read_and_fit)
{
    char out[BACKEND_NAME_MAX + 1], again[BACKEND_NAME_MAX + 1], path[400];

    CHECK_OK(plain_name("data/2026/a-b.parquet", false, out));
    CHECK(strcmp(out, "files/data/2026/a-b.parquet") == 0);
    CHECK_OK(plain_name("Äb c/.x/a_b..", false, out));
    CHECK(strcmp(out, "files/_c3_84b_20c/_2ex/a_5fb..") == 0);
    CHECK_OK(plain_name("a", true, out));
    CHECK(strncmp(out, "far/ca/ca978112", 15) == 0);
    memset(path, 'x', sizeof(path));
    path[300] = 0;
    CHECK_OK(plain_name(path, false, out));
    path[299] = 0;
    CHECK_OK(plain_name(path, false, again));
    CHECK(strncmp(out, "far/", 4) == 0 && strcmp(out, again) != 0);
}

TEST(test_plain__costs_what_changed)
{
    struct plain_result res;
    struct plain_rig p;

    plain_begin(&p);
    rig_fill_file(&p.g, "db", 20u << 20);
    box_mkdir(&p.g.b, p.g.b.v, "d");
    box_text(&p.g.b, p.g.b.v, "d/a", "text");
    box_text(&p.g.b, p.g.b.v, "gone", "text");
    snap(&p, "s1");
    res = exported(&p, "s1", false);
    CHECK(res.number == 1 && res.base == 0 && res.put == 3 && res.files == 3 && res.dirs == 1);
    CHECK_EQ(mem_count(p.m, "files/"), 3);
    plain_is(&p, "s1");
    CHECK_EQ(exported(&p, "s1", false).put, 0);
    box_text(&p.g.b, p.g.b.v, "d/a", "other");
    box_remove(&p.g.b, p.g.b.v, "gone");
    snap(&p, "s2");
    res = exported(&p, "s2", false);
    CHECK(res.number == 3 && res.base == 2 && res.put == 1 && res.put_bytes == 5 && res.gone == 1 &&
          !res.deleted);
    CHECK_EQ(mem_count(p.m, "files/"), 3);
    plain_is(&p, "s2");
    res = exported(&p, "s2", true);
    CHECK(res.put == 0 && res.deleted == 1);
    CHECK_EQ(mem_count(p.m, "files/"), 2);
    CHECK_EQ(mem_count(p.m, "run/"), 0);
    plain_is(&p, "s2");
    CHECK_ERR(plain_try(&p, p.m, "s2", false, "s1", &res), -E_USAGE);
    CHECK_OK(plain_try(&p, p.m, "s2", false, "s2", &res));
    CHECK_OK(plain_try(&p, p.m, "s2", false, "none", &res));
    CHECK_EQ(res.put, 2);
    plain_is(&p, "s2");
    plain_done(&p);
}

/* Small changes that leave size and time of the file as they were; an older state; files and directories that change places. */
TEST(test_plain__every_state_arrives)
{
    uint64_t rng = test_seed();
    struct plain_rig p;
    char name[8];

    plain_begin(&p);
    for (int i = 0; i < 8; i++) {
        box_mess(&p.g.b, p.g.b.v, &rng, 30);
        snprintf(name, sizeof(name), "s%d", i);
        snap(&p, name);
    }
    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof(name), "s%d", (int)(test_rand(&rng) % 8));
        (void)exported(&p, name, test_rand(&rng) % 2);
        plain_is(&p, name);
    }
    plain_done(&p);
}

/* Ended at its n-th call in any way, of this snapshot or of another: the next one makes it right. */
TEST(test_plain__interrupted_anywhere_is_made_right)
{
    static const enum mem_fault kinds[] = {MEM_FAIL, MEM_UNSURE_DONE, MEM_UNSURE_NOT, MEM_CLOSED};
    struct plain_result res;
    struct plain_rig p;
    bool hit = true, resumed = false;

    plain_begin(&p);
    for (int i = 0; i < 4; i++) {
        char name[16];

        snprintf(name, sizeof(name), "f%d", i);
        box_text(&p.g.b, p.g.b.v, name, name);
    }
    snap(&p, "s1");
    box_text(&p.g.b, p.g.b.v, "f1", "F1");
    box_text(&p.g.b, p.g.b.v, "f2", "F2");
    box_remove(&p.g.b, p.g.b.v, "f3");
    box_text(&p.g.b, p.g.b.v, "f4", "f4");
    snap(&p, "s2");
    for (uint64_t n = 1; hit; n++)
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
            for (int same = 0; same < 2; same++) {
                struct plain_rig q = {.g = p.g, .m = mem_new()};

                (void)exported(&q, "s1", true);
                mem_fault(q.m, n, kinds[k], false);
                (void)plain_try(&q, q.m, "s2", true, NULL, &res);
                hit = mem_hit(q.m);
                mem_fault(q.m, 0, MEM_FAIL, false);
                CHECK_OK(plain_try(&q, q.m, same ? "s2" : "s1", true, NULL, &res));
                resumed |= res.resumed;
                plain_is(&q, same ? "s2" : "s1");
                CHECK_EQ(mem_count(q.m, "run/"), 0);
                mem_free(q.m);
            }
    CHECK(resumed);
    plain_done(&p);
}
